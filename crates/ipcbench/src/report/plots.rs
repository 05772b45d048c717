//! The plots: SVG, to stand inside a page.

use super::Run;
use crate::distance::Distance;
use crate::payload::{Bytes, LENGTHS};
use crate::plan::{Carrier, Case, RawMode, Reading, Sending};
use crate::stats::quantile;
use plotters::prelude::{
    ChartBuilder, Circle, DrawingAreaErrorKind, IntoDrawingArea, IntoLogRange, LineSeries, RGBColor, SVGBackend, WHITE,
};
use plotters::style::Color;
use std::fmt::Display;

/// The size of a plot in the units of its SVG.
const SIZE: (u32, u32) = (640, 400);
const BLACK: RGBColor = RGBColor(0, 0, 0);
/// Colours that can be told apart, for all but the ceiling.
const PALETTE: [RGBColor; 22] = [
    RGBColor(0xd6, 0x27, 0x28),
    RGBColor(0x1f, 0x77, 0xb4),
    RGBColor(0x2c, 0xa0, 0x2c),
    RGBColor(0xff, 0x7f, 0x0e),
    RGBColor(0x94, 0x67, 0xbd),
    RGBColor(0x8c, 0x56, 0x4b),
    RGBColor(0xe3, 0x77, 0xc2),
    RGBColor(0x17, 0xbe, 0xcf),
    RGBColor(0xbc, 0xbd, 0x22),
    RGBColor(0x7f, 0x7f, 0x7f),
    RGBColor(0xff, 0x98, 0x96),
    RGBColor(0x00, 0x55, 0x55),
    RGBColor(0x39, 0x3b, 0x79),
    RGBColor(0x98, 0xdf, 0x8a),
    RGBColor(0xc5, 0x1b, 0x7d),
    RGBColor(0x84, 0x3c, 0x39),
    RGBColor(0x63, 0x79, 0x39),
    RGBColor(0xe7, 0xba, 0x52),
    RGBColor(0x9e, 0xda, 0xe5),
    RGBColor(0x5a, 0x2d, 0x91),
    RGBColor(0xc4, 0x9c, 0x94),
    RGBColor(0x00, 0x8b, 0x45),
];

type DrawError = DrawingAreaErrorKind<std::io::Error>;

/// A line of a plot, with the name that its legend has.
pub(super) struct Series {
    pub(super) name: String,
    pub(super) colour: RGBColor,
    points: [Vec<(f64, f64)>; 2],
}

/// One plot for each distance at which something was measured, and what their lines mean.
pub(super) struct Plots {
    pub(super) svgs: Vec<String>,
    pub(super) legend: Vec<Series>,
}

/// What is drawn of one-way transfers: a name, and the cases of which the best at each length is meant.
fn one_way_groups(run: &Run<'_>) -> Vec<(String, Vec<Case>)> {
    let mut groups: Vec<(String, Vec<Case>)> = Vec::new();
    for outcome in run.outcomes() {
        let Case::OneWay(carrier, _) = outcome.case else { continue };
        let name = match carrier {
            Carrier::Raw(RawMode::By32) => "raw ring, batches of 32".to_owned(),
            Carrier::Raw(RawMode::Each) => "raw ring, each published".to_owned(),
            Carrier::Raw(_) => continue,
            Carrier::Fdring(Sending::Slices(_), Reading::Copied, _) => continue,
            Carrier::Fdring(Sending::Slices(_), ..) => "fdring, slices of values, in place".to_owned(),
            Carrier::Fdring(Sending::Batch | Sending::Filled, reading, _) if reading.copies() => {
                "fdring, batches, copied out".to_owned()
            }
            Carrier::Fdring(Sending::Batch | Sending::Filled, ..) => "fdring, batches, in place".to_owned(),
            Carrier::Fdring(_, reading, _) if reading.copies() => "fdring, each published, copied out".to_owned(),
            Carrier::Fdring(..) => "fdring, each published, in place".to_owned(),
            other => other.to_string(),
        };
        match groups.iter_mut().find(|(each, _)| *each == name) {
            Some((_, cases)) => cases.push(outcome.case),
            None => groups.push((name, vec![outcome.case])),
        }
    }
    groups
}

fn colour(index: usize, name: &str) -> RGBColor {
    match name {
        "raw ring, batches of 32" | "cache line" => BLACK,
        "raw ring, each published" | "raw ring" => RGBColor(0x99, 0x99, 0x99),
        _ => PALETTE[index % PALETTE.len()],
    }
}

