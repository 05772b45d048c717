//! The options of callers and services.

use super::calls::CallLimits;
use super::{Caller, Service};
use crate::error::Result;
use crate::lane::{LaneOptions, SPIN_DEFAULT};
use crate::options::SessionOptions;
use crate::os::interrupt::Interrupter;
use crate::session::pairs::Expected;
use crate::session::{Address, PeerPolicy};
use std::time::Duration;

/// The capacity of a lane of requests, or of replies, in bytes.
const CAPACITY_BYTES: u64 = 1 << 20;
/// The longest ring that is mapped of a peer, in bytes.
const PEER_CAPACITY_MAX_BYTES: u64 = 64 << 20;
const CALLS_MAX: usize = 1024;
const STORED_MAX_BYTES: u64 = 16 << 20;
const CALLERS_MAX: usize = 64;
const REPLY_TIMEOUT: Duration = Duration::from_secs(5);
const TURN_REQUESTS: usize = 16;

/// The name of the lane that carries requests.
const REQUESTS: &str = "requests";
/// The name of the lane that carries replies.
const REPLIES: &str = "replies";

/// Options for a [`Caller`]. [`connect`](Self::connect) opens its session.
///
/// ```
/// use fdring::call::{CallerOptions, Service};
/// use std::time::Duration;
///
/// # fn main() -> fdring::Result<()> {
/// # let service = Service::listen("@doc-caller-options")?;
/// let caller = CallerOptions::new().patience(Duration::from_secs(10)).connect("@doc-caller-options")?;
/// # drop((caller, service));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use = "options do nothing until a caller connects with them"]
pub struct CallerOptions {
    pub(super) lane: LaneOptions,
    pub(super) session: SessionOptions,
    pub(super) reply_capacity_max: u64,
    pub(super) limits: CallLimits,
    pub(super) expected: Option<Expected>,
}

impl CallerOptions {
    /// The defaults: a requests' lane of 1 MiB, no patience, a service of this user, 1024 calls in flight, and 16 MiB
    /// of replies that wait to be taken.
    ///
    /// ```
    /// # fn main() -> fdring::Result<()> {
    /// # let service = fdring::call::Service::listen("@doc-caller-options-new")?;
    /// // As Caller::connect.
    /// let caller = fdring::call::CallerOptions::new().connect("@doc-caller-options-new")?;
    /// # drop((caller, service));
    /// # Ok(())
    /// # }
    /// ```
    pub fn new() -> Self {
        Self {
            lane: LaneOptions::new(REQUESTS).capacity(CAPACITY_BYTES).space_bell(true),
            session: SessionOptions::new(),
            reply_capacity_max: PEER_CAPACITY_MAX_BYTES,
            limits: CallLimits { open_max: CALLS_MAX, stored_bytes_max: STORED_MAX_BYTES },
            expected: None,
        }
    }

    /// The time for which a caller tries again to connect, at first and after it has lost its session: while nobody
    /// listens, or the service is restarting or busy. Default: zero, a single try.
    ///
    /// A call that has to connect first waits for it, no longer than its own deadline.
    ///
    /// ```
    /// use fdring::call::{CallerOptions, Service};
    /// use std::time::Duration;
    ///
    /// # fn main() -> fdring::Result<()> {
    /// let late = std::thread::spawn(|| Service::listen("@doc-caller-patience"));
    /// let caller = CallerOptions::new().patience(Duration::from_secs(60)).connect("@doc-caller-patience")?;
    /// # drop((caller, late.join().unwrap()?));
    /// # Ok(())
    /// # }
    /// ```
    pub fn patience(mut self, patience: Duration) -> Self {
        self.session = self.session.patience(patience);
        self
    }

