//! What the kernel has, what limits this user has, and what of other processes this user may see.

use super::Finding;
use crate::human::{bytes, count, duration};
use crate::seen;
use fdring::info::MonotonicTime;
use fdring::inspect::{self, Kernel, Reason};
use rustix::process::{Resource, getrlimit};
use std::fs;
use std::time::{Duration, Instant};

/// As many descriptors as a producer of a few lanes with full sessions takes.
const DESCRIPTORS_MIN: u64 = 1024;
/// A ring as large as the largest that is usual.
const FILE_SIZE_MIN: u64 = 1 << 30;
/// The longest that a clock may take that the kernel does not have to be asked for.
const CLOCK_MAX: Duration = Duration::from_nanos(200);
/// The capabilities that let a process look at others, see capabilities(7).
const CAPABILITIES: [(u32, &str); 3] = [(19, "CAP_SYS_PTRACE"), (21, "CAP_SYS_ADMIN"), (40, "CAP_CHECKPOINT_RESTORE")];

pub(super) fn kernel(kernel: &fdring::Result<Kernel>) -> Vec<Finding> {
    let kernel = match kernel {
        Ok(kernel) => kernel,
        Err(error) => {
            let remedy = "Linux 5.10 or newer; a seccomp filter that lets memfd_create and fcntl through";
            return vec![Finding::broken("lanes", error.to_string(), remedy)];
        }
    };
    let of = |name, is_there: bool, good: &str, missing: &str, remedy: &str| match is_there {
        true => Finding::good(name, good),
        false => Finding::missing(name, missing, remedy),
    };
    let huge = match &kernel.no_huge_pages {
        None => Finding::good("huge pages", "a lane of 4 MiB can lie in huge pages"),
        Some(reason) => Finding::missing(
            "huge pages",
            format!("large rings lie in ordinary pages, which are slower to fill at first: {reason}"),
            "sysctl vm.nr_hugepages=64, for 128 MiB of rings; LaneOptions::huge_pages uses them",
        ),
    };
    vec![
        of(
            "membarrier",
            kernel.has_barrier,
            "producers publish without a fence; consumers pay when they go to sleep",
            "producers fence each time they publish: some 20 ns",
            "Linux 4.16 or newer; a seccomp filter that lets membarrier through",
        ),
        of(
            "futex_waitv",
            kernel.has_futex_waitv,
            "a producer that waits for room sleeps until it is woken",
            "a producer that waits for room wakes every 10 ms to look",
            "Linux 5.16 or newer; a seccomp filter that lets futex_waitv through",
        ),
        of(
            "PASSRIGHTS",
            kernel.has_pass_rights,
            "descriptors that nobody asked for are turned away by the kernel",
            "descriptors that nobody asked for are received, and closed by a thread of their own",
            "Linux 6.16 or newer",
        ),
        of(
            "PEERPIDFD",
            kernel.has_peer_pidfd,
            "the process of a peer is known for sure",
            "the process of a peer is looked up by its number, which may be used again by then",
            "Linux 6.5 or newer",
        ),
        of(
            "NOEXEC_SEAL",
            kernel.has_noexec_seal,
            "the memory of lanes can never be executed",
            "the memory of lanes has execute bits, which harm nobody by themselves",
            "Linux 6.3 or newer",
        ),
        of(
            "MADV_POPULATE",
            kernel.has_populate,
            "rings are prefaulted in one call",
            "rings are prefaulted page by page; without memory that is SIGBUS",
            "Linux 5.14 or newer; a seccomp filter that lets madvise through",
        ),
        huge,
        clock(),
    ]
}

/// What a time costs, on lanes whose records have times.
fn clock() -> Finding {
    const ROUNDS: u32 = 20;
    const TIMES: u32 = 1000;
    let round = |_| {
        let begun = Instant::now();
        for _ in 0..TIMES {
            std::hint::black_box(MonotonicTime::now());
        }
        begun.elapsed() / TIMES
    };
    // The least: others run meanwhile.
    let one = (0..ROUNDS).map(round).min().unwrap_or_default();
    let source = fs::read_to_string("/sys/devices/system/clocksource/clocksource0/current_clocksource");
    let source = source.map_or_else(|_| "an unknown clock".to_owned(), |source| source.trim().to_owned());
    let told = format!("the time of a record takes {} ({source})", duration(one));
    match one <= CLOCK_MAX {
        true => Finding::good("clock", told),
        false => Finding::missing("clock", told, "a machine whose clock source is tsc; or lanes without times"),
    }
}

pub(super) fn limits(kernel: Option<&Kernel>) -> Vec<Finding> {
    let room = kernel.and_then(|kernel| kernel.memory_room_bytes);
    let quota = kernel.and_then(|kernel| kernel.processor_quota_thousandths);
    let mut findings = vec![descriptors(), file_size(), locked(), memory(room), processors(quota)];
    findings.extend(seccomp());
    findings
}

