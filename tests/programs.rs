//! Small programs as users write them, each in processes of its own: cameras, feeds, loaders, log shippers, request and
//! reply, event loops. None of them retries by hand, sleeps for what can be waited for, or names a default.
//!
//! They keep to lanes, sessions and descriptors. The shapes above these have programs of their own: `tests/taps.rs` for
//! readers that may lose records, `tests/collect.rs` for one consumer of many producers, `tests/fds.rs` for names.
//!
//! What is still not possible: no call waits until a consumer has fallen asleep, so one program looks again and again.
#![allow(unsafe_code, reason = "one reads in place, and vouches for this crate's producer")]

mod common;
#[path = "common/peer.rs"]
mod peer;

use common::{DEADLINE, role, unique_name, wait_until};
use fdring::errors::ReceiveError;
use fdring::options::{LaneOptions, Records, SessionOptions, Start};
use fdring::{Attach, Consumer, Error, Producer, Server, Session, recv_fds, send_fds};
use peer::{Peer, argument, say, wait_for_the_end};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixDatagram;
use std::time::Instant;

fn address() -> String {
    format!("@{}", unique_name())
}

/// How long a loop waits for anything to happen.
fn patience() -> Timespec {
    Timespec::try_from(DEADLINE).unwrap()
}

/// Connects to a server that may not have started yet.
fn connect(address: &str) -> fdring::Result<Session> {
    SessionOptions::new().patience(DEADLINE).connect(address)
}

/// A camera fills frames in place; a detector reads them in place, a recorder copies them out.
#[test]
fn a_camera_with_a_detector_and_a_recorder() {
    const TEST: &str = "a_camera_with_a_detector_and_a_recorder";
    const FRAME: usize = 200 << 10;
    const FRAMES: u64 = 100;
    match role().as_deref() {
        Some(reader) => {
            // SAFETY: the camera is this crate's producer, in the process that started this one.
            let how = if reader == "detector" { unsafe { Attach::new().in_place() } } else { Attach::new() };
            let mut frames = connect(&argument()).unwrap().attach_one(how).unwrap();
            let mut seen = 0u64;
            while let Some(frame) = frames.receive().unwrap() {
                assert!(frame.len() == FRAME && frame[8..].iter().all(|pixel| *pixel == seen as u8));
                assert_eq!(frame[..8], seen.to_le_bytes());
                seen += 1;
            }
            say(&seen.to_string());
        }
        None => {
            let address = address();
            let readers = ["detector", "recorder"].map(|reader| Peer::start(TEST, reader, &address));
            let mut camera = LaneOptions::new("frames").capacity(1 << 20).payload_align(4096).create().unwrap();
            let _server = Server::listen(&*address, [&camera]).unwrap();
            camera.wait_for_consumers(2, DEADLINE).unwrap();
            for number in 0..FRAMES {
                let draw = |frame: &mut [u8]| {
                    frame[..8].copy_from_slice(&number.to_le_bytes());
                    frame[8..].fill(number as u8);
                };
                camera.fill_timeout(FRAME, DEADLINE, draw).unwrap();
            }
            camera.finish();
            for mut reader in readers {
                reader.expect(&FRAMES.to_string());
                reader.finish();
            }
        }
    }
}

/// A feed of ticks in batches, a consumer that joins late and reads from the oldest, and a monitor in the producer.
#[test]
fn a_feed_with_a_late_reader_and_a_monitor() {
    const TEST: &str = "a_feed_with_a_late_reader_and_a_monitor";
    const TICKS: u64 = 10_000;
    if role().is_some() {
        let oldest = Attach::lane("ticks").start(Start::Oldest);
        let mut ticks = connect(&argument()).unwrap().attach_one(oldest).unwrap();
        let mut next = 0u64;
        let check = |tick: &fdring::Record<'_>| {
            assert_eq!(tick[..], next.to_le_bytes());
            next += 1;
        };
        let mut check = check;
        while ticks.receive_many(&mut check).unwrap() != 0 {}
        return say(&next.to_string());
    }
    let address = address();
    let mut ticks = Producer::create("ticks").unwrap();
    let _server = Server::listen(&*address, [&ticks]).unwrap();
    let publish = |ticks: &mut Producer, first: u64| {
        let mut batch = ticks.batch().unwrap();
        let records = Records { count: TICKS as usize / 2, len: 8 };
        batch.fill_many(records, |n, tick| tick.copy_from_slice(&(first + n as u64).to_le_bytes())).unwrap();
        batch.commit()
    };
    publish(&mut ticks, 0);
    let mut late = Peer::start(TEST, "reader", &address);
    ticks.wait_for_consumers(1, DEADLINE).unwrap();
    publish(&mut ticks, TICKS / 2);
    wait_until("the monitor sees that all is read, and the reader sleeps", || {
        let [reader] = &ticks.consumers()[..] else { panic!("{:?}", ticks.consumers()) };
        assert_eq!(reader.pid, Some(late.pid()));
        reader.behind_bytes == 0 && reader.is_asleep
    });
    ticks.finish();
    late.expect(&TICKS.to_string());
    late.finish();
}

