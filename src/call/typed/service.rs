//! The end that is called with values.
//!
//! The invariant: each call is that of the [`Service`], and what it hands out has the values beside it.

use super::TypedRequest;
use crate::call::{Service, ServiceOptions, ServiceStats};
use crate::consumer::ReceiveError;
use crate::error::Result;
use crate::select::Selectable;
use crate::session::Address;
use crate::typed::Layout;
use bytemuck::{CheckedBitPattern, NoUninit};
use rustix::fd::{AsFd, BorrowedFd};
use std::marker::PhantomData;
use std::time::{Duration, Instant};

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
    /// - [`ReceiveError::Interrupted`] if there is none, and an [`Interrupter`](crate::Interrupter) has ended all waits
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
    /// The service itself: for everything but values.
    ///
    /// ```
    /// # fn main() -> fdring::Result<()> {
    /// let mut service = fdring::call::TypedService::<u32, u32>::listen("@doc-typed-service-untyped")?;
    /// assert_eq!(service.untyped_mut().address().to_string(), "@doc-typed-service-untyped");
    /// # Ok(())
    /// # }
    /// ```
    pub fn untyped_mut(&mut self) -> &mut Service {
        &mut self.service
    }

    /// Prepares a wait for requests in the caller's event loop: see [`Service::arm`].
    ///
    /// ```
    /// # use fdring::call::{TypedCaller, TypedService};
    /// # use fdring::errors::ReceiveError;
    /// # use rustix::event::{PollFd, PollFlags, poll};
    /// # use std::time::Duration;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let mut service = TypedService::<u32, u32>::listen("@doc-typed-service-arm")?;
    /// # let caller = std::thread::spawn(|| {
    /// #     let mut caller = TypedCaller::<u32, u32>::connect("@doc-typed-service-arm").expect("it listens");
    /// #     caller.call(&3, Duration::from_secs(60))
    /// # });
    /// let request = loop {
    ///     match service.try_receive() {
    ///         Err(ReceiveError::Empty) => {
    ///             if service.arm()? {
    ///                 poll(&mut [PollFd::new(&service, PollFlags::IN)], None)?;
    ///             }
    ///         }
    ///         request => break request?,
    ///     }
    /// };
    /// let number = request.value().ok_or("all bits are a number")?;
    /// request.reply(&(number * number))?;
    /// # assert_eq!(caller.join().unwrap()?, 9);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`ReceiveError::Interrupted`] if there is no news, and an [`Interrupter`](crate::Interrupter) has ended all
    ///   waits
    /// - [`ReceiveError::Wait`] if the kernel does not let this thread wait
    /// - [`ReceiveError::Forked`] in a forked child
    pub fn arm(&mut self) -> Result<bool, ReceiveError> {
        self.service.arm()
    }

    /// The statistics so far: see [`Service::stats`].
    ///
    /// ```
    /// # fn main() -> fdring::Result<()> {
    /// let service = fdring::call::TypedService::<u32, u32>::listen("@doc-typed-service-stats")?;
    /// assert_eq!(service.stats().requests, 0);
    /// # Ok(())
    /// # }
    /// ```
    pub fn stats(&self) -> ServiceStats {
        self.service.stats()
    }
}

impl<Q, P> AsFd for TypedService<Q, P> {
    /// The descriptor to wait for, see [`arm`](Self::arm).
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.service.as_fd()
    }
}

impl<Q, P> Selectable for TypedService<Q, P> {
    fn arm(&mut self) -> Result<bool, ReceiveError> {
        Self::arm(self)
    }
}
