//! When a service in an event loop, or in a task, is to be called again though nothing comes.
//!
//! The invariant: once a call that does not wait has found nothing, the descriptor becomes readable no later than the
//! next caller is to be evicted.

use crate::deadline::timespec;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::{Errno, read};
use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, timerfd_create, timerfd_settime};
use std::time::{Duration, Instant};

#[derive(Debug)]
pub(super) struct Timer(OwnedFd);

impl Timer {
    pub(super) fn new() -> rustix::io::Result<Self> {
        timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK).map(Self)
    }

    /// Makes the descriptor readable at `due`, or never.
    pub(super) fn set(&self, due: Option<Instant>) -> rustix::io::Result<()> {
        // A time of 0 would stop it.
        let limit = due.map(|due| due.saturating_duration_since(Instant::now()).max(Duration::from_nanos(1)));
        let it_value = timespec(limit.unwrap_or_default());
        let once = Itimerspec { it_interval: timespec(Duration::ZERO), it_value };
        match timerfd_settime(&self.0, TimerfdTimerFlags::empty(), &once) {
            // Longer than the kernel counts.
            Ok(_) | Err(Errno::INVAL) => Ok(()),
            Err(errno) => Err(errno),
        }
    }

    /// Makes the descriptor unreadable; whether it was readable.
    pub(super) fn take(&self) -> bool {
        read(&self.0, &mut [0; 8]).is_ok()
    }
}

impl AsFd for Timer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
