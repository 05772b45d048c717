//! The process that measures: it sends, has the child receive, and tells each slice to the process that started it.
//!
//! It knows no results: what is told is kept there, so that nothing is lost if this process hangs or is killed.

use crate::clock::Clock;
use crate::contender::{ContenderKind, Fallible};
use crate::counters::Counters;
use crate::distance::Distance;
use crate::measure::{Sample, Used};
use crate::pair::{Order, Parent, complain_of_panics, pin};
use crate::plan::Case;
use crate::shared::Shared;
use crate::signals;
use crate::stats::{Random, median_of};
use rustix::fd::AsFd;
use rustix::net::{SendFlags, send};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// The argument that makes a process the one that measures.
pub(crate) const WORKER: &str = "--worker";
/// How long a slice is to take, in nanoseconds: shorter the more of them are cut short by other processes.
const SLICE_MAX_NS: f64 = 2.0e6;
const SLICE_MIN_NS: f64 = 2.5e5;
/// What a slice that was cut short makes of the length of the next, and one that was not.
const SHORTEN: f64 = 0.8;
const LENGTHEN: f64 = 1.05;
/// How many times as long a slice of the open loop is as another: queues that grow must show.
const LOAD_SLICES: f64 = 5.0;
/// How many round trips a probe makes.
const PROBE_ROUNDS: u64 = 64;
/// Above this, times are told to a thousandth, in nanoseconds.
const EXACT_BELOW_NS: u64 = 2048;

/// What is told.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Message {
    /// Everything is open; of the clock, and what cannot be counted.
    Ready {
        ns_per_tick: f64,
        step_ns: f64,
        cost_ns: f64,
        /// By how much the child's clock is at least ahead or behind.
        skew_ns: f64,
        missing: Option<String>,
    },
    Slice(Sample),
    /// The case of that number works.
    Tried(usize),
    /// Every case has had its turn, or was tried.
    Round,
    /// The time is up.
    Done,
}

/// Runs the process, with the arguments after [`WORKER`].
pub(crate) fn run(args: &[String], kinds: &'static [ContenderKind]) -> Fallible {
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    // The child inherits it.
    signals::leave_to_parent();
    let order = Order::from_args(args)?;
    // Before any memory is touched or thread started, as in the child: both lie where it measures.
    let pinned = pin(order.cores[0]);
    let stdin = std::io::stdin();
    let memory = fdring::recv_fds(&stdin, &mut [0; 8], 1)?.fds.remove(0);
    let shared = Shared::map(&memory)?;
    complain_of_panics(Shared::map(&memory)?);
    let memory = (Shared::map(&memory)?, memory);
    let outcome = pinned
        .map_err(Into::into)
        .and_then(|()| Rounds::start(&order, kinds, memory, &stdin))
        .and_then(|rounds| rounds.run(order.seconds.map(Duration::from_secs_f64), |text| shared.complain(text)));
    if let Err(error) = &outcome {
        shared.complain(&error.to_string());
    }
    outcome
}

