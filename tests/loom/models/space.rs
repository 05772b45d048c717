//! Sleeping for space: no wake-up is lost (invariant 12), whatever makes the room: a consumer that releases or
//! leaves, or the session layer that takes one off. A lost wake-up is a deadlock, which loom reports.

use super::{UNLIMITED, explore};
use crate::ends::{Got, lane, lane_with_space_bells};
use crate::memory::{LONG, SHORT, Watch};
use crate::terms::Start;
use loom::thread;

#[test]
fn a_producer_is_woken_when_a_consumer_releases() {
    explore(5, || {
        let (shared, mut producer) = lane(Watch::Races, 0);
        let mut consumer = shared.join(1, Start::Latest);
        assert!(producer.try_send(LONG) && producer.try_send(LONG));
        let thread = thread::spawn(move || {
            producer.send(SHORT);
            producer.send(LONG);
        });
        for _ in 0..2 {
            assert_eq!(consumer.poll(), Got::Record);
            consumer.release();
        }
        thread.join().unwrap();
        consumer.read_rest();
        assert_eq!(consumer.last(), 4);
    });
}

#[test]
fn a_producer_is_woken_by_whichever_consumer_gates_it() {
    explore(3, || {
        let (shared, mut producer) = lane(Watch::Races, 0);
        let consumers = [shared.join(1, Start::Latest), shared.join(2, Start::Latest)];
        assert!(producer.try_send(LONG) && producer.try_send(LONG));
        let threads = consumers.map(|mut consumer| {
            thread::spawn(move || {
                assert_eq!(consumer.poll(), Got::Record);
                consumer.release();
            })
        });
        producer.send(LONG);
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
}

#[test]
fn a_producer_is_woken_when_a_consumer_leaves() {
    explore(UNLIMITED, || {
        let (shared, mut producer) = lane(Watch::Races, 0);
        let mut consumer = shared.join(1, Start::Latest);
        assert!(producer.try_send(LONG) && producer.try_send(LONG));
        let thread = thread::spawn(move || producer.send(LONG));
        assert_eq!(consumer.poll(), Got::Record);
        consumer.leave();
        thread.join().unwrap();
    });
}

#[test]
fn a_producer_is_woken_when_a_dead_consumer_is_taken_off() {
    explore(UNLIMITED, || {
        let (shared, mut producer) = lane(Watch::Races, 0);
        shared.join(1, Start::Latest);
        assert!(producer.try_send(LONG) && producer.try_send(LONG));
        let thread = thread::spawn(move || producer.send(LONG));
        shared.roster.leave(&*shared.lane, 1);
        thread.join().unwrap();
    });
}

#[test]
fn a_producer_is_woken_when_its_gate_is_evicted_and_waits_for_the_next() {
    explore(3, || {
        let (shared, mut producer) = lane(Watch::Races, 0);
        shared.join(1, Start::Latest);
        assert!(producer.try_send(LONG));
        let mut consumer = shared.join(2, Start::Latest);
        assert!(producer.try_send(LONG));
        let steward = shared.clone();
        let evicts = thread::spawn(move || steward.roster.evict(&*steward.lane, 1));
        let reads = thread::spawn(move || {
            assert_eq!(consumer.poll(), Got::Record);
            consumer.release();
        });
        producer.send(LONG);
        producer.send(LONG);
        evicts.join().unwrap();
        reads.join().unwrap();
    });
}

#[test]
fn a_batch_longer_than_the_ring_and_its_sleeping_reader_wake_each_other() {
    explore(5, || {
        let (shared, mut producer) = lane(Watch::Races, 0);
        let mut consumer = shared.join(1, Start::Latest);
        let thread = thread::spawn(move || {
            producer.write(LONG);
            producer.write(LONG);
            producer.write(SHORT);
            producer.publish();
        });
        assert_eq!([consumer.receive(), consumer.receive(), consumer.receive()], [Got::Record; 3]);
        thread.join().unwrap();
    });
}

/// A consumer that found nothing may wait for something else, for ever: nothing that it has read holds the lane back.
#[test]
fn a_producer_needs_no_more_from_a_consumer_that_found_nothing() {
    explore(5, || {
        let (shared, mut producer) = lane(Watch::Races, 0);
        let mut consumer = shared.join(1, Start::Latest);
        assert!(producer.try_send(LONG) && producer.try_send(LONG));
        let thread = thread::spawn(move || producer.send(LONG));
        assert_eq!([consumer.poll(), consumer.poll()], [Got::Record; 2]);
        assert_eq!(consumer.poll(), Got::Nothing, "the ring was full, and nothing was released");
        thread.join().unwrap();
        consumer.read_rest();
        assert_eq!(consumer.last(), 3);
    });
}

/// As [`explore`], with a loop that watches for levels, and one that watches for edges.
fn explore_loops(preemptions: usize, model: impl Fn(bool) + Send + Sync + Clone + 'static) {
    for for_edges in [false, true] {
        let model = model.clone();
        explore(preemptions, move || model(for_edges));
    }
}

#[test]
fn a_loop_hears_the_space_bell_when_a_consumer_releases() {
    explore_loops(5, |for_edges| {
        let (shared, mut producer) = lane_with_space_bells(Watch::Races, 0);
        let mut consumer = shared.join(1, Start::Latest);
        assert!(producer.try_send(LONG) && producer.try_send(LONG));
        let thread = thread::spawn(move || {
            producer.send_in_loop(SHORT, for_edges);
            producer.send_in_loop(LONG, for_edges);
        });
        for _ in 0..2 {
            assert_eq!(consumer.poll(), Got::Record);
            consumer.release();
        }
        thread.join().unwrap();
        consumer.read_rest();
        assert_eq!(consumer.last(), 4);
    });
}

#[test]
fn a_loop_hears_whichever_consumer_gates_it() {
    explore_loops(3, |for_edges| {
        let (shared, mut producer) = lane_with_space_bells(Watch::Races, 0);
        let consumers = [shared.join(1, Start::Latest), shared.join(2, Start::Latest)];
        assert!(producer.try_send(LONG) && producer.try_send(LONG));
        let threads = consumers.map(|mut consumer| {
            thread::spawn(move || {
                assert_eq!(consumer.poll(), Got::Record);
                consumer.release();
            })
        });
        producer.send_in_loop(LONG, for_edges);
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
}

#[test]
fn a_loop_hears_of_it_when_a_consumer_leaves_or_is_taken_off() {
    explore_loops(UNLIMITED, |for_edges| {
        let (shared, mut producer) = lane_with_space_bells(Watch::Races, 0);
        let mut consumer = shared.join(1, Start::Latest);
        assert!(producer.try_send(LONG) && producer.try_send(LONG));
        let thread = thread::spawn(move || producer.send_in_loop(LONG, for_edges));
        assert_eq!(consumer.poll(), Got::Record);
        consumer.leave();
        thread.join().unwrap();
    });
    explore_loops(UNLIMITED, |for_edges| {
        let (shared, mut producer) = lane_with_space_bells(Watch::Races, 0);
        shared.join(1, Start::Latest);
        assert!(producer.try_send(LONG) && producer.try_send(LONG));
        let thread = thread::spawn(move || producer.send_in_loop(LONG, for_edges));
        shared.roster.leave(&*shared.lane, 1);
        thread.join().unwrap();
    });
}

/// A loop may be left at any step, and a wait of another kind come after it.
#[test]
fn a_wait_that_was_cancelled_takes_nothing_from_the_next() {
    explore_loops(3, |for_edges| {
        let (shared, mut producer) = lane_with_space_bells(Watch::Races, 0);
        let mut consumer = shared.join(1, Start::Latest);
        assert!(producer.try_send(LONG) && producer.try_send(LONG));
        let thread = thread::spawn(move || {
            producer.arm(LONG);
            producer.send(SHORT);
            producer.send_in_loop(LONG, for_edges);
        });
        for _ in 0..2 {
            assert_eq!(consumer.poll(), Got::Record);
            consumer.release();
        }
        thread.join().unwrap();
    });
}
