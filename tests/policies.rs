//! Consumers that are slow, and consumers that are missing: what the producer does about them, and what it says.
#![allow(unsafe_code, reason = "vouches for the producers of these tests")]

mod common;
#[path = "common/guest.rs"]
mod guest;
#[path = "common/hostile.rs"]
mod hostile;
#[path = "common/peer.rs"]
mod peer;

use common::{DEADLINE, role, undisturbed, unique_name, wait_until};
use fdring::errors::{ErrorKind, ReceiveError, Refusal, SendError};
use fdring::options::{LaneOptions, NoConsumer, SlowConsumer, Start};
use fdring::{Attach, Consumer, Error, Producer, Server, Session};
use guest::{Guest, Invited};
use hostile::*;
use peer::{Peer, argument, say, told};
use std::time::{Duration, Instant};

const CAPACITY: u64 = 4096;
const AFTER: Duration = Duration::from_millis(50);
const NO_TIME: Duration = Duration::ZERO;

fn lane(options: impl FnOnce(LaneOptions) -> LaneOptions) -> (Producer, Server, String) {
    let producer = options(LaneOptions::new("lane").capacity(CAPACITY)).create().unwrap();
    let address = format!("@{}", unique_name());
    let server = Server::listen(&*address, &[&producer]).unwrap();
    (producer, server, address)
}

fn attach(address: &str, how: Attach) -> fdring::Result<Consumer> {
    Session::connect(address)?.attach_one(how)
}

fn in_place() -> Attach {
    // SAFETY: the producers here are this crate's.
    unsafe { Attach::new().in_place() }
}

fn resume() -> Attach {
    Attach::new().start(Start::Resume)
}

/// Sends numbers from `next` on until `send` fails; what says so.
fn fill(next: &mut u64, mut send: impl FnMut(&[u8]) -> Result<(), SendError>) -> SendError {
    loop {
        match send(&next.to_le_bytes()) {
            Ok(()) => *next += 1,
            Err(error) => return error,
        }
    }
}

/// The numbers that are there.
fn numbers(consumer: &mut Consumer) -> Vec<u64> {
    let mut numbers = Vec::new();
    loop {
        match consumer.try_receive() {
            Ok(Some(record)) => numbers.push(u64::from_le_bytes(record[..].try_into().unwrap())),
            Err(ReceiveError::Empty) => return numbers,
            outcome => panic!("{:?}", outcome.map(|_| ())),
        }
    }
}

/// In the other process: a consumer that reads as it is told.
fn reader() {
    let argument = argument();
    let (address, how) = argument.split_once(' ').unwrap();
    let how = match how {
        "resume" => resume(),
        "in-place" => in_place().start(Start::Resume),
        _ => Attach::new(),
    };
    let mut consumer = attach(address, how).unwrap();
    say("ready");
    loop {
        match told().split_once(' ') {
            Some(("read", count)) => {
                for _ in 0..count.parse::<u64>().unwrap() {
                    let record = consumer.receive().unwrap().unwrap();
                    say(&u64::from_le_bytes(record[..].try_into().unwrap()).to_string());
                }
            }
            Some(("release", _)) => {
                consumer.release();
                say("released");
            }
            Some(("end", _)) => {
                while consumer.receive().unwrap().is_some() {}
                return say("ended");
            }
            _ => return,
        }
    }
}

fn start_reader(test: &str, address: &str, how: &str) -> Peer {
    let mut peer = Peer::start(test, "reader", &format!("{address} {how}"));
    peer.expect("ready");
    peer
}

fn read(peer: &mut Peer, numbers: std::ops::Range<u64>) {
    peer.tell(&format!("read {}", numbers.end - numbers.start));
    numbers.for_each(|number| peer.expect(&number.to_string()));
}

