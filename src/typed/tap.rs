//! The lossy reading end of a lane of values.

use super::record::{value_of, values_of};
use super::{Layout, TypedError, TypedRecord, check};
use crate::consumer::{Tap, TapError, TapStats};
use crate::error::Result;
use crate::session::Address;
use bytemuck::{AnyBitPattern, CheckedBitPattern};
use rustix::fd::{AsFd, BorrowedFd};
use std::marker::PhantomData;
use std::time::{Duration, Instant};

/// The lossy reading end of a lane of values: a [`Tap`] that receives `T`s, and that the lane never waits for.
///
/// It has the methods of [`TypedConsumer`](super::TypedConsumer), and each of them for the newest record, too. Values
/// are copied out, and handed out only if they were still whole after that.
///
/// ```
/// use fdring::Server;
/// use fdring::typed::{TypedProducer, TypedTap};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut prices = TypedProducer::<f64>::create("prices")?;
/// let server = Server::listen("@doc-typed-tap", [prices.untyped()])?;
/// let mut ticker = TypedTap::<f64>::connect("@doc-typed-tap")?;
/// prices.send(&1.5)?;
/// prices.send(&2.5)?;
/// assert_eq!(ticker.receive_newest_value()?, Some(2.5));
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "dropping a tap leaves its lane; keep it in a variable"]
pub struct TypedTap<T> {
    tap: Tap,
    values: PhantomData<fn() -> T>,
}

