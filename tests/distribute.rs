//! A distributor and its workers: processes that come, go, are killed, stand still, choke on a record, and lie.
//!
//! Every worker notes in one file what it is done with. The file is the proof: nothing is missing, nothing is there
//! twice if nobody died, and the records of a key are in order.

mod common;
#[path = "common/guest.rs"]
mod guest;
#[path = "common/hostile.rs"]
mod hostile;
#[path = "common/peer.rs"]
mod peer;

use common::{
    DEADLINE, TempDir, belongings, census, isolated, role, unique_name, wait_until, wait_until_thread_sleeps,
};
use fdring::distribute::{
    Departure, Distributor, DistributorOptions, Event, SetAside, Task, To, TooFewWorkers, Worker,
};
use fdring::errors::{ReceiveError, SendError};
use fdring::options::{LaneOptions, ServerOptions, SessionOptions, Start};
use fdring::{Attach, Consumer, Error, Interrupter, Producer, Server, Tap};
use guest::{Guest, Invited};
use hostile::{COPIES, Wire, attach_as, attached_lane};
use peer::{Peer, argument, say, told};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{SealFlags, fcntl_add_seals};
use rustix::net::Shutdown;
use rustix::process::Signal;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

const ROLES: [&str; 4] = ["worker", "worker-in-place", "worker-of-batches", "worker-of-batches-in-place"];
/// Of records that some worker chokes on.
const POISON: u64 = u64::MAX;

fn unique_address() -> String {
    format!("@{}", unique_name())
}

/// Lanes of 4 KiB, handshakes and returns without haste.
fn options() -> DistributorOptions {
    let lane = LaneOptions::new("work").capacity(4096).prefault(false);
    DistributorOptions::new().lane(lane).server(ServerOptions::new().deadline(DEADLINE))
}

/// The numbers of records, each with what makes its key.
fn record(number: u64, key: u64) -> [u8; 16] {
    let mut record = [0; 16];
    record[..8].copy_from_slice(&number.to_le_bytes());
    record[8..].copy_from_slice(&key.to_le_bytes());
    record
}

fn word(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
}

/// What the workers have noted: numbers and keys, in order.
fn noted(path: &Path) -> Vec<(u64, u64)> {
    let bytes = fs::read(path).unwrap_or_default();
    bytes.chunks_exact(16).map(|record| (word(record, 0), word(record, 8))).collect()
}

/// Checks that `count` records were worked on, each key in order; how many of them were worked on again.
fn check(path: &Path, count: u64) -> usize {
    let noted = noted(path);
    let (mut times, mut last) = (BTreeMap::new(), BTreeMap::new());
    for (number, key) in &noted {
        let times = times.entry(*number).or_insert(0_usize);
        *times += 1;
        if *key != 0 && *times == 1 {
            let before = last.insert(*key, *number);
            assert!(before.is_none_or(|before| before < *number), "record {number} of key {key} after {before:?}");
        }
    }
    let missing: Vec<u64> = (0..count).filter(|number| !times.contains_key(number)).collect();
    assert!(missing.is_empty(), "{} of {count} were lost: {missing:?}", missing.len());
    assert_eq!(times.len(), count as usize, "records that were never sent");
    noted.len() - times.len()
}

/// In a process that was started to play a role: plays it.
fn plays_a_role() -> bool {
    let plays = |role: &String| role.starts_with("owner") || role.starts_with("worker");
    let Some(role) = role().filter(plays) else { return false };
    let argument = argument();
    let (address, path) = argument.split_once(' ').unwrap();
    #[cfg(feature = "crash-points")]
    if role.starts_with("owner") {
        owners::share_out(address, Path::new(path), role == "owner-that-dies");
        return true;
    }
    let mut file = File::options().append(true).create(true).open(path).unwrap();
    let session = SessionOptions::new().patience(DEADLINE).deadline(DEADLINE).connect(address).unwrap();
    let attach = match &*role {
        // SAFETY: the distributor is this test, which keeps the protocol.
        #[allow(unsafe_code, reason = "a worker that reads in place promises that")]
        "worker-in-place" | "worker-of-batches-in-place" => unsafe { Attach::new().in_place() },
        _ => Attach::new(),
    };
    let mut worker = Worker::new(session.attach_one(attach).unwrap()).unwrap();
    say("attached");
    match &*role {
        "worker-of-batches" | "worker-of-batches-in-place" => work_in_batches(&mut worker, &mut file),
        "worker-that-waits" => {
            told();
            let first = worker.receive().unwrap().unwrap().to_vec();
            say(&format!("has {}", word(&first, 0)));
            told();
            file.write_all(&first).unwrap();
        }
        _ => {
            while let Some(task) = worker.receive().unwrap() {
                if word(&task, 0) == POISON {
                    std::process::abort();
                }
                file.write_all(&task).unwrap();
            }
        }
    }
    true
}

/// Takes up to five at a time, and is done with them from behind.
fn work_in_batches(worker: &mut Worker, file: &mut File) {
    let mut batch: Vec<Task> = Vec::new();
    loop {
        let next = if batch.is_empty() { worker.take() } else { worker.try_take() };
        let is_last = match next {
            Ok(Some(task)) => {
                batch.push(task);
                batch.len() == 5
            }
            Ok(None) | Err(ReceiveError::Empty) => true,
            Err(error) => panic!("{error}"),
        };
        if is_last && batch.is_empty() {
            return;
        }
        if is_last {
            batch.iter().for_each(|task| file.write_all(task).unwrap());
            batch.drain(..).rev().for_each(Task::done);
        }
    }
}

/// Where a test's workers are to be found, and what they note.
struct Site {
    test: &'static str,
    address: String,
    dir: TempDir,
}

impl Site {
    fn new(test: &'static str) -> Self {
        Self { test, address: unique_address(), dir: TempDir::new() }
    }

    fn log(&self) -> std::path::PathBuf {
        self.dir.path().join("done")
    }

    fn worker(&self, role: &str) -> Peer {
        self.worker_that_dies(role, None)
    }

    fn worker_that_dies(&self, role: &str, at: Option<&str>) -> Peer {
        let argument = format!("{} {}", self.address, self.log().display());
        Peer::start_with(self.test, role, &argument, at)
    }
}

/// To whom a record goes, and the key that it notes.
fn to(number: u64) -> (To, u64) {
    match number % 4 {
        0 => (To::MostRoom, 0),
        1 => (To::RoundRobin, 0),
        _ => (To::Key(1 + number / 4 % 7), 1 + number / 4 % 7),
    }
}

fn send(distributor: &mut Distributor, number: u64) {
    let (to, key) = to(number);
    distributor.send_timeout(to, &record(number, key), DEADLINE).unwrap();
}

/// Waits for such an event; others are dropped.
fn wait_for<T>(distributor: &mut Distributor, what: &str, pick: impl Fn(Event) -> Option<T>) -> T {
    let mut found = None;
    wait_until(what, || {
        while let Some(event) = distributor.try_next_event() {
            found = pick(event);
            if found.is_some() {
                return true;
            }
        }
        false
    });
    found.unwrap()
}

