//! A mapped lane: bytes are found where they belong, and never beyond the end of the ring.

use super::lines::LineTaker;
use super::{InPlace, LaneMap, WritableLane};
use crate::layout::{CONTROL_HEADER_WORDS, ControlHeader, Geometry, LaneState};
use crate::producer::runs::Row;
use crate::region::{HugePages, Region, RegionOptions, Seals};
use crate::ring::{LaneWords, LaneWriter, RingWords};
use crate::sync::Ordering;
use rustix::fd::AsFd;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// A lane of 4096 bytes as its producer maps it.
pub(crate) fn mapped_lane() -> WritableLane {
    let region = || {
        let options = RegionOptions { name: "mapped", len_bytes: 4096, huge_pages: HugePages::No };
        Region::create(&options).unwrap()
    };
    let header = ControlHeader::from_words([0; CONTROL_HEADER_WORDS]);
    WritableLane::create(region(), region(), Geometry::new(4096, 8, 8).unwrap(), &header).unwrap().0
}

/// The token of a reader whose producer is the test itself.
pub(crate) fn trust() -> InPlace {
    // SAFETY: nothing is written here while it is read.
    #[allow(unsafe_code, reason = "readers in place are tested too")]
    unsafe {
        InPlace::vouch()
    }
}

fn panics(what: impl FnOnce()) -> bool {
    catch_unwind(AssertUnwindSafe(what)).is_err()
}

#[test]
fn a_control_region_that_is_sealed_is_of_a_whole_lane() {
    let region =
        || Region::create(&RegionOptions { name: "whole", len_bytes: 4096, huge_pages: HugePages::No }).unwrap();
    let descriptor = |region: &Region| region.as_fd().try_clone_to_owned().unwrap();
    let create = |control, data| {
        let header = ControlHeader::from_words([0; CONTROL_HEADER_WORDS]);
        WritableLane::create(control, data, Geometry::new(4096, 8, 8).unwrap(), &header)
    };
    let (lane, control, _) = create(region(), region()).unwrap();
    assert!(Region::has_seals(&descriptor(&control), Seals::SEAL));
    assert_eq!(lane.lane().state().load(Ordering::Relaxed), LaneState::Open as u32);
    // A data region that takes no seals any more.
    let (control, data) = (region(), region());
    data.seal(Seals::SEAL).unwrap();
    let kept = descriptor(&control);
    create(control, data).unwrap_err();
    for seal in [Seals::SHRINK, Seals::GROW, Seals::FUTURE_WRITE, Seals::SEAL] {
        assert!(!Region::has_seals(&kept, seal), "{seal:?} of a lane that was not made");
    }
}

#[test]
fn many_records_are_written_side_by_side() {
    let mut lane = mapped_lane();
    let row = Row { begin: 4096 - 64, room_bytes: 64, size: 16, payload_offset: 8, len: 7, header: 0x1_0000_0007 };
    let records = row.write(&mut lane, usize::MAX, |index, payload| payload.fill(index as u8));
    assert_eq!(records, 4, "as many as there is room for");
    assert_eq!(row.write(&mut lane, 3, |index, payload| payload.fill(index as u8)), 3, "as many as were asked for");
    assert_eq!(Row { room_bytes: 40, ..row }.write(&mut lane, 4, |_, _| {}), 2, "whole ones only");
    let lane: &LaneMap = lane.lane();
    for index in 0..4u64 {
        let position = 4096 - 64 + index * 16;
        assert_eq!(lane.header_word(position), row.header);
        assert_eq!(lane.ring().in_place(&trust(), position + 8, 7), [index as u8; 7]);
    }
    assert_eq!(lane.ring().header_words::<4>(4096 - 64, 16), [row.header; 4]);
    let payloads = lane.ring().in_place_each::<4>(&trust(), 4096 - 56, 16, 7);
    assert_eq!(payloads, [0u8, 1, 2, 3].map(|value| [value; 7]));
}

#[test]
fn a_record_of_a_row_has_a_header_only_once_it_is_filled() {
    let mut lane = mapped_lane();
    let row = Row { begin: 64, room_bytes: 64, size: 16, payload_offset: 8, len: 7, header: 0x1_0000_0007 };
    assert!(panics(|| _ = row.write(&mut lane, 4, |index, _| assert!(index < 2, "as the test asks for"))));
    assert_eq!([64, 80, 96, 112].map(|position| lane.lane().header_word(position)), [row.header, row.header, 0, 0]);
}

