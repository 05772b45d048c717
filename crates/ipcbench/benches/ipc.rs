//! `cargo bench --bench ipc`: the command `ipcbench`, by the shortest way. Without `--bench`, which `cargo bench` adds,
//! it only tries every contender once.

use std::process::ExitCode;

fn main() -> ExitCode {
    ipcbench::main(&ipcbench::Program::default())
}
