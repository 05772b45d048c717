//! Consumers that listen, and producers that connect to them: what they get, in which forms, and what is left when
//! either end is killed at any step.

mod common;
#[path = "common/peer.rs"]
mod peer;

#[cfg(feature = "crash-points")]
use common::belongings;
use common::{
    DEADLINE, hears_of_death, isolated, role, thread_names, unique_name, wait_until, wait_until_process_sleeps,
};
use fdring::{
    Attach, Consumer, Error, Producer, Server, Session,
    collect::SessionListener,
    errors::{ReceiveError, Refusal},
    options::{LaneOptions, ServerOptions, SessionListenerOptions, SessionOptions, Start},
};
use peer::{Peer, argument, say, told};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketType};
use rustix::process::Signal;
use std::time::{Duration, Instant};

/// How many records a client sends before it connects, and after.
const BEFORE: u64 = 5;
const AFTER: u64 = 20;

fn unique_address() -> String {
    format!("@{}", unique_name())
}

/// A process that waits for the others of a test.
fn patient() -> SessionOptions {
    SessionOptions::new().deadline(DEADLINE)
}

fn listen(address: &str) -> SessionListener {
    SessionListenerOptions::new().sessions(patient()).listen(address).unwrap()
}

/// The same at an address where another listened just now: a child that another test starts has its socket, too, until
/// it runs its own program.
fn listen_again(address: &str) -> SessionListener {
    let mut listener = None;
    wait_until("the address is free", || {
        let options = SessionListenerOptions::new().sessions(patient());
        listener = match options.listen(address) {
            Err(Error::AddressInUse { .. }) => None,
            listening => Some(listening.unwrap()),
        };
        listener.is_some()
    });
    listener.unwrap()
}

fn from_oldest() -> Attach {
    Attach::new().start(Start::Oldest)
}

/// In a process that was started to play a role: plays it, and says so.
fn plays_a_role() -> bool {
    match role().as_deref() {
        Some("client") => client(),
        Some("collector") => collector(),
        _ => return false,
    }
    true
}

/// A producer that sends, connects, sends, and ends at once.
fn client() {
    let argument = argument();
    let [address, ending] = argument.split(' ').collect::<Vec<_>>()[..] else { panic!("{argument}") };
    let mut producer = LaneOptions::new("lane").capacity(1 << 16).prefault(false).create().unwrap();
    let send = |producer: &mut Producer, numbers: std::ops::Range<u64>| {
        numbers.for_each(|number| producer.send(&number.to_le_bytes()).unwrap());
    };
    send(&mut producer, 0..BEFORE);
    let options = ServerOptions::new().deadline(DEADLINE).patience(DEADLINE);
    let _link = options.connect(address, [&producer]).unwrap();
    send(&mut producer, BEFORE..BEFORE + AFTER);
    match ending {
        "finish" => producer.finish(),
        // Without any drop, as a process that is killed.
        "exit" => rustix::process::kill_process(rustix::process::getpid(), Signal::KILL).unwrap(),
        "stay" => {
            say("sent");
            wait_until("the consumer has gone", || producer.consumer_count() == 0);
            // Nothing holds it back: four times what the ring has room for.
            for number in 0..16384u64 {
                producer.send_timeout(&[number.to_le_bytes(); 2].concat(), DEADLINE).unwrap();
            }
            say("went on");
            told();
        }
        other => panic!("{other}?"),
    }
}

/// A consumer that listens, and reads what one client after the other has sent, to the end.
fn collector() {
    let listener = listen(&argument());
    say("listening");
    loop {
        let session = listener.accept().unwrap();
        say("accepted");
        let mut consumer = session.attach_one(from_oldest()).unwrap();
        say("attached");
        say(&read_to_the_end(&mut consumer));
        if told() != "again" {
            return;
        }
    }
}

