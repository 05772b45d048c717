//! `record`, `replay` and `info` when something goes wrong: nothing of what came before is lost.

mod kit;
mod pty;

use fdring::errors::ReceiveError;
use fdring::options::{LaneOptions, SessionOptions};
use fdring::{Attach, Consumer, Producer, Server};
use kit::{DEADLINE, Folder, Running, command, complaint, expect, fdring, info, number, out, records_of, unique};
use kit::{ticks_of, wait_until};
use pty::Screen;
use rustix::fs::{CWD, FileType, Mode, mknodat};
use rustix::process::Signal;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// Records of 1024 bytes in the ring, which never needs padding with them.
const PAYLOAD: [u8; 1016] = [7; 1016];

fn connect(address: &str) -> Vec<Consumer> {
    SessionOptions::new().patience(DEADLINE).connect(address).unwrap().attach_all(Attach::new()).unwrap()
}

/// A lane with a server of the same name.
fn served(name: &str) -> (Producer, Server, String) {
    let (lane, address) = (Producer::create("n").unwrap(), format!("@{}", unique(name)));
    let server = Server::listen(address.as_str(), [&lane]).unwrap();
    (lane, server, address)
}

fn send(lane: &mut Producer, records: usize) {
    (0..records).for_each(|_| lane.send(&PAYLOAD).unwrap());
    lane.wait_released(lane.published(), DEADLINE).unwrap();
}

#[test]
fn numbers_go_on_from_the_files_that_are_there() {
    let folder = Folder::new("numbers");
    for name in ["w-0001.mcap", "w-0003.mcap", "s-0001.mcap"] {
        std::fs::write(folder.path(name), "precious").unwrap();
    }
    let (mut lane, _server, address) = served("numbers");
    let window = ["record", &address, "--lossless", "--json", "--last", "1h", "-o", &folder.text("w.mcap")];
    let recorder = Running::start(&window);
    lane.wait_for_consumers(1, DEADLINE).unwrap();
    send(&mut lane, 10);
    recorder.signal(Signal::USR1);
    wait_until("the window is written", || {
        folder.path("w-0002.mcap").exists() && fdring(&["info", &folder.text("w-0002.mcap")]).status.success()
    });
    send(&mut lane, 10);
    recorder.signal(Signal::INT);
    let output = recorder.end();
    expect(&output, 0);
    let report = out(&output);
    let file = report.lines().last().unwrap();
    assert!(number(file, "files") == 2 && file.contains("w-0002.mcap\"") && file.contains("w-0004.mcap\""), "{file}");
    assert_eq!(["w-0002.mcap", "w-0004.mcap"].map(|name| records_of(&folder.text(name), 0)), [10, 20]);
    let split = ["record", &address, "--lossless", "--split-size", "1G", "--count", "5", "-o", &folder.text("s.mcap")];
    let recorder = Running::start(&split);
    lane.wait_for_consumers(1, DEADLINE).unwrap();
    send(&mut lane, 5);
    expect(&recorder.end(), 0);
    assert_eq!(records_of(&folder.text("s-0002.mcap"), 0), 5);
    for name in ["w-0001.mcap", "w-0003.mcap", "s-0001.mcap"] {
        assert_eq!(std::fs::read(folder.path(name)).unwrap(), b"precious", "{name}");
    }
}

