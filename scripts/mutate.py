#!/usr/bin/env python3
"""Plants one fault after another and sees whether it is caught: in the ring protocols by the models of tests/loom, in
what reads a peer's bytes by unit tests and the replayed corpora of the fuzz targets, and by fuzzing from these corpora.

    scripts/mutate.py            all faults
    scripts/mutate.py fence      those with "fence" in their name, in that of their file, or of what catches them
    scripts/mutate.py --check    none, but finds every ordering and fence in the source that no fault weakens

Each fault is planted in a copy of the tree, below the build directory. The exit status is 1 if a fault survives that is
not explained, if a text to be replaced is no longer there exactly once, if no test or model has the name of what is to
catch it, if a fault does not build, or if the models compile an ordering stronger than relaxed, or a fence, that no fault
weakens, moves away or leaves out.
"""

import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
COPY = ROOT / "target" / "mutate"
# What is not through by then hangs, and so is caught: models, all but the longest of which take seconds; and tests.
MODELS_TIMEOUT_SECONDS = 300
TESTS_TIMEOUT_SECONDS = 150
# So long a fuzzer looks for a fault, from the seeds, unless FDRING_FUZZ_SECONDS says otherwise.
FUZZ_SECONDS = os.environ.get("FDRING_FUZZ_SECONDS", "60")
# Most faults show with few preemptions. Those that do not are looked for as far as the models go by themselves.
PREEMPTIONS = "3"

WRITER = "src/ring/writer.rs"
CURSOR = "src/ring/cursor.rs"
READER = "src/ring/reader.rs"
TAP = "src/ring/tap.rs"
STAMP = "src/ring/stamp.rs"
BUDGET = "src/ring/budget.rs"
TAPPING = "src/consumer/tap/mod.rs"
INSPECT_FILES = "src/inspect/files.rs"
INSPECT_PROCESS = "src/inspect/process.rs"
INSPECT_SURVEY = "src/inspect/survey.rs"
INSPECT_TAP = "src/inspect/tap.rs"
INSPECT_WORDS = "src/inspect/words.rs"
MEMORY_WORDS = "src/memory/words.rs"
RELEASE = "src/ring/release.rs"
ENDS = "tests/loom/ends.rs"
OPENED = "src/session/opened.rs"
SEATS = "src/session/seats.rs"
SLEEP = "src/ring/sleep.rs"
ROSTER = "src/ring/roster.rs"
SEAT = "src/ring/seat.rs"
PLACES = "src/ring/places.rs"
PUBLISHER = "src/ring/publisher.rs"
LANE = "src/memory/lane.rs"
COPYING = "src/memory/copy.rs"
ROW = "src/producer/runs.rs"
RESERVATION = "src/producer/reservation.rs"
LANE_OPTIONS = "src/lane.rs"
TASKS = "src/tokio/mod.rs"
STREAM = "src/tokio/stream.rs"
WAITS = "src/producer/waits.rs"
AUDIENCE = "src/producer/audience.rs"
SLOW = "src/producer/slow.rs"
WINDOW = "src/producer/window.rs"
CONSUMER = "src/consumer/mod.rs"
OWNED = "src/consumer/owned.rs"
LOOKS = "src/consumer/looks.rs"
WAITER = "src/consumer/waiter.rs"
PACE = "src/consumer/pace.rs"
RUNS = "src/consumer/runs.rs"
POLLER = "src/os/poller.rs"
VAIN = "src/os/vain.rs"
ARMING = "src/producer/arming.rs"
BATCH = "src/producer/batch.rs"
ATTACHING = "src/producer/delivery.rs"
INBOX = "src/consumer/inbox.rs"
FUTEX = "src/os/futex.rs"
COLLECT = "src/collect/mod.rs"
COLLECT_MANY = "src/collect/many.rs"
COLLECT_TURNS = "src/collect/turns.rs"
CALLS = "src/call/calls.rs"
INTAKE = "src/call/intake.rs"
PREFIX = "src/call/prefix.rs"
CALLER = "src/call/caller.rs"
LINE = "src/call/caller/line.rs"
PORT = "src/call/port.rs"
SERVICE = "src/call/service.rs"
REQUEST = "src/call/request.rs"
PAIRING = "src/session/serving/pairing.rs"
PAIRS = "src/session/pairs.rs"
PLAN = "src/distribute/plan.rs"
SLOTS = "src/distribute/slots.rs"
SHARING = "src/distribute/course.rs"
DISTRIBUTE_EVENT = "src/distribute/event.rs"
WORKER = "src/distribute/worker.rs"
WORKING = "src/consumer/working.rs"
INTERRUPT = "src/os/interrupt.rs"
SELECT = "src/select.rs"
BELL = "src/os/bell.rs"
PEER = "src/os/peer.rs"
FORK = "src/os/fork.rs"
CLIENT = "src/session/client.rs"
ATTACH_SAID = "src/session/attaching.rs"
HEARING = "src/session/hearing.rs"
CONNECTING = "src/session/connecting.rs"
COURSE = "src/feed/course.rs"
CONNECTOR = "src/feed/connector.rs"
FEED = "src/feed/mod.rs"
ARRIVING = "src/session/arriving.rs"
FRAME_SOCKET = "src/session/frame_socket.rs"
LISTENER = "src/session/listener.rs"
ADOPTED = "src/session/adopted.rs"
FRAMES = "src/fds/frames.rs"
STEWARD = "src/session/steward.rs"
SHARED = "src/session/shared.rs"
SESSION_LISTENER = "src/session/session_listener.rs"
REGION = "src/region/mod.rs"
CMSG = "src/cmsg.rs"
FRAME = "src/wire/mod.rs"
BODY = "src/wire/body.rs"
TEXT = "src/wire/text.rs"
ATTACH = "src/wire/attach.rs"
REPORT = "src/wire/report.rs"
HANDSHAKE = "src/handshake/mod.rs"
OUTGOING = "src/handshake/outgoing.rs"
INCOMING = "src/handshake/incoming.rs"
LINK = "src/link.rs"
SEATS = "src/session/seats.rs"
SERVING = "src/session/serving.rs"
ATTENDING = "src/session/serving/attending.rs"
RECEIVED = "src/region/received.rs"
LAYOUT = "src/layout.rs"
INQUIRY = "src/session/inquiry.rs"
DEPARTING = "src/session/serving/departing.rs"
SERVED = "src/session/served.rs"
SPOT = "src/session/spot.rs"
ADDRESS = "src/session/mod.rs"
CALL_OPTIONS = "src/call/options.rs"
ENDING = "src/session/ending.rs"
THREAD = "src/os/thread.rs"
MAPPING = "src/region/mapping.rs"
SEALED = "src/region/sealed.rs"
PATIENCE = "src/fds/patience.rs"
SOCKET_CALLS = "src/fds/calls.rs"
ASKING = "src/link/asking.rs"
WORK_WAITS = "src/distribute/waits.rs"
DISTRIBUTE = "src/distribute/mod.rs"
SPIN = "src/os/spin.rs"
ERROR = "src/error.rs"
ASSIGNING = "src/session/assigning.rs"
FEED_OPTIONS = "src/feed/options.rs"
LANE_SEAT = "src/lane/seat.rs"
INSPECT_KERNEL = "src/inspect/kernel.rs"
ARROW_LAYOUT = "crates/fdring-arrow/src/layout.rs"
ARROW_SCHEMA = "crates/fdring-arrow/src/schema.rs"
ARROW_DECODE = "crates/fdring-arrow/src/decode.rs"
ARROW_ENCODE = "crates/fdring-arrow/src/encode.rs"
ARROW_CONSUMER = "crates/fdring-arrow/src/consumer.rs"
ARROW_PRODUCER = "crates/fdring-arrow/src/producer.rs"

SEQCST = "fence(Ordering::SeqCst);"
ACQREL = "fence(Ordering::AcqRel);"
ACQUIRE = "fence(Ordering::Acquire);"
ANNOUNCE = """        if is_new {
            announce(reader.seat().wait_epoch(), barrier);
            *self = Self::Stands;
        }
"""

