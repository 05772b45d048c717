//! Closing what peers have sent, or may have: on threads of their own, since it could take long.
//!
//! To close a descriptor for the last time can take as long as its sender likes: a socket lingers (`SO_LINGER`,
//! socket(7)), a file lies in a file system of its sender's own (FUSE). The same goes for a socket in which such a
//! descriptor waits. The invariant: none of this makes a caller of this file wait, and two threads do it all, one
//! descriptor after another, so that peers can make neither threads nor delays. One has the descriptors of records,
//! which are counted for their owners; the other has what sessions leave behind, of which only so much may wait.

use crate::fds;
use crate::os::fork::ForkGuard;
use crate::os::thread::{self, STACK_BYTES};
use parking_lot::Mutex;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::net::{Shutdown, shutdown};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// How long the queue's lock can be waited for: it is held for moments, but for ever in a child that was forked then.
const LOCK_PATIENCE: Duration = Duration::from_secs(1);

/// How many descriptors may wait to be closed before there is no other connection, but for those that are counted for
/// their owner. Where more do, peers send some to a socket that takes none, or others than they should.
pub(crate) const WAITING_MAX: usize = 64;

/// What waits to be closed in this process: what sessions leave behind, and what is counted for its owner.
static OF_SESSIONS: Mutex<Queue> = Mutex::new(Queue::new());
static COUNTED: Mutex<Queue> = Mutex::new(Queue::new());

#[derive(Debug)]
struct Queue {
    fds: VecDeque<(OwnedFd, Option<Closes>)>,
    owner: Option<ForkGuard>,
    has_thread: bool,
}

/// A connected socket. Dropping it ends the connection, even if a forked child still has it, and never waits. In a
/// forked child dropping it does nothing to the connection.
#[derive(Debug)]
pub(crate) struct Connection {
    /// `None` only while it is dropped.
    socket: Option<OwnedFd>,
    guard: ForkGuard,
}

impl Connection {
    pub(crate) fn new(socket: OwnedFd, guard: ForkGuard) -> Self {
        Self { socket: Some(socket), guard }
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_ref().expect("there until it is dropped").as_fd()
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if self.guard.is_child() {
            return;
        }
        // From here on nothing more comes in, and every other holder of this socket hears of it too.
        let _ = shutdown(&*self, Shutdown::Both);
        if fds::holds_descriptors(self.as_fd()) {
            close_later(self.socket.take());
        }
    }
}

/// Counts what was handed to the closing thread for one owner, and is not closed yet.
#[derive(Clone, Debug, Default)]
pub(crate) struct Closes(Arc<()>);

impl Closes {
    /// How many descriptors wait.
    pub(crate) fn waiting(&self) -> usize {
        Arc::strong_count(&self.0) - 1
    }
}

/// Closes descriptors on a thread that may wait, in the order in which they come.
pub(crate) fn close_later(fds: impl IntoIterator<Item = OwnedFd>) {
    enqueue(&OF_SESSIONS, fds.into_iter().map(|fd| (fd, None)).collect());
}

/// The same, counted, and on another thread: one of them that takes long holds up only what is counted.
pub(crate) fn close_later_counted(fds: impl IntoIterator<Item = OwnedFd>, closes: &Closes) {
    enqueue(&COUNTED, fds.into_iter().map(|fd| (fd, Some(closes.clone()))).collect());
}

fn enqueue(queue: &'static Mutex<Queue>, fds: Vec<(OwnedFd, Option<Closes>)>) {
    if fds.is_empty() {
        return;
    }
    let Some(mut guard) = queue.try_lock_for(LOCK_PATIENCE) else {
        // Forked while another thread had the lock: such a child keeps them until it ends.
        return fds.into_iter().for_each(std::mem::forget);
    };
    guard.take_over();
    guard.fds.extend(fds);
    guard.start_thread_if_needed(queue);
}

