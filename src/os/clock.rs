//! Clocks: one that costs next to nothing, and one that all processes of a machine share.

use rustix::time::{ClockId, clock_gettime};
use std::time::Duration;

/// The time since the machine started, to the last tick of the kernel: 1 to 10 ms exact, and a few nanoseconds to read.
#[inline]
pub(crate) fn coarse_now() -> Duration {
    let now = clock_gettime(ClockId::MonotonicCoarse);
    Duration::new(now.tv_sec.unsigned_abs(), now.tv_nsec as u32)
}

/// CLOCK_MONOTONIC, in ns.
#[inline]
pub(crate) fn now_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec.unsigned_abs() * 1_000_000_000 + now.tv_nsec.unsigned_abs()
}

/// A time on `CLOCK_MONOTONIC`, in nanoseconds: the clock of [`Instant`](std::time::Instant), which all processes of a
/// machine share.
///
/// In another time namespace (time_namespaces(7)) the clock has another offset: times of two namespaces cannot be
/// compared, and nothing notices that. Any number is a time; no method panics or overflows for one.
///
/// ```
/// use fdring::info::MonotonicTime;
///
/// let begun = MonotonicTime::now();
/// assert!(MonotonicTime::now() >= begun);
/// println!("{:?}", begun.age());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MonotonicTime(u64);

impl MonotonicTime {
    /// The time now.
    ///
    /// ```
    /// # use fdring::info::MonotonicTime;
    /// let begun = MonotonicTime::now();
    /// # assert!(MonotonicTime::now() >= begun);
    /// ```
    #[inline]
    pub fn now() -> Self {
        Self(now_ns())
    }

    /// The time of this number of nanoseconds, any number, as it lies in a record.
    ///
    /// ```
    /// # use fdring::info::MonotonicTime;
    /// assert!(MonotonicTime::from_nanos(1) < MonotonicTime::now());
    /// ```
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// The nanoseconds since the clock began: in the first time namespace, about when the machine started.
    ///
    /// ```
    /// # use fdring::info::MonotonicTime;
    /// assert_eq!(MonotonicTime::from_nanos(17).as_nanos(), 17);
    /// ```
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// The time from `earlier` to this one. 0 if `earlier` is later.
    ///
    /// ```
    /// # use fdring::info::MonotonicTime;
    /// # use std::time::Duration;
    /// let [first, second] = [100, 250].map(MonotonicTime::from_nanos);
    /// assert_eq!(second.since(first), Duration::from_nanos(150));
    /// assert_eq!(first.since(second), Duration::ZERO);
    /// ```
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// The time from this one to now. 0 if this one is later.
    ///
    /// ```
    /// # use fdring::info::MonotonicTime;
    /// # use std::time::Duration;
    /// assert!(MonotonicTime::from_nanos(1).age() > Duration::ZERO);
    /// assert_eq!(MonotonicTime::from_nanos(u64::MAX).age(), Duration::ZERO);
    /// ```
    pub fn age(self) -> Duration {
        Self::now().since(self)
    }
}
