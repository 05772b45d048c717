//! A real producer and real consumers over one mapping, against a plain model: what is sent is what is received.
//!
//! The session is left out: a consumer gets its seat from the roster directly, so that rings can begin anywhere and
//! the region is mapped once, as it must be within a process.
#![allow(clippy::forget_non_drop, reason = "forgetting is to stay harmless if they ever get a Drop")]

mod sleeping;

use super::{Attachment, Consumer, Link, Look, ReceiveError, Record};
use crate::closing::Connection;
use crate::frame::{Barrier, BellKind, Start};
use crate::handshake::ConsumerHandshake;
use crate::lane::{LaneOptions, Notice, SeatLink};
use crate::layout::{Geometry, LaneState, RecordHeader};
use crate::producer::{Batch, Producer, Reservation, SendError};
use crate::region::{ForkGuard, HugePages, Region, RegionOptions};
use crate::ring::{InPlace, LaneWords, LaneWriter, RingWords, SeatMap, SeatWords, WritableLane};
use crate::roster::Joiner;
use crate::session::client::{Session, SessionOptions};
use crate::session::server::Server;
use crate::sync::Ordering::{Acquire, Relaxed};
use crate::wake::{Bell, BellEnd};
use proptest::prelude::{Just, Strategy, any, prop_oneof, proptest};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::Duration;

fn seat_words() -> SeatMap {
    let options = RegionOptions { name: "seat", len_bytes: 4096, huge_pages: HugePages::No };
    SeatMap::new(Arc::new(Region::create(&options).unwrap().map_read_write().unwrap()), 0)
}

/// The consumer of a seat, and what stands for the producer's end of its session.
fn consumer(
    lane: Arc<crate::ring::LaneMap>,
    seat: SeatMap,
    bell: BellEnd,
    start: u64,
    in_place: Option<InPlace>,
) -> (Consumer, rustix::fd::OwnedFd) {
    let (link, other) = link();
    let evictions = lane.evictions().load(Acquire);
    let (name, schema, spin) = ("lane".to_owned(), 0, Duration::ZERO);
    let barrier = Barrier::Fence;
    let attachment = Attachment { lane, seat, bell, barrier, start, evictions, in_place, spin, name, schema };
    (Consumer::new(attachment, Arc::new(link), ForkGuard::get().unwrap()), other)
}

/// A session, and what stands for the producer's end of it.
pub(super) fn link() -> (Link, rustix::fd::OwnedFd) {
    let (socket, other) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
    let socket = Connection::new(socket, ForkGuard::get().unwrap());
    (Link::new(socket, None, ConsumerHandshake::new(Vec::new()).unwrap()), other)
}

pub(super) fn join(producer: &Producer, start: Start, in_place: bool) -> Attached {
    static IDS: AtomicU64 = AtomicU64::new(1);
    let (lane, id) = (producer.lane(), IDS.fetch_add(1, Relaxed));
    let words = seat_words();
    let (bell, end) = Bell::create(BellKind::Eventfd).unwrap();
    let end = BellEnd::receive(BellKind::Eventfd, end).unwrap();
    let out = Arc::new(AtomicBool::new(false));
    let (port, seat) = (SeatLink::new(words.clone(), bell, out, Arc::new(Notice::new().unwrap())), words.clone());
    let position = lane.roster.join(&*lane.map, Joiner { id, pid: id as u32, start, barrier: Barrier::Fence }, port);
    // SAFETY: the producer of these tests is the crate's own.
    #[allow(unsafe_code, reason = "readers in place are tested too")]
    let in_place = in_place.then(|| unsafe { InPlace::vouch() });
    let (consumer, session) = consumer(Arc::clone(&lane.map), words, end, position, in_place);
    Attached { consumer, _session: session, seat, next: 0, consumed: position }
}

pub(super) struct Attached {
    pub(super) consumer: Consumer,
    _session: rustix::fd::OwnedFd,
    pub(super) seat: SeatMap,
    /// Which record of the model it gets next.
    next: usize,
    /// What its seat said last.
    consumed: u64,
}

