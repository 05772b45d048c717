#!/usr/bin/env python3
"""Plants a slowdown in `Reservation::commit`, and sees whether `ipcbench ab` finds it, and nothing where there is none.

    scripts/slowdown.py --build             builds what is measured: nothing is built after that
    scripts/slowdown.py                     3 %, on the producer's cost of a record: a minute and a half
    scripts/slowdown.py --same 20           HEAD with itself 20 times, on a dozen rows: eight minutes
    scripts/slowdown.py --same 20 --within 80     at most 80 seconds of that: called again, it goes on
    scripts/slowdown.py --fresh …           forgets what it has measured before

It takes a quiet machine, and gives no wrong verdict on another: rows whose control differs say nothing. What was
measured is kept in target/slowdown for each commit, so that a part that was cut off or killed costs one restart of some
seconds. The sources are left as they are: both planted revisions are commits that no branch has.

The exit status is 0 if what was planted was found, or if nothing was planted and each time no difference was found; 1 if
not; 3 if it is not finished and nothing speaks against it so far.

What is planted measures itself: one record in 2048 waits for a share of the time that the 2047 before it have taken. The
revision that it is compared with has the same code with a share of 0, so that nothing but the wait differs.
"""

import argparse
import ctypes
import pathlib
import shutil
import signal
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
STATE = ROOT / "target" / "slowdown"
WHERE = "src/producer/reservation.rs"
BEFORE = """    pub fn commit(self) -> u64 {
        let end = self.claim.end();
"""
PLANTED = (
    BEFORE
    + """        static COMMITS: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let commits = COMMITS.load(std::sync::atomic::Ordering::Relaxed).wrapping_add(1);
        COMMITS.store(commits, std::sync::atomic::Ordering::Relaxed);
        if commits.is_multiple_of(2048) {
            planted_wait();
        }
"""
)
FUNCTION = """
/// Waits for a share of the time that the records since the last wait have taken.
#[cold]
#[inline(never)]
fn planted_wait() {
    use std::time::{Duration, Instant};
    static LAST: std::sync::Mutex<Option<(Instant, Duration)>> = std::sync::Mutex::new(None);
    let now = Instant::now();
    let mut last = LAST.lock().unwrap();
    let passed = last.map(|(ended, _)| now - ended);
    // Longer than that it was another slice in between.
    let span = passed.filter(|passed| *passed < Duration::from_millis(1)).or(last.map(|(_, span)| span));
    let span = span.unwrap_or_default();
    while now.elapsed() < span.mul_f64(SHARE) {}
    *last = Some((Instant::now(), span));
}
"""
MEASURED = ["--measure", "producers-cost", "--contender", "fdring reserve, 1 → 1"]
# Rates, times with their tails, and costs: few rows, so that each restart has slices enough of all.
SOME = ["--measure", "one-way", "--measure", "round-trip", "--measure", "producers-cost", "--bytes", "56,64"]
SOME += ["--contender", "fdring slices of 32, in place", "--contender", "fdring reserve, 1 → 1"]
SOME += ["--contender", "fdring in place"]
INTERRUPTED = "The comparison was interrupted after "
# What a part may take to end once it is told to, in seconds.
ENDING = 5
UNFINISHED = 3


def run(*command, **options):
    return subprocess.run(command, cwd=ROOT, check=True, text=True, **options)


def end_with_parent():
    """Has the kernel end this process when its parent is killed: nothing may go on measuring alone, see prctl(2)."""
    set_death_signal = 1
    ctypes.CDLL(None).prctl(set_death_signal, signal.SIGTERM)


def said(*command):
    return run(*command, stdout=subprocess.PIPE).stdout.strip()


def plant(share):
    """A commit on top of HEAD whose commits wait for that share; the same one each time."""
    head = said("git", "rev-parse", "HEAD")
    note = STATE / f"planted-{head}-{share}"
    if note.exists():
        return note.read_text().strip()
    STATE.mkdir(parents=True, exist_ok=True)
    tree = STATE / "tree"
    subprocess.run(["git", "worktree", "remove", "--force", str(tree)], cwd=ROOT, capture_output=True)
    run("git", "worktree", "add", "--quiet", "--force", "--detach", str(tree), "HEAD")
    try:
        path = tree / WHERE
        text = path.read_text()
        if text.count(BEFORE) != 1:
            sys.exit(f"{WHERE} does not begin its commit as this script knows it; mend BEFORE")
        path.write_text(text.replace(BEFORE, PLANTED) + FUNCTION.replace("SHARE", f"{share:.4f}"))
        git = ["git", "-C", str(tree), "-c", "user.name=slowdown", "-c", "user.email=slowdown@localhost"]
        run(*git, "commit", "--quiet", "--no-verify", "--all", "--message", f"A planted slowdown of {share}")
        commit = said("git", "-C", str(tree), "rev-parse", "HEAD")
    finally:
        run("git", "worktree", "remove", "--force", str(tree))
    note.write_text(commit)
    return commit


