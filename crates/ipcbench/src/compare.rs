//! Whether two runs differ: a ratio and an interval for each row, and a control of the first run with itself.
//!
//! The restarts of both are compared. The first run's are divided into two halves besides, which differ by nothing but
//! chance: a row whose halves differ says nothing, and a difference that is no larger than theirs is none.

use crate::contender::Fallible;
use crate::report::Table;
use crate::report::json::{Report, Row, SCHEMA};
use crate::stats::{CONFIDENCE, RESTARTS_MIN, Ratio, are_ranked_apart};
use std::path::Path;

/// What is thought of one row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    NoDifference,
    Slower,
    Quicker,
    /// The halves of the first run differ.
    ControlDiffers,
    /// There are too few restarts.
    TooFew,
}

impl Verdict {
    fn name(self) -> &'static str {
        match self {
            Self::NoDifference => "no difference",
            Self::Slower => "SLOWER",
            Self::Quicker => "quicker",
            Self::ControlDiffers => "the control differs",
            Self::TooFew => "too few restarts",
        }
    }
}

/// One row that both runs have.
#[derive(Clone, Debug)]
pub(crate) struct Compared {
    pub(crate) what: String,
    /// The time of the second over that of the first.
    pub(crate) ratio: Option<Ratio>,
    /// The same of the first run's second half over its first.
    pub(crate) control: Option<Ratio>,
    pub(crate) verdict: Verdict,
}

/// The rows of the reports of one side, with the restarts of all of them; all of one distance if there is but one.
fn rows(reports: &[Report], distance: Option<&str>) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    for row in reports.iter().flat_map(|report| &report.figures) {
        let row = Row { distance: distance.unwrap_or(&row.distance).to_owned(), ..row.clone() };
        match rows.iter_mut().find(|other| is_same(other, &row)) {
            Some(other) => {
                other.restarts.extend(&row.restarts);
                other.restarts_p99.extend(&row.restarts_p99);
            }
            None => rows.push(row),
        }
    }
    rows
}

/// The name of the one distance that all runs have had: where the probes of each form one heap, its name says on which
/// side of a line of our own the heap's middle fell, which may be another in each run.
fn only_distance<'a>(a: &'a [Report], b: &'a [Report]) -> Option<&'a str> {
    let have_one = a.iter().chain(b).all(|report| report.probe_ns.is_some());
    a.iter().flat_map(|report| &report.figures).next().filter(|_| have_one).map(|row| &*row.distance)
}

fn is_same(a: &Row, b: &Row) -> bool {
    a.measure == b.measure && a.form == b.form && a.distance == b.distance
}

/// Compares what both sides have, each of one report or several: medians, and 99th percentiles if they are told.
pub(crate) fn compare(a: &[Report], b: &[Report]) -> Vec<Compared> {
    let distance = only_distance(a, b);
    let (a, b) = (rows(a, distance), rows(b, distance));
    let mut pairs: Vec<(String, [&[f64]; 2])> = Vec::new();
    for row in &a {
        let Some(other) = b.iter().find(|other| is_same(row, other)) else { continue };
        let name = format!("{}: {}, {}", row.measure, row.form, row.distance);
        if row.restarts_p99.len().min(other.restarts_p99.len()) >= RESTARTS_MIN {
            pairs.push((format!("{name}, p99"), [&row.restarts_p99, &other.restarts_p99]));
        }
        pairs.push((name, [&row.restarts, &other.restarts]));
    }
    // So that all rows together are right as often as is said.
    let confidence = 1.0 - (1.0 - CONFIDENCE) / pairs.len().max(1) as f64;
    pairs.into_iter().map(|(what, restarts)| compare_row(what, restarts, confidence)).collect()
}

