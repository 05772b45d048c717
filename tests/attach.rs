//! Attaching: to which lanes, from where on, and how patiently one connects.

mod common;

use common::{DEADLINE, TempDir, unique_name, wait_until};
use fdring::errors::{ReceiveError, Refusal, TapError};
use fdring::options::{LaneOptions, ServerOptions, SessionOptions, Start};
use fdring::{Attach, Consumer, Error, Producer, Server, Session};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, accept_with, bind, listen, socket_with};
use std::thread;
use std::time::{Duration, Instant};

/// Three lanes, each with a record that says its number, and their server.
fn three(address: &str) -> ([Producer; 3], Server) {
    let mut lanes = ["red", "green", "blue"].map(|name| LaneOptions::new(name).capacity(4096).create().unwrap());
    for (number, lane) in lanes.iter_mut().enumerate() {
        lane.send(&[number as u8]).unwrap();
    }
    let server = Server::listen(address, &lanes).unwrap();
    (lanes, server)
}

fn first_byte(consumer: &mut Consumer) -> Result<u8, ReceiveError> {
    consumer.try_receive().map(|record| record.unwrap()[0])
}

#[test]
fn some_lanes_are_attached_to_in_the_order_and_the_way_asked_for() {
    let address = format!("@{}", unique_name());
    let (mut lanes, _server) = three(&address);
    let session = Session::connect(&*address).unwrap();
    let mut consumers = session.attach([Attach::lane("blue").start(Start::Oldest), Attach::lane("red")]).unwrap();
    assert_eq!((&*consumers[0].lane().name, &*consumers[1].lane().name), ("blue", "red"));
    assert_eq!(first_byte(&mut consumers[0]), Ok(2));
    assert_eq!(first_byte(&mut consumers[1]), Err(ReceiveError::Empty), "from the latest record on");
    // A lane that was offered and not attached to is not held back.
    for _ in 0..3 * 64 {
        lanes[1].send_timeout(&[9; 56], DEADLINE).unwrap();
    }
    wait_until("nobody has a seat there", || lanes[1].consumer_count() == 0);
    assert_eq!((lanes[0].consumer_count(), lanes[2].consumer_count()), (1, 1));
}

#[test]
fn one_lane_of_several_is_attached_to_by_its_name_and_all_without() {
    let address = format!("@{}", unique_name());
    let (_lanes, _server) = three(&address);
    let green = Session::connect(&*address).unwrap().attach_one(Attach::lane("green").start(Start::Oldest));
    assert_eq!(first_byte(&mut green.unwrap()), Ok(1));
    let all = Session::connect(&*address).unwrap().attach_all(Attach::new().start(Start::Oldest)).unwrap();
    let bytes: Vec<_> = all.into_iter().map(|mut consumer| first_byte(&mut consumer).unwrap()).collect();
    assert_eq!(bytes, [0, 1, 2]);
}

#[test]
fn what_cannot_be_attached_to_is_told_with_what_can() {
    let address = format!("@{}", unique_name());
    let (_lanes, _server) = three(&address);
    let attach = |lanes: &[&str]| {
        let lanes = lanes.iter().map(|name| Attach::lane(*name));
        Session::connect(&*address).unwrap().attach(lanes).unwrap_err()
    };
    let cases = [
        (attach(&["red", "tickz\n"]), "no lane is called tickz\\n; this session has: red, green, blue"),
        (attach(&["red", "red"]), "lane red is named twice; name each once"),
        (attach(&[]), "no lane is named to attach to; name one, or drop the session"),
        (
            Session::connect(&*address).unwrap().attach_one(Attach::new()).unwrap_err(),
            "this session has 3 lanes; name one of red, green, blue",
        ),
        (Consumer::connect(&*address).unwrap_err(), "this session has 3 lanes; name one of red, green, blue"),
        (
            Session::connect(&*address).unwrap().attach_all(Attach::lane("red")).unwrap_err(),
            "this attaches to all lanes, not to red alone; use attach_one",
        ),
    ];
    for (error, sentence) in cases {
        assert!(matches!(error, Error::Invalid(_)), "{error}");
        assert_eq!(error.to_string(), sentence);
        assert!(!error.is_worth_retrying());
    }
}

