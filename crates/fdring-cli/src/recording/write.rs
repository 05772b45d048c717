//! Writing a recording: a channel for each tag of each lane, made when the first record with it comes.
//!
//! Chunks are appended whole, and nothing that was written is changed. So a file that was cut off is whole up to its
//! last chunk.

use super::spool::Spool;
use super::{Missed, Origin, RECORD_MAX_BYTES};
use crate::Failure;
use fdring::info::LaneInfo;
use mcap::McapError;
use mcap::records::MessageHeader;
use mcap::write::NoSeek;
use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Compression {
    Lz4,
    Zstd,
}

/// How files of recordings are written.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) compression: Option<Compression>,
    /// What other programs are told of the payloads: `json`, say.
    pub(crate) encoding: String,
    /// How much may wait for the disk.
    pub(crate) buffer_bytes: u64,
    /// Whether a file that is there already is replaced.
    pub(crate) replaces: bool,
}

/// The longest payload that is recorded, in bytes. A chunk has up to 1 MiB before it, and headers.
pub(crate) const PAYLOAD_MAX_BYTES: usize = RECORD_MAX_BYTES - (2 << 20);
/// As many as a file can have and be written by `mcap`, whose numbers of 16 bits must not overflow.
const CHANNELS_MAX: usize = u16::MAX as usize;

/// Why a record was not written.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// Such a file cannot have it. What it has is as good as before, and it can take others.
    Record(String),
    /// The file has failed.
    File(Failure),
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        Self::File(failure)
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Record(why) => Self::new(why),
            Refusal::File(failure) => failure,
        }
    }
}

/// Refuses a payload that is too long for a recording.
pub(crate) fn check_length(len: usize) -> Result<(), Refusal> {
    let fault = || Refusal::Record(format!("a record of {len} bytes is too long for a recording"));
    if len > PAYLOAD_MAX_BYTES { Err(fault()) } else { Ok(()) }
}

/// When a record came, and as which of its lane.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    pub(crate) number: u64,
    /// In nanoseconds since 1970, as are all times in files.
    pub(crate) logged: u64,
    pub(crate) published: u64,
}

/// A file that is being written.
pub(crate) struct Writer {
    writer: mcap::Writer<NoSeek<Spool>>,
    path: PathBuf,
    encoding: String,
    lanes: Arc<[LaneInfo]>,
    channels: HashMap<(usize, u16), u16>,
    channels_of_missed: HashMap<usize, u16>,
    /// The channel of the last record.
    last: Option<((usize, u16), u16)>,
    written_bytes: Arc<AtomicU64>,
}

/// Creates a file. `None` if it is there already, and is not to be replaced.
pub(crate) fn create(path: &Path, options: &Options) -> Result<Option<File>, Failure> {
    let mut open = File::options();
    let open = match options.replaces {
        true => open.write(true).create(true).truncate(true),
        false => open.write(true).create_new(true),
    };
    match open.open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(None),
        Err(error) => Err(Failure::new(format!("could not create {}: {error}", path.display()))),
    }
}

