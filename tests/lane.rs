//! Lanes through the public interface, with both ends in this process: what is sent comes, and when it does not.

#![allow(clippy::forget_non_drop, reason = "forgetting is to stay harmless if they ever get a Drop")]

mod common;

use common::{DEADLINE, shows, unique_name, wait_until, wait_until_thread_sleeps};
use fdring::{
    Attach, Consumer, Error, Producer, Server, Session, Tap,
    call::{CallError, ReplyError},
    errors::{Corruption, GeometryError, ReceiveError, SendError, TapError},
    feed::FeedError,
    limits::CAPACITY_MAX_BYTES,
    options::Records,
    options::{LaneOptions, SessionOptions, Start},
};
use rustix::io::Errno;
use rustix::thread::gettid;
use rustix::time::{ClockId, clock_gettime};
use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

struct Lane {
    producer: Producer,
    consumer: Consumer,
    address: String,
    server: Server,
}

fn lane_with(options: LaneOptions, session: SessionOptions) -> Lane {
    let producer = options.create().unwrap();
    let address = format!("@{}", unique_name());
    let server = Server::listen(&*address, &[&producer]).unwrap();
    let consumer = session.connect(&*address).unwrap().attach_one(Attach::new()).unwrap();
    Lane { producer, consumer, address, server }
}

fn lane() -> Lane {
    lane_with(LaneOptions::new("lane").capacity(4096), SessionOptions::new())
}

/// Fills a lane with records of 64 bytes; how many there was room for.
fn fill(producer: &mut Producer) -> u64 {
    (0..).find(|n: &u64| producer.try_send(&[*n as u8; 56]).is_err()).unwrap()
}

#[test]
fn records_come_whole_and_in_order() {
    let Lane { mut producer, mut consumer, server: _server, .. } = lane();
    let thread = std::thread::spawn(move || {
        for n in 0..100_000u64 {
            let mut slot = producer.reserve(8 + (n % 100) as usize).unwrap();
            slot[..8].copy_from_slice(&n.to_le_bytes());
            slot.set_tag(n as u16);
            slot.commit();
        }
    });
    let mut n = 0u64;
    while let Some(record) = consumer.receive().unwrap() {
        assert_eq!(record.len(), 8 + (n % 100) as usize);
        assert_eq!(record[..8], n.to_le_bytes());
        assert_eq!(record.tag(), n as u16);
        n += 1;
    }
    assert_eq!(n, 100_000);
    thread.join().unwrap();
}

#[test]
fn a_ping_waits_for_its_pong() {
    let Lane { producer: mut ping, consumer: mut ping_end, server: _server, .. } = lane();
    let Lane { producer: mut pong, consumer: mut pong_end, server: _server, .. } = lane();
    let echo = std::thread::spawn(move || {
        while let Some(record) = ping_end.receive().unwrap() {
            pong.send(&record).unwrap();
        }
    });
    for n in 0..5_000u64 {
        ping.send(&n.to_le_bytes()).unwrap();
        assert_eq!(pong_end.receive_timeout(DEADLINE).unwrap().unwrap()[..], n.to_le_bytes());
    }
    drop(ping);
    echo.join().unwrap();
    assert!(pong_end.receive().unwrap().is_none());
}

#[test]
fn a_timeout_ends_the_wait() {
    let Lane { producer, mut consumer, server: _server, .. } = lane();
    let start = Instant::now();
    assert!(matches!(consumer.receive_timeout(Duration::from_millis(20)), Err(ReceiveError::TimedOut)));
    assert!(start.elapsed() >= Duration::from_millis(20));
    assert!(matches!(consumer.receive_timeout(Duration::ZERO), Err(ReceiveError::TimedOut)));
    assert!(matches!(consumer.try_receive(), Err(ReceiveError::Empty)));
    drop(producer);
    assert!(consumer.receive().unwrap().is_none());
}

#[test]
fn a_slow_consumer_holds_the_lane_back_and_is_named() {
    let Lane { mut producer, mut consumer, server: _server, .. } = lane();
    assert_eq!(fill(&mut producer), 64);
    let error = producer.try_send(&[]).unwrap_err();
    let SendError::Full { consumer: Some(holder) } = error.clone() else { panic!("{error}") };
    assert_eq!((holder.pid, holder.behind_bytes), (Some(std::process::id()), 4096));
    assert!(error.to_string().contains(&format!("process {}", std::process::id())), "{error}");
    let start = Instant::now();
    let error = producer.send_timeout(&[], Duration::from_millis(20)).unwrap_err();
    assert!(matches!(&error, SendError::TimedOut { consumer: Some(again) } if *again == holder), "{error}");
    assert!(start.elapsed() >= Duration::from_millis(20));
    assert!(producer.send_timeout(&[], Duration::ZERO).is_err());
    for n in 0..64 {
        assert_eq!(consumer.receive().unwrap().unwrap()[..], [n; 56]);
    }
    assert!(matches!(consumer.try_receive(), Err(ReceiveError::Empty)));
    for n in 0..60 {
        producer.try_send(&[n; 56]).unwrap();
    }
    assert_eq!(consumer.try_receive_many(|_| ()).unwrap(), 60);
    assert_eq!(fill(&mut producer), 64, "a drain gives everything back, not eighths");
    (0..60).for_each(|_| _ = consumer.receive().unwrap());
    assert_eq!(fill(&mut producer), 56, "a record at a time, eighths are released");
    while consumer.try_receive().is_ok() {}
    for n in 0..5 {
        producer.try_send(&[n; 56]).unwrap();
        assert_eq!(consumer.receive().unwrap().unwrap()[..], [n; 56]);
    }
    assert!(matches!(consumer.try_receive(), Err(ReceiveError::Empty)));
    assert_eq!(fill(&mut producer), 64, "an empty try gives everything back");
}

