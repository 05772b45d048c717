//! `fdring record`: lanes to a file.
//!
//! One thread reads all lanes in turn, and numbers their records; the file is written by another one.

mod lanes;
mod sink;

use crate::human;
use crate::output::{Object, Text, say};
use crate::recording::Missed;
use crate::recording::write::{Compression, Moment, Options, Refusal};
use crate::source::{End, Next, Source};
use crate::stop::Stop;
use crate::table::{Column, Table};
use crate::units::{parse_bytes, parse_duration, parse_size};
use crate::{Failure, Outcome};
use fdring::Record;
use fdring::errors::ReceiveError;
use fdring::info::{LaneInfo, MonotonicTime};
use fdring::select::{Key, Selector};
use signal_hook::consts::{SIGUSR1, SIGXFSZ};
use signal_hook::iterator::Signals;
use sink::{Sink, What, Written};
use std::collections::HashMap;
use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// How many records of a lane are taken before the next lane has its turn.
const TURN_RECORDS: u32 = 256;
/// How long records stay in this process at most, unless the disk is slow: so many are lost if it is killed.
const FLUSH_INTERVAL: Duration = Duration::from_secs(1);
const PROGRESS_INTERVAL: Duration = Duration::from_millis(500);

/// Record lanes to an MCAP file. By default they do not wait for it, and it counts what it misses.
///
/// It ends when all lanes have, or at Ctrl-C, and finishes its file. If it is killed, the file can be read up to a
/// second before.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  fdring record ticks trades -o today.mcap       two lanes, by their names
  fdring record @feed --lossless -o feed.mcap    a server's lanes, which wait
  fdring record ticks -o t.mcap --split-size 1G  t-0001.mcap, t-0002.mcap, ...
  fdring record ticks -o crash.mcap --last 30s   the last 30 s, at kill -USR1")]
pub(crate) struct Arguments {
    #[command(flatten)]
    lanes: lanes::Lanes,
    #[command(flatten)]
    wishes: Wishes,
    /// End after so much time.
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    duration: Option<Duration>,
    /// End after this many records.
    #[arg(long, value_name = "RECORDS")]
    count: Option<u64>,
    /// Replace files that are there already.
    #[arg(long)]
    force: bool,
    /// Compress the file. It takes time, which a lane may not leave.
    #[arg(long, value_enum)]
    compression: Option<Compression>,
    /// What other programs are told of the payloads: json, say, or protobuf.
    #[arg(long, value_name = "NAME", default_value = "application/octet-stream")]
    encoding: String,
    /// How much may wait in memory for a slow disk.
    #[arg(long, value_name = "BYTES", default_value = "64M", value_parser = parse_bytes)]
    buffer: u64,
    /// Print what was recorded as JSON: one object a lane, and one for all.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Wishes {
    /// The file.
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Begin another file once one has this length. They are numbered.
    #[arg(long, value_name = "BYTES", value_parser = parse_size)]
    split_size: Option<u64>,
    /// Begin another file after so much time. They are numbered.
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    split_time: Option<Duration>,
    /// Keep the records of so much time before the newest in memory, and write them at SIGUSR1 and at the end, each
    /// time to a file of its own. They are numbered, on from those that are there.
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    #[arg(conflicts_with_all = ["split_size", "split_time"])]
    last: Option<Duration>,
    /// How much memory these records may take; the oldest are dropped.
    #[arg(long, value_name = "BYTES", default_value = "1G", value_parser = parse_size, requires = "last")]
    memory: u64,
}

