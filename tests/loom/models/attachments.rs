//! Records with descriptors, whose frames lie in a queue of each consumer. Consumers join and go while one is
//! published, through one server of the lane or another, and each record comes with its own frame or not at all
//! (invariant 23).

use super::explore;
use crate::ends::{Got, Producer, Shared, lane};
use crate::memory::{SHORT, Seat, Sent, Watch};
use crate::ring::roster::Seat as RosterSeat;
use crate::terms::Start;
use loom::thread;
use std::cell::RefCell;
use std::sync::Arc;

/// Sends a record with a descriptor to each consumer once, as `Delivery::serve` does. An attempt fails if there are
/// more than `served_max` to be served: then some have their frame, and nothing is published.
fn send(producer: &mut Producer, number: u64, served_max: usize) -> bool {
    let served = RefCell::new(Vec::new());
    producer.send_with_fd(number, |seats: &[Arc<RosterSeat<Seat>>], sent: Sent| {
        let mut served = served.borrow_mut();
        for seat in seats {
            if served.contains(&seat.id()) {
                continue;
            }
            if served.len() == served_max {
                return false;
            }
            seat.port().frames().lock().push_back(sent);
            served.push(seat.id());
        }
        true
    })
}

/// Two records with descriptors, with a plain one before each.
fn publish(producer: &mut Producer) {
    for number in 0..2 {
        assert!(producer.try_send(SHORT));
        assert!(send(producer, number, usize::MAX));
    }
}

fn read(shared: &Shared, id: u64, start: Start) -> crate::ends::Consumer {
    let mut consumer = shared.join(id, start);
    while consumer.look_and_take() == Got::Record {}
    consumer
}

/// Reads what is left once all four are published: to the last of them, without a gap.
fn read_rest(mut consumer: crate::ends::Consumer) {
    while consumer.look_and_take() == Got::Record {}
    assert!([0, 4].contains(&consumer.last()), "read up to {} of 4", consumer.last());
}

#[test]
fn who_joins_while_it_is_published_gets_record_and_descriptor_or_neither() {
    for start in [Start::Latest, Start::Oldest] {
        explore(3, move || {
            let (shared, mut producer) = lane(Watch::Races, 0);
            let thread = thread::spawn(move || {
                publish(&mut producer);
                producer
            });
            let consumer = read(&shared, 1, start);
            let producer = thread.join().unwrap();
            read_rest(consumer);
            drop(producer);
        });
    }
}

/// Each server has a thread of its own that changes the roster.
#[test]
fn joiners_of_two_servers_and_a_leaver_get_theirs() {
    explore(2, || {
        let (shared, mut producer) = lane(Watch::Races, 0);
        let leaver = shared.join(1, Start::Latest);
        let thread = thread::spawn(move || {
            publish(&mut producer);
            producer
        });
        let other = {
            let shared = shared.clone();
            thread::spawn(move || {
                leaver.leave();
                shared.roster.leave(&*shared.lane, 1);
                read(&shared, 2, Start::Oldest)
            })
        };
        let consumers = [read(&shared, 3, Start::Latest), other.join().unwrap()];
        let producer = thread.join().unwrap();
        consumers.into_iter().for_each(read_rest);
        drop(producer);
    });
}

/// An attempt that fails has left a frame with one consumer. The next record with a descriptor begins elsewhere and has
/// the same number. A consumer that has both frames takes the last.
#[test]
fn what_an_attempt_has_left_is_taken_for_no_record() {
    explore(3, || {
        let (shared, mut producer) = lane(Watch::Races, 0);
        let first = shared.join(1, Start::Latest);
        let thread = thread::spawn(move || {
            // It fails if the other one is there.
            let was_alone = send(&mut producer, 0, 1);
            assert!(producer.try_send(SHORT));
            assert!(send(&mut producer, u64::from(was_alone), usize::MAX));
            (producer, 2 + u64::from(was_alone))
        });
        let mut consumers = [first, read(&shared, 2, Start::Latest)];
        let (producer, sent) = thread.join().unwrap();
        for consumer in &mut consumers {
            while consumer.look_and_take() == Got::Record {}
            assert!([0, sent].contains(&consumer.last()), "read up to {} of {sent}", consumer.last());
        }
        drop(producer);
    });
}
