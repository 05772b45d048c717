//! A fork is not a second owner: in the child every operation is an error and every drop does nothing.
#![allow(unsafe_code, reason = "fork")]

mod common;

use common::{DEADLINE, TempDir, isolated, unique_name, wait_until, wait_until_thread_has_slept_for};
use fdring::call::{CallError, Caller, Service};
use fdring::collect::SessionListener;
use fdring::collect::{Collector, Event};
use fdring::distribute::{Distributor, DistributorOptions, Task, To, Worker};
use fdring::errors::{ReceiveError, SendError, TapError};
use fdring::feed::{Feed, FeedError, FeedEvent};
use fdring::options::{LaneOptions, Records, ServerOptions};
use fdring::parcel::{Parcel, ParcelBuilder};
use fdring::select::Selector;
use fdring::{Attach, Consumer, Error, Producer, Server, Session, Tap, parcel::SealedBuilder};
use std::io::{ErrorKind, Write};
use std::path::PathBuf;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Runs `body` in a forked child of a process that has other threads, and returns whether it said yes. A child that
/// hangs or crashes said no.
fn in_child(body: impl FnOnce() -> bool) -> bool {
    // SAFETY: the child runs the operations under test, which neither lock nor allocate before they find out that they
    // are in a child, and ends without unwinding.
    match unsafe { libc::fork() } {
        0 => {
            // SAFETY: alarm and _exit take any number.
            unsafe { libc::alarm(10) };
            let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(body));
            // SAFETY: as above.
            unsafe { libc::_exit(if matches!(outcome, Ok(true)) { 0 } else { 1 }) }
        }
        pid => said_yes(pid),
    }
}

/// Forks a child that ends at once: a closure that is called for records in the ring must not return in a child.
fn fork_and_end() -> libc::pid_t {
    // SAFETY: the child calls nothing but _exit.
    match unsafe { libc::fork() } {
        // SAFETY: _exit takes any number.
        0 => unsafe { libc::_exit(0) },
        pid => pid,
    }
}

/// Waits for a forked child; whether it ended with 0.
fn said_yes(pid: libc::pid_t) -> bool {
    let pid = rustix::process::Pid::from_raw(pid).expect("fork succeeds");
    let (_, status) = rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::empty()).unwrap().unwrap();
    println!("the child ended with {status:?}");
    status.exit_status() == Some(0)
}

#[test]
fn every_operation_in_a_forked_child_is_an_error() {
    isolated("every_operation_in_a_forked_child_is_an_error", || {
        let address = format!("@{}", unique_name());
        let mut producer = LaneOptions::new("lane").capacity(4096).create().unwrap();
        let server = Server::listen(&*address, &[&producer]).unwrap();
        let mut consumer = Consumer::connect(&*address).unwrap();
        let session = Session::connect(&*address).unwrap();
        producer.send(b"before").unwrap();
        assert!(in_child(|| {
            producer.send(b"x") == Err(SendError::Forked)
                && producer.try_send(b"x") == Err(SendError::Forked)
                && producer.fill(1, |_| panic!("there is no ring")) == Err(SendError::Forked)
                && matches!(producer.reserve(1), Err(SendError::Forked))
                && matches!(producer.batch(), Err(SendError::Forked))
                && matches!(producer.reserve_window(&[1, 2]), Err(SendError::Forked))
        }));
        assert!(in_child(|| {
            matches!(consumer.receive(), Err(ReceiveError::Forked))
                && matches!(consumer.try_receive(), Err(ReceiveError::Forked))
                && matches!(consumer.receive_timeout(Duration::ZERO), Err(ReceiveError::Forked))
                && matches!(consumer.try_receive_many(|_| ()), Err(ReceiveError::Forked))
                && matches!(consumer.query(Duration::ZERO), Err(Error::Forked))
        }));
        assert!(in_child(move || matches!(session.attach_all(Attach::new()), Err(Error::Forked))));
        assert!(in_child(|| matches!(server.wait_for_sessions(9, Duration::from_secs(9)), Err(Error::Forked))));
        assert!(in_child(|| {
            let other = format!("@{}", unique_name());
            matches!(Server::listen(other, &[&producer]), Err(Error::Forked))
        }));
        assert_eq!((producer.consumer_count(), server.stats().accepted), (1, 2));
        assert!(in_child(|| producer.consumer_count() == 0 && server.stats().accepted == 0));
        assert!(in_child(|| producer.stats() == Default::default() && consumer.stats() == Default::default()));
    });
}

