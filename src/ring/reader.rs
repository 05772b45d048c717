//! The lossless reading protocol: see what is published, check it, see the end.
//!
//! The invariants: any bytes that a hostile producer puts into the ring lead to progress, to an error, or to nothing to
//! read (invariant 9). Once a reader has stopped, nothing of the lane is read again, and the reason stays.
//!
//! A reader looks in four ways, each a little closer: [`next_in_view`](Reader::next_in_view) loads a header and nothing
//! else, [`next_after_release`](Reader::next_after_release) releases first what was read, if that is due,
//! [`poll`](Reader::poll) loads `published`, and [`poll_to_end`](Reader::poll_to_end) looks for the end too.
//!
//! What this file does not do: it copies no payload, and it sleeps on nothing; it says whether a caller may. The lossy
//! reader beside it is [`tap`](super::tap).

use super::cursor::{Cursor, Found, Polled};
use super::release::{Hold, Release};
use super::sleep::Sleeps;
use super::stop::{Corruption, Stop};
use super::tap::is_intact;
use super::{Copying, LaneWords, RingWords, SeatCounters, SeatWriter};
use crate::layout::LaneState;
use crate::sync::{Ordering, fence};
use std::sync::Arc;

/// A lossless consumer's end of a ring.
#[derive(Debug)]
pub(crate) struct Reader<L, S> {
    // The lane goes before the seat, which `release` holds.
    lane: Arc<L>,
    cursor: Cursor,
    release: Release<L, S>,
    /// For a reader that copies, and can be evicted: the lane's count of evictions from before it attached.
    evictions: Option<u32>,
    /// Where reading began, and how many of the bytes from there to `position` are padding.
    start: u64,
    padding_bytes: u64,
    /// What is lost to a reader that was evicted.
    missed_bytes: u64,
    /// Why nothing is read any more.
    stop: Option<Stop>,
}

impl<L: LaneWords, S: SeatWriter> Reader<L, S> {
    /// A reader that begins at `start`, the position that the producer has named.
    pub(crate) fn new(lane: Arc<L>, seat: S, start: u64) -> Self {
        let geometry = lane.geometry();
        let (mut cursor, release) = (Cursor::new(geometry, start), Release::new(Arc::clone(&lane), seat, start));
        cursor.set_due(release.due_at());
        Self { lane, cursor, release, evictions: None, start, padding_bytes: 0, missed_bytes: 0, stop: None }
    }

    /// The same reader, as one that copies: it can be evicted, and `evictions` is the lane's count of evictions from
    /// before it attached.
    pub(crate) fn copying(self, evictions: u32) -> Self {
        Self { evictions: Some(evictions), ..self }
    }

    #[inline(always)]
    pub(crate) fn lane(&self) -> &Arc<L> {
        &self.lane
    }

    /// Where the next record begins.
    pub(crate) fn position(&self) -> u64 {
        self.cursor.position()
    }

    /// How many records were read.
    #[inline(always)]
    pub(crate) fn records(&self) -> u64 {
        self.cursor.records()
    }

    /// How many bytes are in view from `position` on.
    #[inline]
    pub(crate) fn unread(&self) -> u64 {
        self.cursor.unread()
    }

    /// How many bytes are in view beyond the next record.
    #[inline]
    pub(crate) fn unread_beyond_next(&self) -> u64 {
        self.cursor.unread_beyond_next(&*self.lane)
    }

    /// The next record, if it is in view: no load of `published`. `None` says only that one must look closer.
    #[inline(always)]
    pub(crate) fn next_in_view(&mut self) -> Option<Found> {
        self.cursor.next_in_view(&*self.lane)
    }

    /// As `next_in_view`, for the first record after a look at `published`, which a round trip waits for.
    #[inline(always)]
    pub(crate) fn any_in_view(&mut self) -> Option<Found> {
        self.cursor.any_in_view(&*self.lane)
    }

    /// The next record, after `next_in_view` found none: releases what was read if that is due, and looks on from
    /// there. The record that was found last must be done with.
    #[inline(always)]
    pub(crate) fn next_after_release(&mut self) -> Option<Found> {
        self.release_if_due();
        if self.unread() == 0 { None } else { self.next_across_due() }
    }

    #[inline(never)]
    fn next_across_due(&mut self) -> Option<Found> {
        self.cursor.next_across_due(&*self.lane)
    }

    /// The next record, if one is published: at most one load of `published`.
    #[inline]
    pub(crate) fn poll(&mut self) -> Result<Option<Found>, Stop> {
        match self.next_in_view() {
            Some(found) => Ok(Some(found)),
            None => self.poll_closely(),
        }
    }

    /// As `poll`, when there may be nothing, padding, or nonsense. It loads the header afresh and goes by that alone.
    #[inline(never)]
    fn poll_closely(&mut self) -> Result<Option<Found>, Stop> {
        if self.unread() == 0 && !self.refresh()? {
            return Ok(None);
        }
        match self.cursor.next_closely(&*self.lane) {
            Ok(found) => {
                self.padding_bytes += found.padding_bytes();
                Ok(Some(found))
            }
            Err(corruption) => Err(self.stop_for(corruption)),
        }
    }

