//! `publish` and `subscribe`: shell pipelines over lanes.

mod kit;

use fdring::options::{LaneOptions, ServerOptions, SessionOptions};
use fdring::{Attach, Consumer, Producer, Server};
use kit::{DEADLINE, Running, command, complaint, expect, fdring, is_asleep, number, out, unique, wait_until};
use rustix::process::Signal;
use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;
use std::time::{Duration, Instant};

const PATIENCE: [&str; 2] = ["--patience", "60s"];

/// A consumer of a lane that is not there yet.
fn connect(address: &str) -> Consumer {
    SessionOptions::new().patience(DEADLINE).connect(address).unwrap().attach_one(Attach::new()).unwrap()
}

#[test]
fn what_is_published_is_what_subscribers_write() {
    let address = format!("@{}", unique("through"));
    let lines: String = (0..10_000).map(|number| format!("line {number}\n")).collect();
    let publish = ["publish", &address, "--lane", "lines", "--consumers", "2", "--capacity", "64K", "--json"];
    let publisher = Running::start_with(&publish, lines.as_bytes());
    let subscribers = [["--framing", "lines"], ["--framing", "length"]]
        .map(|framing| Running::start(&[&["subscribe", &address], &framing[..], &PATIENCE].concat()));
    let published = publisher.end();
    expect(&published, 0);
    assert_eq!(number(&out(&published), "records"), 10_000);
    assert_eq!(number(&out(&published), "bytes"), lines.len() as u64 - 10_000);
    let [by_line, by_length] = subscribers.map(|subscriber| {
        let output = subscriber.end();
        expect(&output, 0);
        output.stdout
    });
    assert!(by_line == lines.as_bytes());
    let expected: Vec<u8> =
        lines.lines().flat_map(|line| [&(line.len() as u32).to_le_bytes(), line.as_bytes()].concat()).collect();
    assert!(by_length == expected);
}

#[test]
fn tags_and_bytes_of_any_value_go_through_a_chain_of_lanes() {
    let [first, second] = ["first", "second"].map(|name| format!("@{}", unique(name)));
    let mut input = Vec::new();
    for tag in [0_u16, 1, 513, 65535] {
        let payload = [tag as u8, b'\n', 0, 0xff].repeat(usize::from(tag % 500));
        input.extend((payload.len() as u32).to_le_bytes());
        input.extend(tag.to_le_bytes());
        input.extend(payload);
    }
    let framing = ["--framing", "length", "--tags"];
    let ends = Running::start(&[&["subscribe", &second], &framing[..], &PATIENCE].concat());
    let mut relay_in = command(&[&["subscribe", &first], &framing[..], &PATIENCE].concat());
    let mut relay_in = relay_in.stdout(Stdio::piped()).spawn().unwrap();
    let mut relay_out = command(&[&["publish", &second, "--lane", "copy"], &framing[..]].concat());
    let relay_out = Running::spawn(relay_out.stdin(relay_in.stdout.take().unwrap()));
    let begins = Running::start_with(&[&["publish", &first, "--lane", "original"], &framing[..]].concat(), &input);
    expect(&begins.end(), 0);
    assert!(relay_in.wait().unwrap().success());
    expect(&relay_out.end(), 0);
    let output = ends.end();
    expect(&output, 0);
    assert!(output.stdout == input);
}

#[test]
fn the_options_of_a_lane_are_those_that_were_asked_for() {
    let address = format!("@{}", unique("options"));
    let options = ["--capacity", "8K", "--schema", "77", "--stamped", "--tag", "9", "--rate", "50"];
    let begun = Instant::now();
    let publisher =
        Running::start_with(&[&["publish", &address, "--lane", "n"], &options[..]].concat(), b"1\n2\n3\n4\n5\n6");
    let mut consumer = connect(&address);
    assert_eq!((consumer.lane().capacity, consumer.lane().schema), (8192, 77));
    for number in 1..=6 {
        let record = consumer.receive().unwrap().unwrap();
        assert_eq!((&record[..], record.tag()), (number.to_string().as_bytes(), 9));
        assert!(record.published_at().is_some());
    }
    assert!(consumer.receive().unwrap().is_none());
    // The last of six is due 5 fiftieths of a second after the first.
    assert!(begun.elapsed() >= Duration::from_millis(100));
    expect(&publisher.end(), 0);
}

