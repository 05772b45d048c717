//! Storms of signals: a thread that waits gets one every few milliseconds.
//!
//! Use it by `#[path = "common/storm.rs"] mod storm;`, in a process of its own: the handler is the whole process's.
#![allow(dead_code, reason = "each test file uses a part of this")]
#![allow(unsafe_code, reason = "the handler, and the signals themselves")]

use crate::common::wait_until;
use rustix::event::{Timespec, poll};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// The limit of every wait here, and how long one may take that is late for want of a processor.
pub(crate) const LIMIT: Duration = Duration::from_millis(300);
const LATE: Duration = Duration::from_secs(4);
/// For so long there are signals.
const STORM: Duration = Duration::from_secs(6);
/// The pauses between two signals.
const PAUSES: [Duration; 2] = [Duration::from_millis(10), Duration::from_millis(1)];

/// How many signals were handled.
pub(crate) static HANDLED: AtomicU32 = AtomicU32::new(0);

extern "C" fn count(_: libc::c_int) {
    HANDLED.fetch_add(1, Ordering::Relaxed);
}

/// Has this process handle `signal` by counting it. Calls are interrupted.
fn handle(signal: libc::c_int) {
    // SAFETY: all zeros are a sigaction: no flags.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = count as *const () as usize;
    // SAFETY: the handler only adds to an atomic; the old action is not asked for.
    assert_eq!(unsafe { libc::sigaction(signal, &action, std::ptr::null_mut()) }, 0);
}

/// Runs `body` while its thread gets a signal after each `pause`, for a while; how long it took.
pub(crate) fn in_a_storm(pause: Duration, body: impl FnOnce()) -> Duration {
    handle(libc::SIGUSR1);
    // SAFETY: asks for nothing but a number.
    let target = unsafe { libc::pthread_self() };
    let (start, is_over) = (Instant::now(), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let pause = Timespec::try_from(pause).unwrap();
            while !is_over.load(Ordering::Relaxed) && start.elapsed() < STORM {
                // SAFETY: the thread outlives this scope.
                assert_eq!(unsafe { libc::pthread_kill(target, libc::SIGUSR1) }, 0);
                let _ = poll(&mut [], Some(&pause));
            }
        });
        body();
        is_over.store(true, Ordering::Relaxed);
    });
    start.elapsed()
}

/// That `body`, a wait with [`LIMIT`], takes about as long in a storm of signals. On a busy machine a wait may be over
/// before there were many: then it is made again.
pub(crate) fn ends_in_time(what: &str, mut body: impl FnMut()) {
    for pause in PAUSES {
        wait_until(&format!("{what}: there is a storm, one signal in {pause:?}"), || {
            let before = HANDLED.load(Ordering::Relaxed);
            let took = in_a_storm(pause, &mut body);
            let signals = HANDLED.load(Ordering::Relaxed) - before;
            assert!((LIMIT..LATE).contains(&took), "{what}: took {took:?} in {signals} signals, one in {pause:?}");
            signals > 5
        });
    }
}
