#!/usr/bin/env python3
"""Plants one fault after another in the protocols and sees whether the models of tests/loom catch it.

    scripts/mutate.py            all faults
    scripts/mutate.py fence      those with "fence" in their name

Each fault is planted in a copy of the tree, below the build directory. The exit status is 1 if a fault survives that is
not explained, if a text to be replaced is no longer there exactly once, or if a fault does not build.
"""

import os
import pathlib
import re
import shutil
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
COPY = ROOT / "target" / "mutate"
# A model that is not through by then is caught: it does not end.
TIMEOUT_SECONDS = 300
# Most faults show with few preemptions. Those that do not are looked for as far as the models go by themselves.
PREEMPTIONS = "3"

WRITER = "src/ring/writer.rs"
READER = "src/ring/reader.rs"
ROSTER = "src/roster.rs"
WAKE = "src/wake.rs"
PUBLISHER = "src/publisher.rs"

SEQCST = "        fence(Ordering::SeqCst);\n"
ACQREL = "        fence(Ordering::AcqRel);\n"

# Name, file, [(exact text, replacement), ...], the models expected to fail, and why not where they are not.
FAULTS = [
    # The publication protocol.
    ("publish: Release weakened", WRITER,
     [("published().store(self.published, Ordering::Release)", "published().store(self.published, Ordering::Relaxed)")],
     "publication"),
    ("close: Release weakened", WRITER,
     [("store(state as u32, Ordering::Release)", "store(state as u32, Ordering::Relaxed)")], "end"),
    ("raise_intent: fence left out", WRITER, [("        fence(Ordering::Release);\n", "")], "eviction"),
    ("raise_intent: intent stored after the fence", WRITER,
     [("        self.ring.lane().intent().store(self.intent, Ordering::Relaxed);\n", ""),
      ("        fence(Ordering::Release);\n",
       "        fence(Ordering::Release);\n"
       "        self.ring.lane().intent().store(self.intent, Ordering::Relaxed);\n")],
     "eviction"),
    ("raise_intent: intent not stored", WRITER,
     [("        self.ring.lane().intent().store(self.intent, Ordering::Relaxed);\n", "")], "eviction"),
    ("raise_intent: intent may fall", WRITER,
     [("self.intent = self.intent.max(ahead.min(limit))", "self.intent = ahead.min(limit)")], "hostile"),
    ("raise_intent: limit ignored", WRITER, [("        if end > limit {\n            return false;\n        }\n", "")],
     "space"),
    ("commit: published before the header", WRITER,
     [("        if claim.padding != 0 {\n",
       "        let end = claim.begin + self.geometry.record_size(len);\n"
       "        self.ring.lane().published().store(end, Ordering::Release);\n        if claim.padding != 0 {\n")],
     "publication"),
    ("claim: published before the payload", WRITER,
     [("        (end <= self.intent).then_some(claim)",
       "        self.ring.lane().published().store(end.min(self.intent), Ordering::Release);\n"
       "        (end <= self.intent).then_some(claim)")],
     "publication"),
    ("commit: padding left unwritten", WRITER,
     [("            self.ring.set_header_word(self.committed, RecordHeader::padding(claim.padding).to_word());\n", "")],
     "publication"),
    ("publish: finished before the last published", WRITER,
     [("        self.published = self.committed;\n",
       "        self.published = self.committed;\n"
       "        self.ring.lane().state().store(LaneState::Finished as u32, Ordering::Release);\n")], "end"),
    # The reading protocol.
    ("refresh: fence left out", READER,
     [("        // memory mapped read-only.\n        fence(Ordering::Acquire);\n", "")], "publication"),
    ("state: fence left out", READER,
     [("        // Pairs with the release store in `Writer::close`: a `refresh` after this sees the last `published`.\n"
       "        fence(Ordering::Acquire);\n", "")], "end"),
    ("look: the end believed without a second look", READER,
     [("Ok(self.poll()?.map_or(Look::Ended(state), Look::Found))", "Ok(Look::Ended(state))")], "end"),
    ("store_consumed: Release weakened", READER,
     [("consumed().store(consumed, Ordering::Release)", "consumed().store(consumed, Ordering::Relaxed)")], "gating"),
    ("store_consumed: Release of space_seq weakened", READER,
     [("store(seq.wrapping_add(1), Ordering::Release)", "store(seq.wrapping_add(1), Ordering::Relaxed)")], "space"),
    ("store_consumed: space_seq bumped first", READER,
     [("        self.seat.consumed().store(consumed, Ordering::Release);\n", ""),
      ("        self.seat.space_seq().store(seq.wrapping_add(1), Ordering::Release);\n",
       "        self.seat.space_seq().store(seq.wrapping_add(1), Ordering::Release);\n"
       "        self.seat.consumed().store(consumed, Ordering::Release);\n")], "space"),
    ("store_consumed: space_seq not bumped", READER,
     [("        self.seat.space_seq().store(seq.wrapping_add(1), Ordering::Release);\n", "        let _ = seq;\n")],
     "space"),
    ("store_consumed: fence left out", READER, [(SEQCST, "")], "space"),
    ("store_consumed: fence weakened", READER, [(SEQCST, ACQREL)], "space"),
    ("give_back: nobody woken", READER,
     [("if self.has_unreleased() && self.release() {", "if self.has_unreleased() && self.release() && false {")],
     "space"),
    ("leave: nobody woken", READER,
     [("if self.store_consumed(CONSUMED_LEFT) {", "if self.store_consumed(CONSUMED_LEFT) && false {")], "space"),
    ("fall_asleep: no look after the announcement", READER,
     [("let news = self.refresh().unwrap_or(true);", "let news = false;")], "data"),
    ("fall_asleep: no look at the state", READER,
     [("!news && self.state() == Ok(LaneState::Open) && ", "!news && ")], "data"),
    ("copies_intact: eviction unnoticed", READER,
     [("    lane.evictions().load(Ordering::Relaxed) != evictions\n", "    let _ = (lane, evictions);\n    false\n")],
     "eviction"),
    ("copies_intact: looked before the copy", READER,
     [("    copy();\n", ""),
      ("    !was_evicted(lane, evictions) || intact()\n",
       "    let good = !was_evicted(lane, evictions) || intact();\n    copy();\n    good\n")], "eviction"),
    ("copies_intact: any eviction believed one's own", READER,
     [("!was_evicted(lane, evictions) || intact()", "!was_evicted(lane, evictions) && intact()")], "eviction"),
    ("copies_intact: fence left out", READER,
     [("    // after the count of evictions rose.\n    fence(Ordering::Acquire);\n", "")],
     "eviction"),
    # The roster.
    ("oldest: Acquire weakened", ROSTER,
     [("boundary.load(Ordering::Acquire)", "boundary.load(Ordering::Relaxed)")], "joining"),
    ("remember_boundary: Release weakened", ROSTER,
     [("store(published, Ordering::Release)", "store(published, Ordering::Relaxed)")], "joining"),
    ("remember_boundary: before the publication", PUBLISHER,
     [("roster.remember_boundary(published, ", "roster.remember_boundary(end, ")], "joining"),
    ("oldest: bytes that may be overwritten", ROSTER, [("*boundary >= kept", "*boundary >= kept.min(0)")], "joining"),
    ("refresh: fence left out", ROSTER, [("        fence(Ordering::Acquire);\n", "")], "gating"),
    ("refresh: the quickest gates", ROSTER, [("consumed < least", "consumed > least")], "gating"),
    ("refresh: limit not stored", ROSTER, [("        self.limit.store(limit, Ordering::Relaxed);\n", "")], "joining"),
    ("refresh: limit stored without the lock", ROSTER,
     [("        let capacity = lane.geometry().capacity();\n        let limit = match",
       "        drop(seats);\n        let capacity = lane.geometry().capacity();\n        let limit = match")],
     "joining"),
    ("refresh: nonsense believed", ROSTER,
     [("            consumed if consumed < last || consumed > published => Consumed::Nonsense,\n",
       "            u64::MAX => Consumed::Nonsense,\n")], "hostile"),
    ("refresh: a fallen position believed", ROSTER,
     [("if consumed < last || consumed > published", "if consumed > published")], "hostile"),
    ("refresh: a position ahead of published believed", ROSTER,
     [("if consumed < last || consumed > published", "if consumed < last")], "hostile"),
    ("join: seated after the lock", ROSTER,
     [("        let Joiner { id, pid, .. } = joiner;\n",
       "        drop(seats);\n        let mut seats = self.seats.lock();\n"
       "        let Joiner { id, pid, .. } = joiner;\n")],
     "joining"),
    ("note_change: version not bumped", ROSTER,
     [("        self.version.fetch_add(1, Ordering::Relaxed);\n", "")], "data"),
    ("note_change: private word not bumped", ROSTER,
     [("        self.changed.fetch_add(1, Ordering::Relaxed);\n", "")], "space"),
    ("note_change: nobody woken", ROSTER, [("        wake::wake_private(&self.changed);\n", "")], "space"),
    ("put_out: count of evictions left alone", ROSTER,
     [("            lane.evictions().store(evictions, Ordering::Relaxed);\n", "            let _ = evictions;\n")],
     "eviction"),
    ("ring_sleepers: fence left out", ROSTER, [(SEQCST, "")], "data"),
    ("ring_sleepers: fence weakened", ROSTER, [(SEQCST, ACQREL)], "data"),
    ("ring_sleepers: version loaded before the fence", ROSTER,
     [(SEQCST, "        let version = self.version.load(Ordering::Relaxed);\n" + SEQCST),
      ("if self.version.load(Ordering::Relaxed) != snapshot.version {", "if version != snapshot.version {")],
     "data"),
    # Sleeping and waking.
    ("announce_sleep: fence left out", WAKE, [("    fence(Ordering::SeqCst);\n", "")], "data"),
    ("announce_sleep: fence weakened", WAKE,
     [("    fence(Ordering::SeqCst);\n", "    fence(Ordering::AcqRel);\n")], "data"),
    ("announce_sleep: bell drained while the epoch is odd", WAKE,
     [("    drain();\n", ""),
      ("    wait_epoch.store(epoch.wrapping_add(1), Ordering::Relaxed);\n    // Pairs",
       "    wait_epoch.store(epoch.wrapping_add(1), Ordering::Relaxed);\n    drain();\n    // Pairs")], "data"),
    ("announce_sleep: bell drained after the fence", WAKE,
     [("    drain();\n", ""),
      ("    fence(Ordering::SeqCst);\n", "    fence(Ordering::SeqCst);\n    drain();\n")], "data"),
    ("announce_sleep: a cancelled sleep left odd", WAKE, [("    wake_up(wait_epoch);\n", "")], "data"),
    ("claim_ring: rung for twice", WAKE, [("    last_rung.store(epoch, Ordering::Relaxed);\n", "")], "data"),
    ("close: nobody rung for", PUBLISHER,
     [("self.writer.close(state);\n        self.ring_sleepers(roster);\n", "self.writer.close(state);\n")], "data"),
    ("find_room: a full batch published without a ring", PUBLISHER,
     [("            self.publish(roster);\n", "            self.writer.publish();\n")], "space"),
    ("find_room: a full batch not published", PUBLISHER, [("            self.publish(roster);\n", "")], "space"),
    ("sleep_for_space: not announced", PUBLISHER,
     [("store(SPACE_WAIT_FUTEX, ", "store(SPACE_WAIT_FUTEX - 1, ")], "space"),
    ("sleep_for_space: fence left out", PUBLISHER, [(SEQCST, "")], "space"),
    ("sleep_for_space: fence weakened", PUBLISHER, [(SEQCST, ACQREL)], "space"),
    ("sleep_while_held: fence left out", PUBLISHER, [("        fence(Ordering::Acquire);\n", "")], "space"),
    ("sleep_while_held: no look after the capture", PUBLISHER,
     [("        match self.find_room(roster, len) {\n            Ok(claim) => return Ok(claim),\n            Err(now)",
       "        match Err::<Claim, _>(gate) {\n            Ok(claim) => return Ok(claim),\n            Err(now)")],
     "space"),
    ("sleep_while_held: sleeps on a seat that gates no more", PUBLISHER,
     [("if now.map(|gate| gate.seat_id) != gate.map(|gate| gate.seat_id)", "if now.is_none() && gate.is_some()")],
     "space"),
    ("sleep_while_held: private word captured after the last look", PUBLISHER,
     [("        let changed = roster.capture_changed();\n", ""),
      ("wake::sleep_on(changed, seq, deadline)", "wake::sleep_on(roster.capture_changed(), seq, deadline)")], "space"),
    ("sleep_while_held: space_seq captured after the last look", PUBLISHER,
     [("wake::sleep_on(changed, seq, deadline)",
       "wake::sleep_on(changed, seq.map(|(word, _)| (word, word.load(Ordering::Relaxed))), deadline)")], "space"),
]


