//! Records with tags, sent one by one or in a batch, in each time form.
//!
//! What this file does not do: a reservation has [`Reservation::set_tag`].

use super::{Batch, Producer, Reservation, SendError};
use crate::deadline::Deadline;
#[cfg(doc)]
use crate::{Interrupter, info::LaneInfo, options::NoConsumer};
use std::time::{Duration, Instant};

impl Producer {
    /// Like [`send`](Self::send), with a tag: a 16-bit number of the application's choice, which consumers see as
    /// [`Record::tag`](crate::Record::tag).
    ///
    /// ```
    /// # use fdring::{Consumer, Producer, Server};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut orders = Producer::create("orders")?;
    /// # let server = Server::listen("@doc-send-tagged", [&orders])?;
    /// # let mut consumer = Consumer::connect("@doc-send-tagged")?;
    /// const CANCEL: u16 = 2;
    ///
    /// orders.send_tagged(b"order 17", CANCEL)?;
    /// assert_eq!(consumer.receive()?.unwrap().tag(), CANCEL);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`SendError::TooLong`] if `payload` is longer than [`LaneInfo::payload_max`]
    /// - [`SendError::TooSlow`] if a consumer has kept the ring full for longer than the lane's
    ///   [`SlowConsumer`](crate::options::SlowConsumer) allows
    /// - [`SendError::TooFewConsumers`] if the lane has fewer consumers than [`NoConsumer::FailBelow`] requires
    /// - [`SendError::Interrupted`] if an [`Interrupter`] ended the wait
    /// - [`SendError::Forked`] in a forked child
    #[inline]
    pub fn send_tagged(&mut self, payload: &[u8], tag: u16) -> Result<(), SendError> {
        self.send_until(payload, tag, Deadline::Never)
    }

    /// Like [`send_tagged`](Self::send_tagged), but never waits.
    ///
    /// ```
    /// # use fdring::{Consumer, Server, errors::SendError, options::LaneOptions};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut orders = LaneOptions::new("orders").capacity(4096).create()?;
    /// # let server = Server::listen("@doc-try-send-tagged", [&orders])?;
    /// # let consumer = Consumer::connect("@doc-try-send-tagged")?;
    /// const CANCEL: u16 = 2;
    ///
    /// while orders.try_send_tagged(b"order 17", CANCEL).is_ok() {}
    /// assert!(matches!(orders.try_send_tagged(b"order 18", CANCEL), Err(SendError::Full { .. })));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`SendError::TooLong`] if `payload` is longer than [`LaneInfo::payload_max`]
    /// - [`SendError::Full`] if the ring is full; it names the consumer that holds the lane back
    /// - [`SendError::TooSlow`] if a consumer has kept the ring full for longer than the lane's
    ///   [`SlowConsumer`](crate::options::SlowConsumer) allows
    /// - [`SendError::TooFewConsumers`] if the lane has fewer consumers than its [`NoConsumer`] requires
    /// - [`SendError::Forked`] in a forked child
    #[inline]
    pub fn try_send_tagged(&mut self, payload: &[u8], tag: u16) -> Result<(), SendError> {
        self.send_until(payload, tag, Deadline::Now)
    }

    /// Like [`send_tagged`](Self::send_tagged), but waits at most `timeout` for room.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut orders = fdring::Producer::create("orders")?;
    /// use std::time::Duration;
    ///
    /// const CANCEL: u16 = 2;
    ///
    /// orders.send_tagged_timeout(b"order 17", CANCEL, Duration::from_millis(10))?;
    /// assert_eq!(orders.published(), 16);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`SendError::TooLong`] if `payload` is longer than [`LaneInfo::payload_max`]
    /// - [`SendError::TimedOut`] if the ring stayed full; it names the consumer that holds the lane back
    /// - [`SendError::TooSlow`] if a consumer has kept the ring full for longer than the lane's
    ///   [`SlowConsumer`](crate::options::SlowConsumer) allows
    /// - [`SendError::TooFewConsumers`] if the lane has fewer consumers than its [`NoConsumer`] requires
    /// - [`SendError::Interrupted`] if an [`Interrupter`] ended the wait
    /// - [`SendError::Forked`] in a forked child
    pub fn send_tagged_timeout(&mut self, payload: &[u8], tag: u16, timeout: Duration) -> Result<(), SendError> {
        self.send_until(payload, tag, Deadline::after(timeout))
    }

