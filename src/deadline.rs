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
        if timeout == Duration::MAX {
            return Self::Never;
        }
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
        Self::after(self.bound(timeout))
    }

    /// `timeout`, or the time left if that is shorter.
    pub(crate) fn bound(self, timeout: Duration) -> Duration {
        self.remaining().map_or(timeout, |remaining| remaining.min(timeout))
    }

    /// The sooner of the two.
    pub(crate) fn min(self, other: Self) -> Self {
        match (self, other) {
            (Self::Now, _) | (_, Self::Now) => Self::Now,
            (Self::Never, deadline) | (deadline, Self::Never) => deadline,
            (Self::At(one), Self::At(two)) => Self::At(one.min(two)),
        }
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

    #[test]
    fn the_sooner_of_two_deadlines_is_the_one_that_passes_first() {
        let [soon, later] = [1, 2].map(|seconds| Deadline::At(Instant::now() + Duration::from_secs(seconds)));
        let in_order = [Deadline::Now, soon, later, Deadline::Never];
        for (index, one) in in_order.into_iter().enumerate() {
            for (other_index, other) in in_order.into_iter().enumerate() {
                assert_eq!(one.min(other), in_order[index.min(other_index)]);
            }
        }
    }
}
