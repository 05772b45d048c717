//! The example `tokio`, as a terminal would run it.

mod example;

use example::example;
use std::process::Command;

#[test]
fn the_numbers_of_three_processes_are_summed_up_in_tasks() {
    let output = Command::new(example("tokio")).output().unwrap();
    let (out, complaint) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert!(output.status.success() && complaint.is_empty(), "{complaint}");
    let mut lines: Vec<&str> = out.lines().collect();
    lines.sort_unstable();
    let line = |name| format!("{name} has sent 100000 numbers, 5000050000 in all");
    assert_eq!(lines, ["north", "south", "west"].map(line));
}
