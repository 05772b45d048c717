//! The machine: which two cores to use, and what a reader of figures must know of it.

use crate::topology::Topology;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::fs::read_to_string;
use std::path::Path;

/// The load at which a machine counts as busy: processes that run or want to, over the last minute.
const BUSY_LOAD: f64 = 0.5;
/// The share of time that the hypervisor may take away.
const STEAL_MAX: f64 = 0.01;
/// The share of the processors' time that other processes may use.
const OTHERS_MAX: f64 = 0.02;

/// What was found out about the machine before the measurement.
pub(crate) struct Machine {
    pub(crate) cores: [usize; 2],
    processor: String,
    kernel: String,
    is_virtual: bool,
    governor: String,
    caches: String,
    huge_pages: String,
    max_dgram_qlen: Option<u64>,
    /// The two are threads of one core.
    are_siblings: bool,
    usable: usize,
    load: f64,
}

impl Machine {
    /// Looks at the machine; `cores` are those that the user asks for.
    ///
    /// # Errors
    ///
    /// A sentence, if there are no two processors.
    pub(crate) fn look(cores: Option<[usize; 2]>) -> Result<Self, String> {
        let allowed = allowed_cores();
        let topology = Topology::read(Path::new("/"), &allowed);
        let cores = match cores {
            Some(cores) => check(cores, &allowed)?,
            None => topology.choose().ok_or("this process may use one processor only, and two are needed")?,
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
            max_dgram_qlen: read_word("/proc/sys/net/unix/max_dgram_qlen").and_then(|word| word.parse().ok()),
            is_virtual: field("flags").split_whitespace().any(|flag| flag == "hypervisor"),
            are_siblings: topology.are_siblings(cores),
            usable: allowed.len(),
            load: load.split_whitespace().next().and_then(|load| load.parse().ok()).unwrap_or(0.0),
        })
    }

    /// What the report for programs says of it.
    pub(crate) fn facts(&self) -> Facts {
        Facts {
            processor: self.processor.clone(),
            kernel: self.kernel.clone(),
            is_virtual: self.is_virtual,
            cores: self.cores,
            are_siblings: self.are_siblings,
            usable_processors: self.usable,
            governor: self.governor.clone(),
            caches: self.caches.clone(),
            huge_pages: self.huge_pages.clone(),
            max_dgram_qlen: self.max_dgram_qlen,
            load: self.load,
        }
    }

    /// What makes figures of this machine doubtful from the start.
    pub(crate) fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if self.load > BUSY_LOAD {
            warnings.push(format!("the machine was busy at the start (load {})", self.load));
        }
        if self.are_siblings {
            warnings.push(format!("processors {:?} are threads of one core", self.cores));
        }
        warnings
    }
}

/// A machine, as the report for programs has it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Facts {
    pub(crate) processor: String,
    pub(crate) kernel: String,
    pub(crate) is_virtual: bool,
    pub(crate) cores: [usize; 2],
    pub(crate) are_siblings: bool,
    pub(crate) usable_processors: usize,
    pub(crate) governor: String,
    pub(crate) caches: String,
    pub(crate) huge_pages: String,
    /// How many datagrams wait in a Unix socket before their sender does: net.unix.max_dgram_qlen, see unix(7); null
    /// where the system does not say.
    pub(crate) max_dgram_qlen: Option<u64>,
    /// Processes that ran or wanted to at the start, over a minute.
    pub(crate) load: f64,
}

/// Watches for others who use the processors during a measurement.
pub(crate) struct Watch {
    cores: Vec<usize>,
    before: Ticks,
}

/// Time that has passed, in the kernel's ticks.
#[derive(Clone, Copy)]
struct Ticks {
    /// On these processors: used by anyone, taken by the hypervisor, and altogether.
    busy: u64,
    stolen: u64,
    all: u64,
    /// Used by this process and by those of its children, and theirs, that have ended.
    own: u64,
}

impl Watch {
    /// Begins, on the processors that are measured.
    pub(crate) fn begin(cores: &[usize]) -> Self {
        Self { cores: cores.to_vec(), before: Ticks::now(cores) }
    }

    /// What makes the figures doubtful, after the measurement, once its processes have ended.
    pub(crate) fn warnings(&self) -> Vec<String> {
        let (before, after) = (self.before, Ticks::now(&self.cores));
        let passed = |of: fn(&Ticks) -> u64| of(&after).saturating_sub(of(&before));
        let all = passed(|ticks| ticks.all).max(1) as f64;
        let stolen = passed(|ticks| ticks.stolen) as f64 / all;
        let others = passed(|ticks| ticks.busy).saturating_sub(passed(|ticks| ticks.own)) as f64 / all;
        let mut warnings = Vec::new();
        if stolen > STEAL_MAX {
            warnings.push(format!("the hypervisor took {:.1} % of the processors' time", stolen * 100.0));
        }
        if others > OTHERS_MAX {
            warnings.push(format!("other processes used {:.0} % of the processors' time", others * 100.0));
        }
        warnings
    }
}

impl Ticks {
    /// By /proc/stat and /proc/self/stat, see proc_stat(5) and proc_pid_stat(5).
    fn now(cores: &[usize]) -> Self {
        let stat = read_to_string("/proc/stat").unwrap_or_default();
        let mut ticks = Self { busy: 0, stolen: 0, all: 0, own: 0 };
        for core in cores {
            let line = stat.lines().find_map(|line| line.strip_prefix(&format!("cpu{core} "))).unwrap_or_default();
            let times: Vec<u64> = line.split_whitespace().filter_map(|time| time.parse().ok()).collect();
            if let [user, nice, system, idle, waiting, hard, soft, stolen, ..] = times[..] {
                let busy = user + nice + system + hard + soft;
                ticks.busy += busy;
                ticks.stolen += stolen;
                ticks.all += busy + idle + waiting + stolen;
            }
        }
        let stat = read_to_string("/proc/self/stat").unwrap_or_default();
        // The name, in parentheses, may hold anything; behind it, from the twelfth word on, are user and system time,
        // and those of children that were waited for.
        let words = stat.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11).take(4);
        ticks.own = words.filter_map(|word| word.parse::<u64>().ok()).sum();
        ticks
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.is_virtual { "virtual machine" } else { "no hypervisor seen" };
        let [first, second] = self.cores;
        let Self { processor, kernel, governor, caches, huge_pages, usable, load, .. } = self;
        let datagrams = self.max_dgram_qlen.map_or_else(|| "unknown".to_owned(), |count| count.to_string());
        write!(
            f,
            "{processor}, {kernel}, {kind}; processors {first} and {second} of {usable}; caches {caches}; \
             governor {governor}; {huge_pages}; net.unix.max_dgram_qlen {datagrams}; load {load} at the start; \
             fdring {}",
            version()
        )
    }
}

/// The version of this package, which is the library's.
fn version() -> &'static str {
    env!("CARGO_PKG_VERSION")
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

/// The processors that this process may use.
pub(crate) fn allowed_cores() -> Vec<usize> {
    let Ok(set) = rustix::thread::sched_getaffinity(None) else { return Vec::new() };
    (0..rustix::thread::CpuSet::MAX_CPU).filter(|core| set.is_set(*core)).collect()
}

/// Makes sure that this process may use both.
fn check(cores: [usize; 2], allowed: &[usize]) -> Result<[usize; 2], String> {
    match cores.into_iter().find(|core| !allowed.contains(core)) {
        None => Ok(cores),
        Some(core) => {
            let list = allowed.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            Err(format!("processor {core} is not there, or not for this process, which may use {list}; see taskset(1)"))
        }
    }
}
