//! How long a call on a socket still waits after a signal has interrupted it.
//!
//! The invariant: the socket's own limit (`SO_RCVTIMEO`, `SO_SNDTIMEO`, socket(7)) counts from the first attempt. The
//! kernel counts anew in each attempt: with a timer that is shorter than the limit, a call would never end.

use crate::deadline::{Deadline, timespec};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, socket_timeout};
use std::os::fd::BorrowedFd;
use std::time::Instant;

/// The patience of one call.
pub(super) struct Patience<'a> {
    socket: BorrowedFd<'a>,
    direction: Timeout,
    /// `None` for a call that does not wait.
    begun: Option<Instant>,
    /// Set by the first signal: waiting is done by poll(2) from then on, and the attempts do not wait.
    limit: Option<Deadline>,
}

impl<'a> Patience<'a> {
    /// Of a call with `flags` that begins now.
    pub(super) fn new(socket: BorrowedFd<'a>, direction: Timeout, flags: libc::c_int) -> Self {
        let begun = (flags & libc::MSG_DONTWAIT == 0).then(Instant::now);
        Self { socket, direction, begun, limit: None }
    }

    /// What an attempt's `flags` are to be.
    pub(super) fn flags(&self, flags: libc::c_int) -> libc::c_int {
        if self.limit.is_some() { flags | libc::MSG_DONTWAIT } else { flags }
    }

    /// After an attempt that failed: `Ok` if there is to be another.
    pub(super) fn after(&mut self, error: Errno) -> Result<(), Errno> {
        match (error, self.limit) {
            (Errno::INTR, None) => self.limit = self.ask_limit()?,
            (Errno::INTR | Errno::AGAIN, Some(_)) => {}
            _ => return Err(error),
        }
        self.limit.map_or(Ok(()), |limit| self.wait(limit))
    }

    /// Until when this call may wait; `None` if the socket has no limit, or if the call does not wait.
    fn ask_limit(&self) -> Result<Option<Deadline>, Errno> {
        let Some(begun) = self.begun else { return Ok(None) };
        let limit = socket_timeout(self.socket, self.direction)?;
        Ok(limit.and_then(|limit| begun.checked_add(limit)).map(Deadline::At))
    }

    /// Waits until another attempt may succeed; `EAGAIN` if the limit passes first, as the call itself would say.
    fn wait(&self, limit: Deadline) -> Result<(), Errno> {
        let events = if self.direction == Timeout::Recv { PollFlags::IN } else { PollFlags::OUT };
        loop {
            let remaining = limit.remaining().map(timespec);
            match poll(&mut [PollFd::from_borrowed_fd(self.socket, events)], remaining.as_ref()) {
                Ok(0) => return Err(Errno::AGAIN),
                Ok(_) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error),
            }
        }
    }
}