#[test]
fn a_window_that_cannot_be_written_is_kept() {
    let folder = Folder::new("kept");
    let (mut lane, _server, address) = served("kept");
    let target = folder.path("folder");
    let window = ["record", &address, "--lossless", "--last", "1h", "-o", &folder.text("folder/w.mcap")];
    let nowhere = fdring(&window);
    expect(&nowhere, 1);
    assert!(complaint(&nowhere).contains("could not create"), "it is said now, not at the incident: {nowhere:?}");
    std::fs::create_dir(&target).unwrap();
    let said = folder.path("said");
    let mut recorder = command(&window);
    let mut recorder = recorder.stderr(File::create(&said).unwrap()).stdout(Stdio::null()).spawn().unwrap();
    lane.wait_for_consumers(1, DEADLINE).unwrap();
    send(&mut lane, 10);
    std::fs::remove_dir(&target).unwrap();
    let id = rustix::process::Pid::from_child(&recorder);
    rustix::process::kill_process(id, Signal::USR1).unwrap();
    let is_said = || std::fs::read_to_string(&said).unwrap().contains("the window was not written, and is kept");
    wait_until("it says that it failed, or ends", || is_said() || recorder.try_wait().unwrap().is_some());
    std::fs::create_dir(&target).unwrap();
    send(&mut lane, 10);
    rustix::process::kill_process(id, Signal::INT).unwrap();
    wait_until("it ends", || recorder.try_wait().unwrap().is_some());
    assert_eq!(recorder.wait().unwrap().code(), Some(0), "{}", std::fs::read_to_string(&said).unwrap());
    assert_eq!(
        records_of(folder.path("folder").read_dir().unwrap().next().unwrap().unwrap().path().to_str().unwrap(), 0),
        20
    );
}

#[test]
fn a_lane_with_too_many_tags_spoils_no_other() {
    let (folder, address) = (Folder::new("tags"), format!("@{}", unique("tags")));
    let mut lanes = [Producer::create("tags").unwrap(), Producer::create("other").unwrap()];
    let server = Server::listen(address.as_str(), &lanes).unwrap();
    let file = folder.text("tags.mcap");
    let recorder = Running::start(&["record", &address, "--lossless", "--json", "-o", &file]);
    lanes.iter().for_each(|lane| lane.wait_for_consumers(1, DEADLINE).unwrap());
    send(&mut lanes[1], 10);
    (0..=u16::MAX).for_each(|tag| lanes[0].send_tagged(b"x", tag).unwrap());
    wait_until("it reads that lane no longer", || lanes[0].consumer_count() == 0);
    send(&mut lanes[1], 10);
    lanes.into_iter().for_each(Producer::finish);
    let output = recorder.end();
    expect(&output, 1);
    assert!(complaint(&output).contains("lane tags: it has one tag too many"), "{}", complaint(&output));
    drop(server);
    let (channels, whole) = info(&file, 0);
    assert!(whole.contains("\"is_whole\":true"), "{whole}");
    // The channels of two lanes are kept for what they miss.
    assert_eq!(channels.len(), 65535 - 2);
    let of = |name: &str| -> u64 {
        let lane = format!("\"lane\":\"{name}\"");
        channels.iter().filter(|line| line.contains(&lane)).map(|line| number(line, "records")).sum()
    };
    assert_eq!((of("other"), of("tags")), (20, 65535 - 3));
}

#[test]
fn the_window_of_lanes_that_never_pause_is_written() {
    let (folder, names) =
        (Folder::new("pauses"), ["1", "2", "3", "4", "5"].map(|number| unique(&format!("pauses-{number}"))));
    let lanes = names.clone().map(|name| Producer::create(&name).unwrap());
    let window = ["--last", "1s", "--memory", "1M", "-o", &folder.text("w.mcap")];
    let recorder = Running::start(&[&["record"], &names.each_ref().map(String::as_str)[..], &window].concat());
    wait_until("it hears signals", || has_thread(recorder.id(), "writes"));
    let is_over = AtomicBool::new(false);
    std::thread::scope(|threads| {
        for mut lane in lanes {
            let is_over = &is_over;
            // Short records, with which no reader keeps up.
            threads.spawn(move || {
                while !is_over.load(Relaxed) {
                    (0..1000).for_each(|_| lane.send(b"").unwrap());
                }
            });
        }
        let begun = Instant::now();
        wait_until("the lanes have been read for a while", || begun.elapsed() > Duration::from_millis(300));
        recorder.signal(Signal::USR1);
        let deadline = Instant::now() + DEADLINE;
        while !folder.path("w-0001.mcap").exists() && Instant::now() < deadline {
            std::thread::park_timeout(Duration::from_millis(1));
        }
        is_over.store(true, Relaxed);
        assert!(Instant::now() < deadline, "no file, while the lanes go on");
    });
    recorder.signal(Signal::INT);
    assert!(matches!(recorder.end().status.code(), Some(0 | 3)));
}

