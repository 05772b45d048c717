//! `fdring ps`: all lanes, as a table or as JSON.

use crate::human::{bytes, harmless, hex, short_age};
use crate::output::{Colour, Object, Text, number, say};
use crate::processor::Used;
use crate::seen;
use crate::stop;
use crate::table::{Cell, Column, Table};
use crate::units::parse_interval;
use crate::users;
use crate::{Failure, Outcome};
use fdring::inspect::{self, ConsumerView, LaneView, ProcessView, Survey};
use std::io::Write;
use std::time::{Duration, SystemTime};

/// List the lanes: who writes and who reads, how fast, who is behind, who holds, who sleeps.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Exit status: 3 if a process or a lane of this user could not be seen.

Examples:
  fdring ps                   all lanes, who writes them and who reads them
  fdring ps --pid 4711        those that process 4711 writes or reads
  fdring ps --json            one JSON object a lane, and one for each thing that could not be seen")]
pub(crate) struct Arguments {
    /// Print one JSON object a line instead of a table.
    #[arg(long)]
    json: bool,
    /// Only the lanes that the process of this number writes or reads.
    #[arg(long)]
    pid: Option<u32>,
    /// The time between the two looks that tell the rates.
    #[arg(long, default_value = "200ms", value_name = "DURATION", value_parser = parse_interval)]
    interval: Duration,
}

pub(crate) fn run(arguments: &Arguments) -> Result<Outcome, Failure> {
    let mut survey = match arguments.pid {
        Some(pid) => inspect::process(pid)?,
        None => inspect::lanes()?,
    };
    let before = Used::by(seen::pids(&survey));
    stop::wait(arguments.interval);
    survey.look_again()?;
    let used = Used::by(seen::pids(&survey));
    let share = |process: Option<&ProcessView>| used.share_since(&before, process?.pid);
    let mut out = std::io::stdout().lock();
    match arguments.json {
        true => print_json(&survey, share, &mut out)?,
        false => {
            match survey.lanes.is_empty() {
                true => say("no lane is seen"),
                false => table_of(&survey, share).print(&mut out)?,
            }
            out.flush()?;
            seen::unseen(&survey).iter().for_each(|sentence| say(format_args!("not seen: {sentence}")));
        }
    }
    out.flush()?;
    Ok(if seen::is_missed(&survey) { Outcome::Missed } else { Outcome::Done })
}

fn table_of(survey: &Survey, share: impl Fn(Option<&ProcessView>) -> Option<f64>) -> Table<11> {
    let mut table = Table::new([
        Column::left("LANE", 0),
        Column::left("PROCESS", 0),
        Column::left("USER", 5),
        Column::right("CAPACITY", 4),
        Column::right("PUBLISHED", 3),
        Column::right("LAG", 0),
        Column::right("HELD", 0),
        Column::right("BYTES/S", 0),
        Column::right("RECORDS/S", 2),
        Column::right("AGE", 6),
        Column::left("STATE", 0),
    ]);
    for lane in &survey.lanes {
        let (state, colour) = seen::state(lane);
        let rates = seen::rates(lane);
        table.push([
            Cell { text: harmless(&lane.info.name), colour: Colour::Bold },
            seen::who(lane.producer.as_ref()).into(),
            user(lane.producer.as_ref()),
            bytes(lane.info.capacity).into(),
            bytes(lane.published).into(),
            Cell::default(),
            Cell::default(),
            rates.bytes().into(),
            rates.records().into(),
            short_age(lane.since).into(),
            Cell { text: state, colour },
        ]);
        for consumer in &lane.consumers {
            table.push(row_of(consumer, lane, share(consumer.process.as_ref())));
        }
        for keeper in &lane.keepers {
            let mut row: [Cell; 11] = Default::default();
            row[0] = "  keeps it".into();
            row[1] = seen::who(Some(keeper)).into();
            row[2] = user(Some(keeper));
            table.push(row);
        }
    }
    table
}

