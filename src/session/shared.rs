//! What a handle, its steward and its sessions share: what has happened so far, and a server's offering.

use super::PeerPolicy;
use super::connecting::check_interrupt;
use super::listener::{Listener, Placed};
use super::served::{Arrival, Meeting, Reception};
use super::steward::Steward;
use crate::deadline::Deadline;
use crate::error::{Error, Result};
use crate::lane::Lane;
use crate::os::fork::ForkGuard;
use crate::os::futex::{self, Captured, Changes, Limit};
use crate::os::interrupt::Interrupter;
use crate::os::notice::Notice;
use crate::os::poller::{Poller, Trigger};
use crate::os::thread::{self, STACK_BYTES, Thread};
use crate::sync::{Mutex, Ordering, fence};
use crate::trace::event;
use rustix::fd::{AsFd, BorrowedFd};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

/// What a server offers, and to whom.
#[derive(Debug)]
pub(super) struct Offering {
    pub(super) limits: Limits,
    /// The lanes that are offered to those who say Hello from now on. Their names are all different.
    pub(super) lanes: Mutex<Vec<Arc<Lane>>>,
    pub(super) state: Arc<StewardState>,
    /// Of lanes for one session alone: says by its drop that this is over.
    pub(super) _lease: Option<Arc<()>>,
}

/// Whom a server admits, how many at once, and how long it waits for them.
#[derive(Clone, Debug)]
pub(super) struct Limits {
    /// The most sessions at once, handshakes included.
    pub(super) sessions_max: usize,
    /// The time that a handshake may take.
    pub(super) deadline: Duration,
    pub(super) peers: PeerPolicy,
    /// Who may read in place.
    pub(super) in_place: PeerPolicy,
    /// Who is told of the consumers of all users.
    pub(super) reports: PeerPolicy,
}

/// The statistics of a server since it began to listen.
///
/// ```
/// # use fdring::{Consumer, Producer, Server};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let ticks = Producer::create("ticks")?;
/// # let server = Server::listen("@doc-server-stats-struct", [&ticks])?;
/// # let consumer = Consumer::connect("@doc-server-stats-struct")?;
/// let stats = server.stats();
/// println!("{} of {} connections were refused", stats.refused, stats.accepted);
/// if let Some(why) = &stats.last_refusal {
///     println!("the last one: {why}");
/// }
/// # assert_eq!((stats.accepted, stats.refused, stats.last_refusal), (1, 0, None));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServerStats {
    /// The sessions attached now.
    pub sessions: usize,
    /// The connections accepted so far.
    pub accepted: u64,
    /// The connections that ended before they were attached.
    pub refused: u64,
    /// The sessions attached so far. At a [`SessionListener`](crate::collect::SessionListener): the sessions opened for
    /// [`accept`](crate::collect::SessionListener::accept).
    pub attached: u64,
    /// The attached sessions whose consumer has left its lanes, by being dropped. 0 at a
    /// [`SessionListener`](crate::collect::SessionListener), which is told of the end of a session by its consumers'
    /// errors.
    pub left: u64,
    /// The attached sessions whose consumer has gone without leaving its lanes: its process died, or it hung up. A
    /// consumer that was evicted does not count. 0 at a [`SessionListener`](crate::collect::SessionListener).
    pub died: u64,
    /// The seats taken away from consumers that may still have been reading, one for each lane.
    pub evicted: u64,
    /// How often the server stopped accepting for a moment because this process was out of descriptors or memory.
    pub accept_pauses: u64,
    /// Whether the socket's file at [`Server::address`](crate::Server::address) was deleted, or another file has its
    /// place, so that consumers no longer find this server: start another one. Always false for an abstract name and
    /// for an adopted socket. It is looked for when it is asked for: no change of it makes the server's descriptor
    /// readable.
    pub address_is_lost: bool,
    /// The reason why the last connection was refused or dropped, as a sentence.
    pub last_refusal: Option<String>,
}

/// What passes between a handle and its steward.
#[derive(Debug)]
pub(super) struct StewardState {
    /// Wakes the steward.
    pub(super) notice: Arc<Notice>,
    /// Set once the handle is dropped.
    pub(super) closing: AtomicBool,
    /// Connections that the program has handed over, and the steward has not taken yet.
    pub(super) handed: Mutex<VecDeque<Arrival>>,
    pub(super) progress: Mutex<Progress>,
    /// Noted when `progress` changes.
    pub(super) changed: Changes,
    /// Raised when there is something new for the program.
    pub(super) news: Notice,
    kind: NewsKind,
}

/// What is new for the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NewsKind {
    /// The statistics have changed.
    Statistics,
    /// A session is there to be taken.
    Sessions,
}

/// What the steward has done so far.
#[derive(Debug, Default)]
pub(super) struct Progress {
    pub(super) stats: ServerStats,
    /// Whether the statistics have changed since they were last armed for.
    pub(super) has_news: bool,
    pub(super) stopped_listening: bool,
    /// The thread has nothing more to do and is about to end.
    pub(super) done: bool,
}

