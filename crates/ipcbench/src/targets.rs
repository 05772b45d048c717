//! What fdring is to reach, as ratios within one run.
//!
//! A target compares the best of its subjects with the best of its references, at one distance of the cores, by the
//! same statistic of both. It is judged only where every one of both sides that matters was measured often enough, and
//! is reached or missed only where the interval over restarts lies on one side of the goal. What is called a ceiling is
//! the best bare ring of all that [`Case::ceilings`] names, in its best state; its name is told with the value.

use crate::contender::{Capability, Waiting};
use crate::distance::Distance;
use crate::life::Life;
use crate::measure::{Figures, Outcome, Restart, SLICES_MIN, TAILS};
use crate::payload::{Bytes, LENGTHS, PING_BYTES, TRIP_LENGTHS};
use crate::plan::{
    Align, BATCH, BATCHED_LEN_MAX, Bouncer, CONSUMER_COUNTS, Carrier, Case, ChannelKind, FAN_IN_LENGTHS, FD_COUNTS,
    FdSender, Many, PRODUCER_COUNTS, Queue, RawMode, Reading, Sending, Spread, TAPS_FORMS, TASK_LENGTHS, Taps,
};
use crate::raw::STREAMS;
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

/// Which of its subjects a target is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pick {
    /// The best one.
    Best,
    /// The slowest one: how far any form may fall behind the best.
    Slowest,
    /// The one whose slices differ most, by the worse quartile over the better one. There is no reference: a form that
    /// has two states is far above 1.
    MostUneven,
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
    pub(crate) pick: Pick,
    /// The one distance that it is about; `None` for both.
    pub(crate) distance: Option<Distance>,
}

/// What a comparison came to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Comparison {
    pub(crate) value: f64,
    /// What holds the true value with [`CONFIDENCE`]; `None` if there are too few restarts.
    pub(crate) interval: Option<Interval>,
    /// The subject that was compared, and the reference, if there was more than one to choose from.
    pub(crate) forms: Option<(Case, Option<Case>)>,
    /// The subject is better than what bounds it, even its median than the other's best state.
    is_beyond_bound: bool,
}

impl Comparison {
    /// A count, which is the same each time.
    pub(crate) fn of_count(value: f64) -> Self {
        Self { value, interval: None, forms: None, is_beyond_bound: false }
    }
}

