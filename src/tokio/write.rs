//! Producers in tasks: they wait for room, and for consumers that a lane wants.

use super::{Async, RUNTIME_GONE};
use crate::producer::{Producer, Reservation, SendError, Window};
use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll, ready};

/// A producer of a lane with a [space bell](crate::options::LaneOptions::space_bell): without one there is no
/// descriptor to watch, and [`Async::new`] fails.
///
/// What never waits is called on [`Async::get_mut`].
impl Async<Producer> {
    /// Copies `payload` into a record and publishes it, like [`Producer::send`]. Waits while the ring is full. A future
    /// that is dropped before its end has sent nothing.
    ///
    /// ```
    /// # use fdring::{Consumer, Server, options::LaneOptions, tokio::Async};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
    /// let ticks = LaneOptions::new("ticks").capacity(4096).space_bell(true).create()?;
    /// # let server = Server::listen("@doc-tokio-send", [&ticks])?;
    /// # let mut consumer = Async::new(Consumer::connect("@doc-tokio-send")?)?;
    /// let mut ticks = Async::new(ticks)?;
    /// # let reader = tokio::spawn(async move {
    /// #     while let Ok(Some(_)) = consumer.receive().await {}
    /// # });
    /// for _ in 0..100 {
    ///     ticks.send(&[0; 1000]).await?; // more than the ring holds
    /// }
    /// # drop(ticks);
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
        poll_fn(|cx| self.poll_sent(cx, |producer| producer.try_send(payload))).await
    }

    /// Reserves a record of `len` payload bytes in the ring itself, like [`Producer::reserve`]. Waits while the ring is
    /// full.
    ///
    /// ```
    /// # use fdring::{Consumer, Server, options::LaneOptions, tokio::Async};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
    /// # let ticks = LaneOptions::new("ticks").space_bell(true).create()?;
    /// # let mut ticks = Async::new(ticks)?;
    /// let mut slot = ticks.reserve(5).await?;
    /// slot.copy_from_slice(b"hello");
    /// slot.set_tag(7);
    /// assert_eq!(slot.commit(), 16);
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
        // Nobody else takes the room that was found: the second call finds it again.
        poll_fn(|cx| self.poll_sent(cx, |producer| producer.try_reserve(len).map(drop))).await?;
        self.get_mut().try_reserve(len)
    }

    /// Reserves a record for each of `lens`, the lengths of their payloads in bytes, as [`Producer::reserve_window`].
    /// Waits while the ring is full.
    ///
    /// ```
    /// # use fdring::{options::LaneOptions, tokio::Async};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
    /// # let mut tiles = Async::new(LaneOptions::new("tiles").space_bell(true).create()?)?;
    /// let mut window = tiles.reserve_window(&[1000, 500]).await?;
    /// window.slots().iter_mut().rev().for_each(|tile| tile.fill(7)); // in any order
    /// assert_eq!(window.commit(), (8 + 1000) + (8 + 500 + 4));
    /// # Ok(()) })
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`SendError::TooLong`] if one of `lens` is more than
    ///   [`LaneInfo::payload_max`](crate::info::LaneInfo::payload_max)
    /// - [`SendError::WindowTooLong`] if the records take more than half of the ring together
    /// - [`SendError::TooSlow`] if a consumer has kept the ring full for longer than the lane's
    ///   [`SlowConsumer`](crate::options::SlowConsumer) allows
    /// - [`SendError::TooFewConsumers`] if the lane has fewer consumers than
    ///   [`NoConsumer::FailBelow`](crate::options::NoConsumer::FailBelow) requires
    /// - [`SendError::Interrupted`] if an [`Interrupter`](crate::Interrupter) ended the wait
    /// - [`SendError::Wait`] if a consumer's bell cannot be watched, or the runtime has been shut down
    /// - [`SendError::Forked`] in a forked child
    pub async fn reserve_window(&mut self, lens: &[usize]) -> Result<Window<'_>, SendError> {
        // As in `reserve`.
        poll_fn(|cx| self.poll_sent(cx, |producer| producer.try_reserve_window(lens).map(drop))).await?;
        self.get_mut().try_reserve_window(lens)
    }

    /// The outcome of an attempt, as soon as it is not for lack of room, or of consumers that the lane waits for.
    pub(super) fn poll_sent<T>(
        &mut self,
        cx: &mut Context<'_>,
        mut attempt: impl FnMut(&mut Producer) -> Result<T, SendError>,
    ) -> Poll<Result<T, SendError>> {
        ready!(self.poll_run(cx));
        let mut attempt = |producer: &mut Producer| match attempt(producer) {
            Err(SendError::Full { .. }) => Poll::Pending,
            Err(SendError::TooFewConsumers { .. }) if producer.waits_for_consumers() => Poll::Pending,
            outcome => Poll::Ready(outcome),
        };
        let outcome = attempt(self.get_mut());
        if outcome.is_ready() {
            return outcome;
        }
        let waker = cx.waker().clone();
        self.poll_look(cx, gone, |producer| match producer.arm() {
            Ok(true) => Poll::Pending,
            Ok(false) => {
                let outcome = attempt(producer);
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

fn gone<T>(_: io::Error) -> Result<T, SendError> {
    Err(SendError::Wait(RUNTIME_GONE.raw_os_error()))
}