# Name, file, [(exact text, replacement), ...], what is expected to fail, and why it does not where it does not.
# Expected to fail are the models of that name; or, after "lib ", the library's tests with that in their name; or, after
# "test ", those of that file in `tests`, or of these those with the second word in their name; with "feature-test ", the
# same with the feature `crash-points`, with "arrow ", the same of `crates/fdring-arrow`; or, after "fuzz ", the fuzz
# target of that name.
FAULTS = [
    # The publication protocol.
    ("publish: Release weakened", WRITER,
     [("published_word.store(published, Ordering::Release)",
       "published_word.store(published, Ordering::Relaxed)")],
     "publication"),
    ("publish: last stored after published", WRITER,
     [("        last_word.store(last, Ordering::Relaxed);\n", ""),
      ("published_word.store(published, Ordering::Release);",
       "published_word.store(published, Ordering::Release);\n"
       "        last_word.store(last, Ordering::Relaxed);")], "last"),
    ("publish: last left as it was", WRITER, [("last_word.store(last, Ordering::Relaxed);", "let _ = (last, last_word);")],
     "last"),
    ("publish: Release weakened, for the last record", WRITER,
     [("published_word.store(published, Ordering::Release)",
       "published_word.store(published, Ordering::Relaxed)")],
     "last"),
    ("advance: the first of a row taken for the last", WRITER, [("self.committed + (count - 1) * size", "self.committed")],
     "lib ring_tests"),
    ("advance: an empty row taken for a record", WRITER,
     [("        if count != 0 {\n            self.last = self.committed + (count - 1) * size;\n        }\n",
       "        self.last = (self.committed + count * size).wrapping_sub(size);\n")], "lib ring_tests"),
    ("commit_in: the last record forgotten", WRITER, [("        room.last = claim.begin;\n", "")], "last"),
    ("resume: what a batch has committed taken for published", WRITER,
     [("            self.unpublished_from.get_or_insert(self.room.committed);\n        }\n        self.room = room;",
       "        }\n        self.room = room;")], "lib ring_tests"),
    ("commit_in: padding taken for published", WRITER,
     [("            self.unpublished_from.get_or_insert(self.room.committed);\n            self.pad", "            self.pad")],
     "lib what_is_sent_is_received"),
    ("publish_batch: what is published still taken back", WRITER,
     [("        self.unpublished_from = None;\n        self.publish(room", "        self.publish(room")], "lib ring_tests"),
    ("forget_from: what was dropped still counted", WRITER, [("room.records -= 1;", "")], "lib ring_tests"),
    ("forget_from: padding that was dropped still counted", WRITER,
     [("self.padding_bytes -= HEADER_LEN_BYTES + u64::from(len);", "")], "lib ring_tests"),
    ("store_counters: not at the end", WRITER,
     [("        self.store_counters();\n        // Pairs with the acquire fence in `Reader::state`",
       "        // Pairs with the acquire fence in `Reader::state`")], "lib ring_tests"),
    ("store_counters: not where intent rises", WRITER,
     [("        self.store_counters();\n        // Pairs with the acquire fences in `Reader::was_evicted`",
       "        // Pairs with the acquire fences in `Reader::was_evicted`")], "lib ring_tests"),
    # How the last record is found.
    ("poll: what a refresh shows taken for the newest", TAP,
     [("            if self.unread() == 0 {\n                return Ok(None);\n            }\n        }\n        if let", "        }\n        if let")],
     "last"),
    ("newest: last loaded before published", TAP,
     [("            let last = self.lane.last().load(Ordering::Relaxed);\n", ""),
      ("            let published = self.lane.published().load(Ordering::Relaxed);\n            // Pairs",
       "            let last = self.lane.last().load(Ordering::Relaxed);\n"
       "            let published = self.lane.published().load(Ordering::Relaxed);\n            // Pairs")],
     "last"),
    ("newest: fence left out", TAP, [(ACQUIRE + "\n            let last", "let last")], "last"),
    ("newest: any last believed", TAP, [("if last < published {", "if true {")], "last"),
    ("newest: a last that cannot be believed", TAP, [("return match is_sound {", "return match true {")], "lib ring_tests::tap"),
    ("newest: looked for without end", TAP, [("if looks == NEWEST_LOOKS_MAX {", "if false {")], "lib ring_tests::tap"),
    # The lossy reading protocol.
    ("tap refresh: fence left out", TAP, [(ACQUIRE + "\n        self.check_published", "self.check_published")], "tap"),
    ("tap refresh: any distance taken for in view", TAP,
     [("if published - position > self.cursor.geometry().capacity() {", "if false {")], "lib ring_tests::tap"),
    ("tap state: fence left out", TAP, [(ACQUIRE + "\n        LaneState::from_word", "LaneState::from_word")], "tap"),
    ("tap look: the end believed without a second look", TAP,
     [("Ok(self.poll(wish)?.map_or(TapLook::Ended(state), TapLook::Found))", "Ok(TapLook::Ended(state))")], "tap"),
    ("is_intact: fence left out", TAP, [(ACQUIRE + "\n    let intent = lane.intent().load(Ordering::Relaxed);\n"
     "    intent.wrapping_sub(position)", "let intent = lane.intent().load(Ordering::Relaxed);\n"
     "    intent.wrapping_sub(position)")], "tap"),
    ("is_intact: never asked", TAP, [("        self.is_intact(found.from)\n", "        let _ = found.from;\n        true\n")],
     "tap"),
    ("is_intact: a record late", TAP,
     [("intent.wrapping_sub(position) <= lane.geometry().capacity()",
       "intent.wrapping_sub(position) <= lane.geometry().capacity() + lane.geometry().record_align()")],
     "lib ring_tests::tap"),
    ("copy_intact: the padding before it forgotten", TAP,
     [("self.is_intact(found.from)", "self.is_intact(found.position)")], "lib ring_tests::tap"),
    ("poll: nonsense that was overwritten taken for the producer's", TAP,
     [("Err(corruption) if self.is_intact(position) => ", "Err(corruption) if true || self.is_intact(position) => ")], "tap"),
    ("find_newest_whole: fence left out", TAP, [(ACQUIRE + "\n        let Newest", "let Newest")], "tap"),
    ("raise_intent: Release weakened", WRITER,
     [("intent().store(self.intent, Ordering::Release)", "intent().store(self.intent, Ordering::Relaxed)")], "tap"),
    ("find_newest_whole: an intent that cannot be believed", TAP,
     [("if intent < seen || intent.saturating_sub(published) > capacity {", "if false {")], "lib ring_tests::tap"),
    ("find_newest_whole: what was lost already found again", TAP,
     [("|last: &u64| *last > position && ", "|last: &u64| *last >= position && ")], "lib ring_tests::tap"),
    ("skip_to_newest: what is skipped not counted", TAP,
     [("                self.jump(position, last, published);\n", "                self.cursor.jump_to(last, published);\n")],
     "lib ring_tests::tap"),
    ("skip_to_newest: tools are not told", TAP, [("tells tools, too, and may never come.\n                self.tell();\n", "\n")],
     "lib ring_tests::tap"),
    ("lost: still counted", TAP, [("        self.cursor.uncount();\n", "")], "lib ring_tests::tap"),
    ("lost: its padding still counted", TAP, [("        self.padding_bytes -= found.padding_bytes();\n", "")],
     "lib ring_tests::tap"),
    ("stop_for: a tap reads on", TAP, [("self.stop = Some(corruption);", "")], "lib ring_tests::tap"),
    ("tap may_sleep: what is published judged", TAP,
     [("self.unread() != 0 || self.has_news()", "self.unread() != 0 || self.refresh().unwrap_or(true)")], "lib ring_tests::tap"),
    ("tap may_sleep: published not looked at", TAP, [(" || self.has_news();", ";")], "tap"),
    ("leave: a tap says nothing", TAP, [("self.store(self.cursor.position() | CONSUMED_LEFT_BIT);", "")], "lib ring_tests::tap"),
    ("copy_newest: without end", TAPPING, [("for _ in 0..NEWEST_COPIES_MAX {", "loop {"),
      ("        Err(TapError::Lagged { missed_bytes: passed_over })\n", "")], "lib replay::tap_reader"),
    ("find_slowest: a tap gates", ROSTER, [("            if seat.is_lossy() {\n                left", "            if false {\n                left")],
     "lib ring_tests::roster"),
    ("find_slowest: a tap that has left stays", ROSTER, [("left.extend(seat.has_left().then_some(seat.id));", "")],
     "lib ring_tests::roster"),
    ("remove_those: a tap counts as evicted", ROSTER, [("if goes && !seat.is_lossy() {", "if goes {")], "lib ring_tests::roster"),
    ("renew: a tap makes its producer fence", ROSTER,
     [("!seat.is_lossy() && seat.barrier == Barrier::Fence", "seat.barrier == Barrier::Fence")], "lib ring_tests::roster"),
    ("may_ring: a tap is rung as often as it likes", SEAT,
     [("self.budget.as_ref().is_none_or(|budget| budget.take(clock::coarse_now))", "true")], "lib ring_tests::roster"),
    ("take: rings never renewed", BUDGET, [("if now_ns.wrapping_sub(", "if true || now_ns.wrapping_sub(")], "lib ring_tests::roster"),
    ("of_tap: no look more", WAITER, [("Self { short_waits: &TAP_LOOKS, ..self }", "self")], "lib consumer::tap"),
    ("close: Release weakened", WRITER,
     [("store(state as u32, Ordering::Release)", "store(state as u32, Ordering::Relaxed)")], "end"),
    ("raise_intent: fence left out", WRITER, [("fence(Ordering::Release);", "")], "eviction"),
    ("raise_intent: intent stored after the fence", WRITER,
     [("self.memory.lane().intent().store(self.intent, Ordering::Release);", ""),
      ("fence(Ordering::Release);",
       "fence(Ordering::Release);\n        self.memory.lane().intent().store(self.intent, Ordering::Release);")],
     "eviction"),
    ("raise_intent: intent not stored", WRITER,
     [("self.memory.lane().intent().store(self.intent, Ordering::Release);", "")], "eviction"),
    ("raise_intent: intent may fall", WRITER,
     [("self.intent = self.intent.max(ahead.min(limit))", "self.intent = ahead.min(limit)")], "hostile"),
    ("raise_intent: limit ignored", WRITER, [("if end > limit {", "if false {")], "lib ring_tests"),
    ("commit: published before the header", WRITER,
     [("        memory.set_header_word(claim.begin, RecordHeader",
       "        memory.lane().published().store(claim.end, Ordering::Release);\n        memory.set_header_word(claim.begin, RecordHeader")],
     "publication"),
    ("claim: published before the payload", WRITER,
     [("(claim.end <= self.intent).then_some(claim)",
       "self.memory.lane().published().store(claim.end.min(self.intent), Ordering::Release);\n"
       "        (claim.end <= self.intent).then_some(claim)")],
     "publication"),
    ("pad: padding left unwritten", WRITER,
     [("self.memory.set_header_word(self.room.committed, padding.to_word());", "let _ = padding;")], "publication"),
    ("publish: finished before the last published", WRITER,
     [("let published = self.room.committed;",
       "let published = self.room.committed;\n"
       "        self.memory.lane().state().store(LaneState::Finished as u32, Ordering::Release);")], "end"),
    # The reading protocol.
    ("refresh: fence left out", READER,
     [(ACQUIRE + "\n        let geometry", "let geometry")], "publication"),
    ("state: fence left out", READER, [(ACQUIRE + "\n        LaneState::from_word", "LaneState::from_word")], "end"),
    ("look_for_end: the end believed without a second look", READER,
     [("Ok(self.poll()?.map_or(Look::Ended(state), Look::Found))", "Ok(Look::Ended(state))")], "end"),
    ("look_for_end: what was read not released", READER,
     [("\n        self.release_all();", "")], "space"),
    ("look_for_end: the session asked for after the state", READER,
     [("let is_over = session_is_over();", ""),
      ("let state = self.state()?;", "let state = self.state()?;\n        let is_over = session_is_over();")],
     "lib ring_tests"),
    ("may_sleep: published not looked at", READER,
     [("self.unread() != 0 || self.refresh().unwrap_or(true);", "false;")], "data"),
    ("may_sleep: what is in view taken for read", READER,
     [("self.unread() != 0 || self.refresh().unwrap_or(true);", "self.refresh().unwrap_or(true);")],
     "lib ring_tests::sleep"),
    ("may_sleep: the state not looked at", READER,
     [("!news && self.state() == Ok(LaneState::Open) && ", "!news && ")], "data"),
    ("may_sleep: the session not asked for", READER, [(" && !session_is_over()", "")], "lib ring_tests::sleep"),
    ("was_evicted: eviction unnoticed", READER,
     [("self.lane.evictions().load(Ordering::Relaxed) != evictions", "evictions != evictions")], "eviction"),
    ("was_evicted: fence left out", READER,
     [(ACQUIRE + "\n        self.lane.evictions()", "self.lane.evictions()")], "eviction"),
    ("copy_intact: looked before the copy", READER,
     [("        ring.copy_out(found.payload, copy);\n", ""),
      ("!self.was_evicted() || is_intact(&*self.lane, found.from)",
       "let good = !self.was_evicted() || is_intact(&*self.lane, found.from);\n"
       "        ring.copy_out(found.payload, copy);\n        good")],
     "eviction"),
    ("copy_intact: any eviction believed one's own", READER,
     [("!self.was_evicted() || is_intact(", "!self.was_evicted() && is_intact(")], "eviction"),
    ("corrupt: evicted, and called corrupt", READER, [("if self.was_evicted() {", "if false {")], "eviction"),
    ("stop_at: what was found corrupt is read on", READER,
     [("self.stop = Some(stop);", "let _ = stop;")], "lib ring_tests"),
    ("stop_at: another reason the next time", READER,
     [("            return Err(stop);\n        }\n        let published",
       "            self.stop = None;\n            return Err(stop);\n        }\n        let published")],
     "lib ring_tests"),
    ("refresh: more missed the next time", READER,
     [("            return Err(stop);\n        }\n        let published",
       "            let evicted = matches!(stop, Stop::Evicted { .. });\n"
       "            return Err(if evicted { self.evicted_at(self.position()) } else { stop });\n"
       "        }\n        let published")], "lib consumer::tests::eviction"),
    ("on_attached: another start than the one asked for", INCOMING,
     [("reading.asked.filter(|asked| *asked != start)", "reading.asked.filter(|_| false)")], "lib handshake"),
    # Feeds.
    ("step: a lane that has ended is joined again", COURSE,
     [("Some(Stand { has_ended: true, .. }) => Step::Wait,", "")], "lib feed"),
    ("step: another lane taken for the one that was read", COURSE,
     [("match self.stand.filter(|stand| stand.lane == lane) {\n            Some(Stand { has_ended",
       "match self.stand {\n            Some(Stand { has_ended")], "lib feed"),
    ("step: what is gone asked for without end", COURSE, [("Some(_) if is_gone", "Some(_) if false && is_gone")], "lib feed"),
    ("join: what is missed taken for nothing", COURSE,
     [("missed_bytes: Some(start.saturating_sub(position))", "missed_bytes: Some(0)")], "lib feed"),
    ("join: what a place keeps read twice", COURSE, [("position: position.max(start)", "position: start")], "lib feed"),
    ("leave: back before what was read", COURSE,
     [("stand.position = stand.position.max(position);", "stand.position = position;")], "lib feed"),
    ("Feed: what was read before handed out again", FEED,
     [("                        Ok(Some(found)) if found.position < reading.first => reading.pass_over(),\n", "")], "test feed"),
    ("Feed: a corrupt lane left for another", FEED,
     [("self.phase = Phase::Corrupt(corruption);", "let _ = corruption;\n                    self.phase = Phase::Away;")],
     "test feed"),
    ("Feed: the consumer is not watched", FEED,
     [("let watched = self.poller.add(&consumer, CONSUMER, Trigger::Level);",
       "let watched = self.poller.add(&consumer, CONSUMER, Trigger::Level);\n            self.poller.remove(&consumer);")],
     "test feed"),
    ("Feed: what is raised is not lowered", FEED, [("        self.reports.done.lower();\n", "")], "test feed sleeps"),
    ("Feed: an interrupt ends no wait for a connection", FEED,
     [("        if self.is_interrupted() {\n            return Err(FeedError::Interrupted);\n        }\n", "")], "test feed"),
    ("Connector: nobody stops it", CONNECTOR, [("self.shared.stop.raise();", "let _ = &self.shared.stop;")], "test feed"),
    ("Connector: nobody is told", CONNECTOR, [("        self.shared.reports.done.raise();\n", "")], "test feed"),
    ("Connector: told a moment late", CONNECTOR,
     [("        self.shared.reports.done.raise();\n",
       "        drop(work);\n        std::thread::sleep(Duration::from_millis(5));\n"
       "        self.shared.reports.done.raise();\n")], "test feed a_feed_that_is_polled"),
    ("join: a later lane resumed once only", COURSE, [("|stand| stand.resumes)", "|_| false)")], "lib feed::course"),
    ("step: no later lane goes on by its place", COURSE,
     [("Some(Stand { resumes: true, .. })", "Some(_) if self.first == Start::Resume")], "test feed a_later_lane"),
    ("begin_opening: threads left behind without a bound", OPENED,
     [(">= LEFT_BEHIND_MAX {", ">= usize::MAX {")], "test hostile_calls keep"),
    ("open: one that was given no Offer is left behind", OPENED,
     [("    has_parted: Arc<AtomicBool>,\n}", "    has_parted: Waits,\n}"),
      ("Ok(Self { hands_over, outcome, has_parted })",
       "Ok(Self { hands_over, outcome, has_parted: Waits(has_parted) })"),
      ("_waits: Waits(has_parted) }", "_waits: has_parted }")],
     "lib session::opened::tests::threads_that_were_never"),
    ("Waits: a thread that has ended counts as left behind", OPENED,
     [("takes back what was counted.\n        if self.0.swap(true, Ordering::AcqRel) {",
       "takes back what was counted.\n        if self.0.swap(true, Ordering::AcqRel) && false {")],
     "test hostile_calls a_producer_that_keeps"),
    ("check_remains: a signal ends the wait for the end of a process", ATTACH_SAID,
     [("if !peer.ends_within(grace) {", "if !peer.is_dead() && grace > Duration::ZERO {")], "test signals what_a_dying"),
    ("look_at_queue: one that fails keeps the others waiting", SELECT,
     [("failure = failure.or(Some(error));", "return Err(error);")], "test interrupt ctrl_c_ends"),
    ("harvest: a signal begins the wait anew", SELECT,
     [("Err(Errno::INTR) => return Ok(()),", "Err(Errno::INTR) => return self.harvest(timeout),")],
     "test storms whoever_listens"),
    ("of: pid 0 is a process", PEER,
     [("pid: u32::try_from(credentials.pid).ok().filter(|pid| *pid != 0),", "pid: u32::try_from(credentials.pid).ok(),")],
     "test strangers processes_of_another_pid"),
    ("has_one_processor: whatever the quota", "src/os/spin.rs", [("is_some_and(|quota| quota < 2000)", "is_some_and(|quota| quota < 1)")],
     "test spinning nobody_spins"),
    ("end: nobody learns of the end of a steward", SHARED,
     [("        self.update(|progress| progress.done = true);\n        self.news.raise();\n",
       "        self.update(|progress| progress.done = true);\n")], "lib session::shared"),
    ("close_later_counted: on the thread of sessions", "src/os/closing.rs",
     [("enqueue(&COUNTED, ", "enqueue(&OF_SESSIONS, ")], "lib os::closing"),
    ("wait_for_closing: connects all the same", CONNECTING,
     [("if closing::waiting() < WAITING_MAX {", "if closing::waiting() < usize::MAX {")], "lib session::connecting"),
    ("new: the time to connect begins anew once there is a connection", SERVING,
     [("until.unwrap_or_else(|| Deadline::after(offering.limits.deadline))", "until.map_or(Deadline::after(offering.limits.deadline), |_| Deadline::after(offering.limits.deadline))")],
     "test hostile_arrivals a_producer_connects_by"),
    ("KeptCopy: where the allocator puts it", OWNED,
     [(".align_offset(align as usize);", ".align_offset(1);")], "test lane payloads_are_aligned"),
    ("attach: no descriptors of the other direction after it", SERVING,
     [("        crash::point!(\"steward-attach-heard\");\n",
       "        crash::point!(\"steward-attach-heard\");\n        fds::refuse_fds(self.socket.as_fd());\n")],
     "test hostile_calls a_caller_may_attach"),
    ("require_consumers: a batch not published before the wait", "src/producer/waits.rs",
     [("if waits && self.publisher", "if false && self.publisher")], "test tokio a_batch_of_a_task_that"),
    ("Place: a forked child waits for the lock", ARRIVING,
     [("if self.places.guard.is_child() {", "if false {")], "lib session::arriving"),
    ("adopt: another file taken for the socket", LISTENER, [("if !is_socket || !", "if !")], "lib session::listener"),
    ("into_error: who is refused has broken the protocol", "src/session/ending.rs",
     [("(Refusal::Busy | Refusal::Position |", "(Refusal::Position |")], "lib session::ending"),
    ("Connector: a lane that was read may not come back", CONNECTOR, [("=> self.course.has_joined(),", "=> false,")], "test feed"),
    ("Connector: patience has no end", CONNECTOR, [(" || tries.deadline.has_passed()", "")], "test feed"),
    ("Feed: what was passed over counted", FEED,
     [("        self.passed = (stats.records, stats.record_bytes);\n", "        let _ = stats;\n")], "test feed what_a_place"),
    ("Feed: what was counted goes with its lane", FEED,
     [("        self.tally();\n        // The consumer goes", "        // The consumer goes")], "test feed one_that_is_evicted"),
    # Releasing what was read.
    ("Holds::store: Release weakened", RELEASE,
     [("consumed().store(consumed, Ordering::Release)", "consumed().store(consumed, Ordering::Relaxed)")], "gating"),
    ("Holds::store: Release of space_seq weakened", RELEASE,
     [("store(seq.wrapping_add(1), Ordering::Release)", "store(seq.wrapping_add(1), Ordering::Relaxed)")], "space"),
    ("Holds::store: space_seq bumped first", RELEASE,
     [("self.seat.consumed().store(consumed, Ordering::Release);", ""),
      ("self.seat.space_seq().store(seq.wrapping_add(1), Ordering::Release);",
       "self.seat.space_seq().store(seq.wrapping_add(1), Ordering::Release);\n"
       "        self.seat.consumed().store(consumed, Ordering::Release);")], "space"),
    ("Holds::store: space_seq not bumped", RELEASE,
     [("self.seat.space_seq().store(seq.wrapping_add(1), Ordering::Release);", "let _ = seq;")], "space"),
    ("wake_producer: fence left out", RELEASE, [(SEQCST, "")], "space"),
    ("wake_producer: fence weakened", RELEASE, [(SEQCST, ACQREL)], "space"),
    ("release: nobody woken", RELEASE,
     [("        self.holds.wake_producer();\n    }\n\n    #[cold]",
       "        if leaves {\n            self.holds.wake_producer();\n        }\n    }\n\n    #[cold]")], "space"),
    ("leave: nobody woken", RELEASE,
     [("        self.holds.wake_producer();\n    }\n\n    #[cold]",
       "        if !leaves {\n            self.holds.wake_producer();\n        }\n    }\n\n    #[cold]")], "space"),
    ("Holds::store: read stored after consumed", RELEASE,
     [("        self.seat.read().store(read, Ordering::Relaxed);\n", ""),
      ("self.seat.consumed().store(consumed, Ordering::Release);",
       "self.seat.consumed().store(consumed, Ordering::Release);\n"
       "        self.seat.read().store(read, Ordering::Relaxed);")], "gating"),
    ("Holds::store: read left as it was", RELEASE,
     [("        self.seat.read().store(read, Ordering::Relaxed);\n", "        let _ = read;\n")], "gating"),
    ("leave: what was released forgotten", RELEASE,
     [("if leaves { done | CONSUMED_LEFT_BIT } else { done }", "if leaves { CONSUMED_LEFT_BIT } else { done }")],
     "gating"),
    ("leave: what was read taken for released", RELEASE,
     [("if leaves { done | CONSUMED_LEFT_BIT } else { done }", "if leaves { read | CONSUMED_LEFT_BIT } else { done }")],
     "lib ring_tests"),
    ("release: more than was read", RELEASE,
     [("self.tell(position, position, false, counters);", "self.tell(position + 8, position + 8, false, counters);")],
     "lib what_is_sent_is_received"),
    # Records that are reserved together.
    ("Window::commit: the rest not moved down", WINDOW,
     [("                writer.memory_mut().move_bytes(from, to, len);\n", "")], "test window"),
    ("Window::commit: a gap where a slot was discarded", WINDOW,
     [("                is_apart = true;\n                continue;\n", "                continue;\n")], "test window"),
    ("Window::commit: a gap where a slot was shortened", WINDOW,
     [("            is_apart |= claim.end() != reserved.end();\n", "")], "test window"),
    ("reserve_window: room for the first record only", WINDOW,
     [("let need = Need { len: first.len, end: Some(last.claim.end()) };", "let need = Need { len: first.len, end: None };")],
     "test window"),
    ("reserve_window: as long as the ring", WINDOW,
     [("room.geometry().capacity() / 2);", "room.geometry().capacity());")], "test window"),
    ("commit_placed: the room left where it was", WRITER, [("        self.room = room;\n        self.move_to(claim.end);\n", "        self.room = room;\n")], "test window"),
    ("bytes_mut_each: places that overlap", LANE,
     [("        assert!(places.windows(2).all(follows), \"places that overlap\");\n", "        let _ = follows;\n")],
     "lib memory"),
    ("bytes_mut_each: places that overlap, a round apart", LANE,
     [("assert!(last + len - first <= self.lane.geometry.capacity(), ", "assert!(last + len >= *first, ")], "lib memory"),
    ("has_news_soon: arms at once", LOOKS,
     [("if self.vain_tries == 0 { self.peek_for_news() } else { None };", "None;")],
     "lib a_task_looks_on_for_a_moment"),
    ("has_news_soon: looks on each time", LOOKS,
     [("if self.vain_tries == 0 { self.peek_for_news() } else { None };", "self.peek_for_news();")],
     "lib a_task_looks_on_for_a_moment"),
    # Records that are held.
    ("hold: stores still made without the lock", RELEASE,
     [("self.is_locked.store(true, Ordering::Relaxed);", "")], "holds"),
    ("hold: goes on from what was stored long ago", RELEASE,
     [("(books.done, books.consumed, books.read) = (self.released, self.released, self.released);", "")],
     "lib consumer::tests::holds"),
    ("hold: the producer not told", RELEASE, [("        holds.note_read(&mut books, end);\n", "        let _ = end;\n")],
     "lib consumer::tests::holds"),
    ("tell_under_lock: the lock given up while something is held", RELEASE,
     [("*is_locked.get_mut() = !books.held.is_empty();", "*is_locked.get_mut() = false;")], "holds"),
    ("tell_under_lock: nobody woken", RELEASE,
     [("            *is_unconfirmed = false;\n            holds.wake_producer();\n", "            *is_unconfirmed = false;\n")], "holds"),
    ("tell: without the lock once nothing is held", RELEASE,
     [("if *self.is_locked.get_mut() {", "if *self.is_locked.get_mut() && self.holds.books.lock().oldest().is_some() {")],
     "lib what_is_sent_is_received"),
    ("Hold::end: stored after the lock is given up", RELEASE,
     [("        let has_stored = self.holds.settle(&mut books);\n        drop(books);\n",
       "        let mut after = Books { held: books.held.clone(), ..*books };\n        drop(books);\n"
       "        let has_stored = self.holds.settle(&mut after);\n")], "holds"),
    ("Hold::end: nobody woken", RELEASE,
     [("        if has_stored {\n            self.holds.wake_producer();\n        }\n", "        let _ = has_stored;\n")],
     "holds"),
    ("Hold::end: in a forked child", OWNED, [("            && !held.is_forked()\n", "")], "lib forked_child"),
    ("settle: what is held released", RELEASE,
     [("books.oldest().map_or(books.done, |oldest| oldest.min(books.done))", "books.done")], "holds"),
    ("settle: the record that is out released", RELEASE,
     [("books.oldest().map_or(books.done, |oldest| oldest.min(books.done))", "books.oldest().unwrap_or(books.read)")],
     "lib consumer::tests::holds"),
    ("settle: left while something is held", RELEASE,
     [("let leaves = books.has_left && books.held.is_empty();", "let leaves = books.has_left;")], "holds"),
    ("settle: never left", RELEASE,
     [("let leaves = books.has_left && books.held.is_empty();", "let leaves = false;")], "holds"),
    ("Books::end: every hold the last of its record", RELEASE,
     [("self.held[index].1 -= 1;", "self.held[index].1 = 0;")], "lib consumer::tests::holds"),
    ("held_bytes: a slow consumer taken for one that holds", SEAT,
     [("read.saturating_sub(released).min(behind_bytes)", "behind_bytes.max(read - read.min(released))")],
     "lib consumer::tests::holds"),
    ("release_all: all that is in view", READER,
     [("self.release.release(self.position(), ", "self.release.release(self.cursor.seen(), ")],
     "lib what_is_sent_is_received"),
    ("release: when the next is due never said", RELEASE,
     [("self.due_at = position.saturating_add(self.step);", "")], "lib ring_tests"),
    ("move_to: beyond where a release is due", CURSOR,
     [(".min(self.due.max(position));", ";")], "lib a_long_run"),
    ("next_across_due: no release due any more", CURSOR, [("        self.set_due(due);\n        found", "        found")],
     "lib ring_tests"),
    # The roster.
    ("oldest: Acquire weakened", ROSTER,
     [("boundary.load(Ordering::Acquire)", "boundary.load(Ordering::Relaxed)")], "joining"),
    ("remember_boundary: Release weakened", ROSTER,
     [("store(published, Ordering::Release)", "store(published, Ordering::Relaxed)")], "joining"),
    ("remember_boundary: before the publication", PUBLISHER,
     [(".lane(), published);", ".lane(), end);")], "joining"),
    ("oldest: bytes that may be overwritten", ROSTER, [("*boundary >= kept", "*boundary >= kept.min(0)")], "joining"),
    ("refresh: fence left out", SEAT, [(ACQUIRE + "\n        let read", "let read")], "gating"),
    ("refresh: the quickest gates", ROSTER, [("consumed < least", "consumed > least")], "gating"),
    ("refresh: limit not stored", ROSTER, [("self.limit.store(limit, Ordering::Relaxed);", "")], "joining"),
    ("refresh: limit stored without the lock", ROSTER,
     [("let capacity = lane.geometry().capacity();",
       "drop(seats);\n        let capacity = lane.geometry().capacity();")],
     "joining"),
    ("refresh: nonsense believed", SEAT,
     [("if released < last || released > read || read > published() {", "if { let _ = published; false } {")],
     "hostile"),
    ("refresh: a fallen position believed", SEAT,
     [("if released < last || ", "if ")], "hostile"),
    ("refresh: a position ahead of published believed", SEAT,
     [(" || read > published() {", " || { let _ = published; false } {")], "hostile"),
    ("refresh: less read than released believed", SEAT, [(" || released > read || ", " || ")], "hostile"),
    ("look: read loaded before consumed", SEAT,
     [("        let read = self.port.read().load(Ordering::Relaxed);\n", ""),
      ("        let consumed = self.port.consumed()",
       "        let read = self.port.read().load(Ordering::Relaxed);\n        let consumed = self.port.consumed()")],
     "gating"),
    ("look: one who left still gates", SEAT,
     [("} else if consumed & CONSUMED_LEFT_BIT != 0 {", "} else if false {")], "gating"),
    ("join: seated after the lock", ROSTER,
     [("        let (last, last_rung) = ",
       "        drop(seats);\n        let mut seats = self.seats.lock();\n        let (last, last_rung) = ")],
     "joining"),
    ("note_change: version not bumped", ROSTER, [("self.version.fetch_add(1, Ordering::Relaxed);", "")], "data"),
    ("note_change: nobody woken", ROSTER, [("        self.changed.note();\n", "")], "space"),
    ("evict_those: count of evictions left alone", ROSTER,
     [("lane.evictions().store(evictions, Ordering::Relaxed);", "let _ = evictions;")], "eviction"),
    ("renew: no fence beside the first consumer that fences", ROSTER,
     [("if is_fenced && !snapshot.fences {", "if false {"),
      ("            " + SEQCST + "\n        }\n        snapshot.fences", "        }\n        snapshot.fences")],
     "data",
     "models have consumers of one kind only, and the light barrier of the asymmetric kind is a full fence there"),
    # Sleeping and waking: the announcement of a sleep.
    ("announce: heavy barrier left out", SLEEP, [("=> barrier::heavy(),", "=> {}")], "data"),
    ("announce: fence left out", SLEEP, [("=> fence(Ordering::SeqCst),", "=> {}")], "data"),
    ("announce: fence weakened", SLEEP,
     [("=> fence(Ordering::SeqCst),", "=> fence(Ordering::AcqRel),")], "data"),
    ("arm: events not harvested", SLEEP, [(" && wakeups.harvest() {", " && false {")], "data"),
    ("arm: events harvested after the announcement", SLEEP,
     [("        let is_new = *self != Self::Stands;\n" + ANNOUNCE, ""),
      ("        if (waits", "        let is_new = *self != Self::Stands;\n" + ANNOUNCE + "        if (waits")],
     "data"),
    ("arm: events harvested after the look", SLEEP,
     [("if is_new { Armed::Newly }", "wakeups.harvest();\n        if is_new { Armed::Newly }")], "data"),
    ("arm: a harvested ring not noted", SLEEP, [("            self.note_ring(reader.seat());\n", "")], "data"),
    ("arm: a ring left over from a sleep that was taken back", SLEEP,
     [("*self != Self::None) && ", "*self == Self::Stands) && ")], "lib ring_tests::sleep"),
    ("arm: announced though the session is over", SLEEP,
     [("if wakeups.session_is_over() {", "if false {")], "lib ring_tests::sleep"),
    ("arm: announced anew each time", SLEEP, [("if is_new {\n", "if true {\n")], "lib ring_tests::sleep"),
    ("arm: no look after the announcement", SLEEP, [("if !reader.may_sleep(", "if false && !reader.may_sleep(")],
     "data"),
    ("arm: announced, with something to see", SLEEP, [("            self.disarm(reader.seat());\n", "")],
     "lib ring_tests::sleep"),
    ("note_ring: the announcement stands", SLEEP, [("        *self = Self::None;\n", "")], "data"),
    ("note_ring: the epoch left odd", SLEEP,
     [("            take_back(seat.wait_epoch());\n        }\n        *self = Self::None;",
       "        }\n        *self = Self::None;")], "lib ring_tests::sleep"),
    ("disarm: the epoch left odd", SLEEP,
     [("            take_back(seat.wait_epoch());\n            *self", "            *self")], "lib ring_tests::sleep"),
    # The producer's side of both.
    ("wake_sleepers: light barrier left out", PUBLISHER, [("barrier::light();", "")], "data"),
    ("wake_sleepers: fence left out", PUBLISHER, [("if snapshot.fences {\n        " + SEQCST, "if false {")], "data"),
    ("wake_sleepers: fence weakened", PUBLISHER,
     [("if snapshot.fences {\n        " + SEQCST, "if snapshot.fences {\n        " + ACQREL)], "data"),
    ("wake_sleepers: seats looked at before the barrier", PUBLISHER,
     [("    roster.update(snapshot);\n", ""), ("barrier::light();", "roster.update(snapshot);\n    barrier::light();")],
     "data"),
    ("claim_ring: rung for twice", PUBLISHER, [("last_rung.store(epoch, Ordering::Relaxed);", "")], "data"),
    ("close: nobody rung for", PUBLISHER,
     [("self.writer.close(state);\n        self.wake_sleepers(roster);", "self.writer.close(state);")], "data"),
    ("find_room: a full batch published without a ring", PUBLISHER,
     [("                self.publish_batch(roster, self.writer.room());\n",
       "                self.writer.publish_batch(self.writer.room());\n")], "space"),
    ("find_room: a full batch not published", PUBLISHER, [("                self.publish_batch(roster, self.writer.room());\n", "")],
     "space"),
    ("find_released: promised to nobody", ROSTER,
     [("        self.promised.store(released.max(self.promised.load(Ordering::Relaxed)), Ordering::Relaxed);\n", "")],
     "lib ring_tests"),
    ("remove_those: what was not released forgotten", ROSTER,
     [("                    None => self.note_unreleased(unreleased),\n", "                    None => {}\n")], "lib ring_tests"),
    ("note_unreleased: the last instead of all", ROSTER,
     [("            _ => ranges.push(range),", "            _ => *ranges = vec![range],")], "lib ring_tests"),
    # The places of those who have gone.
    ("begins_record: fence left out", ROSTER, [(ACQUIRE + "\n        let is_remembered", "let is_remembered")], "places"),
    ("vacate: nothing kept", ROSTER,
     [("places.vacate(Arc::clone(seat), kept);", "places.vacate(Arc::clone(seat), published);")], "places"),
    ("vacate: followed to wherever it stopped", ROSTER,
     [("let kept = if released == seat.start || self.begins_record(lane, released, published) {",
       "let kept = if released == seat.start || self.begins_record(lane, released, published) || true {")],
     "lib ring_tests::places"),
    ("check_start: what may be overwritten already", ROSTER,
     [("let is_there = position >= oldest && ", "let is_there = ")], "lib ring_tests::places"),
    ("check_start: the middle of a record", ROSTER,
     [("position >= oldest && self.begins_record(lane, position, published)",
       "(oldest..=published).contains(&position)")], "lib ring_tests::places"),
    ("join: who begins nowhere has taken a place", ROSTER,
     [("        if let Start::At(position) = start {\n            self.check_start(lane, position, takes_fds)?;\n        }\n", ""),
      ("            Start::At(position) => position,\n",
       "            Start::At(position) => {\n                self.check_start(lane, position, takes_fds)?;\n"
       "                position\n            }\n")], "lib ring_tests::places"),
    ("oldest: the beginning forgotten", ROSTER, [(".chain([self.first])", "")], "lib ring_tests::places"),
    ("find_slowest: what is kept gates nothing", ROSTER,
     [("places.lock().slowest());", "places.lock().slowest()).filter(|_| false);")], "places"),
    ("find_slowest: what is kept looked at before who goes", ROSTER,
     [("        // Last: those who have just gone have left places, too.\n"
       "        let kept = self.places.as_ref().and_then(|places| places.lock().slowest());\n", ""),
      ("        let (mut slowest, mut left, mut broken)",
       "        let kept = self.places.as_ref().and_then(|places| places.lock().slowest());\n"
       "        let (mut slowest, mut left, mut broken)")], "lib ring_tests::places"),
    ("released: published loaded before the seat", SEAT,
     [("        // Loaded after the seat's words, so that it is no less than what the consumer has seen.\n",
       "        let published = lane.published().load(Ordering::Relaxed);\n"),
      ("self.look_after(last, || lane.published().load(Ordering::Relaxed))", "self.look_after(last, || published)")],
     "places"),
    ("resume: those who have left not looked for", ROSTER,
     [("        let left = self.remove_those(lane, seats, Seat::has_left);\n        self.tallies.note_left(left);\n        places",
       "        let _ = (lane, seats);\n        places")],
     "lib ring_tests::places"),
    ("resume: for anyone", ROSTER,
     [("port.may_succeed(&vacancy.seat.port)", "port.may_succeed(&vacancy.seat.port) || true")], "lib ring_tests::places"),
    ("is_of_user: two without a number", "src/lane/seat.rs",
     [("self.uid.is_some() && self.uid == uid", "self.uid == uid")], "lib lane::seat::tests"),
    ("give_up: what was kept taken for released", ROSTER,
     [("        self.note_unreleased(position..lane.published().load(Ordering::Relaxed));\n",
       "        let _ = (position, lane);\n")], "lib ring_tests::places"),
    ("give_up: nobody else gets the place", ROSTER,
     [("        next.map(|seat| places.take_new(seat.id));\n", "        let _ = next;\n")], "lib ring_tests::places"),
    ("missing: one that has left counts", ROSTER, [("places.has(seat.id) && !seat.has_left()).count()",
                                                    "places.has(seat.id)).count()")], "lib ring_tests::places"),
    ("take_new: beside those that are vacant", PLACES,
     [("self.taken.len() + self.vacant.len() < self.wanted", "self.taken.len() < self.wanted")], "lib ring_tests::places"),
    ("resume: any place, not the one that keeps most", PLACES,
     [("open.min_by_key(|(_, vacancy)| vacancy.position)", "open.max_by_key(|(_, vacancy)| vacancy.position)")],
     "lib ring_tests::places"),
    # Who is too slow.
    ("note: the time begins anew with each byte", SLOW,
     [("stands.position < suspect.stood.position.saturating_add(step)", "stands.position == suspect.stood.position")],
     "lib slow::tests"),
    ("note: the time ends with a look at which another holds the ring back", SLOW,
     [("                Some(suspect) if stands.position", "                Some(suspect) if is_laggard && stands.position")],
     "lib slow::tests"),
    ("note: one that leaves room is a laggard", SLOW,
     [("stands.position.saturating_add(self.capacity) < end", "stands.position.saturating_add(self.capacity) <= end")],
     "lib slow::tests"),
    ("judge: one in place is evicted", WAITS,
     [("if !self.watch.evicts() || consumer.reads_in_place {", "if !self.watch.evicts() {")], "test policies never_evicted"),
    ("judge: the deadline of the caller alone", WAITS, [("deadline.min(until).min(wait", "{ let _ = until; deadline }.min(wait")],
     "test policies a_slow_consumer"),
    ("require_consumers: not asked for again", WAITS,
     [("                return Err(SendError::Interrupted);\n            }\n            self.require_consumers(deadline)?;\n",
       "                return Err(SendError::Interrupted);\n            }\n")], "test policies goes_while_the_producer_waits"),
    ("evict: one in place is evicted", AUDIENCE, [("        if reads_in_place {", "        if reads_in_place && false {")],
     "test policies never_evicted"),
    ("finish_and_wait: one that has gone is forgotten", AUDIENCE,
     [("(is_lost || !who.is_gone)", "!who.is_gone")], "test policies waits_for_its_readers"),
    ("finish_and_wait: what a successor has read counts as lost", AUDIENCE,
     [("(is_lost || !who.is_gone)", "(is_lost || true)")], "test policies a_successor_resumes"),
    ("note_idle: each time anew", "src/consumer/standing.rs",
     [("if self.idle.is_none_or(|(idle_at, _)| idle_at != position) {", "if true {")], "test policies where_it_stands"),
    ("try_closely: idle not noted", LOOKS, [("                self.note_idle();\n                self.look_at", "                self.look_at")],
     "test policies where_it_stands"),
    ("sleep_for_space: not announced", PUBLISHER,
     [("self.announce(SPACE_WAIT_FUTEX);", "self.announce(0);")], "space"),
    ("arm_for_space: not announced", PUBLISHER, [("self.announce(SPACE_WAIT_BELL);", "self.announce(0);")], "space"),
    ("arm_for_space: announced for sleepers", PUBLISHER,
     [("self.announce(SPACE_WAIT_BELL);", "self.announce(SPACE_WAIT_FUTEX);")], "space"),
    ("arm_for_space: no look after the announcement", PUBLISHER,
     [("        self.is_armed = true;\n        self.find_room(roster, need)", "        self.is_armed = true;\n        let _ = (roster, need.into());\n        Err(None)")], "space"),
    ("announce: fence left out", PUBLISHER,
     [("        " + SEQCST + "\n    }\n\n    /// Takes the announcement back.", "    }\n\n    /// Takes the announcement back.")], "space"),
    ("announce: fence weakened", PUBLISHER,
     [(SEQCST + "\n    }\n\n    /// Takes the announcement back.", ACQREL + "\n    }\n\n    /// Takes the announcement back.")], "space"),
    ("find_room: the announcement stands though there is room", PUBLISHER,
     [("        if self.is_armed && outcome.is_ok() {", "        if false {")], "lib ring_tests::space"),
    ("find_room: the announcement goes though there is no room", PUBLISHER,
     [("        if self.is_armed && outcome.is_ok() {", "        if self.is_armed {")], "lib ring_tests::space"),
    ("wake_producer: the space bell of a loop that does not wait rung", RELEASE,
     [("            SPACE_WAIT_BELL => self.seat.ring_for_space(),", "            _ => self.seat.ring_for_space(),"),
      ("            _ => {}\n        }\n    }\n}", "        }\n    }\n}")], "lib ring_tests::space"),
    ("end: nobody rung for what was held", RELEASE,
     [("        if has_stored {\n            self.holds.wake_producer();\n        }\n", "        let _ = has_stored;\n")],
     "lib ring_tests::space"),
    ("wake_producer: the space bell not rung", RELEASE,
     [("            SPACE_WAIT_BELL => self.seat.ring_for_space(),\n", "            SPACE_WAIT_BELL => {}\n")], "space"),
    ("sleep_while_held: fence left out", PUBLISHER, [(ACQUIRE, "")], "space"),
    ("sleep_while_held: no look after the capture", PUBLISHER,
     [("        match look(self) {\n            Ok(found) => return Ok(found),\n            Err(now)",
       "        match Err::<T, _>(gate) {\n            Ok(found) => return Ok(found),\n            Err(now)")],
     "space"),
    ("sleep_while_held: sleeps on a seat that gates no more", PUBLISHER,
     [("if now.map(|gate| gate.seat_id) != gate.map(|gate| gate.seat_id)", "if now.is_none() && gate.is_some()")],
     "space"),
    ("sleep_while_held: private word captured after the last look", PUBLISHER,
     [("let changed = roster.capture_changed();", ""),
      ("futex::wait(changed, seq, limit)", "futex::wait(roster.capture_changed(), seq, limit)")], "space"),
    ("sleep_while_held: space_seq captured after the last look", PUBLISHER,
     [("futex::wait(changed, seq, limit)",
       "futex::wait(changed, seq.map(|(word, _)| (word, word.load(Ordering::Relaxed))), limit)")], "space"),
    # Bells, and what the kernel says of others.
    ("ring: waits where the bell is full", BELL,
     [("match send(self, &[1], SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {",
       "match send(self, &[1], SendFlags::NOSIGNAL) {")],
     "lib os::tests::a_bell_that_nobody_empties"),
    ("ring: a full bell taken for a rung one", BELL,
     [("Err(Errno::AGAIN | Errno::PIPE) => shutdown(self, Shutdown::Write),", "Err(Errno::AGAIN | Errno::PIPE) => Ok(()),")],
     "lib os::tests::a_bell_that_nobody_empties"),
    ("ring: a full bell shut down once", BELL,
     [("Err(Errno::AGAIN | Errno::PIPE) =>", "Err(Errno::AGAIN) =>")], "lib os::tests::a_bell_that_nobody_empties"),
    ("create: a bell with a long queue", BELL, [("    sockopt::set_socket_send_buffer_size(&rung, 0)?;\n", "")],
     "lib os::tests::the_rings_that"),
    ("drop: the bell closed by the thread that drops it", BELL, [("        }\n        close_later(self.fd.take());", "        }\n        drop(self.fd.take());")],
     "lib os::tests::a_bell_is_let_go"),
    ("known_user: the overflow uid is a user's", PEER,
     [("(uid != overflow_uid() || are_all_users_mapped())", "(uid != overflow_uid() || uid != 0)")],
     "test strangers a_user_that_the_namespace"),
    ("is_dead: nobody is", PEER, [("Some(&now)) == Ok(1)", "Some(&now)) == Ok(9)")],
     "test leftovers a_socket_whose_listener"),
    ("of_sender: the overflow uid of no sender is a user's", PEER,
     [("let is_named = pid > 0 || pidfd.is_some();", "let is_named = pid >= 0;")], "test adopted nobody_is_not"),
    ("of_sender: no process watched by its number", PEER,
     [("else { fds::pidfd_of(pid).ok() }", "else { None }")], "test adopted a_kernel_without_pidfds"),
    ("may_be: every process is the one that listened", PEER,
     [("self.pid == other.pid && (self", "self.pid == other.pid || (self")], "test adopted an_activated_server_is_known"),
    ("receive: the consumer's user not asked for", SERVING, [("if !is_admitted {", "if false {")],
     "test adopted a_child_of_another_user"),
    ("recv_first_frame_without_fds: a pidfd where a look has no room for it", "src/fds/frames.rs",
     [("        // A reset is reported before the frame, and the next look has no room for a pidfd.\n        add_pidfds(socket, false);\n", "")],
     "test session_listener a_refusal_at_once"),
    ("receive_first: senders named for ever", FRAME_SOCKET,
     [("Ok(Some(_)) => fds::add_nothing(self.as_fd()),", "Ok(Some(_)) => {}")],
     "test adopted only_the_first_frame"),
    ("meet: the producer's user not asked for", CLIENT,
     [("if options.peers.admits(peer.uid) {", "if options.peers.admits(peer.uid) || true {")],
     "test adopted a_child_of_another_user"),
    ("open_socket: senders not named", CONNECTING, [("    let _ = fds::name_senders(socket.as_fd(), true);\n", "")],
     "test adopted an_activated_server_is_known"),
    ("meet: who follows a dead listener is not waited for", CLIENT,
     [("is_some_and(Peer::is_dead)", "is_some_and(|_| false)")], "test adopted an_activated_server_is_known"),
    ("meet: a dead listener is waited for to the end", CLIENT,
     [("deadline.or_after(HEIR_GRACE)", "deadline")], "test leftovers whoever_connects"),
    ("greet: who listened is not watched", SERVING,
     [("greeting.awaited().is_some_and(|awaited| awaited.is_found_dead(Instant::now()))", "false")],
     "test leftovers a_listener_that_dies"),
    ("pair: who listened is not watched", PAIRING,
     [("stranger.is_some_and(|awaited| awaited.is_found_dead(Instant::now()))", "stranger.is_some_and(|_| false)")],
     "test leftovers a_listener_that_dies"),
    ("awaited: who follows a dead listener is not waited for", "src/session/served.rs",
     [("if listener.is_dead() { HEIR_GRACE }", "if false { HEIR_GRACE }")], "lib session::served"),
    ("open: root not believed to listen for others", CLIENT, [("if listener.uid != Some(ROOT) && ", "if ")],
     "test adopted a_service_of_another_user"),
    ("serve: the process of a stranger not watched", STEWARD,
     [("after.without(before)", "before.without(before)")], "test adopted a_child_reads"),
    # A consumer that listens.
    ("admit: any user", ARRIVING, [("if !options.peers.admits(peer.uid) {", "if false {")],
     "test hostile_arrivals producers_of_other_users"),
    ("welcome: descriptors of nobody", ARRIVING, [("                fds::accept_fds(socket.as_fd());\n", "")],
     "test session_listener several_lanes"),
    ("greet: a death counts before what was said", ARRIVING,
     [("        // An Offer that was sent before a death is read before the death counts.\n",
       "        if readable.process {\n            return Err(Ending::HangUp(String::new()));\n        }\n")],
     "test hostile_arrivals what_a_producer_published"),
    ("check: rings of any length", ARRIVING, [(".find(|capacity| *capacity > capacity_max)", ".find(|_| false)")],
     "test session_listener a_listener_keeps_its_limits"),
    ("map: any number of bytes", ARRIVING, [(".filter(|sum| *sum <= most)", "")],
     "test session_listener a_listener_keeps_its_limits"),
    ("drop: the bytes of a session count for ever", ARRIVING,
     [("        taken.mapped_bytes -= self.mapped_bytes;\n", "")], "test session_listener a_listener_keeps_its_limits"),
    ("greet: descriptors for lanes that are not taken", ARRIVING,
     [("Offer::fd_count_max(self.arrivals.bounds.lanes_max)", "253")],
     "test hostile_arrivals a_producer_that_breaks"),
    ("check_remains: of a producer that lives", ATTACH_SAID,
     [("    if !peer.ends_within(grace) {", "    if peer.ends_within(grace) && false {")],
     "test hostile_arrivals what_a_producer_published"),
    ("check_remains: overwritten", ATTACH_SAID, [(".find(|lane| !is_whole(lane))", ".find(|_| false)")],
     "test hostile_arrivals what_a_producer_published"),
    ("receive: a producer that is dead has nothing more to say", HEARING,
     [("Ok(None) => is_dead = wait_readable(socket, peer, deadline, options, doing)?,",
       "Ok(None) => {\n                wait_readable(socket, peer, deadline, options, doing)?;\n"
       "                if peer.is_dead() {\n                    return Err(Error::Closed { doing: doing.to_owned() });\n"
       "                }\n            }")],
     "test hostile_arrivals what_a_producer_says"),
    ("take: connected before the consumer is attached", SERVING,
     [("        let says_hello = outcome.is_none();\n",
       "        let says_hello = outcome.is_none();\n        let outcome = outcome.and_then(|outcome| {\n"
       "            outcome.say(Ok(()));\n            None\n        });\n")],
     "test session_listener a_session_is_accepted"),
    ("take_handed: nobody is", STEWARD, [("        self.take_handed();\n", "")], "test adopted a_child_reads"),
    ("run: the handle not looked for behind the last turn", STEWARD,
     [("            self.stop_if_closing();\n            if self.is_done() {", "            if self.is_done() {")],
     "lib session::steward::tests::a_steward_whose_handle"),
    ("meet: a session that stands has no thread", STEWARD,
     [("        then.map_or(Ok(()), |then| then())?;\n", "        let _ = then;\n")],
     "lib session::steward::tests::a_session_that_stands"),
    ("meet: one that can have no thread keeps its seats", STEWARD,
     [(".for_each(|session| session.take_back())", ".for_each(|_session| ())")],
     "lib session::steward::tests::a_session_that_stands"),
    ("take_back: nothing is", SERVING, [("self.phase = self.evict(seats);", "let _ = seats;")],
     "lib session::serving::tests::seats_that_are"),
    ("greet: a seat in the turn of the Hello", SERVING,
     [("if greeting.outcome.is_some() && !readable.process =>", "if greeting.outcome.is_some() && false =>")],
     "lib session::serving::tests::a_peer_that_the_program"),
    ("drop: a steward that nobody needs is not told so", SHARED,
     [("            && !self.lanes.iter().any(|lane| lane.has_ended())\n", "")],
     "test session_listener a_producer_that_connects_has_no_thread"),
    ("adopt: listen not called anew", LISTENER,
     [("        listen(&socket, BACKLOG).map_err(Error::os(format!(\"listen on {address}\")))?;\n        Ok((Self",
       "        Ok((Self")], "test adopted an_activated_server_is_known"),
    ("drop: an adopted listener shut down", LISTENER, [("if self.is_adopted {", "if false {")],
     "test adopted an_activated_server_that_stops"),
    ("listening: senders named to those who are accepted", ADOPTED,
     [("    fds::add_nothing(socket.as_fd());\n    Ok((socket, address_of(&bound)))", "    Ok((socket, address_of(&bound)))")],
     "test adopted an_activated_server_is_not_slowed"),
    ("listening: left to block", ADOPTED, [("ioctl_fionbio(&socket, true)", "ioctl_fionbio(&socket, false)")],
     "test adopted an_activated_server_is_not_slowed"),
    ("connected: senders not named", ADOPTED,
     [("fds::name_senders(socket.as_fd(), true)", "fds::name_senders(socket.as_fd(), false)")], "test adopted a_child_reads"),
    ("recv_first_frame_without_fds: descriptors taken", FRAMES,
     [("peek_for_fds(socket, buf, CREDENTIALS_ROOM_BYTES)?;", "peek_for_fds(socket, buf, CREDENTIALS_ROOM_BYTES + 64)?;")],
     "test adopted descriptors_with_a_first_frame"),
    ("in_child: nothing is closed", FORK, [("unsafe { libc::close(number) };", "")], "test leftovers a_child_of_a_server"),
    ("wait_readable: the process not watched", HEARING,
     [("    let pidfd = peer.pidfd.as_ref().map(|pidfd| PollFd::new(pidfd, PollFlags::IN));\n", "    let pidfd: Option<PollFd<'_>> = None;\n")],
     "test adopted whoever_waits"),
    ("check_lock: anything is a lock", LISTENER, [("if is_file && there.st_size == 0 && is_trusted(there) {", "if true {")],
     "test leftovers a_lock"),
    ("welcome: nobody is waited for", STEWARD,
     [("if is_full && self.sessions", "if false && self.sessions")], "test session a_place_that_was_left"),
    ("len: one that has left counts", ROSTER, [(".filter(|seat| !seat.has_left()).count()", ".count()")],
     "test session a_consumer_that_has_left"),
    ("create_empty: the limit of files not asked", REGION, [("        check_file_size(&name, len_bytes)?;\n", "")],
     "test limits a_limit_of_the_length"),
    ("create: the control groups not asked", REGION, [("        check_control_groups(name, len_bytes)?;\n", "")],
     "test limits a_limit_of_a_control_group"),
    ("check_mode: a void policy is taken", LISTENER, [("if address.as_path().is_none() || others_may_write || !peers.admits_others() {", "if true {")],
     "test address other_users"),
    ("check_mode: the mode is not looked at", LISTENER, [("address.as_path().is_none() || others_may_write ||", "address.as_path().is_none() ||")],
     "test address other_users"),
    ("admits_others: root is kept out by modes", "src/session/mod.rs", [("|uid| *uid != 0 && Some(*uid) != own", "|uid| Some(*uid) != own")],
     "test address other_users"),
    ("is_lost: another's file taken for ours", "src/session/listener.rs",
     [("identity(there) != self.identity,", "false,")], "test address a_server_whose_file"),
    ("is_lost: a file that is gone not missed", "src/session/listener.rs",
     [("matches!(error, Errno::NOENT | Errno::NOTDIR)", "{ let _ = error; false }")], "test address a_server_whose_file"),
    ("unreleased: one who has left blamed for what came later", SEAT,
     [("            Consumed::Left(range) => range,",
       "            Consumed::Left(range) => range.start..lane.published().load(Ordering::Relaxed),")],
     "lib ring_tests::roster::what_those_who_go"),
    ("leave: what was unread when it left forgotten", "src/ring/reader.rs",
     [("let due = self.lane.published().load(Ordering::Relaxed).max(self.position());", "let due = self.position();")],
     "test lane what_is_published_after"),
    # How a session ended, as its consumer tells it.
    ("has_died: one that hangs up lives", "src/link.rs",
     [("self.session.died.get_or_init(|| self.session.peer.ends_within(self.session.dying_max))", "self.session.died.get_or_init(|| false)")],
     "test death a_blocked_consumer"),
    ("has_died: one that hangs up is dead", "src/link.rs",
     [("self.session.died.get_or_init(|| self.session.peer.ends_within(self.session.dying_max))", "self.session.died.get_or_init(|| true)")],
     "test hostile_producer whatever_is_said"),
    ("receive_frames: a refusal taken for nonsense", "src/link.rs",
     [("self.note_last_words(LastWords::Refused(refusal, sentence.into()));",
       "self.note_last_words(LastWords::Nonsense((refusal, sentence).1.into()));")],
     "test hostile_producer whatever_is_said"),
    ("wait: a process without a pidfd not looked at", WAITER, [("            self.link.look_at_process();\n", "")],
     "test leftovers a_dead_producer"),
    # What a consumer waits on.
    ("new: the bell watched for its level", WAITER,
     [("            poller.add(&bell, BELL, Trigger::Edge)?", "            poller.add(&bell, BELL, Trigger::Level)?")],
     "lib consumer::tests::waiting"),
    ("watch_bell: watched for its level after a nap", WAITER,
     [("poller.add(&self.bell, BELL, Trigger::Edge)", "poller.add(&self.bell, BELL, Trigger::Level)")],
     "lib consumer::tests::waiting"),
    ("take: a bell that is polled not emptied", WAITER, [("self.bell.take_rings();", "")], "lib consumer::tests::waiting"),
    ("nap: a bell that stays readable polled", WAITER, [("        self.vain_rings.give_up();\n", "")],
     "lib consumer::tests::waiting"),
    ("take: vain rings not counted", WAITER,
     [("            self.vain_rings.note();\n            return", "            return")],
     "lib consumer::tests::waiting"),
    ("park: naps not counted", WAITER, [("if nap.is_some() {", "if false {")], "lib consumer::tests::waiting"),
    ("nap: vain for good", VAIN, [("if position != self.position {", "if false {")], "lib consumer::tests::waiting"),
    ("announce: a bell in vain still watched", WAITER,
     [("self.sources.watch_bell(nap.is_none());", "self.sources.watch_bell(true);")], "lib consumer::tests::waiting"),
    ("announce: the bell not watched again after a nap", WAITER,
     [("self.sources.watch_bell(nap.is_none());", "if nap.is_some() { self.sources.watch_bell(false) }")],
     "lib consumer::tests::waiting"),
    ("announce: no second look", WAITER, [("if barrier == Barrier::Asymmetric { &[SECOND_LOOK] }", "if false { &[SECOND_LOOK] }")],
     "lib consumer::tests::sleeping"),
    ("park: a second look again and again", WAITER,
     [("} else if matches!(woken, Ok(Woken::ByTime)) {", "} else if false {")], "lib consumer::tests::sleeping"),
    ("park: the second look spent by any wake", WAITER,
     [("} else if matches!(woken, Ok(Woken::ByTime)) {", "} else {")], "lib consumer::tests::sleeping"),
    ("arm_elsewhere: no timer", WAITER, [("self.sources.set_timer(at_most)", "self.sources.set_timer(None)")],
     "lib consumer::tests::waiting"),
    ("arm_elsewhere: a second look again and again", WAITER,
     [("goes off in any case.\n        self.looks_due = self.looks_due.saturating_sub(1);", "goes off whatever else happens.")],
     "lib consumer::tests::waiting"),
    ("harvest: a ring that was taken not noted", WAITER, [("        if self.sources.harvest() {\n            self.note_ring(reader);", "        if self.sources.harvest() {")],
     "lib consumer::tests::waiting"),
    ("wait: a part of a millisecond not waited for", POLLER,
     [("poll(&mut [PollFd::new(&self.0, PollFlags::IN)], limit.as_ref())?;", "")], "lib consumer::tests::waiting"),
    ("drop: what it was at in a panic taken for done", CONSUMER,
     [("let is_done = !std::thread::panicking();", "let is_done = true;")], "lib a_consumer_that_a_panic_drops"),
    # Looks at what is in view, and closer ones.
    ("next_after_release: no release", READER,
     [("        self.release_if_due();\n        if self.unread()", "        if self.unread()")], "lib a_long_run"),
    ("next_after_release: released while it is out", READER,
     [("        self.release_if_due();\n        if self.unread() == 0 { None } else { self.next_across_due() }",
       "        let found = if self.unread() == 0 { None } else { self.next_across_due() };\n"
       "        self.release_if_due();\n        found")],
     "lib consumer::tests::waiting"),
    ("arm: what was read not released", CONSUMER,
     [("        self.reader.release_all();\n        let settle_in", "        let settle_in")], "lib consumer::tests::waiting"),
    ("look: an announcement stands beside a record", LOOKS,
     [("                self.waiter.disarm(&self.reader);\n", "")], "lib consumer::tests::waiting"),
    ("poll: the session not looked at", LOOKS,
     [("                self.look_at_session_if_due();\n", "")], "lib consumer::tests::waiting"),
    ("look_in_spin: the session not looked at", LOOKS,
     [("if looks % LOOKS_PER_SESSION == LOOKS_PER_SESSION - 1 {", "if false {")], "test death a_spinning_consumer"),
    ("wait: the session not looked at when the time is up", LOOKS,
     [("                self.waiter.harvest(&self.reader);\n                return", "                return")],
     "test death a_consumer_of_short_patience"),
    ("wait_a_moment: the announcement left standing", LOOKS,
     [("        self.waiter.disarm(&self.reader);\n        self.vain_tries", "        self.vain_tries")],
     "lib consumer::tests::waiting"),
    ("ring: a ring that failed taken for one", PUBLISHER,
     [("        seat.last_rung.store(0, Ordering::Relaxed);\n", "")], "lib ring_tests"),
    ("take: a nap that is over not counted", WAITER,
     [("        if ready.has(TIMER) && !self.is_bell_watched {", "        if false {")], "lib consumer::tests::waiting"),
    ("hold: no look put off", PACE,
     [("hold_ns => self.last_look = Some(self.spin_until_due(Duration::from_nanos(hold_ns))),", "_ => {}")],
     "lib consumer::pace"),
    ("fail: tried as often as before", PACE, [("self.needed = (4 * self.needed).min(*self.range.end());", "")],
     "lib consumer::pace"),
    ("drain: in a forked child", RUNS, [("match self.guard.is_child() {", "match false {")], "test forked"),
    # The plain model that everything is compared with.
    ("place: padding forgotten", WRITER,
     [("> room { room } else { 0 }", "> room { 0 } else { 0 }")],
     "lib what_is_sent_is_received"),
    ("move_to: room across the end of the ring", WRITER,
     [("self.intent.min(position + self.room.geometry.room_to_end(position))", "self.intent")],
     "lib what_is_sent_is_received"),
    ("rewind: what was dropped goes out", WRITER, [("self.move_to(from);", "")],
     "lib what_is_sent_is_received"),
    ("raise_intent: beyond the limit", WRITER, [("self.intent.max(ahead.min(limit))", "self.intent.max(ahead)")],
     "lib what_is_sent_is_received"),
    ("oldest: half a ring too far back", ROSTER,
     [(".saturating_sub(capacity);", ".saturating_sub(capacity + capacity / 2);")], "lib what_is_sent_is_received"),
    # What reads a peer's bytes: tests and the corpora of the fuzz targets.
    ("walk: one byte past the end", CMSG, [("if len > rest.len() as u64 {", "if len > rest.len() as u64 + 1 {")],
     "lib replay::cmsg_walk"),
    ("walk: the last byte refused", CMSG, [("if len > rest.len() as u64 {", "if len >= rest.len() as u64 {")],
     "lib replay::cmsg_walk"),
    ("walk: a message shorter than its header", CMSG,
     [("if len < HEADER_LEN_BYTES as u64 {", "if len < HEADER_LEN_BYTES as u64 - 1 {")], "lib replay::cmsg_walk"),
    ("walk: padding of the last message taken for granted", CMSG,
     [("len.next_multiple_of(CONTROL_ALIGN_BYTES).min(rest.len())", "len.next_multiple_of(CONTROL_ALIGN_BYTES)")],
     "lib replay::cmsg_walk"),
    ("walk: padding forgotten", CMSG,
     [("len.next_multiple_of(CONTROL_ALIGN_BYTES).min(rest.len())", "len")], "lib replay::cmsg_walk"),
    ("walk: a part of a number taken for none", CMSG,
     [("rest.is_empty().then_some(Self::Rights(Rights { numbers }))",
       "(rest.len() < 4).then_some(Self::Rights(Rights { numbers }))")], "lib replay::cmsg_walk"),
    ("encode_rights: one descriptor too many", CMSG,
     [("if count == FDS_PER_MESSAGE_MAX {", "if count > FDS_PER_MESSAGE_MAX {")], "lib cmsg::"),
    ("walk: an error without the type", CMSG,
     [("Some(Err(ControlError::PastEnd { offset, len, level, kind, rest",
       "Some(Err(ControlError::PastEnd { offset, len, level, kind: level, rest")], "lib replay::cmsg_walk"),
    ("encode_rights: padding left as it was", CMSG,
     [("control.get_mut(body_end..used).ok_or(EncodeError::NoRoom { room })?.fill(0);",
       "control.get(body_end..used).ok_or(EncodeError::NoRoom { room })?;")], "lib replay::cmsg_walk"),
    ("RawMessage::encode: padding left as it was", CMSG, [("padding.fill(0);", "let _ = padding;")],
     "lib replay::cmsg_walk"),
    ("Offer::read: an id compared with the neighbour's only", BODY,
     [("if lanes.iter().any(|earlier| earlier.terms.id ==", "if lanes.last().is_some_and(|earlier| earlier.terms.id ==")],
     "lib replay::frame_parse"),
    ("Offer::read: a name compared with the neighbour's only", BODY,
     [("if lanes.iter().any(|earlier| earlier.terms.name ==",
       "if lanes.last().is_some_and(|earlier| earlier.terms.name ==")], "lib replay::frame_parse"),
    ("check_distinct: a name compared with the neighbour's only", BODY,
     [("if names[..index].contains(name) {", "if index > 0 && names[index - 1] == *name {")], "lib replay::frame_parse"),
    ("read_index: any descriptor from lane 10 on", BODY,
     [("if came == expected { Ok(()) }", "if came == expected || expected > 30 { Ok(()) }")], "lib replay::frame_parse"),
    ("OfferedLane::read: a generation of 32 bits from lane 6 on", BODY,
     [('fields.u64("a lane\'s generation")?;',
       'fields.u64("a lane\'s generation")? & if index < 6 { u64::MAX } else { 0xffff_ffff };')],
     "lib replay::frame_parse"),
    ("Hello::read: as many names as there may be, refused", BODY,
     [("if count > LANES_PER_SESSION_MAX {", "if count >= LANES_PER_SESSION_MAX {")], "lib replay::frame_parse"),
    ("Refuse::read: control characters in the sentence", BODY,
     [('let sentence = text(fields.bytes(len, "the sentence")?, "the sentence")?.to_owned();',
       'let sentence = String::from_utf8_lossy(fields.bytes(len, "the sentence")?).into_owned();')],
     "lib replay::frame_parse"),
    ("read_attach: every Attach refused", ATTACH, [("if lanes.iter().all(Option::is_none) {", "if count > 0 {")],
     "lib replay::frame_parse"),
    ("printable: not cut", TEXT, [("if out.len() + c.len_utf8() > max_bytes {", "if false {")],
     "lib replay::frame_parse"),
    ("printable: one character too many", TEXT, [("if out.len() + c.len_utf8() > max_bytes {",
                                                  "if out.len() > max_bytes {")], "lib replay::frame_parse"),
    ("parse: frames of any length", FRAME, [("if bytes.len() > FRAME_MAX_BYTES {", "if false {")],
     "lib replay::frame_parse"),
    ("parse: trailing bytes", FRAME, [("fields.finish()?;", "let _ = fields.finish();")], "lib replay::frame_parse"),
    ("parse: descriptors not counted", FRAME, [("if fd_count != frame.fd_count() {", "if false {")],
     "lib replay::frame_parse"),
    ("check: reserved bits", FRAME, [("if self.reserved != 0 {", "if false {")], "lib replay::frame_parse"),
    ("check: the length of the body", FRAME, [("if self.body_len as usize != body_len {", "if false {")],
     "lib replay::frame_parse"),
    ("Hello::read: a count of lanes without a bound", BODY, [("if count > LANES_PER_SESSION_MAX {", "if false {")],
     "lib wire::"),
    ("from_bytes: an empty name", TEXT, [("if bytes.is_empty() || bytes.len()", "if bytes.len()")], "lib wire::"),
    ("from_bytes: a name of any length", TEXT, [(" || bytes.len() > LANE_NAME_MAX_BYTES", "")], "lib wire::"),
    ("Hello::read: a producer that names lanes", BODY, [("if !role.consumes() && count != 0 {", "if false {")],
     "lib replay::frame_parse"),
    ("read_flags: unknown flags", BODY, [("if flags & !known != 0 {", "if false {")], "lib wire::"),
    ("read_flags: what is not implemented", BODY, [(".find(|(bit, _)| flags & bit != 0)", ".find(|_| false)")],
     "lib wire::"),
    ("OfferedLane::read: what belongs to no flag", BODY, [("if slot_len != 0 {", "if false {")],
     "lib replay::frame_parse"),
    ("read_lane: read in no way, but somehow", ATTACH,
     [('fields.take("a lane that is not read")? == NOTHING', 'fields.take("a lane that is not read")? != [9; 12]')],
     "lib wire::"),
    ("read_attach: nothing to read", ATTACH, [("if lanes.iter().all(Option::is_none) {", "if false {")],
     "lib replay::frame_parse"),
    ("fault: lossy in place", ATTACH,
     [('(Delivery::Lossy, _, Access::InPlace) => Some("lossy and in place"),', "")], "lib replay::frame_parse"),
    ("fault: lossy with descriptors", ATTACH,
     [('(Delivery::Lossy, ..) if self.descriptors => Some("lossy and with descriptors"),', "")],
     "lib replay::frame_parse"),
    ("fault: lossless from the newest on", ATTACH,
     [('(Delivery::Lossless, StartAt::Newest, _) => Some("lossless from the newest record on"),', "")],
     "lib replay::frame_parse"),
    ("from_wire: a position that is not asked for", ATTACH,
     [("if position == 0 { Ok(start) } else { Err(unused) }", "let _ = unused;\n        Ok(start)")],
     "lib replay::frame_parse"),
    ("read_lane_index: any lane", ATTACH,
     [("usize::from(lane) < LANES_PER_SESSION_MAX;", "true;")], "lib replay::frame_parse"),
    ("Report::read: seats not counted", REPORT, [("if listed != listed_of(seats) {", "if false {")],
     "lib replay::frame_parse"),
    ("Attachments::read: none, or more than can come", REPORT,
     [("(1..=FDS_PER_MESSAGE_MAX).contains(&count.into());", "true;")], "lib replay::frame_parse"),
    ("Attachments::read: more records than a frame has", REPORT,
     [("if !(1..=RECORDS_PER_FRAME_MAX).contains(&listed.into()) {", "if listed == 0 {")], "lib replay::frame_parse"),
    ("Attachments::read: records in any order", REPORT,
     [("if records.last().is_some_and(|last| last.position >= record.position) {", "if false {")],
     "lib replay::frame_parse"),
    ("publish_with_fds: only the first record of a group is told", WRITER,
     [("for Filled { claim, tag, fds } in filled {", "for Filled { claim, tag, fds } in &filled[..1] {")],
     "test attachments of_many_each"),
    ("publish_with_fds: numbers count publications, not records", ATTACHING,
     [("let attached = delivery.records.len() as u64;", "let attached = 0;")], "test attachments every_consumer"),
    ("count_group: arrays of any length go together", "src/producer/attachments_many.rs",
     [("                && descriptors <= GROUP_FDS_MAX\n", "")], "lib producer::attachments_many"),
    ("send_group: waits for room for the whole group", "src/producer/attachments_many.rs",
     [("self.reserve_window_until(&lens, Deadline::Now)", "self.reserve_window_until(&lens, deadline)"),
      ("Err(SendError::Full { .. } | SendError::TooFewConsumers { .. }) => return Ok(false),", "")],
     "test attachments of_many_those_are_sent"),
    ("count_group: any part of the ring", "src/producer/attachments_many.rs",
     [("bytes <= geometry.capacity() / GROUP_RING_PART", "true")], "lib producer::attachments_many"),
    ("on_frame: a Hello after a Hello", HANDSHAKE,
     [("(State::AwaitHello, Frame::Hello(hello)) =>", "(_, Frame::Hello(hello)) =>")], "lib replay::handshake"),
    ("on_frame: alive after a fault", HANDSHAKE,
     [("let step = directions.on_frame(frame)?;\n                self.state = State::Open(directions);\n"
       "                Ok(step)",
       "let step = directions.on_frame(frame);\n                self.state = State::Open(directions);\n"
       "                step")], "lib handshake::tests"),
    ("on_hello: any pair of roles", HANDSHAKE, [("if hello.role != self.role.counterpart() {", "if false {")],
     "lib replay::handshake"),
    ("stand: a Bye before all directions stand", HANDSHAKE,
     [("self.outgoing.as_ref().is_none_or(Outgoing::stands) && ", "")], "lib handshake::tests"),
    ("stand: a Bye before its own Attached has come", HANDSHAKE,
     [(" && self.incoming.as_ref().is_none_or(Incoming::stands)", "")], "lib handshake::tests"),
    ("on_frame: an Attach for the other direction", HANDSHAKE,
     [("if frame.sender() == Sender::Consumer =>", "if frame.sender() != Sender::Consumer =>")],
     "lib handshake::tests"),
    ("on_attach: lanes not counted", OUTGOING, [("if attach.len() != self.lanes.len() {", "if false {")],
     "lib replay::handshake"),
    ("check_start: a position that is not aligned", OUTGOING,
     [("if start % align != 0 || start >= START_LIMIT =>", "if start >= START_LIMIT =>")], "lib handshake::tests"),
    ("on_attached: a start that is not aligned", INCOMING,
     [("if start % align != 0 || start >= START_LIMIT {", "if start >= START_LIMIT {")], "lib replay::handshake"),
    ("on_attached: any start", INCOMING,
     [("if start % align != 0 || start >= START_LIMIT {", "if start % align != 0 {")], "lib replay::handshake"),
    ("on_attached: a start of what is not read", INCOMING, [("if !reading.has_seat && start != 0 {", "if false {")],
     "lib handshake::tests"),
    ("on_offer: another version than was agreed", INCOMING, [("if offer.version != self.version {", "if false {")],
     "lib handshake::tests"),
    ("on_evicted: a seat lost twice", INCOMING,
     [("mem::take(&mut reading.has_seat)", "reading.has_seat")], "lib replay::handshake"),
    ("on_evicted: a seat that there is not", INCOMING, [("if !has_seat {", "if false {")], "lib replay::handshake"),
    # One lane of a session, and the others.
    ("note_evicted: the sleepers of other lanes not woken", LINK, [("            eviction_notice.raise();\n", "")],
     "lib consumer::tests::sleeping"),
    ("note_evicted: of all lanes", LINK, [("&& note(fate, Fate::Evicted)",
                                          "&& { let _ = fate; self.note(Fate::Evicted); true }")],
     "lib link::tests"),
    ("receive_frames: one frame at a time", LINK,
     [("            self.take(frame.and_then(|frame| handshake.on_frame(frame)));\n",
       "            return self.take(frame.and_then(|frame| handshake.on_frame(frame)));\n")], "lib link::tests"),
    ("note: the last word stands", LINK,
     [("word.compare_exchange(Fate::Alive as u32, fate as u32, Ordering::AcqRel, Ordering::Acquire).is_ok()",
       "{ word.store(fate as u32, Ordering::Release); true }")], "lib link::tests"),
    ("new: what other lanes hear not watched", WAITER, [("poller.add(notice, EVICTION, Trigger::Edge)?;", "let _ = notice;")],
     "lib consumer::tests::sleeping"),
    ("new: what other lanes hear watched for its level", WAITER,
     [("poller.add(notice, EVICTION, Trigger::Edge)?;", "poller.add(notice, EVICTION, Trigger::Level)?;")],
     "lib consumer::tests::sleeping"),
    ("listen: a question is answered as often as it is asked", ATTENDING,
     [("Instant::now() + QUERY_INTERVAL", "Instant::now()")], "test hostile_query"),
    ("listen: a hang-up behind many questions waits for all of them", ATTENDING,
     [("const FRAMES_PER_TURN: usize = 64;", "const FRAMES_PER_TURN: usize = 1;")], "test hostile_query"),
    ("sees: everybody sees everybody", "src/session/reporting.rs", [("self.sees_all || seat_id", "true || seat_id")],
     "lib session::reporting"),
    ("report: one that may read in place sees everybody", ATTENDING,
     [("self.offering.limits.reports.admits(uid)", "self.offering.limits.in_place.admits(uid)")], "test query"),
    ("on_query: about any lane", "src/handshake/outgoing.rs", [("if are_read.get(lane) != Some(&true) {", "if false {")],
     "lib handshake"),
    ("on_report: unasked", "src/handshake/incoming.rs",
     [("Some(owed) if *owed != 0 => *owed -= 1,", "Some(owed) => *owed = owed.saturating_sub(1),")], "lib handshake"),
    ("Asking::take: for any thread that asks", "src/link/asking.rs",
     [("question.as_mut().filter(|question| question.lane == report.lane)", "question.as_mut()")], "lib link::asking"),
    ("Asking::take: the thread that waits is not woken", "src/link/asking.rs", [("question.notice.raise();", "")],
     "lib link::asking"),
    ("ask: once only", "src/link/asking.rs", [("again = Deadline::after(AGAIN_AFTER);", "again = Deadline::Never;")],
     "lib link::asking"),
    ("query: no interrupt ends it", "src/link/asking.rs", [("self.interrupter.is_some_and(Interrupter::is_interrupted)", "false")],
     "test query"),
    ("receive_frames: no room for a Report", "src/link.rs", [("if handshake.awaits_report() {", "if false {")],
     "test hostile_query"),
    ("standing: nonsense is passed on", SEAT, [("if makes_sense { (released, read)", "if true { (released, read)")],
     "test hostile_query"),
    ("leave: the dead count as those who have left", ROSTER,
     [("seat.id == seat_id && seat.has_left());", "seat.id == seat_id || seat.has_left());")], "test stats"),
    ("take_back: one that was refused has joined", ROSTER,
     [("        self.tallies.take_back_joined(delivery);\n", "        let _ = delivery;\n")], "test stats"),
    ("have_left: nobody has", SEATS, [(".is_none_or(|seat| seat.has_left());", ".is_none_or(|_| false);")], "test stats"),
    ("announce: a sleep counts with each look", "src/consumer/waiter.rs",
     [("            Armed::Still => {}", "            Armed::Still => self.times_slept += 1,")], "test stats"),
    ("is_news: a long wait is told again and again", "src/trace.rs",
     [("            self.is_told = true;\n            return true;", "            return true;")], "feature-test tracing"),
    ("note: each session tells of its end again", "src/link.rs", [("Ordering::Acquire).is_ok()", "Ordering::Acquire).is_ok() || true")],
     "feature-test tracing"),
    ("are_evicted: by any lane", SEATS, [("self.places.iter().all(Place::is_evicted)",
                                          "self.places.iter().any(Place::is_evicted)")], "test evicted"),
    ("take: the seat on one lane is that on all", SEATS,
     [("let (words, evicted) = (SeatMap::new(Arc::clone(&mapping), number), Arc::new(AtomicBool::new(false)));",
       "let (words, evicted) = (SeatMap::new(Arc::clone(&mapping), places.len()), Arc::new(AtomicBool::new(false)));")],
     "test evicted"),
    ("tell_evictions: told again and again", SEATS, [("place.is_told = tell(&place.lane, place.number);", "tell(&place.lane, place.number);")],
     "test evicted"),
    ("tell_evictions: nobody told", ATTENDING, [("        self.tell_evictions(&mut seats);\n", "")],
     "test evicted"),
    ("take: beyond what is published", CURSOR,
     [("if size > self.seen - position || size >", "if size >")], "lib replay::ring_reader"),
    ("take: across the end of the ring", CURSOR,
     [(" || size > geometry.room_to_end(position) {", " {")], "lib replay::ring_reader"),
    ("skip_padding: of any length", CURSOR, [("if len + HEADER_LEN_BYTES != room || ", "if ")],
     "lib replay::ring_reader"),
    ("skip_padding: last", CURSOR, [(" || room >= self.seen - position {", " {")], "lib replay::ring_reader"),
    ("move_to: in view beyond what is published", CURSOR, [("self.seen.min(end).min(", "end.min(")],
     "lib consumer"),
    ("move_to: in view across the end of the ring", CURSOR,
     [("self.seen.min(end).min(", "self.seen.min(")], "lib replay::ring_reader"),
    ("refresh: published may fall", READER, [("if published < seen {", "if false {")], "lib replay::ring_reader"),
    ("refresh: published too far", READER, [("if published - position > geometry.capacity() {", "if false {")],
     "lib replay::ring_reader"),
    ("refresh: published not aligned", READER,
     [("if published & (geometry.record_align() - 1) != 0 {", "if false {")], "lib replay::ring_reader"),
    ("peek: beyond what is in view", CURSOR, [("if end > self.clear {", "if false {")], "lib ring_tests"),
    # Many records in one loop.
    ("EqualRun: of any length", RUNS,
     [("equal & RecordHeader::are_alike(*other, word)", "equal & (other == other)")], "lib consumer::tests::runs"),
    ("EqualRun: beyond what is in view", RUNS,
     [("if EQUAL as u64 * u64::from(size) > cursor.unread_clear() {", "if cursor.unread_clear() == 0 {")],
     "lib consumer::tests::runs"),
    ("take: a record counts once it is read", RUNS,
     [("hand(release, run.take(cursor, word), payload);",
       "let mut ahead = *cursor;\n                    hand(run.take(&mut ahead, word), payload);\n"
       "                    *cursor = ahead;")], "lib a_run_that_panics"),
    ("Run: not resumed after a panic", RUNS,
     [("self.reader.resume(self.cursor);", "if !std::thread::panicking() { self.reader.resume(self.cursor) }")],
     "lib a_run_that_panics"),
    ("places: each second one left out", LANE,
     [("first.add(index * distance as usize)", "first.add(index / 2 * 2 * distance as usize)")], "lib consumer"),
    ("places: beyond the end of the ring", LANE,
     [("(N as u64 - 1) * u64::from(distance) + u64::from(len)", "u64::from(len)")], "lib memory::tests"),
    ("bytes: beyond the end of the ring", LANE,
     [("assert!(len <= self.place.offset_mask + 1 - offset, ", "assert!(len <= self.place.offset_mask + 1, ")],
     "lib memory::tests"),
    ("copy_out: beyond the end of the ring", LANE,
     [("(position, size_of_val(copy) as u64)", "(position, 8)")], "lib memory::tests"),
    ("copy_long: the rest left out", COPYING,
     [("unsafe { copy_words(rest_from, rest) };", "let _ = (rest_from, rest);")], "lib memory::copy"),
    ("stream_bytes: no fence behind the bytes", COPYING,
     [("sees these bytes.\n    order_streams();", "sees these bytes.")], "lib memory::copy::tests::what_was_streamed"),
    ("stream_bytes: the head left out", COPYING, [("NonNull::from(head).cast(), head.len()", "NonNull::from(head).cast(), 0")],
     "lib memory::copy::tests::every_length_is_streamed"),
    ("stores: one slow copy decides", "src/stores.rs", [("    times[TRIALS / 2]", "    times[TRIALS - 1]")],
     "lib stores::tests"),
    ("stores: a little quicker is enough", "src/stores.rs", [("used / 5 * 4", "used")], "lib stores::tests"),
    ("stores: never tried again", "src/stores.rs", [("*timed = self.between;", "*timed = u32::MAX;")], "lib stores::tests"),
    ("copy_to: a long copy at the record's beginning", RESERVATION,
     [("self.payload() + offset as u64, bytes", "self.payload(), bytes")], "test stores a_writer"),
    ("Row::write: a record more than fits", ROW, [("room_bytes.min(size.saturating_mul(count as u64))",
                                                   "size.saturating_mul(count as u64)")], "lib memory::tests"),
    ("Row::write: no header", ROW, [("record[..8].copy_from_slice(&header.to_ne_bytes());", "")], "lib memory::tests"),
    ("Row::write: the header before the payload", ROW,
     [("            fill(index, &mut record[payload_offset..][..len]);\n", ""),
      ("record[..8].copy_from_slice(&header.to_ne_bytes());",
       "record[..8].copy_from_slice(&header.to_ne_bytes());\n"
       "            fill(index, &mut record[payload_offset..][..len]);")], "lib memory::tests"),
    ("fill_many: one record fewer", ROW,
     [("room.advance(records, len as u64);", "room.advance(records.saturating_sub(1), len as u64);")], "lib consumer"),
    ("Reservation::commit: the time written after the publication", RESERVATION,
     [("self.producer.stamp(self.batch.as_deref(), self.claim) {", "!self.producer.guard.is_child() {"),
      ("self.producer.publish(self.claim.begin());\n",
       "self.producer.publish(self.claim.begin());\n                self.producer.stamp(None, self.claim);\n")],
     "feature-test stamped what_a_producer_has_published"),
    ("Writer::stamp: the clock read for each record", WRITER, [("if committed == self.published() {", "if true {")],
     "lib ring_tests::stamp"),
    ("Writer::stamp: the clock never read again", WRITER,
     [("if committed == self.published() {", "if self.stamp == 0 {")], "lib ring_tests::stamp"),
    ("poll_look: what was readable before taken for news", TASKS, [("guard.clear_ready(),", "guard.retain_ready(),")],
     "feature-test tokio an_idle_task"),
    ("poll_run: no budget", TASKS, [("if self.run == 0 {", "if false {"), ("self.run -= 1;", "")],
     "feature-test tokio a_busy_task"),
    ("poll_armed: asleep whatever arming says", TASKS, [("Ok(false) => Poll::Ready(Ok(())),", "Ok(false) => Poll::Pending,")],
     "feature-test tokio end_a_stream"),
    ("poll_next: an error that is not the last item", STREAM,
     [("            Ok(None) => None,\n            Err(error) => Some(Err(error)),\n        };\n        this.is_over = true;\n"
       "        Poll::Ready(last)\n    }\n}\n\n/// The records to the end of the lane that it",
       "            Ok(None) => None,\n            Err(error) => Some(Err(error)),\n        };\n"
       "        Poll::Ready(last)\n    }\n}\n\n/// The records to the end of the lane that it")],
     "feature-test tokio end_a_stream"),
    ("Window::commit: no times", WINDOW, [("if !is_plain {", "if false {")], "test stamped records_that"),
    ("fill_each: no times", ROW, [("if self.producer.shortcut.is_closed() {", "if self.producer.guard.is_child() {")],
     "test stamped records_that"),
    ("Stamped: the time loaded after the copy is judged", STAMP,
     [("        self.stamp.set(load(ring, found.position));\n        self.reader.copy_intact(ring, found, copy)\n",
       "        let intact = self.reader.copy_intact(ring, found, copy);\n"
       "        self.stamp.set(load(ring, found.position));\n        intact\n")], "lib ring_tests::stamp"),
    ("stamp_of: one that was overwritten", STAMP, [("is_intact(lane, position).then_some(stamp)", "Some(stamp)")],
     "lib ring_tests::stamp"),
    ("time_of: in a forked child", OWNED, [("!lane.is_stamped() || seat.guard.is_child()", "!lane.is_stamped()")],
     "test forked a_record_in_a_forked_child"),
    ("time_of: on a lane without times", OWNED,
     [("if !lane.is_stamped() || seat.guard.is_child() {", "if seat.guard.is_child() {")], "test stamped lanes_without"),
    ("OfferedLane::read: times without room for them", BODY,
     [("if is_stamped { geometry.stamped() } else", "if false { geometry.stamped() } else")], "lib replay::frame_parse"),
    ("aligns_raised: not for times", LANE_OPTIONS, [("payload_align.max(STAMPED_ALIGN_MIN_BYTES)", "payload_align")],
     "test stamped lanes_without"),
    ("fill_many: in a forked child", ROW, [("if self.producer.shortcut.is_closed() {", "if false {")], "test forked"),
    ("truncate: the record as long as before", WRITER,
     [("*claim = self.claim_at(claim.begin, len);", "claim.len = len;")], "lib ring_tests"),
    ("data_len: descriptors ignored", LAYOUT, [("if (word >> 32) as u16 ==", "if (word >> 32) as u8 as u16 ==")],
     "lib ring_tests"),
    ("from_word: descriptors of padding ignored", LAYOUT, [("2 if Self::fds_of(word) == 0 =>", "2 =>")],
     "lib layout::"),
    ("next_closely: more descriptors than the lane has", CURSOR,
     [("RecordKind::Data if header.fds > ring.record_fds_max() =>", "RecordKind::Data if false =>")], "lib ring_tests"),
    ("are_alike: descriptors ignored", LAYOUT, [("(word ^ other) << 16 == 0", "(word ^ other) << 24 == 0")],
     "lib consumer::tests::runs"),
    ("evicted_in_copy: what was lost still counted", READER, [("self.cursor.uncount();", "")], "lib ring_tests"),
    ("evicted_in_copy: padding before it still counted", READER,
     [("            self.padding_bytes -= room;\n", "")], "lib ring_tests"),
    ("evicted_at: what is missed not stored", READER,
     [("        self.release.seat().store_counters(self.counters());\n", "")], "lib ring_tests"),
    ("in_place: a run of equal records not counted", RUNS, [("cursor.count(EQUAL as u64);", "")], "lib consumer::tests::runs"),
    # Memory that a peer hands over.
    ("begin_opening: pages are mapped by the first touch", OPENED, [("        prefault_while_used(&opened);\n", "")],
     "test session the_pages_of_a_ring"),
    ("begin_opening: pages are mapped that nobody asked for", OPENED, [(".filter(|_| prefault)", "")],
     "test session the_pages_of_a_ring"),
    ("open_lane: pages that may not be had are left to the first touch", OPENED,
     [("prefault && !data.has_no_hole();", "false;")], "test filters a_page_that_cannot"),
    ("open_lane: each page is had before anything is read", OPENED,
     [("prefault && !data.has_no_hole();", "prefault;")], "test filters a_page_that_cannot"),
    ("open_lane: any inode", OPENED, [("if header.data_inode != inode {", "if false {")],
     "test hostile_descriptors a_control_header"),
    ("check_stripe: the seat of any lane", OPENED, [("match seat.lane_id() == terms.id {", "match true {")],
     "test hostile_descriptors a_seat_that_is_for_another_lane"),
    ("Offered::new: no id in the seat", SEATS, [("seat.write_at(&lane.terms.id, ", "seat.write_at(&[0; 16], ")],
     "test hostile_seat nonsense_about"),
    ("check: seals not asked for", RECEIVED, [("if !missing.is_empty() {", "if false {")], "lib region::"),
    ("check: a length of its own", RECEIVED, [("Length::Exactly(claimed) if len != claimed =>", "Length::Exactly(claimed) if false && len != claimed =>")],
     "lib region::"),
    ("check_blocks: holes", RECEIVED, [("if allocated < stat.st_size as u64 {", "if false {")], "lib region::"),
    ("check_allocated: blocks beyond the end", RECEIVED,
     [("rustix::fs::ftruncate(memfd.as_file(), len)", "rustix::fs::fstat(memfd.as_file())")], "lib region::"),
    ("Geometry: a ring of one record", LAYOUT, [("capacity < 4 * record_align", "capacity < record_align")],
     "lib replay::lane_geometry"),
    # Faults in the parser of frames of which no seed consists: what the fuzzer has to find by itself.
    ("read_attached: starts of 56 bits", ATTACH,
     [('fields.u64("a start position")).collect()', 'Ok(fields.u64("a start position")? & u64::MAX >> 8)).collect()')],
     "fuzz frame_parse"),
    ("read_lane: a lossy start without its position", ATTACH,
     [("let start = StartAt::from_wire(start, position)?;",
       "let start = match StartAt::from_wire(start, position)? {\n"
       "        StartAt::Position(_) if delivery == Delivery::Lossy => StartAt::Position(0),\n"
       "        start => start,\n    };")], "fuzz frame_parse"),
    ("text: control characters from U+0090 to U+0097", TEXT,
     [(".find(|c| c.is_control())", ".find(|c| c.is_control() && !('\\u{90}'..='\\u{97}').contains(c))")],
     "fuzz frame_parse"),
    ("check_distinct: names compared by length and sum", BODY,
     [("if names[..index].contains(name) {",
       "let sum = |name: &LaneName| (name.as_str().len(), name.as_str().bytes().map(u32::from).sum::<u32>());\n"
       "        if names[..index].iter().any(|other| sum(other) == sum(name)) {")], "fuzz frame_parse"),
    ("Refuse::read: a code of 15 bits", BODY,
     [('Refusal::from_code(fields.u16("the code")?)', 'Refusal::from_code(fields.u16("the code")? & 0x7fff)')],
     "fuzz frame_parse"),
    ("check: the low byte of the version", FRAME,
     [(".contains(&self.version) {", ".contains(&(self.version & 0xff)) {")], "fuzz frame_parse"),
    ("check: descriptors announced, where none came", FRAME,
     [("if usize::from(self.fd_count) != fd_count {", "if fd_count != 0 && usize::from(self.fd_count) != fd_count {")],
     "fuzz frame_parse"),
    ("Hello::read: the last version alone, refused", BODY,
     [("if min > max {", "if min > max || min == u16::MAX {")], "fuzz frame_parse"),
    ("Report::read: memory for as many seats as are announced", REPORT,
     [("        let listed: Result<_, _> =",
       "        std::hint::black_box(Vec::<ReportedSeat>::with_capacity(listed));\n"
       "        let listed: Result<_, _> =")],
     "fuzz frame_parse"),
    ("Report::read: more seats than can be listed, refused", REPORT,
     [("if listed != listed_of(seats) {", "if listed != listed_of(seats) || seats as usize > SEATS_PER_REPORT_MAX {")],
     "fuzz frame_parse"),
    ("Geometry: a ring of four records, refused", LAYOUT,
     [("capacity < 4 * record_align", "capacity <= 4 * record_align")], "fuzz frame_parse"),
    ("from_bytes: the length of a name in characters", TEXT,
     [("bytes.len() > LANE_NAME_MAX_BYTES", "String::from_utf8_lossy(bytes).chars().count() > LANE_NAME_MAX_BYTES")],
     "fuzz frame_parse"),
    # The same in the inbox.
    ("take: as many descriptors by the low four bits", INBOX,
     [("if fds.len() == usize::from(count) => Ok(fds)", "if fds.len() % 16 == usize::from(count % 16) => Ok(fds)")], "fuzz inbox"),
    ("receive_next: a full table takes the frame", INBOX,
     [("        let ReceivedFrame { len, fds } = peeked?;\n", "        if matches!(peeked, Err(Nothing::NoRoom)) {\n            let _ = fds::discard_frame(self.socket.as_fd());\n        }\n        let ReceivedFrame { len, fds } = peeked?;\n")],
     "lib fuzzing::replay::inbox"),
    # What others' bug reports told of: each mend taken back.
    ("of_sender: pid 0 is a process", PEER,
     [("            pid: u32::try_from(pid).ok().filter(|pid| *pid != 0),",
       "            pid: u32::try_from(pid).ok(),")], "test strangers processes_of_another_pid"),
    ("ring: nobody is rung for", BELL,
     [("match send(self, &[1], SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {", "match Ok::<usize, Errno>(1) {")],
     "test strangers a_stranger_is_woken"),
    ("ring: waits where the bell is full, for the producer", BELL,
     [("SendFlags::DONTWAIT | SendFlags::NOSIGNAL", "SendFlags::NOSIGNAL")], "test hostile_bells no_ring_waits"),
    ("departure_pause: a living consumer makes it as long as it likes", INQUIRY,
     [("slowed.min(DEPARTURE_RETRY_LIMIT)", "slowed")], "lib session::inquiry"),
    ("on_answer: one of whom the kernel says nothing is evicted", DEPARTING,
     [("Ok(Freeze::StillMapped) | Err(_) if seats.in_place() => {",
       "Ok(Freeze::StillMapped) if seats.in_place() => {")], "test filters a_reader_in_place"),
    ("is_found_dead: nobody is", SERVED, [("        self.listener.is_dead()\n    }", "        false\n    }")],
     "test leftovers producers_and_callers"),
    ("note: a process without a pidfd not looked at", SERVED, [("            is_dead |= self.peer.is_dead();\n", "")],
     "test leftovers a_dead_consumer"),
    ("remove_if_stale: another user's socket", LISTENER,
     [("        if !is_trusted(&there) {\n            let owner", "        if false {\n            let owner")],
     "test leftovers a_lock_or_a_socket"),
    ("drop: a lock that was there already removed", LISTENER, [("if self.is_ours && !self", "if !self")],
     "test leftovers a_lock_that_is_none"),
    ("drop: what took the socket's place removed", LISTENER,
     [("spot.look().map(identity) == Ok(*ours)", "spot.look().is_ok()")], "test address a_socket_that_took"),
    ("remove_if_stale: what is no socket", LISTENER,
     [("Ok(there) if FileType::from_raw_mode(there.st_mode) != FileType::Socket => {",
       "Ok(there) if FileType::from_raw_mode(there.st_mode) == FileType::Fifo => {")],
     "test address what_is_no_socket"),
    ("lock: what a cloned child keeps is not taken over", LISTENER,
     [("if take_over(socket, &spot, &file) => continue,",
       "if false && take_over(socket, &spot, &file) => continue,")], "test leftovers a_child_that_was_cloned"),
    ("lock: no server where there are no locks", LISTENER,
     [("            Ok(()) | Err(_) => {}\n        }\n        // The last holder",
       "            Ok(()) => {}\n            Err(errno) => return Err(Error::os(doing())(errno)),\n        }\n"
       "        // The last holder")], "test leftovers what_is_optional"),
    ("bind: the mode less the umask", LISTENER,
     [("            file.placed.spot.set_mode(file.placed.identity, mode).map_err(Error::os(doing()))?;",
       "            let _ = file.placed.identity;")], "test leftovers the_mode_of_the_socket"),
    ("open_lock: made where one may be", LISTENER,
     [("            spot.open(flags, Mode::empty())\n",
       "            spot.open(flags | OFlags::CREATE, LOCK_MODE)\n")], "test leftovers a_lock_is_made_only"),
    ("check_link: anybody's link", SPOT, [("if is_shared && !is_trusted {", "if false {")],
     "test address a_strangers_link"),
    ("address: by the link, and not by the place that was found", SPOT,
     [("        Address::path(Path::new(&format!(\"/proc/self/fd/{}\", self.dir.as_raw_fd())).join(&self.name))",
       "        Address::path(&*self.path)")], "test address a_path_may_be_as_long"),
    ("look: the file of the path, wherever it leads now", SPOT,
     [("        statat(&self.dir, &self.name, AtFlags::SYMLINK_NOFOLLOW)",
       "        rustix::fs::lstat(&self.path)")], "test address a_server_takes"),
    ("into_absolute: a relative path stays one", ADDRESS,
     [("            Some(path) if path.as_os_str().len() <= PATH_MAX_BYTES => Self::path(path),\n"
       "            _ => self,",
       "            Some(path) if path.as_os_str().is_empty() => Self::path(path),\n            _ => self,")],
     "test address a_server_takes_its_files"),
    ("connect: a caller's path is found again each time", CALL_OPTIONS,
     [("Caller::with(self, address.into().into_absolute())", "Caller::with(self, address.into())")],
     "test address a_caller_connects"),
    ("of_fault: what is no message gets no answer", ENDING,
     [("Fault::Message(fault) => Self::Refuse(Refusal::Protocol, fault),",
       "Fault::Message(fault) => Self::HangUp(fault),")], "test hostile_consumer once_attached"),
    ("start: signals of the program", THREAD, [("let blocked = Blocked::all();", "let blocked = Blocked(None);")],
     "test signals every_thread"),
    ("start: signals of the program, and its own later", THREAD,
     [("let blocked = Blocked::all();", "let blocked = Blocked(None);")], "test signals a_program_that_blocks"),
    ("start: a stack as long as the environment says", THREAD,
     [(".stack_size(stack_bytes);", ";\n    let _ = stack_bytes;")], "test signals threads_have_stacks"),
    ("drop: a thread of the parent's detached in a child", THREAD,
     [("            std::mem::forget(self.handle.take());", "            drop(self.handle.take());")],
     "test forked what_a_forked_child_drops_is_no"),
    ("new: rings in core dumps", MAPPING, [("Advice::LinuxDontDump) };", "Advice::Normal) };")],
     "test cores no_process"),
    ("new: rings in core dumps, of every shape", MAPPING, [("Advice::LinuxDontDump) };", "Advice::Normal) };")],
     "test cores no_shape"),
    ("include_in_dumps: not included", MAPPING, [("Advice::LinuxDoDump) };", "Advice::Normal) };")],
     "test cores a_ring_is_dumped"),
    ("create_memfd: no memory where executable memfds cannot be forbidden", REGION,
     [("        Err(_) => rustix::fs::memfd_create(name, flags),", "        Err(errno) => Err(errno),")],
     "test leftovers what_is_optional"),
    ("check_for_holes: huge pages", RECEIVED,
     [("    if is_in_huge_pages(memfd)? {", "    if false && is_in_huge_pages(memfd)? {")],
     "test region huge_pages_opened"),
    ("seal: an empty region sealed in a forked child", SEALED,
     [("    pub fn seal(self) -> Result<Sealed> {\n        self.guard.check()?;\n        match self.state {\n"
       "            State::Empty(memfd) => {",
       "    pub fn seal(self) -> Result<Sealed> {\n        match self.state {\n"
       "            State::Mapped { .. } if self.guard.is_child() => Err(Error::Forked),\n"
       "            State::Empty(memfd) => {")], "test forked what_is_being_built"),
    ("after: the kernel counts anew after a signal", PATIENCE,
     [("(Errno::INTR, None) => self.limit = self.ask_limit()?,", "(Errno::INTR, None) => {}")],
     "test signals a_socket_with_a_limit"),
    ("socket_option: what was not written is an answer", SOCKET_CALLS,
     [("    bytemuck::bytes_of_mut(&mut value).fill(u8::MAX);\n", "")], "test filters a_pidfd"),
    ("socket_option: a peer that was not named is root", SOCKET_CALLS,
     [("    bytemuck::bytes_of_mut(&mut value).fill(u8::MAX);\n", "")], "test filters a_peer"),
    ("try_for: a signal begins the pause anew", CONNECTING,
     [("let _ = poll(&mut waits, Some(&timespec(pause_now)));",
       "let _ = rustix::io::retry_on_intr(|| poll(&mut waits, Some(&timespec(pause_now))));")],
     "test storms whoever_connects"),
    ("wait_readable: the whole time again after a signal", HEARING,
     [("match poll_at_once_or_asleep(&mut waits, deadline, looking_of(options)) {",
       "match poll_at_once_or_asleep(&mut waits, Deadline::after(options.deadline), looking_of(options)) {")],
     "test signals a_connection"),
    ("open_seat: the seals are read twenty times", OPENED,
     [("    let seals = seat.seals()?;", "    (0..19).try_for_each(|_| seat.seals().map(drop))?;\n    let seals = seat.seals()?;")],
     "test setup_calls connecting"),
    ("wait_for_connection: a signal begins the wait anew", FEED,
     [("        match poll(&mut waits, deadline.remaining().map(timespec).as_ref()) {",
       "        let limit = deadline.remaining().map(timespec);\n"
       "        match rustix::io::retry_on_intr(|| poll(&mut waits, limit.as_ref())) {")],
     "test storms whoever_connects"),
    ("wait: a signal begins the wait for a report anew", ASKING,
     [("        match poll(&mut waits, Some(&timespec(self.remaining(most)))) {",
       "        let limit = timespec(self.remaining(most));\n"
       "        match rustix::io::retry_on_intr(|| poll(&mut waits, Some(&limit))) {")],
     "test storms whoever_reads"),
    ("wait: a signal begins the wait anew", WAITER,
     [("            Err(Errno::INTR) => Ok(Woken::Otherwise),",
       "            Err(Errno::INTR) => self.wait(timeout),")], "test storms whoever_reads"),
    ("sleep: a signal lets it spin again", WAITER,
     [("Ok(Woken::ByTime | Woken::Otherwise) => {}", "Ok(Woken::ByTime | Woken::Otherwise) => break,")],
     "test spinning a_signal_while"),
    ("sleep_while_full: a signal lets it spin again", WAITS,
     [("                Err(now) => gate = now,\n            }\n            if self.is_interrupted() {\n"
       "                return Err(SendError::Interrupted);\n            }\n            self.require_consumers(deadline)?;",
       "                Err(_) => return self.wait_for_room(need, deadline),\n            }")],
     "test spinning a_signal_while"),
    ("wait: a signal begins a sleep anew", FUTEX,
     [("        wait(remaining)\n", "        rustix::io::retry_on_intr(|| wait(remaining))\n")],
     "test storms whoever_sends"),
    ("wait: a signal begins a sleep anew, of one who serves", FUTEX,
     [("        wait(remaining)\n", "        rustix::io::retry_on_intr(|| wait(remaining))\n")],
     "test signals a_lane"),
    ("sleep: a signal begins the wait for a worker anew", WORK_WAITS,
     [("        match self.poller.wait::<EVENTS_MAX>(deadline.remaining()) {",
       "        let limit = deadline.remaining();\n"
       "        match rustix::io::retry_on_intr(|| self.poller.wait::<EVENTS_MAX>(limit)) {")],
     "test storms whoever_calls"),
    ("with: more sessions than slots", DISTRIBUTE,
     [(".sessions_max(slots_max.max(1))", ".sessions_max(options.workers_max)")],
     "test distribute a_place_that_a_worker"),
    ("sleep_for_room: a signal begins the wait anew", LINE,
     [("        match poll(&mut waits, deadline.remaining().map(timespec).as_ref()) {",
       "        let limit = deadline.remaining().map(timespec);\n"
       "        match rustix::io::retry_on_intr(|| poll(&mut waits, limit.as_ref())) {")],
     "test storms whoever_calls"),
    ("spin_until: no spin is in vain", SPIN, [("self.vain = self.vain.saturating_add(1);", "self.vain = 0;")],
     "test spinning processes_that_share"),
    ("in_child: the word not wiped", FORK,
     [("        word.store(CHILD, Ordering::Relaxed);", "        let _ = (word, CHILD);")],
     "test leftovers what_is_optional"),
    ("fmt: Debug without the sentence", ERROR,
     [("        write!(f, \"{self} ({variant})\")", "        f.write_str(variant)")], "lib error::tests::what_unwrap"),
    ("in_use: nobody is named", LISTENER, [("pid: holder() }", "pid: None }")], "test leftovers a_child_of_a_server"),
    ("plays_tricks: what turns the direction of writing is shown", TEXT,
     [("c.is_control() || is_invisible ||", "c.is_control() || is_invisible && c == ' ' ||")], "lib wire::"),
    ("listen_assigning: a distributor's path is found again each time", ASSIGNING,
     [("        let address = address.into_absolute();\n", "")], "test address every_shape"),
    ("listen: a service's path is found again each time", PAIRS,
     [("address: address.clone().into_absolute() })", "address: address.clone() })")], "test address every_shape"),
    ("start: a listener's path is found again each time", SESSION_LISTENER,
     [("address: address.into_absolute() })", "address })")], "test address every_shape"),
    ("start: the program's signals blocked for good", THREAD,
     [("            unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, before, ptr::null_mut()) };",
       "            let _ = (before, ptr::null::<u8>());")], "test signals every_thread"),
    ("new: no memory where advice is refused", MAPPING,
     [("        let _ = unsafe { rustix::mm::madvise(base.as_ptr().cast(), len, Advice::LinuxDontDump) };",
       "        unsafe { rustix::mm::madvise(base.as_ptr().cast(), len, Advice::LinuxDontDump) }.map_err(Error::os(\"advise\"))?;")],
     "test filters lanes_work_though"),
    ("open_socket: a signal begins the wait for a place anew", CONNECTING,
     [("        match connect(&socket, &addr) {",
       "        match rustix::io::retry_on_intr(|| connect(&socket, &addr)) {")], "test signals a_connection"),
    ("connect: a feed's path is found again each time", FEED_OPTIONS,
     [("address: address.into().into_absolute(),", "address: address.into(),")], "test address every_shape"),
    ("wait: a signal begins the wait for room in a queue anew", ATTACHING,
     [("        let _ = poll(&mut waits, limit.as_ref());",
       "        let _ = rustix::io::retry_on_intr(|| poll(&mut waits, limit.as_ref()));")],
     "test storms whoever_sends"),
    ("have_queues_drained: a signal ends the pause", ATTACHING,
     [("                while let Some(rest) = end.remaining()",
       "                if let Some(rest) = end.remaining()")], "test attachments_in_flight others_have_as_long"),
    ("map_word: no guard where the kernel wipes nothing", FORK,
     [("    let _ = unsafe { rustix::mm::madvise(page, PAGE_BYTES, Advice::LinuxWipeOnFork) };",
       "    unsafe { rustix::mm::madvise(page, PAGE_BYTES, Advice::LinuxWipeOnFork) }.map_err(Error::os(\"wipe\"))?;")],
     "test leftovers what_is_optional"),
    ("os_in: no remedy", ERROR, [("let remedy = operation.remedy(&cause);", "let remedy = \"\"; let _ = operation;")],
     "lib error::tests::a_full_descriptor"),
    ("remedy: the same of every operation", ERROR,
     [("        match (self, errno) {\n            (_, Errno::MFILE)",
       "        match (Self::Other, errno) {\n            (_, Errno::MFILE)")],
     "lib error::tests::the_same_errno"),
    ("remedy: none for a limit of files", ERROR,
     [("            (_, Errno::FBIG) => \"; raise the limit (ulimit -f)\",\n", "")],
     "test limits a_limit_of_the_length"),
    ("is_of_user: everybody is", LANE_SEAT, [("self.uid.is_some() && self.uid == uid", "let _ = uid; true")],
     "test strangers a_place_is_resumed"),
    ("pause: no pause", STEWARD,
     [("self.paused_until = Some(Instant::now() + ACCEPT_PAUSE);", "self.paused_until = Some(Instant::now());")],
     "test strangers a_server_out_of"),
    ("remove_if_stale: a socket of another program", LISTENER,
     [("        Err(Errno::PROTOTYPE | Errno::AGAIN) => Err(Error::AddressInUse { address: address.to_string(), pid: None }),",
       "        Err(Errno::PROTOTYPE | Errno::AGAIN) => remove(),")], "test address a_socket_of_another"),
    ("lock: two at once have it", LISTENER,
     [("match flock(&file, FlockOperation::NonBlockingLockExclusive) {", "match Ok::<(), Errno>(()) {")],
     "test address of_servers"),
    ("bind: the mode once there is a file", LISTENER,
     [("        rustix::fs::fchmod(&socket, mode).map_err(Error::os(doing()))?;\n", "")],
     "test address the_mode_of_the_socket"),
    ("remove_if_stale: the socket of a killed server in use", LISTENER,
     [("        Err(Errno::CONNREFUSED) => remove(),", "        Err(Errno::CONNREFUSED) => Err(in_use(address)),")],
     "test address the_files_of_a_killed"),
    ("find: links are files", SPOT,
     [("            if FileType::from_raw_mode(there.st_mode) != FileType::Symlink {", "            if true {")],
     "test address a_link_to_a_socket"),
    ("to_socket_addr: paths of any length", ADDRESS,
     [("!(1..=PATH_MAX_BYTES).contains(&path.as_os_str().len())", "path.as_os_str().is_empty()")],
     "test address addresses_that"),
    ("admits: everybody is the same user", ADDRESS,
     [("            Self::SameUser => is_own(),", "            Self::SameUser => true,")],
     "test strangers processes_of_another_user"),
    ("after: a signal ends the call", PATIENCE,
     [("(Errno::INTR, None) => self.limit = self.ask_limit()?,", "(Errno::INTR, None) => return Err(error),")],
     "test signals what_comes"),
    ("remedy: none for what a filter denies", ERROR,
     [("\"; see whether a filter (seccomp) or a security module denies the call\"", "\"\"")],
     "test leftovers whoever_listens"),
    ("kernel: any answer is a yes", INSPECT_KERNEL,
     [("waitv(&[], WaitvFlags::empty(), None, ClockId::Monotonic) == Err(Errno::INVAL)",
       "waitv(&[], WaitvFlags::empty(), None, ClockId::Monotonic).is_err()")], "test filters what_a_filter"),
    ("watch: who cannot be watched is not told", STEWARD,
     [("        session.end(Ending::Refuse(Refusal::Descriptors, error.to_string()));\n",
       "        let _ = error;\n")], "test strangers a_server_that_cannot_watch"),
    ("remedy: none for a full table of descriptors", ERROR,
     [("(_, Errno::MFILE) => \"; close some descriptors or raise the limit (ulimit -n)\",",
       "(_, Errno::MFILE) => \"\",")], "test strangers a_server_that_lacks"),
    # Request and reply.
    ("begin: a number given out twice", CALLS,
     [("        self.last_id += 1;\n", "        self.last_id = self.open.len() as u64 + 1;\n")], "lib call::tests"),
    ("awaits: an answer after the last", CALLS,
     [("self.open.get(id).is_some_and(Call::is_awaited)", "self.open.get(id).is_some()")],
     "lib call::tests"),
    ("next: no deadline", CALLS, [("call.deadline_ns.is_some_and(has_come)", "call.deadline_ns.is_some_and(|deadline_ns| has_come(!deadline_ns))")], "lib replay::calls"),
    ("next: a deadline before what came", CALLS,
     [("let next = match call.replies.pop_front() {",
       "let is_late = call.deadline_ns.is_some_and(|deadline_ns| deadline_ns < 40);\n"
       "        let next = match call.replies.pop_front().filter(|_| !is_late) {")], "lib call::tests"),
    ("lose_all: what was answered is lost, too", CALLS,
     [("filter(|call| call.is_awaited()) {", "filter(|call| call.lost.is_none()) {")],
     "lib replay::calls"),
    ("forget: the bytes of what nobody takes count for ever", CALLS,
     [("        if let Some(call) = self.open.remove(id) {", "        if let Some(call) = self.open.remove(id).filter(|_| false) {")],
     "lib call::tests"),
    ("take: a number taken twice", INTAKE, [("if id <= self.last_id {", "if id < self.last_id {")], "lib call::tests"),
    ("take: late requests are worked on", INTAKE,
     [("deadline_ns != 0 && has_come(deadline_ns)", "deadline_ns != 0 && has_come(u64::MAX)")], "test call a_call_ends"),
    ("parse: reserved bytes of a call", PREFIX, [("if fields[18..] != [0; 6] {", "if false {")], "lib call::prefix"),
    ("parse: a request goes to the caller", PREFIX,
     [("(1, Way::ToService, _) => Kind::Request,", "(1, ..) => Kind::Request,")], "lib call::prefix"),
    ("write: no replies taken while it waits for room", LINE,
     [("if self.take_replies()? && (may_wait || !has_looked) {", "if has_looked && false {")], "test call two_full_rings"),
    ("needs_session: a session that has ended is gone on with", LINE,
     [("if self.line.as_ref().is_some_and(|line| line.pulse.has_ended()) {", "if false {")],
     "test call a_call_begins_with"),
    ("wait_until: the service is not told of a call that timed out", CALLER,
     [("                    self.tell_cancelled(call.id);\n", "")], "test call a_call_without_an_answer"),
    ("standing: received from although its replies wait", PORT,
     [("Some(_) if !state.backlog.is_empty() || state.intake.is_full()", "Some(_) if state.intake.is_full()")],
     "test call a_caller_that_takes_its_replies_late"),
    ("standing: any number of open requests", PORT,
     [("Some(_) if !state.backlog.is_empty() || state.intake.is_full()", "Some(_) if !state.backlog.is_empty()")],
     "test call a_caller_has_so_many"),
    ("answer: nobody says that it goes on", PORT, [("        if is_over && was_full {\n", "        if false {\n")],
     "test call a_caller_has_so_many"),
    ("answer_in: parts of an answer kept without a bound", PORT, [("        if kind == Kind::Reply {\n", "        if false {\n")],
     "test call parts_wait"),
    ("see_to_backlog: a caller may take as long as it likes", PORT,
     [("} else if Instant::now() < due {", "} else if true || Instant::now() < due {")],
     "test call a_caller_that_takes_no_replies"),
    ("forget: what is worked on for one that was evicted goes on", PORT,
     [("        self.given_up.add_all();\n", "")],
     "test call what_a_caller_had_open"),
    ("take_turn: a caller's turn without an end", SERVICE, [("Ok(Received::Request(request)) => {\n                self.turn = Some(Turn { requests: turn.requests - 1, ..turn });", "Ok(Received::Request(request)) => {\n                self.turn = Some(Turn { requests: turn.requests, ..turn });")],
     "test call callers_have_turns"),
    ("receive_until: a flood without an end keeps it for ever", SERVICE,
     [("                    if news.is_multiple_of(NEWS_PER_LOOK) {", "                    if news == 0 {")],
     "lib call::tests::floods"),
    ("take_replies: a flood without an end keeps it for ever", LINE,
     [("for taken in 0..RECORDS_PER_LOOK {", "for taken in 0..u64::MAX {")], "lib call::tests::floods"),
    ("drop: a request that is dropped is forgotten", REQUEST, [("        if !self.is_answered {\n", "        if false {\n")],
     "test call a_refusal"),
    ("is_cancelled: the caller's life is not asked for", REQUEST, [(" || self.port.is_gone() || is_late()", " || is_late()")],
     "test call_processes callers_that_are_killed"),
    ("take_pairing: replies read in place", PAIRING,
     [("lane.access == Access::InPlace)", "lane.access == Access::InPlace && false)")], "test hostile_calls what_a_caller"),
    ("go_on: what stands falls with a hang-up behind it", PAIRING,
     [("            if progress.stands() {\n", "            if false {\n")], "test hostile_calls right_behind"),
    ("is_full: what the program has not noticed yet has no place", PAIRS,
     [("PairRole::Host(host) => served.max(host.places_taken()),", "PairRole::Host(_) => served,")],
     "test hostile_calls callers_that_have_gone"),
    ("take_in: the requests of one that has gone have no place", "src/call/service/callers.rs",
     [("(pulse, place), &self", "(pulse, { drop(place); None }), &self")], "test hostile_calls callers_that_have_gone"),
    ("read: a service waits for the end of each process that hangs up", PAIRING,
     [("if progress.says_hello { Duration::ZERO }", "if false { Duration::ZERO }")],
     "test hostile_calls callers_that_hang_up"),
    ("needs_session: only the first replies of a session that has ended", LINE,
     [("            self.take_rest()?;\n", "            self.take_replies()?;\n")], "lib call::tests::what_a_service"),
    ("send_backlog: a service that sleeps does not hear that another thread moved something", PORT,
     [("        if self.send_backlog(state) {\n", "        if self.send_backlog(state) && false {\n")],
     "lib call::tests::a_service_that_sleeps"),
    ("wait_for_room: the time is that of its own wait alone", PORT,
     [("            if patience.sent != state.sent {\n", "            if false {\n")], "lib call::tests::a_caller_that_takes_what"),
    ("receive_until: a flood keeps an interrupt away", SERVICE,
     [("if self.selector.is_interrupted() {", "if false {")], "lib call::tests::floods"),
    ("wait_until: a flood keeps an interrupt away", CALLER,
     [("                self.check_interrupt()?;\n", "")], "lib call::tests::floods"),
    ("write: a flood keeps an interrupt away", LINE,
     [("                self.check_interrupt()?;\n", "")], "lib call::tests::floods"),
    ("write: a session that is lost while it waits has no successor", LINE,
     [("            if self.needs_session()? {\n", "            if !has_looked && self.needs_session()? {\n")],
     "lib call::tests::a_call_that_waits"),
    ("write: a call begins before its request is there", LINE,
     [("            match pair.producer.try_reserve(", "            calls.begin(None);\n            match pair.producer.try_reserve(")],
     "test call a_panic_while"),
    ("connect: each try has the time of a whole handshake", PAIRS,
     [("until.bound(*limit)", "until.bound(*limit).max(*limit)")], "test call tries_to_connect"),
    ("arm: the end of the thread that listens", PAIRS, [("is_none_or(VecDeque::is_empty) && !self.has_ended()", "is_none_or(VecDeque::is_empty)")],
     "lib pairs::tests"),
    ("body_max: a ring without room for a body", PREFIX, [("        Some(max @ 1..) => Ok(max),", "        Some(max) => Ok(max),")],
     "test call a_ring_without"),
    ("arm_for: no deadline in a task", "src/call/caller/task.rs",
     [("        self.set_timer(wanted.deadline).map_err(|errno| CallError::Wait(errno.raw_os_error()))?;\n", "")],
     "feature-test tokio_call deadlines"),
    ("arm_for: no room in a task", "src/call/caller/task.rs",
     [("line.pair.producer.arm().map_err(|error| of_send(&error))", "Ok(true)")], "feature-test tokio_call each_call"),
    ("arm: what a task has waited for still makes it readable", CALLER,
     [("        self.unwatch();\n", "")], "feature-test tokio_call what_a_task"),
    ("send: a task opens no session", "src/tokio/call.rs",
     [("            if self.get_mut().needs_session()? {\n", "            if false {\n")], "feature-test tokio_call a_service_that_is_gone"),
    ("pass: an answer before one that waits to be taken", CALLS,
     [("call.is_awaited() && call.replies.is_empty()", "call.is_awaited()")], "lib call::tests"),
    ("pass: a last answer that ends nothing", CALLS, [("        if passes && is_last {\n", "        if false {\n")], "lib call::tests"),
    ("take_in: who gives up one request gives up none", PORT,
     [("                    self.given_up.add(prefix.id);\n", "")], "test call what_the_caller_gives_up"),
    ("remove: a gap before all others", "src/call/numbered.rs",
     [("            self.places.pop_front();\n", "            break;\n")], "lib call::numbered"),
    ("remove: gaps without a bound", "src/call/numbered.rs",
     [("if self.places.len() > 2 * self.count + GAPS_MAX {", "if false {")], "lib call::numbered"),
    ("has_come: as the coarse clock says", "src/os/clock.rs",
     [("(time_ns - coarse_ns <= COARSE_LAG_NS && now_ns() >= time_ns)", "time_ns - coarse_ns <= COARSE_LAG_NS")], "lib os::clock"),
    ("receive_until: nothing wakes an event loop to evict a caller", SERVICE,
     [("                    self.set_timer(due)?;\n", "")], "test call an_event_loop"),
    ("begin_turn: a caller that was left waits for what was read of it", SERVICE,
     [("            client.consumer.release();\n", "            let _ = client;\n")], "lib call::tests::a_caller_has_its_room"),
    ("open: no deadline while no thread is free", "src/tokio/call.rs",
     [("match deadline.has_passed() && begun.set(()).is_ok() {", "match false && begun.set(()).is_ok() {")],
     "feature-test tokio_call a_call_keeps"),
    ("receive: a task sleeps behind a flood", "src/tokio/call.rs",
     [("                    if service.is_at_turn() {\n", "                    if false {\n")], "feature-test tokio_call a_flood"),
    ("KeptCopy: no time is that of 0", OWNED, [("(time.is_some(), ", "(time.is_some_and(|time| time.as_nanos() != 0), ")],
     "lib consumer::tests::hostile::a_time"),
    ("stats: what was answered goes with its caller", "src/call/service/callers.rs",
     [("        client.port.answers.add_to(&mut self.stats);\n", "")], "test call the_counts"),
    ("spin: so many requests, and a sleep", SERVICE, [("self.selector.look(None)", "self.selector.try_wait()")],
     "lib call::tests::a_service_that_spins"),
    ("refuse: a reason that is too long for the lane", REQUEST, [(".min(self.port.body_max)", "")], "test call a_ring_without"),
    # Fan-in.
    ("arm: a notice that comes late stays raised", COLLECT, [("        self.notice.lower();\n", "")], "lib collect::tests::a_notice"),
    ("charge: turns without an end", COLLECT_TURNS,
     [("self.records = if self.bytes == 0 { 0 } else { self.records - 1 };", "")], "test collect every_lane"),
    ("charge: turns by records alone", COLLECT_TURNS,
     [("self.records = if self.bytes == 0 { 0 } else { self.records - 1 };", "self.records -= 1;")], "test collect every_lane"),
    ("is_look_due: an armed lane waits for many turns of others", COLLECT_TURNS,
     [("> notices.count() { 1 } else", "> notices.count() + usize::MAX / 2 { 1 } else")], "test collect a_lane_that_rings"),
    ("is_look_due: nobody joins while a lane is busy", COLLECT_TURNS, [("const TURNS_PER_LOOK: u64 = 16;", "const TURNS_PER_LOOK: u64 = 1 << 50;")],
     "test collect one_that_joins"),
    ("next_turn: the same lane again and again", COLLECT_TURNS, [("            self.selector.pass_on(last);\n", "            let _ = last;\n")],
     "test collect lanes_that_are_busy"),
    ("next_turn: a call that does not wait has producers ring", COLLECT_TURNS, [("self.selector.look(Some(VAIN_LOOKS_MAX))", "self.selector.look(Some(1))")],
     "test collect a_collector_that_is_asked"),
    ("next_turn: lanes that bring nothing looked at for ever", COLLECT_TURNS, [("self.selector.look(Some(VAIN_LOOKS_MAX))", "self.selector.look(None)")],
     "lib collect::tests::a_lane_that_brings"),
    ("spin: a wait arms at once", COLLECT_TURNS, [("{ *spin } else { Duration::ZERO };", "{ Duration::ZERO } else { *spin };")],
     "test collect a_wait_that_spins"),
    ("look_unarmed: an end is no news", LOOKS,
     [("!self.reader.may_sleep(|| self.waiter.fate() != Fate::Alive)", "self.reader.has_news()")], "test collect a_collector_that_is_asked"),
    ("run_ahead: a run goes on beyond its turn", COLLECT_MANY, [("said.is_continue() && turn.records != 0", "said.is_continue() && turn.key == turn.key")],
     "test collect many_events"),
    ("begin: attached to by the thread that reads", COLLECT,
     [("Ok(attaching) => _ = hands_over.send(attaching),",
       "Ok(attaching) => self.put(Outcome { pid, uid, consumers: attaching.finish_all() }),")],
     "test collect producers_that_fall_silent"),
    ("begin: an Attach said before its thread is there", COLLECT,
     [('thread::start("fdring-attach", thread::STACK_BYTES, work)\n'
       "            .and_then(|_thread| session.begin_to_attach_all(&attach.start(Start::Oldest)));",
       "session.begin_to_attach_all(&attach.start(Start::Oldest)).and_then(|said| {\n"
       '            thread::start("fdring-attach", thread::STACK_BYTES, work).map(|_thread| said)\n        });')],
     "lib collect::tests::a_producer_that_no_thread"),
    ("begin: from the latest record", COLLECT,
     [("attach.start(Start::Oldest)", "attach.start(Start::Latest)")], "test collect clients_that_send"),
    ("record: the end of a lane reported twice", COLLECT, [("                *is_lost = true;\n", "                let _ = is_lost;\n")],
     "lib collect::"),
    ("take_turn: what was counted goes with its lane", COLLECT,
     [("                self.totals.add(&consumer);\n", "                drop(consumer);\n")], "test collect a_producer_that_evicts"),
    ("take_turn: a producer that lies ends all", COLLECT,
     [("Err(error @ (ReceiveError::Forked | ReceiveError::Wait(_))) => Err(error),",
       "Err(error @ (ReceiveError::Forked | ReceiveError::Wait(_) | ReceiveError::Corrupt(_))) => Err(error),")],
     "test hostile_clients"),
    ("arm: what waits to be reported forgotten", COLLECT, [("        if !self.news.is_empty() {", "        if false {")],
     "test collect several_lanes"),
    # Work sharing.
    ("may_go_by_last_look: who had most room long ago", SHARING, [("looked_at.elapsed() < LOOK_HOLDS", "looked_at <= Instant::now()")],
     "lib who_has_most_room"),
    ("may_go_by_last_look: who has gone is still there", SHARING, [("lane.seen == Some(lane.changes())", "lane.seen.is_some()")],
     "lib who_has_most_room"),
    ("may_go_by_last_look: no other look for long", SHARING, [("const RECORDS_PER_LOOK: u64 = 256;", "const RECORDS_PER_LOOK: u64 = 1 << 30;")],
     "lib what_is_released_is_seen"),
    ("may_go_by_last_look: one who has as many as it may is passed over", SHARING, [("RECORDS_PER_LOOK.min(self.plan.least_room() as u64)", "RECORDS_PER_LOOK")],
     "lib a_worker_that_has_released"),
    ("release_lightly: never made up for", RELEASE, [("        self.is_unconfirmed = true;\n", "")], "lib ring_tests::space"),
    ("release_lightly: nobody rung", RELEASE,
     [("        // Whoever has announced itself within the last moments may be missed: it looks again.\n        self.holds.wake_announced();\n", "")],
     "lib ring_tests::space"),
    ("find_work: what was released without a fence left so", WORKING, [("            self.reader.confirm_release();\n", "")], "lib a_worker_that_has_nothing"),
    ("announce: nobody looks again", WORK_WAITS, [("Deadline::after(SECOND_LOOK)", "Deadline::Never")], "lib a_release_that_rings"),
    ("note_look: looks without an end", WORK_WAITS, [("if is_second {", "if is_second && false {")], "lib a_release_that_rings"),
    ("give_many: more records than a worker may have", SHARING, [(".min(plan.room_of(slot))", "")], "lib many_records_at_once"),
    ("note_sent_many: records that end elsewhere", PLAN, [("begin + number * size", "begin + number")], "lib many_records_at_once"),
    ("take_back: records begin where a worker says", SLOTS, [("boundary_from(vacancy.position)", "(vacancy.position, boundary_from).0")],
     "test distribute a_record_that_a_worker_makes_up"),
    ("carry: deaths kept for ever", PLAN, [("self.0.retain(|(other, _)| *other > released);", "let _ = released;")],
     "lib deaths_at_records"),
    ("push: what was set aside kept without end", DISTRIBUTE_EVENT, [("> SET_ASIDE_MAX_BYTES,", "> usize::MAX / 2,")],
     "lib distribute::event"),
    ("choose: something new before what was taken back", PLAN,
     [("if self.taken_back.is_empty() { self.choose_among(to, has_room) } else { None }", "self.choose_among(to, has_room)")],
     "lib distribute::plan"),
    ("choose: a key with records elsewhere taken for a new one", PLAN,
     [("self.homes.get(&key) {", "self.homes.get(&key).filter(|_| false) {")], "lib distribute::plan"),
    ("choose: more records than a worker may have", PLAN,
     [("slot.has_worker && slot.unreleased.len() < self.records_max", "slot.has_worker")], "lib distribute::plan"),
    ("forget: a key forgotten with its first record", PLAN,
     [("home.slot == slot && home.end == end", "home.slot == slot")], "lib distribute::plan"),
    ("take_back: what was released given out again", PLAN,
     [("                if entry.end == end {\n", "                {\n")], "lib distribute::plan"),
    ("take_back: behind what was taken back before", PLAN,
     [("        taken.append(&mut self.taken_back);\n        self.taken_back = taken;\n",
       "        self.taken_back.append(&mut taken);\n")], "lib distribute::plan"),
    ("is_done: what nobody has released is done", PLAN,
     [("self.taken_back.is_empty() && self.slots.iter().all(|slot| slot.unreleased.is_empty())", "self.taken_back.is_empty()")],
     "feature-test distribute an_owner"),
    ("note_gone: the time begins anew with each that goes", SLOTS,
     [("if has_released || vacancy.position == published {", "if has_released || vacancy.position <= published {")],
     "test distribute workers_that_come_and_go"),
    ("welcome: a worker too many is told of sessions", "src/session/assigning.rs",
     [("Ok(None) if is_admitted => Err(", "Ok(None) if is_admitted && false => Err(")],
     "test distribute a_worker_too_many"),
    ("note: deaths at another record", PLAN, [("find(|(other, _)| *other == end) {", "find(|_| true) {")],
     "lib distribute::plan"),
    ("note_gone: a record blamed that nobody had in hand", SLOTS, [("how == Departure::Left || read <= released", "how == Departure::Left")],
     "test distribute workers_that_die_before"),
    ("note_gone: one that leaves counts as dead", SLOTS, [("how == Departure::Left || read <= released", "read <= released")],
     "test distribute a_worker_who_leaves"),
    ("note_gone: one who was never there has gone", SLOTS, [("if seat.port().was_taken_back() &&", "if false &&")],
     "test distribute a_worker_that_was_never"),
    ("note_gone: what is set aside given out again", SLOTS,
     [("if self.lane.roster.pass_over(seat.id(), end) {", "if end != 0 {")], "test distribute a_record_that_kills"),
    ("assign: a slot that a session has", SLOTS, [("slot.lease.strong_count() == 0)", "slot.lease.strong_count() < 9)")],
     "test distribute a_worker_that_is_slow"),
    ("assign: the place of a slot given up beside its owner", SLOTS,
     [("                Occupation::Vacant { worker, .. } => Some((u8::from(worker.behind_bytes == 0), slot.gone_at)),",
       "                Occupation::Vacant { worker, .. } => {\n"
       "                    slot.lane.roster.give_up(&*slot.lane.map, worker.seat_id);\n"
       "                    Some((u8::from(worker.behind_bytes == 0), slot.gone_at))\n"
       "                }")], "lib distribute::tests"),
    ("give_out_again: its deaths forgotten", SHARING, [("            if record.deaths != 0 {", "            if false {")],
     "test distribute a_record_that_kills"),
    ("look_at: a worker has stood still for as long as the one before it", SHARING,
     [("            lane.still.0 = NOT_STILL;\n", "")], "test distribute an_evicted_worker"),
    ("due_at: taken back though nobody is there", SHARING,
     [("Occupation::Vacant { since, .. } if self.plan.worker_count() != 0 =>", "Occupation::Vacant { since, .. } =>")],
     "test distribute without_any_worker"),
    ("announce: nobody rings", SHARING, [("            producer.arm_for_release()?;\n", "")],
     "test distribute a_distributor_that_sleeps"),
    ("announce: one that lies waited for", SHARING,
     [("            lane.roster.find_released(&*lane.map, producer.published());\n", "            let _ = lane;\n")],
     "test distribute a_worker_that_lies"),
    ("find_work: an evicted worker goes on", WORKING, [("if self.reader.was_evicted() {", "if false {")],
     "test distribute an_evicted_worker"),
    ("find_work: nobody knows what is in hand", WORKING, [("        self.reader.tell_read();\n", "")],
     "lib holds::what_a_worker"),
    ("tell_read: beside the lock", RELEASE,
     [("true => self.holds.note_read(&mut self.holds.books.lock(), read),",
       "true => self.holds.seat.read().store(read, Ordering::Relaxed),")], "lib holds::what_a_worker"),
    ("drop: a worker that panics is done with its record", WORKER,
     [("std::thread::panicking() && !self.consumer.is_forked()", "false")], "test distribute a_worker_that_panics"),
    ("done: a task that is done is not", WORKER, [("        in_hand.end();\n", "        drop(in_hand);\n")],
     "test distribute tasks_that_outlive"),
    ("start_of: a worker begins where it wants to", SEATS,
     [("Delivery::Lossless => Ok(Start::Resume),", "Delivery::Lossless => Ok(Start::Latest),")],
     "test distribute ordinary_consumers"),
    ("pass_over: a place keeps more than before", PLACES,
     [("vacancy.position = position.max(vacancy.position)", "vacancy.position = position")], "lib ring_tests::places"),
    ("note: private word not bumped", FUTEX, [("        self.word.fetch_add(1, Ordering::Relaxed);\n", "")],
     "lib os::tests::a_change_after"),
    ("note: nobody woken", FUTEX, [("        wake_private(&self.word);\n", "")], "test lane"),
    # A producer in a loop of its caller's.
    ("try_reserve_in: the room from before the wait kept", BATCH,
     [("                *room = ahead;\n", "                let _ = ahead;\n")], "feature-test tokio batch"),
    ("harvest: seats that have come not watched", ARMING, [("        bells.extend(new);\n", "        drop(new);\n")],
     "test space_bell room_is_heard"),
    ("harvest: the roster not watched", ARMING, [("            poller.add(&*changed, ROSTER, Trigger::Level)?;\n", "")],
     "test space_bell consumers_that_are_missing"),
    ("note: the notice of the roster left readable", ARMING, [("            ROSTER => self.changed.lower(),\n", "            ROSTER => {}\n")],
     "test space_bell room_is_heard"),
    ("note: rings in vain not counted", ARMING,
     [("bell.id == id).for_each(|bell| bell.vain_rings.note())", "bell.id == id).for_each(drop)")],
     "test space_bell rings_in_vain"),
    ("set_timer: no nap beside a bell that is left out", ARMING,
     [(".chain(nap).min()", ".chain(nap.filter(|_| false)).min()")], "test space_bell rings_in_vain"),
    ("arm: slow consumers found by their bells alone", ARMING, [("arming.set_timer(until.remaining())", "{\n            let _ = until;\n            arming.set_timer(None)\n        }")],
     "test space_bell too_slow"),
    ("arm: room looked for while consumers are missing", ARMING, [("if lane.roster.missing() == 0 {", "if true {")],
     "test space_bell consumers_that_are_missing"),
    ("at: where a window ends is known for good", WAITS,
     [("if published == self.published { self.need } else { Need::from(self.need.len) }", "{\n            let _ = published;\n            Need::from(self.need.len)\n        }")],
     "test space_bell as_a_whole"),
    ("offer: an eventfd for a space bell", BODY, [("if has_space_bell && bell == BellKind::Eventfd {", "if false {")],
     "test hostile_producer an_offer_that_is_none"),
    ("check_kinds: any descriptor for a space bell", "src/session/unwelcome.rs",
     [("            .or_else(|| not_bell(fds.space_bell?, lane.bell))\n", "")], "test hostile_bells a_socket_that"),
    ("receive: a space bell closed by the thread that drops it", BELL,
     [("            close_later(self.fd.take());\n", "            drop(self.fd.take());\n")], "lib os::tests::a_space_bell_is_let_go"),
    # Descriptors that go with records.
    ("kept_from: records with descriptors are for who joins later", ROSTER,
     [("if takes_fds { self.served.load(Ordering::Relaxed) } else { 0 }", "if takes_fds { 0 } else { 0 }")],
     "test attachments who_joins_later"),
    ("publish_unchanged: one that has come since the last frame is not served", ROSTER,
     [("        if self.version.load(Ordering::Relaxed) != snapshot.version {\n            return false;\n        }\n        self.served", "        let _ = snapshot;\n        self.served")],
     "attachments"),
    ("publish_unchanged: published without the lock", ROSTER,
     [("        let _seats = self.seats.lock();\n        if self.version.load(Ordering::Relaxed) != snapshot.version {\n            return false;", "        if self.version.load(Ordering::Relaxed) != snapshot.version {\n            return false;")],
     "attachments"),
    ("publish_unchanged: where records with descriptors end is not noted", ROSTER,
     [("self.served.store(publish(), Ordering::Relaxed);", "let _ = publish();")], "attachments"),
    ("serve: sent though others have no room", ATTACHING, [("if !full.is_empty() {", "if false {")],
     "test attachments attempts_that_fail"),
    ("have_queues_drained: nobody woken", ATTACHING, [("        untaken.iter().for_each(|seat| _ = seat.port().wake());\n", "")],
     "test attachments_in_flight too_many"),
    ("judge: nobody cut off", ATTACHING, [("            sender.cut();\n", "")],
     "test attachments who_takes_nothing"),
    ("refuse: what is refused not counted", INBOX, [("close_received_counted(fds, &self.refused);", "close_received_counted(fds, &Closes::default());")],
     "test attachments what_is_refused"),
    ("check_allocated: any number of pages beyond the end", "src/region/received.rs", [("if beyond > BEYOND_END_MAX_BYTES {", "if false {")],
     "lib region::received"),
    ("from_table: a table of any length", "src/fds/names.rs", [("    if table.len() > TABLE_MAX_BYTES {\n        return", "    if false {\n        return")],
     "lib fds::names"),
    ("have_queues_drained: nobody judged", ATTACHING, [("if self.judge(&untaken, Instant::now())?.has_acted {", "if false {")],
     "test attachments_in_flight who_uses_the_budget_up"),
    ("untaken_since: who takes some is as slow as who takes none", ATTACHING,
     [("if queued_bytes + sender.buffer_bytes() / 8 <= untaken.queued_bytes {", "if false {")], "lib producer::delivery"),
    ("settle_inbox: naps for as long as the bell is left out", LOOKS, [("(!is_settled || self.waiter.naps())", "(!is_settled)")],
     "lib consumer::tests::waiting"),
    ("drop: the end that sends descriptors not shut down", "src/os/fd_sender.rs",
     [("            let _ = shutdown(&*self, Shutdown::Write);\n", "")], "lib os::fd_sender"),
    ("has_room: as much as the consumer allows", "src/os/fd_sender.rs",
     [("                frames != 0\n", "                true\n")], "lib os::fd_sender"),
    ("send: the room of a frame counted for ever", "src/os/fd_sender.rs", [("saturating_sub(1)", "saturating_sub(0)")],
     "lib os::fd_sender"),
    ("has_room: the consumer's limit left", "src/os/fd_sender.rs",
     [("            self.limit_buffer();\n        }\n        has_room", "        }\n        has_room")], "lib os::fd_sender"),
    ("find: the first frame of a record counts", INBOX, [("Ok(next) => Ok(next.number == number),", "Ok(_) => Ok(false),")],
     "lib consumer::inbox"),
    ("is_head_replaced: also one of whose descriptors some were taken", INBOX,
     [("Some(&Arrived { number, is_begun: false, .. }) = queue.head.as_ref()", "Some(&Arrived { number, .. }) = queue.head.as_ref()")],
     "lib consumer::inbox"),
    ("find: the descriptors of records that are passed go to the next one", INBOX,
     [("let fds = head.take_first(passed);\n                let found", "let fds = Vec::new();\n                let found")],
     "lib consumer::inbox"),
    ("let_go_below: what is left of a frame goes with the first record", INBOX,
     [("if passed < head.records.len() {\n                        let fds", "if passed == 0 {\n                        let fds")],
     "test attachments of_many_each"),
    ("pull: taken out of the queue before it is here", INBOX,
     [("        let ReceivedFrame { len, fds } = peeked?;\n", "        if matches!(peeked, Err(Nothing::NoRoom)) {\n            let _ = fds::discard_frame(self.socket.as_fd());\n        }\n        let ReceivedFrame { len, fds } = peeked?;\n")],
     "test attachments a_full_table"),
    ("look_behind_head: no room for what is behind is none for the head", INBOX,
     [("Err(Nothing::NoRoom | Nothing::Fault(_)) => {}", "Err(Nothing::NoRoom) => return Err(Nothing::NoRoom),\n                Err(Nothing::Fault(_)) => {}")],
     "test attachments a_full_table"),
    ("pull: what was received ahead is passed over", INBOX,
     [("let next = match queue.next.take() {\n            Some(next) => next,\n            None =>", "let next = match queue.next.take() {\n            Some(_) | None =>")],
     "lib consumer::inbox"),
    ("let_go_below: a flood is taken to its end", INBOX,
     [("for _ in 0..self.frames_per_call {\n            let next", "for _ in 0..usize::MAX {\n            let next")],
     "lib consumer::inbox"),
    ("wait: sleeps on where there is no room for descriptors", LOOKS,
     [("settle_in.map_or(deadline, |time| deadline.or_after(time))", "{\n                let _ = settle_in;\n                deadline\n            }")],
     "test attachments who_sleeps_with"),
    ("arm: no timer where there is no room for descriptors", CONSUMER,
     [("arm_elsewhere(&mut self.reader, settle_in)", "arm_elsewhere(&mut self.reader, settle_in.filter(|_| false))")],
     "test attachments who_sleeps_with"),
    ("look_at_session_if_due: descriptors of attempts kept", LOOKS,
     [("            self.waiter.harvest(&self.reader);\n            self.settle_inbox();\n", "            self.waiter.harvest(&self.reader);\n")],
     "lib consumer::tests::waiting"),
    ("find: a flood is taken to its end", INBOX,
     [("for _ in 0..self.frames_per_call {\n            if queue", "for _ in 0..usize::MAX {\n            if queue")],
     "lib consumer::inbox"),
    ("take: any number of descriptors", INBOX, [("if fds.len() == usize::from(count) => Ok(fds)", "if true => Ok(fds)")],
     "lib consumer::inbox"),
    ("parse: those of any lane", INBOX, [("if attachments.lane != self.lane =>", "if false =>")], "lib consumer::inbox"),
    ("parse: numbers that fall", INBOX, [("if attachments.number >= queue.number {", "if true {")],
     "lib consumer::inbox"),
    ("fault: what is left of a group handed out after it", INBOX, [("        self.let_go_of_all(queue);\n", "")],
     "lib fuzzing::replay::inbox"),
    ("look: what nobody takes kept", LOOKS, [("inbox.settle_if_due(position)", "drop((inbox, position))")],
     "test attachments what_nobody_takes"),
    ("drop: a consumer whose records are held takes descriptors", CONSUMER,
     [("inbox().iter().for_each(|inbox| inbox.hang_up());", "inbox().iter().for_each(|_| ());")],
     "test attachments who_has_gone_and_holds"),
    # Waits that are interrupted.
    ("interrupt: the sleepers on words not woken", INTERRUPT, [("        futex::wake_private(word);\n", "")],
     "test interrupt ctrl_c"),
    ("interrupt: the descriptor not raised", INTERRUPT,
     [("        futex::wake_private(word);\n        self.0.settle();\n", "        futex::wake_private(word);\n")],
     "test interrupt ctrl_c"),
    ("interrupt: a forked child raises the parent's descriptor", INTERRUPT,
     [("        if guard.is_child() {\n            // The eventfd is the parent's too.\n            return;\n        }\n", "")],
     "test interrupt a_forked_child"),
    ("settle: what comes in between forgotten", INTERRUPT,
     [("            if self.word.load(Ordering::Relaxed) == value {\n                return;\n            }\n", "            return;\n")],
     "lib word_and_descriptor_agree"),
    ("clear: the descriptor left readable", INTERRUPT,
     [("Ordering::Relaxed);\n        self.0.settle();\n", "Ordering::Relaxed);\n")], "lib it_stands_until"),
    ("captured: what the word is now, and not what it was at the look", INTERRUPT,
     [("(&self.0.word, LOWERED)", "(&self.0.word, self.0.word.load(Ordering::Relaxed))")], "lib a_sleep_that_begins_after"),
    ("wait: the interrupter's word left out", FUTEX, [("[Some(private), interrupt].into_iter()", "[Some(private), None].into_iter()")],
     "test interrupt ctrl_c"),
    ("wait: slept on one word though there is an interrupter's", FUTEX,
     [("if shared.is_none() && interrupt.is_none() {", "if shared.is_none() {")], "test interrupt ctrl_c"),
    ("watch_interrupter: the interrupter not watched", WAITER,
     [("            poller.add(interrupter, INTERRUPT, Trigger::Level)?;\n", "            let _ = poller;\n")],
     "test interrupt ctrl_c"),
    ("sleep: an interrupt taken for a ring in vain", WAITER, [(" && !deadline.has_passed() && !self.is_interrupted() {", " && !deadline.has_passed() {")],
     "test interrupt ctrl_c"),
    ("arm: an interrupt left to be found by the loop", CONSUMER,
     [("            true if self.waiter.is_interrupted() => Err(ReceiveError::Interrupted),\n", "")],
     "test interrupt ctrl_c"),
    ("wait_until: an interrupt found only after the wait", SELECT,
     [("            if self.is_interrupted() {\n"
       "                return Err(ReceiveError::Interrupted);\n            }\n", "")], "test interrupt ctrl_c"),
    ("is_idle: a connection goes on that nobody waits for", SERVING,
     [("            Phase::Greeting(Greeting { outcome: Some(_), .. }) => true,\n", "")], "test interrupt ctrl_c"),
    ("Alarm: an interrupt leaves the descriptor as it is", SHARED,
     [("            poller.add(&interrupter, 0, Trigger::Level)?;\n", "")], "test interrupt ctrl_c_ends"),
    ("Alarm: news leave the descriptor as it is", SHARED,
     [("            poller.add(news, 1, Trigger::Level)?;\n", "            let _ = news;\n")], "test interrupt ctrl_c_ends"),
    ("arm: a listener that is interrupted sleeps", SESSION_LISTENER,
     [("        self.steward.check_interrupt(|| self.waiting())?;\n        Ok(true)", "        Ok(true)")],
     "test interrupt ctrl_c_ends"),
    # Looking at lanes from outside.
    ("open_pinned: whatever has the number now", INSPECT_FILES,
     [("if FileKey::of(&stat) != key || !devices.contains(&key.device) {", "if false {")],
     "test inspect_strangers another_file"),
    ("into_region: any seals", INSPECT_FILES, [("if !Region::has_seals(&self.fd, seals) {", "if false {")],
     "test inspect_strangers only_called"),
    ("read_words: a file that became shorter", INSPECT_FILES,
     [('0 => return Err(Miss::Reason(Reason::Broken { fault: "a region became shorter".to_owned() })),',
       "0 => break,")], "lib inspect::files"),
    ("of_link: any id", INSPECT_FILES, [("        _ => None,\n    };\n    let mut id", "        _ => Some(0),\n    };\n    let mut id")],
     "lib inspect::files"),
    ("open_again: any process of that number", INSPECT_PROCESS,
     [("if process.is(view) { Ok(process) }", "if true { Ok(process) }")], "lib inspect::process"),
    ("Pins::check: who has ended still runs", INSPECT_PROCESS,
     [("Some(index) => self.0[index].check_running(),", "Some(_) => Ok(()),")], "lib inspect::process"),
    ("Pins::check: each process is read again", INSPECT_PROCESS,
     [("Some(index) => self.0[index].check_running(),", "Some(_) => Process::open_again(view).map(drop),")],
     "lib inspect::survey"),
    ("or_unseen: told of another that has the file", INSPECT_SURVEY, [("scope == Some(process.pid)", "false")],
     "test inspect_strangers a_fault_is_told"),
    ("look_at_known: who has ended is still there", INSPECT_SURVEY, [("        search.forget(&ended);\n", "")],
     "test inspect what_is_known"),
    ("look_at_known: what is gone is said to be unseen", INSPECT_SURVEY,
     [("        now.unseen.retain(|unseen| unseen.reason != Reason::Gone);\n", "")], "test inspect what_is_known"),
    ("numbers: the /proc of any namespace", INSPECT_PROCESS,
     [("!= Some(std::process::id()) {", "== Some(u32::MAX) {")], "test inspect_strangers within_a"),
    ("explain: nobody is undumpable", INSPECT_PROCESS,
     [("Ok(stat) if stat.stx_uid != own =>", "Ok(stat) if stat.stx_uid == own + 1 =>")],
     "test inspect_strangers undumpable"),
    ("Process::open: any command", INSPECT_PROCESS,
     [("printable(&stat.command, COMMAND_MAX_BYTES)", "stat.command.clone()")], "test inspect_strangers tricks"),
    ("of_mapping: private mappings write", INSPECT_PROCESS,
     [('is_writable: permissions == "rw-s"', "is_writable: permissions.starts_with(\"rw\")")], "lib inspect::process"),
    ("from_header: any spelling", BODY, [("terms.check_header(header).map(|()| terms)", "Ok(terms)")],
     "lib inspect::words"),
    ("LaneLook: any position", INSPECT_WORDS,
     [("if published & (terms.geometry.record_align() - 1) != 0 || published >= CONSUMED_LEFT_BIT {",
       "if published >= CONSUMED_LEFT_BIT {")], "lib inspect::words"),
    ("StripeLook: those who have left", INSPECT_WORDS,
     [("(is_used && look.consumed & CONSUMED_LEFT_BIT == 0)", "is_used")], "lib inspect::words"),
    ("view: positions beyond what is published", INSPECT_WORDS,
     [("position.filter(|position| *position <= lane.published)", "position")], "lib inspect::words"),
    ("view: held beyond what is published", INSPECT_WORDS,
     [("read.min(lane.published)", "read")], "lib inspect::words"),
    ("introduce: not said", MEMORY_WORDS, [("words.kind.store(kind.to_byte().into(), Ordering::Relaxed);", "")],
     "test inspect who_writes"),
    ("tap: whether its producer lives", INSPECT_TAP, [("if is_dead {", "if false {")],
     "test inspect the_lane_of_a_dead"),
    ("tap: the end of its producer", INSPECT_TAP,
     [("(Peer { pid: Some(producer.pid), uid: producer.uid, pidfd: Some(pidfd) }, is_dead)",
       "{ drop(pidfd); (Peer::UNKNOWN, is_dead) }")], "test inspect learns_of_a_death"),
    ("unrung: waits for rings", WAITER, [("self.sources.is_rung = false;", "")], "test inspect learns_of_a_death"),
    ("position_of: the middle of a record", INSPECT_TAP,
     [("if position <= published && begins_record(lane, position..published, |at| at == last)",
       "if position <= published && is_boundary(position)")], "test inspect learns_of_a_death"),
    ("position_of: any position", INSPECT_TAP,
     [("match lane.intent().load(Ordering::Relaxed).saturating_sub(position) <= capacity {", "match true {")], "test inspect learns_of_a_death"),
    ("Shared::is_with: the seats of everybody", INSPECT_SURVEY,
     [("self.places.iter().any(|place| pids().any(|pid| pid == place.process.pid))", "true")],
     "test inspect_strangers claims"),
    ("write_all: what was written", REGION, [("offset += written as u64;", "")], "test parcels a_copy"),
    ("copy_of: any length", "src/region/sealed.rs",
     [("        region.write_all(pieces)?;\n        region.seal(Seals::SHRINK.union(Seals::GROW))?;",
       "        region.write_all(pieces)?;")], "test parcels a_copy"),
    ("copy_of: not sealed", "src/region/sealed.rs",
     [("        region.seal(Seals::SHRINK.union(Seals::GROW))?;\n        freeze(&region)?;",
       "        region.seal(Seals::SHRINK.union(Seals::GROW))?;")], "test parcels a_copy"),
    ("check: places beyond the body", ARROW_LAYOUT, [("placed.filter(|(.., end)| *end <= self.body_len)", "placed")],
     "arrow hostile numbers_and_places"),
    ("check: places on top of each other", ARROW_LAYOUT, [(" || start < self.end {", " {")],
     "arrow hostile numbers_and_places"),
    ("check: places anywhere", ARROW_LAYOUT, [("if !start.is_multiple_of(ALIGN_BYTES) || ", "if ")],
     "arrow hostile numbers_and_places"),
    ("check: buffers that are too short", ARROW_LAYOUT, [("if len < needed {", "if false {")],
     "arrow hostile numbers_and_places"),
    ("check: parts of values", ARROW_LAYOUT, [("if len.is_multiple_of(width) {", "if true {")],
     "arrow hostile at_random"),
    ("check: any number of nulls", ARROW_LAYOUT, [("_ => nulls <= rows,", "_ => true,")],
     "arrow hostile numbers_and_places"),
    ("check: any number of rows", ARROW_LAYOUT, [(".filter(|count| *count <= ROWS_MAX)", "")],
     "arrow hostile numbers_and_places"),
    ("check: more than the schema has", ARROW_LAYOUT,
     [("if walk.nodes.len() + walk.places.len() + walk.view_buffers.len() > 0 {", "if false {")],
     "arrow hostile another_schema"),
    ("split: any length", ARROW_DECODE, [(" || begin > bytes.len()", "")], "arrow hostile lengths_of_messages"),
    ("decode: bodies that are not there", ARROW_DECODE, [(".filter(|len| *len <= body_and_more.len())", "")],
     "arrow hostile lengths_of_messages"),
    ("decode: what comes after a batch", ARROW_DECODE, [("if body_len < body_and_more.len() {", "if false {")],
     "arrow hostile lengths_of_messages"),
    ("check_type: any nesting", ARROW_SCHEMA,
     [("let depth = depth.checked_sub(1).ok_or_else(|| format!(\"it is nested deeper than {DEPTH_MAX} levels\"))?;",
       "let depth = depth.saturating_sub(1);")], "arrow batches deep_nesting"),
    ("parse: another lane's schema", ARROW_CONSUMER, [("if schema.fingerprint() != lane.lane().schema {", "if false {")],
     "arrow hostile a_schema_that_lies"),
    ("parcel_of: any parcel", ARROW_CONSUMER, [("(1, Some(PARCEL_KIND)) => Ok(parcel),", "(1.., _) => Ok(parcel),")],
     "arrow hostile no_batch"),
    ("encode: dictionaries once only", ARROW_ENCODE, [("if schema.has_dictionaries() {", "if false {")],
     "arrow batches late_joiners"),
    ("put: any schema", ARROW_PRODUCER,
     [("if let Some(difference) = self.schema.difference(batch.schema_ref()) {",
       "if let Some(difference) = None::<String> {")], "arrow batches another_schema"),
    ("forward: to any schema", ARROW_PRODUCER,
     [("Some(parcel) if batch.schema.message() == self.schema.message() =>", "Some(parcel) =>")],
     "arrow processes sent_anew"),
    ("forward: a copy", ARROW_PRODUCER,
     [("Some(parcel) if batch.schema.message() == self.schema.message() =>", "Some(parcel) if false =>")],
     "arrow processes in_one_memory"),
]

