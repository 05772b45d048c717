//! A record that outlives its consumer's next call, and the consumer.
//!
//! The invariant: the bytes of an [`OwnedRecord`] stay as they are until it is dropped. In place it holds them: the
//! ring stays mapped, and the seat does not release them. Copied out, it owns them.
//! [`kept`](super::kept) says what becomes of them in a forked child.

use super::Record;
use super::kept::{KeptCopy, NOT_IN_A_CHILD, end_hold, payload_in_place};
use super::own_seat::OwnSeat;
use super::record::RecordOrigin;
use crate::crash;
use crate::info::MonotonicTime;
use crate::memory::{InPlace, LaneMap};
use crate::ring::LaneWords;
use crate::ring::release::Hold;
use crate::ring::stamp::stamp_of;
use std::fmt;
use std::ops::Deref;

/// A record to keep: after later ones were received, in another thread, after its consumer was dropped. It dereferences
/// to `[u8]`, its payload, and has a tag.
///
/// [`Record::into_owned`] and [`Record::hold`] make one. From a consumer that [reads in
/// place](crate::Attach::in_place) it *holds* the bytes: nothing is copied, and the producer can overwrite neither them
/// nor anything after them until it is dropped. From a consumer that copies, it owns a copy and holds nothing. Either
/// way, the payload is aligned as [`LaneInfo::payload_align`](crate::info::LaneInfo::payload_align) says.
///
/// Holds may end in any order, on any thread, also after the consumer was dropped, and when the producer is dead. A
/// dropped consumer leaves its lane when its last hold ends. Dropping it in a panic ends the hold as well.
///
/// Held records take room in the ring. Once the oldest of them is a capacity behind, the producer waits:
/// [`Consumer::held_bytes`](crate::Consumer::held_bytes) tells how near that is. A process that holds a whole ring and
/// waits for the next record waits for itself. The producer's errors then say that it holds records.
///
/// ```
/// use fdring::{Attach, OwnedRecord, Producer, Server, Session};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let mut frames = Producer::create("frames")?;
/// # let server = Server::listen("@doc-owned-record", [&frames])?;
/// // SAFETY: the producer is a process of ours, which uses this library.
/// let in_place = unsafe { Attach::new().in_place() };
/// let mut consumer = Session::connect("@doc-owned-record")?.attach_one(in_place)?;
/// # for n in 0..6_u8 {
/// #     frames.send(&[n; 100])?;
/// # }
/// # frames.finish();
///
/// // A window of the last three frames, in the ring itself.
/// let mut window = std::collections::VecDeque::new();
/// let mut sums = Vec::new();
/// while let Some(frame) = consumer.receive()? {
///     window.push_back(frame.into_owned());
///     if window.len() > 3 {
///         window.pop_front();
///     }
///     sums.push(window.iter().map(|frame: &OwnedRecord| u32::from(frame[0])).sum::<u32>());
/// }
/// assert_eq!(sums, [0, 1, 3, 6, 9, 12]);
/// assert_eq!(consumer.held_bytes(), 3 * 112);
///
/// drop(consumer);
/// let last = window.pop_back().unwrap();
/// std::thread::spawn(move || assert_eq!(last[..], [5; 100])).join().unwrap();
/// # Ok(())
/// # }
/// ```
#[must_use = "a record that is dropped at once need not be kept"]
pub struct OwnedRecord {
    bytes: Bytes,
    tag: u16,
    position: u64,
}

// Few words: a record is moved some times before it is where it stays.
enum Bytes {
    Copied(KeptCopy),
    Held(Held),
}

/// A payload in the ring.
struct Held {
    hold: Hold<LaneMap, OwnSeat>,
    trust: InPlace,
    len: u64,
}

impl OwnedRecord {
    #[inline]
    pub(super) fn new(record: &Record<'_>) -> Self {
        let (tag, position, payload) = (record.tag(), record.position(), &record[..]);
        let (in_place, align) = match record.origin() {
            RecordOrigin::Consumer(release) => {
                (release.seat().trust().map(|trust| (release, trust)), release.lane().geometry().payload_align())
            }
            RecordOrigin::Tap(copied) => (None, copied.payload_align),
        };
        let Some((release, trust)) = in_place else {
            let copy = KeptCopy::new(payload, align, record.published_at());
            return Self { bytes: Bytes::Copied(copy), tag, position };
        };
        assert!(!release.seat().is_forked(), "a record belongs to the process that received it, and not to a fork");
        let (geometry, len) = (release.lane().geometry(), payload.len() as u64);
        let hold = release.hold(position, geometry.record_end(position, len));
        crash::point!("consumer-holds");
        let held = Held { hold, trust: trust.clone(), len };
        Self { bytes: Bytes::Held(held), tag, position }
    }

