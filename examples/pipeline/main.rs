//! Counts the words of a tree of files, with several processes and without copying the files' bytes between them.
//!
//! ```text
//!                    lane words-0 ┌──────────┐ lane counts-0
//!          ┌───────────────────── │ worker 0 │ ─────────────────────┐
//!  ┌───────┴──┐                   └──────────┘                  ┌───▼──┐
//!  │  reader  │                                                 │ sink │
//!  └───────┬──┘      words-1      ┌──────────┐      counts-1    └───▲──┘
//!          └───────────────────── │ worker 1 │ ─────────────────────┘
//!                                 └──────────┘
//! ```
//!
//! The reader ([`reader`]) lets read(2) fill reservations in its lanes, one lane for each worker. The workers
//! ([`worker`]) split the text into words where it lies. The sink ([`sink`]) merges what they have counted; each worker
//! is a producer too, for that. Reader and sink are one process, the one that was started, and the workers are its
//! children: the same program with other arguments.
//!
//! Every death is noticed: a worker's end is seen by the reader and the sink, the parent's by every worker. So there is
//! nothing to clean up, whatever is killed.

mod count;
mod options;
mod progress;
mod reader;
mod sink;
mod verify;
mod worker;

use std::error::Error;
use std::io::{ErrorKind, Write};
use std::process::ExitCode;
use std::time::Instant;

use fdring::{
    Producer,
    options::{LaneOptions, ServerOptions},
};
use options::{HELP, Options, Task};
use progress::Progress;
use reader::Reader;
use worker::Workers;

type Result<T, E = Box<dyn Error>> = std::result::Result<T, E>;

/// A lane holds as much as a worker needs to stay busy while the reader opens files.
const LANE_CAPACITY_BYTES: u64 = 4 << 20;

fn main() -> ExitCode {
    let task = match Options::parse(std::env::args_os().skip(1)) {
        Ok(task) => task,
        Err(fault) => {
            complain(&format!("{fault}; see --help"));
            return ExitCode::from(2);
        }
    };
    let outcome = match task {
        Task::Help => print(HELP).map(|()| ExitCode::SUCCESS),
        Task::Work { index, address } => worker::work(index, &address)
            .map(|()| ExitCode::SUCCESS)
            .map_err(|error| format!("worker {index}: {error}").into()),
        Task::Count(options) => count_words(&options),
    };
    outcome.unwrap_or_else(|error| {
        complain(&error.to_string());
        ExitCode::FAILURE
    })
}

/// The parent: reader first, sink then.
fn count_words(options: &Options) -> Result<ExitCode> {
    let start = Instant::now();
    let lane = |index| LaneOptions::new(worker::lane_name(index)).capacity(LANE_CAPACITY_BYTES);
    let lanes: Vec<Producer> = (0..options.workers).map(|index| lane(index).create()).collect::<Result<_, _>>()?;
    let address = worker::private_address();
    let offered: Vec<&Producer> = lanes.iter().collect();
    let server = ServerOptions::new().sessions_max(options.workers).listen(&address, &offered)?;

    let mut workers = Workers::spawn(options.workers, &address)?;
    workers.wait_until_attached(&server)?;
    if options.verbose {
        workers.list();
    }
    // Before anything is sent, so that no worker can be done before the sink has joined.
    let counts = workers.connect()?;

    let reader = Reader::new(lanes, &mut workers, Progress::start(), options);
    let read = reader.read(&options.paths)?; // ends the lanes
    let (merged, received) = sink::merge(counts, &mut workers)?;
    workers.join()?;
    sink::check(&read, &received)?;
    let wall = start.elapsed();

    print(&sink::report(&read, &merged, wall, options.top))?;
    if !options.verify {
        return Ok(ExitCode::SUCCESS);
    }
    let verdict = verify::verify(&read, &merged);
    print(&verdict.sentences)?;
    Ok(if verdict.equal { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Writes to stdout; that a reader such as head(1) has had enough is no error.
fn print(text: &str) -> Result<()> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(format!("could not write to stdout: {error}").into())
        }
        _ => Ok(()),
    }
}

/// Writes a line to stderr, in one piece, since several processes write there.
fn complain(sentence: &str) {
    let _ = std::io::stderr().write_all(format!("pipeline: {sentence}\n").as_bytes()); // Nobody is left to be told.
}
