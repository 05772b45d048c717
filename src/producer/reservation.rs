//! Room in the ring for one record, as a slice to fill.
//!
//! The invariant: only [`Reservation::commit`] leaves anything behind.

use super::Producer;
use crate::crash;
use crate::memory::WritableLane;
use crate::ring::writer::{Claim, Room};
use std::ops::{Deref, DerefMut};

/// Payloads up to this length, in bytes, are copied word by word. They are often values that the caller has just made.
const WORDS_BYTES_MAX: usize = 128;

/// Room in the ring for one record: a `&mut [u8]` to fill, then [`commit`](Self::commit). Dropping it discards it.
///
/// Before they are filled, the bytes are what the ring held there: older records of this lane, or zeros. A forked child
/// must not touch them: the ring is not mapped there, and something else may be.
#[derive(Debug)]
#[must_use = "a reservation that is not committed is discarded"]
pub struct Reservation<'a> {
    pub(super) producer: &'a mut Producer,
    /// The room of the batch that it is part of, if it is.
    pub(super) batch: Option<&'a mut Room>,
    pub(super) claim: Claim,
    pub(super) tag: u16,
}

impl Reservation<'_> {
    /// Sets the tag, an application-defined number that goes with the record. Default: 0.
    #[inline]
    pub fn set_tag(&mut self, tag: u16) {
        self.tag = tag;
    }

    /// Shortens the payload to its first `len` bytes, for a reservation made before its length was known. No effect if
    /// it is already that short.
    #[inline]
    pub fn truncate(&mut self, len: usize) {
        self.producer.publisher.writer.room().truncate(&mut self.claim, len as u64);
    }

    /// Completes the record. Made by a producer it is published at once; made by a batch, with the batch. In a forked
    /// child nothing happens.
    #[inline(always)]
    pub fn commit(self) {
        if self.producer.guard.is_child() {
            return;
        }
        crash::point!("producer-before-header");
        let writer = &mut self.producer.publisher.writer;
        match self.batch {
            Some(room) => {
                writer.commit_in(room, self.claim, self.tag);
                crash::point!("producer-between-batch-records");
            }
            None => {
                writer.commit(self.claim, self.tag);
                crash::point!("producer-after-header");
                self.producer.publish();
            }
        }
    }

    #[inline(always)]
    pub(super) fn fill_and_commit(mut self, payload: &[u8]) {
        crash::point!("producer-in-fill", self[..payload.len() / 2].copy_from_slice(&payload[..payload.len() / 2]));
        if payload.len() <= WORDS_BYTES_MAX {
            let position = self.claim.payload();
            self.memory_mut().copy_in(position, payload);
        } else {
            self.copy_from_slice(payload);
        }
        self.commit();
    }

    #[inline(always)]
    fn memory_mut(&mut self) -> &mut WritableLane {
        self.producer.publisher.writer.memory_mut()
    }
}

impl Deref for Reservation<'_> {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        self.producer.publisher.writer.memory().bytes(self.claim.payload(), self.claim.len())
    }
}

impl DerefMut for Reservation<'_> {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        let (payload, len) = (self.claim.payload(), self.claim.len());
        self.memory_mut().bytes_mut(payload, len)
    }
}
