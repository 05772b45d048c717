//! Prints the lines that `publish` sends, from where it joins to their end. Usage: subscribe [ADDRESS]
//!
//! It may be started first: it tries again until there is a publisher, for a minute. Ctrl-C ends it at any time, and
//! the publisher goes on.

use fdring::Attach;
use fdring::options::Address;
use fdring::options::SessionOptions;
use std::io::{ErrorKind, Write, stdout};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(60);

fn main() -> Result<(), Box<dyn std::error::Error>> {
    match print_lines() {
        // The reader of the output, such as head(1), has had enough.
        Err(error) if error.downcast_ref().is_some_and(is_broken_pipe) => Ok(()),
        outcome => outcome,
    }
}

fn is_broken_pipe(error: &std::io::Error) -> bool {
    error.kind() == ErrorKind::BrokenPipe
}

fn print_lines() -> Result<(), Box<dyn std::error::Error>> {
    let address = std::env::args_os().nth(1).map_or(Address::abstract_name("fdring-lines"), Address::from);

    writeln!(stdout(), "waiting for a publisher at {address}")?;
    let session = SessionOptions::new().patience(PATIENCE).connect(&address)?;
    let mut lines = session.attach_one(Attach::new())?;
    writeln!(stdout(), "reading {}", lines.lane().name)?;
    while let Some(line) = lines.receive()? {
        writeln!(stdout(), "{:6}  {}", line.position(), String::from_utf8_lossy(&line))?;
    }
    writeln!(stdout(), "the publisher has finished")?;
    Ok(())
}
