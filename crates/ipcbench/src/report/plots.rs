//! The plots: SVG, to stand inside a page.

use super::Run;
use super::summary::{Party, Told, best, one_way as one_way_case};
use crate::distance::Distance;
use crate::load::rate_name;
use crate::measure::{Figures, Outcome};
use crate::payload::{Bytes, LENGTHS};
use crate::plan::{BATCH, Carrier, Case, RawMode, Reading, Sending};
use crate::stats::quantile;
use plotters::prelude::{
    ChartBuilder, Circle, DashedLineSeries, DrawingAreaErrorKind, IntoDrawingArea, IntoLogRange, LineSeries, RGBColor,
    SVGBackend, WHITE,
};
use plotters::style::Color;
use std::fmt::Display;

/// The size of a plot in the units of its SVG.
const SIZE: (u32, u32) = (640, 400);
/// The colours of contenders that everybody knows.
const KNOWN: [(&str, RGBColor); 7] = [
    ("fdring", RGBColor(0xd6, 0x27, 0x28)),
    ("raw ring", RGBColor(0x22, 0x22, 0x22)),
    ("pipe", RGBColor(0x2c, 0xa0, 0x2c)),
    ("Unix stream", RGBColor(0x94, 0x67, 0xbd)),
    ("Unix seqpacket", RGBColor(0x8c, 0x56, 0x4b)),
    ("rtrb", RGBColor(0x1f, 0x77, 0xb4)),
    ("crossbeam", RGBColor(0xff, 0x7f, 0x0e)),
];
/// Those of all others, in order.
const PALETTE: [RGBColor; 12] = [
    RGBColor(0x17, 0xbe, 0xcf),
    RGBColor(0xe3, 0x77, 0xc2),
    RGBColor(0xbc, 0xbd, 0x22),
    RGBColor(0x00, 0x55, 0x55),
    RGBColor(0x39, 0x3b, 0x79),
    RGBColor(0xc5, 0x1b, 0x7d),
    RGBColor(0x63, 0x79, 0x39),
    RGBColor(0xe7, 0xba, 0x52),
    RGBColor(0x5a, 0x2d, 0x91),
    RGBColor(0x84, 0x3c, 0x39),
    RGBColor(0x00, 0x8b, 0x45),
    RGBColor(0x7f, 0x7f, 0x7f),
];
/// Those of the parties of the summary, in their order.
const PARTIES: [RGBColor; 4] =
    [RGBColor(0x22, 0x22, 0x22), RGBColor(0xd6, 0x27, 0x28), RGBColor(0x3b, 0x4c, 0xc0), RGBColor(0x8a, 0x9a, 0x5b)];
/// How much lighter each further form of a contender is.
const SHADE: f64 = 0.16;

type DrawError = DrawingAreaErrorKind<std::io::Error>;

/// A line of a plot, with the name that its legend has.
pub(super) struct Series {
    pub(super) name: String,
    pub(super) colour: RGBColor,
    points: [Vec<(f64, f64)>; 2],
    is_dashed: bool,
}

impl Series {
    /// Whether it has any points.
    fn is_drawn(&self) -> bool {
        self.points.iter().any(|points| !points.is_empty())
    }
}

/// The colour of a contender, which it has in every plot; further forms of it are lighter.
fn colour(run: &Run<'_>, contender: &str, forms_before: usize) -> RGBColor {
    let known = KNOWN.iter().find(|(name, _)| *name == contender).map(|(_, colour)| *colour);
    let base = known.unwrap_or_else(|| {
        let mut others: Vec<&str> = Vec::new();
        for outcome in run.outcomes() {
            let name = outcome.case.contender();
            if !others.contains(&name) && KNOWN.iter().all(|(known, _)| *known != name) {
                others.push(name);
            }
        }
        PALETTE[others.iter().position(|name| *name == contender).unwrap_or(0) % PALETTE.len()]
    });
    let share = (forms_before as f64 * SHADE).min(0.75);
    let lighter = |channel: u8| (f64::from(channel) + (255.0 - f64::from(channel)) * share) as u8;
    RGBColor(lighter(base.0), lighter(base.1), lighter(base.2))
}

/// One plot for each distance at which something was measured, and what their lines mean.
pub(super) struct Plots {
    pub(super) svgs: Vec<String>,
    pub(super) legend: Vec<Series>,
}

