//! Consumers that sleep where nobody rings for what is published, or another has heard of the session's end.

use super::{consumer, link, seat_words};
use crate::consumer::Consumer;
use crate::frame::{Barrier, BellKind};
use crate::lane::LaneOptions;
use crate::link::Fate;
use crate::producer::Producer;
use crate::test_support::{DEADLINE, sleeps_of, wait_until, wait_until_thread_has_slept_for};
use crate::wake::{Bell, BellEnd, SECOND_LOOK, Woken};
use rustix::net::{SendFlags, send};
use rustix::process::Pid;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::thread::ScopedJoinHandle;

type Receive = fn(&mut Consumer) -> Vec<u8>;

/// Through the watch and by a poll.
const RECEIVES: [Receive; 2] = [
    |consumer| consumer.receive().unwrap().unwrap().to_vec(),
    |consumer| consumer.receive_timeout(2 * DEADLINE).unwrap().unwrap().to_vec(),
];

/// A thread that waits for a record.
struct Waiting<'scope> {
    thread: ScopedJoinHandle<'scope, ()>,
    tid: Pid,
    sleeps_before: u64,
}

impl Waiting<'_> {
    fn has_received(&self) -> bool {
        self.thread.is_finished()
    }

    /// How often it has gone to sleep while it waits; 0 while it is awake.
    fn sleeps(&self) -> u64 {
        sleeps_of(self.tid).map_or(0, |(sleeps, is_asleep)| if is_asleep { sleeps - self.sleeps_before } else { 0 })
    }
}

/// Has a consumer wait that relies on the sleeper's barrier alone, and of which the producer knows nothing. It is up to
/// `test` to publish, to ring, and to see how far it is.
fn while_it_waits<T>(receive: Receive, test: impl FnOnce(&mut Producer, &Bell, &Waiting<'_>) -> T) -> T {
    let mut producer = Producer::create_at(&LaneOptions::new("unrung").capacity(4096), 0).unwrap();
    let (bell, end) = Bell::create(BellKind::Eventfd).unwrap();
    let end = BellEnd::receive(BellKind::Eventfd, end).unwrap();
    let (mut consumer, session) = consumer(Arc::clone(&producer.lane().map), seat_words(), end, 0, None);
    consumer.barrier = Barrier::Asymmetric;
    let (tell, told) = channel();
    std::thread::scope(|scope| {
        // Where the test fails its end wakes the consumer.
        let _session = session;
        let thread = scope.spawn(move || {
            let tid = rustix::thread::gettid();
            tell.send((tid, sleeps_of(tid).unwrap().0)).unwrap();
            assert_eq!(receive(&mut consumer), b"");
        });
        let (tid, sleeps_before) = told.recv_timeout(DEADLINE).unwrap();
        let waiting = Waiting { thread, tid, sleeps_before };
        wait_until("the consumer sleeps", || waiting.sleeps() > 0);
        let outcome = test(&mut producer, &bell, &waiting);
        wait_until("it has the record", || waiting.has_received());
        outcome
    })
}

#[test]
fn one_whose_ring_stays_out_finds_at_its_second_look_what_was_published() {
    for receive in RECEIVES {
        // Where this thread is late the record comes after the second look: then it sleeps on, and is tried again.
        let finds_it = || {
            while_it_waits(receive, |producer, bell, waiting| {
                producer.send(b"").unwrap();
                wait_until("it has looked a second time", || waiting.has_received() || waiting.sleeps() > 1);
                let finds_it = waiting.has_received();
                bell.ring();
                finds_it
            })
        };
        assert!((0..100).any(|_| finds_it()), "in none of a hundred tries was the record found");
    }
}

#[test]
fn one_that_has_found_nothing_at_its_second_look_sleeps_until_it_is_rung_for() {
    for receive in RECEIVES {
        while_it_waits(receive, |producer, bell, waiting| {
            wait_until_thread_has_slept_for(waiting.tid, 5 * SECOND_LOOK);
            producer.send(b"").unwrap();
            bell.ring();
        });
    }
}

#[test]
fn who_comes_to_sleep_when_another_has_heard_of_the_end_is_woken_too() {
    for bytes in [&b"no frame"[..], &[0; 100]] {
        let (link, other) = link();
        send(&other, bytes, SendFlags::empty()).unwrap();
        assert_eq!(link.wait(None, Some(DEADLINE)).unwrap(), Woken::Otherwise);
        assert_eq!(link.fate(), Fate::Dead);
        // The frame is gone, and the producer's end still open.
        assert_eq!(link.wait(None, Some(DEADLINE)).unwrap(), Woken::Otherwise);
    }
}