pub(crate) fn run(arguments: &Arguments) -> Result<Outcome, Failure> {
    // The file is finished, however long that takes.
    let stop = Stop::listen_with(Duration::MAX, || {})?;
    let writes = Writes::listen(&stop)?;
    let sources = arguments.lanes.open(&stop)?;
    let tracks: Vec<Track> = sources.iter().map(Track::new).collect();
    let lanes: Arc<[LaneInfo]> = tracks.iter().map(|track| track.lane.clone()).collect();
    let options = Options {
        compression: arguments.compression,
        encoding: arguments.encoding.clone(),
        buffer_bytes: arguments.buffer,
        replaces: arguments.force,
    };
    let sink = Sink::new(&arguments.wishes, options, lanes)?;
    let mut selector = Selector::new()?;
    selector.set_interrupter(stop.interrupter())?;
    let mut keys = HashMap::new();
    for (index, source) in sources.into_iter().enumerate() {
        keys.insert(selector.add(source)?, index);
    }
    let clock = Clock::new();
    let mut recorder = Recorder { arguments, stop, writes, selector, keys, tracks, sink, clock, records: 0 };
    let recorded = recorder.record();
    let Recorder { tracks, sink, selector, .. } = recorder;
    // No lane waits until the disk has everything.
    drop(selector);
    // Whatever has ended it, the file is to have all that came before.
    let written = sink.finish();
    recorded?;
    let written = written?;
    let is_missed = tracks.iter().any(|track| track.missed_bytes > 0 || track.descriptors > 0) || written.left_out > 0;
    let broken = tracks.iter().find_map(|track| match &track.end {
        Some(End::Broken(fault)) => Some(format!("lane {}: {fault}", track.lane.name)),
        _ => None,
    });
    let reported = report(arguments, &tracks, &written);
    Outcome::reported(
        match broken {
            Some(sentence) => Err(Failure::new(sentence)),
            None if is_missed => Ok(Outcome::Missed),
            None => Ok(Outcome::Done),
        },
        reported,
    )
}

/// SIGUSR1, which asks for the window to be written.
#[derive(Clone, Debug, Default)]
struct Writes {
    is_asked: Arc<AtomicBool>,
    /// Whether waits are those of the recording, and not of a connection that is to come about.
    is_recording: Arc<AtomicBool>,
}

impl Writes {
    /// Takes SIGUSR1 over, which ends waits from [`begin`](Self::begin) on. A file that may grow no longer becomes an
    /// error.
    fn listen(stop: &Stop) -> Result<Self, Failure> {
        let failed = |error| Failure::new(format!("could not take over the signals: {error}"));
        let (writes, interrupter) = (Self::default(), stop.interrupter().clone());
        let mut signals = Signals::new([SIGUSR1, SIGXFSZ]).map_err(failed)?;
        let heard = writes.clone();
        let listen = move || {
            for _ in signals.forever().filter(|signal| *signal == SIGUSR1) {
                // Relaxed: nothing else is handed over by them.
                heard.is_asked.store(true, Ordering::Relaxed);
                if heard.is_recording.load(Ordering::Relaxed) {
                    interrupter.interrupt();
                }
            }
        };
        std::thread::Builder::new().name("writes".to_owned()).spawn(listen).map_err(failed)?;
        Ok(writes)
    }

    fn begin(&self) {
        self.is_recording.store(true, Ordering::Relaxed);
    }

    /// Whether it has come since the last look.
    fn take(&self) -> bool {
        self.is_asked.load(Ordering::Relaxed) && self.is_asked.swap(false, Ordering::Relaxed)
    }
}

/// What was recorded of a lane.
#[derive(Debug)]
struct Track {
    lane: LaneInfo,
    is_tap: bool,
    /// Where it began.
    from: u64,
    records: u64,
    /// Of payloads.
    bytes: u64,
    missed_bytes: u64,
    missed_times: u64,
    /// The descriptors of its records, which no file holds.
    descriptors: u64,
    /// `None` if it goes on.
    end: Option<End>,
}

impl Track {
    fn new(source: &Source) -> Self {
        Self {
            lane: source.lane().clone(),
            is_tap: matches!(source, Source::Tap(_)),
            from: source.position(),
            records: 0,
            bytes: 0,
            missed_bytes: 0,
            missed_times: 0,
            descriptors: 0,
            end: None,
        }
    }

    fn count(&mut self, record: &Record<'_>) {
        self.records += 1;
        self.bytes += record.len() as u64;
        self.descriptors += record.fd_count() as u64;
    }

    /// Counts what was missed; the number of it.
    fn miss(&mut self, bytes: u64) -> u64 {
        self.missed_bytes += bytes;
        self.missed_times += 1;
        self.missed_times - 1
    }
}

/// What the times of the machine's clock are in nanoseconds since 1970: the same offset for the whole recording, so
/// that times never go back.
#[derive(Clone, Copy, Debug)]
struct Clock {
    offset: u64,
}

