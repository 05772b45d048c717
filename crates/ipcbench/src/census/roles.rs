//! The two processes that are watched: a producer that does as it is told, and a consumer that receives.

use crate::lanes::attach_in_place;
use crate::pair::pin;
use crate::payload::{fill, sum};
use crate::plan::BATCH;
use crate::shared::{Shared, Word, sleep_until, wait_for};
use fdring::{
    Producer, Server, Session,
    options::{LaneOptions, ServerOptions},
};
use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// The arguments that make a process one of the two.
pub(crate) const PRODUCER: &str = "--watched-producer";
pub(crate) const CONSUMER: &str = "--watched-consumer";

/// How many lanes and consumers are made to find out what one weighs.
const WEIGHED: u64 = 16;
/// The ring of a lane that is weighed, in bytes.
const WEIGHED_CAPACITY_BYTES: u64 = 64 << 10;
const RECORD_LEN: usize = 64;

/// How records come.
#[derive(Clone, Copy, Debug)]
pub(super) enum Regime {
    /// In batches of 32, one after the other.
    Batches,
    /// Each reserved and committed, one after the other.
    Each,
    /// One each 20 µs: less than the consumer spins before it sleeps.
    Every20Us,
    /// One each 300 µs: the consumer sleeps in between.
    Every300Us,
}

impl Regime {
    pub(super) const ALL: [Self; 4] = [Self::Batches, Self::Each, Self::Every20Us, Self::Every300Us];

    pub(super) fn records(self) -> u64 {
        match self {
            Self::Batches | Self::Each => 1 << 22,
            Self::Every20Us => 20_000,
            Self::Every300Us => 1000,
        }
    }

    /// How often it is counted; the median is told. A processor that is taken away makes the other side sleep.
    pub(super) fn repeats(self) -> usize {
        if self.is_busy() { 7 } else { 1 }
    }

    /// Whether the consumer has no reason to sleep.
    pub(super) fn is_busy(self) -> bool {
        matches!(self, Self::Batches | Self::Each)
    }
}

impl fmt::Display for Regime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Batches => "64 B in batches of 32, busy",
            Self::Each => "64 B, each published, busy",
            Self::Every20Us => "64 B, one each 20 µs",
            Self::Every300Us => "64 B, one each 300 µs",
        })
    }
}

/// What the producer is told.
#[derive(Clone, Copy, Debug)]
pub(super) enum Command {
    /// To say what lanes and consumers weigh.
    Weigh,
    Send(Regime),
    End,
}

impl Command {
    pub(super) fn encode(self) -> (u64, u64) {
        match self {
            Self::Weigh => (0, 0),
            Self::Send(regime) => (1 + regime as u64, regime.records()),
            Self::End => (u64::MAX, 0),
        }
    }

    fn decode(number: u64) -> Self {
        match number {
            0 => Self::Weigh,
            u64::MAX => Self::End,
            regime => Self::Send(Regime::ALL[regime as usize - 1]),
        }
    }
}

/// Runs one of the two, with its arguments: its role, its core, and the address.
pub(crate) fn run_role(args: &[String]) -> Result<(), Box<dyn Error>> {
    let [role, core, address] = args else {
        return Err("a watched process is started by the benchmark itself".into());
    };
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    pin(core.parse()?)?;
    let memory = fdring::recv_fds(std::io::stdin(), &mut [0; 8], 1)?.fds.remove(0);
    let shared = Shared::map(memory)?;
    if role == PRODUCER { produce(&shared, address) } else { consume(&shared, address) }
}

fn weighed_address(address: &str) -> String {
    format!("{address}-weighed")
}