# Files with orderings that no model compiles, for they order nothing that another process reads.
NOT_MODELLED = {
    "src/consumer/working.rs": "a release that a test makes without the look after it",
    "src/distribute/slots.rs": "publications seen by the steward, as a reader in this process sees them",
    "src/inspect/tap.rs": "where a tap begins, as `TapReader::newest` finds it, which models compile",
    "src/lane.rs": "flags between a producer's threads and its steward",
    "src/lane/seat.rs": "flags between a producer's threads and its steward",
    "src/link.rs": "how a session ended, between the threads that read its lanes",
    "src/memory/copy.rs": "streaming stores, which models do not know; its unit test sees their fence work",
    "src/os/barrier.rs": "system calls, and the compiler's half of one; src/os/barrier/tests.rs sees them work",
    "src/os/fork.rs": "one word, of this process alone",
    "src/os/interrupt.rs": "a flag between threads of this process, and a handler; its unit tests see it work",
    "src/session/opened.rs": "which of two threads of this process goes first",
    "src/session/shared.rs": "flags between a handle, its steward and the threads of producers",
    "src/session/seats.rs": "a flag from a producer's thread to its steward",
    "src/session/steward.rs": "a flag from a handle to its steward",
}
# An ordering that is not relaxed, or a call of a fence or barrier, whatever it may be called.
# `Release` is a type, too.
STRONG = re.compile(r"\b(?:Release|Acquire|AcqRel|SeqCst)\b(?!<|::)"
                    r"|(?<!fn )\b(?:\w*(?:fence|barrier)\w*|barrier::(?:light|heavy)\w*)\((?!Ordering::)")


