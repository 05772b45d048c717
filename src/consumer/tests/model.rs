//! What is sent is what is received, by a plain model that does the same.
#![allow(clippy::forget_non_drop, reason = "forgetting is to stay harmless if they ever get a Drop")]

use super::{Attached, join};
use crate::consumer::{OwnedRecord, ReceiveError, RecordInHand};
use crate::deadline::Deadline;
use crate::info::MonotonicTime;
use crate::lane::LaneOptions;
use crate::layout::{CONSUMED_LEFT_BIT, Geometry, STAMP_OFFSET};
use crate::memory::SeatMap;
use crate::options::Records;
use crate::producer::{Batch, Producer, Reservation, SendError};
use crate::ring::{LaneCounters, LaneWords, RingWords, SeatCounters, SeatWords};
use crate::sync::Ordering::Relaxed;
use crate::terms::Start;
use proptest::prelude::{Just, Strategy, any, prop_oneof, proptest};
use std::sync::Arc;

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
    /// This many records of this many bytes, filled by one call.
    Filled(usize, usize),
}

#[derive(Clone, Debug)]
enum Step {
    Send(Draft),
    Batch(Vec<Entry>, Fate),
    /// Several at once, filled in another order; whether it is committed.
    Window(Vec<Draft>, bool),
    Receive(usize),
    Drain(usize),
    /// Holds a record while other things happen, to others.
    Hold(usize, Vec<Step>),
    /// Keeps the next record.
    Keep(usize),
    /// Finds the next record as a worker does; whether it takes it as a task.
    Work(usize, bool),
    /// Ends one of the records that were kept of a consumer, also of one that has left; perhaps on another thread.
    Unkeep(usize, usize),
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

/// Mostly as many as go into half of the ring.
fn window(max: usize) -> impl Strategy<Value = Vec<Draft>> {
    proptest::collection::vec(draft(max), 0..6).prop_map(move |mut drafts| {
        let share = if drafts.iter().all(|draft| draft.len <= 100) { max } else { max / drafts.len().max(1) };
        for draft in &mut drafts {
            draft.len = draft.len.min(share + usize::from(draft.tag % 64 == 0));
            draft.kept = draft.kept.min(draft.len);
        }
        drafts
    })
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
        3 => (window(max), (0..5u32).prop_map(|n| n != 0)).prop_map(|(drafts, commits)| Step::Window(drafts, commits)),
        8 => (0..3usize).prop_map(Step::Receive),
        1 => (0..3usize).prop_map(Step::Drain),
        3 => (0..3usize).prop_map(Step::Keep),
        3 => (0..3usize, any::<bool>()).prop_map(|(who, takes)| Step::Work(who, takes)),
        5 => (0..6usize, any::<usize>()).prop_map(|(who, which)| Step::Unkeep(who, which)),
        1 => (start, any::<bool>()).prop_map(|(start, in_place)| Step::Join(start, in_place)),
        1 => (0..3usize).prop_map(Step::Leave),
    ]
}

fn geometry() -> impl Strategy<Value = (u64, u32, u32, u64)> {
    let start = prop_oneof![Just(0u64), Just(1 << 32), Just((1 << 63) - (1 << 32))];
    (0..5u32, 3..13u32, 3..13u32, start, 1..64u64).prop_map(|(capacity, one, other, start, before)| {
        let (record_align, payload_align) = (1u64 << one.max(other), 1u64 << one.min(other));
        let capacity = (4096 << capacity).max(4 * record_align);
        (capacity, record_align as u32, payload_align as u32, start.saturating_sub(before * record_align))
    })
}

fn bytes_of(seed: u64, len: usize) -> impl Iterator<Item = u8> {
    (0..len as u64).map(move |n| (seed.wrapping_mul(31).wrapping_add(n) ^ n >> 8) as u8)
}

/// A published record.
#[derive(Clone, Copy, Debug)]
struct Sent {
    position: u64,
    seed: u64,
    len: usize,
    tag: u16,
    /// The time that lies in it, on a lane with times.
    time: Option<MonotonicTime>,
}

/// A record that is kept of a consumer.
pub(super) enum Kept {
    Record(OwnedRecord),
    /// A task: its hold begins at `begin`, with the padding; the record is `log[number]`.
    Task {
        record: RecordInHand,
        begin: u64,
        number: usize,
    },
}

