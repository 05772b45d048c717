//! Sessions: which lanes come, who is refused and why, and what stays behind.
#![allow(unsafe_code, reason = "vouches for this crate's producer")]

mod common;

use common::{DEADLINE, census, isolated, thread_names, unique_name, wait_until, wait_until_census_is};
use fdring::{
    Attach, Consumer, Error, Producer, Server, Session,
    errors::SendError,
    limits::LANES_PER_SESSION_MAX,
    options::{LaneOptions, PeerPolicy, ServerOptions, SessionOptions, Start},
};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

fn address() -> String {
    format!("@{}", unique_name())
}

fn lane(name: &str) -> Producer {
    LaneOptions::new(name).capacity(4096).create().unwrap()
}

fn open(address: &str, options: SessionOptions) -> Result<Vec<Consumer>, Error> {
    options.connect(address)?.attach_all(Attach::new())
}

fn one(address: &str) -> Consumer {
    Consumer::connect(address).unwrap()
}

/// The code and the sentence of a refusal.
fn refusal(address: &str, options: SessionOptions) -> (u16, String) {
    match open(address, options) {
        Err(Error::Refused { refusal, reason }) => (refusal.code(), reason),
        other => panic!("{other:?}"),
    }
}

fn fill(producer: &mut Producer) -> usize {
    (0..).find(|_| matches!(producer.try_send(&[0; 56]), Err(SendError::Full { .. }))).unwrap()
}

/// Connects as somebody who does not speak the protocol.
fn mute(address: &str) -> rustix::fd::OwnedFd {
    let flags = SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap();
    connect(&socket, &SocketAddrUnix::new_abstract_name(&address.as_bytes()[1..]).unwrap()).unwrap();
    socket
}

#[test]
fn lanes_come_in_the_order_they_are_asked_for() {
    let address = address();
    let mut lanes = ["red", "green", "blue"].map(lane);
    let _server = Server::listen(&*address, &lanes.iter().collect::<Vec<_>>()).unwrap();
    for (n, lane) in lanes.iter_mut().enumerate() {
        lane.send(&[n as u8]).unwrap();
    }
    let names =
        |consumers: &[Consumer]| consumers.iter().map(|consumer| consumer.lane().name.clone()).collect::<Vec<_>>();
    let all = open(&address, SessionOptions::new()).unwrap();
    assert_eq!(names(&all), ["red", "green", "blue"]);
    let session = SessionOptions::new().lanes(["blue", "red"]).connect(&*address).unwrap();
    let mut some = session.attach_all(Attach::new().start(Start::Oldest)).unwrap();
    assert_eq!(names(&some), ["blue", "red"]);
    assert_eq!(some[0].try_receive().unwrap().unwrap()[..], [2]);
    assert_eq!(some[1].try_receive().unwrap().unwrap()[..], [0]);
    // One lane's consumer goes, the others stay.
    assert_eq!(lanes[2].consumer_count(), 2);
    drop(some.remove(0));
    fill(&mut lanes[2]);
    assert_eq!((lanes[0].consumer_count(), lanes[2].consumer_count()), (2, 1));
}

#[test]
fn a_lane_that_is_not_attached_to_is_not_held_back() {
    let address = address();
    let mut lanes = ["a", "b", "c"].map(lane);
    let _server = Server::listen(&*address, &lanes).unwrap();
    lanes[2].send(b"before").unwrap();
    let session = Session::connect(&*address).unwrap();
    let mut some = session.attach([Attach::lane("c"), Attach::lane("a")]).unwrap();
    assert_eq!(lanes.each_ref().map(Producer::consumer_count), [1, 0, 1]);
    assert_eq!(some.iter().map(|consumer| &*consumer.lane().name).collect::<Vec<_>>(), ["c", "a"]);
    // Much more than the ring holds, while nobody reads.
    assert!((0..100_000).all(|_| lanes[1].try_send(&[0; 56]).is_ok()));
    lanes[2].send(b"c").unwrap();
    lanes[0].send(b"a").unwrap();
    assert_eq!(some[0].try_receive().unwrap().unwrap()[..], *b"c");
    assert_eq!(some[1].try_receive().unwrap().unwrap()[..], *b"a");
}

