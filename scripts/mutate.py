#!/usr/bin/env python3
"""Plants one fault after another and sees whether it is caught: in the ring protocols by the models of tests/loom, in
what reads a peer's bytes by unit tests and the replayed corpora of the fuzz targets.

    scripts/mutate.py            all faults
    scripts/mutate.py fence      those with "fence" in their name, or in that of what catches them
    scripts/mutate.py --check    none, but finds every ordering and fence in the source that no fault weakens

Each fault is planted in a copy of the tree, below the build directory. The exit status is 1 if a fault survives that is
not explained, if a text to be replaced is no longer there exactly once, if a fault does not build, or if the models
compile an ordering stronger than relaxed, or a fence, that no fault weakens, moves away or leaves out.
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
KNOWN = "src/ring/known.rs"
BYTES = "src/ring/bytes.rs"
ROW = "src/ring/row.rs"
BATCH = "src/producer/batch.rs"
DRAIN = "src/consumer/drain.rs"
COPYING = "src/ring/copy.rs"
ROSTER = "src/roster.rs"
WAKE = "src/wake.rs"
WATCH = "src/consumer/watch.rs"
CONSUMER = "src/consumer.rs"
PUBLISHER = "src/publisher.rs"
CMSG = "src/cmsg.rs"
FRAME = "src/frame.rs"
BODY = "src/frame/body.rs"
WIRE = "src/frame/wire.rs"
HANDSHAKE = "src/handshake.rs"
RECEIVED = "src/region/received.rs"
LAYOUT = "src/layout.rs"

SEQCST = "        fence(Ordering::SeqCst);\n"
ACQREL = "        fence(Ordering::AcqRel);\n"

# Name, file, [(exact text, replacement), ...], what is expected to fail, and why it does not where it does not.
# Expected to fail are the models of that name; or, after "lib ", the library's tests with that in their name; or, after
# "test ", those of that file in `tests`.
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
     [("        ring.set_header_word(claim.begin, RecordHeader::data",
       "        ring.lane().published().store(claim.end, Ordering::Release);\n"
       "        ring.set_header_word(claim.begin, RecordHeader::data")],
     "publication"),
    ("claim: published before the payload", WRITER,
     [("        (claim.end <= self.intent).then_some(claim)",
       "        self.ring.lane().published().store(claim.end.min(self.intent), Ordering::Release);\n"
       "        (claim.end <= self.intent).then_some(claim)")],
     "publication"),
    ("commit: padding left unwritten", WRITER,
     [("        self.ring.set_header_word(self.room.committed, padding.to_word());\n", "        let _ = padding;\n")],
     "publication"),
    ("publish: finished before the last published", WRITER,
     [("        self.published = self.room.committed;\n",
       "        self.published = self.room.committed;\n"
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
    ("was_evicted: eviction unnoticed", READER,
     [("    lane.evictions().load(Ordering::Relaxed) != evictions\n", "    let _ = (lane, evictions);\n    false\n")],
     "eviction"),
    ("copy_intact: looked before the copy", READER,
     [("    ring.copy_out(found.payload, copy);\n", ""),
      ("    !was_evicted(lane, evictions) || intact()\n",
       "    let good = !was_evicted(lane, evictions) || intact();\n    ring.copy_out(found.payload, copy);\n    good\n")],
     "eviction"),
    ("copy_intact: any eviction believed one's own", READER,
     [("!was_evicted(lane, evictions) || intact()", "!was_evicted(lane, evictions) && intact()")], "eviction"),
    ("was_evicted: fence left out", READER,
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
     [("        let Joiner { id, pid, barrier, .. } = joiner;\n",
       "        drop(seats);\n        let mut seats = self.seats.lock();\n"
       "        let Joiner { id, pid, barrier, .. } = joiner;\n")],
     "joining"),
    ("note_change: version not bumped", ROSTER,
     [("        self.version.fetch_add(1, Ordering::Relaxed);\n", "")], "data"),
    ("note_change: private word not bumped", ROSTER,
     [("        self.changed.fetch_add(1, Ordering::Relaxed);\n", "")], "space"),
    ("note_change: nobody woken", ROSTER, [("        wake::wake_private(&self.changed);\n", "")], "space"),
    ("put_out: count of evictions left alone", ROSTER,
     [("            lane.evictions().store(evictions, Ordering::Relaxed);\n", "            let _ = evictions;\n")],
     "eviction"),
    ("ring_sleepers: light barrier left out", ROSTER, [("        barrier::light();\n", "")], "data"),
    ("ring_sleepers: fence left out", ROSTER, [("        if snapshot.fences {\n    " + SEQCST, "        if false {\n")],
     "data"),
    ("ring_sleepers: fence weakened", ROSTER,
     [("        if snapshot.fences {\n    " + SEQCST, "        if snapshot.fences {\n    " + ACQREL)], "data"),
    ("ring_sleepers: version loaded before the barrier", ROSTER,
     [("        barrier::light();\n",
       "        let version = self.version.load(Ordering::Relaxed);\n        barrier::light();\n"),
      ("if self.version.load(Ordering::Relaxed) != snapshot.version {", "if version != snapshot.version {")],
     "data"),
    ("renew: no fence beside the first consumer that fences", ROSTER,
     [("        if is_fenced && !snapshot.fences {\n"
       "            // As in `ring_sleepers`, which had no cause for it before it looked here.\n    " + SEQCST, "        if false {\n")],
     "data", "models have consumers of one kind only, and the light barrier of the asymmetric kind is a full fence there"),
    # Sleeping and waking.
    ("announce_sleep: heavy barrier left out", WAKE, [("=> barrier::heavy(),", "=> {}")], "data"),
    ("announce_sleep: fence left out", WAKE, [("=> fence(Ordering::SeqCst),", "=> {}")], "data"),
    ("announce_sleep: fence weakened", WAKE,
     [("=> fence(Ordering::SeqCst),", "=> fence(Ordering::AcqRel),")], "data"),
    ("announce_sleep: bell drained while the epoch is odd", WAKE,
     [("    prepare();\n", ""),
      ("    wait_epoch.store(epoch.wrapping_add(1), Ordering::Relaxed);\n    // Pairs",
       "    wait_epoch.store(epoch.wrapping_add(1), Ordering::Relaxed);\n    prepare();\n    // Pairs")], "data"),
    ("announce_sleep: bell drained after the fence", WAKE,
     [("    prepare();\n", ""),
      ("=> barrier::heavy(),\n    }\n", "=> barrier::heavy(),\n    }\n    prepare();\n")], "data"),
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
    ("prepare: the bell left as it is", WATCH, [("            bell.drain();\n", "")], "lib consumer::watch"),
    ("must_empty: a ring counted twice", WAKE,
     [("!std::mem::take(&mut self.was_rung) || !is_watched", "!self.was_rung || !is_watched")], "lib consumer::watch"),
    ("must_empty: not before a poll", WAKE, [(" || !is_watched", "")], "lib consumer::watch"),
    ("sleep: no second look", CONSUMER,
     [("if is_time_to_look && reader.may_sleep(is_over) {", "if is_time_to_look {")], "lib consumer::tests::sleeping"),
    ("make: the bell watched for its level", WATCH, [("EventFlags::IN | EventFlags::ET", "EventFlags::IN")],
     "lib consumer::watch"),
    # The plain model that everything is compared with.
    ("place: padding forgotten", WRITER, [("if size > room { room } else { 0 }", "if size > room { 0 } else { 0 }")],
     "lib what_is_sent_is_received"),
    ("rewind: what was dropped goes out", WRITER, [("            self.move_to(self.published);\n", "")],
     "lib what_is_sent_is_received"),
    ("raise_intent: beyond the limit", WRITER, [("self.intent.max(ahead.min(limit))", "self.intent.max(ahead)")],
     "lib what_is_sent_is_received"),
    ("release: more than was read", READER,
     [("        self.store_consumed(self.known.position)\n", "        self.store_consumed(self.published)\n")],
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
    ("parse: frames of any length", FRAME, [("if bytes.len() > FRAME_MAX_BYTES {", "if false {")], "lib frame::"),
    ("parse: trailing bytes", FRAME, [("        reader.finish()?;\n", "        let _ = reader.finish();\n")],
     "lib replay::frame_parse"),
    ("parse: descriptors not counted", FRAME, [("if fd_count != frame.fd_count() {", "if false {")],
     "lib replay::frame_parse"),
    ("check: reserved bits", FRAME, [("if self.reserved != 0 {", "if false {")], "lib replay::frame_parse"),
    ("check: the length of the body", FRAME, [("if self.body_len as usize != body_len {", "if false {")],
     "lib replay::frame_parse"),
    ("Hello::read: a count of lanes without a bound", BODY, [("if count > LANES_PER_SESSION_MAX {", "if false {")],
     "lib frame::"),
    ("from_bytes: an empty name", WIRE, [("if bytes.is_empty() || bytes.len()", "if bytes.len()")], "lib frame::"),
    ("from_bytes: a name of any length", WIRE, [(" || bytes.len() > LANE_NAME_MAX_BYTES", "")], "lib frame::"),
    ("on_frame: a Hello after a Hello", HANDSHAKE,
     [("            (ProducerState::AwaitHello, Frame::Hello(hello)) => self.on_hello(&hello),\n",
       "            (_, Frame::Hello(hello)) => self.on_hello(&hello),\n")], "lib replay::handshake"),
    ("on_attach: lanes not counted", HANDSHAKE, [("if attach.len() != lanes.len() {", "if false {")],
     "lib replay::handshake"),
    ("on_attached: a start that is not aligned", HANDSHAKE,
     [("if start % align != 0 || start >= START_LIMIT {", "if start >= START_LIMIT {")], "lib replay::handshake"),
    ("on_attached: any start", HANDSHAKE,
     [("if start % align != 0 || start >= START_LIMIT {", "if start % align != 0 {")], "lib replay::handshake"),
    ("fit: beyond what is published", READER,
     [("if size > self.published - position || size >", "if size >")], "lib replay::ring_reader"),
    ("fit: across the end of the ring", READER,
     [("if size > self.published - position || size > self.geometry.room_to_end(position) {",
       "if size > self.published - position {")], "lib replay::ring_reader"),
    ("skip_padding: of any length", READER,
     [("if len + HEADER_LEN_BYTES != room || room >= self.published - position {",
       "if room >= self.published - position {")], "lib replay::ring_reader"),
    ("skip_padding: last", READER,
     [("if len + HEADER_LEN_BYTES != room || room >= self.published - position {",
       "if len + HEADER_LEN_BYTES != room {")], "lib replay::ring_reader"),
    ("know: beyond what is published", READER,
     [("self.known.clear = self.published.min(end);", "self.known.clear = end;")], "lib consumer"),
    ("know: across the end of the ring", READER,
     [("self.known.clear = self.published.min(end);", "self.known.clear = self.published;")],
     "lib replay::ring_reader"),
    ("refresh: published may fall", READER, [("if published < self.published {", "if false {")],
     "lib replay::ring_reader"),
    ("refresh: published too far", READER,
     [("if published - self.known.position > self.geometry.capacity() {", "if false {")], "lib replay::ring_reader"),
    ("refresh: published not aligned", READER,
     [("if published & (self.geometry.record_align() - 1) != 0 {", "if false {")], "lib replay::ring_reader"),
    ("next: beyond what is known to follow", KNOWN,
     [("        if end > self.clear {\n            return None;\n        }\n", "")], "lib ring::tests"),
    ("alike: of any length", KNOWN,
     [("|alike, other| alike & RecordHeader::are_alike(*other, word)", "|alike, other| alike & (other == other)")],
     "lib ring::tests"),
    ("alike: beyond what is published", KNOWN,
     [("if ALIKE as u64 * u64::from(size) > self.clear - self.position {", "if self.position >= self.clear {")],
     "lib ring::tests"),
    ("places: each second one left out", BYTES,
     [("unsafe { first.add(index * distance as usize) }", "unsafe { first.add(index / 2 * 2 * distance as usize) }")],
     "lib consumer"),
    ("fill_row: a record more than fits", ROW, [("while size <= wanted - at {", "while at < wanted {")], "lib consumer"),
    ("fill_row: no header", ROW,
     [("as_ref() }.store(header, Ordering::Relaxed);\n        filled", "as_ref() };\n        filled")],
     "lib consumer"),
    ("fill_row: beyond the end of the ring", ROW,
     [("lane.ring_mut().bytes(begin, room)", "lane.ring_mut().bytes(begin, 8)")], "lib ring::tests"),
    ("fill_row: a header in a forked child", ROW,
     [("        if !goes_on() {\n            break;\n        }\n", "        let _ = &goes_on;\n")], "test forked"),
    ("fill_each: a record committed in a forked child", BATCH,
     [("            if guard.is_child() {\n                return Err(SendError::Forked);\n            }\n"
       "            writer.commit_in(", "            writer.commit_in(")], "test forked"),
    ("alike: a record handed over in a forked child", DRAIN,
     [("                if guard.is_child() {\n                    return records;\n                }\n            }\n"
       "            next =", "            }\n            next =")], "test forked"),
    ("places: beyond the end of the ring", BYTES,
     [("self.bytes(position, (N as u64 - 1) * u64::from(distance) + u64::from(len))",
       "self.bytes(position, u64::from(len))")], "lib ring::tests"),
    ("alike: a record counts once it is read", DRAIN,
     [("hand(self.known.next_alike(&alike, word), payload);",
       "let mut known = self.known;\n                hand(known.next_alike(&alike, word), payload);\n"
       "                self.known = known;")], "lib a_run_that_panics"),
    ("commit_row: one record fewer", WRITER,
     [("self.committed = row.begin + row.size * count as u64;",
       "self.committed = row.begin + row.size * count.saturating_sub(1) as u64;")], "lib consumer"),
    ("copy_long: the rest left out", COPYING,
     [("unsafe { copy_words(rest_from, rest) };", "let _ = (rest_from, rest);")], "lib ring::copy"),
    ("truncate: the record as long as before", WRITER,
     [("(claim.len, claim.end) = (len, self.geometry.record_end(claim.begin, len));", "claim.len = len;")],
     "lib ring::tests"),
    ("stop: what was found corrupt is read on", READER,
     [("        self.corruption = Some(corruption);\n", "        let _ = corruption;\n")], "lib ring::tests"),
    ("check: seals not asked for", RECEIVED, [("if !missing.is_empty() {", "if false {")], "lib region::"),
    ("check: a length of its own", RECEIVED, [(".filter(|claimed| *claimed != len)", ".filter(|_| false)")],
     "lib region::"),
    ("check_blocks: holes", RECEIVED, [("if allocated < stat.st_size as u64 {", "if false {")], "lib region::"),
    ("check_allocated: blocks beyond the end", RECEIVED,
     [("    rustix::fs::ftruncate(memfd.as_file(), len)", "    rustix::fs::fstat(memfd.as_file())")],
     "lib region::"),
    ("Geometry: a ring of one record", LAYOUT, [("capacity < 4 * record_align", "capacity < record_align")],
     "lib replay::lane_geometry"),
]

# Files with orderings that no model compiles, for they order nothing that another process reads.
NOT_MODELLED = {
    "src/barrier.rs": "system calls, and the compiler's half of one; src/barrier/tests.rs sees them work",
    "src/lane.rs": "flags between a producer's threads and its steward",
    "src/link.rs": "what became of a session, between the threads that read its lanes",
    "src/region/fork.rs": "one word, of this process alone",
    "src/session/server.rs": "a flag from a server's handle to its steward",
    "src/session/serving.rs": "a flag from a producer's thread to its steward",
    "src/session/steward.rs": "a flag from a server's handle to its steward",
}
# An ordering that is not relaxed, or a call of a fence or barrier, whatever it may be called.
STRONG = re.compile(r"\b(?:Release|Acquire|AcqRel|SeqCst)\b|(?<!fn )\b\w*(?:fence|barrier)\w*\((?!Ordering::)")


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


def check():
    """Whether every ordering and fence in the source has a fault, and every fault its place; how many have not."""
    failures = places = 0
    for name, file, replacements, *_ in FAULTS:
        if plant(file, replacements) is None:
            failures += 1
            print(f"NO LONGER FITS: {name}")
    models = (ROOT / "tests/loom/main.rs").read_text()
    modelled = set(re.findall(r'^#\[path = "../../(src/.*)"\]$', models, re.MULTILINE))
    assert modelled, "tests/loom/main.rs names no file"
    for path in sorted((ROOT / "src").rglob("*.rs")):
        file = str(path.relative_to(ROOT))
        if path.name in ["tests.rs", "testing.rs", "fuzzing.rs"] or "/fuzzing/" in file:
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
    text = (ROOT / file).read_text()
    for old, new in replacements:
        if text.count(old) != 1:
            print(f"    in {file} not once but {text.count(old)} times: {old!r}", flush=True)
            return None
        text = text.replace(old, new)
    return text


def cargo_test(arguments, directory, flags):
    """A function that runs `cargo test` on the copy with further arguments."""
    environment = dict(os.environ, RUSTFLAGS=f"{flags} -A warnings", CARGO_TARGET_DIR=str(COPY / "target" / directory),
                       CARGO_PROFILE_RELEASE_DEBUG="0", RUST_BACKTRACE="0")
    return lambda *more, timeout=None, **variables: subprocess.run(
        ["cargo", "test", "--quiet", *arguments, *more], cwd=COPY, env=environment | variables, timeout=timeout,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def run(checks):
    """What becomes of the checks of that name, see FAULTS: "caught", "survives" or "does not build"."""
    if checks.startswith("lib "):
        test, names, limits = cargo_test(["--lib"], "lib", ""), checks.removeprefix("lib "), [{}]
    elif checks.startswith("test "):
        test, names, limits = cargo_test(["--test", checks.removeprefix("test ")], "lib", ""), "", [{}]
    else:
        test, names = cargo_test(["--release", "--test", "loom"], "loom", "--cfg loom"), f"models::{checks}"
        limits = [{"LOOM_MAX_PREEMPTIONS": PREEMPTIONS}] + [{}] * bool(checks)
    built = test("--no-run")
    if built.returncode != 0:
        print(built.stdout)
        return "does not build"
    for limit in limits:
        try:
            tested = test(names, timeout=TIMEOUT_SECONDS, **limit)
        except subprocess.TimeoutExpired:
            return "caught"
        if tested.returncode != 0:
            return "caught"
        assert re.search(r"[1-9]\d* passed", tested.stdout), f"nothing is named {names}"
    return "survives"


def main():
    if sys.argv[1:] == ["--check"]:
        sys.exit(check() != 0)
    wanted = [fault for fault in FAULTS if all(word in f"{fault[0]} | {fault[3]}" for word in sys.argv[1:])]
    copy_tree()
    failures = check()
    for checks in {"lib " if fault[3].startswith("lib ") else "" for fault in wanted}:
        if run(checks) != "survives":
            sys.exit("tests fail without any fault")
    print(f"{'fault':<62} {'caught by':<24} {'outcome':<16} seconds")
    for name, file, replacements, checks, *explained in wanted:
        text, begin = plant(file, replacements), time.monotonic()
        if text is None:
            outcome = "NO LONGER FITS"
        else:
            (COPY / file).write_text(text)
            outcome = run(checks)
            shutil.copy(ROOT / file, COPY / file)
        if outcome == "survives" and explained:
            outcome = f"explained: {explained[0]}"
        elif outcome != "caught":
            failures += 1
            outcome = {"survives": "NOT CAUGHT"}.get(outcome, outcome.upper())
        place = f"{pathlib.Path(file).stem}: {name}"
        print(f"{place:<62} {checks:<24} {outcome:<16} {time.monotonic() - begin:.1f}", flush=True)
    print(f"{len(wanted)} faults, {failures} not caught")
    sys.exit(failures != 0)


if __name__ == "__main__":
    main()
