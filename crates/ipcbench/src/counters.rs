//! What the threads of a slice used and suffered, by the kernel's counts: proc(5), and perf_event_open(2) where it is
//! permitted.
#![allow(unsafe_code, reason = "the clocks of other processes are read through libc")]

use crate::measure::Used;
use perf_event::events::{Event, Hardware};
use perf_event::{Builder, Counter};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// The energy of the first package in microjoules, see powercap in the kernel's documentation.
pub(crate) const ENERGY: &str = "/sys/class/powercap/intel-rapl:0/energy_uj";

/// The counters of the three threads: sender, its helper that receives in in-process slices, receiver.
pub(crate) struct Counters {
    threads: [Thread; 3],
    before: [Reading; 3],
    /// The clocks of this process, of its helper and of the child, and what they said.
    clocks: [libc::clockid_t; 3],
    clocks_before: [u64; 3],
    /// The energy that the package has used, if it may be read, and what it said.
    energy: Option<File>,
    energy_before: u64,
    /// Why cycles are not counted, if they are not.
    missing: Option<String>,
}

impl Counters {
    /// Opens those of this thread, of the helper, and of the child's main thread.
    pub(crate) fn open(child_pid: u32, helper_tid: u32) -> io::Result<Self> {
        let pid = std::process::id();
        let mut threads =
            [Thread::open(pid, pid)?, Thread::open(pid, helper_tid)?, Thread::open(child_pid, child_pid)?];
        let mut missing = None;
        for (index, tid) in [(0, pid), (2, child_pid)] {
            match Events::open(tid) {
                Ok(events) => threads[index].events = Some(events),
                Err(error) => missing = Some(format!("perf_event_open: {error}")),
            }
        }
        let clocks = [cpu_clock(pid)?, thread_clock(helper_tid), cpu_clock(child_pid)?];
        let (before, clocks_before) = (Default::default(), [0; 3]);
        let energy = File::open(ENERGY).ok();
        Ok(Self { threads, before, clocks, clocks_before, energy, energy_before: 0, missing })
    }

    /// Why cycles are not counted, if they are not.
    pub(crate) fn missing(&self) -> Option<&str> {
        self.missing.as_deref()
    }

    fn energy_uj(&self) -> u64 {
        self.energy.as_ref().and_then(|file| text_of(file).trim().parse().ok()).unwrap_or(0)
    }

    /// A slice begins.
    pub(crate) fn begin(&mut self) {
        self.before = self.threads.each_mut().map(Thread::read);
        self.energy_before = self.energy_uj();
        self.clocks_before = self.clocks.map(cpu_ns);
    }

    /// The slice has ended.
    pub(crate) fn end(&mut self) -> Used {
        let clocks_after = self.clocks.map(cpu_ns);
        let used = |clock: usize| clocks_after[clock].saturating_sub(self.clocks_before[clock]);
        let [process, helper, child] = [used(0), used(1), used(2)];
        // The helper is a thread of this process, and receives.
        let cpu_ns = [process.saturating_sub(helper), helper + child];
        // The counter begins anew now and then.
        let energy_uj = self.energy_uj().saturating_sub(self.energy_before);
        let mut used = Used { cpu_ns, energy_uj, ..Used::default() };
        let after = self.threads.each_mut().map(Thread::read);
        for (index, (before, after)) in self.before.iter().zip(after).enumerate() {
            let side = usize::from(index != 0);
            used.preemptions += after.preemptions.saturating_sub(before.preemptions);
            used.sleeps += after.sleeps.saturating_sub(before.sleeps);
            used.delay_ns += after.delay_ns.saturating_sub(before.delay_ns);
            used.cycles[side] += after.cycles.saturating_sub(before.cycles);
            used.instructions[side] += after.instructions.saturating_sub(before.instructions);
        }
        used
    }
}

/// What the kernel has counted of a thread.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Reading {
    pub(crate) preemptions: u64,
    sleeps: u64,
    pub(crate) delay_ns: u64,
    cycles: u64,
    instructions: u64,
}

/// A thread, by its files in /proc.
pub(crate) struct Thread {
    status: File,
    /// Time on a processor, time waiting for one; missing if the kernel keeps no such statistics.
    schedstat: Option<File>,
    events: Option<Events>,
}

impl Thread {
    pub(crate) fn open(pid: u32, tid: u32) -> io::Result<Self> {
        let folder = format!("/proc/{pid}/task/{tid}");
        let schedstat = File::open(format!("{folder}/schedstat")).ok();
        Ok(Self { status: File::open(format!("{folder}/status"))?, schedstat, events: None })
    }

    pub(crate) fn read(&mut self) -> Reading {
        let status = text_of(&self.status);
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|count| count.trim().parse().ok()).unwrap_or(0)
        };
        let schedstat = self.schedstat.as_ref().map(text_of).unwrap_or_default();
        let delay_ns = schedstat.split_whitespace().nth(1).and_then(|word| word.parse().ok()).unwrap_or(0);
        let [cycles, instructions] = self.events.as_mut().map(Events::read).unwrap_or_default();
        let (preemptions, sleeps) = (field("nonvoluntary_ctxt_switches:"), field("voluntary_ctxt_switches:"));
        Reading { preemptions, sleeps, delay_ns, cycles, instructions }
    }
}

/// The clock of a process's processor time, which is exact: what /proc says is as of the last tick.
fn cpu_clock(pid: u32) -> io::Result<libc::clockid_t> {
    let mut clock = 0;
    // SAFETY: the call writes to `clock` alone.
    match unsafe { libc::clock_getcpuclockid(pid as libc::pid_t, &mut clock) } {
        0 => Ok(clock),
        error => Err(io::Error::from_raw_os_error(error)),
    }
}

/// The clock of the processor time of a thread of this process: as `pthread_getcpuclockid` makes it of its number.
fn thread_clock(tid: u32) -> libc::clockid_t {
    /// The scheduler's count, of a thread.
    const SCHEDULED_THREAD: libc::clockid_t = 6;
    (!(tid as libc::clockid_t) << 3) | SCHEDULED_THREAD
}

fn cpu_ns(clock: libc::clockid_t) -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the call writes to `time` alone.
    unsafe { libc::clock_gettime(clock, &mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

fn text_of(file: &File) -> String {
    let mut bytes = [0; 4096];
    let len = file.read_at(&mut bytes, 0).unwrap_or(0);
    String::from_utf8_lossy(&bytes[..len]).into_owned()
}

/// Cycles and instructions of a thread in user space.
struct Events([Counter; 2]);

impl Events {
    fn open(tid: u32) -> io::Result<Self> {
        let open = |event: Hardware| {
            let mut counter = Builder::new().kind(Event::from(event)).observe_pid(tid as i32).build()?;
            counter.enable()?;
            Ok::<Counter, io::Error>(counter)
        };
        Ok(Self([open(Hardware::CPU_CYCLES)?, open(Hardware::INSTRUCTIONS)?]))
    }

    fn read(&mut self) -> [u64; 2] {
        self.0.each_mut().map(|counter| counter.read().unwrap_or(0))
    }
}

/// Whether this process may count cycles, or why not.
pub(crate) fn may_count_cycles() -> io::Result<()> {
    Events::open(std::process::id()).map(drop)
}
