//! Producers in loops of the caller's: armed, and waited for by poll(2) or by an epoll descriptor that watches for
//! edges. No room is missed, whatever makes it, and a loop in which nothing happens sleeps.

mod common;
#[path = "common/guest.rs"]
mod guest;
#[path = "common/hostile.rs"]
mod hostile;
#[path = "common/lanes.rs"]
mod lanes;
#[path = "common/peer.rs"]
mod peer;

use common::{DEADLINE, census, isolated, role, unique_name, wait_until};
use fdring::errors::{ErrorKind, ReceiveError, SendError};
use fdring::options::{LaneOptions, NoConsumer, SlowConsumer};
use fdring::select::Selector;
use fdring::{Attach, Consumer, Error, Interrupter, Producer, Server, Session};
use guest::Guest;
use hostile::COPIES;
use lanes::serve;
use peer::{Peer, argument, say, told};
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::OwnedFd;
use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const CAPACITY: u64 = 4096;
/// How long nothing happens if nothing should.
const QUIET: Duration = Duration::from_millis(100);

fn lane(options: impl FnOnce(LaneOptions) -> LaneOptions) -> (Producer, Server, String) {
    serve(options(LaneOptions::new("lane").capacity(CAPACITY).space_bell(true)).create().unwrap())
}

fn fill(producer: &mut Producer) {
    while producer.try_send(&[0; 56]).is_ok() {}
}

/// How a loop waits.
enum Loop {
    /// Until the descriptor is readable: poll(2), and most event loops.
    Levels,
    /// Until it becomes readable anew: mio, say.
    Edges(OwnedFd),
}

impl Loop {
    fn edges(producer: &Producer) -> Self {
        let epoll = epoll::create(CreateFlags::CLOEXEC).unwrap();
        epoll::add(&epoll, producer, EventData::new_u64(1), EventFlags::IN | EventFlags::ET).unwrap();
        Self::Edges(epoll)
    }

    /// Whether something happened within that time.
    fn wait(&self, producer: &Producer, timeout: Duration) -> bool {
        let timeout = Timespec::try_from(timeout).unwrap();
        match self {
            Self::Levels => poll(&mut [PollFd::new(producer, PollFlags::IN)], Some(&timeout)).unwrap() == 1,
            Self::Edges(epoll) => {
                let mut events = [const { MaybeUninit::uninit() }; 1];
                !epoll::wait(epoll, &mut events, Some(&timeout)).unwrap().0.is_empty()
            }
        }
    }

    /// Sends a record, by the contract of `Producer::arm`.
    fn send(&self, producer: &mut Producer, payload: &[u8]) -> Result<(), SendError> {
        loop {
            match producer.try_send(payload) {
                Err(SendError::Full { .. } | SendError::TooFewConsumers { .. }) => {}
                outcome => return outcome,
            }
            if producer.arm()? {
                assert!(self.wait(producer, DEADLINE), "a loop that waits for ever");
            }
        }
    }
}

/// A consumer in a process of its own: reads as many records as it is told, says what they sum up to, and releases.
fn reader_role() {
    let mut consumer = Consumer::connect(&*argument()).unwrap();
    say("attached");
    loop {
        let line = told();
        let Some(count) = line.strip_prefix("read ") else { return };
        let mut sum = 0;
        for number in 0..count.parse::<u64>().unwrap() {
            let record = consumer.receive().unwrap().unwrap();
            sum += u64::from_le_bytes(record[..8].try_into().unwrap());
            // Sometimes at once, sometimes after the producer has gone to sleep.
            (0..number * number % 3000).for_each(|_| std::hint::spin_loop());
        }
        consumer.release();
        say(&sum.to_string());
    }
}

