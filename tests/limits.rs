//! Limits of the process and of its control groups: an error that names limit and remedy, where the kernel would kill.
#![allow(unsafe_code, reason = "enters a control group before exec")]

mod common;
#[path = "common/peer.rs"]
mod peer;

use common::{isolated, role, unique_name, wait_until};
use fdring::{Consumer, Error, Sealed, Server, Session, options::LaneOptions};
use peer::{Peer, say};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::fs;
use std::path::{Path, PathBuf};

fn limit_files(bytes: u64) {
    let maximum = getrlimit(Resource::Fsize).maximum;
    setrlimit(Resource::Fsize, Rlimit { current: Some(bytes), maximum }).unwrap();
}

#[test]
fn a_limit_of_the_length_of_files_is_an_error_and_kills_nobody() {
    isolated("a_limit_of_the_length_of_files_is_an_error_and_kills_nobody", || {
        let address = format!("@{}", unique_name());
        let mut producer = LaneOptions::new("lane").capacity(1 << 16).create().unwrap();
        let server = Server::listen(&*address, &[&producer]).unwrap();
        let mut early = Consumer::connect(&*address).unwrap();
        limit_files(4095);
        for error in [
            LaneOptions::new("ring").capacity(1 << 16).create().map(drop).unwrap_err(),
            Sealed::build("sealed", 4096, |_| ()).map(drop).unwrap_err(),
        ] {
            assert!(matches!(error, Error::Os { .. }), "{error}");
            assert!(error.to_string().contains("4095 bytes; raise the limit (ulimit -f)"), "{error}");
        }
        assert!(Sealed::build("empty", 0, |_| ()).is_ok());
        assert!(Sealed::build("short", 4095, |_| ()).is_ok(), "as much as the limit says");
        // The server lives, says why, and serves those it has.
        match Session::connect(&*address) {
            Err(Error::Refused { reason, .. }) => assert!(reason.contains("ulimit -f"), "{reason}"),
            other => panic!("{other:?}"),
        }
        producer.send(b"x").unwrap();
        assert_eq!(early.receive().unwrap().unwrap()[..], *b"x");
        limit_files(1 << 20);
        drop(Consumer::connect(&*address).unwrap());
        wait_until("the refusal is counted", || server.stats().refused == 1);
    });
}

/// A control group with a limit of memory, removed on drop.
struct Group(PathBuf);

impl Group {
    /// `None` where none can be made; it says so.
    fn new(limit_bytes: u64) -> Option<Self> {
        let roots = [("/sys/fs/cgroup/memory", "memory.limit_in_bytes"), ("/sys/fs/cgroup", "memory.max")];
        for (root, limit) in roots {
            let group = Path::new(root).join(unique_name());
            if !Path::new(root).exists() || fs::create_dir(&group).is_err() {
                continue;
            }
            let group = Self(group);
            if fs::write(group.0.join(limit), limit_bytes.to_string()).is_ok() {
                // Where swap counts too. It may be called otherwise, or be off.
                let _ = fs::write(group.0.join("memory.memsw.limit_in_bytes"), limit_bytes.to_string());
                let _ = fs::write(group.0.join("memory.swap.max"), "0");
                return Some(group);
            }
        }
        common::skipped("no control group with a limit of memory can be made here");
        None
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // The last process may have ended a moment ago.
        wait_until("the control group is removed", || fs::remove_dir(&self.0).is_ok());
    }
}

#[test]
fn a_limit_of_a_control_group_is_an_error_and_kills_nobody() {
    use std::os::unix::process::CommandExt;
    let test = "a_limit_of_a_control_group_is_an_error_and_kills_nobody";
    const LIMIT: u64 = 64 << 20;
    if role().is_some() {
        let small = LaneOptions::new("small").capacity(1 << 20).create().unwrap();
        for error in [
            LaneOptions::new("ring").capacity(2 * LIMIT).create().map(drop).unwrap_err(),
            Sealed::build("sealed", 2 * LIMIT, |_| ()).map(drop).unwrap_err(),
        ] {
            say(&error.to_string());
        }
        return drop(small);
    }
    let Some(group) = Group::new(LIMIT) else { return };
    let mut command = common::command(test, "member");
    let processes = std::ffi::CString::new(group.0.join("cgroup.procs").into_os_string().into_encoded_bytes()).unwrap();
    let enter = move || {
        let file = rustix::fs::open(&processes, rustix::fs::OFlags::WRONLY, rustix::fs::Mode::empty())?;
        rustix::io::write(&file, b"0")?;
        Ok(())
    };
    // SAFETY: what is called between fork and exec neither allocates nor locks.
    unsafe { command.pre_exec(enter) };
    let mut member = match Peer::start_command(command, "") {
        Ok(member) => member,
        Err(error) => return common::skipped(&format!("no process can enter a control group here ({error})")),
    };
    for _ in 0..2 {
        let said = member.heard();
        assert!(
            said.contains(&format!("may have {LIMIT} bytes")) && said.contains("raise the limit of the group"),
            "{said}"
        );
    }
    member.finish();
}