#[test]
fn nothing_is_written_or_read_beyond_the_end_of_the_ring() {
    let mut lane = mapped_lane();
    let row = Row { begin: 4096 - 64, room_bytes: 64, size: 16, payload_offset: 8, len: 7, header: 0x1_0000_0007 };
    let rows = [
        ("across the end", Row { begin: 4096 - 48, ..row }),
        ("longer than the ring", Row { begin: 0, room_bytes: 8192, ..row }),
        ("a payload over its header", Row { payload_offset: 0, ..row }),
        ("a payload longer than its record", Row { len: 9, ..row }),
        ("a payload behind its record", Row { payload_offset: 24, len: 0, ..row }),
    ];
    for (what, row) in rows {
        let mut filled = 0;
        assert!(panics(|| _ = row.write(&mut lane, usize::MAX, |_, _| filled += 1)), "{what}");
        assert_eq!(filled, 0, "{what} came to be filled");
    }
    let ring = lane.lane().ring();
    assert_eq!(ring.in_place(&trust(), 4096 + 4032, 64).len(), 64);
    assert!(panics(|| _ = ring.in_place(&trust(), 4096 - 56, 57)) && panics(|| _ = ring.in_place(&trust(), 0, 4097)));
    assert!(panics(|| _ = ring.in_place(&trust(), 8, u64::MAX)));
    assert!(!panics(|| _ = ring.header_words::<8>(4096 - 64, 8)) && panics(|| _ = ring.header_words::<9>(4032, 8)));
    assert!(panics(|| _ = ring.header_words::<2>(4, 8)) && panics(|| _ = ring.header_words::<2>(0, 4)));
    assert!(panics(|| _ = ring.in_place_each::<4>(&trust(), 4096 - 56, 16, 9)));
    assert!(panics(|| _ = ring.in_place_each::<2>(&trust(), 0, u32::MAX, 1)));
    assert!(panics(|| ring.copy_out(4096 - 8, &mut [0; 2])) && panics(|| ring.copy_out(4, &mut [0; 1])));
    assert!(panics(|| _ = lane.bytes_mut(4096 - 56, 57)) && panics(|| _ = lane.bytes(1, 4096)));
    assert!(panics(|| lane.copy_in(4096 - 8, &[0; 9])) && panics(|| lane.copy_in(4, &[0; 1])));
}

#[test]
fn lines_beyond_the_ring_are_taken_without_a_fault_and_no_byte_changes() {
    let mut lane = mapped_lane();
    let capacity = lane.lane().geometry().capacity();
    lane.bytes_mut(0, capacity).iter_mut().enumerate().for_each(|(index, byte)| *byte = index as u8);
    for len in [0, 1, 31, 32, 120, 121, 1000, capacity] {
        let end = lane.bytes(capacity - len, len);
        LineTaker::eager().take(end);
        LineTaker::eager().take_own_of_short(end);
        lane.lines().take(lane.bytes(0, len));
    }
    assert!(lane.bytes(0, capacity).iter().enumerate().all(|(index, byte)| *byte == index as u8));
}

#[test]
fn several_places_are_filled_at_once_if_they_lie_apart() {
    let mut lane = mapped_lane();
    let slices = lane.bytes_mut_each(&[(4096 - 64, 16), (4096 - 48, 48), (4096, 0), (4096, 100), (8192 - 164, 100)]);
    assert_eq!(slices.iter().map(|slice| slice.len()).collect::<Vec<_>>(), [16, 48, 0, 100, 100]);
    slices.into_iter().zip(1..).for_each(|(slice, value)| slice.fill(value));
    let begins = [4096 - 64, 4096 - 48, 0, 3932].map(|position| lane.bytes(position, 1)[0]);
    assert_eq!(begins, [1, 2, 4, 5]);
    assert!(lane.bytes_mut_each(&[]).is_empty());
    for overlapping in [[(0, 16), (8, 8)], [(8, 8), (0, 8)], [(0, 16), (4096, 1)], [(64, 64), (4096, 65)]] {
        assert!(panics(|| drop(lane.bytes_mut_each(&overlapping))), "{overlapping:?}");
    }
    assert!(panics(|| drop(lane.bytes_mut_each(&[(4096 - 8, 16)]))), "across the end of the ring");
}

#[test]
fn bytes_are_moved_within_the_ring_also_where_they_overlap() {
    let mut lane = mapped_lane();
    lane.bytes_mut(4096, 64).iter_mut().zip(0..).for_each(|(byte, value)| *byte = value);
    lane.move_bytes(4096 + 8, 4096, 56);
    assert!(lane.bytes(4096, 56).iter().copied().eq(8..64));
    lane.move_bytes(4096, 4096 - 56, 56);
    assert!(lane.bytes(4096 - 56, 56).iter().copied().eq(8..64));
    assert!(panics(|| lane.move_bytes(4096, 4096 - 55, 56)));
    assert!(panics(|| lane.move_bytes(4096 - 55, 0, 56)));
}
