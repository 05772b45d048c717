//! Several records that are reserved at once, filled in any order, and published in order.
//!
//! The invariant: without [`Window::commit`], a window has no effect. Records follow one another without a gap, as the
//! protocol has it: if a slot was shortened or discarded, the commit moves the payloads after it down.
//!
//! What this file does not do: a window is not the way to publish many short records, a [`Batch`](super::Batch) is.

use super::{Producer, SendError, check_len};
use crate::crash;
use crate::deadline::Deadline;
use crate::os::clock::now_ns;
use crate::ring::publisher::Need;
use crate::ring::writer::Claim;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::time::{Duration, Instant};

/// Several records that are reserved in the ring at once: fill their [`slots`](Self::slots) in any order, then
/// [`commit`](Self::commit) publishes them all, in order. Dropping the window discards them.
///
/// [`Producer::reserve_window`] makes one. Its slots are slices side by side, each of which can be filled by itself: by
/// different threads, by one `readv(2)`, or by a device that writes to memory. Payloads are aligned as the lane's
/// [`payload_align`](crate::options::LaneOptions::payload_align) says.
///
/// Records are published without a gap between them. So if a slot is truncated or discarded, `commit` moves the
/// payloads of those after it down, which copies them. It copies nothing if the slots stay as they were reserved.
///
/// Its records have no descriptors: `commit` cannot fail, and sending descriptors can. Attach them to a
/// [`Reservation`](crate::parts::Reservation).
///
/// Before they are filled, the bytes are what the ring held there: older records of this lane, or zeros. In a forked
/// child there are no slots, and nothing is published; slots from before the fork must not be touched there.
///
/// ```
/// # use fdring::{Consumer, Producer, Server};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let mut tiles = Producer::create("tiles")?;
/// # let server = Server::listen("@doc-window", [&tiles])?;
/// # let mut consumer = Consumer::connect("@doc-window")?;
/// let mut window = tiles.reserve_window(&[1000, 1000, 500])?;
/// std::thread::scope(|scope| {
///     for (number, mut tile) in window.slots().into_iter().enumerate() {
///         scope.spawn(move || tile.fill(number as u8)); // in any order
///     }
/// });
/// let end = window.commit(); // in this order
/// assert_eq!(end, tiles.published());
///
/// let mut received = Vec::new();
/// consumer.receive_many(|tile| received.push((tile[0], tile.len())))?;
/// assert_eq!(received, [(0, 1000), (1, 1000), (2, 500)]);
/// # Ok(())
/// # }
/// ```
#[must_use = "a window that is not committed is discarded"]
pub struct Window<'a> {
    producer: &'a mut Producer,
    plans: Vec<SlotPlan>,
}

/// What is to become of a slot.
#[derive(Debug)]
struct SlotPlan {
    /// As it was reserved.
    claim: Claim,
    /// How many bytes are left of it.
    len: u64,
    tag: u16,
    is_discarded: bool,
}

/// Room for one record of a [`Window`]. It dereferences to `[u8]`, mutably.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let mut lane = fdring::Producer::create("frames")?;
/// # let mut device = std::io::Cursor::new(vec![7; 100]);
/// use std::io::{IoSliceMut, Read};
///
/// let mut window = lane.reserve_window(&[64, 64])?;
/// let mut slots = window.slots();
/// let mut buffers: Vec<_> = slots.iter_mut().map(|slot| IoSliceMut::new(slot)).collect();
/// let read = device.read_vectored(&mut buffers)?; // into both, by one call
/// assert_eq!(read, 100);
/// slots[1].truncate(read - 64);
/// drop(slots);
/// assert_eq!(window.commit(), (8 + 64) + (8 + 36 + 4));
/// # Ok(())
/// # }
/// ```
pub struct Slot<'w> {
    bytes: &'w mut [u8],
    plan: &'w mut SlotPlan,
}

