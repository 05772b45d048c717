//! The lossy reading protocol: copy, then ask whether the copy is whole, and go on from the newest record if it is not.
//!
//! ```text
//!        intent − capacity           published
//!  ──────┬───────────────────────────┬───────────► positions
//!        │ copies from here on       │ nothing is
//!        └ are whole                 └ read above
//! ```
//!
//! The invariants: a record is handed out only if no byte of it, nor of the padding before it, may have been
//! overwritten before it was copied (invariant 7); the tap stores to nothing but its own seat (21), and each
//! call ends after a bounded number of looks, whatever a hostile producer stores. Every position that is passed is read
//! or counted as missed.
//!
//! What this file does not do: it holds nobody back, so it releases nothing. The seat is there to be rung.

use super::cursor::{Cursor, Found, Polled};
use super::sleep::Sleeps;
use super::stop::Corruption;
use super::{Copying, LaneWords, RingWords, SeatCounters, SeatWriter};
use crate::layout::{CONSUMED_LEFT_BIT, LaneState};
use crate::sync::{Ordering, fence};
use std::sync::Arc;

/// How often the last record is looked for while others are being published. In vain each time, reading goes on from
/// `published`.
const NEWEST_LOOKS_MAX: u32 = 4;

/// Why a tap has no record to give, though there is or was one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Miss {
    /// The producer has overwritten the next record. The tap has passed over this number of bytes, and goes on after
    /// them.
    Lagged { missed_bytes: u64 },
    /// The producer broke the protocol. Nothing more is read.
    Corrupt(Corruption),
}

/// Which record a tap asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    /// The one after the last.
    Next,
    /// The last one that is published, if it was not read yet.
    Newest,
}

/// Where the last record begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Newest {
    /// `None` if nothing was published yet, or another publication was under way at each look.
    last: Option<u64>,
    published: u64,
}

/// A tap's end of a ring.
#[derive(Debug)]
pub(crate) struct TapReader<L, S> {
    // The lane goes before the seat.
    lane: Arc<L>,
    seat: S,
    cursor: Cursor,
    /// Where reading began; and how many of the bytes from there to `position` are padding before records that were
    /// read, or were not read at all.
    start: u64,
    padding_bytes: u64,
    missed_bytes: u64,
    /// The position that the seat was last told.
    told: u64,
    /// Why nothing is read any more.
    stop: Option<Corruption>,
}

impl<L: LaneWords, S: SeatWriter> TapReader<L, S> {
    /// A tap that begins at `start`, the position that the producer has named.
    pub(crate) fn new(lane: Arc<L>, seat: S, start: u64) -> Self {
        let cursor = Cursor::new(lane.geometry(), start);
        Self { lane, seat, cursor, start, padding_bytes: 0, missed_bytes: 0, told: start, stop: None }
    }

    pub(crate) fn lane(&self) -> &Arc<L> {
        &self.lane
    }

    /// How many bytes are in view from the next record on.
    pub(crate) fn unread(&self) -> u64 {
        self.cursor.unread()
    }

    /// What was published and not read, in bytes.
    pub(crate) fn missed_bytes(&self) -> u64 {
        self.missed_bytes
    }

    /// How many records were read.
    #[inline(always)]
    pub(crate) fn records(&self) -> u64 {
        self.cursor.records()
    }

    /// The next record, if it is in view: no load of `published`. `None` says only that one must look closer.
    #[inline(always)]
    pub(crate) fn next_in_view(&mut self) -> Option<Found> {
        self.cursor.next_in_view(&*self.lane)
    }

    /// The record that is asked for, if it is published, or whether any can come.
    pub(crate) fn poll_to_end(&mut self, wish: Wish, session_is_over: impl FnOnce() -> bool) -> Result<Polled, Miss> {
        if let Some(found) = self.poll(wish)? {
            return Ok(Polled::Found(found));
        }
        self.tell();
        // In this order: the end of the session may have been noted by another thread, which reads another of its
        // lanes, and the state that was stored before that end is the one that counts.
        let is_over = session_is_over();
        let state = self.state().map_err(Miss::Corrupt)?;
        if state == LaneState::Open && !is_over {
            return Ok(Polled::Empty);
        }
        // The end was seen, and fenced: only now is it certain that nothing was published before it.
        Ok(self.poll(wish)?.map_or(Polled::Ended(state), Polled::Found))
    }

