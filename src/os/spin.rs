//! Spinning: looking again and again before it is worth going to sleep.

use crate::deadline::Deadline;
use std::time::Duration;

/// How often a spinning loop looks before it asks what time it is.
const LOOKS_PER_CLOCK: u32 = 64;

/// Calls `look` until it finds something, `spin` has passed, or the deadline has.
///
/// `look` is told how often it has been called, from 0. Where the machine has one processor only, it is called once:
/// whoever is waited for cannot run meanwhile.
pub(crate) fn spin_until<T>(spin: Duration, deadline: Deadline, mut look: impl FnMut(u32) -> Option<T>) -> Option<T> {
    if let Some(found) = look(0) {
        return Some(found);
    }
    if spin.is_zero() || deadline == Deadline::Now || has_one_processor() {
        return None;
    }
    let end = Deadline::after(spin.min(deadline.remaining().unwrap_or(spin)));
    let mut looks = 1;
    loop {
        for _ in 0..LOOKS_PER_CLOCK {
            if let Some(found) = look(looks) {
                return Some(found);
            }
            looks = looks.wrapping_add(1);
            std::hint::spin_loop();
        }
        if end.has_passed() {
            return None;
        }
    }
}

/// Whether the machine has one processor only. What this thread may use says nothing: it may be pinned to a processor,
/// and whoever it waits for to another.
pub(crate) fn has_one_processor() -> bool {
    static ONE: std::sync::OnceLock<bool> = std::sync::OnceLock::new();
    *ONE.get_or_init(|| {
        let online = std::fs::read_to_string("/sys/devices/system/cpu/online");
        online.is_ok_and(|list| names_one_processor(&list))
    })
}

/// Whether a list of processors as the kernel writes it, "0-3,8" say, names a single one.
pub(super) fn names_one_processor(list: &str) -> bool {
    list.trim().parse::<u32>().is_ok()
}
