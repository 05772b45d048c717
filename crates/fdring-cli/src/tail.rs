//! `fdring tail`: the records of a lane as they come.

use crate::output::Object;
use crate::{Failure, Outcome};
use fdring::errors::TapError;
use fdring::inspect::{self, LaneView};
use fdring::options::Start;
use fdring::{Record, Tap};
use std::io::Write;

/// As many bytes of a payload as are shown of it in text.
const SHOWN_BYTES: usize = 64;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The name of the lane, or its id in hexadecimal digits.
    lane: String,
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

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum From {
    /// With the next record that is published.
    Latest,
    /// With the last record that was published.
    Newest,
    /// With the first record, if nothing was overwritten yet; otherwise as newest.
    Oldest,
}

pub(crate) fn run(arguments: &Arguments) -> Result<Outcome, Failure> {
    let mut tap = find(&arguments.lane)?.tap(match arguments.start {
        From::Latest => Start::Latest,
        From::Newest => Start::Newest,
        From::Oldest => Start::Oldest,
    })?;
    let mut out = std::io::stdout().lock();
    let (mut records, mut outcome) = (0, Outcome::Done);
    while arguments.count.is_none_or(|count| records < count) {
        match next(&mut tap, arguments, &mut out)? {
            Next::Record => records += 1,
            Next::Missed => outcome = Outcome::Missed,
            Next::End => break,
        }
        // Whoever reads this sees each record when it comes.
        out.flush()?;
    }
    Ok(outcome)
}

/// The one lane of that name or id.
fn find(wanted: &str) -> Result<LaneView, Failure> {
    let survey = inspect::lanes()?;
    let id_of = |lane: &LaneView| lane.info.id.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let mut found = survey.lanes.into_iter().filter(|lane| lane.info.name == wanted || id_of(lane) == wanted);
    match (found.next(), found.next()) {
        (Some(lane), None) => Ok(lane),
        (None, _) => Err(Failure::Sentence(format!("no lane {wanted} can be seen; see fdring ps"))),
        (Some(lane), Some(other)) => {
            let ids = [id_of(&lane), id_of(&other)].join(" or ");
            Err(Failure::Sentence(format!("several lanes are called {wanted}; choose one by its id, such as {ids}")))
        }
    }
}

enum Next {
    Record,
    Missed,
    End,
}

fn next(tap: &mut Tap, arguments: &Arguments, out: &mut impl Write) -> Result<Next, Failure> {
    match tap.receive() {
        Ok(Some(record)) => {
            print(&record, arguments, out)?;
            Ok(Next::Record)
        }
        Ok(None) => Ok(Next::End),
        Err(TapError::Lagged { missed_bytes }) => {
            eprintln!("fdring: missed {missed_bytes} bytes");
            Ok(Next::Missed)
        }
        Err(error) => Err(Failure::Sentence(error.to_string())),
    }
}

fn print(record: &Record<'_>, arguments: &Arguments, out: &mut impl Write) -> Result<(), Failure> {
    let (position, tag, len) = (record.position(), record.tag(), record.len());
    if arguments.raw {
        out.write_all(record)?;
    } else if arguments.json {
        let payload: String = record.iter().map(|byte| format!("{byte:02x}")).collect();
        let object = Object::new().value("position", position).value("tag", tag).value("len", len);
        writeln!(out, "{}", object.text("payload", &payload))?;
    } else {
        let shown = &record[..len.min(SHOWN_BYTES)];
        let more = if shown.len() < len { "..." } else { "" };
        writeln!(out, "{position:>14} {tag:>5} {len:>9}  {}{more}", shown.escape_ascii())?;
    }
    Ok(())
}
