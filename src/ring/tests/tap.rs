//! The tap over plain words: beside a plain model, lapped in the middle of its copies, and with words that cannot be.

use super::roster::CountingPort;
use crate::fuzzing::plain::{PlainLane, PlainSeat, PlainWriter};
use crate::layout::{CONSUMED_LEFT_BIT, Geometry, LaneState, RecordHeader};
use crate::ring::cursor::{Found, Polled};
use crate::ring::publisher::Publisher;
use crate::ring::roster::{Joiner, Roster};
use crate::ring::sleep::Sleeps;
use crate::ring::stop::Corruption;
use crate::ring::tap::{Miss, TapReader, Wish};
use crate::ring::writer::{Claim, Writer};
use crate::ring::{Copying, LaneWords, RingWords, SeatCounters, SeatWords};
use crate::sync::Ordering::Relaxed;
use crate::terms::{Barrier, Delivery, Start};
use proptest::prelude::{Just, Strategy, any, prop_oneof, proptest};
use std::cell::RefCell;
use std::sync::Arc;

const CAPACITY: u64 = 4096;

type PlainTap = TapReader<PlainLane, PlainSeat>;

/// A record as it was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Sent {
    begin: u64,
    end: u64,
    len: u64,
    tag: u16,
}

/// An honest producer of a lane that only taps read.
struct Rig {
    lane: Arc<PlainLane>,
    roster: Roster<CountingPort>,
    publisher: Publisher<PlainWriter, CountingPort>,
    sent: Vec<Sent>,
    published: usize,
}

impl Rig {
    fn new(position: u64) -> Self {
        let lane = PlainLane::new(Geometry::new(CAPACITY, 8, 8).unwrap());
        let writer = Writer::new(PlainWriter(Arc::clone(&lane)), position);
        let publisher = Publisher::new(writer, Barrier::Asymmetric);
        Self { lane, roster: Roster::new(position), publisher, sent: Vec::new(), published: 0 }
    }

    fn tap(&self, start: Start) -> (PlainTap, PlainSeat) {
        let port = CountingPort::default();
        let joiner = Joiner { id: 1, start, delivery: Delivery::Lossy, barrier: Barrier::Fence, takes_fds: false };
        let start = self.roster.join(&*self.lane, joiner, port.clone()).unwrap();
        (TapReader::new(Arc::clone(&self.lane), port.words.clone(), start), port.words)
    }

    /// Claims room, and writes into it what no record has.
    fn claim(&mut self, len: u64) -> Claim {
        self.publisher.writer.rewind();
        self.claim_more(len)
    }

    fn claim_more(&mut self, len: u64) -> Claim {
        let claim = self.publisher.writer.claim(len);
        let claim = claim.or_else(|| self.publisher.find_room(&self.roster, len).ok()).expect("nobody gates");
        let payload = self.publisher.writer.payload_of(&claim);
        (0..len.div_ceil(8)).for_each(|word| self.lane.put(payload + word * 8, u64::MAX));
        claim
    }

    /// Commits a record, and publishes nothing.
    fn write(&mut self, len: u64) {
        let claim = self.claim_more(len);
        let (tag, payload) = (self.sent.len() as u16, self.publisher.writer.payload_of(&claim));
        (0..len.div_ceil(8)).for_each(|word| self.lane.put(payload + word * 8, payload_word(tag, word)));
        let mut room = self.publisher.writer.room();
        self.publisher.writer.commit_in(&mut room, claim, tag);
        self.publisher.writer.catch_up(room);
        self.sent.push(Sent { begin: claim.begin(), end: claim.end(), len, tag });
    }

    fn publish(&mut self) {
        if self.sent.len() != self.published {
            self.publisher.publish_batch(&self.roster, self.publisher.writer.room());
            self.published = self.sent.len();
        }
    }

    fn send(&mut self, len: u64) {
        self.write(len);
        self.publish();
    }

    /// A number of bytes that were not overwritten before the record at the end of what is published.
    fn is_boundary(&self, position: u64) -> bool {
        self.sent[..self.published].iter().any(|sent| sent.begin == position || sent.end == position)
    }
}

fn payload_word(tag: u16, word: u64) -> u64 {
    u64::from(tag) << 32 | word
}

/// A ring that is written in the middle of each copy.
struct Disturbed<'a, F>(&'a PlainLane, RefCell<F>);

