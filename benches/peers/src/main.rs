//! How fast fdring is next to other libraries, in one run with the raw ring: see `crates/ipcbench`.
//!
//! Each file here is one library behind [`Contender`](ipcbench::Contender): the quickest way that it offers
//! between two processes that poll, with payloads written and read where they lie wherever it can. Nothing is lost in
//! any of them, as nothing is in fdring.

#[cfg(feature = "aeron")]
mod aeron;
mod iceoryx;
mod ipc_channel;
mod many;
mod ringfire;
mod shmem;
#[cfg(feature = "tachyon")]
mod tachyon;

use ipcbench::{Capability, ContenderKind, Program};
use std::process::ExitCode;

/// Why a form of a library has no part in a measure.
type Lacks = &'static [(Capability, &'static str)];

/// Where a library has the measures that a form of it does not have.
const ELSEWHERE: Lacks = &[
    (Capability::RoundTrip, ANOTHER),
    (Capability::Call, "only iceoryx2 has calls that differ from a record there and back"),
    (Capability::Asleep, ANOTHER),
    (Capability::FanOut, ANOTHER),
    (Capability::FanIn, ANOTHER),
    (Capability::Share, ANOTHER),
    (Capability::Lanes, ANOTHER),
    (Capability::ProducersCost, ANOTHER),
    (Capability::Connect, ANOTHER),
    (Capability::Descriptors, NO_DESCRIPTORS),
];

const ANOTHER: &str = "another form of it does, or says why not";
const NO_DESCRIPTORS: &str = "the library carries none of the program's descriptors";

/// What those can that poll and never sleep.
const POLLED: &[Capability] = &[Capability::OneWay, Capability::RoundTrip];

static CONTENDERS: &[ContenderKind] = &[
    iceoryx::DEFAULT,
    iceoryx::TUNED,
    iceoryx::CALL,
    iceoryx::ASLEEP,
    iceoryx::MANY,
    ringfire::EACH,
    ringfire::BATCHED,
    ringfire::ASLEEP,
    ringfire::MANY,
    shmem::EACH,
    shmem::BATCHED,
    shmem::ASLEEP,
    shmem::MANY,
    ipc_channel::KIND,
    ipc_channel::MANY,
    #[cfg(feature = "tachyon")]
    tachyon::EACH,
    #[cfg(feature = "tachyon")]
    tachyon::BATCHED,
    #[cfg(feature = "aeron")]
    aeron::KIND,
];

fn main() -> ExitCode {
    ipcbench::main(&Program {
        command: "cargo run --release --manifest-path benches/peers/Cargo.toml --",
        about: "Measures fdring between two processes, next to other libraries and to all that the benchmark of the \
                library itself has.",
        contenders: CONTENDERS,
        measures: true,
    })
}

/// A file through which the parent tells the child what only it knows.
fn note(run: &str, of: &str) -> std::path::PathBuf {
    std::env::temp_dir().join(format!("{run}-{of}"))
}
