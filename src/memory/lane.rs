//! A lane in mapped memory: its words, and bounded access to the bytes of its ring.
//!
//! The invariants: positions are masked into the ring, and lengths are checked against its end, whatever they are; and
//! a [`WritableLane`] is the one writer of its regions, which the kernel enforces from its making on.

#![allow(unsafe_code, reason = "turns mapped bytes into words and slices")]

use super::copy::{Chunk, SHORT_WORDS, copy_long, copy_words, first_chunks, order_streams, store_words, stream_bytes};
use super::lines::LineTaker;
use super::words::ControlMap;
use crate::error::Result;
use crate::layout::{ControlHeader, FLAG_STAMPED, Geometry, LaneState};
use crate::region::{Mapping, Region, Seals};
use crate::ring::{LaneCounters, LaneWords, LaneWriter, RingWords};
use crate::sync::{AtomicU32, AtomicU64, Ordering};
use std::marker::PhantomData;
use std::ptr::NonNull;
use std::sync::Arc;

/// A lane's control and data regions as one process maps them.
#[derive(Debug)]
pub(crate) struct LaneMap {
    // The ring goes before the control words, and both before the seat, which its owner holds.
    data: Mapping,
    control: ControlMap,
    geometry: Geometry,
    is_stamped: bool,
    record_fds_max: u8,
    /// Where `data` lies.
    ring: RingBounds,
}

impl LaneMap {
    /// Takes the two mappings of a lane.
    ///
    /// # Panics
    ///
    /// If the data region is not as long as the ring: the caller has checked that.
    pub(crate) fn new(control: ControlMap, data: Mapping, geometry: Geometry) -> Self {
        assert!(data.len() as u64 == geometry.capacity(), "a data region that is not the ring");
        let ring = RingBounds::of(&data);
        Self { data, control, geometry, is_stamped: false, record_fds_max: 0, ring }
    }

    /// The same, of a lane whose records hold the time of their commit, or do not.
    pub(crate) fn stamped(self, is_stamped: bool) -> Self {
        Self { is_stamped, ..self }
    }

    /// The same, of a lane whose records have that many descriptors at most.
    pub(crate) fn with_record_fds(self, record_fds_max: u8) -> Self {
        Self { record_fds_max, ..self }
    }

    /// Whether its records hold the time of their commit.
    #[inline]
    pub(crate) fn is_stamped(&self) -> bool {
        self.is_stamped
    }

    /// The bytes of the ring.
    #[inline(always)]
    pub(crate) fn ring(&self) -> RingBytes<'_> {
        // SAFETY: `data` stays mapped for as long as `self` is borrowed.
        unsafe { self.ring.lend() }
    }

    /// Has core dumps of this process contain the ring.
    pub(crate) fn include_in_dumps(&self) {
        self.data.include_in_dumps();
    }

    /// The counters that its producer stored last.
    #[cfg(test)]
    pub(crate) fn counters(&self) -> LaneCounters {
        self.control.counters()
    }

    /// Touches every page of the ring, so that the first lap is as quick as the next.
    pub(crate) fn prefault(&self) -> Result<()> {
        self.data.prefault()
    }

    /// The same for some of the pages from `offset` on. Returns where the next ones begin, if there are more.
    pub(crate) fn prefault_step(&self, offset: usize) -> Option<usize> {
        self.data.prefault_step(offset)
    }
}

impl LaneWords for LaneMap {
    #[inline]
    fn geometry(&self) -> Geometry {
        self.geometry
    }

    #[inline(always)]
    fn published(&self) -> &AtomicU64 {
        &self.control.words().publication.0.published
    }

    #[inline(always)]
    fn last(&self) -> &AtomicU64 {
        &self.control.words().publication.0.last
    }

    #[inline(always)]
    fn intent(&self) -> &AtomicU64 {
        &self.control.words().intent.0
    }

    #[inline(always)]
    fn space_wait(&self) -> &AtomicU32 {
        &self.control.words().space_wait.0
    }

    #[inline(always)]
    fn state(&self) -> &AtomicU32 {
        &self.control.words().state.0
    }

    #[inline(always)]
    fn evictions(&self) -> &AtomicU32 {
        &self.control.words().evictions.0
    }
}

impl RingWords for LaneMap {
    fn record_fds_max(&self) -> u8 {
        self.record_fds_max
    }

    #[inline(always)]
    fn header_word(&self, position: u64) -> u64 {
        self.ring().header_word(position)
    }

    #[inline(always)]
    fn copy_out(&self, position: u64, copy: &mut [u64]) {
        self.ring().copy_out(position, copy);
    }
}

/// The producer's own mapping of its lane: writable, and the only one of its kind.
#[derive(Debug)]
pub(crate) struct WritableLane {
    lane: Arc<LaneMap>,
    /// Where the lane's ring lies, a step nearer.
    ring: RingBounds,
    lines: LineTaker,
}