/// Reads numbers from 0 on, to the end; how many, and the end.
fn read_to_the_end(consumer: &mut Consumer) -> String {
    let mut next = 0u64;
    loop {
        let end = match consumer.receive_timeout(DEADLINE) {
            Ok(Some(record)) => {
                assert_eq!(record[..8], next.to_le_bytes(), "a record is missing, or came twice");
                next += 1;
                continue;
            }
            Ok(None) => "finished".to_owned(),
            Err(ReceiveError::PeerDead) => "dead".to_owned(),
            Err(ReceiveError::HungUp) => {
                let ask = || consumer.receive_timeout(DEADLINE).map(drop);
                hears_of_death(ask, [ReceiveError::HungUp, ReceiveError::PeerDead].map(Err));
                "dead".to_owned()
            }
            Err(error) => error.to_string(),
        };
        return format!("{next} {end}");
    }
}

fn all_and(end: &str) -> String {
    format!("{} {end}", BEFORE + AFTER)
}

#[test]
fn clients_that_live_a_millisecond_lose_nothing() {
    if plays_a_role() {
        return;
    }
    let test = "clients_that_live_a_millisecond_lose_nothing";
    let address = unique_address();
    let listener = listen(&address);
    for ending in ["finish", "exit"] {
        let start = |_| Peer::start(test, "client", &format!("{address} {ending}"));
        let clients: Vec<Peer> = (0..8).map(start).collect();
        let end = if ending == "finish" { "finished" } else { "dead" };
        let pids: Vec<u32> = clients.iter().map(Peer::pid).collect();
        let mut met = Vec::new();
        for _ in &clients {
            let session = listener.accept_timeout(DEADLINE).unwrap();
            met.push(session.producer_pid().unwrap());
            assert_eq!(session.producer_uid(), Some(rustix::process::geteuid().as_raw()));
            assert_eq!(session.lanes()[0].name, "lane");
            let mut consumer = session.attach_one(from_oldest()).unwrap();
            // The client is gone meanwhile, or soon.
            assert_eq!(read_to_the_end(&mut consumer), all_and(end));
        }
        met.sort_unstable();
        let mut expected = pids;
        expected.sort_unstable();
        assert_eq!(met, expected, "each is met once, as the kernel names it");
        match ending {
            "finish" => clients.into_iter().for_each(Peer::finish),
            _ => clients.into_iter().for_each(|mut client| client.dies()),
        }
    }
    wait_until("no place is taken", || listener.stats().sessions == 0);
    assert_eq!(listener.stats().refused, 0, "{:?}", listener.stats().last_refusal);
}

#[test]
fn a_client_of_a_stopped_collector_loses_nothing() {
    if plays_a_role() {
        return;
    }
    let test = "a_client_of_a_stopped_collector_loses_nothing";
    let address = unique_address();
    let mut collector = Peer::start(test, "collector", &address);
    collector.expect("listening");
    for (ending, end) in [("finish", "finished"), ("exit", "dead")] {
        collector.signal(Signal::STOP);
        let mut client = Peer::start(test, "client", &format!("{address} {ending}"));
        // It waits in the backlog, and would for as long as its deadline allows.
        wait_until_process_sleeps(client.pid());
        collector.signal(Signal::CONT);
        collector.expect("accepted");
        collector.expect("attached");
        if ending == "finish" {
            client.finish()
        } else {
            client.dies()
        }
        assert_eq!(collector.heard(), all_and(end));
        collector.tell("again");
    }
    collector.kill();
}

/// Where a client can be killed, and whether its Offer is out then.
#[cfg(feature = "crash-points")]
const CLIENT_POINTS: [(&str, bool); 9] = [
    ("steward-accepted", false),
    ("steward-hello-sent", false),
    ("steward-hello-heard", false),
    ("steward-seat-made", false),
    ("steward-offer-sent", true),
    ("steward-attach-heard", true),
    ("steward-seat-checked", true),
    ("steward-joined", true),
    ("steward-attached-sent", true),
];

