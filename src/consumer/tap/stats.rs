//! What a tap has counted: records, what it missed, and how often it slept.
//!
//! The invariant: a look at the statistics changes nothing.

use super::Tap;
use crate::ring::SeatCounters;

/// The statistics of a [`Tap`] since it attached.
///
/// ```
/// # use fdring::{Attach, Producer, Server, Session, options::Start};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let mut ticks = Producer::create("ticks")?;
/// # let server = Server::listen("@doc-tap-stats-struct", [&ticks])?;
/// # let mut tap = Session::connect("@doc-tap-stats-struct")?.tap_one(Attach::new())?;
/// ticks.send(b"passed over")?;
/// ticks.send(b"the newest")?;
/// tap.receive_newest()?;
///
/// let stats = tap.stats();
/// assert_eq!((stats.records, stats.record_bytes, stats.missed_bytes), (1, 24, 24));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TapStats {
    /// The records received.
    pub records: u64,
    /// The bytes that these records take in the ring: headers, payloads and alignment, without the padding at the end
    /// of the ring.
    pub record_bytes: u64,
    /// The bytes that were missed or skipped, headers and padding included: [`missed_bytes`](Tap::missed_bytes).
    pub missed_bytes: u64,
    /// How often it went to sleep, or was [armed](Tap::arm) for a loop of the caller's, with nothing to receive.
    pub times_slept: u64,
}

impl Tap {
    /// The statistics so far; all zero in a forked child.
    ///
    /// ```
    /// # use fdring::{Producer, Server, Tap};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut ticks = Producer::create("ticks")?;
    /// # let server = Server::listen("@doc-tap-stats", [&ticks])?;
    /// # let mut tap = Tap::connect("@doc-tap-stats")?;
    /// let before = tap.stats();
    /// ticks.send(b"hello")?;
    /// tap.receive()?;
    /// assert_eq!(tap.stats().records - before.records, 1);
    /// # Ok(())
    /// # }
    /// ```
    pub fn stats(&self) -> TapStats {
        if self.guard.is_child() {
            return TapStats::default();
        }
        let SeatCounters { records, record_bytes, missed_bytes } = self.reader.counters();
        TapStats { records, record_bytes, missed_bytes, times_slept: self.waiter.times_slept() }
    }
}
