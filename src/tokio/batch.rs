//! Batches in tasks.
//!
//! The invariant: a future that is dropped before its end has added nothing to its batch, and taken nothing from it.

use super::Async;
use crate::producer::{Batch, Producer, Reservation, SendError};
use crate::ring::writer::Room;
use std::future::poll_fn;

/// Records that are published together, of a producer in a task: [`Batch`], whose waits are for the task alone.
/// [`commit`](Self::commit) publishes them; dropping the batch discards them.
///
/// A batch that is longer than the ring is published in parts whenever the ring fills. Published parts stay, even if
/// the batch is then dropped. [`Async::batch`] makes one.
///
/// ```
/// # use fdring::{Consumer, Server, options::LaneOptions, tokio::Async};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
/// let words = LaneOptions::new("words").space_bell(true).create()?;
/// # let server = Server::listen("@doc-tokio-async-batch", [&words])?;
/// # let mut consumer = Consumer::connect("@doc-tokio-async-batch")?;
/// let mut words = Async::new(words)?;
/// let mut batch = words.batch()?;
/// batch.send(b"one").await?;
/// batch.send(b"two").await?;
/// batch.commit();
/// assert_eq!(consumer.try_receive_many(|_| ())?, 2);
/// # Ok(()) })
/// # }
/// ```
#[derive(Debug)]
#[must_use = "a batch that is not committed is discarded"]
pub struct AsyncBatch<'a> {
    producer: &'a mut Async<Producer>,
    /// Runs ahead of the producer's own room until the batch is committed, or the ring is full.
    room: Room,
}

impl Async<Producer> {
    /// Begins a batch of records that are published together, like [`Producer::batch`].
    ///
    /// ```
    /// # use fdring::{options::LaneOptions, tokio::Async};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
    /// # let mut words = Async::new(LaneOptions::new("words").space_bell(true).create()?)?;
    /// let mut batch = words.batch()?;
    /// for word in ["one", "two", "six"] {
    ///     batch.send(word.as_bytes()).await?;
    /// }
    /// assert_eq!(batch.commit(), 3 * 16);
    /// # Ok(()) })
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`SendError::Forked`] in a forked child.
    pub fn batch(&mut self) -> Result<AsyncBatch<'_>, SendError> {
        let room = self.get_mut().batch()?.into_room();
        Ok(AsyncBatch { producer: self, room })
    }
}