/// The seat of a consumer that has left, and what is kept of its records.
struct Gone {
    seat: SeatMap,
    kept: Vec<Kept>,
    in_place: bool,
    /// Where it had read to.
    end: u64,
    /// What was published when it left.
    due: u64,
    /// What its seat said last while it was there.
    consumed: u64,
}

struct Model {
    producer: Producer,
    geometry: Geometry,
    consumers: Vec<Attached>,
    /// Those that have left, while records of theirs are kept.
    gone: Vec<Gone>,
    log: Vec<Sent>,
    seeds: u64,
    /// Consumers that hold a record, and are not among `consumers` meanwhile.
    holding: usize,
    /// What the words of the lane said last.
    published: u64,
    intent: u64,
    /// Where the ring began.
    begin: u64,
}

impl Model {
    fn new(producer: Producer, geometry: Geometry) -> Self {
        let published = producer.published();
        let (consumers, gone, log) = (Vec::new(), Vec::new(), Vec::new());
        Self {
            producer,
            geometry,
            consumers,
            gone,
            log,
            seeds: 0,
            holding: 0,
            published,
            intent: published,
            begin: published,
        }
    }

    fn take(&mut self, step: &Step) {
        match step {
            Step::Send(draft) => self.send(*draft),
            Step::Batch(entries, fate) => self.batch(entries, *fate),
            Step::Window(drafts, commits) => self.window(drafts, *commits),
            Step::Receive(who) => self.receive(*who, &[]),
            Step::Drain(who) => self.drain(*who),
            Step::Hold(who, meanwhile) => self.receive(*who, meanwhile),
            Step::Join(start, in_place) => self.join(*start, *in_place),
            Step::Keep(who) => self.keep(*who),
            Step::Work(who, takes) => self.work(*who, *takes),
            Step::Unkeep(who, which) => self.unkeep(*who, *which),
            Step::Leave(who) if *who < self.consumers.len() => {
                let attached = self.consumers.swap_remove(*who);
                self.gone.push(attached.leave());
            }
            Step::Leave(_) => {}
        }
        self.check();
    }

    /// Invariants 1 to 4, 22, by what lies in the words that the two sides share.
    fn check(&mut self) {
        let map = &self.producer.owned_lane().map;
        let (published, intent) = (map.published().load(Relaxed), map.intent().load(Relaxed));
        assert!(published >= self.published && intent >= self.intent && intent >= published);
        (self.published, self.intent) = (published, intent);
        let last = self.log.last().map_or(self.begin, |sent| sent.position);
        assert_eq!(map.last().load(Relaxed), last, "where the last record begins");
        for Attached { consumer, seat, consumed: last, kept, tasks_done, .. } in &mut self.consumers {
            assert_eq!(consumer.records_done(), *tasks_done);
            let [consumed, read] = [seat.consumed(), seat.read()].map(|word| or_start(word.load(Relaxed), *last));
            assert!(consumed <= read && read <= consumer.position(), "what was read");
            assert!(consumed >= *last && consumed <= consumer.position() && consumed <= published);
            assert!(intent - consumed <= self.geometry.capacity(), "nothing that is not released may be overwritten");
            *last = consumed;
            let oldest = oldest(kept, consumer.reads_in_place());
            assert!(oldest.is_none_or(|oldest| consumed <= oldest), "what is held was released");
            assert_eq!(consumer.held_bytes(), oldest.map_or(0, |oldest| consumer.position() - oldest));
        }
        self.gone.iter().for_each(Gone::check);
        self.gone.retain(|gone| !gone.kept.is_empty());
    }

    /// Who may hold the lane back.
    fn gates(&self) -> usize {
        let holds = |gone: &&Gone| oldest(&gone.kept, gone.in_place).is_some();
        self.consumers.len() + self.holding + self.gone.iter().filter(holds).count()
    }

