//! Many records read in one loop: the fast path of the reading side.
//!
//! [`Consumer::receive_many`] and [`Consumer::try_receive_many`] read runs of records with a cursor that the compiler
//! keeps in registers. In place, short records of one length are found eight at a time, with two dependent loads
//! instead of eight: 8 B take 0.7 ns each instead of 1.3. docs/performance.md has the figures.
//!
//! The invariant: a record counts as read once it is handed over, and its bytes are released after the run.

use super::own_seat::{LaneReader, LaneRelease};
use super::payloads::Payloads;
use super::{Consumer, ReceiveError, Record};
use crate::deadline::Deadline;
use crate::layout::RecordHeader;
use crate::memory::{InPlace, RingBytes};
use crate::ring::LaneWords;
use crate::ring::cursor::{Cursor, Found, InView};
use crate::sync::Ordering;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

/// The return type of a closure that is called with records. It says whether to go on.
///
/// | it returns | which means |
/// | --- | --- |
/// | `()` | go on |
/// | [`ControlFlow<()>`](ControlFlow) | go on, or stop after this record |
/// | `Result<(), E>` | go on, or stop after this record and make the call return the error |
///
/// `E` is any type that the reader's error converts into, such as [`std::io::Error`] or a boxed error. The reader's
/// error is [`ReceiveError`] for a consumer, and [`TapError`](crate::errors::TapError) for a tap.
///
/// ```
/// # use fdring::{Consumer, Producer, Server};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let mut ticks = Producer::create("ticks")?;
/// # let server = Server::listen("@doc-verdict", [&ticks])?;
/// # let mut consumer = Consumer::connect("@doc-verdict")?;
/// use std::ops::ControlFlow;
///
/// for text in ["1", "2", "stop", "3"] {
///     ticks.send(text.as_bytes())?;
/// }
/// let until_stop = |record: &fdring::Record<'_>| match &record[..] {
///     b"stop" => ControlFlow::Break(()),
///     _ => ControlFlow::Continue(()),
/// };
/// assert_eq!(consumer.receive_many(until_stop)?, 3);
/// # Ok(())
/// # }
/// ```
pub trait Verdict<E = ReceiveError> {
    /// The error of a call whose closure returns this type.
    type Error: From<E>;

    /// Converts to: go on, stop, or stop with an error.
    fn into_flow(self) -> ControlFlow<Result<(), Self::Error>>;
}

impl<E> Verdict<E> for () {
    type Error = E;

    #[inline(always)]
    fn into_flow(self) -> ControlFlow<Result<(), E>> {
        ControlFlow::Continue(())
    }
}

impl<E> Verdict<E> for ControlFlow<()> {
    type Error = E;

    #[inline(always)]
    fn into_flow(self) -> ControlFlow<Result<(), E>> {
        self.map_break(Ok)
    }
}

impl<E, F: From<E>> Verdict<E> for Result<(), F> {
    type Error = F;

    #[inline(always)]
    fn into_flow(self) -> ControlFlow<Result<(), F>> {
        match self {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => ControlFlow::Break(Err(error)),
        }
    }
}

/// The end of a run: it may go on, or the closure stopped it.
type Flow<V> = ControlFlow<Result<(), <V as Verdict>::Error>>;

