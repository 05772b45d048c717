//! Payloads copied out of the ring, one at a time.
//!
//! The invariant: a copy that may have been overwritten while it was made is not handed out.

use crate::ring::known::Found;
use crate::ring::reader::{copy_intact, was_evicted};
use crate::ring::{LaneMap, Ring, SHORT_WORDS};
use bytemuck::{Pod, Zeroable};

const LINE_WORDS: usize = 8;

/// A cache line: copies begin on one.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C, align(64))]
struct Line([u64; LINE_WORDS]);

/// Where copies go.
#[derive(Debug)]
pub(super) struct Copies {
    /// Holds the payload of the last record, if it was short.
    short: Box<[Line; SHORT_WORDS / LINE_WORDS]>,
    /// Holds that of the last record that was longer; grows to the longest seen.
    long: Vec<Line>,
    /// The lane's count of evictions from before its consumer attached.
    evictions: u32,
}

impl Copies {
    pub(super) fn new(evictions: u32) -> Self {
        Self { short: Box::new(Zeroable::zeroed()), long: Vec::new(), evictions }
    }

    /// The payload of a record, copied out; `None` where it may have been overwritten meanwhile.
    #[inline(always)]
    pub(super) fn copy(&mut self, lane: &LaneMap, ring: Ring<'_>, found: Found) -> Option<&[u8]> {
        let words = found.len.div_ceil(8) as usize;
        if words > SHORT_WORDS {
            return self.copy_long(lane, ring, found, words);
        }
        // Its length is known to the compiler, so that a copy of known length goes through registers.
        let copy: &mut [u64; SHORT_WORDS] = bytemuck::cast_mut(&mut *self.short);
        let is_intact = copy_intact(lane, &ring, self.evictions, found, &mut copy[..words]);
        is_intact.then(|| &bytemuck::cast_slice(copy)[..found.len as usize])
    }

    // Out of line and said to be rare, or the loops of those who read short records have fewer registers.
    #[cold]
    #[inline(never)]
    fn copy_long(&mut self, lane: &LaneMap, ring: Ring<'_>, found: Found, words: usize) -> Option<&[u8]> {
        if self.long.len() * LINE_WORDS < words {
            self.long.resize(words.div_ceil(LINE_WORDS), Line::zeroed());
        }
        let copy = &mut bytemuck::cast_slice_mut(&mut self.long)[..words];
        let is_intact = copy_intact(lane, &ring, self.evictions, found, copy);
        is_intact.then(|| &bytemuck::cast_slice(&self.long)[..found.len as usize])
    }

    /// Whether anyone was evicted from the lane since its consumer attached; asked after what it read.
    pub(super) fn saw_eviction(&self, lane: &LaneMap) -> bool {
        was_evicted(lane, self.evictions)
    }
}
