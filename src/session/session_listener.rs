//! A consumer that listens, as the program holds it: its options, its handle, the sessions that it takes.
//!
//! The work is done by a [`steward`](super::steward), a thread; how it serves each connection is in
//! [`arriving`](super::arriving). What this file does not do: it reads no lane, and merges none.

use super::Address;
use super::arriving::{Arrivals, Bounds, Entrance};
use super::client::{Session, begin};
use super::listener::Listener;
use super::options::SessionOptions;
use super::shared::{NewsKind, ServerStats, StewardHandle, StewardState};
use crate::deadline::Deadline;
use crate::error::{Error, Result};
use crate::os::fork::ForkGuard;
use crate::os::interrupt::Interrupter;
use crate::trace::event;
use crate::wire::LANES_PER_SESSION_MAX;
use rustix::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The defaults of a [`SessionListenerOptions`].
const SESSIONS_MAX: usize = 64;
const CAPACITY_MAX_BYTES: u64 = 1 << 30;
const MAPPED_MAX_BYTES: u64 = 8 << 30;

/// Options for a consumer that listens. [`listen`](Self::listen) starts it.
///
/// The limits hold before anything is mapped: a producer that would pass one of them is refused, and told why.
///
/// ```
/// use fdring::options::{SessionListenerOptions, SessionOptions};
/// use std::time::Duration;
///
/// # fn main() -> fdring::Result<()> {
/// let each = SessionOptions::new().deadline(Duration::from_secs(2));
/// let options = SessionListenerOptions::new().sessions(each).sessions_max(8).capacity_max(16 << 20);
/// let listener = options.listen("@doc-session-listener-options")?;
/// assert!(listener.try_accept()?.is_none());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use = "options do nothing until a consumer listens with them"]
pub struct SessionListenerOptions {
    each: SessionOptions,
    bounds: Bounds,
    mode: u32,
    interrupter: Option<Interrupter>,
}

impl SessionListenerOptions {
    /// The defaults: at most 64 sessions, with processes of this user, on a socket of the mode 0600; rings of at most
    /// 1 GiB each, and 8 GiB together.
    ///
    /// ```
    /// # use fdring::options::SessionListenerOptions;
    /// # fn main() -> fdring::Result<()> {
    /// // As SessionListener::listen.
    /// let listener = SessionListenerOptions::new().listen("@doc-session-listener-options-new")?;
    /// # assert!(listener.try_accept()?.is_none());
    /// # Ok(())
    /// # }
    /// ```
    pub fn new() -> Self {
        let bounds = Bounds {
            sessions_max: SESSIONS_MAX,
            lanes_max: LANES_PER_SESSION_MAX,
            capacity_max: CAPACITY_MAX_BYTES,
            mapped_max: MAPPED_MAX_BYTES,
        };
        Self { each: SessionOptions::new(), bounds, mode: 0o600, interrupter: None }
    }

    /// The options of each session: which users' producers are [admitted](SessionOptions::peers), how long a handshake
    /// may [take](SessionOptions::deadline), and which [lanes](SessionOptions::lanes) to ask for. Default:
    /// [`SessionOptions::new`]. Its [`patience`](SessionOptions::patience) has no effect.
    ///
    /// ```
    /// # use fdring::options::{PeerPolicy, SessionListenerOptions, SessionOptions};
    /// # fn main() -> fdring::Result<()> {
    /// let each = SessionOptions::new().peers(PeerPolicy::Users(vec![1000, 1001]));
    /// let listener = SessionListenerOptions::new().sessions(each).listen("@doc-session-listener-sessions")?;
    /// # assert!(listener.try_accept()?.is_none());
    /// # Ok(())
    /// # }
    /// ```
    pub fn sessions(mut self, each: SessionOptions) -> Self {
        self.each = each;
        self
    }

    /// The most sessions at once. Default: 64. Handshakes count, and sessions until their last consumer is dropped.
    /// Further producers are refused.
    ///
    /// ```
    /// # use fdring::{Producer, options::SessionListenerOptions};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let listener = SessionListenerOptions::new().sessions_max(0).listen("@doc-listener-sessions-max")?;
    /// let error = Producer::create("ticks")?.connect("@doc-listener-sessions-max").unwrap_err();
    /// assert!(error.is_worth_retrying()); // there may be room later
    /// # Ok(())
    /// # }
    /// ```
    pub fn sessions_max(mut self, sessions: usize) -> Self {
        self.bounds.sessions_max = sessions;
        self
    }

