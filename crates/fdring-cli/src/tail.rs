//! `fdring tail`: the records of a lane as they come.

use crate::choose::{self, Choice, From, Next};
use crate::human::hex;
use crate::output::{Object, say};
use crate::stop::Stop;
use crate::{Failure, Outcome};
use fdring::Record;
use std::io::Write;
use std::time::Duration;

/// As many bytes of a payload as are shown of it in text.
const SHOWN_BYTES: usize = 64;

/// How long it may take to end once a signal has asked for it.
const GRACE: Duration = Duration::from_millis(500);

/// Print the records of a lane as they come. The lane does not wait for this.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  fdring tail ticks                           the records of a lane, by its name
  fdring tail 4711 --lane ticks               one of the lanes that process 4711 has
  fdring tail @feed --start oldest            the lane of a server, from its oldest record on
  fdring tail ticks --start newest --count 1  the last record that there is")]
pub(crate) struct Arguments {
    #[command(flatten)]
    choice: Choice,
    /// Where to begin.
    #[arg(long, value_enum, default_value_t = From::Latest)]
    start: From,
    /// End after this many records.
    #[arg(long, value_name = "RECORDS")]
    count: Option<u64>,
    /// Print one JSON object a record, with its payload in hexadecimal digits.
    #[arg(long, conflicts_with = "raw")]
    json: bool,
    /// Print the payloads alone, byte for byte, one after another.
    #[arg(long)]
    raw: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<Outcome, Failure> {
    let stop = Stop::listen(GRACE)?;
    let mut tap = arguments.choice.tap(arguments.start, &stop)?;
    let mut out = std::io::stdout().lock();
    let mut records = 0;
    while !stop.is_asked() && arguments.count.is_none_or(|count| records < count) {
        match choose::next(&mut tap)? {
            Next::Record(record) => {
                print(&record, arguments, &mut out)?;
                // Each record is to be seen when it comes.
                out.flush()?;
                records += 1;
            }
            Next::Nothing => {}
            Next::Missed(bytes) => say(format_args!("missed {bytes} bytes")),
            Next::End => break,
        }
    }
    Ok(choose::outcome(tap.missed_bytes()))
}

fn print(record: &Record<'_>, arguments: &Arguments, out: &mut impl Write) -> Result<(), Failure> {
    let (position, tag, len) = (record.position(), record.tag(), record.len());
    if arguments.raw {
        out.write_all(record)?;
    } else if arguments.json {
        let object = Object::new().value("position", position).value("tag", tag).value("len", len);
        writeln!(out, "{}", object.text("payload", &hex(record)))?;
    } else {
        let shown = &record[..len.min(SHOWN_BYTES)];
        let more = if shown.len() < len { "..." } else { "" };
        writeln!(out, "{position:>14} {tag:>5} {len:>9}  {}{more}", shown.escape_ascii())?;
    }
    Ok(())
}