def strong_places(file):
    """Where in a file something is ordered: [(offset, text)]. Comments and imports order nothing."""
    text = (ROOT / file).read_text()
    blank = lambda match: " " * len(match[0])
    text = re.sub(r"//.*|^\s*(?:pub\S* )?use [^;]*;", blank, text, flags=re.MULTILINE)
    return [(match.start(), match[0]) for match in STRONG.finditer(text)]


def weakened_places(file, replacements):
    """The places of a file at which a fault has fewer orderings than before; it may have weaker ones there instead."""
    text, found = (ROOT / file).read_text(), []
    lost = lambda strong: sum(old.count(strong) - new.count(strong) for old, new in replacements)
    for old, new in replacements:
        begin = text.find(old)
        found += [offset for offset, strong in strong_places(file)
                  if begin <= offset < begin + len(old) and lost(strong) > 0 and new.count(strong) < old.count(strong)]
    return found


def is_there(checks):
    """Whether a test or a model has the name of what is expected to fail; the library's own tests are not looked for."""
    kind, _, names = checks.partition(" ")
    if kind in ("lib", "fuzz"):
        return True
    if kind in ("test", "feature-test", "arrow"):
        file, _, names = names.partition(" ")
        tests = {(ROOT / ("crates/fdring-arrow/tests" if kind == "arrow" else "tests") / f"{file}.rs"): ""}
    else:
        names, models = f"models::{checks}", (ROOT / "tests/loom/models").glob("*.rs")
        tests = {path: f"models::{path.stem}::" for path in models}
    return any(names in before + name for path, before in tests.items() if path.exists()
               for name in re.findall(r"\bfn (\w+)", path.read_text()))


