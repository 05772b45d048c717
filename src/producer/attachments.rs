//! Records with descriptors, as programs send them: one at a time, or many at once.
//!
//! What this file does not do: [`delivery`](super::delivery) sends the descriptors.

use super::{Producer, Reservation, SendError};
use crate::deadline::Deadline;
use crate::fds::to_table;
#[cfg(doc)]
use crate::os::interrupt::Interrupter;
use crate::ring::writer::Filled;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

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
    /// A record of a [`Batch`](crate::parts::Batch) is published at once, with the records of the batch before it.
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
        let count = producer.check_attachments(fds.len())?;
        let filled = Filled { claim: *claim, tag: *tag, fds: count };
        producer.publish_with_fds(batch.as_deref_mut(), &[filled], fds, served, deadline)
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
        self.send_named_until(descriptors, Deadline::Never)
    }

    /// Like [`send_named`](Self::send_named), but never waits.
    ///
    /// ```
    /// # use fdring::options::LaneOptions;
    /// # use std::{fs::File, os::fd::AsFd};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut files = LaneOptions::new("files").attachments(1).create()?;
    /// let null = File::open("/dev/null")?;
    /// files.try_send_named([("null", null.as_fd())])?;
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
    /// - [`SendError::Full`] if the ring is full; it names the consumer that holds the lane back
    /// - [`SendError::Untaken`] if a consumer has left too many descriptors untaken; it names the consumer
    /// - [`SendError::TooSlow`] if a consumer holds the full ring back, or leaves descriptors untaken, for longer than
    ///   the lane's [`SlowConsumer`](crate::options::SlowConsumer) allows
    /// - [`SendError::TooFewConsumers`] if the lane has fewer consumers than its
    ///   [`NoConsumer`](crate::options::NoConsumer) requires
    /// - [`SendError::Forked`] in a forked child
    pub fn try_send_named<'f>(
        &mut self,
        descriptors: impl IntoIterator<Item = (&'f str, BorrowedFd<'f>)>,
    ) -> Result<(), SendError> {
        self.send_named_until(descriptors, Deadline::Now)
    }

    /// Like [`send_named`](Self::send_named), but waits at most `timeout`.
    ///
    /// ```
    /// # use fdring::options::LaneOptions;
    /// # use std::{fs::File, os::fd::AsFd, time::Duration};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut files = LaneOptions::new("files").attachments(1).create()?;
    /// let null = File::open("/dev/null")?;
    /// files.send_named_timeout([("null", null.as_fd())], Duration::from_secs(1))?;
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
    /// - [`SendError::TimedOut`] if the ring stayed full; it names the consumer that holds the lane back
    /// - [`SendError::Untaken`] if a consumer left too many descriptors untaken all the time; it names the consumer
    /// - [`SendError::TooSlow`] if a consumer holds the full ring back, or leaves descriptors untaken, for longer than
    ///   the lane's [`SlowConsumer`](crate::options::SlowConsumer) allows
    /// - [`SendError::TooFewConsumers`] if the lane has fewer consumers than its
    ///   [`NoConsumer`](crate::options::NoConsumer) requires
    /// - [`SendError::Interrupted`] if an [`Interrupter`] ended the wait
    /// - [`SendError::Forked`] in a forked child
    pub fn send_named_timeout<'f>(
        &mut self,
        descriptors: impl IntoIterator<Item = (&'f str, BorrowedFd<'f>)>,
        timeout: Duration,
    ) -> Result<(), SendError> {
        self.send_named_until(descriptors, Deadline::after(timeout))
    }

    /// Like [`send_named`](Self::send_named), but waits only until `deadline`, which several calls can share.
    ///
    /// ```
    /// # use fdring::options::LaneOptions;
    /// # use std::{fs::File, os::fd::AsFd, time::{Duration, Instant}};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut files = LaneOptions::new("files").attachments(1).create()?;
    /// let null = File::open("/dev/null")?;
    /// files.send_named_deadline([("null", null.as_fd())], Instant::now() + Duration::from_secs(1))?;
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
    /// - [`SendError::TimedOut`] if the ring stayed full; it names the consumer that holds the lane back
    /// - [`SendError::Untaken`] if a consumer left too many descriptors untaken all the time; it names the consumer
    /// - [`SendError::TooSlow`] if a consumer holds the full ring back, or leaves descriptors untaken, for longer than
    ///   the lane's [`SlowConsumer`](crate::options::SlowConsumer) allows
    /// - [`SendError::TooFewConsumers`] if the lane has fewer consumers than its
    ///   [`NoConsumer`](crate::options::NoConsumer) requires
    /// - [`SendError::Interrupted`] if an [`Interrupter`] ended the wait
    /// - [`SendError::Forked`] in a forked child
    pub fn send_named_deadline<'f>(
        &mut self,
        descriptors: impl IntoIterator<Item = (&'f str, BorrowedFd<'f>)>,
        deadline: Instant,
    ) -> Result<(), SendError> {
        self.send_named_until(descriptors, Deadline::At(deadline))
    }

    fn send_named_until<'f>(
        &mut self,
        descriptors: impl IntoIterator<Item = (&'f str, BorrowedFd<'f>)>,
        deadline: Deadline,
    ) -> Result<(), SendError> {
        let (names, fds): (Vec<_>, Vec<_>) = descriptors.into_iter().unzip();
        let table = to_table(&names).map_err(SendError::Names)?;
        self.send_with_fds_until(&table, &fds, deadline)
    }

    pub(super) fn send_with_fds_until(
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

    /// The same number, if a record of this lane may have that many descriptors.
    fn check_attachments(&self, count: usize) -> Result<u8, SendError> {
        let max = self.lane.info.attachments_max;
        u8::try_from(count).ok().filter(|_| count <= max).ok_or(SendError::TooManyAttachments { count, max })
    }
}
