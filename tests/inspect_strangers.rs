//! Looking at processes that cannot be looked into, or that mean to mislead: nothing hangs, nothing breaks, and what is
//! not seen is named.
#![allow(unsafe_code, reason = "forks, changes users and namespaces, and makes what one is to choke on")]

mod common;
#[path = "common/peer.rs"]
mod peer;
#[path = "common/users.rs"]
mod users;

use common::{TempDir, isolated, role, skipped, unique_name, wait_until};
use fdring::inspect::{self, LaneState, LaneView, Reason, Survey, Unseen};
use fdring::options::{LaneOptions, Start};
use fdring::{Consumer, Error, Producer, Server};
use peer::{Peer, argument, say, told, wait_for_the_end};
use rustix::fd::{AsFd, AsRawFd, OwnedFd};
use rustix::fs::{
    MemfdFlags, Mode, OFlags, SealFlags, fallocate, fcntl_add_seals, fcntl_getfl, ftruncate, memfd_create,
};
use rustix::io::pwrite;
use std::time::Instant;
use users::{NOBODY, become_user, in_pid_namespace, is_root};

const SHAPE: SealFlags = SealFlags::SHRINK.union(SealFlags::GROW);
const SEALED: SealFlags = SHAPE.union(SealFlags::FUTURE_WRITE);
const CONTROL_SEALS: SealFlags = SEALED.union(SealFlags::SEAL);

fn find(survey: &Survey, name: &str) -> Option<LaneView> {
    survey.lanes.iter().find(|lane| lane.info.name == name).cloned()
}

fn unseen_of(survey: &Survey, pid: u32) -> Vec<Reason> {
    let is_it = |unseen: &&Unseen| unseen.process.as_ref().is_some_and(|process| process.pid == pid);
    survey.unseen.iter().filter(is_it).map(|unseen| unseen.reason.clone()).collect()
}

/// A producer in a process of its own, which may be dumped, or not, and is of the user that it is told.
fn start_producer(test: &str, how: &str) -> (Peer, String) {
    let mut peer = Peer::start(test, "producer", how);
    let name = peer.heard();
    (peer, name)
}

fn be_dumpable(whether: bool) {
    // SAFETY: it takes numbers, and changes who may look at this process.
    assert_eq!(unsafe { libc::prctl(libc::PR_SET_DUMPABLE, libc::c_ulong::from(whether), 0, 0, 0) }, 0);
}

fn producer() {
    let how = argument();
    if how.contains("nobody") {
        become_user(NOBODY);
        be_dumpable(true);
    }
    if how.contains("undumpable") {
        be_dumpable(false);
    }
    if how.contains("tricky") {
        std::fs::write("/proc/self/comm", "\x1b[31m\u{202e}red").unwrap();
    }
    let name = unique_name();
    let _lane = LaneOptions::new(&name).capacity(4096).create().unwrap();
    say(&name);
    wait_for_the_end()
}

/// Looks as another user, at the process that it is told, and says what it saw.
fn stranger() {
    let arguments = argument();
    let (pid, name) = arguments.split_once(' ').unwrap();
    become_user(NOBODY);
    let survey = inspect::lanes().unwrap();
    let reasons = unseen_of(&survey, pid.parse().unwrap());
    say(&format!("{:?} {reasons:?}", find(&survey, name).is_some()));
}

fn seen_by_nobody(test: &str, of: &Peer, name: &str) -> String {
    let mut stranger = Peer::start(test, "stranger", &format!("{} {name}", of.pid()));
    stranger.heard()
}

#[test]
fn another_user_s_lanes_and_those_of_the_undumpable_are_named_as_unseen() {
    let test = "another_user_s_lanes_and_those_of_the_undumpable_are_named_as_unseen";
    match role().as_deref() {
        Some("producer") => return producer(),
        Some("stranger") => return stranger(),
        _ => {}
    }
    if !is_root() {
        return;
    }
    for (how, expected) in
        [("root", "false [OtherUser]"), ("nobody", "true []"), ("nobody undumpable", "false [Undumpable]")]
    {
        let (peer, name) = start_producer(test, how);
        assert_eq!(seen_by_nobody(test, &peer, &name), expected, "{how}");
        let lane = find(&inspect::lanes().unwrap(), &name).expect("root sees everything");
        let uid = if how == "root" { 0 } else { NOBODY };
        assert_eq!(lane.producer.unwrap().uid, Some(uid));
    }
}

