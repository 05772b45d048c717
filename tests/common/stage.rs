//! The library in processes of its own, for hostile peers to play against: a host, which is a producer and its server;
//! a witness, an honest consumer of that host; and a client, a consumer that goes wherever it is sent.
//!
//! Use it beside `mod common;` and `mod peer;`, by `#[path = "common/stage.rs"] mod stage;`. Every test begins with
//! `if plays_a_role() { return; }`.
#![allow(dead_code, reason = "each test file uses a part of this")]

use crate::common::{DEADLINE, belongings, kernel, next_descriptor, role, thread_names, unique_name, wait_until};
use crate::peer::{Peer, argument, is_told_within, say, told};
use fdring::{
    Attach, Consumer, Error, Producer, Record, Server, Session,
    errors::{ReceiveError, SendError},
    options::{LaneOptions, PeerPolicy, ServerOptions, SessionOptions},
};
use rustix::process::Signal;
use std::time::{Duration, Instant};

/// The capacity of the host's lane: so short that any consumer holds it back after a few hundred records.
pub(crate) const CAPACITY: u64 = 4096;
/// How long the host tries to send a record before it notes who keeps it from it.
const SEND_PATIENCE: Duration = Duration::from_millis(20);

/// In a process that was started to play a role: plays it, and says so.
pub(crate) fn plays_a_role() -> bool {
    match role().as_deref() {
        Some("host") => host(),
        Some("old host") => {
            kernel::cannot_refuse_descriptors();
            host();
        }
        Some("witness") => witness(),
        Some("client") => client(),
        Some("old client") => {
            kernel::cannot_refuse_descriptors();
            client();
        }
        _ => return false,
    }
    true
}

/// How a host listens.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hosting {
    pub(crate) deadline: Duration,
    pub(crate) sessions_max: usize,
    pub(crate) anyone: bool,
    /// Whether its kernel is one from before Linux 6.16, which turns no descriptors away.
    pub(crate) old_kernel: bool,
}

impl Default for Hosting {
    fn default() -> Self {
        Self { deadline: DEADLINE, sessions_max: 64, anyone: false, old_kernel: false }
    }
}

/// A host and a witness.
#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) address: String,
    host: Peer,
    witness: Peer,
    before: String,
}

impl Stage {
    /// Starts both for the test named `test`.
    pub(crate) fn new(test: &str, hosting: Hosting) -> Self {
        let address = format!("@{}", unique_name());
        let Hosting { deadline, sessions_max, anyone, old_kernel } = hosting;
        let argument = format!("{address} {} {sessions_max} {anyone}", deadline.as_millis());
        let mut host = Peer::start(test, if old_kernel { "old host" } else { "host" }, &argument);
        host.expect("listening");
        let mut witness = Peer::start(test, "witness", &address);
        witness.expect("attached");
        let mut stage = Self { address, host, witness, before: String::new() };
        let witness = stage.witness.pid();
        assert_eq!(stage.ask(&format!("witness {witness}")), "so be it");
        stage.goes_on();
        stage.before = stage.ask("census");
        stage
    }

    /// Asks the host.
    pub(crate) fn ask(&mut self, question: &str) -> String {
        self.host.tell(question);
        self.host.heard()
    }

    pub(crate) fn tell(&mut self, line: &str) {
        self.host.tell(line);
    }

    pub(crate) fn hear(&mut self) -> String {
        self.host.heard()
    }

    /// Has the host publish four times what its ring holds, all of which the witness must have read but the last.
    pub(crate) fn goes_on(&mut self) {
        assert_eq!(self.ask("go"), "gone");
    }

    /// Waits until the host has the descriptors and mappings again that it had before anyone came.
    pub(crate) fn forgets(&mut self) {
        let before = self.before.clone();
        let mut now = String::new();
        let start = Instant::now();
        while {
            now.clear();
            now.push_str(&self.ask("census"));
            now != before
        } {
            assert!(start.elapsed() < DEADLINE, "the host still holds\n{now}\nwhere it held\n{before}");
        }
    }

