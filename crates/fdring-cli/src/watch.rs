//! What `hz` and `delay` share: a tap, a line for each interval, and one for all of them.

use crate::choose::{self, Choice, Next};
use crate::human::{bytes, duration};
use crate::output::{Colour, Object};
use crate::stop::{LOOK_INTERVAL, Stop};
use crate::units::parse_interval;
use crate::{Failure, Outcome};
use fdring::{Record, Tap};
use std::io::{self, Write};
use std::time::{Duration, Instant};

/// The columns of a line before that of what was missed.
pub(crate) const COLUMNS: usize = 7;

#[derive(Debug, clap::Args)]
pub(crate) struct Watch {
    #[command(flatten)]
    pub(crate) choice: Choice,
    /// The time that a line is about.
    #[arg(long, default_value = "1s", value_name = "DURATION", value_parser = parse_interval)]
    interval: Duration,
    /// End after this many lines.
    #[arg(long, value_name = "LINES")]
    count: Option<u64>,
    /// Print one JSON object a line.
    #[arg(long)]
    pub(crate) json: bool,
}

/// What is measured of records.
pub(crate) trait Meter {
    const TITLES: [&'static str; COLUMNS];

    fn count(&mut self, record: &Record<'_>);

    /// Records were missed before the next one.
    fn skip(&mut self) {}

    fn is_empty(&self) -> bool;

    /// One for the records that follow.
    fn successor(&self) -> Self;

    fn add(&mut self, other: &Self);

    /// What was measured over that time, as fields of a JSON object, and as cells below the titles.
    fn object(&self, over: Duration) -> Object;
    fn cells(&self, over: Duration) -> [String; COLUMNS];
}

impl Watch {
    /// Measures until the end of the lane, of the lines, or of the user's patience.
    pub(crate) fn run(&self, tap: &mut Tap, stop: &Stop, mut now: impl Meter) -> Result<Outcome, Failure> {
        let mut out = io::stdout().lock();
        self.print_titles(&now, &mut out)?;
        let (mut all, begun, mut since) = (now.successor(), Instant::now(), Instant::now());
        let (mut missed_before, mut lines, mut is_over) = (0, 0, false);
        while !is_over && self.count.is_none_or(|count| lines < count) {
            let rest = (since + self.interval).saturating_duration_since(Instant::now());
            match choose::next(tap, rest.min(LOOK_INTERVAL))? {
                Next::Record(record) => now.count(&record),
                Next::Missed(_) => now.skip(),
                Next::Nothing => {}
                Next::End => is_over = true,
            }
            is_over |= stop.is_asked();
            if since.elapsed() >= self.interval || is_over && !now.is_empty() {
                let (over, missed) = (since.elapsed(), tap.missed_bytes());
                self.print(&now, over, missed - missed_before, &mut out)?;
                all.add(&now);
                now = now.successor();
                (since, missed_before, lines) = (since + over, missed, lines + 1);
            }
        }
        if !self.json && lines > 1 {
            writeln!(out, "{}", Colour::Bold.paint(format_args!("in all {}", duration(begun.elapsed()))))?;
            self.print(&all, begun.elapsed(), tap.missed_bytes(), &mut out)?;
        }
        Ok(choose::outcome(tap.missed_bytes()))
    }

    fn print_titles<M: Meter>(&self, _: &M, out: &mut impl Write) -> io::Result<()> {
        if !self.json {
            writeln!(out, "{}", Colour::Bold.paint(line(M::TITLES, "MISSED")))?;
            out.flush()?;
        }
        Ok(())
    }

    fn print(&self, meter: &impl Meter, over: Duration, missed_bytes: u64, out: &mut impl Write) -> io::Result<()> {
        match self.json {
            true => {
                let object = meter.object(over).value("seconds", over.as_secs_f64());
                writeln!(out, "{}", object.value("missed_bytes", missed_bytes))?;
            }
            false => {
                let missed = if missed_bytes == 0 { "-".to_owned() } else { bytes(missed_bytes) };
                writeln!(out, "{}", line(meter.cells(over), missed))?;
            }
        }
        out.flush()
    }
}

fn line(cells: [impl AsRef<str>; COLUMNS], last: impl AsRef<str>) -> String {
    cells.iter().map(AsRef::as_ref).chain([last.as_ref()]).map(|cell| format!("{cell:>10}")).collect()
}

/// A time as a cell; `-` if there is none.
pub(crate) fn cell(time: Option<Duration>) -> String {
    time.map_or_else(|| "-".to_owned(), duration)
}
