//! A file of a file system that answers nothing any more once the file is open: each close of it waits, and so does
//! each question about it.
//!
//! Use it beside `mod common;` and `mod peer;`, by `#[path = "common/fuse.rs"] mod fuse;`. A process of its own serves
//! the file system, by the protocol of /dev/fuse (fuse(4)), in a mount that has no place in any tree. Once that process
//! is gone, whatever waits goes on, and nothing is left. It is killed if the thread that has started it ends, and ends
//! by itself after a minute: a process in which a close waits cannot end before it does.
#![allow(dead_code, reason = "each test file uses a part of this")]
#![allow(unsafe_code, reason = "system calls that rustix lacks")]

use crate::common::{command, role, skipped};
use crate::peer::{Peer, say};
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::fs::{Mode, OFlags, open};
use std::ffi::CStr;
use std::io::{Error, Result};
use std::os::fd::FromRawFd;
use std::os::unix::process::CommandExt;

const SERVES: &str = "serves files";
/// How long the process that serves lives at most, in seconds.
const LIFE_SECONDS: u32 = 60;
/// Numbers of the protocol: linux/fuse.h.
const LOOKUP: u32 = 1;
const GETATTR: u32 = 3;
const OPEN: u32 = 14;
const FLUSH: u32 = 25;
const INIT: u32 = 26;
const ROOT: u64 = 1;
const FILE: u64 = 2;

/// The file, and the process that serves it.
#[derive(Debug)]
pub(crate) struct Silent {
    // Dropped first, so that the file can be closed.
    server: Peer,
    file: OwnedFd,
}

impl Silent {
    /// Starts the process, as the test named `test`, which begins with [`serves`]. `None` if the kernel lets nobody
    /// have such a file system here, which is said.
    pub(crate) fn start(test: &str) -> Option<Self> {
        let mut command = command(test, SERVES);
        if !rustix::process::geteuid().is_root() {
            // SAFETY: the child makes system calls alone.
            unsafe { command.pre_exec(enter_namespace) };
        }
        let mut server = Peer::start_command(command, "").unwrap();
        let said = server.heard();
        let Some(mount) = said.strip_prefix("mounted ") else {
            skipped(&format!("there is no file system of one's own here: {said}"));
            return None;
        };
        let path = format!("/proc/{}/fd/{mount}/file", server.pid());
        let file = open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).unwrap();
        Some(Self { server, file })
    }

    /// Waits until one more close of the file waits.
    pub(crate) fn expect_close(&mut self) {
        self.server.expect("a close waits");
    }
}

impl AsFd for Silent {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// In a child that is not root, before exec: a user namespace in which it may mount.
fn enter_namespace() -> Result<()> {
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    // SAFETY: this process has one thread and shares nothing.
    if unsafe { libc::unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWNS) } == 0 {
        std::fs::write("/proc/self/uid_map", format!("0 {uid} 1"))?;
        std::fs::write("/proc/self/setgroups", "deny")?;
        std::fs::write("/proc/self/gid_map", format!("0 {gid} 1"))?;
    }
    Ok(())
}

/// Serves the file system if this process is to, and then `true`.
pub(crate) fn serves() -> bool {
    let serves = role().as_deref() == Some(SERVES);
    if serves {
        // SAFETY: SIGALRM ends this process.
        unsafe { libc::alarm(LIFE_SECONDS) };
        rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL)).unwrap();
        if let Err(error) = serve() {
            say(&format!("{error}"));
        }
    }
    serves
}

fn serve() -> Result<()> {
    let device = open("/dev/fuse", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    let mount = mount(&device)?;
    say(&format!("mounted {}", mount.as_raw_fd()));
    let mut is_open = false;
    let mut request = vec![0; 1 << 17];
    loop {
        rustix::io::read(&device, &mut request)?;
        let word = |at: usize| u32::from_ne_bytes(request[at..at + 4].try_into().unwrap());
        let long = |at: usize| u64::from_ne_bytes(request[at..at + 8].try_into().unwrap());
        let (kind, number, node) = (word(4), long(8), long(16));
        let answer = match kind {
            INIT => init(),
            FLUSH => {
                say("a close waits");
                continue;
            }
            _ if is_open => continue,
            // Valid for no time at all.
            LOOKUP => [&FILE.to_ne_bytes()[..], &[0; 32], &attributes(FILE)].concat(),
            GETATTR => [&[0; 16][..], &attributes(node)].concat(),
            OPEN => {
                is_open = true;
                vec![0; 16]
            }
            _ => Vec::new(),
        };
        let error = if answer.is_empty() { -libc::ENOSYS } else { 0 };
        let mut message = ((16 + answer.len()) as u32).to_ne_bytes().to_vec();
        message.extend(error.to_ne_bytes());
        message.extend(number.to_ne_bytes());
        message.extend(answer);
        // The request can be over.
        let _ = rustix::io::write(&device, &message);
    }
}

/// Version 7.31, without anything that one can do without.
fn init() -> Vec<u8> {
    let mut answer = vec![0; 64];
    for (at, value) in [(0, 7_u32), (4, 31), (20, 4096)] {
        answer[at..at + 4].copy_from_slice(&value.to_ne_bytes());
    }
    answer
}

fn attributes(node: u64) -> Vec<u8> {
    let mode = if node == ROOT { libc::S_IFDIR | 0o755 } else { libc::S_IFREG | 0o644 };
    let mut attributes = vec![0; 88];
    attributes[..8].copy_from_slice(&node.to_ne_bytes());
    attributes[60..64].copy_from_slice(&mode.to_ne_bytes());
    attributes[64..68].copy_from_slice(&1_u32.to_ne_bytes());
    attributes
}

/// The root of a file system that the holder of `device` serves.
fn mount(device: &OwnedFd) -> Result<OwnedFd> {
    const FSOPEN_CLOEXEC: u32 = 1;
    const FSMOUNT_CLOEXEC: u32 = 1;
    const SET_STRING: u32 = 1;
    const CREATE: u32 = 6;
    // SAFETY: the name ends with a zero byte, and outlives the call.
    let context = made(unsafe { libc::syscall(libc::SYS_fsopen, c"fuse".as_ptr(), FSOPEN_CLOEXEC) })?;
    let configure = |what: u32, key: Option<&CStr>, value: Option<&CStr>| {
        let pointer = |text: Option<&CStr>| text.map_or(std::ptr::null(), CStr::as_ptr);
        // SAFETY: the texts end with a zero byte, and outlive the call.
        let result =
            unsafe { libc::syscall(libc::SYS_fsconfig, context.as_raw_fd(), what, pointer(key), pointer(value), 0) };
        if result == 0 { Ok(()) } else { Err(Error::last_os_error()) }
    };
    let number = std::ffi::CString::new(device.as_raw_fd().to_string())?;
    for (key, value) in [(c"fd", &*number), (c"rootmode", c"40000"), (c"user_id", c"0"), (c"group_id", c"0")] {
        configure(SET_STRING, Some(key), Some(value))?;
    }
    configure(CREATE, None, None)?;
    // SAFETY: it takes numbers only.
    made(unsafe { libc::syscall(libc::SYS_fsmount, context.as_raw_fd(), FSMOUNT_CLOEXEC, 0) })
}

/// The descriptor that a system call has made.
fn made(result: libc::c_long) -> Result<OwnedFd> {
    if result < 0 {
        return Err(Error::last_os_error());
    }
    // SAFETY: the kernel has just made it for this call.
    Ok(unsafe { OwnedFd::from_raw_fd(result as i32) })
}
