//! The end that calls with values.
//!
//! The invariant: each call is that of the [`Caller`], and looks at values beside it.

use super::value_of_reply;
use crate::call::{CallError, Caller, CallerOptions, CallerStats, Ticket};
use crate::error::Result;
use crate::session::Address;
use crate::typed::Layout;
use bytemuck::{CheckedBitPattern, NoUninit};
use rustix::fd::{AsFd, BorrowedFd};
use std::marker::PhantomData;
use std::time::{Duration, Instant};

/// A [`Caller`] whose requests are values of `Q`, and whose replies are values of `P`.
///
/// ```
/// use fdring::call::{TypedCaller, TypedService};
/// use std::time::Duration;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut service = TypedService::<f64, f64>::listen("@doc-typed-caller")?;
/// let server = std::thread::spawn(move || {
///     let request = service.receive().unwrap();
///     let root = request.value().unwrap().sqrt();
///     request.reply(&root).unwrap();
/// });
///
/// let mut roots = TypedCaller::<f64, f64>::connect("@doc-typed-caller")?; // usually in another process
/// assert_eq!(roots.call(&2.25, Duration::from_secs(1))?, 1.5);
/// # server.join().unwrap();
///
/// # let service = TypedService::<f64, f64>::listen("@doc-typed-caller-other")?;
/// let error = TypedCaller::<u64, f64>::connect("@doc-typed-caller-other").unwrap_err();
/// assert!(error.to_string().contains("f64, 8 bytes, aligned to 8, version 0"));
/// # drop(service);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "dropping a caller ends its session; keep it in a variable"]
pub struct TypedCaller<Q, P> {
    caller: Caller,
    values: PhantomData<fn(Q) -> P>,
}

impl<Q: NoUninit, P: CheckedBitPattern> TypedCaller<Q, P> {
    /// Connects to the service at `address` with the default options, and the layouts of `Q` and `P` in version 0.
    ///
    /// ```
    /// # use fdring::call::{TypedCaller, TypedService};
    /// # fn main() -> fdring::Result<()> {
    /// # let service = TypedService::<u32, u32>::listen("@doc-typed-caller-connect")?;
    /// let caller = TypedCaller::<u32, u32>::connect("@doc-typed-caller-connect")?;
    /// # drop((caller, service));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`Error::Os`](crate::Error::Os) if nobody listens there, or the system is short of memory or descriptors
    /// - [`Error::Invalid`](crate::Error::Invalid) if the address is out of range
    /// - [`Error::Refused`](crate::Error::Refused) if the service refuses, for example because it has other values, or
    ///   its most callers already
    /// - [`Error::Forbidden`](crate::Error::Forbidden) if the service runs as another user
    /// - [`Error::Peer`](crate::Error::Peer) if the service has other values, breaks the protocol, or offers what is
    ///   beyond the limits
    /// - [`Error::Closed`](crate::Error::Closed) if the service closes the connection
    /// - [`Error::TimedOut`](crate::Error::TimedOut) if the handshake takes longer than 5 s
    /// - [`Error::Forked`](crate::Error::Forked) in a forked child of a process that has used this library
    pub fn connect(address: impl Into<Address>) -> Result<Self> {
        let options = CallerOptions::new().values(Layout::of::<Q>(), Layout::of::<P>());
        Ok(Self::new(options.connect(address)?))
    }

    /// The values of a caller that was connected with their [layouts](CallerOptions::values).
    ///
    /// ```
    /// # use fdring::call::{CallerOptions, TypedCaller, TypedService};
    /// # use fdring::typed::Layout;
    /// # fn main() -> fdring::Result<()> {
    /// # let service = TypedService::<u32, u32>::listen("@doc-typed-caller-new")?;
    /// let options = CallerOptions::new().values(Layout::of::<u32>(), Layout::of::<u32>()).capacity(64 << 10);
    /// let caller = TypedCaller::<u32, u32>::new(options.connect("@doc-typed-caller-new")?);
    /// # drop((caller, service));
    /// # Ok(())
    /// # }
    /// ```
    pub fn new(caller: Caller) -> Self {
        Self { caller, values: PhantomData }
    }

