//! Descriptors in flight, of which a user has no more than `RLIMIT_NOFILE`: who uses them up ends nothing for good.

mod common;
#[path = "common/marks.rs"]
mod marks;
#[path = "common/peer.rs"]
mod peer;
#[path = "common/storm.rs"]
mod storm;
#[path = "common/users.rs"]
mod users;

use common::{DEADLINE, isolated, role, skipped, wait_until, wait_until_process_has_slept_for};
use fdring::errors::{ErrorKind, SendError};
use fdring::options::{LaneOptions, SlowConsumer};
use marks::{borrowed, join, lane, lane_of, mark_of, marked, marks};
use peer::{Peer, argument, say, told};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::time::Duration;
use storm::in_a_storm;
use users::{NOBODY, become_user, is_root};

/// Goes on as a user of which only `RLIMIT_NOFILE` descriptors, 1024, may be in flight: any number may be of root. No
/// other test has this user.
fn become_limited(number: u32) {
    become_user(NOBODY - number);
    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: Some(1024), maximum }).unwrap();
}

/// A consumer that reads once it is told to, and checks what it takes, to the end.
fn reader_role() {
    let mut consumer = join(&argument());
    say("attached");
    assert_eq!(told(), "read");
    while let Some(record) = consumer.receive().unwrap() {
        let fds = record.take_fds().unwrap();
        let marks: Vec<[u64; 2]> = fds.iter().map(mark_of).collect();
        assert!(marks.iter().enumerate().all(|(index, mark)| *mark == [fds.len() as u64, index as u64]));
    }
    say("read to the end");
}

/// Six consumers that do not read, and a limit of 1,024: the budget of the whole user is used up.
#[test]
fn too_many_in_flight_is_an_error_that_says_so_and_passes() {
    const TEST: &str = "too_many_in_flight_is_an_error_that_says_so_and_passes";
    const CONSUMERS: usize = 6;
    if role().as_deref() == Some("reader") {
        return reader_role();
    }
    if !is_root() {
        return;
    }
    isolated(TEST, || {
        become_limited(70);
        let (mut producer, _server, address) = lane(253);
        let mut readers = [(); CONSUMERS].map(|()| Peer::start(TEST, "reader", &address));
        readers.iter_mut().for_each(|reader| reader.expect("attached"));
        let fds = marks(253, 253);
        let error = loop {
            if let Err(error) = producer.try_send_with_fds(b"", &borrowed(&fds)) {
                break error;
            }
        };
        assert_eq!(error, SendError::TooManyInFlight, "{error}");
        assert_eq!(error.kind(), ErrorKind::TooManyInFlight);
        let published = producer.published();
        let mut slot = producer.reserve(4).unwrap().attach(marked(1, 0));
        assert_eq!(slot.commit(), Err(SendError::TooManyInFlight));
        // They catch up, and what was attached is still there.
        readers.iter_mut().for_each(|reader| reader.tell("read"));
        wait_until("there is room", || slot.try_commit().is_ok());
        assert_eq!(slot.commit(), Ok(published + 16));
        // One record alone takes more than the limit: those who sleep are woken to make room.
        for _ in 0..5 {
            // For longer than until the second look that a sleeper takes by itself.
            for reader in &readers {
                wait_until_process_has_slept_for(reader.pid(), Duration::from_millis(100));
            }
            wait_until("it is sent", || producer.send_with_fds(b"", &borrowed(&fds)).is_ok());
        }
        producer.finish();
        readers.iter_mut().for_each(|reader| reader.expect("read to the end"));
    });
}

