//! Questions about a lane: what a producer tells a reader that asks, how often, and to whom.
#![allow(unsafe_code, reason = "changes the user; vouches for this crate's producer")]

mod common;
#[path = "common/peer.rs"]
mod peer;
#[path = "common/users.rs"]
mod users;

use common::{DEADLINE, isolated, role, unique_name, wait_until, wait_until_process_sleeps};
use fdring::info::{LaneReport, ReaderKind};
use fdring::options::{LaneOptions, PeerPolicy, ServerOptions, SessionListenerOptions, SessionOptions};
use fdring::{Attach, Consumer, Error, Interrupter, Producer, Server, Session, Tap};
use peer::{Peer, argument, say, told, wait_for_the_end};
use std::time::{Duration, Instant};
use users::{NOBODY, become_user, is_root};

/// How soon a session is answered again.
const INTERVAL: Duration = Duration::from_millis(100);

fn lane() -> Producer {
    LaneOptions::new("lane").capacity(4096).create().unwrap()
}

fn listen(producer: &Producer) -> (Server, String) {
    let address = format!("@{}", unique_name());
    (Server::listen(&*address, [producer]).unwrap(), address)
}

fn in_place() -> Attach {
    // SAFETY: the producer is this crate's, in this process or in the one that started it.
    unsafe { Attach::new().in_place() }
}

/// A consumer in a process of its own. The argument is an address and how it reads; then it sleeps, or holds a record.
fn reader() {
    let argument = argument();
    let (address, kind) = argument.split_once(' ').unwrap();
    let session = Session::connect(address).unwrap();
    match kind {
        "sleeps" => {
            let mut consumer = session.attach_one(Attach::new()).unwrap();
            say("attached");
            let _ = consumer.receive();
        }
        "holds" => {
            let mut consumer = session.attach_one(in_place()).unwrap();
            say("attached");
            let record = consumer.receive().unwrap().unwrap().into_owned();
            consumer.receive().unwrap().unwrap();
            consumer.release();
            say("holding");
            told();
            drop(record);
        }
        other => panic!("{other}?"),
    }
}

#[test]
fn a_reader_is_told_who_else_reads_and_how_far_behind() {
    let test = "a_reader_is_told_who_else_reads_and_how_far_behind";
    if role().is_some() {
        return reader();
    }
    let mut producer = lane();
    let (_server, address) = listen(&producer);
    let mut holder = Peer::start(test, "reader", &format!("{address} holds"));
    holder.expect("attached");
    (0..2).for_each(|_| producer.send(&[1; 56]).unwrap());
    holder.expect("holding");
    let mut sleeper = Peer::start(test, "reader", &format!("{address} sleeps"));
    sleeper.expect("attached");
    wait_until_process_sleeps(sleeper.pid());
    let before = Instant::now();
    let mut monitor = Tap::connect(&*address).unwrap();

    let report = monitor.query(DEADLINE).unwrap();
    let this = std::process::id();
    assert_eq!((report.producer_pid, report.capacity), (Some(this), 4096));
    assert_eq!((report.published, report.is_open, report.readers_total), (128, true, 3));
    let kinds: Vec<_> = report.readers.iter().map(|reader| (reader.pid, reader.kind)).collect();
    let expected = [(holder.pid(), ReaderKind::InPlace), (sleeper.pid(), ReaderKind::Copies), (this, ReaderKind::Tap)];
    assert_eq!(kinds, expected.map(|(pid, kind)| (Some(pid), kind)), "in the order in which they came");
    let places: Vec<_> = report.readers.iter().map(|reader| (reader.behind_bytes, reader.held_bytes)).collect();
    assert_eq!(places, [(128, 128), (0, 0), (0, 0)], "the first holds what it has read");
    let uid = Some(rustix::process::geteuid().as_raw());
    assert!(report.readers.iter().all(|reader| reader.uid == uid) && report.producer_uid == uid);
    let monitoring = &report.readers[2];
    assert!(monitoring.attached_for <= before.elapsed() && report.readers[0].attached_for > monitoring.attached_for);
    wait_until("the copying one sleeps", || monitor.query(DEADLINE).unwrap().readers[1].is_asleep);

    // As the producer itself sees it.
    producer.send(&[1; 56]).unwrap();
    drop(sleeper);
    wait_until("that has gone", || producer.consumer_count() == 1);
    producer.send(&[1; 56]).unwrap();
    let (report, seen) = (monitor.query(DEADLINE).unwrap(), &producer.consumers()[0]);
    assert_eq!(report.readers.len(), 2);
    assert_eq!(report.readers[0].behind_bytes, seen.behind_bytes);
    assert_eq!(report.readers[1].behind_bytes, 128, "the tap has not looked");
    monitor.receive().unwrap().unwrap();
    monitor.receive().unwrap().unwrap();
    monitor.try_receive().unwrap_err();
    assert_eq!(monitor.query(DEADLINE).unwrap().readers[1].behind_bytes, 0);
    holder.tell("go");
    drop(holder);
    wait_until("the holder has gone", || monitor.query(DEADLINE).unwrap().readers_total == 1);

    // Nobody need write, nor be there.
    producer.finish();
    let report = monitor.query(DEADLINE).unwrap();
    assert_eq!((report.is_open, report.published), (false, 256));
}

