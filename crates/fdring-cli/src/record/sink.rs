//! Where recorded records go: to a file, to one file after another, or to a window in memory.

use super::Wishes;
use crate::Failure;
use crate::output::say;
use crate::recording::Missed;
use crate::recording::write::{Moment, Options, Refusal, Writer, check_length, create};
use fdring::info::LaneInfo;
use rustix::fs::{Access, access};
use rustix::io::Errno;
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What a kept record takes besides its payload, in bytes: its entry, and what an allocation costs.
const ENTRY_BYTES: u64 = 80;

/// What is recorded of a lane.
#[derive(Clone, Copy, Debug)]
pub(super) enum What<'a> {
    Record { tag: u16, payload: &'a [u8] },
    Missed(Missed),
}

#[derive(Debug)]
pub(super) enum Sink {
    Files(Box<Files>),
    Window(Box<Window>),
}

/// The files that have been written so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Written {
    pub(super) files: u32,
    pub(super) bytes: u64,
    /// The first and the last of them, if they are numbered.
    pub(super) paths: Option<(PathBuf, PathBuf)>,
    /// The records of the window that its files could not take.
    pub(super) left_out: u64,
}

impl Sink {
    pub(super) fn new(wishes: &Wishes, options: Options, lanes: Arc<[LaneInfo]>) -> Result<Self, Failure> {
        let is_numbered = wishes.last.is_some() || wishes.split_size.is_some() || wishes.split_time.is_some();
        let output = wishes.output.clone();
        let names = Names { output, is_numbered, number: 0, options, lanes, written: Written::default() };
        match wishes.last {
            Some(time) => {
                names.check_folder()?;
                let (time, bytes_max) = (u64::try_from(time.as_nanos()).unwrap_or(u64::MAX), wishes.memory);
                let (kept, bytes) = (VecDeque::new(), 0);
                Ok(Self::Window(Box::new(Window { names, time, bytes_max, kept, bytes, newest: 0, is_short: false })))
            }
            None => Ok(Self::Files(Box::new(Files::new(names, wishes)?))),
        }
    }

    pub(super) fn take(&mut self, lane: usize, moment: Moment, what: What<'_>) -> Result<(), Refusal> {
        match self {
            Self::Files(files) => files.take(lane, moment, what),
            Self::Window(window) => window.take(lane, moment, what),
        }
    }

    /// Hands on what has come, and begins another file if it is time.
    pub(super) fn tick(&mut self) -> Result<(), Failure> {
        match self {
            Self::Files(files) => files.tick(),
            Self::Window(_) => Ok(()),
        }
    }

    /// Writes the window, which is kept: if that fails, another try can go well. Without a window, hands on what has
    /// come.
    pub(super) fn write(&mut self) -> Result<(), Failure> {
        match self {
            Self::Files(files) => files.writer.flush(),
            Self::Window(window) => {
                if let Err(failure) = window.write() {
                    say(format_args!("the window was not written, and is kept: {failure}"));
                }
                Ok(())
            }
        }
    }

    pub(super) fn finish(self) -> Result<Written, Failure> {
        match self {
            Self::Files(mut files) => {
                files.names.written.bytes += files.writer.finish()?;
                Ok(files.names.written)
            }
            Self::Window(mut window) => {
                window.write()?;
                Ok(window.names.written)
            }
        }
    }
}

/// What the files are called, and how they are written.
#[derive(Debug)]
struct Names {
    output: PathBuf,
    /// Whether there may be several: `ticks-0001.mcap`, `ticks-0002.mcap`.
    is_numbered: bool,
    /// The last that was tried.
    number: u32,
    options: Options,
    lanes: Arc<[LaneInfo]>,
    written: Written,
}

impl Names {
    /// Creates the next file. A number that an older file has is passed over, if that is not to be replaced.
    fn next(&mut self) -> Result<Writer, Failure> {
        let (file, path) = loop {
            let path = self.next_path();
            match create(&path, &self.options)? {
                Some(file) => break (file, path),
                None if self.is_numbered => {}
                None => {
                    let path = path.display();
                    return Err(Failure::new(format!(
                        "{path} exists; choose another name, or replace it with --force"
                    )));
                }
            }
        };
        let writer = Writer::new(file, &path, &self.lanes, &self.options)?;
        self.written.files += 1;
        if self.is_numbered {
            let first = self.written.paths.take().map_or_else(|| path.clone(), |(first, _)| first);
            self.written.paths = Some((first, path));
        }
        Ok(writer)
    }

    /// Where no file is made yet, whether one could be is not to be found out at the incident.
    fn check_folder(&self) -> Result<(), Failure> {
        let folder = self.output.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let checked = access(folder, Access::WRITE_OK | Access::EXEC_OK);
        let failed = |errno| Failure::new(format!("could not create files in {}: {errno}", folder.display()));
        checked.map_err(|errno: Errno| failed(std::io::Error::from(errno)))
    }

