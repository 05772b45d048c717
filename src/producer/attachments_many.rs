//! Many records with descriptors, whose descriptors are sent together.
//!
//! Sending descriptors takes one system call for each consumer, and receiving them takes two. That is nearly all that a
//! record with few descriptors costs. So the descriptors of a group of up to 16 records go in one message, and the
//! records of a group are published together.

use super::{Producer, SendError};
use crate::deadline::Deadline;
use crate::os::fd_sender::GROUP_FDS_MAX;
use crate::ring::writer::Filled;
use crate::wire::RECORDS_PER_FRAME_MAX;
use rustix::fd::BorrowedFd;
use std::time::{Duration, Instant};

/// The most records of a group. The bytes of a frame for more would take more of the kernel's memory.
const GROUP_RECORDS_MAX: usize = 16;
const _: () = assert!(GROUP_RECORDS_MAX <= RECORDS_PER_FRAME_MAX);
/// A group takes no more than this part of the ring, as a batch should: consumers read while the next one is written.
const GROUP_RING_PART: u64 = 8;

/// The payload of a record, and its descriptors, of which there may be none.
type Payload<'a> = (&'a [u8], &'a [BorrowedFd<'a>]);

impl Producer {
    /// Copies payloads into records, attaches descriptors to them, and publishes them in groups. A group has up to 16
    /// records, with 16 descriptors and an eighth of the ring at most between them. Its descriptors go to each consumer
    /// in one message, and its records are published together. For records with few descriptors this is several times
    /// as quick as [`send_with_fds`](Self::send_with_fds) in a loop. A record that is too large for a group goes alone.
    ///
    /// Removes what it has sent from the front of `records`, which is empty after `Ok`. Waits while the ring is full,
    /// and while a consumer has left too many descriptors of earlier records untaken.
    ///
    /// ```
    /// # use fdring::{Attach, Server, Session, options::LaneOptions};
    /// # use std::{fs::File, os::fd::AsFd};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let mut files = LaneOptions::new("files").attachments(1).create()?;
    /// # let server = Server::listen("@doc-send-many-with-fds", [&files])?;
    /// # let mut consumer = Session::connect("@doc-send-many-with-fds")?.attach_one(Attach::new().attachments(true))?;
    /// let (null, zero) = (File::open("/dev/null")?, File::open("/dev/zero")?);
    /// let mut records = &[("null", vec![null.as_fd()]), ("zero", vec![zero.as_fd()]), ("no file", vec![])][..];
    /// files.send_many_with_fds(&mut records)?;
    /// assert!(records.is_empty());
    ///
    /// assert_eq!(consumer.receive()?.unwrap().take_fds()?.len(), 1);
    /// assert_eq!(consumer.receive()?.unwrap().take_fds()?.len(), 1);
    /// assert_eq!(consumer.receive()?.unwrap().take_fds()?.len(), 0);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// The records that are left in `records` were not sent.
    ///
    /// - [`SendError::TooLong`] if a payload is longer than
    ///   [`LaneInfo::payload_max`](crate::info::LaneInfo::payload_max)
    /// - [`SendError::TooManyAttachments`] if a record has more descriptors than
    ///   [`LaneOptions::attachments`](crate::options::LaneOptions::attachments) allows
    /// - [`SendError::TooManyInFlight`] if too many descriptors of this user are in flight
    /// - [`SendError::Attachment`] if the kernel does not send one of the descriptors
    /// - [`SendError::TooSlow`] if a consumer holds the full ring back, or leaves descriptors untaken, for longer than
    ///   the lane's [`SlowConsumer`](crate::options::SlowConsumer) allows
    /// - [`SendError::TooFewConsumers`] if the lane has fewer consumers than
    ///   [`NoConsumer::FailBelow`](crate::options::NoConsumer::FailBelow) requires
    /// - [`SendError::Interrupted`] if an [`Interrupter`](crate::Interrupter) ended the wait
    /// - [`SendError::Forked`] in a forked child
    pub fn send_many_with_fds<'f, P, F>(&mut self, records: &mut &[(P, F)]) -> Result<(), SendError>
    where
        P: AsRef<[u8]>,
        F: AsRef<[BorrowedFd<'f>]>,
    {
        self.send_many_with_fds_until(records, Deadline::Never)
    }

    /// Like [`send_many_with_fds`](Self::send_many_with_fds), but never waits.
    ///
    /// ```
    /// # use fdring::{errors::SendError, options::LaneOptions};
    /// # use std::os::fd::AsFd;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let mut files = LaneOptions::new("files").attachments(1).create()?;
    /// let stdin = std::io::stdin();
    /// let mut records = &[("stdin", [stdin.as_fd()])][..];
    /// match files.try_send_many_with_fds(&mut records) {
    ///     Ok(()) => (),
    ///     Err(SendError::Full { .. } | SendError::Untaken { .. }) => println!("{} are left", records.len()),
    ///     Err(error) => return Err(error.into()),
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// The records that are left in `records` were not sent.
    ///
    /// - [`SendError::TooLong`] if a payload is longer than
    ///   [`LaneInfo::payload_max`](crate::info::LaneInfo::payload_max)
    /// - [`SendError::TooManyAttachments`] if a record has more descriptors than
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
    pub fn try_send_many_with_fds<'f, P, F>(&mut self, records: &mut &[(P, F)]) -> Result<(), SendError>
    where
        P: AsRef<[u8]>,
        F: AsRef<[BorrowedFd<'f>]>,
    {
        self.send_many_with_fds_until(records, Deadline::Now)
    }

    /// Like [`send_many_with_fds`](Self::send_many_with_fds), but waits at most `timeout`, in all.
    ///
    /// ```
    /// # use fdring::options::LaneOptions;
    /// # use std::{os::fd::AsFd, time::Duration};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let mut files = LaneOptions::new("files").attachments(1).create()?;
    /// let stdin = std::io::stdin();
    /// let mut records = &[("stdin", [stdin.as_fd()]), ("once more", [stdin.as_fd()])][..];
    /// files.send_many_with_fds_timeout(&mut records, Duration::from_secs(1))?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// The records that are left in `records` were not sent.
    ///
    /// - [`SendError::TooLong`] if a payload is longer than
    ///   [`LaneInfo::payload_max`](crate::info::LaneInfo::payload_max)
    /// - [`SendError::TooManyAttachments`] if a record has more descriptors than
    ///   [`LaneOptions::attachments`](crate::options::LaneOptions::attachments) allows
    /// - [`SendError::TooManyInFlight`] if too many descriptors of this user are in flight
    /// - [`SendError::Attachment`] if the kernel does not send one of the descriptors
    /// - [`SendError::TimedOut`] if the ring stayed full; it names the consumer that holds the lane back
    /// - [`SendError::Untaken`] if a consumer left too many descriptors untaken all the time; it names the consumer
    /// - [`SendError::TooSlow`] if a consumer holds the full ring back, or leaves descriptors untaken, for longer than
    ///   the lane's [`SlowConsumer`](crate::options::SlowConsumer) allows
    /// - [`SendError::TooFewConsumers`] if the lane has fewer consumers than its
    ///   [`NoConsumer`](crate::options::NoConsumer) requires
    /// - [`SendError::Interrupted`] if an [`Interrupter`](crate::Interrupter) ended the wait
    /// - [`SendError::Forked`] in a forked child
    pub fn send_many_with_fds_timeout<'f, P, F>(
        &mut self,
        records: &mut &[(P, F)],
        timeout: Duration,
    ) -> Result<(), SendError>
    where
        P: AsRef<[u8]>,
        F: AsRef<[BorrowedFd<'f>]>,
    {
        self.send_many_with_fds_until(records, Deadline::after(timeout))
    }

    /// Like [`send_many_with_fds`](Self::send_many_with_fds), but waits only until `deadline`, which several calls can
    /// share.
    ///
    /// ```
    /// # use fdring::options::LaneOptions;
    /// # use std::{os::fd::AsFd, time::{Duration, Instant}};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let mut files = LaneOptions::new("files").attachments(1).create()?;
    /// let stdin = std::io::stdin();
    /// let mut records = &[("stdin", [stdin.as_fd()])][..];
    /// files.send_many_with_fds_deadline(&mut records, Instant::now() + Duration::from_secs(1))?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// The records that are left in `records` were not sent.
    ///
    /// - [`SendError::TooLong`] if a payload is longer than
    ///   [`LaneInfo::payload_max`](crate::info::LaneInfo::payload_max)
    /// - [`SendError::TooManyAttachments`] if a record has more descriptors than
    ///   [`LaneOptions::attachments`](crate::options::LaneOptions::attachments) allows
    /// - [`SendError::TooManyInFlight`] if too many descriptors of this user are in flight
    /// - [`SendError::Attachment`] if the kernel does not send one of the descriptors
    /// - [`SendError::TimedOut`] if the ring stayed full; it names the consumer that holds the lane back
    /// - [`SendError::Untaken`] if a consumer left too many descriptors untaken all the time; it names the consumer
    /// - [`SendError::TooSlow`] if a consumer holds the full ring back, or leaves descriptors untaken, for longer than
    ///   the lane's [`SlowConsumer`](crate::options::SlowConsumer) allows
    /// - [`SendError::TooFewConsumers`] if the lane has fewer consumers than its
    ///   [`NoConsumer`](crate::options::NoConsumer) requires
    /// - [`SendError::Interrupted`] if an [`Interrupter`](crate::Interrupter) ended the wait
    /// - [`SendError::Forked`] in a forked child
    pub fn send_many_with_fds_deadline<'f, P, F>(
        &mut self,
        records: &mut &[(P, F)],
        deadline: Instant,
    ) -> Result<(), SendError>
    where
        P: AsRef<[u8]>,
        F: AsRef<[BorrowedFd<'f>]>,
    {
        self.send_many_with_fds_until(records, Deadline::At(deadline))
    }

    fn send_many_with_fds_until<'f, P, F>(
        &mut self,
        records: &mut &[(P, F)],
        deadline: Deadline,
    ) -> Result<(), SendError>
    where
        P: AsRef<[u8]>,
        F: AsRef<[BorrowedFd<'f>]>,
    {
        while !records.is_empty() {
            let group = records.iter().take(GROUP_RECORDS_MAX).map(|(payload, fds)| (payload.as_ref(), fds.as_ref()));
            let sent = self.send_first(&group.collect::<Vec<_>>(), deadline)?;
            *records = &records[sent..];
        }
        Ok(())
    }

    /// Sends the first group of these records, and returns how many it has.
    fn send_first(&mut self, records: &[Payload<'_>], deadline: Deadline) -> Result<usize, SendError> {
        let group = &records[..self.count_group(records)];
        if group.len() > 1 && self.send_group(group, deadline)? {
            return Ok(group.len());
        }
        let (payload, fds) = group[0];
        self.send_with_fds_until(payload, fds, deadline)?;
        Ok(1)
    }

    /// How many of these records make a group: at least one, which need not fit.
    fn count_group(&self, records: &[Payload<'_>]) -> usize {
        let geometry = self.publisher.writer.room().geometry();
        let (mut bytes, mut descriptors) = (0, 0);
        let fits = |(payload, fds): &&Payload<'_>| {
            bytes += geometry.record_size(payload.len() as u64);
            descriptors += fds.len();
            bytes <= geometry.capacity() / GROUP_RING_PART
                && descriptors <= GROUP_FDS_MAX
                && fds.len() <= self.lane.info.attachments_max
        };
        records.iter().take_while(fits).count().max(1)
    }

    /// Sends a group, if the ring has room for all of it now. One record may have room where a group has none, and a
    /// consumer may give more room only once it has that record.
    fn send_group(&mut self, group: &[Payload<'_>], deadline: Deadline) -> Result<bool, SendError> {
        let lens: Vec<usize> = group.iter().map(|(payload, _)| payload.len()).collect();
        let mut window = match self.reserve_window_until(&lens, Deadline::Now) {
            Ok(window) => window,
            // What to do about either is the same for one record, which waits if it may.
            Err(SendError::Full { .. } | SendError::TooFewConsumers { .. }) => return Ok(false),
            Err(error) => return Err(error),
        };
        for (slot, (payload, _)) in window.slots().iter_mut().zip(group) {
            slot.copy_from_slice(payload);
        }
        if group.iter().all(|(_, fds)| fds.is_empty()) {
            window.commit();
            return Ok(true);
        }
        let claims = window.into_claims().into_iter();
        let filled = claims.zip(group).map(|(claim, (_, fds))| Filled { claim, tag: 0, fds: fds.len() as u8 });
        let filled: Vec<Filled> = filled.collect();
        let fds: Vec<BorrowedFd<'_>> = group.iter().flat_map(|(_, fds)| fds.iter().copied()).collect();
        self.publish_with_fds(None, &filled, &fds, &mut Vec::new(), deadline)?;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::LaneOptions;
    use std::os::fd::AsFd;

    #[test]
    fn a_group_has_few_records_few_descriptors_and_a_part_of_the_ring() {
        let producer = LaneOptions::new("lane").capacity(4096).attachments(20).create().unwrap();
        let stdin = std::io::stdin();
        let fds = [stdin.as_fd(); 21];
        let count = |records: &[(usize, usize)]| {
            let payload = [0; 4096];
            let records: Vec<Payload<'_>> =
                records.iter().map(|(len, count)| (&payload[..*len], &fds[..*count])).collect();
            producer.count_group(&records)
        };
        assert_eq!(count(&[(0, 1); 16]), 16);
        assert_eq!(count(&[(0, 8), (0, 0), (0, 8), (0, 0), (0, 1)]), 4, "16 descriptors at most");
        assert_eq!(count(&[(0, 20), (0, 1)]), 1, "what does not fit goes alone");
        assert_eq!(count(&[(0, 1), (0, 21)]), 1, "more than the lane allows");
        // An eighth of the ring: 512 bytes, of which each header takes 8.
        assert_eq!(count(&[(248, 1), (248, 1), (0, 1)]), 2);
        assert_eq!(count(&[(248, 1), (249, 1)]), 1);
        assert_eq!(count(&[(2000, 1), (0, 1)]), 1);
    }
}