fn tell(socket: impl AsFd, message: &Message) -> Fallible {
    send(socket, &serde_json::to_vec(message)?, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Runs the cases in turn, for as long as there is time.
struct Rounds<'a> {
    parent: Parent,
    clock: Clock,
    counters: Counters,
    /// What a record takes in nanoseconds, near and far, as last seen; 0 if it was not.
    pace: Vec<[f64; 2]>,
    slice_ns: f64,
    random: Random,
    socket: &'a std::io::Stdin,
}

impl<'a> Rounds<'a> {
    fn start(
        order: &Order,
        kinds: &'static [ContenderKind],
        memory: (Shared, rustix::fd::OwnedFd),
        socket: &'a std::io::Stdin,
    ) -> Fallible<Self> {
        let mut parent = Parent::start(order, kinds, memory)?;
        let counters = Counters::open(parent.child_pid(), parent.helper_tid())?;
        let clock = parent.clock();
        // Where nothing is measured, nothing is missed.
        let missing = counters.missing().filter(|_| order.seconds.is_some()).map(str::to_owned);
        let Clock { ns_per_tick, step_ns, cost_ns } = clock;
        let skew_ns = parent.skew_ns()?;
        tell(socket, &Message::Ready { ns_per_tick, step_ns, cost_ns, skew_ns, missing })?;
        let pace = vec![[0.0; 2]; parent.cases().len()];
        let random = Random::new(u64::from(std::process::id()));
        Ok(Self { parent, clock, counters, pace, slice_ns: SLICE_MAX_NS, random, socket })
    }

    /// How many cases are measured: all but the probe.
    fn count(&self) -> usize {
        self.parent.cases().len() - 1
    }

    fn case(&self, number: usize) -> Case {
        self.parent.cases()[number]
    }

    fn run(mut self, budget: Option<Duration>, complain: impl FnOnce(&str)) -> Fallible {
        let outcome = match budget {
            None => self.try_all(),
            Some(budget) => self.measure(budget),
        };
        if let Err(error) = &outcome {
            // Said before anything is put away: that may take long, and the child waits for what never comes.
            complain(&error.to_string());
            self.parent.give_up();
            return outcome;
        }
        tell(self.socket, &Message::Done)
    }

    /// Runs every case once, with few records: whether they work at all.
    fn try_all(&mut self) -> Fallible {
        for number in 0..self.count() {
            self.parent.check_room(number)?;
            self.parent.run(number, self.case(number).step())?;
            tell(self.socket, &Message::Tried(number))?;
        }
        tell(self.socket, &Message::Round)
    }

    fn measure(&mut self, budget: Duration) -> Fallible {
        let mut order: Vec<usize> = (0..self.count()).collect();
        self.warm_up()?;
        let start = Instant::now();
        while start.elapsed() < budget && !self.parent.is_stopped() {
            self.shuffle(&mut order);
            let mut before_ns = self.probe()?;
            for number in &order {
                if self.parent.is_stopped() {
                    return Ok(());
                }
                before_ns = self.slice(*number, before_ns)?;
            }
            tell(self.socket, &Message::Round)?;
        }
        Ok(())
    }

    /// Finds out roughly how long each case takes for a record.
    fn warm_up(&mut self) -> Fallible {
        for number in 0..self.count() {
            let case = self.case(number);
            self.parent.check_room(number)?;
            let mut records = case.step();
            while !self.parent.is_stopped() {
                let distance = Distance::usual(self.probe()?);
                let elapsed = self.parent.run(number, records)?.elapsed as f64 * self.clock.ns_per_tick;
                self.pace[number][distance as usize] = elapsed / records as f64;
                if elapsed > SLICE_MIN_NS || records * 4 > case.most() {
                    break;
                }
                records *= 4;
            }
        }
        Ok(())
    }

    /// How long a cache line takes there and back now, in nanoseconds.
    fn probe(&mut self) -> Fallible<f64> {
        let probe = self.parent.run(self.count(), PROBE_ROUNDS)?;
        Ok(self.clock.lap_ns(median_of(&probe.times, self.clock.step())))
    }

    /// How many records a slice has.
    fn records(&self, number: usize, distance: Distance) -> u64 {
        let case = self.case(number);
        let pace = match self.pace[number][distance as usize] {
            0.0 => self.pace[number].iter().sum(),
            pace => pace,
        };
        let slice_ns = self.slice_ns * if matches!(case, Case::Load(..)) { LOAD_SLICES } else { 1.0 };
        ((slice_ns / pace) as u64).clamp(case.step(), case.most()) / case.step() * case.step()
    }

    /// One slice and the probe after it.
    fn slice(&mut self, number: usize, before_ns: f64) -> Fallible<f64> {
        let case = self.case(number);
        let records = self.records(number, Distance::usual(before_ns));
        let mut to_warm = case.records_to_warm(records);
        while to_warm != 0 {
            let now = to_warm.min(case.most());
            self.parent.run(number, now)?;
            to_warm -= now;
        }
        self.counters.begin();
        let slice = self.parent.run(number, records)?;
        let used = self.counters.end();
        let after_ns = self.probe()?;
        self.slice_ns = match used.preemptions != 0 {
            // They are cut short for another reason, or are longer than the others.
            _ if case.takes_turns() || matches!(case, Case::Load(..)) => self.slice_ns,
            true => (self.slice_ns * SHORTEN).max(SLICE_MIN_NS),
            false => (self.slice_ns * LENGTHEN).min(SLICE_MAX_NS),
        };
        let elapsed_ns = slice.elapsed as f64 * self.clock.ns_per_tick;
        let pace_ns = match case {
            Case::Load(_, load) => load.pace_ns(elapsed_ns, records),
            _ => elapsed_ns / records as f64,
        };
        self.pace[number][Distance::usual(after_ns) as usize] = pace_ns;
        let sample = self.sample((number, records, pace_ns), &slice.times, [before_ns, after_ns], used);
        tell(self.socket, &Message::Slice(sample))?;
        Ok(after_ns)
    }

    fn sample(
        &self,
        (number, records, pace_ns): (usize, u64, f64),
        laps: &[u64],
        probes_ns: [f64; 2],
        used: Used,
    ) -> Sample {
        let is_timed = self.case(number).is_timed();
        let ns = if is_timed { self.clock.lap_ns(median_of(laps, self.clock.step())) } else { pace_ns };
        let mut times = BTreeMap::new();
        for ticks in laps {
            *times.entry(coarse(self.clock.lap_ns(*ticks as f64) as u64)).or_insert(0) += 1;
        }
        Sample { number, records, ns, pace_ns, probes_ns, used, times: times.into_iter().collect() }
    }

    /// Another order for each round, so that no case always follows the same one.
    fn shuffle(&mut self, order: &mut [usize]) {
        for last in (1..order.len()).rev() {
            order.swap(last, (self.random.next() % (last as u64 + 1)) as usize);
        }
    }
}

/// A time to a thousandth.
fn coarse(ns: u64) -> u64 {
    let mut step = 1;
    while ns / step >= EXACT_BELOW_NS {
        step *= 2;
    }
    ns / step * step
}

#[cfg(test)]
mod tests {
    use super::coarse;

    #[test]
    fn times_are_told_exactly_below_2048_ns_and_to_a_thousandth_above() {
        assert!((0..2048).all(|ns| coarse(ns) == ns));
        for ns in [2049, 12_345, 1_234_567, 98_765_432_123] {
            assert!(coarse(ns) <= ns && coarse(ns) as f64 > ns as f64 * 0.999, "{ns}: {}", coarse(ns));
        }
    }
}
