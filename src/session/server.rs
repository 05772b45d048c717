//! A server as the program holds it: its options, its handle, its statistics.
//!
//! The work is done by the [`steward`](super::steward), a thread. What this file does not do: it touches neither a
//! socket nor a seat.

use super::listener::Listener;
use super::shared::{Limits, Offering, Progress, ServerState, ServerStats};
use super::steward::Steward;
use super::{Address, HANDSHAKE_DEADLINE, PeerPolicy};
use crate::error::{Error, Result};
use crate::lane::Lane;
use crate::os::fork::ForkGuard;
use crate::os::thread::{self, STACK_BYTES, Thread};
use crate::producer::Producer;
use crate::sync::Ordering;
use rustix::fd::{AsFd, BorrowedFd};
use std::borrow::Borrow;
use std::sync::Arc;
use std::time::Duration;

/// How many sessions a server has at once, by default.
const SESSIONS_MAX: usize = 64;

/// Options for a server: how it listens, and whom it admits.
///
/// ```
/// use fdring::{Producer, options::ServerOptions};
///
/// # fn main() -> fdring::Result<()> {
/// let ticks = Producer::create("ticks")?;
/// let server = ServerOptions::new().sessions_max(8).listen("@doc-server-options", &[&ticks])?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use = "options do nothing until a server listens with them"]
pub struct ServerOptions {
    limits: Limits,
    mode: u32,
}

impl ServerOptions {
    /// The defaults: at most 64 sessions, with processes of this user, on a socket of the mode 0600.
    pub fn new() -> Self {
        let limits = Limits {
            sessions_max: SESSIONS_MAX,
            deadline: HANDSHAKE_DEADLINE,
            peers: PeerPolicy::SameUser,
            in_place: PeerPolicy::SameUser,
        };
        Self { limits, mode: 0o600 }
    }

    /// How many consumers may be connected at once, handshakes included. Default: 64. Others are refused.
    pub fn sessions_max(mut self, sessions: usize) -> Self {
        self.limits.sessions_max = sessions;
        self
    }

    /// How long a consumer may take for its handshake. Default: 5 s.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.limits.deadline = deadline;
        self
    }

    /// Whose processes may attach. Default: those of this user. At a path, other users also need the permission to
    /// connect: see [`mode`](Self::mode).
    ///
    /// Nothing here prevents two things that such a consumer can do. It can keep the space of records that it has read,
    /// or write nonsense into its seat and wake nobody, which has the same effect: the lane waits, as long as the
    /// producer's deadlines allow. And it can leave an Offer unread. Its descriptors, 1 + 3 for each lane, then count
    /// as in flight for this process's user until the other socket is closed; beyond `RLIMIT_NOFILE` of them, no
    /// process of this user can send any more (`ETOOMANYREFS`, unix(7)).
    pub fn peers(mut self, peers: PeerPolicy) -> Self {
        self.limits.peers = peers;
        self
    }

    /// Whose processes may read in place. Default: those of this user. Such a consumer holds the lane back for as long
    /// as it lives and does not read.
    pub fn in_place(mut self, peers: PeerPolicy) -> Self {
        self.limits.in_place = peers;
        self
    }

    /// The permission bits of the socket file, whatever the umask. Default: 0600.
    pub fn mode(mut self, mode: u32) -> Self {
        self.mode = mode;
        self
    }

    /// Listens at `address` and offers the lanes of `producers`: anything that yields them by reference, such as
    /// `[&ticks, &trades]` or `&vec_of_producers`. The producers stay with the caller.
    ///
    /// # Errors
    ///
    /// [`Error::AddressInUse`] if a living process serves that address; [`Error::Invalid`] if there is no lane, if two
    /// lanes have the same name, or if the path belongs to something other than a socket; [`Error::Forked`] if a
    /// producer belongs to another process; [`Error::Os`] if a system call fails, or memory or descriptors are lacking
    /// (a server holds 4, and 2 more if it listens at a path).
    pub fn listen<'a, P>(
        self,
        address: impl Into<Address>,
        producers: impl IntoIterator<Item = &'a P>,
    ) -> Result<Server>
    where
        P: Borrow<Producer> + 'a,
    {
        let lane_of = |producer: &P| {
            let producer = producer.borrow();
            producer.check_owner().map(|()| Arc::clone(producer.owned_lane()))
        };
        let lanes: Result<_> = producers.into_iter().map(lane_of).collect();
        self.listen_with(address.into(), lanes?)
    }

    fn listen_with(self, address: Address, lanes: Vec<Arc<Lane>>) -> Result<Server> {
        let guard = ForkGuard::get()?;
        check_lanes(&lanes)?;
        let listener = Listener::bind(&address, self.mode)?;
        let state = Arc::new(ServerState::new()?);
        for lane in &lanes {
            lane.notify_end(&state.notice);
        }
        let steward = Steward::new(listener, Offering { lanes, limits: self.limits, state: Arc::clone(&state) })?;
        let thread = thread::start("fdring-steward", STACK_BYTES, {
            let end = EndOfThread(Arc::clone(&state));
            move || {
                let _end = end;
                steward.run();
            }
        })?;
        Ok(Server { state, thread: Some(thread), address: address.into_absolute(), guard })
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
        if lanes[..index].iter().any(|earlier| earlier.terms.name == lane.terms.name) {
            return Err(Error::Invalid(format!("two lanes are called {}; names tell lanes apart", lane.terms.name)));
        }
    }
    Ok(())
}

