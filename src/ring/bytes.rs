//! The bytes of a ring: its words, and the payloads in it, as slices or copied out.
//!
//! The invariant: positions are masked into the ring, and lengths are checked against its end, whatever they are.
//!
//! What this file does not do: it does not say which bytes are published.

#![allow(unsafe_code, reason = "turns mapped bytes into words and slices")]

use super::RingWords;
use super::copy::{SHORT_WORDS, copy_long, copy_words};
use crate::region::Mapping;
use crate::sync::{AtomicU64, Ordering};
use std::marker::PhantomData;
use std::ptr::NonNull;

/// The word of an in-place consumer's that its producer follows the protocol.
#[derive(Debug)]
pub(crate) struct InPlace(());

impl InPlace {
    /// Vouches for the producer of a lane.
    ///
    /// # Safety
    ///
    /// As long as a lane is read with this token: every process able to write to its data region follows the
    /// protocol of `docs/protocol.md`; none changes a byte between this consumer's `consumed` and `published`; none
    /// stops gating on this consumer before its seat is unmapped everywhere.
    pub(crate) unsafe fn vouch() -> Self {
        Self(())
    }
}

/// Where a ring lies, by value: so that a loop keeps it in registers, where no store to the ring can change it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ring<'a> {
    first: NonNull<u8>,
    /// The bits of a position that are its offset in the ring.
    offset_mask: u64,
    /// Those that are the offset of its word.
    word_mask: u64,
    mapping: PhantomData<&'a Mapping>,
}

// SAFETY: a shared reference to a mapping in all but its form, and all access goes through atomics, or through
// slices whose makers vouch that nobody else writes there.
unsafe impl Send for Ring<'_> {}
// SAFETY: as for `Send`.
unsafe impl Sync for Ring<'_> {}

impl<'a> Ring<'a> {
    /// The ring of `capacity` bytes from `first` on.
    ///
    /// # Safety
    ///
    /// So many bytes, a power of two of at least 8, are mapped for as long as the ring or any copy of it is used;
    /// `first` is a multiple of 8.
    pub(super) unsafe fn at(first: NonNull<u8>, capacity: u64) -> Self {
        let offset_mask = capacity - 1;
        Self { first, offset_mask, word_mask: offset_mask & !7, mapping: PhantomData }
    }

    /// The word at `position`, any position. On a read-only mapping it is only loaded.
    #[inline(always)]
    pub(super) fn word(&self, position: u64) -> &'a AtomicU64 {
        let offset = (position & self.word_mask) as usize;
        // SAFETY: masked into the ring and to a multiple of 8, and the ring's length is a multiple of 8.
        let pointer = unsafe { self.first.add(offset) };
        // SAFETY: aligned, as the ring's beginning is; mapped for as long as it is used; atomics allow any
        // other process to change the word meanwhile.
        unsafe { pointer.cast().as_ref() }
    }

    /// The first of `len` bytes from `position` on, all of which lie in the ring.
    ///
    /// # Panics
    ///
    /// Where the bytes would cross the end of the ring.
    #[inline(always)]
    pub(super) fn bytes(&self, position: u64, len: u64) -> NonNull<u8> {
        let offset = position & self.offset_mask;
        assert!(len <= self.offset_mask + 1 - offset, "a payload that crosses the end of the ring");
        // SAFETY: the offset lies in the ring.
        unsafe { self.first.add(offset as usize) }
    }

    /// As [`bytes`](Self::bytes), for `N` places of `len` bytes each, the first at `position`, `distance` bytes from
    /// one to the next: all are checked as one.
    ///
    /// # Panics
    ///
    /// Where the last of them would cross the end of the ring.
    #[inline(always)]
    fn places<const N: usize>(&self, position: u64, distance: u32, len: u32) -> [NonNull<u8>; N] {
        let first = self.bytes(position, (N as u64 - 1) * u64::from(distance) + u64::from(len));
        // SAFETY: the place lies within the bytes just checked.
        std::array::from_fn(|index| unsafe { first.add(index * distance as usize) })
    }

    /// The payload bytes at `position` where they lie, on the word of whoever made the token.
    ///
    /// # Panics
    ///
    /// Where the bytes would cross the end of the ring.
    #[inline(always)]
    pub(crate) fn payload(&self, _trust: &InPlace, position: u64, len: u64) -> &'a [u8] {
        let bytes = self.bytes(position, len);
        // SAFETY: in the ring, which stays mapped. Whoever made the token vouches that the producer leaves bytes
        // alone that are published and not given back; the consumer gives them back after this borrow.
        unsafe { std::slice::from_raw_parts(bytes.as_ptr(), len as usize) }
    }

    /// As [`payload`](Self::payload), for `N` payloads of `len` bytes each, the first at `position`, `distance` bytes
    /// from one to the next.
    ///
    /// # Panics
    ///
    /// Where the last of them would cross the end of the ring.
    #[inline(always)]
    pub(crate) fn payloads<const N: usize>(
        &self,
        _trust: &InPlace,
        position: u64,
        distance: u32,
        len: u32,
    ) -> [&'a [u8]; N] {
        self.places(position, distance, len).map(|first| {
            // SAFETY: as for `payload`.
            unsafe { std::slice::from_raw_parts(first.as_ptr(), len as usize) }
        })
    }
}

impl RingWords for Ring<'_> {
    #[inline(always)]
    fn header_word(&self, position: u64) -> u64 {
        self.word(position).load(Ordering::Relaxed)
    }

    #[inline(always)]
    fn header_words<const N: usize>(&self, position: u64, distance: u32) -> [u64; N] {
        assert!((position | u64::from(distance)).is_multiple_of(8), "headers lie on multiples of 8");
        self.places(position, distance, 8).map(|word| {
            // SAFETY: in the ring, and aligned, as the ring, the position and the distance are; else as for `word`.
            unsafe { word.cast::<AtomicU64>().as_ref() }.load(Ordering::Relaxed)
        })
    }

    #[inline(always)]
    fn copy_out(&self, position: u64, copy: &mut [u64]) {
        let from = self.bytes(position, size_of_val(copy) as u64);
        assert!(position.is_multiple_of(8), "payloads begin at multiples of 8");
        let copy_by = if copy.len() <= SHORT_WORDS { copy_words } else { copy_long };
        // SAFETY: as many bytes lie in the ring, which stays mapped; they begin at a multiple of 8, as it does.
        unsafe { copy_by(from, copy) }
    }
}