    /// The time that a handshake may take. Default: 5 s.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # fn main() -> fdring::Result<()> {
    /// # let service = fdring::call::Service::listen("@doc-caller-deadline")?;
    /// let options = fdring::call::CallerOptions::new().deadline(Duration::from_secs(1));
    /// # drop((options.connect("@doc-caller-deadline")?, service));
    /// # Ok(())
    /// # }
    /// ```
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.session = self.session.deadline(deadline);
        self
    }

    /// The users whose services get requests. Default: [`PeerPolicy::SameUser`], this user.
    ///
    /// ```
    /// # use fdring::options::PeerPolicy;
    /// # fn main() -> fdring::Result<()> {
    /// # let service = fdring::call::Service::listen("@doc-caller-peers")?;
    /// let options = fdring::call::CallerOptions::new().peers(PeerPolicy::Users(vec![33]));
    /// # drop((options.connect("@doc-caller-peers")?, service));
    /// # Ok(())
    /// # }
    /// ```
    pub fn peers(mut self, peers: PeerPolicy) -> Self {
        self.session = self.session.peers(peers);
        self
    }

    /// The capacity of the ring that carries requests, in bytes: a power of two. A request has at most about half of
    /// it. Default: 1 MiB.
    ///
    /// ```
    /// # fn main() -> fdring::Result<()> {
    /// # let service = fdring::call::Service::listen("@doc-caller-capacity")?;
    /// let caller = fdring::call::CallerOptions::new().capacity(64 << 10).connect("@doc-caller-capacity")?;
    /// # drop((caller, service));
    /// # Ok(())
    /// # }
    /// ```
    pub fn capacity(mut self, bytes: u64) -> Self {
        self.lane = self.lane.capacity(bytes);
        self
    }

    /// The alignment of requests in their ring, in bytes: a power of two, 8 to 4096. Default: 8.
    ///
    /// ```
    /// # fn main() -> fdring::Result<()> {
    /// # let service = fdring::call::Service::listen("@doc-caller-align")?;
    /// let caller = fdring::call::CallerOptions::new().align(64).connect("@doc-caller-align")?;
    /// # drop((caller, service));
    /// # Ok(())
    /// # }
    /// ```
    pub fn align(mut self, bytes: u32) -> Self {
        self.lane = self.lane.payload_align(bytes);
        self
    }

    /// The capacity of the longest ring of replies that this process maps, in bytes. Default: 64 MiB.
    ///
    /// ```
    /// # fn main() -> fdring::Result<()> {
    /// # let service = fdring::call::Service::listen("@doc-caller-reply-capacity-max")?; // 1 MiB
    /// let options = fdring::call::CallerOptions::new().reply_capacity_max(64 << 10);
    /// assert!(options.connect("@doc-caller-reply-capacity-max").is_err());
    /// # drop(service);
    /// # Ok(())
    /// # }
    /// ```
    pub fn reply_capacity_max(mut self, bytes: u64) -> Self {
        self.reply_capacity_max = bytes;
        self
    }

    /// The most calls in flight: those whose last reply was not taken. Default: 1024.
    ///
    /// ```
    /// use fdring::call::{CallError, CallerOptions};
    /// use std::time::Duration;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let service = fdring::call::Service::listen("@doc-caller-calls-max")?;
    /// let mut caller = CallerOptions::new().calls_max(1).connect("@doc-caller-calls-max")?;
    /// let ticket = caller.send(b"first", Duration::from_secs(1))?;
    /// let second = caller.send(b"second", Duration::from_secs(1));
    /// assert!(matches!(second, Err(CallError::TooManyCalls { max: 1 })));
    /// # drop((ticket, service));
    /// # Ok(())
    /// # }
    /// ```
    pub fn calls_max(mut self, calls: usize) -> Self {
        self.limits.open_max = calls;
        self
    }

    /// How many bytes of replies may wait to be taken by tickets; the reply that passes this number is still stored.
    /// Each counts 64 bytes more than its payload. Default: 16 MiB.
    ///
    /// ```
    /// # fn main() -> fdring::Result<()> {
    /// # let service = fdring::call::Service::listen("@doc-caller-stored-max")?;
    /// let caller = fdring::call::CallerOptions::new().stored_max(1 << 20).connect("@doc-caller-stored-max")?;
    /// # drop((caller, service));
    /// # Ok(())
    /// # }
    /// ```
    pub fn stored_max(mut self, bytes: u64) -> Self {
        self.limits.stored_bytes_max = bytes;
        self
    }

    /// How long a wait spins before it sleeps. Default: 50 µs.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # fn main() -> fdring::Result<()> {
    /// # let service = fdring::call::Service::listen("@doc-caller-spin")?;
    /// let caller = fdring::call::CallerOptions::new().spin(Duration::ZERO).connect("@doc-caller-spin")?;
    /// # drop((caller, service));
    /// # Ok(())
    /// # }
    /// ```
    pub fn spin(mut self, spin: Duration) -> Self {
        (self.session, self.lane) = (self.session.spin(spin), self.lane.spin(spin));
        self
    }

    /// Has `interrupter` end every wait of the caller. Default: none does.
    ///
    /// ```
    /// use fdring::call::{CallError, CallerOptions};
    /// use std::time::Duration;
    ///
    /// # fn main() -> fdring::Result<()> {
    /// # let service = fdring::call::Service::listen("@doc-caller-interrupter")?;
    /// let stop = fdring::Interrupter::new()?;
    /// let mut caller = CallerOptions::new().interrupter(&stop).connect("@doc-caller-interrupter")?;
    /// # stop.interrupt();
    /// // Meanwhile, in another thread or a signal handler: stop.interrupt()
    /// assert!(matches!(caller.call(b"hello", Duration::MAX), Err(CallError::Interrupted)));
    /// # drop(service);
    /// # Ok(())
    /// # }
    /// ```
    pub fn interrupter(mut self, interrupter: &Interrupter) -> Self {
        (self.session, self.lane) = (self.session.interrupter(interrupter), self.lane.interrupter(interrupter));
        self
    }

    /// Connects to the service at `address`. A relative path keeps meaning the same file when the caller connects
    /// again, even if the working directory has changed.
    ///
    /// ```
    /// use fdring::call::{CallerOptions, Service};
    ///
    /// # fn main() -> fdring::Result<()> {
    /// let service = Service::listen("@doc-caller-options-connect")?;
    /// let caller = CallerOptions::new().connect("@doc-caller-options-connect")?; // usually in another process
    /// # drop((caller, service));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// With [`patience`](Self::patience), the error of the last try:
    ///
    /// - [`Error::Os`](crate::Error::Os) if nobody listens there, or the system is short of memory or descriptors
    /// - [`Error::Invalid`](crate::Error::Invalid) if the address is out of range, or the ring has no room for a
    ///   request behind what precedes it
    /// - [`Error::Geometry`](crate::Error::Geometry) if the capacity or the alignment is out of range
    /// - [`Error::Refused`](crate::Error::Refused) if the service refuses, for example because it has its most callers
    ///   already, or because a server listens there, which is no service
    /// - [`Error::Forbidden`](crate::Error::Forbidden) if the service runs as a user that is not admitted
    /// - [`Error::Peer`](crate::Error::Peer) if the service breaks the protocol, or offers what is beyond the limits
    /// - [`Error::Closed`](crate::Error::Closed) if the service closes the connection
    /// - [`Error::TimedOut`](crate::Error::TimedOut) if the handshake takes longer than the
    ///   [`deadline`](Self::deadline)
    /// - [`Error::Interrupted`](crate::Error::Interrupted) if an [`Interrupter`] ended the wait
    /// - [`Error::Forked`](crate::Error::Forked) in a forked child of a process that has used this library
    pub fn connect(self, address: impl Into<Address>) -> Result<Caller> {
        Caller::with(self, address.into().into_absolute())
    }
}

