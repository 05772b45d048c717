//! What a consumer has counted: records, and how often it slept.
//!
//! The invariant: a look at the statistics changes nothing.

use super::Consumer;
use crate::ring::SeatCounters;

/// The statistics of a [`Consumer`] since it attached.
///
/// ```
/// # use fdring::{Consumer, Producer, Server};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let mut ticks = Producer::create("ticks")?;
/// # let server = Server::listen("@doc-consumer-stats-struct", [&ticks])?;
/// let mut consumer = Consumer::connect("@doc-consumer-stats-struct")?;
/// # ticks.send(b"hello")?;
/// # ticks.finish();
/// while let Some(record) = consumer.receive()? {
///     assert_eq!(&record[..], b"hello");
/// }
/// let stats = consumer.stats();
/// assert_eq!((stats.records, stats.record_bytes, stats.missed_bytes), (1, 16, 0));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConsumerStats {
    /// The records received. If the function of a [`receive_many`](Consumer::receive_many) panics, up to eight of its
    /// records are left out.
    pub records: u64,
    /// The bytes that these records take in the ring: headers, payloads and alignment, without the padding at the end
    /// of the ring.
    pub record_bytes: u64,
    /// The published bytes that an evicted consumer has lost, headers and padding included, up to the time at which it
    /// found out that it was evicted.
    pub missed_bytes: u64,
    /// The bytes that held records keep from the producer now, see [`held_bytes`](Consumer::held_bytes).
    pub held_bytes: u64,
    /// How often it went to sleep, or was [armed](Consumer::arm) for a loop of the caller's, with nothing to receive.
    pub times_slept: u64,
}

impl Consumer {
    /// The statistics so far; all zero in a forked child.
    ///
    /// ```
    /// # use fdring::{Consumer, Producer, Server};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut ticks = Producer::create("ticks")?;
    /// # let server = Server::listen("@doc-consumer-stats", [&ticks])?;
    /// # let mut consumer = Consumer::connect("@doc-consumer-stats")?;
    /// let before = consumer.stats();
    /// ticks.send(b"hello")?;
    /// consumer.receive()?;
    /// assert_eq!(consumer.stats().records - before.records, 1);
    /// # Ok(())
    /// # }
    /// ```
    pub fn stats(&self) -> ConsumerStats {
        if self.guard.is_child() {
            // The lock may have been held when the process forked.
            return ConsumerStats::default();
        }
        let SeatCounters { records, record_bytes, missed_bytes } = self.reader.counters();
        let (held_bytes, times_slept) = (self.reader.held_bytes(), self.waiter.times_slept());
        ConsumerStats { records, record_bytes, missed_bytes, held_bytes, times_slept }
    }
}
