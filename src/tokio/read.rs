//! Consumers and taps in tasks.
//!
//! Each call finds out first whether there is something, and then takes it without waiting: a borrowed record could not
//! be kept while the task waits. [`receive`](super::receive) does so for one record.

use super::Async;
use super::receive::{Receive, not_empty, tap_error};
use crate::consumer::{Consumer, ReceiveError, Record, Tap, TapError, Verdict};
use crate::error::{Error, Result};
use crate::session::Address;
use crate::typed::{TypedConsumer, TypedError, TypedRecord, TypedTap, value_of, values_of};
use ::tokio::task::spawn_blocking;
use bytemuck::{AnyBitPattern, CheckedBitPattern};
use std::future::poll_fn;
use std::io;

impl Async<Consumer> {
    /// Connects to the only lane at `address`, like [`Consumer::connect`], on a thread of the runtime for blocking
    /// calls. A future that is dropped leaves the call to itself; what it brings is dropped, too.
    ///
    /// ```
    /// # use fdring::{Producer, Server, Consumer, tokio::Async};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
    /// # let mut ticks = Producer::create("ticks")?;
    /// # let server = Server::listen("@doc-tokio-connect", [&ticks])?;
    /// let mut consumer = Async::<Consumer>::connect("@doc-tokio-connect").await?;
    /// ticks.send(b"hello")?;
    /// assert_eq!(&consumer.receive().await?.unwrap()[..], b"hello");
    /// # Ok(()) })
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`Error::Os`] if no server listens there, the system is short of memory or descriptors, or the runtime's
    ///   poller cannot watch the descriptor
    /// - [`Error::Invalid`] if the address is out of range, or the server offers several lanes: then open a
    ///   [`Session`](crate::Session) and [attach](crate::Session::attach_one) to one of them
    /// - [`Error::Refused`] if the server refuses, for example because it already has as many sessions as it allows
    /// - [`Error::Forbidden`] if the server runs as another user
    /// - [`Error::Peer`] if the server breaks the protocol, or offers memory that must not be mapped
    /// - [`Error::Closed`] if the server closes the connection
    /// - [`Error::TimedOut`] if the handshake takes longer than 5 s
    /// - [`Error::Forked`] in a forked child of a process that has used this library
    pub async fn connect(address: impl Into<Address>) -> Result<Self> {
        let address = address.into();
        Self::new(on_a_blocking_thread(|| Consumer::connect(address)).await?)
    }

    /// The next record, like [`Consumer::receive`]. `None` is the end of the stream.
    ///
    /// ```
    /// # use fdring::{Consumer, Producer, Server, tokio::Async};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
    /// # let mut ticks = Producer::create("ticks")?;
    /// # let server = Server::listen("@doc-tokio-receive", [&ticks])?;
    /// # let mut consumer = Async::new(Consumer::connect("@doc-tokio-receive")?)?;
    /// ticks.send(b"hello")?;
    /// ticks.finish();
    /// assert_eq!(&consumer.receive().await?.unwrap()[..], b"hello");
    /// assert!(consumer.receive().await?.is_none());
    /// # Ok(()) })
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`ReceiveError::Abandoned`] if the producer gave up or panicked
    /// - [`ReceiveError::PeerDead`] if the producer died
    /// - [`ReceiveError::HungUp`] if the producer hung up unexpectedly and is not known to have died
    /// - [`ReceiveError::Refused`] or [`ReceiveError::Peer`] if it refused to go on, or broke the session's protocol
    /// - [`ReceiveError::Closed`] if the producer's process closed the session
    /// - [`ReceiveError::Evicted`] if the producer took this consumer's seat away
    /// - [`ReceiveError::Corrupt`] if the producer broke the protocol
    /// - [`ReceiveError::Interrupted`] if an [`Interrupter`](crate::Interrupter) ended the wait
    /// - [`ReceiveError::Wait`] if the kernel cannot watch the descriptors, or the runtime has been shut down
    /// - [`ReceiveError::Forked`] in a forked child
    #[inline]
    pub fn receive(&mut self) -> impl Future<Output = Result<Option<Record<'_>>, ReceiveError>> {
        Receive::new(self, |received| received)
    }

    /// Waits for a record, then calls `each` with it and with all records that are already visible after it, like
    /// [`Consumer::receive_many`]. Returns the number of records, 0 at the end of the stream. This is the fastest way
    /// to read a busy lane.
    ///
    /// ```
    /// # use fdring::{Consumer, Producer, Server, tokio::Async};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
    /// # let mut ticks = Producer::create("ticks")?;
    /// # let server = Server::listen("@doc-tokio-receive-many", [&ticks])?;
    /// # let mut consumer = Async::new(Consumer::connect("@doc-tokio-receive-many")?)?;
    /// ticks.send(b"one")?;
    /// ticks.send(b"two")?;
    /// let mut bytes = 0;
    /// assert_eq!(consumer.receive_many(|record| bytes += record.len()).await?, 2);
    /// assert_eq!(bytes, 6);
    /// # Ok(()) })
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`ReceiveError::Abandoned`] if the producer gave up or panicked
    /// - [`ReceiveError::PeerDead`] if the producer died
    /// - [`ReceiveError::HungUp`] if the producer hung up unexpectedly and is not known to have died
    /// - [`ReceiveError::Refused`] or [`ReceiveError::Peer`] if it refused to go on, or broke the session's protocol
    /// - [`ReceiveError::Closed`] if the producer's process closed the session
    /// - [`ReceiveError::Evicted`] if the producer took this consumer's seat away
    /// - [`ReceiveError::Corrupt`] if the producer broke the protocol
    /// - [`ReceiveError::Interrupted`] if an [`Interrupter`](crate::Interrupter) ended the wait
    /// - [`ReceiveError::Wait`] if the kernel cannot watch the descriptors, or the runtime has been shut down
    /// - [`ReceiveError::Forked`] in a forked child
    /// - The closure's error, if it returned one
    ///
    /// Records handed over before the error count as read.
    #[inline]
    pub async fn receive_many<V: Verdict>(&mut self, each: impl FnMut(&Record<'_>) -> V) -> Result<usize, V::Error> {
        self.has_news().await?;
        self.get_mut().try_receive_many(each)
    }

    #[inline]
    async fn has_news(&mut self) -> Result<(), ReceiveError> {
        poll_fn(|cx| self.poll_ready(cx, Consumer::has_news_soon)).await
    }
}

