//! The roster over plain words: gating, joining, evicting, waking.

use crate::fuzzing::plain::{PlainLane, PlainSeat};
use crate::layout::{CONSUMED_LEFT_BIT, Geometry};
use crate::ring::roster::{Gate, Joiner, Roster, SeatPort};
use crate::ring::sleepers::{Snapshot, wake_sleepers};
use crate::ring::{LaneWords, SeatWords};
use crate::sync::Ordering::Relaxed;
use crate::sync::{AtomicU32, AtomicU64};
use crate::terms::{Barrier, Delivery, Start};
use proptest::prelude::{Just, Strategy, any, prop_oneof, proptest};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

const CAPACITY: u64 = 4096;

/// A seat whose bell and fate are counted.
#[derive(Clone, Debug, Default)]
pub(super) struct CountingPort {
    pub(super) words: PlainSeat,
    pub(super) rings: Arc<AtomicU32>,
    pub(super) outs: Arc<AtomicU32>,
    pub(super) is_broken: Arc<AtomicBool>,
    /// Whether it may succeed nobody.
    pub(super) is_stranger: bool,
}

impl SeatWords for CountingPort {
    fn consumed(&self) -> &AtomicU64 {
        self.words.consumed()
    }

    fn space_seq(&self) -> &AtomicU32 {
        self.words.space_seq()
    }

    fn read(&self) -> &AtomicU64 {
        self.words.read()
    }

    fn wait_epoch(&self) -> &AtomicU32 {
        self.words.wait_epoch()
    }
}

impl SeatPort for CountingPort {
    type Words = PlainSeat;

    fn words(&self) -> PlainSeat {
        self.words.clone()
    }

    fn wake(&self) -> bool {
        self.rings.fetch_add(1, Relaxed);
        !self.is_broken.load(Relaxed)
    }

    fn note_evicted(&self) {
        self.outs.fetch_add(1, Relaxed);
    }

    fn may_succeed(&self, _gone: &Self) -> bool {
        !self.is_stranger
    }
}

impl CountingPort {
    /// Stores `consumed`, and a `read` that goes with it.
    pub(super) fn say(&self, consumed: u64) {
        self.words.read().store(consumed & !CONSUMED_LEFT_BIT, Relaxed);
        self.words.consumed().store(consumed, Relaxed);
    }
}

/// A lane that has published `published`, and its roster.
pub(super) fn roster_at(published: u64) -> (Arc<PlainLane>, Roster<CountingPort>) {
    let lane = PlainLane::new(Geometry::new(CAPACITY, 8, 8).unwrap());
    lane.published().store(published, Relaxed);
    (lane, Roster::new(published))
}

pub(super) fn join(roster: &Roster<CountingPort>, lane: &PlainLane, id: u64, start: Start) -> (CountingPort, u64) {
    let port = CountingPort::default();
    let joiner = Joiner { id, start, delivery: Delivery::Lossless, barrier: Barrier::Fence, takes_fds: false };
    let start = roster.join(lane, joiner, port.clone());
    (port, start.unwrap())
}

#[test]
fn the_slowest_consumer_gates() {
    let (lane, roster) = roster_at(1000 * 8);
    let (first, _) = join(&roster, &lane, 1, Start::Latest);
    let (second, _) = join(&roster, &lane, 2, Start::Latest);
    first.say(8400);
    let (limit, gate) = roster.refresh(&*lane, 9000, 9008);
    assert_eq!((limit, gate), (8000 + CAPACITY, Some(Gate { seat_id: 2, behind_bytes: 1000 })));
    second.say(9000);
    let (limit, gate) = roster.refresh(&*lane, 9000, 9008);
    assert_eq!((limit, gate), (8400 + CAPACITY, Some(Gate { seat_id: 1, behind_bytes: 600 })));
}

