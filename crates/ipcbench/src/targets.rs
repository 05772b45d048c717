//! What fdring is to reach, as ratios within one run.
//!
//! A target compares the best of its subjects with the best of its references, at one distance of the cores, by the
//! same statistic of both. It is judged only where every one of both sides that matters was measured often enough, and
//! is reached or missed only where the interval over restarts lies on one side of the goal.

use crate::contender::{Capability, Waiting};
use crate::distance::Distance;
use crate::life::Life;
use crate::measure::{Figures, Outcome, Restart, SLICES_MIN, TAILS};
use crate::payload::{Bytes, PING_BYTES, TRIP_LENGTHS};
use crate::plan::{
    Align, BATCH, Bouncer, CONSUMER_COUNTS, Carrier, Case, ChannelKind, FAN_IN_LENGTHS, FD_COUNTS, FdSender,
    LONG_SLICE, Many, PRODUCER_COUNTS, Queue, RawMode, Reading, Sending, Spread, TAPS_FORMS, TASK_LENGTHS, Taps,
};
use crate::stats::{CONFIDENCE, Interval, Ratio, interval};
use crate::tasks::{self, TaskReading};

/// Which number of a case is compared.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Statistic {
    /// The median over slices.
    Median,
    /// The better quartile over slices: what it takes in its best state.
    BestState,
    /// A quantile of [`TAILS`] of all times.
    Quantile(f64),
}

impl Statistic {
    /// In nanoseconds; `None` if too little was measured.
    fn of(self, figures: &Figures) -> Option<f64> {
        if figures.slices.len() < SLICES_MIN {
            return None;
        }
        match self {
            Self::Median => figures.quartiles().map(|quartiles| quartiles.median),
            Self::BestState => figures.quartiles().map(|quartiles| quartiles.low),
            Self::Quantile(share) => figures.quantile(share),
        }
    }

    /// The same of each restart that tells it.
    fn of_restarts(self, figures: &Figures) -> Vec<f64> {
        let of = |restart: &Restart| match self {
            Self::Median => Some(restart.quartiles.median),
            Self::BestState => Some(restart.quartiles.low),
            Self::Quantile(share) => {
                TAILS.iter().zip(restart.tails).find(|(each, _)| **each == share).and_then(|(_, ns)| ns)
            }
        };
        figures.restarts.iter().filter_map(of).collect()
    }
}

/// What the comparison must come to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Goal {
    /// The subject's rate over the reference's.
    RateAtLeast(f64),
    /// The subject's time over the reference's.
    TimeAtMost(f64),
    /// The subject's time minus the reference's, for each of that number of steps, in nanoseconds.
    GrowthBelow { ns: f64, steps: f64 },
    /// The subject's time in nanoseconds; there is no reference.
    NsAtMost(f64),
}

/// One row of the table.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) what: String,
    pub(crate) subjects: Vec<Case>,
    pub(crate) references: Vec<Case>,
    pub(crate) statistic: Statistic,
    pub(crate) goal: Goal,
    /// Whether the references bound the subjects: nothing can be better than they are in their best state. Medians are
    /// compared in the best state of both then.
    pub(crate) is_bound: bool,
}

/// What a comparison came to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Comparison {
    pub(crate) value: f64,
    /// What holds the true value with [`CONFIDENCE`]; `None` if there are too few restarts.
    pub(crate) interval: Option<Interval>,
    /// The subject is better than what bounds it, even its median than the other's best state.
    is_beyond_bound: bool,
}

impl Comparison {
    /// A count, which is the same each time.
    pub(crate) fn of_count(value: f64) -> Self {
        Self { value, interval: None, is_beyond_bound: false }
    }
}

impl Goal {
    fn compare(self, subject_ns: f64, reference_ns: f64) -> f64 {
        match self {
            Self::RateAtLeast(_) => reference_ns / subject_ns,
            Self::TimeAtMost(_) => subject_ns / reference_ns,
            Self::GrowthBelow { steps, .. } => (subject_ns - reference_ns) / steps,
            Self::NsAtMost(_) => subject_ns,
        }
    }

    /// The interval of what is compared, by that of the subject's time over the reference's.
    fn interval(self, ratio: Interval, reference_ns: f64) -> Interval {
        let [low, high] = [ratio.low, ratio.high].map(|ratio| self.compare(ratio * reference_ns, reference_ns));
        Interval { low: low.min(high), high: low.max(high) }
    }

