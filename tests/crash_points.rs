//! A kill at every step: each named point of the library and each store to a word that both sides see, on either side,
//! with one consumer and with three.
//!
//! The process that is killed kills itself, at the point that its environment names (`src/crash.rs`); a point that does
//! not kill is a failure. Afterwards everyone else goes on within a second, has lost nothing, and holds no more than
//! before (invariants 13, 14, 15 and 20), which the logs of all processes prove (`tests/common/ledger.rs`).
//!
//! `FDRING_CRASH_POINT=bell` plays only the points with that in their names. Those that are passed again and again kill
//! in 3 rounds in each way; with `FDRING_CRASH_ROUNDS=50`, in 50.

mod common;
#[path = "common/crew.rs"]
mod crew;
#[path = "common/ledger.rs"]
mod ledger;
#[path = "common/peer.rs"]
mod peer;
#[path = "common/successors.rs"]
mod successors;

use common::{TempDir, stopwatch::Stopwatch, unique_name};
use crew::{Crew, Leaving, Manner, SOON, ends_in_order, goes_on, plays_a_role};
use ledger::{Ending, Reading, mix};
use peer::Peer;
use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use successors::{Reads, Succession, is_successor};

/// When a process comes past a point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum When {
    /// Once, before a server listens.
    Setup,
    /// Again and again, while records flow.
    Flow,
    /// Once, while a consumer attaches.
    Handshake,
    /// Once, when a consumer leaves.
    Departure,
    /// Once, when a consumer hangs up and stays where it is.
    HangUp,
    /// Once, when the lane ends.
    End,
}

/// What becomes of the record that a producer last meant to publish before it died.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Last {
    Published,
    Unpublished,
    Either,
}

use Last::{Either, Published, Unpublished};
use When::{Departure, End, Flow, Handshake, HangUp, Setup};

/// The points in a producer's process: on its own thread, on the steward's, and in this test.
const PRODUCER_POINTS: [(&str, When, Last); 33] = [
    ("store", Flow, Either),
    ("producer-in-fill", Flow, Unpublished),
    ("test-in-fill", Flow, Unpublished),
    ("producer-before-header", Flow, Unpublished),
    ("producer-between-batch-records", Flow, Unpublished),
    ("producer-in-row", Flow, Unpublished),
    ("producer-reserved-window", Flow, Unpublished),
    ("producer-in-window", Flow, Unpublished),
    ("producer-before-publication", Flow, Unpublished),
    ("producer-after-publication", Flow, Published),
    ("producer-before-bell", Flow, Published),
    ("producer-after-bell", Flow, Published),
    ("producer-asleep", Flow, Either),
    ("producer-before-end", End, Published),
    ("producer-after-end", End, Published),
    ("server-locked", Setup, Either),
    ("server-before-bind", Setup, Either),
    ("server-bound", Setup, Either),
    ("server-listening", Setup, Either),
    ("steward-accepted", Handshake, Either),
    ("steward-hello-heard", Handshake, Either),
    ("steward-seat-made", Handshake, Either),
    ("steward-hello-sent", Handshake, Either),
    ("steward-offer-sent", Handshake, Either),
    ("steward-attach-heard", Handshake, Either),
    ("steward-seat-checked", Handshake, Either),
    ("steward-joined", Handshake, Either),
    ("steward-attached-sent", Handshake, Either),
    ("steward-consumer-gone", Departure, Either),
    ("steward-seat-frozen", Departure, Either),
    ("steward-left", Departure, Either),
    ("steward-evicting", HangUp, Either),
    ("steward-evicted", HangUp, Either),
];

/// The points in a consumer's process.
const CONSUMER_POINTS: [(&str, When); 24] = [
    ("store", Flow),
    ("session-connected", Handshake),
    ("session-hello-sent", Handshake),
    ("session-hello-received", Handshake),
    ("session-offer-received", Handshake),
    ("session-seat-mapped", Handshake),
    ("session-seat-sealed", Handshake),
    ("session-lanes-mapped", Handshake),
    ("session-attach-sent", Handshake),
    ("session-attached-received", Handshake),
    ("consumer-record-found", Flow),
    ("test-holding", Flow),
    ("consumer-holds", Flow),
    ("consumer-hold-ending", Flow),
    ("consumer-hold-ended", Flow),
    ("consumer-before-space-wake", Flow),
    ("consumer-after-space-wake", Flow),
    ("consumer-sleep-announced", Flow),
    ("consumer-asleep", Flow),
    ("consumer-woken", Flow),
    ("consumer-awake", Flow),
    ("consumer-leaving", Departure),
    ("consumer-left", Departure),
    ("consumer-end-seen", End),
];

