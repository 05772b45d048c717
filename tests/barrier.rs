//! No wake-up for data is lost, by either kind of barrier (design invariant 11): a consumer in a process of its own
//! falls asleep over and over, each time just when the next record is published; and one that may not call the barrier
//! any more looks a second time, as all do that rely on it.

mod common;
#[path = "common/peer.rs"]
mod peer;

use common::{DEADLINE, role, unique_name, wait_until_process_has_slept_for};
use fdring::{Consumer, LaneOptions, Producer, ReceiveError, Server, Session, SessionOptions};
use peer::{Peer, argument, say};
use std::time::Duration;

/// How often the consumer falls asleep. A run without the barrier loses a wake-up in one of a few tries.
const SLEEPS: u64 = 20_000;
/// Longer than the records' ways between the processes, so that an answer is seldom slept for.
const SPIN: Duration = Duration::from_millis(1);

fn connect(address: &str, spin: Duration) -> Consumer {
    Session::connect(address, SessionOptions::new().spin(spin)).unwrap().attach_one().unwrap()
}

/// Answers each record of the lane at the first address on a lane of its own at the second.
fn answer() {
    let argument = argument();
    let (there, back) = argument.split_once(' ').unwrap();
    let mut answers = Producer::create(LaneOptions::new("answers")).unwrap();
    let server = Server::listen(back, &[&answers]).unwrap();
    let mut questions = connect(there, Duration::ZERO);
    say("offered");
    server.wait_for_sessions(1, DEADLINE).unwrap();
    while let Some(question) = questions.receive().unwrap() {
        answers.send(&question).unwrap();
    }
}

/// The next answer; a sleeper who was not rung for never gives it.
fn expect(answers: &mut Consumer, n: u64) {
    match answers.receive_timeout(DEADLINE) {
        Ok(Some(answer)) => assert_eq!(answer[..], n.to_le_bytes()),
        Err(ReceiveError::TimedOut) => panic!("record {n} was published, and nobody was woken for it"),
        other => panic!("instead of answer {n}: {other:?}"),
    }
}

fn nobody_sleeps_through_a_record(test: &str, asymmetric: bool) {
    if role().is_some() {
        return answer();
    }
    let mut questions = Producer::create(LaneOptions::new("questions").asymmetric_barrier(asymmetric)).unwrap();
    let (there, back) = (format!("@{}", unique_name()), format!("@{}", unique_name()));
    let server = Server::listen(there.as_str(), &[&questions]).unwrap();
    let mut peer = Peer::start(test, "answer", &format!("{there} {back}"));
    peer.expect("offered");
    let mut answers = connect(&back, SPIN);
    server.wait_for_sessions(1, DEADLINE).unwrap();
    for n in 0..SLEEPS {
        questions.send(&n.to_le_bytes()).unwrap();
        expect(&mut answers, n);
        // The consumer is falling asleep: be there at each of its steps in turn.
        for _ in 0..n % 512 {
            std::hint::spin_loop();
        }
    }
    drop((questions, server));
    peer.finish();
}

#[test]
fn by_a_fence_on_both_sides() {
    nobody_sleeps_through_a_record("by_a_fence_on_both_sides", false);
}

#[test]
fn by_a_barrier_that_the_sleeper_pays_for() {
    nobody_sleeps_through_a_record("by_a_barrier_that_the_sleeper_pays_for", true);
}

/// Has the kernel refuse membarrier(2) to this thread from now on, see seccomp(2).
#[allow(unsafe_code, reason = "no crate of this test's makes filters")]
fn forbid_the_barrier() {
    let step = |code: u32, k: u32, [jt, jf]: [u8; 2]| libc::sock_filter { code: code as u16, jt, jf, k };
    let mut steps = [
        step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, [0, 0]), // the number of the system call
        step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, libc::SYS_membarrier as u32, [0, 1]),
        step(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ERRNO | libc::EPERM as u32, [0, 0]),
        step(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW, [0, 0]),
    ];
    let program = libc::sock_fprog { len: steps.len() as u16, filter: steps.as_mut_ptr() };
    // SAFETY: it changes nothing but what this thread may gain by execve(2).
    assert_eq!(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) }, 0);
    // SAFETY: the program and its steps live through the call, which copies them.
    assert_eq!(unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) }, 0);
}

#[test]
fn one_whose_barrier_fails_is_rung_for_all_the_same() {
    if role().is_some() {
        let mut consumer = connect(&argument(), Duration::ZERO);
        forbid_the_barrier();
        say("attached");
        while let Some(record) = consumer.receive().unwrap() {
            say(&format!("received {}", record[0]));
        }
        return;
    }
    let mut producer = Producer::create(LaneOptions::new("ticks")).unwrap();
    let address = format!("@{}", unique_name());
    let _server = Server::listen(address.as_str(), &[&producer]).unwrap();
    let mut peer = Peer::start("one_whose_barrier_fails_is_rung_for_all_the_same", "consumer", &address);
    peer.expect("attached");
    for n in 0..3 {
        // Beyond the second look, which would find it unrung.
        wait_until_process_has_slept_for(peer.pid(), Duration::from_millis(200));
        producer.send(&[n]).unwrap();
        peer.expect(&format!("received {n}"));
    }
    producer.finish();
    peer.finish();
}
