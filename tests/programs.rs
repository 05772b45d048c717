//! Eight programs as users write them, all but the last of several processes, by the shortest way that the interface
//! has: a camera, ticks, a loader, a log daemon, a service, tasks, descriptors, mistakes.
//!
//! None of them tries again by itself, sleeps for what can be waited for, or names a default. The comment at each says
//! what it used to take, which calls do it now, and what is still not possible.
#![allow(
    unsafe_code,
    reason = "one reads in place, and vouches for this crate's producer; one sends a type of its own"
)]

mod common;
#[path = "common/peer.rs"]
mod peer;

use common::{DEADLINE, TempDir, role, unique_name};
use fdring::call::{Caller, CallerOptions, Service};
use fdring::collect::{Collector, Event};
use fdring::errors::{ReceiveError, SendError};
use fdring::fds::{peer_credentials, recv_named, send_named};
use fdring::info::ReaderReport;
use fdring::options::{LaneOptions, SessionOptions, SlowConsumer, Start};
use fdring::typed::{Layout, TypedConsumer, TypedProducer};
use fdring::{Attach, Consumer, Error, Producer, Server, Session};
use peer::{Peer, argument, say, told, wait_for_the_end};
use std::collections::VecDeque;
use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::Duration;

fn address() -> String {
    format!("@{}", unique_name())
}

/// Connects to a server that may not have started yet.
fn connect(address: &str) -> fdring::Result<Session> {
    SessionOptions::new().patience(DEADLINE).connect(address)
}

/// A camera fills frames in place, two at a time, each with its time. A detector reads in place and keeps a window of
/// three. A viewer sees the newest frame only. A recorder hangs.
///
/// It took a second lane for each viewer, filled by hand, and one reader that hung stopped all. Now a viewer is a
/// [`Tap`](fdring::Tap), and `receive_newest` is its call. The lane evicts who is too slow (`slow_consumer`), records
/// are kept by `into_owned`, several are reserved by `reserve_window`, and their time comes with `stamped`.
///
/// Still not possible: to wait until a tap has come (it says so itself here), to evict a consumer that reads in place,
/// and a capacity that is no power of two.
#[test]
fn a_camera_with_a_detector_a_viewer_and_a_recorder_that_hangs() {
    const TEST: &str = "a_camera_with_a_detector_a_viewer_and_a_recorder_that_hangs";
    const FRAME: usize = 200 << 10;
    const FRAMES: u64 = 100;
    match role().as_deref() {
        Some("detector") => {
            // SAFETY: the camera is this crate's producer, in the process that started this one.
            let mut frames = connect(&argument()).unwrap().attach_one(unsafe { Attach::new().in_place() }).unwrap();
            let mut window = VecDeque::new();
            for number in 0..FRAMES {
                let frame = frames.receive().unwrap().expect("a frame");
                assert!(frame.len() == FRAME && frame.iter().all(|pixel| *pixel == number as u8));
                assert!(frame.published_at().is_some());
                window.push_back(frame.into_owned());
                if window.len() > 3 {
                    window.pop_front();
                }
            }
            assert!(window.iter().zip(FRAMES - 3..).all(|(frame, number)| frame[0] == number as u8));
            assert!(frames.receive().unwrap().is_none());
        }
        Some("viewer") => {
            let mut frames = connect(&argument()).unwrap().tap_one(Attach::new()).unwrap();
            say("there");
            told(); // it looks away, until all have been sent
            let newest = frames.receive_newest().unwrap().expect("a frame");
            assert_eq!(newest[0], FRAMES as u8 - 1);
        }
        Some(_) => {
            let mut frames = connect(&argument()).unwrap().attach_one(Attach::new()).unwrap();
            told(); // it hangs, until all have been sent
            let end = loop {
                if let Err(error) = frames.receive() {
                    break error;
                }
            };
            assert!(matches!(end, ReceiveError::Evicted { missed_bytes } if missed_bytes > 0), "{end}");
        }
        None => {
            let address = address();
            let mut readers = ["detector", "viewer", "recorder"].map(|reader| Peer::start(TEST, reader, &address));
            let evict = SlowConsumer::Evict { after: Duration::from_secs(2) };
            let options = LaneOptions::new("frames").capacity(2 << 20).payload_align(4096).stamped(true);
            let mut camera = options.slow_consumer(evict).create().unwrap();
            let _server = Server::listen(&*address, [&camera]).unwrap();
            camera.wait_for_consumers(2, DEADLINE).unwrap();
            readers[1].expect("there");
            for number in (0..FRAMES as u8).step_by(2) {
                let mut window = camera.reserve_window_timeout(&[FRAME; 2], DEADLINE).unwrap();
                let mut slots = window.slots();
                slots[1].fill(number + 1); // in any order, or by a device
                slots[0].fill(number);
                window.commit();
            }
            assert_eq!(camera.consumer_count(), 1, "the recorder is evicted, the detector is not");
            readers.iter_mut().skip(1).for_each(|reader| reader.tell("look"));
            drop(camera);
            readers.into_iter().for_each(Peer::finish);
        }
    }
}