    /// Sends a request and waits for its reply, at most `timeout` for both: see [`Caller::call`].
    ///
    /// ```
    /// # use fdring::call::{TypedCaller, TypedService};
    /// # use std::time::Duration;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut service = TypedService::<u32, u32>::listen("@doc-typed-call")?;
    /// # let server = std::thread::spawn(move || service.receive().unwrap().reply(&9).unwrap());
    /// # let mut caller = TypedCaller::<u32, u32>::connect("@doc-typed-call")?;
    /// let square: u32 = caller.call(&3, Duration::from_secs(1))?;
    /// # assert_eq!(square, 9);
    /// # server.join().unwrap();
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`CallError::TimedOut`] if no reply came in time
    /// - [`CallError::NoValue`] if the reply is no value of `P`
    /// - [`CallError::Refused`] if the service refused
    /// - [`CallError::Lost`] if the session ended before the reply
    /// - [`CallError::Full`] if there was no room in time; nothing was sent
    /// - [`CallError::NotConnected`] if the session was lost before, and no new one could be opened
    /// - [`CallError::TooLong`] if the request is longer than the ring takes
    /// - [`CallError::TooManyCalls`] if as many calls are in flight as [`CallerOptions::calls_max`] allows
    /// - [`CallError::StoreFull`] if too many replies to other calls are in its way
    /// - [`CallError::Interrupted`] if an [`Interrupter`](crate::Interrupter) ended the wait
    /// - [`CallError::Wait`] if the kernel does not let this thread wait
    /// - [`CallError::Forked`] in a forked child
    pub fn call(&mut self, request: &Q, timeout: Duration) -> Result<P, CallError> {
        value_of_reply(&self.caller.call(bytemuck::bytes_of(request), timeout)?)
    }

    /// Sends a request, and returns the ticket to wait for its replies with: see [`Caller::send`].
    ///
    /// ```
    /// # use fdring::call::{TypedCaller, TypedService};
    /// # use std::time::Duration;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut service = TypedService::<u32, u32>::listen("@doc-typed-send")?;
    /// # let server = std::thread::spawn(move || service.receive().unwrap().reply(&9).unwrap());
    /// # let mut caller = TypedCaller::<u32, u32>::connect("@doc-typed-send")?;
    /// let mut ticket = caller.send(&3, Duration::from_secs(1))?;
    /// assert_eq!(caller.wait(&mut ticket)?, Some(9));
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
    /// - [`CallError::Interrupted`] if an [`Interrupter`](crate::Interrupter) ended the wait
    /// - [`CallError::Wait`] if the kernel does not let this thread wait
    /// - [`CallError::Forked`] in a forked child
    pub fn send(&mut self, request: &Q, timeout: Duration) -> Result<Ticket, CallError> {
        self.caller.send(bytemuck::bytes_of(request), timeout)
    }

    /// Waits for the next reply to a request: see [`Caller::wait`].
    ///
    /// ```
    /// # use fdring::call::{TypedCaller, TypedService};
    /// # use std::time::Duration;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut service = TypedService::<u32, u32>::listen("@doc-typed-wait")?;
    /// # let server = std::thread::spawn(move || service.receive().unwrap().reply(&9).unwrap());
    /// # let mut caller = TypedCaller::<u32, u32>::connect("@doc-typed-wait")?;
    /// let mut ticket = caller.send(&3, Duration::from_secs(1))?;
    /// while let Some(reply) = caller.wait(&mut ticket)? {
    ///     println!("{reply}");
    /// }
    /// # server.join().unwrap();
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`CallError::NoValue`] if the reply is no value of `P`
    /// - [`CallError::TimedOut`] if no reply came before the deadline of the call
    /// - [`CallError::Refused`] if the service refused
    /// - [`CallError::Lost`] if the session ended before the reply
    /// - [`CallError::StoreFull`] if too many replies to other calls are in its way
    /// - [`CallError::ForeignTicket`] if the ticket is of another caller
    /// - [`CallError::Interrupted`] if an [`Interrupter`](crate::Interrupter) ended the wait
    /// - [`CallError::Wait`] if the kernel does not let this thread wait
    /// - [`CallError::Forked`] in a forked child
    pub fn wait(&mut self, ticket: &mut Ticket) -> Result<Option<P>, CallError> {
        self.caller.wait(ticket)?.map(|reply| value_of_reply(&reply)).transpose()
    }

    /// Like [`wait`](Self::wait), but never waits: see [`Caller::try_wait`].
    ///
    /// ```
    /// # use fdring::call::{CallError, TypedCaller, TypedService};
    /// # use std::time::Duration;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let service = TypedService::<u32, u32>::listen("@doc-typed-try-wait")?;
    /// # let mut caller = TypedCaller::<u32, u32>::connect("@doc-typed-try-wait")?;
    /// let mut ticket = caller.send(&3, Duration::from_secs(1))?;
    /// assert!(matches!(caller.try_wait(&mut ticket), Err(CallError::Empty)));
    /// # drop(service);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`CallError::Empty`] if there is no reply yet
    /// - [`CallError::NoValue`] if the reply is no value of `P`
    /// - [`CallError::TimedOut`] if no reply came before the deadline of the call
    /// - [`CallError::Refused`] if the service refused
    /// - [`CallError::Lost`] if the session ended before the reply
    /// - [`CallError::StoreFull`] if too many replies to other calls are in its way
    /// - [`CallError::ForeignTicket`] if the ticket is of another caller
    /// - [`CallError::Interrupted`] if an [`Interrupter`](crate::Interrupter) has ended all waits, and replies to
    ///   others keep coming
    /// - [`CallError::Wait`] if the kernel does not let this thread wait
    /// - [`CallError::Forked`] in a forked child
    pub fn try_wait(&mut self, ticket: &mut Ticket) -> Result<Option<P>, CallError> {
        self.caller.try_wait(ticket)?.map(|reply| value_of_reply(&reply)).transpose()
    }

    /// Like [`wait`](Self::wait), but waits at most `timeout`: see [`Caller::wait_timeout`].
    ///
    /// ```
    /// # use fdring::call::{CallError, TypedCaller, TypedService};
    /// # use std::time::Duration;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let service = TypedService::<u32, u32>::listen("@doc-typed-wait-timeout")?;
    /// # let mut caller = TypedCaller::<u32, u32>::connect("@doc-typed-wait-timeout")?;
    /// let mut ticket = caller.send(&3, Duration::from_secs(60))?;
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
    /// - [`CallError::NoValue`] if the reply is no value of `P`
    /// - [`CallError::TimedOut`] if no reply came before the deadline of the call
    /// - [`CallError::Refused`] if the service refused
    /// - [`CallError::Lost`] if the session ended before the reply
    /// - [`CallError::StoreFull`] if too many replies to other calls are in its way
    /// - [`CallError::ForeignTicket`] if the ticket is of another caller
    /// - [`CallError::Interrupted`] if an [`Interrupter`](crate::Interrupter) ended the wait
    /// - [`CallError::Wait`] if the kernel does not let this thread wait
    /// - [`CallError::Forked`] in a forked child
    pub fn wait_timeout(&mut self, ticket: &mut Ticket, timeout: Duration) -> Result<Option<P>, CallError> {
        self.caller.wait_timeout(ticket, timeout)?.map(|reply| value_of_reply(&reply)).transpose()
    }

    /// Like [`wait`](Self::wait), but waits only until `deadline`: see [`Caller::wait_deadline`].
    ///
    /// ```
    /// # use fdring::call::{CallError, TypedCaller, TypedService};
    /// # use std::time::{Duration, Instant};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let service = TypedService::<u32, u32>::listen("@doc-typed-wait-deadline")?;
    /// # let mut caller = TypedCaller::<u32, u32>::connect("@doc-typed-wait-deadline")?;
    /// let mut ticket = caller.send(&3, Duration::from_secs(60))?;
    /// let nothing = caller.wait_deadline(&mut ticket, Instant::now());
    /// assert!(matches!(nothing, Err(CallError::Empty)));
    /// # drop(service);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`CallError::Empty`] if no reply came before `deadline`; the call goes on
    /// - [`CallError::NoValue`] if the reply is no value of `P`
    /// - [`CallError::TimedOut`] if no reply came before the deadline of the call
    /// - [`CallError::Refused`] if the service refused
    /// - [`CallError::Lost`] if the session ended before the reply
    /// - [`CallError::StoreFull`] if too many replies to other calls are in its way
    /// - [`CallError::ForeignTicket`] if the ticket is of another caller
    /// - [`CallError::Interrupted`] if an [`Interrupter`](crate::Interrupter) ended the wait
    /// - [`CallError::Wait`] if the kernel does not let this thread wait
    /// - [`CallError::Forked`] in a forked child
    pub fn wait_deadline(&mut self, ticket: &mut Ticket, deadline: Instant) -> Result<Option<P>, CallError> {
        self.caller.wait_deadline(ticket, deadline)?.map(|reply| value_of_reply(&reply)).transpose()
    }
}