    fn send(&mut self, draft: Draft) {
        let (before, max, geometry) = (self.producer.published(), self.producer.lane().payload_max, self.geometry);
        let begun = MonotonicTime::now();
        self.seeds += 1;
        match self.producer.try_reserve(draft.len) {
            Ok(slot) => {
                if fill(slot, draft, self.seeds, geometry) {
                    let position = place(geometry, before, draft.len);
                    assert_eq!(self.producer.published(), position + geometry.record_size(draft.kept as u64));
                    let time = self.time_of(position, begun);
                    self.log.push(Sent { position, seed: self.seeds, len: draft.kept, tag: draft.tag, time });
                } else {
                    assert_eq!(self.producer.published(), before);
                }
            }
            Err(SendError::TooLong { len, max: at_most }) => assert!(len == draft.len && len > max && at_most == max),
            Err(SendError::Full { consumer }) => {
                let consumers = self.gates();
                let holder = consumer.expect("somebody holds it back");
                assert!(consumers > 0 && holder.behind_bytes > 0, "{holder:?} with {consumers} consumers");
                // Even a record of half the ring, behind as much padding, fits beside an eighth not released.
                assert!(holder.behind_bytes + 2 * geometry.record_size(draft.len as u64) > geometry.capacity());
            }
            Err(error) => panic!("{error}"),
        }
    }

