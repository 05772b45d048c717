//! The command `fdring`: the lanes of this user's processes, seen from outside, and their records.

mod output;
mod ps;
mod tail;

use clap::{Parser, Subcommand};
use std::io;
use std::process::ExitCode;

/// See the lanes of this user's processes, and what goes over them.
#[derive(Debug, Parser)]
#[command(
    name = "fdring",
    version,
    after_help = "\
Exit status: 0 done, 1 failed, 2 the command line makes no sense, 3 something was missed.

Examples:
  fdring ps                         all lanes, who writes them and who reads them
  fdring ps --json                  the same, one JSON object a line
  fdring tail ticks                 the records of a lane, as they come
  fdring tail ticks --start newest --count 1"
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the lanes: producer, readers, capacity, rate, who is behind, who holds, who sleeps.
    Ps(ps::Arguments),
    /// Print the records of a lane as they come. The lane does not wait for this.
    Tail(tail::Arguments),
}

/// How a command ended that did not fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Done,
    /// Something was missed.
    Missed,
}

/// Why a command failed.
#[derive(Debug)]
enum Failure {
    /// Nobody reads the output any more.
    NobodyReads,
    Sentence(String),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::NobodyReads,
            _ => Self::Sentence(format!("could not write: {error}")),
        }
    }
}

impl From<fdring::Error> for Failure {
    fn from(error: fdring::Error) -> Self {
        Self::Sentence(error.to_string())
    }
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Ps(arguments) => ps::run(&arguments),
        Command::Tail(arguments) => tail::run(&arguments),
    };
    match outcome {
        Ok(Outcome::Done) | Err(Failure::NobodyReads) => ExitCode::SUCCESS,
        Ok(Outcome::Missed) => ExitCode::from(3),
        Err(Failure::Sentence(sentence)) => {
            eprintln!("fdring: {sentence}");
            ExitCode::FAILURE
        }
    }
}
