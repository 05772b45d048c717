//! The slowest lossless consumer holds the lane back (invariants 2, 3 and 6): loom reports the race when a byte
//! is overwritten that a consumer may still read.

use super::{UNLIMITED, explore};
use crate::ends::{Consumer, Got, lane};
use crate::memory::{LONG, SHORT, Watch};
use crate::ring::LaneWords;
use crate::sync::Ordering;
use crate::terms::Start;
use loom::thread;

/// Reads what there is now, twice, and releases it.
fn read_twice(consumer: &mut Consumer) {
    for _ in 0..2 {
        if consumer.poll() == Got::Record {
            consumer.release();
        }
    }
}

#[test]
fn one_consumer_holds_the_lane_back() {
    explore(UNLIMITED, || {
        let (shared, mut producer) = lane(Watch::Races, 0);
        let mut consumer = shared.join(1, Start::Latest);
        assert!(producer.try_send(LONG) && producer.try_send(SHORT) && producer.try_send(SHORT));
        let thread = thread::spawn(move || {
            let sent = [SHORT, LONG].into_iter().filter(|len| producer.try_send(*len)).count() as u64;
            producer.check();
            sent
        });
        read_twice(&mut consumer);
        let sent = 3 + thread.join().unwrap();
        consumer.read_rest();
        assert_eq!(consumer.last(), sent);
        assert_eq!(shared.roster.len(), 1, "it told the truth, and was evicted");
    });
}

#[test]
fn the_slower_of_two_consumers_holds_the_lane_back() {
    explore(4, || {
        let (shared, mut producer) = lane(Watch::Races, 0);
        let mut consumers = [shared.join(1, Start::Latest), shared.join(2, Start::Latest)];
        assert!(producer.try_send(LONG) && producer.try_send(LONG));
        let [first, second] = &mut consumers;
        assert!(!producer.try_send(SHORT), "both hold the lane back");
        // The first has read and released; only the second is still at it.
        assert_eq!(first.poll(), Got::Record);
        first.release();
        assert!(!producer.try_send(SHORT), "the second holds the lane back");
        assert_eq!(second.poll(), Got::Record);
        let threads = consumers.map(|mut consumer| {
            thread::spawn(move || {
                consumer.release();
                read_twice(&mut consumer);
                consumer
            })
        });
        let sent = 2 + [LONG, SHORT].into_iter().filter(|len| producer.try_send(*len)).count() as u64;
        for mut consumer in threads.map(|thread| thread.join().unwrap()) {
            consumer.read_rest();
            assert_eq!(consumer.last(), sent);
        }
    });
}

#[test]
fn one_who_leaves_says_so_and_is_believed() {
    for panics in [false, true] {
        explore(UNLIMITED, move || {
            let (shared, mut producer) = lane(Watch::Races, 0);
            let mut consumer = shared.join(1, Start::Latest);
            assert!(producer.try_send(LONG) && producer.try_send(LONG));
            let thread = thread::spawn(move || {
                let sent = producer.try_send(LONG);
                (sent, producer)
            });
            assert_eq!(consumer.poll(), Got::Record);
            consumer.release();
            assert_eq!(consumer.poll(), Got::Record);
            if panics {
                consumer.leave_in_panic()
            } else {
                consumer.leave()
            }
            let (_, mut producer) = thread.join().unwrap();
            producer.try_send(LONG);
            assert!(producer.try_send(LONG), "nobody holds the lane back");
            producer.check();
            let evictions = shared.lane.evictions().load(Ordering::Relaxed);
            assert_eq!((shared.roster.len(), evictions), (0, 0), "it told the truth, and was evicted");
        });
    }
}
