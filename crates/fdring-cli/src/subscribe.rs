//! `fdring subscribe`: the records of a lane to standard output.

use crate::choose::From;
use crate::human::hex;
use crate::output::{Object, say};
use crate::source::{End, Next, Source};
use crate::stop::Stop;
use crate::units::parse_duration;
use crate::{Failure, Outcome, framing};
use fdring::options::{PeerPolicy, SessionOptions};
use fdring::{Attach, Record};
use std::io::{self, BufWriter, IsTerminal, Write};
use std::time::Duration;

/// Write the records of a lane to standard output, by lines or by lengths.
///
/// The lane waits for it, so that it misses nothing, unless it is a tap. It ends with the lane. The exit status is 1 if
/// the lane has lost its producer before that, and 3 if something was missed.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  fdring subscribe @numbers | sort -n                a line a record
  fdring subscribe @feed --lane ticks --start oldest --count 10
  fdring subscribe @feed --lane ticks --framing length >ticks.bin
  fdring subscribe @feed --lane ticks --tap --json   the lane does not wait for this")]
pub(crate) struct Arguments {
    /// The address of the server: a path, or @ and a name.
    address: String,
    /// Which lane, where the server has several.
    #[arg(long, value_name = "NAME")]
    lane: Option<String>,
    #[command(flatten)]
    framing: framing::Framed,
    /// Where to begin.
    #[arg(long, value_enum, default_value_t = From::Latest)]
    start: From,
    /// End after this many records.
    #[arg(long, value_name = "RECORDS")]
    count: Option<u64>,
    /// Read as a tap, which the lane does not wait for.
    #[arg(long)]
    tap: bool,
    /// How long to wait for a server that is not there yet.
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = parse_duration)]
    patience: Duration,
    /// Print one JSON object a record, with its payload in hexadecimal digits.
    #[arg(long, conflicts_with_all = ["framing", "tags"])]
    json: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<Outcome, Failure> {
    let stdout = io::stdout();
    let is_terminal = stdout.is_terminal();
    arguments.framing.check_output(is_terminal)?;
    let stop = Stop::listen()?;
    let mut source = attach(arguments, &stop)?;
    let mut out = BufWriter::with_capacity(1 << 16, stdout.lock());
    let (mut records, mut outcome) = (0, Outcome::Done);
    while !stop.is_asked() && arguments.count.is_none_or(|count| records < count) {
        let mut next = source.try_next();
        if matches!(next, Next::Nothing) {
            // Who reads this has all that there is while it waits.
            out.flush()?;
            next = source.next();
        }
        match next {
            Next::Record(record) => {
                print(arguments, &record, &mut out, is_terminal)?;
                records += 1;
            }
            Next::Nothing => {}
            Next::Missed(bytes) => {
                say(format_args!("missed {bytes} bytes"));
                outcome = Outcome::Missed;
            }
            Next::End(End::Finished) => break,
            Next::End(End::Evicted(bytes)) => {
                say(format_args!("the lane went on without this consumer, which missed {bytes} bytes"));
                outcome = Outcome::Missed;
                break;
            }
            Next::End(End::Gone(why) | End::Broken(why)) => {
                out.flush()?;
                return Err(Failure::new(why));
            }
        }
    }
    out.flush()?;
    Ok(outcome)
}

fn attach(arguments: &Arguments, stop: &Stop) -> Result<Source, Failure> {
    // What is read is copied, so that it need not trust the server.
    let options = SessionOptions::new().peers(PeerPolicy::Anyone).interrupter(stop.interrupter());
    let mut options = options.patience(arguments.patience);
    if let Some(name) = &arguments.lane {
        options = options.lanes([name]);
    }
    let session = options.connect(arguments.address.as_str())?;
    if session.lanes().len() != 1 {
        let names: Vec<&str> = session.lanes().iter().map(|lane| &*lane.name).collect();
        let names = if names.is_empty() { "no lane".to_owned() } else { names.join(", ") };
        return Err(Failure::new(format!("{} offers {names}; choose one with --lane", arguments.address)));
    }
    let how = Attach::new().start(arguments.start.start());
    Ok(match arguments.tap {
        true => Source::Tap(session.tap_one(how)?),
        false => Source::Consumer(session.attach_one(how)?),
    })
}

fn print(arguments: &Arguments, record: &Record<'_>, out: &mut impl Write, is_terminal: bool) -> io::Result<()> {
    if !arguments.json {
        return arguments.framing.write(out, record.tag(), record, is_terminal);
    }
    let object = Object::new()
        .value("position", record.position())
        .value("tag", record.tag())
        .value("len", record.len())
        .option("published_at_ns", record.published_at().map(|time| time.as_nanos()))
        .text("payload", &hex(record));
    writeln!(out, "{object}")
}
