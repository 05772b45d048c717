//! The example `select`, as a terminal would run it.

mod example;

use example::example;
use std::process::Command;

#[test]
fn the_records_and_the_logs_of_three_processes_come_to_one_thread() {
    let output = Command::new(example("select")).output().unwrap();
    let (out, complaint) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert!(output.status.success() && complaint.is_empty(), "{complaint}");
    let mut lines: Vec<&str> = out.lines().collect();
    lines.sort_unstable();
    assert_eq!(
        lines,
        [
            "north has ended: its numbers sum up to 500500",
            "north: sending",
            "south has ended: its numbers sum up to 500500",
            "south: sending",
            "west has ended: its numbers sum up to 500500",
            "west: sending"
        ]
    );
}
