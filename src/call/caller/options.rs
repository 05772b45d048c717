//! The options of callers.

use super::Caller;
use crate::call::calls::CallLimits;
use crate::call::defaults::{CALLS_MAX, CAPACITY_BYTES, PEER_CAPACITY_MAX_BYTES, STORED_MAX_BYTES};
use crate::error::Result;
use crate::lane::LaneOptions;
use crate::options::SessionOptions;
use crate::os::interrupt::Interrupter;
use crate::session::pairs::Expected;
use crate::session::{Address, PeerPolicy};
use std::time::Duration;

/// The name of the lane that carries requests.
const REQUESTS: &str = "requests";

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
    pub(in crate::call) lane: LaneOptions,
    pub(in crate::call) session: SessionOptions,
    pub(in crate::call) reply_capacity_max: u64,
    pub(in crate::call) limits: CallLimits,
    pub(in crate::call) expected: Option<Expected>,
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

    /// Has `interrupter` end every wait of the caller. Default: none.
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