impl Goal {
    fn compare(self, subject_ns: f64, reference_ns: f64) -> f64 {
        match self {
            Self::RateAtLeast(_) => reference_ns / subject_ns,
            Self::TimeAtMost(_) => subject_ns / reference_ns,
            Self::GrowthBelow { steps, .. } => (subject_ns - reference_ns) / steps,
            Self::NsAtMost(_) => unreachable!("it is compared with nothing"),
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
    /// What the comparison came to at that distance; `None` if too little was measured, or it is about the other one.
    pub(crate) fn compare(&self, outcomes: &[Outcome], distance: Distance) -> Option<Comparison> {
        if self.distance.is_some_and(|only| only != distance) {
            return None;
        }
        let statistic = match self.statistic {
            Statistic::Median if self.is_bound => Statistic::BestState,
            statistic => statistic,
        };
        let subjects = measured(&self.subjects, outcomes, distance, statistic)?;
        let forms = |subject: &Measured<'_>, reference: Option<&Measured<'_>>| {
            let has_choice = self.subjects.len() > 1 || self.references.len() > 1;
            has_choice.then_some((subject.case, reference.map(|reference| reference.case)))
        };
        if self.pick == Pick::MostUneven {
            let (subject, value) = most_uneven(&subjects)?;
            let interval = subject.unevenness_of_restarts();
            return Some(Comparison { value, interval, forms: forms(subject, None), is_beyond_bound: false });
        }
        let by_time = |a: &&Measured<'_>, b: &&Measured<'_>| a.ns.total_cmp(&b.ns);
        let subject = match self.pick {
            Pick::Slowest => subjects.iter().max_by(by_time)?,
            _ => subjects.iter().min_by(by_time)?,
        };
        let subject_restarts = statistic.of_restarts(subject.figures);
        if let Goal::NsAtMost(_) = self.goal {
            let interval = interval(&subject_restarts, CONFIDENCE);
            return Some(Comparison {
                value: subject.ns,
                interval,
                forms: forms(subject, None),
                is_beyond_bound: false,
            });
        }
        let references = measured(&self.references, outcomes, distance, statistic)?;
        let reference = references.iter().min_by(by_time)?;
        let ratio = Ratio::of(&statistic.of_restarts(reference.figures), &subject_restarts, CONFIDENCE);
        let is_beyond_bound = match self.goal {
            Goal::GrowthBelow { .. } => self.goal.compare(subject.ns, reference.ns) < -GROWTH_DOUBT_NS,
            _ if self.is_bound => Statistic::Median.of(subject.figures)? * (1.0 + ABOVE_BOUND_MAX) < reference.ns,
            _ => false,
        };
        Some(Comparison {
            value: self.goal.compare(subject.ns, reference.ns),
            interval: ratio.map(|ratio| self.goal.interval(ratio.interval, reference.ns)),
            forms: forms(subject, Some(reference)),
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

/// A case, what it takes in nanoseconds by some statistic, and all that was measured of it.
struct Measured<'a> {
    case: Case,
    ns: f64,
    figures: &'a Figures,
}

/// All of these cases. Each must have been measured often enough: else another could be better.
fn measured<'a>(
    cases: &[Case],
    outcomes: &'a [Outcome],
    distance: Distance,
    statistic: Statistic,
) -> Option<Vec<Measured<'a>>> {
    let of = |case: &Case| {
        let figures = &outcomes.iter().find(|outcome| outcome.case == *case)?.figures[distance as usize];
        Some(Measured { case: *case, ns: statistic.of(figures)?, figures })
    };
    cases.iter().map(of).collect()
}

/// The one whose quartiles are farthest apart, and their ratio.
fn most_uneven<'a, 'b>(all: &'b [Measured<'a>]) -> Option<(&'b Measured<'a>, f64)> {
    let unevenness = |measured: &Measured<'_>| measured.figures.quartiles().map(|each| each.high / each.low);
    let all = all.iter().filter_map(|measured| Some((measured, unevenness(measured)?)));
    all.max_by(|a, b| a.1.total_cmp(&b.1))
}

impl Measured<'_> {
    /// The interval of the worse quartile of a restart over the better one of all: a form may have one state in one
    /// restart and another in the next.
    fn unevenness_of_restarts(&self) -> Option<Interval> {
        let low = self.figures.quartiles()?.low;
        let uneven: Vec<f64> = self.figures.restarts.iter().map(|restart| restart.quartiles.high / low).collect();
        interval(&uneven, CONFIDENCE)
    }
}

fn raw(mode: RawMode, len: usize) -> Case {
    Case::OneWay(Carrier::Raw(mode), len)
}

fn fdring(sending: Sending, reading: Reading, len: usize) -> Case {
    Case::OneWay(Carrier::Fdring(sending, reading, Align::Words), len)
}

/// All targets that can be judged where these cases are planned.
pub(crate) fn targets(planned: &[Case]) -> Vec<Target> {
    let mut targets = Vec::new();
    best_forms(planned, &mut targets);
    small_records(planned, &mut targets);
    copied_out(&mut targets);
    far(planned, &mut targets);
    every_form(planned, &mut targets);
    round_trips(&mut targets);
    others(&mut targets);
    against_peers(planned, &mut targets);
    targets
}

fn rate(what: impl Into<String>, subjects: Vec<Case>, references: Vec<Case>, goal: f64) -> Target {
    let is_bound = references.iter().all(|case| case.contender() == "raw ring");
    let (goal, statistic, pick) = (Goal::RateAtLeast(goal), Statistic::Median, Pick::Best);
    Target { what: what.into(), subjects, references, statistic, goal, is_bound, pick, distance: None }
}

/// The same between near cores alone.
fn near(what: impl Into<String>, subjects: Vec<Case>, references: Vec<Case>, goal: f64) -> Target {
    Target { distance: Some(Distance::Near), ..rate(what, subjects, references, goal) }
}

/// A rate next to that of what may be better or worse, both in their best state.
fn rival(what: impl Into<String>, subjects: Vec<Case>, references: Vec<Case>, goal: f64) -> Target {
    Target { statistic: Statistic::BestState, is_bound: false, ..rate(what, subjects, references, goal) }
}

/// The ceilings of all of these, each once.
fn ceilings_of(subjects: &[Case]) -> Vec<Case> {
    let mut ceilings: Vec<Case> = Vec::new();
    for ceiling in subjects.iter().flat_map(|subject| subject.ceilings()) {
        if !ceilings.contains(&ceiling) {
            ceilings.push(ceiling);
        }
    }
    ceilings
}

/// The planned forms of fdring that carry records of `len` bytes one way and are read in place, on threads: those of
/// tasks have targets of their own.
fn in_place(planned: &[Case], len: usize) -> impl Iterator<Item = Case> + '_ {
    planned.iter().copied().filter(move |case| match case {
        Case::OneWay(Carrier::Fdring(_, reading, _), each) => {
            *each == len && !reading.copies() && !matches!(reading, Reading::InTask(_))
        }
        _ => false,
    })
}

