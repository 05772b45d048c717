//! Prints the lines that `publish` sends, from where it joins to their end. Usage: subscribe [ADDRESS]
//!
//! It may be started first: it tries again until there is a publisher, for a minute. Ctrl-C ends it at any time, and
//! the publisher goes on.

use fdring::{Address, Session};
use std::io::{Error, ErrorKind};
use std::thread::sleep;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(50);

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address = std::env::args_os().nth(1).map_or(Address::abstract_name("fdring-lines"), Address::from);

    println!("waiting for a publisher at {address}");
    let mut lines = connect(&address, Instant::now() + PATIENCE)?.attach_one()?;
    println!("reading {}", lines.name());
    while let Some(line) = lines.receive()? {
        println!("{:6}  {}", line.position(), String::from_utf8_lossy(&line));
    }
    println!("the publisher has finished");
    Ok(())
}

/// Connects, as soon as somebody listens at `address`.
fn connect(address: &Address, deadline: Instant) -> Result<Session, Error> {
    loop {
        match Session::connect(address, Default::default()).map_err(Error::from) {
            Err(error) if nobody_listens(&error) && Instant::now() < deadline => sleep(PAUSE),
            outcome => return outcome,
        }
    }
}

/// Nobody does yet, or, where there is a socket file, any more.
fn nobody_listens(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused)
}
