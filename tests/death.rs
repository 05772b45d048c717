//! Ends of all kinds, across processes: the dead hold nobody up, and a reader learns exactly how the lane ended.
#![allow(clippy::forget_non_drop, reason = "forgetting is to stay harmless if they ever get a Drop")]

mod common;
#[path = "common/peer.rs"]
mod peer;

use common::stopwatch::Stopwatch;
use common::{DEADLINE, census, isolated, once_it_is_dead, role, unique_name, wait_until};
use fdring::{
    Attach, Consumer, Producer, Server, Session,
    errors::{ReceiveError, SendError, TapError},
    options::{LaneOptions, SessionOptions},
};
use peer::{Peer, argument, say, told, wait_for_the_end};
use rustix::event::{Timespec, poll};
use rustix::process::{Pid, Signal, kill_process};
use std::time::{Duration, Instant};

/// How soon after a death everyone goes on, by a stopwatch: a second is promised.
const SOON: Duration = Duration::from_secs(3);
/// How long a process that hangs up lives on: less than is waited for its end.
const MOMENT: Duration = Duration::from_millis(20);
const FOREVER: Duration = Duration::from_secs(100_000_000);

fn lane(capacity: u64) -> (Producer, Server, String) {
    let producer = LaneOptions::new("lane").capacity(capacity).create().unwrap();
    let address = format!("@{}", unique_name());
    let server = Server::listen(&*address, &[&producer]).unwrap();
    (producer, server, address)
}

/// Fills the lane until it is full; what says so.
fn fill(producer: &mut Producer) -> SendError {
    loop {
        if let Err(error) = producer.try_send(&[7; 56]) {
            return error;
        }
    }
}

/// A consumer that reads a record and then nothing more, in a process of its own that dies.
#[allow(unsafe_code, reason = "vouches for the producer of this test")]
fn idle_consumer() {
    let argument = argument();
    let (address, kind) = argument.split_once(' ').unwrap();
    let session = Session::connect(address).unwrap();
    // SAFETY: the producer is this crate's, in the process that started this one.
    let how = if kind == "copying" { Attach::new() } else { unsafe { Attach::new().in_place() } };
    let mut consumer = session.attach_one(how).unwrap();
    let child = (kind == "forking").then(fork_a_sleeper);
    say(&child.map_or("alone".to_owned(), |pid| pid.to_string()));
    let _record = consumer.receive().unwrap().unwrap();
    say("holding");
    wait_for_the_end()
}

/// A child that inherits all there is, and waits to be killed; its process id.
#[allow(unsafe_code, reason = "fork")]
fn fork_a_sleeper() -> i32 {
    // SAFETY: the child calls nothing but alarm and pause, which are async-signal-safe, until its time is up.
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0, "fork: {}", std::io::Error::last_os_error());
    if pid == 0 {
        // SAFETY: alarm takes any number.
        unsafe { libc::alarm(2 * DEADLINE.as_secs() as u32) };
        loop {
            // SAFETY: pause takes nothing.
            unsafe { libc::pause() };
        }
    }
    pid
}

fn goes_on_after_the_death_of_a_consumer(test: &str, kind: &str) {
    if role().as_deref() == Some("consumer") {
        return idle_consumer();
    }
    isolated(test, || {
        let before = census();
        let (mut producer, server, address) = lane(4096);
        let with_server = census();
        let mut consumer = Peer::start(test, "consumer", &format!("{address} {kind}"));
        let forked = consumer.heard().parse().ok().and_then(Pid::from_raw);
        assert_eq!(forked.is_some(), kind == "forking");
        server.wait_for_sessions(1, DEADLINE).unwrap();
        producer.send(&[1]).unwrap();
        consumer.expect("holding");
        let SendError::Full { consumer: Some(holder) } = fill(&mut producer) else { panic!("it is full") };
        assert_eq!(holder.pid, Some(consumer.pid()));
        let blocked = std::thread::spawn(move || {
            producer.send_timeout(&[2; 56], DEADLINE).unwrap();
            producer
        });
        // Asleep, not spinning.
        wait_until("the producer sleeps", || sleeps_in_futex(&blocked));
        let killed = Stopwatch::start();
        consumer.kill();
        let mut producer = blocked.join().unwrap();
        assert!(killed.elapsed() < SOON, "{:?}", killed.elapsed());
        producer.send(&[3]).unwrap();
        wait_until("the session is over", || server.stats().sessions == 0);
        wait_until("nothing is left", || census() == with_server);
        // One that copies is put out if somebody looks at its memory as it dies, see proc_pid_maps(5).
        let evicted_max = usize::from(kind == "copying");
        assert_eq!(producer.consumer_count(), 0);
        assert!(server.stats().evicted as usize <= evicted_max);
        drop((producer, server));
        assert_eq!(census(), before);
        // Its time may be up.
        forked.into_iter().for_each(|child| _ = kill_process(child, Signal::KILL));
    });
}

