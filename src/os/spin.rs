//! Spinning: looking again and again before it is worth going to sleep.

use super::cgroup;
use crate::deadline::Deadline;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

/// How often a spinning loop looks before it asks what time it is.
const LOOKS_PER_CLOCK: u32 = 64;

/// After this number of spins in a row that find nothing, one stops spinning for a while.
const VAIN_SPINS_MAX: u32 = 4;
/// How often that while doubles at most, from 2 waits on: up to 128 waits.
const REST_DOUBLINGS_MAX: u32 = 6;

/// Looks take so long together only if this thread lost its processor meanwhile, perhaps to whom it waits for.
const LOOKS_TOGETHER_MAX: Duration = Duration::from_micros(25);

/// Spins for as long as it pays.
///
/// The one that is waited for may have to wait for this very processor, or may take longer than any spin. So after
/// several spins in vain some waits go without one; then it is tried again, at growing intervals. In vain is a spin
/// that found nothing, or found it when this thread had its processor back.
#[derive(Debug, Default)]
pub(crate) struct Spins {
    /// Spins in vain since the last that was not.
    vain: u32,
    /// How many waits still go without a spin.
    rest: u32,
}

impl Spins {
    /// Calls `look` until it finds something, `spin` has passed, or the deadline has.
    ///
    /// `look` is told how often it has been called, from 0. If there is only one processor, it is called once: the one
    /// that is waited for cannot run meanwhile. It is called once, too, where spinning has not paid lately.
    pub(crate) fn spin_until<T>(
        &mut self,
        spin: Duration,
        deadline: Deadline,
        mut look: impl FnMut(u32) -> Option<T>,
    ) -> Option<T> {
        if self.rest > 0 {
            self.rest -= 1;
            return look(0);
        }
        let (found, outcome) = spin_and_judge(spin, deadline, look);
        if outcome == SpinOutcome::Paid {
            self.vain = 0;
        } else if outcome == SpinOutcome::InVain && !deadline.has_passed() {
            self.vain = self.vain.saturating_add(1);
            if let Some(doublings) = self.vain.checked_sub(VAIN_SPINS_MAX) {
                self.rest = 2 << doublings.min(REST_DOUBLINGS_MAX);
            }
        }
        found
    }
}

/// Whether a spin was worth it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SpinOutcome {
    Paid,
    InVain,
    /// There was none.
    NotSpun,
}

/// Spins as [`Spins::spin_until`] says, and tells whether it was worth it.
fn spin_and_judge<T>(
    spin: Duration,
    deadline: Deadline,
    mut look: impl FnMut(u32) -> Option<T>,
) -> (Option<T>, SpinOutcome) {
    if let Some(found) = look(0) {
        return (Some(found), SpinOutcome::NotSpun);
    }
    if spin.is_zero() || deadline == Deadline::Now || has_one_processor() {
        return (None, SpinOutcome::NotSpun);
    }
    let mut looked = Instant::now();
    // None if the clock cannot count that far.
    let end = looked.checked_add(spin.min(deadline.remaining().unwrap_or(spin)));
    let mut looks = 1;
    loop {
        for _ in 0..LOOKS_PER_CLOCK {
            if let Some(found) = look(looks) {
                let has_lost_processor = looked.elapsed() > LOOKS_TOGETHER_MAX;
                return (Some(found), if has_lost_processor { SpinOutcome::InVain } else { SpinOutcome::Paid });
            }
            looks = looks.wrapping_add(1);
            std::hint::spin_loop();
        }
        looked = Instant::now();
        if end.is_some_and(|end| looked >= end) {
            return (None, SpinOutcome::InVain);
        }
    }
}

/// Whether there is one processor only: the machine has no more, or the control groups of this process have less than
/// the time of two ([`cgroup`]), so that who spins takes it from whom it waits for. Which processors this thread may
/// use says nothing: it may be pinned to one, and the one it waits for to another.
///
/// It is asked once, or by several threads at the same time: none waits for another, which a forked child may not have.
pub(crate) fn has_one_processor() -> bool {
    /// What was found, or 0.
    static FOUND: AtomicU8 = AtomicU8::new(0);
    const SEVERAL: u8 = 1;
    const ONE: u8 = 2;
    // Relaxed: nothing goes with it.
    match FOUND.load(Ordering::Relaxed) {
        0 => {
            let has_one = ask_whether_one();
            FOUND.store(if has_one { ONE } else { SEVERAL }, Ordering::Relaxed);
            has_one
        }
        found => found == ONE,
    }
}

/// Asks the kernel what [`has_one_processor`] says, in some twenty system calls.
#[cold]
fn ask_whether_one() -> bool {
    #[cfg(test)]
    if let Some(meanwhile) = MEANWHILE.take() {
        meanwhile();
    }
    let online = std::fs::read_to_string("/sys/devices/system/cpu/online");
    online.is_ok_and(|list| names_one_processor(&list))
        || cgroup::processor_quota_thousandths().is_some_and(|quota| quota < 2000)
}

#[cfg(test)]
thread_local! {
    /// What this thread does while it asks.
    pub(super) static MEANWHILE: std::cell::Cell<Option<Box<dyn FnOnce()>>> = const { std::cell::Cell::new(None) };
}

/// Whether a list of processors as the kernel writes it, "0-3,8" say, names a single one.
pub(super) fn names_one_processor(list: &str) -> bool {
    list.trim().parse::<u32>().is_ok()
}
