//! No wake-up for data is lost, by either kind of barrier (invariant 11): a consumer in a process of its own
//! falls asleep over and over, each time just when the next record is published; and consumers that may not call the
//! barrier, or not any more, are woken for all the same. That the barriers order what they are to order is tested with
//! them: a sleeper that relies on one looks a second time, so that it is late at worst.

mod common;
#[path = "common/peer.rs"]
mod peer;

use common::kernel::deny;
use common::{DEADLINE, isolated, role, unique_name, wait_until_process_has_slept_for};
use fdring::{
    Attach, Consumer, Error, Producer, Server,
    errors::ReceiveError,
    options::{LaneOptions, SessionOptions},
};
use peer::{Peer, argument, say};
use rustix::io::Errno;
use rustix::thread::{MembarrierCommand, membarrier_query};
use std::time::Duration;

/// How often the consumer falls asleep. A run without the fence loses a wake-up in one of a few tries.
const SLEEPS: u64 = 20_000;
/// Longer than the records' ways between the processes, so that an answer is seldom slept for.
const SPIN: Duration = Duration::from_millis(1);

fn connect(address: &str, spin: Duration) -> Consumer {
    SessionOptions::new().spin(spin).connect(address).unwrap().attach_one(Attach::new()).unwrap()
}

/// Answers each record of the lane at the first address on a lane of its own at the second.
fn answer() {
    let argument = argument();
    let (there, back) = argument.split_once(' ').unwrap();
    let mut answers = Producer::create("answers").unwrap();
    let server = Server::listen(back, &[&answers]).unwrap();
    let mut questions = connect(there, Duration::ZERO);
    say("offered");
    server.wait_for_sessions(1, DEADLINE).unwrap();
    while let Some(question) = questions.receive().unwrap() {
        answers.send(&question).unwrap();
    }
}

/// The next answer; a sleeper who was not rung for never gives it.
fn expect(answers: &mut Consumer, n: u64) {
    match answers.receive_timeout(DEADLINE) {
        Ok(Some(answer)) => assert_eq!(answer[..], n.to_le_bytes()),
        Err(ReceiveError::TimedOut) => panic!("record {n} was published, and nobody was woken for it"),
        other => panic!("instead of answer {n}: {other:?}"),
    }
}

fn nobody_sleeps_through_a_record(test: &str, asymmetric: bool) {
    if role().is_some() {
        return answer();
    }
    let mut questions = LaneOptions::new("questions").asymmetric_barrier(asymmetric).create().unwrap();
    let (there, back) = (format!("@{}", unique_name()), format!("@{}", unique_name()));
    let server = Server::listen(there.as_str(), &[&questions]).unwrap();
    let mut peer = Peer::start(test, "answer", &format!("{there} {back}"));
    peer.expect("offered");
    let mut answers = connect(&back, SPIN);
    server.wait_for_sessions(1, DEADLINE).unwrap();
    for n in 0..SLEEPS {
        questions.send(&n.to_le_bytes()).unwrap();
        expect(&mut answers, n);
        // The consumer is falling asleep: be there at each of its steps in turn.
        for _ in 0..n % 512 {
            std::hint::spin_loop();
        }
    }
    drop((questions, server));
    peer.finish();
}

#[test]
fn by_a_fence_on_both_sides() {
    nobody_sleeps_through_a_record("by_a_fence_on_both_sides", false);
}

#[test]
fn by_a_barrier_that_the_sleeper_pays_for() {
    nobody_sleeps_through_a_record("by_a_barrier_that_the_sleeper_pays_for", true);
}

/// Has the kernel refuse membarrier(2) to this thread from now on, and to those it starts.
fn forbid_the_barrier() {
    deny(libc::SYS_membarrier, &[], Errno::PERM);
}

/// Says what it receives, up to the end.
fn receive_all(mut consumer: Consumer) {
    say("attached");
    while let Some(record) = consumer.receive().unwrap() {
        say(&format!("received {}", record[0]));
    }
}

/// Has another process attach and receive, in the test of that name, and wakes it for each of some records.
fn each_record_wakes(test: &str) {
    let mut producer = Producer::create("ticks").unwrap();
    let address = format!("@{}", unique_name());
    let _server = Server::listen(address.as_str(), &[&producer]).unwrap();
    let mut peer = Peer::start(test, "consumer", &address);
    peer.expect("attached");
    for n in 0..3 {
        // Beyond a second look, which would find it unrung.
        wait_until_process_has_slept_for(peer.pid(), Duration::from_millis(200));
        producer.send(&[n]).unwrap();
        peer.expect(&format!("received {n}"));
    }
    producer.finish();
    peer.finish();
}

#[test]
fn one_whose_barrier_fails_is_rung_for_all_the_same() {
    if role().is_some() {
        let consumer = connect(&argument(), Duration::ZERO);
        forbid_the_barrier();
        return receive_all(consumer);
    }
    each_record_wakes("one_whose_barrier_fails_is_rung_for_all_the_same");
}

#[test]
fn one_that_only_fences_is_rung_for_by_a_producer_that_did_not() {
    if role().is_some() {
        forbid_the_barrier();
        return receive_all(connect(&argument(), Duration::ZERO));
    }
    each_record_wakes("one_that_only_fences_is_rung_for_by_a_producer_that_did_not");
}

#[test]
fn one_that_only_fences_is_refused_where_its_first_sleep_would_not_be_safe() {
    isolated("one_that_only_fences_is_refused_where_its_first_sleep_would_not_be_safe", || {
        if !membarrier_query().contains_command(MembarrierCommand::GlobalExpedited) {
            return; // Then the producer fences anyway.
        }
        let producer = Producer::create("ticks").unwrap();
        // Before the server starts its thread, which is to call the barrier for the consumer.
        forbid_the_barrier();
        let address = format!("@{}", unique_name());
        let server = Server::listen(address.as_str(), &[&producer]).unwrap();
        match Consumer::connect(&*address) {
            Err(Error::Refused { reason, .. }) => assert!(reason.contains("refused the barrier"), "{reason}"),
            other => panic!("{other:?}"),
        }
        assert_eq!(producer.consumer_count(), 0, "its seat is free again");
        drop(server);
    });
}
