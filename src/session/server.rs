//! A server, as the program holds it: options, the handle, what it has seen.
//!
//! The work is done by the [`steward`](super::steward), a thread. What this file does not do: it touches neither a
//! socket nor a seat.

use super::listener::Listener;
use super::shared::{ServerStats, Shared, Status, Terms};
use super::steward::Steward;
use super::{Address, HANDSHAKE_DEADLINE, PeerPolicy};
use crate::error::{Error, Result};
use crate::lane::Lane;
use crate::producer::Producer;
use crate::region::ForkGuard;
use crate::sync::Ordering;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

/// How many sessions a server has at once, unless told otherwise.
const SESSIONS_MAX: usize = 64;

/// How a server listens, and whom it admits.
///
/// ```
/// use fdring::{LaneOptions, Producer, ServerOptions};
///
/// # fn main() -> fdring::Result<()> {
/// let ticks = Producer::create(LaneOptions::new("ticks"))?;
/// let server = ServerOptions::new().sessions_max(8).listen("@doc-server-options", &[&ticks])?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use = "options do nothing until a server listens with them"]
pub struct ServerOptions {
    terms: Terms,
    mode: u32,
}

impl ServerOptions {
    /// At most 64 sessions, of this user's processes, on a socket of the mode 0600.
    pub fn new() -> Self {
        let terms = Terms {
            sessions_max: SESSIONS_MAX,
            deadline: HANDSHAKE_DEADLINE,
            peers: PeerPolicy::SameUser,
            in_place: PeerPolicy::SameUser,
        };
        Self { terms, mode: 0o600 }
    }

    /// How many consumers may be connected at once, handshakes included; 64 unless set. Others are refused.
    pub fn sessions_max(mut self, sessions: usize) -> Self {
        self.terms.sessions_max = sessions;
        self
    }

    /// How long a consumer may take for its handshake; 5 s unless set.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.terms.deadline = deadline;
        self
    }

    /// Whose processes may attach; those of this user unless set. A consumer of another user gets a bell that it cannot
    /// make the producer wait with.
    ///
    /// Two things such a consumer can do that nothing here prevents. It can withhold what it has read, or write
    /// nonsense into its seat and wake nobody, which comes to the same: the lane waits, and the producer's deadlines
    /// bound that. And it can leave an Offer unread, whose 1 + 3 descriptors for each lane then count as in flight for
    /// this process's user until the other socket is closed; beyond `RLIMIT_NOFILE` of them, nobody of this user can
    /// send any more (`ETOOMANYREFS`, unix(7)).
    pub fn peers(mut self, peers: PeerPolicy) -> Self {
        self.terms.peers = peers;
        self
    }

    /// Whose processes may read in place; those of this user unless set. Such a consumer holds the lane back for as
    /// long as it lives and does not read.
    pub fn in_place(mut self, peers: PeerPolicy) -> Self {
        self.terms.in_place = peers;
        self
    }

    /// The permission bits of the socket file; 0600 unless set. The umask still applies.
    pub fn mode(mut self, mode: u32) -> Self {
        self.mode = mode;
        self
    }

    /// Listens at `address` and offers the lanes of `producers`.
    ///
    /// # Errors
    ///
    /// [`Error::AddressInUse`] where a living process serves that address; [`Error::Invalid`] where there is no lane,
    /// or two have one name, or the path belongs to something else than a socket; [`Error::Forked`] where a producer is
    /// another process's; [`Error::Os`].
    pub fn listen(self, address: impl Into<Address>, producers: &[&Producer]) -> Result<Server> {
        let address = address.into();
        let guard = ForkGuard::get()?;
        producers.iter().try_for_each(|producer| producer.check_owner())?;
        let lanes: Vec<Arc<Lane>> = producers.iter().map(|producer| Arc::clone(producer.lane())).collect();
        check_lanes(&lanes)?;
        let listener = Listener::bind(&address, self.mode)?;
        let shared = Arc::new(Shared::new()?);
        for lane in &lanes {
            lane.notify_end(&shared.notice);
        }
        let steward = Steward::new(listener, lanes, self.terms, Arc::clone(&shared));
        let thread = std::thread::Builder::new()
            .name("fdring-steward".to_owned())
            .spawn({
                let end = EndOfThread(Arc::clone(&shared));
                move || {
                    let _end = end;
                    steward.run();
                }
            })
            .map_err(Error::os("start the thread that serves consumers"))?;
        Ok(Server { shared, thread: Some(thread), address, guard })
    }
}