    /// Like [`send_tagged`](Self::send_tagged), but waits for room only until `deadline`, which several calls can
    /// share.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut orders = fdring::Producer::create("orders")?;
    /// use std::time::{Duration, Instant};
    ///
    /// const CANCEL: u16 = 2;
    ///
    /// let deadline = Instant::now() + Duration::from_millis(10);
    /// for order in ["order 17", "order 18"] {
    ///     orders.send_tagged_deadline(order.as_bytes(), CANCEL, deadline)?;
    /// }
    /// assert_eq!(orders.published(), 2 * 16);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`SendError::TooLong`] if `payload` is longer than [`LaneInfo::payload_max`]
    /// - [`SendError::TimedOut`] if the ring stayed full; it names the consumer that holds the lane back
    /// - [`SendError::TooSlow`] if a consumer has kept the ring full for longer than the lane's
    ///   [`SlowConsumer`](crate::options::SlowConsumer) allows
    /// - [`SendError::TooFewConsumers`] if the lane has fewer consumers than its [`NoConsumer`] requires
    /// - [`SendError::Interrupted`] if an [`Interrupter`] ended the wait
    /// - [`SendError::Forked`] in a forked child
    pub fn send_tagged_deadline(&mut self, payload: &[u8], tag: u16, deadline: Instant) -> Result<(), SendError> {
        self.send_until(payload, tag, Deadline::At(deadline))
    }
}

