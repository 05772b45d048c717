//! Callers and services in tasks.
//!
//! The invariant: no call of a task waits. A session is opened on a thread that may.

use super::{Async, RUNTIME_GONE, on_a_blocking_thread, runtime_gone};
use crate::call::{CallError, Caller, Reply, Request, Service, Ticket, Wanted};
use crate::consumer::ReceiveError;
use crate::deadline::Deadline;
use crate::error::{Error, Result};
use crate::session::Address;
use crate::session::pairs::Pair;
use std::future::{Future, poll_fn};
use std::io;
use std::os::fd::AsFd;
use std::pin::pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;

impl Async<Caller> {
    /// Connects to the service at `address`, like [`Caller::connect`], on a thread of the runtime for blocking calls.
    /// If the future is dropped, that thread still connects, and then drops the caller.
    ///
    /// ```
    /// # use fdring::{call::{Caller, Service}, tokio::Async};
    /// # use std::time::Duration;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
    /// # let service = Service::listen("@doc-tokio-caller-connect")?;
    /// let caller = Async::<Caller>::connect("@doc-tokio-caller-connect").await?;
    /// assert_eq!(caller.get_ref().stats().sessions, 1);
    /// # drop(service);
    /// # Ok(()) })
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`Error::Os`] if nobody listens there, the system is short of memory or descriptors, or the
    ///   runtime's poller cannot watch the descriptor
    /// - [`Error::Invalid`] if the address is out of range
    /// - [`Error::Refused`] if the service refuses, or a server listens there, which is no
    ///   service
    /// - [`Error::Forbidden`] if the service runs as another user
    /// - [`Error::Peer`] if the service breaks the protocol, or offers what is beyond the limits
    /// - [`Error::Closed`] if the service closes the connection
    /// - [`Error::TimedOut`] if the handshake takes longer than 5 s
    /// - [`Error::Forked`] in a forked child of a process that has used this library
    pub async fn connect(address: impl Into<Address>) -> Result<Self> {
        let address = address.into();
        Self::new(on_a_blocking_thread(|| Caller::connect(address)).await?)
    }

    /// Sends a request and waits for its reply, like [`Caller::call`], at most `timeout` for both.
    ///
    /// A future that is dropped gives the call up. The service may execute it all the same.
    ///
    /// ```
    /// # use fdring::{call::{Caller, Service}, tokio::Async};
    /// # use std::time::Duration;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
    /// # let mut service = Service::listen("@doc-tokio-call")?;
    /// # let server = std::thread::spawn(move || service.receive().unwrap().reply(b"4").unwrap());
    /// let mut caller = Async::<Caller>::connect("@doc-tokio-call").await?;
    /// assert_eq!(&caller.call(b"2 + 2", Duration::from_secs(1)).await?[..], b"4");
    /// # server.join().unwrap();
    /// # Ok(()) })
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
    /// - [`CallError::TooManyCalls`] if as many calls are in flight as
    ///   [`CallerOptions::calls_max`](crate::call::CallerOptions::calls_max) allows
    /// - [`CallError::StoreFull`] if too many replies to other calls are in its way
    /// - [`CallError::Interrupted`] if an [`Interrupter`](crate::Interrupter) ended the wait
    /// - [`CallError::Wait`] if the kernel cannot watch the descriptors, or the runtime has been shut down
    /// - [`CallError::Forked`] in a forked child
    pub async fn call(&mut self, request: &[u8], timeout: Duration) -> Result<Reply, CallError> {
        let mut ticket = self.send(request, timeout).await?;
        // The ticket is fresh, so an answer or an error is due.
        Ok(self.wait(&mut ticket).await?.unwrap_or_default())
    }

    /// Sends a request, like [`Caller::send`]. `timeout` is for the whole call: first the wait for room, which happens
    /// here, then that for the replies. A future that is dropped has sent nothing.
    ///
    /// ```
    /// # use fdring::{call::{Caller, Service}, tokio::Async};
    /// # use std::time::Duration;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
    /// # let mut service = Service::listen("@doc-tokio-caller-send")?;
    /// # let server = std::thread::spawn(move || service.receive().unwrap().reply(b"4").unwrap());
    /// let mut caller = Async::<Caller>::connect("@doc-tokio-caller-send").await?;
    /// let mut ticket = caller.send(b"2 + 2", Duration::from_secs(1)).await?;
    /// assert_eq!(&caller.wait(&mut ticket).await?.unwrap()[..], b"4");
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
    pub async fn send(&mut self, request: &[u8], timeout: Duration) -> Result<Ticket, CallError> {
        self.send_bytes(request, timeout).await
    }

    /// Waits for the next reply to a call, like [`Caller::wait`]. `None` says that all have been taken. A future that
    /// is dropped has taken nothing, and the call goes on.
    ///
    /// ```
    /// # use fdring::{call::{Caller, Service}, tokio::Async};
    /// # use std::time::Duration;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
    /// # let mut service = Service::listen("@doc-tokio-caller-wait")?;
    /// # let server = std::thread::spawn(move || {
    /// #     let request = service.receive().unwrap();
    /// #     request.reply_part(b"1").unwrap();
    /// #     request.reply(b"2").unwrap();
    /// # });
    /// let mut caller = Async::<Caller>::connect("@doc-tokio-caller-wait").await?;
    /// let mut ticket = caller.send(b"list", Duration::from_secs(1)).await?;
    /// let mut replies = 0;
    /// while let Some(reply) = caller.wait(&mut ticket).await? {
    ///     replies += 1;
    ///     assert_eq!(reply.is_last(), replies == 2);
    /// }
    /// # server.join().unwrap();
    /// # Ok(()) })
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
    /// - [`CallError::Interrupted`] if an [`Interrupter`](crate::Interrupter) ended the wait
    /// - [`CallError::Wait`] if the kernel cannot watch the descriptors, or the runtime has been shut down
    /// - [`CallError::Forked`] in a forked child
    pub async fn wait(&mut self, ticket: &mut Ticket) -> Result<Option<Reply>, CallError> {
        self.wait_bytes(ticket).await
    }
}

