//! The publication protocol: claim room in the ring, fill it, publish.
//!
//! ```text
//!        consumed + capacity ──────────────────────────┐ limit
//!  ──────┬───────────────┬─────────────┬───────────────┬──────►  positions
//!        │ published     │ committed   │ intent        │
//!        └ readers see   └ records are └ nothing is    └ nothing may be
//!          all below it    whole below   written above   overwritten above
//! ```
//!
//! The invariants: `published` ≤ `intent` ≤ `limit`, none of them ever falls, and no byte is written at or above
//! `intent` (invariants 1, 2 and 6). A claim that is dropped or forgotten leaves nothing behind, because the
//! next one begins where the last *committed* record ended.
//!
//! What this file does not do: it knows no consumer. How far the ring may be overwritten comes in as a `limit`.

use super::{LaneCounters, LaneWords, LaneWriter, RingWords};
use crate::layout::{Geometry, HEADER_LEN_BYTES, LaneState, RecordHeader, RecordKind, STAMP_OFFSET};
use crate::sync::{Ordering, fence};

/// `intent` rises by a sixteenth of the ring at a time. A longer record raises it every time. 64 steps would cost 4 %
/// at 64 KiB.
pub(crate) const INTENT_STEPS: u64 = 16;

/// Room for one record.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Claim {
    /// Where the record begins: where the last one ended, or after the padding there.
    begin: u64,
    /// The payload's length in bytes.
    len: u64,
    /// Where the record ends.
    end: u64,
}

impl Claim {
    /// Where the record begins, after the padding if there is any before it.
    #[inline(always)]
    pub(crate) fn begin(&self) -> u64 {
        self.begin
    }

    /// The payload's length in bytes.
    #[inline(always)]
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// Where the record ends.
    #[inline(always)]
    pub(crate) fn end(&self) -> u64 {
        self.end
    }

    /// The same claim, whose length is `len`: restated, so that the optimiser sees the caller's constant even if the
    /// claim came by the cold path.
    #[inline(always)]
    pub(crate) fn with_len(self, len: u64) -> Self {
        debug_assert!(self.len == len);
        Self { len, ..self }
    }
}

/// A record that is filled, and what its header will say.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Filled {
    pub(crate) claim: Claim,
    pub(crate) tag: u16,
    /// The number of its descriptors.
    pub(crate) fds: u8,
}

/// Where to write on, and how far records fit one after another without a closer look.
///
/// A batch has a copy of it, which runs ahead in a loop's registers, see [`Writer::room`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Room {
    geometry: Geometry,
    payload_max: u64,
    /// The end of the records that are committed, published or not.
    committed: u64,
    /// From `committed` up to here records need neither padding nor more `intent`: the lower of `intent` and the end of
    /// the ring.
    clear: u64,
    /// Where the last record of a batch begins, after the padding if there was any. A record that is published alone is
    /// not kept here: a store more would cost it 0.5 ns.
    last: u64,
    /// How many records were committed.
    records: u64,
}

impl Room {
    pub(crate) fn geometry(&self) -> Geometry {
        self.geometry
    }

    /// The longest payload, in bytes.
    #[inline(always)]
    pub(crate) fn payload_max(&self) -> u64 {
        self.payload_max
    }

    /// The end of the records that are committed.
    #[inline(always)]
    pub(crate) fn committed(&self) -> u64 {
        self.committed
    }

    /// How many bytes there are from here on that need neither padding nor more `intent`.
    #[inline(always)]
    pub(crate) fn clear_bytes(&self) -> u64 {
        self.clear - self.committed
    }

    /// Room for a record of `len` payload bytes, at most [`Room::payload_max`], without a closer look: nearly always.
    #[inline(always)]
    pub(crate) fn claim(&self, len: u64) -> Option<Claim> {
        let claim = self.claim_at(self.committed, len);
        (claim.end <= self.clear).then_some(claim)
    }

    #[inline(always)]
    fn claim_at(&self, begin: u64, len: u64) -> Claim {
        Claim { begin, len, end: self.geometry.record_end(begin, len) }
    }

    /// The position of the first payload byte of `claim`. Not a part of it: a loop has no register to spare for it.
    #[inline(always)]
    pub(crate) fn payload_of(&self, claim: &Claim) -> u64 {
        claim.begin + self.geometry.payload_offset()
    }

    /// Where a record of `len` payload bytes goes from here: to the next round of the ring, if it would cross the end.
    pub(crate) fn place(&self, len: u64) -> Claim {
        let room = self.geometry.room_to_end(self.committed);
        let padding = if self.geometry.record_size(len) > room { room } else { 0 };
        self.claim_at(self.committed + padding, len)
    }