impl WritableLane {
    /// Maps two regions that this process has just made, writes the static header, with the data region's inode, opens
    /// the lane, and then seals both against every other writer; the regions come back with what is left open of their
    /// seals. The control region is sealed last: who finds it sealed finds a whole lane.
    ///
    /// # Errors
    ///
    /// If a region cannot be mapped or sealed, or the kernel still lets it be mapped for writing then.
    pub(crate) fn create(
        control: Region,
        data: Region,
        geometry: Geometry,
        header: &ControlHeader,
    ) -> Result<(Self, Region, Region)> {
        let lane = LaneMap::new(ControlMap::new(control.map_read_write()?), data.map_read_write()?, geometry);
        let lane = lane.stamped(header.flags & FLAG_STAMPED != 0).with_record_fds(header.record_fds_max as u8);
        let header = ControlHeader { data_inode: data.inode()?, ..*header };
        for (word, value) in lane.control.words().header.iter().zip(header.to_words()) {
            word.store(value, Ordering::Relaxed);
        }
        lane.state().store(LaneState::Open as u32, Ordering::Relaxed);
        let shape = Seals::SHRINK | Seals::GROW | Seals::FUTURE_WRITE;
        data.seal(shape)?;
        control.seal(shape | Seals::SEAL)?;
        control.check_not_writable()?;
        data.check_not_writable()?;
        let ring = lane.ring;
        Ok((Self { lane: Arc::new(lane), ring, lines: LineTaker::new() }, control, data))
    }

    /// The mapping, for those who only read it or change single words.
    pub(crate) fn shared(&self) -> &Arc<LaneMap> {
        &self.lane
    }

    #[inline(always)]
    fn ring(&self) -> RingBytes<'_> {
        // SAFETY: `lane` keeps its ring mapped for as long as `self` is borrowed.
        unsafe { self.ring.lend() }
    }

    /// What takes lines of the ring before they are written.
    #[inline(always)]
    pub(crate) fn lines(&self) -> LineTaker {
        self.lines
    }

    /// `len` bytes at `position` that are claimed and not published, to be filled in.
    ///
    /// # Panics
    ///
    /// If the bytes would cross the end of the ring.
    #[inline(always)]
    pub(crate) fn bytes_mut(&mut self, position: u64, len: u64) -> &mut [u8] {
        let pointer = self.ring().at(position, len);
        // SAFETY: writable, and this is the one writer: the seals that `create` has set and tested keep every other
        // process from writing, and `&mut self` every other slice of this one. Readers of bytes at or above
        // `published` discard what they read.
        unsafe { std::slice::from_raw_parts_mut(pointer.as_ptr(), len as usize) }
    }

    /// Like [`bytes_mut`](Self::bytes_mut), for several places at once: of each the position, and how many bytes.
    ///
    /// # Panics
    ///
    /// If one of them would cross the end of the ring, or if they do not follow one another within one round of it.
    pub(crate) fn bytes_mut_each(&mut self, places: &[(u64, u64)]) -> Vec<&mut [u8]> {
        let follows = |pair: &[(u64, u64)]| pair[0].0 + pair[0].1 <= pair[1].0;
        assert!(places.windows(2).all(follows), "places that overlap");
        if let (Some((first, _)), Some((last, len))) = (places.first(), places.last()) {
            assert!(last + len - first <= self.lane.geometry.capacity(), "places that overlap, a round apart");
        }
        let slices = places.iter().map(|(position, len)| {
            let pointer = self.ring().at(*position, *len);
            // SAFETY: as for `bytes_mut`; and no two of the places overlap, as has just been checked.
            unsafe { std::slice::from_raw_parts_mut(pointer.as_ptr(), *len as usize) }
        });
        slices.collect()
    }

    /// Moves `len` bytes that this writer has filled in from `from` down to `to`, both claimed and not published.
    ///
    /// # Panics
    ///
    /// If the bytes would cross the end of the ring, there or here.
    pub(crate) fn move_bytes(&mut self, from: u64, to: u64, len: u64) {
        let (from, to) = (self.ring().at(from, len), self.ring().at(to, len));
        // SAFETY: as many bytes lie in the ring at either place, which may overlap, and `&mut self` keeps every slice
        // of them away; else as for `bytes_mut`.
        unsafe { std::ptr::copy(from.as_ptr(), to.as_ptr(), len as usize) }
    }

    /// Copies a short `payload` to `position`, word by word, see [`store_words`].
    ///
    /// # Panics
    ///
    /// If the bytes would cross the end of the ring, or `position` is not a multiple of 8.
    #[inline(always)]
    pub(crate) fn copy_in(&mut self, position: u64, payload: &[u8]) {
        let to = self.bytes_mut(position, payload.len().next_multiple_of(8) as u64);
        assert!(position.is_multiple_of(8), "payloads begin at multiples of 8");
        // SAFETY: the slice is as long, begins at a multiple of 8, as the mapping does, and is this caller's alone.
        unsafe { store_words(payload, NonNull::from(to).cast()) }
    }

    /// Copies a long `payload` to `position` past the caches, see [`stream_bytes`].
    ///
    /// # Panics
    ///
    /// If the bytes would cross the end of the ring.
    pub(crate) fn stream_in(&mut self, position: u64, payload: &[u8]) {
        let to = self.bytes_mut(position, payload.len() as u64);
        // SAFETY: the slice is as long, and this caller's alone.
        unsafe { stream_bytes(payload, NonNull::from(to).cast()) }
    }

    /// `len` bytes at `position`, as this writer has filled them in.
    ///
    /// # Panics
    ///
    /// If the bytes would cross the end of the ring.
    #[inline(always)]
    pub(crate) fn bytes(&self, position: u64, len: u64) -> &[u8] {
        let pointer = self.ring().at(position, len);
        // SAFETY: in the ring, which stays mapped; this is the one writer, and `&self` keeps it from writing.
        unsafe { std::slice::from_raw_parts(pointer.as_ptr(), len as usize) }
    }
}