/// Three workers make samples, a trainer takes them from all of them; one worker is killed, and started again.
#[test]
fn a_loader_whose_worker_is_killed_and_replaced() {
    const TEST: &str = "a_loader_whose_worker_is_killed_and_replaced";
    const SAMPLES: u64 = 300;
    if let Some(kind) = role() {
        let mut samples = LaneOptions::new("samples").capacity(1 << 16).create().unwrap();
        let _server = Server::listen(argument(), [&samples]).unwrap();
        samples.wait_for_consumers(1, DEADLINE).unwrap();
        for number in 0..SAMPLES {
            if kind == "doomed" && number == SAMPLES / 2 {
                say("half");
                wait_for_the_end();
            }
            samples.send(&number.to_le_bytes()).unwrap();
        }
        return samples.finish();
    }
    let addresses = [address(), address(), address()];
    let start = |index: usize, kind| Peer::start(TEST, kind, &addresses[index]);
    let attach = |index: usize| connect(&addresses[index]).unwrap().attach_one(Attach::new()).unwrap();
    let mut workers = vec![start(0, "sound"), start(1, "doomed"), start(2, "sound")];
    let mut lanes: Vec<Option<Consumer>> = (0..3).map(|index| Some(attach(index))).collect();
    workers[1].expect("half");
    let mut doomed = Some(workers.remove(1));
    let (mut taken, mut deaths) = ([0u64; 3], 0);
    while lanes.iter().any(Option::is_some) {
        let mut is_idle = true;
        for index in 0..3 {
            let Some(lane) = &mut lanes[index] else { continue };
            match lane.try_receive_many(|_| taken[index] += 1) {
                Ok(0) => {
                    lanes[index] = None;
                    is_idle = false;
                }
                Ok(_) => is_idle = false,
                Err(ReceiveError::Empty) => is_idle &= lane.arm().unwrap(),
                // It is dying.
                Err(ReceiveError::HungUp) => is_idle = false,
                Err(ReceiveError::PeerDead) => {
                    deaths += 1;
                    is_idle = false;
                    workers.push(start(index, "sound"));
                    lanes[index] = Some(attach(index));
                }
                Err(error) => panic!("{error}"),
            }
        }
        if taken == [SAMPLES, SAMPLES / 2, SAMPLES] {
            doomed.take().into_iter().for_each(Peer::kill);
        }
        if is_idle {
            let mut waits: Vec<_> = lanes.iter().flatten().map(|lane| PollFd::new(lane, PollFlags::IN)).collect();
            assert_ne!(poll(&mut waits, Some(&patience())).unwrap(), 0, "nothing happens any more");
        }
    }
    assert_eq!((taken, deaths), ([SAMPLES, SAMPLES / 2 + SAMPLES, SAMPLES], 1));
    workers.into_iter().for_each(Peer::finish);
}