impl Writer {
    /// Begins to write `file`, which was created at `path`.
    pub(crate) fn new(file: File, path: &Path, lanes: &Arc<[LaneInfo]>, options: &Options) -> Result<Self, Failure> {
        let failed = |error| fault(path, &error);
        let spool = Spool::new(file, options.buffer_bytes).map_err(|error| failed(error.into()))?;
        let written_bytes = spool.written_bytes();
        let mcap_options = mcap::WriteOptions::new()
            .library(concat!("fdring-cli ", env!("CARGO_PKG_VERSION")))
            .disable_seeking(true)
            .compression(options.compression.map(|compression| match compression {
                Compression::Lz4 => mcap::Compression::Lz4,
                Compression::Zstd => mcap::Compression::Zstd,
            }))
            // By the thread that records.
            .compression_threads(0);
        let mut writer = Self {
            writer: mcap_options.create(NoSeek::new(spool)).map_err(failed)?,
            path: path.to_owned(),
            encoding: options.encoding.clone(),
            lanes: Arc::clone(lanes),
            channels: HashMap::new(),
            channels_of_missed: HashMap::new(),
            last: None,
            written_bytes,
        };
        // A lane on which nothing comes is a lane of the recording too.
        for lane in 0..lanes.len() {
            writer.add_channel(lane, 0)?;
        }
        Ok(writer)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The length of the file, without what is not in a chunk yet.
    pub(crate) fn written_bytes(&self) -> u64 {
        self.written_bytes.load(Ordering::Relaxed)
    }

    pub(crate) fn record(&mut self, lane: usize, tag: u16, moment: Moment, payload: &[u8]) -> Result<(), Refusal> {
        check_length(payload.len())?;
        let channel = match self.last {
            Some((key, channel)) if key == (lane, tag) => channel,
            _ => self.channel(lane, tag)?,
        };
        self.last = Some(((lane, tag), channel));
        Ok(self.write(channel, moment, payload)?)
    }

    /// Notes what was missed of a lane.
    pub(crate) fn missed(&mut self, lane: usize, moment: Moment, missed: Missed) -> Result<(), Failure> {
        let channel = match self.channels_of_missed.get(&lane) {
            Some(channel) => *channel,
            None => {
                let origin = Origin::of_missed(&self.lanes[lane]);
                let channel = self.add(&origin, "json")?;
                self.channels_of_missed.insert(lane, channel);
                channel
            }
        };
        self.write(channel, moment, missed.to_json().as_bytes())
    }

    fn write(&mut self, channel_id: u16, moment: Moment, payload: &[u8]) -> Result<(), Failure> {
        let header = MessageHeader {
            channel_id,
            sequence: moment.number as u32, // modulo 2^32
            log_time: moment.logged,
            publish_time: moment.published,
        };
        self.writer.write_to_known_channel(&header, payload).map_err(|error| fault(&self.path, &error))
    }

    fn channel(&mut self, lane: usize, tag: u16) -> Result<u16, Refusal> {
        if let Some(channel) = self.channels.get(&(lane, tag)) {
            return Ok(*channel);
        }
        // What is missed of each lane has a channel, too.
        if self.channels.len() + self.lanes.len() >= CHANNELS_MAX {
            let fault = "has one tag too many: a file of a recording has no more than 65535 channels, one for each tag";
            return Err(Refusal::Record(format!("it {fault} of each lane")));
        }
        Ok(self.add_channel(lane, tag)?)
    }

    fn add_channel(&mut self, lane: usize, tag: u16) -> Result<u16, Failure> {
        let (origin, encoding) = (Origin::of(&self.lanes[lane], tag), self.encoding.clone());
        let channel = self.add(&origin, &encoding)?;
        self.channels.insert((lane, tag), channel);
        Ok(channel)
    }

    fn add(&mut self, origin: &Origin, encoding: &str) -> Result<u16, Failure> {
        let added = self.writer.add_channel(0, &origin.topic(), encoding, &origin.metadata());
        added.map_err(|error| fault(&self.path, &error))
    }

    /// Hands everything on to the file, so that it is there if this process is killed.
    pub(crate) fn flush(&mut self) -> Result<(), Failure> {
        self.writer.flush().map_err(|error| fault(&self.path, &error))
    }

    /// Writes the index, and waits until everything is in the file. Returns its length.
    pub(crate) fn finish(mut self) -> Result<u64, Failure> {
        let failed = |error| fault(&self.path, &error);
        self.writer.finish().map_err(failed)?;
        self.writer.into_inner().into_inner().close().map_err(|error| failed(error.into()))?;
        Ok(self.written_bytes.load(Ordering::Relaxed))
    }
}

/// Why a file is not what it should be.
fn fault(path: &Path, error: &McapError) -> Failure {
    let path = path.display();
    match error {
        McapError::Io(error) => {
            Failure::new(format!("could not write {path}: {error}; what it has up to there can be read"))
        }
        error => Failure::new(format!("could not write {path}: {error}")),
    }
}
