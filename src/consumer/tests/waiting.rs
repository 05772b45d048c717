//! What a consumer waits on: every ring ends one wait, and one that comes late ends one in vain at most.

use super::{Attached, attachment, consumer_with, join, link, seat_words};
use crate::consumer::waiter::{Sources, Waiter, Woken};
use crate::consumer::{Attachment, Consumer, InboxEnd, ReceiveError};
use crate::deadline::{Deadline, timespec};
use crate::fds;
use crate::lane::LaneOptions;
use crate::link::{Fate, Link};
use crate::memory::SeatMap;
use crate::os::bell::{Bell, BellEnd};
use crate::os::closing::Connection;
use crate::os::fork::ForkGuard;
use crate::producer::Producer;
use crate::ring::SeatWords;
use crate::ring::sleep::SECOND_LOOK;
use crate::sync::Ordering::Relaxed;
use crate::terms::{Barrier, BellKind, Start};
use crate::test_support::kernel::deny;
use crate::test_support::{DEADLINE, isolated, wait_until};
use crate::wire::{AttachedRecord, Attachments, Frame};
use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use rustix::fd::{AsFd, OwnedFd};
use rustix::io::Errno;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What has not waited yet, and the other end of each of its descriptors.
fn sources() -> (Sources, Arc<Link>, OwnedFd, Bell) {
    let (bell, end) = Bell::create().unwrap();
    let (sources, link, other) = sources_with(Bell::KIND, end);
    (sources, link, other, bell)
}

fn sources_with(kind: BellKind, end: OwnedFd) -> (Sources, Arc<Link>, OwnedFd) {
    let (link, other) = link();
    let link = Arc::new(link);
    let end = BellEnd::receive(kind, end).unwrap();
    (Sources::new(Arc::clone(&link), end).unwrap(), link, other)
}

/// A bell of a producer that trusts its consumers, twice: it is one file for both sides.
fn eventfd_bell() -> (OwnedFd, OwnedFd) {
    let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).unwrap();
    (bell.try_clone().unwrap(), bell)
}

fn ring_eventfd(bell: &OwnedFd) {
    rustix::io::write(bell, &1u64.to_ne_bytes()).unwrap();
}

fn is_readable(fd: impl AsFd) -> bool {
    is_readable_within(Duration::ZERO, fd)
}

fn is_readable_within(time: Duration, fd: impl AsFd) -> bool {
    poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&timespec(time))).unwrap() == 1
}

#[test]
fn every_ring_ends_one_wait_though_the_bell_is_never_emptied() {
    let (bell, end) = eventfd_bell();
    let (mut sources, _link, other) = sources_with(BellKind::Eventfd, end);
    for _ in 0..3 {
        ring_eventfd(&bell);
        assert_eq!(sources.wait(None).unwrap(), Woken::ByBell);
    }
    drop(other);
    assert_eq!(sources.wait(None).unwrap(), Woken::Otherwise, "no ring ends two");
}

#[test]
fn a_bell_that_is_full_rings_again_and_leaves_nothing_to_read() {
    let (mut sources, _link, _other, bell) = sources();
    for _ in 0..3 {
        // More than a socket's queue holds.
        (0..5000).for_each(|_| _ = bell.ring());
        assert_eq!(sources.wait(Some(DEADLINE)).unwrap(), Woken::ByBell);
        assert_eq!(sources.wait(Some(Duration::ZERO)).unwrap(), Woken::ByTime, "one edge for all of them");
    }
}

#[test]
fn an_eventfd_that_must_be_polled_is_emptied() {
    isolated("consumer::tests::waiting::an_eventfd_that_must_be_polled_is_emptied", || {
        deny(libc::SYS_epoll_create1, &[], Errno::PERM);
        let (bell, end) = eventfd_bell();
        let (mut sources, _link, _other) = sources_with(BellKind::Eventfd, end);
        for _ in 0..3 {
            ring_eventfd(&bell);
            assert_eq!(sources.wait(Some(DEADLINE)).unwrap(), Woken::ByBell);
            assert_eq!(sources.wait(Some(Duration::ZERO)).unwrap(), Woken::ByTime, "it was emptied");
        }
    });
}