#[test]
fn a_record_that_is_held_is_refused_in_a_forked_child() {
    isolated("a_record_that_is_held_is_refused_in_a_forked_child", || {
        let address = format!("@{}", unique_name());
        let mut producer = LaneOptions::new("lane").capacity(4096).create().unwrap();
        let _server = Server::listen(&*address, &[&producer]).unwrap();
        // SAFETY: the producer is this process, and nothing else writes its memory.
        let in_place = unsafe { Attach::new().in_place() };
        let mut consumer = Session::connect(&*address).unwrap().attach_one(in_place).unwrap();
        (0..2).for_each(|_| producer.send(b"held").unwrap());
        let held = consumer.receive().unwrap().unwrap().into_owned();
        let record = consumer.receive().unwrap().unwrap();
        assert!(held.is_held() && held[..] == *b"held");
        assert!(!in_child(|| held[0] == b'h'), "the ring is not mapped there");
        assert!(!in_child(|| record.hold().is_held()), "nor can anything be held");
        assert!(in_child(|| format!("{held:?}").contains("not in a forked child")));
        assert!(in_child(|| consumer.held_bytes() == 0));
        assert_eq!((&held[..], consumer.held_bytes()), (&b"held"[..], 32));
    });
}

#[test]
fn a_task_in_place_is_refused_in_a_forked_child_and_not_done_there() {
    isolated("a_task_in_place_is_refused_in_a_forked_child_and_not_done_there", || {
        let address = format!("@{}", unique_name());
        let mut distributor = Distributor::listen(&*address).unwrap();
        // SAFETY: the distributor is this process, and nothing else writes its memory.
        let in_place = unsafe { Attach::new().in_place() };
        let mut worker = Worker::new(Session::connect(&*address).unwrap().attach_one(in_place).unwrap()).unwrap();
        distributor.send(To::MostRoom, b"a").unwrap();
        let mut task = worker.take().unwrap();
        let shown = |task: &Option<Task>| format!("{:?}", task.as_ref().unwrap());
        assert_eq!(shown(&task), "Task { payload: [97], tag: 0, .. }");
        assert!(!in_child(|| task.as_ref().unwrap()[0] == b'a'), "the ring is not mapped there");
        assert!(in_child(|| shown(&task) == "Task { payload: \"not in a forked child\", tag: 0, .. }"));
        assert!(in_child(|| {
            task.take().unwrap().done();
            true
        }));
        assert_eq!((distributor.workers()[0].unreleased_records, &task.as_ref().unwrap()[..]), (1, &b"a"[..]));
        task.unwrap().done();
        assert_eq!(distributor.workers()[0].unreleased_records, 0);
    });
}

#[test]
fn a_consumer_that_becomes_a_worker_in_a_forked_child_tells_nothing() {
    isolated("a_consumer_that_becomes_a_worker_in_a_forked_child_tells_nothing", || {
        let address = format!("@{}", unique_name());
        let _distributor = Distributor::listen(&*address).unwrap();
        let mut consumer = Some(Consumer::connect(&*address).unwrap());
        // Its seat is not mapped there.
        assert!(in_child(|| {
            let mut worker = Worker::new(consumer.take().unwrap()).unwrap();
            matches!(worker.try_receive(), Err(ReceiveError::Forked))
        }));
    });
}

