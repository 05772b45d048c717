//! What is counted rather than timed: system calls, processor time, memory and descriptors of idle and busy ends.
//!
//! Two fresh processes, a producer and a consumer, do as they are told, and this one watches them: their system calls
//! one by one through ptrace(2), their processor time by the scheduler's own count. A process that makes no system call
//! is not slowed by being traced, so the counts of busy ends, which make next to none, are those of undisturbed ones;
//! ends that sleep are slowed, which leaves their calls for each record as they are. The two and who watches them are
//! of the usual class of scheduling whatever class this process is of: in a real-time one either would take the
//! processor from the other.

mod roles;
mod trace;

pub(crate) use roles::{CONSUMER, PRODUCER, run_role};

use super::shared::{Shared, Word, nap, wake};
use roles::{Command, Regime};
use rustix::fd::{AsFd, OwnedFd};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use std::error::Error;
use std::process::{Child, Stdio};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use trace::Tracer;

/// What filters know it by.
pub(crate) const NAME: &str = "counts: fdring";
/// The name of the measure.
pub(crate) const KEY: &str = "counts";
/// How long the two are left alone to see what they do when there is nothing to do.
const IDLE: Duration = Duration::from_secs(1);
/// How many records suffice to see that it works.
const TRIED: u64 = 512;
/// How long anything else may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// One count, as it stands in the report.
#[derive(Clone, Debug)]
pub(crate) struct Count {
    pub(crate) what: String,
    pub(crate) value: f64,
    pub(crate) unit: &'static str,
    /// What it is to stay below (or at, if that is 0).
    pub(crate) limit: Option<f64>,
}

impl Count {
    fn new(what: impl Into<String>, value: f64, unit: &'static str, limit: Option<f64>) -> Self {
        Self { what: what.into(), value, unit, limit }
    }

    /// Whether it is within its limit, if it has one.
    pub(crate) fn is_reached(&self) -> Option<bool> {
        self.limit.map(|limit| if limit == 0.0 { self.value == 0.0 } else { self.value < limit })
    }
}

/// All counts, and what could not be counted.
#[derive(Clone, Debug, Default)]
pub(crate) struct Census {
    pub(crate) counts: Vec<Count>,
    pub(crate) warnings: Vec<String>,
}

impl Census {
    /// None, and a warning that says why.
    pub(crate) fn without(error: &dyn Error) -> Self {
        Self { counts: Vec::new(), warnings: vec![format!("not all was counted: {error}")] }
    }
}

/// The two processes that are watched.
struct Watched {
    shared: Shared,
    processes: [Child; 2],
    commands: u32,
    /// Whether it is only tried, with few records.
    tries: bool,
}

/// Counts everything, in some seconds; only tries it with `tries`.
///
/// # Errors
///
/// Where the two processes cannot be started or do not answer.
pub(crate) fn take(cores: [usize; 2], tries: bool) -> Result<Census, Box<dyn Error>> {
    // A thread of its own: the class is of that thread and of what it starts, and so is ptrace(2).
    let taking = std::thread::spawn(move || {
        trace::leave_real_time().map_err(|error| format!("sched_setscheduler: {error}"))?;
        take_here(cores, tries).map_err(|error| error.to_string())
    });
    let census = taking.join().map_err(|_| "the thread that counts panicked")?;
    Ok(census?)
}

fn take_here(cores: [usize; 2], tries: bool) -> Result<Census, Box<dyn Error>> {
    let mut watched = Watched::start(cores, tries)?;
    let mut census = Census::default();
    watched.count_memory(&mut census)?;
    watched.count_idle_time(&mut census);
    match Tracer::attach(&watched.pids()) {
        Ok(tracer) => watched.count_calls(tracer, &mut census)?,
        Err(error) => census.warnings.push(format!("system calls were not counted: ptrace: {error}")),
    }
    watched.command(Command::End)?;
    Ok(census)
}

impl Watched {
    fn start([producers_core, consumers_core]: [usize; 2], tries: bool) -> Result<Self, Box<dyn Error>> {
        let (shared, memory) = Shared::create()?;
        let address = format!("@fdring-bench-{}-census", std::process::id());
        let producer = spawn(PRODUCER, producers_core, &address, &memory)?;
        wait_for_start(&shared, "the watched producer", 1)?;
        let consumer = spawn(CONSUMER, consumers_core, &address, &memory)?;
        wait_for_start(&shared, "the watched consumer", 2)?;
        Ok(Self { shared, processes: [producer, consumer], commands: 0, tries })
    }

    fn pids(&self) -> [u32; 2] {
        self.processes.each_ref().map(Child::id)
    }

    /// Has the producer do something, and waits for it without a system call of the producer's in between.
    fn command(&mut self, command: Command) -> Result<(), Box<dyn Error>> {
        self.begin(command);
        let start = Instant::now();
        while !self.is_done() {
            if start.elapsed() > PATIENCE {
                return Err("the watched producer does not answer".into());
            }
            std::thread::sleep(Duration::from_micros(100));
        }
        self.let_go();
        Ok(())
    }

    fn begin(&mut self, command: Command) {
        self.commands += 1;
        let (number, records) = command.encode();
        let records = if self.tries { records.min(TRIED) } else { records };
        self.shared.word(Word::Case).store(number, Ordering::Relaxed);
        self.shared.word(Word::Records).store(records, Ordering::Relaxed);
        wake(self.shared.futex(Word::FutexPing), self.commands);
    }

