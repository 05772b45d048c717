//! The reading end of a lane of values.

use super::record::{value_of, values_of};
use super::{Layout, TypedError, TypedRecord, check};
use crate::consumer::{Consumer, ConsumerStats, ReceiveError};
use crate::error::Result;
use crate::session::Address;
use bytemuck::{AnyBitPattern, CheckedBitPattern};
use rustix::fd::{AsFd, BorrowedFd};
use std::marker::PhantomData;
use std::time::{Duration, Instant};

/// The reading end of a lane of values: a [`Consumer`] that receives `T`s.
///
/// [`receive`](Self::receive) and its other forms give the values of a record as a slice, without a copy of their own:
/// for types of which all bits are values. [`receive_value`](Self::receive_value) and its other forms check the bits of
/// one value, and give a copy: for an `enum` or a `bool` too.
///
/// ```
/// use fdring::Server;
/// use fdring::typed::{TypedConsumer, TypedProducer};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut prices = TypedProducer::<f64>::create("prices")?;
/// let server = Server::listen("@doc-typed-consumer", [prices.untyped()])?;
/// let mut consumer = TypedConsumer::<f64>::connect("@doc-typed-consumer")?;
/// prices.send_slice(&[1.5, 2.5])?;
/// let sum: f64 = consumer.receive()?.unwrap().iter().sum();
/// assert_eq!(sum, 4.0);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "dropping a consumer leaves its lane; keep it in a variable"]
pub struct TypedConsumer<T> {
    consumer: Consumer,
    values: PhantomData<fn() -> T>,
}

impl<T: CheckedBitPattern> TypedConsumer<T> {
    /// Connects to the only lane at `address`, whose values are `T`s in version 0 of their layout. Reads copies.
    ///
    /// ```
    /// # use fdring::{Producer, Server, typed::TypedConsumer};
    /// # fn main() -> fdring::Result<()> {
    /// # let bytes = Producer::create("bytes")?;
    /// # let server = Server::listen("@doc-typed-connect", [&bytes])?;
    /// let error = TypedConsumer::<f64>::connect("@doc-typed-connect").unwrap_err(); // a lane of bytes
    /// assert!(matches!(error, fdring::Error::Layout { .. }));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`Error::Os`](crate::Error::Os) if no server listens there, or the system is short of memory or descriptors
    /// - [`Error::Invalid`](crate::Error::Invalid) if the address is out of range, or the server offers several lanes
    /// - [`Error::Layout`](crate::Error::Layout) if the lane has other values
    /// - [`Error::Refused`](crate::Error::Refused) if the server refuses, for example because it has its most sessions
    ///   already
    /// - [`Error::Forbidden`](crate::Error::Forbidden) if the server runs as another user
    /// - [`Error::Peer`](crate::Error::Peer) if the server breaks the protocol, or offers memory that must not be
    ///   mapped
    /// - [`Error::Closed`](crate::Error::Closed) if the server closes the connection
    /// - [`Error::TimedOut`](crate::Error::TimedOut) if the handshake takes longer than 5 s
    /// - [`Error::Forked`](crate::Error::Forked) in a forked child of a process that has used this library
    pub fn connect(address: impl Into<Address>) -> Result<Self> {
        Self::new(Consumer::connect(address)?, Layout::of::<T>())
    }

    /// The consumer of a lane of values that a session has attached to, in place for example.
    ///
    /// ```
    /// # use fdring::{Attach, Server, Session};
    /// # use fdring::typed::{Layout, TypedConsumer, TypedProducer};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut prices = TypedProducer::<f64>::create("prices")?;
    /// # let server = Server::listen("@doc-typed-new", [prices.untyped()])?;
    /// // SAFETY: the producer is this very program, and follows the protocol.
    /// let trusted = unsafe { Attach::lane("prices").in_place() };
    /// let consumer = Session::connect("@doc-typed-new")?.attach_one(trusted)?;
    /// let mut consumer = TypedConsumer::<f64>::new(consumer, Layout::of::<f64>())?;
    /// # prices.send(&1.5)?;
    /// assert_eq!(consumer.receive()?.unwrap()[..], [1.5]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`Error::Invalid`](crate::Error::Invalid) if `layout` is not the layout of a `T`
    /// - [`Error::Layout`](crate::Error::Layout) if the lane's values are of another layout
    pub fn new(consumer: Consumer, layout: Layout) -> Result<Self> {
        check::<T>(consumer.lane(), layout)?;
        Ok(Self { consumer, values: PhantomData })
    }

