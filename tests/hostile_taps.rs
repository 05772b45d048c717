//! Producers that lie to taps in memory: positions, the last record, the intent, headers and states that cannot be, and
//! words that change while a tap reads. Each call ends, what is handed out lies within the ring, and what cannot be is
//! an error that says so and stands.

mod common;
#[path = "common/hostile.rs"]
mod hostile;
#[path = "common/impostor.rs"]
mod impostor;
#[path = "common/peer.rs"]
mod peer;
#[path = "common/stage.rs"]
mod stage;

use common::{DEADLINE, belongings, role, unique_name, wait_until, while_doing};
use fdring::errors::TapError;
use fdring::options::SessionOptions;
use fdring::{Attach, Record, Session, Tap};
use hostile::*;
use impostor::{CAPACITY, Goods, data, offer, padding};
use peer::{Peer, argument, say, told};
use rustix::fd::OwnedFd;
use std::fmt::Write;
use std::ops::ControlFlow;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Relaxed, Release};
use std::time::Duration;

/// Lossy, from the latest record on, by copies.
const LOSSY: AttachedLane = ([2, 1, 2, 1, 0], 0);
/// How long one call of the tap's waits.
const PATIENCE: Duration = Duration::from_millis(20);

/// How a tap asks for records.
const FORMS: [&str; 3] = ["next", "newest", "many"];

fn plays_a_role() -> bool {
    let is_tap = role().as_deref() == Some("tap");
    if is_tap {
        tap();
    }
    is_tap
}

/// In a process of its own: a tap that connects, reads and leaves as it is told, and checks what holds whatever its
/// producer does.
fn tap() {
    let address = argument();
    // Whatever is mapped once and kept is there now.
    let _ = Session::connect("@fdring-test-nobody-listens-here");
    let before = belongings();
    loop {
        if told().is_empty() {
            return;
        }
        let session = SessionOptions::new().deadline(DEADLINE).connect(&*address).unwrap();
        let mut tap = session.tap_one(Attach::new()).unwrap();
        say("attached");
        let start = tap.position();
        loop {
            let line = told();
            let Some((form, calls)) = line.split_once(' ') else { break };
            say(&read(&mut tap, start, form, calls.parse().unwrap()));
        }
        drop(tap);
        wait_until("nothing is left of the session", || belongings() == before);
        say("left, with nothing more than before");
    }
}

/// Makes that many calls, or as many as there are until one has an error that stands: how many records and lags there
/// were, and what the last call brought.
fn read(tap: &mut Tap, start: u64, form: &str, calls: u32) -> String {
    let (mut records, mut lags, mut last) = (0_u64, 0_u64, String::new());
    for _ in 0..calls {
        let (before, missed) = (tap.position(), tap.missed_bytes());
        let mut show = |record: &Record<'_>| {
            records += 1;
            last.clear();
            write!(last, "{} bytes, tag {}, from {}", record.len(), record.tag(), record.position()).unwrap();
            assert!(record.len() as u64 <= CAPACITY - 8 && record.position() >= before, "{last}");
            // All of it is there.
            std::hint::black_box(record.iter().fold(0, |sum, byte| sum ^ byte));
        };
        let outcome = match form {
            "many" => tap
                .receive_many_timeout(PATIENCE, |record| {
                    show(record);
                    ControlFlow::<()>::Break(())
                })
                .map(|records| (records != 0).then_some(())),
            "newest" => tap.receive_newest_timeout(PATIENCE).map(|record| record.map(|record| show(&record))),
            _ => tap.receive_timeout(PATIENCE).map(|record| record.map(|record| show(&record))),
        };
        // What was passed was read or counted.
        assert!(tap.position() >= before && tap.missed_bytes() >= missed);
        let stats = tap.stats();
        assert!(stats.record_bytes + stats.missed_bytes <= tap.position() - start, "{stats:?} at {}", tap.position());
        let stands = match outcome {
            Ok(Some(())) => false,
            Ok(None) => {
                "finished".clone_into(&mut last);
                true
            }
            Err(TapError::Lagged { missed_bytes }) => {
                lags += 1;
                assert_eq!(tap.missed_bytes() - missed, missed_bytes);
                last = format!("missed {missed_bytes}");
                false
            }
            Err(TapError::TimedOut) => {
                "nothing".clone_into(&mut last);
                false
            }
            Err(error) => {
                let name = match error {
                    TapError::Corrupt(_) => "Corrupt: ",
                    TapError::Abandoned => "Abandoned: ",
                    _ => "another: ",
                };
                last = format!("{name}{error}");
                true
            }
        };
        if stands {
            break;
        }
    }
    format!("{records}|{lags}|{last}")
}