#[test]
fn a_slow_consumer_fails_the_call_which_says_who_it_is_and_what_it_does() {
    let test = "a_slow_consumer_fails_the_call_which_says_who_it_is_and_what_it_does";
    if role().is_some() {
        return reader();
    }
    let (mut producer, _server, address) = lane(|lane| lane.slow_consumer(SlowConsumer::Fail { after: AFTER }));
    let slow = start_reader(test, &address, "latest");
    let (start, mut next) = (Instant::now(), 0);
    let error = fill(&mut next, |bytes| producer.send(bytes));
    assert!(start.elapsed() >= AFTER);
    assert_eq!(next, 256);
    let sentence = error.to_string();
    let SendError::TooSlow { consumer } = error else { panic!("{error:?}") };
    assert_eq!((consumer.pid, consumer.behind_bytes, consumer.held_bytes), (Some(slow.pid()), CAPACITY, 0));
    assert!(consumer.still_since.elapsed() >= AFTER && !consumer.is_gone && !consumer.reads_in_place);
    let user = consumer.uid.unwrap();
    for part in [&*format!("process {} of user {user}", slow.pid()), "attached", "4096 bytes", "stood still for"] {
        assert!(sentence.contains(part), "{sentence}");
    }
    // And again at once, by every form.
    undisturbed("each form fails", AFTER, || {
        for error in [producer.try_send(&[0; 8]), producer.send(&[0; 8]), producer.send_timeout(&[0; 8], DEADLINE)] {
            assert_eq!(error.unwrap_err().kind(), ErrorKind::TooSlow);
        }
    });
    slow.finish();
    wait_until("it has gone", || producer.consumer_count() == 0);
    producer.send(&[0; 8]).unwrap();
}

#[test]
fn a_slow_consumer_that_copies_is_evicted_and_the_others_miss_nothing() {
    let (mut producer, server, address) = lane(|lane| lane.slow_consumer(SlowConsumer::Evict { after: AFTER }));
    let mut slow = attach(&address, Attach::new()).unwrap();
    let mut quick = attach(&address, Attach::new()).unwrap();
    let (mut next, mut read) = (0, Vec::new());
    while read.len() < 1000 {
        let full = fill(&mut next, |bytes| producer.try_send(bytes));
        assert!(matches!(full, SendError::Full { .. }), "{full}");
        read.extend(numbers(&mut quick));
    }
    assert_eq!(read, (0..next).collect::<Vec<_>>());
    assert_eq!(producer.consumer_count(), 1);
    wait_until("the server counts it", || server.stats().evicted == 1);
    assert_eq!(producer.consumers()[0].behind_bytes, 0);
    // It is told what it is, and gets no byte of what has taken the place of its records.
    let outcome = slow.receive().map(|_| ()).unwrap_err();
    assert!(matches!(outcome, ReceiveError::Evicted { .. }), "{outcome}");
}

#[test]
fn a_slow_consumer_in_place_is_never_evicted_while_it_lives() {
    let test = "a_slow_consumer_in_place_is_never_evicted_while_it_lives";
    if role().is_some() {
        return reader();
    }
    let (mut producer, server, address) =
        lane(|lane| lane.slow_consumer(SlowConsumer::Evict { after: AFTER }).no_consumer(NoConsumer::WaitFor(1)));
    let slow = start_reader(test, &address, "in-place");
    let mut next = 0;
    for _ in 0..3 {
        let error = fill(&mut next, |bytes| producer.send(bytes));
        let SendError::TooSlow { consumer } = error else { panic!("{error:?}") };
        assert!(consumer.reads_in_place && consumer.pid == Some(slow.pid()));
        let refused = producer.evict(&consumer).unwrap_err();
        assert!(refused.to_string().contains("in place"), "{refused}");
        assert_eq!(refused.kind(), ErrorKind::Invalid);
    }
    assert_eq!((next, producer.consumer_count(), server.stats().evicted), (256, 1, 0));
    slow.kill();
    // Its place is kept, and the lane with it.
    wait_until("it has gone", || producer.consumer_count() == 0);
    assert_eq!(producer.vacant_places()[0].behind_bytes, CAPACITY);
    let mut successor = attach(&address, resume()).unwrap();
    assert_eq!(numbers(&mut successor), (0..256).collect::<Vec<_>>());
}

