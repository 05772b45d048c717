//! Descriptors that go with records: sent to each consumer that asked for them, before their record is published.
//!
//! The invariant: each consumer that has a seat when a record is published, and asked for descriptors, was sent those
//! of this record, or is sent none any more (design invariant 23). What fails, fails before publication.
//!
//! A frame is sent to all of them, or to none: first each of their queues has room. Else an attempt that fails again
//! and again would fill the queues of some with frames that nobody can take before the record is published.
//!
//! What this file does not do: that nobody joins between the last frame and the publication is seen to by
//! [`publisher`](crate::ring::publisher).

use super::waits::{Judged, is_raised};
use super::{Producer, Reservation, SendError};
use crate::crash;
use crate::deadline::{Deadline, timespec};
use crate::fds::to_table;
use crate::lane::{ConsumerInfo, Lane, SeatHandle};
use crate::os::fd_sender::{FdSender, Sent};
use crate::os::interrupt::Interrupter;
use crate::ring::roster::{Seat, SeatPort};
use crate::ring::writer::{Claim, Room};
use crate::trace::event;
use crate::wire::{Attachments, Frame};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The pauses between tries while too many descriptors of this user are in flight.
static IN_FLIGHT_PAUSES: [Duration; 4] =
    [Duration::from_millis(1), Duration::from_millis(3), Duration::from_millis(6), Duration::from_millis(10)];

/// What a producer knows of the descriptors that it has sent.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    /// How many records with descriptors were published.
    published: u64,
    /// The seats that left frames untaken when there was no room for more.
    untaken: Vec<Untaken>,
}

/// What a seat has left untaken.
#[derive(Debug)]
struct Untaken {
    seat_id: u64,
    /// When that was noted, or when an eighth of the queue was taken last.
    since: Instant,
    /// What was in the queue then, in bytes of its buffer.
    queued_bytes: usize,
}

impl Outbox {
    /// Since when this seat has been leaving frames untaken, which is found at `now`.
    fn untaken_since(&mut self, seat_id: u64, sender: &FdSender, now: Instant) -> Instant {
        let queued_bytes = sender.queued_bytes().unwrap_or(sender.buffer_bytes());
        match self.untaken.iter_mut().find(|untaken| untaken.seat_id == seat_id) {
            Some(untaken) => {
                if queued_bytes + sender.buffer_bytes() / 8 <= untaken.queued_bytes {
                    *untaken = Untaken { seat_id, since: now, queued_bytes };
                }
                untaken.since
            }
            None => {
                self.untaken.push(Untaken { seat_id, since: now, queued_bytes });
                now
            }
        }
    }
}

/// A filled [`Reservation`] with descriptors. [`Reservation::attach`] makes it, [`commit`](Self::commit) publishes it.
///
/// Dropping it discards the record and closes the descriptors. So does the drop after a commit: each consumer has
/// duplicates of its own.
///
/// ```
/// # use fdring::{Attach, Server, Session, options::LaneOptions};
/// # use std::fs::File;
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let mut files = LaneOptions::new("files").attachments(2).create()?;
/// # let server = Server::listen("@doc-attached-reservation", [&files])?;
/// # let mut consumer = Session::connect("@doc-attached-reservation")?.attach_one(Attach::new().attachments(true))?;
/// let mut slot = files.reserve(11)?;
/// slot.copy_from_slice(b"input, rows");
/// let (input, rows) = (File::open("/dev/null")?, File::open("/dev/zero")?);
/// slot.attach(input).attach(rows).commit()?;
///
/// let record = consumer.receive()?.unwrap();
/// assert_eq!((&record[..], record.take_fds()?.len()), (&b"input, rows"[..], 2));
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "a reservation that is not committed is discarded"]
pub struct AttachedReservation<'a> {
    reservation: Reservation<'a>,
    fds: Vec<OwnedFd>,
    /// The seats that have got them.
    served: Vec<u64>,
    /// Where the record ends, once it is published.
    end: Option<u64>,
}

