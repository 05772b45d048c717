//! Statistics of all endpoints: what they count, when, and for whom.

mod common;
#[path = "common/peer.rs"]
mod peer;

use common::{DEADLINE, isolated, role, unique_name, wait_until};
use fdring::distribute::{Distributor, To, Worker, WorkerStats};
use fdring::errors::{ReceiveError, SendError};
use fdring::options::{LaneOptions, NoConsumer, SessionListenerOptions, SessionOptions, Start};
use fdring::{Attach, Consumer, Error, Producer, Server, Session, Tap};
use peer::{Peer, argument, say, told, wait_for_the_end};
use std::time::Duration;

fn lane(name: &str) -> Producer {
    LaneOptions::new(name).capacity(4096).create().unwrap()
}

fn listen<'a>(producers: impl IntoIterator<Item = &'a Producer>) -> (Server, String) {
    let address = format!("@{}", unique_name());
    (Server::listen(&*address, producers).unwrap(), address)
}

#[test]
fn a_producer_counts_records_bytes_and_the_waits_for_room() {
    let mut producer = lane("lane");
    let (_server, address) = listen([&producer]);
    assert_eq!(producer.stats(), Default::default());
    let mut consumer = Consumer::connect(&*address).unwrap();
    let mut sent = 0;
    while producer.try_send(&[7; 120]).is_ok() {
        sent += 1;
    }
    let full = producer.stats();
    assert_eq!((full.records, full.record_bytes), (sent, sent * 128));
    assert_eq!((full.times_blocked, full.times_slept), (0, 0), "a call that never waits is never blocked");
    assert_eq!(full.blocked_for, Duration::ZERO);

    // A call counts its time from when it finds the ring full: a moment less than its timeout on a busy machine.
    let patience = Duration::from_millis(20);
    let mut calls = 0;
    wait_until("the time of all waits is counted", || {
        let outcome = producer.send_timeout(&[7; 120], patience);
        assert!(matches!(outcome, Err(SendError::TimedOut { .. })), "{outcome:?}");
        calls += 1;
        let blocked = producer.stats();
        assert_eq!((blocked.records, blocked.times_blocked), (sent, calls));
        blocked.times_slept >= 1 && blocked.blocked_for >= patience
    });
    let blocked = producer.stats();

    // There is room again, and what is sent round the end of the ring takes no padding into account.
    consumer.try_receive_many(|_| ()).unwrap();
    consumer.release();
    for len in [1000, 1000, 1000, 1000, 200] {
        producer.send(&vec![1; len]).unwrap();
        consumer.receive().unwrap().unwrap();
        consumer.release();
    }
    let after = producer.stats();
    assert_eq!(after.record_bytes - blocked.record_bytes, 4 * 1008 + 208);
    assert!(after.record_bytes < producer.published(), "there was padding");
    assert_eq!((after.times_blocked, after.blocked_for), (calls, blocked.blocked_for));
    let read = consumer.stats();
    assert_eq!((read.records, read.record_bytes), (after.records, after.record_bytes));
}

#[test]
fn records_of_a_batch_that_is_dropped_are_taken_back_by_the_next_call() {
    let mut producer = lane("lane");
    producer.batch().unwrap().send(b"dropped").unwrap();
    producer.send(b"sent").unwrap();
    assert_eq!((producer.stats().records, producer.stats().record_bytes), (1, 16));
    let mut batch = producer.batch().unwrap();
    batch.send(b"one").unwrap();
    batch.send(b"two").unwrap();
    batch.commit();
    assert_eq!(producer.stats().records, 3);
}

/// Makes calls until one sleeps, which counts once. On a busy machine the time of a call may be up before it sleeps.
fn sleeps_once(slept: u64, sleeps: &mut dyn FnMut() -> u64) {
    wait_until("a call sleeps", || {
        let now = sleeps();
        assert!(now == slept || now == slept + 1, "{now} sleeps after {slept}");
        now == slept + 1
    });
}

