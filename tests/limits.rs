//! Limits of the process and of its control groups: an error names limit and remedy before the kernel kills.

mod common;
#[path = "common/group.rs"]
mod group;
#[path = "common/peer.rs"]
mod peer;

use common::{isolated, role, unique_name, wait_until};
use fdring::call::{Caller, CallerOptions, Service, ServiceOptions};
use fdring::distribute::{DistributorOptions, Worker};
use fdring::errors::SendError;
use fdring::options::{HugePages, LaneOptions, Start};
use fdring::parcel::ParcelBuilder;
use fdring::{Consumer, Error, Producer, Sealed, Server, Session, Tap, inspect, parcel::SealedBuilder};
use group::Group;
use peer::{Peer, argument, say, told};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The error of a lane, of anything else in memory, or of a process that needs some to begin.
fn fails<T>(outcome: fdring::Result<T>) -> Error {
    outcome.map(drop).unwrap_err()
}

fn limit_files(bytes: u64) {
    let maximum = getrlimit(Resource::Fsize).maximum;
    setrlimit(Resource::Fsize, Rlimit { current: Some(bytes), maximum }).unwrap();
}

/// The lane of this process, seen from outside.
fn find_own_lane() -> inspect::LaneView {
    let survey = inspect::process(std::process::id()).unwrap();
    survey.lanes.into_iter().find(|lane| lane.info.name == "lane").expect("it is there")
}

#[test]
fn a_limit_of_the_length_of_files_is_an_error_and_kills_nobody() {
    let test = "a_limit_of_the_length_of_files_is_an_error_and_kills_nobody";
    if role().as_deref() == Some("caller") {
        // It has no limit.
        assert_eq!(told(), "go");
        return say(&fails(Caller::connect(argument())).to_string());
    }
    isolated(test, || {
        let [address, service, distributor_address] = [(); 3].map(|()| format!("@{}", unique_name()));
        let _service = Service::listen(&*service).unwrap();
        let lane = LaneOptions::new("work").capacity(1 << 16);
        let distributor = DistributorOptions::new().lane(lane).listen(&*distributor_address).unwrap();
        let mut caller = Peer::start(test, "caller", &service);
        let mut producer = LaneOptions::new("lane").capacity(1 << 16).create().unwrap();
        let server = Server::listen(&*address, &[&producer]).unwrap();
        let mut early = Consumer::connect(&*address).unwrap();
        let mut parcels = LaneOptions::new("parcels").capacity(1 << 16).attachments(1).create().unwrap();
        limit_files(4095);
        let ring = || LaneOptions::new("ring").capacity(1 << 16);
        for (what, error) in [
            ("a ring", fails(ring().create())),
            ("a ring with descriptors and stamps", fails(ring().attachments(4).stamped(true).create())),
            ("a ring that tries huge pages", fails(ring().huge_pages(HugePages::Try).create())),
            ("a ring in huge pages", fails(ring().capacity(1 << 21).huge_pages(HugePages::Require).create())),
            ("sealed bytes", fails(Sealed::build("sealed", 4096, |_| ()))),
            ("sealed bytes that are built", fails(SealedBuilder::new("sealed", 4096))),
            ("a parcel", fails(ParcelBuilder::new("parcel").buffer(0, 1).buffer(0, 8192).allocate())),
            ("the seat of a tap from outside", fails(find_own_lane().tap(Start::Latest))),
            ("the ring of a caller", fails(Caller::connect(&*service))),
        ] {
            assert!(matches!(error, Error::Os { .. }), "{what}: {error}");
            assert!(error.to_string().contains("4095 bytes; raise the limit (ulimit -f)"), "{what}: {error}");
        }
        let error = parcels.send_or_parcel(&[0; 8192], 4096).unwrap_err();
        assert!(matches!(error, SendError::Attachment(_)), "{error:?}");
        assert!(error.to_string().ends_with("; raise the limit (ulimit -f)"), "{error}");
        assert!(Sealed::build("empty", 0, |_| ()).is_ok());
        assert!(Sealed::build("short", 4095, |_| ()).is_ok(), "as much as the limit says");
        // The server lives, says why, and serves those it has.
        let is_refused = |what: &str, error: Error| match error {
            Error::Refused { reason, .. } => assert!(reason.contains("ulimit -f"), "{what}: {reason}"),
            other => panic!("{what}: {other}"),
        };
        is_refused("the seat of a consumer", fails(Session::connect(&*address)));
        is_refused("the seat of a tap", fails(Tap::connect(&*address)));
        is_refused("the lane of a worker", fails(Worker::connect(&*distributor_address)));
        caller.tell("go");
        let said = caller.heard();
        assert!(said.starts_with("the peer refused: ") && said.contains("ulimit -f"), "the ring of replies: {said}");
        caller.finish();
        producer.send(b"x").unwrap();
        assert_eq!(early.receive().unwrap().unwrap()[..], *b"x");
        limit_files(1 << 24);
        drop(Consumer::connect(&*address).unwrap());
        wait_until("the refusals are counted", || server.stats().refused == 2);
        drop((Caller::connect(&*service).unwrap(), Worker::connect(&*distributor_address).unwrap()));
        assert_eq!(distributor.server_stats().refused, 1);
    });
}

/// Tries everything that has that number of bytes.
fn say_what_fails(bytes: u64, small: &Producer) {
    let [service, large, distributor] = [(); 3].map(|()| format!("@{}", unique_name()));
    let ring = || LaneOptions::new("ring").capacity(bytes);
    let _service = Service::listen(&*service).unwrap();
    let distributes = DistributorOptions::new().memory_max(4 * bytes).lane(ring());
    for (what, error) in [
        ("a ring", fails(ring().create())),
        ("a ring that tries huge pages", fails(ring().huge_pages(HugePages::Try).create())),
        ("sealed bytes", fails(SealedBuilder::new("sealed", bytes))),
        ("a parcel", fails(ParcelBuilder::new("parcel").buffer(0, bytes / 2).buffer(0, bytes).allocate())),
        ("the ring of a caller", fails(CallerOptions::new().capacity(bytes).connect(&*service))),
        ("the ring of replies", fails(ServiceOptions::new().capacity(bytes).listen(&*large))),
        ("the lanes of workers", fails(distributes.listen(&*distributor))),
    ] {
        say(&format!("{what}: {error}"));
    }
    assert_eq!(small.published(), 0);
    say("alive");
}

#[test]
fn a_limit_of_a_control_group_is_an_error_and_kills_nobody() {
    let test = "a_limit_of_a_control_group_is_an_error_and_kills_nobody";
    const LIMIT: u64 = 64 << 20;
    if role().is_some() {
        let small = LaneOptions::new("small").capacity(1 << 20).create().unwrap();
        return say_what_fails(2 * LIMIT, &small);
    }
    let Some(group) = Group::of_memory(LIMIT) else { return };
    let Some(mut member) = group.start(test, "member") else { return };
    let mut count = 0;
    loop {
        let said = member.heard();
        if said == "alive" {
            break;
        }
        let names_both =
            said.contains(&format!("may have {LIMIT} bytes")) && said.contains("raise the limit of the group");
        assert!(names_both, "{said}");
        count += 1;
    }
    assert_eq!(count, 7);
    member.finish();
}