/// What becomes of a reservation or a batch.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Commit,
    Drop,
    Forget,
}

/// A record to be sent: its length as reserved and as committed.
#[derive(Clone, Copy, Debug)]
struct Draft {
    len: usize,
    kept: usize,
    tag: u16,
    fate: Fate,
}

/// What is added to a batch at once.
#[derive(Clone, Copy, Debug)]
enum Entry {
    One(Draft),
    /// So many records of so many bytes, filled by one call.
    Filled(usize, usize),
}

#[derive(Clone, Debug)]
enum Step {
    Send(Draft),
    Batch(Vec<Entry>, Fate),
    Receive(usize),
    Drain(usize),
    /// Holds a record while other things happen, to others.
    Hold(usize, Vec<Step>),
    Join(Start, bool),
    Leave(usize),
}

fn draft(max: usize) -> impl Strategy<Value = Draft> {
    let len = prop_oneof![4 => 0..100usize, 2 => 0..=max, 1 => Just(0), 1 => Just(max), 1 => Just(max + 1)];
    let fate = prop_oneof![6 => Just(Fate::Commit), 1 => Just(Fate::Drop), 1 => Just(Fate::Forget)];
    (len, any::<u16>(), any::<u16>(), fate).prop_map(|(len, cut, tag, fate)| {
        let kept = if cut % 4 == 0 { usize::from(cut) % (len + 1) } else { len };
        Draft { len, kept, tag, fate }
    })
}

fn entry(max: usize) -> impl Strategy<Value = Entry> {
    let filled = (0..40usize, 0..100usize).prop_map(|(count, len)| Entry::Filled(count, len));
    prop_oneof![4 => draft(max).prop_map(Entry::One), 1 => filled]
}

fn step(max: usize) -> impl Strategy<Value = Step> {
    let hold =
        |inner| (0..3usize, proptest::collection::vec(inner, 0..6)).prop_map(|(who, steps)| Step::Hold(who, steps));
    let held = hold(brief_step(max).boxed());
    let inner = hold(prop_oneof![4 => brief_step(max), 1 => held.clone()].boxed());
    prop_oneof![20 => brief_step(max), 2 => held, 1 => inner]
}

/// A step during which nothing else happens.
fn brief_step(max: usize) -> impl Strategy<Value = Step> {
    let fate = prop_oneof![4 => Just(Fate::Commit), 1 => Just(Fate::Drop), 1 => Just(Fate::Forget)];
    let start = prop_oneof![Just(Start::Latest), Just(Start::Oldest)];
    prop_oneof![
        6 => draft(max).prop_map(Step::Send),
        3 => (proptest::collection::vec(entry(max), 0..8), fate).prop_map(|(entries, fate)| Step::Batch(entries, fate)),
        8 => (0..3usize).prop_map(Step::Receive),
        1 => (0..3usize).prop_map(Step::Drain),
        1 => (start, any::<bool>()).prop_map(|(start, in_place)| Step::Join(start, in_place)),
        1 => (0..3usize).prop_map(Step::Leave),
    ]
}

fn geometry() -> impl Strategy<Value = (u64, u32, u32, u64)> {
    let start = prop_oneof![Just(0u64), Just(1 << 32), Just(1 << 63)];
    (0..5u32, 3..13u32, 3..13u32, start, 1..64u64).prop_map(|(capacity, one, other, start, before)| {
        let (record_align, payload_align) = (1u64 << one.max(other), 1u64 << one.min(other));
        let capacity = (4096 << capacity).max(4 * record_align);
        (capacity, record_align as u32, payload_align as u32, start.saturating_sub(before * record_align))
    })
}

fn bytes(seed: u64, len: usize) -> impl Iterator<Item = u8> {
    (0..len as u64).map(move |n| (seed.wrapping_mul(31).wrapping_add(n) ^ n >> 8) as u8)
}

