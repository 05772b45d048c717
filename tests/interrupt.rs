//! Interrupters: every wait ends, from a signal handler or from another thread, and nothing is lost by it.
#![allow(unsafe_code, reason = "the handler, the masks and the signals")]

mod common;
#[path = "common/hostile.rs"]
mod hostile;

use common::{DEADLINE, KillOnDrop, isolated, role, unique_name};
use common::{wait_until_process_has_slept_for, wait_until_process_sleeps, wait_until_thread_has_slept_for};
use fdring::collect::SessionListener;
use fdring::errors::{ErrorKind, ReceiveError, SendError, TapError};
use fdring::options::{LaneOptions, NoConsumer, ServerOptions, SessionListenerOptions, SessionOptions};
use fdring::select::{Selectable, Selector};
use fdring::{Attach, Consumer, Error, Interrupter, Producer, Server, Session};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process};
use std::io::{BufRead, BufReader, Write};
use std::os::fd::AsFd;
use std::process::Stdio;
use std::sync::{Barrier, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

/// No wait here ends by itself.
const HOUR: Duration = Duration::from_secs(3600);
/// One that looks every 10 ms, for as long as it waits, sleeps for so long in between.
const BETWEEN_LOOKS: Duration = Duration::from_millis(3);
/// How late a wait may end for want of a processor.
const LATE: Duration = Duration::from_secs(15);

static STOP: OnceLock<Interrupter> = OnceLock::new();

extern "C" fn on_interrupt(_: libc::c_int) {
    if let Some(stop) = STOP.get() {
        stop.interrupt();
    }
}

/// Has SIGINT interrupt; who handles it is this thread, or another one.
fn interrupt_on_signal(elsewhere: bool) -> Interrupter {
    let stop = STOP.get_or_init(|| Interrupter::new().unwrap());
    // SAFETY: all zeros are a sigaction: no flags.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = on_interrupt as *const () as usize;
    // SAFETY: the handler may be called at any moment, and the old action is not asked for.
    assert_eq!(unsafe { libc::sigaction(libc::SIGINT, &action, std::ptr::null_mut()) }, 0);
    if elsewhere {
        thread::spawn(|| while poll(&mut [], None).is_err() {});
        // SAFETY: all zeros are an empty set.
        let mut signals: libc::sigset_t = unsafe { std::mem::zeroed() };
        // SAFETY: the set is there.
        assert_eq!(unsafe { libc::sigaddset(&mut signals, libc::SIGINT) }, 0);
        // SAFETY: as above, and the old mask is not asked for.
        assert_eq!(unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &signals, std::ptr::null_mut()) }, 0);
    }
    stop.clone()
}

fn address() -> String {
    format!("@{}", unique_name())
}

/// Says that the next call waits.
fn waits() {
    println!("waits");
    std::io::stdout().flush().unwrap();
}

fn full_lane(stop: &Interrupter, address: &str) -> (Producer, Server, Consumer) {
    let mut producer = LaneOptions::new("lane").capacity(4096).interrupter(stop).create().unwrap();
    let server = Server::listen(address, [&producer]).unwrap();
    let consumer = Consumer::connect(address).unwrap();
    while producer.try_send(&[1; 56]).is_ok() {}
    (producer, server, consumer)
}

/// A consumer that `stop` interrupts, of a lane where nothing is.
fn idle_lane(stop: &Interrupter, address: &str) -> (Producer, Server, Session) {
    let producer = Producer::create("lane").unwrap();
    let server = Server::listen(address, [&producer]).unwrap();
    let session = SessionOptions::new().interrupter(stop).connect(address).unwrap();
    (producer, server, session)
}

fn receives(stop: &Interrupter, address: &str) {
    let (mut producer, _server, session) = idle_lane(stop, address);
    let mut consumer = session.attach_one(Attach::new()).unwrap();
    waits();
    assert_eq!(consumer.receive().unwrap_err(), ReceiveError::Interrupted);
    assert_eq!(consumer.receive_many(|_| ()), Err(ReceiveError::Interrupted), "it stands");
    assert_eq!(consumer.receive_timeout(HOUR).unwrap_err(), ReceiveError::Interrupted);
    assert_eq!(consumer.try_receive().unwrap_err(), ReceiveError::Empty, "which does not wait");
    producer.send(b"one").unwrap();
    assert_eq!(&consumer.receive().unwrap().unwrap()[..], b"one", "what is there comes first");
    stop.clear();
    producer.send(b"two").unwrap();
    producer.finish();
    assert_eq!(&consumer.receive().unwrap().unwrap()[..], b"two");
    stop.interrupt();
    assert!(consumer.receive().unwrap().is_none(), "the end comes first, too");
}

