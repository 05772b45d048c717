//! A client's whole life: a program that is started, connects to a collector, sends some lines and ends; beside it one
//! that ends at once.
//!
//! The collector is the child's, on a thread that sleeps when there is nothing to do. It and the clients may use both
//! processors, as programs may that nobody pins; the two threads that measure sleep meanwhile.

use crate::clock::{Laps, ticks};
use crate::contender::{Contender, Fallible, Role, Way};
use crate::pair::keep_on;
use crate::payload::NOT_WHAT_WAS_SENT;
use crate::plan::Case;
use crate::shared::{Shared, Word, nap, sleep_until, wake};
use fdring::collect::{CollectorOptions, Event};
use fdring::options::{LaneOptions, ServerOptions, SessionListenerOptions};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant};

/// The argument that makes a process a client; behind it stands the collector's address, or nothing for one that ends
/// at once.
pub(crate) const CLIENT: &str = "--client";
/// How many lines a client sends.
const LINES: u64 = 10;
/// The ring of a client's lane, in bytes.
const CAPACITY_BYTES: u64 = 64 << 10;
/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// More clients are never there at once: the collector may notice the end of some after it.
const SESSIONS_MAX: usize = 64;

/// Who is started and ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Life {
    /// A program that ends at once.
    Empty,
    /// One that makes a lane, connects to a collector, sends ten lines, finishes the lane and ends.
    Client,
}

impl Life {
    pub(crate) const ALL: [Self; 2] = [Self::Empty, Self::Client];
}

/// Runs a client, with the arguments after [`CLIENT`].
pub(crate) fn run_client(args: &[String]) -> Fallible {
    let [address] = args else { return Ok(()) };
    let mut lines = LaneOptions::new("log").capacity(CAPACITY_BYTES).prefault(false).create()?;
    let _link = ServerOptions::new().patience(PATIENCE).connect(address.as_str(), [&lines])?;
    (0..LINES).try_for_each(|line| lines.send(format!("line {line} of a client").as_bytes()))?;
    Ok(())
}

/// What the collector has seen.
#[derive(Default)]
struct Seen {
    lines: AtomicU64,
    finished: AtomicU64,
    /// Clients that did not finish their lanes, or were refused.
    lost: AtomicU64,
}

/// One process's end: where the parent has clients connect to, and what the child's collector has seen.
pub(crate) struct Lives {
    address: String,
    cores: [usize; 2],
    /// The child's alone.
    seen: Option<Arc<Seen>>,
    /// How many clients there were.
    clients: u64,
}

impl Lives {
    /// The child's end has the collector, if any of these cases need one.
    pub(crate) fn open(run: &str, cores: [usize; 2], (cases, role): (&[Case], Role)) -> Fallible<Self> {
        let address = format!("@{run}-lives");
        let is_wanted = role == Role::Child && cases.contains(&Case::Life(Life::Client));
        let seen = if is_wanted { Some(collect(address.clone(), cores)?) } else { None };
        Ok(Self { address, cores, seen, clients: 0 })
    }
}

/// Starts a thread that collects until this process ends.
fn collect(address: String, cores: [usize; 2]) -> Fallible<Arc<Seen>> {
    let seen = Arc::new(Seen::default());
    let (count, (say, said)) = (Arc::clone(&seen), sync_channel(1));
    std::thread::spawn(move || {
        let listen = || {
            keep_on(&cores)?;
            let limits = SessionListenerOptions::new().sessions_max(SESSIONS_MAX).capacity_max(2 * CAPACITY_BYTES);
            let collector = CollectorOptions::new().listener(limits).listen(address.as_str());
            collector.map_err(|error| error.to_string())
        };
        let mut collector = match listen() {
            Ok(collector) => collector,
            Err(fault) => return drop(say.send(Err(fault))),
        };
        drop(say.send(Ok(())));
        // Relaxed: nothing goes with what is counted.
        while let Ok(event) = collector.next() {
            match event {
                Event::Record(..) => count.lines.fetch_add(1, Ordering::Relaxed),
                Event::Finished(_) => count.finished.fetch_add(1, Ordering::Relaxed),
                Event::Lost(..) | Event::Refused(_) => count.lost.fetch_add(1, Ordering::Relaxed),
                _ => 0,
            };
        }
    });
    said.recv()??;
    Ok(seen)
}

/// The lives of one slice.
pub(crate) struct Living<'a> {
    pub(crate) lives: &'a mut Lives,
    pub(crate) shared: &'a Shared,
    pub(crate) life: Life,
}

impl Contender for Living<'_> {
    fn send(&mut self, _: Way, _: u64) -> Fallible {
        Err("it starts programs only".into())
    }

    fn receive(&mut self, _: Way) -> Fallible<u64> {
        Err("it collects only".into())
    }

    /// Starts one client after another, each when the one before it has ended.
    fn ping(&mut self, _: Way, rounds: u64, laps: &mut Laps) -> Fallible {
        keep_on(&self.lives.cores)?;
        let lives = (0..rounds).try_for_each(|_| {
            let mut command = Command::new(std::env::current_exe()?);
            command.arg(CLIENT).stdin(Stdio::null());
            if self.life == Life::Client {
                command.arg(&self.lives.address);
            }
            let start = ticks();
            let status = command.spawn()?.wait()?;
            laps.add(ticks() - start);
            if status.success() { Ok(()) } else { Err(format!("a client ended: {status}").into()) }
        });
        keep_on(&self.lives.cores[..1])?;
        wake(self.shared.futex(Word::GoOn), 1);
        lives
    }

    /// Sleeps until all of them have ended, and makes sure that each of their lines was collected.
    fn pong(&mut self, _: Way, rounds: u64) -> Fallible {
        sleep_until(self.shared.futex(Word::GoOn), 1);
        let Some(seen) = self.lives.seen.as_deref().filter(|_| self.life == Life::Client) else { return Ok(()) };
        self.lives.clients += rounds;
        let wanted = [self.lives.clients * LINES, self.lives.clients, 0];
        let ended = Instant::now();
        while [&seen.lines, &seen.finished, &seen.lost].map(|count| count.load(Ordering::Relaxed)) != wanted {
            if ended.elapsed() > PATIENCE {
                return Err(NOT_WHAT_WAS_SENT.into());
            }
            nap();
        }
        Ok(())
    }
}