fn row_of(consumer: &ConsumerView, lane: &LaneView, share: Option<f64>) -> [Cell; 11] {
    let (activity, colour) = seen::activity(consumer, share);
    let rates = seen::reading_rates(consumer);
    let lag = consumer.behind_bytes.map_or_else(|| "?".to_owned(), bytes);
    let is_far = seen::is_far_behind(consumer, lane);
    [
        format!("  {}", seen::kind(consumer)).into(),
        seen::who(consumer.process.as_ref()).into(),
        user(consumer.process.as_ref()),
        Cell::default(),
        Cell::default(),
        Cell { text: lag, colour: if is_far { Colour::Yellow } else { Colour::None } },
        Some(consumer.held_bytes).filter(|held| *held != 0).map(bytes).unwrap_or_default().into(),
        rates.bytes().into(),
        rates.records().into(),
        short_age(consumer.since).into(),
        Cell { text: activity, colour },
    ]
}

fn user(process: Option<&ProcessView>) -> Cell {
    users::name(process.and_then(|process| process.uid)).into()
}

pub(crate) fn print_json(
    survey: &Survey,
    share: impl Fn(Option<&ProcessView>) -> Option<f64>,
    out: &mut impl Write,
) -> Result<(), Failure> {
    for lane in &survey.lanes {
        let consumers =
            lane.consumers.iter().map(|consumer| consumer_object(consumer, share(consumer.process.as_ref())));
        writeln!(out, "{}", lane_object(lane).list("consumers", consumers))?;
    }
    for unseen in &survey.unseen {
        let object = Object::new()
            .text("unseen", &unseen.reason.to_string())
            .option("process", unseen.process.as_ref().map(process_object))
            .option("lane", unseen.lane.as_deref().map(Text));
        writeln!(out, "{object}")?;
    }
    Ok(())
}

/// All of a lane but its consumers.
pub(crate) fn lane_object(lane: &LaneView) -> Object {
    Object::new()
        .text("lane", &lane.info.name)
        .text("id", &hex(&lane.info.id))
        .text("state", &lane.state.to_string())
        .option("producer", lane.producer.as_ref().map(process_object))
        .option("since", seconds(lane.since))
        .value("capacity", lane.info.capacity)
        .value("published", lane.published)
        .value("is_blocked", lane.is_blocked)
        .value("is_stamped", lane.info.is_stamped)
        .value("schema", lane.info.schema)
        .value("records", lane.records)
        .value("record_bytes", lane.record_bytes)
        .value("times_blocked", lane.times_blocked)
        .value("bells_rung", lane.bells_rung)
        .value("evictions", lane.evictions)
        .option("bytes_per_second", lane.rates.map(|rates| number(rates.bytes_per_second)))
        .option("records_per_second", lane.rates.map(|rates| number(rates.records_per_second)))
        .list("keepers", lane.keepers.iter().map(process_object))
}

pub(crate) fn consumer_object(consumer: &ConsumerView, share: Option<f64>) -> Object {
    Object::new()
        .option("process", consumer.process.as_ref().map(process_object))
        .option("kind", consumer.kind.map(|kind| format!("\"{kind}\"")))
        .text("activity", &seen::activity(consumer, share).0)
        .option("since", seconds(consumer.since))
        .option("behind_bytes", consumer.behind_bytes)
        .value("held_bytes", consumer.held_bytes)
        .value("is_asleep", consumer.is_asleep)
        .value("is_evicted", consumer.is_evicted)
        .value("still_for_seconds", consumer.still_for.as_secs_f64())
        .option("asleep_for_seconds", consumer.asleep_for.map(|time| time.as_secs_f64()))
        .option("processor_share", share.map(number))
        .value("records", consumer.records)
        .value("record_bytes", consumer.record_bytes)
        .value("missed_bytes", consumer.missed_bytes)
        .option("bytes_per_second", consumer.rates.map(|rates| number(rates.bytes_per_second)))
        .option("records_per_second", consumer.rates.map(|rates| number(rates.records_per_second)))
}

pub(crate) fn process_object(process: &ProcessView) -> Object {
    Object::new()
        .value("pid", process.pid)
        .option("uid", process.uid)
        .text("user", &users::name(process.uid))
        .text("command", &process.command)
}

/// Seconds since 1970, as JSON.
fn seconds(since: Option<SystemTime>) -> Option<f64> {
    Some(since?.duration_since(SystemTime::UNIX_EPOCH).ok()?.as_secs_f64())
}