#[test]
fn a_fault_in_the_input_ends_the_lane_and_says_where() {
    let address = format!("@{}", unique("fault"));
    let publish = ["publish", &address, "--lane", "n", "--tags"];
    let publisher = Running::start_with(&publish, b"1\tone\nno tag\n3\tthree\n");
    let subscriber = Running::start(&["subscribe", &address, "--tags", "--patience", "60s"]);
    let published = publisher.end();
    expect(&published, 1);
    assert!(complaint(&published).contains("record 2 of the input: it does not begin with a tag"), "{published:?}");
    let subscribed = subscriber.end();
    // What was published was written, and the end is not that of the input.
    expect(&subscribed, 1);
    assert_eq!(out(&subscribed), "1\tone\n");
    assert!(complaint(&subscribed).contains("gave up"), "{subscribed:?}");
}

#[test]
fn a_record_that_is_too_long_says_what_to_do() {
    let address = format!("@{}", unique("long"));
    let publish = ["publish", &address, "--lane", "n", "--consumers", "0", "--capacity", "4K"];
    let published = Running::start_with(&publish, &[b'x'; 5000]).end();
    expect(&published, 1);
    assert!(complaint(&published).contains("see --capacity"), "{published:?}");
}

#[test]
fn a_subscriber_writes_json_and_stops_after_a_count() {
    let address = format!("@{}", unique("json"));
    let mut lane = LaneOptions::new("n").create().unwrap();
    let _server = Server::listen(address.as_str(), [&lane]).unwrap();
    lane.send_tagged(b"\x1b[2J", 3).unwrap();
    lane.send(b"second").unwrap();
    let output = fdring(&["subscribe", &address, "--start", "oldest", "--count", "1", "--json"]);
    expect(&output, 0);
    let expected = "{\"position\":0,\"tag\":3,\"len\":4,\"published_at_ns\":null,\"payload\":\"1b5b324a\"}\n";
    assert_eq!(out(&output), expected);
}

#[test]
fn what_is_there_is_written_while_more_is_waited_for() {
    let address = format!("@{}", unique("flush"));
    let mut lane = Producer::create("n").unwrap();
    let _server = Server::listen(address.as_str(), [&lane]).unwrap();
    let mut child = command(&["subscribe", &address]).stdout(Stdio::piped()).spawn().unwrap();
    lane.wait_for_consumers(1, DEADLINE).unwrap();
    lane.send(b"now").unwrap();
    let mut output = child.stdout.take().unwrap();
    let (sender, line) = std::sync::mpsc::channel();
    let reader = std::thread::spawn(move || {
        let mut line = [0; 4];
        sender.send(output.read_exact(&mut line).map(|()| line)).unwrap();
    });
    let line = line.recv_timeout(DEADLINE);
    if line.is_err() {
        child.kill().unwrap();
    }
    assert_eq!(&line.unwrap().unwrap(), b"now\n");
    // Nobody reads its output any more: it ends without a word with the next record.
    reader.join().unwrap();
    wait_until("it ends", || {
        lane.send(b"more").unwrap();
        child.try_wait().unwrap().is_some()
    });
    assert!(child.wait().unwrap().success());
}

#[test]
fn ctrl_c_ends_a_publisher_at_once_and_its_lane_properly() {
    // One waits for consumers, the other for its input.
    let waiting = format!("@{}", unique("waits"));
    let publisher = Running::start(&["publish", &waiting, "--lane", "n"]);
    let mut open = command(&["publish", &waiting.replace("waits", "reads"), "--lane", "n"]);
    let mut reading = open.stdin(Stdio::piped()).spawn().unwrap();
    let mut consumer = connect(&waiting.replace("waits", "reads"));
    // Half a line is no record.
    reading.stdin.as_mut().unwrap().write_all(b"whole\nhalf").unwrap();
    assert_eq!(&consumer.receive().unwrap().unwrap()[..], b"whole");
    rustix::process::kill_process(rustix::process::Pid::from_child(&reading), Signal::INT).unwrap();
    assert!(consumer.receive().unwrap().is_none());
    assert!(reading.wait().unwrap().success());
    let session = SessionOptions::new().patience(DEADLINE).connect(waiting.as_str()).unwrap();
    publisher.signal(Signal::TERM);
    expect(&publisher.end(), 0);
    drop(session);
}

