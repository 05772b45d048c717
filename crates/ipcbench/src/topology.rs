//! Which processors are near each other, by what the system says: threads of one core, processors behind one cache, in
//! one package, or in others.
//!
//! Of a virtual machine this may be made up; the probes say how far its processors are.

use std::path::{Path, PathBuf};

/// What two processors have in common, from the nearest on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Common {
    Core,
    Cache,
    Package,
    Nothing,
}

impl Common {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Core => "threads of one core",
            Self::Cache => "cores behind one last-level cache",
            Self::Package => "cores of one package behind different caches",
            Self::Nothing => "cores of different packages",
        }
    }
}

/// One processor, as the scheduler counts them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Processor {
    pub(crate) number: usize,
    siblings: Vec<usize>,
    /// Those behind the same last-level cache.
    cache: Vec<usize>,
    package: Option<usize>,
    pub(crate) node: Option<usize>,
}

/// The processors that this process may use.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Topology {
    pub(crate) processors: Vec<Processor>,
}

impl Topology {
    /// Reads what /sys says below `root`, which is `/` but in tests.
    pub(crate) fn read(root: &Path, allowed: &[usize]) -> Self {
        Self { processors: allowed.iter().map(|number| Processor::read(root, *number)).collect() }
    }

    /// What two processors have in common.
    pub(crate) fn common(a: &Processor, b: &Processor) -> Common {
        if a.siblings.contains(&b.number) {
            Common::Core
        } else if a.cache.contains(&b.number) {
            Common::Cache
        } else if a.package == b.package {
            Common::Package
        } else {
            Common::Nothing
        }
    }

    /// A pair for each class of distance that there is, from the nearest on.
    pub(crate) fn pairs(&self) -> Vec<(Common, [usize; 2])> {
        let mut pairs: Vec<(Common, [usize; 2])> = Vec::new();
        for (index, a) in self.processors.iter().enumerate() {
            for b in &self.processors[index + 1..] {
                let common = Self::common(a, b);
                if pairs.iter().all(|(each, _)| *each != common) {
                    pairs.push((common, [a.number, b.number]));
                }
            }
        }
        pairs.sort_by_key(|(common, _)| *common);
        pairs
    }

    /// The nearest pair that are not threads of one core; threads of one core if there is no other.
    pub(crate) fn choose(&self) -> Option<[usize; 2]> {
        let pairs = self.pairs();
        let found = pairs.iter().find(|(common, _)| *common != Common::Core).or(pairs.first());
        found.map(|(_, pair)| *pair)
    }

    /// That number of processors, each a core of its own, and as near each other as possible; `None` if there
    /// are too few cores.
    pub(crate) fn choose_many(&self, count: usize) -> Option<Vec<usize>> {
        let from = |first: &Processor| {
            let mut others: Vec<&Processor> = self.processors.iter().filter(|other| *other != first).collect();
            others.sort_by_key(|other| Self::common(first, other));
            let mut chosen = vec![first];
            for other in others {
                if chosen.iter().all(|each| Self::common(each, other) != Common::Core) {
                    chosen.push(other);
                }
            }
            chosen.truncate(count);
            let farthest = chosen.iter().map(|other| Self::common(first, other)).max();
            (chosen.len() == count).then(|| (farthest, chosen.iter().map(|each| each.number).collect()))
        };
        self.processors.iter().filter_map(from).min_by_key(|(farthest, _)| *farthest).map(|(_, chosen)| chosen)
    }

    /// Whether two are threads of one core.
    pub(crate) fn are_siblings(&self, pair: [usize; 2]) -> bool {
        let find = |number| self.processors.iter().find(|each| each.number == number);
        matches!((find(pair[0]), find(pair[1])), (Some(a), Some(b)) if Self::common(a, b) == Common::Core)
    }
}

impl Processor {
    fn read(root: &Path, number: usize) -> Self {
        let folder = root.join(format!("sys/devices/system/cpu/cpu{number}"));
        let text = |name: &str| std::fs::read_to_string(folder.join(name)).ok();
        let listed = |name: &str| text(name).map(|list| numbers(&list)).unwrap_or_default();
        Self {
            number,
            siblings: listed("topology/thread_siblings_list"),
            cache: last_level(&folder).map(|folder| numbers(&folder)).unwrap_or_default(),
            package: text("topology/physical_package_id").and_then(|id| id.trim().parse().ok()),
            node: node(&folder),
        }
    }
}

/// The processors behind the last-level cache, as the kernel lists them.
fn last_level(folder: &Path) -> Option<String> {
    let level = |index: &PathBuf| std::fs::read_to_string(index.join("level")).ok()?.trim().parse::<u32>().ok();
    let indices = (0..8).map(|index| folder.join(format!("cache/index{index}")));
    let (_, last) = indices.filter_map(|index| Some((level(&index)?, index))).max_by_key(|(level, _)| *level)?;
    std::fs::read_to_string(last.join("shared_cpu_list")).ok()
}