    /// The value of the next record, whose bits were checked. Waits until there is one. `None` is the end of the
    /// stream.
    ///
    /// ```
    /// # use fdring::Server;
    /// # use fdring::typed::{TypedConsumer, TypedError, TypedProducer};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut switches = TypedProducer::<bool>::create("switches")?;
    /// # let server = Server::listen("@doc-receive-value", [switches.untyped()])?;
    /// # let mut consumer = TypedConsumer::<bool>::connect("@doc-receive-value")?;
    /// switches.send(&true)?;
    /// assert_eq!(consumer.receive_value()?, Some(true));
    ///
    /// switches.untyped_mut().send(&[7])?;
    /// assert_eq!(consumer.receive_value(), Err(TypedError::Bits));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`TypedError::Receive`] for each error of [`Consumer::receive`]
    /// - [`TypedError::Length`] if the record is not a whole number of `T`s
    /// - [`TypedError::Count`] if it holds none, or several
    /// - [`TypedError::Bits`] if its bits are no `T`
    pub fn receive_value(&mut self) -> Result<Option<T>, TypedError> {
        value_of(self.consumer.receive())
    }

    /// Like [`receive_value`](Self::receive_value), but never waits:
    /// [`ReceiveError::Empty`] if no record is there.
    ///
    /// ```
    /// # use fdring::Server;
    /// # use fdring::typed::{TypedConsumer, TypedProducer};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut switches = TypedProducer::<bool>::create("switches")?;
    /// # let server = Server::listen("@doc-try-receive-value", [switches.untyped()])?;
    /// # let mut consumer = TypedConsumer::<bool>::connect("@doc-try-receive-value")?;
    /// assert!(consumer.try_receive_value().is_err());
    /// switches.send(&true)?;
    /// assert_eq!(consumer.try_receive_value()?, Some(true));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`TypedError::Receive`] for each error of [`Consumer::try_receive`],
    ///   [`Empty`](crate::errors::ReceiveError::Empty) among them
    /// - [`TypedError::Length`] if the record is not a whole number of `T`s
    /// - [`TypedError::Count`] if it holds none, or several
    /// - [`TypedError::Bits`] if its bits are no `T`
    pub fn try_receive_value(&mut self) -> Result<Option<T>, TypedError> {
        value_of(self.consumer.try_receive())
    }

    /// Like [`receive_value`](Self::receive_value), but waits at most `timeout`:
    /// [`ReceiveError::TimedOut`] after that.
    ///
    /// ```
    /// # use fdring::Server;
    /// # use fdring::typed::{TypedConsumer, TypedProducer};
    /// # use std::time::Duration;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut switches = TypedProducer::<bool>::create("switches")?;
    /// # let server = Server::listen("@doc-receive-value-timeout", [switches.untyped()])?;
    /// # let mut consumer = TypedConsumer::<bool>::connect("@doc-receive-value-timeout")?;
    /// switches.send(&true)?;
    /// assert_eq!(consumer.receive_value_timeout(Duration::from_secs(1))?, Some(true));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`TypedError::Receive`] for each error of [`Consumer::receive_timeout`],
    ///   [`TimedOut`](crate::errors::ReceiveError::TimedOut) among them
    /// - [`TypedError::Length`] if the record is not a whole number of `T`s
    /// - [`TypedError::Count`] if it holds none, or several
    /// - [`TypedError::Bits`] if its bits are no `T`
    pub fn receive_value_timeout(&mut self, timeout: Duration) -> Result<Option<T>, TypedError> {
        value_of(self.consumer.receive_timeout(timeout))
    }

    /// Like [`receive_value`](Self::receive_value), but waits only until `deadline`.
    ///
    /// ```
    /// # use fdring::Server;
    /// # use fdring::typed::{TypedConsumer, TypedProducer};
    /// # use std::time::{Duration, Instant};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut switches = TypedProducer::<bool>::create("switches")?;
    /// # let server = Server::listen("@doc-receive-value-deadline", [switches.untyped()])?;
    /// # let mut consumer = TypedConsumer::<bool>::connect("@doc-receive-value-deadline")?;
    /// switches.send(&true)?;
    /// let deadline = Instant::now() + Duration::from_secs(1);
    /// assert_eq!(consumer.receive_value_deadline(deadline)?, Some(true));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`TypedError::Receive`] for each error of [`Consumer::receive_deadline`],
    ///   [`TimedOut`](crate::errors::ReceiveError::TimedOut) among them
    /// - [`TypedError::Length`] if the record is not a whole number of `T`s
    /// - [`TypedError::Count`] if it holds none, or several
    /// - [`TypedError::Bits`] if its bits are no `T`
    pub fn receive_value_deadline(&mut self, deadline: Instant) -> Result<Option<T>, TypedError> {
        value_of(self.consumer.receive_deadline(deadline))
    }
}