/// Blocks a producer on a full lane, does `relief` and waits until the producer has gone on.
fn is_relieved_by(relief: impl FnOnce(&mut Option<Consumer>, &Rest)) {
    let Lane { mut producer, consumer, address, server } = lane();
    fill(&mut producer);
    let (say_tid, tid) = channel();
    let blocked = std::thread::spawn(move || {
        say_tid.send(gettid()).unwrap();
        producer.send_timeout(b"more", DEADLINE).unwrap();
        producer
    });
    wait_until_thread_sleeps(tid.recv().unwrap());
    assert!(!blocked.is_finished());
    let mut consumer = Some(consumer);
    let start = Instant::now();
    relief(&mut consumer, &Rest { address, _server: server });
    drop(blocked.join().unwrap());
    assert!(start.elapsed() < DEADLINE / 6);
}

/// What is left of a lane whose ends are elsewhere.
struct Rest {
    address: String,
    _server: Server,
}

#[test]
fn a_producer_asleep_is_woken_by_what_a_consumer_releases() {
    is_relieved_by(|consumer, _| {
        let consumer = consumer.as_mut().unwrap();
        // A record is released by the call after it: by the next one that receives, or by one that says so.
        (0..8).for_each(|_| _ = consumer.receive().unwrap().unwrap());
        consumer.release();
    });
}

#[test]
fn a_consumer_can_be_asked_about_while_its_record_is_used_no_more() {
    let Lane { mut producer, mut consumer, .. } = lane();
    (0..3u8).for_each(|n| producer.send(&[n]).unwrap());
    producer.finish();
    let mut ends = Vec::new();
    while let Some(record) = consumer.receive().unwrap() {
        assert_eq!(record.len(), 1);
        ends.push(consumer.position());
    }
    assert_eq!(ends, [16, 32, 48]);
}

#[test]
fn a_producer_asleep_is_woken_by_a_consumer_that_leaves() {
    is_relieved_by(|consumer, _| drop(consumer.take()));
}

#[test]
fn a_producer_asleep_minds_those_who_join_and_leave() {
    is_relieved_by(|consumer, lane| {
        let connect = || Consumer::connect(&*lane.address).unwrap();
        drop(connect());
        let _other = connect();
        drop(consumer.take());
    });
}

#[test]
fn a_blocked_consumer_uses_no_processor_and_is_woken_by_the_next_record() {
    let Lane { mut producer, mut consumer, server: _server, .. } = lane();
    let (say_tid, tid) = channel();
    let receiver = std::thread::spawn(move || {
        say_tid.send(gettid()).unwrap();
        let mut used = Vec::new();
        let mut before = clock_gettime(ClockId::ThreadCPUTime);
        while consumer.receive_timeout(DEADLINE / 6).unwrap().is_some() {
            let now = clock_gettime(ClockId::ThreadCPUTime);
            used.push((now.tv_sec - before.tv_sec) * 1_000_000 + (now.tv_nsec - before.tv_nsec) / 1000);
            before = now;
        }
        used
    });
    let tid = tid.recv().unwrap();
    for _ in 0..10 {
        let start = Instant::now();
        wait_until("it has waited for 50 ms", || start.elapsed() >= Duration::from_millis(50));
        wait_until_thread_sleeps(tid);
        producer.send(b"wake up").unwrap();
    }
    wait_until_thread_sleeps(tid);
    producer.finish();
    let mut used = receiver.join().unwrap();
    used.sort_unstable();
    assert!(used[5] < 5_000, "µs of processor time for waits of 50 ms: {used:?}");
}

#[test]
fn without_a_consumer_the_lane_never_fills() {
    let mut producer = LaneOptions::new("lane").capacity(4096).create().unwrap();
    (0..1000).for_each(|_| producer.try_send(&[0; 1000]).unwrap());
    assert_eq!((producer.consumer_count(), producer.published() >= 1000 * 1008), (0, true));
}

#[test]
fn one_that_joins_at_the_oldest_reads_without_a_gap_and_one_at_the_latest_what_is_new() {
    let Lane { mut producer, consumer, address, server: _server, .. } = lane();
    drop(consumer);
    let join = |start| Session::connect(&*address).unwrap().attach_one(Attach::new().start(start)).unwrap();
    let mut next = 0u64;
    for records in [0, 1, 30, 500, 7, 1000] {
        for _ in 0..records {
            producer.send(&next.to_le_bytes()).unwrap();
            next += 1;
        }
        let (mut oldest, mut latest) = (join(Start::Oldest), join(Start::Latest));
        assert!(producer.published() - oldest.position() >= producer.published().min(2048), "most of the ring");
        assert_eq!(latest.position(), producer.published());
        producer.send(&next.to_le_bytes()).unwrap();
        next += 1;
        let mut expected = oldest.position() / 16;
        while let Ok(Some(record)) = oldest.try_receive() {
            assert_eq!(record[..], expected.to_le_bytes());
            expected += 1;
        }
        assert_eq!(expected, next);
        assert_eq!(latest.receive().unwrap().unwrap()[..], (next - 1).to_le_bytes());
    }
}