#[test]
fn an_evicted_consumer_is_gone_and_evicted_once() {
    let (mut producer, _server, address) = lane(|lane| lane);
    let mut consumer = attach(&address, Attach::new()).unwrap();
    producer.send(&[1; 8]).unwrap();
    let who = producer.consumers().remove(0);
    assert!(producer.evict(&who).unwrap());
    assert!(!producer.evict(&who).unwrap());
    assert!(producer.consumers().is_empty() && producer.vacant_places().is_empty() && !producer.give_up(&who));
    assert!(matches!(producer.wait_released(producer.published(), NO_TIME), Err(SendError::NotReleased { .. })));
    assert!(consumer.receive().unwrap().is_some(), "still intact");
    assert!(matches!(consumer.receive(), Err(ReceiveError::Evicted { missed_bytes: 0 })));
}

/// Consumers that would hold a lane for ever: each is evicted in time, whatever it does meanwhile.
#[test]
fn who_only_pretends_to_make_progress_is_evicted_in_time() {
    if role().is_some() {
        let argument = argument();
        let (address, how) = argument.split_once(' ').unwrap();
        let guest = Guest::join(address, COPIES);
        say("ready");
        let mut consumed = guest.lanes[0].position;
        // Until it is told that its seat is gone.
        while guest.lanes[0].control.u32(EVICTIONS).load(std::sync::atomic::Ordering::Relaxed) == 0 {
            match how {
                // So slowly that an eighth of the ring takes half a second.
                "a byte at a time" => {
                    let pace = rustix::event::Timespec { tv_sec: 0, tv_nsec: 1_000_000 };
                    let _ = rustix::event::poll(&mut [], Some(&pace));
                    consumed = (consumed + 1).min(guest.published());
                }
                "wakes for nothing" => {}
                _ => drop(guest.seat.u32(WAIT_EPOCH).fetch_add(1, std::sync::atomic::Ordering::Relaxed)),
            }
            guest.say(consumed, guest.published());
        }
        return say("evicted");
    }
    let test = "who_only_pretends_to_make_progress_is_evicted_in_time";
    for how in ["a byte at a time", "wakes for nothing", "falls asleep and wakes up"] {
        let (mut producer, _server, address) = lane(|lane| lane.slow_consumer(SlowConsumer::Evict { after: AFTER }));
        let mut peer = Peer::start(test, "guest", &format!("{address} {how}"));
        peer.expect("ready");
        let start = Instant::now();
        // Half of the ring each: a byte is never enough.
        while producer.consumer_count() == 1 {
            producer.send(&[7; 2040]).unwrap();
            assert!(start.elapsed() < DEADLINE, "{how}: it holds the lane still");
        }
        peer.expect("evicted");
        peer.finish();
    }
}

#[test]
fn a_lane_waits_until_its_consumers_are_there() {
    let (mut producer, _server, address) = lane(|lane| lane.no_consumer(NoConsumer::WaitFor(2)));
    for outcome in [producer.try_send(&[0; 8]), producer.send_timeout(&[0; 8], Duration::from_millis(5))] {
        let error = outcome.unwrap_err();
        assert_eq!(error.to_string(), "the lane wants 2 consumers, and 0 are there; start what is missing first");
        assert_eq!(error, SendError::TooFewConsumers { there: 0, wanted: 2, gone: None });
        assert_eq!(error.kind(), ErrorKind::TooFewConsumers);
    }
    let mut first = attach(&address, resume()).unwrap();
    assert!(matches!(producer.try_send(&[0; 8]), Err(SendError::TooFewConsumers { there: 1, .. })));
    let sender = std::thread::spawn(move || producer.send(&7u64.to_le_bytes()).map(|()| producer));
    let mut second = attach(&address, resume()).unwrap();
    let mut producer = sender.join().unwrap().unwrap();
    assert_eq!((numbers(&mut first), numbers(&mut second)), (vec![7], vec![7]));
    // All places are taken; others may listen in.
    let refused = attach(&address, resume()).unwrap_err();
    assert!(matches!(refused, Error::Refused { refusal: Refusal::Busy, .. }) && refused.is_worth_retrying());
    let guest = attach(&address, Attach::new()).unwrap();
    drop(first);
    wait_until("it has gone", || producer.vacant_places().len() == 1);
    drop(guest);
    let mut next = 0;
    let SendError::TooFewConsumers { there: 1, wanted: 2, gone: Some(gone) } =
        fill(&mut next, |bytes| producer.try_send(bytes))
    else {
        panic!("there is one")
    };
    assert!(next <= CAPACITY / 16 / 16, "no more than a sixteenth of the ring after it has gone: {next}");
    assert!(gone.is_gone && gone.pid == Some(std::process::id()));
    let mut successor = attach(&address, resume()).unwrap();
    assert_eq!(numbers(&mut successor), (0..next).collect::<Vec<_>>(), "with all that was sent meanwhile");
    producer.send(&[0; 8]).unwrap();
}