/// An endpoint that calls: of bytes, or of values.
pub(super) trait AsCaller: AsFd {
    fn caller(&mut self) -> &mut Caller;
}

impl AsCaller for Caller {
    fn caller(&mut self) -> &mut Caller {
        self
    }
}

#[allow(private_bounds, reason = "these methods are as private")]
impl<E: AsCaller> Async<E> {
    /// As [`Async<Caller>::send`], for requests of any kind.
    pub(super) async fn send_bytes(&mut self, request: &[u8], timeout: Duration) -> Result<Ticket, CallError> {
        let deadline = Deadline::after(timeout);
        loop {
            if self.get_mut().caller().needs_session()? {
                let opened = self.open(deadline).await?;
                self.get_mut().caller().go_on(opened)?;
            }
            if let Some(ticket) = poll_fn(|cx| self.poll_request(cx, request, deadline)).await? {
                return Ok(ticket);
            }
        }
    }

    /// As [`Async<Caller>::wait`], for replies of any kind.
    pub(super) async fn wait_bytes(&mut self, ticket: &mut Ticket) -> Result<Option<Reply>, CallError> {
        let wanted = Wanted { room: false, deadline: self.get_mut().caller().deadline_of(ticket) };
        poll_fn(|cx| {
            self.poll_caller(cx, wanted, |caller| match caller.try_wait(ticket) {
                Err(CallError::Empty) => Poll::Pending,
                outcome => Poll::Ready(outcome),
            })
        })
        .await
    }

    /// Opens a session on a thread that may wait. Once that thread has begun, it keeps the deadline itself; none may be
    /// free for longer.
    async fn open(&mut self, deadline: Deadline) -> Result<Result<Pair>, CallError> {
        let limit = deadline.remaining().unwrap_or(Duration::MAX);
        let late = move || Error::TimedOut { doing: "waiting for a thread to connect on".to_owned(), limit };
        // Set by the first of two: the thread, and this task once the deadline has passed.
        let begun = Arc::new(OnceLock::new());
        let (opening, begins) = (self.get_mut().caller().opening(deadline), Arc::clone(&begun));
        let mut opened =
            pin!(on_a_blocking_thread(move || begins.set(()).map_err(|()| late()).and_then(|()| opening())));
        let wanted = Wanted { room: false, deadline };
        poll_fn(|cx| match opened.as_mut().poll(cx) {
            Poll::Ready(opened) => Poll::Ready(Ok(opened)),
            Poll::Pending if begun.get().is_some() => Poll::Pending,
            Poll::Pending => self.poll_caller(cx, wanted, |_| match deadline.has_passed() && begun.set(()).is_ok() {
                true => Poll::Ready(Ok(Err(late()))),
                false => Poll::Pending,
            }),
        })
        .await
    }

