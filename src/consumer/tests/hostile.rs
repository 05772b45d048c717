//! Lanes in which anything may lie.

use super::{consumer, seat_words};
use crate::errors::ReceiveError;
use crate::info::MonotonicTime;
use crate::layout::{CONTROL_HEADER_WORDS, ControlHeader, Geometry, LaneState, RecordHeader, STAMP_OFFSET};
use crate::memory::{ControlMap, LaneMap, WritableLane};
use crate::os::bell::{Bell, BellEnd};
use crate::region::{HugePages, Region, RegionOptions};
use crate::ring::{LaneWords, LaneWriter, RingWords};
use crate::sync::Ordering::Relaxed;
use proptest::prelude::{Just, any, prop_oneof, proptest};
use std::sync::Arc;

fn hostile_lane() -> WritableLane {
    let region = |len_bytes| {
        let options = RegionOptions { name: "hostile", len_bytes, huge_pages: HugePages::No };
        Region::create(&options).unwrap()
    };
    let geometry = Geometry::new(4096, 8, 8).unwrap();
    let header = ControlHeader::from_words([0; CONTROL_HEADER_WORDS]);
    WritableLane::create(region(4096), region(4096), geometry, &header).unwrap().0
}

proptest! {
    /// The whole consumer, copying, against a lane in which everything is arbitrary.
    #[test]
    fn nothing_a_hostile_producer_writes_does_more_than_end_the_reading(
        words in proptest::collection::vec(
            (any::<u16>(), prop_oneof![Just(1u64), Just(2), any::<u64>()], 0..300u64),
            512,
        ),
        looks in proptest::collection::vec((0..5000u64, any::<bool>(), any::<u64>(), 0..5u32, any::<bool>()), 1..20),
    ) {
        let mut lane = hostile_lane();
        for (position, (tag, kind, len)) in (0..4096).step_by(8).zip(words) {
            lane.set_header_word(position, u64::from(tag) << 48 | kind << 32 | len);
        }
        let (_bell, end) = Bell::create().unwrap();
        let end = BellEnd::receive(Bell::KIND, end).unwrap();
        let (mut consumer, _session) = consumer(Arc::clone(lane.shared()), seat_words(), end, 0, None);
        let mut published = 0u64;
        for (step, wild, value, state, evicts) in looks {
            published = if wild && step % 8 == 0 { value } else { published.wrapping_add(step & !7) };
            lane.lane().published().store(published, Relaxed);
            lane.lane().state().store(if state == 4 { value as u32 } else { 1 }, Relaxed);
            lane.lane().intent().store(value, Relaxed);
            if evicts && step % 16 == 0 {
                lane.lane().evictions().fetch_add(1, Relaxed);
            }
            let mut records = 0;
            while let Ok(Some(record)) = consumer.try_receive() {
                assert!(record.len() <= 4096 - 8);
                records += 1;
            }
            assert!(records <= 4096 / 8, "progress");
        }
    }
}

#[test]
fn a_time_of_any_number_is_the_same_in_a_copy() {
    let region = |len_bytes| {
        let options = RegionOptions { name: "hostile", len_bytes, huge_pages: HugePages::No };
        Region::create(&options).unwrap()
    };
    let geometry = Geometry::new(4096, 32, 16).unwrap().stamped().unwrap();
    let header = ControlHeader::from_words([0; CONTROL_HEADER_WORDS]);
    let (mut lane, control, data) = WritableLane::create(region(4096), region(4096), geometry, &header).unwrap();
    let map = ControlMap::new(control.map_read_only().unwrap());
    let map = LaneMap::new(map, data.map_read_only().unwrap(), geometry).stamped(true);
    let (_bell, end) = Bell::create().unwrap();
    let end = BellEnd::receive(Bell::KIND, end).unwrap();
    let (mut consumer, _session) = consumer(Arc::new(map), seat_words(), end, 0, None);
    lane.lane().state().store(LaneState::Open as u32, Relaxed);
    for (position, time_ns) in (0..).step_by(32).zip([0, 1, u64::MAX]) {
        lane.set_header_word(position, RecordHeader::data(8, 4).to_word());
        lane.set_header_word(position + STAMP_OFFSET, time_ns);
        lane.lane().intent().store(position + 32, Relaxed);
        lane.lane().published().store(position + 32, Relaxed);
        let record = consumer.try_receive().unwrap().unwrap();
        let time = Some(MonotonicTime::from_nanos(time_ns));
        assert_eq!((record.published_at(), record.into_owned().published_at()), (time, time));
    }
}

#[test]
fn a_drain_at_the_end_of_all_positions_ends() {
    let mut lane = hostile_lane();
    let (_bell, end) = Bell::create().unwrap();
    let end = BellEnd::receive(Bell::KIND, end).unwrap();
    let start = u64::MAX - 2047;
    lane.lane().state().store(LaneState::Open as u32, Relaxed);
    lane.lane().published().store(start, Relaxed);
    let (mut consumer, _session) = consumer(Arc::clone(lane.shared()), seat_words(), end, start, None);
    assert!(matches!(consumer.try_receive_many(|_| ()), Err(ReceiveError::Empty)));
    lane.set_header_word(start, RecordHeader::data(2032, 4).to_word());
    lane.lane().published().store(start + 2040, Relaxed);
    assert!(matches!(consumer.try_receive_many(|record| assert_eq!(record.len(), 2032)), Ok(1)));
}

#[test]
fn headers_of_the_test_lane_are_what_they_seem() {
    let mut lane = hostile_lane();
    lane.set_header_word(4096 + 8, RecordHeader::data(3, 4).to_word());
    assert_eq!(lane.lane().header_word(8), RecordHeader::data(3, 4).to_word(), "positions are masked into the ring");
}
