//! The figures for other programs, and for `compare`: one object, whose form has a version.

use super::{Run, Unit};
use crate::distance::{Boundary, Distance};
use crate::measure::{Figures, Outcome, Tally, Used};
use crate::run::Fault;
use crate::stats::{CONFIDENCE, interval, longest, quantile};
use crate::targets::{Comparison, Judgement};
use serde::{Deserialize, Serialize};

/// The version of the form: fields may be added, and it rises when one goes or changes its meaning.
pub(crate) const SCHEMA: u32 = 3;

/// The whole report.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Report {
    pub(crate) schema: u32,
    pub(crate) version: String,
    /// The commit of the sources, with `-dirty` behind it if they were changed; of the build.
    pub(crate) commit: String,
    pub(crate) compiler: String,
    pub(crate) arguments: Vec<String>,
    pub(crate) machine: crate::machine::Facts,
    pub(crate) others: Vec<String>,
    pub(crate) seconds: f64,
    pub(crate) restarts: usize,
    pub(crate) rounds: u64,
    /// Of the clock: its step, and what a reading costs, which was subtracted from each time.
    pub(crate) clock_step_ns: f64,
    pub(crate) clock_cost_ns: f64,
    /// The cache-line round trip from which on the cores are far; null if the probes form one heap.
    pub(crate) far_from_ns: Option<f64>,
    /// The median cache-line round trip where the probes form one heap; else null.
    pub(crate) probe_ns: Option<f64>,
    pub(crate) slices: Tally,
    pub(crate) warnings: Vec<String>,
    pub(crate) faults: Vec<Fault>,
    pub(crate) targets: Vec<TargetRow>,
    pub(crate) counts: Vec<CountRow>,
    pub(crate) figures: Vec<Row>,
}

/// One case at one distance. Times are in nanoseconds: for a record, or the median round trip.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Row {
    pub(crate) measure: String,
    pub(crate) measure_key: String,
    pub(crate) contender: String,
    pub(crate) form: String,
    pub(crate) payload_bytes: Option<usize>,
    pub(crate) distance: String,
    /// What the tables show it in.
    pub(crate) unit: String,
    pub(crate) slices: usize,
    pub(crate) ns_q1: f64,
    pub(crate) ns_median: f64,
    pub(crate) ns_q3: f64,
    /// The interval that holds the median of many restarts with 99 %.
    pub(crate) ns_low: Option<f64>,
    pub(crate) ns_high: Option<f64>,
    /// The median over the slices of each restart.
    pub(crate) restarts: Vec<f64>,
    /// The 99th percentile of each restart that has times enough to tell.
    pub(crate) restarts_p99: Vec<f64>,
    /// Percentiles of all times that count, and of all with those of slices that were thrown away for a core that was
    /// taken away or awaited; null if there are too few times to tell.
    pub(crate) percentiles: Vec<(f64, Option<f64>)>,
    pub(crate) percentiles_of_all: Vec<(f64, Option<f64>)>,
    /// The longest of all times, those of slices that were thrown away included.
    pub(crate) ns_max: Option<f64>,
    pub(crate) times: u64,
    /// Each time that counts, and how often it came.
    pub(crate) histogram: Vec<(u64, u64)>,
    pub(crate) thrown_away: Tally,
    pub(crate) records: u64,
    /// Altogether, of the sender and the receiver; divided by `records` it is that of each.
    pub(crate) used: Used,
    pub(crate) ratio_to_ceiling: Option<f64>,
    /// Which bare ring the ceiling was.
    pub(crate) ceiling: Option<String>,
    pub(crate) is_doubt: bool,
    pub(crate) fdring_best_ratio: Option<f64>,
}

/// One row of the table of targets.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct TargetRow {
    pub(crate) what: String,
    pub(crate) goal: String,
    pub(crate) near: Option<f64>,
    pub(crate) far: Option<f64>,
    /// The intervals that hold the true values with 99 %; null if there are too few restarts.
    pub(crate) near_interval: Option<[f64; 2]>,
    pub(crate) far_interval: Option<[f64; 2]>,
    /// `reached`, `MISSED`, `undecided` or `doubt`.
    pub(crate) near_is: Option<String>,
    pub(crate) far_is: Option<String>,
    /// The forms that were compared, as in “fdring send, in place / raw ring, each, held”; null if there was no choice.
    pub(crate) near_forms: Option<String>,
    pub(crate) far_forms: Option<String>,
}

/// One count.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct CountRow {
    pub(crate) what: String,
    pub(crate) value: f64,
    pub(crate) unit: String,
    pub(crate) limit: Option<f64>,
}