impl AsyncBatch<'_> {
    /// Copies `payload` into the batch's next record, like [`Batch::send`]. Waits while the ring is full, and publishes
    /// the records of the batch so far before it does. A future that is dropped before its end has added nothing.
    ///
    /// ```
    /// # use fdring::{Consumer, Server, options::LaneOptions, tokio::Async};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
    /// # let blocks = LaneOptions::new("blocks").capacity(4096).space_bell(true).create()?;
    /// # let server = Server::listen("@doc-tokio-batch-send", [&blocks])?;
    /// # let mut consumer = Async::new(Consumer::connect("@doc-tokio-batch-send")?)?;
    /// # let mut blocks = Async::new(blocks)?;
    /// # let reader = tokio::spawn(async move { while let Ok(Some(_)) = consumer.receive().await {} });
    /// let mut batch = blocks.batch()?;
    /// for _ in 0..100 {
    ///     batch.send(&[0; 1000]).await?; // more than the ring holds
    /// }
    /// batch.commit();
    /// # drop(blocks);
    /// # reader.await?;
    /// # Ok(()) })
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`SendError::TooLong`] if `payload` is longer than
    ///   [`LaneInfo::payload_max`](crate::info::LaneInfo::payload_max)
    /// - [`SendError::TooSlow`] if a consumer has kept the ring full for longer than the lane's
    ///   [`SlowConsumer`](crate::options::SlowConsumer) allows
    /// - [`SendError::TooFewConsumers`] if the lane has fewer consumers than
    ///   [`NoConsumer::FailBelow`](crate::options::NoConsumer::FailBelow) requires
    /// - [`SendError::Interrupted`] if an [`Interrupter`](crate::Interrupter) ended the wait
    /// - [`SendError::Wait`] if a consumer's bell cannot be watched, or the runtime has been shut down
    /// - [`SendError::Forked`] in a forked child
    pub async fn send(&mut self, payload: &[u8]) -> Result<(), SendError> {
        self.send_tagged(payload, 0).await
    }

    /// Like [`send`](Self::send), with a tag, as [`Batch::send_tagged`].
    ///
    /// ```
    /// # use fdring::{options::LaneOptions, tokio::Async};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
    /// # let mut words = Async::new(LaneOptions::new("words").space_bell(true).create()?)?;
    /// let mut batch = words.batch()?;
    /// batch.send_tagged(b"one", 1).await?;
    /// assert_eq!(batch.commit(), 16);
    /// # Ok(()) })
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`SendError::TooLong`] if `payload` is longer than
    ///   [`LaneInfo::payload_max`](crate::info::LaneInfo::payload_max)
    /// - [`SendError::TooSlow`] if a consumer has kept the ring full for longer than the lane's
    ///   [`SlowConsumer`](crate::options::SlowConsumer) allows
    /// - [`SendError::TooFewConsumers`] if the lane has fewer consumers than
    ///   [`NoConsumer::FailBelow`](crate::options::NoConsumer::FailBelow) requires
    /// - [`SendError::Interrupted`] if an [`Interrupter`](crate::Interrupter) ended the wait
    /// - [`SendError::Wait`] if a consumer's bell cannot be watched, or the runtime has been shut down
    /// - [`SendError::Forked`] in a forked child
    pub async fn send_tagged(&mut self, payload: &[u8], tag: u16) -> Result<(), SendError> {
        let Self { producer, room } = self;
        let mut attempt = |producer: &mut Producer| {
            let mut slot = Batch::try_reserve_in(producer, room, payload.len())?;
            slot.copy_from_slice(payload);
            slot.set_tag(tag);
            slot.commit();
            Ok(())
        };
        poll_fn(|cx| producer.poll_sent(cx, &mut attempt)).await
    }

    /// Reserves the batch's next record, of `len` payload bytes, in the ring itself, like [`Batch::reserve`]. Waits
    /// while the ring is full, and publishes the records of the batch so far before it does.
    ///
    /// ```
    /// # use fdring::{options::LaneOptions, tokio::Async};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
    /// # let mut squares = Async::new(LaneOptions::new("squares").space_bell(true).create()?)?;
    /// let mut batch = squares.batch()?;
    /// for n in 1..=3_u64 {
    ///     let mut slot = batch.reserve(8).await?;
    ///     slot.copy_from_slice(&(n * n).to_le_bytes());
    ///     slot.commit();
    /// }
    /// assert_eq!(batch.commit(), 3 * 16);
    /// # Ok(()) })
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`SendError::TooLong`] if `len` is more than [`LaneInfo::payload_max`](crate::info::LaneInfo::payload_max)
    /// - [`SendError::TooSlow`] if a consumer has kept the ring full for longer than the lane's
    ///   [`SlowConsumer`](crate::options::SlowConsumer) allows
    /// - [`SendError::TooFewConsumers`] if the lane has fewer consumers than
    ///   [`NoConsumer::FailBelow`](crate::options::NoConsumer::FailBelow) requires
    /// - [`SendError::Interrupted`] if an [`Interrupter`](crate::Interrupter) ended the wait
    /// - [`SendError::Wait`] if a consumer's bell cannot be watched, or the runtime has been shut down
    /// - [`SendError::Forked`] in a forked child
    pub async fn reserve(&mut self, len: usize) -> Result<Reservation<'_>, SendError> {
        let Self { producer, room } = self;
        // Nobody else takes the room that was found: the second call finds it again.
        let mut attempt = |producer: &mut Producer| Batch::try_reserve_in(producer, room, len).map(drop);
        poll_fn(|cx| producer.poll_sent(cx, &mut attempt)).await?;
        Batch::try_reserve_in(producer.get_mut(), room, len)
    }

    /// Publishes the records of the batch, like [`Batch::commit`]. Returns the position after the last of them.
    ///
    /// ```
    /// # use fdring::{options::LaneOptions, tokio::Async};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
    /// # let mut words = Async::new(LaneOptions::new("words").space_bell(true).create()?)?;
    /// let mut batch = words.batch()?;
    /// batch.send(b"hello").await?;
    /// let end = batch.commit();
    /// assert_eq!((end, words.get_ref().published()), (16, 16));
    /// # Ok(()) })
    /// # }
    /// ```
    pub fn commit(self) -> u64 {
        Batch::with_room(self.producer.get_mut(), self.room).commit()
    }
}
