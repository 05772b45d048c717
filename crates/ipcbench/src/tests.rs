//! Tests of what needs no second process.

use crate::Program;
use crate::contender::{Capability, Contender, ContenderKind, Fallible, KindId, Opened, Role, Waiting, Way};
use crate::distance::Distance;
use crate::load::{Arrivals, BURST, Load};
use crate::measure::{Outcome, Restart, SLICES_MIN, TAILS};
use crate::options::Options;
use crate::payload::{LENGTHS, PING_BYTES, boxed, fill, number_of, sum, sum_of_all, with_len, write};
use crate::plan::{Align, Bouncer, Carrier, Case, Many, RawMode, Reading, SPREAD_LEN, Sending, Spread};
use crate::shared::{RING_BYTES, TAPS_RING_BYTES};
use crate::stats::Quartiles;
use crate::targets::{Goal, Judgement, Pick, Statistic, Target, targets};

fn parse(args: &[&str]) -> Result<Option<Options>, String> {
    Options::parse(args.iter().map(|arg| (*arg).to_owned()).collect(), &Program::default())
}

/// An outcome with that time in each of that number of slices, near only, and in restarts that lie 0.5 % around it.
fn outcome(case: Case, ns: f64, slices: usize) -> Outcome {
    let mut outcome = Outcome::new(case);
    let figures = &mut outcome.figures[Distance::Near as usize];
    figures.slices = vec![ns; slices];
    let quartiles = |ns| Quartiles { low: ns, median: ns, high: ns };
    let restart = |share| Restart { quartiles: quartiles(ns * share), tails: [Some(ns * share); TAILS.len()] };
    figures.restarts = [0.995, 1.0, 1.005, 1.0].map(restart).to_vec();
    outcome
}

const RAW: Case = Case::OneWay(Carrier::Raw(RawMode::By32), 64);
const FDRING: Case = Case::OneWay(Carrier::Fdring(Sending::Batch, Reading::InPlace, Align::Words), 64);
const IN_RUNS: Case = Case::OneWay(Carrier::Fdring(Sending::Batch, Reading::InRuns, Align::Words), 64);

fn target(goal: Goal) -> Target {
    let (subjects, references, statistic) = (vec![FDRING, IN_RUNS], vec![RAW], Statistic::Median);
    let (what, pick, distance) = (String::new(), Pick::Best, None);
    Target { what, subjects, references, statistic, goal, is_bound: true, pick, distance }
}

/// All cases but those of contenders from outside.
fn cases() -> Vec<Case> {
    let loads = Load::RATES.map(|rate| Load { rate, arrivals: Arrivals::Poisson });
    crate::plan::cases(&[], &loads)
}