/// It stays readable, so a thread that polls it would never sleep.
#[test]
fn a_pair_of_sockets_that_must_be_polled_is_left_out_and_napped_for() {
    isolated("consumer::tests::waiting::a_pair_of_sockets_that_must_be_polled_is_left_out_and_napped_for", || {
        deny(libc::SYS_epoll_create1, &[], Errno::PERM);
        let (link, _other) = link();
        let (bell, end) = Bell::create().unwrap();
        let end = BellEnd::receive(Bell::KIND, end).unwrap();
        let mut producer = Producer::create_at(&LaneOptions::new("polled").capacity(4096), 0).unwrap();
        let Attached { mut consumer, .. } = join(&producer, Start::Latest, false);
        let mut waiter = Waiter::new(Arc::new(link), end, Barrier::Fence).unwrap();
        for round in 0..2 {
            bell.ring();
            let begin = Instant::now();
            for nap in 0..5 {
                assert!(waiter.arm(&mut consumer.reader));
                assert_eq!(waiter.park(Deadline::Never).unwrap(), Woken::ByTime, "round {round}, nap {nap}");
            }
            assert!(begin.elapsed() >= Duration::from_millis(1 + 2 + 4 + 8 + 16), "each is twice as long as the last");
            // One that moves on naps briefly again.
            producer.send(b"x").unwrap();
            assert!(!waiter.arm(&mut consumer.reader));
            assert!(consumer.try_receive().unwrap().is_some());
        }
    });
}

#[test]
fn waits_end_with_their_time_also_when_that_is_no_whole_millisecond() {
    let (mut sources, _link, _other, _bell) = sources();
    for micros in [0, 1, 300, 2000, 2500] {
        let (begin, timeout) = (Instant::now(), Duration::from_micros(micros));
        assert_eq!(sources.wait(Some(timeout)).unwrap(), Woken::ByTime);
        assert!(begin.elapsed() >= timeout, "{timeout:?} took {:?}", begin.elapsed());
    }
}

#[test]
fn a_ring_for_another_wait_ends_none() {
    for waits_before in 0..3 {
        let mut producer = Producer::create_at(&LaneOptions::new("late").capacity(4096), 0).unwrap();
        let Attached { mut consumer, _session, seat, .. } = join(&producer, Start::Latest, false);
        for n in 0..waits_before {
            assert!(consumer.waiter.arm(&mut consumer.reader));
            producer.send(&[n]).unwrap();
            if n == 0 {
                assert_eq!(consumer.waiter.park(Deadline::Never).unwrap(), Woken::ByBell);
                consumer.waiter.note_ring(&consumer.reader);
            }
            // The second one found the record without its ring.
            consumer.waiter.disarm(&consumer.reader);
            assert_eq!(consumer.try_receive().unwrap().unwrap()[..], [n]);
        }
        assert_eq!(seat.wait_epoch().load(Relaxed) % 2, 0, "it is awake");
        assert!(consumer.waiter.arm(&mut consumer.reader));
        drop(_session);
        let woken = consumer.waiter.park(Deadline::Never).unwrap();
        assert_eq!(woken, Woken::Otherwise, "the session has ended, after {waits_before} waits");
        assert_eq!(consumer.waiter.fate(), Fate::HungUp);
    }
}

