//! Tests of what needs no second process.

use crate::Program;
use crate::measure::{Distance, Figures, Outcome, Verdict, classify};
use crate::options::Options;
use crate::payload::{LENGTHS, PING_BYTES, boxed, fill, sum, sum_of_all, with_len};
use crate::plan::{Align, Bouncer, Carrier, Case, RawMode, Reading, Sending, Waiting, cases};
use crate::stats::{Histogram, Quartiles};
use crate::targets::{Goal, SLICES_MIN, Statistic, Target, targets};

fn parse(args: &[&str]) -> Result<Option<Options>, String> {
    Options::parse(args.iter().map(|arg| (*arg).to_owned()).collect(), &Program::default())
}

/// An outcome with that time in each of so many slices, near only.
fn outcome(case: Case, ns: f64, slices: usize) -> Outcome {
    let mut outcome = Outcome::new(case);
    outcome.figures[Distance::Near as usize].slices = vec![ns; slices];
    outcome
}

const RAW: Case = Case::OneWay(Carrier::Raw(RawMode::By32), 64);
const FDRING: Case = Case::OneWay(Carrier::Fdring(Sending::Batch, Reading::InPlace, Align::Words), 64);
const IN_RUNS: Case = Case::OneWay(Carrier::Fdring(Sending::Batch, Reading::InRuns, Align::Words), 64);

fn target(goal: Goal) -> Target {
    let (subjects, references) = (vec![FDRING, IN_RUNS], vec![RAW]);
    Target { what: String::new(), subjects, references, statistic: Statistic::Median, goal }
}

#[test]
fn quartiles_are_those_of_the_sorted_figures() {
    let quartiles = Quartiles::of(&[5.0, 1.0, 4.0, 2.0, 3.0]).unwrap();
    assert_eq!([quartiles.low, quartiles.median, quartiles.high], [2.0, 3.0, 4.0]);
    assert!(Quartiles::of(&[]).is_none());
}

#[test]
fn quantiles_are_exact_below_2048_ns_and_to_a_thousandth_above() {
    let mut times = Histogram::default();
    assert_eq!(times.quantile(0.5), None);
    assert_eq!(times.max(), None);
    (1..=1000).for_each(|ns| times.add(ns));
    assert_eq!(times.quantile(0.0), Some(1.0));
    assert_eq!(times.quantile(0.5), Some(500.0));
    assert_eq!(times.quantile(0.999), Some(999.0));
    times.add(123_456_789);
    assert_eq!(times.max(), Some(123_456_789.0));
    let last = times.quantile(1.0).unwrap();
    assert!((last / 123_456_789.0 - 1.0).abs() < 0.001, "{last}");
    assert_eq!(times.total(), 1001);
}

#[test]
fn a_slice_counts_only_between_equal_probes_and_undisturbed() {
    use Distance::{Far, Near};
    assert_eq!(classify([Near, Near], false), Verdict::Kept(Near));
    assert_eq!(classify([Far, Far], false), Verdict::Kept(Far));
    assert_eq!(classify([Near, Far], false), Verdict::Moved);
    assert_eq!(classify([Far, Near], false), Verdict::Moved);
    assert_eq!(classify([Near, Near], true), Verdict::Preempted);
    assert_eq!(classify([Near, Far], true), Verdict::Preempted);
}

#[test]
fn the_sum_over_all_records_is_that_of_the_payloads() {
    for len in [8, 56, 4096] {
        let total = with_len!(len, LEN => (0..100).fold(0u64, |total, n| {
            let mut payload = boxed::<LEN>();
            fill::<LEN>(&mut payload, n);
            total.wrapping_add(sum(&payload[..]))
        }));
        assert_eq!(total, sum_of_all(len, 100), "{len} bytes");
    }
    assert_eq!(sum_of_all(8, 0), 0);
}

#[test]
fn options_are_what_was_asked_for() {
    let options = parse(&["--bench", "--seconds", "7", "--filter", "a", "--filter", "b", "--cores", "3,1"]);
    let options = options.unwrap().unwrap();
    assert_eq!(options.budget.as_secs(), 7);
    assert_eq!(options.filters, ["a", "b"]);
    assert_eq!(options.cores, Some([3, 1]));
    assert!(!options.tries);
    let options = parse(&["--quick", "--json", "x.json", "--html", "x.html"]).unwrap().unwrap();
    assert_eq!(options.json.unwrap().to_str(), Some("x.json"));
    assert_eq!(options.html.unwrap().to_str(), Some("x.html"));
    assert!(options.tries, "without --bench, which cargo bench gives, one only tries");
    assert!(parse(&["--try", "--bench"]).unwrap().unwrap().tries, "whichever comes first");
    assert!(parse(&["--help"]).unwrap().is_none());
}

#[test]
fn options_that_make_no_sense_are_refused_in_a_sentence() {
    for (args, says) in [
        (&["--cores", "1,1"][..], "two different numbers"),
        (&["--cores", "1"], "two different numbers"),
        (&["--seconds", "soon"], "whole number"),
        (&["--filter"], "needs a value"),
        (&["--frobnicate"], "is no option"),
    ] {
        let fault = parse(args).unwrap_err();
        assert!(fault.contains(says), "{args:?}: {fault}");
    }
}