/// What a selection selects, by name.
fn selected(args: &[&str]) -> Result<Vec<String>, String> {
    let options = parse(args).unwrap().unwrap();
    let names = options.selection.selected(&cases())?;
    Ok(names.iter().map(|case| format!("{}: {case}", case.measure())).collect())
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
fn a_number_is_found_in_the_sum_of_its_record() {
    let mut record = [0; PING_BYTES];
    write(&mut record, 123_456);
    assert_eq!(number_of(PING_BYTES, sum(&record)), 123_456);
    let mut filled = [0; PING_BYTES];
    fill(&mut filled, 123_456);
    assert_eq!(record, filled);
}

#[test]
fn options_are_what_was_asked_for() {
    let options = parse(&["--bench", "--seconds", "7.5", "--filter", "a", "--filter", "b", "--cores", "3,1"]);
    let options = options.unwrap().unwrap();
    assert_eq!(options.seconds, 7.5);
    assert_eq!(options.selection.filters, ["a", "b"]);
    assert_eq!(options.pair(), Ok(Some([3, 1])));
    assert!(!options.tries && !options.tables);
    assert!(parse(&["--tables"]).unwrap().unwrap().tables);
    let options = parse(&["grid", "--grid", "1x1,2x1", "--cores", "0,2,4"]).unwrap().unwrap();
    assert_eq!(options.grid.len(), 2);
    assert!(options.pair().unwrap_err().contains("two processors"));
    let options = parse(&["--quick", "--json", "x.json", "--html", "x.html", "--restarts", "9"]).unwrap().unwrap();
    assert_eq!(options.restarts, 9);
    assert_eq!(options.json.unwrap().to_str(), Some("x.json"));
    assert_eq!(options.html.unwrap().to_str(), Some("x.html"));
    assert!(options.tries, "without --bench, which cargo bench gives, one only tries");
    assert!(parse(&["--try", "--bench"]).unwrap().unwrap().tries, "whichever comes first");
    assert!(parse(&["--help"]).unwrap().is_none());
    let options = parse(&["run", "--bytes", "64,4KiB,1 MiB", "--rate", "250k,1.5M", "--arrivals", "burst"]);
    let options = options.unwrap().unwrap();
    assert_eq!(options.rest, ["run"]);
    assert_eq!(options.selection.bytes, [64, 4096, 1 << 20]);
    assert_eq!(options.loads, [250_000, 1_500_000].map(|rate| Load { rate, arrivals: Arrivals::Burst }));
}

#[test]
fn options_that_make_no_sense_are_refused_in_a_sentence() {
    for (args, says) in [
        (&["--cores", "1,1"][..], "two different numbers"),
        (&["--cores", "1"], "two different numbers"),
        (&["--seconds", "soon"], "number of seconds"),
        (&["--seconds", "0"], "number of seconds"),
        (&["--restarts", "0"], "whole number"),
        (&["--filter"], "needs a value"),
        (&["--frobnicate"], "is no option"),
        (&["--bytes", "64,x"], "“x”"),
        (&["--rate", "0"], "records a second"),
        (&["--arrivals", "sometimes"], "poisson, even or burst"),
        (&["--percentiles", "100"], "below 100"),
        (&["list", "--json", "x"], "`list` takes no --json; it takes --measure"),
        (&["grid", "--measure", "load"], "`grid` takes no --measure"),
        (&["doctor", "--quick"], "`doctor` takes no --quick; it takes none"),
        (&["compare", "a", "b", "--filter", "x"], "`compare` takes no --filter"),
        (&["--keep", "x"], "`run` takes no --keep"),
        (&["grid", "--tables"], "`grid` takes no --tables"),
        (&["--try", "--json", "x"], "nothing to write for --json"),
    ] {
        let fault = parse(args).unwrap_err();
        assert!(fault.contains(says), "{args:?}: {fault}");
    }
}

#[test]
fn a_selection_is_exact() {
    let names = selected(&["--filter", "56 B"]).unwrap();
    assert!(!names.is_empty() && names.iter().all(|name| !name.contains("256 B")), "{names:?}");
    let names = selected(&["--measure", "one-way", "--bytes", "8", "--contender", "pipe"]).unwrap();
    assert_eq!(names, ["one way, 8 B a record: pipe, blocking"]);
    let names = selected(&["--contender", "fdring send, copied", "--bytes", "64"]).unwrap();
    assert_eq!(names, ["one way, 64 B a record: fdring send, copied"]);
    let all = selected(&["--contender", "fdring"]).unwrap();
    assert!(all.len() > 50 && all.iter().all(|name| name.contains("fdring")), "{all:?}");
    for args in [["--measure", "one"], ["--contender", "fdrin"], ["--bytes", "57"]] {
        let fault = selected(&args).unwrap_err();
        assert!(fault.contains(args[1]) && fault.contains("list"), "{fault}");
    }
    assert!(selected(&["--measure", "connect", "--contender", "pipe"]).unwrap_err().contains("together"));
}

#[test]
fn what_is_selected_is_measured_with_what_it_is_compared_with() {
    let options = parse(&["--filter", "one way, 64 B", "--filter", "slices of 32, in place"]).unwrap().unwrap();
    let all = cases();
    let numbers = options.selection.numbers(&all).unwrap();
    let names: Vec<String> = numbers.iter().map(|number| all[*number].to_string()).collect();
    for name in ["fdring slices of 32, in place", "raw ring, batches of 32, held", "rtrb in chunks of 32, in-process"] {
        assert!(names.iter().any(|each| each == name), "{name} is missing in {names:?}");
    }
    assert!(!names.iter().any(|name| name.starts_with("pipe")), "{names:?}");
}

struct Nothing;

impl Contender for Nothing {
    fn send(&mut self, _: Way, _: u64) -> Fallible {
        Ok(())
    }

    fn receive(&mut self, way: Way) -> Fallible<u64> {
        Ok(way.consumer as u64)
    }
}

fn open_nothing(_: Role, _: &str) -> Opened {
    Ok(Box::new(Nothing))
}

static ABLE: &[ContenderKind] =
    &[ContenderKind { does: Capability::ALL, len_max: 1024, ..ContenderKind::new("able", open_nothing) }];

#[test]
fn a_contender_takes_part_in_what_it_can() {
    let keys = |kinds: &'static [ContenderKind]| {
        let load = Load { rate: 1000, arrivals: Arrivals::Even };
        let own = crate::plan::cases(kinds, &[load]).into_iter().filter(|case| case.own().is_some());
        let mut keys: Vec<&str> = own.map(|case| case.measure_key()).collect();
        keys.sort_unstable();
        keys.dedup();
        keys
    };
    let mut all: Vec<&str> = crate::plan::cases(ABLE, &[Load { rate: 1000, arrivals: Arrivals::Even }])
        .into_iter()
        .map(|case| case.measure_key())
        // Others have nothing like a tap, or a collector's client.
        .filter(|key| !["taps", "life"].contains(key))
        .collect();
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), 13);
    assert_eq!(keys(ABLE), all);
    let mut of_capabilities: Vec<&str> = Capability::ALL.iter().flat_map(|each| each.measure_keys()).copied().collect();
    of_capabilities.sort_unstable();
    of_capabilities.dedup();
    assert_eq!(of_capabilities, all, "every measure is for a capability");
    static PLAIN: &[ContenderKind] =
        &[ContenderKind { does: &[Capability::OneWay], ..ContenderKind::new("plain", open_nothing) }];
    assert_eq!(keys(PLAIN), ["one-way"]);
    static CALLER: &[ContenderKind] =
        &[ContenderKind { does: &[Capability::Call], ..ContenderKind::new("caller", open_nothing) }];
    assert_eq!(keys(CALLER), ["round-trip"], "a request that is not answered is no load");
    static ROOMY: [ContenderKind; 2] =
        [ContenderKind { room: 20_000, ..ABLE[0] }, ContenderKind { room: 100, ..ABLE[0] }];
    let most = |kind| Case::ProducersCost(KindId(kind), 1).most();
    assert_eq!(most(&ROOMY[0]), 16_384);
    assert_eq!(most(&ROOMY[1]), 96, "whole batches");
    static CRAMPED: &[ContenderKind] = &[ContenderKind { room: 31, ..ABLE[0] }];
    assert!(!keys(CRAMPED).contains(&"producers-cost"));
    assert_eq!(CRAMPED[0].why_not(Capability::ProducersCost).unwrap(), "it has room for 31 records only");
    assert_eq!(CRAMPED[0].why_not(Capability::Lanes), None);
    let longest = crate::plan::cases(ABLE, &[]).into_iter().filter(|case| case.own().is_some());
    assert_eq!(
        longest.filter(|case| case.measure_key() == "one-way").filter_map(|case| case.bytes()).max(),
        Some(1024)
    );
}