#[test]
fn a_reader_of_a_producer_that_connects_asks_just_as_well() {
    let address = format!("@{}", unique_name());
    let each = SessionOptions::new().deadline(DEADLINE);
    let listener = SessionListenerOptions::new().sessions(each).listen(&*address).unwrap();
    let mut producer = lane();
    std::thread::scope(|scope| {
        let link = scope.spawn(|| producer.connect(&*address).unwrap());
        let consumer = listener.accept_timeout(DEADLINE).unwrap().attach_one(Attach::new()).unwrap();
        let link = link.join().unwrap();
        assert_eq!(consumer.query(DEADLINE).unwrap().readers[0].behind_bytes, 0);
        // The handle is of no consequence for the session.
        drop(link);
        assert_eq!(consumer.query(DEADLINE).unwrap().readers_total, 1);
    });
    producer.send(b"a record").unwrap();
}

#[test]
fn each_lane_of_a_session_is_asked_about_by_its_own_reader() {
    let (mut ticks, trades) = (lane(), LaneOptions::new("trades").capacity(8192).create().unwrap());
    let address = format!("@{}", unique_name());
    let server = Server::listen(&*address, [&ticks, &trades]).unwrap();
    let session = Session::connect(&*address).unwrap();
    let (consumers, taps) = session.attach_and_tap([Attach::lane("lane")], [Attach::lane("trades")]).unwrap();
    ticks.send(b"hello").unwrap();
    // On threads of their own: whichever reads the answers, each gets its own.
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let report = consumers[0].query(DEADLINE).unwrap();
                assert_eq!((report.capacity, report.published, report.readers[0].behind_bytes), (4096, 16, 16));
            });
            scope.spawn(|| {
                let report = taps[0].query(DEADLINE).unwrap();
                assert_eq!((report.capacity, report.published), (8192, 0));
                assert_eq!(report.readers[0].kind, ReaderKind::Tap);
            });
        }
    });
    // An eviction from one lane does not end the session, and its consumer can ask who has taken its place.
    ticks.evict(&ticks.consumers()[0]).unwrap();
    wait_until("it is told", || server.stats().evicted == 1);
    let report = consumers[0].query(DEADLINE).unwrap();
    assert_eq!((report.readers_total, report.readers.len()), (0, 0));
}

/// Nor does one thread that asks keep another from its records.
#[test]
fn one_that_sleeps_for_records_may_read_the_answer_of_another() {
    let (mut ticks, mut trades) = (lane(), LaneOptions::new("trades").create().unwrap());
    let address = format!("@{}", unique_name());
    let _server = Server::listen(&*address, [&ticks, &trades]).unwrap();
    let mut consumers = Session::connect(&*address).unwrap().attach_all(Attach::new()).unwrap();
    let (mut reads, asks) = (consumers.remove(0), consumers.remove(0));
    let reader = std::thread::spawn(move || {
        let mut records = 0;
        while reads.receive().unwrap().is_some() {
            records += 1;
        }
        records
    });
    for _ in 0..10 {
        assert_eq!(asks.query(DEADLINE).unwrap().readers_total, 1);
        ticks.send(b"record").unwrap();
    }
    ticks.finish();
    assert_eq!(reader.join().unwrap(), 10);
    trades.send(b"still there").unwrap();
    assert_eq!(asks.query(DEADLINE).unwrap().published, 24);
}

