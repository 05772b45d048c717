//! The writing end of a lane of values.

use super::{Layout, check};
use crate::error::Result;
use crate::lane::LaneOptions;
use crate::producer::{Batch, Producer, ProducerStats, SendError};
use bytemuck::{AnyBitPattern, NoUninit};
use rustix::fd::{AsFd, BorrowedFd};
use std::marker::PhantomData;
use std::time::{Duration, Instant};

/// The writing end of a lane of values: a [`Producer`] that sends `T`s.
///
/// ```
/// use fdring::typed::TypedProducer;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut prices = TypedProducer::<f64>::create("prices")?;
/// prices.send(&1.5)?;
/// assert_eq!(prices.untyped().published(), 16);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "dropping a producer ends its lane; keep it in a variable"]
pub struct TypedProducer<T> {
    producer: Producer,
    values: PhantomData<fn(T)>,
}

impl LaneOptions {
    /// Makes this a lane of values of `layout`: its [schema](Self::schema) says so, and payloads are aligned to at
    /// least as much.
    ///
    /// ```
    /// use fdring::options::LaneOptions;
    /// use fdring::typed::{Layout, TypedProducer};
    ///
    /// # fn main() -> fdring::Result<()> {
    /// let layout = Layout::of::<[f64; 4]>().version(3);
    /// let options = LaneOptions::new("quaternions").capacity(1 << 20).values(layout);
    /// let quaternions = TypedProducer::<[f64; 4]>::new(options.create()?, layout)?;
    /// assert_eq!(quaternions.untyped().lane().schema, layout.schema());
    /// # Ok(())
    /// # }
    /// ```
    pub fn values(self, layout: Layout) -> Self {
        let payload_align = self.payload_align_at_least(layout.align());
        payload_align.schema(layout.schema())
    }
}

impl<T: NoUninit> TypedProducer<T> {
    /// Creates a lane of `T`s, in version 0 of their layout, with the default [`LaneOptions`] otherwise.
    ///
    /// ```
    /// # use fdring::typed::TypedProducer;
    /// # fn main() -> fdring::Result<()> {
    /// let prices = TypedProducer::<f64>::create("prices")?;
    /// assert_eq!(prices.untyped().lane().name, "prices");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`Error::Invalid`](crate::Error::Invalid) if `name` is not 1 to 64 bytes long or contains a control character
    /// - [`Error::Os`](crate::Error::Os) if the system is short of memory or descriptors
    /// - [`Error::Forked`](crate::Error::Forked) in a forked child of a process that has used this library
    pub fn create(name: impl Into<String>) -> Result<Self> {
        let layout = Layout::of::<T>();
        Self::new(LaneOptions::new(name).values(layout).create()?, layout)
    }

    /// The producer of a lane that was created with [`LaneOptions::values`].
    ///
    /// ```
    /// use fdring::Producer;
    /// use fdring::typed::{Layout, TypedProducer};
    ///
    /// # fn main() -> fdring::Result<()> {
    /// let bytes = Producer::create("bytes")?;
    /// let error = TypedProducer::<f64>::new(bytes, Layout::of::<f64>()).unwrap_err();
    /// assert!(error.to_string().contains("untyped records"));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`Error::Invalid`](crate::Error::Invalid) if `layout` is not the layout of a `T`
    /// - [`Error::Layout`](crate::Error::Layout) if the lane's values are of another layout
    pub fn new(producer: Producer, layout: Layout) -> Result<Self> {
        check::<T>(producer.lane(), layout)?;
        Ok(Self { producer, values: PhantomData })
    }

    /// Sends one value as a record. Waits for room.
    ///
    /// ```
    /// # use fdring::typed::TypedProducer;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut prices = TypedProducer::<f64>::create("prices")?;
    /// prices.send(&1.5)?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`SendError::TooLong`] if a `T` is longer than [`LaneInfo::payload_max`](crate::info::LaneInfo::payload_max)
    /// - [`SendError::TooSlow`] if a consumer has kept the ring full for longer than the lane's
    ///   [`SlowConsumer`](crate::options::SlowConsumer) allows
    /// - [`SendError::TooFewConsumers`] if the lane has fewer consumers than
    ///   [`NoConsumer::FailBelow`](crate::options::NoConsumer::FailBelow) requires
    /// - [`SendError::Interrupted`] if an [`Interrupter`](crate::Interrupter) ended the wait
    /// - [`SendError::Forked`] in a forked child
    #[inline(always)]
    pub fn send(&mut self, value: &T) -> Result<(), SendError> {
        self.producer.send(bytemuck::bytes_of(value))
    }