#[test]
fn a_filter_brings_what_its_cases_are_compared_with() {
    let options = parse(&["--filter", "one way, 64 B", "--filter", "slices of 32, in place"]).unwrap().unwrap();
    let names: Vec<String> = options.cases(&[]).unwrap().iter().map(ToString::to_string).collect();
    for name in ["fdring slices of 32, in place", "raw ring, batches of 32, held", "rtrb in chunks of 32, in-process"] {
        assert!(names.iter().any(|each| each == name), "{name} is missing in {names:?}");
    }
    assert!(!names.iter().any(|name| name == "pipe"), "{names:?}");
    let nothing = parse(&["--filter", "nobody"]).unwrap().unwrap();
    assert!(nothing.cases(&[]).unwrap_err().contains("nothing"));
}

#[test]
fn every_case_has_a_name_of_its_own_and_its_ceiling_is_planned() {
    let cases = cases(&[]);
    let names: Vec<String> = cases.iter().map(|case| format!("{}: {case}", case.measure())).collect();
    for (index, name) in names.iter().enumerate() {
        assert!(!names[..index].contains(name), "{name} is there twice");
    }
    for case in &cases {
        let ceiling = case.ceiling();
        assert!(ceiling.is_none_or(|ceiling| cases.contains(&ceiling)), "the ceiling of {case} is not planned");
        assert!(case.step() <= case.most(), "{case}");
    }
    assert!(LENGTHS.iter().all(|len| cases.iter().any(|case| matches!(case, Case::OneWay(_, each) if each == len))));
}

#[test]
fn readers_that_never_wait_stand_beside_those_that_do() {
    use Reading::{Copied, CopiedDrained, CopiedInRuns, CopiedTried, Drained, InPlace, InRuns, Tried};
    let cases = cases(&[]);
    for (reading, waits) in [(Tried, InPlace), (Drained, InRuns), (CopiedTried, Copied), (CopiedDrained, CopiedInRuns)]
    {
        let beside = cases.iter().filter_map(|case| match *case {
            Case::OneWay(Carrier::Fdring(sending, each, align), len) if each == reading => {
                Some(Case::OneWay(Carrier::Fdring(sending, waits, align), len))
            }
            _ => None,
        });
        let beside: Vec<Case> = beside.collect();
        assert!(!beside.is_empty() && beside.iter().all(|case| cases.contains(case)), "{reading}: {beside:?}");
    }
}

#[test]
fn every_target_names_planned_cases() {
    let planned = cases(&[]);
    let targets = targets(&planned);
    assert!(targets.len() > 20);
    for target in targets {
        assert!(!target.subjects.is_empty() && !target.references.is_empty(), "{}", target.what);
        for case in target.subjects.iter().chain(&target.references) {
            assert!(planned.contains(case), "{}: {}, {case} is not planned", target.what, case.measure());
        }
    }
}

#[test]
fn a_target_compares_the_best_of_its_subjects() {
    let outcomes = [outcome(RAW, 10.0, 20), outcome(FDRING, 20.0, 20), outcome(IN_RUNS, 12.5, 20)];
    let rate = target(Goal::RateAtLeast(0.8));
    assert_eq!(rate.value(&outcomes, Distance::Near), Some(0.8));
    assert!(rate.goal.is_reached_by(0.8) && !rate.goal.is_reached_by(0.79));
    let time = target(Goal::TimeAtMost(1.25));
    assert_eq!(time.value(&outcomes, Distance::Near), Some(1.25));
    assert!(time.goal.is_reached_by(1.25) && !time.goal.is_reached_by(1.26));
    let growth = target(Goal::GrowthBelow { ns: 1.0, steps: 2.5 });
    assert_eq!(growth.value(&outcomes, Distance::Near), Some(1.0));
    assert!(growth.goal.is_reached_by(0.9) && !growth.goal.is_reached_by(1.0));
}

#[test]
fn a_target_is_not_judged_where_too_little_was_measured() {
    let goal = target(Goal::RateAtLeast(0.5));
    let few = [outcome(RAW, 10.0, 20), outcome(FDRING, 20.0, 20), outcome(IN_RUNS, 12.5, SLICES_MIN - 1)];
    assert_eq!(goal.value(&few, Distance::Near), None);
    let all = [outcome(RAW, 10.0, 20), outcome(FDRING, 20.0, 20), outcome(IN_RUNS, 12.5, SLICES_MIN)];
    assert!(goal.value(&all, Distance::Near).is_some());
    assert_eq!(goal.value(&all, Distance::Far), None, "nothing was measured far");
    assert_eq!(goal.value(&all[..2], Distance::Near), None, "one case was not run");
}

#[test]
fn a_quantile_needs_times_beyond_it() {
    let case = Case::RoundTrip(Bouncer::Fdring(Reading::InPlace), Waiting::Spinning, PING_BYTES);
    let mut outcome = outcome(case, 100.0, 20);
    let mut figures = Figures::default();
    (0..9_999).for_each(|_| figures.times.add(100));
    outcome.figures[Distance::Near as usize].times = figures.times.clone();
    let statistic = Statistic::Quantile(0.999);
    let goal = Goal::TimeAtMost(1.0);
    let target = Target { what: String::new(), subjects: vec![case], references: vec![case], statistic, goal };
    assert_eq!(target.value(&[outcome.clone()], Distance::Near), None);
    (0..20).for_each(|_| outcome.figures[Distance::Near as usize].times.add(100));
    assert_eq!(target.value(&[outcome], Distance::Near), Some(1.0));
}
