//! A worker: counts the words of each chunk where it lies, and sends the counts to the sink. And what a word is.

use crate::Result;
use crate::reader::{CHUNK_BYTES, HEADER_BYTES};
use fdring::distribute::Worker;
use fdring::errors::Refusal;
use fdring::options::{LaneOptions, SessionOptions};
use fdring::{Attach, Error};
use std::ffi::OsStr;
use std::time::Duration;

/// A longer run counts in pieces of this length: so a word is a number, text of any kind can be cut, and a binary file
/// has no words of many megabytes.
pub(crate) const WORD_MAX_BYTES: usize = size_of::<u128>();
/// How often each word occurs. A word is its bytes, the first one highest, with zeros behind them, which no word has.
pub(crate) type Counts = foldhash::HashMap<u128, u64>;
/// What is sent of a word: its upper half, its lower half, and how often it occurs.
pub(crate) const ENTRY_BYTES: usize = size_of::<[u64; 3]>();
/// Room for a record with the counts of any chunk: each word takes at least two bytes there.
const LANE_BYTES: usize = (2 * ENTRY_BYTES * CHUNK_BYTES / 2).next_power_of_two();

/// The whole life of a worker, which may end at any moment: what it was not done with, another one does.
#[allow(unsafe_code, reason = "reads in place, for which it vouches")]
pub(crate) fn work(address: &OsStr) -> Result<()> {
    let mut results = LaneOptions::new("counts").capacity(LANE_BYTES as u64).create()?;
    let _link = results.connect(format!("{}-sink", address.display()))?;
    // SAFETY: the reader is this very program, run by this user: others are not admitted. It writes to the lane in safe
    // code alone, and the seals keep everybody else from writing to it.
    let in_place = unsafe { Attach::new().in_place() };
    let session = SessionOptions::new().patience(Duration::from_secs(10)).connect(address); // it may listen later
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

/// Whether a byte belongs to a word: ASCII letters and digits, and every byte of a non-ASCII character in UTF-8.
fn is_word_byte(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric() || *byte >= 0x80
}

/// How much of `text`, which begins where a word may begin, can be counted without knowing what follows. The rest is
/// shorter than [`WORD_MAX_BYTES`] and goes before what follows.
pub(crate) fn countable(text: &[u8]) -> usize {
    let open_run = text.iter().rev().take_while(|byte| is_word_byte(byte)).count();
    text.len() - open_run % WORD_MAX_BYTES // whole pieces of a long run can go
}

/// Counts the words of `text`, which must end with a byte of no word or with a word of full length: a shorter word at
/// its end is not counted.
pub(crate) fn add_text(counts: &mut Counts, text: &[u8]) {
    let is_in_word: [bool; 256] = std::array::from_fn(|byte| is_word_byte(&(byte as u8))); // looking it up is faster
    let (mut word, mut len) = (0, 0);
    for byte in text {
        if is_in_word[usize::from(*byte)] {
            (word, len) = (word << 8 | u128::from(*byte), len + 1);
            if len < WORD_MAX_BYTES {
                continue;
            }
        }
        if len > 0 {
            *counts.entry(word << (8 * (WORD_MAX_BYTES - len))).or_default() += 1;
            (word, len) = (0, 0);
        }
    }
}