/// A published record.
#[derive(Clone, Copy, Debug)]
struct Sent {
    position: u64,
    seed: u64,
    len: usize,
    tag: u16,
}

struct Model {
    producer: Producer,
    geometry: Geometry,
    consumers: Vec<Attached>,
    log: Vec<Sent>,
    seeds: u64,
    /// Consumers that hold a record, and are not among `consumers` meanwhile.
    holding: usize,
    /// What the words of the lane said last.
    published: u64,
    intent: u64,
}

impl Model {
    fn new(producer: Producer, geometry: Geometry) -> Self {
        let published = producer.published();
        let (consumers, log) = (Vec::new(), Vec::new());
        Self { producer, geometry, consumers, log, seeds: 0, holding: 0, published, intent: published }
    }

    fn take(&mut self, step: &Step) {
        match step {
            Step::Send(draft) => self.send(*draft),
            Step::Batch(entries, fate) => self.batch(entries, *fate),
            Step::Receive(who) => self.receive(*who, &[]),
            Step::Drain(who) => self.drain(*who),
            Step::Hold(who, meanwhile) => self.receive(*who, meanwhile),
            Step::Join(start, in_place) => self.join(*start, *in_place),
            Step::Leave(who) if *who < self.consumers.len() => drop(self.consumers.swap_remove(*who)),
            Step::Leave(_) => {}
        }
        self.check();
    }

    /// Design invariants 1 to 4, by what lies in the words that the two sides share.
    fn check(&mut self) {
        let map = &self.producer.lane().map;
        let (published, intent) = (map.published().load(Relaxed), map.intent().load(Relaxed));
        assert!(published >= self.published && intent >= self.intent && intent >= published);
        (self.published, self.intent) = (published, intent);
        for Attached { consumer, seat, consumed: last, .. } in &mut self.consumers {
            let consumed = match seat.consumed().load(Relaxed) {
                0 => *last, // It stands for the start until something was consumed.
                consumed => consumed,
            };
            assert!(consumed >= *last && consumed <= consumer.position() && consumed <= published);
            assert!(intent - consumed <= self.geometry.capacity(), "nothing that is not given back may be overwritten");
            *last = consumed;
        }
    }

    fn send(&mut self, draft: Draft) {
        let (before, max, geometry) = (self.producer.published(), self.producer.payload_max(), self.geometry);
        self.seeds += 1;
        match self.producer.try_reserve(draft.len) {
            Ok(slot) => {
                if fill(slot, draft, self.seeds, geometry) {
                    let position = place(geometry, before, draft.len);
                    assert_eq!(self.producer.published(), position + geometry.record_size(draft.kept as u64));
                    self.log.push(Sent { position, seed: self.seeds, len: draft.kept, tag: draft.tag });
                } else {
                    assert_eq!(self.producer.published(), before);
                }
            }
            Err(SendError::TooLong { len, max: at_most }) => assert!(len == draft.len && len > max && at_most == max),
            Err(SendError::Full { holder }) => {
                let consumers = self.consumers.len() + self.holding;
                let holder = holder.expect("somebody holds it back");
                assert!(consumers > 0 && holder.behind_bytes > 0, "{holder:?} with {consumers} consumers");
                // Even a record of half the ring, behind as much padding, fits beside an eighth not given back.
                assert!(holder.behind_bytes + 2 * geometry.record_size(draft.len as u64) > geometry.capacity());
            }
            Err(error) => panic!("{error}"),
        }
    }