impl Async<Tap> {
    /// Connects to the only lane at `address`, like [`Tap::connect`], on a thread of the runtime for blocking calls. A
    /// future that is dropped leaves the call to itself; what it brings is dropped, too.
    ///
    /// ```
    /// # use fdring::{Producer, Server, Tap, tokio::Async};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
    /// # let mut camera = Producer::create("camera")?;
    /// # let server = Server::listen("@doc-tokio-tap-connect", [&camera])?;
    /// let mut tap = Async::<Tap>::connect("@doc-tokio-tap-connect").await?;
    /// camera.send(b"frame")?;
    /// assert_eq!(&tap.receive().await?.unwrap()[..], b"frame");
    /// # Ok(()) })
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`Error::Os`] if no server listens there, the system is short of memory or descriptors, or the runtime's
    ///   poller cannot watch the descriptor
    /// - [`Error::Invalid`] if the address is out of range, or the server offers several lanes: then open a
    ///   [`Session`](crate::Session) and [tap](crate::Session::tap_one) one of them
    /// - [`Error::Refused`] if the server refuses, for example because it already has as many sessions as it allows
    /// - [`Error::Forbidden`] if the server runs as another user
    /// - [`Error::Peer`] if the server breaks the protocol, or offers memory that must not be mapped
    /// - [`Error::Closed`] if the server closes the connection
    /// - [`Error::TimedOut`] if the handshake takes longer than 5 s
    /// - [`Error::Forked`] in a forked child of a process that has used this library
    pub async fn connect(address: impl Into<Address>) -> Result<Self> {
        let address = address.into();
        Self::new(on_a_blocking_thread(|| Tap::connect(address)).await?)
    }

    /// The next record, like [`Tap::receive`]. `None` is the end of the stream.
    ///
    /// ```
    /// # use fdring::{Producer, Server, Tap, tokio::Async};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
    /// # let mut camera = Producer::create("camera")?;
    /// # let server = Server::listen("@doc-tokio-tap", [&camera])?;
    /// # let mut tap = Async::new(Tap::connect("@doc-tokio-tap")?)?;
    /// camera.send(b"frame")?;
    /// assert_eq!(&tap.receive().await?.unwrap()[..], b"frame");
    /// # Ok(()) })
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`TapError::Lagged`] if the producer has overwritten the next record; the next call goes on from the newest
    /// - [`TapError::Abandoned`] if the producer gave up or panicked
    /// - [`TapError::PeerDead`] if the producer died
    /// - [`TapError::HungUp`] if the producer hung up unexpectedly and is not known to have died
    /// - [`TapError::Refused`] or [`TapError::Peer`] if it refused to go on, or broke the session's protocol
    /// - [`TapError::Closed`] if the producer's process closed the session
    /// - [`TapError::Corrupt`] if the producer broke the protocol
    /// - [`TapError::Interrupted`] if an [`Interrupter`](crate::Interrupter) ended the wait
    /// - [`TapError::Wait`] if the kernel cannot watch the descriptors, or the runtime has been shut down
    /// - [`TapError::Forked`] in a forked child
    #[inline]
    pub fn receive(&mut self) -> impl Future<Output = Result<Option<Record<'_>>, TapError>> {
        Receive::new(self, |received| received)
    }

    /// The newest record, if it was not received yet, as [`Tap::receive_newest`]. Waits for one otherwise. `None` is
    /// the end of the stream.
    ///
    /// ```
    /// # use fdring::{Producer, Server, Tap, tokio::Async};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
    /// # let mut camera = Producer::create("camera")?;
    /// # let server = Server::listen("@doc-tokio-newest", [&camera])?;
    /// # let mut tap = Async::new(Tap::connect("@doc-tokio-newest")?)?;
    /// camera.send(b"first")?;
    /// camera.send(b"second")?;
    /// assert_eq!(&tap.receive_newest().await?.unwrap()[..], b"second");
    /// # Ok(()) })
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`TapError::Lagged`] if the producer overwrote the newest record during each of several copies in a row
    /// - [`TapError::Abandoned`] if the producer gave up or panicked
    /// - [`TapError::PeerDead`] if the producer died
    /// - [`TapError::HungUp`] if the producer hung up unexpectedly and is not known to have died
    /// - [`TapError::Refused`] or [`TapError::Peer`] if it refused to go on, or broke the session's protocol
    /// - [`TapError::Closed`] if the producer's process closed the session
    /// - [`TapError::Corrupt`] if the producer broke the protocol
    /// - [`TapError::Interrupted`] if an [`Interrupter`](crate::Interrupter) ended the wait
    /// - [`TapError::Wait`] if the kernel cannot watch the descriptors, or the runtime has been shut down
    /// - [`TapError::Forked`] in a forked child
    #[inline]
    pub async fn receive_newest(&mut self) -> Result<Option<Record<'_>>, TapError> {
        self.has_news().await?;
        self.get_mut().try_receive_newest().map_err(not_empty)
    }

    /// Waits for a record, then calls `each` with it and with all records that are already visible after it, like
    /// [`Tap::receive_many`]. Returns the number of records, 0 at the end of the stream.
    ///
    /// ```
    /// # use fdring::{Producer, Server, Tap, tokio::Async};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
    /// # let mut camera = Producer::create("camera")?;
    /// # let server = Server::listen("@doc-tokio-tap-many", [&camera])?;
    /// # let mut tap = Async::new(Tap::connect("@doc-tokio-tap-many")?)?;
    /// camera.send(b"first")?;
    /// camera.send(b"second")?;
    /// assert_eq!(tap.receive_many(|_| ()).await?, 2);
    /// # Ok(()) })
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`TapError::Lagged`] if the producer has overwritten the next record; the next call goes on from the newest
    /// - [`TapError::Abandoned`] if the producer gave up or panicked
    /// - [`TapError::PeerDead`] if the producer died
    /// - [`TapError::HungUp`] if the producer hung up unexpectedly and is not known to have died
    /// - [`TapError::Refused`] or [`TapError::Peer`] if it refused to go on, or broke the session's protocol
    /// - [`TapError::Closed`] if the producer's process closed the session
    /// - [`TapError::Corrupt`] if the producer broke the protocol
    /// - [`TapError::Interrupted`] if an [`Interrupter`](crate::Interrupter) ended the wait
    /// - [`TapError::Wait`] if the kernel cannot watch the descriptors, or the runtime has been shut down
    /// - [`TapError::Forked`] in a forked child
    /// - The closure's error, if it returned one
    ///
    /// Records handed over before the error count as read.
    #[inline]
    pub async fn receive_many<V: Verdict<TapError>>(
        &mut self,
        each: impl FnMut(&Record<'_>) -> V,
    ) -> Result<usize, V::Error> {
        self.has_news().await?;
        self.get_mut().try_receive_many(each)
    }

    #[inline]
    async fn has_news(&mut self) -> Result<(), TapError> {
        poll_fn(|cx| self.poll_ready(cx, Tap::has_news)).await.map_err(tap_error)
    }
}