#[test]
fn without_patience_there_is_one_try() {
    let dir = TempDir::new();
    let path = dir.path().join("socket");
    let error = Session::connect(&path).unwrap_err();
    assert!(matches!(&error, Error::Os { .. }) && error.is_worth_retrying(), "{error}");
}

#[test]
fn patience_ends_with_the_error_of_the_last_try() {
    let patience = Duration::from_millis(30);
    let start = Instant::now();
    let nobody = SessionOptions::new().patience(patience).connect(format!("@{}", unique_name())).unwrap_err();
    assert!(start.elapsed() >= patience);
    assert!(matches!(&nobody, Error::Os { doing, .. } if doing.starts_with("connect to @")), "{nobody}");
    // What no waiting mends is told at once.
    let options = SessionOptions::new().lanes(["x"; 2]).patience(DEADLINE);
    assert!(matches!(options.connect("@x"), Err(Error::Invalid(_))));
    assert!(start.elapsed() < DEADLINE);
}

#[test]
fn the_patient_wait_for_a_server_that_starts_later_restarts_or_is_full() {
    let address = format!("@{}", unique_name());
    let patient = || {
        let address = address.clone();
        thread::spawn(move || Ok::<_, Error>(SessionOptions::new().patience(DEADLINE).connect(address)?.lanes().len()))
    };
    let early = patient();
    let lane = LaneOptions::new("lane").capacity(4096).create().unwrap();
    let server = ServerOptions::new().sessions_max(1).listen(&*address, [&lane]).unwrap();
    assert_eq!(early.join().unwrap().unwrap(), 1);
    wait_until("the first is gone", || Consumer::connect(&*address).is_ok());

    let before = server.stats().refused;
    let holder =
        SessionOptions::new().patience(DEADLINE).connect(&*address).unwrap().attach_one(Attach::new()).unwrap();
    let late = patient();
    wait_until("it was refused three times", || server.stats().refused >= before + 3);
    drop(holder);
    assert_eq!(late.join().unwrap().unwrap(), 1);
}

#[test]
fn the_patient_try_again_after_a_hang_up_before_the_offer() {
    let address = format!("@{}", unique_name());
    let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
    bind(&socket, &SocketAddrUnix::new_abstract_name(&address.as_bytes()[1..]).unwrap()).unwrap();
    listen(&socket, 8).unwrap();
    let client = thread::spawn({
        let address = address.clone();
        move || SessionOptions::new().patience(DEADLINE).connect(address).map(|session| session.lanes().len())
    });
    for _ in 0..3 {
        drop(accept_with(&socket, SocketFlags::CLOEXEC).unwrap());
    }
    drop(socket);
    let lane = LaneOptions::new("lane").capacity(4096).create().unwrap();
    let mut server = None;
    wait_until("the name is free", || {
        server = Server::listen(&*address, [&lane]).ok();
        server.is_some()
    });
    assert_eq!(client.join().unwrap().unwrap(), 1);
}

/// A lane of 4 KiB with its server.
fn lane(address: &str) -> (Producer, Server) {
    let lane = LaneOptions::new("lane").capacity(4096).create().unwrap();
    let server = Server::listen(address, [&lane]).unwrap();
    (lane, server)
}

fn attach_at(address: &str, position: u64) -> fdring::Result<Consumer> {
    Session::connect(address)?.attach_one(Attach::new().start(Start::At(position)))
}

