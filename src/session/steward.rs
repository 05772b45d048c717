//! The steward: the thread that serves a server's consumers.
//!
//! It accepts connections, sleeps until a descriptor is readable or a time has come, and lets each [`ConsumerSession`]
//! do the rest. The invariant: no consumer can make it wait, and nothing it does makes a producer's thread wait.

use super::ending::Ending;
use super::listener::Listener;
use super::serving::{ConsumerSession, Readable, Watched, check_user, turn_away};
use super::shared::Offering;
use crate::crash;
use crate::deadline::{Deadline, timespec};
use crate::error::{Error, Result};
use crate::lane::random_id;
use crate::os::closing::{self, Connection};
use crate::os::peer::Peer;
use crate::os::poller::{Poller, Ready, Trigger};
use crate::sync::Ordering;
use crate::terms::Refusal;
use rustix::event::poll;
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// How long a server that is out of descriptors accepts no connections.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long the steward rests if the kernel does not let it wait.
const POLL_RETRY: Duration = Duration::from_millis(10);
/// How many connections are accepted in a row, so that a flood of them does not keep the steward from its sessions.
const ACCEPTS_PER_TURN: usize = 64;
/// How many readable descriptors the kernel names at once. If there are more, it takes turns among them.
const READABLE_PER_TURN: usize = 64;

/// How many descriptors may wait to be closed before no connection is accepted. Only peers that send some to a socket
/// that takes none make any wait.
const CLOSING_MAX: usize = 64;

/// The token of the notice.
const NOTICE: u64 = 0;
/// The token of the listener.
const LISTENER: u64 = 1;
/// The number of a server's first session.
const FIRST_SESSION: u64 = 1;

/// The tokens of a session's socket and of its process. Numbers of sessions are never reused, so tokens are not either.
fn tokens(session: u64) -> [u64; 2] {
    [2 * session, 2 * session + 1]
}

/// The thread that serves consumers.
#[derive(Debug)]
pub(super) struct Steward {
    offering: Offering,
    /// Watches the notice, the listener unless accepting is paused, and the sessions that are to be watched.
    poller: Poller,
    listener: Option<Listener>,
    /// Whether more consumers may come.
    is_open: bool,
    /// The sessions by their numbers.
    sessions: BTreeMap<u64, ConsumerSession>,
    next_session: u64,
    /// No connection is accepted before then.
    paused_until: Option<Instant>,
    /// A connection that there is no room for yet: a consumer is about to leave. No other is accepted meanwhile.
    held: Option<Arrival>,
}

/// A connection that is no session yet.
#[derive(Debug)]
struct Arrival {
    socket: Connection,
    /// The program has handed it over, so that the kernel does not say who has connected.
    is_handed: bool,
}

impl Steward {
    /// Without a listener it serves those that the program hands over.
    pub(super) fn new(listener: Option<Listener>, offering: Offering) -> Result<Self> {
        let doing = "watch the sockets of a server (epoll)";
        let poller = Poller::new().map_err(Error::os(doing))?;
        poller.add(&*offering.state.notice, NOTICE, Trigger::Level).map_err(Error::os(doing))?;
        if let Some(listener) = &listener {
            poller.add(listener.socket(), LISTENER, Trigger::Level).map_err(Error::os(doing))?;
        }
        let (sessions, next_session) = (BTreeMap::new(), FIRST_SESSION);
        Ok(Self { offering, poller, listener, is_open: true, sessions, next_session, paused_until: None, held: None })
    }

    /// Serves until the handle is gone and no consumer is left to serve.
    pub(super) fn run(mut self) {
        while !self.is_done() {
            let ready = self.wait();
            self.offering.state.notice.lower();
            if self.offering.state.closing.load(Ordering::Acquire) {
                self.stop_listening();
            }
            self.serve(&ready);
            if let Some(arrival) = self.held.take() {
                self.welcome(arrival);
                self.listen_again();
            }
            self.take_handed();
            if ready.has(LISTENER) {
                self.accept();
            }
        }
    }

    /// Whether nobody can need this thread any more.
    fn is_done(&self) -> bool {
        !self.is_open && self.sessions.values().all(ConsumerSession::lanes_have_ended)
    }