/// A producer by hand, and the tap that it deceives.
struct Lure {
    listener: OwnedFd,
    tap: Peer,
}

impl Lure {
    fn new(test: &str) -> Self {
        let address = format!("@{}", unique_name());
        Self { listener: listen(&address), tap: Peer::start(test, "tap", &address) }
    }

    /// The whole handshake; the tap reads from `start` on.
    fn attaches(&mut self, goods: &Goods, start: u64) -> Wire {
        self.tap.tell("connect");
        let wire = accept(&self.listener);
        assert_eq!(wire.recv().unwrap().bytes, hello(&[]));
        wire.send(&producer_hello()).unwrap();
        wire.send_fds(&offer(goods.capacity), &goods.fds()).unwrap();
        assert_eq!(wire.recv().unwrap().bytes, attach_as(&[LOSSY]));
        wire.send(&attached(&[start])).unwrap();
        self.tap.expect("attached");
        wire
    }

    /// Has it make that many calls: the records, the lags, and what the last call brought.
    fn reads(&mut self, form: &str, calls: u32) -> (u64, u64, String) {
        self.tap.tell(&format!("{form} {calls}"));
        let heard = self.tap.heard();
        let [records, lags, last] = heard.splitn(3, '|').collect::<Vec<_>>()[..] else { panic!("{heard}") };
        (records.parse().unwrap(), lags.parse().unwrap(), last.to_owned())
    }

    fn leaves(&mut self) {
        self.tap.tell("leave");
        self.tap.expect("left, with nothing more than before");
    }
}

/// What a producer says in its memory.
#[derive(Clone, Copy, Debug)]
struct Lie<'a> {
    words: &'a [(u64, u64)],
    published: u64,
    last: u64,
    intent: u64,
    state: u32,
}

impl Lie<'_> {
    fn tell(self, goods: &Goods) {
        self.words.iter().for_each(|(position, word)| goods.put(*position, *word));
        goods.control_map.u64(INTENT).store(self.intent, Relaxed);
        goods.control_map.u64(LAST).store(self.last, Relaxed);
        goods.control_map.u32(STATE).store(self.state, Release);
        goods.publish(self.published);
    }
}

/// One record of 8 bytes with tag 9 at `start`, as it should be.
fn honest<'a>(start: u64) -> Lie<'a> {
    Lie { words: &[], published: start + 16, last: start, intent: start + 16, state: 1 }
}

/// Has the tap read what `lie` says, in each of these forms; the outcomes of its calls begin with `expected`, the last
/// of which comes again.
fn tells(lure: &mut Lure, what: &str, start: u64, lie: Lie<'_>, forms: &[&str], expected: &[&str]) {
    for form in forms {
        let goods = Goods::new(CAPACITY);
        goods.put(start, data(8, 9));
        goods.control_map.u64(INTENT).store(start, Relaxed);
        let _wire = lure.attaches(&goods, start);
        lie.tell(&goods);
        for expected in expected.iter().chain(expected.last()) {
            let (_, _, heard) = lure.reads(form, 1);
            assert!(heard.starts_with(expected), "{what}, {form}: {heard} where {expected} was expected");
        }
        lure.leaves();
    }
}

const CORRUPT: &str = "Corrupt: the producer broke the protocol of its lane: ";

