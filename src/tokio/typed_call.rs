//! Callers and services of values in tasks.
//!
//! The invariant: each call is that of its untyped end, and looks at values beside it.

use super::Async;
use super::call::{AsCaller, AsService};
use super::read::on_a_blocking_thread;
use crate::call::{CallError, Caller, Service, Ticket, TypedCaller, TypedRequest, TypedService, value_of_reply};
use crate::consumer::ReceiveError;
use crate::error::Result;
use crate::session::Address;
use bytemuck::{CheckedBitPattern, NoUninit, bytes_of};
use std::time::Duration;

impl<Q, P> AsCaller for TypedCaller<Q, P> {
    fn caller(&mut self) -> &mut Caller {
        self.untyped_mut()
    }
}

impl<Q, P> AsService for TypedService<Q, P> {
    fn service(&mut self) -> &mut Service {
        self.untyped_mut()
    }
}

impl<Q: NoUninit, P: CheckedBitPattern> Async<TypedCaller<Q, P>> {
    /// Connects to the service at `address`, like [`TypedCaller::connect`], on a thread of the runtime for blocking
    /// calls. If the future is dropped, that thread still connects, and then drops the caller.
    ///
    /// ```
    /// # use fdring::{call::{TypedCaller, TypedService}, tokio::Async};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
    /// # let service = TypedService::<u32, u32>::listen("@doc-tokio-typed-caller-connect")?;
    /// let caller = Async::<TypedCaller<u32, u32>>::connect("@doc-tokio-typed-caller-connect").await?;
    /// # drop((caller, service));
    /// # Ok(()) })
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`Error::Os`](crate::Error::Os) if nobody listens there, the system is short of memory or descriptors, or the
    ///   runtime's poller cannot watch the descriptor
    /// - [`Error::Invalid`](crate::Error::Invalid) if the address is out of range
    /// - [`Error::Refused`](crate::Error::Refused) if the service refuses, for example because it has other values, or
    ///   its most callers already
    /// - [`Error::Forbidden`](crate::Error::Forbidden) if the service runs as another user
    /// - [`Error::Peer`](crate::Error::Peer) if the service has other values, breaks the protocol, or offers what is
    ///   beyond the limits
    /// - [`Error::Closed`](crate::Error::Closed) if the service closes the connection
    /// - [`Error::TimedOut`](crate::Error::TimedOut) if the handshake takes longer than 5 s
    /// - [`Error::Forked`](crate::Error::Forked) in a forked child of a process that has used this library
    pub async fn connect(address: impl Into<Address>) -> Result<Self>
    where
        Q: 'static,
        P: 'static,
    {
        let address = address.into();
        Self::new(on_a_blocking_thread(|| TypedCaller::connect(address)).await?)
    }

    /// Sends a request and waits for its reply, like [`TypedCaller::call`], at most `timeout` for both.
    ///
    /// A future that is dropped gives the call up. The service may execute it all the same.
    ///
    /// ```
    /// # use fdring::{call::{TypedCaller, TypedService}, tokio::Async};
    /// # use std::time::Duration;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
    /// # let mut service = TypedService::<u32, u32>::listen("@doc-tokio-typed-call")?;
    /// # let server = std::thread::spawn(move || service.receive().unwrap().reply(&9).unwrap());
    /// let mut squares = Async::<TypedCaller<u32, u32>>::connect("@doc-tokio-typed-call").await?;
    /// assert_eq!(squares.call(&3, Duration::from_secs(1)).await?, 9);
    /// # server.join().unwrap();
    /// # Ok(()) })
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`CallError::NoValue`] if the reply is no value of `P`
    /// - else those of the method `call` of an `Async<Caller>`
    pub async fn call(&mut self, request: &Q, timeout: Duration) -> Result<P, CallError> {
        let mut ticket = self.send(request, timeout).await?;
        // The ticket is fresh, so an answer or an error is due.
        value_of_reply(&self.wait_bytes(&mut ticket).await?.unwrap_or_default())
    }

    /// Sends a request, like [`TypedCaller::send`]. `timeout` is for the whole call: first the wait for room, which
    /// happens here, then that for the replies. A future that is dropped has sent nothing.
    ///
    /// ```
    /// # use fdring::{call::{TypedCaller, TypedService}, tokio::Async};
    /// # use std::time::Duration;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
    /// # let mut service = TypedService::<u32, u32>::listen("@doc-tokio-typed-send")?;
    /// # let server = std::thread::spawn(move || service.receive().unwrap().reply(&9).unwrap());
    /// let mut squares = Async::<TypedCaller<u32, u32>>::connect("@doc-tokio-typed-send").await?;
    /// let mut ticket = squares.send(&3, Duration::from_secs(1)).await?;
    /// assert_eq!(squares.wait(&mut ticket).await?, Some(9));
    /// # server.join().unwrap();
    /// # Ok(()) })
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`CallError::Full`] if there was no room in time; nothing was sent
    /// - [`CallError::NotConnected`] if the session was lost before, and no new one could be opened
    /// - [`CallError::TooLong`] if the request is longer than the ring takes
    /// - [`CallError::TooManyCalls`] if as many calls are in flight as
    ///   [`CallerOptions::calls_max`](crate::call::CallerOptions::calls_max) allows
    /// - [`CallError::StoreFull`] if it waits for room, and too many replies are in its way
    /// - [`CallError::Interrupted`] if an [`Interrupter`](crate::Interrupter) ended the wait
    /// - [`CallError::Wait`] if the kernel cannot watch the descriptors, or the runtime has been shut down
    /// - [`CallError::Forked`] in a forked child
    pub async fn send(&mut self, request: &Q, timeout: Duration) -> Result<Ticket, CallError> {
        self.send_bytes(bytes_of(request), timeout).await
    }

    /// Waits for the next reply to a call, like [`TypedCaller::wait`]. `None` says that all have been taken. A future
    /// that is dropped has taken nothing, and the call goes on.
    ///
    /// ```
    /// # use fdring::{call::{TypedCaller, TypedService}, tokio::Async};
    /// # use std::time::Duration;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
    /// # let mut service = TypedService::<u32, u32>::listen("@doc-tokio-typed-wait")?;
    /// # let server = std::thread::spawn(move || {
    /// #     let request = service.receive().unwrap();
    /// #     request.reply_part(&2).unwrap();
    /// #     request.reply(&3).unwrap();
    /// # });
    /// let mut factors = Async::<TypedCaller<u32, u32>>::connect("@doc-tokio-typed-wait").await?;
    /// let mut ticket = factors.send(&6, Duration::from_secs(1)).await?;
    /// let mut product = 1;
    /// while let Some(factor) = factors.wait(&mut ticket).await? {
    ///     product *= factor;
    /// }
    /// assert_eq!(product, 6);
    /// # server.join().unwrap();
    /// # Ok(()) })
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`CallError::NoValue`] if the reply is no value of `P`
    /// - else those of the method `wait` of an `Async<Caller>`
    pub async fn wait(&mut self, ticket: &mut Ticket) -> Result<Option<P>, CallError> {
        self.wait_bytes(ticket).await?.map(|reply| value_of_reply(&reply)).transpose()
    }
}