#[test]
fn a_session_is_answered_at_most_once_in_a_tenth_of_a_second() {
    let producer = lane();
    let (_server, address) = listen(&producer);
    let consumer = Consumer::connect(&*address).unwrap();
    consumer.query(DEADLINE).unwrap();
    let begin = Instant::now();
    (0..3).for_each(|_| drop(consumer.query(DEADLINE).unwrap()));
    // The first may have been sent a little earlier than it was answered.
    assert!(begin.elapsed() >= 2 * INTERVAL, "{:?}", begin.elapsed());
    // Another session has its own time, and one that has no patience asks in vain.
    let other = Consumer::connect(&*address).unwrap();
    let begin = Instant::now();
    assert_eq!(other.query(DEADLINE).unwrap().readers_total, 2);
    // It is answered all the same if a busy machine keeps this thread from running until then.
    wait_until("it asks in vain", || {
        let asked = Instant::now();
        let Err(error) = other.query(Duration::from_millis(1)) else {
            assert!(asked.elapsed() > Duration::from_millis(1), "an answer too many");
            return false;
        };
        assert!(matches!(error, Error::TimedOut { .. }) && error.to_string().contains("lane"), "{error}");
        true
    });
    assert!(begin.elapsed() < DEADLINE / 2);
    other.query(DEADLINE).unwrap();
    // Who has asked leaves as soon as anybody.
    drop(other);
    wait_until("it has left", || producer.consumer_count() == 1);
}

/// Stops a process, and waits until it is.
fn stop(peer: &Peer) {
    peer.signal(rustix::process::Signal::STOP);
    let stat = || std::fs::read_to_string(format!("/proc/{}/stat", peer.pid())).unwrap();
    // See proc_pid_stat(5).
    wait_until("it is stopped", || stat().rsplit_once(") ").unwrap().1.starts_with('T'));
}

#[test]
fn nobody_answers_for_a_producer_that_is_stopped_or_dead() {
    let test = "nobody_answers_for_a_producer_that_is_stopped_or_dead";
    if role().as_deref() == Some("producer") {
        let producer = lane();
        let _server = Server::listen(argument(), [&producer]).unwrap();
        say("listening");
        wait_for_the_end();
    }
    isolated(test, || {
        let address = format!("@{}", unique_name());
        let mut producer = Peer::start(test, "producer", &address);
        producer.expect("listening");
        let consumer = Consumer::connect(&*address).unwrap();
        assert_eq!(consumer.query(DEADLINE).unwrap().producer_pid, Some(producer.pid()));
        stop(&producer);
        let begin = Instant::now();
        for _ in 0..20 {
            // Its queue is full after some of them.
            let error = consumer.query(Duration::from_millis(120)).unwrap_err();
            assert!(matches!(error, Error::TimedOut { .. }), "{error}");
        }
        assert!(begin.elapsed() >= 20 * INTERVAL);
        producer.signal(rustix::process::Signal::CONT);
        // The answers to the questions that nobody waits for any more come first, and do no harm.
        let report = consumer.query(DEADLINE).unwrap();
        assert_eq!((report.readers_total, report.readers[0].pid), (1, Some(std::process::id())));
        std::thread::scope(|scope| {
            let asks = scope.spawn(|| {
                loop {
                    if let Err(error) = consumer.query(DEADLINE) {
                        return error;
                    }
                }
            });
            producer.kill();
            let error = asks.join().unwrap();
            assert!(matches!(error, Error::Closed { .. }), "{error}");
        });
        assert!(matches!(consumer.query(DEADLINE).unwrap_err(), Error::Closed { .. }));
    });
}

