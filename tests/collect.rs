//! A collector, and producers that connect to it: processes that come, go, are killed, are stopped and lie.
#![allow(unsafe_code, reason = "a promise about this program's own producer, and processes that are forked")]

mod common;
#[path = "common/hostile.rs"]
mod hostile;
#[path = "common/impostor.rs"]
mod impostor;
#[path = "common/marks.rs"]
mod marks;
#[path = "common/peer.rs"]
mod peer;
#[path = "common/stage.rs"]
mod stage;

use std::collections::BTreeMap;
use std::io::{PipeWriter, Read, Write};
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use common::{DEADLINE, belongings, census, isolated, role, unique_name, wait_until, wait_until_process_sleeps};
use fdring::collect::{Collector, CollectorOptions, Event, Origin};
use fdring::errors::{ErrorKind, ReceiveError};
use fdring::options::{LaneOptions, ServerOptions, SessionListenerOptions, SessionOptions, Start};
use fdring::{Attach, Interrupter, Producer, Server, Session};
use hostile::*;
use impostor::{CAPACITY, Goods, offer};
use marks::{borrowed, mark_of, marks};
use peer::{Peer, argument, say, told};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, setrlimit};

/// What a client sends, and how much of it before it connects.
const RECORDS: u64 = 100;
const BEFORE: u64 = 5;

fn unique_address() -> String {
    format!("@{}", unique_name())
}

fn options(sessions_max: usize) -> CollectorOptions {
    let each = SessionOptions::new().deadline(DEADLINE);
    CollectorOptions::new().listener(SessionListenerOptions::new().sessions(each).sessions_max(sessions_max))
}

/// In a process that was started to play a role: plays it, and says so.
fn plays_a_role() -> bool {
    match role().as_deref() {
        Some("client") => client(),
        Some("nursery") => nursery(),
        Some("collector") => {
            allow_all_descriptors();
            let argument = argument();
            let (address, clients) = argument.split_once(' ').unwrap();
            let mut collector = options(usize::MAX).listen(address).unwrap();
            say("listening");
            let clients: usize = clients.parse().unwrap();
            let counts = read(&mut collector, clients).into_values();
            say(&format!("{:?}", counts.fold(BTreeMap::new(), count)));
        }
        _ => return false,
    }
    true
}

/// As many descriptors as this process may have: a session takes several.
fn allow_all_descriptors() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).unwrap();
}

/// Forks as many clients as it is told, which all come at once and end in order. It says when half of them and when
/// all of them are about to connect, and in how many milliseconds they have come and gone.
///
/// It never uses the library itself: its children may.
fn nursery() {
    let argument = argument();
    let (address, _) = argument.split_once(' ').unwrap();
    say("ready");
    while let Ok(clients) = told().parse::<usize>() {
        let begin = Instant::now();
        let (mut connecting, connects) = std::io::pipe().unwrap();
        let pids: Vec<i32> = (0..clients).map(|_| fork_client(address, &connects)).collect();
        drop(connects);
        let mut hear = |count: usize| connecting.read_exact(&mut vec![0; count]).unwrap();
        hear(clients / 2);
        say("half connect");
        hear(clients - clients / 2);
        say("all connect");
        for pid in pids {
            let mut status = 0;
            // SAFETY: it waits for a child of ours, once, and stores into `status`.
            let waited = unsafe { libc::waitpid(pid, &mut status, 0) };
            assert_eq!((waited, status), (pid, 0), "a client failed");
        }
        say(&begin.elapsed().as_millis().to_string());
    }
}

/// Forks a process that is a client and exits at once; its number.
fn fork_client(address: &str, mut connects: &PipeWriter) -> i32 {
    // SAFETY: the child uses nothing that another thread may have locked: the only one waits for this test to end.
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0, "no child: {}", std::io::Error::last_os_error());
    if pid == 0 {
        let life = || {
            connects.write_all(b"!").unwrap();
            live(address, "finish");
        };
        let has_failed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(life)).is_err();
        // SAFETY: it ends this process, and nothing else: the test's harness is the parent's.
        unsafe { libc::_exit(i32::from(has_failed)) }
    }
    pid
}

/// How often each end came.
fn count(mut counts: BTreeMap<String, usize>, end: String) -> BTreeMap<String, usize> {
    *counts.entry(end).or_default() += 1;
    counts
}

/// A client that sends numbers from 0 on, and ends as it is told.
fn client() {
    let argument = argument();
    let [address, ending] = argument.split(' ').collect::<Vec<_>>()[..] else { panic!("{argument}") };
    live(address, ending);
}

