//! A kill at every step of a client of a collector, and of a collector: what a client had published is collected, once
//! and in order, and nobody else is held back.
//!
//! The process that is killed kills itself, at the point that its environment names, as in `tests/crash_points.rs`,
//! whose list has all points. `FDRING_CRASH_POINT=bell` plays only those with that in their names.

mod common;
#[path = "common/peer.rs"]
mod peer;

use common::{DEADLINE, TempDir, belongings, isolated, role, unique_name, wait_until};
use fdring::collect::{Collector, CollectorOptions, Event};
use fdring::errors::ReceiveError;
use fdring::options::{LaneOptions, Records, ServerOptions, SessionListenerOptions, SessionOptions};
use fdring::{Producer, Server};
use peer::{Peer, SESSION_POINTS, STEWARD_POINTS, argument, say};
use rustix::process::Signal;
use std::collections::BTreeMap;
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

/// The points that a client passes again and again while it sends; before that it passes [`STEWARD_POINTS`].
const SENDING: [&str; 11] = [
    "store",
    "producer-in-fill",
    "producer-before-header",
    "producer-between-batch-records",
    "producer-in-row",
    "producer-reserved-window",
    "producer-in-window",
    "producer-before-publication",
    "producer-after-publication",
    "producer-before-bell",
    "producer-after-bell",
];
/// Those that it passes once, when its lane ends.
const ENDING: [&str; 2] = ["producer-before-end", "producer-after-end"];
/// The points that a collector passes while it collects, and when a lane has ended; before that it passes
/// "steward-accepted" and [`SESSION_POINTS`].
const COLLECTING: [&str; 6] = [
    "store",
    "consumer-before-space-wake",
    "consumer-after-space-wake",
    "consumer-sleep-announced",
    "consumer-leaving",
    "consumer-left",
];
/// In how many rounds each point in the flow kills, each time after another number of passes, unless
/// `FDRING_CRASH_ROUNDS` says otherwise.
const ROUNDS: u64 = 3;
/// What a client has sent before it connects.
const BEFORE: u64 = 5;

/// What a client notes, in a file that outlives it: where its numbers end that may be published, and that are, and
/// whether `connect` has returned.
#[derive(Clone, Copy, Debug)]
enum Note {
    Intended = 0,
    Published = 8,
    Connected = 16,
}

fn note(notes: &File, what: Note, value: u64) {
    notes.write_all_at(&value.to_le_bytes(), what as u64).unwrap();
}

fn noted(path: &Path, what: Note) -> u64 {
    let mut bytes = [0; 8];
    // A file that was not written yet is empty.
    match File::open(path).and_then(|notes| notes.read_exact_at(&mut bytes, what as u64)) {
        Ok(()) => u64::from_le_bytes(bytes),
        Err(_) => 0,
    }
}

fn options() -> CollectorOptions {
    let each = SessionOptions::new().deadline(DEADLINE);
    let listener = SessionListenerOptions::new().sessions(each);
    CollectorOptions::new().listener(listener).turn_records(4)
}

/// In a process that was started to play a role: plays it.
fn plays_a_role() -> bool {
    match role().as_deref() {
        Some("client") => client(),
        Some("collector") => {
            let mut collector = options().listen(&*argument()).unwrap();
            say("listening");
            while collector.next().is_ok() {}
        }
        _ => return false,
    }
    true
}

/// A client that sends numbers, by all ways in turn, until it has sent some, or for ever; and that perhaps connects
/// again if its collector is gone.
fn client() {
    let argument = argument();
    let [address, path, ending] = argument.split(' ').collect::<Vec<_>>()[..] else { panic!("{argument}") };
    let notes = File::options().write(true).create(true).truncate(false).open(path).unwrap();
    let options = LaneOptions::new("numbers").capacity(4096).spin(Duration::ZERO);
    let mut lane = options.create().unwrap();
    note(&notes, Note::Intended, BEFORE);
    (0..BEFORE).for_each(|number| lane.send(&number.to_le_bytes()).unwrap());
    note(&notes, Note::Published, BEFORE);
    let mut link = connect(address, &lane);
    note(&notes, Note::Connected, 1);
    let mut next = BEFORE;
    while ending != "ends" || next < 300 {
        if ending == "again" && lane.consumer_count() == 0 {
            link = connect(address, &lane);
        }
        if ending == "waits" {
            // The collector is about to sleep, or sleeps: sooner or later it is rung.
            lane.wait_released(lane.published(), DEADLINE).unwrap();
        }
        note(&notes, Note::Intended, next + 4);
        send_four(&mut lane, next);
        next += 4;
        note(&notes, Note::Published, next);
    }
    drop(link);
}

