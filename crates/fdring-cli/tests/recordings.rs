//! `record`, `replay` and `info`: lanes to files and back.

mod kit;
mod pty;

use fdring::options::{LaneOptions, SessionOptions};
use fdring::{Attach, Consumer, Producer, Server};
use kit::{DEADLINE, Folder, Running, command, complaint, expect, fdring, info, len_of, number, out};
use kit::{python_with_mcap, records_of, signals_that_end, unique, wait_until};
use pty::Screen;
use rustix::process::Signal;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

/// The consumers of all lanes of a server that is not there yet.
fn connect(address: &str) -> Vec<Consumer> {
    SessionOptions::new().patience(DEADLINE).connect(address).unwrap().attach_all(Attach::new()).unwrap()
}

/// What is written of a lane: tags and payloads.
type Records = Vec<(u16, Vec<u8>)>;

fn read_all(mut consumer: Consumer) -> Records {
    let mut records = Vec::new();
    while let Some(record) = consumer.receive().unwrap() {
        records.push((record.tag(), record.to_vec()));
    }
    records
}

#[test]
fn a_replay_gives_back_every_byte_tag_and_order() {
    let (folder, address) = (Folder::new("every"), format!("@{}", unique("every")));
    let lanes = || {
        let lane = |name: &str| LaneOptions::new(name).capacity(64 << 10);
        [lane("ticks").schema(0x5c).stamped(true), lane("frames").payload_align(64).record_align(64), lane("silent")]
    };
    let mut producers = lanes().map(|lane| lane.create().unwrap());
    let infos: Vec<_> = producers.iter().map(|producer| producer.lane().clone()).collect();
    let server = Server::listen(address.as_str(), &producers).unwrap();
    let file = folder.text("all.mcap");
    let recorder = Running::start(&["record", &address, "--lossless", "-o", &file, "--json"]);
    producers.iter().for_each(|producer| producer.wait_for_consumers(1, DEADLINE).unwrap());
    let mut sent: [Records; 3] = Default::default();
    for number in 0..20_000_usize {
        let (lane, tag) = (number % 2, [0, 1, 65535][number % 3]);
        let payload = vec![number as u8; number * 37 % 1500];
        producers[lane].send_tagged(&payload, tag).unwrap();
        sent[lane].push((tag, payload));
    }
    producers.into_iter().for_each(Producer::finish);
    let recorded = recorder.end();
    expect(&recorded, 0);
    let reports = out(&recorded);
    for (line, records) in reports.lines().zip(&sent) {
        assert_eq!(number(line, "records"), records.len() as u64, "{reports}");
        assert!(number(line, "missed_bytes") == 0 && line.contains("\"end\":\"finished\""), "{reports}");
    }
    drop(server);

    let (channels, whole) = info(&file, 0);
    assert!(whole.contains("\"is_whole\":true") && whole.contains("\"fault\":null"), "{whole}");
    assert!(channels.iter().any(|line| line.contains("silent") && number(line, "records") == 0), "{channels:?}");
    for line in &channels {
        let name = line.split('"').nth(3).unwrap();
        let lane = infos.iter().position(|info| info.name == name).unwrap();
        let of_tag = |record: &&(u16, Vec<u8>)| u64::from(record.0) == number(line, "tag");
        assert_eq!(number(line, "records"), sent[lane].iter().filter(of_tag).count() as u64, "{line}");
        let times = if infos[lane].is_stamped { "publication" } else { "recorder" };
        assert!(line.contains(&format!("\"times\":\"{times}\"")), "{line}");
    }

    let again = format!("@{}", unique("every-again"));
    let replayer = Running::start(&["replay", &file, "--at", &again, "--fast", "--consumers", "1"]);
    let consumers = connect(&again);
    for (consumer, was) in consumers.iter().zip(&infos) {
        let mut is = consumer.lane().clone();
        is.id = was.id;
        assert_eq!(is, *was);
    }
    let readers: Vec<_> =
        consumers.into_iter().map(|consumer| std::thread::spawn(move || read_all(consumer))).collect();
    for (reader, records) in readers.into_iter().zip(sent) {
        assert!(reader.join().unwrap() == records);
    }
    expect(&replayer.end(), 0);
}

