//! Consumers that read a part of what is offered, or lose their seat on one lane: the lanes of a session do not touch
//! each other. A producer of the library with two lanes, in a process of its own, and consumers by the book.

mod common;
#[path = "common/guest.rs"]
mod guest;
#[path = "common/hostile.rs"]
mod hostile;
#[path = "common/peer.rs"]
mod peer;

use common::{role, unique_name, wait_until};
use fdring::errors::{ReceiveError, SendError};
use fdring::options::{LaneOptions, ServerOptions};
use fdring::{Attach, Producer, Server, Session};
use guest::{Guest, Invited};
use hostile::*;
use peer::{Peer, argument, say, told};
use rustix::net::Shutdown;
use std::sync::atomic::Ordering::{Relaxed, Release};
use std::time::Duration;

const CAPACITY: u64 = 4096;
/// More records of 8 bytes than a lane holds.
const MORE_THAN_FIT: u64 = 1000;
/// A position that no producer has reached.
const NONSENSE: u64 = 1 << 40;

/// In the other process: two lanes, and what it is asked about them.
fn host() {
    let producers = ["first", "second"];
    let create = |name| LaneOptions::new(name).capacity(CAPACITY).create().unwrap();
    let mut producers = producers.map(create);
    let server = ServerOptions::new().listen(argument(), &producers).unwrap();
    say("listening");
    loop {
        let line = told();
        let answer = match line.split(' ').collect::<Vec<_>>()[..] {
            ["send", lane] => sent(&mut producers[lane.parse::<usize>().unwrap()]).to_string(),
            ["seats"] => producers.each_ref().map(Producer::consumer_count).map(|seats| seats.to_string()).join(" "),
            ["evicted"] => server.stats().evicted.to_string(),
            _ => return,
        };
        say(&answer);
    }
}

/// How many records there is room for, of [`MORE_THAN_FIT`].
fn sent(producer: &mut Producer) -> u64 {
    let patience = Duration::from_millis(20);
    let is_sent = |_: &u64| match producer.send_timeout(&[7; 8], patience) {
        Ok(()) => true,
        Err(SendError::TimedOut { .. }) => false,
        Err(error) => panic!("{error}"),
    };
    (0..MORE_THAN_FIT).take_while(is_sent).count() as u64
}

struct Host {
    peer: Peer,
    address: String,
}

impl Host {
    fn new(test: &str) -> Self {
        let address = format!("@{}", unique_name());
        let mut peer = Peer::start(test, "host", &address);
        peer.expect("listening");
        Self { peer, address }
    }

    fn ask(&mut self, question: &str) -> String {
        self.peer.tell(question);
        self.peer.heard()
    }

    /// Whether a lane has room for as much as anyone wants to send.
    fn is_free(&mut self, lane: usize) -> bool {
        self.ask(&format!("send {lane}")) == MORE_THAN_FIT.to_string()
    }

    fn wait_for(&mut self, question: &str, answer: &str) {
        wait_until(&format!("{question}: {answer}"), || self.ask(question) == answer);
    }
}

/// What a guest's lane says: its count of evictions.
fn evictions(guest: &Guest, lane: usize) -> u32 {
    guest.lanes[lane].control.u32(EVICTIONS).load(Relaxed)
}

/// Says in the stripe of a lane that `position` is what is needed still, true or not.
fn say_consumed(guest: &Guest, lane: usize, position: u64) {
    guest.seat.u64(lane * STRIPE + CONSUMED).store(position, Release);
}

/// In the other process: a session of two lanes. Reads the first on a thread of its own, and says how that ends; reads
/// as many records of the second as it is told.
#[allow(unsafe_code, reason = "vouches for the producer of this test")]
fn reader_of_two() {
    let argument = argument();
    let (address, reading) = argument.split_once(' ').unwrap();
    let second = Attach::lane("second");
    // SAFETY: the producer is this crate's, in the process that started this one.
    let second = if reading == "in place" { unsafe { second.in_place() } } else { second };
    let session = Session::connect(address).unwrap();
    let mut consumers = session.attach([Attach::lane("first"), second]).unwrap().into_iter();
    let (mut first, mut second) = (consumers.next().unwrap(), consumers.next().unwrap());
    say("ready");
    let reads_first = std::thread::spawn(move || {
        loop {
            match first.receive() {
                Ok(Some(record)) => say(&format!("first {}", record[0])),
                outcome => return outcome.map(|_| ()),
            }
        }
    });
    let mut reads_first = Some(reads_first);
    loop {
        match told().split_once(' ') {
            Some(("second", count)) => {
                for _ in 0..count.parse::<u8>().unwrap() {
                    say(&format!("second {}", second.receive().unwrap().unwrap()[0]));
                }
            }
            Some(("end", _)) => {
                let end = reads_first.take().unwrap().join().unwrap();
                assert!(matches!(end, Err(ReceiveError::Evicted { missed_bytes: 0 })), "{end:?}");
                say("evicted");
            }
            _ => return,
        }
    }
}

