#!/usr/bin/env python3
"""Runs every proof that the project has, and says in one table what ran and what came of it.

    scripts/prove.py              the short form: a few minutes
    scripts/prove.py --long       the long form: hours; everything deeper, and what only it runs
    scripts/prove.py STEP...      only these steps
    scripts/prove.py --long --hours 1 tests    all tests in their long form, with an hour of the soak
    scripts/prove.py --without STEP   all but this one, for a caller that runs it elsewhere
    scripts/prove.py --list       the steps

In the long form taps read at full speed for two minutes, a task takes five million records beside a timer, and a
collector has 2,000 clients: TESTS_LONG has each variable, which can be set by hand for `cargo test` too.

The output of each step is in target/prove/STEP.log, and shown where it fails. The exit status is 1 if anything fails.
What the toolchain or the machine at hand cannot do is a row that says so, and no failure.
"""

import argparse
import os
import pathlib
import re
import shutil
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
LOGS = ROOT / "target" / "prove"
COLUMNS = ["proof", "cases", "executions", "kills", "states", "seconds", "outcome"]
# So much of the output of a step that fails is shown.
TAIL_LINES = 120
# So many cases of each property: proptest's own default, and far more.
PROPERTY_CASES = {False: 256, True: 10_000}
FUZZ_SECONDS = {False: 5, True: 1200}
# For tests that go on as long as they are told, in the long form: how often they kill at each step, for how many
# seconds at random times, for how many seconds taps read at full speed, how many records a task selects beside a timer,
# and how many clients come to a collector.
TESTS_LONG = {"FDRING_CRASH_ROUNDS": "20", "FDRING_SOAK_SECONDS": "600", "FDRING_TAP_SECONDS": "120",
              "FDRING_SELECT_RECORDS": "5000000", "FDRING_CLIENTS": "2000"}
# What `--hours` says of the soak.
SOAK = {}
# What prints a line that begins with "proof: " and its name, and where it is.
KILLERS = {"crash points": "tests/crash_points.rs", "soak": "tests/soak.rs", "succession": "tests/soak.rs",
           "endpoints": "tests/soak.rs", "feed": "tests/feed.rs"}


class Run:
    """One command of a step, its output in a log."""

    def __init__(self, step, command, env=None):
        print(f"=== {step}: {' '.join(command)}", flush=True)
        self.path, begin = LOGS / f"{step}.log", time.monotonic()
        with open(self.path, "w") as log:
            environment = os.environ | {"CARGO_TERM_COLOR": "never"} | (env or {})
            self.status = subprocess.run(command, cwd=ROOT, env=environment, stdout=log, stderr=log).returncode
        self.seconds = time.monotonic() - begin
        self.text = self.path.read_text(errors="replace")
        if self.status:
            # What failed, where the test harness says so; else what was said last.
            failures = re.findall(r"^failures:\n\n---- .*?^test result: FAILED.*?$", self.text, re.MULTILINE | re.DOTALL)
            print("\n".join(failures) or "\n".join(self.text.splitlines()[-TAIL_LINES:]))
            print(f"=== {step} FAILED with exit status {self.status}; all of it is in {self.path}", flush=True)

    def outcome(self):
        return "passed" if self.status == 0 else "FAILED"

    def row(self, proof, **cells):
        return {"proof": proof, "seconds": f"{self.seconds:.0f}", "outcome": self.outcome()} | cells


def skipped(proof, reason):
    print(f"=== {proof}: {reason}", flush=True)
    return [{"proof": proof, "outcome": f"not run: {reason}"}]


def properties():
    """The names of the tests inside of `proptest!`, as the sources have them."""
    names = set()
    for source in (ROOT / "src").rglob("*.rs"):
        # Such a block ends with the first brace that stands where its beginning does.
        blocks = re.findall(r"^( *)proptest! \{$(.*?)^\1\}$", source.read_text(), re.MULTILINE | re.DOTALL)
        for _, block in blocks:
            names.update(re.findall(r"#\[test\]\s+fn (\w+)\(", block))
    assert names, "no properties are found; have they moved?"
    return names


