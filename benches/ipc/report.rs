//! The report: medians and quartiles, near and far next to each other, and each as a share of the ceiling.

use crate::machine::Machine;
use crate::measure::{Distance, Figures, Measurement, NEAR_BELOW_NS, Outcome};
use crate::plan::Case;
use std::fmt::Write;
use std::time::Duration;

/// Fewer slices than this make no figure to rely on.
const SLICES_MIN: usize = 5;
/// The share of slices that may be thrown away before the report warns.
const THROWN_AWAY_MAX: f64 = 0.5;

/// The quartiles of a run of figures.
#[derive(Clone, Copy)]
struct Quartiles {
    low: f64,
    median: f64,
    high: f64,
}

impl Quartiles {
    fn of(figures: &[f64]) -> Option<Self> {
        let mut sorted = figures.to_vec();
        sorted.sort_by(f64::total_cmp);
        let at = |share: f64| sorted.get((share * sorted.len() as f64) as usize).copied();
        Some(Self { low: at(0.25)?, median: at(0.5)?, high: at(0.75)? })
    }
}

/// The whole report, as text.
pub(crate) fn text(measurement: &Measurement, machine: &Machine, warnings: &[String]) -> String {
    let mut text = format!("\n{machine}\n{}\n", method(measurement));
    let mut heading = String::new();
    for outcome in &measurement.outcomes {
        let measure = outcome.case.measure();
        if measure != heading {
            let _ = writeln!(text, "\n{}", head(outcome.case, &measure));
            heading = measure;
        }
        let near_and_far = Distance::ALL.map(|distance| cells(measurement, outcome, distance));
        let _ = writeln!(text, "{:<52}{}  │ {}", outcome.case.to_string(), near_and_far[0], near_and_far[1]);
    }
    text.push_str("\n? fewer than 5 slices: no figure to rely on\n");
    for warning in warnings {
        let _ = writeln!(text, "warning: {warning}");
    }
    text
}

fn method(measurement: &Measurement) -> String {
    let tally = &measurement.tally;
    format!(
        "{} rounds; {} slices near (a cache line there and back in less than {NEAR_BELOW_NS} ns), {} far;\n\
         thrown away: {} in which the distance changed, {} in which a core was taken away.\n\
         Medians over slices, with quartiles; “raw” is the ratio to the ceiling at the same distance (1 is as good,\n\
         more is better): the raw ring in batches of 32, from 4 KiB on each published; there and back the raw\n\
         ring, or the futex where both sleep.",
        measurement.rounds, tally.kept[0], tally.kept[1], tally.moved, tally.preempted
    )
}

fn head(case: Case, measure: &str) -> String {
    let columns = if case.is_one_way() {
        format!("{:>9} {:>15} {:>7} {:>6}", "M rec/s", "quartiles", "GB/s", "raw")
    } else {
        format!("{:>9} {:>13} {:>8} {:>8} {:>6}", "p50 ns", "quartiles", "p99", "p99.9", "raw")
    };
    format!("{measure:<52}{columns}  │ {columns}\n{:<52}{:^40}  │ {:^40}", "", "near", "far")
}

/// One case's figures at one distance, as they stand in a line.
fn cells(measurement: &Measurement, outcome: &Outcome, distance: Distance) -> String {
    let figures = &outcome.figures[distance as usize];
    let Some(quartiles) = Quartiles::of(&figures.slices) else {
        return format!("{:>40}{}", "–", if outcome.case.is_one_way() { "" } else { "        " });
    };
    let mark = if figures.slices.len() < SLICES_MIN { "?" } else { "" };
    let ratio = ratio(measurement, outcome.case, distance, quartiles.median);
    let ratio = ratio.map_or_else(|| "–".to_owned(), |ratio| format!("{ratio:.2}"));
    let median = |value: String| format!("{value}{mark}");
    match outcome.case {
        Case::OneWay(_, len) => {
            let million = |ns: f64| 1e3 / ns;
            // The longest time is the lowest rate.
            let range = format!("{}–{}", short(million(quartiles.high)), short(million(quartiles.low)));
            let gigabytes = short(len as f64 / quartiles.median);
            format!("{:>9} {range:>15} {gigabytes:>7} {ratio:>6}", median(short(million(quartiles.median))))
        }
        Case::RoundTrip(..) => {
            let range = format!("{:.0}–{:.0}", quartiles.low, quartiles.high);
            let [p99, p999] = tail(figures);
            format!("{:>9} {range:>13} {p99:>8.0} {p999:>8.0} {ratio:>6}", median(format!("{:.0}", quartiles.median)))
        }
    }
}

