//! Consumers, taps, producers, listeners, callers, services, distributors and workers in tasks of tokio. Needs the
//! feature `tokio`.
//!
//! [`Async`] puts an endpoint into a task: it waits by the runtime's own poller, on the descriptor that the endpoint
//! arms, with no thread and no timer of its own. What is there is received without a system call, as by the blocking
//! calls. [`Async::get_mut`] lends the endpoint for everything else.
//!
//! ```
//! use fdring::tokio::Async;
//! use fdring::{Consumer, Producer, Server};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
//! let mut ticks = Producer::create("ticks")?;
//! let server = Server::listen("@doc-tokio", [&ticks])?;
//! let mut consumer = Async::new(Consumer::connect("@doc-tokio")?)?;
//! tokio::task::spawn_blocking(move || ticks.send(b"hello"));
//!
//! while let Some(record) = consumer.receive().await? {
//!     assert_eq!(&record[..], b"hello");
//! }
//! # Ok(()) })
//! # }
//! ```
//!
//! Connecting and attaching wait for the peer by blocking calls: [`Async::connect`] makes them on a thread that the
//! runtime has for that, as `tokio::task::spawn_blocking` does.
//!
//! Every method here is cancel-safe: a future that is dropped before it has an outcome has taken nothing, though a call
//! may have gone out. So they can be raced in `tokio::select!`, against timers and each other; that is also how several
//! lanes are waited for.
//!
//! A task that receives record after record without waiting lets others run by tokio's rules. One unit of its
//! [budget](::tokio::task::coop) pays for 32 records that `receive` finds there already, or for as many as take 32 KiB
//! by the length of those before them if that is fewer, or for 16 outcomes of other calls.

mod batch;
mod call;
mod distribute;
mod listen;
mod read;
mod receive;
mod stream;
mod typed_call;
mod write;

pub use batch::AsyncBatch;
use read::on_a_blocking_thread;
use receive::Paid;

use crate::consumer::ReceiveError;
use crate::error::{Error, Result};
use crate::select::Selectable;
use ::tokio::io::Interest;
use ::tokio::io::unix::AsyncFd;
use ::tokio::task::coop::poll_proceed;
use rustix::io::Errno;
use std::fmt;
use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, OwnedFd};
use std::task::{Context, Poll, ready};

/// This number of outcomes without a wait costs one unit of a task's budget, except for records in view: one outcome is
/// quicker than what tokio has units for.
const RUN: u32 = 16;
/// How often in a row a descriptor may be readable that was found unreadable.
const CLEARS_MAX: usize = 4;
/// What a wait fails with whose runtime has been shut down: ECANCELED.
const RUNTIME_GONE: Errno = Errno::CANCELED;

/// An endpoint in a task: a consumer or a tap, of bytes or of values, a producer, a
/// [`SessionListener`](crate::collect::SessionListener), a [`Collector`](crate::collect::Collector), a
/// [`Caller`](crate::call::Caller) or a [`Service`](crate::call::Service), of bytes or of values, a
/// [`Distributor`](crate::distribute::Distributor), a [`Worker`](crate::distribute::Worker), a
/// [`Server`](crate::Server), a [`Selector`](crate::select::Selector), or anything else that is [`Selectable`]: for
/// that, await [`ready`](Self::ready), then make calls that do not wait.
///
/// It belongs to the runtime in which it was made. The runtime's poller watches it until it is dropped, which takes one
/// more descriptor.
///
/// ```
/// use fdring::tokio::Async;
/// use fdring::{Producer, Server, Tap, errors::TapError};
/// use std::time::Duration;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
/// let mut camera = Producer::create("camera")?;
/// let server = Server::listen("@doc-tokio-async", [&camera])?;
/// let mut viewer = Async::new(Tap::connect("@doc-tokio-async")?)?;
/// camera.send(b"frame")?;
///
/// let mut frames = 0;
/// loop {
///     tokio::select! {
///         frame = viewer.receive_newest() => frames += usize::from(frame?.is_some()),
///         () = tokio::time::sleep(Duration::from_millis(10)) => break,
///     }
/// }
/// assert_eq!(frames, 1);
/// # Ok(()) })
/// # }
/// ```
#[must_use = "dropping it drops its endpoint"]
pub struct Async<E: AsFd> {
    /// A duplicate of the endpoint's, so that it stays open whatever becomes of the endpoint.
    fd: AsyncFd<OwnedFd>,
    endpoint: E,
    /// How many outcomes are left of the last unit of budget.
    run: u32,
    paid: Paid,
    /// Whether a stream of it has ended.
    is_over: bool,
}