    /// The most lanes of one session, 1 to 83. Default: 83. A session never receives more descriptors than that many
    /// lanes need.
    ///
    /// ```
    /// # use fdring::{Producer, options::{ServerOptions, SessionListenerOptions}};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let listener = SessionListenerOptions::new().lanes_max(1).listen("@doc-listener-lanes-max")?;
    /// let (ticks, trades) = (Producer::create("ticks")?, Producer::create("trades")?);
    /// let two = ServerOptions::new().connect("@doc-listener-lanes-max", [&ticks, &trades]);
    /// assert!(matches!(two, Err(fdring::Error::Refused { .. })));
    /// # Ok(())
    /// # }
    /// ```
    pub fn lanes_max(mut self, lanes: usize) -> Self {
        self.bounds.lanes_max = lanes;
        self
    }

    /// The capacity of the longest ring, in bytes. Default: 1 GiB.
    ///
    /// ```
    /// # use fdring::{Producer, options::SessionListenerOptions};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let listener = SessionListenerOptions::new().capacity_max(1 << 20).listen("@doc-listener-capacity-max")?;
    /// let error = Producer::create("ticks")?.connect("@doc-listener-capacity-max").unwrap_err(); // 4 MiB
    /// assert!(!error.is_worth_retrying());
    /// # Ok(())
    /// # }
    /// ```
    pub fn capacity_max(mut self, bytes: u64) -> Self {
        self.bounds.capacity_max = bytes;
        self
    }

    /// The most that all sessions together map, in bytes: rings, control regions and seats. Default: 8 GiB. A session
    /// counts until its last consumer is dropped.
    ///
    /// ```
    /// # use fdring::{Producer, options::SessionListenerOptions};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let listener = SessionListenerOptions::new().mapped_max(1 << 20).listen("@doc-listener-mapped-max")?;
    /// let error = Producer::create("ticks")?.connect("@doc-listener-mapped-max").unwrap_err(); // 4 MiB
    /// assert!(error.is_worth_retrying());
    /// # Ok(())
    /// # }
    /// ```
    pub fn mapped_max(mut self, bytes: u64) -> Self {
        self.bounds.mapped_max = bytes;
        self
    }

    /// The permission bits of the socket file, such as `0o660`, independent of the umask. Default: `0o600`. No effect
    /// at an abstract address.
    ///
    /// ```
    /// # use fdring::options::SessionListenerOptions;
    /// # use std::os::unix::fs::PermissionsExt;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let path = std::env::temp_dir().join(format!("fdring-doc-listener-mode-{}.sock", std::process::id()));
    /// let listener = SessionListenerOptions::new().mode(0o660).listen(&path)?;
    /// assert_eq!(std::fs::metadata(&path)?.permissions().mode() & 0o777, 0o660);
    /// # Ok(())
    /// # }
    /// ```
    pub fn mode(mut self, mode: u32) -> Self {
        self.mode = mode;
        self
    }

    /// Has `interrupter` end every wait for a session: [`SessionListener::accept`] in all its forms. Also every wait of
    /// the sessions, unless their [options](Self::sessions) name another interrupter. It makes the listener's
    /// descriptor readable, which ends the wait of a [`Selector`](crate::select::Selector) or a task;
    /// [`SessionListener::arm`] says why. Default: none.
    ///
    /// ```
    /// # use fdring::{Error, Interrupter, options::SessionListenerOptions};
    /// # fn main() -> fdring::Result<()> {
    /// let stop = Interrupter::new()?;
    /// let listener = SessionListenerOptions::new().interrupter(&stop).listen("@doc-listener-interrupter")?;
    /// # stop.interrupt();
    /// // Meanwhile, in another thread or a signal handler: stop.interrupt()
    /// assert!(matches!(listener.accept(), Err(Error::Interrupted { .. })));
    /// # Ok(())
    /// # }
    /// ```
    pub fn interrupter(mut self, interrupter: &Interrupter) -> Self {
        self.interrupter = Some(interrupter.clone());
        self
    }

