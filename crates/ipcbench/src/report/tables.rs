//! Lists and tables for other programs: what there is, CSV, and distributions as HdrHistogram writes them.

use super::Run;
use super::json::{Report, Row};
use crate::distance::Distance;
use hdrhistogram::Histogram;
use std::fmt::{self, Write};

/// How many steps a distribution has for each halving of what is left to 1, as HdrHistogram's tools have it.
const STEPS_PER_HALVING: u32 = 5;

/// A table for people: columns as wide as what stands in them, the first to the left and the others to the right.
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
    left: usize,
}

impl Table {
    pub(crate) fn new<T: ToString>(heading: impl IntoIterator<Item = T>) -> Self {
        Self { rows: vec![heading.into_iter().map(|cell| cell.to_string()).collect()], left: 1 }
    }

    /// The number of columns on the left.
    pub(crate) fn left(mut self, left: usize) -> Self {
        self.left = left;
        self
    }

    pub(crate) fn rows(mut self, rows: impl IntoIterator<Item = Vec<String>>) -> Self {
        self.rows.extend(rows);
        self
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.rows[0].len()).map(width).collect();
        for row in &self.rows {
            let mut line = String::new();
            for (index, (cell, width)) in row.iter().zip(&widths).enumerate() {
                line.push_str(if index == 0 { "" } else { "  " });
                if index < self.left { write!(line, "{cell:<width$}")? } else { write!(line, "{cell:>width$}")? }
            }
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

/// A line for each case at each distance, with the names of the columns in the first.
pub(crate) fn csv(report: &Report) -> String {
    let asked = report.figures.first().map_or(&[][..], |row| &row.percentiles);
    let percentiles: Vec<String> = asked.iter().map(|(percentile, _)| format!("ns_p{percentile}")).collect();
    let mut text = format!(
        "measure,contender,form,payload_bytes,distance,slices,ns_q1,ns_median,ns_q3,ns_low,ns_high,{}{}ns_max,\
         thrown_away_moved,thrown_away_preempted,thrown_away_delayed,ratio_to_ceiling,is_doubt,fdring_best_ratio\n",
        percentiles.iter().map(|name| format!("{name},")).collect::<String>(),
        percentiles.iter().map(|name| format!("{name}_of_all,")).collect::<String>()
    );
    for row in &report.figures {
        line(&mut text, row);
    }
    text
}

fn line(text: &mut String, row: &Row) {
    let number = |value: Option<f64>| value.map_or_else(String::new, |value| format!("{value:.4}"));
    let mut cells = vec![quoted(&row.measure_key), quoted(&row.contender), quoted(&row.form)];
    cells.push(row.payload_bytes.map_or_else(String::new, |bytes| bytes.to_string()));
    cells.extend([row.distance.clone(), row.slices.to_string()]);
    cells.extend([row.ns_q1, row.ns_median, row.ns_q3].map(|ns| number(Some(ns))));
    cells.extend([row.ns_low, row.ns_high].map(number));
    cells.extend(row.percentiles.iter().chain(&row.percentiles_of_all).map(|(_, ns)| number(*ns)));
    cells.push(number(row.ns_max));
    let thrown_away = &row.thrown_away;
    cells.extend([thrown_away.moved, thrown_away.preempted, thrown_away.delayed].map(|count| count.to_string()));
    cells.extend([number(row.ratio_to_ceiling), row.is_doubt.to_string(), number(row.fdring_best_ratio)]);
    let _ = writeln!(text, "{}", cells.join(","));
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('"', "\"\""))
}

/// Two files for each case at each distance that has times, by their names: of those that count, and of all, with those
/// of slices that were thrown away.
pub(crate) fn distributions(run: &Run<'_>) -> Vec<(String, String)> {
    let mut files = Vec::new();
    for outcome in run.outcomes() {
        for distance in Distance::ALL {
            let figures = &outcome.figures[distance as usize];
            let name = format!("{}, {}, {}", outcome.case.measure(), outcome.case, distance.name()).replace('/', "-");
            if !figures.times.is_empty() {
                files.push((format!("{name}.hgrm"), distribution(&figures.times)));
                files.push((format!("{name}, of all.hgrm"), distribution(&figures.all_times)));
            }
        }
    }
    files
}

/// The text that HdrHistogram's tools call a percentile distribution, in nanoseconds.
fn distribution(times: &Histogram<u64>) -> String {
    let mut text = format!("{:>12} {:>14} {:>10} {:>14}\n\n", "Value", "Percentile", "TotalCount", "1/(1-Percentile)");
    let mut counted = 0;
    for step in times.iter_quantiles(STEPS_PER_HALVING) {
        counted += step.count_since_last_iteration();
        let (value, share) = (step.value_iterated_to() as f64, step.quantile_iterated_to());
        let _ = match share < 1.0 {
            true => writeln!(text, "{value:>12.3} {share:>14.12} {counted:>10} {:>14.2}", 1.0 / (1.0 - share)),
            false => writeln!(text, "{value:>12.3} {share:>14.12} {counted:>10}"),
        };
    }
    let (mean, deviation, max) = (times.mean(), times.stdev(), times.max() as f64);
    let _ = writeln!(text, "#[Mean    = {mean:>12.3}, StdDeviation   = {deviation:>12.3}]");
    let _ = writeln!(text, "#[Max     = {max:>12.3}, Total count    = {:>12}]", times.len());
    let _ = writeln!(text, "#[Buckets = {:>12}, SubBuckets     = {:>12}]", times.buckets(), 2048);
    text
}
