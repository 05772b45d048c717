//! Reports of a run that never was, in which everything was measured.

use super::{Run, html, json, may_be_doubt, summary, tables, text};
use crate::Program;
use crate::census::{Census, Count};
use crate::distance::{Boundary, Distance};
use crate::machine::Machine;
use crate::measure::{Outcome, Restart, TAILS, Tally};
use crate::options::Options;
use crate::plan::Case;
use crate::plan::{Carrier, RawMode};
use crate::run::{Collected, Fault};
use crate::stats::Quartiles;

/// What each case takes is made of its name, so that it is the same in each test.
fn nanoseconds(case: Case, distance: Distance) -> f64 {
    let name = format!("{}{case}", case.measure());
    let noise = name.bytes().fold(7u64, |hash, byte| hash.wrapping_mul(31).wrapping_add(u64::from(byte))) % 100;
    let base = if case.is_timed() { 150.0 } else { 2.0 + case.bytes().unwrap_or(0) as f64 / 50.0 };
    base * (1.0 + noise as f64 / 50.0) * if distance == Distance::Far { 4.0 } else { 1.0 }
}

fn collected(cases: Vec<Case>) -> Collected {
    let outcomes = cases.into_iter().map(|case| {
        let mut outcome = Outcome::new(case);
        for distance in Distance::ALL {
            let (figures, ns) = (&mut outcome.figures[distance as usize], nanoseconds(case, distance));
            figures.slices = (0..20).map(|slice| ns * (1.0 + f64::from(slice) / 400.0)).collect();
            let restart =
                |ns| Restart { quartiles: Quartiles { low: ns, median: ns, high: ns }, tails: [Some(ns); TAILS.len()] };
            figures.restarts = [1.01, 1.02, 1.03].map(|share| restart(ns * share)).to_vec();
            figures.paces = vec![ns; 20];
            figures.records = 1000;
            if case.is_timed() {
                for rank in 0..200u64 {
                    let time = ns * (1.0 + (rank as f64 / 200.0).powi(20) * 5.0);
                    figures.times.record_n(time as u64, 100).unwrap();
                    figures.all_times.record_n(time as u64, 100).unwrap();
                }
            }
        }
        outcome
    });
    let fault = Fault { measure: "m".to_owned(), contender: "c".to_owned(), what: "it <hangs>".to_owned() };
    Collected {
        outcomes: outcomes.collect(),
        tally: Tally { kept: [100, 100], moved: 1, preempted: 2, delayed: 3 },
        boundary: Boundary::Between(250.0),
        rounds: 20,
        restarts: 3,
        clock_ns: [10.0, 20.0],
        faults: vec![fault],
        left_out: vec![Vec::new()],
        tried: Vec::new(),
        warnings: Vec::new(),
    }
}