impl<F: FnMut()> RingWords for Disturbed<'_, F> {
    fn header_word(&self, position: u64) -> u64 {
        self.0.header_word(position)
    }

    fn copy_out(&self, position: u64, copy: &mut [u64]) {
        let half = copy.len() / 2;
        self.0.copy_out(position, &mut copy[..half]);
        (self.1.borrow_mut())();
        self.0.copy_out(position + half as u64 * 8, &mut copy[half..]);
    }
}

/// What a tap made of one call.
#[derive(Debug, PartialEq, Eq)]
enum Got {
    Record(Found, Vec<u64>),
    Empty,
    Missed(u64),
}

/// As `Tap` does it, with `meanwhile` in the middle of the copy.
fn receive(tap: &mut PlainTap, wish: Wish, meanwhile: impl FnMut()) -> Got {
    match tap.poll_to_end(wish, || false) {
        Ok(Polled::Found(found)) => {
            let mut copy = vec![0; found.len.div_ceil(8) as usize];
            let lane = Arc::clone(tap.lane());
            if tap.copy_intact(&Disturbed(&lane, RefCell::new(meanwhile)), found, &mut copy) {
                return Got::Record(found, copy);
            }
            match tap.lost(found) {
                Miss::Lagged { missed_bytes } => Got::Missed(missed_bytes),
                Miss::Corrupt(corruption) => panic!("{corruption}"),
            }
        }
        Ok(Polled::Empty) => Got::Empty,
        Err(Miss::Lagged { missed_bytes }) => Got::Missed(missed_bytes),
        other => panic!("{other:?}"),
    }
}

