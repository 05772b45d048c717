//! The method: short slices of all contenders in turn, sorted by how far apart the two cores are meanwhile.
//!
//! A ping-pong over a cache line is played between any two slices. A slice counts only where both of its neighbours are
//! of one class of distance, no scheduler took a core away meanwhile, and no thread had to wait for a core. What goes
//! through a ring goes round it once before that is measured.

use crate::distance::{Boundary, Distance};
use crate::plan::Case;
use crate::stats::{Quartiles, histogram, quantile};
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How long the threads of a slice may wait for a processor, in nanoseconds.
pub(crate) const DELAY_MAX_NS: u64 = 100_000;
/// Fewer slices than this make no figure to rely on, no ceiling, and judge no target.
pub(crate) const SLICES_MIN: usize = 10;
/// Fewer slices of a restart than this make no median of it.
const RESTART_SLICES_MIN: usize = 3;

/// What was seen of one slice.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Sample {
    /// The case, by its number among those that are measured.
    pub(crate) number: usize,
    pub(crate) records: u64,
    /// Its figure in nanoseconds: for a record, or the median time.
    pub(crate) ns: f64,
    /// From beginning to end in nanoseconds, for each record.
    pub(crate) pace_ns: f64,
    /// The cache-line round trips before and after it, in nanoseconds.
    pub(crate) probes_ns: [f64; 2],
    pub(crate) used: Used,
    /// Each time in nanoseconds, and how often it came.
    pub(crate) times: Vec<(u64, u64)>,
}

/// What the threads of a slice used and suffered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Used {
    /// How often a core was taken away from a thread.
    pub(crate) preemptions: u64,
    /// How often a thread gave it back.
    pub(crate) sleeps: u64,
    /// How long threads waited for a core, in nanoseconds.
    pub(crate) delay_ns: u64,
    /// Processor time of the sender and of the receiver, in nanoseconds.
    pub(crate) cpu_ns: [u64; 2],
    /// Cycles of the sender and of the receiver; 0 if they cannot be counted.
    pub(crate) cycles: [u64; 2],
    pub(crate) instructions: [u64; 2],
    /// Energy of the whole package in microjoules; 0 if it cannot be read.
    pub(crate) energy_uj: u64,
}

impl Used {
    fn add(&mut self, other: &Self) {
        self.preemptions += other.preemptions;
        self.sleeps += other.sleeps;
        self.delay_ns += other.delay_ns;
        self.energy_uj += other.energy_uj;
        for side in 0..2 {
            self.cpu_ns[side] += other.cpu_ns[side];
            self.cycles[side] += other.cycles[side];
            self.instructions[side] += other.instructions[side];
        }
    }
}

/// What becomes of a slice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Kept(Distance),
    /// The distance changed meanwhile.
    Moved,
    /// A core was taken away meanwhile.
    Preempted(Distance),
    /// A thread waited for a core: it woke up, and another one ran there.
    Delayed(Distance),
}

/// Sorts a slice by the probes before and after it, and by what its threads suffered.
pub(crate) fn classify(sample: &Sample, case: Case, boundary: Boundary) -> Verdict {
    let [before, after] = sample.probes_ns.map(|ns| boundary.class(ns));
    match &sample.used {
        _ if before != after => Verdict::Moved,
        // Its own threads wait for each other, which is no disturbance.
        _ if case.takes_turns() => Verdict::Kept(after),
        used if used.preemptions != 0 => Verdict::Preempted(after),
        used if used.delay_ns > DELAY_MAX_NS => Verdict::Delayed(after),
        _ => Verdict::Kept(after),
    }
}

/// How the slices ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Tally {
    pub(crate) kept: [u64; 2],
    pub(crate) moved: u64,
    pub(crate) preempted: u64,
    pub(crate) delayed: u64,
}

impl Tally {
    pub(crate) fn add(&mut self, verdict: Verdict) {
        match verdict {
            Verdict::Kept(distance) => self.kept[distance as usize] += 1,
            Verdict::Moved => self.moved += 1,
            Verdict::Preempted(_) => self.preempted += 1,
            Verdict::Delayed(_) => self.delayed += 1,
        }
    }

    pub(crate) fn slices(&self) -> u64 {
        self.kept.iter().sum::<u64>() + self.thrown_away()
    }

    pub(crate) fn thrown_away(&self) -> u64 {
        self.moved + self.preempted + self.delayed
    }
}

/// The quantiles beyond the median that are told of each restart.
pub(crate) const TAILS: [f64; 3] = [0.9, 0.99, 0.999];

/// What one restart brought.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Restart {
    /// Over its slices.
    pub(crate) quartiles: Quartiles,
    /// Of the times that count, by [`TAILS`]; `None` if there are too few.
    pub(crate) tails: [Option<f64>; TAILS.len()],
}

