//! Descriptors that go with records: to every consumer that asked for them, with exactly their record, also if
//! others join, leave, die, are full or have no room meanwhile.

mod common;
#[path = "common/hostile.rs"]
mod hostile;
#[path = "common/marks.rs"]
mod marks;
#[path = "common/peer.rs"]
mod peer;

use common::{DEADLINE, belongings, isolated, role, unique_name, wait_until};
use fdring::collect::SessionListener;
use fdring::errors::{ErrorKind, ReceiveError, SendError, TakeFdsError};
use fdring::fds::NamesFault;
use fdring::options::{LaneOptions, NoConsumer, SlowConsumer, Start};
use fdring::parcel::{Parcel, ParcelBuilder};
use fdring::{Attach, Consumer, Error, Interrupter, Producer, Record, Server, Session};
use marks::{QUEUE, asking, borrowed, fill, join, lane, lane_of, mark_of, marked, marks, take_mark};
use peer::{Peer, argument, say, told};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::time::{Duration, Instant};

/// How many descriptors the record of that number has.
fn count_of(record: u64) -> u64 {
    [1, 0, 3, 0, 0, 2][record as usize % 6]
}

/// Takes the descriptors of a record that says its number, and checks that they are its own; the number.
fn check(record: &Record<'_>) -> u64 {
    let number = u64::from_le_bytes(record[..8].try_into().unwrap());
    assert_eq!(record.fd_count() as u64, count_of(number));
    let fds = record.take_fds().unwrap();
    assert_eq!(fds.len() as u64, count_of(number));
    for (index, fd) in fds.iter().enumerate() {
        assert_eq!(mark_of(fd), [number, index as u64]);
    }
    number
}

fn send(producer: &mut Producer, number: u64) -> Result<(), SendError> {
    producer.send_with_fds(&number.to_le_bytes(), &borrowed(&marks(number, count_of(number))))
}

