//! The time of a record's commit, as readers get it: loaded before it is judged whether the record was overwritten.
//!
//! The invariant: a time is handed out only with the record that it was written for. What the number says is the
//! producer's affair: nothing here depends on it.
//!
//! What this file does not do: [`Writer::stamp`](super::writer::Writer::stamp) writes it.

use super::cursor::Found;
use super::tap::is_intact;
use super::{Copying, LaneWords, RingWords};
use crate::layout::STAMP_OFFSET;
use std::cell::Cell;

/// The time in the record at `position`, which was found whole before; `None` if the producer may have overwritten it
/// since. It cannot have as long as the lane waits for this reader, and the record is not released.
#[cold]
pub(crate) fn stamp_of(lane: &impl LaneWords, position: u64) -> Option<u64> {
    let stamp = load(lane, position);
    is_intact(lane, position).then_some(stamp)
}

/// A reader that copies the time of a record with its payload.
#[derive(Debug)]
pub(crate) struct Stamped<'a, R> {
    reader: &'a R,
    stamp: Cell<u64>,
}

impl<'a, R> Stamped<'a, R> {
    pub(crate) fn new(reader: &'a R) -> Self {
        Self { reader, stamp: Cell::new(0) }
    }

    /// The time of the record that was copied last, good if its copy is intact.
    pub(crate) fn stamp(&self) -> u64 {
        self.stamp.get()
    }
}

impl<R: Copying> Copying for Stamped<'_, R> {
    /// The copy is intact if the time is: both were loaded before that is asked.
    fn copy_intact(&self, ring: &impl RingWords, found: Found, copy: &mut [u64]) -> bool {
        self.stamp.set(load(ring, found.position));
        self.reader.copy_intact(ring, found, copy)
    }
}

/// The word of the time, as it lies there.
fn load(ring: &impl RingWords, position: u64) -> u64 {
    // No position is too high for it: the lane's memory takes any.
    ring.header_word(position.wrapping_add(STAMP_OFFSET))
}
