//! Everything that reads, in one process, and the processes that it reads from, which are killed at random; and beside
//! it what is read by others, see `owners.rs`.
//!
//! Use it beside `mod common;`, `mod holdings;`, `mod owners;`, `mod peer;` and `mod ledger;`. Every test begins with
//! `if plays_a_part() { return; }`.

use crate::common::{DEADLINE, TempDir, role, wait_until};
use crate::holdings::Holdings;
use crate::ledger::mix;
use crate::owners::{Owned, Owners, takes_a_part};
use crate::peer::{Peer, argument, say};
use fdring::collect::{Collector, CollectorOptions, Event};
use fdring::errors::{ReceiveError, TapError};
use fdring::feed::{Feed, FeedError, FeedEvent, FeedOptions};
use fdring::options::{LaneOptions, ServerOptions, SessionListenerOptions};
use fdring::parcel::{Parcel, ParcelBuilder, ParcelBytes};
use fdring::{Attach, OwnedRecord, Producer, Record, Server, Tap, recv_fds, send_fds};
use std::collections::BTreeMap;
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::{Duration, Instant};

const CLIENTS: usize = 3;
const KEPT_MAX: usize = 64;
const PARCEL_BYTES: u64 = 20_000;
/// How many numbers of a client there are for one that has a parcel.
const PARCEL_EVERY: u64 = 32;
const PARCELS_MAX: usize = 64;
/// At least this number of rounds, and how long one takes at most.
const ROUNDS_MIN: u32 = 4;
const ROUND_MAX: Duration = Duration::from_secs(10);
/// How many events of one kind are taken at a time, and how long the next one is waited for.
const EVENTS_PER_LOOK: usize = 200;
const MOMENT: Duration = Duration::from_millis(1);

/// In a process that was started to play a part: plays it.
pub(crate) fn plays_a_part() -> bool {
    match role().as_deref() {
        Some("readers") => readers(),
        Some("source") => source(),
        Some("client") => client(),
        Some("echo") => echo(),
        _ => return takes_a_part(),
    }
    true
}

/// Lets the readers read for so long; what they say at the end of what they have done.
pub(crate) fn read_for(test: &str, seconds: u64, seed: u64) -> String {
    let mut readers = Peer::start(test, "readers", &format!("{test} {seconds} {seed}"));
    loop {
        let line = readers.heard();
        if line != "alive" {
            readers.finish();
            return line;
        }
    }
}

/// Reads in rounds: after each one everything is dropped, and this process has what it had before it began.
fn readers() {
    let argument = argument();
    let [test, seconds, seed] = argument.split(' ').collect::<Vec<_>>()[..] else { panic!("{argument}") };
    let (seconds, seed): (u64, u64) = (seconds.parse().unwrap(), seed.parse().unwrap());
    let (begin, total) = (Instant::now(), Duration::from_secs(seconds));
    let round_time = (total / ROUNDS_MIN).min(ROUND_MAX);
    let (before, mut warm, mut grown_kib) = (Holdings::now(), None, 0);
    let (mut counts, mut owned, mut rounds) = (Counts::default(), Owned::default(), 0);
    while begin.elapsed() < total {
        play_a_round(test, mix(seed ^ rounds), round_time, &mut counts, &mut owned);
        // Sooner than the process that listens to this one gives up.
        let now = Holdings::wait_until_as(&before, warm.as_ref(), DEADLINE / 2);
        grown_kib = now.grown_kib(warm.get_or_insert_with(|| now.clone()));
        rounds += 1;
    }
    let Counts { kills, collected, fed, tapped, kept, parcels, forwarded, attached } = counts;
    let Owned { kills: killed, sent, worked, answered, called } = owned;
    let all = [collected, fed, tapped, kept, parcels, forwarded, attached, sent, worked, answered, called];
    assert!(rounds > 1 && !all.contains(&0), "{counts:?} {owned:?}");
    let kills = kills + killed;
    say(&format!(
        "rounds {rounds} | kills {kills} | collected {collected} | fed {fed} | tapped {tapped} | kept {kept} | \
         parcels {parcels} | forwarded {forwarded} | attached {attached} | sent {sent} | worked {worked} | \
         answered {answered} | called {called} | grown_kib {grown_kib}"
    ));
}

