//! Every interleaving of the ring protocols, and every value that a weakly ordered machine may load, by loom.
//!
//! The files of the protocols are compiled here from `src`, unchanged, over loom's atomics: what is checked is the code
//! that ships. In place of mappings, bells, futexes and membarriers stand [`memory`],
//! [`kernel`] and [`barrier`]. Run all models with
//!
//! ```text
//! RUSTFLAGS="--cfg loom" cargo test --release --test loom models -- --nocapture
//! ```
//!
//! which says of each how many executions it took, or one of them by its name in place of `models`. Each limits the
//! preemptions of its threads; `LOOM_MAX_PREEMPTIONS=4` sets another limit for all. `LOOM_LOG=trace LOOM_LOCATION=1`
//! show the failing execution. `scripts/mutate.py` breaks the protocols in one place after another and sees the models
//! fail.
//!
//! What stands for what:
//!
//! - The ring has four granules of 1024 bytes. Where consumers gate, each granule has an `UnsafeCell` by which loom
//!   reports every access that races: a read before publication, an overwrite before the bytes are given back. Where
//!   readers race by design (evicted ones), words are relaxed atomics, and what was read is compared.
//! - A bell and a futex are a lock and a condition variable, as in the kernel; who sleeps on a bell polls it or watches
//!   it for its edges. A wake-up that is lost is a deadlock, which loom reports.
//! - loom treats a `SeqCst` access as `AcqRel`; there is none in the protocols, which use `SeqCst` fences, and those
//!   loom models.
//! - A socket's message is a happens-before edge: a consumer that is told its start runs in the thread that joined it.

#![cfg(loom)]
#![allow(dead_code, reason = "what only the library uses of the files below")]
#![allow(unreachable_pub, reason = "what the files below hand to lib.rs")]

#[path = "../../src/crash.rs"]
mod crash;
#[path = "../../src/error.rs"]
mod error;
#[path = "../../src/layout.rs"]
mod layout;
#[path = "../../src/publisher.rs"]
mod publisher;
#[path = "../../src/ring/mod.rs"]
mod ring;
#[path = "../../src/roster.rs"]
#[rustfmt::skip] // it would look for the file of unit tests in the wrong place
mod roster;
#[path = "../../src/sync.rs"]
mod sync;
#[path = "../../src/wake.rs"]
#[rustfmt::skip] // as above
mod wake;

mod barrier;
mod ends;
mod kernel;
mod memory;
mod models;

/// What the protocols take of session frames.
mod frame {
    /// Where a consumer begins.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) enum Start {
        Latest,
        Oldest,
    }

    /// How a sleeper and its waker order their looks at each other.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) enum Barrier {
        Fence,
        Asymmetric,
    }
}