#[test]
fn a_batch_is_published_at_once_or_not_at_all() {
    let Lane { mut producer, mut consumer, server: _server, .. } = lane();
    let mut batch = producer.batch().unwrap();
    batch.send(b"one").unwrap();
    batch.try_send(b"two").unwrap();
    let mut slot = batch.reserve(100).unwrap();
    slot[..5].copy_from_slice(b"three");
    slot.truncate(5);
    slot.set_tag(3);
    slot.commit();
    assert!(matches!(consumer.try_receive(), Err(ReceiveError::Empty)));
    batch.commit();
    let mut seen = Vec::new();
    assert_eq!(consumer.try_receive_many(|record| seen.push((record.to_vec(), record.tag()))).unwrap(), 3);
    assert_eq!(seen, [(b"one".to_vec(), 0), (b"two".to_vec(), 0), (b"three".to_vec(), 3)]);
    let mut batch = producer.batch().unwrap();
    batch.send(b"never").unwrap();
    drop(batch);
    producer.batch().unwrap().commit();
    producer.send(b"next").unwrap();
    assert_eq!(consumer.receive().unwrap().unwrap()[..], *b"next");
}

#[test]
fn a_record_that_a_closure_fills_is_published_when_it_returns() {
    let Lane { mut producer, mut consumer, server: _server, .. } = lane();
    producer.fill(5, |bytes| bytes.copy_from_slice(b"whole")).unwrap();
    let record = consumer.try_receive().unwrap().unwrap();
    assert_eq!((&record[..], record.tag()), (&b"whole"[..], 0));
    let panics = std::panic::AssertUnwindSafe(|| producer.fill(5, |_| panic!("as it should")));
    assert!(std::panic::catch_unwind(panics).is_err());
    assert!(matches!(consumer.try_receive(), Err(ReceiveError::Empty)), "what a panic left unfinished is discarded");
    let (len, max) = (producer.lane().payload_max + 1, producer.lane().payload_max);
    let outcome = producer.fill(len, |_| panic!("no record is that long"));
    assert_eq!(outcome, Err(SendError::TooLong { len, max }));
    producer.fill(0, |bytes| assert!(bytes.is_empty())).unwrap();
    assert!(consumer.try_receive().unwrap().unwrap().is_empty());
}

#[test]
fn a_tag_goes_with_the_record_that_was_sent_with_it() {
    let Lane { mut producer, mut consumer, server: _server, .. } = lane();
    producer.send_tagged(b"one", 1).unwrap();
    producer.send(b"none").unwrap();
    let mut batch = producer.batch().unwrap();
    batch.send_tagged(&[7; 300], u16::MAX).unwrap();
    batch.send(b"none").unwrap();
    batch.commit();
    for (payload, tag) in [(&b"one"[..], 1), (b"none", 0), (&[7; 300], u16::MAX), (b"none", 0)] {
        let record = consumer.receive().unwrap().unwrap();
        assert_eq!((&record[..], record.tag()), (payload, tag));
    }
}

#[test]
fn a_batch_gives_up_at_its_deadline_and_what_it_held_has_gone_out() {
    let Lane { mut producer, mut consumer, server: _server, .. } = lane();
    let mut batch = producer.batch().unwrap();
    (0..64).for_each(|n| batch.send_timeout(&[n; 56], DEADLINE).unwrap());
    let start = Instant::now();
    let error = batch.send_timeout(&[64; 56], Duration::from_millis(20)).unwrap_err();
    assert!(matches!(error, SendError::TimedOut { consumer: Some(_) }), "{error}");
    assert!(start.elapsed() >= Duration::from_millis(20));
    drop(batch);
    assert_eq!(consumer.try_receive_many(|_| ()).unwrap(), 64);
    let mut batch = producer.batch().unwrap();
    batch.send_timeout(b"after", Duration::ZERO).unwrap();
    batch.commit();
    assert_eq!(consumer.receive().unwrap().unwrap()[..], *b"after");
}

#[test]
fn a_record_is_as_long_as_what_was_written_into_it() {
    let Lane { mut producer, mut consumer, server: _server, .. } = lane();
    let mut slot = producer.reserve(100).unwrap();
    slot.set_tag(3);
    let mut line = slot.writer();
    assert_eq!(line.written(), 0);
    write!(line, "{} and {}", 1, 2).unwrap();
    line.write_all(b"!").unwrap();
    line.flush().unwrap();
    assert_eq!(line.written(), 8);
    line.commit();
    let mut never = producer.reserve(100).unwrap().writer();
    write!(never, "discarded").unwrap();
    drop(never);
    let mut batch = producer.batch().unwrap();
    let mut line = batch.reserve(50).unwrap().writer();
    write!(line, "in a batch").unwrap();
    line.commit();
    batch.reserve(50).unwrap().writer().commit();
    batch.commit();
    for (payload, tag) in [(&b"1 and 2!"[..], 3), (b"in a batch", 0), (b"", 0)] {
        let record = consumer.try_receive().unwrap().unwrap();
        assert_eq!((&record[..], record.tag()), (payload, tag));
    }
    assert!(matches!(consumer.try_receive(), Err(ReceiveError::Empty)));
}

