//! What there is to measure, and what was tried: which contender takes part in which measure, and if not, why.

use super::Table;
use crate::contender::{Capability, ContenderKind};
use crate::options::Selection;
use crate::payload::{Bytes, LENGTHS, PING_BYTES, TRIP_LENGTHS};
use crate::plan::Case;
use crate::run::Collected;
use std::fmt::Write;

/// The cases that there are, as users select them.
pub(crate) fn list(cases: &[Case], (kinds, selection): (&[ContenderKind], &Selection)) -> String {
    let mut text = String::new();
    let mut groups: Vec<(&str, Vec<Case>)> = Vec::new();
    for case in cases {
        match groups.iter_mut().find(|(key, _)| *key == case.measure_key()) {
            Some((_, group)) => group.push(*case),
            None => groups.push((case.measure_key(), vec![*case])),
        }
    }
    for (key, group) in groups {
        let _ = writeln!(text, "--measure {key}");
        let mut lengths: Vec<usize> = group.iter().filter_map(|case| case.bytes()).collect();
        lengths.dedup();
        let lengths: Vec<String> = lengths.into_iter().map(|len| Bytes(len).to_string()).collect();
        if !lengths.is_empty() {
            let _ = writeln!(text, "  sizes: {}", lengths.join(", "));
        }
        let mut contenders: Vec<(&str, Vec<String>)> = Vec::new();
        for case in group {
            let (contender, form) = (case.contender(), case.to_string());
            match contenders.iter_mut().find(|(name, _)| *name == contender) {
                Some((_, forms)) if forms.contains(&form) => {}
                Some((_, forms)) => forms.push(form),
                None => contenders.push((contender, vec![form])),
            }
        }
        for (contender, forms) in contenders {
            let _ = writeln!(text, "  --contender \"{contender}\"");
            for form in forms.iter().filter(|form| *form != contender) {
                let _ = writeln!(text, "    --contender \"{form}\"");
            }
        }
    }
    if kinds.iter().any(|kind| !skipped(kind, selection).is_empty()) {
        text.push_str("left out\n");
    }
    skipped_lines(kinds, selection).iter().for_each(|line| _ = writeln!(text, "  {line}"));
    text
}

/// A line for each contender from outside and each reason why it takes no part in measures that were asked for.
pub(crate) fn skipped_lines(kinds: &[ContenderKind], selection: &Selection) -> Vec<String> {
    let lines =
        |kind| skipped(kind, selection).into_iter().map(|(measures, why)| format!("{}: {measures}: {why}", kind.name));
    kinds.iter().flat_map(lines).collect()
}

/// The measures that a contender from outside takes no part in, of those that were asked for, and why.
fn skipped(kind: &ContenderKind, selection: &Selection) -> Vec<(String, String)> {
    let is_asked = |key: &&str| selection.measures.is_empty() || selection.measures.iter().any(|each| each == key);
    if !selection.contenders.is_empty() && !selection.contenders.iter().any(|name| name == kind.name) {
        return Vec::new();
    }
    let mut skipped: Vec<(String, String)> = Vec::new();
    for capability in Capability::ALL {
        let keys: Vec<&str> = capability.measure_keys().iter().copied().filter(is_asked).collect();
        let why = if keys.is_empty() { None } else { kind.why_not(*capability) };
        let name = if *capability == Capability::Call { "calls".to_owned() } else { keys.join(", ") };
        let Some(why) = why else { continue };
        match skipped.iter_mut().find(|(_, each)| *each == why) {
            Some((names, _)) => names.push_str(&format!(", {name}")),
            None => skipped.push((name, why)),
        }
    }
    let longest = |len_max: usize, lengths: &[usize], (key, capability)| {
        let len =
            lengths.iter().copied().find(|len| *len > len_max).filter(|_| is_asked(&key) && kind.can(capability))?;
        let why = format!("its records have at most {}", Bytes(len_max));
        let wanted = |len: &usize| selection.bytes.is_empty() || selection.bytes.contains(len);
        let more = if lengths.iter().any(|each| *each > len) { " and more" } else { "" };
        lengths.iter().any(|each| *each >= len && wanted(each)).then(|| (format!("{key} of {}{more}", Bytes(len)), why))
    };
    skipped.extend(longest(kind.len_max, &LENGTHS, ("one-way", Capability::OneWay)));
    if kind.trip_len_max >= PING_BYTES {
        skipped.extend(longest(kind.trip_len_max, &TRIP_LENGTHS, ("round-trip", Capability::RoundTrip)));
    }
    skipped
}