/// Clients that live for a moment: each makes a lane, tells the daemon by a datagram where, sends, and exits.
#[test]
fn a_log_daemon_loses_nothing_of_clients_that_exit_at_once() {
    const TEST: &str = "a_log_daemon_loses_nothing_of_clients_that_exit_at_once";
    const CLIENTS: usize = 8;
    const LINES: usize = 10;
    if role().is_some() {
        let daemon = argument();
        let mut log = LaneOptions::new("log").capacity(1 << 14).create().unwrap();
        let address = address();
        let _server = Server::listen(&*address, [&log]).unwrap();
        UnixDatagram::unbound().unwrap().send_to(address.as_bytes(), daemon).unwrap();
        log.wait_for_consumers(1, DEADLINE).unwrap();
        for line in 0..LINES {
            log.send(format!("line {line}").as_bytes()).unwrap();
        }
        return log.finish();
    }
    let dir = common::TempDir::new();
    let daemon = dir.path().join("daemon");
    let calls = UnixDatagram::bind(&daemon).unwrap();
    let clients: Vec<_> = (0..CLIENTS).map(|_| Peer::start(TEST, "client", daemon.to_str().unwrap())).collect();
    let mut lines = 0;
    for _ in 0..CLIENTS {
        let mut name = [0; 108];
        let len = calls.recv(&mut name).unwrap();
        let mut log = connect(std::str::from_utf8(&name[..len]).unwrap()).unwrap().attach_one(Attach::new()).unwrap();
        while log.receive_many(|_| lines += 1).unwrap() != 0 {}
    }
    assert_eq!(lines, CLIENTS * LINES);
    clients.into_iter().for_each(Peer::finish);
}

/// Requests in one lane, replies in another; the service is killed and replaced while its client waits.
#[test]
fn a_service_with_replies_is_found_again_after_a_restart() {
    const TEST: &str = "a_service_with_replies_is_found_again_after_a_restart";
    if role().is_some() {
        let (service, client) = argument().split_once(' ').map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
        let mut replies = LaneOptions::new("replies").capacity(1 << 14).create().unwrap();
        let _server = Server::listen(&*service, [&replies]).unwrap();
        let mut queries = connect(&client).unwrap().attach_one(Attach::new()).unwrap();
        replies.wait_for_consumers(1, DEADLINE).unwrap();
        say("serving");
        while let Some(query) = queries.receive().unwrap() {
            let number = u64::from_le_bytes(query[..].try_into().unwrap());
            replies.send_timeout(&(number * number).to_le_bytes(), DEADLINE).unwrap();
        }
        return;
    }
    let (service, client) = (address(), address());
    let mut queries = LaneOptions::new("queries").capacity(1 << 14).create().unwrap();
    let _server = Server::listen(&*client, [&queries]).unwrap();
    let start = || {
        let mut peer = Peer::start(TEST, "service", &format!("{service} {client}"));
        let replies = connect(&service).unwrap().attach_one(Attach::new()).unwrap();
        peer.expect("serving");
        (peer, replies)
    };
    let (peer, mut replies) = start();
    let mut peer = Some(peer);
    let mut second = None;
    for number in 0..200u64 {
        queries.send_timeout(&number.to_le_bytes(), DEADLINE).unwrap();
        if number == 100 {
            peer.take().expect("killed once").kill();
            // The answer may still have come. Then the lane of the dead ends.
            while let Ok(reply) = replies.receive_timeout(DEADLINE) {
                assert!(reply.is_some(), "the service did not end in order");
            }
            let (again, anew) = start();
            (second, replies) = (Some(again), anew);
            queries.send_timeout(&number.to_le_bytes(), DEADLINE).unwrap();
        }
        let reply = replies.receive_deadline(Instant::now() + DEADLINE).unwrap().expect("a service that goes on");
        assert_eq!(reply[..], (number * number).to_le_bytes());
    }
    queries.finish();
    second.expect("started again").finish();
}