/// Whether some thread of this process waits on a futex with `space_wait` set: seen from outside by the kernel.
fn sleeps_in_futex<T>(blocked: &std::thread::JoinHandle<T>) -> bool {
    assert!(!blocked.is_finished(), "it does not wait");
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let calls = tasks.filter_map(|task| std::fs::read_to_string(task.unwrap().path().join("syscall")).ok());
    // futex_waitv(2), or futex(2) before 5.16; the harness's main thread joins on a futex as well.
    calls.filter(|call| call.starts_with("449 ") || call.starts_with("202 ")).count() >= 2
}

#[test]
fn a_producer_goes_on_after_the_death_of_a_copying_consumer() {
    goes_on_after_the_death_of_a_consumer("a_producer_goes_on_after_the_death_of_a_copying_consumer", "copying");
}

#[test]
fn a_producer_goes_on_after_the_death_of_a_consumer_in_place() {
    goes_on_after_the_death_of_a_consumer("a_producer_goes_on_after_the_death_of_a_consumer_in_place", "in-place");
}

#[test]
fn a_producer_goes_on_although_the_dead_consumer_left_a_forked_child() {
    let test = "a_producer_goes_on_although_the_dead_consumer_left_a_forked_child";
    goes_on_after_the_death_of_a_consumer(test, "forking");
}

/// Hangs up behind the back of this process's sessions, which the library never does.
#[allow(unsafe_code, reason = "the sockets are known by their numbers alone")]
fn hang_up() {
    for (number, _) in census().into_iter().filter(|(_, target)| target.starts_with("socket:")) {
        // SAFETY: open, as the census has just seen, and nobody else closes it.
        let socket = unsafe { rustix::fd::BorrowedFd::borrow_raw(number) };
        // One that has hung up itself may be there still.
        let _ = rustix::net::shutdown(socket, rustix::net::Shutdown::Both);
    }
}

/// A consumer that goes on reading after it has hung up.
#[allow(unsafe_code, reason = "vouches for the producer of this test")]
fn consumer_that_hangs_up() {
    let argument = argument();
    let (address, kind) = argument.split_once(' ').unwrap();
    let session = Session::connect(address).unwrap();
    // SAFETY: the producer is this crate's, in the process that started this one.
    let how = if kind == "copying" { Attach::new() } else { unsafe { Attach::new().in_place() } };
    let mut consumer = session.attach_one(how).unwrap();
    say("ready");
    told();
    let record = consumer.receive().unwrap().unwrap();
    let bytes = record.to_vec();
    hang_up();
    say("hung up");
    told();
    assert_eq!(*record, *bytes, "what is held does not change");
    let evicted = loop {
        match consumer.try_receive() {
            Ok(Some(record)) => assert_eq!(record[..], [7; 56]),
            Ok(None) | Err(ReceiveError::Empty) => {}
            Err(error) => break matches!(error, ReceiveError::Evicted { .. }),
        }
    };
    say(if evicted { "evicted" } else { "dead" });
    told();
}

