//! One process of a grid. The first producer says what runs, and tells what it took.

use super::ends::{BUILT_IN, Ends};
use crate::clock::{Clock, ticks};
use crate::contender::{ContenderKind, Fallible};
use crate::counters::{Reading, Thread};
use crate::measure::DELAY_MAX_NS;
use crate::pair::{complain_of_panics, pin};
use crate::payload::sum_of_all;
use crate::raw::HOLD_NS;
use crate::shared::{Shared, Word, wait_for};
use crate::signals;
use serde::{Deserialize, Serialize};
use std::io::Write;
use std::os::fd::AsFd;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// The argument that makes a process one of these.
pub(crate) const MEMBER: &str = "--member";
/// Stands for a contender where the processes are to end.
const THE_END: u64 = u64::MAX;
/// How long a slice is to take, in nanoseconds, and the most records that it has.
const SLICE_NS: f64 = 5.0e6;
const RECORDS_MAX: u64 = 1 << 20;
/// Slices have whole batches, in every contender that sends in batches.
const STEP: u64 = 32;
/// With how many records it begins, or only tries, and the most bytes of them.
const FIRST: u64 = 32 * STEP;
const FIRST_BYTES: usize = 64 << 20;

/// Which of the processes it is: producers first.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Place {
    pub(crate) index: usize,
    pub(crate) producers: usize,
    pub(crate) consumers: usize,
}

impl Place {
    pub(crate) fn is_producer(self) -> bool {
        self.index < self.producers
    }

    pub(crate) fn processes(self) -> usize {
        self.producers + self.consumers
    }
}

/// What it is to do, as its argument says.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Order {
    pub(crate) place: Place,
    pub(crate) core: usize,
    /// A name that no other run uses.
    pub(crate) run: String,
    /// The contenders, by name.
    pub(crate) kinds: Vec<String>,
    pub(crate) len: usize,
    /// How long to measure, in seconds; `None` to run every contender once.
    pub(crate) seconds: Option<f64>,
}

/// What is told of a slice: a record, of all producers together, takes so long.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Told {
    pub(crate) contender: String,
    pub(crate) ns: f64,
    /// Whether a core was taken away from a process meanwhile, or it waited for one.
    pub(crate) is_disturbed: bool,
}

/// Runs the process, with the arguments after [`MEMBER`]; the memory that all share is its standard input.
pub(crate) fn run_member(args: &[String], kinds: &'static [ContenderKind]) -> Fallible {
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    signals::leave_to_parent();
    let [order] = args else { return Err("this process is started by the benchmark itself".into()) };
    let order: Order = serde_json::from_str(order)?;
    let memory = std::io::stdin().as_fd().try_clone_to_owned()?;
    let shared = Shared::map(&memory)?;
    complain_of_panics(Shared::map(&memory)?);
    // Said before anything is put away: others would hear of it by that, and complain of that.
    let complain = |error: &dyn std::error::Error| shared.complain(&error.to_string());
    let mut member = Member::open(&order, &shared, kinds).inspect_err(|error| complain(&**error))?;
    member.run().inspect_err(|error| complain(&**error))
}

struct Member<'a> {
    order: &'a Order,
    shared: &'a Shared,
    /// In the order of the order's names; how many records they take at once.
    ends: Vec<(Ends<'a>, u64)>,
    /// The number of the last command, or step.
    command: u64,
    /// What this process suffers.
    thread: Thread,
    before: Reading,
}

impl<'a> Member<'a> {
    /// Opens the ends of all contenders: first the producers, then the consumers, which come to what those have opened.
    fn open(order: &'a Order, shared: &'a Shared, kinds: &'static [ContenderKind]) -> Fallible<Self> {
        pin(order.core)?;
        let thread = Thread::open(std::process::id(), std::process::id())?;
        let mut member = Self { order, shared, ends: Vec::new(), command: 0, thread, before: Reading::default() };
        let named = |name: &String| {
            let mut all = BUILT_IN.iter().chain(kinds);
            all.find(|kind| kind.name == name).ok_or_else(|| format!("no contender is called {name}"))
        };
        for producers_turn in [true, false] {
            if order.place.is_producer() == producers_turn {
                for name in &order.kinds {
                    let kind = named(name)?;
                    let ends = Ends::open(kind, order, shared)
                        .map_err(|error| format!("{name} could not be opened: {error}"))?;
                    member.ends.push((ends, kind.records_step.max(STEP)));
                }
            }
            member.wait_for_all();
        }
        for (ends, _) in &mut member.ends {
            ends.connect()?;
        }
        member.wait_for_all();
        Ok(member)
    }

    /// Says that it is done with a step, and waits until all are.
    fn wait_for_all(&mut self) {
        self.command += 1;
        self.say_done();
        self.see_all_done();
    }

    fn say_done(&self) {
        self.shared.told(self.order.place.index).store(self.command, Ordering::Release);
    }

    fn see_all_done(&self) {
        for index in 0..self.order.place.processes() {
            let told = self.shared.told(index);
            // Another may have gone on already. It yields, as several may share a processor where it is only tried.
            while told.load(Ordering::Acquire) < self.command {
                std::thread::yield_now();
            }
        }
    }