#[test]
fn a_reader_counts_a_sleep_once_however_often_it_looks() {
    let mut producer = lane("lane");
    let (_server, address) = listen([&producer]);
    let mut consumer = Consumer::connect(&*address).unwrap();
    let mut tap = Tap::connect(&*address).unwrap();
    producer.send(b"there").unwrap();
    consumer.receive().unwrap().unwrap();
    tap.receive().unwrap().unwrap();
    assert_eq!((consumer.stats().times_slept, tap.stats().times_slept), (0, 0), "there was a record");
    // Long enough for the second look of a consumer, and both of a tap.
    let patience = Duration::from_millis(50);
    for slept in 0..3 {
        sleeps_once(slept, &mut || {
            assert_eq!(consumer.receive_timeout(patience).unwrap_err(), ReceiveError::TimedOut);
            consumer.stats().times_slept
        });
        sleeps_once(slept, &mut || {
            tap.receive_timeout(patience).unwrap_err();
            tap.stats().times_slept
        });
    }
    // Armed twice, announced once.
    assert!(consumer.arm().unwrap() && consumer.arm().unwrap());
    assert_eq!(consumer.stats().times_slept, 4);
    assert!(producer.stats().bells_rung == 0);
    producer.send(b"more").unwrap();
    assert_eq!(producer.stats().bells_rung, 1, "one sleeps");
    assert!(!consumer.arm().unwrap(), "there is news");
    assert_eq!(consumer.stats().times_slept, 4);
}

#[test]
#[allow(unsafe_code, reason = "vouches for the producer of this test")]
fn what_is_held_and_what_is_missed_is_in_the_statistics() {
    let mut producer = lane("lane");
    let (_server, address) = listen([&producer]);
    // SAFETY: the producer is this very program.
    let in_place = unsafe { Attach::new().in_place() };
    let mut holder = Session::connect(&*address).unwrap().attach_one(in_place).unwrap();
    producer.send(b"kept").unwrap();
    let kept = holder.receive().unwrap().unwrap().into_owned();
    assert_eq!(holder.stats().held_bytes, 16);
    drop(kept);
    assert_eq!(holder.stats().held_bytes, 0);
    drop(holder);

    let mut consumer = Consumer::connect(&*address).unwrap();
    wait_until("the first has gone", || producer.consumer_count() == 1);
    producer.send(b"lost").unwrap();
    producer.evict(&producer.consumers()[0]).unwrap();
    (0..10).for_each(|_| producer.send(&[0; 1000]).unwrap());
    let error = consumer.receive().unwrap_err();
    let ReceiveError::Evicted { missed_bytes } = error else { panic!("{error}") };
    let stats = consumer.stats();
    assert_eq!((stats.records, stats.missed_bytes), (0, missed_bytes));
    assert!(missed_bytes >= 16 + 10 * 1008, "{missed_bytes}");
}

/// A consumer in a process of its own, that leaves when it is told.
fn consumer_of_its_own() {
    let consumer = Consumer::connect(argument()).unwrap();
    say("attached");
    match &*told() {
        "leave" => drop(consumer),
        other => panic!("{other}?"),
    }
    say("left");
    wait_for_the_end()
}

#[test]
fn those_who_join_leave_die_and_are_evicted_are_told_apart() {
    let test = "those_who_join_leave_die_and_are_evicted_are_told_apart";
    if role().as_deref() == Some("consumer") {
        return consumer_of_its_own();
    }
    isolated(test, || {
        let mut producer = lane("lane");
        let (server, address) = listen([&producer]);
        let tap = Tap::connect(&*address).unwrap();
        let start = || {
            let mut consumer = Peer::start(test, "consumer", &address);
            consumer.expect("attached");
            consumer
        };
        let (mut leaves, mut dies, evicted) = (start(), start(), start());
        let turnover = |producer: &Producer| {
            let stats = producer.stats();
            [stats.consumers_joined, stats.consumers_left, stats.consumers_died, stats.consumers_evicted]
        };
        assert_eq!((turnover(&producer), producer.stats().taps_joined), ([3, 0, 0, 0], 1));
        wait_until("all are attached", || server.stats().attached == 4);

        leaves.tell("leave");
        leaves.expect("left");
        wait_until("it has left", || server.stats().left == 1);
        assert_eq!(turnover(&producer), [3, 1, 0, 0]);

        let pid = evicted.pid();
        let who = producer.consumers().into_iter().find(|who| who.pid == Some(pid)).unwrap();
        assert!(producer.evict(&who).unwrap());
        wait_until("it is told", || server.stats().evicted == 1);
        assert_eq!(turnover(&producer), [3, 1, 0, 1]);

        // One that dies while somebody looks at its memory, see proc_pid_maps(5), has it a moment longer, and is put
        // out like one that lives: then there is another.
        let (mut joined, mut put_out) = (3, 1);
        loop {
            dies.kill();
            wait_until("it has gone", || server.stats().died + server.stats().evicted > put_out);
            if server.stats().died == 1 {
                break;
            }
            assert_eq!(turnover(&producer), [joined, 1, 0, put_out + 1]);
            (joined, put_out) = (joined + 1, put_out + 1);
            assert!(joined < 20, "each that died was put out");
            dies = start();
        }
        assert_eq!(turnover(&producer), [joined, 1, 1, put_out]);
        drop(tap);
        wait_until("the tap has left, too", || server.stats().left == 2);
        assert_eq!(turnover(&producer), [joined, 1, 1, put_out], "no consumer");
        producer.send(b"goes on").unwrap();
        wait_until("all sessions are over", || server.stats().sessions == 0);
        let stats = server.stats();
        let sessions = joined + 1;
        assert_eq!((stats.accepted, stats.refused, stats.attached, stats.sessions), (sessions, 0, sessions, 0));
    });
}