fn has_thread(pid: u32, name: &str) -> bool {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task"));
    let names = tasks.into_iter().flatten().flatten().map(|task| std::fs::read_to_string(task.path().join("comm")));
    names.flatten().any(|comm| comm.trim() == name)
}

#[test]
fn two_signals_in_a_row_leave_it_asleep_and_it_goes_on() {
    let folder = Folder::new("row");
    let (mut lane, _server, address) = served("row");
    let recorder = Running::start(&["record", &address, "--lossless", "--last", "1h", "-o", &folder.text("w.mcap")]);
    lane.wait_for_consumers(1, DEADLINE).unwrap();
    for _ in 0..50 {
        recorder.signal(Signal::USR1);
        recorder.signal(Signal::USR1);
        send(&mut lane, 1);
    }
    let mut still = (Instant::now(), 0);
    wait_until("it sleeps", || {
        let ticks = ticks_of(recorder.id());
        // It writes what it was asked to, and then it uses no processor.
        if ticks > still.1 + 2 {
            still = (Instant::now(), ticks);
        }
        still.0.elapsed() > Duration::from_millis(500)
    });
    recorder.signal(Signal::INT);
    expect(&recorder.end(), 0);
}

#[test]
fn a_signal_while_it_connects_ends_nothing() {
    let (folder, address) = (Folder::new("connects"), format!("@{}", unique("connects")));
    let window = ["record", &address, "--lossless", "--last", "1h", "--patience", "60s", "-o", &folder.text("w.mcap")];
    let mut recorder = Running::start(&window);
    wait_until("it hears signals", || has_thread(recorder.id(), "writes"));
    recorder.signal(Signal::USR1);
    recorder.signal(Signal::USR1);
    let mut lane = Producer::create("n").unwrap();
    let _server = Server::listen(address.as_str(), [&lane]).unwrap();
    wait_until("it reads the lane, or has ended", || lane.consumer_count() == 1 || !recorder.is_running());
    send(&mut lane, 3);
    recorder.signal(Signal::INT);
    expect(&recorder.end(), 0);
}

#[test]
fn a_process_is_recorded_lane_by_lane_and_no_other_than_was_asked_for() {
    let (folder, one, two) = (Folder::new("process"), unique("process-1"), unique("process-2"));
    let pid = std::process::id().to_string();
    let lanes = [Producer::create(&one).unwrap(), Producer::create(&two).unwrap()];
    let file = folder.text("p.mcap");
    let mistyped = fdring(&["record", &pid, "--lane", &one, "--lane", &one[..one.len() - 1], "-o", &file]);
    expect(&mistyped, 1);
    let sentence = format!("lane {} of {pid} can be seen", &one[..one.len() - 1]);
    assert!(complaint(&mistyped).contains(&sentence), "{mistyped:?}");
    let recorder = Running::start(&["record", &pid, "--lane", &one, "--lane", &two, "--json", "-o", &file]);
    wait_until("the recording has begun", || Path::new(&file).exists());
    lanes.into_iter().for_each(Producer::finish);
    let output = recorder.end();
    expect(&output, 0);
    assert_eq!(out(&output).lines().count(), 3, "{output:?}");
}

