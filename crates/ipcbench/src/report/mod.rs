//! The report: what was measured, as text, as JSON, as a table, as distributions, and as a page with plots.
//!
//! Everything is read from one [`Run`]; nothing is measured here.

mod html;
pub(crate) mod json;
mod plots;
mod summary;
mod tables;
mod text;
mod tried;

pub(crate) use tables::Table;
pub(crate) use text::text;
pub(crate) use tried::{list, skipped_lines, tried};

use crate::census::Census;
use crate::contender::Fallible;
use crate::distance::{Boundary, Distance};
use crate::load::rate_name;
use crate::machine::Machine;
use crate::measure::{Figures, Outcome, SLICES_MIN};
use crate::options::Options;
use crate::plan::Case;
use crate::run::Collected;
use crate::stats::{Quartiles, short};
use crate::targets::{ABOVE_BOUND_MAX, Comparison, Judgement, targets};
use std::path::{Path, PathBuf};

/// The percentiles of all times, those of slices that were thrown away included, with their names.
const OF_ALL: [(f64, &str); 2] = [(0.99, "p99 of all"), (0.999, "p99.9 of all")];
/// The share of slices that may be thrown away before the report warns.
const THROWN_AWAY_MAX: f64 = 0.5;

/// All that a report is made of.
pub(crate) struct Run<'a> {
    pub(crate) machine: &'a Machine,
    pub(crate) options: &'a Options,
    pub(crate) collected: &'a Collected,
    /// The contenders from outside, with their versions.
    pub(crate) others: Vec<String>,
    /// What these take no part in, and why, a line each.
    pub(crate) skipped: Vec<String>,
    pub(crate) warnings: Vec<String>,
    pub(crate) census: &'a Census,
}

/// A row of the table of targets.
struct Judged {
    what: String,
    goal: String,
    /// The one distance that it is about; `None` for both.
    distance: Option<Distance>,
    /// Near and far: what it came to, and whether that is enough; `None` if too little was measured.
    values: [Option<(Comparison, Judgement)>; 2],
}

impl Judged {
    /// What stands in a table at that distance.
    fn cell(&self, distance: Distance) -> String {
        if self.distance.is_some_and(|only| only != distance) {
            return "–".to_owned();
        }
        let Some((comparison, judgement)) = self.values[distance as usize] else { return "not measured".to_owned() };
        let interval = comparison
            .interval
            .map(|interval| format!(" ({}–{})", short_signed(interval.low), short_signed(interval.high)));
        format!("{}{} {}", short_signed(comparison.value), interval.unwrap_or_default(), judgement.name())
    }

    /// Which forms were compared at that distance, the ceiling behind the stroke; `None` if there was no choice.
    fn forms(&self, distance: Distance) -> Option<String> {
        let (comparison, _) = self.values[distance as usize]?;
        let (subject, reference) = comparison.forms?;
        let of = |reference: Case| format!(" / {reference}");
        Some(format!("{subject}{}", reference.map_or_else(String::new, of)))
    }
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

    /// What a case takes in its best state, in nanoseconds; `None` if it has too few slices to tell.
    fn best_state(&self, case: Case, distance: Distance) -> Option<f64> {
        let figures = self.figures(case, distance).filter(|figures| figures.slices.len() >= SLICES_MIN)?;
        figures.quartiles().map(|quartiles| quartiles.low)
    }

    /// The ceiling of a case, and what it takes in nanoseconds: the best bare ring of that row, in its best state.
    fn ceiling(&self, case: Case, distance: Distance) -> Option<(Case, f64)> {
        let measured = |bare| Some((bare, self.best_state(bare, distance)?));
        case.ceilings().into_iter().filter_map(measured).min_by(|a, b| a.1.total_cmp(&b.1))
    }