#[cfg(feature = "crash-points")]
#[test]
fn a_client_that_is_killed_at_any_step_leaves_what_it_had_sent_and_nothing_else() {
    if plays_a_role() {
        return;
    }
    let test = "a_client_that_is_killed_at_any_step_leaves_what_it_had_sent_and_nothing_else";
    isolated(test, || {
        let address = unique_address();
        let listener = listen(&address);
        let read_one = || {
            let session = listener.accept_timeout(DEADLINE).unwrap();
            read_to_the_end(&mut session.attach_one(from_oldest()).unwrap())
        };
        let before = belongings();
        for (point, has_offered) in CLIENT_POINTS {
            let mut client = Peer::start_with(test, "client", &format!("{address} finish"), Some(point));
            if has_offered {
                let session = listener.accept_timeout(DEADLINE).unwrap();
                let mut consumer = session.attach_one(from_oldest()).unwrap();
                let read = read_to_the_end(&mut consumer);
                // Once the Attached is out, its own thread may have gone on.
                let sent: u64 = read.strip_suffix(" dead").expect(&read).parse().unwrap();
                let most = if point == "steward-attached-sent" { BEFORE + AFTER } else { BEFORE };
                assert!((BEFORE..=most).contains(&sent), "{point}: {read}");
            }
            client.dies();
            drop(client);
            let next = Peer::start(test, "client", &format!("{address} finish"));
            assert_eq!(read_one(), all_and("finished"), "{point}");
            next.finish();
            wait_until(&format!("nothing is left of {point}"), || {
                listener.stats().sessions == 0 && belongings() == before
            });
        }
    });
}

/// Where a collector can be killed, and whether the client has its Attach then.
#[cfg(feature = "crash-points")]
const COLLECTOR_POINTS: [(&str, bool); 9] = [
    ("steward-accepted", false),
    ("session-hello-sent", false),
    ("session-hello-received", false),
    ("session-offer-received", false),
    ("session-seat-mapped", false),
    ("session-seat-sealed", false),
    ("session-lanes-mapped", false),
    ("session-attach-sent", true),
    ("session-attached-received", true),
];

#[cfg(feature = "crash-points")]
#[test]
fn a_collector_that_is_killed_at_any_step_holds_its_clients_back_no_longer() {
    if plays_a_role() {
        return;
    }
    let test = "a_collector_that_is_killed_at_any_step_holds_its_clients_back_no_longer";
    for (point, may_be_attached) in COLLECTOR_POINTS {
        let address = unique_address();
        let mut collector = Peer::start_with(test, "collector", &address, Some(point));
        collector.expect("listening");
        let mut client = Peer::start(test, "client", &format!("{address} stay"));
        collector.dies();
        // The client tries again, unless it was attached to the one that has died.
        let mut heir = Peer::start(test, "collector", &address);
        heir.expect("listening");
        let start = Instant::now();
        if !may_be_attached {
            heir.expect("accepted");
            heir.expect("attached");
        }
        client.expect("sent");
        heir.kill();
        client.expect("went on");
        assert!(start.elapsed() < DEADLINE / 4, "{point}: held back for {:?}", start.elapsed());
        client.finish();
    }
}

