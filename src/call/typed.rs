//! Requests and replies that are values of a Rust type.
//!
//! The layouts of both go along in the lanes' schemas, and an end that has others is refused when it connects, with a
//! sentence that names what is expected. The invariant: a value that is handed out has bits that its type allows.

use super::{CallError, Caller, CallerOptions, Reply, ReplyError, Request, Service, ServiceOptions, Ticket};
use crate::consumer::ReceiveError;
use crate::error::Result;
use crate::session::Address;
use crate::session::pairs::Expected;
use crate::typed::Layout;
use bytemuck::{CheckedBitPattern, NoUninit};
use rustix::fd::{AsFd, BorrowedFd};
use std::marker::PhantomData;
use std::time::{Duration, Instant};

impl Expected {
    fn of(layout: Layout) -> Self {
        Self { schema: layout.schema(), align: layout.align(), in_words: layout.to_string() }
    }
}

impl CallerOptions {
    /// The layouts of requests and replies, for a [`TypedCaller`]. A service with other layouts refuses. Raises the
    /// [alignment](Self::align) of requests to that of their values.
    ///
    /// ```
    /// use fdring::call::{CallerOptions, TypedCaller, TypedService};
    /// use fdring::typed::Layout;
    ///
    /// # fn main() -> fdring::Result<()> {
    /// let service = TypedService::<u32, f64>::listen("@doc-caller-values")?;
    /// let options = CallerOptions::new().values(Layout::of::<u32>(), Layout::of::<f64>());
    /// let caller = TypedCaller::<u32, f64>::new(options.connect("@doc-caller-values")?);
    /// # drop((caller, service));
    /// # Ok(())
    /// # }
    /// ```
    pub fn values(mut self, requests: Layout, replies: Layout) -> Self {
        self.lane = self.lane.values(requests);
        self.expected = Some(Expected::of(replies));
        self
    }
}

impl ServiceOptions {
    /// The layouts of requests and replies, for a [`TypedService`]. A caller with other layouts is refused. Raises the
    /// [alignment](Self::align) of replies to that of their values.
    ///
    /// ```
    /// use fdring::call::{ServiceOptions, TypedService};
    /// use fdring::typed::Layout;
    ///
    /// # fn main() -> fdring::Result<()> {
    /// let options = ServiceOptions::new().values(Layout::of::<u32>().version(2), Layout::of::<f64>());
    /// let service = TypedService::<u32, f64>::new(options.listen("@doc-service-values")?);
    /// # drop(service);
    /// # Ok(())
    /// # }
    /// ```
    pub fn values(mut self, requests: Layout, replies: Layout) -> Self {
        self.lane = self.lane.values(replies);
        self.expected = Some(Expected::of(requests));
        self
    }
}

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
    /// - [`CallError::Interrupted`] if an [`Interrupter`](crate::Interrupter) ended the wait
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
    /// The caller itself: for its statistics, and to wait in an event loop.
    ///
    /// ```
    /// # use fdring::call::{TypedCaller, TypedService};
    /// # fn main() -> fdring::Result<()> {
    /// # let service = TypedService::<u32, u32>::listen("@doc-typed-caller-untyped")?;
    /// let mut caller = TypedCaller::<u32, u32>::connect("@doc-typed-caller-untyped")?;
    /// assert_eq!(caller.untyped_mut().stats().sent, 0);
    /// # drop(service);
    /// # Ok(())
    /// # }
    /// ```
    pub fn untyped_mut(&mut self) -> &mut Caller {
        &mut self.caller
    }
}

impl<Q, P> AsFd for TypedCaller<Q, P> {
    /// The descriptor to wait for, see [`Caller::arm`].
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.caller.as_fd()
    }
}

impl<Q, P> AsFd for TypedService<Q, P> {
    /// The descriptor to wait for, see [`Service::arm`].
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.service.as_fd()
    }
}

pub(crate) fn value_of_reply<P: CheckedBitPattern>(reply: &Reply) -> Result<P, CallError> {
    value_of(reply).ok_or(CallError::NoValue { len: reply.len(), size: size_of::<P>() })
}

/// The value that lies in these bytes, if they are one.
fn value_of<T: CheckedBitPattern>(bytes: &[u8]) -> Option<T> {
    // Wherever they lie.
    if bytes.len() == size_of::<T>() { bytemuck::checked::try_pod_read_unaligned(bytes).ok() } else { None }
}

