#!/usr/bin/env python3
"""Plants a slowdown in `Reservation::commit`, and sees whether `ipcbench ab` finds it, and nothing where there is none.

    scripts/slowdown.py                     3 %, on the producer's cost of a record: two minutes and a half
    scripts/slowdown.py --percent 5 --seconds 180 --restarts 10
    scripts/slowdown.py --same 20           `ab HEAD HEAD` 20 times, on a dozen rows: nine minutes

The exit status is 0 if what was planted was found, or if nothing was planted and every time no difference was found.
The sources are left as they are: the slowdown is a commit that no branch has. It takes a quiet machine; what `ab`
builds first, once for each commit, comes on top.
"""

import argparse
import json
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
WHERE = "src/producer/reservation.rs"
BEFORE = """    pub fn commit(self) -> u64 {
        let end = self.claim.end();
"""
# One record in so many waits for all: so the wait is long beside what reading the clock costs.
ONE_IN = 2048
PLANTED = (
    BEFORE
    + """        static COMMITS: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let commits = COMMITS.load(std::sync::atomic::Ordering::Relaxed).wrapping_add(1);
        COMMITS.store(commits, std::sync::atomic::Ordering::Relaxed);
        if commits.is_multiple_of(ONE_IN) {
            let start = std::time::Instant::now();
            while start.elapsed() < std::time::Duration::from_nanos(WAIT_NS) {}
        }
"""
)
MEASURED = ["--measure", "producers-cost", "--contender", "fdring reserve, 1 → 1"]
# Rates, times with their tails, and costs: few rows, so that each restart has slices enough of all.
SOME = ["--measure", "one-way", "--measure", "round-trip", "--measure", "producers-cost", "--bytes", "56,64"]
SOME += ["--contender", "fdring slices of 32, in place", "--contender", "fdring reserve, 1 → 1"]
SOME += ["--contender", "fdring in place"]


def run(*command, **options):
    return subprocess.run(command, cwd=ROOT, check=True, text=True, **options)


def said(*command):
    return run(*command, stdout=subprocess.PIPE).stdout.strip()


def ipcbench(*arguments):
    return ["cargo", "run", "--quiet", "--release", "--package", "ipcbench", "--", *arguments]


def record_ns():
    """What a record takes now, in nanoseconds."""
    path = ROOT / "target" / "slowdown.json"
    run(*ipcbench("run", *MEASURED, "--seconds", "6", "--restarts", "3", "--json", str(path)), stdout=subprocess.DEVNULL)
    rows = json.loads(path.read_text())["figures"]
    path.unlink()
    row = max((row for row in rows if row["form"] == MEASURED[-1]), key=lambda row: row["slices"], default=None)
    if row is None:
        sys.exit("nothing was measured: every slice was disturbed; try again when it is quiet")
    return row["ns_median"]


def plant(wait_ns):
    """A commit on top of HEAD whose commits wait so long, one in ONE_IN."""
    tree = ROOT / "target" / "slowdown-tree"
    subprocess.run(["git", "worktree", "remove", "--force", str(tree)], cwd=ROOT, capture_output=True)
    run("git", "worktree", "add", "--quiet", "--force", "--detach", str(tree), "HEAD")
    try:
        path = tree / WHERE
        text = path.read_text()
        if BEFORE not in text:
            sys.exit(f"{WHERE} does not begin its commit as this script knows it; mend BEFORE")
        planted = PLANTED.replace("ONE_IN", str(ONE_IN)).replace("WAIT_NS", str(wait_ns))
        path.write_text(text.replace(BEFORE, planted, 1))
        git = ["git", "-C", str(tree), "-c", "user.name=slowdown", "-c", "user.email=slowdown@localhost"]
        run(*git, "commit", "--quiet", "--no-verify", "--all", "--message", "A planted slowdown of commit")
        return said("git", "-C", str(tree), "rev-parse", "HEAD")
    finally:
        run("git", "worktree", "remove", "--force", str(tree))


def same(times, seconds, restarts):
    """Compares HEAD with itself so often; how often it was not said that there is no difference."""
    others = 0
    for time in range(1, times + 1):
        command = ipcbench("ab", "HEAD", "HEAD", *SOME, "--seconds", seconds, "--restarts", restarts)
        compared = subprocess.run(command, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        lines = compared.stdout.splitlines()
        differ = [line for line in lines if line.endswith(("SLOWER", "quicker"))]
        is_same = compared.returncode == 0 and lines[-1:] == ["no difference"]
        others += not is_same
        # Where others use the processors, too few slices count to say anything.
        outcome = "no difference" if is_same else "DIFFERS" if differ else "TOO LITTLE WAS MEASURED"
        rows = next((line for line in lines if " rows: " in line), "no rows")
        print("\n".join([f"{time} of {times}: {outcome}; {rows.split('.')[0]}", *differ]), flush=True)
    print(f"no difference in {times - others} of {times}")
    return others


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--percent", type=float, default=3.0, help="of what a record takes; 3 unless given")
    parser.add_argument("--same", type=int, metavar="TIMES", help="plant nothing; compare HEAD with itself so often")
    parser.add_argument("--seconds", help="of a comparison; 120 unless given, or 15 of each with --same")
    parser.add_argument("--restarts", help="of the second revision; 10 unless given, or 5 with --same")
    options = parser.parse_args()
    if options.percent <= 0:
        parser.error("--percent takes a number above 0; --same plants nothing")
    if options.same:
        return 1 if same(options.same, options.seconds or "15", options.restarts or "5") else 0
    head = said("git", "rev-parse", "HEAD")
    ns = record_ns()
    wait_ns = round(ns * options.percent / 100 * ONE_IN)
    print(f"A record takes {ns:.2f} ns; one in {ONE_IN} waits for {wait_ns} ns.", flush=True)
    slow = plant(wait_ns)
    seconds, restarts = options.seconds or "120", options.restarts or "10"
    command = ipcbench("ab", head, slow, *MEASURED, "--seconds", seconds, "--restarts", restarts)
    compared = subprocess.run(command, cwd=ROOT, text=True, stdout=subprocess.PIPE)
    print(compared.stdout, end="")
    found = any(line.startswith("the producer's cost") and line.endswith("SLOWER") for line in compared.stdout.splitlines())
    print(f"{options.percent} % was planted, and it was {'found' if found else 'not found'}")
    return 0 if found and compared.returncode in (0, 1) else 1


if __name__ == "__main__":
    sys.exit(main())
