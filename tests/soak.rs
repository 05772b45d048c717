//! Kills at random times: producers and consumers die and are started again, while records flow.
//!
//! It takes 5 seconds, or as many as `FDRING_SOAK_SECONDS` says. Everything is drawn from one seed, which is printed;
//! `FDRING_SOAK_SEED` plays it again, as far as the scheduler does. What is checked is the same as at the crash points
//! (`tests/crash_points.rs`): it is proved from the logs, and afterwards nobody holds more than before.

mod common;
#[path = "common/crew.rs"]
mod crew;
#[path = "common/holdings.rs"]
mod holdings;
#[path = "common/ledger.rs"]
mod ledger;
#[path = "common/owners.rs"]
mod owners;
#[path = "common/peer.rs"]
mod peer;
#[path = "common/readers.rs"]
mod readers;
#[path = "common/successors.rs"]
mod successors;

use common::{TempDir, stopwatch::Stopwatch};
use crew::{Crew, Leaving, Manner, SOON, ends_in_order, goes_on, plays_a_role, rest};
use ledger::{Ending, mix};
use peer::Peer;
use readers::{plays_a_part, read_for};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use successors::{Reads, Succession, is_successor};

const SECONDS_DEFAULT: u64 = 5;
const CONSUMERS: usize = 3;
const TAPS: usize = 2;
const KILLS_PER_LIFE_MAX: u64 = 8;
const PAUSE_MAX: Duration = Duration::from_millis(20);
/// Of those that copy and were killed, one in this number may be evicted instead of found dead, and some more.
const KILLED_PER_EVICTED: u64 = 50;
const EVICTED_TOLERANCE: u64 = 10;

struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(1);
        mix(self.0) % end
    }

    fn pause(&mut self) {
        rest(Duration::from_micros(self.below(PAUSE_MAX.as_micros() as u64)));
    }

    fn reads(&mut self) -> Reads {
        [Reads::Copies, Reads::InPlace, Reads::ByFeed][self.below(3) as usize]
    }

    fn manner(&mut self) -> Manner {
        let mut bit = || self.below(2) == 1;
        Manner { in_place: bit(), from_oldest: bit(), spins: bit(), leaving: Leaving::Never }
    }
}

/// What there was in the lives of lanes.
#[derive(Debug, Default)]
struct Counts {
    lives: u64,
    kills: u64,
    /// Consumers that copy, and taps, that were killed on lanes that came to their end.
    copying_killed: u64,
    /// How many of these were evicted instead of found dead.
    evicted: u64,
    /// Records that were read.
    records: u64,
}

/// The life of one lane, from its beginning to its end.
fn live(mut crew: Crew, random: &mut Random) -> Counts {
    let mut producer = crew.producer(random.below(u64::MAX), None);
    producer.tell("go");
    producer.expect("going");
    let newcomer = |crew: &mut Crew, random: &mut Random| {
        let manner = random.manner();
        (manner.in_place, crew.consumer(manner, None))
    };
    let mut consumers: Vec<(bool, Peer)> = (0..CONSUMERS).map(|_| newcomer(&mut crew, random)).collect();
    // Taps come and go beside them, and nobody waits for one.
    let mut taps: Vec<Peer> = (0..TAPS).map(|_| crew.tap(random.below(2) == 1, false, None)).collect();
    let (mut kills, mut copying_killed) = (0, 0);
    for _ in 0..random.below(KILLS_PER_LIFE_MAX + 1) {
        random.pause();
        let tap = crew.tap(random.below(2) == 1, false, None);
        std::mem::replace(&mut taps[random.below(TAPS as u64) as usize], tap).kill();
        let consumer = newcomer(&mut crew, random);
        // Perhaps before it has attached.
        let (in_place, victim) = std::mem::replace(&mut consumers[random.below(CONSUMERS as u64) as usize], consumer);
        victim.kill();
        kills += 2;
        copying_killed += 1 + u64::from(!in_place);
        let took = goes_on(&mut producer);
        assert!(took < SOON, "the producer went on after {took:?}");
    }
    random.pause();
    let mut evicted = 0;
    let mut readers: Vec<Peer> = consumers.into_iter().map(|(_, consumer)| consumer).chain(taps).collect();
    if random.below(4) == 0 {
        readers.iter_mut().for_each(|reader| reader.expect("attached"));
        evicted = ends_in_order(producer, readers, copying_killed);
    } else {
        copying_killed = 0;
        producer.kill();
        kills += 1;
        let died = Stopwatch::start();
        for mut reader in readers {
            // Perhaps the producer died before it had attached.
            if reader.heard() == "attached" {
                reader.expect("ended PeerDead");
                assert!(died.elapsed() < SOON, "a consumer learnt of it after {:?}", died.elapsed());
            }
            reader.finish();
        }
    }
    let (_, readings) = crew.check().unwrap_or_else(|fault| panic!("{fault}"));
    let readings: Vec<_> = readings.into_iter().flatten().collect();
    let ends: Vec<u64> = readings.iter().filter(|one| one.how == Some(Ending::PeerDead)).map(|one| one.end).collect();
    assert!(ends.iter().all(|end| *end == ends[0]), "all have read to the same last record: {ends:?}");
    let records = readings.iter().map(|reading| reading.end - reading.first).sum();
    Counts { lives: 1, kills, copying_killed, evicted, records }
}

