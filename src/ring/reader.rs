//! The lossless reading protocol: see what is published, check it, give its bytes back.
//!
//! The invariants: every header is loaded once and checked before anything is derived from it, so that any bytes a
//! hostile producer puts there lead to progress, to an error, or to nothing to read (design invariant 9); `consumed`
//! never falls and never passes `published` (1 and 4). Once a lane is found corrupt, nothing of it is read again.
//!
//! What this file does not do: it copies no payload, and it sleeps on nothing; it says whether a caller may.

use super::known::{Found, Known};
use super::{LaneWords, RingWords, SeatWords};
use crate::crash;
use crate::frame::Barrier;
use crate::layout::{CONSUMED_LEFT, Geometry, HEADER_LEN_BYTES, LaneState, RecordHeader, RecordKind, SPACE_WAIT_FUTEX};
use crate::sync::{Ordering, fence};
use crate::wake;
use std::sync::Arc;

/// What a look at a lane brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Look {
    Found(Found),
    Empty,
    /// Nothing comes any more: the lane has ended, or, where its state is still open, the session has.
    Ended(LaneState),
}

/// How a producer broke the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Corruption {
    /// `published` fell.
    #[error("the published position fell from {from} to {to}")]
    PublishedFell {
        /// The position seen before.
        from: u64,
        /// The position seen now.
        to: u64,
    },
    /// `published` is further ahead than the ring is long.
    #[error("the published position {published} is more than a ring ahead of {position}")]
    PublishedTooFar {
        /// The position seen.
        published: u64,
        /// Where this consumer reads.
        position: u64,
    },
    /// `published` is no place where a record can end.
    #[error("the published position {0} is not aligned as records are")]
    PublishedUnaligned(u64),
    /// A header word is of no known kind.
    #[error("the header {word:#018x} at {position} is of no known kind")]
    UnknownKind {
        /// The header word.
        word: u64,
        /// Where it lies.
        position: u64,
    },
    /// A record reaches beyond what is published, or across the end of the ring.
    #[error("a record of {len} bytes at {position} reaches beyond what is published or across the end of the ring")]
    RecordTooLong {
        /// The length its header claims, in bytes.
        len: u64,
        /// Where the record begins.
        position: u64,
    },
    /// Padding that does not reach the end of the ring, or is not followed by a record.
    #[error("the padding of {len} bytes at {position} does not lead to a record at the beginning of the ring")]
    Padding {
        /// The length its header claims, in bytes.
        len: u64,
        /// Where it begins.
        position: u64,
    },
    /// The word that tells whether the lane is open has no known value.
    #[error("the lane's state is {0}, which is none of the known ones")]
    UnknownState(u32),
}

/// A lossless consumer's end of a ring.
#[derive(Debug)]
pub(crate) struct Reader<L, S> {
    lane: Arc<L>,
    seat: S,
    geometry: Geometry,
    known: Known,
    /// The last `published` seen.
    published: u64,
    /// The last `consumed` stored.
    stored: u64,
    /// How far `position` may run before it is stored again.
    release_at: u64,
    /// How far `position` may run ahead of `stored`.
    release_step: u64,
    corruption: Option<Corruption>,
}

impl<L: LaneWords, S: SeatWords> Reader<L, S> {
    /// A reader that begins at `start`, the position that the producer has named.
    pub(crate) fn new(lane: Arc<L>, seat: S, start: u64) -> Self {
        let geometry = lane.geometry();
        let release_step = geometry.capacity() / 8;
        let [position, published, clear, stored] = [start; 4];
        let known = Known { geometry, position, clear };
        let release_at = start.saturating_add(release_step);
        let corruption = None;
        Self { lane, seat, geometry, known, published, stored, release_at, release_step, corruption }
    }

    pub(crate) fn lane(&self) -> &Arc<L> {
        &self.lane
    }

    /// Where the next record begins.
    pub(crate) fn position(&self) -> u64 {
        self.known.position
    }

    /// The next record, if one is published; whatever was found before is given back.
    #[inline]
    pub(crate) fn poll(&mut self) -> Result<Option<Found>, Corruption> {
        match self.next_known() {
            Some(found) => Ok(Some(found)),
            None => self.poll_closely(),
        }
    }

    /// The next record, as [`Known::next`] finds it.
    #[inline(always)]
    pub(crate) fn next_known(&mut self) -> Option<Found> {
        self.known.next(&*self.lane)
    }

    /// What is known of the records from here on: a copy that may run ahead, no further than to where giving back is
    /// due.
    #[inline]
    pub(crate) fn known(&self) -> Known {
        let clear = self.known.clear.min(self.release_at.max(self.known.position));
        Known { clear, ..self.known }
    }

    /// Takes back the copy that has run ahead: what it has gone past was read.
    #[inline]
    pub(crate) fn resume(&mut self, known: Known) {
        debug_assert!(self.known.position <= known.position && known.position <= self.known.clear);
        self.known.position = known.position;
    }

