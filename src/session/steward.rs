//! The steward: a thread that serves the connections of a server, or of a consumer that listens.
//!
//! It accepts connections, sleeps until a descriptor is readable or a time has come, and lets each [`Served`] do the
//! rest, of whatever kind it is. The invariant: no peer can make it wait, and nothing it does makes a producer's thread
//! wait.

use super::connecting::check_interrupt;
use super::ending::Ending;
use super::listener::Listener;
use super::served::{Arrival, ArrivalKind, Meeting, Readable, Reception, Served, WatchedFds};
use crate::crash;
use crate::deadline::{Deadline, timespec};
use crate::error::{Error, Result};
use crate::os::closing::{self, WAITING_MAX};
use crate::os::poller::{Poller, Ready, Trigger};
use crate::sync::Ordering;
use crate::terms::Refusal;
use crate::trace::event;
use rustix::event::poll;
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::sync::mpsc::TryRecvError;
use std::time::{Duration, Instant};

/// How long a steward that is out of descriptors accepts no connections.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long the steward rests if the kernel does not let it wait.
const POLL_RETRY: Duration = Duration::from_millis(10);
/// How many connections are accepted in a row, so that a flood of them does not keep the steward from its sessions.
const ACCEPTS_PER_TURN: usize = 64;
/// How many readable descriptors the kernel names at once. If there are more, it takes turns among them.
const READABLE_PER_TURN: usize = 64;

/// The token of the notice.
const NOTICE: u64 = 0;
/// The token of the listener.
const LISTENER: u64 = 1;
/// The token of an interrupter, which no session has.
const INTERRUPT: u64 = u64::MAX;
/// The number of a steward's first session.
const FIRST_SESSION: u64 = 1;

/// The tokens of a session's socket and of its process. Numbers of sessions are never reused, so tokens are not either.
fn tokens(session: u64) -> [u64; 2] {
    [2 * session, 2 * session + 1]
}

/// The thread that serves connections.
#[derive(Debug)]
pub(super) struct Steward<R> {
    reception: R,
    /// Watches the notice, the listener unless accepting is paused, and what of the sessions is to be watched.
    poller: Poller,
    listener: Option<Listener>,
    /// Whether more may come.
    is_open: bool,
    /// The sessions by their numbers.
    sessions: BTreeMap<u64, Box<dyn Served>>,
    next_session: u64,
    /// No connection is accepted before then.
    paused_until: Option<Instant>,
    /// A connection that there is no room for yet: somebody is about to leave. No other is accepted meanwhile.
    held: Option<Arrival>,
}

impl<R: Reception> Steward<R> {
    /// Without a listener it serves those that the program hands over.
    pub(super) fn new(listener: Option<Listener>, reception: R) -> Result<Self> {
        let doing = "watch the sockets of a server (epoll)";
        let poller = Poller::new().map_err(Error::os(doing))?;
        poller.add(&*reception.state().notice, NOTICE, Trigger::Level).map_err(Error::os(doing))?;
        if let Some(listener) = &listener {
            poller.add(listener.socket(), LISTENER, Trigger::Level).map_err(Error::os(doing))?;
        }
        let (sessions, next_session) = (BTreeMap::new(), FIRST_SESSION);
        Ok(Self { reception, poller, listener, is_open: true, sessions, next_session, paused_until: None, held: None })
    }

    /// Serves until the handle is gone and nobody is left to serve.
    pub(super) fn run(mut self) {
        loop {
            // Looked at behind the last turn, too: who drops a handle while a session stands raises no notice.
            self.stop_if_closing();
            if self.is_done() {
                break;
            }
            self.turn();
        }
        self.sessions.values().for_each(|session| session.abandon());
    }

    /// Sleeps until there is something to do, and does it; whether a descriptor was readable.
    fn turn(&mut self) -> bool {
        let ready = self.wait();
        if ready.has(NOTICE) {
            self.reception.state().notice.lower();
        }
        self.stop_if_closing();
        self.serve(&ready);
        if let Some(arrival) = self.held.take() {
            self.welcome(arrival);
            self.listen_again();
        }
        self.take_handed();
        if ready.has(LISTENER) {
            self.accept();
        }
        !ready.is_empty()
    }

