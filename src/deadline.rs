//! Deadlines: when a wait ends, and how much time is left.

use std::time::{Duration, Instant};

/// The end of a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Deadline {
    /// At once: the call does not wait.
    Now,
    At(Instant),
    Never,
}

impl Deadline {
    /// `timeout` from now; never if the clock cannot count that far.
    pub(crate) fn after(timeout: Duration) -> Self {
        Instant::now().checked_add(timeout).map_or(Self::Never, Self::At)
    }

    /// The time left; zero once the deadline has passed, `None` if there is none.
    pub(crate) fn remaining(self) -> Option<Duration> {
        match self {
            Self::Now => Some(Duration::ZERO),
            Self::At(instant) => Some(instant.saturating_duration_since(Instant::now())),
            Self::Never => None,
        }
    }

    /// The same, or one that passes after `timeout` if that is sooner.
    pub(crate) fn or_after(self, timeout: Duration) -> Self {
        Self::after(self.remaining().map_or(timeout, |remaining| remaining.min(timeout)))
    }

    pub(crate) fn has_passed(self) -> bool {
        self.remaining() == Some(Duration::ZERO)
    }
}

/// `duration` in the form that system calls take.
pub(crate) fn timespec(duration: Duration) -> rustix::time::Timespec {
    rustix::time::Timespec::try_from(duration).unwrap_or(rustix::time::Timespec { tv_sec: i64::MAX, tv_nsec: 0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_longer_than_the_clock_never_pass() {
        assert_eq!(Deadline::after(Duration::MAX), Deadline::Never);
        assert!(!Deadline::Never.has_passed() && Deadline::Now.has_passed());
    }
}