class Comparison:
    """Two revisions, compared by the `ipcbench` of HEAD; what it has measured is kept."""

    def __init__(self, revisions, name, rows, seconds, restarts):
        self.folder = STATE / f"{name}-{revisions[0][:12]}-{revisions[1][:12]}-{seconds}s-{restarts}"
        self.command = ["ab", *revisions, *rows, "--seconds", seconds, "--restarts", restarts]
        self.output = self.folder / "output"

    def build(self):
        run(*tool(), *self.command, "--try", stdout=subprocess.DEVNULL)

    def lines(self, until):
        """What it says; `None` if there was no time to finish."""
        if self.output.exists():
            return self.output.read_text().splitlines()
        left = None if until is None else until - time.monotonic()
        if left is not None and left < ENDING:
            return None
        command = [*tool(), *self.command, "--keep", str(self.folder)]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        process = subprocess.Popen(command, cwd=ROOT, text=True, preexec_fn=end_with_parent, **pipes)
        try:
            output, errors = process.communicate(timeout=None if left is None else left - ENDING)
        except subprocess.TimeoutExpired:
            process.terminate()
            output, errors = process.communicate()
        if INTERRUPTED in output:
            return None
        if process.returncode not in (0, 1) or " rows: " not in output:
            sys.exit(f"ipcbench failed: {errors.strip() or output.strip()}")
        self.output.write_text(output)
        return output.splitlines()


def tool():
    """The `ipcbench` of HEAD, which is built once: nothing may be built while something is measured."""
    head = said("git", "rev-parse", "HEAD")
    binary = ROOT / "target" / "ab" / f"ipcbench-{head}"
    if not binary.exists():
        print("building ipcbench", flush=True)
        run("cargo", "build", "--quiet", "--release", "--locked", "--package", "ipcbench", "--bin", "ipcbench")
        binary.parent.mkdir(parents=True, exist_ok=True)
        if said("git", "status", "--porcelain", "--untracked-files=no"):
            # What is built of changed sources is none of HEAD's.
            return [ROOT / "target" / "release" / "ipcbench"]
        shutil.copy(ROOT / "target" / "release" / "ipcbench", binary)
    return [binary]


def same(times, seconds, restarts, until, only_build):
    """Compares HEAD with itself so often."""
    head = said("git", "rev-parse", "HEAD")
    others = 0
    for number in range(1, times + 1):
        comparison = Comparison([head, head], f"same-{number}", SOME, seconds, restarts)
        if only_build:
            comparison.build()
            return 0
        lines = comparison.lines(until)
        if lines is None:
            print(f"{number - 1} of {times} are finished, no difference in {number - 1 - others}; call it again to go on")
            return 1 if others else UNFINISHED
        differ = [line for line in lines if line.endswith(("SLOWER", "quicker"))]
        is_same = lines[-1:] == ["no difference"] and not differ
        others += not is_same
        # Where others use the processors, too few slices count to say anything.
        outcome = "no difference" if is_same else "DIFFERS" if differ else "TOO LITTLE WAS MEASURED"
        rows = next(line for line in lines if " rows: " in line)
        print("\n".join([f"{number} of {times}: {outcome}; {rows.split('.')[0]}", *differ]), flush=True)
    print(f"no difference in {times - others} of {times}")
    return 1 if others else 0


def planted(percent, seconds, restarts, until, only_build):
    """Compares what waits for that share of its time with what waits for none."""
    revisions = [plant(0.0), plant(percent / 100)]
    comparison = Comparison(revisions, f"planted-{percent}", MEASURED, seconds, restarts)
    if only_build:
        comparison.build()
        return 0
    lines = comparison.lines(until)
    if lines is None:
        print("it is not finished; call it again to go on")
        return UNFINISHED
    print("\n".join(lines))
    # The machine's cores may be near in some restarts and far in others, which have a row each.
    rows = [line for line in lines if line.startswith("the producer's cost") and ", p99" not in line]
    found = any(row.endswith("SLOWER") for row in rows) and not any(row.endswith("quicker") for row in rows)
    print(f"{percent} % was planted, and it was {'found' if found else 'not found'}")
    return 0 if found else 1


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--percent", type=float, default=3.0, help="of what a record takes; 3 unless given")
    parser.add_argument("--same", type=int, metavar="TIMES", help="plant nothing; compare HEAD with itself so often")
    parser.add_argument("--seconds", help="of a comparison; 90 unless given, or 15 of each with --same")
    parser.add_argument("--restarts", help="of the second revision; 30 unless given, or 5 with --same")
    parser.add_argument("--within", type=float, metavar="SECONDS", help="end by then, and go on when called again")
    parser.add_argument("--build", action="store_true", help="only build what is measured, and try it")
    parser.add_argument("--fresh", action="store_true", help="forget what was measured before")
    options = parser.parse_args()
    if options.percent <= 0:
        parser.error("--percent takes a number above 0; --same plants nothing")
    if options.same is not None and options.same < 1:
        parser.error("--same takes a number of times from 1 on")
    if options.within is not None and options.within < 2 * ENDING:
        parser.error(f"--within takes {2 * ENDING} seconds or more")
    until = None if options.within is None else time.monotonic() + options.within
    if options.fresh:
        shutil.rmtree(STATE, ignore_errors=True)
    if options.same:
        return same(options.same, options.seconds or "15", options.restarts or "5", until, options.build)
    return planted(options.percent, options.seconds or "90", options.restarts or "30", until, options.build)


if __name__ == "__main__":
    sys.exit(main())