/// Some cases of one contender, of which the best at each length is meant.
struct Group {
    name: String,
    contender: &'static str,
    cases: Vec<Case>,
}

/// One-way transfers by what `name` says of each; those of which it says nothing are left out.
fn one_way_groups(run: &Run<'_>, name: impl Fn(Carrier) -> Option<String>) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for outcome in run.outcomes() {
        let Case::OneWay(carrier, _) = outcome.case else { continue };
        let Some(name) = name(carrier) else { continue };
        match groups.iter_mut().find(|group| group.name == name) {
            Some(group) => group.cases.push(outcome.case),
            None => groups.push(Group { name, contender: outcome.case.contender(), cases: vec![outcome.case] }),
        }
    }
    groups
}

/// The groups that stand for the forms of the contenders.
fn form(carrier: Carrier) -> Option<String> {
    Some(match carrier {
        Carrier::Raw(RawMode::Held) => "raw ring, batches of 32".to_owned(),
        Carrier::Raw(RawMode::Each) => "raw ring, each published".to_owned(),
        Carrier::Raw(_) | Carrier::Fdring(Sending::Slices(_), Reading::Copied, _) => return None,
        Carrier::Fdring(Sending::Slices(_), ..) => "fdring, slices of values, in place".to_owned(),
        Carrier::Fdring(Sending::Batch | Sending::Filled, reading, _) if reading.copies() => {
            "fdring, batches, copied out".to_owned()
        }
        Carrier::Fdring(Sending::Batch | Sending::Filled, ..) => "fdring, batches, in place".to_owned(),
        Carrier::Fdring(_, reading, _) if reading.copies() => "fdring, each published, copied out".to_owned(),
        Carrier::Fdring(..) => "fdring, each published, in place".to_owned(),
        other => other.to_string(),
    })
}

/// The lengths that plots have: 56 B is of interest with a header, in the tables; in a plot it would be a kink beside
/// 64 B.
fn one_way_lengths() -> impl Iterator<Item = usize> {
    LENGTHS.into_iter().filter(|len| *len != 56)
}

/// The series of one-way transfers: a point for each length, `value` of the quickest case.
fn one_way(run: &Run<'_>, groups: Vec<Group>, value: impl Fn(Case, Distance) -> Option<f64>) -> Vec<Series> {
    let mut drawn: Vec<&str> = Vec::new();
    let mut series = Vec::new();
    for Group { name, contender, cases } in groups {
        let points = Distance::ALL.map(|distance| {
            let at = |len: usize| {
                let of_len = cases.iter().filter(|case| matches!(case, Case::OneWay(_, each) if *each == len));
                let best = of_len.filter_map(|case| value(*case, distance)).max_by(f64::total_cmp)?;
                Some(((len as f64).log2(), best))
            };
            one_way_lengths().filter_map(at).collect()
        });
        let forms_before = drawn.iter().filter(|each| **each == contender).count();
        drawn.push(contender);
        series.push(Series { colour: colour(run, contender, forms_before), name, points, is_dashed: false });
    }
    series
}

/// Throughput of a case in GB/s.
fn gigabytes(run: &Run<'_>, case: Case, distance: Distance) -> Option<f64> {
    let Case::OneWay(_, len) = case else { return None };
    Some(len as f64 / run.median(case, distance)?)
}

/// Throughput over size of fdring, its ceiling and the best of the others, near and far in one plot.
pub(super) fn summary(run: &Run<'_>) -> Result<Plots, DrawError> {
    let of = |party: Party, slices: Option<u64>| {
        Distance::ALL.map(|distance| {
            let at = |len: usize| {
                let (_, ns) = best(run, party, (one_way_case(len, slices), Told::Typical), distance)?;
                Some(((len as f64).log2(), len as f64 / ns))
            };
            one_way_lengths().filter_map(at).collect()
        })
    };
    let mut series: Vec<Series> = Vec::new();
    for (party, colour) in Party::ALL.into_iter().zip(PARTIES) {
        series.push(Series { name: party.name().to_owned(), colour, points: of(party, None), is_dashed: false });
    }
    let name = "fdring, slices of many values in a record".to_owned();
    let points = of(Party::Fdring, Some(BATCH));
    series.push(Series { name, colour: colour(run, "fdring", 2), points, is_dashed: false });
    series.retain(Series::is_drawn);
    let (low, high) = extent(&series);
    let svgs = match low < high {
        true => vec![draw_one(&series, &Distance::ALL, "GB/s", Axis::Lengths, low / 1.5..high * 1.5)?],
        false => Vec::new(),
    };
    Ok(Plots { svgs, legend: series })
}