    fn batch(&mut self, entries: &[Entry], fate: Fate) {
        let (mut committed, mut pending) = (self.producer.published(), Vec::new());
        let (geometry, max) = (self.geometry, self.producer.payload_max());
        let mut seeds = self.seeds;
        let consumers = self.consumers.len() + self.holding;
        let mut batch: Batch<'_> = self.producer.batch().unwrap();
        for entry in entries {
            let draft = match entry {
                Entry::One(draft) => draft,
                Entry::Filled(count, len) => {
                    let size = geometry.record_size(*len as u64);
                    // Room for one more than these is room for all padding as well: then it does not wait.
                    if batch.try_reserve((*count + 1) * size as usize).is_err() {
                        continue;
                    }
                    fill_each(&mut batch, *count, *len, seeds + 1, geometry);
                    for _ in 0..*count {
                        seeds += 1;
                        let position = place(geometry, committed, *len);
                        committed = position + size;
                        pending.push((Sent { position, seed: seeds, len: *len, tag: 0 }, committed));
                    }
                    continue;
                }
            };
            seeds += 1;
            let slot = match batch.try_reserve(draft.len) {
                Ok(slot) => slot,
                Err(SendError::TooLong { len, max: at_most }) => {
                    assert!(len > max && at_most == max);
                    continue;
                }
                Err(SendError::Full { holder }) => {
                    assert!(consumers > 0 && holder.is_some());
                    continue;
                }
                Err(error) => panic!("{error}"),
            };
            if fill(slot, *draft, seeds, geometry) {
                let position = place(geometry, committed, draft.len);
                committed = position + geometry.record_size(draft.kept as u64);
                let sent = Sent { position, seed: seeds, len: draft.kept, tag: draft.tag };
                pending.push((sent, committed));
            }
        }
        match fate {
            Fate::Commit => batch.commit(),
            Fate::Drop => drop(batch),
            Fate::Forget => std::mem::forget(batch),
        }
        self.seeds = seeds;
        // A batch that filled the ring has gone out in part.
        let published = self.producer.published();
        assert!(!matches!(fate, Fate::Commit) || published == committed, "a committed batch is published whole");
        let out = pending.iter().take_while(|(_, end)| *end <= published);
        self.log.extend(out.map(|(sent, _)| *sent));
        assert!(pending.is_empty() || self.log.last().is_none_or(|last| last.position < published));
    }

    fn join(&mut self, start: Start, in_place: bool) {
        if self.consumers.len() == 3 {
            return;
        }
        let mut attached = join(&self.producer, start, in_place);
        let (position, published) = (attached.consumer.position(), self.producer.published());
        assert!(position <= published && published - position <= self.geometry.capacity());
        assert!(start == Start::Oldest || position == published);
        attached.next = self.log.partition_point(|sent| sent.position < position);
        self.consumers.push(attached);
    }

    /// Receives one record, and holds it while `meanwhile` happens to others.
    fn receive(&mut self, who: usize, meanwhile: &[Step]) {
        if who >= self.consumers.len() {
            return;
        }
        let mut attached = self.consumers.remove(who);
        let Attached { consumer, next, .. } = &mut attached;
        let (in_place, payload_align) = (consumer.reads_in_place(), self.geometry.payload_align() as usize);
        let expected = self.log.get(*next).copied();
        match (consumer.try_receive(), expected) {
            (Ok(Some(record)), Some(sent)) => {
                self.holding += 1;
                meanwhile.iter().for_each(|step| self.take(step));
                self.holding -= 1;
                sent.is(&record);
                assert!(!in_place || record.as_ptr().addr().is_multiple_of(payload_align), "not aligned");
                *next += 1;
            }
            (Err(ReceiveError::Empty), None) => {}
            (outcome, expected) => panic!("{outcome:?} where {expected:?} was next"),
        }
        self.consumers.insert(who.min(self.consumers.len()), attached);
    }

    fn drain(&mut self, who: usize) {
        let Some(Attached { consumer, next, .. }) = self.consumers.get_mut(who) else { return };
        let mut rest = self.log[*next..].iter();
        let drained = consumer.drain(|record| rest.next().expect("no more than was published").is(record)).unwrap();
        assert!(rest.next().is_none() && drained == Some(self.log.len() - *next));
        *next = self.log.len();
        assert_eq!(consumer.position(), self.producer.published(), "where nothing is left to read");
    }
}

