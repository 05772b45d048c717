//! `fdring inspect`: a lane's memory, and what is wrong with it.

use crate::choose::Choice;
use crate::human::{bytes, duration, harmless, hex};
use crate::output::{Colour, Object, Text};
use crate::ps::process_object;
use crate::seen;
use crate::table::{Cell, Column, Table};
use crate::{Failure, Outcome};
use fdring::inspect::{self, Examination, ProcessView, RecordView, RegionKind, RegionView, Survey};
use fdring::options::{PeerPolicy, SessionOptions};
use std::io::{self, Write};

/// Show a lane's memory: regions, seals, words, seats, the headers of its last records, and what is wrong with them.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The names of the words are those of docs/protocol.md. What is looked at may change meanwhile: only what breaks the
protocol at any moment is told as wrong.

Exit status: 1 if something is wrong.

Examples:
  fdring inspect ticks            a lane by its name: all lanes of that name
  fdring inspect @feed            all lanes of a server
  fdring inspect ticks --json | jq .faults")]
pub(crate) struct Arguments {
    #[command(flatten)]
    choice: Choice,
    /// Print one JSON object a lane.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<Outcome, Failure> {
    let survey = match arguments.choice.address() {
        Some(_) => inspect::lanes()?,
        None => Choice::survey()?,
    };
    let lanes = examine(&arguments.choice, survey)?;
    let found = match lanes.iter().map(|lane| lane.faults.len()).sum() {
        0 => Ok(Outcome::Done),
        1 => Err(Failure::new("one thing is wrong, see above")),
        faults => Err(Failure::new(format!("{faults} things are wrong, see above"))),
    };
    Outcome::reported(found, report(&lanes, arguments.json))
}

fn report(lanes: &[Examination], is_json: bool) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    for lane in lanes {
        match is_json {
            true => writeln!(out, "{}", object_of(lane))?,
            false => print(lane, &mut out)?,
        }
    }
    Ok(out.flush()?)
}

/// Looks at the lanes that are meant: several may have one name, and a server may have several.
fn examine(choice: &Choice, survey: Survey) -> Result<Vec<Examination>, Failure> {
    if let Some(address) = choice.address() {
        let session = SessionOptions::new().peers(PeerPolicy::Anyone).connect(address)?;
        let is_wanted = |name: &str| choice.name.as_ref().is_none_or(|wanted| wanted == name);
        let ids = session.lanes().iter().filter(|lane| is_wanted(&lane.name)).map(|lane| hex(&lane.id));
        let lanes: Result<Vec<_>, _> = ids.map(|id| survey.examine(&id)).collect();
        let lanes: Vec<Examination> = lanes?.into_iter().flatten().collect();
        return match lanes.is_empty() {
            true => Err(Failure::new("no lane of this server can be seen; see fdring ps")),
            false => Ok(lanes),
        };
    }
    // Also what breaks the protocol, and is no lane to others.
    let lanes = survey.examine(&choice.lane)?;
    if !lanes.is_empty() {
        return Ok(lanes);
    }
    let id = hex(&choice.find(survey.clone())?.info.id);
    Ok(survey.examine(&id)?)
}

fn print(lane: &Examination, out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "{}  {}", Colour::Bold.paint(harmless(&lane.name)), hex(&lane.id))?;
    writeln!(out)?;
    let mut regions = Table::new([
        Column::left("REGION", 0),
        Column::right("LENGTH", 0),
        Column::right("INODE", 2),
        Column::left("SEALS", 0),
        Column::left("WRITTEN BY", 0),
        Column::left("ALSO HAD BY", 1),
    ]);
    for region in &lane.regions {
        let holders: Vec<String> = region.holders.iter().map(|holder| seen::who(Some(holder))).collect();
        regions.push([
            region.kind.to_string().into(),
            bytes(region.len_bytes).into(),
            region.inode.to_string().into(),
            region.seals.clone().into(),
            seen::who(region.writer.as_ref()).into(),
            holders.join(", ").into(),
        ]);
    }
    regions.print(out)?;
    for region in lane.regions.iter().filter(|region| !region.words.is_empty()) {
        writeln!(out)?;
        print_words(region, out)?;
    }
    if !lane.records.is_empty() {
        writeln!(out)?;
        records_of(lane).print(out)?;
    }
    writeln!(out)?;
    match lane.faults.is_empty() {
        true => writeln!(out, "{}", Colour::Green.paint("nothing is wrong with it")),
        false => lane
            .faults
            .iter()
            .try_for_each(|fault| writeln!(out, "{}", Colour::Red.paint(format_args!("wrong: {}", harmless(fault))))),
    }
}