/// A [`Service`] whose requests are values of `Q`, and whose replies are values of `P`.
///
/// ```
/// use fdring::call::{TypedCaller, TypedService};
/// use std::time::Duration;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut service = TypedService::<[u32; 2], u64>::listen("@doc-typed-service")?;
/// let caller = std::thread::spawn(|| {
///     let mut caller = TypedCaller::<[u32; 2], u64>::connect("@doc-typed-service").expect("it listens");
///     caller.call(&[6, 7], Duration::from_secs(1))
/// });
/// let request = service.receive()?;
/// match request.value() {
///     Some([a, b]) => request.reply(&(u64::from(a) * u64::from(b)))?,
///     None => request.refuse("these are no two numbers")?,
/// }
/// assert_eq!(caller.join().unwrap()?, 42);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "dropping a service stops it; keep it in a variable"]
pub struct TypedService<Q, P> {
    service: Service,
    values: PhantomData<fn(P) -> Q>,
}

impl<Q: CheckedBitPattern, P: NoUninit> TypedService<Q, P> {
    /// Listens at `address` with the default options, and the layouts of `Q` and `P` in version 0.
    ///
    /// ```
    /// # fn main() -> fdring::Result<()> {
    /// let service = fdring::call::TypedService::<u32, u32>::listen("@doc-typed-service-listen")?;
    /// # drop(service);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`Error::AddressInUse`](crate::Error::AddressInUse) if a living process serves this address
    /// - [`Error::Invalid`](crate::Error::Invalid) if the address is out of range, or the path belongs to something
    ///   other than a socket
    /// - [`Error::Os`](crate::Error::Os) if a system call fails, or the system is short of memory or descriptors
    /// - [`Error::Forked`](crate::Error::Forked) in a forked child of a process that has used this library
    pub fn listen(address: impl Into<Address>) -> Result<Self> {
        let options = ServiceOptions::new().values(Layout::of::<Q>(), Layout::of::<P>());
        Ok(Self::new(options.listen(address)?))
    }

    /// The values of a service that listens with their [layouts](ServiceOptions::values).
    ///
    /// ```
    /// # use fdring::call::{ServiceOptions, TypedService};
    /// # use fdring::typed::Layout;
    /// # fn main() -> fdring::Result<()> {
    /// let options = ServiceOptions::new().values(Layout::of::<u32>(), Layout::of::<u32>()).callers_max(8);
    /// let service = TypedService::<u32, u32>::new(options.listen("@doc-typed-service-new")?);
    /// # drop(service);
    /// # Ok(())
    /// # }
    /// ```
    pub fn new(service: Service) -> Self {
        Self { service, values: PhantomData }
    }

    /// The next request. Waits until there is one: see [`Service::receive`].
    ///
    /// ```
    /// # use fdring::call::{TypedCaller, TypedService};
    /// # use std::time::Duration;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut service = TypedService::<u32, u32>::listen("@doc-typed-receive")?;
    /// # let mut caller = TypedCaller::<u32, u32>::connect("@doc-typed-receive")?;
    /// # let ticket = caller.send(&3, Duration::from_secs(1))?;
    /// assert_eq!(service.receive()?.value(), Some(3));
    /// # drop(ticket);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`ReceiveError::Interrupted`] if an [`Interrupter`](crate::Interrupter) ended the wait
    /// - [`ReceiveError::Closed`] if the listener's thread has ended by a panic
    /// - [`ReceiveError::Wait`] if the kernel does not let this thread wait
    /// - [`ReceiveError::Forked`] in a forked child
    pub fn receive(&mut self) -> Result<TypedRequest<Q, P>, ReceiveError> {
        self.service.receive().map(TypedRequest::new)
    }

