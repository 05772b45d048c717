//! The page: one file without scripts, with everything inside.

use super::plots::{self, Plots};
use super::summary;
use super::{OF_ALL, Run, Unit, short_count};
use crate::distance::Distance;
use crate::measure::{Outcome, SLICES_MIN};
use crate::payload::Bytes;
use crate::plan::Case;
use crate::stats::{CONFIDENCE, interval, longest, quantile, short};
use crate::targets::Judgement;
use std::error::Error;
use std::fmt::Write;

const STYLE: &str = "
body { font: 15px/1.45 system-ui, sans-serif; color: #222; max-width: 1340px; margin: 2em auto; padding: 0 1em }
h1 { font-size: 1.6em } h2 { font-size: 1.25em; margin-top: 2em; border-bottom: 1px solid #ddd }
p.machine, p.note { color: #555 } p.warning, summary.warning {
  background: #fff3cd; padding: .4em .8em; border-radius: 4px }
.plots { display: flex; flex-wrap: wrap; gap: 12px } .plots svg { max-width: 100%; height: auto }
.legend { display: flex; flex-wrap: wrap; gap: 4px 18px; margin: .3em 0 1em }
.legend span::before { content: ''; display: inline-block; width: 14px; height: 4px; margin: 0 6px 3px 0;
  background: var(--colour) }
table { border-collapse: collapse; margin: .5em 0 1.5em; font-variant-numeric: tabular-nums }
th, td { padding: 2px 10px; text-align: right; border-bottom: 1px solid #eee } th { font-weight: 600; color: #555 }
td { white-space: nowrap } td:first-child, th:first-child { text-align: left }
tr.fdring td:first-child { font-weight: 600 }
td.split, th.split { border-left: 2px solid #ccc } .range { color: #888; font-size: .88em }
th[colspan] { text-align: left } .wide { overflow-x: auto } .choices label { margin-right: 1em; white-space: nowrap }
.plots svg { flex: 1 1 420px; max-width: 640px }
.opening { display: flex; flex-wrap: wrap; gap: 0 28px; align-items: flex-start }
.opening > div { flex: 1 1 420px; min-width: 0 } .opening > .wide { flex: 0 1 auto; margin-top: 2.6em }
@media (min-width: 1260px) { .opening { display: grid; grid-template-columns: minmax(380px, 1fr) minmax(0, auto) } }
.summary { font-size: .93em } .summary th, .summary td { padding: 2px 7px }
@media (max-width: 700px) { th, td { padding: 2px 5px } td:first-child { white-space: normal; min-width: 6.5em }
  .plots { overflow-x: auto } .plots svg { min-width: 480px } }
.reached { color: #146c2e; font-weight: 600 } .missed { color: #b3261e; font-weight: 600 } .unknown { color: #999 }
";

/// What the reader can choose to see, without a script: boxes that hide what is not ticked.
struct Choices {
    /// The class of what is shown, and its name.
    boxes: Vec<(String, String)>,
}

impl Choices {
    fn of(run: &Run<'_>) -> Self {
        let mut lengths: Vec<usize> = run.outcomes().iter().filter_map(|outcome| outcome.case.bytes()).collect();
        lengths.sort_unstable();
        lengths.dedup();
        let lengths = lengths.into_iter().map(|len| (format!("bytes{len}"), Bytes(len).to_string()));
        let percentiles =
            run.options.percentiles.iter().map(|percentile| (class_of(*percentile), format!("p{percentile}")));
        Self { boxes: lengths.chain(percentiles).collect() }
    }

    fn style(&self) -> String {
        let rules = self
            .boxes
            .iter()
            .map(|(class, _)| format!("body:has(#{class}:not(:checked)) .{class} {{ display: none }}\n"));
        rules.collect()
    }

    fn controls(&self) -> String {
        let boxes = self.boxes.iter().map(|(class, name)| {
            format!("<label><input type=\"checkbox\" id=\"{class}\" checked> {}</label>", escape(name))
        });
        format!("<p class=\"choices\">Show: {}</p>", boxes.collect::<String>())
    }
}

/// The class of a percentile's cells: what a name of the style sheet may have.
fn class_of(percentile: f64) -> String {
    format!("p{percentile}").replace('.', "_")
}

/// What speaks against the figures: one line, that opens if there are several.
fn warnings(page: &mut String, run: &Run<'_>) {
    let told = |warning: &String| format!("<p class=\"warning\">{}</p>", escape(warning));
    match &run.warnings[..] {
        [] => {}
        [one] => page.push_str(&told(one)),
        [first, others @ ..] => {
            let (first, count) = (escape(first), others.len());
            let _ = write!(page, "<details><summary class=\"warning\">{first} (and {count} more warnings)</summary>");
            page.push_str(&others.iter().map(told).collect::<String>());
            page.push_str("</details>");
        }
    }
}

/// The whole page.
///
/// # Errors
///
/// Where a plot cannot be drawn.
pub(crate) fn html(run: &Run<'_>) -> Result<String, Box<dyn Error>> {
    let mut page = String::from("<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">");
    page.push_str("<meta name=\"viewport\" content=\"width=device-width\">");
    let choices = Choices::of(run);
    let _ = write!(
        page,
        "<title>Records between two processes</title><style>{STYLE}{}</style></head><body>",
        choices.style()
    );
    page.push_str("<h1>Records between two processes</h1>");
    warnings(&mut page, run);
    opening(&mut page, run)?;
    let _ = write!(page, "<p class=\"machine\">{}</p>", escape(&run.machine.to_string()));
    if !run.others.is_empty() {
        let _ = write!(page, "<p class=\"machine\">Contenders from outside: {}</p>", escape(&run.others.join(", ")));
    }
    page.push_str("<details><summary>How this was measured, and what the tables say</summary>");
    let method = run.method().into_iter().map(|line| format!("<p class=\"note\">{}</p>", escape(&line)));
    let _ = write!(page, "{}</details>", method.collect::<String>());
    figure(&mut page, "Throughput over the size of a record", &plots::throughput(run)?);
    figure(&mut page, "Ratio to the ceiling over the size of a record", &plots::ratio(run)?);
    figure(&mut page, "Latency against offered load, 56 B, open loop", &plots::load(run)?);
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
    page.push_str(&choices.controls());
    for group in run.groups() {
        table(&mut page, run, group);
    }
    targets(&mut page, run);
    page.push_str("</body></html>\n");
    Ok(page)
}

/// The first chart and the first table, and what they mean.
fn opening(page: &mut String, run: &Run<'_>) -> Result<(), Box<dyn Error>> {
    if summary::distances(run).is_empty() {
        let _ = write!(page, "<p class=\"warning\">{}</p>", escape(summary::TOO_LITTLE));
        return Ok(());
    }
    // Side by side if there is room: the first screen has both.
    page.push_str("<div class=\"opening\"><div>");
    figure(page, "fdring, its ceiling, and the best of the others", &plots::summary(run)?);
    page.push_str("</div>");
    summary::table(page, run);
    page.push_str("</div>");
    let _ = write!(page, "<p>{}</p>", escape(&summary::sentences(run).join(" ")));
    let _ = write!(page, "<p class=\"note\">{}</p>", escape(summary::MEANING));
    Ok(())
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
    for series in plots.legend.iter().filter(|series| !series.name.is_empty()) {
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
    page.push_str("<h2>Targets of fdring, for its developers</h2><div class=\"wide\"><table>");
    page.push_str("<tr><th>what</th><th>target</th><th>near</th><th>far</th></tr>");
    for row in rows {
        let _ = write!(page, "<tr><td>{}</td><td>{}</td>", escape(&row.what), escape(&row.goal));
        for distance in Distance::ALL {
            let class = match row.values[distance as usize] {
                Some((_, Judgement::Reached)) => "reached",
                Some((_, Judgement::Missed)) => "missed",
                _ => "unknown",
            };
            let title = row.forms(distance).map_or_else(String::new, |forms| format!(" title=\"{}\"", escape(&forms)));
            let _ = write!(page, "<td class=\"{class}\"{title}>{}</td>", row.cell(distance));
        }
        page.push_str("</tr>");
    }
    page.push_str("</table></div>");
    page.push_str("<p class=\"note\">The forms that were compared are told where the pointer rests on a value.</p>");
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

/// The columns that a measure has before the range, with their classes.
fn columns(run: &Run<'_>, case: Case) -> Vec<(String, String)> {
    if !case.is_timed() {
        return vec![(Unit::of(case).name().to_owned(), String::new())];
    }
    let percentiles =
        run.options.percentiles.iter().map(|percentile| (format!("p{percentile}"), class_of(*percentile)));
    let of_all = OF_ALL.map(|(share, name)| (name.to_owned(), class_of(share * 100.0)));
    percentiles.chain(of_all).chain([("max".to_owned(), String::new())]).collect()
}

fn table(page: &mut String, run: &Run<'_>, group: &[Outcome]) {
    let case = group[0].case;
    let columns = columns(run, case);
    let class = case.bytes().map_or_else(String::new, |bytes| format!("bytes{bytes}"));
    let _ = write!(page, "<div class=\"wide {class}\"><table><tr><th>{}</th>", escape(&case.measure()));
    for distance in Distance::ALL {
        for (index, (name, class)) in columns.iter().enumerate() {
            let (split, before) =
                if index == 0 { ("split", format!("{}: ", distance.name())) } else { ("", String::new()) };
            let _ = write!(page, "<th class=\"{split} {class}\">{before}{name}</th>");
        }
        page.push_str("<th>quartiles</th><th>99 % interval</th><th>slices</th><th>thrown away</th>");
        page.push_str("<th>ceil</th><th>fdring</th>");
        page.push_str(if case.waits().is_some() { "<th>slept</th>" } else { "" });
    }
    page.push_str("</tr>");
    for outcome in group {
        let class = if outcome.case.is_fdring() { " class=\"fdring\"" } else { "" };
        let _ = write!(page, "<tr{class}><td>{}</td>", escape(&outcome.case.to_string()));
        for distance in Distance::ALL {
            cells(page, run, outcome, distance, &columns);
        }
        page.push_str("</tr>");
    }
    page.push_str("</table></div>");
}

fn cells(page: &mut String, run: &Run<'_>, outcome: &Outcome, distance: Distance, columns: &[(String, String)]) {
    let (case, figures) = (outcome.case, &outcome.figures[distance as usize]);
    let unit = Unit::of(case);
    let mark = if figures.slices.len() < SLICES_MIN { "?" } else { "" };
    let quartiles = figures.quartiles();
    let values: Vec<Option<f64>> = if case.is_timed() {
        let percentiles = run.options.percentiles.iter().map(|percentile| figures.quantile(percentile / 100.0));
        let of_all = OF_ALL.map(|(share, _)| quantile(&figures.all_times, share));
        percentiles.chain(of_all).chain([longest(&figures.all_times)]).collect()
    } else {
        vec![quartiles.map(|quartiles| quartiles.median)]
    };
    for (index, (value, (_, class))) in values.into_iter().zip(columns).enumerate() {
        let split = if index == 0 { "split" } else { "" };
        let text = value.map_or_else(|| "–".to_owned(), |ns| format!("{}{mark}", unit.show(case, ns)));
        let _ = write!(page, "<td class=\"{split} {class}\">{text}</td>");
    }
    let Some(quartiles) = quartiles else {
        page.push_str(&"<td></td>".repeat(6 + usize::from(case.waits().is_some())));
        return;
    };
    let _ = write!(page, "<td class=\"range\">{}</td>", unit.range(case, quartiles.low, quartiles.high));
    let interval = interval(&figures.medians(), CONFIDENCE);
    let interval = interval.map_or_else(|| "–".to_owned(), |interval| unit.range(case, interval.low, interval.high));
    let (slices, thrown_away) = (figures.slices.len(), figures.thrown_away_share() * 100.0);
    let _ = write!(page, "<td class=\"range\">{interval}</td><td>{slices}</td><td>{thrown_away:.0} %</td>");
    let to_fdring = run.ratio_to_fdring(case, distance).map_or_else(|| "–".to_owned(), short);
    for ratio in [run.ceiling_cell(case, distance), to_fdring] {
        let _ = write!(page, "<td>{ratio}</td>");
    }
    if let Some(share) = figures.slept_share(case) {
        let _ = write!(page, "<td>{:.0} %</td>", share * 100.0);
    }
}

pub(super) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
