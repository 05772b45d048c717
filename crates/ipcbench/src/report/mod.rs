//! The report: what was measured, as text, as JSON, as a table, as distributions, and as a page with plots.
//!
//! Everything is read from one [`Run`]; nothing is measured here.

mod html;
pub(crate) mod json;
mod plots;
mod tables;
mod text;

pub(crate) use tables::{Table, list};
pub(crate) use text::text;

use crate::census::Census;
use crate::contender::Fallible;
use crate::distance::Distance;
use crate::load::rate_name;
use crate::machine::Machine;
use crate::measure::{Figures, Outcome};
use crate::options::Options;
use crate::plan::{Case, Spread};
use crate::run::Collected;
use crate::stats::short;
use crate::targets::{ABOVE_BOUND_MAX, Judgement, targets};
use std::path::Path;

/// Fewer slices than this make no figure to rely on.
const SLICES_MIN: usize = 5;
/// The share of slices that may be thrown away before the report warns.
const THROWN_AWAY_MAX: f64 = 0.5;
/// Who carries less than this share of an offered load cannot keep up with it.
const KEEPING_UP: f64 = 0.8;

/// All that a report is made of.
pub(crate) struct Run<'a> {
    pub(crate) machine: &'a Machine,
    pub(crate) options: &'a Options,
    pub(crate) collected: &'a Collected,
    /// The contenders from outside, with their versions.
    pub(crate) others: Vec<String>,
    pub(crate) warnings: Vec<String>,
    pub(crate) census: &'a Census,
}

/// A row of the table of targets.
struct Judged {
    what: String,
    goal: String,
    /// Near and far: what it came to, and whether that is enough; `None` where too little was measured.
    values: [Option<(f64, Judgement)>; 2],
}

impl Run<'_> {
    fn outcomes(&self) -> &[Outcome] {
        &self.collected.outcomes
    }

    fn figures(&self, case: Case, distance: Distance) -> Option<&Figures> {
        self.outcomes().iter().find(|outcome| outcome.case == case).map(|outcome| &outcome.figures[distance as usize])
    }

    fn median(&self, case: Case, distance: Distance) -> Option<f64> {
        self.figures(case, distance)?.quartiles().map(|quartiles| quartiles.median)
    }

    /// How good a case's median is, as a share of its ceiling: the best bare ring of that row, in its best state. More
    /// is better, and more than 1 a doubt.
    fn ratio_to_ceiling(&self, case: Case, distance: Distance) -> Option<f64> {
        let best = |ceiling| self.figures(ceiling, distance)?.quartiles().map(|quartiles| quartiles.low);
        let ceiling = case.ceilings().into_iter().filter_map(best).min_by(f64::total_cmp)?;
        Some(ceiling / self.median(case, distance)?)
    }

    /// The same as a cell of a table, with a mark where it is a doubt.
    fn ceiling_cell(&self, case: Case, distance: Distance) -> String {
        match self.ratio_to_ceiling(case, distance) {
            None => "–".to_owned(),
            Some(ratio) if is_doubt(case, ratio) => format!("{}!", short(ratio)),
            Some(ratio) => short(ratio),
        }
    }

    /// How many times as good the best of fdring's forms is in the same measure.
    fn ratio_to_fdring(&self, case: Case, distance: Distance) -> Option<f64> {
        let rivals = self.outcomes().iter().map(|outcome| outcome.case);
        let rivals = rivals.filter(|rival| rival.is_fdring() && rival.measure() == case.measure());
        let best = rivals.filter_map(|rival| self.median(rival, distance)).min_by(f64::total_cmp)?;
        Some(self.median(case, distance)? / best)
    }

    /// The outcomes, measure by measure.
    fn groups(&self) -> impl Iterator<Item = &[Outcome]> {
        self.outcomes().chunk_by(|a, b| a.case.measure() == b.case.measure())
    }

    /// The targets of which at least one distance can be judged. Counts are the same at every distance.
    fn targets(&self) -> Vec<Judged> {
        let planned: Vec<Case> = self.outcomes().iter().map(|outcome| outcome.case).collect();
        let measured = targets(&planned).into_iter().map(|target| {
            let value = |distance| target.value(self.outcomes(), distance);
            let values = Distance::ALL.map(|distance| value(distance).map(|value| (value, target.judge(value))));
            Judged { what: target.what, goal: target.goal.to_string(), values }
        });
        let counted = self.census.counts.iter().filter_map(|count| {
            let value = Some((count.value, Judgement::of(count.is_reached()?)));
            let limit = count.limit?;
            let goal = if limit == 0.0 { "0".to_owned() } else { format!("< {limit}") };
            Some(Judged { what: format!("{}, {}", count.what, count.unit), goal, values: [value; 2] })
        });
        measured.filter(|judged| judged.values.iter().any(Option::is_some)).chain(counted).collect()
    }

    fn method(&self) -> Vec<String> {
        let Collected { tally, boundary, rounds, restarts, .. } = self.collected;
        let boundary_is = if boundary.is_found { "found in the probes" } else { "as usual: the probes form one heap" };
        vec![
            format!(
                "{rounds} rounds in {restarts} restarts; {} slices near (a cache line there and back in less \
                 than {:.0} ns, {boundary_is}), {} far.",
                tally.kept[0], boundary.ns, tally.kept[1]
            ),
            format!(
                "Thrown away: {} in which the distance changed, {} in which a core was taken away, {} in which a \
                 thread waited for one for more than 0.1 ms.",
                tally.moved, tally.preempted, tally.delayed
            ),
            self.collected.clock(),
            "Round trips are a closed loop: each waits for its answer. “At a given rate” is an open loop: each record \
             is timed from when it was due."
                .to_owned(),
            "Medians over slices, with quartiles. “ceil” is the ratio to the ceiling at the same distance: the best \
             bare ring of that row in its best state, or"
                .to_owned(),
            "an eventfd or a futex where both sleep (1 is as good, more is better, and ! a doubt: nothing is quicker \
             than a bare ring)."
                .to_owned(),
            "“fdring” says how many times as good the best of fdring's forms in that table is.".to_owned(),
        ]
    }
}