    /// Where records of these lengths go from here, one after the other.
    pub(crate) fn place_each(mut self, lens: impl Iterator<Item = u64>) -> impl Iterator<Item = Claim> {
        lens.map(move |len| {
            let claim = self.place(len);
            self.committed = claim.end;
            claim
        })
    }

    /// Leaves no more than `len` payload bytes of `claim`.
    #[inline(always)]
    pub(crate) fn truncate(&self, claim: &mut Claim, len: u64) {
        if len < claim.len {
            *claim = self.claim_at(claim.begin, len);
        }
    }

    /// Goes on past `count` records of `len` payload bytes each that are written side by side.
    #[inline(always)]
    pub(crate) fn advance(&mut self, count: u64, len: u64) {
        let size = self.geometry.record_size(len);
        debug_assert!(count * size <= self.clear_bytes());
        if count != 0 {
            self.last = self.committed + (count - 1) * size;
        }
        self.committed += count * size;
        self.records += count;
    }

    /// Goes on where a copy of this room has come to. Field by field, from registers: a copy of the whole in one go
    /// would load in wide words what was just stored in narrow ones, and wait for it (20 ns a batch).
    #[inline(always)]
    fn catch_up(&mut self, ahead: Self) {
        let Self { geometry: _, payload_max: _, committed, clear, last, records } = ahead;
        self.committed = committed;
        self.clear = clear;
        self.last = last;
        self.records = records;
    }

    /// Goes on after the record of `claim`, which is published alone.
    #[inline(always)]
    fn pass_alone(&mut self, claim: Claim) {
        self.committed = claim.end;
        self.records += 1;
    }

    /// The same after one of a batch.
    #[inline(always)]
    pub(crate) fn pass(&mut self, claim: Claim) {
        self.last = claim.begin;
        self.pass_alone(claim);
    }
}

/// The producer's end of a ring.
#[derive(Debug)]
pub(crate) struct Writer<W> {
    memory: W,
    room: Room,
    /// Where the records begin that a batch has committed and not published. `None` if everything is published: a
    /// record that is published alone never touches it.
    unpublished_from: Option<u64>,
    /// No byte at or above it is written; the word `intent`.
    intent: u64,
    /// No consumer needs the bytes below here minus a capacity.
    limit: u64,
    /// Where the ring began, and how many of the bytes from there to `room.committed` are padding.
    begin: u64,
    padding_bytes: u64,
    bells_rung: u64,
    times_blocked: u64,
    /// The time that was read last for a record.
    stamp: u64,
}

impl<W: LaneWriter> Writer<W> {
    /// A writer of an open lane that goes on at `position`: 0, but for tests that begin near an edge of the numbers.
    pub(crate) fn new(memory: W, position: u64) -> Self {
        let geometry = memory.lane().geometry();
        debug_assert!(position.is_multiple_of(geometry.record_align()));
        memory.lane().intent().store(position, Ordering::Relaxed);
        // Not below `published`: there is no record yet.
        memory.lane().last().store(position, Ordering::Relaxed);
        memory.lane().published().store(position, Ordering::Relaxed);
        let [committed, intent, limit, clear] = [position; 4];
        let payload_max = geometry.payload_max();
        let room = Room { geometry, payload_max, committed, clear, last: 0, records: 0 };
        Self {
            memory,
            room,
            unpublished_from: None,
            intent,
            limit,
            begin: position,
            padding_bytes: 0,
            bells_rung: 0,
            times_blocked: 0,
            stamp: 0,
        }
    }

    #[inline(always)]
    pub(crate) fn memory(&self) -> &W {
        &self.memory
    }

    #[inline(always)]
    pub(crate) fn memory_mut(&mut self) -> &mut W {
        &mut self.memory
    }

    /// The position below which everything is published.
    pub(crate) fn published(&self) -> u64 {
        self.unpublished_from.unwrap_or(self.room.committed)
    }

    /// Whether records are committed that nobody has been told of.
    pub(crate) fn has_unpublished(&self) -> bool {
        self.unpublished_from.is_some()
    }

    /// The position of the first payload byte of `claim`.
    #[inline(always)]
    pub(crate) fn payload_of(&self, claim: &Claim) -> u64 {
        self.room.payload_of(claim)
    }

    /// How far the ring may be overwritten, as of the last look.
    pub(crate) fn limit(&self) -> u64 {
        self.limit
    }

    /// Room for a record of `len` payload bytes, at most [`Room::payload_max`]; `None` if it would end beyond `intent`:
    /// then [`Writer::raise_intent`] comes first.
    #[inline(always)]
    pub(crate) fn claim(&mut self, len: u64) -> Option<Claim> {
        self.room.claim(len).or_else(|| self.claim_closely(len))
    }