#[test]
fn a_lane_fails_while_its_consumers_are_not_there() {
    let (mut producer, _server, address) = lane(|lane| lane.no_consumer(NoConsumer::FailBelow(1)));
    let start = Instant::now();
    for outcome in [producer.send(&[0; 8]), producer.send_timeout(&[0; 8], DEADLINE), producer.try_send(&[0; 8])] {
        assert_eq!(outcome.unwrap_err(), SendError::TooFewConsumers { there: 0, wanted: 1, gone: None });
    }
    let mut batch = producer.batch().unwrap();
    assert!(matches!(batch.send(&[0; 8]), Err(SendError::TooFewConsumers { .. })));
    drop(batch);
    assert!(start.elapsed() < DEADLINE);
    let consumer = attach(&address, resume()).unwrap();
    let mut next = 0;
    assert!(matches!(fill(&mut next, |bytes| producer.try_send(bytes)), SendError::Full { .. }));
    drop(consumer);
    wait_until("it has gone", || producer.vacant_places().len() == 1);
    let error = producer.send(&[0; 8]).unwrap_err();
    assert!(error.to_string().contains("has gone and left 4096 bytes"), "{error}");
    assert!(producer.give_up(&producer.vacant_places()[0]));
    assert!(matches!(producer.send(&[0; 8]), Err(SendError::TooFewConsumers { gone: None, .. })));
    let options = LaneOptions::new("lane").no_consumer(NoConsumer::WaitFor(0)).create();
    assert_eq!(options.unwrap_err().kind(), ErrorKind::Invalid);
}

#[test]
fn a_successor_resumes_where_a_killed_consumer_stopped() {
    let test = "a_successor_resumes_where_a_killed_consumer_stopped";
    if role().is_some() {
        return reader();
    }
    let (mut producer, _server, address) = lane(|lane| lane.no_consumer(NoConsumer::WaitFor(1)));
    let (mut next, mut released) = (0, 0);
    for round in 0..4 {
        let how = if round % 2 == 0 { "resume" } else { "in-place" };
        let mut peer = start_reader(test, &address, how);
        let full = fill(&mut next, |bytes| producer.try_send(bytes));
        assert!(matches!(full, SendError::Full { .. }), "{full}");
        read(&mut peer, released..released + 100);
        peer.tell("release it");
        peer.expect("released");
        released += 100;
        // What it has read and not released comes again.
        read(&mut peer, released..released + 20);
        peer.kill();
        wait_until("it has gone", || producer.vacant_places().len() == 1);
        let error = fill(&mut next, |bytes| producer.try_send(bytes));
        let SendError::TooFewConsumers { gone: Some(gone), .. } = error else { panic!("{error:?}") };
        assert_eq!(producer.released(), released * 16, "it released so much");
        assert_eq!(gone.behind_bytes, producer.published() - released * 16);
    }
    let mut last = start_reader(test, &address, "resume");
    read(&mut last, released..next);
    producer.wait_released(released * 16, DEADLINE).expect("nobody has gone for good");
    last.tell("end it");
    producer.finish_and_wait(DEADLINE).expect("all is read, by one or the other");
    last.expect("ended");
    last.finish();
}

