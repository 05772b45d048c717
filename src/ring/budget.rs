//! How often a lossy seat is rung.
//!
//! A tap must cost its producer next to nothing, also one that turns its epoch without sleeping. So a seat has a number
//! of rings, which is renewed now and then; one that has none left is asked again at the next publication. A tap
//! therefore looks once more some time after each announcement, see [`TAP_LOOKS`](super::sleep::TAP_LOOKS).
//!
//! The invariant: no seat is without rings for longer than [`RENEWAL`] and a tick of the clock.

use crate::sync::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

/// The rings of a seat between two renewals. At a tick of 4 ms those of a hostile tap take 1 % of its producer's time,
/// at one of 1 ms 2 %. An honest one sleeps only if its producer does not hurry.
pub(crate) const RINGS_MAX: u32 = 32;
/// The shortest time between two renewals. The clock is read only by a producer that finds no ring left.
pub(crate) const RENEWAL: Duration = Duration::from_millis(2);

/// The rings that a seat has left; used by the producer's thread only.
#[derive(Debug)]
pub(super) struct RingBudget {
    left: AtomicU32,
    renewed_at_ns: AtomicU64,
}

impl RingBudget {
    pub(super) fn new() -> Self {
        Self { left: AtomicU32::new(RINGS_MAX), renewed_at_ns: AtomicU64::new(0) }
    }

    /// Takes one; whether there was one. `now` reads the clock.
    pub(super) fn take(&self, now: impl FnOnce() -> Duration) -> bool {
        let mut left = self.left.load(Ordering::Relaxed);
        if left == 0 {
            let now_ns = now().as_nanos() as u64;
            if now_ns.wrapping_sub(self.renewed_at_ns.load(Ordering::Relaxed)) < RENEWAL.as_nanos() as u64 {
                return false;
            }
            self.renewed_at_ns.store(now_ns, Ordering::Relaxed);
            left = RINGS_MAX;
        }
        self.left.store(left - 1, Ordering::Relaxed);
        true
    }
}
