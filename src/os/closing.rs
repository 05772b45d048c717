//! Closing what peers have sent, or may have: on threads of their own, since it could take long.
//!
//! To close a descriptor can take as long as its sender likes: a socket lingers (`SO_LINGER`, socket(7)) when it is
//! closed for the last time, and a file system of its sender's own (FUSE) is told of each close, and answers when it
//! likes, or never. The same goes for a socket in which such a descriptor waits. The invariant: none of this makes a
//! caller of this file wait, and nothing waits for more than some milliseconds behind what takes long: then a further
//! thread goes on with the rest. There are [`THREADS_MAX`] of them at most, [`THREADS_PER_OWNER_MAX`] for one owner,
//! and [`THREADS_PER_USER_MAX`] for the owners of one user, so that a peer can keep no more, also if it connects
//! often. The last ones beyond [`THREADS_SHARED_MAX`] are for users that have none, so that two cannot keep them all.
//! Descriptors of records are counted for their owners, and have threads apart from those of what sessions leave
//! behind, of which only so much may wait.
//!
//! What this file does not do: in a process that ends, the kernel closes what is left, and waits itself.

use crate::fds;
use crate::os::fork::ForkGuard;
use crate::os::thread::{self, STACK_BYTES};
use parking_lot::Mutex;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::net::{Shutdown, shutdown};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long the queue's lock can be waited for: it is held for moments, but for ever in a child that was forked then.
const LOCK_PATIENCE: Duration = Duration::from_secs(1);

/// How many descriptors may wait to be closed before there is no other connection, but for those that are counted for
/// their owner. Where more do, peers send some to a socket that takes none, or others than they should.
pub(crate) const WAITING_MAX: usize = 64;
/// The most threads that close what sessions leave behind, and the most that close what is counted. No more of the
/// former can be kept before there is no other connection.
const THREADS_MAX: usize = WAITING_MAX;
/// The most threads that close what is counted for one owner.
pub(crate) const THREADS_PER_OWNER_MAX: usize = 4;
/// The most threads that close what is counted for owners of one user.
const THREADS_PER_USER_MAX: usize = 32;
/// While this number of threads close what is counted, further ones are for users that have none.
const THREADS_SHARED_MAX: usize = THREADS_MAX / 4 * 3;
/// If a descriptor has waited for this time to be closed, one thread more closes those that wait.
const LONG: Duration = Duration::from_millis(10);

/// What waits to be closed in this process: what sessions leave behind, and what is counted for its owner.
static OF_SESSIONS: Mutex<Queue> = Mutex::new(Queue::new());
static COUNTED: Mutex<Queue> = Mutex::new(Queue::new());

/// A descriptor that waits to be closed.
#[derive(Debug)]
struct Item {
    fd: OwnedFd,
    /// For whom it is counted.
    owner: Option<Closes>,
    /// Since when it has been waiting for a thread: not while its owner has as many as it may.
    since: Instant,
    /// It was set aside, and its owner is among those that are promised a thread.
    is_promised: bool,
}

impl Item {
    fn new(fd: OwnedFd, owner: Option<Closes>) -> Self {
        Self { fd, owner, since: Instant::now(), is_promised: false }
    }
}

/// What a thread is closing.
#[derive(Debug)]
struct Closing {
    /// Its own among all that were taken out of the queue.
    number: u64,
    begun: Instant,
    owner: Option<Closes>,
}

#[derive(Debug)]
struct Queue {
    waiting: VecDeque<Item>,
    /// Those whose owner, or its user, has as many threads as it may now.
    aside: VecDeque<Item>,
    /// The owners of those that were set aside, and wait again: each has a thread that is its own.
    promised: Vec<Closes>,
    closing: Vec<Closing>,
    /// How many were taken out of the queue.
    taken: u64,
    /// How many threads close.
    threads: usize,
    /// A thread sees to it that there are enough of them.
    is_watched: bool,
    owner: Option<ForkGuard>,
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

/// Counts what was handed to the closing threads for one owner, and is not closed yet.
#[derive(Clone, Debug, Default)]
pub(crate) struct Closes {
    count: Arc<()>,
    /// The user that has sent them; those that have no number here are one user.
    uid: Option<u32>,
}

impl PartialEq for Closes {
    /// Whether both count for the same owner.
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.count, &other.count)
    }
}