#[test]
fn a_reservation_that_is_written_full_says_so_and_keeps_what_fits() {
    let Lane { mut producer, mut consumer, server: _server, .. } = lane();
    let mut line = producer.reserve(5).unwrap().writer();
    assert_eq!(line.write(b"full").unwrap(), 4);
    assert_eq!(line.write(b"est").unwrap(), 1, "as much as there is room for");
    assert_eq!(line.write(b"").unwrap(), 0, "of nothing, everything fits");
    for error in [line.write(b"t").unwrap_err(), line.write_all(b"t").unwrap_err(), write!(line, "t").unwrap_err()] {
        assert_eq!(error.kind(), ErrorKind::WriteZero);
        assert!(error.to_string().contains("5 bytes"), "{error}");
    }
    assert_eq!(line.written(), 5);
    line.commit();
    assert_eq!(consumer.receive().unwrap().unwrap()[..], *b"fulle");
}

#[test]
fn records_and_reservations_are_bytes_to_whoever_asks_for_bytes() {
    fn length(bytes: impl AsRef<[u8]>) -> usize {
        bytes.as_ref().len()
    }
    fn clear(mut bytes: impl AsMut<[u8]>) {
        bytes.as_mut().fill(b'-');
    }
    let Lane { mut producer, mut consumer, server: _server, .. } = lane();
    let mut slot = producer.reserve(3).unwrap();
    clear(&mut slot);
    assert_eq!(length(&slot), 3);
    slot.commit();
    let record = consumer.receive().unwrap().unwrap();
    assert_eq!((AsRef::<[u8]>::as_ref(&record), length(&record)), (&b"---"[..], 3));
}

#[test]
fn handles_can_be_moved_to_other_threads_and_shared_between_them() {
    fn is_send_and_sync<T: Send + Sync + 'static>() {}
    is_send_and_sync::<Producer>();
    is_send_and_sync::<Consumer>();
    is_send_and_sync::<Server>();
    is_send_and_sync::<Session>();
    is_send_and_sync::<Error>();
    is_send_and_sync::<SendError>();
    is_send_and_sync::<ReceiveError>();
}

#[test]
fn the_number_of_an_error_comes_with_what_it_means_and_its_remedy() {
    let number = Errno::MFILE.raw_os_error();
    let end = format!(": {}; close some descriptors or raise the limit (ulimit -n)", io::Error::from(Errno::MFILE));
    for sentence in [
        SendError::Wait(number).to_string(),
        SendError::Attachment(number).to_string(),
        ReceiveError::Wait(number).to_string(),
        TapError::Wait(number).to_string(),
        FeedError::Wait(number).to_string(),
        CallError::Wait(number).to_string(),
        ReplyError::Wait(number).to_string(),
    ] {
        assert!(sentence.ends_with(&end), "{sentence}");
    }
}

#[test]
fn what_unwrap_prints_is_the_sentence_and_an_io_error_keeps_it() {
    shows(SendError::TooLong { len: 9, max: 8 }, "TooLong", ErrorKind::InvalidInput);
    shows(SendError::Full { consumer: None }, "Full", ErrorKind::WouldBlock);
    shows(SendError::TimedOut { consumer: None }, "TimedOut", ErrorKind::TimedOut);
    shows(SendError::Forked, "Forked", ErrorKind::Unsupported);
    shows(ReceiveError::Empty, "Empty", ErrorKind::WouldBlock);
    shows(ReceiveError::TimedOut, "TimedOut", ErrorKind::TimedOut);
    shows(ReceiveError::Abandoned, "Abandoned", ErrorKind::ConnectionAborted);
    shows(ReceiveError::PeerDead, "PeerDead", ErrorKind::BrokenPipe);
    shows(ReceiveError::HungUp, "HungUp", ErrorKind::ConnectionReset);
    let refused = ReceiveError::Refused { refusal: fdring::errors::Refusal::Closing, reason: "enough".into() };
    shows(refused, "Refused", ErrorKind::ConnectionRefused);
    shows(ReceiveError::Peer("nonsense".into()), "Peer", ErrorKind::InvalidData);
    shows(ReceiveError::Closed, "Closed", ErrorKind::ConnectionReset);
    shows(ReceiveError::Evicted { missed_bytes: 8 }, "Evicted", ErrorKind::ConnectionReset);
    let corrupt = ReceiveError::Corrupt(Corruption::PublishedUnaligned(3));
    shows(corrupt, "Corrupt: PublishedUnaligned(3)", ErrorKind::InvalidData);
    shows(ReceiveError::Wait(libc::EPERM), "Wait", ErrorKind::PermissionDenied);
    shows(ReceiveError::Forked, "Forked", ErrorKind::Unsupported);
    let system = io::Error::from_raw_os_error(libc::EBADF).to_string();
    assert_eq!(ReceiveError::Wait(libc::EBADF).to_string(), format!("could not wait for a record: {system}"));
}