fn departure(event: Event) -> Option<Departure> {
    if let Event::Gone { how, .. } = event { Some(how) } else { None }
}

#[test]
fn each_record_is_worked_on_once_where_nobody_dies() {
    if plays_a_role() {
        return;
    }
    const RECORDS: u64 = 5000;
    let test = "each_record_is_worked_on_once_where_nobody_dies";
    isolated(test, || {
        let before = (census(), belongings());
        let site = Site::new(test);
        let mut distributor = options().workers_min(4).listen(site.address.as_str()).unwrap();
        let workers: Vec<Peer> = ROLES.iter().map(|role| site.worker(role)).collect();
        (0..RECORDS).for_each(|number| send(&mut distributor, number));
        let stats = distributor.stats();
        assert_eq!((stats.records, stats.joined, stats.died, stats.taken_back), (RECORDS, 4, 0, 0));
        distributor.finish_and_wait(DEADLINE).unwrap();
        workers.into_iter().for_each(Peer::finish);
        assert_eq!(check(&site.log(), RECORDS), 0, "some were worked on twice");
        drop(site);
        wait_until("all threads have ended, and everything is closed", || (census(), belongings()) == before);
    });
}

#[test]
fn workers_that_are_killed_lose_nothing() {
    if plays_a_role() {
        return;
    }
    const RECORDS: u64 = 20_000;
    let site = Site::new("workers_that_are_killed_lose_nothing");
    // Sometimes another one comes in time, sometimes not.
    let options = options().take_back_after(Duration::from_millis(2)).deaths_max(u32::MAX);
    let mut distributor = options.listen(site.address.as_str()).unwrap();
    let role = |number: u64| ROLES[number as usize % ROLES.len()];
    let mut workers: Vec<Peer> = (0..3).map(|number| site.worker(role(number))).collect();
    for number in 0..RECORDS {
        send(&mut distributor, number);
        if number % 1000 == 500 {
            let mut victim = workers.remove((number / 1000) as usize % 3);
            // Every other one may be killed before it has attached.
            if number / 1000 % 2 == 0 {
                victim.expect("attached");
            }
            victim.kill();
            workers.push(site.worker(role(number / 1000)));
        }
    }
    // One that is dead, and not known to be, may still be counted in their place.
    workers.iter_mut().for_each(|worker| worker.expect("attached"));
    // The last death may be seen after the last record was sent.
    wait_until("each death was seen", || distributor.stats().joined == distributor.stats().died + 3);
    let stats = distributor.stats();
    assert!(stats.died >= 10, "{stats:?}");
    distributor.finish_and_wait(DEADLINE).unwrap();
    workers.into_iter().for_each(Peer::finish);
    let again = check(&site.log(), RECORDS);
    println!("{again} of {RECORDS} records were worked on again; {stats:?}");
}

/// Kills a worker at each step of its life, and at each store to a word that both sides see.
#[cfg(feature = "crash-points")]
#[test]
fn workers_that_are_killed_at_any_step_lose_nothing() {
    if plays_a_role() {
        return;
    }
    const RECORDS: u64 = 1000;
    let points = [
        ("session-offer-received", 0..1),
        ("session-attach-sent", 0..1),
        ("session-attached-received", 0..1),
        ("consumer-record-found", 0..8),
        // Of those that take tasks.
        ("consumer-holds", 2..4),
        ("consumer-hold-ending", 2..4),
        ("consumer-hold-ended", 2..4),
        ("consumer-sleep-announced", 0..1),
        ("consumer-asleep", 0..1),
        ("store", 0..16),
    ];
    for (point, passes) in points {
        for round in passes {
            let role = ROLES[round as usize % ROLES.len()];
            println!("{point} {round} {role}");
            let site = Site::new("workers_that_are_killed_at_any_step_lose_nothing");
            // In turns the next one goes on, and others get it.
            let after = Duration::from_millis(20 * (round / ROLES.len() as u64 % 2));
            let options = options().workers_min(2).take_back_after(after).deaths_max(u32::MAX);
            let mut distributor = options.listen(site.address.as_str()).unwrap();
            let mut victim = site.worker_that_dies(role, Some(&format!("{point}:{}", 3 * round)));
            let other = site.worker(role);
            let mut successor = std::thread::scope(|scope| {
                let successor = scope.spawn(|| {
                    victim.dies();
                    site.worker(role)
                });
                (0..RECORDS).for_each(|number| send(&mut distributor, number));
                successor.join().unwrap()
            });
            // A victim that died at the very end may still be counted: nobody would be left to connect to.
            successor.expect("attached");
            distributor.finish_and_wait(DEADLINE).unwrap();
            [other, successor].into_iter().for_each(Peer::finish);
            check(&site.log(), RECORDS);
        }
    }
}

#[test]
fn without_any_worker_records_wait_and_the_next_one_goes_on_with_them() {
    if plays_a_role() {
        return;
    }
    let site = Site::new("without_any_worker_records_wait_and_the_next_one_goes_on_with_them");
    let mut distributor = options().take_back_after(Duration::ZERO).listen(site.address.as_str()).unwrap();
    for round in 0..3 {
        let none = distributor.try_send(To::MostRoom, b"").unwrap_err();
        assert!(matches!(none, SendError::TooFewConsumers { there: 0, wanted: 1, .. }), "{none}");
        let mut worker = site.worker("worker-that-waits");
        worker.expect("attached");
        let workers = || 10 * round..10 * (round + 1);
        workers().for_each(|number| send(&mut distributor, number));
        if round > 0 {
            // It has what the one before had left.
            assert_eq!(distributor.workers()[0].unreleased_records, 10 * (round as usize + 1));
        }
        worker.tell("");
        worker.expect("has 0");
        worker.kill();
        assert_eq!(wait_for(&mut distributor, "it is gone", departure), Departure::Died);
        assert_eq!(distributor.worker_count(), 0);
        // The third that dies at record 0 is the last that gets it.
        let kept = &distributor.workers()[0];
        let count = 10 * (round as usize + 1) - usize::from(round == 2);
        assert!(kept.consumer.is_gone && kept.unreleased_records == count, "{kept:?}");
    }
    let poison = wait_for(&mut distributor, "it is set aside", |event| match event {
        Event::SetAside(poison) => Some(poison),
        _ => None,
    });
    assert_eq!((&poison.payload[..], poison.deaths), (&record(0, 0)[..], 3));
    let worker = site.worker("worker");
    distributor.finish_and_wait(DEADLINE).unwrap();
    worker.finish();
    let rest: Vec<u64> = noted(&site.log()).into_iter().map(|(number, _)| number).collect();
    assert!(rest.iter().copied().eq(1..30), "{rest:?}");
}

