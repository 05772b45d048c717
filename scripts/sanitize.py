#!/usr/bin/env python3
"""Runs the tests under a sanitizer, or says in a line that begins with "cannot:" why this toolchain is not able to.

    scripts/sanitize.py address            every test, under AddressSanitizer
    scripts/sanitize.py thread             the tests of one process with several threads, under ThreadSanitizer
    scripts/sanitize.py address -- FILTER  any arguments of `cargo test` after --, in place of those

Stable Rust ships the sanitizers' runtimes and not the switch, hence `RUSTC_BOOTSTRAP=1`. The exit status is that of the
tests; 0 where the toolchain cannot.

AddressSanitizer knows the heap, the stack and globals, and takes every byte of a mapping for good: what guards those
are the bounds checks, and a mapping's neighbours. Leaks of memory are not looked for, since a test process that plays a
peer ends in the middle of things; descriptors and mappings that leak are counted by the tests themselves.

ThreadSanitizer knows atomics and locks and takes no notice of fences, on which reading a ring rests: a reader loads
`published` relaxed, and then fences. So it cannot follow a payload from a producer's thread to a consumer's; what is
left are the process-private words, locks and counts around it, and what a server's thread shares with its owner's. The
standard library at hand is not instrumented, which needs the suppressions below.
"""

import argparse
import os
import pathlib
import re
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
EVERYTHING = ["--all-features", "--no-fail-fast"]
# In one process and over several threads: the ring, the roster, bells and futexes, whole lanes, servers and sessions.
THREADED = ["--all-features", "--no-fail-fast", "--lib", "--test", "lane", "--test", "session", "--"]
# Not the one that counts descriptors: to look up whether a report is suppressed, the sanitizer opens two.
THREADED += ["--skip", "connects_failures_and_drops_leave_no_descriptor_behind"]
# One at a time, since the harness hands results over inside of the standard library, which is not instrumented.
THREADED += ["--test-threads=1", "--skip", "fuzzing::", "--skip", "frame::", "--skip", "cmsg::", "--skip", "region::"]
SUPPRESSIONS = """
# The last drop is ordered by a fence in the standard library.
race:^<alloc::sync::Arc<
# A thread that finds it done has synchronized inside of the standard library.
race:^<std::sync::once
# A channel's two ends, likewise.
race:^<std::sync::mpmc
# The harness's own.
race:test::event::CompletedTest
"""
# A program with a fault that the sanitizer must find: else it finds nothing else either.
FAULTY = {
    "address": """fn main() {
            let freed = Box::into_raw(Box::new(1));
            unsafe { drop(Box::from_raw(freed)) }
            std::process::exit(unsafe { *freed });
        }""",
    "thread": """static mut X: u8 = 0;
        fn main() {
            let other = std::thread::spawn(|| unsafe { X = 1 });
            unsafe { X = 2 }
            other.join().unwrap();
        }""",
}


def host():
    version = subprocess.run(["rustc", "-vV"], check=True, capture_output=True, text=True).stdout
    return re.search(r"^host: (\S+)", version, re.MULTILINE)[1]


def why_not(sanitizer, flags, environment):
    """Why that sanitizer finds no fault here; None where it does."""
    with tempfile.TemporaryDirectory() as folder:
        program = pathlib.Path(folder) / "program"
        command = ["rustc", *flags, "--target", host(), "--edition", "2024", "-", "-o", str(program)]
        source = FAULTY[sanitizer]
        built = subprocess.run(command, input=source, env=environment, capture_output=True, text=True)
        if built.returncode != 0:
            return next((line for line in built.stderr.splitlines() if line.startswith("error")), "rustc fails")
        ran = subprocess.run([program], env=environment, capture_output=True, text=True)
        if ran.returncode == 0 or "Sanitizer" not in ran.stderr:
            return f"it finds nothing in a faulty program, which ends with exit status {ran.returncode}"
    return None


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sanitizer", choices=["address", "thread"])
    parser.add_argument("arguments", nargs="*", help="for cargo test")
    args = parser.parse_args()
    flags, environment = [f"-Zsanitizer={args.sanitizer}"], dict(os.environ, RUSTC_BOOTSTRAP="1")
    suppressions = ROOT / "target" / "thread-suppressions"
    if args.sanitizer == "address":
        environment.setdefault("ASAN_OPTIONS", "detect_leaks=0")
    else:
        # The standard library at hand is built without.
        flags.append("-Cunsafe-allow-abi-mismatch=sanitizer")
        suppressions.parent.mkdir(exist_ok=True)
        suppressions.write_text(SUPPRESSIONS)
        # Forked children that start threads of their own are what some tests are about.
        environment.setdefault("TSAN_OPTIONS", f"suppressions={suppressions} die_after_fork=0")
    reason = why_not(args.sanitizer, flags, environment)
    if reason:
        print(f"cannot: {reason}")
        return
    # Only with a target triple do the flags keep away from build scripts and macros.
    directory = ROOT / "target" / f"{args.sanitizer}-sanitizer"
    command = ["cargo", "test", "--target", host(), "--target-dir", str(directory)]
    environment |= {"CARGO_ENCODED_RUSTFLAGS": "\x1f".join(flags), "CARGO_ENCODED_RUSTDOCFLAGS": "\x1f".join(flags)}
    command += args.arguments or (EVERYTHING if args.sanitizer == "address" else THREADED)
    print(f"{args.sanitizer}: {' '.join(command)}", flush=True)
    sys.exit(subprocess.run(command, cwd=ROOT, env=environment).returncode)


if __name__ == "__main__":
    main()