impl<E: AsFd> Async<E> {
    /// Has the runtime of this task watch an endpoint.
    ///
    /// ```
    /// # use fdring::{Consumer, Producer, Server, tokio::Async};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
    /// # let ticks = Producer::create("ticks")?;
    /// # let server = Server::listen("@doc-tokio-new", [&ticks])?;
    /// let mut consumer = Async::new(Consumer::connect("@doc-tokio-new")?)?;
    /// # drop(ticks);
    /// # assert!(consumer.receive().await?.is_none());
    /// # Ok(()) })
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`Error::Os`] if there is no descriptor to spare.
    /// - [`Error::Invalid`] if the endpoint is a producer whose lane has no
    ///   [`space bell`](crate::options::LaneOptions::space_bell), or a descriptor that epoll(7) does not watch.
    ///
    /// # Panics
    ///
    /// Outside of a runtime of tokio, or in one without `enable_io`.
    pub fn new(endpoint: E) -> Result<Self> {
        let fd = endpoint.as_fd().try_clone_to_owned();
        #[allow(
            deprecated,
            reason = "its successor is younger, and asks for a promise that an `OwnedFd` keeps by itself"
        )]
        let fd = fd.and_then(|fd| AsyncFd::with_interest(fd, Interest::READABLE));
        let fd = fd.map_err(|error| match error.kind() {
            ErrorKind::PermissionDenied => Error::Invalid(
                "an endpoint that no poller can watch; if it is a producer, make its lane with \
                 LaneOptions::space_bell(true)"
                    .to_owned(),
            ),
            _ => Error::os("watch an endpoint in a tokio runtime")(error),
        })?;
        Ok(Self { fd, endpoint, run: RUN, paid: Paid::default(), is_over: false })
    }

    /// The endpoint.
    ///
    /// ```
    /// # use fdring::{Consumer, Producer, Server, tokio::Async};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
    /// # let ticks = Producer::create("ticks")?;
    /// # let server = Server::listen("@doc-tokio-get-ref", [&ticks])?;
    /// # let consumer = Async::new(Consumer::connect("@doc-tokio-get-ref")?)?;
    /// assert_eq!(consumer.get_ref().lane().name, "ticks");
    /// # Ok(()) })
    /// # }
    /// ```
    pub fn get_ref(&self) -> &E {
        &self.endpoint
    }

    /// The endpoint, mutably. Its blocking calls would block the runtime's thread.
    ///
    /// ```
    /// # use fdring::{Consumer, Producer, Server, errors::ReceiveError, tokio::Async};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
    /// # let ticks = Producer::create("ticks")?;
    /// # let server = Server::listen("@doc-tokio-get-mut", [&ticks])?;
    /// # let mut consumer = Async::new(Consumer::connect("@doc-tokio-get-mut")?)?;
    /// assert_eq!(consumer.get_mut().try_receive().unwrap_err(), ReceiveError::Empty);
    /// # Ok(()) })
    /// # }
    /// ```
    pub fn get_mut(&mut self) -> &mut E {
        &mut self.endpoint
    }

    /// Returns the endpoint, which the runtime no longer watches: to use it on a thread of its own, for example.
    ///
    /// ```
    /// # use fdring::{Consumer, Producer, Server, tokio::Async};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
    /// # let mut ticks = Producer::create("ticks")?;
    /// # let server = Server::listen("@doc-tokio-into-inner", [&ticks])?;
    /// # let consumer = Async::new(Consumer::connect("@doc-tokio-into-inner")?)?;
    /// # ticks.send(b"hello")?;
    /// let mut consumer = consumer.into_inner();
    /// std::thread::spawn(move || assert_eq!(&consumer.receive().unwrap().unwrap()[..], b"hello"));
    /// # Ok(()) })
    /// # }
    /// ```
    pub fn into_inner(self) -> E {
        self.endpoint
    }

    /// Looks, and has the task woken once the descriptor becomes readable after that. The waker comes first, so that
    /// nothing is missed that happens after the look.
    ///
    /// If the runtime has been shut down, `gone` is the outcome.
    fn poll_look<T>(
        &mut self,
        cx: &mut Context<'_>,
        gone: impl FnOnce(io::Error) -> T,
        look: impl FnOnce(&mut E) -> Poll<T>,
    ) -> Poll<T> {
        for _ in 0..CLEARS_MAX {
            match self.fd.poll_read_ready(cx) {
                Poll::Pending => return look(self.get_mut()),
                // From before: the look sees what it was for.
                Poll::Ready(Ok(mut guard)) => guard.clear_ready(),
                Poll::Ready(Err(error)) => return Poll::Ready(gone(error)),
            }
        }
        // Whatever it is, it stays readable: only another look helps, after others have run.
        cx.waker().wake_by_ref();
        look(self.get_mut())
    }

    /// Lets other tasks run, if this one has used up its budget by outcomes that came without a wait.
    #[inline(always)]
    fn poll_run(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.run == 0 {
            ready!(self.poll_next_run(cx));
        }
        self.run -= 1;
        Poll::Ready(())
    }

    // Out of line, or each outcome would be a call.
    #[cold]
    #[inline(never)]
    fn poll_next_run(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        ready!(poll_proceed(cx)).made_progress();
        self.run = RUN;
        Poll::Ready(())
    }
}

