//! The reader: walks trees, and lets the kernel read files straight into the workers' lanes.

use crate::count::{WORD_MAX_BYTES, countable};
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
/// What a chunk begins with, and its counts too: how much was read until its end, as
/// `[chunks, is_last, files, unreadable, skipped, bytes]`. The chunks are its number, from 1; `is_last` is 1 in the
/// last one. Unreadable are files and directories that could not be read, or not to their end; skipped are symbolic
/// links, and what is neither file nor directory.
pub(crate) type Header = [u64; 6];
pub(crate) const HEADER_BYTES: usize = size_of::<Header>();
const _: () = assert!(CHUNK_BYTES > HEADER_BYTES + WORD_MAX_BYTES, "a full chunk always has something to count");

/// Gives the text of all files to workers, in chunks that each begin and end between two words, so that any worker can
/// count any of them.
pub(crate) fn read(address: &OsStr, paths: &[OsString]) -> Result<()> {
    let mut distributor = DistributorOptions::new()
        .lane(LaneOptions::new("text").capacity(4 * CHUNK_BYTES as u64)) // enough to do while files are opened
        .deaths_max(u32::MAX) // the crew counts the deaths
        .listen(address)?;
    let [mut chunks, mut files, mut unreadable, mut skipped, mut bytes] = [0; 5];
    let (mut entries, mut entry, mut carry, mut is_last) = (walk(paths), None, Vec::new(), false);
    while !is_last {
        let mut chunk = distributor.reserve(To::MostRoom, CHUNK_BYTES)?;
        let mut end = HEADER_BYTES + carry.len();
        chunk[HEADER_BYTES..end].copy_from_slice(&carry);
        while end < CHUNK_BYTES {
            let Some((path, found)) = entry.take().or_else(|| entries.next()) else { break };
            match found {
                Ok(Some(mut file)) => match file.read(&mut chunk[end..]) {
                    Ok(len @ 1..) => {
                        (end, bytes) = (end + len, bytes + len as u64);
                        entry = Some((path, Ok(Some(file))));
                    }
                    Err(error) if error.kind() == ErrorKind::Interrupted => entry = Some((path, Ok(Some(file)))),
                    ended => {
                        files += 1;
                        chunk[end] = b'\n'; // no word goes on in the next file
                        end += 1;
                        entry = ended.err().map(|error| (path, Err(error))); // told in the next round
                    }
                },
                Ok(None) => skipped += 1,
                Err(error) => {
                    unreadable += 1;
                    complain(&format!("could not read {}: {error}", path.display()));
                }
            }
        }
        is_last = end < CHUNK_BYTES;
        let cut = if is_last { end } else { HEADER_BYTES + countable(&chunk[HEADER_BYTES..]) };
        carry = chunk[cut..end].to_vec(); // the beginning of a word
        chunks += 1;
        let header: Header = [chunks, is_last.into(), files, unreadable, skipped, bytes];
        chunk[..HEADER_BYTES].copy_from_slice(bytemuck::bytes_of(&header));
        chunk.truncate(cut);
        chunk.commit();
    }
    Ok(distributor.finish_and_wait(Duration::MAX)?)
}

/// All that lies at and below `paths` but directories, links not followed: each path with the file there, or `None` if
/// it is none.
pub(crate) fn walk(paths: &[impl AsRef<Path>]) -> impl Iterator<Item = (PathBuf, io::Result<Option<File>>)> {
    paths.iter().flat_map(WalkDir::new).filter_map(|found| match found {
        Ok(entry) if entry.file_type().is_dir() => None,
        Ok(entry) => {
            let file = entry.file_type().is_file().then(|| File::open(entry.path())).transpose();
            Some((entry.into_path(), file))
        }
        Err(error) => {
            let path = error.path().map(PathBuf::from).unwrap_or_default();
            Some((path, Err(error.into_io_error().expect("only links that are followed make loops"))))
        }
    })
}