#[test]
fn what_was_begun_before_a_fork_does_nothing_in_the_child() {
    isolated("what_was_begun_before_a_fork_does_nothing_in_the_child", || {
        let mut producer = LaneOptions::new("lane").capacity(4096).create().unwrap();
        let slot = producer.reserve(8).unwrap();
        let mut slot = Some(slot);
        assert!(in_child(|| {
            slot.take().unwrap().commit();
            true
        }));
        assert!(slot.is_some(), "the parent's is another");
        let mut writer = Some(producer.reserve(8).unwrap().writer());
        assert!(in_child(|| {
            let mut writer = writer.take().unwrap();
            let refused = writer.write(b"in the child").is_err_and(|error| error.kind() == ErrorKind::Unsupported);
            let written = writer.written();
            writer.commit();
            refused && written == 0
        }));
        assert!(writer.is_some(), "the parent's is another");
        let mut window = Some(producer.reserve_window(&[8, 8]).unwrap());
        assert!(in_child(|| {
            let mut window = window.take().unwrap();
            window.slots().is_empty() && window.commit() == 0
        }));
        assert_eq!(window.take().unwrap().slots().len(), 2);
        let mut batch = producer.batch().unwrap();
        batch.send(b"one").unwrap();
        let mut batch = Some(batch);
        assert!(in_child(|| {
            let mut batch = batch.take().unwrap();
            let refused = batch.send(b"two") == Err(SendError::Forked)
                && batch.fill_many(Records { count: 0, len: 3 }, |_, _| ()) == Err(SendError::Forked);
            batch.commit();
            refused
        }));
        batch.unwrap().commit();
        assert_eq!(producer.published(), 16);
    });
}

#[test]
fn a_fork_while_records_are_filled_is_nothing_to_the_parent() {
    isolated("a_fork_while_records_are_filled_is_nothing_to_the_parent", || {
        // The ring ends, and begins again, before the eighth of the records that are filled by one call.
        const RECORD_BYTES: usize = 48;
        const BEFORE: usize = 78;
        const FILLED: usize = 20;
        for fork_at in 0..FILLED {
            let mut producer = LaneOptions::new("lane").capacity(4096).create().unwrap();
            (0..BEFORE).for_each(|_| producer.send(&[0; RECORD_BYTES - 8]).unwrap());
            let mut batch = producer.batch().unwrap();
            let (mut seen, mut child) = (0, 0);
            let outcome = batch.fill_many(Records { count: FILLED, len: RECORD_BYTES - 8 }, |index, payload| {
                payload.fill(index as u8);
                seen += 1;
                if index == fork_at {
                    child = fork_and_end();
                }
            });
            assert_eq!((outcome, seen), (Ok(()), FILLED));
            batch.commit();
            assert_eq!(producer.published() as usize, (BEFORE + FILLED) * RECORD_BYTES + 4096 % RECORD_BYTES);
            assert!(said_yes(child), "the child forked in record {fork_at}");
        }
    });
}

#[test]
fn a_fork_while_records_are_read_is_nothing_to_the_parent() {
    const TEST: &str = "a_fork_while_records_are_read_is_nothing_to_the_parent";
    const RECORDS: u8 = 20;
    isolated(TEST, || {
        let address = format!("@{}", unique_name());
        let mut producer = LaneOptions::new("lane").capacity(1 << 16).create().unwrap();
        let _server = Server::listen(&*address, &[&producer]).unwrap();
        for in_place in [false, true] {
            let session = Session::connect(&*address).unwrap();
            let mut consumer = match in_place {
                // SAFETY: the producer is this process itself, and nobody else writes its lane.
                true => session.attach_one(unsafe { Attach::new().in_place() }).unwrap(),
                false => session.attach_one(Attach::new()).unwrap(),
            };
            // Well within one round of the ring: two runs of records that are looked at together, and some more.
            for fork_at in 1..=RECORDS {
                (0..RECORDS).for_each(|n| producer.send(&[n; 16]).unwrap());
                let (mut seen, mut child) = (0, 0);
                let outcome = consumer.receive_many(|record| {
                    assert_eq!(record[0], seen);
                    seen += 1;
                    if seen == fork_at {
                        child = fork_and_end();
                    }
                });
                assert_eq!((outcome.unwrap(), seen), (usize::from(RECORDS), RECORDS));
                assert!(said_yes(child), "the child forked at record {fork_at}");
            }
        }
    });
}

