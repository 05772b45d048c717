//! The example `frames`, as a terminal would run it.

mod example;

use example::example;
use std::process::Command;

#[test]
fn the_detector_and_the_recorder_see_every_frame_and_the_viewer_the_newest() {
    let output = Command::new(example("frames")).arg("60").output().unwrap();
    let (out, complaint) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert!(output.status.success() && complaint.is_empty(), "{complaint}");
    let line_of = |who: &str| out.lines().find(|line| line.starts_with(who)).unwrap_or_else(|| panic!("{out}"));
    assert!(line_of("camera: ").starts_with("camera: 60 frames of 1920 × 1080 in "), "{out}");
    assert_eq!(line_of("detector: "), "detector: 60 frames seen, the square found in 60");
    assert!(line_of("recorder: ").starts_with("recorder: 60 frames seen, 118 MiB written, at most "), "{out}");
    let viewer = line_of("viewer: ");
    assert!(viewer.ends_with(", the last was number 59"), "{out}");
    let seen: u32 = viewer.split(' ').nth(1).unwrap().parse().unwrap();
    assert!((1..60).contains(&seen), "{out}");
}