def check():
    """Whether every ordering and fence in the source has a fault, and every fault its place; how many have not."""
    failures = places = 0
    for name, file, replacements, checks, *_ in FAULTS:
        if plant(file, replacements) is None:
            failures += 1
            print(f"NO LONGER FITS: {name}")
        if not is_there(checks):
            failures += 1
            print(f"NOTHING IS NAMED {checks}: {name}")
    models = (ROOT / "tests/loom/root.rs").read_text()
    modelled = set(re.findall(r'^#\[path = "../../(src/.*)"\]$', models, re.MULTILINE))
    assert modelled, "tests/loom/root.rs names no file"
    for path in sorted((ROOT / "src").rglob("*.rs")):
        file = str(path.relative_to(ROOT))
        if path.name in ["tests.rs", "testing.rs"] or "/fuzzing/" in file or "/tests/" in file:
            continue
        # A file brings those in the folder of its name, or beside it where it is the `mod.rs`.
        is_modelled = any(file == one or file.startswith(re.sub(r"(/mod)?\.rs$", "/", one)) for one in modelled)
        strong = strong_places(file)
        if not is_modelled:
            if strong and file not in NOT_MODELLED:
                failures += 1
                print(f"NOT MODELLED: {file} orders something, and no model compiles it; say why in NOT_MODELLED")
            continue
        places += len(strong)
        faults = [fault[2] for fault in FAULTS if fault[1] == file]
        weakened = {offset for replacements in faults for offset in weakened_places(file, replacements)}
        for offset, what in strong:
            if offset not in weakened:
                failures += 1
                line = path.read_text()[:offset].count("\n")
                print(f"NO FAULT: {file}:{line + 1}: {path.read_text().splitlines()[line].strip()}")
    print(f"{places} orderings and fences, {len(FAULTS)} faults, {failures} of either without the other")
    return failures


