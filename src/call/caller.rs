//! The end that calls.
//!
//! The invariant: every wait here, for room or for a reply, takes each reply that comes. So two full rings never keep a
//! caller and its service waiting for each other.

mod line;
#[cfg(feature = "tokio")]
mod task;

use super::body::Body;
use super::calls::{Answer, Calls, Next};
use super::prefix::{Cause, Kind};
use super::reply::{Dropped, OpenCall, Reply, Ticket};
use super::request::REASON_MAX_BYTES;
use super::{CallError, CallerOptions, CallerStats};
use crate::consumer::ReceiveError;
use crate::deadline::Deadline;
use crate::error::{Error, Result};
use crate::lane::LaneOptions;
use crate::os::clock::{Anchor, coarse_ns, has_come};
use crate::os::fork::ForkGuard;
use crate::os::interrupt::Interrupter;
use crate::os::poller::Poller;
use crate::session::Address;
use crate::session::pairs::{self, PairTerms};
use crate::wire::printable;
use line::{Line, RECORDS_PER_LOOK, Stored, of_wait};
use rustix::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

#[cfg(feature = "tokio")]
pub(crate) use task::Wanted;

/// The calling end: sends requests to a [`Service`](super::Service), and gets replies.
///
/// Each call has a deadline, and gets a reply, a refusal or an error by then. Any number of calls can be in flight:
/// [`send`](Self::send) returns a [`Ticket`] to wait for. If the service dies or is restarted, the calls in flight fail
/// at once with [`CallError::Lost`]: the service may or may not have executed them. The next call connects again, and
/// keeps trying for [`patience`](CallerOptions::patience).
///
/// A caller is `Send`. Give each thread that calls a caller of its own.
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
    watched: task::Watched,
    guard: ForkGuard,
}

/// When a request is given up, and whether it waits.
#[derive(Clone, Copy, Debug)]
struct Terms {
    until: Until,
    waits: Waits,
    anchor: Anchor,
}

/// When a call is given up.
#[derive(Clone, Copy, Debug)]
enum Until {
    Fixed(Deadline),
    /// That long after its request is on its way, or has to wait: so the clock is read while the service is at it. The
    /// service is told a time that is earlier by up to a tick of the kernel, which takes 5 ns to read instead of 30.
    After(Duration),
}

/// From this timeout on a tick of the kernel, 1 to 10 ms, makes no difference.
const LONG_TIMEOUT: Duration = Duration::from_secs(1);
/// A request up to this length is on its way within a microsecond.
const SOON_WRITTEN_MAX_BYTES: usize = 4096;

/// Whether a request waits for room, and for a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Waits {
    /// Not for room.
    No,
    Here,
    /// Neither here: its task does, for both.
    InTask,
}

impl Terms {
    fn until(deadline: Deadline, waits: Waits, anchor: Anchor) -> Self {
        Self { until: Until::Fixed(deadline), waits, anchor }
    }

    /// The deadline. It is fixed from now on.
    fn deadline(&mut self) -> Deadline {
        match self.until {
            Until::Fixed(deadline) => deadline,
            Until::After(timeout) => {
                let deadline = Deadline::after(timeout);
                self.until = Until::Fixed(deadline);
                deadline
            }
        }
    }

    /// The same on CLOCK_MONOTONIC, in ns; `None` if there is none.
    fn deadline_ns(&mut self) -> Option<u64> {
        let Deadline::At(instant) = self.deadline() else { return None };
        self.anchor.ns_of(instant)
    }

    /// What the service is told of the deadline; 0 if there is none.
    #[inline]
    fn told_ns(&mut self) -> u64 {
        let told = match self.until {
            Until::Fixed(_) => self.deadline_ns(),
            Until::After(timeout) => u64::try_from(timeout.as_nanos()).ok().and_then(|ns| coarse_ns().checked_add(ns)),
        };
        told.unwrap_or(0)
    }
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
    /// - [`Error::Refused`] if the service refuses, for example because it has its most callers already, or because a
    ///   server listens there, which is no service
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
            watched: task::Watched::default(),
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

