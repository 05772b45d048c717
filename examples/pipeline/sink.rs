//! The sink: merges what the workers count, each chunk once, and prints the result. It is the process that was started.

use crate::count::{Counts, WORD_MAX_BYTES};
use crate::crew::{Crew, LOOK_INTERVAL};
use crate::options::Options;
use crate::reader::{HEADER_BYTES, Header};
use crate::worker::ENTRY_BYTES;
use crate::{Result, complain, draw, print, verify};
use fdring::collect::{Collector, Event};
use fdring::errors::ReceiveError;
use std::cmp::Reverse;
use std::collections::HashSet;
use std::io::{IsTerminal, stderr};
use std::time::{Duration, Instant};

/// Has everything counted; whether that is right, as far as was to be seen.
pub(crate) fn count(options: &Options) -> Result<bool> {
    let begun = Instant::now();
    // An abstract name that nobody else uses: it leaves no file behind, however we end. The reader listens there.
    let place = format!("@fdring-pipeline-{}-{:016x}", std::process::id(), fastrand::u64(..));
    let mut collector = Collector::listen(format!("{place}-sink"))?;
    let mut crew = Crew::start(options, place)?;
    let paths: Vec<_> = options.paths.iter().map(|path| path.to_string_lossy()).collect();
    complain(&format!("counting the words of {} with {} workers", paths.join(", "), options.workers));
    if let Some(seed) = options.chaos {
        complain(&format!("killing workers at random, by --chaos={seed}"));
    }
    let (mut shown_at, period) = (begun, Duration::from_millis(if stderr().is_terminal() { 100 } else { 1000 }));
    let (mut merged, mut seen, mut repeated, mut newest) = (Counts::default(), HashSet::new(), 0, Header::default());
    let bytes = loop {
        let [chunks, is_last, files, .., bytes] = newest;
        if is_last == 1 && seen.len() as u64 == chunks {
            break bytes;
        }
        if shown_at.elapsed() >= period {
            draw(&format!("{files} files, {:.1} MB, {} workers killed", bytes as f64 / 1e6, crew.killed));
            shown_at = Instant::now();
        }
        crew.look(seen.len())?;
        let record = match collector.next_timeout(LOOK_INTERVAL) {
            Ok(Event::Record(_, record)) => record,
            // How a process ends, the crew sees. One may be killed before its lane is here.
            Ok(_) | Err(ReceiveError::TimedOut) => continue,
            Err(error) => return Err(error.into()),
        };
        let (header, entries) = record.split_first_chunk::<HEADER_BYTES>().ok_or("a worker sent no header")?;
        let header @ [chunk, ..]: Header = bytemuck::cast(*header);
        if !seen.insert(chunk) {
            repeated += 1; // a worker was killed between its counts and its word that it is done
            continue;
        }
        newest = newest.max(header); // it begins with the number of the chunk
        for entry in entries.as_chunks::<ENTRY_BYTES>().0 {
            let [high, low, times]: [u64; 3] = bytemuck::cast(*entry);
            *merged.entry(u128::from(high) << 64 | u128::from(low)).or_default() += times;
        }
    };
    let seconds = begun.elapsed().as_secs_f64();
    draw("");
    print(&table(newest, &merged, [("killed", crew.killed), ("repeated", repeated)], seconds, options.top))?;
    crew.workers.iter_mut().try_for_each(|worker| worker.kill())?; // first, lest they complain of the reader's end
    if options.verify { verify::verify(&options.paths, bytes, &merged) } else { Ok(true) }
}

fn table(newest: Header, merged: &Counts, chaos: [(&str, u64); 2], seconds: f64, top: usize) -> String {
    let [chunks, _, files, unreadable, skipped, bytes] = newest;
    let labels = ["files", "unreadable", "skipped", "bytes", "chunks"];
    let read = labels.into_iter().zip([files, unreadable, skipped, bytes, chunks]);
    let chaos = chaos.into_iter().filter(|(_, value)| *value > 0);
    let found = [("words", merged.values().sum()), ("distinct", merged.len() as u64)];
    let rows = read.chain(chaos).chain(found);
    let mut table: String = rows.map(|(label, value)| format!("{label:<14}{value:>16}\n")).collect();
    let rate = bytes as f64 / seconds / 1e9;
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