/// Records of 1024 bytes in the ring, which never needs padding with them.
const PAYLOAD: [u8; 1016] = [7; 1016];

#[test]
fn a_tap_from_outside_says_exactly_what_it_has_missed() {
    let (folder, name) = (Folder::new("missed"), unique("missed"));
    let mut lane = LaneOptions::new(&name).capacity(64 << 10).create().unwrap();
    let file = folder.text("tap.mcap");
    let recorder = Running::start(&["record", &name, "-o", &file, "--json"]);
    // The file is made once the lanes are tapped.
    wait_until("the recording has begun", || folder.path("tap.mcap").exists());
    (0..10).for_each(|_| lane.send(&PAYLOAD).unwrap());
    recorder.signal(Signal::STOP);
    (0..5000).for_each(|_| lane.send(&PAYLOAD).unwrap());
    recorder.signal(Signal::CONT);
    (0..5000).for_each(|_| lane.send(&PAYLOAD).unwrap());
    let published = lane.published();
    lane.finish();
    let recorded = recorder.end();
    expect(&recorded, 3);
    let report = out(&recorded);
    let line = report.lines().next().unwrap();
    let (records, missed) = (number(line, "records"), number(line, "missed_bytes"));
    assert!(missed > 0 && records > 0, "{report}");
    assert_eq!(number(line, "from_position") + records * 1024 + missed, published, "{report}");
    // The file says the same.
    let (channels, _) = info(&file, 3);
    assert_eq!(number(&channels[0], "records"), records);
    assert_eq!(number(&channels[0], "lane_missed_bytes"), missed);
    assert_eq!(number(&channels[0], "lane_missed_times"), number(line, "missed_times"));
}

#[test]
fn descriptors_of_records_are_counted_as_missed() {
    let (folder, name) = (Folder::new("fds"), unique("fds"));
    let mut lane = LaneOptions::new(&name).attachments(2).create().unwrap();
    let address = format!("@{name}");
    let server = Server::listen(address.as_str(), [&lane]).unwrap();
    let null = std::fs::File::open("/dev/null").unwrap();
    lane.send(b"without").unwrap();
    lane.send_with_fds(b"with two", &[null.as_fd(), null.as_fd()]).unwrap();
    lane.finish();
    for options in [&[&*address, "--lossless"][..], &[&*address], &[&*name]] {
        let file = folder.text(&format!("{}.mcap", options.concat()));
        let output = fdring(&[&["record", "--start", "oldest", "--json", "-o", &file], options].concat());
        expect(&output, 3);
        let report = out(&output);
        assert_eq!((number(&report, "records"), number(&report, "missed_descriptors")), (2, 2), "{report}");
        assert!(complaint(&output).contains("2 descriptors of records of"), "{output:?}");
        assert_eq!(records_of(&file, 0), 2);
    }
    drop(server);
}

