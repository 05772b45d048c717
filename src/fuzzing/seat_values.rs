//! Seats: a producer that gates on consumers who write anything there, join, leave and are evicted; and that does not
//! gate on taps, whatever they write.

use super::Script;
use super::plain::PlainLane;
use crate::layout::{CONSUMED_LEFT_BIT, Geometry};
use crate::ring::places::NoPlace;
use crate::ring::roster::{Gate, Joiner, Roster, SeatPort};
use crate::ring::sleepers::{Snapshot, wake_sleepers};
use crate::ring::writer::{Claim, Writer};
use crate::ring::{LaneCounters, LaneWords, LaneWriter, SeatWords};
use crate::sync::{AtomicU32, AtomicU64, Ordering};
use crate::terms::{Barrier, Delivery, Start};
use std::collections::BTreeSet;
use std::sync::Arc;

const CAPACITY_BYTES: u64 = 4096;
const SEATS_MAX: usize = 6;
const ACTIONS_MAX: usize = 400;

/// Plays `data` as a script: where the ring begins to count, and then what consumers write into their seats and what
/// the producer sends.
///
/// After each step the limit is what a plain reading of the protocol makes it, it never falls, no byte is claimed that
/// a seated consumer needs, or that a vacant place keeps, and exactly those consumers are out who wrote nonsense.
pub fn seat_values(data: &[u8]) {
    let mut script = Script::new(data);
    let (align, places) = script.choose(&[(8, 0), (64, 0), (1024, 0), (8, 1), (64, 2), (1024, 3)]);
    let geometry = Geometry::new(CAPACITY_BYTES, align, 8).expect("a possible geometry");
    let begin = script.word_near(&[0, CAPACITY_BYTES, 1 << 40, 1 << 62]) % (1 << 63);
    let begin = begin & !(u64::from(align) - 1);
    let mut gating = Gating::new(geometry, begin, places);
    for _ in 0..ACTIONS_MAX {
        if script.is_empty() {
            break;
        }
        gating.act(&mut script);
        gating.check();
    }
}

/// Looks where it is asked to write, and writes nothing.
#[derive(Debug)]
struct PlainWriter(Arc<PlainLane>);

impl LaneWriter for PlainWriter {
    type Lane = PlainLane;
    fn lane(&self) -> &PlainLane {
        &self.0
    }
    fn set_header_word(&mut self, position: u64, word: u64) {
        let [published, intent] = [self.0.published(), self.0.intent()].map(|word| word.load(Ordering::Relaxed));
        assert!(published <= position && position < intent, "a header at {position}, where nothing may be written");
        self.0.put(position, word);
    }
    fn store_counters(&mut self, _counters: LaneCounters) {}
}

/// What a hostile consumer writes, and what the producer does to it.
#[derive(Debug, Default)]
struct PlainSeat {
    consumed: AtomicU64,
    space_seq: AtomicU32,
    read: AtomicU64,
    wait_epoch: AtomicU32,
    rings: AtomicU32,
    evictions: AtomicU32,
}

#[derive(Clone, Debug)]
struct Port(Arc<PlainSeat>);

impl SeatWords for Port {
    fn consumed(&self) -> &AtomicU64 {
        &self.0.consumed
    }
    fn space_seq(&self) -> &AtomicU32 {
        &self.0.space_seq
    }
    fn read(&self) -> &AtomicU64 {
        &self.0.read
    }
    fn wait_epoch(&self) -> &AtomicU32 {
        &self.0.wait_epoch
    }
}

impl SeatPort for Port {
    type Words = Self;

    fn words(&self) -> Self {
        self.clone()
    }

    fn wake(&self) -> bool {
        self.0.rings.fetch_add(1, Ordering::Relaxed);
        true
    }
    fn note_evicted(&self) {
        self.0.evictions.fetch_add(1, Ordering::Relaxed);
    }
}

impl Seated {
    /// What it says in `consumed`.
    fn says(&self) -> u64 {
        self.seat.consumed.load(Ordering::Relaxed)
    }

    /// How far it says that it has released, if that makes sense.
    fn released(&self, published: u64) -> Option<u64> {
        let position = |word| if self.last == self.start && word == 0 { self.start } else { word };
        let (released, read) = (position(self.says() % (1 << 63)), position(self.seat.read.load(Ordering::Relaxed)));
        ((self.last..=read).contains(&released) && read <= published).then_some(released)
    }
}

/// A consumer as the protocol sees it.
#[derive(Debug)]
struct Seated {
    id: u64,
    delivery: Delivery,
    start: u64,
    /// The last word of its that made sense.
    last: u64,
    seat: Arc<PlainSeat>,
}

