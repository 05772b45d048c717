//! The words of a control region and of a seat, as types laid over mapped memory.
//!
//! The invariant: a [`ControlMap`] is a mapping as long as its words, and a [`SeatMap`] keeps mapped what it points to.

#![allow(unsafe_code, reason = "turns mapped bytes into words")]

use crate::layout::{
    CONSUMED_OFFSET, CONTROL_HEADER_WORDS, CONTROL_LEN_BYTES, ControlHeader, EVICTIONS_OFFSET, INTENT_OFFSET,
    LANE_COUNTERS_OFFSET, LAST_OFFSET, PUBLISHED_OFFSET, READ_OFFSET, SEAT_COUNTERS_OFFSET, SEAT_KIND_OFFSET,
    SEAT_LANE_ID_OFFSET, SEAT_START_OFFSET, SEAT_STRIPE_BYTES, SPACE_SEQ_OFFSET, SPACE_WAIT_OFFSET, STATE_OFFSET,
    WAIT_EPOCH_OFFSET,
};
use crate::region::Mapping;
use crate::ring::{LaneCounters, SeatCounters, SeatWords, SeatWriter};
use crate::sync::{AtomicU32, AtomicU64, Ordering};
use crate::wire::SeatKind;
use std::mem::{offset_of, size_of};
use std::ptr::NonNull;
use std::sync::Arc;

/// Two cache lines: what processors fetch together. Words that different sides write, or that are written at different
/// rates, lie in pairs of their own.
#[derive(Debug)]
#[repr(C, align(128))]
pub(super) struct LinePair<T>(pub(super) T);

/// The words of a control region; `layout` has its bit ruler.
#[derive(Debug)]
#[repr(C)]
pub(super) struct ControlWords {
    pub(super) header: [AtomicU64; CONTROL_HEADER_WORDS],
    reserved: [AtomicU64; PUBLISHED_OFFSET / 8 - CONTROL_HEADER_WORDS],
    pub(super) publication: LinePair<PublicationWords>,
    pub(super) intent: LinePair<AtomicU64>,
    pub(super) space_wait: LinePair<AtomicU32>,
    pub(super) state: LinePair<AtomicU32>,
    pub(super) evictions: LinePair<AtomicU32>,
    counters: LinePair<LaneCounterWords>,
}

/// What a producer stores when it publishes.
#[derive(Debug)]
#[repr(C)]
pub(super) struct PublicationWords {
    pub(super) published: AtomicU64,
    pub(super) last: AtomicU64,
}

#[derive(Debug)]
#[repr(C)]
struct LaneCounterWords {
    records: AtomicU64,
    record_bytes: AtomicU64,
    bells_rung: AtomicU64,
    times_blocked: AtomicU64,
}

const _: () = {
    assert!(size_of::<ControlWords>() as u64 <= CONTROL_LEN_BYTES);
    assert!(offset_of!(ControlWords, publication) + offset_of!(PublicationWords, published) == PUBLISHED_OFFSET);
    assert!(offset_of!(ControlWords, publication) + offset_of!(PublicationWords, last) == LAST_OFFSET);
    assert!(offset_of!(ControlWords, intent) == INTENT_OFFSET);
    assert!(
        offset_of!(ControlWords, space_wait) == SPACE_WAIT_OFFSET && offset_of!(ControlWords, state) == STATE_OFFSET
    );
    assert!(offset_of!(ControlWords, evictions) == EVICTIONS_OFFSET);
    assert!(offset_of!(ControlWords, counters) == LANE_COUNTERS_OFFSET);
};

/// A mapped control region.
#[derive(Debug)]
pub(crate) struct ControlMap(Mapping);

impl ControlMap {
    /// # Panics
    ///
    /// If the mapping is not as long as a control region: the caller has checked that.
    pub(crate) fn new(mapping: Mapping) -> Self {
        assert!(mapping.len() as u64 == CONTROL_LEN_BYTES, "a control region of another length");
        Self(mapping)
    }

    #[inline(always)]
    pub(super) fn words(&self) -> &ControlWords {
        // SAFETY: long enough, as `new` has checked, and aligned, since mappings begin on a page; mapped for as long as
        // `self` is borrowed. It consists of atomics, which any other process may change meanwhile, and where the
        // mapping is read-only they are only loaded, with `Relaxed`.
        unsafe { self.0.ptr().cast().as_ref() }
    }

    /// Stores the counters. The mapping is the producer's.
    pub(super) fn store_counters(&self, counters: LaneCounters) {
        let LaneCounterWords { records, record_bytes, bells_rung, times_blocked } = &self.words().counters.0;
        records.store(counters.records, Ordering::Relaxed);
        record_bytes.store(counters.record_bytes, Ordering::Relaxed);
        bells_rung.store(counters.bells_rung, Ordering::Relaxed);
        times_blocked.store(counters.times_blocked, Ordering::Relaxed);
    }

    #[cfg(test)]
    pub(super) fn counters(&self) -> LaneCounters {
        let LaneCounterWords { records, record_bytes, bells_rung, times_blocked } = &self.words().counters.0;
        let [records, record_bytes, bells_rung, times_blocked] =
            [records, record_bytes, bells_rung, times_blocked].map(|word| word.load(Ordering::Relaxed));
        LaneCounters { records, record_bytes, bells_rung, times_blocked }
    }

