//! The publication protocol: claim room in the ring, fill it, publish.
//!
//! The invariants: `published` ≤ `intent` ≤ `limit`, none of them ever falls, and no byte is written at or above
//! `intent` (design invariants 1, 2 and 6). A claim that is dropped or forgotten leaves nothing behind, because the
//! next one begins where the last *committed* record ended.
//!
//! What this file does not do: it knows no consumer. How far the ring may be overwritten comes in as a `limit`.

use super::row::Row;
use super::{LaneWords, LaneWriter};
use crate::crash;
use crate::layout::{Geometry, LaneState, RecordHeader};
use crate::sync::{Ordering, fence};

/// `intent` rises by a ring's length in so many steps. Records of a step or more raise it each, which takes 50 ns where
/// their payload has swept the first-level cache: 64 KiB in the default ring go 4 % quicker with 16 steps than with 64.
pub(crate) const INTENT_STEPS: u64 = 16;

/// Room for one record, as [`Writer::claim`] gives it.
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
    /// The payload's length in bytes.
    #[inline(always)]
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// The claim itself, which is of `len` bytes: said again where the optimiser knows that, since the claim may have
    /// come by a way that it does not look into.
    #[inline(always)]
    pub(crate) fn of(self, len: u64) -> Self {
        debug_assert!(self.len == len);
        Self { len, ..self }
    }
}

/// Where to write on, and how far records fit one after another without padding between them.
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
}

impl Room {
    /// The longest payload, in bytes.
    #[inline(always)]
    pub(crate) fn payload_max(&self) -> u64 {
        self.payload_max
    }

    /// Room for a record of `len` payload bytes, at most [`Room::payload_max`], where no padding comes first: nearly
    /// always. `None` says nothing but that [`Writer::claim`] must look closely.
    #[inline(always)]
    pub(crate) fn claim(&self, len: u64) -> Option<Claim> {
        let begin = self.committed;
        let end = self.geometry.record_end(begin, len);
        (end <= self.clear).then_some(Claim { begin, len, end })
    }

    /// Records of `len` payload bytes, at most [`Room::payload_max`], and of this `tag`, as many as fit where no
    /// padding comes before them.
    #[inline(always)]
    pub(crate) fn row(&self, len: u64, tag: u16) -> Row {
        Row {
            begin: self.committed,
            end: self.clear,
            size: self.geometry.record_size(len),
            payload_offset: self.geometry.payload_offset(),
            len,
            header: RecordHeader::data(len as u32, tag).to_word(),
        }
    }

    /// Goes on after the first `count` records of `row`, which are written.
    #[inline(always)]
    pub(crate) fn commit_row(&mut self, row: &Row, count: usize) {
        debug_assert!(row.begin == self.committed && row.size * count as u64 <= self.clear - self.committed);
        self.committed = row.begin + row.size * count as u64;
    }

    /// Leaves no more than `len` payload bytes of `claim`.
    #[inline(always)]
    pub(crate) fn truncate(&self, claim: &mut Claim, len: u64) {
        if len < claim.len {
            (claim.len, claim.end) = (len, self.geometry.record_end(claim.begin, len));
        }
    }

    /// The position of the first payload byte of `claim`.
    #[inline(always)]
    pub(crate) fn payload_position(&self, claim: &Claim) -> u64 {
        claim.begin + self.geometry.payload_offset()
    }

    /// Writes the header of the record of `claim`, and goes on after it.
    #[inline(always)]
    fn commit(&mut self, ring: &mut impl LaneWriter, claim: Claim, tag: u16) {
        crash::point!("producer-before-header");
        ring.set_header_word(claim.begin, RecordHeader::data(claim.len as u32, tag).to_word());
        crash::point!("producer-after-header");
        self.committed = claim.end;
    }

    /// Where a record of `len` payload bytes goes from here.
    fn place(&self, len: u64) -> Claim {
        let size = self.geometry.record_size(len);
        let room = self.geometry.room_to_end(self.committed);
        let padding = if size > room { room } else { 0 };
        let begin = self.committed + padding;
        Claim { begin, len, end: begin + size }
    }
}

/// The producer's end of a ring.
#[derive(Debug)]
pub(crate) struct Writer<W> {
    ring: W,
    room: Room,
    /// What consumers have been told; the word `published`.
    published: u64,
    /// No byte at or above it is written; the word `intent`.
    intent: u64,
    /// No consumer needs the bytes from here minus a capacity on.
    limit: u64,
}

