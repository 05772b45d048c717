//! A record of values, and what a record of bytes must be to be one.

use super::TypedError;
use crate::consumer::Record;
use crate::info::MonotonicTime;
use bytemuck::{AnyBitPattern, CheckedBitPattern};
use std::ops::Deref;

/// A received record of values: it dereferences to `[T]`.
///
/// The values stay as they are until the next call on the consumer or tap. In a forked child they must not be touched,
/// as with [`Record`].
///
/// ```
/// # use fdring::Server;
/// # use fdring::typed::{TypedConsumer, TypedProducer};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let mut prices = TypedProducer::<f64>::create("prices")?;
/// # let server = Server::listen("@doc-typed-record", [prices.untyped()])?;
/// # let mut consumer = TypedConsumer::<f64>::connect("@doc-typed-record")?;
/// prices.send_slice(&[1.5, 2.5])?;
/// let record = consumer.receive()?.unwrap();
/// assert_eq!((record.len(), record[1], record.tag(), record.position()), (2, 2.5, 0, 0));
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct TypedRecord<'a, T> {
    values: &'a [T],
    record: Record<'a>,
}

impl<T> TypedRecord<'_, T> {
    /// The tag that the producer gave this record. Default: 0.
    ///
    /// ```
    /// # use fdring::Server;
    /// # use fdring::typed::{TypedConsumer, TypedProducer};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut prices = TypedProducer::<u64>::create("prices")?;
    /// # let server = Server::listen("@doc-typed-record-tag", [prices.untyped()])?;
    /// # let mut consumer = TypedConsumer::<u64>::connect("@doc-typed-record-tag")?;
    /// prices.untyped_mut().send_tagged(&17_u64.to_ne_bytes(), 2)?;
    /// let record = consumer.receive()?.unwrap();
    /// assert_eq!((record.tag(), record[0]), (2, 17));
    /// # Ok(())
    /// # }
    /// ```
    pub fn tag(&self) -> u16 {
        self.record.tag()
    }

    /// The position of this record, in bytes since the lane was created.
    ///
    /// ```
    /// # use fdring::Server;
    /// # use fdring::typed::{TypedConsumer, TypedProducer};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut prices = TypedProducer::<u64>::create("prices")?;
    /// # let server = Server::listen("@doc-typed-record-position", [prices.untyped()])?;
    /// # let mut consumer = TypedConsumer::<u64>::connect("@doc-typed-record-position")?;
    /// prices.send(&17)?;
    /// prices.send(&18)?;
    /// consumer.receive()?;
    /// assert_eq!(consumer.receive()?.unwrap().position(), 16);
    /// # Ok(())
    /// # }
    /// ```
    pub fn position(&self) -> u64 {
        self.record.position()
    }

    /// The time of its commit, as [`Record::published_at`].
    ///
    /// ```
    /// # use fdring::Server;
    /// # use fdring::options::LaneOptions;
    /// # use fdring::typed::{Layout, TypedConsumer, TypedProducer};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let options = LaneOptions::new("prices").values(Layout::of::<f64>()).stamped(true);
    /// let mut prices = TypedProducer::<f64>::new(options.create()?, Layout::of::<f64>())?;
    /// # let server = Server::listen("@doc-typed-record-time", [prices.untyped()])?;
    /// # let mut consumer = TypedConsumer::<f64>::connect("@doc-typed-record-time")?;
    /// prices.send(&1.5)?;
    /// assert!(consumer.receive()?.unwrap().published_at().is_some());
    /// # Ok(())
    /// # }
    /// ```
    pub fn published_at(&self) -> Option<MonotonicTime> {
        self.record.published_at()
    }
}

impl<T> Deref for TypedRecord<'_, T> {
    type Target = [T];

    #[inline]
    fn deref(&self) -> &[T] {
        self.values
    }
}

/// The values of a record that was received.
#[inline]
pub(crate) fn values_of<T: AnyBitPattern, E>(
    received: Result<Option<Record<'_>>, E>,
) -> Result<Option<TypedRecord<'_, T>>, TypedError<E>> {
    let Some(record) = received? else { return Ok(None) };
    // Payloads are aligned as the lane says, and that was checked to do: what does not fit is the length.
    match bytemuck::try_cast_slice(record.payload()) {
        Ok(values) => Ok(Some(TypedRecord { values, record })),
        Err(_) => Err(TypedError::Length { len: record.len(), size: size_of::<T>() }),
    }
}

/// The one value of a record that was received, copied and then checked.
pub(crate) fn value_of<T: CheckedBitPattern, E>(
    received: Result<Option<Record<'_>>, E>,
) -> Result<Option<T>, TypedError<E>> {
    let Some(record) = received? else { return Ok(None) };
    let (len, size) = (record.len(), size_of::<T>());
    if !len.is_multiple_of(size) {
        return Err(TypedError::Length { len, size });
    }
    if len != size {
        return Err(TypedError::Count { count: len / size });
    }
    bytemuck::checked::try_pod_read_unaligned(&record).map(Some).map_err(|_| TypedError::Bits)
}