/// As fast as the lanes go, which is faster than any disk.
#[test]
fn three_busy_lanes_lose_nothing_to_a_consumer_and_are_counted_by_a_tap() {
    const RECORD_BYTES: u64 = 64 << 10;
    const RECORDS: u64 = 500;
    let (folder, address) = (Folder::new("busy"), format!("@{}", unique("busy")));
    let mut lanes = ["a", "b", "c"].map(|name| Producer::create(name).unwrap());
    let _server = Server::listen(address.as_str(), &lanes).unwrap();
    let file = |name: &str| folder.text(&format!("{name}.mcap"));
    let consumer = Running::start(&["record", &address, "--lossless", "--json", "-o", &file("consumer")]);
    let tap = Running::start(&["record", &address, "--json", "-o", &file("tap")]);
    for lane in &lanes {
        lane.wait_for_consumers(1, DEADLINE).unwrap();
        wait_until("the tap is there", || lane.tap_count() == 1);
    }
    std::thread::scope(|threads| {
        for lane in &mut lanes {
            threads.spawn(|| (0..RECORDS).for_each(|_| lane.send(&[7; RECORD_BYTES as usize - 8]).unwrap()));
        }
    });
    lanes.into_iter().for_each(Producer::finish);
    let (consumer, tap) = (consumer.end(), tap.end());
    expect(&consumer, 0);
    let reports = [out(&consumer), out(&tap)].map(|text| text.lines().take(3).map(str::to_owned).collect::<Vec<_>>());
    for line in &reports[0] {
        assert_eq!((number(line, "records"), number(line, "missed_bytes")), (RECORDS, 0), "{line}");
    }
    let mut missed_of_all = 0;
    for line in &reports[1] {
        let (records, missed) = (number(line, "records"), number(line, "missed_bytes"));
        assert_eq!(records * RECORD_BYTES + missed, RECORDS * RECORD_BYTES, "{line}");
        missed_of_all += missed;
    }
    assert_eq!(tap.status.code(), Some(if missed_of_all == 0 { 0 } else { 3 }));
    assert_eq!(records_of(&file("consumer"), 0), 3 * RECORDS);
}

#[test]
fn a_recording_that_is_killed_can_be_read_up_to_there() {
    let (folder, address) = (Folder::new("killed"), format!("@{}", unique("killed")));
    let mut lane = Producer::create("n").unwrap();
    let _server = Server::listen(address.as_str(), [&lane]).unwrap();
    let (file, path) = (folder.text("cut.mcap"), folder.path("cut.mcap"));
    let recorder = Running::start(&["record", &address, "--lossless", "-o", &file]);
    lane.wait_for_consumers(1, DEADLINE).unwrap();
    let mut sent = 0_u32;
    while len_of(&path) < 10 << 20 {
        lane.send(&[&sent.to_le_bytes()[..], &PAYLOAD].concat()).unwrap();
        sent += 1;
    }
    recorder.signal(Signal::KILL);
    drop(recorder);
    let (channels, whole) = info(&file, 3);
    assert!(whole.contains("\"is_cut_off\":true") && whole.contains("\"has_index\":false"), "{whole}");
    // All but the last chunks.
    let records = number(&channels[0], "records");
    assert!(records * 1024 > 8 << 20, "{records}");
    let again = format!("@{}", unique("killed-again"));
    let replayer = Running::start(&["replay", &file, "--at", &again, "--fast", "--consumers", "1"]);
    let replayed = read_all(connect(&again).pop().unwrap());
    assert_eq!(replayed.len() as u64, records);
    assert!(replayed.iter().zip(0_u32..).all(|((_, payload), number)| payload[..4] == number.to_le_bytes()));
    let output = replayer.end();
    expect(&output, 3);
    assert!(complaint(&output).contains("was cut off"), "{output:?}");
}

#[test]
fn what_came_a_second_ago_survives_a_kill() {
    let (folder, name) = (Folder::new("second"), unique("second"));
    let mut lane = Producer::create(&name).unwrap();
    let recorder = Running::start(&["record", &name, "-o", &folder.text("cut.mcap")]);
    wait_until("the recording has begun", || folder.path("cut.mcap").exists());
    lane.send(b"one record").unwrap();
    wait_until("the record is in the file", || len_of(&folder.path("cut.mcap")) > 400);
    recorder.signal(Signal::KILL);
    drop(recorder);
    assert_eq!(records_of(&folder.text("cut.mcap"), 3), 1);
}