fn play_a_round(test: &str, seed: u64, time: Duration, counts: &mut Counts, owned: &mut Owned) {
    let dir = TempDir::new();
    let mut readers = Readers::new(test, &dir, seed, *counts);
    let mut owners = Owners::new(test, &dir, mix(seed));
    owners.counts = *owned;
    let begin = Instant::now();
    let mut told = None;
    while begin.elapsed() < time {
        readers.disturb();
        readers.read();
        owners.step();
        let second = Some(begin.elapsed().as_secs());
        if second != told {
            told = second;
            say("alive");
        }
    }
    (*counts, *owned) = (readers.counts, owners.counts);
}

#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    kills: u64,
    collected: u64,
    fed: u64,
    tapped: u64,
    kept: u64,
    parcels: u64,
    /// Parcels that were sent on long after they had come, perhaps from a process that had died.
    forwarded: u64,
    /// Parcels that came as records.
    attached: u64,
}

struct Readers<'a> {
    test: &'a str,
    seed: u64,
    source_address: String,
    collector_address: String,
    source: Option<Peer>,
    clients: Vec<Peer>,
    collector: Option<Collector>,
    /// The next number of each lane of the collector's.
    next: BTreeMap<u64, u64>,
    feed: Feed,
    /// The next number of the feed's lane, once it has begun.
    fed: Option<u64>,
    tap: Option<(Tap, u64)>,
    kept: Vec<(u64, OwnedRecord)>,
    echo: Echo,
    bytes: Vec<ParcelBytes>,
    /// Parcels of clients, each with the number that fills it.
    parcels: Vec<(u64, Parcel)>,
    counts: Counts,
}

fn number(payload: &[u8]) -> u64 {
    u64::from_le_bytes(payload[..8].try_into().unwrap())
}

impl<'a> Readers<'a> {
    fn new(test: &'a str, dir: &TempDir, seed: u64, counts: Counts) -> Self {
        let [source_address, collector_address] =
            ["source", "collector"].map(|name| dir.path().join(name).display().to_string());
        Self {
            test,
            seed,
            source: None,
            clients: Vec::new(),
            collector: None,
            next: BTreeMap::new(),
            feed: follow(&source_address),
            fed: None,
            tap: None,
            kept: Vec::new(),
            echo: Echo::new(test, dir),
            bytes: Vec::new(),
            parcels: Vec::new(),
            counts,
            source_address,
            collector_address,
        }
    }

    fn below(&mut self, end: u64) -> u64 {
        self.seed = self.seed.wrapping_add(1);
        mix(self.seed) % end
    }

    /// Starts the readers that are missing, and has something happen to one of them.
    fn disturb(&mut self) {
        if self.collector.is_none() {
            self.next.clear();
            self.collector = Some(collect(&self.collector_address));
        }
        if self.source.is_none() {
            self.source = Some(Peer::start(self.test, "source", &self.source_address));
        }
        while self.clients.len() < CLIENTS {
            let how = if self.below(2) == 0 { "ends" } else { "runs" };
            self.clients.push(Peer::start(self.test, "client", &format!("{} {how}", self.collector_address)));
        }
        match self.below(16) {
            0 => {
                self.source.take().unwrap().kill();
                self.counts.kills += 1;
            }
            1 => {
                let index = self.below(CLIENTS as u64) as usize;
                self.clients.swap_remove(index).kill();
                self.counts.kills += 1;
            }
            2 if self.below(8) == 0 => self.collector = None,
            3 if self.below(8) == 0 => (self.feed, self.fed) = (follow(&self.source_address), None),
            4 => self.tap = Tap::connect(&*self.source_address).ok().map(|tap| (tap, 0)),
            5 => {
                // Records go on another thread, and after those that they came from.
                let kept = self.kept.split_off(self.kept.len() / 2);
                std::thread::spawn(move || kept.iter().for_each(|(n, record)| assert_eq!(number(record), *n)))
                    .join()
                    .unwrap();
            }
            6..=8 => self.parcel(),
            9 => self.forward(),
            _ => {}
        }
    }

    fn parcel(&mut self) {
        let fill = self.below(256) as u8;
        let mut writer = ParcelBuilder::new("soak").buffer(1, PARCEL_BYTES).buffer(2, 8).allocate().unwrap();
        writer.buffers_mut().for_each(|bytes| bytes.fill(fill));
        let parcel = writer.seal().unwrap();
        let dies = self.below(8) == 0;
        self.counts.kills += u64::from(dies);
        let Some(parcel) = self.echo.send(&parcel, dies) else { return };
        self.counts.parcels += 1;
        assert!(parcel.buffers().all(|bytes| bytes.iter().all(|byte| *byte == fill)));
        self.bytes.push(parcel.into_bytes());
        if self.bytes.len() > 16 {
            self.bytes.drain(..8);
        }
    }

