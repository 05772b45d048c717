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
    let binaries = [build(&root, revisions[0])?, build(&root, revisions[1])?];
    signals::heed();
    let mut reports: [Vec<Report>; 2] = Default::default();
    let seconds = options.seconds / (options.restarts * ROUND.len()) as f64;
    let path = root.join(format!("target/ab/run-{}.json", std::process::id()));
    for round in 1..=options.restarts {
        eprintln!("ipcbench: round {round} of {}", options.restarts);
        for side in ROUND {
            reports[side].push(measure(&binaries[side], seconds, &path, options)?);
        }
        if signals::was_interrupted() {
            println!("The comparison was interrupted after {round} rounds.");
            break;
        }
    }
    let [a, b] = &reports;
    let compared = compare(a, b);
    print!("{}", compare::text(&compared, revisions));
    Ok(if compare::has_regression(&compared) { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// One restart.
fn measure(binary: &Path, seconds: f64, path: &Path, options: &Options) -> Fallible<Report> {
    let mut command = Command::new(binary);
    command.args(["run", "--restarts", "1", "--seconds", &format!("{:.1}", seconds.max(0.6))]).arg("--json").arg(path);
    let output = command.args(&options.passed_on).stdout(Stdio::null()).output()?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{} failed: {}", binary.display(), said.trim()).into());
    }
    let report = compare::read(path);
    std::fs::remove_file(path)?;
    report
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