/// Throughput over size, both on logarithmic axes.
pub(super) fn throughput(run: &Run<'_>) -> Result<Plots, DrawError> {
    let series = one_way(run, one_way_groups(run, form), |case, distance| gigabytes(run, case, distance));
    draw(series, "GB/s", Axis::Lengths)
}

/// The ratio to the ceiling over size.
pub(super) fn ratio(run: &Run<'_>) -> Result<Plots, DrawError> {
    let value = |case, distance| run.ratio_to_ceiling(case, distance);
    draw(one_way(run, one_way_groups(run, form), value), "share of the ceiling's rate", Axis::Lengths)
}

/// How the times of all contenders of one timed measure are distributed.
pub(super) fn distribution(run: &Run<'_>, measure: &str) -> Result<Plots, DrawError> {
    let of_measure =
        run.outcomes().iter().filter(|outcome| outcome.case.is_timed() && outcome.case.measure() == measure);
    let mut series: Vec<Series> = Vec::new();
    let mut drawn: Vec<&str> = Vec::new();
    for outcome in of_measure {
        let points = Distance::ALL.map(|distance| {
            let times = &outcome.figures[distance as usize].times;
            // One point for each sixteenth of a step by ten: 0 is the quickest, 1 is p90, 2 is p99. The last ten times
            // are too few to tell anything.
            let steps = (0..64).map(|step| f64::from(step) / 16.0);
            steps.filter_map(|nines| Some((nines, quantile(times, 1.0 - 10f64.powf(-nines))?.max(1.0)))).collect()
        });
        let contender = outcome.case.contender();
        let forms_before = drawn.iter().filter(|each| **each == contender).count();
        drawn.push(contender);
        let (name, colour) = (outcome.case.to_string(), colour(run, contender, forms_before));
        series.push(Series { name, colour, points, is_dashed: false });
    }
    draw(series, "ns", Axis::Nines)
}

/// The 99th percentile at each rate of the open loop; dashed, that of all times with those of slices thrown away.
pub(super) fn load(run: &Run<'_>) -> Result<Plots, DrawError> {
    let mut groups: Vec<(Case, Vec<(f64, &Outcome)>)> = Vec::new();
    for outcome in run.outcomes() {
        let Case::Load(_, load) = outcome.case else { continue };
        let at = (f64::from(load.rate).log10(), outcome);
        match groups.iter_mut().find(|(case, _)| case.to_string() == outcome.case.to_string()) {
            Some((_, points)) => points.push(at),
            None => groups.push((outcome.case, vec![at])),
        }
    }
    let mut series: Vec<Series> = Vec::new();
    let mut drawn: Vec<&str> = Vec::new();
    let mut rates: Vec<f64> = Vec::new();
    for (case, mut outcomes) in groups {
        outcomes.sort_by(|a, b| a.0.total_cmp(&b.0));
        rates.extend(outcomes.iter().map(|(rate, _)| *rate));
        let points = |p99: &dyn Fn(&Figures) -> Option<f64>| {
            Distance::ALL.map(|distance| {
                let at = |(rate, outcome): &(f64, &Outcome)| {
                    Some((*rate, p99(&outcome.figures[distance as usize])?.max(1.0)))
                };
                outcomes.iter().filter_map(at).collect()
            })
        };
        let (kept, of_all) =
            (points(&|figures| figures.quantile(0.99)), points(&|figures| quantile(&figures.all_times, 0.99)));
        let forms_before = drawn.iter().filter(|each| **each == case.contender()).count();
        drawn.push(case.contender());
        let colour = colour(run, case.contender(), forms_before);
        series.push(Series { name: case.to_string(), colour, points: kept, is_dashed: false });
        series.push(Series { name: String::new(), colour, points: of_all, is_dashed: true });
    }
    let (low, high) = (rates.iter().copied().fold(8.0, f64::min), rates.iter().copied().fold(0.0, f64::max));
    draw(series, "p99 in ns", Axis::Rates(low - 0.2, high + 0.2))
}