fn taps(stop: &Interrupter, address: &str) {
    let (mut producer, _server, session) = idle_lane(stop, address);
    let mut tap = session.tap_one(Attach::new()).unwrap();
    waits();
    assert_eq!(tap.receive().unwrap_err(), TapError::Interrupted);
    assert_eq!(tap.receive_newest().unwrap_err(), TapError::Interrupted);
    assert_eq!(tap.try_receive().unwrap_err(), TapError::Empty, "which does not wait");
    assert_eq!(tap.arm(), Err(TapError::Interrupted));
    producer.send(b"one").unwrap();
    assert_eq!(&tap.receive().unwrap().unwrap()[..], b"one", "what is there comes first");
    stop.clear();
    assert_eq!(tap.arm(), Ok(true));
    producer.send(b"two").unwrap();
    assert_eq!(&tap.receive().unwrap().unwrap()[..], b"two");
}

fn reserves(stop: &Interrupter, address: &str) {
    let (mut producer, _server, mut consumer) = full_lane(stop, address);
    waits();
    assert_eq!(producer.reserve(56).unwrap_err(), SendError::Interrupted);
    assert_eq!(producer.send_timeout(&[2; 56], HOUR), Err(SendError::Interrupted), "it stands");
    assert!(matches!(producer.try_send(&[2; 56]), Err(SendError::Full { .. })), "which does not wait");
    assert_eq!(producer.batch().unwrap().reserve(56).unwrap_err(), SendError::Interrupted);
    assert_eq!(producer.reserve_window(&[56]).unwrap_err(), SendError::Interrupted);
    assert_eq!(consumer.try_receive_many(|record| assert_eq!(record[..], [1; 56])).unwrap(), 64);
    producer.send(&[2; 56]).expect("there is room, so nothing is waited for");
    stop.clear();
    producer.send(&[3; 56]).unwrap();
    for byte in [2, 3] {
        assert_eq!(consumer.receive().unwrap().unwrap()[..], [byte; 56], "nothing is lost, nothing comes twice");
    }
}

fn waits_for_consumers(stop: &Interrupter, address: &str) {
    let producer = LaneOptions::new("lane").interrupter(stop).create().unwrap();
    let _server = Server::listen(address, [&producer]).unwrap();
    waits();
    let error = producer.wait_for_consumers(1, HOUR).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Interrupted);
    assert!(error.to_string().starts_with("interrupted while waiting for 1 consumers of lane lane"), "{error}");
    stop.clear();
    let _consumer = Consumer::connect(address).unwrap();
    producer.wait_for_consumers(1, DEADLINE).unwrap();
}

fn requires_consumers(stop: &Interrupter, address: &str) {
    let options = LaneOptions::new("lane").no_consumer(NoConsumer::WaitFor(1)).interrupter(stop);
    let mut producer = options.create().unwrap();
    let _server = Server::listen(address, [&producer]).unwrap();
    waits();
    assert_eq!(producer.send(b"x"), Err(SendError::Interrupted));
    stop.clear();
    let mut consumer = Consumer::connect(address).unwrap();
    producer.send(b"y").unwrap();
    assert_eq!(&consumer.receive().unwrap().unwrap()[..], b"y");
}

fn waits_for_releases(stop: &Interrupter, address: &str) {
    let (mut producer, _server, mut consumer) = full_lane(stop, address);
    let end = producer.published();
    waits();
    assert_eq!(producer.wait_released(end, HOUR), Err(SendError::Interrupted));
    stop.clear();
    while consumer.try_receive().is_ok() {}
    producer.wait_released(end, DEADLINE).unwrap();
    producer.send(b"x").unwrap();
    stop.interrupt();
    assert_eq!(producer.finish_and_wait(HOUR), Err(SendError::Interrupted));
    assert_eq!(&consumer.receive().unwrap().unwrap()[..], b"x");
    assert!(consumer.receive().unwrap().is_none(), "it has finished all the same");
}

