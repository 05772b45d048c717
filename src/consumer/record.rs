//! A record as its consumer returns it.
//!
//! The invariant: its bytes stay as they are until the next call on its consumer, which the borrow makes impossible
//! while the record is in use.

use super::own_seat::LaneRelease;
use super::owned::{self, OwnedRecord};
use crate::info::MonotonicTime;
use crate::ring::cursor::Found;
use std::fmt;
use std::ops::Deref;

/// A received record: it dereferences to `[u8]`, its payload, and has a tag.
///
/// The bytes stay as they are until the next call on the consumer, which may release them to the lane. The borrow makes
/// such a call impossible while the record is in use. If the record is read in place, a forked child must not touch its
/// bytes: the ring is not mapped there, and other memory may be mapped instead.
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
///
/// To keep a record without a copy, see [`into_owned`](Self::into_owned).
pub struct Record<'a> {
    payload: &'a [u8],
    tag: u16,
    /// How many descriptors go with it.
    fds: u8,
    position: u64,
    origin: RecordOrigin<'a>,
}

/// Whose record it is.
#[derive(Clone, Copy)]
pub(super) enum RecordOrigin<'a> {
    /// A consumer's, with what holds it if it is to be kept.
    Consumer(&'a LaneRelease),
    /// A tap's, which is a copy.
    Tap(&'a TapCopy),
}

/// What a tap knows of the record that it has copied.
#[derive(Debug)]
pub(super) struct TapCopy {
    /// The time of its commit, on a lane whose records have times.
    pub(super) time: Option<MonotonicTime>,
    /// The alignment of the lane's payloads, in bytes.
    pub(super) payload_align: u64,
}

impl<'a> Record<'a> {
    #[inline(always)]
    pub(super) fn new(found: Found, payload: &'a [u8], release: &'a LaneRelease) -> Self {
        Self {
            payload,
            tag: found.tag,
            fds: found.fds,
            position: found.position,
            origin: RecordOrigin::Consumer(release),
        }
    }

    /// A record that was copied out with its time, and that nobody waits for.
    #[inline]
    pub(super) fn copied(found: Found, payload: &'a [u8], copied: &'a TapCopy) -> Self {
        Self { payload, tag: found.tag, fds: found.fds, position: found.position, origin: RecordOrigin::Tap(copied) }
    }

    /// The payload, for as long as the consumer is left alone.
    #[inline]
    pub(crate) fn payload(&self) -> &'a [u8] {
        self.payload
    }

    /// The same record once more, for a function that takes it by value.
    #[inline]
    pub(crate) fn again(&self) -> Self {
        Self { ..*self }
    }

    #[inline]
    pub(super) fn fds(&self) -> u8 {
        self.fds
    }

    #[inline]
    pub(super) fn origin(&self) -> RecordOrigin<'a> {
        self.origin
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

    /// The time of its commit, on a lane whose records hold it ([`LaneOptions::stamped`]); on others `None`. Records
    /// that were published together have the time of the first of them.
    ///
    /// A producer that is not trusted may write any number there. `None` also in a forked child, and if the producer
    /// has evicted this consumer and overwritten the time since the record was received.
    ///
    /// ```
    /// # use fdring::{Consumer, Server, options::LaneOptions};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut ticks = LaneOptions::new("ticks").stamped(true).create()?;
    /// # let server = Server::listen("@doc-published-at", [&ticks])?;
    /// # let mut consumer = Consumer::connect("@doc-published-at")?;
    /// ticks.send(b"hello")?;
    /// let record = consumer.receive()?.unwrap();
    /// println!("it took {:?}", record.published_at().unwrap().age());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// [`LaneOptions::stamped`]: crate::options::LaneOptions::stamped
    #[inline]
    #[doc(alias("timestamp", "latency"))]
    pub fn published_at(&self) -> Option<MonotonicTime> {
        match self.origin {
            RecordOrigin::Consumer(release) => owned::time_of(release.lane(), release.seat(), self.position),
            RecordOrigin::Tap(copied) => copied.time,
        }
    }

    /// Turns it into a record that can be kept: while later records are received, in other threads, and after the
    /// consumer was dropped.
    ///
    /// If payloads are read [in place](crate::Attach::in_place), the bytes stay where they are, and the producer cannot
    /// overwrite them before the [`OwnedRecord`] is dropped. Else they are copied. Descriptors of the record are not
    /// kept: [take](Self::take_fds) them first.
    ///
    /// ```
    /// # use fdring::{Consumer, Producer, Server};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut ticks = Producer::create("ticks")?;
    /// # let server = Server::listen("@doc-into-owned", [&ticks])?;
    /// # let mut consumer = Consumer::connect("@doc-into-owned")?;
    /// ticks.send(b"hello")?;
    /// ticks.send(b"world")?;
    ///
    /// let first = consumer.receive()?.unwrap().into_owned();
    /// let second = consumer.receive()?.unwrap();
    /// assert_eq!([&first[..], &second[..]], [b"hello", b"world"]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Panics
    ///
    /// In a forked child, if the record is read in place.
    #[inline]
    pub fn into_owned(self) -> OwnedRecord {
        self.hold()
    }

    /// Like [`into_owned`](Self::into_owned), for a record by reference, as closures get it.
    ///
    /// ```
    /// # use fdring::{Consumer, Producer, Server};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut orders = Producer::create("orders")?;
    /// # let server = Server::listen("@doc-hold", [&orders])?;
    /// # let mut consumer = Consumer::connect("@doc-hold")?;
    /// const URGENT: u16 = 1;
    ///
    /// orders.send(b"order 17")?;
    /// orders.send_tagged(b"order 18", URGENT)?;
    /// orders.send(b"order 19")?;
    ///
    /// let mut urgent = Vec::new();
    /// consumer.receive_many(|record| {
    ///     if record.tag() == URGENT {
    ///         urgent.push(record.hold());
    ///     }
    /// })?;
    /// assert_eq!(urgent.len(), 1);
    /// assert_eq!(urgent[0][..], *b"order 18");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Panics
    ///
    /// In a forked child, if the record is read in place.
    #[inline]
    pub fn hold(&self) -> OwnedRecord {
        OwnedRecord::new(self)
    }
}

impl fmt::Debug for Record<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { payload, tag, position, .. } = self;
        f.debug_struct("Record").field("payload", payload).field("tag", tag).field("position", position).finish()
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