struct Gating {
    lane: Arc<PlainLane>,
    writer: Writer<PlainWriter>,
    roster: Roster<Port>,
    snapshot: Snapshot<Port>,
    seated: Vec<Seated>,
    next_id: u64,
    limit: u64,
    evictions: u32,
    /// Every position that was ever published.
    boundaries: BTreeSet<u64>,
    /// Where records begin that were published, and those that are not yet.
    records: BTreeSet<u64>,
    committed: Vec<u64>,
    /// How many places the lane has, whose they are, and who has left one, with what it keeps.
    places: usize,
    placed: Vec<u64>,
    vacant: Vec<(u64, u64)>,
}

impl Gating {
    fn new(geometry: Geometry, begin: u64, places: usize) -> Self {
        let lane = PlainLane::new(geometry);
        let writer = Writer::new(PlainWriter(Arc::clone(&lane)), begin);
        Self {
            lane,
            writer,
            roster: Roster::new(begin).with_places(places),
            snapshot: Snapshot::new(Barrier::Fence),
            seated: Vec::new(),
            next_id: 0,
            limit: begin,
            evictions: 0,
            boundaries: BTreeSet::from([begin]),
            records: BTreeSet::new(),
            committed: Vec::new(),
            places,
            placed: Vec::new(),
            vacant: Vec::new(),
        }
    }

    fn act(&mut self, script: &mut Script<'_>) {
        match script.below(16) {
            0 | 1 => {
                let at = Start::At(script.word_near(&[self.limit, self.writer.published()]));
                let (delivery, start) = script.choose(&[
                    (Delivery::Lossless, at),
                    (Delivery::Lossy, at),
                    (Delivery::Lossless, Start::Latest),
                    (Delivery::Lossless, Start::Oldest),
                    (Delivery::Lossless, Start::Resume),
                    (Delivery::Lossy, Start::Oldest),
                    (Delivery::Lossy, Start::Newest),
                ]);
                self.join(delivery, start);
            }
            2 => self.give_up(script),
            3..6 => self.write_consumed(script),
            6 => {
                let Some(seated) = self.pick(script) else { return };
                seated.seat.wait_epoch.store(u32::from(script.u8()), Ordering::Relaxed);
            }
            7 => {
                let Some(id) = self.pick(script).map(|seated| seated.id) else { return };
                self.roster.leave(&*self.lane, id);
                self.gone(id);
            }
            8 => {
                let Some(id) = self.pick(script).map(|seated| seated.id) else { return };
                self.roster.evict(&*self.lane, id);
                self.evicted(id);
            }
            9 => drop(self.refresh(self.writer.published())),
            10 => {
                self.writer.rewind();
                self.committed.clear();
            }
            choice => self.send(script, choice > 12),
        }
    }

    fn lossless(&self) -> impl Iterator<Item = &Seated> {
        self.seated.iter().filter(|seated| seated.delivery == Delivery::Lossless)
    }

    fn pick(&self, script: &mut Script<'_>) -> Option<&Seated> {
        let index = script.below(SEATS_MAX);
        self.seated.get(index % self.seated.len().max(1))
    }

    fn join(&mut self, delivery: Delivery, start: Start) {
        if self.seated.len() == SEATS_MAX {
            return;
        }
        let (id, seat) = (self.next_id, Arc::new(PlainSeat::default()));
        self.next_id += 1;
        let joiner = Joiner { id, start, delivery, barrier: Barrier::Fence, takes_fds: false };
        if start == Start::Resume && self.places != 0 {
            // Those who have said that they left make room; here before, so that it is seen what is kept of them.
            let left = self.seated.iter().filter(|seated| seated.says() & CONSUMED_LEFT_BIT != 0);
            for id in left.map(|seated| seated.id).collect::<Vec<_>>() {
                self.roster.leave(&*self.lane, id);
                self.gone(id);
            }
        }
        let joined = self.roster.join(&*self.lane, joiner, Port(Arc::clone(&seat)));
        let published = self.writer.published();
        let kept = self.vacant.iter().copied().min_by_key(|(_, position)| *position);
        let is_new = self.placed.len() + self.vacant.len() < self.places;
        let joined = match start {
            Start::Latest => {
                assert_eq!(joined, Ok(published));
                published
            }
            // A record begins there, and neither it nor what follows may be overwritten already.
            Start::Oldest => {
                let joined = joined.expect("it resumes nothing");
                assert!(joined <= published && self.boundaries.contains(&joined));
                joined
            }
            // Where headers lead from there to what is published; nothing else is known of it.
            Start::At(position) => match joined {
                Ok(joined) => {
                    assert!(joined == position && joined <= published);
                    joined
                }
                Err(NoPlace::NotThere { oldest, .. }) => {
                    return assert!(position < oldest || !self.boundaries.contains(&position));
                }
                Err(error) => panic!("{error:?}"),
            },
            Start::Newest => {
                assert_eq!(joined, Ok(self.lane.last().load(Ordering::Relaxed).min(published)));
                joined.unwrap()
            }
            Start::Resume if self.places == 0 => return assert_eq!(joined, Err(NoPlace::NotKept)),
            Start::Resume => match kept {
                Some((gone, position)) => {
                    self.vacant.retain(|(id, _)| *id != gone);
                    assert_eq!(joined, Ok(position), "not where it was kept");
                    position
                }
                None if is_new => {
                    assert_eq!(joined, Ok(published));
                    published
                }
                None => return assert_eq!(joined, Err(NoPlace::AllTaken)),
            },
        };
        if delivery == Delivery::Lossless && (is_new || start == Start::Resume) {
            self.placed.push(id);
        }
        let intent = self.lane.intent().load(Ordering::Relaxed);
        let is_whole = intent.saturating_sub(CAPACITY_BYTES) <= joined;
        assert!(is_whole || start == Start::Newest, "joined where bytes may be overwritten");
        self.seated.push(Seated { id, delivery, start: joined, last: joined, seat });
    }

