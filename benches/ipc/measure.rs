//! The method: short slices of all contenders in turn, sorted by how far apart the two cores are meanwhile.
//!
//! A hypervisor may move its virtual processors, and then the distance between two cores changes within milliseconds,
//! and every figure with it by a factor of three to ten. So a ping-pong over a cache line is played between any two
//! slices; a slice counts only where both of its neighbours agree, and no scheduler took a core away meanwhile.

use crate::plan::Case;
use crate::sides::{Parent, Slice};
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
/// The fewest records or round trips of a slice, and their multiple.
const RECORDS_STEP: u64 = 32;
/// The most records of a slice.
const RECORDS_MAX: u64 = 1 << 22;

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

/// What one case brought at one distance.
#[derive(Clone, Debug, Default)]
pub(crate) struct Figures {
    /// One figure for each slice, in nanoseconds: for a record, or the median round trip.
    pub(crate) slices: Vec<f64>,
    /// All round trips of all slices.
    pub(crate) round_trips: Histogram,
}

/// One case, and what it brought near and far.
pub(crate) struct Outcome {
    pub(crate) case: Case,
    pub(crate) figures: [Figures; 2],
    /// What a record takes in nanoseconds, near and far, as last seen; 0 where it was not.
    pace: [f64; 2],
}

/// What became of the slices.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) kept: [u64; 2],
    /// The distance changed meanwhile.
    pub(crate) moved: u64,
    /// A core was taken away meanwhile.
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
    switches: [SwitchCount; 2],
    pub(crate) outcomes: Vec<Outcome>,
    pub(crate) tally: Tally,
    pub(crate) rounds: u64,
    slice_ns: f64,
    random: u64,
}

impl Measurement {
    pub(crate) fn new(parent: Parent, cases: Vec<Case>) -> std::io::Result<Self> {
        let switches = [SwitchCount::of(std::process::id())?, SwitchCount::of(parent.child_pid())?];
        let new = |case| Outcome { case, figures: Default::default(), pace: [0.0; 2] };
        let outcomes = cases.into_iter().map(new).collect();
        let ns_per_tick = crate::raw::ns_per_tick();
        let tally = Tally::default();
        let (slice_ns, random) = (SLICE_MAX_NS, 0x9e37_79b9_7f4a_7c15);
        Ok(Self { parent, ns_per_tick, switches, outcomes, tally, rounds: 0, slice_ns, random })
    }

    /// Runs every case once, with few records: whether they work at all.
    pub(crate) fn try_all(&mut self) {
        for outcome in &self.outcomes {
            self.parent.run(outcome.case, RECORDS_STEP);
        }
    }

    /// Measures for `budget`; `progress` is told the share that has passed, after each round.
    pub(crate) fn run(&mut self, budget: Duration, mut progress: impl FnMut(f64, &Tally)) {
        let start = Instant::now();
        let mut order: Vec<usize> = (0..self.outcomes.len()).collect();
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
            let mut records = RECORDS_STEP;
            loop {
                let distance = self.probe();
                let elapsed = self.parent.run(self.outcomes[index].case, records).elapsed as f64 * self.ns_per_tick;
                self.outcomes[index].pace[distance as usize] = elapsed / records as f64;
                if elapsed > SLICE_MIN_NS || records >= RECORDS_MAX {
                    break;
                }
                records *= 4;
            }
        }
    }

    /// How far apart the cores are now.
    fn probe(&mut self) -> Distance {
        let probe = self.parent.run(Case::PROBE, PROBE_ROUNDS);
        Distance::of(median_of(&probe.round_trips) * self.ns_per_tick)
    }

    /// One slice and the probe after it.
    fn slice(&mut self, index: usize, before: Distance) -> Distance {
        let outcome = &self.outcomes[index];
        let pace = match outcome.pace[before as usize] {
            0.0 => outcome.pace.iter().sum(),
            pace => pace,
        };
        let records = ((self.slice_ns / pace) as u64).clamp(RECORDS_STEP, RECORDS_MAX) / RECORDS_STEP * RECORDS_STEP;
        let switches = self.switches.each_ref().map(SwitchCount::read);
        let slice = self.parent.run(outcome.case, records);
        let after = self.probe();
        if self.switches.each_ref().map(SwitchCount::read) != switches {
            self.tally.preempted += 1;
            self.slice_ns = (self.slice_ns * SHORTEN).max(SLICE_MIN_NS);
            return after;
        }
        self.slice_ns = (self.slice_ns * LENGTHEN).min(SLICE_MAX_NS);
        if before != after {
            self.tally.moved += 1;
        } else {
            self.tally.kept[after as usize] += 1;
            self.keep(index, after, records, &slice);
        }
        after
    }

    fn keep(&mut self, index: usize, distance: Distance, records: u64, slice: &Slice) {
        let outcome = &mut self.outcomes[index];
        let pace = slice.elapsed as f64 * self.ns_per_tick / records as f64;
        outcome.pace[distance as usize] = pace;
        let figures = &mut outcome.figures[distance as usize];
        if outcome.case.is_one_way() {
            figures.slices.push(pace);
        } else {
            figures.slices.push(median_of(&slice.round_trips) * self.ns_per_tick);
            for ticks in &slice.round_trips {
                figures.round_trips.add((*ticks as f64 * self.ns_per_tick) as u64);
            }
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

fn median_of(ticks: &[u64]) -> f64 {
    let mut sorted = ticks.to_vec();
    sorted.sort_unstable();
    sorted[sorted.len() / 2] as f64
}

/// How often the scheduler took the core away from a process's main thread, see proc(5).
struct SwitchCount(File);

impl SwitchCount {
    fn of(pid: u32) -> std::io::Result<Self> {
        Ok(Self(File::open(format!("/proc/{pid}/task/{pid}/status"))?))
    }

    fn read(&self) -> u64 {
        let mut bytes = [0; 4096];
        let len = self.0.read_at(&mut bytes, 0).unwrap_or(0);
        let status = String::from_utf8_lossy(&bytes[..len]);
        let line = status.lines().find_map(|line| line.strip_prefix("nonvoluntary_ctxt_switches:"));
        line.and_then(|count| count.trim().parse().ok()).unwrap_or(0)
    }
}

/// Counts times in nanoseconds, exactly below 2048 and to a thousandth above.
#[derive(Clone, Debug, Default)]
pub(crate) struct Histogram {
    counts: Vec<u32>,
    total: u64,
}

/// Below 2 to this power each nanosecond has a bucket; above, each power of two has half as many.
const EXACT_BITS: u32 = 11;

impl Histogram {
    fn add(&mut self, ns: u64) {
        let shift = (u64::BITS - ns.leading_zeros()).saturating_sub(EXACT_BITS);
        let bucket = (u64::from(shift) << (EXACT_BITS - 1)) + (ns >> shift);
        if self.counts.len() <= bucket as usize {
            self.counts.resize(bucket as usize + 1, 0);
        }
        self.counts[bucket as usize] += 1;
        self.total += 1;
    }

    /// The time that `share` of all are no longer than; `None` where there are none.
    pub(crate) fn quantile(&self, share: f64) -> Option<f64> {
        let mut left = (share * self.total as f64).ceil() as u64;
        let bucket = self.counts.iter().position(|count| {
            left = left.saturating_sub(u64::from(*count));
            left == 0 && self.total != 0
        })? as u64;
        let half = 1 << (EXACT_BITS - 1);
        let shift = (bucket / half).saturating_sub(1);
        Some(((bucket - shift * half) << shift) as f64)
    }
}