    /// As `poll`, where there may be nothing, padding, or nonsense. It loads the header afresh and goes by that alone.
    #[inline(never)]
    fn poll_closely(&mut self) -> Result<Option<Found>, Corruption> {
        if self.known.position == self.published && !self.refresh()? {
            return Ok(None);
        }
        let word = self.lane.header_word(self.known.position);
        let Some(header) = RecordHeader::from_word(word) else {
            return Err(self.corrupt(Corruption::UnknownKind { word, position: self.known.position }));
        };
        match header.kind {
            RecordKind::Data => self.take(self.known.position, header).map(Some),
            RecordKind::Padding => self.skip_padding(header).map(Some),
        }
    }

    /// Takes the data record at `position`, and moves on past it, if it ends within what is published and within the
    /// ring.
    fn take(&mut self, position: u64, header: RecordHeader) -> Result<Found, Corruption> {
        let len = u64::from(header.len);
        let size = self.geometry.record_size(len);
        if size > self.published - position || size > self.geometry.room_to_end(position) {
            return Err(self.corrupt(Corruption::RecordTooLong { len, position }));
        }
        self.known.position = position + size;
        self.know();
        Ok(self.known.found(position, len, header.tag))
    }

    /// Takes the record after padding; padding comes once in a row and never last.
    #[cold]
    fn skip_padding(&mut self, padding: RecordHeader) -> Result<Found, Corruption> {
        let (position, len) = (self.known.position, u64::from(padding.len));
        let room = self.geometry.room_to_end(position);
        if len + HEADER_LEN_BYTES != room || room >= self.published - position {
            return Err(self.corrupt(Corruption::Padding { len, position }));
        }
        match RecordHeader::from_word(self.lane.header_word(position + room)) {
            Some(header) if header.kind == RecordKind::Data => {
                let found = self.take(position + room, header)?;
                Ok(Found { from: position, ..found })
            }
            _ => Err(self.corrupt(Corruption::Padding { len, position })),
        }
    }

    /// The next record, or whether none comes any more; `session_is_over` is asked where there is no record.
    #[inline]
    pub(crate) fn look(&mut self, session_is_over: impl FnOnce() -> bool) -> Result<Look, Corruption> {
        match self.poll()? {
            Some(found) => Ok(Look::Found(found)),
            None => self.look_for_end(session_is_over),
        }
    }

    /// Nothing new is published: whether that is the end.
    pub(crate) fn look_for_end(&mut self, session_is_over: impl FnOnce() -> bool) -> Result<Look, Corruption> {
        // In this order: whoever noted the end of the session may be another thread, which reads another of its lanes,
        // and the state that was stored before that end is the one that counts.
        let is_over = session_is_over();
        let state = self.state()?;
        if state == LaneState::Open && !is_over {
            return Ok(Look::Empty);
        }
        // The end was seen, and fenced: only now is it certain that nothing was published before it.
        Ok(self.poll()?.map_or(Look::Ended(state), Look::Found))
    }

    /// Announces that this consumer sleeps, and looks once more: whether it may sleep on its bell now, which `prepare`
    /// has made ready. [`Reader::wake_up`] comes after it in any case.
    pub(crate) fn fall_asleep(
        &mut self,
        barrier: Barrier,
        prepare: impl FnOnce(),
        session_is_over: impl FnOnce() -> bool,
    ) -> bool {
        wake::announce_sleep(self.seat.wait_epoch(), barrier, prepare);
        crash::point!("consumer-sleep-announced");
        self.may_sleep(session_is_over)
    }

    /// Looks again, in a sleep that is announced: whether there is nothing to see, so that it may go on.
    pub(crate) fn may_sleep(&mut self, session_is_over: impl FnOnce() -> bool) -> bool {
        let news = self.refresh().unwrap_or(true);
        !news && self.state() == Ok(LaneState::Open) && !session_is_over()
    }

    /// Says that this consumer is awake.
    pub(crate) fn wake_up(&self) {
        wake::wake_up(self.seat.wait_epoch());
    }

    /// Looks at `published` again; whether there is something new.
    #[inline]
    pub(crate) fn refresh(&mut self) -> Result<bool, Corruption> {
        if let Some(corruption) = self.corruption {
            return Err(corruption);
        }
        let published = self.lane.published().load(Ordering::Relaxed);
        if published == self.published {
            return Ok(false);
        }
        // Pairs with the release store in `Writer::publish`; a fence, because only relaxed loads are guaranteed on
        // memory mapped read-only.
        fence(Ordering::Acquire);
        if published < self.published {
            return Err(self.corrupt(Corruption::PublishedFell { from: self.published, to: published }));
        }
        if published - self.known.position > self.geometry.capacity() {
            return Err(self.corrupt(Corruption::PublishedTooFar { published, position: self.known.position }));
        }
        if published & (self.geometry.record_align() - 1) != 0 {
            return Err(self.corrupt(Corruption::PublishedUnaligned(published)));
        }
        self.published = published;
        self.know();
        Ok(true)
    }

    /// Whether `published` has another value than at the last look: a glance, which says nothing of what it means.
    #[inline(always)]
    pub(crate) fn has_news(&self) -> bool {
        self.lane.published().load(Ordering::Relaxed) != self.published
    }