fn compare_row(what: String, [a, b]: [&[f64]; 2], confidence: f64) -> Compared {
    let half = |parity: usize| -> Vec<f64> { a.iter().skip(parity).step_by(2).copied().collect() };
    let ratio = Ratio::of(a, b, confidence);
    // Each control speaks for its own row alone.
    let control = Ratio::of(&half(0), &half(1), CONFIDENCE);
    let size = |ratio: &Ratio| ratio.ratio.ln().abs();
    let verdict = match (&ratio, &control) {
        (None, _) => Verdict::TooFew,
        (_, Some(control)) if !control.interval.holds(1.0) => Verdict::ControlDiffers,
        (Some(ratio), _) if ratio.interval.holds(1.0) => Verdict::NoDifference,
        (Some(ratio), Some(control)) if size(ratio) <= size(control) => Verdict::NoDifference,
        // Restarts may have two states, of which few happen to show but one: t alone does not see that.
        (Some(_), _) if !are_ranked_apart(a, b, confidence) => Verdict::NoDifference,
        (Some(ratio), _) if ratio.ratio > 1.0 => Verdict::Slower,
        _ => Verdict::Quicker,
    };
    Compared { what, ratio, control, verdict }
}

/// The table, and a sentence.
pub(crate) fn text(compared: &[Compared], names: [&str; 2]) -> String {
    let [a, b] = names;
    let rows = compared.iter().map(|row| {
        let number = |value: Option<f64>| value.map_or_else(|| "–".to_owned(), |value| format!("{value:.4}"));
        let interval = row.ratio.map(|ratio| ratio.interval);
        let interval =
            interval.map_or_else(|| "–".to_owned(), |interval| format!("{:.4}–{:.4}", interval.low, interval.high));
        vec![
            row.what.clone(),
            number(row.ratio.map(|ratio| ratio.ratio)),
            interval,
            number(row.control.map(|control| control.ratio)),
            row.verdict.name().to_owned(),
        ]
    });
    let heading = [&format!("time of {b} over that of {a}"), "ratio", "interval", "control", ""];
    let mut text = Table::new(heading).rows(rows).to_string();
    let count = |verdict| compared.iter().filter(|row| row.verdict == verdict).count();
    let counts = [
        (count(Verdict::Slower), "slower"),
        (count(Verdict::Quicker), "quicker"),
        (count(Verdict::NoDifference), "without difference"),
        (count(Verdict::ControlDiffers), "whose control differs: measure again when it is quiet"),
        (count(Verdict::TooFew), "with too few restarts"),
    ];
    let counts: Vec<String> =
        counts.iter().filter(|(count, _)| *count != 0).map(|(count, what)| format!("{count} {what}")).collect();
    let percent = CONFIDENCE * 100.0;
    let control = match compared.iter().any(|row| row.control.is_some()) {
        true => "the control is the first with itself, by its restarts: each differs in one of a hundred by chance"
            .to_owned(),
        false => format!("there is no control: it takes {} restarts of the first", 2 * RESTARTS_MIN),
    };
    text.push_str(&format!(
        "\n{} rows: {}. The intervals of all rows together hold what is true with {percent:.0} %; {control}.\n",
        compared.len(),
        counts.join(", ")
    ));
    if count(Verdict::Slower) + count(Verdict::Quicker) == 0 && count(Verdict::NoDifference) != 0 {
        text.push_str("no difference\n");
    }
    text
}

/// Whether the second is slower anywhere.
pub(crate) fn has_regression(compared: &[Compared]) -> bool {
    compared.iter().any(|row| row.verdict == Verdict::Slower)
}

/// Reads the report of a run.
///
/// # Errors
///
/// A sentence about what is wrong with the file.
pub(crate) fn read(path: &Path) -> Fallible<Report> {
    let name = path.display();
    let text = std::fs::read_to_string(path).map_err(|error| format!("{name} cannot be read: {error}"))?;
    let value: serde_json::Value =
        serde_json::from_str(&text).map_err(|error| format!("{name} is not JSON: {error}"))?;
    match value["schema"].as_u64() {
        Some(schema) if schema == u64::from(SCHEMA) => {}
        Some(schema) => return Err(format!("{name} has the form {schema}, and this program reads {SCHEMA}").into()),
        None => return Err(format!("{name} is no report of this program; `run --json PATH` writes one").into()),
    }
    Ok(serde_json::from_value(value).map_err(|error| format!("{name} is no report: {error}"))?)
}

