//! Trips of taxis through three processes, a source, a filter and a sink: over lanes, and the same as streams of
//! Arrow's IPC format over Unix sockets. Over lanes, batches go in the ring, which is long enough, or as parcels. The
//! sink's sums are compared with what the trips are, and a table says how fast each way was.
//!
//! Usage: arrow [--quick]. It starts the processes itself. `--quick` sends less, to see that it runs.

mod lanes;
mod sockets;
mod trips;

use std::error::Error;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::str::FromStr;
use std::time::{Duration, Instant};
use trips::Sums;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// One way through the processes.
#[derive(Clone, Copy, Debug)]
struct Run {
    /// Rows of a batch.
    rows: usize,
    batches: usize,
    work: Work,
}

/// What the filter does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Work {
    /// Sends the trips on that have cost more than 10: new batches.
    Filter,
    /// Sends every batch on as it is.
    Forward,
}

impl FromStr for Work {
    type Err = String;

    fn from_str(word: &str) -> std::result::Result<Self, String> {
        match word {
            "filter" => Ok(Self::Filter),
            "forward" => Ok(Self::Forward),
            _ => Err(format!("there is no work {word:?}")),
        }
    }
}

impl Work {
    fn name(self) -> &'static str {
        match self {
            Self::Filter => "filter",
            Self::Forward => "forward",
        }
    }
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        [] => table(1 << 22),
        ["--quick"] => table(1 << 16),
        [way, stage, rows, batches, work, address] => {
            let run = Run { rows: rows.parse()?, batches: batches.parse()?, work: work.parse()? };
            match way {
                "sockets" => sockets::stage(stage, run),
                _ => lanes::stage(stage, run, way == "ring", address),
            }
        }
        _ => Err("usage: arrow [--quick]".into()),
    }
}

/// The ways from one process to the next.
const WAYS: [&str; 3] = ["ring", "parcels", "sockets"];

/// Batches of several lengths, `rows` rows of each, three times in each way.
fn table(rows: usize) -> Result<()> {
    println!("rows a batch      MiB     work       ring    parcels    sockets   MiB/s");
    for rows_a_batch in [1 << 8, 1 << 12, 1 << 16, 1 << 18] {
        for work in [Work::Filter, Work::Forward] {
            let run = Run { rows: rows_a_batch, batches: (rows / rows_a_batch).max(4), work };
            let pool = trips::pool(run.rows);
            let mib = pool.iter().map(trips::bytes).sum::<usize>() as f64 / pool.len() as f64 / f64::from(1 << 20);
            let expected = (0..run.batches).map(|n| Sums::of(&pool[n % pool.len()], work)).sum::<Result<Sums>>()?;
            let mut best = [Duration::MAX; WAYS.len()];
            for _ in 0..3 {
                for (way, best) in WAYS.into_iter().zip(&mut best) {
                    *best = (*best).min(pipeline(way, run, &expected)?);
                }
            }
            let [ring, parcels, sockets] = best.map(|time| mib * run.batches as f64 / time.as_secs_f64());
            let (rows, work) = (run.rows, work.name());
            println!("{rows:>12} {mib:>8.2} {work:>8} {ring:>10.0} {parcels:>10.0} {sockets:>10.0}");
        }
    }
    println!("all sums are right");
    Ok(())
}

/// Runs the three processes. Returns how long it took from the first batch at the sink to the end, and fails if its
/// sums are not those expected.
fn pipeline(way: &str, run: Run, expected: &Sums) -> Result<Duration> {
    let address = format!("@fdring-arrow-{}", std::process::id());
    let stage = |stage: &str| {
        let mut command = Command::new(std::env::current_exe()?);
        command.args([way, stage, &run.rows.to_string(), &run.batches.to_string(), run.work.name(), &address]);
        Ok::<_, std::io::Error>(command)
    };
    let (source_out, filter_in) = UnixStream::pair()?;
    let (filter_out, sink_in) = UnixStream::pair()?;
    let started = Instant::now();
    let source = Running(stage("source")?.stdin(Stdio::null()).stdout(OwnedFd::from(source_out)).spawn()?);
    let filter = Running(stage("filter")?.stdin(OwnedFd::from(filter_in)).stdout(OwnedFd::from(filter_out)).spawn()?);
    let sink = stage("sink")?.stdin(OwnedFd::from(sink_in)).stderr(Stdio::inherit()).output()?;
    source.ends("source")?;
    filter.ends("filter")?;
    if !sink.status.success() {
        return Err(format!("the sink failed: {}", sink.status).into());
    }
    let said = String::from_utf8(sink.stdout)?;
    let (nanos, sums) = said.trim_end().split_once(' ').ok_or("the sink says nothing")?;
    if sums != expected.to_string() {
        return Err(format!("over {way}, the sink's sums are {sums}, not {expected}").into());
    }
    let time = Duration::from_nanos(nanos.parse()?);
    assert!(time < started.elapsed(), "the sink's clock is as fast as this one");
    Ok(time)
}

/// A process that does not outlive this one's interest in it.
struct Running(Child);

impl Running {
    fn ends(mut self, name: &str) -> Result<()> {
        let status = self.0.wait()?;
        if status.success() { Ok(()) } else { Err(format!("the {name} failed: {status}").into()) }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What a sink does: sums up what comes, and says how long it took from the first batch on.
#[derive(Default)]
struct Sink {
    first: Option<Instant>,
    sums: Sums,
}

impl Sink {
    fn take(&mut self, batch: &arrow_array::RecordBatch) -> Result<()> {
        self.first.get_or_insert_with(Instant::now);
        self.sums += Sums::of(batch, Work::Forward)?;
        Ok(())
    }

    fn end(self) -> Result<()> {
        let first = self.first.ok_or("no batch came")?;
        println!("{} {}", first.elapsed().as_nanos(), self.sums);
        Ok(())
    }
}
