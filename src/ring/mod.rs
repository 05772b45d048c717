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
//! | [`release`] | tell the producer which bytes may be overwritten |
//! | [`stop`] | why a reader stops for good |
//! | [`sleep`] | sleeping for data: the consumer's half |
//! | [`roster`] | the seats of a lane: who gates it, who sleeps |
//! | [`publisher`] | a producer's steps between its writer and its roster; whom it wakes, what it sleeps for |

pub(crate) mod cursor;
pub(crate) mod publisher;
pub(crate) mod reader;
pub(crate) mod release;
pub(crate) mod roster;
pub(crate) mod sleep;
pub(crate) mod stop;
pub(crate) mod writer;

use crate::layout::Geometry;
use crate::sync::{AtomicU32, AtomicU64};

/// The words of a ring.
pub(crate) trait RingWords {
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

/// The words of a control region, and those of the ring.
pub(crate) trait LaneWords: RingWords {
    fn geometry(&self) -> Geometry;
    fn published(&self) -> &AtomicU64;
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
    /// Adds to a counter of the control region.
    fn count(&mut self, counter: LaneCounter, more: u64);
}

/// The counters of the control region that this version keeps, by their places there.
#[derive(Clone, Copy, Debug)]
#[repr(usize)]
pub(crate) enum LaneCounter {
    BellsRung = 2,
    TimesBlocked = 3,
}

/// The words of one lane in a consumer's seat.
pub(crate) trait SeatWords {
    fn consumed(&self) -> &AtomicU64;
    fn space_seq(&self) -> &AtomicU32;
    fn wait_epoch(&self) -> &AtomicU32;
}