#[test]
fn what_a_forked_child_drops_is_untouched_in_the_parent() {
    isolated("what_a_forked_child_drops_is_untouched_in_the_parent", || {
        let dir = TempDir::new();
        let path = dir.path().join("socket");
        let mut producer = LaneOptions::new("lane").capacity(4096).create().unwrap();
        let server = Server::listen(&path, &[&producer]).unwrap();
        let mut consumer = Consumer::connect(&path).unwrap();
        (0..10).for_each(|n| producer.send(&[n; 56]).unwrap());
        assert_eq!(consumer.receive().unwrap().unwrap()[..], [0; 56]);
        let mut all = Some((producer, server, consumer));
        assert!(in_child(|| {
            drop(all.take());
            true
        }));
        let (mut producer, server, mut consumer) = all.unwrap();
        assert!(path.exists() && dir.path().join("socket.lock").exists());
        assert_eq!((server.stats().sessions, producer.consumer_count()), (1, 1), "nobody left");
        for n in 1..10 {
            assert_eq!(consumer.receive().unwrap().unwrap()[..], [n; 56]);
        }
        assert!(matches!(consumer.try_receive(), Err(ReceiveError::Empty)), "the lane has not ended");
        producer.send(b"after").unwrap();
        assert_eq!(consumer.receive().unwrap().unwrap()[..], *b"after");
        let mut second = Consumer::connect(&path).unwrap();
        assert!(matches!(Server::listen(&path, &[&producer]), Err(Error::AddressInUse { .. })));
        producer.send(b"both").unwrap();
        assert_eq!(second.receive().unwrap().unwrap()[..], *b"both");
        drop(server);
        assert!(!path.exists());
    });
}

/// Every shape that has a thread of its own, or an end whose peer has one.
struct Shapes {
    collector: Collector,
    /// Connected to the collector.
    client: (Producer, Server),
    listener: SessionListener,
    /// Accepted by the listener, of a client that is not attached to yet.
    session: Session,
    feed: Feed,
    searching: Feed,
    source: (Producer, Server),
    service: Service,
    caller: Caller,
    distributor: Distributor,
    worker: Worker,
    tap: Tap,
    selector: Selector<SessionListener>,
    parcel: Parcel,
}

impl Shapes {
    /// With the thread of a client that waits to be attached to.
    fn new() -> (Self, JoinHandle<fdring::Result<Server>>) {
        let address = || format!("@{}", unique_name());
        let lane = |name: &str| LaneOptions::new(name).capacity(4096).create().unwrap();
        let mut collector = Collector::listen(address()).unwrap();
        let client = lane("client");
        let offered = collector.address().to_string();
        let link = std::thread::scope(|scope| {
            let link = scope.spawn(|| client.connect(offered).unwrap());
            assert!(matches!(collector.next_timeout(DEADLINE).unwrap(), Event::Joined(_)));
            link.join().unwrap()
        });
        let listener = SessionListener::listen(address()).unwrap();
        let connects = std::thread::spawn({
            let (address, offered) = (listener.address().to_string(), ServerOptions::new().deadline(2 * DEADLINE));
            let lane = lane("arriving");
            move || offered.connect(address, [&lane])
        });
        let session = listener.accept_timeout(DEADLINE).unwrap();
        let source = lane("source");
        let server = Server::listen(address(), [&source]).unwrap();
        let mut feed = Feed::connect(server.address().to_string()).unwrap();
        assert!(matches!(feed.receive_timeout(DEADLINE).unwrap(), Some(FeedEvent::Joined { .. })));
        let tap = Tap::connect(server.address().to_string()).unwrap();
        let service = Service::listen(address()).unwrap();
        let caller = Caller::connect(service.address().to_string()).unwrap();
        let lane = LaneOptions::new("work").capacity(4096);
        let mut distributor = DistributorOptions::new().lane(lane).listen(address()).unwrap();
        let worker = Worker::connect(distributor.address().to_string()).unwrap();
        distributor.wait_for_workers(1, DEADLINE).unwrap();
        let mut selector = Selector::new().unwrap();
        selector.add(SessionListener::listen(address()).unwrap()).unwrap();
        let shapes = Self {
            collector,
            client: (client, link),
            listener,
            session,
            feed,
            searching: Feed::connect(address()).unwrap(),
            source: (source, server),
            service,
            caller,
            distributor,
            worker,
            tap,
            selector,
            parcel: ParcelBuilder::new("parcel").buffer(0, 8).allocate().unwrap().seal().unwrap(),
        };
        (shapes, connects)
    }

