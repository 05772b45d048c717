//! How far processors are apart, by trying: a cache line goes to and fro between two threads.

use crate::clock::{Clock, Laps};
use crate::distance::Class;
use crate::pair::pin;
use crate::stats::median_of;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// How many round trips a probe makes.
const ROUNDS: u64 = 2000;
/// Among more processors than this not all pairs are tried.
const PROCESSORS_MAX: usize = 16;

/// A word on cache lines of its own.
#[repr(align(128))]
struct Line(AtomicU64);

/// The time that a cache line takes there and back between two processors, in nanoseconds.
fn between(pair: [usize; 2], clock: &Clock) -> Result<f64, String> {
    let lines = [const { Line(AtomicU64::new(0)) }; 2];
    let (both, failed) = (Barrier::new(2), AtomicBool::new(false));
    let run = |core, mine: &Line, theirs: &Line, begins: bool| -> Result<Laps, String> {
        let pinned = pin(core);
        failed.fetch_or(pinned.is_err(), Ordering::Relaxed);
        both.wait();
        pinned?;
        if failed.load(Ordering::Relaxed) {
            // The other one says why, and answers nothing.
            return Ok(Laps::new(0));
        }
        let mut laps = Laps::new(ROUNDS as usize);
        for n in 1..=ROUNDS {
            if begins {
                mine.0.store(n, Ordering::Release);
            }
            while theirs.0.load(Ordering::Acquire) < n {
                std::hint::spin_loop();
            }
            if !begins {
                mine.0.store(n, Ordering::Release);
            }
            laps.end();
        }
        Ok(laps)
    };
    let [there, back] = &lines;
    let laps = std::thread::scope(|scope| {
        let answers = scope.spawn(|| run(pair[1], back, there, false));
        let begins = scope.spawn(|| run(pair[0], there, back, true));
        let [laps, answered] = [begins, answers].map(|thread| thread.join().expect("a probe does not panic"));
        answered.and(laps)
    })?;
    Ok(clock.lap_ns(median_of(&laps.times, clock.step())))
}

/// The times of all pairs of the first 16 of these processors.
///
/// # Errors
///
/// A sentence, where a thread cannot be kept on one of them.
pub(crate) fn all_pairs(cores: &[usize], clock: &Clock) -> Result<Vec<([usize; 2], f64)>, String> {
    let cores = &cores[..cores.len().min(PROCESSORS_MAX)];
    let pairs = cores.iter().enumerate().flat_map(|(index, a)| cores[index + 1..].iter().map(move |b| [*a, *b]));
    pairs.map(|pair| Ok((pair, between(pair, clock)?))).collect()
}

/// A line for each class of distance.
pub(crate) fn text(classes: &[Class]) -> String {
    let mut text = match classes.len() {
        1 => "The probes find one distance; a cache line there and back takes\n".to_owned(),
        count => format!("The probes find {count} distances; a cache line there and back takes\n"),
    };
    for class in classes {
        let pairs: Vec<String> = class.pairs.iter().map(|[a, b]| format!("{a}–{b}")).collect();
        text.push_str(&format!("  {:.0} to {:.0} ns: {}\n", class.low_ns, class.high_ns, pairs.join(", ")));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::allowed_cores;

    #[test]
    fn two_processors_are_some_nanoseconds_apart() {
        let cores = allowed_cores();
        let Some(pair) = cores.first_chunk::<2>() else { return };
        let times = all_pairs(pair, &Clock::measure()).unwrap();
        assert_eq!(times.len(), 1);
        assert!((1.0..1e6).contains(&times[0].1), "{times:?}");
        for cores in [[pair[0], 100_000], [1000, pair[0]]] {
            assert!(all_pairs(&cores, &Clock::measure()).unwrap_err().contains("could not be kept on processor 100"));
        }
    }
}