impl<T: CheckedBitPattern> TypedTap<T> {
    /// Taps the only lane at `address`, whose values are `T`s in version 0 of their layout.
    ///
    /// ```
    /// # use fdring::{Producer, Server, typed::TypedTap};
    /// # fn main() -> fdring::Result<()> {
    /// # let bytes = Producer::create("bytes")?;
    /// # let server = Server::listen("@doc-typed-tap-connect", [&bytes])?;
    /// let error = TypedTap::<f64>::connect("@doc-typed-tap-connect").unwrap_err(); // a lane of bytes
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
        Self::new(Tap::connect(address)?, Layout::of::<T>())
    }

    /// The tap of a lane of values that a session has attached to, one of several lanes for example.
    ///
    /// ```
    /// # use fdring::{Attach, Server, Session};
    /// # use fdring::typed::{Layout, TypedProducer, TypedTap};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut prices = TypedProducer::<f64>::create("prices")?;
    /// # let server = Server::listen("@doc-typed-tap-new", [prices.untyped()])?;
    /// let tap = Session::connect("@doc-typed-tap-new")?.tap_one(Attach::lane("prices"))?;
    /// let mut ticker = TypedTap::<f64>::new(tap, Layout::of::<f64>())?;
    /// # prices.send(&1.5)?;
    /// assert_eq!(ticker.receive()?.unwrap()[..], [1.5]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`Error::Invalid`](crate::Error::Invalid) if `layout` is not the layout of a `T`
    /// - [`Error::Layout`](crate::Error::Layout) if the lane's values are of another layout
    pub fn new(tap: Tap, layout: Layout) -> Result<Self> {
        check::<T>(tap.lane(), layout)?;
        Ok(Self { tap, values: PhantomData })
    }

    /// The value of the next record, whose bits were checked. Waits until there is one. `None` is the end of the
    /// stream.
    ///
    /// ```
    /// # use fdring::Server;
    /// # use fdring::typed::{TypedProducer, TypedTap};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut switches = TypedProducer::<bool>::create("switches")?;
    /// # let server = Server::listen("@doc-typed-tap-receive-value", [switches.untyped()])?;
    /// # let mut tap = TypedTap::<bool>::connect("@doc-typed-tap-receive-value")?;
    /// switches.send(&true)?;
    /// assert_eq!(tap.receive_value()?, Some(true));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`TypedError::Receive`] for each error of [`Tap::receive`]
    /// - [`TypedError::Length`] if the record is not a whole number of `T`s
    /// - [`TypedError::Count`] if it holds none, or several
    /// - [`TypedError::Bits`] if its bits are no `T`
    pub fn receive_value(&mut self) -> Result<Option<T>, TypedError<TapError>> {
        value_of(self.tap.receive())
    }

    /// Like [`receive_value`](Self::receive_value), but never waits: [`TapError::Empty`] if no record is there.
    ///
    /// ```
    /// # use fdring::Server;
    /// # use fdring::typed::{TypedProducer, TypedTap};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut switches = TypedProducer::<bool>::create("switches")?;
    /// # let server = Server::listen("@doc-typed-tap-try-receive-value", [switches.untyped()])?;
    /// # let mut tap = TypedTap::<bool>::connect("@doc-typed-tap-try-receive-value")?;
    /// assert!(tap.try_receive_value().is_err());
    /// switches.send(&true)?;
    /// assert_eq!(tap.try_receive_value()?, Some(true));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`TypedError::Receive`] for each error of [`Tap::try_receive`],
    ///   [`Empty`](crate::errors::TapError::Empty) among them
    /// - [`TypedError::Length`] if the record is not a whole number of `T`s
    /// - [`TypedError::Count`] if it holds none, or several
    /// - [`TypedError::Bits`] if its bits are no `T`
    pub fn try_receive_value(&mut self) -> Result<Option<T>, TypedError<TapError>> {
        value_of(self.tap.try_receive())
    }

    /// Like [`receive_value`](Self::receive_value), but waits at most `timeout`: [`TapError::TimedOut`] after that.
    ///
    /// ```
    /// # use fdring::Server;
    /// # use fdring::typed::{TypedProducer, TypedTap};
    /// # use std::time::Duration;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut switches = TypedProducer::<bool>::create("switches")?;
    /// # let server = Server::listen("@doc-typed-tap-receive-value-timeout", [switches.untyped()])?;
    /// # let mut tap = TypedTap::<bool>::connect("@doc-typed-tap-receive-value-timeout")?;
    /// switches.send(&true)?;
    /// assert_eq!(tap.receive_value_timeout(Duration::from_secs(1))?, Some(true));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`TypedError::Receive`] for each error of [`Tap::receive_timeout`],
    ///   [`TimedOut`](crate::errors::TapError::TimedOut) among them
    /// - [`TypedError::Length`] if the record is not a whole number of `T`s
    /// - [`TypedError::Count`] if it holds none, or several
    /// - [`TypedError::Bits`] if its bits are no `T`
    pub fn receive_value_timeout(&mut self, timeout: Duration) -> Result<Option<T>, TypedError<TapError>> {
        value_of(self.tap.receive_timeout(timeout))
    }

    /// Like [`receive_value`](Self::receive_value), but waits only until `deadline`.
    ///
    /// ```
    /// # use fdring::Server;
    /// # use fdring::typed::{TypedProducer, TypedTap};
    /// # use std::time::{Duration, Instant};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut switches = TypedProducer::<bool>::create("switches")?;
    /// # let server = Server::listen("@doc-typed-tap-receive-value-deadline", [switches.untyped()])?;
    /// # let mut tap = TypedTap::<bool>::connect("@doc-typed-tap-receive-value-deadline")?;
    /// switches.send(&true)?;
    /// let deadline = Instant::now() + Duration::from_secs(1);
    /// assert_eq!(tap.receive_value_deadline(deadline)?, Some(true));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`TypedError::Receive`] for each error of [`Tap::receive_deadline`],
    ///   [`TimedOut`](crate::errors::TapError::TimedOut) among them
    /// - [`TypedError::Length`] if the record is not a whole number of `T`s
    /// - [`TypedError::Count`] if it holds none, or several
    /// - [`TypedError::Bits`] if its bits are no `T`
    pub fn receive_value_deadline(&mut self, deadline: Instant) -> Result<Option<T>, TypedError<TapError>> {
        value_of(self.tap.receive_deadline(deadline))
    }

    /// The value of the newest record, whose bits were checked, if this tap has not received it yet. Waits for one
    /// otherwise. `None` is the end of the stream.
    ///
    /// ```
    /// # use fdring::Server;
    /// # use fdring::typed::{TypedProducer, TypedTap};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut switches = TypedProducer::<bool>::create("switches")?;
    /// # let server = Server::listen("@doc-typed-tap-receive-newest-value", [switches.untyped()])?;
    /// # let mut tap = TypedTap::<bool>::connect("@doc-typed-tap-receive-newest-value")?;
    /// switches.send(&false)?;
    /// switches.send(&true)?;
    /// assert_eq!(tap.receive_newest_value()?, Some(true));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`TypedError::Receive`] for each error of [`Tap::receive_newest`]
    /// - [`TypedError::Length`] if the record is not a whole number of `T`s
    /// - [`TypedError::Count`] if it holds none, or several
    /// - [`TypedError::Bits`] if its bits are no `T`
    pub fn receive_newest_value(&mut self) -> Result<Option<T>, TypedError<TapError>> {
        value_of(self.tap.receive_newest())
    }

    /// Like [`receive_newest_value`](Self::receive_newest_value), but never waits: [`TapError::Empty`] if no record is
    /// there.
    ///
    /// ```
    /// # use fdring::Server;
    /// # use fdring::typed::{TypedProducer, TypedTap};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut switches = TypedProducer::<bool>::create("switches")?;
    /// # let server = Server::listen("@doc-typed-tap-try-receive-newest-value", [switches.untyped()])?;
    /// # let mut tap = TypedTap::<bool>::connect("@doc-typed-tap-try-receive-newest-value")?;
    /// assert!(tap.try_receive_newest_value().is_err());
    /// switches.send(&false)?;
    /// switches.send(&true)?;
    /// assert_eq!(tap.try_receive_newest_value()?, Some(true));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`TypedError::Receive`] for each error of [`Tap::try_receive_newest`],
    ///   [`Empty`](crate::errors::TapError::Empty) among them
    /// - [`TypedError::Length`] if the record is not a whole number of `T`s
    /// - [`TypedError::Count`] if it holds none, or several
    /// - [`TypedError::Bits`] if its bits are no `T`
    pub fn try_receive_newest_value(&mut self) -> Result<Option<T>, TypedError<TapError>> {
        value_of(self.tap.try_receive_newest())
    }

    /// Like [`receive_newest_value`](Self::receive_newest_value), but waits at most `timeout`: [`TapError::TimedOut`]
    /// after that.
    ///
    /// ```
    /// # use fdring::Server;
    /// # use fdring::typed::{TypedProducer, TypedTap};
    /// # use std::time::Duration;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut switches = TypedProducer::<bool>::create("switches")?;
    /// # let server = Server::listen("@doc-typed-tap-receive-newest-value-timeout", [switches.untyped()])?;
    /// # let mut tap = TypedTap::<bool>::connect("@doc-typed-tap-receive-newest-value-timeout")?;
    /// switches.send(&false)?;
    /// switches.send(&true)?;
    /// assert_eq!(tap.receive_newest_value_timeout(Duration::from_secs(1))?, Some(true));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`TypedError::Receive`] for each error of [`Tap::receive_newest_timeout`],
    ///   [`TimedOut`](crate::errors::TapError::TimedOut) among them
    /// - [`TypedError::Length`] if the record is not a whole number of `T`s
    /// - [`TypedError::Count`] if it holds none, or several
    /// - [`TypedError::Bits`] if its bits are no `T`
    pub fn receive_newest_value_timeout(&mut self, timeout: Duration) -> Result<Option<T>, TypedError<TapError>> {
        value_of(self.tap.receive_newest_timeout(timeout))
    }

    /// Like [`receive_newest_value`](Self::receive_newest_value), but waits only until `deadline`.
    ///
    /// ```
    /// # use fdring::Server;
    /// # use fdring::typed::{TypedProducer, TypedTap};
    /// # use std::time::{Duration, Instant};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut switches = TypedProducer::<bool>::create("switches")?;
    /// # let server = Server::listen("@doc-typed-tap-receive-newest-value-deadline", [switches.untyped()])?;
    /// # let mut tap = TypedTap::<bool>::connect("@doc-typed-tap-receive-newest-value-deadline")?;
    /// switches.send(&false)?;
    /// switches.send(&true)?;
    /// let deadline = Instant::now() + Duration::from_secs(1);
    /// assert_eq!(tap.receive_newest_value_deadline(deadline)?, Some(true));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`TypedError::Receive`] for each error of [`Tap::receive_newest_deadline`],
    ///   [`TimedOut`](crate::errors::TapError::TimedOut) among them
    /// - [`TypedError::Length`] if the record is not a whole number of `T`s
    /// - [`TypedError::Count`] if it holds none, or several
    /// - [`TypedError::Bits`] if its bits are no `T`
    pub fn receive_newest_value_deadline(&mut self, deadline: Instant) -> Result<Option<T>, TypedError<TapError>> {
        value_of(self.tap.receive_newest_deadline(deadline))
    }
}