fn tail(figures: &Figures) -> [f64; 2] {
    [0.99, 0.999].map(|share| figures.round_trips.quantile(share).unwrap_or(f64::NAN))
}

/// How good a time is, as a share of the ceiling's; `None` where that was not measured.
fn ratio(measurement: &Measurement, case: Case, distance: Distance, median_ns: f64) -> Option<f64> {
    let ceiling = measurement.outcomes.iter().find(|outcome| outcome.case == case.ceiling())?;
    Some(Quartiles::of(&ceiling.figures[distance as usize].slices)?.median / median_ns)
}

/// Three digits.
fn short(value: f64) -> String {
    match value {
        value if value >= 99.95 => format!("{value:.0}"),
        value if value >= 9.995 => format!("{value:.1}"),
        value if value >= 0.9995 => format!("{value:.2}"),
        value => format!("{value:.3}"),
    }
}

/// What makes the figures doubtful.
pub(crate) fn warnings(measurement: &Measurement, machine: &Machine) -> Vec<String> {
    let mut warnings = machine.warnings();
    let tally = &measurement.tally;
    let share = |count: u64| count as f64 / tally.slices().max(1) as f64;
    if share(tally.moved + tally.preempted) > THROWN_AWAY_MAX {
        let thrown_away = share(tally.moved + tally.preempted) * 100.0;
        warnings.push(format!("{thrown_away:.0} % of all slices were thrown away; measure again when it is quiet"));
    }
    if Distance::ALL.iter().any(|distance| tally.kept[*distance as usize] == 0) {
        warnings.push("the cores were at one distance only; compare with nothing measured at the other".to_owned());
    }
    warnings
}

/// The figures for other programs: one object, with all cases.
pub(crate) fn json(measurement: &Measurement, machine: &Machine, warnings: &[String], budget: Duration) -> String {
    let warnings: Vec<String> = warnings.iter().map(|warning| quote(warning)).collect();
    let mut figures = Vec::new();
    for outcome in &measurement.outcomes {
        for distance in Distance::ALL {
            figures.extend(json_figure(measurement, outcome, distance));
        }
    }
    format!(
        "{{\"machine\": {}, \"seconds\": {}, \"rounds\": {}, \"warnings\": [{}], \"figures\": [\n  {}\n]}}\n",
        quote(&machine.to_string()),
        budget.as_secs(),
        measurement.rounds,
        warnings.join(", "),
        figures.join(",\n  ")
    )
}

fn json_figure(measurement: &Measurement, outcome: &Outcome, distance: Distance) -> Option<String> {
    let figures = &outcome.figures[distance as usize];
    let Quartiles { low, median, high } = Quartiles::of(&figures.slices)?;
    let mut object = format!(
        "{{\"measure\": {}, \"contender\": {}, \"distance\": {}, \"slices\": {}, \"ns_q1\": {low:.3}, \
         \"ns_median\": {median:.3}, \"ns_q3\": {high:.3}",
        quote(&outcome.case.measure()),
        quote(&outcome.case.to_string()),
        quote(&format!("{distance:?}").to_lowercase()),
        figures.slices.len()
    );
    if let Case::OneWay(_, len) = outcome.case {
        let _ = write!(object, ", \"payload_bytes\": {len}");
    } else {
        let [p99, p999] = tail(figures);
        let _ = write!(object, ", \"ns_p99\": {p99:.0}, \"ns_p999\": {p999:.0}");
    }
    if let Some(ratio) = ratio(measurement, outcome.case, distance, median) {
        let _ = write!(object, ", \"ratio_to_raw\": {ratio:.4}");
    }
    object.push('}');
    Some(object)
}

fn quote(text: &str) -> String {
    let escaped = text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    format!("\"{escaped}\"")
}
