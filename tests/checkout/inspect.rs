//! The example `inspect`, as a terminal would run it.

mod example;

use example::example;
use std::process::Command;

#[test]
fn a_pipeline_is_shown_with_those_who_read_it_and_tapped() {
    let output = Command::new(example("inspect")).output().unwrap();
    let (out, complaint) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert!(output.status.success() && complaint.is_empty(), "{out}{complaint}");
    let line =
        |begin: &str| out.lines().find(|line| line.starts_with(begin)).unwrap_or_else(|| panic!("{begin}: {out}"));
    let camera = line("camera ");
    assert!(camera.contains("1048576") && camera.ends_with("live"), "{out}");
    let readers: Vec<&str> = out.lines().filter(|line| line.starts_with("  copies ")).collect();
    assert_eq!(readers.len(), 2, "{out}");
    assert!(readers.iter().any(|reader| reader.contains("400800 behind")), "one has released nothing: {out}");
    assert!(out.ends_with("tapped 2 frames, up to the end of the lane\n"), "{out}");
}
