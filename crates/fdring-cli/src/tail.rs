//! `fdring tail`: the records of a lane as they come.

use crate::choose::{self, Choice, From, Next};
use crate::format::{Fields, Format};
use crate::human::{bytes, harmless_bytes, hex};
use crate::output::{Colour, Object, Text, say, show};
use crate::stop::{LOOK_INTERVAL, Stop};
use crate::{Failure, Outcome};
use fdring::Record;
use std::io::{self, IsTerminal, Write};
use std::str::FromStr;

/// The bytes in a line of a dump.
const DUMP_BYTES: usize = 16;

/// Print the records of a lane as they come. The lane does not wait for this.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
A line is the position, the tag and the length of a record, and its payload. A struct is written as its fields, type
and name: u8 to u128, i8 to i128, f32, f64, bool, char, str[16], arrays such as u32[4], and pad[4] for bytes to be left
out. Fields follow one another without gaps, little-endian; a payload may hold several structs.

Exit status: 3 if records were overwritten before they were read, or were no whole structs.

Examples:
  fdring tail ticks                           the records of a lane, by its name
  fdring tail 4711 --lane ticks               one of the lanes that process 4711 has
  fdring tail @feed --start oldest            the lane of a server, from its oldest record on
  fdring tail ticks --start newest --count 1  the last record that there is
  fdring tail ticks --as 'u64 seq, f64 price' --json | jq .fields.price
  fdring tail log --raw > log.bin             the payloads alone")]
pub(crate) struct Arguments {
    #[command(flatten)]
    choice: Choice,
    /// Where to begin.
    #[arg(long, value_enum, default_value_t = From::Latest)]
    start: From,
    /// End after this many records.
    #[arg(long, value_name = "RECORDS")]
    count: Option<u64>,
    /// Only the records of this tag.
    #[arg(long)]
    tag: Option<u16>,
    /// How to show payloads: text, hex, or the fields of a struct, such as 'u64 seq, f64 price'. The default is text,
    /// and hex with --json.
    #[arg(long = "as", value_name = "FORMAT", conflicts_with = "raw")]
    shape: Option<Shape>,
    /// Show no more than this many bytes of a payload as text or hex; 0 shows all. The default is 64, and 0 with
    /// --json.
    #[arg(long, value_name = "BYTES", conflicts_with = "raw")]
    bytes: Option<usize>,
    /// Print one JSON object a record.
    #[arg(long, conflicts_with = "raw")]
    json: bool,
    /// Print the payloads alone, byte for byte, one after another. On a terminal, bytes that it might obey are escaped.
    #[arg(long)]
    raw: bool,
}

/// How a payload is shown.
#[derive(Clone, Debug)]
enum Shape {
    Text,
    Hex,
    Struct(Format),
}

impl FromStr for Shape {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.trim() {
            "text" => Ok(Self::Text),
            "hex" => Ok(Self::Hex),
            text => text.parse().map(Self::Struct),
        }
    }
}

pub(crate) fn run(arguments: &Arguments) -> Result<Outcome, Failure> {
    let stop = Stop::listen()?;
    let mut tap = arguments.choice.tap(arguments.start, &stop)?;
    let mut out = io::stdout().lock();
    let (mut records, mut is_odd) = (0, false);
    while !stop.is_asked() && arguments.count.is_none_or(|count| records < count) {
        match choose::next(&mut tap, LOOK_INTERVAL)? {
            Next::Record(record) if arguments.tag.is_none_or(|tag| tag == record.tag()) => {
                is_odd |= !print(&record, arguments, &mut out)?;
                // Each record is to be seen when it comes.
                out.flush()?;
                records += 1;
            }
            Next::Record(_) | Next::Nothing => {}
            Next::Missed(bytes) if arguments.json => {
                writeln!(out, "{}", Object::new().value("missed_bytes", bytes))?;
                out.flush()?;
            }
            Next::Missed(missed) => say(format_args!("missed {}", bytes(missed))),
            Next::End => break,
        }
    }
    Ok(if is_odd { Outcome::Missed } else { choose::outcome(tap.missed_bytes()) })
}

/// Prints a record; `false` if its payload is not of the shape that was asked for.
fn print(record: &Record<'_>, arguments: &Arguments, out: &mut impl Write) -> io::Result<bool> {
    if arguments.raw {
        show(record, out, io::stdout().is_terminal())?;
        return Ok(true);
    }
    let shape = arguments.shape.as_ref().unwrap_or(if arguments.json { &Shape::Hex } else { &Shape::Text });
    let shown_max = match arguments.bytes {
        Some(0) => record.len(),
        Some(bytes) => bytes,
        None if arguments.json => record.len(),
        None => 64,
    };
    let shown = &record[..record.len().min(shown_max)];
    match arguments.json {
        true => print_json(record, shown, shape, out),
        false => print_text(record, shown, shape, out),
    }
}

fn print_text(record: &Record<'_>, shown: &[u8], shape: &Shape, out: &mut impl Write) -> io::Result<bool> {
    let head = format!("{:>14} {:>5} {:>9}", record.position(), record.tag(), record.len());
    let head = Colour::Dim.paint(head);
    let more = if shown.len() < record.len() { "..." } else { "" };
    match shape {
        Shape::Text => writeln!(out, "{head}  {}{more}", harmless_bytes(shown))?,
        Shape::Hex => {
            writeln!(out, "{head}")?;
            for (index, line) in shown.chunks(DUMP_BYTES).enumerate() {
                let digits: Vec<String> = line.chunks(2).map(hex).collect();
                let ascii = line.iter().map(|byte| if (32..127).contains(byte) { char::from(*byte) } else { '.' });
                let (at, ascii) = (index * DUMP_BYTES, ascii.collect::<String>());
                writeln!(out, "{at:>24x}: {:39}  {ascii}", digits.join(" "))?;
            }
            if !more.is_empty() {
                writeln!(out, "{:>26}{more}", "")?;
            }
        }
        Shape::Struct(format) => {
            let Some(values) = format.values(record) else {
                let whole = format.len_bytes();
                writeln!(out, "{head}  {}", Colour::Yellow.paint(format_args!("no whole structs of {whole} bytes")))?;
                return Ok(false);
            };
            for fields in values {
                writeln!(out, "{head}  {}", fields.text())?;
            }
        }
    }
    Ok(true)
}

fn print_json(record: &Record<'_>, shown: &[u8], shape: &Shape, out: &mut impl Write) -> io::Result<bool> {
    let object =
        Object::new().value("position", record.position()).value("tag", record.tag()).value("len", record.len());
    let object = match record.published_at() {
        Some(time) => object.value("published_at_ns", time.as_nanos()),
        None => object,
    };
    match shape {
        Shape::Text => writeln!(out, "{}", object.text("payload", &String::from_utf8_lossy(shown)))?,
        Shape::Hex => writeln!(out, "{}", object.value("payload", Text(&hex(shown))))?,
        Shape::Struct(format) => {
            let Some(values) = format.values(record) else {
                writeln!(out, "{}", object.option("fields", None::<u8>))?;
                return Ok(false);
            };
            let mut values: Vec<String> = values.map(Fields::json).collect();
            match values.len() {
                1 => writeln!(out, "{}", object.value("fields", values.remove(0)))?,
                _ => writeln!(out, "{}", object.list("fields", values))?,
            }
        }
    }
    Ok(true)
}