    /// In a forked child: every call is an error at once.
    fn are_all_refused(&mut self) -> bool {
        matches!(self.collector.next_timeout(DEADLINE), Err(ReceiveError::Forked))
            && matches!(self.listener.accept_timeout(DEADLINE), Err(Error::Forked))
            && matches!(self.listener.try_accept(), Err(Error::Forked))
            && matches!(self.feed.receive_timeout(DEADLINE), Err(FeedError::Forked))
            && matches!(self.searching.receive_timeout(DEADLINE), Err(FeedError::Forked))
            && matches!(self.service.receive_timeout(DEADLINE), Err(ReceiveError::Forked))
            && matches!(self.caller.call(b"x", DEADLINE), Err(CallError::Forked))
            && matches!(self.distributor.try_send(To::MostRoom, b"x"), Err(SendError::Forked))
            && matches!(self.worker.receive_timeout(DEADLINE), Err(ReceiveError::Forked))
            && matches!(self.tap.receive_timeout(DEADLINE), Err(TapError::Forked))
            && matches!(self.selector.wait_timeout(DEADLINE), Err(ReceiveError::Forked))
            && self.listener.stats() == Default::default()
            && self.client.1.stats() == Default::default()
    }

    /// Everything still works.
    fn go_on(mut self, client: JoinHandle<fdring::Result<Server>>) {
        self.client.0.send(b"x").unwrap();
        assert!(matches!(self.collector.next_timeout(DEADLINE).unwrap(), Event::Record(..)));
        let mut consumer = self.session.attach_one(Attach::new()).unwrap();
        assert!(client.join().unwrap().is_ok(), "it was attached to, at last");
        assert!(matches!(consumer.try_receive(), Err(_) | Ok(None)));
        self.source.0.send(b"y").unwrap();
        assert!(matches!(self.feed.receive_timeout(DEADLINE).unwrap(), Some(FeedEvent::Record(_))));
        assert_eq!(self.tap.receive_timeout(DEADLINE).unwrap().unwrap()[..], *b"y");
        assert!(matches!(self.searching.try_receive(), Err(FeedError::Empty)));
        let mut ticket = self.caller.send(b"x", DEADLINE).unwrap();
        self.service.receive_timeout(DEADLINE).unwrap().reply(b"y").unwrap();
        assert_eq!(self.caller.wait_timeout(&mut ticket, DEADLINE).unwrap().unwrap()[..], *b"y");
        self.distributor.send_timeout(To::MostRoom, b"x", DEADLINE).unwrap();
        assert_eq!(self.worker.receive_timeout(DEADLINE).unwrap().unwrap()[..], *b"x");
        assert_eq!(self.parcel.buffer(0), Some(&[0; 8][..]));
        assert_eq!(self.selector.try_wait(), Err(ReceiveError::Empty));
    }
}

