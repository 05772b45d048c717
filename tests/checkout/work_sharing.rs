//! The example `work_sharing`, as a terminal would run it.

mod example;

use example::example;
use std::process::Command;

#[test]
fn each_sample_is_trained_on_once_though_workers_die() {
    let output = Command::new(example("work_sharing")).args(["4000", "2"]).output().unwrap();
    let (out, complaint) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert!(output.status.success() && complaint.is_empty(), "{complaint}");
    let last = out.lines().last().unwrap();
    // Its lanes are as many as there are workers at that moment.
    assert!(out.starts_with("400 of 4000 samples, "), "{out}");
    assert!(last.starts_with("4000 samples in 63 batches in "), "{out}");
    assert!(last.ends_with("each was trained on once") && !last.contains(": 0 workers died"), "{out}");
}
