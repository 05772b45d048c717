//! The library under valgrind(1), which hides the vDSO and knows no futex_waitv(2): a producer that waits goes on.

mod common;

use common::{DEADLINE, KillOnDrop, role, skipped, unique_name};
use fdring::errors::SendError;
use fdring::options::{LaneOptions, SessionOptions};
use fdring::{Attach, Server};
use std::process::{Command, Stdio};
use std::time::Duration;

/// A producer waits for room, and then both ends go on.
fn waits() {
    let address = format!("@{}", unique_name());
    let mut producer = LaneOptions::new("lane").capacity(4096).create().unwrap();
    let _server = Server::listen(&*address, &[&producer]).unwrap();
    // All is slower by a factor of tens.
    let session = SessionOptions::new().deadline(2 * DEADLINE).connect(&*address).unwrap();
    let mut consumer = session.attach_one(Attach::new()).unwrap();
    while producer.try_send(&[7; 56]).is_ok() {}
    for _ in 0..2 {
        let error = producer.send_timeout(&[7; 56], Duration::from_millis(30)).unwrap_err();
        assert!(matches!(error, SendError::TimedOut { consumer: Some(_) }), "{error}");
    }
    let reader = std::thread::spawn(move || while consumer.receive().unwrap().is_some() {});
    producer.send_timeout(&[7; 56], 2 * DEADLINE).unwrap();
    producer.wait_released(producer.published(), 2 * DEADLINE).unwrap();
    producer.finish();
    reader.join().unwrap();
}

#[test]
fn a_producer_that_waits_does_not_crash_under_valgrind() {
    const TEST: &str = "a_producer_that_waits_does_not_crash_under_valgrind";
    if role().is_some() {
        return waits();
    }
    if Command::new("valgrind").arg("--version").stdout(Stdio::null()).status().is_err() {
        skipped("valgrind is not installed");
        return;
    }
    let again = common::command(TEST, "waits");
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["-q", "--error-exitcode=9"]).arg(again.get_program()).args(again.get_args());
    valgrind.envs(again.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let child = KillOnDrop(valgrind.spawn().unwrap());
    let status = child.wait_for(6 * DEADLINE).expect("it ends");
    assert!(status.success(), "{status}");
}
