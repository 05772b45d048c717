//! The end that calls.
//!
//! The invariant: every wait here, for room or for a reply, takes each reply that comes. So two full rings never keep a
//! caller and its service waiting for each other.

mod line;
mod options;
mod sending;
#[cfg(feature = "tokio")]
mod task;
mod until;
mod waiting;

use super::calls::Calls;
use super::reply::{Dropped, Ticket};
use super::{CallError, CallerStats};
use crate::consumer::ReceiveError;
use crate::deadline::Deadline;
use crate::error::{Error, Result};
use crate::lane::LaneOptions;
use crate::os::clock::Anchor;
use crate::os::fork::ForkGuard;
use crate::os::interrupt::Interrupter;
use crate::os::poller::Poller;
use crate::session::Address;
use crate::session::pairs::{self, PairTerms};
use line::{Line, Stored, of_wait};
use rustix::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

pub use options::CallerOptions;
#[cfg(feature = "tokio")]
pub(crate) use task::Wanted;
pub(super) use until::Until;

/// The calling end: sends requests to a [`Service`](super::Service), and gets replies.
///
/// Each call has a deadline, and gets a reply, a refusal or an error by then. Any number of calls can be in flight:
/// [`send`](Self::send) returns a [`Ticket`] to wait for. If the service dies or is restarted, the calls in flight fail
/// at once with [`CallError::Lost`]: the service may or may not have executed them. The next call connects again, and
/// keeps trying for [`patience`](CallerOptions::patience).
///
/// A caller is `Send`. Give each thread its own caller.
///
/// ```
/// use fdring::call::{Caller, Service};
/// use std::time::Duration;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut service = Service::listen("@doc-caller")?;
/// let server = std::thread::spawn(move || -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
///     for _ in 0..3 {
///         let request = service.receive()?;
///         let reply = request.to_ascii_uppercase();
///         request.reply(&reply)?;
///     }
///     Ok(())
/// });
///
/// // Usually in another process:
/// let mut caller = Caller::connect("@doc-caller")?;
/// let second = Duration::from_secs(1);
/// assert_eq!(&caller.call(b"hello", second)?[..], b"HELLO");
///
/// let mut tickets = [caller.send(b"one", second)?, caller.send(b"two", second)?];
/// assert_eq!(&caller.wait(&mut tickets[1])?.unwrap()[..], b"TWO");
/// assert_eq!(&caller.wait(&mut tickets[0])?.unwrap()[..], b"ONE");
/// # server.join().unwrap().unwrap();
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "dropping a caller ends its session; keep it in a variable"]
#[doc(alias("client", "requester", "rpc"))]
pub struct Caller {
    address: Address,
    lane: LaneOptions,
    terms: PairTerms,
    line: Option<Line>,
    calls: Calls<Stored, ReceiveError>,
    calls_max: usize,
    /// The calls whose tickets were dropped.
    dropped: Arc<Dropped>,
    /// Watches the session there is, so that the descriptor stays the same.
    poller: Poller,
    /// Whether something has come since the caller was last armed.
    has_news: bool,
    stats: CallerStats,
    anchor: Anchor,
    #[cfg(feature = "tokio")]
    watched: task::TaskFds,
    guard: ForkGuard,
}

impl Caller {
    /// Connects to the service at `address` with the default [`CallerOptions`].
    ///
    /// ```
    /// use fdring::call::{Caller, Service};
    ///
    /// # fn main() -> fdring::Result<()> {
    /// let service = Service::listen("@doc-caller-connect")?;
    /// let caller = Caller::connect("@doc-caller-connect")?; // usually in another process
    /// # drop((caller, service));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`Error::Os`] if nobody listens there, or the system is short of memory or descriptors
    /// - [`Error::Invalid`] if the address is out of range
    /// - [`Error::Refused`] if the service refuses, for example because it already has as many callers as it allows, or
    ///   because what listens there is not a service
    /// - [`Error::Forbidden`] if the service runs as another user
    /// - [`Error::Peer`] if the service breaks the protocol, or offers what is beyond the limits
    /// - [`Error::Closed`] if the service closes the connection
    /// - [`Error::TimedOut`] if the handshake takes longer than 5 s
    /// - [`Error::Forked`] in a forked child of a process that has used this library
    pub fn connect(address: impl Into<Address>) -> Result<Self> {
        CallerOptions::new().connect(address)
    }

    pub(super) fn with(options: CallerOptions, address: Address) -> Result<Self> {
        let guard = ForkGuard::get()?;
        let CallerOptions { lane, session, reply_capacity_max, limits, expected } = options;
        let terms = PairTerms { session, capacity_max: reply_capacity_max, expected, guard };
        let poller = Poller::new().map_err(Error::os("watch a session"))?;
        let (calls, calls_max) = (Calls::new(limits), limits.open_max);
        let (dropped, stats, anchor) = (Arc::new(Dropped::new(guard)), CallerStats::default(), Anchor::now());
        let mut caller = Self {
            address,
            lane,
            terms,
            line: None,
            calls,
            calls_max,
            dropped,
            poller,
            has_news: false,
            stats,
            anchor,
            #[cfg(feature = "tokio")]
            watched: task::TaskFds::default(),
            guard,
        };
        let pair = pairs::connect(&caller.address, &caller.lane, &caller.terms, Deadline::Never)?;
        caller.take_up(pair)?;
        Ok(caller)
    }

