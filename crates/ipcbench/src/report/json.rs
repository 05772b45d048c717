//! The figures for other programs: one object, with all cases and targets.

use super::{Judged, Run};
use crate::measure::{Distance, Outcome};
use crate::plan::Case;
use std::fmt::Write;

/// The whole report.
pub(crate) fn json(run: &Run<'_>) -> String {
    let mut figures = Vec::new();
    for outcome in run.outcomes {
        for distance in Distance::ALL {
            figures.extend(figure(run, outcome, distance));
        }
    }
    let quoted = |texts: &[String]| texts.iter().map(|text| quote(text)).collect::<Vec<_>>().join(", ");
    let targets: Vec<String> = run.targets().iter().map(target).collect();
    let counts = run.census.counts.iter().map(|count| {
        let limit = count.limit.map_or_else(|| "null".to_owned(), |limit| limit.to_string());
        let (what, unit) = (quote(&count.what), quote(count.unit));
        format!("{{\"what\": {what}, \"value\": {:.3}, \"unit\": {unit}, \"limit\": {limit}}}", count.value)
    });
    let counts: Vec<String> = counts.collect();
    let tally = &run.tally;
    format!(
        "{{\"machine\": {}, \"peers\": [{}], \"seconds\": {}, \"rounds\": {},\n \
         \"slices\": {{\"near\": {}, \"far\": {}, \"moved\": {}, \"preempted\": {}}},\n \
         \"warnings\": [{}],\n \"targets\": [\n  {}\n ],\n \"counts\": [\n  {}\n ],\n \"figures\": [\n  {}\n ]}}\n",
        quote(&run.machine.to_string()),
        quoted(&run.peers),
        run.budget.as_secs(),
        run.rounds,
        tally.kept[0],
        tally.kept[1],
        tally.moved,
        tally.preempted,
        quoted(&run.warnings),
        targets.join(",\n  "),
        counts.join(",\n  "),
        figures.join(",\n  ")
    )
}

fn target(target: &Judged) -> String {
    let cells = Distance::ALL.map(|distance| {
        let (number, reached) = match target.values[distance as usize] {
            Some((value, reached)) => (format!("{value:.4}"), reached.to_string()),
            None => ("null".to_owned(), "null".to_owned()),
        };
        let distance = format!("{distance:?}").to_lowercase();
        format!("\"{distance}\": {number}, \"{distance}_reached\": {reached}")
    });
    format!("{{\"what\": {}, \"goal\": {}, {}}}", quote(&target.what), quote(&target.goal), cells.join(", "))
}

fn figure(run: &Run<'_>, outcome: &Outcome, distance: Distance) -> Option<String> {
    let figures = &outcome.figures[distance as usize];
    let quartiles = figures.quartiles()?;
    let mut object = format!(
        "{{\"measure\": {}, \"contender\": {}, \"distance\": {}, \"slices\": {}, \"ns_q1\": {:.3}, \"ns_median\": \
         {:.3}, \"ns_q3\": {:.3}",
        quote(&outcome.case.measure()),
        quote(&outcome.case.to_string()),
        quote(&format!("{distance:?}").to_lowercase()),
        figures.slices.len(),
        quartiles.low,
        quartiles.median,
        quartiles.high
    );
    match outcome.case {
        Case::OneWay(_, len) => {
            let _ = write!(object, ", \"payload_bytes\": {len}");
        }
        Case::Descriptors(_, count) => {
            let _ = write!(object, ", \"descriptors\": {count}");
        }
        _ => {}
    }
    for (name, share) in [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p999", 0.999)] {
        if let Some(ns) = figures.times.quantile(share) {
            let _ = write!(object, ", \"ns_{name}\": {ns:.0}");
        }
    }
    if let Some(ns) = figures.times.max() {
        let _ = write!(object, ", \"ns_max\": {ns:.0}, \"times\": {}", figures.times.total());
    }
    let ratios = [
        ("ratio_to_ceiling", run.ratio_to_ceiling(outcome.case, distance)),
        ("fdring_best_ratio", run.ratio_to_fdring(outcome.case, distance)),
    ];
    for (name, ratio) in ratios {
        if let Some(ratio) = ratio {
            let _ = write!(object, ", \"{name}\": {ratio:.4}");
        }
    }
    object.push('}');
    Some(object)
}

fn quote(text: &str) -> String {
    let escaped = text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    format!("\"{escaped}\"")
}