    /// Sends a request and waits for its reply, at most `timeout` for both. If several replies come, this is the first,
    /// and the others are dropped: [`send`](Self::send) gets them all.
    ///
    /// The service sees the deadline: to the nanosecond if `timeout` is less than a second, else up to a tick of the
    /// kernel earlier, 1 to 10 ms. With [`Duration::MAX`] there is none.
    ///
    /// ```
    /// # use fdring::call::{Caller, Service};
    /// # use std::time::Duration;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut service = Service::listen("@doc-caller-call")?;
    /// # let server = std::thread::spawn(move || service.receive().unwrap().reply(b"4").unwrap());
    /// let mut caller = Caller::connect("@doc-caller-call")?;
    /// let reply = caller.call(b"2 + 2", Duration::from_secs(1))?;
    /// assert_eq!(&reply[..], b"4");
    /// # server.join().unwrap();
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`CallError::TimedOut`] if no reply came in time
    /// - [`CallError::Refused`] if the service refused
    /// - [`CallError::Lost`] if the session ended before the reply
    /// - [`CallError::Full`] if there was no room in time; nothing was sent
    /// - [`CallError::NotConnected`] if the session was lost before, and no new one could be opened
    /// - [`CallError::TooLong`] if the request is longer than the ring takes
    /// - [`CallError::TooManyCalls`] if as many calls are in flight as [`CallerOptions::calls_max`] allows
    /// - [`CallError::StoreFull`] if too many replies to other calls are in its way
    /// - [`CallError::Interrupted`] if an [`Interrupter`] ended the wait
    /// - [`CallError::Wait`] if the kernel does not let this thread wait
    /// - [`CallError::Forked`] in a forked child
    pub fn call(&mut self, request: &[u8], timeout: Duration) -> Result<Reply, CallError> {
        self.call_by(request.len(), self.terms_of(request.len(), timeout), |bytes| bytes.copy_from_slice(request))
    }

    /// Like [`call`](Self::call), with a request of `len` bytes that `fill` writes in the ring itself. Before they are
    /// filled, the bytes may hold anything.
    ///
    /// ```
    /// # use fdring::call::{Caller, Service};
    /// # use std::time::Duration;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut service = Service::listen("@doc-caller-call-with")?;
    /// # let server = std::thread::spawn(move || service.receive().unwrap().reply(b"done").unwrap());
    /// let mut caller = Caller::connect("@doc-caller-call-with")?;
    /// caller.call_with(1000, Duration::from_secs(1), |request| request.fill(7))?;
    /// # server.join().unwrap();
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`CallError::TimedOut`] if no reply came in time
    /// - [`CallError::Refused`] if the service refused
    /// - [`CallError::Lost`] if the session ended before the reply
    /// - [`CallError::Full`] if there was no room in time; nothing was sent
    /// - [`CallError::NotConnected`] if the session was lost before, and no new one could be opened
    /// - [`CallError::TooLong`] if the request is longer than the ring takes
    /// - [`CallError::TooManyCalls`] if as many calls are in flight as [`CallerOptions::calls_max`] allows
    /// - [`CallError::StoreFull`] if too many replies to other calls are in its way
    /// - [`CallError::Interrupted`] if an [`Interrupter`] ended the wait
    /// - [`CallError::Wait`] if the kernel does not let this thread wait
    /// - [`CallError::Forked`] in a forked child
    pub fn call_with(
        &mut self,
        len: usize,
        timeout: Duration,
        fill: impl FnOnce(&mut [u8]),
    ) -> Result<Reply, CallError> {
        self.call_by(len, self.terms_after(timeout, Waits::Here), fill)
    }

    fn call_by(&mut self, len: usize, terms: Terms, fill: impl FnOnce(&mut [u8])) -> Result<Reply, CallError> {
        let mut call = self.begin(len, terms, fill)?;
        let outcome = self.wait_for(&mut call, Deadline::Never);
        if !call.is_over {
            self.give_up(call.id);
        }
        // The call is fresh, so an answer or an error is due.
        Ok(outcome?.unwrap_or_default())
    }

    /// Sends a request. Returns the ticket with which to wait for its replies. Waits for room for at most `timeout`.
    /// The whole call ends after `timeout`, replies included.
    ///
    /// ```
    /// # use fdring::call::{Caller, Service};
    /// # use std::time::Duration;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut service = Service::listen("@doc-caller-send")?;
    /// # let server = std::thread::spawn(move || service.receive().unwrap().reply(b"4").unwrap());
    /// let mut caller = Caller::connect("@doc-caller-send")?;
    /// let mut ticket = caller.send(b"2 + 2", Duration::from_secs(1))?;
    /// // … other calls, other work …
    /// assert_eq!(&caller.wait(&mut ticket)?.unwrap()[..], b"4");
    /// # server.join().unwrap();
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`CallError::Full`] if there was no room in time; nothing was sent
    /// - [`CallError::NotConnected`] if the session was lost before, and no new one could be opened
    /// - [`CallError::TooLong`] if the request is longer than the ring takes
    /// - [`CallError::TooManyCalls`] if as many calls are in flight as [`CallerOptions::calls_max`] allows
    /// - [`CallError::StoreFull`] if too many replies to other calls are in its way
    /// - [`CallError::Interrupted`] if an [`Interrupter`] ended the wait
    /// - [`CallError::Wait`] if the kernel does not let this thread wait
    /// - [`CallError::Forked`] in a forked child
    pub fn send(&mut self, request: &[u8], timeout: Duration) -> Result<Ticket, CallError> {
        self.send_by(request.len(), self.terms_of(request.len(), timeout), |bytes| bytes.copy_from_slice(request))
    }

    /// Like [`send`](Self::send), but never waits for room. If the session was lost, the call connects again first, and
    /// waits for that.
    ///
    /// ```
    /// # use fdring::call::{Caller, Service};
    /// # use std::time::Duration;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let service = Service::listen("@doc-caller-try-send")?;
    /// let mut caller = Caller::connect("@doc-caller-try-send")?;
    /// let ticket = caller.try_send(b"2 + 2", Duration::from_secs(1))?;
    /// # drop((ticket, service));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`CallError::Full`] if there is no room now; nothing was sent
    /// - [`CallError::NotConnected`] if the session was lost before, and no new one could be opened
    /// - [`CallError::TooLong`] if the request is longer than the ring takes
    /// - [`CallError::TooManyCalls`] if as many calls are in flight as [`CallerOptions::calls_max`] allows
    /// - [`CallError::StoreFull`] if too many replies to other calls are in its way
    /// - [`CallError::Interrupted`] if an [`Interrupter`] ended the wait
    /// - [`CallError::Wait`] if the kernel does not let this thread wait
    /// - [`CallError::Forked`] in a forked child
    pub fn try_send(&mut self, request: &[u8], timeout: Duration) -> Result<Ticket, CallError> {
        self.send_by(request.len(), self.terms_after(timeout, Waits::No), |bytes| bytes.copy_from_slice(request))
    }

    /// Like [`send`](Self::send), with a request of `len` bytes that `fill` writes in the ring itself.
    ///
    /// ```
    /// # use fdring::call::{Caller, Service};
    /// # use std::time::Duration;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let service = Service::listen("@doc-caller-send-with")?;
    /// let mut caller = Caller::connect("@doc-caller-send-with")?;
    /// let ticket = caller.send_with(1000, Duration::from_secs(1), |request| request.fill(7))?;
    /// # drop((ticket, service));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`CallError::Full`] if there was no room in time; nothing was sent
    /// - [`CallError::NotConnected`] if the session was lost before, and no new one could be opened
    /// - [`CallError::TooLong`] if the request is longer than the ring takes
    /// - [`CallError::TooManyCalls`] if as many calls are in flight as [`CallerOptions::calls_max`] allows
    /// - [`CallError::StoreFull`] if too many replies to other calls are in its way
    /// - [`CallError::Interrupted`] if an [`Interrupter`] ended the wait
    /// - [`CallError::Wait`] if the kernel does not let this thread wait
    /// - [`CallError::Forked`] in a forked child
    pub fn send_with(
        &mut self,
        len: usize,
        timeout: Duration,
        fill: impl FnOnce(&mut [u8]),
    ) -> Result<Ticket, CallError> {
        self.send_by(len, self.terms_after(timeout, Waits::Here), fill)
    }

    /// Waits for the next reply to a request, until the deadline of the call. `None` if its last reply was returned
    /// already, or the error that ended it.
    ///
    /// ```
    /// # use fdring::call::{Caller, Service};
    /// # use std::time::Duration;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut service = Service::listen("@doc-caller-wait")?;
    /// # let server = std::thread::spawn(move || {
    /// #     let request = service.receive().unwrap();
    /// #     request.reply_part(b"1").unwrap();
    /// #     request.reply(b"2").unwrap();
    /// # });
    /// let mut caller = Caller::connect("@doc-caller-wait")?;
    /// let mut ticket = caller.send(b"list", Duration::from_secs(1))?;
    /// let mut replies = 0;
    /// while let Some(reply) = caller.wait(&mut ticket)? {
    ///     replies += 1;
    ///     assert_eq!(reply.is_last(), replies == 2);
    /// }
    /// assert_eq!(replies, 2);
    /// # server.join().unwrap();
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`CallError::TimedOut`] if no reply came before the deadline of the call
    /// - [`CallError::Refused`] if the service refused
    /// - [`CallError::Lost`] if the session ended before the reply
    /// - [`CallError::StoreFull`] if too many replies to other calls are in its way
    /// - [`CallError::ForeignTicket`] if the ticket is of another caller
    /// - [`CallError::Interrupted`] if an [`Interrupter`] ended the wait
    /// - [`CallError::Wait`] if the kernel does not let this thread wait
    /// - [`CallError::Forked`] in a forked child
    pub fn wait(&mut self, ticket: &mut Ticket) -> Result<Option<Reply>, CallError> {
        self.wait_until(ticket, Deadline::Never)
    }

    /// Like [`wait`](Self::wait), but never waits.
    ///
    /// ```
    /// # use fdring::call::{CallError, Caller, Service};
    /// # use std::time::Duration;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let service = Service::listen("@doc-caller-try-wait")?;
    /// let mut caller = Caller::connect("@doc-caller-try-wait")?;
    /// let mut ticket = caller.send(b"2 + 2", Duration::from_secs(1))?;
    /// assert!(matches!(caller.try_wait(&mut ticket), Err(CallError::Empty)));
    /// # drop(service);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`CallError::Empty`] if there is no reply yet
    /// - [`CallError::TimedOut`] if no reply came before the deadline of the call
    /// - [`CallError::Refused`] if the service refused
    /// - [`CallError::Lost`] if the session ended before the reply
    /// - [`CallError::StoreFull`] if too many replies to other calls are in its way
    /// - [`CallError::ForeignTicket`] if the ticket is of another caller
    /// - [`CallError::Interrupted`] if an [`Interrupter`] ended the wait
    /// - [`CallError::Wait`] if the kernel does not let this thread wait
    /// - [`CallError::Forked`] in a forked child
    pub fn try_wait(&mut self, ticket: &mut Ticket) -> Result<Option<Reply>, CallError> {
        self.wait_until(ticket, Deadline::Now)
    }

    /// Like [`wait`](Self::wait), but waits at most `timeout`. The call goes on after that, until its own deadline.
    ///
    /// ```
    /// # use fdring::call::{CallError, Caller, Service};
    /// # use std::time::Duration;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let service = Service::listen("@doc-caller-wait-timeout")?;
    /// let mut caller = Caller::connect("@doc-caller-wait-timeout")?;
    /// let mut ticket = caller.send(b"2 + 2", Duration::from_secs(60))?;
    /// let nothing = caller.wait_timeout(&mut ticket, Duration::from_millis(1));
    /// assert!(matches!(nothing, Err(CallError::Empty)));
    /// # drop(service);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`CallError::Empty`] if no reply came within `timeout`; the call goes on
    /// - [`CallError::TimedOut`] if no reply came before the deadline of the call
    /// - [`CallError::Refused`] if the service refused
    /// - [`CallError::Lost`] if the session ended before the reply
    /// - [`CallError::StoreFull`] if too many replies to other calls are in its way
    /// - [`CallError::ForeignTicket`] if the ticket is of another caller
    /// - [`CallError::Interrupted`] if an [`Interrupter`] ended the wait
    /// - [`CallError::Wait`] if the kernel does not let this thread wait
    /// - [`CallError::Forked`] in a forked child
    pub fn wait_timeout(&mut self, ticket: &mut Ticket, timeout: Duration) -> Result<Option<Reply>, CallError> {
        self.wait_until(ticket, Deadline::after(timeout))
    }

    /// Like [`wait`](Self::wait), but waits only until `deadline`, which several calls can share.
    ///
    /// ```
    /// # use fdring::call::{CallError, Caller, Service};
    /// # use std::time::{Duration, Instant};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let service = Service::listen("@doc-caller-wait-deadline")?;
    /// let mut caller = Caller::connect("@doc-caller-wait-deadline")?;
    /// let mut ticket = caller.send(b"2 + 2", Duration::from_secs(60))?;
    /// assert!(matches!(caller.wait_deadline(&mut ticket, Instant::now()), Err(CallError::Empty)));
    /// # drop(service);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`CallError::Empty`] if no reply came before `deadline`; the call goes on
    /// - [`CallError::TimedOut`] if no reply came before the deadline of the call
    /// - [`CallError::Refused`] if the service refused
    /// - [`CallError::Lost`] if the session ended before the reply
    /// - [`CallError::StoreFull`] if too many replies to other calls are in its way
    /// - [`CallError::ForeignTicket`] if the ticket is of another caller
    /// - [`CallError::Interrupted`] if an [`Interrupter`] ended the wait
    /// - [`CallError::Wait`] if the kernel does not let this thread wait
    /// - [`CallError::Forked`] in a forked child
    pub fn wait_deadline(&mut self, ticket: &mut Ticket, deadline: Instant) -> Result<Option<Reply>, CallError> {
        self.wait_until(ticket, Deadline::At(deadline))
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

    /// The terms of a request that is copied into the ring, and waits for room.
    #[inline]
    fn terms_of(&self, len: usize, timeout: Duration) -> Terms {
        if timeout < LONG_TIMEOUT || len > SOON_WRITTEN_MAX_BYTES {
            return self.terms_after(timeout, Waits::Here);
        }
        Terms { until: Until::After(timeout), waits: Waits::Here, anchor: self.anchor }
    }

    #[inline]
    fn terms_after(&self, timeout: Duration, waits: Waits) -> Terms {
        Terms::until(Deadline::after(timeout), waits, self.anchor)
    }

    fn send_by(&mut self, len: usize, terms: Terms, fill: impl FnOnce(&mut [u8])) -> Result<Ticket, CallError> {
        let call = self.begin(len, terms, fill)?;
        Ok(Ticket::new(call, &self.dropped))
    }

    /// Sends a request, after which its answers are waited for.
    #[inline]
    fn begin(&mut self, len: usize, mut terms: Terms, fill: impl FnOnce(&mut [u8])) -> Result<OpenCall, CallError> {
        self.check_owner()?;
        self.forget_dropped();
        let id = self.write(len, &mut terms, fill)?;
        self.stats.sent += 1;
        Ok(OpenCall { id, deadline: terms.deadline(), is_over: false })
    }

    fn wait_until(&mut self, ticket: &mut Ticket, limit: Deadline) -> Result<Option<Reply>, CallError> {
        self.check_owner()?;
        if !ticket.is_of(&self.dropped) {
            return Err(CallError::ForeignTicket);
        }
        self.forget_dropped();
        self.wait_for(&mut ticket.call, limit)
    }

    /// Waits for the next answer to a call.
    fn wait_for(&mut self, call: &mut OpenCall, limit: Deadline) -> Result<Option<Reply>, CallError> {
        if call.is_over {
            return Ok(None);
        }
        for taken in 1_u64.. {
            match self.calls.next(call.id, has_come) {
                Next::Pending => {}
                Next::Answer(answer) => return self.hand_out(call, answer).map(Some),
                Next::Expired => {
                    call.is_over = true;
                    self.stats.timed_out += 1;
                    self.tell_cancelled(call.id);
                    return Err(CallError::TimedOut);
                }
                Next::Lost(why) => {
                    call.is_over = true;
                    return Err(CallError::Lost(why));
                }
                Next::Unknown => return Ok(None),
            }
            if !self.calls.has_room() {
                return Err(CallError::StoreFull { stored_bytes: self.calls.stored_bytes() });
            }
            let Some(line) = &mut self.line else {
                // A call without a session has been told that it is lost.
                return Err(CallError::Lost(ReceiveError::Closed));
            };
            let found = match limit {
                Deadline::Now => line.pair.consumer.try_find(),
                limit => line.pair.consumer.find_until(limit.min(call.deadline)),
            };
            let nothing = matches!(found, Err(ReceiveError::Empty | ReceiveError::TimedOut));
            if let Some(in_hand) = self.take_found(found, Some(call.id))? {
                self.note_answer(call, in_hand.kind);
                let body = self.line.as_ref().map_or(&[][..], |line| line.body(in_hand));
                return match in_hand.kind {
                    Kind::Refusal(cause) => Err(refused(cause, body)),
                    kind => Ok(Some(Reply::new(Body::of(body), kind == Kind::LastReply))),
                };
            }
            let is_look = taken.is_multiple_of(RECORDS_PER_LOOK);
            if is_look {
                self.check_interrupt()?;
            }
            if (nothing || is_look) && limit.has_passed() && !call.deadline.has_passed() {
                return Err(CallError::Empty);
            }
        }
        Err(CallError::Empty)
    }

    /// Hands out an answer that was filed.
    fn hand_out(&mut self, call: &mut OpenCall, answer: Answer<Stored>) -> Result<Reply, CallError> {
        let (Answer::Reply(stored) | Answer::LastReply(stored) | Answer::Refusal(stored)) = answer;
        self.note_answer(call, stored.kind);
        match stored.kind {
            Kind::Refusal(cause) => Err(refused(cause, &stored.body)),
            kind => Ok(Reply::new(stored.body, kind == Kind::LastReply)),
        }
    }

    /// An answer goes to the program.
    fn note_answer(&mut self, call: &mut OpenCall, kind: Kind) {
        call.is_over = kind != Kind::Reply;
        match kind {
            Kind::Refusal(_) => self.stats.refused += 1,
            _ => self.stats.replies += 1,
        }
    }
}

/// The error of a refused call.
fn refused(cause: Cause, reason: &[u8]) -> CallError {
    // A service may send anything.
    CallError::Refused { cause, reason: printable(&String::from_utf8_lossy(reason), REASON_MAX_BYTES).into() }
}

impl AsFd for Caller {
    /// The descriptor to wait for, see [`arm`](Self::arm).
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.poller.as_fd()
    }
}