#[test]
fn a_sleeper_is_woken_also_where_it_must_poll() {
    isolated("consumer::tests::waiting::a_sleeper_is_woken_also_where_it_must_poll", || {
        for call in [libc::SYS_epoll_pwait, libc::SYS_epoll_create1] {
            deny(call, &[], Errno::PERM);
            let mut producer = Producer::create_at(&LaneOptions::new("polled").capacity(4096), 0).unwrap();
            let mut attached = join(&producer, Start::Latest, false);
            let (seat, consumer) = (attached.seat.clone(), &mut attached.consumer);
            std::thread::scope(|scope| {
                let reader = scope.spawn(|| {
                    (0..3u8).for_each(|n| assert_eq!(consumer.receive().unwrap().unwrap()[..], [n]));
                    assert!(matches!(consumer.arm(), Err(ReceiveError::Wait(_))), "there is no descriptor for it");
                });
                for n in 0..3u8 {
                    wait_until("the consumer sleeps", || seat.wait_epoch().load(Relaxed) % 2 == 1);
                    producer.send(&[n]).unwrap();
                    wait_until("it wakes up", || {
                        reader.is_finished() || seat.consumed().load(Relaxed) > u64::from(n) * 16
                    });
                }
                reader.join().unwrap();
            });
        }
    });
}

#[test]
fn an_announcement_stands_over_tries_that_find_nothing_and_goes_with_the_first_that_does() {
    let mut producer = Producer::create_at(&LaneOptions::new("standing").capacity(4096), 0).unwrap();
    let Attached { mut consumer, _session, seat, .. } = join(&producer, Start::Latest, false);
    let epoch = || seat.wait_epoch().load(Relaxed);
    for _ in 0..3 {
        assert!(matches!(consumer.try_receive(), Err(ReceiveError::Empty)));
        assert!(consumer.arm().unwrap());
        assert_eq!(epoch(), 1, "one announcement for as long as nothing comes");
    }
    producer.send(b"x").unwrap();
    assert!(is_readable(&consumer), "it was rung for");
    assert!(!consumer.arm().unwrap(), "there is news");
    assert!(!is_readable(&consumer), "the ring was harvested");
    assert_eq!(consumer.try_receive().unwrap().unwrap()[..], *b"x");
    assert_eq!(epoch() % 2, 0, "awake");
    assert!(matches!(consumer.try_receive(), Err(ReceiveError::Empty)));
    assert!(consumer.arm().unwrap() && epoch() % 2 == 1);
    producer.send(b"y").unwrap();
    assert_eq!(consumer.try_receive().unwrap().unwrap()[..], *b"y");
    assert_eq!(epoch() % 2, 0, "awake by what it found, and not by its ring");
}

#[test]
fn the_end_of_the_session_is_news_for_one_who_arms() {
    let producer = Producer::create_at(&LaneOptions::new("over").capacity(4096), 0).unwrap();
    let Attached { mut consumer, _session, .. } = join(&producer, Start::Latest, false);
    assert!(consumer.arm().unwrap());
    drop(_session);
    assert!(is_readable(&consumer));
    assert!(!consumer.arm().unwrap(), "it is news");
    assert!(matches!(consumer.try_receive(), Err(ReceiveError::HungUp)));
}

#[test]
fn the_end_of_the_session_is_found_by_one_who_only_tries() {
    let producer = Producer::create_at(&LaneOptions::new("tried").capacity(4096), 0).unwrap();
    let Attached { mut consumer, _session, .. } = join(&producer, Start::Latest, false);
    assert!(matches!(consumer.try_receive(), Err(ReceiveError::Empty)));
    drop(_session);
    wait_until("it is told", || matches!(consumer.try_receive(), Err(ReceiveError::HungUp)));
}

/// A consumer that asks for descriptors.
struct Asking {
    consumer: Consumer,
    seat: SeatMap,
    /// What its producer has of it: the lane, the bell, the end that sends descriptors, the session.
    _producer: Producer,
    bell: Bell,
    sender: OwnedFd,
    session: OwnedFd,
}