/// A loop that waits for records and for an order to stop, both by descriptors, and ends at once when told.
#[test]
fn an_event_loop_stops_when_it_is_told_to() {
    let address = address();
    let mut ticks = Producer::create("ticks").unwrap();
    let _server = Server::listen(&*address, [&ticks]).unwrap();
    let mut consumer = Consumer::connect(&*address).unwrap();
    let stop = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).unwrap();
    let told_to_stop = stop.try_clone().unwrap();
    let reader = std::thread::spawn(move || {
        let mut records = 0;
        loop {
            match consumer.try_receive_many(|_| records += 1) {
                Ok(0) => panic!("the producer goes on"),
                Ok(_) => {}
                Err(ReceiveError::Empty) if consumer.arm().unwrap() => {
                    let mut waits = [PollFd::new(&consumer, PollFlags::IN), PollFd::new(&told_to_stop, PollFlags::IN)];
                    assert_ne!(poll(&mut waits, Some(&patience())).unwrap(), 0, "nothing happens any more");
                    if !waits[1].revents().is_empty() {
                        return records;
                    }
                }
                Err(ReceiveError::Empty) => {}
                Err(error) => panic!("{error}"),
            }
        }
    });
    for _ in 0..100 {
        ticks.send(b"tick").unwrap();
    }
    let end = ticks.published();
    ticks.wait_released(end, DEADLINE).unwrap();
    rustix::io::write(&stop, &1u64.to_ne_bytes()).unwrap();
    assert_eq!(reader.join().unwrap(), 100);
}

/// Ten open files with their names go to another process in one message, and come back with what it has written.
#[test]
fn open_files_travel_with_their_names() {
    let (here, there) = std::os::unix::net::UnixStream::pair().unwrap();
    let dir = common::TempDir::new();
    let open = |n: usize| {
        File::options().read(true).write(true).create(true).truncate(true).open(dir.path().join(n.to_string()))
    };
    let files: Vec<File> = (0..10).map(|n| open(n).unwrap()).collect();
    let names: Vec<String> = (0..10).map(|n| format!("file {n}")).collect();
    let fds: Vec<_> = files.iter().map(|file| file.as_fd()).collect();
    send_fds(&here, names.join("\0").as_bytes(), &fds).unwrap();

    let mut payload = [0; 4096];
    let received = recv_fds(&there, &mut payload, 10).unwrap();
    let names = std::str::from_utf8(&payload[..received.len]).unwrap().split('\0');
    for (name, fd) in names.zip(received.fds) {
        File::from(fd).write_all(name.as_bytes()).unwrap();
    }
    for (n, mut file) in files.into_iter().enumerate() {
        let mut text = String::new();
        file.rewind().unwrap();
        file.read_to_string(&mut text).unwrap();
        assert_eq!(text, format!("file {n}"));
    }
}

/// What a beginner gets wrong, and what it says.
#[test]
fn mistakes_are_told_with_what_to_do() {
    let address = address();
    let mut lane = LaneOptions::new("ticks").capacity(4096).create().unwrap();
    let server = Server::listen(&*address, [&lane]).unwrap();
    let told = |error: &dyn std::error::Error, parts: &[&str]| {
        let sentence = error.to_string();
        assert!(parts.iter().all(|part| sentence.contains(part)), "{sentence}");
        assert!(format!("{error:?}").starts_with(&sentence), "{error:?}");
    };
    told(&Session::connect("/nowhere/x.sock").unwrap_err(), &["connect to /nowhere/x.sock", "check the path"]);
    told(&Session::connect(format!("{address}-2")).unwrap_err(), &["connect to @", "start the other process"]);
    told(&Server::listen(&*address, [&lane]).unwrap_err(), &[&address, "in use"]);
    told(&Server::listen("@x", [&lane; 0]).unwrap_err(), &["give it a producer"]);
    told(&LaneOptions::new("x").capacity(3_000_000).create().unwrap_err(), &["3000000", "power of two"]);
    told(&Producer::create("").unwrap_err(), &["1 to 64"]);
    told(&lane.send(&[0; 3000]).unwrap_err(), &["3000 bytes", "2040", "raise its capacity"]);
    let tickz = SessionOptions::new().lanes(["tickz"]).connect(&*address).unwrap_err();
    told(&tickz, &["no lane is called tickz; this producer has: ticks"]);
    let _idle = Consumer::connect(&*address).unwrap();
    let full = (0..).find_map(|_| lane.try_send(&[0; 56]).err()).unwrap();
    told(&full, &[&format!("process {} of user ", std::process::id()), "has not released 4096 bytes yet"]);
    let few = server.wait_for_sessions(9, std::time::Duration::ZERO).unwrap_err();
    told(&few, &["waiting for 9 consumers", "are there after 0 s"]);
    assert!(matches!(tickz, Error::Refused { .. }) && !tickz.is_worth_retrying());
}
