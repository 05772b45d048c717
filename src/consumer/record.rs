//! A record as its consumer returns it.
//!
//! The invariant: its bytes stay as they are until the next call on its consumer, which the borrow makes impossible
//! while the record is in use.

use crate::ring::cursor::Found;
use std::ops::Deref;

/// A received record: it dereferences to `[u8]`, its payload, and has a tag.
///
/// The bytes stay as they are until the next call on the consumer, which may release them to the lane. The borrow makes
/// such a call impossible while the record is in use. If the record is read in place, a forked child must not touch its
/// bytes: the ring is not mapped there, and other memory may be.
///
/// ```
/// # use fdring::{Consumer, Producer, Server};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let mut ticks = Producer::create("ticks")?;
/// # let server = Server::listen("@doc-record", [&ticks])?;
/// # let mut consumer = Consumer::connect("@doc-record")?;
/// ticks.send_tagged(b"hello", 7)?;
///
/// let record = consumer.receive()?.unwrap();
/// assert_eq!(record.tag(), 7);
/// assert_eq!(record.to_vec(), b"hello"); // a copy, to keep
/// # Ok(())
/// # }
/// ```
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

    /// The payload, for as long as the consumer is left alone.
    #[inline]
    pub(crate) fn into_payload(self) -> &'a [u8] {
        self.payload
    }
}

impl Record<'_> {
    /// The tag that the producer gave this record, a 16-bit number of the application's choice. Default: 0.
    ///
    /// ```
    /// # use fdring::{Consumer, Producer, Server};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut ticks = Producer::create("ticks")?;
    /// # let server = Server::listen("@doc-record-tag", [&ticks])?;
    /// # let mut consumer = Consumer::connect("@doc-record-tag")?;
    /// ticks.send_tagged(b"order 17", 2)?;
    /// ticks.send(b"order 18")?;
    ///
    /// assert_eq!(consumer.receive()?.unwrap().tag(), 2);
    /// assert_eq!(consumer.receive()?.unwrap().tag(), 0);
    /// # Ok(())
    /// # }
    /// ```
    #[inline]
    pub fn tag(&self) -> u16 {
        self.tag
    }

    /// The position of this record, in bytes since the lane was created, headers and padding included. It identifies
    /// the record within its lane.
    ///
    /// ```
    /// # use fdring::{Consumer, Producer, Server};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut ticks = Producer::create("ticks")?;
    /// # let server = Server::listen("@doc-record-position", [&ticks])?;
    /// # let mut consumer = Consumer::connect("@doc-record-position")?;
    /// ticks.send(b"first")?;
    /// ticks.send(b"second")?;
    ///
    /// assert_eq!(consumer.receive()?.unwrap().position(), 0);
    /// assert_eq!(consumer.receive()?.unwrap().position(), 16); // 8 bytes of header, 5 of payload, 3 of padding
    /// # Ok(())
    /// # }
    /// ```
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
