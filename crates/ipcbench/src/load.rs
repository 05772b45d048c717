//! Open loop: records are due at times that are given beforehand, whether or not the ones before them have arrived.
//!
//! A round trip waits for its answer, so whatever holds one record up holds back the next, and is counted once. Here a
//! record that is late because the one before it was late counts as late: each is timed from when it was *due*. The
//! time when it was due is the record's number, which the receiver finds in the sum of its words.

use crate::clock::{Clock, Laps, ticks};
use crate::contender::Fallible;
use crate::payload::{NOT_WHAT_WAS_SENT, PING_BYTES, number_of};
use crate::shared::Shared;
use crate::stats::{Random, short};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::atomic::Ordering;

/// How long after the slice's beginning the first record may be due at the earliest, in nanoseconds: the receiver waits
/// by then.
const BEGINNING_NS: f64 = 20_000.0;
/// Who carries less than this share of an offered load cannot keep up with it.
const KEEPING_UP: f64 = 0.98;
/// A mean over random arrivals that is off by no more than this number of standard deviations means nothing.
const DEVIATIONS: f64 = 5.0;
/// More ticks than any slice takes: a minute and a half at 3 GHz.
const SLICE_TICKS_MAX: u64 = 1 << 38;
/// How many records are due at once in a burst.
pub(crate) const BURST: u64 = 32;

/// When records are due.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Arrivals {
    /// Each by itself, as from many users who know nothing of each other.
    Poisson,
    /// One after the other, at equal distances.
    Even,
    /// [`BURST`] at once, at equal distances.
    Burst,
}

/// A rate at which records are due.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Load {
    /// Records a second.
    pub(crate) rate: u32,
    pub(crate) arrivals: Arrivals,
}

impl Load {
    /// What is measured unless the user asks for something else.
    pub(crate) const RATES: [u32; 3] = [10_000, 100_000, 1_000_000];

    pub(crate) fn mean_gap_ns(self) -> f64 {
        1e9 / f64::from(self.rate)
    }

    /// The fewest records of a slice, and what their number is a multiple of: whole bursts.
    pub(crate) fn step(self) -> u64 {
        if self.arrivals == Arrivals::Burst { BURST } else { 16 }
    }

    /// What a record takes in a slice of that number, by how long the slice took, without the wait at its beginning. It
    /// cannot be less than the distance at which they are due.
    pub(crate) fn pace_ns(self, elapsed_ns: f64, records: u64) -> f64 {
        ((elapsed_ns - BEGINNING_NS) / records as f64).max(self.mean_gap_ns())
    }

    /// Whether a median pace over slices with `records` altogether is too slow for it: more than by chance.
    pub(crate) fn is_too_much_for(self, pace_ns: f64, records: u64) -> bool {
        let by_chance = if self.arrivals == Arrivals::Poisson { DEVIATIONS / (records as f64).sqrt() } else { 0.0 };
        self.mean_gap_ns() / pace_ns < KEEPING_UP - by_chance
    }

    /// How long after the one before it record `n` is due, in nanoseconds.
    fn gap_ns(self, n: u64, random: &mut Random) -> f64 {
        match self.arrivals {
            Arrivals::Burst if n == 0 => 0.0,
            Arrivals::Poisson => -random.share().ln() * self.mean_gap_ns(),
            Arrivals::Even => self.mean_gap_ns(),
            Arrivals::Burst if n.is_multiple_of(BURST) => self.mean_gap_ns() * BURST as f64,
            Arrivals::Burst => 0.0,
        }
    }

    /// The sender's half: `send` sends a record of a number.
    pub(crate) fn send(self, clock: &Clock, records: u64, mut send: impl FnMut(u64) -> Fallible) -> Fallible {
        let start = ticks();
        let mut random = Random::new(start);
        let mut due_ns = BEGINNING_NS;
        for n in 0..records {
            due_ns += self.gap_ns(n, &mut random);
            let due = start + (due_ns / clock.ns_per_tick) as u64;
            while ticks() < due {
                std::hint::spin_loop();
            }
            send(due)?;
        }
        Ok(())
    }

