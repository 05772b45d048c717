//! A record as its consumer hands it out.
//!
//! The invariant: while it lives, its bytes are not given back to the lane.

use crate::region::ForkGuard;
use crate::ring::known::Found;
use crate::ring::reader::Reader;
use crate::ring::{LaneMap, SeatMap};
use std::ops::Deref;

/// One record: a `&[u8]`, and its tag. Dropping it gives its bytes back to the lane.
///
/// Read in place, its bytes must not be touched in a forked child: the ring is not mapped there, and something else may
/// be.
#[derive(Debug)]
pub struct Record<'a> {
    payload: &'a [u8],
    tag: u16,
    position: u64,
    held: Option<Holder<'a>>,
}

/// What the drop of a record gives back through.
pub(super) type Holder<'a> = (&'a mut Reader<LaneMap, SeatMap>, ForkGuard);

impl<'a> Record<'a> {
    /// What was found, with its payload; without a holder where whoever hands it out gives it back.
    #[inline(always)]
    pub(super) fn new(found: Found, payload: &'a [u8], held: Option<Holder<'a>>) -> Self {
        Self { payload, tag: found.tag, position: found.position, held }
    }
}

impl Record<'_> {
    /// The number that the producer gave this record.
    #[inline]
    pub fn tag(&self) -> u16 {
        self.tag
    }

    /// Where the record begins, in bytes since the ring was made, headers and padding included.
    #[inline]
    pub fn position(&self) -> u64 {
        self.position
    }
}

impl Deref for Record<'_> {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        self.payload
    }
}

impl Drop for Record<'_> {
    #[inline]
    fn drop(&mut self) {
        if let Some((reader, guard)) = &mut self.held
            && reader.release_is_due()
            && !guard.is_child()
        {
            reader.give_back();
        }
    }
}
