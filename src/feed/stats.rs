//! What a feed has counted: records, lanes that came and went, and tries to connect that failed.
//!
//! The invariant: a look at the statistics changes nothing, and nothing is counted for each record but what its
//! consumer counts.

use super::connector::Failures;
use super::{Feed, OpenLane, Phase};
use crate::consumer::ReceiveError;
use crate::session::Address;
use crate::trace::event;

/// The statistics of a [`Feed`] since it was made, over all its lanes.
///
/// ```
/// # use fdring::{Producer, Server, feed::{Feed, FeedEvent, FeedOptions}};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let mut ticks = Producer::create("ticks")?;
/// # let server = Server::listen("@doc-feed-stats-struct", [&ticks])?;
/// let mut feed = FeedOptions::new().ends_with_lane(true).connect("@doc-feed-stats-struct")?;
/// # feed.receive()?;
/// # ticks.send(b"hello")?;
/// # ticks.finish();
/// while let Some(event) = feed.receive()? {
///     println!("{event:?}");
/// }
/// let stats = feed.stats();
/// assert_eq!((stats.joined, stats.finished, stats.lost), (1, 1, 0));
/// assert_eq!((stats.records, stats.record_bytes, stats.missed_bytes), (1, 16, 0));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct FeedStats {
    /// The records received.
    pub records: u64,
    /// The bytes that these records take in the ring: headers, payloads and alignment, without the padding at the end
    /// of the ring.
    pub record_bytes: u64,
    /// The bytes that were missed on lanes which the feed joined again: the sum of the `missed_bytes` of
    /// [`Joined`](super::FeedEvent::Joined).
    pub missed_bytes: u64,
    /// The bytes that records which are held keep from the producer of the present lane, see
    /// [`Consumer::held_bytes`](crate::Consumer::held_bytes).
    pub held_bytes: u64,
    /// How often a consumer of the feed went to sleep, or was armed, with nothing to receive. Waits for a connection do
    /// not count.
    pub times_slept: u64,
    /// How often a lane was joined: the number of events [`Joined`](super::FeedEvent::Joined).
    pub joined: u64,
    /// How often a lane was read to its end: the number of events [`Finished`](super::FeedEvent::Finished).
    pub finished: u64,
    /// How often a lane was lost: the number of events [`Lost`](super::FeedEvent::Lost), and one for a producer that
    /// [broke the protocol](super::FeedError::Corrupt).
    pub lost: u64,
    /// How many tries to join a lane have failed. Those that an [`Interrupter`](crate::Interrupter) ended do not count.
    pub failed_tries: u64,
    /// The reason why the last of them failed, as a sentence: why a feed that waits is still waiting.
    pub last_failure: Option<String>,
}

impl FeedStats {
    /// Adds what was counted on a lane.
    pub(super) fn add(&mut self, reading: &OpenLane) {
        let stats = reading.consumer.stats();
        let (passed_records, passed_bytes) = reading.passed;
        self.records += stats.records - passed_records;
        self.record_bytes += stats.record_bytes - passed_bytes;
        self.times_slept += stats.times_slept;
    }

    /// Counts a lane that is lost.
    pub(super) fn lose(&mut self, _address: &Address, _why: &ReceiveError, _position: u64) {
        self.lost += 1;
        event!(WARN, "feed lost a lane", address = %_address, position = _position, why = %_why);
    }
}

impl Feed {
    /// The statistics so far; all zero in a forked child.
    ///
    /// ```
    /// # use fdring::feed::Feed;
    /// # use std::time::Duration;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let mut feed = Feed::connect("@doc-feed-stats")?; // nobody listens there
    /// while feed.stats().failed_tries == 0 {
    ///     assert!(feed.receive_timeout(Duration::from_millis(1)).is_err());
    /// }
    /// println!("still waiting: {}", feed.stats().last_failure.unwrap());
    /// # Ok(())
    /// # }
    /// ```
    pub fn stats(&self) -> FeedStats {
        if self.guard.is_child() {
            // The locks may have been held when the process forked.
            return FeedStats::default();
        }
        let mut stats = self.totals.clone();
        if let Phase::Reading(reading) = &self.phase {
            stats.add(reading);
            stats.held_bytes = reading.consumer.held_bytes();
        }
        let Failures { count, last } = self.reports.failures.lock().clone();
        FeedStats { failed_tries: count, last_failure: last, ..stats }
    }
}