    /// The next request, if one is there: see [`Service::try_receive`].
    ///
    /// ```
    /// # use fdring::{call::TypedService, errors::ReceiveError};
    /// # fn main() -> fdring::Result<()> {
    /// let mut service = TypedService::<u32, u32>::listen("@doc-typed-try-receive")?;
    /// assert_eq!(service.try_receive().unwrap_err(), ReceiveError::Empty); // nobody calls
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`ReceiveError::Empty`] if no request is there now
    /// - [`ReceiveError::Interrupted`] if an [`Interrupter`](crate::Interrupter) ended the wait
    /// - [`ReceiveError::Closed`] if the listener's thread has ended by a panic
    /// - [`ReceiveError::Wait`] if the kernel does not let this thread wait
    /// - [`ReceiveError::Forked`] in a forked child
    pub fn try_receive(&mut self) -> Result<TypedRequest<Q, P>, ReceiveError> {
        self.service.try_receive().map(TypedRequest::new)
    }

    /// Like [`receive`](Self::receive), but waits at most `timeout`.
    ///
    /// ```
    /// # use fdring::{call::TypedService, errors::ReceiveError};
    /// # use std::time::Duration;
    /// # fn main() -> fdring::Result<()> {
    /// let mut service = TypedService::<u32, u32>::listen("@doc-typed-receive-timeout")?;
    /// let nobody = service.receive_timeout(Duration::from_millis(1));
    /// assert_eq!(nobody.unwrap_err(), ReceiveError::TimedOut);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`ReceiveError::TimedOut`] if no request came within `timeout`
    /// - [`ReceiveError::Interrupted`] if an [`Interrupter`](crate::Interrupter) ended the wait
    /// - [`ReceiveError::Closed`] if the listener's thread has ended by a panic
    /// - [`ReceiveError::Wait`] if the kernel does not let this thread wait
    /// - [`ReceiveError::Forked`] in a forked child
    pub fn receive_timeout(&mut self, timeout: Duration) -> Result<TypedRequest<Q, P>, ReceiveError> {
        self.service.receive_timeout(timeout).map(TypedRequest::new)
    }

    /// Like [`receive`](Self::receive), but waits only until `deadline`, which several calls can share.
    ///
    /// ```
    /// # use fdring::{call::TypedService, errors::ReceiveError};
    /// # use std::time::Instant;
    /// # fn main() -> fdring::Result<()> {
    /// let mut service = TypedService::<u32, u32>::listen("@doc-typed-receive-deadline")?;
    /// assert_eq!(service.receive_deadline(Instant::now()).unwrap_err(), ReceiveError::TimedOut);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`ReceiveError::TimedOut`] if no request came before `deadline`
    /// - [`ReceiveError::Interrupted`] if an [`Interrupter`](crate::Interrupter) ended the wait
    /// - [`ReceiveError::Closed`] if the listener's thread has ended by a panic
    /// - [`ReceiveError::Wait`] if the kernel does not let this thread wait
    /// - [`ReceiveError::Forked`] in a forked child
    pub fn receive_deadline(&mut self, deadline: Instant) -> Result<TypedRequest<Q, P>, ReceiveError> {
        self.service.receive_deadline(deadline).map(TypedRequest::new)
    }
}

impl<Q, P> TypedService<Q, P> {
    /// The service itself: for its statistics, and to wait in an event loop.
    ///
    /// ```
    /// # fn main() -> fdring::Result<()> {
    /// let mut service = fdring::call::TypedService::<u32, u32>::listen("@doc-typed-service-untyped")?;
    /// assert_eq!(service.untyped_mut().stats().requests, 0);
    /// # Ok(())
    /// # }
    /// ```
    pub fn untyped_mut(&mut self) -> &mut Service {
        &mut self.service
    }
}

/// A [`Request`] that is a value of `Q`, and whose replies are values of `P`.
///
/// ```
/// # use fdring::call::{TypedCaller, TypedRequest, TypedService};
/// # use std::time::Duration;
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let mut service = TypedService::<u32, u32>::listen("@doc-typed-request")?;
/// # let mut caller = TypedCaller::<u32, u32>::connect("@doc-typed-request")?;
/// # let mut ticket = caller.send(&3, Duration::from_secs(1))?;
/// let request: TypedRequest<u32, u32> = service.receive()?;
/// if let Some(value) = request.value() {
///     request.reply(&(value * value))?;
/// }
/// # assert_eq!(caller.wait(&mut ticket)?, Some(9));
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "dropping a request refuses it; reply to it"]
pub struct TypedRequest<Q, P> {
    request: Request,
    values: PhantomData<fn(P) -> Q>,
}

impl<Q: CheckedBitPattern, P: NoUninit> TypedRequest<Q, P> {
    pub(crate) fn new(request: Request) -> Self {
        Self { request, values: PhantomData }
    }