    /// The record that is asked for, if it is published. Its bytes, and its header, may be those of a later record:
    /// [`copy_intact`](Copying::copy_intact) says so.
    pub(crate) fn poll(&mut self, wish: Wish) -> Result<Option<Found>, Miss> {
        if wish == Wish::Newest {
            self.skip_to_newest()?;
            // What is published only now is for the next look: a record that a refresh would show here need not be the
            // last of its publication.
            if self.unread() == 0 {
                return Ok(None);
            }
        }
        if let Some(found) = self.next_in_view() {
            return Ok(Some(found));
        }
        if self.unread() == 0 && !self.refresh()? {
            return Ok(None);
        }
        let position = self.cursor.position();
        match self.cursor.next_closely(&*self.lane) {
            Ok(found) => {
                self.padding_bytes += found.padding_bytes();
                Ok(Some(found))
            }
            // Only what is certain to be the record's own header is nonsense.
            Err(corruption) if self.is_intact(position) => Err(self.stop_for(corruption)),
            Err(_) => Err(self.pass_over(position)),
        }
    }

    /// Loads `published`; whether there is something new in view.
    fn refresh(&mut self) -> Result<bool, Miss> {
        if let Some(corruption) = self.stop {
            return Err(Miss::Corrupt(corruption));
        }
        let published = self.lane.published().load(Ordering::Relaxed);
        if published == self.cursor.seen() {
            return Ok(false);
        }
        // Pairs with the release store in `Writer::publish`.
        fence(Ordering::Acquire);
        self.check_published(published)?;
        let position = self.cursor.position();
        if published - position > self.cursor.geometry().capacity() {
            return Err(self.pass_over(position));
        }
        self.cursor.see(published);
        Ok(true)
    }

    /// Stops at a `published` that cannot be.
    fn check_published(&mut self, published: u64) -> Result<(), Miss> {
        let (seen, position) = (self.cursor.seen(), self.cursor.position());
        let corruption = if published < seen {
            Corruption::PublishedFell { from: seen, to: published }
        } else if published >= CONSUMED_LEFT_BIT {
            // A lossy reader may be any number of rings behind, but no ring gets that far.
            Corruption::PublishedTooFar { published, position }
        } else if published & (self.cursor.geometry().record_align() - 1) != 0 {
            Corruption::PublishedUnaligned(published)
        } else {
            return Ok(());
        };
        Err(self.stop_for(corruption))
    }

    /// Whether `published` has another value than at the last look; says nothing of what it means.
    pub(crate) fn has_news(&self) -> bool {
        self.lane.published().load(Ordering::Relaxed) != self.cursor.seen()
    }

    #[inline(always)]
    fn is_intact(&self, position: u64) -> bool {
        is_intact(&*self.lane, position)
    }

    /// The record that was found last could not be copied in time: passes over it.
    #[cold]
    pub(crate) fn lost(&mut self, found: Found) -> Miss {
        self.cursor.uncount();
        self.padding_bytes -= found.padding_bytes();
        self.cursor.move_to(found.from);
        self.pass_over(found.from)
    }

    /// Goes on from the newest record, or after it: what lies from `position` on was overwritten.
    #[cold]
    fn pass_over(&mut self, position: u64) -> Miss {
        match self.find_newest_whole(position) {
            Ok(Newest { last, published }) => {
                let next = last.unwrap_or(published);
                let missed_bytes = self.jump(position, next, published);
                self.tell();
                Miss::Lagged { missed_bytes }
            }
            Err(miss) => miss,
        }
    }

    /// The newest record, if it lies after `position` and was not overwritten yet.
    fn find_newest_whole(&mut self, position: u64) -> Result<Newest, Miss> {
        let (capacity, seen) = (self.cursor.geometry().capacity(), self.cursor.seen());
        let intent = self.lane.intent().load(Ordering::Relaxed);
        // Pairs with the release store in `Writer::raise_intent`: the `published` that comes next is no older than the
        // one for which that room was claimed.
        fence(Ordering::Acquire);
        let Newest { last, published } = self.newest()?;
        // `published` may be newer than `intent`, but what was seen before may not.
        if intent < seen || intent.saturating_sub(published) > capacity {
            return Err(self.stop_for(Corruption::IntentTooFar { intent, published }));
        }
        let is_whole = |last: &u64| *last > position && intent.saturating_sub(*last) <= capacity;
        Ok(Newest { last: last.filter(is_whole), published })
    }

    /// Passes over everything before the last record that is published.
    fn skip_to_newest(&mut self) -> Result<(), Miss> {
        let position = self.cursor.position();
        match self.newest()? {
            Newest { last: Some(last), published } if last > position => {
                self.jump(position, last, published);
                // A look that finds nothing tells tools, too, and may never come.
                self.tell();
            }
            Newest { last: Some(_), published } => self.cursor.see(published),
            Newest { last: None, published } if published > position => {
                return Err(Miss::Lagged { missed_bytes: self.jump(position, published, published) });
            }
            Newest { last: None, .. } => {}
        }
        Ok(())
    }