#[test]
fn positions_that_cannot_be_are_corrupt() {
    if plays_a_role() {
        return;
    }
    let mut lure = Lure::new("positions_that_cannot_be_are_corrupt");
    let corrupt = &format!("{CORRUPT}the published position")[..];
    for start in [0, 4096, 1 << 40] {
        for published in [start + 12, start + CAPACITY - 1, 1 << 63, u64::MAX - 7] {
            let lie = Lie { published, intent: published, ..honest(start) };
            tells(&mut lure, &format!("{published} from {start}"), start, lie, &FORMS, &[corrupt]);
        }
    }
    let lie = Lie { published: 4088, ..honest(4096) };
    tells(&mut lure, "below the start", 4096, lie, &FORMS, &[corrupt]);

    // A position that falls, and regrets that come too late.
    for form in FORMS {
        let goods = Goods::new(CAPACITY);
        let _wire = lure.attaches(&goods, 0);
        Lie { words: &[(0, data(8, 1)), (16, data(8, 2))], published: 32, last: 16, intent: 32, state: 1 }.tell(&goods);
        let (_, _, heard) = lure.reads(form, if form == "newest" { 1 } else { 2 });
        assert_eq!(heard, "8 bytes, tag 2, from 16");
        goods.publish(16);
        let (_, _, heard) = lure.reads(form, 1);
        assert_eq!(heard, format!("{CORRUPT}the published position fell from 32 to 16"), "{form}");
        goods.publish(48);
        assert_eq!(lure.reads(form, 1).2, heard, "{form}");
        lure.leaves();
    }
}

#[test]
fn a_last_record_that_cannot_be_is_corrupt_or_passed_over() {
    if plays_a_role() {
        return;
    }
    let mut lure = Lure::new("a_last_record_that_cannot_be_is_corrupt_or_passed_over");
    let far = 3 * CAPACITY;
    let corrupt = &format!("{CORRUPT}no record that ends at or below")[..];
    let here = Lie { words: &[(far - 16, data(8, 9))], published: far, last: far - 16, intent: far, state: 1 };
    // A tap that is lapped goes on from the last record, as the newest form always does.
    let newest = ["newest"];
    tells(&mut lure, "honest", 0, here, &["next", "many"], &["missed 12272", "8 bytes, tag 9", "nothing"]);
    tells(&mut lure, "honest", 0, here, &newest, &["8 bytes, tag 9", "nothing"]);
    for last in [far - 12, far - CAPACITY - 8, 0, 1] {
        tells(&mut lure, &format!("last {last}"), 0, Lie { last, ..here }, &FORMS, &[corrupt]);
    }
    // As if another publication were always under way: there is no last record, and each call ends all the same.
    for last in [far, far + 16, u64::MAX] {
        let (lie, what) = (Lie { last, ..here }, format!("last {last}"));
        tells(&mut lure, &what, 0, lie, &["next", "many"], &["missed 12288", "nothing"]);
        tells(&mut lure, &what, 0, lie, &newest, &["nothing"]);
    }
    // In the middle of something: its bytes are no header.
    let header = &format!("{CORRUPT}the header")[..];
    let lie = Lie { last: far - 8, ..here };
    tells(&mut lure, "no header", 0, lie, &newest, &[header]);
    tells(&mut lure, "no header", 0, lie, &["next", "many"], &["missed 12280", header]);
}

#[test]
fn an_intent_that_cannot_be_is_corrupt_and_no_copy_is_handed_out() {
    if plays_a_role() {
        return;
    }
    let mut lure = Lure::new("an_intent_that_cannot_be_is_corrupt_and_no_copy_is_handed_out");
    let corrupt = &format!("{CORRUPT}the position")[..];
    let start = 1 << 20;
    let fits = ["8 bytes, tag 9", "nothing"];
    for intent in [start + 16, start + CAPACITY] {
        tells(&mut lure, &format!("intent {intent}"), start, Lie { intent, ..honest(start) }, &FORMS, &fits);
    }
    // The record may be overwritten: it is passed over.
    let lie = Lie { intent: start + CAPACITY + 8, ..honest(start) };
    tells(&mut lure, "overwritten", start, lie, &["next", "many"], &["missed 16", "nothing"]);
    tells(&mut lure, "overwritten", start, lie, &["newest"], &["nothing"]);
    // More than the ring holds, and less than was published.
    for intent in [start + CAPACITY + 24, 1 << 40, u64::MAX, 0, start - 8] {
        let lie = Lie { intent, ..honest(start) };
        tells(&mut lure, &format!("intent {intent}"), start, lie, &FORMS, &[corrupt]);
    }
}