#[test]
fn ctrl_c_finishes_the_file() {
    let (folder, address) = (Folder::new("ctrl-c"), format!("@{}", unique("ctrl-c")));
    let mut lane = Producer::create("n").unwrap();
    let _server = Server::listen(address.as_str(), [&lane]).unwrap();
    for (number, signal) in signals_that_end().into_iter().enumerate() {
        let file = folder.text(&format!("{number}.mcap"));
        let recorder = Running::start(&["record", &address, "--lossless", "-o", &file]);
        lane.wait_for_consumers(1, DEADLINE).unwrap();
        (0..100).for_each(|_| lane.send(&PAYLOAD).unwrap());
        lane.wait_released(lane.published(), DEADLINE).unwrap();
        recorder.signal(signal);
        expect(&recorder.end(), 0);
        assert_eq!(records_of(&file, 0), 100);
        wait_until("it has left", || lane.consumer_count() == 0);
    }
}

#[test]
fn a_recording_under_nohup_outlives_its_terminal() {
    let (folder, name) = (Folder::new("nohup"), unique("nohup"));
    let mut lane = Producer::create(&name).unwrap();
    let mut shell = std::process::Command::new("sh");
    let program = "trap '' HUP; exec \"$0\" record \"$1\" -o \"$2\"";
    shell.args(["-c", program, env!("CARGO_BIN_EXE_fdring"), &name, &folder.text("nohup.mcap")]);
    let recorder = Running::spawn(&mut shell);
    wait_until("the recording has begun", || folder.path("nohup.mcap").exists());
    recorder.signal(Signal::HUP);
    lane.send(b"after the terminal is gone").unwrap();
    lane.finish();
    expect(&recorder.end(), 0);
    assert_eq!(records_of(&folder.text("nohup.mcap"), 0), 1);
}

#[test]
fn a_terminal_sees_how_it_goes() {
    let (folder, address) = (Folder::new("progress"), format!("@{}", unique("progress")));
    let mut lane = Producer::create("n").unwrap();
    let _server = Server::listen(address.as_str(), [&lane]).unwrap();
    let arguments = ["record", &address, "--lossless", "-o", &folder.text("progress.mcap")];
    let mut screen = Screen::start(command(&arguments), (80, 24));
    lane.wait_for_consumers(1, DEADLINE).unwrap();
    (0..2048).for_each(|_| lane.send(&[7; 1024]).unwrap());
    screen.wait_for("2 MiB, ");
    screen.wait_for("/s, 2k records, missed 0 B");
    lane.finish();
    screen.wait_for("finished");
}

/// Writes over the first bytes of a lane's ring, as a producer might that has run wild.
fn corrupt(lane: &str) {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let ring = maps.lines().find(|line| line.contains(lane) && line.contains(":data") && line.contains("rw-")).unwrap();
    let begin = u64::from_str_radix(ring.split('-').next().unwrap(), 16).unwrap();
    let memory = std::fs::File::options().write(true).open("/proc/self/mem").unwrap();
    memory.write_all_at(&[0xee; 8], begin).unwrap();
}

#[test]
fn a_lane_that_is_corrupt_spoils_no_other_and_the_file_is_whole() {
    let (folder, address, name) = (Folder::new("corrupt"), format!("@{}", unique("corrupt")), unique("wild"));
    let mut lanes = [Producer::create(&name).unwrap(), Producer::create("tame").unwrap()];
    let _server = Server::listen(address.as_str(), &lanes).unwrap();
    lanes.iter_mut().for_each(|lane| (0..10).for_each(|_| lane.send(&PAYLOAD).unwrap()));
    corrupt(&name);
    let file = folder.text("corrupt.mcap");
    let record = ["record", &address, "--lossless", "--start", "oldest", "-o", &file];
    let recorder = Running::start(&record);
    lanes[1].wait_for_consumers(1, DEADLINE).unwrap();
    lanes[1].wait_released(lanes[1].published(), DEADLINE).unwrap();
    let [_wild, tame] = lanes;
    tame.finish();
    let output = recorder.end();
    expect(&output, 1);
    let said = complaint(&output);
    assert!(said.contains(&format!("lane {name}: ")) && said.contains("broke the protocol"), "{said}");
    assert_eq!(records_of(&file, 0), 10);
}

