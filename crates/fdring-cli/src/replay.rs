//! `fdring replay`: the lanes of a recording again.
//!
//! The file is counted first, so that all lanes are there when the first reader connects, and what was sent can be
//! compared at the end. Records go out in the order of the file, which keeps the order of each lane.

use crate::choose::Admits;
use crate::human;
use crate::output::{Object, say};
use crate::recording::Origin;
use crate::recording::contents::{Contents, time_of};
use crate::recording::read::{End, Item, read};
use crate::stop::Stop;
use crate::table::{Column, Table};
use crate::units::{parse_bytes, parse_duration};
use crate::{Failure, Outcome};
use fdring::errors::SendError;
use fdring::limits::{CAPACITY_DEFAULT_BYTES, CAPACITY_MAX_BYTES};
use fdring::options::LaneOptions;
use fdring::{Error, Producer};
use std::collections::HashMap;
use std::io::Write;
use std::ops::ControlFlow;
use std::os::unix::fs::FileTypeExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Replay a recording: its lanes again, with their records, tags and order, at the pace of the recording.
///
/// Consumers lose nothing: a full ring waits for them. It ends when they have read everything. The exit status is 3 if
/// the file was cut off, or a consumer has not read everything.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  fdring replay today.mcap --at @feed             at the recorded pace
  fdring replay today.mcap --at @feed --speed 10  ten times as fast
  fdring replay today.mcap --at @feed --fast --consumers 1
  fdring replay today.mcap --at @feed --from 10s --to 1m --loop")]
pub(crate) struct Arguments {
    /// The file.
    file: PathBuf,
    /// The address to offer the lanes at: a path, or @ and a name.
    #[arg(long, value_name = "ADDRESS")]
    at: String,
    /// This many times the recorded pace.
    #[arg(long, value_name = "FACTOR", default_value = "1", value_parser = parse_speed)]
    speed: f64,
    /// As fast as possible.
    #[arg(long, conflicts_with_all = ["speed", "gap_max"])]
    fast: bool,
    /// Begin so long after the first record of the file.
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    from: Option<Duration>,
    /// End so long after the first record of the file.
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    to: Option<Duration>,
    /// Begin anew at the end, this many times in all, or until Ctrl-C.
    #[arg(long = "loop", value_name = "TIMES", num_args = 0..=1, default_missing_value = "18446744073709551615")]
    times: Option<u64>,
    /// Shorten silences of the recording that are longer than this.
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    gap_max: Option<Duration>,
    /// Wait until each lane has this many consumers before the first record.
    #[arg(long, value_name = "COUNT", default_value_t = 0)]
    consumers: usize,
    /// Only these lanes, by their names or ids. May be given several times.
    #[arg(long = "lane", value_name = "LANE")]
    lanes: Vec<String>,
    /// The length of the rings, a power of two. Default: as recorded.
    #[arg(long, value_name = "BYTES", value_parser = parse_bytes)]
    capacity: Option<u64>,
    /// How much memory the rings may take in all.
    #[arg(long, value_name = "BYTES", default_value = "2G", value_parser = parse_bytes)]
    memory: u64,
    /// Print what was sent as JSON: one object a lane.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    admits: Admits,
}

fn parse_speed(text: &str) -> Result<f64, String> {
    let speed = text.parse().ok().filter(|speed: &f64| speed.is_finite() && *speed > 0.0);
    speed.ok_or_else(|| format!("`{text}` is not a factor above 0, such as 0.5 or 10"))
}