#[test]
fn one_lane_is_one_lane() {
    let address = address();
    let lanes = ["a", "b"].map(lane);
    let _server = Server::listen(&*address, &[&lanes[0], &lanes[1]]).unwrap();
    let session = Session::connect(&*address).unwrap();
    assert_eq!(session.lanes().len(), 2);
    assert_eq!(session.producer_pid(), Some(std::process::id()));
    assert!(matches!(session.attach_one(Attach::new()), Err(Error::Invalid(_))));
    let session = SessionOptions::new().lanes(["b"]).connect(&*address).unwrap();
    assert_eq!(session.attach_one(Attach::new()).unwrap().lane().name, "b");
}

#[test]
fn what_is_said_of_a_lane_is_what_it_was_made_with() {
    let address = address();
    let options = LaneOptions::new("größe").capacity(1 << 16).record_align(256).payload_align(64).schema(77);
    let producer = options.create().unwrap();
    let _server = Server::listen(&*address, &[&producer]).unwrap();
    let session = SessionOptions::new().prefault(false).connect(&*address).unwrap();
    let info = session.lanes()[0].clone();
    assert_eq!((info.name.as_str(), info.capacity, info.schema), ("größe", 1 << 16, 77));
    assert_eq!((info.record_align, info.payload_align), (256, 64));
    assert_eq!(info.payload_max, (1 << 15) - 64);
    let consumer = session.attach_one(Attach::new()).unwrap();
    assert_eq!((consumer.lane(), producer.lane()), (&info, &info));
    assert!(!consumer.reads_in_place());
}

/// How much of the ring of a lane is mapped where it is read, in KiB; see proc_pid_smaps(5).
fn resident_kib(lane: &str) -> Option<u64> {
    let smaps = std::fs::read_to_string("/proc/self/smaps").unwrap();
    let name = format!("/memfd:fdring:{lane}:data:");
    let mut lines = smaps.lines().skip_while(|line| !line.contains(&name) || !line.contains(" r--s "));
    lines.find_map(|line| line.strip_prefix("Rss:")).map(|rss| rss.trim_end_matches(" kB").trim().parse().unwrap())
}

#[test]
fn the_pages_of_a_ring_are_mapped_while_its_reader_begins() {
    isolated("the_pages_of_a_ring_are_mapped_while_its_reader_begins", || {
        let address = address();
        let producer = LaneOptions::new("prefaulted").capacity(8 << 20).create().unwrap();
        let server = Server::listen(&*address, &[&producer]).unwrap();
        let consumer = Consumer::connect(&*address).unwrap();
        wait_until("every page is mapped", || resident_kib("prefaulted") == Some(8192));
        drop(consumer);
        wait_until("nothing is mapped", || resident_kib("prefaulted").is_none());
        let consumer = open(&address, SessionOptions::new().prefault(false)).unwrap();
        wait_until("what opens has ended", || {
            !thread_names(std::process::id()).iter().any(|name| name == "fdring-opener")
        });
        assert_eq!(resident_kib("prefaulted"), Some(0), "only when asked for");
        drop((consumer, server, producer));
    });
}

#[test]
fn a_session_has_as_many_lanes_as_descriptors_fit_a_message() {
    let address = address();
    let mut lanes: Vec<Producer> = (0..=LANES_PER_SESSION_MAX).map(|n| lane(&format!("lane {n}"))).collect();
    let _server = Server::listen(&*address, &lanes.iter().collect::<Vec<_>>()).unwrap();
    let (code, reason) = refusal(&address, SessionOptions::new());
    assert_eq!(code, 10, "{reason}");
    let names: Vec<String> = (1..=LANES_PER_SESSION_MAX).rev().map(|n| format!("lane {n}")).collect();
    let mut consumers = open(&address, SessionOptions::new().lanes(&names)).unwrap();
    assert_eq!(consumers.len(), 83);
    for (lane, n) in lanes.iter_mut().zip(0u64..) {
        lane.send(&n.to_le_bytes()).unwrap();
    }
    for (consumer, n) in consumers.iter_mut().zip((1..=83u64).rev()) {
        assert_eq!(consumer.receive().unwrap().unwrap()[..], n.to_le_bytes());
    }
    let too_many = (0..84).map(|n| format!("lane {n}"));
    assert!(matches!(open(&address, SessionOptions::new().lanes(too_many)), Err(Error::Invalid(_))));
}