#[test]
fn a_recording_ends_after_a_count_or_a_time_and_can_be_compressed() {
    let (folder, address) = (Folder::new("enough"), format!("@{}", unique("enough")));
    let mut lane = Producer::create("n").unwrap();
    let _server = Server::listen(address.as_str(), [&lane]).unwrap();
    (0..1000).for_each(|_| lane.send(&PAYLOAD).unwrap());
    for (options, records) in [
        (&["--count", "10"][..], 10),
        (&["--count", "1000", "--compression", "zstd"], 1000),
        (&["--count", "1000", "--compression", "lz4"], 1000),
    ] {
        let file = folder.text(&format!("{}.mcap", options.concat()));
        let start = ["record", &address, "--lossless", "--start", "oldest", "-o", &file];
        expect(&fdring(&[&start, options].concat()), 0);
        assert_eq!(records_of(&file, 0), records, "{options:?}");
        assert_eq!(options.contains(&"--compression"), len_of(Path::new(&file)) < 100_000 && records == 1000);
    }
    let file = folder.text("time.mcap");
    expect(&fdring(&["record", &address, "--lossless", "--duration", "50ms", "-o", &file]), 0);
    assert_eq!(records_of(&file, 0), 0);
}

#[test]
fn a_split_recording_has_each_record_once() {
    let (folder, address) = (Folder::new("split"), format!("@{}", unique("split")));
    let mut lane = Producer::create("n").unwrap();
    let server = Server::listen(address.as_str(), [&lane]).unwrap();
    let options = ["--split-size", "1M", "--json", "-o", &folder.text("part.mcap")];
    let recorder = Running::start(&[&["record", &address, "--lossless"], &options[..]].concat());
    lane.wait_for_consumers(1, DEADLINE).unwrap();
    (0..6000).for_each(|_| lane.send(&PAYLOAD).unwrap());
    lane.finish();
    let recorded = recorder.end();
    expect(&recorded, 0);
    let files = number(out(&recorded).lines().last().unwrap(), "files");
    assert!((3..=6).contains(&files), "{recorded:?}");
    let parts: Vec<_> = (1..=files).map(|part| folder.text(&format!("part-{part:04}.mcap"))).collect();
    assert_eq!(parts.iter().map(|part| records_of(part, 0)).sum::<u64>(), 6000);
    drop(server);
    // By time, an idle lane has one file after another, too.
    let mut lane = Producer::create(unique("split-time")).unwrap();
    let options = ["--split-time", "1ms", "-o", &folder.text("time.mcap")];
    let recorder = Running::start(&[&["record", &lane.lane().name], &options[..]].concat());
    wait_until("a second file has begun", || folder.path("time-0002.mcap").exists());
    lane.send(&PAYLOAD).unwrap();
    lane.finish();
    expect(&recorder.end(), 0);
}

#[test]
fn the_last_seconds_are_written_when_it_is_asked_to_and_at_the_end() {
    let (folder, address) = (Folder::new("last"), format!("@{}", unique("last")));
    let mut lane = Producer::create("n").unwrap();
    let _server = Server::listen(address.as_str(), [&lane]).unwrap();
    // More than the memory that it may take: the oldest are dropped.
    let options = ["--last", "1h", "--memory", "100K", "-o", &folder.text("window.mcap")];
    let recorder = Running::start(&[&["record", &address, "--lossless"], &options[..]].concat());
    lane.wait_for_consumers(1, DEADLINE).unwrap();
    let send = |lane: &mut Producer, numbers: std::ops::Range<u32>| {
        for number in numbers {
            lane.send(&[&number.to_le_bytes()[..], &PAYLOAD].concat()).unwrap();
        }
        lane.wait_released(lane.published(), DEADLINE).unwrap();
    };
    send(&mut lane, 0..10);
    assert!(!folder.path("window-0001.mcap").exists());
    recorder.signal(Signal::USR1);
    let first = folder.text("window-0001.mcap");
    wait_until("the window is written", || {
        folder.path("window-0001.mcap").exists() && fdring(&["info", &first]).status.code() == Some(0)
    });
    assert_eq!(records_of(&first, 0), 10);
    send(&mut lane, 10..1000);
    recorder.signal(Signal::INT);
    let output = recorder.end();
    expect(&output, 0);
    assert!(complaint(&output).contains("take more than --memory"), "{output:?}");
    let second = folder.text("window-0002.mcap");
    let kept = records_of(&second, 0);
    assert!((80..=100).contains(&kept), "{kept}");
    // They are the last ones.
    let again = format!("@{}", unique("last-again"));
    let replayer = Running::start(&["replay", &second, "--at", &again, "--fast", "--consumers", "1"]);
    let replayed = read_all(connect(&again).pop().unwrap());
    assert_eq!(replayed.last().unwrap().1[..4], 999_u32.to_le_bytes());
    expect(&replayer.end(), 0);
}