#[test]
fn loops_that_watch_for_levels_and_for_edges_send_every_record() {
    const TEST: &str = "loops_that_watch_for_levels_and_for_edges_send_every_record";
    const RECORDS: u64 = 20_000;
    if role().is_some() {
        return reader_role();
    }
    for edges in [false, true] {
        let (mut producer, _server, address) = lane(|options| options);
        let mut readers = [(); 2].map(|()| Peer::start(TEST, "reader", &address));
        let waits = if edges { Loop::edges(&producer) } else { Loop::Levels };
        for reader in &mut readers {
            reader.expect("attached");
            reader.tell(&format!("read {RECORDS}"));
        }
        for number in 0..RECORDS {
            // Of several lengths: what fits and what does not changes.
            let mut payload = vec![0; 8 + (number % 7 * 100) as usize];
            payload[..8].copy_from_slice(&number.to_le_bytes());
            waits.send(&mut producer, &payload).unwrap();
        }
        let sum = (RECORDS * (RECORDS - 1) / 2).to_string();
        readers.iter_mut().for_each(|reader| reader.expect(&sum));
        let counts = producer.consumer_count();
        assert_eq!(counts, 2);
        readers.into_iter().for_each(Peer::kill);
    }
}

/// Room is made by a consumer that reads, leaves, dies, or is evicted.
#[test]
fn room_is_heard_of_whoever_makes_it() {
    const TEST: &str = "room_is_heard_of_whoever_makes_it";
    if role().is_some() {
        return reader_role();
    }
    for how in ["reads", "leaves", "dies", "is evicted"] {
        for edges in [false, true] {
            let (mut producer, server, address) = lane(|options| options);
            let waits = if edges { Loop::edges(&producer) } else { Loop::Levels };
            let mut reader = Peer::start(TEST, "reader", &address);
            reader.expect("attached");
            fill(&mut producer);
            // Its joining is news of the roster, and no room.
            while producer.arm().unwrap() && waits.wait(&producer, Duration::ZERO) {}
            assert!(producer.arm().unwrap() && !waits.wait(&producer, QUIET), "nothing happens: {how}, {edges}");
            match how {
                "reads" => reader.tell("read 64"),
                "leaves" => reader.tell("end"),
                "dies" => reader.kill(),
                _ => assert!(producer.evict(&producer.consumers()[0]).unwrap()),
            }
            wait_until("there is room", || {
                assert!(waits.wait(&producer, DEADLINE), "{how}, {edges}");
                producer.try_send(&[0; 56]).is_ok() || !producer.arm().unwrap() && producer.try_send(&[0; 56]).is_ok()
            });
            drop(server);
        }
    }
}

#[test]
fn with_room_there_is_nothing_to_wait_for() {
    let (mut producer, _server, address) = lane(|options| options);
    assert!(!producer.arm().unwrap());
    let mut consumer = Consumer::connect(&*address).unwrap();
    assert!(!producer.arm().unwrap());
    fill(&mut producer);
    assert!(producer.arm().unwrap());
    consumer.receive().unwrap();
    consumer.release();
    assert!(!producer.arm().unwrap(), "for as much as was asked for");
    assert!(matches!(producer.try_send(&[0; 1000]), Err(SendError::Full { .. })));
    assert!(producer.arm().unwrap(), "for that there is no room");
    while consumer.try_receive().is_ok() {}
    assert!(!producer.arm().unwrap());
    producer.send(&[0; 1000]).unwrap();
}

#[test]
fn a_window_that_does_not_fit_is_waited_for_as_a_whole() {
    let (mut producer, _server, address) = lane(|options| options);
    let mut consumer = Consumer::connect(&*address).unwrap();
    fill(&mut producer);
    assert!(matches!(producer.try_reserve_window(&[56; 4]), Err(SendError::Full { .. })));
    consumer.receive().unwrap();
    consumer.release();
    assert!(producer.arm().unwrap(), "there is room for one of four");
    for _ in 0..3 {
        consumer.receive().unwrap();
    }
    consumer.release();
    assert!(Loop::Levels.wait(&producer, DEADLINE));
    assert!(!producer.arm().unwrap());
    assert!(producer.try_reserve_window(&[56; 4]).is_ok());
}