def copy_tree():
    COPY.mkdir(parents=True, exist_ok=True)
    for source in ROOT.iterdir():
        copy = COPY / source.name
        if source.name == "target" or source.name.startswith("."):
            continue
        if source.is_dir():
            shutil.rmtree(copy, ignore_errors=True)
            # With the time of now: cargo builds anew what is newer than its last build, which may have had a fault.
            shutil.copytree(source, copy, ignore=shutil.ignore_patterns("target", "corpus"), copy_function=shutil.copy)
        else:
            shutil.copy(source, copy)


def plant(file, replacements):
    """The file with the fault in it; None where a text is not there exactly once."""
    text = (ROOT / file).read_text()
    for old, new in replacements:
        if text.count(old) != 1:
            print(f"    in {file} not once but {text.count(old)} times: {old!r}", flush=True)
            return None
        text = text.replace(old, new)
    return text


def run(models):
    """What becomes of the models of that name, all where there is none: "caught", "survives" or "does not build"."""
    environment = dict(os.environ, RUSTFLAGS="--cfg loom -A warnings", CARGO_TARGET_DIR=str(COPY / "target"),
                       CARGO_PROFILE_RELEASE_DEBUG="0", RUST_BACKTRACE="0")
    command = ["cargo", "test", "--quiet", "--release", "--test", "loom"]
    options = dict(cwd=COPY, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    built = subprocess.run(command + ["--no-run"], env=environment, **options)
    if built.returncode != 0:
        print(built.stdout)
        return "does not build"
    for limit in [{"LOOM_MAX_PREEMPTIONS": PREEMPTIONS}] + [{}] * bool(models):
        try:
            tested = subprocess.run(command + [f"models::{models}"], env=environment | limit, timeout=TIMEOUT_SECONDS,
                                    **options)
        except subprocess.TimeoutExpired:
            return "caught"
        if tested.returncode != 0:
            return "caught"
        assert re.search(r"[1-9]\d* passed", tested.stdout), f"no models are named {models}"
    return "survives"


def main():
    wanted = [fault for fault in FAULTS if all(word in fault[0] for word in sys.argv[1:])]
    copy_tree()
    failures = 0
    if run("") != "survives":
        sys.exit("the models fail without any fault")
    print(f"{'fault':<62} {'models':<12} {'outcome':<16} seconds")
    for name, file, replacements, models, *explained in wanted:
        text, begin = plant(file, replacements), time.monotonic()
        if text is None:
            outcome = "NO LONGER FITS"
        else:
            (COPY / file).write_text(text)
            outcome = run(models)
            shutil.copy(ROOT / file, COPY / file)
        if outcome == "survives" and explained:
            outcome = f"explained: {explained[0]}"
        elif outcome != "caught":
            failures += 1
            outcome = {"survives": "NOT CAUGHT"}.get(outcome, outcome.upper())
        place = f"{pathlib.Path(file).stem}: {name}"
        print(f"{place:<62} {models:<12} {outcome:<16} {time.monotonic() - begin:.1f}", flush=True)
    print(f"{len(wanted)} faults, {failures} not caught")
    sys.exit(failures != 0)


if __name__ == "__main__":
    main()