    /// The address of the service.
    ///
    /// ```
    /// # use fdring::call::{Caller, Service};
    /// # fn main() -> fdring::Result<()> {
    /// # let service = Service::listen("@doc-caller-address")?;
    /// let caller = Caller::connect("@doc-caller-address")?;
    /// assert_eq!(caller.address().to_string(), "@doc-caller-address");
    /// # drop(service);
    /// # Ok(())
    /// # }
    /// ```
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Gives a call up, and tells the service so if there is room for the message. Dropping the ticket does the same at
    /// the next call on this caller.
    ///
    /// ```
    /// # use fdring::call::{Caller, Service};
    /// # use std::time::Duration;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let service = Service::listen("@doc-caller-cancel")?;
    /// let mut caller = Caller::connect("@doc-caller-cancel")?;
    /// let ticket = caller.send(b"2 + 2", Duration::from_secs(1))?;
    /// caller.cancel(ticket);
    /// assert_eq!(caller.stats().in_flight, 0);
    /// # drop(service);
    /// # Ok(())
    /// # }
    /// ```
    pub fn cancel(&mut self, ticket: Ticket) {
        drop(ticket);
        self.forget_dropped();
    }

    /// Prepares a wait for replies in the caller's event loop: poll(2), epoll(7), or anything that watches
    /// descriptors.
    ///
    /// 1. Call [`try_wait`](Self::try_wait) for each ticket until it returns [`CallError::Empty`].
    /// 2. Call `arm`. `false` means that something has come since: go to 1.
    /// 3. Wait until the descriptor of [`as_fd`](Self::as_fd) is readable, or the next deadline of a call has passed.
    ///    Watch it level-triggered.
    /// 4. Go to 1.
    ///
    /// The descriptor stays the same for the life of the caller. Only watch it; do not read it.
    ///
    /// ```
    /// # use fdring::call::{Caller, Service};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let service = Service::listen("@doc-caller-arm")?;
    /// let mut caller = Caller::connect("@doc-caller-arm")?;
    /// assert!(caller.arm()?); // now wait for its descriptor
    /// # drop(service);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`CallError::Interrupted`] if there is no news, and an [`Interrupter`] has ended all waits
    /// - [`CallError::Wait`] if the kernel does not let this thread wait
    /// - [`CallError::Forked`] in a forked child
    pub fn arm(&mut self) -> Result<bool, CallError> {
        self.check_owner()?;
        self.forget_dropped();
        #[cfg(feature = "tokio")]
        self.unwatch();
        self.take_replies()?;
        let is_quiet = match &mut self.line {
            Some(_) if self.has_news || !self.calls.has_room() => false,
            Some(line) => line.pair.consumer.arm().map_err(of_wait)?,
            None => !self.has_news,
        };
        self.has_news = false;
        // Takes what was there before, so that only what comes from here on makes the descriptor readable.
        Ok(is_quiet)
    }

    /// The statistics so far.
    ///
    /// ```
    /// # use fdring::call::{Caller, Service};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let service = Service::listen("@doc-caller-stats")?;
    /// let caller = Caller::connect("@doc-caller-stats")?;
    /// assert_eq!((caller.stats().sessions, caller.stats().sent), (1, 0));
    /// # drop(service);
    /// # Ok(())
    /// # }
    /// ```
    pub fn stats(&self) -> CallerStats {
        CallerStats { in_flight: self.calls.len(), stored_bytes: self.calls.stored_bytes(), ..self.stats }
    }

    fn check_owner(&self) -> Result<(), CallError> {
        if self.guard.is_child() { Err(CallError::Forked) } else { Ok(()) }
    }

    /// For loops that find something again and again, and so never sleep.
    fn check_interrupt(&self) -> Result<(), CallError> {
        let is_interrupted = self.terms.session.interrupter.as_ref().is_some_and(Interrupter::is_interrupted);
        if is_interrupted { Err(CallError::Interrupted) } else { Ok(()) }
    }

    /// Forgets the calls whose tickets were dropped, and tells the service of them, if there is room.
    fn forget_dropped(&mut self) {
        if self.guard.is_child() {
            return;
        }
        while let Some(id) = self.dropped.take() {
            self.give_up(id);
        }
    }

    /// Forgets a call, and tells the service of it, if there is room.
    fn give_up(&mut self, id: u64) {
        if self.calls.cancel(id) {
            self.stats.cancelled += 1;
            self.tell_cancelled(id);
        }
    }
}

impl AsFd for Caller {
    /// The descriptor to wait for, see [`arm`](Self::arm).
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.poller.as_fd()
    }
}