    /// The ticket of a request that was sent, or `None` if the session has ended.
    fn poll_request(
        &mut self,
        cx: &mut Context<'_>,
        request: &[u8],
        deadline: Deadline,
    ) -> Poll<Result<Option<Ticket>, CallError>> {
        let wanted = Wanted { room: true, deadline };
        self.poll_caller(cx, wanted, |caller| match caller.try_send_until(request, deadline) {
            Err(CallError::Full) if !deadline.has_passed() => match caller.needs_session() {
                Ok(false) => Poll::Pending,
                outcome => Poll::Ready(outcome.map(|_| None)),
            },
            outcome => Poll::Ready(outcome.map(Some)),
        })
    }

    /// Attempts something, and again once there may be what it waits for.
    fn poll_caller<T>(
        &mut self,
        cx: &mut Context<'_>,
        wanted: Wanted,
        mut attempt: impl FnMut(&mut Caller) -> Poll<Result<T, CallError>>,
    ) -> Poll<Result<T, CallError>> {
        ready!(self.poll_run(cx));
        let outcome = attempt(self.get_mut().caller());
        if outcome.is_ready() {
            return outcome;
        }
        let waker = cx.waker().clone();
        self.poll_look(cx, gone, |endpoint| match endpoint.caller().arm_for(wanted) {
            Ok(true) => Poll::Pending,
            Ok(false) => {
                let outcome = attempt(endpoint.caller());
                if outcome.is_pending() {
                    // Nothing was armed for this attempt.
                    waker.wake();
                }
                outcome
            }
            Err(error) => Poll::Ready(Err(error)),
        })
    }
}

impl Async<Service> {
    /// The next request, like [`Service::receive`]. A future that is dropped has received nothing.
    ///
    /// Answer it by calls that do not wait, such as [`Request::reply`] and [`Request::try_reply_part`]. A request whose
    /// deadline has passed is skipped.
    ///
    /// ```
    /// # use fdring::{call::{Caller, Service}, tokio::Async};
    /// # use std::time::Duration;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
    /// let mut service = Async::new(Service::listen("@doc-tokio-service")?)?;
    /// # let caller = std::thread::spawn(|| {
    /// #     Caller::connect("@doc-tokio-service").unwrap().call(b"2 + 2", Duration::from_secs(1)).unwrap()
    /// # });
    /// let request = service.receive().await?;
    /// assert_eq!(&request[..], b"2 + 2");
    /// request.reply(b"4")?;
    /// # assert_eq!(&caller.join().unwrap()[..], b"4");
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
    pub async fn receive(&mut self) -> Result<Request, ReceiveError> {
        self.receive_bytes().await
    }
}

/// An endpoint that answers: bytes, or values.
pub(super) trait AsService: AsFd {
    fn service(&mut self) -> &mut Service;
}

impl AsService for Service {
    fn service(&mut self) -> &mut Service {
        self
    }
}

#[allow(private_bounds, reason = "this method is as private")]
impl<E: AsService> Async<E> {
    /// As [`Async<Service>::receive`], for requests of any kind.
    pub(super) async fn receive_bytes(&mut self) -> Result<Request, ReceiveError> {
        poll_fn(|cx| {
            ready!(self.poll_run(cx));
            let waker = cx.waker();
            self.poll_look(cx, runtime_gone, |endpoint| {
                let service = endpoint.service();
                match service.try_receive() {
                    Err(ReceiveError::Empty) => {
                        // The look has armed everything, unless it left a flood of what is no request.
                        if service.is_at_turn() {
                            waker.wake_by_ref();
                        }
                        Poll::Pending
                    }
                    outcome => Poll::Ready(outcome),
                }
            })
        })
        .await
    }
}

/// The outcome of a wait whose runtime has been shut down.
fn gone<T>(_: io::Error) -> Result<T, CallError> {
    Err(CallError::Wait(RUNTIME_GONE.raw_os_error()))
}
