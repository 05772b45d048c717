//! The reader: walks trees, lets the kernel read files straight into the workers' lanes, and tells the sink how far it
//! is.

use std::fs::{self, DirEntry, File};
use std::io::{self, ErrorKind, Read};
use std::path::PathBuf;
use std::time::Duration;

use fdring::distribute::{Assignment, Distributor, DistributorOptions, To};
use fdring::options::LaneOptions;

use crate::count::{WORD_MAX_BYTES, countable};
use crate::{Result, complain, sink};

/// The length of a chunk of text, with its number: enough that the cost of a record is not felt.
pub(crate) const CHUNK_BYTES: usize = 256 << 10;
/// What a chunk and its counts begin with: its number from 0, as a u64.
pub(crate) const NUMBER_BYTES: usize = 8;
const _: () = assert!(CHUNK_BYTES > NUMBER_BYTES + WORD_MAX_BYTES, "a full chunk always has something to count");
/// What a report says was read, as u64s in this order. Unreadable are files and directories that could not be read, or
/// not to their end; skipped are symbolic links, and what is neither file nor directory.
pub(crate) const REPORTED: [&str; 5] = ["files", "unreadable", "skipped", "bytes", "chunks"];
pub(crate) const FILES: usize = 0;
pub(crate) const BYTES: usize = 3;
pub(crate) const CHUNKS: usize = 4;

/// Gives the text of all files to workers, in chunks that each begin and end between two words, so that any worker can
/// count any of them.
pub(crate) fn read(address: &str, deaths_max: &str, paths: &[PathBuf]) -> Result<()> {
    let mut distributor = DistributorOptions::new()
        .lane(LaneOptions::new("text").capacity(4 * CHUNK_BYTES as u64)) // enough to do while files are opened
        .deaths_max(deaths_max.parse()?)
        .listen(address)?;
    let mut reports = LaneOptions::new("reports").capacity(64 << 10).create()?;
    let _link = reports.connect(sink::address(address))?;
    let mut report = |tag, values: [u64; 5]| reports.send_tagged(values.map(u64::to_le_bytes).as_flattened(), tag);

    let [mut read, mut unreadable, mut skipped, mut bytes, mut chunks] = [0; 5];
    let (mut chunk, mut end) = begin(&mut distributor, chunks, &[])?;
    for (path, found) in files(paths) {
        let outcome = match found {
            Ok(Some(mut file)) => {
                read += 1;
                loop {
                    if end == CHUNK_BYTES {
                        let cut = NUMBER_BYTES + countable(&chunk[NUMBER_BYTES..]);
                        let carry = chunk[cut..].to_vec(); // the beginning of a word
                        chunk.truncate(cut);
                        chunk.commit();
                        chunks += 1;
                        report(sink::READING, [read, unreadable, skipped, bytes, chunks])?;
                        (chunk, end) = begin(&mut distributor, chunks, &carry)?;
                    }
                    match file.read(&mut chunk[end..]) {
                        Ok(0) => break Ok(()),
                        Ok(len) => (end, bytes) = (end + len, bytes + len as u64),
                        Err(error) if error.kind() == ErrorKind::Interrupted => {}
                        Err(error) => break Err(error),
                    }
                }
            }
            found => found.map(|_| skipped += 1),
        };
        if let Err(error) = outcome {
            unreadable += 1;
            complain(&format!("could not read {}: {error}", path.display()));
        }
        if end < CHUNK_BYTES {
            chunk[end] = b'\n'; // no word goes on in the next file
            end += 1;
        }
    }
    chunk.truncate(end);
    chunk.commit();
    distributor.wait_released(Duration::MAX)?;
    match distributor.stats().set_aside {
        0 => Ok(report(sink::READ, [read, unreadable, skipped, bytes, chunks + 1])?),
        poison => Err(format!("{poison} chunks of text killed each worker that had them").into()),
    }
}

/// Room for a chunk, with its number and with what is carried over from the one before; where more goes.
fn begin<'a>(distributor: &'a mut Distributor, number: u64, carry: &[u8]) -> Result<(Assignment<'a>, usize)> {
    let mut chunk = distributor.reserve(To::MostRoom, CHUNK_BYTES)?;
    let end = NUMBER_BYTES + carry.len();
    chunk[..NUMBER_BYTES].copy_from_slice(&number.to_le_bytes());
    chunk[NUMBER_BYTES..end].copy_from_slice(carry);
    Ok((chunk, end))
}

/// All that lies at and below `paths`, links not followed: each path with the file there, or `None` if it is none. No
/// directory stays open while others are read, so that depth costs no descriptors.
pub(crate) fn files(paths: &[PathBuf]) -> impl Iterator<Item = (PathBuf, io::Result<Option<File>>)> {
    let mut pending: Vec<_> = paths.iter().rev().cloned().collect();
    std::iter::from_fn(move || {
        loop {
            let path = pending.pop()?;
            let found = match fs::symlink_metadata(&path) {
                Ok(found) if found.is_dir() => {
                    match fs::read_dir(&path).and_then(Iterator::collect::<Result<Vec<_>, _>>) {
                        Ok(entries) => {
                            pending.extend(entries.iter().map(DirEntry::path));
                            continue;
                        }
                        Err(error) => Err(error),
                    }
                }
                Ok(found) if found.is_file() => File::open(&path).map(Some),
                found => found.map(|_| None),
            };
            return Some((path, found));
        }
    })
}