#[test]
fn consumed_of_zero_stands_for_the_start_until_something_was_consumed() {
    let (lane, roster) = roster_at(8000);
    let (port, _) = join(&roster, &lane, 1, Start::Latest);
    assert_eq!(roster.refresh(&*lane, 8000, 8008).0, 8000 + CAPACITY);
    port.say(8000 + 64);
    assert_eq!(roster.refresh(&*lane, 8064, 8072).0, 8064 + CAPACITY);
    port.say(0);
    roster.refresh(&*lane, 8064, 8072);
    assert_eq!((roster.len(), port.outs.load(Relaxed)), (0, 1), "it fell");
}

#[test]
fn one_who_left_goes_without_an_eviction() {
    let (lane, roster) = roster_at(0);
    for released in [0, 8, 512] {
        let (port, _) = join(&roster, &lane, 1, Start::Latest);
        port.say(released | CONSUMED_LEFT_BIT);
        let (_, changed_before) = roster.capture_changed();
        assert_eq!(roster.refresh(&*lane, 512, 520).1, None);
        assert_eq!((roster.len(), port.outs.load(Relaxed), lane.evictions().load(Relaxed)), (0, 0, 0));
        assert_ne!(roster.capture_changed().1, changed_before, "a sleeping producer is told");
    }
}

#[test]
fn one_who_left_from_a_position_that_cannot_be_is_evicted() {
    for (released, read) in [(4000, 8512), (8520, 8520), (8520, 8512), (8008, 8000), (0, 8512), (u64::MAX >> 1, 8512)] {
        let (lane, roster) = roster_at(8000);
        let (port, _) = join(&roster, &lane, 1, Start::Latest);
        port.say(8000 + 8);
        roster.refresh(&*lane, 8512, 8520);
        port.words.read().store(read, Relaxed);
        port.consumed().store(released | CONSUMED_LEFT_BIT, Relaxed);
        roster.refresh(&*lane, 8512, 8520);
        assert_eq!((roster.len(), port.outs.load(Relaxed)), (0, 1), "{released}, {read}");
    }
}

#[test]
fn what_was_read_is_no_less_than_what_was_released_and_no_more_than_what_is_published() {
    for (consumed, read, is_sound) in [
        (0, 0, true),
        (0, 8000, true),
        (0, 8512, true),
        (8064, 8064, true),
        (8064, 8512, true),
        (8064, 8056, false),
        (8064, 0, false),
        (8064, 8520, false),
        (8064, u64::MAX, false),
        (0, 7992, false),
    ] {
        let (lane, roster) = roster_at(8000);
        let (port, _) = join(&roster, &lane, 1, Start::Latest);
        port.words.read().store(read, Relaxed);
        port.consumed().store(consumed, Relaxed);
        roster.refresh(&*lane, 8512, 8520);
        assert_eq!((roster.len() == 1, port.outs.load(Relaxed) == 0), (is_sound, is_sound), "{consumed}, {read}");
    }
}

#[test]
fn nonsense_in_a_seat_puts_it_out_and_counts_as_an_eviction() {
    for nonsense in [520, 1 << 62, u64::MAX - 1, u64::MAX] {
        let (lane, roster) = roster_at(0);
        let (port, _) = join(&roster, &lane, 1, Start::Latest);
        let (honest, _) = join(&roster, &lane, 2, Start::Latest);
        port.say(nonsense);
        let (limit, gate) = roster.refresh(&*lane, 512, 520);
        assert_eq!((limit, gate.unwrap().seat_id), (CAPACITY, 2), "the others' bytes are safe");
        assert_eq!((port.outs.load(Relaxed), honest.outs.load(Relaxed)), (1, 0));
        assert_eq!((roster.len(), lane.evictions().load(Relaxed)), (1, 1));
    }
}

#[test]
fn an_eviction_is_counted_once_and_a_leave_not_at_all() {
    let (lane, roster) = roster_at(0);
    let (port, _) = join(&roster, &lane, 1, Start::Latest);
    join(&roster, &lane, 2, Start::Latest);
    roster.evict(&*lane, 1);
    roster.evict(&*lane, 1);
    roster.leave(&*lane, 1);
    roster.leave(&*lane, 2);
    assert_eq!((roster.len(), lane.evictions().load(Relaxed), port.outs.load(Relaxed)), (0, 1, 1));
}