    pub(crate) fn is_reached_by(self, value: f64) -> bool {
        match self {
            Self::RateAtLeast(goal) => value >= goal,
            Self::TimeAtMost(goal) | Self::NsAtMost(goal) => value <= goal,
            Self::GrowthBelow { ns, .. } => value < ns,
        }
    }
}

/// Nothing gets cheaper with more to do, by more than this in nanoseconds.
const GROWTH_DOUBT_NS: f64 = 1.0;
/// A rate above that of what bounds it, by more than this share, is a doubt.
pub(crate) const ABOVE_BOUND_MAX: f64 = 0.02;

/// What is to be thought of what a comparison came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Judgement {
    Reached,
    Missed,
    /// The interval holds the goal, or there are too few restarts for one.
    Undecided,
    /// Better than what bounds it: something else was measured than what was meant.
    Doubt,
}

impl Judgement {
    pub(crate) fn of(is_reached: bool) -> Self {
        if is_reached { Self::Reached } else { Self::Missed }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Reached => "reached",
            Self::Missed => "MISSED",
            Self::Undecided => "undecided",
            Self::Doubt => "doubt",
        }
    }
}

impl std::fmt::Display for Goal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::RateAtLeast(goal) => write!(f, "≥ {goal}"),
            Self::TimeAtMost(goal) => write!(f, "≤ {goal}"),
            Self::GrowthBelow { ns, .. } => write!(f, "< {ns} ns"),
            Self::NsAtMost(ns) => write!(f, "≤ {ns} ns"),
        }
    }
}

impl Target {
    /// What the comparison came to at that distance; `None` if too little was measured.
    pub(crate) fn compare(&self, outcomes: &[Outcome], distance: Distance) -> Option<Comparison> {
        let statistic = match self.statistic {
            Statistic::Median if self.is_bound => Statistic::BestState,
            statistic => statistic,
        };
        let (subject_ns, subject) = best(&self.subjects, outcomes, distance, statistic)?;
        if let Goal::NsAtMost(_) = self.goal {
            let interval = interval(&statistic.of_restarts(subject), CONFIDENCE);
            return Some(Comparison { value: subject_ns, interval, is_beyond_bound: false });
        }
        let (reference_ns, reference) = best(&self.references, outcomes, distance, statistic)?;
        let (subjects, references) = (statistic.of_restarts(subject), statistic.of_restarts(reference));
        let ratio = Ratio::of(&references, &subjects, CONFIDENCE);
        let is_beyond_bound = match self.goal {
            Goal::GrowthBelow { .. } => self.goal.compare(subject_ns, reference_ns) < -GROWTH_DOUBT_NS,
            _ if self.is_bound => Statistic::Median.of(subject)? * (1.0 + ABOVE_BOUND_MAX) < reference_ns,
            _ => false,
        };
        Some(Comparison {
            value: self.goal.compare(subject_ns, reference_ns),
            interval: ratio.map(|ratio| self.goal.interval(ratio.interval, reference_ns)),
            is_beyond_bound,
        })
    }

    /// What is to be thought of it: one that is better than makes sense is a doubt.
    pub(crate) fn judge(&self, comparison: &Comparison) -> Judgement {
        let Some(interval) = comparison.interval else { return Judgement::Undecided };
        match [interval.low, interval.high].map(|end| self.goal.is_reached_by(end)) {
            _ if comparison.is_beyond_bound => Judgement::Doubt,
            [true, true] => Judgement::Reached,
            [false, false] => Judgement::Missed,
            _ => Judgement::Undecided,
        }
    }
}

/// The shortest time of these cases in nanoseconds, and the figures that have it. Each must have been measured: else
/// another could be better.
fn best<'a>(
    cases: &[Case],
    outcomes: &'a [Outcome],
    distance: Distance,
    statistic: Statistic,
) -> Option<(f64, &'a Figures)> {
    let mut best: Option<(f64, &Figures)> = None;
    for case in cases {
        let outcome = outcomes.iter().find(|outcome| outcome.case == *case)?;
        let figures = &outcome.figures[distance as usize];
        let ns = statistic.of(figures)?;
        if best.is_none_or(|(quickest, _)| ns < quickest) {
            best = Some((ns, figures));
        }
    }
    best
}

fn raw(mode: RawMode, len: usize) -> Case {
    Case::OneWay(Carrier::Raw(mode), len)
}

fn fdring(sending: Sending, reading: Reading, len: usize) -> Case {
    Case::OneWay(Carrier::Fdring(sending, reading, Align::Words), len)
}

