//! How payloads reach the caller: in the ring itself, or copied out, one at a time.
//!
//! The invariant: a copy that may have been overwritten while it was made is not handed out.

use crate::memory::{CopyBlock, InPlace, RingBytes, SHORT_WORDS};
use crate::ring::Copying;
use crate::ring::cursor::Found;
use bytemuck::Zeroable;

/// How payloads reach the caller.
#[derive(Debug)]
pub(super) enum Payloads {
    InPlace(InPlace),
    Copied(Copies),
}

const BLOCK_WORDS: usize = size_of::<CopyBlock>() / 8;

/// Where copies go.
#[derive(Debug)]
pub(super) struct Copies {
    /// Holds the payload of the last record, if it was short.
    short: Box<CopyBlock>,
    /// Holds the payload of the last longer record. Grows to the longest seen.
    long: Vec<CopyBlock>,
}

impl Copies {
    pub(super) fn new() -> Self {
        Self { short: Box::new(Zeroable::zeroed()), long: Vec::new() }
    }

    /// The payload of a record, copied out; `None` if it may have been overwritten meanwhile.
    #[inline(always)]
    pub(super) fn copy(&mut self, reader: &impl Copying, ring: RingBytes<'_>, found: Found) -> Option<&[u8]> {
        let words = found.len.div_ceil(8) as usize;
        if words > SHORT_WORDS {
            return self.copy_long(reader, ring, found, words);
        }
        // The compiler knows the length of this buffer, so that a copy of known length goes through registers.
        let copy: &mut [u64; SHORT_WORDS] = self.short.words_mut().first_chunk_mut().expect("a block is longer");
        let is_intact = reader.copy_intact(&ring, found, &mut copy[..words]);
        is_intact.then(|| &bytemuck::cast_slice(copy)[..found.len as usize])
    }

    /// The payload that was copied last, that of `found`.
    pub(super) fn payload(&self, found: Found) -> &[u8] {
        let long = found.len.div_ceil(8) as usize > SHORT_WORDS;
        let blocks = if long { &self.long[..] } else { std::slice::from_ref(&*self.short) };
        &bytemuck::cast_slice(blocks)[..found.len as usize]
    }

    // Cold, so that loops over short records keep their registers.
    #[cold]
    #[inline(never)]
    fn copy_long(&mut self, reader: &impl Copying, ring: RingBytes<'_>, found: Found, words: usize) -> Option<&[u8]> {
        if self.long.len() * BLOCK_WORDS < words {
            self.long.resize(words.div_ceil(BLOCK_WORDS), CopyBlock::zeroed());
        }
        let copy = &mut bytemuck::cast_slice_mut(&mut self.long)[..words];
        let is_intact = reader.copy_intact(&ring, found, copy);
        is_intact.then(|| &bytemuck::cast_slice(&self.long)[..found.len as usize])
    }
}