/// The best form at every length, next to the ceiling: near, where the work is what is measured, and not the lines.
fn best_forms(planned: &[Case], targets: &mut Vec<Target>) {
    for len in LENGTHS {
        // Of single words the best form is slices; elsewhere like is compared with like.
        let is_of_row = |case: &Case| case.carries_slices() == (len == 8);
        let subjects: Vec<Case> = in_place(planned, len).filter(is_of_row).collect();
        if subjects.is_empty() {
            continue;
        }
        let references = ceilings_of(&subjects);
        let form = if len == 8 { "slices of values, the best form" } else { "the best form in place" };
        let goal = if matches!(len, 56 | 64) { 0.9 } else { 0.95 };
        targets.push(near(format!("{}, {form} / the ceiling", Bytes(len)), subjects, references, goal));
    }
}

fn small_records(planned: &[Case], targets: &mut Vec<Target>) {
    let slices = |values, len| vec![fdring(Sending::Slices(values), Reading::InPlace, len)];
    for len in [56, 64] {
        let each: Vec<Case> =
            in_place(planned, len).filter(|case| case.publishes_each() && !case.carries_slices()).collect();
        if each.is_empty() {
            continue;
        }
        let rings = vec![raw(RawMode::Each, len), raw(RawMode::EachHeld, len)];
        let what = |than| format!("{}, each published, in place / {than}", Bytes(len));
        let of_near = |target| Target { distance: Some(Distance::Near), ..target };
        targets.push(of_near(rival(what("the best raw ring that publishes each"), each.clone(), rings, 1.0)));
        if len == PING_BYTES {
            let slots = vec![raw(RawMode::Slots, len)];
            targets.push(of_near(rival(what("raw slots that say themselves that they are full"), each, slots, 0.9)));
        }
    }
    targets.push(rate(
        "slices of 32 × 64 B / rtrb in chunks of 32, in-process",
        slices(BATCH, 64),
        vec![Case::OneWay(Carrier::InProcess(Queue::Rtrb), 64)],
        0.95,
    ));
    targets.push(rate("slices of 32 × 64 B / the ceiling", slices(BATCH, 64), ceilings_of(&slices(BATCH, 64)), 0.75));
    let batches = |sending| move |reading| fdring(sending, reading, 8);
    let of_words = [Reading::InPlace, Reading::InRuns].map(batches(Sending::Batch)).into_iter();
    targets.push(rate(
        "8 B, batches of 32 / the best raw ring of bare 8 B slots, a record each",
        of_words.chain([fdring(Sending::Filled, Reading::InRuns, 8)]).collect(),
        Case::bare_rings(8).into_iter().filter(|case| !case.carries_slices()).collect(),
        0.6,
    ));
}