#[test]
fn a_session_is_accepted_in_every_form() {
    let address = unique_address();
    let listener = listen(&address);
    assert!(listener.try_accept().unwrap().is_none());
    let nobody = listener.accept_timeout(Duration::from_millis(1)).unwrap_err();
    assert!(matches!(&nobody, Error::TimedOut { doing, .. } if doing.contains(&address)), "{nobody}");
    let nobody = listener.accept_deadline(Instant::now() + Duration::from_millis(1)).unwrap_err();
    assert!(matches!(nobody, Error::TimedOut { .. }), "{nobody}");
    for form in 0..4 {
        let client = std::thread::spawn({
            let address = address.clone();
            move || {
                let mut producer = Producer::create("lane").unwrap();
                let link = ServerOptions::new().deadline(DEADLINE).connect(&address, [&producer]).unwrap();
                assert_eq!(*link.address(), fdring::options::Address::from(&address));
                assert_eq!((producer.consumer_count(), link.stats().sessions), (1, 1));
                producer.send(&0u64.to_le_bytes()).unwrap();
            }
        });
        let session = match form {
            0 => listener.accept().unwrap(),
            1 => listener.accept_timeout(DEADLINE).unwrap(),
            2 => listener.accept_deadline(Instant::now() + DEADLINE).unwrap(),
            _ => {
                let mut session = None;
                wait_until("one has come", || {
                    session = listener.try_accept().unwrap();
                    session.is_some()
                });
                session.unwrap()
            }
        };
        // From the latest record on: what is sent once it is attached.
        let mut consumer = session.attach_one(Attach::new()).unwrap();
        assert_eq!(read_to_the_end(&mut consumer), "1 finished");
        client.join().unwrap();
    }
}

#[test]
fn an_armed_listener_becomes_readable_when_a_session_comes_and_not_before() {
    let address = unique_address();
    let listener = listen(&address);
    let is_readable = |limit: Duration| {
        let limit = Timespec::try_from(limit).unwrap();
        poll(&mut [PollFd::new(&listener, PollFlags::IN)], Some(&limit)).unwrap() == 1
    };
    let epoll = rustix::event::epoll::create(rustix::event::epoll::CreateFlags::CLOEXEC).unwrap();
    let edges = rustix::event::epoll::EventFlags::IN | rustix::event::epoll::EventFlags::ET;
    rustix::event::epoll::add(&epoll, &listener, rustix::event::epoll::EventData::new_u64(1), edges).unwrap();
    let has_edge = |limit: Duration| {
        let limit = Timespec::try_from(limit).unwrap();
        poll(&mut [PollFd::new(&epoll, PollFlags::IN)], Some(&limit)).unwrap() == 1
    };
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    assert!(listener.arm().unwrap(), "nobody has come");
    assert!(!is_readable(Duration::ZERO) && !has_edge(Duration::ZERO));
    // One that is refused is no news: a loop is not woken for it.
    let stranger = Session::connect(&*address).unwrap_err();
    assert!(matches!(stranger, Error::Refused { refusal: Refusal::Roles, .. }), "{stranger}");
    wait_until("it is counted", || listener.stats().refused == 1);
    assert!(!is_readable(Duration::ZERO), "nothing has come that could be accepted");
    for _ in 0..3 {
        let client = std::thread::spawn({
            let address = address.clone();
            move || Producer::create("lane").unwrap().connect(&*address).map(drop)
        });
        assert!(has_edge(DEADLINE) && is_readable(DEADLINE));
        assert!(!listener.arm().unwrap(), "one waits to be accepted");
        let mut events = Vec::with_capacity(4);
        rustix::event::epoll::wait(&epoll, rustix::buffer::spare_capacity(&mut events), Some(&now)).unwrap();
        let session = listener.try_accept().unwrap().expect("one waits");
        assert!(listener.try_accept().unwrap().is_none());
        assert!(listener.arm().unwrap() && !is_readable(Duration::ZERO), "none waits any more");
        let _consumer = session.attach_one(Attach::new()).unwrap();
        client.join().unwrap().unwrap();
    }
}

#[test]
fn several_lanes_come_in_one_session_and_some_of_them_may_be_read() {
    let address = unique_address();
    let listener = listen(&address);
    let consumers = std::thread::spawn(move || {
        let session = listener.accept_timeout(DEADLINE).unwrap();
        let names: Vec<&str> = session.lanes().iter().map(|lane| &*lane.name).collect();
        assert_eq!(names, ["ticks", "trades", "news"]);
        session.attach([Attach::lane("news"), Attach::lane("ticks").start(Start::Oldest)]).unwrap()
    });
    let mut producers = ["ticks", "trades", "news"].map(|name| Producer::create(name).unwrap());
    producers[0].send(&0u64.to_le_bytes()).unwrap();
    let link = ServerOptions::new().deadline(DEADLINE).connect(&address, &producers).unwrap();
    let mut consumers = consumers.join().unwrap();
    assert_eq!(producers.each_ref().map(Producer::consumer_count), [1, 0, 1]);
    // Dropping the handle ends nothing.
    drop(link);
    producers[2].send(&0u64.to_le_bytes()).unwrap();
    drop(producers);
    assert_eq!(consumers.each_mut().map(read_to_the_end), ["1 finished", "1 finished"]);
}