#[test]
fn what_a_worker_has_left_goes_to_others_if_nobody_comes_and_each_key_in_order() {
    if plays_a_role() {
        return;
    }
    const RECORDS: u64 = 60;
    let site = Site::new("what_a_worker_has_left_goes_to_others_if_nobody_comes_and_each_key_in_order");
    let mut distributor = options().take_back_after(Duration::ZERO).listen(site.address.as_str()).unwrap();
    let mut workers: Vec<Peer> = (0..3).map(|_| site.worker("worker-that-waits")).collect();
    workers.iter_mut().for_each(|worker| worker.expect("attached"));
    distributor.wait_for_workers(3, DEADLINE).unwrap();
    (0..RECORDS).for_each(|number| send(&mut distributor, number));
    let loads = |distributor: &mut Distributor| -> Vec<usize> {
        distributor.workers().iter().map(|worker| worker.unreleased_records).collect()
    };
    let before = loads(&mut distributor);
    assert_eq!((before.len(), before.iter().sum::<usize>()), (3, RECORDS as usize));
    let victim = distributor.workers()[1].consumer.pid.unwrap();
    let index = workers.iter().position(|worker| worker.pid() == victim).unwrap();
    workers.remove(index).kill();
    let taken_back = wait_for(&mut distributor, "they are taken back", |event| match event {
        Event::TakenBack { slot: 1, records } => Some(records),
        _ => None,
    });
    assert_eq!(taken_back, before[1]);
    let after = loads(&mut distributor);
    assert_eq!((after.len(), after.iter().sum::<usize>()), (2, RECORDS as usize), "it has all there was");
    // The next one finds the slot empty, and is as good as any other.
    workers.iter().for_each(|worker| worker.signal(Signal::KILL));
    wait_until("nobody is left", || distributor.worker_count() == 0);
    let last = site.worker("worker");
    distributor.finish_and_wait(DEADLINE).unwrap();
    last.finish();
    assert_eq!(check(&site.log(), RECORDS), 0);
}

#[test]
fn a_record_that_kills_its_workers_is_set_aside_with_its_bytes_and_no_other_is() {
    if plays_a_role() {
        return;
    }
    const RECORDS: u64 = 30;
    let site = Site::new("a_record_that_kills_its_workers_is_set_aside_with_its_bytes_and_no_other_is");
    // Two workers: the record is taken back now and then, and the deaths go with it.
    let options = options().take_back_after(Duration::ZERO).deaths_max(4);
    let mut distributor = options.listen(site.address.as_str()).unwrap();
    let mut workers = vec![site.worker("worker"), site.worker("worker")];
    distributor.wait_for_workers(2, DEADLINE).unwrap();
    for number in 0..RECORDS {
        send(&mut distributor, number);
        if number == 10 {
            let mut poison = distributor.reserve_timeout(To::MostRoom, 16, DEADLINE).unwrap();
            poison.copy_from_slice(&record(POISON, 17));
            poison.set_tag(9);
            poison.commit();
        }
    }
    let (mut poison, mut died): (Option<SetAside>, u32) = (None, 0);
    wait_until("it is set aside", || {
        while let Some(event) = distributor.try_next_event() {
            match event {
                Event::SetAside(aside) => poison = Some(aside),
                Event::Gone { how: Departure::Died, .. } => {
                    died += 1;
                    workers.push(site.worker("worker"));
                }
                _ => {}
            }
        }
        poison.is_some()
    });
    let poison = poison.unwrap();
    assert_eq!((&poison.payload[..], poison.tag, poison.deaths, died), (&record(POISON, 17)[..], 9, 4, 4));
    assert_eq!(distributor.stats().set_aside, 1);
    distributor.finish_and_wait(DEADLINE).unwrap();
    drop(workers);
    check(&site.log(), RECORDS);
}

#[test]
fn workers_that_die_before_they_have_a_record_in_hand_set_nothing_aside() {
    if plays_a_role() {
        return;
    }
    let site = Site::new("workers_that_die_before_they_have_a_record_in_hand_set_nothing_aside");
    let mut distributor = options().deaths_max(1).listen(site.address.as_str()).unwrap();
    for round in 0..5 {
        let mut worker = site.worker("worker-that-waits");
        worker.expect("attached");
        send(&mut distributor, round);
        worker.kill();
        assert_eq!(wait_for(&mut distributor, "it is gone", departure), Departure::Died);
    }
    assert_eq!(distributor.stats().set_aside, 0);
    let worker = site.worker("worker");
    distributor.finish_and_wait(DEADLINE).unwrap();
    worker.finish();
    assert_eq!(check(&site.log(), 5), 0);
}

/// However often a worker leaves in order, with records that it has not taken, nothing is set aside.
#[test]
fn a_worker_who_leaves_is_no_death() {
    if plays_a_role() {
        return;
    }
    let address = unique_address();
    let mut distributor = options().deaths_max(1).listen(address.as_str()).unwrap();
    let first = Worker::connect(address.as_str()).unwrap();
    distributor.wait_for_workers(1, DEADLINE).unwrap();
    (0..5).for_each(|number| send(&mut distributor, number));
    drop(first);
    for _ in 0..3 {
        let how = wait_for(&mut distributor, "it has left", departure);
        assert_eq!(how, Departure::Left);
        drop(Worker::connect(address.as_str()).unwrap());
    }
    let mut last = Worker::connect(address.as_str()).unwrap();
    let all = std::thread::spawn(move || drain(&mut last));
    distributor.finish_and_wait(DEADLINE).unwrap();
    assert_eq!(all.join().unwrap(), [0, 1, 2, 3, 4]);
}

/// What a worker of this process has, one by one.
fn drain(worker: &mut Worker) -> Vec<u64> {
    std::iter::from_fn(|| worker.receive_timeout(DEADLINE).unwrap().map(|record| word(&record, 0))).collect()
}

#[test]
fn a_worker_that_panics_or_drops_a_task_is_not_done_with_it() {
    let address = unique_address();
    let mut distributor = options().listen(address.as_str()).unwrap();
    let connect = || Worker::connect(address.as_str()).unwrap();
    let mut worker = connect();
    (0..6).for_each(|number| send(&mut distributor, number));
    let panicked = std::thread::spawn(move || {
        assert_eq!(word(&worker.receive().unwrap().unwrap(), 0), 0);
        assert_eq!(word(&worker.receive().unwrap().unwrap(), 0), 1);
        panic!("with record 1 in hand");
    });
    assert!(panicked.join().is_err());
    assert_eq!(wait_for(&mut distributor, "it is gone", departure), Departure::Died);
    let mut worker = connect();
    let tasks: Vec<Task> = (0..3).map(|_| worker.take().unwrap().unwrap()).collect();
    assert!(tasks.iter().map(|task| word(task, 0)).eq(1..4));
    let mut tasks = tasks.into_iter();
    assert_eq!(distributor.workers()[0].unreleased_records, 5);
    tasks.next().unwrap().done();
    assert_eq!(distributor.workers()[0].unreleased_records, 4);
    drop(tasks.next());
    tasks.next().unwrap().done();
    assert_eq!(distributor.workers()[0].unreleased_records, 4, "1 is done; 3 is not, before 2 is");
    drop(worker);
    assert_eq!(wait_for(&mut distributor, "it is gone", departure), Departure::Died, "it has left something undone");
    let mut worker = connect();
    assert_eq!(word(&worker.receive().unwrap().unwrap(), 0), 2);
    // Dropped in order, it is done with what it has in hand, and with nothing else.
    drop(worker);
    assert_eq!(wait_for(&mut distributor, "it is gone", departure), Departure::Left);
    let mut worker = connect();
    let panicked = std::thread::spawn(move || {
        assert_eq!(word(&worker.receive().unwrap().unwrap(), 0), 3);
        worker.done();
        panic!("with nothing in hand");
    });
    assert!(panicked.join().is_err());
    assert_eq!(wait_for(&mut distributor, "it is gone", departure), Departure::Left, "it was done with all it read");
    let mut worker = connect();
    let rest = std::thread::spawn(move || drain(&mut worker));
    distributor.finish_and_wait(DEADLINE).unwrap();
    assert_eq!(rest.join().unwrap(), [4, 5]);
}

