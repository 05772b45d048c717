//! Counts the words of a tree of files, with several processes and without copying the files' bytes between them.
//!
//! ```text
//!   reader ── Distributor ──► n workers ── a lane each ──► Collector ── sink
//! ```
//!
//! The [`reader`] lets read(2) fill records in the lanes of the workers. Each [`worker`] counts the words of such a
//! chunk where it lies, sends the counts to the [`sink`], and only then says that it is done with the chunk. The sink
//! merges the counts, and is the process that was started; the others are its [`crew`]: the same program with other
//! arguments. Every death is noticed. All end with the sink: there is nothing to clean up, whatever is killed.
//!
//! Each chunk is counted once, whenever workers are killed (`--chaos` kills them) and replaced. A chunk that a worker
//! was not done with goes to its successor, or to another worker: it is counted *at least* once. It has a number, which
//! its counts carry. So the sink knows counts that come a second time, because a worker was killed between sending them
//! and saying so, and leaves them out. The counts of a chunk are one record, which is there as a whole, or not at all.

mod crew;
mod options;
mod reader;
mod sink;
mod worker;

use crew::{AS_READER, AS_WORKER, as_member};
use options::{HELP, Options};
use std::error::Error;
use std::io::{ErrorKind, IsTerminal, Write, stderr};
use std::process::ExitCode;

const WIPE: &str = "\r\x1b[K"; // clears the line that a terminal's cursor is in

type Result<T, E = Box<dyn Error>> = std::result::Result<T, E>;

fn main() -> ExitCode {
    let args: Vec<_> = std::env::args_os().skip(1).collect();
    let outcome = match args.as_slice() {
        [role, address, paths @ ..] if role == AS_READER => as_member("reader", || reader::read(address, paths)),
        [role, address] if role == AS_WORKER => as_member("worker", || worker::work(address)),
        _ => match Options::parse(&args) {
            Ok(Some(options)) => sink::count(&options),
            Ok(None) => print(HELP).map(|()| true),
            Err(fault) => {
                complain(&format!("{fault}; see --help"));
                return ExitCode::from(2);
            }
        },
    };
    let is_right = outcome.inspect_err(|error| complain(&error.to_string())).unwrap_or(false);
    ExitCode::from(u8::from(!is_right))
}

/// Writes to stdout; that a reader such as head(1) has had enough is no error.
fn print(text: &str) -> Result<()> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(format!("could not print: {error}").into()),
        _ => Ok(()),
    }
}

/// Writes a line to stderr, in one piece, since several processes write there.
fn complain(sentence: &str) {
    let wipe = if stderr().is_terminal() { WIPE } else { "" };
    let _ = stderr().write_all(format!("{wipe}pipeline: {sentence}\n").as_bytes()); // nobody is left to be told
}

/// Says how far it is: on a terminal in a line that what comes next replaces.
fn draw(line: &str) {
    if stderr().is_terminal() {
        let _ = stderr().write_all(format!("{WIPE}{line}").as_bytes());
    } else if !line.is_empty() {
        complain(line);
    }
}