    /// Sends on a parcel that was kept. Its sender may have been killed since.
    fn forward(&mut self) {
        if self.parcels.is_empty() {
            return;
        }
        let index = self.below(self.parcels.len() as u64) as usize;
        let (number, parcel) = self.parcels.swap_remove(index);
        assert!(parcel.buffer(0).unwrap().iter().all(|byte| *byte == number as u8));
        assert_eq!(self.echo.send(&parcel, false).unwrap().buffer(0), parcel.buffer(0));
        self.counts.forwarded += 1;
    }

    /// Reads what is there.
    fn read(&mut self) {
        self.read_collector();
        self.read_feed();
        self.read_tap();
        if self.kept.len() > KEPT_MAX {
            self.kept.drain(..KEPT_MAX / 2).for_each(|(n, record)| assert_eq!(number(&record), n));
        }
    }

    fn read_collector(&mut self) {
        let Some(collector) = &mut self.collector else { return };
        for _ in 0..EVENTS_PER_LOOK {
            match collector.next_timeout(MOMENT) {
                Ok(Event::Joined(origin)) => assert_eq!(self.next.insert(origin.number(), 0), None),
                Ok(Event::Record(origin, record)) => {
                    let next = self.next.get_mut(&origin.number()).expect("it has joined");
                    assert_eq!(number(&record), *next);
                    *next += 1;
                    self.counts.collected += 1;
                    if record.fd_count() != 0 {
                        self.counts.attached += 1;
                        take(&record, *next - 1, &mut self.bytes, &mut self.parcels, &mut self.echo);
                    }
                    if next.is_multiple_of(97) {
                        self.kept.push((*next - 1, record.into_owned()));
                        self.counts.kept += 1;
                    }
                }
                Ok(Event::Finished(origin) | Event::Lost(origin, ReceiveError::PeerDead | ReceiveError::HungUp)) => {
                    self.next.remove(&origin.number()).expect("it has joined");
                }
                Ok(Event::Lost(_, why)) => panic!("{why}"),
                Ok(Event::Refused(_)) => {}
                Ok(other) => panic!("{other:?}"),
                Err(ReceiveError::TimedOut) => return,
                Err(error) => panic!("{error}"),
            }
        }
    }

    fn read_feed(&mut self) {
        for _ in 0..EVENTS_PER_LOOK {
            match self.feed.receive_timeout(MOMENT) {
                Ok(Some(FeedEvent::Joined { missed_bytes, .. })) => {
                    if missed_bytes != Some(0) {
                        self.fed = None;
                    }
                }
                Ok(Some(FeedEvent::Record(record))) => {
                    let is = number(&record);
                    assert_eq!(is, self.fed.unwrap_or(is));
                    self.fed = Some(is + 1);
                    self.counts.fed += 1;
                    if is.is_multiple_of(53) {
                        self.kept.push((is, record.into_owned()));
                        self.counts.kept += 1;
                    }
                }
                Ok(Some(FeedEvent::Lost { .. })) => {}
                Ok(other) => panic!("{other:?}"),
                Err(FeedError::TimedOut) => return,
                Err(error) => panic!("{error}"),
            }
        }
    }

    fn read_tap(&mut self) {
        let Some((tap, next)) = &mut self.tap else { return };
        for _ in 0..EVENTS_PER_LOOK {
            match tap.try_receive() {
                Ok(Some(record)) => {
                    assert!(number(&record) >= *next, "never back");
                    *next = number(&record) + 1;
                    self.counts.tapped += 1;
                }
                Err(TapError::Empty) => return,
                Err(TapError::Lagged { .. }) => {}
                Ok(None) | Err(_) => return self.tap = None,
            }
        }
    }
}

/// Leaves the parcel of a record where it is, keeps it or its bytes, drops it on another thread, or has it go on to
/// another process and come back.
fn take(
    record: &Record<'_>,
    number: u64,
    bytes: &mut Vec<ParcelBytes>,
    parcels: &mut Vec<(u64, Parcel)>,
    echo: &mut Echo,
) {
    let parcel = || {
        let parcel = record.take_parcel(1 << 20).unwrap();
        assert!(parcel.buffer(0).unwrap().iter().all(|byte| *byte == number as u8));
        parcel
    };
    match number / PARCEL_EVERY % 5 {
        0 => {}
        1 => bytes.push(parcel().into_bytes()),
        2 => {
            let parcel = parcel();
            std::thread::spawn(move || drop(parcel)).join().unwrap();
        }
        3 => {
            parcels.push((number, parcel()));
            if parcels.len() > PARCELS_MAX {
                parcels.remove(0);
            }
        }
        _ => {
            let parcel = parcel();
            assert_eq!(echo.send(&parcel, false).unwrap().buffer(0), parcel.buffer(0));
        }
    }
}