    /// `sessions`, `refused`, `evicted` or `consumers` of the host's.
    pub(crate) fn stat(&mut self, name: &str) -> u64 {
        let stats = self.ask("stats");
        let word = stats.split(' ').find_map(|word| word.strip_prefix(&format!("{name}=")));
        word.unwrap_or_else(|| panic!("no {name} in {stats}")).parse().unwrap()
    }

    /// How many descriptors the host holds, from now on without gaps.
    pub(crate) fn held(&mut self) -> u32 {
        let held = self.ask("held").parse().unwrap();
        self.before = self.ask("census");
        held
    }

    pub(crate) fn wait_for_stat(&mut self, name: &str, value: u64) {
        wait_until(&format!("{name} is {value}"), || self.stat(name) == value);
    }

    /// How many threads of the host have that name.
    pub(crate) fn threads(&self, name: &str) -> usize {
        thread_names(self.host.pid()).iter().filter(|other| *other == name).count()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        self.host.signal(signal);
    }

    pub(crate) fn last_refusal(&mut self) -> String {
        self.ask("refusal")
    }

    /// Everything is as it was: the host has nothing left of anybody but the witness, who missed nothing to the end.
    pub(crate) fn ends_undisturbed(mut self) {
        self.goes_on();
        self.forgets();
        self.ends();
    }

    /// The host ends its lane, and the witness has read all of it.
    pub(crate) fn ends(mut self) {
        let published = self.ask("finish");
        assert_eq!(self.witness.heard(), format!("read to {published} without a gap"));
        self.witness.finish();
        self.host.finish();
    }
}

fn limit_descriptors(current: u64) {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: Some(current), maximum }).unwrap();
}

struct Host {
    producer: Producer,
    server: Server,
    sequence: u64,
    holder: u32,
    /// Who reads everything, if it comes to run: it holds nobody up for long.
    witness: u32,
    paused: bool,
}

fn host() {
    let argument = argument();
    let [address, deadline, sessions_max, anyone] = argument.split(' ').collect::<Vec<_>>()[..] else {
        panic!("{argument}")
    };
    let producer = LaneOptions::new("stage").capacity(CAPACITY).create().unwrap();
    let options = ServerOptions::new().deadline(Duration::from_millis(deadline.parse().unwrap()));
    let peers = if anyone == "true" { PeerPolicy::Anyone } else { PeerPolicy::SameUser };
    let options = options.sessions_max(sessions_max.parse().unwrap()).peers(peers);
    let server = options.listen(address, &[&producer]).unwrap();
    say("listening");
    let mut host = Host { producer, server, sequence: 0, holder: 0, witness: 0, paused: false };
    loop {
        if is_told_within(Duration::from_millis(1)) {
            let line = told();
            if line == "finish" || line.is_empty() {
                break;
            }
            say(&host.answer(&line));
        }
        if !host.paused && host.server.stats().sessions != 0 {
            for _ in 0..8 {
                host.send(SEND_PATIENCE);
            }
        }
    }
    let Host { producer, sequence, .. } = host;
    producer.finish();
    say(&sequence.to_string());
}

impl Host {
    fn answer(&mut self, question: &str) -> String {
        match question {
            "held" => next_descriptor().to_string(),
            limit if limit.starts_with("limit ") => {
                limit_descriptors(limit[6..].parse().unwrap());
                "so be it".to_owned()
            }
            witness if witness.starts_with("witness ") => {
                self.witness = witness[8..].parse().unwrap();
                "so be it".to_owned()
            }
            "census" => {
                // A consumer that has gone is forgotten with the next publication.
                self.send(SEND_PATIENCE);
                belongings()
            }
            "stats" => {
                let (stats, consumers) = (self.server.stats(), self.producer.consumer_count());
                let (sessions, refused, evicted) = (stats.sessions, stats.refused, stats.evicted);
                let accepted = stats.accepted;
                format!(
                    "sessions={sessions} refused={refused} evicted={evicted} accepted={accepted} consumers={consumers}"
                )
            }
            "refusal" => self.server.stats().last_refusal.unwrap_or_default(),
            "holder" => std::mem::take(&mut self.holder).to_string(),
            "pause" => self.paused(true),
            "resume" => self.paused(false),
            "one" => {
                self.send(DEADLINE);
                self.producer.published().to_string()
            }
            "go" => self.go(DEADLINE / 4),
            "try" => self.go(Duration::from_millis(100)),
            // Without a deadline, as only a wake-up can end it.
            "go for good" => self.go(Duration::MAX),
            other => panic!("{other}?"),
        }
    }