fn finishes(stop: &Interrupter, address: &str) {
    let (producer, _server, mut consumer) = full_lane(stop, address);
    waits();
    assert_eq!(producer.finish_and_wait(HOUR), Err(SendError::Interrupted));
    assert_eq!(consumer.try_receive_many(|_| ()).unwrap(), 64);
    assert!(consumer.try_receive().unwrap().is_none(), "it has finished all the same");
}

fn selects(stop: &Interrupter, address: &str) {
    let mut producer = Producer::create("lane").unwrap();
    let _server = Server::listen(address, [&producer]).unwrap();
    let mut selector = Selector::new().unwrap();
    let key = selector.add(Consumer::connect(address).unwrap()).unwrap();
    selector.set_interrupter(&Interrupter::new().unwrap()).unwrap();
    selector.set_interrupter(stop).unwrap();
    waits();
    assert_eq!(selector.wait(), Err(ReceiveError::Interrupted));
    assert_eq!(selector.wait_timeout(HOUR), Err(ReceiveError::Interrupted), "it stands");
    assert_eq!(selector.try_wait(), Err(ReceiveError::Interrupted), "an outer loop learns of it");
    producer.send(b"x").unwrap();
    assert_eq!(selector.wait(), Ok(key), "what is there comes first");
    assert_eq!(&selector.get_mut(key).unwrap().receive().unwrap().unwrap()[..], b"x");
    stop.clear();
    assert_eq!(selector.try_wait(), Err(ReceiveError::Empty));
    producer.send(b"y").unwrap();
    assert_eq!(selector.wait(), Ok(key));
}

/// An endpoint's own interrupter ends the wait of the selector that has it.
fn selects_one_that_is_interrupted(stop: &Interrupter, address: &str) {
    let (mut producer, _server, session) = idle_lane(stop, address);
    let mut selector = Selector::new().unwrap();
    let key = selector.add(session.attach_one(Attach::new()).unwrap()).unwrap();
    waits();
    assert_eq!(selector.wait(), Err(ReceiveError::Interrupted));
    assert_eq!(selector.wait(), Err(ReceiveError::Interrupted), "it stands");
    stop.clear();
    producer.send(b"x").unwrap();
    assert_eq!(selector.wait(), Ok(key));
}

/// One that is interrupted and has nothing keeps no other from being found that has something, whichever comes first.
fn selects_another_than_the_one_that_is_interrupted(stop: &Interrupter, address: &str) {
    let (_idle, _server, session) = idle_lane(stop, address);
    let mut selector = Selector::new().unwrap();
    let idle = selector.add(session.attach_one(Attach::new()).unwrap()).unwrap();
    let (mut producer, other) = (Producer::create("other").unwrap(), format!("{address}-other"));
    let _other = Server::listen(&*other, [&producer]).unwrap();
    let busy = selector.add(Consumer::connect(&*other).unwrap()).unwrap();
    waits();
    assert_eq!(selector.wait(), Err(ReceiveError::Interrupted));
    for record in 0..3u8 {
        producer.send(&[record]).unwrap();
        assert_eq!(selector.wait(), Ok(busy), "what is there comes first");
        assert_eq!(selector.get_mut(busy).unwrap().receive().unwrap().unwrap()[..], [record]);
        assert_eq!(selector.wait(), Err(ReceiveError::Interrupted));
    }
    stop.clear();
    assert_ne!(idle, busy);
    assert_eq!(selector.try_wait(), Err(ReceiveError::Empty));
}

fn is_interrupted<T: std::fmt::Debug>(outcome: Result<T, Error>) {
    assert!(matches!(&outcome, Err(error) if error.kind() == ErrorKind::Interrupted), "{outcome:?}");
}

fn connects_with_patience(stop: &Interrupter, address: &str) {
    let connect = || SessionOptions::new().patience(HOUR).interrupter(stop).connect(address);
    waits();
    is_interrupted(connect());
    stop.clear();
    let producer = Producer::create("lane").unwrap();
    let _server = Server::listen(address, [&producer]).unwrap();
    assert_eq!(connect().unwrap().lanes().len(), 1);
}

fn connects_to_one_that_is_silent(stop: &Interrupter, address: &str) {
    let _listener = hostile::listen(address);
    waits();
    is_interrupted(SessionOptions::new().deadline(HOUR).interrupter(stop).connect(address));
}