#[test]
fn consumers_that_are_missing_are_waited_for() {
    for edges in [false, true] {
        let (mut producer, _server, address) = lane(|options| options.no_consumer(NoConsumer::WaitFor(1)));
        let waits = if edges { Loop::edges(&producer) } else { Loop::Levels };
        assert!(matches!(producer.try_send(b"x"), Err(SendError::TooFewConsumers { .. })));
        assert!(producer.arm().unwrap());
        assert!(!waits.wait(&producer, QUIET));
        std::thread::scope(|scope| {
            let consumer = scope.spawn(|| Consumer::connect(&*address).unwrap());
            waits.send(&mut producer, b"y").unwrap();
            assert_eq!(&consumer.join().unwrap().receive().unwrap().unwrap()[..], b"y");
        });
    }
}

#[test]
fn a_consumer_that_is_too_slow_is_news_once_it_is() {
    const AFTER: Duration = Duration::from_millis(50);
    for policy in [SlowConsumer::Fail { after: AFTER }, SlowConsumer::Evict { after: AFTER }] {
        let (mut producer, _server, address) = lane(|options| options.slow_consumer(policy));
        let _stuck = Consumer::connect(&*address).unwrap();
        fill(&mut producer);
        let outcome = Loop::Levels.send(&mut producer, &[0; 56]);
        match policy {
            SlowConsumer::Fail { .. } => assert!(matches!(outcome, Err(SendError::TooSlow { .. })), "{outcome:?}"),
            _ => outcome.unwrap(),
        }
    }
}

#[test]
fn a_lane_without_a_space_bell_says_so_and_cannot_be_watched() {
    let mut producer = Producer::create("lane").unwrap();
    assert_eq!(producer.arm(), Err(SendError::NoSpaceBell));
    assert_eq!(SendError::NoSpaceBell.kind(), ErrorKind::Invalid);
    common::shows(SendError::NoSpaceBell, "NoSpaceBell", std::io::ErrorKind::Unsupported);
    let error = Selector::new().unwrap().add(producer).unwrap_err();
    assert!(matches!(error, Error::Os { .. }), "{error}");
}

#[test]
fn a_selector_waits_for_producers_too() {
    let mut selector = Selector::new().unwrap();
    let (mut lanes, mut consumers) = (Vec::new(), Vec::new());
    for _ in 0..3 {
        let (mut producer, server, address) = lane(|options| options);
        consumers.push(Consumer::connect(&*address).unwrap());
        fill(&mut producer);
        lanes.push((selector.add(producer).unwrap(), server));
    }
    assert_eq!(selector.try_wait(), Err(ReceiveError::Empty));
    for (consumer, (key, _)) in consumers.iter_mut().zip(&lanes).rev() {
        while consumer.try_receive().is_ok() {}
        assert_eq!(selector.wait().unwrap(), *key);
        fill(selector.get_mut(*key).unwrap());
        assert_eq!(selector.try_wait(), Err(ReceiveError::Empty));
    }
}

#[test]
fn an_interrupt_ends_the_wait_of_a_loop() {
    let stop = Interrupter::new().unwrap();
    let (mut producer, _server, address) = lane(|options| options.interrupter(&stop));
    let mut consumer = Consumer::connect(&*address).unwrap();
    fill(&mut producer);
    assert!(producer.arm().unwrap());
    stop.interrupt();
    assert!(Loop::Levels.wait(&producer, DEADLINE));
    assert_eq!(producer.arm(), Err(SendError::Interrupted));
    while consumer.try_receive().is_ok() {}
    assert_eq!(producer.arm(), Ok(false), "room comes first");
    stop.clear();
    fill(&mut producer);
    assert_eq!(producer.arm(), Ok(true));
}