#[test]
fn tasks_that_outlive_their_worker_can_still_be_done() {
    let address = unique_address();
    let mut distributor = options().listen(address.as_str()).unwrap();
    let mut worker = Worker::connect(address.as_str()).unwrap();
    (0..2).for_each(|number| send(&mut distributor, number));
    let tasks: Vec<Task> = (0..2).map(|_| worker.take().unwrap().unwrap()).collect();
    drop(worker);
    let other = std::thread::spawn(move || tasks.into_iter().rev().for_each(Task::done));
    assert_eq!(wait_for(&mut distributor, "it is gone", departure), Departure::Left);
    other.join().unwrap();
    distributor.finish_and_wait(DEADLINE).unwrap();
}

#[test]
fn an_evicted_worker_gets_nothing_more_and_another_one_gets_all_of_it() {
    let address = unique_address();
    let options = options().evict_after(Duration::from_secs(3));
    let mut distributor = options.listen(address.as_str()).unwrap();
    let mut slow = Worker::connect(address.as_str()).unwrap();
    (0..5).for_each(|number| send(&mut distributor, number));
    assert_eq!(word(&slow.receive().unwrap().unwrap(), 0), 0);
    assert_eq!(wait_for(&mut distributor, "it is evicted", departure), Departure::Evicted);
    assert!(matches!(slow.receive(), Err(ReceiveError::Evicted { .. })), "though the next record is still there");
    let mut worker = Worker::connect(address.as_str()).unwrap();
    let all = std::thread::spawn(move || drain(&mut worker));
    distributor.finish_and_wait(DEADLINE).unwrap();
    assert_eq!(all.join().unwrap(), [0, 1, 2, 3, 4]);
}

#[test]
fn a_worker_that_is_evicted_by_hand_leaves_its_records_to_others() {
    let address = unique_address();
    let mut distributor = options().take_back_after(Duration::ZERO).listen(address.as_str()).unwrap();
    let [_first, mut second] = [(); 2].map(|()| Worker::connect(address.as_str()).unwrap());
    distributor.wait_for_workers(2, DEADLINE).unwrap();
    (0..4).for_each(|number| distributor.send(To::RoundRobin, &record(number, 0)).unwrap());
    let first = distributor.workers()[0].clone();
    assert!(distributor.evict(&first).unwrap());
    assert!(!distributor.evict(&first).unwrap());
    let all = std::thread::spawn(move || drain(&mut second));
    distributor.finish_and_wait(DEADLINE).unwrap();
    assert_eq!(all.join().unwrap(), [1, 3, 0, 2]);
}

#[test]
fn ordinary_consumers_go_on_where_the_last_one_stopped_wherever_they_want_to_begin() {
    let address = unique_address();
    let mut distributor = options().listen(address.as_str()).unwrap();
    let mut position = 0;
    for (number, start) in [Start::Latest, Start::Oldest, Start::Resume, Start::Latest].into_iter().enumerate() {
        let session = SessionOptions::new().deadline(DEADLINE).connect(address.as_str()).unwrap();
        let mut consumer = session.attach_one(Attach::new().start(start)).unwrap();
        send(&mut distributor, 2 * number as u64);
        send(&mut distributor, 2 * number as u64 + 1);
        assert_eq!(consumer.position(), position);
        assert_eq!(word(&consumer.receive().unwrap().unwrap(), 0), number as u64);
        position = consumer.position();
        drop(consumer);
        wait_for(&mut distributor, "it is gone", departure);
    }
    let tap = Tap::connect(address.as_str()).map(drop).unwrap_err();
    assert!(tap.to_string().contains("one worker"), "{tap}");
}

#[test]
fn a_consumer_that_has_received_records_becomes_a_worker() {
    let address = unique_address();
    let mut distributor = options().listen(address.as_str()).unwrap();
    let session = SessionOptions::new().deadline(DEADLINE).connect(address.as_str()).unwrap();
    let mut consumer = session.attach_one(Attach::new()).unwrap();
    for number in 0..2 {
        send(&mut distributor, number);
        assert_eq!(word(&consumer.receive().unwrap().unwrap(), 0), number);
    }
    let mut worker = Worker::new(consumer).unwrap();
    assert_eq!(worker.try_receive().unwrap_err(), ReceiveError::Empty);
    let unreleased = |distributor: &mut Distributor| distributor.workers()[0].unreleased_records;
    assert_eq!((unreleased(&mut distributor), distributor.worker_count()), (0, 1), "it is done with both");
    send(&mut distributor, 2);
    assert_eq!(word(&worker.try_receive().unwrap().unwrap(), 0), 2);
    assert_eq!((unreleased(&mut distributor), distributor.worker_count()), (1, 1));
    while let Some(event) = distributor.try_next_event() {
        assert_eq!(departure(event), None, "it keeps the protocol");
    }
}

#[test]
fn a_worker_takes_no_server_for_a_distributor() {
    let address = unique_address();
    let lane = Producer::create("work").unwrap();
    let _server = Server::listen(address.as_str(), [&lane]).unwrap();
    let error = Worker::connect(address.as_str()).map(drop).unwrap_err();
    assert!(error.to_string().contains("gets every record"), "{error}");
}

#[test]
fn too_few_workers_fail_or_wait_as_the_option_says() {
    let address = unique_address();
    let options = options().workers_min(2);
    let failing = options.clone().too_few_workers(TooFewWorkers::Fail);
    let mut distributor = failing.listen(address.as_str()).unwrap();
    let one = Worker::connect(address.as_str()).unwrap();
    let error = distributor.send(To::MostRoom, b"").unwrap_err();
    assert!(matches!(error, SendError::TooFewConsumers { there: 1, wanted: 2, .. }), "{error}");
    let two = Worker::connect(address.as_str()).unwrap();
    distributor.send(To::MostRoom, b"").unwrap();
    drop((one, two, distributor));

    let mut distributor = options.listen(address.as_str()).unwrap();
    let _one = Worker::connect(address.as_str()).unwrap();
    let error = distributor.send_timeout(To::MostRoom, b"", Duration::from_millis(1)).unwrap_err();
    assert!(matches!(error, SendError::TooFewConsumers { there: 1, wanted: 2, .. }), "{error}");
    let two = std::thread::spawn({
        let address = address.clone();
        move || Worker::connect(address.as_str()).unwrap()
    });
    distributor.send_timeout(To::MostRoom, b"", DEADLINE).unwrap();
    drop(two.join().unwrap());
}

