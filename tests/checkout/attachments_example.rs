//! The example `attachments`, as a terminal would run it.

mod example;

use example::example;
use std::process::Command;

#[test]
fn both_guests_use_the_file_the_socket_and_the_pidfd() {
    let output = Command::new(example("attachments")).output().unwrap();
    let (out, complaint) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert!(output.status.success() && complaint.is_empty(), "{complaint}");
    let notes = ["has seen the sleeper end", "has served a connection", "the host says: append to this"];
    let lines = ["first", "second"].map(|name| notes.map(|note| format!("{name}: {note}\n")).concat());
    assert_eq!(out, lines.concat());
}