    /// Listens at `address` for producers that connect ([`Producer::connect`](crate::Producer::connect)).
    ///
    /// ```
    /// # use fdring::options::SessionListenerOptions;
    /// # fn main() -> fdring::Result<()> {
    /// let listener = SessionListenerOptions::new().sessions_max(8).listen("@doc-listener-options-listen")?;
    /// assert_eq!(listener.address().to_string(), "@doc-listener-options-listen");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`Error::AddressInUse`] if a living process serves this address
    /// - [`Error::Invalid`] if the address, the name of a lane or `lanes_max` is out of range, if the path belongs to
    ///   something other than a socket, or if [other users are admitted](SessionOptions::peers) and the
    ///   [mode](Self::mode) lets only the socket's owner connect
    /// - [`Error::Os`] if a system call fails, or the system is short of memory or descriptors: a listener holds 4, and
    ///   2 more if it listens at a path
    /// - [`Error::Forked`] in a forked child of a process that has used this library
    pub fn listen(self, address: impl Into<Address>) -> Result<SessionListener> {
        let Self { mut each, bounds, mode, interrupter } = self;
        each.interrupter = each.interrupter.or_else(|| interrupter.clone());
        let (address, guard) = (address.into(), ForkGuard::get()?);
        if !(1..=LANES_PER_SESSION_MAX).contains(&bounds.lanes_max) {
            let most = bounds.lanes_max;
            return Err(Error::Invalid(format!("a session has 1 to {LANES_PER_SESSION_MAX} lanes, not {most}")));
        }
        // Checks the names, which each session asks for.
        begin(&each)?;
        let listener = Listener::bind(&address, mode, &each.peers)?;
        event!(DEBUG, "listening", address = %address);
        let state = Arc::new(StewardState::new(NewsKind::Sessions)?);
        let arrivals = Arc::new(Arrivals::new(each, bounds, Arc::clone(&state), guard));
        let entrance = Entrance(Arc::clone(&arrivals));
        let steward = StewardHandle::start(Some(listener), entrance, state, interrupter, guard)?;
        Ok(SessionListener { steward, arrivals, address: address.into_absolute() })
    }
}

impl Default for SessionListenerOptions {
    fn default() -> Self {
        Self::new()
    }
}

/// A consumer that listens: producers connect to it, and each brings lanes of its own.
///
/// A thread of its own admits producers, by the user that the kernel names, and maps and checks what they offer. Each
/// one becomes a [`Session`], which [`accept`](Self::accept) returns, and whose lanes are then attached to. A producer
/// waits for that: its records are for this consumer from the moment at which its `connect` returns. Begin at
/// [`Start::Oldest`](crate::options::Start::Oldest) to get earlier records, too.
///
/// A producer may be gone when its session is accepted or attached to. Everything that it published is still read to
/// the end. If it died before it was attached to, its lanes are read from their first byte, whatever the start; if it
/// had overwritten any of it, attaching fails with [`Error::Closed`].
///
/// Dropping it stops listening, and removes the socket file and the lock file beside it, `PATH.lock`. Sessions that
/// were accepted go on.
///
/// A listener is `Send` and `Sync`: several threads may accept.
///
/// ```
/// use fdring::options::Start;
/// use fdring::collect::SessionListener;
/// use fdring::{Attach, Producer};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let listener = SessionListener::listen("@doc-session-listener")?;
///
/// // Usually in other processes, as many as there are:
/// let client = std::thread::spawn(|| -> Result<(), fdring::Error> {
///     let mut ticks = Producer::create("ticks")?;
///     let link = ticks.connect("@doc-session-listener")?;
///     ticks.send(b"hello").expect("the lane is open");
///     Ok(())
/// });
///
/// let session = listener.accept()?;
/// println!("process {:?} offers {}", session.producer_pid(), session.lanes()[0].name);
/// let mut consumer = session.attach_one(Attach::new().start(Start::Oldest))?;
/// assert_eq!(&consumer.receive()?.unwrap()[..], b"hello");
/// assert!(consumer.receive()?.is_none()); // it has finished
/// # client.join().unwrap()?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "dropping a listener stops it; keep it in a variable"]
pub struct SessionListener {
    steward: StewardHandle,
    arrivals: Arc<Arrivals>,
    address: Address,
}