    /// Sleeps until there is something to do; what is readable then.
    fn wait(&mut self) -> Ready<READABLE_PER_TURN> {
        self.end_pause();
        let deadlines = self.sessions.values().filter_map(ConsumerSession::next_deadline);
        let leaving = self.held.iter().flat_map(|_| self.sessions.values().filter_map(ConsumerSession::gone_at));
        let next = deadlines.chain(leaving).chain(self.paused_until).min();
        match self.poller.wait(next.and_then(|at| Deadline::At(at).remaining())) {
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
        for (number, session) in &mut self.sessions {
            let [socket, process] = tokens(*number).map(|token| ready.has(token));
            let before = session.watched();
            let was_known = session.process().is_some();
            session.serve(&self.offering, now, Readable { socket, process });
            if !was_known {
                watch_process(&self.poller, *number, session, &self.offering);
            }
            unwatch(&self.poller, session, before.without(session.watched()));
        }
        self.sessions.retain(|_, session| !session.is_over());
        let attached = self.sessions.values().filter(|session| session.is_attached()).count();
        self.offering.state.note_sessions(attached);
    }

    /// Accepts the connections that wait, as far as there is room.
    fn accept(&mut self) {
        for _ in 0..ACCEPTS_PER_TURN {
            let Some(listener) = self.listener.as_ref().filter(|_| self.held.is_none()) else { return };
            if closing::waiting() >= CLOSING_MAX {
                let doing = format!("accept a consumer while {CLOSING_MAX} descriptors of others wait to be closed");
                return self.pause(&Error::os(doing)(Errno::MFILE));
            }
            match listener.accept() {
                Ok(socket) => self.welcome(Arrival { socket, is_handed: false }),
                Err(Errno::INTR | Errno::CONNABORTED) => {}
                Err(Errno::WOULDBLOCK) => return,
                Err(error) => return self.pause(&Error::os("accept a consumer")(error)),
            }
        }
    }

    /// Takes what the program has handed over, as far as there is room.
    fn take_handed(&mut self) {
        while self.held.is_none() {
            let Some(socket) = self.offering.state.handed.lock().pop_front() else { return };
            self.welcome(Arrival { socket, is_handed: true });
        }
    }

    /// Stops accepting for a moment, and notes why.
    fn pause(&mut self, error: &Error) {
        if let Some(listener) = &self.listener {
            self.poller.remove(listener.socket());
        }
        self.paused_until = Some(Instant::now() + ACCEPT_PAUSE);
        self.offering.state.count(|stats| {
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
            self.pause(&Error::os("watch for consumers that connect (fs.epoll.max_user_watches)")(error));
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
        self.offering.state.handed.lock().clear();
        if !self.is_done() {
            self.offering.state.update(|progress| progress.stopped_listening = true);
        }
    }

    /// Begins a session with the consumer that has connected, or tells it why not.
    fn welcome(&mut self, arrival: Arrival) {
        crash::point!("steward-accepted");
        // Whoever has left before this one connected, in the same process even, is not in its way.
        let now = Instant::now();
        if self.is_full() && self.sessions.values().any(|session| session.is_leaving(now)) {
            if let Some(listener) = &self.listener {
                self.poller.remove(listener.socket());
            }
            self.held = Some(arrival);
            return;
        }
        self.offering.state.count(|stats| stats.accepted += 1);
        let (peer, id) = match self.admit(&arrival) {
            Ok(admitted) => admitted,
            Err(ending) => return turn_away(&self.offering, &arrival.socket, ending),
        };
        let mut session = ConsumerSession::new(&self.offering, arrival.socket, peer, id);
        match watch(&self.poller, self.next_session, &session) {
            Ok(()) => _ = self.sessions.insert(self.next_session, session),
            Err(error) => session.end(&self.offering, Ending::Refuse(Refusal::Descriptors, error.to_string())),
        }
        self.next_session += 1;
    }

    /// Whether all sessions are taken.
    fn is_full(&self) -> bool {
        self.sessions.len() >= self.offering.limits.sessions_max
    }

    /// The process that has connected, if it is known already, is admitted and there is room; and an id for its
    /// session.
    fn admit(&self, arrival: &Arrival) -> Result<(Option<Peer>, [u8; 16]), Ending> {
        let limits = &self.offering.limits;
        let refuse = |code, sentence| Err(Ending::Refuse(code, sentence));
        let peer = match Peer::of(&arrival.socket) {
            // That is whoever made the socket: its first frame will say who has it.
            _ if arrival.is_handed => None,
            Ok(peer) => Some(peer),
            Err(error) => return refuse(Refusal::Descriptors, error.to_string()),
        };
        peer.iter().try_for_each(|peer| check_user(&self.offering, peer))?;
        if self.is_full() {
            let sentence = format!("all {} sessions are taken; try again later", limits.sessions_max);
            return refuse(Refusal::Busy, sentence);
        }
        let id = random_id().map_err(|error| Ending::Refuse(Refusal::Internal, error.to_string()))?;
        Ok((peer, id))
    }
}

/// Watches the descriptors of a session, or none of them.
fn watch(poller: &Poller, number: u64, session: &ConsumerSession) -> Result<()> {
    let [socket, process] = tokens(number);
    let watch = |fd, token| poller.add(fd, token, Trigger::Level);
    let watched =
        watch(session.socket(), socket).and_then(|()| session.process().map_or(Ok(()), |fd| watch(fd, process)));
    watched.map_err(|error| {
        unwatch(poller, session, Watched::BOTH);
        Error::os("watch the connection of a consumer (fs.epoll.max_user_watches)")(error)
    })
}

/// Watches the process of a session whose first frame has just said which it is.
fn watch_process(poller: &Poller, number: u64, session: &mut ConsumerSession, offering: &Offering) {
    let Some(process) = session.process().filter(|_| session.watched().process) else { return };
    if let Err(error) = poller.add(process, tokens(number)[1], Trigger::Level) {
        let error = Error::os("watch the process of a consumer (fs.epoll.max_user_watches)")(error);
        session.end(offering, Ending::Refuse(Refusal::Descriptors, error.to_string()));
    }
}

/// Watches these descriptors of a session no longer. To close them is not enough: the kernel goes on watching them for
/// as long as a forked child has them.
fn unwatch(poller: &Poller, session: &ConsumerSession, which: Watched) {
    if which.socket {
        poller.remove(session.socket());
    }
    if let Some(process) = session.process().filter(|_| which.process) {
        poller.remove(process);
    }
}