/// The memory node, whose link lies beside the processor's files.
fn node(folder: &Path) -> Option<usize> {
    let entries = std::fs::read_dir(folder).ok()?.flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.strip_prefix("node")?.parse().ok()).next()
}

/// The numbers of a list like `0-3,8`.
pub(crate) fn numbers(list: &str) -> Vec<usize> {
    let ranges = list.trim().split(',').filter_map(|range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        Some(first.parse::<usize>().ok()?..=last.parse().ok()?)
    });
    ranges.flatten().collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Files of a system that does not exist; they are removed at the end.
    pub(crate) struct Made(pub(crate) PathBuf);

    impl Made {
        pub(crate) fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("ipcbench-{name}-{}", std::process::id()));
            std::fs::create_dir_all(&path).unwrap();
            Self(path)
        }

        pub(crate) fn file(&self, path: &str, text: &str) {
            let path = self.0.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }

        /// A processor with its siblings, those behind its cache, its package and its node.
        pub(crate) fn processor(&self, number: usize, siblings: &str, cache: &str, package: usize) {
            let folder = format!("sys/devices/system/cpu/cpu{number}");
            self.file(&format!("{folder}/topology/thread_siblings_list"), siblings);
            self.file(&format!("{folder}/topology/physical_package_id"), &package.to_string());
            for (index, level, shared) in [(0, 1, siblings), (2, 2, siblings), (3, 3, cache)] {
                self.file(&format!("{folder}/cache/index{index}/level"), &level.to_string());
                self.file(&format!("{folder}/cache/index{index}/shared_cpu_list"), shared);
            }
            self.file(&format!("{folder}/node{package}/cpulist"), "");
        }
    }

    impl Drop for Made {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    /// Two packages with two caches each, two cores behind each, two threads a core: 0 and 8 are siblings, and so on.
    pub(crate) fn large(name: &str) -> Made {
        let made = Made::new(name);
        for number in 0..16 {
            let core = number % 8;
            let first = core / 2 * 2;
            let cache = format!("{first}-{},{}-{}\n", first + 1, first + 8, first + 9);
            made.processor(number, &format!("{core},{}\n", core + 8), &cache, core / 4);
        }
        made
    }

    #[test]
    fn every_class_of_distance_is_found() {
        let made = large("classes");
        let topology = Topology::read(&made.0, &(0..16).collect::<Vec<_>>());
        let pairs =
            [(Common::Core, [0, 8]), (Common::Cache, [0, 1]), (Common::Package, [0, 2]), (Common::Nothing, [0, 4])];
        assert_eq!(topology.pairs(), pairs);
        assert_eq!(topology.choose(), Some([0, 1]));
        assert!(topology.are_siblings([3, 11]) && !topology.are_siblings([3, 10]));
        assert_eq!(topology.processors[5].node, Some(1));
    }

    #[test]
    fn many_are_chosen_near_each_other_and_no_two_of_one_core() {
        let made = large("many");
        let topology = Topology::read(&made.0, &(0..16).collect::<Vec<_>>());
        assert_eq!(topology.choose_many(2), Some(vec![0, 1]));
        assert_eq!(topology.choose_many(4), Some(vec![0, 1, 2, 3]), "behind two caches of one package");
        assert_eq!(topology.choose_many(8), Some(vec![0, 1, 2, 3, 4, 5, 6, 7]));
        assert_eq!(topology.choose_many(9), None, "the other eight are threads of the same cores");
        // Where the first two packages have one core each for us, the nearest are taken elsewhere.
        assert_eq!(Topology::read(&made.0, &[0, 4, 12, 5]).choose_many(2), Some(vec![4, 5]));
        assert_eq!(Topology::read(&made.0, &[3, 11]).choose_many(2), None);
    }

    #[test]
    fn only_processors_that_may_be_used_are_chosen() {
        let made = large("allowed");
        assert_eq!(Topology::read(&made.0, &[0, 8, 5]).choose(), Some([0, 5]));
        assert_eq!(
            Topology::read(&made.0, &[2, 10]).choose(),
            Some([2, 10]),
            "threads of one core, for want of others"
        );
        assert_eq!(Topology::read(&made.0, &[2]).choose(), None);
    }

    #[test]
    fn a_system_that_says_nothing_still_has_pairs() {
        let made = Made::new("silent");
        let topology = Topology::read(&made.0, &[0, 1]);
        assert_eq!(topology.choose(), Some([0, 1]));
        assert!(!topology.are_siblings([0, 1]));
    }

    #[test]
    fn lists_of_processors_are_read() {
        assert_eq!(numbers("0-3,8\n"), [0, 1, 2, 3, 8]);
        assert_eq!(numbers("5"), [5]);
        assert!(numbers("").is_empty());
    }
}
