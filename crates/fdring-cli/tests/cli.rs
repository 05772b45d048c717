//! The command as a shell would run it, on lanes of this process.

mod kit;

use fdring::options::LaneOptions;
use fdring::{Consumer, Producer, Server};
use kit::{Folder, Running, at_once, complaint, fdring, is_asleep, out, signals_that_end, unique, wait_until};
use rustix::process::{Pid, Signal, kill_process};
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::time::Instant;

#[test]
fn ps_shows_lanes_with_those_who_read_them() {
    let (name, address) = (unique("ps"), format!("@{}", unique("ps")));
    let mut lane = Producer::create(&name).unwrap();
    let _server = Server::listen(address.as_str(), [&lane]).unwrap();
    let _consumer = Consumer::connect(address.as_str()).unwrap();
    lane.send(&[7; 992]).unwrap();
    let pid = std::process::id().to_string();
    let table = fdring(&["ps", "--pid", &pid, "--interval", "1ms"]);
    let text = out(&table);
    let at = text.lines().position(|line| line.starts_with(&name)).unwrap_or_else(|| panic!("{text}"));
    let lines: Vec<&str> = text.lines().skip(at).take(2).collect();
    assert!(lines[0].contains(&pid) && lines[0].contains(" 1000 B ") && lines[0].ends_with("live"), "{text}");
    let stands_still = lines[1].contains(" 1000 B ") && lines[1].contains("stands still");
    assert!(lines[1].starts_with("  copies") && stands_still, "{text}");
    assert!(!text.contains('\x1b'), "no colours where no terminal is");
    let json = out(&fdring(&["ps", "--json", "--interval", "1ms"]));
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
        format!("{:>14} {:>5} {:>9}  first\\u{{1b}}\n{:>14} {:>5} {:>9}  {}...\n", 0, 5, 6, 16, 0, 100, "x".repeat(64));
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

const SUBCOMMANDS: [&str; 15] = [
    "ps",
    "top",
    "inspect",
    "tail",
    "hz",
    "delay",
    "doctor",
    "publish",
    "subscribe",
    "record",
    "replay",
    "info",
    "send-fds",
    "recv-fds",
    "completions",
];

#[test]
fn each_subcommand_has_help_with_examples_and_speaks_json() {
    let all = out(&fdring(&["--help"]));
    let listed = all.lines().filter_map(|line| line.strip_prefix("  ")?.split_whitespace().next());
    let listed: Vec<&str> = listed.filter(|word| SUBCOMMANDS.contains(word)).collect();
    assert!(SUBCOMMANDS.iter().all(|subcommand| listed.contains(subcommand)), "{all}");
    for subcommand in SUBCOMMANDS {
        let help = fdring(&[subcommand, "--help"]);
        let text = out(&help);
        let example = text.split_once("\nExamples:\n").and_then(|(_, examples)| examples.lines().next());
        assert!(example.is_some_and(|line| line.contains("fdring")), "{subcommand}: {text}");
        assert!(text.contains("--json") || subcommand == "completions", "{subcommand}: {text}");
        assert_eq!(fdring(&[subcommand, "--no-such-option"]).status.code(), Some(2), "{subcommand}");
    }
}

/// Each as it waits: for a lane, a server, a consumer, a peer, or the time. The signal is SIGTERM, which is Ctrl-C to
/// them: a shell may have told those whom it starts in the background to ignore SIGINT.
#[test]
fn a_signal_ends_each_subcommand_at_once() {
    let (name, folder) = (unique("waits"), Folder::new("waits"));
    let [server, nobody, other] = ["", "-nobody", "-other"].map(|end| format!("@{name}{end}"));
    let mut lane = LaneOptions::new(&name).stamped(true).create().unwrap();
    let _server = Server::listen(&*server, [&lane]).unwrap();
    let [file, second] = ["file.mcap", "second.mcap"].map(|name| folder.text(name));
    lane.send(b"one").unwrap();
    let record = ["record", &server, "--start", "oldest", "--count", "1", "-o", &file];
    assert!(fdring(&record).status.success());
    let waiting: [&[&str]; 13] = [
        &["ps", "--interval", "60s"],
        &["top", "--json", "--interval", "60s"],
        &["tail", &name],
        &["tail", &server],
        &["hz", &name, "--interval", "60s"],
        &["delay", &server, "--interval", "60s"],
        &["publish", &other, "--lane", "n"],
        &["subscribe", &server],
        &["subscribe", &nobody, "--patience", "60s"],
        &["record", &name, "-o", &second, "--force"],
        &["record", &nobody, "--patience", "60s", "-o", &second, "--force"],
        &["replay", &file, "--at", &other, "--consumers", "1"],
        &["send-fds", "--socket", &other, "--read-only", &file],
    ];
    for arguments in waiting {
        at_once(&format!("the end of {arguments:?}"), || {
            let mut running = Running::start(arguments);
            // A look at all processes may sleep for a moment, too: it is to end then as well.
            wait_until(&format!("{arguments:?} waits"), || is_asleep(running.id()));
            let asked = Instant::now();
            running.signal(Signal::TERM);
            wait_until(&format!("{arguments:?} ends"), || !running.is_running());
            let took = asked.elapsed();
            let output = running.end();
            // Before it has taken the signal over, the kernel ends it; 130 is the end of a look that takes long.
            let is_fine = matches!(output.status.code(), Some(0 | 130)) || output.status.signal().is_some();
            assert!(is_fine || complaint(&output).contains("interrupted"), "{arguments:?}: {output:?}");
            took
        });
    }
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
    for signal in signals_that_end() {
        at_once(&format!("the end by {signal:?}"), || {
            let (mut child, _stdout, line) = started(&["tail", &lane.lane().name, "--start", "newest"]);
            assert!(line.ends_with("one\n"), "{line:?}");
            let asked = Instant::now();
            kill_process(Pid::from_child(&child), signal).unwrap();
            assert_eq!(child.wait().unwrap().code(), Some(0), "{signal:?}");
            asked.elapsed()
        });
    }
}

#[test]
fn a_signal_ends_what_is_stuck_in_its_output() {
    let mut lane = LaneOptions::new(unique("stuck")).capacity(1 << 20).create().unwrap();
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
    let (mut child, stdout, _) = started(&["tail", &lane.lane().name, "--start", "newest"]);
    drop(stdout);
    // A process that another test is starting has the pipe open for a moment, too.
    wait_until("it ends", || {
        lane.send(b"two").unwrap();
        child.try_wait().unwrap().is_some()
    });
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), complaint(&output)), (Some(0), String::new()));
}

