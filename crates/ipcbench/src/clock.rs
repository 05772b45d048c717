//! Time: a clock that is quick to read and the same in both processes, what a reading of it costs, and the laps that it
//! times.
#![allow(unsafe_code, reason = "the clock of the processor")]

use crate::stats::median_of;
use std::time::Instant;

/// A clock that is quick to read, and the same in both processes. What a tick is, is measured.
#[cfg(target_arch = "x86_64")]
#[inline]
pub fn ticks() -> u64 {
    let mut core = 0;
    // SAFETY: every 64-bit processor that still runs has the instruction; it writes to `core` only. It waits for the
    // loads before it, which a plain rdtsc does not.
    unsafe { core::arch::x86_64::__rdtscp(&mut core) }
}

/// A clock that is quick to read, and the same in both processes. A tick is a nanosecond.
#[cfg(not(target_arch = "x86_64"))]
#[inline]
pub fn ticks() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// How many empty laps are timed to find out what a reading costs.
const EMPTY_LAPS: usize = 20_000;
/// How often both clocks are read for one pair of times.
const CLOCK_READINGS: usize = 32;
/// A difference between readings is the clock's own if this number of the empty laps have it.
const COMMON_MIN: usize = EMPTY_LAPS / 200;

/// What was measured of [`ticks`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Clock {
    pub(crate) ns_per_tick: f64,
    /// The least by which two readings differ, in nanoseconds.
    pub(crate) step_ns: f64,
    /// What a lap takes in which nothing happens, in nanoseconds: it is subtracted from each.
    pub(crate) cost_ns: f64,
}

impl Clock {
    /// Measures the clock, in some 20 ms.
    pub(crate) fn measure() -> Self {
        let (start, first) = both();
        let mut laps = Laps::new(EMPTY_LAPS);
        laps.begin();
        (0..EMPTY_LAPS).for_each(|_| laps.end());
        while start.elapsed().as_millis() < 20 {}
        let (end, last) = both();
        let ns_per_tick = (end - start).as_nanos() as f64 / (last - first) as f64;
        let step = step_of(&laps.times);
        Self { ns_per_tick, step_ns: step as f64 * ns_per_tick, cost_ns: median_of(&laps.times, step) * ns_per_tick }
    }

    /// The step in ticks, at least 1.
    pub(crate) fn step(&self) -> u64 {
        ((self.step_ns / self.ns_per_tick).round() as u64).max(1)
    }

    /// The nanoseconds of a lap, without what reading the clock takes.
    pub(crate) fn lap_ns(&self, ticks: f64) -> f64 {
        (ticks * self.ns_per_tick - self.cost_ns).max(0.0)
    }
}

/// The time by both clocks at once: of several readings the one that took least, so that nothing came in between.
fn both() -> (Instant, u64) {
    let read = |_| {
        let (before, now, after) = (ticks(), Instant::now(), ticks());
        (after.saturating_sub(before), now, before.midpoint(after))
    };
    let (_, now, ticks) = (0..CLOCK_READINGS).map(read).min_by_key(|(took, ..)| *took).expect("some readings");
    (now, ticks)
}

/// The least difference between the laps that are common, in ticks.
fn step_of(laps: &[u64]) -> u64 {
    let mut sorted = laps.to_vec();
    sorted.sort_unstable();
    let common: Vec<u64> =
        sorted.chunk_by(|a, b| a == b).filter(|run| run.len() >= COMMON_MIN).map(|run| run[0]).collect();
    let gaps = common.windows(2).map(|pair| pair[1] - pair[0]);
    // Where all laps are equal, they are one step each.
    gaps.min().or(common.first().copied()).unwrap_or(1).max(1)
}

/// The times of a slice's rounds, in ticks.
#[derive(Debug)]
pub struct Laps {
    last: u64,
    pub(crate) times: Vec<u64>,
}

impl Laps {
    /// Room for `rounds` times; the first round begins now.
    pub(crate) fn new(rounds: usize) -> Self {
        // Written once, so that no page is touched for the first time while the clock runs.
        let mut times = vec![u64::MAX; rounds];
        times.clear();
        Self { last: ticks(), times }
    }

    /// A round begins: what came before is not counted.
    #[inline(always)]
    pub fn begin(&mut self) {
        self.last = ticks();
    }

    /// A round has ended, and the next begins.
    #[inline(always)]
    pub fn end(&mut self) {
        let now = ticks();
        self.times.push(now - self.last);
        self.last = now;
    }

    /// A time that was taken elsewhere, in ticks.
    pub fn add(&mut self, ticks: u64) {
        self.times.push(ticks);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_step_is_the_least_common_difference() {
        let laps = |values: &[(u64, usize)]| {
            let runs = values.iter().flat_map(|(value, count)| std::iter::repeat_n(*value, *count));
            runs.collect::<Vec<u64>>()
        };
        assert_eq!(step_of(&laps(&[(48, 15_000), (72, 4_990), (73, 10)])), 24, "a rare value is a disturbance");
        assert_eq!(step_of(&laps(&[(60, 10_000), (61, 10_000)])), 1);
        assert_eq!(step_of(&laps(&[(25, 20_000)])), 25, "all laps are one step");
    }

    #[test]
    fn an_empty_lap_takes_nothing() {
        let clock = Clock::measure();
        assert!(clock.ns_per_tick > 0.0 && clock.step_ns > 0.0 && clock.cost_ns > 0.0, "{clock:?}");
        assert_eq!(clock.lap_ns(clock.cost_ns / clock.ns_per_tick), 0.0);
        assert_eq!(clock.lap_ns(0.0), 0.0);
        let ticks = (clock.cost_ns + 100.0) / clock.ns_per_tick;
        assert!((clock.lap_ns(ticks) - 100.0).abs() < 0.01);
    }
}