impl<'a> Reservation<'a> {
    /// Attaches a descriptor to the record, on a lane that was created with
    /// [`LaneOptions::attachments`](crate::options::LaneOptions::attachments). Fill the record first: its bytes can no
    /// longer be changed.
    ///
    /// ```
    /// # use fdring::options::LaneOptions;
    /// # use std::fs::File;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let mut files = LaneOptions::new("files").attachments(1).create()?;
    /// let mut slot = files.reserve(4)?;
    /// slot.copy_from_slice(b"null");
    /// slot.attach(File::open("/dev/null")?).commit()?;
    /// assert_eq!(files.published(), 16);
    /// # Ok(())
    /// # }
    /// ```
    pub fn attach(self, fd: impl Into<OwnedFd>) -> AttachedReservation<'a> {
        AttachedReservation { reservation: self, fds: vec![fd.into()], served: Vec::new(), end: None }
    }
}

impl AttachedReservation<'_> {
    /// Attaches another descriptor. No effect on a record that is published.
    ///
    /// ```
    /// # use fdring::options::LaneOptions;
    /// # use std::fs::File;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let mut files = LaneOptions::new("files").attachments(253).create()?;
    /// let mut slot = files.reserve(0)?.attach(File::open("/dev/null")?);
    /// for _ in 0..9 {
    ///     slot = slot.attach(File::open("/dev/zero")?);
    /// }
    /// assert_eq!(slot.fd_count(), 10);
    /// # Ok(())
    /// # }
    /// ```
    pub fn attach(mut self, fd: impl Into<OwnedFd>) -> Self {
        self.fds.push(fd.into());
        // A consumer that has got the others gets all of them anew.
        self.served.clear();
        self
    }

    /// The number of descriptors that are attached.
    ///
    /// ```
    /// # use fdring::options::LaneOptions;
    /// # use std::fs::File;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut files = LaneOptions::new("files").attachments(1).create()?;
    /// let slot = files.reserve(0)?.attach(File::open("/dev/null")?);
    /// assert_eq!(slot.fd_count(), 1);
    /// # Ok(())
    /// # }
    /// ```
    pub fn fd_count(&self) -> usize {
        self.fds.len()
    }

    /// Sends the descriptors to each consumer that asked for them, and publishes the record. Returns the position after
    /// it, in bytes since the lane was created; a further call returns the same. Waits while a consumer has left too
    /// many descriptors of earlier records untaken.
    ///
    /// Nothing is published if it fails, and the descriptors stay attached: it can be called again.
    ///
    /// A record of a [`Batch`](crate::Batch) is published at once, with the records of the batch before it.
    ///
    /// ```
    /// # use fdring::options::LaneOptions;
    /// # use std::fs::File;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut files = LaneOptions::new("files").attachments(1).create()?;
    /// let mut batch = files.batch()?;
    /// batch.send(b"before")?;
    /// let end = batch.reserve(0)?.attach(File::open("/dev/null")?).commit()?;
    /// batch.send(b"after")?; // not published yet
    /// drop(batch);
    /// assert_eq!(files.published(), end);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`SendError::TooManyAttachments`] if there are more descriptors than
    ///   [`LaneOptions::attachments`](crate::options::LaneOptions::attachments) allows
    /// - [`SendError::TooManyInFlight`] if too many descriptors of this user are in flight
    /// - [`SendError::Attachment`] if the kernel does not send one of the descriptors
    /// - [`SendError::TooSlow`] if a consumer leaves descriptors untaken for longer than
    ///   [`SlowConsumer::Fail`](crate::options::SlowConsumer::Fail) allows; with
    ///   [`SlowConsumer::Evict`](crate::options::SlowConsumer::Evict) it is sent no more descriptors, and keeps its
    ///   seat
    /// - [`SendError::Interrupted`] if an [`Interrupter`] ended the wait
    /// - [`SendError::Forked`] in a forked child
    pub fn commit(&mut self) -> Result<u64, SendError> {
        self.commit_until(Deadline::Never)
    }

    /// Like [`commit`](Self::commit), but never waits for a consumer.
    ///
    /// ```
    /// # use fdring::{Attach, Server, Session, errors::SendError, options::LaneOptions};
    /// # use std::fs::File;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut files = LaneOptions::new("files").attachments(1).create()?;
    /// # let server = Server::listen("@doc-try-commit", [&files])?;
    /// # let consumer = Session::connect("@doc-try-commit")?.attach_one(Attach::new().attachments(true))?;
    /// let error = loop {
    ///     let mut slot = files.reserve(0)?.attach(File::open("/dev/null")?);
    ///     if let Err(error) = slot.try_commit() {
    ///         break error; // the consumer receives nothing
    ///     }
    /// };
    /// assert!(matches!(error, SendError::Untaken { .. }));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`SendError::TooManyAttachments`] if there are more descriptors than
    ///   [`LaneOptions::attachments`](crate::options::LaneOptions::attachments) allows
    /// - [`SendError::TooManyInFlight`] if too many descriptors of this user are in flight
    /// - [`SendError::Attachment`] if the kernel does not send one of the descriptors
    /// - [`SendError::Untaken`] if a consumer has left too many descriptors untaken; it names the consumer
    /// - [`SendError::TooSlow`] if a consumer leaves descriptors untaken for longer than
    ///   [`SlowConsumer::Fail`](crate::options::SlowConsumer::Fail) allows; with
    ///   [`SlowConsumer::Evict`](crate::options::SlowConsumer::Evict) it is sent no more descriptors, and keeps its
    ///   seat
    /// - [`SendError::Forked`] in a forked child
    pub fn try_commit(&mut self) -> Result<u64, SendError> {
        self.commit_until(Deadline::Now)
    }

    /// Like [`commit`](Self::commit), but waits at most `timeout`.
    ///
    /// ```
    /// # use fdring::options::LaneOptions;
    /// # use std::{fs::File, time::Duration};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut files = LaneOptions::new("files").attachments(1).create()?;
    /// let mut slot = files.reserve(0)?.attach(File::open("/dev/null")?);
    /// slot.commit_timeout(Duration::from_secs(1))?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`SendError::TooManyAttachments`] if there are more descriptors than
    ///   [`LaneOptions::attachments`](crate::options::LaneOptions::attachments) allows
    /// - [`SendError::TooManyInFlight`] if too many descriptors of this user are in flight
    /// - [`SendError::Attachment`] if the kernel does not send one of the descriptors
    /// - [`SendError::Untaken`] if a consumer left too many descriptors untaken all the time; it names the consumer
    /// - [`SendError::TooSlow`] if a consumer leaves descriptors untaken for longer than
    ///   [`SlowConsumer::Fail`](crate::options::SlowConsumer::Fail) allows; with
    ///   [`SlowConsumer::Evict`](crate::options::SlowConsumer::Evict) it is sent no more descriptors, and keeps its
    ///   seat
    /// - [`SendError::Interrupted`] if an [`Interrupter`] ended the wait
    /// - [`SendError::Forked`] in a forked child
    pub fn commit_timeout(&mut self, timeout: Duration) -> Result<u64, SendError> {
        self.commit_until(Deadline::after(timeout))
    }

    /// Like [`commit`](Self::commit), but waits only until `deadline`, which several calls can share.
    ///
    /// ```
    /// # use fdring::options::LaneOptions;
    /// # use std::{fs::File, time::{Duration, Instant}};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut files = LaneOptions::new("files").attachments(1).create()?;
    /// let deadline = Instant::now() + Duration::from_secs(1);
    /// let mut slot = files.reserve_deadline(0, deadline)?.attach(File::open("/dev/null")?);
    /// slot.commit_deadline(deadline)?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`SendError::TooManyAttachments`] if there are more descriptors than
    ///   [`LaneOptions::attachments`](crate::options::LaneOptions::attachments) allows
    /// - [`SendError::TooManyInFlight`] if too many descriptors of this user are in flight
    /// - [`SendError::Attachment`] if the kernel does not send one of the descriptors
    /// - [`SendError::Untaken`] if a consumer left too many descriptors untaken all the time; it names the consumer
    /// - [`SendError::TooSlow`] if a consumer leaves descriptors untaken for longer than
    ///   [`SlowConsumer::Fail`](crate::options::SlowConsumer::Fail) allows; with
    ///   [`SlowConsumer::Evict`](crate::options::SlowConsumer::Evict) it is sent no more descriptors, and keeps its
    ///   seat
    /// - [`SendError::Interrupted`] if an [`Interrupter`] ended the wait
    /// - [`SendError::Forked`] in a forked child
    pub fn commit_deadline(&mut self, deadline: Instant) -> Result<u64, SendError> {
        self.commit_until(Deadline::At(deadline))
    }

    fn commit_until(&mut self, deadline: Deadline) -> Result<u64, SendError> {
        if let Some(end) = self.end {
            return Ok(end);
        }
        let Self { reservation, fds, served, .. } = self;
        let fds: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
        let end = reservation.publish_with_fds(&fds, served, deadline)?;
        self.end = Some(end);
        Ok(end)
    }
}

