//! Times of records over plain words: who reads the clock and when, and what a reader makes of what lies there.

use super::{PlainLane, PlainReader, claim, lane_at};
use crate::layout::STAMP_OFFSET;
use crate::ring::cursor::Found;
use crate::ring::stamp::{Stamped, stamp_of};
use crate::ring::{Copying, LaneWords, RingWords};
use crate::sync::Ordering::Relaxed;
use std::cell::Cell;

#[test]
fn the_clock_is_read_for_the_first_record_after_a_publication() {
    let (lane, mut writer, ..) = lane_at(0, 16);
    let clock = Cell::new(100);
    let now = || clock.replace(clock.get() + 1);
    let stamp = |position| lane.header_word(position + STAMP_OFFSET);
    for expected in [100, 101] {
        let alone = claim(&mut writer, 8);
        writer.stamp(writer.room().committed(), alone.begin(), now);
        writer.commit(alone, 0);
        writer.publish(alone.begin());
        assert_eq!(stamp(alone.begin()), expected);
    }
    assert!(writer.raise_intent(4096, 4096));
    for expected in [102, 103] {
        let mut room = writer.room();
        for _ in 0..3 {
            let member = room.claim(8).unwrap();
            writer.stamp(room.committed(), member.begin(), now);
            writer.commit_in(&mut room, member, 0);
            assert_eq!(stamp(member.begin()), expected);
        }
        writer.publish_batch(room);
    }
    assert_eq!(clock.get(), 104);
}

/// A ring that another record's time lies in once a payload was copied.
struct Overwritten<'a>(&'a PlainLane, Cell<bool>);

impl RingWords for Overwritten<'_> {
    fn header_word(&self, position: u64) -> u64 {
        if self.1.get() { u64::MAX } else { self.0.header_word(position) }
    }

    fn copy_out(&self, position: u64, copy: &mut [u64]) {
        self.0.copy_out(position, copy);
        self.1.set(true);
    }
}

#[test]
fn a_time_is_loaded_before_the_copy_is_judged() {
    let (lane, _, reader, _) = lane_at(0, 16);
    lane.put(STAMP_OFFSET, 77);
    let found = Found { position: 0, from: 0, payload: 16, len: 8, tag: 0, fds: 0 };
    let stamped = Stamped::<PlainReader>::new(&reader);
    assert!(stamped.copy_intact(&Overwritten(&lane, Cell::new(false)), found, &mut [0]));
    assert_eq!(stamped.stamp(), 77);
}

#[test]
fn the_time_of_a_record_that_may_be_overwritten_is_none() {
    let (lane, ..) = lane_at(0, 16);
    lane.put(32 + STAMP_OFFSET, u64::MAX);
    for (intent, expected) in [(64, Some(u64::MAX)), (32 + 4096, Some(u64::MAX)), (32 + 4096 + 1, None), (0, None)] {
        lane.intent().store(intent, Relaxed);
        assert_eq!(stamp_of(&*lane, 32), expected, "{intent}");
    }
    lane.intent().store(u64::MAX, Relaxed);
    assert_eq!(stamp_of(&*lane, u64::MAX - 7), Some(0), "no position is too high");
}
