//! Spinning when it cannot pay: two processes that share one processor, and one whose sleep signals interrupt.

mod common;
#[path = "common/group.rs"]
mod group;
#[path = "common/peer.rs"]
mod peer;
#[path = "common/storm.rs"]
mod storm;

use common::{isolated, role, unique_name, wait_until};
use fdring::{
    Attach, Consumer, Producer, Server,
    errors::{ReceiveError, SendError},
    options::{LaneOptions, SessionOptions},
};
use group::Group;
use peer::{Peer, argument, say, told};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use rustix::time::{ClockId, clock_gettime};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use storm::{HANDLED, in_a_storm};

const ROUNDS: u32 = 2000;
/// How long undisturbed round trips are waited for.
const PATIENCE: Duration = Duration::from_secs(60);

/// The processor time that this process has used.
fn used() -> Duration {
    let used = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(used.tv_sec as u64, used.tv_nsec as u32)
}

/// Runs on the first of its processors alone from now on, with all threads that are started later.
fn share_one_processor() {
    let all = sched_getaffinity(None).unwrap();
    let first = (0..CpuSet::MAX_CPU).find(|processor| all.is_set(*processor)).unwrap();
    let mut one = CpuSet::new();
    one.set(first);
    sched_setaffinity(None, &one).unwrap();
}

fn lane(name: &str, spin: Option<Duration>) -> Producer {
    let options = LaneOptions::new(name).capacity(4096);
    spin.map_or(options.clone(), |spin| options.spin(spin)).create().unwrap()
}

fn attach(address: &str, spin: Option<Duration>) -> Consumer {
    let options = SessionOptions::new();
    let options = spin.map_or(options.clone(), |spin| options.spin(spin));
    options.connect(address).unwrap().attach_one(Attach::new()).unwrap()
}

/// The spin that is not the default.
fn spin_of(argument: &str) -> Option<Duration> {
    (argument == "none").then_some(Duration::ZERO)
}

/// Answers each record, on a lane of its own.
fn echo() {
    share_one_processor();
    let argument = argument();
    let [there, back, spin] = argument.split(' ').collect::<Vec<_>>()[..] else { panic!("{argument}") };
    let mut answers = lane("back", spin_of(spin));
    let _server = Server::listen(back, &[&answers]).unwrap();
    let mut questions = attach(there, spin_of(spin));
    say("ready");
    while let Some(record) = questions.receive().unwrap() {
        answers.send(&record).unwrap();
    }
    told();
}

/// The processor time of one side of some round trips.
fn round_trips(test: &str, spin: &str) -> Duration {
    let [there, back] = [(); 2].map(|()| format!("@{}", unique_name()));
    let mut questions = lane("there", spin_of(spin));
    let _server = Server::listen(&*there, &[&questions]).unwrap();
    let mut echo = Peer::start(test, "echo", &format!("{there} {back} {spin}"));
    echo.expect("ready");
    let mut answers = attach(&back, spin_of(spin));
    let before = used();
    for n in 0..ROUNDS {
        questions.send(&n.to_le_bytes()).unwrap();
        assert_eq!(answers.receive().unwrap().unwrap()[..], n.to_le_bytes());
    }
    let took = used() - before;
    questions.finish();
    echo.finish();
    took
}

#[test]
fn processes_that_share_one_processor_soon_stop_spinning() {
    let test = "processes_that_share_one_processor_soon_stop_spinning";
    if role().as_deref() == Some("echo") {
        return echo();
    }
    isolated(test, || {
        share_one_processor();
        // The best of many: other processes may take the processor, too, and end a spin that would be in vain.
        let best = |spin| (0..10).map(|_| round_trips(test, spin)).min().unwrap();
        let limit = 2 * best("none") + Duration::from_millis(10);
        let start = Instant::now();
        while best("default") >= limit {
            assert!(start.elapsed() < PATIENCE, "{ROUNDS} round trips never take less than {limit:?}");
        }
    });
}

/// The processor time that a consumer and a producer use while they wait for so long, and may spin all the while.
fn used_in_vain(wait: Duration) -> Duration {
    let (address, mut producer) = (format!("@{}", unique_name()), lane("lane", Some(wait)));
    let _server = Server::listen(&*address, &[&producer]).unwrap();
    let mut consumer = attach(&address, Some(wait));
    let before = used();
    assert_eq!(consumer.receive_timeout(wait).err(), Some(ReceiveError::TimedOut));
    while producer.try_send(&[0; 56]).is_ok() {}
    assert!(matches!(producer.send_timeout(b"x", wait), Err(SendError::TimedOut { .. })));
    used() - before
}

#[test]
fn nobody_spins_where_a_control_group_allows_one_processor() {
    let test = "nobody_spins_where_a_control_group_allows_one_processor";
    const WAIT: Duration = Duration::from_secs(1);
    if role().is_some() {
        return say(&used_in_vain(WAIT).as_millis().to_string());
    }
    let Some(group) = Group::of_one_processor() else { return };
    let Some(mut member) = group.start(test, "member") else { return };
    let within: u128 = member.heard().parse().unwrap();
    member.finish();
    assert!(within < WAIT.as_millis() / 20, "{within} ms of two waits of {WAIT:?}");
    let processors = std::thread::available_parallelism().unwrap().get();
    // Who loses its processor in several spins does without for a while.
    let start = Instant::now();
    let spins = || {
        let mut outsider = Peer::start(test, "outsider", "");
        let without: u128 = outsider.heard().parse().unwrap();
        outsider.finish();
        without > 2 * within
    };
    while processors >= 2 && !spins() {
        assert!(start.elapsed() < PATIENCE, "{within} ms, and never twice as much without the quota");
    }
}

/// The processor time that this thread has used.
fn used_here() -> Duration {
    let used = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(used.tv_sec as u64, used.tv_nsec as u32)
}

#[test]
fn a_signal_while_one_waits_does_not_make_it_spin_again() {
    isolated("a_signal_while_one_waits_does_not_make_it_spin_again", || {
        const WAIT: Duration = Duration::from_secs(1);
        let address = format!("@{}", unique_name());
        // Long enough to be seen: a few of them, after which spinning stops by itself, are too many.
        let spin = Some(Duration::from_millis(100));
        let mut producer = lane("lane", spin);
        let _server = Server::listen(&*address, &[&producer]).unwrap();
        let mut consumer = attach(&address, spin);
        // A busy machine may bring few signals: then it waits again.
        let uses_little = |what: &str, wait: &mut dyn FnMut()| {
            wait_until(&format!("{what}: there is a storm"), || {
                let (before, signals) = (used_here(), HANDLED.load(Ordering::Relaxed));
                let took = in_a_storm(Duration::from_millis(1), &mut *wait);
                let (used, signals) = (used_here() - before, HANDLED.load(Ordering::Relaxed) - signals);
                assert!(used < WAIT / 4 && took >= WAIT, "{what} used {used:?} of {took:?}, in {signals} signals");
                signals > 100
            });
        };
        uses_little("a consumer", &mut || {
            assert_eq!(consumer.receive_timeout(WAIT).err(), Some(ReceiveError::TimedOut));
        });
        while producer.try_send(&[0; 56]).is_ok() {}
        uses_little("a producer", &mut || {
            assert!(matches!(producer.send_timeout(b"x", WAIT), Err(SendError::TimedOut { .. })));
        });
    });
}
