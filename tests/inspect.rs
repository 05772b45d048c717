//! Lanes seen from outside, through /proc: who writes, who reads, what is left when they die, and what cannot be seen.

mod common;
#[path = "common/peer.rs"]
mod peer;

use common::{DEADLINE, belongings, isolated, role, unique_name, wait_until, wait_until_thread_has_slept_for};
use fdring::errors::TapError;
use fdring::inspect::{self, LaneState, LaneView, ReaderKind, Survey};
use fdring::options::{LaneOptions, Start};
use fdring::{Attach, Consumer, Error, OwnedRecord, Producer, Server, Session, Tap};
use peer::{Peer, argument, say, told, wait_for_the_end};
use std::time::Duration;

const CAPACITY: u64 = 4096;
/// What a record of these tests takes in the ring.
const RECORD_BYTES: u64 = 64;
const PAYLOAD: [u8; 56] = [7; 56];

/// A lane with a name of its own, and its server.
fn lane() -> (Producer, Server, String, String) {
    let (name, address) = (unique_name(), format!("@{}", unique_name()));
    let producer = LaneOptions::new(&name).capacity(CAPACITY).create().unwrap();
    let server = Server::listen(&*address, &[&producer]).unwrap();
    (producer, server, name, address)
}

fn find(survey: &Survey, name: &str) -> Option<LaneView> {
    survey.lanes.iter().find(|lane| lane.info.name == name).cloned()
}

fn look(name: &str) -> Option<LaneView> {
    find(&inspect::lanes().unwrap(), name)
}

/// Looks at the lane until nobody but those processes keeps it: others do for the moment in which they look at it too.
fn look_until_kept_by(name: &str, keepers: &[u32]) -> LaneView {
    let mut lane = None;
    wait_until(&format!("{keepers:?} keep it"), || {
        lane = look(name);
        let seen = lane.iter().flat_map(|lane| &lane.keepers).map(|keeper| keeper.pid);
        lane.is_some() && seen.collect::<Vec<_>>() == keepers
    });
    lane.unwrap()
}

/// A producer in a process of its own. It is told how many records to send, to finish its lane, or to leave.
fn producer() {
    let (producer, _server, name, address) = lane();
    let mut producer = Some(producer);
    say(&format!("{name} {address}"));
    loop {
        match &*told() {
            "" => return,
            "finish" => producer.take().unwrap().finish(),
            "belongings" => say(&belongings().replace('\n', " ")),
            count => {
                for _ in 0..count.parse::<u32>().unwrap() {
                    producer.as_mut().unwrap().send(&PAYLOAD).unwrap();
                }
            }
        }
        say("done");
    }
}

/// A reader in a process of its own. It is told how many records to read, or to hold, to sleep, or to leave.
#[allow(unsafe_code, reason = "vouches for the producer of this test")]
fn reader() {
    enum Reader {
        Consumer(Consumer),
        Tap(Tap),
    }
    let arguments = argument();
    let (address, kind) = arguments.split_once(' ').unwrap();
    let session = Session::connect(address).unwrap();
    let mut reader = match kind {
        "copies" => Reader::Consumer(session.attach_one(Attach::new()).unwrap()),
        // SAFETY: the producer is this crate's, in a process of this test.
        "in place" => Reader::Consumer(session.attach_one(unsafe { Attach::new().in_place() }).unwrap()),
        _ => Reader::Tap(session.tap_one(Attach::new()).unwrap()),
    };
    say("ready");
    let mut held: Vec<OwnedRecord> = Vec::new();
    loop {
        let order = told();
        match (&mut reader, order.split_once(' ')) {
            (_, None) if order.is_empty() => return,
            (Reader::Consumer(consumer), None) if order == "sleep" => drop(consumer.receive()),
            (Reader::Tap(tap), None) if order == "sleep" => drop(tap.receive()),
            (Reader::Consumer(consumer), Some(("read", count))) => {
                (0..count.parse::<u32>().unwrap()).for_each(|_| assert!(consumer.receive().unwrap().is_some()));
                consumer.release();
            }
            (Reader::Consumer(consumer), Some(("hold", count))) => {
                let records = 0..count.parse::<u32>().unwrap();
                held.extend(records.map(|_| consumer.receive().unwrap().unwrap().into_owned()));
                consumer.release();
            }
            (Reader::Tap(tap), Some((_, count))) => {
                (0..count.parse::<u32>().unwrap()).for_each(|_| assert!(tap.receive().unwrap().is_some()));
                assert!(matches!(tap.try_receive(), Err(TapError::Empty)));
            }
            (_, order) => panic!("what is {order:?}?"),
        }
        say("done");
    }
}

