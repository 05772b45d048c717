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
    /// - those of [`TypedCaller::connect`]
    /// - [`Error::Os`](crate::Error::Os) also if the runtime's poller cannot watch the descriptor
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
    /// Those of the method `send` of an `Async<Caller>`.
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
    /// Those of the method `receive` of an `Async<Service>`.
    pub async fn receive(&mut self) -> Result<TypedRequest<Q, P>, ReceiveError> {
        self.receive_bytes().await.map(TypedRequest::new)
    }
}
