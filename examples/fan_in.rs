//! A log daemon: clients connect, log some lines, and exit at once; some die in the middle. Nothing that they had
//! logged is lost.
//!
//! Usage: fan_in [CLIENTS]. The number of clients is 1000 by default; it starts them itself, 20 at a time.

use fdring::collect::{Collector, CollectorOptions, Event};
use fdring::errors::ReceiveError;
use fdring::options::{LaneOptions, ServerOptions, SessionListenerOptions};
use std::collections::HashMap;
use std::error::Error;
use std::io::{ErrorKind, Write, stdout};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

const LINES: usize = 10;
/// The clients that run at once.
const AT_ONCE: usize = 20;
const PATIENCE: Duration = Duration::from_secs(10);

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.as_slice() {
        [] => serve(1000),
        [address, number] => log(address, number.parse()?),
        [clients] => serve(clients.parse().map_err(|_| "usage: fan_in [CLIENTS]")?),
        _ => Err("usage: fan_in [CLIENTS]".into()),
    }
}

/// Reads what the clients log.
fn serve(clients: usize) -> Result<(), Box<dyn Error>> {
    let address = format!("@fdring-fan-in-{}", std::process::id());
    let limits = SessionListenerOptions::new().sessions_max(2 * AT_ONCE).capacity_max(1 << 20);
    let mut collector = CollectorOptions::new().listener(limits).listen(address.as_str())?;
    let (begun, mut running, mut started) = (Instant::now(), Vec::new(), 0);
    let mut counts = Counts::default();
    while counts.finished + counts.died < clients {
        reap(&mut running)?;
        while running.len() < AT_ONCE && started < clients {
            running.push(start(&address, started)?);
            started += 1;
        }
        take(&mut collector, &mut counts)?;
    }
    for mut client in running {
        client.wait()?;
    }
    say(&format!(
        "{} lines of {clients} clients in {:.1} s: {} finished, {} died; {} lines were logged and not read",
        counts.lines,
        begun.elapsed().as_secs_f64(),
        counts.finished,
        counts.died,
        counts.missing,
    ))
}

#[derive(Default)]
struct Counts {
    lines: usize,
    finished: usize,
    died: usize,
    /// Lines of clients that have finished, and that did not come.
    missing: usize,
    /// The lines of each lane that is open, by its number.
    of_lanes: HashMap<u64, usize>,
}

/// Takes what has happened at the collector; waits a little if nothing has.
fn take(collector: &mut Collector, counts: &mut Counts) -> Result<(), Box<dyn Error>> {
    match collector.next_timeout(Duration::from_millis(20)) {
        Ok(Event::Record(origin, _line)) => {
            counts.lines += 1;
            *counts.of_lanes.entry(origin.number()).or_default() += 1;
        }
        Ok(Event::Finished(origin)) => {
            counts.finished += 1;
            counts.missing += LINES - counts.of_lanes.remove(&origin.number()).unwrap_or_default();
        }
        Ok(Event::Lost(origin, _why)) => {
            counts.died += 1;
            counts.of_lanes.remove(&origin.number());
        }
        Ok(Event::Refused(refused)) => return Err(refused.error.to_string().into()),
        Ok(_) => {}
        Err(ReceiveError::TimedOut) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(())
}

fn start(address: &str, number: usize) -> Result<Child, Box<dyn Error>> {
    Ok(Command::new(std::env::current_exe()?).args([address, &number.to_string()]).spawn()?)
}

/// Forgets the clients that have ended.
fn reap(running: &mut Vec<Child>) -> Result<(), Box<dyn Error>> {
    let mut still = Vec::with_capacity(running.len());
    for mut client in running.drain(..) {
        if client.try_wait()?.is_none() {
            still.push(client);
        }
    }
    *running = still;
    Ok(())
}

/// A client: logs some lines and exits; every tenth one dies after half of them.
fn log(address: &str, number: usize) -> Result<(), Box<dyn Error>> {
    let mut lines = LaneOptions::new("log").capacity(64 << 10).prefault(false).create()?;
    let _link = ServerOptions::new().patience(PATIENCE).connect(address, [&lines])?;
    for line in 0..LINES {
        if number % 10 == 9 && line == LINES / 2 {
            std::process::exit(1); // with its lane open, as a process that is killed
        }
        lines.send(format!("client {number}: line {line}").as_bytes())?;
    }
    Ok(())
}

/// Prints a line. A reader that has had enough, such as head(1), is no error.
fn say(line: &str) -> Result<(), Box<dyn Error>> {
    match writeln!(stdout(), "{line}") {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}