#[test]
fn reasons_for_no_record_can_be_compared_and_kept() {
    let Lane { producer, mut consumer, server: _server, .. } = lane();
    let empty = consumer.try_receive().unwrap_err();
    assert_eq!(empty.clone(), ReceiveError::Empty);
    producer.abandon();
    let kept = consumer.receive().unwrap_err();
    assert_eq!(consumer.receive().unwrap_err(), kept);
    assert_ne!(kept, empty);
    assert_ne!(ReceiveError::Wait(libc::EPERM), ReceiveError::Wait(libc::ENOMEM));
}

#[test]
fn a_batch_longer_than_the_ring_goes_out_in_parts() {
    let Lane { mut producer, mut consumer, server: _server, .. } = lane();
    let reader = std::thread::spawn(move || {
        (0..1000u32).for_each(|n| assert_eq!(consumer.receive().unwrap().unwrap()[..4], n.to_le_bytes()));
    });
    let mut batch = producer.batch().unwrap();
    for n in 0..1000u32 {
        let mut slot = batch.reserve_timeout(100, DEADLINE).unwrap();
        slot[..4].copy_from_slice(&n.to_le_bytes());
        slot.commit();
    }
    batch.commit();
    reader.join().unwrap();
}

#[test]
fn records_filled_by_one_call_go_out_in_parts_where_they_are_more_than_the_ring_holds() {
    let Lane { mut producer, mut consumer, server: _server, .. } = lane();
    let reader = std::thread::spawn(move || {
        (0..3000u64).for_each(|n| assert_eq!(consumer.receive().unwrap().unwrap()[..8], n.to_le_bytes()));
        assert!(consumer.receive().unwrap().is_none(), "no more than were filled");
    });
    let mut batch = producer.batch().unwrap();
    for (first, len) in [(0, 8), (1000, 100), (2000, 56)] {
        let fill = |index, payload: &mut [u8]| payload[..8].copy_from_slice(&(first + index as u64).to_le_bytes());
        batch.fill_many(Records { count: 1000, len }, fill).unwrap();
    }
    batch.commit();
    drop(producer);
    reader.join().unwrap();
}

#[test]
fn what_one_call_cannot_fill_is_an_error_that_changes_nothing() {
    let Lane { mut producer, mut consumer, server: _server, .. } = lane();
    let max = producer.lane().payload_max;
    let mut batch = producer.batch().unwrap();
    batch.fill_many(Records { count: 2, len: 3 }, |index, payload| payload.fill(index as u8)).unwrap();
    for (count, len) in [(1, max + 1), (0, max + 1), (usize::MAX, usize::MAX)] {
        let outcome = batch.fill_many(Records { count, len }, |_, _| panic!("no record is that long"));
        assert_eq!(outcome, Err(SendError::TooLong { len, max }));
    }
    batch.fill_many(Records { count: 0, len: max }, |_, _| panic!("no record is wanted")).unwrap();
    batch.fill_many(Records { count: 1, len: max }, |_, payload| payload.fill(9)).unwrap();
    batch.commit();
    for expected in [&[0; 3][..], &[1; 3], &vec![9; max]] {
        let record = consumer.receive().unwrap().unwrap();
        assert_eq!((&record[..], record.tag()), (expected, 0));
    }
    assert!(matches!(consumer.try_receive(), Err(ReceiveError::Empty)));
}

#[test]
fn a_panic_while_records_are_filled_leaves_whole_records_or_none() {
    // Ten of these fit what is asked for at once, and 170 the ring.
    const PAYLOAD: usize = 16;
    const RECORDS: usize = 400;
    const HELD: usize = 4096 / 24;
    let places = [0, 1, 5, 9, 10, 11, 100, HELD - 1, HELD, HELD + 1, HELD + 5, 2 * HELD, RECORDS - 1];
    for (fails_at, is_committed) in places.into_iter().flat_map(|index| [(index, false), (index, true)]) {
        let Lane { mut producer, mut consumer, server: _server, .. } = lane();
        producer.send(b"before").unwrap();
        let mut batch = producer.batch().unwrap();
        let fill = |index, payload: &mut [u8]| {
            payload.fill(0xee);
            assert!(index != fails_at, "as it should");
            payload.fill(index as u8);
        };
        let fill_all = std::panic::AssertUnwindSafe(|| batch.fill_many(Records { count: RECORDS, len: PAYLOAD }, fill));
        // Where it goes on in parts these are read, so that it never waits.
        let reader = std::thread::spawn(move || {
            let mut records = Vec::new();
            while let Some(record) = consumer.receive().unwrap() {
                records.push(record.to_vec());
            }
            records
        });
        assert!(std::panic::catch_unwind(fill_all).is_err());
        if is_committed {
            batch.commit();
        }
        producer.send(b"after").unwrap();
        drop(producer);
        let records = reader.join().unwrap();
        let [first, whole @ .., last] = &records[..] else { panic!("{records:?}") };
        assert_eq!((&first[..], &last[..]), (&b"before"[..], &b"after"[..]));
        assert!(whole.len() <= fails_at, "{} records before number {fails_at}", whole.len());
        assert!(whole.len() + HELD >= fails_at, "what the ring has no room for has gone out");
        for (index, record) in whole.iter().enumerate() {
            assert!(record.len() == PAYLOAD && record.iter().all(|byte| *byte == index as u8), "record {index}");
        }
    }
}