impl<T: AnyBitPattern> TypedTap<T> {
    /// The values of the next record. Waits until there is one. `None` is the end of the stream.
    ///
    /// ```
    /// # use fdring::Server;
    /// # use fdring::typed::{TypedProducer, TypedTap};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut prices = TypedProducer::<f64>::create("prices")?;
    /// # let server = Server::listen("@doc-typed-tap-receive", [prices.untyped()])?;
    /// # let mut tap = TypedTap::<f64>::connect("@doc-typed-tap-receive")?;
    /// prices.send_slice(&[1.5, 2.5])?;
    /// assert_eq!(tap.receive()?.unwrap()[..], [1.5, 2.5]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`TypedError::Receive`] for each error of [`Tap::receive`]
    /// - [`TypedError::Length`] if the record is not a whole number of `T`s
    pub fn receive(&mut self) -> Result<Option<TypedRecord<'_, T>>, TypedError<TapError>> {
        values_of(self.tap.receive())
    }

    /// Like [`receive`](Self::receive), but never waits: [`TapError::Empty`] if no record is there.
    ///
    /// ```
    /// # use fdring::Server;
    /// # use fdring::typed::{TypedProducer, TypedTap};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut prices = TypedProducer::<f64>::create("prices")?;
    /// # let server = Server::listen("@doc-typed-tap-try-receive", [prices.untyped()])?;
    /// # let mut tap = TypedTap::<f64>::connect("@doc-typed-tap-try-receive")?;
    /// assert!(tap.try_receive().is_err());
    /// prices.send_slice(&[1.5, 2.5])?;
    /// assert_eq!(tap.try_receive()?.unwrap()[..], [1.5, 2.5]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`TypedError::Receive`] for each error of [`Tap::try_receive`],
    ///   [`Empty`](crate::errors::TapError::Empty) among them
    /// - [`TypedError::Length`] if the record is not a whole number of `T`s
    pub fn try_receive(&mut self) -> Result<Option<TypedRecord<'_, T>>, TypedError<TapError>> {
        values_of(self.tap.try_receive())
    }

    /// Like [`receive`](Self::receive), but waits at most `timeout`: [`TapError::TimedOut`] after that.
    ///
    /// ```
    /// # use fdring::Server;
    /// # use fdring::typed::{TypedProducer, TypedTap};
    /// # use std::time::Duration;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut prices = TypedProducer::<f64>::create("prices")?;
    /// # let server = Server::listen("@doc-typed-tap-receive-timeout", [prices.untyped()])?;
    /// # let mut tap = TypedTap::<f64>::connect("@doc-typed-tap-receive-timeout")?;
    /// prices.send_slice(&[1.5, 2.5])?;
    /// assert_eq!(tap.receive_timeout(Duration::from_secs(1))?.unwrap()[..], [1.5, 2.5]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`TypedError::Receive`] for each error of [`Tap::receive_timeout`],
    ///   [`TimedOut`](crate::errors::TapError::TimedOut) among them
    /// - [`TypedError::Length`] if the record is not a whole number of `T`s
    pub fn receive_timeout(&mut self, timeout: Duration) -> Result<Option<TypedRecord<'_, T>>, TypedError<TapError>> {
        values_of(self.tap.receive_timeout(timeout))
    }

    /// Like [`receive`](Self::receive), but waits only until `deadline`.
    ///
    /// ```
    /// # use fdring::Server;
    /// # use fdring::typed::{TypedProducer, TypedTap};
    /// # use std::time::{Duration, Instant};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut prices = TypedProducer::<f64>::create("prices")?;
    /// # let server = Server::listen("@doc-typed-tap-receive-deadline", [prices.untyped()])?;
    /// # let mut tap = TypedTap::<f64>::connect("@doc-typed-tap-receive-deadline")?;
    /// prices.send_slice(&[1.5, 2.5])?;
    /// let deadline = Instant::now() + Duration::from_secs(1);
    /// assert_eq!(tap.receive_deadline(deadline)?.unwrap()[..], [1.5, 2.5]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`TypedError::Receive`] for each error of [`Tap::receive_deadline`],
    ///   [`TimedOut`](crate::errors::TapError::TimedOut) among them
    /// - [`TypedError::Length`] if the record is not a whole number of `T`s
    pub fn receive_deadline(&mut self, deadline: Instant) -> Result<Option<TypedRecord<'_, T>>, TypedError<TapError>> {
        values_of(self.tap.receive_deadline(deadline))
    }

    /// The values of the newest record, if this tap has not received them yet. Waits for one otherwise. `None` is the
    /// end of the stream.
    ///
    /// ```
    /// # use fdring::Server;
    /// # use fdring::typed::{TypedProducer, TypedTap};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut prices = TypedProducer::<f64>::create("prices")?;
    /// # let server = Server::listen("@doc-typed-tap-receive-newest", [prices.untyped()])?;
    /// # let mut tap = TypedTap::<f64>::connect("@doc-typed-tap-receive-newest")?;
    /// prices.send(&1.5)?;
    /// prices.send(&2.5)?;
    /// assert_eq!(tap.receive_newest()?.unwrap()[..], [2.5]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`TypedError::Receive`] for each error of [`Tap::receive_newest`]
    /// - [`TypedError::Length`] if the record is not a whole number of `T`s
    pub fn receive_newest(&mut self) -> Result<Option<TypedRecord<'_, T>>, TypedError<TapError>> {
        values_of(self.tap.receive_newest())
    }

    /// Like [`receive_newest`](Self::receive_newest), but never waits: [`TapError::Empty`] if no record is there.
    ///
    /// ```
    /// # use fdring::Server;
    /// # use fdring::typed::{TypedProducer, TypedTap};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut prices = TypedProducer::<f64>::create("prices")?;
    /// # let server = Server::listen("@doc-typed-tap-try-receive-newest", [prices.untyped()])?;
    /// # let mut tap = TypedTap::<f64>::connect("@doc-typed-tap-try-receive-newest")?;
    /// assert!(tap.try_receive_newest().is_err());
    /// prices.send(&1.5)?;
    /// prices.send(&2.5)?;
    /// assert_eq!(tap.try_receive_newest()?.unwrap()[..], [2.5]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`TypedError::Receive`] for each error of [`Tap::try_receive_newest`],
    ///   [`Empty`](crate::errors::TapError::Empty) among them
    /// - [`TypedError::Length`] if the record is not a whole number of `T`s
    pub fn try_receive_newest(&mut self) -> Result<Option<TypedRecord<'_, T>>, TypedError<TapError>> {
        values_of(self.tap.try_receive_newest())
    }

    /// Like [`receive_newest`](Self::receive_newest), but waits at most `timeout`: [`TapError::TimedOut`] after that.
    ///
    /// ```
    /// # use fdring::Server;
    /// # use fdring::typed::{TypedProducer, TypedTap};
    /// # use std::time::Duration;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut prices = TypedProducer::<f64>::create("prices")?;
    /// # let server = Server::listen("@doc-typed-tap-receive-newest-timeout", [prices.untyped()])?;
    /// # let mut tap = TypedTap::<f64>::connect("@doc-typed-tap-receive-newest-timeout")?;
    /// prices.send(&1.5)?;
    /// prices.send(&2.5)?;
    /// assert_eq!(tap.receive_newest_timeout(Duration::from_secs(1))?.unwrap()[..], [2.5]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`TypedError::Receive`] for each error of [`Tap::receive_newest_timeout`],
    ///   [`TimedOut`](crate::errors::TapError::TimedOut) among them
    /// - [`TypedError::Length`] if the record is not a whole number of `T`s
    pub fn receive_newest_timeout(
        &mut self,
        timeout: Duration,
    ) -> Result<Option<TypedRecord<'_, T>>, TypedError<TapError>> {
        values_of(self.tap.receive_newest_timeout(timeout))
    }

    /// Like [`receive_newest`](Self::receive_newest), but waits only until `deadline`.
    ///
    /// ```
    /// # use fdring::Server;
    /// # use fdring::typed::{TypedProducer, TypedTap};
    /// # use std::time::{Duration, Instant};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut prices = TypedProducer::<f64>::create("prices")?;
    /// # let server = Server::listen("@doc-typed-tap-receive-newest-deadline", [prices.untyped()])?;
    /// # let mut tap = TypedTap::<f64>::connect("@doc-typed-tap-receive-newest-deadline")?;
    /// prices.send(&1.5)?;
    /// prices.send(&2.5)?;
    /// let deadline = Instant::now() + Duration::from_secs(1);
    /// assert_eq!(tap.receive_newest_deadline(deadline)?.unwrap()[..], [2.5]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`TypedError::Receive`] for each error of [`Tap::receive_newest_deadline`],
    ///   [`TimedOut`](crate::errors::TapError::TimedOut) among them
    /// - [`TypedError::Length`] if the record is not a whole number of `T`s
    pub fn receive_newest_deadline(
        &mut self,
        deadline: Instant,
    ) -> Result<Option<TypedRecord<'_, T>>, TypedError<TapError>> {
        values_of(self.tap.receive_newest_deadline(deadline))
    }
}

