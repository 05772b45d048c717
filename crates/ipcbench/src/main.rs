//! The command `ipcbench`: see the library's documentation.

use std::process::ExitCode;

fn main() -> ExitCode {
    ipcbench::main(&ipcbench::Program { command: "ipcbench", measures: true, ..ipcbench::Program::default() })
}
