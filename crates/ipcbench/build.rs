//! Notes the commit and the compiler that the program is built from: every report says them.

use std::process::Command;

fn output(program: &str, args: &[&str]) -> Option<String> {
    let output = Command::new(program).args(args).output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn main() {
    let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    let compiler = output(&rustc, &["--version"]).unwrap_or_else(|| "unknown".to_owned());
    let commit = output("git", &["describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]);
    println!("cargo::rustc-env=IPCBENCH_COMPILER={compiler}");
    println!("cargo::rustc-env=IPCBENCH_COMMIT={}", commit.unwrap_or_else(|| "unknown".to_owned()));
    for sources in ["build.rs", "src", "../../src"] {
        println!("cargo::rerun-if-changed={sources}");
    }
    // Moved by each commit and checkout.
    if let Some(log) = output("git", &["rev-parse", "--git-path", "logs/HEAD"]) {
        println!("cargo::rerun-if-changed={log}");
    }
}
