//! A consumer that joins while the producer publishes sees every record from its start (invariant 15), and none
//! of them is overwritten before it has read them (6).

use super::{UNLIMITED, explore};
use crate::ends::{Shared, lane};
use crate::memory::{CAPACITY, LONG, SHORT, Watch};
use crate::terms::Start;
use loom::thread;
use std::sync::Arc;

/// What a producer sends while someone joins: enough to go round the ring.
const SENT: [u64; 4] = [SHORT, LONG, SHORT, SHORT];

fn join_while_publishing(begin: u64, start: Start) {
    let (shared, mut producer) = lane(Watch::Races, 0);
    for _ in 0..begin {
        assert!(producer.try_send(SHORT));
    }
    let thread = thread::spawn(move || {
        let sent = begin + SENT.into_iter().filter(|len| producer.try_send(*len)).count() as u64;
        producer.check();
        (producer, sent)
    });
    read_all(&shared, start, thread);
}

fn read_all(shared: &Shared, start: Start, producer: thread::JoinHandle<(crate::ends::Producer, u64)>) {
    let mut consumer = shared.join(1, start);
    consumer.poll();
    let (producer, sent) = producer.join().unwrap();
    let records = consumer.read_rest();
    assert!(consumer.last() == sent || (records == 0 && consumer.last() == 0), "{} of {sent}", consumer.last());
    drop(producer);
}

#[test]
fn who_joins_at_the_latest_misses_nothing() {
    explore(UNLIMITED, || join_while_publishing(2, Start::Latest));
}

#[test]
fn who_joins_at_the_oldest_misses_nothing() {
    explore(UNLIMITED, || join_while_publishing(2, Start::Oldest));
}

#[test]
fn who_joins_at_the_oldest_beside_another_misses_nothing() {
    explore(UNLIMITED, || {
        let (shared, mut producer) = lane(Watch::Races, 0);
        let mut other = shared.join(7, Start::Latest);
        assert!(producer.try_send(SHORT) && producer.try_send(LONG));
        let thread = thread::spawn(move || {
            let sent = 2 + [SHORT, SHORT].into_iter().filter(|len| producer.try_send(*len)).count() as u64;
            (producer, sent)
        });
        other.poll();
        other.release();
        read_all(&shared, Start::Oldest, thread);
    });
}

#[test]
fn who_joins_at_the_oldest_begins_below_what_is_published() {
    explore(UNLIMITED, || {
        let (shared, mut producer) = lane(Watch::Races, 0);
        let mut other = shared.join(7, Start::Latest);
        assert!(producer.try_send(SHORT) && producer.try_send(SHORT) && producer.try_send(LONG));
        other.read_rest();
        other.release();
        // All is released, so the oldest that is kept is what the first of these records begins with.
        let thread = thread::spawn(move || {
            let sent = 3 + [SHORT, SHORT].into_iter().filter(|len| producer.try_send(*len)).count() as u64;
            (producer, sent)
        });
        read_all(&shared, Start::Oldest, thread);
    });
}

#[test]
fn who_joins_while_a_record_is_written_begins_below_it() {
    explore(UNLIMITED, || {
        let (shared, mut producer) = lane(Watch::Races, 0);
        let mut other = shared.join(7, Start::Latest);
        assert!(producer.try_send(SHORT) && producer.try_send(SHORT));
        // Shortened after it was claimed, so that it ends before where it would have ended.
        let claim = producer.claim(LONG);
        producer.send_in(claim, SHORT);
        assert_eq!(other.read_rest(), 3);
        other.release();
        let thread = thread::spawn(move || {
            let sent = 3 + u64::from(producer.try_send(LONG));
            (producer, sent)
        });
        read_all(&shared, Start::Oldest, thread);
    });
}

/// A producer fences before it remembers a boundary; the boundary does not lean on that.
#[test]
fn a_boundary_comes_with_its_publication() {
    explore(UNLIMITED, || {
        let (shared, mut producer) = lane(Watch::Races, 0);
        for _ in 0..4 {
            assert!(producer.try_send(SHORT));
        }
        // Nothing older is kept, and there is room without another look.
        let (limit, _) = shared.roster.refresh(&*shared.lane, CAPACITY, 2 * CAPACITY);
        assert!(producer.publisher().writer.raise_intent(limit, limit));
        let (roster, lane) = (Arc::clone(&shared.roster), Arc::clone(&shared.lane));
        let thread = thread::spawn(move || {
            producer.write(SHORT);
            producer.publish_unheard();
            roster.remember_boundary(&*lane, producer.publisher().writer.published());
            (producer, 5)
        });
        read_all(&shared, Start::Oldest, thread);
    });
}

#[test]
fn most_of_the_ring_is_there_for_who_joins_at_the_oldest() {
    explore(UNLIMITED, || {
        let (shared, mut producer) = lane(Watch::Races, 0);
        for _ in 0..6 {
            assert!(producer.try_send(SHORT));
        }
        let mut consumer = shared.join(1, Start::Oldest);
        assert_eq!(consumer.read_rest(), 3);
        assert_eq!(consumer.last(), 6);
    });
}
