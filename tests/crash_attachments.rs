//! A kill at every step around descriptors that go with records: of the producer, and of a consumer that joins.
//!
//! The process that is killed kills itself, at the point that its environment names (`src/crash.rs`). Those
//! who are left read each record with just its own descriptors, and hold no more afterwards than before.

mod common;
#[path = "common/marks.rs"]
mod marks;
#[path = "common/peer.rs"]
mod peer;

use common::{DEADLINE, belongings, hears_of_death, isolated, role, unique_name, wait_until};
use fdring::errors::ReceiveError;
use fdring::options::{LaneOptions, Start};
use fdring::{Consumer, Producer, Record, Server, Session};
use marks::{asking, borrowed, join, lane, mark_of, marks};
use peer::{Peer, SESSION_POINTS, STEWARD_POINTS, argument, say, told};
use rustix::fd::BorrowedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// Around the frames of a record: it is not published.
const FRAME_POINTS: [&str; 3] =
    ["producer-before-attachments", "producer-between-attachments", "producer-after-attachments"];
/// What a consumer passes after [`SESSION_POINTS`], up to its leave.
const READING_POINTS: [&str; 3] = ["consumer-record-found", "consumer-leaving", "consumer-left"];

/// The ways to send a record with descriptors. Before each the batch has a plain one, and so has the group, which has
/// three of them.
const WAYS: [&str; 4] = ["copied", "filled", "in a batch", "in a group"];