fn follow(address: &str) -> Feed {
    FeedOptions::new().pause_max(Duration::from_millis(20)).connect(address).unwrap()
}

/// A collector that reads every second process in place, and takes the descriptors of records.
#[allow(unsafe_code, reason = "vouches for the clients of this test")]
fn collect(address: &str) -> Collector {
    let options = CollectorOptions::new().listener(SessionListenerOptions::new().capacity_max(1 << 20));
    let options = options.attach(|session| match session.producer_pid() {
        // SAFETY: the producers are this crate's, in processes of this test.
        Some(pid) if pid.is_multiple_of(2) => unsafe { Attach::new().in_place() }.attachments(true),
        _ => Attach::new().attachments(true),
    });
    options.listen(address).unwrap()
}

/// Sends numbers, with a rest now and then; some with a parcel, if the lane allows it.
fn send(lane: &mut Producer, count: u64) {
    let has_parcels = lane.lane().attachments_max != 0;
    for number in 0..count {
        let payload = [number, number].map(u64::to_le_bytes).concat();
        if has_parcels && number.is_multiple_of(PARCEL_EVERY) {
            let mut writer = ParcelBuilder::new("number").buffer(1, 5_000).allocate().unwrap();
            writer.buffer_mut(0).fill(number as u8);
            lane.send_parcel(&payload, &writer.seal().unwrap()).unwrap();
        } else {
            lane.send(&payload).unwrap();
        }
        if number.is_multiple_of(64) {
            std::thread::park_timeout(Duration::from_micros(500));
        }
    }
}

fn source() {
    let mut lane = LaneOptions::new("source").capacity(1 << 16).create().unwrap();
    let address = argument();
    let mut server = None;
    wait_until("the address of the one that was killed is free", || {
        server = Server::listen(&*address, [&lane]).ok();
        server.is_some()
    });
    send(&mut lane, u64::MAX);
}

fn client() {
    let argument = argument();
    let (address, how) = argument.split_once(' ').unwrap();
    let mut lane = LaneOptions::new("numbers").capacity(1 << 14).attachments(1).create().unwrap();
    let patient = ServerOptions::new().patience(Duration::from_secs(60));
    let _link = patient.connect(address, [&lane]).unwrap();
    send(&mut lane, if how == "ends" { 5_000 } else { u64::MAX });
}

/// Sends each parcel back that comes.
fn echo() {
    let socket = UnixStream::connect(argument()).unwrap();
    while let Some(parcel) = receive_parcel(&socket) {
        send_parcel(&socket, &parcel);
    }
}

fn send_parcel(socket: &UnixStream, parcel: &Parcel) {
    assert_eq!(send_fds(socket, b"p", &parcel.fds()).unwrap(), 1);
}

/// The next parcel; `None` if the other process is gone.
fn receive_parcel(socket: &UnixStream) -> Option<Parcel> {
    let received = recv_fds(socket, &mut [0], 8).ok().filter(|received| !received.fds.is_empty())?;
    Some(Parcel::from_fds(received.fds, 1 << 20).unwrap())
}

/// A process that sends parcels back, and the socket to it.
struct Echo {
    test: String,
    address: String,
    listener: UnixListener,
    there: Option<(Peer, UnixStream)>,
}

impl Echo {
    fn new(test: &str, dir: &TempDir) -> Self {
        let path = dir.path().join("echo");
        let listener = UnixListener::bind(&path).unwrap();
        Self { test: test.to_owned(), address: path.display().to_string(), listener, there: None }
    }

    /// The parcel as it comes back; `None` if the other process died.
    fn send(&mut self, parcel: &Parcel, dies: bool) -> Option<Parcel> {
        let (peer, socket) = self.there.take().unwrap_or_else(|| {
            let peer = Peer::start(&self.test, "echo", &self.address);
            (peer, self.listener.accept().unwrap().0)
        });
        send_parcel(&socket, parcel);
        if dies {
            peer.kill();
            // It may have been sent back before.
            return receive_parcel(&socket);
        }
        let parcel = receive_parcel(&socket).expect("it lives");
        self.there = Some((peer, socket));
        Some(parcel)
    }
}