#[test]
fn a_full_distributor_says_who_is_slow_and_goes_on_when_it_releases() {
    if plays_a_role() {
        return;
    }
    let address = unique_address();
    let mut distributor = options().listen(address.as_str()).unwrap();
    let mut worker = Worker::connect(address.as_str()).unwrap();
    let mut sent = 0;
    let error = loop {
        match distributor.try_send(To::MostRoom, &[0; 1000]) {
            Ok(()) => sent += 1,
            Err(error) => break error,
        }
    };
    let SendError::Full { consumer: Some(slow) } = error else { panic!("{error}") };
    assert_eq!((slow.pid, sent), (Some(std::process::id()), 4));
    let error = distributor.send_timeout(To::MostRoom, &[0; 1000], Duration::from_millis(1)).unwrap_err();
    assert!(matches!(error, SendError::TimedOut { consumer: Some(_) }), "{error}");
    let error = distributor.send(To::MostRoom, &[0; 4096]).unwrap_err();
    assert!(matches!(error, SendError::TooLong { len: 4096, .. }), "{error}");
    // While it sleeps for room, and in a loop of its caller's.
    let reader = std::thread::spawn(move || while let Ok(Some(_)) = worker.receive() {});
    for number in 0..2000 {
        if number % 2 == 0 {
            distributor.send_timeout(To::MostRoom, &[0; 1000], DEADLINE).unwrap();
            continue;
        }
        while let Err(error) = distributor.try_send(To::MostRoom, &[0; 1000]) {
            assert!(matches!(error, SendError::Full { .. }), "{error}");
            while distributor.try_next_event().is_some() {}
            if distributor.arm().unwrap() {
                let limit = Timespec::try_from(DEADLINE).unwrap();
                assert_eq!(poll(&mut [PollFd::new(&distributor, PollFlags::IN)], Some(&limit)).unwrap(), 1);
            }
        }
    }
    distributor.finish_and_wait(DEADLINE).unwrap();
    reader.join().unwrap();
}

#[test]
fn a_distributor_that_sleeps_for_room_is_woken_by_a_release() {
    let ways: [fn(&mut Worker); 2] = [Worker::done, |worker| _ = worker.receive().unwrap()];
    for release in ways {
        let address = unique_address();
        let mut distributor = options().listen(address.as_str()).unwrap();
        let mut worker = Worker::connect(address.as_str()).unwrap();
        while distributor.try_send(To::MostRoom, &[0; 1000]).is_ok() {}
        worker.receive().unwrap();
        while distributor.try_next_event().is_some() {}
        // Its second look would see a release that rings for nobody. Once it was made, there is no other as long as
        // the announcement stands, in a sleep neither.
        while !distributor.arm().unwrap() {}
        let limit = Timespec::try_from(DEADLINE).unwrap();
        assert_eq!(poll(&mut [PollFd::new(&distributor, PollFlags::IN)], Some(&limit)).unwrap(), 1);
        assert!(matches!(distributor.try_send(To::MostRoom, &[0; 1000]), Err(SendError::Full { .. })));
        while !distributor.arm().unwrap() {}
        let sleeper = rustix::thread::gettid();
        let reader = std::thread::spawn(move || {
            wait_until_thread_sleeps(sleeper);
            release(&mut worker);
            worker
        });
        distributor.send_timeout(To::MostRoom, &[0; 1000], DEADLINE / 2).unwrap();
        drop(reader.join().unwrap());
    }
}

#[test]
fn an_armed_distributor_hears_of_workers_that_come_and_go_and_of_its_own_time() {
    let address = unique_address();
    let mut distributor = options().take_back_after(Duration::from_millis(20)).listen(address.as_str()).unwrap();
    let heard = |distributor: &mut Distributor, what: &str| {
        let start = Instant::now();
        loop {
            if let Some(event) = distributor.try_next_event() {
                return event;
            }
            assert!(start.elapsed() < DEADLINE, "{what}");
            if distributor.arm().unwrap() {
                let limit = Timespec::try_from(DEADLINE).unwrap();
                assert_eq!(poll(&mut [PollFd::new(&*distributor, PollFlags::IN)], Some(&limit)).unwrap(), 1, "{what}");
            }
        }
    };
    let connect = || {
        std::thread::spawn({
            let address = address.clone();
            move || Worker::connect(address.as_str()).unwrap()
        })
    };
    let one = connect();
    assert!(matches!(heard(&mut distributor, "one has come"), Event::Joined { .. }));
    let two = connect();
    assert!(matches!(heard(&mut distributor, "two has come"), Event::Joined { .. }));
    (0..2).for_each(|number| distributor.send(To::RoundRobin, &record(number, 0)).unwrap());
    drop(one.join().unwrap());
    assert!(matches!(heard(&mut distributor, "one has gone"), Event::Gone { how: Departure::Left, .. }));
    // The timer.
    assert!(matches!(heard(&mut distributor, "its record is taken back"), Event::TakenBack { records: 1, .. }));
    drop(two.join().unwrap());
}

#[test]
fn an_interrupt_ends_the_waits_and_loses_nothing() {
    let address = unique_address();
    let stop = Interrupter::new().unwrap();
    let mut distributor = options().interrupter(&stop).listen(address.as_str()).unwrap();
    let later = std::thread::spawn({
        let stop = stop.clone();
        move || stop.interrupt()
    });
    assert_eq!(distributor.send(To::MostRoom, b"").unwrap_err(), SendError::Interrupted);
    assert_eq!(distributor.wait_for_workers(1, DEADLINE).unwrap_err(), SendError::Interrupted);
    later.join().unwrap();
    stop.clear();
    let mut worker = Worker::connect(address.as_str()).unwrap();
    send(&mut distributor, 0);
    assert_eq!(word(&worker.receive().unwrap().unwrap(), 0), 0);
}