#[test]
fn an_output_that_is_full_is_an_error() {
    // Something to say: of no lane at all there is nothing on standard output.
    let _lane = Producer::create(unique("full")).unwrap();
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_fdring")).arg("ps").stdout(full).output().unwrap();
    assert!(
        output.status.code() == Some(1)
            && complaint(&output).contains("could not write to standard output: No space left"),
        "{output:?}"
    );
}

/// Numbers of a lane that is written until they have been asked for.
fn numbers_of(lane: &mut Producer, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fdring"));
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    wait_until("it has its numbers", || {
        lane.send(&[7; 40]).unwrap();
        child.try_wait().unwrap().is_some()
    });
    child.wait_with_output().unwrap()
}

/// The number of a field in a line of JSON.
fn field(line: &str, name: &str) -> f64 {
    let (_, rest) = line.split_once(&format!("\"{name}\":")).unwrap_or_else(|| panic!("no {name}: {line}"));
    rest.split([',', '}']).next().unwrap().parse().unwrap_or_else(|_| panic!("{name}: {line}"))
}

#[test]
fn hz_tells_how_often_records_come() {
    let mut lane = LaneOptions::new(unique("hz")).stamped(true).create().unwrap();
    let name = lane.lane().name.clone();
    let output = numbers_of(&mut lane, &["hz", &name, "--interval", "0.2", "--count", "2", "--json"]);
    let text = out(&output);
    let line = text.lines().nth(1).unwrap_or_else(|| panic!("{text} {}", complaint(&output)));
    assert_eq!((text.lines().count(), output.status.code()), (2, Some(0)), "{text}");
    let (records, rate) = (field(line, "records"), field(line, "records_per_second"));
    assert!(records > 1.0 && (rate * field(line, "seconds") - records).abs() < 0.5, "{line}");
    assert_eq!(field(line, "payload_bytes"), 40.0 * records, "{line}");
    let mean = field(line, "gap_mean_seconds");
    assert!(mean >= 0.001 && mean * (records - 1.0) <= 0.4, "the test sends every millisecond or more seldom: {line}");
    assert!(field(line, "gap_min_seconds") <= mean && mean <= field(line, "gap_max_seconds"), "{line}");
    let table = numbers_of(&mut lane, &["hz", &name, "--interval", "0.1", "--count", "2"]);
    let text = out(&table);
    assert!(text.lines().count() == 5 && text.contains("RECORDS/S") && text.contains("in all "), "{text}");
}