/// All that a run brought.
pub(crate) fn report(run: &Run<'_>) -> Report {
    let collected = run.collected;
    let targets = run.targets().into_iter().map(|target| {
        let [near, far] = target.values;
        let [near_forms, far_forms] = Distance::ALL.map(|distance| target.forms(distance));
        let name = |value: Option<(_, Judgement)>| value.map(|(_, judged)| judged.name().to_owned());
        let interval = |value: Option<(Comparison, _)>| {
            value.and_then(|(came_to, _)| came_to.interval).map(|interval| [interval.low, interval.high])
        };
        TargetRow {
            near_forms,
            far_forms,
            near_is: name(near),
            far_is: name(far),
            near_interval: interval(near),
            far_interval: interval(far),
            near: near.map(|(came_to, _)| came_to.value),
            far: far.map(|(came_to, _)| came_to.value),
            what: target.what,
            goal: target.goal,
        }
    });
    let counts = run.census.counts.iter().map(|count| CountRow {
        what: count.what.clone(),
        value: count.value,
        unit: count.unit.to_owned(),
        limit: count.limit,
    });
    let cells = run.outcomes().iter().flat_map(|outcome| Distance::ALL.map(|distance| (outcome, distance)));
    Report {
        schema: SCHEMA,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        commit: env!("IPCBENCH_COMMIT").to_owned(),
        compiler: env!("IPCBENCH_COMPILER").to_owned(),
        arguments: std::env::args().skip(1).collect(),
        machine: run.machine.facts(),
        others: run.others.clone(),
        seconds: run.options.seconds,
        restarts: collected.restarts,
        rounds: collected.rounds,
        clock_step_ns: collected.clock_ns[0],
        clock_cost_ns: collected.clock_ns[1],
        far_from_ns: if let Boundary::Between(ns) = collected.boundary { Some(ns) } else { None },
        probe_ns: if let Boundary::OneHeap(ns) = collected.boundary { Some(ns) } else { None },
        slices: collected.tally,
        warnings: run.warnings.clone(),
        faults: collected.faults.clone(),
        targets: targets.collect(),
        counts: counts.collect(),
        figures: cells.filter_map(|(outcome, distance)| row(run, outcome, distance)).collect(),
    }
}

/// The whole report as text.
pub(crate) fn json(run: &Run<'_>) -> String {
    let mut text = serde_json::to_string(&report(run)).expect("plain data");
    text.push('\n');
    text
}

fn row(run: &Run<'_>, outcome: &Outcome, distance: Distance) -> Option<Row> {
    let (case, figures) = (outcome.case, &outcome.figures[distance as usize]);
    let quartiles = figures.quartiles()?;
    let medians = figures.medians();
    let interval = interval(&medians, CONFIDENCE);
    let ratio_to_ceiling = run.ratio_to_ceiling(case, distance);
    Some(Row {
        measure: case.measure(),
        measure_key: case.measure_key().to_owned(),
        contender: case.contender().to_owned(),
        form: case.to_string(),
        payload_bytes: case.bytes(),
        distance: distance.name().to_owned(),
        unit: Unit::of(case).name().to_owned(),
        slices: figures.slices.len(),
        ns_q1: quartiles.low,
        ns_median: quartiles.median,
        ns_q3: quartiles.high,
        ns_low: interval.map(|interval| interval.low),
        ns_high: interval.map(|interval| interval.high),
        restarts: medians,
        restarts_p99: figures.tails(0.99),
        percentiles: percentiles(run, |share| figures.quantile(share)),
        percentiles_of_all: percentiles(run, |share| quantile(&figures.all_times, share)),
        ns_max: longest(&figures.all_times),
        times: figures.times.len(),
        histogram: histogram(figures),
        thrown_away: figures.thrown_away,
        records: figures.records,
        used: figures.used,
        ratio_to_ceiling,
        ceiling: run.ceiling(case, distance).map(|(bare, _)| bare.to_string()),
        is_doubt: run.is_doubt(case, distance),
        fdring_best_ratio: run.ratio_to_fdring(case, distance),
    })
}

fn percentiles(run: &Run<'_>, quantile: impl Fn(f64) -> Option<f64>) -> Vec<(f64, Option<f64>)> {
    let all = run.options.percentiles.iter();
    all.map(|percentile| (*percentile, quantile(percentile / 100.0))).collect()
}

fn histogram(figures: &Figures) -> Vec<(u64, u64)> {
    figures.times.iter_recorded().map(|step| (step.value_iterated_to(), step.count_at_value())).collect()
}