#[test]
fn unknown_lanes_are_refused_by_name() {
    let address = address();
    let producer = lane("ticks");
    let server = Server::listen(&*address, &[&producer]).unwrap();
    let (code, reason) = refusal(&address, SessionOptions::new().lanes(["tocks"]));
    assert_eq!(code, 2);
    assert!(reason.contains("tocks") && reason.contains("ticks"), "{reason}");
    wait_until("it is counted", || server.stats().refused == 1);
    assert!(server.stats().last_refusal.unwrap().contains("tocks"));
    for names in [vec!["ticks", "ticks"], vec![""], vec!["a\nb"]] {
        assert!(matches!(open(&address, SessionOptions::new().lanes(names)), Err(Error::Invalid(_))));
    }
}

#[test]
fn producers_are_offered_from_whatever_yields_references_to_them() {
    let names = |address: &str| {
        let session = Session::connect(address).unwrap();
        session.lanes().iter().map(|lane| lane.name.clone()).collect::<Vec<_>>()
    };
    let (red, green) = (lane("red"), lane("green"));
    let (array, slice, vec, map) = (address(), address(), address(), address());
    let producers = vec![lane("blue"), lane("white")];
    let boxed = BTreeMap::from([(1, Box::new(lane("black"))), (2, Box::new(lane("grey")))]);
    let _servers = [
        Server::listen(&array, [&red, &green]),
        Server::listen(&slice, &[&green, &red]),
        ServerOptions::new().listen(&vec, &producers),
        Server::listen(&map, boxed.values()),
    ]
    .map(Result::unwrap);
    assert_eq!(names(&array), ["red", "green"]);
    assert_eq!(names(&slice), ["green", "red"]);
    assert_eq!(names(&vec), ["blue", "white"]);
    assert_eq!(names(&map), ["black", "grey"]);
    assert!(matches!(Server::listen(address(), &producers[..0]), Err(Error::Invalid(_))));
}

#[test]
fn two_lanes_of_one_name_cannot_be_offered_together() {
    let lanes = [lane("same"), lane("same")];
    assert!(matches!(Server::listen(address(), &[&lanes[0], &lanes[1]]), Err(Error::Invalid(_))));
    assert!(matches!(Server::listen(address(), &[&lanes[0], &lanes[0]]), Err(Error::Invalid(_))));
}

#[test]
fn more_sessions_than_admitted_are_refused_until_one_ends() {
    let address = address();
    let producer = lane("lane");
    let server = ServerOptions::new().sessions_max(2).listen(&*address, &[&producer]).unwrap();
    let first = one(&address);
    let _second = one(&address);
    let (code, reason) = refusal(&address, SessionOptions::new());
    assert_eq!(code, 3, "{reason}");
    drop(first);
    wait_until("there is room", || server.stats().sessions == 1);
    let _third = one(&address);
    assert_eq!((server.stats().accepted, server.stats().refused), (4, 1));
}

#[test]
fn one_who_connects_and_says_nothing_is_hung_up_on() {
    let address = address();
    let producer = lane("lane");
    let options = ServerOptions::new().sessions_max(1).deadline(Duration::from_secs(2));
    let server = options.listen(&*address, &[&producer]).unwrap();
    let _mute = mute(&address);
    wait_until("it is given up", || server.stats().refused == 1);
    assert!(server.stats().last_refusal.unwrap().contains("2 s"));
    let _consumer = one(&address);
}

