//! SIGINT and SIGTERM end a run early, and keep what was measured; a second one ends the program.
#![allow(unsafe_code, reason = "signal handlers are installed through libc")]

use std::sync::atomic::{AtomicBool, Ordering};

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

extern "C" fn interrupt(_: libc::c_int) {
    INTERRUPTED.store(true, Ordering::Relaxed);
}

/// Has the two signals noted once each.
pub(crate) fn catch() {
    for signal in [libc::SIGINT, libc::SIGTERM] {
        // SAFETY: an all-zero action is a valid one of this plain struct.
        let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
        action.sa_sigaction = interrupt as extern "C" fn(libc::c_int) as usize;
        action.sa_flags = libc::SA_RESETHAND;
        // SAFETY: the handler only stores to an atomic; the old action is not asked for.
        unsafe { libc::sigaction(signal, &action, std::ptr::null_mut()) };
    }
}

/// Leaves the one that a terminal sends to all processes to the one that watches: it has this one end in order.
pub(crate) fn leave_to_parent() {
    // SAFETY: to ignore a signal needs no handler.
    unsafe { libc::signal(libc::SIGINT, libc::SIG_IGN) };
}

/// Whether one of them has come.
pub(crate) fn was_interrupted() -> bool {
    INTERRUPTED.load(Ordering::Relaxed)
}