#[test]
fn a_consumer_that_starts_again_at_its_position_misses_nothing_and_reads_nothing_twice() {
    let address = format!("@{}", unique_name());
    let (mut lane, _server) = lane(&address);
    let mut consumer = Consumer::connect(&*address).unwrap();
    let id = consumer.lane().id;
    assert_eq!(id, lane.lane().id);
    let mut next = 0u64;
    const RECORDS: u64 = 300;
    for number in 0..RECORDS {
        let mut payload = number.to_le_bytes().to_vec();
        payload.resize(8 + (number % 7) as usize * 40, 0);
        lane.send_timeout(&payload, DEADLINE).unwrap();
        if number % 3 == 2 {
            let position = consumer.position();
            drop(consumer);
            consumer = attach_at(&address, position).unwrap();
            assert_eq!((consumer.position(), consumer.lane().id), (position, id));
            while let Ok(record) = consumer.try_receive() {
                assert_eq!(record.unwrap()[..8], next.to_le_bytes());
                next += 1;
            }
        }
    }
    assert_eq!(next, RECORDS);
    assert_eq!(lane.consumers().last().unwrap().behind_bytes, 0, "what was passed is released");
}

#[test]
fn the_position_of_a_record_is_where_it_is_read_again() {
    let address = format!("@{}", unique_name());
    let (mut lane, _server) = lane(&address);
    (0..4u8).for_each(|number| lane.send(&[number; 500]).unwrap());
    let mut consumer = Session::connect(&*address).unwrap().attach_one(Attach::new().start(Start::Oldest)).unwrap();
    let mut positions = Vec::new();
    while let Ok(Some(record)) = consumer.try_receive() {
        positions.push((record.position(), record[0]));
    }
    drop(consumer);
    assert_eq!(positions.len(), 4);
    for (position, number) in positions {
        assert_eq!(first_byte(&mut attach_at(&address, position).unwrap()), Ok(number));
    }
    let mut consumer = attach_at(&address, lane.published()).unwrap();
    assert_eq!(first_byte(&mut consumer), Err(ReceiveError::Empty));
}

#[test]
fn a_position_that_is_not_there_is_told_with_what_is() {
    let address = format!("@{}", unique_name());
    let (mut lane, server) = lane(&address);
    for number in 0..1000u64 {
        lane.send(&number.to_le_bytes()).unwrap();
    }
    let published = lane.published();
    let mut refused = 0;
    for (position, why) in [
        (0, "it is no longer there"),
        (published + 8, "it is not reached yet"),
        ((1 << 63) - 8, "it is not reached yet"),
        (published - 8, "no record begins there"),
    ] {
        for reads in [
            |session: Session, how| session.attach_one(how).map(drop),
            |session: Session, how| session.tap_one(how).map(drop),
        ] {
            let error =
                reads(Session::connect(&*address).unwrap(), Attach::new().start(Start::At(position))).unwrap_err();
            let Error::Refused { refusal: Refusal::Position, reason } = &error else { panic!("{error:?}") };
            let words: Vec<_> = reason.split(' ').collect();
            assert_eq!(words[..7].join(" "), "lane lane has what it published from", "{reason}");
            let oldest: u64 = words[7].parse().unwrap();
            assert!(oldest > 0 && published - oldest <= 4096);
            let there = format!("lane lane has what it published from {oldest} to {published}");
            assert_eq!(*reason, format!("{there}, and cannot be read from {position} on: {why}"));
            assert!(!error.is_worth_retrying());
            refused += 1;
        }
    }
    assert!(matches!(
        attach_at(&address, published + 1).unwrap_err(),
        Error::Refused { refusal: Refusal::Protocol, .. }
    ));
    assert_eq!((lane.consumer_count(), lane.tap_count(), server.stats().refused), (0, 0, refused + 1));
}

#[test]
fn a_tap_begins_at_a_position_and_is_not_waited_for() {
    let address = format!("@{}", unique_name());
    let (mut lane, _server) = lane(&address);
    lane.send(&[1]).unwrap();
    let position = lane.published();
    lane.send(&[2]).unwrap();
    let tap = || Session::connect(&*address).unwrap().tap_one(Attach::new().start(Start::At(position))).unwrap();
    let (mut quick, mut late) = (tap(), tap());
    assert_eq!(quick.receive().unwrap().unwrap()[..], [2]);
    for _ in 0..10 {
        lane.try_send(&[3; 1000]).unwrap();
    }
    assert!(matches!(late.receive(), Err(TapError::Lagged { .. })));
}