#[test]
fn a_consumer_gives_up_on_a_server_that_says_nothing() {
    let address = address();
    let name = SocketAddrUnix::new_abstract_name(&address.as_bytes()[1..]).unwrap();
    let flags = SocketFlags::CLOEXEC;
    let listener = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap();
    rustix::net::bind(&listener, &name).unwrap();
    rustix::net::listen(&listener, 0).unwrap();
    let options = || SessionOptions::new().deadline(Duration::from_millis(50));
    let error = options().connect(&*address).unwrap_err();
    assert!(matches!(error, Error::TimedOut { limit, .. } if limit == Duration::from_millis(50)), "{error}");
    // The first still takes up the backlog.
    let error = options().connect(&*address).unwrap_err();
    assert!(matches!(&error, Error::TimedOut { doing, .. } if doing.contains("backlog")), "{error}");
}

#[test]
fn deadlines_without_an_end_are_no_deadlines() {
    let address = address();
    let mut producer = lane("lane");
    let server = ServerOptions::new().deadline(Duration::MAX).listen(&*address, &[&producer]).unwrap();
    let options = SessionOptions::new().deadline(Duration::MAX).spin(Duration::MAX);
    let mut consumer = options.connect(&*address).unwrap().attach_one(Attach::new()).unwrap();
    server.wait_for_sessions(1, Duration::MAX).unwrap();
    producer.send(b"x").unwrap();
    assert_eq!(consumer.receive_timeout(Duration::MAX).unwrap().unwrap()[..], *b"x");
}

#[test]
fn waiting_for_consumers_ends_with_the_time_allowed() {
    let producer = lane("lane");
    let server = Server::listen(address(), &[&producer]).unwrap();
    let error = server.wait_for_sessions(1, Duration::from_millis(10)).unwrap_err();
    assert!(matches!(error, Error::TimedOut { .. }), "{error}");
}

#[test]
fn a_policy_that_names_others_admits_ones_own_user_too() {
    let address = address();
    let mut producer = lane("lane");
    let nobody = PeerPolicy::Users(vec![12345]);
    let _server = ServerOptions::new().peers(nobody.clone()).in_place(nobody).listen(&*address, &[&producer]).unwrap();
    let mut copying = one(&address);
    let session = Session::connect(&*address).unwrap();
    // SAFETY: the producer is this crate's, in this process.
    let mut in_place = session.attach_one(unsafe { Attach::new().in_place() }).unwrap();
    producer.send(b"for both").unwrap();
    for consumer in [&mut copying, &mut in_place] {
        assert_eq!(consumer.receive_timeout(DEADLINE / 6).unwrap().unwrap()[..], *b"for both");
    }
    assert!(in_place.reads_in_place() && !copying.reads_in_place());
}

#[test]
fn servers_on_one_lane_keep_their_consumers_apart() {
    let addresses = [address(), address()];
    let mut producer = lane("shared");
    let servers = addresses.clone().map(|address| Server::listen(address, &[&producer]).unwrap());
    let consumers = addresses.map(|address| one(&address));
    let [first, mut second] = consumers;
    assert_eq!(producer.consumer_count(), 2);
    drop(first);
    wait_until("the first session is over", || servers[0].stats().sessions == 0);
    // Its seat is kept until it is certain that nobody reads there any more.
    wait_until("the other's consumer has the only seat", || producer.consumer_count() == 1);
    let sent = fill(&mut producer);
    for _ in 0..sent {
        second.receive_timeout(DEADLINE / 6).unwrap().unwrap();
    }
}

#[test]
fn sessions_outlive_their_server_and_a_new_one_takes_its_place() {
    let address = address();
    let mut producer = lane("lane");
    let server = Server::listen(&*address, &[&producer]).unwrap();
    let mut old = one(&address);
    drop(server);
    assert!(matches!(Session::connect(&*address), Err(Error::Os { .. })));
    let _server = Server::listen(&*address, &[&producer]).unwrap();
    let new = one(&address);
    drop(new);
    wait_until("the new consumer is gone", || producer.consumer_count() == 1);
    producer.send(b"still here").unwrap();
    assert_eq!(old.receive_timeout(DEADLINE / 6).unwrap().unwrap()[..], *b"still here");
    producer.finish();
    assert!(old.receive().unwrap().is_none());
}

