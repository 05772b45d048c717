//! The example `hold`, by the command that its page names.

#[path = "../common/mod.rs"]
mod common;
mod example;

use common::KillOnDrop;
use example::example;
use std::io::Read;
use std::process::{Command, Stdio};

#[test]
fn it_keeps_frames_and_says_how_much_it_held() {
    let mut child = Command::new(example("hold")).stdout(Stdio::piped()).spawn().unwrap();
    let mut output = child.stdout.take().unwrap();
    let process = KillOnDrop(child);
    let mut text = String::new();
    output.read_to_string(&mut text).unwrap();
    assert!(process.wait().success(), "{text}");
    let [first, second] = text.lines().collect::<Vec<_>>()[..] else { panic!("{text}") };
    // From each frame to the next every tile changes.
    assert!(first.starts_with("200 frames of 4 tiles, 796 changes seen, 20 tiles archived, of sum "), "{text}");
    let held =
        second.strip_prefix("at most ").and_then(|rest| rest.strip_suffix(" KiB of the ring were held at a time"));
    let held_kib: u64 = held.unwrap().parse().unwrap();
    // The window of 8 tiles, at least, and no more than the ring.
    assert!((128..=1024).contains(&held_kib), "{text}");
}