fn connects_to_a_full_backlog(stop: &Interrupter, address: &str) {
    let _listener = hostile::listen(address);
    let _others = hostile::fill_backlog(address);
    waits();
    is_interrupted(SessionOptions::new().deadline(HOUR).interrupter(stop).connect(address));
}

fn serves(stop: &Interrupter, address: &str) {
    let producer = Producer::create("lane").unwrap();
    let server = ServerOptions::new().interrupter(stop).listen(address, [&producer]).unwrap();
    waits();
    is_interrupted(server.wait_for_sessions(1, HOUR));
    stop.clear();
    let _consumer = Consumer::connect(address).unwrap();
    server.wait_for_sessions(1, DEADLINE).unwrap();
}

fn accepts(stop: &Interrupter, address: &str) {
    let listener = SessionListenerOptions::new().interrupter(stop).listen(address).unwrap();
    waits();
    is_interrupted(listener.accept());
    is_interrupted(listener.accept_timeout(HOUR));
    assert!(listener.try_accept().unwrap().is_none(), "which does not wait");
    stop.clear();
    thread::scope(|scope| {
        let producer = scope.spawn(|| {
            let producer = Producer::create("lane").unwrap();
            let server = producer.connect(address).unwrap();
            (producer, server)
        });
        let mut consumer = listener.accept().unwrap().attach_one(Attach::new()).unwrap();
        let _kept = producer.join().unwrap();
        stop.interrupt();
        assert_eq!(
            consumer.receive().unwrap_err(),
            ReceiveError::Interrupted,
            "it ends the waits of its sessions, too"
        );
    });
}

fn offers(stop: &Interrupter, address: &str) {
    let listener = SessionListener::listen(address).unwrap();
    let producer = Producer::create("lane").unwrap();
    let options = ServerOptions::new().deadline(HOUR).interrupter(stop);
    waits();
    is_interrupted(options.clone().connect(address, [&producer]).map(drop)); // nobody accepts
    stop.clear();
    thread::scope(|scope| {
        scope.spawn(|| while listener.accept().unwrap().attach_one(Attach::new()).is_err() {});
        drop(options.connect(address, [&producer]).unwrap());
    });
}

fn selects_servers(stop: &Interrupter, address: &str) {
    let producer = Producer::create("lane").unwrap();
    let server = ServerOptions::new().interrupter(stop).listen(address, [&producer]).unwrap();
    assert!(server.arm().unwrap(), "nothing has happened");
    drop(Consumer::connect(address).unwrap());
    let timeout = Timespec::try_from(DEADLINE).unwrap();
    assert_eq!(poll(&mut [PollFd::new(&server, PollFlags::IN)], Some(&timeout)), Ok(1), "somebody was there");
    while server.stats().left == 0 || server.stats().sessions > 0 || !server.arm().unwrap() {
        thread::yield_now();
    }
    selects_what_listens(stop, server, || drop(Consumer::connect(address).unwrap()));
}

fn selects_listeners(stop: &Interrupter, address: &str) {
    let listener = SessionListenerOptions::new().interrupter(stop).listen(address).unwrap();
    let producer = Producer::create("lane").unwrap();
    let quick = ServerOptions::new().deadline(Duration::from_secs(2));
    // Nobody attaches to it; its session is there all the same.
    selects_what_listens(stop, listener, || drop(quick.connect(address, [&producer])));
}

/// Its own interrupter makes its descriptor readable, so that the selector's wait ends.
fn selects_what_listens<E: Selectable>(stop: &Interrupter, listener: E, knock: impl FnOnce()) {
    let is_readable =
        |fd: &dyn AsFd| poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&Timespec::default())).unwrap() == 1;
    let mut selector = Selector::new().unwrap();
    let key = selector.add(listener).unwrap();
    assert_eq!(selector.try_wait(), Err(ReceiveError::Empty));
    assert!(!is_readable(selector.get(key).unwrap()));
    waits();
    // The last news of a consumer that was there may come only now.
    let outcome = (0..3).map(|_| selector.wait()).find(|outcome| *outcome != Ok(key));
    assert_eq!(outcome, Some(Err(ReceiveError::Interrupted)));
    assert_eq!(selector.wait_timeout(HOUR), Err(ReceiveError::Interrupted), "it stands");
    assert!(is_readable(selector.get(key).unwrap()));
    knock();
    assert_eq!(selector.wait(), Ok(key), "what is there comes first");
    stop.clear();
    assert!(!matches!(selector.try_wait(), Err(ReceiveError::Interrupted)));
}

