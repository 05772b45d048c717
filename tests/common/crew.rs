//! A producer and consumers in processes of their own, who log what they do, and may die at any moment.
//!
//! Use it beside `mod common;`, `mod peer;` and `mod ledger;`. Every test begins with
//! `if plays_a_role() { return; }`.
#![allow(dead_code, reason = "each test file uses a part of this")]

use crate::common::stopwatch::Stopwatch;
use crate::common::{DEADLINE, TempDir, belongings, census, once_it_is_dead, role, wait_until};
use crate::ledger::{CAPACITY, Ending, Entry, Ledger, Log, Reading, mix, payload_of, read_log};
use crate::peer::{Peer, argument, is_told_within, say, told};
use fdring::{
    Attach, Consumer, Error, OwnedRecord, Producer, Server, Session,
    errors::{ReceiveError, TapError},
    options::Records,
    options::{LaneOptions, SessionOptions, Start},
};
use std::fs::File;
use std::io::ErrorKind::ConnectionRefused;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::time::Duration;

/// How soon after a death everyone goes on, by a stopwatch: a second is promised.
pub(crate) const SOON: Duration = Duration::from_secs(3);
/// The tag of the record after which consumers leave.
const LAST: u16 = u16::MAX;
/// How many records a consumer reads between two rests.
const RECORDS_PER_REST: u64 = 16;
const REST: Duration = Duration::from_millis(1);
/// The numbers of records after which a consumer keeps one, and that it keeps at most.
const RECORDS_PER_SEASON: u64 = 64;
const KEPT_MAX: usize = 4;
/// How long one that keeps records waits for the next: the producer may need what is held.
const PATIENCE: Duration = Duration::from_millis(5);

/// In a process that was started to play a role: plays it, and says so.
pub(crate) fn plays_a_role() -> bool {
    match role().as_deref() {
        Some("producer") => produce(),
        Some("consumer") => consume(),
        Some("tap") => tap(),
        _ => return false,
    }
    true
}

/// A point of the test's own, beside those in the library.
fn reach(_point: &str) {
    #[cfg(feature = "crash-points")]
    fdring::reach_crash_point(_point);
}

/// Lets time pass.
pub(crate) fn rest(time: Duration) {
    let time = rustix::event::Timespec::try_from(time).unwrap();
    let _ = rustix::event::poll(&mut [], Some(&time));
}

/// How a consumer is to read.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Manner {
    pub(crate) in_place: bool,
    pub(crate) from_oldest: bool,
    pub(crate) spins: bool,
    pub(crate) leaving: Leaving,
}

/// When a consumer leaves that nobody tells to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Leaving {
    #[default]
    Never,
    /// After some records, by dropping its consumer.
    Early,
    /// As well, but its socket hangs up while the consumer is still there, which the library never does.
    HangUp,
}

/// The processes around one lane.
#[derive(Debug)]
pub(crate) struct Crew {
    test: &'static str,
    dir: TempDir,
    address: String,
    logs: Vec<PathBuf>,
}

impl Crew {
    /// Nobody yet, for the test named `test`.
    pub(crate) fn new(test: &'static str, address: &str) -> Self {
        Self { test, dir: TempDir::new(), address: address.to_owned(), logs: Vec::new() }
    }

    fn producer_log(&self) -> PathBuf {
        self.dir.path().join("producer")
    }

    /// Starts the producer, with a crash point or without; it listens.
    pub(crate) fn producer(&self, lane: u64, crash_at: Option<&str>) -> Peer {
        let mut producer = self.start_producer(lane, crash_at);
        producer.expect("listening");
        producer
    }

    /// As [`producer`](Self::producer), but it may die before it listens.
    pub(crate) fn start_producer(&self, lane: u64, crash_at: Option<&str>) -> Peer {
        let argument = format!("{} {} {lane}", self.address, self.producer_log().display());
        Peer::start_with(self.test, "producer", &argument, crash_at)
    }