/// Record `number` has two descriptors that are marked so, or none if it is even and a batch or a group sends it.
fn send(producer: &mut Producer, way: &str, number: &mut u64) {
    let mut next = || (*number, *number += 1).0;
    match way {
        "copied" => {
            let number = next();
            producer.send_with_fds(&number.to_le_bytes(), &borrowed(&marks(number, 2))).unwrap();
        }
        "filled" => {
            let number = next();
            let mut slot = producer.reserve(8).unwrap();
            slot.copy_from_slice(&number.to_le_bytes());
            let mut fds = marks(number, 2).into_iter();
            let slot = slot.attach(fds.next().unwrap());
            slot.attach(fds.next().unwrap()).commit().unwrap();
        }
        "in a group" => {
            let numbers = [(); 6].map(|()| next());
            let payloads = numbers.map(u64::to_le_bytes);
            let files = numbers.map(|number| marks(number, if number.is_multiple_of(2) { 0 } else { 2 }));
            let fds = files.each_ref().map(|fds| borrowed(fds));
            let records: Vec<(&[u8], &[BorrowedFd<'_>])> =
                payloads.iter().zip(&fds).map(|(payload, fds)| (&payload[..], &fds[..])).collect();
            producer.send_many_with_fds(&mut &records[..]).unwrap();
        }
        _ => {
            let (plain, number) = (next(), next());
            let mut batch = producer.batch().unwrap();
            batch.send(&plain.to_le_bytes()).unwrap();
            let mut slot = batch.reserve(8).unwrap();
            slot.copy_from_slice(&number.to_le_bytes());
            let mut fds = marks(number, 2).into_iter();
            let slot = slot.attach(fds.next().unwrap());
            slot.attach(fds.next().unwrap()).commit().unwrap();
        }
    }
}

/// How many records are published together.
fn records_at_once(way: &str) -> u64 {
    match way {
        "in a group" => 6,
        "in a batch" => 2,
        _ => 1,
    }
}

/// The number of a record, whose descriptors are checked.
fn check(record: &Record<'_>, way: &str) -> u64 {
    let number = u64::from_le_bytes(record[..].try_into().unwrap());
    let is_plain = way.starts_with("in a") && number.is_multiple_of(2);
    let fds = record.take_fds().unwrap();
    assert_eq!(fds.len(), if is_plain { 0 } else { 2 }, "record {number}");
    assert!(fds.iter().zip(0..).all(|(fd, index)| mark_of(fd) == [number, index]), "descriptors of record {number}");
    number
}

/// Listens, waits for that number of consumers, and, once these know that they are attached, sends until it is killed.
fn producer_role() -> ! {
    let argument = argument();
    let [address, way, consumers] = argument.split('|').collect::<Vec<_>>()[..] else { panic!("{argument}") };
    let mut producer = LaneOptions::new("lane").attachments(2).create().unwrap();
    let _server = Server::listen(address, [&producer]).unwrap();
    say("listening");
    producer.wait_for_consumers(consumers.parse().unwrap(), DEADLINE).unwrap();
    assert_eq!(told(), "send");
    let mut number = 0;
    loop {
        send(&mut producer, way, &mut number);
        assert!(number < 1 << 20, "it was to die before");
    }
}

fn from_oldest(address: &str) -> fdring::Result<Consumer> {
    Session::connect(address)?.attach_one(asking().start(Start::Oldest))
}

/// Reads on from record `next` to the death of the producer; which would be the next.
fn read_to_the_death(mut consumer: Consumer, way: &str, mut next: Option<u64>) -> Option<u64> {
    loop {
        match consumer.receive() {
            Ok(record) => {
                let number = check(&record.expect("it has not finished"), way);
                assert!(next.is_none_or(|next| next == number), "{number}, and not {next:?}");
                next = Some(number + 1);
            }
            Err(end) => {
                let mut end = Some(end);
                let ask = || end.take().unwrap_or_else(|| consumer.receive().map(drop).unwrap_err());
                hears_of_death(ask, [ReceiveError::HungUp, ReceiveError::PeerDead]);
                return next;
            }
        }
    }
}

#[test]
fn a_producer_that_is_killed_around_the_frames_publishes_nothing_of_that_record_or_batch() {
    let test = "a_producer_that_is_killed_around_the_frames_publishes_nothing_of_that_record_or_batch";
    if role().as_deref() == Some("producer") {
        producer_role();
    }
    isolated(test, || {
        let before = belongings();
        for way in WAYS {
            for (point, passes) in FRAME_POINTS.into_iter().flat_map(|point| [0, 5].map(|passes| (point, passes))) {
                let address = format!("@{}", unique_name());
                let crash_at = format!("{point}:{passes}");
                let mut producer = Peer::start_with(test, "producer", &format!("{address}|{way}|2"), Some(&crash_at));
                producer.expect("listening");
                let consumers = [(); 2].map(|()| from_oldest(&address).unwrap());
                producer.tell("send");
                producer.dies();
                // It comes past the point between two consumers' frames once for each.
                let sent = if point == "producer-between-attachments" { passes / 2 } else { passes };
                let records = sent * records_at_once(way);
                for consumer in consumers {
                    assert_eq!(read_to_the_death(consumer, way, Some(0)), Some(records), "{way}: {crash_at}");
                }
            }
        }
        wait_until("all that was sent is closed", || belongings() == before);
    });
}

#[test]
fn a_producer_that_is_killed_while_a_consumer_joins_leaves_it_no_record_without_its_descriptors() {
    let test = "a_producer_that_is_killed_while_a_consumer_joins_leaves_it_no_record_without_its_descriptors";
    if role().as_deref() == Some("producer") {
        producer_role();
    }
    isolated(test, || {
        let before = belongings();
        for way in WAYS {
            for point in ["steward-accepted"].into_iter().chain(STEWARD_POINTS) {
                let address = format!("@{}", unique_name());
                // The second who joins meets the end, beside one who reads.
                let crash_at = format!("{point}:1");
                let mut producer = Peer::start_with(test, "producer", &format!("{address}|{way}|1"), Some(&crash_at));
                producer.expect("listening");
                let first = from_oldest(&address).unwrap();
                producer.tell("send");
                let joiner = std::thread::scope(|scope| {
                    let reader = scope.spawn(|| read_to_the_death(first, way, Some(0)));
                    let joiner = from_oldest(&address);
                    producer.dies();
                    (joiner, reader.join().unwrap())
                });
                let (joiner, end) = joiner;
                if let Ok(joiner) = joiner {
                    let last = read_to_the_death(joiner, way, None);
                    assert!(last.is_none() || last == end, "{way}: {point}: {last:?}, and not {end:?}");
                }
            }
        }
        wait_until("all that was sent is closed", || belongings() == before);
    });
}

#[test]
fn a_consumer_that_is_killed_at_any_step_costs_nobody_descriptors() {
    let test = "a_consumer_that_is_killed_at_any_step_costs_nobody_descriptors";
    if role().as_deref() == Some("joiner") {
        let mut consumer = join(&argument());
        for _ in 0..10 {
            check(&consumer.receive().unwrap().unwrap(), "copied");
        }
        drop(consumer);
        panic!("it was to die before");
    }
    isolated(test, || {
        let (mut producer, _server, address) = lane(2);
        let mut witness = join(&address);
        let (mut number, before) = (0, belongings());
        let mut send_and_read = |consumers: &mut [&mut Consumer]| {
            send(&mut producer, "copied", &mut number);
            for consumer in consumers {
                let record = consumer.receive_timeout(DEADLINE).unwrap().unwrap();
                assert_eq!(check(&record, "copied"), number - 1);
            }
        };
        let points = ["session-connected"].into_iter().chain(SESSION_POINTS).chain(READING_POINTS);
        for (point, passes) in points.flat_map(|point| [(point, 0), (point, 3)]) {
            // Only what is done for a record comes again.
            if passes != 0 && !point.starts_with("consumer-record") {
                continue;
            }
            let mut victim = Peer::start_with(test, "joiner", &address, Some(&format!("{point}:{passes}")));
            let (is_dead, begin) = (AtomicBool::new(false), Instant::now());
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    while !is_dead.load(Ordering::Relaxed) && begin.elapsed() < 2 * DEADLINE {
                        send_and_read(&mut [&mut witness]);
                    }
                });
                victim.dies();
                is_dead.store(true, Ordering::Relaxed);
            });
            let mut newcomer = join(&address);
            (0..5).for_each(|_| send_and_read(&mut [&mut witness, &mut newcomer]));
        }
        wait_until("nothing of them is left", || {
            // The producer lets go of who has gone as it sends.
            send_and_read(&mut [&mut witness]);
            belongings() == before
        });
    });
}