/// Starts a producer, which says what its lane is called and where it is.
fn start_producer(test: &str) -> (Peer, String, String) {
    let mut peer = Peer::start(test, "producer", "");
    let said = peer.heard();
    let (name, address) = said.split_once(' ').unwrap();
    (peer, name.to_owned(), address.to_owned())
}

fn start_reader(test: &str, address: &str, kind: &str) -> Peer {
    let mut peer = Peer::start(test, "reader", &format!("{address} {kind}"));
    peer.expect("ready");
    peer
}

fn order(peer: &mut Peer, what: &str) {
    peer.tell(what);
    peer.expect("done");
}

/// Whether this is another process of a test; then it has done what it was for.
fn is_played() -> bool {
    match role().as_deref() {
        Some("producer") => producer(),
        Some("reader") => reader(),
        _ => return false,
    }
    true
}

#[test]
fn who_writes_and_who_reads_is_seen_from_outside() {
    let test = "who_writes_and_who_reads_is_seen_from_outside";
    if is_played() {
        return;
    }
    let (mut one, name, address) = start_producer(test);
    let (two, other_name, _) = start_producer(test);
    let mut readers = ["copies", "in place", "tap"].map(|kind| start_reader(test, &address, kind));
    order(&mut one, "10");
    order(&mut readers[0], "read 4");
    order(&mut readers[1], "hold 3");
    order(&mut readers[2], "read 10");
    readers[2].tell("sleep");
    wait_until("the tap sleeps", || look(&name).unwrap().consumers.iter().any(|consumer| consumer.is_asleep));
    let lane = look_until_kept_by(&name, &[]);
    assert_eq!((lane.info.capacity, lane.published, lane.state), (CAPACITY, 10 * RECORD_BYTES, LaneState::Live));
    let producer = lane.producer.unwrap();
    assert_eq!((producer.pid, producer.uid), (one.pid(), Some(rustix::process::geteuid().as_raw())));
    assert!(producer.command.starts_with("inspect"), "{producer}");
    let expected = [
        (&readers[0], ReaderKind::Copies, 6, 0, false, 4),
        (&readers[1], ReaderKind::InPlace, 10, 3, false, 3),
        (&readers[2], ReaderKind::Tap, 0, 0, true, 10),
    ];
    assert_eq!(lane.consumers.len(), 3);
    for (peer, kind, behind, held, is_asleep, records) in expected {
        let is_it = |consumer: &&inspect::ConsumerView| consumer.process.as_ref().unwrap().pid == peer.pid();
        let consumer = lane.consumers.iter().find(is_it).unwrap();
        assert_eq!(consumer.kind, Some(kind));
        assert_eq!(consumer.behind_bytes, Some(behind * RECORD_BYTES), "{kind}");
        assert_eq!(consumer.held_bytes, held * RECORD_BYTES, "{kind}");
        assert_eq!((consumer.is_asleep, consumer.is_evicted), (is_asleep, false), "{kind}");
        assert_eq!(consumer.records, records, "{kind}");
    }
    let other = look(&other_name).unwrap();
    assert_eq!((other.producer.unwrap().pid, other.published, other.consumers.len()), (two.pid(), 0, 0));
    assert_ne!(other.info.id, lane.info.id);
    order(&mut one, "1");
    readers[2].expect("done");
}

