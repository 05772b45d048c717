//! The barriers at work: of a sleeper and its waker at least one sees what the other has stored. Built without
//! optimization these tell a barrier from a fence on one side, with it also from a system call that fences nobody else.

use super::{heavy, heavy_within, light, register};
use crate::sync::Ordering::{Acquire, Relaxed, Release, SeqCst};
use crate::sync::{AtomicU64, fence};
use crate::test_support::isolated;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use std::hint::spin_loop;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// With a fence in place of the heavy barrier both sides miss each other in one round of 20 to 2,500.
const ROUNDS: u64 = 50_000;
/// Rounds take long if the machine is busy, and fewer do as well then.
const ROUNDS_MAX: Duration = Duration::from_secs(5);
/// What the waker writes before it publishes, in bytes: as many lines as a processor has stores on the way, about.
const PAYLOAD_BYTES: usize = 4096;
/// How many are written at once, by few instructions.
const FILL_BYTES: usize = 1024;
const LINE_BYTES: usize = 64;

/// A word on lines of its own.
#[derive(Debug, Default)]
#[repr(align(256))]
struct Word(AtomicU64);

#[derive(Debug, Default)]
struct Words {
    round: Word,
    done: Word,
    published: Word,
    epoch: Word,
    /// The epoch that the waker has seen.
    seen: Word,
}

/// Has what is written to `payload` next take its time, since its lines are in no cache: what is stored after that
/// becomes visible the later.
fn put_away(payload: &[u8]) {
    #[cfg(target_arch = "x86_64")]
    #[allow(unsafe_code, reason = "an instruction")]
    for line in payload.chunks(LINE_BYTES) {
        // SAFETY: it changes no byte, and the address is one of this process.
        unsafe { core::arch::x86_64::_mm_clflush(line.as_ptr()) };
    }
    std::hint::black_box(payload);
    fence(SeqCst);
}

/// Publishes in each round, and looks for the sleeper after the light half of the barrier.
fn wake(words: &Words) {
    let mut payload = vec![0; PAYLOAD_BYTES];
    for round in 1.. {
        let mut now = 0;
        while now < round {
            spin_loop();
            now = words.round.0.load(Acquire);
        }
        if now == u64::MAX {
            return;
        }
        put_away(&payload);
        words.epoch.0.load(Relaxed);
        (0..round * 5 % 16).for_each(|_| spin_loop());
        payload.chunks_mut(FILL_BYTES).for_each(|bytes| bytes.fill(round as u8));
        words.published.0.store(round, Release);
        light();
        words.seen.0.store(words.epoch.0.load(Relaxed), Relaxed);
        words.done.0.store(round, Release);
    }
}

/// In how many rounds the sleeper, `here`, sees no publication, and the waker, `there`, no sleeper.
fn missed(here: &CpuSet, there: &CpuSet, barrier: impl Fn()) -> u64 {
    let (words, mut missed) = (Words::default(), 0);
    std::thread::scope(|scope| {
        let waker = scope.spawn(|| {
            sched_setaffinity(None, there).unwrap();
            wake(&words);
        });
        let end = End(&words);
        sched_setaffinity(None, here).unwrap();
        let begin = Instant::now();
        for round in (1..=ROUNDS).take_while(|_| begin.elapsed() < ROUNDS_MAX) {
            words.round.0.store(round, Release);
            (0..round * 37 % 256).for_each(|_| spin_loop());
            words.epoch.0.store(round, Relaxed);
            barrier();
            let published = words.published.0.load(Relaxed);
            while words.done.0.load(Acquire) != round {
                assert!(!waker.is_finished());
            }
            missed += u64::from(published != round && words.seen.0.load(Relaxed) != round);
        }
        drop(end);
        waker.join().unwrap();
    });
    missed
}

/// Ends the waker, even if the sleeper panics.
struct End<'a>(&'a Words);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.round.0.store(u64::MAX, Release);
    }
}

#[test]
fn a_heavy_barrier_makes_up_for_the_light_one() {
    isolated("os::barrier::tests::a_heavy_barrier_makes_up_for_the_light_one", || {
        let Ok(allowed) = sched_getaffinity(None) else { return };
        let mut processors = (0..CpuSet::MAX_CPU).filter(|cpu| allowed.is_set(*cpu)).map(|cpu| {
            let mut one = CpuSet::new();
            one.set(cpu);
            one
        });
        let (Some(here), Some(there)) = (processors.next(), processors.next()) else { return };
        // In this order: no thread of this process may have ended before it, and another process must have run there
        // since it registered, see the gap of which `barrier.rs` tells.
        if register() {
            sched_setaffinity(None, &there).unwrap();
            let other = Command::new("/proc/self/exe").arg("--list").stdout(Stdio::null()).status();
            assert!(other.unwrap().success());
            assert_eq!(missed(&here, &there, heavy), 0, "by the barrier for all processes");
        }
        if heavy_within() {
            assert_eq!(missed(&here, &there, || assert!(heavy_within())), 0, "by the one within this process");
        }
    });
}