impl<T> TypedConsumer<T> {
    /// The consumer of the bytes: for everything but receiving.
    ///
    /// ```
    /// # use fdring::Server;
    /// # use fdring::typed::{TypedConsumer, TypedProducer};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let prices = TypedProducer::<f64>::create("prices")?;
    /// # let server = Server::listen("@doc-consumer-untyped", [prices.untyped()])?;
    /// # let consumer = TypedConsumer::<f64>::connect("@doc-consumer-untyped")?;
    /// assert_eq!(consumer.untyped().lane().name, "prices");
    /// # Ok(())
    /// # }
    /// ```
    pub fn untyped(&self) -> &Consumer {
        &self.consumer
    }

    /// The consumer of the bytes, mutably: to release, or to receive records as bytes.
    ///
    /// ```
    /// # use fdring::Server;
    /// # use fdring::typed::{TypedConsumer, TypedProducer};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let prices = TypedProducer::<f64>::create("prices")?;
    /// # let server = Server::listen("@doc-consumer-untyped-mut", [prices.untyped()])?;
    /// # let mut consumer = TypedConsumer::<f64>::connect("@doc-consumer-untyped-mut")?;
    /// consumer.untyped_mut().release();
    /// # Ok(())
    /// # }
    /// ```
    pub fn untyped_mut(&mut self) -> &mut Consumer {
        &mut self.consumer
    }
}

impl<T: AnyBitPattern> TypedConsumer<T> {
    /// The values of the next record. Waits until there is one. `None` is the end of the stream.
    ///
    /// ```
    /// # use fdring::Server;
    /// # use fdring::typed::{TypedConsumer, TypedError, TypedProducer};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut prices = TypedProducer::<f64>::create("prices")?;
    /// # let server = Server::listen("@doc-typed-receive", [prices.untyped()])?;
    /// # let mut consumer = TypedConsumer::<f64>::connect("@doc-typed-receive")?;
    /// prices.send_slice(&[1.5, 2.5])?;
    /// assert_eq!(consumer.receive()?.unwrap()[..], [1.5, 2.5]);
    ///
    /// prices.untyped_mut().send(b"half")?;
    /// assert_eq!(consumer.receive().unwrap_err(), TypedError::Length { len: 4, size: 8 });
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`TypedError::Receive`] for each error of [`Consumer::receive`]
    /// - [`TypedError::Length`] if the record is not a whole number of `T`s
    #[inline]
    pub fn receive(&mut self) -> Result<Option<TypedRecord<'_, T>>, TypedError> {
        values_of(self.consumer.receive())
    }

    /// Like [`receive`](Self::receive), but never waits: [`ReceiveError::Empty`] if
    /// no record is there.
    ///
    /// ```
    /// # use fdring::Server;
    /// # use fdring::typed::{TypedConsumer, TypedProducer};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut prices = TypedProducer::<f64>::create("prices")?;
    /// # let server = Server::listen("@doc-typed-try-receive", [prices.untyped()])?;
    /// # let mut consumer = TypedConsumer::<f64>::connect("@doc-typed-try-receive")?;
    /// assert!(consumer.try_receive().is_err());
    /// prices.send(&1.5)?;
    /// assert_eq!(consumer.try_receive()?.unwrap()[..], [1.5]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`TypedError::Receive`] for each error of [`Consumer::try_receive`],
    ///   [`Empty`](crate::errors::ReceiveError::Empty) among them
    /// - [`TypedError::Length`] if the record is not a whole number of `T`s
    #[inline]
    pub fn try_receive(&mut self) -> Result<Option<TypedRecord<'_, T>>, TypedError> {
        values_of(self.consumer.try_receive())
    }

    /// Like [`receive`](Self::receive), but waits at most `timeout`:
    /// [`ReceiveError::TimedOut`] after that.
    ///
    /// ```
    /// # use fdring::Server;
    /// # use fdring::typed::{TypedConsumer, TypedProducer};
    /// # use std::time::Duration;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut prices = TypedProducer::<f64>::create("prices")?;
    /// # let server = Server::listen("@doc-typed-receive-timeout", [prices.untyped()])?;
    /// # let mut consumer = TypedConsumer::<f64>::connect("@doc-typed-receive-timeout")?;
    /// prices.send(&1.5)?;
    /// assert_eq!(consumer.receive_timeout(Duration::from_secs(1))?.unwrap()[..], [1.5]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`TypedError::Receive`] for each error of [`Consumer::receive_timeout`],
    ///   [`TimedOut`](crate::errors::ReceiveError::TimedOut) among them
    /// - [`TypedError::Length`] if the record is not a whole number of `T`s
    pub fn receive_timeout(&mut self, timeout: Duration) -> Result<Option<TypedRecord<'_, T>>, TypedError> {
        values_of(self.consumer.receive_timeout(timeout))
    }

    /// Like [`receive`](Self::receive), but waits only until `deadline`.
    ///
    /// ```
    /// # use fdring::Server;
    /// # use fdring::typed::{TypedConsumer, TypedProducer};
    /// # use std::time::{Duration, Instant};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut prices = TypedProducer::<f64>::create("prices")?;
    /// # let server = Server::listen("@doc-typed-receive-deadline", [prices.untyped()])?;
    /// # let mut consumer = TypedConsumer::<f64>::connect("@doc-typed-receive-deadline")?;
    /// prices.send(&1.5)?;
    /// let deadline = Instant::now() + Duration::from_secs(1);
    /// assert_eq!(consumer.receive_deadline(deadline)?.unwrap()[..], [1.5]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`TypedError::Receive`] for each error of [`Consumer::receive_deadline`],
    ///   [`TimedOut`](crate::errors::ReceiveError::TimedOut) among them
    /// - [`TypedError::Length`] if the record is not a whole number of `T`s
    pub fn receive_deadline(&mut self, deadline: Instant) -> Result<Option<TypedRecord<'_, T>>, TypedError> {
        values_of(self.consumer.receive_deadline(deadline))
    }
}