    fn paused(&mut self, paused: bool) -> String {
        self.paused = paused;
        "so be it".to_owned()
    }

    fn go(&mut self, patience: Duration) -> String {
        let end = self.producer.published() + 4 * CAPACITY;
        while self.producer.published() < end {
            // On a busy machine the witness may have been kept from running.
            if !self.send(patience) && self.holder != self.witness {
                return format!("stuck, held by {}", self.holder);
            }
        }
        "gone".to_owned()
    }

    fn send(&mut self, patience: Duration) -> bool {
        match self.producer.send_timeout(&self.sequence.to_le_bytes(), patience) {
            Ok(()) => self.sequence += 1,
            Err(SendError::TimedOut { consumer }) => {
                self.holder = consumer.and_then(|consumer| consumer.pid).unwrap_or_default();
                return false;
            }
            Err(error) => panic!("{error}"),
        }
        true
    }
}

fn witness() {
    let mut consumer = Consumer::connect(argument()).unwrap();
    say("attached");
    let mut next = None;
    while let Some(record) = consumer.receive().unwrap() {
        let sequence = u64::from_le_bytes(record[..].try_into().unwrap());
        assert_eq!(sequence, next.unwrap_or(sequence), "a gap");
        next = Some(sequence + 1);
    }
    say(&format!("read to {} without a gap", next.unwrap_or(0)));
}

/// How [`Client::connect`] ended.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// The variant of the error, or `attached`.
    pub(crate) kind: String,
    pub(crate) sentence: String,
    pub(crate) millis: u64,
}

/// A library consumer in a process of its own.
#[derive(Debug)]
pub(crate) struct Client(pub(crate) Peer);

impl Client {
    pub(crate) fn start(test: &str, address: &str) -> Self {
        Self(Peer::start(test, "client", address))
    }

    /// As [`start`](Self::start), on a kernel from before Linux 6.16, which turns no descriptors away.
    pub(crate) fn start_on_old_kernel(test: &str, address: &str) -> Self {
        Self(Peer::start(test, "old client", address))
    }

    /// Has it connect; meanwhile this process is to answer, and then to ask for the outcome.
    pub(crate) fn begin(&mut self, deadline: Duration) {
        self.0.tell(&format!("connect {}", deadline.as_millis()));
    }

    pub(crate) fn outcome(&mut self) -> Outcome {
        let heard = self.0.heard();
        let [kind, millis, sentence] = heard.splitn(3, '|').collect::<Vec<_>>()[..] else { panic!("{heard}") };
        Outcome { kind: kind.to_owned(), sentence: sentence.to_owned(), millis: millis.parse().unwrap() }
    }

    /// Has it read on; the payload as text, or the error and its sentence.
    pub(crate) fn read(&mut self) -> String {
        self.0.tell("read");
        self.0.heard()
    }

    /// As [`read`](Self::read), but waits no longer than that.
    pub(crate) fn read_for(&mut self, millis: u64) -> String {
        self.0.tell(&format!("read {millis}"));
        self.0.heard()
    }

    /// Has it ask about its lane; the report, or the error and its sentence.
    pub(crate) fn query(&mut self, millis: u64) -> String {
        self.ask(millis);
        self.0.heard()
    }