def tests(long):
    """Every test, with the corpora, the properties, and the kills at every step: one run, and a row for each."""
    cases = PROPERTY_CASES[long]
    env = {"PROPTEST_CASES": str(cases)} | (TESTS_LONG if long else {}) | SOAK
    # Without those options it is the command of README.md; they show what tests print, which the rows are made of.
    command = ["cargo", "test", "--all-features", "--locked", "--no-fail-fast", "--", "--show-output"]
    run = Run("tests", command, env)
    passed = re.findall(r"^test (?:.*::)?(\w+)(?: - should panic)? \.\.\. ok$", run.text, re.MULTILINE)
    count = sum(int(count) for count in re.findall(r"^test result: .*? (\d+) passed;", run.text, re.MULTILINE))
    # The bodies of the other targets are in crates/fdring-fuzz and in fuzz, and no part of these tests.
    bodies = {path.stem for path in (ROOT / "src" / "fuzzing").glob("*.rs")}
    named, targets = properties(), bodies & {path.stem for path in (ROOT / "fuzz" / "fuzz_targets").glob("*.rs")}
    replayed = set(re.findall(r"^test fuzzing::replay::(\w+) \.\.\. ok$", run.text, re.MULTILINE))
    judge = lambda missing: f"FAILED: {', '.join(sorted(missing))}" if missing else "passed"
    inputs = set(re.findall(r"/fuzz/corpus/(\S+)$", run.text, re.MULTILINE))
    rows = [
        run.row("tests, by cargo test --all-features", cases=count),
        run.row(f"properties, {cases} cases of each of {len(named)}", cases=cases * len(named), seconds="",
                outcome=judge(named.difference(passed))),
        run.row(f"corpora of {len(targets)} fuzz targets, replayed by the tests", cases=len(inputs), seconds="",
                outcome=judge(targets - replayed)),
    ]
    proofs = re.findall(r"^proof: ([^|\n]+) \|(.*)$", run.text, re.MULTILINE)
    for name, rest in proofs:
        said = dict(pair.split() for pair in rest.split("|") if len(pair.split()) == 2)
        label = f"{name}: " + ", ".join(f"{what} {value}" for what, value in said.items())
        cases = said.get("runs", said.get("lives", ""))
        rows.append(run.row(label, cases=cases, kills=said.get("kills", ""), seconds="", outcome="passed"))
    for name in {name for name, path in KILLERS.items() if (ROOT / path).exists()} - {name for name, _ in proofs}:
        rows.append(run.row(name, seconds="", outcome="FAILED: it says nothing of what it did"))
    return rows


def models(long):
    """Every interleaving of the ring protocols, as far as each model goes."""
    env = {"RUSTFLAGS": "--cfg loom", "CARGO_TARGET_DIR": "target/loom"}
    command = ["cargo", "test", "--locked", "--release", "--test", "loom", "models", "--", "--nocapture"]
    run = Run("models", command, env)
    line = r"^(?:test .*\.\.\. )?models::(\w+)::(\w+): (\d+) executions of up to"
    explored = re.findall(line, run.text, re.MULTILINE)
    rows = []
    for group in sorted({group for group, *_ in explored}):
        states = [int(executions) for name, _, executions in explored if name == group]
        names = {model for name, model, _ in explored if name == group}
        rows.append(run.row(f"models of {group}", cases=len(names), states=sum(states), seconds=""))
    if rows:
        rows[0]["seconds"] = f"{run.seconds:.0f}"
    passed = re.search(r"^test result: .*? (\d+) passed;", run.text, re.MULTILINE)
    if run.status != 0 or passed is None or int(passed[1]) != sum(row["cases"] for row in rows):
        rows.append(run.row("models", outcome="FAILED: not every model passed and said what it explored", seconds=""))
    return rows


def orderings(long):
    """Whether each ordering and fence has a fault planted for it."""
    run = Run("orderings", ["scripts/mutate.py", "--check"])
    count = re.search(r"^(\d+) orderings", run.text, re.MULTILINE)
    return [run.row("orderings and fences with a fault each", cases=int(count[1]) if count else "")]


def faults(long):
    """Plants each fault, and sees a model or a test fail."""
    run = Run("faults", ["scripts/mutate.py"])
    count = re.search(r"^(\d+) faults, (\d+) not caught", run.text, re.MULTILINE)
    return [run.row("planted faults, each caught by a model or a test", cases=int(count[1]) if count else "")]


def fuzz(long):
    """Each fuzz target for a while; under AddressSanitizer in the long form."""
    if shutil.which("c++") is None:
        return skipped("fuzzers", "libFuzzer needs a C++ compiler")
    command = ["fuzz/run", "--all", "--seconds", str(FUZZ_SECONDS[long]), "--jobs", "2"] + ["--asan"] * long
    run = Run("fuzz", command)
    cell = r" *([^|\n]+?) *"
    table = re.findall(rf"^\|{cell}\|{cell}\|{cell}\|{cell}\|{cell}\|{cell}\|{cell}\|$", run.text, re.MULTILINE)
    rows = []
    for target, seconds, executions, _, coverage, _, crashes in table[2:]:
        outcome = "passed" if crashes == "0" else f"FAILED: {crashes}"
        name = f"fuzz target {target}, {coverage} edges"
        rows.append(run.row(name, executions=int(executions), seconds=seconds, outcome=outcome))
    return (rows or [run.row("fuzzers", outcome="FAILED: no table")]) + fuzz_commands(long)