    /// Starts a consumer, which says `attached`, or `failed` and why.
    pub(crate) fn consumer(&mut self, manner: Manner, crash_at: Option<&str>) -> Peer {
        let log = self.dir.path().join(format!("consumer-{}", self.logs.len()));
        let Manner { in_place, from_oldest, spins, leaving } = manner;
        let (address, path) = (&self.address, log.display());
        let argument = format!("{address} {path} {in_place} {from_oldest} {spins} {leaving:?}");
        self.logs.push(log);
        Peer::start_with(self.test, "consumer", &argument, crash_at)
    }

    /// Starts a tap, which says `attached`, or `failed` and why. It checks each record itself.
    pub(crate) fn tap(&self, newest: bool, leaves: bool, crash_at: Option<&str>) -> Peer {
        Peer::start_with(self.test, "tap", &format!("{} {newest} {leaves}", self.address), crash_at)
    }

    /// Compares all logs; what each consumer has read, and what the producer has noted.
    pub(crate) fn check(&self) -> Result<(Ledger, Vec<Option<Reading>>), String> {
        let ledger = Ledger::new(&read_log(&self.producer_log()))?;
        let check = |log: &PathBuf| ledger.check(&read_log(log)).map_err(|fault| format!("{}: {fault}", log.display()));
        let readings = self.logs.iter().map(check).collect::<Result<_, _>>()?;
        Ok((ledger, readings))
    }
}

/// Asks a producer to publish twice what its ring holds, half of which everyone must have read; how long it took.
pub(crate) fn goes_on(producer: &mut Peer) -> Duration {
    let stopwatch = Stopwatch::start();
    producer.tell("progress");
    producer.expect("progressed");
    stopwatch.elapsed()
}

/// Has the lane end: every consumer leaves, nobody but the dead is missing, and the producer is left with what it had
/// before anyone came, and at last with nothing. Of those that copy, taps too, `killed` were killed; how many of these
/// were evicted.
pub(crate) fn ends_in_order(mut producer: Peer, consumers: Vec<Peer>, killed: u64) -> u64 {
    producer.tell("last");
    producer.expect("sent");
    for mut consumer in consumers {
        consumer.expect("ended Last");
        consumer.finish();
    }
    producer.tell("census");
    // One that lives and was evicted fails. One that is killed while somebody looks at its memory, see
    // proc_pid_maps(5), has it for a moment longer, and if it copies it is put out like one that lives.
    let said = producer.heard();
    let evicted = said.strip_prefix("as before, ").and_then(|said| said.strip_suffix(" evicted")?.parse().ok());
    let evicted = evicted.unwrap_or_else(|| panic!("{said}"));
    assert!(evicted <= killed, "{said}, but only {killed} that copy were killed");
    producer.tell("finish");
    producer.expect("finished");
    producer.finish();
    evicted
}

struct Writing {
    producer: Producer,
    log: Log,
    lane: u64,
    /// The number of the next record.
    next: u64,
    turns: u64,
}

fn produce() {
    let argument = argument();
    let [address, log, lane] = argument.split(' ').collect::<Vec<_>>()[..] else { panic!("{argument}") };
    let lane = lane.parse().unwrap();
    let at_first = belongings();
    let mut log = Log::create(log);
    let options = LaneOptions::new("lane").capacity(CAPACITY).schema(lane).spin(Duration::ZERO);
    let producer = options.create().unwrap();
    let server = Server::listen(address, &[&producer]).unwrap();
    log.note(Entry::Opened { lane });
    let mut writing = Writing { producer, log, lane, next: 0, turns: 0 };
    let alone = belongings();
    say("listening");
    let (mut goes, mut goal) = (false, None);
    loop {
        if !goes || is_told_within(REST) {
            match told().as_str() {
                "go" => {
                    goes = true;
                    say("going");
                }
                "progress" => goal = Some(writing.producer.published() + 2 * CAPACITY),
                "last" => {
                    goes = false;
                    writing.log.note(Entry::Last { end: writing.next + 1 });
                    writing.reserve(LAST);
                    say("sent");
                }
                "census" => {
                    wait_until("all sessions are over", || server.stats().sessions == 0);
                    // A consumer that has gone is forgotten with the next publication.
                    writing.send();
                    wait_until("the producer has no more than before", || belongings() == alone);
                    say(&format!("as before, {} evicted", server.stats().evicted));
                }
                "finish" => break,
                _ => return,
            }
        }
        if goes {
            writing.turn();
        }
        if goal.is_some_and(|goal| writing.producer.published() >= goal) {
            goal = None;
            say("progressed");
        }
    }
    drop((writing, server));
    wait_until("the process has no more than at first", || belongings() == at_first);
    say("finished");
}