    /// Serves the one connection that the calling thread has made, on that thread, until `meeting` has an outcome.
    /// Calls `then` once something has come: from there on the peer is what is waited for.
    ///
    /// # Errors
    ///
    /// What the outcome or `then` is, or that an interrupter has ended the wait. The peer has no seats then.
    pub(super) fn meet<T>(&mut self, meeting: Meeting<'_, T>, then: impl FnOnce() -> Result<()>) -> Result<T> {
        self.serve_until(meeting, then)
            .inspect_err(|_| self.sessions.values_mut().for_each(|session| session.take_back()))
    }

    /// What [`meet`](Self::meet) does, but that an error may leave the peer with its seats.
    fn serve_until<T>(&mut self, meeting: Meeting<'_, T>, then: impl FnOnce() -> Result<()>) -> Result<T> {
        let Meeting { arrival, outcome, interrupter, doing } = meeting;
        let watching = interrupter.map_or(Ok(()), |fd| self.poller.add(fd, INTERRUPT, Trigger::Level));
        watching.map_err(Error::os("watch an interrupter (epoll)"))?;
        self.welcome(arrival);
        let mut then = Some(then);
        let met = loop {
            match outcome.try_recv() {
                Ok(met) => break met?,
                Err(TryRecvError::Disconnected) => return Err(Error::Closed { doing: doing.to_owned() }),
                Err(TryRecvError::Empty) => {}
            }
            check_interrupt(interrupter, || doing.to_owned())?;
            if self.turn() {
                then.take().map_or(Ok(()), |then| then())?;
            }
        };
        // A turn may have heard what came after nothing was readable.
        then.map_or(Ok(()), |then| then())?;
        interrupter.into_iter().for_each(|fd| self.poller.remove(fd));
        Ok(met)
    }

    /// Whether nobody can need this thread any more.
    fn is_done(&self) -> bool {
        !self.is_open && self.sessions.values().all(|session| session.is_idle())
    }

    /// Sleeps until there is something to do; what is readable then.
    fn wait(&mut self) -> Ready<READABLE_PER_TURN> {
        self.end_pause();
        let deadlines = self.sessions.values().filter_map(|session| session.deadline());
        let leaving = self.held.iter().flat_map(|_| self.sessions.values().filter_map(|session| session.gone_at()));
        let next = deadlines.chain(leaving).chain(self.paused_until).min();
        match self.poller.wait(next.and_then(|at| Deadline::At(at).remaining()).map(whole_millis)) {
            Ok(ready) => return ready,
            Err(Errno::INTR) => {}
            // Out of memory, or a limit of descriptors that was lowered to 0: tries again later.
            Err(_) => _ = poll(&mut [], Some(&timespec(POLL_RETRY))),
        }
        Ready::from_iter([])
    }

    /// Serves every session: readable or not, its time may have come, or the notice may have been for it.
    fn serve(&mut self, ready: &Ready<READABLE_PER_TURN>) {
        let now = Instant::now();
        let mut over = Vec::new();
        for (number, session) in &mut self.sessions {
            let [socket, process] = tokens(*number).map(|token| ready.has(token));
            let before = watched_of(&**session);
            session.on_ready(now, Readable { socket, process });
            let after = watched_of(&**session);
            if watch(&self.poller, *number, &mut **session, after.without(before)).is_ok() {
                unwatch(&self.poller, &**session, before.without(after));
            } else {
                unwatch(&self.poller, &**session, before);
            }
            if session.is_over() {
                over.push(*number);
            }
        }
        for number in over {
            self.sessions.remove(&number).into_iter().for_each(Served::conclude);
        }
        let attached = self.sessions.values().filter(|session| session.is_attached()).count();
        self.reception.note_attached(attached);
    }