/// The points in a producer's process that evicts a consumer: whether the consumer can know.
const EVICTING_POINTS: [&str; 2] = ["producer-evicting", "producer-evicted"];
/// The points in a producer that sends descriptors with its records: the record that it is at is not published.
const ATTACHING_POINTS: [&str; 3] =
    ["producer-before-attachments", "producer-between-attachments", "producer-after-attachments"];
/// The points in a tap's process that a consumer's has not, and when it passes them: in the flow, or when it leaves.
const TAP_POINTS: [(&str, When); 2] = [("tap-record-found", Flow), ("tap-leaving", Departure)];
/// Those that both have.
const TAP_POINTS_SHARED: [(&str, When); 10] = [
    ("store", Flow),
    ("session-seat-mapped", Handshake),
    ("session-seat-sealed", Handshake),
    ("session-lanes-mapped", Handshake),
    ("session-attach-sent", Handshake),
    ("session-attached-received", Handshake),
    ("consumer-sleep-announced", Flow),
    ("consumer-asleep", Flow),
    ("consumer-woken", Flow),
    ("consumer-awake", Flow),
];

/// In how many rounds each point in the flow kills, each time after another number of passes.
const FLOW_ROUNDS: u64 = 3;
const PASSES_MAX: u64 = 50;
/// Before each store to a word of the protocols there is one point, of the name "store": it kills in this many times as
/// many rounds.
const ROUNDS_PER_STORE: u64 = 5;
/// A producer's process makes fewer stores than this before records flow; no more than this number pass after that.
const STORES_BEFORE_FLOW: u64 = 64;
const STORES_PASSED_MAX: u64 = 400;
/// How many deaths there are at a time; they wait more than they work.
const THREADS: usize = 3;

/// One death.
#[derive(Clone, Copy, Debug)]
struct Run {
    point: &'static str,
    when: When,
    /// Of a producer that dies; `None` for a consumer that does.
    last: Option<Last>,
    /// How many there are before anyone dies; the last is the one that dies, if a consumer does.
    consumers: u64,
    /// Whether that last one reads in place.
    in_place: bool,
    /// Tells apart those that are alike.
    round: u64,
}

impl Run {
    /// All of them; each point in the flow kills in that many rounds.
    fn all(flow_rounds: u64) -> Vec<Self> {
        let mut runs = Vec::new();
        let producers = PRODUCER_POINTS.iter().map(|(point, when, last)| (*point, *when, Some(*last)));
        let points = producers.chain(CONSUMER_POINTS.iter().map(|(point, when)| (*point, *when, None)));
        for (point, when, last) in points {
            for (consumers, in_place) in [(1, false), (1, true), (3, false), (3, true)] {
                let rounds = match when {
                    Flow if point == "store" => ROUNDS_PER_STORE * flow_rounds,
                    Flow => flow_rounds,
                    _ => 1,
                };
                let run = |round| Self { point, when, last, consumers, in_place, round };
                let happens = match when {
                    // Nobody has come yet.
                    Setup => consumers == 1 && !in_place,
                    // One that reads in place is not evicted for hanging up.
                    HangUp => !in_place,
                    // A copy holds nothing.
                    Flow if point.starts_with("consumer-hold") => in_place,
                    _ => true,
                };
                runs.extend((0..rounds).map(run).filter(|_| happens));
            }
        }
        runs
    }

    /// A number that stands for this run: a lane's id, and what else is to differ from run to run.
    fn seed(&self) -> u64 {
        let variant = (self.round * 4 + self.consumers) * 2 + u64::from(self.in_place);
        self.point.bytes().fold(variant, |seed, byte| mix(seed ^ u64::from(byte)))
    }

