//! Three lanes at 200 MB/s in all, recorded to disk and replayed: each byte, tag, order, and exactly what was missed.
//!
//! The rate is kept by the test, and the one that was reached is printed: nothing here passes or fails by a time.

mod kit;

use fdring::options::SessionOptions;
use fdring::{Attach, Consumer, Producer, Server};
use kit::{DEADLINE, Folder, Running, expect, info, noted, number, out, python_with_mcap, unique, wait_until};
use std::process::Command;
use std::time::{Duration, Instant};

const LANES: [&str; 3] = ["a", "b", "c"];
const PAYLOAD_BYTES: usize = (64 << 10) - 8;
/// In the ring, with its header.
const RECORD_BYTES: u64 = 64 << 10;
/// Of a lane: a second.
const RECORDS: u64 = 1024;
/// The time between two records of a lane: 67 MB/s.
const INTERVAL: Duration = Duration::from_micros(978);
const TAGS: [u16; 3] = [0, 1, 65535];

/// The payloads: a record's number, and a pattern that begins at another place in each record.
struct Payloads(Vec<u8>);

impl Payloads {
    const STARTS: usize = 4096;

    fn new() -> Self {
        let mut state = 1_u32;
        let next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        };
        Self(std::iter::repeat_with(next).take(PAYLOAD_BYTES + Self::STARTS).collect())
    }

    fn of(&self, lane: usize, number: u64) -> Vec<u8> {
        let start = (number as usize * 7 + lane) % Self::STARTS;
        [&number.to_le_bytes(), &self.0[start..][..PAYLOAD_BYTES - 8]].concat()
    }
}

/// The same in Python, which is given the file, and prints how many records of each lane are as they should be.
const PROGRAM: &str = "\
import sys
from mcap.reader import make_reader
state, pattern = 1, bytearray()
for _ in range(65528 + 4096):
    state = (state * 1664525 + 1013904223) & 0xffffffff
    pattern.append(state >> 24)
counts = {'a': 0, 'b': 0, 'c': 0}
with open(sys.argv[1], 'rb') as file:
    for _, channel, message in make_reader(file, validate_crcs=True).iter_messages(log_time_order=False):
        lane = channel.metadata['fdring.lane']
        number, start = counts[lane], (counts[lane] * 7 + 'abc'.index(lane)) % 4096
        assert message.sequence == number and channel.metadata['fdring.tag'] == str((0, 1, 65535)[number % 3])
        assert message.data == number.to_bytes(8, 'little') + pattern[start:start + 65520], (lane, number)
        counts[lane] += 1
print(*counts.values())
";

/// Sends all records of all lanes at their pace, and says what pace that was.
fn send(lanes: &mut [Producer; 3], payloads: &Payloads, what: &str) {
    let begun = Instant::now();
    std::thread::scope(|threads| {
        for (index, lane) in lanes.iter_mut().enumerate() {
            threads.spawn(move || {
                for number in 0..RECORDS {
                    let due = begun + INTERVAL * number as u32;
                    while let Some(rest) = due.checked_duration_since(Instant::now()).filter(|rest| !rest.is_zero()) {
                        std::thread::park_timeout(rest);
                    }
                    lane.send_tagged(&payloads.of(index, number), TAGS[number as usize % 3]).unwrap();
                }
            });
        }
    });
    let rate = (3 * RECORDS * RECORD_BYTES) as f64 / begun.elapsed().as_secs_f64() / 1e6;
    noted(&format!("three lanes went at {rate:.0} MB/s {what}"));
}