    fn batch(&mut self, entries: &[Entry], fate: Fate) {
        let (mut committed, mut pending) = (self.producer.published(), Vec::new());
        let (geometry, max) = (self.geometry, self.producer.lane().payload_max);
        let mut seeds = self.seeds;
        let consumers = self.gates();
        let (begun, map, before) = (MonotonicTime::now(), Arc::clone(&self.producer.owned_lane().map), committed);
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
                    fill_many(&mut batch, *count, *len, seeds + 1, geometry);
                    for _ in 0..*count {
                        seeds += 1;
                        let position = place(geometry, committed, *len);
                        committed = position + size;
                        pending.push((Sent { position, seed: seeds, len: *len, tag: 0, time: None }, committed));
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
                Err(SendError::Full { consumer }) => {
                    assert!(consumers > 0 && consumer.is_some());
                    continue;
                }
                Err(error) => panic!("{error}"),
            };
            if fill(slot, *draft, seeds, geometry) {
                let position = place(geometry, committed, draft.len);
                committed = position + geometry.record_size(draft.kept as u64);
                let sent = Sent { position, seed: seeds, len: draft.kept, tag: draft.tag, time: None };
                pending.push((sent, committed));
            }
        }
        let is_whole = map.published().load(Relaxed) == before;
        match fate {
            Fate::Commit => _ = batch.commit(),
            Fate::Drop => drop(batch),
            Fate::Forget => std::mem::forget(batch),
        }
        self.seeds = seeds;
        // A batch that filled the ring has gone out in part.
        let published = self.producer.published();
        assert!(!matches!(fate, Fate::Commit) || published == committed, "a committed batch is published whole");
        let out = pending.iter().take_while(|(_, end)| *end <= published);
        let out = out.map(|(sent, _)| Sent { time: self.time_of(sent.position, begun), ..*sent });
        let out = out.collect::<Vec<_>>();
        let is_one_time = out.iter().all(|sent| sent.time == out[0].time);
        assert!(out.is_sorted_by_key(|sent| sent.time) && (is_one_time || !is_whole), "one time for each publication");
        self.log.extend(out);
        assert!(pending.is_empty() || self.log.last().is_none_or(|last| last.position < published));
    }

    fn window(&mut self, drafts: &[Draft], commits: bool) {
        let (before, geometry, max) = (self.producer.published(), self.geometry, self.producer.lane().payload_max);
        let size = |len: usize| geometry.record_size(len as u64);
        let bytes: u64 = drafts.iter().map(|draft| size(draft.len)).sum();
        let lens: Vec<usize> = drafts.iter().map(|draft| draft.len).collect();
        let (gates, begun) = (self.gates(), MonotonicTime::now());
        let mut window = match self.producer.try_reserve_window(&lens) {
            Ok(window) => window,
            Err(SendError::TooLong { len, .. }) => return assert!(len > max && lens.contains(&len)),
            Err(SendError::WindowTooLong { bytes: what, max_bytes }) => {
                return assert!(what == bytes && bytes > max_bytes && max_bytes == geometry.capacity() / 2);
            }
            Err(SendError::Full { consumer }) => return assert!(gates > 0 && consumer.unwrap().behind_bytes > 0),
            Err(error) => panic!("{error}"),
        };
        assert!(bytes <= geometry.capacity() / 2 && window.len() == drafts.len());
        let mut slots = window.slots();
        // From the last to the first.
        for (index, (slot, draft)) in slots.iter_mut().zip(drafts).enumerate().rev() {
            let seed = self.seeds + 1 + index as u64;
            assert!(slot.len() == draft.len);
            assert!(slot.as_ptr().addr().is_multiple_of(geometry.payload_align() as usize), "not aligned");
            slot.fill(0xee);
            slot.truncate(draft.kept);
            slot.iter_mut().zip(bytes_of(seed, draft.kept)).for_each(|(byte, value)| *byte = value);
            slot.set_tag(draft.tag);
        }
        let drops = |draft: &Draft| !matches!(draft.fate, Fate::Commit);
        slots.into_iter().zip(drafts).filter(|(_, draft)| drops(draft)).for_each(|(slot, _)| slot.discard());
        let end = if commits {
            window.commit()
        } else {
            drop(window);
            before
        };
        // A record stays where it was reserved unless one before it became shorter: then it is placed anew.
        let (mut reserved, mut at, mut is_apart, mut sent) = (before, before, false, 0);
        for (draft, seed) in drafts.iter().zip(self.seeds + 1..) {
            let begin = place(geometry, reserved, draft.len);
            reserved = begin + size(draft.len);
            if drops(draft) || !commits {
                is_apart = true;
                continue;
            }
            let position = if is_apart { place(geometry, at, draft.kept) } else { begin };
            at = position + size(draft.kept);
            is_apart |= at != reserved;
            let time = self.time_of(position, begun);
            self.log.push(Sent { position, seed, len: draft.kept, tag: draft.tag, time });
            sent += 1;
        }
        let sent = &self.log[self.log.len() - sent..];
        assert!(sent.iter().all(|record| record.time == sent[0].time), "one time for all");
        self.seeds += drafts.len() as u64;
        assert_eq!((end, self.producer.published()), (at, at));
    }

    /// The time in the record at `position`, which a step has published that has `begun` then. `None` also where the
    /// same step has overwritten it.
    fn time_of(&self, position: u64, begun: MonotonicTime) -> Option<MonotonicTime> {
        let map = &self.producer.owned_lane().map;
        if map.intent().load(Relaxed) - position > self.geometry.capacity() {
            return None;
        }
        let time = map.is_stamped().then(|| MonotonicTime::from_nanos(map.header_word(position + STAMP_OFFSET)));
        assert!(time.is_none_or(|time| begun <= time && time <= MonotonicTime::now()), "another time");
        time
    }

    fn join(&mut self, start: Start, in_place: bool) {
        if self.consumers.len() == 3 {
            return;
        }
        let mut attached = join(&self.producer, start, in_place);
        let (position, published) = (attached.consumer.position(), self.producer.published());
        assert!(position <= published && published - position <= self.geometry.capacity());
        assert!(start == Start::Oldest || position == published);
        attached.first = self.log.partition_point(|sent| sent.position < position);
        attached.next = attached.first;
        self.consumers.push(attached);
    }

    /// Receives one record, and holds it while `meanwhile` happens to others.
    fn receive(&mut self, who: usize, meanwhile: &[Step]) {
        if who >= self.consumers.len() {
            return;
        }
        let mut attached = self.consumers.remove(who);
        let Attached { consumer, next, .. } = &mut attached;
        let payload_align = self.geometry.payload_align() as usize;
        let expected = self.log.get(*next).copied();
        match (consumer.try_receive(), expected) {
            (Ok(Some(record)), Some(sent)) => {
                self.holding += 1;
                meanwhile.iter().for_each(|step| self.take(step));
                self.holding -= 1;
                sent.is(&record, record.position(), record.tag(), record.published_at());
                assert!(record.as_ptr().addr().is_multiple_of(payload_align), "not aligned");
                *next += 1;
            }
            (Err(ReceiveError::Empty), None) => {}
            (outcome, expected) => panic!("{outcome:?} where {expected:?} was next"),
        }
        self.consumers.insert(who.min(self.consumers.len()), attached);
    }

    fn keep(&mut self, who: usize) {
        let Some(Attached { consumer, next, kept, .. }) = self.consumers.get_mut(who) else { return };
        let Some(sent) = self.log.get(*next) else { return };
        let record = consumer.try_receive().unwrap().unwrap();
        kept.push(Kept::Record(if sent.seed.is_multiple_of(2) { record.into_owned() } else { record.hold() }));
        *next += 1;
    }

    fn work(&mut self, who: usize, takes: bool) {
        let Some(Attached { consumer, seat, next, kept, consumed, .. }) = self.consumers.get_mut(who) else { return };
        consumer.begin_work();
        let begin = consumer.position();
        match (consumer.find_work(Deadline::Now), self.log.get(*next)) {
            (Ok(Some(found)), Some(sent)) => {
                assert_eq!((found.from, found.position), (begin, sent.position));
                if takes {
                    let record = consumer.keep_in_hand(found).unwrap();
                    kept.push(Kept::Task { record, begin, number: *next });
                } else {
                    let record = consumer.record(found).unwrap();
                    sent.is(&record, record.position(), record.tag(), record.published_at());
                }
                *next += 1;
                // All before it is released, unless it is held.
                let released = oldest(kept, consumer.reads_in_place()).map_or(begin, |oldest| oldest.min(begin));
                assert_eq!(or_start(seat.consumed().load(Relaxed), *consumed), released);
            }
            (Err(ReceiveError::Empty), None) => {}
            (outcome, expected) => panic!("{outcome:?} where {expected:?} was next"),
        }
    }

    fn unkeep(&mut self, who: usize, which: usize) {
        let kept = match who.checked_sub(self.consumers.len()) {
            None => {
                let Attached { kept, tasks_done, .. } = &mut self.consumers[who];
                let is_task = !kept.is_empty() && matches!(kept[which % kept.len()], Kept::Task { .. });
                *tasks_done += u64::from(is_task);
                kept
            }
            Some(who) if who < self.gone.len() => &mut self.gone[who].kept,
            Some(_) => return,
        };
        if kept.is_empty() {
            return;
        }
        let record = kept.swap_remove(which % kept.len());
        self.compare(&record);
        match which.is_multiple_of(4) {
            true => std::thread::spawn(move || record.end()).join().unwrap(),
            false => record.end(),
        }
    }

    /// Compares what was kept with what was sent.
    fn compare(&self, kept: &Kept) {
        let payload = match kept {
            Kept::Record(record) => {
                let number = self.log.binary_search_by_key(&record.position(), |sent| sent.position).unwrap();
                self.log[number].is(record, record.position(), record.tag(), record.published_at());
                &record[..]
            }
            Kept::Task { record, number, .. } => {
                let sent = self.log[*number];
                sent.is(record.payload(), sent.position, record.tag(), sent.time);
                record.payload()
            }
        };
        assert!(payload.as_ptr().addr().is_multiple_of(self.geometry.payload_align() as usize), "not aligned");
    }

    fn drain(&mut self, who: usize) {
        let Some(Attached { consumer, next, .. }) = self.consumers.get_mut(who) else { return };
        let mut rest = self.log[*next..].iter();
        let drained = consumer.try_receive_many(|record| {
            let sent = rest.next().expect("no more than was published");
            sent.is(record, record.position(), record.tag(), record.published_at());
        });
        let expected = match self.log.len() - *next {
            0 => Err(ReceiveError::Empty),
            records => Ok(records),
        };
        assert!(rest.next().is_none() && drained == expected);
        *next = self.log.len();
        assert_eq!(consumer.position(), self.producer.published(), "where nothing is left to read");
    }
}