fn of_lines(sending: Sending, reading: Reading) -> Case {
    Case::OneWay(Carrier::Fdring(sending, reading, Align::Lines), 56)
}

/// All targets that can be judged where these cases are planned.
pub(crate) fn targets(planned: &[Case]) -> Vec<Target> {
    let mut targets = Vec::new();
    small_records(&mut targets);
    large_records(&mut targets);
    round_trips(&mut targets);
    others(&mut targets);
    against_peers(planned, &mut targets);
    targets
}

fn rate(what: impl Into<String>, subjects: Vec<Case>, references: Vec<Case>, goal: f64) -> Target {
    let is_bound = references.iter().all(|case| case.contender() == "raw ring");
    let goal = Goal::RateAtLeast(goal);
    Target { what: what.into(), subjects, references, statistic: Statistic::Median, goal, is_bound }
}

fn small_records(targets: &mut Vec<Target>) {
    use Reading::{Copied, CopiedInRuns, InPlace, InRuns};
    use Sending::{Batch, Filled, Reserve, Send, Slices};
    let by_32 = |len| vec![raw(RawMode::By32, len), raw(RawMode::Held, len)];
    let each = |len| vec![raw(RawMode::Each, len), raw(RawMode::EachHeld, len)];
    let runs = |len| vec![raw(RawMode::Runs, len)];
    let slices = |values, len| vec![fdring(Slices(values), InPlace, len)];
    targets.extend([
        rate(
            "56 B, record_align 64, batches of 32, in place / raw ring of 64 B slots in batches of 32",
            vec![of_lines(Batch, InPlace), of_lines(Batch, InRuns), of_lines(Filled, InRuns)],
            by_32(64),
            0.95,
        ),
        rate(
            "64 B, batches of 32, in place / raw ring in batches of 32",
            vec![fdring(Batch, InPlace, 64), fdring(Batch, InRuns, 64), fdring(Filled, InRuns, 64)],
            by_32(64),
            0.95,
        ),
        rate(
            "slices of 32 × 64 B / rtrb in chunks of 32, in-process",
            slices(BATCH, 64),
            vec![Case::OneWay(Carrier::InProcess(Queue::Rtrb), 64)],
            0.95,
        ),
        rate("slices of 32 × 64 B / raw ring, runs of 128 claimed and drained", slices(BATCH, 64), runs(64), 0.75),
        rate(
            "56 B, record_align 64, each published, in place / raw ring of 64 B slots, each",
            vec![of_lines(Reserve, InPlace)],
            each(64),
            0.95,
        ),
        rate(
            "56 B, each published, in place / raw ring, each",
            vec![fdring(Reserve, InPlace, 56), fdring(Send, InPlace, 56)],
            each(56),
            0.95,
        ),
        rate(
            "8 B, batches of 32 / raw ring of bare 8 B slots in batches of 32",
            vec![fdring(Batch, InPlace, 8), fdring(Batch, InRuns, 8), fdring(Filled, InRuns, 8)],
            by_32(8),
            0.6,
        ),
        rate("slices of 32 × 8 B / raw ring, runs of 128 claimed and drained", slices(BATCH, 8), runs(8), 0.5),
        rate("slices of 512 × 8 B / raw ring, runs of 128 claimed and drained", slices(LONG_SLICE, 8), runs(8), 0.8),
    ]);
    for len in [64, 256, 1024, 4 << 10, 16 << 10] {
        let mut copied = vec![
            fdring(Batch, Copied, len),
            fdring(Batch, CopiedInRuns, len),
            fdring(Filled, CopiedInRuns, len),
            fdring(Send, Copied, len),
            fdring(Reserve, Copied, len),
        ];
        let mut in_place = vec![
            fdring(Batch, InPlace, len),
            fdring(Batch, InRuns, len),
            fdring(Filled, InRuns, len),
            fdring(Send, InPlace, len),
            fdring(Reserve, InPlace, len),
        ];
        if len == 64 {
            copied.push(fdring(Slices(BATCH), Copied, len));
            in_place.push(fdring(Slices(BATCH), InPlace, len));
        }
        if len >= 256 {
            copied.push(Case::OneWay(Carrier::Fdring(Batch, CopiedInRuns, Align::Payloads), len));
            in_place.push(Case::OneWay(Carrier::Fdring(Batch, InRuns, Align::Payloads), len));
        }
        targets.push(copying(len, copied.clone(), in_place));
        targets.push(copying_as_memcpy_does(len, copied));
    }
}

