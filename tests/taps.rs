//! Taps through the public interface: beside consumers, lapped at full speed, stopped, asleep, and when things end.

mod common;
#[path = "common/peer.rs"]
mod peer;

use common::{DEADLINE, SetOnDrop, isolated, role, shows, unique_name, wait_until, wait_until_thread_sleeps};
use fdring::errors::{Corruption, ReceiveError, Refusal, TapError};
use fdring::options::{LaneOptions, SessionOptions, Start};
use fdring::{Attach, Consumer, Error, Producer, Record, Server, Session, Tap};
use peer::{Peer, argument, is_told_within, say, told};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::Signal;
use rustix::thread::gettid;
use std::io::ErrorKind;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

const CAPACITY: u64 = 4096;
const FRAME_BYTES: usize = 64 << 10;

struct Lane {
    producer: Producer,
    server: Server,
    address: String,
}

fn lane_of(capacity: u64) -> Lane {
    let producer = LaneOptions::new("lane").capacity(capacity).create().unwrap();
    let address = format!("@{}", unique_name());
    let server = Server::listen(&*address, &[&producer]).unwrap();
    Lane { producer, server, address }
}

fn lane() -> Lane {
    lane_of(CAPACITY)
}

/// A record of `len` bytes, each of which its number makes.
fn fill(bytes: &mut [u8], number: u64) {
    let (head, rest) = bytes.split_at_mut(8);
    head.copy_from_slice(&number.to_le_bytes());
    rest.fill(number as u8);
}

/// The number of a record by [`fill`], all of whose bytes are its own.
fn number_of(record: &Record<'_>) -> u64 {
    let (head, rest) = record.split_first_chunk().unwrap();
    let number = u64::from_le_bytes(*head);
    assert!(rest.iter().all(|byte| *byte == number as u8), "record {number} is torn");
    assert_eq!(record.tag(), number as u16, "the header of another record");
    number
}

fn send(producer: &mut Producer, len: usize, number: u64) {
    let mut slot = producer.reserve(len).unwrap();
    fill(&mut slot, number);
    slot.set_tag(number as u16);
    slot.commit();
}

#[test]
fn a_tap_holds_nobody_back_and_a_consumer_beside_it_loses_nothing() {
    let Lane { mut producer, server: _server, address } = lane();
    let mut tap = Tap::connect(&address).unwrap();
    let mut consumer = Consumer::connect(&address).unwrap();
    assert_eq!((producer.tap_count(), producer.consumer_count(), producer.consumers().len()), (1, 1, 1));
    for number in 0..1000 {
        send(&mut producer, 100, number);
        assert_eq!(number_of(&consumer.receive().unwrap().unwrap()), number);
    }
    // The lane waits for the consumer alone.
    let fit = (0..).find(|_| producer.try_send(&[0; 100]).is_err()).unwrap();
    assert!((30..=40).contains(&fit), "{fit} of 112 bytes");
    let Err(TapError::Lagged { missed_bytes }) = tap.receive() else { panic!("it was lapped") };
    assert_eq!((missed_bytes, tap.missed_bytes()), (tap.position(), tap.position()));
    tap.receive().unwrap().unwrap();
    assert_eq!(tap.position(), producer.published(), "it goes on from the newest");
    drop(tap);
    assert_eq!((producer.tap_count(), producer.consumer_count()), (0, 1));
}

#[test]
fn a_tap_that_keeps_up_misses_nothing() {
    let Lane { mut producer, server: _server, address } = lane_of(1 << 16);
    let mut tap = Tap::connect(&address).unwrap();
    let mut number = 0;
    for round in 0..500 {
        for _ in 0..round % 20 {
            send(&mut producer, 8 + round % 300, number);
            number += 1;
        }
        let mut expected = number - (round % 20) as u64;
        let check = |record: &Record<'_>| {
            assert_eq!(number_of(record), expected);
            expected += 1;
        };
        match tap.try_receive_many(check) {
            Ok(records) => assert_eq!(records, round % 20),
            Err(error) => assert!(error == TapError::Empty && round % 20 == 0, "{error}"),
        }
    }
    assert_eq!((tap.missed_bytes(), tap.position()), (0, producer.published()));
}