/// Writes the files that were asked for.
///
/// # Errors
///
/// A sentence about the one that could not be written.
pub(crate) fn write_files(run: &Run<'_>) -> Fallible {
    let options = run.options;
    let write = |path: &Path, text: String| {
        std::fs::write(path, text).map_err(|error| format!("{} was not written: {error}", path.display()))
    };
    if let Some(path) = &options.json {
        write(path, json::json(run))?;
    }
    if let Some(path) = &options.csv {
        write(path, tables::csv(&json::report(run)))?;
    }
    if let Some(path) = &options.html {
        write(path, html::html(run)?)?;
    }
    if let Some(folder) = &options.hdr {
        for (name, text) in tables::distributions(run) {
            write(&folder.join(name), text)?;
        }
    }
    Ok(())
}

/// Whether a row is better than what bounds it.
fn is_doubt(case: Case, ratio_to_ceiling: f64) -> bool {
    let is_bare = case.contender() == "raw ring" || case.ceilings().contains(&case);
    !is_bare && ratio_to_ceiling > 1.0 + ABOVE_BOUND_MAX
}

/// What the slices themselves say against the figures.
pub(crate) fn warnings(collected: &Collected) -> Vec<String> {
    let mut warnings = collected.warnings.clone();
    let tally = &collected.tally;
    let share = tally.thrown_away() as f64 / tally.slices().max(1) as f64;
    if share > THROWN_AWAY_MAX {
        warnings.push(format!("{:.0} % of all slices were thrown away; measure again when it is quiet", share * 100.0));
    }
    for distance in Distance::ALL {
        if tally.kept[distance as usize] == 0 {
            let distance = distance.name();
            warnings.push(format!("the cores were never {distance}; do not compare with what was measured so"));
        }
    }
    for outcome in &collected.outcomes {
        let Case::Load(_, load) = outcome.case else { continue };
        for (figures, distance) in outcome.figures.iter().zip(Distance::ALL) {
            let carried = 1e9 / figures.pace_ns;
            if figures.records != 0 && carried < KEEPING_UP * f64::from(load.rate) {
                let (case, carried) = (outcome.case, rate_name(carried));
                warnings.push(format!("{case} cannot keep up {} with {load}: it carries {carried}", distance.name()));
            }
        }
    }
    for fault in &collected.faults {
        warnings.push(format!("left out: {}: {}: {}", fault.measure, fault.contender, fault.what));
    }
    warnings
}

#[cfg(test)]
mod tests;

/// The unit of a case's figures.
#[derive(Clone, Copy, PartialEq)]
enum Unit {
    Ns,
    MillionPerSecond,
    GigabytesPerSecond,
}

/// From this length on, in bytes, records are told in GB/s.
const GIGABYTES_FROM_LEN: usize = 64 << 10;

impl Unit {
    fn of(case: Case) -> Self {
        match case {
            Case::OneWay(_, len) if len >= GIGABYTES_FROM_LEN => Self::GigabytesPerSecond,
            Case::Spread(Spread::ProducersCost(_)) => Self::Ns,
            case if case.is_timed() => Self::Ns,
            _ => Self::MillionPerSecond,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Ns => "ns",
            Self::MillionPerSecond => "M/s",
            Self::GigabytesPerSecond => "GB/s",
        }
    }

    /// A time in nanoseconds, in this unit.
    fn show(self, case: Case, ns: f64) -> String {
        match (self, case) {
            (Self::GigabytesPerSecond, Case::OneWay(_, len)) => short(len as f64 / ns),
            (Self::MillionPerSecond, Case::Descriptors(_, count)) => short(count as f64 * 1e3 / ns),
            (Self::MillionPerSecond, _) => short(1e3 / ns),
            _ => short_ns(ns),
        }
    }
}

impl Unit {
    /// Two times in nanoseconds as a range in this unit, the lower number first.
    fn range(self, case: Case, low_ns: f64, high_ns: f64) -> String {
        let mut ends = [low_ns, high_ns].map(|ns| self.show(case, ns));
        if self != Self::Ns {
            // The longest time is the lowest rate.
            ends.reverse();
        }
        ends.join("–")
    }
}

/// Nanoseconds, with a decimal only where it matters.
fn short_ns(ns: f64) -> String {
    if ns < 100.0 { short(ns) } else { format!("{ns:.0}") }
}

/// Three digits, and nothing behind a zero.
fn short_count(value: f64) -> String {
    if value == 0.0 { "0".to_owned() } else { short(value) }
}
