//! What others read from, in one process, and the processes that read, work and call there, which are killed at random.
//!
//! Use it beside `mod common;`, `mod peer;` and `mod ledger;`. Every test begins with `if takes_a_part() { return; }`.

use crate::common::{DEADLINE, TempDir, role};
use crate::ledger::mix;
use crate::peer::{Peer, argument};
use fdring::call::{Caller, CallerOptions, Service};
use fdring::distribute::{Distributor, DistributorOptions, To, Worker};
use fdring::errors::SendError;
use fdring::options::{LaneOptions, SessionOptions};
use fdring::parcel::{Parcel, ParcelBuilder};
use fdring::{Attach, Consumer, OwnedRecord, Producer, Server, Session, Tap};
use std::collections::VecDeque;
use std::time::Duration;

const PARTS: [&str; 5] = ["holder", "watcher", "taker", "worker", "caller"];
const RECORDS_PER_STEP: u64 = 200;
const REQUESTS_PER_STEP: usize = 100;
/// One record for how many has a parcel.
const PARCEL_EVERY: u64 = 32;
const PARCELS_MAX: usize = 8;
const HELD_MAX: usize = 8;
const MOMENT: Duration = Duration::from_millis(1);
/// How long a call may take whose service is killed.
const PATIENCE: Duration = Duration::from_secs(10);

/// In a process that was started to take a part: takes it, until it is killed or what it uses has ended.
pub(crate) fn takes_a_part() -> bool {
    match role().as_deref() {
        Some("holder") => hold(),
        Some("watcher") => watch(),
        Some("taker") => take(),
        Some("worker") => work(),
        Some("caller") => call(),
        Some("service") => serve(),
        _ => return false,
    }
    true
}

/// What the owners have done.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Owned {
    pub(crate) kills: u64,
    pub(crate) sent: u64,
    pub(crate) worked: u64,
    pub(crate) answered: u64,
    pub(crate) called: u64,
}

/// A lane, a distributor, a service and a caller.
pub(crate) struct Owners<'a> {
    test: &'a str,
    seed: u64,
    // Ended in any order: whose owner goes first has an end, whose others go first has deaths.
    peers: [Option<Peer>; PARTS.len()],
    service_peer: Option<Peer>,
    lane: Producer,
    server: Server,
    distributor: Distributor,
    service: Service,
    caller: Caller,
    addresses: [String; PARTS.len()],
    service_address: String,
    next: u64,
    pub(crate) counts: Owned,
}

impl<'a> Owners<'a> {
    pub(crate) fn new(test: &'a str, dir: &TempDir, seed: u64) -> Self {
        let address = |name: &str| dir.path().join(name).display().to_string();
        let [lane_address, work_address, request_address] = ["lane", "work", "requests"].map(address);
        let service_address = address("service");
        let lane = LaneOptions::new("owned").capacity(1 << 16).attachments(1).create().unwrap();
        let server = Server::listen(&*lane_address, [&lane]).unwrap();
        let work = LaneOptions::new("work").capacity(1 << 14);
        let distributor = DistributorOptions::new().lane(work).listen(&*work_address).unwrap();
        let service = Service::listen(&*request_address).unwrap();
        let service_peer = Peer::start(test, "service", &service_address);
        let caller = CallerOptions::new().patience(DEADLINE).connect(&*service_address).unwrap();
        Self {
            test,
            seed,
            peers: PARTS.map(|_| None),
            service_peer: Some(service_peer),
            lane,
            server,
            distributor,
            service,
            caller,
            addresses: [lane_address.clone(), lane_address.clone(), lane_address, work_address, request_address],
            service_address,
            next: 0,
            counts: Owned::default(),
        }
    }

    fn below(&mut self, end: u64) -> u64 {
        self.seed = self.seed.wrapping_add(1);
        mix(self.seed) % end
    }

    /// Starts whoever is missing, kills somebody now and then, and sends, hands out, answers and calls.
    pub(crate) fn step(&mut self) {
        for ((peer, part), address) in self.peers.iter_mut().zip(PARTS).zip(&self.addresses) {
            peer.get_or_insert_with(|| Peer::start(self.test, part, address));
        }
        let whom = self.below(24) as usize;
        if whom <= PARTS.len() {
            let peer = if whom < PARTS.len() { self.peers[whom].take() } else { self.service_peer.take() };
            peer.expect("it was started").kill();
            self.counts.kills += 1;
        }
        self.send();
        self.hand_out();
        self.answer();
        self.call();
    }

    fn send(&mut self) {
        for _ in 0..RECORDS_PER_STEP {
            let payload = [self.next; 2].map(u64::to_le_bytes).concat();
            let sent = if self.next.is_multiple_of(PARCEL_EVERY) {
                let mut writer = ParcelBuilder::new("owned").buffer(1, 5_000).allocate().unwrap();
                writer.buffer_mut(0).fill(self.next as u8);
                self.lane.send_parcel_timeout(&payload, &writer.seal().unwrap(), DEADLINE)
            } else {
                self.lane.send_timeout(&payload, DEADLINE)
            };
            sent.unwrap();
            self.next += 1;
            self.counts.sent += 1;
        }
        assert!(self.server.stats().sessions <= 8, "{:?}", self.server.stats());
    }

