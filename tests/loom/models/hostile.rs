//! Whatever a consumer writes into its seat, the producer goes on, and overwrites nothing that others need
//! (invariant 10).

use super::{UNLIMITED, explore};
use crate::ends::{Got, lane};
use crate::layout::CONSUMED_LEFT_BIT;
use crate::memory::{CAPACITY, GRANULE, LONG, SHORT, Seat, Watch};
use crate::ring::{LaneWords, SeatWords};
use crate::sync::Ordering;
use crate::terms::Start;

/// Stores `consumed` and `read`.
fn say(seat: &Seat, consumed: u64, read: u64) {
    seat.read().store(read, Ordering::Relaxed);
    seat.consumed().store(consumed, Ordering::Relaxed);
}

#[test]
fn nonsense_in_a_seat_evicts_its_consumer() {
    for (consumed, read) in [
        (2 * CAPACITY, 2 * CAPACITY),
        (u64::MAX - 1, u64::MAX - 1),
        (GRANULE, 2 * GRANULE),
        (GRANULE | CONSUMED_LEFT_BIT, 2 * GRANULE),
        (2 * CAPACITY | CONSUMED_LEFT_BIT, 2 * CAPACITY),
        (2 * GRANULE, GRANULE),
        (2 * GRANULE, 2 * CAPACITY),
    ] {
        explore(UNLIMITED, move || {
            let (shared, mut producer) = lane(Watch::Races, 0);
            let hostile = shared.join(1, Start::Latest);
            assert!(producer.try_send(LONG) && producer.try_send(LONG));
            // It has released a record, as it should, ...
            say(hostile.seat(), 2 * GRANULE, 2 * GRANULE);
            assert!(producer.try_send(LONG) && !producer.try_send(SHORT));
            producer.check();
            // ... and now claims to have read what is not published, to need what it released, or not to have read it.
            say(hostile.seat(), consumed, read);
            let mut honest = shared.join(2, Start::Oldest);
            producer.try_send(LONG);
            producer.check();
            assert_eq!(shared.roster.len(), 1, "{consumed} and {read} were believed");
            assert_eq!(shared.lane.evictions().load(Ordering::Relaxed), 1);
            assert_eq!(honest.poll(), Got::Record);
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