#[test]
fn a_full_disk_is_an_error_that_says_so() {
    let (folder, address) = (Folder::new("full"), format!("@{}", unique("full")));
    let mut lane = Producer::create("n").unwrap();
    let _server = Server::listen(address.as_str(), [&lane]).unwrap();
    (0..3000).for_each(|_| lane.send(&PAYLOAD).unwrap());
    let record = ["record", &address, "--lossless", "--start", "oldest", "--count", "3000", "--force", "-o"];
    let output = fdring(&[&record[..], &["/dev/full"]].concat());
    expect(&output, 1);
    assert!(complaint(&output).contains("could not write /dev/full: No space left on device"), "{output:?}");
    // So is a limit of the process.
    let limited = folder.text("limited.mcap");
    let program = format!("ulimit -f 2048; exec \"$0\" {} \"$1\"", record.join(" "));
    let mut shell = std::process::Command::new("bash");
    let output = Running::spawn(shell.args(["-c", &program, env!("CARGO_BIN_EXE_fdring"), &limited])).end();
    expect(&output, 1);
    assert!(complaint(&output).contains("File too large"), "{output:?}");
    let records = records_of(&limited, 3);
    assert!((900..3000).contains(&records), "{records}");
}

#[test]
fn a_replay_keeps_the_pace_and_the_part_that_it_is_asked_for() {
    let folder = Folder::new("pace");
    let file = folder.text("pace.mcap");
    // A busy machine may keep this thread from sending in time.
    wait_until("five records are recorded, each at its time", || {
        let name = unique("pace");
        let mut lane = LaneOptions::new(&name).stamped(true).create().unwrap();
        let _ = std::fs::remove_file(&file);
        let recorder = Running::start(&["record", &name, "-o", &file]);
        wait_until("the recording has begun", || folder.path("pace.mcap").exists());
        let begun = Instant::now();
        let are_in_time = (0..5).all(|number| {
            let due = Duration::from_millis(200 * number);
            wait_until("the next record is due", || begun.elapsed() >= due);
            lane.send(&[number as u8]).unwrap();
            begun.elapsed() < due + Duration::from_millis(20)
        });
        lane.finish();
        expect(&recorder.end(), 0);
        are_in_time
    });
    let replay = |options: &[&str]| {
        let again = format!("@{}", unique("pace-again"));
        let replayer = Running::start(&[&["replay", &file, "--at", &again, "--consumers", "1"], options].concat());
        let mut consumer = connect(&again).pop().unwrap();
        let mut replayed = Vec::new();
        while let Some(record) = consumer.receive().unwrap() {
            replayed.push((record[0], record.published_at().unwrap()));
        }
        expect(&replayer.end(), 0);
        let took = replayed.last().unwrap().1.since(replayed[0].1);
        (replayed.into_iter().map(|(number, _)| number).collect::<Vec<u8>>(), took.as_millis())
    };
    let (numbers, took) = replay(&[]);
    assert!(numbers == [0, 1, 2, 3, 4] && took >= 780, "{numbers:?} {took}");
    let (numbers, took) = replay(&["--speed", "4"]);
    assert!(numbers == [0, 1, 2, 3, 4] && took >= 190, "{numbers:?} {took}");
    wait_until("a replay takes as long as the shortened pauses", || {
        let (numbers, took) = replay(&["--gap-max", "50ms"]);
        assert!(numbers == [0, 1, 2, 3, 4] && took >= 180, "{numbers:?} {took}");
        took < 780
    });
    let (numbers, _) = replay(&["--fast", "--from", "150ms", "--to", "700ms"]);
    assert_eq!(numbers, [1, 2, 3]);
    let (numbers, _) = replay(&["--fast", "--loop", "3"]);
    assert_eq!(numbers, [0, 1, 2, 3, 4].repeat(3));
    // Without an end, Ctrl-C ends it; so it does while it waits for a record that is not due.
    for options in [&["--fast", "--loop"][..], &["--speed", "0.001"]] {
        let again = format!("@{}", unique("pace-ends"));
        let replayer = Running::start(&[&["replay", &file, "--at", &again, "--consumers", "1"], options].concat());
        let mut consumer = connect(&again).pop().unwrap();
        assert_eq!(consumer.receive().unwrap().unwrap()[0], 0);
        replayer.signal(Signal::INT);
        while consumer.receive().unwrap().is_some() {}
        expect(&replayer.end(), 0);
    }
}

