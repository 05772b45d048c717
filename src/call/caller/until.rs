//! Until when a call is waited for, and what its request waits for.
//!
//! The invariant: a deadline is fixed when it is first asked for, and the service is told no later one.

use crate::deadline::Deadline;
use crate::os::clock::{Anchor, coarse_ns, has_come, now_ns};
use std::time::Duration;

/// From this timeout on a tick of the kernel, 1 to 10 ms, makes no difference.
const LONG_TIMEOUT: Duration = Duration::from_secs(1);
/// A request up to this length is on its way within a microsecond.
const SOON_WRITTEN_MAX_BYTES: usize = 4096;

/// When a request is given up, and whether it waits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    pub(super) until: Until,
    pub(super) waits: Waits,
}

/// When a call is given up: on CLOCK_MONOTONIC, in ns.
#[derive(Clone, Copy, Debug)]
pub(in crate::call) enum Until {
    /// `None` is never.
    At(Option<u64>),
    /// That long after its request is on its way, or has to wait: so the clock is read while the service is at it, or
    /// not at all if the reply comes in a microsecond. The service is told a time that is earlier by up to a tick of
    /// the kernel, which takes 5 ns to read instead of 20.
    After(Duration),
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
    /// Those of a request of `len` bytes that is copied into the ring, and waits for room.
    #[inline]
    pub(super) fn of_copy(len: usize, timeout: Duration) -> Self {
        if timeout < LONG_TIMEOUT || len > SOON_WRITTEN_MAX_BYTES {
            return Self::after(timeout, Waits::Here);
        }
        Self { until: Until::After(timeout), waits: Waits::Here }
    }

    /// Those of a request whose time runs from now on.
    #[inline]
    pub(super) fn after(timeout: Duration, waits: Waits) -> Self {
        Self { until: Until::At(later_by(now_ns(), timeout)), waits }
    }
}

impl Until {
    /// The deadline, which is fixed from now on.
    #[inline]
    pub(super) fn fix(&mut self) -> Option<u64> {
        match *self {
            Self::At(deadline_ns) => deadline_ns,
            Self::After(timeout) => {
                let deadline_ns = later_by(now_ns(), timeout);
                *self = Self::At(deadline_ns);
                deadline_ns
            }
        }
    }

    pub(super) fn has_passed(&mut self) -> bool {
        self.fix().is_some_and(has_come)
    }

    /// What the service is told of the deadline; 0 if there is none.
    #[inline]
    pub(super) fn told_ns(&self) -> u64 {
        let told = match *self {
            Self::At(deadline_ns) => deadline_ns,
            Self::After(timeout) => later_by(coarse_ns(), timeout),
        };
        told.unwrap_or(0)
    }

    /// The deadline for a wait, fixed from now on.
    pub(super) fn deadline(&mut self, anchor: Anchor) -> Deadline {
        anchor.deadline_of(self.fix())
    }
}

/// `None` if nanoseconds cannot count that far.
#[inline]
fn later_by(now_ns: u64, timeout: Duration) -> Option<u64> {
    let whole_ns = timeout.as_secs().checked_mul(1_000_000_000)?;
    now_ns.checked_add(whole_ns)?.checked_add(u64::from(timeout.subsec_nanos()))
}
