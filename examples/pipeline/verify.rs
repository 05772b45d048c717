//! The same count once more, in one process and in the plainest way, and whether both are equal.

use std::fmt::Write;
use std::io::{self, BufRead, BufReader};
use std::path::Path;
use std::time::Instant;

use crate::count::{Counts, WORD_MAX_BYTES, is_word_byte};
use crate::reader::{Stamp, Tally, open};
use crate::sink::printable;

const BUFFER_BYTES: usize = 256 << 10;
/// How many differences of a kind are named.
const NAMED_MAX: usize = 5;

/// What came out.
pub(crate) struct Verdict {
    pub(crate) equal: bool,
    /// The same for people, with figures.
    pub(crate) sentences: String,
}

/// Reads the files that the pipeline has read, and compares.
///
/// A file that has changed since then makes the counts differ through nobody's fault. So the files that are no longer
/// what they were when the pipeline opened them are named; a difference is a difference nonetheless.
pub(crate) fn verify(read: &Tally, merged: &Counts) -> Verdict {
    let start = Instant::now();
    let (mut plain, mut bytes, mut changed) = (Counts::default(), 0, Vec::new());
    for (path, stamp) in &read.seen {
        match count_file(path, &mut plain, &mut bytes) {
            Ok(Some(now)) if now == *stamp => {}
            Ok(Some(now)) if now.len != stamp.len => {
                changed.push(format!("{} had {} bytes and has {}", path.display(), stamp.len, now.len));
            }
            Ok(Some(_)) => changed.push(format!("{} was written to or replaced", path.display())),
            Ok(None) => changed.push(format!("{} is no longer a file", path.display())),
            Err(error) => changed.push(format!("{}: {error}", path.display())),
        }
    }
    let seconds = start.elapsed().as_secs_f64();

    let equal = bytes == read.bytes && plain == *merged;
    let mut sentences = format!(
        "\n{}: a plain count found {bytes} bytes, {} words, {} distinct, in {seconds:.3} s ({:.3} GB/s)\n",
        if equal { "verified" } else { "NOT VERIFIED" },
        plain.total(),
        plain.distinct(),
        bytes as f64 / seconds / 1e9,
    );
    if !equal {
        let lines = differences(&plain, merged);
        list(&mut sentences, "words that differ:", "no word differs", &lines);
        list(&mut sentences, "files that changed meanwhile:", "no file is seen to have changed meanwhile", &changed);
    } else if !changed.is_empty() {
        list(&mut sentences, "equal although files changed or cannot be read:", "", &changed);
    }
    Verdict { equal, sentences }
}

/// Counts a file byte by byte: no cutting, no carrying; only the word that is being read is kept. What the file was
/// like when it was opened.
fn count_file(path: &Path, counts: &mut Counts, bytes: &mut u64) -> io::Result<Option<Stamp>> {
    let Some((file, stamp)) = open(path)? else { return Ok(None) };
    let mut file = BufReader::with_capacity(BUFFER_BYTES, file);
    let mut word = Vec::with_capacity(WORD_MAX_BYTES);
    let mut end_word = |word: &mut Vec<u8>| {
        if !word.is_empty() {
            counts.add(word, 1);
            word.clear();
        }
    };
    let outcome = loop {
        let text = match file.fill_buf() {
            Ok([]) => break Ok(Some(stamp)),
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => break Err(error),
        };
        for byte in text {
            if is_word_byte(*byte) {
                word.push(*byte);
            }
            if !is_word_byte(*byte) || word.len() == WORD_MAX_BYTES {
                end_word(&mut word);
            }
        }
        let len = text.len();
        *bytes += len as u64;
        file.consume(len);
    };
    end_word(&mut word);
    outcome
}

/// The words whose counts differ.
fn differences(plain: &Counts, merged: &Counts) -> Vec<String> {
    let all = plain.iter().chain(merged.iter().filter(|(word, _)| plain.get(word) == 0)).map(|(word, _)| word);
    let differ = all.map(|word| (word, merged.get(word), plain.get(word))).filter(|(_, ours, plain)| ours != plain);
    differ.map(|(word, ours, plain)| format!("{}: {ours} here, {plain} there", printable(word))).collect()
}

fn list(sentences: &mut String, title: &str, none: &str, lines: &[String]) {
    let _ = writeln!(sentences, "{}", if lines.is_empty() { none } else { title }); // a String takes anything
    for line in lines.iter().take(NAMED_MAX) {
        let _ = writeln!(sentences, "  {line}");
    }
    if lines.len() > NAMED_MAX {
        let _ = writeln!(sentences, "  and {} more", lines.len() - NAMED_MAX);
    }
}