/// How many descriptors wait to be closed, but for those that are counted for their owner; at least 1 for as long as
/// one is being closed.
pub(crate) fn waiting() -> usize {
    let Some(mut queue) = OF_SESSIONS.try_lock_for(LOCK_PATIENCE) else { return 0 };
    queue.take_over();
    // If no thread could be started before, there may be one now.
    queue.start_thread_if_needed(&OF_SESSIONS);
    queue.fds.len() + usize::from(queue.has_thread)
}

impl Queue {
    const fn new() -> Self {
        Self { fds: VecDeque::new(), owner: None, has_thread: false }
    }

    /// In a forked child: leaves to the parent what it had queued, and the thread that it has.
    fn take_over(&mut self) {
        if self.owner.is_none_or(ForkGuard::is_child) {
            self.fds.drain(..).for_each(std::mem::forget);
            self.has_thread = false;
            self.owner = ForkGuard::get().ok();
        }
    }

    /// Has a thread for as long as there is something to do. This is what lies in `queue`.
    fn start_thread_if_needed(&mut self, queue: &'static Mutex<Self>) {
        if !self.fds.is_empty() && !self.has_thread {
            self.has_thread = thread::start("fdring-closer", STACK_BYTES, || close_all(queue)).is_ok();
        }
    }
}

/// The thread.
fn close_all(queue: &Mutex<Queue>) {
    loop {
        let mut guard = queue.lock();
        let Some((fd, closes)) = guard.fds.pop_front() else {
            guard.has_thread = false;
            return;
        };
        drop(guard);
        drop(fd);
        drop(closes);
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::region::testing::in_forked_child;
    use crate::test_support::{isolated, wait_until};
    use std::io::{PipeReader, PipeWriter, Read, Write, pipe};
    use std::net::{TcpListener, TcpStream};

    /// A socket that makes the closing thread wait for a minute, or until its peer is gone.
    pub(crate) fn lingering() -> (OwnedFd, TcpListener) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        stream.set_nonblocking(true).unwrap();
        while stream.write(&[0; 65536]).is_ok() {}
        rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::from_secs(60))).unwrap();
        (stream.into(), listener)
    }

    fn is_closed((reader, writer): (PipeReader, PipeWriter)) -> bool {
        close_later([writer.into()]);
        (&reader).read(&mut [0]).unwrap() == 0
    }

    #[test]
    fn what_is_closed_later_is_closed_in_order_and_waited_for_by_nobody() {
        isolated("os::closing::tests::what_is_closed_later_is_closed_in_order_and_waited_for_by_nobody", || {
            assert_eq!(waiting(), 0);
            let (socket, listener) = lingering();
            let (mut reader, writer) = pipe().unwrap();
            close_later([socket, writer.into()]);
            assert!((1..=3).contains(&waiting()));
            // The parent's thread and what it still has to do are the parent's: a child has its own.
            assert!(in_forked_child(|| waiting() == 0 && is_closed(pipe().unwrap())));
            drop(listener);
            assert_eq!(reader.read(&mut [0]).unwrap(), 0);
            wait_until("nothing is left", || waiting() == 0);
            assert!(is_closed(pipe().unwrap()), "there is a thread again");
        });
    }

    #[test]
    fn a_descriptor_of_a_record_that_takes_long_holds_up_nothing_of_sessions() {
        isolated("os::closing::tests::a_descriptor_of_a_record_that_takes_long_holds_up_nothing_of_sessions", || {
            let (closes, (socket, listener)) = (Closes::default(), lingering());
            let (mut reader, writer) = pipe().unwrap();
            close_later_counted([socket, writer.into()], &closes);
            assert!(is_closed(pipe().unwrap()), "it has a thread of its own");
            wait_until("nothing of sessions waits", || waiting() == 0);
            assert_eq!(closes.waiting(), 2);
            drop(listener);
            assert_eq!(reader.read(&mut [0]).unwrap(), 0);
            wait_until("nothing is left", || closes.waiting() == 0);
        });
    }
}
