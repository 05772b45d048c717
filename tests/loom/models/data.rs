//! Sleeping for data: no wake-up is lost (invariant 11), and no bell is rung twice for one sleep (19). A lost
//! wake-up is a deadlock, which loom reports.

use super::explore_sleepers;
use crate::ends::{Got, lane};
use crate::memory::{SHORT, Watch};
use crate::terms::Start;
use loom::thread;

#[test]
fn a_sleeper_hears_of_every_publication_and_of_the_end() {
    explore_sleepers(5, |sleeper| {
        let (shared, mut producer) = lane(Watch::Races, 0);
        let mut consumer = shared.join(1, Start::Latest).sleeping_by(sleeper);
        let thread = thread::spawn(move || {
            producer.send(SHORT);
            producer.send(SHORT);
            producer.finish();
        });
        assert_eq!([consumer.receive(), consumer.receive(), consumer.receive()], [Got::Record, Got::Record, Got::End]);
        assert!(consumer.rings() <= consumer.sleeps(), "one ring for a sleep, and no more");
        thread.join().unwrap();
    });
}

#[test]
fn a_cancelled_sleep_takes_no_ring_from_the_next() {
    explore_sleepers(5, |sleeper| {
        let (shared, mut producer) = lane(Watch::Races, 0);
        let mut consumer = shared.join(1, Start::Latest).sleeping_by(sleeper);
        let thread = thread::spawn(move || {
            producer.send(SHORT);
            producer.send(SHORT);
        });
        consumer.arm_and_cancel();
        assert_eq!([consumer.receive(), consumer.receive()], [Got::Record, Got::Record]);
        assert!(consumer.rings() <= consumer.sleeps(), "one ring for a sleep, and no more");
        thread.join().unwrap();
    });
}

#[test]
fn two_sleepers_are_both_rung_for() {
    explore_sleepers(5, |sleeper| {
        let (shared, mut producer) = lane(Watch::Races, 0);
        let threads = [1, 2].map(|id| shared.join(id, Start::Latest).sleeping_by(sleeper)).map(|mut consumer| {
            thread::spawn(move || {
                assert_eq!(consumer.receive(), Got::Record);
                assert!(consumer.rings() <= consumer.sleeps(), "one ring for a sleep, and no more");
            })
        });
        producer.send(SHORT);
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
}

#[test]
fn a_consumer_that_has_just_joined_is_rung_for() {
    explore_sleepers(5, |sleeper| {
        let (shared, mut producer) = lane(Watch::Races, 0);
        let thread = thread::spawn(move || {
            producer.send(SHORT);
            producer.finish();
        });
        let mut consumer = shared.join(1, Start::Latest).sleeping_by(sleeper);
        while consumer.receive() != Got::End {}
        thread.join().unwrap();
    });
}

#[test]
fn a_publication_and_a_death_that_come_together_are_both_seen() {
    explore_sleepers(5, |sleeper| {
        let (shared, mut producer) = lane(Watch::Races, 0);
        let mut consumer = shared.join(1, Start::Latest).sleeping_by(sleeper);
        let events = consumer.events();
        let thread = thread::spawn(move || {
            producer.send(SHORT);
            events.hang_up();
        });
        assert_eq!([consumer.receive(), consumer.receive()], [Got::Record, Got::End]);
        thread.join().unwrap();
    });
}

/// The announcement stands while the loop comes round without news, and a ring for it is never awaited twice.
#[test]
fn a_loop_that_is_woken_for_nothing_is_rung_for_all_the_same() {
    explore_sleepers(4, |sleeper| {
        let (shared, mut producer) = lane(Watch::Races, 0);
        let mut consumer = shared.join(1, Start::Latest).sleeping_by(sleeper);
        let thread = thread::spawn(move || {
            producer.send(SHORT);
            producer.send(SHORT);
        });
        // It looks and arms again though nothing has happened, as far as it knows.
        consumer.arm_and_cancel();
        consumer.poll();
        consumer.arm_and_cancel();
        while consumer.last() < 2 {
            assert_eq!(consumer.receive(), Got::Record);
        }
        assert!(consumer.rings() <= consumer.sleeps(), "one ring for a sleep, and no more");
        thread.join().unwrap();
    });
}
