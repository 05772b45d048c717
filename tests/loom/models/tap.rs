//! A tap takes nothing for a record that is none, however often it is lapped, and in the middle of a copy too
//! (invariant 7); it calls no honest producer corrupt; it is woken as a consumer is (11), and consumers beside it lose
//! nothing (21). Here the ring's words race by design, and what was copied is compared.

use super::{explore, explore_sleepers};
use crate::ends::{Got, TapGot, lane};
use crate::memory::{GRANULE, LONG, SHORT, Watch};
use crate::ring::tap::Wish;
use crate::terms::Start;
use loom::thread;

#[test]
fn a_tap_notices_in_the_middle_of_a_copy() {
    for wish in [Wish::Next, Wish::Newest] {
        explore(3, move || {
            let (shared, mut producer) = lane(Watch::Values, 0);
            let mut tap = shared.tap(1, Start::Latest);
            assert!(producer.try_send(LONG) && producer.try_send(SHORT));
            let thread = thread::spawn(move || {
                assert!(producer.try_send(LONG), "nobody holds the lane back");
                producer.check();
            });
            tap.poll(wish);
            thread.join().unwrap();
        });
    }
}

#[test]
fn a_tap_that_is_lapped_again_and_again_gets_whole_records_only() {
    for wish in [Wish::Next, Wish::Newest] {
        explore(2, move || {
            // The second record goes to the next round, after padding at which the tap may expect a payload.
            let (shared, mut producer) = lane(Watch::Values, 2 * GRANULE);
            let mut tap = shared.tap(1, Start::Latest);
            assert!(producer.try_send(SHORT));
            let thread = thread::spawn(move || {
                for len in [LONG, SHORT] {
                    assert!(producer.try_send(len), "nobody holds the lane back");
                }
                producer.check();
            });
            let got = [tap.poll(wish), tap.poll(wish)];
            thread.join().unwrap();
            assert!(got.contains(&TapGot::Missed) || got[0] != TapGot::Nothing, "{got:?}");
            // After a miss it stands at a record, and misses nothing while nobody writes.
            while !matches!(tap.poll(wish), TapGot::Nothing) {}
        });
    }
}

#[test]
fn a_tap_that_is_a_ring_behind_does_not_take_room_that_was_claimed_for_nonsense() {
    explore(3, || {
        let (shared, mut producer) = lane(Watch::Values, 0);
        let mut tap = shared.tap(1, Start::Latest);
        assert!(producer.try_send(SHORT));
        let thread = thread::spawn(move || {
            // Each of them claims all that the one before has allowed.
            assert!(producer.try_send(LONG) && producer.try_send(LONG));
        });
        tap.poll(Wish::Next);
        tap.poll(Wish::Next);
        thread.join().unwrap();
    });
}

#[test]
fn a_tap_beside_a_consumer_is_woken_and_the_consumer_gets_everything() {
    explore_sleepers(3, |sleeper| {
        let (shared, mut producer) = lane(Watch::Races, 0);
        let mut consumer = shared.join(1, Start::Latest);
        let mut tap = shared.tap(2, Start::Latest).sleeping_by(sleeper);
        let thread = thread::spawn(move || {
            producer.send(SHORT);
            producer.finish();
        });
        assert_eq!([tap.receive(Wish::Next), tap.receive(Wish::Next)], [TapGot::Record(1), TapGot::End]);
        thread.join().unwrap();
        assert_eq!([consumer.poll(), consumer.poll()], [Got::Record, Got::End]);
    });
}

#[test]
fn a_tap_that_wants_the_newest_is_woken_for_it_and_for_the_end() {
    explore_sleepers(2, |sleeper| {
        let (shared, mut producer) = lane(Watch::Values, 0);
        let mut tap = shared.tap(1, Start::Latest).sleeping_by(sleeper);
        let thread = thread::spawn(move || {
            producer.send(SHORT);
            producer.send(SHORT);
            producer.finish();
        });
        let mut got = Vec::new();
        while got.last() != Some(&TapGot::End) {
            got.push(tap.receive(Wish::Newest));
        }
        thread.join().unwrap();
        // Between the two stores of the second publication it may pass over the first, and nothing else is missed.
        assert_eq!(got[got.len() - 2], TapGot::Record(2), "{got:?}");
    });
}

#[test]
fn a_death_that_comes_with_a_publication_leaves_no_record_unread() {
    explore_sleepers(4, |sleeper| {
        let (shared, mut producer) = lane(Watch::Races, 0);
        let mut tap = shared.tap(1, Start::Latest).sleeping_by(sleeper);
        let events = tap.events();
        let thread = thread::spawn(move || {
            producer.send(SHORT);
            events.hang_up();
        });
        assert_eq!([tap.receive(Wish::Next), tap.receive(Wish::Next)], [TapGot::Record(1), TapGot::End]);
        thread.join().unwrap();
    });
}