impl<W: LaneWriter> Writer<W> {
    /// A writer that goes on at `position`: 0, but for tests that begin near an edge of the number space.
    pub(crate) fn new(ring: W, position: u64) -> Self {
        let geometry = ring.lane().geometry();
        debug_assert!(position.is_multiple_of(geometry.record_align()));
        ring.lane().intent().store(position, Ordering::Relaxed);
        ring.lane().published().store(position, Ordering::Relaxed);
        ring.lane().state().store(LaneState::Open as u32, Ordering::Relaxed);
        let [published, committed, intent, limit, clear] = [position; 5];
        let room = Room { geometry, payload_max: geometry.payload_max(), committed, clear };
        Self { ring, room, published, intent, limit }
    }

    pub(crate) fn ring(&self) -> &W {
        &self.ring
    }

    /// Where to write on: a copy, that may run ahead.
    #[inline(always)]
    pub(crate) fn room(&self) -> Room {
        self.room
    }

    /// Takes back the copy that has run ahead: what it has gone past is committed.
    #[inline(always)]
    pub(crate) fn resume(&mut self, room: Room) {
        debug_assert!(self.published <= room.committed && room.committed <= room.clear.max(self.room.committed));
        self.room = room;
    }

    /// The position below which everything is published.
    pub(crate) fn published(&self) -> u64 {
        self.published
    }

    /// Whether records are committed that nobody has been told of.
    pub(crate) fn has_unpublished(&self) -> bool {
        self.room.committed != self.published
    }

    /// Forgets the records that were committed and not published.
    #[inline]
    pub(crate) fn rewind(&mut self) {
        if self.room.committed != self.published {
            self.move_to(self.published);
        }
    }

    /// The next claim begins at `position`, which need not be where the last record ended.
    #[cold]
    fn move_to(&mut self, position: u64) {
        self.room.committed = position;
        self.room.clear = self.intent.min(position + self.room.geometry.room_to_end(position));
    }

    /// Room for a record of `len` payload bytes, at most [`Room::payload_max`]; `None` where it would go beyond
    /// `intent`: then [`Writer::raise_intent`] comes first.
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

    /// Where a record of `len` payload bytes would end.
    pub(crate) fn end_of(&self, len: u64) -> u64 {
        self.room.place(len).end
    }

    /// Allows writing up to `end` and a little further, where `limit` lets it; whether it does.
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
        self.ring.lane().intent().store(self.intent, Ordering::Relaxed);
        crash::point!("producer-intent-raised");
        // Pairs with the acquire fence after a lossy or evicted consumer's copy: whoever has read a byte written after
        // this fence sees an `intent` that covers it.
        fence(Ordering::Release);
        true
    }

    /// How far the ring may be overwritten, as of the last look.
    pub(crate) fn limit(&self) -> u64 {
        self.limit
    }

    pub(crate) fn ring_mut(&mut self) -> &mut W {
        &mut self.ring
    }

    /// Completes the record of `claim`; the next claim begins after it. Consumers learn of it with [`Writer::publish`].
    #[inline(always)]
    pub(crate) fn commit(&mut self, claim: Claim, tag: u16) {
        if claim.begin != self.room.committed {
            self.pad(claim.begin);
        }
        self.room.commit(&mut self.ring, claim, tag);
    }

    /// As `commit`, in a room that has run ahead.
    #[inline(always)]
    pub(crate) fn commit_in(&mut self, room: &mut Room, claim: Claim, tag: u16) {
        if claim.begin != room.committed {
            // Such a claim has come from looking closely, before which the room was taken back.
            debug_assert!(room.committed == self.room.committed);
            self.pad(claim.begin);
            *room = self.room;
        }
        room.commit(&mut self.ring, claim, tag);
    }

    /// Writes the padding before a record that begins another round of the ring, at `begin`, and goes on there.
    #[cold]
    fn pad(&mut self, begin: u64) {
        let padding = RecordHeader::padding(begin - self.room.committed);
        self.ring.set_header_word(self.room.committed, padding.to_word());
        crash::point!("producer-after-padding");
        self.move_to(begin);
    }

    /// Tells consumers of all that is committed.
    #[inline]
    pub(crate) fn publish(&mut self) {
        debug_assert!(self.room.committed <= self.intent && self.intent <= self.limit);
        crash::point!("producer-before-publication");
        self.published = self.room.committed;
        // Pairs with the acquire fence in `Reader::refresh`: whoever sees this position sees the records below it.
        self.ring.lane().published().store(self.published, Ordering::Release);
        crash::point!("producer-after-publication");
    }

    /// Ends the lane: nothing is published after this. What is committed and not published is forgotten.
    pub(crate) fn close(&mut self, state: LaneState) {
        self.rewind();
        crash::point!("producer-before-end");
        // Pairs with the acquire fence in `Reader::end`: whoever sees this state sees the last `published`.
        self.ring.lane().state().store(state as u32, Ordering::Release);
        crash::point!("producer-after-end");
    }
}