pub(crate) fn run(arguments: &Arguments) -> Result<Outcome, Failure> {
    let stop = Stop::listen()?;
    if arguments.file.metadata().is_ok_and(|metadata| metadata.file_type().is_fifo()) {
        let path = arguments.file.display();
        return Err(Failure::new(format!(
            "{path} is a pipe, and a replay reads its file twice; copy it to a file first"
        )));
    }
    let contents = Contents::count(&arguments.file)?;
    let mut replay = Replay::new(arguments, &stop, &contents)?;
    let producers = replay.lanes.iter().map(|lane| &lane.producer);
    let server = arguments.admits.options().interrupter(stop.interrupter());
    let server = server.listen(arguments.at.as_str(), producers)?;
    let end = replay.send(&contents);
    let finish = |lane: Lane| finish(lane, &end, &stop);
    // All at once: one who reads the second lane to its end before the first waits for the end of the second.
    let finished: Vec<Finished> = std::thread::scope(|scope| {
        let threads: Vec<_> = replay.lanes.into_iter().map(|lane| scope.spawn(|| finish(lane))).collect();
        threads.into_iter().map(|thread| thread.join().expect("a panic here is one there")).collect()
    });
    drop(server);
    let mut is_missed = contents.end == End::CutOff;
    for Finished { origin, unread, .. } in &finished {
        unread.iter().for_each(|sentence| say(format_args!("lane {}: {sentence}", origin.lane)));
        is_missed |= !unread.is_empty();
    }
    let reported = report(arguments, &finished);
    let path = arguments.file.display();
    let done = match end {
        Err(failure) => Err(failure),
        Ok(End::Broken(fault)) => Err(Failure::new(format!("{path} is broken {fault}"))),
        Ok(end) => {
            if end == End::CutOff {
                say(format_args!("{path} was cut off; all that it has was replayed"));
            }
            Ok(if is_missed { Outcome::Missed } else { Outcome::Done })
        }
    };
    Outcome::reported(done, reported)
}

/// A lane that was sent, and whether its consumers have read it.
struct Finished {
    origin: Origin,
    records: u64,
    bytes: u64,
    /// What its consumers have not read, a sentence each.
    unread: Vec<String>,
}

/// Ends a lane as its recording has, and waits for its consumers.
fn finish(lane: Lane, end: &Result<End, Failure>, stop: &Stop) -> Finished {
    let Lane { origin, producer, records, bytes, .. } = lane;
    let mut unread = Vec::new();
    match producer.stats().consumers_died {
        0 => {}
        died => unread.push(format!("consumers died that had not read everything: {died}")),
    }
    match end {
        // That was not all there should be.
        Err(_) | Ok(End::Broken(_)) => producer.abandon(),
        Ok(_) if stop.is_asked() => producer.finish(),
        Ok(_) => match producer.finish_and_wait(Duration::MAX) {
            Ok(()) | Err(SendError::Interrupted) => {}
            Err(error) => unread.push(error.to_string()),
        },
    }
    Finished { origin, records, bytes, unread }
}

/// A lane of the file that is to be replayed.
struct Wanted<'a> {
    origin: &'a Origin,
    longest: usize,
    records: u64,
}

struct Lane {
    origin: Origin,
    producer: Producer,
    /// How many records the file has of it.
    in_file: u64,
    /// What was sent of it.
    records: u64,
    bytes: u64,
}

struct Replay<'a> {
    arguments: &'a Arguments,
    stop: &'a Stop,
    lanes: Vec<Lane>,
    /// The lane of an id; of a name, if there is no id.
    index: HashMap<String, usize>,
    /// The first time that is replayed, and the last.
    from: u64,
    to: u64,
}