    /// Accepts the connections that wait, as far as there is room.
    fn accept(&mut self) {
        for _ in 0..ACCEPTS_PER_TURN {
            let Some(listener) = self.listener.as_ref().filter(|_| self.held.is_none()) else { return };
            if closing::waiting() >= WAITING_MAX {
                let doing = format!("accept a connection while {WAITING_MAX} descriptors of others wait to be closed");
                return self.pause(&Error::os(doing)(Errno::MFILE));
            }
            match listener.accept() {
                Ok(socket) => self.welcome(Arrival { socket, origin: ArrivalKind::Accepted }),
                Err(Errno::INTR | Errno::CONNABORTED) => {}
                Err(Errno::WOULDBLOCK) => return,
                Err(error) => return self.pause(&Error::os("accept a connection")(error)),
            }
        }
    }

    /// Takes what the program has handed over, as far as there is room.
    fn take_handed(&mut self) {
        while self.held.is_none() {
            let Some(arrival) = self.reception.state().handed.lock().pop_front() else { return };
            self.welcome(arrival);
        }
    }

    /// Stops accepting for a moment, and notes why.
    fn pause(&mut self, error: &Error) {
        if let Some(listener) = &self.listener {
            self.poller.remove(listener.socket());
        }
        self.paused_until = Some(Instant::now() + ACCEPT_PAUSE);
        event!(WARN, "accepting paused", reason = %error);
        self.reception.state().count(|stats| {
            stats.accept_pauses += 1;
            stats.last_refusal = Some(error.to_string());
        });
    }

    /// Accepts again if the pause is over; pauses once more if the kernel has no room to watch the listener.
    fn end_pause(&mut self) {
        if self.paused_until.is_none_or(|until| until > Instant::now()) {
            return;
        }
        self.paused_until = None;
        self.listen_again();
    }

    /// Watches the listener again, unless accepting is paused for another reason.
    fn listen_again(&mut self) {
        let Some(listener) = &self.listener else { return };
        if self.held.is_some() || self.paused_until.is_some() {
            return;
        }
        if let Err(error) = self.poller.add(listener.socket(), LISTENER, Trigger::Level) {
            self.pause(&Error::os("watch for connections (fs.epoll.max_user_watches)")(error));
        }
    }

    /// Stops listening if the handle is gone.
    fn stop_if_closing(&mut self) {
        if self.reception.state().closing.load(Ordering::Acquire) {
            self.stop_listening();
        }
    }

    /// Closes the listener, and says so unless the thread is about to end.
    fn stop_listening(&mut self) {
        if !std::mem::replace(&mut self.is_open, false) {
            return;
        }
        if let Some(listener) = self.listener.take() {
            self.poller.remove(listener.socket());
        }
        self.held = None;
        self.reception.state().handed.lock().clear();
        if !self.is_done() {
            self.reception.state().update(|progress| progress.stopped_listening = true);
        }
    }

    /// Begins a session with the process that has connected, or tells it why not.
    fn welcome(&mut self, arrival: Arrival) {
        crash::point!("steward-accepted");
        // A peer that has left before this one connected, in the same process even, is not in its way.
        let now = Instant::now();
        let is_full = self.reception.is_full(self.sessions.len());
        if is_full && self.sessions.values().any(|session| session.is_leaving(now)) {
            if let Some(listener) = &self.listener {
                self.poller.remove(listener.socket());
            }
            self.held = Some(arrival);
            return;
        }
        self.reception.state().count(|stats| stats.accepted += 1);
        let Some(mut session) = self.reception.welcome(arrival, is_full) else { return };
        let wanted = watched_of(&*session);
        if watch(&self.poller, self.next_session, &mut *session, wanted).is_ok() {
            self.sessions.insert(self.next_session, session);
        }
        self.next_session += 1;
    }
}

/// A time in whole milliseconds, as one call of epoll_wait(2) can wait for: nothing here is due more exactly.
fn whole_millis(time: Duration) -> Duration {
    let rounded = time.saturating_add(Duration::from_nanos(999_999));
    Duration::new(rounded.as_secs(), rounded.subsec_millis() * 1_000_000)
}