impl<T> TypedTap<T> {
    /// The tap of the bytes: for everything but receiving.
    ///
    /// ```
    /// # use fdring::Server;
    /// # use fdring::typed::{TypedProducer, TypedTap};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut prices = TypedProducer::<f64>::create("prices")?;
    /// # let server = Server::listen("@doc-typed-tap-untyped", [prices.untyped()])?;
    /// # let mut tap = TypedTap::<f64>::connect("@doc-typed-tap-untyped")?;
    /// prices.send(&1.5)?;
    /// prices.send(&2.5)?;
    /// tap.receive_newest()?;
    /// assert_eq!(tap.untyped().missed_bytes(), 16);
    /// # Ok(())
    /// # }
    /// ```
    pub fn untyped(&self) -> &Tap {
        &self.tap
    }

    /// The tap of the bytes, mutably: to receive records as bytes, for example.
    ///
    /// ```
    /// # use fdring::Server;
    /// # use fdring::typed::{TypedProducer, TypedTap};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut prices = TypedProducer::<f64>::create("prices")?;
    /// # let server = Server::listen("@doc-typed-tap-untyped-mut", [prices.untyped()])?;
    /// # let mut tap = TypedTap::<f64>::connect("@doc-typed-tap-untyped-mut")?;
    /// prices.send(&1.5)?;
    /// assert_eq!(tap.untyped_mut().receive()?.unwrap()[..], 1.5_f64.to_ne_bytes());
    /// # Ok(())
    /// # }
    /// ```
    pub fn untyped_mut(&mut self) -> &mut Tap {
        &mut self.tap
    }
}