impl Clock {
    fn new() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let nanos = u64::try_from(since.as_nanos()).unwrap_or(u64::MAX);
        Self { offset: nanos.saturating_sub(MonotonicTime::now().as_nanos()) }
    }

    /// Of record `number`, which is read now. A time of publication that is still to come is none.
    fn moment(self, number: u64, published: Option<MonotonicTime>) -> Moment {
        let now = MonotonicTime::now();
        let published = published.map_or(now, |published| published.min(now));
        let to_epoch = |time: MonotonicTime| time.as_nanos().saturating_add(self.offset);
        Moment { number, logged: to_epoch(now), published: to_epoch(published) }
    }
}

struct Recorder<'a> {
    arguments: &'a Arguments,
    stop: Stop,
    writes: Writes,
    selector: Selector<Source>,
    keys: HashMap<Key, usize>,
    tracks: Vec<Track>,
    sink: Sink,
    clock: Clock,
    records: u64,
}

impl Recorder<'_> {
    /// Records until all lanes have ended, or it is enough.
    fn record(&mut self) -> Result<(), Failure> {
        let end = self.arguments.duration.and_then(|time| Instant::now().checked_add(time));
        let mut progress = Progress::new();
        let mut flush = Instant::now() + FLUSH_INTERVAL;
        self.writes.begin();
        while !self.selector.is_empty() && !self.stop.is_asked() && !self.is_enough(end) {
            let wake = end.map_or(flush, |end| end.min(flush)).min(progress.due);
            match self.selector.wait_deadline(wake) {
                Ok(key) => self.turn(key)?,
                Err(ReceiveError::TimedOut) => {}
                // Why it came is looked at below, and at the head of the loop: after it was taken back.
                Err(ReceiveError::Interrupted) => self.stop.interrupter().clear(),
                Err(error) => return Err(Failure::new(error.to_string())),
            }
            // Busy lanes come before an interrupt.
            if self.writes.take() {
                progress.clear();
                self.sink.write()?;
            }
            let now = Instant::now();
            if now >= flush {
                self.sink.tick()?;
                flush = now + FLUSH_INTERVAL;
            }
            if now >= progress.due {
                progress.show(&self.tracks, now);
            }
        }
        Ok(())
    }

    fn is_enough(&self, end: Option<Instant>) -> bool {
        self.arguments.count.is_some_and(|count| self.records >= count) || end.is_some_and(|end| Instant::now() >= end)
    }

    /// Takes what a lane has.
    fn turn(&mut self, key: Key) -> Result<(), Failure> {
        let (Some(source), Some(&lane)) = (self.selector.get_mut(key), self.keys.get(&key)) else { return Ok(()) };
        let (track, sink, clock) = (&mut self.tracks[lane], &mut self.sink, self.clock);
        for _ in 0..TURN_RECORDS {
            if self.arguments.count.is_some_and(|count| self.records >= count) {
                break;
            }
            let (missed_bytes, end) = match source.try_next() {
                Next::Nothing => break,
                Next::Record(record) => {
                    let moment = clock.moment(track.records, record.published_at());
                    match sink.take(lane, moment, What::Record { tag: record.tag(), payload: &record }) {
                        Ok(()) => {
                            track.count(&record);
                            self.records += 1;
                            (0, None)
                        }
                        // The other lanes go on.
                        Err(Refusal::Record(why)) => (0, Some(End::Broken(why))),
                        Err(Refusal::File(failure)) => return Err(failure),
                    }
                }
                Next::Missed(bytes) => (bytes, None),
                Next::End(End::Evicted(bytes)) => (bytes, Some(End::Evicted(bytes))),
                Next::End(end) => (0, Some(end)),
            };
            if missed_bytes > 0 {
                let moment = clock.moment(track.miss(missed_bytes), None);
                let missed = Missed { position: source.position(), bytes: missed_bytes };
                sink.take(lane, moment, What::Missed(missed))?;
            }
            if end.is_some() {
                track.end = end;
                self.selector.remove(key);
                break;
            }
        }
        Ok(())
    }
}

