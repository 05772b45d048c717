//! Consumers in loops of the caller's: armed, and waited for by poll(2) or by an epoll descriptor that watches for
//! edges. No record and no end is missed, and a loop in which nothing happens sleeps.

mod common;
#[path = "common/peer.rs"]
mod peer;
#[path = "common/sender.rs"]
mod sender;

use common::wait_until_thread_has_slept_for;
use common::{DEADLINE, isolated, once_it_is_dead, role, sleeps_of, unique_name, wait_until};
use fdring::call::{CallError, Caller, Reply, Service, Ticket};
use fdring::collect::{Collector, Event};
use fdring::distribute::{Distributor, Worker};
use fdring::feed::{Feed, FeedError, FeedEvent};
use fdring::{
    Attach, Consumer, Record, Server, Tap,
    errors::{ReceiveError, TapError},
    options::{LaneOptions, ServerOptions, SessionOptions},
};
use peer::{Peer, argument, say, told};
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::OwnedFd;
use sender::sends_when_told;
use std::any::Any;
use std::fmt::Debug;
use std::mem::MaybeUninit;
use std::time::{Duration, Instant};

/// How a loop waits.
enum Loop {
    /// Until the descriptor is readable: poll(2), and most event loops.
    Levels,
    /// Until it becomes readable anew: mio, say.
    Edges(OwnedFd),
}

impl Loop {
    fn edges(consumer: &Consumer) -> Self {
        let epoll = epoll::create(CreateFlags::CLOEXEC).unwrap();
        epoll::add(&epoll, consumer, EventData::new_u64(1), EventFlags::IN | EventFlags::ET).unwrap();
        Self::Edges(epoll)
    }

    /// Whether something happened within that time.
    fn wait(&self, consumer: &Consumer, timeout: Duration) -> bool {
        let timeout = Timespec::try_from(timeout).unwrap();
        match self {
            Self::Levels => poll(&mut [PollFd::new(consumer, PollFlags::IN)], Some(&timeout)).unwrap() == 1,
            Self::Edges(epoll) => {
                let mut events = [const { MaybeUninit::uninit() }; 1];
                !epoll::wait(epoll, &mut events, Some(&timeout)).unwrap().0.is_empty()
            }
        }
    }

    /// The payload of the next record, by the contract of `Consumer::arm`; `None` at the end.
    fn next(&self, consumer: &mut Consumer) -> Result<Option<Vec<u8>>, ReceiveError> {
        loop {
            match consumer.try_receive() {
                Ok(record) => return Ok(record.map(|record| record.to_vec())),
                Err(ReceiveError::Empty) => {}
                Err(error) => return Err(error),
            }
            if consumer.arm()? {
                assert!(self.wait(consumer, DEADLINE), "a loop that waits for ever");
            }
        }
    }
}

fn connect(address: &str, spin: Duration) -> Consumer {
    SessionOptions::new().spin(spin).connect(address).unwrap().attach_one(Attach::new()).unwrap()
}

/// Plays a loop of each kind against a producer in another process.
fn in_each_loop(test: &str, play: impl Fn(Loop, Consumer, Peer)) {
    if role().as_deref() == Some("producer") {
        return sends_when_told();
    }
    for edges in [false, true] {
        for spin in [Duration::ZERO, Duration::from_micros(50)] {
            let address = format!("@{}", unique_name());
            let mut producer = Peer::start(test, "producer", &address);
            producer.expect("listening");
            let consumer = connect(&address, spin);
            let waits = if edges { Loop::edges(&consumer) } else { Loop::Levels };
            play(waits, consumer, producer);
        }
    }
}

