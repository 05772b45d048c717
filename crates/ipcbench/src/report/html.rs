//! The page: one file without scripts, with everything inside.

use super::plots::{self, Plots};
use super::{Run, SLICES_MIN, Unit, short_count, short_ns};
use crate::distance::Distance;
use crate::measure::Outcome;
use crate::stats::{longest, short};
use crate::targets::Judgement;
use std::error::Error;
use std::fmt::Write;

const STYLE: &str = "
body { font: 15px/1.45 system-ui, sans-serif; color: #222; max-width: 1340px; margin: 2em auto; padding: 0 1em }
h1 { font-size: 1.6em } h2 { font-size: 1.25em; margin-top: 2em; border-bottom: 1px solid #ddd }
p.machine, p.note { color: #555 } p.warning { background: #fff3cd; padding: .4em .8em; border-radius: 4px }
.plots { display: flex; flex-wrap: wrap; gap: 12px } .plots svg { max-width: 100%; height: auto }
.legend { display: flex; flex-wrap: wrap; gap: 4px 18px; margin: .3em 0 1em }
.legend span::before { content: ''; display: inline-block; width: 14px; height: 4px; margin: 0 6px 3px 0;
  background: var(--colour) }
table { border-collapse: collapse; margin: .5em 0 1.5em; font-variant-numeric: tabular-nums }
th, td { padding: 2px 10px; text-align: right; border-bottom: 1px solid #eee } th { font-weight: 600; color: #555 }
td:first-child, th:first-child { text-align: left } tr.fdring td:first-child { font-weight: 600 }
td.split, th.split { border-left: 2px solid #ccc } .range { color: #888; font-size: .88em }
.reached { color: #146c2e; font-weight: 600 } .missed { color: #b3261e; font-weight: 600 } .unknown { color: #999 }
";

/// The whole page.
///
/// # Errors
///
/// Where a plot cannot be drawn.
pub(crate) fn html(run: &Run<'_>) -> Result<String, Box<dyn Error>> {
    let mut page = String::from("<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">");
    let _ = write!(page, "<title>fdring: a run of the benchmark</title><style>{STYLE}</style></head><body>");
    page.push_str("<h1>fdring: a run of the benchmark</h1>");
    let _ = write!(page, "<p class=\"machine\">{}</p>", escape(&run.machine.to_string()));
    if !run.others.is_empty() {
        let _ = write!(page, "<p class=\"machine\">Contenders from outside: {}</p>", escape(&run.others.join(", ")));
    }
    for warning in &run.warnings {
        let _ = write!(page, "<p class=\"warning\">{}</p>", escape(warning));
    }
    let _ = write!(page, "<p class=\"note\">{}</p>", escape(&run.method().join(" ")));
    targets(&mut page, run);
    figure(&mut page, "Throughput over the size of a record", &plots::throughput(run)?);
    figure(&mut page, "Ratio to the ceiling over the size of a record", &plots::ratio(run)?);
    let mut measures: Vec<String> = Vec::new();
    for outcome in run.outcomes().iter().filter(|outcome| outcome.case.is_timed()) {
        if !measures.contains(&outcome.case.measure()) {
            measures.push(outcome.case.measure());
        }
    }
    for measure in measures {
        figure(&mut page, &format!("Distribution: {measure}"), &plots::distribution(run, &measure)?);
    }
    counts(&mut page, run);
    page.push_str("<h2>All figures</h2>");
    for group in run.groups() {
        table(&mut page, run, &group[0].case.measure(), group);
    }
    page.push_str("</body></html>\n");
    Ok(page)
}

fn figure(page: &mut String, title: &str, plots: &Plots) {
    if plots.svgs.is_empty() {
        return;
    }
    let _ = write!(
        page,
        "<h2>{}</h2><div class=\"plots\">{}</div><div class=\"legend\">",
        escape(title),
        plots.svgs.concat()
    );
    for series in &plots.legend {
        let plotters::style::RGBColor(red, green, blue) = series.colour;
        let _ = write!(page, "<span style=\"--colour: rgb({red},{green},{blue})\">{}</span>", escape(&series.name));
    }
    page.push_str("</div>");
}

fn targets(page: &mut String, run: &Run<'_>) {
    let rows = run.targets();
    if rows.is_empty() {
        return;
    }
    page.push_str("<h2>Targets</h2><table><tr><th>what</th><th>target</th><th>near</th><th>far</th></tr>");
    for row in rows {
        let _ = write!(page, "<tr><td>{}</td><td>{}</td>", escape(&row.what), escape(&row.goal));
        for value in row.values {
            let (class, text) = match value {
                None => ("unknown", "not measured".to_owned()),
                Some((value, judgement)) => {
                    let class = if judgement == Judgement::Reached { "reached" } else { "missed" };
                    (class, format!("{} {}", short_count(value), judgement.name().to_lowercase()))
                }
            };
            let _ = write!(page, "<td class=\"{class}\">{text}</td>");
        }
        page.push_str("</tr>");
    }
    page.push_str("</table>");
}

fn counts(page: &mut String, run: &Run<'_>) {
    if run.census.counts.is_empty() {
        return;
    }
    page.push_str("<h2>Counted of an fdring producer and consumer</h2><table>");
    for count in &run.census.counts {
        let (what, value) = (escape(&count.what), short_count(count.value));
        let _ = write!(page, "<tr><td>{what}</td><td>{value} {}</td></tr>", escape(count.unit));
    }
    page.push_str("</table>");
}

fn table(page: &mut String, run: &Run<'_>, measure: &str, group: &[Outcome]) {
    let is_timed = group[0].case.is_timed();
    let columns: &[&str] =
        if is_timed { &["p50", "p90", "p99", "p99.9", "max"] } else { &[Unit::of(group[0].case).name()] };
    let _ = write!(page, "<table><tr><th>{}</th>", escape(measure));
    for distance in ["near", "far"] {
        for (index, column) in columns.iter().enumerate() {
            let (class, name) = if index == 0 {
                (" class=\"split\"", format!("{distance}: {column}"))
            } else {
                ("", (*column).to_owned())
            };
            let _ = write!(page, "<th{class}>{name}</th>");
        }
        page.push_str("<th>quartiles</th><th>ceil</th><th>fdring</th>");
    }
    page.push_str("</tr>");
    for outcome in group {
        let class = if outcome.case.is_fdring() { " class=\"fdring\"" } else { "" };
        let _ = write!(page, "<tr{class}><td>{}</td>", escape(&outcome.case.to_string()));
        for distance in Distance::ALL {
            cells(page, run, outcome, distance, columns.len());
        }
        page.push_str("</tr>");
    }
    page.push_str("</table>");
}

fn cells(page: &mut String, run: &Run<'_>, outcome: &Outcome, distance: Distance, columns: usize) {
    let figures = &outcome.figures[distance as usize];
    let Some(quartiles) = figures.quartiles() else {
        let _ = write!(page, "<td class=\"split unknown\">–</td>{}", "<td></td>".repeat(columns + 2));
        return;
    };
    let unit = Unit::of(outcome.case);
    let mark = if figures.slices.len() < SLICES_MIN { "?" } else { "" };
    if outcome.case.is_timed() {
        let quantiles = [0.5, 0.9, 0.99, 0.999].map(|share| figures.quantile(share));
        for (index, ns) in quantiles.into_iter().chain([longest(&figures.times)]).enumerate() {
            let class = if index == 0 { " class=\"split\"" } else { "" };
            let _ = write!(page, "<td{class}>{}{mark}</td>", ns.map_or_else(|| "–".to_owned(), short_ns));
        }
    } else {
        let _ = write!(page, "<td class=\"split\">{}{mark}</td>", unit.show(outcome.case, quartiles.median));
    }
    let _ = write!(page, "<td class=\"range\">{}</td>", unit.range(outcome.case, quartiles.low, quartiles.high));
    let to_fdring = run.ratio_to_fdring(outcome.case, distance).map_or_else(|| "–".to_owned(), short);
    for ratio in [run.ceiling_cell(outcome.case, distance), to_fdring] {
        let _ = write!(page, "<td>{ratio}</td>");
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
