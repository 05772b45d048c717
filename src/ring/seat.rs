//! One consumer's seat, as its producer looks at it.
//!
//! The invariant: what a seat says is believed only as far as it makes sense after what it said before
//! (invariant 10).
//!
//! What this file does not do: it decides nothing. [`roster`](super::roster) says who gates, and who goes.

use super::budget::RingBudget;
use super::{LaneWords, SeatWords};
use crate::layout::CONSUMED_LEFT_BIT;
use crate::os::clock;
use crate::sync::{AtomicU32, AtomicU64, Ordering, fence};
use crate::terms::{Barrier, Delivery};
use std::fmt;
use std::ops::Range;

/// One consumer's seat as the producer's process holds it: its words, its bell, and a way to say that it was evicted.
pub(crate) trait SeatPort: SeatWords {
    /// The seat's words and nothing else, which stay where they are for as long as it lives.
    type Words: SeatWords + fmt::Debug;
    fn words(&self) -> Self::Words;
    /// Wakes the consumer; whether that could be done.
    #[must_use = "a consumer that was not woken must be woken later"]
    fn wake(&self) -> bool;
    /// Tells the session layer that the consumer was evicted.
    fn note_evicted(&self);
    /// The consumer was taken off the lane before it was told that it has joined.
    fn note_taken_back(&self) {}
    /// The consumer was seen to have released more.
    fn note_progress(&self) {}
    /// Whether the consumer may take the place that another one has left.
    fn may_succeed(&self, _gone: &Self) -> bool {
        true
    }
}

/// A consumer's seat.
#[derive(Debug)]
pub(crate) struct Seat<P> {
    pub(super) id: u64,
    /// Where the consumer began; a `consumed` of 0 stands for it.
    pub(super) start: u64,
    pub(super) barrier: Barrier,
    pub(super) port: P,
    /// The last `consumed` that made sense; written under the roster's lock only.
    pub(super) last: AtomicU64,
    /// The last epoch rung for; touched by the producer's thread only.
    pub(super) last_rung: AtomicU32,
    /// Of a lossy seat: the rings that it has left.
    pub(super) budget: Option<RingBudget>,
}

/// What a seat says.
pub(super) enum Consumed {
    At(u64),
    /// It has left without releasing these positions: what is published later was not for it.
    Left(Range<u64>),
    Nonsense,
}

impl<P: SeatPort> Seat<P> {
    pub(crate) fn port(&self) -> &P {
        &self.port
    }

    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    /// Whether its consumer misses what it is too slow for, and so gates nothing.
    pub(super) fn is_lossy(&self) -> bool {
        self.budget.is_some()
    }

    pub(crate) fn delivery(&self) -> Delivery {
        if self.is_lossy() { Delivery::Lossy } else { Delivery::Lossless }
    }

    /// Whether to ring for it now, which counts as a ring.
    pub(super) fn may_ring(&self) -> bool {
        self.budget.as_ref().is_none_or(|budget| budget.take(clock::coarse_now))
    }

    /// How much of what is published the consumer has not released, in bytes: a look from anywhere, which decides
    /// nothing. Where `consumed` makes no sense, as of the last time that it did.
    pub(crate) fn behind_bytes(&self, published: u64) -> u64 {
        let last = self.last.load(Ordering::Relaxed);
        match self.look_after(last, || published) {
            Consumed::At(position) => published - position,
            Consumed::Left(_) => 0,
            Consumed::Nonsense => published.saturating_sub(last),
        }
    }

    /// How much of its `behind_bytes` the consumer has read and not released, in bytes: since it holds records among
    /// them. A look from anywhere, which decides nothing.
    pub(crate) fn held_bytes(&self, behind_bytes: u64) -> u64 {
        let (_, released, read) = self.words_after(self.last.load(Ordering::Relaxed));
        read.saturating_sub(released).min(behind_bytes)
    }

    /// Up to where the consumer has released, and has read: a look from anywhere, for tools. If that makes no sense,
    /// as of the last time that it did.
    pub(crate) fn standing(&self, lane: &impl LaneWords) -> (u64, u64) {
        let last = self.last.load(Ordering::Relaxed);
        let (_, released, read) = self.words_after(last);
        // After the seat's words: no less than what the consumer had seen when it stored them.
        let makes_sense = last <= released && released <= read && read <= lane.published().load(Ordering::Relaxed);
        if makes_sense { (released, read) } else { (last, last) }
    }

    /// How much of what the consumer was to read it has not released, in bytes, also after it has left.
    pub(crate) fn unreleased_bytes(&self, published: u64) -> u64 {
        let last = self.last.load(Ordering::Relaxed);
        match self.look_after(last, || published) {
            Consumed::At(position) => published - position,
            Consumed::Left(range) => range.end - range.start,
            Consumed::Nonsense => published.saturating_sub(last),
        }
    }

    /// What the consumer was to read and has not released: as of the last time that its seat made sense, where it makes
    /// none now.
    pub(super) fn unreleased(&self, lane: &impl LaneWords) -> Range<u64> {
        let last = self.last.load(Ordering::Relaxed);
        // Loaded after the seat's words, so that it is no less than what the consumer has seen.
        match self.look_after(last, || lane.published().load(Ordering::Relaxed)) {
            Consumed::At(position) => position..lane.published().load(Ordering::Relaxed),
            Consumed::Left(range) => range,
            Consumed::Nonsense => last..lane.published().load(Ordering::Relaxed),
        }
    }

    /// Whether the consumer says that it has left this lane.
    pub(crate) fn has_left(&self) -> bool {
        self.port.consumed().load(Ordering::Relaxed) & CONSUMED_LEFT_BIT != 0
    }

    /// Looks at what its consumer has released and read, under the roster's lock.
    pub(super) fn look(&self, published: u64) -> Consumed {
        let last = self.last.load(Ordering::Relaxed);
        let consumed = self.look_after(last, || published);
        if let Consumed::At(position) = consumed
            && position != last
        {
            self.last.store(position, Ordering::Relaxed);
            self.port.note_progress();
        }
        consumed
    }

    /// What its consumer has released, after `last` made sense.
    fn look_after(&self, last: u64, published: impl FnOnce() -> u64) -> Consumed {
        let (consumed, released, read) = self.words_after(last);
        if released < last || released > read || read > published() {
            Consumed::Nonsense
        } else if consumed & CONSUMED_LEFT_BIT != 0 {
            Consumed::Left(released..read)
        } else {
            Consumed::At(released)
        }
    }

    /// The word `consumed`, the position in it, and that in `read`, after `last` made sense.
    fn words_after(&self, last: u64) -> (u64, u64, u64) {
        let consumed = self.port.consumed().load(Ordering::Relaxed);
        // Pairs with the release store of `consumed` in `Holds::store_consumed`: the consumer's loads come before our
        // overwriting, and the `read` that is loaded next is no older.
        fence(Ordering::Acquire);
        let read = self.port.read().load(Ordering::Relaxed);
        // Until anything is released, 0 stands for the start.
        let position = |word| if word == 0 && last == self.start { self.start } else { word };
        (consumed, position(consumed & !CONSUMED_LEFT_BIT), position(read))
    }
}
