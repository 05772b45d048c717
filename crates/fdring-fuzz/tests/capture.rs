//! The relay `fdring-capture` between a real server and a real session, whose seeds the targets take.

use fdring::{Consumer, Producer, Server};
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::{env, fs};

#[test]
fn a_session_through_the_relay_leaves_its_frames_and_control_buffers() {
    let name = format!("fdring-capture-{}", std::process::id());
    let (near, far) = (format!("@{name}-near"), format!("@{name}-far"));
    let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(&name);
    let mut ticks = Producer::create("ticks").unwrap();
    let server = Server::listen(far.as_str(), [&ticks]).unwrap();
    let mut relay = Command::new(env!("CARGO_BIN_EXE_fdring-capture"))
        .args([&near, &far, directory.to_str().unwrap()])
        .env("FDRING_CAPTURE_SESSIONS", "1")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(relay.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.starts_with("relaying from"), "{line}");
    let mut consumer = Consumer::connect(near.as_str()).unwrap();
    ticks.send(b"a record").unwrap();
    assert_eq!(&consumer.receive().unwrap().unwrap()[..], b"a record");
    drop(consumer);
    assert!(relay.wait().unwrap().success());
    drop((ticks, server));

    let inputs = |target: &str| -> Vec<Vec<u8>> {
        fs::read_dir(directory.join(target)).unwrap().map(|file| fs::read(file.unwrap().path()).unwrap()).collect()
    };
    let frames = inputs("frame_parse");
    // Two Hellos that differ, Offer, Attach, Attached at the least.
    let mut kinds: Vec<u8> = frames.iter().map(|input| input[2 + 6]).collect();
    kinds.sort_unstable();
    assert!([1, 1, 2, 3, 4].iter().all(|kind| kinds.contains(kind)) && kinds[..2] == [1, 1], "{kinds:?}");
    for frame in &frames {
        assert!(fdring::fuzzing::is_frame(&frame[2..], frame[1].into()), "{frame:02x?}");
        fdring_fuzz::targets::frame_parse(frame);
    }
    let messages = inputs("cmsg_walk");
    messages.iter().for_each(|control| fdring_fuzz::targets::cmsg_walk(control));
    assert!(messages.iter().flat_map(|control| fdring_fuzz::oracle::find(control)).any(|found| found.kind == 1));
    fs::remove_dir_all(directory).unwrap();
}