    fn hand_out(&mut self) {
        for number in 0..RECORDS_PER_STEP {
            let to = if number % 4 == 0 { To::Key(number) } else { To::MostRoom };
            match self.distributor.send_timeout(to, &number.to_le_bytes(), MOMENT) {
                Ok(()) => self.counts.worked += 1,
                Err(SendError::TimedOut { .. } | SendError::TooFewConsumers { .. }) => break,
                Err(error) => panic!("{error}"),
            }
        }
        while self.distributor.try_next_event().is_some() {}
    }

    fn answer(&mut self) {
        for _ in 0..REQUESTS_PER_STEP {
            let Ok(request) = self.service.receive_timeout(MOMENT) else { return };
            let reply = request.to_vec();
            // Its caller may be dead.
            self.counts.answered += u64::from(request.reply(&reply).is_ok());
        }
    }

    fn call(&mut self) {
        let (test, address) = (self.test, &self.service_address);
        self.service_peer.get_or_insert_with(|| Peer::start(test, "service", address));
        for number in 0..REQUESTS_PER_STEP as u64 {
            // Its service may have died.
            if let Ok(reply) = self.caller.call(&number.to_le_bytes(), PATIENCE) {
                assert_eq!(reply[..], number.to_le_bytes());
                self.counts.called += 1;
            }
        }
    }
}

fn number(payload: &[u8]) -> u64 {
    u64::from_le_bytes(payload[..8].try_into().unwrap())
}

/// Follows numbers that come one after another, from any on.
fn check(last: &mut Option<u64>, number: u64) {
    assert!(last.is_none_or(|last| number == last + 1), "{number} after {last:?}");
    *last = Some(number);
}

/// Holds the last records in the ring.
#[allow(unsafe_code, reason = "vouches for the producer of this test")]
fn hold() {
    // SAFETY: the producer is this crate's, in the process of this test.
    let in_place = unsafe { Attach::new().in_place() };
    let mut consumer = Session::connect(argument()).unwrap().attach_one(in_place).unwrap();
    let (mut held, mut last) = (VecDeque::<OwnedRecord>::new(), None);
    while let Ok(Some(record)) = consumer.receive() {
        check(&mut last, number(&record));
        held.push_back(record.into_owned());
        if held.len() > HELD_MAX {
            held.pop_front();
        }
        let first = last.unwrap() + 1 - held.len() as u64;
        assert!(held.iter().zip(first..).all(|(record, is)| number(record) == is), "what is held has changed");
    }
}

fn watch() {
    let mut tap = Tap::connect(argument()).unwrap();
    let mut next = 0;
    loop {
        match tap.receive() {
            Ok(Some(record)) => {
                assert!(number(&record) >= next, "never back");
                next = number(&record) + 1;
            }
            Err(fdring::errors::TapError::Lagged { .. }) => {}
            Ok(None) | Err(_) => return,
        }
    }
}

/// Takes parcels, keeps some, and drops others on another thread.
fn take() {
    let mut consumer = Session::connect(argument()).unwrap().attach_one(Attach::new().attachments(true)).unwrap();
    let (mut kept, mut last) = (VecDeque::<Parcel>::new(), None);
    while let Ok(Some(record)) = consumer.receive() {
        let number = number(&record);
        check(&mut last, number);
        if record.fd_count() == 0 {
            continue;
        }
        let parcel = record.take_parcel(1 << 20).unwrap();
        assert!(parcel.buffer(0).unwrap().iter().all(|byte| *byte == number as u8));
        kept.push_back(parcel);
        if kept.len() > PARCELS_MAX {
            let parcel = kept.pop_front();
            std::thread::spawn(move || drop(parcel)).join().unwrap();
        }
    }
}

fn work() {
    let session = SessionOptions::new().patience(DEADLINE).connect(argument()).unwrap();
    let consumer: Consumer = session.attach_one(Attach::new()).unwrap();
    let mut worker = Worker::new(consumer).unwrap();
    while let Ok(Some(_)) = worker.receive() {}
}

fn call() {
    let mut caller = CallerOptions::new().patience(DEADLINE).connect(argument()).unwrap();
    for number in 0_u64.. {
        match caller.call(&number.to_le_bytes(), DEADLINE) {
            Ok(reply) => assert_eq!(reply[..], number.to_le_bytes()),
            Err(_) => return,
        }
    }
}

fn serve() {
    let mut service = Service::listen(argument()).unwrap();
    loop {
        let Ok(request) = service.receive() else { return };
        let reply = request.to_vec();
        // Its caller may be dead.
        let _ = request.reply(&reply);
    }
}