    /// Sends one value if there is room now.
    ///
    /// ```
    /// # use fdring::typed::TypedProducer;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut prices = TypedProducer::<f64>::create("prices")?;
    /// prices.try_send(&1.5)?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`SendError::TooLong`] if a `T` is longer than [`LaneInfo::payload_max`](crate::info::LaneInfo::payload_max)
    /// - [`SendError::Full`] if the ring is full; it names the consumer that holds the lane back
    /// - [`SendError::TooSlow`] if a consumer has kept the ring full for longer than the lane's
    ///   [`SlowConsumer`](crate::options::SlowConsumer) allows
    /// - [`SendError::TooFewConsumers`] if the lane has fewer consumers than its
    ///   [`NoConsumer`](crate::options::NoConsumer) requires
    /// - [`SendError::Forked`] in a forked child
    #[inline]
    pub fn try_send(&mut self, value: &T) -> Result<(), SendError> {
        self.producer.try_send(bytemuck::bytes_of(value))
    }

    /// Like [`send`](Self::send), but waits at most `timeout`.
    ///
    /// ```
    /// # use fdring::typed::TypedProducer;
    /// # use std::time::Duration;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut prices = TypedProducer::<f64>::create("prices")?;
    /// prices.send_timeout(&1.5, Duration::from_millis(10))?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`SendError::TooLong`] if a `T` is longer than [`LaneInfo::payload_max`](crate::info::LaneInfo::payload_max)
    /// - [`SendError::TimedOut`] if the ring stayed full; it names the consumer that holds the lane back
    /// - [`SendError::TooSlow`] if a consumer has kept the ring full for longer than the lane's
    ///   [`SlowConsumer`](crate::options::SlowConsumer) allows
    /// - [`SendError::TooFewConsumers`] if the lane has fewer consumers than its
    ///   [`NoConsumer`](crate::options::NoConsumer) requires
    /// - [`SendError::Interrupted`] if an [`Interrupter`](crate::Interrupter) ended the wait
    /// - [`SendError::Forked`] in a forked child
    pub fn send_timeout(&mut self, value: &T, timeout: Duration) -> Result<(), SendError> {
        self.producer.send_timeout(bytemuck::bytes_of(value), timeout)
    }

    /// Like [`send`](Self::send), but waits only until `deadline`.
    ///
    /// ```
    /// # use fdring::typed::TypedProducer;
    /// # use std::time::{Duration, Instant};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut prices = TypedProducer::<f64>::create("prices")?;
    /// prices.send_deadline(&1.5, Instant::now() + Duration::from_millis(10))?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`SendError::TooLong`] if a `T` is longer than [`LaneInfo::payload_max`](crate::info::LaneInfo::payload_max)
    /// - [`SendError::TimedOut`] if the ring stayed full; it names the consumer that holds the lane back
    /// - [`SendError::TooSlow`] if a consumer has kept the ring full for longer than the lane's
    ///   [`SlowConsumer`](crate::options::SlowConsumer) allows
    /// - [`SendError::TooFewConsumers`] if the lane has fewer consumers than its
    ///   [`NoConsumer`](crate::options::NoConsumer) requires
    /// - [`SendError::Interrupted`] if an [`Interrupter`](crate::Interrupter) ended the wait
    /// - [`SendError::Forked`] in a forked child
    pub fn send_deadline(&mut self, value: &T, deadline: Instant) -> Result<(), SendError> {
        self.producer.send_deadline(bytemuck::bytes_of(value), deadline)
    }

    /// Sends several values, or none, as one record. Waits for room.
    ///
    /// ```
    /// # use fdring::typed::TypedProducer;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut prices = TypedProducer::<f64>::create("prices")?;
    /// prices.send_slice(&[1.5, 2.5, 3.5])?;
    /// assert_eq!(prices.untyped().published(), 32);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`SendError::TooLong`] if the values are longer than
    ///   [`LaneInfo::payload_max`](crate::info::LaneInfo::payload_max) together
    /// - [`SendError::TooSlow`] if a consumer has kept the ring full for longer than the lane's
    ///   [`SlowConsumer`](crate::options::SlowConsumer) allows
    /// - [`SendError::TooFewConsumers`] if the lane has fewer consumers than
    ///   [`NoConsumer::FailBelow`](crate::options::NoConsumer::FailBelow) requires
    /// - [`SendError::Interrupted`] if an [`Interrupter`](crate::Interrupter) ended the wait
    /// - [`SendError::Forked`] in a forked child
    #[inline]
    pub fn send_slice(&mut self, values: &[T]) -> Result<(), SendError> {
        self.producer.send(bytemuck::cast_slice(values))
    }