fn asking() -> Asking {
    let producer = Producer::create_at(&LaneOptions::new("asking").capacity(4096), 0).unwrap();
    let (lane, seat, (bell, end)) = (Arc::clone(&producer.owned_lane().map), seat_words(), Bell::create().unwrap());
    let end = BellEnd::receive(Bell::KIND, end).unwrap();
    let ((socket, sender), (link, session)) = (fds::seqpacket_pair().unwrap(), link());
    let attachment = attachment(Barrier::Fence, lane, seat.clone(), end, 0, None);
    let guard = ForkGuard::get().unwrap();
    let inbox = Some(InboxEnd { socket: Connection::new(socket, guard), lane: 0 });
    let consumer = Consumer::new(Attachment { inbox, ..attachment }, Arc::new(link), guard).unwrap();
    Asking { consumer, seat, _producer: producer, bell, sender, session }
}

/// Sends descriptors of a record that never comes, as an attempt to publish does that fails; whether there was room.
fn attempt(sender: &OwnedFd) -> bool {
    let frame =
        Frame::Attachments(Attachments { lane: 0, number: 0, records: vec![AttachedRecord { position: 0, count: 1 }] })
            .encode();
    fds::send_frame(sender.as_fd(), &frame, &[sender.as_fd()]).is_ok()
}

#[test]
fn one_who_only_tries_lets_go_of_descriptors_whose_record_never_comes() {
    let Asking { mut consumer, sender, _producer, session: _session, .. } = asking();
    while attempt(&sender) {}
    wait_until("there is room", || {
        assert_eq!(consumer.try_receive().unwrap_err(), ReceiveError::Empty);
        attempt(&sender)
    });
}

/// Its bell has rung in vain so often that it hears no more rings.
#[test]
fn one_who_naps_lets_go_of_descriptors_whose_record_never_comes() {
    let Asking { mut consumer, seat, bell, sender, session, _producer } = asking();
    std::thread::scope(|scope| {
        let sleeper = scope.spawn(|| consumer.receive().map(drop));
        for _ in 0..20 {
            let epoch = seat.wait_epoch().load(Relaxed);
            bell.ring();
            wait_until("it sleeps again, or naps", || seat.wait_epoch().load(Relaxed) != epoch);
        }
        while attempt(&sender) {}
        wait_until("there is room", || attempt(&sender));
        drop(session);
        assert_eq!(sleeper.join().unwrap(), Err(ReceiveError::HungUp));
    });
}

#[test]
fn one_who_waits_elsewhere_is_woken_for_one_second_look() {
    let producer = Producer::create_at(&LaneOptions::new("second").capacity(4096), 0).unwrap();
    let (_bell, end) = Bell::create().unwrap();
    let end = BellEnd::receive(Bell::KIND, end).unwrap();
    let lane = Arc::clone(&producer.owned_lane().map);
    let (mut consumer, _session) = consumer_with(Barrier::Asymmetric, lane, seat_words(), end, 0, None);
    assert!(consumer.arm().unwrap());
    assert!(is_readable_within(DEADLINE, &consumer), "it is time for the second look");
    assert!(consumer.arm().unwrap());
    assert!(!is_readable_within(5 * SECOND_LOOK, &consumer), "there is no third");
}

#[test]
fn a_ring_that_a_look_at_the_session_takes_calls_for_another_announcement() {
    let (link, _other) = link();
    let (bell, end) = Bell::create().unwrap();
    let end = BellEnd::receive(Bell::KIND, end).unwrap();
    let producer = Producer::create_at(&LaneOptions::new("taken").capacity(4096), 0).unwrap();
    let Attached { mut consumer, seat, .. } = join(&producer, Start::Latest, false);
    let mut waiter = Waiter::new(Arc::new(link), end, Barrier::Fence).unwrap();
    for epoch in [1, 3, 5] {
        assert!(waiter.arm_elsewhere(&mut consumer.reader, None).unwrap());
        assert_eq!(seat.wait_epoch().load(Relaxed), epoch);
        bell.ring();
        waiter.harvest(&consumer.reader);
        assert!(!is_readable(&waiter), "the ring was taken");
    }
}