    fn write_consumed(&mut self, script: &mut Script<'_>) {
        let published = self.writer.published();
        let Some(seated) = self.pick(script) else { return };
        // With 8 more it says that it has left, and with 16 more `read` is something of its own.
        let choice = script.u8();
        let left = if choice & 8 != 0 { CONSUMED_LEFT_BIT } else { 0 };
        let landmarks = [seated.last, published, seated.start, published.wrapping_add(CAPACITY_BYTES)];
        let (consumed, read) = match choice % 8 {
            0 => (0, 0),
            1 => (published | CONSUMED_LEFT_BIT, published),
            2 | 3 => (published | left, published),
            _ => {
                let position = script.word_near(&landmarks);
                (position | left, position)
            }
        };
        let read = if choice & 16 != 0 { script.word_near(&landmarks) } else { read };
        seated.seat.consumed.store(consumed, Ordering::Relaxed);
        seated.seat.read.store(read, Ordering::Relaxed);
    }

    /// One that gives up what somebody has left, or would like to.
    fn give_up(&mut self, script: &mut Script<'_>) {
        let index = script.below(SEATS_MAX);
        let Some((id, _)) = self.vacant.get(index % self.vacant.len().max(1)).copied() else { return };
        assert!(self.roster.give_up(&*self.lane, id) && !self.roster.give_up(&*self.lane, id));
        self.vacant.retain(|(gone, _)| *gone != id);
        let mut there = self.lossless().filter(|seated| seated.says() & CONSUMED_LEFT_BIT == 0);
        let next = there.find(|seated| !self.placed.contains(&seated.id)).map(|seated| seated.id);
        drop(there);
        self.placed.extend(next);
    }

    /// One that is off the lane; its place, if it had one, is kept.
    fn gone(&mut self, id: u64) {
        let index = self.seated.iter().position(|seated| seated.id == id).expect("it was seated");
        let (seated, published) = (self.seated.remove(index), self.writer.published());
        if !self.placed.contains(&id) {
            return;
        }
        self.placed.retain(|placed| *placed != id);
        let released = seated.released(published).unwrap_or(seated.last);
        let vacancies = self.roster.vacancies();
        let kept = vacancies.iter().find(|vacancy| vacancy.seat.id() == id).expect("its place is kept").position;
        assert!((released..=published).contains(&kept));
        let begins = self.boundaries.contains(&released) || self.records.contains(&released);
        assert!(kept == released || !begins, "a record begins at {released}");
        self.vacant.push((id, kept));
    }

    fn evicted(&mut self, id: u64) {
        let index = self.seated.iter().position(|seated| seated.id == id).expect("it was seated");
        // Nobody else need look closer for a tap's sake.
        self.evictions += u32::from(self.seated[index].delivery == Delivery::Lossless);
        let told = self.seated[index].seat.evictions.load(Ordering::Relaxed);
        assert_eq!(told, 1, "it was not told, or told twice");
        self.gone(id);
    }