/// A line on the terminal that says how it goes.
#[derive(Debug)]
struct Progress {
    is_on: bool,
    due: Instant,
    since: Instant,
    bytes: u64,
}

impl Progress {
    fn new() -> Self {
        let now = Instant::now();
        let is_on = std::io::stderr().is_terminal();
        Self { is_on, due: now + PROGRESS_INTERVAL, since: now, bytes: 0 }
    }

    fn show(&mut self, tracks: &[Track], now: Instant) {
        let sum = |of: fn(&Track) -> u64| tracks.iter().map(of).sum::<u64>();
        let (bytes, records) = (sum(|track| track.bytes), sum(|track| track.records));
        let missed = sum(|track| track.missed_bytes);
        let rate = (bytes - self.bytes) as f64 / (now - self.since).as_secs_f64();
        (self.due, self.since, self.bytes) = (now + PROGRESS_INTERVAL, now, bytes);
        if self.is_on {
            let (total, rate) = (human::bytes(bytes), human::bytes(rate as u64));
            let records = human::count(records as f64);
            let missed = human::bytes(missed);
            // A terminal that is gone does not end a recording.
            let _ = write!(std::io::stderr(), "\r\x1b[K{total}, {rate}/s, {records} records, missed {missed}");
        }
    }

    fn clear(&self) {
        if self.is_on {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}

fn report(arguments: &Arguments, tracks: &[Track], written: &Written) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    let end_of = |track: &Track| match &track.end {
        None => "goes on".to_owned(),
        Some(End::Finished) => "finished".to_owned(),
        Some(End::Evicted(_)) => "evicted".to_owned(),
        Some(End::Gone(why) | End::Broken(why)) => why.clone(),
    };
    if arguments.json {
        for track in tracks {
            let object = Object::new()
                .text("lane", &track.lane.name)
                .text("id", &human::hex(&track.lane.id))
                .text("read_as", if track.is_tap { "tap" } else { "consumer" })
                .value("from_position", track.from)
                .value("records", track.records)
                .value("bytes", track.bytes)
                .value("missed_bytes", track.missed_bytes)
                .value("missed_times", track.missed_times)
                .value("missed_descriptors", track.descriptors)
                .text("end", &end_of(track));
            writeln!(out, "{object}")?;
        }
        let file = arguments.wishes.output.display().to_string();
        let object = Object::new().text("file", &file).value("files", written.files);
        let [first, last] = match &written.paths {
            Some((first, last)) => [first, last].map(|path| Some(path.display().to_string())),
            None => [None, None],
        };
        let object =
            object.option("first_file", first.as_deref().map(Text)).option("last_file", last.as_deref().map(Text));
        writeln!(out, "{}", object.value("file_bytes", written.bytes).value("left_out", written.left_out))?;
    } else {
        let columns = [
            Column::left("LANE", 0),
            Column::right("RECORDS", 0),
            Column::right("BYTES", 0),
            Column::right("MISSED", 0),
            Column::left("END", 1),
        ];
        let mut table = Table::new(columns);
        for track in tracks {
            table.push([
                human::harmless(&track.lane.name).into(),
                track.records.to_string().into(),
                human::bytes(track.bytes).into(),
                human::bytes(track.missed_bytes).into(),
                end_of(track).into(),
            ]);
        }
        table.print(&mut out)?;
        let (size, files) = (human::bytes(written.bytes), written.files);
        match &written.paths {
            Some((first, last)) if files > 1 => {
                writeln!(out, "{size} in {files} files, {} to {}", first.display(), last.display())?;
            }
            Some((path, _)) => writeln!(out, "{size} in {}", path.display())?,
            None => writeln!(out, "{size} in {}", arguments.wishes.output.display())?,
        }
    }
    out.flush()?;
    for track in tracks.iter().filter(|track| track.missed_bytes > 0) {
        let (name, bytes, times) = (&track.lane.name, track.missed_bytes, track.missed_times);
        say(format_args!("missed {bytes} bytes of {name}, {times} times"));
    }
    for track in tracks.iter().filter(|track| track.descriptors > 0) {
        let (name, count) = (&track.lane.name, track.descriptors);
        say(format_args!("{count} descriptors of records of {name} are not in the file, which cannot hold them"));
    }
    Ok(())
}
