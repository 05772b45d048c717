//! The example `poll`, as a terminal would run it.

mod example;

use example::example;
use std::io::Write;
use std::process::{Command, Stdio};

fn run(arguments: &[&str], said: &str) -> Vec<String> {
    let mut command = Command::new(example("poll"));
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(said.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let (out, complaint) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert!(output.status.success() && complaint.is_empty(), "{complaint}");
    let mut lines: Vec<String> = out.lines().map(str::to_owned).collect();
    lines.sort_unstable();
    lines
}

#[test]
fn one_loop_takes_numbers_sends_squares_and_hears_its_standard_input() {
    for arguments in [&[][..], &["--edges"]] {
        let lines = run(arguments, "hello\n");
        let expected = ["10000 numbers received, and as many squares sent", "the squares sum up to 333383335000"];
        assert_eq!(lines[..2], expected, "{arguments:?}");
        assert_eq!(lines[2..], ["you said: hello"], "{arguments:?}");
    }
}

#[test]
fn a_standard_input_that_is_at_its_end_keeps_the_loop_going() {
    for arguments in [&[][..], &["--edges"]] {
        assert_eq!(run(arguments, "").len(), 2, "{arguments:?}");
    }
}