/// The array of two that a vector holds.
trait EachMut {
    fn each_mut(&mut self) -> [&mut Consumer; 2];
}

impl EachMut for Vec<Consumer> {
    fn each_mut(&mut self) -> [&mut Consumer; 2] {
        let [first, second] = &mut self[..] else { panic!("two consumers") };
        [first, second]
    }
}

#[test]
fn a_consumer_that_leaves_holds_the_producer_back_no_longer() {
    let address = unique_address();
    let listener = listen(&address);
    let consumer = std::thread::spawn(move || {
        let session = listener.accept_timeout(DEADLINE).unwrap();
        (session.attach_one(Attach::new()).unwrap(), listener)
    });
    let mut producer = LaneOptions::new("lane").capacity(4096).create().unwrap();
    let link = ServerOptions::new().deadline(DEADLINE).connect(&address, [&producer]).unwrap();
    let (consumer, listener) = consumer.join().unwrap();
    assert_eq!(listener.stats().sessions, 1);
    while producer.try_send(&[7; 64]).is_ok() {}
    drop(consumer);
    producer.send_timeout(&[7; 1024], DEADLINE).unwrap();
    wait_until("the session is over at both ends", || link.stats().sessions == 0 && listener.stats().sessions == 0);
}

#[test]
fn who_connects_to_nobody_or_to_one_who_stops_is_told() {
    let address = unique_address();
    let producer = Producer::create("lane").unwrap();
    let nobody = producer.connect(&*address).unwrap_err();
    assert!(matches!(nobody, Error::Os { .. }) && nobody.is_worth_retrying(), "{nobody}");
    let none: [&Producer; 0] = [];
    assert!(matches!(ServerOptions::new().connect(&address, none), Err(Error::Invalid(_))));
    // One that is offered and never accepted ends with the listener.
    let listener = listen(&address);
    let options = ServerOptions::new().deadline(DEADLINE);
    let waits = std::thread::scope(|scope| {
        let waits = scope.spawn(|| options.clone().connect(&address, [&producer]));
        wait_until("it has come", || listener.stats().sessions == 1 && !listener.arm().unwrap());
        drop(listener);
        waits.join().unwrap()
    });
    let closed = waits.unwrap_err();
    assert!(matches!(closed, Error::Refused { refusal: Refusal::Closing, .. }), "{closed}");
    // One that is never accepted at all is waited for until the deadline.
    let listener = listen_again(&address);
    let short = ServerOptions::new().deadline(Duration::from_secs(2)).connect(&address, [&producer]).unwrap_err();
    assert!(matches!(short, Error::TimedOut { .. }), "{short}");
    let gone = listener.accept_timeout(DEADLINE).unwrap().attach_one(Attach::new()).unwrap_err();
    assert!(matches!(gone, Error::Refused { refusal: Refusal::TimedOut, .. }), "it is told why: {gone}");
    // With patience it comes to a listener that begins later.
    drop(listener);
    let late = std::thread::scope(|scope| {
        let late = scope.spawn(|| options.patience(DEADLINE).connect(&address, [&producer]));
        let listener = listen_again(&address);
        let _consumer = listener.accept_timeout(DEADLINE).unwrap().attach_one(Attach::new()).unwrap();
        late.join().unwrap()
    });
    assert_eq!(late.unwrap().stats().refused, 0);
}