impl<T> Async<TypedConsumer<T>> {
    /// The values of the next record, like [`TypedConsumer::receive`]. `None` is the end of the stream.
    ///
    /// ```
    /// # use fdring::{Server, tokio::Async};
    /// # use fdring::typed::{TypedConsumer, TypedProducer};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
    /// # let mut prices = TypedProducer::<f64>::create("prices")?;
    /// # let server = Server::listen("@doc-tokio-typed", [prices.untyped()])?;
    /// # let mut consumer = Async::new(TypedConsumer::<f64>::connect("@doc-tokio-typed")?)?;
    /// prices.send_slice(&[1.5, 2.5])?;
    /// assert_eq!(consumer.receive().await?.unwrap()[..], [1.5, 2.5]);
    /// # Ok(()) })
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`TypedError::Receive`] for each error of [`Consumer::receive`]
    /// - [`TypedError::Length`] if the record is not a whole number of `T`s
    #[inline]
    pub fn receive(&mut self) -> impl Future<Output = Result<Option<TypedRecord<'_, T>>, TypedError>>
    where
        T: AnyBitPattern,
    {
        Receive::new(self, values_of)
    }

    /// The value of the next record, as [`TypedConsumer::receive_value`]. `None` is the end of the stream.
    ///
    /// ```
    /// # use fdring::{Server, tokio::Async};
    /// # use fdring::typed::{TypedConsumer, TypedProducer};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
    /// # let mut switches = TypedProducer::<bool>::create("switches")?;
    /// # let server = Server::listen("@doc-tokio-typed-value", [switches.untyped()])?;
    /// # let mut consumer = Async::new(TypedConsumer::<bool>::connect("@doc-tokio-typed-value")?)?;
    /// switches.send(&true)?;
    /// assert_eq!(consumer.receive_value().await?, Some(true));
    /// # Ok(()) })
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`TypedError::Receive`] for each error of [`Consumer::receive`]
    /// - [`TypedError::Length`] if the record is not a whole number of `T`s
    /// - [`TypedError::Count`] if it holds none, or several
    /// - [`TypedError::Bits`] if its bits are no `T`
    #[inline]
    pub fn receive_value(&mut self) -> impl Future<Output = Result<Option<T>, TypedError>>
    where
        T: CheckedBitPattern,
    {
        Receive::new(self, value_of)
    }
}