fn connect(address: &str, lane: &Producer) -> Server {
    ServerOptions::new().deadline(DEADLINE).patience(DEADLINE).connect(address, [lane]).unwrap()
}

/// Sends four numbers, each time in another way.
fn send_four(lane: &mut Producer, next: u64) {
    let numbers = (next..next + 4).map(u64::to_le_bytes);
    match next / 4 % 4 {
        0 => numbers.for_each(|number| lane.send(&number).unwrap()),
        1 => {
            let mut batch = lane.batch().unwrap();
            numbers.for_each(|number| batch.send(&number).unwrap());
            batch.commit();
        }
        2 => {
            let mut batch = lane.batch().unwrap();
            let fill = |index: usize, slot: &mut [u8]| slot.copy_from_slice(&(next + index as u64).to_le_bytes());
            batch.fill_many(Records { count: 4, len: 8 }, fill).unwrap();
            batch.commit();
        }
        _ => {
            let mut window = lane.reserve_window(&[8; 4]).unwrap();
            window.slots().iter_mut().zip(numbers).for_each(|(slot, number)| slot.copy_from_slice(&number));
            window.commit();
        }
    }
}

/// A collector that checks each lane's numbers.
#[derive(Debug)]
struct Checker {
    collector: Collector,
    /// The numbers of each process that were read.
    next: BTreeMap<u32, Range<u64>>,
    /// Whether the first ones may have been overwritten.
    begins_anywhere: bool,
    ended: BTreeMap<u32, Option<ReceiveError>>,
}

impl Checker {
    /// It sleeps as soon as nothing is there: so a client that waits for it has a bell to ring.
    fn new(address: &str) -> Self {
        let collector = options().spin(Duration::ZERO).listen(address).unwrap();
        Self { collector, next: BTreeMap::new(), begins_anywhere: false, ended: BTreeMap::new() }
    }

    /// Takes what happens within a moment.
    fn take(&mut self) {
        loop {
            match self.collector.next_timeout(Duration::from_millis(5)) {
                Ok(Event::Joined(origin)) => assert_eq!(self.next.insert(origin.pid().unwrap(), 0..0), None),
                Ok(Event::Record(origin, record)) => {
                    let next = self.next.get_mut(&origin.pid().unwrap()).unwrap();
                    let number = u64::from_le_bytes(record[..].try_into().unwrap());
                    if next.is_empty() && self.begins_anywhere {
                        *next = number..number;
                    }
                    assert_eq!(number, next.end, "a record is missing, or came twice");
                    next.end += 1;
                    // The one that runs never leaves it idle.
                    if number.is_multiple_of(64) {
                        return;
                    }
                }
                Ok(Event::Finished(origin)) => assert!(self.ended.insert(origin.pid().unwrap(), None).is_none()),
                Ok(Event::Lost(origin, why)) => {
                    assert!(self.ended.insert(origin.pid().unwrap(), Some(why.clone())).is_none());
                }
                // A producer that has died before it was attached to, and had not offered its lane.
                Ok(Event::Refused(_)) => {}
                Ok(other) => panic!("{other:?}"),
                Err(ReceiveError::TimedOut) => return,
                Err(error) => panic!("{error}"),
            }
        }
    }

    fn take_until(&mut self, what: &str, mut is_so: impl FnMut(&Self) -> bool) {
        wait_until(what, || {
            self.take();
            is_so(self)
        });
    }

    fn next(&self, pid: u32) -> u64 {
        self.next.get(&pid).map_or(0, |numbers| numbers.end)
    }

    /// How many numbers of that process were read.
    fn count(&self, pid: u32) -> u64 {
        self.next.get(&pid).map_or(0, |numbers| numbers.end - numbers.start)
    }
}

/// What this process has open and mapped, but for the timer that the lane of the other one may or may not have made.
fn kept() -> Vec<String> {
    let belongings = belongings();
    let each = belongings.trim_end_matches('}').split(", ").filter(|one| !one.contains("[timerfd]"));
    each.map(str::to_owned).collect()
}

/// How a client that is killed at that point goes on: one that is to ring waits for the collector each time.
fn way_of(point: &str) -> &'static str {
    if point.contains("bell") { "waits" } else { "runs" }
}

fn is_wanted(point: &str) -> bool {
    point.contains(&std::env::var("FDRING_CRASH_POINT").unwrap_or_default())
}