    /// The point, and how often it is passed before.
    fn crash_at(&self) -> String {
        let passes = match (self.when, self.last) {
            (Flow, Some(_)) if self.point == "store" => STORES_BEFORE_FLOW + self.seed() % STORES_PASSED_MAX,
            (Flow, _) => self.seed() % PASSES_MAX,
            // The steward passes them for each consumer, the last of which is the one that counts.
            (Handshake, Some(_)) => self.consumers - 1,
            _ => 0,
        };
        format!("{}:{passes}", self.point)
    }

    /// How the last consumer reads, and its neighbours.
    fn manner(&self, index: u64) -> Manner {
        let is_last = index + 1 == self.consumers;
        let leaving = match self.when {
            Departure if is_last => Leaving::Early,
            HangUp if is_last => Leaving::HangUp,
            _ => Leaving::Never,
        };
        let bit = |number: u64| mix(self.seed() ^ index) >> number & 1 == 1;
        let in_place = if is_last { self.in_place } else { index.is_multiple_of(2) };
        Manner { in_place, from_oldest: bit(0), spins: bit(1), leaving }
    }

    /// Lets it happen; how many records were read and checked.
    fn play(&self, test: &'static str) -> u64 {
        let dir = TempDir::new();
        let path = dir.path().join("socket");
        let address = match mix(self.seed()) & 1 {
            0 if self.when != Setup => format!("@{}", unique_name()),
            _ => path.display().to_string(),
        };
        let mut crew = Crew::new(test, &address);
        let read_afterwards = match (self.when, self.last) {
            (Setup, _) => return self.server_dies(std::array::from_fn(|_| Crew::new(test, &address))),
            (_, Some(_)) => {
                self.producer_dies(&mut crew);
                self.another_takes_its_place(Crew::new(test, &address))
            }
            (_, None) => {
                self.consumer_dies(&mut crew);
                0
            }
        };
        let (ledger, readings) = crew.check().unwrap_or_else(|fault| panic!("{self:?}: {fault}"));
        let readings: Vec<Reading> = readings.into_iter().flatten().collect();
        let to_the_end = |reading: &&Reading| matches!(reading.how, Some(Ending::PeerDead | Ending::Finished));
        for reading in readings.iter().filter(to_the_end) {
            match self.last {
                Some(Published) => assert_eq!(reading.end, ledger.intended, "{self:?}: its last record was published"),
                Some(Unpublished) => assert!(reading.end < ledger.intended, "{self:?}: its last record was not"),
                Some(Either) | None => {}
            }
        }
        read_afterwards + readings.iter().map(|reading| reading.end - reading.first).sum::<u64>()
    }

    /// Starts all consumers but the last, and has records flow.
    fn begin(&self, crew: &mut Crew, producer: &mut Peer) -> Vec<Peer> {
        let mut others: Vec<Peer> = (0..self.consumers - 1).map(|n| crew.consumer(self.manner(n), None)).collect();
        others.iter_mut().for_each(|other| other.expect("attached"));
        producer.tell("go");
        producer.expect("going");
        others
    }

    fn consumer_dies(&self, crew: &mut Crew) {
        let mut producer = crew.producer(self.seed(), None);
        let mut others = self.begin(crew, &mut producer);
        let mut victim = crew.consumer(self.manner(self.consumers - 1), Some(&self.crash_at()));
        if self.when == End {
            victim.expect("attached");
            goes_on(&mut producer);
            producer.tell("finish");
            victim.dies();
            for mut other in others {
                other.expect("ended Finished");
                other.finish();
            }
            producer.expect("finished");
            return producer.finish();
        }
        victim.dies();
        let took = goes_on(&mut producer);
        assert!(took < SOON, "{self:?}: the producer went on after {took:?}");
        let mut joiner = crew.consumer(Manner { from_oldest: true, ..Manner::default() }, None);
        joiner.expect("attached");
        goes_on(&mut producer);
        others.push(joiner);
        ends_in_order(producer, others, u64::from(!self.in_place));
    }