    /// The static header, copied word by word: a hostile producer may be changing it.
    pub(crate) fn header(&self) -> ControlHeader {
        let words = &self.words().header;
        ControlHeader::from_words(std::array::from_fn(|index| words[index].load(Ordering::Relaxed)))
    }
}

/// One lane's part of a seat region; `layout` has its bit ruler.
#[derive(Debug)]
#[repr(C)]
struct Stripe {
    release: LinePair<ReleaseWords>,
    wait_epoch: LinePair<AtomicU32>,
    counters: LinePair<SeatCounterWords>,
    lane_id: LinePair<[AtomicU64; 2]>,
}

#[derive(Debug)]
#[repr(C)]
struct SeatCounterWords {
    records: AtomicU64,
    record_bytes: AtomicU64,
    missed_bytes: AtomicU64,
    start: AtomicU64,
    kind: AtomicU32,
}

/// What a consumer stores when it releases bytes.
#[derive(Debug)]
#[repr(C)]
struct ReleaseWords {
    consumed: AtomicU64,
    space_seq: AtomicU32,
    reserved: AtomicU32,
    read: AtomicU64,
}

const _: () = {
    assert!(size_of::<Stripe>() == SEAT_STRIPE_BYTES);
    assert!(offset_of!(Stripe, release) + offset_of!(ReleaseWords, consumed) == CONSUMED_OFFSET);
    assert!(offset_of!(Stripe, release) + offset_of!(ReleaseWords, space_seq) == SPACE_SEQ_OFFSET);
    assert!(offset_of!(Stripe, release) + offset_of!(ReleaseWords, read) == READ_OFFSET);
    assert!(offset_of!(Stripe, lane_id) == SEAT_LANE_ID_OFFSET);
    assert!(offset_of!(Stripe, wait_epoch) == WAIT_EPOCH_OFFSET);
    assert!(offset_of!(Stripe, counters) == SEAT_COUNTERS_OFFSET);
    assert!(offset_of!(Stripe, counters) + offset_of!(SeatCounterWords, start) == SEAT_START_OFFSET);
    assert!(offset_of!(Stripe, counters) + offset_of!(SeatCounterWords, kind) == SEAT_KIND_OFFSET);
};

/// One lane's stripe of a seat region, as either side maps it.
#[derive(Clone, Debug)]
pub(crate) struct SeatMap {
    /// Keeps what `stripe` points to mapped.
    _mapping: Arc<Mapping>,
    stripe: NonNull<Stripe>,
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
    /// If the region is too short for that lane.
    pub(crate) fn new(mapping: Arc<Mapping>, index: usize) -> Self {
        let offset = index * SEAT_STRIPE_BYTES;
        assert!(offset + SEAT_STRIPE_BYTES <= mapping.len(), "a seat region without a stripe for lane {index}");
        // SAFETY: just checked to lie within the mapping.
        let stripe = unsafe { mapping.ptr().add(offset) }.cast();
        Self { _mapping: mapping, stripe }
    }

    /// The id of the lane that the stripe is for, as the producer has written it.
    pub(crate) fn lane_id(&self) -> [u8; 16] {
        bytemuck::cast([0, 1].map(|index| self.stripe().lane_id.0[index].load(Ordering::Relaxed)))
    }

    /// Says to tools how the consumer reads, and from where. The mapping is the consumer's.
    pub(crate) fn introduce(&self, kind: SeatKind, start: u64) {
        let words = &self.stripe().counters.0;
        words.start.store(start, Ordering::Relaxed);
        words.kind.store(kind.to_byte().into(), Ordering::Relaxed);
    }

    /// The counters that its consumer stored last.
    #[cfg(test)]
    pub(crate) fn counters(&self) -> SeatCounters {
        let SeatCounterWords { records, record_bytes, missed_bytes, .. } = &self.stripe().counters.0;
        let [records, record_bytes, missed_bytes] =
            [records, record_bytes, missed_bytes].map(|word| word.load(Ordering::Relaxed));
        SeatCounters { records, record_bytes, missed_bytes }
    }

    #[inline]
    fn stripe(&self) -> &Stripe {
        // SAFETY: within the mapping, as `new` has checked, and aligned, since mappings begin on a page; mapped for as
        // long as `self._mapping` lives. It consists of atomics, which the other side may change meanwhile, and where
        // the mapping is read-only they are only loaded, with `Relaxed`.
        unsafe { self.stripe.as_ref() }
    }
}

impl SeatWords for SeatMap {
    #[inline]
    fn consumed(&self) -> &AtomicU64 {
        &self.stripe().release.0.consumed
    }

    #[inline]
    fn space_seq(&self) -> &AtomicU32 {
        &self.stripe().release.0.space_seq
    }

    #[inline]
    fn read(&self) -> &AtomicU64 {
        &self.stripe().release.0.read
    }

    #[inline]
    fn wait_epoch(&self) -> &AtomicU32 {
        &self.stripe().wait_epoch.0
    }
}

impl SeatWriter for SeatMap {
    #[inline(always)]
    fn store_counters(&self, counters: SeatCounters) {
        let SeatCounterWords { records, record_bytes, missed_bytes, .. } = &self.stripe().counters.0;
        records.store(counters.records, Ordering::Relaxed);
        record_bytes.store(counters.record_bytes, Ordering::Relaxed);
        missed_bytes.store(counters.missed_bytes, Ordering::Relaxed);
    }
}