    /// The next record, or whether any can come. If there is none, everything that was read is released first, so that
    /// nobody waits for a consumer that has nothing to do.
    #[inline]
    pub(crate) fn poll_to_end(&mut self, session_is_over: impl FnOnce() -> bool) -> Result<Polled, Stop> {
        match self.poll()? {
            Some(found) => Ok(Polled::Found(found)),
            None => self.poll_end(session_is_over),
        }
    }

    /// Nothing new is published: whether that is the end.
    pub(crate) fn poll_end(&mut self, session_is_over: impl FnOnce() -> bool) -> Result<Polled, Stop> {
        self.release_all();
        // In this order: the end of the session may have been noted by another thread, which reads another of its
        // lanes, and the state that was stored before that end is the one that counts.
        let is_over = session_is_over();
        let state = self.state()?;
        if state == LaneState::Open && !is_over {
            return Ok(Polled::Empty);
        }
        // The end was seen, and fenced: only now is it certain that nothing was published before it.
        Ok(self.poll()?.map_or(Polled::Ended(state), Polled::Found))
    }

    /// Loads `published`; whether there is something new in view.
    #[inline]
    pub(crate) fn refresh(&mut self) -> Result<bool, Stop> {
        if let Some(stop) = self.stop {
            return Err(stop);
        }
        let published = self.lane.published().load(Ordering::Relaxed);
        let (seen, position) = (self.cursor.seen(), self.position());
        if published == seen {
            return Ok(false);
        }
        // Pairs with the release store in `Writer::publish`; a fence, because only relaxed loads are guaranteed on
        // memory mapped read-only.
        fence(Ordering::Acquire);
        let geometry = self.cursor.geometry();
        if published < seen {
            return Err(self.stop_for(Corruption::PublishedFell { from: seen, to: published }));
        }
        if published - position > geometry.capacity() {
            return Err(self.stop_for(Corruption::PublishedTooFar { published, position }));
        }
        if published & (geometry.record_align() - 1) != 0 {
            return Err(self.stop_for(Corruption::PublishedUnaligned(published)));
        }
        self.cursor.see(published);
        Ok(true)
    }

    /// Whether `published` has another value than at the last look; says nothing of what it means.
    #[inline(always)]
    pub(crate) fn has_news(&self) -> bool {
        self.lane.published().load(Ordering::Relaxed) != self.cursor.seen()
    }

    /// What the word `state` says.
    pub(crate) fn state(&mut self) -> Result<LaneState, Stop> {
        let word = self.lane.state().load(Ordering::Relaxed);
        // Pairs with the release store in `Writer::close`: a `refresh` after this sees the last `published`.
        fence(Ordering::Acquire);
        LaneState::from_word(word).ok_or_else(|| self.stop_for(Corruption::UnknownState(word)))
    }

    /// Reads no more of this lane, which makes no sense: the producer broke the protocol, or the lane has gone on
    /// without this reader.
    #[cold]
    fn stop_for(&mut self, corruption: Corruption) -> Stop {
        if self.was_evicted() {
            return self.evicted_at(self.position());
        }
        self.stop_at(self.position(), corruption.into())
    }

    /// Reads no more of this lane: it has gone on without this reader, which has read up to `position` and missed what
    /// is published beyond it.
    #[cold]
    pub(crate) fn evicted_at(&mut self, position: u64) -> Stop {
        let published = self.lane.published().load(Ordering::Relaxed);
        self.missed_bytes = published.saturating_sub(position);
        let stop = self.stop_at(position, Stop::Evicted { missed_bytes: self.missed_bytes });
        self.release.seat().store_counters(self.counters());
        stop
    }

    /// Like [`evicted_at`](Self::evicted_at), when the record that was found last, from `position` on, could not be
    /// copied in time.
    #[cold]
    pub(crate) fn evicted_in_copy(&mut self, position: u64) -> Stop {
        // Tried again: it was taken back then.
        if let Some(stop) = self.stop {
            return stop;
        }
        self.cursor.uncount();
        let room = self.cursor.geometry().room_to_end(position);
        // It was padding that came first if the record ends in the next round of the ring.
        if self.position() - position > room {
            self.padding_bytes -= room;
        }
        self.evicted_at(position)
    }

    /// What was counted so far.
    pub(crate) fn counters(&self) -> SeatCounters {
        let record_bytes = self.position() - self.start - self.padding_bytes;
        SeatCounters { records: self.cursor.records(), record_bytes, missed_bytes: self.missed_bytes }
    }

    /// Stands at `position` for good: what lies from there on was not read.
    fn stop_at(&mut self, position: u64, stop: Stop) -> Stop {
        debug_assert!(self.release.released() <= position);
        self.cursor.stop_at(position);
        self.stop = Some(stop);
        stop
    }