/// A server that offers lanes to consumers, on a thread of its own.
///
/// Dropping it stops listening and removes the socket file, and the lock beside it (`PATH.lock`). A server that was
/// killed leaves both. The next server at that path recognises them as stale and takes them over, unless a forked child
/// of the dead one still keeps them alive. Sessions that are attached go on until the consumer leaves or the lanes end.
/// Without any, all that the server had is freed when the drop returns.
///
/// ```
/// use fdring::{Consumer, Producer, Server};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut ticks = Producer::create("ticks")?;
/// let server = Server::listen("@doc-server", &[&ticks])?;
///
/// // Usually in another process:
/// let mut consumer = Consumer::connect("@doc-server")?;
///
/// ticks.send(b"hello")?;
/// assert_eq!(&consumer.receive()?.unwrap()[..], b"hello");
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "dropping a server stops it; keep it in a variable"]
pub struct Server {
    state: Arc<ServerState>,
    thread: Option<Thread>,
    address: Address,
    guard: ForkGuard,
}

/// Says on drop that the server's thread has ended, even by a panic, and that all it owned is gone.
struct EndOfThread(Arc<ServerState>);

impl Drop for EndOfThread {
    fn drop(&mut self) {
        self.0.update(|progress| progress.done = true);
    }
}

impl Server {
    /// Listens at `address` with the default [`ServerOptions`], and offers the lanes of `producers`: anything that
    /// yields them by reference.
    ///
    /// ```
    /// use fdring::{Producer, Server};
    ///
    /// # fn main() -> fdring::Result<()> {
    /// let mut producers = Vec::new();
    /// for name in ["ticks", "trades"] {
    ///     producers.push(Producer::create(name)?);
    /// }
    /// let server = Server::listen("@doc-server-listen", &producers)?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`ServerOptions::listen`].
    pub fn listen<'a, P>(address: impl Into<Address>, producers: impl IntoIterator<Item = &'a P>) -> Result<Self>
    where
        P: Borrow<Producer> + 'a,
    {
        ServerOptions::new().listen(address, producers)
    }

    /// The address at which it listens; a relative path is made absolute, unless it is longer than 107 bytes then.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Its statistics so far; all zero in a forked child.
    pub fn stats(&self) -> ServerStats {
        if self.guard.is_child() {
            // The lock may have been held when the process forked.
            return ServerStats::default();
        }
        self.state.progress.lock().stats.clone()
    }

    /// Prepares a wait for consumers that come and go, in a loop of the caller's: poll(2), epoll(7), or anything that
    /// watches descriptors.
    ///
    /// 1. Look at [`stats`](Self::stats).
    /// 2. Call `arm`. `false` means that they have changed since the last call: go to 1.
    /// 3. Wait until the descriptor of the server ([`AsFd`]) is readable; it may be watched for levels or for edges.
    /// 4. Go to 1.
    ///
    /// The descriptor may become readable for no reason, but never stays unreadable when the statistics have changed.
    ///
    /// ```
    /// # use fdring::{Consumer, Producer, Server};
    /// # use rustix::event::{PollFd, PollFlags, poll};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let ticks = Producer::create("ticks")?;
    /// # let server = Server::listen("@doc-server-arm", [&ticks])?;
    /// # let consumer = std::thread::spawn(|| Consumer::connect("@doc-server-arm"));
    /// while server.stats().sessions == 0 {
    ///     if server.arm()? {
    ///         poll(&mut [PollFd::new(&server, PollFlags::IN)], None)?;
    ///     }
    /// }
    /// # consumer.join().unwrap()?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Forked`] in a forked child.
    pub fn arm(&self) -> Result<bool> {
        self.guard.check()?;
        Ok(!self.state.take_news())
    }

    /// Waits until at least `sessions` consumers are attached. [`Producer::wait_for_consumers`] waits for those of one
    /// lane.
    ///
    /// ```
    /// use std::time::Duration;
    /// # use fdring::{Consumer, Producer, Server};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let ticks = Producer::create("ticks")?;
    /// # let server = Server::listen("@doc-wait-for-sessions", [&ticks])?;
    /// # let consumer = Consumer::connect("@doc-wait-for-sessions")?;
    ///
    /// server.wait_for_sessions(1, Duration::from_secs(60))?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::TimedOut`] if they are fewer after `timeout`, [`Error::Forked`] in a forked child.
    pub fn wait_for_sessions(&self, sessions: usize, timeout: Duration) -> Result<()> {
        self.guard.check()?;
        let mut progress = self.state.progress.lock();
        let missing = |progress: &mut Progress| progress.stats.sessions < sessions;
        if self.state.changed.wait_while_for(&mut progress, missing, timeout).timed_out() {
            let there = progress.stats.sessions;
            let doing = format!("waiting for {sessions} consumers at {}, {there} are there", self.address);
            return Err(Error::TimedOut { doing, limit: timeout });
        }
        Ok(())
    }
}

impl AsFd for Server {
    /// The descriptor that [`arm`](Server::arm) prepares.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.state.news.as_fd()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.guard.is_child() {
            return;
        }
        self.state.closing.store(true, Ordering::Release);
        self.state.notice.raise();
        let mut progress = self.state.progress.lock();
        self.state.changed.wait_while(&mut progress, |progress| !progress.stopped_listening && !progress.done);
        let done = progress.done;
        drop(progress);
        if let Some(thread) = self.thread.take().filter(|_| done) {
            thread.join();
        }
    }
}