#[test]
fn one_who_connects_and_hangs_up_a_thousand_times_costs_nothing_and_keeps_nobody_out() {
    let test = "one_who_connects_and_hangs_up_a_thousand_times_costs_nothing_and_keeps_nobody_out";
    isolated(test, || {
        let address = unique_address();
        let mut distributor = options().workers_max(8).listen(address.as_str()).unwrap();
        let mut worker = Worker::connect(address.as_str()).unwrap();
        send(&mut distributor, 0);
        let before = (census(), belongings());
        for round in 0..1000 {
            // In all its stages.
            let wire = Wire::connect(&address);
            if round % 2 == 0 {
                let _ = wire.send(&hostile::hello(&[]));
            }
            if round % 8 == 0 {
                wire.expect(&[hostile::HELLO]);
            }
        }
        wait_until("all have gone", || {
            distributor.try_next_event();
            let stats = distributor.server_stats();
            stats.accepted == 1001 && stats.refused == 1000
        });
        assert_eq!(distributor.worker_count(), 1);
        // At most as many lanes as there may be workers.
        let lanes = |text: &str| text.matches("memfd:fdring:work:data").count();
        assert!(lanes(&belongings()) <= lanes(&before.1) + 7);
        let second = Worker::connect(address.as_str()).unwrap();
        drop(second);
        assert_eq!(word(&worker.receive().unwrap().unwrap(), 0), 0);
        send(&mut distributor, 1);
        assert_eq!(word(&worker.receive().unwrap().unwrap(), 0), 1);
    });
}

#[test]
fn a_worker_that_lies_in_its_seat_is_put_out_and_others_get_its_records() {
    let address = unique_address();
    let mut distributor = options().take_back_after(Duration::ZERO).listen(address.as_str()).unwrap();
    for lie in [1, 7, 1 << 40, 1 << 62] {
        let liar = Guest::join(&address, COPIES);
        let mut honest = Worker::connect(address.as_str()).unwrap();
        distributor.wait_for_workers(2, DEADLINE).unwrap();
        (0..4).for_each(|number| distributor.send(To::RoundRobin, &record(number, 0)).unwrap());
        liar.say_consumed(liar.published() + lie);
        let got = std::thread::spawn(move || {
            let mut got = Vec::new();
            while got.len() < 4 {
                got.push(word(&honest.receive_timeout(DEADLINE).unwrap().unwrap(), 0));
            }
            got.sort_unstable();
            (got, honest)
        });
        // It waits, and so looks.
        let full = distributor.wait_for_workers(3, Duration::from_millis(50));
        assert!(matches!(full, Err(SendError::TooFewConsumers { .. })));
        assert_eq!(wait_for(&mut distributor, "it is put out", departure), Departure::Evicted, "{lie}");
        wait_until("all is given out", || distributor.worker_count() == 1 && distributor.workers().len() == 1);
        let (got, honest) = got.join().unwrap();
        assert_eq!(got, [0, 1, 2, 3], "{lie}");
        drop((liar, honest));
        wait_until("nobody is left", || distributor.worker_count() == 0);
        while distributor.try_next_event().is_some() {}
    }
}

#[test]
fn a_record_that_a_worker_makes_up_within_another_is_given_to_nobody() {
    let address = unique_address();
    let mut distributor = options().take_back_after(Duration::ZERO).listen(address.as_str()).unwrap();
    let liar = Guest::join(&address, COPIES);
    distributor.wait_for_workers(1, DEADLINE).unwrap();
    // Its last 16 bytes look like a record of 8 bytes, which ends where it ends.
    let header: u64 = 1 << 32 | 8;
    let words = [0, header, u64::MAX].map(u64::to_ne_bytes);
    distributor.send(To::MostRoom, words.as_flattened()).unwrap();
    let end = liar.published();
    distributor.send(To::MostRoom, &record(1, 0)).unwrap();
    let mut honest = Worker::connect(address.as_str()).unwrap();
    distributor.wait_for_workers(2, DEADLINE).unwrap();
    liar.say_consumed(end - 16);
    drop(liar);
    let records = wait_for(&mut distributor, "it is taken back", |event| match event {
        Event::TakenBack { records, .. } => Some(records),
        _ => None,
    });
    assert_eq!(records, 1);
    let got = honest.receive_timeout(DEADLINE).unwrap().unwrap();
    assert_eq!(word(&got, 0), 1, "{got:?}");
    honest.done();
    assert_eq!(honest.try_receive().unwrap_err(), ReceiveError::Empty);
    let stats = distributor.stats();
    assert_eq!((stats.records, stats.released), (2, 2));
}

#[test]
fn a_record_that_a_worker_makes_up_is_not_set_aside_and_one_that_is_there_is() {
    for (lie, is_record) in [(true, false), (false, true)] {
        let address = unique_address();
        let mut distributor = options().deaths_max(1).take_back_after(Duration::ZERO).listen(address.as_str()).unwrap();
        let worker = Guest::join(&address, COPIES);
        distributor.wait_for_workers(1, DEADLINE).unwrap();
        // Its last 16 bytes look like a record of 8 bytes, which ends where it ends.
        let header: u64 = 1 << 32 | 8;
        let words = [0, header, 7].map(u64::to_ne_bytes);
        distributor.send(To::MostRoom, words.as_flattened()).unwrap();
        let end = worker.published();
        distributor.send(To::MostRoom, &record(1, 0)).unwrap();
        // It dies with that in hand.
        worker.say(if lie { end - 16 } else { 0 }, end);
        drop(worker);
        wait_until("it has gone", || distributor.worker_count() == 0);
        let mut honest = Worker::connect(address.as_str()).unwrap();
        assert_eq!(word(&honest.receive_timeout(DEADLINE).unwrap().unwrap(), 0), 1);
        honest.done();
        distributor.wait_released(DEADLINE).unwrap();
        let events = std::iter::from_fn(|| distributor.try_next_event());
        let set_aside: Vec<SetAside> =
            events.filter_map(|event| if let Event::SetAside(record) = event { Some(record) } else { None }).collect();
        assert_eq!(set_aside.len(), usize::from(is_record), "{set_aside:?}");
        assert!(set_aside.iter().all(|record| record.payload[..] == *words.as_flattened() && record.deaths == 1));
        let stats = distributor.stats();
        assert_eq!((stats.records, stats.released, stats.set_aside), (2, 2 - stats.set_aside, set_aside.len() as u64));
    }
}

/// What a worker that dies with a record in hand says that it has released.
#[derive(Clone, Copy, Debug)]
enum Released {
    /// What this library says of a task that was dropped.
    ByLibrary,
    /// What a worker of another library says.
    UpTo(u64),
}

