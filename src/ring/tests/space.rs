//! The space bell beside a plain model: who is rung when, and that no room is missed.

use super::roster::CountingPort;
use crate::fuzzing::plain::{PlainLane, PlainWriter};
use crate::layout::{CONSUMED_LEFT_BIT, Geometry, SPACE_WAIT_BELL};
use crate::ring::publisher::Publisher;
use crate::ring::reader::Reader;
use crate::ring::release::Hold;
use crate::ring::roster::{Joiner, Roster};
use crate::ring::writer::Writer;
use crate::ring::{LaneWords, SeatCounters, SeatWords, SeatWriter};
use crate::sync::Ordering::Relaxed;
use crate::sync::{AtomicU32, AtomicU64};
use crate::terms::{Barrier, Delivery, Start};
use proptest::prelude::{Just, Strategy, any, prop_oneof, proptest};
use std::collections::VecDeque;
use std::sync::Arc;

const CAPACITY: u64 = 4096;
const PAYLOAD_MAX: u64 = CAPACITY / 2 - 8;

/// A consumer's half of a seat, whose space bell counts its rings.
#[derive(Clone, Debug, Default)]
struct Belled {
    port: CountingPort,
    rings: Arc<AtomicU32>,
}

impl SeatWords for Belled {
    fn consumed(&self) -> &AtomicU64 {
        self.port.consumed()
    }

    fn space_seq(&self) -> &AtomicU32 {
        self.port.space_seq()
    }

    fn read(&self) -> &AtomicU64 {
        self.port.read()
    }

    fn wait_epoch(&self) -> &AtomicU32 {
        self.port.wait_epoch()
    }
}

impl SeatWriter for Belled {
    fn store_counters(&self, counters: SeatCounters) {
        self.port.words.store_counters(counters);
    }

    fn ring_for_space(&self) {
        self.rings.fetch_add(1, Relaxed);
    }
}

#[derive(Clone, Debug)]
enum Step {
    /// Sends a record of that length in bytes, if there is room.
    Send(u64),
    /// Waits for room for one, in a loop of the producer's own.
    Arm(u64),
    Receive(usize),
    Hold(usize),
    /// Takes a record in hand, as a worker does.
    Take(usize),
    /// Ends one of the holds.
    EndHold(usize, usize),
    ReleaseAll(usize),
    ReleaseLightly(usize),
    Join(Start),
    Leave(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let len = || prop_oneof![3 => 0..200u64, 2 => 0..=PAYLOAD_MAX, 1 => Just(PAYLOAD_MAX)];
    let start = prop_oneof![Just(Start::Latest), Just(Start::Oldest)];
    prop_oneof![
        12 => len().prop_map(Step::Send),
        6 => len().prop_map(Step::Arm),
        12 => (0..3usize).prop_map(Step::Receive),
        3 => (0..3usize).prop_map(Step::Hold),
        3 => (0..3usize).prop_map(Step::Take),
        4 => (0..3usize, any::<usize>()).prop_map(|(who, which)| Step::EndHold(who, which)),
        4 => (0..3usize).prop_map(Step::ReleaseAll),
        4 => (0..3usize).prop_map(Step::ReleaseLightly),
        1 => start.prop_map(Step::Join),
        1 => (0..3usize).prop_map(Step::Leave),
    ]
}

/// What becomes of a record that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kept {
    No,
    Held,
    InHand,
}

struct Guest {
    id: u64,
    start: u64,
    seat: Belled,
    reader: Reader<PlainLane, Belled>,
    holds: VecDeque<Hold<PlainLane, Belled>>,
    /// Whether it reads no more; what it holds still gates.
    is_over: bool,
    /// Rings and releases that were counted.
    counted: (u32, u32),
}

impl Guest {
    /// Up to where it has released, or `None` once it has left.
    fn released(&self) -> Option<u64> {
        match self.seat.consumed().load(Relaxed) {
            0 => Some(self.start),
            consumed => (consumed & CONSUMED_LEFT_BIT == 0).then_some(consumed),
        }
    }