#[test]
fn without_a_consumer_an_eighth_is_opened_at_a_time() {
    let (lane, roster) = roster_at(0);
    assert_eq!(roster.refresh(&*lane, 0, 64), (64 + CAPACITY / 8, None));
    assert_eq!(roster.refresh(&*lane, 64, CAPACITY + 64).0, CAPACITY + 64, "never beyond what is published");
    assert_eq!(roster.refresh(&*lane, 64, 72).0, CAPACITY + 64, "a limit never falls");
}

#[test]
fn the_oldest_start_is_the_first_boundary_that_nothing_can_overwrite() {
    let (lane, roster) = roster_at(0);
    assert_eq!(join(&roster, &lane, 1, Start::Oldest).1, 0, "the ring's beginning is remembered");
    roster.leave(&*lane, 1);
    for published in (0..=3 * CAPACITY).step_by(48) {
        lane.published().store(published, Relaxed);
        let (limit, _) = roster.refresh(&*lane, published, published + 48);
        roster.remember_boundary(&*lane, published);
        let (_, start) = join(&roster, &lane, 1, Start::Oldest);
        assert!(start.is_multiple_of(48) && start <= published, "{start} is where a record begins");
        assert!(start + CAPACITY >= limit, "{start} can be overwritten up to {limit}");
        assert!(published < CAPACITY || published - start >= CAPACITY / 2, "most of the ring can be joined");
        assert_eq!(roster.refresh(&*lane, published, published + 48).0, limit.max(start + CAPACITY));
        roster.leave(&*lane, 1);
    }
}

#[test]
fn the_oldest_start_is_the_latest_where_no_boundary_is_safe() {
    let (lane, roster) = roster_at(0);
    lane.published().store(4800, Relaxed);
    assert!(roster.refresh(&*lane, 4800, 4808).0 > CAPACITY, "the ring's beginning may be overwritten");
    assert_eq!(join(&roster, &lane, 1, Start::Oldest).1, 4800);
    assert_eq!(join(&roster, &lane, 2, Start::Latest).1, 4800);
}

/// Values of `consumed`, most of them near what is published; whether they count from what was said last; how much more
/// was read; and whether the seat is left.
fn consumed() -> impl Strategy<Value = (usize, u64, bool, u64, bool)> {
    let value = prop_oneof![8 => 0..600u64, 1 => any::<u64>(), 1 => Just(CONSUMED_LEFT_BIT)];
    let ahead = prop_oneof![8 => Just(0u64), 2 => 0..600u64, 1 => any::<u64>()];
    (0..3usize, value, any::<bool>(), ahead, proptest::bool::weighted(0.05))
}

proptest! {
    /// Invariants 3 and 10: whatever the seats hold.
    #[test]
    fn no_sequence_of_consumed_lets_the_limit_pass_a_remaining_seat_or_fall(
        steps in proptest::collection::vec((consumed(), 0..64u64), 1..60),
        base in prop_oneof![Just(0u64), Just(1 << 32), Just(1 << 62)],
    ) {
        let (lane, roster) = roster_at(base);
        let ports: Vec<CountingPort> = (0..3).map(|id| join(&roster, &lane, id, Start::Latest).0).collect();
        // What each seat last said that made sense; none once it is out.
        let mut model = [Some(base); 3];
        let (mut published, mut last_limit, mut evictions) = (base, base, 0);
        for ((seat, value, relative, ahead, leaves), step) in steps {
            published += step * 8;
            lane.published().store(published, Relaxed);
            let at = model[seat].unwrap_or(base);
            let value = if relative && value < 600 { at + value } else { value };
            let value = if leaves { value | CONSUMED_LEFT_BIT } else { value };
            let read = (value & !CONSUMED_LEFT_BIT).wrapping_add(ahead);
            ports[seat].words.read().store(read, Relaxed);
            ports[seat].consumed().store(value, Relaxed);
            let (limit, gate) = roster.refresh(&*lane, published, published + 8);
            if let Some(at) = model[seat] {
                let position = |word| if word == 0 && at == base { base } else { word };
                let (released, read) = (position(value & !CONSUMED_LEFT_BIT), position(read));
                let is_sound = at <= released && released <= read && read <= published;
                evictions += u32::from(!is_sound);
                model[seat] = (is_sound && value & CONSUMED_LEFT_BIT == 0).then_some(released);
            }
            let least = model.iter().flatten().min();
            assert!(limit >= last_limit, "a limit that fell from {last_limit} to {limit}");
            assert!(least.is_none_or(|least| limit == least + CAPACITY));
            assert!(limit <= published + CAPACITY);
            assert_eq!(gate.map(|gate| gate.behind_bytes), least.map(|least| published - least));
            assert_eq!(roster.len(), model.iter().flatten().count());
            assert_eq!(lane.evictions().load(Relaxed), evictions);
            last_limit = limit;
        }
    }
}