impl Producer {
    /// Reserves a record for each of `lens`, the lengths of their payloads in bytes. Waits while the ring is full.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut lane = fdring::Producer::create("pairs")?;
    /// let mut window = lane.reserve_window(&[4, 5])?;
    /// let [left, right] = &mut window.slots()[..] else { unreachable!("as many as lengths") };
    /// right.copy_from_slice(b"right");
    /// left.copy_from_slice(b"left");
    /// assert_eq!(window.commit(), 2 * 16);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`SendError::TooLong`] if one of `lens` is more than
    ///   [`LaneInfo::payload_max`](crate::info::LaneInfo::payload_max)
    /// - [`SendError::WindowTooLong`] if the records take more than half of the ring together
    /// - [`SendError::TooSlow`] if a consumer has kept the ring full for longer than the lane's
    ///   [`SlowConsumer`](crate::options::SlowConsumer) allows
    /// - [`SendError::TooFewConsumers`] if the lane has fewer consumers than
    ///   [`NoConsumer::FailBelow`](crate::options::NoConsumer::FailBelow) requires
    /// - [`SendError::Interrupted`] if an [`Interrupter`](crate::Interrupter) ended the wait
    /// - [`SendError::Forked`] in a forked child
    pub fn reserve_window(&mut self, lens: &[usize]) -> Result<Window<'_>, SendError> {
        self.reserve_window_until(lens, Deadline::Never)
    }

    /// Like [`reserve_window`](Self::reserve_window), but never waits.
    ///
    /// ```
    /// # use fdring::{Consumer, Server, errors::SendError, options::LaneOptions};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut lane = LaneOptions::new("frames").capacity(4096).create()?;
    /// # let server = Server::listen("@doc-try-window", [&lane])?;
    /// # let mut consumer = Consumer::connect("@doc-try-window")?;
    /// let frames = [1000, 1000];
    /// lane.try_reserve_window(&frames)?.commit();
    /// lane.try_reserve_window(&frames)?.commit();
    /// assert!(matches!(lane.try_reserve_window(&frames), Err(SendError::Full { .. })));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`SendError::TooLong`] if one of `lens` is more than
    ///   [`LaneInfo::payload_max`](crate::info::LaneInfo::payload_max)
    /// - [`SendError::WindowTooLong`] if the records take more than half of the ring together
    /// - [`SendError::Full`] if there is no room for all of them; it names the consumer that holds the lane back
    /// - [`SendError::TooSlow`] if a consumer has kept the ring full for longer than the lane's
    ///   [`SlowConsumer`](crate::options::SlowConsumer) allows
    /// - [`SendError::TooFewConsumers`] if the lane has fewer consumers than its
    ///   [`NoConsumer`](crate::options::NoConsumer) requires
    /// - [`SendError::Forked`] in a forked child
    pub fn try_reserve_window(&mut self, lens: &[usize]) -> Result<Window<'_>, SendError> {
        self.reserve_window_until(lens, Deadline::Now)
    }

    /// Like [`reserve_window`](Self::reserve_window), but waits at most `timeout` for room.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut lane = fdring::Producer::create("frames")?;
    /// use std::time::Duration;
    ///
    /// let mut window = lane.reserve_window_timeout(&[4096; 8], Duration::from_secs(1))?;
    /// window.slots().iter_mut().for_each(|frame| frame.fill(0xff));
    /// assert_eq!(window.commit(), 8 * (8 + 4096));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`SendError::TooLong`] if one of `lens` is more than
    ///   [`LaneInfo::payload_max`](crate::info::LaneInfo::payload_max)
    /// - [`SendError::WindowTooLong`] if the records take more than half of the ring together
    /// - [`SendError::TimedOut`] if there was no room for all of them; it names the consumer that holds the lane back
    /// - [`SendError::TooSlow`] if a consumer has kept the ring full for longer than the lane's
    ///   [`SlowConsumer`](crate::options::SlowConsumer) allows
    /// - [`SendError::TooFewConsumers`] if the lane has fewer consumers than its
    ///   [`NoConsumer`](crate::options::NoConsumer) requires
    /// - [`SendError::Interrupted`] if an [`Interrupter`](crate::Interrupter) ended the wait
    /// - [`SendError::Forked`] in a forked child
    pub fn reserve_window_timeout(&mut self, lens: &[usize], timeout: Duration) -> Result<Window<'_>, SendError> {
        self.reserve_window_until(lens, Deadline::after(timeout))
    }

    /// Like [`reserve_window`](Self::reserve_window), but waits for room only until `deadline`, which several calls can
    /// share.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut lane = fdring::Producer::create("frames")?;
    /// use std::time::{Duration, Instant};
    ///
    /// let deadline = Instant::now() + Duration::from_secs(1); // for all
    /// for _ in 0..3 {
    ///     lane.reserve_window_deadline(&[512; 8], deadline)?.commit();
    /// }
    /// assert_eq!(lane.published(), 3 * 8 * (8 + 512));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`SendError::TooLong`] if one of `lens` is more than
    ///   [`LaneInfo::payload_max`](crate::info::LaneInfo::payload_max)
    /// - [`SendError::WindowTooLong`] if the records take more than half of the ring together
    /// - [`SendError::TimedOut`] if there was no room for all of them; it names the consumer that holds the lane back
    /// - [`SendError::TooSlow`] if a consumer has kept the ring full for longer than the lane's
    ///   [`SlowConsumer`](crate::options::SlowConsumer) allows
    /// - [`SendError::TooFewConsumers`] if the lane has fewer consumers than its
    ///   [`NoConsumer`](crate::options::NoConsumer) requires
    /// - [`SendError::Interrupted`] if an [`Interrupter`](crate::Interrupter) ended the wait
    /// - [`SendError::Forked`] in a forked child
    pub fn reserve_window_deadline(&mut self, lens: &[usize], deadline: Instant) -> Result<Window<'_>, SendError> {
        self.reserve_window_until(lens, Deadline::At(deadline))
    }

    pub(super) fn reserve_window_until(&mut self, lens: &[usize], deadline: Deadline) -> Result<Window<'_>, SendError> {
        if self.guard.is_child() {
            return Err(SendError::Forked);
        }
        // What was committed in a batch and not published is forgotten.
        self.publisher.writer.rewind();
        let room = self.publisher.writer.room();
        lens.iter().try_for_each(|len| check_len(&room, *len))?;
        let sizes = lens.iter().map(|len| room.geometry().record_size(*len as u64));
        // Half of the ring fits at any position, whatever padding it needs.
        let (bytes, max_bytes) = (sizes.fold(0, u64::saturating_add), room.geometry().capacity() / 2);
        if bytes > max_bytes {
            return Err(SendError::WindowTooLong { bytes, max_bytes });
        }
        let claims = room.place_each(lens.iter().map(|len| *len as u64));
        let plan = |claim: Claim| SlotPlan { claim, len: claim.len(), tag: 0, is_discarded: false };
        let plans: Vec<SlotPlan> = claims.map(plan).collect();
        if let (Some(first), Some(last)) = (plans.first(), plans.last())
            && !self.publisher.writer.covers(last.claim.end())
        {
            let need = Need { len: first.len, end: Some(last.claim.end()) };
            self.wait_for_room(need, deadline)?;
            debug_assert!(self.publisher.writer.covers(last.claim.end()));
        }
        crash::point!("producer-reserved-window");
        Ok(Window { producer: self, plans })
    }
}

