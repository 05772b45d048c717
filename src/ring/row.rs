//! Records of one length, written side by side: the publication protocol's claim, fill and commit for many at once.
//!
//! The invariant: as in [`writer`](super::writer), no byte is written at or above `intent`, nor in padding, and a
//! record has a header only once its payload is filled.
//!
//! What this file does not do: it looks for no room, and publishes nothing.

#![cfg_attr(not(loom), allow(unsafe_code, reason = "many payloads are checked as one"))]

#[cfg(not(loom))]
use super::WritableLane;
#[cfg(not(loom))]
use crate::crash;
#[cfg(not(loom))]
use crate::sync::{AtomicU64, Ordering};

/// Records of one length that fit side by side, as [`Room::row`](super::writer::Room::row) finds them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    /// Where the first of them begins.
    pub(super) begin: u64,
    /// None of them goes further than this.
    pub(super) end: u64,
    /// From one to the next, in bytes.
    pub(super) size: u64,
    /// From the beginning of a record to its payload, in bytes.
    pub(super) payload_offset: u64,
    /// The payload of each, in bytes.
    pub(super) len: u64,
    /// The header word of each.
    pub(super) header: u64,
}

/// Fills records side by side, up to `count` and as many as there is room for in `row`: `fill` is called with the
/// number of each, from 0, and its payload, then its header is written if `goes_on`; how many there are.
///
/// # Panics
///
/// Where the row would cross the end of the ring, or its records are not whole words or do not hold their payloads.
#[cfg(not(loom))]
#[inline(always)]
pub(crate) fn fill_row(
    lane: &mut WritableLane,
    row: &Row,
    count: usize,
    goes_on: impl Fn() -> bool,
    mut fill: impl FnMut(usize, &mut [u8]),
) -> usize {
    let Row { begin, end, size, payload_offset, len, header } = *row;
    assert!((begin | size).is_multiple_of(8), "records lie on multiples of 8");
    assert!(8 <= payload_offset && payload_offset <= size && len <= size - payload_offset, "payloads lie in records");
    let room = end - begin;
    let first = lane.ring_mut().bytes(begin, room);
    let wanted = room.min(size.saturating_mul(count as u64));
    let (mut filled, mut at) = (0, 0);
    while size <= wanted - at {
        // SAFETY: `at` + `size` ≤ `wanted` ≤ `room`, and so many bytes lie in the ring.
        let record = unsafe { first.add(at as usize) };
        // SAFETY: the payload lies in the record.
        let payload = unsafe { record.add(payload_offset as usize) };
        // SAFETY: writable, and `lane` is the one writer's, which this borrows; else as for
        // `WritableLane::payload_mut`.
        fill(filled, unsafe { std::slice::from_raw_parts_mut(payload.as_ptr(), len as usize) });
        crash::point!("producer-in-row");
        if !goes_on() {
            break;
        }
        // SAFETY: the record begins with 8 bytes before its payload, aligned as the ring and the sizes are; the
        // header is stored as by `set_header_word`.
        unsafe { record.cast::<AtomicU64>().as_ref() }.store(header, Ordering::Relaxed);
        filled += 1;
        at += size;
    }
    filled
}
