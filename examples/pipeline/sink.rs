//! The sink: merges what the workers count, each chunk once, and prints the result. It is the process that was started.

use crate::crew::Crew;
use crate::options::Options;
use crate::reader::{BYTES, CHUNKS, FILES, HEADER_BYTES, Header, IS_LAST, LABELS};
use crate::worker::{Counts, ENTRY_BYTES, WORD_MAX_BYTES, add_text};
use crate::{Result, complain, draw, print};
use fdring::collect::{Collector, Event};
use fdring::errors::ReceiveError;
use std::cmp::Reverse;
use std::collections::HashSet;
use std::fs;
use std::io::{IsTerminal, stderr};
use std::path::PathBuf;
use std::time::{Duration, Instant};
use walkdir::WalkDir;

/// Has everything counted; whether that is right, as far as was to be seen.
pub(crate) fn count(options: &Options) -> Result<bool> {
    let begun = Instant::now();
    // An abstract name that nobody else uses: it leaves no file behind, however we end. The reader listens there.
    let place = format!("@fdring-pipeline-{}-{:016x}", std::process::id(), fastrand::u64(..));
    let mut collector = Collector::listen(format!("{place}-sink"))?;
    let mut crew = Crew::start(options, place)?;
    let paths: Vec<_> = options.paths.iter().map(|path| path.to_string_lossy()).collect();
    complain(&format!("counting the words of {} (workers: {})", paths.join(", "), options.workers));
    if let Some(seed) = options.chaos {
        complain(&format!("killing workers at random, by --chaos={seed}"));
    }
    let mut shown_at = begun;
    let period = Duration::from_millis(if stderr().is_terminal() { 100 } else { 1000 });
    let mut newest = Header::default();
    let mut merged = Counts::default();
    let mut seen = HashSet::new(); // the numbers of the chunks that were counted
    let mut repeated = 0;
    while newest[IS_LAST] == 0 || (seen.len() as u64) < newest[CHUNKS] {
        if shown_at.elapsed() >= period {
            let megabytes = newest[BYTES] as f64 / 1e6;
            draw(&format!("files: {}, MB: {megabytes:.1}, workers killed: {}", newest[FILES], crew.killed));
            shown_at = Instant::now();
        }
        crew.look(seen.len())?;
        let record = match collector.next_timeout(Duration::from_millis(20)) {
            Ok(Event::Record(_, record)) => record,
            // How a process ends, the crew sees. One may be killed before its lane is here.
            Ok(_) | Err(ReceiveError::TimedOut) => continue,
            Err(error) => return Err(error.into()),
        };
        let (header, entries) = record.split_first_chunk::<HEADER_BYTES>().ok_or("a worker sent no header")?;
        let header: Header = bytemuck::cast(*header);
        if !seen.insert(header[CHUNKS]) {
            repeated += 1; // a worker was killed between its counts and its word that it is done
            continue;
        }
        if header[CHUNKS] > newest[CHUNKS] {
            newest = header;
        }
        for entry in entries.as_chunks::<ENTRY_BYTES>().0 {
            let [high, low, times]: [u64; 3] = bytemuck::cast(*entry);
            *merged.entry(u128::from(high) << 64 | u128::from(low)).or_default() += times;
        }
    }
    let seconds = begun.elapsed().as_secs_f64();
    draw("");
    print(&table(&newest, &merged, [("killed", crew.killed), ("repeated", repeated)], seconds, options.top))?;
    drop(crew);
    if options.verify { is_right(&options.paths, newest[BYTES], &merged) } else { Ok(true) }
}

/// Counts again, file by file. A file that has changed, or can be read only in part, makes the counts differ.
fn is_right(paths: &[PathBuf], bytes: u64, merged: &Counts) -> Result<bool> {
    let start = Instant::now();
    let mut plain = Counts::default();
    let mut plain_bytes = 0;
    for entry in paths.iter().flat_map(WalkDir::new).flatten().filter(|entry| entry.file_type().is_file()) {
        let Ok(mut text) = fs::read(entry.path()) else { continue };
        plain_bytes += text.len() as u64;
        text.push(b'\n'); // no word goes on in the next file
        add_text(&mut plain, &text);
    }
    let is_equal = bytes == plain_bytes && *merged == plain;
    let verdict = if is_equal { "verified" } else { "NOT VERIFIED" };
    let words: u64 = plain.values().sum();
    let distinct = plain.len();
    let seconds = start.elapsed().as_secs_f64();
    print(&format!(
        "\n{verdict}: a plain count found {plain_bytes} bytes, {words} words, {distinct} distinct, in {seconds:.3} s\n"
    ))?;
    Ok(is_equal)
}

fn table(read: &Header, merged: &Counts, chaos: [(&str, u64); 2], seconds: f64, top: usize) -> String {
    let mut rows: Vec<_> = LABELS.into_iter().zip(*read).collect();
    rows.extend(chaos.iter().filter(|(_, times)| *times > 0));
    rows.extend([("words", merged.values().sum()), ("distinct", merged.len() as u64)]);
    let mut table: String = rows.iter().map(|(label, value)| format!("{label:<14}{value:>16}\n")).collect();
    let rate = read[BYTES] as f64 / seconds / 1e9;
    let gap = if top > 0 { "\n" } else { "" };
    table += &format!("{:<14}{seconds:>16.3}\n{:<14}{rate:>16.3}\n{gap}", "seconds", "GB/s");
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