impl Closes {
    /// For what this user sends.
    pub(crate) fn of_user(uid: Option<u32>) -> Self {
        Self { count: Arc::default(), uid }
    }

    /// How many descriptors wait.
    pub(crate) fn waiting(&self) -> usize {
        Arc::strong_count(&self.count) - 1
    }

    /// Whether `max` descriptors or more wait, so that no more may come. If so, and if no thread could be started for
    /// them before, one may be started now: nothing else would have them closed.
    pub(crate) fn is_full(&self, max: usize) -> bool {
        let is_full = self.waiting() >= max;
        if is_full {
            see_to_counted();
        }
        is_full
    }
}

/// Closes descriptors on a thread that may wait, beginning with the first.
pub(crate) fn close_later(fds: impl IntoIterator<Item = OwnedFd>) {
    enqueue(&OF_SESSIONS, fds.into_iter().map(|fd| Item::new(fd, None)).collect());
}

/// The same, counted, and on other threads: those that take long hold up only what is counted for the same owner.
pub(crate) fn close_later_counted(fds: impl IntoIterator<Item = OwnedFd>, closes: &Closes) {
    enqueue(&COUNTED, fds.into_iter().map(|fd| Item::new(fd, Some(closes.clone()))).collect());
}

fn enqueue(queue: &'static Mutex<Queue>, items: Vec<Item>) {
    if items.is_empty() {
        return;
    }
    let Some(mut guard) = queue.try_lock_for(LOCK_PATIENCE) else {
        // Forked while another thread had the lock: such a child keeps them until it ends.
        return items.into_iter().for_each(std::mem::forget);
    };
    guard.take_over();
    guard.waiting.extend(items);
    guard.start_threads(queue);
}

/// Has threads for what is counted and waits.
fn see_to_counted() {
    if let Some(mut queue) = COUNTED.try_lock_for(LOCK_PATIENCE) {
        queue.take_over();
        queue.start_threads(&COUNTED);
    }
}

/// How many descriptors wait to be closed, but for those that are counted for their owner; at least 1 for as long as
/// one is being closed.
pub(crate) fn waiting() -> usize {
    let Some(mut queue) = OF_SESSIONS.try_lock_for(LOCK_PATIENCE) else { return 0 };
    queue.take_over();
    // If no thread could be started before, there may be one now.
    queue.start_threads(&OF_SESSIONS);
    queue.waiting.len() + queue.threads
}

impl Queue {
    const fn new() -> Self {
        Self {
            waiting: VecDeque::new(),
            aside: VecDeque::new(),
            promised: Vec::new(),
            closing: Vec::new(),
            taken: 0,
            threads: 0,
            is_watched: false,
            owner: None,
        }
    }

    /// In a forked child: leaves to the parent what it had queued, and the threads that it has.
    fn take_over(&mut self) {
        if self.owner.is_none_or(ForkGuard::is_child) {
            let before = std::mem::replace(self, Self::new());
            before.waiting.into_iter().chain(before.aside).for_each(std::mem::forget);
            self.owner = ForkGuard::get().ok();
        }
    }

    /// Has a thread that closes for as long as there is something to do, and one that watches while more waits behind
    /// what may take long. This is what lies in `queue`.
    fn start_threads(&mut self, queue: &'static Mutex<Self>) {
        if self.waiting.is_empty() {
            return;
        }
        // Those that have just been started, or are about to take the next one, take nothing long.
        let are_stuck = self.closing.len() == self.threads && self.closing.iter().all(|it| it.begun.elapsed() > LONG);
        if are_stuck && self.threads < THREADS_MAX {
            self.threads += usize::from(start(move || close_all(queue)));
        } else if !self.is_watched && self.threads < THREADS_MAX {
            self.is_watched = start(move || watch(queue));
        }
    }