    fn next_path(&mut self) -> PathBuf {
        let mut path = self.output.clone();
        if self.is_numbered {
            self.number += 1;
            let mut name = path.file_stem().unwrap_or_default().to_owned();
            name.push(format!("-{:04}", self.number));
            if let Some(extension) = path.extension() {
                name.push(".");
                name.push(extension);
            }
            path.set_file_name(name);
        }
        path
    }
}

/// One file after another.
pub(super) struct Files {
    names: Names,
    writer: Writer,
    since: Instant,
    size_max: u64,
    time_max: Duration,
}

impl Files {
    fn new(mut names: Names, wishes: &Wishes) -> Result<Self, Failure> {
        let writer = names.next()?;
        let (size_max, time_max) = (wishes.split_size.unwrap_or(u64::MAX), wishes.split_time.unwrap_or(Duration::MAX));
        Ok(Self { names, writer, since: Instant::now(), size_max, time_max })
    }

    fn take(&mut self, lane: usize, moment: Moment, what: What<'_>) -> Result<(), Refusal> {
        if self.writer.written_bytes() >= self.size_max {
            self.split()?;
        }
        put(&mut self.writer, lane, moment, what)
    }

    fn tick(&mut self) -> Result<(), Failure> {
        if self.since.elapsed() >= self.time_max {
            self.split()?;
        }
        self.writer.flush()
    }

    fn split(&mut self) -> Result<(), Failure> {
        let next = self.names.next()?;
        self.names.written.bytes += std::mem::replace(&mut self.writer, next).finish()?;
        self.since = Instant::now();
        Ok(())
    }
}

impl std::fmt::Debug for Files {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Files").field("names", &self.names).finish_non_exhaustive()
    }
}

fn put(writer: &mut Writer, lane: usize, moment: Moment, what: What<'_>) -> Result<(), Refusal> {
    match what {
        What::Record { tag, payload } => writer.record(lane, tag, moment, payload),
        What::Missed(missed) => Ok(writer.missed(lane, moment, missed)?),
    }
}

/// The last records, in memory.
#[derive(Debug)]
pub(super) struct Window {
    names: Names,
    /// In nanoseconds.
    time: u64,
    bytes_max: u64,
    kept: VecDeque<Kept>,
    bytes: u64,
    /// The time of the newest record.
    newest: u64,
    /// Whether records of the time were dropped because there were too many.
    is_short: bool,
}

#[derive(Debug)]
struct Kept {
    lane: usize,
    moment: Moment,
    what: KeptWhat,
}

#[derive(Debug)]
enum KeptWhat {
    Record { tag: u16, payload: Box<[u8]> },
    Missed(Missed),
}

impl Kept {
    fn bytes(&self) -> u64 {
        match &self.what {
            KeptWhat::Record { payload, .. } => payload.len() as u64 + ENTRY_BYTES,
            KeptWhat::Missed(_) => ENTRY_BYTES,
        }
    }
}

impl Window {
    fn take(&mut self, lane: usize, moment: Moment, what: What<'_>) -> Result<(), Refusal> {
        let what = match what {
            What::Record { tag, payload } => {
                check_length(payload.len())?;
                KeptWhat::Record { tag, payload: payload.into() }
            }
            What::Missed(missed) => KeptWhat::Missed(missed),
        };
        let kept = Kept { lane, moment, what };
        self.bytes += kept.bytes();
        self.newest = moment.logged;
        self.kept.push_back(kept);
        while let Some(oldest) = self.kept.front() {
            let is_old = self.newest.saturating_sub(oldest.moment.logged) > self.time;
            if !is_old && self.bytes <= self.bytes_max {
                break;
            }
            self.is_short |= !is_old;
            self.bytes -= oldest.bytes();
            self.kept.pop_front();
        }
        Ok(())
    }

    fn write(&mut self) -> Result<(), Failure> {
        let mut writer = self.names.next()?;
        let (mut records, mut refused) = (0, None);
        for kept in &self.kept {
            let what = match &kept.what {
                KeptWhat::Record { tag, payload } => What::Record { tag: *tag, payload },
                KeptWhat::Missed(missed) => What::Missed(*missed),
            };
            let is_record = matches!(what, What::Record { .. });
            match put(&mut writer, kept.lane, kept.moment, what) {
                Ok(()) => records += u64::from(is_record),
                Err(Refusal::File(failure)) => return Err(failure),
                Err(Refusal::Record(why)) => {
                    refused = Some((kept.lane, why));
                    self.names.written.left_out += 1;
                }
            }
        }
        let path = writer.path().display().to_string();
        self.names.written.bytes += writer.finish()?;
        say(format_args!("wrote {records} records to {path}"));
        if let Some((lane, why)) = refused {
            let (lane, left_out) = (&self.names.lanes[lane].name, self.names.written.left_out);
            say(format_args!("left {left_out} records out: lane {lane}: {why}"));
        }
        if self.is_short {
            say("the window is shorter than it should be: its records take more than --memory");
        }
        Ok(())
    }
}