#[test]
fn a_consumer_whose_other_lane_is_evicted_reads_on() {
    if role().is_some() {
        return reader_of_two();
    }
    let test = "a_consumer_whose_other_lane_is_evicted_reads_on";
    for reading in ["copies", "in place"] {
        let [mut first, mut second] =
            ["first", "second"].map(|name| LaneOptions::new(name).capacity(CAPACITY).create().unwrap());
        let address = format!("@{}", unique_name());
        let server = Server::listen(&*address, [&first, &second]).unwrap();
        let mut peer = Peer::start(test, "reader", &format!("{address} {reading}"));
        peer.expect("ready");
        first.send(&[1; 8]).unwrap();
        peer.expect("first 1");
        // It sleeps, or is about to, on the very lane.
        let who = first.consumers().remove(0);
        assert!(first.evict(&who).unwrap());
        peer.tell("end it");
        peer.expect("evicted");
        assert_eq!((first.consumer_count(), second.consumer_count()), (0, 1));
        // The other lane is read and gated as before.
        let sent = sent(&mut second);
        assert_eq!(sent, CAPACITY / 16, "it holds the lane back");
        peer.tell(&format!("second {}", sent / 2));
        (0..sent / 2).for_each(|_| peer.expect("second 7"));
        second.send(&[9; 8]).unwrap();
        peer.tell(&format!("second {}", sent / 2 + 1));
        (0..sent - sent / 2).for_each(|_| peer.expect("second 7"));
        peer.expect("second 9");
        assert_eq!((server.stats().evicted, second.consumer_count()), (1, 1));
        peer.finish();
        wait_until("it has gone", || second.consumer_count() == 0);
    }
}

#[test]
fn a_lane_that_is_not_read_has_no_seat() {
    if role().is_some() {
        return host();
    }
    let mut host = Host::new("a_lane_that_is_not_read_has_no_seat");
    // A start at 0 would be no news.
    assert!(host.is_free(0) && host.is_free(1));
    for unread in [0, 1] {
        let read = 1 - unread;
        let mut wishes = [attached_lane(COPIES); 2];
        wishes[unread] = NOT_READ;
        let guest = Invited::knock(&host.address).attach_as(&wishes);
        assert_eq!(guest.lanes[unread].position, 0, "where it starts");
        assert_ne!(guest.lanes[read].position, 0, "where the other starts");
        assert_eq!(host.ask("seats"), if unread == 0 { "0 1" } else { "1 0" });
        assert!(host.is_free(unread), "a consumer that does not read a lane does not hold it back");
        assert!(!host.is_free(read), "one that reads it does");
        // What stands in the stripe of a lane that is not read is of no consequence.
        say_consumed(&guest, unread, NONSENSE);
        assert!(host.is_free(unread) && !host.is_free(read));
        assert_eq!(host.ask("evicted"), "0");
        drop(guest);
        host.wait_for("seats", "0 0");
    }
    host.peer.finish();
}

#[test]
fn nonsense_on_one_lane_costs_the_seat_on_that_lane_alone() {
    if role().is_some() {
        return host();
    }
    let mut host = Host::new("nonsense_on_one_lane_costs_the_seat_on_that_lane_alone");
    for (round, (reading, lane)) in [(COPIES, 0), (COPIES, 1), (IN_PLACE, 0), (IN_PLACE, 1)].into_iter().enumerate() {
        let (guest, other) = (Guest::join(&host.address, reading), 1 - lane);
        let evictions_before = [0, 1].map(|lane| evictions(&guest, lane));
        say_consumed(&guest, lane, NONSENSE);
        assert!(host.is_free(lane), "it holds the lane back no more");
        let evicted = guest.wire().expect(&[EVICTED]);
        assert_eq!(evicted.body(), [lane as u8]);
        assert_eq!(evictions(&guest, lane), evictions_before[lane] + 1);
        assert_eq!(evictions(&guest, other), evictions_before[other]);
        assert_eq!(host.ask("seats"), if lane == 0 { "0 1" } else { "1 0" });
        host.wait_for("evicted", &(2 * round + 1).to_string());
        // The other lane is held back as before, and freed by what is released.
        assert!(!host.is_free(other));
        let published = guest.lanes[other].control.u64(PUBLISHED).load(Relaxed);
        say_consumed(&guest, other, published);
        assert_ne!(host.ask(&format!("send {other}")), "0");
        // The last seat that goes takes the session along.
        say_consumed(&guest, other, NONSENSE);
        assert!(host.is_free(other));
        assert_eq!(guest.wire().last_words(), [(BYE, 2)], "no Evicted for the last");
        host.wait_for("evicted", &(2 * round + 2).to_string());
        assert_eq!(host.ask("seats"), "0 0");
    }
    host.peer.finish();
}

#[test]
fn the_seats_that_are_left_hold_their_lanes_until_nobody_maps_them() {
    if role().is_some() {
        return host();
    }
    let mut host = Host::new("the_seats_that_are_left_hold_their_lanes_until_nobody_maps_them");
    let guest = Guest::join(&host.address, IN_PLACE);
    say_consumed(&guest, 0, NONSENSE);
    assert!(host.is_free(0));
    guest.wire().expect(&[EVICTED]);
    // It hangs up, and may still be reading in place.
    guest.wire().shutdown(Shutdown::Both);
    for _ in 0..3 {
        assert!(host.is_free(0) && !host.is_free(1), "it still maps its seat on the other lane");
    }
    assert_eq!(host.ask("evicted"), "1");
    drop(guest);
    host.wait_for("seats", "0 0");
    assert!(host.is_free(1));
    host.peer.finish();
}

#[test]
fn a_consumer_that_is_evicted_from_one_lane_may_still_end_the_session_as_it_likes() {
    if role().is_some() {
        return host();
    }
    let mut host = Host::new("a_consumer_that_is_evicted_from_one_lane_may_still_end_the_session_as_it_likes");
    for (last, answer) in [(bye(1), vec![]), (refuse(5, "no"), vec![]), (evicted(1), vec![(BYE, 3)])] {
        let guest = Guest::join(&host.address, COPIES);
        say_consumed(&guest, 0, NONSENSE);
        assert!(host.is_free(0));
        guest.wire().expect(&[EVICTED]);
        guest.wire().send(&last).unwrap();
        assert_eq!(guest.wire().last_words().into_iter().filter(|word| *word != (BYE, 2)).collect::<Vec<_>>(), answer);
        drop(guest);
        host.wait_for("seats", "0 0");
    }
    host.peer.finish();
}