impl StewardState {
    pub(super) fn new(kind: NewsKind) -> Result<Self> {
        Ok(Self {
            notice: Arc::new(Notice::new()?),
            closing: AtomicBool::new(false),
            handed: Mutex::default(),
            progress: Mutex::new(Progress::default()),
            changed: Changes::default(),
            news: Notice::new()?,
            kind,
        })
    }

    pub(super) fn update(&self, change: impl FnOnce(&mut Progress)) {
        change(&mut self.progress.lock());
        self.changed.note();
    }

    /// The thread ends, perhaps by a panic: the program is to look.
    pub(super) fn end(&self) {
        self.update(|progress| progress.done = true);
        self.news.raise();
    }

    /// Changes the statistics.
    pub(super) fn count(&self, change: impl FnOnce(&mut ServerStats)) {
        self.update(|progress| {
            change(&mut progress.stats);
            progress.has_news = true;
        });
        if self.kind == NewsKind::Statistics {
            self.news.raise();
        }
    }

    /// Hands a connection to the steward.
    pub(super) fn hand_over(&self, arrival: Arrival) {
        self.handed.lock().push_back(arrival);
        self.notice.raise();
    }

    /// Says how many sessions are attached now.
    pub(super) fn note_sessions(&self, sessions: usize) {
        if self.progress.lock().stats.sessions != sessions {
            self.count(|stats| stats.sessions = sessions);
        }
    }

    /// Makes `news` unreadable until the statistics change again; whether they have changed since the last time.
    pub(super) fn take_news(&self) -> bool {
        let mut progress = self.progress.lock();
        // What is counted from here on raises it again, after the lock.
        self.news.lower();
        std::mem::take(&mut progress.has_news)
    }

    /// Counts a connection that ended before it was attached.
    pub(super) fn note_refusal(&self, sentence: &str) {
        self.count(|stats| {
            stats.refused += 1;
            stats.last_refusal = Some(sentence.to_owned());
        });
    }
}

/// A steward's thread, as a handle of the program's holds it. Dropping it stops the listening, and waits for that; if
/// nobody is left to serve, for the thread too. A steward that does not listen and has a session is not waited for.
#[derive(Debug)]
pub(super) struct StewardHandle {
    pub(super) state: Arc<StewardState>,
    thread: Option<Thread>,
    /// The socket's file, if it is ours.
    placed: Option<Placed>,
    /// Of a steward that was [met](Self::meet): the lanes of its one session.
    lanes: Vec<Arc<Lane>>,
    alarm: Option<Alarm>,
    pub(super) guard: ForkGuard,
}

/// An interrupter, and the steward's news beside it behind one descriptor.
#[derive(Debug)]
struct Alarm {
    interrupter: Interrupter,
    poller: Poller,
}

impl Alarm {
    fn new(interrupter: Interrupter, news: &Notice) -> Result<Self> {
        let watch = |poller: Poller| {
            poller.add(&interrupter, 0, Trigger::Level)?;
            poller.add(news, 1, Trigger::Level)?;
            Ok(poller)
        };
        let poller = Poller::new().and_then(watch).map_err(Error::os("watch the interrupter of a listener"))?;
        Ok(Self { interrupter, poller })
    }
}

/// Says on drop that a steward's thread has ended, even by a panic, and that all it owned is gone.
struct EndOfThread(Arc<StewardState>);

impl Drop for EndOfThread {
    fn drop(&mut self) {
        if std::thread::panicking() {
            event!(ERROR, "steward panicked");
        }
        self.0.end();
    }
}

/// The name of a steward's thread.
const THREAD_NAME: &str = "fdring-steward";

impl StewardHandle {
    /// Starts a steward.
    pub(super) fn start(
        listener: Option<Listener>,
        reception: impl Reception + 'static,
        state: Arc<StewardState>,
        interrupter: Option<Interrupter>,
        guard: ForkGuard,
    ) -> Result<Self> {
        let alarm = interrupter.map(|interrupter| Alarm::new(interrupter, &state.news)).transpose()?;
        let placed = listener.as_ref().and_then(Listener::placed);
        let steward = Steward::new(listener, reception)?;
        let end = EndOfThread(Arc::clone(&state));
        let thread = thread::start(THREAD_NAME, STACK_BYTES, move || {
            let _end = end;
            steward.run();
        })?;
        Ok(Self { state, thread: Some(thread), placed, lanes: Vec::new(), alarm, guard })
    }

