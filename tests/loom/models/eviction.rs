//! A copying consumer that is evicted, in the middle of a copy too, takes nothing for a record that is none
//! (invariant 7). Here the ring's words race by design, and what was copied is compared.

use super::{UNLIMITED, explore};
use crate::ends::{Consumer, lane};
use crate::memory::{LONG, SHORT, Watch};
use crate::ring::stop::Stop;
use crate::terms::Start;
use loom::thread;

/// Copies that number of records, or until it is evicted. Only an evicted reader finds nonsense.
fn copy_or_be_evicted(consumer: &mut Consumer, records: usize) {
    for _ in 0..records {
        match consumer.copy() {
            Ok(_) => {}
            Err(Stop::Evicted { .. }) => return,
            Err(Stop::Corrupt(corruption)) => panic!("{corruption}, and nobody was evicted"),
        }
    }
}

#[test]
fn an_evicted_consumer_notices_in_the_middle_of_a_copy() {
    explore(UNLIMITED, || {
        let (shared, mut producer) = lane(Watch::Values, 0);
        let mut consumer = shared.join(1, Start::Latest);
        assert!(producer.try_send(LONG) && producer.try_send(LONG));
        let thread = thread::spawn(move || {
            shared.roster.evict(&*shared.lane, 1);
            assert!(producer.try_send(LONG), "nobody holds the lane back");
            producer.check();
        });
        copy_or_be_evicted(&mut consumer, 1);
        thread.join().unwrap();
    });
}

#[test]
fn a_consumer_evicted_by_the_session_layer_notices_too() {
    explore(UNLIMITED, || {
        let (shared, mut producer) = lane(Watch::Values, 0);
        let mut consumer = shared.join(1, Start::Latest);
        assert!(producer.try_send(LONG) && producer.try_send(LONG));
        let steward = shared.clone();
        let evicts = thread::spawn(move || steward.roster.evict(&*steward.lane, 1));
        let sends = thread::spawn(move || producer.try_send(SHORT));
        copy_or_be_evicted(&mut consumer, 1);
        evicts.join().unwrap();
        sends.join().unwrap();
    });
}

#[test]
fn an_evicted_consumer_notices_after_laps_of_other_records() {
    explore(4, || {
        let (shared, mut producer) = lane(Watch::Values, 0);
        let mut consumer = shared.join(1, Start::Latest);
        assert!(producer.try_send(SHORT) && producer.try_send(LONG));
        let thread = thread::spawn(move || {
            shared.roster.evict(&*shared.lane, 1);
            // Padding lies where the second record had its payload, and a header in the middle of the first lap's.
            assert!(producer.try_send(LONG) && producer.try_send(SHORT));
            producer.check();
        });
        copy_or_be_evicted(&mut consumer, 3);
        thread.join().unwrap();
    });
}

#[test]
fn who_stays_is_undisturbed_by_the_eviction_of_another() {
    explore(UNLIMITED, || {
        let (shared, mut producer) = lane(Watch::Values, 0);
        shared.join(1, Start::Latest);
        let mut stays = shared.join(2, Start::Latest);
        assert!(producer.try_send(LONG) && producer.try_send(LONG));
        let thread = thread::spawn(move || {
            shared.roster.evict(&*shared.lane, 1);
            producer.try_send(LONG);
        });
        stays.copy().expect("it was not evicted, and gates the lane");
        stays.release();
        stays.copy().expect("it was not evicted, and gates the lane");
        thread.join().unwrap();
    });
}
