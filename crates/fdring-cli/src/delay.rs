//! `fdring delay`: how long records are on their way to a reader.

use crate::histogram::Histogram;
use crate::human::count;
use crate::output::{Object, say};
use crate::stop::Stop;
use crate::watch::{COLUMNS, Meter, Watch, cell};
use crate::{Failure, Outcome};
use fdring::Record;
use std::time::Duration;

/// Tell how long records are on their way, from their commit until they are read here. The lane does not wait for this.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
This needs a lane whose records have times (LaneOptions::stamped). By the address of its server, this command is woken
when a record comes, as any reader is. By name, id or process, nobody wakes it, and it naps between two looks: for 1 ms
on a busy lane and up to 64 ms on an idle one, which is in the delays.

Exit status: 3 if records were overwritten before they were read.

Examples:
  fdring delay @feed --lane ticks        one line a second
  fdring delay @feed --interval 10s --count 1 --json")]
pub(crate) struct Arguments {
    #[command(flatten)]
    watch: Watch,
}

pub(crate) fn run(arguments: &Arguments) -> Result<Outcome, Failure> {
    let stop = Stop::listen()?;
    let Watch { choice, json, .. } = &arguments.watch;
    let mut tap = choice.tap(crate::choose::From::Latest, &stop)?;
    if !tap.lane().is_stamped {
        let name = &tap.lane().name;
        let remedy = "its producer can create it with LaneOptions::stamped(true)";
        return Err(Failure::new(format!("the records of lane {name} have no times; {remedy}")));
    }
    if !json && choice.address().is_none() {
        say("the delays include naps between two looks; by the address of its server, this command is woken");
    }
    arguments.watch.run(&mut tap, &stop, Delays(Histogram::new()))
}

struct Delays(Histogram);

impl Meter for Delays {
    const TITLES: [&'static str; COLUMNS] = ["RECORDS", "MIN", "MEAN", "P50", "P90", "P99", "MAX"];

    fn count(&mut self, record: &Record<'_>) {
        // A lane with times has one for each record.
        record.published_at().into_iter().for_each(|time| self.0.count(time.age()));
    }

    fn is_empty(&self) -> bool {
        self.0.total() == 0
    }

    fn successor(&self) -> Self {
        Self(Histogram::new())
    }

    fn add(&mut self, other: &Self) {
        self.0.add(&other.0);
    }

    fn object(&self, _: Duration) -> Object {
        let names = ["min_seconds", "mean_seconds", "p50_seconds", "p90_seconds", "p99_seconds", "max_seconds"];
        let times = names.iter().zip(self.times());
        times.fold(Object::new().value("records", self.0.total()), |object, (name, time)| {
            object.option(name, time.map(|time| time.as_secs_f64()))
        })
    }

    fn cells(&self, _: Duration) -> [String; COLUMNS] {
        let [min, mean, p50, p90, p99, max] = self.times().map(cell);
        [count(self.0.total() as f64), min, mean, p50, p90, p99, max]
    }
}

impl Delays {
    fn times(&self) -> [Option<Duration>; 6] {
        let [p50, p90, p99] = [0.5, 0.9, 0.99].map(|share| self.0.quantile(share));
        [self.0.min(), self.0.mean(), p50, p90, p99, self.0.max()]
    }
}
