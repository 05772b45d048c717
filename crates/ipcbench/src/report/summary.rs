//! What a reader wants to know first: fdring, the ceiling, the best other library and the best channel of the kernel.
//!
//! A contender that has too few slices at a distance is left out there. Only like is compared with like: slices of many
//! values in one record stand in a line of their own.

use super::html::escape;
use super::{Run, Table, Unit, short_ns};
use crate::contender::Waiting;
use crate::distance::Distance;
use crate::measure::SLICES_MIN;
use crate::payload::{Bytes, PING_BYTES};
use crate::plan::{Align, BATCH, Bouncer, Carrier, Case, Reading, Sending};
use crate::stats::short;
use std::fmt::Write;

/// How the table is to be read.
pub(super) const MEANING: &str = "Each at its best form; the form is told where the pointer rests on a figure. The \
    ceiling is the best bare ring of that size in its best state, and where both sleep an eventfd or a futex; what has \
    fewer than ten slices is left out. In the chart, lines are solid where the cores are near, and \
    dashed where they are far.";

/// What stands there instead, where nothing was measured often enough.
pub(super) const TOO_LITTLE: &str = "Nothing of the first chart and table was measured often enough: what has fewer \
    than ten slices is left out there. Measure for longer (--seconds), or when the machine is quiet.";

/// Who stands in the table and the chart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Party {
    /// The best bare ring, or what comes nearest to nothing where both sides sleep, in its best state.
    Ceiling,
    Fdring,
    /// The best of the contenders from outside.
    Library,
    Kernel,
}

impl Party {
    pub(super) const ALL: [Self; 4] = [Self::Ceiling, Self::Fdring, Self::Library, Self::Kernel];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Ceiling => "ceiling",
            Self::Fdring => "fdring",
            Self::Library => "best other library",
            Self::Kernel => "best of the kernel",
        }
    }

    /// Whether a case is one of theirs, in the measure that this sample is of.
    fn has(self, case: Case, sample: Case) -> bool {
        let is_like = case.is_like(sample);
        match self {
            Self::Ceiling => match sample {
                // fdring's best may be what copies a finished record, and so may the ceiling be.
                Case::OneWay(_, len) => Case::bare_rings(len).contains(&case),
                _ => sample.ceilings().contains(&case),
            },
            Self::Fdring => is_like && case.is_fdring(),
            Self::Library => is_like && case.own().is_some(),
            Self::Kernel => {
                let channel = matches!(case, Case::OneWay(Carrier::Channel(_), _));
                is_like && (channel || matches!(case, Case::RoundTrip(Bouncer::Channel(_), ..)))
            }
        }
    }
}

/// What is told of a case.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Told {
    /// The median over slices, and of the ceiling its best state.
    Typical,
    P99,
}

/// A line of the table.
struct Line {
    name: String,
    /// One case of its measure, which says what is like it.
    sample: Case,
    told: Told,
}

/// The lengths of the table, in bytes.
const SUMMARY_LENGTHS: [usize; 8] = [8, 64, 256, 1 << 10, 4 << 10, 16 << 10, 64 << 10, 1 << 20];

/// One fdring case of those lengths, with one value a record or several.
pub(super) fn one_way(len: usize, slices: Option<u64>) -> Case {
    let sending = slices.map_or(Sending::Reserve, Sending::Slices);
    Case::OneWay(Carrier::Fdring(sending, Reading::InPlace, Align::Words), len)
}

fn trip(waiting: Waiting) -> Case {
    Case::RoundTrip(Bouncer::Fdring(Reading::InPlace), waiting, PING_BYTES)
}

/// The table's lines.
fn lines() -> Vec<Line> {
    let line = |name: String, sample, told| Line { name, sample, told };
    let mut lines = vec![line("8 B, slices of values, M/s".to_owned(), one_way(8, Some(BATCH)), Told::Typical)];
    for len in SUMMARY_LENGTHS {
        let sample = one_way(len, None);
        lines.push(line(format!("{}, {}", Bytes(len), Unit::of(sample).name()), sample, Told::Typical));
    }
    lines.push(line("round trip of 56 B, ns: p50".to_owned(), trip(Waiting::Spinning), Told::Typical));
    lines.push(line("the same, p99".to_owned(), trip(Waiting::Spinning), Told::P99));
    lines.push(line("both asleep in between, ns: p50".to_owned(), trip(Waiting::Asleep), Told::Typical));
    lines
}