    /// As `claim`, at the end of the ring or of what `intent` covers.
    #[cold]
    fn claim_closely(&mut self, len: u64) -> Option<Claim> {
        debug_assert!(len <= self.room.payload_max);
        self.move_to(self.room.committed);
        let claim = self.room.place(len);
        (claim.end <= self.intent).then_some(claim)
    }

    /// Whether everything up to `end` may be written without more `intent`.
    pub(crate) fn covers(&self, end: u64) -> bool {
        end <= self.intent
    }

    /// Where a record of `len` payload bytes would end.
    pub(crate) fn end_of(&self, len: u64) -> u64 {
        self.room.place(len).end
    }

    /// Allows writing up to `end` and a little further, if `limit` lets it; whether it does.
    ///
    /// `limit` is what the roster last found: no consumer needs the bytes below `limit` − capacity.
    pub(crate) fn raise_intent(&mut self, end: u64, limit: u64) -> bool {
        debug_assert!(limit >= self.limit, "a limit that fell");
        self.limit = limit;
        if end > limit {
            return false;
        }
        let ahead = end + self.room.geometry.capacity() / INTENT_STEPS;
        self.intent = self.intent.max(ahead.min(limit));
        self.move_to(self.room.committed);
        // Pairs with the acquire fence in `TapReader::find_newest_whole`: a tap that sees this `intent` sees the
        // `published` for which it was raised.
        self.memory.lane().intent().store(self.intent, Ordering::Release);
        self.store_counters();
        // Pairs with the acquire fences in `Reader::was_evicted` and `TapReader::is_intact`, after a copy: a reader
        // that has read a byte written after this fence sees an `intent` that covers it.
        fence(Ordering::Release);
        self.memory.order_streams();
        true
    }

    /// Writes the time into the record that begins at `begin`, before its commit, on a lane whose records hold it.
    /// `committed` is the end of the records that are committed, in a room that may have run ahead. `now` is asked for
    /// the first record after a publication; those that follow it up to the next one have the same time.
    pub(crate) fn stamp(&mut self, committed: u64, begin: u64, now: impl FnOnce() -> u64) {
        if committed == self.published() {
            self.stamp = now();
        }
        self.memory.set_header_word(begin + STAMP_OFFSET, self.stamp);
    }

    /// Completes the record of `claim`, which is published alone: [`Writer::publish`] comes next, with nothing between.
    #[inline(always)]
    pub(crate) fn commit(&mut self, claim: Claim, tag: u16) {
        debug_assert!(!self.has_unpublished(), "a record of a batch");
        if claim.begin != self.room.committed {
            self.pad(claim.begin);
        }
        self.write_header(claim, tag);
        self.room.pass_alone(claim);
    }

    /// As `commit`, for a record of a batch, in a room that has run ahead.
    #[inline(always)]
    pub(crate) fn commit_in(&mut self, room: &mut Room, claim: Claim, tag: u16) {
        if claim.begin != room.committed {
            // Only a close look gives such a claim, and before it the room was taken back.
            debug_assert!(room.committed == self.room.committed);
            self.unpublished_from.get_or_insert(self.room.committed);
            self.pad(claim.begin);
            *room = self.room;
        }
        self.write_header(claim, tag);
        room.pass(claim);
    }

    #[inline(always)]
    fn write_header(&mut self, claim: Claim, tag: u16) {
        self.memory.set_header_word(claim.begin, RecordHeader::data(claim.len as u32, tag).to_word());
    }

    /// As `commit_in`, in this writer's own room, for one of several records that were placed at once: perhaps in
    /// another round of the ring.
    pub(crate) fn commit_placed(&mut self, claim: Claim, tag: u16) {
        let mut room = self.room;
        self.unpublished_from.get_or_insert(room.committed);
        self.commit_in(&mut room, claim, tag);
        self.room = room;
        self.move_to(claim.end);
    }

    /// Writes the padding before a record that begins another round of the ring, at `begin`, and goes on there.
    #[cold]
    fn pad(&mut self, begin: u64) {
        let padding_bytes = begin - self.room.committed;
        self.padding_bytes += padding_bytes;
        let padding = RecordHeader::padding(padding_bytes);
        self.memory.set_header_word(self.room.committed, padding.to_word());
        self.move_to(begin);
    }

    /// The next claim begins at `position`, which need not be where the last record ended.
    #[cold]
    fn move_to(&mut self, position: u64) {
        self.room.committed = position;
        self.room.clear = self.intent.min(position + self.room.geometry.room_to_end(position));
    }