def fuzz_commands(long):
    """What else fuzz/run does. What it says of a crash is seen where scripts/mutate.py plants one."""
    commands = {
        "a replay": (["frame_parse", "fuzz/corpus/frame_parse/bye"], "Executed .*bye"),
        "merge": (["merge", "frame_parse"], r"^\d+ inputs reach more than the seeds"),
    }
    if long:
        commands["coverage"] = (["coverage", "frame_parse"], r"^wire/mod\.rs .*100\.00%")
    rows = []
    for name, (arguments, said) in commands.items():
        run = Run(f"fuzz-{name.split()[-1]}", ["fuzz/run", *arguments])
        is_said = re.search(said, run.text, re.MULTILINE)
        rows.append(run.row(f"fuzz/run: {name}", **({} if is_said else {"outcome": f"FAILED: it does not say {said}"})))
    return rows


def sanitizers(long):
    """AddressSanitizer over all tests, ThreadSanitizer over those it can follow."""
    rows = []
    for name in ["address", "thread"]:
        run = Run(f"sanitize-{name}", ["scripts/sanitize.py", name])
        reason = re.search(r"^cannot: (.*)$", run.text, re.MULTILINE)
        if reason and run.status == 0:
            rows += skipped(f"{name} sanitizer", reason[1])
            continue
        count = sum(int(count) for count in re.findall(r"^test result: .*? (\d+) passed;", run.text, re.MULTILINE))
        rows.append(run.row(f"tests under the {name} sanitizer", cases=count))
    return rows


STEPS = {step.__name__: step for step in [tests, models, orderings, fuzz, faults, sanitizers]}
# These take long, and run in the short form only where they are named.
LONG_STEPS = {"faults", "sanitizers"}


def print_table(rows):
    cells = [[str(row.get(column, "")) for column in COLUMNS] for row in rows]
    total = ["in all"] + [str(sum(int(row.get(column) or 0) for row in rows)) for column in COLUMNS[1:-1]]
    failures = sum(row["outcome"].startswith("FAILED") for row in rows)
    total += [f"{failures} FAILED" if failures else "passed"]
    table = [COLUMNS, *cells, total]
    widths = [max(len(line[column]) for line in table) for column in range(len(COLUMNS))]
    table.insert(1, ["-" * width for width in widths])
    for line in table:
        # Numbers end in one line, words begin in one.
        texts = [cell.ljust(width) if column in (0, 6) else cell.rjust(width)
                 for column, (cell, width) in enumerate(zip(line, widths))]
        print("| " + " | ".join(texts) + " |")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("steps", nargs="*", metavar="STEP", help=", ".join(STEPS))
    parser.add_argument("--long", action="store_true", help="hours instead of minutes")
    parser.add_argument("--hours", type=float, metavar="HOURS",
                        help="for how long the soak kills at random times; 10 minutes in the long form, else 5 seconds")
    parser.add_argument("--without", metavar="STEP", action="append", default=[], help="leaves that step out")
    parser.add_argument("--list", action="store_true", help="what the steps are")
    args = parser.parse_args()
    if args.list:
        for name, step in STEPS.items():
            print(f"{name:<12} {step.__doc__}")
        return
    unknown = {*args.steps, *args.without} - set(STEPS)
    if unknown:
        parser.error(f"no step is called {', '.join(sorted(unknown))}; there are {', '.join(STEPS)}")
    if args.hours is not None:
        SOAK["FDRING_SOAK_SECONDS"] = str(round(args.hours * 3600))
    LOGS.mkdir(parents=True, exist_ok=True)
    rows = []
    for name, step in STEPS.items():
        if name in args.without:
            rows.append({"proof": name, "outcome": "not run: left out by --without"})
        elif name in args.steps or not args.steps and (args.long or name not in LONG_STEPS):
            rows += step(args.long)
        elif not args.steps:
            rows.append({"proof": name, "outcome": "not run: only with --long"})
    print_table(rows)
    sys.exit(any(row["outcome"].startswith("FAILED") for row in rows))


if __name__ == "__main__":
    main()