    /// Like [`send_slice`](Self::send_slice), if there is room now.
    ///
    /// ```
    /// # use fdring::typed::TypedProducer;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut prices = TypedProducer::<f64>::create("prices")?;
    /// prices.try_send_slice(&[1.5, 2.5])?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`SendError::TooLong`] if the values are longer than
    ///   [`LaneInfo::payload_max`](crate::info::LaneInfo::payload_max) together
    /// - [`SendError::Full`] if the ring is full; it names the consumer that holds the lane back
    /// - [`SendError::TooSlow`] if a consumer has kept the ring full for longer than the lane's
    ///   [`SlowConsumer`](crate::options::SlowConsumer) allows
    /// - [`SendError::TooFewConsumers`] if the lane has fewer consumers than its
    ///   [`NoConsumer`](crate::options::NoConsumer) requires
    /// - [`SendError::Forked`] in a forked child
    pub fn try_send_slice(&mut self, values: &[T]) -> Result<(), SendError> {
        self.producer.try_send(bytemuck::cast_slice(values))
    }

    /// Like [`send_slice`](Self::send_slice), but waits at most `timeout` for room.
    ///
    /// ```
    /// # use fdring::typed::TypedProducer;
    /// # use std::time::Duration;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut prices = TypedProducer::<f64>::create("prices")?;
    /// prices.send_slice_timeout(&[1.5, 2.5], Duration::from_millis(10))?;
    /// assert_eq!(prices.untyped().published(), 24);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`SendError::TooLong`] if the values are longer than
    ///   [`LaneInfo::payload_max`](crate::info::LaneInfo::payload_max) together
    /// - [`SendError::TimedOut`] if the ring stayed full; it names the consumer that holds the lane back
    /// - [`SendError::TooSlow`] if a consumer has kept the ring full for longer than the lane's
    ///   [`SlowConsumer`](crate::options::SlowConsumer) allows
    /// - [`SendError::TooFewConsumers`] if the lane has fewer consumers than its
    ///   [`NoConsumer`](crate::options::NoConsumer) requires
    /// - [`SendError::Interrupted`] if an [`Interrupter`](crate::Interrupter) ended the wait
    /// - [`SendError::Forked`] in a forked child
    pub fn send_slice_timeout(&mut self, values: &[T], timeout: Duration) -> Result<(), SendError> {
        self.producer.send_timeout(bytemuck::cast_slice(values), timeout)
    }

    /// Like [`send_slice`](Self::send_slice), but waits for room only until `deadline`, which several calls can share.
    ///
    /// ```
    /// # use fdring::typed::TypedProducer;
    /// # use std::time::{Duration, Instant};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut prices = TypedProducer::<f64>::create("prices")?;
    /// let deadline = Instant::now() + Duration::from_millis(10);
    /// prices.send_slice_deadline(&[1.5, 2.5], deadline)?;
    /// assert_eq!(prices.untyped().published(), 24);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`SendError::TooLong`] if the values are longer than
    ///   [`LaneInfo::payload_max`](crate::info::LaneInfo::payload_max) together
    /// - [`SendError::TimedOut`] if the ring stayed full; it names the consumer that holds the lane back
    /// - [`SendError::TooSlow`] if a consumer has kept the ring full for longer than the lane's
    ///   [`SlowConsumer`](crate::options::SlowConsumer) allows
    /// - [`SendError::TooFewConsumers`] if the lane has fewer consumers than its
    ///   [`NoConsumer`](crate::options::NoConsumer) requires
    /// - [`SendError::Interrupted`] if an [`Interrupter`](crate::Interrupter) ended the wait
    /// - [`SendError::Forked`] in a forked child
    pub fn send_slice_deadline(&mut self, values: &[T], deadline: Instant) -> Result<(), SendError> {
        self.producer.send_deadline(bytemuck::cast_slice(values), deadline)
    }

