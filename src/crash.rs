//! Named points at which a test makes a process die, as if it were killed in the middle of that step.
//!
//! Without the feature `crash-points` a point is no code, and this file has only its two macros. With it,
//! `FDRING_CRASH_AT=producer-before-bell:3` in the environment lets the point of that name pass three times; at the
//! fourth the process sends itself SIGKILL. `tests/crash_points.rs` has the list of all points, and sees each of them
//! kill.
//!
//! [`sync`](crate::sync) counts a point of the name `store` before each store to a word that both sides see. So a point
//! of a step within a record has a name of its own only if a test asserts whether the record was published; the other
//! names are steps of a session, at each of which a test kills. `ring` has none.

/// Dies here if the environment says so: `point!("producer-before-header")`. A second argument is an expression that is
/// evaluated first: for a step that is otherwise never half done.
macro_rules! point {
    ($name:literal $(, $first:expr)?) => {
        #[cfg(feature = "crash-points")]
        {
            $($first;)?
            $crate::crash::reach($name);
        }
    };
}

/// Dies as soon as this thread sleeps in the kernel, if the environment says so. Its place is just before the sleep.
macro_rules! asleep {
    ($name:literal) => {
        #[cfg(feature = "crash-points")]
        $crate::crash::reach_asleep($name);
    };
}

pub(crate) use {asleep, point};

#[cfg(feature = "crash-points")]
pub use armed::reach;
#[cfg(feature = "crash-points")]
pub(crate) use armed::reach_asleep;

#[cfg(feature = "crash-points")]
mod armed {
    use rustix::process::{Pid, Signal, getpid, kill_process};
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    /// The point at which this process dies.
    struct DeathPoint {
        name: String,
        /// The number of passes that are left before that.
        passes: AtomicU64,
    }

    /// Dies here if this is the point that the environment names, and the pass that it counts to.
    pub fn reach(name: &str) {
        if is_due(name) {
            die();
        }
    }

    /// Like [`reach`], but waits until this thread sleeps.
    pub(crate) fn reach_asleep(name: &str) {
        if is_due(name) {
            let sleeper = rustix::thread::gettid();
            std::thread::spawn(move || {
                while !is_asleep(sleeper) {
                    std::thread::yield_now();
                }
                die();
            });
        }
    }

    fn is_due(name: &str) -> bool {
        static ARMED: OnceLock<Option<DeathPoint>> = OnceLock::new();
        let Some(armed) = ARMED.get_or_init(from_environment) else { return false };
        // Relaxed: a count, and nothing that goes with it. Below 0 it wraps, which is as good as never.
        armed.name == name && armed.passes.fetch_sub(1, Ordering::Relaxed) == 0
    }

    fn from_environment() -> Option<DeathPoint> {
        let wish = std::env::var("FDRING_CRASH_AT").ok()?;
        let (name, passes) = wish.split_once(':').unwrap_or((&wish, "0"));
        let passes = passes.parse().expect("FDRING_CRASH_AT is the name of a crash point, and after a colon a number");
        Some(DeathPoint { name: name.to_owned(), passes: AtomicU64::new(passes) })
    }

    fn die() -> ! {
        let _ = kill_process(getpid(), Signal::KILL);
        // No thread of this process gets this far: the signal is taken on the way out of that call.
        loop {
            std::thread::park();
        }
    }

    /// Whether a thread of this process sleeps in the kernel; see proc_pid_stat(5).
    fn is_asleep(thread: Pid) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/self/task/{thread}/stat")).unwrap_or_default();
        stat.rsplit_once(") ").is_some_and(|(_, fields)| fields.starts_with('S'))
    }
}