impl Default for CallerOptions {
    fn default() -> Self {
        Self::new()
    }
}

/// Options for a [`Service`]. [`listen`](Self::listen) starts it.
///
/// ```
/// use fdring::call::ServiceOptions;
///
/// # fn main() -> fdring::Result<()> {
/// let service = ServiceOptions::new().callers_max(1000).capacity(64 << 10).listen("@doc-service-options")?;
/// # drop(service);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use = "options do nothing until a service listens with them"]
pub struct ServiceOptions {
    pub(super) lane: LaneOptions,
    pub(super) session: SessionOptions,
    pub(super) mode: u32,
    pub(super) callers_max: usize,
    pub(super) request_capacity_max: u64,
    pub(super) open_max: usize,
    pub(super) backlog_max: u64,
    pub(super) reply_timeout: Duration,
    pub(super) turn_requests: usize,
    pub(super) spin: Duration,
    pub(super) interrupter: Option<Interrupter>,
    pub(super) expected: Option<Expected>,
}

impl ServiceOptions {
    /// The defaults: 64 callers of this user. Each has a ring of 1 MiB for its replies and 1024 open requests, and has
    /// 5 s to make room once 16 MiB of replies wait for it.
    ///
    /// ```
    /// # fn main() -> fdring::Result<()> {
    /// // As Service::listen.
    /// let service = fdring::call::ServiceOptions::new().listen("@doc-service-options-new")?;
    /// # drop(service);
    /// # Ok(())
    /// # }
    /// ```
    pub fn new() -> Self {
        Self {
            lane: LaneOptions::new(REPLIES).capacity(CAPACITY_BYTES).space_bell(true),
            session: SessionOptions::new(),
            mode: 0o600,
            callers_max: CALLERS_MAX,
            request_capacity_max: PEER_CAPACITY_MAX_BYTES,
            open_max: CALLS_MAX,
            backlog_max: STORED_MAX_BYTES,
            reply_timeout: REPLY_TIMEOUT,
            turn_requests: TURN_REQUESTS,
            spin: SPIN_DEFAULT,
            interrupter: None,
            expected: None,
        }
    }

