//! Records that are held (invariants 1, 6, 12 and 22): nothing of them is overwritten before the hold ends,
//! `consumed` never falls, whichever thread stores it, and the thread that makes room wakes the producer. loom reports
//! the race when a byte is overwritten that is still held; a `consumed` that fell would have its consumer evicted.

use super::explore;
use crate::ends::{Got, Kept, Producer, Shared, lane};
use crate::memory::{GRANULE, LONG, SHORT, Watch};
use crate::ring::{LaneWords, SeatWords};
use crate::sync::Ordering;
use crate::terms::Start;
use loom::thread;

/// Nobody was evicted, and that number is there.
fn check_seats(shared: &Shared, seats: usize) {
    let evictions = shared.lane.evictions().load(Ordering::Relaxed);
    assert_eq!((shared.roster.len(), evictions), (seats, 0), "it told the truth, and was evicted");
}

#[test]
fn what_is_held_is_not_overwritten_while_its_reader_reads_on() {
    explore(3, || {
        let (shared, mut producer) = lane(Watch::Races, 0);
        let mut consumer = shared.join(1, Start::Latest);
        assert!(producer.try_send(SHORT) && producer.try_send(SHORT) && producer.try_send(LONG));
        let kept = consumer.keep();
        let ends = thread::spawn(move || kept.end());
        let sends = thread::spawn(move || {
            let sent = [SHORT, LONG].into_iter().filter(|len| producer.try_send(*len)).count() as u64;
            producer.check();
            (sent, producer)
        });
        assert_eq!(consumer.poll(), Got::Record);
        consumer.release();
        assert_eq!(consumer.poll(), Got::Record);
        consumer.release();
        ends.join().unwrap();
        let (sent, mut producer) = sends.join().unwrap();
        consumer.read_rest();
        assert_eq!(consumer.last(), 3 + sent);
        assert!(producer.try_send(LONG), "nothing is held any more");
        check_seats(&shared, 1);
    });
}

#[test]
fn holds_end_on_any_thread_and_the_oldest_counts() {
    explore(3, || {
        let (shared, mut producer) = lane(Watch::Races, 0);
        let mut consumer = shared.join(1, Start::Latest);
        assert!(producer.try_send(SHORT) && producer.try_send(SHORT) && producer.try_send(LONG));
        let kept = [consumer.keep(), consumer.keep()];
        consumer.poll();
        consumer.release();
        let threads = kept.map(|kept| thread::spawn(move || kept.end()));
        let sent = producer.try_send(LONG);
        producer.check();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert!(sent || producer.try_send(LONG), "nothing is held any more");
        assert!(producer.try_send(LONG), "nothing is held any more");
        check_seats(&shared, 1);
    });
}

#[test]
fn who_sees_a_release_comes_after_the_hold_that_ended_in_its_slot() {
    explore(3, || {
        let (shared, mut producer) = lane(Watch::Races, 0);
        let mut consumer = shared.join(1, Start::Latest);
        assert!(producer.try_send(SHORT) && producer.try_send(SHORT));
        let kept = [consumer.keep(), consumer.keep()];
        let threads = kept.map(|kept| thread::spawn(move || kept.end()));
        let (lane, seat) = (shared.lane.clone(), consumer.seat().clone());
        // In place of the producer, whose fence would hide what the reader's lacks: to loom, an acquire fence is one of
        // all threads that it comes after.
        let overwrites = thread::spawn(move || {
            let released = seat.consumed().load(Ordering::Acquire);
            (0..released).step_by(GRANULE as usize).for_each(|begin| lane.fill(begin + 8, SHORT, 0));
        });
        consumer.release();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        overwrites.join().unwrap();
        assert_eq!(consumer.seat().consumed().load(Ordering::Relaxed), 2 * GRANULE, "nothing is held any more");
    });
}

#[test]
fn holds_of_one_record_that_outnumber_the_slots_end_one_for_another() {
    explore(3, || {
        let (shared, mut producer) = lane(Watch::Races, 0);
        let mut consumer = shared.join(1, Start::Latest);
        assert!(producer.try_send(LONG) && producer.try_send(LONG));
        let first = consumer.keep();
        // The last one has the number of the first one's slot, and is in the books.
        let [second, last] = [(); 2].map(|()| consumer.keep_again(&first));
        let threads = [last, first].map(|kept| thread::spawn(move || kept.end()));
        consumer.release();
        assert_eq!(consumer.seat().consumed().load(Ordering::Relaxed), 0, "one is held");
        producer.check();
        second.end();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(consumer.seat().consumed().load(Ordering::Relaxed), 2 * GRANULE, "nothing is held any more");
        assert!(producer.try_send(LONG));
        check_seats(&shared, 1);
    });
}

