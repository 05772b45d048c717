//! The tap over a ring in which a hostile producer writes anything, between its looks or during them.

use super::Script;
use super::frames::lane_terms;
use super::ring_reader::{ACTIONS_MAX, GEOMETRIES, LOOKS_MAX, Rig, act};
use crate::consumer::{Attachment, Record, Tap, TapError};
use crate::error::Result;
use crate::handshake::START_LIMIT;
use crate::layout::{CONSUMED_LEFT_BIT, RecordHeader, STAMP_OFFSET};
use crate::memory::{LaneMap, SeatMap, WritableLane};
use crate::os::bell::{Bell, BellEnd};
use crate::os::fork::ForkGuard;
use crate::ring::{LaneWords, LaneWriter, RingWords, SeatWords};
use crate::sync::Ordering;
use crate::terms::Barrier;
use crate::wire::LaneTerms;
use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

thread_local! {
    static RIGS: RefCell<[Option<Rig>; GEOMETRIES.len()]> = const { RefCell::new([const { None }; GEOMETRIES.len()]) };
}

/// Plays `data` as a script, as [`ring_reader`](super::ring_reader()) does; a tap looks instead of a consumer, for the
/// next record, the newest, or all of them.
///
/// Every look ends; it brings a record within the limits, a miss, an error, or nothing; what it passes it has read or
/// counts as missed; and after an error that is final nothing is read.
pub fn tap_reader(data: &[u8]) {
    let mut script = Script::new(data);
    let choice = script.u8();
    let (is_concurrent, index) = (choice & 0x80 != 0, usize::from(choice & 0x7f) % GEOMETRIES.len());
    RIGS.with_borrow_mut(|rigs| {
        let rig = rigs[index].get_or_insert_with(|| Rig::new(GEOMETRIES[index]).expect("memory for a small ring"));
        let start = script.word_near(&[0, rig.geometry().capacity(), START_LIMIT]) % START_LIMIT;
        let start = start & !(rig.geometry().record_align() - 1);
        rig.reset(start);
        let mut tapping = Tapping::new(rig, start).expect("a bell and memory for a tap");
        let mut honest = start;
        if is_concurrent {
            let (hostile, map) = (&mut rig.hostile, Arc::clone(&rig.map));
            std::thread::scope(|scope| {
                scope.spawn(move || {
                    for _ in 0..ACTIONS_MAX {
                        write(hostile, &mut script, start, &mut honest);
                    }
                });
                for look in 0..LOOKS_MAX {
                    tapping.look((look as u8).wrapping_mul(16), None, &map);
                }
            });
        } else {
            for _ in 0..ACTIONS_MAX {
                if script.is_empty() {
                    break;
                }
                if script.clone().u8() & 0x80 == 0 {
                    write(&mut rig.hostile, &mut script, tapping.tap.position(), &mut honest);
                    continue;
                }
                let choice = script.u8();
                for _ in 0..1 + choice % 16 {
                    tapping.look(choice, Some(&rig.hostile), &rig.map);
                }
            }
        }
        tapping.leave();
    });
}

/// Like [`act`], and now and then `last`.
fn write(hostile: &mut WritableLane, script: &mut Script<'_>, near: u64, honest: &mut u64) {
    if script.clone().u8() & 0x7c != 0x78 {
        return act(hostile, script, near, honest);
    }
    script.u8();
    let published = hostile.lane().published().load(Ordering::Relaxed);
    let last =
        script.word_near(&[near, published, *honest, 0, near.wrapping_sub(hostile.lane().geometry().capacity())]);
    hostile.lane().last().store(last, Ordering::Relaxed);
}

/// The tap, and what must stay true of it.
struct Tapping {
    tap: Tap,
    seat: SeatMap,
    start: u64,
    /// Why it reads no more.
    stopped: Option<TapError>,
}

