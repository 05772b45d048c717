//! What of this machine makes figures doubtful, and what to do about each.

use crate::clock::Clock;
use crate::counters::{ENERGY, may_count_cycles};
use crate::distance::classes;
use crate::machine::allowed_cores;
use crate::probe;
use crate::report::Table;
use crate::topology::Topology;
use std::path::Path;

/// A clock whose steps are longer than this makes short round trips uncertain, in nanoseconds.
const STEP_MAX_NS: f64 = 5.0;
/// The load at which a machine counts as busy.
const LOAD_MAX: f64 = 0.5;
/// Fewer descriptors than this do not suffice for all contenders at once.
const DESCRIPTORS_MIN: u64 = 1024;

/// How good something is for measuring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Good,
    Doubtful,
    /// It cannot be told, or there is no such thing here.
    Unknown,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) what: &'static str,
    pub(crate) found: String,
    pub(crate) state: State,
    /// What to do about it; empty if nothing is to be done.
    pub(crate) advice: &'static str,
}

impl Finding {
    fn new(what: &'static str, found: impl Into<String>, is_good: bool, advice: &'static str) -> Self {
        let state = if is_good { State::Good } else { State::Doubtful };
        Self { what, found: found.into(), state, advice: if is_good { "" } else { advice } }
    }

    fn unknown(what: &'static str, found: impl Into<String>) -> Self {
        Self { what, found: found.into(), state: State::Unknown, advice: "" }
    }
}

/// Looks at everything; the text for the terminal.
pub(crate) fn examine() -> String {
    let root = Path::new("/");
    let topology = Topology::read(root, &allowed_cores());
    let mut findings = files(root, &topology);
    findings.extend(calls());
    let rows = findings.iter().map(|finding| {
        let state = match finding.state {
            State::Good => "good",
            State::Doubtful => "DOUBT",
            State::Unknown => "–",
        };
        vec![finding.what.to_owned(), state.to_owned(), finding.found.clone()]
    });
    let mut text = Table::new(["what", "", "found"]).left(3).rows(rows).to_string();
    for finding in findings.iter().filter(|finding| !finding.advice.is_empty()) {
        text.push_str(&format!("\n{}: {}", finding.what, finding.advice));
    }
    text.push_str("\n\nPairs of processors by distance, as the system has them:\n");
    for (common, [a, b]) in topology.pairs() {
        text.push_str(&format!("  --cores {a},{b}   {}\n", common.name()));
    }
    let numbers: Vec<usize> = topology.processors.iter().map(|processor| processor.number).collect();
    text.push_str(&match probe::all_pairs(&numbers, &Clock::measure()) {
        Ok(pairs) if pairs.is_empty() => String::new(),
        Ok(pairs) => probe::text(&classes(&pairs)),
        Err(fault) => format!("The distances could not be probed: {fault}\n"),
    });
    text
}

/// What files below `root` say, which is `/` but in tests.
pub(crate) fn files(root: &Path, topology: &Topology) -> Vec<Finding> {
    let read = |path: &str| std::fs::read_to_string(root.join(path)).ok().map(|text| text.trim().to_owned());
    let mut findings = vec![processors(topology)];
    let first = topology.processors.first().map_or(0, |processor| processor.number);
    findings.push(match read(&format!("sys/devices/system/cpu/cpu{first}/cpufreq/scaling_governor")) {
        Some(governor) => {
            let advice = "set it: `cpupower frequency-set --governor performance`, as root";
            Finding::new("governor", governor.clone(), governor == "performance", advice)
        }
        None => Finding::unknown("governor", "the system shows none; a hypervisor's hides it"),
    });
    findings.push(turbo(&read));
    findings.push(match read("sys/devices/system/cpu/smt/active") {
        Some(active) => {
            let found = if active == "1" { "threads share cores" } else { "off" };
            let advice = "keep the other threads of the two cores free, or switch it off: `echo off > \
                          /sys/devices/system/cpu/smt/control`, as root";
            Finding::new("SMT", found, active != "1", advice)
        }
        None => Finding::unknown("SMT", "the system does not say"),
    });
    let mut nodes: Vec<usize> = topology.processors.iter().filter_map(|processor| processor.node).collect();
    nodes.sort_unstable();
    nodes.dedup();
    let advice = "choose both processors of one node by --cores, and its memory by `numactl --membind`";
    findings.push(Finding::new("memory nodes", nodes.len().max(1).to_string(), nodes.len() <= 1, advice));
    findings.push(quota(&read));
    findings.push(clock_source(&read));
    findings.push(perf(&read));
    findings.push(match read("proc/sys/kernel/yama/ptrace_scope").and_then(|scope| scope.parse::<u32>().ok()) {
        Some(scope) => {
            let advice = "system calls are not counted: `sysctl kernel.yama.ptrace_scope=1`, as root";
            Finding::new("ptrace", format!("yama.ptrace_scope {scope}"), scope <= 1, advice)
        }
        None => Finding::new("ptrace", "not restricted by Yama", true, ""),
    });
    let load = read("proc/loadavg").and_then(|load| load.split(' ').next()?.parse::<f64>().ok());
    findings.push(match load {
        Some(load) => Finding::new("load", load.to_string(), load <= LOAD_MAX, "end other programs first"),
        None => Finding::unknown("load", "the system does not say"),
    });
    findings
}