#[test]
fn a_session_has_consumers_and_taps_together() {
    let names = ["orders", "prices", "noise"];
    let mut producers = names.map(|name| Producer::create(name).unwrap());
    let address = format!("@{}", unique_name());
    let _server = Server::listen(&*address, &producers).unwrap();
    producers.iter_mut().for_each(|producer| (0..3).for_each(|number| send(producer, 8, number)));
    let session = Session::connect(&*address).unwrap();
    let taps = [Attach::lane("noise").start(Start::Oldest), Attach::lane("prices").start(Start::Newest)];
    let (mut consumers, mut taps) = session.attach_and_tap([Attach::lane("orders")], taps).unwrap();
    assert_eq!(
        (&*consumers[0].lane().name, &*taps[0].lane().name, &*taps[1].lane().name),
        ("orders", "noise", "prices")
    );
    assert_eq!(producers.each_ref().map(Producer::tap_count), [0, 1, 1]);
    assert_eq!(consumers[0].try_receive().unwrap_err(), ReceiveError::Empty, "from now on");
    assert_eq!(number_of(&taps[0].receive().unwrap().unwrap()), 0, "from the oldest on");
    assert_eq!(number_of(&taps[1].receive().unwrap().unwrap()), 2, "from the newest on");
    // One of them goes, and the session goes on.
    drop(taps.remove(0));
    assert_eq!(producers[2].tap_count(), 0);
    producers.iter_mut().for_each(|producer| send(producer, 8, 3));
    assert_eq!(number_of(&consumers[0].receive().unwrap().unwrap()), 3);
    assert_eq!(number_of(&taps[0].receive().unwrap().unwrap()), 3);
    drop(consumers);
    let taps = Session::connect(&*address).unwrap().tap_all(Attach::new()).unwrap();
    assert!(taps.iter().map(|tap| &*tap.lane().name).eq(names));
}

#[test]
fn what_a_tap_or_a_consumer_cannot_do_is_said_before_it_is_asked_for() {
    let Lane { producer, server: _server, address } = lane();
    let session = || Session::connect(&address).unwrap();
    let invalid = |outcome: fdring::Result<()>, what: &str| match outcome {
        Err(Error::Invalid(why)) => assert!(why.contains(what), "{why}"),
        other => panic!("{other:?}"),
    };
    // SAFETY: the producer is this test's own, and nothing is read.
    #[allow(unsafe_code, reason = "it is refused")]
    let in_place = || unsafe { Attach::new().in_place() };
    invalid(session().tap_one(in_place()).map(drop), "a tap reads copies only");
    invalid(session().tap_all(in_place()).map(drop), "a tap reads copies only");
    let resumes = Attach::new().start(Start::Resume);
    invalid(session().tap_one(resumes).map(drop), "a tap has no place on its lane");
    invalid(session().attach_one(Attach::new().start(Start::Newest)).map(drop), "cannot begin at the newest");
    invalid(session().tap([]).map(drop), "no lane is named");
    invalid(session().tap_all(Attach::lane("lane")).map(drop), "use tap_one");
    let twice = session().attach_and_tap([Attach::new()], [Attach::lane("lane")]);
    invalid(twice.map(drop), "twice");
    assert_eq!((producer.tap_count(), producer.consumer_count()), (0, 0));
}

#[test]
fn every_end_of_a_lane_has_its_own_answer() {
    for newest in [false, true] {
        let next = |tap: &mut Tap| match newest {
            true => tap.receive_newest().map(|record| record.map(|record| record.to_vec())),
            false => tap.receive().map(|record| record.map(|record| record.to_vec())),
        };
        let begun = || {
            let Lane { mut producer, server, address } = lane();
            let tap = Tap::connect(&address).unwrap();
            producer.send(b"last").unwrap();
            (producer, server, tap)
        };
        let (producer, _server, mut tap) = begun();
        producer.finish();
        assert_eq!((next(&mut tap), next(&mut tap), next(&mut tap)), (Ok(Some(b"last".to_vec())), Ok(None), Ok(None)));
        let (producer, _server, mut tap) = begun();
        producer.abandon();
        assert_eq!((next(&mut tap), next(&mut tap)), (Ok(Some(b"last".to_vec())), Err(TapError::Abandoned)));
    }
}