#[test]
fn a_reader_in_place_keeps_its_gate_until_nobody_maps_its_seat() {
    let test = "a_reader_in_place_keeps_its_gate_until_nobody_maps_its_seat";
    if role().is_some() {
        return consumer_that_hangs_up();
    }
    let (mut producer, server, address) = lane(4096);
    let mut consumer = Peer::start(test, "consumer", &format!("{address} in-place"));
    consumer.expect("ready");
    producer.send(&[1; 56]).unwrap();
    consumer.tell("read");
    consumer.expect("hung up");
    wait_until("the server has noticed", || server.stats().sessions == 0);
    fill(&mut producer);
    // Ten times as long as it takes to notice that nobody maps it.
    let error = producer.send_timeout(&[7; 56], Duration::from_millis(300)).unwrap_err();
    assert!(
        matches!(&error, SendError::TimedOut { consumer: Some(holder) } if holder.pid == Some(consumer.pid())),
        "{error}"
    );
    consumer.tell("compare");
    consumer.expect("dead");
    let killed = Stopwatch::start();
    consumer.kill();
    producer.send_timeout(&[2; 3000 / 2], DEADLINE).unwrap();
    assert!(killed.elapsed() < SOON, "{:?}", killed.elapsed());
    wait_until("the seat is gone", || producer.consumer_count() == 0);
    assert_eq!(server.stats().evicted, 0);
}

#[test]
fn a_copier_that_has_hung_up_goes_at_once_and_is_told() {
    let test = "a_copier_that_has_hung_up_goes_at_once_and_is_told";
    if role().is_some() {
        return consumer_that_hangs_up();
    }
    let (mut producer, server, address) = lane(4096);
    let mut consumer = Peer::start(test, "consumer", &format!("{address} copying"));
    consumer.expect("ready");
    producer.send(&[1; 56]).unwrap();
    consumer.tell("read");
    consumer.expect("hung up");
    let hung_up = Stopwatch::start();
    (0..1000).for_each(|_| producer.send_timeout(&[7; 56], DEADLINE).unwrap());
    assert!(hung_up.elapsed() < SOON, "{:?}", hung_up.elapsed());
    assert_eq!((producer.consumer_count(), server.stats().evicted), (0, 1));
    consumer.tell("compare");
    consumer.expect("evicted");
    consumer.finish();
}

/// A producer in a process of its own: sends what it is told, and ends as it is told.
fn producer_process() {
    let argument = argument();
    let mut producer = LaneOptions::new("lane").capacity(64 << 10).create().unwrap();
    let _server = Server::listen(&*argument, &[&producer]).unwrap();
    say("ready");
    loop {
        match told().as_str() {
            "100" => {
                (0..100u64).for_each(|n| producer.send(&n.to_le_bytes()).unwrap());
                say("sent");
            }
            "unpublished" => {
                let mut batch = producer.batch().unwrap();
                batch.send(b"never published").unwrap();
                std::mem::forget(batch);
                let slot = producer.reserve(100).unwrap();
                std::mem::forget(slot);
                say("sent");
            }
            "hang up" => {
                hang_up();
                say("hung up");
            }
            "hang up and end" => {
                hang_up();
                let moment = Timespec::try_from(MOMENT).unwrap();
                let _ = poll(&mut [], Some(&moment));
                std::process::exit(0);
            }
            "finish" => return producer.finish(),
            "abandon" => return producer.abandon(),
            "panic" => {
                let thread = std::thread::spawn(move || {
                    let _producer = producer;
                    panic!("as the test asks for");
                });
                assert!(thread.join().is_err());
                say("panicked");
                told();
                return;
            }
            _ => return,
        }
    }
}