/// What is watched of a session that has been served: no more than there is.
fn watched_of(session: &dyn Served) -> WatchedFds {
    let WatchedFds { socket, process } = session.watched();
    WatchedFds { socket, process: process && session.fds().process.is_some() }
}

/// Watches these descriptors of a session, or none of them and ends it.
fn watch(poller: &Poller, number: u64, session: &mut dyn Served, which: WatchedFds) -> Result<(), ()> {
    let [socket, process] = tokens(number);
    let watches = || -> rustix::io::Result<()> {
        let fds = session.fds();
        if which.socket {
            poller.add(fds.socket, socket, Trigger::Level)?;
        }
        fds.process.filter(|_| which.process).map_or(Ok(()), |fd| poller.add(fd, process, Trigger::Level))
    };
    watches().map_err(|error| {
        unwatch(poller, session, which);
        let error = Error::os("watch a connection and its process (fs.epoll.max_user_watches)")(error);
        session.end(Ending::Refuse(Refusal::Descriptors, error.to_string()));
    })
}

/// Watches these descriptors of a session no longer. To close them is not enough: the kernel goes on watching them for
/// as long as a forked child has them.
fn unwatch(poller: &Poller, session: &dyn Served, which: WatchedFds) {
    let fds = session.fds();
    if which.socket {
        poller.remove(fds.socket);
    }
    if let Some(process) = fds.process.filter(|_| which.process) {
        poller.remove(process);
    }
}

#[cfg(test)]
mod tests {
    use super::super::served::Fds;
    use super::super::shared::{NewsKind, StewardState};
    use super::*;
    use crate::os::closing::Connection;
    use crate::os::fork::ForkGuard;
    use crate::test_support::wait_until;
    use rustix::fd::{AsFd, OwnedFd};
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
    use std::sync::Arc;
    use std::sync::atomic::AtomicBool;
    use std::sync::mpsc::{SyncSender, sync_channel};

    /// Lets everybody in.
    #[derive(Debug)]
    struct Open(Arc<StewardState>);

    impl Reception for Open {
        fn state(&self) -> &StewardState {
            &self.0
        }

        fn is_full(&self, _served: usize) -> bool {
            false
        }

        fn welcome(&self, Arrival { socket, .. }: Arrival, _is_full: bool) -> Option<Box<dyn Served>> {
            Some(Box::new(Brief { socket, state: Arc::clone(&self.0), is_over: false }))
        }
    }

    /// A session whose steward's handle is dropped while it is served, and that is over then.
    #[derive(Debug)]
    struct Brief {
        socket: Connection,
        state: Arc<StewardState>,
        is_over: bool,
    }

    impl Served for Brief {
        fn fds(&self) -> Fds<'_> {
            Fds { socket: self.socket.as_fd(), process: None }
        }

        fn watched(&self) -> WatchedFds {
            WatchedFds { socket: !self.is_over, process: false }
        }

        fn deadline(&self) -> Option<Instant> {
            None
        }

        fn on_ready(&mut self, _now: Instant, readable: Readable) {
            self.state.closing.store(readable.socket, Ordering::Release);
            self.is_over = readable.socket;
        }

        fn end(&mut self, _ending: Ending) {}

        fn is_over(&self) -> bool {
            self.is_over
        }