#[test]
fn a_tap_that_waits_is_woken_for_records_for_the_deadline_and_for_the_end() {
    let Lane { mut producer, server: _server, address } = lane();
    let session = SessionOptions::new().spin(Duration::ZERO).connect(&*address).unwrap();
    let mut tap = session.tap_one(Attach::new()).unwrap();
    let patience = Duration::from_millis(30);
    let begin = Instant::now();
    assert_eq!(tap.receive_timeout(patience).unwrap_err(), TapError::TimedOut);
    assert_eq!(tap.receive_newest_deadline(begin + 2 * patience).unwrap_err(), TapError::TimedOut);
    assert!(begin.elapsed() >= 2 * patience);
    static HEARD: AtomicU64 = AtomicU64::new(0);
    let heard = || HEARD.load(Ordering::Acquire);
    let (says, hears) = channel();
    let thread = std::thread::spawn(move || {
        says.send(gettid()).unwrap();
        while let Some(record) = tap.receive().unwrap() {
            HEARD.store(number_of(&record) + 1, Ordering::Release);
        }
        tap.missed_bytes()
    });
    let tid = hears.recv().unwrap();
    for number in 0..5 {
        wait_until_thread_sleeps(tid);
        send(&mut producer, 8, number);
        wait_until("the sleeper has it", || heard() == number + 1);
    }
    // As quickly as it comes: more often than a tap is rung for, and none of it is lost.
    for number in 5..2000 {
        send(&mut producer, 8, number);
        wait_until_soon("the tap has it", || heard() == number + 1);
    }
    producer.finish();
    assert_eq!(thread.join().unwrap(), 0);
}

/// As `wait_until`, without a sleep between two looks.
fn wait_until_soon(what: &str, condition: impl Fn() -> bool) {
    let begin = Instant::now();
    while !condition() {
        assert!(begin.elapsed() < DEADLINE, "waited {DEADLINE:?} in vain until {what}");
        std::thread::yield_now();
    }
}

#[test]
fn a_loop_that_arms_a_tap_hears_of_records_misses_and_the_end() {
    static READ: AtomicU64 = AtomicU64::new(u64::MAX);
    let Lane { mut producer, server: _server, address } = lane();
    let mut tap = Tap::connect(&address).unwrap();
    let thread = std::thread::spawn(move || {
        for number in 0..20_000 {
            send(&mut producer, 8 + (number % 90) as usize, number);
            if number % 1000 == 0 {
                // From time to time it comes to its wait.
                wait_until_soon("the tap has it", || READ.load(Ordering::Acquire) == number);
            }
        }
        producer.finish();
    });
    let (mut last, mut lags) = (None, 0);
    loop {
        match tap.try_receive() {
            Ok(Some(record)) => {
                let number = number_of(&record);
                assert!(last.is_none_or(|last| last < number));
                last = Some(number);
                READ.store(number, Ordering::Release);
            }
            Ok(None) => break,
            Err(TapError::Empty) => {
                if tap.arm().unwrap() {
                    let ready = poll(&mut [PollFd::new(&tap, PollFlags::IN)], Some(&timespec(DEADLINE))).unwrap();
                    assert_eq!(ready, 1, "something has come by now");
                }
            }
            Err(TapError::Lagged { missed_bytes }) => {
                assert!(missed_bytes > 0);
                lags += 1;
            }
            Err(error) => panic!("{error}"),
        }
    }
    thread.join().unwrap();
    println!("{lags} lags");
    // The end comes after the newest record.
    assert_eq!(last, Some(19_999));
}

fn timespec(duration: Duration) -> rustix::time::Timespec {
    duration.try_into().unwrap()
}

