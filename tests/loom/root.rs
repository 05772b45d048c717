//! Every interleaving of the ring protocols, and every value that a weakly ordered machine may load, by loom.
//!
//! The files of the protocols are compiled here from `src`, unchanged, over loom's atomics: what is checked is the code
//! that ships, and the folder `ring` as a whole. In place of mappings stands [`memory`], in place of system calls
//! [`os`]. Run all models with
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
//!   reports every access that races: a read before publication, an overwrite before the bytes are released. Where
//!   readers race by design (evicted ones), words are relaxed atomics, and what was read is compared.
//! - A consumer's descriptor and a futex are a lock and a condition variable each, as in the kernel; a consumer waits
//!   on its descriptor itself, or arms it and waits elsewhere, for its level or for its edges. A lost wake-up is a
//!   deadlock, which loom reports.
//! - loom treats a `SeqCst` access as `AcqRel`; there is none in the protocols, which use `SeqCst` fences, and those
//!   loom models.
//! - A socket's message is a happens-before edge: a consumer that is told its start runs in the thread that joined it.

#![cfg(loom)]
#![allow(dead_code, reason = "what only the library uses of the files below")]
#![allow(unreachable_pub, reason = "what the files below hand to lib.rs")]

#[path = "../../src/deadline.rs"]
mod deadline;
#[path = "../../src/error.rs"]
mod error;
#[path = "../../src/kind.rs"]
mod kind;
#[path = "../../src/layout.rs"]
mod layout;
#[path = "../../src/ring/mod.rs"]
mod ring;
#[path = "../../src/terms.rs"]
mod terms;

mod ends;
mod memory;
mod models;
mod os;
mod sync;
