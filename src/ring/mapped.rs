//! A lane and a seat as a process has them mapped.
//!
//! The invariants: no access leaves a mapping, whatever position or length comes in; what is mapped read-only is only
//! loaded; and a [`WritableLane`] is the one writer of its regions, which the kernel enforces from its making on.
//!
//! What this file does not do: it does not say what may be read or written when.

#![allow(unsafe_code, reason = "turns mapped bytes into words and slices")]

use super::bytes::Ring;
use super::copy::store_words;
use super::{LaneCounter, LaneWords, LaneWriter, RingWords, SeatWords};
use crate::error::Result;
use crate::layout::{
    CONSUMED_OFFSET, CONTROL_LEN_BYTES, ControlHeader, EVICTIONS_OFFSET, Geometry, INTENT_OFFSET, LANE_COUNTERS_OFFSET,
    PUBLISHED_OFFSET, SEAT_STRIPE_BYTES, SPACE_SEQ_OFFSET, SPACE_WAIT_OFFSET, STATE_OFFSET, WAIT_EPOCH_OFFSET,
};
use crate::region::{Mapping, Region, Seals};
use crate::sync::{AtomicU32, AtomicU64, Ordering};
use std::ptr::NonNull;
use std::sync::Arc;

/// A mapped word, for as long as its mapping is borrowed.
///
/// # Safety
///
/// `offset` is a multiple of the word's size and `offset` + that size is within the mapping. On a read-only mapping
/// the word is only loaded, with `Relaxed`: the one access that `core::sync::atomic` guarantees there.
unsafe fn word<T>(mapping: &Mapping, offset: usize) -> &T {
    debug_assert!(offset.is_multiple_of(size_of::<T>()) && offset + size_of::<T>() <= mapping.len());
    // SAFETY: in bounds, as the caller of `word` vouches.
    let pointer = unsafe { mapping.ptr().add(offset) };
    // SAFETY: mappings begin on a page, so the pointer is aligned as `offset` is; the memory stays mapped while
    // `mapping` is borrowed; atomics allow any other process to change it meanwhile.
    unsafe { pointer.cast::<T>().as_ref() }
}

/// A lane's control and data regions as one process maps them.
#[derive(Debug)]
pub(crate) struct LaneMap {
    // The ring goes before the control words, and both before the seat, which its owner holds.
    data: Mapping,
    control: Mapping,
    geometry: Geometry,
    /// Where `data` lies; lent for no longer than `self` is.
    ring: Ring<'static>,
}

impl LaneMap {
    /// Takes the two mappings of a lane.
    ///
    /// # Panics
    ///
    /// Where a mapping has not the length that layout and geometry ask for: whoever mapped them has checked that.
    pub(crate) fn new(control: Mapping, data: Mapping, geometry: Geometry) -> Self {
        assert!(control.len() as u64 == CONTROL_LEN_BYTES, "a control region of another length");
        assert!(data.len() as u64 == geometry.capacity(), "a data region that is not the ring");
        // SAFETY: the mapping is as long and begins on a page; it is kept as long as this is, and the ring is lent for
        // no longer.
        let ring = unsafe { Ring::at(data.ptr(), geometry.capacity()) };
        Self { data, control, geometry, ring }
    }

    /// The static header, copied word by word: a hostile producer may be changing it.
    pub(crate) fn header(control: &Mapping) -> ControlHeader {
        let mut words = [0u64; size_of::<ControlHeader>() / 8];
        assert!(control.len() as u64 == CONTROL_LEN_BYTES, "a control region of another length");
        for (index, copy) in words.iter_mut().enumerate() {
            // SAFETY: `index * 8` ends within the header, whose 128 bytes lie in the control region's 4096.
            *copy = unsafe { word::<AtomicU64>(control, index * 8) }.load(Ordering::Relaxed);
        }
        bytemuck::cast(words)
    }