    /// The cursor: a copy that may run ahead, no further than to where a release is due.
    #[inline]
    pub(crate) fn cursor(&self) -> Cursor {
        self.cursor
    }

    /// Takes back the copy that has run ahead: what it has passed was read.
    #[inline]
    pub(crate) fn catch_up(&mut self, cursor: Cursor) {
        debug_assert!(self.position() <= cursor.position());
        self.cursor.catch_up(&cursor);
    }

    /// Releases what was read, if that is so much that the producer should know. The record that was found last must be
    /// done with.
    #[inline(always)]
    pub(crate) fn release_if_due(&mut self) {
        if self.cursor.is_due() {
            self.release_read();
        }
    }

    /// Whether anything was read that the producer does not know of; what is held does not count.
    #[inline(always)]
    pub(crate) fn has_unreleased(&self) -> bool {
        self.position() != self.release.released()
    }

    /// Releases everything that was read and is not held, if anything is unreleased. The record that was found last
    /// must be done with.
    #[inline]
    pub(crate) fn release_all(&mut self) {
        if self.has_unreleased() {
            self.release_read();
        }
    }

    /// Like [`release_all`](Self::release_all), without a fence: see [`Release::release_lightly`].
    #[inline]
    pub(crate) fn release_all_lightly(&mut self) {
        if self.has_unreleased() {
            self.release.release_lightly(self.position(), self.counters());
        }
    }

    /// Makes up for the fence that the last release was made without; whether it was made without one.
    #[inline]
    pub(crate) fn confirm_release(&mut self) -> bool {
        self.release.confirm()
    }

    #[cold]
    fn release_read(&mut self) {
        self.release.release(self.position(), self.counters());
        self.cursor.set_due(self.release.due_at());
    }

    /// Holds the record that was found last, which begins at `from` or behind the padding there, and releases all that
    /// was read before it.
    #[inline]
    pub(crate) fn release_and_hold(&mut self, from: u64) -> Hold<L, S> {
        let hold = self.release.release_and_hold(from, self.position(), self.counters());
        self.cursor.set_due(self.release.due_at());
        hold
    }

    /// Tells the producer what was read, and releases none of it.
    #[inline]
    pub(crate) fn tell_read(&mut self) {
        self.release.tell_read(self.position());
    }

    /// Up to where everything was released that is not held.
    pub(crate) fn released(&self) -> u64 {
        self.release.released()
    }

    /// Tells the producer that this consumer reads no more and has released everything below `released` that is not
    /// held, which it may not have been told yet; and wakes it if it sleeps. What is held goes on gating, and what is
    /// published from now on was never for this consumer.
    pub(crate) fn leave(&mut self, released: u64) {
        debug_assert!(self.released() <= released && released <= self.position());
        let due = self.lane.published().load(Ordering::Relaxed).max(self.position());
        self.release.leave(released, due, self.counters());
    }

    /// What holds the records that are found.
    #[inline(always)]
    pub(crate) fn release(&self) -> &Release<L, S> {
        &self.release
    }

    /// How many bytes were read that cannot be released, because a record among them is held: from the oldest such
    /// record on.
    pub(crate) fn held_bytes(&self) -> u64 {
        self.release.oldest_hold().map_or(0, |oldest| self.position() - oldest)
    }

    /// Whether a record was as it was published while it was read; asked after that.
    #[inline(always)]
    pub(crate) fn is_intact(&self, found: Found) -> bool {
        !self.was_evicted() || is_intact(&*self.lane, found.from)
    }

    /// Whether this reader can be evicted and anyone was, since it attached; asked after what it read.
    #[inline(always)]
    pub(crate) fn was_evicted(&self) -> bool {
        let Some(evictions) = self.evictions else { return false };
        // Pairs with the release fence in `Writer::raise_intent`: a byte that was overwritten after an eviction was
        // read after the count of evictions rose.
        fence(Ordering::Acquire);
        self.lane.evictions().load(Ordering::Relaxed) != evictions
    }
}

impl<L: LaneWords, S: SeatWriter> Sleeps for Reader<L, S> {
    type Seat = S;

    fn seat(&self) -> &S {
        self.release.seat()
    }

    fn position(&self) -> u64 {
        self.cursor.position()
    }

    fn may_sleep(&mut self, session_is_over: impl FnOnce() -> bool) -> bool {
        let news = self.unread() != 0 || self.refresh().unwrap_or(true);
        !news && self.state() == Ok(LaneState::Open) && !session_is_over()
    }
}

impl<L: LaneWords, S: SeatWriter> Copying for Reader<L, S> {
    /// As long as nobody was evicted, the lane waits for this reader. After that it reads as a lossy one does: a copy
    /// is good if no byte may have been overwritten of the record, or of the padding before it. What looked like
    /// padding may have been part of a later payload.
    #[inline(always)]
    fn copy_intact(&self, ring: &impl RingWords, found: Found, copy: &mut [u64]) -> bool {
        ring.copy_out(found.payload, copy);
        self.is_intact(found)
    }
}