/// The series of one-way transfers: a point for each length, `value` of the quickest case.
fn one_way(run: &Run<'_>, value: impl Fn(Case, Distance) -> Option<f64>) -> Vec<Series> {
    let mut series = Vec::new();
    for (name, cases) in one_way_groups(run) {
        let points = Distance::ALL.map(|distance| {
            let at = |len: usize| {
                let of_len = cases.iter().filter(|case| matches!(case, Case::OneWay(_, each) if *each == len));
                let best = of_len.filter_map(|case| value(*case, distance)).max_by(f64::total_cmp)?;
                Some(((len as f64).log2(), best))
            };
            // 56 B is of interest with a header, in the tables; here it would be a kink beside 64 B.
            LENGTHS.into_iter().filter(|len| *len != 56).filter_map(at).collect()
        });
        let drawn = series.iter().filter(|each: &&Series| each.name.starts_with("raw") == name.starts_with("raw"));
        let colour = colour(drawn.count(), &name);
        series.push(Series { name, colour, points });
    }
    series
}

/// Throughput over size, both on logarithmic axes.
pub(super) fn throughput(run: &Run<'_>) -> Result<Plots, DrawError> {
    let value = |case: Case, distance| {
        let Case::OneWay(_, len) = case else { return None };
        Some(len as f64 / run.median(case, distance)?)
    };
    draw(one_way(run, value), "GB/s", Axis::Lengths)
}

/// The ratio to the ceiling over size.
pub(super) fn ratio(run: &Run<'_>) -> Result<Plots, DrawError> {
    draw(one_way(run, |case, distance| run.ratio_to_ceiling(case, distance)), "× the ceiling's rate", Axis::Lengths)
}

/// How the times of all contenders of one timed measure are distributed.
pub(super) fn distribution(run: &Run<'_>, measure: &str) -> Result<Plots, DrawError> {
    let of_measure =
        run.outcomes().iter().filter(|outcome| outcome.case.is_timed() && outcome.case.measure() == measure);
    let mut series: Vec<Series> = Vec::new();
    for outcome in of_measure {
        let points = Distance::ALL.map(|distance| {
            let times = &outcome.figures[distance as usize].times;
            // One point for each sixteenth of a step by ten: 0 is the quickest, 1 is p90, 2 is p99. The last ten times
            // are too few to tell anything.
            let steps = (0..64).map(|step| f64::from(step) / 16.0);
            steps.filter_map(|nines| Some((nines, quantile(times, 1.0 - 10f64.powf(-nines))?.max(1.0)))).collect()
        });
        let name = outcome.case.to_string();
        let colour = colour(series.len(), &name);
        series.push(Series { name, colour, points });
    }
    draw(series, "ns", Axis::Nines)
}

/// What a plot's horizontal axis shows.
#[derive(Clone, Copy)]
enum Axis {
    Lengths,
    Nines,
}

impl Axis {
    fn range(self) -> std::ops::Range<f64> {
        match self {
            Self::Lengths => 2.6..22.4,
            Self::Nines => 0.0..4.0,
        }
    }

    fn label(self, at: f64) -> String {
        match self {
            Self::Lengths => Bytes(at.exp2().round() as usize).to_string(),
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

fn draw(series: Vec<Series>, unit: &str, axis: Axis) -> Result<Plots, DrawError> {
    let values = || series.iter().flat_map(|series| series.points.iter().flatten()).map(|(_, value)| *value);
    let (low, high) = (values().fold(f64::INFINITY, f64::min), values().fold(0.0, f64::max));
    let mut svgs = Vec::new();
    for distance in Distance::ALL {
        if series.iter().any(|series| !series.points[distance as usize].is_empty()) {
            let caption = format!("{}, {unit}", if distance == Distance::Near { "near" } else { "far" });
            svgs.push(draw_one(&series, distance, &caption, axis, low / 1.5..high * 1.5)?);
        }
    }
    Ok(Plots { svgs, legend: series })
}

fn draw_one(
    series: &[Series],
    distance: Distance,
    caption: &str,
    axis: Axis,
    heights: std::ops::Range<f64>,
) -> Result<String, DrawError> {
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        area.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(&area)
            .caption(caption, ("sans-serif", 16))
            .margin(8)
            .margin_right(24)
            .x_label_area_size(28)
            .y_label_area_size(56)
            .build_cartesian_2d(axis.range(), heights.log_scale())?;
        chart
            .configure_mesh()
            .x_labels(if matches!(axis, Axis::Nines) { 5 } else { 10 })
            .x_label_formatter(&|at| axis.label(*at))
            .y_label_formatter(&|value| trimmed(*value).to_string())
            .label_style(("sans-serif", 13))
            .light_line_style(RGBColor(0xf0, 0xf0, 0xf0))
            .bold_line_style(RGBColor(0xdd, 0xdd, 0xdd))
            .draw()?;
        for Series { colour, points, name } in series {
            let points = &points[distance as usize];
            let width = if name.starts_with("fdring") || *colour == BLACK { 3 } else { 2 };
            chart.draw_series(LineSeries::new(points.iter().copied(), colour.stroke_width(width)))?;
            if matches!(axis, Axis::Lengths) {
                chart.draw_series(points.iter().map(|point| Circle::new(*point, 3, colour.filled())))?;
            }
        }
        area.present()?;
    }
    Ok(svg)
}
