//! The example `policies`: what it says of each lane.

#[path = "../common/mod.rs"]
mod common;
mod example;

use example::example;
use std::process::{Command, Stdio};

#[test]
fn each_lane_ends_as_its_policy_has_it() {
    let output = Command::new(example("policies")).stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    for part in [
        "evict: 1 consumer is left of 2",
        "evict: it has read 10000 records of 10000",
        "fail: a consumer is too slow: process ",
        "has not released 4096 bytes yet",
        "fail: evicted it (true), and the producer goes on",
        "succeed: the lane wants a consumer, and none is there; start what is missing first",
        "succeed: the second worker did 7 jobs, and nothing is left",
    ] {
        assert!(text.contains(part), "{part:?} is not in {text}");
    }
    // No job is done twice, for each was released before the next.
    let jobs: Vec<&str> = text.lines().filter_map(|line| line.split("job ").nth(1)).collect();
    assert_eq!(jobs, ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"]);
    let other = Command::new(example("policies")).arg("nonsense").stdin(Stdio::null()).output().unwrap();
    assert!(!other.status.success() && String::from_utf8_lossy(&other.stderr).contains("usage"), "{other:?}");
}
