//! What a steward asks of the connections that it serves, of whatever kind they are.
//!
//! The invariant: no call here waits for the peer. How a session of one kind goes is the business of its own file.

use super::ending::Ending;
use super::shared::StewardState;
use crate::deadline::Deadline;
use crate::error::Result;
use crate::os::closing::Connection;
use crate::os::interrupt::Interrupter;
use crate::os::peer::Peer;
use rustix::fd::{AsFd, BorrowedFd};
use std::fmt::Debug;
use std::sync::mpsc::{Receiver, SyncSender};
use std::time::{Duration, Instant};

/// A connection as its steward serves it.
pub(super) trait Served: Debug + Send {
    /// The descriptors that can be watched.
    fn fds(&self) -> Fds<'_>;

    /// Which of them are to be watched now, of those that are known.
    fn watched(&self) -> WatchedFds;

    /// When to serve it even if nothing is readable.
    fn deadline(&self) -> Option<Instant>;

    /// Does what is due: a descriptor is readable, its time may have come, or the steward's notice was for it.
    fn on_ready(&mut self, now: Instant, readable: Readable);

    /// Ends it, for a reason that its steward has.
    fn end(&mut self, ending: Ending);

    /// Whether there is nothing more to do. Its steward watches it no longer, and [concludes](Self::conclude) it.
    fn is_over(&self) -> bool;

    /// Hands over what it has become, if anything.
    fn conclude(self: Box<Self>) {}

    /// Its steward ends although it is not over.
    fn abandon(&self) {}

    /// The program gets an error in its place: gives back what its peer was given.
    fn take_back(&mut self) {}

    /// Whether it counts as attached.
    fn is_attached(&self) -> bool {
        false
    }

    /// Whether its peer has hung up, and it will be over in a moment.
    fn is_leaving(&self, _now: Instant) -> bool {
        false
    }

    /// Until when a peer that has hung up counts as [leaving](Self::is_leaving).
    fn gone_at(&self) -> Option<Instant> {
        None
    }

    /// Whether nobody needs it any more once the steward's handle is gone.
    fn is_idle(&self) -> bool;
}

/// Whom a steward lets in, and who is in.
pub(super) trait Reception: Debug + Send {
    fn state(&self) -> &StewardState;

    /// Whether all places are taken when this number of connections is served.
    fn is_full(&self, served: usize) -> bool;

    /// A session with the process that has connected, or `None` after it was told why not.
    fn welcome(&self, arrival: Arrival, is_full: bool) -> Option<Box<dyn Served>>;

    /// Notes how many of those served are attached.
    fn note_attached(&self, _attached: usize) {}
}

/// The descriptors of a connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fds<'a> {
    pub(super) socket: BorrowedFd<'a>,
    /// The pidfd of the peer's process, if the kernel has given one.
    pub(super) process: Option<BorrowedFd<'a>>,
}

/// Which of a connection's descriptors are watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct WatchedFds {
    pub(super) socket: bool,
    pub(super) process: bool,
}

impl WatchedFds {
    /// Those that `other` has not.
    pub(super) fn without(self, other: Self) -> Self {
        Self { socket: self.socket && !other.socket, process: self.process && !other.process }
    }
}

/// Which of a connection's descriptors are readable.
#[derive(Clone, Copy, Debug)]
pub(super) struct Readable {
    pub(super) socket: bool,
    /// The peer's process has ended.
    pub(super) process: bool,
}

/// A connection that is no session yet.
#[derive(Debug)]
pub(super) struct Arrival {
    pub(super) socket: Connection,
    pub(super) origin: ArrivalKind,
}

/// Where a connection comes from.
#[derive(Debug)]
pub(super) enum ArrivalKind {
    /// The steward has accepted it.
    Accepted,
    /// The program has handed it over, so that the kernel does not say who has connected.
    Handed,
    /// The program has connected it to a process that listened, and waits until the session stands, up to a deadline.
    Connected { listener: Peer, outcome: OutcomeSender, deadline: Deadline },
}

/// A connection that the program's thread has made and serves by itself until the session stands, or is over.
#[derive(Debug)]
pub(super) struct Meeting<'a, T> {
    pub(super) arrival: Arrival,
    /// How it ended. The steward keeps the deadline.
    pub(super) outcome: &'a Receiver<Result<T>>,
    pub(super) interrupter: Option<&'a Interrupter>,
    /// What the program waits for, in words that follow "while".
    pub(super) doing: &'a str,
}

/// Says how a handshake has ended to the program's thread that waits for that.
#[derive(Debug)]
pub(super) struct OutcomeSender(pub(super) SyncSender<Result<()>>);

impl OutcomeSender {
    /// Says it, unless the program waits no more: `false` then.
    pub(super) fn say(self, outcome: Result<()>) -> bool {
        // Sent once, to where there is room for one.
        self.0.send(outcome).is_ok()
    }
}