#[test]
fn one_who_arms_has_released_everything() {
    let mut producer = Producer::create_at(&LaneOptions::new("armed").capacity(4096), 0).unwrap();
    let Attached { mut consumer, _session, seat, .. } = join(&producer, Start::Latest, false);
    producer.send(b"x").unwrap();
    assert_eq!(consumer.receive().unwrap().unwrap()[..], *b"x");
    assert!(consumer.arm().unwrap());
    assert_eq!(seat.consumed().load(Relaxed), producer.published());
}

#[test]
fn what_is_answered_with_empty_has_released_everything() {
    let mut producer = Producer::create_at(&LaneOptions::new("empty").capacity(4096), 0).unwrap();
    for in_place in [false, true] {
        let mut attached = join(&producer, Start::Latest, in_place);
        let receives: [fn(&mut Attached) -> bool; 3] = [
            |attached| matches!(attached.consumer.try_receive(), Err(ReceiveError::Empty)),
            |attached| matches!(attached.consumer.receive_timeout(Duration::ZERO), Err(ReceiveError::TimedOut)),
            |attached| matches!(attached.consumer.try_receive_many(|_| ()), Err(ReceiveError::Empty)),
        ];
        for is_empty in receives {
            // Also in the middle of a stream, when looks are put off.
            for _ in 0..50 {
                (0..20).for_each(|n| producer.send(&[n; 16]).unwrap());
                wait_until("all is read", || is_empty(&mut attached) || attached.consumer.try_receive().is_err());
                assert!(is_empty(&mut attached));
                assert_eq!(attached.seat.consumed().load(Relaxed), producer.published(), "unreleased");
            }
        }
    }
}

#[test]
fn a_record_is_not_released_before_the_next_call() {
    for in_place in [false, true] {
        let mut producer = Producer::create_at(&LaneOptions::new("held").capacity(4096), 0).unwrap();
        let mut attached = join(&producer, Start::Latest, in_place);
        (0..4u8).for_each(|n| producer.send(&[n; 1000]).unwrap());
        let consumed = |seat: &SeatMap| seat.consumed().load(Relaxed);
        // Each record is more than what is released at a time.
        for n in 0..4u64 {
            let record = attached.consumer.receive().unwrap().unwrap();
            assert_eq!(record[..], [n as u8; 1000]);
            assert_eq!(consumed(&attached.seat), n * 1008, "the record that is out was released");
        }
        attached.consumer.release();
        assert_eq!(consumed(&attached.seat), 4 * 1008);
    }
}

#[test]
fn waiters_of_bells_that_ring_in_vain_nap() {
    let (link, _other) = link();
    let (bell, end) = Bell::create().unwrap();
    let end = BellEnd::receive(Bell::KIND, end).unwrap();
    let mut producer = Producer::create_at(&LaneOptions::new("vain").capacity(4096), 0).unwrap();
    let Attached { mut consumer, .. } = join(&producer, Start::Latest, false);
    let mut waiter = Waiter::new(Arc::new(link), end, Barrier::Fence).unwrap();
    for ring in 0..16 {
        bell.ring();
        assert!(waiter.arm(&mut consumer.reader));
        assert_eq!(waiter.park(Deadline::Never).unwrap(), Woken::ByBell, "ring {ring}");
        waiter.note_ring(&consumer.reader);
    }
    bell.ring();
    assert!(waiter.arm(&mut consumer.reader));
    assert_eq!(waiter.park(Deadline::Never).unwrap(), Woken::ByTime, "the bell is left out");
    let begin = Instant::now();
    for _ in 0..4 {
        assert!(waiter.arm(&mut consumer.reader));
        assert_eq!(waiter.park(Deadline::Never).unwrap(), Woken::ByTime);
    }
    assert!(begin.elapsed() >= Duration::from_millis(2 + 4 + 8 + 16), "each nap is twice as long as the last");
    // Once it moves on the bell counts again.
    producer.send(b"x").unwrap();
    assert!(!waiter.arm(&mut consumer.reader));
    assert!(consumer.try_receive().unwrap().is_some());
    assert!(waiter.arm(&mut consumer.reader));
    bell.ring();
    assert_eq!(waiter.park(Deadline::after(DEADLINE)).unwrap(), Woken::ByBell);
    assert!(!is_readable(&waiter), "by its rings, and not by what is in it");
}

