//! Control groups with limits, of either version, for processes of a test.
//!
//! Use it beside `mod common;` and `mod peer;`, by `#[path = "common/group.rs"] mod group;`.
#![allow(dead_code, reason = "each test file uses a part of this")]
#![allow(unsafe_code, reason = "enters a group before exec")]

use crate::common::{command, skipped, unique_name, wait_until};
use crate::peer::Peer;
use rustix::fs::{Mode, OFlags};
use std::ffi::CString;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};

/// A control group, removed on drop.
#[derive(Debug)]
pub(crate) struct Group(PathBuf);

impl Group {
    /// One whose processes have that number of bytes together. `None`, with a message, if none can be made.
    pub(crate) fn of_memory(limit_bytes: u64) -> Option<Self> {
        let bytes = limit_bytes.to_string();
        let made = Self::new("/sys/fs/cgroup/memory", "memory.limit_in_bytes", &bytes)
            .or_else(|| Self::new("/sys/fs/cgroup", "memory.max", &bytes));
        let Some(group) = made else {
            skipped("no control group with a limit of memory can be made here");
            return None;
        };
        // Where swap counts too. It may be called otherwise, or be off.
        let _ = fs::write(group.0.join("memory.memsw.limit_in_bytes"), &bytes);
        let _ = fs::write(group.0.join("memory.swap.max"), "0");
        Some(group)
    }

    /// One whose processes have one processor's time together; `None` if none can be made, which is said.
    pub(crate) fn of_one_processor() -> Option<Self> {
        let made = Self::new("/sys/fs/cgroup/cpu", "cpu.cfs_quota_us", "100000")
            .or_else(|| Self::new("/sys/fs/cgroup", "cpu.max", "100000 100000"));
        if made.is_none() {
            skipped("no control group with a quota of processor time can be made here");
        }
        made
    }

    fn new(root: &str, limit: &str, value: &str) -> Option<Self> {
        let group = Path::new(root).join(unique_name());
        if !Path::new(root).exists() || fs::create_dir(&group).is_err() {
            return None;
        }
        let group = Self(group);
        fs::write(group.0.join(limit), value).is_ok().then_some(group)
    }

    /// A process of the group that plays a role in `test`; `None` if none can enter it, which is said.
    pub(crate) fn start(&self, test: &str, role: &str) -> Option<Peer> {
        let mut command = command(test, role);
        let processes = CString::new(self.0.join("cgroup.procs").into_os_string().into_encoded_bytes()).unwrap();
        let enter = move || {
            let file = rustix::fs::open(&processes, OFlags::WRONLY, Mode::empty())?;
            rustix::io::write(&file, b"0")?;
            Ok(())
        };
        // SAFETY: what is called between fork and exec neither allocates nor locks.
        unsafe { command.pre_exec(enter) };
        match Peer::start_command(command, "") {
            Ok(member) => Some(member),
            Err(error) => {
                skipped(&format!("no process can enter a control group here ({error})"));
                None
            }
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // The last process may have ended a moment ago.
        wait_until("the control group is removed", || fs::remove_dir(&self.0).is_ok());
    }
}
