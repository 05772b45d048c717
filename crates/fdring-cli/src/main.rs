//! The command `fdring`: the lanes of this user's processes, seen from outside, and their records.
//!
//! Each subcommand is a file with `Arguments`, whose documentation is its help, and a `run`. A line of `subcommands!`
//! makes it known.

mod choose;
mod completions;
mod delay;
mod doctor;
mod format;
mod framing;
mod histogram;
mod human;
mod hz;
mod info;
mod inspect;
mod output;
mod processor;
mod ps;
mod publish;
mod record;
mod recording;
mod recv_fds;
mod replay;
mod seen;
mod send_fds;
mod socket;
mod source;
mod stop;
mod subscribe;
mod table;
mod tail;
mod top;
mod units;
mod users;
mod watch;

use clap::{Parser, Subcommand};
use std::process::ExitCode;
use std::{fmt, io};

/// See the lanes of this user's processes, and what goes over them.
#[derive(Debug, Parser)]
#[command(
    name = "fdring",
    version,
    arg_required_else_help = true,
    after_help = "\
Exit status: 0 done, 1 failed, 2 the command line makes no sense, 3 something was missed.

Examples:
  fdring ps                         all lanes, who writes them and who reads them
  fdring ps --json                  the same, one JSON object a line
  fdring tail ticks                 the records of a lane, as they come
  fdring record ticks -o t.mcap     a lane to a file, and fdring replay gives it back
  fdring help tail                  what tail can do, with examples"
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

/// Makes subcommands of modules: each has `Arguments`, and a `run` that takes them.
macro_rules! subcommands {
    ($($variant:ident = $module:ident,)*) => {
        #[derive(Debug, Subcommand)]
        enum Command {
            $($variant($module::Arguments),)*
        }

        impl Command {
            fn run(&self) -> Result<Outcome, Failure> {
                match self {
                    $(Self::$variant(arguments) => $module::run(arguments),)*
                }
            }
        }
    };
}

// In the order of the help.
subcommands! {
    Ps = ps,
    Top = top,
    Inspect = inspect,
    Tail = tail,
    Hz = hz,
    Delay = delay,
    Doctor = doctor,
    Publish = publish,
    Subscribe = subscribe,
    Record = record,
    Replay = replay,
    Info = info,
    SendFds = send_fds,
    RecvFds = recv_fds,
    Completions = completions,
}

/// How a command ended that did not fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Done,
    /// Something was missed.
    Missed,
}

impl Outcome {
    /// The end of a command that has done something and reported it: what went wrong before counts for more than a
    /// report that nobody reads.
    fn reported(done: Result<Self, Failure>, report: Result<(), Failure>) -> Result<Self, Failure> {
        match (done, report) {
            (Ok(Self::Done), Err(failure)) | (Ok(Self::Missed), Err(failure @ Failure::Sentence(_))) => Err(failure),
            (done, _) => done,
        }
    }
}

/// Why a command failed.
#[derive(Debug)]
enum Failure {
    /// The reader of the output is gone.
    NobodyReads,
    Sentence(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NobodyReads => f.write_str("nobody reads the output"),
            Self::Sentence(sentence) => f.write_str(sentence),
        }
    }
}

impl Failure {
    fn new(sentence: impl Into<String>) -> Self {
        Self::Sentence(sentence.into())
    }
}

/// Of standard output; all else is said if it fails.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::NobodyReads,
            _ => Self::Sentence(format!("could not write to standard output: {error}")),
        }
    }
}

impl From<fdring::Error> for Failure {
    fn from(error: fdring::Error) -> Self {
        Self::Sentence(error.to_string())
    }
}

fn main() -> ExitCode {
    match Arguments::parse().command.run() {
        Ok(Outcome::Done) | Err(Failure::NobodyReads) => ExitCode::SUCCESS,
        Ok(Outcome::Missed) => ExitCode::from(3),
        Err(Failure::Sentence(sentence)) => {
            output::say(sentence);
            ExitCode::FAILURE
        }
    }
}