#[test]
fn a_wait_that_is_cut_short_leaves_the_second_look_due() {
    let mut producer = Producer::create_at(&LaneOptions::new("short").capacity(4096), 0).unwrap();
    let Attached { mut consumer, _session, .. } = join(&producer, Start::Latest, false);
    let (link, _other) = link();
    let (bell, end) = Bell::create().unwrap();
    let end = BellEnd::receive(Bell::KIND, end).unwrap();
    let mut waiter = Waiter::new(Arc::new(link), end, Barrier::Asymmetric).unwrap();
    assert!(waiter.arm(&mut consumer.reader));
    // Something else than the time, as a signal does.
    bell.ring();
    assert_eq!(waiter.park(Deadline::Never).unwrap(), Woken::ByBell);
    assert!(waiter.arm(&mut consumer.reader));
    let begin = Instant::now();
    assert_eq!(waiter.park(Deadline::after(DEADLINE)).unwrap(), Woken::ByTime, "it looks a second time");
    assert!(begin.elapsed() < DEADLINE / 6);
    producer.send(b"x").unwrap();
    assert!(!waiter.arm(&mut consumer.reader));
}

#[test]
fn an_announcement_is_taken_back_by_whatever_finds_a_record() {
    let mut producer = Producer::create_at(&LaneOptions::new("found").capacity(4096), 0).unwrap();
    let receives: [fn(&mut Consumer) -> usize; 4] = [
        |consumer| consumer.try_receive().unwrap().unwrap().len(),
        |consumer| consumer.receive().unwrap().unwrap().len(),
        |consumer| consumer.receive_timeout(DEADLINE).unwrap().unwrap().len(),
        |consumer| consumer.receive_many(|_| ()).unwrap(),
    ];
    for spin in [Duration::ZERO, Duration::from_micros(50)] {
        for receive in receives {
            let Attached { mut consumer, _session, seat, .. } = join(&producer, Start::Latest, false);
            consumer.spin = spin;
            assert!(consumer.arm().unwrap() && seat.wait_epoch().load(Relaxed) == 1);
            producer.send(b"x").unwrap();
            assert_eq!(receive(&mut consumer), 1);
            assert_eq!(seat.wait_epoch().load(Relaxed), 2, "awake");
        }
    }
}

#[test]
fn naps_grow_longer_also_for_one_that_waits_elsewhere() {
    let producer = Producer::create_at(&LaneOptions::new("naps").capacity(4096), 0).unwrap();
    let Attached { mut consumer, _session, .. } = join(&producer, Start::Latest, false);
    let (link, _other) = link();
    let (bell, end) = Bell::create().unwrap();
    let end = BellEnd::receive(Bell::KIND, end).unwrap();
    let mut waiter = Waiter::new(Arc::new(link), end, Barrier::Fence).unwrap();
    for _ in 0..16 {
        bell.ring();
        assert!(waiter.arm_elsewhere(&mut consumer.reader, None).unwrap());
    }
    let mut nap = Duration::ZERO;
    for _ in 0..6 {
        let begin = Instant::now();
        assert!(waiter.arm_elsewhere(&mut consumer.reader, None).unwrap());
        wait_until("the nap is over", || is_readable(&waiter));
        nap = begin.elapsed();
    }
    assert!(nap >= Duration::from_millis(10), "the sixth nap took {nap:?}");
}
