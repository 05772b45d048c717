//! Two revisions of the sources, measured in turn: each is built in a worktree of its own, and the first one has twice
//! as many restarts, for the control.

use crate::compare::{self, compare};
use crate::contender::Fallible;
use crate::options::Options;
use crate::report::json::Report;
use crate::signals;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

/// What stands for the sources as they lie there.
const AS_IT_IS: &str = ".";
/// In each round: the first revision, the second, and the first again.
const ROUND: [usize; 3] = [0, 1, 0];

/// Compares the second revision with the first.
///
/// # Errors
///
/// Where a revision cannot be built or run.
pub(crate) fn run(revisions: [&str; 2], options: &Options) -> Fallible<ExitCode> {
    let root = PathBuf::from(output(Command::new("git").args(["rev-parse", "--show-toplevel"]))?);
    if options.keep.is_some() && revisions.contains(&AS_IT_IS) {
        return Err("--keep takes two revisions, and not . for the sources as they are, which may have changed".into());
    }
    let binaries = [build(&root, revisions[0])?, build(&root, revisions[1])?];
    if benchmark_differs(&root, revisions)? {
        println!("warning: crates/ipcbench differs too: a change of the method counts as one of the library");
    }
    if options.tries {
        return try_both(&binaries, options);
    }
    signals::catch();
    let restarts = options.restarts * ROUND.len();
    let seconds = options.seconds / restarts as f64;
    let kept = options.keep.as_deref().map(|folder| Kept::open(folder, &binaries, options)).transpose()?;
    let path = root.join(format!("target/ab/run-{}.json", std::process::id()));
    let mut reports: [Vec<Report>; 2] = Default::default();
    for (number, side) in ROUND.into_iter().cycle().take(restarts).enumerate() {
        let report = match kept.as_ref().and_then(|kept| kept.read(number)) {
            Some(report) => report,
            None => {
                eprintln!("ipcbench: restart {} of {restarts}", number + 1);
                let measured = measure(&binaries[side], seconds, &path, options);
                if signals::was_interrupted() {
                    // A terminal has sent it to that run, too: what it brought is cut short, and left out.
                    let _ = std::fs::remove_file(&path);
                    let again = if kept.is_some() { "; the same command goes on there" } else { "" };
                    println!("The comparison was interrupted after {number} of {restarts} restarts{again}.");
                    break;
                }
                measured?;
                kept.as_ref().map_or_else(|| take(&path), |kept| kept.take(&path, number))?
            }
        };
        reports[side].push(report);
    }
    let [a, b] = &reports;
    let compared = compare(a, b);
    print!("{}", compare::text(&compared, revisions));
    Ok(if compare::has_regression(&compared) { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Whether the benchmark itself differs between the two: each is measured by its own.
fn benchmark_differs(root: &Path, revisions: [&str; 2]) -> Fallible<bool> {
    let named = revisions.into_iter().filter(|revision| *revision != AS_IT_IS);
    let mut command = git(root);
    command.args(["diff", "--quiet"]).args(named).args(["--", "crates/ipcbench"]);
    match command.status()?.code() {
        Some(0) => Ok(false),
        Some(1) => Ok(true),
        _ => Err("git could not compare the two benchmarks".into()),
    }
}

/// Where the reports of all restarts are kept, for a comparison that goes on later.
struct Kept(PathBuf);

impl Kept {
    /// Opens a folder; what it holds must be of the same comparison.
    fn open(folder: &Path, binaries: &[PathBuf; 2], options: &Options) -> Fallible<Self> {
        let cannot = |error: std::io::Error| format!("{} cannot be written: {error}", folder.display());
        std::fs::create_dir_all(folder).map_err(cannot)?;
        let [a, b] = binaries.each_ref().map(|binary| binary.display());
        let (seconds, restarts, options) = (options.seconds, options.restarts, options.passed_on.join(" "));
        let what = format!("{a} and {b}: {seconds} s, {restarts} restarts, {options}\n");
        let path = folder.join("comparison");
        match std::fs::read_to_string(&path) {
            Ok(before) if before != what => {
                let (folder, before) = (folder.display(), before.trim());
                Err(format!("{folder} holds another comparison ({before}); name another folder, or remove it").into())
            }
            Ok(_) => Ok(Self(folder.to_owned())),
            Err(_) => {
                std::fs::write(&path, what).map_err(cannot)?;
                Ok(Self(folder.to_owned()))
            }
        }
    }

    fn path(&self, number: usize) -> PathBuf {
        self.0.join(format!("restart-{number}.json"))
    }

    /// What that restart brought, if it was whole.
    fn read(&self, number: usize) -> Option<Report> {
        compare::read(&self.path(number)).ok()
    }

    /// Keeps what that restart has brought.
    fn take(&self, path: &Path, number: usize) -> Fallible<Report> {
        let kept = self.path(number);
        // The folder may lie on another file system.
        std::fs::copy(path, &kept).map_err(|error| format!("{} was not written: {error}", kept.display()))?;
        take(path)
    }
}

/// Runs every case of both revisions once.
fn try_both(binaries: &[PathBuf; 2], options: &Options) -> Fallible<ExitCode> {
    for binary in binaries {
        let status = Command::new(binary).args(["run", "--try"]).args(&options.passed_on).status()?;
        if !status.success() {
            return Err(format!("{} failed: {status}", binary.display()).into());
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Reads a report, whose file is removed.
fn take(path: &Path) -> Fallible<Report> {
    let report = compare::read(path);
    std::fs::remove_file(path)?;
    report
}

/// One restart; its report is written to `path`.
fn measure(binary: &Path, seconds: f64, path: &Path, options: &Options) -> Fallible {
    let mut command = Command::new(binary);
    command.args(["run", "--restarts", "1", "--seconds", &format!("{:.1}", seconds.max(0.6))]).arg("--json").arg(path);
    let output = command.args(&options.passed_on).stdout(Stdio::null()).output()?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{} failed: {}", binary.display(), said.trim()).into());
    }
    Ok(())
}

/// The command as it is at a revision; built unless it was before.
fn build(root: &Path, revision: &str) -> Fallible<PathBuf> {
    let folder = root.join("target/ab");
    std::fs::create_dir_all(&folder)?;
    if revision == AS_IT_IS {
        return build_in(root, &folder, &folder.join("ipcbench-as-it-is"));
    }
    let commit = format!("{revision}^{{commit}}");
    let commit = output(git(root).args(["rev-parse", "--verify", "--quiet", &commit]))
        .map_err(|_| format!("there is no revision {revision}"))?;
    let binary = folder.join(format!("ipcbench-{commit}"));
    if binary.exists() {
        return Ok(binary);
    }
    let tree = folder.join(format!("tree-{commit}"));
    // One may be left of a build that was killed.
    let _ = output(git(root).args(["worktree", "remove", "--force"]).arg(&tree));
    output(git(root).args(["worktree", "add", "--force", "--detach"]).arg(&tree).arg(&commit))?;
    let built = build_in(&tree, &folder, &binary);
    output(git(root).args(["worktree", "remove", "--force"]).arg(&tree))?;
    built
}

fn build_in(tree: &Path, folder: &Path, binary: &Path) -> Fallible<PathBuf> {
    eprintln!("ipcbench: building {}", binary.display());
    let target = folder.join("build");
    let mut command = Command::new("cargo");
    command.args(["build", "--quiet", "--release", "--locked", "--package", "ipcbench", "--bin", "ipcbench"]);
    let status = command.current_dir(tree).env("CARGO_TARGET_DIR", &target).status()?;
    if !status.success() {
        return Err(format!("ipcbench could not be built in {}", tree.display()).into());
    }
    std::fs::copy(target.join("release/ipcbench"), binary)?;
    Ok(binary.to_owned())
}

fn git(root: &Path) -> Command {
    let mut command = Command::new("git");
    command.current_dir(root);
    command
}

/// What a command says.
fn output(command: &mut Command) -> Fallible<String> {
    let output = command.stdin(Stdio::null()).output()?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{} failed: {}", command.get_program().display(), said.trim()).into());
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::tests::Made;

    #[test]
    fn a_benchmark_that_differs_is_seen() {
        let made = Made::new("ab");
        let commit = |text: &str, file: &str| {
            made.file(file, text);
            let names = ["-c", "user.name=test", "-c", "user.email=test@localhost"];
            output(git(&made.0).args(["add", "--all"])).unwrap();
            output(git(&made.0).args(names).args(["commit", "--quiet", "--no-verify", "--message", text])).unwrap();
            output(git(&made.0).args(["rev-parse", "HEAD"])).unwrap()
        };
        output(git(&made.0).args(["init", "--quiet"])).unwrap();
        let first = commit("one", "crates/ipcbench/method.rs");
        let library = commit("two", "src/lib.rs");
        let method = commit("three", "crates/ipcbench/method.rs");
        assert!(!benchmark_differs(&made.0, [&first, &library]).unwrap());
        assert!(benchmark_differs(&made.0, [&library, &method]).unwrap());
        assert!(!benchmark_differs(&made.0, [&method, AS_IT_IS]).unwrap());
        made.file("crates/ipcbench/method.rs", "four");
        assert!(benchmark_differs(&made.0, [&method, AS_IT_IS]).unwrap());
        assert!(benchmark_differs(&made.0, [&method, "nowhere"]).is_err());
    }
}