/// What a plot's horizontal axis shows.
#[derive(Clone, Copy)]
enum Axis {
    Lengths,
    Nines,
    /// The logarithms of rates, from the lowest to the highest.
    Rates(f64, f64),
}

impl Axis {
    fn range(self) -> std::ops::Range<f64> {
        match self {
            Self::Lengths => 2.6..22.4,
            Self::Nines => 0.0..4.0,
            Self::Rates(low, high) => low..high,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Lengths => "length of a record",
            Self::Nines => "percentile",
            Self::Rates(..) => "records due a second",
        }
    }

    fn label(self, at: f64) -> String {
        match self {
            Self::Lengths => Bytes(at.exp2().round() as usize).to_string(),
            Self::Rates(..) => rate_name(10f64.powf(at)),
            Self::Nines if at < 0.01 => "quickest".to_owned(),
            Self::Nines => format!("p{}", trimmed(100.0 - 10f64.powf(2.0 - at))),
        }
    }
}

/// A number without zeros at its end.
fn trimmed(value: f64) -> impl Display {
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn draw(mut series: Vec<Series>, unit: &str, axis: Axis) -> Result<Plots, DrawError> {
    series.retain(Series::is_drawn);
    let (low, high) = extent(&series);
    let mut svgs = Vec::new();
    for distance in Distance::ALL {
        if series.iter().any(|series| !series.points[distance as usize].is_empty()) {
            svgs.push(draw_one(&series, &[distance], unit, axis, low / 1.5..high * 1.5)?);
        }
    }
    Ok(Plots { svgs, legend: series })
}

/// The lowest and the highest value of all.
fn extent(series: &[Series]) -> (f64, f64) {
    let values = || series.iter().flat_map(|series| series.points.iter().flatten()).map(|(_, value)| *value);
    (values().fold(f64::INFINITY, f64::min), values().fold(0.0, f64::max))
}

/// Draws these distances in one plot; if there are two, the second is dashed.
fn draw_one(
    series: &[Series],
    distances: &[Distance],
    unit: &str,
    axis: Axis,
    heights: std::ops::Range<f64>,
) -> Result<String, DrawError> {
    let mut svg = String::new();
    let names: Vec<&str> = distances.iter().map(|distance| distance.name()).collect();
    let caption = names.join(" (solid) and ") + if names.len() == 2 { " (dashed)" } else { "" };
    {
        let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        area.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(&area)
            .caption(caption, ("sans-serif", 16))
            .margin(8)
            .margin_right(24)
            .x_label_area_size(44)
            .y_label_area_size(68)
            .build_cartesian_2d(axis.range(), heights.log_scale())?;
        chart
            .configure_mesh()
            .x_labels(match axis {
                Axis::Lengths => 10,
                Axis::Nines => 5,
                // Powers of ten.
                Axis::Rates(..) => 3,
            })
            .x_desc(axis.name())
            .y_desc(unit)
            .axis_desc_style(("sans-serif", 14))
            .x_label_formatter(&|at| axis.label(*at))
            .y_label_formatter(&|value| trimmed(*value).to_string())
            .label_style(("sans-serif", 13))
            .light_line_style(RGBColor(0xf0, 0xf0, 0xf0))
            .bold_line_style(RGBColor(0xdd, 0xdd, 0xdd))
            .draw()?;
        let drawn = series.iter().flat_map(|series| {
            distances.iter().enumerate().map(move |(index, distance)| (series, index != 0, *distance))
        });
        for (Series { colour, points, name, is_dashed }, is_second, distance) in drawn {
            let points = &points[distance as usize];
            let is_wide = ["fdring", "raw ring", "ceiling"].iter().any(|known| name.starts_with(known));
            let style = colour.stroke_width(if is_wide { 3 } else { 2 });
            match *is_dashed || is_second {
                true => chart.draw_series(DashedLineSeries::new(points.iter().copied(), 8, 6, style))?,
                false => chart.draw_series(LineSeries::new(points.iter().copied(), style))?,
            };
            if !matches!(axis, Axis::Nines) {
                chart.draw_series(points.iter().map(|point| Circle::new(*point, 3, colour.filled())))?;
            }
        }
        area.present()?;
    }
    Ok(svg)
}