fn print_words(region: &RegionView, out: &mut impl Write) -> io::Result<()> {
    let title = match region.kind {
        RegionKind::Seat => format!("SEAT OF {}", seen::who(region.writer.as_ref())),
        kind => kind.to_string().to_uppercase(),
    };
    writeln!(out, "{}", Colour::Bold.paint(title))?;
    let rows = region.words.len().div_ceil(2);
    for row in 0..rows {
        let words = region.words.iter().skip(row).step_by(rows);
        let cells = words.map(|word| format!("{:<16}{:<24}", word.name, in_words(word.name, word.value)));
        writeln!(out, "{}", cells.collect::<String>().trim_end())?;
    }
    Ok(())
}

/// The value of a word, with what it means if it stands for something.
fn in_words(name: &str, value: u64) -> String {
    let names: &[&str] = match name {
        "magic" => return format!("{value:#x}"),
        "state" => &["", "open", "finished", "abandoned"],
        "kind" => &["", "in place", "copies", "tap"],
        _ => &[],
    };
    let meaning = usize::try_from(value).ok().and_then(|index| names.get(index)).filter(|name| !name.is_empty());
    meaning.map_or_else(|| value.to_string(), |meaning| format!("{value} {meaning}"))
}

fn records_of(lane: &Examination) -> Table<5> {
    let mut table = Table::new([
        Column::right("RECORD AT", 0),
        Column::right("TAG", 0),
        Column::right("LENGTH", 0),
        Column::right("FDS", 1),
        Column::left("PUBLISHED", 1),
    ]);
    for record in &lane.records {
        let ago = record.published_at.map(|time| format!("{} ago", duration(time.age()))).unwrap_or_default();
        let fds = if record.fds == 0 { String::new() } else { record.fds.to_string() };
        let (tag, note) = match record.is_padding {
            true => (String::new(), "padding, to the end of the ring".to_owned()),
            false => (record.tag.to_string(), ago),
        };
        let cells = [record.position.to_string(), tag, record.len.to_string(), fds, note];
        table.push(cells.map(Cell::from));
    }
    table
}

fn object_of(lane: &Examination) -> Object {
    Object::new()
        .text("lane", &lane.name)
        .text("id", &hex(&lane.id))
        .list("regions", lane.regions.iter().map(region_object))
        .list("records", lane.records.iter().map(record_object))
        .list("faults", lane.faults.iter().map(|fault| Text(fault)))
}

fn region_object(region: &RegionView) -> Object {
    let words = region.words.iter().fold(Object::new(), |object, word| object.value(word.name, word.value));
    Object::new()
        .text("kind", &region.kind.to_string())
        .value("len_bytes", region.len_bytes)
        .value("inode", region.inode)
        .text("seals", &region.seals)
        .option("writer", region.writer.as_ref().map(process_object))
        .list("holders", region.holders.iter().map(|holder: &ProcessView| process_object(holder)))
        .value("words", words)
}

fn record_object(record: &RecordView) -> Object {
    Object::new()
        .value("position", record.position)
        .value("is_padding", record.is_padding)
        .value("tag", record.tag)
        .value("len", record.len)
        .value("fds", record.fds)
        .option("published_at_ns", record.published_at.map(|time| time.as_nanos()))
}
