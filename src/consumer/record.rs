//! A record as its consumer hands it out.
//!
//! The invariant: its bytes stay as they are until the next call on its consumer, which the borrow makes impossible
//! while the record is in use.

use crate::ring::cursor::Found;
use std::ops::Deref;

/// One record: a `&[u8]`, and its tag.
///
/// Its bytes stay as they are until the next call on its consumer: from then on they may be released to the lane. Read
/// in place, they must not be touched in a forked child: the ring is not mapped there, and something else may be.
#[derive(Debug)]
pub struct Record<'a> {
    payload: &'a [u8],
    tag: u16,
    position: u64,
}

impl<'a> Record<'a> {
    #[inline(always)]
    pub(super) fn new(found: Found, payload: &'a [u8]) -> Self {
        Self { payload, tag: found.tag, position: found.position }
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

impl AsRef<[u8]> for Record<'_> {
    #[inline]
    fn as_ref(&self) -> &[u8] {
        self
    }
}
