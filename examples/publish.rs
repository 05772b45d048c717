//! Publishes the lines that are typed into it, for `subscribe` in other terminals. Usage: publish [ADDRESS]
//!
//! At the end of its input (Ctrl-D) the lane is finished. After Ctrl-C, subscribers are told that the publisher died.

use fdring::options::Address;
use fdring::{Producer, Server};
use std::error::Error;
use std::io::{BufRead, ErrorKind, Write, stdout};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(600);

fn main() -> Result<(), Box<dyn Error>> {
    let address = std::env::args_os().nth(1).map_or(Address::abstract_name("fdring-lines"), Address::from);

    let mut lines = Producer::create("lines")?;
    let server = Server::listen(address, [&lines])?;
    say(&format!("waiting for a subscriber at {}", server.address()))?;
    // What is sent before anyone listens goes nowhere.
    server.wait_for_sessions(1, PATIENCE)?;

    say("type some lines; Ctrl-D ends them")?;
    for line in std::io::stdin().lock().split(b'\n') {
        lines.send(&line?)?;
    }
    lines.finish(); // dropping it would do the same
    Ok(())
}

/// Prints a line; that nobody reads it is no error.
fn say(line: &str) -> std::io::Result<()> {
    match writeln!(stdout(), "{line}") {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error),
        _ => Ok(()),
    }
}
