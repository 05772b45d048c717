//! What a producer tells a reader of its lane: how far it is, and who else reads, how far behind.
//!
//! The invariant: nothing here is believed. It is what the producer says, for people and tools.

use super::waiter::Waiter;
use super::{Consumer, Tap};
use crate::error::Result;
use crate::lane::LaneInfo;
use crate::layout::LaneState;
use crate::os::fork::ForkGuard;
use crate::wire::{Report, ReportedSeat, SeatKind, UNKNOWN_UID};
use std::fmt;
use std::time::Duration;

/// A producer's report on its lane and its readers. [`Consumer::query`] and [`Tap::query`] ask for it.
///
/// ```
/// # use fdring::{Consumer, Producer, Server, Tap};
/// # use std::time::Duration;
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let mut ticks = Producer::create("ticks")?;
/// # let server = Server::listen("@doc-lane-report", [&ticks])?;
/// # let slow = Consumer::connect("@doc-lane-report")?;
/// let monitor = Tap::connect("@doc-lane-report")?;
/// # ticks.send(&[0; 1000])?;
/// let report = monitor.query(Duration::from_secs(1))?;
/// for reader in &report.readers {
///     println!("process {:?} is {} bytes behind", reader.pid, reader.behind_bytes);
/// }
/// assert_eq!((report.published, report.readers_total), (1008, 2));
/// assert_eq!(report.readers[0].behind_bytes, 1008);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LaneReport {
    /// The process id of the producer. `None` if the process is in another pid namespace.
    pub producer_pid: Option<u32>,
    /// The numeric id of the producer's user. `None` if this user namespace has no number for the user.
    pub producer_uid: Option<u32>,
    /// The length of the ring, in bytes.
    pub capacity: u64,
    /// The position up to which everything is published, in bytes since the lane was created.
    pub published: u64,
    /// Whether more may be published: the lane was neither finished nor abandoned.
    pub is_open: bool,
    /// The number of consumers and taps of the lane that the asker may know of.
    pub readers_total: u32,
    /// Those readers, in the order in which they attached; the first 1024 if there are more.
    ///
    /// By default, an asker of another user sees only itself and the readers of its own user: see
    /// [`ServerOptions::reports`](crate::options::ServerOptions::reports).
    pub readers: Vec<ReaderReport>,
}

/// A consumer or a tap, as its producer describes it in a [`LaneReport`].
///
/// ```
/// # use fdring::{Consumer, Producer, Server, info::ReaderKind};
/// # use std::time::Duration;
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let ticks = Producer::create("ticks")?;
/// # let server = Server::listen("@doc-reader-report", [&ticks])?;
/// let consumer = Consumer::connect("@doc-reader-report")?;
/// let report = consumer.query(Duration::from_secs(1))?;
/// let this = &report.readers[0];
/// assert_eq!((this.pid, this.kind), (Some(std::process::id()), ReaderKind::Copies));
/// assert!(this.attached_for >= this.still_for);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReaderReport {
    /// The process id, as the producer's pid namespace numbers it. `None` if it is unknown there.
    pub pid: Option<u32>,
    /// The numeric id of the process's user, as the producer's user namespace numbers it. `None` if it has no number.
    pub uid: Option<u32>,
    /// How it reads.
    pub kind: ReaderKind,
    /// Whether it sleeps until more is published.
    pub is_asleep: bool,
    /// The published bytes that it has not released, headers and padding included. For a tap, the bytes that it has not
    /// read, as of the last call that found nothing.
    pub behind_bytes: u64,
    /// The part of `behind_bytes` that it has read and cannot release, because it holds records. 0 if it holds nothing,
    /// however slow it is.
    pub held_bytes: u64,
    /// For how long it has been attached.
    pub attached_for: Duration,
    /// For how long it has released nothing, as far as the producer has seen.
    pub still_for: Duration,
}

/// How a reader reads.
///
/// ```
/// # use fdring::{Producer, Server, Tap, info::ReaderKind};
/// # use std::time::Duration;
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let ticks = Producer::create("ticks")?;
/// # let server = Server::listen("@doc-reader-kind", [&ticks])?;
/// let tap = Tap::connect("@doc-reader-kind")?;
/// let kind = tap.query(Duration::from_secs(1))?.readers[0].kind;
/// assert_eq!((kind, kind.to_string().as_str()), (ReaderKind::Tap, "tap"));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ReaderKind {
    /// A consumer that reads payloads in the ring. The lane waits for it, and never evicts it for being slow.
    InPlace,
    /// A consumer that copies payloads out. The lane waits for it.
    Copies,
    /// A tap, which copies payloads out. The lane does not wait for it.
    Tap,
}

impl fmt::Display for ReaderKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::InPlace => "in place",
            Self::Copies => "copies",
            Self::Tap => "tap",
        })
    }
}

impl LaneReport {
    fn new(report: Report, lane: &LaneInfo, (producer_pid, producer_uid): (Option<u32>, Option<u32>)) -> Self {
        let Report { published, state, seats, listed, .. } = report;
        Self {
            producer_pid,
            producer_uid,
            capacity: lane.capacity,
            published,
            is_open: state == LaneState::Open,
            readers_total: seats,
            readers: listed.iter().map(|seat| ReaderReport::new(seat, published)).collect(),
        }
    }
}