/// A terminal that is closed sends SIGHUP twice: its shell does, and the kernel.
#[test]
fn a_terminal_that_is_closed_while_the_file_is_finished_kills_nobody() {
    if !kit::signals_that_end().contains(&Signal::HUP) {
        return kit::skipped("this process was started with SIGHUP ignored");
    }
    let folder = Folder::new("twice");
    let (mut lane, _server, address) = served("twice");
    // Nobody reads the pipe, so that the file cannot be finished.
    let pipe = folder.path("pipe");
    mknodat(CWD, &pipe, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    let mut recorder = Running::start(&["record", &address, "--lossless", "--force", "-o", pipe.to_str().unwrap()]);
    let mut reader = File::open(&pipe).unwrap();
    lane.wait_for_consumers(1, DEADLINE).unwrap();
    send(&mut lane, 3000);
    for _ in 0..20 {
        recorder.signal(Signal::HUP);
        wait_until("the signal was heard", || {
            let status = std::fs::read_to_string(format!("/proc/{}/status", recorder.id())).unwrap_or_default();
            status.lines().filter(|line| line.contains("Pnd:")).all(|line| line.trim_end().ends_with("00000000"))
        });
    }
    wait_until("it has left the lane, or ended", || lane.consumer_count() == 0 || !recorder.is_running());
    let mut bytes = Vec::new();
    reader.read_to_end(&mut bytes).unwrap();
    expect(&recorder.end(), 0);
    std::fs::write(folder.path("read.mcap"), bytes).unwrap();
    assert_eq!(records_of(&folder.text("read.mcap"), 0), 3000);
}

#[test]
fn a_report_that_nobody_reads_hides_no_failure() {
    let nobody = || {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        Stdio::from(writer)
    };
    let folder = Folder::new("nobody");
    let (mut lane, _server, address) = served("nobody");
    let file = folder.text("n.mcap");
    let recorder = Running::start(&["record", &address, "--lossless", "-o", &file]);
    lane.wait_for_consumers(1, DEADLINE).unwrap();
    send(&mut lane, 3);
    recorder.signal(Signal::INT);
    expect(&recorder.end(), 0);
    let status =
        |arguments: &[&str]| command(arguments).stdout(nobody()).stderr(Stdio::null()).status().unwrap().code();
    assert_eq!(status(&["info", &file]), Some(0), "nothing is wrong");
    assert_eq!(status(&["replay", &file, "--at", &format!("@{}", unique("nobody-1"))]), Some(0));
    let bytes = std::fs::read(&file).unwrap();
    std::fs::write(&file, &bytes[..bytes.len() - 50]).unwrap();
    assert_eq!(status(&["info", &file]), Some(3));
    assert_eq!(status(&["replay", &file, "--at", &format!("@{}", unique("nobody-2"))]), Some(3));
    std::fs::write(&file, [&bytes[..], b"more"].concat()).unwrap();
    assert_eq!(status(&["info", &file]), Some(1));
    assert_eq!(status(&["replay", &file, "--at", &format!("@{}", unique("nobody-3"))]), Some(1));
}

/// A recording of two lanes with so many records each.
fn recording(folder: &Folder, records: usize) -> String {
    let address = format!("@{}", unique("source"));
    let mut lanes = ["a", "b"].map(|name| LaneOptions::new(name).capacity(64 << 10).create().unwrap());
    let _server = Server::listen(address.as_str(), &lanes).unwrap();
    let file = folder.text("two.mcap");
    let recorder = Running::start(&["record", &address, "--lossless", "-o", &file]);
    lanes.iter().for_each(|lane| lane.wait_for_consumers(1, DEADLINE).unwrap());
    (0..records).for_each(|_| lanes.iter_mut().for_each(|lane| lane.send(&PAYLOAD).unwrap()));
    lanes.into_iter().for_each(Producer::finish);
    expect(&recorder.end(), 0);
    file
}

#[test]
fn lanes_of_a_replay_may_be_read_one_after_another() {
    let folder = Folder::new("after");
    let file = recording(&folder, 20);
    let again = format!("@{}", unique("after"));
    let replayer = Running::start(&["replay", &file, "--at", &again, "--fast", "--consumers", "1"]);
    for mut consumer in connect(&again).into_iter().rev() {
        let mut records = 0;
        while consumer.receive_timeout(DEADLINE).expect("the lane ends though the other is not read").is_some() {
            records += 1;
        }
        assert_eq!(records, 20);
    }
    expect(&replayer.end(), 0);
}

#[test]
fn consumers_of_a_broken_recording_are_not_told_that_all_is_well() {
    let folder = Folder::new("told");
    let file = recording(&folder, 3000);
    let mut bytes = std::fs::read(&file).unwrap();
    // In the third of six chunks, and not in the index behind it.
    let at = bytes.len() * 2 / 5;
    bytes[at] ^= 1;
    std::fs::write(&file, bytes).unwrap();
    let again = format!("@{}", unique("told"));
    let replayer = Running::start(&["replay", &file, "--at", &again, "--fast", "--consumers", "1"]);
    let readers: Vec<_> = connect(&again)
        .into_iter()
        .map(|mut consumer| {
            std::thread::spawn(move || {
                let mut records = 0;
                loop {
                    match consumer.receive_timeout(DEADLINE).map(|record| record.is_some()) {
                        Ok(true) => records += 1,
                        end => return (records, end),
                    }
                }
            })
        })
        .collect();
    for reader in readers {
        let (records, end) = reader.join().unwrap();
        assert!((500..2000).contains(&records) && matches!(end, Err(ReceiveError::Abandoned)), "{records} {end:?}");
    }
    let output = replayer.end();
    expect(&output, 1);
    assert!(complaint(&output).contains("is broken"), "{output:?}");
}

#[test]
fn a_short_file_takes_little_memory_whatever_it_says() {
    let folder = Folder::new("short");
    let bytes = [&b"\x89MCAP0\r\n\x01"[..], &(1_u64 << 30).to_le_bytes()].concat();
    std::fs::write(folder.path("short.mcap"), bytes).unwrap();
    let program = "ulimit -v 500000; exec \"$0\" info \"$1\"";
    let mut shell = std::process::Command::new("bash");
    let shell = shell.args(["-c", program, env!("CARGO_BIN_EXE_fdring"), &folder.text("short.mcap")]);
    let output = Running::spawn(shell).end();
    expect(&output, 3);
    assert!(complaint(&output).contains("was cut off"), "{output:?}");
}

#[test]
fn a_pipe_can_be_looked_at_and_not_replayed() {
    let folder = Folder::new("pipe");
    let file = recording(&folder, 5);
    let bash = |program: &str| {
        let mut shell = std::process::Command::new("bash");
        Running::spawn(shell.args(["-c", program, env!("CARGO_BIN_EXE_fdring"), &file])).end()
    };
    let output = bash("\"$0\" info <(cat \"$1\")");
    expect(&output, 0);
    let output = bash("\"$0\" replay <(cat \"$1\") --at @nowhere");
    expect(&output, 1);
    assert!(complaint(&output).contains("copy it to a file first"), "{output:?}");
}

#[test]
fn payloads_reach_no_terminal_as_they_are() {
    let (name, address) = (unique("raw"), format!("@{}", unique("raw")));
    let mut lane = Producer::create(&name).unwrap();
    let _server = Server::listen(address.as_str(), [&lane]).unwrap();
    lane.send(b"\x1b]52;c;aGk=\x07\n").unwrap();
    let mut screen = Screen::start(command(&["tail", &name, "--start", "newest", "--count", "1", "--raw"]), (80, 24));
    screen.wait_for("\\u{1b}]52;c;aGk=\\u{7}");
    let mut screen = Screen::start(command(&["subscribe", &address, "--framing", "length"]), (80, 24));
    screen.wait_for("not for a terminal");
    assert!(!screen.drawn.contains('\x1b'), "{:?}", screen.drawn);
}