#[test]
fn a_loop_misses_no_record_and_no_death() {
    in_each_loop("a_loop_misses_no_record_and_no_death", |waits, mut consumer, mut producer| {
        producer.tell("send 20000");
        producer.tell("die now");
        for expected in 0..20_001u64 {
            let payload = waits.next(&mut consumer).unwrap().expect("a record");
            assert_eq!(payload, expected.to_le_bytes());
        }
        let ask = || waits.next(&mut consumer).unwrap_err();
        let error = once_it_is_dead(ask, |end| *end == ReceiveError::HungUp);
        assert!(matches!(error, ReceiveError::PeerDead), "{error}");
        producer.dies();
        // It stays the end, and news to a caller that arms.
        assert!(!consumer.arm().unwrap());
    });
}

#[test]
fn a_loop_in_which_nothing_happens_sleeps() {
    const TEST: &str = "a_loop_in_which_nothing_happens_sleeps";
    in_each_loop(TEST, |waits, mut consumer, producer| {
        assert!(matches!(consumer.try_receive(), Err(ReceiveError::Empty)));
        // After the second look, which comes within some 10 ms, nothing is due any more.
        let (begin, mut wakes) = (Instant::now(), 0);
        while begin.elapsed() < Duration::from_millis(300) {
            if consumer.arm().unwrap() && waits.wait(&consumer, Duration::from_millis(100)) {
                wakes += 1;
            }
            assert!(matches!(consumer.try_receive(), Err(ReceiveError::Empty)));
        }
        assert!(wakes <= 2, "{wakes} wake-ups in 300 ms without news");
        producer.kill();
    });
}

#[test]
fn a_loop_may_stop_at_any_step() {
    in_each_loop("a_loop_may_stop_at_any_step", |waits, mut consumer, mut producer| {
        for round in 0..200u64 {
            // Armed, and not waited for; or waited for, and not looked at; or received by a call that blocks.
            let armed = consumer.arm().unwrap();
            producer.tell("send 1");
            if round % 3 == 0 && armed {
                assert!(waits.wait(&consumer, DEADLINE), "the record was not rung for");
            }
            let payload = match round % 2 {
                0 => waits.next(&mut consumer).unwrap().expect("a record"),
                _ => consumer.receive().unwrap().expect("a record").to_vec(),
            };
            assert_eq!(payload, round.to_le_bytes());
        }
        producer.kill();
    });
}

#[test]
fn a_descriptor_that_was_harvested_is_not_readable() {
    let address = format!("@{}", unique_name());
    let mut producer = LaneOptions::new("lane").capacity(4096).create().unwrap();
    let _server = Server::listen(&*address, &[&producer]).unwrap();
    let mut consumer = connect(&address, Duration::ZERO);
    for n in 0..100u8 {
        while !consumer.arm().unwrap() {}
        producer.send(&[n]).unwrap();
        assert!(Loop::Levels.wait(&consumer, DEADLINE));
        assert_eq!(consumer.try_receive().unwrap().unwrap()[..], [n]);
        assert!(matches!(consumer.try_receive(), Err(ReceiveError::Empty)));
        assert!(consumer.arm().unwrap());
        assert!(!Loop::Levels.wait(&consumer, Duration::ZERO), "a loop would spin on what it has harvested");
    }
}

/// What one call of a poller found.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Poll {
    Nothing,
    /// The death of the other end.
    Death,
}

/// A way to poll an endpoint.
type Polls<E> = fn(&mut E) -> Poll;

/// In a process that was started to be killed: plays its role.
fn plays_a_role() -> bool {
    let end = match role().as_deref() {
        Some("producer") => {
            sends_when_told();
            return true;
        }
        Some("distributor") => Box::new(Distributor::listen(argument()).unwrap()) as Box<dyn Any>,
        Some("worker") => Box::new(Worker::connect(argument()).unwrap()),
        Some("service") => Box::new(Service::listen(argument()).unwrap()),
        Some("caller") => Box::new(Caller::connect(argument()).unwrap()),
        Some("client") => {
            let lane = LaneOptions::new("lane").create().unwrap();
            let link = ServerOptions::new().patience(DEADLINE).connect(argument(), [&lane]).unwrap();
            Box::new((lane, link))
        }
        _ => return false,
    };
    say("listening");
    drop((told(), end));
    true
}