impl<E: Selectable> Async<E> {
    /// Waits until the next call that does not wait has an outcome: a record, a session, the end, or an error.
    ///
    /// ```
    /// # use fdring::{Producer, Server, tokio::Async};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
    /// # let ticks = Producer::create("ticks")?;
    /// let mut server = Async::new(Server::listen("@doc-tokio-ready", [&ticks])?)?;
    /// # let client = std::thread::spawn(|| fdring::Consumer::connect("@doc-tokio-ready"));
    /// while server.get_ref().stats().sessions == 0 {
    ///     server.ready().await?; // its statistics have changed
    /// }
    /// # drop(client.join().unwrap()?);
    /// # Ok(()) })
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`ReceiveError::Interrupted`] if an [`Interrupter`](crate::Interrupter) has ended all waits
    /// - [`ReceiveError::Wait`] if the kernel cannot watch the descriptors, or the runtime has been shut down
    /// - [`ReceiveError::Forked`] in a forked child
    pub async fn ready(&mut self) -> Result<(), ReceiveError> {
        poll_fn(|cx| self.poll_ready(cx, |_| false)).await
    }

    /// Like [`ready`](Self::ready), for when `has_news` is a quick way to see that.
    #[inline(always)]
    fn poll_ready(
        &mut self,
        cx: &mut Context<'_>,
        has_news: impl FnOnce(&mut E) -> bool,
    ) -> Poll<Result<(), ReceiveError>> {
        ready!(self.poll_run(cx));
        match has_news(self.get_mut()) {
            true => Poll::Ready(Ok(())),
            false => self.poll_armed(cx),
        }
    }

    #[inline(never)]
    fn poll_armed(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ReceiveError>> {
        self.poll_look(cx, runtime_gone, |endpoint| match endpoint.arm() {
            Ok(true) => Poll::Pending,
            Ok(false) => Poll::Ready(Ok(())),
            Err(error) => Poll::Ready(Err(error)),
        })
    }
}

/// The outcome of a wait whose runtime has been shut down.
fn runtime_gone<T>(_: io::Error) -> Result<T, ReceiveError> {
    Err(ReceiveError::Wait(RUNTIME_GONE.raw_os_error()))
}

impl<E: AsFd + fmt::Debug> fmt::Debug for Async<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Async").field(self.get_ref()).finish()
    }
}