    /// The most callers at once, handshakes included. A caller that has gone counts until [`Service::receive`] has
    /// noticed that, and all its requests are answered or dropped. Default: 64.
    ///
    /// ```
    /// use fdring::call::{Caller, ServiceOptions};
    ///
    /// # fn main() -> fdring::Result<()> {
    /// let service = ServiceOptions::new().callers_max(1).listen("@doc-service-callers-max")?;
    /// let caller = Caller::connect("@doc-service-callers-max")?;
    /// assert!(Caller::connect("@doc-service-callers-max").unwrap_err().is_worth_retrying());
    /// # drop((caller, service));
    /// # Ok(())
    /// # }
    /// ```
    pub fn callers_max(mut self, callers: usize) -> Self {
        self.callers_max = callers;
        self
    }

    /// The time that a handshake may take. Default: 5 s.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # fn main() -> fdring::Result<()> {
    /// let options = fdring::call::ServiceOptions::new().deadline(Duration::from_secs(1));
    /// # drop(options.listen("@doc-service-deadline")?);
    /// # Ok(())
    /// # }
    /// ```
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.session = self.session.deadline(deadline);
        self
    }

    /// The users whose callers are admitted. Default: [`PeerPolicy::SameUser`], this user.
    ///
    /// ```
    /// # use fdring::options::PeerPolicy;
    /// # fn main() -> fdring::Result<()> {
    /// let options = fdring::call::ServiceOptions::new().peers(PeerPolicy::Anyone).mode(0o666);
    /// # drop(options.listen("@doc-service-peers")?);
    /// # Ok(())
    /// # }
    /// ```
    pub fn peers(mut self, peers: PeerPolicy) -> Self {
        self.session = self.session.peers(peers);
        self
    }

    /// The permission bits of the socket file, such as `0o660`, independent of the umask. Default: `0o600`. No effect
    /// at an abstract address.
    ///
    /// ```
    /// # fn main() -> fdring::Result<()> {
    /// # let path = std::env::temp_dir().join(format!("fdring-doc-service-mode-{}.sock", std::process::id()));
    /// let service = fdring::call::ServiceOptions::new().mode(0o660).listen(&path)?;
    /// # drop(service);
    /// # Ok(())
    /// # }
    /// ```
    pub fn mode(mut self, mode: u32) -> Self {
        self.mode = mode;
        self
    }

    /// The capacity of the ring that carries the replies to one caller, in bytes: a power of two. A reply has at most
    /// about half of it. Default: 1 MiB.
    ///
    /// ```
    /// # fn main() -> fdring::Result<()> {
    /// let service = fdring::call::ServiceOptions::new().capacity(64 << 10).listen("@doc-service-capacity")?;
    /// # drop(service);
    /// # Ok(())
    /// # }
    /// ```
    pub fn capacity(mut self, bytes: u64) -> Self {
        self.lane = self.lane.capacity(bytes);
        self
    }

    /// The alignment of replies in their ring, in bytes: a power of two, 8 to 4096. Default: 8.
    ///
    /// ```
    /// # fn main() -> fdring::Result<()> {
    /// let service = fdring::call::ServiceOptions::new().align(64).listen("@doc-service-align")?;
    /// # drop(service);
    /// # Ok(())
    /// # }
    /// ```
    pub fn align(mut self, bytes: u32) -> Self {
        self.lane = self.lane.payload_align(bytes);
        self
    }

    /// The capacity of the longest ring of requests that this process maps, in bytes: a caller with a longer one is
    /// refused. The ring of a caller that has gone stays mapped until its requests were received. Default: 64 MiB.
    ///
    /// ```
    /// use fdring::call::{Caller, ServiceOptions};
    ///
    /// # fn main() -> fdring::Result<()> {
    /// let service = ServiceOptions::new().request_capacity_max(64 << 10).listen("@doc-service-request-capacity")?;
    /// assert!(Caller::connect("@doc-service-request-capacity").is_err()); // 1 MiB
    /// # drop(service);
    /// # Ok(())
    /// # }
    /// ```
    pub fn request_capacity_max(mut self, bytes: u64) -> Self {
        self.request_capacity_max = bytes;
        self
    }

    /// The most requests of one caller that are received and not answered yet, at least 1. Further ones stay in its
    /// ring until one is answered. Default: 1024.
    ///
    /// ```
    /// # fn main() -> fdring::Result<()> {
    /// let service = fdring::call::ServiceOptions::new().open_max(8).listen("@doc-service-open-max")?;
    /// # drop(service);
    /// # Ok(())
    /// # }
    /// ```
    pub fn open_max(mut self, requests: usize) -> Self {
        self.open_max = requests;
        self
    }

    /// How many bytes of replies are kept for one caller that has no room for them in its ring. While there are any,
    /// no request is received from it; if there are more, it is evicted. Default: 16 MiB.
    ///
    /// ```
    /// # fn main() -> fdring::Result<()> {
    /// let service = fdring::call::ServiceOptions::new().backlog_max(1 << 20).listen("@doc-service-backlog-max")?;
    /// # drop(service);
    /// # Ok(())
    /// # }
    /// ```
    pub fn backlog_max(mut self, bytes: u64) -> Self {
        self.backlog_max = bytes;
        self
    }

    /// How long a caller may leave its ring of replies full while a reply waits for room. After that it is evicted.
    /// Default: 5 s.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # fn main() -> fdring::Result<()> {
    /// let options = fdring::call::ServiceOptions::new().reply_timeout(Duration::from_secs(1));
    /// # drop(options.listen("@doc-service-reply-timeout")?);
    /// # Ok(())
    /// # }
    /// ```
    pub fn reply_timeout(mut self, timeout: Duration) -> Self {
        self.reply_timeout = timeout;
        self
    }

    /// How many requests are received from one caller before the next one has its turn, at least 1. Default: 16.
    ///
    /// ```
    /// # fn main() -> fdring::Result<()> {
    /// let service = fdring::call::ServiceOptions::new().turn_requests(1).listen("@doc-service-turn")?;
    /// # drop(service);
    /// # Ok(())
    /// # }
    /// ```
    pub fn turn_requests(mut self, requests: usize) -> Self {
        self.turn_requests = requests;
        self
    }

    /// How long a wait spins before it sleeps. Default: 50 µs.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # fn main() -> fdring::Result<()> {
    /// let service = fdring::call::ServiceOptions::new().spin(Duration::ZERO).listen("@doc-service-spin")?;
    /// # drop(service);
    /// # Ok(())
    /// # }
    /// ```
    pub fn spin(mut self, spin: Duration) -> Self {
        self.spin = spin;
        self
    }

    /// Has `interrupter` end every wait for a request. Default: none does.
    ///
    /// ```
    /// use fdring::call::ServiceOptions;
    /// use fdring::errors::ReceiveError;
    ///
    /// # fn main() -> fdring::Result<()> {
    /// let stop = fdring::Interrupter::new()?;
    /// let mut service = ServiceOptions::new().interrupter(&stop).listen("@doc-service-interrupter")?;
    /// # stop.interrupt();
    /// // Meanwhile, in another thread or a signal handler: stop.interrupt()
    /// assert!(matches!(service.receive(), Err(ReceiveError::Interrupted)));
    /// # Ok(())
    /// # }
    /// ```
    pub fn interrupter(mut self, interrupter: &Interrupter) -> Self {
        self.interrupter = Some(interrupter.clone());
        self
    }

    /// Listens at `address` for callers.
    ///
    /// ```
    /// # fn main() -> fdring::Result<()> {
    /// let service = fdring::call::ServiceOptions::new().listen("@doc-service-options-listen")?;
    /// assert_eq!(service.address().to_string(), "@doc-service-options-listen");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`Error::AddressInUse`](crate::Error::AddressInUse) if a living process serves this address
    /// - [`Error::Invalid`](crate::Error::Invalid) if the address is out of range, the path belongs to something
    ///   other than a socket, or the ring has no room for a reply behind what precedes it
    /// - [`Error::Geometry`](crate::Error::Geometry) if the capacity or the alignment is out of range
    /// - [`Error::Os`](crate::Error::Os) if a system call fails, or the system is short of memory or descriptors
    /// - [`Error::Forked`](crate::Error::Forked) in a forked child of a process that has used this library
    pub fn listen(self, address: impl Into<Address>) -> Result<Service> {
        Service::with(self, address.into())
    }
}

impl Default for ServiceOptions {
    fn default() -> Self {
        Self::new()
    }
}
