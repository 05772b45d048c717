//! Where recorded records go: to a file, to one file after another, or to a window in memory.

use super::Wishes;
use crate::Failure;
use crate::output::say;
use crate::recording::Missed;
use crate::recording::write::{Moment, Options, Writer};
use fdring::info::LaneInfo;
use std::collections::VecDeque;
use std::path::PathBuf;
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
    Window(Window),
}

/// The files that have been written so far.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Written {
    pub(super) files: u32,
    pub(super) bytes: u64,
}

impl Sink {
    pub(super) fn new(wishes: &Wishes, options: Options, lanes: Arc<[LaneInfo]>) -> Result<Self, Failure> {
        let is_numbered = wishes.last.is_some() || wishes.split_size.is_some() || wishes.split_time.is_some();
        let names = Names { output: wishes.output.clone(), is_numbered, options, lanes, written: Written::default() };
        match wishes.last {
            Some(time) => {
                let (time, bytes_max) = (u64::try_from(time.as_nanos()).unwrap_or(u64::MAX), wishes.memory);
                let (kept, bytes) = (VecDeque::new(), 0);
                Ok(Self::Window(Window { names, time, bytes_max, kept, bytes, newest: 0, is_short: false }))
            }
            None => Ok(Self::Files(Box::new(Files::new(names, wishes)?))),
        }
    }

    pub(super) fn take(&mut self, lane: usize, moment: Moment, what: What<'_>) -> Result<(), Failure> {
        match self {
            Self::Files(files) => files.take(lane, moment, what),
            Self::Window(window) => {
                window.take(lane, moment, what);
                Ok(())
            }
        }
    }

    /// Hands on what has come, and begins another file if it is time.
    pub(super) fn tick(&mut self) -> Result<(), Failure> {
        match self {
            Self::Files(files) => files.tick(),
            Self::Window(_) => Ok(()),
        }
    }

    /// Writes the window. Without one, hands on what has come.
    pub(super) fn write(&mut self) -> Result<(), Failure> {
        match self {
            Self::Files(files) => files.writer.flush(),
            Self::Window(window) => window.write(),
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
    options: Options,
    lanes: Arc<[LaneInfo]>,
    written: Written,
}

impl Names {
    /// Creates the next file.
    fn next(&mut self) -> Result<Writer, Failure> {
        self.written.files += 1;
        let mut path = self.output.clone();
        if self.is_numbered {
            let mut name = path.file_stem().unwrap_or_default().to_owned();
            name.push(format!("-{:04}", self.written.files));
            if let Some(extension) = path.extension() {
                name.push(".");
                name.push(extension);
            }
            path.set_file_name(name);
        }
        Writer::create(&path, &self.lanes, &self.options)
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

    fn take(&mut self, lane: usize, moment: Moment, what: What<'_>) -> Result<(), Failure> {
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

fn put(writer: &mut Writer, lane: usize, moment: Moment, what: What<'_>) -> Result<(), Failure> {
    match what {
        What::Record { tag, payload } => writer.record(lane, tag, moment, payload),
        What::Missed(missed) => writer.missed(lane, moment, missed),
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
    fn take(&mut self, lane: usize, moment: Moment, what: What<'_>) {
        let what = match what {
            What::Record { tag, payload } => KeptWhat::Record { tag, payload: payload.into() },
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
    }

    fn write(&mut self) -> Result<(), Failure> {
        let mut writer = self.names.next()?;
        for kept in &self.kept {
            let what = match &kept.what {
                KeptWhat::Record { tag, payload } => What::Record { tag: *tag, payload },
                KeptWhat::Missed(missed) => What::Missed(*missed),
            };
            put(&mut writer, kept.lane, kept.moment, what)?;
        }
        let path = writer.path().display().to_string();
        self.names.written.bytes += writer.finish()?;
        say(format_args!("wrote {} records to {path}", self.kept.len()));
        if self.is_short {
            say("the window is shorter than it should be: its records take more than --memory");
        }
        Ok(())
    }
}