fn processors(topology: &Topology) -> Finding {
    let numbers: Vec<String> = topology.processors.iter().map(|each| each.number.to_string()).collect();
    let advice = "two are needed: see taskset(1), and the cpuset of this process's control group";
    let found = format!("{} for this process: {}", numbers.len(), numbers.join(", "));
    match topology.choose() {
        Some(pair) if topology.are_siblings(pair) => {
            Finding::new("processors", found, false, "all are threads of one core: figures are those of a shared core")
        }
        pair => Finding::new("processors", found, pair.is_some(), advice),
    }
}

fn turbo(read: &impl Fn(&str) -> Option<String>) -> Finding {
    let advice = "the clock rate changes with the heat: switch it off: `echo 1 > \
                  /sys/devices/system/cpu/intel_pstate/no_turbo`, or `echo 0 > /sys/devices/system/cpu/cpufreq/boost`";
    let no_turbo = read("sys/devices/system/cpu/intel_pstate/no_turbo").map(|text| text == "1");
    let is_off = no_turbo.or_else(|| read("sys/devices/system/cpu/cpufreq/boost").map(|text| text == "0"));
    match is_off {
        Some(is_off) => Finding::new("turbo", if is_off { "off" } else { "on" }, is_off, advice),
        None => Finding::unknown("turbo", "the system does not say"),
    }
}

fn quota(read: &impl Fn(&str) -> Option<String>) -> Finding {
    let group = read("proc/self/cgroup")
        .and_then(|text| Some(text.lines().find_map(|line| line.strip_prefix("0::"))?.to_owned()));
    let Some(group) = group else { return Finding::unknown("processor quota", "no control group of version 2") };
    // The strictest from the group up.
    let mut folders = vec![group.trim_matches('/').to_owned()];
    while let Some((parent, _)) = folders[folders.len() - 1].rsplit_once('/') {
        folders.push(parent.to_owned());
    }
    let limits = folders.iter().filter_map(|folder| read(&format!("sys/fs/cgroup/{folder}/cpu.max")));
    let share = |limit: String| {
        let (quota, period) = limit.split_once(' ')?;
        Some(quota.parse::<f64>().ok()? / period.parse::<f64>().ok()?)
    };
    match limits.filter_map(share).min_by(f64::total_cmp) {
        Some(share) => {
            let advice = "spinning sides are stopped when it is used up: run outside of this container or slice";
            Finding::new("processor quota", format!("{share:.2} processors"), share >= 2.0, advice)
        }
        None => Finding::new("processor quota", "none", true, ""),
    }
}

fn clock_source(read: &impl Fn(&str) -> Option<String>) -> Finding {
    let cpuinfo = read("proc/cpuinfo").unwrap_or_default();
    let flags = cpuinfo.lines().find(|line| line.starts_with("flags")).unwrap_or_default();
    let has = |name: &str| flags.split_whitespace().any(|flag| flag == name);
    let source = read("sys/devices/system/clocksource/clocksource0/current_clocksource");
    let Some(source) = source else { return Finding::unknown("clock source", "the system does not say") };
    if flags.is_empty() {
        return Finding::new("clock source", source, true, "");
    }
    // The kernel drops the processor's clock where it saw that it differs between processors; the flags stay.
    let is_trusted = ["tsc", "kvm-clock", "hyperv_clocksource_tsc_page", "xen"].contains(&&*source);
    let advice = "times between two processes need a clock that is the same on all processors and does not change its \
                  pace; this one may not be";
    Finding::new("clock source", source, is_trusted && (has("constant_tsc") || has("nonstop_tsc")), advice)
}

fn perf(read: &impl Fn(&str) -> Option<String>) -> Finding {
    match read("proc/sys/kernel/perf_event_paranoid").and_then(|text| text.parse::<i32>().ok()) {
        Some(level) => {
            let advice = "cycles and instructions are not counted: `sysctl kernel.perf_event_paranoid=2`, as root";
            Finding::new("perf_event_paranoid", level.to_string(), level <= 2, advice)
        }
        None => Finding::unknown("perf_event_paranoid", "this kernel has no perf_event_open(2)"),
    }
}