/// Kills the other end of `endpoint`, and has it polled once, as long after that as a poller at 20 Hz waits.
fn learns_of_a_death<E>(what: &str, mut endpoint: E, other: Peer, poll: impl Fn(&mut E) -> Poll) {
    wait_until("it has joined, and nothing more is there", || poll(&mut endpoint) == Poll::Nothing);
    // It has just looked at its session, and need not do so again for some milliseconds.
    let begin = Instant::now();
    wait_until("it has polled for a while", || {
        assert_eq!(poll(&mut endpoint), Poll::Nothing, "{what}");
        begin.elapsed() >= Duration::from_millis(20)
    });
    other.kill();
    // It is reaped.
    let begin = Instant::now();
    wait_until("a twentieth of a second is over", || begin.elapsed() >= Duration::from_millis(50));
    assert_eq!(poll(&mut endpoint), Poll::Death, "{what}");
}

/// The same for an endpoint that connects to `role`, polled in each of these ways.
fn each_learns_of_a_death<E>(test: &str, role: &str, connect: fn(&str) -> E, polls: &[Polls<E>]) {
    for (index, poll) in polls.iter().enumerate() {
        let address = format!("@{}", unique_name());
        let mut other = Peer::start(test, role, &address);
        other.expect("listening");
        learns_of_a_death(&format!("poll {index} beside a {role}"), connect(&address), other, poll);
    }
}

/// What a call of a consumer's or a worker's found.
fn of_consumer<T: Debug>(outcome: Result<Option<T>, ReceiveError>) -> Poll {
    match outcome {
        Err(ReceiveError::Empty | ReceiveError::TimedOut) => Poll::Nothing,
        Err(ReceiveError::PeerDead) => Poll::Death,
        other => panic!("{other:?}"),
    }
}

fn of_tap(outcome: Result<Option<Record<'_>>, TapError>) -> Poll {
    match outcome {
        Err(TapError::Empty | TapError::TimedOut) => Poll::Nothing,
        Err(TapError::PeerDead) => Poll::Death,
        other => panic!("{other:?}"),
    }
}

const NOW: Duration = Duration::ZERO;

#[test]
fn a_poller_however_rare_learns_of_a_death_at_its_next_call() {
    const TEST: &str = "a_poller_however_rare_learns_of_a_death_at_its_next_call";
    if plays_a_role() {
        return;
    }
    let polls: [Polls<Consumer>; 2] =
        [|consumer| of_consumer(consumer.try_receive()), |consumer| of_consumer(consumer.receive_timeout(NOW))];
    each_learns_of_a_death(TEST, "producer", |address| connect(address, NOW), &polls);
    let polls: [Polls<Tap>; 4] = [
        |tap| of_tap(tap.try_receive()),
        |tap| of_tap(tap.receive_timeout(NOW)),
        |tap| of_tap(tap.try_receive_newest()),
        |tap| of_tap(tap.receive_newest_timeout(NOW)),
    ];
    each_learns_of_a_death(TEST, "producer", |address| Tap::connect(address).unwrap(), &polls);
    let polls: [Polls<Worker>; 4] = [
        |worker| of_consumer(worker.try_receive()),
        |worker| of_consumer(worker.receive_timeout(NOW)),
        |worker| of_consumer(worker.try_take().map(|task| task.map(drop))),
        |worker| of_consumer(worker.take_timeout(NOW).map(|task| task.map(drop))),
    ];
    each_learns_of_a_death(TEST, "distributor", |address| Worker::connect(address).unwrap(), &polls);
}