#[test]
fn a_consumer_that_goes_while_the_producer_waits_for_room_is_missed() {
    let test = "a_consumer_that_goes_while_the_producer_waits_for_room_is_missed";
    if role().is_some() {
        return reader();
    }
    for policy in [NoConsumer::FailBelow(1), NoConsumer::WaitFor(1)] {
        let (mut producer, _server, address) = lane(|lane| lane.no_consumer(policy).spin(NO_TIME));
        let peer = start_reader(test, &address, "resume");
        let mut next = 0;
        fill(&mut next, |bytes| producer.try_send(bytes));
        let sender = std::thread::spawn(move || {
            let outcome = producer.send_timeout(&next.to_le_bytes(), DEADLINE);
            (producer, outcome)
        });
        peer.kill();
        if policy == NoConsumer::FailBelow(1) {
            let (_, outcome) = sender.join().unwrap();
            assert_eq!(outcome.unwrap_err().kind(), ErrorKind::TooFewConsumers);
            continue;
        }
        let mut successor = None;
        wait_until("its place is vacant", || {
            successor = attach(&address, resume()).ok();
            successor.is_some()
        });
        let mut successor = successor.unwrap();
        let mut read = Vec::new();
        wait_until("the one that waited for room has come, too", || {
            read.extend(numbers(&mut successor));
            read.len() as u64 > next
        });
        assert_eq!(read, (0..=next).collect::<Vec<_>>());
        sender.join().unwrap().1.unwrap();
    }
}

#[test]
fn nobody_resumes_what_is_not_kept() {
    let (_plain, _plain_server, plain) = lane(|lane| lane);
    let (mut producer, server, address) = lane(|lane| lane.no_consumer(NoConsumer::WaitFor(1)));
    let honest = attach(&address, resume()).unwrap();
    producer.send(&[1; 8]).unwrap();
    for (address, code) in [(&plain, 6), (&address, 3)] {
        for reading in [COPIES, IN_PLACE] {
            let invited = Invited::knock(address);
            let _seat = invited.map_seat();
            rustix::fs::fcntl_add_seals(&invited.seat, rustix::fs::SealFlags::FUTURE_WRITE).unwrap();
            let (mut how, position) = attached_lane(reading);
            how[1] = 4;
            invited.wire.send(&attach_as(&[(how, position)])).unwrap();
            assert_eq!(invited.wire.last_words(), [(REFUSE, code)]);
        }
    }
    let who = producer.consumers();
    assert_eq!((who.len(), who[0].behind_bytes, server.stats().evicted), (1, 16, 0), "the honest one is as it was");
    drop(honest);
}

#[test]
fn a_liar_leaves_its_successor_where_a_record_begins() {
    for (released, expected) in [(16, 16), (24, 4096), (17, 4096), (4088, 4096)] {
        let (mut producer, _server, address) =
            lane(|lane| lane.no_consumer(NoConsumer::WaitFor(1)).record_align(16).payload_align(8));
        let guest = Guest::join(&address, COPIES);
        // Payloads that are no headers.
        let mut next = u64::MAX / 2;
        fill(&mut next, |bytes| producer.try_send(bytes));
        guest.say(released, CAPACITY);
        drop(guest);
        wait_until("it has gone", || producer.vacant_places().len() == 1);
        let behind_bytes = producer.vacant_places()[0].behind_bytes;
        let position = producer.published() - behind_bytes;
        assert!(position == expected || expected > released && position > released, "{released}: {position}");
        assert!(position.is_multiple_of(16));
        let mut successor = attach(&address, resume()).unwrap();
        assert_eq!(numbers(&mut successor).len() as u64, behind_bytes / 16);
    }
}