/// The protocol lets a worker say that it has released up to the padding before a record, or up to the record.
#[test]
fn a_record_in_hand_behind_padding_is_set_aside_or_given_to_another_worker() {
    // Records of 24 bytes, which end 16 bytes before the end of the ring: the next one lies behind padding.
    const FIRST: u64 = 4080 / 24;
    const BEGIN: u64 = 4096;
    for (released, deaths_max) in [Released::ByLibrary, Released::UpTo(4080), Released::UpTo(BEGIN)]
        .into_iter()
        .flat_map(|released| [(released, 1), (released, u32::MAX)])
    {
        let address = unique_address();
        let options = options().deaths_max(deaths_max).take_back_after(Duration::ZERO);
        let mut distributor = options.listen(address.as_str()).unwrap();
        let send = |distributor: &mut Distributor, number| {
            distributor.send_timeout(To::MostRoom, &record(number, 0), DEADLINE).unwrap();
        };
        let honest = match released {
            Released::ByLibrary => {
                let mut worker = Worker::connect(address.as_str()).unwrap();
                for number in 0..FIRST {
                    send(&mut distributor, number);
                    worker.take().unwrap().unwrap().done();
                }
                send(&mut distributor, FIRST);
                let task = worker.take().unwrap().unwrap();
                assert_eq!(word(&task, 0), FIRST);
                let honest = Worker::connect(address.as_str()).unwrap();
                distributor.wait_for_workers(2, DEADLINE).unwrap();
                drop((task, worker));
                honest
            }
            Released::UpTo(position) => {
                let worker = Guest::join(&address, COPIES);
                distributor.wait_for_workers(1, DEADLINE).unwrap();
                (0..FIRST).for_each(|number| send(&mut distributor, number));
                worker.say(BEGIN - 16, BEGIN - 16);
                send(&mut distributor, FIRST);
                let honest = Worker::connect(address.as_str()).unwrap();
                distributor.wait_for_workers(2, DEADLINE).unwrap();
                worker.say(position, worker.published());
                drop(worker);
                honest
            }
        };
        let mut honest = honest;
        let sets_aside = deaths_max == 1;
        let taken_back = wait_for(&mut distributor, "it is taken back", |event| match event {
            Event::SetAside(record) if sets_aside => Some(word(&record.payload, 0)),
            Event::TakenBack { records: 1, .. } if !sets_aside => Some(FIRST),
            _ => None,
        });
        assert_eq!(taken_back, FIRST, "{released:?}");
        if !sets_aside {
            assert_eq!(word(&honest.receive_timeout(DEADLINE).unwrap().unwrap(), 0), FIRST, "{released:?}");
            honest.done();
        }
        distributor.wait_released(DEADLINE).unwrap();
        assert_eq!(honest.try_receive().unwrap_err(), ReceiveError::Empty);
        let stats = distributor.stats();
        let set_aside = u64::from(sets_aside);
        assert_eq!((stats.released, stats.set_aside), (FIRST + 1 - set_aside, set_aside), "{released:?}");
    }
}

#[test]
fn a_worker_that_was_never_told_that_it_is_attached_was_never_there() {
    let address = unique_address();
    let mut distributor = options().listen(address.as_str()).unwrap();
    let before = Worker::connect(address.as_str()).unwrap();
    distributor.send_timeout(To::MostRoom, &record(1, 0), DEADLINE).unwrap();
    drop(before);
    wait_until("it has gone", || distributor.worker_count() == 0);
    while distributor.try_next_event().is_some() {}
    // Its end hears nothing any more: it cannot be told.
    let deaf = Invited::knock(&address);
    fcntl_add_seals(&deaf.seat, SealFlags::FUTURE_WRITE).unwrap();
    deaf.wire.shutdown(Shutdown::Read);
    deaf.wire.send(&attach_as(&[attached_lane(COPIES)])).unwrap();
    wait_until("its session is over", || distributor.server_stats().sessions == 0);
    drop(deaf);
    let mut worker = Worker::connect(address.as_str()).unwrap();
    assert_eq!(word(&worker.receive_timeout(DEADLINE).unwrap().unwrap(), 0), 1, "what was left is still there");
    assert!(matches!(distributor.try_next_event(), Some(Event::Joined { .. })));
    assert!(distributor.try_next_event().is_none());
    let stats = distributor.stats();
    assert_eq!((stats.joined, stats.left, stats.died), (2, 1, 0));
}

#[test]
fn a_worker_that_is_slow_to_attach_has_a_slot_of_its_own() {
    let address = unique_address();
    let mut distributor = options().workers_max(2).listen(address.as_str()).unwrap();
    let slow = Invited::knock(&address);
    let _worker = Worker::connect(address.as_str()).unwrap();
    distributor.wait_for_workers(1, DEADLINE).unwrap();
    let _slow = slow.attach(COPIES);
    distributor.wait_for_workers(2, DEADLINE).unwrap();
    let slots: Vec<usize> = distributor.workers().iter().map(|worker| worker.slot).collect();
    assert_eq!(slots, [0, 1]);
}

#[test]
fn a_worker_that_never_releases_holds_up_nobody_else() {
    let address = unique_address();
    let mut distributor = options().listen(address.as_str()).unwrap();
    let stuck = Guest::join(&address, COPIES);
    let mut worker = Worker::connect(address.as_str()).unwrap();
    distributor.wait_for_workers(2, DEADLINE).unwrap();
    let reader = std::thread::spawn(move || {
        let mut count = 0;
        while worker.receive_timeout(DEADLINE).unwrap().is_some() {
            count += 1;
        }
        count
    });
    for number in 0..2000 {
        distributor.send_timeout(To::MostRoom, &record(number, 0), DEADLINE).unwrap();
        distributor.send_timeout(To::RoundRobin, &record(number, 0), DEADLINE).unwrap();
    }
    let stuck_with = distributor.workers()[0].unreleased_records;
    let error = distributor.finish_and_wait(Duration::from_millis(50)).unwrap_err();
    let SendError::Unread { consumers } = error else { panic!("{error}") };
    assert!(consumers.iter().any(|who| who.behind_bytes >= 4096 - 24), "{consumers:?}");
    assert_eq!(reader.join().unwrap() + stuck_with, 4000);
    drop(stuck);
}

/// The time after which others get what was left begins once.
#[test]
fn workers_that_come_and_go_and_release_nothing_keep_it_from_no_other() {
    let address = unique_address();
    let connect = || Worker::connect(address.as_str()).unwrap();
    let mut distributor = options().take_back_after(Duration::from_millis(300)).listen(address.as_str()).unwrap();
    let mut workers = [connect(), connect()];
    distributor.wait_for_workers(2, DEADLINE).unwrap();
    (0..2).for_each(|number| distributor.send(To::RoundRobin, &record(number, 0)).unwrap());
    let [healthy, _] = &mut workers;
    assert_eq!(word(&healthy.receive().unwrap().unwrap(), 0), 0);
    let [mut healthy, left] = workers;
    drop(left);
    wait_until("it is taken back", || {
        wait_until("the other one is alone", || distributor.worker_count() == 1);
        drop(connect());
        std::iter::from_fn(|| distributor.try_next_event())
            .any(|event| matches!(event, Event::TakenBack { slot: 1, records: 1 }))
    });
    assert_eq!(word(&healthy.receive().unwrap().unwrap(), 0), 1);
}

#[test]
fn a_worker_too_many_is_told_which_option_says_so() {
    let refusal = |options: DistributorOptions| {
        let address = unique_address();
        let _distributor = options.listen(address.as_str()).unwrap();
        let _worker = Worker::connect(address.as_str()).unwrap();
        let error = Worker::connect(address.as_str()).unwrap_err();
        assert!(error.is_worth_retrying());
        error.to_string()
    };
    let many = refusal(options().workers_max(1));
    assert!(many.contains("`workers_max`") && !many.contains("sessions_max"), "{many}");
    let much = refusal(options().workers_max(8).memory_max(4096));
    assert!(much.contains("`memory_max`"), "{much}");
}

