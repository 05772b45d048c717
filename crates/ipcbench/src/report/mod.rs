//! The report: what was measured, as text, as JSON and as a page with plots.
//!
//! Everything is read from one [`Run`]; nothing is measured here.

mod html;
mod json;
mod plots;
mod text;

pub(crate) use html::html;
pub(crate) use json::json;
pub(crate) use text::text;

use super::census::Census;
use super::machine::Machine;
use super::measure::{Distance, Figures, NEAR_BELOW_NS, Outcome, Tally};
use super::plan::Case;
use super::stats::short;
use super::targets::targets;
use std::time::Duration;

/// Fewer slices than this make no figure to rely on.
const SLICES_MIN: usize = 5;
/// The share of slices that may be thrown away before the report warns.
const THROWN_AWAY_MAX: f64 = 0.5;

/// All that a report is made of.
pub(crate) struct Run<'a> {
    pub(crate) machine: &'a Machine,
    pub(crate) outcomes: &'a [Outcome],
    pub(crate) tally: Tally,
    pub(crate) rounds: u64,
    pub(crate) budget: Duration,
    /// The other libraries, with their versions.
    pub(crate) peers: Vec<String>,
    pub(crate) warnings: Vec<String>,
    pub(crate) census: &'a Census,
}

/// A row of the table of targets.
struct Judged {
    what: String,
    goal: String,
    /// Near and far: what it came to, and whether that is enough; `None` where too little was measured.
    values: [Option<(f64, bool)>; 2],
}

impl Run<'_> {
    fn figures(&self, case: Case, distance: Distance) -> Option<&Figures> {
        self.outcomes.iter().find(|outcome| outcome.case == case).map(|outcome| &outcome.figures[distance as usize])
    }

    fn median(&self, case: Case, distance: Distance) -> Option<f64> {
        self.figures(case, distance)?.quartiles().map(|quartiles| quartiles.median)
    }

    /// How good a case's median is, as a share of its ceiling's; more is better.
    fn ratio_to_ceiling(&self, case: Case, distance: Distance) -> Option<f64> {
        Some(self.median(case.ceiling()?, distance)? / self.median(case, distance)?)
    }

    /// How many times as good the best of fdring's forms is in the same measure.
    fn ratio_to_fdring(&self, case: Case, distance: Distance) -> Option<f64> {
        let rivals = self.outcomes.iter().map(|outcome| outcome.case);
        let rivals = rivals.filter(|rival| rival.is_fdring() && rival.measure() == case.measure());
        let best = rivals.filter_map(|rival| self.median(rival, distance)).min_by(f64::total_cmp)?;
        Some(self.median(case, distance)? / best)
    }

    /// The targets of which at least one distance can be judged. Counts are the same at every distance.
    fn targets(&self) -> Vec<Judged> {
        let planned: Vec<Case> = self.outcomes.iter().map(|outcome| outcome.case).collect();
        let measured = targets(&planned).into_iter().map(|target| {
            let value = |distance| target.value(self.outcomes, distance);
            let values = Distance::ALL
                .map(|distance| Some(value(distance)?).map(|value| (value, target.goal.is_reached_by(value))));
            Judged { what: target.what, goal: target.goal.to_string(), values }
        });
        let counted = self.census.counts.iter().filter_map(|count| {
            let value = Some((count.value, count.is_reached()?));
            let limit = count.limit?;
            let goal = if limit == 0.0 { "0".to_owned() } else { format!("< {limit}") };
            Some(Judged { what: format!("{}, {}", count.what, count.unit), goal, values: [value; 2] })
        });
        measured.filter(|judged| judged.values.iter().any(Option::is_some)).chain(counted).collect()
    }

    fn method(&self) -> Vec<String> {
        let tally = &self.tally;
        vec![
            format!(
                "{} rounds; {} slices near (a cache line there and back in less than {NEAR_BELOW_NS} ns), {} far.",
                self.rounds, tally.kept[0], tally.kept[1]
            ),
            format!(
                "Thrown away: {} in which the distance changed, {} in which a core was taken away.",
                tally.moved, tally.preempted
            ),
            "Medians over slices, with quartiles. “ceil” is the ratio to the ceiling at the same distance (1 is as \
             good, more is better):"
                .to_owned(),
            "the raw ring in batches of 32, from 4 KiB on each published; there and back the raw ring, or an eventfd \
             where both sleep;"
                .to_owned(),
            "“fdring” says how many times as good the best of fdring's forms in that table is.".to_owned(),
        ]
    }
}

/// What the slices themselves say against the figures.
pub(crate) fn warnings(tally: &Tally) -> Vec<String> {
    let mut warnings = Vec::new();
    let share = |count: u64| count as f64 / tally.slices().max(1) as f64;
    if share(tally.moved + tally.preempted) > THROWN_AWAY_MAX {
        let thrown_away = share(tally.moved + tally.preempted) * 100.0;
        warnings.push(format!("{thrown_away:.0} % of all slices were thrown away; measure again when it is quiet"));
    }
    for distance in Distance::ALL {
        if tally.kept[distance as usize] == 0 {
            let distance = format!("{distance:?}").to_lowercase();
            warnings.push(format!("the cores were never {distance}; do not compare with what was measured so"));
        }
    }
    warnings
}

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
            Case::Spread(super::plan::Spread::ProducersCost(_)) => Self::Ns,
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

/// Nanoseconds, with a decimal only where it matters.
fn short_ns(ns: f64) -> String {
    if ns < 100.0 { short(ns) } else { format!("{ns:.0}") }
}

/// Three digits, and nothing behind a zero.
fn short_count(value: f64) -> String {
    if value == 0.0 { "0".to_owned() } else { short(value) }
}
