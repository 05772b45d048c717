//! Payloads copied out of the ring, one at a time.
//!
//! The invariant: a copy that may have been overwritten while it was made is not handed out.

use crate::ring::known::Found;
use crate::ring::reader::{copy_intact, was_evicted};
use crate::ring::{LaneMap, Ring};

/// Where copies go.
#[derive(Debug)]
pub(super) struct Copies {
    /// Holds the payload of the last record, in whole words; grows to the longest seen.
    buffer: Vec<u64>,
    /// The lane's count of evictions from before its consumer attached.
    evictions: u32,
}

impl Copies {
    pub(super) fn new(evictions: u32) -> Self {
        Self { buffer: Vec::new(), evictions }
    }

    /// The payload of a record, copied out; `None` where it may have been overwritten meanwhile.
    #[inline(always)]
    pub(super) fn copy(&mut self, lane: &LaneMap, ring: Ring<'_>, found: Found) -> Option<&[u8]> {
        let words = found.len.div_ceil(8) as usize;
        if self.buffer.len() < words {
            self.grow(words);
        }
        let is_intact = copy_intact(lane, &ring, self.evictions, found, &mut self.buffer[..words]);
        is_intact.then(|| &bytemuck::cast_slice(&self.buffer)[..found.len as usize])
    }

    #[cold]
    fn grow(&mut self, words: usize) {
        self.buffer.resize(words, 0);
    }

    /// Whether anyone was evicted from the lane since its consumer attached; asked after what it read.
    pub(super) fn saw_eviction(&self, lane: &LaneMap) -> bool {
        was_evicted(lane, self.evictions)
    }
}