/// A wait in the call itself is as good on such a lane, before and after one in a loop.
#[test]
fn calls_that_wait_and_loops_that_arm_take_turns() {
    let (mut producer, _server, address) = lane(|options| options);
    let mut consumer = Consumer::connect(&*address).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            for number in 0..3000_u64 {
                assert_eq!(consumer.receive().unwrap().unwrap()[..], number.to_le_bytes());
            }
        });
        for number in 0..3000_u64 {
            match number % 3 {
                0 => _ = producer.arm().unwrap(),
                1 => Loop::Levels.send(&mut producer, &number.to_le_bytes()).unwrap(),
                _ => {}
            }
            if number % 3 != 1 {
                producer.send_timeout(&number.to_le_bytes(), DEADLINE).unwrap();
            }
        }
    });
}

#[test]
fn whoever_comes_and_goes_leaves_no_descriptor_behind() {
    isolated("whoever_comes_and_goes_leaves_no_descriptor_behind", || {
        let (mut producer, server, address) = lane(|options| options);
        let before = census();
        for _ in 0..3 {
            let consumer = Consumer::connect(&*address).unwrap();
            fill(&mut producer);
            assert!(producer.arm().unwrap());
            drop(consumer);
            wait_until("it has left", || producer.consumer_count() == 0 && server.stats().sessions == 0);
            Loop::Levels.send(&mut producer, &[0; 56]).unwrap();
        }
        wait_until("both sides have closed what was theirs", || {
            producer.try_send(&[0; 56]).unwrap();
            census() == before
        });
    });
}

#[test]
fn a_session_has_as_many_lanes_as_one_offer_takes() {
    let lanes: Vec<Producer> = (0..64)
        .map(|n| LaneOptions::new(format!("lane {n}")).capacity(CAPACITY).space_bell(true).create().unwrap())
        .collect();
    let address = format!("@{}", unique_name());
    let server = Server::listen(&*address, &lanes).unwrap();
    let error = Session::connect(&*address).unwrap_err();
    assert!(error.to_string().contains("64 lanes take 257 descriptors together"), "{error}");
    server.withdraw("lane 63").unwrap();
    let consumers = Session::connect(&*address).unwrap().attach_all(Attach::new()).unwrap();
    assert_eq!(consumers.len(), 63);
}

/// A consumer that rings without end, and reads nothing, gets no more than a few looks for it.
#[test]
fn a_bell_that_rings_in_vain_keeps_no_loop_awake() {
    isolated("a_bell_that_rings_in_vain_keeps_no_loop_awake", || {
        const FLOOD: Duration = Duration::from_secs(1);
        let (mut producer, _server, address) = lane(|options| options);
        let guest = Guest::join(&address, COPIES);
        fill(&mut producer);
        let (is_over, mut wakes) = (AtomicBool::new(false), 0);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    guest.ring_for_space();
                }
            });
            let begin = Instant::now();
            // A busy machine may keep the one that rings from running for so long.
            while begin.elapsed() < FLOOD || (wakes < 16 && begin.elapsed() < DEADLINE) {
                assert!(producer.arm().unwrap());
                wakes += u32::from(Loop::Levels.wait(&producer, FLOOD));
            }
            is_over.store(true, Ordering::Relaxed);
            let took = begin.elapsed();
            let most = 200 * took.as_millis() / FLOOD.as_millis();
            assert!((16..most).contains(&wakes.into()), "{wakes} wakes in {took:?}");
        });
        assert!(producer.arm().unwrap());
        guest.say_consumed(guest.published());
        assert!(Loop::Levels.wait(&producer, DEADLINE), "nobody rings, and a nap is over");
        Loop::Levels.send(&mut producer, &[0; 56]).unwrap();
        fill(&mut producer);
        assert!(producer.arm().unwrap());
        guest.say_consumed(guest.published());
        assert!(Loop::Levels.wait(&producer, DEADLINE), "its bell counts again once it has moved on");
        producer.try_send(&[0; 56]).unwrap();
    });
}