    /// How many bytes are known to be published from `position` on.
    #[inline]
    pub(crate) fn unread(&self) -> u64 {
        self.published - self.known.position
    }

    /// Notes how far records are known to follow `position`.
    #[inline(always)]
    fn know(&mut self) {
        let end = self.known.position.saturating_add(self.geometry.room_to_end(self.known.position));
        self.known.clear = self.published.min(end);
    }

    /// What the word `state` says.
    pub(crate) fn state(&mut self) -> Result<LaneState, Corruption> {
        let word = self.lane.state().load(Ordering::Relaxed);
        // Pairs with the release store in `Writer::close`: a `refresh` after this sees the last `published`.
        fence(Ordering::Acquire);
        LaneState::from_word(word).ok_or_else(|| self.corrupt(Corruption::UnknownState(word)))
    }

    /// Reads no more of this lane: every further look brings `corruption`.
    pub(crate) fn stop(&mut self, corruption: Corruption) {
        (self.published, self.known.clear) = (self.known.position, self.known.position);
        self.corruption = Some(corruption);
    }

    /// As `stop`, at `position`: what lies from there on was not read after all.
    pub(crate) fn stop_at(&mut self, position: u64, corruption: Corruption) {
        debug_assert!(self.stored <= position);
        self.known.position = position;
        self.stop(corruption);
    }

    #[cold]
    fn corrupt(&mut self, corruption: Corruption) -> Corruption {
        self.stop(corruption);
        corruption
    }

    /// Whether so much has been given back that the producer should know.
    #[inline]
    pub(crate) fn release_is_due(&self) -> bool {
        self.known.position >= self.release_at
    }

    /// Whether anything has been given back that the producer does not know of.
    #[inline]
    pub(crate) fn has_unreleased(&self) -> bool {
        self.known.position != self.stored
    }

    /// Tells the producer what has been given back, if it does not know, and wakes it where it sleeps for that.
    #[cold]
    pub(crate) fn give_back(&mut self) {
        if self.has_unreleased() && self.release() {
            crash::point!("consumer-before-space-wake");
            wake::wake_shared(self.seat.space_seq());
            crash::point!("consumer-after-space-wake");
        }
    }

    /// Tells the producer that this consumer reads no more, and wakes it where it sleeps.
    pub(crate) fn leave(&mut self) {
        if self.store_consumed(CONSUMED_LEFT) {
            wake::wake_shared(self.seat.space_seq());
        }
    }

    /// Stores what has been given back; whether the producer sleeps for space and must be woken through `space_seq`.
    #[must_use = "a producer that sleeps must be woken"]
    pub(crate) fn release(&mut self) -> bool {
        self.stored = self.known.position;
        self.release_at = self.known.position.saturating_add(self.release_step);
        self.store_consumed(self.known.position)
    }

    fn store_consumed(&self, consumed: u64) -> bool {
        crash::point!("consumer-before-consumed");
        // Pairs with the acquire fence in `Seat::read_consumed`: the producer overwrites these bytes after the loads
        // from them.
        self.seat.consumed().store(consumed, Ordering::Release);
        crash::point!("consumer-after-consumed");
        // Pairs with the acquire fence between the producer's load of `space_seq` and its look at `consumed`.
        let seq = self.seat.space_seq().load(Ordering::Relaxed);
        self.seat.space_seq().store(seq.wrapping_add(1), Ordering::Release);
        crash::point!("consumer-after-space-seq");
        // Pairs with the fence after the producer's store of `space_wait`: it sees this `space_seq`, or we see its 1.
        fence(Ordering::SeqCst);
        self.lane.space_wait().load(Ordering::Relaxed) == SPACE_WAIT_FUTEX
    }
}

/// Copies the payload of a record that was [`Found`] to `copy`, in whole words; whether it stayed whole meanwhile.
///
/// `evictions` is the lane's count of evictions from before this consumer attached. As long as it stands, the lane
/// waits for this consumer. After that it reads as a lossy one does: a copy is good if no byte may have been
/// overwritten of the record, or of the padding before it. What looked like padding may have been part of a later
/// payload.
#[inline(always)]
pub(crate) fn copy_intact(
    lane: &impl LaneWords,
    ring: &impl RingWords,
    evictions: u32,
    found: Found,
    copy: &mut [u64],
) -> bool {
    ring.copy_out(found.payload, copy);
    // The fence in `was_evicted` pairs with the one in `Writer::raise_intent`.
    let intact = || lane.intent().load(Ordering::Relaxed).wrapping_sub(found.from) <= lane.geometry().capacity();
    !was_evicted(lane, evictions) || intact()
}

/// Whether anyone was evicted from the lane since this consumer attached; asked after what it read.
#[inline(always)]
pub(crate) fn was_evicted(lane: &impl LaneWords, evictions: u32) -> bool {
    // Pairs with the release fence in `Writer::raise_intent`: a byte that was overwritten after an eviction was read
    // after the count of evictions rose.
    fence(Ordering::Acquire);
    lane.evictions().load(Ordering::Relaxed) != evictions
}