/// Those that a death is news to: they go on.
#[test]
fn pollers_that_outlive_others_learn_of_a_death_at_their_next_call() {
    const TEST: &str = "pollers_that_outlive_others_learn_of_a_death_at_their_next_call";
    if plays_a_role() {
        return;
    }
    fn of_feed(outcome: Result<Option<FeedEvent<'_>>, FeedError>) -> Poll {
        match outcome {
            Err(FeedError::Empty | FeedError::TimedOut) => Poll::Nothing,
            Ok(Some(FeedEvent::Lost { why: ReceiveError::PeerDead, .. })) => Poll::Death,
            other => panic!("{other:?}"),
        }
    }
    let feed = |address: &str| {
        let mut feed = Feed::connect(address).unwrap();
        let joined = feed.receive_timeout(DEADLINE);
        assert!(matches!(joined, Ok(Some(FeedEvent::Joined { .. }))), "{joined:?}");
        feed
    };
    let polls: [Polls<Feed>; 2] = [|feed| of_feed(feed.try_receive()), |feed| of_feed(feed.receive_timeout(NOW))];
    each_learns_of_a_death(TEST, "producer", feed, &polls);

    fn of_call(outcome: Result<Option<Reply>, CallError>) -> Poll {
        match outcome {
            Err(CallError::Empty) => Poll::Nothing,
            Err(CallError::Lost { .. }) => Poll::Death,
            other => panic!("{other:?}"),
        }
    }
    let caller = |address: &str| {
        let mut caller = Caller::connect(address).unwrap();
        let ticket = caller.send(b"a question", DEADLINE).unwrap();
        (caller, ticket)
    };
    let polls: [Polls<(Caller, Ticket)>; 2] = [
        |(caller, ticket)| of_call(caller.try_wait(ticket)),
        |(caller, ticket)| of_call(caller.wait_timeout(ticket, NOW)),
    ];
    each_learns_of_a_death(TEST, "service", caller, &polls);

    // Those that listen.
    let start = |role: &str, address: &str| {
        let mut other = Peer::start(TEST, role, address);
        other.expect("listening");
        other
    };
    for waits in [false, true] {
        let address = format!("@{}", unique_name());
        let mut collector = Collector::listen(&*address).unwrap();
        let client = Peer::start(TEST, "client", &address);
        let joined = collector.next_timeout(DEADLINE);
        assert!(matches!(joined, Ok(Event::Joined(_))), "{joined:?}");
        let poll =
            |collector: &mut Collector| match if waits { collector.next_timeout(NOW) } else { collector.try_next() } {
                Err(ReceiveError::Empty | ReceiveError::TimedOut) => Poll::Nothing,
                Ok(Event::Lost(_, ReceiveError::PeerDead)) => Poll::Death,
                other => panic!("{other:?}"),
            };
        learns_of_a_death("a collector", collector, client, poll);

        let address = format!("@{}", unique_name());
        let service = Service::listen(&*address).unwrap();
        let caller = start("caller", &address);
        let poll = |service: &mut Service| {
            let outcome = if waits { service.receive_timeout(NOW) } else { service.try_receive() };
            assert!(matches!(outcome, Err(ReceiveError::Empty | ReceiveError::TimedOut)), "{outcome:?}");
            if service.stats().callers == 0 { Poll::Death } else { Poll::Nothing }
        };
        learns_of_a_death("a service", service, caller, poll);
    }
    let address = format!("@{}", unique_name());
    let mut distributor = Distributor::listen(&*address).unwrap();
    let worker = start("worker", &address);
    wait_until("a worker is there", || distributor.worker_count() == 1);
    worker.kill();
    // The thread that serves it tells the distributor, so it need not be the next call.
    wait_until("the distributor knows of the death", || distributor.worker_count() == 0);
}