impl Window<'_> {
    /// The number of records.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut lane = fdring::Producer::create("frames")?;
    /// assert_eq!(lane.reserve_window(&[64; 3])?.len(), 3);
    /// # Ok(())
    /// # }
    /// ```
    pub fn len(&self) -> usize {
        self.plans.len()
    }

    /// Whether there are no records: `commit` then publishes nothing.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut lane = fdring::Producer::create("frames")?;
    /// let window = lane.reserve_window(&[])?;
    /// assert!(window.is_empty());
    /// assert_eq!(window.commit(), 0);
    /// # Ok(())
    /// # }
    /// ```
    pub fn is_empty(&self) -> bool {
        self.plans.is_empty()
    }

    /// The slots of the records, to be filled in any order, each on any thread. Another call returns the same slots, as
    /// they were left. Empty in a forked child.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut lane = fdring::Producer::create("frames")?;
    /// let mut window = lane.reserve_window(&[64; 3])?;
    /// for slot in window.slots().iter_mut().rev() {
    ///     slot.fill(1);
    /// }
    /// assert!(window.slots().iter().all(|slot| slot[..] == [1; 64]));
    /// # Ok(())
    /// # }
    /// ```
    pub fn slots(&mut self) -> Vec<Slot<'_>> {
        let Self { producer, plans } = self;
        if producer.guard.is_child() {
            return Vec::new();
        }
        let writer = &mut producer.publisher.writer;
        let places: Vec<_> = plans.iter().map(|plan| (writer.payload_of(&plan.claim), plan.len)).collect();
        let bytes = writer.memory_mut().bytes_mut_each(&places);
        bytes.into_iter().zip(plans).map(|(bytes, plan)| Slot { bytes, plan }).collect()
    }

    /// Publishes the records in order, except those that were discarded. Returns the position after the last of them,
    /// in bytes since the lane was created. In a forked child nothing is published.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut lane = fdring::Producer::create("frames")?;
    /// let mut window = lane.reserve_window(&[8; 3])?;
    /// for (number, slot) in window.slots().iter_mut().enumerate() {
    ///     slot.copy_from_slice(&number.to_le_bytes());
    /// }
    /// let end = window.commit();
    /// assert_eq!((end, lane.published()), (48, 48));
    /// # Ok(())
    /// # }
    /// ```
    pub fn commit(self) -> u64 {
        let Self { producer, plans } = self;
        if producer.guard.is_child() {
            return producer.published();
        }
        let is_plain = !producer.shortcut.is_closed();
        let writer = &mut producer.publisher.writer;
        // Whether a slot before is shorter than it was reserved: then those after it lie too far up.
        let (mut is_apart, mut is_empty) = (false, true);
        for SlotPlan { claim: reserved, len, tag, is_discarded } in plans {
            if is_discarded {
                is_apart = true;
                continue;
            }
            let mut claim = reserved;
            if is_apart {
                claim = writer.room().place(len);
            } else {
                writer.room().truncate(&mut claim, len);
            }
            let [from, to] = [&reserved, &claim].map(|claim| writer.payload_of(claim));
            if from != to {
                // Never up: a shorter record is placed no later, nor is one that follows an earlier end. So neither
                // this nor the headers written so far reach what is yet to be moved.
                debug_assert!(to < from);
                writer.memory_mut().move_bytes(from, to, len);
            }
            if !is_plain {
                writer.stamp(writer.room().committed(), claim.begin(), now_ns);
            }
            writer.commit_placed(claim, tag);
            crash::point!("producer-in-window");
            is_apart |= claim.end() != reserved.end();
            is_empty = false;
        }
        if !is_empty {
            producer.publish_batch(producer.publisher.writer.room());
        }
        producer.published()
    }
}

