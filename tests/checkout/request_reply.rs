//! The example `request_reply`, as a terminal would run it.

mod example;

use example::example;
use std::process::Command;

#[test]
fn every_call_is_answered_although_the_service_is_killed() {
    let output = Command::new(example("request_reply")).arg("3000").output().unwrap();
    let (out, complaint) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert!(output.status.success() && complaint.is_empty(), "{complaint}");
    assert!(out.starts_with("12000 calls of 4 clients in "), "{out}");
    assert!(out.contains("s: the service was killed once, "), "{out}");
    assert!(out.ends_with(" calls in flight were made again, and every answer was right\n"), "{out}");
}