#[test]
fn one_process_has_the_lanes_that_it_writes_or_reads() {
    let test = "one_process_has_the_lanes_that_it_writes_or_reads";
    if is_played() {
        return;
    }
    let (one, name, address) = start_producer(test);
    let (two, other_name, _) = start_producer(test);
    let reader = start_reader(test, &address, "copies");
    let names = |pid| inspect::process(pid).unwrap().lanes.into_iter().map(|lane| lane.info.name).collect::<Vec<_>>();
    assert_eq!(names(one.pid()), [&*name]);
    assert_eq!(names(reader.pid()), [&*name]);
    assert_eq!(names(two.pid()), [&*other_name]);
    let pid = two.pid();
    two.kill();
    let error = inspect::process(pid).unwrap_err();
    assert!(matches!(&error, Error::Os { cause, .. } if cause.raw_os_error() == Some(3)), "{error}");
}

#[test]
fn two_looks_tell_how_fast_a_lane_is_and_who_stands_still() {
    let test = "two_looks_tell_how_fast_a_lane_is_and_who_stands_still";
    if is_played() {
        return;
    }
    let (mut producer, name, address) = start_producer(test);
    let mut moving = start_reader(test, &address, "copies");
    let standing = start_reader(test, &address, "copies");
    let sleeping = start_reader(test, &address, "tap");
    order(&mut producer, "5");
    let mut survey = inspect::lanes().unwrap();
    assert_eq!(find(&survey, &name).unwrap().rates, None);
    order(&mut producer, "20");
    order(&mut moving, "read 20");
    survey.look_again().unwrap();
    let lane = find(&survey, &name).unwrap();
    let rates = lane.rates.unwrap();
    let bytes = rates.bytes_per_second * rates.over.as_secs_f64();
    assert!((bytes - (20 * RECORD_BYTES) as f64).abs() < 0.01, "{rates:?}");
    let consumer = |peer: &Peer| {
        let is_it = |consumer: &&inspect::ConsumerView| consumer.process.as_ref().unwrap().pid == peer.pid();
        lane.consumers.iter().find(is_it).unwrap()
    };
    assert_eq!((consumer(&moving).still_for, consumer(&standing).still_for), (Duration::ZERO, rates.over));
    let read = |peer: &Peer| {
        let rates = consumer(peer).rates.unwrap();
        (rates.bytes_per_second * rates.over.as_secs_f64()).round() as u64
    };
    assert_eq!((read(&moving), read(&standing)), (20 * RECORD_BYTES, 0));
    producer.kill();
    sleeping.kill();
    survey.look_again().unwrap();
    let lane = find(&survey, &name).unwrap();
    assert_eq!((lane.state, lane.rates.unwrap().bytes_per_second), (LaneState::ProducerDead, 0.0));
    assert_eq!(lane.consumers.len(), 2);
    drop((moving, standing));
    wait_until("nobody keeps it", || {
        survey.look_again().unwrap();
        find(&survey, &name).is_none()
    });
}

#[test]
fn a_look_at_what_is_known_finds_what_has_changed_and_nothing_new() {
    let test = "a_look_at_what_is_known_finds_what_has_changed_and_nothing_new";
    if is_played() {
        return;
    }
    let (mut producer, name, address) = start_producer(test);
    let mut reader = start_reader(test, &address, "copies");
    order(&mut producer, "5");
    let mut survey = inspect::lanes().unwrap();
    order(&mut producer, "20");
    order(&mut reader, "read 20");
    let late = Producer::create(unique_name()).unwrap();
    survey.look_at_known().unwrap();
    let lane = find(&survey, &name).unwrap();
    let read = lane.consumers[0].rates.unwrap();
    let bytes = |rates: inspect::Rates| (rates.bytes_per_second * rates.over.as_secs_f64()).round() as u64;
    assert_eq!((bytes(lane.rates.unwrap()), bytes(read)), (20 * RECORD_BYTES, 20 * RECORD_BYTES));
    assert!(find(&survey, &late.lane().name).is_none(), "no process is searched");
    reader.kill();
    wait_until("its process has ended, and nobody looks at its seat", || {
        survey.look_at_known().unwrap();
        find(&survey, &name).unwrap().consumers.is_empty()
    });
    assert!(find(&survey, &late.lane().name).is_none(), "and still none is searched");
    survey.look_again().unwrap();
    assert!(find(&survey, &late.lane().name).is_some());
    let gone = late.lane().name.clone();
    drop(late);
    wait_until("nobody keeps it", || {
        survey.look_at_known().unwrap();
        find(&survey, &gone).is_none()
    });
    assert!(find(&survey, &name).is_some());
    assert!(!survey.unseen.iter().any(|unseen| unseen.lane.as_ref() == Some(&gone)), "{:?}", survey.unseen);
}