impl LaneWriter for WritableLane {
    type Lane = LaneMap;

    #[inline(always)]
    fn lane(&self) -> &LaneMap {
        &self.lane
    }

    #[inline(always)]
    fn set_header_word(&mut self, position: u64, value: u64) {
        self.ring().word(position).store(value, Ordering::Relaxed);
    }

    #[cold]
    fn store_counters(&mut self, counters: LaneCounters) {
        self.lane.control.store_counters(counters);
    }

    fn order_streams(&self) {
        order_streams();
    }
}

/// Proof that a caller vouched for the producer.
#[derive(Clone, Debug)]
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

/// Where a ring lies.
#[derive(Clone, Copy, Debug)]
struct RingBounds {
    first: NonNull<u8>,
    /// The length of the ring, in bytes.
    capacity: u64,
    /// The bits of a position that are its offset in the ring.
    offset_mask: u64,
    /// Those that are the offset of its word.
    word_mask: u64,
}

// SAFETY: an address and numbers; what may be done there is said where it is lent as `RingBytes`.
unsafe impl Send for RingBounds {}
// SAFETY: as for `Send`.
unsafe impl Sync for RingBounds {}

impl RingBounds {
    /// The bounds of a whole mapping, which is as long as a ring.
    ///
    /// # Panics
    ///
    /// If the mapping's length is not a power of two of at least 8.
    fn of(data: &Mapping) -> Self {
        let capacity = data.len() as u64;
        assert!(capacity.is_power_of_two() && capacity >= 8, "a data region that is no ring");
        Self { first: data.ptr(), capacity, offset_mask: capacity - 1, word_mask: (capacity - 1) & !7 }
    }

    /// The bytes there.
    ///
    /// # Safety
    ///
    /// The mapping whose bounds these are stays mapped for `'a`.
    #[inline(always)]
    unsafe fn lend<'a>(self) -> RingBytes<'a> {
        RingBytes { bounds: self, mapping: PhantomData }
    }
}

/// The bytes of a ring, by value: so that a loop keeps the address in registers, where no store to the ring can change
/// it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RingBytes<'a> {
    bounds: RingBounds,
    mapping: PhantomData<&'a Mapping>,
}