/// The process at the other end, as far as it is known, and whether it still runs.
#[derive(Debug)]
pub(super) struct PeerProcess {
    pub(super) peer: Peer,
    is_dead: bool,
    /// When to look whether it lives; `None` if its pidfd tells.
    look_at: Option<Instant>,
}

/// How often a process is looked at that the kernel gives no pidfd for.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

impl PeerProcess {
    pub(super) fn new(peer: Peer) -> Self {
        let look_at = (peer.pidfd.is_none() && peer.pid.is_some()).then(|| Instant::now() + LOOK_INTERVAL);
        Self { peer, is_dead: false, look_at }
    }

    pub(super) fn pidfd(&self) -> Option<BorrowedFd<'_>> {
        self.peer.pidfd.as_ref().map(AsFd::as_fd)
    }

    pub(super) fn look_at(&self) -> Option<Instant> {
        self.look_at
    }

    pub(super) fn is_dead(&self) -> bool {
        self.is_dead
    }

    /// Notes whether it has ended: `is_readable` says whether its pidfd is. Looks by itself if there is none and it is
    /// time: a child of it may keep the socket open.
    pub(super) fn note(&mut self, now: Instant, is_readable: bool) -> Death {
        let mut is_dead = is_readable;
        if self.look_at.is_some_and(|at| now >= at) {
            is_dead |= self.peer.is_dead();
            self.look_at = (!is_dead).then(|| now + LOOK_INTERVAL);
        }
        let is_news = is_dead && !self.is_dead;
        self.is_dead |= is_dead;
        Death { is_seen: self.is_dead, is_news }
    }
}

/// If this end has connected: the process that listened, until the first frame says who is there. The socket may not
/// tell of its end: a child that it has forked can keep it open.
#[derive(Debug)]
pub(super) struct Awaited {
    pub(super) listener: Peer,
    look_at: Instant,
}

/// How long a process may take to begin that a service manager starts for a connection, if the one before is dead. If
/// nobody comes by then, the socket was left over.
pub(super) const HEIR_GRACE: Duration = Duration::from_secs(2);
/// How often a process is looked at that has listened and says nothing.
const AWAITED_LOOK_INTERVAL: Duration = Duration::from_millis(100);

impl Awaited {
    pub(super) fn new(listener: Peer) -> Self {
        let pause = if listener.is_dead() { HEIR_GRACE } else { AWAITED_LOOK_INTERVAL };
        Self { listener, look_at: Instant::now() + pause }
    }

    /// When to go on with a handshake although nothing has come: it has taken too long, or it is time to look whether
    /// the process that listened lives.
    pub(super) fn due_at(awaited: Option<&Self>, deadline: Deadline) -> Option<Instant> {
        let at = if let Deadline::At(at) = deadline { Some(at) } else { None };
        at.into_iter().chain(awaited.map(|awaited| awaited.look_at)).min()
    }

    /// Whether it is time to look, and it has ended. What it sent before that is still to be read.
    pub(super) fn is_found_dead(&mut self, now: Instant) -> bool {
        if now < self.look_at {
            return false;
        }
        self.look_at = now + AWAITED_LOOK_INTERVAL;
        self.listener.is_dead()
    }
}

/// What is known of the end of a process.
#[derive(Clone, Copy, Debug)]
pub(super) struct Death {
    pub(super) is_seen: bool,
    /// It was not known before.
    pub(super) is_news: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::process::{Pid, PidfdFlags, pidfd_open};
    use std::process::Command;

    #[test]
    fn another_process_may_take_over_from_a_listener_that_was_dead_already() {
        let mut child = Command::new("true").spawn().unwrap();
        let pidfd = Some(pidfd_open(Pid::from_child(&child), PidfdFlags::empty()).unwrap());
        child.wait().unwrap();
        let start = Instant::now();
        let mut awaited = Awaited::new(Peer { pid: Some(child.id()), uid: None, pidfd });
        assert!(!awaited.is_found_dead(start + HEIR_GRACE / 2));
        let due = Awaited::due_at(Some(&awaited), Deadline::Never).unwrap();
        assert!(due >= start + HEIR_GRACE);
        assert!(awaited.is_found_dead(due));
        assert_eq!(Awaited::due_at(Some(&awaited), Deadline::At(start)), Some(start));
    }

    #[test]
    fn a_listener_that_lives_is_looked_at_again_and_again() {
        let mut awaited = Awaited::new(Peer { pid: Some(std::process::id()), uid: None, pidfd: None });
        let due = Awaited::due_at(Some(&awaited), Deadline::Never).unwrap();
        assert!(due <= Instant::now() + AWAITED_LOOK_INTERVAL);
        assert!(!awaited.is_found_dead(due));
        assert_eq!(Awaited::due_at(Some(&awaited), Deadline::Never), Some(due + AWAITED_LOOK_INTERVAL));
    }
}