impl<'a> Replay<'a> {
    fn new(arguments: &'a Arguments, stop: &'a Stop, contents: &Contents) -> Result<Self, Failure> {
        let (mut wanted, mut index) = (Vec::<Wanted<'_>>::new(), HashMap::new());
        let mut names = HashMap::new();
        for channel in contents.of_records() {
            let origin = &channel.origin;
            if let Some(&known) = index.get(key(origin)) {
                let known: &mut Wanted<'_> = &mut wanted[known];
                known.longest = known.longest.max(channel.longest);
                known.records += channel.records;
                continue;
            }
            let is_wanted = arguments.lanes.is_empty()
                || arguments.lanes.contains(&origin.lane)
                || arguments.lanes.contains(&origin.id);
            if !is_wanted {
                continue;
            }
            if let Some(other) = names.insert(&*origin.lane, &*origin.id) {
                let (name, id) = (&origin.lane, &origin.id);
                return Err(Failure::new(format!(
                    "two of its lanes are called {name}, and a server has one of a name; choose one with --lane \
                     {other} or --lane {id}"
                )));
            }
            index.insert(key(origin).to_owned(), wanted.len());
            wanted.push(Wanted { origin, longest: channel.longest, records: channel.records });
        }
        let capacities = wanted.iter().map(|lane| capacity_of(lane.origin, lane.longest as u64, arguments));
        let ring_bytes = capacities.fold(0_u64, u64::saturating_add);
        if ring_bytes > arguments.memory {
            return Err(Failure::new(format!(
                "the rings of its lanes take {}, more than the {} of --memory; choose lanes with --lane, or shorter \
                 rings with --capacity",
                human::bytes(ring_bytes),
                human::bytes(arguments.memory)
            )));
        }
        if wanted.is_empty() {
            let path = arguments.file.display();
            return Err(match &contents.end {
                End::Broken(fault) => Failure::new(format!("{path} is broken {fault}; there is nothing to replay")),
                _ if arguments.lanes.is_empty() => Failure::new(format!("{path} has no lanes")),
                _ => Failure::new(format!(
                    "{path} has no lane {}; see fdring info",
                    arguments.lanes.join(" and no lane ")
                )),
            });
        }
        let mut lanes = Vec::new();
        for Wanted { origin, longest, records } in wanted {
            let producer = create(origin, capacity_of(origin, longest as u64, arguments), stop)?;
            lanes.push(Lane { origin: origin.clone(), producer, in_file: records, records: 0, bytes: 0 });
        }
        let (first, last) = contents.times().unwrap_or_default();
        let after = |time: Option<Duration>| {
            time.map(|time| first.saturating_add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)))
        };
        let (from, to) = (after(arguments.from).unwrap_or(first), after(arguments.to).unwrap_or(last));
        Ok(Self { arguments, stop, lanes, index, from, to })
    }

    /// Sends everything, as often as is asked.
    fn send(&mut self, contents: &Contents) -> Result<End, Failure> {
        if self.arguments.consumers > 0 {
            for lane in &self.lanes {
                match lane.producer.wait_for_consumers(self.arguments.consumers, Duration::MAX) {
                    Err(Error::Interrupted { .. }) => return Ok(End::Left),
                    outcome => outcome?,
                }
            }
        }
        let mut end = contents.end.clone();
        for _ in 0..self.arguments.times.unwrap_or(1) {
            end = self.pass()?;
            let is_empty = self.lanes.iter().all(|lane| lane.records == 0);
            if self.stop.is_asked() || is_empty {
                return Ok(end);
            }
        }
        let passes = self.arguments.times.unwrap_or(1);
        let is_all = self.arguments.from.is_none() && self.arguments.to.is_none();
        match self.lanes.iter().find(|lane| is_all && lane.records != passes.saturating_mul(lane.in_file)) {
            Some(lane) => {
                let (name, sent, had) = (&lane.origin.lane, lane.records, lane.in_file);
                Err(Failure::new(format!(
                    "the file has changed meanwhile: of lane {name} it had {had} records, and {sent} were sent"
                )))
            }
            None => Ok(end),
        }
    }

    /// Sends everything once.
    fn pass(&mut self) -> Result<End, Failure> {
        let mut pace = Pace::new(self.arguments);
        let (arguments, stop, from, to) = (self.arguments, self.stop, self.from, self.to);
        read(&arguments.file, |item| {
            let Item::Message(origin, header, payload) = item else { return Ok(ControlFlow::Continue(())) };
            let Some(&lane) = self.index.get(key(origin)).filter(|_| !origin.is_of_missed) else {
                return Ok(ControlFlow::Continue(()));
            };
            let time = time_of(origin, header.log_time, header.publish_time);
            if time < from || time > to {
                return Ok(ControlFlow::Continue(()));
            }
            pace.wait(time, stop);
            if stop.is_asked() {
                return Ok(ControlFlow::Break(()));
            }
            let lane = &mut self.lanes[lane];
            match lane.producer.send_tagged(payload, origin.tag) {
                Ok(()) => {}
                Err(SendError::Interrupted) => return Ok(ControlFlow::Break(())),
                Err(error) => return Err(Failure::new(format!("lane {}: {error}", lane.origin.lane))),
            }
            lane.records += 1;
            lane.bytes += payload.len() as u64;
            Ok(ControlFlow::Continue(()))
        })
    }
}