#[test]
fn what_a_forked_child_does_with_any_shape_is_nothing_to_the_parent() {
    isolated("what_a_forked_child_does_with_any_shape_is_nothing_to_the_parent", || {
        let (mut shapes, client) = Shapes::new();
        assert!(in_child(|| shapes.are_all_refused()));
        let mut all = Some(shapes);
        assert!(in_child(|| {
            drop(all.take());
            true
        }));
        all.unwrap().go_on(client);
    });
}

/// A child that lives until it is killed, on drop.
struct Sleeper(rustix::process::Pid);

impl Sleeper {
    fn fork() -> Self {
        // SAFETY: the child calls nothing but alarm and pause, which are async-signal-safe, until its time is up.
        let pid = unsafe { libc::fork() };
        if pid == 0 {
            // SAFETY: alarm takes any number.
            unsafe { libc::alarm(60) };
            loop {
                // SAFETY: pause takes nothing.
                unsafe { libc::pause() };
            }
        }
        Self(rustix::process::Pid::from_raw(pid).expect("fork succeeds"))
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        rustix::process::kill_process(self.0, rustix::process::Signal::KILL).unwrap();
        rustix::process::waitpid(Some(self.0), rustix::process::WaitOptions::empty()).unwrap();
    }
}

#[test]
fn whoever_leaves_has_left_though_a_forked_child_lives() {
    isolated("whoever_leaves_has_left_though_a_forked_child_lives", || {
        let address = format!("@{}", unique_name());
        let producer = LaneOptions::new("lane").capacity(4096).create().unwrap();
        let server = Server::listen(&*address, &[&producer]).unwrap();
        let consumer = Consumer::connect(&*address).unwrap();
        let session = Session::connect(&*address).unwrap();
        server.wait_for_sessions(1, Duration::from_secs(10)).unwrap();
        let _child = Sleeper::fork();
        drop(consumer);
        wait_until("the session is over", || server.stats().sessions == 0 && producer.consumer_count() == 0);
        drop(session);
        wait_until("the handshake is over", || server.stats().refused == 1);
        assert_eq!(server.stats().evicted, 0);
    });
}

/// The thread of this process that serves consumers.
fn steward() -> rustix::process::Pid {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap().map(|task| task.unwrap());
    let name = |path: PathBuf| std::fs::read_to_string(path.join("comm")).unwrap();
    let mut stewards = tasks.filter(|task| name(task.path()).trim_end() == "fdring-steward");
    let number = stewards.next().expect("there is a server").file_name().into_string().unwrap().parse().unwrap();
    rustix::process::Pid::from_raw(number).unwrap()
}

#[test]
fn a_server_sleeps_though_a_forked_child_has_what_it_closed() {
    isolated("a_server_sleeps_though_a_forked_child_has_what_it_closed", || {
        const LONG: Duration = Duration::from_millis(100);
        let address = format!("@{}", unique_name());
        let mut producer = LaneOptions::new("lane").capacity(4096).create().unwrap();
        let server = Server::listen(&*address, &[&producer]).unwrap();
        let connect = || Session::connect(&*address).unwrap();
        let (leaver, mut stayer, session) =
            (connect().attach_one(Attach::new()).unwrap(), connect().attach_one(Attach::new()).unwrap(), connect());
        server.wait_for_sessions(2, Duration::from_secs(10)).unwrap();
        let steward = steward();
        let (_child, start) = (Sleeper::fork(), Instant::now());
        drop(leaver);
        wait_until("the session is over", || server.stats().sessions == 1 && producer.consumer_count() == 1);
        wait_until_thread_has_slept_for(steward, LONG);
        drop(session);
        wait_until("the handshake is over", || server.stats().refused == 1);
        wait_until_thread_has_slept_for(steward, LONG);
        drop(server);
        wait_until_thread_has_slept_for(steward, LONG);
        assert!(start.elapsed() < Duration::from_secs(30), "it slept once the child had ended");
        producer.send(b"still served").unwrap();
        assert_eq!(stayer.receive().unwrap().unwrap()[..], *b"still served");
    });
}