fn copying(len: usize, copied: Vec<Case>, in_place: Vec<Case>) -> Target {
    Target {
        what: format!("{}, copied out / in place, the best form of each", Bytes(len)),
        subjects: copied,
        references: in_place,
        statistic: Statistic::Median,
        goal: Goal::RateAtLeast(0.7),
        is_bound: true,
    }
}

/// What copying cannot do better: each record is copied by memcpy, and nothing is checked.
fn copying_as_memcpy_does(len: usize, copied: Vec<Case>) -> Target {
    rate(
        format!("{}, copied out / raw ring, copied out by memcpy", Bytes(len)),
        copied,
        vec![raw(RawMode::Copied, len)],
        0.95,
    )
}

fn large_records(targets: &mut Vec<Target>) {
    let aligned = |reading, len| Case::OneWay(Carrier::Fdring(Sending::Reserve, reading, Align::Payloads), len);
    let each = |reading, len| {
        vec![fdring(Sending::Reserve, reading, len), fdring(Sending::Send, reading, len), aligned(reading, len)]
    };
    targets.push(copying(64 << 10, each(Reading::Copied, 64 << 10), each(Reading::InPlace, 64 << 10)));
    targets.push(copying_as_memcpy_does(64 << 10, each(Reading::Copied, 64 << 10)));
    for len in [4 << 10, 64 << 10, 1 << 20] {
        targets.push(rate(
            format!("{}, in place / raw ring of the same capacity, each", Bytes(len)),
            vec![fdring(Sending::Reserve, Reading::InPlace, len), aligned(Reading::InPlace, len)],
            vec![raw(RawMode::Each, len)],
            0.95,
        ));
        targets.push(rate(
            format!("{}, in place / raw ring of the same capacity, each with a header", Bytes(len)),
            vec![fdring(Sending::Reserve, Reading::InPlace, len), aligned(Reading::InPlace, len)],
            vec![raw(RawMode::Headed, len)],
            0.95,
        ));
    }
}

/// What is compared of times, with its name.
const QUANTILES: [(Statistic, &str); 4] = [
    (Statistic::Median, "p50"),
    (Statistic::Quantile(TAILS[0]), "p90"),
    (Statistic::Quantile(TAILS[1]), "p99"),
    (Statistic::Quantile(TAILS[2]), "p99.9"),
];

fn round_trips(targets: &mut Vec<Target>) {
    let spinning = |bouncer, len| vec![Case::RoundTrip(bouncer, Waiting::Spinning, len)];
    for (len, (statistic, name)) in TRIP_LENGTHS.into_iter().flat_map(|len| QUANTILES.map(|quantile| (len, quantile))) {
        if name == "p90" {
            continue;
        }
        let is_median = statistic == Statistic::Median;
        targets.push(Target {
            what: format!("round trip of {}, both spinning, {name} / raw ring", Bytes(len)),
            subjects: spinning(Bouncer::Fdring(Reading::InPlace), len),
            references: spinning(Bouncer::Ring, len),
            statistic,
            goal: Goal::TimeAtMost(if is_median { 1.15 } else { 1.3 }),
            is_bound: is_median,
        });
    }
    for (waiting, name) in [(Waiting::Asleep, "two cores"), (Waiting::AsleepOneCore, "one core")] {
        let against = [
            (Bouncer::FdringFenced, "with fences", Bouncer::Bell, "eventfd with a poll of 3"),
            (Bouncer::Fdring(Reading::InPlace), "asymmetric", Bouncer::BellAndBarrier, "the same and a membarrier"),
        ];
        for (subject, kind, reference, bare) in against {
            targets.push(Target {
                what: format!("round trip of 56 B, asleep, {kind}, {name} / {bare}"),
                subjects: vec![Case::RoundTrip(subject, waiting, PING_BYTES)],
                references: vec![Case::RoundTrip(reference, waiting, PING_BYTES)],
                statistic: Statistic::Median,
                goal: Goal::TimeAtMost(1.15),
                is_bound: true,
            });
        }
    }
}