#[test]
fn a_lane_that_ends_waits_for_its_readers_and_says_who_has_not_read() {
    let test = "a_lane_that_ends_waits_for_its_readers_and_says_who_has_not_read";
    if role().is_some() {
        return reader();
    }
    // Everybody reads.
    let (mut producer, _server, address) = lane(|lane| lane);
    let mut readers: Vec<_> = (0..2).map(|_| start_reader(test, &address, "latest")).collect();
    (0..10u64).for_each(|number| producer.send(&number.to_le_bytes()).unwrap());
    readers.iter_mut().for_each(|reader| reader.tell("end it"));
    producer.finish_and_wait(DEADLINE).unwrap();
    readers.into_iter().for_each(|mut reader| {
        reader.expect("ended");
        reader.finish();
    });
    // One reads, one stands still, and one dies.
    let (mut producer, _server, address) = lane(|lane| lane);
    let [mut quick, slow, dying] = [(); 3].map(|()| start_reader(test, &address, "latest"));
    (0..10u64).for_each(|number| producer.send(&number.to_le_bytes()).unwrap());
    quick.tell("end it");
    let pids = [slow.pid(), dying.pid()];
    let waits = std::thread::spawn(move || producer.finish_and_wait(Duration::from_secs(1)));
    // The lane has ended now: a consumer that dies from here on is waited for in vain.
    quick.expect("ended");
    dying.kill();
    let error = waits.join().unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unread);
    let sentence = error.to_string();
    let SendError::Unread { mut consumers } = error else { panic!("{error:?}") };
    consumers.sort_by_key(|consumer| consumer.is_gone);
    let seen: Vec<_> = consumers.iter().map(|who| (who.pid.unwrap(), who.behind_bytes, who.is_gone)).collect();
    assert_eq!(seen, [(pids[0], 160, false), (pids[1], 160, true)]);
    assert!(pids.iter().all(|pid| sentence.contains(&format!("process {pid} of user"))), "{sentence}");
    quick.finish();
    slow.finish();
}

#[test]
fn a_consumer_knows_where_it_stands_and_whether_its_producer_lives() {
    let test = "a_consumer_knows_where_it_stands_and_whether_its_producer_lives";
    if role().is_some() {
        let mut producer = Producer::create("lane").unwrap();
        let _server = Server::listen(&*argument(), &[&producer]).unwrap();
        say("ready");
        while !told().is_empty() {
            producer.send(&[7; 8]).unwrap();
            say("sent");
        }
        return;
    }
    type Poll = fn(&mut Consumer) -> Result<(), ReceiveError>;
    let polls: [Poll; 4] = [
        |consumer| consumer.try_receive().map(drop),
        |consumer| consumer.receive_timeout(NO_TIME).map(drop),
        |consumer| consumer.try_receive_many(|_| {}).map(drop),
        |consumer| consumer.receive_many_timeout(NO_TIME, |_| {}).map(drop),
    ];
    for poll in polls {
        let address = format!("@{}", unique_name());
        let mut process = Peer::start(test, "producer", &address);
        process.expect("ready");
        let mut consumer = Consumer::connect(&*address).unwrap();
        assert!(consumer.idle_since().is_none(), "it has not asked yet");
        let before = Instant::now();
        poll(&mut consumer).unwrap_err();
        let since = consumer.idle_since().expect("it has found nothing");
        assert!(since >= before);
        poll(&mut consumer).unwrap_err();
        assert_eq!((consumer.idle_since(), consumer.behind_bytes()), (Some(since), 0), "since the first time");
        process.tell("send");
        process.expect("sent");
        assert_eq!((consumer.idle_since(), consumer.behind_bytes()), (None, 16));
        poll(&mut consumer).unwrap();
        assert_eq!((consumer.idle_since(), consumer.behind_bytes()), (None, 0));
        let _ = poll(&mut consumer);
        assert!(consumer.idle_since().unwrap() > since && consumer.producer_is_alive());
        process.kill();
        assert!(!consumer.producer_is_alive(), "it is known at once to who asks");
        // However rarely it polls, the first call that is 50 ms later knows.
        let died = Instant::now();
        wait_until("50 ms are over", || died.elapsed() >= Duration::from_millis(50));
        assert_eq!(poll(&mut consumer), Err(ReceiveError::PeerDead));
    }
}