    /// Where the ring lies, for as long as the lane is mapped.
    #[inline(always)]
    pub(crate) fn ring(&self) -> Ring<'_> {
        self.ring
    }

    /// Touches every page of the ring, so that the first lap is as quick as the next.
    pub(crate) fn prefault(&self) -> Result<()> {
        self.data.prefault()
    }

    /// A counter of the control region.
    fn counter(&self, counter: LaneCounter) -> &AtomicU64 {
        // SAFETY: the four counters lie within the control region, see the assertions in `layout`.
        unsafe { word(&self.control, LANE_COUNTERS_OFFSET + counter as usize * 8) }
    }
}

impl LaneWords for LaneMap {
    #[inline]
    fn geometry(&self) -> Geometry {
        self.geometry
    }

    #[inline]
    fn published(&self) -> &AtomicU64 {
        // SAFETY: the offset is aligned and within the control region, see the assertions in `layout`.
        unsafe { word(&self.control, PUBLISHED_OFFSET) }
    }

    #[inline]
    fn intent(&self) -> &AtomicU64 {
        // SAFETY: as for `published`.
        unsafe { word(&self.control, INTENT_OFFSET) }
    }

    #[inline]
    fn space_wait(&self) -> &AtomicU32 {
        // SAFETY: as for `published`.
        unsafe { word(&self.control, SPACE_WAIT_OFFSET) }
    }

    #[inline]
    fn state(&self) -> &AtomicU32 {
        // SAFETY: as for `published`.
        unsafe { word(&self.control, STATE_OFFSET) }
    }

    #[inline]
    fn evictions(&self) -> &AtomicU32 {
        // SAFETY: as for `published`.
        unsafe { word(&self.control, EVICTIONS_OFFSET) }
    }
}

impl RingWords for LaneMap {
    #[inline(always)]
    fn header_word(&self, position: u64) -> u64 {
        self.ring.header_word(position)
    }

    #[inline(always)]
    fn copy_out(&self, position: u64, copy: &mut [u64]) {
        self.ring.copy_out(position, copy);
    }
}

/// The producer's own mapping of its lane: writable, and the only one of its kind.
#[derive(Debug)]
pub(crate) struct WritableLane {
    lane: Arc<LaneMap>,
    /// The lane's ring, a step nearer; lent for no longer than `self` is.
    ring: Ring<'static>,
}

impl WritableLane {
    /// Maps two regions that this process has just made, writes the static header, and then seals both against
    /// every other writer; the regions come back with what is left open of their seals.
    ///
    /// # Errors
    ///
    /// Where a region cannot be mapped or sealed, or the kernel still lets it be mapped for writing then.
    pub(crate) fn create(
        control: Region,
        data: Region,
        geometry: Geometry,
        header: &ControlHeader,
    ) -> Result<(Self, Region, Region)> {
        let lane = LaneMap::new(control.map_read_write()?, data.map_read_write()?, geometry);
        let words: [u64; size_of::<ControlHeader>() / 8] = bytemuck::cast(*header);
        for (index, value) in words.into_iter().enumerate() {
            // SAFETY: `index * 8` ends within the header, whose 128 bytes lie in the control region's 4096.
            unsafe { word::<AtomicU64>(&lane.control, index * 8) }.store(value, Ordering::Relaxed);
        }
        let shape = Seals::SHRINK | Seals::GROW | Seals::FUTURE_WRITE;
        control.seal(shape | Seals::SEAL)?;
        data.seal(shape)?;
        control.check_not_writable()?;
        data.check_not_writable()?;
        let ring = lane.ring;
        Ok((Self { lane: Arc::new(lane), ring }, control, data))
    }

    /// The mapping, for those who only read it or change single words.
    pub(crate) fn shared(&self) -> &Arc<LaneMap> {
        &self.lane
    }

    /// The payload bytes at `position`, to be filled in.
    ///
    /// # Panics
    ///
    /// Where the bytes would cross the end of the ring.
    #[inline]
    pub(crate) fn payload_mut(&mut self, position: u64, len: u64) -> &mut [u8] {
        let pointer = self.ring.bytes(position, len);
        // SAFETY: writable, and this is the one writer: the seals that `create` has set and tested keep every other
        // process from writing, and `&mut self` every other slice of this one. Readers of bytes at or above
        // `published` discard what they read.
        unsafe { std::slice::from_raw_parts_mut(pointer.as_ptr(), len as usize) }
    }