    /// Has it ask about its lane; meanwhile this process is to answer, and then to hear what it says.
    pub(crate) fn ask(&mut self, millis: u64) {
        self.0.tell(&format!("query {millis}"));
    }

    /// Has it drop its consumer.
    pub(crate) fn leave(&mut self) {
        self.0.tell("leave");
        self.0.expect("left, with nothing more than before");
    }
}

/// What a client does: as it is told. After each failure it has what it had before, or says what more.
fn client() {
    let mut consumer: Option<Consumer> = None;
    let address = argument();
    // Whatever is mapped once and kept is there now.
    let _ = Session::connect("@fdring-test-nobody-listens-here");
    let held = next_descriptor();
    let before = belongings();
    loop {
        let line = told();
        let mut words = line.split(' ');
        match words.next() {
            Some("connect") => {
                let deadline = Duration::from_millis(words.next().unwrap().parse().unwrap());
                let few = words.next().map(|more| more.parse::<u64>().unwrap());
                few.inspect(|more| limit_descriptors(held + more));
                let start = Instant::now();
                let session = SessionOptions::new().deadline(deadline).connect(&*address);
                let outcome = session.and_then(|session| session.attach_one(Attach::new()));
                let millis = start.elapsed().as_millis();
                few.inspect(|_| limit_descriptors(512));
                match outcome {
                    Ok(attached) => {
                        consumer = Some(attached);
                        say(&format!("attached|{millis}|"));
                    }
                    Err(error) => {
                        // A thread may be closing what came.
                        wait_until(&format!("nothing is left of: {error}"), || belongings() == before);
                        say(&format!("{}|{millis}|{error}", name_of(&error)));
                    }
                }
            }
            Some("read") => {
                let millis = words.next().map(|millis| Duration::from_millis(millis.parse().unwrap()));
                say(&outcome(consumer.as_mut().unwrap().receive_timeout(millis.unwrap_or(DEADLINE / 2))));
            }
            Some("query") => {
                let millis = words.next().unwrap().parse().unwrap();
                say(&match consumer.as_ref().unwrap().query(Duration::from_millis(millis)) {
                    Ok(report) => format!("{report:?}"),
                    Err(error) => format!("{}: {error}", name_of(&error)),
                });
            }
            Some("wait") => say(&outcome(consumer.as_mut().unwrap().receive())),
            Some("leave") => {
                consumer = None;
                // A thread may be closing what came.
                wait_until("nothing is left of the session", || belongings() == before);
                say("left, with nothing more than before");
            }
            _ => return,
        }
    }
}

fn outcome(received: Result<Option<Record<'_>>, ReceiveError>) -> String {
    match received {
        Ok(Some(record)) => format!("{} bytes, tag {}, from {}", record.len(), record.tag(), record.position()),
        Ok(None) => "finished".to_owned(),
        Err(error) => {
            let name = match error {
                ReceiveError::Corrupt(_) => "Corrupt",
                ReceiveError::Evicted { .. } => "Evicted",
                ReceiveError::PeerDead => "PeerDead",
                ReceiveError::HungUp => "HungUp",
                ReceiveError::Refused { .. } => "Refused",
                ReceiveError::Peer(_) => "Peer",
                ReceiveError::Closed => "Closed",
                ReceiveError::Abandoned => "Abandoned",
                ReceiveError::TimedOut => "TimedOut",
                _ => "another",
            };
            format!("{name}: {error}")
        }
    }
}

/// The variant of an error of setting up.
pub(crate) fn name_of(error: &Error) -> &'static str {
    match error {
        Error::Os { .. } => "Os",
        Error::Peer { .. } => "Peer",
        Error::Refused { .. } => "Refused",
        Error::Forbidden { .. } => "Forbidden",
        Error::Closed { .. } => "Closed",
        Error::TimedOut { .. } => "TimedOut",
        Error::Invalid(_) => "Invalid",
        Error::Geometry(_) => "Geometry",
        _ => "another",
    }
}