impl Default for ServerOptions {
    fn default() -> Self {
        Self::new()
    }
}

fn check_lanes(lanes: &[Arc<Lane>]) -> Result<()> {
    if lanes.is_empty() {
        return Err(Error::Invalid("a server without lanes has nothing to offer; give it a producer".to_owned()));
    }
    for (index, lane) in lanes.iter().enumerate() {
        if lanes[..index].iter().any(|earlier| earlier.name == lane.name) {
            return Err(Error::Invalid(format!("two lanes are called {}; names tell lanes apart", lane.name)));
        }
    }
    Ok(())
}

/// Offers lanes to whoever connects, on a thread of its own.
///
/// Dropping it stops listening and removes the socket file, and the lock beside it (`PATH.lock`). One that was killed
/// leaves both, which the next server at that path recognises as stale and takes over, unless a forked child of the
/// dead one still keeps them alive. Sessions
/// that are attached go on until the consumer leaves or the lanes end; without any, all that the server had is given
/// back by then.
///
/// ```
/// use fdring::{LaneOptions, Producer, Server, Session};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut ticks = Producer::create(LaneOptions::new("ticks"))?;
/// let server = Server::listen("@doc-server", &[&ticks])?;
///
/// // Usually in another process:
/// let mut consumer = Session::connect("@doc-server", Default::default())?.attach_one()?;
///
/// ticks.send(b"hello")?;
/// assert_eq!(&consumer.receive()?.unwrap()[..], b"hello");
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Server {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    address: Address,
    guard: ForkGuard,
}

/// Says that the server's thread has ended, be it in a panic, when all that it owned is gone.
struct EndOfThread(Arc<Shared>);

impl Drop for EndOfThread {
    fn drop(&mut self) {
        self.0.update(|status| status.done = true);
    }
}

impl Server {
    /// Listens at `address` with the default [`ServerOptions`].
    ///
    /// # Errors
    ///
    /// As [`ServerOptions::listen`].
    pub fn listen(address: impl Into<Address>, producers: &[&Producer]) -> Result<Self> {
        ServerOptions::new().listen(address, producers)
    }

    /// Where it listens.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// What it has seen so far; nothing in a forked child.
    pub fn stats(&self) -> ServerStats {
        if self.guard.is_child() {
            // The lock may have been held when the process forked.
            return ServerStats::default();
        }
        self.shared.status.lock().stats.clone()
    }

    /// Waits until at least `sessions` consumers are attached.
    ///
    /// # Errors
    ///
    /// [`Error::TimedOut`] where they are fewer after `timeout`, [`Error::Forked`].
    pub fn wait_for_sessions(&self, sessions: usize, timeout: Duration) -> Result<()> {
        self.guard.check()?;
        let mut status = self.shared.status.lock();
        let missing = |status: &mut Status| status.stats.sessions < sessions;
        if self.shared.changed.wait_while_for(&mut status, missing, timeout).timed_out() {
            let doing =
                format!("waiting for {sessions} consumers at {}, {} are there", self.address, status.stats.sessions);
            return Err(Error::TimedOut { doing, limit: timeout });
        }
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.guard.is_child() {
            return;
        }
        self.shared.closing.store(true, Ordering::Release);
        self.shared.notice.raise();
        let mut status = self.shared.status.lock();
        self.shared.changed.wait_while(&mut status, |status| !status.stopped_listening && !status.done);
        let done = status.done;
        drop(status);
        if let Some(thread) = self.thread.take().filter(|_| done) {
            let _ = thread.join();
        }
    }
}