#[test]
fn producers_and_workers_have_their_turns() {
    struct Turns(Vec<[usize; 2]>);
    impl Contender for Turns {
        fn send(&mut self, way: Way, _: u64) -> Fallible {
            self.0.push([way.producer, way.worker]);
            Ok(())
        }
        fn receive(&mut self, way: Way) -> Fallible<u64> {
            Ok(way.worker as u64)
        }
    }
    let mut turns = Turns(Vec::new());
    let way = Way { producers: 2, workers: 3, ..Way::new(64, Waiting::Spinning) };
    turns.send_all(way, 4).unwrap();
    assert_eq!(turns.0, [[0, 0], [1, 1], [0, 2], [1, 0]]);
    assert_eq!(turns.receive_all(way, 6).unwrap(), 6, "each of three has its turn twice");
    let way = Way { lanes: 4, ..Way::new(64, Waiting::Spinning) };
    let lanes: Vec<usize> = [0, 31, 32, 127, 128].map(|n| way.turn(n).lane).to_vec();
    assert_eq!(lanes, [0, 0, 1, 3, 0], "a batch over each");
}

#[test]
fn several_consumers_receive_in_turn_what_each_gets() {
    let way = Way { consumers: 3, ..Way::new(64, Waiting::Spinning) };
    assert_eq!(Nothing.receive_all(way, 40).unwrap(), 40 * (1 + 2));
    assert!(Nothing.visit().unwrap_err().to_string().contains("no visits"));
}

