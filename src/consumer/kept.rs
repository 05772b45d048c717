//! Payloads of records that outlive a call on their consumer: copies, and bytes in the ring that a hold keeps.
//!
//! The invariant: in a forked child, bytes in the ring are refused, since the ring is not mapped there, and no hold
//! ends: another thread may have held its lock when the process forked.

use super::own_seat::OwnSeat;
use crate::crash;
use crate::info::MonotonicTime;
use crate::layout::ALIGN_MAX_BYTES;
use crate::memory::{InPlace, LaneMap};
use crate::ring::release::Hold;

/// What stands for a payload in the ring where that is not mapped.
pub(super) const NOT_IN_A_CHILD: &str = "not in a forked child";

/// A copy of a payload, aligned as in the ring.
pub(super) struct KeptCopy {
    /// With room to align it.
    bytes: Box<[u8]>,
    /// Where the payload begins, and how much is left behind it: less than an alignment each.
    from: u16,
    behind: u16,
    /// Whether `time_ns` is a time. No number of it says so: a producer may write any.
    is_stamped: bool,
    time_ns: u64,
}

const _: () = assert!(ALIGN_MAX_BYTES <= 1 << 16);

impl KeptCopy {
    #[inline(always)]
    pub(super) fn new(payload: &[u8], align: u64, time: Option<MonotonicTime>) -> Self {
        let spare = align as usize - 1;
        let mut bytes: Vec<u8> = Vec::with_capacity(payload.len() + spare);
        let from = bytes.as_ptr().align_offset(align as usize);
        bytes.resize(from, 0);
        bytes.extend_from_slice(payload);
        // As long as it has room, so that it becomes a box where it is.
        bytes.resize(payload.len() + spare, 0);
        let (from, behind) = (from as u16, (spare - from) as u16);
        let (is_stamped, time_ns) = (time.is_some(), time.map_or(0, MonotonicTime::as_nanos));
        Self { bytes: bytes.into_boxed_slice(), from, behind, is_stamped, time_ns }
    }

    /// The time of the record's commit, if it had one.
    pub(super) fn time(&self) -> Option<MonotonicTime> {
        self.is_stamped.then(|| MonotonicTime::from_nanos(self.time_ns))
    }

    #[inline]
    pub(super) fn payload(&self) -> &[u8] {
        &self.bytes[self.from as usize..self.bytes.len() - self.behind as usize]
    }
}

/// The payload at `position` of a record that `hold` holds.
///
/// # Panics
///
/// In a forked child: the ring is not mapped there.
#[inline]
pub(super) fn payload_in_place<'a>(
    hold: &'a Hold<LaneMap, OwnSeat>,
    trust: &InPlace,
    (position, len): (u64, u64),
) -> &'a [u8] {
    assert!(!hold.seat().is_forked(), "a record that is held in the ring is not there in a forked child");
    hold.lane().ring().in_place(trust, position, len)
}

/// Ends a hold, which releases what it alone has held back. Does nothing in a forked child.
#[inline]
pub(super) fn end_hold(hold: &Hold<LaneMap, OwnSeat>) {
    if !hold.seat().is_forked() {
        crash::point!("consumer-hold-ending");
        hold.end();
        crash::point!("consumer-hold-ended");
    }
}