fn received(tap: &mut PlainTap, wish: Wish) -> u16 {
    match receive(tap, wish, || {}) {
        Got::Record(found, copy) => {
            assert!((0..).zip(&copy).all(|(word, copied)| *copied == payload_word(found.tag, word)));
            found.tag
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_tap_that_keeps_up_gets_every_record() {
    let mut rig = Rig::new(0);
    let (mut tap, seat) = rig.tap(Start::Latest);
    for round in 0..200_u16 {
        rig.send(u64::from(round) % 600);
        assert_eq!(received(&mut tap, Wish::Next), round);
        assert_eq!(receive(&mut tap, Wish::Next, || {}), Got::Empty);
    }
    assert_eq!((tap.missed_bytes(), seat.consumed().load(Relaxed)), (0, tap.position()));
    let record_bytes = rig.sent.iter().map(|sent| sent.end - sent.begin).sum();
    assert_eq!(seat.counters(), SeatCounters { records: 200, record_bytes, missed_bytes: 0 });
}

#[test]
fn a_tap_that_was_lapped_goes_on_from_the_newest_record_and_knows_what_it_missed() {
    let mut rig = Rig::new(0);
    let (mut tap, seat) = rig.tap(Start::Latest);
    (0..100).for_each(|_| rig.send(100));
    let newest = *rig.sent.last().unwrap();
    assert_eq!(receive(&mut tap, Wish::Next, || {}), Got::Missed(newest.begin));
    assert_eq!((tap.missed_bytes(), tap.position()), (newest.begin, newest.begin));
    assert_eq!(seat.counters().missed_bytes, newest.begin, "tools are told");
    assert_eq!(received(&mut tap, Wish::Next), newest.tag);
    assert_eq!(receive(&mut tap, Wish::Next, || {}), Got::Empty, "it lags once");
}

#[test]
fn a_copy_during_which_the_record_may_have_been_overwritten_is_not_handed_out() {
    // Nothing of the record is overwritten yet, and then the first of its bytes may be.
    for (claims, is_whole) in [(0, true), (1, true), (2, false)] {
        let mut rig = Rig::new(0);
        let (mut tap, _) = rig.tap(Start::Latest);
        rig.send(1000);
        let rig = RefCell::new(rig);
        let got = receive(&mut tap, Wish::Next, || {
            (0..claims).for_each(|_| rig.borrow_mut().send(1500));
        });
        assert_eq!(matches!(got, Got::Record(..)), is_whole, "{claims}: {got:?}");
        let intent = rig.borrow().lane.intent().load(Relaxed);
        assert_eq!(intent <= CAPACITY, is_whole, "the model agrees");
    }
}

#[test]
fn one_that_was_lapped_in_the_only_record_goes_on_after_it() {
    let mut rig = Rig::new(0);
    let (mut tap, _) = rig.tap(Start::Latest);
    rig.send(1000);
    rig.send(1000);
    let rig = RefCell::new(rig);
    received(&mut tap, Wish::Next);
    // The room for another is claimed, and nothing is published: the last record is the one that is lost.
    let got = receive(&mut tap, Wish::Next, || {
        rig.borrow_mut().lane.intent().store(1008 + CAPACITY + 8, Relaxed);
    });
    assert_eq!((got, tap.position()), (Got::Missed(1008), 2016));
    assert_eq!(receive(&mut tap, Wish::Next, || {}), Got::Empty);
    assert_eq!(receive(&mut tap, Wish::Newest, || {}), Got::Empty);
}

#[test]
fn the_newest_record_comes_once_and_without_those_before_it() {
    let mut rig = Rig::new(0);
    let (mut tap, seat) = rig.tap(Start::Latest);
    assert_eq!(receive(&mut tap, Wish::Newest, || {}), Got::Empty, "nothing was published yet");
    (0..3).for_each(|_| rig.send(8));
    assert_eq!((received(&mut tap, Wish::Newest), tap.missed_bytes()), (2, 32));
    assert_eq!((seat.consumed().load(Relaxed), seat.counters().missed_bytes), (32, 32), "tools are told");
    assert_eq!(receive(&mut tap, Wish::Newest, || {}), Got::Empty);
    (0..2).for_each(|_| rig.send(8));
    assert_eq!(received(&mut tap, Wish::Next), 3, "the two can be mixed");
    assert_eq!((received(&mut tap, Wish::Newest), tap.missed_bytes()), (4, 32));
    // Of several that are published at once, the last.
    (0..3).for_each(|_| rig.write(8));
    rig.publish();
    assert_eq!((received(&mut tap, Wish::Newest), tap.missed_bytes()), (7, 64));
}

#[test]
fn while_another_publication_is_under_way_reading_goes_on_from_what_is_published() {
    let mut rig = Rig::new(0);
    let (mut tap, _) = rig.tap(Start::Latest);
    rig.send(8);
    // As if the producer had died between the two stores of the next.
    rig.lane.last().store(16, Relaxed);
    assert_eq!((receive(&mut tap, Wish::Newest, || {}), tap.position()), (Got::Missed(16), 16));
    assert_eq!(receive(&mut tap, Wish::Newest, || {}), Got::Empty);
    rig.send(8);
    assert_eq!(received(&mut tap, Wish::Newest), 1);
}

#[test]
fn a_tap_begins_at_the_newest_record_the_oldest_or_the_next() {
    let mut rig = Rig::new(0);
    assert_eq!(rig.tap(Start::Newest).0.position(), 0, "nothing was published yet");
    (0..3).for_each(|_| rig.send(8));
    let starts = [Start::Latest, Start::Oldest, Start::Newest].map(|start| rig.tap(start).0.position());
    assert_eq!(starts, [48, 0, 32]);
}

#[test]
fn the_end_comes_after_the_last_record_and_for_a_session_that_is_over() {
    let mut rig = Rig::new(0);
    let (mut tap, _) = rig.tap(Start::Latest);
    rig.send(8);
    rig.publisher.close(&rig.roster, LaneState::Finished);
    received(&mut tap, Wish::Next);
    assert_eq!(tap.poll_to_end(Wish::Next, || false), Ok(Polled::Ended(LaneState::Finished)));
    let rig = Rig::new(0);
    let (mut tap, _) = rig.tap(Start::Latest);
    assert_eq!(tap.poll_to_end(Wish::Newest, || true), Ok(Polled::Ended(LaneState::Open)));
    assert_eq!(tap.poll_to_end(Wish::Newest, || false), Ok(Polled::Empty));
}

#[test]
fn nobody_sleeps_where_there_is_something_to_see_or_to_say() {
    let mut rig = Rig::new(0);
    let (mut tap, _) = rig.tap(Start::Latest);
    assert!(tap.may_sleep(|| false) && !tap.may_sleep(|| true));
    rig.send(8);
    assert!(!tap.may_sleep(|| false), "published");
    rig.send(8);
    received(&mut tap, Wish::Next);
    assert!(!tap.may_sleep(|| false), "in view");
    received(&mut tap, Wish::Next);
    assert!(tap.may_sleep(|| false));
    // What it has missed is for the next call to say: arming says nothing.
    (0..100).for_each(|_| rig.send(100));
    assert!(!tap.may_sleep(|| false) && tap.missed_bytes() == 0);
    assert!(matches!(receive(&mut tap, Wish::Next, || {}), Got::Missed(_)));
    rig.publisher.close(&rig.roster, LaneState::Finished);
    received(&mut tap, Wish::Next);
    assert!(!tap.may_sleep(|| false), "the end");
}

#[test]
fn a_tap_leaves_by_its_own_seat() {
    let mut rig = Rig::new(0);
    let (mut tap, seat) = rig.tap(Start::Latest);
    rig.send(8);
    received(&mut tap, Wish::Next);
    assert_eq!(rig.roster.taps(), 1);
    tap.leave();
    assert_eq!((seat.consumed().load(Relaxed), seat.read().load(Relaxed)), (16 | CONSUMED_LEFT_BIT, 16));
    assert_eq!((rig.roster.taps(), seat.space_seq().load(Relaxed)), (0, 0));
}

/// A tap at 0 of a lane whose words somebody without manners has stored.
fn tap_of(published: u64, last: u64, intent: u64) -> (Arc<PlainLane>, PlainTap) {
    let rig = Rig::new(0);
    let (tap, _) = rig.tap(Start::Latest);
    rig.lane.published().store(published, Relaxed);
    rig.lane.last().store(last, Relaxed);
    rig.lane.intent().store(intent, Relaxed);
    (rig.lane, tap)
}

#[test]
fn words_that_cannot_be_stop_a_tap_for_good() {
    use Corruption::*;
    let far = 1 << 63;
    let cases = [
        (4097, 0, 4104, Wish::Next, PublishedUnaligned(4097)),
        (far, 0, far, Wish::Next, PublishedTooFar { published: far, position: 0 }),
        (far + 8, far, far + 8, Wish::Newest, PublishedTooFar { published: far + 8, position: 0 }),
        (64, 63, 64, Wish::Newest, Last { last: 63, published: 64 }),
        (8192, 8, 8192, Wish::Newest, Last { last: 8, published: 8192 }),
        (8192, 8, 8192, Wish::Next, Last { last: 8, published: 8192 }),
        (64, 0, 0, Wish::Next, UnknownKind { word: 0, position: 0 }),
        (64, 0, 64 + CAPACITY + 8, Wish::Next, IntentTooFar { intent: 64 + CAPACITY + 8, published: 64 }),
        (64, 0, u64::MAX, Wish::Next, IntentTooFar { intent: u64::MAX, published: 64 }),
    ];
    for (published, last, intent, wish, corruption) in cases {
        let (lane, mut tap) = tap_of(published, last, intent);
        for _ in 0..2 {
            assert_eq!(tap.poll_to_end(wish, || false), Err(Miss::Corrupt(corruption)), "{published} {last} {intent}");
            // It stays so, whatever comes after.
            lane.published().store(0, Relaxed);
        }
        assert!(!tap.may_sleep(|| false), "there is an error to tell");
    }
    let (lane, mut tap) = tap_of(0, 0, 0);
    lane.state().store(7, Relaxed);
    assert_eq!(tap.poll_to_end(Wish::Next, || false), Err(Miss::Corrupt(UnknownState(7))));
}

#[test]
fn a_published_or_an_intent_that_falls_is_nonsense() {
    let (lane, mut tap) = tap_of(16, 0, 16);
    lane.put(0, RecordHeader::data(8, 0).to_word());
    let Ok(Polled::Found(found)) = tap.poll_to_end(Wish::Next, || false) else { panic!("a record") };
    lane.intent().store(0, Relaxed);
    assert!(tap.copy_intact(&*lane, found, &mut [0]), "it is not below the record");
    lane.published().store(8, Relaxed);
    let corrupt = Miss::Corrupt(Corruption::PublishedFell { from: 16, to: 8 });
    assert_eq!(tap.poll_to_end(Wish::Next, || false), Err(corrupt));
    let (lane, mut tap) = tap_of(32, 0, 32);
    lane.put(0, RecordHeader::data(8, 0).to_word());
    lane.put(16, RecordHeader::data(8, 0).to_word());
    assert!(matches!(tap.poll_to_end(Wish::Next, || false), Ok(Polled::Found(_))));
    let Ok(Polled::Found(found)) = tap.poll_to_end(Wish::Next, || false) else { panic!("another record") };
    lane.intent().store(8, Relaxed);
    assert!(!tap.copy_intact(&*lane, found, &mut [0]), "less than was read");
    assert_eq!(tap.lost(found), Miss::Corrupt(Corruption::IntentTooFar { intent: 8, published: 32 }));
}

#[derive(Clone, Debug)]
enum Step {
    Write(u64),
    Publish,
    /// Claims room, scribbles there, and goes away.
    Claim(u64),
    /// Receives, while a number of records of that length are sent.
    Receive(bool, u8, u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let len = || prop_oneof![0..64_u64, 0..600_u64, Just(2040)];
    let step = prop_oneof![
        4 => len().prop_map(Step::Write),
        3 => Just(Step::Publish),
        1 => len().prop_map(Step::Claim),
        4 => (any::<bool>(), prop_oneof![Just(0), 0..12_u8], len())
            .prop_map(|(newest, count, len)| Step::Receive(newest, count, len)),
    ];
    proptest::collection::vec(step, 0..120)
}

proptest! {
    /// Whatever the producer does before, between and during the copies of a tap: each record that comes is one that
    /// was sent, whole, in order; it comes if and only if nothing of it may have been overwritten; what does not come
    /// is counted; and after a miss the tap stands at a boundary, the newest that is whole.
    #[test]
    fn a_tap_gets_what_it_is_in_time_for_and_counts_the_rest(steps in steps(), start in 0..CAPACITY / 8) {
        let rig = RefCell::new(Rig::new(start * 8));
        let (mut tap, seat) = rig.borrow().tap(Start::Latest);
        let (mut records, mut record_bytes, mut padding) = (0, 0, 0);
        for step in steps {
            match step {
                Step::Write(len) => {
                    let mut rig = rig.borrow_mut();
                    // A batch that is longer than the ring is none of this test's.
                    let end = rig.sent.last().map_or(0, |sent| sent.end) + len + 600;
                    if end > rig.publisher.writer.published() + CAPACITY / 2 {
                        rig.publish();
                    }
                    rig.write(len);
                }
                Step::Publish => rig.borrow_mut().publish(),
                Step::Claim(len) => {
                    rig.borrow_mut().publish();
                    rig.borrow_mut().claim(len);
                }
                Step::Receive(is_newest, count, len) => {
                    rig.borrow_mut().publish();
                    let wish = if is_newest { Wish::Newest } else { Wish::Next };
                    let (before, missed_before) = (tap.position(), tap.missed_bytes());
                    let last = rig.borrow().sent.last().copied();
                    let got = receive(&mut tap, wish, || (0..count).for_each(|_| rig.borrow_mut().send(len)));
                    let (rig, missed) = (rig.borrow(), tap.missed_bytes() - missed_before);
                    let intent = rig.lane.intent().load(Relaxed);
                    match got {
                        Got::Record(found, copy) => {
                            let sent = rig.sent.iter().find(|sent| sent.begin == found.position).expect("a record");
                            assert_eq!((found.len, found.tag), (sent.len, sent.tag));
                            let is_sent = |(word, copied): (u64, &u64)| *copied == payload_word(sent.tag, word);
                            assert!((0..).zip(&copy).all(is_sent), "torn");
                            assert!(intent - found.from <= CAPACITY, "it may have been overwritten");
                            assert_eq!(found.from, before + missed);
                            assert!(if is_newest { last == Some(*sent) } else { missed == 0 });
                            assert_eq!(tap.position(), sent.end);
                            (records, record_bytes) = (records + 1, record_bytes + sent.end - sent.begin);
                            padding += found.padding_bytes();
                        }
                        Got::Empty => {
                            assert_eq!((tap.position(), missed), (before, 0));
                            assert!(last.is_none_or(|sent| sent.end <= before));
                        }
                        Got::Missed(_) => {
                            assert!(tap.position() == before + missed && missed > 0 && rig.is_boundary(tap.position()));
                            assert!(intent > before + CAPACITY || is_newest, "it was in time");
                            let newest = rig.sent.last().unwrap();
                            let is_whole = intent - newest.begin <= CAPACITY && newest.begin > before;
                            assert!(tap.position() == if is_whole { newest.begin } else { newest.end });
                        }
                    }
                }
            }
        }
        tap.leave();
        let missed_bytes = tap.missed_bytes();
        assert_eq!(seat.counters(), SeatCounters { records, record_bytes, missed_bytes });
        assert_eq!(tap.position(), start * 8 + record_bytes + missed_bytes + padding);
    }
}