/// A test of one wait, of an endpoint at this address.
type Wait = fn(&Interrupter, &str);

/// Each wait that the library has, by what waits.
const WAITS: [(&str, Wait); 19] = [
    ("receives", receives),
    ("taps", taps),
    ("reserves", reserves),
    ("waits_for_consumers", waits_for_consumers),
    ("requires_consumers", requires_consumers),
    ("waits_for_releases", waits_for_releases),
    ("finishes", finishes),
    ("selects", selects),
    ("selects_one_that_is_interrupted", selects_one_that_is_interrupted),
    ("selects_another_than_the_one_that_is_interrupted", selects_another_than_the_one_that_is_interrupted),
    ("connects_with_patience", connects_with_patience),
    ("connects_to_one_that_is_silent", connects_to_one_that_is_silent),
    ("connects_to_a_full_backlog", connects_to_a_full_backlog),
    ("serves", serves),
    ("accepts", accepts),
    ("offers", offers),
    ("selects_servers", selects_servers),
    ("selects_listeners", selects_listeners),
    ("receives_with_spin", receives_with_spin),
];

/// One that spins for as long as the test takes learns of it without sleeping.
fn receives_with_spin(stop: &Interrupter, address: &str) {
    let producer = Producer::create("lane").unwrap();
    let _server = Server::listen(address, [&producer]).unwrap();
    let session = SessionOptions::new().spin(HOUR).interrupter(stop).connect(address).unwrap();
    let mut consumer = session.attach_one(Attach::new()).unwrap();
    waits();
    assert_eq!(consumer.receive().unwrap_err(), ReceiveError::Interrupted);
    drop(producer);
}

/// Runs each of the waits in a process of its own, which gets a SIGINT while it waits.
fn interrupt_each(test: &str, elsewhere: bool) {
    if let Some(role) = role() {
        let (_, wait) = WAITS.iter().find(|(name, _)| *name == role).expect("one of the waits");
        let stop = interrupt_on_signal(elsewhere);
        wait(&stop, &address());
        return;
    }
    for (name, _) in WAITS {
        let mut child = common::command(test, name).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let pid = Pid::from_child(&child);
        let child = KillOnDrop(child);
        assert!(lines.any(|line| line.unwrap().ends_with("waits")), "{name} ended before it waited");
        let number = pid.as_raw_nonzero().get() as u32;
        match name {
            "receives_with_spin" => {}
            name if name.starts_with("connects") || name == "offers" => {
                wait_until_process_has_slept_for(number, BETWEEN_LOOKS);
            }
            _ => wait_until_process_sleeps(number),
        }
        let begin = Instant::now();
        kill_process(pid, Signal::INT).unwrap();
        let status = child.wait_for(LATE).unwrap_or_else(|| panic!("{name} goes on {LATE:?} after the signal"));
        println!("{name} ended {:?} after the signal", begin.elapsed());
        assert!(status.success(), "{name}: {status}");
    }
}

#[test]
fn ctrl_c_ends_every_wait_at_once_and_nothing_is_lost() {
    interrupt_each("ctrl_c_ends_every_wait_at_once_and_nothing_is_lost", false);
}

#[test]
fn ctrl_c_that_another_thread_handles_ends_every_wait_too() {
    interrupt_each("ctrl_c_that_another_thread_handles_ends_every_wait_too", true);
}

