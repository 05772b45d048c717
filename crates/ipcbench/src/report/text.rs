//! What stands on the terminal: the summary, or all tables.

use super::{OF_ALL, Run, Table, Unit, short_count, short_ns, summary};
use crate::distance::Distance;
use crate::measure::{Outcome, SLICES_MIN};
use crate::stats::{CONFIDENCE, interval, longest, quantile, short};
use std::fmt::Write;

/// The report: what fits on a screen, unless all tables are asked for, or the summary has nothing of what was selected.
pub(crate) fn text(run: &Run<'_>) -> String {
    let summary = summary::text(run);
    if run.options.tables || summary.is_none() && run.options.selection.is_partial() {
        return tables(run) + &summary.unwrap_or_default();
    }
    let mut text = format!("\n{}\n", run.machine);
    if let Some(line) = run.method().first() {
        let _ = writeln!(text, "{line}");
    }
    text.push_str(&summary.unwrap_or_else(|| format!("\n{}\n", summary::TOO_LITTLE)));
    warnings(&mut text, run);
    text.push_str(if run.options.html.is_some() || run.options.json.is_some() { "" } else { NOTHING_WRITTEN });
    text.push_str("--tables prints all tables, how they were measured, and the targets.\n");
    text
}

/// What is said where no file was asked for.
const NOTHING_WRITTEN: &str = "The details were not written: --html PATH writes a page, --json PATH all figures.\n";

fn warnings(text: &mut String, run: &Run<'_>) {
    for warning in &run.warnings {
        let _ = writeln!(text, "warning: {warning}");
    }
}

/// All tables, and how they are to be read.
fn tables(run: &Run<'_>) -> String {
    let mut text = format!("\n{}\n", run.machine);
    if !run.others.is_empty() {
        let _ = writeln!(text, "Contenders from outside: {}", run.others.join(", "));
    }
    for line in run.method() {
        let _ = writeln!(text, "{line}");
    }
    for group in run.groups() {
        for distance in Distance::ALL {
            let rows: Vec<Vec<String>> = group.iter().filter_map(|outcome| row(run, outcome, distance)).collect();
            if !rows.is_empty() {
                let _ = write!(text, "\n{}", Table::new(heading(run, group, distance)).rows(rows));
            }
        }
    }
    let _ = writeln!(text, "\n? fewer than {SLICES_MIN} slices: no figure to rely on");
    used(&mut text, run);
    counts(&mut text, run);
    targets(&mut text, run);
    for line in &run.skipped {
        let _ = writeln!(text, "skipped: {line}");
    }
    warnings(&mut text, run);
    text
}

fn heading(run: &Run<'_>, group: &[Outcome], distance: Distance) -> Vec<String> {
    let (case, distance) = (group[0].case, distance.name());
    let mut heading = vec![format!("{}, {distance}, {}", case.measure(), Unit::of(case).name())];
    if case.is_timed() {
        heading.extend(run.options.percentiles.iter().map(|percentile| format!("p{percentile}")));
        heading.extend(OF_ALL.map(|(_, name)| name.to_owned()));
        heading.push("max".to_owned());
    } else {
        heading.push("median".to_owned());
    }
    heading.extend(["quartiles", "99 % interval"].map(str::to_owned));
    heading.extend(["ceil", "fdring", "thrown away"].map(str::to_owned));
    heading.extend(case.waits().map(|_| "slept".to_owned()));
    heading
}

