//! A worker: counts the words of each chunk where it lies, and sends the counts to the sink.

use crate::Result;
use crate::count::{Counts, add_text};
use crate::reader::{CHUNK_BYTES, HEADER_BYTES};
use fdring::distribute::Worker;
use fdring::errors::Refusal;
use fdring::options::{LaneOptions, SessionOptions};
use fdring::{Attach, Error};
use std::ffi::OsStr;
use std::time::Duration;

/// What is sent of a word: its upper half, its lower half, and how often it occurs.
pub(crate) const ENTRY_BYTES: usize = size_of::<[u64; 3]>();
/// Room for a record with the counts of any chunk: each word takes at least two bytes there.
const LANE_BYTES: usize = (2 * ENTRY_BYTES * CHUNK_BYTES / 2).next_power_of_two();
/// How long the reader may take to listen.
const PATIENCE: Duration = Duration::from_secs(10);

/// The whole life of a worker, which may end at any moment: what it was not done with, another one does.
#[allow(unsafe_code, reason = "reads in place, for which it vouches")]
pub(crate) fn work(address: &OsStr) -> Result<()> {
    let mut results = LaneOptions::new("counts").capacity(LANE_BYTES as u64).create()?;
    let _link = results.connect(format!("{}-sink", address.display()))?;
    // SAFETY: the reader is this very program, run by this user: others are not admitted. It writes to the lane in safe
    // code alone, and the seals keep everybody else from writing to it.
    let in_place = unsafe { Attach::new().in_place() };
    let session = SessionOptions::new().patience(PATIENCE).connect(address);
    let chunks = match session.and_then(|session| session.attach_one(in_place)) {
        // The reader ends: others have counted everything before this one was there.
        Err(Error::Closed { .. } | Error::Refused { refusal: Refusal::Closing, .. }) => return Ok(()),
        chunks => chunks?,
    };
    let (mut worker, mut counts) = (Worker::new(chunks)?, Counts::default());
    while let Some(chunk) = worker.receive()? {
        let (header, text) = chunk.split_at(HEADER_BYTES);
        counts.clear();
        add_text(&mut counts, text); // these bytes lie where read(2) has put them
        let mut record = results.reserve(HEADER_BYTES + ENTRY_BYTES * counts.len())?;
        record[..HEADER_BYTES].copy_from_slice(header);
        let entries = record[HEADER_BYTES..].as_chunks_mut::<ENTRY_BYTES>().0;
        for (entry, (word, times)) in entries.iter_mut().zip(&counts) {
            *entry = bytemuck::cast([(*word >> 64) as u64, *word as u64, *times]);
        }
        record.commit();
        // The next call says that the chunk is done with: its counts are published, and will be read.
    }
    Ok(())
}