#[test]
fn records_that_cannot_be_are_corrupt() {
    if plays_a_role() {
        return;
    }
    let mut lure = Lure::new("records_that_cannot_be_are_corrupt");
    let kind = &format!("{CORRUPT}the header")[..];
    let long = &format!("{CORRUPT}a record")[..];
    let pad = &format!("{CORRUPT}the padding")[..];
    let end = CAPACITY - 16;
    // Where reading starts, the words that are put, what is published, and what is read.
    type Case<'a> = (&'a str, u64, &'a [(u64, u64)], u64, &'a str);
    let cases: &[Case<'_>] = &[
        ("zeros", 0, &[(0, 0)], 16, kind),
        ("kind 0", 0, &[(0, 8)], 16, kind),
        ("kind 3", 0, &[(0, 3 << 32 | 8)], 16, kind),
        ("kind 255", 0, &[(0, 255 << 32)], 16, kind),
        ("all ones", 0, &[(0, u64::MAX)], 16, kind),
        ("one descriptor", 0, &[(0, data(8, 9) | 1 << 40)], 16, kind),
        ("128 descriptors", 0, &[(0, data(8, 9) | 1 << 47)], 16, kind),
        ("255 descriptors", 0, &[(0, data(8, 9) | 255 << 40)], 16, kind),
        ("longer than published", 0, &[(0, data(9, 0))], 16, long),
        ("4 GiB", 0, &[(0, data(u32::MAX, 0))], CAPACITY, long),
        ("nearly 4 GiB", 0, &[(0, data(u32::MAX - 7, 0))], CAPACITY, long),
        ("a ring and more", 0, &[(0, data(CAPACITY as u32, 0))], CAPACITY, long),
        ("across the end", end, &[(end, data(16, 0))], CAPACITY + 8, long),
        ("padding last", end, &[(end, padding(8))], CAPACITY, pad),
        ("padding short of the end", end, &[(end, padding(0))], CAPACITY + 16, pad),
        ("padding beyond the end", end, &[(end, padding(16)), (0, data(8, 9))], CAPACITY + 16, pad),
        ("padding of 4 GiB", end, &[(end, padding(u32::MAX)), (0, data(8, 9))], CAPACITY + 16, pad),
        ("padding in the middle", 0, &[(0, padding(8)), (16, data(0, 0))], 32, pad),
        ("padding twice", end, &[(end, padding(8)), (0, padding(CAPACITY as u32 - 8))], CAPACITY + end, pad),
        ("padding, then too much", end, &[(end, padding(8)), (0, data(9, 0))], CAPACITY + 16, long),
        ("padding with descriptors", end, &[(end, padding(8) | 1 << 40), (0, data(0, 0))], CAPACITY + 8, kind),
        ("descriptors after padding", end, &[(end, padding(8)), (0, data(0, 0) | 1 << 40)], CAPACITY + 8, pad),
        ("the longest there can be", 0, &[(0, data(CAPACITY as u32 - 8, 9))], CAPACITY, "4088 bytes, tag 9, from 0"),
        (
            "padding and a record",
            end,
            &[(end, padding(8)), (0, data(8, 9))],
            CAPACITY + 16,
            "8 bytes, tag 9, from 4096",
        ),
    ];
    for (what, start, words, published, expected) in cases {
        // The first record is the last, too, so that each form comes to it.
        let lie = Lie { words, published: *published, last: *start, intent: *published, state: 2 };
        let then = if expected.starts_with("Corrupt") { vec![*expected] } else { vec![*expected, "finished"] };
        tells(&mut lure, what, *start, lie, &FORMS, &then);
    }
}

#[test]
fn states_that_cannot_be_end_the_lane() {
    if plays_a_role() {
        return;
    }
    let mut lure = Lure::new("states_that_cannot_be_end_the_lane");
    let corrupt = &format!("{CORRUPT}the lane's state")[..];
    for state in [0, 4, 0x102, 1 << 31, u32::MAX] {
        let lie = Lie { state, ..honest(0) };
        tells(&mut lure, &format!("state {state}"), 0, lie, &FORMS, &["8 bytes, tag 9, from 0", corrupt]);
    }
    for (state, expected) in [(2, "finished"), (3, "Abandoned")] {
        let lie = Lie { state, ..honest(0) };
        tells(&mut lure, expected, 0, lie, &FORMS, &["8 bytes, tag 9, from 0", expected]);
    }
}

/// The next of a sequence of words that look random.
fn scrambled(seed: &AtomicU64) -> u64 {
    let mut word = seed.fetch_add(0x9e37_79b9_7f4a_7c15, Relaxed);
    word = (word ^ word >> 31).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word ^ word >> 27
}

/// Changes words, as a random one says.
type Flicker = fn(&Goods, u64);