#[test]
fn what_a_client_had_published_that_dies_at_any_step_is_collected() {
    if plays_a_role() {
        return;
    }
    let test = "what_a_client_had_published_that_dies_at_any_step_is_collected";
    isolated(test, || {
        let (address, dir) = (format!("@{}", unique_name()), TempDir::new());
        let mut checker = Checker::new(&address);
        // One that goes on beside all of them.
        let other = Peer::start(test, "client", &format!("{address} {} runs", dir.path().join("other").display()));
        checker.take_until("it is attached", |checker| checker.next(other.pid()) > 100);
        let before = kept();
        let rounds = std::env::var("FDRING_CRASH_ROUNDS").map_or(ROUNDS, |rounds| rounds.parse().unwrap());
        let flow = SENDING.iter().flat_map(|point| (0..rounds).map(move |round| (*point, round * 17, way_of(point))));
        let once = |ending: &'static str| move |point: &'static str| (point, 0, ending);
        let runs = STEWARD_POINTS.into_iter().map(once("runs")).chain(flow).chain(ENDING.into_iter().map(once("ends")));
        for (number, (point, passes, ending)) in runs.filter(|(point, ..)| is_wanted(point)).enumerate() {
            let path = dir.path().join(format!("client-{number}"));
            let argument = format!("{address} {} {ending}", path.display());
            let mut client = Peer::start_with(test, "client", &argument, Some(&format!("{point}:{passes}")));
            let (pid, progress) = (client.pid(), checker.next(other.pid()));
            // A collector that always finds something never sleeps, and nobody has a bell to ring.
            let lets_it_sleep = point.contains("bell");
            if lets_it_sleep {
                other.signal(Signal::STOP);
            }
            std::thread::scope(|scope| {
                let death = scope.spawn(|| client.dies());
                checker.take_until("it has died", |_| death.is_finished());
            });
            if lets_it_sleep {
                other.signal(Signal::CONT);
            }
            drop(client);
            let is_connected = noted(&path, Note::Connected) == 1;
            checker.take_until("its lane has ended", |checker| {
                let has_joined = checker.next.contains_key(&pid);
                checker.ended.contains_key(&pid) || !is_connected && !has_joined && kept() == before
            });
            let (read, intended) = (checker.next(pid), noted(&path, Note::Intended));
            assert!(read <= intended, "{point}: {read} read of {intended}");
            if is_connected {
                let published = noted(&path, Note::Published);
                assert!(read >= published, "{point}: {read} read where {published} were published");
                let has_ended = checker.ended[&pid].is_none();
                assert_eq!(has_ended, point == "producer-after-end", "{point}: {:?}", checker.ended[&pid]);
            }
            checker.take_until("the other goes on", |checker| checker.next(other.pid()) > progress);
            checker.take_until("nothing is left of it", |_| kept() == before);
        }
        drop(other);
    });
}

#[test]
fn clients_of_a_collector_that_dies_at_any_step_go_on_and_are_collected_by_the_next() {
    if plays_a_role() {
        return;
    }
    let test = "clients_of_a_collector_that_dies_at_any_step_go_on_and_are_collected_by_the_next";
    let dir = TempDir::new();
    let points = ["steward-accepted"].into_iter().chain(SESSION_POINTS).chain(COLLECTING);
    for point in points.filter(|point| is_wanted(point)) {
        let address = format!("@{}", unique_name());
        // Past what it stores while it attaches.
        let passes = if point == "store" { 20 } else { 0 };
        let mut victim = Peer::start_with(test, "collector", &address, Some(&format!("{point}:{passes}")));
        victim.expect("listening");
        let start = |ending| {
            let path = dir.path().join(format!("{point}-{ending}"));
            Peer::start(test, "client", &format!("{address} {} {ending}", path.display()))
        };
        // One whose lane the collector leaves, and one that goes on and connects again.
        let (brief, client) = (start("ends"), start("again"));
        victim.dies();
        let mut heir = Checker::new(&address);
        heir.begins_anywhere = true;
        heir.take_until(point, |heir| heir.count(client.pid()) > 500);
        heir.take_until(point, |heir| !heir.next.contains_key(&brief.pid()) || heir.ended.contains_key(&brief.pid()));
        // It may connect only now, and has more to send than its ring holds.
        std::thread::scope(|scope| {
            let end = scope.spawn(|| brief.finish());
            heir.take_until(point, |_| end.is_finished());
        });
        drop(client);
    }
}