impl Sent {
    /// Compares what came with what was sent.
    fn is(&self, payload: &[u8], position: u64, tag: u16, time: Option<MonotonicTime>) {
        assert_eq!((position, tag, payload.len(), time), (self.position, self.tag, self.len, self.time));
        assert!(payload.iter().copied().eq(bytes_of(self.seed, self.len)), "{self:?} came as other bytes");
    }
}

impl Kept {
    /// Where its hold begins. A copied record holds nothing; a task holds its record, copied or not.
    fn held_from(&self, in_place: bool) -> Option<u64> {
        match self {
            Self::Record(record) => {
                assert_eq!(record.is_held(), in_place);
                in_place.then(|| record.position())
            }
            Self::Task { begin, .. } => Some(*begin),
        }
    }

    fn end(self) {
        match self {
            Self::Record(record) => drop(record),
            Self::Task { record, .. } => record.end(),
        }
    }
}

/// What a word of a seat says: 0 stands for the start until something was consumed.
fn or_start(word: u64, start: u64) -> u64 {
    if word == 0 { start } else { word }
}

/// Where the oldest hold begins among what is kept.
fn oldest(kept: &[Kept], in_place: bool) -> Option<u64> {
    kept.iter().filter_map(|kept| kept.held_from(in_place)).min()
}