    fn is_done(&self) -> bool {
        self.shared.word(Word::Pong).load(Ordering::Acquire) == u64::from(self.commands)
    }

    /// Allows the producer to sleep again, now that nothing is counted any more.
    fn let_go(&self) {
        self.shared.word(Word::GoOn).store(u64::from(self.commands), Ordering::Release);
    }

    fn count_memory(&mut self, census: &mut Census) -> Result<(), Box<dyn Error>> {
        self.command(Command::Weigh)?;
        let told = |index| self.shared.told(index).load(Ordering::Relaxed) as f64;
        census.counts.extend([
            Count::new("memory of a lane beyond its ring", told(0) / 1024.0, "KiB", None),
            Count::new("descriptors of a lane, in the producer", told(1), "", None),
            Count::new("memory of a consumer, in the consumer", told(2) / 1024.0, "KiB", None),
            Count::new("descriptors of a consumer, in the consumer", told(3), "", None),
            Count::new("memory of a consumer, in the producer", told(4) / 1024.0, "KiB", None),
            Count::new("descriptors of a consumer, in the producer", told(5), "", None),
        ]);
        Ok(())
    }

    /// Processor time and turns of two ends that have nothing to do, by the scheduler's count.
    fn count_idle_time(&self, census: &mut Census) {
        // What was under way ends, and spins run out.
        std::thread::sleep(Duration::from_millis(200));
        let before = self.pids().map(Times::of);
        std::thread::sleep(IDLE);
        let after = self.pids().map(Times::of);
        for (index, name) in ["producer", "consumer"].into_iter().enumerate() {
            let ns = (after[index].ns - before[index].ns) as f64 / IDLE.as_secs_f64();
            let turns = (after[index].turns - before[index].turns) as f64 / IDLE.as_secs_f64();
            census.counts.extend([
                Count::new(format!("idle {name}: processor time"), ns / 1e3, "µs/s", Some(10.0)),
                Count::new(format!("idle {name}: turns on a processor"), turns, "/s", Some(0.0)),
            ]);
        }
    }

    fn count_calls(&mut self, mut tracer: Tracer, census: &mut Census) -> Result<(), Box<dyn Error>> {
        tracer.settle();
        let start = Instant::now();
        let idle = tracer.count_until(|| start.elapsed() >= IDLE);
        for (name, calls) in ["producer", "consumer"].into_iter().zip(idle) {
            census.counts.push(Count::new(format!("idle {name}: system calls"), calls as f64, "/s", Some(0.0)));
        }
        for regime in Regime::ALL {
            let mut runs = Vec::new();
            for _ in 0..if self.tries { 1 } else { regime.repeats() } {
                runs.push(self.count_calls_once(&mut tracer, regime)?);
            }
            for (index, name) in ["producer", "consumer"].into_iter().enumerate() {
                let mut calls: Vec<u64> = runs.iter().map(|run| run[index]).collect();
                calls.sort_unstable();
                let per_million = calls[calls.len() / 2] as f64 * 1e6 / regime.records() as f64;
                let limit = regime.is_busy().then_some(10.0);
                let what = format!("{regime}: system calls of the {name}");
                census.counts.push(Count::new(what, per_million, "/M records", limit));
            }
        }
        Ok(())
    }

    fn count_calls_once(&mut self, tracer: &mut Tracer, regime: Regime) -> Result<[u64; 2], Box<dyn Error>> {
        tracer.settle();
        let start = Instant::now();
        self.begin(Command::Send(regime));
        let calls = tracer.count_until(|| self.is_done() || start.elapsed() > PATIENCE);
        if !self.is_done() {
            return Err("the watched producer does not answer".into());
        }
        self.let_go();
        Ok(calls)
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        for process in &mut self.processes {
            // Ended by now, unless something went wrong.
            let start = Instant::now();
            while matches!(process.try_wait(), Ok(None)) && start.elapsed() < Duration::from_secs(1) {
                std::thread::sleep(Duration::from_millis(1));
            }
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

/// Waits for a process's answer, for no longer than `PATIENCE`.
fn wait_for_start(shared: &Shared, who: &str, answer: u64) -> Result<(), Box<dyn Error>> {
    let start = Instant::now();
    while shared.word(Word::Answer).load(Ordering::Acquire) != answer {
        if start.elapsed() > PATIENCE {
            return Err(format!("{who} does not start").into());
        }
        // It may need this very processor.
        nap();
    }
    Ok(())
}

fn spawn(role: &str, core: usize, address: &str, memory: &OwnedFd) -> Result<Child, Box<dyn Error>> {
    let (socket, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    let mut command = std::process::Command::new(std::env::current_exe()?);
    let child = command.args([role, &core.to_string(), address]).stdin(Stdio::from(theirs)).spawn()?;
    fdring::send_fds(&socket, b"ends", &[memory.as_fd()])?;
    Ok(child)
}

/// What all threads of a process had of the processors.
struct Times {
    ns: u64,
    turns: u64,
}

impl Times {
    /// By schedstat, see proc(5): time on a processor, time waiting for one, turns.
    fn of(pid: u32) -> Self {
        let mut times = Self { ns: 0, turns: 0 };
        for tid in trace::threads(pid) {
            let text = std::fs::read_to_string(format!("/proc/{pid}/task/{tid}/schedstat")).unwrap_or_default();
            let numbers: Vec<u64> = text.split_whitespace().filter_map(|word| word.parse().ok()).collect();
            if let [ns, _, turns] = numbers[..] {
                times.ns += ns;
                times.turns += turns;
            }
        }
        times
    }
}