impl Writing {
    /// Sends records in every way there is, and discards some.
    fn turn(&mut self) {
        self.turns += 1;
        (0..6).for_each(|_| self.send());
        (0..4).for_each(|_| self.reserve(0));
        self.window();
        self.discard();
        // Every now and then more than the ring holds.
        self.batch(if self.turns.is_multiple_of(4) { 60 } else { 5 });
    }

    /// The payload of the next record, after a note that it will be published if this process lives so long.
    fn intend(&mut self) -> Vec<u8> {
        let payload = payload_of(self.lane, self.next);
        self.next += 1;
        self.log.note(Entry::Intends { end: self.next });
        payload
    }

    /// A reservation and a batch that come to nothing: the next record takes their place.
    fn discard(&mut self) {
        self.producer.reserve(100).unwrap().fill(0xdd);
        let payload = self.intend();
        let mut batch = self.producer.batch().unwrap();
        batch.send(&payload).unwrap();
        drop(batch);
        self.next -= 1;
    }

    fn note_published(&mut self) {
        self.log.note(Entry::Published { end: self.next, position: self.producer.published() });
    }

    /// Without a deadline, here and below: only a wake-up can end the wait for space.
    fn send(&mut self) {
        let payload = self.intend();
        self.producer.send(&payload).unwrap();
        self.note_published();
    }

    fn reserve(&mut self, tag: u16) {
        let payload = self.intend();
        let mut slot = self.producer.reserve(payload.len()).unwrap();
        let (first, second) = slot.split_at_mut(payload.len() / 2);
        first.copy_from_slice(&payload[..first.len()]);
        reach("test-in-fill");
        second.copy_from_slice(&payload[first.len()..]);
        slot.set_tag(tag);
        slot.commit();
        self.note_published();
    }

    /// Several records at once, filled from the last to the first, around one that is discarded.
    fn window(&mut self) {
        const DISCARDED_BYTES: usize = 50;
        let (mut payloads, mut bytes) = (Vec::new(), DISCARDED_BYTES as u64);
        for sequence in self.next..self.next + 4 {
            let payload = payload_of(self.lane, sequence);
            // Each is reserved for a little more than it takes.
            bytes += payload.len() as u64 + 32;
            if bytes > CAPACITY / 2 {
                break;
            }
            payloads.push(payload);
        }
        // Those before the one that is discarded are reserved as they are: a longer one could begin another round of
        // the ring, where what is left of it stays, and the ledger knows of no reservations.
        let discarded = payloads.len() / 2;
        let extra = |index| if index < discarded { 0 } else { 9 };
        let mut lens: Vec<usize> =
            payloads.iter().enumerate().map(|(index, payload)| payload.len() + extra(index)).collect();
        lens.insert(discarded, DISCARDED_BYTES);
        self.next += payloads.len() as u64;
        self.log.note(Entry::Intends { end: self.next });
        let mut window = self.producer.reserve_window(&lens).unwrap();
        let mut slots = window.slots();
        slots.remove(discarded).discard();
        for (slot, payload) in slots.iter_mut().zip(&payloads).rev() {
            slot[..payload.len()].copy_from_slice(payload);
            slot.truncate(payload.len());
        }
        drop(slots);
        window.commit();
        self.note_published();
    }

    fn batch(&mut self, records: u32) {
        let mut batch = self.producer.batch().unwrap();
        for n in 0..records {
            let payload = payload_of(self.lane, self.next);
            self.next += 1;
            // What waits for room may publish all that came before, and this record not yet.
            let mut fill = |slot: &mut [u8]| {
                self.log.note(Entry::Intends { end: self.next });
                slot.copy_from_slice(&payload);
            };
            if n.is_multiple_of(2) {
                batch.fill_many(Records { count: 1, len: payload.len() }, |_, slot| fill(slot)).unwrap();
            } else {
                let mut slot = batch.reserve(payload.len()).unwrap();
                fill(&mut slot);
                slot.commit();
            }
        }
        batch.commit();
        self.note_published();
    }
}