impl Batch<'_> {
    /// Like [`send`](Self::send), with a tag: a 16-bit number of the application's choice, which consumers see as
    /// [`Record::tag`](crate::Record::tag).
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut lane = fdring::Producer::create("words")?;
    /// # let server = fdring::Server::listen("@doc-batch-send-tagged", [&lane])?;
    /// # let mut consumer = fdring::Consumer::connect("@doc-batch-send-tagged")?;
    /// let mut batch = lane.batch()?;
    /// for (word, line) in [("one", 1), ("two", 1), ("three", 2)] {
    ///     batch.send_tagged(word.as_bytes(), line)?;
    /// }
    /// batch.commit();
    ///
    /// let mut lines = Vec::new();
    /// consumer.receive_many(|record| lines.push(record.tag()))?;
    /// assert_eq!(lines, [1, 1, 2]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`SendError::TooLong`] if `payload` is longer than [`LaneInfo::payload_max`]
    /// - [`SendError::TooSlow`] if a consumer has kept the ring full for longer than the lane's
    ///   [`SlowConsumer`](crate::options::SlowConsumer) allows
    /// - [`SendError::TooFewConsumers`] if the lane has fewer consumers than [`NoConsumer::FailBelow`] requires
    /// - [`SendError::Interrupted`] if an [`Interrupter`] ended the wait
    /// - [`SendError::Forked`] in a forked child
    #[inline]
    pub fn send_tagged(&mut self, payload: &[u8], tag: u16) -> Result<(), SendError> {
        self.reserve(payload.len())?.tag_copy_and_commit(payload, tag);
        Ok(())
    }

    /// Like [`send_tagged`](Self::send_tagged), but never waits. If it finds the ring full, it publishes the
    /// records of the batch so far.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut lane = fdring::Producer::create("words")?;
    /// let mut batch = lane.batch()?;
    /// batch.try_send_tagged(b"one", 1)?;
    /// assert_eq!(batch.commit(), 16);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`SendError::TooLong`] if `payload` is longer than [`LaneInfo::payload_max`]
    /// - [`SendError::Full`] if the ring is full; it names the consumer that holds the lane back
    /// - [`SendError::TooSlow`] if a consumer has kept the ring full for longer than the lane's
    ///   [`SlowConsumer`](crate::options::SlowConsumer) allows
    /// - [`SendError::TooFewConsumers`] if the lane has fewer consumers than its [`NoConsumer`] requires
    /// - [`SendError::Forked`] in a forked child
    #[inline]
    pub fn try_send_tagged(&mut self, payload: &[u8], tag: u16) -> Result<(), SendError> {
        self.try_reserve(payload.len())?.tag_copy_and_commit(payload, tag);
        Ok(())
    }

    /// Like [`send_tagged`](Self::send_tagged), but waits at most `timeout` for room. If it finds the ring full, it
    /// publishes the records of the batch so far.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut lane = fdring::Producer::create("words")?;
    /// use std::time::Duration;
    ///
    /// let mut batch = lane.batch()?;
    /// batch.send_tagged_timeout(b"one", 1, Duration::from_secs(1))?;
    /// assert_eq!(batch.commit(), 16);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`SendError::TooLong`] if `payload` is longer than [`LaneInfo::payload_max`]
    /// - [`SendError::TimedOut`] if the ring stayed full; it names the consumer that holds the lane back
    /// - [`SendError::TooSlow`] if a consumer has kept the ring full for longer than the lane's
    ///   [`SlowConsumer`](crate::options::SlowConsumer) allows
    /// - [`SendError::TooFewConsumers`] if the lane has fewer consumers than its [`NoConsumer`] requires
    /// - [`SendError::Interrupted`] if an [`Interrupter`] ended the wait
    /// - [`SendError::Forked`] in a forked child
    pub fn send_tagged_timeout(&mut self, payload: &[u8], tag: u16, timeout: Duration) -> Result<(), SendError> {
        self.reserve_timeout(payload.len(), timeout)?.tag_copy_and_commit(payload, tag);
        Ok(())
    }

    /// Like [`send_tagged`](Self::send_tagged), but waits for room only until `deadline`, which the calls of a batch
    /// can share. If it finds the ring full, it publishes the records of the batch so far.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut lane = fdring::Producer::create("words")?;
    /// use std::time::{Duration, Instant};
    ///
    /// let deadline = Instant::now() + Duration::from_secs(1);
    /// let mut batch = lane.batch()?;
    /// for (word, line) in [("one", 1), ("two", 1), ("six", 2)] {
    ///     batch.send_tagged_deadline(word.as_bytes(), line, deadline)?;
    /// }
    /// assert_eq!(batch.commit(), 3 * 16);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`SendError::TooLong`] if `payload` is longer than [`LaneInfo::payload_max`]
    /// - [`SendError::TimedOut`] if the ring stayed full; it names the consumer that holds the lane back
    /// - [`SendError::TooSlow`] if a consumer has kept the ring full for longer than the lane's
    ///   [`SlowConsumer`](crate::options::SlowConsumer) allows
    /// - [`SendError::TooFewConsumers`] if the lane has fewer consumers than its [`NoConsumer`] requires
    /// - [`SendError::Interrupted`] if an [`Interrupter`] ended the wait
    /// - [`SendError::Forked`] in a forked child
    pub fn send_tagged_deadline(&mut self, payload: &[u8], tag: u16, deadline: Instant) -> Result<(), SendError> {
        self.reserve_deadline(payload.len(), deadline)?.tag_copy_and_commit(payload, tag);
        Ok(())
    }
}

impl Reservation<'_> {
    #[inline(always)]
    fn tag_copy_and_commit(mut self, payload: &[u8], tag: u16) {
        self.set_tag(tag);
        self.copy_and_commit(payload);
    }
}
