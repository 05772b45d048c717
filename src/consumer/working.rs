//! What a worker asks of its consumer: records that are done with one by one, and a record in hand that is not.
//!
//! The invariant: as long as a record is in hand, the seat says that it was read and not released, so that the death of
//! its reader is laid to it.

use super::kept::{KeptCopy, NOT_IN_A_CHILD, end_hold, payload_in_place};
use super::own_seat::OwnSeat;
use super::payloads::Payloads;
use super::{Consumer, ReceiveError};
use crate::crash;
use crate::deadline::Deadline;
use crate::memory::{InPlace, LaneMap};
use crate::ring::LaneWords;
#[cfg(test)]
use crate::ring::SeatWords;
use crate::ring::cursor::Found;
use crate::ring::release::Hold;
#[cfg(test)]
use crate::sync::Ordering;
use std::fmt;

/// A record in hand. It may outlive its consumer.
pub(crate) struct RecordInHand {
    hold: Hold<LaneMap, OwnSeat>,
    payload: PayloadInHand,
    tag: u16,
}

enum PayloadInHand {
    Copied(KeptCopy),
    InPlace { trust: InPlace, position: u64, len: u64 },
}

impl RecordInHand {
    /// Releases it, if nothing before it is in hand. Without this it never is.
    #[inline]
    pub(crate) fn end(self) {
        end_hold(&self.hold);
    }

    /// Its payload: the copy, or the bytes in the ring.
    ///
    /// # Panics
    ///
    /// In a forked child, if it lies in the ring: that is not mapped there.
    #[inline]
    pub(crate) fn payload(&self) -> &[u8] {
        match &self.payload {
            PayloadInHand::Copied(copy) => copy.payload(),
            PayloadInHand::InPlace { trust, position, len } => payload_in_place(&self.hold, trust, (*position, *len)),
        }
    }

    #[inline]
    pub(crate) fn tag(&self) -> u16 {
        self.tag
    }

    /// Shows it under that name.
    pub(crate) fn debug_as(&self, name: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct(name);
        match &self.payload {
            PayloadInHand::InPlace { .. } if self.hold.seat().is_forked() => debug.field("payload", &NOT_IN_A_CHILD),
            _ => debug.field("payload", &self.payload()),
        };
        debug.field("tag", &self.tag).finish_non_exhaustive()
    }
}

impl Consumer {
    /// Tells what was read before this consumer became a worker's. From here on each record is told when it is found.
    pub(crate) fn begin_work(&mut self) {
        // In a forked child there is no seat to write.
        if !self.guard.is_child() {
            self.reader.tell_read();
        }
    }

    /// Releases what was read, and finds the next record, which is in hand then. Nothing is found by a consumer that
    /// was evicted: what it has not read is given to others.
    #[inline(always)]
    pub(crate) fn find_work(&mut self, deadline: Deadline) -> Result<Option<Found>, ReceiveError> {
        let found = match self.next_work_in_view() {
            Some(found) => found,
            None => match self.find_work_closely(deadline)? {
                Some(found) => found,
                None => return Ok(None),
            },
        };
        if self.reader.was_evicted() {
            return Err(self.reader.evicted_in_copy(found.from).into());
        }
        self.reader.tell_read();
        Ok(Some(found))
    }

    /// The next record, if only its header needs a look. A release costs no fence then: its distributor looks twice
    /// before it sleeps for long.
    #[inline(always)]
    fn next_work_in_view(&mut self) -> Option<Found> {
        // In a forked child there is no ring to look at.
        if self.guard.is_child() {
            return None;
        }
        self.reader.release_all_lightly();
        self.reader.next_in_view()
    }

    #[inline(never)]
    fn find_work_closely(&mut self, deadline: Deadline) -> Result<Option<Found>, ReceiveError> {
        self.confirm();
        match deadline {
            Deadline::Now => self.try_find(),
            deadline => self.find_until(deadline),
        }
    }

    /// As [`has_news_soon`](Self::has_news_soon), with what was read released first.
    #[cfg(feature = "tokio")]
    pub(crate) fn has_work_soon(&mut self) -> bool {
        // In a forked child the next call says so.
        if self.guard.is_child() {
            return true;
        }
        self.reader.release_all_lightly();
        self.reader.unread() != 0 || {
            self.confirm();
            self.has_news_soon()
        }
    }

    /// Makes up for the fence of a release that was made without one.
    fn confirm(&mut self) {
        if !self.guard.is_child() {
            self.reader.confirm_release();
        }
    }

    /// How many records that were in hand have ended. Not for a forked child, where the lock may be held.
    pub(crate) fn records_done(&self) -> u64 {
        self.reader.release().ended_in_hand()
    }

    /// Whether this is a forked child, where nothing is in hand.
    pub(crate) fn is_forked(&self) -> bool {
        self.guard.is_child()
    }

    /// Releases what was read, as one whose look is a moment too early to see that its distributor waits.
    #[cfg(test)]
    pub(crate) fn release_unheard(&self) {
        let (seat, position) = (self.reader.release().seat(), self.reader.position());
        seat.read().store(position, Ordering::Relaxed);
        // Pairs with the acquire fence in `Seat::look`, as in `Holds::store_consumed`.
        seat.consumed().store(position, Ordering::Release);
    }

    /// Makes up for the fence that the last release was made without; whether it was made without one.
    #[cfg(test)]
    pub(crate) fn confirm_release(&mut self) -> bool {
        self.reader.confirm_release()
    }

    /// Whether the distributor has announced that it waits.
    #[cfg(test)]
    pub(crate) fn is_waited_for(&self) -> bool {
        self.reader.lane().space_wait().load(Ordering::Relaxed) != 0
    }

    /// If a record is in hand, read and not released, holds it for ever.
    pub(crate) fn keep_for_good(&self) {
        if self.reader.has_unreleased() {
            // A hold that nobody ends.
            self.reader.release().hold(self.reader.released(), self.position());
        }
    }

    /// Keeps a record in hand that was just found, with the padding before it, until that ends. All before it is
    /// released.
    #[inline(always)]
    pub(crate) fn keep_in_hand(&mut self, found: Found) -> Result<RecordInHand, ReceiveError> {
        let payload = match &self.payloads {
            Payloads::InPlace(trust) => {
                crash::point!("consumer-record-found");
                PayloadInHand::InPlace { trust: trust.clone(), position: found.payload, len: found.len }
            }
            Payloads::Copied(_) => {
                let align = self.reader.lane().geometry().payload_align();
                PayloadInHand::Copied(KeptCopy::new(&self.record(found)?, align, None))
            }
        };
        let hold = self.reader.release_and_hold(found.from);
        crash::point!("consumer-holds");
        Ok(RecordInHand { hold, payload, tag: found.tag })
    }
}