/// The best of a party in a measure: its case, and what it takes in nanoseconds.
pub(super) fn best(
    run: &Run<'_>,
    party: Party,
    (sample, told): (Case, Told),
    distance: Distance,
) -> Option<(Case, f64)> {
    let ns = |case: Case| {
        let figures = run.figures(case, distance).filter(|figures| figures.slices.len() >= SLICES_MIN)?;
        let quartiles = figures.quartiles()?;
        match told {
            Told::P99 => figures.quantile(0.99),
            Told::Typical if party == Party::Ceiling => Some(quartiles.low),
            Told::Typical => Some(quartiles.median),
        }
    };
    let cases = run.outcomes().iter().map(|outcome| outcome.case).filter(|case| party.has(*case, sample));
    cases.filter_map(|case| Some((case, ns(case)?))).min_by(|a, b| a.1.total_cmp(&b.1))
}

/// The distances at which something of it was measured often enough.
pub(super) fn distances(run: &Run<'_>) -> Vec<Distance> {
    let is_measured = |distance: &Distance| {
        let lines = lines();
        let mut cells = lines.iter().flat_map(|line| Party::ALL.map(|party| (party, (line.sample, line.told))));
        cells.any(|(party, line)| best(run, party, line, *distance).is_some())
    };
    Distance::ALL.into_iter().filter(is_measured).collect()
}

/// What stands in the table: the lines of which anything was measured, with a cell for each party at each distance.
struct Content {
    distances: Vec<Distance>,
    parties: Vec<Party>,
    lines: Vec<(String, Vec<Option<Cell>>)>,
}

/// A figure of the table.
struct Cell {
    figure: String,
    /// Whose it is, if that is of interest: the form of the others stands in the tables.
    whose: Option<&'static str>,
    form: String,
}

impl Content {
    /// `None` if nothing was measured often enough.
    fn of(run: &Run<'_>) -> Option<Self> {
        let (distances, lines) = (distances(run), lines());
        let is_there = |party: &Party| {
            let mut cells = lines.iter().flat_map(|line| distances.iter().map(move |distance| (line, *distance)));
            cells.any(|(line, distance)| best(run, *party, (line.sample, line.told), distance).is_some())
        };
        let parties: Vec<Party> = Party::ALL.into_iter().filter(is_there).collect();
        let of_line = |line: &Line| {
            let places = distances.iter().flat_map(|distance| parties.iter().map(move |party| (*party, *distance)));
            let cells: Vec<Option<Cell>> = places.map(|(party, distance)| cell(run, party, line, distance)).collect();
            cells.iter().any(Option::is_some).then(|| (line.name.clone(), cells))
        };
        let lines: Vec<(String, Vec<Option<Cell>>)> = lines.iter().filter_map(of_line).collect();
        (!parties.is_empty()).then_some(Self { distances, parties, lines })
    }
}

/// The table on a page.
pub(super) fn table(page: &mut String, run: &Run<'_>) {
    let Some(Content { distances, parties, lines }) = Content::of(run) else { return };
    page.push_str("<div class=\"wide\"><table class=\"summary\"><tr><th></th>");
    for distance in &distances {
        let share = run.collected.tally.kept[*distance as usize];
        let _ = write!(
            page,
            "<th class=\"split\" colspan=\"{}\">cores {}, {share} slices</th>",
            parties.len(),
            distance.name()
        );
    }
    page.push_str("</tr><tr><th></th>");
    let class = |index: usize| if index.is_multiple_of(parties.len()) { "split" } else { "" };
    for (index, party) in distances.iter().flat_map(|_| &parties).enumerate() {
        let _ = write!(page, "<th class=\"{}\">{}</th>", class(index), party.name());
    }
    page.push_str("</tr>");
    for (name, cells) in &lines {
        let _ = write!(page, "<tr><td>{name}</td>");
        for (index, cell) in cells.iter().enumerate() {
            let Some(Cell { figure, whose, form }) = cell else {
                let _ = write!(page, "<td class=\"{}\">–</td>", class(index));
                continue;
            };
            let whose =
                whose.map_or_else(String::new, |name| format!(" <span class=\"range\">{}</span>", escape(name)));
            let (class, title) = (class(index), escape(form));
            let _ = write!(page, "<td class=\"{class}\" title=\"{title}\">{figure}{whose}</td>");
        }
        page.push_str("</tr>");
    }
    page.push_str("</table></div>");
}