/// What a consumer of `producer_process` sees after `order`, once it has read the 100 records.
fn end_of(test: &str, order: &str, options: SessionOptions, mut receive: impl FnMut(&mut Consumer) -> Seen) {
    let address = format!("@{}", unique_name());
    let mut process = Peer::start(test, "producer", &address);
    process.expect("ready");
    let mut consumer = options.connect(&*address).unwrap().attach_one(Attach::new()).unwrap();
    process.tell("100");
    process.expect("sent");
    process.tell("unpublished");
    process.expect("sent");
    let mut _process_that_ends: Option<Peer> = None;
    let death = match order {
        "kill" => {
            let killer = std::thread::spawn(move || {
                // Long enough for a reader that sleeps or spins to be waiting then; right in any case.
                let start = Instant::now();
                wait_until("readers have read", || start.elapsed() >= Duration::from_millis(30));
                process.kill();
                Stopwatch::start()
            });
            Some(killer)
        }
        order => {
            process.tell(order);
            std::mem::forget(process);
            None
        }
    };
    let mut next = 0u64;
    let seen = loop {
        match receive(&mut consumer) {
            Seen::Record(bytes) => {
                assert_eq!(bytes, next.to_le_bytes());
                next += 1;
            }
            seen => break seen,
        }
    };
    assert_eq!(next, 100, "everything that was published comes first");
    let is_dying = |seen: &Seen| order == "kill" && *seen == Seen::HungUp;
    let seen = if is_dying(&seen) { once_it_is_dead(|| receive(&mut consumer), is_dying) } else { seen };
    let expected = match order {
        "kill" => Seen::Dead,
        "panic" | "abandon" => Seen::Abandoned,
        _ => Seen::Finished,
    };
    assert_eq!(seen, expected);
    assert_eq!(receive(&mut consumer), expected, "and again");
    if let Some(killer) = death {
        let killed = killer.join().unwrap();
        assert!(killed.elapsed() < SOON, "it took {:?}", killed.elapsed());
    }
}

#[derive(Debug, PartialEq)]
enum Seen {
    Record(Vec<u8>),
    Finished,
    Dead,
    /// As a process does that is dying.
    HungUp,
    Abandoned,
}

impl Seen {
    fn of(outcome: Result<Option<fdring::Record<'_>>, ReceiveError>) -> Option<Self> {
        Some(match outcome {
            Ok(Some(record)) => Self::Record(record.to_vec()),
            Ok(None) => Self::Finished,
            Err(ReceiveError::PeerDead) => Self::Dead,
            Err(ReceiveError::HungUp) => Self::HungUp,
            Err(ReceiveError::Abandoned) => Self::Abandoned,
            Err(ReceiveError::Empty | ReceiveError::TimedOut) => return None,
            Err(error) => panic!("{error}"),
        })
    }

    /// Asks again until there is an answer.
    fn patiently(mut ask: impl FnMut() -> Option<Self>) -> Self {
        let start = Instant::now();
        loop {
            if let Some(seen) = ask() {
                return seen;
            }
            assert!(start.elapsed() < DEADLINE, "nobody says that the producer is dead");
        }
    }
}

fn blocked(consumer: &mut Consumer) -> Seen {
    Seen::of(consumer.receive()).unwrap()
}

#[test]
fn a_blocked_consumer_learns_that_the_producer_was_killed() {
    let test = "a_blocked_consumer_learns_that_the_producer_was_killed";
    if role().is_some() {
        return producer_process();
    }
    end_of(test, "kill", SessionOptions::new(), blocked);
}

#[test]
fn a_spinning_consumer_learns_that_the_producer_was_killed() {
    let test = "a_spinning_consumer_learns_that_the_producer_was_killed";
    if role().is_some() {
        return producer_process();
    }
    // Not without an end, so that a failure is one.
    end_of(test, "kill", SessionOptions::new().spin(Duration::from_secs(10)), blocked);
}

#[test]
fn a_consumer_that_only_tries_learns_that_the_producer_was_killed() {
    let test = "a_consumer_that_only_tries_learns_that_the_producer_was_killed";
    if role().is_some() {
        return producer_process();
    }
    end_of(test, "kill", SessionOptions::new(), |consumer| Seen::patiently(|| Seen::of(consumer.try_receive())));
}

#[test]
fn a_consumer_of_short_patience_learns_that_the_producer_was_killed() {
    let test = "a_consumer_of_short_patience_learns_that_the_producer_was_killed";
    if role().is_some() {
        return producer_process();
    }
    for patience in [Duration::ZERO, Duration::from_micros(10), Duration::from_millis(1)] {
        end_of(test, "kill", SessionOptions::new(), |consumer| {
            Seen::patiently(|| Seen::of(consumer.receive_timeout(patience)))
        });
    }
}

