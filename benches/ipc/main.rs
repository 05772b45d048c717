//! How fast fdring is, next to what shared memory allows and to what the kernel carries: see `harness/mod.rs`.

mod harness;

use std::process::ExitCode;

fn main() -> ExitCode {
    harness::main(&harness::Program {
        command: "cargo bench --bench ipc --",
        about: "Measures fdring between two processes, next to a raw ring in shared memory, a pipe, Unix sockets, and \
                queues between\nthreads. `benches/peers` measures it next to other libraries.",
        peers: &[],
    })
}