#[test]
fn the_longest_payload_is_named_and_fits() {
    for (options, max) in [
        (LaneOptions::new("lane").capacity(4096), 2048 - 8),
        (LaneOptions::new("lane").capacity(4096).payload_align(1024), 2048 - 1024),
        (LaneOptions::new("lane").capacity(16384).payload_align(4096), 8192 - 4096),
    ] {
        let Lane { mut producer, mut consumer, server: _server, .. } = lane_with(options, SessionOptions::new());
        assert_eq!(producer.lane().payload_max, max);
        let error = producer.reserve(max + 1).unwrap_err();
        assert_eq!(error, SendError::TooLong { len: max + 1, max });
        assert!(error.to_string().contains(&max.to_string()));
        assert_eq!(producer.try_send(&vec![0; max * 9]), Err(SendError::TooLong { len: max * 9, max }));
        assert_eq!(producer.reserve(usize::MAX).unwrap_err(), SendError::TooLong { len: usize::MAX, max });
        for n in 0..20 {
            producer.send_timeout(&vec![n; max], DEADLINE).unwrap();
            assert_eq!(consumer.receive().unwrap().unwrap()[..], vec![n; max]);
        }
    }
}

#[test]
fn payloads_are_aligned_where_they_are_copied_to() {
    for align in [8u32, 64, 128, 512, 4096] {
        let options = LaneOptions::new("lane").capacity(1 << 17).payload_align(align);
        let Lane { mut producer, mut consumer, server, .. } = lane_with(options, SessionOptions::new());
        let mut tap = Tap::connect(server.address().to_string()).unwrap();
        let aligned = |payload: &[u8]| payload.as_ptr().addr().is_multiple_of(align as usize);
        for len in [1, 8, 56, 255, 256, 257, 4096, 60000, 300, 2] {
            producer.send_timeout(&vec![len as u8; len], DEADLINE).unwrap();
            let record = consumer.receive().unwrap().unwrap();
            assert!(record.len() == len && record.iter().all(|byte| *byte == len as u8));
            assert!(aligned(&record), "{len} bytes at {:p}, not at a multiple of {align}", &record[..]);
            // Kept, it is aligned as well, and so is what a tap has copied.
            let kept = record.into_owned();
            let tapped = tap.receive().unwrap().unwrap().into_owned();
            for copy in [&kept, &tapped] {
                assert!(aligned(copy), "{len} kept bytes at {:p}, not at a multiple of {align}", &copy[..]);
                assert!(copy.len() == len && copy.iter().all(|byte| *byte == len as u8));
            }
        }
        for len in [3, 1000, 40, 300] {
            producer.send_timeout(&vec![1; len], DEADLINE).unwrap();
        }
        let mut seen = 0;
        let each = consumer.receive_many(|payload| {
            assert!(aligned(payload), "{} bytes at {:p}", payload.len(), payload);
            seen += 1;
        });
        each.unwrap();
        assert_eq!(seen, 4);
    }
}

#[test]
fn absurd_lanes_are_errors_before_anything_is_allocated() {
    let create = |options: LaneOptions| options.prefault(false).create().map(|_| ());
    for capacity in [0, 1, 2048, 4095, 4097, 5000, 1 << 41, 1 << 63, (1 << 63) + 1, u64::MAX] {
        let error = create(LaneOptions::new("lane").capacity(capacity)).unwrap_err();
        assert!(matches!(error, Error::Geometry(GeometryError::Capacity(found)) if found == capacity), "{error}");
        assert_eq!(error.to_string(), GeometryError::Capacity(capacity).to_string());
    }
    for align in [0, 1, 7, 12, 8192, u32::MAX] {
        let of = |options| match create(options) {
            Err(Error::Geometry(error)) => error,
            other => panic!("{align}: {other:?}"),
        };
        assert_eq!(of(LaneOptions::new("lane").record_align(align)), GeometryError::RecordAlign(align));
        assert_eq!(of(LaneOptions::new("lane").payload_align(align)), GeometryError::PayloadAlign(align));
    }
    for options in
        [LaneOptions::new("lane").payload_align(64), LaneOptions::new("lane").payload_align(64).record_align(8)]
    {
        let producer = options.prefault(false).create().unwrap();
        assert_eq!((producer.lane().record_align, producer.lane().payload_align), (64, 64), "in either order");
    }
    let error = create(LaneOptions::new("lane").capacity(4096).record_align(2048)).unwrap_err();
    assert!(matches!(error, Error::Geometry(GeometryError::TooFewRecords { .. })), "{error}");
    let error = create(LaneOptions::new("lane").capacity(CAPACITY_MAX_BYTES)).unwrap_err();
    assert!(matches!(error, Error::Os { .. }), "this machine has no TiB: {error}");
}

#[test]
fn names_are_short_and_printable() {
    for name in ["", "a\nb", "\0", "x\u{7f}", &"x".repeat(65), &"ä".repeat(33)] {
        let error = LaneOptions::new(name).capacity(4096).create().unwrap_err();
        assert!(matches!(error, Error::Invalid(_)), "{error}");
    }
    for name in ["x", " ", "a/b", "\u{202e}", "日本", &"x".repeat(64), &"ä".repeat(32)] {
        let Lane { producer, consumer, server: _server, .. } =
            lane_with(LaneOptions::new(name).capacity(4096), SessionOptions::new().lanes([name]));
        assert_eq!((&*producer.lane().name, &*consumer.lane().name), (name, name));
    }
}