    /// Sends `count` values as one record, which `fill` writes in the ring itself. Before they are filled, the values
    /// are what the ring held there. Waits for room.
    ///
    /// ```
    /// # use fdring::typed::TypedProducer;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut samples = TypedProducer::<f32>::create("samples")?;
    /// samples.fill(480, |samples| samples.fill(0.25))?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`SendError::TooLong`] if `count` values are longer than
    ///   [`LaneInfo::payload_max`](crate::info::LaneInfo::payload_max) together
    /// - [`SendError::TooSlow`] if a consumer has kept the ring full for longer than the lane's
    ///   [`SlowConsumer`](crate::options::SlowConsumer) allows
    /// - [`SendError::TooFewConsumers`] if the lane has fewer consumers than
    ///   [`NoConsumer::FailBelow`](crate::options::NoConsumer::FailBelow) requires
    /// - [`SendError::Interrupted`] if an [`Interrupter`](crate::Interrupter) ended the wait
    /// - [`SendError::Forked`] in a forked child
    #[inline]
    pub fn fill(&mut self, count: usize, fill: impl FnOnce(&mut [T])) -> Result<(), SendError>
    where
        T: AnyBitPattern,
    {
        let len = count.saturating_mul(size_of::<T>());
        self.producer.fill(len, |bytes| fill(bytemuck::cast_slice_mut(bytes)))
    }

    /// Like [`fill`](Self::fill), but never waits. `fill` is called only if there is room.
    ///
    /// ```
    /// # use fdring::typed::TypedProducer;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut samples = TypedProducer::<f32>::create("samples")?;
    /// samples.try_fill(480, |samples| samples.fill(0.25))?;
    /// assert_eq!(samples.untyped().published(), 8 + 480 * 4);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`SendError::TooLong`] if `count` values are longer than
    ///   [`LaneInfo::payload_max`](crate::info::LaneInfo::payload_max) together
    /// - [`SendError::Full`] if the ring is full; it names the consumer that holds the lane back
    /// - [`SendError::TooSlow`] if a consumer has kept the ring full for longer than the lane's
    ///   [`SlowConsumer`](crate::options::SlowConsumer) allows
    /// - [`SendError::TooFewConsumers`] if the lane has fewer consumers than its
    ///   [`NoConsumer`](crate::options::NoConsumer) requires
    /// - [`SendError::Forked`] in a forked child
    pub fn try_fill(&mut self, count: usize, fill: impl FnOnce(&mut [T])) -> Result<(), SendError>
    where
        T: AnyBitPattern,
    {
        let len = count.saturating_mul(size_of::<T>());
        self.producer.try_fill(len, |bytes| fill(bytemuck::cast_slice_mut(bytes)))
    }

    /// Like [`fill`](Self::fill), but waits at most `timeout` for room.
    ///
    /// ```
    /// # use fdring::typed::TypedProducer;
    /// # use std::time::Duration;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut samples = TypedProducer::<f32>::create("samples")?;
    /// samples.fill_timeout(480, Duration::from_millis(10), |samples| samples.fill(0.25))?;
    /// assert_eq!(samples.untyped().published(), 8 + 480 * 4);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`SendError::TooLong`] if `count` values are longer than
    ///   [`LaneInfo::payload_max`](crate::info::LaneInfo::payload_max) together
    /// - [`SendError::TimedOut`] if the ring stayed full; it names the consumer that holds the lane back
    /// - [`SendError::TooSlow`] if a consumer has kept the ring full for longer than the lane's
    ///   [`SlowConsumer`](crate::options::SlowConsumer) allows
    /// - [`SendError::TooFewConsumers`] if the lane has fewer consumers than its
    ///   [`NoConsumer`](crate::options::NoConsumer) requires
    /// - [`SendError::Interrupted`] if an [`Interrupter`](crate::Interrupter) ended the wait
    /// - [`SendError::Forked`] in a forked child
    pub fn fill_timeout(
        &mut self,
        count: usize,
        timeout: Duration,
        fill: impl FnOnce(&mut [T]),
    ) -> Result<(), SendError>
    where
        T: AnyBitPattern,
    {
        let len = count.saturating_mul(size_of::<T>());
        self.producer.fill_timeout(len, timeout, |bytes| fill(bytemuck::cast_slice_mut(bytes)))
    }

