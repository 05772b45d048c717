//! The command as a shell would run it, on lanes of this process.

use fdring::{Consumer, Producer, Server};
use rustix::process::{Pid, Signal, kill_process};
use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::time::{Duration, Instant};

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

fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !condition() {
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        std::thread::park_timeout(Duration::from_millis(1));
    }
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
    assert!(lines[0].contains(&pid) && lines[0].contains(" 1000 B ") && lines[0].ends_with("live"), "{text}");
    let stands_still = lines[1].contains(" 1000 B ") && lines[1].contains("stands still for ");
    assert!(lines[1].starts_with("  copies") && stands_still, "{text}");
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
    let nobody = fdring(&["tail", &format!("@{}", unique("nobody"))]);
    assert!(nobody.status.code() == Some(1) && complaint(&nobody).contains("nobody"), "{}", complaint(&nobody));
    let help = fdring(&["--help"]);
    assert!(help.status.success() && out(&help).contains("Exit status: 0 done"), "{}", out(&help));
    let (one, two) = (Producer::create(unique("twice")).unwrap(), Producer::create(unique("twice")).unwrap());
    let twice = fdring(&["tail", &one.lane().name]);
    let id: String = two.lane().id.iter().map(|byte| format!("{byte:02x}")).collect();
    assert!(twice.status.code() == Some(1) && complaint(&twice).contains(&id), "{}", complaint(&twice));
}

#[test]
fn a_lane_is_found_by_name_id_process_and_address() {
    let (name, address) = (unique("found"), format!("@{}", unique("found")));
    let (mut one, other) = (Producer::create(&name).unwrap(), Producer::create(unique("found-2")).unwrap());
    let _server = Server::listen(address.as_str(), [&one, &other]).unwrap();
    one.send(b"here").unwrap();
    let id: String = one.lane().id.iter().map(|byte| format!("{byte:02x}")).collect();
    let pid = std::process::id().to_string();
    let ways: [&[&str]; 4] = [&[&name], &[&id], &[&pid, "--lane", &name], &[&address, "--lane", &name]];
    for way in ways {
        let arguments = [&["tail", "--start", "newest", "--count", "1", "--raw"], way].concat();
        let output = fdring(&arguments);
        assert_eq!((&*output.stdout, output.status.code()), (&b"here"[..], Some(0)), "{way:?}: {}", complaint(&output));
    }
    let several = fdring(&["tail", &pid]);
    assert!(several.status.code() == Some(1) && complaint(&several).contains("--lane"), "{}", complaint(&several));
    let several = fdring(&["tail", &address]);
    assert!(several.status.code() == Some(1) && complaint(&several).contains(&name), "{}", complaint(&several));
}

#[test]
fn completions_know_the_subcommands() {
    for shell in ["bash", "zsh", "fish"] {
        let output = fdring(&["completions", shell]);
        assert!(output.status.success() && out(&output).contains("tail"), "{shell}");
    }
    assert_eq!(fdring(&["completions", "abacus"]).status.code(), Some(2));
}

/// Runs it and waits until it has said the first line.
fn started(arguments: &[&str]) -> (Child, BufReader<ChildStdout>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fdring"));
    let mut child =
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    stdout.read_line(&mut line).unwrap();
    (child, stdout, line)
}

#[test]
fn a_signal_ends_it_at_once_and_in_order() {
    let mut lane = Producer::create(unique("signal")).unwrap();
    lane.send(b"one").unwrap();
    for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
        let (mut child, _stdout, line) = started(&["tail", &lane.lane().name, "--start", "newest"]);
        assert!(line.ends_with("one\n"), "{line:?}");
        let asked = Instant::now();
        kill_process(Pid::from_child(&child), signal).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(0), "{signal:?}");
        assert!(asked.elapsed() < Duration::from_secs(2), "{signal:?} took {:?}", asked.elapsed());
    }
}

#[test]
fn a_signal_ends_what_is_stuck_in_its_output() {
    let mut lane = fdring::options::LaneOptions::new(unique("stuck")).capacity(1 << 20).create().unwrap();
    let (mut child, stdout, _) = {
        lane.send(&[0; 200_000]).unwrap();
        started(&["tail", &lane.lane().name, "--start", "newest", "--json"])
    };
    // Far more than a pipe holds: it waits until somebody reads on.
    lane.send(&[0; 400_000]).unwrap();
    wait_until("the pipe is full", || rustix::io::ioctl_fionread(stdout.get_ref()).unwrap() >= 60_000);
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
}

#[test]
fn a_reader_that_goes_away_ends_it_without_a_word() {
    let mut lane = Producer::create(unique("pipe")).unwrap();
    lane.send(b"one").unwrap();
    let (child, stdout, _) = started(&["tail", &lane.lane().name, "--start", "newest"]);
    drop(stdout);
    lane.send(b"two").unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), complaint(&output)), (Some(0), String::new()));
}

#[test]
fn an_output_that_is_full_is_an_error() {
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_fdring")).arg("ps").stdout(full).output().unwrap();
    assert!(output.status.code() == Some(1) && complaint(&output).contains("could not write"), "{output:?}");
}