#[test]
fn a_producer_is_woken_by_whichever_thread_ends_the_hold() {
    explore(3, || {
        let (shared, mut producer) = lane(Watch::Races, 0);
        let mut consumer = shared.join(1, Start::Latest);
        assert!(producer.try_send(LONG) && producer.try_send(LONG));
        let kept = consumer.keep();
        let sends = thread::spawn(move || producer.send(LONG));
        let ends = thread::spawn(move || kept.end());
        assert_eq!(consumer.poll(), Got::Record);
        // Nothing but the hold is left; its end wakes the producer, or this release does.
        consumer.release();
        sends.join().unwrap();
        ends.join().unwrap();
        assert_eq!(consumer.read_rest(), 1);
        check_seats(&shared, 1);
    });
}

/// Waits for room and sends; its positions are still in order.
fn send_checked(mut producer: Producer) -> Producer {
    producer.send(LONG);
    producer.check();
    producer
}

/// Ends the hold of what is in hand, and checks that there is room from then on and not before.
fn end_in_hand(task: Kept, producer: &mut Producer) {
    assert!(!producer.try_send(LONG), "it is in hand");
    task.end();
    assert!(producer.try_send(LONG), "nothing is held any more");
}

#[test]
fn what_a_worker_has_in_hand_is_released_by_its_end_alone_whatever_the_worker_does() {
    explore(3, || {
        let (shared, mut producer) = lane(Watch::Races, 0);
        let mut consumer = shared.join(1, Start::Latest);
        assert!(producer.try_send(LONG) && producer.try_send(LONG));
        let task = consumer.take();
        assert_eq!(consumer.seat().consumed().load(Ordering::Relaxed), 0, "it is in hand");
        let sends = thread::spawn(move || send_checked(producer));
        // Nothing but its end makes room, and wakes the producer: the worker has nothing more to do.
        let ends = thread::spawn(move || task.end());
        let next = consumer.take();
        let mut producer = sends.join().unwrap();
        ends.join().unwrap();
        end_in_hand(next, &mut producer);
        consumer.read_rest();
        check_seats(&shared, 1);
    });
}

#[test]
fn a_task_is_taken_while_a_record_is_kept_that_was_read_before() {
    explore(3, || {
        let (shared, mut producer) = lane(Watch::Races, 0);
        let mut consumer = shared.join(1, Start::Latest);
        assert!(producer.try_send(SHORT) && producer.try_send(SHORT) && producer.try_send(LONG));
        let kept = consumer.keep();
        let ends = thread::spawn(move || kept.end());
        let task = consumer.take();
        let done = thread::spawn(move || task.end());
        let sent = producer.try_send(LONG);
        producer.check();
        [ends, done].into_iter().for_each(|thread| thread.join().unwrap());
        assert!(sent || producer.try_send(LONG), "neither is held any more");
        consumer.read_rest();
        check_seats(&shared, 1);
    });
}

#[test]
fn a_producer_that_misses_a_release_without_a_fence_is_woken_when_the_next_record_is_taken() {
    explore(3, || {
        let (shared, mut producer) = lane(Watch::Races, 0);
        let mut consumer = shared.join(1, Start::Latest);
        assert!(producer.try_send(LONG) && producer.try_send(LONG));
        assert_eq!(consumer.poll(), Got::Record);
        let sends = thread::spawn(move || send_checked(producer));
        let task = consumer.take();
        let mut producer = sends.join().unwrap();
        end_in_hand(task, &mut producer);
        consumer.read_rest();
        check_seats(&shared, 1);
    });
}

#[test]
fn a_reader_that_stores_by_itself_again_goes_on_from_there() {
    explore(4, || {
        let (shared, mut producer) = lane(Watch::Races, 0);
        let mut consumer = shared.join(1, Start::Latest);
        assert!((0..4).all(|_| producer.try_send(SHORT)));
        let kept = consumer.keep();
        let ends = thread::spawn(move || kept.end());
        consumer.release();
        assert_eq!(consumer.poll(), Got::Record);
        consumer.release();
        let again = consumer.keep();
        assert!(!producer.try_send(LONG) || consumer.seat().consumed().load(Ordering::Relaxed) >= 2048);
        ends.join().unwrap();
        let ends = thread::spawn(move || again.end());
        assert_eq!(consumer.poll(), Got::Record);
        consumer.release();
        producer.check();
        ends.join().unwrap();
        consumer.read_rest();
        assert!(producer.try_send(LONG) && producer.try_send(LONG), "nothing is held any more");
        check_seats(&shared, 1);
    });
}

#[test]
fn the_last_hold_of_a_consumer_that_was_dropped_leaves_the_lane() {
    for panics in [false, true] {
        explore(3, move || {
            let (shared, mut producer) = lane(Watch::Races, 0);
            let mut consumer = shared.join(1, Start::Latest);
            assert!(producer.try_send(LONG) && producer.try_send(LONG));
            let kept = consumer.keep();
            let ends = thread::spawn(move || kept.end());
            let sends = thread::spawn(move || {
                producer.send(LONG);
                producer
            });
            assert_eq!(consumer.poll(), Got::Record);
            if panics {
                consumer.leave_in_panic()
            } else {
                consumer.leave()
            }
            ends.join().unwrap();
            let mut producer = sends.join().unwrap();
            producer.try_send(LONG);
            assert!(producer.try_send(LONG), "nobody holds the lane back");
            check_seats(&shared, 0);
        });
    }
}