#[test]
fn a_producer_that_connects_has_no_thread_before_it_is_answered_and_none_after_the_session() {
    let test = "a_producer_that_connects_has_no_thread_before_it_is_answered_and_none_after_the_session";
    isolated(test, || {
        let stewards = || thread_names(std::process::id()).iter().filter(|name| *name == "fdring-steward").count();
        let (address, mute) = (unique_address(), unique_address());
        let listener = listen(&address);
        let mut producer = Producer::create("lane").unwrap();
        // One that accepts nobody: what connects waits for it, and the program's other threads go on.
        let socket = rustix::net::socket(AddressFamily::UNIX, SocketType::SEQPACKET, None).unwrap();
        rustix::net::bind(&socket, &SocketAddrUnix::new_abstract_name(&mute.as_bytes()[1..]).unwrap()).unwrap();
        rustix::net::listen(&socket, 1).unwrap();
        std::thread::scope(|scope| {
            let waits = ServerOptions::new().deadline(Duration::from_secs(2));
            let waits = scope.spawn(|| waits.connect(&mute, [&producer]).map(drop));
            let accepted = rustix::net::accept(&socket).unwrap();
            assert!(rustix::io::read(&accepted, &mut [0; 64]).unwrap() > 0, "its Hello");
            assert_eq!(stewards(), 1, "that of the listener");
            assert!(matches!(waits.join().unwrap(), Err(Error::TimedOut { .. })));
        });
        assert_eq!(stewards(), 1, "none is left behind");
        let (link, mut consumer) = std::thread::scope(|scope| {
            let link = scope.spawn(|| producer.connect(&*address).unwrap());
            let consumer = listener.accept_timeout(DEADLINE).unwrap().attach_one(Attach::new()).unwrap();
            (link.join().unwrap(), consumer)
        });
        wait_until("its thread has its name", || stewards() == 2);
        drop(link);
        assert_eq!(stewards(), 2, "the session outlives the link");
        producer.send(b"record").unwrap();
        assert_eq!(consumer.receive().unwrap().unwrap()[..], *b"record");
        drop(consumer);
        wait_until("its thread has ended with the session, while the lane goes on", || stewards() == 1);
        producer.send(b"nobody reads it").unwrap();
        // With the lane, nobody is left to serve.
        let (ended, link, _consumer) = std::thread::scope(|scope| {
            let connects = scope.spawn(|| {
                let ended = Producer::create("ended").unwrap();
                let link = ended.connect(&*address).unwrap();
                (ended, link)
            });
            let consumer = listener.accept_timeout(DEADLINE).unwrap().attach_one(Attach::new()).unwrap();
            let (ended, link) = connects.join().unwrap();
            (ended, link, consumer)
        });
        wait_until("its thread has its name", || stewards() == 2);
        ended.finish();
        drop(link);
        assert_eq!(stewards(), 1, "it is waited for");
    });
}

/// The refusal and the end of the connection may come in any order, as the producer sees them.
#[test]
fn a_refusal_at_once_is_told_as_one_each_time() {
    for _ in 0..300 {
        let address = unique_address();
        let _listener = SessionListenerOptions::new().sessions_max(0).listen(address.as_str()).unwrap();
        let error = Producer::create("ticks").unwrap().connect(address.as_str()).unwrap_err();
        assert!(matches!(&error, Error::Refused { refusal: Refusal::Busy, .. }), "{error}");
    }
}

#[test]
fn two_ends_of_one_role_refuse_each_other() {
    let (serving, listening) = (unique_address(), unique_address());
    let producer = Producer::create("lane").unwrap();
    let _server = Server::listen(&*serving, [&producer]).unwrap();
    let _listener = listen(&listening);
    let other = Producer::create("other").unwrap();
    for error in [other.connect(&*serving).unwrap_err(), Session::connect(&*listening).unwrap_err()] {
        assert!(matches!(error, Error::Refused { refusal: Refusal::Roles, .. }), "{error}");
        assert!(!error.is_worth_retrying());
    }
}