fn others(targets: &mut Vec<Target>) {
    let cost = |consumers| vec![Case::Spread(Spread::ProducersCost(consumers))];
    targets.push(Target {
        what: "1 → 4 consumers: growth of the producer's cost a record, for each consumer".to_owned(),
        subjects: cost(4),
        references: cost(1),
        statistic: Statistic::Median,
        goal: Goal::GrowthBelow { ns: 10.0, steps: 3.0 },
        is_bound: false,
    });
    setting_up(targets);
    taps(targets);
    shapes(targets);
    for count in FD_COUNTS {
        targets.push(rate(
            format!("descriptors on records, {count} a record / plain sendmsg loop"),
            vec![Case::Descriptors(FdSender::OnRecords, count)],
            vec![Case::Descriptors(FdSender::Plain, count)],
            0.9,
        ));
        targets.push(rate(
            format!("descriptors on many records at once, {count} a record / plain sendmsg loop"),
            vec![Case::Descriptors(FdSender::ManyOnRecords, count)],
            vec![Case::Descriptors(FdSender::Plain, count)],
            0.9,
        ));
        targets.push(rate(
            format!("descriptors, {count} a message / plain sendmsg loop"),
            vec![Case::Descriptors(FdSender::Fdring, count)],
            vec![Case::Descriptors(FdSender::Plain, count)],
            0.95,
        ));
    }
}

/// Connecting, and the whole life of a client.
fn setting_up(targets: &mut Vec<Target>) {
    let target = |what: &str, [subjects, references]: [Vec<Case>; 2], goal| Target {
        what: what.to_owned(),
        subjects,
        references,
        statistic: Statistic::Median,
        goal,
        is_bound: false,
    };
    let connecting = [vec![Case::Connect(Bouncer::Fdring(Reading::InPlace))], Vec::new()];
    let living = [Life::Client, Life::Empty].map(|life| vec![Case::Life(life)]);
    targets.extend([
        target("connect to first record, ns", connecting, Goal::NsAtMost(250_000.0)),
        target(
            "a client's whole life, beyond that of an empty program, ns",
            living,
            Goal::GrowthBelow { ns: 1e6, steps: 1.0 },
        ),
    ]);
}

/// Taps beside a lossless consumer, which cost its producer next to nothing.
fn taps(targets: &mut Vec<Target>) {
    let beside = Taps::ALL.into_iter().filter(|taps| taps.count() != 0);
    for ((len, sending), taps) in TAPS_FORMS.into_iter().flat_map(|form| beside.clone().map(move |taps| (form, taps))) {
        let sent = if sending == Sending::Batch { ", batches of 32" } else { "" };
        targets.push(Target {
            what: format!("{}{sent}, 1 → 1{taps}: the producer's cost / no tap", Bytes(len)),
            subjects: vec![Case::Taps(taps, len, sending)],
            references: vec![Case::Taps(Taps::None, len, sending)],
            statistic: Statistic::Median,
            goal: Goal::TimeAtMost(if taps.count() == 1 { 1.01 } else { 1.03 }),
            is_bound: false,
        });
    }
}

/// What has more than two ends, and calls.
fn shapes(targets: &mut Vec<Target>) {
    for (len, producers) in FAN_IN_LENGTHS.into_iter().flat_map(|len| PRODUCER_COUNTS.map(|count| (len, count))) {
        let case = |many| vec![Case::FanIn(many, producers, len)];
        let collected = || [Many::Shape, Many::Runs].map(|many| Case::FanIn(many, producers, len)).to_vec();
        let what = |than: &str| format!("{producers} → 1 collector, {} / {than}", Bytes(len));
        targets.push(rate(what("as many plain lanes"), collected(), case(Many::Lanes), 0.9));
        targets.push(rate(what("Unix datagram socket"), collected(), case(Many::Datagrams), 1.0));
    }
    for workers in CONSUMER_COUNTS {
        let given = [Many::Shape, Many::Runs].map(|many| Case::Share(many, workers)).to_vec();
        let what = format!("1 → {workers} workers / as many plain lanes");
        targets.push(rate(what, given, vec![Case::Share(Many::Lanes, workers)], 0.9));
    }
    tasks(targets);
    let trip = |bouncer| vec![Case::RoundTrip(bouncer, Waiting::Spinning, PING_BYTES)];
    let stream = Bouncer::Channel(ChannelKind::Stream);
    for (reference, than, goal) in
        [(Bouncer::Fdring(Reading::InPlace), "plain round trip", 1.3), (stream, "Unix stream", 1.0)]
    {
        targets.push(Target {
            what: format!("call and reply of 56 B, both spinning, p50 / {than}"),
            subjects: trip(Bouncer::FdringCall),
            references: trip(reference),
            statistic: Statistic::Median,
            goal: Goal::TimeAtMost(goal),
            is_bound: false,
        });
    }
}

