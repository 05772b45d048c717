//! What runs before this one have left behind because they were killed: files that are named after them, in memory and
//! in the folder of temporary files.

use std::path::Path;

/// What the names of a run's files begin with, up to the number of its process.
pub(crate) const RUN: &str = "ipcbench-";

/// Removes the files of runs whose processes have gone.
pub(crate) fn sweep() {
    sweep_in(Path::new("/dev/shm"));
    sweep_in(&std::env::temp_dir());
}

fn sweep_in(folder: &Path) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let is_left = name.to_str().and_then(process_of).is_some_and(|pid| !Path::new("/proc").join(pid).exists());
        if is_left && entry.file_type().is_ok_and(|kind| kind.is_file()) {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

/// The number of the process whose run the file is of: `ipcbench-PID-RESTART` is followed by what a contender adds.
fn process_of(name: &str) -> Option<&str> {
    let mut words = name.strip_prefix(RUN)?.split('-');
    let (pid, restart) = (words.next()?, words.next()?);
    let is_number = |word: &str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit());
    (is_number(pid) && is_number(restart) && words.next().is_some()).then_some(pid)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::tests::Made;

    #[test]
    fn files_of_runs_that_have_gone_are_removed_and_no_others() {
        let made = Made::new("sweep");
        let (own, gone) = (std::process::id(), u32::MAX);
        let kept = [format!("ipcbench-{own}-0-ring"), format!("ipcbench-{gone}-ring"), "ipcbench-x-0-ring".to_owned()];
        let left = [format!("ipcbench-{gone}-0-ring"), format!("ipcbench-{gone}-12-a-b")];
        kept.iter().chain(&left).for_each(|name| made.file(name, ""));
        made.file(&format!("ipcbench-{gone}-0-folder/file"), "");
        sweep_in(&made.0);
        assert!(kept.iter().all(|name| made.0.join(name).exists()));
        assert!(made.0.join(format!("ipcbench-{gone}-0-folder/file")).exists());
        assert!(left.iter().all(|name| !made.0.join(name).exists()));
    }
}
