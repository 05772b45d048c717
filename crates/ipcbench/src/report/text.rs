//! The tables on the terminal.

use super::{Run, SLICES_MIN, Unit, short_count, short_ns};
use crate::measure::{Distance, Outcome};
use crate::stats::short;
use std::fmt::Write;

/// The width of the contenders' names.
const NAME: usize = 46;

/// The whole report.
pub(crate) fn text(run: &Run<'_>) -> String {
    let mut text = format!("\n{}\n", run.machine);
    if !run.peers.is_empty() {
        let _ = writeln!(text, "Other libraries: {}", run.peers.join(", "));
    }
    for line in run.method() {
        let _ = writeln!(text, "{line}");
    }
    let mut rest = run.outcomes;
    while let Some(first) = rest.first() {
        let measure = first.case.measure();
        let count = rest.iter().take_while(|outcome| outcome.case.measure() == measure).count();
        let (group, others) = rest.split_at(count);
        if first.case.is_timed() {
            times(&mut text, run, &measure, group)
        } else {
            rates(&mut text, run, &measure, group)
        }
        rest = others;
    }
    text.push_str("\n? fewer than 5 slices: no figure to rely on\n");
    counts(&mut text, run);
    targets(&mut text, run);
    for warning in &run.warnings {
        let _ = writeln!(text, "warning: {warning}");
    }
    text
}

fn rates(text: &mut String, run: &Run<'_>, measure: &str, group: &[Outcome]) {
    let unit = Unit::of(group[0].case);
    let columns = format!("{:>8} {:>15} {:>6} {:>7}", unit.name(), "quartiles", "ceil", "fdring");
    let _ = writeln!(text, "\n{measure:<NAME$}{columns} │{columns}\n{:<NAME$}{:^39} │{:^39}", "", "near", "far");
    for outcome in group {
        let cells = Distance::ALL.map(|distance| {
            let figures = &outcome.figures[distance as usize];
            let Some(quartiles) = figures.quartiles() else { return format!("{:>8}{:31}", "–", "") };
            let mut values = [quartiles.low, quartiles.high].map(|ns| unit.show(outcome.case, ns));
            if unit != Unit::Ns {
                // The longest time is the lowest rate.
                values.reverse();
            }
            let mark = if figures.slices.len() < SLICES_MIN { "?" } else { "" };
            let median = format!("{}{mark}", unit.show(outcome.case, quartiles.median));
            let [ceiling, fdring] = ratios(run, outcome, distance);
            format!("{median:>8} {:>15} {ceiling:>6} {fdring:>7}", values.join("–"))
        });
        let _ = writeln!(text, "{:<NAME$}{} │{}", outcome.case.to_string(), cells[0], cells[1]);
    }
}

fn times(text: &mut String, run: &Run<'_>, measure: &str, group: &[Outcome]) {
    for distance in Distance::ALL {
        if group.iter().all(|outcome| outcome.figures[distance as usize].slices.is_empty()) {
            continue;
        }
        let distance_name = format!("{distance:?}").to_lowercase();
        let heading = format!("{measure}, {distance_name}, ns");
        let columns = ["p50", "p90", "p99", "p99.9", "max"].map(|name| format!("{name:>9}")).concat();
        let _ = writeln!(text, "\n{heading:<NAME$}{columns} {:>15} {:>6} {:>7}", "slices", "ceil", "fdring");
        for outcome in group {
            let figures = &outcome.figures[distance as usize];
            let Some(quartiles) = figures.quartiles() else {
                let _ = writeln!(text, "{:<NAME$}{:>9}", outcome.case.to_string(), "–");
                continue;
            };
            let mark = if figures.slices.len() < SLICES_MIN { "?" } else { "" };
            let quantiles = [0.5, 0.9, 0.99, 0.999].map(|share| figures.times.quantile(share)).into_iter();
            let columns: Vec<String> = quantiles
                .chain([figures.times.max()])
                .map(|ns| format!("{:>9}", ns.map_or_else(|| "–".to_owned(), short_ns)))
                .collect();
            let range = format!("{}–{}{mark}", short_ns(quartiles.low), short_ns(quartiles.high));
            let [ceiling, fdring] = ratios(run, outcome, distance);
            let name = outcome.case.to_string();
            let _ = writeln!(text, "{name:<NAME$}{} {range:>15} {ceiling:>6} {fdring:>7}", columns.concat());
        }
    }
}

fn ratios(run: &Run<'_>, outcome: &Outcome, distance: Distance) -> [String; 2] {
    let show = |ratio: Option<f64>| ratio.map_or_else(|| "–".to_owned(), short);
    [run.ratio_to_ceiling(outcome.case, distance), run.ratio_to_fdring(outcome.case, distance)].map(show)
}

fn counts(text: &mut String, run: &Run<'_>) {
    if run.census.counts.is_empty() {
        return;
    }
    let _ = writeln!(text, "\ncounted of an fdring producer and consumer");
    for count in &run.census.counts {
        let _ = writeln!(text, "{:<66}{:>9} {}", count.what, short_count(count.value), count.unit);
    }
}

fn targets(text: &mut String, run: &Run<'_>) {
    let rows = run.targets();
    if rows.is_empty() {
        return;
    }
    let width = rows.iter().map(|row| row.what.chars().count()).max().unwrap_or(0);
    let _ = writeln!(text, "\n{:<width$}  {:>8}  {:<16} {:<16}", "targets", "target", "near", "far");
    for row in rows {
        let cells = row.values.map(|value| match value {
            None => "not measured".to_owned(),
            Some((value, true)) => format!("{} reached", short_count(value)),
            Some((value, false)) => format!("{} MISSED", short_count(value)),
        });
        let _ = writeln!(text, "{:<width$}  {:>8}  {:<16} {:<16}", row.what, row.goal, cells[0], cells[1]);
    }
}
