//! Consumers that sleep where nobody rings for what is published.

use super::{consumer, seat_words};
use crate::consumer::Consumer;
use crate::frame::{Barrier, BellKind};
use crate::lane::LaneOptions;
use crate::producer::Producer;
use crate::test_support::{DEADLINE, sleeps_of, wait_until};
use crate::wake::{Bell, BellEnd};
use std::sync::Arc;
use std::sync::mpsc::channel;

/// Through the watch and by a poll.
const RECEIVES: [fn(&mut Consumer) -> Vec<u8>; 2] = [
    |consumer| consumer.receive().unwrap().unwrap().to_vec(),
    |consumer| consumer.receive_timeout(2 * DEADLINE).unwrap().unwrap().to_vec(),
];

/// How far a consumer is that waits for a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    Awake,
    /// For the how manieth time.
    Asleep(u64),
    Received,
}

/// Has a consumer wait that relies on the sleeper's barrier alone, and that the producer knows nothing of. What becomes
/// of it is up to `test`, which can publish, ring and see how far it is.
fn while_it_waits<T>(
    receive: fn(&mut Consumer) -> Vec<u8>,
    test: impl FnOnce(&mut Producer, &Bell, &dyn Fn() -> Progress) -> T,
) -> T {
    let mut producer = Producer::create_at(&LaneOptions::new("unrung").capacity(4096), 0).unwrap();
    let (bell, end) = Bell::create(BellKind::Eventfd).unwrap();
    let end = BellEnd::receive(BellKind::Eventfd, end).unwrap();
    let (mut consumer, session) = consumer(Arc::clone(&producer.lane().map), seat_words(), end, 0, None);
    consumer.barrier = Barrier::Asymmetric;
    let (tell, told) = channel();
    std::thread::scope(|scope| {
        // Where the test fails its end wakes the consumer.
        let _session = session;
        let reader = scope.spawn(move || {
            let reader = rustix::thread::gettid();
            tell.send((reader, sleeps_of(reader).0)).unwrap();
            assert_eq!(receive(&mut consumer), b"news");
        });
        let (tid, before) = told.recv_timeout(DEADLINE).unwrap();
        let progress = || match reader.is_finished() {
            true => Progress::Received,
            false => match sleeps_of(tid) {
                (sleeps, true) => Progress::Asleep(sleeps.saturating_sub(before)),
                (_, false) => Progress::Awake,
            },
        };
        wait_until("the consumer sleeps", || matches!(progress(), Progress::Asleep(1..)));
        let outcome = test(&mut producer, &bell, &progress);
        wait_until("it has the record", || progress() == Progress::Received);
        outcome
    })
}

#[test]
fn one_whose_ring_stays_out_finds_at_its_second_look_what_was_published() {
    for receive in RECEIVES {
        let is_found = || {
            while_it_waits(receive, |producer, bell, progress| {
                producer.send(b"news").unwrap();
                let mut at_last = Progress::Awake;
                wait_until("it looks a second time", || {
                    at_last = progress();
                    matches!(at_last, Progress::Received | Progress::Asleep(2..))
                });
                bell.ring();
                at_last == Progress::Received
            })
        };
        assert!((0..100).any(|_| is_found()), "but where the record comes after that, as it does now and then");
    }
}

#[test]
fn one_that_has_found_nothing_at_its_second_look_sleeps_until_it_is_rung_for() {
    for receive in RECEIVES {
        while_it_waits(receive, |producer, bell, progress| {
            wait_until("it sleeps on", || matches!(progress(), Progress::Asleep(2..)));
            producer.send(b"news").unwrap();
            bell.ring();
        });
    }
}