impl Sent {
    /// Compares what came with what was sent.
    fn is(&self, record: &Record<'_>) {
        assert_eq!((record.position(), record.tag(), record.len()), (self.position, self.tag, self.len));
        assert!(record.iter().copied().eq(bytes(self.seed, self.len)), "{self:?} came as other bytes");
    }
}

/// Where a record goes for which `len` bytes are reserved after `committed`.
fn place(geometry: Geometry, committed: u64, len: usize) -> u64 {
    let (size, room) = (geometry.record_size(len as u64), geometry.room_to_end(committed));
    if size > room { committed + room } else { committed }
}

/// Adds `count` records of `len` bytes to a batch, by one call.
fn fill_each(batch: &mut Batch<'_>, count: usize, len: usize, first_seed: u64, geometry: Geometry) {
    let fill = |index: usize, payload: &mut [u8]| {
        assert_eq!(payload.len(), len);
        assert!(payload.as_ptr().addr().is_multiple_of(geometry.payload_align() as usize), "not aligned");
        payload.iter_mut().zip(bytes(first_seed + index as u64, len)).for_each(|(byte, value)| *byte = value);
    };
    batch.fill_each(count, len, fill).unwrap();
}

/// Fills a reservation and does with it what the draft says; whether it was committed.
fn fill(mut slot: Reservation<'_>, draft: Draft, seed: u64, geometry: Geometry) -> bool {
    assert_eq!(slot.len(), draft.len);
    assert!(slot.as_ptr().addr().is_multiple_of(geometry.payload_align() as usize), "not aligned");
    slot.fill(0xee);
    slot.truncate(draft.kept);
    slot.iter_mut().zip(bytes(seed, draft.kept)).for_each(|(byte, value)| *byte = value);
    slot.set_tag(draft.tag);
    match draft.fate {
        Fate::Commit => slot.commit(),
        Fate::Drop => drop(slot),
        Fate::Forget => std::mem::forget(slot),
    }
    matches!(draft.fate, Fate::Commit)
}

