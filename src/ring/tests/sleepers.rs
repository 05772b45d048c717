//! Whom a publication wakes, over plain words.

use super::roster::{CountingPort, join, roster_at, tap};
use crate::os::clock::coarse_now;
use crate::ring::SeatWords;
use crate::ring::budget::{RENEWAL, RINGS_MAX};
use crate::ring::sleep::{announce, take_back};
use crate::ring::sleepers::{Snapshot, wake_sleepers};
use crate::sync::Ordering::Relaxed;
use crate::terms::{Barrier, Start};
use crate::test_support::DEADLINE;
use std::sync::Arc;
use std::time::Instant;

#[test]
fn each_sleep_is_rung_for_once() {
    let (lane, roster) = roster_at(0);
    let (port, _) = join(&roster, &lane, 1, Start::Latest);
    let mut snapshot = Snapshot::new(Barrier::Fence);
    assert_eq!(wake_sleepers(&roster, &mut snapshot), 0, "it is awake");
    for sleep in 1..4 {
        announce(port.wait_epoch(), Barrier::Fence);
        assert_eq!((wake_sleepers(&roster, &mut snapshot), wake_sleepers(&roster, &mut snapshot)), (1, 0));
        assert_eq!(port.rings.load(Relaxed), sleep);
        take_back(port.wait_epoch());
        assert_eq!(wake_sleepers(&roster, &mut snapshot), 0);
    }
}

#[test]
fn a_ring_that_failed_is_tried_again_at_the_next_publication() {
    let (lane, roster) = roster_at(0);
    let (port, _) = join(&roster, &lane, 1, Start::Latest);
    let mut snapshot = Snapshot::new(Barrier::Fence);
    announce(port.wait_epoch(), Barrier::Fence);
    port.is_broken.store(true, Relaxed);
    wake_sleepers(&roster, &mut snapshot);
    port.is_broken.store(false, Relaxed);
    wake_sleepers(&roster, &mut snapshot);
    wake_sleepers(&roster, &mut snapshot);
    assert_eq!(port.rings.load(Relaxed), 2, "once more, and then never again");
}

#[test]
fn one_who_joins_is_rung_for_and_one_who_left_is_not() {
    let (lane, roster) = roster_at(0);
    let mut snapshot = Snapshot::new(Barrier::Fence);
    assert_eq!(wake_sleepers(&roster, &mut snapshot), 0);
    let (port, _) = join(&roster, &lane, 1, Start::Latest);
    announce(port.wait_epoch(), Barrier::Fence);
    assert_eq!(wake_sleepers(&roster, &mut snapshot), 1);
    announce(port.wait_epoch(), Barrier::Fence);
    roster.leave(&*lane, 1);
    assert_eq!(wake_sleepers(&roster, &mut snapshot), 0);
    assert_eq!(Arc::strong_count(&port.rings), 1, "the next publication lets go of the seat");
}

#[test]
fn a_sleeper_that_was_rung_for_is_not_rung_for_again_when_seats_change() {
    let (lane, roster) = roster_at(0);
    let mut snapshot = Snapshot::new(Barrier::Fence);
    let ports: Vec<CountingPort> = (1..4)
        .map(|id| {
            let (port, _) = join(&roster, &lane, id, Start::Latest);
            announce(port.wait_epoch(), Barrier::Fence);
            assert_eq!(wake_sleepers(&roster, &mut snapshot), 1, "the one that has come");
            port
        })
        .collect();
    roster.leave(&*lane, 1);
    assert_eq!(wake_sleepers(&roster, &mut snapshot), 0);
    take_back(ports[2].wait_epoch());
    announce(ports[2].wait_epoch(), Barrier::Fence);
    assert_eq!(wake_sleepers(&roster, &mut snapshot), 1);
    assert_eq!([0, 1, 2].map(|at| ports[at].rings.load(Relaxed)), [1, 1, 2]);
}

#[test]
fn who_sleeps_again_between_two_publications_is_rung_for() {
    let (lane, roster) = roster_at(0);
    let (port, _) = join(&roster, &lane, 1, Start::Latest);
    let mut snapshot = Snapshot::new(Barrier::Fence);
    for rings in 1..4 {
        // From one odd epoch to the next, or to one and back: no publication sees the even one between them.
        announce(port.wait_epoch(), Barrier::Fence);
        take_back(port.wait_epoch());
        announce(port.wait_epoch(), Barrier::Fence);
        assert_eq!((wake_sleepers(&roster, &mut snapshot), port.rings.load(Relaxed)), (1, rings));
    }
}

#[test]
fn each_of_any_number_is_rung_for() {
    for count in 1..10 {
        let (lane, roster) = roster_at(0);
        let ports: Vec<_> = (0..count).map(|id| join(&roster, &lane, id, Start::Latest).0).collect();
        let mut snapshot = Snapshot::new(Barrier::Fence);
        for port in &ports {
            announce(port.wait_epoch(), Barrier::Fence);
            assert_eq!((wake_sleepers(&roster, &mut snapshot), port.rings.load(Relaxed)), (1, 1), "of {count}");
        }
        ports.iter().for_each(|port| announce(port.wait_epoch(), Barrier::Fence));
        assert_eq!(wake_sleepers(&roster, &mut snapshot), count);
    }
}

#[test]
fn epochs_go_round() {
    let (lane, roster) = roster_at(0);
    let (port, _) = join(&roster, &lane, 1, Start::Latest);
    let mut snapshot = Snapshot::new(Barrier::Fence);
    port.wait_epoch().store(u32::MAX - 1, Relaxed);
    for expected in [u32::MAX, 1, 3] {
        announce(port.wait_epoch(), Barrier::Fence);
        assert_eq!(port.wait_epoch().load(Relaxed), expected);
        assert_eq!((wake_sleepers(&roster, &mut snapshot), wake_sleepers(&roster, &mut snapshot)), (1, 0));
        take_back(port.wait_epoch());
        assert_eq!(wake_sleepers(&roster, &mut snapshot), 0);
    }
}

#[test]
fn a_tap_is_rung_so_often_and_no_more_until_some_time_has_passed() {
    let (lane, roster) = roster_at(0);
    let mut snapshot = Snapshot::new(Barrier::Fence);
    let (port, (consumer, _)) = (tap(&roster, &lane, 1), join(&roster, &lane, 2, Start::Latest));
    let (begin, begin_coarse) = (Instant::now(), coarse_now());
    for _ in 0..10_000 {
        for words in [&port.words, &consumer.words] {
            take_back(words.wait_epoch());
            announce(words.wait_epoch(), Barrier::Fence);
        }
        wake_sleepers(&roster, &mut snapshot);
    }
    // By the clock that renewals go by, of which a tick may be longer than they are apart.
    let renewals = (coarse_now() - begin_coarse).as_millis() as u32 / RENEWAL.as_millis() as u32 + 2;
    let rings = port.rings.load(Relaxed);
    assert!((RINGS_MAX..=RINGS_MAX * renewals).contains(&rings), "{rings} rings");
    assert_eq!(consumer.rings.load(Relaxed), 10_000, "a consumer is always rung");
    // The last announcement is rung for in the end, by a later publication.
    while port.rings.load(Relaxed) == rings {
        assert!(begin.elapsed() < DEADLINE);
        assert!(wake_sleepers(&roster, &mut snapshot) <= 1);
    }
    let rings = port.rings.load(Relaxed);
    assert_eq!((wake_sleepers(&roster, &mut snapshot), port.rings.load(Relaxed)), (0, rings), "and once");
}