    /// Copies a short `payload` to `position`, word by word, see [`store_words`].
    ///
    /// # Panics
    ///
    /// Where the bytes would cross the end of the ring, or `position` is not a multiple of 8.
    #[inline(always)]
    pub(crate) fn copy_in(&mut self, position: u64, payload: &[u8]) {
        let to = self.payload_mut(position, payload.len().next_multiple_of(8) as u64);
        assert!(position.is_multiple_of(8), "payloads begin at multiples of 8");
        // SAFETY: the slice is as long, begins at a multiple of 8, as the mapping does, and is this caller's alone.
        unsafe { store_words(payload, NonNull::from(to).cast()) }
    }

    /// The payload bytes at `position`, as this writer has filled them in.
    ///
    /// # Panics
    ///
    /// Where the bytes would cross the end of the ring.
    #[inline]
    pub(crate) fn payload(&self, position: u64, len: u64) -> &[u8] {
        let pointer = self.ring.bytes(position, len);
        // SAFETY: in the ring, which stays mapped; this is the one writer, and `&self` keeps it from writing.
        unsafe { std::slice::from_raw_parts(pointer.as_ptr(), len as usize) }
    }

    /// The ring itself, for those who write more than one payload at once.
    #[inline(always)]
    pub(super) fn ring_mut(&mut self) -> Ring<'_> {
        self.ring
    }
}

impl LaneWriter for WritableLane {
    type Lane = LaneMap;

    #[inline]
    fn lane(&self) -> &LaneMap {
        &self.lane
    }

    #[inline]
    fn set_header_word(&mut self, position: u64, value: u64) {
        self.ring.word(position).store(value, Ordering::Relaxed);
    }

    #[cold]
    fn count(&mut self, counter: LaneCounter, more: u64) {
        let counter = self.lane.counter(counter);
        counter.store(counter.load(Ordering::Relaxed) + more, Ordering::Relaxed);
    }
}

/// One lane's stripe of a seat region, as either side maps it.
#[derive(Clone, Debug)]
pub(crate) struct SeatMap {
    /// Keeps what `stripe` points to mapped.
    _mapping: Arc<Mapping>,
    stripe: NonNull<u8>,
}

// SAFETY: `stripe` points into `_mapping`, which may be shared and sent; all access goes through atomics.
unsafe impl Send for SeatMap {}
// SAFETY: as for `Send`.
unsafe impl Sync for SeatMap {}

impl SeatMap {
    /// The stripe of the lane numbered `index` in the session.
    ///
    /// # Panics
    ///
    /// Where the region is too short for that lane.
    pub(crate) fn new(mapping: Arc<Mapping>, index: usize) -> Self {
        let offset = index * SEAT_STRIPE_BYTES;
        assert!(offset + SEAT_STRIPE_BYTES <= mapping.len(), "a seat region without a stripe for lane {index}");
        // SAFETY: just checked to lie within the mapping.
        let stripe = unsafe { mapping.ptr().add(offset) };
        Self { _mapping: mapping, stripe }
    }

    #[inline]
    fn word<T>(&self, offset: usize) -> &T {
        debug_assert!(offset.is_multiple_of(size_of::<T>()) && offset + size_of::<T>() <= SEAT_STRIPE_BYTES);
        // SAFETY: the offsets of `layout` are aligned and lie within a stripe, and `new` has checked the stripe.
        let pointer = unsafe { self.stripe.add(offset) };
        // SAFETY: mapped for as long as `self._mapping` lives; atomics allow the other side to change it meanwhile,
        // and where the mapping is read-only the word is only loaded, with `Relaxed`.
        unsafe { pointer.cast::<T>().as_ref() }
    }
}

impl SeatWords for SeatMap {
    #[inline]
    fn consumed(&self) -> &AtomicU64 {
        self.word(CONSUMED_OFFSET)
    }

    #[inline]
    fn space_seq(&self) -> &AtomicU32 {
        self.word(SPACE_SEQ_OFFSET)
    }

    #[inline]
    fn wait_epoch(&self) -> &AtomicU32 {
        self.word(WAIT_EPOCH_OFFSET)
    }
}