    /// Like [`fill`](Self::fill), but waits for room only until `deadline`, which several calls can share.
    ///
    /// ```
    /// # use fdring::typed::TypedProducer;
    /// # use std::time::{Duration, Instant};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut samples = TypedProducer::<f32>::create("samples")?;
    /// let deadline = Instant::now() + Duration::from_millis(10);
    /// samples.fill_deadline(480, deadline, |samples| samples.fill(0.25))?;
    /// assert_eq!(samples.untyped().published(), 8 + 480 * 4);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`SendError::TooLong`] if `count` values are longer than
    ///   [`LaneInfo::payload_max`](crate::info::LaneInfo::payload_max) together
    /// - [`SendError::TimedOut`] if the ring stayed full; it names the consumer that holds the lane back
    /// - [`SendError::TooSlow`] if a consumer has kept the ring full for longer than the lane's
    ///   [`SlowConsumer`](crate::options::SlowConsumer) allows
    /// - [`SendError::TooFewConsumers`] if the lane has fewer consumers than its
    ///   [`NoConsumer`](crate::options::NoConsumer) requires
    /// - [`SendError::Interrupted`] if an [`Interrupter`](crate::Interrupter) ended the wait
    /// - [`SendError::Forked`] in a forked child
    pub fn fill_deadline(
        &mut self,
        count: usize,
        deadline: Instant,
        fill: impl FnOnce(&mut [T]),
    ) -> Result<(), SendError>
    where
        T: AnyBitPattern,
    {
        let len = count.saturating_mul(size_of::<T>());
        self.producer.fill_deadline(len, deadline, |bytes| fill(bytemuck::cast_slice_mut(bytes)))
    }

    /// Begins a batch: values that are published together.
    ///
    /// ```
    /// # use fdring::typed::TypedProducer;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut prices = TypedProducer::<f64>::create("prices")?;
    /// let mut batch = prices.batch()?;
    /// batch.send(&1.5)?;
    /// batch.send_slice(&[2.5, 3.5])?;
    /// assert_eq!(batch.commit(), 40);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`SendError::Forked`] in a forked child.
    #[inline]
    pub fn batch(&mut self) -> Result<TypedBatch<'_, T>, SendError> {
        Ok(TypedBatch { batch: self.producer.batch()?, values: PhantomData })
    }

    /// The producer of the bytes: to offer it, and for everything but sending.
    ///
    /// ```
    /// # use fdring::typed::TypedProducer;
    /// # fn main() -> fdring::Result<()> {
    /// # let prices = TypedProducer::<f64>::create("prices")?;
    /// assert_eq!(prices.untyped().consumer_count(), 0);
    /// # Ok(())
    /// # }
    /// ```
    pub fn untyped(&self) -> &Producer {
        &self.producer
    }

    /// The producer of the bytes, mutably: to send records with tags, for example. A record should hold whole `T`s,
    /// since consumers refuse others.
    ///
    /// ```
    /// # use fdring::typed::TypedProducer;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut prices = TypedProducer::<f64>::create("prices")?;
    /// prices.untyped_mut().send_tagged(&1.5_f64.to_ne_bytes(), 7)?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn untyped_mut(&mut self) -> &mut Producer {
        &mut self.producer
    }

    /// The producer of the bytes, for instance to [abandon](Producer::abandon) the lane.
    ///
    /// ```
    /// # use fdring::typed::TypedProducer;
    /// # fn main() -> fdring::Result<()> {
    /// # let prices = TypedProducer::<f64>::create("prices")?;
    /// prices.into_untyped().abandon();
    /// # Ok(())
    /// # }
    /// ```
    pub fn into_untyped(self) -> Producer {
        self.producer
    }
}

