//! What a producer has counted: records, bells, waits for room, and the consumers that have come and gone.
//!
//! The invariant: a look at the statistics changes nothing, and what is counted costs nothing for each record but what
//! the ring's protocol counts anyway.

use super::Producer;
use crate::ring::LaneCounters;
use crate::ring::turnover::Turnover;
use std::time::Duration;

/// The statistics of a [`Producer`] since its lane was created.
///
/// ```
/// # use fdring::{Consumer, Producer, Server};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut ticks = Producer::create("ticks")?;
/// let server = Server::listen("@doc-producer-stats-struct", [&ticks])?;
/// let consumer = Consumer::connect("@doc-producer-stats-struct")?;
/// ticks.send(b"hello")?;
///
/// let stats = ticks.stats();
/// assert_eq!((stats.records, stats.record_bytes), (1, 16));
/// assert_eq!((stats.consumers_joined, stats.consumers_died), (1, 0));
/// println!("{} waits for room took {:?}", stats.times_blocked, stats.blocked_for);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProducerStats {
    /// The records committed. Those of a batch that was dropped count until the next call that sends.
    pub records: u64,
    /// The bytes that these records take in the ring: headers, payloads and alignment, without the padding at the end
    /// of the ring.
    pub record_bytes: u64,
    /// How often a consumer or a tap that slept was woken, or could not be.
    pub bells_rung: u64,
    /// How often a call that waits found the ring full.
    pub times_blocked: u64,
    /// How often such a call slept, after it had spun in vain. A call that sleeps three times counts three.
    pub times_slept: u64,
    /// The total time that such calls waited for room, spinning or asleep. Calls that gave up count too.
    pub blocked_for: Duration,
    /// The consumers that have joined so far. A successor that resumes counts again.
    pub consumers_joined: u64,
    /// Those that have left, as a consumer does that is dropped.
    pub consumers_left: u64,
    /// Those that have gone without leaving: their process died, or hung up.
    pub consumers_died: u64,
    /// Those that were evicted.
    pub consumers_evicted: u64,
    /// The taps that have joined so far.
    pub taps_joined: u64,
}

/// What is counted of the waits for room.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Blocked {
    pub(super) times_slept: u64,
    pub(super) time: Duration,
}

impl Producer {
    /// The statistics so far; all zero in a forked child.
    ///
    /// [`consumers`](Self::consumers) and [`tap_count`](Self::tap_count) say who reads the lane now.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut ticks = fdring::Producer::create("ticks")?;
    /// let before = ticks.stats();
    /// ticks.send(b"hello")?;
    /// ticks.send(b"world")?;
    /// assert_eq!(ticks.stats().records - before.records, 2);
    /// # Ok(())
    /// # }
    /// ```
    pub fn stats(&self) -> ProducerStats {
        if self.guard.is_child() {
            // The lock may have been held when the process forked.
            return ProducerStats::default();
        }
        let LaneCounters { records, record_bytes, bells_rung, times_blocked } = self.publisher.writer.counters();
        let Turnover { joined, left, died, evicted, taps_joined } = self.lane.roster.turnover();
        ProducerStats {
            records,
            record_bytes,
            bells_rung,
            times_blocked,
            times_slept: self.blocked.times_slept,
            blocked_for: self.blocked.time,
            consumers_joined: joined,
            consumers_left: left,
            consumers_died: died,
            consumers_evicted: evicted,
            taps_joined,
        }
    }
}