/// Sends these records at once, or as many of them as `send` does; which comes next, and the error.
fn send_many(
    producer: &mut Producer,
    numbers: std::ops::Range<u64>,
    send: impl FnOnce(&mut Producer, &mut &[(&[u8], &[BorrowedFd<'_>])]) -> Result<(), SendError>,
) -> (u64, Result<(), SendError>) {
    let end = numbers.end;
    let files: Vec<_> = numbers.map(|number| (number.to_le_bytes(), marks(number, count_of(number)))).collect();
    let fds: Vec<_> = files.iter().map(|(_, fds)| borrowed(fds)).collect();
    let records: Vec<(&[u8], &[BorrowedFd<'_>])> =
        files.iter().zip(&fds).map(|((payload, _), fds)| (&payload[..], &fds[..])).collect();
    let mut left = &records[..];
    let sent = send(producer, &mut left);
    (end - left.len() as u64, sent)
}

fn send_all(producer: &mut Producer, numbers: std::ops::Range<u64>) -> u64 {
    let (next, sent) = send_many(producer, numbers.clone(), |producer, records| producer.send_many_with_fds(records));
    assert_eq!((next, sent), (numbers.end, Ok(())));
    next
}

/// A consumer in a process of its own: checks every record until the end, and says how many it had.
fn checker_role() {
    let mut consumer = join(&argument());
    say("attached");
    let (mut records, mut last) = (0, None);
    while let Some(record) = consumer.receive().unwrap() {
        let number = check(&record);
        assert!(last.is_none_or(|last| number == last + 1), "{number} after {last:?}");
        last = Some(number);
        records += 1;
    }
    say(&format!("{records} {}", last.map_or(-1, |last| last as i64)));
    assert_eq!(told(), "end");
}

#[test]
fn every_consumer_gets_its_own_with_exactly_their_record() {
    const TEST: &str = "every_consumer_gets_its_own_with_exactly_their_record";
    const RECORDS: u64 = 6000;
    if role().is_some() {
        return checker_role();
    }
    let (mut producer, _server, address) = lane(3);
    let mut checkers = [(); 3].map(|()| Peer::start(TEST, "checker", &address));
    checkers.iter_mut().for_each(|checker| checker.expect("attached"));
    let mut number = 0;
    while number < RECORDS / 2 {
        send(&mut producer, number).unwrap();
        number += 1;
    }
    // From none to more than go together.
    for count in (0..50).cycle() {
        number = send_all(&mut producer, number..RECORDS.min(number + count));
        if number == RECORDS {
            break;
        }
    }
    producer.finish();
    for mut checker in checkers {
        checker.expect(&format!("{RECORDS} {}", RECORDS - 1));
        checker.tell("end");
        checker.finish();
    }
}

/// Consumers come and go, by leaving and by dying, while the producer sends: each of those who stay has a gap-free
/// sequence, and the descriptors of each record of it.
#[test]
fn joiners_and_leavers_change_nothing_for_the_others() {
    const TEST: &str = "joiners_and_leavers_change_nothing_for_the_others";
    match role().as_deref() {
        Some("checker") => return checker_role(),
        Some("leaver") => {
            for round in 0..u64::MAX {
                let mut consumer = join(&argument());
                for _ in 0..round % 7 {
                    check(&consumer.receive().unwrap().unwrap());
                }
            }
        }
        Some(_) => {
            let mut consumer = join(&argument());
            say("attached");
            loop {
                check(&consumer.receive().unwrap().unwrap());
            }
        }
        None => {}
    }
    // Two servers, each with a thread that changes the roster.
    let (mut producer, server, address) = lane(3);
    let second_address = format!("@{}", unique_name());
    let second_server = Server::listen(&*second_address, [&producer]).unwrap();
    let addresses = [&*address, &*second_address];
    let mut number = 0;
    let mut checkers = Vec::new();
    let leaver = Peer::start(TEST, "leaver", &address);
    for round in 0..6 {
        checkers.push(Peer::start(TEST, "checker", addresses[round % 2]));
        let mortal = Peer::start(TEST, "mortal", addresses[(round + 1) % 2]);
        let end = Instant::now() + Duration::from_millis(150);
        while Instant::now() < end {
            send(&mut producer, number).unwrap();
            number = send_all(&mut producer, number + 1..number + 8);
        }
        mortal.kill();
    }
    leaver.kill();
    // Those who are still joining find somebody who sends. The count alone says nothing: the dead may be in it still.
    std::thread::scope(|scope| {
        let attached = scope.spawn(|| checkers.iter_mut().for_each(|checker| checker.expect("attached")));
        wait_until("all are attached", || {
            send(&mut producer, number).unwrap();
            number += 1;
            attached.is_finished()
        });
    });
    send(&mut producer, number).unwrap();
    producer.finish();
    for mut checker in checkers {
        let said = checker.heard();
        assert!(said.ends_with(&format!(" {number}")), "{said}, and {number} was the last");
        checker.tell("end");
        checker.finish();
    }
    wait_until("all sessions are over", || server.stats().sessions == 0 && second_server.stats().sessions == 0);
}

#[test]
fn batches_publish_records_with_descriptors_at_once_and_in_order() {
    let (mut producer, _server, address) = lane(3);
    let mut consumer = join(&address);
    let mut batch = producer.batch().unwrap();
    for number in 0..20_u64 {
        let mut slot = batch.reserve(8).unwrap();
        slot.copy_from_slice(&number.to_le_bytes());
        let mut fds = marks(number, count_of(number)).into_iter();
        match fds.next() {
            None => _ = slot.commit(),
            Some(first) => {
                let mut slot = fds.fold(slot.attach(first), |slot, fd| slot.attach(fd));
                let end = slot.commit().unwrap();
                assert_eq!(slot.commit(), Ok(end), "once");
            }
        }
    }
    // What came after the last record with descriptors is not published yet.
    let seen: Vec<u64> = (0..19).map(|_| check(&consumer.receive().unwrap().unwrap())).collect();
    assert_eq!(seen, (0..19).collect::<Vec<_>>());
    assert_eq!(consumer.try_receive().unwrap_err(), ReceiveError::Empty);
    drop(producer.batch());
    // Those of the batch that was dropped are gone; a batch after it goes on.
    let mut batch = producer.batch().unwrap();
    batch.send(&19_u64.to_le_bytes()).unwrap();
    batch.commit();
    assert_eq!(check(&consumer.receive().unwrap().unwrap()), 19);
}

#[test]
fn records_are_read_in_runs_and_in_place_and_with_times_too() {
    for (stamped, in_place) in [(false, false), (false, true), (true, false), (true, true)] {
        let options = LaneOptions::new("lane").capacity(8 << 10).attachments(3).stamped(stamped);
        let (mut producer, _server, address) = lane_of(options);
        // SAFETY: the producer is this very process, and follows the protocol.
        #[allow(unsafe_code, reason = "the promise of reading in place")]
        let attach = if in_place { unsafe { asking().in_place() } } else { asking() };
        let mut consumer = Session::connect(&*address).unwrap().attach_one(attach).unwrap();
        let (mut sent, mut seen) = (0, 0);
        // Several rounds of the ring.
        while sent < 1000 {
            for _ in 0..QUEUE {
                send(&mut producer, sent).unwrap();
                sent += 1;
            }
            while seen < sent {
                consumer
                    .receive_many(|record| {
                        assert_eq!(check(record), seen);
                        assert_eq!(record.published_at().is_some(), stamped);
                        seen += 1;
                    })
                    .unwrap();
            }
        }
        assert_eq!(consumer.try_receive_many(|_| ()), Err(ReceiveError::Empty));
    }
}

#[test]
fn who_did_not_ask_is_told_the_count() {
    let (mut producer, _server, address) = lane(3);
    let mut plain = Consumer::connect(&*address).unwrap();
    let mut tap = fdring::Tap::connect(&*address).unwrap();
    for number in 0..6 {
        send(&mut producer, number).unwrap();
    }
    let check = |record: Option<Record<'_>>, number: u64| {
        let record = record.unwrap();
        let count = count_of(number);
        assert_eq!(record.fd_count() as u64, count);
        match record.take_fds() {
            Ok(fds) => assert!(fds.is_empty() && count == 0),
            Err(error) => assert_eq!((error, count != 0), (TakeFdsError::NotAsked, true)),
        }
    };
    for number in 0..6 {
        check(plain.receive().unwrap(), number);
        check(tap.receive().unwrap(), number);
    }
}

#[test]
fn what_cannot_be_asked_for_is_refused() {
    let (producer, _server, address) = lane_of(LaneOptions::new("plain"));
    let says = |error: Error, words: &str| {
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.to_string().contains(words), "{error}");
    };
    let attach = |attach: Attach| Session::connect(&*address).unwrap().attach_one(attach).unwrap_err();
    says(attach(asking()), "lane plain: no descriptors are attached to its records");
    let tap = Session::connect(&*address).unwrap().tap_one(asking()).unwrap_err();
    says(tap, "a tap is given no descriptors");
    let (_, _server, address) = lane(1);
    says(Session::connect(&*address).unwrap().tap_one(asking()).unwrap_err(), "a tap is given no descriptors");
    says(LaneOptions::new("many").attachments(254).create().unwrap_err(), "at most 253");
    let mut producer = producer;
    let error = producer.send_with_fds(b"", &[marked(0, 0).as_fd()]).unwrap_err();
    assert_eq!(error, SendError::TooManyAttachments { count: 1, max: 0 });
    assert!(error.to_string().contains("LaneOptions::attachments"), "{error}");
    assert_eq!(producer.send_with_fds(b"", &[]), Ok(()), "none are no descriptors");
}

#[test]
fn as_many_as_a_record_can_have_and_no_more() {
    let (mut producer, _server, address) = lane(253);
    let mut consumer = join(&address);
    let fds = marks(7, 254);
    let too_many = producer.send_with_fds(b"", &borrowed(&fds)).unwrap_err();
    assert_eq!(too_many, SendError::TooManyAttachments { count: 254, max: 253 });
    producer.send_with_fds(b"", &borrowed(&fds[..253])).unwrap();
    let record = consumer.receive().unwrap().unwrap();
    let taken = record.take_fds().unwrap();
    assert!((0..253).all(|index| mark_of(&taken[index]) == [7, index as u64]) && taken.len() == 253);
    assert_eq!(record.take_fds().unwrap_err(), TakeFdsError::Taken);
}

/// Records whose descriptors go together are published together.
#[test]
fn many_are_published_in_groups() {
    let (mut producer, _server, address) = lane(3);
    let mut consumer = join(&address);
    // Three times: 16 records have 16 descriptors at most.
    for first in [0, 6, 12] {
        let watcher = std::thread::spawn({
            let address = address.clone();
            move || join(&address)
        });
        let mut watcher = watcher.join().unwrap();
        send_all(&mut producer, first..first + 6);
        let at_once: Vec<u64> = (0..6).map(|_| check(&watcher.try_receive().unwrap().unwrap())).collect();
        assert_eq!(at_once, (first..first + 6).collect::<Vec<_>>());
    }
    for number in 0..18 {
        assert_eq!(check(&consumer.try_receive().unwrap().unwrap()), number);
    }
    assert_eq!(consumer.try_receive().unwrap_err(), ReceiveError::Empty);
}

/// What cannot be sent is an error, and what lies before it is sent.
#[test]
fn of_many_those_before_a_fault_are_sent() {
    let (mut producer, _server, address) = lane(2);
    let mut consumer = join(&address);
    let payload_max = producer.lane().payload_max;
    let (fds, long) = (marks(7, 3), vec![0; payload_max + 1]);
    let fds = borrowed(&fds);
    let too_many: &[(&[u8], &[BorrowedFd<'_>])] = &[(b"0", &fds[..1]), (b"1", &[]), (b"2", &fds), (b"3", &fds[..1])];
    let too_long: &[(&[u8], &[BorrowedFd<'_>])] = &[(b"0", &fds[..2]), (b"1", &[]), (&long, &fds[..1]), (b"3", &[])];
    for (records, fault) in [(too_many, "3 descriptors"), (too_long, "is more than")] {
        let mut left = records;
        let error = producer.send_many_with_fds(&mut left).unwrap_err();
        assert!(error.to_string().contains(fault), "{fault}: {error}");
        assert_eq!(left.len(), 2, "{fault}");
        // A plain record shows that nothing more has come.
        producer.send(b"then").unwrap();
        for (payload, fds) in records[..2].iter().chain([&(&b"then"[..], &[][..])]) {
            let record = consumer.receive().unwrap().unwrap();
            assert_eq!((&record[..], record.take_fds().unwrap().len()), (*payload, fds.len()));
        }
    }
    let mut none: &[(&[u8], &[BorrowedFd<'_>])] = &[];
    let published = producer.published();
    assert_eq!(producer.send_many_with_fds(&mut none), Ok(()));
    assert_eq!(producer.published(), published);
}

/// A queue that is full, or a ring, leaves the rest to be sent later: each record is sent once.
#[test]
fn of_many_the_rest_is_sent_once_there_is_room() {
    const RECORDS: u64 = 500;
    for capacity in [4096, 64 << 10] {
        let (mut producer, _server, address) = lane_of(LaneOptions::new("lane").capacity(capacity).attachments(3));
        let (mut quick, mut slow) = (join(&address), join(&address));
        let (mut sent, mut quick_read, mut slow_read, mut attempts) = (0, 0, 0, 0);
        while sent < RECORDS {
            let (next, outcome) = match attempts % 3 {
                0 => send_many(&mut producer, sent..RECORDS, |producer, records| {
                    producer.try_send_many_with_fds(records)
                }),
                1 => send_many(&mut producer, sent..RECORDS, |producer, records| {
                    producer.send_many_with_fds_timeout(records, Duration::from_millis(1))
                }),
                _ => send_many(&mut producer, sent..RECORDS, |producer, records| {
                    producer.send_many_with_fds_deadline(records, Instant::now() + Duration::from_millis(1))
                }),
            };
            (sent, attempts) = (next, attempts + 1);
            match outcome {
                Err(SendError::Full { .. } | SendError::TimedOut { .. } | SendError::Untaken { .. }) => (),
                outcome => assert_eq!((outcome, sent), (Ok(()), RECORDS)),
            }
            // The quick one takes all, the slow one a few.
            for (consumer, read, most) in [(&mut quick, &mut quick_read, RECORDS), (&mut slow, &mut slow_read, 5)] {
                for _ in 0..most {
                    match consumer.try_receive() {
                        Ok(record) => assert_eq!(check(&record.unwrap()), *read),
                        Err(error) => {
                            assert_eq!(error, ReceiveError::Empty);
                            break;
                        }
                    }
                    *read += 1;
                }
            }
        }
        assert!(attempts > 10, "it was to be full: {attempts} attempts");
        for number in slow_read..RECORDS {
            assert_eq!(check(&slow.receive().unwrap().unwrap()), number);
        }
    }
}

/// A ring that has room for one record of a group has it sent: a consumer may want that one before it gives more room.
#[test]
fn of_many_those_are_sent_that_have_room() {
    let (mut producer, _server, address) = lane_of(LaneOptions::new("lane").capacity(4096).attachments(1));
    let mut consumer = join(&address);
    // Sixteen such records fill the ring.
    let payload = [0; 248];
    (0..15).for_each(|_| producer.send(&payload).unwrap());
    let fds = marks(7, 1);
    let fds = borrowed(&fds);
    for wait in [Duration::ZERO, Duration::from_millis(1)] {
        let mut left = &[(&payload, &fds), (&payload, &fds)][..];
        let error = match wait {
            Duration::ZERO => producer.try_send_many_with_fds(&mut left),
            wait => producer.send_many_with_fds_timeout(&mut left, wait),
        };
        assert!(matches!(error, Err(SendError::Full { .. } | SendError::TimedOut { .. })), "{error:?}");
        assert_eq!(left.len(), 1, "one had room");
        // One more record is read and released than was sent, so that one has room again.
        (0..15).for_each(|_| _ = consumer.receive().unwrap().unwrap());
        assert_eq!(consumer.receive().unwrap().unwrap().take_fds().unwrap().len(), 1);
        assert_eq!(consumer.try_receive().unwrap_err(), ReceiveError::Empty);
        (0..15).for_each(|_| producer.send(&payload).unwrap());
    }
}

/// What is taken of records that came in one frame does not depend on what is taken of the others.
#[test]
fn of_many_each_may_be_taken_or_not() {
    isolated("of_many_each_may_be_taken_or_not", || {
        let before = belongings();
        let (mut producer, server, address) = lane(3);
        let mut consumer = join(&address);
        for step in 1..5 {
            send_all(&mut producer, 0..16);
            for number in 0..16 {
                let record = consumer.receive().unwrap().unwrap();
                if number % step == 0 {
                    assert_eq!(check(&record), number);
                }
            }
        }
        drop((consumer, producer, server));
        wait_until("all that was sent is closed", || belongings() == before);
    });
}

/// A queue that is full makes the producer wait, and nothing is lost.
#[test]
fn a_full_queue_is_waited_for() {
    let (mut producer, _server, address) = lane(1);
    let mut consumer = join(&address);
    let (records, error) = fill(&mut producer, 1);
    let SendError::Untaken { consumer: who } = &error else { panic!("{error}") };
    assert_eq!((records, who.pid), (QUEUE, Some(std::process::id())));
    assert_eq!(error.kind(), ErrorKind::Full);
    let published = producer.published();
    let fds = marks(QUEUE as u64, 1);
    let begin = Instant::now();
    let timed_out = producer.send_with_fds_timeout(b"", &borrowed(&fds), Duration::from_millis(30)).unwrap_err();
    assert!(matches!(timed_out, SendError::Untaken { .. }) && begin.elapsed() >= Duration::from_millis(30));
    assert_eq!(producer.published(), published, "nothing is published that could not be sent");
    producer.send(b"a record without any").unwrap();
    let sender = std::thread::spawn(move || {
        producer.send_with_fds(b"the last", &borrowed(&fds)).unwrap();
        producer
    });
    for _ in 0..QUEUE {
        take_mark(&mut consumer, [0, 0]);
    }
    assert_eq!(&consumer.receive().unwrap().unwrap()[..], b"a record without any");
    let last = consumer.receive().unwrap().unwrap();
    assert_eq!((&last[..], mark_of(&last.take_fds().unwrap()[0])), (&b"the last"[..], [QUEUE as u64, 0]));
    drop(sender.join().unwrap());
}

/// One of two consumers is full: the other one is sent nothing that could not be published, however often it is tried.
#[test]
fn attempts_that_fail_leave_nothing_behind_in_other_queues() {
    let (mut producer, _server, address) = lane(1);
    let (mut quick, mut slow) = (join(&address), join(&address));
    let mut sent = 0;
    // As far as the slow one lets it, the quick one takes all.
    while producer.try_send_with_fds(b"", &[marked(sent, 0).as_fd()]).is_ok() {
        take_mark(&mut quick, [sent, 0]);
        sent += 1;
    }
    for attempt in 0..200 {
        let error = producer.try_send_with_fds(&[0; 100], &[marked(1000 + attempt, 0).as_fd()]).unwrap_err();
        assert!(matches!(error, SendError::Untaken { .. }), "{error}");
    }
    for number in 0..sent {
        take_mark(&mut slow, [number, 0]);
    }
    // A record of another length, that begins where the attempts did.
    producer.send_with_fds(b"next", &[marked(sent, 0).as_fd()]).unwrap();
    for consumer in [&mut quick, &mut slow] {
        take_mark(consumer, [sent, 0]);
    }
}

/// A consumer that holds the producer back by a full queue and goes, in whichever way, holds it back no longer.
#[test]
fn who_goes_with_a_full_queue_is_waited_for_no_longer() {
    const TEST: &str = "who_goes_with_a_full_queue_is_waited_for_no_longer";
    if role().is_some() {
        let consumer = join(&argument());
        say("attached");
        told();
        return drop(consumer);
    }
    for how in ["leaves", "dies", "is evicted"] {
        let (mut producer, _server, address) = lane(1);
        let mut other = Peer::start(TEST, "consumer", &address);
        other.expect("attached");
        fill(&mut producer, 1);
        let who = producer.consumers().remove(0);
        if how == "is evicted" {
            assert!(producer.evict(&who).unwrap());
        }
        let waits = std::thread::spawn(move || {
            let fd = marked(0, 0);
            producer.send_with_fds_timeout(b"", &[fd.as_fd()], DEADLINE).unwrap();
        });
        match how {
            "leaves" => other.tell("leave"),
            "dies" => other.signal(rustix::process::Signal::KILL),
            _ => {}
        }
        waits.join().unwrap();
    }
}

#[test]
fn a_wait_for_a_full_queue_can_be_interrupted() {
    let stop = Interrupter::new().unwrap();
    let (mut producer, _server, address) = lane_of(LaneOptions::new("lane").attachments(1).interrupter(&stop));
    let mut consumer = join(&address);
    fill(&mut producer, 1);
    let interrupts = std::thread::spawn({
        let stop = stop.clone();
        move || stop.interrupt()
    });
    let fds = marks(5, 1);
    assert_eq!(producer.send_with_fds(b"", &borrowed(&fds)), Err(SendError::Interrupted));
    interrupts.join().unwrap();
    stop.clear();
    for _ in 0..QUEUE {
        consumer.receive().unwrap().unwrap();
    }
    assert_eq!(consumer.try_receive().unwrap_err(), ReceiveError::Empty);
    producer.send_with_fds(b"", &borrowed(&fds)).unwrap();
    take_mark(&mut consumer, [5, 0]);
}

/// A consumer that reads and takes none is no reason to wait: what it passes over is closed.
#[test]
fn what_nobody_takes_is_closed_and_room_is_made() {
    isolated("what_nobody_takes_is_closed_and_room_is_made", || {
        let (mut producer, _server, address) = lane(2);
        let mut consumer = join(&address);
        let before = belongings();
        let (reader, writer) = std::io::pipe().unwrap();
        for number in 0..300_u64 {
            producer.send_with_fds(&number.to_le_bytes(), &[writer.as_fd(), marked(number, 1).as_fd()]).unwrap();
            assert_eq!(consumer.receive().unwrap().unwrap().fd_count(), 2);
        }
        drop(writer);
        // Nothing is there any more, so that the last ones are let go as well.
        assert_eq!(consumer.try_receive().unwrap_err(), ReceiveError::Empty);
        assert_eq!(std::io::Read::read(&mut &reader, &mut [0]).unwrap(), 0, "all writing ends are closed");
        drop(reader);
        wait_until("all is closed", || belongings() == before);
        // Those that wait in the queue of a consumer that leaves go, too.
        let (mut reader, writer) = std::io::pipe().unwrap();
        producer.send_with_fds(b"", &[writer.as_fd()]).unwrap();
        drop((writer, consumer));
        assert_eq!(std::io::Read::read(&mut reader, &mut [0]).unwrap(), 0);
    });
}

/// A socket that lingers is attached, and not taken: the consumer waits for nobody.
#[test]
fn what_takes_long_to_close_keeps_nobody_waiting() {
    const TEST: &str = "what_takes_long_to_close_keeps_nobody_waiting";
    isolated(TEST, || {
        let (mut producer, _server, address) = lane(1);
        let mut consumer = join(&address);
        let (socket, _peer) = hostile::lingering();
        let begin = Instant::now();
        producer.send_with_fds(b"", &[socket.as_fd()]).unwrap();
        drop(socket);
        consumer.receive().unwrap().unwrap();
        assert_eq!(consumer.try_receive().unwrap_err(), ReceiveError::Empty);
        for number in 0..100 {
            producer.send_with_fds(b"", &[marked(number, 0).as_fd()]).unwrap();
            take_mark(&mut consumer, [number, 0]);
        }
        // More sessions than may wait to be closed: what they leave behind has another thread.
        (0..80).for_each(|_| drop(join(&address)));
        assert!(begin.elapsed() < Duration::from_secs(30), "{:?}", begin.elapsed());
    });
}

/// The threads that close are kept by sockets that linger: what is refused after them does not fill the table.
#[test]
fn what_is_refused_behind_those_that_take_long_to_close_is_bounded() {
    isolated("what_is_refused_behind_those_that_take_long_to_close_is_bounded", || {
        let takes: [fn(&Record<'_>) -> Error; 3] = [
            |record| record.take_parcel(1 << 20).unwrap_err(),
            |record| record.take_sealed(1 << 20).unwrap_err(),
            |record| record.take_named().unwrap_err().into(),
        ];
        for take in takes {
            let (mut producer, _server, address) = lane(40);
            let mut consumer = join(&address);
            let (sockets, peers): (Vec<_>, Vec<_>) = (0..4).map(|_| hostile::lingering()).unzip();
            producer.send_with_fds(b"", &borrowed(&sockets)).unwrap();
            drop(sockets);
            assert_eq!(take(&consumer.receive().unwrap().unwrap()).kind(), ErrorKind::Peer);
            let (_reader, writer) = std::io::pipe().unwrap();
            let mut refused = 0;
            let last = loop {
                producer.send_with_fds(b"", &[writer.as_fd(); 40]).unwrap();
                let record = consumer.receive().unwrap().unwrap();
                match take(&record).kind() {
                    ErrorKind::Peer => refused += 1,
                    _ => break record,
                }
            };
            assert_eq!(refused, 2, "64 descriptors or more wait, and no more are taken");
            assert_eq!(last.take_fds().unwrap().len(), 40, "nothing is lost");
            drop(peers);
            wait_until("room is made", || {
                producer.send_with_fds(b"", &[writer.as_fd(); 40]).unwrap();
                take(&consumer.receive().unwrap().unwrap()).kind() == ErrorKind::Peer
            });
        }
    });
}

#[test]
fn who_takes_nothing_for_too_long_is_cut_off_and_keeps_its_seat() {
    let after = Duration::from_millis(50);
    let options = LaneOptions::new("lane").attachments(1).slow_consumer(SlowConsumer::Evict { after });
    let (mut producer, _server, address) = lane_of(options);
    let (mut stuck, mut other) = (join(&address), join(&address));
    let (sent, begin, mut waits) = (100, Instant::now(), 0);
    for number in 0..sent {
        let fd = marked(number, 0);
        let called = Instant::now();
        producer.send_with_fds_timeout(&u64::to_le_bytes(number), &[fd.as_fd()], DEADLINE).unwrap();
        waits += usize::from(called.elapsed() >= after);
        take_mark(&mut other, [number, 0]);
    }
    // Once, and now and then for want of a processor.
    assert!(begin.elapsed() >= after && waits < (100 - QUEUE) / 2, "{waits} waits of {after:?}");
    assert_eq!(producer.consumer_count(), 2, "it keeps its seat");
    // What was sent to it is there, and then it is told.
    let mut outcomes = Vec::new();
    for number in 0..sent {
        let record = stuck.receive().unwrap().unwrap();
        assert_eq!(record[..8], number.to_le_bytes());
        outcomes.push(record.take_fds().map(|fds| mark_of(&fds[0])));
    }
    let got = outcomes.iter().take_while(|outcome| outcome.is_ok()).count();
    assert_eq!(got, QUEUE);
    assert!((0..got).all(|number| outcomes[number] == Ok([number as u64, 0])));
    assert!(outcomes[got..].iter().all(|outcome| *outcome == Err(TakeFdsError::CutOff)));
}

/// A consumer takes an eighth of its queue again and again, in less time than it has, and all of it in more.
#[test]
fn who_takes_some_is_not_cut_off() {
    wait_until("it has all of it, eighth by eighth", takes_eighth_by_eighth);
}

/// Whether it was not cut off. A busy machine may keep it from taking in time; otherwise it must not be.
fn takes_eighth_by_eighth() -> bool {
    let after = Duration::from_secs(1);
    let options = LaneOptions::new("lane").attachments(1).slow_consumer(SlowConsumer::Evict { after });
    let (mut producer, _server, address) = lane_of(options);
    let mut consumer = join(&address);
    assert_eq!(fill(&mut producer, 1).0, QUEUE);
    let begin = Instant::now();
    let sender = std::thread::spawn(move || {
        producer.send_with_fds(b"last", &[marked(1, 0).as_fd()]).unwrap();
        producer
    });
    let mut takes = || consumer.receive().unwrap().unwrap().take_fds().map(|fds| fds.len()) == Ok(1);
    // An eighth counts once all of it is taken, so the time is that from one end of an eighth to the next.
    let (mut taken, mut longest) = (begin, Duration::ZERO);
    let mut took_all = (1..=8).all(|eighth| {
        let has = (0..QUEUE / 8).all(|_| takes());
        longest = longest.max(std::mem::replace(&mut taken, Instant::now()).elapsed());
        wait_until("it is time to go on", || begin.elapsed() > eighth * after * 3 / 10);
        has
    });
    took_all &= takes();
    longest = longest.max(taken.elapsed());
    drop(sender.join().unwrap());
    assert!(took_all || longest >= after / 2, "it was cut off, and took an eighth every {longest:?} at least");
    took_all
}

#[test]
fn who_takes_nothing_for_too_long_is_an_error_where_the_lane_says_so() {
    let after = Duration::from_millis(50);
    let options = LaneOptions::new("lane").attachments(1).slow_consumer(SlowConsumer::Fail { after });
    let (mut producer, _server, address) = lane_of(options);
    let _stuck = join(&address);
    fill(&mut producer, 1);
    let fds = marks(0, 1);
    let error = producer.send_with_fds(b"", &borrowed(&fds)).unwrap_err();
    assert!(matches!(&error, SendError::TooSlow { consumer } if consumer.pid == Some(std::process::id())), "{error}");
}

/// Fills the descriptor table of this process, which has 200 places from now on.
fn fill_table() -> Vec<OwnedFd> {
    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: Some(200), maximum }).unwrap();
    std::iter::from_fn(|| rustix::io::fcntl_dupfd_cloexec(std::io::stderr(), 0).ok()).collect()
}

/// Fills the descriptor table of this process except for that number, and calls `with`.
fn with_room_for<T>(free: usize, with: impl FnOnce() -> T) -> T {
    let limit = getrlimit(Resource::Nofile);
    let mut stuffing = fill_table();
    stuffing.truncate(stuffing.len() - free);
    let outcome = with();
    drop(stuffing);
    setrlimit(Resource::Nofile, limit).unwrap();
    outcome
}

#[test]
fn a_full_table_loses_nothing() {
    isolated("a_full_table_loses_nothing", || {
        let (mut producer, _server, address) = lane(8);
        let mut consumer = join(&address);
        for number in 0..3 {
            let fds = marks(number, 8);
            producer.send_with_fds(b"", &borrowed(&fds)).unwrap();
        }
        for number in 0..3 {
            let record = consumer.receive().unwrap().unwrap();
            for free in [0, 1, 7] {
                let outcome = with_room_for(free, || record.take_fds());
                assert_eq!(outcome.unwrap_err(), TakeFdsError::NoRoom, "{free}");
            }
            let fds = with_room_for(8, || record.take_fds()).unwrap();
            assert!((0..8).all(|index| mark_of(&fds[index]) == [number, index as u64]));
        }
        // Those that nobody takes wait where they are as long as there is no room for them, and hold up nothing else.
        for number in 3..6 {
            let fds = marks(number, 8);
            producer.send_with_fds(b"", &borrowed(&fds)).unwrap();
        }
        let last = with_room_for(0, || {
            for _ in 3..5 {
                consumer.receive().unwrap().unwrap();
            }
            let last = consumer.receive().unwrap().unwrap();
            assert_eq!(last.take_fds().unwrap_err(), TakeFdsError::NoRoom);
            last
        });
        assert_eq!(mark_of(&last.take_fds().unwrap()[7]), [5, 7]);
    });
}

/// Who sleeps while there is no room for descriptors that it lets go of makes room for the producer once there is some.
#[test]
fn who_sleeps_with_a_full_table_lets_go_once_there_is_room() {
    const TEST: &str = "who_sleeps_with_a_full_table_lets_go_once_there_is_room";
    if let Some(how) = role() {
        let mut consumer = join(&argument());
        say("attached");
        assert_eq!(told(), "read");
        let stuffing = fill_table();
        for _ in 0..QUEUE {
            consumer.receive().unwrap().unwrap();
        }
        std::thread::spawn(|| {
            assert_eq!(told(), "make room");
            drop(stuffing);
        });
        while how == "arms" && !consumer.has_news() {
            if consumer.arm().unwrap() {
                poll(&mut [PollFd::new(&consumer, PollFlags::IN)], None).unwrap();
            }
        }
        assert_eq!(consumer.receive().unwrap().unwrap().fd_count(), 1);
        return;
    }
    // Longer than after any other wait that ends with a look.
    let long = Duration::from_millis(100);
    for how in ["receives", "arms"] {
        let (mut producer, _server, address) = lane(1);
        let mut sleeper = Peer::start(TEST, how, &address);
        sleeper.expect("attached");
        assert_eq!(fill(&mut producer, 1).0, QUEUE);
        sleeper.tell("read");
        wait_until("it sleeps", || {
            let consumer = producer.consumers().remove(0);
            consumer.is_asleep && consumer.behind_bytes == 0
        });
        let begin = Instant::now();
        wait_until("nothing else wakes it", || begin.elapsed() > long);
        let untaken = producer.try_send_with_fds(b"", &[marked(0, 0).as_fd()]);
        assert!(matches!(untaken, Err(SendError::Untaken { .. })), "{untaken:?}");
        sleeper.tell("make room");
        producer.send_with_fds_timeout(b"", &[marked(0, 0).as_fd()], DEADLINE).unwrap();
        sleeper.finish();
    }
}

/// Nobody who joins begins at a record whose descriptors it would not be given, wherever it asks to begin.
#[test]
fn who_joins_later_begins_after_the_last_record_with_descriptors() {
    let (mut producer, _server, address) = lane(1);
    producer.send(b"first").unwrap();
    producer.send_with_fds(b"second", &[marked(0, 0).as_fd()]).unwrap();
    let second = producer.published() - 16;
    let third = producer.published();
    producer.send(b"third").unwrap();
    let attach = |attach: Attach| Session::connect(&*address).unwrap().attach_one(attach);
    let mut oldest = attach(asking().start(Start::Oldest)).unwrap();
    assert!(oldest.position() >= third);
    let mut at = attach(asking().start(Start::At(third))).unwrap();
    let error = attach(asking().start(Start::At(second))).unwrap_err();
    assert!(error.to_string().contains("it is no longer there"), "{error}");
    // One that asks for none begins where it likes.
    let mut plain = attach(Attach::new().start(Start::At(second))).unwrap();
    assert_eq!(plain.receive().unwrap().unwrap().fd_count(), 1);
    producer.send_with_fds(b"fourth", &[marked(4, 0).as_fd()]).unwrap();
    assert_eq!(&at.receive().unwrap().unwrap()[..], b"third");
    for consumer in [&mut oldest, &mut at] {
        loop {
            let record = consumer.receive().unwrap().unwrap();
            if record.fd_count() != 0 {
                assert_eq!(mark_of(&record.take_fds().unwrap()[0]), [4, 0]);
                break;
            }
        }
    }
}

/// Who resumes another's place is told that it was not given the descriptors of earlier records.
#[test]
fn who_resumes_is_told_what_it_was_not_given() {
    let options = LaneOptions::new("lane").attachments(1).no_consumer(NoConsumer::WaitFor(1));
    let (mut producer, _server, address) = lane_of(options);
    let first = join(&address);
    for number in 0..3 {
        producer.send_with_fds(b"", &[marked(number, 0).as_fd()]).unwrap();
    }
    drop(first);
    let mut resumed = Session::connect(&*address).unwrap().attach_one(asking().start(Start::Resume)).unwrap();
    producer.send_with_fds(b"", &[marked(3, 0).as_fd()]).unwrap();
    for number in 0..3 {
        let record = resumed.receive().unwrap().unwrap();
        let error = record.take_fds().unwrap_err();
        assert_eq!(error, TakeFdsError::NotSent { position: record.position() }, "{number}");
        let error = record.take_parcel(4096).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::DescriptorsLost, "{error}");
    }
    take_mark(&mut resumed, [3, 0]);
}

#[test]
fn a_producer_that_connects_attaches_descriptors_too() {
    const TEST: &str = "a_producer_that_connects_attaches_descriptors_too";
    if role().is_some() {
        let mut producer = LaneOptions::new("lane").attachments(3).create().unwrap();
        let _link = producer.connect(&*argument()).unwrap();
        for number in 0..100 {
            send(&mut producer, number).unwrap();
        }
        // It ends at once; what it has sent is read.
        return;
    }
    let address = format!("@{}", unique_name());
    let listener = SessionListener::listen(&*address).unwrap();
    let producer = Peer::start(TEST, "producer", &address);
    let mut consumer = listener.accept().unwrap().attach_one(asking()).unwrap();
    for number in 0..100 {
        assert_eq!(check(&consumer.receive().unwrap().unwrap()), number);
    }
    assert!(consumer.receive().unwrap().is_none());
    producer.finish();
}

#[test]
fn names_go_with_descriptors() {
    let (mut producer, _server, address) = lane(10);
    let mut consumer = join(&address);
    let fds = marks(3, 10);
    let names: Vec<String> = (0..10).map(|index| format!("file {index}")).collect();
    producer.send_named(names.iter().map(String::as_str).zip(borrowed(&fds))).unwrap();
    let named = consumer.receive().unwrap().unwrap().take_named().unwrap();
    for (index, (name, fd)) in named.iter().enumerate() {
        assert_eq!((name.as_str(), mark_of(fd)), (names[index].as_str(), [3, index as u64]));
    }
    for (name, fault) in [("a:b", NamesFault::Character { name: 0, byte: b':' }), ("", NamesFault::Empty { name: 0 })] {
        assert_eq!(producer.send_named([(name, fds[0].as_fd())]), Err(SendError::Names(fault)));
    }
    producer.send_with_fds(b"one:two\n", &[fds[0].as_fd()]).unwrap();
    let error = consumer.receive().unwrap().unwrap().take_named().unwrap_err();
    assert_eq!(error, TakeFdsError::Names(NamesFault::Count { names: 2, descriptors: 1 }));
}

#[test]
fn the_dropped_reservation_closes_what_was_attached_and_publishes_nothing() {
    let (mut producer, _server, address) = lane(1);
    let mut consumer = join(&address);
    let (reader, writer) = std::io::pipe().unwrap();
    drop(producer.reserve(8).unwrap().attach(writer));
    assert_eq!(std::io::Read::read(&mut &reader, &mut [0]).unwrap(), 0);
    producer.send(b"after").unwrap();
    assert_eq!(&consumer.receive().unwrap().unwrap()[..], b"after");
}

#[test]
fn a_record_that_is_held_has_no_descriptors_any_more() {
    let (mut producer, _server, address) = lane(1);
    let mut consumer = join(&address);
    let (mut reader, writer) = std::io::pipe().unwrap();
    producer.send_with_fds(b"kept", &[writer.as_fd()]).unwrap();
    drop(writer);
    let kept = consumer.receive().unwrap().unwrap().into_owned();
    assert_eq!(consumer.try_receive().unwrap_err(), ReceiveError::Empty);
    assert_eq!(std::io::Read::read(&mut reader, &mut [0]).unwrap(), 0);
    assert_eq!(&kept[..], b"kept");
}

#[test]
#[allow(unsafe_code, reason = "the promise of reading in place")]
fn who_has_gone_and_holds_records_takes_no_descriptors() {
    let (mut producer, _server, address) = lane(1);
    // SAFETY: the producer is this very process, and follows the protocol.
    let attach = unsafe { asking().in_place() };
    let mut consumer = Session::connect(&*address).unwrap().attach_one(attach).unwrap();
    producer.send(b"kept").unwrap();
    let kept = consumer.receive().unwrap().unwrap().into_owned();
    let (mut reader, writer) = std::io::pipe().unwrap();
    for _ in 0..4 {
        producer.send_with_fds(b"not read", &[writer.as_fd()]).unwrap();
    }
    drop((writer, consumer));
    assert_eq!(std::io::Read::read(&mut reader, &mut [0]).unwrap(), 0, "none waits for the record that is held");
    for number in 0..100 {
        producer.try_send_with_fds(b"", &[marked(number, 0).as_fd()]).unwrap();
    }
    assert_eq!(&kept[..], b"kept");
}

/// Parcels and sealed memory go on lanes to every consumer, and on to others, without a copy.
#[test]
fn parcels_go_as_records() {
    let (mut producer, _server, address) = lane(2);
    let (mut next_producer, _next_server, next_address) = lane(2);
    let (mut one, mut two, mut last) = (join(&address), join(&address), join(&next_address));
    let mut writer = ParcelBuilder::new("rows").buffer(1, 100_000).allocate().unwrap();
    writer.buffer_mut(0).fill(7);
    let sent = writer.seal().unwrap();
    producer.send_parcel(b"first", &sent).unwrap();
    let inode = |parcel: &Parcel| rustix::fs::fstat(parcel.fds()[0]).unwrap().st_ino;
    for consumer in [&mut one, &mut two] {
        let record = consumer.receive().unwrap().unwrap();
        let parcel = record.take_parcel(1 << 20).unwrap();
        assert_eq!((&record[..], inode(&parcel)), (&b"first"[..], inode(&sent)));
        assert!(parcel.buffer(0).unwrap().iter().all(|byte| *byte == 7));
        // On to a third one, with a buffer beside it.
        let more = ParcelBuilder::new("more").buffer(2, 8).shared(&parcel, 0).allocate().unwrap().seal().unwrap();
        next_producer.send_parcel_timeout(b"", &more, DEADLINE).unwrap();
        let forwarded = last.receive().unwrap().unwrap().take_parcel(1 << 20).unwrap();
        assert_eq!(forwarded.buffer(1), sent.buffer(0));
    }
    // What is longer than the ring, and what is not.
    for len in [0, 1, 1000, 1001, 1 << 20] {
        let bytes: Vec<u8> = (0..len).map(|n| n as u8).collect();
        producer.send_or_parcel(&bytes, 1000).unwrap();
        for consumer in [&mut one, &mut two] {
            let record = consumer.receive().unwrap().unwrap();
            assert_eq!(record.fd_count(), usize::from(len > 1000));
            assert_eq!(record.take_bytes(2 << 20).unwrap()[..], bytes[..]);
        }
    }
    let refused = |error: Error| assert_eq!(error.kind(), ErrorKind::Peer, "{error}");
    producer.send_parcel(b"", &sent).unwrap();
    refused(one.receive().unwrap().unwrap().take_parcel(4096).unwrap_err());
    refused(two.receive().unwrap().unwrap().take_sealed(4096).unwrap_err());
    producer.send_with_fds(b"", &borrowed(&marks(0, 2))).unwrap();
    refused(one.receive().unwrap().unwrap().take_parcel(4096).unwrap_err());
    refused(two.receive().unwrap().unwrap().take_sealed(4096).unwrap_err());
    producer.send(b"none").unwrap();
    refused(one.receive().unwrap().unwrap().take_parcel(4096).unwrap_err());
    refused(two.receive().unwrap().unwrap().take_sealed(4096).unwrap_err());
}

/// Another process sends them; who keeps their bytes needs none of their descriptors.
#[test]
fn thousands_of_parcels_are_kept_under_a_limit_of_256_descriptors() {
    const TEST: &str = "thousands_of_parcels_are_kept_under_a_limit_of_256_descriptors";
    const PARCELS: u64 = 5000;
    let limit = || {
        let maximum = getrlimit(Resource::Nofile).maximum;
        setrlimit(Resource::Nofile, Rlimit { current: Some(256), maximum }).unwrap();
    };
    if role().as_deref() == Some("sender") {
        limit();
        let mut producer = LaneOptions::new("parcels").attachments(1).create().unwrap();
        let _server = Server::listen(&*argument(), [&producer]).unwrap();
        say("listening");
        producer.wait_for_consumers(1, DEADLINE).unwrap();
        for number in 0..PARCELS {
            let parcel = Parcel::copy_of("kept", 0, &[&number.to_le_bytes()]).unwrap();
            producer.send_parcel(b"", &parcel).unwrap();
        }
        return producer.finish_and_wait(DEADLINE).unwrap();
    }
    isolated(TEST, || {
        limit();
        let address = format!("@{}", unique_name());
        let mut sender = Peer::start(TEST, "sender", &address);
        sender.expect("listening");
        let mut consumer = join(&address);
        let mut kept = Vec::new();
        while let Some(record) = consumer.receive().unwrap() {
            kept.push(record.take_parcel(1 << 20).unwrap().into_bytes());
        }
        sender.finish();
        assert_eq!(kept.len() as u64, PARCELS);
        for (bytes, number) in kept.iter().zip(0_u64..) {
            assert_eq!(bytes.buffer(0), Some(&number.to_le_bytes()[..]));
        }
    });
}
