//! Where a consumer stands: how far behind, since when nothing has come, and whether its producer lives.
//!
//! The invariant: nothing here changes what the consumer has read, released or announced.

use super::Consumer;
use crate::link::Pulse;
use crate::ring::LaneWords;
use crate::sync::Ordering;
use std::time::Instant;

impl Consumer {
    /// Whether the session goes on, to be asked from any thread.
    pub(crate) fn pulse(&self) -> Pulse {
        self.waiter.link().pulse()
    }

    /// The process id and the user of the producer, as far as they are known.
    pub(crate) fn peer(&self) -> (Option<u32>, Option<u32>) {
        self.waiter.link().producer()
    }

    /// The published bytes that this consumer has not read, headers and padding included. At most the capacity. 0 in a
    /// forked child.
    ///
    /// ```
    /// # use fdring::{Consumer, Producer, Server};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut ticks = Producer::create("ticks")?;
    /// # let server = Server::listen("@doc-behind-bytes", [&ticks])?;
    /// # let mut consumer = Consumer::connect("@doc-behind-bytes")?;
    /// ticks.send(b"hello")?;
    /// assert_eq!(consumer.behind_bytes(), 16);
    /// consumer.receive()?;
    /// assert_eq!(consumer.behind_bytes(), 0);
    /// # Ok(())
    /// # }
    /// ```
    #[doc(alias("lag"))]
    pub fn behind_bytes(&self) -> u64 {
        if self.guard.is_child() {
            return 0;
        }
        // Relaxed: a number, by which no record is read. A hostile producer may have it say anything.
        let published = self.reader.lane().published().load(Ordering::Relaxed);
        published.saturating_sub(self.position()).min(self.info.capacity)
    }

    /// The time at which a call first found nothing to receive after the last record. `None` if no call has found
    /// nothing since, or if there is something to receive now.
    ///
    /// ```
    /// # use fdring::{Consumer, Producer, Server};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut ticks = Producer::create("ticks")?;
    /// # let server = Server::listen("@doc-idle-since", [&ticks])?;
    /// # let mut consumer = Consumer::connect("@doc-idle-since")?;
    /// use std::time::Duration;
    ///
    /// while consumer.receive_timeout(Duration::from_millis(5)).is_err() {
    ///     let idle = consumer.idle_since().unwrap().elapsed();
    ///     if idle > Duration::from_millis(20) {
    ///         println!("nothing for {idle:?}");
    /// #       assert!(idle < Duration::from_secs(60));
    ///         break;
    ///     }
    /// }
    /// ticks.send(b"hello")?;
    /// assert!(consumer.idle_since().is_none());
    /// # Ok(())
    /// # }
    /// ```
    pub fn idle_since(&self) -> Option<Instant> {
        let (position, since) = self.idle?;
        (position == self.position() && self.behind_bytes() == 0).then_some(since)
    }

    /// Whether the producer's process lives. `false` once it has ended, also while records that it published are left
    /// to receive, and after its lane was finished.
    ///
    /// Asks the kernel each time. Of a process in another pid namespace, for which the kernel gave no descriptor, only
    /// a call that returned [`ReceiveError::PeerDead`](crate::errors::ReceiveError::PeerDead) knows.
    ///
    /// ```
    /// # use fdring::{Consumer, Producer, Server};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let ticks = Producer::create("ticks")?;
    /// # let server = Server::listen("@doc-producer-is-alive", [&ticks])?;
    /// let consumer = Consumer::connect("@doc-producer-is-alive")?;
    /// assert!(consumer.producer_is_alive());
    /// # Ok(())
    /// # }
    /// ```
    pub fn producer_is_alive(&self) -> bool {
        self.waiter.link().producer_is_alive()
    }

    /// A call has found nothing.
    #[inline]
    pub(super) fn note_idle(&mut self) {
        let position = self.reader.position();
        if self.idle.is_none_or(|(idle_at, _)| idle_at != position) {
            self.idle = Some((position, Instant::now()));
        }
    }
}