/// What changes beside an honest stream of records of 8 bytes while a tap reads.
const FLICKERS: [(&str, Flicker); 6] = [
    ("headers", |goods, word| {
        let lies = [data(u32::MAX, 1), padding(u32::MAX), padding(CAPACITY as u32 - 8), 0, data(4000, 2), 255 << 32];
        let at = word >> 32 & (CAPACITY - 8) & !15;
        goods.put(at, lies[word as usize % lies.len()] | (word >> 60) << 44);
        goods.put(at, data(8, 1));
    }),
    ("published", |goods, word| {
        let place = goods.control_map.u64(PUBLISHED);
        let published = place.load(Relaxed);
        place.store(published.wrapping_add((word & 0xffff) << (word >> 61 << 1)) & !7, Relaxed);
        place.store(published, Relaxed);
    }),
    ("last", |goods, word| {
        let last = goods.control_map.u64(LAST);
        let published = goods.control_map.u64(PUBLISHED).load(Relaxed);
        last.store(published.wrapping_sub(word & (2 * CAPACITY - 1)), Relaxed);
        last.store(if word >> 63 == 0 { published.wrapping_sub(16) } else { word }, Relaxed);
    }),
    ("intent", |goods, word| {
        let intent = goods.control_map.u64(INTENT);
        let published = goods.control_map.u64(PUBLISHED).load(Relaxed);
        intent.store(published.wrapping_add(word & (2 * CAPACITY - 1)), Relaxed);
        intent.store(if word >> 60 == 0 { word } else { published }, Relaxed);
    }),
    ("state", |goods, word| {
        let state = if word >> 54 == 0 { word as u32 } else { 1 };
        goods.control_map.u32(STATE).store(state, Release);
    }),
    ("everything", |goods, word| {
        let record = if word.is_multiple_of(4) { padding(word as u32 >> 20) } else { data(word as u32 >> 25, 1) };
        goods.put(word >> 40 & !7, if word.is_multiple_of(2) { word } else { record });
        let published = goods.control_map.u64(PUBLISHED).load(Relaxed);
        goods.control_map.u64(LAST).store(published.wrapping_sub(word >> 50 & !7), Relaxed);
        goods.control_map.u64(INTENT).store(published.wrapping_add(word >> 51), Relaxed);
    }),
];

/// Each call ends, and its outcome is a record within the ring, a lag, or an end that stands.
#[test]
fn words_that_change_while_a_tap_reads_mislead_it_to_nothing_worse_than_an_error() {
    if plays_a_role() {
        return;
    }
    const ROUNDS: u64 = 6;
    const CALLS: u32 = 300;
    let mut lure = Lure::new("words_that_change_while_a_tap_reads_mislead_it_to_nothing_worse_than_an_error");
    for (what, flicker) in FLICKERS {
        let (mut all_records, mut all_lags, mut ends) = (0, 0, 0);
        for round in 0..ROUNDS {
            let goods = Goods::new(CAPACITY);
            let _wire = lure.attaches(&goods, 0);
            let (position, seed) = (AtomicU64::new(0), AtomicU64::new(round));
            let turn = || {
                let begin = position.fetch_add(16, Relaxed);
                let end = begin + 16;
                goods.control_map.u64(INTENT).store(end, Relaxed);
                goods.put(begin, data(8, begin as u16));
                goods.put(begin + 8, begin);
                goods.control_map.u64(LAST).store(begin, Relaxed);
                goods.control_map.u64(PUBLISHED).store(end, Release);
                flicker(&goods, scrambled(&seed));
                // The tap may sleep.
                if end.is_multiple_of(1 << 14) {
                    goods.ring();
                }
            };
            while_doing(turn, || {
                for form in FORMS {
                    let (records, lags, last) = lure.reads(form, CALLS);
                    let is_known = ["missed", "nothing", "finished", "Abandoned", "Corrupt"];
                    assert!(
                        is_known.iter().any(|known| last.starts_with(known)) || last.contains(" bytes, tag "),
                        "{what}: {last}"
                    );
                    (all_records, all_lags) = (all_records + records, all_lags + lags);
                    ends += u32::from(last.starts_with("Corrupt"));
                }
            });
            lure.leaves();
        }
        println!("{what}: {all_records} records, {all_lags} lags, {ends} runs of calls ended by an error");
        assert!(all_records + all_lags > 0 || ends > 0, "{what}: nothing was read at all");
    }
}
