//! The example `typed`, as a terminal would run it.

mod example;

use example::example;
use std::process::Command;

#[test]
fn values_reach_another_process_and_other_values_are_refused() {
    let output = Command::new(example("typed")).output().unwrap();
    let (out, complaint) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert!(output.status.success() && complaint.is_empty(), "{complaint}");
    let lines: Vec<&str> = out.lines().collect();
    assert!(lines[0].starts_with("refused: lane trades offers a type with the name number 0x"), "{out}");
    assert!(lines[0].ends_with(
        "16 bytes, aligned to 8, version 1, and this program expected Trade, 16 bytes, aligned to 8, version 2; \
         build both alike"
    ));
    assert_eq!(
        lines[1..],
        ["Buy 100 at 17.25: position 100", "Sell 40 at 17.25: position 60", "Sell 60 at 17.25: position 0"]
    );
}