impl<Q: CheckedBitPattern, P: NoUninit> Async<TypedService<Q, P>> {
    /// The next request, like [`TypedService::receive`]. A future that is dropped has received nothing.
    ///
    /// ```
    /// # use fdring::{call::{TypedCaller, TypedService}, tokio::Async};
    /// # use std::time::Duration;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
    /// let mut service = Async::new(TypedService::<u32, u32>::listen("@doc-tokio-typed-service")?)?;
    /// # let caller = std::thread::spawn(|| {
    /// #     let mut caller = TypedCaller::<u32, u32>::connect("@doc-tokio-typed-service").unwrap();
    /// #     caller.call(&3, Duration::from_secs(1)).unwrap()
    /// # });
    /// let request = service.receive().await?;
    /// let number = request.value().unwrap();
    /// request.reply(&(number * number))?;
    /// # assert_eq!(caller.join().unwrap(), 9);
    /// # Ok(()) })
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`ReceiveError::Interrupted`] if an [`Interrupter`](crate::Interrupter) ended the wait
    /// - [`ReceiveError::Closed`] if the listener's thread has ended by a panic
    /// - [`ReceiveError::Wait`] if the kernel cannot watch the descriptors, or the runtime has been shut down
    /// - [`ReceiveError::Forked`] in a forked child
    pub async fn receive(&mut self) -> Result<TypedRequest<Q, P>, ReceiveError> {
        self.receive_bytes().await.map(TypedRequest::new)
    }
}