#[test]
fn a_consumer_that_dies_before_it_has_read_everything_is_reported() {
    let (folder, address) = (Folder::new("unread"), format!("@{}", unique("unread")));
    let mut lane = Producer::create("n").unwrap();
    let server = Server::listen(address.as_str(), [&lane]).unwrap();
    (0..10).for_each(|_| lane.send(&PAYLOAD).unwrap());
    let file = folder.text("n.mcap");
    let record = ["record", &address, "--lossless", "--start", "oldest", "--count", "10", "-o", &file];
    expect(&fdring(&record), 0);
    drop(server);
    // With room for fewer records than there are, it waits for the consumer here, while the other one dies.
    let options = ["--fast", "--consumers", "2", "--capacity", "4K"];
    let replayer = Running::start(&[&["replay", &file, "--at", &address], &options[..]].concat());
    let subscriber = Running::start(&["subscribe", &address, "--patience", "60s"]);
    let mut consumer = connect(&address).pop().unwrap();
    consumer.receive().unwrap().unwrap();
    subscriber.signal(Signal::KILL);
    drop(subscriber);
    assert_eq!(read_all(consumer).len(), 9);
    let output = replayer.end();
    expect(&output, 3);
    assert!(complaint(&output).contains("lane n: "), "{output:?}");
}

#[test]
fn what_cannot_be_recorded_is_said() {
    let (folder, name) = (Folder::new("cannot"), unique("cannot"));
    let mut lane = Producer::create(&name).unwrap();
    let taken = format!("@{name}");
    let _server = Server::listen(taken.as_str(), [&lane]).unwrap();
    let (file, good) = (folder.text("is-there.mcap"), folder.text("good.mcap"));
    lane.send(&[7; 10_000]).unwrap();
    expect(&fdring(&["record", &name, "--start", "oldest", "--count", "1", "-o", &good]), 0);
    std::fs::write(&file, "precious").unwrap();
    let cases = [
        (vec!["record", &name, "-o", &file], "exists; choose another name, or replace it with --force"),
        (vec!["record", &name, "--lossless", "-o", "x.mcap"], "give the server's address"),
        (vec!["record", &name, &name, "-o", "x.mcap"], "is named twice"),
        (vec!["record", "no-such-lane", "-o", "x.mcap"], "see fdring ps"),
        (vec!["record", &name, "-o", "/no/such/folder/x.mcap"], "could not create /no/such/folder/x.mcap"),
        (vec!["replay", &good, "--at", "@nowhere", "--memory", "1M"], "take 4 MiB, more than the 1 MiB of --memory"),
        (vec!["replay", &good, "--at", "@nowhere", "--capacity", "8K"], "raise its capacity"),
        (vec!["replay", &good, "--at", "@nowhere", "--lane", "other"], "has no lane other"),
        (vec!["replay", &good, "--at", &taken], "another"),
        (vec!["info", "/no/such/file"], "could not read /no/such/file"),
        (vec!["info", &file], "is broken"),
        (vec!["replay", &file, "--at", "@nowhere"], "there is nothing to replay"),
        (vec!["replay", "/dev/null", "--at", "@nowhere"], "has no lanes"),
    ];
    for (arguments, sentence) in cases {
        let output = fdring(&arguments);
        expect(&output, 1);
        assert!(complaint(&output).contains(sentence), "{output:?}");
    }
    assert_eq!(std::fs::read(&file).unwrap(), b"precious");
    for usage in [
        &["record", "-o", "x"][..],
        &["record", "x"],
        &["record", "x", "-o", "x", "--last", "1s", "--split-size", "1M"],
        &["replay", "x", "--at", "@x", "--speed", "0"],
        &["replay", "x"],
        &["info"],
    ] {
        expect(&fdring(usage), 2);
    }
    for (subcommand, example) in [("record", "kill -USR1"), ("replay", "--speed 10"), ("info", "today.mcap --json")] {
        let help = fdring(&[subcommand, "--help"]);
        expect(&help, 0);
        assert!(out(&help).contains(example), "{help:?}");
    }
}