/// A price, as it lies in the ring. A program has the two impls from `#[derive(Pod, Zeroable)]`.
#[derive(Clone, Copy, Debug, PartialEq)]
#[repr(C)]
struct Tick {
    number: u64,
    price: f64,
}
// SAFETY: both fields are plain numbers, for which zeros are a value.
unsafe impl bytemuck::Zeroable for Tick {}
// SAFETY: the same, of 16 bytes without a gap.
unsafe impl bytemuck::Pod for Tick {}

/// Ticks as values of a type, a reader that comes late and begins at the oldest, and a monitor in a process of its own
/// that holds nothing back.
///
/// It took casts by hand, a schema that nothing compared, and for the monitor a lane and a server in each process.
/// Now a `TypedProducer` and a `TypedConsumer` compare their layouts when they meet, and `query`, which a tap has too,
/// names all readers, each with the bytes that it has not read.
///
/// Still not possible: options and a short form in one. `TypedConsumer::connect` waits for no server and begins at the
/// newest record, so this reader attaches first and is given its type then.
#[test]
fn ticks_with_a_late_reader_and_a_monitor() {
    const TEST: &str = "ticks_with_a_late_reader_and_a_monitor";
    const TICKS: u64 = 10_000;
    match role().as_deref() {
        Some("reader") => {
            let oldest = Attach::lane("ticks").start(Start::Oldest);
            let consumer = connect(&argument()).unwrap().attach_one(oldest).unwrap();
            let mut ticks = TypedConsumer::<Tick>::new(consumer, Layout::of::<Tick>()).unwrap();
            told(); // it is late
            let mut next = 0;
            while let Some(tick) = ticks.receive_value().unwrap() {
                assert_eq!(tick, Tick { number: next, price: next as f64 });
                next += 1;
            }
            assert_eq!(next, TICKS);
        }
        Some(_) => {
            let monitor = connect(&argument()).unwrap().tap_one(Attach::new()).unwrap();
            let report = monitor.query(DEADLINE).unwrap();
            let of_others = |reader: &&ReaderReport| reader.pid != Some(std::process::id());
            let reader = report.readers.iter().find(of_others).expect("the reader");
            say(&format!("{} {}", reader.pid.unwrap(), report.published - reader.behind_bytes));
        }
        None => {
            let address = address();
            let mut ticks = TypedProducer::<Tick>::create("ticks").unwrap();
            let _server = Server::listen(&*address, [ticks.untyped()]).unwrap();
            let mut batch = ticks.batch().unwrap();
            for number in 0..TICKS {
                batch.send(&Tick { number, price: number as f64 }).unwrap();
            }
            batch.commit();
            let mut late = Peer::start(TEST, "reader", &address);
            ticks.untyped().wait_for_consumers(1, DEADLINE).unwrap();
            let mut monitor = Peer::start(TEST, "monitor", &address);
            monitor.expect(&format!("{} 0", late.pid()));
            late.tell("read");
            ticks.into_untyped().finish_and_wait(DEADLINE).unwrap();
            late.finish();
            monitor.finish();
        }
    }
}

/// Three workers make samples, and a trainer takes them in batches of 32, in the order in which they come. A worker is
/// killed, and started again.
///
/// The trainer had to go to each worker's address until it was there, and to look at each lane in turn, with a sleep;
/// a worker had to wait, or its samples went nowhere. Now the trainer listens (`Collector`), a worker connects and
/// sends, and joins, ends and deaths are events. Records are kept by `into_owned`.
///
/// Still not possible: that the collector starts a worker again. It says who died; the program knows how to start it.
#[test]
fn a_loader_whose_worker_is_killed_and_replaced() {
    const TEST: &str = "a_loader_whose_worker_is_killed_and_replaced";
    const SAMPLES: u64 = 300;
    if let Some(kind) = role() {
        let mut samples = LaneOptions::new("samples").capacity(1 << 16).create().unwrap();
        let _link = samples.connect(argument()).unwrap();
        for number in 0..SAMPLES {
            if kind == "doomed" && number == SAMPLES / 2 {
                wait_for_the_end();
            }
            samples.send(&number.to_le_bytes()).unwrap();
        }
        return;
    }
    let address = address();
    let mut trainer = Collector::listen(&*address).unwrap();
    let start = |kind| Peer::start(TEST, kind, &address);
    let mut workers = vec![start("sound"), start("sound")];
    let mut doomed = Some(start("doomed"));
    let (mut batch, mut batches, mut ended) = (Vec::new(), 0, 0);
    while ended < 3 {
        match trainer.next_timeout(DEADLINE).unwrap() {
            Event::Record(worker, sample) => {
                let is_half = sample[..] == (SAMPLES / 2 - 1).to_le_bytes();
                if let Some(doomed) = doomed.take_if(|doomed| is_half && worker.pid() == Some(doomed.pid())) {
                    doomed.kill();
                }
                batch.push(sample.into_owned());
            }
            Event::Lost(_, ReceiveError::PeerDead) => workers.push(start("sound")),
            Event::Finished(_) => ended += 1,
            Event::Joined(_) => {}
            event => panic!("{event:?}"),
        }
        if batch.len() == 32 {
            batch.clear();
            batches += 1;
        }
    }
    assert_eq!(batches * 32 + batch.len() as u64, 3 * SAMPLES + SAMPLES / 2);
    workers.into_iter().for_each(Peer::finish);
}

