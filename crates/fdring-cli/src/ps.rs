//! `fdring ps`: all lanes, as a table or as JSON.

use crate::output::{Object, heading};
use crate::{Failure, Outcome};
use fdring::inspect::{self, ConsumerView, LaneView, ProcessView, Reason, Survey};
use std::io::Write;
use std::time::{Duration, Instant};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Print one JSON object a line instead of a table.
    #[arg(long)]
    json: bool,
    /// Only the lanes that the process of this number writes or reads.
    #[arg(long)]
    pid: Option<u32>,
    /// The time between the two looks that tell the rates, in milliseconds.
    #[arg(long, default_value_t = 200, value_name = "MS")]
    interval: u64,
}

pub(crate) fn run(arguments: &Arguments) -> Result<Outcome, Failure> {
    let mut survey = match arguments.pid {
        Some(pid) => inspect::process(pid)?,
        None => inspect::lanes()?,
    };
    let until = Instant::now() + Duration::from_millis(arguments.interval);
    while let Some(rest) = until.checked_duration_since(Instant::now()).filter(|rest| !rest.is_zero()) {
        std::thread::park_timeout(rest);
    }
    survey.look_again()?;
    match arguments.json {
        true => print_json(&survey)?,
        false => print_table(&survey)?,
    }
    // What is another user's is not this user's to see.
    let is_missed = survey.unseen.iter().any(|unseen| !matches!(unseen.reason, Reason::OtherUser | Reason::Hidden));
    Ok(if is_missed { Outcome::Missed } else { Outcome::Done })
}

fn print_table(survey: &Survey) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    let line = format!(
        "{:20} {:24} {:>6} {:>12} {:>14} {:>12} {:>9}  STATE",
        "LANE", "PROCESS", "UID", "CAPACITY", "PUBLISHED", "BYTES/S", "RECORDS/S"
    );
    writeln!(out, "{}", heading(&line))?;
    for lane in &survey.lanes {
        let (bytes, records) =
            lane.rates.map_or((0.0, 0.0), |rates| (rates.bytes_per_second, rates.records_per_second));
        let name = lane.info.name.escape_debug().to_string();
        let (who, uid) = who(lane.producer.as_ref());
        let (capacity, published, state) = (lane.info.capacity, lane.published, state_of(lane));
        writeln!(
            out,
            "{name:20} {who:24} {uid:>6} {capacity:>12} {published:>14} {bytes:>12.0} {records:>9.0}  {state}"
        )?;
        for consumer in &lane.consumers {
            print_consumer(&mut out, consumer)?;
        }
        for keeper in &lane.keepers {
            writeln!(out, "  {:18} {keeper:24}", "keeps it")?;
        }
    }
    out.flush()?;
    let others = survey.unseen.iter().filter(|unseen| unseen.reason == Reason::OtherUser).count();
    for unseen in survey.unseen.iter().filter(|unseen| unseen.reason != Reason::OtherUser) {
        eprintln!("fdring: not seen: {unseen}");
    }
    if others != 0 {
        eprintln!("fdring: not seen: {others} processes of other users");
    }
    Ok(())
}

fn print_consumer(out: &mut impl Write, consumer: &ConsumerView) -> Result<(), Failure> {
    let kind = consumer.kind.map_or_else(|| "reads".to_owned(), |kind| kind.to_string());
    let (who, uid) = who(consumer.process.as_ref());
    let behind = consumer.behind_bytes.map_or_else(|| "?".to_owned(), |bytes| bytes.to_string());
    let held = match consumer.held_bytes {
        0 => String::new(),
        bytes => format!(", holds {bytes} bytes"),
    };
    writeln!(out, "  {kind:18} {who:24} {uid:>6} {behind:>12} bytes behind{held}, {}", activity(consumer))?;
    Ok(())
}

fn activity(consumer: &ConsumerView) -> String {
    match consumer.asleep_for {
        _ if consumer.is_evicted => "evicted".to_owned(),
        Some(time) if time.is_zero() => "asleep".to_owned(),
        Some(time) => format!("asleep for {time:.1?} at least"),
        None if consumer.still_for.is_zero() => "awake".to_owned(),
        None => format!("awake, and has read nothing for {:.1?} at least", consumer.still_for),
    }
}

fn state_of(lane: &LaneView) -> String {
    if lane.is_blocked { format!("{}, waits for room", lane.state) } else { lane.state.to_string() }
}

fn who(process: Option<&ProcessView>) -> (String, String) {
    let uid = process.and_then(|process| process.uid).map_or_else(|| "?".to_owned(), |uid| uid.to_string());
    (process.map_or_else(|| "?".to_owned(), ToString::to_string), uid)
}

fn print_json(survey: &Survey) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    for lane in &survey.lanes {
        writeln!(out, "{}", object_of(lane))?;
    }
    for unseen in &survey.unseen {
        let object = Object::new()
            .text("unseen", &unseen.reason.to_string())
            .option("process", unseen.process.as_ref().map(process))
            .option("lane", unseen.lane.as_ref().map(|lane| format!("\"{}\"", lane.escape_default())));
        writeln!(out, "{object}")?;
    }
    out.flush()?;
    Ok(())
}

fn object_of(lane: &LaneView) -> Object {
    let id: String = lane.info.id.iter().map(|byte| format!("{byte:02x}")).collect();
    Object::new()
        .text("lane", &lane.info.name)
        .text("id", &id)
        .text("state", &lane.state.to_string())
        .option("producer", lane.producer.as_ref().map(process))
        .value("capacity", lane.info.capacity)
        .value("published", lane.published)
        .value("is_blocked", lane.is_blocked)
        .value("records", lane.records)
        .value("record_bytes", lane.record_bytes)
        .value("times_blocked", lane.times_blocked)
        .value("bells_rung", lane.bells_rung)
        .value("evictions", lane.evictions)
        .option("bytes_per_second", lane.rates.map(|rates| rates.bytes_per_second))
        .option("records_per_second", lane.rates.map(|rates| rates.records_per_second))
        .list("consumers", lane.consumers.iter().map(consumer))
        .list("keepers", lane.keepers.iter().map(process))
}

fn consumer(consumer: &ConsumerView) -> Object {
    let kind = consumer.kind.map(|kind| format!("\"{kind}\""));
    Object::new()
        .option("process", consumer.process.as_ref().map(process))
        .option("kind", kind)
        .option("behind_bytes", consumer.behind_bytes)
        .value("held_bytes", consumer.held_bytes)
        .value("is_asleep", consumer.is_asleep)
        .value("is_evicted", consumer.is_evicted)
        .value("still_for_seconds", consumer.still_for.as_secs_f64())
        .option("asleep_for_seconds", consumer.asleep_for.map(|time| time.as_secs_f64()))
        .value("records", consumer.records)
        .value("missed_bytes", consumer.missed_bytes)
}

fn process(process: &ProcessView) -> Object {
    Object::new().value("pid", process.pid).option("uid", process.uid).text("command", &process.command)
}
