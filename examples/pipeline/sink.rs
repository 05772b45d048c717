//! The sink: merges what the workers count, each chunk once, and prints the result. It is the process that was started.

use std::cmp::Reverse;
use std::collections::HashSet;
use std::io::{IsTerminal, stderr};
use std::time::{Duration, Instant};

use fdring::collect::{Collector, Event};
use fdring::errors::ReceiveError;

use crate::count::{Counts, WORD_MAX_BYTES};
use crate::crew::{Crew, private_address};
use crate::options::Options;
use crate::reader::{BYTES, CHUNKS, FILES, REPORTED};
use crate::worker::ENTRY_BYTES;
use crate::{Result, complain, draw, print, verify};

/// The tags of what the reader sends: what it has read so far, and all that it has read. Counts have the tag 0.
pub(crate) const READING: u16 = 1;
pub(crate) const READ: u16 = 2;

/// Where the sink listens, given where the reader does.
pub(crate) fn address(address: &str) -> String {
    format!("{address}-sink")
}

/// Has everything counted; whether that is right, as far as was to be seen.
pub(crate) fn count(options: &Options) -> Result<bool> {
    let (begun, place) = (Instant::now(), private_address());
    let mut collector = Collector::listen(address(&place))?;
    let mut crew = Crew::start(options, place)?;
    let paths: Vec<_> = options.paths.iter().map(|path| path.to_string_lossy()).collect();
    complain(&format!("counting the words of {} with {} workers", paths.join(", "), options.workers));
    if let Some(seed) = options.chaos {
        complain(&format!("killing workers at random, by --chaos={seed}"));
    }
    let (mut shown_at, period) = (begun, Duration::from_millis(if stderr().is_terminal() { 100 } else { 1000 }));
    let (mut read, mut is_read) = ([0; REPORTED.len()], false);
    let (mut merged, mut seen, mut repeated) = (Counts::default(), HashSet::new(), 0_u64);
    while !is_read || (seen.len() as u64) < read[CHUNKS] {
        match collector.next_deadline(crew.look(seen.len())?) {
            Ok(Event::Record(_, record)) if [READING, READ].contains(&record.tag()) => {
                is_read = record.tag() == READ;
                let values = record.as_chunks().0.iter().map(|value| u64::from_le_bytes(*value));
                read.iter_mut().zip(values).for_each(|(place, value)| *place = value);
            }
            Ok(Event::Record(_, record)) => {
                let (number, counts) = record.split_first_chunk().ok_or("a worker sent no number")?;
                if !seen.insert(u64::from_le_bytes(*number)) {
                    repeated += 1; // a worker was killed between its counts and its word that it is done
                    continue;
                }
                for entry in counts.chunks_exact(ENTRY_BYTES) {
                    let (word, times) = entry.split_at(WORD_MAX_BYTES);
                    let times = u32::from_be_bytes(times.try_into()?);
                    *merged.entry(u128::from_be_bytes(word.try_into()?)).or_default() += u64::from(times);
                }
            }
            // How a process ends, the crew sees. One may be killed before its lane is here.
            Ok(_) | Err(ReceiveError::TimedOut) => {}
            Err(error) => return Err(error.into()),
        }
        if shown_at.elapsed() >= period {
            draw(&format!("{} files, {:.1} MB, {} workers killed", read[FILES], read[BYTES] as f64 / 1e6, crew.killed));
            shown_at = Instant::now();
        }
    }
    let seconds = begun.elapsed().as_secs_f64();
    draw("");
    print(&table(read, &merged, [("killed", crew.killed), ("repeated", repeated)], seconds, options.top))?;
    drop(crew);
    if options.verify { verify::verify(&options.paths, read[BYTES], &merged) } else { Ok(true) }
}

fn table(read: [u64; 5], merged: &Counts, chaos: [(&str, u64); 2], seconds: f64, top: usize) -> String {
    let mut rows: Vec<(&str, u64)> = REPORTED.into_iter().zip(read).collect();
    rows.extend(chaos.into_iter().filter(|(_, value)| *value > 0));
    rows.extend([("words", merged.values().sum()), ("distinct", merged.len() as u64)]);
    let mut table: String = rows.iter().map(|(label, value)| format!("{label:<14}{value:>16}\n")).collect();
    let rate = read[BYTES] as f64 / seconds / 1e9;
    table += &format!("{:<14}{seconds:>16.3}\n{:<14}{rate:>16.3}\n{}", "seconds", "GB/s", "\n".repeat(top.min(1)));
    // The most frequent words first, equally frequent ones in the order of their bytes.
    let mut words: Vec<_> = merged.iter().map(|(word, count)| (Reverse(*count), *word)).collect();
    if top < words.len() {
        words.select_nth_unstable(top);
        words.truncate(top);
    }
    words.sort_unstable();
    words.iter().for_each(|(count, word)| table += &format!("{:>14}  {}\n", count.0, printable(*word)));
    table
}

/// A word as text, without anything that a terminal would act upon.
fn printable(word: u128) -> String {
    let padded = word.to_be_bytes();
    let word = &padded[..WORD_MAX_BYTES - word.trailing_zeros() as usize / 8];
    match std::str::from_utf8(word) {
        Ok(text) if !text.contains(char::is_control) => text.to_owned(),
        _ => word.escape_ascii().to_string(),
    }
}