    /// The tag that the producer gave this record, like [`Record::tag`].
    ///
    /// ```
    /// # use fdring::{Consumer, Producer, Server};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut ticks = Producer::create("ticks")?;
    /// # let server = Server::listen("@doc-owned-tag", [&ticks])?;
    /// # let mut consumer = Consumer::connect("@doc-owned-tag")?;
    /// ticks.send_tagged(b"order 17", 2)?;
    /// let order = consumer.receive()?.unwrap().into_owned();
    /// assert_eq!(order.tag(), 2);
    /// # Ok(())
    /// # }
    /// ```
    #[inline]
    pub fn tag(&self) -> u16 {
        self.tag
    }

    /// The position of this record, like [`Record::position`].
    ///
    /// ```
    /// # use fdring::{Consumer, Producer, Server};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut ticks = Producer::create("ticks")?;
    /// # let server = Server::listen("@doc-owned-position", [&ticks])?;
    /// # let mut consumer = Consumer::connect("@doc-owned-position")?;
    /// ticks.send(b"first")?;
    /// ticks.send(b"second")?;
    /// let first = consumer.receive()?.unwrap().into_owned();
    /// let second = consumer.receive()?.unwrap().into_owned();
    /// assert_eq!((first.position(), second.position()), (0, 16));
    /// # Ok(())
    /// # }
    /// ```
    #[inline]
    pub fn position(&self) -> u64 {
        self.position
    }

    /// The time of its commit, as [`Record::published_at`].
    ///
    /// ```
    /// # use fdring::{Consumer, Server, options::LaneOptions};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut ticks = LaneOptions::new("ticks").stamped(true).create()?;
    /// # let server = Server::listen("@doc-owned-published-at", [&ticks])?;
    /// # let mut consumer = Consumer::connect("@doc-owned-published-at")?;
    /// ticks.send(b"order 17")?;
    /// let order = consumer.receive()?.unwrap().into_owned();
    /// println!("{:?} old", order.published_at().unwrap().age());
    /// # Ok(())
    /// # }
    /// ```
    pub fn published_at(&self) -> Option<MonotonicTime> {
        match &self.bytes {
            Bytes::Copied(copy) => copy.time(),
            Bytes::Held(held) => time_of(held.hold.lane(), held.hold.seat(), self.position),
        }
    }

    /// Whether the bytes lie in the ring and are held there. If not, this is a copy.
    ///
    /// ```
    /// # use fdring::{Consumer, Producer, Server};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut ticks = Producer::create("ticks")?;
    /// # let server = Server::listen("@doc-owned-is-held", [&ticks])?;
    /// # let mut consumer = Consumer::connect("@doc-owned-is-held")?;
    /// ticks.send(b"hello")?;
    /// let record = consumer.receive()?.unwrap().into_owned();
    /// assert!(!record.is_held()); // by default, payloads are copied out
    /// # Ok(())
    /// # }
    /// ```
    pub fn is_held(&self) -> bool {
        matches!(self.bytes, Bytes::Held(_))
    }
}

/// The time of the commit of the record at `position`, which this seat has not released.
#[inline]
pub(super) fn time_of(lane: &LaneMap, seat: &OwnSeat, position: u64) -> Option<MonotonicTime> {
    if !lane.is_stamped() || seat.is_forked() {
        return None;
    }
    stamp_of(lane, position).map(MonotonicTime::from_nanos)
}

impl Deref for OwnedRecord {
    type Target = [u8];

    /// # Panics
    ///
    /// In a forked child, if the record is held: the ring is not mapped there.
    #[inline]
    fn deref(&self) -> &[u8] {
        match &self.bytes {
            Bytes::Copied(copy) => copy.payload(),
            Bytes::Held(Held { hold, trust, len }) => {
                let begin = self.position + hold.lane().geometry().payload_offset();
                payload_in_place(hold, trust, (begin, *len))
            }
        }
    }
}

impl AsRef<[u8]> for OwnedRecord {
    #[inline]
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl fmt::Debug for OwnedRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("OwnedRecord");
        match &self.bytes {
            Bytes::Held(held) if held.hold.seat().is_forked() => debug.field("payload", &NOT_IN_A_CHILD),
            _ => debug.field("payload", &&self[..]),
        };
        debug.field("tag", &self.tag).field("position", &self.position).finish()
    }
}

impl Drop for OwnedRecord {
    #[inline]
    fn drop(&mut self) {
        if let Bytes::Held(held) = &self.bytes {
            end_hold(&held.hold);
        }
    }
}
