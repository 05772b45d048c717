//! The command as a shell would run it, on lanes of this process.

use fdring::{Consumer, Producer, Server};
use std::process::{Command, Output, Stdio};

fn unique(name: &str) -> String {
    format!("cli-{}-{name}", std::process::id())
}

fn fdring(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_fdring")).args(arguments).stdin(Stdio::null()).output().unwrap()
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn complaint(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn ps_shows_lanes_with_those_who_read_them() {
    let (name, address) = (unique("ps"), format!("@{}", unique("ps")));
    let mut lane = Producer::create(&name).unwrap();
    let _server = Server::listen(address.as_str(), [&lane]).unwrap();
    let _consumer = Consumer::connect(address.as_str()).unwrap();
    lane.send(&[7; 992]).unwrap();
    let pid = std::process::id().to_string();
    let table = fdring(&["ps", "--pid", &pid, "--interval", "1"]);
    let text = out(&table);
    let at = text.lines().position(|line| line.starts_with(&name)).unwrap_or_else(|| panic!("{text}"));
    let lines: Vec<&str> = text.lines().skip(at).take(2).collect();
    assert!(lines[0].contains(&pid) && lines[0].contains(" 1000 ") && lines[0].ends_with("live"), "{text}");
    assert!(lines[1].starts_with("  copies") && lines[1].contains("1000 bytes behind, awake"), "{text}");
    assert!(!text.contains('\x1b'), "no colours where no terminal is");
    let json = out(&fdring(&["ps", "--json", "--interval", "1"]));
    let line = json.lines().find(|line| line.contains(&format!("\"lane\":\"{name}\""))).unwrap();
    for part in ["\"published\":1000", "\"state\":\"live\"", "\"behind_bytes\":1000", &format!("\"pid\":{pid}")] {
        assert!(line.contains(part), "{part}: {line}");
    }
}

#[test]
fn tail_prints_what_comes_and_ends_with_the_lane() {
    let name = unique("tail");
    let mut lane = Producer::create(&name).unwrap();
    lane.send_tagged(b"first\x1b", 5).unwrap();
    lane.send(&[b'x'; 100]).unwrap();
    let server = Server::listen(format!("@{name}").as_str(), [&lane]).unwrap();
    lane.finish();
    let text = fdring(&["tail", &name, "--start", "oldest"]);
    let expected =
        format!("{:>14} {:>5} {:>9}  first\\x1b\n{:>14} {:>5} {:>9}  {}...\n", 0, 5, 6, 16, 0, 100, "x".repeat(64));
    assert_eq!((out(&text), text.status.code()), (expected, Some(0)), "{}", complaint(&text));
    let json = fdring(&["tail", &name, "--start", "oldest", "--count", "1", "--json"]);
    assert_eq!(out(&json), "{\"position\":0,\"tag\":5,\"len\":6,\"payload\":\"66697273741b\"}\n");
    let raw = fdring(&["tail", &name, "--start", "newest", "--raw"]);
    assert_eq!(raw.stdout, [b'x'; 100]);
    drop(server);
}

#[test]
fn what_cannot_be_done_says_so_and_has_a_status_of_its_own() {
    let nowhere = fdring(&["tail", &unique("nowhere")]);
    assert_eq!(nowhere.status.code(), Some(1));
    assert!(complaint(&nowhere).contains("see fdring ps"), "{}", complaint(&nowhere));
    assert_eq!(fdring(&["tail"]).status.code(), Some(2));
    assert_eq!(fdring(&["tail", "x", "--json", "--raw"]).status.code(), Some(2));
    let help = fdring(&["--help"]);
    assert!(help.status.success() && out(&help).contains("Exit status: 0 done"), "{}", out(&help));
    let (one, two) = (Producer::create(unique("twice")).unwrap(), Producer::create(unique("twice")).unwrap());
    let twice = fdring(&["tail", &one.lane().name]);
    let id: String = two.lane().id.iter().map(|byte| format!("{byte:02x}")).collect();
    assert!(twice.status.code() == Some(1) && complaint(&twice).contains(&id), "{}", complaint(&twice));
}
