//! The machine: which two cores to use, and what a reader of figures must know of it.

use std::fmt;
use std::fs::read_to_string;

/// The load at which a machine counts as busy: processes that run or want to, over the last minute.
const BUSY_LOAD: f64 = 0.5;
/// The share of time that the hypervisor may take away.
const STEAL_MAX: f64 = 0.01;

/// What was found out about the machine before the measurement.
pub(crate) struct Machine {
    pub(crate) cores: [usize; 2],
    processor: String,
    kernel: String,
    is_virtual: bool,
    governor: String,
    caches: String,
    huge_pages: String,
    /// The two are threads of one core.
    are_siblings: bool,
    usable: usize,
    load: f64,
    stolen_before: [u64; 2],
}

impl Machine {
    /// Looks at the machine; `cores` are those that the user asks for.
    ///
    /// # Errors
    ///
    /// A sentence, where there are no two processors.
    pub(crate) fn look(cores: Option<[usize; 2]>) -> Result<Self, String> {
        let allowed = allowed_cores();
        let cores = match cores {
            Some(cores) => cores,
            None => choose(&allowed).ok_or("this process may use one processor only, and two are needed")?,
        };
        let cpuinfo = read_to_string("/proc/cpuinfo").unwrap_or_default();
        let field = |name: &str| cpuinfo.lines().find(|line| line.starts_with(name)).unwrap_or_default();
        let value = |line: &str| line.split_once(':').map_or("", |(_, value)| value).trim().to_owned();
        let load = read_to_string("/proc/loadavg").unwrap_or_default();
        let uname = rustix::system::uname();
        Ok(Self {
            cores,
            processor: value(field("model name")),
            kernel: format!("{} {}", uname.sysname().to_string_lossy(), uname.release().to_string_lossy()),
            governor: read_word(&format!("/sys/devices/system/cpu/cpu{}/cpufreq/scaling_governor", cores[0]))
                .unwrap_or_else(|| "none to be seen".to_owned()),
            caches: caches(cores[0]),
            huge_pages: huge_pages(),
            is_virtual: field("flags").split_whitespace().any(|flag| flag == "hypervisor"),
            are_siblings: siblings(cores[0]).contains(&cores[1]),
            usable: allowed.len(),
            load: load.split_whitespace().next().and_then(|load| load.parse().ok()).unwrap_or(0.0),
            stolen_before: stolen(),
        })
    }

    /// What makes figures of this machine doubtful; asked after the measurement.
    pub(crate) fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if self.load > BUSY_LOAD {
            warnings.push(format!("the machine was busy at the start (load {})", self.load));
        }
        if self.are_siblings {
            warnings.push(format!("processors {:?} are threads of one core", self.cores));
        }
        let [stolen, total] = [0, 1].map(|index| stolen()[index].saturating_sub(self.stolen_before[index]));
        let share = stolen as f64 / total.max(1) as f64;
        if share > STEAL_MAX {
            warnings.push(format!("the hypervisor took {:.1} % of the processors' time", share * 100.0));
        }
        warnings
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.is_virtual { "virtual machine" } else { "no hypervisor seen" };
        let [first, second] = self.cores;
        let Self { processor, kernel, governor, caches, huge_pages, usable, load, .. } = self;
        write!(
            f,
            "{processor}, {kernel}, {kind}; processors {first} and {second} of {usable}; caches {caches}; \
             governor {governor}; {huge_pages}; load {load} at the start; fdring {}",
            version()
        )
    }
}

/// The library's version. (The package that this is compiled for may be another.)
fn version() -> &'static str {
    let manifest = include_str!("../../../Cargo.toml");
    let line = manifest.lines().find_map(|line| line.strip_prefix("version = "));
    line.unwrap_or("of an unknown version").trim_matches('"')
}

/// What a small file of the kernel's says.
fn read_word(path: &str) -> Option<String> {
    read_to_string(path).ok().map(|text| text.trim().to_owned())
}

/// The caches of one processor, from the nearest on.
fn caches(core: usize) -> String {
    let cache = |index: usize| {
        let read = |name: &str| read_word(&format!("/sys/devices/system/cpu/cpu{core}/cache/index{index}/{name}"));
        let (level, kind, size) = (read("level")?, read("type")?, read("size")?);
        (kind != "Instruction").then(|| format!("L{level} {size}"))
    };
    let caches: Vec<String> = (0..8).filter_map(cache).collect();
    if caches.is_empty() { "unknown".to_owned() } else { caches.join(", ") }
}

/// Whether there are huge pages, of either kind.
fn huge_pages() -> String {
    let reserved = read_word("/proc/sys/vm/nr_hugepages").unwrap_or_else(|| "unknown".to_owned());
    let transparent = read_word("/sys/kernel/mm/transparent_hugepage/shmem_enabled").unwrap_or_default();
    let chosen = transparent.split(['[', ']']).nth(1).unwrap_or("unknown").to_owned();
    format!("huge pages: {reserved} reserved, transparent for shared memory {chosen}")
}

fn allowed_cores() -> Vec<usize> {
    let Ok(set) = rustix::thread::sched_getaffinity(None) else { return Vec::new() };
    (0..rustix::thread::CpuSet::MAX_CPU).filter(|core| set.is_set(*core)).collect()
}

/// The first two that are not threads of one core; the first two where all are.
fn choose(allowed: &[usize]) -> Option<[usize; 2]> {
    let first = *allowed.first()?;
    let siblings = siblings(first);
    let others = &allowed[1..];
    let second = others.iter().find(|core| !siblings.contains(core)).or(others.first())?;
    Some([first, *second])
}

/// The processors that share a core with this one, itself included.
fn siblings(core: usize) -> Vec<usize> {
    let path = format!("/sys/devices/system/cpu/cpu{core}/topology/thread_siblings_list");
    let list = read_to_string(path).unwrap_or_default();
    let ranges = list.trim().split(',').filter_map(|range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        Some(first.parse::<usize>().ok()?..=last.parse().ok()?)
    });
    ranges.flatten().collect()
}

/// The time that the hypervisor took away, and all time, see proc_stat(5).
fn stolen() -> [u64; 2] {
    let stat = read_to_string("/proc/stat").unwrap_or_default();
    let line = stat.lines().next().unwrap_or_default();
    let times: Vec<u64> = line.split_whitespace().skip(1).filter_map(|time| time.parse().ok()).collect();
    [times.get(7).copied().unwrap_or(0), times.iter().take(8).sum()]
}