fn live(address: &str, ending: &str) {
    let mut lane = LaneOptions::new("numbers").capacity(1 << 16).prefault(false).create().unwrap();
    // A lane is read from its beginning, before the collector knew of it.
    (0..BEFORE).for_each(|number| lane.send(&number.to_le_bytes()).unwrap());
    let _link = ServerOptions::new().deadline(DEADLINE).patience(DEADLINE).connect(address, [&lane]).unwrap();
    let mut numbers = BEFORE..;
    let mut send = |count: u64| {
        (&mut numbers).take(count as usize).for_each(|number| lane.send(&number.to_le_bytes()).unwrap());
    };
    match ending {
        "finish" => send(RECORDS - BEFORE),
        "die" => {
            send(RECORDS - BEFORE);
            kill_process(rustix::process::getpid(), Signal::KILL).unwrap();
        }
        "run" => loop {
            send(RECORDS);
        },
        other => panic!("{other}?"),
    }
}

/// Reads until `lanes` lanes have ended: how each did, and how many records it had. Checks the order of all events.
fn read(collector: &mut Collector, lanes: usize) -> BTreeMap<u64, String> {
    let (mut next, mut ends) = (BTreeMap::new(), BTreeMap::new());
    while ends.len() < lanes {
        let end = match collector.next_timeout(DEADLINE).unwrap() {
            Event::Joined(origin) => {
                assert_eq!(next.insert(origin.number(), 0_u64), None, "joined twice");
                continue;
            }
            Event::Record(origin, record) => {
                let next = next.get_mut(&origin.number()).expect("it has joined");
                assert_eq!(record[..8], next.to_le_bytes(), "a record is missing, or came twice");
                *next += 1;
                continue;
            }
            Event::Finished(origin) => (origin.number(), "finished".to_owned()),
            // One that dies on a busy machine may hang up long before it has ended.
            Event::Lost(origin, ReceiveError::PeerDead | ReceiveError::HungUp) => (origin.number(), "dead".to_owned()),
            Event::Lost(origin, why) => (origin.number(), why.to_string()),
            other => panic!("{other:?}"),
        };
        let records = next.remove(&end.0).expect("it has joined, and has not ended before");
        assert_eq!(ends.insert(end.0, format!("{records} {}", end.1)), None);
    }
    ends
}

#[test]
fn clients_that_send_and_exit_at_once_lose_nothing() {
    if plays_a_role() {
        return;
    }
    isolated("clients_that_send_and_exit_at_once_lose_nothing", || {
        let test = "clients_that_send_and_exit_at_once_lose_nothing";
        let before = (census(), belongings());
        let address = unique_address();
        let mut collector = options(64).listen(address.as_str()).unwrap();
        for round in 0..4 {
            let ending = if round % 2 == 0 { "finish" } else { "die" };
            let clients: Vec<Peer> =
                (0..16).map(|_| Peer::start(test, "client", &format!("{address} {ending}"))).collect();
            let end = if round % 2 == 0 { "finished" } else { "dead" };
            let ends = read(&mut collector, clients.len());
            assert!(ends.values().all(|as_told| *as_told == format!("{RECORDS} {end}")), "{ends:?}");
            assert_eq!(ends.len(), clients.len());
            drop(clients);
            assert_eq!(collector.lane_count(), 0);
        }
        drop(collector);
        wait_until("all threads have ended, and everything is closed", || (census(), belongings()) == before);
    });
}

#[test]
fn clients_of_a_stopped_collector_lose_nothing() {
    if plays_a_role() {
        return;
    }
    const CLIENTS: usize = 40;
    let test = "clients_of_a_stopped_collector_lose_nothing";
    let address = unique_address();
    let mut collector = Peer::start(test, "collector", &format!("{address} {CLIENTS}"));
    assert_eq!(collector.heard(), "listening");
    let pid = Pid::from_raw(collector.pid().cast_signed()).unwrap();
    kill_process(pid, Signal::STOP).unwrap();
    let clients: Vec<Peer> =
        (0..CLIENTS).map(|n| Peer::start(test, "client", &format!("{address} {}", ["finish", "die"][n % 2]))).collect();
    // For the first word of the collector's.
    clients.iter().for_each(|client| wait_until_process_sleeps(client.pid()));
    kill_process(pid, Signal::CONT).unwrap();
    let half = CLIENTS / 2;
    assert_eq!(collector.heard(), format!("{{\"{RECORDS} dead\": {half}, \"{RECORDS} finished\": {half}}}"));
    drop(clients);
}