/// Many threads that are about to wait, each at another step, when the interrupt comes.
#[test]
fn an_interrupt_between_the_look_and_the_sleep_is_not_lost() {
    const ROUNDS: u32 = 2000;
    let (stop, names) = (Interrupter::new().unwrap(), [address(), address(), address()]);
    let sleeps_at_once = || LaneOptions::new("lane").capacity(4096).spin(Duration::ZERO).interrupter(&stop);
    let mut full = sleeps_at_once().create().unwrap();
    let _full_server = Server::listen(&*names[0], [&full]).unwrap();
    let _reader = Consumer::connect(&*names[0]).unwrap();
    while full.try_send(&[0; 56]).is_ok() {}
    let lonely = sleeps_at_once().create().unwrap();
    let quiet = Producer::create("quiet").unwrap();
    let server = ServerOptions::new().interrupter(&stop).listen(&*names[1], [&quiet]).unwrap();
    let options = || SessionOptions::new().spin(Duration::ZERO).interrupter(&stop);
    let mut consumer = options().connect(&*names[1]).unwrap().attach_one(Attach::new()).unwrap();
    let mut tap = options().connect(&*names[1]).unwrap().tap_one(Attach::new()).unwrap();
    let mut selector = Selector::new().unwrap();
    selector.add(Consumer::connect(&*names[1]).unwrap()).unwrap();
    selector.set_interrupter(&stop).unwrap();
    let listener = SessionListenerOptions::new().interrupter(&stop).listen(&*names[2]).unwrap();

    let mut waits: [Box<dyn FnMut() -> ErrorKind + Send>; 7] = [
        Box::new(|| full.send_timeout(&[0; 56], LATE).unwrap_err().kind()),
        Box::new(|| lonely.wait_for_consumers(1, LATE).unwrap_err().kind()),
        Box::new(|| server.wait_for_sessions(9, LATE).unwrap_err().kind()),
        Box::new(|| consumer.receive_timeout(LATE).unwrap_err().kind()),
        Box::new(|| tap.receive_timeout(LATE).unwrap_err().kind()),
        Box::new(|| selector.wait_timeout(LATE).unwrap_err().kind()),
        Box::new(|| listener.accept_timeout(LATE).unwrap_err().kind()),
    ];
    let meet = Barrier::new(waits.len() + 1);
    thread::scope(|scope| {
        for (number, wait) in waits.iter_mut().enumerate() {
            let meet = &meet;
            scope.spawn(move || {
                for round in 0..ROUNDS {
                    meet.wait();
                    let begin = Instant::now();
                    assert_eq!(wait(), ErrorKind::Interrupted, "wait {number} of round {round}");
                    assert!(begin.elapsed() < LATE, "wait {number} of round {round} ended by its time alone");
                    meet.wait();
                }
            });
        }
        for round in 0..ROUNDS {
            meet.wait();
            // The interrupt comes at another moment each time.
            (0..round % 64 * 50).for_each(|_| std::hint::spin_loop());
            stop.interrupt();
            meet.wait();
            stop.clear();
        }
    });
}

/// As before Linux 5.16.
#[test]
fn a_producer_that_can_wait_for_one_word_only_is_interrupted_too() {
    isolated("a_producer_that_can_wait_for_one_word_only_is_interrupted_too", || {
        common::kernel::deny(libc::SYS_futex_waitv, &[], Errno::NOSYS);
        let stop = Interrupter::new().unwrap();
        let (mut producer, _server, _consumer) = full_lane(&stop, &address());
        let lonely = LaneOptions::new("lane").interrupter(&stop).create().unwrap();
        thread::scope(|scope| {
            let (sleeper, stop) = (rustix::thread::gettid(), &stop);
            scope.spawn(move || {
                wait_until_thread_has_slept_for(sleeper, BETWEEN_LOOKS);
                stop.interrupt();
            });
            assert_eq!(producer.send_timeout(&[0; 56], DEADLINE), Err(SendError::Interrupted));
        });
        is_interrupted(lonely.wait_for_consumers(1, DEADLINE));
    });
}

#[test]
fn a_forked_child_interrupts_nobody() {
    isolated("a_forked_child_interrupts_nobody", || {
        let stop = Interrupter::new().unwrap();
        // SAFETY: the child calls nothing that is not allowed after a fork, and ends at once.
        match unsafe { libc::fork() } {
            0 => {
                stop.interrupt();
                // SAFETY: ends this process.
                unsafe { libc::_exit(i32::from(stop.is_interrupted())) };
            }
            child => {
                let mut status = 0;
                // SAFETY: the child is this process's, and `status` is there.
                assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
                assert_eq!(status, 0, "the child's own copy stays as it was");
            }
        }
        assert!(!stop.is_interrupted());
        let mut waits = [PollFd::new(&stop, PollFlags::IN)];
        assert_eq!(poll(&mut waits, Some(&Timespec::default())), Ok(0), "nor is the descriptor readable");
    });
}
