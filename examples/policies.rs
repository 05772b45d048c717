//! Three lanes and their consumers: one that is slow and is evicted, one that is slow and makes the producer fail, and
//! one that is killed and whose place a successor takes. Usage: policies
//!
//! It starts itself again as the consumers.

use fdring::errors::{ReceiveError, SendError};
use fdring::options::{LaneOptions, NoConsumer, SlowConsumer, Start};
use fdring::{Attach, Consumer, Producer, Server, Session};
use std::io::{BufRead, BufReader, Error};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_millis(100);
const LONG_ENOUGH: Duration = Duration::from_secs(60);

type Outcome<T = ()> = Result<T, Box<dyn std::error::Error>>;

fn main() -> Outcome {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match &arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => {
            evict()?;
            fail()?;
            succeed()
        }
        ["sleeper", address] => sleep(address),
        ["worker", address, count] => work(address, count),
        _ => Err("usage: policies".into()),
    }
}

/// A consumer that stands still costs the others a moment, once.
fn evict() -> Outcome {
    let evict = SlowConsumer::Evict { after: PATIENCE };
    let (mut ticks, _server, address) = lane("ticks", |lane| lane.slow_consumer(evict))?;
    let mut quick = Consumer::connect(&*address)?;
    let sleeper = Started::new(&["sleeper", &address])?;
    let reader = std::thread::spawn(move || -> Result<u64, ReceiveError> {
        let mut records = 0;
        while quick.receive()?.is_some() {
            records += 1;
        }
        Ok(records)
    });
    for n in 0..10_000u64 {
        ticks.send(&n.to_le_bytes())?;
    }
    println!("evict: {} consumer is left of 2, and process {} is not it", ticks.consumer_count(), sleeper.child.id());
    ticks.finish_and_wait(LONG_ENOUGH)?;
    println!("evict: it has read {} records of 10000", reader.join().expect("the reader does not panic")?);
    Ok(())
}

/// A producer that must not lose a consumer learns which one is slow, and decides.
fn fail() -> Outcome {
    let fail = SlowConsumer::Fail { after: PATIENCE };
    let (mut orders, _server, address) = lane("orders", |lane| lane.slow_consumer(fail))?;
    let sleeper = Started::new(&["sleeper", &address])?;
    let slow = loop {
        match orders.send(b"an order") {
            Ok(()) => {}
            Err(SendError::TooSlow { consumer }) => break consumer,
            Err(error) => return Err(error.into()),
        }
    };
    println!("fail: {}", SendError::TooSlow { consumer: slow.clone() });
    if slow.pid != Some(sleeper.child.id()) {
        return Err("another process is slow".into());
    }
    let has_gone = orders.evict(&slow)?;
    orders.send(b"an order")?;
    println!("fail: evicted it ({has_gone}), and the producer goes on");
    match orders.finish_and_wait(Duration::ZERO) {
        Err(SendError::Unread { consumers }) => Err(format!("{} consumers have not read all", consumers.len()).into()),
        outcome => Ok(outcome?),
    }
}

/// What a killed consumer has not released, the next one reads.
fn succeed() -> Outcome {
    let (mut jobs, _server, address) = lane("jobs", |lane| lane.no_consumer(NoConsumer::WaitFor(1)))?;
    println!("succeed: {}", jobs.try_send(b"too early").unwrap_err());
    let mut first = Started::new(&["worker", &address, "3"])?;
    for n in 0..10u64 {
        jobs.send(&n.to_le_bytes())?; // the first waits for the worker
    }
    first.copy_lines(3)?;
    first.child.kill()?;
    first.child.wait()?;
    let mut second = Started::new(&["worker", &address, "all"])?;
    let waits = std::thread::spawn(move || jobs.finish_and_wait(LONG_ENOUGH));
    let lines = second.copy_lines(usize::MAX)?;
    waits.join().expect("the producer does not panic")?;
    println!("succeed: the second worker did {lines} jobs, and nothing is left");
    Ok(())
}

fn lane(name: &str, how: impl FnOnce(LaneOptions) -> LaneOptions) -> Outcome<(Producer, Server, String)> {
    let producer = how(LaneOptions::new(name).capacity(4096)).create()?;
    let address = format!("@fdring-policies-{name}-{}", std::process::id());
    let server = Server::listen(&*address, [&producer])?;
    Ok((producer, server, address))
}

/// A consumer that reads nothing.
fn sleep(address: &str) -> Outcome {
    let _consumer = Consumer::connect(address)?;
    println!("attached");
    wait_for_the_end()
}

/// A consumer that does some jobs and then hangs, or does all.
fn work(address: &str, count: &str) -> Outcome {
    let mut jobs = loop {
        // The one before may not be known to be dead yet.
        match Session::connect(address)?.attach_one(Attach::new().start(Start::Resume)) {
            Err(error) if error.is_worth_retrying() => std::thread::yield_now(),
            outcome => break outcome?,
        }
    };
    println!("attached");
    let most = if count == "all" { u64::MAX } else { count.parse()? };
    for _ in 0..most {
        let Some(job) = jobs.receive()? else { return Ok(()) };
        let number = u64::from_le_bytes(job[..].try_into()?);
        jobs.release(); // it is done: until then a successor would get it again
        println!("job {number}");
    }
    wait_for_the_end()
}

/// Waits until the process that has started this one is gone, or kills it.
fn wait_for_the_end() -> Outcome {
    std::io::copy(&mut std::io::stdin(), &mut std::io::sink())?;
    Ok(())
}

/// This program again, as a consumer that is attached. It is killed in the end.
struct Started {
    child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Started {
    fn new(arguments: &[&str]) -> Outcome<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        let mut child = command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let stdout = child.stdout.take().ok_or_else(|| Error::other("it has a pipe"))?;
        let mut started = Self { child, lines: BufReader::new(stdout).lines() };
        match started.lines.next() {
            Some(Ok(line)) if line == "attached" => Ok(started),
            _ => Err("a consumer has not attached".into()),
        }
    }

    /// Prints up to `most` lines of its output. Returns how many there were.
    fn copy_lines(&mut self, most: usize) -> Outcome<usize> {
        let mut count = 0;
        for line in self.lines.by_ref().take(most) {
            println!("  process {}: {}", self.child.id(), line?);
            count += 1;
        }
        Ok(count)
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