impl Tapping {
    fn new(rig: &Rig, start: u64) -> Result<Self> {
        let (_, end) = Bell::create()?;
        let seat = SeatMap::new(Arc::clone(&rig.seat), 0);
        let terms = lane_terms(1, rig.geometry()).remove(0);
        let attachment = Attachment {
            terms: LaneTerms { is_stamped: rig.map.is_stamped(), ..terms },
            lane: Arc::clone(&rig.map),
            seat: seat.clone(),
            bell: BellEnd::receive(Bell::KIND, end)?,
            space_bell: None,
            inbox: None,
            barrier: Barrier::Fence,
            start,
            evictions: 0,
            in_place: None,
            spin: Duration::ZERO,
        };
        let tap = Tap::new(attachment, Arc::clone(&rig.link), ForkGuard::get()?)?;
        Ok(Self { tap, seat, start, stopped: None })
    }

    /// Looks once, in one of three ways; if nobody writes meanwhile, `ring` is what the records are compared with.
    fn look(&mut self, choice: u8, ring: Option<&WritableLane>, map: &LaneMap) {
        let geometry = map.geometry();
        let (before, missed_before) = (self.tap.position(), self.tap.missed_bytes());
        let mut read_bytes = 0;
        let mut next = before;
        let mut check = |record: &Record<'_>| {
            let (position, payload) = (record.position(), &record[..]);
            assert_eq!(record.published_at().is_some(), map.is_stamped(), "a time, or none");
            let size = geometry.record_size(payload.len() as u64);
            assert!(size <= geometry.room_to_end(position), "across the end of the ring");
            assert!(position >= next, "backwards");
            if let Some(ring) = ring {
                assert_eq!(*payload, *ring.bytes(position + geometry.payload_offset(), payload.len() as u64));
                let word = map.header_word(position) & 0xffff_ffff_ffff;
                assert_eq!(word, RecordHeader::data(payload.len() as u32, 0).to_word(), "no record is there");
                let stamp = map.header_word(position.wrapping_add(STAMP_OFFSET));
                assert!(record.published_at().is_none_or(|time| time.as_nanos() == stamp), "another time");
            }
            (next, read_bytes) = (position + size, read_bytes + size);
        };
        let outcome = match choice >> 4 & 7 {
            0..4 => self.tap.try_receive().map(|record| record.map(|record| check(&record))),
            4..6 => self.tap.try_receive_newest().map(|record| record.map(|record| check(&record))),
            _ => {
                let read = self.tap.try_receive_many(|record| check(record));
                read.map(|records| (records != 0).then_some(()))
            }
        };
        let (after, missed) = (self.tap.position(), self.tap.missed_bytes() - missed_before);
        assert!(after >= before + missed + read_bytes, "more than it has passed");
        let padding = after - before - missed - read_bytes;
        match outcome {
            Ok(Some(())) => {
                assert!(self.stopped.is_none() && read_bytes > 0 && padding < 2 * geometry.capacity() && after >= next);
            }
            Ok(None) => {
                assert!(self.stopped.is_none() && read_bytes == 0, "an orderly end of a lane that was given up");
                assert!(ring.is_none() || map.state().load(Ordering::Relaxed) == 2, "an end that nobody declared");
            }
            Err(TapError::Lagged { missed_bytes }) => {
                assert!(
                    self.stopped.is_none() && missed_bytes <= missed + read_bytes && padding < 2 * geometry.capacity()
                );
            }
            Err(error @ TapError::Corrupt(_)) => {
                assert!(self.stopped.as_ref().is_none_or(|stopped| *stopped == error), "another reason the next time");
                self.stopped = Some(error);
            }
            Err(TapError::Empty) => assert!(self.stopped.is_none(), "a lane that was given up is empty"),
            Err(TapError::Abandoned) => {
                assert!(ring.is_none() || map.state().load(Ordering::Relaxed) == 3, "an end that nobody declared");
            }
            Err(error) => panic!("an error that nobody caused: {error}"),
        }
        assert!(self.said() <= after, "it says that it has read more than it has");
    }

    fn said(&self) -> u64 {
        match self.seat.consumed().load(Ordering::Relaxed) {
            0 => self.start,
            word => word,
        }
    }

    fn leave(self) {
        let Self { tap, seat, .. } = self;
        let position = tap.position();
        drop(tap);
        let words = [seat.consumed(), seat.read()].map(|word| word.load(Ordering::Relaxed));
        assert_eq!(words, [position | CONSUMED_LEFT_BIT, position], "left without a word");
    }
}