    /// The producer's look at the seats, and what the protocol says it should find.
    fn refresh(&mut self, end: u64) -> u64 {
        let published = self.writer.published();
        let (mut out, mut left) = (Vec::new(), Vec::new());
        for seated in &mut self.seated {
            let has_left = seated.says() & CONSUMED_LEFT_BIT != 0;
            if seated.delivery == Delivery::Lossy {
                left.extend(has_left.then_some(seated.id));
                continue;
            }
            match seated.released(published) {
                None => out.push(seated.id),
                Some(_) if has_left => left.push(seated.id),
                Some(released) => seated.last = released,
            }
        }
        let (limit, gate) = self.roster.refresh(&*self.lane, published, end);
        left.into_iter().for_each(|id| self.gone(id));
        out.into_iter().for_each(|id| self.evicted(id));
        let there = self.lossless().map(|seated| (seated.id, seated.last));
        let vacant = self.vacant.iter().copied().min_by_key(|(id, position)| (*position, *id));
        match there.chain(vacant).min_by_key(|(_, position)| *position) {
            Some((seat_id, position)) => {
                let behind_bytes = published - position;
                assert_eq!(limit, position + CAPACITY_BYTES, "not what the slowest allows");
                assert_eq!(gate, Some(Gate { seat_id, behind_bytes }));
            }
            None => {
                assert_eq!(gate, None);
                let room = (published + CAPACITY_BYTES).min(end + CAPACITY_BYTES / 8);
                assert_eq!(limit, room.max(self.limit), "not what nobody's presence allows");
            }
        }
        assert!(limit >= self.limit, "the limit fell from {} to {limit}", self.limit);
        self.limit = limit;
        limit
    }

    /// As the producer does it: a record, in the room that the seats leave.
    fn send(&mut self, script: &mut Script<'_>, publishes: bool) {
        let longest = self.lane.geometry().payload_max();
        let len = script.word_near(&[0, 64, longest, longest / 2]) % (longest + 1);
        let Some(mut claim) = self.claim(len) else { return };
        let end = self.writer.end_of(len);
        for seated in self.lossless() {
            assert!(end - CAPACITY_BYTES.min(end) <= seated.last, "a claim of bytes that a consumer needs");
        }
        for (_, position) in &self.vacant {
            assert!(end - CAPACITY_BYTES.min(end) <= *position, "a claim of bytes that a vacant place keeps");
        }
        assert!(end <= self.lane.intent().load(Ordering::Relaxed), "a claim above the intent");
        self.writer.room().truncate(&mut claim, u64::from(script.u8()));
        self.committed.push(claim.begin());
        if publishes && !self.writer.has_unpublished() {
            self.writer.commit(claim, 0);
            self.writer.publish(claim.begin());
            self.published();
            return;
        }
        let mut room = self.writer.room();
        self.writer.commit_in(&mut room, claim, 0);
        self.writer.catch_up(room);
        if publishes {
            self.writer.publish_batch(self.writer.room());
            self.published();
        }
    }

    fn claim(&mut self, len: u64) -> Option<Claim> {
        if let Some(claim) = self.writer.claim(len) {
            return Some(claim);
        }
        let (end, mut limit) = (self.writer.end_of(len), self.writer.limit());
        if end > limit {
            limit = self.refresh(end);
        }
        if !self.writer.raise_intent(end, limit) {
            return None;
        }
        self.roster.remember_boundary(&*self.lane, self.writer.published());
        Some(self.writer.claim(len).expect("the intent was raised for it"))
    }

    fn published(&mut self) {
        self.boundaries.insert(self.writer.published());
        self.records.extend(self.committed.drain(..));
        let rung = wake_sleepers(&self.roster, &mut self.snapshot);
        let asleep = self.seated.iter().filter(|seated| seated.seat.wait_epoch.load(Ordering::Relaxed) % 2 == 1);
        assert!(rung <= asleep.count() as u64, "rang for someone who does not sleep");
    }

    /// Invariants 1 to 4, and who is seated.
    fn check(&self) {
        let [published, intent] = [self.lane.published(), self.lane.intent()].map(|word| word.load(Ordering::Relaxed));
        assert_eq!(published, self.writer.published());
        let last = self.lane.last().load(Ordering::Relaxed);
        assert!(last < published || self.boundaries.len() == 1, "no record begins at {last}");
        assert!(published <= intent && intent <= self.writer.limit() && self.writer.limit() <= self.limit);
        for seated in self.lossless() {
            assert!(seated.last <= published && intent <= seated.last + CAPACITY_BYTES, "the gate was passed");
        }
        let has_left = |seated: &&Seated| seated.says() & CONSUMED_LEFT_BIT != 0;
        let there = || self.lossless().filter(|seated| !has_left(seated));
        assert_eq!(self.roster.len(), there().count());
        assert_eq!(self.roster.taps(), self.seated.iter().filter(|seated| !has_left(seated)).count() - there().count());
        let placed = there().filter(|seated| self.placed.contains(&seated.id)).count();
        assert_eq!(self.roster.missing(), self.places - placed);
        for (_, position) in &self.vacant {
            assert!(*position <= published && intent <= position + CAPACITY_BYTES, "what is kept may be overwritten");
        }
        assert!(self.placed.len() + self.vacant.len() <= self.places, "more places than the lane has");
        assert_eq!(self.lane.evictions().load(Ordering::Relaxed), self.evictions);
    }
}