#[test]
fn a_place_that_a_worker_has_left_is_free_for_whoever_comes_next() {
    for options in [options().workers_max(1), options().workers_max(8).memory_max(4096)] {
        let address = unique_address();
        let _distributor = options.listen(address.as_str()).unwrap();
        (0..200).for_each(|_| drop(Worker::connect(address.as_str()).unwrap()));
    }
}

#[test]
fn users_of_a_forked_child_are_told_so() {
    let address = unique_address();
    let mut distributor = options().listen(address.as_str()).unwrap();
    assert_eq!(distributor.address().to_string(), address);
    let second = options().listen(address.as_str()).map(drop).unwrap_err();
    assert!(matches!(second, Error::AddressInUse { .. }), "{second}");
    let bad = DistributorOptions::new().lane(LaneOptions::new("").capacity(4096)).listen(unique_address());
    assert!(matches!(bad, Err(Error::Invalid(_))));
    drop(Consumer::connect(address.as_str()).unwrap());
    wait_until("it has gone", || distributor.worker_count() == 0);
}

/// A kill at each step of the owner. What it had not seen released it cannot know of, and its successor sends it again.
#[cfg(feature = "crash-points")]
mod owners {
    use super::*;
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicBool, Ordering};

    const RECORDS: u64 = 400;
    /// The number that is sent before their release is waited for and noted.
    const PART: u64 = 8;
    /// How long nobody is waited for in vain.
    const PAUSE: Duration = Duration::from_millis(10);

    /// The owner: begins behind what is noted. One that is to die goes on until it does: how soon it comes to where it
    /// is killed depends on who loses the processor.
    pub(super) fn share_out(address: &str, path: &Path, dies: bool) {
        let options = options().workers_min(2).take_back_after(Duration::ZERO).deaths_max(u32::MAX);
        let mut distributor = options.listen(address).unwrap();
        let mut file = File::options().append(true).create(true).open(path).unwrap();
        let end = if dies { u64::MAX } else { RECORDS };
        for from in (released(path)..end).step_by(PART as usize) {
            (from..from + PART).for_each(|number| send(&mut distributor, number));
            distributor.wait_released(DEADLINE).unwrap();
            file.write_all(&(from + PART).to_le_bytes()).unwrap();
        }
        distributor.finish_and_wait(DEADLINE).unwrap();
    }

    fn released(path: &Path) -> u64 {
        fs::read(path).ok().and_then(|bytes| bytes.chunks_exact(8).next_back().map(|last| word(last, 0))).unwrap_or(0)
    }

    fn connect(address: &str, patience: Duration) -> Option<Consumer> {
        let session = SessionOptions::new().patience(patience).deadline(DEADLINE).connect(address);
        session.and_then(|session| session.attach_one(Attach::new())).ok()
    }

    /// Says by its drop, also by that of a test that fails, that nobody need go on.
    struct End<'a>(&'a AtomicBool);

    impl Drop for End<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    /// A worker that goes from one owner to the next, until one has finished.
    fn work(address: &str, done: &Mutex<Vec<u64>>, is_over: &AtomicBool) {
        while !is_over.load(Ordering::Relaxed) {
            let Some(Ok(mut worker)) = connect(address, PAUSE).map(Worker::new) else { continue };
            let end = loop {
                match worker.receive() {
                    Ok(Some(task)) => done.lock().unwrap().push(word(&task, 0)),
                    end => break end.map(drop),
                }
            };
            match end {
                Ok(()) => return,
                Err(error) => assert!(matches!(error, ReceiveError::PeerDead | ReceiveError::HungUp), "{error:?}"),
            }
        }
    }

    /// Workers that leave what they were given, one after another.
    fn leave_it(address: &str, are_enough: &AtomicBool) {
        while !are_enough.load(Ordering::Relaxed) {
            let Some(mut consumer) = connect(address, PAUSE) else { continue };
            // However long the owner takes to send: it is waited for, and given something sooner or later.
            while !consumer.has_news() && !are_enough.load(Ordering::Relaxed) {
                std::thread::yield_now();
            }
        }
    }

    #[test]
    fn an_owner_that_is_killed_at_any_step_loses_nothing_and_doubles_only_what_it_was_not_sure_of() {
        if plays_a_role() {
            return;
        }
        let test = "owners::an_owner_that_is_killed_at_any_step_loses_nothing_and_doubles_only_what_it_was_not_sure_of";
        let points: [(&str, &[u32]); 19] = [
            ("server-before-bind", &[0]),
            ("server-listening", &[0]),
            ("steward-accepted", &[0, 1, 2]),
            ("steward-hello-heard", &[0, 1, 2]),
            ("steward-seat-made", &[0, 1, 2]),
            ("steward-hello-sent", &[0, 1, 2]),
            ("steward-offer-sent", &[0, 1, 2]),
            ("steward-attach-heard", &[0, 1, 2]),
            ("steward-joined", &[0, 1, 2]),
            ("steward-attached-sent", &[0, 1, 2]),
            ("steward-left", &[0, 1]),
            ("producer-before-header", &[0, 20, 90]),
            ("producer-before-publication", &[0, 20, 90]),
            ("producer-after-publication", &[0, 20, 90]),
            ("producer-before-bell", &[0, 3]),
            ("producer-after-bell", &[0, 3]),
            ("store", &[0, 30, 100, 300]),
            ("distributor-taken-back", &[0, 1]),
            ("distributor-given-out-again", &[0, 1, 5]),
        ];
        for (point, passes) in points {
            for pass in passes {
                println!("{point}:{pass}");
                let site = Site::new(test);
                let (done, are_enough, is_over) = (Mutex::default(), AtomicBool::new(false), AtomicBool::new(false));
                let mut doomed = site.worker_that_dies("owner-that-dies", Some(&format!("{point}:{pass}")));
                let seen = std::thread::scope(|scope| {
                    let _end = (End(&are_enough), End(&is_over));
                    (0..2).for_each(|_| _ = scope.spawn(|| work(&site.address, &done, &is_over)));
                    let leaving = scope.spawn(|| leave_it(&site.address, &are_enough));
                    doomed.dies();
                    let seen = released(&site.log());
                    drop(End(&are_enough));
                    leaving.join().unwrap();
                    site.worker("owner").finish();
                    seen
                });
                let done = done.into_inner().unwrap();
                let mut last = BTreeMap::new();
                for number in 0..RECORDS {
                    let times = done.iter().filter(|other| **other == number).count();
                    let is_unsure = (seen..seen + PART).contains(&number);
                    assert!(times == 1 || is_unsure && times == 2, "{point}:{pass}: {number} came {times} times");
                    let at = done.iter().position(|other| *other == number);
                    let (_, key) = to(number);
                    assert!(
                        key == 0 || last.insert(key, at).is_none_or(|before| before < at),
                        "{number} before its turn"
                    );
                }
            }
        }
    }
}