impl SessionListener {
    /// Listens at `address` with the default [`SessionListenerOptions`].
    ///
    /// ```
    /// # use fdring::collect::SessionListener;
    /// # fn main() -> fdring::Result<()> {
    /// let listener = SessionListener::listen("@doc-session-listener-listen")?;
    /// assert_eq!(listener.address().to_string(), "@doc-session-listener-listen");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`Error::AddressInUse`] if a living process serves this address
    /// - [`Error::Invalid`] if the address is out of range, or the path belongs to something other than a socket
    /// - [`Error::Os`] if a system call fails, or the system is short of memory or descriptors: a listener holds 4, and
    ///   2 more if it listens at a path
    /// - [`Error::Forked`] in a forked child of a process that has used this library
    pub fn listen(address: impl Into<Address>) -> Result<Self> {
        SessionListenerOptions::new().listen(address)
    }

    /// The address at which it listens. A relative path is made absolute if it then has at most 107 bytes.
    ///
    /// ```
    /// # use fdring::options::Address;
    /// # use fdring::collect::SessionListener;
    /// # fn main() -> fdring::Result<()> {
    /// let listener = SessionListener::listen("@doc-session-listener-address")?;
    /// assert_eq!(*listener.address(), Address::abstract_name("doc-session-listener-address"));
    /// # Ok(())
    /// # }
    /// ```
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// The session of the next producer. Waits until there is one.
    ///
    /// The [`deadline`](SessionOptions::deadline) for attaching to its lanes begins with this call's return. The
    /// producer has one too, and waits meanwhile.
    ///
    /// ```
    /// # use fdring::collect::SessionListener;
    /// # use fdring::{Attach, Producer};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let listener = SessionListener::listen("@doc-accept")?;
    /// let client = std::thread::spawn(|| Producer::create("ticks")?.connect("@doc-accept"));
    /// let consumers = listener.accept()?.attach_all(Attach::new())?;
    /// assert_eq!(consumers[0].lane().name, "ticks");
    /// # client.join().unwrap()?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`Error::Interrupted`] if an [`Interrupter`] ended the wait
    /// - [`Error::Closed`] if the listener's thread has ended by a panic
    /// - [`Error::Forked`] in a forked child
    pub fn accept(&self) -> Result<Session> {
        self.accept_until(Deadline::Never, Duration::MAX)
    }