    /// Starts a steward for one connection, to which it offers `lanes`. Until there is an outcome the calling thread
    /// serves that connection by itself: so no two threads of this process wait for each other meanwhile.
    ///
    /// # Errors
    ///
    /// What the outcome is; if the thread cannot be started, which is tried once the peer has answered; or if an
    /// interrupter has ended the wait. Nothing is left of the connection then.
    pub(super) fn meet<T>(
        meeting: Meeting<'_, T>,
        lanes: Vec<Arc<Lane>>,
        reception: impl Reception + 'static,
        state: Arc<StewardState>,
        interrupter: Option<Interrupter>,
        guard: ForkGuard,
    ) -> Result<(Self, T)> {
        let alarm = interrupter.map(|interrupter| Alarm::new(interrupter, &state.news)).transpose()?;
        let mut steward = Steward::new(None, reception)?;
        let end = EndOfThread(Arc::clone(&state));
        let (hands_over, handed) = sync_channel(1);
        let mut thread = None;
        // The thread begins while the peer does its part.
        let met = steward.meet(meeting, || {
            let work = move || {
                let _end = end;
                handed.into_iter().for_each(Steward::run);
            };
            thread = Some(thread::start(THREAD_NAME, STACK_BYTES, work)?);
            Ok(())
        });
        let met = met.inspect(|_| {
            // It waits for that.
            let _ = hands_over.send(steward);
        });
        drop(hands_over);
        match met {
            Ok(met) => Ok((Self { state, thread, placed: None, lanes, alarm, guard }, met)),
            Err(error) => {
                thread.into_iter().for_each(Thread::join);
                Err(error)
            }
        }
    }

    /// The statistics so far; all zero in a forked child.
    pub(super) fn stats(&self) -> ServerStats {
        if self.guard.is_child() {
            // The lock may have been held when the process forked.
            return ServerStats::default();
        }
        let mut stats = self.state.progress.lock().stats.clone();
        stats.address_is_lost = self.placed.as_ref().is_some_and(Placed::is_lost);
        stats
    }

    /// Whether the thread has ended: by a panic, if it listened.
    pub(super) fn has_ended(&self) -> bool {
        self.state.progress.lock().done
    }

    /// Whether a session stands that outlives this handle: its steward looks for the handle when the session or a lane
    /// ends.
    fn is_outlived(&self) -> bool {
        !self.lanes.is_empty()
            && !self.lanes.iter().any(|lane| lane.has_ended())
            && self.state.progress.lock().stats.sessions != 0
    }

    fn interrupter(&self) -> Option<&Interrupter> {
        self.alarm.as_ref().map(|alarm| &alarm.interrupter)
    }

    pub(super) fn check_interrupt(&self, doing: impl FnOnce() -> String) -> Result<()> {
        check_interrupt(self.interrupter(), doing)
    }

    /// Waits until anything has changed since `changed` was captured, the deadline or an interrupt.
    pub(super) fn wait(&self, changed: Captured<'_>, deadline: Deadline) {
        futex::wait(changed, None, Limit::new(deadline, self.interrupter()));
    }
}

impl AsFd for StewardHandle {
    /// Readable when there is news, or an interrupt.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.alarm.as_ref().map_or(self.state.news.as_fd(), |alarm| alarm.poller.as_fd())
    }
}

impl Drop for StewardHandle {
    fn drop(&mut self) {
        if self.guard.is_child() {
            return;
        }
        self.state.closing.store(true, Ordering::Release);
        // Pairs with the fence in `Lane::end`: either the end of a lane is seen here, or its notice has the steward
        // look for this.
        fence(Ordering::SeqCst);
        if self.is_outlived() {
            return;
        }
        self.state.notice.raise();
        let done = loop {
            let changed = self.state.changed.capture();
            let progress = self.state.progress.lock();
            if progress.stopped_listening || progress.done {
                break progress.done;
            }
            drop(progress);
            futex::wait(changed, None, Deadline::Never);
        };
        if let Some(thread) = self.thread.take().filter(|_| done) {
            thread.join();
        }
    }
}

#[cfg(all(test, feature = "tracing"))]
mod tests {
    use super::*;
    use crate::trace::tests::told;
    use rustix::event::{PollFd, PollFlags};

    #[test]
    fn the_fault_of_a_steward_is_told_of_and_its_end_is_not() {
        let state = || Arc::new(StewardState::new(NewsKind::Statistics).unwrap());
        let ended = state();
        assert!(told(|| drop(EndOfThread(Arc::clone(&ended)))).is_empty());
        assert!(ended.progress.lock().done);
        let failed = state();
        let messages = told(|| {
            let end = EndOfThread(Arc::clone(&failed));
            let fault = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
                let _end = end;
                panic!("a fault that this test has made");
            }));
            assert!(fault.is_err());
        });
        assert_eq!(messages, ["steward panicked"]);
        assert!(failed.progress.lock().done);
        let is_raised = |state: &StewardState| {
            let now = rustix::time::Timespec::default();
            rustix::event::poll(&mut [PollFd::new(&state.news, PollFlags::IN)], Some(&now)) == Ok(1)
        };
        assert!(is_raised(&failed) && is_raised(&ended), "who waits in a loop learns of it");
    }
}
