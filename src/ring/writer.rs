//! The publication protocol: claim room in the ring, fill it, publish.
//!
//! The invariants: `published` ≤ `intent` ≤ `limit`, none of them ever falls, and no byte is written at or above
//! `intent` (design invariants 1, 2 and 6). A claim that is dropped or forgotten leaves nothing behind, because the
//! next one begins where the last *committed* record ended.
//!
//! What this file does not do: it knows no consumer. How far the ring may be overwritten comes in as a `limit`.

use super::{LaneWords, LaneWriter};
use crate::layout::{Geometry, LaneState, RecordHeader};
use crate::sync::{Ordering, fence};

/// Room for one record, as [`Writer::claim`] gives it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Claim {
    /// Where the record begins, after the padding if there is any.
    begin: u64,
    /// The bytes of padding before it: all that was left of the ring, or none.
    padding: u64,
    /// The payload bytes that were asked for.
    len: u64,
}

/// The producer's end of a ring.
#[derive(Debug)]
pub(crate) struct Writer<W> {
    ring: W,
    geometry: Geometry,
    /// What consumers have been told; the word `published`.
    published: u64,
    /// The end of the records that are committed and not yet published: those of a batch.
    committed: u64,
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
        Self { ring, geometry, published: position, committed: position, intent: position, limit: position }
    }

    pub(crate) fn ring(&self) -> &W {
        &self.ring
    }

    /// The position below which everything is published.
    pub(crate) fn published(&self) -> u64 {
        self.published
    }

    /// Whether records are committed that nobody has been told of.
    pub(crate) fn has_unpublished(&self) -> bool {
        self.committed != self.published
    }

    /// Forgets the records that were committed and not published.
    #[inline]
    pub(crate) fn rewind(&mut self) {
        self.committed = self.published;
    }

    /// Room for a record of `len` payload bytes, at most [`Geometry::payload_max`]; `None` where it would go beyond
    /// `intent`: then [`Writer::raise_intent`] comes first.
    #[inline]
    pub(crate) fn claim(&self, len: u64) -> Option<Claim> {
        let (claim, end) = self.place(len);
        (end <= self.intent).then_some(claim)
    }

    /// Where a record of `len` payload bytes would end.
    pub(crate) fn end_of(&self, len: u64) -> u64 {
        self.place(len).1
    }

    #[inline]
    fn place(&self, len: u64) -> (Claim, u64) {
        debug_assert!(len <= self.geometry.payload_max());
        let size = self.geometry.record_size(len);
        let room = self.geometry.room_to_end(self.committed);
        let padding = if size > room { room } else { 0 };
        let begin = self.committed + padding;
        (Claim { begin, padding, len }, begin + size)
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
        let ahead = end + self.geometry.capacity() / 64;
        self.intent = self.intent.max(ahead.min(limit));
        self.ring.lane().intent().store(self.intent, Ordering::Relaxed);
        // Pairs with the acquire fence after a lossy or evicted consumer's copy: whoever has read a byte written after
        // this fence sees an `intent` that covers it.
        fence(Ordering::Release);
        true
    }

    /// How far the ring may be overwritten, as of the last look.
    pub(crate) fn limit(&self) -> u64 {
        self.limit
    }

    /// The position of the first payload byte of `claim`.
    #[inline]
    pub(crate) fn payload_position(&self, claim: &Claim) -> u64 {
        claim.begin + self.geometry.payload_offset()
    }

    pub(crate) fn ring_mut(&mut self) -> &mut W {
        &mut self.ring
    }

    /// Completes the record of `claim` with its first `len` payload bytes; the next claim begins after it. Consumers
    /// learn of it with [`Writer::publish`].
    #[inline]
    pub(crate) fn commit(&mut self, claim: Claim, len: u64, tag: u16) {
        assert!(len <= claim.len, "a commit of more bytes than were reserved");
        debug_assert!(self.committed + claim.padding == claim.begin);
        if claim.padding != 0 {
            self.ring.set_header_word(self.committed, RecordHeader::padding(claim.padding).to_word());
        }
        self.ring.set_header_word(claim.begin, RecordHeader::data(len as u32, tag).to_word());
        self.committed = claim.begin + self.geometry.record_size(len);
    }

    /// Tells consumers of all that is committed.
    #[inline]
    pub(crate) fn publish(&mut self) {
        debug_assert!(self.committed <= self.intent && self.intent <= self.limit);
        self.published = self.committed;
        // Pairs with the acquire fence in `Reader::refresh`: whoever sees this position sees the records below it.
        self.ring.lane().published().store(self.published, Ordering::Release);
    }

    /// Ends the lane: nothing is published after this. What is committed and not published is forgotten.
    pub(crate) fn close(&mut self, state: LaneState) {
        self.rewind();
        // Pairs with the acquire fence in `Reader::end`: whoever sees this state sees the last `published`.
        self.ring.lane().state().store(state as u32, Ordering::Release);
    }
}
