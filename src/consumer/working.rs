//! What a worker asks of its consumer: records that are done with one by one, and a record in hand that is not.
//!
//! The invariant: as long as a record is in hand, the seat says that it was read and not released, so that the death of
//! its reader is laid to it.

use super::owned::OwnSeat;
use super::{Consumer, ReceiveError};
use crate::deadline::Deadline;
use crate::memory::LaneMap;
use crate::ring::LaneWords;
use crate::ring::cursor::Found;
use crate::ring::release::Hold;

/// A record that is in hand until its hold ends: longer than its consumer is there, if need be.
#[derive(Debug)]
pub(crate) struct InHand(Hold<LaneMap, OwnSeat>);

impl InHand {
    /// Releases it, if nothing before it is in hand. Without this it never is.
    pub(crate) fn end(self) {
        // In a forked child the lock may have been held when the process forked.
        if !self.0.seat().is_forked() {
            self.0.end();
        }
    }
}

impl Consumer {
    /// Releases what was read, and finds the next record, which is in hand then. Nothing is found by a consumer that
    /// was evicted: what it has not read is given to others.
    pub(crate) fn find_work(&mut self, deadline: Deadline) -> Result<Option<Found>, ReceiveError> {
        self.release();
        let found = match deadline {
            Deadline::Now => self.try_find()?,
            deadline => self.find_until(deadline)?,
        };
        if let Some(found) = found {
            if self.reader.was_evicted() {
                return Err(self.reader.evicted_in_copy(found.from).into());
            }
            self.reader.tell_read();
        }
        Ok(found)
    }

    /// Whether this is a forked child, where nothing is in hand.
    pub(crate) fn is_forked(&self) -> bool {
        self.guard.is_child()
    }

    /// Keeps a record in hand that was just found, until that ends.
    pub(crate) fn keep_in_hand(&self, found: Found) -> InHand {
        let release = self.reader.release();
        InHand(release.hold(found.position, release.lane().geometry().record_end(found.position, found.len)))
    }
}
