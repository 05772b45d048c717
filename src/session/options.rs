//! How a session is opened: for which lanes, with whom, and how patiently.
//!
//! What this file does not do: one try to connect is [`Session::open`](super::client::Session::open).

use super::client::Session;
use super::{Address, HANDSHAKE_DEADLINE, PeerPolicy};
use crate::deadline::{Deadline, timespec};
use crate::error::Result;
use crate::lane::SPIN_DEFAULT;
use rustix::event::poll;
use std::time::Duration;

/// The first and the longest pause between two tries of a patient client.
const PATIENCE_PAUSE_MIN: Duration = Duration::from_millis(1);
const PATIENCE_PAUSE_MAX: Duration = Duration::from_millis(100);

/// Options for opening a session; [`connect`](Self::connect) opens it.
///
/// ```
/// use fdring::options::SessionOptions;
/// use fdring::{Attach, Producer, Server};
/// use std::time::Duration;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let ticks = Producer::create("ticks")?;
/// # let server = Server::listen("@doc-session-options", [&ticks])?;
/// let options = SessionOptions::new().lanes(["ticks"]).patience(Duration::from_secs(10));
/// let consumer = options.connect("@doc-session-options")?.attach_one(Attach::new())?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use = "options do nothing until a session is opened with them"]
pub struct SessionOptions {
    pub(super) lanes: Vec<String>,
    pub(super) deadline: Duration,
    pub(super) patience: Duration,
    pub(super) peers: PeerPolicy,
    pub(super) spin: Duration,
    pub(super) prefault: bool,
    pub(super) core_dumps: bool,
}

impl SessionOptions {
    /// The defaults: all lanes that are offered, by a process of this user that listens already.
    pub fn new() -> Self {
        Self {
            lanes: Vec::new(),
            deadline: HANDSHAKE_DEADLINE,
            patience: Duration::ZERO,
            peers: PeerPolicy::SameUser,
            spin: SPIN_DEFAULT,
            prefault: true,
            core_dumps: false,
        }
    }

    /// The lanes to ask for, by name, in this order; at most 83. Default: all that are offered. Only these are mapped.
    pub fn lanes(mut self, names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.lanes = names.into_iter().map(Into::into).collect();
        self
    }

    /// How long the handshake may take, from the moment of connecting until the lanes are attached to. Default: 5 s.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// How long [`connect`](Self::connect) tries again while the server has not started, is restarting, or is busy:
    /// after any error that [is worth it](crate::Error::is_worth_retrying). It pauses for 1 ms at first and for 100 ms
    /// in the end. Default: no time, one try.
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Which users' processes may be at the other end. Default: those of this user.
    pub fn peers(mut self, peers: PeerPolicy) -> Self {
        self.peers = peers;
        self
    }

    /// How long a consumer spins for a record before it sleeps. Default: 50 µs. Use 0 if producer and consumers share
    /// one processor.
    pub fn spin(mut self, spin: Duration) -> Self {
        self.spin = spin;
        self
    }

    /// Whether every page of the rings is mapped at once, so that the first lap is not slower. Default: true. For
    /// 256 MiB that takes about 38 ms.
    pub fn prefault(mut self, prefault: bool) -> Self {
        self.prefault = prefault;
        self
    }

    /// Whether core dumps of this process contain the rings. Default: false. Such a dump is as long as the rings, may
    /// hold secrets, and takes long to write, during which a
    /// consumer holds its lanes back.
    pub fn core_dumps(mut self, core_dumps: bool) -> Self {
        self.core_dumps = core_dumps;
        self
    }

    /// Connects to the server at `address`, and maps and checks the lanes it offers.
    ///
    /// # Errors
    ///
    /// [`Error::Os`](crate::Error::Os) if no server listens there, or memory or descriptors are lacking;
    /// [`Error::Refused`](crate::Error::Refused) if the server refuses, for example because it has no lane of that
    /// name; [`Error::Forbidden`](crate::Error::Forbidden) if the server runs as a user that is not admitted;
    /// [`Error::Peer`](crate::Error::Peer) if what it sends must not be mapped; [`Error::Closed`](crate::Error::Closed)
    /// if it ends the connection; [`Error::Invalid`](crate::Error::Invalid) for an address or a lane's name that is out
    /// of range; [`Error::TimedOut`](crate::Error::TimedOut) if the handshake takes too long;
    /// [`Error::Forked`](crate::Error::Forked) in a forked child. After [`patience`](Self::patience), the error of the
    /// last try.
    pub fn connect(self, address: impl Into<Address>) -> Result<Session> {
        let address = address.into();
        let patience = Deadline::after(self.patience);
        let mut pause = PATIENCE_PAUSE_MIN;
        loop {
            match Session::open(&address, &self) {
                Err(error) if error.is_worth_retrying() && !patience.has_passed() => {
                    let pause_now = patience.remaining().map_or(pause, |remaining| pause.min(remaining));
                    // A signal may end it early.
                    let _ = poll(&mut [], Some(&timespec(pause_now)));
                    pause = (2 * pause).min(PATIENCE_PAUSE_MAX);
                }
                outcome => return outcome,
            }
        }
    }
}

impl Default for SessionOptions {
    fn default() -> Self {
        Self::new()
    }
}
