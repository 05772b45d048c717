//! The lossy reading end of a lane: it receives what it can keep up with, and never holds the lane back.
//!
//! [`Tap`] puts together the lossy protocol ([`ring::tap`](crate::ring::tap)) and what it shares with a consumer:
//! copies ([`payloads`](super::payloads)), pace and sleep ([`waiter`](super::waiter)).
//!
//! The invariant: what reaches the caller was copied, and found whole after that.

mod error;
mod runs;
mod stats;

#[cfg(test)]
mod tests;

pub use error::TapError;
pub use stats::TapStats;

use super::pace::Pace;
use super::payloads::Copies;
use super::record::TapCopy;
use super::waiter::Waiter;
use super::{Attachment, Record, SESSION_INTERVAL};
use crate::crash;
use crate::deadline::Deadline;
use crate::error::{Error, Result};
use crate::info::MonotonicTime;
use crate::lane::LaneInfo;
use crate::layout::LaneState;
use crate::link::{Fate, Link};
use crate::memory::{LaneMap, SeatMap};
use crate::os::clock::coarse_now;
use crate::os::fork::{ForkGuard, Shortcut};
use crate::os::interrupt::Interrupter;
use crate::os::spin::{Spins, has_one_processor};
use crate::ring::cursor::{Found, Polled};
use crate::ring::sleep::Sleeps;
use crate::ring::stamp::Stamped;
use crate::ring::tap::{TapReader, Wish};
use crate::wire::SeatKind;
use rustix::fd::{AsFd, BorrowedFd};
use std::mem;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How often one call copies the newest record before it gives up on a producer that overwrites each of them.
const NEWEST_COPIES_MAX: u32 = 4;
/// The peeks at `published` alone with which a wait begins.
const PEEKS_MAX: u32 = 32;
/// The looks in a row after which a spinning wait also looks at the session.
const LOOKS_PER_SESSION: u32 = 4096;

/// The lossy reading end of a lane: a reader that the lane never waits for.
///
/// A tap receives records in order, once, and whole, as long as it keeps up. If the producer has overwritten the next
/// record, a call returns [`TapError::Lagged`] with the number of bytes that were missed, and the next call goes on
/// from the newest record. [`receive_newest`](Self::receive_newest) skips everything but the newest record, for readers
/// such as displays and control loops.
///
/// A lane never waits for a tap, whether it reads, sleeps, or is stopped. Its producer looks at it once for each
/// publication, which takes some tenths of a nanosecond. If it sleeps, its bell is rung, at a limited rate. Any number
/// of taps can read a lane alongside its consumers, which lose nothing because of them. A payload is copied out, and
/// the copy is returned only if the record had not been overwritten by the time the copy was complete.
///
/// A tap can still read a record until the producer has written about 15/16 of the ring's capacity after it, minus the
/// length of the record being written. A record longer than 15/32 of the ring may be overwritten before any tap has
/// copied it: use a larger ring.
///
/// ```
/// use fdring::{Producer, Server, Tap, errors::TapError};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut camera = Producer::create("camera")?;
/// let server = Server::listen("@doc-tap", [&camera])?;
///
/// // Usually in another process:
/// let mut viewer = Tap::connect("@doc-tap")?;
/// # (0..100_u8).try_for_each(|number| camera.send(&[number; 1000]))?;
/// # camera.finish();
/// loop {
///     match viewer.receive_newest() {
///         Ok(Some(frame)) => println!("{} bytes", frame.len()),
///         Ok(None) => break,
///         Err(TapError::Lagged { .. }) => {} // the camera was quicker
///         Err(error) => return Err(error.into()),
///     }
/// }
/// println!("{} bytes were not looked at", viewer.missed_bytes());
/// # assert_eq!(viewer.missed_bytes(), 99 * 1008);
/// # Ok(())
/// # }
/// ```
///
/// [`Session::tap`](crate::Session::tap) taps several lanes of one session;
/// [`Session::attach_and_tap`](crate::Session::attach_and_tap) mixes consumers and taps. A tap is `Send` and `Sync`. It
/// can be moved to another thread.
#[derive(Debug)]
#[must_use = "dropping a tap leaves its lane; keep it in a variable"]
#[doc(alias("subscriber", "observer", "viewer", "lossy"))]
pub struct Tap {
    // Dropped in this order: the ring, then the seat, then the session.
    reader: TapReader<LaneMap, SeatMap>,
    waiter: Waiter,
    guard: ForkGuard,
    /// Also closed if records have times.
    shortcut: Shortcut,
    copies: Copies,
    /// What is known of the last record.
    copied: TapCopy,
    pace: Pace,
    spin: Duration,
    spins: Spins,
    /// The time of the next look at the session by a caller that never sleeps, on the coarse clock.
    session_due: Duration,
    info: LaneInfo,
}

