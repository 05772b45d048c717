//! The sink: merges what the workers have counted, and prints it. Here is also how a worker sends its counts.
//!
//! A lane of counts holds one record per different word, and a last one that says what they were counted in. A worker
//! that fails ends its lane as well, when its producer is dropped: without that last record the lane is not complete.

use std::fmt::Write;
use std::time::Duration;

use fdring::{Consumer, Producer, errors::ReceiveError};

use crate::Result;
use crate::count::Counts;
use crate::reader::Tally;
use crate::worker::Workers;

/// The name of a lane of counts.
pub(crate) const LANE: &str = "counts";
/// The tags of its records. A word: how often it occurs, as a u64, then its bytes.
const WORD: u16 = 1;
/// The last one, [`Totals`]: how many records, then how many bytes, each as a u64.
const TOTALS: u16 = 2;

/// How long to wait for one worker before the others are looked at.
const WAIT: Duration = Duration::from_millis(100);

/// What a worker has received.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    pub(crate) records: u64,
    pub(crate) bytes: u64,
}

/// Sends a worker's counts, as one batch: it is published in parts as large as the lane, not word by word.
pub(crate) fn send(mut lane: Producer, counts: &Counts, totals: Totals) -> Result<()> {
    let mut batch = lane.batch()?;
    for (word, count) in counts.iter() {
        let mut record = batch.reserve(size_of::<u64>() + word.len())?;
        record[..size_of::<u64>()].copy_from_slice(&count.to_le_bytes());
        record[size_of::<u64>()..].copy_from_slice(word);
        record.set_tag(WORD);
        record.commit();
    }
    let mut record = batch.reserve(2 * size_of::<u64>())?;
    let (records, bytes) = record.split_at_mut(size_of::<u64>());
    records.copy_from_slice(&totals.records.to_le_bytes());
    bytes.copy_from_slice(&totals.bytes.to_le_bytes());
    record.set_tag(TOTALS);
    record.commit();
    batch.commit();
    // The sink joined before the first chunk was sent, and stays to the end: where it is not there, it is lost.
    if lane.consumer_count() == 0 {
        return Err("the sink has gone, so nobody has the counts".into());
    }
    lane.finish();
    Ok(())
}

/// All that the workers have counted, and what they counted it in.
pub(crate) fn merge(lanes: Vec<Consumer>, workers: &mut Workers) -> Result<(Counts, Totals)> {
    let (mut merged, mut sum) = (Counts::default(), Totals::default());
    for (index, mut lane) in lanes.into_iter().enumerate() {
        let mut totals = None;
        loop {
            let record = match lane.receive_timeout(WAIT) {
                Ok(Some(record)) => record,
                Ok(None) => break,
                Err(ReceiveError::TimedOut) => {
                    workers.check()?;
                    continue;
                }
                Err(ReceiveError::PeerDead) => return Err(workers.obituary(index)),
                Err(error) => return Err(format!("worker {index}: {error}").into()),
            };
            match (record.tag(), record.split_first_chunk()) {
                (WORD, Some((count, word))) => merged.add(word, u64::from_le_bytes(*count)),
                (TOTALS, Some((records, bytes))) => {
                    let whole =
                        |bytes| Totals { records: u64::from_le_bytes(*records), bytes: u64::from_le_bytes(bytes) };
                    totals = bytes.try_into().ok().map(whole);
                }
                (tag, _) => {
                    return Err(format!("worker {index} sent a record of {} bytes with tag {tag}", record.len()).into());
                }
            }
        }
        let totals = totals.ok_or_else(|| workers.obituary(index))?;
        sum = Totals { records: sum.records + totals.records, bytes: sum.bytes + totals.bytes };
    }
    Ok((merged, sum))
}

/// Compares what was sent with what the workers received.
pub(crate) fn check(read: &Tally, received: &Totals) -> Result<()> {
    let sent = Totals { records: read.records, bytes: read.bytes };
    if sent != *received {
        return Err(format!("the workers received {received:?} of {sent:?}").into());
    }
    Ok(())
}

/// The table that is printed at the end.
pub(crate) fn report(read: &Tally, counts: &Counts, wall: Duration, top: usize) -> String {
    let (seconds, mut table) = (wall.as_secs_f64(), String::new());
    let mut line = |label: &str, value: &dyn std::fmt::Display| {
        let _ = writeln!(table, "{label:<14}{value:>16}"); // a String takes anything
    };
    line("files", &read.files);
    line("unreadable", &read.unreadable);
    line("skipped", &read.skipped);
    line("bytes", &read.bytes);
    line("records", &read.records);
    line("words", &counts.total());
    line("distinct", &counts.distinct());
    line("seconds", &format_args!("{seconds:.3}"));
    line("GB/s", &format_args!("{:.3}", read.bytes as f64 / seconds / 1e9));
    if top > 0 {
        line("", &"");
    }
    for (word, count) in counts.most_frequent(top) {
        let _ = writeln!(table, "{count:>14}  {}", printable(word));
    }
    table
}

/// A word as text, without anything that a terminal would act upon.
pub(crate) fn printable(word: &[u8]) -> String {
    match std::str::from_utf8(word) {
        Ok(text) if !text.contains(char::is_control) => text.to_owned(),
        _ => word.escape_ascii().to_string(),
    }
}