impl Consumer {
    /// Waits for a record, then calls `each` with it and with all records that are already visible after it. Returns
    /// the number of records, 0 at the end of the stream. This is the fastest way to read a busy lane.
    ///
    /// The closure may return nothing, or say whether to go on, see [`Verdict`]. The record for which it stops or fails
    /// counts as read. If the closure forks, it must not return in the child.
    ///
    /// ```
    /// # use fdring::{Consumer, Producer, Server};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut ticks = Producer::create("ticks")?;
    /// # let server = Server::listen("@doc-receive-many", [&ticks])?;
    /// # let mut consumer = Consumer::connect("@doc-receive-many")?;
    /// for price in ["101", "102", "103"] {
    ///     ticks.send(price.as_bytes())?;
    /// }
    /// ticks.finish();
    ///
    /// let mut sum = 0;
    /// let mut add = |record: &fdring::Record<'_>| -> Result<(), Box<dyn std::error::Error>> {
    ///     sum += std::str::from_utf8(record)?.parse::<u64>()?;
    ///     Ok(())
    /// };
    /// while consumer.receive_many(&mut add)? != 0 {}
    /// assert_eq!(sum, 306);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`ReceiveError::Abandoned`] if the producer gave up or panicked
    /// - [`ReceiveError::PeerDead`] if the producer died
    /// - [`ReceiveError::HungUp`] if the producer hung up unexpectedly and is not known to have died
    /// - [`ReceiveError::Refused`] or [`ReceiveError::Peer`] if it refused to go on, or broke the session's protocol
    /// - [`ReceiveError::Closed`] if the producer's process closed the session
    /// - [`ReceiveError::Evicted`] if the producer took this consumer's seat away
    /// - [`ReceiveError::Corrupt`] if the producer broke the protocol
    /// - [`ReceiveError::Interrupted`] if an [`Interrupter`](crate::Interrupter) ended the wait
    /// - [`ReceiveError::Wait`] if the kernel does not let this thread wait
    /// - [`ReceiveError::Forked`] in a forked child
    /// - The closure's error, if it returned one
    ///
    /// Records handed over before the error count as read.
    #[inline]
    #[doc(alias("drain", "recv_many"))]
    pub fn receive_many<V: Verdict>(&mut self, each: impl FnMut(&Record<'_>) -> V) -> Result<usize, V::Error> {
        self.receive_many_until(Deadline::Never, each)
    }

    /// Like [`receive_many`](Self::receive_many), but waits at most `timeout` for the first record.
    ///
    /// ```
    /// # use fdring::{Consumer, Producer, Server};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut ticks = Producer::create("ticks")?;
    /// # let server = Server::listen("@doc-receive-many-timeout", [&ticks])?;
    /// # let mut consumer = Consumer::connect("@doc-receive-many-timeout")?;
    /// use std::time::Duration;
    ///
    /// ticks.send(b"one")?;
    /// ticks.send(b"two")?;
    /// let mut bytes = 0;
    /// assert_eq!(consumer.receive_many_timeout(Duration::from_secs(1), |record| bytes += record.len())?, 2);
    /// assert_eq!(bytes, 6);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`ReceiveError::TimedOut`] if no record came within `timeout`
    /// - [`ReceiveError::Abandoned`] if the producer gave up or panicked
    /// - [`ReceiveError::PeerDead`] if the producer died
    /// - [`ReceiveError::HungUp`] if the producer hung up unexpectedly and is not known to have died
    /// - [`ReceiveError::Refused`] or [`ReceiveError::Peer`] if it refused to go on, or broke the session's protocol
    /// - [`ReceiveError::Closed`] if the producer's process closed the session
    /// - [`ReceiveError::Evicted`] if the producer took this consumer's seat away
    /// - [`ReceiveError::Corrupt`] if the producer broke the protocol
    /// - [`ReceiveError::Interrupted`] if an [`Interrupter`](crate::Interrupter) ended the wait
    /// - [`ReceiveError::Wait`] if the kernel does not let this thread wait
    /// - [`ReceiveError::Forked`] in a forked child
    /// - The closure's error, if it returned one
    ///
    /// Records handed over before the error count as read.
    pub fn receive_many_timeout<V: Verdict>(
        &mut self,
        timeout: Duration,
        each: impl FnMut(&Record<'_>) -> V,
    ) -> Result<usize, V::Error> {
        self.receive_many_until(Deadline::after(timeout), each)
    }

    /// Like [`receive_many`](Self::receive_many), but waits for the first record only until `deadline`, which several
    /// calls can share.
    ///
    /// ```
    /// # use fdring::{Consumer, Producer, Server};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut ticks = Producer::create("ticks")?;
    /// # let server = Server::listen("@doc-receive-many-deadline", [&ticks])?;
    /// # let mut consumer = Consumer::connect("@doc-receive-many-deadline")?;
    /// use fdring::errors::ReceiveError;
    /// use std::time::{Duration, Instant};
    ///
    /// ticks.send(b"one")?;
    /// let deadline = Instant::now() + Duration::from_millis(20);
    /// assert_eq!(consumer.receive_many_deadline(deadline, |_| ())?, 1);
    /// assert_eq!(consumer.receive_many_deadline(deadline, |_| ()), Err(ReceiveError::TimedOut));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`ReceiveError::TimedOut`] if no record came before `deadline`
    /// - [`ReceiveError::Abandoned`] if the producer gave up or panicked
    /// - [`ReceiveError::PeerDead`] if the producer died
    /// - [`ReceiveError::HungUp`] if the producer hung up unexpectedly and is not known to have died
    /// - [`ReceiveError::Refused`] or [`ReceiveError::Peer`] if it refused to go on, or broke the session's protocol
    /// - [`ReceiveError::Closed`] if the producer's process closed the session
    /// - [`ReceiveError::Evicted`] if the producer took this consumer's seat away
    /// - [`ReceiveError::Corrupt`] if the producer broke the protocol
    /// - [`ReceiveError::Interrupted`] if an [`Interrupter`](crate::Interrupter) ended the wait
    /// - [`ReceiveError::Wait`] if the kernel does not let this thread wait
    /// - [`ReceiveError::Forked`] in a forked child
    /// - The closure's error, if it returned one
    ///
    /// Records handed over before the error count as read.
    pub fn receive_many_deadline<V: Verdict>(
        &mut self,
        deadline: Instant,
        each: impl FnMut(&Record<'_>) -> V,
    ) -> Result<usize, V::Error> {
        self.receive_many_until(Deadline::At(deadline), each)
    }

    #[inline(always)]
    fn receive_many_until<V: Verdict>(
        &mut self,
        deadline: Deadline,
        mut each: impl FnMut(&Record<'_>) -> V,
    ) -> Result<usize, V::Error> {
        let first = match self.receive_until(deadline)? {
            Some(record) => each(&record).into_flow(),
            None => return Ok(0),
        };
        let mut records = 1;
        if let ControlFlow::Break(outcome) = first {
            return outcome.map(|()| records);
        }
        loop {
            if let ControlFlow::Break(outcome) = self.run_ahead(&mut each, &mut records)? {
                return outcome.map(|()| records);
            }
            let flow = match self.next_seen() {
                Some(found) => each(&self.record(found)?).into_flow(),
                None => return Ok(records),
            };
            records += 1;
            if let ControlFlow::Break(outcome) = flow {
                return outcome.map(|()| records);
            }
        }
    }

    /// Calls `each` with every record that is published now, without waiting for more. Returns the number of records, 0
    /// at the end of the stream.
    ///
    /// The closure may return nothing, or say whether to go on, see [`Verdict`]. The record for which it stops or fails
    /// counts as read. If the closure forks, it must not return in the child.
    ///
    /// ```
    /// # use fdring::{Consumer, Producer, Server};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut ticks = Producer::create("ticks")?;
    /// # let server = Server::listen("@doc-try-receive-many", [&ticks])?;
    /// # let mut consumer = Consumer::connect("@doc-try-receive-many")?;
    /// use fdring::errors::ReceiveError;
    ///
    /// ticks.send(b"one")?;
    /// ticks.send(b"two")?;
    ///
    /// let mut bytes = 0;
    /// assert_eq!(consumer.try_receive_many(|record| bytes += record.len())?, 2);
    /// assert_eq!(bytes, 6);
    /// assert_eq!(consumer.try_receive_many(|_| ()), Err(ReceiveError::Empty));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`ReceiveError::Empty`] if no record is published now; everything that was read is released then
    /// - [`ReceiveError::Abandoned`] if the producer gave up or panicked
    /// - [`ReceiveError::PeerDead`] if the producer died
    /// - [`ReceiveError::HungUp`] if the producer hung up unexpectedly and is not known to have died
    /// - [`ReceiveError::Refused`] or [`ReceiveError::Peer`] if it refused to go on, or broke the session's protocol
    /// - [`ReceiveError::Closed`] if the producer's process closed the session
    /// - [`ReceiveError::Evicted`] if the producer took this consumer's seat away
    /// - [`ReceiveError::Corrupt`] if the producer broke the protocol
    /// - [`ReceiveError::Forked`] in a forked child
    /// - The closure's error, if it returned one
    ///
    /// Records handed over before the error count as read.
    pub fn try_receive_many<V: Verdict>(&mut self, mut each: impl FnMut(&Record<'_>) -> V) -> Result<usize, V::Error> {
        // Only a bound, no further than an honest producer can be: everything below it is checked record by record.
        let published = match self.guard.is_child() {
            true => return Err(ReceiveError::Forked.into()),
            false => self.reader.lane().published().load(Ordering::Relaxed),
        };
        let end = published.min(self.position().saturating_add(self.info.capacity));
        let mut records = 0;
        loop {
            let mut flow = match self.try_receive() {
                Ok(Some(record)) => each(&record).into_flow(),
                Ok(None) | Err(ReceiveError::Empty) if records != 0 => return Ok(records),
                Ok(None) => return Ok(0),
                Err(error) => return Err(error.into()),
            };
            records += 1;
            if flow.is_continue() {
                flow = self.run_ahead(&mut each, &mut records)?;
            }
            if let ControlFlow::Break(outcome) = flow {
                return outcome.map(|()| records);
            }
            if self.position() >= end {
                self.reader.release_all();
                return Ok(records);
            }
        }
    }

    /// Hands over the records in view until the next release is due, and counts them.
    #[inline]
    pub(crate) fn run_ahead<V: Verdict>(
        &mut self,
        each: &mut impl FnMut(&Record<'_>) -> V,
        records: &mut usize,
    ) -> Result<Flow<V>, V::Error> {
        let Self { reader, payloads, .. } = self;
        // One loop for each way of reading: a common loop would need more registers than there are.
        match payloads {
            Payloads::InPlace(trust) => {
                let mut run = Run::new(reader);
                let (read, flow) = run
                    .in_place(trust, |release, found, payload| each(&Record::new(found, payload, release)).into_flow());
                *records += read;
                Ok(flow)
            }
            Payloads::Copied(copies) => {
                let mut run = Run::new(reader);
                let (read, outcome) = run.one_by_one(|reader, ring, found| {
                    let copy = copies.copy(reader, ring, found)?;
                    Some(each(&Record::new(found, copy, reader.release())).into_flow())
                });
                drop(run);
                *records += read;
                outcome.map_err(|lost| ReceiveError::from(reader.evicted_in_copy(lost.from)).into())
            }
        }
    }
}

/// A cursor that runs ahead. Its reader goes on from there, also if the run ends in a panic.
struct Run<'a> {
    cursor: Cursor,
    reader: &'a mut LaneReader,
}

/// The number of records that are looked at together.
pub(super) const EQUAL: usize = 8;
/// The longest of them, in bytes with their headers. Lines of longer ones are fetched out of order, and come later than
/// the processor would bring them by itself (256 B each: 30 ns instead of 7).
const EQUAL_SIZE_MAX_BYTES: u64 = 128;
/// After records of different lengths, this many are read one by one, so that the look costs them next to nothing.
const SINGLES: usize = 8;

/// [`EQUAL`] records of one length, side by side and in view.
#[derive(Clone, Copy, Debug)]
pub(super) struct EqualRun {
    /// Their header words, in order.
    pub(super) words: [u64; EQUAL],
    /// The position of the first payload byte of the first.
    pub(super) payload: u64,
    /// The payload of each, in bytes.
    pub(super) len: u32,
    /// From one to the next, in bytes.
    pub(super) size: u32,
}

impl EqualRun {
    /// The next records of `cursor`, if all are as long as the first: that is known after two loads in a row.
    #[inline(always)]
    pub(super) fn find(cursor: &Cursor, ring: RingBytes<'_>) -> Option<Self> {
        let InView { word, len, end } = cursor.header_in_view(&ring)?;
        let size = end - cursor.position();
        if size > EQUAL_SIZE_MAX_BYTES {
            return None;
        }
        Self::like(cursor, ring, word, len as u32, size as u32)
    }

    /// The records after this run, if all are as long: that is known after one load.
    #[inline(always)]
    pub(super) fn next(&self, cursor: &Cursor, ring: RingBytes<'_>) -> Option<Self> {
        Self::like(cursor, ring, self.words[0], self.len, self.size)
    }

    #[inline(always)]
    fn like(cursor: &Cursor, ring: RingBytes<'_>, word: u64, len: u32, size: u32) -> Option<Self> {
        if EQUAL as u64 * u64::from(size) > cursor.unread_clear() {
            return None;
        }
        let words = ring.header_words::<EQUAL>(cursor.position(), size);
        // Without a branch for each.
        let are_equal = words.iter().fold(true, |equal, other| equal & RecordHeader::are_alike(*other, word));
        let payload = cursor.position() + cursor.geometry().payload_offset();
        are_equal.then_some(Self { words, payload, len, size })
    }

    /// The next of the records, which has this header word: the cursor moves on past it.
    #[inline(always)]
    pub(super) fn take(&self, cursor: &mut Cursor, word: u64) -> Found {
        let found = cursor.found(cursor.position(), u64::from(self.len), RecordHeader::tag_of(word));
        cursor.advance(u64::from(self.size));
        found
    }
}

impl<'a> Run<'a> {
    fn new(reader: &'a mut LaneReader) -> Self {
        Self { cursor: reader.cursor(), reader }
    }

    /// Hands records to `hand`, with their payloads in the ring, until it breaks off; how many.
    #[inline(always)]
    fn in_place<B>(
        &mut self,
        trust: &InPlace,
        mut hand: impl FnMut(&LaneRelease, Found, &[u8]) -> ControlFlow<B>,
    ) -> (usize, ControlFlow<B>) {
        let Self { cursor, reader } = self;
        let (ring, release, before) = (reader.lane().ring(), reader.release(), cursor.records());
        loop {
            let mut equal = EqualRun::find(cursor, ring);
            while let Some(run) = equal {
                let payloads = ring.in_place_each::<EQUAL>(trust, run.payload, run.size, run.len);
                for (index, (word, payload)) in run.words.into_iter().zip(payloads).enumerate() {
                    let flow = hand(release, run.take(cursor, word), payload);
                    if flow.is_break() {
                        cursor.count(index as u64 + 1);
                        return ((cursor.records() - before) as usize, flow);
                    }
                }
                // Once for all: if `hand` panics, up to eight that it was given are not counted.
                cursor.count(EQUAL as u64);
                equal = run.next(cursor, ring);
            }
            // No run of one length comes next, so nothing is expected of these.
            for _ in 0..SINGLES {
                let Some(found) = cursor.any_in_view(&ring) else {
                    return ((cursor.records() - before) as usize, ControlFlow::Continue(()));
                };
                let flow = hand(release, found, ring.in_place(trust, found.payload, found.len));
                if flow.is_break() {
                    return ((cursor.records() - before) as usize, flow);
                }
            }
        }
    }

    /// Hands records to `hand` until it breaks off or fails to read one. Returns the number of records, and the one
    /// that it failed to read.
    #[inline(always)]
    fn one_by_one<B>(
        &mut self,
        mut hand: impl FnMut(&LaneReader, RingBytes<'_>, Found) -> Option<ControlFlow<B>>,
    ) -> (usize, Result<ControlFlow<B>, Found>) {
        let Self { cursor, reader } = self;
        let (ring, before) = (reader.lane().ring(), cursor.records());
        while let Some(found) = cursor.next_in_view(&ring) {
            let Some(flow) = hand(reader, ring, found) else {
                return ((cursor.records() - before) as usize - 1, Err(found));
            };
            if flow.is_break() {
                return ((cursor.records() - before) as usize, Ok(flow));
            }
        }
        ((cursor.records() - before) as usize, Ok(ControlFlow::Continue(())))
    }
}

impl Drop for Run<'_> {
    #[inline]
    fn drop(&mut self) {
        self.reader.catch_up(self.cursor);
    }
}