#[test]
fn a_forked_child_gets_an_error() {
    isolated("a_forked_child_gets_an_error", || {
        let Lane { mut producer, server: _server, address } = lane();
        let mut tap = Tap::connect(&address).unwrap();
        producer.send(b"before").unwrap();
        // SAFETY: the child touches nothing but what it has a copy of, and leaves without running anything else.
        #[allow(unsafe_code, reason = "there is no other way to fork")]
        let pid = unsafe { libc::fork() };
        if pid == 0 {
            let answers = [
                tap.try_receive().map(drop) == Err(TapError::Forked),
                tap.receive_newest().map(drop) == Err(TapError::Forked),
                tap.receive_many(|_| ()) == Err(TapError::Forked),
                tap.arm() == Err(TapError::Forked),
                producer.tap_count() == 0,
            ];
            drop(tap);
            // SAFETY: it ends this process, and nothing else.
            #[allow(unsafe_code, reason = "no destructor of the parent's is to run")]
            unsafe {
                libc::_exit(i32::from(!answers.iter().all(|is_right| *is_right)))
            }
        }
        let mut status = 0;
        // SAFETY: it waits for the child that was just made, and stores into `status`.
        #[allow(unsafe_code, reason = "the child is no `std::process::Child`")]
        let waited = unsafe { libc::waitpid(pid, &mut status, 0) };
        assert_eq!((waited, status), (pid, 0));
        assert_eq!(&tap.receive().unwrap().unwrap()[..], b"before", "the parent's has not left");
    });
}

#[test]
fn errors_say_what_happened_and_what_to_do() {
    shows(TapError::Empty, "Empty", ErrorKind::WouldBlock);
    shows(TapError::TimedOut, "TimedOut", ErrorKind::TimedOut);
    shows(TapError::Lagged { missed_bytes: 4096 }, "Lagged", ErrorKind::Other);
    shows(TapError::Abandoned, "Abandoned", ErrorKind::ConnectionAborted);
    shows(TapError::PeerDead, "PeerDead", ErrorKind::BrokenPipe);
    shows(TapError::HungUp, "HungUp", ErrorKind::ConnectionReset);
    let refused = TapError::Refused { refusal: Refusal::Unsupported, reason: "why".into() };
    shows(refused, "Refused", ErrorKind::ConnectionRefused);
    shows(TapError::Peer("what".into()), "Peer", ErrorKind::InvalidData);
    shows(TapError::Closed, "Closed", ErrorKind::ConnectionReset);
    shows(TapError::Wait(1), "Wait", ErrorKind::PermissionDenied);
    shows(TapError::Forked, "Forked", ErrorKind::Unsupported);
    let corruption = Corruption::Last { last: 7, published: 64 };
    let why = TapError::Corrupt(corruption);
    shows(why, "Corrupt: Last { last: 7, published: 64 }", ErrorKind::InvalidData);
    let sentence = TapError::Lagged { missed_bytes: 4096 }.to_string();
    assert_eq!(sentence, "the lane was too quick for this tap, which passed over 4096 bytes; read on");
}

/// In a process of its own: a tap that checks all that it gets, until the lane ends; how many records, how often it was
/// too late, and whether all that was published was read or counted.
fn check_everything() {
    let (address, newest) = argument().rsplit_once(' ').map(|(a, n)| (a.to_owned(), n == "true")).unwrap();
    let mut tap = Tap::connect(&address).unwrap();
    say("attached");
    let (mut records, mut lags, mut last, mut bytes) = (0_u64, 0_u64, None, 0_u64);
    loop {
        let (before, missed) = (tap.position(), tap.missed_bytes());
        let outcome = if newest { tap.receive_newest() } else { tap.receive() };
        let end = match outcome {
            Ok(Some(record)) => {
                let number = number_of(&record);
                assert!(last.is_none_or(|last| number > last), "{number} after {last:?}");
                (last, records) = (Some(number), records + 1);
                false
            }
            Ok(None) => true,
            Err(TapError::Lagged { missed_bytes }) => {
                assert!(missed_bytes > 0);
                lags += 1;
                false
            }
            Err(error) => panic!("{error}"),
        };
        bytes += tap.position() - before - (tap.missed_bytes() - missed);
        if end {
            break;
        }
    }
    assert_eq!(tap.position(), bytes + tap.missed_bytes());
    say(&format!("{records} {lags} {} {}", last.unwrap_or(0), tap.position()));
}

