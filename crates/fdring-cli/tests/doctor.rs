//! `fdring doctor`: what it finds, and its trial between two processes.

mod kit;

use kit::out;
use std::process::{Command, Output};

fn doctor(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_fdring")).arg("doctor").args(arguments).output().unwrap()
}

#[test]
fn it_tells_what_there_is_and_tries_a_lane() {
    let output = doctor(&[]);
    let text = out(&output);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    for part in ["KERNEL", "LIMITS", "LOOKING", "TRIAL", "membarrier", "descriptors", "capabilities", "/s of 64 bytes"]
    {
        assert!(text.contains(part), "{part}: {text}");
    }
    // What is missing has a remedy in the next line, or in one soon after.
    assert_eq!(text.matches("\n--  ").count(), text.matches("remedy: ").count(), "{text}");
}

#[test]
fn for_programs_it_prints_an_object_a_finding() {
    let output = doctor(&["--json", "--without-trial"]);
    let text = out(&output);
    assert!(text.lines().count() > 10 && !text.contains("\"trial\""), "{text}");
    for line in text.lines() {
        let is_whole = line.starts_with("{\"group\":\"") && line.ends_with('}') && line.contains("\"verdict\":\"");
        assert!(is_whole, "{line}");
    }
}

/// Runs it in a shell that has these limits.
fn limited(limits: &str) -> Output {
    let script = format!("{limits}; exec \"$0\" doctor --json");
    Command::new("sh").args(["-c", &script, env!("CARGO_BIN_EXE_fdring")]).output().unwrap()
}

fn finding(output: &Output, name: &str) -> String {
    let text = out(output);
    let line = text.lines().find(|line| line.contains(&format!("\"name\":\"{name}\"")));
    line.unwrap_or_else(|| panic!("no {name}: {text}")).to_owned()
}

#[test]
fn limits_that_are_small_are_told_with_a_remedy() {
    let few = limited("ulimit -n 256");
    let descriptors = finding(&few, "descriptors");
    assert!(descriptors.contains("\"missing\"") && descriptors.contains("ulimit -n, up to 256"), "{descriptors}");
    assert!(few.status.success(), "the trial does with them: {}", out(&few));
    let small = limited("ulimit -f 100");
    let size = finding(&small, "file size");
    assert!(size.contains("\"missing\"") && size.contains("ulimit -f unlimited"), "{size}");
    assert_eq!(small.status.code(), Some(1), "no lane of 4 MiB can be made: {}", out(&small));
    assert!(finding(&small, "hand-over").contains("\"broken\""));
}
