//! The same count once more, in one process and file by file, and whether both are equal.

use crate::count::{Counts, add_text};
use crate::reader::walk;
use crate::{Result, print};
use std::io::Read;
use std::path::PathBuf;
use std::time::Instant;

/// Reads all files again, and compares. A file that has changed since then makes the counts differ.
pub(crate) fn verify(paths: &[PathBuf], bytes: u64, merged: &Counts) -> Result<bool> {
    let (start, mut plain, mut plain_bytes) = (Instant::now(), Counts::default(), 0);
    for (_, found) in walk(paths) {
        let (Ok(Some(mut file)), mut text) = (found, Vec::new()) else { continue };
        let _ = file.read_to_end(&mut text); // What cannot be read was complained of, and what can is counted.
        plain_bytes += text.len() as u64;
        text.push(b'\n'); // no word goes on in the next file
        add_text(&mut plain, &text);
    }
    let (total, distinct, seconds) = (plain.values().sum::<u64>(), plain.len(), start.elapsed().as_secs_f64());
    let is_equal = (bytes, merged) == (plain_bytes, &plain);
    let verdict = if is_equal { "verified" } else { "NOT VERIFIED" };
    print(&format!(
        "\n{verdict}: a plain count found {plain_bytes} bytes, {total} words, {distinct} distinct, in {seconds:.3} s\n"
    ))?;
    Ok(is_equal)
}
