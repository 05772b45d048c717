//! Clocks: one that costs next to nothing, and one that all processes of a machine share.

use crate::deadline::Deadline;
use rustix::time::{ClockId, clock_gettime};
use std::time::{Duration, Instant};

/// The coarse clock is not behind by more than this, unless its ticks have no processor: then a time has come a little
/// late.
const COARSE_LAG_NS: u64 = 100_000_000;

/// The time since the machine started, to the last tick of the kernel: 1 to 10 ms exact, and a few nanoseconds to read.
#[inline]
pub(crate) fn coarse_now() -> Duration {
    let now = clock_gettime(ClockId::MonotonicCoarse);
    Duration::new(now.tv_sec.unsigned_abs(), now.tv_nsec as u32)
}

/// CLOCK_MONOTONIC, in ns, as [`coarse_now`] tells it: never later than [`now_ns`].
#[inline]
pub(crate) fn coarse_ns() -> u64 {
    coarse_now().as_nanos() as u64
}

/// CLOCK_MONOTONIC, in ns.
#[inline]
pub(crate) fn now_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec.unsigned_abs() * 1_000_000_000 + now.tv_nsec.unsigned_abs()
}

/// Whether CLOCK_MONOTONIC has come to `time_ns`. For times that are far off it takes 3 ns, for others 21 more.
#[inline]
pub(crate) fn has_come(time_ns: u64) -> bool {
    has_come_at(coarse_ns(), time_ns)
}

/// Whether CLOCK_MONOTONIC has come to `time_ns`, where [`coarse_ns`] was this a moment ago.
#[inline]
pub(crate) fn has_come_at(coarse_ns: u64, time_ns: u64) -> bool {
    coarse_ns >= time_ns || (time_ns - coarse_ns <= COARSE_LAG_NS && now_ns() >= time_ns)
}

/// A moment on both scales of CLOCK_MONOTONIC: `Instant`'s, and nanoseconds. So one reading serves for both.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Anchor {
    instant: Instant,
    ns: u64,
}

impl Anchor {
    pub(crate) fn now() -> Self {
        // The thread may lose its processor between two readings: the closest of some are taken.
        let readings = std::array::from_fn::<_, 4, _>(|_| {
            let (before_ns, instant, after_ns) = (now_ns(), Instant::now(), now_ns());
            (after_ns - before_ns, Self { instant, ns: before_ns + (after_ns - before_ns) / 2 })
        });
        let [first, others @ ..] = readings;
        others.into_iter().fold(first, |best, other| if other.0 < best.0 { other } else { best }).1
    }

    /// A later instant in nanoseconds, if they can count that far.
    #[cfg(any(test, feature = "tokio"))]
    fn ns_of(self, later: Instant) -> Option<u64> {
        self.ns.checked_add(u64::try_from(later.saturating_duration_since(self.instant).as_nanos()).ok()?)
    }

    /// The deadline of a later time in nanoseconds.
    pub(crate) fn deadline_of(self, later_ns: Option<u64>) -> Deadline {
        let instant = |later_ns: u64| self.instant.checked_add(Duration::from_nanos(later_ns.saturating_sub(self.ns)));
        later_ns.and_then(instant).map_or(Deadline::Never, Deadline::At)
    }

    /// The time of a later deadline in nanoseconds; `None` if there is none.
    #[cfg(feature = "tokio")]
    pub(crate) fn time_of(self, later: Deadline) -> Option<u64> {
        match later {
            Deadline::Now => Some(self.ns),
            Deadline::At(instant) => self.ns_of(instant),
            Deadline::Never => None,
        }
    }
}

/// A time on `CLOCK_MONOTONIC`, in nanoseconds: the clock of [`Instant`], which all processes of a
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_has_come_from_its_own_nanosecond_on() {
        let (now, far) = (now_ns(), 10 * COARSE_LAG_NS);
        assert!(has_come(0) && has_come(now - far) && has_come(now));
        assert!(!has_come(now_ns() + far) && !has_come(u64::MAX));
        let soon = now_ns() + 2_000_000;
        while !has_come(soon) {
            assert!(now_ns() < soon + far, "it comes");
        }
        assert!(now_ns() >= soon, "and not before");
    }

    #[test]
    fn an_instant_is_on_both_scales_the_same_moment() {
        let anchor = Anchor::now();
        let (before, instant, after) = (now_ns(), Instant::now(), now_ns());
        let ns = anchor.ns_of(instant).unwrap();
        // The readings of the anchor are that close together, unless the thread lost its processor in each.
        assert!((before.saturating_sub(1_000_000)..=after + 1_000_000).contains(&ns), "{ns} of {before} to {after}");
        assert_eq!(anchor.ns_of(instant + Duration::from_secs(1)), Some(ns + 1_000_000_000));
        assert_eq!(anchor.deadline_of(Some(ns)), Deadline::At(instant));
        assert_eq!(anchor.deadline_of(None), Deadline::Never);
    }
}