/// As many as `FDRING_CLIENTS` says, else 1,000, in crowds of 250 at once. In the middle of each third crowd the
/// collector is stopped.
#[test]
fn a_crowd_of_clients_that_exit_at_once_loses_nothing() {
    if plays_a_role() {
        return;
    }
    let test = "a_crowd_of_clients_that_exit_at_once_loses_nothing";
    let clients = std::env::var("FDRING_CLIENTS").map_or(1000, |text| text.parse::<usize>().unwrap());
    let argument = format!("{} {clients}", unique_address());
    let mut collector = Peer::start(test, "collector", &argument);
    collector.expect("listening");
    let mut nursery = Peer::start(test, "nursery", &argument);
    nursery.expect("ready");
    let mut come = |count: usize, stops: bool| {
        nursery.tell(&count.to_string());
        nursery.expect("half connect");
        if stops {
            collector.stop();
        }
        nursery.expect("all connect");
        if stops {
            collector.signal(Signal::CONT);
        }
        let millis: u64 = nursery.heard().parse().unwrap();
        println!("{count} clients in {millis} ms: {} in a second", count as u64 * 1000 / millis.max(1));
    };
    let mut left = clients;
    for number in 1.. {
        let crowd = left.min(250);
        come(crowd, number % 3 == 0);
        left -= crowd;
        if left == 0 {
            break;
        }
    }
    collector.expect(&format!("{{\"{RECORDS} finished\": {clients}}}"));
    nursery.finish();
    collector.finish();
}

