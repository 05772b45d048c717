//! The example `feed`, as a terminal would run it.

mod example;

use example::example;
use std::process::Command;

#[test]
fn the_feed_outlives_three_producers_that_are_killed_and_ends_with_the_fourth() {
    let output = Command::new(example("feed")).output().unwrap();
    let (out, complaint) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert!(output.status.success() && complaint.is_empty(), "{complaint}");
    assert_eq!(out.matches("joined a lane called ticks at ").count(), 4, "{out}");
    assert_eq!(out.matches("then: the producer died").count(), 3, "{out}");
    assert!(out.contains("records of life 4, which has finished\n"), "{out}");
    let records = out.lines().last().unwrap().strip_suffix(" records, and none was mixed up").unwrap();
    assert!(records.parse::<u64>().unwrap() >= 1500, "{out}");
}