/// Tasks of tokio, next to threads that do the same by blocking calls.
fn tasks(targets: &mut Vec<Target>) {
    if !tasks::ARE_BUILT {
        return;
    }
    let readings = [(TaskReading::Each, Reading::InPlace), (TaskReading::InRuns, Reading::InRuns)];
    for (len, (of_task, of_thread)) in TASK_LENGTHS.into_iter().flat_map(|len| readings.map(|both| (len, both))) {
        for (sending, sent) in [(Sending::Reserve, "each published"), (Sending::Batch, "batches of 32")] {
            let call = of_thread.call();
            targets.push(Target {
                what: format!("{}, {sent}, {call} in a task / on a thread", Bytes(len)),
                subjects: vec![fdring(sending, Reading::InTask(of_task), len)],
                references: vec![fdring(sending, of_thread, len)],
                statistic: Statistic::Median,
                goal: Goal::TimeAtMost(1.1),
                is_bound: false,
            });
        }
    }
    for (waiting, cores) in [(Waiting::Asleep, "two cores"), (Waiting::AsleepOneCore, "one core")] {
        let trip = |bouncer| vec![Case::RoundTrip(bouncer, waiting, PING_BYTES)];
        targets.push(Target {
            what: format!("round trip of 56 B, asleep, by block_on, {cores} / blocking calls"),
            subjects: trip(Bouncer::FdringTasks),
            references: trip(Bouncer::Fdring(Reading::InPlace)),
            statistic: Statistic::Median,
            goal: Goal::TimeAtMost(1.3),
            is_bound: false,
        });
    }
}

/// fdring's best against the best of the other libraries, at every size and in every quantile. Slices of many values in
/// one record are left out: no other is measured with them.
fn against_peers(planned: &[Case], targets: &mut Vec<Target>) {
    let peers: Vec<Case> = planned.iter().copied().filter(|case| case.own().is_some()).collect();
    for len in crate::payload::LENGTHS {
        let of_len = |case: &Case| matches!(case, Case::OneWay(_, each) if *each == len) && !case.carries_slices();
        let references: Vec<Case> = peers.iter().copied().filter(of_len).collect();
        if references.is_empty() {
            continue;
        }
        let subjects: Vec<Case> = planned.iter().copied().filter(|case| of_len(case) && case.is_fdring()).collect();
        let what = |name: &str| format!("{}, the best form of one value a record / {name}", Bytes(len));
        let iceoryx: Vec<Case> =
            references.iter().copied().filter(|case| case.to_string().starts_with("iceoryx2")).collect();
        let statistic = Statistic::Median;
        if len == 64 && !iceoryx.is_empty() {
            let (what, goal) = (what("iceoryx2 at its best"), Goal::RateAtLeast(30.0));
            targets.push(Target {
                what,
                subjects: subjects.clone(),
                references: iceoryx,
                statistic,
                goal,
                is_bound: false,
            });
        }
        let (what, goal) = (what("the best of the other libraries"), Goal::RateAtLeast(1.0));
        targets.push(Target { what, subjects, references, statistic, goal, is_bound: false });
    }
    let bouncing = |case: &Case| matches!(case, Case::RoundTrip(_, Waiting::Spinning, PING_BYTES));
    let references: Vec<Case> = peers.iter().copied().filter(bouncing).collect();
    if references.is_empty() {
        return;
    }
    let calls = references.iter().copied().filter(|case| case.own().is_some_and(|own| own.0.can(Capability::Call)));
    let calls: Vec<Case> = calls.collect();
    if !calls.is_empty() {
        targets.push(Target {
            what: "call and reply of 56 B, both spinning, p50 / the calls of the other libraries".to_owned(),
            subjects: vec![Case::RoundTrip(Bouncer::FdringCall, Waiting::Spinning, PING_BYTES)],
            references: calls,
            statistic: Statistic::Median,
            goal: Goal::TimeAtMost(1.0),
            is_bound: false,
        });
    }
    for (statistic, name) in QUANTILES {
        targets.push(Target {
            what: format!("round trip of 56 B, both spinning, {name} / the best of the other libraries"),
            subjects: vec![Case::RoundTrip(Bouncer::Fdring(Reading::InPlace), Waiting::Spinning, PING_BYTES)],
            references: references.clone(),
            statistic,
            goal: Goal::TimeAtMost(1.0),
            is_bound: false,
        });
    }
}