        fn is_idle(&self) -> bool {
            false
        }
    }

    fn pair() -> (OwnedFd, OwnedFd) {
        socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap()
    }

    #[test]
    fn a_steward_whose_handle_is_dropped_as_its_last_session_ends_needs_no_notice() {
        let state = Arc::new(StewardState::new(NewsKind::Statistics).unwrap());
        let steward = Steward::new(None, Open(Arc::clone(&state))).unwrap();
        let (ours, theirs) = pair();
        let socket = Connection::new(ours, ForkGuard::get().unwrap());
        state.hand_over(Arrival { socket, origin: ArrivalKind::Handed });
        rustix::io::write(&theirs, b"hello").unwrap();
        let thread = std::thread::spawn(|| steward.run());
        wait_until("it has ended", || thread.is_finished());
        thread.join().unwrap();
    }

    /// Lets in one that is attached as soon as it is served, and says so.
    #[derive(Debug)]
    struct Prompt {
        state: Arc<StewardState>,
        says: SyncSender<Result<()>>,
        is_taken_back: Arc<AtomicBool>,
    }

    impl Reception for Prompt {
        fn state(&self) -> &StewardState {
            &self.state
        }

        fn is_full(&self, _served: usize) -> bool {
            false
        }

        fn welcome(&self, Arrival { socket, .. }: Arrival, _is_full: bool) -> Option<Box<dyn Served>> {
            let (says, is_taken_back) = (self.says.clone(), Arc::clone(&self.is_taken_back));
            Some(Box::new(Attached { socket, says, is_taken_back }))
        }
    }

    #[derive(Debug)]
    struct Attached {
        socket: Connection,
        says: SyncSender<Result<()>>,
        is_taken_back: Arc<AtomicBool>,
    }

    impl Served for Attached {
        fn fds(&self) -> Fds<'_> {
            Fds { socket: self.socket.as_fd(), process: None }
        }

        fn watched(&self) -> WatchedFds {
            WatchedFds { socket: true, process: false }
        }

        fn deadline(&self) -> Option<Instant> {
            Some(Instant::now())
        }

        fn on_ready(&mut self, _now: Instant, _readable: Readable) {
            let _ = self.says.try_send(Ok(()));
        }

        fn end(&mut self, _ending: Ending) {}

        fn is_over(&self) -> bool {
            false
        }

        fn take_back(&mut self) {
            self.is_taken_back.store(true, Ordering::Relaxed);
        }

        fn is_idle(&self) -> bool {
            false
        }
    }

    /// Meets one that is attached in the first turn, in which something was readable or not; what `then` says of it.
    fn meet_prompt(is_readable: bool, then: impl FnOnce() -> Result<()>) -> (Result<()>, bool) {
        let (ours, theirs) = pair();
        if is_readable {
            rustix::io::write(&theirs, b"hello").unwrap();
        }
        let (says, outcome) = sync_channel(1);
        let is_taken_back = Arc::new(AtomicBool::new(false));
        let state = Arc::new(StewardState::new(NewsKind::Statistics).unwrap());
        let prompt = Prompt { state, says, is_taken_back: Arc::clone(&is_taken_back) };
        let mut steward = Steward::new(None, prompt).unwrap();
        let socket = Connection::new(ours, ForkGuard::get().unwrap());
        let arrival = Arrival { socket, origin: ArrivalKind::Handed };
        let met = steward.meet(Meeting { arrival, outcome: &outcome, interrupter: None, doing: "meeting" }, then);
        (met, is_taken_back.load(Ordering::Relaxed))
    }

    #[test]
    fn a_session_that_stands_has_its_thread_even_if_nothing_was_readable() {
        for is_readable in [false, true] {
            let mut has_begun = false;
            let (met, is_taken_back) = meet_prompt(is_readable, || {
                has_begun = true;
                Ok(())
            });
            assert!(met.is_ok() && has_begun && !is_taken_back);
        }
    }

    #[test]
    fn a_session_that_stands_and_can_have_no_thread_gives_its_seats_back() {
        for is_readable in [false, true] {
            let (met, is_taken_back) = meet_prompt(is_readable, || Err(Error::os("start a thread")(Errno::AGAIN)));
            assert!(met.is_err() && is_taken_back);
        }
    }

    #[test]
    fn a_wait_is_rounded_up_to_whole_milliseconds() {
        for (time, rounded) in [(0, 0), (1, 1_000_000), (1_000_000, 1_000_000), (1_999_999_999, 2_000_000_000)] {
            assert_eq!(whole_millis(Duration::from_nanos(time)), Duration::from_nanos(rounded));
        }
    }
}