    /// The next one to be closed, with its number.
    fn take(&mut self) -> Option<(OwnedFd, u64)> {
        loop {
            let item = self.waiting.pop_front()?;
            if item.is_promised {
                let at = self.promised.iter().position(|owner| Some(owner) == item.owner.as_ref());
                at.map(|at| self.promised.swap_remove(at));
            } else if self.has_all_threads(item.owner.as_ref()) {
                self.aside.push_back(item);
                continue;
            }
            self.taken += 1;
            self.closing.push(Closing { number: self.taken, begun: Instant::now(), owner: item.owner });
            return Some((item.fd, self.taken));
        }
    }

    /// Whether the owner, or its user, has as many threads as it may now.
    fn has_all_threads(&self, owner: Option<&Closes>) -> bool {
        let Some(owner) = owner else { return false };
        let count = |is_same: &dyn Fn(&Closes) -> bool| {
            let closing = self.closing.iter().filter_map(|closing| closing.owner.as_ref());
            closing.chain(&self.promised).filter(|other| is_same(other)).count()
        };
        let of_user = count(&|other| other.uid == owner.uid);
        count(&|other| other == owner) >= THREADS_PER_OWNER_MAX
            || of_user >= THREADS_PER_USER_MAX
            || of_user > 0 && count(&|_| true) >= THREADS_SHARED_MAX
    }

    /// The one of that number is closed: those that were set aside get threads if they may have them now. Two at most
    /// get one: there is one thread less, and perhaps one of a user that has no other.
    fn note_closed(&mut self, number: u64) {
        self.closing.retain(|closing| closing.number != number);
        let next = |queue: &mut Self| {
            let next = queue.aside.iter().position(|item| !queue.has_all_threads(item.owner.as_ref()));
            next.and_then(|next| queue.aside.remove(next))
        };
        while let Some(item) = next(self) {
            self.promised.extend(item.owner.clone());
            self.waiting.push_back(Item { since: Instant::now(), is_promised: true, ..item });
        }
    }
}

fn start(work: impl FnOnce() + Send + 'static) -> bool {
    thread::start("fdring-closer", STACK_BYTES, work).is_ok()
}

/// A thread that closes.
fn close_all(queue: &'static Mutex<Queue>) {
    let mut guard = queue.lock();
    while let Some((fd, number)) = guard.take() {
        guard.start_threads(queue);
        drop(guard);
        drop(fd);
        guard = queue.lock();
        guard.note_closed(number);
    }
    guard.threads -= 1;
}