/// Replays a file: the numbers of the records of each lane, each of which is as it was sent.
fn replayed(file: &str, payloads: &Payloads) -> Vec<Vec<u64>> {
    let again = format!("@{file}");
    let replayer = Running::start(&["replay", file, "--at", &again, "--fast", "--consumers", "1"]);
    let session = SessionOptions::new().patience(DEADLINE).connect(&*again).unwrap();
    let consumers = session.attach_all(Attach::new()).unwrap();
    let read = |mut consumer: Consumer| {
        let lane = LANES.iter().position(|name| consumer.lane().name == **name).unwrap();
        let mut numbers = Vec::new();
        while let Some(record) = consumer.receive().unwrap() {
            let number = u64::from_le_bytes(record[..8].try_into().unwrap());
            assert_eq!(record.tag(), TAGS[number as usize % 3]);
            assert!(record[..] == payloads.of(lane, number), "record {number} of lane {lane}");
            numbers.push(number);
        }
        (lane, numbers)
    };
    let mut lanes = vec![Vec::new(); 3];
    std::thread::scope(|threads| {
        let readers: Vec<_> = consumers.into_iter().map(|consumer| threads.spawn(|| read(consumer))).collect();
        for (lane, numbers) in readers.into_iter().map(|reader| reader.join().unwrap()) {
            lanes[lane] = numbers;
        }
    });
    expect(&replayer.end(), 0);
    lanes
}

#[test]
fn a_consumer_loses_nothing_of_three_lanes_and_a_replay_gives_back_every_byte() {
    let (folder, address, payloads) = (Folder::new("rate"), format!("@{}", unique("rate")), Payloads::new());
    let mut lanes = LANES.map(|name| Producer::create(name).unwrap());
    let _server = Server::listen(&*address, &lanes).unwrap();
    let file = folder.text("all.mcap");
    let recorder = Running::start(&["record", &address, "--lossless", "--json", "-o", &file]);
    lanes.iter().for_each(|lane| lane.wait_for_consumers(1, DEADLINE).unwrap());
    send(&mut lanes, &payloads, "into a file, recorded as a consumer");
    lanes.into_iter().for_each(Producer::finish);
    let recorded = recorder.end();
    expect(&recorded, 0);
    for line in out(&recorded).lines().take(3) {
        let told = ["records", "bytes", "missed_bytes"].map(|name| number(line, name));
        assert_eq!(told, [RECORDS, RECORDS * PAYLOAD_BYTES as u64, 0], "{line}");
    }
    assert!(replayed(&file, &payloads).iter().all(|numbers| numbers.iter().copied().eq(0..RECORDS)));
    if let Some(python) = python_with_mcap() {
        let output = Running::spawn(Command::new(python).args(["-c", PROGRAM, &file])).end();
        expect(&output, 0);
        assert_eq!(out(&output), format!("{RECORDS} {RECORDS} {RECORDS}\n"));
    }
}

#[test]
fn a_tap_says_exactly_what_it_has_missed_of_three_lanes() {
    let (folder, address, payloads) = (Folder::new("rate-tap"), format!("@{}", unique("rate-tap")), Payloads::new());
    let mut lanes = LANES.map(|name| Producer::create(name).unwrap());
    let _server = Server::listen(&*address, &lanes).unwrap();
    let file = folder.text("all.mcap");
    let recorder = Running::start(&["record", &address, "--json", "-o", &file]);
    for lane in &lanes {
        wait_until("the tap is there", || lane.tap_count() == 1);
    }
    send(&mut lanes, &payloads, "into a file, recorded by a tap");
    lanes.into_iter().for_each(Producer::finish);
    let recorded = recorder.end();
    let report = out(&recorded);
    let missed = |lane: &str| {
        let line = report.lines().find(|line| line.contains(&format!("\"lane\":\"{lane}\""))).unwrap();
        assert_eq!(number(line, "from_position"), 0, "{line}");
        number(line, "missed_bytes")
    };
    let missed = LANES.map(missed);
    let code = if missed == [0; 3] { 0 } else { 3 };
    expect(&recorded, code);
    let lanes = replayed(&file, &payloads);
    let (channels, _) = info(&file, code);
    for ((numbers, missed), name) in lanes.iter().zip(missed).zip(LANES) {
        assert!(numbers.is_sorted_by(|one, next| one < next), "lane {name}: its order");
        assert_eq!(missed, (RECORDS - numbers.len() as u64) * RECORD_BYTES, "lane {name}");
        let line = channels.iter().find(|line| line.contains(&format!("\"lane\":\"{name}\""))).unwrap();
        assert_eq!(number(line, "lane_missed_bytes"), missed, "{line}");
    }
    noted(&format!(
        "a tap has missed {} of {} MB",
        missed.iter().sum::<u64>() / 1_000_000,
        3 * RECORDS * RECORD_BYTES / 1_000_000
    ));
}