#[test]
fn a_lane_that_has_finished_can_still_be_read() {
    let address = address();
    let mut producer = lane("lane");
    let _server = Server::listen(&*address, &[&producer]).unwrap();
    producer.send(b"last words").unwrap();
    producer.finish();
    let oldest = Attach::new().start(Start::Oldest);
    let mut consumer = Session::connect(&*address).unwrap().attach_one(oldest).unwrap();
    assert_eq!(consumer.receive().unwrap().unwrap()[..], *b"last words");
    assert!(consumer.receive().unwrap().is_none());
}

#[test]
fn connects_failures_and_drops_leave_no_descriptor_behind() {
    isolated("connects_failures_and_drops_leave_no_descriptor_behind", || {
        let address = address();
        let _warm_up = lane("warm up");
        let before = census();
        let mut producer = lane("lane");
        let with_lane = census();
        for round in 0..3 {
            let options = ServerOptions::new().deadline(DEADLINE);
            let server = options.listen(&*address, &[&producer]).unwrap();
            let with_server = census();
            let consumer = one(&address);
            let unattached = Session::connect(&*address).unwrap();
            refusal(&address, SessionOptions::new().lanes(["none"]));
            drop((mute(&address), unattached, consumer));
            wait_until("all are gone", || server.stats().sessions == 0 && server.stats().refused == 3);
            producer.send(b"one further publication").unwrap();
            wait_until_census_is(&with_server, "nothing is left of the sessions");
            drop(server);
            wait_until_census_is(&with_lane, &format!("nothing is left of server {round}"));
        }
        drop(producer);
        assert_eq!(census(), before);
    });
}

#[test]
fn nothing_hangs_in_whatever_order_all_is_dropped() {
    for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        let address = address();
        let mut producer = lane("lane");
        let server = Server::listen(&*address, &[&producer]).unwrap();
        let consumer = one(&address);
        producer.send(&[0; 100]).unwrap();
        let (mut producer, mut server, mut consumer) = (Some(producer), Some(server), Some(consumer));
        for who in order {
            match who {
                0 => drop(producer.take()),
                1 => drop(server.take()),
                _ => drop(consumer.take()),
            }
        }
    }
}

#[test]
fn a_producer_sees_who_reads_how_far_behind_and_who_sleeps() {
    let address = address();
    let before = Instant::now();
    let mut producer = lane("lane");
    let _server = Server::listen(&*address, [&producer]).unwrap();
    let session = SessionOptions::new().spin(Duration::ZERO).connect(&*address).unwrap();
    assert!(producer.consumers().is_empty(), "not yet attached");
    // SAFETY: the producer is this crate's, in this process.
    let mut reader = session.attach_one(unsafe { Attach::new().in_place() }).unwrap();
    let slow = one(&address);
    producer.send(&[1; 56]).unwrap();
    producer.send(&[2; 56]).unwrap();
    assert_eq!(reader.receive().unwrap().unwrap()[..], [1; 56]);
    reader.release();
    let [first, second] = &producer.consumers()[..] else { panic!("{:?}", producer.consumers()) };
    assert_eq!((first.behind_bytes, second.behind_bytes), (64, 128));
    assert_eq!((first.reads_in_place, second.reads_in_place), (true, false));
    for consumer in [first, second] {
        assert_eq!(consumer.pid, Some(std::process::id()));
        assert_eq!(consumer.uid, Some(rustix::process::geteuid().as_raw()));
        assert!(before <= consumer.since && consumer.since <= Instant::now() && !consumer.is_asleep);
    }
    let asleep = std::thread::spawn(move || {
        reader.receive().unwrap().unwrap();
        reader.receive().unwrap().is_none()
    });
    wait_until("the first has read all, and sleeps", || {
        let first = &producer.consumers()[0];
        first.is_asleep && first.behind_bytes == 0
    });
    drop(slow);
    wait_until("the second has left", || producer.consumer_count() == 1);
    producer.finish();
    assert!(asleep.join().unwrap());
}