#[test]
fn how_far_behind_a_consumer_is_makes_sense_whatever_its_seat_says() {
    let (lane, roster) = roster_at(8000);
    let (port, _) = join(&roster, &lane, 1, Start::Latest);
    let seat = roster.seats().remove(0);
    let behind = |consumed: u64| {
        port.say(consumed);
        seat.behind_bytes(9000)
    };
    assert_eq!(behind(0), 1000, "at its start");
    assert_eq!(behind(8400), 600);
    roster.refresh(&*lane, 9000, 9008);
    for nonsense in [8392, 9008, 1, u64::MAX - 1, u64::MAX, CONSUMED_LEFT_BIT | 8392] {
        assert_eq!(behind(nonsense), 600, "as of the last time that it made sense, not {nonsense}");
    }
    assert_eq!(behind(CONSUMED_LEFT_BIT | 8400), 0, "it has left");
    assert_eq!((roster.seats().len(), roster.len()), (0, 0), "and does not count");
}

#[test]
fn what_those_who_go_have_not_released_is_remembered() {
    let (lane, roster) = roster_at(8000);
    let unreleased = |position| roster.was_left_unreleased(position);
    let (first, _) = join(&roster, &lane, 1, Start::Latest);
    let (second, _) = join(&roster, &lane, 2, Start::Latest);
    let (third, _) = join(&roster, &lane, 3, Start::Latest);
    lane.published().store(9000, Relaxed);
    first.say(8400);
    second.say(9000);
    third.say(8800);
    assert_eq!(roster.find_released(&*lane, 9000), (8400, Some(Gate { seat_id: 1, behind_bytes: 600 })));
    roster.leave(&*lane, 2);
    assert!(!unreleased(9000), "it had read all");
    roster.evict(&*lane, 1);
    assert_eq!([8400, 8408, 9000, 9008].map(unreleased), [false, true, true, false]);
    assert_eq!(roster.find_released(&*lane, 9000).0, 8800);
    // One that has said how far it had released when it left.
    lane.published().store(9400, Relaxed);
    third.read().store(9400, Relaxed);
    third.consumed().store(9200 | CONSUMED_LEFT_BIT, Relaxed);
    assert_eq!(roster.find_released(&*lane, 9400), (9400, None));
    assert_eq!([9200, 9208, 9400].map(unreleased), [false, true, true]);
    // One that had left, with nothing unread, before more was published.
    let (fourth, start) = join(&roster, &lane, 4, Start::Latest);
    assert_eq!(start, 9400);
    lane.published().store(9500, Relaxed);
    fourth.read().store(9500, Relaxed);
    fourth.consumed().store(9500 | CONSUMED_LEFT_BIT, Relaxed);
    lane.published().store(9600, Relaxed);
    assert_eq!(roster.find_released(&*lane, 9600), (9600, None));
    assert!(!unreleased(9500) && !unreleased(9600), "that was not for it");
}