def place(fault):
    """A fault's name, after that of its file, or of the folder whose `mod.rs` that is."""
    path = pathlib.Path(fault[1])
    return f"{path.parent.name if path.stem == 'mod' else path.stem}: {fault[0]}"


def copy_tree():
    COPY.mkdir(parents=True, exist_ok=True)
    for source in ROOT.iterdir():
        copy = COPY / source.name
        if source.name == "target" or source.name.startswith("."):
            continue
        if source.is_dir():
            shutil.rmtree(copy, ignore_errors=True)
            # With the time of now: cargo builds anew what is newer than its last build, which may have had a fault.
            ignored = shutil.ignore_patterns("target", "artifacts")
            shutil.copytree(source, copy, ignore=ignored, copy_function=shutil.copy)
        else:
            shutil.copy(source, copy)


def plant(file, replacements):
    """The file with the fault in it; None where a text is not there exactly once."""
    text = (ROOT / file).read_text() if (ROOT / file).exists() else ""
    for old, new in replacements:
        if text.count(old) != 1:
            print(f"    in {file} not once but {text.count(old)} times: {old!r}", flush=True)
            return None
        text = text.replace(old, new)
    return text


def cargo_test(arguments, directory, flags):
    """A function that runs `cargo test` on the copy with further arguments: its exit status, None where it hangs, and
    what it printed."""
    environment = dict(os.environ, RUSTFLAGS=f"{flags} -A warnings", CARGO_TARGET_DIR=str(COPY / "target" / directory),
                       CARGO_PROFILE_RELEASE_DEBUG="0", RUST_BACKTRACE="0")

    def test(*more, timeout=None, **variables):
        command = ["cargo", "test", "--quiet", *arguments, *more]
        # In a session of its own, so that what hangs can be ended with all that it has started.
        with subprocess.Popen(command, cwd=COPY, env=environment | variables, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, start_new_session=True) as process:
            try:
                return *process.communicate(timeout=timeout)[:1], process.returncode
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                return *process.communicate()[:1], None

    return test