#[test]
fn a_reservation_counts_only_once_it_is_committed() {
    let Lane { mut producer, mut consumer, server, .. } = lane();
    drop(producer.reserve(10).unwrap());
    std::mem::forget(producer.reserve(10).unwrap());
    std::mem::forget(producer.batch().unwrap());
    assert_eq!(producer.published(), 0);
    let mut slot = producer.reserve(10).unwrap();
    slot.truncate(1000);
    assert_eq!(slot.len(), 10);
    slot.fill(1);
    slot.commit();
    let record = consumer.receive().unwrap().unwrap();
    assert_eq!((&record[..], record.position()), (&[1u8; 10][..], 0));
    drop(consumer);
    wait_until("the session is over", || server.stats().sessions == 0);
}

#[test]
fn a_producer_waits_for_consumers_of_its_lane() {
    let address = format!("@{}", unique_name());
    let producer = LaneOptions::new("lane").capacity(4096).create().unwrap();
    let other = LaneOptions::new("other").capacity(4096).create().unwrap();
    let _server = Server::listen(&*address, [&producer, &other]).unwrap();
    producer.wait_for_consumers(0, Duration::ZERO).unwrap();
    let start = Instant::now();
    let error = producer.wait_for_consumers(2, Duration::from_millis(20)).unwrap_err();
    assert!(start.elapsed() >= Duration::from_millis(20));
    assert!(error.to_string().contains("waiting for 2 consumers of lane lane, 0 are there"), "{error}");
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| producer.wait_for_consumers(2, DEADLINE));
        let attach = |name| Session::connect(&*address).unwrap().attach_one(Attach::lane(name)).unwrap();
        let consumers = [attach("lane"), attach("other"), attach("lane")];
        waiting.join().unwrap().unwrap();
        drop(consumers);
    });
    assert!(other.wait_for_consumers(3, Duration::ZERO).is_err());
}

/// What is called so in this process's table of descriptors, opened anew, as a tool would; and the rest of its name.
fn memfd(prefix: &str) -> (File, String) {
    let links = std::fs::read_dir("/proc/self/fd").unwrap().map(|entry| entry.unwrap().path());
    let found = links.filter_map(|path| {
        let name = std::fs::read_link(&path).ok()?;
        let rest = name.to_str()?.strip_prefix("/memfd:")?.strip_prefix(prefix)?.to_owned();
        Some((rest, path))
    });
    let (rest, path) = found.last().expect(prefix);
    (File::open(path).unwrap(), rest.strip_suffix(" (deleted)").unwrap().to_owned())
}

fn word(file: &File, offset: u64) -> u64 {
    let mut word = [0; 8];
    file.read_exact_at(&mut word, offset).unwrap();
    u64::from_le_bytes(word)
}

#[test]
fn a_tool_can_pair_the_regions_of_a_lane_and_read_what_both_ends_counted() {
    let name = unique_name();
    let options = LaneOptions::new(&name).capacity(4096).asymmetric_barrier(false);
    let Lane { mut producer, mut consumer, server: _server, .. } = lane_with(options, SessionOptions::new());
    let (control, id) = memfd(&format!("fdring:{name}:control:"));
    let (data, other_id) = memfd(&format!("fdring:{name}:data:"));
    assert_eq!((id.len(), &id), (32, &other_id));
    let header_id = [32, 40].map(|offset| word(&control, offset).to_le_bytes()).concat();
    assert_eq!(id, header_id.iter().map(|byte| format!("{byte:02x}")).collect::<String>());
    assert_eq!(word(&control, 128), data.metadata().unwrap().ino());
    // Of all seats of this process, the one with that id in its first stripe.
    let links = std::fs::read_dir("/proc/self/fd").unwrap().map(|entry| entry.unwrap().path());
    let is_seat = |to: &Path| to.to_string_lossy().starts_with("/memfd:fdring:seat:");
    let seats = links.filter(|path| std::fs::read_link(path).is_ok_and(|to| is_seat(&to)));
    let mut seats = seats.filter_map(|path| File::open(path).ok());
    let seat = seats.find(|seat| [384, 392].map(|offset| word(seat, offset).to_le_bytes()).concat() == header_id);
    let seat = seat.expect("the seat of the lane");
    // A record at a time, and in a batch, until the ring is full twice.
    let mut records = 0;
    for _ in 0..2 {
        while producer.try_send(&[7; 56]).is_ok() {
            records += 1;
        }
        assert_eq!(consumer.try_receive_many(|_| ()).unwrap(), 64);
    }
    let mut batch = producer.batch().unwrap();
    batch.fill_many(Records { count: 10, len: 56 }, |_, payload| payload.fill(7)).unwrap();
    batch.send(&[7; 56]).unwrap();
    batch.commit();
    records += 11;
    assert_eq!(word(&control, 520), (records - 1) * 64, "where the last record begins");
    assert_eq!(consumer.try_receive_many(|_| ()).unwrap(), 11);
    producer.finish();
    assert!(consumer.receive().unwrap().is_none());
    assert_eq!([1152, 1160, 1176].map(|offset| word(&control, offset)), [records, records * 64, 0]);
    assert_eq!([256, 264, 272].map(|offset| word(&seat, offset)), [records, records * 64, 0]);
    drop(consumer);
    assert_eq!([0, 16].map(|offset| word(&seat, offset)), [(records * 64) | (1 << 63), records * 64]);
}