/// Records that are copied out, next to the same read in place, and to what a memcpy of each brings.
fn copied_out(targets: &mut Vec<Target>) {
    use Reading::{Copied, CopiedInRuns, InPlace, InRuns};
    use Sending::{Batch, Filled, Reserve, Send, Slices};
    for len in [64, 256, 1024, 4 << 10, 16 << 10, 64 << 10] {
        let forms = |each: Reading, in_runs: Reading| {
            let mut forms = vec![fdring(Send, each, len), fdring(Reserve, each, len)];
            if len <= BATCHED_LEN_MAX {
                forms.extend([fdring(Batch, each, len), fdring(Batch, in_runs, len), fdring(Filled, in_runs, len)]);
            }
            if len == 64 {
                forms.push(fdring(Slices(BATCH), each, len));
            }
            if (256..=BATCHED_LEN_MAX).contains(&len) {
                forms.push(Case::OneWay(Carrier::Fdring(Batch, in_runs, Align::Payloads), len));
            }
            if len > BATCHED_LEN_MAX {
                forms.push(Case::OneWay(Carrier::Fdring(Reserve, each, Align::Payloads), len));
            }
            forms
        };
        let (copied, in_place) = (forms(Copied, CopiedInRuns), forms(InPlace, InRuns));
        let what = |than: &str| format!("{}, copied out / {than}", Bytes(len));
        let bounded = rate(what("in place, the best form of each"), copied.clone(), in_place, 0.7);
        targets.push(Target { is_bound: true, ..bounded });
        // A memcpy is no bound: a copy by other instructions may be quicker.
        targets.push(rival(what("raw ring, copied out by memcpy"), copied, vec![raw(RawMode::Copied, len)], 0.95));
    }
}

/// Payloads of 4 KiB and more between far cores, where the lines that go over are what is waited for.
fn far(planned: &[Case], targets: &mut Vec<Target>) {
    for len in [4 << 10, 64 << 10, 1 << 20] {
        let of_len = |case: &Case| matches!(case, Case::OneWay(_, each) if *each == len) && !case.carries_slices();
        let sent = vec![fdring(Sending::Send, Reading::Copied, len)];
        let mut rows = Vec::new();
        let channels = ChannelKind::ALL.map(|kind| Case::OneWay(Carrier::Channel(kind), len));
        let peers: Vec<Case> = planned.iter().copied().filter(|case| of_len(case) && case.own().is_some()).collect();
        let than =
            if peers.is_empty() { "the best of pipes and sockets" } else { "the best of libraries, pipes and sockets" };
        let what = |how: &str, than: &str| format!("far, {}, {how} / {than}", Bytes(len));
        let others = channels.into_iter().chain(peers).collect();
        rows.push(rival(what("sent and copied out", than), sent.clone(), others, 1.0));
        if STREAMS {
            let streamed = vec![raw(RawMode::Streamed, len)];
            rows.push(rival(what("sent and copied out", "raw ring, streaming stores"), sent, streamed, 0.85));
        }
        let is_written = |case: &Case| !matches!(case, Case::OneWay(Carrier::Fdring(Sending::Send, ..), _));
        let written: Vec<Case> = in_place(planned, len).filter(|case| of_len(case) && is_written(case)).collect();
        if !written.is_empty() {
            let rings = ceilings_of(&written);
            rows.push(rival(
                what("written and read in place", "the best raw ring of the same capacity"),
                written,
                rings,
                1.0,
            ));
        }
        targets.extend(rows.into_iter().map(|row| Target { distance: Some(Distance::Far), ..row }));
    }
}