    fn producer_dies(&self, crew: &mut Crew) {
        let mut producer = crew.producer(self.seed(), Some(&self.crash_at()));
        let (mut others, newcomer) = if self.when == Handshake {
            (self.begin(crew, &mut producer), Some(crew.consumer(self.manner(self.consumers - 1), None)))
        } else {
            let mut all: Vec<Peer> = (0..self.consumers).map(|n| crew.consumer(self.manner(n), None)).collect();
            all.iter_mut().for_each(|one| one.expect("attached"));
            // It may be dead before it can answer.
            producer.tell("go");
            (all, None)
        };
        if self.when == End {
            producer.expect("going");
            goes_on(&mut producer);
            producer.tell("finish");
        }
        producer.dies();
        let died = Stopwatch::start();
        let leaver = matches!(self.when, Departure | HangUp).then(|| others.pop()).flatten();
        for mut other in others {
            other.expect(if self.point == "producer-after-end" { "ended Finished" } else { "ended PeerDead" });
            let took = died.elapsed();
            assert!(took < SOON, "{self:?}: a consumer learnt of it after {took:?}");
            other.finish();
        }
        if let Some(mut leaver) = leaver {
            leaver.expect(if self.when == HangUp { "hung up" } else { "ended Left" });
            leaver.finish();
        }
        if let Some(mut newcomer) = newcomer {
            match self.point {
                "steward-attached-sent" => {
                    newcomer.expect("attached");
                    newcomer.expect("ended PeerDead");
                }
                _ => newcomer.expect("failed"),
            }
            newcomer.finish();
        }
    }

    /// A server dies before it can serve, at the address of one that was killed.
    fn server_dies(&self, [killed, dying, heir]: [Crew; 3]) -> u64 {
        killed.producer(self.seed(), None).kill();
        dying.start_producer(self.seed(), Some(&self.crash_at())).dies();
        self.another_takes_its_place(heir)
    }

    /// The same address serves again, and nothing of the dead is in the way; how many records were read there.
    fn another_takes_its_place(&self, mut crew: Crew) -> u64 {
        let mut producer = crew.producer(!self.seed(), None);
        let mut consumer = crew.consumer(Manner { in_place: self.in_place, ..Manner::default() }, None);
        consumer.expect("attached");
        producer.tell("go");
        producer.expect("going");
        goes_on(&mut producer);
        ends_in_order(producer, vec![consumer], 0);
        let (_, readings) = crew.check().unwrap_or_else(|fault| panic!("after {self:?}: {fault}"));
        readings.into_iter().flatten().map(|reading| reading.end - reading.first).sum()
    }
}

#[test]
fn a_kill_at_every_step_loses_nothing_and_leaves_nothing() {
    let test = "a_kill_at_every_step_loses_nothing_and_leaves_nothing";
    if plays_a_role() {
        return;
    }
    let only = std::env::var("FDRING_CRASH_POINT").unwrap_or_default();
    let rounds = std::env::var("FDRING_CRASH_ROUNDS").map_or(FLOW_ROUNDS, |rounds| rounds.parse().unwrap());
    let runs: Vec<Run> = Run::all(rounds).into_iter().filter(|run| run.point.contains(&only)).collect();
    assert!(!runs.is_empty(), "no point has {only:?} in its name");
    let (next, records, reached) = (AtomicUsize::new(0), AtomicU64::new(0), Mutex::new(BTreeSet::new()));
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                while let Some(run) = runs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    records.fetch_add(run.play(test), Ordering::Relaxed);
                    reached.lock().unwrap().insert(run.point);
                }
            });
        }
    });
    let (points, runs, records) = (reached.into_inner().unwrap().len(), runs.len(), records.into_inner());
    println!("proof: crash points | points {points} | runs {runs} | kills {runs} | records {records}");
}

/// Wherever a consumer with a place dies, the next one misses nothing.
#[test]
fn a_successor_of_one_that_dies_at_any_step_misses_nothing() {
    if is_successor() {
        return;
    }
    let test = "a_successor_of_one_that_dies_at_any_step_misses_nothing";
    // They neither leave nor hold, and their lane does not end.
    let points = CONSUMER_POINTS.iter().filter(|(_, when)| !matches!(when, Departure | End));
    let is_theirs = |point: &str| !point.starts_with("test-") && !point.starts_with("consumer-hold");
    let points: Vec<_> = points.filter(|(point, _)| is_theirs(point)).collect();
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                while let Some((point, when)) = points.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let mut succession = Succession::new(test);
                    for (round, reads) in [(0, Reads::Copies), (1, Reads::InPlace), (2, Reads::ByFeed)] {
                        let passes = if *when == Flow { round * 17 } else { 0 };
                        succession.successor(reads, Some(&format!("{point}:{passes}"))).dies();
                    }
                    let last = succession.successor(Reads::Copies, None);
                    succession.finish(last);
                }
            });
        }
    });
}