/// A consumer as nobody, of a producer that is root's; then it looks at what it can see.
fn consumer_of_root() {
    let address = argument();
    become_user(NOBODY);
    be_dumpable(true);
    let options = fdring::options::SessionOptions::new().peers(fdring::options::PeerPolicy::Anyone);
    let _consumer = options.connect(&*address).unwrap().attach_one(fdring::Attach::new()).unwrap();
    say("ready");
    let name = told();
    let survey = inspect::lanes().unwrap();
    match find(&survey, &name) {
        Some(lane) => say(&format!("{}, {} readers", lane.state, lane.consumers.len())),
        None => {
            let me = std::process::id();
            let lane = survey.unseen.iter().find_map(|unseen| unseen.lane.clone());
            say(&format!("{:?} {}", unseen_of(&survey, me), lane.unwrap() == name));
        }
    }
    wait_for_the_end()
}

#[test]
fn a_lane_that_is_only_mapped_takes_a_privilege_to_look_at() {
    let test = "a_lane_that_is_only_mapped_takes_a_privilege_to_look_at";
    if role().as_deref() == Some("consumer") {
        return consumer_of_root();
    }
    if !is_root() {
        return;
    }
    let (name, address) = (unique_name(), format!("@{}", unique_name()));
    let producer = LaneOptions::new(&name).capacity(4096).create().unwrap();
    let anyone = fdring::options::PeerPolicy::Anyone;
    let _server = fdring::options::ServerOptions::new().peers(anyone).listen(&*address, [&producer]).unwrap();
    let mut peer = Peer::start(test, "consumer", &address);
    peer.expect("ready");
    let lane = find(&inspect::lanes().unwrap(), &name).unwrap();
    let seen: Vec<_> = lane.consumers.iter().map(|consumer| consumer.process.as_ref().unwrap()).collect();
    assert_eq!((seen[0].pid, seen[0].uid, seen.len()), (peer.pid(), Some(NOBODY), 1));
    peer.tell(&name);
    let said = peer.heard();
    assert_eq!(said, "[NeedsPrivilege, NeedsPrivilege] true", "the control region, and the seat");
}

#[test]
fn names_that_play_tricks_on_a_terminal_are_made_harmless() {
    let test = "names_that_play_tricks_on_a_terminal_are_made_harmless";
    if role().is_some() {
        return producer();
    }
    let (_peer, name) = start_producer(test, "tricky");
    let producer = find(&inspect::lanes().unwrap(), &name).unwrap().producer.unwrap();
    assert_eq!(producer.command, "\u{fffd}[31m\u{fffd}red");
}

/// A file that is called like a lane's.
fn file(name: &str, len: u64, seals: SealFlags, write: impl FnOnce(&OwnedFd)) -> OwnedFd {
    let fd = memfd_create(name, MemfdFlags::CLOEXEC.union(MemfdFlags::ALLOW_SEALING)).unwrap();
    ftruncate(&fd, len).unwrap();
    fallocate(&fd, rustix::fs::FallocateFlags::empty(), 0, len).unwrap();
    write(&fd);
    fcntl_add_seals(&fd, seals).unwrap();
    fd
}

const ID: [u8; 16] = [0xab; 16];

fn called(lane: &str, what: &str) -> String {
    format!("fdring:{lane}:{what}:{}", "ab".repeat(16))
}

/// The header of a control region by docs/protocol.md, and the words that change.
fn control_bytes(lane: &str, capacity: u64, data_inode: u64) -> Vec<u8> {
    let mut bytes = vec![0; 4096];
    bytes[..8].copy_from_slice(b"fdring\0\x01");
    bytes[8..12].copy_from_slice(&1u32.to_le_bytes());
    bytes[16..24].copy_from_slice(&capacity.to_le_bytes());
    bytes[24..28].copy_from_slice(&8u32.to_le_bytes());
    bytes[28..32].copy_from_slice(&8u32.to_le_bytes());
    bytes[32..48].copy_from_slice(&ID);
    bytes[64..64 + lane.len()].copy_from_slice(lane.as_bytes());
    bytes[128..136].copy_from_slice(&data_inode.to_le_bytes());
    bytes[896] = 1;
    bytes
}