    /// As a worker does, which has told what it has read.
    fn release_lightly(&mut self) {
        self.reader.tell_read();
        self.reader.release_all_lightly();
    }
}

/// An announcement that stands.
#[derive(Clone, Copy, Debug)]
struct Armed {
    /// The room that is waited for.
    len: u64,
    /// Whether the loop was woken since: by a bell, or by the roster.
    is_woken: bool,
    roster: u32,
}

struct Model {
    lane: Arc<PlainLane>,
    publisher: Publisher<PlainWriter, CountingPort>,
    roster: Roster<CountingPort>,
    guests: Vec<Guest>,
    ids: u64,
    armed: Option<Armed>,
}

impl Model {
    fn new() -> Self {
        let lane = PlainLane::new(Geometry::new(CAPACITY, 8, 8).unwrap());
        let writer = Writer::new(PlainWriter(Arc::clone(&lane)), 0);
        let (publisher, roster) = (Publisher::new(writer, Barrier::Fence), Roster::new(0));
        Self { lane, publisher, roster, guests: Vec::new(), ids: 0, armed: None }
    }

    /// Whether a record of that length fits beside what nobody has released.
    fn has_room(&self, len: u64) -> bool {
        let oldest = self.guests.iter().filter_map(Guest::released).min().unwrap_or(self.publisher.writer.published());
        self.publisher.writer.end_of(len) <= oldest + CAPACITY
    }

    fn take(&mut self, step: &Step) {
        match *step {
            Step::Send(len) => self.send(len),
            Step::Arm(len) => self.arm(len),
            Step::Join(start) => self.join(start),
            Step::Leave(who) => {
                if let Some(guest) = self.present(who) {
                    let position = guest.reader.position();
                    guest.reader.leave(position);
                    guest.is_over = true;
                }
            }
            Step::Receive(who) => self.read(who, |guest| guest.reader.release_if_due(), Kept::No),
            Step::Hold(who) => self.read(who, |_| (), Kept::Held),
            Step::Take(who) => self.read(who, Guest::release_lightly, Kept::InHand),
            Step::ReleaseAll(who) => {
                if let Some(guest) = self.present(who) {
                    guest.reader.release_all();
                }
            }
            Step::ReleaseLightly(who) => {
                if let Some(guest) = self.present(who) {
                    guest.release_lightly();
                }
            }
            Step::EndHold(who, which) => {
                let Some(guest) = self.guests.get_mut(who) else { return };
                if !guest.holds.is_empty() {
                    let hold = guest.holds.remove(which % guest.holds.len()).unwrap();
                    hold.end();
                }
            }
        }
        self.check();
    }

    /// A consumer that has not left.
    fn present(&mut self, who: usize) -> Option<&mut Guest> {
        self.guests.get_mut(who).filter(|guest| !guest.is_over)
    }

    fn read(&mut self, who: usize, before: impl FnOnce(&mut Guest), how: Kept) {
        let Some(guest) = self.present(who) else { return };
        before(guest);
        let found = guest.reader.poll().unwrap();
        match (found, how) {
            (None, _) | (_, Kept::No) => {}
            (Some(found), Kept::Held) => {
                let end = guest.reader.position();
                guest.holds.push_back(guest.reader.release().hold(found.position, end));
            }
            (Some(found), Kept::InHand) => {
                guest.reader.tell_read();
                guest.holds.push_back(guest.reader.release_and_hold(found.from));
            }
        }
    }

    fn send(&mut self, len: u64) {
        let claim = match self.publisher.writer.claim(len) {
            Some(claim) => claim,
            None => {
                let has_room = self.has_room(len);
                match self.publisher.find_room(&self.roster, len) {
                    Ok(claim) => {
                        assert!(has_room, "room that is not there");
                        self.armed = None;
                        claim
                    }
                    Err(_) => return assert!(!has_room, "room that was not seen"),
                }
            }
        };
        self.publisher.writer.commit(claim, 0);
        self.publisher.publish(&self.roster, claim.begin());
    }