impl<T> TypedConsumer<T> {
    /// Prepares a wait in the caller's event loop: see [`Consumer::arm`].
    ///
    /// ```
    /// # use fdring::{Server, errors::ReceiveError};
    /// # use fdring::typed::{TypedConsumer, TypedError, TypedProducer};
    /// # use rustix::event::{PollFd, PollFlags, poll};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut prices = TypedProducer::<f64>::create("prices")?;
    /// # let server = Server::listen("@doc-typed-consumer-arm", [prices.untyped()])?;
    /// # let mut consumer = TypedConsumer::<f64>::connect("@doc-typed-consumer-arm")?;
    /// # prices.send(&1.5)?;
    /// # drop(prices);
    /// loop {
    ///     match consumer.try_receive() {
    ///         Ok(Some(prices)) => assert_eq!(prices[..], [1.5]),
    ///         Ok(None) => break,
    ///         Err(TypedError::Receive(ReceiveError::Empty)) => {
    ///             if consumer.arm()? {
    ///                 poll(&mut [PollFd::new(&consumer, PollFlags::IN)], None)?;
    ///             }
    ///         }
    ///         Err(error) => return Err(error.into()),
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`ReceiveError::Interrupted`] if there is no news, and an [`Interrupter`](crate::Interrupter) has ended all
    ///   waits
    /// - [`ReceiveError::Wait`] if the kernel cannot provide a descriptor or timer for the wait
    /// - [`ReceiveError::Forked`] in a forked child
    pub fn arm(&mut self) -> Result<bool, ReceiveError> {
        self.consumer.arm()
    }

    /// The statistics so far: see [`Consumer::stats`].
    ///
    /// ```
    /// # use fdring::Server;
    /// # use fdring::typed::{TypedConsumer, TypedProducer};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut prices = TypedProducer::<f64>::create("prices")?;
    /// # let server = Server::listen("@doc-typed-consumer-stats", [prices.untyped()])?;
    /// # let mut consumer = TypedConsumer::<f64>::connect("@doc-typed-consumer-stats")?;
    /// prices.send(&1.5)?;
    /// consumer.receive_value()?;
    /// assert_eq!(consumer.stats().records, 1);
    /// # Ok(())
    /// # }
    /// ```
    pub fn stats(&self) -> ConsumerStats {
        self.consumer.stats()
    }
}

impl<T> AsFd for TypedConsumer<T> {
    /// The descriptor that [`arm`](Self::arm) prepares.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.consumer.as_fd()
    }
}