#[allow(unsafe_code, reason = "vouches for the producer of this test")]
fn attach(session: Session, in_place: bool, start: Start) -> fdring::Result<Consumer> {
    // SAFETY: the producer is this crate's, in the process that `Crew::producer` has started.
    let how = if in_place { unsafe { Attach::new().in_place() } } else { Attach::new() };
    session.attach_one(how.start(start))
}

fn consume() {
    let argument = argument();
    let [address, log, in_place, from_oldest, spins, leaving] = argument.split(' ').collect::<Vec<_>>()[..] else {
        panic!("{argument}")
    };
    let mut log = Log::create(log);
    let before = belongings();
    let mut options = SessionOptions::new().deadline(DEADLINE);
    let start = if from_oldest == "true" { Start::Oldest } else { Start::Latest };
    if spins == "false" {
        options = options.spin(Duration::ZERO);
    }
    let session = options.connect(address);
    let mut consumer = match session.and_then(|session| attach(session, in_place == "true", start)) {
        Ok(consumer) => consumer,
        Err(error) => {
            assert!(nobody_was_there(&error));
            wait_until("nothing is left of a session that failed", || belongings() == before);
            return say("failed");
        }
    };
    log.note(Entry::Attached { lane: consumer.lane().schema, start: consumer.position() });
    say("attached");
    let records_max = if leaving == "Never" { u64::MAX } else { 100 };
    let mut kept = Kept::default();
    let how = read(&mut consumer, &mut kept, &mut log, records_max);
    log.note(Entry::Ended { how, position: consumer.position(), published: published_word() });
    if leaving == "HangUp" {
        hang_up();
        say("hung up");
        told();
    }
    drop(consumer);
    // What is held outlives its consumer, and the producer.
    kept.drop_all();
    wait_until("nothing is left of a session", || belongings() == before);
    say(&format!("ended {how:?}"));
}

/// Whether there was nobody to connect to, or nobody any more; panics at any other error.
fn nobody_was_there(error: &Error) -> bool {
    let is_refused = matches!(error, Error::Os { cause, .. } if cause.kind() == ConnectionRefused);
    assert!(is_refused || matches!(error, Error::Closed { .. }), "{error}");
    true
}

/// A tap, which gets some of the records, each of them whole, and the last.
fn tap() {
    let argument = argument();
    let [address, newest, leaves] = argument.split(' ').collect::<Vec<_>>()[..] else { panic!("{argument}") };
    let before = belongings();
    let options = SessionOptions::new().deadline(DEADLINE).spin(Duration::ZERO);
    let mut tap = match options.connect(address).and_then(|session| session.tap_one(Attach::new())) {
        Ok(tap) => tap,
        Err(error) => {
            assert!(nobody_was_there(&error));
            wait_until("nothing is left of a session that failed", || belongings() == before);
            return say("failed");
        }
    };
    say("attached");
    let lane = tap.lane().schema;
    let (mut next, mut records) = (0, 0);
    let how = loop {
        let received = if newest == "true" { tap.receive_newest() } else { tap.receive() };
        let record = match received {
            Ok(Some(record)) => record,
            Ok(None) => break Ending::Finished,
            Err(TapError::Lagged { .. }) => continue,
            Err(TapError::PeerDead) => break Ending::PeerDead,
            Err(TapError::HungUp) => {
                break death_of(|| tap.try_receive().map(drop), |end| *end == Err(TapError::HungUp));
            }
            Err(error) => panic!("after {records} records: {error}"),
        };
        let sequence = u64::from_le_bytes(record[8..16].try_into().unwrap());
        assert!(sequence >= next, "record {sequence} after {next}");
        assert_eq!(record[..], payload_of(lane, sequence), "record {sequence} is torn");
        (next, records) = (sequence + 1, records + 1);
        if record.tag() == LAST || (leaves == "true" && records == 20) {
            break if record.tag() == LAST { Ending::Last } else { Ending::Left };
        }
    };
    drop(tap);
    wait_until("nothing is left of a session", || belongings() == before);
    say(&format!("ended {how:?}"));
}

