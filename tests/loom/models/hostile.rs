//! Whatever a consumer writes into its seat, the producer goes on, and overwrites nothing that others need (design
//! invariant 10).

use super::{UNLIMITED, explore};
use crate::ends::{Got, lane};
use crate::memory::{CAPACITY, GRANULE, LONG, SHORT, Watch};
use crate::ring::SeatWords;
use crate::sync::Ordering;
use crate::terms::Start;

#[test]
fn nonsense_in_a_seat_evicts_its_consumer() {
    for nonsense in [2 * CAPACITY, u64::MAX - 1, GRANULE] {
        explore(UNLIMITED, move || {
            let (shared, mut producer) = lane(Watch::Races, 0);
            let hostile = shared.join(1, Start::Latest);
            assert!(producer.try_send(LONG) && producer.try_send(LONG));
            // It has released a record, as it should, ...
            hostile.seat().consumed().store(2 * GRANULE, Ordering::Relaxed);
            assert!(producer.try_send(LONG) && !producer.try_send(SHORT));
            producer.check();
            // ... and now claims to have read what is not published, or to need what it released.
            hostile.seat().consumed().store(nonsense, Ordering::Relaxed);
            let mut honest = shared.join(2, Start::Oldest);
            producer.try_send(LONG);
            producer.check();
            assert_eq!(shared.roster.len(), 1, "{nonsense} was believed");
            assert_eq!(honest.look(), Got::Record);
        });
    }
}

#[test]
fn a_smaller_claim_after_a_larger_one_lowers_nothing() {
    explore(UNLIMITED, || {
        let (_shared, mut producer) = lane(Watch::Races, 0);
        assert!(producer.publisher().writer.raise_intent(2 * GRANULE, 3 * GRANULE));
        producer.check();
        assert!(producer.publisher().writer.raise_intent(GRANULE, 3 * GRANULE));
        producer.check();
    });
}