#[test]
fn nobody_joins_below_what_was_promised_to_be_released() {
    let (lane, roster) = roster_at(0);
    roster.remember_boundary(&*lane, 0);
    lane.published().store(CAPACITY / 2, Relaxed);
    assert_eq!(join(&roster, &lane, 1, Start::Oldest).1, 0);
    roster.leave(&*lane, 1);
    assert_eq!(roster.find_released(&*lane, CAPACITY / 2).0, CAPACITY / 2);
    assert_eq!(join(&roster, &lane, 2, Start::Oldest).1, CAPACITY / 2);
}

#[test]
fn many_who_go_without_releasing_are_remembered_together() {
    let (lane, roster) = roster_at(0);
    for n in 0..200u64 {
        let (port, start) = join(&roster, &lane, n, Start::Latest);
        lane.published().store(start + 16, Relaxed);
        port.say(start + 8);
        roster.leave(&*lane, n);
        lane.published().store(start + 24, Relaxed);
    }
    assert!((0..200).all(|n| roster.was_left_unreleased(n * 24 + 16)), "none is forgotten");
    assert!(!roster.was_left_unreleased(24) && !roster.was_left_unreleased(8), "the first are told apart");
}

pub(super) fn tap(roster: &Roster<CountingPort>, lane: &PlainLane, id: u64) -> CountingPort {
    let port = CountingPort::default();
    let joiner =
        Joiner { id, start: Start::Latest, delivery: Delivery::Lossy, barrier: Barrier::Fence, takes_fds: false };
    roster.join(lane, joiner, port.clone()).unwrap();
    port
}

#[test]
fn a_tap_gates_nothing_whatever_it_says() {
    for said in [0, 8, 4000, 9000, 1 << 62] {
        let (lane, roster) = roster_at(8000);
        let port = tap(&roster, &lane, 1);
        port.words.consumed().store(said, Relaxed);
        assert_eq!(roster.refresh(&*lane, 9000, 9008), (9008 + CAPACITY / 8, None), "as if nobody were there");
        assert_eq!(roster.find_released(&*lane, 9000), (9000, None));
        let (consumer, _) = join(&roster, &lane, 2, Start::Latest);
        consumer.say(8400);
        assert_eq!(roster.refresh(&*lane, 9000, 9008).1, Some(Gate { seat_id: 2, behind_bytes: 600 }));
        assert_eq!((roster.len(), roster.taps(), roster.seats().len()), (1, 1, 1));
        assert_eq!((port.outs.load(Relaxed), lane.evictions().load(Relaxed)), (0, 0), "it is not evicted either");
    }
}

#[test]
fn a_tap_that_goes_leaves_nothing_behind() {
    let (lane, roster) = roster_at(8000);
    let ports = [1, 2, 3].map(|id| tap(&roster, &lane, id));
    lane.published().store(9000, Relaxed);
    ports[0].words.consumed().store(8000 | CONSUMED_LEFT_BIT, Relaxed);
    assert_eq!(roster.taps(), 2, "it has said so");
    roster.refresh(&*lane, 9000, 9008);
    assert_eq!((roster.seat(1).is_none(), ports[0].outs.load(Relaxed)), (true, 0));
    roster.leave(&*lane, 2);
    roster.evict(&*lane, 3);
    assert_eq!((roster.taps(), lane.evictions().load(Relaxed)), (0, 0), "nobody else need look closer");
    assert!(!roster.was_left_unreleased(8500), "what it has not read is not unreleased");
}

#[test]
fn a_tap_makes_no_producer_fence() {
    let (lane, roster) = roster_at(0);
    let mut snapshot = Snapshot::new(Barrier::Asymmetric);
    tap(&roster, &lane, 1);
    wake_sleepers(&roster, &mut snapshot);
    assert!(!snapshot.fences);
    join(&roster, &lane, 2, Start::Latest);
    wake_sleepers(&roster, &mut snapshot);
    assert!(snapshot.fences, "a consumer that fences does");
}