fn produce(shared: &Shared, address: &str) -> Result<(), Box<dyn Error>> {
    let weighed = |n| LaneOptions::new(format!("weighed{n}")).capacity(WEIGHED_CAPACITY_BYTES);
    let first = weighed(0).create()?;
    let before = Weight::now();
    let lanes = (1..=WEIGHED).map(|n| weighed(n).create()).collect::<Result<Vec<_>, _>>()?;
    let lane = Weight::now().since(&before);
    drop(lanes);

    let mut producer = Producer::create("watched")?;
    let _server = Server::listen(address, &[&producer])?;
    let _weighing = ServerOptions::new().sessions_max(64).listen(weighed_address(address).as_str(), &[&first])?;
    let without_consumers = Weight::now();
    shared.word(Word::Answer).store(1, Ordering::Release);
    for command in 1.. {
        sleep_until(shared.futex(Word::FutexPing), command);
        match Command::decode(shared.word(Word::Case).load(Ordering::Relaxed)) {
            Command::Weigh => {
                let consumer = Weight::now().since(&without_consumers);
                shared.told(0).store(lane.bytes.saturating_sub(WEIGHED_CAPACITY_BYTES), Ordering::Relaxed);
                shared.told(1).store(lane.fds, Ordering::Relaxed);
                shared.told(4).store(consumer.bytes, Ordering::Relaxed);
                shared.told(5).store(consumer.fds, Ordering::Relaxed);
            }
            Command::Send(regime) => {
                send(&mut producer, regime, shared.word(Word::Records).load(Ordering::Relaxed));
            }
            Command::End => {
                drop(producer);
                shared.word(Word::Pong).store(u64::from(command), Ordering::Release);
                break;
            }
        }
        // Nothing is asked of the kernel until the other side has stopped counting.
        shared.word(Word::Pong).store(u64::from(command), Ordering::Release);
        wait_for(shared.word(Word::GoOn), u64::from(command), || {});
    }
    Ok(())
}

fn send(producer: &mut Producer, regime: Regime, records: u64) {
    match regime {
        Regime::Batches => {
            for first in (0..records).step_by(BATCH as usize) {
                let mut batch = producer.batch().expect("a batch");
                for n in first..first + BATCH {
                    let mut slot = batch.reserve(RECORD_LEN).expect("room for a record");
                    fill::<RECORD_LEN>((&mut slot[..]).try_into().expect("the length asked for"), n);
                    slot.commit();
                }
                batch.commit();
            }
        }
        Regime::Each => (0..records).for_each(|n| send_one(producer, n)),
        Regime::Every20Us | Regime::Every300Us => {
            let pause = Duration::from_micros(if matches!(regime, Regime::Every20Us) { 20 } else { 300 });
            let mut due = Instant::now();
            for n in 0..records {
                // The clock is read without a system call.
                while Instant::now() < due {}
                send_one(producer, n);
                due = Instant::now() + pause;
            }
        }
    }
}

fn send_one(producer: &mut Producer, n: u64) {
    let mut slot = producer.reserve(RECORD_LEN).expect("room for a record");
    fill::<RECORD_LEN>((&mut slot[..]).try_into().expect("the length asked for"), n);
    slot.commit();
}

fn consume(shared: &Shared, address: &str) -> Result<(), Box<dyn Error>> {
    let attach = |address: &str| attach_in_place(Session::connect(address)?);
    let mut consumer = attach(address)?;
    let before = Weight::now();
    let weighed = (0..WEIGHED).map(|_| attach(&weighed_address(address))).collect::<Result<Vec<_>, _>>()?;
    let one = Weight::now().since(&before);
    shared.told(2).store(one.bytes, Ordering::Relaxed);
    shared.told(3).store(one.fds, Ordering::Relaxed);
    shared.word(Word::Answer).store(2, Ordering::Release);
    while let Some(record) = consumer.receive()? {
        std::hint::black_box(sum(&record));
    }
    drop(weighed);
    Ok(())
}

/// What a process holds.
struct Weight {
    /// Its own memory, the kernel's tables for all that it maps, and the memfds that it has descriptors of.
    bytes: u64,
    fds: u64,
}

impl Weight {
    fn now() -> Self {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
            kib.unwrap_or(0) << 10
        };
        let mut memfds = BTreeMap::new();
        let mut fds = 0;
        for entry in std::fs::read_dir("/proc/self/fd").into_iter().flatten().flatten() {
            fds += 1;
            let is_memfd = std::fs::read_link(entry.path()).is_ok_and(|to| to.to_string_lossy().starts_with("/memfd:"));
            if let (true, Ok(file)) = (is_memfd, std::fs::metadata(entry.path())) {
                memfds.insert(file.ino(), file.blocks() * 512);
            }
        }
        Self { bytes: field("RssAnon:") + field("VmPTE:") + memfds.values().sum::<u64>(), fds }
    }

    /// What each of the [`WEIGHED`] added, on average.
    fn since(&self, before: &Self) -> Self {
        Self {
            bytes: self.bytes.saturating_sub(before.bytes) / WEIGHED,
            fds: self.fds.saturating_sub(before.fds) / WEIGHED,
        }
    }
}