/// The first lane has room for it, and the second no place to resume at.
#[test]
fn one_that_is_refused_by_one_of_its_lanes_has_joined_none() {
    let first = lane("first");
    let second = LaneOptions::new("second").no_consumer(NoConsumer::WaitFor(1)).create().unwrap();
    let (server, address) = listen([&first, &second]);
    let only = || SessionOptions::new().lanes(["second"]).connect(&*address).unwrap();
    let _here = only().attach_one(Attach::new()).unwrap();
    let session = Session::connect(&*address).unwrap();
    let wishes = [Attach::lane("first"), Attach::lane("second").start(Start::Resume)];
    assert!(matches!(session.attach(wishes), Err(Error::Refused { .. })));
    wait_until("it is counted", || server.stats().refused == 1);
    assert_eq!((first.stats().consumers_joined, second.stats().consumers_joined), (0, 1));
    assert_eq!((first.stats().consumers_died, first.stats().consumers_left), (0, 0));
    assert_eq!(server.stats().attached, 1);
}

#[test]
fn a_session_and_who_listens_for_them_say_what_is_mapped_and_waits() {
    let address = format!("@{}", unique_name());
    let each = SessionOptions::new().deadline(DEADLINE);
    let listener = SessionListenerOptions::new().sessions(each).listen(&*address).unwrap();
    let producer = lane("lane");
    std::thread::scope(|scope| {
        let link = scope.spawn(|| producer.connect(&*address).unwrap());
        wait_until("it waits to be accepted", || listener.stats().attached == 1);
        let session = listener.accept_timeout(DEADLINE).unwrap();
        let stats = session.stats();
        assert_eq!((stats.lanes, stats.mapped_bytes), (1, 4096 * 3));
        let waits = Duration::from_millis(2);
        wait_until("time passes", || session.stats().open_for >= stats.open_for + waits);
        let consumer = session.attach_one(Attach::new()).unwrap();
        let link = link.join().unwrap();
        assert_eq!((link.stats().attached, link.stats().sessions), (1, 1));
        drop(consumer);
        wait_until("it has left", || link.stats().left == 1);
        assert_eq!((listener.stats().left, listener.stats().died), (0, 0));
    });
}

#[test]
fn a_worker_counts_records_tasks_and_those_that_are_done() {
    let address = format!("@{}", unique_name());
    let mut distributor = Distributor::listen(&*address).unwrap();
    let mut worker = Worker::connect(&*address).unwrap();
    assert_eq!(worker.stats(), WorkerStats::default());
    sleeps_once(0, &mut || {
        assert_eq!(worker.receive_timeout(Duration::from_millis(50)).unwrap_err(), ReceiveError::TimedOut);
        worker.stats().times_slept
    });
    (0..7_u64).for_each(|number| distributor.send(To::MostRoom, &number.to_le_bytes()).unwrap());
    let counts = |worker: &Worker| {
        let stats = worker.stats();
        assert_eq!(stats.record_bytes, 16 * stats.records);
        [stats.records, stats.tasks, stats.tasks_done, stats.held_bytes]
    };
    worker.receive().unwrap().unwrap();
    assert_eq!(counts(&worker), [1, 0, 0, 0], "no task");
    let mut take = || worker.take().unwrap().unwrap();
    let (first, second, third, fourth) = (take(), take(), take(), take());
    assert_eq!(counts(&worker), [5, 4, 0, 4 * 16]);
    // On any thread, and in any order.
    std::thread::spawn(move || second.done()).join().unwrap();
    assert_eq!(counts(&worker), [5, 4, 1, 4 * 16], "the first is held");
    first.done();
    assert_eq!(counts(&worker), [5, 4, 2, 2 * 16]);
    drop(third);
    fourth.done();
    assert_eq!(counts(&worker), [5, 4, 3, 2 * 16], "one that was dropped is never done");

    // The last two are left to others.
    let who = distributor.workers().remove(0);
    assert!(distributor.evict(&who).unwrap());
    let error = worker.receive().unwrap_err();
    let ReceiveError::Evicted { missed_bytes } = error else { panic!("{error}") };
    let stats = worker.stats();
    assert_eq!((stats.records, stats.missed_bytes, missed_bytes), (5, 2 * 16, 2 * 16));
}