#[test]
fn a_place_that_was_left_is_free_for_whoever_comes_next() {
    let (address, mut producer) = (address(), lane("lane"));
    let server = ServerOptions::new().sessions_max(1).listen(&*address, &[&producer]).unwrap();
    for n in 0..200 {
        let mut consumer = one(&address);
        producer.send(b"x").unwrap();
        assert_eq!(consumer.receive().unwrap().unwrap()[..], *b"x");
        // Also one that goes before it has attached.
        if n % 2 == 0 {
            drop(consumer);
            drop(Session::connect(&*address).unwrap());
        }
    }
    let _consumer = one(&address);
    let (code, _) = refusal(&address, SessionOptions::new());
    assert_eq!(code, 3, "it is taken");
    wait_until("the sessions that were never attached to, and the last, are counted", || server.stats().refused == 101);
}

#[test]
fn a_consumer_that_has_left_does_not_count_from_then_on() {
    let (address, producers) = (address(), ["one", "two"].map(lane));
    let _server = Server::listen(&*address, &producers).unwrap();
    let mut consumers = Session::connect(&*address).unwrap().attach_all(Attach::new()).unwrap();
    let counts = || producers.each_ref().map(Producer::consumer_count);
    assert_eq!(counts(), [1, 1]);
    consumers.truncate(1);
    assert_eq!(counts(), [1, 0]);
    consumers.clear();
    assert_eq!(counts(), [0, 0]);
}

#[test]
fn lanes_are_offered_and_withdrawn_while_a_server_listens() {
    let address = address();
    let mut lanes = ["a", "b", "c"].map(lane);
    let server = Server::listen(&*address, [&lanes[0]]).unwrap();
    let names = || -> Vec<String> {
        Session::connect(&*address).unwrap().lanes().iter().map(|lane| lane.name.clone()).collect()
    };
    let before = Session::connect(&*address).unwrap();
    server.offer(&lanes[1]).unwrap();
    server.offer(&lanes[2]).unwrap();
    assert_eq!((names(), before.lanes().len()), (["a", "b", "c"].map(str::to_owned).to_vec(), 1));
    let mut old = before.attach_one(Attach::new()).unwrap();
    let mut b = Session::connect(&*address).unwrap().attach_one(Attach::lane("b")).unwrap();

    let error = server.offer(&lane("b")).unwrap_err();
    assert_eq!(error.to_string(), "two lanes are called b; names tell lanes apart");
    server.withdraw("b").unwrap();
    assert_eq!(names(), ["a", "c"]);
    assert_eq!(server.withdraw("b").unwrap_err().to_string(), "no lane called b is offered");
    let again = lane("b");
    server.offer(&again).unwrap();
    assert_eq!(names(), ["a", "c", "b"], "another one, of the same name");
    for name in ["a", "b", "c"] {
        server.withdraw(name).unwrap();
    }
    let (code, reason) = refusal(&address, SessionOptions::new());
    assert_eq!((code, reason.as_str()), (2, "this producer has no lanes yet"));
    // Who reads goes on reading.
    for (consumer, lane) in [(&mut old, 0), (&mut b, 1)] {
        lanes[lane].send(&[lane as u8]).unwrap();
        assert_eq!(consumer.receive_timeout(DEADLINE / 6).unwrap().unwrap()[..], [lane as u8]);
    }
}

#[test]
fn a_server_whose_lanes_are_withdrawn_serves_its_sessions_to_their_end() {
    isolated("a_server_whose_lanes_are_withdrawn_serves_its_sessions_to_their_end", || {
        let address = address();
        drop(Server::listen(&*address, [&lane("warm up")]).unwrap());
        let before = census();
        let mut producer = lane("lane");
        let server = Server::listen(&*address, [&producer]).unwrap();
        let mut consumer = one(&address);
        server.withdraw("lane").unwrap();
        drop(server);
        producer.send(b"still served").unwrap();
        assert_eq!(consumer.receive().unwrap().unwrap()[..], *b"still served");
        producer.finish();
        assert!(consumer.receive().unwrap().is_none());
        drop(consumer);
        wait_until_census_is(&before, "the server has ended");
    });
}