#[test]
fn hz_says_how_much_it_missed() {
    let mut lane = LaneOptions::new(unique("hz-missed")).capacity(4096).create().unwrap();
    let (mut child, _stdout, _) = started(&["hz", &lane.lane().name, "--interval", "60"]);
    kill_process(Pid::from_child(&child), Signal::STOP).unwrap();
    (0..100).for_each(|_| lane.send(&[0; 1000]).unwrap());
    kill_process(Pid::from_child(&child), Signal::CONT).unwrap();
    lane.finish();
    assert_eq!(child.wait().unwrap().code(), Some(3));
}

#[test]
fn delay_tells_how_long_records_are_on_their_way() {
    let (name, address) = (unique("delay"), format!("@{}", unique("delay")));
    let mut lane = LaneOptions::new(&name).stamped(true).create().unwrap();
    let _server = Server::listen(&*address, [&lane]).unwrap();
    let output = numbers_of(&mut lane, &["delay", &address, "--interval", "0.3", "--count", "1", "--json"]);
    let line = out(&output);
    assert_eq!(output.status.code(), Some(0), "{}", complaint(&output));
    let times = ["min_seconds", "p50_seconds", "p99_seconds", "max_seconds"].map(|name| field(&line, name));
    assert!(times.is_sorted() && times[0] > 0.0 && times[3] < 5.0 && field(&line, "records") > 1.0, "{line}");
    let by_name = numbers_of(&mut lane, &["delay", &name, "--interval", "0.1", "--count", "1"]);
    assert!(complaint(&by_name).contains("naps"), "{}", complaint(&by_name));
    let plain = Producer::create(unique("no-times")).unwrap();
    let output = fdring(&["delay", &plain.lane().name]);
    assert!(output.status.code() == Some(1) && complaint(&output).contains("stamped"), "{}", complaint(&output));
}

#[test]
fn tail_shows_payloads_as_hex_and_as_structs() {
    let name = unique("shapes");
    let mut lane = Producer::create(&name).unwrap();
    let _server = Server::listen(format!("@{name}").as_str(), [&lane]).unwrap();
    lane.send_tagged(&[&7u64.to_le_bytes()[..], &2.5f64.to_le_bytes()].concat(), 1).unwrap();
    lane.send(b"odd").unwrap();
    lane.finish();
    let tail = |more: &[&str]| fdring(&[&["tail", &name, "--start", "oldest"], more].concat());
    let values = tail(&["--as", "u64 seq, f64 price"]);
    let text = out(&values);
    assert!(text.lines().next().unwrap().ends_with("  seq=7 price=2.5"), "{text}");
    assert!(text.ends_with("no whole structs of 16 bytes\n") && values.status.code() == Some(3), "{text}");
    let json = tail(&["--as", "u64 seq, f64 price", "--json", "--tag", "1"]);
    assert!(out(&json).ends_with("\"fields\":{\"seq\":7,\"price\":2.5}}\n"), "{}", out(&json));
    assert_eq!(json.status.code(), Some(0));
    let hex = out(&tail(&["--as", "hex"]));
    assert!(
        hex.contains("\n                       0: 0700 0000 0000 0000 0000 0000 0000 0440  ...............@\n"),
        "{hex}"
    );
    assert!(hex.ends_with("0: 6f64 64                                  odd\n"), "{hex}");
    let text = out(&tail(&["--as", "text", "--json", "--tag", "0"]));
    assert!(text.ends_with("\"payload\":\"odd\"}\n"), "{text}");
    let short = out(&tail(&["--bytes", "2", "--tag", "0"]));
    assert!(short.ends_with("  od...\n"), "{short}");
    let nonsense = tail(&["--as", "u65 seq"]);
    assert!(nonsense.status.code() == Some(2) && complaint(&nonsense).contains("no type `u65`"), "{nonsense:?}");
}

#[test]
fn tail_says_what_it_missed_and_goes_on() {
    let mut lane = LaneOptions::new(unique("missed")).capacity(4096).create().unwrap();
    lane.send(b"first").unwrap();
    let (mut child, mut stdout, _) = started(&["tail", &lane.lane().name, "--start", "newest", "--json"]);
    kill_process(Pid::from_child(&child), Signal::STOP).unwrap();
    (0..100).for_each(|_| lane.send(&[0; 1000]).unwrap());
    lane.send(b"last").unwrap();
    kill_process(Pid::from_child(&child), Signal::CONT).unwrap();
    lane.finish();
    let mut rest = String::new();
    stdout.read_to_string(&mut rest).unwrap();
    assert!(rest.contains("{\"missed_bytes\":") && rest.contains("\"payload\":\"6c617374\""), "{rest}");
    assert_eq!(child.wait().unwrap().code(), Some(3));
}
