//! Core dumps: what a process maps of a lane is no part of them.

mod common;
#[path = "common/peer.rs"]
mod peer;

use common::{isolated, role, unique_name, wait_until};
use fdring::{
    Attach, Consumer, SealedBuilder, Server,
    options::{LaneOptions, SessionOptions},
};
use peer::{Peer, argument, say, told};
use std::fs;

/// The mappings of the library's memory in the process `pid`, and whether each is left out of core dumps (`dd` in
/// `VmFlags`, proc_pid_smaps(5)).
fn mappings(pid: u32) -> Vec<(String, bool)> {
    let smaps = fs::read_to_string(format!("/proc/{pid}/smaps")).unwrap();
    let mut found = Vec::new();
    let mut name = None;
    for line in smaps.lines() {
        if let Some((_, file)) = line.split_once("/memfd:") {
            name = Some(file.trim_end_matches(" (deleted)").to_owned());
        }
        if let Some(flags) = line.strip_prefix("VmFlags:") {
            found.extend(name.take().map(|name| (name, flags.split(' ').any(|flag| flag == "dd"))));
        }
    }
    found
}

fn check(pid: u32, names: &[&str]) {
    let mappings = mappings(pid);
    for name in names {
        assert!(mappings.iter().any(|(mapped, _)| mapped.starts_with(name)), "{name} is not in {mappings:?}");
    }
    for (name, is_left_out) in mappings {
        assert!(is_left_out, "{name} would be dumped");
    }
}

#[test]
fn no_process_dumps_a_ring() {
    const TEST: &str = "no_process_dumps_a_ring";
    if role().as_deref() == Some("consumer") {
        let _consumer = Consumer::connect(argument()).unwrap();
        say("attached");
        told();
        return;
    }
    let address = format!("@{}", unique_name());
    let producer = LaneOptions::new("lane").capacity(1 << 20).create().unwrap();
    let _server = Server::listen(&*address, &[&producer]).unwrap();
    let mut consumer = Peer::start(TEST, "consumer", &address);
    consumer.expect("attached");
    let _secret = SealedBuilder::new("secret", 4096).unwrap();
    check(std::process::id(), &["fdring:lane:control", "fdring:lane:data", "fdring:seat", "secret"]);
    check(consumer.pid(), &["fdring:lane:control", "fdring:lane:data", "fdring:seat"]);
    consumer.finish();
}

#[test]
fn a_ring_is_dumped_where_that_was_asked_for() {
    isolated("a_ring_is_dumped_where_that_was_asked_for", || {
        let address = format!("@{}", unique_name());
        let is_ring = |name: &str| name.starts_with("fdring:lane:data");
        for (of_producer, of_consumer) in [(true, false), (false, true)] {
            // The server's thread lets go of the lane once it has heard that its consumer left.
            wait_until("no ring is left", || !mappings(std::process::id()).iter().any(|(name, _)| is_ring(name)));
            let producer = LaneOptions::new("lane").capacity(1 << 20).core_dumps(of_producer).create().unwrap();
            let _server = Server::listen(&*address, &[&producer]).unwrap();
            let session = SessionOptions::new().core_dumps(of_consumer).connect(&*address).unwrap();
            let _consumer = session.attach_one(Attach::new()).unwrap();
            let mappings = mappings(std::process::id());
            let rings: Vec<bool> = mappings.iter().filter(|(name, _)| is_ring(name)).map(|mapping| mapping.1).collect();
            assert_eq!(rings.iter().filter(|is_left_out| **is_left_out).count(), 1, "of two mappings one: {rings:?}");
            assert_eq!(rings.len(), 2);
            assert!(mappings.iter().all(|(name, is_left_out)| is_ring(name) || *is_left_out), "{mappings:?}");
        }
    });
}