#[test]
fn what_was_published_before_a_kill_is_read_and_no_other_lane_notices() {
    if plays_a_role() {
        return;
    }
    let test = "what_was_published_before_a_kill_is_read_and_no_other_lane_notices";
    let address = unique_address();
    let mut collector = options(64).listen(address.as_str()).unwrap();
    let mut clients: Vec<Option<Peer>> =
        (0..6).map(|_| Some(Peer::start(test, "client", &format!("{address} run")))).collect();
    let (mut next, mut pids, mut died) = (BTreeMap::new(), BTreeMap::new(), 0);
    while died < clients.len() {
        match collector.next_timeout(DEADLINE).unwrap() {
            Event::Joined(origin) => {
                next.insert(origin.number(), 0_u64);
                pids.insert(origin.number(), origin.pid().unwrap());
            }
            Event::Record(origin, record) => {
                let number = origin.number();
                let next = next.get_mut(&number).unwrap();
                assert_eq!(record[..8], next.to_le_bytes());
                *next += 1;
                // Each at another moment of its life.
                if *next == 100 + 1000 * number {
                    let client =
                        clients.iter_mut().find(|client| client.as_ref().map(Peer::pid) == Some(pids[&number]));
                    drop(client.unwrap().take()); // killed
                }
            }
            Event::Lost(origin, ReceiveError::PeerDead | ReceiveError::HungUp) => {
                assert!(next[&origin.number()] >= 100 + 1000 * origin.number());
                died += 1;
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(collector.lane_count(), 0);
}

#[test]
fn producers_that_fall_silent_or_lie_keep_nobody_waiting() {
    if plays_a_role() {
        return;
    }
    let test = "producers_that_fall_silent_or_lie_keep_nobody_waiting";
    let address = unique_address();
    let each = SessionOptions::new().deadline(Duration::from_secs(3));
    let listener = SessionListenerOptions::new().sessions(each);
    let mut collector = CollectorOptions::new().listener(listener).listen(address.as_str()).unwrap();
    let knock = |_| {
        let wire = Wire::connect(&address);
        assert_eq!(wire.recv().expect("a Hello").bytes, hello(&[]));
        wire
    };
    // One says nothing, one nothing but Hello; two offer a lane, and one of them answers that it starts nowhere.
    let silent: Vec<Wire> = (0..4).map(knock).collect();
    let goods = [Goods::new(CAPACITY), Goods::new(CAPACITY)];
    silent[1].send(&producer_hello()).unwrap();
    for (wire, goods) in silent[2..].iter().zip(&goods) {
        wire.send(&producer_hello()).unwrap();
        wire.send_fds(&offer(CAPACITY), &goods.fds()).unwrap();
    }
    let clients: Vec<Peer> = (0..4).map(|_| Peer::start(test, "client", &format!("{address} finish"))).collect();
    let (mut finished, mut refused, mut has_lied) = (0, vec![], false);
    while finished < clients.len() || refused.len() < 2 {
        match collector.next_timeout(DEADLINE).unwrap() {
            Event::Finished(_) => finished += 1,
            Event::Refused(fault) => {
                assert_eq!(fault.pid, Some(std::process::id()));
                refused.push(fault.error.kind());
            }
            Event::Lost(origin, why) => panic!("{}: {why}", origin.lane().name),
            _ => {}
        }
        // The others go on meanwhile.
        if !has_lied && collector.lane_count() != 0 {
            silent[3].expect(&[ATTACH]);
            silent[3].send(b"no frame").unwrap();
            has_lied = true;
        }
    }
    assert_eq!((finished, refused.len(), collector.lane_count()), (4, 2, 0), "{refused:?}");
    let stats = collector.stats();
    assert_eq!((stats.joined, stats.finished, stats.lost, stats.refused), (4, 4, 0, 2));
    // Those who never offered anything were refused before.
    wait_until("they are counted", || collector.stats().listener.refused == 2);
    assert_eq!(stats.listener.accepted, 8);
    assert!(refused.contains(&ErrorKind::TimedOut), "{refused:?}");
    assert!(refused.contains(&ErrorKind::Peer), "{refused:?}");
}

#[test]
fn each_session_is_attached_to_as_is_chosen_for_it() {
    let address = unique_address();
    // By what the kernel knows of it, and what it offers: it is this very process, and keeps the protocol.
    let chosen = options(8).attach(|session| match session.lanes()[0].name.as_str() {
        // SAFETY: as said.
        "trusted" if session.producer_pid() == Some(std::process::id()) => unsafe { Attach::new().in_place() },
        _ => Attach::new().start(Start::Latest),
    });
    let mut collector = chosen.listen(address.as_str()).unwrap();
    let clients = ["trusted", "copied"].map(|name| {
        let address = address.clone();
        std::thread::spawn(move || {
            let mut lane = LaneOptions::new(name).create().unwrap();
            lane.send(b"before it connects").unwrap();
            ServerOptions::new().deadline(DEADLINE).connect(address.as_str(), [&lane]).map(drop)
        })
    });
    let (mut records, mut ended) = (vec![], 0);
    while ended < 2 {
        match collector.next_timeout(DEADLINE).unwrap() {
            Event::Joined(origin) => {
                let origin = origin.clone();
                let mut consumers = collector.consumers();
                let (_, consumer) = consumers.find(|(other, _)| other.number() == origin.number()).unwrap();
                assert_eq!(consumer.reads_in_place(), origin.lane().name == "trusted");
            }
            Event::Record(origin, record) => {
                assert_eq!(record[..], *b"before it connects", "the start is not theirs to choose");
                records.push((origin.lane().name.clone(), record.into_owned().is_held()));
            }
            Event::Finished(_) => ended += 1,
            other => panic!("{other:?}"),
        }
    }
    records.sort();
    assert_eq!(records, [("copied".to_owned(), false), ("trusted".to_owned(), true)]);
    clients.into_iter().for_each(|client| client.join().unwrap().unwrap());
}

/// They come to a collector that asks for them, with exactly their record, also after the producer has gone.
#[test]
fn descriptors_come_with_records_where_they_are_asked_for() {
    let address = unique_address();
    let ask = |session: &Session| Attach::new().attachments(session.lanes()[0].attachments_max != 0);
    let mut collector = options(8).attach(ask).listen(address.as_str()).unwrap();
    let clients = [("plain", 0), ("one", 1), ("three", 3)].map(|(name, max)| {
        let address = address.clone();
        std::thread::spawn(move || {
            let mut lane = LaneOptions::new(name).capacity(4096).attachments(max).create().unwrap();
            let _link = lane.connect(address.as_str()).unwrap();
            for number in 0..50_u64 {
                lane.send_with_fds(&number.to_le_bytes(), &borrowed(&marks(number, max as u64))).unwrap();
            }
        })
    });
    let (mut finished, mut taken) = (0, 0);
    while finished < 3 {
        match collector.next_timeout(DEADLINE).unwrap() {
            Event::Record(origin, record) => {
                let number = u64::from_le_bytes(record[..8].try_into().unwrap());
                let fds = record.take_fds().unwrap();
                assert_eq!(fds.len(), origin.lane().attachments_max);
                taken += fds.len();
                assert!(fds.iter().enumerate().all(|(index, fd)| mark_of(fd) == [number, index as u64]));
            }
            Event::Finished(_) => finished += 1,
            Event::Joined(_) => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(taken, 50 * (1 + 3));
    clients.into_iter().for_each(|client| client.join().unwrap());
}

#[test]
fn every_lane_has_its_turn() {
    let address = unique_address();
    let mut collector = options(8).listen(address.as_str()).unwrap();
    let clients = ["busy", "long", "rare"].map(|name| {
        let address = address.clone();
        std::thread::spawn(move || {
            let lane = LaneOptions::new(name).capacity(1 << 20).prefault(false).create().unwrap();
            (lane.connect(address.as_str()).unwrap(), lane)
        })
    });
    for _ in 0..3 {
        assert!(matches!(collector.next_timeout(DEADLINE).unwrap(), Event::Joined(_)));
    }
    let mut clients = clients.map(|client| client.join().unwrap());
    // All of it is there at once.
    for ((_, lane), (payload, count)) in clients.iter_mut().zip([(8, 5000), (4096, 200), (8, 3)]) {
        (0..count).for_each(|_| lane.send(&vec![7; payload]).unwrap());
    }
    let (mut runs, mut rare, mut runs_to_rare) = (Vec::<(String, usize)>::new(), 0, 0);
    let turns_of = |runs: &[(String, usize)], lane| runs.iter().filter(|(name, _)| name == lane).count();
    // Until each has had its turn, in whatever order they came.
    for _ in 0..5000 + 200 + 3 {
        if rare == 3 && turns_of(&runs, "busy") >= 2 && turns_of(&runs, "long") >= 2 {
            break;
        }
        let Event::Record(origin, _) = collector.next_timeout(DEADLINE).unwrap() else { continue };
        let name = origin.lane().name.clone();
        rare += usize::from(name == "rare");
        match runs.last_mut() {
            Some((last, count)) if *last == name => *count += 1,
            _ => runs.push((name, 1)),
        }
        if rare == 3 && runs_to_rare == 0 {
            runs_to_rare = runs.len();
        }
    }
    // 256 records, or 64 KiB of them.
    for (name, count) in &runs {
        assert!(*count <= if name == "long" { 16 } else { 256 }, "{runs:?}");
    }
    assert!(runs_to_rare <= 4, "those with less wait no longer than a turn of each other: {runs:?}");
}

/// A lane that a thread has connected and the collector has seen join.
fn joined(collector: &mut Collector, address: &str) -> (Producer, Server) {
    let client = std::thread::spawn({
        let address = address.to_owned();
        move || {
            let lane = LaneOptions::new("lane").capacity(1 << 16).prefault(false).create().unwrap();
            let link = lane.connect(address.as_str()).unwrap();
            (lane, link)
        }
    });
    assert!(matches!(collector.next_timeout(DEADLINE).unwrap(), Event::Joined(_)));
    client.join().unwrap()
}

#[test]
fn a_collector_that_is_asked_without_waits_has_no_producer_ring_and_misses_nothing() {
    let address = unique_address();
    let mut collector = options(8).listen(address.as_str()).unwrap();
    let (mut first, _first_link) = joined(&mut collector, &address);
    let (mut second, _second_link) = joined(&mut collector, &address);
    // The first is armed by the wait for the second; its ring disarms it.
    first.send(b"awake").unwrap();
    assert!(matches!(collector.try_next().unwrap(), Event::Record(origin, _) if origin.number() == 0));
    let rung = first.stats().bells_rung;
    for number in 0..1000_u64 {
        assert_eq!(collector.try_next().unwrap_err(), ReceiveError::Empty);
        for (index, lane) in [&mut first, &mut second].into_iter().enumerate() {
            lane.send(&number.to_le_bytes()).unwrap();
            let Event::Record(origin, record) = collector.try_next().unwrap() else {
                panic!("record {number} is there")
            };
            assert_eq!((origin.number(), &record[..]), (index as u64, &number.to_le_bytes()[..]));
        }
    }
    assert_eq!((first.stats().bells_rung, second.stats().bells_rung), (rung, 0));
    // What is no record is seen in the same way: an end in order, and another.
    assert_eq!(collector.try_next().unwrap_err(), ReceiveError::Empty);
    first.finish();
    assert!(matches!(collector.try_next().unwrap(), Event::Finished(origin) if origin.number() == 0));
    assert_eq!(collector.try_next().unwrap_err(), ReceiveError::Empty);
    second.consumers().iter().for_each(|consumer| assert!(second.evict(consumer).unwrap()));
    wait_until("it hears that it was evicted", || match collector.try_next() {
        Ok(Event::Lost(origin, ReceiveError::Evicted { .. })) => origin.number() == 1,
        Err(ReceiveError::Empty) => false,
        other => panic!("{other:?}"),
    });
    let client = std::thread::spawn(move || {
        let lane = Producer::create("lane").unwrap();
        (lane.connect(address.as_str()).unwrap(), lane)
    });
    wait_until("another joins", || matches!(collector.try_next(), Ok(Event::Joined(_))));
    drop(client.join().unwrap());
}

#[test]
fn a_lane_that_rings_waits_for_no_more_than_a_turn_of_one_that_is_always_busy() {
    let address = unique_address();
    let mut collector = options(8).listen(address.as_str()).unwrap();
    let (mut busy, _busy_link) = joined(&mut collector, &address);
    let (mut rare, _rare_link) = joined(&mut collector, &address);
    // It falls asleep, and so arms both.
    assert_eq!(collector.next_timeout(Duration::from_millis(10)).unwrap_err(), ReceiveError::TimedOut);
    // On a busy machine its time may be up before it is asleep.
    while !collector.arm().unwrap() {}
    (0..700).for_each(|_| busy.send(b"busy").unwrap());
    assert!(matches!(collector.next_timeout(DEADLINE).unwrap(), Event::Record(origin, _) if origin.number() == 0));
    rare.send(b"rare").unwrap();
    assert_eq!(rare.stats().bells_rung, 1, "it is armed");
    let before = (1..700).take_while(|_| match collector.next_timeout(DEADLINE).unwrap() {
        Event::Record(origin, _) => origin.number() == 0,
        other => panic!("{other:?}"),
    });
    let before = before.count();
    assert!(before <= 256, "{before} records of the other one came first");
}

#[test]
fn lanes_that_are_busy_take_turns_while_none_of_them_is_armed() {
    let address = unique_address();
    let mut collector = options(8).listen(address.as_str()).unwrap();
    let mut lanes = [joined(&mut collector, &address), joined(&mut collector, &address)];
    // What rings is looked at, and not armed again.
    lanes.iter_mut().for_each(|(lane, _)| lane.send(b"awake").unwrap());
    (0..2).for_each(|_| assert!(matches!(collector.try_next(), Ok(Event::Record(..)))));
    assert_eq!(collector.try_next().unwrap_err(), ReceiveError::Empty);
    let rung = lanes.each_ref().map(|(lane, _)| lane.stats().bells_rung);
    for (lane, _) in &mut lanes {
        (0..2000).for_each(|_| lane.send(b"busy").unwrap());
    }
    assert_eq!(lanes.each_ref().map(|(lane, _)| lane.stats().bells_rung), rung, "one was armed");
    let mut runs = Vec::<(u64, usize)>::new();
    for _ in 0..4000 {
        let Event::Record(origin, _) = collector.try_next().unwrap() else { panic!("records are there") };
        match runs.last_mut() {
            Some((last, count)) if *last == origin.number() => *count += 1,
            _ => runs.push((origin.number(), 1)),
        }
    }
    assert!(runs.iter().all(|(_, count)| *count <= 256), "{runs:?}");
}

#[test]
fn one_that_joins_is_heard_of_while_a_lane_is_always_busy() {
    let address = unique_address();
    let mut collector = options(8).listen(address.as_str()).unwrap();
    let (mut busy, _link) = joined(&mut collector, &address);
    (0..200).for_each(|_| busy.send(b"work").unwrap());
    let client = std::thread::spawn(move || {
        let lane = Producer::create("lane").unwrap();
        (lane.connect(address.as_str()).unwrap(), lane)
    });
    let start = Instant::now();
    while !matches!(collector.next_timeout(DEADLINE).unwrap(), Event::Joined(_)) {
        busy.send(b"work").unwrap();
        assert!(start.elapsed() < DEADLINE, "it is never heard of");
    }
    drop(client.join().unwrap());
}

#[test]
fn a_wait_that_spins_has_no_producer_ring() {
    // Each time a new one: who loses its processor in several spins does without for a while.
    for _ in 0..10 {
        let address = unique_address();
        let mut collector = options(8).spin(Duration::MAX).listen(address.as_str()).unwrap();
        let (mut lane, _link) = joined(&mut collector, &address);
        std::thread::scope(|scope| {
            let waits = scope.spawn(move || matches!(collector.next_timeout(DEADLINE).unwrap(), Event::Record(..)));
            // Meanwhile it begins to wait, most often.
            (0..1000).for_each(|_| std::thread::yield_now());
            lane.send(b"work").unwrap();
            assert!(waits.join().unwrap());
        });
        assert_eq!(lane.stats().bells_rung, 0);
    }
}

#[test]
fn a_lane_at_its_turn_is_counted_and_can_be_armed() {
    let address = unique_address();
    let mut collector = options(8).listen(address.as_str()).unwrap();
    let (mut lane, _link) = joined(&mut collector, &address);
    (0..2).for_each(|_| lane.send(b"there").unwrap());
    assert!(matches!(collector.next_timeout(DEADLINE).unwrap(), Event::Record(..)));
    let numbers: Vec<u64> = collector.consumers().map(|(origin, _)| origin.number()).collect();
    assert_eq!((numbers, collector.lane_count(), collector.stats().records), (vec![0], 1, 1));
    assert!(!collector.arm().unwrap(), "the other record is there");
    assert!(matches!(collector.try_next().unwrap(), Event::Record(..)));
    wait_until("all that was there is taken", || collector.arm().unwrap());
    let rung = lane.stats().bells_rung;
    lane.send(b"awake").unwrap();
    assert_eq!(lane.stats().bells_rung, rung + 1, "it is armed");
    assert!(matches!(collector.try_next().unwrap(), Event::Record(..)));
}

#[test]
fn many_events_come_in_runs_of_one_lane_that_are_no_longer_than_its_turn() {
    let address = unique_address();
    let mut collector = options(8).listen(address.as_str()).unwrap();
    let (mut lanes, _links): (Vec<_>, Vec<_>) = (0..3).map(|_| joined(&mut collector, &address)).unzip();
    for (lane, (payload, count)) in lanes.iter_mut().zip([(8, 3000), (4096, 10), (8, 3)]) {
        (0..count).for_each(|number: u64| {
            let mut record = vec![0; payload];
            record[..8].copy_from_slice(&number.to_le_bytes());
            lane.send(&record).unwrap();
        });
    }
    drop(lanes);
    let (mut next, mut runs, mut finished) = ([0_u64; 3], Vec::<(u64, usize)>::new(), 0);
    while finished < 3 {
        let mut run = (None, 0);
        let events = collector.next_many_timeout(DEADLINE, |event| match event {
            Event::Record(origin, record) => {
                assert_eq!(*run.0.get_or_insert(origin.number()), origin.number(), "a run is of one lane");
                run.1 += 1;
                let next = &mut next[origin.number() as usize];
                assert_eq!(record[..8], next.to_le_bytes(), "a record is missing, or came twice");
                *next += 1;
            }
            Event::Finished(_) => finished += 1,
            other => panic!("{other:?}"),
        });
        assert!(events.unwrap() >= 1);
        runs.extend(run.0.map(|lane| (lane, run.1)));
    }
    assert_eq!(next, [3000, 10, 3]);
    assert!(runs.iter().all(|(_, records)| *records <= 256), "{runs:?}");
    assert!(runs.len() <= 3000 / 256 + 1 + 2, "and hardly shorter: {runs:?}");
    let last = runs.iter().rposition(|(lane, _)| *lane != 0).unwrap();
    assert!(last <= 2, "those with less wait no longer than a turn of each other: {runs:?}");
}

#[test]
fn the_closure_ends_a_run_and_its_event_counts_as_handed_over() {
    struct Failed(Option<ReceiveError>);
    impl From<ReceiveError> for Failed {
        fn from(error: ReceiveError) -> Self {
            Self(Some(error))
        }
    }
    let address = unique_address();
    let mut collector = options(8).listen(address.as_str()).unwrap();
    let (mut lane, _link) = joined(&mut collector, &address);
    (0..10_u8).for_each(|number| lane.send(&[number]).unwrap());
    let mut seen = Vec::new();
    let events = collector.next_many(|event| {
        let Event::Record(_, record) = event else { panic!("{event:?}") };
        seen.push(record[0]);
        if record[0] == 4 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    assert_eq!((events, &seen[..]), (Ok(5), &[0, 1, 2, 3, 4][..]));
    let failed = collector.next_many(|event| match event {
        Event::Record(_, record) if record[0] == 7 => Err(Failed(None)),
        _ => Ok(()),
    });
    assert!(matches!(failed, Err(Failed(None))));
    assert_eq!(
        collector.try_next_many(|event| assert!(matches!(event, Event::Record(_, record) if record[0] > 7))),
        Ok(2)
    );
    let nothing = collector.try_next_many(|_| Ok::<(), Failed>(()));
    assert!(matches!(nothing, Err(Failed(Some(ReceiveError::Empty)))));
    let (_, consumer) = collector.consumers().next().unwrap();
    assert_eq!((consumer.stats().records, consumer.position()), (10, lane.published()));
}

#[test]
fn several_lanes_of_one_session_are_told_apart() {
    let address = unique_address();
    let mut collector = options(8).listen(address.as_str()).unwrap();
    let (go, may_go) = std::sync::mpsc::channel();
    let client = std::thread::spawn({
        let address = address.clone();
        move || {
            let mut lanes = ["a", "b", "c"].map(|name| Producer::create(name).unwrap());
            let _link = ServerOptions::new().connect(address.as_str(), &lanes).unwrap();
            may_go.recv().unwrap();
            lanes.iter_mut().for_each(|lane| lane.send(lane.lane().name.clone().as_bytes()).unwrap());
        }
    });
    let facts = |origin: &Origin| (origin.session(), origin.number(), origin.lane().name.clone());
    let Event::Joined(first) = collector.next_timeout(DEADLINE).unwrap() else { panic!("a lane joins first") };
    let first = facts(first);
    assert!(!collector.arm().unwrap(), "two more have joined");
    go.send(()).unwrap();
    let (mut joined, mut finished) = (vec![first], 0);
    while finished < 3 {
        match collector.next_timeout(DEADLINE).unwrap() {
            Event::Joined(origin) => joined.push(facts(origin)),
            Event::Record(origin, record) => assert_eq!(&record[..], origin.lane().name.as_bytes()),
            Event::Finished(_) => finished += 1,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(joined, [(0, 0, "a".to_owned()), (0, 1, "b".to_owned()), (0, 2, "c".to_owned())]);
    assert_eq!(collector.consumers().count(), 0);
    client.join().unwrap();
}

#[test]
fn an_armed_collector_becomes_readable_when_anything_happens() {
    let address = unique_address();
    let mut collector = options(8).listen(address.as_str()).unwrap();
    let is_readable = |collector: &Collector, timeout: Option<&Timespec>| {
        poll(&mut [PollFd::new(collector, PollFlags::IN)], timeout).unwrap() == 1
    };
    assert!(collector.arm().unwrap());
    assert!(!is_readable(&collector, Some(&Timespec::default())));
    let client = std::thread::spawn({
        let address = address.clone();
        move || {
            let mut lane = Producer::create("ticks").unwrap();
            let _link = lane.connect(address.as_str()).unwrap();
            (0..100_u64).for_each(|number| lane.send(&number.to_le_bytes()).unwrap());
        }
    });
    let (mut records, mut has_joined) = (0, false);
    let deadline = Instant::now() + DEADLINE;
    'all: while Instant::now() < deadline {
        loop {
            match collector.try_next() {
                Ok(Event::Joined(_)) => has_joined = true,
                Ok(Event::Record(_, _)) => records += 1,
                Ok(Event::Finished(_)) => break 'all,
                Ok(other) => panic!("{other:?}"),
                Err(ReceiveError::Empty) => break,
                Err(error) => panic!("{error}"),
            }
        }
        if collector.arm().unwrap() {
            let timeout = Timespec { tv_sec: DEADLINE.as_secs().cast_signed(), tv_nsec: 0 };
            assert!(is_readable(&collector, Some(&timeout)), "nothing came");
        }
    }
    assert_eq!((has_joined, records), (true, 100));
    client.join().unwrap();
}

#[test]
fn news_that_was_found_while_arming_stays_until_it_is_taken() {
    let address = unique_address();
    let mut collector = options(8).listen(address.as_str()).unwrap();
    let client = std::thread::spawn({
        let address = address.clone();
        move || {
            let lane = Producer::create("ticks").unwrap();
            (lane.connect(address.as_str()).unwrap(), lane)
        }
    });
    assert!(matches!(collector.next_timeout(DEADLINE).unwrap(), Event::Joined(_)));
    let (_link, mut lane) = client.join().unwrap();
    for number in 0..3_u64 {
        assert_eq!(collector.try_next().unwrap_err(), ReceiveError::Empty);
        assert!(collector.arm().unwrap());
        lane.send(&number.to_le_bytes()).unwrap();
        // However often it is asked.
        for _ in 0..3 {
            assert!(!collector.arm().unwrap(), "record {number} is there");
        }
        let Event::Record(_, record) = collector.try_next().unwrap() else { panic!("record {number} is there") };
        assert_eq!(record[..], number.to_le_bytes());
    }
}

#[test]
fn a_wait_ends_by_its_deadline_or_an_interrupt() {
    let stop = Interrupter::new().unwrap();
    let mut collector = options(8).interrupter(&stop).listen(unique_address().as_str()).unwrap();
    let start = Instant::now();
    assert_eq!(collector.next_timeout(Duration::from_millis(20)).unwrap_err(), ReceiveError::TimedOut);
    assert!(start.elapsed() >= Duration::from_millis(20));
    assert_eq!(collector.try_next().unwrap_err(), ReceiveError::Empty);
    std::thread::scope(|scope| {
        scope.spawn(|| stop.interrupt());
        assert_eq!(collector.next().unwrap_err(), ReceiveError::Interrupted);
    });
    stop.clear();
    assert_eq!(collector.try_next().unwrap_err(), ReceiveError::Empty);
}

#[test]
fn a_producer_that_evicts_its_collector_ends_that_lane_alone() {
    let address = unique_address();
    let mut collector = options(8).listen(address.as_str()).unwrap();
    let connect = |name: &'static str| {
        let address = address.clone();
        std::thread::spawn(move || {
            let mut lane = Producer::create(name).unwrap();
            let link = lane.connect(address.as_str()).unwrap();
            lane.send(b"hello").unwrap();
            (lane, link)
        })
    };
    let (evicting, other) = (connect("evicting"), connect("other"));
    let mut records = 0;
    while records < 2 {
        records += usize::from(matches!(collector.next_timeout(DEADLINE).unwrap(), Event::Record(..)));
    }
    let (lane, _link) = evicting.join().unwrap();
    let (mut other, _other_link) = other.join().unwrap();
    lane.consumers().iter().for_each(|consumer| assert!(lane.evict(consumer).unwrap()));
    match collector.next_timeout(DEADLINE).unwrap() {
        Event::Lost(origin, ReceiveError::Evicted { .. }) => assert_eq!(origin.lane().name, "evicting"),
        other => panic!("{other:?}"),
    }
    other.send(b"again").unwrap();
    assert!(matches!(collector.next_timeout(DEADLINE).unwrap(), Event::Record(..)));
    assert_eq!(collector.lane_count(), 1);
    let (origin, consumer) = collector.consumers().next().unwrap();
    assert_eq!((origin.lane().name.as_str(), consumer.stats().records), ("other", 2));
    let stats = collector.stats();
    assert_eq!((stats.records, stats.record_bytes), (3, 3 * 16), "of the lane that is lost, too");
    assert_eq!((stats.joined, stats.finished, stats.lost, stats.refused), (2, 0, 1, 0));
}
