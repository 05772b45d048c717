//! How much of a processor processes use, between two looks.

use std::collections::HashMap;
use std::time::{Duration, Instant};

/// The length of a tick of the kernel's clocks for programs: USER_HZ is 100 on all that this library runs on.
const TICK: Duration = Duration::from_millis(10);

/// What processes have used of a processor's time up to now.
#[derive(Debug)]
pub(crate) struct Used {
    at: Instant,
    ticks: HashMap<u32, u64>,
}

impl Used {
    /// By these processes.
    pub(crate) fn by(pids: impl IntoIterator<Item = u32>) -> Self {
        let at = Instant::now();
        let used = |pid: u32| ticks_in(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?);
        let mut pids: Vec<u32> = pids.into_iter().collect();
        pids.sort_unstable();
        pids.dedup();
        let ticks = pids.into_iter().filter_map(|pid| Some((pid, used(pid)?))).collect();
        Self { at, ticks }
    }

    /// The share of one processor that a process has used since an earlier look; more than 1 where several threads do.
    pub(crate) fn share_since(&self, before: &Self, pid: u32) -> Option<f64> {
        let used = self.ticks.get(&pid)?.saturating_sub(*before.ticks.get(&pid)?);
        let over = self.at.saturating_duration_since(before.at);
        (!over.is_zero()).then(|| used as f64 * TICK.as_secs_f64() / over.as_secs_f64())
    }
}

/// The ticks in user mode and in the kernel in /proc/PID/stat, see proc_pid_stat(5).
fn ticks_in(text: &str) -> Option<u64> {
    // The command's name may hold anything, parentheses too.
    let (_, rest) = text.rsplit_once(") ")?;
    let mut fields = rest.split(' ').skip(11).map(str::parse::<u64>);
    Some(fields.next()?.ok()? + fields.next()?.ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_found_behind_any_name() {
        assert_eq!(ticks_in("12 (a) S) R 1 2 3 4 5 6 7 8 9 10 300 40 13"), Some(340));
        assert_eq!(ticks_in("12 (a) R 1 2"), None);
    }

    #[test]
    fn a_loop_uses_a_processor() {
        let own = std::process::id();
        let before = Used::by([own]);
        while Used::by([own]).ticks[&own] < before.ticks[&own] + 5 {
            std::hint::spin_loop();
        }
        let share = Used::by([own]).share_since(&before, own).unwrap();
        assert!(share > 0.0, "{share}");
        assert_eq!(before.share_since(&before, 0), None);
    }
}