/// What tells lanes apart.
fn key(origin: &Origin) -> &str {
    if origin.id.is_empty() { &origin.lane } else { &origin.id }
}

/// The length of a lane's ring. Where it is not known, its longest record fits eight times.
fn capacity_of(origin: &Origin, longest: u64, arguments: &Arguments) -> u64 {
    let fitting =
        || (longest.saturating_add(64) * 8).next_power_of_two().clamp(CAPACITY_DEFAULT_BYTES, CAPACITY_MAX_BYTES);
    let recorded = Some(origin.capacity).filter(|capacity| *capacity > 0);
    arguments.capacity.or(recorded).unwrap_or_else(fitting)
}

/// Makes a lane as it was recorded.
fn create(origin: &Origin, capacity: u64, stop: &Stop) -> Result<Producer, Failure> {
    let options = LaneOptions::new(&origin.lane)
        .capacity(capacity)
        .record_align(origin.record_align)
        .payload_align(origin.payload_align)
        .schema(origin.schema)
        .stamped(origin.is_stamped)
        .interrupter(stop.interrupter());
    options.create().map_err(|error| Failure::new(format!("could not make lane {} again: {error}", origin.lane)))
}

/// When each record is due.
struct Pace {
    /// `None` to be as fast as possible.
    speed: Option<f64>,
    gap_max: u64,
    /// The first record: when it was sent, and its time.
    begun: Option<(Instant, u64)>,
    /// The latest time so far.
    latest: u64,
    /// What silences were shortened by.
    skipped: u64,
}

impl Pace {
    fn new(arguments: &Arguments) -> Self {
        let speed = (!arguments.fast).then_some(arguments.speed);
        let gap_max = arguments.gap_max.map_or(u64::MAX, |gap| u64::try_from(gap.as_nanos()).unwrap_or(u64::MAX));
        Self { speed, gap_max, begun: None, latest: 0, skipped: 0 }
    }

    /// Waits until a record of that time is due, or the command is to end.
    fn wait(&mut self, time: u64, stop: &Stop) {
        let Some(speed) = self.speed else { return };
        let Some((begun, first)) = self.begun else {
            (self.begun, self.latest) = (Some((Instant::now(), time)), time);
            return;
        };
        self.skipped += time.saturating_sub(self.latest).saturating_sub(self.gap_max);
        self.latest = self.latest.max(time);
        let nanos = time.saturating_sub(first).saturating_sub(self.skipped);
        let after = Duration::try_from_secs_f64(nanos as f64 / speed / 1e9).unwrap_or(Duration::MAX);
        // What is due in more years than there are is never due.
        stop.sleep_until(begun.checked_add(after));
    }
}

fn report(arguments: &Arguments, sent: &[Finished]) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    if arguments.json {
        for Finished { origin, records, bytes, .. } in sent {
            let object = Object::new().text("lane", &origin.lane).text("recorded_id", &origin.id);
            writeln!(out, "{}", object.value("records", records).value("bytes", bytes))?;
        }
    } else {
        let columns = [Column::left("LANE", 0), Column::right("RECORDS", 0), Column::right("BYTES", 0)];
        let mut table = Table::new(columns);
        for Finished { origin, records, bytes, .. } in sent {
            table.push([human::harmless(&origin.lane).into(), records.to_string().into(), human::bytes(*bytes).into()]);
        }
        table.print(&mut out)?;
    }
    out.flush()?;
    Ok(())
}