#[test]
fn an_interrupter_ends_the_wait_for_an_answer() {
    let test = "an_interrupter_ends_the_wait_for_an_answer";
    if role().as_deref() == Some("producer") {
        let producer = lane();
        let _server = Server::listen(argument(), [&producer]).unwrap();
        say("listening");
        wait_for_the_end();
    }
    let address = format!("@{}", unique_name());
    let mut producer = Peer::start(test, "producer", &address);
    producer.expect("listening");
    let interrupter = Interrupter::new().unwrap();
    let session = SessionOptions::new().interrupter(&interrupter).connect(&*address).unwrap();
    let consumer = session.attach_one(Attach::new()).unwrap();
    stop(&producer);
    let begin = Instant::now();
    std::thread::scope(|scope| {
        // The second waits for its turn.
        let asks = [(), ()].map(|()| scope.spawn(|| consumer.query(DEADLINE).unwrap_err()));
        // Neither is answered, whenever the interrupt comes.
        interrupter.interrupt();
        for asked in asks {
            let error = asked.join().unwrap();
            assert!(matches!(error, Error::Interrupted { .. }), "{error}");
        }
    });
    assert!(begin.elapsed() < DEADLINE / 2);
    producer.signal(rustix::process::Signal::CONT);
    interrupter.clear();
    assert_eq!(consumer.query(DEADLINE).unwrap().readers_total, 1);
}

fn pids(report: &LaneReport) -> Vec<u32> {
    report.readers.iter().filter_map(|reader| reader.pid).collect()
}

/// Asks as nobody, and says whom it is told of.
fn stranger() {
    become_user(NOBODY);
    let session = SessionOptions::new().peers(PeerPolicy::Anyone).connect(argument()).unwrap();
    let consumer = session.attach_one(Attach::new()).unwrap();
    loop {
        let report = consumer.query(DEADLINE).unwrap();
        assert_eq!(report.readers_total as usize, report.readers.len());
        say(&format!("{:?}", pids(&report)));
        if told() != "again" {
            return;
        }
    }
}

#[test]
fn a_process_of_another_user_is_told_of_its_own_user_alone_unless_the_server_says_otherwise() {
    let test = "a_process_of_another_user_is_told_of_its_own_user_alone_unless_the_server_says_otherwise";
    if role().is_some() {
        return stranger();
    }
    if !is_root() {
        return common::skipped("only root can be another user");
    }
    let (producer, this) = (lane(), std::process::id());
    let serve = |options: ServerOptions| {
        let address = format!("@{}", unique_name());
        (options.peers(PeerPolicy::Anyone).listen(&*address, [&producer]).unwrap(), address)
    };
    let (_closed, address) = serve(ServerOptions::new());
    let ours = Consumer::connect(&*address).unwrap();
    let mut first = Peer::start(test, "stranger", &address);
    let mut second = Peer::start(test, "stranger", &address);
    second.heard();
    assert!(first.heard().contains(&first.pid().to_string()));
    let mut strangers = [first.pid(), second.pid()];
    first.tell("again");
    let said = first.heard();
    // Which of them came first is chance.
    let expected = [strangers, [strangers[1], strangers[0]]].map(|pids| format!("{pids:?}"));
    assert!(expected.contains(&said), "{said}, of {strangers:?}");
    let mut seen = pids(&ours.query(DEADLINE).unwrap());
    strangers.sort_unstable();
    seen.sort_unstable();
    let mut all = [&strangers[..], &[this]].concat();
    all.sort_unstable();
    assert_eq!(seen, all, "one's own user sees everybody");
    drop((first, second, ours));
    wait_until("all have gone", || producer.consumer_count() == 0);

    let (_open, address) = serve(ServerOptions::new().reports(PeerPolicy::Users(vec![NOBODY])));
    let _ours = Consumer::connect(&*address).unwrap();
    let mut stranger = Peer::start(test, "stranger", &address);
    assert_eq!(stranger.heard(), format!("{:?}", [this, stranger.pid()]));
}