#[test]
fn every_case_has_a_name_of_its_own_and_its_ceiling_is_planned() {
    let cases = cases();
    let names: Vec<String> = cases.iter().map(|case| format!("{}: {case}", case.measure())).collect();
    for (index, name) in names.iter().enumerate() {
        assert!(!names[..index].contains(name), "{name} is there twice");
    }
    for case in &cases {
        let ceilings = case.ceilings();
        assert!(ceilings.iter().all(|ceiling| cases.contains(ceiling)), "a ceiling of {case} is not planned");
        assert!(case.step() <= case.most(), "{case}");
    }
    assert!(LENGTHS.iter().all(|len| cases.iter().any(|case| matches!(case, Case::OneWay(_, each) if each == len))));
}

#[test]
fn readers_that_never_wait_stand_beside_those_that_do() {
    use Reading::{Copied, CopiedDrained, CopiedInRuns, CopiedTried, Drained, InPlace, InRuns, Tried};
    let cases = cases();
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
    let planned = cases();
    let targets = targets(&planned);
    assert!(targets.len() > 20);
    for target in targets {
        let has_reference = !matches!(target.goal, Goal::NsAtMost(_)) && target.pick != Pick::MostUneven;
        assert!(!target.subjects.is_empty() && target.references.is_empty() != has_reference, "{}", target.what);
        for case in target.subjects.iter().chain(&target.references) {
            assert!(planned.contains(case), "{}: {}, {case} is not planned", target.what, case.measure());
        }
    }
}

/// What the target came to near, and what is thought of it.
fn judged(target: &Target, outcomes: &[Outcome]) -> Option<(f64, Judgement)> {
    let comparison = target.compare(outcomes, Distance::Near)?;
    Some((comparison.value, target.judge(&comparison)))
}

#[test]
fn a_target_compares_the_best_of_its_subjects() {
    let outcomes = [outcome(RAW, 10.0, 20), outcome(FDRING, 20.0, 20), outcome(IN_RUNS, 12.5, 20)];
    let value = |goal| judged(&target(goal), &outcomes).unwrap().0;
    let (rate, time) = (Goal::RateAtLeast(0.8), Goal::TimeAtMost(1.25));
    assert_eq!(value(rate), 0.8);
    assert!(rate.is_reached_by(0.8) && !rate.is_reached_by(0.79));
    assert_eq!(value(time), 1.25);
    assert!(time.is_reached_by(1.25) && !time.is_reached_by(1.26));
    let alone = Goal::NsAtMost(12.5);
    assert!(alone.is_reached_by(12.5) && !alone.is_reached_by(12.6));
    let growth = Goal::GrowthBelow { ns: 1.0, steps: 2.5 };
    assert_eq!(value(growth), 1.0);
    assert!(growth.is_reached_by(0.9) && !growth.is_reached_by(1.0));
    assert_eq!(value(Goal::NsAtMost(10.0)), 12.5);
    let alone = Target { references: Vec::new(), ..target(Goal::NsAtMost(12.5)) };
    assert_eq!(judged(&alone, &outcomes[1..]).unwrap().0, 12.5, "it has no reference");
}

#[test]
fn a_target_is_not_judged_where_too_little_was_measured() {
    let goal = target(Goal::RateAtLeast(0.5));
    let few = [outcome(RAW, 10.0, 20), outcome(FDRING, 20.0, 20), outcome(IN_RUNS, 12.5, SLICES_MIN - 1)];
    assert_eq!(goal.compare(&few, Distance::Near), None);
    let all = [outcome(RAW, 10.0, 20), outcome(FDRING, 20.0, 20), outcome(IN_RUNS, 12.5, SLICES_MIN)];
    assert!(goal.compare(&all, Distance::Near).is_some());
    assert_eq!(goal.compare(&all, Distance::Far), None, "nothing was measured far");
    assert_eq!(goal.compare(&all[..2], Distance::Near), None, "one case was not run");
}