impl Attached {
    fn leave(self) -> Gone {
        let Self { consumer, seat, kept, consumed, .. } = self;
        let (in_place, end) = (consumer.reads_in_place(), consumer.position());
        let due = consumer.reader.lane().published().load(Relaxed);
        drop(consumer);
        Gone { seat, kept, in_place, end, due, consumed }
    }
}

impl Gone {
    /// It has left once nothing is held any more.
    fn check(&self) {
        let expected = oldest(&self.kept, self.in_place).unwrap_or(self.end | CONSUMED_LEFT_BIT);
        let [consumed, read] = [self.seat.consumed(), self.seat.read()].map(|word| word.load(Relaxed));
        assert_eq!((or_start(consumed, self.consumed), read), (expected, self.due));
    }
}

/// The position of a record of `len` bytes that is reserved after `committed`.
fn place(geometry: Geometry, committed: u64, len: usize) -> u64 {
    let (size, room) = (geometry.record_size(len as u64), geometry.room_to_end(committed));
    if size > room { committed + room } else { committed }
}

/// Adds `count` records of `len` bytes to a batch, by one call.
fn fill_many(batch: &mut Batch<'_>, count: usize, len: usize, first_seed: u64, geometry: Geometry) {
    let fill = |index: usize, payload: &mut [u8]| {
        assert_eq!(payload.len(), len);
        assert!(payload.as_ptr().addr().is_multiple_of(geometry.payload_align() as usize), "not aligned");
        payload.iter_mut().zip(bytes_of(first_seed + index as u64, len)).for_each(|(byte, value)| *byte = value);
    };
    batch.fill_many(Records { count, len }, fill).unwrap();
}

/// Fills a reservation and does with it what the draft says; whether it was committed.
fn fill(mut slot: Reservation<'_>, draft: Draft, seed: u64, geometry: Geometry) -> bool {
    assert_eq!(slot.len(), draft.len);
    assert!(slot.as_ptr().addr().is_multiple_of(geometry.payload_align() as usize), "not aligned");
    slot.fill(0xee);
    slot.truncate(draft.kept);
    slot.iter_mut().zip(bytes_of(seed, draft.kept)).for_each(|(byte, value)| *byte = value);
    slot.set_tag(draft.tag);
    match draft.fate {
        Fate::Commit => _ = slot.commit(),
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
        stamps in any::<bool>(),
    ) {
        let options = LaneOptions::new("model").capacity(capacity).record_align(record_align);
        // If there is no room for them, they would have other alignments.
        let options = options.payload_align(payload_align).prefault(false).stamped(stamps && payload_align >= 16);
        let producer = Producer::create_at(&options, position).unwrap();
        let geometry = Geometry::new(capacity, record_align, payload_align).unwrap();
        let mut model = Model::new(producer, geometry);
        model.join(Start::Latest, true);
        steps.iter().for_each(|step| model.take(step));
        let keeps = model.gone.iter().map(|gone| &gone.kept).chain(model.consumers.iter().map(|one| &one.kept));
        keeps.flatten().for_each(|kept| model.compare(kept));
        let Model { producer, mut consumers, log, .. } = model;
        let map = Arc::clone(&producer.owned_lane().map);
        drop(producer);
        let of_log = |log: &[Sent]| {
            let sizes = log.iter().map(|sent| geometry.record_size(sent.len as u64));
            (log.len() as u64, sizes.sum::<u64>())
        };
        let LaneCounters { records, record_bytes, .. } = map.counters();
        assert_eq!((records, record_bytes), of_log(&log), "what was counted, and what was published");
        for Attached { consumer, next, .. } in &mut consumers {
            for sent in &log[*next..] {
                let record = consumer.receive().unwrap().expect("all that was published comes before the end");
                sent.is(&record, record.position(), record.tag(), record.published_at());
            }
            assert!(consumer.receive().unwrap().is_none() && consumer.try_receive().unwrap().is_none());
        }
        for attached in consumers {
            let first = attached.first;
            let mut gone = attached.leave();
            gone.check();
            gone.kept.drain(..).for_each(Kept::end);
            gone.check();
            let Gone { seat, .. } = gone;
            let (records, record_bytes) = of_log(&log[first..]);
            assert_eq!(seat.counters(), SeatCounters { records, record_bytes, missed_bytes: 0 });
        }
    }
}
