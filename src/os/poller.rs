//! Waiting for many descriptors behind one: epoll(7), with a number for each descriptor.

use crate::deadline::timespec;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use std::mem::MaybeUninit;
use std::time::Duration;

/// The longest wait: longer ones end early, as if nothing had happened.
const WAIT_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// When a descriptor counts as ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trigger {
    /// For as long as there is something to read, or it has hung up.
    Level,
    /// Once each time something new can be read, whether or not the last was: each write to an eventfd, each expiry of
    /// a timerfd.
    Edge,
}

/// Descriptors that are waited for together.
#[derive(Debug)]
pub(crate) struct Poller(OwnedFd);

impl Poller {
    pub(crate) fn new() -> rustix::io::Result<Self> {
        epoll::create(CreateFlags::CLOEXEC).map(Self)
    }

    /// Watches `fd` too; [`wait`](Self::wait) names it `token`.
    pub(crate) fn add(&self, fd: impl AsFd, token: u64, trigger: Trigger) -> rustix::io::Result<()> {
        let edge = if trigger == Trigger::Edge { EventFlags::ET } else { EventFlags::empty() };
        epoll::add(&self.0, fd, EventData::new_u64(token), EventFlags::IN | edge)
    }

    /// Watches `fd` no longer.
    pub(crate) fn remove(&self, fd: impl AsFd) {
        // Fails only if it is not watched.
        let _ = epoll::delete(&self.0, fd);
    }

    /// Waits for a descriptor or the timeout; the tokens of up to `N` ready ones.
    pub(crate) fn wait<const N: usize>(&self, timeout: Option<Duration>) -> rustix::io::Result<Ready<N>> {
        let mut limit = timeout.map(|timeout| timespec(timeout.min(WAIT_MAX)));
        if limit.is_some_and(|limit| limit.tv_nsec % 1_000_000 != 0) {
            // epoll_wait(2) counts in milliseconds, and epoll_pwait2(2) came with Linux 5.11.
            poll(&mut [PollFd::new(&self.0, PollFlags::IN)], limit.as_ref())?;
            limit = Some(timespec(Duration::ZERO));
        }
        let mut events = [const { MaybeUninit::uninit() }; N];
        let (events, _) = epoll::wait(&self.0, &mut events, limit.as_ref())?;
        Ok(events.iter().map(|event| { event.data }.u64()).collect())
    }
}

impl AsFd for Poller {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// The tokens of descriptors that are ready.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ready<const N: usize> {
    tokens: [u64; N],
    len: usize,
}

impl<const N: usize> Ready<N> {
    pub(crate) fn tokens(&self) -> &[u64] {
        &self.tokens[..self.len]
    }

    /// Whether the descriptor with this token is ready.
    pub(crate) fn has(&self, token: u64) -> bool {
        self.tokens().contains(&token)
    }

    /// Whether the time was up before any was.
    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }
}

impl<const N: usize> FromIterator<u64> for Ready<N> {
    /// # Panics
    ///
    /// If there are more than `N`.
    fn from_iter<T: IntoIterator<Item = u64>>(tokens: T) -> Self {
        let mut ready = Self { tokens: [0; N], len: 0 };
        for token in tokens {
            ready.tokens[ready.len] = token;
            ready.len += 1;
        }
        ready
    }
}