#[test]
fn what_is_there_is_seen_before_it_is_received_and_stays() {
    isolated("what_is_there_is_seen_before_it_is_received_and_stays", || {
        let address = format!("@{}", unique_name());
        let mut producer = LaneOptions::new("lane").capacity(4096).create().unwrap();
        let _server = Server::listen(&*address, &[&producer]).unwrap();
        let (mut consumer, mut tap) = (connect(&address, Duration::ZERO), Tap::connect(&*address).unwrap());
        for round in 0..1000_u32 {
            assert!(!consumer.has_news() && !tap.has_news());
            // Announced or not.
            if round % 2 == 0 {
                assert!(consumer.arm().unwrap() && tap.arm().unwrap());
            }
            producer.send(&round.to_le_bytes()).unwrap();
            producer.send(b"second").unwrap();
            for _ in 0..2 {
                assert!(consumer.has_news() && tap.has_news());
            }
            assert!(!consumer.arm().unwrap() && !tap.arm().unwrap());
            assert_eq!(consumer.try_receive().unwrap().unwrap()[..], round.to_le_bytes());
            assert_eq!(tap.try_receive().unwrap().unwrap()[..], round.to_le_bytes());
            assert!(consumer.has_news() && tap.has_news());
            assert_eq!(consumer.try_receive().unwrap().unwrap()[..], *b"second");
            assert_eq!(tap.try_receive_newest().unwrap().unwrap()[..], *b"second");
        }
        // The end is for arming to see.
        producer.finish();
        assert!(!consumer.has_news() && !tap.has_news());
        assert!(!consumer.arm().unwrap() && consumer.try_receive().unwrap().is_none());
        assert!(!tap.arm().unwrap() && tap.try_receive().unwrap().is_none());
    });
}

#[test]
fn an_idle_consumer_that_blocks_wakes_once() {
    isolated("an_idle_consumer_that_blocks_wakes_once", || {
        let address = format!("@{}", unique_name());
        let producer = LaneOptions::new("lane").capacity(4096).create().unwrap();
        let server = Server::listen(&*address, &[&producer]).unwrap();
        let mut consumer = connect(&address, Duration::ZERO);
        server.wait_for_sessions(1, DEADLINE).unwrap();
        let (tell, told) = std::sync::mpsc::channel();
        let reader = std::thread::spawn(move || {
            tell.send(rustix::thread::gettid()).unwrap();
            assert!(consumer.receive().unwrap().is_none());
        });
        let thread = told.recv_timeout(DEADLINE).unwrap();
        wait_until_thread_has_slept_for(thread, Duration::from_millis(500));
        let (sleeps, _) = sleeps_of(thread).unwrap();
        assert!(sleeps <= 12, "{sleeps} sleeps before one of half a second");
        producer.finish();
        reader.join().unwrap();
    });
}

#[test]
fn a_loop_hears_of_every_session_that_comes_and_goes_at_a_server() {
    let address = format!("@{}", unique_name());
    let producer = LaneOptions::new("lane").capacity(4096).create().unwrap();
    let server = Server::listen(&*address, [&producer]).unwrap();
    let epoll = epoll::create(CreateFlags::CLOEXEC).unwrap();
    epoll::add(&epoll, &server, EventData::new_u64(1), EventFlags::IN | EventFlags::ET).unwrap();
    // By levels and by edges, until the statistics are what is waited for.
    let wait_for = |sessions: usize, by_edges: bool| {
        let timeout = Timespec::try_from(DEADLINE).unwrap();
        while server.stats().sessions != sessions {
            if server.arm().unwrap() {
                let mut events = [const { MaybeUninit::uninit() }; 1];
                let heard = match by_edges {
                    true => epoll::wait(&epoll, &mut events, Some(&timeout)).unwrap().0.len(),
                    false => poll(&mut [PollFd::new(&server, PollFlags::IN)], Some(&timeout)).unwrap(),
                };
                assert_eq!(heard, 1, "a loop that waits for ever");
            }
        }
    };
    for round in 0..50 {
        let client = std::thread::spawn({
            let address = address.clone();
            move || Consumer::connect(address).unwrap()
        });
        wait_for(1, round % 2 == 0);
        drop(client.join().unwrap());
        wait_for(0, round % 3 == 0);
    }
    // Nothing more happens, so the descriptor stays as it is.
    while !server.arm().unwrap() {}
    assert_eq!(poll(&mut [PollFd::new(&server, PollFlags::IN)], Some(&Timespec::default())).unwrap(), 0);
    assert!(server.arm().unwrap());
}
