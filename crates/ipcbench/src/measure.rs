//! The method: short slices of all contenders in turn, sorted by how far apart the two cores are meanwhile.
//!
//! A hypervisor may move its virtual processors, and then the distance between two cores changes within milliseconds,
//! and every figure with it by a factor of three to ten. So a ping-pong over a cache line is played between any two
//! slices; a slice counts only where both of its neighbours agree, and no scheduler took a core away meanwhile. What
//! goes through a ring one way goes round it once before that is measured.

use super::clock::ns_per_tick;
use super::plan::Case;
use super::sides::{Parent, Slice};
use super::stats::{Histogram, Quartiles, median_of};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

/// Cores are near where a cache line goes there and back in less than this, in nanoseconds.
pub(crate) const NEAR_BELOW_NS: f64 = 250.0;
/// How long a slice is to take, in nanoseconds: shorter the more of them are cut short by other processes.
const SLICE_MAX_NS: f64 = 2.0e6;
const SLICE_MIN_NS: f64 = 2.5e5;
/// What a slice that was cut short makes of the length of the next, and one that was not.
const SHORTEN: f64 = 0.8;
const LENGTHEN: f64 = 1.05;
/// How many round trips a probe makes.
const PROBE_ROUNDS: u64 = 64;

/// How far apart the cores are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Distance {
    Near = 0,
    Far = 1,
}

impl Distance {
    pub(crate) const ALL: [Self; 2] = [Self::Near, Self::Far];

    fn of(round_trip_ns: f64) -> Self {
        if round_trip_ns < NEAR_BELOW_NS { Self::Near } else { Self::Far }
    }
}

/// What becomes of a slice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Kept(Distance),
    /// The distance changed meanwhile.
    Moved,
    /// A core was taken away meanwhile.
    Preempted,
}

/// Sorts a slice by the probes before and after it.
pub(crate) fn classify([before, after]: [Distance; 2], was_preempted: bool) -> Verdict {
    match (before == after, was_preempted) {
        (_, true) => Verdict::Preempted,
        (false, _) => Verdict::Moved,
        (true, _) => Verdict::Kept(after),
    }
}

/// What one case brought at one distance.
#[derive(Clone, Debug, Default)]
pub(crate) struct Figures {
    /// One figure for each slice, in nanoseconds: for a record, or the median round trip.
    pub(crate) slices: Vec<f64>,
    /// All round trips of all slices.
    pub(crate) times: Histogram,
}

impl Figures {
    pub(crate) fn quartiles(&self) -> Option<Quartiles> {
        Quartiles::of(&self.slices)
    }
}

/// One case, and what it brought near and far.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    pub(crate) case: Case,
    pub(crate) figures: [Figures; 2],
    /// What a record takes in nanoseconds, near and far, as last seen; 0 where it was not.
    pace: [f64; 2],
}

impl Outcome {
    pub(crate) fn new(case: Case) -> Self {
        Self { case, figures: Default::default(), pace: [0.0; 2] }
    }
}

/// What became of the slices.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) kept: [u64; 2],
    pub(crate) moved: u64,
    pub(crate) preempted: u64,
}

impl Tally {
    pub(crate) fn slices(&self) -> u64 {
        self.kept.iter().sum::<u64>() + self.moved + self.preempted
    }
}

/// Measures the cases in turn, for as long as there is time.
pub(crate) struct Measurement {
    parent: Parent,
    ns_per_tick: f64,
    switches: [SwitchCount; 3],
    pub(crate) outcomes: Vec<Outcome>,
    pub(crate) tally: Tally,
    pub(crate) rounds: u64,
    slice_ns: f64,
    random: u64,
}

impl Measurement {
    pub(crate) fn new(parent: Parent, cases: Vec<Case>) -> std::io::Result<Self> {
        let (pid, child_pid) = (std::process::id(), parent.child_pid());
        let switches = [
            SwitchCount::of(pid, pid)?,
            SwitchCount::of(pid, parent.helper_tid())?,
            SwitchCount::of(child_pid, child_pid)?,
        ];
        let outcomes = cases.into_iter().map(Outcome::new).collect();
        let tally = Tally::default();
        let (slice_ns, random) = (SLICE_MAX_NS, 0x9e37_79b9_7f4a_7c15);
        let ns_per_tick = ns_per_tick();
        Ok(Self { parent, ns_per_tick, switches, outcomes, tally, rounds: 0, slice_ns, random })
    }

    /// The two processes that are measured.
    pub(crate) fn pids(&self) -> [u32; 2] {
        [std::process::id(), self.parent.child_pid()]
    }

    /// Runs every case once, with few records: whether they work at all.
    pub(crate) fn try_all(&mut self) {
        for outcome in &self.outcomes {
            self.parent.run(outcome.case, outcome.case.step());
        }
    }

