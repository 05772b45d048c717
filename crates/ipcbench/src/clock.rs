//! Time: a clock that is quick to read and the same in both processes, and the round trips that it times.
#![allow(unsafe_code, reason = "the clock of the processor")]

/// A clock that is quick to read, and the same in both processes. What a tick is, is measured.
#[cfg(target_arch = "x86_64")]
#[inline]
pub fn ticks() -> u64 {
    let mut core = 0;
    // SAFETY: every 64-bit processor that still runs has the instruction; it writes to `core` only. It waits for the
    // loads before it, which a plain rdtsc does not.
    unsafe { core::arch::x86_64::__rdtscp(&mut core) }
}

/// A clock that is quick to read, and the same in both processes. What a tick is, is measured.
#[cfg(not(target_arch = "x86_64"))]
#[inline]
pub fn ticks() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// The length of a tick in nanoseconds, measured.
pub(crate) fn ns_per_tick() -> f64 {
    let (start, first) = (std::time::Instant::now(), ticks());
    while start.elapsed().as_millis() < 20 {}
    let (elapsed, last) = (start.elapsed(), ticks());
    elapsed.as_nanos() as f64 / (last - first) as f64
}

/// The times of a slice's round trips, in ticks.
#[derive(Debug)]
pub struct Laps {
    last: u64,
    pub(crate) times: Vec<u64>,
}

impl Laps {
    /// Room for `rounds` times; the first round begins now.
    pub(crate) fn new(rounds: usize) -> Self {
        let times = Vec::with_capacity(rounds);
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

    /// A time that was taken elsewhere.
    pub fn add(&mut self, ticks: u64) {
        self.times.push(ticks);
    }
}
