//! Processes of other users, and of namespaces that do not know them.
//!
//! Use it beside `mod common;`, by `#[path = "common/users.rs"] mod users;`.
#![allow(dead_code, reason = "each test file uses a part of this")]
#![allow(unsafe_code, reason = "changes users and namespaces")]

use crate::common::skipped;
use rustix::fs::{Mode, OFlags};

/// The user called nobody, and the one that stands for those that a namespace does not know.
pub(crate) const NOBODY: u32 = 65534;

/// Whether this test can change users; it says so if not.
pub(crate) fn is_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        skipped("only root can become another user");
    }
    root
}

/// This process goes on as that user.
pub(crate) fn become_user(uid: u32) {
    // SAFETY: setgid and setuid take any number.
    assert_eq!(unsafe { libc::setgid(uid) }, 0);
    // SAFETY: as above.
    assert_eq!(unsafe { libc::setuid(uid) }, 0);
}

/// In a forked child, before exec: enters a user namespace that knows this user alone, as 65534. The kernel says that
/// number of everybody else, too.
pub(crate) fn enter_namespace_as_the_overflow_user() -> std::io::Result<()> {
    // SAFETY: this process has one thread and shares nothing.
    if unsafe { libc::unshare(libc::CLONE_NEWUSER) } != 0 {
        return Err(std::io::Error::last_os_error());
    }
    let map = rustix::fs::open("/proc/self/uid_map", OFlags::WRONLY, Mode::empty())?;
    rustix::io::write(&map, b"65534 0 1\n")?;
    Ok(())
}

/// A process and its child, which is the first of a pid namespace of its own and does `what` there. Says "skipped"
/// if there is none.
pub(crate) fn in_pid_namespace(what: impl FnOnce()) {
    // SAFETY: it concerns the children of this process only.
    if unsafe { libc::unshare(libc::CLONE_NEWPID | libc::CLONE_NEWNS) } != 0 {
        return crate::peer::say("skipped");
    }
    // SAFETY: the harness's threads hold no lock that the child needs: it runs one function, and ends.
    match unsafe { libc::fork() } {
        0 => {
            what();
            std::process::exit(0);
        }
        child => {
            let child = rustix::process::Pid::from_raw(child).unwrap();
            rustix::process::waitpid(Some(child), rustix::process::WaitOptions::empty()).unwrap();
        }
    }
}
