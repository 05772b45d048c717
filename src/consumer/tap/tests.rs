//! A tap over one mapping, without a session: what its seat says, and how long it waits.

use super::{Attachment, Tap, TapError};
use crate::consumer::tests::seat_words;
use crate::lane::LaneOptions;
use crate::link::tests::{links, say};
use crate::memory::SeatMap;
use crate::os::bell::{Bell, BellEnd};
use crate::os::fork::ForkGuard;
use crate::producer::Producer;
use crate::ring::SeatWords;
use crate::sync::Ordering::Relaxed;
use crate::terms::Barrier;
use crate::wire::{ByeReason, Frame, LaneName, LaneTerms};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A producer whose lane has one record, its tap, which has no place on the roster, and the other end of its session.
fn tapped(barrier: Barrier) -> (Producer, Tap, SeatMap, OwnedFd) {
    let mut producer = Producer::create_at(&LaneOptions::new("lane").capacity(4096), 0).unwrap();
    let (mut links, session) = links(&[true]);
    let (map, seat) = (Arc::clone(&producer.owned_lane().map), seat_words());
    let (_, end) = Bell::create().unwrap();
    let (name, geometry) = (LaneName::new("lane").unwrap(), crate::ring::LaneWords::geometry(&*map));
    let attachment = Attachment {
        terms: LaneTerms {
            name,
            id: [1; 16],
            geometry,
            schema: 0,
            generation: 0,
            barrier,
            is_stamped: map.is_stamped(),
            has_space_bell: false,
            has_one_worker: false,
            record_fds_max: 0,
        },
        lane: map,
        seat: seat.clone(),
        bell: BellEnd::receive(Bell::KIND, end).unwrap(),
        space_bell: None,
        inbox: None,
        barrier,
        start: 0,
        evictions: 0,
        in_place: None,
        spin: Duration::ZERO,
    };
    let tap = Tap::new(attachment, Arc::new(links.remove(0).unwrap()), ForkGuard::get().unwrap()).unwrap();
    producer.send(b"last").unwrap();
    (producer, tap, seat, session)
}

#[test]
fn a_tap_whose_session_was_closed_or_whose_seat_is_gone_reads_to_the_end_of_what_is_published() {
    for frame in [Frame::Bye(ByeReason::Closing), Frame::Bye(ByeReason::Evicted), Frame::Evicted(0)] {
        let (_producer, mut tap, _, session) = tapped(Barrier::Fence);
        say(&session, &frame);
        assert_eq!(&tap.receive().unwrap().unwrap()[..], b"last");
        assert_eq!(tap.receive_newest().unwrap_err(), TapError::Closed);
        assert_eq!(tap.receive_timeout(Duration::from_secs(60)).unwrap_err(), TapError::Closed);
    }
    let (_producer, mut tap, _, session) = tapped(Barrier::Fence);
    drop(session);
    assert_eq!(&tap.receive_newest().unwrap().unwrap()[..], b"last");
    assert_eq!(tap.receive().unwrap_err(), TapError::HungUp, "nobody's pidfd tells more");
    let (_producer, mut tap, _, session) = tapped(Barrier::Fence);
    say(&session, &Frame::Query(0));
    assert_eq!(&tap.receive().unwrap().unwrap()[..], b"last");
    assert!(matches!(tap.receive().unwrap_err(), TapError::Peer(_)));
}

/// Nobody rings here, as if the producer had not seen the announcement or had left the ring out.
#[test]
fn a_tap_that_is_not_rung_looks_twice_all_the_same_and_then_sleeps() {
    for barrier in [Barrier::Fence, Barrier::Asymmetric] {
        let (mut producer, mut tap, seat, _session) = tapped(barrier);
        tap.receive().unwrap().unwrap();
        let begin = Instant::now();
        let mut looks = 0;
        let is_readable = |tap: &Tap, patience: Duration| {
            let patience = patience.try_into().unwrap();
            poll(&mut [PollFd::new(tap, PollFlags::IN)], Some(&patience)).unwrap() == 1
        };
        while tap.try_receive().unwrap_err() == TapError::Empty && tap.arm().unwrap() {
            assert_eq!(seat.wait_epoch().load(Relaxed) % 2, 1, "it is announced");
            if !is_readable(&tap, Duration::from_millis(200)) {
                break;
            }
            looks += 1;
            assert!(looks <= 2, "there is no third");
        }
        assert_eq!(looks, 2);
        assert!(begin.elapsed() >= Duration::from_millis(21 + 200));
        producer.send(b"more").unwrap();
        assert!(!tap.arm().unwrap(), "there is news");
    }
}

/// The blocking call does the same by itself. What is sent later than its second look, since the machine is busy, tells
/// nothing, and is tried again.
#[test]
fn a_tap_that_waits_and_is_not_rung_sees_what_is_sent_before_its_second_look() {
    const PATIENCE: Duration = Duration::from_secs(20);
    for barrier in [Barrier::Fence, Barrier::Asymmetric] {
        let seen = (0..100).find_map(|_| {
            let (mut producer, mut tap, seat, session) = tapped(barrier);
            tap.receive().unwrap().unwrap();
            let begin = Instant::now();
            let thread =
                std::thread::spawn(move || tap.receive_timeout(PATIENCE).map(|record| record.unwrap().to_vec()));
            while seat.wait_epoch().load(Relaxed).is_multiple_of(2) {
                std::thread::yield_now();
            }
            producer.send(b"seen").unwrap();
            let was_in_time = begin.elapsed() < Duration::from_millis(10);
            if !was_in_time {
                drop(session);
            }
            let received = thread.join().unwrap();
            was_in_time.then_some((received, begin.elapsed()))
        });
        let (received, took) = seen.expect("a machine that lets two threads run within 10 ms");
        assert_eq!(received.unwrap(), b"seen");
        assert!(took < PATIENCE, "its patience had it look, not its second look");
    }
}