/// Does something with the run, if this machine has two processors.
fn with_run(args: &[&str], check: impl FnOnce(&Run<'_>)) {
    let Ok(machine) = Machine::look(None) else { return };
    let args = args.iter().map(|arg| (*arg).to_owned()).collect();
    let options = Options::parse(args, &Program::default()).unwrap().unwrap();
    let collected = collected(options.all_cases(&[]));
    let mut census = Census::default();
    census.counts.push(Count { what: "calls".to_owned(), value: 3.0, unit: "/s", limit: Some(10.0) });
    let warnings = super::warnings(&collected);
    let (machine, options, collected, census) = (&machine, &options, &collected, &census);
    check(&Run { machine, options, collected, others: Vec::new(), skipped: Vec::new(), warnings, census });
}

#[test]
fn the_text_says_what_contenders_from_outside_take_no_part_in_and_why() {
    with_run(&["--tables"], |run| {
        let skipped = vec!["own: connect: its ends live as long as its process".to_owned()];
        let run = Run { others: Vec::new(), skipped, warnings: Vec::new(), ..*run };
        assert!(text(&run).contains("\nskipped: own: connect: its ends live as long as its process\n"));
    });
}

#[test]
fn columns_stand_apart_and_begin_where_their_headings_end() {
    with_run(&["--tables", "--percentiles", "50,99.9"], |run| {
        let text = text(run);
        let mut checked = 0;
        for block in text.split("\n\n").filter(|block| block.contains("thrown away\n")) {
            let lines: Vec<&str> = block.lines().filter(|line| line.ends_with(['%', 'y'])).collect();
            let ends = |line: &str| line.chars().count();
            assert!(lines.iter().all(|line| ends(line) == ends(lines[0])), "{block}");
            checked += 1;
        }
        assert!(checked > 20, "only {checked} tables were seen");
        assert!(text.contains("p99.9") && !text.contains("  p90  "));
        assert!(text.contains("left out: m: c: it <hangs>"));
        assert!(text.contains("steps of 10.0 ns; a reading costs 20.0 ns"));
    });
}

#[test]
fn a_run_prints_a_dozen_lines_what_speaks_against_them_and_how_to_see_the_rest() {
    with_run(&[], |run| {
        let text = text(run);
        assert!(text.lines().count() <= 30, "more than a screen:\n{text}");
        let heading = text.lines().find(|line| line.contains("near: ceiling")).expect("a heading");
        let parties: Vec<&str> = heading.split("  ").map(str::trim).filter(|each| !each.is_empty()).collect();
        let of_near = ["near: ceiling", "fdring", "best of the kernel"];
        assert_eq!(parties, [of_near, ["far: ceiling", of_near[1], of_near[2]]].concat());
        let lines = text.lines().filter(|line| line.contains("/s") && line.contains(" B, ") || line.contains("KiB, "));
        assert!((8..=12).contains(&lines.count()), "{text}");
        for told in ["round trip of 56 B, ns: p50", "in 3 restarts;", "warning: left out: m: c: it <hangs>"] {
            assert!(text.contains(told), "{told} is missing in\n{text}");
        }
        assert!(text.contains("--tables prints all tables") && text.contains("--html PATH writes a page"), "{text}");
        assert!(!text.contains("99 % interval") && !text.contains("skipped"), "{text}");
    });
    with_run(&["--html", "page.html"], |run| assert!(!text(run).contains("were not written")));
}

#[test]
fn tables_come_before_the_summary_and_stand_alone_where_it_has_no_line() {
    let summary = "Each at its best form";
    with_run(&["--tables"], |run| {
        let text = text(run);
        assert!(text.find("targets  ").unwrap() < text.find(summary).unwrap(), "what is last is seen first");
    });
    with_run(&["--measure", "descriptors"], |run| {
        let mut collected = collected(run.outcomes().iter().map(|outcome| outcome.case).collect());
        collected.outcomes.retain(|outcome| outcome.case.measure_key() == "descriptors");
        let run = Run { collected: &collected, others: Vec::new(), skipped: Vec::new(), warnings: Vec::new(), ..*run };
        let text = text(&run);
        assert!(text.contains("99 % interval") && !text.contains(summary), "{text}");
    });
    with_run(&[], |run| {
        let mut collected = collected(run.outcomes().iter().map(|outcome| outcome.case).collect());
        collected.outcomes.iter_mut().flat_map(|outcome| &mut outcome.figures).for_each(|each| each.slices.truncate(2));
        let run = Run { collected: &collected, others: Vec::new(), skipped: Vec::new(), warnings: Vec::new(), ..*run };
        let text = text(&run);
        assert!(text.contains(summary::TOO_LITTLE) && text.lines().count() < 20, "{text}");
    });
}

#[test]
fn a_target_names_the_forms_that_were_compared_and_the_one_distance_that_it_is_about() {
    with_run(&["--tables"], |run| {
        let report = json::report(run);
        let target = |what: &str| report.targets.iter().find(|row| row.what == what).expect(what);
        let near = target("4 KiB, the best form in place / the ceiling");
        let [subject, ceiling] = near.near_forms.as_ref().unwrap().split(" / ").collect::<Vec<&str>>()[..] else {
            panic!("{near:?}")
        };
        assert!(subject.starts_with("fdring ") && ceiling.starts_with("raw ring, "), "{near:?}");
        assert!(near.near.is_some() && near.far.is_none(), "{near:?}");
        let far = target("far, 64 KiB, sent and copied out / the best of pipes and sockets");
        assert!(far.near.is_none() && far.far.is_some() && far.far_forms.is_some(), "{far:?}");
        assert_eq!(target("connect to first record, ns").near_forms, None, "there was no choice");
        let text = text(run);
        let line = text.lines().find(|line| line.starts_with(&near.what)).unwrap();
        assert!(line.contains(near.near_forms.as_ref().unwrap()) && line.contains("  –  "), "{line}");
        let row = report.figures.iter().find(|row| row.form == "fdring reserve, in place").unwrap();
        assert!(row.ceiling.as_ref().is_some_and(|form| form.starts_with("raw ring")), "{row:?}");
    });
}

#[test]
fn the_page_begins_with_one_chart_and_one_table_and_ends_with_the_targets() {
    with_run(&[], |run| {
        let page = html::html(run).unwrap();
        let at = |what: &str| page.find(what).unwrap_or_else(|| panic!("{what} is missing"));
        let second = at("Throughput over the size of a record");
        assert!(at("<svg") < at("<table") && at("<table") < at("fdring carries") && at("fdring carries") < second);
        let opening = &page[..second];
        assert_eq!((opening.matches("<svg").count(), opening.matches("<table").count()), (1, 1));
        assert!(opening.matches("<tr>").count() <= 14, "a dozen lines, and two of headings");
        assert!(at("Targets of fdring") > page.rfind("99 % interval").unwrap());
        assert!(page.contains("it &lt;hangs&gt;"), "what others say is escaped");
        assert!(at("warning\">left out") < at("<svg"), "what speaks against the figures comes before them");
    });
}

#[test]
fn a_page_of_too_little_says_so_and_its_legends_have_only_what_is_drawn() {
    with_run(&[], |run| {
        let mut collected = collected(run.outcomes().iter().map(|outcome| outcome.case).collect());
        for outcome in &mut collected.outcomes {
            let left = if outcome.case.contender() == "rtrb" { 0 } else { 2 };
            outcome.figures.iter_mut().for_each(|figures| figures.slices.truncate(left));
        }
        let few = Run { collected: &collected, others: Vec::new(), skipped: Vec::new(), warnings: Vec::new(), ..*run };
        let page = html::html(&few).unwrap();
        assert!(page.contains(summary::TOO_LITTLE) && !page.contains(summary::MEANING));
        let legends = page.matches(">rtrb in chunks of 32, in-process</span>").count();
        assert_eq!(legends, 0, "nothing of it is drawn");
        let page = html::html(run).unwrap();
        assert!(page.contains(summary::MEANING) && !page.contains(summary::TOO_LITTLE));
        assert!(page.contains(">rtrb in chunks of 32, in-process</span>"));
    });
}

/// The text of the summary's table, in which nothing but figures and names is left.
fn summary_of(run: &Run<'_>) -> String {
    let mut page = String::new();
    summary::table(&mut page, run);
    page
}

#[test]
fn what_has_too_few_slices_is_left_out_of_the_summary() {
    with_run(&[], |run| {
        let mut collected = collected(run.outcomes().iter().map(|outcome| outcome.case).collect());
        for outcome in &mut collected.outcomes {
            outcome.figures[Distance::Near as usize].slices.truncate(2);
        }
        collected.tally.kept = [740, 7400];
        let run = Run { collected: &collected, others: Vec::new(), skipped: Vec::new(), warnings: Vec::new(), ..*run };
        let table = summary_of(&run);
        assert!(table.contains("cores far, 7400 slices") && !table.contains("cores near"), "{table}");
        let sentences = summary::sentences(&run);
        assert_eq!(sentences.len(), 3);
        assert!(sentences[0].starts_with("Where the cores are far, fdring carries"), "{sentences:?}");
        assert!(
            sentences[0].contains("× the best bare ring") && sentences[0].matches(" × ").count() == 2,
            "{sentences:?}"
        );
        let raw = Case::OneWay(Carrier::Raw(RawMode::Each), 64);
        assert_eq!(run.ceiling(raw, Distance::Near), None, "two slices are no ceiling");
        assert!(run.ceiling(raw, Distance::Far).is_some());
    });
}

#[test]
fn the_summary_compares_one_value_a_record_with_the_same() {
    with_run(&[], |run| {
        let mut collected = collected(run.outcomes().iter().map(|outcome| outcome.case).collect());
        // Slices and runs are by far the quickest.
        for outcome in collected.outcomes.iter_mut().filter(|outcome| outcome.case.carries_slices()) {
            outcome.figures.iter_mut().for_each(|figures| figures.slices.fill(0.01));
        }
        let run = Run { collected: &collected, others: Vec::new(), skipped: Vec::new(), warnings: Vec::new(), ..*run };
        let best = |len, slices| {
            let sample = (summary::one_way(len, slices), summary::Told::Typical);
            summary::best(&run, summary::Party::Fdring, sample, Distance::Near).unwrap().0
        };
        assert!(!best(64, None).carries_slices() && best(64, Some(32)).carries_slices());
        for outcome in run.outcomes().iter().filter(|outcome| !outcome.case.carries_slices()) {
            let ratio = run.ratio_to_fdring(outcome.case, Distance::Near);
            assert!(ratio.is_none_or(|ratio| ratio < 50.0), "{}: {ratio:?}", outcome.case);
        }
    });
}

#[test]
fn every_row_of_the_page_says_how_sure_it_is() {
    with_run(&[], |run| {
        let page = html::html(run).unwrap();
        for (heading, count) in [("<th>99 % interval</th>", 2), ("<th>thrown away</th>", 2), ("<th>slices</th>", 2)] {
            let tables = page[page.find("All figures").unwrap()..].matches("<table>").count();
            assert!(page.matches(heading).count() >= count * (tables - 1), "{heading} in {tables} tables");
        }
        assert!(page.contains("p99.9 of all</th>"));
    });
}

#[test]
fn every_axis_has_a_label() {
    with_run(&[], |run| {
        let page = html::html(run).unwrap();
        let plots: Vec<&str> = page.split("<svg").skip(1).filter_map(|rest| rest.split("</svg>").next()).collect();
        assert!(plots.len() > 8, "only {} plots", plots.len());
        for plot in plots {
            let has = |labels: &[&str]| labels.iter().any(|label| plot.contains(&format!("\n{label}\n</text>")));
            assert!(has(&["length of a record", "percentile", "records due a second"]), "{plot}");
            assert!(has(&[
                "GB/s",
                "ns",
                "p99 in ns",
                "share of the ceiling&apos;s rate",
                "share of the ceiling's rate"
            ]));
        }
    });
}

#[test]
fn who_cannot_keep_up_with_a_load_is_named() {
    with_run(&["--rate", "1M"], |run| {
        let mut collected = collected(run.outcomes().iter().map(|outcome| outcome.case).collect());
        let is_pipe =
            |outcome: &&mut Outcome| outcome.case.to_string() == "pipe" && outcome.case.measure_key() == "load";
        let loads = collected.outcomes.iter_mut().filter(|outcome| outcome.case.measure_key() == "load");
        loads.flat_map(|outcome| &mut outcome.figures).for_each(|figures| figures.paces.fill(1010.0));
        let pipe = &mut collected.outcomes.iter_mut().find(is_pipe).unwrap().figures;
        pipe[0].paces.fill(4000.0);
        // One stall in a slice or two is no pace.
        pipe[1].paces = vec![4000.0, 4000.0];
        let told: Vec<String> =
            super::warnings(&collected).into_iter().filter(|told| told.contains("keep up")).collect();
        assert_eq!(told, ["pipe cannot keep up near with 1 M/s, Poisson: it carries 250 k/s"]);
    });
}

#[test]
fn a_contender_has_one_colour_everywhere() {
    with_run(&[], |run| {
        let page = html::html(run).unwrap();
        for (name, colour) in [("pipe", "44,160,44"), ("Unix stream", "148,103,189")] {
            let legends: Vec<&str> = page.split("<span style=\"--colour: rgb(").skip(1).collect();
            let of_name = legends.iter().filter(|legend| legend.contains(&format!(")\">{name}</span>")));
            let of_name: Vec<&str> = of_name.filter_map(|legend| legend.split(')').next()).collect();
            assert!(of_name.len() > 3 && of_name.iter().all(|found| *found == colour), "{name}: {of_name:?}");
        }
    });
}

#[test]
fn what_is_not_ticked_is_hidden() {
    with_run(&["--percentiles", "50,99.9"], |run| {
        let page = html::html(run).unwrap();
        for class in ["bytes64", "p99_9"] {
            assert!(page.contains(&format!("body:has(#{class}:not(:checked)) .{class} {{ display: none }}")));
            assert!(page.contains(&format!("id=\"{class}\" checked")));
        }
        assert!(page.contains("<div class=\"wide bytes64\">"));
    });
}

#[test]
fn the_report_for_programs_is_read_back_as_it_was() {
    with_run(&[], |run| {
        let report = json::report(run);
        let again: json::Report = serde_json::from_str(&json::json(run)).unwrap();
        assert_eq!(again.schema, json::SCHEMA);
        assert_eq!(again.figures.len(), report.figures.len());
        assert_eq!(again.figures.len(), 2 * run.outcomes().len());
        let row = again.figures.iter().find(|row| row.form == "pipe" && row.measure_key == "round-trip").unwrap();
        assert_eq!(row.percentiles.len(), run.options.percentiles.len());
        assert_eq!(row.histogram.iter().map(|(_, count)| count).sum::<u64>(), 20_000);
        assert!(row.ns_low.unwrap() < row.ns_high.unwrap());
    });
}

#[test]
fn every_line_of_the_table_has_as_many_cells_as_its_heading() {
    with_run(&[], |run| {
        let csv = tables::csv(&json::report(run));
        // Commas within quotes are no ends of cells.
        let cells = |line: &str| line.split('"').step_by(2).map(|outside| outside.matches(',').count()).sum::<usize>();
        let heading = csv.lines().next().unwrap();
        assert!(csv.lines().count() > 100 && csv.lines().all(|line| cells(line) == cells(heading)));
    });
}

#[test]
fn only_what_carries_more_than_a_bare_ring_can_be_a_doubt() {
    with_run(&[], |run| {
        for outcome in run.outcomes() {
            let may = outcome.case.contender() != "raw ring" && !outcome.case.ceilings().contains(&outcome.case);
            assert_eq!(may_be_doubt(outcome.case), may, "{}", outcome.case);
            assert!(may || !run.is_doubt(outcome.case, Distance::Near));
        }
        let mut collected = collected(run.outcomes().iter().map(|outcome| outcome.case).collect());
        let fdring = summary::one_way(64, None);
        let (_, ceiling) = run.ceiling(fdring, Distance::Near).unwrap();
        let mut is_doubt = |share: f64| {
            let outcome = collected.outcomes.iter_mut().find(|outcome| outcome.case == fdring).unwrap();
            outcome.figures[0].slices.fill(ceiling * share);
            let run =
                Run { collected: &collected, others: Vec::new(), skipped: Vec::new(), warnings: Vec::new(), ..*run };
            run.is_doubt(fdring, Distance::Near)
        };
        assert!(is_doubt(0.9) && !is_doubt(0.99));
    });
}