/// What one case brought at one distance.
#[derive(Clone, Debug)]
pub(crate) struct Figures {
    /// One figure for each slice, in nanoseconds: for a record, or the median time.
    pub(crate) slices: Vec<f64>,
    /// What a record took from beginning to end in each slice, in nanoseconds.
    pub(crate) paces: Vec<f64>,
    /// Each restart that has slices enough.
    pub(crate) restarts: Vec<Restart>,
    /// All times of the slices that count.
    pub(crate) times: Histogram<u64>,
    /// All times, also of slices that were thrown away because a core was taken away or awaited.
    pub(crate) all_times: Histogram<u64>,
    /// How many slices were thrown away by each rule; those whose distance changed count at the nearer one.
    pub(crate) thrown_away: Tally,
    /// What the slices that count used altogether, and how many records they had.
    pub(crate) used: Used,
    pub(crate) records: u64,
}

impl Default for Figures {
    fn default() -> Self {
        Self {
            slices: Vec::new(),
            paces: Vec::new(),
            restarts: Vec::new(),
            times: histogram(),
            all_times: histogram(),
            thrown_away: Tally::default(),
            used: Used::default(),
            records: 0,
        }
    }
}

impl Figures {
    pub(crate) fn quartiles(&self) -> Option<Quartiles> {
        Quartiles::of(&self.slices)
    }

    /// A quantile of the times that count; `None` if there are too few. The median is that over slices, which is
    /// finer than the clock's step.
    pub(crate) fn quantile(&self, share: f64) -> Option<f64> {
        if share == 0.5 { self.quartiles().map(|quartiles| quartiles.median) } else { quantile(&self.times, share) }
    }

    /// Of each restart the median over its slices.
    pub(crate) fn medians(&self) -> Vec<f64> {
        self.restarts.iter().map(|restart| restart.quartiles.median).collect()
    }

    /// Of each restart a quantile of [`TAILS`], if it has times enough.
    pub(crate) fn tails(&self, share: f64) -> Vec<f64> {
        let Some(index) = TAILS.iter().position(|each| *each == share) else { return Vec::new() };
        self.restarts.iter().filter_map(|restart| restart.tails[index]).collect()
    }

    /// Of the waits of a measure between sleepers, the share that slept: the others found what they waited for at once.
    pub(crate) fn slept_share(&self, case: Case) -> Option<f64> {
        let waits = (self.records * case.waits()?) as f64;
        (waits != 0.0).then(|| (self.used.sleeps as f64 / waits).min(1.0))
    }

    /// The share of slices that were thrown away.
    pub(crate) fn thrown_away_share(&self) -> f64 {
        let thrown_away = self.thrown_away.thrown_away() as f64;
        thrown_away / (thrown_away + self.slices.len() as f64).max(1.0)
    }

    fn keep(&mut self, sample: &Sample) {
        self.slices.push(sample.ns);
        self.paces.push(sample.pace_ns);
        self.used.add(&sample.used);
        self.records += sample.records;
        record(&mut self.times, sample);
    }
}

fn record(times: &mut Histogram<u64>, sample: &Sample) {
    for (ns, count) in &sample.times {
        times.record_n(*ns, *count).expect("a histogram that grows");
    }
}

/// One case, and what it brought near and far.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    pub(crate) case: Case,
    pub(crate) figures: [Figures; 2],
}

impl Outcome {
    pub(crate) fn new(case: Case) -> Self {
        Self { case, figures: Default::default() }
    }
}

/// Sorts all samples of a run, which are one list for each restart.
pub(crate) fn sort(cases: &[Case], restarts: &[Vec<Sample>], boundary: Boundary) -> (Vec<Outcome>, Tally) {
    let mut outcomes: Vec<Outcome> = cases.iter().map(|case| Outcome::new(*case)).collect();
    let mut tally = Tally::default();
    for samples in restarts {
        let mut kept: BTreeMap<(usize, Distance), Vec<&Sample>> = BTreeMap::new();
        for sample in samples {
            let outcome = &mut outcomes[sample.number];
            let verdict = classify(sample, outcome.case, boundary);
            tally.add(verdict);
            let (Verdict::Kept(distance) | Verdict::Preempted(distance) | Verdict::Delayed(distance)) = verdict else {
                outcome.figures[Distance::Near as usize].thrown_away.add(verdict);
                continue;
            };
            let figures = &mut outcome.figures[distance as usize];
            record(&mut figures.all_times, sample);
            match verdict {
                Verdict::Kept(_) => {
                    figures.keep(sample);
                    kept.entry((sample.number, distance)).or_default().push(sample);
                }
                _ => figures.thrown_away.add(verdict),
            }
        }
        for ((number, distance), samples) in kept {
            outcomes[number].figures[distance as usize].restarts.extend(restart(&samples));
        }
    }
    (outcomes, tally)
}

/// What a restart brought of one case at one distance; `None` if it has too few slices.
fn restart(samples: &[&Sample]) -> Option<Restart> {
    if samples.len() < RESTART_SLICES_MIN {
        return None;
    }
    let mut times = histogram();
    samples.iter().for_each(|sample| record(&mut times, sample));
    let slices: Vec<f64> = samples.iter().map(|sample| sample.ns).collect();
    Some(Restart { quartiles: Quartiles::of(&slices)?, tails: TAILS.map(|share| quantile(&times, share)) })
}

#[cfg(test)]
mod tests;
