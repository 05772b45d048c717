//! The example `fan_in`, as a terminal would run it.

mod example;

use example::example;
use std::process::Command;

#[test]
fn nothing_that_a_hundred_clients_have_logged_is_lost() {
    let output = Command::new(example("fan_in")).arg("100").output().unwrap();
    let (out, complaint) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert!(output.status.success() && complaint.is_empty(), "{complaint}");
    assert!(out.starts_with("950 lines of 100 clients in "), "{out}");
    assert!(out.ends_with(": 90 finished, 10 died; 0 lines were logged and not read\n"), "{out}");
}