impl Tap {
    /// A tap of the attached lane.
    ///
    /// # Errors
    ///
    /// If the process is out of descriptors.
    pub(crate) fn new(attachment: Attachment, link: Arc<Link>, guard: ForkGuard) -> Result<Self> {
        let Attachment { terms, lane, seat, bell, barrier, start, spin, .. } = attachment;
        seat.introduce(SeatKind::Lossy, start);
        let waiter = Waiter::new(link, bell, barrier)
            .map_err(|errno| Error::os(format!("watch the bell and the session of lane {}", terms.name))(errno))?;
        Ok(Self {
            reader: TapReader::new(lane, seat, start),
            waiter: waiter.of_tap(),
            guard,
            shortcut: guard.shortcut(!terms.is_stamped),
            copies: Copies::new(),
            copied: TapCopy { time: None, payload_align: terms.geometry.payload_align() },
            pace: Pace::new(terms.geometry.capacity()),
            spin,
            spins: Spins::default(),
            session_due: coarse_now() + SESSION_INTERVAL,
            info: LaneInfo::new(&terms),
        })
    }

    /// Has an interrupter end the waits of this tap.
    ///
    /// # Errors
    ///
    /// If the kernel cannot watch it.
    pub(crate) fn watch_interrupter(&mut self, interrupter: &Interrupter) -> Result<()> {
        self.waiter
            .watch_interrupter(interrupter)
            .map_err(Error::os(format!("watch the interrupter of lane {}", self.info.name)))
    }

    /// A tap that its producer knows nothing of. Nobody rings its bell, so it naps.
    ///
    /// # Errors
    ///
    /// As for [`new`](Self::new).
    pub(crate) fn unrung(attachment: Attachment, link: Arc<Link>, guard: ForkGuard) -> Result<Self> {
        let mut tap = Self::new(attachment, link, guard)?;
        tap.waiter.expect_no_rings();
        Ok(tap)
    }

