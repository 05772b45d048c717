//! The example `tap`, as a terminal would run it.

mod example;

use example::example;
use std::process::Command;

#[test]
fn the_recorder_gets_every_frame_and_the_slow_viewer_the_newest() {
    let output = Command::new(example("tap")).output().unwrap();
    let (out, complaint) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert!(output.status.success() && complaint.is_empty(), "{complaint}");
    assert!(out.contains("120 of 120 frames recorded\n"), "{out}");
    let shown = out.lines().find(|line| line.contains("frames shown")).unwrap();
    assert!(shown.ends_with("the last was number 120"), "{out}");
    assert!(out.contains("no frame was older than ") && !out.contains("older than 0.0"), "{out}");
    let count: u32 = shown.split(' ').next().unwrap().parse().unwrap();
    assert!((2..100).contains(&count), "{out}");
}