    /// The value. `None` if the bytes are no `Q`: their length differs, or `Q` has no such bits.
    ///
    /// ```
    /// # use fdring::call::{TypedCaller, TypedService};
    /// # use std::time::Duration;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut service = TypedService::<bool, bool>::listen("@doc-typed-request-value")?;
    /// # let mut caller = TypedCaller::<bool, bool>::connect("@doc-typed-request-value")?;
    /// # let ticket = caller.untyped_mut().send(&[2], Duration::from_secs(1))?;
    /// assert_eq!(service.receive()?.value(), None); // a caller has sent 2 for a bool
    /// # drop(ticket);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn value(&self) -> Option<Q> {
        value_of(&self.request)
    }

    /// Answers it with a last reply: see [`Request::reply`].
    ///
    /// ```
    /// # use fdring::call::{TypedCaller, TypedService};
    /// # use std::time::Duration;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut service = TypedService::<u32, u32>::listen("@doc-typed-reply")?;
    /// # let mut caller = TypedCaller::<u32, u32>::connect("@doc-typed-reply")?;
    /// # let mut ticket = caller.send(&3, Duration::from_secs(1))?;
    /// service.receive()?.reply(&9)?;
    /// # assert_eq!(caller.wait(&mut ticket)?, Some(9));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`ReplyError::Gone`] if the caller is gone
    /// - [`ReplyError::TooLong`] if the reply is too long; the caller is told so
    /// - [`ReplyError::Evicted`] if the caller has left more replies than
    ///   [`backlog_max`](super::ServiceOptions::backlog_max)
    /// - [`ReplyError::Forked`] in a forked child
    pub fn reply(self, reply: &P) -> Result<(), ReplyError> {
        self.request.reply(bytemuck::bytes_of(reply))
    }

    /// Sends a reply that others follow: see [`Request::reply_part`].
    ///
    /// ```
    /// # use fdring::call::{TypedCaller, TypedService};
    /// # use std::time::Duration;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut service = TypedService::<u32, u32>::listen("@doc-typed-reply-part")?;
    /// # let mut caller = TypedCaller::<u32, u32>::connect("@doc-typed-reply-part")?;
    /// # let mut ticket = caller.send(&2, Duration::from_secs(1))?;
    /// let request = service.receive()?;
    /// request.reply_part(&1)?;
    /// request.reply(&2)?;
    /// # assert_eq!((caller.wait(&mut ticket)?, caller.wait(&mut ticket)?), (Some(1), Some(2)));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`ReplyError::Gone`] if the caller is gone
    /// - [`ReplyError::Evicted`] if the caller made no room in time
    /// - [`ReplyError::TooLong`] if the part is too long; nothing was sent
    /// - [`ReplyError::Wait`] if the kernel does not let this thread wait
    /// - [`ReplyError::Forked`] in a forked child
    pub fn reply_part(&self, part: &P) -> Result<(), ReplyError> {
        self.request.reply_part(bytemuck::bytes_of(part))
    }

    /// Refuses the request, and says why: see [`Request::refuse`].
    ///
    /// ```
    /// # use fdring::call::{CallError, TypedCaller, TypedService};
    /// # use std::time::Duration;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut service = TypedService::<f64, f64>::listen("@doc-typed-refuse")?;
    /// # let mut caller = TypedCaller::<f64, f64>::connect("@doc-typed-refuse")?;
    /// # let mut ticket = caller.send(&-1.0, Duration::from_secs(1))?;
    /// service.receive()?.refuse("a negative number has no root")?;
    /// # assert!(matches!(caller.wait(&mut ticket), Err(CallError::Refused { .. })));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`ReplyError::Gone`] if the caller is gone
    /// - [`ReplyError::Evicted`] if the caller has left more replies than
    ///   [`backlog_max`](super::ServiceOptions::backlog_max)
    /// - [`ReplyError::Forked`] in a forked child
    pub fn refuse(self, reason: &str) -> Result<(), ReplyError> {
        self.request.refuse(reason)
    }

    /// The request itself: who waits for it, until when, and whether it was cancelled.
    ///
    /// ```
    /// # use fdring::call::{TypedCaller, TypedService};
    /// # use std::time::Duration;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut service = TypedService::<u32, u32>::listen("@doc-typed-request-untyped")?;
    /// # let mut caller = TypedCaller::<u32, u32>::connect("@doc-typed-request-untyped")?;
    /// # let ticket = caller.send(&3, Duration::from_secs(60))?;
    /// assert!(!service.receive()?.untyped().is_cancelled());
    /// # drop(ticket);
    /// # Ok(())
    /// # }
    /// ```
    pub fn untyped(&self) -> &Request {
        &self.request
    }
}