impl<'a> RingBytes<'a> {
    /// The word at `position`, any position. On a read-only mapping it is only loaded.
    #[inline(always)]
    fn word(&self, position: u64) -> &'a AtomicU64 {
        let offset = (position & self.bounds.word_mask) as usize;
        // SAFETY: masked into the ring and to a multiple of 8, and the ring's length is a multiple of 8.
        let pointer = unsafe { self.bounds.first.add(offset) };
        // SAFETY: aligned, since mappings begin on a page; mapped for `'a`, as `lend` was promised; atomics allow any
        // other process to change the word meanwhile.
        unsafe { pointer.cast().as_ref() }
    }

    /// Has the processor fetch the cache line of the word at `position`, any position, if it can: no more than a hint.
    #[inline(always)]
    pub(crate) fn prefetch(&self, position: u64) {
        #[cfg(target_arch = "x86_64")]
        {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            let line: *const AtomicU64 = self.word(position);
            // SAFETY: it reads and changes nothing, whatever the address.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(line.cast()) }
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = position;
    }

    /// The first of `len` bytes from `position` on, all of which lie in the ring.
    ///
    /// # Panics
    ///
    /// If the bytes would cross the end of the ring.
    #[inline(always)]
    fn at(&self, position: u64, len: u64) -> NonNull<u8> {
        let offset = position & self.bounds.offset_mask;
        assert!(len <= self.bounds.capacity - offset, "bytes that cross the end of the ring");
        // SAFETY: the offset lies in the ring.
        unsafe { self.bounds.first.add(offset as usize) }
    }

    /// The first bytes of `N` places of `len` bytes each, the first at `position`, `distance` bytes from one to the
    /// next: all are checked as one.
    ///
    /// # Panics
    ///
    /// If the last of them would cross the end of the ring.
    #[inline(always)]
    fn places<const N: usize>(&self, position: u64, distance: u32, len: u32) -> [NonNull<u8>; N] {
        let first = self.at(position, (N as u64 - 1) * u64::from(distance) + u64::from(len));
        // SAFETY: that address lies within the bytes just checked.
        std::array::from_fn(|index| unsafe { first.add(index * distance as usize) })
    }

    /// The header words of `N` records of one size, the first at `position`, `size` bytes from one to the next.
    ///
    /// # Panics
    ///
    /// If the last of them would cross the end of the ring, or they do not lie at multiples of 8.
    #[inline(always)]
    pub(crate) fn header_words<const N: usize>(&self, position: u64, size: u32) -> [u64; N] {
        assert!((position | u64::from(size)).is_multiple_of(8), "headers lie at multiples of 8");
        self.places(position, size, 8).map(|word| {
            // SAFETY: in the ring, and aligned, as the ring, the position and the size are; else as for `word`.
            unsafe { word.cast::<AtomicU64>().as_ref() }.load(Ordering::Relaxed)
        })
    }

    /// The first `N` words of the `len` bytes from `position` on, by value: 0 for each that begins beyond them.
    ///
    /// # Panics
    ///
    /// If `position` is not a multiple of 8.
    #[inline(always)]
    pub(crate) fn first_words<const N: usize>(&self, position: u64, len: u64) -> [u64; N] {
        assert!(position.is_multiple_of(8), "payloads begin at multiples of 8");
        std::array::from_fn(|index| {
            let offset = index as u64 * 8;
            if offset < len { self.word(position + offset).load(Ordering::Relaxed) } else { 0 }
        })
    }

    /// The first `N` chunks of the `len` bytes from `position` on, by value, in whole words: zeros beyond them. A value
    /// that was put together from shorter stores would be waited for wherever it is moved.
    ///
    /// # Panics
    ///
    /// If the words would cross the end of the ring, or `position` is not a multiple of 8.
    #[inline(always)]
    pub(crate) fn first_chunks<const N: usize>(&self, position: u64, len: u64) -> [Chunk; N] {
        let len = len.next_multiple_of(8);
        let from = self.at(position, len);
        assert!(position.is_multiple_of(8), "payloads begin at multiples of 8");
        // SAFETY: as many bytes lie in the ring, which stays mapped; they begin at a multiple of 8, as it does.
        unsafe { first_chunks(from, len as usize) }
    }

    /// Like [`in_place`](Self::in_place), for `N` payloads of `len` bytes each, the first at `position`, `size` bytes
    /// from one to the next.
    ///
    /// # Panics
    ///
    /// If the last of them would cross the end of the ring.
    #[inline(always)]
    pub(crate) fn in_place_each<const N: usize>(
        &self,
        _trust: &InPlace,
        position: u64,
        size: u32,
        len: u32,
    ) -> [&'a [u8]; N] {
        self.places(position, size, len).map(|first| {
            // SAFETY: as for `in_place`.
            unsafe { std::slice::from_raw_parts(first.as_ptr(), len as usize) }
        })
    }

    /// A published payload in the ring itself. The token is the caller's word for the producer.
    ///
    /// # Panics
    ///
    /// If the bytes would cross the end of the ring.
    #[inline(always)]
    pub(crate) fn in_place(&self, _trust: &InPlace, position: u64, len: u64) -> &'a [u8] {
        let bytes = self.at(position, len);
        // SAFETY: in the ring, which stays mapped. The maker of the token vouches that the producer leaves bytes alone
        // that are published and not released; the consumer releases them after this borrow.
        unsafe { std::slice::from_raw_parts(bytes.as_ptr(), len as usize) }
    }
}

impl RingWords for RingBytes<'_> {
    #[inline(always)]
    fn header_word(&self, position: u64) -> u64 {
        self.word(position).load(Ordering::Relaxed)
    }

    #[inline(always)]
    fn copy_out(&self, position: u64, copy: &mut [u64]) {
        let from = self.at(position, size_of_val(copy) as u64);
        assert!(position.is_multiple_of(8), "payloads begin at multiples of 8");
        let copy_by = if copy.len() <= SHORT_WORDS { copy_words } else { copy_long };
        // SAFETY: as many bytes lie in the ring, which stays mapped; they begin at a multiple of 8, as it does.
        unsafe { copy_by(from, copy) }
    }
}