impl<T> TypedTap<T> {
    /// Prepares a wait in the caller's event loop: see [`Tap::arm`].
    ///
    /// ```
    /// # use fdring::{Server, errors::TapError};
    /// # use fdring::typed::{TypedTap, TypedError, TypedProducer};
    /// # use rustix::event::{PollFd, PollFlags, poll};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut prices = TypedProducer::<f64>::create("prices")?;
    /// # let server = Server::listen("@doc-typed-tap-arm", [prices.untyped()])?;
    /// # let mut tap = TypedTap::<f64>::connect("@doc-typed-tap-arm")?;
    /// # prices.send(&1.5)?;
    /// # drop(prices);
    /// loop {
    ///     match tap.try_receive() {
    ///         Ok(Some(prices)) => assert_eq!(prices[..], [1.5]),
    ///         Ok(None) => break,
    ///         Err(TypedError::Receive(TapError::Empty)) => {
    ///             if tap.arm()? {
    ///                 poll(&mut [PollFd::new(&tap, PollFlags::IN)], None)?;
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
    /// - [`TapError::Interrupted`] if there is no news, and an [`Interrupter`](crate::Interrupter) has ended all
    ///   waits
    /// - [`TapError::Wait`] if the kernel cannot provide a descriptor or timer for the wait
    /// - [`TapError::Forked`] in a forked child
    pub fn arm(&mut self) -> Result<bool, TapError> {
        self.tap.arm()
    }

    /// The statistics so far: see [`Tap::stats`].
    ///
    /// ```
    /// # use fdring::Server;
    /// # use fdring::typed::{TypedTap, TypedProducer};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut prices = TypedProducer::<f64>::create("prices")?;
    /// # let server = Server::listen("@doc-typed-tap-stats", [prices.untyped()])?;
    /// # let mut tap = TypedTap::<f64>::connect("@doc-typed-tap-stats")?;
    /// prices.send(&1.5)?;
    /// tap.receive_value()?;
    /// assert_eq!(tap.stats().records, 1);
    /// # Ok(())
    /// # }
    /// ```
    pub fn stats(&self) -> TapStats {
        self.tap.stats()
    }
}

impl<T> AsFd for TypedTap<T> {
    /// The descriptor that [`arm`](Self::arm) prepares.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.tap.as_fd()
    }
}
