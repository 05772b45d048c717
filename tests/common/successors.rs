//! Consumers that come one after another on a lane with a place, each killed while it reads: what one had not released,
//! the next one reads.
//!
//! Use it beside `mod common;` and `mod peer;`. Every test begins with `if is_successor() { return; }`.

use crate::common::{DEADLINE, TempDir, role, unique_name, wait_until};
use crate::peer::{Peer, argument, say};
use fdring::feed::{FeedEvent, FeedOptions};
use fdring::options::{LaneOptions, NoConsumer, SessionOptions, Start};
use fdring::{Attach, Consumer, Producer, Server};
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// How a successor reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reads {
    Copies,
    InPlace,
    /// By a feed, which tries again by itself.
    ByFeed,
}

/// In a process that was started to succeed others: does so, and says so.
pub(crate) fn is_successor() -> bool {
    let is_one = role().as_deref() == Some("successor");
    if is_one {
        succeed();
    }
    is_one
}

fn options() -> SessionOptions {
    SessionOptions::new().deadline(DEADLINE).spin(Duration::ZERO)
}

/// Resumes as soon as the one before is known to have gone.
#[allow(unsafe_code, reason = "vouches for the producer of this test")]
fn resume(address: &str, in_place: bool) -> Consumer {
    let mut consumer = None;
    wait_until("a place is vacant", || {
        // SAFETY: the producer is this crate's, in the process that started this one.
        let how = if in_place { unsafe { Attach::new().in_place() } } else { Attach::new() };
        let session = options().connect(address);
        match session.and_then(|session| session.attach_one(how.start(Start::Resume))) {
            Ok(resumed) => consumer = Some(resumed),
            Err(error) => assert!(error.is_worth_retrying(), "{error}"),
        }
        consumer.is_some()
    });
    consumer.unwrap()
}

fn succeed() {
    let argument = argument();
    let [address, log, reads] = argument.split(' ').collect::<Vec<_>>()[..] else { panic!("{argument}") };
    let mut log = File::create(log).unwrap();
    if reads == "ByFeed" {
        return succeed_by_feed(address, log);
    }
    let mut consumer = resume(address, reads == "InPlace");
    say("resumed");
    // Each number is noted before the next call, which may release it.
    while let Some(record) = consumer.receive().unwrap() {
        log.write_all(&record[..8]).unwrap();
    }
    say("ended");
}

fn succeed_by_feed(address: &str, mut log: File) {
    let attach = Attach::new().start(Start::Resume);
    let feed = FeedOptions::new().attach(attach).session(options()).pause_max(Duration::from_millis(20));
    let mut feed = feed.ends_with_lane(true).patience(DEADLINE).connect(address).unwrap();
    while let Some(event) = feed.receive().unwrap() {
        match event {
            FeedEvent::Joined { missed_bytes, .. } => {
                assert_eq!(missed_bytes, None, "it is joined once");
                say("resumed");
            }
            FeedEvent::Record(record) => log.write_all(&record[..8]).unwrap(),
            FeedEvent::Finished { .. } => {}
            other => panic!("{other:?}"),
        }
    }
    say("ended");
}

/// A lane whose producer sends numbers without an end, in records of several lengths, and its successors.
#[derive(Debug)]
pub(crate) struct Succession {
    test: &'static str,
    dir: TempDir,
    address: String,
    _server: Server,
    ends: Arc<AtomicBool>,
    sender: Option<JoinHandle<(Producer, u64)>>,
    logs: Vec<PathBuf>,
}

impl Succession {
    pub(crate) fn new(test: &'static str) -> Self {
        let options = LaneOptions::new("lane").capacity(4096).spin(Duration::ZERO);
        let mut producer = options.no_consumer(NoConsumer::WaitFor(1)).create().unwrap();
        let address = format!("@{}", unique_name());
        let server = Server::listen(&*address, [&producer]).unwrap();
        let ends = Arc::new(AtomicBool::new(false));
        let is_over = Arc::clone(&ends);
        let sender = std::thread::spawn(move || {
            let mut next = 0u64;
            while !is_over.load(Ordering::Relaxed) {
                let mut payload = next.to_le_bytes().to_vec();
                payload.resize(8 + (next % 37) as usize * 8, 0);
                // With a deadline, so that an end is heard of if nobody is there.
                if producer.send_timeout(&payload, Duration::from_millis(20)).is_ok() {
                    next += 1;
                }
            }
            (producer, next)
        });
        let dir = TempDir::new();
        Self { test, dir, address, _server: server, ends, sender: Some(sender), logs: Vec::new() }
    }

    /// The next consumer, with a crash point or without.
    pub(crate) fn successor(&mut self, reads: Reads, crash_at: Option<&str>) -> Peer {
        let log = self.dir.path().join(self.logs.len().to_string());
        let argument = format!("{} {} {reads:?}", self.address, log.display());
        self.logs.push(log);
        Peer::start_with(self.test, "successor", &argument, crash_at)
    }

    /// Ends the lane, which the last successor reads to its end, and compares what all have read; how many there were.
    pub(crate) fn finish(mut self, mut last: Peer) -> u64 {
        last.expect("resumed");
        self.ends.store(true, Ordering::Relaxed);
        let (producer, sent) = self.sender.take().unwrap().join().unwrap();
        producer.finish_and_wait(DEADLINE).expect("all is read by one or another");
        last.expect("ended");
        last.finish();
        let mut next = 0;
        for (index, log) in self.logs.iter().enumerate() {
            let numbers = numbers_in(log);
            assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1), "{index}: {numbers:?}");
            let Some((first, end)) = numbers.first().zip(numbers.last().map(|last| last + 1)) else { continue };
            assert!(*first <= next, "{index} begins at {first}, and those before have read up to {next}");
            next = next.max(end);
        }
        assert_eq!(next, sent, "what was sent was read");
        sent
    }
}

/// What was noted whole.
fn numbers_in(log: &Path) -> Vec<u64> {
    let bytes = std::fs::read(log).unwrap_or_default();
    bytes.chunks_exact(8).map(|number| u64::from_le_bytes(number.try_into().unwrap())).collect()
}