impl Window<'_> {
    /// Where the records lie, if they are published in another way. No slot was shortened or discarded.
    pub(super) fn into_claims(self) -> Vec<Claim> {
        self.plans.into_iter().map(|plan| plan.claim).collect()
    }
}

impl fmt::Debug for Window<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Window").field("slots", &self.plans).finish_non_exhaustive()
    }
}

impl Slot<'_> {
    /// Sets the tag, a 16-bit number of the application's choice, which consumers see as
    /// [`Record::tag`](crate::Record::tag). Default: 0.
    ///
    /// ```
    /// # use fdring::{Consumer, Producer, Server};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut lane = Producer::create("events")?;
    /// # let server = Server::listen("@doc-slot-tag", [&lane])?;
    /// # let mut consumer = Consumer::connect("@doc-slot-tag")?;
    /// let mut window = lane.reserve_window(&[4, 4])?;
    /// window.slots()[1].set_tag(7);
    /// window.commit();
    /// assert_eq!(consumer.receive()?.unwrap().tag(), 0);
    /// assert_eq!(consumer.receive()?.unwrap().tag(), 7);
    /// # Ok(())
    /// # }
    /// ```
    pub fn set_tag(&mut self, tag: u16) {
        self.plan.tag = tag;
    }

    /// Shortens the payload to its first `len` bytes. No effect if it is already that short. The commit moves the
    /// payloads of later slots down, if the record becomes shorter with its alignment.
    ///
    /// ```
    /// # use fdring::{Consumer, Producer, Server};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut lane = Producer::create("lines")?;
    /// # let server = Server::listen("@doc-slot-truncate", [&lane])?;
    /// # let mut consumer = Consumer::connect("@doc-slot-truncate")?;
    /// let mut window = lane.reserve_window(&[80, 80])?;
    /// for (slot, line) in window.slots().iter_mut().zip([&b"short"[..], b"shorter"]) {
    ///     slot[..line.len()].copy_from_slice(line);
    ///     slot.truncate(line.len());
    /// }
    /// window.commit();
    /// assert_eq!(consumer.receive()?.unwrap()[..], *b"short");
    /// assert_eq!(consumer.receive()?.unwrap()[..], *b"shorter");
    /// # Ok(())
    /// # }
    /// ```
    pub fn truncate(&mut self, len: usize) {
        self.plan.len = self.plan.len.min(len as u64);
    }

    /// Discards this record alone. The payloads of later slots are moved down by the commit.
    ///
    /// ```
    /// # use fdring::{Consumer, Producer, Server};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut lane = Producer::create("frames")?;
    /// # let server = Server::listen("@doc-slot-discard", [&lane])?;
    /// # let mut consumer = Consumer::connect("@doc-slot-discard")?;
    /// let mut window = lane.reserve_window(&[4; 3])?;
    /// for (number, mut slot) in window.slots().into_iter().enumerate() {
    ///     slot.fill(number as u8);
    ///     if number == 1 {
    ///         slot.discard(); // the device has reported an error
    ///     }
    /// }
    /// window.commit();
    /// let mut received = Vec::new();
    /// consumer.receive_many(|frame| received.push(frame[0]))?;
    /// assert_eq!(received, [0, 2]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn discard(self) {
        self.plan.is_discarded = true;
    }
}

impl Deref for Slot<'_> {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        &self.bytes[..self.plan.len as usize]
    }
}

impl DerefMut for Slot<'_> {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[..self.plan.len as usize]
    }
}

impl AsRef<[u8]> for Slot<'_> {
    #[inline]
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl AsMut<[u8]> for Slot<'_> {
    #[inline]
    fn as_mut(&mut self) -> &mut [u8] {
        self
    }
}

impl fmt::Debug for Slot<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let payload = &self[..];
        f.debug_struct("Slot").field("payload", &payload).field("tag", &self.plan.tag).finish_non_exhaustive()
    }
}