#[test]
fn a_listener_keeps_its_limits_and_says_which() {
    let options = || SessionListenerOptions::new().sessions(patient());
    let producers: Vec<Producer> = ["a", "b", "c"].map(|name| Producer::create(name).unwrap()).into();
    let connects = |address: &str, count: usize| {
        ServerOptions::new().deadline(DEADLINE).connect(address, &producers[..count]).map(drop)
    };
    let refusal = |options: SessionListenerOptions, count: usize| {
        let address = unique_address();
        let listener = options.listen(&address).unwrap();
        let error = connects(&address, count).unwrap_err();
        assert_eq!(listener.stats().refused, 1);
        wait_until("its session is over", || listener.stats().sessions == 0);
        let Error::Refused { refusal, reason } = error else { panic!("{error}") };
        assert_eq!(listener.stats().last_refusal.as_deref(), Some(&*reason));
        (refusal, reason)
    };
    let (code, reason) = refusal(options().lanes_max(2), 3);
    assert_eq!(code, Refusal::TooManyLanes, "{reason}");
    let (code, reason) = refusal(options().capacity_max((4 << 20) - 1), 1);
    assert!(code == Refusal::Region && reason.contains("4194304"), "{reason}");
    let (code, reason) = refusal(options().mapped_max(12 << 20), 3);
    assert!(code == Refusal::Busy && reason.contains("12582912"), "{reason}");
    // It asks for a lane that there is not, and the producer says so.
    let address = unique_address();
    let listener = options().sessions(patient().lanes(["a", "z"])).listen(&address).unwrap();
    let error = connects(&address, 3).unwrap_err();
    assert!(matches!(error, Error::Refused { refusal: Refusal::UnknownLane, .. }), "{error}");
    wait_until("it was heard", || listener.stats().refused == 1);
    assert!(listener.stats().last_refusal.unwrap().contains("no lane is called z"));
    for lanes in [0, 84, usize::MAX] {
        assert!(matches!(options().lanes_max(lanes).listen(unique_address()), Err(Error::Invalid(_))));
    }
    // What is mapped counts until its last consumer has gone.
    let address = unique_address();
    let listener = options().mapped_max(9 << 20).lanes_max(2).listen(&address).unwrap();
    std::thread::scope(|scope| {
        let first = scope.spawn(|| connects(&address, 2));
        let mut consumers = listener.accept_timeout(DEADLINE).unwrap().attach_all(Attach::new()).unwrap();
        first.join().unwrap().unwrap();
        for _ in 0..2 {
            let error = connects(&address, 1).unwrap_err();
            assert!(matches!(error, Error::Refused { refusal: Refusal::Busy, .. }), "{error}");
            consumers.pop();
        }
        let second = scope.spawn(|| connects(&address, 1));
        listener.accept_timeout(DEADLINE).unwrap().attach_all(Attach::new()).unwrap();
        second.join().unwrap().unwrap();
    });
}

#[test]
fn a_listener_at_a_path_leaves_nothing() {
    let dir = common::TempDir::new();
    let path = dir.path().join("socket");
    let listener = SessionListener::listen(&path).unwrap();
    assert_eq!(common::entries(dir.path()), ["socket", "socket.lock"]);
    assert!(matches!(SessionListener::listen(&path), Err(Error::AddressInUse { .. })));
    let consumer = std::thread::spawn(move || {
        let consumer = listener.accept_timeout(DEADLINE).unwrap().attach_one(Attach::new()).unwrap();
        drop(listener);
        consumer
    });
    let mut producer = Producer::create("lane").unwrap();
    drop(producer.connect(&path).unwrap());
    let mut consumer = consumer.join().unwrap();
    assert!(common::entries(dir.path()).is_empty());
    // The session outlives both handles.
    producer.send(&0u64.to_le_bytes()).unwrap();
    producer.finish();
    assert_eq!(read_to_the_end(&mut consumer), "1 finished");
}