/// The thread that watches: once something has waited for long, it closes too.
fn watch(queue: &'static Mutex<Queue>) {
    loop {
        std::thread::sleep(LONG);
        let mut guard = queue.lock();
        let is_stuck = guard.waiting.front().is_some_and(|first| first.since.elapsed() >= LONG);
        let has_room = guard.threads < THREADS_MAX;
        if guard.waiting.is_empty() || is_stuck || !has_room {
            guard.is_watched = false;
            if guard.waiting.is_empty() || !has_room {
                return;
            }
            guard.threads += 1;
            drop(guard);
            return close_all(queue);
        }
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
    fn what_is_closed_later_waits_for_nothing_that_takes_long() {
        isolated("os::closing::tests::what_is_closed_later_waits_for_nothing_that_takes_long", || {
            assert_eq!(waiting(), 0);
            let (socket, listener) = lingering();
            let (mut reader, writer) = pipe().unwrap();
            close_later([socket, writer.into()]);
            assert!((1..=3).contains(&waiting()));
            // A child that is forked while a thread has the lock closes nothing: now all wait for some milliseconds.
            wait_until("the first is being closed, and the other is seen to", || {
                let queue = OF_SESSIONS.lock();
                queue.closing.len() == 1 && (queue.is_watched || queue.waiting.is_empty())
            });
            // The parent's threads and what they still have to do are the parent's: a child has its own.
            assert!(in_forked_child(|| waiting() == 0 && is_closed(pipe().unwrap())));
            assert_eq!(reader.read(&mut [0]).unwrap(), 0);
            drop(listener);
            wait_until("nothing is left", || waiting() == 0);
            let (sockets, listeners): (Vec<_>, Vec<_>) = (0..3).map(|_| lingering()).unzip();
            let (mut reader, writer) = pipe().unwrap();
            close_later(sockets.into_iter().chain([writer.into()]));
            assert_eq!(reader.read(&mut [0]).unwrap(), 0);
            assert!(is_closed(pipe().unwrap()));
            wait_until("the sockets alone are left", || waiting() == 3);
            drop(listeners);
            wait_until("nothing is left", || waiting() == 0);
            assert!(is_closed(pipe().unwrap()), "there is a thread again");
        });
    }

    /// Closes that take a while each are no reason for others to wait for all of them.
    #[test]
    fn what_waits_for_a_while_gets_a_thread_though_others_are_closed_meanwhile() {
        isolated("os::closing::tests::what_waits_for_a_while_gets_a_thread_though_others_are_closed_meanwhile", || {
            // Unless a busy machine keeps this thread from running.
            wait_until("there is a thread before the others are closed", || {
                let (closes, others) = (Closes::default(), Closes::default());
                let (sockets, listeners): (Vec<_>, Vec<_>) = (0..200).map(|_| lingering()).unzip();
                close_later_counted(sockets, &closes);
                let ends_them = std::thread::spawn(|| {
                    for listener in listeners {
                        std::thread::sleep(Duration::from_millis(5));
                        drop(listener);
                    }
                });
                let ((mut reader, writer), begin) = (pipe().unwrap(), Instant::now());
                close_later_counted([writer.into()], &others);
                assert_eq!(reader.read(&mut [0]).unwrap(), 0);
                let (left, time) = (closes.waiting(), begin.elapsed());
                ends_them.join().unwrap();
                wait_until("nothing is left", || closes.waiting() == 0 && COUNTED.lock().threads == 0);
                left > 100 && time < Duration::from_millis(200)
            });
        });
    }

    /// This number of sockets that linger are handed over for one user, for each owner as many as it has threads.
    fn keep_threads(uid: u32, count: usize) -> Vec<TcpListener> {
        let (sockets, listeners): (Vec<_>, Vec<_>) = (0..count).map(|_| lingering()).unzip();
        let mut sockets = sockets.into_iter();
        while sockets.len() != 0 {
            close_later_counted(sockets.by_ref().take(THREADS_PER_OWNER_MAX), &Closes::of_user(Some(uid)));
        }
        listeners
    }

    /// Waits until as many are being closed of what is counted, and as many are set aside.
    fn wait_until_counted(closing: usize, aside: usize) {
        wait_until(&format!("{closing} are being closed, and {aside} are set aside"), || {
            let queue = COUNTED.lock();
            (queue.closing.len(), queue.aside.len()) == (closing, aside)
        });
    }

    #[test]
    fn the_last_quarter_of_the_threads_is_for_users_that_have_none() {
        isolated("os::closing::tests::the_last_quarter_of_the_threads_is_for_users_that_have_none", || {
            let mut listeners = keep_threads(70_003, 32);
            listeners.extend(keep_threads(70_004, 15));
            wait_until_counted(47, 0);
            let (socket, listener) = lingering();
            let own = Closes::of_user(Some(70_005));
            close_later_counted([socket], &own);
            wait_until_counted(48, 0);
            listeners.extend(keep_threads(70_004, 10));
            wait_until_counted(48, 10);
            let ((mut own_reader, writer), (mut reader, other_writer)) = (pipe().unwrap(), pipe().unwrap());
            close_later_counted([writer.into()], &own);
            wait_until_counted(48, 11);
            close_later_counted([other_writer.into()], &Closes::of_user(Some(70_006)));
            assert_eq!(reader.read(&mut [0]).unwrap(), 0, "those of a user that has none are closed");
            drop(listener);
            assert_eq!(own_reader.read(&mut [0]).unwrap(), 0, "it has none now, whatever has waited for longer");
            wait_until_counted(48, 9);
            drop(listeners);
            wait_until("nothing is left", || COUNTED.lock().threads == 0);
            let queue = COUNTED.lock();
            assert_eq!((queue.waiting.len(), queue.aside.len(), queue.promised.len()), (0, 0, 0));
        });
    }

    /// However many owners it has.
    #[test]
    fn a_user_has_so_many_threads_and_others_have_theirs() {
        isolated("os::closing::tests::a_user_has_so_many_threads_and_others_have_theirs", || {
            let listeners = keep_threads(70_001, 2 * THREADS_PER_USER_MAX);
            let (closes, others) = (Closes::of_user(Some(70_001)), Closes::of_user(Some(70_002)));
            wait_until_counted(THREADS_PER_USER_MAX, THREADS_PER_USER_MAX);
            let ((mut own_reader, writer), (mut reader, other_writer)) = (pipe().unwrap(), pipe().unwrap());
            close_later_counted([writer.into()], &closes);
            close_later_counted([other_writer.into()], &others);
            assert_eq!(reader.read(&mut [0]).unwrap(), 0, "those of another user are closed");
            wait_until("they are counted for it", || others.waiting() == 0);
            assert_eq!(COUNTED.lock().closing.len(), THREADS_PER_USER_MAX);
            assert_eq!(closes.waiting(), 1);
            drop(listeners);
            assert_eq!(own_reader.read(&mut [0]).unwrap(), 0, "threads have come free");
            wait_until("nothing is left", || COUNTED.lock().threads == 0);
            let queue = COUNTED.lock();
            assert_eq!((queue.waiting.len(), queue.aside.len(), queue.promised.len()), (0, 0, 0));
        });
    }

    #[test]
    fn an_owner_has_so_many_threads_and_others_have_theirs() {
        isolated("os::closing::tests::an_owner_has_so_many_threads_and_others_have_theirs", || {
            let (closes, others) = (Closes::default(), Closes::default());
            let (sockets, mut listeners): (Vec<_>, Vec<_>) = (0..THREADS_PER_OWNER_MAX).map(|_| lingering()).unzip();
            close_later_counted(sockets, &closes);
            wait_until("each has a thread", || COUNTED.lock().closing.len() == THREADS_PER_OWNER_MAX);
            let (mut reader, writer) = pipe().unwrap();
            close_later_counted([writer.into()], &closes);
            wait_until("the pipe is set aside", || COUNTED.lock().aside.len() == 1);
            assert!(is_closed(pipe().unwrap()), "those of sessions are closed");
            wait_until("nothing of sessions waits", || waiting() == 0);
            let (mut other_reader, writer) = pipe().unwrap();
            close_later_counted([writer.into()], &others);
            assert_eq!(other_reader.read(&mut [0]).unwrap(), 0, "those of another owner are closed");
            wait_until("they are counted for it", || others.waiting() == 0);
            assert_eq!(closes.waiting(), THREADS_PER_OWNER_MAX + 1);
            drop(listeners.pop());
            assert_eq!(reader.read(&mut [0]).unwrap(), 0, "a thread has come free");
            drop(listeners);
            wait_until("nothing is left", || closes.waiting() == 0 && COUNTED.lock().threads == 0);
        });
    }
}