    /// Where to write on: a copy, that may run ahead.
    #[inline(always)]
    pub(crate) fn room(&self) -> Room {
        self.room
    }

    /// Takes back the copy that has run ahead: what it has gone past is committed.
    #[inline(always)]
    pub(crate) fn catch_up(&mut self, room: Room) {
        debug_assert!(self.room.committed <= room.committed && room.committed <= room.clear.max(self.room.committed));
        if room.committed != self.room.committed {
            self.unpublished_from.get_or_insert(self.room.committed);
        }
        self.room = room;
    }

    /// Forgets the records that were committed and not published.
    #[inline]
    pub(crate) fn rewind(&mut self) {
        if let Some(from) = self.unpublished_from {
            self.forget_from(from);
        }
    }

    /// Takes back what was counted when the records were committed, which only their headers tell.
    #[cold]
    fn forget_from(&mut self, from: u64) {
        let (mut position, mut room) = (from, self.room);
        while position < room.committed {
            match RecordHeader::from_word(self.memory.lane().header_word(position)) {
                Some(RecordHeader { kind: RecordKind::Data, len, .. }) => {
                    room.records -= 1;
                    position = room.geometry.record_end(position, len.into());
                }
                Some(RecordHeader { len, .. }) => {
                    self.padding_bytes -= HEADER_LEN_BYTES + u64::from(len);
                    position += HEADER_LEN_BYTES + u64::from(len);
                }
                // None that was written here.
                None => break,
            }
        }
        self.room = room;
        self.unpublished_from = None;
        self.move_to(from);
    }

    /// Tells consumers of the record that was just [committed](Self::commit), which begins at `last`.
    #[inline(always)]
    pub(crate) fn publish(&mut self, last: u64) {
        let published = self.room.committed;
        debug_assert!(published <= self.intent && self.intent <= self.limit);
        debug_assert!(last < published, "no record begins at {last}");
        // Found once for both stores.
        let (last_word, published_word) = (self.memory.lane().last(), self.memory.lane().published());
        // Below the `published` that comes next, and no lower than the one before: so a reader that loads `published`
        // first can tell whether the two belong together.
        last_word.store(last, Ordering::Relaxed);
        // Pairs with the acquire fence in `Reader::refresh`: a reader that sees this position sees the records below
        // it, and this `last` or a later one.
        published_word.store(published, Ordering::Release);
    }

    /// Completes records of which some have descriptors, one or more, and tells consumers of them and of all that was
    /// committed before; where the last one ends. What a batch has committed was [taken back](Self::catch_up) before.
    pub(crate) fn publish_with_fds(&mut self, filled: &[Filled]) -> u64 {
        for Filled { claim, tag, fds } in filled {
            if claim.begin != self.room.committed {
                self.pad(claim.begin);
            }
            let header = RecordHeader::data(claim.len as u32, *tag).with_fds(*fds);
            self.memory.set_header_word(claim.begin, header.to_word());
            self.room.pass(*claim);
            self.move_to(claim.end);
        }
        self.unpublished_from = None;
        self.publish(self.room.last);
        self.room.committed
    }

    /// Takes back the room of a batch, and tells consumers of all that it has committed.
    #[inline]
    pub(crate) fn publish_batch(&mut self, room: Room) {
        debug_assert!(self.published() <= room.last, "no record begins at {}", room.last);
        self.room.catch_up(room);
        self.unpublished_from = None;
        self.publish(room.last);
    }

    /// Ends the lane: nothing is published after this. What is committed and not published is forgotten.
    pub(crate) fn close(&mut self, state: LaneState) {
        self.rewind();
        self.store_counters();
        // Pairs with the acquire fence in `Reader::state`: a reader that sees this state sees the last `published`.
        self.memory.lane().state().store(state as u32, Ordering::Release);
    }

    /// Counts `rings` more bells as rung.
    #[inline]
    pub(crate) fn count_rings(&mut self, rings: u64) {
        self.bells_rung += rings;
    }

    /// The ring was full for one who waits.
    pub(crate) fn count_block(&mut self) {
        self.times_blocked += 1;
    }

    /// Stores what was counted so far: where `intent` rises, before a sleep, and at the end.
    pub(crate) fn store_counters(&mut self) {
        self.memory.store_counters(self.counters());
    }

    /// What was counted so far.
    pub(crate) fn counters(&self) -> LaneCounters {
        let Room { records, committed, .. } = self.room;
        let record_bytes = committed - self.begin - self.padding_bytes;
        LaneCounters { records, record_bytes, bells_rung: self.bells_rung, times_blocked: self.times_blocked }
    }
}