/// A line for each contender in each measure: what was tried of it, and what was not, and why.
pub(crate) fn tried(
    planned: &[Case],
    collected: &Collected,
    (kinds, selection): (&[ContenderKind], &Selection),
) -> String {
    let mut groups: Vec<((&str, &str), Vec<Case>)> = Vec::new();
    for case in planned {
        let key = (case.measure_key(), case.contender());
        match groups.iter_mut().find(|(each, _)| *each == key) {
            Some((_, group)) => group.push(*case),
            None => groups.push((key, vec![*case])),
        }
    }
    let mut rows: Vec<Vec<String>> = Vec::new();
    for ((measure, contender), group) in &groups {
        let works = group.iter().filter(|case| collected.tried.contains(case)).count();
        let mut line = match (works, group.len()) {
            (1, 1) => "works".to_owned(),
            (works, all) if works == all => format!("all {all} cases work"),
            (works, all) => format!("{works} of {all} cases work"),
        };
        for (fault, left_out) in collected.faults.iter().zip(&collected.left_out) {
            if group.iter().any(|case| left_out.contains(case)) {
                let _ = write!(line, "; FAILED: {}: {}: {}", fault.measure, fault.contender, fault.what);
            }
        }
        rows.push(vec![(*measure).to_owned(), (*contender).to_owned(), line]);
    }
    for kind in kinds {
        for (measures, why) in skipped(kind, selection) {
            rows.push(vec![measures, kind.name.to_owned(), format!("skipped: {why}")]);
        }
    }
    Table::new(["measure", "contender", "outcome"]).left(3).rows(rows).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contender::KindId;
    use crate::distance::Boundary;
    use crate::measure::Tally;
    use crate::plan::{Carrier, ChannelKind};
    use crate::run::Fault;

    static KIND: &[ContenderKind] = &[ContenderKind {
        lacks: &[(Capability::Connect, "its ends live as long as its process")],
        ..ContenderKind::new("own", |_, _| Err("it is not opened here".into()))
    }];

    fn collected(tried: Vec<Case>, faults: Vec<(Fault, Vec<Case>)>) -> Collected {
        let (faults, left_out) = faults.into_iter().unzip();
        Collected {
            outcomes: Vec::new(),
            tally: Tally::default(),
            boundary: Boundary::OneHeap(100.0),
            rounds: 1,
            restarts: 1,
            clock_ns: [0.0; 2],
            faults,
            left_out,
            tried,
            warnings: Vec::new(),
        }
    }

    #[test]
    fn each_contender_has_a_line_in_each_measure_with_what_was_skipped_and_why() {
        let own = Case::OneWay(Carrier::Own(KindId(&KIND[0])), 64);
        let pipes = [56, 64].map(|len| Case::OneWay(Carrier::Channel(ChannelKind::Pipe), len));
        let planned = [own, pipes[0], pipes[1]];
        let fault = Fault {
            measure: "one way, 64 B a record".to_owned(),
            contender: "pipe, blocking".to_owned(),
            what: "it broke".to_owned(),
        };
        let collected = collected(vec![own, pipes[0]], vec![(fault, vec![pipes[1]])]);
        let text = tried(&planned, &collected, (KIND, &Selection::default()));
        for line in [
            "one-way|own|works",
            "one-way|pipe|1 of 2 cases work; FAILED: one way, 64 B a record: pipe, blocking: it broke",
            "consumers, fan-in, workers, lanes, producers-cost, descriptors|own|\
             skipped: `ContenderKind::does` does not list it",
            "connect|own|skipped: its ends live as long as its process",
            "one-way of 256 KiB and more|own|skipped: its records have at most 64 KiB",
        ] {
            let is_line =
                |each: &str| each.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).eq(line.split('|'));
            assert!(text.lines().any(is_line), "{line} is missing in\n{text}");
        }
        assert!(!text.contains("round-trip"), "all its round trips are planned:\n{text}");
        let asked = Selection { measures: vec!["connect".to_owned()], ..Selection::default() };
        assert_eq!(tried(&[], &collected, (KIND, &asked)).lines().count(), 2, "nothing else was asked for");
    }
}