/// A log daemon: clients connect, send, and exit at once. One wants to know whether its lines were read, as the daemon
/// dies.
///
/// A client had to make a server, tell the daemon its address by another socket, and wait; and when the daemon died,
/// nobody could say whether the lines had been read. Now a client connects to the daemon (`Producer::connect`), and
/// asks by `wait_released`, or by `finish_and_wait` as it ends.
///
/// Still not possible: to know more of a dead daemon. Lines that it had released may not be on its disk; whether they
/// are, only an answer can tell (`call::Caller`).
#[test]
fn a_log_daemon_loses_nothing_of_clients_that_exit_and_one_learns_that_it_died() {
    const TEST: &str = "a_log_daemon_loses_nothing_of_clients_that_exit_and_one_learns_that_it_died";
    const CLIENTS: usize = 8;
    const LINES: usize = 10;
    let send_lines = |address: &str| {
        let mut log = LaneOptions::new("log").capacity(1 << 14).create().unwrap();
        let link = log.connect(address).unwrap();
        (0..LINES).for_each(|line| log.send(format!("line {line}").as_bytes()).unwrap());
        (log, link)
    };
    match role().as_deref() {
        Some("client") => drop(send_lines(&argument())),
        Some(_) => {
            let mut daemon = Collector::listen(argument()).unwrap();
            say("listens");
            while !matches!(daemon.next().unwrap(), Event::Record(..)) {}
            say("read the first");
            wait_for_the_end();
        }
        None => {
            let address = address();
            let mut daemon = Collector::listen(&*address).unwrap();
            let clients: Vec<_> = (0..CLIENTS).map(|_| Peer::start(TEST, "client", &address)).collect();
            let (mut lines, mut ended) = (0, 0);
            while ended < CLIENTS {
                match daemon.next_timeout(DEADLINE).unwrap() {
                    Event::Record(origin, line) => {
                        assert!(origin.pid().is_some() && line.starts_with(b"line "));
                        lines += 1;
                    }
                    Event::Finished(_) => ended += 1,
                    Event::Joined(_) => {}
                    event => panic!("{event:?}"),
                }
            }
            assert_eq!(lines, CLIENTS * LINES);
            clients.into_iter().for_each(Peer::finish);

            let address = self::address();
            let mut doomed = Peer::start(TEST, "daemon", &address);
            doomed.expect("listens");
            let (mut log, _link) = send_lines(&address);
            doomed.expect("read the first");
            doomed.kill();
            let end = log.published();
            assert_eq!(log.wait_released(end, DEADLINE), Err(SendError::NotReleased { position: end }));
        }
    }
}

/// A service and its client. The service is killed and started again under a call.
///
/// It took two lanes and two servers for each client, and a loop that went round to look for them. Now each end is one
/// type, the client connects again by itself within `patience`, and each call has a deadline.
///
/// Still not possible: that the library sends a lost call again. It says that the service may have executed it
/// (`may_have_run`), and this program decides that squares do no harm.
#[test]
fn a_service_is_found_again_after_a_restart() {
    const TEST: &str = "a_service_is_found_again_after_a_restart";
    if role().is_some() {
        let mut service = Service::listen(argument()).unwrap();
        while let Ok(request) = service.receive() {
            let number = u64::from_le_bytes(request[..].try_into().unwrap());
            if number == 100 {
                say("a hundred");
                told(); // too long for its caller, the first time
            }
            request.reply(&(number * number).to_le_bytes()).unwrap();
        }
        return;
    }
    let address = address();
    let start = || Peer::start(TEST, "service", &address);
    let mut service = start();
    let mut client = CallerOptions::new().patience(DEADLINE).connect(&*address).unwrap();
    let square = |client: &mut Caller, number: u64| client.call(&number.to_le_bytes(), DEADLINE);
    for number in 0..100 {
        assert_eq!(square(&mut client, number).unwrap()[..], (number * number).to_le_bytes());
    }
    let mut hundred = client.send(&100_u64.to_le_bytes(), DEADLINE).unwrap();
    service.expect("a hundred");
    service.kill();
    let mut service = start();
    let lost = client.wait(&mut hundred).unwrap_err();
    assert!(lost.is_worth_retrying() && lost.may_have_run(), "{lost}");
    for number in 100..200 {
        if number == 100 {
            service.tell("go on");
        }
        assert_eq!(square(&mut client, number).unwrap()[..], (number * number).to_le_bytes());
    }
    service.kill();
}

