//! Publication and reading, with padding at the end of the ring (invariants 1, 2, 4, 5 and 8).

use super::{UNLIMITED, explore};
use crate::ends::{Got, lane};
use crate::memory::{GRANULE, LONG, SHORT, Watch};
use crate::terms::Start;
use loom::thread;

#[test]
fn records_are_whole_once_they_are_published() {
    explore(UNLIMITED, || {
        // One granule is left, so the long record goes after padding, to the beginning of the ring.
        let (shared, mut producer) = lane(Watch::Races, 2 * GRANULE);
        let mut consumer = shared.join(1, Start::Latest);
        let thread = thread::spawn(move || {
            producer.send(SHORT);
            producer.send(LONG);
        });
        let seen = (0..2).filter(|_| consumer.poll() == Got::Record).count() as u64;
        thread.join().unwrap();
        assert_eq!(seen + consumer.read_rest(), 2);
    });
}

#[test]
fn a_batch_is_published_as_a_whole() {
    explore(UNLIMITED, || {
        let (shared, mut producer) = lane(Watch::Races, 3 * GRANULE);
        let mut consumer = shared.join(1, Start::Latest);
        let thread = thread::spawn(move || {
            producer.write(SHORT);
            producer.write(SHORT);
            producer.publish();
        });
        if consumer.poll() == Got::Record {
            assert_eq!(consumer.poll(), Got::Record, "the second record of a batch comes with the first");
        }
        thread.join().unwrap();
        consumer.read_rest();
        assert_eq!(consumer.last(), 2);
    });
}