    /// Measures for `budget`; `progress` is told the share that has passed, now and then.
    pub(crate) fn run(&mut self, budget: Duration, mut progress: impl FnMut(f64, &Tally)) {
        let start = Instant::now();
        let mut order: Vec<usize> = (0..self.outcomes.len()).collect();
        if order.is_empty() {
            return;
        }
        self.warm_up();
        while start.elapsed() < budget {
            self.shuffle(&mut order);
            let mut before = self.probe();
            for index in &order {
                before = self.slice(*index, before);
            }
            self.rounds += 1;
            progress((start.elapsed().as_secs_f64() / budget.as_secs_f64()).min(1.0), &self.tally);
        }
    }

    /// Finds out roughly how long each case takes for a record.
    fn warm_up(&mut self) {
        for index in 0..self.outcomes.len() {
            let case = self.outcomes[index].case;
            let mut records = case.step();
            loop {
                let distance = self.probe();
                let elapsed = self.parent.run(case, records).elapsed as f64 * self.ns_per_tick;
                self.outcomes[index].pace[distance as usize] = elapsed / records as f64;
                if elapsed > SLICE_MIN_NS || records * 4 > case.most() {
                    break;
                }
                records *= 4;
            }
        }
    }

    /// How far apart the cores are now.
    fn probe(&mut self) -> Distance {
        let probe = self.parent.run(Case::PROBE, PROBE_ROUNDS);
        Distance::of(median_of(&probe.times) * self.ns_per_tick)
    }

    /// One slice and the probe after it.
    fn slice(&mut self, index: usize, before: Distance) -> Distance {
        let outcome = &self.outcomes[index];
        let pace = match outcome.pace[before as usize] {
            0.0 => outcome.pace.iter().sum(),
            pace => pace,
        };
        let case = outcome.case;
        let records = ((self.slice_ns / pace) as u64).clamp(case.step(), case.most()) / case.step() * case.step();
        let to_warm = case.records_to_warm().min(records);
        if to_warm != 0 {
            self.parent.run(case, to_warm);
        }
        let switches = self.switches.each_ref().map(SwitchCount::read);
        let slice = self.parent.run(case, records);
        let after = self.probe();
        let switched = self.switches.each_ref().map(SwitchCount::read) != switches;
        let was_preempted = switched && !case.shares_a_core();
        self.slice_ns = match was_preempted {
            true => (self.slice_ns * SHORTEN).max(SLICE_MIN_NS),
            false => (self.slice_ns * LENGTHEN).min(SLICE_MAX_NS),
        };
        let pace = slice.elapsed as f64 * self.ns_per_tick / records as f64;
        self.outcomes[index].pace[after as usize] = pace;
        match classify([before, after], was_preempted) {
            Verdict::Kept(distance) => {
                self.tally.kept[distance as usize] += 1;
                self.keep(index, distance, pace, &slice);
            }
            Verdict::Moved => self.tally.moved += 1,
            Verdict::Preempted => self.tally.preempted += 1,
        }
        after
    }

    fn keep(&mut self, index: usize, distance: Distance, pace: f64, slice: &Slice) {
        let outcome = &mut self.outcomes[index];
        let figures = &mut outcome.figures[distance as usize];
        if outcome.case.is_timed() {
            figures.slices.push(median_of(&slice.times) * self.ns_per_tick);
            for ticks in &slice.times {
                figures.times.add((*ticks as f64 * self.ns_per_tick) as u64);
            }
        } else {
            figures.slices.push(pace);
        }
    }

    /// Another order for each round, so that no case always follows the same one.
    fn shuffle(&mut self, order: &mut [usize]) {
        for last in (1..order.len()).rev() {
            self.random ^= self.random << 13;
            self.random ^= self.random >> 7;
            self.random ^= self.random << 17;
            order.swap(last, (self.random % (last as u64 + 1)) as usize);
        }
    }
}

/// How often the scheduler took the core away from a thread, see proc(5).
struct SwitchCount(File);

impl SwitchCount {
    fn of(pid: u32, tid: u32) -> std::io::Result<Self> {
        Ok(Self(File::open(format!("/proc/{pid}/task/{tid}/status"))?))
    }

    fn read(&self) -> u64 {
        let mut bytes = [0; 4096];
        let len = self.0.read_at(&mut bytes, 0).unwrap_or(0);
        let status = String::from_utf8_lossy(&bytes[..len]);
        let line = status.lines().find_map(|line| line.strip_prefix("nonvoluntary_ctxt_switches:"));
        line.and_then(|count| count.trim().parse().ok()).unwrap_or(0)
    }
}