/// A row of a table; `None` if nothing was measured at that distance.
fn row(run: &Run<'_>, outcome: &Outcome, distance: Distance) -> Option<Vec<String>> {
    let (case, figures) = (outcome.case, &outcome.figures[distance as usize]);
    let quartiles = figures.quartiles()?;
    let unit = Unit::of(case);
    let mark = if figures.slices.len() < SLICES_MIN { "?" } else { "" };
    let time = |ns: Option<f64>| ns.map_or_else(|| "–".to_owned(), short_ns);
    let mut row = vec![case.to_string()];
    if case.is_timed() {
        row.extend(run.options.percentiles.iter().map(|percentile| time(figures.quantile(percentile / 100.0))));
        row.extend(OF_ALL.map(|(share, _)| time(quantile(&figures.all_times, share))));
        row.push(time(longest(&figures.all_times)));
    } else {
        row.push(format!("{}{mark}", unit.show(case, quartiles.median)));
    }
    row.push(format!("{}{}", unit.range(case, quartiles.low, quartiles.high), if case.is_timed() { mark } else { "" }));
    let interval = interval(&figures.medians(), CONFIDENCE);
    row.push(interval.map_or_else(|| "–".to_owned(), |interval| unit.range(case, interval.low, interval.high)));
    row.push(run.ceiling_cell(case, distance));
    row.push(run.ratio_to_fdring(case, distance).map_or_else(|| "–".to_owned(), short));
    row.push(format!("{:.0} %", figures.thrown_away_share() * 100.0));
    row.extend(figures.slept_share(case).map(|share| format!("{:.0} %", share * 100.0)));
    Some(row)
}

/// What a record used: near, or far if nothing was measured near.
fn used(text: &mut String, run: &Run<'_>) {
    let mut rows = Vec::new();
    for outcome in run.outcomes() {
        let measured = outcome.figures.iter().find(|figures| figures.records != 0);
        let Some(figures) = measured else { continue };
        let each = |count: u64| count as f64 / figures.records as f64;
        let cell = |value: f64| if value == 0.0 { "0".to_owned() } else { short(value) };
        let mut row = vec![format!("{}: {}", outcome.case.measure(), outcome.case)];
        row.extend(figures.used.cpu_ns.map(|ns| cell(each(ns))));
        row.push(cell(each(figures.used.sleeps + figures.used.preemptions)));
        for counts in [figures.used.cycles, figures.used.instructions] {
            row.extend(counts.map(|count| if count == 0 { "–".to_owned() } else { cell(each(count)) }));
        }
        let energy = figures.used.energy_uj;
        row.push(if energy == 0 { "–".to_owned() } else { cell(each(energy) * 1e3) });
        rows.push(row);
    }
    let heading = [
        "used for each record or round trip",
        "sender, ns",
        "receiver, ns",
        "switches",
        "cycles: sender",
        "receiver",
        "instructions: sender",
        "receiver",
        "energy, nJ",
    ];
    if !rows.is_empty() {
        let _ = write!(text, "\n{}", Table::new(heading).rows(rows));
        text.push_str(
            "Processor time and switches of whole slices, and of what surrounds them: a side that spins uses it all. A \
             record that several\nconsumers get counts once.\n\
             Energy is \
             the whole package's. – cannot be counted here: `doctor` says why.\n",
        );
    }
}

fn counts(text: &mut String, run: &Run<'_>) {
    let row = |count: &crate::census::Count| vec![count.what.clone(), short_count(count.value), count.unit.to_owned()];
    let rows: Vec<Vec<String>> = run.census.counts.iter().map(row).collect();
    if !rows.is_empty() {
        let _ = write!(text, "\n{}", Table::new(["counted of an fdring producer and consumer", "", ""]).rows(rows));
    }
}

fn targets(text: &mut String, run: &Run<'_>) {
    let targets = run.targets();
    if targets.is_empty() {
        return;
    }
    let row = |target: super::Judged| {
        let cells = Distance::ALL.map(|distance| target.cell(distance));
        let forms = Distance::ALL.map(|distance| target.forms(distance).unwrap_or_default());
        [vec![target.what, target.goal], cells.to_vec(), forms.to_vec()].concat()
    };
    let rows = targets.into_iter().map(row);
    let _ =
        write!(text, "\n{}", Table::new(["targets", "target", "near", "far", "forms compared near", "far"]).rows(rows));
}