impl Reservation<'_> {
    /// Publishes the record with these descriptors, and all that its batch has committed before it. `served` are the
    /// seats that have got them.
    fn publish_with_fds(
        &mut self,
        fds: &[BorrowedFd<'_>],
        served: &mut Vec<u64>,
        deadline: Deadline,
    ) -> Result<u64, SendError> {
        let Self { producer, batch, claim, tag } = self;
        producer.publish_with_fds(batch.as_deref_mut(), *claim, *tag, fds, served, deadline)
    }
}

impl Producer {
    /// Copies `payload` into a record, attaches descriptors to it, and publishes it. Each consumer that asked for
    /// descriptors gets duplicates of its own, so that these can be closed after the call. Waits while the ring is
    /// full, and while a consumer has left too many descriptors of earlier records untaken.
    ///
    /// ```
    /// # use fdring::{Attach, Server, Session, options::LaneOptions};
    /// # use std::{fs::File, os::fd::AsFd};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let mut files = LaneOptions::new("files").attachments(2).create()?;
    /// # let server = Server::listen("@doc-send-with-fds", [&files])?;
    /// # let mut consumer = Session::connect("@doc-send-with-fds")?.attach_one(Attach::new().attachments(true))?;
    /// let (null, zero) = (File::open("/dev/null")?, File::open("/dev/zero")?);
    /// files.send_with_fds(b"two files", &[null.as_fd(), zero.as_fd()])?;
    /// files.send_with_fds(b"none", &[])?;
    ///
    /// assert_eq!(consumer.receive()?.unwrap().take_fds()?.len(), 2);
    /// assert!(consumer.receive()?.unwrap().take_fds()?.is_empty());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`SendError::TooLong`] if `payload` is longer than
    ///   [`LaneInfo::payload_max`](crate::info::LaneInfo::payload_max)
    /// - [`SendError::TooManyAttachments`] if there are more descriptors than
    ///   [`LaneOptions::attachments`](crate::options::LaneOptions::attachments) allows
    /// - [`SendError::TooManyInFlight`] if too many descriptors of this user are in flight
    /// - [`SendError::Attachment`] if the kernel does not send one of the descriptors
    /// - [`SendError::TooSlow`] if a consumer holds the full ring back, or leaves descriptors untaken, for longer than
    ///   the lane's [`SlowConsumer`](crate::options::SlowConsumer) allows
    /// - [`SendError::TooFewConsumers`] if the lane has fewer consumers than
    ///   [`NoConsumer::FailBelow`](crate::options::NoConsumer::FailBelow) requires
    /// - [`SendError::Interrupted`] if an [`Interrupter`] ended the wait
    /// - [`SendError::Forked`] in a forked child
    pub fn send_with_fds(&mut self, payload: &[u8], fds: &[BorrowedFd<'_>]) -> Result<(), SendError> {
        self.send_with_fds_until(payload, fds, Deadline::Never)
    }

    /// Like [`send_with_fds`](Self::send_with_fds), but never waits.
    ///
    /// ```
    /// # use fdring::options::LaneOptions;
    /// # use std::{fs::File, os::fd::AsFd};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let mut files = LaneOptions::new("files").attachments(1).create()?;
    /// files.try_send_with_fds(b"null", &[File::open("/dev/null")?.as_fd()])?; // nobody is there, so it is not full
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`SendError::TooLong`] if `payload` is longer than
    ///   [`LaneInfo::payload_max`](crate::info::LaneInfo::payload_max)
    /// - [`SendError::TooManyAttachments`] if there are more descriptors than
    ///   [`LaneOptions::attachments`](crate::options::LaneOptions::attachments) allows
    /// - [`SendError::TooManyInFlight`] if too many descriptors of this user are in flight
    /// - [`SendError::Attachment`] if the kernel does not send one of the descriptors
    /// - [`SendError::Full`] if the ring is full; it names the consumer that holds the lane back
    /// - [`SendError::Untaken`] if a consumer has left too many descriptors untaken; it names the consumer
    /// - [`SendError::TooSlow`] if a consumer holds the full ring back, or leaves descriptors untaken, for longer than
    ///   the lane's [`SlowConsumer`](crate::options::SlowConsumer) allows
    /// - [`SendError::TooFewConsumers`] if the lane has fewer consumers than its
    ///   [`NoConsumer`](crate::options::NoConsumer) requires
    /// - [`SendError::Forked`] in a forked child
    pub fn try_send_with_fds(&mut self, payload: &[u8], fds: &[BorrowedFd<'_>]) -> Result<(), SendError> {
        self.send_with_fds_until(payload, fds, Deadline::Now)
    }

    /// Like [`send_with_fds`](Self::send_with_fds), but waits at most `timeout`.
    ///
    /// ```
    /// # use fdring::options::LaneOptions;
    /// # use std::{fs::File, os::fd::AsFd, time::Duration};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let mut files = LaneOptions::new("files").attachments(1).create()?;
    /// let null = File::open("/dev/null")?;
    /// files.send_with_fds_timeout(b"null", &[null.as_fd()], Duration::from_secs(1))?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`SendError::TooLong`] if `payload` is longer than
    ///   [`LaneInfo::payload_max`](crate::info::LaneInfo::payload_max)
    /// - [`SendError::TooManyAttachments`] if there are more descriptors than
    ///   [`LaneOptions::attachments`](crate::options::LaneOptions::attachments) allows
    /// - [`SendError::TooManyInFlight`] if too many descriptors of this user are in flight
    /// - [`SendError::Attachment`] if the kernel does not send one of the descriptors
    /// - [`SendError::TimedOut`] if the ring stayed full; it names the consumer that holds the lane back
    /// - [`SendError::Untaken`] if a consumer left too many descriptors untaken all the time; it names the consumer
    /// - [`SendError::TooSlow`] if a consumer holds the full ring back, or leaves descriptors untaken, for longer than
    ///   the lane's [`SlowConsumer`](crate::options::SlowConsumer) allows
    /// - [`SendError::TooFewConsumers`] if the lane has fewer consumers than its
    ///   [`NoConsumer`](crate::options::NoConsumer) requires
    /// - [`SendError::Interrupted`] if an [`Interrupter`] ended the wait
    /// - [`SendError::Forked`] in a forked child
    pub fn send_with_fds_timeout(
        &mut self,
        payload: &[u8],
        fds: &[BorrowedFd<'_>],
        timeout: Duration,
    ) -> Result<(), SendError> {
        self.send_with_fds_until(payload, fds, Deadline::after(timeout))
    }

    /// Like [`send_with_fds`](Self::send_with_fds), but waits only until `deadline`, which several calls can share.
    ///
    /// ```
    /// # use fdring::options::LaneOptions;
    /// # use std::{fs::File, os::fd::AsFd, time::{Duration, Instant}};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut files = LaneOptions::new("files").attachments(1).create()?;
    /// let deadline = Instant::now() + Duration::from_secs(1);
    /// for path in ["/dev/null", "/dev/zero"] {
    ///     files.send_with_fds_deadline(path.as_bytes(), &[File::open(path)?.as_fd()], deadline)?;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`SendError::TooLong`] if `payload` is longer than
    ///   [`LaneInfo::payload_max`](crate::info::LaneInfo::payload_max)
    /// - [`SendError::TooManyAttachments`] if there are more descriptors than
    ///   [`LaneOptions::attachments`](crate::options::LaneOptions::attachments) allows
    /// - [`SendError::TooManyInFlight`] if too many descriptors of this user are in flight
    /// - [`SendError::Attachment`] if the kernel does not send one of the descriptors
    /// - [`SendError::TimedOut`] if the ring stayed full; it names the consumer that holds the lane back
    /// - [`SendError::Untaken`] if a consumer left too many descriptors untaken all the time; it names the consumer
    /// - [`SendError::TooSlow`] if a consumer holds the full ring back, or leaves descriptors untaken, for longer than
    ///   the lane's [`SlowConsumer`](crate::options::SlowConsumer) allows
    /// - [`SendError::TooFewConsumers`] if the lane has fewer consumers than its
    ///   [`NoConsumer`](crate::options::NoConsumer) requires
    /// - [`SendError::Interrupted`] if an [`Interrupter`] ended the wait
    /// - [`SendError::Forked`] in a forked child
    pub fn send_with_fds_deadline(
        &mut self,
        payload: &[u8],
        fds: &[BorrowedFd<'_>],
        deadline: Instant,
    ) -> Result<(), SendError> {
        self.send_with_fds_until(payload, fds, Deadline::At(deadline))
    }

    /// Sends descriptors with names, for consumers that call [`Record::take_named`](crate::Record::take_named). The
    /// payload of the record is the line of names that [`fds::send_named`](crate::fds::send_named) describes. Waits
    /// like [`send_with_fds`](Self::send_with_fds).
    ///
    /// A name has 1 to 255 printable ASCII characters other than the colon, and no other descriptor of the record has
    /// it. All together have at most 16 KiB, counting a byte more for each.
    ///
    /// ```
    /// # use fdring::{Attach, Server, Session, options::LaneOptions};
    /// # use std::{fs::File, os::fd::AsFd};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut files = LaneOptions::new("files").attachments(2).create()?;
    /// # let server = Server::listen("@doc-lane-send-named", [&files])?;
    /// # let mut consumer = Session::connect("@doc-lane-send-named")?.attach_one(Attach::new().attachments(true))?;
    /// let (null, zero) = (File::open("/dev/null")?, File::open("/dev/zero")?);
    /// files.send_named([("null", null.as_fd()), ("zero", zero.as_fd())])?;
    ///
    /// let named = consumer.receive()?.unwrap().take_named()?;
    /// assert_eq!((&*named[0].0, &*named[1].0), ("null", "zero"));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`SendError::Names`] if a name cannot be sent, or there is none
    /// - [`SendError::TooLong`] if the names together are longer than
    ///   [`LaneInfo::payload_max`](crate::info::LaneInfo::payload_max)
    /// - [`SendError::TooManyAttachments`] if there are more descriptors than
    ///   [`LaneOptions::attachments`](crate::options::LaneOptions::attachments) allows
    /// - [`SendError::TooManyInFlight`] if too many descriptors of this user are in flight
    /// - [`SendError::Attachment`] if the kernel does not send one of the descriptors
    /// - [`SendError::TooSlow`] if a consumer holds the full ring back, or leaves descriptors untaken, for longer than
    ///   the lane's [`SlowConsumer`](crate::options::SlowConsumer) allows
    /// - [`SendError::TooFewConsumers`] if the lane has fewer consumers than
    ///   [`NoConsumer::FailBelow`](crate::options::NoConsumer::FailBelow) requires
    /// - [`SendError::Interrupted`] if an [`Interrupter`] ended the wait
    /// - [`SendError::Forked`] in a forked child
    pub fn send_named<'f>(
        &mut self,
        descriptors: impl IntoIterator<Item = (&'f str, BorrowedFd<'f>)>,
    ) -> Result<(), SendError> {
        let (names, fds): (Vec<_>, Vec<_>) = descriptors.into_iter().unzip();
        let table = to_table(&names).map_err(SendError::Names)?;
        self.send_with_fds(&table, &fds)
    }

    fn send_with_fds_until(
        &mut self,
        payload: &[u8],
        fds: &[BorrowedFd<'_>],
        deadline: Deadline,
    ) -> Result<(), SendError> {
        let mut slot = self.reserve_until(payload.len(), deadline)?;
        slot.copy_from_slice(payload);
        if fds.is_empty() {
            slot.commit();
            return Ok(());
        }
        slot.publish_with_fds(fds, &mut Vec::new(), deadline).map(drop)
    }

    fn publish_with_fds(
        &mut self,
        batch: Option<&mut Room>,
        claim: Claim,
        tag: u16,
        fds: &[BorrowedFd<'_>],
        served: &mut Vec<u64>,
        deadline: Deadline,
    ) -> Result<u64, SendError> {
        let (count, max) = (fds.len(), self.lane.info.attachments_max);
        if self.guard.is_child() {
            return Err(SendError::Forked);
        }
        if count > max {
            return Err(SendError::TooManyAttachments { count, max });
        }
        if self.shortcut.is_closed() {
            self.stamp(batch.as_deref(), claim);
        }
        let published = self.published();
        let Self { publisher, lane, watch, interrupter, outbox, .. } = self;
        if let Some(room) = &batch {
            publisher.writer.resume(**room);
        }
        let mut delivery = Delivery {
            lane,
            after: watch.after().map(|after| (after, watch.evicts())),
            interrupter,
            outbox,
            published,
            position: claim.begin(),
            fds,
            served,
            deadline,
            pauses: IN_FLIGHT_PAUSES.iter(),
        };
        crash::point!("producer-before-attachments");
        publisher.publish_served(
            &lane.roster,
            |seats| delivery.serve(seats),
            |writer| {
                crash::point!("producer-after-attachments");
                writer.publish_with_fds(claim, tag, count as u8)
            },
        )?;
        self.outbox.published += 1;
        if let Some(room) = batch {
            *room = self.publisher.writer.room();
        }
        crash::point!("producer-after-publication");
        Ok(claim.end())
    }
}

/// The descriptors of one record, on their way to those who asked for them.
struct Delivery<'a> {
    lane: &'a Lane,
    /// How long a consumer may leave descriptors untaken, and whether it is cut off then.
    after: Option<(Duration, bool)>,
    interrupter: &'a Option<Interrupter>,
    outbox: &'a mut Outbox,
    /// What was published before.
    published: u64,
    position: u64,
    fds: &'a [BorrowedFd<'a>],
    /// The seats that have got them.
    served: &'a mut Vec<u64>,
    deadline: Deadline,
    /// Those that are left before too many in flight are an error.
    pauses: std::slice::Iter<'static, Duration>,
}

type SeatArc = Arc<Seat<SeatHandle>>;

impl Delivery<'_> {
    /// Sends them to each of these seats that has not got them, once all of those have room. `false` if seats may have
    /// changed meanwhile.
    fn serve(&mut self, seats: &[SeatArc]) -> Result<bool, SendError> {
        let outcome = self.serve_all(seats);
        if outcome.as_ref().is_err_and(|error| *error != SendError::TooManyInFlight) {
            // This record may never be published, and their queues are not to be full of attempts.
            let served = untaken(seats).filter(|seat| self.served.contains(&seat.id()));
            served.for_each(|seat| _ = seat.port().wake());
        }
        outcome
    }

    fn serve_all(&mut self, seats: &[SeatArc]) -> Result<bool, SendError> {
        let is_due = |seat: &&SeatArc| seat.port().fd_sender().is_some() && !self.served.contains(&seat.id());
        let due: Vec<&SeatArc> = seats.iter().filter(is_due).collect();
        let has_room = |seat: &&SeatArc| seat.port().fd_sender().is_none_or(FdSender::has_room);
        let full: Vec<_> = due.iter().copied().filter(|seat| !has_room(seat)).collect();
        if !full.is_empty() {
            self.wait(&full)?;
            return Ok(false);
        }
        for seat in due {
            let Some(sender) = seat.port().fd_sender() else { continue };
            match self.send(sender) {
                Sent::TooManyInFlight => {
                    self.have_queues_drained(seats)?;
                    return Ok(false);
                }
                Sent::Failed(errno) => return Err(SendError::Attachment(errno.raw_os_error())),
                Sent::Full => {
                    self.wait(&[seat])?;
                    return Ok(false);
                }
                Sent::Done | Sent::Over => {
                    self.served.push(seat.id());
                    self.outbox.untaken.retain(|untaken| untaken.seat_id != seat.id());
                }
            }
            crash::point!("producer-between-attachments");
        }
        Ok(true)
    }

    fn send(&self, sender: &FdSender) -> Sent {
        let (lane, number, position, count) = (sender.lane(), self.outbox.published, self.position, self.fds.len());
        let frame = Frame::Attachments(Attachments { lane, number, position, count: count as u8 });
        sender.send(&frame.encode(), self.fds)
    }

    /// Too many descriptors are in flight. Wakes those who have left some untaken, of this record or of attempts to
    /// publish, so that they take them out of their queues, and waits a moment; an error after some moments.
    fn have_queues_drained(&mut self, seats: &[SeatArc]) -> Result<(), SendError> {
        let untaken: Vec<&SeatArc> = untaken(seats).collect();
        // If this fails, it wakes up later.
        untaken.iter().for_each(|seat| _ = seat.port().wake());
        if self.judge(&untaken, Instant::now())?.has_acted {
            return Ok(());
        }
        match self.pauses.next() {
            Some(pause) if !self.deadline.has_passed() => {
                let end = Deadline::after(*pause);
                // A signal ends a wait, and no pause.
                while let Some(rest) = end.remaining().filter(|rest| !rest.is_zero()) {
                    let _ = poll(&mut [], Some(&timespec(rest)));
                }
                Ok(())
            }
            _ => Err(SendError::TooManyInFlight),
        }
    }

    /// Waits until one of these seats has room or is gone, or until seats have changed.
    fn wait(&mut self, full: &[&SeatArc]) -> Result<(), SendError> {
        let now = Instant::now();
        let Judged { has_acted: false, until } = self.judge(full, now)? else { return Ok(()) };
        if self.deadline == Deadline::Now || self.deadline.has_passed() {
            return Err(SendError::Untaken { consumer: self.info(full[0]) });
        }
        let changed = self.lane.changed.as_ref();
        let mut waits: Vec<_> = full
            .iter()
            .filter_map(|seat| seat.port().fd_sender())
            .map(|sender| PollFd::from_borrowed_fd(sender.as_fd(), PollFlags::OUT))
            .collect();
        waits.extend(changed.map(|changed| PollFd::new(changed, PollFlags::IN)));
        waits.extend(self.interrupter.as_ref().map(|interrupter| PollFd::new(interrupter, PollFlags::IN)));
        let limit = self.deadline.min(until).remaining().map(timespec);
        let _ = poll(&mut waits, limit.as_ref());
        // Before the next look at the roster.
        changed.iter().for_each(|changed| changed.lower());
        if is_raised(self.interrupter) { Err(SendError::Interrupted) } else { Ok(()) }
    }

    /// Cuts those off who have left descriptors untaken for too long, or fails because of them; when the next will
    /// have. `seats` are those that leave any now.
    fn judge(&mut self, seats: &[&SeatArc], now: Instant) -> Result<Judged, SendError> {
        self.outbox.untaken.retain(|untaken| seats.iter().any(|seat| seat.id() == untaken.seat_id));
        let mut judged = Judged { has_acted: false, until: Deadline::Never };
        let Some((after, cuts)) = self.after else { return Ok(judged) };
        for seat in seats {
            let Some(sender) = seat.port().fd_sender() else { continue };
            let since = self.outbox.untaken_since(seat.id(), sender, now);
            if now.saturating_duration_since(since) < after {
                judged.until = judged.until.min(since.checked_add(after).map_or(Deadline::Never, Deadline::At));
                continue;
            }
            if !cuts {
                return Err(SendError::TooSlow { consumer: self.info(seat) });
            }
            event!(WARN, "no more descriptors", lane = &*self.lane.info.name, pid = self.info(seat).pid);
            sender.cut();
            judged.has_acted = true;
        }
        Ok(judged)
    }

    fn info(&self, seat: &SeatArc) -> Box<ConsumerInfo> {
        Box::new(ConsumerInfo::new(seat, seat.behind_bytes(self.published)))
    }
}

/// Those that have frames in their queues, as far as the kernel tells.
fn untaken(seats: &[SeatArc]) -> impl Iterator<Item = &SeatArc> {
    seats.iter().filter(|seat| {
        let sender = seat.port().fd_sender().filter(|sender| !sender.is_over());
        sender.is_some_and(|sender| sender.queued_bytes() != Some(0))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fds;

    #[test]
    fn time_begins_anew_once_an_eighth_of_the_queue_is_taken() {
        let (ours, theirs) = fds::seqpacket_pair().unwrap();
        let sender = FdSender::receive(ours, 0, 1).unwrap();
        while sender.has_room() {
            assert_eq!(sender.send(b"frame", &[theirs.as_fd()]), Sent::Done);
        }
        let take = |frames| (0..frames).for_each(|_| _ = fds::recv_frame(theirs.as_fd(), &mut [0; 5], 1).unwrap());
        let (mut outbox, begin) = (Outbox::default(), Instant::now());
        let after = |millis| begin + Duration::from_millis(millis);
        assert_eq!(outbox.untaken_since(7, &sender, begin), begin);
        take(7);
        assert_eq!(outbox.untaken_since(7, &sender, after(10)), begin, "7 of 64 are no eighth");
        take(1);
        assert_eq!(outbox.untaken_since(7, &sender, after(20)), after(20));
        assert_eq!(outbox.untaken_since(7, &sender, after(30)), after(20));
        assert_eq!(outbox.untaken_since(8, &sender, after(40)), after(40), "each seat has its own");
    }
}