#[test]
fn a_target_is_decided_only_where_the_interval_lies_on_one_side_of_the_goal() {
    let outcomes = [outcome(RAW, 10.0, 20), outcome(FDRING, 20.0, 20), outcome(IN_RUNS, 12.5, 20)];
    for (goal, judgement) in [
        (Goal::RateAtLeast(0.7), Judgement::Reached),
        (Goal::RateAtLeast(0.8), Judgement::Undecided),
        (Goal::RateAtLeast(0.9), Judgement::Missed),
        (Goal::TimeAtMost(1.4), Judgement::Reached),
        (Goal::TimeAtMost(1.25), Judgement::Undecided),
        (Goal::TimeAtMost(1.1), Judgement::Missed),
        (Goal::GrowthBelow { ns: 1.2, steps: 2.5 }, Judgement::Reached),
        (Goal::GrowthBelow { ns: 1.0, steps: 2.5 }, Judgement::Undecided),
        (Goal::GrowthBelow { ns: 0.8, steps: 2.5 }, Judgement::Missed),
        (Goal::NsAtMost(14.0), Judgement::Reached),
        (Goal::NsAtMost(12.5), Judgement::Undecided),
        (Goal::NsAtMost(11.0), Judgement::Missed),
    ] {
        assert_eq!(judged(&target(goal), &outcomes).unwrap().1, judgement, "{goal:?}");
    }
    let mut few = outcomes.clone();
    few[0].figures[0].restarts.truncate(2);
    assert_eq!(judged(&target(Goal::RateAtLeast(0.1)), &few).unwrap().1, Judgement::Undecided, "two restarts");
}

#[test]
fn what_is_better_than_its_bound_is_a_doubt() {
    let outcomes = |ns| [outcome(RAW, 10.0, 20), outcome(FDRING, 20.0, 20), outcome(IN_RUNS, ns, 20)];
    for goal in [Goal::RateAtLeast(0.8), Goal::TimeAtMost(1.15)] {
        let bound = target(goal);
        assert_eq!(judged(&bound, &outcomes(9.9)).unwrap().1, Judgement::Reached);
        assert_eq!(judged(&bound, &outcomes(5.0)).unwrap().1, Judgement::Doubt, "{goal:?}");
        let free = Target { is_bound: false, ..bound };
        assert_eq!(judged(&free, &outcomes(5.0)).unwrap().1, Judgement::Reached, "another library can be beaten");
    }
    let growth = target(Goal::GrowthBelow { ns: 10.0, steps: 3.0 });
    let of = |ns| [outcome(RAW, 30.0, 20), outcome(FDRING, ns, 20), outcome(IN_RUNS, ns, 20)];
    assert_eq!(judged(&growth, &of(6.0)).unwrap().1, Judgement::Doubt, "nothing gets cheaper with more consumers");
    assert_eq!(judged(&growth, &of(29.4)).unwrap().1, Judgement::Reached);
}