    /// The session of the next producer, if it has connected and what it offers is mapped. `None` if there is none.
    /// Never waits.
    ///
    /// ```
    /// # use fdring::collect::SessionListener;
    /// # fn main() -> fdring::Result<()> {
    /// let listener = SessionListener::listen("@doc-try-accept")?;
    /// assert!(listener.try_accept()?.is_none()); // nobody has connected
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`Error::Closed`] if the listener's thread has ended by a panic
    /// - [`Error::Forked`] in a forked child
    pub fn try_accept(&self) -> Result<Option<Session>> {
        self.steward.guard.check()?;
        match self.arrivals.take() {
            None if self.steward.has_ended() => Err(Error::Closed { doing: self.waiting() }),
            session => Ok(session),
        }
    }

    /// Like [`accept`](Self::accept), but waits at most `timeout`.
    ///
    /// ```
    /// # use fdring::collect::SessionListener;
    /// # use fdring::Error;
    /// # use std::time::Duration;
    /// # fn main() -> fdring::Result<()> {
    /// let listener = SessionListener::listen("@doc-accept-timeout")?;
    /// let nobody = listener.accept_timeout(Duration::from_millis(1));
    /// assert!(matches!(nobody, Err(Error::TimedOut { .. })));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`Error::TimedOut`] if nobody came within `timeout`
    /// - [`Error::Interrupted`] if an [`Interrupter`] ended the wait
    /// - [`Error::Closed`] if the listener's thread has ended by a panic
    /// - [`Error::Forked`] in a forked child
    pub fn accept_timeout(&self, timeout: Duration) -> Result<Session> {
        self.accept_until(Deadline::after(timeout), timeout)
    }

    /// Like [`accept`](Self::accept), but waits only until `deadline`, which several calls can share.
    ///
    /// ```
    /// # use fdring::collect::SessionListener;
    /// # use fdring::Error;
    /// # use std::time::{Duration, Instant};
    /// # fn main() -> fdring::Result<()> {
    /// let listener = SessionListener::listen("@doc-accept-deadline")?;
    /// let deadline = Instant::now() + Duration::from_millis(1);
    /// assert!(matches!(listener.accept_deadline(deadline), Err(Error::TimedOut { .. })));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`Error::TimedOut`] if nobody came before `deadline`
    /// - [`Error::Interrupted`] if an [`Interrupter`] ended the wait
    /// - [`Error::Closed`] if the listener's thread has ended by a panic
    /// - [`Error::Forked`] in a forked child
    pub fn accept_deadline(&self, deadline: Instant) -> Result<Session> {
        self.accept_until(Deadline::At(deadline), deadline.saturating_duration_since(Instant::now()))
    }

    fn waiting(&self) -> String {
        format!("waiting for a producer at {}", self.address)
    }

    /// Waits for a session until the deadline, which is `limit` from the beginning.
    fn accept_until(&self, deadline: Deadline, limit: Duration) -> Result<Session> {
        self.steward.guard.check()?;
        let state = &self.steward.state;
        loop {
            let changed = state.changed.capture();
            if let Some(session) = self.arrivals.take() {
                return Ok(session);
            }
            let doing = || self.waiting();
            if self.steward.has_ended() {
                return Err(Error::Closed { doing: doing() });
            }
            self.steward.check_interrupt(doing)?;
            if deadline.has_passed() {
                return Err(Error::TimedOut { doing: doing(), limit });
            }
            self.steward.wait(changed, deadline);
        }
    }

    /// Prepares a wait, in the caller's event loop, for producers that connect: poll(2), epoll(7), or anything that
    /// watches descriptors.
    ///
    /// 1. Call [`try_accept`](Self::try_accept) until it returns `None`.
    /// 2. Call `arm`. `false` means that a session has come since: go to 1.
    /// 3. Wait until the listener's descriptor ([`AsFd`]) is readable. Watch it level-triggered or edge-triggered.
    /// 4. Go to 1.
    ///
    /// The descriptor may become readable for no reason, but it is never left unreadable after a session has come. Only
    /// watch it; do not read it.
    ///
    /// ```
    /// # use fdring::collect::SessionListener;
    /// # use fdring::{Attach, Producer};
    /// # use rustix::event::{PollFd, PollFlags, poll};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let listener = SessionListener::listen("@doc-session-listener-arm")?;
    /// # let client = std::thread::spawn(|| Producer::create("ticks")?.connect("@doc-session-listener-arm"));
    /// let session = loop {
    ///     if let Some(session) = listener.try_accept()? {
    ///         break session;
    ///     }
    ///     if listener.arm()? {
    ///         poll(&mut [PollFd::new(&listener, PollFlags::IN)], None)?;
    ///     }
    /// };
    /// # session.attach_all(Attach::new())?;
    /// # client.join().unwrap()?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`Error::Interrupted`] if there is no news, and an [`Interrupter`] has ended all waits
    /// - [`Error::Forked`] in a forked child
    pub fn arm(&self) -> Result<bool> {
        self.steward.guard.check()?;
        if !self.arrivals.arm() {
            return Ok(false);
        }
        self.steward.check_interrupt(|| self.waiting())?;
        Ok(true)
    }

    /// The statistics so far. `sessions` counts the sessions that have a place, handshakes included. Nobody is evicted.
    /// All zero in a forked child.
    ///
    /// ```
    /// # use fdring::collect::SessionListener;
    /// # fn main() -> fdring::Result<()> {
    /// let listener = SessionListener::listen("@doc-session-listener-stats")?;
    /// assert_eq!(listener.stats().accepted, 0);
    /// # Ok(())
    /// # }
    /// ```
    pub fn stats(&self) -> ServerStats {
        self.steward.stats()
    }
}

impl AsFd for SessionListener {
    /// The descriptor that [`arm`](SessionListener::arm) prepares.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.steward.as_fd()
    }
}