/// The longest that the worse quartile of a form may take, over the better one: a form beyond it has two states.
const UNEVENNESS_MAX: f64 = 1.5;

/// Every form at one length and of one batch: none falls far behind the best, and none has two states.
fn every_form(planned: &[Case], targets: &mut Vec<Target>) {
    for (len, is_each) in LENGTHS.into_iter().flat_map(|len| [(len, true), (len, false)]) {
        let is_of_row = |case: &Case| !case.carries_slices() && case.publishes_each() == is_each;
        let forms: Vec<Case> = in_place(planned, len).filter(is_of_row).collect();
        if forms.len() < 2 {
            continue;
        }
        let sent = if is_each { "each published" } else { "batches of 32" };
        let what = |what: &str| format!("{}, {sent}, in place: {what}", Bytes(len));
        let slowest = rate(what("the slowest form / the best"), forms.clone(), forms.clone(), 0.6);
        targets.push(Target { pick: Pick::Slowest, ..slowest });
        let uneven = rate(what("a form's worse quartile / its better one, of times"), forms, Vec::new(), 1.0);
        let goal = Goal::TimeAtMost(UNEVENNESS_MAX);
        targets.push(Target { pick: Pick::MostUneven, goal, is_bound: false, ..uneven });
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
        let is_median = statistic == Statistic::Median;
        targets.push(Target {
            what: format!("round trip of {}, both spinning, {name} / the ceiling", Bytes(len)),
            subjects: spinning(Bouncer::Fdring(Reading::InPlace), len),
            references: spinning(Bouncer::Fdring(Reading::InPlace), len)[0].ceilings(),
            statistic,
            goal: Goal::TimeAtMost(if is_median { 1.15 } else { 1.3 }),
            is_bound: is_median,
            pick: Pick::Best,
            distance: None,
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
                pick: Pick::Best,
                distance: None,
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
        pick: Pick::Best,
        distance: None,
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
        pick: Pick::Best,
        distance: None,
    };
    let connecting = [vec![Case::Connect(Bouncer::Fdring(Reading::InPlace))], Vec::new()];
    let living = [Life::Client, Life::Empty].map(|life| vec![Case::Life(life)]);
    targets.extend([
        target("connect to first record, ns", connecting, Goal::NsAtMost(250_000.0)),
        target("a client's whole life, all of it, ns", [living[0].clone(), Vec::new()], Goal::NsAtMost(1e6)),
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
            pick: Pick::Best,
            distance: None,
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
            pick: Pick::Best,
            distance: None,
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
                pick: Pick::Best,
                distance: None,
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
            pick: Pick::Best,
            distance: None,
        });
    }
}

/// fdring's best against the best of the other libraries, at every size and in every quantile. Slices of many values in
/// one record are left out: no other is measured with them.
fn against_peers(planned: &[Case], targets: &mut Vec<Target>) {
    let peers: Vec<Case> = planned.iter().copied().filter(|case| case.own().is_some()).collect();
    for len in LENGTHS {
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
                pick: Pick::Best,
                distance: None,
            });
        }
        let (what, goal) = (what("the best of the other libraries"), Goal::RateAtLeast(1.0));
        targets.push(Target {
            what,
            subjects,
            references,
            statistic,
            goal,
            is_bound: false,
            pick: Pick::Best,
            distance: None,
        });
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
            pick: Pick::Best,
            distance: None,
        });
    }
    for (statistic, name) in QUANTILES {
        targets.push(Target {
            what: format!("round trip of 56 B, both spinning, {name} / the best of the other libraries"),
            subjects: vec![Case::RoundTrip(Bouncer::Fdring(Reading::InPlace), Waiting::Spinning, PING_BYTES)],
            references: references.clone(),
            statistic,
            goal: Goal::TimeAtMost(1.05),
            is_bound: false,
            pick: Pick::Best,
            distance: None,
        });
    }
}
