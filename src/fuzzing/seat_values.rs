//! Seats: a producer that gates on consumers who write anything there, join, leave and are evicted.

use super::Script;
use super::plain::PlainLane;
use crate::layout::{CONSUMED_LEFT_BIT, Geometry};
use crate::ring::publisher::wake_sleepers;
use crate::ring::roster::{Gate, Joiner, Roster, SeatPort, Snapshot};
use crate::ring::writer::{Claim, Writer};
use crate::ring::{LaneCounters, LaneWords, LaneWriter, SeatWords};
use crate::sync::{AtomicU32, AtomicU64, Ordering};
use crate::terms::{Barrier, Start};
use std::collections::BTreeSet;
use std::sync::Arc;

const CAPACITY_BYTES: u64 = 4096;
const SEATS_MAX: usize = 6;
const ACTIONS_MAX: usize = 400;

/// Plays `data` as a script: where the ring begins to count, and then what consumers write into their seats and what
/// the producer sends.
///
/// After each step the limit is what a plain reading of the protocol makes it, it never falls, no byte is claimed that
/// a seated consumer needs, and exactly those are out who wrote nonsense.
pub fn seat_values(data: &[u8]) {
    let mut script = Script::new(data);
    let align = script.choose(&[8, 64, 1024]);
    let geometry = Geometry::new(CAPACITY_BYTES, align, 8).expect("a possible geometry");
    let begin = script.word_near(&[0, CAPACITY_BYTES, 1 << 40, 1 << 62]) % (1 << 63);
    let begin = begin & !(u64::from(align) - 1);
    let mut gating = Gating::new(geometry, begin);
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

#[derive(Debug)]
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
    fn wake(&self) -> bool {
        self.0.rings.fetch_add(1, Ordering::Relaxed);
        true
    }
    fn note_evicted(&self) {
        self.0.evictions.fetch_add(1, Ordering::Relaxed);
    }
}

/// A consumer as the protocol sees it.
#[derive(Debug)]
struct Seated {
    id: u64,
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
}

impl Gating {
    fn new(geometry: Geometry, begin: u64) -> Self {
        let lane = PlainLane::new(geometry);
        let writer = Writer::new(PlainWriter(Arc::clone(&lane)), begin);
        Self {
            lane,
            writer,
            roster: Roster::new(begin),
            snapshot: Snapshot::new(Barrier::Fence),
            seated: Vec::new(),
            next_id: 0,
            limit: begin,
            evictions: 0,
            boundaries: BTreeSet::from([begin]),
        }
    }

    fn act(&mut self, script: &mut Script<'_>) {
        match script.below(16) {
            0 | 1 => self.join(script.choose(&[Start::Latest, Start::Oldest])),
            2..6 => self.write_consumed(script),
            6 => {
                let Some(seated) = self.pick(script) else { return };
                seated.seat.wait_epoch.store(u32::from(script.u8()), Ordering::Relaxed);
            }
            7 => {
                let Some(id) = self.pick(script).map(|seated| seated.id) else { return };
                self.roster.leave(&*self.lane, id);
                self.seated.retain(|seated| seated.id != id);
            }
            8 => {
                let Some(id) = self.pick(script).map(|seated| seated.id) else { return };
                self.roster.evict(&*self.lane, id);
                self.evicted(id);
            }
            9 => drop(self.refresh(self.writer.published())),
            10 => self.writer.rewind(),
            choice => self.send(script, choice > 12),
        }
    }

    fn pick(&self, script: &mut Script<'_>) -> Option<&Seated> {
        let index = script.below(SEATS_MAX);
        self.seated.get(index % self.seated.len().max(1))
    }

