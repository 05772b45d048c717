//! A worker: counts the words of each chunk where it lies, and sends the counts to the sink.

use std::time::Duration;

use fdring::distribute::Worker;
use fdring::errors::Refusal;
use fdring::options::{LaneOptions, SessionOptions};
use fdring::{Attach, Error};

use crate::count::{Counts, WORD_MAX_BYTES, add_text};
use crate::reader::{CHUNK_BYTES, NUMBER_BYTES};
use crate::{Result, sink};

/// What is sent of a word: its bytes, padded, and how often it occurs, as a u32.
pub(crate) const ENTRY_BYTES: usize = WORD_MAX_BYTES + 4;
/// Room for a record with the counts of any chunk: each word takes at least two bytes there.
const LANE_BYTES: usize = (2 * ENTRY_BYTES * CHUNK_BYTES / 2).next_power_of_two();
/// How long the reader may take to listen.
const PATIENCE: Duration = Duration::from_secs(10);

/// The whole life of a worker, which may end at any moment: what it was not done with, another one does.
#[allow(unsafe_code, reason = "reads in place, for which it vouches")]
pub(crate) fn work(address: &str) -> Result<()> {
    let mut results = LaneOptions::new("counts").capacity(LANE_BYTES as u64).create()?;
    let _link = results.connect(sink::address(address))?;
    // SAFETY: the reader is this very program, run by this user: others are not admitted, and do not know the address.
    // It writes to the lane in safe code alone, and the seals keep everybody else from writing to it.
    let in_place = unsafe { Attach::new().in_place() };
    let session = SessionOptions::new().patience(PATIENCE).connect(address);
    let chunks = match session.and_then(|session| session.attach_one(in_place)) {
        // The reader ends: others have counted everything before this one was there.
        Err(Error::Closed { .. } | Error::Refused { refusal: Refusal::Closing, .. }) => return Ok(()),
        chunks => chunks?,
    };
    let mut worker = Worker::new(chunks)?;
    let mut counts = Counts::default();
    while let Some(chunk) = worker.receive()? {
        let (number, text) = chunk.split_at(NUMBER_BYTES);
        counts.clear();
        add_text(&mut counts, text); // these bytes lie where read(2) has put them
        let mut record = results.reserve(NUMBER_BYTES + ENTRY_BYTES * counts.len())?;
        record[..NUMBER_BYTES].copy_from_slice(number);
        let entries = record[NUMBER_BYTES..].chunks_exact_mut(ENTRY_BYTES);
        for (entry, (word, count)) in entries.zip(&counts) {
            entry[..WORD_MAX_BYTES].copy_from_slice(&word.to_be_bytes());
            entry[WORD_MAX_BYTES..].copy_from_slice(&(*count as u32).to_be_bytes());
        }
        record.commit();
        // The next call says that the chunk is done with: its counts are published, and will be read.
    }
    Ok(())
}
