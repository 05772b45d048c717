//! The example `graph`, as a terminal would run it.

mod example;

use example::example;
use std::process::Command;

#[test]
fn what_goes_through_the_diamond_adds_up() {
    let output = Command::new(example("graph")).arg("20000").output().unwrap();
    let (out, complaint) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert!(output.status.success() && complaint.is_empty(), "{complaint}");
    // The sums of 2n and of n² below 20000.
    let total = 20_000_u64 * 19_999 + 20_000 * 19_999 * 39_999 / 6;
    assert_eq!(out, format!("20000 numbers through five processes, total {total}, as it should be\n"));
}

#[test]
fn arguments_that_are_none_are_refused() {
    let output = Command::new(example("graph")).arg("many").output().unwrap();
    assert!(!output.status.success());
    assert!(String::from_utf8(output.stderr).unwrap().contains("usage: graph [NUMBERS]"));
}
