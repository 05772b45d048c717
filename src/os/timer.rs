//! A descriptor that becomes readable at a time, for an endpoint that is waited for in an event loop or a task.

use crate::deadline::timespec;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::read;
use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, timerfd_create, timerfd_settime};
use std::time::Duration;

#[derive(Debug)]
pub(crate) struct Timer(OwnedFd);

impl Timer {
    /// A timer that is not set.
    pub(crate) fn new() -> rustix::io::Result<Self> {
        timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK).map(Self)
    }

    /// Makes the descriptor readable after this time, or never.
    pub(crate) fn set(&self, remaining: Option<Duration>) -> rustix::io::Result<()> {
        // A time of 0 would stop it.
        let limit = remaining.map_or(Duration::ZERO, |remaining| remaining.max(Duration::from_nanos(1)));
        let once = Itimerspec { it_interval: timespec(Duration::ZERO), it_value: timespec(limit) };
        // A time that is longer than the kernel counts never comes.
        timerfd_settime(&self.0, TimerfdTimerFlags::empty(), &once).map(drop)
    }

    /// Makes the descriptor unreadable; whether it was readable.
    pub(crate) fn take(&self) -> bool {
        read(&self.0, &mut [0; 8]).is_ok()
    }
}

impl AsFd for Timer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