proptest! {
    #[test]
    fn what_is_sent_is_received_once_whole_and_in_order(
        ((capacity, record_align, payload_align, position), steps) in geometry().prop_flat_map(|geometry| {
            let max = (geometry.0 / 2 - u64::from(geometry.2)) as usize;
            (Just(geometry), proptest::collection::vec(step(max), 1..150))
        }),
    ) {
        let options = LaneOptions::new("model").capacity(capacity).record_align(record_align);
        let options = options.payload_align(payload_align).prefault(false);
        let producer = Producer::create_at(&options, position).unwrap();
        let geometry = Geometry::new(capacity, record_align, payload_align).unwrap();
        let mut model = Model::new(producer, geometry);
        model.join(Start::Latest, true);
        steps.iter().for_each(|step| model.take(step));
        let Model { producer, mut consumers, log, .. } = model;
        drop(producer);
        for Attached { consumer, next, .. } in &mut consumers {
            for sent in &log[*next..] {
                sent.is(&consumer.receive().unwrap().expect("all that was published comes before the end"));
            }
            assert!(consumer.receive().unwrap().is_none() && consumer.try_receive().unwrap().is_none());
        }
    }

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
        let (_bell, end) = Bell::create(BellKind::Eventfd).unwrap();
        let end = BellEnd::receive(BellKind::Eventfd, end).unwrap();
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

fn hostile_lane() -> WritableLane {
    let region = |len_bytes| {
        let options = RegionOptions { name: "hostile", len_bytes, huge_pages: HugePages::No };
        Region::create(&options).unwrap()
    };
    let geometry = Geometry::new(4096, 8, 8).unwrap();
    let header = bytemuck::cast([0u64; 16]);
    WritableLane::create(region(4096), region(4096), geometry, &header).unwrap().0
}

#[test]
fn an_evicted_copier_says_how_much_it_missed_and_not_that_the_lane_is_corrupt() {
    let mut producer = Producer::create_at(&LaneOptions::new("evicting").capacity(4096), 0).unwrap();
    let mut attached = join(&producer, Start::Latest, false);
    producer.send(&[1; 56]).unwrap();
    producer.send(&[2; 56]).unwrap();
    assert_eq!(attached.consumer.receive().unwrap().unwrap()[..], [1; 56]);
    let lane = Arc::clone(producer.lane());
    let seat = lane.roster.seat(gate_of(&mut producer)).unwrap();
    assert!(seat.pid() > 0);
    lane.roster.evict(&*lane.map, u64::from(seat.pid()));
    assert_eq!(attached.consumer.receive().unwrap().unwrap()[..], [2; 56], "what is still whole may be read");
    for n in 0..100u8 {
        producer.send(&[n; 56]).unwrap();
    }
    for _ in 0..2 {
        let error = attached.consumer.receive().unwrap_err();
        assert!(matches!(error, ReceiveError::Evicted { missed_bytes: 6400 }), "{error}");
    }
}

#[test]
fn a_copy_that_was_overwritten_meanwhile_is_never_handed_out() {
    let mut producer = Producer::create_at(&LaneOptions::new("overwritten").capacity(4096), 0).unwrap();
    let Attached { mut consumer, .. } = join(&producer, Start::Latest, false);
    producer.send(&[1; 56]).unwrap();
    let Ok(Look::Found(found)) = consumer.look() else { panic!("it is there") };
    let lane = Arc::clone(producer.lane());
    let seat_id = gate_of(&mut producer);
    lane.roster.evict(&*lane.map, seat_id);
    for _ in 0..64 {
        producer.send(&[2; 56]).unwrap();
    }
    let error = consumer.record(found).unwrap_err();
    assert!(matches!(error, ReceiveError::Evicted { missed_bytes: 4160 }), "{error}");
}

#[test]
fn padding_that_an_evicted_copier_finds_in_a_later_payload_skips_nothing_unseen() {
    let mut producer = Producer::create_at(&LaneOptions::new("forged").capacity(4096), 1280).unwrap();
    let Attached { mut consumer, .. } = join(&producer, Start::Latest, false);
    // A whole ring, of which the consumer sees all and reads two records.
    (0..64u8).for_each(|n| producer.send(&[n; 56]).unwrap());
    assert_eq!(consumer.receive().unwrap().unwrap()[..], [0; 56]);
    assert_eq!(consumer.receive().unwrap().unwrap()[..], [1; 56]);
    let (lane, seat_id) = (Arc::clone(producer.lane()), gate_of(&mut producer));
    lane.roster.evict(&*lane.map, seat_id);
    // Where the third began there is now padding to the end of the ring, where an old record is still whole.
    let mut slot = producer.reserve(1000).unwrap();
    slot[120..128].copy_from_slice(&RecordHeader::padding(4096 - 1408).to_word().to_le_bytes());
    slot.commit();
    let error = consumer.receive().unwrap_err();
    assert!(matches!(error, ReceiveError::Evicted { missed_bytes: 4976 }), "{error}");
}

#[test]
fn what_was_published_before_the_end_comes_before_the_end() {
    let mut producer = Producer::create_at(&LaneOptions::new("end").capacity(4096), 0).unwrap();
    let Attached { mut consumer, .. } = join(&producer, Start::Latest, false);
    assert!(matches!(consumer.reader.look_for_end(|| false), Ok(Look::Empty)));
    producer.send(b"last").unwrap();
    producer.finish();
    // As if both had happened since the consumer looked at `published`.
    let Ok(Look::Found(found)) = consumer.reader.look_for_end(|| false) else { panic!("the record comes first") };
    assert_eq!(consumer.record(found).unwrap()[..], *b"last");
    assert!(matches!(consumer.reader.look_for_end(|| false), Ok(Look::Ended(LaneState::Finished))));
}

#[test]
fn a_consumer_that_was_put_out_while_it_had_nothing_to_read_is_told() {
    let mut producer = Producer::create(LaneOptions::new("put out").capacity(4096)).unwrap();
    let address = format!("@{}", crate::test_support::unique_name());
    let server = Server::listen(&*address, &[&producer]).unwrap();
    let mut consumer = Session::connect(&*address, SessionOptions::new()).unwrap().attach_one().unwrap();
    let lane = Arc::clone(producer.lane());
    let seat_id = gate_of(&mut producer);
    lane.roster.evict(&*lane.map, seat_id);
    let error = consumer.receive_timeout(Duration::from_secs(10)).unwrap_err();
    assert!(matches!(error, ReceiveError::Evicted { missed_bytes: 0 }), "{error}");
    crate::test_support::wait_until("it is counted", || server.stats().evicted == 1);
}

/// The number of the seat that holds a full lane back.
fn gate_of(producer: &mut Producer) -> u64 {
    let published = producer.published();
    let (_, gate) = producer.lane().roster.refresh(&*producer.lane().map, published, published);
    gate.unwrap().seat_id
}

#[test]
fn a_drain_hands_over_what_was_published_when_it_began() {
    let mut producer = Producer::create_at(&LaneOptions::new("drain").capacity(4096), 0).unwrap();
    let mut attached = join(&producer, Start::Latest, false);
    (0..3u8).for_each(|n| producer.send(&[n]).unwrap());
    let mut seen = Vec::new();
    let drained = attached.consumer.drain(|record| {
        seen.push(record[0]);
        assert!(seen.len() < 1000, "a drain that does not end while records come");
        producer.send(&[9]).unwrap();
    });
    assert_eq!((drained.unwrap(), &seen[..]), (Some(3), &[0, 1, 2][..]));
    producer.finish();
    assert_eq!(attached.consumer.drain(|record| assert_eq!(record[0], 9)).unwrap(), Some(3));
    assert_eq!(attached.consumer.drain(|_| ()).unwrap(), None);
}

#[test]
fn a_run_that_panics_counts_what_it_handed_over() {
    // Two runs of records that are looked at together, and some more.
    const RECORDS: u8 = 20;
    for (in_place, fails_at) in (0..RECORDS).flat_map(|index| [(false, index), (true, index)]) {
        let mut producer = Producer::create_at(&LaneOptions::new("runs").capacity(4096), 0).unwrap();
        let mut attached = join(&producer, Start::Latest, in_place);
        (0..RECORDS).for_each(|n| producer.send(&[n; 16]).unwrap());
        let mut seen = Vec::new();
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            attached.consumer.receive_each(|record| {
                seen.push(record[0]);
                assert!(record[0] != fails_at, "as the test asks for");
            })
        }));
        assert!(panicked.is_err());
        assert_eq!(seen.len(), usize::from(fails_at) + 1);
        let rest = attached.consumer.drain(|record| seen.push(record[0]));
        assert!(rest.is_ok() || matches!(rest, Err(ReceiveError::Empty)), "{rest:?}");
        assert!(seen.iter().copied().eq(0..RECORDS), "{seen:?} after record {fails_at} had failed");
    }
}

