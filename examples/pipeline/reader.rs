//! The reader: walks trees, and lets the kernel read files straight into the workers' lanes.

use crate::worker::{WORD_MAX_BYTES, countable};
use crate::{Result, complain};
use fdring::distribute::{DistributorOptions, To};
use fdring::options::LaneOptions;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;
use walkdir::WalkDir;

/// The length of a chunk of text, with its header: enough that the cost of a record is not felt.
pub(crate) const CHUNK_BYTES: usize = 256 << 10;
/// What a chunk begins with, and its counts too: how much was read until its end. Unreadable are files and directories
/// that could not be read, or not to their end; skipped are symbolic links, and what is neither file nor directory.
pub(crate) type Header = [u64; 6];
pub(crate) const LABELS: [&str; 5] = ["files", "unreadable", "skipped", "bytes", "chunks"];
pub(crate) const FILES: usize = 0;
const UNREADABLE: usize = 1;
const SKIPPED: usize = 2;
pub(crate) const BYTES: usize = 3;
pub(crate) const CHUNKS: usize = 4; // and so the number of this one, from 1
pub(crate) const IS_LAST: usize = 5; // 1 in the last chunk, 0 in others
pub(crate) const HEADER_BYTES: usize = size_of::<Header>();
const _: () = assert!(CHUNK_BYTES > HEADER_BYTES + WORD_MAX_BYTES, "a full chunk always has something to count");

/// Gives the text of all files to workers, in chunks that each begin and end between two words, so that any worker can
/// count any of them.
pub(crate) fn read(address: &OsStr, paths: &[OsString]) -> Result<()> {
    let mut distributor = DistributorOptions::new()
        .lane(LaneOptions::new("text").capacity(4 * CHUNK_BYTES as u64)) // enough to do while files are opened
        .deaths_max(u32::MAX) // the crew counts the deaths
        .listen(address)?;
    let mut header = Header::default();
    let mut entries = paths.iter().flat_map(WalkDir::new); // links are not followed
    let mut open: Option<(PathBuf, File)> = None;
    let mut carry = Vec::new(); // the beginning of a word, for the next chunk
    while header[IS_LAST] == 0 {
        let mut chunk = distributor.reserve(To::MostRoom, CHUNK_BYTES)?;
        let mut end = HEADER_BYTES + carry.len();
        chunk[HEADER_BYTES..end].copy_from_slice(&carry);
        while end < CHUNK_BYTES {
            let Some((path, file)) = &mut open else {
                match entries.next() {
                    None => break,
                    Some(Ok(entry)) if entry.file_type().is_dir() => {}
                    Some(Ok(entry)) if !entry.file_type().is_file() => header[SKIPPED] += 1,
                    Some(Ok(entry)) => match File::open(entry.path()) {
                        Ok(file) => open = Some((entry.into_path(), file)),
                        Err(error) => note_unreadable(&mut header, Some(entry.path()), &error),
                    },
                    Some(Err(error)) => {
                        note_unreadable(&mut header, error.path(), error.io_error().expect("no loop of links"))
                    }
                }
                continue;
            };
            match file.read(&mut chunk[end..]) {
                Ok(len @ 1..) => {
                    end += len;
                    header[BYTES] += len as u64;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                ended => {
                    header[FILES] += 1;
                    if let Err(error) = ended {
                        note_unreadable(&mut header, Some(path), &error);
                    }
                    chunk[end] = b'\n'; // no word goes on in the next file
                    end += 1;
                    open = None;
                }
            }
        }
        header[CHUNKS] += 1;
        header[IS_LAST] = (end < CHUNK_BYTES).into();
        let cut = if end < CHUNK_BYTES { end } else { HEADER_BYTES + countable(&chunk[HEADER_BYTES..]) };
        carry = chunk[cut..end].to_vec();
        chunk[..HEADER_BYTES].copy_from_slice(bytemuck::bytes_of(&header));
        chunk.truncate(cut);
        chunk.commit();
    }
    Ok(distributor.finish_and_wait(Duration::MAX)?)
}

/// Counts a file or a directory that cannot be read, and complains.
fn note_unreadable(header: &mut Header, path: Option<&Path>, error: &io::Error) {
    header[UNREADABLE] += 1;
    complain(&format!("could not read {}: {error}", path.unwrap_or(Path::new("a directory")).display()));
}