fn descriptors() -> Finding {
    let limit = getrlimit(Resource::Nofile);
    let told =
        |limit: u64| format!("{limit} in one process, which is enough for {} readers", limit.saturating_sub(32) / 5);
    match (limit.current, limit.maximum) {
        (None, _) => Finding::good("descriptors", "without a limit"),
        (Some(soft), _) if soft >= DESCRIPTORS_MIN => Finding::good("descriptors", told(soft)),
        (Some(soft), hard) => {
            let hard = hard.map_or_else(|| "unlimited".to_owned(), |hard| hard.to_string());
            Finding::missing("descriptors", told(soft), format!("ulimit -n, up to {hard}"))
        }
    }
}

fn file_size() -> Finding {
    match getrlimit(Resource::Fsize).current {
        Some(limit) if limit < FILE_SIZE_MIN => Finding::missing(
            "file size",
            format!("a ring has {} at most, since it counts as a file", bytes(limit)),
            "ulimit -f unlimited",
        ),
        _ => Finding::good("file size", "no limit that a ring would meet"),
    }
}

fn locked() -> Finding {
    match getrlimit(Resource::Memlock).current {
        None => Finding::good("locked memory", "without a limit; lanes lock none"),
        Some(limit) => Finding::good("locked memory", format!("{} at most; lanes lock none", bytes(limit))),
    }
}

fn memory(room: Option<u64>) -> Finding {
    // Some kernels say no limit by a number that nothing reaches.
    match room.filter(|room| *room < 1 << 50) {
        None => Finding::good("control group", "no limit of memory"),
        Some(room) if room >= FILE_SIZE_MIN => {
            Finding::good("control group", format!("{} of memory left", bytes(room)))
        }
        Some(room) => Finding::missing(
            "control group",
            format!("{} of memory left; a lane that takes more is refused", bytes(room)),
            "a higher memory.max, or smaller rings",
        ),
    }
}

fn processors(quota: Option<u64>) -> Finding {
    let there = std::thread::available_parallelism().map_or(1, usize::from);
    let quota_told =
        quota.map_or_else(String::new, |quota| format!(", and a quota of {}", count(quota as f64 / 1000.0)));
    let told = format!("{there} for this process{quota_told}");
    match there {
        1 => Finding::missing("processors", format!("{told}; nobody spins"), "two or more, for the shortest hand-over"),
        _ => Finding::good("processors", told),
    }
}

/// Whether filters are in force, see proc_pid_status(5).
fn seccomp() -> Option<Finding> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let mode = status.lines().find_map(|line| line.strip_prefix("Seccomp:"))?.trim().to_owned();
    Some(match &*mode {
        "0" => Finding::good("seccomp", "no filter"),
        _ => Finding::good("seccomp", "a filter; the findings above are what it leaves"),
    })
}

pub(super) fn looking() -> Vec<Finding> {
    let mut survey = match inspect::lanes() {
        Ok(survey) => survey,
        Err(error) => {
            let remedy = "mount /proc of this pid namespace; lanes work without, looking at them from outside does not";
            return vec![Finding::missing("/proc", error.to_string(), remedy)];
        }
    };
    let readers: usize = survey.lanes.iter().map(|lane| lane.consumers.len()).sum();
    let mut findings = vec![Finding::good("lanes", format!("{} are seen, with {readers} readers", survey.lanes.len()))];
    let has = |reason: &Reason| survey.unseen.iter().any(|unseen| unseen.reason == *reason);
    if has(&Reason::Hidden) {
        findings.push(Finding::missing("hidepid", "processes of other users are hidden", "run this as root"));
    }
    if has(&Reason::Namespace) {
        let told = "processes outside of this pid namespace are not seen";
        findings.push(Finding::missing("pid namespace", told, "run this in the namespace of the machine"));
    }
    // What is told already, and what went away meanwhile, which is no fault of the machine.
    survey.unseen.retain(|unseen| !matches!(unseen.reason, Reason::Hidden | Reason::Namespace | Reason::Gone));
    for sentence in seen::unseen(&survey) {
        findings.push(Finding::missing("not seen", sentence, "ps, top and tail leave it out"));
    }
    findings.extend([capabilities(), ptrace_scope()]);
    findings
}

fn capabilities() -> Finding {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let effective = line.and_then(|line| u64::from_str_radix(line.trim(), 16).ok()).unwrap_or(0);
    let has: Vec<&str> =
        CAPABILITIES.iter().filter(|(bit, _)| effective >> bit & 1 == 1).map(|(_, name)| *name).collect();
    match has.is_empty() {
        true => Finding::good("capabilities", "none is needed for the lanes of one's own processes"),
        false => Finding::good("capabilities", format!("{}: other users' lanes are seen, too", has.join(", "))),
    }
}

fn ptrace_scope() -> Finding {
    let scope = fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope");
    match scope.as_deref().map(str::trim) {
        Err(_) => Finding::good("ptrace scope", "no Yama"),
        Ok(scope) => {
            Finding::good("ptrace scope", format!("{scope}; looking at lanes reads, and is not restricted by it"))
        }
    }
}
