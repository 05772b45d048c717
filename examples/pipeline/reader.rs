//! The reader: walks trees and lets the kernel read files straight into the lanes.

use std::fs::{self, File, FileType, Metadata, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use fdring::{Producer, errors::SendError};

use crate::Result;
use crate::count::{WORD_MAX_BYTES, countable};
use crate::options::Options;
use crate::progress::Progress;
use crate::worker::Workers;

/// How much of a file goes into one record: enough that neither read(2) nor the record's own cost is felt.
const CHUNK_BYTES: usize = 256 << 10;
const _: () = assert!(CHUNK_BYTES > WORD_MAX_BYTES, "a full chunk always has something to count");
/// How long to wait for one full lane before the others are looked at again.
const FULL_WAIT: Duration = Duration::from_millis(10);
/// How often to see whether the workers live.
const CHECK_INTERVAL: Duration = Duration::from_millis(100);
/// How many unreadable files are named; the others are counted.
const COMPLAINTS_MAX: u64 = 10;

/// What was read.
#[derive(Default)]
pub(crate) struct Tally {
    pub(crate) files: u64,
    pub(crate) bytes: u64,
    pub(crate) records: u64,
    /// Files and directories that could not be read, or not to their end.
    pub(crate) unreadable: u64,
    /// Symbolic links, and what is neither file nor directory.
    pub(crate) skipped: u64,
    /// Each file as it was when it was opened, for those who want to read it again.
    pub(crate) seen: Vec<(PathBuf, Stamp)>,
}

/// What changes when a file changes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    inode: (u64, u64),
    pub(crate) len: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    pub(crate) fn of(file: &Metadata) -> Self {
        Self {
            inode: (file.dev(), file.ino()),
            len: file.len(),
            modified: (file.mtime(), file.mtime_nsec()),
            changed: (file.ctime(), file.ctime_nsec()),
        }
    }
}

pub(crate) struct Reader<'a> {
    lanes: Vec<Producer>,
    /// The lane whose turn it is.
    next: usize,
    workers: &'a mut Workers,
    checked: Instant,
    progress: Progress,
    options: &'a Options,
    tally: Tally,
    /// The end of a chunk that belongs to the next one.
    carry: Vec<u8>,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(
        lanes: Vec<Producer>,
        workers: &'a mut Workers,
        progress: Progress,
        options: &'a Options,
    ) -> Self {
        let (checked, tally, carry) = (Instant::now(), Tally::default(), Vec::with_capacity(WORD_MAX_BYTES));
        Self { lanes, next: 0, workers, checked, progress, options, tally, carry }
    }

    /// Reads all that lies at and below `paths`. Then the lanes end: the workers see it once they have read everything.
    pub(crate) fn read(mut self, paths: &[PathBuf]) -> Result<Tally> {
        for path in paths {
            if self.options.verbose {
                self.progress.note(&format!("reading {}", path.display()));
            }
            match fs::metadata(path) {
                Ok(found) => self.walk(path.clone(), found.file_type())?,
                Err(error) => self.note_unreadable(path, &error),
            }
        }
        self.lanes.into_iter().for_each(Producer::finish);
        Ok(self.tally)
    }

    /// One tree. No directory stays open while others are read, so that depth costs no descriptors.
    fn walk(&mut self, root: PathBuf, kind: FileType) -> Result<()> {
        let mut pending = vec![(root, kind)];
        while let Some((path, kind)) = pending.pop() {
            self.look_around()?;
            let outcome = if kind.is_dir() {
                list(&path, &mut pending).map(|()| true)
            } else if kind.is_file() {
                self.send_file(&path)?
            } else {
                Ok(false)
            };
            match outcome {
                Ok(true) => {}
                Ok(false) => self.tally.skipped += 1,
                Err(error) => self.note_unreadable(&path, &error),
            }
        }
        Ok(())
    }

    /// Sends a file in chunks that each begin and end between two words, so that any worker can count any of them.
    /// The inner result says whether the file was sent: `false` if it is no longer there.
    fn send_file(&mut self, path: &Path) -> Result<io::Result<bool>> {
        let (file, stamp) = match open(path) {
            Ok(Some(opened)) => opened,
            Ok(None) => return Ok(Ok(false)),
            Err(error) => return Ok(Err(error)),
        };
        self.tally.files += 1;
        if self.options.verify {
            self.tally.seen.push((path.into(), stamp));
        }
        self.carry.clear();
        loop {
            let lane = self.find_room()?;
            let mut chunk = self.lanes[lane].reserve(CHUNK_BYTES)?; // does not wait: there is room
            let carried = self.carry.len();
            chunk[..carried].copy_from_slice(&self.carry);
            let (read, outcome) = fill(&file, &mut chunk[carried..]);
            let filled = carried + read;
            let is_last = filled < CHUNK_BYTES;

            let end = if is_last { filled } else { countable(&chunk) };
            self.carry.clear();
            self.carry.extend_from_slice(&chunk[end..filled]);
            if end > 0 {
                chunk.truncate(end);
                chunk.commit();
                self.tally.records += 1;
            } // else the file has nothing (more), and the reservation is discarded
            self.tally.bytes += read as u64;
            if is_last {
                return Ok(outcome.map(|()| true));
            }
        }
    }

    /// The next lane with room for a chunk, and with a worker that reads it.
    fn find_room(&mut self) -> Result<usize> {
        loop {
            for _ in 0..self.lanes.len() {
                self.next = (self.next + 1) % self.lanes.len();
                let lane = &mut self.lanes[self.next];
                // Nobody holds back a lane without consumers: what is sent there would be lost.
                if lane.consumer_count() == 0 {
                    return Err(self.workers.obituary(self.next));
                }
                if lane.try_reserve(CHUNK_BYTES).is_ok() {
                    return Ok(self.next);
                }
            }
            // All are full, so that the workers have enough to do while we wait for any one of them.
            match self.lanes[self.next].reserve_timeout(CHUNK_BYTES, FULL_WAIT) {
                Ok(_) | Err(SendError::TimedOut { .. }) => self.look_around()?,
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Shows how far we are, and sees whether the workers live.
    fn look_around(&mut self) -> Result<()> {
        if self.checked.elapsed() >= CHECK_INTERVAL {
            self.checked = Instant::now();
            self.workers.check()?;
            self.progress.show(self.tally.files, self.tally.bytes);
        }
        Ok(())
    }

    fn note_unreadable(&mut self, path: &Path, error: &io::Error) {
        self.tally.unreadable += 1;
        match self.tally.unreadable {
            ..COMPLAINTS_MAX => self.progress.note(&format!("could not read {}: {error}", path.display())),
            COMPLAINTS_MAX => self.progress.note("more could not be read, and are only counted"),
            _ => {}
        }
    }
}

/// Adds what a directory holds to `entries`. After an error it has added what came before.
fn list(directory: &Path, entries: &mut Vec<(PathBuf, FileType)>) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        entries.push((entry.path(), entry.file_type()?));
    }
    Ok(())
}

/// Opens a file; `None` if it is none.
pub(crate) fn open(path: &Path) -> io::Result<Option<(File, Stamp)>> {
    // A FIFO that took the file's place in the meantime would keep us waiting for a writer.
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path)?;
    let found = file.metadata()?;
    Ok(found.is_file().then(|| (file, Stamp::of(&found))))
}

/// Reads until `buffer` is full, the file ends or reading fails; how much was read, in any case.
fn fill(mut file: &File, buffer: &mut [u8]) -> (usize, io::Result<()>) {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return (filled, Err(error)),
        }
    }
    (filled, Ok(()))
}
