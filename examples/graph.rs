//! A diamond of five processes: a source sends numbers to a doubler and a squarer, a joiner adds up what both make of
//! each number, and a sink checks the total.
//!
//! ```text
//!             ┌── doubler ──┐
//!   source ───┤             ├─── joiner ─── sink
//!             └── squarer ──┘
//! ```
//!
//! Usage: graph [NUMBERS]. It is 100000 by default, and at least 1. The five may start in any order: each one waits for
//! its neighbours.

use fdring::collect::{Collector, Event};
use fdring::options::{LaneOptions, NoConsumer, ServerOptions, SessionOptions, Start};
use fdring::{Attach, Consumer, Server};
use std::collections::HashMap;
use std::error::Error;
use std::io::{ErrorKind, Write, stdout};
use std::process::{Child, Command};
use std::thread::park_timeout;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(60);
const ROLES: [&str; 5] = ["sink", "joiner", "squarer", "doubler", "source"];
const USAGE: &str = "usage: graph [NUMBERS]";

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => start_all(100_000),
        [numbers] => start_all(at_least_one(numbers)?),
        ["source", place, numbers] => send(place, at_least_one(numbers)?),
        ["doubler", place, _] => transform(place, "doubled", |number| 2 * number),
        ["squarer", place, _] => transform(place, "squared", |number| number * number),
        ["joiner", place, _] => join(place),
        ["sink", place, numbers] => check(place, at_least_one(numbers)?),
        _ => Err(USAGE.into()),
    }
}

fn at_least_one(numbers: &str) -> Result<u64, Box<dyn Error>> {
    Ok(numbers.parse().ok().filter(|numbers| *numbers != 0).ok_or(USAGE)?)
}

/// Starts the five. If one fails, the others are stopped.
fn start_all(numbers: u64) -> Result<(), Box<dyn Error>> {
    let place = format!("@fdring-graph-{}", std::process::id());
    let arguments = [place, numbers.to_string()];
    let start = |role| Command::new(std::env::current_exe()?).arg(role).args(&arguments).spawn();
    let mut running: Vec<(&str, Child)> = Vec::new();
    let outcome = ROLES.into_iter().try_for_each(|role| start(role).map(|child| running.push((role, child))));
    let outcome = outcome.map_err(Into::into).and_then(|()| wait(&mut running));
    for (_, mut child) in running {
        child.kill()?;
        child.wait()?;
    }
    outcome
}

/// Waits until all have ended, or one has failed.
fn wait(running: &mut Vec<(&str, Child)>) -> Result<(), Box<dyn Error>> {
    while !running.is_empty() {
        for index in (0..running.len()).rev() {
            let Some(status) = running[index].1.try_wait()? else { continue };
            let (role, _) = running.remove(index);
            if !status.success() {
                return Err(format!("the {role} has failed: {status}").into());
            }
        }
        park_timeout(Duration::from_millis(1));
    }
    Ok(())
}

fn send(place: &str, numbers: u64) -> Result<(), Box<dyn Error>> {
    // Nothing is sent before both read.
    let mut lane = LaneOptions::new("numbers").no_consumer(NoConsumer::WaitFor(2)).create()?;
    let _server = Server::listen(format!("{place}-source"), [&lane])?;
    for number in 0..numbers {
        lane.send_timeout(&number.to_le_bytes(), PATIENCE)?;
    }
    // The lane ends in order when it is dropped. Its readers read on when this process is gone.
    Ok(())
}

/// Reads the numbers, and sends each to the joiner with what becomes of it.
fn transform(place: &str, name: &str, function: impl Fn(u64) -> u64) -> Result<(), Box<dyn Error>> {
    let mut lane = LaneOptions::new(name).create()?;
    let _link = ServerOptions::new().patience(PATIENCE).connect(format!("{place}-joiner"), [&lane])?;
    let mut numbers = connect(&format!("{place}-source"))?;
    while let Some(record) = numbers.receive()? {
        let number = u64::from_le_bytes(record[..].try_into()?);
        lane.send(&[number, function(number)].map(u64::to_le_bytes).concat())?;
    }
    Ok(())
}

/// Adds up both parts of each number, whichever comes first.
fn join(place: &str) -> Result<(), Box<dyn Error>> {
    let mut parts = Collector::listen(format!("{place}-joiner"))?;
    let mut lane = LaneOptions::new("sums").no_consumer(NoConsumer::WaitFor(1)).create()?;
    let _server = Server::listen(format!("{place}-sink"), [&lane])?;
    let (mut halves, mut ended) = (HashMap::new(), 0);
    while ended < 2 {
        match parts.next()? {
            Event::Record(_, record) => {
                let (number, part) = record.split_at(8);
                let (number, part) = (u64::from_le_bytes(number.try_into()?), u64::from_le_bytes(part.try_into()?));
                match halves.remove(&number) {
                    Some(other) => lane.send(&u64::to_le_bytes(part + other))?,
                    None => _ = halves.insert(number, part),
                }
            }
            Event::Finished(_) => ended += 1,
            Event::Lost(origin, why) => return Err(format!("lane {}: {why}", origin.lane().name).into()),
            Event::Refused(refused) => return Err(refused.error.to_string().into()),
            _ => {}
        }
    }
    if !halves.is_empty() {
        return Err(format!("{} numbers came from one side alone", halves.len()).into());
    }
    Ok(())
}

fn check(place: &str, numbers: u64) -> Result<(), Box<dyn Error>> {
    let mut sums = connect(&format!("{place}-sink"))?;
    let (mut count, mut total) = (0, 0);
    while let Some(record) = sums.receive()? {
        (count, total) = (count + 1, total + u64::from_le_bytes(record[..].try_into()?));
    }
    let expected: u64 = (0..numbers).map(|number| 2 * number + number * number).sum();
    if (count, total) != (numbers, expected) {
        return Err(format!("{count} sums with a total of {total}, where {numbers} with {expected} should be").into());
    }
    let line = format!("{count} numbers through five processes, total {total}, as it should be\n");
    match stdout().write_all(line.as_bytes()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

/// The only lane there, from its first record on, as soon as there is one.
fn connect(address: &str) -> fdring::Result<Consumer> {
    SessionOptions::new().patience(PATIENCE).connect(address)?.attach_one(Attach::new().start(Start::Oldest))
}
