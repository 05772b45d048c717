//! A data loader: worker processes decode samples, and some of them die at it; a trainer keeps them in batches. Each
//! sample is trained on once, even if workers die.
//!
//! Usage: work_sharing [SAMPLES [WORKERS]]. 20000 samples and 4 workers by default; it starts the workers itself.
//!
//! ```text
//!   loader ── Distributor ──► n workers ── a lane each ──► Collector ── trainer
//! ```

use fdring::Interrupter;
use fdring::collect::{Collector, Event};
use fdring::distribute::{DistributorOptions, To, Worker};
use fdring::errors::ReceiveError;
use fdring::options::LaneOptions;
use std::io::{ErrorKind, Write, stdout};
use std::process::Command;
use std::time::{Duration, Instant};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// The length of a sample, in bytes: its number, and its pixels.
const SAMPLE_BYTES: usize = 4096;
const SAMPLES_PER_BATCH: usize = 64;
/// A worker dies at its task of this number.
const TASKS_PER_LIFE: usize = 1000;
const PATIENCE: Duration = Duration::from_secs(30);

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let usage = |_| "usage: work_sharing [SAMPLES [WORKERS]]";
    match args.as_slice() {
        [] => run(20_000, 4),
        [samples] => run(samples.parse().map_err(usage)?, 4),
        [role, work, samples] if role == "worker" => decode(work, samples),
        [samples, workers] => run(samples.parse().map_err(usage)?, workers.parse().map_err(usage)?),
        _ => Err("usage: work_sharing [SAMPLES [WORKERS]]".into()),
    }
}

/// The loader on one thread, the trainer on this one.
fn run(samples: usize, workers: usize) -> Result<()> {
    let [work, trained] = ["work", "samples"].map(|what| format!("@fdring-work-sharing-{}-{what}", std::process::id()));
    let (begun, stop) = (Instant::now(), Interrupter::new()?);
    let mut trainer = Trainer::new(samples, &trained)?;
    let loader = std::thread::spawn({
        let stop = stop.clone();
        move || load(samples, workers, &work, &trained, &stop)
    });
    // A trainer that has failed ends the loader.
    let outcome = trainer.train(|| loader.is_finished()).inspect_err(|_| stop.interrupt());
    let died = loader.join().expect("it returns its errors")?;
    outcome?;
    say(&format!(
        "{samples} samples in {} batches in {:.1} s: {} workers died, {} samples were decoded again, and each was \
         trained on once",
        trainer.batches,
        begun.elapsed().as_secs_f64(),
        died,
        trainer.repeated,
    ))
}

/// Gives the numbers of all samples to workers; how many of these have died.
fn load(samples: usize, workers: usize, work: &str, trained: &str, stop: &Interrupter) -> Result<usize> {
    let mut distributor = DistributorOptions::new().workers_max(2 * workers).interrupter(stop).listen(work)?;
    let keep_running = |_| {
        let (work, trained) = (work.to_owned(), trained.to_owned());
        std::thread::spawn(move || keep_running(&work, &trained))
    };
    let running: Vec<_> = (0..workers).map(keep_running).collect();
    for number in 0..samples {
        distributor.send_timeout(To::MostRoom, &number.to_le_bytes(), PATIENCE)?;
    }
    distributor.finish_and_wait(PATIENCE)?;
    running.into_iter().map(|worker| worker.join().expect("it returns its errors")).sum()
}

/// Runs a worker, and another one whenever it dies; how often it did.
fn keep_running(work: &str, trained: &str) -> Result<usize> {
    for died in 0.. {
        let status = Command::new(std::env::current_exe()?).args(["worker", work, trained]).status()?;
        if status.success() {
            return Ok(died);
        }
    }
    unreachable!("it returns")
}

