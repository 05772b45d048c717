//! Publishes records of 64 bytes beside a consumer and taps, all in one process.
//!
//! So instructions can be counted on machines whose processors' own counters cannot be read:
//!
//! ```sh
//! cargo build --release --package ipcbench --example publications
//! valgrind --tool=callgrind --callgrind-out-file=/dev/null --collect-atstart=no --toggle-collect='*send_one*' \
//!     --toggle-collect='*send_batch*' target/release/examples/publications asleep 4 20000
//! ```
//!
//! Usage: publications asleep|awake TAPS RECORDS [BATCH]. Each record is published by itself unless a number is given.
//! What a record takes is the difference between two runs of different numbers of records, divided by that of the
//! records.

use fdring::options::LaneOptions;
use fdring::{Attach, Producer, Server, Session};
use std::error::Error;
use std::hint::black_box;

const LEN: usize = 64;
/// The ring is longer than all records, so that nobody needs to read, in bytes.
const CAPACITY_BYTES: u64 = 64 << 20;
const RECORDS_MAX: u64 = 500_000;

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let numbers = args.iter().skip(1).map(|arg| arg.parse()).collect::<Result<Vec<u64>, _>>()?;
    let (sleeps, taps, records, batch) = match (args.first().map(String::as_str), &numbers[..]) {
        (Some(how @ ("asleep" | "awake")), &[taps, records]) => (how == "asleep", taps, records, None),
        (Some(how @ ("asleep" | "awake")), &[taps, records, batch]) if batch != 0 => {
            (how == "asleep", taps, records, Some(batch))
        }
        _ => return Err("usage: publications asleep|awake TAPS RECORDS [BATCH]".into()),
    };
    if records > RECORDS_MAX {
        return Err(format!("there is room for {RECORDS_MAX} records").into());
    }
    if batch.is_some_and(|batch| batch == 0 || !records.is_multiple_of(batch)) {
        return Err("the records are a multiple of those of a batch".into());
    }
    let mut producer = LaneOptions::new("publications").capacity(CAPACITY_BYTES).prefault(false).create()?;
    let address = format!("@ipcbench-publications-{}", std::process::id());
    let _server = Server::listen(address.as_str(), [&producer])?;
    let _consumer = Session::connect(address.as_str())?.attach_one(Attach::new())?;
    let attach = |_| Session::connect(address.as_str())?.tap_one(Attach::new());
    let mut taps = (0..taps).map(attach).collect::<Result<Vec<_>, _>>()?;
    for tap in taps.iter_mut().filter(|_| sleeps) {
        assert!(tap.arm()?, "nothing is published yet");
    }
    match batch {
        None => (0..records).try_for_each(|_| send_one(&mut producer))?,
        Some(batch) => (0..records / batch).try_for_each(|_| send_batch(&mut producer, batch))?,
    }
    Ok(())
}

#[inline(never)]
fn send_one(producer: &mut Producer) -> Result<(), Box<dyn Error>> {
    let mut slot = producer.reserve(LEN)?;
    slot.copy_from_slice(&black_box([7; LEN]));
    slot.commit();
    Ok(())
}

#[inline(never)]
fn send_batch(producer: &mut Producer, records: u64) -> Result<(), Box<dyn Error>> {
    let mut batch = producer.batch()?;
    for _ in 0..records {
        let mut slot = batch.reserve(LEN)?;
        slot.copy_from_slice(&black_box([7; LEN]));
        slot.commit();
    }
    batch.commit();
    Ok(())
}