#[test]
fn the_lane_of_a_dead_producer_is_there_as_long_as_a_consumer_keeps_it() {
    let test = "the_lane_of_a_dead_producer_is_there_as_long_as_a_consumer_keeps_it";
    if is_played() {
        return;
    }
    if !rustix::process::geteuid().is_root() {
        return common::skipped("only root can open what is mapped and nowhere open");
    }
    let (mut producer, name, address) = start_producer(test);
    let mut reader = start_reader(test, &address, "copies");
    order(&mut producer, "3");
    order(&mut reader, "read 1");
    producer.kill();
    let lane = look(&name).unwrap();
    assert_eq!((lane.state, lane.producer.is_none(), lane.published), (LaneState::ProducerDead, true, 192));
    assert_eq!(lane.consumers[0].behind_bytes, Some(128));
    assert_eq!(lane.consumers[0].process.as_ref().unwrap().pid, reader.pid());
    let mut tap = lane.tap(Start::Oldest).unwrap();
    for _ in 0..3 {
        assert_eq!(tap.receive().unwrap().unwrap()[..], PAYLOAD);
    }
    assert_eq!(tap.receive().unwrap_err(), TapError::PeerDead);
    drop((reader, tap));
    wait_until("nobody keeps it", || look(&name).is_none());
    let error = lane.tap(Start::Oldest).unwrap_err();
    assert!(matches!(&error, Error::Os { cause, .. } if cause.raw_os_error() == Some(3)), "{error}");
}

#[test]
fn a_finished_lane_is_there_as_long_as_it_is_served() {
    let test = "a_finished_lane_is_there_as_long_as_it_is_served";
    if is_played() {
        return;
    }
    let (mut peer, name, _) = start_producer(test);
    order(&mut peer, "2");
    order(&mut peer, "finish");
    let lane = look(&name).unwrap();
    assert_eq!((lane.state, lane.published), (LaneState::Finished, 128));
    let mut tap = lane.tap(Start::Newest).unwrap();
    assert_eq!(tap.receive().unwrap().unwrap()[..], PAYLOAD);
    assert!(tap.receive().unwrap().is_none());
    peer.finish();
    assert!(tap.receive().unwrap().is_none(), "it stays at its end");
}