#[test]
fn ctrl_c_ends_a_subscriber_even_if_nobody_reads_its_output() {
    let address = format!("@{}", unique("stuck"));
    let mut lane = Producer::create("n").unwrap();
    let server = ServerOptions::new().listen(address.as_str(), [&lane]).unwrap();
    let mut subscriber = command(&["subscribe", &address]).stdout(Stdio::piped()).spawn().unwrap();
    lane.wait_for_consumers(1, DEADLINE).unwrap();
    // More than a pipe takes, and than the ring has room for: it stands still in a write.
    wait_until("the ring is full while it sleeps", || {
        while lane.send_timeout(&[b'x'; 1 << 16], Duration::from_millis(300)).is_ok() {}
        is_asleep(subscriber.id())
    });
    rustix::process::kill_process(rustix::process::Pid::from_child(&subscriber), Signal::INT).unwrap();
    wait_until("it ends", || subscriber.try_wait().unwrap().is_some());
    assert_eq!(subscriber.wait().unwrap().code(), Some(130));
    // One that waits for records ends with all that it has.
    let idle = Running::start(&["subscribe", &address]);
    wait_until("the first has gone and the second is there", || {
        server.stats().attached == 2 && lane.consumer_count() == 1
    });
    idle.signal(Signal::INT);
    let output = idle.end();
    assert_eq!((output.status.code(), output.status.signal()), (Some(0), None), "{output:?}");
}

#[test]
fn a_tap_says_what_it_has_missed() {
    let address = format!("@{}", unique("tap"));
    let mut lane = LaneOptions::new("n").capacity(4096).create().unwrap();
    let _server = Server::listen(address.as_str(), [&lane]).unwrap();
    let tap = Running::start(&["subscribe", &address, "--tap"]);
    wait_until("the tap is there", || lane.tap_count() == 1);
    tap.signal(Signal::STOP);
    let total: u64 = (0..1000).map(|number| lane.send(format!("{number:0>8}").as_bytes()).map(|()| 16).unwrap()).sum();
    lane.finish();
    tap.signal(Signal::CONT);
    let output = tap.end();
    expect(&output, 3);
    let said = complaint(&output);
    let missed: u64 = said.lines().filter_map(|line| line.split(' ').nth(2)?.parse::<u64>().ok()).sum();
    assert_eq!(out(&output).lines().count() as u64 * 16 + missed, total, "{said}");
}

#[test]
fn what_cannot_be_done_is_said() {
    let nobody = fdring(&["subscribe", &format!("@{}", unique("nobody")), "--patience", "0"]);
    expect(&nobody, 1);
    let address = format!("@{}", unique("several"));
    let lanes = [Producer::create("a").unwrap(), Producer::create("b").unwrap()];
    let _server = Server::listen(address.as_str(), &lanes).unwrap();
    let several = fdring(&["subscribe", &address]);
    expect(&several, 1);
    assert!(complaint(&several).contains("offers a, b; choose one with --lane"), "{several:?}");
    let taken = fdring(&["publish", &address, "--lane", "c"]);
    expect(&taken, 1);
    for usage in [&["publish", "@x"][..], &["publish", "@x", "--lane", "n", "--rate", "0"], &["subscribe"]] {
        expect(&fdring(usage), 2);
    }
    for (command, example) in [("publish", "seq 1000000"), ("subscribe", "--tap --json")] {
        let help = fdring(&[command, "--help"]);
        expect(&help, 0);
        assert!(out(&help).contains(example), "{help:?}");
    }
}