/// A producer that dies while it evicts one consumer of two: the other reads what was published, and learns that it is
/// dead. The one that was to go learns the one or the other.
#[test]
fn a_producer_that_dies_while_it_evicts_is_dead_for_all() {
    use fdring::errors::ReceiveError;
    use fdring::{Consumer, Producer, Server};
    if common::role().is_some() {
        let mut producer = Producer::create("lane").unwrap();
        let _server = Server::listen(&*peer::argument(), [&producer]).unwrap();
        peer::say("listening");
        producer.wait_for_consumers(2, common::DEADLINE).unwrap();
        // Once they know that they are attached.
        assert_eq!(peer::told(), "evict");
        producer.send(b"the only one").unwrap();
        producer.evict(&producer.consumers()[0]).unwrap();
        peer::wait_for_the_end();
    }
    let test = "a_producer_that_dies_while_it_evicts_is_dead_for_all";
    for point in EVICTING_POINTS {
        let address = format!("@{}", unique_name());
        let mut producer = Peer::start_with(test, "evictor", &address, Some(point));
        producer.expect("listening");
        let mut consumers = [(); 2].map(|()| Consumer::connect(&*address).unwrap());
        producer.tell("evict");
        producer.dies();
        for (index, consumer) in consumers.iter_mut().enumerate() {
            assert_eq!(consumer.receive().unwrap().as_deref(), Some(&b"the only one"[..]));
            let end = consumer.receive().map(|_| ()).unwrap_err();
            let may_be_evicted = index == 0 && matches!(end, ReceiveError::Evicted { .. });
            assert!(may_be_evicted || end == ReceiveError::PeerDead, "{point}: {end}");
        }
    }
}

/// A producer that dies around the descriptors of a record: its consumers read every record before with just its own
/// descriptors, and that one not at all.
#[test]
fn a_producer_that_dies_while_it_attaches_leaves_no_record_without_its_descriptors() {
    use common::{belongings, isolated};
    use fdring::errors::ReceiveError;
    use fdring::options::{LaneOptions, Start};
    use fdring::{Attach, Server, Session};
    use rustix::fs::{MemfdFlags, memfd_create};
    if common::role().as_deref() == Some("attacher") {
        let mut producer = LaneOptions::new("lane").attachments(2).create().unwrap();
        let _server = Server::listen(&*peer::argument(), [&producer]).unwrap();
        peer::say("listening");
        producer.wait_for_consumers(2, common::DEADLINE).unwrap();
        // Once they know that they are attached.
        assert_eq!(peer::told(), "send");
        for number in 0..100_u64 {
            let fds = [0, 1].map(|_| memfd_create("marked", MemfdFlags::CLOEXEC).unwrap());
            fds.iter().for_each(|fd| assert_eq!(rustix::io::pwrite(fd, &number.to_le_bytes(), 0).unwrap(), 8));
            let fds = fds.each_ref().map(rustix::fd::AsFd::as_fd);
            producer.send_with_fds(&number.to_le_bytes(), &fds).unwrap();
        }
        panic!("it was to die before");
    }
    let test = "a_producer_that_dies_while_it_attaches_leaves_no_record_without_its_descriptors";
    isolated(test, || {
        let before = belongings();
        for (point, passes) in ATTACHING_POINTS.into_iter().flat_map(|point| [0, 1, 7].map(|n| (point, n))) {
            let address = format!("@{}", unique_name());
            let mut producer = Peer::start_with(test, "attacher", &address, Some(&format!("{point}:{passes}")));
            producer.expect("listening");
            let attach = || Attach::new().start(Start::Oldest).attachments(true);
            let consumers = [(); 2].map(|()| Session::connect(&*address).unwrap().attach_one(attach()).unwrap());
            producer.tell("send");
            producer.dies();
            // It passes the point between two consumers' frames once for each.
            let whole = if point == "producer-between-attachments" { passes / 2 } else { passes };
            for mut consumer in consumers {
                let mut number = 0_u64;
                let end = loop {
                    match consumer.receive() {
                        Ok(record) => {
                            let record = record.expect("it has not finished");
                            assert_eq!(record[..], number.to_le_bytes());
                            let fds = record.take_fds().unwrap();
                            assert_eq!(fds.len(), 2, "{point}:{passes}");
                            for fd in fds {
                                let mut mark = [0; 8];
                                assert_eq!(rustix::io::pread(&fd, &mut mark, 0).unwrap(), 8);
                                assert_eq!(mark, number.to_le_bytes(), "{point}:{passes}");
                            }
                            number += 1;
                        }
                        Err(end) => break end,
                    }
                };
                assert_eq!(end, ReceiveError::PeerDead);
                assert_eq!(number, whole, "{point}:{passes}");
            }
        }
        common::wait_until("all that was sent is closed", || belongings() == before);
    });
}

