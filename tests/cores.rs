//! Core dumps: what a process maps of a lane is no part of them.

mod common;
#[path = "common/peer.rs"]
mod peer;

use common::{DEADLINE, isolated, role, unique_name, wait_until};
use fdring::call::{Caller, Service};
use fdring::collect::{Collector, Event};
use fdring::distribute::{DistributorOptions, Worker};
use fdring::options::{LaneOptions, SessionOptions, Start};
use fdring::parcel::{Parcel, ParcelBuilder};
use fdring::{Attach, Consumer, Sealed, Server, Tap, inspect, parcel::SealedBuilder};
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
fn no_shape_has_memory_that_is_dumped() {
    isolated("no_shape_has_memory_that_is_dumped", || {
        let address = || format!("@{}", unique_name());
        let lane = |name: &str| LaneOptions::new(name).capacity(4096).attachments(4).create().unwrap();
        let mut collector = Collector::listen(address()).unwrap();
        let (client, offered) = (lane("client"), collector.address().to_string());
        let _link = std::thread::scope(|scope| {
            let link = scope.spawn(|| client.connect(offered).unwrap());
            assert!(matches!(collector.next_timeout(DEADLINE).unwrap(), Event::Joined(_)));
            link.join().unwrap()
        });
        let service = Service::listen(address()).unwrap();
        let _caller = Caller::connect(service.address().to_string()).unwrap();
        let work = LaneOptions::new("work").capacity(4096);
        let mut distributor = DistributorOptions::new().lane(work).listen(address()).unwrap();
        let _worker = Worker::connect(distributor.address().to_string()).unwrap();
        distributor.wait_for_workers(1, DEADLINE).unwrap();
        let server = Server::listen(address(), [&client]).unwrap();
        let _tap = Tap::connect(server.address().to_string()).unwrap();
        let survey = inspect::process(std::process::id()).unwrap();
        let seen = survey.lanes.iter().find(|lane| lane.info.name == "client").unwrap();
        let _from_outside = seen.tap(Start::Latest).unwrap();
        let mut writer = ParcelBuilder::new("parcel").buffer(0, 8).allocate().unwrap();
        writer.buffer_mut(0).fill(1);
        check(std::process::id(), &["parcel", "fdring:tap"]);
        let parcel = writer.seal().unwrap();
        let fds = parcel.fds().iter().map(|fd| fd.try_clone_to_owned().unwrap()).collect();
        let received = Parcel::from_fds(fds, 1 << 20).unwrap();
        assert_eq!((parcel.buffer(0), received.buffer(0)), (Some(&[1; 8][..]), Some(&[1; 8][..])));
        let sealed = Sealed::build("sealed", 4096, |bytes| bytes.fill(1)).unwrap();
        assert_eq!(sealed[..], [1; 4096]);
        let names = ["fdring:client:", "fdring:requests:", "fdring:replies:", "fdring:work", "fdring:seat", "sealed"];
        check(std::process::id(), &names);
    });
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
