//! Until when a call is waited for, and what its request waits for.
//!
//! The invariant: a call is waited for as long as its program said, or a little longer, and the service is told no
//! later time than that.

use crate::deadline::Deadline;
use crate::os::clock::{Anchor, coarse_ns, has_come, now_ns};
use std::time::Duration;

/// From this timeout on a tick of the kernel makes no difference. Its clock takes 5 ns to read, and the exact one 20.
const LONG_TIMEOUT: Duration = Duration::from_secs(1);
/// The longest tick there is (`CONFIG_HZ` is 100 or more).
const TICK_MAX_NS: u64 = 10_000_000;

/// When a request is given up, and whether it waits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    pub(super) until: Until,
    pub(super) waits: Waits,
}

/// When a call is given up: on CLOCK_MONOTONIC, in ns. `None` is never.
#[derive(Clone, Copy, Debug)]
pub(in crate::call) struct Until {
    ends_ns: Option<u64>,
    /// What the service is told: earlier by the longest tick, if it was reckoned by the clock that counts ticks.
    told_ns: Option<u64>,
}

/// Whether a request waits for room, and for a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Waits {
    /// Not for room.
    No,
    Here,
    /// Neither here: its task does, for both.
    #[cfg_attr(not(feature = "tokio"), allow(dead_code, reason = "only tasks wait so"))]
    InTask,
}

impl Terms {
    /// Those of a request whose time runs from now on.
    #[inline]
    pub(super) fn after(timeout: Duration, waits: Waits) -> Self {
        Self { until: Until::after(timeout), waits }
    }
}

impl Until {
    #[inline]
    fn after(timeout: Duration) -> Self {
        if timeout < LONG_TIMEOUT {
            return Self::at(later_by(now_ns(), timeout));
        }
        let told_ns = later_by(coarse_ns(), timeout);
        Self { ends_ns: told_ns.and_then(|told_ns| told_ns.checked_add(TICK_MAX_NS)), told_ns }
    }

    #[inline]
    pub(super) fn at(time_ns: Option<u64>) -> Self {
        Self { ends_ns: time_ns, told_ns: time_ns }
    }

    pub(super) fn has_passed(self) -> bool {
        self.ends_ns.is_some_and(has_come)
    }

    /// What the service is told of the deadline; 0 if there is none.
    #[inline]
    pub(super) fn told_ns(self) -> u64 {
        self.told_ns.unwrap_or(0)
    }

    /// The deadline for a wait.
    pub(super) fn deadline(self, anchor: Anchor) -> Deadline {
        anchor.deadline_of(self.ends_ns)
    }
}

/// `None` if nanoseconds cannot count that far.
#[inline]
fn later_by(now_ns: u64, timeout: Duration) -> Option<u64> {
    let whole_ns = timeout.as_secs().checked_mul(1_000_000_000)?;
    now_ns.checked_add(whole_ns)?.checked_add(u64::from(timeout.subsec_nanos()))
}