fn control_of(lane: &str, seals: SealFlags, change: impl FnOnce(&mut Vec<u8>)) -> OwnedFd {
    let data = 0;
    let mut bytes = control_bytes(lane, 4096, data);
    change(&mut bytes);
    let len = bytes.len() as u64;
    file(&called(lane, "control"), len, seals, |fd| assert_eq!(pwrite(fd, &bytes, 0), Ok(bytes.len())))
}

/// What is said of the only file that this process has and that is called like a control region.
fn fault_of(fd: &OwnedFd) -> String {
    let _kept = fd.as_fd();
    let survey = inspect::process(std::process::id()).unwrap();
    assert!(survey.lanes.is_empty(), "{survey:?}");
    match &unseen_of(&survey, std::process::id())[..] {
        [Reason::Broken { fault }] => fault.clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_only_called_like_a_lane_is_named_with_its_fault() {
    isolated("what_is_only_called_like_a_lane_is_named_with_its_fault", || {
        let says = |fd: OwnedFd, what: &str| {
            let fault = fault_of(&fd);
            assert!(fault.starts_with("the control region: ") && fault.contains(what), "{what}: {fault}");
        };
        for seals in [SealFlags::empty(), SHAPE, SEALED, SealFlags::SEAL] {
            let _unsealed = control_of("x", seals, |_| {});
            let survey = inspect::process(std::process::id()).unwrap();
            assert!(survey.lanes.is_empty(), "{survey:?}");
            assert_eq!(unseen_of(&survey, std::process::id()), [Reason::Unsealed], "{seals:?}");
        }
        says(control_of("x", CONTROL_SEALS, |bytes| bytes.truncate(2048)), "2048 bytes long");
        says(control_of("x", CONTROL_SEALS, |bytes| bytes.resize(8192, 0)), "8192 bytes long");
        says(control_of("x", CONTROL_SEALS, |bytes| bytes[0] ^= 1), "magic");
        says(control_of("x", CONTROL_SEALS, |bytes| bytes[8] = 2), "version");
        says(control_of("x", CONTROL_SEALS, |bytes| bytes[64] = 0x1b), "control character");
        says(control_of("x", CONTROL_SEALS, |bytes| bytes[16] = 1), "capacity of 4097");
        says(control_of("x", CONTROL_SEALS, |bytes| bytes[512] = 4), "no record can end at 4");
        says(control_of("x", CONTROL_SEALS, |bytes| bytes[519] = 0x80), "no record can end");
        says(control_of("x", CONTROL_SEALS, |bytes| bytes[896] = 9), "state is 9");
        let holey = memfd_create(called("x", "control"), MemfdFlags::CLOEXEC.union(MemfdFlags::ALLOW_SEALING)).unwrap();
        ftruncate(&holey, 4096).unwrap();
        fcntl_add_seals(&holey, CONTROL_SEALS).unwrap();
        says(holey, "has holes");
    });
}

/// A process that looks at it, say, has the file open for a moment, and may come first.
#[test]
fn a_fault_is_told_of_the_process_that_is_asked_about_whoever_else_has_the_file() {
    let test = "a_fault_is_told_of_the_process_that_is_asked_about_whoever_else_has_the_file";
    if role().as_deref() == Some("owner") {
        let control = control_of("x", CONTROL_SEALS, |bytes| bytes[0] ^= 1);
        say(&control.as_raw_fd().to_string());
        assert_eq!(told(), "look");
        return say(&fault_of(&control));
    }
    isolated(test, || {
        let mut owner = Peer::start(test, "owner", "");
        let path = format!("/proc/{}/fd/{}", owner.pid(), owner.heard());
        let _other = std::fs::File::open(path).unwrap();
        owner.tell("look");
        assert!(owner.heard().contains("magic"));
        owner.finish();
        let survey = inspect::process(std::process::id()).unwrap();
        assert!(matches!(&unseen_of(&survey, std::process::id())[..], [Reason::Broken { .. }]), "{survey:?}");
    });
}

#[test]
fn a_lane_whose_memory_is_not_what_it_says_is_listed_and_cannot_be_tapped() {
    isolated("a_lane_whose_memory_is_not_what_it_says_is_listed_and_cannot_be_tapped", || {
        let inode = |fd: &OwnedFd| rustix::fs::fstat(fd).unwrap().st_ino;
        let name = &unique_name();
        let tap = |data: &OwnedFd, capacity: u64, data_inode: u64| {
            let bytes = control_bytes(name, capacity, data_inode);
            let write = |fd: &OwnedFd| assert_eq!(pwrite(fd, &bytes, 0), Ok(4096));
            let _control = file(&called(name, "control"), 4096, CONTROL_SEALS, write);
            let survey = inspect::process(std::process::id());
            // Nobody maps it for writing, and this process has it open: it is no lane of this process's.
            assert!(survey.unwrap().lanes.is_empty());
            let lane = find(&inspect::lanes().unwrap(), name).unwrap();
            assert!(lane.keepers.iter().any(|keeper| keeper.pid == std::process::id()), "{:?}", lane.keepers);
            let _kept = data.as_fd();
            lane.tap(Start::Latest).unwrap_err().to_string()
        };
        let data = |len, seals| file(&called(name, "data"), len, seals, |_| {});
        let good = data(4096, SEALED);
        let error = tap(&good, 8192, inode(&good));
        assert!(error.contains("4096 bytes long, where 8192"), "{error}");
        let error = tap(&good, 4096, inode(&good) + 1_000_000);
        assert!(error.contains("No such process"), "there is no such region: {error}");
        let open = data(4096, SHAPE);
        let error = tap(&open, 4096, inode(&open));
        assert!(error.contains("lacks the seals FUTURE_WRITE"), "{error}");
        let shrinking = data(4096, SealFlags::GROW.union(SealFlags::FUTURE_WRITE));
        let error = tap(&shrinking, 4096, inode(&shrinking));
        assert!(error.contains("lacks the seals SHRINK"), "{error}");
    });
}

#[test]
fn a_seat_that_claims_a_lane_is_no_reader_where_its_process_has_no_part_in_that_lane() {
    let test = "a_seat_that_claims_a_lane_is_no_reader_where_its_process_has_no_part_in_that_lane";
    if role().as_deref() == Some("producer") {
        return producer();
    }
    isolated(test, || {
        let (_peer, name) = start_producer(test, "");
        let id = find(&inspect::lanes().unwrap(), &name).unwrap().info.id;
        let mut stripe = vec![0; 4096];
        stripe[384..400].copy_from_slice(&id);
        stripe[288] = 2;
        let _seat = file("fdring:seat", 4096, SHAPE, |fd| assert_eq!(pwrite(fd, &stripe, 0), Ok(4096)));
        assert!(find(&inspect::lanes().unwrap(), &name).unwrap().consumers.is_empty(), "it claims, and no more");
    });
}

/// A producer that puts something else where its lane's regions were, as it is told.
fn swapper() {
    let _name = producer_that_swaps();
}

fn producer_that_swaps() -> String {
    let name = unique_name();
    let _lane = LaneOptions::new(&name).capacity(4096).create().unwrap();
    let dir = TempDir::new();
    let fifo = dir.path().join("fifo");
    let c_path = std::ffi::CString::new(fifo.to_str().unwrap()).unwrap();
    // SAFETY: the path is a text that ends with zero.
    assert_eq!(unsafe { libc::mkfifo(c_path.as_ptr(), 0o600) }, 0);
    // Nobody writes there: to open it to be read would wait for ever.
    let fifo = rustix::fs::open(&fifo, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()).unwrap();
    say(&name);
    told();
    for entry in std::fs::read_dir("/proc/self/fd").unwrap() {
        let path = entry.unwrap().path();
        let is_lane = std::fs::read_link(&path).is_ok_and(|to| to.to_string_lossy().contains(&name));
        if is_lane {
            let number: i32 = path.file_name().unwrap().to_str().unwrap().parse().unwrap();
            // SAFETY: the lane is never used again: this process is killed.
            assert_eq!(unsafe { libc::dup2(fifo.as_raw_fd(), number) }, number);
        }
    }
    say("swapped");
    wait_for_the_end()
}

#[test]
fn another_file_under_the_number_of_a_lane_s_is_not_opened() {
    let test = "another_file_under_the_number_of_a_lane_s_is_not_opened";
    if role().is_some() {
        return swapper();
    }
    let mut peer = Peer::start(test, "swapper", "");
    let name = peer.heard();
    let lane = find(&inspect::lanes().unwrap(), &name).unwrap();
    peer.tell("go");
    peer.expect("swapped");
    let begun = Instant::now();
    match lane.tap(Start::Latest) {
        // By its mapping, if this process may do that.
        Ok(tap) => assert_eq!(tap.lane().name, name),
        Err(error) => assert!(matches!(error, Error::Os { .. }), "{error}"),
    }
    let _ = inspect::lanes().unwrap();
    assert!(begun.elapsed() < common::DEADLINE / 2);
    peer.kill();
}

/// A process with many descriptors, some of which wait for ever when opened.
fn hoarder() {
    let (reads, _writes) = rustix::pipe::pipe().unwrap();
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let count = limit.current.unwrap_or(5000).min(5000) - 200;
    let kept: Vec<OwnedFd> = (0..count).map(|_| rustix::io::dup(&reads).unwrap()).collect();
    let name = unique_name();
    let _lane = LaneOptions::new(&name).capacity(4096).create().unwrap();
    say(&format!("{name} {}", kept.len()));
    wait_for_the_end()
}

#[test]
fn a_lane_is_found_among_many_descriptors() {
    let test = "a_lane_is_found_among_many_descriptors";
    if role().is_some() {
        return hoarder();
    }
    let mut peer = Peer::start(test, "hoarder", "");
    let said = peer.heard();
    let (name, _) = said.split_once(' ').unwrap();
    let lane = find(&inspect::process(peer.pid()).unwrap(), name).unwrap();
    assert_eq!(lane.producer.unwrap().pid, peer.pid());
}

#[test]
fn a_producer_in_a_pid_namespace_of_its_own_is_seen_from_outside_of_it() {
    let test = "a_producer_in_a_pid_namespace_of_its_own_is_seen_from_outside_of_it";
    if role().is_some() {
        return in_pid_namespace(|| {
            let name = unique_name();
            let _lane = LaneOptions::new(&name).capacity(4096).create().unwrap();
            assert_eq!(std::process::id(), 1);
            say(&name);
            wait_for_the_end()
        });
    }
    if !is_root() {
        return;
    }
    let mut peer = Peer::start(test, "producer", "");
    let name = peer.heard();
    if name == "skipped" {
        return skipped("there are no pid namespaces here");
    }
    let lane = find(&inspect::lanes().unwrap(), &name).unwrap();
    assert_eq!(lane.state, LaneState::Live);
    assert!(lane.producer.as_ref().unwrap().pid != 1);
    let mut tap = lane.tap(Start::Latest).unwrap();
    drop(peer);
    assert_eq!(tap.receive().unwrap_err(), fdring::errors::TapError::PeerDead);
}

#[test]
fn within_a_pid_namespace_it_is_said_that_there_may_be_more() {
    let test = "within_a_pid_namespace_it_is_said_that_there_may_be_more";
    if role().is_some() {
        return in_pid_namespace(|| {
            // The /proc of the namespace outside: its numbers are not those of this one.
            let error = inspect::lanes().map(|_| ()).map_err(|error| error.to_string());
            let is_refused = error.is_err_and(|error| error.contains("another pid namespace"));
            // SAFETY: the texts end with zero, and what is mounted concerns this process's namespace only.
            let private = unsafe {
                libc::mount(
                    c"none".as_ptr(),
                    c"/".as_ptr(),
                    std::ptr::null(),
                    libc::MS_REC | libc::MS_PRIVATE,
                    std::ptr::null(),
                )
            };
            // SAFETY: as above.
            let mounted =
                unsafe { libc::mount(c"proc".as_ptr(), c"/proc".as_ptr(), c"proc".as_ptr(), 0, std::ptr::null()) };
            assert_eq!((private, mounted), (0, 0));
            let mut lane = Producer::create(unique_name()).unwrap();
            lane.send(&[1]).unwrap();
            let survey = inspect::lanes().unwrap();
            let is_named = survey.unseen.iter().any(|unseen| unseen.reason == Reason::Namespace);
            let own = survey.lanes.iter().find(|found| found.info.name == lane.lane().name).unwrap();
            say(&format!("{is_refused} {is_named} {} {}", own.producer.as_ref().unwrap().pid, survey.lanes.len()));
        });
    }
    if !is_root() {
        return;
    }
    let mut peer = Peer::start(test, "looker", "");
    let said = peer.heard();
    if said == "skipped" {
        return skipped("there are no pid namespaces here");
    }
    assert_eq!(said, "true true 1 1");
}

/// Looks as nobody, where /proc hides the processes of others.
fn hidden_from() {
    // SAFETY: it concerns this process only, and what it starts.
    if unsafe { libc::unshare(libc::CLONE_NEWNS) } != 0 {
        return say("skipped");
    }
    let (none, flags) = (std::ptr::null(), libc::MS_REC | libc::MS_PRIVATE);
    // SAFETY: the texts end with zero, and what is mounted concerns this process's namespace only.
    assert_eq!(unsafe { libc::mount(c"none".as_ptr(), c"/".as_ptr(), none, flags, none.cast()) }, 0);
    let proc = c"proc".as_ptr();
    // SAFETY: as above.
    let mounted = unsafe { libc::mount(proc, c"/proc".as_ptr(), proc, 0, c"hidepid=2".as_ptr().cast()) };
    assert_eq!(mounted, 0, "{}", std::io::Error::last_os_error());
    become_user(NOBODY);
    be_dumpable(true);
    let lane = Producer::create(unique_name()).unwrap();
    let survey = inspect::lanes().unwrap();
    let is_named = survey.unseen.iter().any(|unseen| unseen.reason == Reason::Hidden);
    let others = survey.unseen.iter().filter(|unseen| unseen.reason == Reason::OtherUser).count();
    say(&format!("{is_named} {others} {}", find(&survey, &lane.lane().name).unwrap().state));
}

#[test]
fn where_proc_hides_processes_it_is_said_that_it_does() {
    let test = "where_proc_hides_processes_it_is_said_that_it_does";
    if role().is_some() {
        return hidden_from();
    }
    if !is_root() {
        return;
    }
    let mut peer = Peer::start(test, "looker", "");
    let said = peer.heard();
    if said == "skipped" {
        return skipped("there are no mount namespaces here");
    }
    assert_eq!(said, "true 0 live");
}

#[test]
fn a_survey_is_whole_while_processes_come_and_go() {
    let test = "a_survey_is_whole_while_processes_come_and_go";
    if role().is_some() {
        return producer();
    }
    let name = unique_name();
    let address = format!("@{}", unique_name());
    let lane = LaneOptions::new(&name).capacity(4096).create().unwrap();
    let server = Server::listen(&*address, [&lane]).unwrap();
    let started = std::sync::Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        let coming_and_going = scope.spawn(|| {
            for _ in 0..20 {
                drop(Consumer::connect(&address).unwrap());
                let (peer, _) = start_producer(test, "");
                started.lock().unwrap().push(peer.pid());
                peer.kill();
            }
        });
        while !coming_and_going.is_finished() {
            let survey = inspect::lanes().unwrap();
            let found = find(&survey, &name).expect("this one stays");
            assert_eq!((found.state, found.producer.unwrap().pid), (LaneState::Live, std::process::id()));
            for pid in &*started.lock().unwrap() {
                let is_fault = |reason: &Reason| matches!(reason, Reason::Broken { .. } | Reason::Denied);
                assert!(!unseen_of(&survey, *pid).iter().any(is_fault), "{:?}", survey.unseen);
            }
        }
    });
    wait_until("all have left", || server.stats().sessions == 0);
}

#[test]
fn a_look_and_a_tap_keep_no_producer_s_memory_from_being_frozen() {
    isolated("a_look_and_a_tap_keep_no_producer_s_memory_from_being_frozen", || {
        let name = &unique_name();
        let data = file(&called(name, "data"), 4096, SEALED, |_| {});
        let inode = rustix::fs::fstat(&data).unwrap().st_ino;
        let bytes = control_bytes(name, 4096, inode);
        let _control =
            file(&called(name, "control"), 4096, CONTROL_SEALS, |fd| assert_eq!(pwrite(fd, &bytes, 0), Ok(4096)));
        let lane = find(&inspect::lanes().unwrap(), name).unwrap();
        let tap = lane.tap(Start::Latest).unwrap();
        fcntl_add_seals(&data, SealFlags::WRITE).unwrap();
        drop(tap);
        let access = fcntl_getfl(&data).unwrap() & OFlags::ACCMODE;
        assert_eq!(access, OFlags::RDWR, "what is lent to be looked at stays as it is");
    });
}