impl<T> TypedProducer<T> {
    /// Prepares a wait for room in the caller's event loop, on a lane with a
    /// [space bell](crate::options::LaneOptions::space_bell): see [`Producer::arm`].
    ///
    /// ```
    /// # use fdring::{Server, errors::SendError, options::LaneOptions};
    /// # use fdring::typed::{Layout, TypedConsumer, TypedProducer};
    /// # use rustix::event::{PollFd, PollFlags, poll};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let layout = Layout::of::<[f64; 64]>();
    /// let options = LaneOptions::new("samples").capacity(4096).values(layout).space_bell(true);
    /// let mut samples = TypedProducer::<[f64; 64]>::new(options.create()?, layout)?;
    /// # let server = Server::listen("@doc-typed-producer-arm", [samples.untyped()])?;
    /// # let mut consumer = TypedConsumer::<[f64; 64]>::connect("@doc-typed-producer-arm")?;
    /// # let reader = std::thread::spawn(move || while let Ok(Some(_)) = consumer.receive() {});
    /// let mut sent = 0;
    /// while sent < 100 {
    ///     match samples.try_send(&[0.5; 64]) {
    ///         Ok(()) => sent += 1,
    ///         Err(SendError::Full { .. }) => {
    ///             if samples.arm()? {
    ///                 poll(&mut [PollFd::new(&samples, PollFlags::IN)], None)?;
    ///             }
    ///         }
    ///         Err(error) => return Err(error.into()),
    ///     }
    /// }
    /// # drop(samples);
    /// # reader.join().unwrap();
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`SendError::NoSpaceBell`] if the lane was created without a space bell
    /// - [`SendError::Interrupted`] if there is no news, and an [`Interrupter`](crate::Interrupter) has ended all waits
    /// - [`SendError::Wait`] if the kernel cannot watch the bell of a consumer
    /// - [`SendError::Forked`] in a forked child
    pub fn arm(&mut self) -> Result<bool, SendError> {
        self.producer.arm()
    }

    /// The statistics so far: see [`Producer::stats`].
    ///
    /// ```
    /// # use fdring::typed::TypedProducer;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut prices = TypedProducer::<f64>::create("prices")?;
    /// prices.send(&1.5)?;
    /// assert_eq!(prices.stats().records, 1);
    /// # Ok(())
    /// # }
    /// ```
    pub fn stats(&self) -> ProducerStats {
        self.producer.stats()
    }
}

impl<T> AsFd for TypedProducer<T> {
    /// The descriptor that [`arm`](Self::arm) prepares, see [`Producer::as_fd`].
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.producer.as_fd()
    }
}

/// Values that are published together, see [`TypedProducer::batch`].
///
/// ```
/// # use fdring::typed::TypedProducer;
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let mut prices = TypedProducer::<f64>::create("prices")?;
/// let mut batch = prices.batch()?;
/// batch.send(&1.5)?;
/// drop(batch); // nothing of it is published
/// assert_eq!(prices.untyped().published(), 0);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "a batch that is not committed is discarded"]
pub struct TypedBatch<'a, T> {
    batch: Batch<'a>,
    values: PhantomData<fn(T)>,
}