#[test]
fn one_evicted_in_a_run_stands_where_it_stopped_reading() {
    let mut producer = Producer::create_at(&LaneOptions::new("runs").capacity(4096), 0).unwrap();
    let Attached { mut consumer, .. } = join(&producer, Start::Latest, false);
    (0..64u8).for_each(|n| producer.send(&[n; 56]).unwrap());
    let (lane, seat_id) = (Arc::clone(producer.lane()), gate_of(&mut producer));
    let mut seen = 0u64;
    let outcome = consumer.receive_each(|_| {
        seen += 1;
        if seen == 4 {
            lane.roster.evict(&*lane.map, seat_id);
            // Where the fifth began there is now something that looks like a record.
            let mut slot = producer.reserve(400).unwrap();
            slot[248..256].copy_from_slice(&RecordHeader::data(56, 0).to_word().to_le_bytes());
            slot.commit();
        }
    });
    let missed = |outcome: Result<_, ReceiveError>| match outcome.unwrap_err() {
        ReceiveError::Evicted { missed_bytes } => missed_bytes,
        error => panic!("{error}"),
    };
    let expected = 4096 + 408 - 64 * seen;
    assert_eq!((missed(outcome.map(|_| ())), seen), (expected, 4));
    assert_eq!(consumer.position(), 64 * seen);
    assert_eq!(missed(consumer.receive().map(|_| ())), expected, "said again");
    assert_eq!(missed(consumer.drain(|_| ()).map(|_| ())), expected, "and again");
    assert_eq!(consumer.position(), 64 * seen);
}