    fn arm(&mut self, len: u64) {
        let has_room = self.has_room(len);
        let outcome = self.publisher.arm_for_space(&self.roster, len);
        assert_eq!(outcome.is_ok(), has_room, "what arming finds");
        let (_, roster) = self.roster.capture_changed();
        self.armed = outcome.is_err().then_some(Armed { len, is_woken: false, roster });
    }

    fn join(&mut self, start: Start) {
        if self.guests.len() == 3 {
            self.guests.retain(|guest| guest.released().is_some());
            return;
        }
        self.ids += 1;
        let (id, seat) = (self.ids, Belled::default());
        let joiner = Joiner { id, start, delivery: Delivery::Lossless, barrier: Barrier::Fence, takes_fds: false };
        let start = self.roster.join(&*self.lane, joiner, seat.port.clone()).unwrap();
        let reader = Reader::new(Arc::clone(&self.lane), seat.clone(), start);
        let holds = VecDeque::new();
        self.guests.push(Guest { id, start, seat, reader, holds, is_over: false, counted: (0, 0) });
    }

    /// Each release rings once while an announcement stands, and never else; and who waits was woken if there is room.
    fn check(&mut self) {
        let wait = self.lane.space_wait().load(Relaxed);
        assert_eq!(wait, if self.armed.is_some() { SPACE_WAIT_BELL } else { 0 }, "what is announced");
        for guest in &mut self.guests {
            let now = (guest.seat.rings.load(Relaxed), guest.seat.space_seq().load(Relaxed));
            let (rings, releases) = (now.0 - guest.counted.0, now.1 - guest.counted.1);
            assert_eq!(rings, if self.armed.is_some() { releases } else { 0 }, "of consumer {}", guest.id);
            guest.counted = now;
            if let Some(armed) = &mut self.armed {
                armed.is_woken |= rings != 0;
            }
        }
        if let Some(Armed { len, is_woken, roster }) = self.armed {
            let has_changed = self.roster.capture_changed().1 != roster;
            assert!(is_woken || has_changed || !self.has_room(len), "room that nobody told of");
        }
    }
}

proptest! {
    #[test]
    fn no_room_is_missed_and_no_bell_rings_but_for_who_waits(steps in proptest::collection::vec(step(), 1..300)) {
        let mut model = Model::new();
        model.join(Start::Latest);
        steps.iter().for_each(|step| model.take(step));
    }
}

#[test]
fn a_release_without_a_fence_is_made_up_for_once() {
    let mut model = Model::new();
    model.join(Start::Latest);
    model.send(8);
    model.read(0, |_| (), Kept::No);
    let Model { guests, lane, .. } = &mut model;
    let guest = &mut guests[0];
    guest.reader.confirm_release();
    guest.release_lightly();
    assert_eq!(guest.released(), Some(16));
    // One that had announced itself in that moment was not seen.
    lane.space_wait().store(SPACE_WAIT_BELL, Relaxed);
    assert_eq!(guest.seat.rings.load(Relaxed), 0);
    for _ in 0..2 {
        guest.reader.confirm_release();
        assert_eq!(guest.seat.rings.load(Relaxed), 1);
    }
    // Any other release makes up for it, too.
    lane.space_wait().store(0, Relaxed);
    for releases_lightly in [true, false] {
        model.send(8);
        model.read(0, |_| (), Kept::No);
        let guest = &mut model.guests[0];
        if releases_lightly { guest.release_lightly() } else { guest.reader.release_all() }
    }
    model.lane.space_wait().store(SPACE_WAIT_BELL, Relaxed);
    model.guests[0].reader.confirm_release();
    assert_eq!(model.guests[0].seat.rings.load(Relaxed), 1);
}
