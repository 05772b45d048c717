//! The options of services.

use super::Service;
use crate::call::defaults::{CALLS_MAX, CAPACITY_BYTES, PEER_CAPACITY_MAX_BYTES, STORED_MAX_BYTES};
use crate::error::Result;
use crate::lane::{LaneOptions, SPIN_DEFAULT};
use crate::options::SessionOptions;
use crate::os::interrupt::Interrupter;
use crate::session::pairs::Expected;
use crate::session::{Address, PeerPolicy};
use std::time::Duration;

const CALLERS_MAX: usize = 64;
const REPLY_TIMEOUT: Duration = Duration::from_secs(5);
const TURN_REQUESTS: usize = 16;

/// The name of the lane that carries replies.
const REPLIES: &str = "replies";

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
    pub(in crate::call) lane: LaneOptions,
    pub(in crate::call) session: SessionOptions,
    pub(in crate::call) mode: u32,
    pub(in crate::call) callers_max: usize,
    pub(in crate::call) request_capacity_max: u64,
    pub(in crate::call) open_max: usize,
    pub(in crate::call) backlog_max: u64,
    pub(in crate::call) reply_timeout: Duration,
    pub(in crate::call) turn_requests: usize,
    pub(in crate::call) spin: Duration,
    pub(in crate::call) interrupter: Option<Interrupter>,
    pub(in crate::call) expected: Option<Expected>,
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

    /// Has `interrupter` end every wait for a request. Default: none.
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