#[test]
fn records_read_in_runs_are_those_that_were_sent() {
    for in_place in [false, true] {
        let mut producer = Producer::create_at(&LaneOptions::new("runs").capacity(4096), 0).unwrap();
        let mut attached = join(&producer, Start::Latest, in_place);
        let (mut sent, mut received) = (0u16, 0u16);
        while received < 20_000 {
            // Lengths that neither divide the ring nor repeat with its laps, nine in a row alike; now and then it is
            // filled to the brim.
            for _ in 0..sent % 97 + 1 {
                let Ok(mut slot) = producer.try_reserve(usize::from(sent / 9 % 61)) else { break };
                slot.fill(sent as u8);
                slot.set_tag(sent);
                slot.commit();
                sent += 1;
            }
            let mut each = |record: &Record<'_>| {
                assert_eq!((record.tag(), record.len()), (received, usize::from(received / 9 % 61)));
                assert!(record.iter().all(|byte| *byte == received as u8));
                received += 1;
            };
            let drained = match sent % 2 {
                0 => attached.consumer.drain(&mut each).unwrap(),
                _ => attached.consumer.receive_each(&mut each).unwrap(),
            };
            assert!(drained.unwrap() > 0);
        }
        producer.finish();
        while attached.consumer.receive_each(|record| received = record.tag() + 1).unwrap().is_some() {}
        assert_eq!(received, sent, "all of them");
    }
}

#[test]
fn a_long_run_gives_back_on_its_way() {
    let mut producer = Producer::create_at(&LaneOptions::new("runs").capacity(4096), 0).unwrap();
    let mut attached = join(&producer, Start::Latest, true);
    while producer.try_send(&[0; 56]).is_ok() {}
    let (mut seen, mut relieved) = (0, None);
    let drained = attached.consumer.receive_each(|_| {
        seen += 1;
        if relieved.is_none() && producer.try_send(&[1; 56]).is_ok() {
            relieved = Some(seen);
        }
    });
    assert_eq!(drained.unwrap(), Some(64));
    assert!(relieved.is_some_and(|seen| seen <= 4096 / 64 / 4), "after {relieved:?} of 64");
}

#[test]
fn a_drain_at_the_end_of_all_positions_ends() {
    let mut lane = hostile_lane();
    let (_bell, end) = Bell::create(BellKind::Eventfd).unwrap();
    let end = BellEnd::receive(BellKind::Eventfd, end).unwrap();
    let start = u64::MAX - 2047;
    lane.lane().state().store(LaneState::Open as u32, Relaxed);
    lane.lane().published().store(start, Relaxed);
    let (mut consumer, _session) = consumer(Arc::clone(lane.shared()), seat_words(), end, start, None);
    assert!(matches!(consumer.drain(|_| ()), Ok(Some(0))));
    lane.set_header_word(start, RecordHeader::data(2032, 4).to_word());
    lane.lane().published().store(start + 2040, Relaxed);
    assert!(matches!(consumer.drain(|record| assert_eq!(record.len(), 2032)), Ok(Some(1))));
}

#[test]
fn headers_of_the_test_lane_are_what_they_seem() {
    let mut lane = hostile_lane();
    lane.set_header_word(4096 + 8, RecordHeader::data(3, 4).to_word());
    assert_eq!(lane.lane().header_word(8), RecordHeader::data(3, 4).to_word(), "positions are masked into the ring");
}