/// At full speed for `FDRING_TAP_SECONDS`, 1 if that is not set: taps in processes of their own that are lapped, in the
/// middle of their copies too.
#[test]
fn no_record_is_torn_at_full_speed() {
    if role().as_deref() == Some("checks") {
        return check_everything();
    }
    let seconds = std::env::var("FDRING_TAP_SECONDS").map_or(1.0, |text| text.parse().unwrap());
    for (capacity, len_max) in [(4096, 500), (4096, 2000), (1 << 16, 5000), (4 << 20, 256 << 10)] {
        let Lane { mut producer, server: _server, address } = lane_of(capacity);
        let start = |newest: bool| {
            let mut peer = Peer::start("no_record_is_torn_at_full_speed", "checks", &format!("{address} {newest}"));
            peer.expect("attached");
            peer
        };
        let mut taps = [start(false), start(true)];
        let (begin, mut number) = (Instant::now(), 0_u64);
        while begin.elapsed().as_secs_f64() < seconds / 4.0 {
            for _ in 0..100 {
                let len = 8 + (number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as usize % (len_max - 8);
                send(&mut producer, len, number);
                number += 1;
            }
        }
        let (published, last) = (producer.published(), number - 1);
        producer.finish();
        for tap in &mut taps {
            let words = tap.heard();
            println!("{capacity} bytes, {number} records up to {len_max}: {words}");
            let words: Vec<u64> = words.split(' ').map(|word| word.parse().unwrap()).collect();
            assert!(words[0] > 0 && words[2..] == [last, published], "the newest is there at the end: {words:?}");
        }
        taps.into_iter().for_each(Peer::finish);
    }
}

/// In a process of its own: a viewer, which says the number of each frame that it shows.
fn view() {
    let mut tap = Tap::connect(argument()).unwrap();
    say("attached");
    loop {
        match tap.receive_newest().map(|frame| frame.map(|frame| number_of(&frame))) {
            Ok(Some(number)) => say(&number.to_string()),
            Ok(None) => return,
            Err(TapError::Lagged { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

/// The camera goes on as if nothing were. Once the viewer goes on, the first frame that it shows is one that was the
/// newest after that, and not one of those from before.
#[test]
fn a_stopped_viewer_costs_its_camera_nothing_and_shows_the_newest_frame_when_it_goes_on() {
    if role().as_deref() == Some("views") {
        return view();
    }
    const FRAME_TIME: Duration = Duration::from_micros(16_667);
    const STOPPED_FOR: Duration = Duration::from_secs(2);
    /// A ring holds more.
    const FRAMES_MISSED: u64 = 5;
    let Lane { producer: mut camera, server: _server, address } = lane_of(1 << 20);
    let mut recorder = Consumer::connect(&address).unwrap();
    let name = "a_stopped_viewer_costs_its_camera_nothing_and_shows_the_newest_frame_when_it_goes_on";
    let mut viewer = Peer::start(name, "views", &address);
    viewer.expect("attached");
    send(&mut camera, FRAME_BYTES, 0);
    viewer.expect("0");
    viewer.stop();
    recorder.receive().unwrap().unwrap();

    // Many times what the ring holds: the camera never waits, and the recorder gets every frame.
    let (newest, is_over) = (AtomicU64::new(0), AtomicBool::new(false));
    let film = || {
        let begin = Instant::now();
        for number in 1.. {
            let mut slot = camera.try_reserve(FRAME_BYTES).expect("the viewer holds nobody back");
            fill(&mut slot, number);
            slot.set_tag(number as u16);
            slot.commit();
            newest.store(number, Ordering::Release);
            assert_eq!(number_of(&recorder.receive().unwrap().unwrap()), number);
            if is_over.load(Ordering::Acquire) {
                return (camera, number);
            }
            wait_until("it is time for the next frame", || begin.elapsed() >= FRAME_TIME * number as u32);
        }
        unreachable!("a frame number is never the last")
    };
    let (camera, frames) = std::thread::scope(|scope| {
        let filming = scope.spawn(film);
        let ends_the_film = SetOnDrop(&is_over);
        let begin = Instant::now();
        wait_until("two seconds are over", || begin.elapsed() >= STOPPED_FOR || filming.is_finished());
        let before = newest.load(Ordering::Acquire);
        viewer.signal(Signal::CONT);
        let went_on = Instant::now();
        let first: u64 = viewer.heard().parse().unwrap();
        println!("stopped at frame 0, went on at {before}, showed {first} after {:?}", went_on.elapsed());
        assert!(first >= before, "an old frame is shown: {first}, and {before} was there before it went on");
        // Nor is one shown that is still in the ring: the viewer misses a few, and is not lapped. It shows the newest
        // within a frame time, once this machine lets it.
        let (begin, mut stops, mut soonest) = (Instant::now(), 0, Duration::MAX);
        while !filming.is_finished() && (stops < 3 || soonest >= FRAME_TIME) {
            assert!(begin.elapsed() < DEADLINE / 2, "after none of {stops} stops within {soonest:?}");
            viewer.stop();
            stops += 1;
            // The last one was perhaps committed and not noted yet.
            let in_hand = newest.load(Ordering::Acquire) + 1;
            let has_missed = || newest.load(Ordering::Acquire) >= in_hand + FRAMES_MISSED || filming.is_finished();
            wait_until("it has missed some frames", has_missed);
            let before = newest.load(Ordering::Acquire);
            viewer.signal(Signal::CONT);
            let went_on = Instant::now();
            let mut frames = std::iter::repeat_with(|| viewer.heard().parse::<u64>().unwrap());
            let next = frames.find(|number| *number > in_hand).expect("there are always more");
            soonest = soonest.min(went_on.elapsed());
            assert!(next >= before, "an old frame is shown: {next}, and {before} was there before it went on");
        }
        println!("after {stops} shorter stops, the soonest frame came within {soonest:?}");
        drop(ends_the_film);
        filming.join().unwrap()
    });
    assert_eq!(camera.tap_count(), 1, "it has not lost its seat");
    let stats = camera.stats();
    assert_eq!((stats.records, stats.times_blocked, stats.blocked_for), (frames + 1, 0, Duration::ZERO));
    camera.finish();
    viewer.finish();
}

#[test]
fn a_tap_learns_that_its_producer_was_killed() {
    if role().as_deref() == Some("produces") {
        let mut producer = LaneOptions::new("lane").capacity(CAPACITY).create().unwrap();
        let _server = Server::listen(argument(), &[&producer]).unwrap();
        say("listening");
        told();
        (0..10).for_each(|number| send(&mut producer, 8, number));
        say("sent");
        is_told_within(DEADLINE);
        return;
    }
    for newest in [false, true] {
        let address = format!("@{}", unique_name());
        let mut peer = Peer::start("a_tap_learns_that_its_producer_was_killed", "produces", &address);
        peer.expect("listening");
        let mut tap = Tap::connect(&address).unwrap();
        peer.tell("go");
        peer.expect("sent");
        peer.kill();
        let mut numbers = Vec::new();
        let error = loop {
            let outcome = if newest { tap.receive_newest() } else { tap.receive() };
            match outcome {
                Ok(record) => numbers.push(number_of(&record.expect("an end"))),
                Err(error) => break error,
            }
        };
        assert_eq!(error, TapError::PeerDead);
        assert!(numbers.into_iter().eq(if newest { 9..10 } else { 0..10 }));
    }
}

/// A tap and a consumer in one selector: an endpoint of both kinds.
#[test]
fn a_selector_waits_for_taps_too() {
    use fdring::select::{Selectable, Selector};
    let address = format!("@{}", unique_name());
    let mut lane = Producer::create("lane").unwrap();
    let _server = Server::listen(&*address, [&lane]).unwrap();
    let mut selector: Selector<Tap> = Selector::new().unwrap();
    let key = selector.add(Tap::connect(&*address).unwrap()).unwrap();
    assert_eq!(selector.try_wait(), Err(ReceiveError::Empty));
    lane.send(b"news").unwrap();
    assert_eq!(selector.wait_timeout(DEADLINE), Ok(key));
    assert_eq!(&selector.get_mut(key).unwrap().try_receive().unwrap().unwrap()[..], b"news");
    drop(lane);
    assert_eq!(selector.wait_timeout(DEADLINE), Ok(key));
    let tap = selector.get_mut(key).unwrap();
    assert!(!Selectable::arm(tap).unwrap() && tap.try_receive().unwrap().is_none());
}