impl ReaderReport {
    fn new(seat: &ReportedSeat, published: u64) -> Self {
        let behind_bytes = published.saturating_sub(seat.consumed);
        Self {
            pid: Some(seat.pid).filter(|pid| *pid != 0),
            uid: Some(seat.uid).filter(|uid| *uid != UNKNOWN_UID),
            kind: match seat.kind {
                SeatKind::InPlace => ReaderKind::InPlace,
                SeatKind::Copies => ReaderKind::Copies,
                SeatKind::Lossy => ReaderKind::Tap,
            },
            is_asleep: seat.is_asleep,
            behind_bytes,
            held_bytes: seat.read.saturating_sub(seat.consumed).min(behind_bytes),
            attached_for: Duration::from_nanos(seat.since_ns),
            still_for: Duration::from_nanos(seat.still_ns),
        }
    }
}

/// Asks the producer of `lane` about it.
fn query(guard: ForkGuard, waiter: &Waiter, lane: &LaneInfo, timeout: Duration) -> Result<LaneReport> {
    guard.check()?;
    let report = waiter.link().query(&lane.name, timeout, waiter.interrupter())?;
    Ok(LaneReport::new(report, lane, waiter.link().producer()))
}

impl Consumer {
    /// Asks the producer who reads this lane, and how far behind everybody is. Waits at most `timeout` for the answer.
    ///
    /// The producer's steward thread answers, even while the producer does nothing. It answers each session at most
    /// once in 100 ms: a call that comes sooner waits. The answer is a snapshot, and no record is received.
    ///
    /// There is no form with a deadline. If several calls share one, pass the rest of it as `timeout`:
    /// `deadline.saturating_duration_since(Instant::now())`.
    ///
    /// ```
    /// # use fdring::{Consumer, Producer, Server};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut ticks = Producer::create("ticks")?;
    /// # let server = Server::listen("@doc-consumer-query", [&ticks])?;
    /// # let mut consumer = Consumer::connect("@doc-consumer-query")?;
    /// use std::time::Duration;
    ///
    /// ticks.send(b"hello")?;
    /// let report = consumer.query(Duration::from_secs(1))?;
    /// assert_eq!((report.published, report.readers[0].behind_bytes), (16, 16));
    /// assert_eq!(&consumer.receive()?.unwrap()[..], b"hello");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`Error::TimedOut`](crate::Error::TimedOut) if no answer came within `timeout`
    /// - [`Error::Interrupted`](crate::Error::Interrupted) if an [`Interrupter`](crate::Interrupter) ended the wait
    /// - [`Error::Closed`](crate::Error::Closed) if the session is over: the producer hung up, died, or closed it
    /// - [`Error::Refused`](crate::Error::Refused) or [`Error::Peer`](crate::Error::Peer) if the producer refused, or
    ///   broke the protocol of the session
    /// - [`Error::Os`](crate::Error::Os) if the system is short of descriptors, or a system call fails
    /// - [`Error::Forked`](crate::Error::Forked) in a forked child
    pub fn query(&self, timeout: Duration) -> Result<LaneReport> {
        query(self.guard, &self.waiter, &self.info, timeout)
    }
}

impl Tap {
    /// Asks the producer who reads this lane, and how far behind everybody is. Waits at most `timeout` for the answer.
    ///
    /// Otherwise like [`Consumer::query`].
    ///
    /// There is no form with a deadline. If several calls share one, pass the rest of it as `timeout`:
    /// `deadline.saturating_duration_since(Instant::now())`.
    ///
    /// ```
    /// # use fdring::{Producer, Server, Tap};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut ticks = Producer::create("ticks")?;
    /// # let server = Server::listen("@doc-tap-query", [&ticks])?;
    /// use std::time::Duration;
    ///
    /// let monitor = Tap::connect("@doc-tap-query")?;
    /// let report = monitor.query(Duration::from_secs(1))?;
    /// println!("{} of {} bytes published", report.published, report.capacity);
    /// # assert_eq!(report.capacity, 4 << 20);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`Error::TimedOut`](crate::Error::TimedOut) if no answer came within `timeout`
    /// - [`Error::Interrupted`](crate::Error::Interrupted) if an [`Interrupter`](crate::Interrupter) ended the wait
    /// - [`Error::Closed`](crate::Error::Closed) if the session is over: the producer hung up, died, or closed it
    /// - [`Error::Refused`](crate::Error::Refused) or [`Error::Peer`](crate::Error::Peer) if the producer refused, or
    ///   broke the protocol of the session
    /// - [`Error::Os`](crate::Error::Os) if the system is short of descriptors, or a system call fails
    /// - [`Error::Forked`](crate::Error::Forked) in a forked child
    pub fn query(&self, timeout: Duration) -> Result<LaneReport> {
        let (guard, waiter) = self.session();
        query(guard, waiter, self.lane(), timeout)
    }
}