#[test]
fn a_producer_counts_the_bells_that_it_rang_and_how_often_it_was_blocked() {
    let name = unique_name();
    let options = LaneOptions::new(&name).capacity(4096).spin(Duration::ZERO);
    let sessions = SessionOptions::new().spin(Duration::ZERO);
    let Lane { mut producer, mut consumer, server: _server, .. } = lane_with(options, sessions);
    let (control, _) = memfd(&format!("fdring:{name}:control:"));
    let (tell, told) = channel();
    let thread = std::thread::spawn(move || {
        tell.send(gettid()).unwrap();
        consumer.receive().unwrap().unwrap();
        consumer
    });
    wait_until_thread_sleeps(told.recv().unwrap());
    producer.send(&[1; 8]).unwrap();
    let consumer = thread.join().unwrap();
    fill(&mut producer);
    let mut calls = 0;
    // Stored before it sleeps; on a busy machine the time of a call may be up before.
    wait_until("what was counted is stored", || {
        let outcome = producer.send_timeout(&[1; 56], Duration::from_millis(1));
        assert!(matches!(outcome, Err(SendError::TimedOut { .. })), "{outcome:?}");
        calls += 1;
        let stored = word(&control, 1176);
        assert!(stored <= calls, "{stored} of {calls}");
        calls >= 3 && stored == calls
    });
    producer.finish();
    assert_eq!([1168, 1176].map(|offset| word(&control, offset)), [1, calls]);
    drop(consumer);
}

#[test]
fn what_was_released_is_told_and_waited_for() {
    let Lane { mut producer, mut consumer, address, server, .. } = lane();
    assert_eq!((producer.published(), producer.released()), (0, 0));
    let ends: Vec<u64> = (0..10)
        .map(|n| {
            let mut slot = producer.reserve(56).unwrap();
            slot.fill(n);
            slot.commit()
        })
        .collect();
    assert_eq!(ends, (1..=10).map(|n| n * 64).collect::<Vec<_>>());
    let late = producer.wait_released(ends[0], Duration::from_millis(5)).unwrap_err();
    assert!(matches!(&late, SendError::TimedOut { consumer: Some(slow) } if slow.behind_bytes == 640), "{late}");
    (0..5).for_each(|_| _ = consumer.receive().unwrap().unwrap());
    consumer.release();
    assert_eq!(producer.released(), ends[4]);
    producer.wait_released(ends[4], Duration::ZERO).unwrap();
    // Nobody who comes later begins below that.
    let oldest = Session::connect(&*address).unwrap().attach_one(Attach::new().start(Start::Oldest)).unwrap();
    assert!(oldest.position() >= ends[4], "{}", oldest.position());
    server.wait_for_sessions(2, DEADLINE).unwrap();
    drop(oldest);
    // One that sleeps in the kernel is woken by the release.
    let reader = std::thread::spawn(move || while consumer.receive().unwrap().is_some() {});
    for round in 0..200u64 {
        producer.send(&round.to_le_bytes()).unwrap();
        producer.wait_released(producer.published(), DEADLINE).unwrap();
        assert_eq!(producer.released(), producer.published());
    }
    producer.finish();
    reader.join().unwrap();
}

/// Whether or not the server has noticed that it has left.
#[test]
fn what_is_published_after_a_consumer_has_left_was_not_for_it() {
    let Lane { mut producer, mut consumer, address, server: _server, .. } = lane();
    for round in 0..100u64 {
        let mut other = Consumer::connect(&*address).unwrap();
        producer.send(&round.to_le_bytes()).unwrap();
        let has_read = round % 2 == 0;
        if has_read {
            other.receive().unwrap().unwrap();
        }
        let before = producer.published();
        drop(other);
        producer.send(b"afterwards").unwrap();
        (0..2).for_each(|_| _ = consumer.receive().unwrap().unwrap());
        consumer.release();
        producer.wait_released(producer.published(), DEADLINE).unwrap();
        assert_eq!(producer.wait_released(before, Duration::ZERO).is_ok(), has_read, "round {round}");
    }
}

#[test]
fn a_consumer_that_goes_without_reading_is_told_of() {
    let Lane { mut producer, mut consumer, server: _server, .. } = lane();
    producer.send(&[1; 56]).unwrap();
    producer.send(&[2; 56]).unwrap();
    consumer.receive().unwrap().unwrap();
    consumer.release();
    drop(consumer);
    wait_until("it has gone", || producer.consumer_count() == 0);
    producer.wait_released(64, Duration::ZERO).unwrap();
    let error = producer.wait_released(128, DEADLINE).unwrap_err();
    assert_eq!(error, SendError::NotReleased { position: 128 });
    assert!(error.to_string().contains("position 128"), "{error}");
    // What is published afterwards was for nobody.
    let end = {
        let slot = producer.reserve(8).unwrap();
        slot.commit()
    };
    producer.wait_released(end, Duration::ZERO).unwrap();
    assert_eq!(producer.released(), end);
}