def fuzz(target):
    """As `run`, of a fuzz target: it starts from the seeds, and what it finds is found again by what it says then."""
    out = COPY / "target"
    environment = dict(os.environ, CARGO_TARGET_DIR=str(out))
    shutil.rmtree(out / "fuzz" / "corpus", ignore_errors=True)
    command = ["fuzz/run", target, "--seconds", FUZZ_SECONDS]
    fuzzed = subprocess.run(command, cwd=COPY, env=environment, capture_output=True, text=True)
    row = re.search(rf"^\| {target} *\| (\d+) *\| (\d+) ", fuzzed.stdout, re.MULTILINE)
    if row is None:
        print(fuzzed.stdout, fuzzed.stderr)
        return "does not build"
    print(f"    {row[2]} inputs in {row[1]} s")
    if fuzzed.returncode == 0:
        return "survives"
    # The commands that it says: one to see the fault again, one to see it in a shorter input.
    said = re.search(r"panicked at .*\n(?:.*\n)*? +replay: +(.*)\n +minimise: +(.*)", fuzzed.stdout)
    assert said, f"fuzz/run does not show the panic, and how to see it again: {fuzzed.stdout}"
    replay, minimise = (subprocess.run(line.split(), cwd=COPY, env=environment, capture_output=True, text=True)
                        for line in [said[1], f"{said[2]} --seconds 5"])
    assert replay.returncode != 0 and "panicked at" in replay.stderr, f"not seen again by {said[1]}: {replay.stderr}"
    outcome = r"bytes are \d+ in|got no shorter"
    assert minimise.returncode == 0 and re.search(outcome, minimise.stdout), f"{said[2]}: {minimise.stdout}"
    return "caught"


