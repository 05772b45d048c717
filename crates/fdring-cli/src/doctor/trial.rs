//! A lane between two processes: whether it works, and how fast.
//!
//! The other process is this program again. It reads three parts, each a lane's life: records one by one, each woken
//! for; short ones in batches; long ones. It checks that each is the next one, and says a line for each part.

use super::Finding;
use crate::histogram::Histogram;
use crate::human::{bytes, count, duration};
use crate::{Failure, Outcome};
use fdring::errors::SendError;
use fdring::options::{LaneOptions, SessionOptions};
use fdring::{Consumer, Producer, Server};
use std::ffi::OsString;
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

const SINGLE_RECORDS: u64 = 200;
const SHORT_BYTES: usize = 64;
const SHORT_RECORDS: u64 = 1 << 20;
/// The records of a batch.
const BATCH_RECORDS: u64 = 128;
const LONG_BYTES: usize = 64 << 10;
const LONG_RECORDS: u64 = 1 << 14;
/// How long a part may take before it counts as hung.
const PATIENCE: Duration = Duration::from_secs(20);

/// The other process. It does not outlive the trial.
struct Reader {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Reader {
    fn start(address: &str) -> std::io::Result<Self> {
        let start = |program: OsString| {
            let mut command = Command::new(program);
            command.args(["doctor", "--read", address]).stdin(Stdio::null()).stdout(Stdio::piped());
            command.stderr(Stdio::null()).spawn()
        };
        // Without /proc, it is found as it was called.
        let mut child = start("/proc/self/exe".into()).or_else(|error| match std::env::args_os().next() {
            Some(program) if error.kind() == ErrorKind::NotFound => start(program),
            _ => Err(error),
        })?;
        let lines = BufReader::new(child.stdout.take().expect("it was asked to be piped"));
        Ok(Self { child, lines })
    }

    /// What it says of a part: numbers.
    fn hear<const N: usize>(&mut self) -> Result<[u64; N], String> {
        let mut line = String::new();
        self.lines.read_line(&mut line).map_err(|error| format!("the other process cannot be heard: {error}"))?;
        let numbers: Vec<u64> = line.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        numbers.try_into().map_err(|_| match line.trim() {
            "" => "the other process ended too early".to_owned(),
            line => format!("the other process failed: {line}"),
        })
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let _ = self.child.kill(); // it may have ended
        let _ = self.child.wait();
    }
}

pub(super) fn run() -> Vec<Finding> {
    let mut findings = Vec::new();
    for (name, part) in
        [("hand-over", hand_over as fn() -> Result<String, String>), ("short records", short), ("long records", long)]
    {
        match part() {
            Ok(told) => findings.push(Finding::good(name, told)),
            Err(fault) => {
                findings.push(Finding::broken(name, fault, "fix what is marked above, or report it with this output"));
                break;
            }
        }
    }
    findings
}

/// A lane with a reader, in another process, that has attached.
fn begin(part: &str) -> Result<(Producer, Server, Reader), String> {
    let address = format!("@fdring-doctor-{}-{part}", std::process::id());
    let begin = || -> fdring::Result<(Producer, Server)> {
        let lane = LaneOptions::new(part).stamped(part == "hand-over").create()?;
        let server = Server::listen(&*address, [&lane])?;
        Ok((lane, server))
    };
    let (lane, server) = begin().map_err(|error| error.to_string())?;
    let reader = Reader::start(&address).map_err(|error| format!("could not start another process: {error}"))?;
    match lane.wait_for_consumers(1, PATIENCE) {
        Ok(_) => Ok((lane, server, reader)),
        Err(error) => Err(format!("no reader came: {error}")),
    }
}

/// What a record begins and ends with: its number, so that no other has it.
fn word(number: u64) -> [u8; 8] {
    number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes()
}

fn hand_over() -> Result<String, String> {
    let (mut lane, _server, mut reader) = begin("hand-over")?;
    for number in 0..SINGLE_RECORDS {
        lane.send_timeout(&word(number), PATIENCE).map_err(|error| error.to_string())?;
        // Long enough for a reader to fall asleep.
        crate::stop::wait(Duration::from_millis(1));
    }
    lane.finish();
    let [records, p50, p99] = reader.hear()?;
    check(records, SINGLE_RECORDS)?;
    let [p50, p99] = [p50, p99].map(|nanos| duration(Duration::from_nanos(nanos)));
    Ok(format!("{p50} to a sleeping reader; 99th percentile {p99}"))
}

fn short() -> Result<String, String> {
    let (mut lane, _server, mut reader) = begin("short")?;
    let begun = Instant::now();
    send_all(&mut lane, SHORT_RECORDS, SHORT_BYTES).map_err(|error| error.to_string())?;
    lane.finish();
    let [records] = reader.hear()?;
    check(records, SHORT_RECORDS)?;
    Ok(format!("{}/s of {SHORT_BYTES} bytes, none lost", count(SHORT_RECORDS as f64 / begun.elapsed().as_secs_f64())))
}

fn long() -> Result<String, String> {
    let (mut lane, _server, mut reader) = begin("long")?;
    let begun = Instant::now();
    send_all(&mut lane, LONG_RECORDS, LONG_BYTES).map_err(|error| error.to_string())?;
    lane.finish();
    let [records] = reader.hear()?;
    check(records, LONG_RECORDS)?;
    let rate = (LONG_RECORDS * LONG_BYTES as u64) as f64 / begun.elapsed().as_secs_f64();
    Ok(format!("{}/s in records of {}, none lost", bytes(rate as u64), bytes(LONG_BYTES as u64)))
}

/// Sends so many records, in batches.
fn send_all(lane: &mut Producer, records: u64, len: usize) -> Result<(), SendError> {
    let mut record = vec![0; len];
    for first in (0..records).step_by(BATCH_RECORDS as usize) {
        let mut batch = lane.batch()?;
        for number in first..first + BATCH_RECORDS {
            record[..8].copy_from_slice(&word(number));
            record[len - 8..].copy_from_slice(&word(number));
            batch.send_timeout(&record, PATIENCE)?;
        }
        batch.commit();
    }
    Ok(())
}

fn check(records: u64, expected: u64) -> Result<(), String> {
    match records == expected {
        true => Ok(()),
        false => Err(format!("{records} of {expected} records came through")),
    }
}

/// Is the other process: reads the lane at an address, and says how many records came as they were sent, and how late.
pub(super) fn read(address: &str) -> Result<Outcome, Failure> {
    let failed = |error: fdring::errors::ReceiveError| Failure::new(error.to_string());
    let mut lane: Consumer =
        SessionOptions::new().patience(PATIENCE).connect(address)?.attach_one(fdring::Attach::new())?;
    let is_stamped = lane.lane().is_stamped;
    let (mut records, mut delays) = (0, Histogram::new());
    while let Some(record) = lane.receive_timeout(PATIENCE).map_err(failed)? {
        if let Some(time) = record.published_at() {
            delays.count(time.age());
        }
        let word = word(records);
        if !record.starts_with(&word) || !record.ends_with(&word) {
            return Err(Failure::new(format!("record {records} is not as it was sent")));
        }
        records += 1;
    }
    let mut out = std::io::stdout().lock();
    match (is_stamped, delays.quantile(0.5), delays.quantile(0.99)) {
        (true, Some(p50), Some(p99)) => writeln!(out, "{records} {} {}", p50.as_nanos(), p99.as_nanos())?,
        _ => writeln!(out, "{records}")?,
    }
    Ok(Outcome::Done)
}
