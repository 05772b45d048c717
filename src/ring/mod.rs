//! What the protocols ask of a lane's memory: the words of its control region, the bytes of its ring, a consumer's
//! seat.
//!
//! The protocols in [`writer`] and [`reader`] are written against the traits here, so that they run unchanged over a
//! mapping and inside a model checker. The invariant of all that implements them: whatever position or length a peer
//! invents, no access leaves the memory.
//!
//! What this file does not do: it neither interprets a record nor decides when a byte may be read or written.

#[cfg(not(loom))]
mod bytes;
#[cfg(not(loom))]
mod copy;
pub(crate) mod known;
#[cfg(not(loom))]
mod mapped;
pub(crate) mod reader;
pub(crate) mod row;
#[cfg(all(any(test, fuzzing), not(loom)))]
#[cfg_attr(fuzzing, allow(dead_code, reason = "fuzzers use a part of it"))]
pub(crate) mod testing;
#[cfg(all(test, not(loom)))]
mod tests;
pub(crate) mod writer;

use crate::layout::Geometry;
use crate::sync::{AtomicU32, AtomicU64};

#[cfg(not(loom))]
pub(crate) use bytes::{InPlace, Ring};
#[cfg(not(loom))]
pub(crate) use copy::SHORT_WORDS;
#[cfg(not(loom))]
pub(crate) use mapped::{LaneMap, SeatMap, WritableLane};

/// The words of a ring.
pub(crate) trait RingWords {
    /// The header word of the record that begins at `position`, any position.
    fn header_word(&self, position: u64) -> u64;
    /// The header words of `N` records, the first at `position`, `distance` bytes from one to the next: multiples of 8
    /// both, and all of them before the end of the ring. Where that is not so it may panic, or give other words.
    fn header_words<const N: usize>(&self, position: u64, distance: u32) -> [u64; N] {
        std::array::from_fn(|index| self.header_word(position + index as u64 * u64::from(distance)))
    }
    /// Copies as many words from `position` on as `copy` holds. Bytes that another process changes meanwhile are copied
    /// as they come, and nothing is assumed of them.
    ///
    /// # Panics
    ///
    /// Where they would cross the end of the ring, or `position` is not a multiple of 8.
    fn copy_out(&self, position: u64, copy: &mut [u64]);
}

/// The words of a control region, and the header words of the ring.
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

/// The counters of the control region, in their order.
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