/// The table on a terminal; `None` if nothing was measured often enough.
pub(super) fn text(run: &Run<'_>) -> Option<String> {
    let Content { distances, parties, lines } = Content::of(run)?;
    let of_distance = |distance: &Distance| {
        let name = distance.name();
        let named = parties.iter().enumerate().map(move |(index, party)| match index {
            0 => format!("{name}: {}", party.name()),
            _ => party.name().to_owned(),
        });
        named.collect::<Vec<String>>()
    };
    let heading = [String::new()].into_iter().chain(distances.iter().flat_map(of_distance));
    let shown = |cell: Option<Cell>| match cell {
        None => "–".to_owned(),
        Some(Cell { figure, whose: Some(whose), .. }) => format!("{figure} {whose}"),
        Some(Cell { figure, .. }) => figure,
    };
    let rows = lines.into_iter().map(|(name, cells)| [name].into_iter().chain(cells.into_iter().map(shown)).collect());
    Some(format!("\n{}{ON_A_TERMINAL}\n", Table::new(heading).rows(rows)))
}

/// How the table on a terminal is to be read.
const ON_A_TERMINAL: &str = "Each at its best form; the ceiling is the best bare ring in its best state, and of \
    sleepers an eventfd or a futex.";

/// A cell, if enough was measured of it.
fn cell(run: &Run<'_>, party: Party, line: &Line, distance: Distance) -> Option<Cell> {
    let (case, ns) = best(run, party, (line.sample, line.told), distance)?;
    let whose = matches!(party, Party::Library | Party::Kernel).then(|| case.contender());
    Some(Cell { figure: Unit::of(line.sample).show(case, ns), whose, form: case.to_string() })
}

/// What the table means where most was measured, in three sentences at most.
pub(super) fn sentences(run: &Run<'_>) -> Vec<String> {
    let distance = run.usual_distance();
    let place = format!("Where the cores are {}", distance.name());
    let of_fdring = |line: &Line, told| best(run, Party::Fdring, (line.sample, told), distance).map(|(_, ns)| ns);
    let lines = lines();
    let wanted = |sample: Case, told| lines.iter().find(|line| line.sample == sample && line.told == told);
    let carries = |whence: &str, len: usize| {
        let line = wanted(one_way(len, None), Told::Typical)?;
        let (ns, unit) = (of_fdring(line, Told::Typical)?, Unit::of(line.sample));
        let (rate, others) = (unit.show(line.sample, ns), comparisons(run, line, ns, distance));
        Some(format!("{whence} carries {rate} {} in records of {}{others}.", unit.name(), Bytes(len)))
    };
    let trip = || {
        let line = wanted(trip(Waiting::Spinning), Told::Typical)?;
        let ns = of_fdring(line, Told::Typical)?;
        let p99 = of_fdring(line, Told::P99).map_or_else(String::new, |ns| format!(" (p99 {})", short_ns(ns)));
        let others = comparisons(run, line, ns, distance);
        Some(format!("A round trip of {} takes {} ns{p99} there{others}.", Bytes(PING_BYTES), short_ns(ns)))
    };
    [carries(&format!("{place}, fdring"), 64), carries("It", 64 << 10), trip()].into_iter().flatten().collect()
}

/// How a case compares with the others of its line: by rates, or by times where its unit is one.
fn comparisons(run: &Run<'_>, line: &Line, ns: f64, distance: Distance) -> String {
    let is_time = Unit::of(line.sample) == Unit::Ns;
    let parts = [Party::Ceiling, Party::Library, Party::Kernel].into_iter().filter_map(|party| {
        let (case, other_ns) = best(run, party, (line.sample, line.told), distance)?;
        let name = if party == Party::Ceiling { "the best bare ring" } else { case.contender() };
        Some(format!("{} × {name}", short(if is_time { ns / other_ns } else { other_ns / ns })))
    });
    let parts: Vec<String> = parts.collect();
    if parts.is_empty() { String::new() } else { format!(": {}", parts.join(", ")) }
}