impl<Q, P> TypedCaller<Q, P> {
    /// The caller itself: for everything but values.
    ///
    /// ```
    /// # use fdring::call::{TypedCaller, TypedService};
    /// # fn main() -> fdring::Result<()> {
    /// # let service = TypedService::<u32, u32>::listen("@doc-typed-caller-untyped")?;
    /// let mut caller = TypedCaller::<u32, u32>::connect("@doc-typed-caller-untyped")?;
    /// assert_eq!(caller.untyped_mut().address().to_string(), "@doc-typed-caller-untyped");
    /// # drop(service);
    /// # Ok(())
    /// # }
    /// ```
    pub fn untyped_mut(&mut self) -> &mut Caller {
        &mut self.caller
    }

    /// Prepares a wait for replies in the caller's event loop: see [`Caller::arm`].
    ///
    /// ```
    /// # use fdring::call::{CallError, TypedCaller, TypedService};
    /// # use rustix::event::{PollFd, PollFlags, poll};
    /// # use std::time::Duration;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut service = TypedService::<u32, u32>::listen("@doc-typed-caller-arm")?;
    /// # let server = std::thread::spawn(move || service.receive().unwrap().reply(&9).unwrap());
    /// # let mut caller = TypedCaller::<u32, u32>::connect("@doc-typed-caller-arm")?;
    /// let mut ticket = caller.send(&3, Duration::from_secs(60))?;
    /// let square = loop {
    ///     match caller.try_wait(&mut ticket) {
    ///         Err(CallError::Empty) => {
    ///             if caller.arm()? {
    ///                 poll(&mut [PollFd::new(&caller, PollFlags::IN)], None)?;
    ///             }
    ///         }
    ///         reply => break reply?,
    ///     }
    /// };
    /// assert_eq!(square, Some(9));
    /// # server.join().unwrap();
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`CallError::Interrupted`] if there is no news, and an [`Interrupter`](crate::Interrupter) has ended all waits
    /// - [`CallError::Wait`] if the kernel does not let this thread wait
    /// - [`CallError::Forked`] in a forked child
    pub fn arm(&mut self) -> Result<bool, CallError> {
        self.caller.arm()
    }

    /// The statistics so far: see [`Caller::stats`].
    ///
    /// ```
    /// # use fdring::call::{TypedCaller, TypedService};
    /// # fn main() -> fdring::Result<()> {
    /// # let service = TypedService::<u32, u32>::listen("@doc-typed-caller-stats")?;
    /// let caller = TypedCaller::<u32, u32>::connect("@doc-typed-caller-stats")?;
    /// assert_eq!(caller.stats().sent, 0);
    /// # drop(service);
    /// # Ok(())
    /// # }
    /// ```
    pub fn stats(&self) -> CallerStats {
        self.caller.stats()
    }
}

impl<Q, P> AsFd for TypedCaller<Q, P> {
    /// The descriptor to wait for, see [`arm`](Self::arm).
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.caller.as_fd()
    }
}