fn number_from_environment(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is a number, not {text:?}")))
}

#[test]
fn kills_at_random_times_lose_nothing_and_leave_nothing() {
    let test = "kills_at_random_times_lose_nothing_and_leave_nothing";
    if plays_a_role() {
        return;
    }
    let seconds = number_from_environment("FDRING_SOAK_SECONDS").unwrap_or(SECONDS_DEFAULT);
    let seed = number_from_environment("FDRING_SOAK_SEED").unwrap_or_else(|| mix(u64::from(std::process::id())));
    println!("the seed is {seed}: FDRING_SOAK_SEED={seed} plays the same again");
    let (begin, lives, total) = (Instant::now(), AtomicU64::new(0), Mutex::new(Counts::default()));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                // Each lane comes after the last at one address, whose socket file the dead leave behind.
                let dir = TempDir::new();
                let address = dir.path().join("socket").display().to_string();
                while begin.elapsed() < Duration::from_secs(seconds) {
                    let life = lives.fetch_add(1, Ordering::Relaxed);
                    let counts = live(Crew::new(test, &address), &mut Random(mix(seed ^ mix(life))));
                    let mut total = total.lock().unwrap();
                    total.lives += counts.lives;
                    total.kills += counts.kills;
                    total.copying_killed += counts.copying_killed;
                    total.evicted += counts.evicted;
                    total.records += counts.records;
                }
            });
        }
    });
    let Counts { lives, kills, copying_killed, evicted, records } = total.into_inner().unwrap();
    let evicted_max = copying_killed / KILLED_PER_EVICTED + EVICTED_TOLERANCE;
    assert!(evicted <= evicted_max, "{evicted} were evicted of {copying_killed} that copy and were killed");
    let seconds = begin.elapsed().as_secs();
    println!(
        "proof: soak | lives {lives} | kills {kills} | evicted {evicted} | records {records} | seconds {seconds} \
         | seed {seed}"
    );
}

/// As long as the other, one after another at the one place of a lane.
#[test]
fn successors_of_consumers_that_are_killed_at_random_times_miss_nothing() {
    if is_successor() {
        return;
    }
    let test = "successors_of_consumers_that_are_killed_at_random_times_miss_nothing";
    let seconds = number_from_environment("FDRING_SOAK_SECONDS").unwrap_or(SECONDS_DEFAULT);
    let seed = number_from_environment("FDRING_SOAK_SEED").unwrap_or_else(|| mix(u64::from(std::process::id())));
    println!("the seed is {seed}: FDRING_SOAK_SEED={seed} plays the same again");
    let (mut random, begin, mut kills, mut records) = (Random(seed), Instant::now(), 0, 0);
    while begin.elapsed() < Duration::from_secs(seconds) {
        let mut succession = Succession::new(test);
        for _ in 0..random.below(KILLS_PER_LIFE_MAX + 1) {
            let mut successor = succession.successor(random.reads(), None);
            // Perhaps before it has resumed.
            if random.below(4) != 0 {
                successor.expect("resumed");
            }
            random.pause();
            successor.kill();
            kills += 1;
        }
        let last = succession.successor(random.reads(), None);
        records += succession.finish(last);
    }
    println!("proof: succession | kills {kills} | records {records} | seed {seed}");
}

/// As long as the others: in one process, collectors, feeds, taps, held records, parcels, a lane, a distributor, a
/// service and a caller come and go, while the processes at their other ends are killed. After each round its
/// descriptors, mappings, threads, children and shared memory are as before, and its other memory is no more than after
/// the first.
#[test]
fn endpoints_of_all_kinds_come_and_go_beside_kills_at_random_times_and_leave_nothing() {
    if plays_a_part() {
        return;
    }
    let test = "endpoints_of_all_kinds_come_and_go_beside_kills_at_random_times_and_leave_nothing";
    let seconds = number_from_environment("FDRING_SOAK_SECONDS").unwrap_or(SECONDS_DEFAULT);
    let seed = number_from_environment("FDRING_SOAK_SEED").unwrap_or_else(|| mix(u64::from(std::process::id())));
    println!("the seed is {seed}: FDRING_SOAK_SEED={seed} plays the same again");
    let counts = read_for(test, seconds, seed);
    println!("proof: endpoints | {counts} | seconds {seconds} | seed {seed}");
}