#[test]
fn a_ceiling_is_the_best_of_all_bare_rings_of_that_row() {
    let planned = cases();
    let targets = targets(&planned);
    let named = |name: &str| targets.iter().find(|target| target.what == name).expect(name);
    let raw = |mode, len| Case::OneWay(Carrier::Raw(mode), len);
    for name in ["4 KiB, the best form in place / the ceiling", "slices of 32 × 64 B / the ceiling"] {
        assert!(named(name).references.iter().any(|case| case.to_string() == "raw ring, each, held"), "{name}");
    }
    for (target, subject) in targets
        .iter()
        .filter(|target| target.what.ends_with("/ the ceiling"))
        .flat_map(|target| target.subjects.iter().map(move |subject| (target, subject)))
    {
        let ceilings = subject.ceilings();
        assert!(ceilings.iter().all(|ceiling| target.references.contains(ceiling)), "{}: {subject}", target.what);
    }
    let trip = named("round trip of 56 B, both spinning, p99 / the ceiling");
    let slots = Case::RoundTrip(Bouncer::Slots, Waiting::Spinning, PING_BYTES);
    assert!(trip.references.contains(&slots) && trip.references.len() == 2, "{trip:?}");
    // What is written in place is not judged by rings that copy, and what is copied is.
    let of = |sending| Case::OneWay(Carrier::Fdring(sending, Reading::InPlace, Align::Words), 64 << 10);
    let copied_in = raw(RawMode::Sent, 64 << 10);
    assert!(of(Sending::Send).ceilings().contains(&copied_in) && !of(Sending::Reserve).ceilings().contains(&copied_in));
    let streamed = raw(RawMode::Streamed, 64 << 10);
    assert_eq!(planned.contains(&streamed), cfg!(target_arch = "x86_64"));
    assert_eq!(of(Sending::Send).ceilings().contains(&streamed), planned.contains(&streamed));
}

#[test]
fn the_slowest_form_is_found_and_one_of_two_states() {
    let mut uneven = outcome(IN_RUNS, 10.0, 20);
    let outcomes = [outcome(FDRING, 16.0, 20), uneven.clone()];
    let forms = || Target {
        subjects: vec![FDRING, IN_RUNS],
        references: vec![FDRING, IN_RUNS],
        is_bound: false,
        ..target(Goal::RateAtLeast(0.6))
    };
    let slowest = Target { pick: Pick::Slowest, ..forms() };
    let comparison = slowest.compare(&outcomes, Distance::Near).unwrap();
    assert_eq!((comparison.value, comparison.forms), (0.625, Some((FDRING, Some(IN_RUNS)))));
    assert_eq!(slowest.judge(&comparison), Judgement::Reached);
    assert_eq!(judged(&forms(), &outcomes).unwrap().0, 1.0, "the best form is");
    let states = Target { pick: Pick::MostUneven, references: Vec::new(), goal: Goal::TimeAtMost(1.5), ..forms() };
    assert_eq!(judged(&states, &outcomes), Some((1.0, Judgement::Reached)));
    let figures = &mut uneven.figures[Distance::Near as usize];
    figures.slices[..10].fill(30.0);
    figures.restarts.iter_mut().for_each(|restart| restart.quartiles.high = 30.0);
    let comparison = states.compare(&[outcomes[0].clone(), uneven], Distance::Near).unwrap();
    assert_eq!((comparison.value, comparison.forms), (3.0, Some((IN_RUNS, None))));
    assert_eq!(states.judge(&comparison), Judgement::Missed);
}

#[test]
fn a_target_of_one_distance_says_nothing_of_the_other() {
    let outcomes = [outcome(RAW, 10.0, 20), outcome(FDRING, 20.0, 20), outcome(IN_RUNS, 12.5, 20)];
    let of = |distance| Target { distance: Some(distance), ..target(Goal::RateAtLeast(0.7)) };
    assert!(of(Distance::Near).compare(&outcomes, Distance::Near).is_some());
    assert_eq!(of(Distance::Far).compare(&outcomes, Distance::Near), None);
}

#[test]
fn a_bare_ring_reaches_its_own_ceiling_whatever_states_it_has() {
    let mut raw = outcome(RAW, 10.0, 20);
    raw.figures[0].slices[..8].fill(5.0);
    let ring = Target { subjects: vec![RAW], ..target(Goal::RateAtLeast(0.95)) };
    assert_eq!(judged(&ring, &[raw.clone()]), Some((1.0, Judgement::Reached)));
    // Its best state is what others are compared with, and theirs.
    let outcomes = [raw, outcome(FDRING, 20.0, 20), outcome(IN_RUNS, 10.0, 20)];
    assert_eq!(judged(&target(Goal::RateAtLeast(0.8)), &outcomes).unwrap().0, 0.5);
}