/// What is found out by trying.
fn calls() -> Vec<Finding> {
    let clock = Clock::measure();
    let found = format!("steps of {:.1} ns, {:.1} ns a reading (subtracted)", clock.step_ns, clock.cost_ns);
    let advice = "medians are interpolated inside of a step; compare longer times, or rates";
    let mut findings = vec![Finding::new("clock", found, clock.step_ns <= STEP_MAX_NS, advice)];
    findings.push(match may_count_cycles() {
        Ok(()) => Finding::new("cycles", "can be counted", true, ""),
        Err(error) => {
            let advice = "cycles and instructions are missing in the report; a virtual machine may have no counters";
            Finding::new("cycles", format!("cannot be counted: {error}"), false, advice)
        }
    });
    findings.push(match std::fs::File::open(ENERGY) {
        Ok(_) => Finding::new("energy", "can be read", true, ""),
        Err(error) => Finding::unknown("energy", format!("cannot be read: {ENERGY}: {error}")),
    });
    findings.push(match crate::bells::may_call_membarrier() {
        Ok(()) => Finding::new("membarrier", "permitted", true, ""),
        Err(error) => {
            let advice = "a seccomp filter denies it: fdring sleeps by fences instead, and one reference is left out";
            Finding::new("membarrier", format!("denied: {error}"), false, advice)
        }
    });
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum;
    let advice = "raise it for a run of all contenders: `ulimit -Hn 1024`, as root; a selection needs fewer";
    let found = limit.map_or_else(|| "no limit".to_owned(), |limit| limit.to_string());
    findings.push(Finding::new("open files", found, limit.is_none_or(|limit| limit >= DESCRIPTORS_MIN), advice));
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::tests::Made;

    fn finding(findings: &[Finding], what: &str) -> Finding {
        findings.iter().find(|finding| finding.what == what).unwrap_or_else(|| panic!("{what} is missing")).clone()
    }

    #[test]
    fn a_quiet_machine_is_good() {
        let made = Made::new("quiet");
        made.processor(0, "0", "0-1", 0);
        made.processor(1, "1", "0-1", 0);
        made.file("sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "performance\n");
        made.file("sys/devices/system/cpu/intel_pstate/no_turbo", "1\n");
        made.file("sys/devices/system/cpu/smt/active", "0\n");
        made.file("proc/self/cgroup", "0::/user.slice/a\n");
        made.file("sys/fs/cgroup/user.slice/a/cpu.max", "max 100000\n");
        made.file("sys/devices/system/clocksource/clocksource0/current_clocksource", "tsc\n");
        made.file("proc/cpuinfo", "processor : 0\nflags : fpu constant_tsc\n");
        made.file("proc/sys/kernel/perf_event_paranoid", "1\n");
        made.file("proc/sys/kernel/yama/ptrace_scope", "1\n");
        made.file("proc/loadavg", "0.10 0.2 0.3 1/100 1\n");
        let findings = files(&made.0, &Topology::read(&made.0, &[0, 1]));
        for finding in &findings {
            assert_eq!(finding.state, State::Good, "{finding:?}");
        }
    }

    #[test]
    fn each_doubt_has_its_advice() {
        let made = Made::new("doubtful");
        made.processor(0, "0-1", "0-1", 0);
        made.processor(1, "0-1", "0-1", 1);
        made.file("sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "powersave\n");
        made.file("sys/devices/system/cpu/cpufreq/boost", "1\n");
        made.file("sys/devices/system/cpu/smt/active", "1\n");
        made.file("proc/self/cgroup", "0::/box/inner\n");
        made.file("sys/fs/cgroup/box/cpu.max", "150000 100000\n");
        made.file("sys/fs/cgroup/box/inner/cpu.max", "max 100000\n");
        made.file("sys/devices/system/clocksource/clocksource0/current_clocksource", "hpet\n");
        made.file("proc/cpuinfo", "flags : fpu\n");
        made.file("proc/sys/kernel/perf_event_paranoid", "4\n");
        made.file("proc/sys/kernel/yama/ptrace_scope", "3\n");
        made.file("proc/loadavg", "7.10 0.2 0.3 1/100 1\n");
        let findings = files(&made.0, &Topology::read(&made.0, &[0, 1]));
        for finding in &findings {
            assert_eq!(finding.state, State::Doubtful, "{finding:?}");
            assert!(!finding.advice.is_empty(), "{finding:?}");
        }
        assert!(finding(&findings, "processor quota").found.contains("1.50"), "{findings:?}");
    }

    #[test]
    fn a_system_that_says_nothing_is_unknown() {
        let made = Made::new("mute");
        let findings = files(&made.0, &Topology::read(&made.0, &[0, 1]));
        for what in ["governor", "turbo", "SMT", "clock source", "perf_event_paranoid", "load", "processor quota"] {
            assert_eq!(finding(&findings, what).state, State::Unknown, "{what}");
        }
    }
}