#[test]
fn a_tap_of_a_lane_that_knows_nothing_of_it_reads_on_and_learns_of_a_death() {
    let test = "a_tap_of_a_lane_that_knows_nothing_of_it_reads_on_and_learns_of_a_death";
    if is_played() {
        return;
    }
    let (mut peer, name, _) = start_producer(test);
    order(&mut peer, "1");
    let lane = look(&name).unwrap();
    let starts = [(Start::Latest, 64), (Start::Newest, 0), (Start::Oldest, 0)];
    for (start, position) in starts {
        let tap = lane.tap(start).unwrap();
        assert_eq!(tap.position(), position, "{start:?}");
    }
    assert_eq!(lane.tap(Start::At(64)).unwrap().position(), 64);
    for start in [Start::Resume, Start::At(128), Start::At(12), Start::At(8)] {
        assert!(matches!(lane.tap(start), Err(Error::Invalid(_))), "{start:?}");
    }
    let mut tap = lane.tap(Start::Latest).unwrap();
    assert_eq!(tap.lane(), &lane.info);
    assert_eq!(tap.try_receive().unwrap_err(), TapError::Empty);
    let (says, tid) = std::sync::mpsc::channel();
    let reading = std::thread::spawn(move || {
        says.send(rustix::thread::gettid()).unwrap();
        let len = tap.receive_timeout(10 * DEADLINE).unwrap().unwrap().len();
        (tap, len)
    });
    // Longer than a tap sleeps that is rung and looks for itself: nobody rings for this one.
    wait_until_thread_has_slept_for(tid.recv().unwrap(), Duration::from_millis(30));
    order(&mut peer, "1");
    // It finds the record when its time is up, too.
    wait_until("it has woken by itself", || reading.is_finished());
    let (mut tap, len) = reading.join().unwrap();
    assert_eq!((len, tap.position()), (56, 128));
    assert_eq!(tap.receive_timeout(Duration::from_millis(5)).unwrap_err(), TapError::TimedOut);
    // More than a ring, at once.
    order(&mut peer, "200");
    let Err(TapError::Lagged { missed_bytes }) = tap.receive() else { panic!("it was too late") };
    assert!(missed_bytes > CAPACITY, "{missed_bytes}");
    assert!(tap.receive().unwrap().is_some());
    assert_eq!(lane.tap(Start::Oldest).unwrap().position(), 201 * RECORD_BYTES, "the last one, since others are gone");
    assert!(matches!(lane.tap(Start::At(64)), Err(Error::Invalid(_))), "it was overwritten");
    // Asleep when it happens.
    let reading = std::thread::spawn(move || tap.receive_timeout(DEADLINE).map(drop));
    peer.kill();
    assert_eq!(reading.join().unwrap().unwrap_err(), TapError::PeerDead);
}

#[test]
fn a_tap_of_a_lane_whose_producer_is_not_seen_takes_nobody_for_dead() {
    let (mut producer, _server, name, _) = lane();
    let mut view = look(&name).unwrap();
    // As a user sees it who may not look into the producer's process, but into that of one who reads.
    (view.state, view.producer) = (LaneState::ProducerUnseen, None);
    let mut tap = view.tap(Start::Latest).unwrap();
    assert!(matches!(tap.try_receive(), Err(TapError::Empty)), "nobody has died");
    producer.send(&PAYLOAD).unwrap();
    assert_eq!(tap.receive_timeout(DEADLINE).unwrap().unwrap()[..], PAYLOAD);
    producer.finish();
    assert!(tap.receive_timeout(DEADLINE).unwrap().is_none());
    // One whose producer is not seen because it is gone has no more to come.
    let (_producer, _server, name, _) = lane();
    let mut view = look(&name).unwrap();
    (view.state, view.producer) = (LaneState::ProducerDead, None);
    assert!(matches!(view.tap(Start::Latest).unwrap().try_receive(), Err(TapError::PeerDead)));
}

#[test]
fn a_tap_of_a_lane_can_be_waited_for_in_an_event_loop() {
    let (mut producer, _server, name, _) = lane();
    let mut tap = look(&name).unwrap().tap(Start::Latest).unwrap();
    assert_eq!(tap.try_receive().unwrap_err(), TapError::Empty);
    assert!(tap.arm().unwrap());
    producer.send(&PAYLOAD).unwrap();
    let timeout = rustix::event::Timespec::try_from(DEADLINE).unwrap();
    let mut waits = [rustix::event::PollFd::new(&tap, rustix::event::PollFlags::IN)];
    assert_eq!(rustix::event::poll(&mut waits, Some(&timeout)), Ok(1), "its timer goes off");
    assert!(tap.try_receive().unwrap().is_some());
}