    /// How good a case is in its best state, as a share of its ceiling: more is better, and 1 is as good.
    fn ratio_to_ceiling(&self, case: Case, distance: Distance) -> Option<f64> {
        Some(self.ceiling(case, distance)?.1 / self.best_state(case, distance)?)
    }

    /// Whether even the median is better than the ceiling, which nothing should be but a bare ring.
    fn is_doubt(&self, case: Case, distance: Distance) -> bool {
        let ratio = || Some(self.ceiling(case, distance)?.1 / self.median(case, distance)?);
        may_be_doubt(case) && ratio().is_some_and(|ratio| ratio > 1.0 + ABOVE_BOUND_MAX)
    }

    /// At which distance most slices were kept.
    fn usual_distance(&self) -> Distance {
        let [near, far] = self.collected.tally.kept;
        if far > near { Distance::Far } else { Distance::Near }
    }

    /// The same as a cell of a table, with a mark if it is a doubt.
    fn ceiling_cell(&self, case: Case, distance: Distance) -> String {
        match self.ratio_to_ceiling(case, distance) {
            None => "–".to_owned(),
            Some(ratio) if self.is_doubt(case, distance) => format!("{}!", short(ratio)),
            Some(ratio) => short(ratio),
        }
    }

    /// How many times as good the best of fdring's forms is that does the same.
    fn ratio_to_fdring(&self, case: Case, distance: Distance) -> Option<f64> {
        let rivals = self.outcomes().iter().map(|outcome| outcome.case);
        let rivals = rivals.filter(|rival| rival.is_fdring() && rival.is_like(case));
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
            let compare = |distance| target.compare(self.outcomes(), distance);
            let values =
                Distance::ALL.map(|distance| compare(distance).map(|came_to| (came_to, target.judge(&came_to))));
            Judged { what: target.what, goal: target.goal.to_string(), distance: target.distance, values }
        });
        let counted = self.census.counts.iter().filter_map(|count| {
            let value = Some((Comparison::of_count(count.value), Judgement::of(count.is_reached()?)));
            let limit = count.limit?;
            let goal = if limit == 0.0 { "0".to_owned() } else { format!("< {limit}") };
            Some(Judged { what: format!("{}, {}", count.what, count.unit), goal, distance: None, values: [value; 2] })
        });
        measured.filter(|judged| judged.values.iter().any(Option::is_some)).chain(counted).collect()
    }

    fn method(&self) -> Vec<String> {
        let Collected { tally, boundary, rounds, restarts, .. } = self.collected;
        let distances = match *boundary {
            Boundary::Between(ns) => format!(
                "the probes form two heaps: {} slices near (a cache line there and back in less than {ns:.0} ns), \
                 {} far",
                tally.kept[0], tally.kept[1]
            ),
            Boundary::OneHeap(ns) => format!(
                "the probes form one heap, so all {} slices are {}: a cache line takes {ns:.0} ns there and back",
                tally.kept[0] + tally.kept[1],
                self.usual_distance().name()
            ),
        };
        vec![
            format!("{} in {}; {distances}.", counted(*rounds, "round"), counted(*restarts as u64, "restart")),
            format!(
                "Thrown away: {} in which the distance changed, {} in which a core was taken away, {} in which a \
                 thread waited for one for more than 0.1 ms.",
                tally.moved, tally.preempted, tally.delayed
            ),
            self.collected.clock(),
            "Round trips are a closed loop: each waits for its answer. “At a given rate” is an open loop: each record \
             is timed from when it was due."
                .to_owned(),
            "Medians over slices, with quartiles, and intervals over restarts. Percentiles are of the slices that \
             count; “of all” are those with the slices that were thrown away, but for those in which the \
             distance changed; the longest time is of all."
                .to_owned(),
            "“ceil” is the ratio to the ceiling at the same distance, both in their best state (the better quartile): \
             the best bare ring of that row, between one sender and one receiver, or"
                .to_owned(),
            "an eventfd or a futex where both sleep (1 is as good, more is better, and ! a doubt: nothing is quicker \
             than a bare ring)."
                .to_owned(),
            "“fdring” says how many times as good the best of fdring's forms is that does the same: slices of many \
             values in a record are compared with each other alone."
                .to_owned(),
            "Where threads of the two processes take turns on a core (both asleep on one core, connecting), no slice \
             is thrown away for that: it cannot be told from a disturbance."
                .to_owned(),
            "“slept” is the share of waits between sleepers in which one slept. Neither end of a round trip between \
             sleepers sends before the other sleeps; the time spent waiting for that is subtracted. An end that has \
             looked 64 times in vain naps for 50 µs: naps count as sleeps, and on one core they are in the time."
                .to_owned(),
            "Raw rings publish each record, or batches of 32; “held” are those whose receiver steps back from a sender \
             that is not far ahead, “fenced” those with a full fence for each. Those that copy each record into its \
             slot, by memcpy or streaming stores, are ceilings of what copies it too: fdring's `send`, the kernel, and \
             contenders from outside."
                .to_owned(),
        ]
    }
}