impl<T: NoUninit> TypedBatch<'_, T> {
    /// Adds one value, as a record of its own. Waits for room.
    ///
    /// ```
    /// # use fdring::typed::TypedProducer;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut prices = TypedProducer::<f64>::create("prices")?;
    /// let mut batch = prices.batch()?;
    /// batch.send(&1.5)?;
    /// batch.commit();
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`SendError::TooLong`] if a `T` is longer than [`LaneInfo::payload_max`](crate::info::LaneInfo::payload_max)
    /// - [`SendError::TooSlow`] if a consumer has kept the ring full for longer than the lane's
    ///   [`SlowConsumer`](crate::options::SlowConsumer) allows
    /// - [`SendError::TooFewConsumers`] if the lane has fewer consumers than
    ///   [`NoConsumer::FailBelow`](crate::options::NoConsumer::FailBelow) requires
    /// - [`SendError::Interrupted`] if an [`Interrupter`](crate::Interrupter) ended the wait
    /// - [`SendError::Forked`] in a forked child
    #[inline(always)]
    pub fn send(&mut self, value: &T) -> Result<(), SendError> {
        self.batch.send(bytemuck::bytes_of(value))
    }

    /// Like [`send`](Self::send), but never waits.
    ///
    /// ```
    /// # use fdring::typed::TypedProducer;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut prices = TypedProducer::<f64>::create("prices")?;
    /// let mut batch = prices.batch()?;
    /// batch.try_send(&1.5)?;
    /// assert_eq!(batch.commit(), 16);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`SendError::TooLong`] if a `T` is longer than [`LaneInfo::payload_max`](crate::info::LaneInfo::payload_max)
    /// - [`SendError::Full`] if the ring is full; it names the consumer that holds the lane back
    /// - [`SendError::TooSlow`] if a consumer has kept the ring full for longer than the lane's
    ///   [`SlowConsumer`](crate::options::SlowConsumer) allows
    /// - [`SendError::TooFewConsumers`] if the lane has fewer consumers than its
    ///   [`NoConsumer`](crate::options::NoConsumer) requires
    /// - [`SendError::Forked`] in a forked child
    pub fn try_send(&mut self, value: &T) -> Result<(), SendError> {
        self.batch.try_send(bytemuck::bytes_of(value))
    }

    /// Like [`send`](Self::send), but waits at most `timeout` for room.
    ///
    /// ```
    /// # use fdring::typed::TypedProducer;
    /// # use std::time::Duration;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut prices = TypedProducer::<f64>::create("prices")?;
    /// let mut batch = prices.batch()?;
    /// batch.send_timeout(&1.5, Duration::from_millis(10))?;
    /// assert_eq!(batch.commit(), 16);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`SendError::TooLong`] if a `T` is longer than [`LaneInfo::payload_max`](crate::info::LaneInfo::payload_max)
    /// - [`SendError::TimedOut`] if the ring stayed full; it names the consumer that holds the lane back
    /// - [`SendError::TooSlow`] if a consumer has kept the ring full for longer than the lane's
    ///   [`SlowConsumer`](crate::options::SlowConsumer) allows
    /// - [`SendError::TooFewConsumers`] if the lane has fewer consumers than its
    ///   [`NoConsumer`](crate::options::NoConsumer) requires
    /// - [`SendError::Interrupted`] if an [`Interrupter`](crate::Interrupter) ended the wait
    /// - [`SendError::Forked`] in a forked child
    pub fn send_timeout(&mut self, value: &T, timeout: Duration) -> Result<(), SendError> {
        self.batch.send_timeout(bytemuck::bytes_of(value), timeout)
    }

    /// Like [`send`](Self::send), but waits for room only until `deadline`, which several calls can share.
    ///
    /// ```
    /// # use fdring::typed::TypedProducer;
    /// # use std::time::{Duration, Instant};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut prices = TypedProducer::<f64>::create("prices")?;
    /// let mut batch = prices.batch()?;
    /// batch.send_deadline(&1.5, Instant::now() + Duration::from_millis(10))?;
    /// assert_eq!(batch.commit(), 16);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`SendError::TooLong`] if a `T` is longer than [`LaneInfo::payload_max`](crate::info::LaneInfo::payload_max)
    /// - [`SendError::TimedOut`] if the ring stayed full; it names the consumer that holds the lane back
    /// - [`SendError::TooSlow`] if a consumer has kept the ring full for longer than the lane's
    ///   [`SlowConsumer`](crate::options::SlowConsumer) allows
    /// - [`SendError::TooFewConsumers`] if the lane has fewer consumers than its
    ///   [`NoConsumer`](crate::options::NoConsumer) requires
    /// - [`SendError::Interrupted`] if an [`Interrupter`](crate::Interrupter) ended the wait
    /// - [`SendError::Forked`] in a forked child
    pub fn send_deadline(&mut self, value: &T, deadline: Instant) -> Result<(), SendError> {
        self.batch.send_deadline(bytemuck::bytes_of(value), deadline)
    }

    /// Adds several values, or none, as one record. Waits for room.
    ///
    /// ```
    /// # use fdring::typed::TypedProducer;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut prices = TypedProducer::<f64>::create("prices")?;
    /// let mut batch = prices.batch()?;
    /// batch.send_slice(&[1.5, 2.5])?;
    /// batch.commit();
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`SendError::TooLong`] if the values are longer than
    ///   [`LaneInfo::payload_max`](crate::info::LaneInfo::payload_max) together
    /// - [`SendError::TooSlow`] if a consumer has kept the ring full for longer than the lane's
    ///   [`SlowConsumer`](crate::options::SlowConsumer) allows
    /// - [`SendError::TooFewConsumers`] if the lane has fewer consumers than
    ///   [`NoConsumer::FailBelow`](crate::options::NoConsumer::FailBelow) requires
    /// - [`SendError::Interrupted`] if an [`Interrupter`](crate::Interrupter) ended the wait
    /// - [`SendError::Forked`] in a forked child
    #[inline]
    pub fn send_slice(&mut self, values: &[T]) -> Result<(), SendError> {
        self.batch.send(bytemuck::cast_slice(values))
    }

    /// Like [`send_slice`](Self::send_slice), but never waits.
    ///
    /// ```
    /// # use fdring::typed::TypedProducer;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut prices = TypedProducer::<f64>::create("prices")?;
    /// let mut batch = prices.batch()?;
    /// batch.try_send_slice(&[1.5, 2.5])?;
    /// assert_eq!(batch.commit(), 24);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`SendError::TooLong`] if the values are longer than
    ///   [`LaneInfo::payload_max`](crate::info::LaneInfo::payload_max) together
    /// - [`SendError::Full`] if the ring is full; it names the consumer that holds the lane back
    /// - [`SendError::TooSlow`] if a consumer has kept the ring full for longer than the lane's
    ///   [`SlowConsumer`](crate::options::SlowConsumer) allows
    /// - [`SendError::TooFewConsumers`] if the lane has fewer consumers than its
    ///   [`NoConsumer`](crate::options::NoConsumer) requires
    /// - [`SendError::Forked`] in a forked child
    pub fn try_send_slice(&mut self, values: &[T]) -> Result<(), SendError> {
        self.batch.try_send(bytemuck::cast_slice(values))
    }

    /// Like [`send_slice`](Self::send_slice), but waits at most `timeout` for room.
    ///
    /// ```
    /// # use fdring::typed::TypedProducer;
    /// # use std::time::Duration;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut prices = TypedProducer::<f64>::create("prices")?;
    /// let mut batch = prices.batch()?;
    /// batch.send_slice_timeout(&[1.5, 2.5], Duration::from_millis(10))?;
    /// assert_eq!(batch.commit(), 24);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`SendError::TooLong`] if the values are longer than
    ///   [`LaneInfo::payload_max`](crate::info::LaneInfo::payload_max) together
    /// - [`SendError::TimedOut`] if the ring stayed full; it names the consumer that holds the lane back
    /// - [`SendError::TooSlow`] if a consumer has kept the ring full for longer than the lane's
    ///   [`SlowConsumer`](crate::options::SlowConsumer) allows
    /// - [`SendError::TooFewConsumers`] if the lane has fewer consumers than its
    ///   [`NoConsumer`](crate::options::NoConsumer) requires
    /// - [`SendError::Interrupted`] if an [`Interrupter`](crate::Interrupter) ended the wait
    /// - [`SendError::Forked`] in a forked child
    pub fn send_slice_timeout(&mut self, values: &[T], timeout: Duration) -> Result<(), SendError> {
        self.batch.send_timeout(bytemuck::cast_slice(values), timeout)
    }

    /// Like [`send_slice`](Self::send_slice), but waits for room only until `deadline`, which several calls can share.
    ///
    /// ```
    /// # use fdring::typed::TypedProducer;
    /// # use std::time::{Duration, Instant};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut prices = TypedProducer::<f64>::create("prices")?;
    /// let mut batch = prices.batch()?;
    /// batch.send_slice_deadline(&[1.5, 2.5], Instant::now() + Duration::from_millis(10))?;
    /// assert_eq!(batch.commit(), 24);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`SendError::TooLong`] if the values are longer than
    ///   [`LaneInfo::payload_max`](crate::info::LaneInfo::payload_max) together
    /// - [`SendError::TimedOut`] if the ring stayed full; it names the consumer that holds the lane back
    /// - [`SendError::TooSlow`] if a consumer has kept the ring full for longer than the lane's
    ///   [`SlowConsumer`](crate::options::SlowConsumer) allows
    /// - [`SendError::TooFewConsumers`] if the lane has fewer consumers than its
    ///   [`NoConsumer`](crate::options::NoConsumer) requires
    /// - [`SendError::Interrupted`] if an [`Interrupter`](crate::Interrupter) ended the wait
    /// - [`SendError::Forked`] in a forked child
    pub fn send_slice_deadline(&mut self, values: &[T], deadline: Instant) -> Result<(), SendError> {
        self.batch.send_deadline(bytemuck::cast_slice(values), deadline)
    }

    /// Publishes the batch. Returns the position after its last record.
    ///
    /// ```
    /// # use fdring::typed::TypedProducer;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut prices = TypedProducer::<f64>::create("prices")?;
    /// let mut batch = prices.batch()?;
    /// batch.send(&1.5)?;
    /// assert_eq!(batch.commit(), 16);
    /// # Ok(())
    /// # }
    /// ```
    #[inline]
    pub fn commit(self) -> u64 {
        self.batch.commit()
    }
}