#[test]
fn looking_changes_nothing_and_keeps_nothing() {
    let test = "looking_changes_nothing_and_keeps_nothing";
    if is_played() {
        return;
    }
    isolated(test, || {
        let (mut peer, name, address) = start_producer(test);
        let reader = start_reader(test, &address, "copies");
        order(&mut peer, "3");
        let belongings_of = |peer: &mut Peer| {
            peer.tell("belongings");
            let said = peer.heard();
            peer.expect("done");
            said
        };
        let (before, theirs) = (belongings(), belongings_of(&mut peer));
        let mut survey = inspect::lanes().unwrap();
        let lane = find(&survey, &name).unwrap();
        assert_eq!(belongings(), before, "a survey keeps no descriptor and no mapping");
        let tap = lane.tap(Start::Oldest).unwrap();
        assert_eq!(belongings_of(&mut peer), theirs);
        let seen = look_until_kept_by(&name, &[std::process::id()]);
        assert_eq!(seen.consumers.len(), 1, "a tap that has no seat is no consumer");
        drop(tap);
        survey.look_again().unwrap();
        wait_until("nothing is left", || belongings() == before);
        drop((peer, reader));
        wait_until("its memory is free, although it was looked at", || look(&name).is_none());
    });
}

#[test]
fn a_forked_child_that_keeps_a_lane_is_named() {
    let test = "a_forked_child_that_keeps_a_lane_is_named";
    isolated(test, || {
        let (producer, _server, name, _) = lane();
        let child = fork_a_sleeper();
        let lane = look_until_kept_by(&name, &[child.as_raw_pid() as u32]);
        assert_eq!(lane.producer.unwrap().pid, std::process::id(), "the one that can write");
        rustix::process::kill_process(child, rustix::process::Signal::KILL).unwrap();
        rustix::process::waitpid(Some(child), rustix::process::WaitOptions::empty()).unwrap();
        drop(producer);
    });
}

/// A child that inherits all there is, and waits to be killed.
#[allow(unsafe_code, reason = "fork")]
fn fork_a_sleeper() -> rustix::process::Pid {
    // SAFETY: the child calls nothing but alarm and pause, which are async-signal-safe.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        // SAFETY: alarm takes any number.
        unsafe { libc::alarm(60) };
        loop {
            // SAFETY: pause takes nothing.
            unsafe { libc::pause() };
        }
    }
    rustix::process::Pid::from_raw(pid).unwrap()
}

#[test]
fn a_consumer_in_the_producer_s_own_process_is_seen_too() {
    let (mut producer, _server, name, address) = lane();
    let mut consumer = Consumer::connect(&address).unwrap();
    producer.send(&PAYLOAD).unwrap();
    let lane = look(&name).unwrap();
    assert_eq!((lane.consumers.len(), lane.consumers[0].behind_bytes), (1, Some(64)));
    assert_eq!(lane.consumers[0].process, lane.producer);
    consumer.receive().unwrap();
    drop(consumer);
    assert!(look(&name).unwrap().consumers.is_empty(), "it has left");
}

#[test]
fn without_descriptors_a_survey_fails_and_says_so() {
    isolated("without_descriptors_a_survey_fails_and_says_so", || {
        let (_producer, _server, name, _) = lane();
        let lane = look(&name).unwrap();
        let open = common::census().len() as u64;
        let limit = rustix::process::Rlimit { current: Some(open), maximum: Some(open + 100) };
        rustix::process::setrlimit(rustix::process::Resource::Nofile, limit).unwrap();
        for error in [inspect::lanes().unwrap_err(), lane.tap(Start::Latest).unwrap_err()] {
            assert!(error.to_string().ends_with("(ulimit -n)"), "{error}");
        }
    });
}

#[test]
fn a_process_that_waits_to_be_killed_is_no_lane() {
    let test = "a_process_that_waits_to_be_killed_is_no_lane";
    if role().is_some() {
        say("ready");
        wait_for_the_end();
    }
    let mut peer = Peer::start(test, "other", "");
    peer.expect("ready");
    let survey = inspect::process(peer.pid()).unwrap();
    assert!(survey.lanes.is_empty() && survey.unseen.is_empty(), "{survey:?}");
}

#[test]
fn the_records_of_a_lane_with_times_are_tapped_with_them() {
    let name = unique_name();
    let mut producer = LaneOptions::new(&name).capacity(CAPACITY).stamped(true).create().unwrap();
    let mut tap = look(&name).unwrap().tap(Start::Latest).unwrap();
    producer.send(&PAYLOAD).unwrap();
    let record = tap.receive().unwrap().unwrap();
    assert!(record.published_at().is_some() && record[..] == PAYLOAD);
}