/// The end of a reader that was told that its producer has hung up, and is now told that it is dead.
fn death_of<E: std::fmt::Debug>(
    ask: impl FnMut() -> Result<(), E>,
    has_only_hung_up: impl Fn(&Result<(), E>) -> bool,
) -> Ending {
    let end = once_it_is_dead(ask, has_only_hung_up).expect_err("nothing comes after a hang-up");
    assert!(format!("{end:?}").ends_with("(PeerDead)"), "{end:?}");
    Ending::PeerDead
}

/// Records that a consumer keeps, each with what was read of it at first.
#[derive(Default)]
struct Kept {
    records: Vec<(OwnedRecord, Entry)>,
    /// How many there were, for what happens by turns.
    count: u64,
}

impl Kept {
    fn keep(&mut self, record: OwnedRecord) {
        let entry = Entry::read(&record, record.position());
        self.records.push((record, entry));
        self.count += 1;
    }

    /// Drops one of them, here or on another thread, if it is still what it was.
    fn drop_one(&mut self) {
        self.count += 1;
        let turn = mix(self.count);
        let (record, entry) = self.records.swap_remove(turn as usize % self.records.len());
        assert_eq!(Entry::read(&record, record.position()), entry, "a record changed while it was kept");
        match turn >> 32 & 1 {
            0 => drop(record),
            _ => std::thread::spawn(move || drop(record)).join().unwrap(),
        }
    }

    fn drop_all(&mut self) {
        while !self.records.is_empty() {
            self.drop_one();
        }
    }
}

/// Reads to the end, to the last record, or as many records as that.
fn read(consumer: &mut Consumer, kept: &mut Kept, log: &mut Log, records_max: u64) -> Ending {
    let mut records = 0u64;
    loop {
        let received = match kept.records.is_empty() {
            true => consumer.receive(),
            false => consumer.receive_timeout(PATIENCE),
        };
        let record = match received {
            Ok(Some(record)) => record,
            Ok(None) => return Ending::Finished,
            Err(ReceiveError::PeerDead) => return Ending::PeerDead,
            Err(ReceiveError::HungUp) => {
                return death_of(|| consumer.try_receive().map(drop), |end| *end == Err(ReceiveError::HungUp));
            }
            Err(ReceiveError::TimedOut) => {
                // Perhaps the producer waits for what is held.
                kept.drop_all();
                continue;
            }
            Err(error) => panic!("after {records} records: {error}"),
        };
        records += 1;
        if records.is_multiple_of(RECORDS_PER_REST) {
            // What is held must not change meanwhile.
            rest(REST);
        }
        log.note(Entry::read(&record, record.position()));
        reach("test-holding");
        if record.tag() == LAST || records == records_max {
            return if record.tag() == LAST { Ending::Last } else { Ending::Left };
        }
        if (records / RECORDS_PER_SEASON).is_multiple_of(2) && mix(records).is_multiple_of(3) {
            kept.keep(record.into_owned());
        }
        if kept.records.len() > KEPT_MAX {
            kept.drop_one();
        }
    }
}

/// The word `published` of the lane that is mapped, by docs/protocol.md and without the library.
fn published_word() -> u64 {
    const PUBLISHED_OFFSET: u64 = 512;
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let map = maps.lines().find(|line| line.contains("memfd:fdring:lane:control")).unwrap();
    let begin = u64::from_str_radix(map.split_once('-').unwrap().0, 16).unwrap();
    let mut word = [0; 8];
    File::open("/proc/self/mem").unwrap().read_exact_at(&mut word, begin + PUBLISHED_OFFSET).unwrap();
    u64::from_le_bytes(word)
}

/// Hangs up behind the back of the session.
#[allow(unsafe_code, reason = "the session's socket is known by its number alone")]
fn hang_up() {
    for (number, _) in census().into_iter().filter(|(_, target)| target.starts_with("socket:")) {
        // SAFETY: open, as the census has just seen, and nobody else closes it.
        let socket = unsafe { rustix::fd::BorrowedFd::borrow_raw(number) };
        rustix::net::shutdown(socket, rustix::net::Shutdown::Both).unwrap();
    }
}