    /// The receiver's half: `receive` waits for a record and says its sum. The times are told through shared memory.
    pub(crate) fn receive(shared: &Shared, records: u64, mut receive: impl FnMut() -> Fallible<u64>) -> Fallible {
        for n in 0..records {
            let due = number_of(PING_BYTES, receive()?);
            let now = ticks();
            // Anything else than a time of this slice is no record of it: it would pass for one that took no time.
            if now.abs_diff(due) > SLICE_TICKS_MAX {
                return Err(NOT_WHAT_WAS_SENT.into());
            }
            shared.latency(n as usize).store(now.saturating_sub(due), Ordering::Relaxed);
        }
        Ok(())
    }

    /// Takes over what the receiver told.
    pub(crate) fn collect(shared: &Shared, records: u64, laps: &mut Laps) {
        (0..records as usize).for_each(|n| laps.add(shared.latency(n).load(Ordering::Relaxed)));
    }
}

/// A rate as people write it.
pub(crate) fn rate_name(rate: f64) -> String {
    let shorter = |value: f64| short(value).trim_end_matches('0').trim_end_matches('.').to_owned();
    match rate {
        rate if rate >= 1e6 => format!("{} M/s", shorter(rate / 1e6)),
        rate if rate >= 1e5 => format!("{:.0} k/s", rate / 1e3),
        rate if rate >= 1e3 => format!("{} k/s", shorter(rate / 1e3)),
        rate => format!("{rate:.0} /s"),
    }
}

impl fmt::Display for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&rate_name(f64::from(self.rate)))?;
        f.write_str(match self.arrivals {
            Arrivals::Poisson => ", Poisson",
            Arrivals::Even => ", even",
            Arrivals::Burst => ", bursts of 32",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gaps(arrivals: Arrivals) -> Vec<f64> {
        let (load, mut random) = (Load { rate: 1_000_000, arrivals }, Random::new(7));
        (0..100_000).map(|n| load.gap_ns(n, &mut random)).collect()
    }

    #[test]
    fn records_are_due_at_the_rate_that_was_asked_for() {
        for arrivals in [Arrivals::Poisson, Arrivals::Even, Arrivals::Burst] {
            let mean = gaps(arrivals).iter().sum::<f64>() / 1e5;
            assert!((mean / 1000.0 - 1.0).abs() < 0.02, "{arrivals:?}: {mean} ns apart");
        }
    }

    #[test]
    fn poisson_arrivals_have_exponential_gaps() {
        let gaps = gaps(Arrivals::Poisson);
        for multiple in [0.1, 1.0, 3.0] {
            let longer = gaps.iter().filter(|gap| **gap > multiple * 1000.0).count() as f64 / 1e5;
            assert!((longer - (-multiple).exp()).abs() < 0.01, "{longer} are longer than {multiple} means");
        }
    }

    #[test]
    fn bursts_are_due_at_once() {
        let gaps = gaps(Arrivals::Burst);
        assert!(gaps[..32].iter().all(|gap| *gap == 0.0));
        assert_eq!(gaps[32], 32_000.0);
        assert_eq!(Load { rate: 1, arrivals: Arrivals::Burst }.step(), BURST, "whole bursts");
    }

    #[test]
    fn who_is_a_little_too_slow_is_seen_and_chance_is_not() {
        let load = Load { rate: 1_000_000, arrivals: Arrivals::Even };
        assert_eq!(load.pace_ns(2_020_000.0, 2000), 1000.0, "the beginning is no work");
        assert_eq!(load.pace_ns(30_000.0, 32), 1000.0, "nobody is quicker than what is due");
        assert!(load.is_too_much_for(1030.0, 100_000) && !load.is_too_much_for(1010.0, 100_000));
        let poisson = Load { arrivals: Arrivals::Poisson, ..load };
        assert!(poisson.is_too_much_for(1100.0, 100_000) && !poisson.is_too_much_for(1100.0, 1000));
    }

    #[test]
    fn loads_are_called_by_their_rate() {
        let name = |rate| Load { rate, arrivals: Arrivals::Even }.to_string();
        assert_eq!(name(1_000_000), "1 M/s, even");
        assert_eq!(name(1_500_000), "1.5 M/s, even");
        assert_eq!(name(10_000), "10 k/s, even");
        assert_eq!(name(250_000), "250 k/s, even");
        assert_eq!(name(20), "20 /s, even");
        assert_eq!(name(100_000), "100 k/s, even");
        assert_eq!(name(1_000), "1 k/s, even");
    }
}