/// Tasks that read a lane of another process, until they are told to stop.
///
/// It took a thread for each lane, a channel, and a copy of each record; a thread in `receive` could not be stopped.
/// Now an endpoint in `Async` is awaited, and `select!` stops the wait without losing a record. Other loops have `arm`
/// and `AsFd`, a plain thread has an [`Interrupter`](fdring::Interrupter).
///
/// Still not possible: runtimes other than tokio, but by `arm` and `AsFd`.
#[cfg(feature = "tokio")]
#[test]
fn tasks_read_until_they_are_told_to_stop() {
    use fdring::tokio::Async;
    const TEST: &str = "tasks_read_until_they_are_told_to_stop";
    if role().is_some() {
        let mut ticks = Producer::create("ticks").unwrap();
        let _server = Server::listen(argument(), [&ticks]).unwrap();
        ticks.wait_for_consumers(1, DEADLINE).unwrap();
        (0..100).for_each(|_| ticks.send(b"tick").unwrap());
        wait_for_the_end();
    }
    let address = address();
    let producer = Peer::start(TEST, "producer", &address);
    let consumer = connect(&address).unwrap().attach_one(Attach::new()).unwrap();
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
        let mut ticks = Async::new(consumer).unwrap();
        let (stop, stopped) = tokio::net::UnixStream::pair().unwrap();
        let mut stop = Some(stop);
        let mut seen = 0;
        loop {
            tokio::select! {
                tick = ticks.receive() => assert_eq!(&tick.unwrap().expect("the producer goes on")[..], b"tick"),
                _ = stopped.readable() => break,
            }
            seen += 1;
            if seen == 100 {
                drop(stop.take());
            }
        }
        assert_eq!(seen, 100);
    });
    producer.kill();
}

/// Ten open files go to another process by name, in one message; the other writes to them.
///
/// Names had to be joined and parsed by hand, and the peer was anybody. Now `send_named` and `recv_named` do it for any
/// Unix socket, `Producer::send_named` for records, and `peer_credentials` says which process is at the other end.
///
/// Still not possible: to listen on a seqpacket socket, which std does not have; `seqpacket_pair` makes pairs of them.
#[test]
fn open_files_travel_with_their_names() {
    const TEST: &str = "open_files_travel_with_their_names";
    if role().is_some() {
        let socket = UnixStream::connect(argument()).unwrap();
        for (name, fd) in recv_named(&socket).unwrap() {
            File::from(fd).write_all(name.as_bytes()).unwrap();
        }
        return;
    }
    let dir = TempDir::new();
    let socket = dir.path().join("socket");
    let listener = UnixListener::bind(&socket).unwrap();
    let reader = Peer::start(TEST, "writer", socket.to_str().unwrap());
    let open = |name: &String| {
        let file = File::options().read(true).write(true).create(true).truncate(true).open(dir.path().join(name));
        (name.clone(), file.unwrap())
    };
    let files: Vec<_> = (0..10).map(|n| open(&format!("file {n}"))).collect();
    let (peer, _) = listener.accept().unwrap();
    assert_eq!(peer_credentials(&peer).unwrap().pid, reader.pid() as i32);
    send_named(&peer, files.iter().map(|(name, file)| (name.as_str(), file.as_fd()))).unwrap();
    reader.finish();
    for (name, mut file) in files {
        let mut text = String::new();
        file.rewind().unwrap();
        file.read_to_string(&mut text).unwrap();
        assert_eq!(text, name);
    }
}

/// Mistakes of beginners, and what they are told.
///
/// Errors whose sentence was in `Display` alone were printed without it by `unwrap` and `main`. Now `Debug` begins with
/// it, and each error says whether another try is worth it.
///
/// Still not possible: to be told of a reservation that was filled and not committed. `fill` commits at its end.
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
    let few = server.wait_for_sessions(9, Duration::ZERO).unwrap_err();
    told(&few, &["waiting for 9 consumers", "are there after 0 s"]);
    assert!(matches!(tickz, Error::Refused { .. }) && !tickz.is_worth_retrying() && full.is_worth_retrying());
}