    fn run(&mut self) -> Fallible {
        if self.order.place.index == 0 { self.lead() } else { self.follow() }
    }

    /// The first producer: has all run each contender in turn.
    fn lead(&mut self) -> Fallible {
        let clock = Clock::measure();
        self.shared.word(Word::Hold).store((HOLD_NS / clock.ns_per_tick) as u64, Ordering::Relaxed);
        let first = FIRST.min((FIRST_BYTES / self.order.len) as u64).max(STEP);
        let mut pace = vec![0.0; self.ends.len()];
        let start = Instant::now();
        let budget = self.order.seconds.map(Duration::from_secs_f64);
        loop {
            for (index, pace_ns) in pace.iter_mut().enumerate() {
                let step = self.ends[index].1;
                let records = match *pace_ns {
                    0.0 => first,
                    ns => ((SLICE_NS / ns) as u64).clamp(first, RECORDS_MAX),
                };
                let records = (records / step * step).max(step);
                let ns = self.slice(index, records)? * clock.ns_per_tick / records as f64;
                // The first finds out how long one takes.
                let is_disturbed = self.see_whether_disturbed();
                if *pace_ns != 0.0 || budget.is_none() {
                    let ns_of_all = ns / self.order.place.producers as f64;
                    let told = Told { contender: self.order.kinds[index].clone(), ns: ns_of_all, is_disturbed };
                    writeln!(std::io::stdout(), "{}", serde_json::to_string(&told)?)?;
                }
                *pace_ns = ns;
            }
            let is_stopped = self.shared.word(Word::Stop).load(Ordering::Relaxed) != 0;
            if is_stopped || budget.is_none_or(|budget| start.elapsed() > budget) {
                break;
            }
        }
        self.begin(THE_END, 0);
        self.shared.word(Word::Sum).store(DONE, Ordering::Release);
        Ok(())
    }

    /// A slice of that number of records of each producer; how many ticks it took until every consumer had all.
    fn slice(&mut self, index: usize, records: u64) -> Fallible<f64> {
        let Place { producers, consumers, .. } = self.order.place;
        let start = ticks();
        self.begin(index as u64, records);
        self.ends[index].0.send(self.order.len, records)?;
        self.say_done();
        self.see_all_done();
        let elapsed = ticks() - start;
        let sum = sum_of_all(self.order.len, records).wrapping_mul(producers as u64);
        let told = |consumer| self.shared.latency(producers + consumer).load(Ordering::Acquire);
        match (0..consumers).find(|consumer| told(*consumer) != sum) {
            None => Ok(elapsed as f64),
            Some(consumer) => {
                let name = &self.order.kinds[index];
                Err(format!("{name}: consumer {consumer} received something else than was sent").into())
            }
        }
    }

    /// Says whether this process was disturbed in the slice that has just been measured.
    fn say_whether_disturbed(&mut self) {
        let (before, after) = (self.before, self.thread.read());
        let is_disturbed = after.preemptions != before.preemptions || after.delay_ns > before.delay_ns + DELAY_MAX_NS;
        let Place { index, .. } = self.order.place;
        self.shared.latency(self.order.place.processes() + index).store(u64::from(is_disturbed), Ordering::Relaxed);
        self.command += 1;
        self.say_done();
        self.before = self.thread.read();
    }

    /// Whether any was.
    fn see_whether_disturbed(&mut self) -> bool {
        self.say_whether_disturbed();
        self.see_all_done();
        let processes = self.order.place.processes();
        (processes..2 * processes).any(|index| self.shared.latency(index).load(Ordering::Relaxed) != 0)
    }

    fn begin(&mut self, index: u64, records: u64) {
        self.shared.word(Word::Case).store(index, Ordering::Relaxed);
        self.shared.word(Word::Records).store(records, Ordering::Relaxed);
        self.command += 1;
        self.shared.word(Word::Command).store(self.command, Ordering::Release);
    }

    /// All others: do what is said.
    fn follow(&mut self) -> Fallible {
        loop {
            self.command += 1;
            wait_for(self.shared.word(Word::Command), self.command, std::thread::yield_now);
            let index = self.shared.word(Word::Case).load(Ordering::Relaxed);
            let records = self.shared.word(Word::Records).load(Ordering::Relaxed);
            if index == THE_END {
                return Ok(());
            }
            let ends = &mut self.ends[index as usize].0;
            if self.order.place.is_producer() {
                ends.send(self.order.len, records)?;
            } else {
                let sum = ends.receive(self.order.len, records)?;
                self.shared.latency(self.order.place.index).store(sum, Ordering::Release);
            }
            self.say_done();
            self.say_whether_disturbed();
        }
    }
}

/// What the first producer leaves once all is told.
const DONE: u64 = 1;

/// Whether a grid has been measured to its end.
pub(super) fn is_done(shared: &Shared) -> bool {
    shared.word(Word::Sum).load(Ordering::Acquire) == DONE
}