#[test]
fn what_a_forked_child_drops_is_no_thread_of_its_own() {
    isolated("what_a_forked_child_drops_is_no_thread_of_its_own", || {
        let address = format!("@{}", unique_name());
        let producer = LaneOptions::new("lane").capacity(4096).create().unwrap();
        let mut server = Some(Server::listen(&*address, &[&producer]).unwrap());
        assert!(in_child(|| {
            // libc reuses the stacks of the threads that the child does not have, and with them what names a thread.
            let (go, wait) = std::sync::mpsc::sync_channel::<()>(0);
            let wait = std::sync::Arc::new(std::sync::Mutex::new(wait));
            let begin = |kib: usize| {
                let wait = std::sync::Arc::clone(&wait);
                let work = move || _ = wait.lock().unwrap().recv();
                std::thread::Builder::new().stack_size(kib << 10).spawn(work).unwrap()
            };
            let own: Vec<_> = [64, 128, 256, 512, 1024, 2048, 4096].map(begin).into_iter().collect();
            drop(server.take());
            drop(go);
            // Panics for a thread that was detached meanwhile.
            own.into_iter().all(|thread| thread.join().is_ok())
        }));
    });
}

#[test]
fn what_is_being_built_is_not_sealed_by_a_forked_child() {
    isolated("what_is_being_built_is_not_sealed_by_a_forked_child", || {
        for len_bytes in [0, 1, 5000] {
            let mut builder = Some(SealedBuilder::new("built", len_bytes).unwrap());
            assert!(in_child(|| matches!(builder.take().unwrap().seal(), Err(Error::Forked))), "{len_bytes} bytes");
            assert!(!in_child(|| builder.as_ref().unwrap().is_empty()), "reading {len_bytes} bytes there panics");
            assert_eq!(builder.unwrap().seal().unwrap().len() as u64, len_bytes);
        }
    });
}

#[test]
fn a_forked_child_can_have_lanes_of_its_own() {
    isolated("a_forked_child_can_have_lanes_of_its_own", || {
        let address = format!("@{}", unique_name());
        let mut producer = LaneOptions::new("parent").capacity(4096).create().unwrap();
        let _server = Server::listen(&*address, &[&producer]).unwrap();
        assert!(in_child(|| {
            let Ok(mut own) = LaneOptions::new("child").capacity(4096).create() else { return false };
            own.send(b"x").is_ok() && producer.send(b"x") == Err(SendError::Forked)
        }));
    });
}

#[test]
fn a_record_in_a_forked_child_has_no_time() {
    isolated("a_record_in_a_forked_child_has_no_time", || {
        let address = format!("@{}", unique_name());
        let mut producer = LaneOptions::new("lane").capacity(4096).stamped(true).create().unwrap();
        let _server = Server::listen(&*address, &[&producer]).unwrap();
        let mut consumer = Consumer::connect(&*address).unwrap();
        producer.send(b"before").unwrap();
        let record = consumer.receive().unwrap().unwrap();
        assert!(record.published_at().is_some());
        // The copy is the child's, and the ring is not mapped there.
        assert!(in_child(|| record[..] == *b"before" && record.published_at().is_none()));
        // The next call says why.
        assert!(in_child(|| consumer.has_news() && consumer.try_receive().is_err()));
        assert!(!consumer.has_news());
        assert!(in_child(|| {
            producer.send(b"x") == Err(SendError::Forked)
                && matches!(producer.reserve(1), Err(SendError::Forked))
                && matches!(producer.reserve_window(&[1]), Err(SendError::Forked))
                && matches!(producer.batch(), Err(SendError::Forked))
        }));
        let slot = producer.reserve(8).unwrap();
        let reserved = std::cell::Cell::new(Some(slot));
        assert!(in_child(|| reserved.take().is_some_and(|slot| slot.commit() == 64)));
        assert_eq!(producer.published(), 32);
        producer.send(b"after").unwrap();
        assert!(consumer.receive().unwrap().unwrap().published_at().is_some());
    });
}
