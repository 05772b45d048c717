//! The programs of `examples`, for tests that run them. Use it by `mod example;`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

/// The path of an example's program; built, unless the run that built this test has built it from these sources.
pub(crate) fn example(name: &str) -> PathBuf {
    static BUILD: Mutex<()> = Mutex::new(());
    let _one_at_a_time = BUILD.lock();
    let test = std::env::current_exe().unwrap(); // target/<profile>/deps/foreign-…
    let profile_dir = test.parent().unwrap().parent().unwrap();
    let path = profile_dir.join("examples").join(name);
    if !is_fresh(&path, name) {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["build", "--example", name, "--target-dir"]).arg(profile_dir.parent().unwrap());
        // The one that needs a feature has its name.
        cargo.args((name == "tokio").then_some("--features=tokio"));
        if profile_dir.ends_with("release") {
            cargo.arg("--release");
        }
        assert!(cargo.current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../..")).status().unwrap().success());
    }
    path
}

/// Whether the program exists and is newer than its source and the library's.
fn is_fresh(program: &Path, name: &str) -> bool {
    let changed = |path: &Path| fs::metadata(path).and_then(|found| found.modified());
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
    let (mut sources, mut dirs) = (vec![], vec![root.join("src")]);
    let folder = root.join("examples").join(name);
    if folder.is_dir() {
        dirs.push(folder)
    } else {
        sources.push(folder.with_extension("rs"))
    }
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
            if entry.file_type().unwrap().is_dir() { &mut dirs } else { &mut sources }.push(entry.path());
        }
    }
    changed(program).is_ok_and(|built| sources.iter().all(|source| changed(source).unwrap() < built))
}