/// A worker: decodes samples, until there are no more or its life is over.
fn decode(work: &str, trained: &str) -> Result<()> {
    // Else the others have done everything meanwhile.
    let Ok(mut worker) = Worker::connect(work) else { return Ok(()) };
    let mut samples = LaneOptions::new("samples").capacity(256 << 10).create()?;
    let _link = samples.connect(trained)?;
    let mut tasks = 0;
    while let Some(task) = worker.receive()? {
        tasks += 1;
        if tasks == TASKS_PER_LIFE {
            std::process::exit(1); // with the task in hand, as one that is killed
        }
        samples.fill(SAMPLE_BYTES, |sample| {
            sample[..8].copy_from_slice(&task);
            sample[8..].fill(pixel_of(usize::from_le_bytes(task[..8].try_into().expect("it is a number"))));
        })?;
        // The next call says that the task is done: the sample is published, and will be read.
    }
    Ok(())
}

fn pixel_of(number: usize) -> u8 {
    (number % 251) as u8
}

/// Takes samples from all workers, and keeps them until there are enough for a batch.
struct Trainer {
    collector: Collector,
    has_seen: Vec<bool>,
    batch: Vec<fdring::OwnedRecord>,
    batches: usize,
    seen: usize,
    repeated: usize,
}

impl Trainer {
    fn new(samples: usize, address: &str) -> Result<Self> {
        let collector = Collector::listen(address)?;
        let (has_seen, batch) = (vec![false; samples], Vec::new());
        Ok(Self { collector, has_seen, batch, batches: 0, seen: 0, repeated: 0 })
    }

    /// Takes samples until no more can come.
    fn train(&mut self, is_over: impl Fn() -> bool) -> Result<()> {
        let samples = self.has_seen.len();
        loop {
            // First: what comes after this is looked for once more.
            let is_over = is_over();
            let sample = match self.collector.next_timeout(Duration::from_millis(20)) {
                Ok(Event::Record(_, sample)) => sample.into_owned(),
                // One that has died, or is dying: what it sent was read, and what it had in hand another one decodes.
                Ok(Event::Lost(_, ReceiveError::PeerDead | ReceiveError::HungUp)) => continue,
                Ok(Event::Lost(_, why)) => return Err(why.clone().into()),
                Ok(Event::Refused(refused)) => return Err(refused.error.to_string().into()),
                Ok(_) => continue,
                Err(ReceiveError::TimedOut) if !is_over => continue,
                Err(ReceiveError::TimedOut) if self.seen == samples => return Ok(()),
                Err(ReceiveError::TimedOut) => {
                    return Err(format!("{} samples are missing", samples - self.seen).into());
                }
                Err(why) => return Err(why.into()),
            };
            let number = usize::from_le_bytes(sample[..8].try_into()?);
            // A worker that dies after it has sent a sample, and before it is done with the task, has it decoded again.
            if std::mem::replace(&mut self.has_seen[number], true) {
                self.repeated += 1;
                continue;
            }
            self.seen += 1;
            self.batch.push(sample);
            if self.batch.len() == SAMPLES_PER_BATCH || self.seen == samples {
                self.step()?;
            }
            if self.seen * 10 / samples != (self.seen - 1) * 10 / samples {
                say(&format!("{} of {samples} samples, {} lanes", self.seen, self.collector.lane_count()))?;
            }
        }
    }

    /// A step of the training, with a whole batch: here it checks each sample.
    fn step(&mut self) -> Result<()> {
        self.batches += 1;
        for sample in self.batch.drain(..) {
            let pixel = pixel_of(usize::from_le_bytes(sample[..8].try_into()?));
            if sample.len() != SAMPLE_BYTES || sample[8..].iter().any(|byte| *byte != pixel) {
                return Err("a sample is not what a worker has decoded".into());
            }
        }
        Ok(())
    }
}

/// Prints a line. A reader that has had enough, such as head(1), is no error.
fn say(line: &str) -> Result<()> {
    match writeln!(stdout(), "{line}") {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}
