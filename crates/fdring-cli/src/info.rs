//! `fdring info`: what a recording has.

use crate::human::{self, harmless};
use crate::output::{Object, say};
use crate::recording::contents::{Channel, Contents};
use crate::recording::read::End;
use crate::table::{Column, Table};
use crate::units::show_time;
use crate::{Failure, Outcome};
use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

/// Say what a recording has: its lanes and tags, how many records, from when to when, and what was missed.
///
/// The file is read to its end and its checksums are compared; its index is not believed. The exit status is 3 if the
/// recording has missed something or was cut off, and 1 if the file is broken.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  fdring info today.mcap          a table
  fdring info today.mcap --json   one object a lane and tag, and one for the file")]
pub(crate) struct Arguments {
    /// The file.
    file: PathBuf,
    /// Print one JSON object for each tag of each lane, and one for the file.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<Outcome, Failure> {
    let contents = Contents::count(&arguments.file)?;
    let reported = match arguments.json {
        true => print_json(arguments, &contents),
        false => print_table(&contents),
    };
    Outcome::reported(judge(arguments, &contents), reported)
}

/// Whether a file has all that it should have.
fn judge(arguments: &Arguments, contents: &Contents) -> Result<Outcome, Failure> {
    let path = arguments.file.display();
    if let Some(lie) = &contents.lie {
        return Err(Failure::new(format!("{path} is broken: {lie}")));
    }
    match &contents.end {
        End::Broken(fault) => {
            Err(Failure::new(format!("{path} is broken {fault}; what stands before can be replayed")))
        }
        End::CutOff => {
            say(format_args!("{path} was cut off; it has what was written before"));
            Ok(Outcome::Missed)
        }
        _ if contents.missed_bytes() > 0 => Ok(Outcome::Missed),
        _ => Ok(Outcome::Done),
    }
}

/// How long the records of a channel took.
fn time_of(channel: &Channel) -> Duration {
    channel.times.map_or(Duration::ZERO, |(from, to)| Duration::from_nanos(to - from))
}

fn print_table(contents: &Contents) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    let columns = [
        Column::left("LANE", 0),
        Column::right("TAG", 0),
        Column::right("RECORDS", 0),
        Column::right("BYTES", 0),
        Column::right("RECORDS/S", 2),
        Column::right("MISSED", 1),
        Column::right("CAPACITY", 3),
        Column::left("SCHEMA", 4),
        Column::left("TIMES", 5),
    ];
    let (mut table, all_missed) = (Table::new(columns), contents.missed());
    for channel in contents.of_records() {
        let (origin, seconds) = (&channel.origin, time_of(channel).as_secs_f64());
        let rate = if seconds > 0.0 { human::count(channel.records as f64 / seconds) } else { String::new() };
        // It is of the lane, whatever the tag.
        let missed = all_missed.get(&(&*origin.id, &*origin.lane));
        let missed = missed.map(|(bytes, _)| human::bytes(*bytes)).unwrap_or_default();
        let capacity = if origin.capacity > 0 { human::bytes(origin.capacity) } else { String::new() };
        let schema = if origin.schema > 0 { format!("{:#x}", origin.schema) } else { String::new() };
        table.push([
            harmless(&origin.lane).into(),
            origin.tag.to_string().into(),
            channel.records.to_string().into(),
            human::bytes(channel.bytes).into(),
            rate.into(),
            missed.into(),
            capacity.into(),
            schema.into(),
            if origin.is_stamped { "of publication" } else { "of the recorder" }.into(),
        ]);
    }
    table.print(&mut out)?;
    if let Some((from, to)) = contents.times() {
        writeln!(out, "from {} for {}", show_time(from), human::duration(Duration::from_nanos(to - from)))?;
    }
    out.flush()?;
    Ok(())
}

fn print_json(arguments: &Arguments, contents: &Contents) -> Result<(), Failure> {
    let (mut out, missed) = (std::io::stdout().lock(), contents.missed());
    for channel in contents.of_records() {
        let origin = &channel.origin;
        let (missed_bytes, missed_times) = missed.get(&(&*origin.id, &*origin.lane)).copied().unwrap_or_default();
        let object = Object::new()
            .text("lane", &origin.lane)
            .text("id", &origin.id)
            .value("tag", origin.tag)
            .value("records", channel.records)
            .value("bytes", channel.bytes)
            .value("longest_bytes", channel.longest)
            .option("from_ns", channel.times.map(|(from, _)| from))
            .option("to_ns", channel.times.map(|(_, to)| to))
            .text("times", if origin.is_stamped { "publication" } else { "recorder" })
            .value("lane_missed_bytes", missed_bytes)
            .value("lane_missed_times", missed_times)
            .value("capacity", origin.capacity)
            .value("record_align", origin.record_align)
            .value("payload_align", origin.payload_align)
            .value("schema", origin.schema);
        writeln!(out, "{object}")?;
    }
    let fault = match &contents.end {
        End::Broken(fault) => Some(fault.as_str()),
        _ => contents.lie.as_deref(),
    };
    let object = Object::new()
        .text("file", &arguments.file.display().to_string())
        .value("is_whole", contents.end == End::Whole)
        .value("is_cut_off", contents.end == End::CutOff)
        .value("has_index", contents.has_index)
        .option("fault", fault.map(crate::output::Text));
    writeln!(out, "{object}")?;
    out.flush()?;
    Ok(())
}
