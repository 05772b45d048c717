//! What a process has, and whether it has grown: descriptors, mappings, threads, children and memory.
//!
//! Use it beside `mod common;`, by `#[path = "common/holdings.rs"] mod holdings;`.

use crate::common::{belongings, stopwatch::Steps};
use std::fs;
use std::time::Duration;

/// How much more memory of its own a process may have than before: the allocator keeps some of what was freed, and cuts
/// the rest into pieces. A leak of one allocation a record exceeds it within seconds, one in a hundred within minutes.
const PRIVATE_TOLERANCE_KIB: u64 = 4 << 10;
/// The mappings that it may have more of than before, beside those of shared memory: the allocator's, and the stacks
/// that are kept for threads to come.
const MAPPINGS_TOLERANCE: usize = 32;

/// What this process has at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Holdings {
    /// Open descriptors and mappings of memfds.
    belongings: String,
    threads: usize,
    /// The children that have not been waited for.
    children: String,
    /// The shared memory that is resident in this process.
    shared_kib: u64,
    /// The rest of what is resident and not backed by a file.
    private_kib: u64,
    mappings: usize,
}

impl Holdings {
    pub(crate) fn now() -> Self {
        let status = fs::read_to_string("/proc/self/status").unwrap();
        let kib = |name: &str| {
            let value = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            value.trim().trim_end_matches(" kB").parse().unwrap()
        };
        let tasks = || fs::read_dir("/proc/self/task").unwrap();
        let children = tasks().filter_map(|task| fs::read_to_string(task.unwrap().path().join("children")).ok());
        Self {
            children: children.collect(),
            threads: tasks().count(),
            shared_kib: kib("RssShmem:"),
            private_kib: kib("RssAnon:"),
            mappings: fs::read_to_string("/proc/self/maps").unwrap().lines().count(),
            belongings: belongings(),
        }
    }

    /// Whether everything that is counted exactly is as in `before`: all but memory that is not shared.
    fn is_exactly(&self, before: &Self) -> bool {
        let exact = |it: &Self| (it.belongings.clone(), it.threads, it.children.clone(), it.shared_kib);
        exact(self) == exact(before)
    }

    /// How much more memory of its own it has than `before`.
    pub(crate) fn grown_kib(&self, before: &Self) -> u64 {
        self.private_kib.saturating_sub(before.private_kib)
    }

    fn has_grown_from(&self, before: &Self) -> bool {
        self.grown_kib(before) > PRIVATE_TOLERANCE_KIB || self.mappings > before.mappings + MAPPINGS_TOLERANCE
    }

    /// Waits until this process has what it had `before`, and no more memory than once it was `warm`, within the
    /// tolerances above; what it has then. Panics after `long`.
    pub(crate) fn wait_until_as(before: &Self, warm: Option<&Self>, long: Duration) -> Self {
        let mut steps = Steps::new();
        loop {
            let now = Self::now();
            let has_grown = warm.is_some_and(|warm| now.has_grown_from(warm));
            if now.is_exactly(before) && !has_grown {
                return now;
            }
            assert!(steps.next() < long, "there is {now:?} where {before:?} was, and {warm:?} once it was warm");
            std::thread::park_timeout(Duration::from_millis(1));
        }
    }
}