/// What makes two reports a doubtful comparison.
pub(crate) fn warnings(a: &Report, b: &Report) -> Vec<String> {
    let mut warnings = Vec::new();
    let mut differ = |what: &str, a: &dyn ToString, b: &dyn ToString| {
        let (a, b) = (a.to_string(), b.to_string());
        if a != b {
            warnings.push(format!("the {what} differs: {a}, and {b}"));
        }
    };
    differ("processor", &a.machine.processor, &b.machine.processor);
    differ("kernel", &a.machine.kernel, &b.machine.kernel);
    differ("pair of processors", &format!("{:?}", a.machine.cores), &format!("{:?}", b.machine.cores));
    let datagrams = |report: &Report| report.machine.max_dgram_qlen.map_or_else(String::new, |count| count.to_string());
    differ("net.unix.max_dgram_qlen", &datagrams(a), &datagrams(b));
    differ("compiler", &a.compiler, &b.compiler);
    if a.restarts.min(b.restarts) < RESTARTS_MIN {
        warnings
            .push(format!("there are too few restarts: {} and {}; --restarts says how many", a.restarts, b.restarts));
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::Random;

    /// That number of rows, whose restarts lie 0.5 % around what each takes.
    fn report(random: &mut Random, rows: usize, restarts: usize, factor: f64) -> Report {
        let mut noise = || 1.0 + 0.005 * ((0..12).map(|_| random.share()).sum::<f64>() - 6.0);
        let figures = (0..rows).map(|row| Row {
            measure: format!("measure {row}"),
            distance: "near".to_owned(),
            restarts: (0..restarts).map(|_| 100.0 * factor * noise()).collect(),
            ..Row::default()
        });
        Report { figures: figures.collect(), ..Report::default() }
    }

    fn verdicts(compared: &[Compared], verdict: Verdict) -> usize {
        compared.iter().filter(|row| row.verdict == verdict).count()
    }

    #[test]
    fn a_run_compared_with_its_like_shows_no_difference() {
        let mut random = Random::new(20);
        let told_apart = (0..200).filter(|_| {
            let a = report(&mut random, 30, 14, 1.0);
            let compared = compare(&[a], &[report(&mut random, 30, 7, 1.0)]);
            assert_eq!(compared.len(), 30);
            verdicts(&compared, Verdict::NoDifference) + verdicts(&compared, Verdict::ControlDiffers) != 30
        });
        let told_apart = told_apart.count();
        assert!(told_apart <= 6, "{told_apart} of 200 runs, where 2 are expected");
    }

    #[test]
    fn restarts_of_two_states_show_no_difference_either() {
        let mut random = Random::new(27);
        let told_apart = (0..200).filter(|_| {
            let mut of = |restarts| {
                let mut report = report(&mut random, 30, restarts, 1.0);
                for row in &mut report.figures {
                    // Memory lies in one of two ways.
                    row.restarts.iter_mut().for_each(|ns| *ns *= if random.share() < 0.5 { 1.05 } else { 1.0 });
                }
                report
            };
            let compared = compare(&[of(10)], &[of(5)]);
            verdicts(&compared, Verdict::Slower) + verdicts(&compared, Verdict::Quicker) != 0
        });
        let told_apart = told_apart.count();
        assert!(told_apart <= 6, "{told_apart} of 200 runs, where 2 are expected");
    }

    #[test]
    fn one_restart_of_the_first_in_the_seconds_state_is_a_doubt() {
        let row = |n: usize, restarts: [f64; 5]| Row {
            measure: n.to_string(),
            restarts: restarts.to_vec(),
            ..Row::default()
        };
        let of = |restarts| Report { figures: (0..30).map(|n| row(n, restarts)).collect(), ..Report::default() };
        let (first, other) = (of([105.0, 105.1, 105.0, 105.1, 105.0]), of([105.0, 105.1, 100.05, 105.1, 105.0]));
        let second = of([100.0, 100.1, 100.0, 100.1, 100.0]);
        let compared = compare(&[first.clone(), first.clone()], std::slice::from_ref(&second));
        assert_eq!(verdicts(&compared, Verdict::Quicker), 30, "{:?}", compared[0]);
        let compared = compare(&[first, other], &[second]);
        assert_eq!(verdicts(&compared, Verdict::NoDifference), 30, "{:?}", compared[0]);
    }

    #[test]
    fn one_heap_is_the_same_distance_in_every_run() {
        let mut random = Random::new(28);
        let mut of = |distance: &str, probe_ns| {
            let mut report = report(&mut random, 2, 3, 1.0);
            report.figures.iter_mut().for_each(|row| row.distance = distance.to_owned());
            Report { probe_ns, ..report }
        };
        let (a, b) = ([of("near", Some(245.0)), of("far", Some(255.0))], [of("far", Some(256.0))]);
        let compared = compare(&a, &b);
        assert_eq!(verdicts(&compared, Verdict::NoDifference), 2, "{compared:?}");
        assert!(compared.iter().all(|row| row.control.is_some()), "six restarts of the first");
        // If there are two heaps, near is near.
        assert!(compare(&[of("near", None)], &[of("far", None)]).is_empty());
    }

    #[test]
    fn a_planted_slowdown_is_found_in_every_row() {
        let mut random = Random::new(21);
        for (factor, verdict) in [(1.03, Verdict::Slower), (1.05, Verdict::Slower), (0.95, Verdict::Quicker)] {
            let a = report(&mut random, 30, 14, 1.0);
            let compared = compare(&[a], &[report(&mut random, 30, 7, factor)]);
            let found = verdicts(&compared, verdict);
            assert!(found >= 27, "{factor}: found in {found} of 30");
            assert_eq!(has_regression(&compared), factor > 1.0);
        }
    }

    #[test]
    fn a_slowdown_of_1_percent_is_found_by_enough_restarts() {
        let mut random = Random::new(22);
        let a = report(&mut random, 5, 60, 1.0);
        let compared = compare(&[a], &[report(&mut random, 5, 30, 1.01)]);
        assert!(verdicts(&compared, Verdict::Slower) >= 4, "{compared:?}");
    }

    #[test]
    fn a_row_whose_control_differs_says_nothing() {
        let mut random = Random::new(23);
        let mut a = report(&mut random, 1, 10, 1.0);
        a.figures[0].restarts.iter_mut().skip(1).step_by(2).for_each(|ns| *ns *= 1.2);
        let compared = compare(&[a], &[report(&mut random, 1, 5, 1.5)]);
        assert_eq!(compared[0].verdict, Verdict::ControlDiffers);
        assert!(!has_regression(&compared));
    }

    #[test]
    fn a_tail_that_doubles_is_a_regression() {
        let mut random = Random::new(25);
        let mut with_tails = |factor: f64| {
            let mut report = report(&mut random, 3, 6, 1.0);
            for row in &mut report.figures {
                row.restarts_p99 = row.restarts.iter().map(|ns| 3.0 * factor * ns).collect();
            }
            report
        };
        let (a, same, worse) = (with_tails(1.0), with_tails(1.0), with_tails(2.0));
        assert!(!has_regression(&compare(std::slice::from_ref(&a), &[same])));
        let compared = compare(&[a], &[worse]);
        let slower: Vec<&str> =
            compared.iter().filter(|row| row.verdict == Verdict::Slower).map(|row| row.what.as_str()).collect();
        assert_eq!(slower.len(), 3);
        assert!(slower.iter().all(|what| what.ends_with(", p99")), "{slower:?}");
    }

    #[test]
    fn a_control_takes_six_restarts_and_is_missed_by_name() {
        let mut random = Random::new(26);
        let mut told = |restarts| {
            let compared = compare(&[report(&mut random, 4, restarts, 1.0)], &[report(&mut random, 4, restarts, 1.0)]);
            assert!(compared.iter().all(|row| row.control.is_some() == (restarts >= 6)), "{restarts}");
            text(&compared, ["a", "b"])
        };
        assert!(told(5).contains("there is no control: it takes 6 restarts"));
        assert!(told(6).contains("the control is the first with itself"));
        assert!(told(crate::options::RESTARTS).contains("with itself"), "as many as there are by default");
    }

    #[test]
    fn restarts_of_several_reports_count_together() {
        let mut random = Random::new(24);
        let mut one = |factor| report(&mut random, 1, 1, factor);
        let (a, b) = ([one(1.0), one(1.0), one(1.0)], [one(1.0), one(1.0), one(1.0)]);
        assert_eq!(compare(&a[..2], &b)[0].verdict, Verdict::TooFew);
        assert_eq!(compare(&a, &b)[0].verdict, Verdict::NoDifference);
    }
}