#[test]
fn a_quantile_is_compared_only_where_there_are_times_beyond_it() {
    let case = Case::RoundTrip(Bouncer::Fdring(Reading::InPlace), Waiting::Spinning, PING_BYTES);
    let mut outcome = outcome(case, 100.0, 20);
    outcome.figures[0].times.record_n(100, 9_999).unwrap();
    let (subjects, references, statistic) = (vec![case], vec![case], Statistic::Quantile(0.999));
    let goal = Goal::TimeAtMost(1.0);
    let target = Target { subjects, references, statistic, is_bound: false, ..target(goal) };
    assert_eq!(judged(&target, &[outcome.clone()]), None);
    outcome.figures[0].times.record_n(100, 20).unwrap();
    assert_eq!(judged(&target, &[outcome.clone()]).unwrap().0, 1.0);
    // A tail is judged by the restarts that tell it.
    outcome.figures[0].restarts.iter_mut().for_each(|restart| restart.tails[2] = None);
    assert_eq!(judged(&target, &[outcome]), Some((1.0, Judgement::Undecided)));
}

#[test]
fn one_value_a_record_is_compared_with_the_same() {
    let cases = crate::plan::cases(ABLE, &[]);
    let named = |name: &str| targets(&cases).into_iter().find(|target| target.what.starts_with(name)).expect(name);
    let target = named("64 B, the best form of one value a record");
    assert!(target.subjects.len() > 10 && !target.subjects.iter().any(|case| case.carries_slices()), "{target:?}");
    let slices = Case::OneWay(Carrier::Fdring(Sending::Slices(32), Reading::InPlace, Align::Words), 64);
    let runs = Case::OneWay(Carrier::Raw(RawMode::Runs), 64);
    assert!(cases.contains(&slices) && slices.is_like(runs) && !slices.is_like(FDRING) && FDRING.is_like(RAW));
}

#[test]
fn several_consumers_are_not_compared_with_several_lanes() {
    let spread = |spread| Case::Spread(spread);
    let four = spread(Spread::Consumers(4, Reading::InRuns));
    assert!(four.is_like(spread(Spread::Consumers(4, Reading::InPlace))));
    assert!(four.is_like(Case::FanOut(KindId(&ABLE[0]), 4)));
    for other in [spread(Spread::Lanes(4)), spread(Spread::Consumers(2, Reading::InRuns)), spread(Spread::Lanes(1))] {
        assert!(!four.is_like(other), "{other}");
    }
}

#[test]
fn what_goes_through_a_ring_goes_round_it_once_before_it_is_measured() {
    let load = Load { rate: 1_000_000, arrivals: Arrivals::Poisson };
    let lap = (RING_BYTES / SPREAD_LEN) as u64;
    let bursts = Load { arrivals: Arrivals::Burst, ..load };
    assert_eq!(Case::Load(Bouncer::Ring, bursts).step(), BURST, "whole bursts");
    for case in crate::plan::cases(ABLE, &[load]) {
        let warmed = case.records_to_warm(case.most());
        let (steps, runs) = (warmed / case.step(), warmed / case.most());
        assert_eq!(steps * case.step(), warmed, "{}: {case}", case.measure());
        match case {
            Case::Taps(_, len, _) => assert_eq!(warmed, (TAPS_RING_BYTES / len) as u64, "{case}"),
            case if case.is_senders_time() => assert!(warmed >= lap && runs > 1, "{case}: {warmed}"),
            Case::Spread(_) | Case::FanOut(..) | Case::Lanes(..) | Case::Share(..) => {
                assert_eq!(warmed, lap, "{case}")
            }
            Case::FanIn(Many::Datagrams, ..) => assert_eq!(warmed, 0),
            Case::FanIn(.., len) => assert_eq!(warmed, (RING_BYTES / len) as u64, "{case}"),
            Case::OneWay(Carrier::Channel(_), _) | Case::RoundTrip(Bouncer::Channel(_), ..) => assert_eq!(warmed, 0),
            Case::OneWay(..) | Case::RoundTrip(_, Waiting::Spinning, _) | Case::Load(..) => assert!(warmed > 0),
            _ => assert_eq!(warmed, 0, "{case}"),
        }
        if !case.is_senders_time() {
            assert!(
                case.records_to_warm(case.step()) <= case.step(),
                "a slow contender is warmed no longer than it runs"
            );
        }
    }
}