#[test]
fn a_consumer_with_a_far_deadline_learns_that_the_producer_was_killed() {
    let test = "a_consumer_with_a_far_deadline_learns_that_the_producer_was_killed";
    if role().is_some() {
        return producer_process();
    }
    for patience in [FOREVER, Duration::MAX] {
        let receive = |consumer: &mut Consumer| Seen::of(consumer.receive_timeout(patience)).unwrap();
        end_of(test, "kill", SessionOptions::new(), receive);
    }
}

#[test]
fn a_lane_that_finished_is_told_from_one_abandoned_in_a_panic() {
    let test = "a_lane_that_finished_is_told_from_one_abandoned_in_a_panic";
    if role().is_some() {
        return producer_process();
    }
    for order in ["finish", "panic", "abandon"] {
        end_of(test, order, SessionOptions::new(), blocked);
        end_of(test, order, SessionOptions::new().spin(Duration::ZERO), |consumer| {
            Seen::patiently(|| Seen::of(consumer.try_receive()))
        });
    }
}

/// A process that dies hangs up a moment before it has ended, and on a busy machine long before.
#[test]
fn a_producer_that_hangs_up_and_ends_a_moment_later_has_died() {
    let test = "a_producer_that_hangs_up_and_ends_a_moment_later_has_died";
    if role().is_some() {
        return producer_process();
    }
    let start = || {
        let address = format!("@{}", unique_name());
        let mut process = Peer::start(test, "producer", &address);
        process.expect("ready");
        let attach = || Session::connect(&*address).unwrap();
        let (consumer, tap) = (attach().attach_one(Attach::new()).unwrap(), attach().tap_one(Attach::new()).unwrap());
        (process, consumer, tap)
    };
    wait_until("the end of the process is waited for", || {
        let (mut process, mut consumer, mut tap) = start();
        process.tell("hang up and end");
        let ends = (consumer.receive().map(drop), tap.receive().map(drop));
        let (consumer_is_told, tap_is_told) =
            (ends.0 == Err(ReceiveError::PeerDead), ends.1 == Err(TapError::PeerDead));
        assert!(consumer_is_told || ends.0 == Err(ReceiveError::HungUp), "{ends:?}");
        assert!(tap_is_told || ends.1 == Err(TapError::HungUp), "{ends:?}");
        consumer_is_told && tap_is_told
    });
    let (mut process, mut consumer, mut tap) = start();
    process.tell("hang up");
    process.expect("hung up");
    for _ in 0..2 {
        assert_eq!(consumer.receive().map(drop), Err(ReceiveError::HungUp), "it lives");
        assert_eq!(tap.receive().map(drop), Err(TapError::HungUp), "it lives");
    }
    process.kill();
    assert_eq!(consumer.try_receive().map(drop), Err(ReceiveError::PeerDead), "what is asked later is known");
    assert_eq!(tap.try_receive().map(drop), Err(TapError::PeerDead), "what is asked later is known");
}

#[test]
fn a_dead_producer_leaves_nothing_in_its_consumer() {
    let test = "a_dead_producer_leaves_nothing_in_its_consumer";
    if role().as_deref() == Some("producer") {
        return producer_process();
    }
    isolated(test, || {
        let address = format!("@{}", unique_name());
        let mut process = Peer::start(test, "producer", &address);
        process.expect("ready");
        let maps = || std::fs::read_to_string("/proc/self/maps").unwrap().matches("fdring:").count();
        let before = census();
        let mut consumer = Consumer::connect(&*address).unwrap();
        assert_eq!(maps(), 3, "control, data and seat");
        process.tell("100");
        process.expect("sent");
        let mut gone = before.clone();
        gone.retain(|_, target| !target.starts_with("pipe:"));
        process.kill();
        while consumer.receive().is_ok() {}
        drop(consumer);
        assert_eq!(maps(), 0);
        // A thread of the library's closes the bell.
        wait_until("its descriptors are closed", || {
            let mut after = census();
            after.retain(|_, target| !target.starts_with("pipe:"));
            after == gone
        });
        let error = Session::connect(&*address).unwrap_err();
        assert!(matches!(error, fdring::Error::Os { .. }), "{error}");
    });
}
