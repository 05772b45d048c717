//! Ctrl-C: a command that has something to say at its end is asked to stop, and stops at once.
//!
//! Commands that have nothing to say leave the signals alone, and the kernel ends them.

use crate::Failure;
use fdring::Interrupter;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// The longest time between two looks at [`Stop::is_asked`] if nothing else wakes a loop.
pub(crate) const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// How long a command may take to end once a signal has asked for it.
const GRACE: Duration = Duration::from_millis(500);

/// Whether a signal has asked this process to stop.
///
/// SIGINT, SIGTERM and SIGHUP ask, but SIGHUP does not where nohup(1) has it ignored. A second SIGINT or SIGTERM ends
/// the process at once, with status 130, and so does the first signal after half a second, where the command is stuck:
/// in an output that nobody reads, say. A terminal that is closed may send SIGHUP twice, which kills nobody.
#[derive(Clone, Debug)]
pub(crate) struct Stop {
    is_asked: Arc<AtomicBool>,
    interrupter: Interrupter,
}

impl Stop {
    /// Takes the signals over.
    pub(crate) fn listen() -> Result<Self, Failure> {
        Self::listen_with(GRACE, || {})
    }

    /// As [`listen`](Self::listen), for a command that may take so long to end; with [`Duration::MAX`], as long as it
    /// needs. `last` is done before the process is ended where the command is stuck.
    pub(crate) fn listen_with(grace: Duration, last: fn()) -> Result<Self, Failure> {
        let stop = Self { is_asked: Arc::default(), interrupter: Interrupter::new()? };
        let failed = |error| Failure::new(format!("could not take over the signals: {error}"));
        let mut watched = vec![SIGINT, SIGTERM];
        watched.extend((!is_ignored(SIGHUP)).then_some(SIGHUP));
        let mut signals = Signals::new(watched).map_err(failed)?;
        let handle = stop.clone();
        let listen = move || {
            let mut is_insisted = false;
            for signal in signals.forever() {
                if is_insisted && signal != SIGHUP {
                    end(last);
                }
                is_insisted |= signal != SIGHUP;
                // Relaxed: nothing else is handed over by it.
                handle.is_asked.store(true, Ordering::Relaxed);
                handle.interrupter.interrupt();
                if grace < Duration::MAX {
                    // If no thread can be started, a second signal ends what is stuck.
                    let _ = std::thread::Builder::new().spawn(move || {
                        wait(grace);
                        end(last);
                    });
                }
            }
        };
        std::thread::Builder::new().name("signals".to_owned()).spawn(listen).map_err(failed)?;
        Ok(stop)
    }

    /// Whether the command is to end now.
    pub(crate) fn is_asked(&self) -> bool {
        self.is_asked.load(Ordering::Relaxed)
    }

    /// Ends waits of the library when the command is to end.
    pub(crate) fn interrupter(&self) -> &Interrupter {
        &self.interrupter
    }

    /// Waits until `fd` can be read, or until the command is to end.
    pub(crate) fn wait_for(&self, fd: impl AsFd) {
        let mut fds = [PollFd::new(&fd, PollFlags::IN), PollFd::new(&self.interrupter, PollFlags::IN)];
        while !self.is_asked() {
            match poll(&mut fds, None) {
                // The thread that hears the signal is yet to say so.
                Err(Errno::INTR) => {}
                Ok(_) if fds[0].revents().is_empty() => {}
                // What is wrong with the descriptor, its reader says better.
                Ok(_) | Err(_) => return,
            }
        }
    }

    /// Sleeps until `due`, or until the command is to end; without a time, until then.
    pub(crate) fn sleep_until(&self, due: Option<Instant>) {
        let mut fds = [PollFd::new(&self.interrupter, PollFlags::IN)];
        while !self.is_asked() {
            let rest = due.map(|due| due.saturating_duration_since(Instant::now()));
            if rest.is_some_and(|rest| rest.is_zero()) {
                return;
            }
            let rest = rest.and_then(|rest| Timespec::try_from(rest).ok());
            // A signal, or the time: both are looked at again.
            let _ = poll(&mut fds, rest.as_ref());
        }
    }
}

fn end(last: fn()) -> ! {
    last();
    std::process::exit(130)
}

/// Whether this process was started with that signal ignored.
fn is_ignored(signal: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask >> (signal - 1) & 1 == 1)
}

/// Lets so much time pass.
pub(crate) fn wait(time: Duration) {
    let Some(until) = Instant::now().checked_add(time) else {
        loop {
            std::thread::park();
        }
    };
    while let Some(rest) = until.checked_duration_since(Instant::now()).filter(|rest| !rest.is_zero()) {
        std::thread::park_timeout(rest);
    }
}
