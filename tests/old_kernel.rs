//! Kernels from before Linux 6.16, which turn no descriptors away: consumers that send some if none are taken make
//! neither the server nor anyone else wait, however long the closing of what they sent takes.

mod common;
#[path = "common/hostile.rs"]
mod hostile;
#[path = "common/peer.rs"]
mod peer;
#[path = "common/stage.rs"]
mod stage;

use common::wait_until;
use hostile::*;
use rustix::fd::AsFd;
use rustix::process::Signal;
use stage::{Hosting, Stage, plays_a_role};
use std::net::TcpListener;
use std::time::{Duration, Instant};

const OLD: Hosting = Hosting { old_kernel: true, sessions_max: 8, deadline: common::DEADLINE, anyone: false };
/// More than a server lets wait to be closed, and fewer than wait to be accepted.
const CROWD: usize = 100;

/// That number of consumers that have sent a lingering socket and were gone before they were accepted.
fn crowd(stage: &Stage, number: usize) -> Vec<TcpListener> {
    stage.signal(Signal::STOP);
    let come_and_go = |_| {
        let (socket, listener) = lingering();
        Wire::connect(&stage.address).send_fds(&hello(&[]), &[socket.as_fd()]).unwrap();
        listener
    };
    let listeners = (0..number).map(come_and_go).collect();
    stage.signal(Signal::CONT);
    listeners
}

#[test]
fn what_lingers_is_closed_by_few_threads_and_honest_consumers_wait_for_none_of_it() {
    if plays_a_role() {
        return;
    }
    let mut stage = Stage::new("what_lingers_is_closed_by_few_threads_and_honest_consumers_wait_for_none_of_it", OLD);
    let start = Instant::now();
    let few = crowd(&stage, 3);
    wait_until("all have been accepted", || stage.stat("accepted") == 4);
    // An honest one comes and goes meanwhile.
    let invited = Wire::connect(&stage.address);
    invited.send(&hello(&[])).unwrap();
    invited.expect(&[HELLO, OFFER]);
    drop(invited);
    stage.goes_on();
    let many = crowd(&stage, CROWD);
    wait_until("too many wait to be closed", || stage.last_refusal().contains("wait to be closed"));
    stage.goes_on();
    // A thread names itself once it runs.
    wait_until("each that is accepted has one", || stage.threads("fdring-closer") >= 64);
    assert!(stage.threads("fdring-closer") <= 65, "one of them watches at most");
    let accepted = stage.stat("accepted");
    assert!((64..100).contains(&accepted), "{accepted} were accepted of more than {CROWD}");
    assert!(start.elapsed() < Duration::from_secs(30), "it took {:?}", start.elapsed());
    // Once their peers are gone nothing lingers any more.
    drop((few, many));
    stage.wait_for_stat("accepted", 5 + CROWD as u64);
    wait_until("nothing is left to be closed", || stage.threads("fdring-closer") == 0);
    stage.ends_undisturbed();
}

#[test]
fn a_server_ends_though_lingering_sockets_wait_in_it() {
    if plays_a_role() {
        return;
    }
    let mut stage = Stage::new("a_server_ends_though_lingering_sockets_wait_in_it", OLD);
    let start = Instant::now();
    let _listeners = crowd(&stage, CROWD);
    wait_until("too many wait to be closed", || stage.last_refusal().contains("wait to be closed"));
    assert!(stage.stat("accepted") < CROWD as u64, "some still wait to be accepted");
    stage.ends();
    assert!(start.elapsed() < Duration::from_secs(30), "it took {:?}", start.elapsed());
}
