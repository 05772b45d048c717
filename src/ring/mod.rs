//! The protocols of a lane: publishing, reading, releasing, sleeping, and who gates whom.
//!
//! They are written against the traits here, so that they run unchanged over a mapping ([`memory`](crate::memory)) and
//! inside a model checker (`tests/loom`, which compiles this folder). The invariant of all that implements the traits:
//! whatever position or length a peer invents, no access leaves the memory.
//!
//! | file | what it holds |
//! | --- | --- |
//! | [`writer`] | claim room, fill it, publish |
//! | [`cursor`] | from record to record, as far as the view goes |
//! | [`reader`] | the cursor's view: see what is published, check it, see the end |
//! | [`tap`] | the same for a lossy reader, which never holds the producer back |
//! | [`release`] | tell the producer which bytes may be overwritten |
//! | [`stamp`] | the time of a record's commit, as readers get it |
//! | [`stop`] | why a reader stops for good |
//! | [`sleep`] | sleeping for data: the consumer's half |
//! | [`sleepers`] | the producer's half: whom a publication wakes |
//! | [`budget`] | how often a lossy seat is rung |
//! | [`seat`] | one consumer's seat, as its producer looks at it |
//! | [`roster`] | the seats of a lane: who gates it, who sleeps |
//! | [`turnover`] | how many of them have come, and how they went |
//! | [`places`] | the places of those who have gone, kept for who resumes |
//! | [`publisher`] | a producer's steps between its writer and its roster; what it sleeps for |

pub(crate) mod budget;
pub(crate) mod cursor;
pub(crate) mod places;
pub(crate) mod publisher;
pub(crate) mod reader;
pub(crate) mod release;
pub(crate) mod roster;
pub(crate) mod seat;
pub(crate) mod sleep;
pub(crate) mod sleepers;
pub(crate) mod stamp;
pub(crate) mod stop;
pub(crate) mod tap;
pub(crate) mod turnover;
pub(crate) mod writer;

use crate::layout::Geometry;
use crate::sync::{AtomicU32, AtomicU64};
use cursor::Found;

/// The words of a ring.
pub(crate) trait RingWords {
    /// The most descriptors that a record has; 0 if none has any.
    fn record_fds_max(&self) -> u8 {
        0
    }
    /// The header word of the record that begins at `position`, any position.
    fn header_word(&self, position: u64) -> u64;
    /// Copies `copy.len()` words from `position` on. Bytes that another process changes meanwhile are copied as they
    /// come, and nothing is assumed of them.
    ///
    /// # Panics
    ///
    /// If the words would cross the end of the ring, or `position` is not a multiple of 8.
    fn copy_out(&self, position: u64, copy: &mut [u64]);
}

/// A reader that copies payloads out.
pub(crate) trait Copying {
    /// Copies the payload of a record that was [`Found`] from `ring` to `copy`, in whole words; whether it stayed
    /// intact meanwhile.
    fn copy_intact(&self, ring: &impl RingWords, found: Found, copy: &mut [u64]) -> bool;
}

/// The words of a control region, and those of the ring.
pub(crate) trait LaneWords: RingWords {
    fn geometry(&self) -> Geometry;
    fn published(&self) -> &AtomicU64;
    fn last(&self) -> &AtomicU64;
    fn intent(&self) -> &AtomicU64;
    fn space_wait(&self) -> &AtomicU32;
    fn state(&self) -> &AtomicU32;
    fn evictions(&self) -> &AtomicU32;
}

/// The right to write the ring: exactly one exists for each lane.
pub(crate) trait LaneWriter {
    type Lane: LaneWords;
    fn lane(&self) -> &Self::Lane;
    fn set_header_word(&mut self, position: u64, word: u64);
    fn store_counters(&mut self, counters: LaneCounters);
    /// Keeps stores that go past the cache, from here on, after all stores before: nothing else orders them. Memory
    /// that has none need do nothing.
    fn order_streams(&self) {}
}

/// What a producer counts, for tools: privately, and stored now and then.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct LaneCounters {
    /// Records that were committed.
    pub(crate) records: u64,
    /// What they take in the ring, headers and what aligns them included.
    pub(crate) record_bytes: u64,
    pub(crate) bells_rung: u64,
    /// How often the ring was full for one who waits.
    pub(crate) times_blocked: u64,
}

/// The words of one lane in a consumer's seat.
pub(crate) trait SeatWords {
    fn consumed(&self) -> &AtomicU64;
    fn space_seq(&self) -> &AtomicU32;
    fn read(&self) -> &AtomicU64;
    fn wait_epoch(&self) -> &AtomicU32;
}

/// The consumer's end of its seat.
pub(crate) trait SeatWriter: SeatWords {
    fn store_counters(&self, counters: SeatCounters);
    /// Rings the space bell, if this seat has one. Never waits.
    fn ring_for_space(&self) {}
}

/// What a consumer counts, for tools: privately, and stored with each release.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct SeatCounters {
    /// Records that were read.
    pub(crate) records: u64,
    /// What they take in the ring, headers and what aligns them included.
    pub(crate) record_bytes: u64,
    /// What was published, headers and padding included, and is lost to a consumer that was evicted.
    pub(crate) missed_bytes: u64,
}
