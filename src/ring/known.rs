//! The quick way from record to record: what is known to follow, checked with one comparison each.
//!
//! The invariant: as in [`reader`](super::reader), nothing is derived from a header but what was checked in the same
//! load of it.
//!
//! What this file does not do: it looks at no word but headers, and knows neither padding nor errors. Where something
//! else comes than a record that makes sense, the reader looks closely.

use super::RingWords;
use crate::layout::{Geometry, RecordHeader};

/// A record that was found, and its header checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    /// Where the record begins.
    pub(crate) position: u64,
    /// Where that begins which was read to find it: the padding before the record, or the record itself.
    pub(crate) from: u64,
    /// The position of its first payload byte.
    pub(crate) payload: u64,
    /// The payload's length in bytes.
    pub(crate) len: u64,
    pub(crate) tag: u16,
}

/// How many records are looked at together, see [`Known::alike`].
pub(crate) const ALIKE: usize = 8;
/// Longer ones are not, in bytes with their headers: with them it is not the way from header to header that takes time,
/// and lines that are fetched out of their order come later than the processor would bring them by itself (256 B each,
/// eight together: 30 ns, and not 7).
const ALIKE_SIZE_MAX: u64 = 128;

/// Records of one length, known to follow one another without padding between them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Alike {
    /// Their header words, in order.
    pub(crate) words: [u64; ALIKE],
    /// The position of the first payload byte of the first.
    pub(crate) payload: u64,
    /// The payload of each, in bytes.
    pub(crate) len: u32,
    /// From one to the next, in bytes.
    pub(crate) size: u32,
}

/// Where to read on, and how far records are known to follow one another without padding between them.
///
/// A copy of it can run ahead in a loop's registers, see [`Reader::known`](super::reader::Reader::known).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Known {
    pub(super) geometry: Geometry,
    /// Where the next record begins; everything below it has been given back, but for the record just found.
    pub(super) position: u64,
    /// From `position` up to here all is published: the lower of `published` and the end of the ring.
    pub(super) clear: u64,
}

impl Known {
    /// The header word of the next record, the length of its payload, and where it ends; where no padding comes first
    /// and its header makes sense.
    #[inline(always)]
    fn peek(&self, ring: &impl RingWords) -> Option<(u64, u64, u64)> {
        let position = self.position;
        if position >= self.clear {
            return None;
        }
        let word = ring.header_word(position);
        let len = RecordHeader::data_len(word)?;
        let end = self.geometry.record_end(position, len);
        if end > self.clear {
            return None;
        }
        Some((word, len, end))
    }

    /// The next record, where [`peek`](Self::peek) shows one: nearly always. `None` says nothing but that the reader
    /// must look closely.
    #[inline(always)]
    pub(crate) fn next(&mut self, ring: &impl RingWords) -> Option<Found> {
        let (word, len, end) = self.peek(ring)?;
        let position = std::mem::replace(&mut self.position, end);
        Some(self.found(position, len, RecordHeader::tag_of(word)))
    }

    /// The next records, where all of [`ALIKE`] are as long as the first: that is known after two loads, where they are
    /// loads in a row for [`Known::next`], each of which waits for the one before. `None` says nothing.
    #[inline(always)]
    pub(crate) fn alike(&self, ring: &impl RingWords) -> Option<Alike> {
        let (first, len, end) = self.peek(ring)?;
        let size = end - self.position;
        if size > ALIKE_SIZE_MAX {
            return None;
        }
        self.like(ring, first, len as u32, size as u32)
    }

    /// As many more after those of `alike`, if all of them are as long: that is known after one load.
    #[inline(always)]
    pub(crate) fn more_alike(&self, ring: &impl RingWords, alike: &Alike) -> Option<Alike> {
        self.like(ring, alike.words[0], alike.len, alike.size)
    }

    /// The next records, where all of [`ALIKE`] have headers like `word`: that of a record of `len` payload bytes,
    /// which is `size` bytes long.
    #[inline(always)]
    fn like(&self, ring: &impl RingWords, word: u64, len: u32, size: u32) -> Option<Alike> {
        if ALIKE as u64 * u64::from(size) > self.clear - self.position {
            return None;
        }
        let words = ring.header_words::<ALIKE>(self.position, size);
        // Without a branch for each.
        let is_alike = words.iter().fold(true, |alike, other| alike & RecordHeader::are_alike(*other, word));
        let payload = self.position + self.geometry.payload_offset();
        is_alike.then_some(Alike { words, payload, len, size })
    }

    /// The next record, which is the one of `alike` with this header word.
    #[inline(always)]
    pub(crate) fn next_alike(&mut self, alike: &Alike, word: u64) -> Found {
        let position = self.position;
        self.position = position + u64::from(alike.size);
        self.found(position, u64::from(alike.len), RecordHeader::tag_of(word))
    }

    /// What is found at `position`, with what its header says.
    #[inline(always)]
    pub(super) fn found(&self, position: u64, len: u64, tag: u16) -> Found {
        Found { position, from: position, payload: position + self.geometry.payload_offset(), len, tag }
    }
}