/// Writes the files that were asked for; a line for each says where it is.
///
/// # Errors
///
/// A sentence about the one that could not be written.
pub(crate) fn write_files(run: &Run<'_>) -> Fallible<String> {
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
    Ok(written([&options.json, &options.csv, &options.html, &options.hdr].into_iter().flatten()))
}

/// A line for each of these paths, which says where that is: `cargo bench` runs this program in the folder of its
/// package, where a path that is not absolute begins.
pub(crate) fn written<'a>(paths: impl Iterator<Item = &'a PathBuf>) -> String {
    let line = |path: &PathBuf| {
        let path = std::path::absolute(path).unwrap_or_else(|_| path.clone());
        format!("written: {}\n", path.display())
    };
    paths.map(line).collect()
}

/// Whether a row cannot be better than what bounds it.
fn may_be_doubt(case: Case) -> bool {
    case.contender() != "raw ring" && !case.ceilings().contains(&case)
}

/// What the slices themselves say against the figures.
pub(crate) fn warnings(collected: &Collected) -> Vec<String> {
    let mut warnings = collected.warnings.clone();
    let tally = &collected.tally;
    let share = tally.thrown_away() as f64 / tally.slices().max(1) as f64;
    if share > THROWN_AWAY_MAX {
        warnings.push(format!("{:.0} % of all slices were thrown away; measure again when it is quiet", share * 100.0));
    }
    for outcome in &collected.outcomes {
        let Case::Load(_, load) = outcome.case else { continue };
        for (figures, distance) in outcome.figures.iter().zip(Distance::ALL) {
            let Some(paces) = Quartiles::of(&figures.paces).filter(|_| figures.paces.len() >= SLICES_MIN) else {
                continue;
            };
            if load.is_too_much_for(paces.median, figures.records) {
                let (case, carried) = (outcome.case, rate_name(1e9 / paces.median));
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
            Case::OneWay(_, len) | Case::FanIn(.., len) if len >= GIGABYTES_FROM_LEN => Self::GigabytesPerSecond,
            case if case.is_timed() || case.is_senders_time() => Self::Ns,
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
            (Self::GigabytesPerSecond, Case::OneWay(_, len) | Case::FanIn(.., len)) => short(len as f64 / ns),
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

/// A number of things, one or several.
fn counted(count: u64, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

/// Nanoseconds, with a decimal only if it matters.
fn short_ns(ns: f64) -> String {
    if ns < 100.0 { short(ns) } else { format!("{ns:.0}") }
}

/// The same of what may be below zero.
fn short_signed(value: f64) -> String {
    if value < 0.0 { format!("−{}", short(-value)) } else { short_count(value) }
}

/// Three digits, and nothing behind a zero.
fn short_count(value: f64) -> String {
    if value == 0.0 { "0".to_owned() } else { short(value) }
}