/// A consumer that leaves descriptors untaken is treated as the lane says, also if the budget of the user is used up
/// before its own queue is full.
#[test]
fn who_uses_the_budget_up_and_takes_nothing_is_cut_off() {
    const TEST: &str = "who_uses_the_budget_up_and_takes_nothing_is_cut_off";
    if role().as_deref() == Some("reader") {
        return reader_role();
    }
    if !is_root() {
        return;
    }
    isolated(TEST, || {
        become_limited(71);
        let after = Duration::from_millis(50);
        for (policy, is_cut) in [(SlowConsumer::Evict { after }, true), (SlowConsumer::Fail { after }, false)] {
            let (mut producer, _server, address) =
                lane_of(LaneOptions::new("lane").attachments(253).slow_consumer(policy));
            let mut stuck = [(); 3].map(|()| Peer::start(TEST, "reader", &address));
            stuck.iter_mut().for_each(|reader| reader.expect("attached"));
            let fds = marks(253, 253);
            let mut outcome = Ok(());
            wait_until("they are cut off, or an error", || {
                outcome = producer.try_send_with_fds(b"", &borrowed(&fds));
                match &outcome {
                    // Nobody is left to be sent any.
                    Ok(()) => producer.published() > 64 * 16,
                    Err(SendError::TooSlow { .. }) => true,
                    Err(error) => {
                        assert!(matches!(error, SendError::TooManyInFlight | SendError::Untaken { .. }), "{error}");
                        false
                    }
                }
            });
            assert_eq!(outcome.is_ok(), is_cut, "{outcome:?}");
            assert_eq!(producer.consumer_count(), 3, "they keep their seats");
            stuck.into_iter().for_each(Peer::kill);
        }
    });
}

/// Others use the budget up for a while, so that one of two consumers is sent descriptors again and again of which no
/// record comes. It sleeps, and lets go of them; once there is room again, both get the record.
#[test]
fn a_shortage_that_lasts_is_forgotten_once_it_is_over() {
    const TEST: &str = "a_shortage_that_lasts_is_forgotten_once_it_is_over";
    if role().as_deref() == Some("reader") {
        return reader_role();
    }
    if !is_root() {
        return;
    }
    isolated(TEST, || {
        become_limited(72);
        let (mut producer, _server, address) = lane(253);
        let mut readers = [(); 2].map(|()| Peer::start(TEST, "reader", &address));
        for reader in &mut readers {
            reader.expect("attached");
            reader.tell("read");
        }
        let fds = marks(253, 253);
        let (here, there) = fdring::fds::seqpacket_pair().unwrap();
        for _ in 0..4 {
            fdring::send_fds(&here, b"x", &borrowed(&fds)).unwrap();
        }
        // There is room for one consumer's, not for two.
        for _ in 0..40 {
            wait_until("all of them sleep", || producer.consumers().iter().all(|consumer| consumer.is_asleep));
            let error = producer.try_send_with_fds(b"", &borrowed(&fds)).unwrap_err();
            assert_eq!(error, SendError::TooManyInFlight, "{error}");
        }
        drop((here, there));
        producer.send_with_fds_timeout(b"", &borrowed(&fds), DEADLINE).unwrap();
        producer.finish();
        readers.iter_mut().for_each(|reader| reader.expect("read to the end"));
    });
}

/// The pauses are 20 ms together.
#[test]
fn others_have_as_long_to_catch_up_in_a_storm_of_signals() {
    if !is_root() {
        return skipped("needs root, to become a user of which nothing else is in flight");
    }
    isolated("others_have_as_long_to_catch_up_in_a_storm_of_signals", || {
        become_limited(73);
        let (mut producer, _server, address) = lane(253);
        let _consumer = join(&address);
        let fds = marks(253, 253);
        let (here, _there) = fdring::fds::seqpacket_pair().unwrap();
        for _ in 0..5 {
            fdring::send_fds(&here, b"x", &borrowed(&fds)).unwrap();
        }
        let took = in_a_storm(Duration::from_micros(100), || {
            let error = producer.send_with_fds(b"", &borrowed(&fds)).unwrap_err();
            assert_eq!(error, SendError::TooManyInFlight, "{error}");
        });
        assert!(took >= Duration::from_millis(20), "{took:?}");
    });
}