/// Other people's tools read the files: here the package `mcap` of Python.
#[test]
fn python_reads_what_is_recorded() {
    const PROGRAM: &str = "\
import sys
from mcap.reader import make_reader
with open(sys.argv[1], 'rb') as file:
    reader = make_reader(file, validate_crcs=True)
    print(reader.get_header().library, reader.get_summary().statistics.message_count)
    for _, channel, message in reader.iter_messages(log_time_order=False):
        tag = channel.metadata['fdring.tag']
        print(channel.topic, channel.message_encoding, tag, message.sequence, message.data.decode())
";
    let Some(python) = python_with_mcap() else { return };
    let (folder, address) = (Folder::new("python"), format!("@{}", unique("python")));
    let mut lane = Producer::create("n").unwrap();
    let _server = Server::listen(address.as_str(), [&lane]).unwrap();
    (0..100_u16).for_each(|number| lane.send_tagged(format!("{{\"n\":{number}}}").as_bytes(), number % 2).unwrap());
    let expected: String = (0..100)
        .map(|n| format!("n{} json {} {n} {{\"n\":{n}}}\n", if n % 2 == 0 { "" } else { "#1" }, n % 2))
        .collect();
    for compression in [&[][..], &["--compression", "zstd"], &["--compression", "lz4"]] {
        let file = folder.text(&format!("python{}.mcap", compression.len()));
        let options = ["--lossless", "--start", "oldest", "--count", "100", "--encoding", "json", "--force"];
        expect(&fdring(&[&["record", &address, "-o", &file], &options[..], compression].concat()), 0);
        let output = Running::spawn(std::process::Command::new(&python).args(["-c", PROGRAM, &file])).end();
        expect(&output, 0);
        let library = concat!("fdring-cli ", env!("CARGO_PKG_VERSION"));
        assert_eq!(out(&output), format!("{library} 100\n{expected}"), "{output:?}");
    }
    // What Python says of a file that was cut off is what we say.
    let cut = folder.text("cut.mcap");
    let bytes = std::fs::read(folder.path("python0.mcap")).unwrap();
    std::fs::write(&cut, &bytes[..bytes.len() - 100]).unwrap();
    const STREAM: &str = "\
import sys
from mcap.stream_reader import StreamReader
count = 0
try:
    for record in StreamReader(open(sys.argv[1], 'rb')).records:
        count += type(record).__name__ == 'Message'
except Exception:
    pass
print(count)
";
    let output = Running::spawn(std::process::Command::new(&python).args(["-c", STREAM, &cut])).end();
    assert_eq!(out(&output), format!("{}\n", records_of(&cut, 3)), "{output:?}");
}