    /// The next record. Waits until there is one. `None` is the end of the stream: the producer finished the lane.
    ///
    /// ```
    /// # use fdring::{Producer, Server, Tap};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut camera = Producer::create("camera")?;
    /// # let server = Server::listen("@doc-tap-receive", [&camera])?;
    /// # let mut tap = Tap::connect("@doc-tap-receive")?;
    /// camera.send(b"frame")?;
    /// camera.finish();
    ///
    /// assert_eq!(&tap.receive()?.unwrap()[..], b"frame");
    /// assert!(tap.receive()?.is_none());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`TapError::Lagged`] if the producer has overwritten the next record; the next call goes on from the newest
    /// - [`TapError::Abandoned`] if the producer gave up or panicked
    /// - [`TapError::PeerDead`] if the producer died
    /// - [`TapError::HungUp`] if the producer hung up unexpectedly and is not known to have died
    /// - [`TapError::Refused`] or [`TapError::Peer`] if the producer refused to go on, or broke the session's protocol
    /// - [`TapError::Closed`] if the producer's process closed the session
    /// - [`TapError::Corrupt`] if the producer broke the protocol
    /// - [`TapError::Interrupted`] if an [`Interrupter`] ended the wait
    /// - [`TapError::Wait`] if the kernel does not let this thread wait
    /// - [`TapError::Forked`] in a forked child
    #[inline]
    pub fn receive(&mut self) -> Result<Option<Record<'_>>, TapError> {
        self.receive_until(Deadline::Never)
    }

    /// The next record, if it is already published. Never sleeps. `None` is the end of the stream.
    ///
    /// In a busy stream it may spin for up to 3.6 µs, to leave the producer's cache line alone. Calls that find nothing
    /// check whether the producer is alive, but no more often than once every 5 to 10 ms.
    ///
    /// ```
    /// # use fdring::{Producer, Server, Tap};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut camera = Producer::create("camera")?;
    /// # let server = Server::listen("@doc-tap-try", [&camera])?;
    /// # let mut tap = Tap::connect("@doc-tap-try")?;
    /// use fdring::errors::TapError;
    ///
    /// assert_eq!(tap.try_receive().unwrap_err(), TapError::Empty);
    /// camera.send(b"frame")?;
    /// assert_eq!(&tap.try_receive()?.unwrap()[..], b"frame");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`TapError::Empty`] if there is no unread record yet
    /// - [`TapError::Lagged`] if the producer has overwritten the next record; the next call goes on from the newest
    /// - [`TapError::Abandoned`] if the producer gave up or panicked
    /// - [`TapError::PeerDead`] if the producer died
    /// - [`TapError::HungUp`] if the producer hung up unexpectedly and is not known to have died
    /// - [`TapError::Refused`] or [`TapError::Peer`] if the producer refused to go on, or broke the session's protocol
    /// - [`TapError::Closed`] if the producer's process closed the session
    /// - [`TapError::Corrupt`] if the producer broke the protocol
    /// - [`TapError::Forked`] in a forked child
    #[inline]
    pub fn try_receive(&mut self) -> Result<Option<Record<'_>>, TapError> {
        self.receive_until(Deadline::Now)
    }

    /// Like [`receive`](Self::receive), but waits at most `timeout`.
    ///
    /// ```
    /// # use fdring::{Producer, Server, Tap};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut camera = Producer::create("camera")?;
    /// # let server = Server::listen("@doc-tap-timeout", [&camera])?;
    /// # let mut tap = Tap::connect("@doc-tap-timeout")?;
    /// use fdring::errors::TapError;
    /// use std::time::Duration;
    ///
    /// let patience = Duration::from_millis(10);
    /// assert_eq!(tap.receive_timeout(patience).unwrap_err(), TapError::TimedOut);
    /// camera.send(b"frame")?;
    /// assert!(tap.receive_timeout(patience)?.is_some());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`TapError::TimedOut`] if no record came within `timeout`
    /// - [`TapError::Lagged`] if the producer has overwritten the next record; the next call goes on from the newest
    /// - [`TapError::Abandoned`] if the producer gave up or panicked
    /// - [`TapError::PeerDead`] if the producer died
    /// - [`TapError::HungUp`] if the producer hung up unexpectedly and is not known to have died
    /// - [`TapError::Refused`] or [`TapError::Peer`] if the producer refused to go on, or broke the session's protocol
    /// - [`TapError::Closed`] if the producer's process closed the session
    /// - [`TapError::Corrupt`] if the producer broke the protocol
    /// - [`TapError::Interrupted`] if an [`Interrupter`] ended the wait
    /// - [`TapError::Wait`] if the kernel does not let this thread wait
    /// - [`TapError::Forked`] in a forked child
    pub fn receive_timeout(&mut self, timeout: Duration) -> Result<Option<Record<'_>>, TapError> {
        self.receive_until(Deadline::after(timeout))
    }

    /// Like [`receive`](Self::receive), but waits only until `deadline`, which several calls can share.
    ///
    /// ```
    /// # use fdring::{Producer, Server, Tap};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut camera = Producer::create("camera")?;
    /// # let server = Server::listen("@doc-tap-deadline", [&camera])?;
    /// # let mut tap = Tap::connect("@doc-tap-deadline")?;
    /// use fdring::errors::TapError;
    /// use std::time::{Duration, Instant};
    ///
    /// camera.send(b"frame")?;
    /// let deadline = Instant::now() + Duration::from_millis(20);
    /// assert!(tap.receive_deadline(deadline)?.is_some());
    /// assert_eq!(tap.receive_deadline(deadline).unwrap_err(), TapError::TimedOut);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`TapError::TimedOut`] if no record came before `deadline`
    /// - [`TapError::Lagged`] if the producer has overwritten the next record; the next call goes on from the newest
    /// - [`TapError::Abandoned`] if the producer gave up or panicked
    /// - [`TapError::PeerDead`] if the producer died
    /// - [`TapError::HungUp`] if the producer hung up unexpectedly and is not known to have died
    /// - [`TapError::Refused`] or [`TapError::Peer`] if the producer refused to go on, or broke the session's protocol
    /// - [`TapError::Closed`] if the producer's process closed the session
    /// - [`TapError::Corrupt`] if the producer broke the protocol
    /// - [`TapError::Interrupted`] if an [`Interrupter`] ended the wait
    /// - [`TapError::Wait`] if the kernel does not let this thread wait
    /// - [`TapError::Forked`] in a forked child
    pub fn receive_deadline(&mut self, deadline: Instant) -> Result<Option<Record<'_>>, TapError> {
        self.receive_until(Deadline::At(deadline))
    }

    /// The newest record, if this tap has not received it yet. Waits for one otherwise. `None` is the end of the
    /// stream.
    ///
    /// Everything before it is skipped, and counts as [missed](Self::missed_bytes).
    ///
    /// ```
    /// # use fdring::{Producer, Server, Tap};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut camera = Producer::create("camera")?;
    /// # let server = Server::listen("@doc-tap-newest", [&camera])?;
    /// # let mut tap = Tap::connect("@doc-tap-newest")?;
    /// camera.send(b"first")?;
    /// camera.send(b"second")?;
    /// camera.finish();
    ///
    /// assert_eq!(&tap.receive_newest()?.unwrap()[..], b"second");
    /// assert!(tap.receive_newest()?.is_none());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`TapError::Lagged`] if the producer overwrote the newest record during each of several copies in a row
    /// - [`TapError::Abandoned`] if the producer gave up or panicked
    /// - [`TapError::PeerDead`] if the producer died
    /// - [`TapError::HungUp`] if the producer hung up unexpectedly and is not known to have died
    /// - [`TapError::Refused`] or [`TapError::Peer`] if the producer refused to go on, or broke the session's protocol
    /// - [`TapError::Closed`] if the producer's process closed the session
    /// - [`TapError::Corrupt`] if the producer broke the protocol
    /// - [`TapError::Interrupted`] if an [`Interrupter`] ended the wait
    /// - [`TapError::Wait`] if the kernel does not let this thread wait
    /// - [`TapError::Forked`] in a forked child
    #[doc(alias("latest"))]
    pub fn receive_newest(&mut self) -> Result<Option<Record<'_>>, TapError> {
        self.receive_newest_until(Deadline::Never)
    }

    /// The newest record, if this tap has not received it yet. Never sleeps. `None` is the end of the stream.
    ///
    /// ```
    /// # use fdring::{Producer, Server, Tap};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut camera = Producer::create("camera")?;
    /// # let server = Server::listen("@doc-tap-try-newest", [&camera])?;
    /// # let mut tap = Tap::connect("@doc-tap-try-newest")?;
    /// use fdring::errors::TapError;
    ///
    /// camera.send(b"first")?;
    /// camera.send(b"second")?;
    /// assert_eq!(&tap.try_receive_newest()?.unwrap()[..], b"second");
    /// assert_eq!(tap.try_receive_newest().unwrap_err(), TapError::Empty);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`TapError::Empty`] if there is no unread record yet
    /// - [`TapError::Lagged`] if the producer overwrote the newest record during each of several copies in a row
    /// - [`TapError::Abandoned`] if the producer gave up or panicked
    /// - [`TapError::PeerDead`] if the producer died
    /// - [`TapError::HungUp`] if the producer hung up unexpectedly and is not known to have died
    /// - [`TapError::Refused`] or [`TapError::Peer`] if the producer refused to go on, or broke the session's protocol
    /// - [`TapError::Closed`] if the producer's process closed the session
    /// - [`TapError::Corrupt`] if the producer broke the protocol
    /// - [`TapError::Forked`] in a forked child
    pub fn try_receive_newest(&mut self) -> Result<Option<Record<'_>>, TapError> {
        self.receive_newest_until(Deadline::Now)
    }

    /// Like [`receive_newest`](Self::receive_newest), but waits at most `timeout`.
    ///
    /// ```
    /// # use fdring::{Producer, Server, Tap};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut camera = Producer::create("camera")?;
    /// # let server = Server::listen("@doc-tap-newest-timeout", [&camera])?;
    /// # let mut tap = Tap::connect("@doc-tap-newest-timeout")?;
    /// use std::time::Duration;
    ///
    /// camera.send(b"first")?;
    /// camera.send(b"second")?;
    /// let newest = tap.receive_newest_timeout(Duration::from_secs(1))?.unwrap();
    /// assert_eq!(&newest[..], b"second");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`TapError::TimedOut`] if no record came within `timeout`
    /// - [`TapError::Lagged`] if the producer overwrote the newest record during each of several copies in a row
    /// - [`TapError::Abandoned`] if the producer gave up or panicked
    /// - [`TapError::PeerDead`] if the producer died
    /// - [`TapError::HungUp`] if the producer hung up unexpectedly and is not known to have died
    /// - [`TapError::Refused`] or [`TapError::Peer`] if the producer refused to go on, or broke the session's protocol
    /// - [`TapError::Closed`] if the producer's process closed the session
    /// - [`TapError::Corrupt`] if the producer broke the protocol
    /// - [`TapError::Interrupted`] if an [`Interrupter`] ended the wait
    /// - [`TapError::Wait`] if the kernel does not let this thread wait
    /// - [`TapError::Forked`] in a forked child
    pub fn receive_newest_timeout(&mut self, timeout: Duration) -> Result<Option<Record<'_>>, TapError> {
        self.receive_newest_until(Deadline::after(timeout))
    }

    /// Like [`receive_newest`](Self::receive_newest), but waits only until `deadline`.
    ///
    /// ```
    /// # use fdring::{Producer, Server, Tap};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut camera = Producer::create("camera")?;
    /// # let server = Server::listen("@doc-tap-newest-deadline", [&camera])?;
    /// # let mut tap = Tap::connect("@doc-tap-newest-deadline")?;
    /// use fdring::errors::TapError;
    /// use std::time::{Duration, Instant};
    ///
    /// // A control loop that runs every 5 ms, with the newest measurement if there is one:
    /// let deadline = Instant::now() + Duration::from_millis(5);
    /// match tap.receive_newest_deadline(deadline) {
    ///     Ok(Some(record)) => println!("{} bytes", record.len()),
    ///     Err(TapError::TimedOut) => println!("nothing new"),
    ///     other => panic!("{other:?}"),
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`TapError::TimedOut`] if no record came before `deadline`
    /// - [`TapError::Lagged`] if the producer overwrote the newest record during each of several copies in a row
    /// - [`TapError::Abandoned`] if the producer gave up or panicked
    /// - [`TapError::PeerDead`] if the producer died
    /// - [`TapError::HungUp`] if the producer hung up unexpectedly and is not known to have died
    /// - [`TapError::Refused`] or [`TapError::Peer`] if the producer refused to go on, or broke the session's protocol
    /// - [`TapError::Closed`] if the producer's process closed the session
    /// - [`TapError::Corrupt`] if the producer broke the protocol
    /// - [`TapError::Interrupted`] if an [`Interrupter`] ended the wait
    /// - [`TapError::Wait`] if the kernel does not let this thread wait
    /// - [`TapError::Forked`] in a forked child
    pub fn receive_newest_deadline(&mut self, deadline: Instant) -> Result<Option<Record<'_>>, TapError> {
        self.receive_newest_until(Deadline::At(deadline))
    }

    /// The facts of the lane: name, capacity, alignments, schema.
    ///
    /// ```
    /// # use fdring::{Producer, Server, Tap};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut camera = Producer::create("camera")?;
    /// # let server = Server::listen("@doc-tap-lane", [&camera])?;
    /// # let mut tap = Tap::connect("@doc-tap-lane")?;
    /// assert_eq!(tap.lane().name, "camera");
    /// # assert_eq!(tap.lane(), camera.lane());
    /// # Ok(())
    /// # }
    /// ```
    pub fn lane(&self) -> &LaneInfo {
        &self.info
    }

    /// The position of the next record, in bytes since the lane was created, headers and padding included.
    ///
    /// ```
    /// # use fdring::{Producer, Server, Tap};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut camera = Producer::create("camera")?;
    /// # let server = Server::listen("@doc-tap-position", [&camera])?;
    /// # let mut tap = Tap::connect("@doc-tap-position")?;
    /// camera.send(b"frame")?;
    /// assert_eq!(tap.position(), 0);
    /// tap.receive()?;
    /// assert_eq!(tap.position(), camera.published());
    /// # Ok(())
    /// # }
    /// ```
    pub fn position(&self) -> u64 {
        self.reader.position()
    }

    /// The bytes that this tap has missed since it began, headers and padding included: because it was too late, or
    /// because [`receive_newest`](Self::receive_newest) skipped them.
    ///
    /// ```
    /// # use fdring::{Producer, Server, Tap};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut camera = Producer::create("camera")?;
    /// # let server = Server::listen("@doc-tap-missed", [&camera])?;
    /// # let mut tap = Tap::connect("@doc-tap-missed")?;
    /// camera.send(b"first")?;
    /// camera.send(b"second")?;
    /// tap.receive_newest()?;
    /// assert_eq!(tap.missed_bytes(), 16); // 8 bytes of header, 5 of payload, 3 of padding
    /// # Ok(())
    /// # }
    /// ```
    pub fn missed_bytes(&self) -> u64 {
        self.reader.missed_bytes()
    }

    /// Whether the next receiving call will return at once, with a record or an error. This method consumes nothing,
    /// and looks at the lane no more often than a receiving call would.
    ///
    /// `false` is not final: [`arm`](Self::arm) also sees the end of the lane and of the session. This method is for
    /// futures, which cannot keep a borrowed record while they find out whether to wait.
    ///
    /// ```
    /// # use fdring::{Producer, Server, Tap};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut camera = Producer::create("camera")?;
    /// # let server = Server::listen("@doc-tap-has-news", [&camera])?;
    /// # let mut tap = Tap::connect("@doc-tap-has-news")?;
    /// assert!(!tap.has_news());
    /// camera.send(b"frame")?;
    /// assert!(tap.has_news());
    /// assert_eq!(&tap.try_receive_newest()?.unwrap()[..], b"frame");
    /// # Ok(())
    /// # }
    /// ```
    #[inline]
    pub fn has_news(&mut self) -> bool {
        self.reader.unread() != 0 || self.poll_for_news()
    }

    /// Prepares a wait in the caller's event loop, as [`Consumer::arm`](crate::Consumer::arm) does: try until
    /// [`TapError::Empty`], call `arm`, and if it returns `true`, wait until the descriptor of [`as_fd`](Self::as_fd)
    /// is readable.
    ///
    /// ```
    /// # use fdring::{Producer, Server, Tap};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut camera = Producer::create("camera")?;
    /// # let server = Server::listen("@doc-tap-arm", [&camera])?;
    /// # let mut tap = Tap::connect("@doc-tap-arm")?;
    /// # use rustix::event::{PollFd, PollFlags, poll};
    /// # use fdring::errors::TapError;
    /// # camera.send(b"frame")?;
    /// # camera.finish();
    /// loop {
    ///     match tap.try_receive() {
    ///         Ok(Some(record)) => assert_eq!(&record[..], b"frame"),
    ///         Ok(None) => break,
    ///         Err(TapError::Empty) => {
    ///             if tap.arm()? {
    ///                 poll(&mut [PollFd::new(&tap, PollFlags::IN)], None)?;
    ///             }
    ///         }
    ///         Err(TapError::Lagged { .. }) => {}
    ///         Err(error) => return Err(error.into()),
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`TapError::Interrupted`] if there is no news, and an [`Interrupter`] has ended all waits
    /// - [`TapError::Wait`] if the kernel cannot provide a descriptor or timer for the wait
    /// - [`TapError::Forked`] in a forked child
    pub fn arm(&mut self) -> Result<bool, TapError> {
        self.check_fork()?;
        let armed = self.waiter.arm_elsewhere(&mut self.reader, None);
        match armed.map_err(|errno| TapError::Wait(errno.raw_os_error()))? {
            true if self.waiter.is_interrupted() => Err(TapError::Interrupted),
            armed => Ok(armed),
        }
    }

    /// What it belongs to.
    pub(super) fn session(&self) -> (ForkGuard, &Waiter) {
        (self.guard, &self.waiter)
    }

    fn check_fork(&self) -> Result<(), TapError> {
        if self.guard.is_child() { Err(TapError::Forked) } else { Ok(()) }
    }

    #[inline(always)]
    fn receive_until(&mut self, deadline: Deadline) -> Result<Option<Record<'_>>, TapError> {
        if self.shortcut.is_closed() {
            return self.receive_stamped(deadline);
        }
        // As for a consumer: what a closer look found does not share its place in memory with what is in view, whose
        // words would be stored one by one and loaded in pairs (15 ns a record).
        match self.reader.next_in_view() {
            Some(found) => Ok(Some(self.record::<false>(found)?)),
            None => self.receive_closely(deadline),
        }
    }

    #[inline(never)]
    fn receive_closely(&mut self, deadline: Deadline) -> Result<Option<Record<'_>>, TapError> {
        match self.find_closely(Wish::Next, deadline)? {
            Some(found) => Ok(Some(self.record::<false>(found)?)),
            None => Ok(None),
        }
    }

    /// The next record with its time, if there is no shortcut.
    #[cold]
    #[inline(never)]
    fn receive_stamped(&mut self, deadline: Deadline) -> Result<Option<Record<'_>>, TapError> {
        // In a forked child there is no ring to look at.
        self.check_fork()?;
        match self.find_next(deadline)? {
            Some(found) => Ok(Some(self.record::<true>(found)?)),
            None => Ok(None),
        }
    }

    fn receive_newest_until(&mut self, deadline: Deadline) -> Result<Option<Record<'_>>, TapError> {
        let copied = if self.shortcut.is_closed() {
            self.check_fork()?;
            self.copy_newest::<true>(deadline)?
        } else {
            self.copy_newest::<false>(deadline)?
        };
        Ok(copied.map(|found| Record::copied(found, self.copies.payload(found), &self.copied)))
    }

    /// The newest record, copied out: another try if it was overwritten meanwhile, for then there is a newer one.
    fn copy_newest<const STAMPED: bool>(&mut self, deadline: Deadline) -> Result<Option<Found>, TapError> {
        let mut passed_over = 0;
        for _ in 0..NEWEST_COPIES_MAX {
            let copied = match self.find_closely(Wish::Newest, deadline) {
                Ok(Some(found)) => self.record::<STAMPED>(found).map(|_| Some(found)),
                outcome => outcome,
            };
            match copied {
                Err(TapError::Lagged { missed_bytes }) => passed_over += missed_bytes,
                outcome => return outcome,
            }
        }
        Err(TapError::Lagged { missed_bytes: passed_over })
    }

    /// The number of records read so far.
    #[cfg(feature = "tokio")]
    #[inline(always)]
    pub(crate) fn records_read(&self) -> u64 {
        self.reader.records()
    }

    /// The next record, if only its header needs a look; see [`record_in_view`](Self::record_in_view).
    #[cfg(feature = "tokio")]
    #[inline(always)]
    pub(crate) fn next_in_view(&mut self) -> Option<Found> {
        if self.shortcut.is_closed() { None } else { self.reader.next_in_view() }
    }

    /// The record that [`next_in_view`](Self::next_in_view) has found, copied out.
    #[cfg(feature = "tokio")]
    #[inline(always)]
    pub(crate) fn record_in_view(&mut self, found: Found) -> Result<Record<'_>, TapError> {
        self.record::<false>(found)
    }

    /// Like [`try_receive`](Self::try_receive), for a caller that has [`record_closely`](Self::record_closely) hand it
    /// out.
    #[cfg(feature = "tokio")]
    pub(crate) fn try_find(&mut self) -> Result<Option<Found>, TapError> {
        self.check_fork()?;
        self.find_next(Deadline::Now)
    }

    /// The record that [`try_find`](Self::try_find) has found, copied out, with its time if it has one.
    #[cfg(feature = "tokio")]
    pub(crate) fn record_closely(&mut self, found: Found) -> Result<Record<'_>, TapError> {
        if self.shortcut.is_closed() { self.record::<true>(found) } else { self.record::<false>(found) }
    }

    /// The record that was found, copied out, if it is whole then.
    #[inline(always)]
    fn record<const STAMPED: bool>(&mut self, found: Found) -> Result<Record<'_>, TapError> {
        crash::point!("tap-record-found");
        let ring = self.reader.lane().ring();
        let payload = if STAMPED {
            let reader = Stamped::new(&self.reader);
            let payload = self.copies.copy(&reader, ring, found);
            self.copied.time = Some(MonotonicTime::from_nanos(reader.stamp()));
            payload
        } else {
            self.copies.copy(&self.reader, ring, found)
        };
        match payload {
            Some(payload) => Ok(Record::copied(found, payload, &self.copied)),
            None => Err(self.reader.lost(found).into()),
        }
    }

    /// The next record, by polling and waiting until `deadline`. `None` at the end.
    #[inline]
    fn find_next(&mut self, deadline: Deadline) -> Result<Option<Found>, TapError> {
        match self.reader.next_in_view() {
            Some(found) => Ok(Some(found)),
            None => self.find_closely(Wish::Next, deadline),
        }
    }

    /// The record that is asked for, by polling and waiting until `deadline`. `None` at the end.
    #[inline(never)]
    fn find_closely(&mut self, wish: Wish, deadline: Deadline) -> Result<Option<Found>, TapError> {
        let peeks = if wish == Wish::Next { self.peek_for_news(deadline) } else { None };
        let waits = deadline != Deadline::Now;
        loop {
            let mut spins = mem::take(&mut self.spins);
            let seen = spins.spin_until(self.spin, deadline, |looks| self.poll_in_spin(wish, looks, waits));
            self.spins = spins;
            match seen {
                Some(Ok(Polled::Found(found))) => {
                    if let Some(peeks) = peeks {
                        self.pace.note_found(peeks, self.reader.unread());
                    }
                    return Ok(Some(found));
                }
                Some(Ok(_)) => return Ok(None),
                Some(Err(error)) => return Err(error),
                None => {}
            }
            if !waits {
                self.look_at_session_if_due();
                return self.last_poll(wish, TapError::Empty);
            }
            if deadline.has_passed() {
                self.waiter.harvest(&self.reader);
                return self.last_poll(wish, TapError::TimedOut);
            }
            let slept = self.waiter.sleep(&mut self.reader, deadline);
            slept.map_err(|errno| TapError::Wait(errno.raw_os_error()))?;
        }
    }

    /// Waits until a look is worthwhile in a busy stream; then, if the call waits, for about a microsecond for
    /// something to be published. Returns the number of peeks in vain before that, if it was.
    fn peek_for_news(&mut self, deadline: Deadline) -> Option<u32> {
        if self.reader.unread() != 0 || self.spin.is_zero() || has_one_processor() {
            return None;
        }
        self.pace.put_off();
        let peeks_max = if deadline == Deadline::Now { 1 } else { PEEKS_MAX };
        for peeks in 0..peeks_max {
            if self.reader.has_news() {
                return Some(peeks);
            }
            std::hint::spin_loop();
        }
        if deadline != Deadline::Now {
            self.pace.note_lull();
        }
        None
    }

    /// Whether `published` has moved on. Takes back an announcement then, as a poll does that finds a record.
    #[inline(never)]
    fn poll_for_news(&mut self) -> bool {
        // In a forked child there is no ring to look at, and the next call says so.
        let has_news = self.guard.is_child() || self.peek_for_news(Deadline::Now).is_some() || self.reader.has_news();
        if has_news {
            self.waiter.disarm(&self.reader);
        }
        has_news
    }

    /// One poll of a spinning wait, or of a call that does not wait; `None` if it found nothing, and the wait goes on.
    fn poll_in_spin(&mut self, wish: Wish, looks: u32, waits: bool) -> Option<Result<Polled, TapError>> {
        if looks % LOOKS_PER_SESSION == LOOKS_PER_SESSION - 1 {
            self.look_at_session_if_due();
        }
        match self.poll(wish) {
            Ok(Polled::Empty) => (waits && self.waiter.is_interrupted()).then_some(Err(TapError::Interrupted)),
            polled => Some(polled),
        }
    }

    /// One more poll if the session is over. Returns what it found, otherwise the error `nothing`.
    fn last_poll(&mut self, wish: Wish, nothing: TapError) -> Result<Option<Found>, TapError> {
        if self.waiter.fate() == Fate::Alive {
            return Err(nothing);
        }
        match self.poll(wish)? {
            Polled::Found(found) => Ok(Some(found)),
            Polled::Ended(_) => Ok(None),
            Polled::Empty => Err(nothing),
        }
    }

    /// Whether there is a record, or the end.
    fn poll(&mut self, wish: Wish) -> Result<Polled, TapError> {
        match self.reader.poll_to_end(wish, || self.waiter.fate() != Fate::Alive)? {
            Polled::Found(found) => {
                self.waiter.disarm(&self.reader);
                Ok(Polled::Found(found))
            }
            Polled::Ended(state) => match (state, self.waiter.fate()) {
                (LaneState::Finished, _) => Ok(Polled::Ended(state)),
                (LaneState::Abandoned, _) => Err(TapError::Abandoned),
                // A tap gates nothing, so the end of its seat makes no difference.
                (LaneState::Open, Fate::Closed | Fate::Evicted) => Err(TapError::Closed),
                (LaneState::Open, Fate::HungUp) if !self.waiter.link().has_died() => Err(TapError::HungUp),
                (LaneState::Open, Fate::Broken) => Err(TapError::broken(self.waiter.link().last_words())),
                (LaneState::Open, _) => Err(TapError::PeerDead),
            },
            Polled::Empty => Ok(Polled::Empty),
        }
    }

    /// Checks that the producer is alive, at most once per [`SESSION_INTERVAL`]: for callers that never sleep.
    fn look_at_session_if_due(&mut self) {
        let now = coarse_now();
        if now >= self.session_due {
            self.session_due = now + SESSION_INTERVAL;
            self.waiter.harvest(&self.reader);
        }
    }
}

impl AsFd for Tap {
    /// The descriptor that [`arm`](Self::arm) prepares.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.waiter.as_fd()
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        if !self.guard.is_child() {
            crash::point!("tap-leaving");
            self.reader.leave();
        }
    }
}