    /// Looks for the last record that is published.
    fn newest(&mut self) -> Result<Newest, Miss> {
        if let Some(corruption) = self.stop {
            return Err(Miss::Corrupt(corruption));
        }
        let mut looks = 0;
        loop {
            let published = self.lane.published().load(Ordering::Relaxed);
            // Pairs with the release store in `Writer::publish`: this `last` goes with `published`, or a later one.
            fence(Ordering::Acquire);
            let last = self.lane.last().load(Ordering::Relaxed);
            self.check_published(published)?;
            looks += 1;
            if last < published {
                let geometry = self.cursor.geometry();
                let is_sound = last & (geometry.record_align() - 1) == 0 && published - last <= geometry.capacity();
                return match is_sound {
                    true => Ok(Newest { last: Some(last), published }),
                    false => Err(self.stop_for(Corruption::Last { last, published })),
                };
            }
            if looks == NEWEST_LOOKS_MAX {
                return Ok(Newest { last: None, published });
            }
        }
    }

    /// Goes on at `next`, and counts what lies between it and `position` as missed; how much that is.
    fn jump(&mut self, position: u64, next: u64, published: u64) -> u64 {
        let missed_bytes = next - position;
        self.missed_bytes += missed_bytes;
        self.cursor.jump_to(next, published);
        missed_bytes
    }

    /// What the word `state` says.
    fn state(&mut self) -> Result<LaneState, Corruption> {
        let word = self.lane.state().load(Ordering::Relaxed);
        // Pairs with the release store in `Writer::close`: a look after this sees the last `published`.
        fence(Ordering::Acquire);
        LaneState::from_word(word).ok_or_else(|| {
            let corruption = Corruption::UnknownState(word);
            self.stop_for(corruption);
            corruption
        })
    }

    /// Reads no more of this lane: the producer broke the protocol.
    #[cold]
    fn stop_for(&mut self, corruption: Corruption) -> Miss {
        self.cursor.stop_at(self.cursor.position());
        self.stop = Some(corruption);
        Miss::Corrupt(corruption)
    }

    /// What was counted so far.
    pub(crate) fn counters(&self) -> SeatCounters {
        let passed_bytes = self.cursor.position() - self.start;
        let record_bytes = passed_bytes - self.padding_bytes - self.missed_bytes;
        SeatCounters { records: self.records(), record_bytes, missed_bytes: self.missed_bytes }
    }

    /// Tells tools how far this tap has come, if anything has changed. No producer decides anything by it.
    fn tell(&mut self) {
        let position = self.cursor.position();
        if position != self.told {
            self.store(position);
            self.told = position;
        }
    }

    /// Says that this tap reads no more.
    pub(crate) fn leave(&mut self) {
        self.store(self.cursor.position() | CONSUMED_LEFT_BIT);
    }

    fn store(&self, consumed: u64) {
        self.seat.store_counters(self.counters());
        self.seat.read().store(consumed & !CONSUMED_LEFT_BIT, Ordering::Relaxed);
        // Relaxed: nothing is overwritten on the strength of it.
        self.seat.consumed().store(consumed, Ordering::Relaxed);
    }
}

/// Whether no byte from `position` on, of those that were loaded before, may have been one of a later record.
#[inline(always)]
pub(super) fn is_intact(lane: &impl LaneWords, position: u64) -> bool {
    // Pairs with the release fence in `Writer::raise_intent`: a reader that has loaded a byte that was written after
    // it sees an `intent` that covers it.
    fence(Ordering::Acquire);
    let intent = lane.intent().load(Ordering::Relaxed);
    intent.wrapping_sub(position) <= lane.geometry().capacity()
}

impl<L: LaneWords, S: SeatWriter> Sleeps for TapReader<L, S> {
    type Seat = S;

    fn seat(&self) -> &S {
        &self.seat
    }

    fn position(&self) -> u64 {
        self.cursor.position()
    }

    /// It looks at `published` without judging it: what was missed is for the next call to say.
    fn may_sleep(&mut self, session_is_over: impl FnOnce() -> bool) -> bool {
        let news = self.stop.is_some() || self.unread() != 0 || self.has_news();
        !news && self.state() == Ok(LaneState::Open) && !session_is_over()
    }
}

impl<L: LaneWords, S: SeatWriter> Copying for TapReader<L, S> {
    /// A copy is good if no byte of the record, or of the padding before it, may have been overwritten: what looked
    /// like padding may have been part of a later payload.
    #[inline(always)]
    fn copy_intact(&self, ring: &impl RingWords, found: Found, copy: &mut [u64]) -> bool {
        ring.copy_out(found.payload, copy);
        self.is_intact(found.from)
    }
}