    fn join(&mut self, start: Start) {
        if self.seated.len() == SEATS_MAX {
            return;
        }
        let (id, seat) = (self.next_id, Arc::new(PlainSeat::default()));
        self.next_id += 1;
        let joined =
            self.roster.join(&*self.lane, Joiner { id, start, barrier: Barrier::Fence }, Port(Arc::clone(&seat)));
        let published = self.writer.published();
        match start {
            Start::Latest => assert_eq!(joined, published),
            // A record begins there, and neither it nor what follows may be overwritten already.
            Start::Oldest => assert!(joined <= published && self.boundaries.contains(&joined)),
        }
        let intent = self.lane.intent().load(Ordering::Relaxed);
        assert!(intent.saturating_sub(CAPACITY_BYTES) <= joined, "joined where bytes may be overwritten");
        self.seated.push(Seated { id, start: joined, last: joined, seat });
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

    fn evicted(&mut self, id: u64) {
        let index = self.seated.iter().position(|seated| seated.id == id).expect("it was seated");
        let seated = self.seated.remove(index);
        self.evictions += 1;
        assert_eq!(seated.seat.evictions.load(Ordering::Relaxed), 1, "it was not told, or told twice");
    }

    /// The producer's look at the seats, and what the protocol says it should find.
    fn refresh(&mut self, end: u64) -> u64 {
        let published = self.writer.published();
        let mut out = Vec::new();
        self.seated.retain_mut(|seated| {
            let [consumed, read] = [&seated.seat.consumed, &seated.seat.read].map(|word| word.load(Ordering::Relaxed));
            let is_at_start = seated.last == seated.start;
            let position = |word| if is_at_start && word == 0 { seated.start } else { word };
            let (released, read) = (position(consumed % (1 << 63)), position(read));
            if !(seated.last..=read).contains(&released) || read > published {
                out.push(seated.id);
                return true;
            }
            seated.last = released;
            consumed < 1 << 63
        });
        let (limit, gate) = self.roster.refresh(&*self.lane, published, end);
        out.into_iter().for_each(|id| self.evicted(id));
        let slowest = self.seated.iter().min_by_key(|seated| seated.last);
        match slowest {
            Some(seated) => {
                let behind_bytes = published - seated.last;
                assert_eq!(limit, seated.last + CAPACITY_BYTES, "not what the slowest allows");
                assert_eq!(gate, Some(Gate { seat_id: seated.id, behind_bytes }));
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
        for seated in &self.seated {
            assert!(end - CAPACITY_BYTES.min(end) <= seated.last, "a claim of bytes that a consumer needs");
        }
        assert!(end <= self.lane.intent().load(Ordering::Relaxed), "a claim above the intent");
        self.writer.room().truncate(&mut claim, u64::from(script.u8()));
        if publishes && !self.writer.has_unpublished() {
            self.writer.commit(claim, 0);
            self.writer.publish(claim.begin());
            self.published();
            return;
        }
        let mut room = self.writer.room();
        self.writer.commit_in(&mut room, claim, 0);
        self.writer.resume(room);
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
        let rung = wake_sleepers(&self.roster, &mut self.snapshot);
        let asleep = self.seated.iter().filter(|seated| seated.seat.wait_epoch.load(Ordering::Relaxed) % 2 == 1);
        assert!(rung <= asleep.count() as u64, "rang for someone who does not sleep");
    }

    /// Design invariants 1 to 4, and who is seated.
    fn check(&self) {
        let [published, intent] = [self.lane.published(), self.lane.intent()].map(|word| word.load(Ordering::Relaxed));
        assert_eq!(published, self.writer.published());
        let last = self.lane.last().load(Ordering::Relaxed);
        assert!(last < published || self.boundaries.len() == 1, "no record begins at {last}");
        assert!(published <= intent && intent <= self.writer.limit() && self.writer.limit() <= self.limit);
        for seated in &self.seated {
            assert!(seated.last <= published && intent <= seated.last + CAPACITY_BYTES, "the gate was passed");
        }
        let has_left = |seated: &&Seated| seated.seat.consumed.load(Ordering::Relaxed) & CONSUMED_LEFT_BIT != 0;
        assert_eq!(self.roster.len(), self.seated.iter().filter(|seated| !has_left(seated)).count());
        assert_eq!(self.lane.evictions().load(Ordering::Relaxed), self.evictions);
    }
}