/// A tap dies beside a consumer and another tap: nobody waits for it, and nothing of it is left.
#[test]
fn a_tap_that_is_killed_at_any_step_costs_nobody_anything() {
    let test = "a_tap_that_is_killed_at_any_step_costs_nobody_anything";
    if plays_a_role() {
        return;
    }
    let only = std::env::var("FDRING_CRASH_POINT").unwrap_or_default();
    let mut runs = 0;
    for (point, when) in TAP_POINTS.into_iter().chain(TAP_POINTS_SHARED).filter(|(point, _)| point.contains(&only)) {
        for round in 0..if when == Flow { FLOW_ROUNDS } else { 1 } {
            let seed = point.bytes().fold(round, |seed, byte| mix(seed ^ u64::from(byte)));
            let mut crew = Crew::new(test, &format!("@{}", unique_name()));
            let mut producer = crew.producer(seed, None);
            let mut consumer = crew.consumer(Manner::default(), None);
            let mut tap = crew.tap(round == 1, false, None);
            consumer.expect("attached");
            tap.expect("attached");
            producer.tell("go");
            producer.expect("going");
            let passes = if when == Flow { seed % 20 } else { 0 };
            let mut victim = crew.tap(round == 1, when == Departure, Some(&format!("{point}:{passes}")));
            victim.dies();
            let took = goes_on(&mut producer);
            assert!(took < SOON, "{point}: the producer went on after {took:?}");
            ends_in_order(producer, vec![consumer, tap], 1);
            crew.check().unwrap_or_else(|fault| panic!("{point}: {fault}"));
            runs += 1;
        }
    }
    println!("proof: crash points of taps | runs {runs} | kills {runs}");
}

/// The names in the calls of `call` in a text.
fn names_in<'a>(text: &'a str, call: &str) -> Vec<&'a str> {
    text.split(call).skip(1).filter_map(|rest| rest.strip_prefix('"')?.split('"').next()).collect()
}

fn rust_files(folder: &std::path::Path, texts: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rust_files(&path, texts);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            texts.push(std::fs::read_to_string(&path).unwrap());
        }
    }
}

#[test]
fn the_list_has_every_point_of_the_source_and_no_other() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut texts = Vec::new();
    rust_files(&root.join("src"), &mut texts);
    texts.push(std::fs::read_to_string(root.join("tests/common/crew.rs")).unwrap());
    let calls = [["crash::", "point!("].concat(), ["crash::", "asleep!("].concat(), "reach(".to_owned()];
    let mut source: Vec<&str> =
        texts.iter().flat_map(|text| calls.iter().flat_map(|call| names_in(text, call))).collect();
    let mut list: Vec<&str> = PRODUCER_POINTS.iter().map(|(name, ..)| *name).collect();
    list.extend(CONSUMER_POINTS.iter().chain(&TAP_POINTS).map(|(name, _)| *name));
    list.extend(EVICTING_POINTS);
    list.extend(ATTACHING_POINTS);
    // Of the owner of work that is shared out: tests/distribute.rs kills there.
    list.extend(["distributor-taken-back", "distributor-given-out-again"]);
    source.sort_unstable();
    list.sort_unstable();
    // A step has one name, whichever end listens; tests/session_listener.rs kills there where the consumer does.
    source.dedup();
    // Both sides store.
    list.dedup();
    assert_eq!(source, list, "each point stands in the source and once in the list");
}