impl<T> Async<TypedTap<T>> {
    /// The values of the next record, like [`TypedTap::receive`]. `None` is the end of the stream.
    ///
    /// ```
    /// # use fdring::{Server, tokio::Async};
    /// # use fdring::typed::{TypedProducer, TypedTap};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
    /// # let mut prices = TypedProducer::<f64>::create("prices")?;
    /// # let server = Server::listen("@doc-tokio-typed-tap", [prices.untyped()])?;
    /// # let mut tap = Async::new(TypedTap::<f64>::connect("@doc-tokio-typed-tap")?)?;
    /// prices.send_slice(&[1.5, 2.5])?;
    /// assert_eq!(tap.receive().await?.unwrap()[..], [1.5, 2.5]);
    /// # Ok(()) })
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`TypedError::Receive`] for each error of [`Tap::receive`]
    /// - [`TypedError::Length`] if the record is not a whole number of `T`s
    #[inline]
    pub fn receive(&mut self) -> impl Future<Output = Result<Option<TypedRecord<'_, T>>, TypedError<TapError>>>
    where
        T: AnyBitPattern,
    {
        Receive::new(self, values_of)
    }

    /// The values of the newest record, as [`TypedTap::receive_newest`]. `None` is the end of the stream.
    ///
    /// ```
    /// # use fdring::{Server, tokio::Async};
    /// # use fdring::typed::{TypedProducer, TypedTap};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
    /// # let mut prices = TypedProducer::<f64>::create("prices")?;
    /// # let server = Server::listen("@doc-tokio-typed-newest", [prices.untyped()])?;
    /// # let mut tap = Async::new(TypedTap::<f64>::connect("@doc-tokio-typed-newest")?)?;
    /// prices.send(&1.5)?;
    /// prices.send(&2.5)?;
    /// assert_eq!(tap.receive_newest().await?.unwrap()[..], [2.5]);
    /// # Ok(()) })
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`TypedError::Receive`] for each error of [`Tap::receive_newest`]
    /// - [`TypedError::Length`] if the record is not a whole number of `T`s
    #[inline]
    pub async fn receive_newest(&mut self) -> Result<Option<TypedRecord<'_, T>>, TypedError<TapError>>
    where
        T: AnyBitPattern,
    {
        self.has_news().await?;
        self.get_mut().try_receive_newest().map_err(|error| error.map_received(not_empty))
    }

    /// The value of the next record, as [`TypedTap::receive_value`]. `None` is the end of the stream.
    ///
    /// ```
    /// # use fdring::{Server, tokio::Async};
    /// # use fdring::typed::{TypedProducer, TypedTap};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
    /// # let mut switches = TypedProducer::<bool>::create("switches")?;
    /// # let server = Server::listen("@doc-tokio-typed-tap-value", [switches.untyped()])?;
    /// # let mut tap = Async::new(TypedTap::<bool>::connect("@doc-tokio-typed-tap-value")?)?;
    /// switches.send(&true)?;
    /// assert_eq!(tap.receive_value().await?, Some(true));
    /// # Ok(()) })
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`TypedError::Receive`] for each error of [`Tap::receive`]
    /// - [`TypedError::Length`] if the record is not a whole number of `T`s
    /// - [`TypedError::Count`] if it holds none, or several
    /// - [`TypedError::Bits`] if its bits are no `T`
    #[inline]
    pub fn receive_value(&mut self) -> impl Future<Output = Result<Option<T>, TypedError<TapError>>>
    where
        T: CheckedBitPattern,
    {
        Receive::new(self, value_of)
    }

    /// The value of the newest record, as [`TypedTap::receive_newest_value`]. `None` is the end of the stream.
    ///
    /// ```
    /// # use fdring::{Server, tokio::Async};
    /// # use fdring::typed::{TypedProducer, TypedTap};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
    /// # let mut switches = TypedProducer::<bool>::create("switches")?;
    /// # let server = Server::listen("@doc-tokio-typed-newest-value", [switches.untyped()])?;
    /// # let mut tap = Async::new(TypedTap::<bool>::connect("@doc-tokio-typed-newest-value")?)?;
    /// switches.send(&false)?;
    /// switches.send(&true)?;
    /// assert_eq!(tap.receive_newest_value().await?, Some(true));
    /// # Ok(()) })
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`TypedError::Receive`] for each error of [`Tap::receive_newest`]
    /// - [`TypedError::Length`] if the record is not a whole number of `T`s
    /// - [`TypedError::Count`] if it holds none, or several
    /// - [`TypedError::Bits`] if its bits are no `T`
    #[inline]
    pub async fn receive_newest_value(&mut self) -> Result<Option<T>, TypedError<TapError>>
    where
        T: CheckedBitPattern,
    {
        self.has_news().await?;
        self.get_mut().try_receive_newest_value().map_err(|error| error.map_received(not_empty))
    }

    #[inline]
    async fn has_news(&mut self) -> Result<(), TapError> {
        poll_fn(|cx| self.poll_ready(cx, |tap| tap.untyped_mut().has_news())).await.map_err(tap_error)
    }
}

pub(super) async fn on_a_blocking_thread<T: Send + 'static>(
    call: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let joined = spawn_blocking(call).await;
    joined.map_err(io::Error::from).map_err(Error::os("connect on a thread of a tokio runtime"))?
}