def run(checks):
    """What becomes of the checks of that name, see FAULTS: "caught", "hangs", "survives" or "does not build"."""
    limits, timeout = [{}], TESTS_TIMEOUT_SECONDS
    kind, _, names = checks.partition(" ")
    if kind == "fuzz":
        return fuzz(names)
    if kind == "lib":
        test = cargo_test(["--lib"], "lib", "")
    elif kind in ("test", "feature-test"):
        file, _, names = names.partition(" ")
        features = ["--all-features"] if kind == "feature-test" else []
        test = cargo_test([*features, "--test", file], "lib", "")
    elif kind == "arrow":
        file, _, names = names.partition(" ")
        test = cargo_test(["--package", "fdring-arrow", "--test", file], "lib", "")
    else:
        test, names = cargo_test(["--release", "--test", "loom"], "loom", "--cfg loom"), f"models::{checks}"
        limits, timeout = [{"LOOM_MAX_PREEMPTIONS": PREEMPTIONS}] + [{}] * bool(checks), MODELS_TIMEOUT_SECONDS
    printed, status = test("--no-run")
    if status != 0:
        print(printed)
        return "does not build"
    for limit in limits:
        printed, status = test(names, timeout=timeout, **limit)
        if status != 0:
            return "hangs" if status is None else "caught"
        assert re.search(r"[1-9]\d* passed", printed), f"nothing is named {names}"
    return "survives"


def main():
    if sys.argv[1:] == ["--check"]:
        sys.exit(check() != 0)
    wanted = [fault for fault in FAULTS if all(word in f"{place(fault)} | {fault[3]}" for word in sys.argv[1:])]
    copy_tree()
    failures = check()
    # All models, all tests of the library, and those of `tests` and the fuzz targets that are asked for.
    whole = lambda checks: {"lib": "lib ", "test": checks, "feature-test": checks, "arrow": checks, "fuzz": checks}.get(checks.split()[0], "")
    for checks in sorted({whole(fault[3]) for fault in wanted}):
        if run(checks) != "survives":
            sys.exit("tests fail without any fault")
    print(f"{'fault':<70} {'caught by':<32} {'outcome':<16} seconds")
    for fault in wanted:
        (_, file, replacements, checks, *explained), begin = fault, time.monotonic()
        text = plant(file, replacements)
        if text is None:
            outcome = "NO LONGER FITS"
        else:
            (COPY / file).write_text(text)
            outcome = run(checks)
            shutil.copy(ROOT / file, COPY / file)
        if outcome == "survives" and explained:
            outcome = f"explained: {explained[0]}"
        elif outcome not in ["caught", "hangs"]:
            failures += 1
            outcome = {"survives": "NOT CAUGHT"}.get(outcome, outcome.upper())
        print(f"{place(fault):<70} {checks:<32} {outcome:<16} {time.monotonic() - begin:.1f}", flush=True)
    print(f"{len(wanted)} faults, {failures} not caught")
    sys.exit(failures != 0)


if __name__ == "__main__":
    main()
