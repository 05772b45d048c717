//! `fdring hz`: how often records come, and how evenly.

use crate::histogram::Histogram;
use crate::human::{bytes, count};
use crate::output::{Object, number};
use crate::stop::Stop;
use crate::watch::{COLUMNS, Meter, Watch, cell};
use crate::{Failure, Outcome};
use fdring::Record;
use fdring::info::MonotonicTime;
use std::time::Duration;

/// Tell how often records come on a lane, and how evenly. The lane does not wait for this.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
A gap is the time between two records: between their commits on lanes that have times (LaneOptions::stamped), and on
others between the moments at which this command saw them, which is up to 1 ms later on a busy lane and up to 64 ms on
an idle one.

Exit status: 3 if records were overwritten before they were read; they are not counted.

Examples:
  fdring hz ticks                            one line a second
  fdring hz ticks --interval 10s --count 1   one line about ten seconds
  fdring hz @feed --lane ticks --json")]
pub(crate) struct Arguments {
    #[command(flatten)]
    watch: Watch,
}

pub(crate) fn run(arguments: &Arguments) -> Result<Outcome, Failure> {
    let stop = Stop::listen()?;
    let mut tap = arguments.watch.choice.tap(crate::choose::From::Latest, &stop)?;
    arguments.watch.run(&mut tap, &stop, Pace { records: 0, payload_bytes: 0, gaps: Histogram::new(), last: None })
}

struct Pace {
    records: u64,
    payload_bytes: u64,
    gaps: Histogram,
    /// The time of the last record, if no other was missed since.
    last: Option<MonotonicTime>,
}

impl Meter for Pace {
    const TITLES: [&'static str; COLUMNS] =
        ["RECORDS/S", "PAYLOAD/S", "MEAN SIZE", "GAP MIN", "GAP MEAN", "GAP P99", "GAP MAX"];

    fn count(&mut self, record: &Record<'_>) {
        let time = record.published_at().unwrap_or_else(MonotonicTime::now);
        if let Some(last) = self.last.replace(time) {
            self.gaps.count(time.since(last));
        }
        self.records += 1;
        self.payload_bytes += record.len() as u64;
    }

    fn skip(&mut self) {
        self.last = None;
    }

    fn is_empty(&self) -> bool {
        self.records == 0
    }

    fn successor(&self) -> Self {
        Self { records: 0, payload_bytes: 0, gaps: Histogram::new(), last: self.last }
    }

    fn add(&mut self, other: &Self) {
        self.records += other.records;
        self.payload_bytes += other.payload_bytes;
        self.gaps.add(&other.gaps);
    }

    fn object(&self, over: Duration) -> Object {
        let [records, payload_bytes] = self.per_second(over);
        let seconds = |time: Option<Duration>| time.map(|time| time.as_secs_f64());
        Object::new()
            .value("records", self.records)
            .value("records_per_second", number(records))
            .value("payload_bytes", self.payload_bytes)
            .value("payload_bytes_per_second", number(payload_bytes))
            .option("gap_min_seconds", seconds(self.gaps.min()))
            .option("gap_mean_seconds", seconds(self.gaps.mean()))
            .option("gap_p99_seconds", seconds(self.gaps.quantile(0.99)))
            .option("gap_max_seconds", seconds(self.gaps.max()))
    }

    fn cells(&self, over: Duration) -> [String; COLUMNS] {
        let [records, payload_bytes] = self.per_second(over);
        let size = self.payload_bytes.checked_div(self.records).map_or_else(|| "-".to_owned(), bytes);
        let [min, mean] = [self.gaps.min(), self.gaps.mean()].map(cell);
        let [p99, max] = [self.gaps.quantile(0.99), self.gaps.max()].map(cell);
        [count(records), bytes(payload_bytes as u64), size, min, mean, p99, max]
    }
}

impl Pace {
    /// Records, and bytes of their payloads.
    fn per_second(&self, over: Duration) -> [f64; 2] {
        [self.records, self.payload_bytes].map(|value| value as f64 / over.as_secs_f64())
    }
}
