//! Parcels and sealed memory as records: their descriptors attached, beside a payload of their own.
//!
//! What this file does not do: [`parcel`](crate::parcel) makes them and checks what came, and descriptors go with
//! records by [`Producer::send_with_fds`] and [`Record::take_fds`].

use crate::consumer::Record;
use crate::error::{Error, Result};
use crate::parcel::{Parcel, ParcelBytes};
use crate::producer::{Producer, SendError};
use crate::region::{Region, Sealed};
use rustix::fd::AsFd;
use std::fmt;
use std::io;
use std::ops::Deref;
use std::time::{Duration, Instant};

impl Producer {
    /// Sends a parcel as one record: `payload`, which may be empty, and the descriptors of `parcel`. Nothing of the
    /// parcel is copied, and it can be sent again. Waits like [`send_with_fds`](Self::send_with_fds).
    ///
    /// The lane allows as many descriptors on a record as the parcel has
    /// ([`LaneOptions::attachments`](crate::options::LaneOptions::attachments)): one, and one more for each memfd that
    /// its buffers share with other parcels.
    ///
    /// ```
    /// use fdring::parcel::ParcelBuilder;
    /// # use fdring::{Attach, Server, Session, options::LaneOptions};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut tables = LaneOptions::new("tables").attachments(1).create()?;
    /// # let server = Server::listen("@doc-send-parcel", [&tables])?;
    /// # let mut consumer = Session::connect("@doc-send-parcel")?.attach_one(Attach::new().attachments(true))?;
    /// let mut writer = ParcelBuilder::new("rows").buffer(1, 1 << 20).allocate()?;
    /// writer.buffer_mut(0).fill(7);
    /// tables.send_parcel(b"table 17", &writer.seal()?)?;
    ///
    /// let record = consumer.receive()?.unwrap();
    /// let rows = record.take_parcel(16 << 20)?; // of 16 MiB at most
    /// assert_eq!((&record[..], rows.buffer(0).unwrap()[0]), (&b"table 17"[..], 7));
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
    /// - [`SendError::Interrupted`] if an [`Interrupter`](crate::Interrupter) ended the wait
    /// - [`SendError::Forked`] in a forked child
    pub fn send_parcel(&mut self, payload: &[u8], parcel: &Parcel) -> Result<(), SendError> {
        self.send_with_fds(payload, &parcel.fds())
    }

    /// Like [`send_parcel`](Self::send_parcel), but never waits.
    ///
    /// ```
    /// # use fdring::{options::LaneOptions, parcel::ParcelBuilder};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut tables = LaneOptions::new("tables").attachments(1).create()?;
    /// let parcel = ParcelBuilder::new("rows").buffer(1, 4096).allocate()?.seal()?;
    /// tables.try_send_parcel(b"", &parcel)?;
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
    pub fn try_send_parcel(&mut self, payload: &[u8], parcel: &Parcel) -> Result<(), SendError> {
        self.try_send_with_fds(payload, &parcel.fds())
    }

    /// Like [`send_parcel`](Self::send_parcel), but waits at most `timeout`.
    ///
    /// ```
    /// # use fdring::{options::LaneOptions, parcel::ParcelBuilder};
    /// # use std::time::{Duration, Instant};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut tables = LaneOptions::new("tables").attachments(1).create()?;
    /// let parcel = ParcelBuilder::new("rows").buffer(1, 4096).allocate()?.seal()?;
    /// tables.send_parcel_timeout(b"", &parcel, Duration::from_secs(1))?;
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
    /// - [`SendError::Interrupted`] if an [`Interrupter`](crate::Interrupter) ended the wait
    /// - [`SendError::Forked`] in a forked child
    pub fn send_parcel_timeout(&mut self, payload: &[u8], parcel: &Parcel, timeout: Duration) -> Result<(), SendError> {
        self.send_with_fds_timeout(payload, &parcel.fds(), timeout)
    }

    /// Like [`send_parcel`](Self::send_parcel), but waits only until `deadline`, which several calls can share.
    ///
    /// ```
    /// # use fdring::{options::LaneOptions, parcel::ParcelBuilder};
    /// # use std::time::{Duration, Instant};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut tables = LaneOptions::new("tables").attachments(1).create()?;
    /// let parcel = ParcelBuilder::new("rows").buffer(1, 4096).allocate()?.seal()?;
    /// let deadline = Instant::now() + Duration::from_secs(1);
    /// tables.send_parcel_deadline(b"first", &parcel, deadline)?;
    /// tables.send_parcel_deadline(b"second", &parcel, deadline)?;
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
    /// - [`SendError::Interrupted`] if an [`Interrupter`](crate::Interrupter) ended the wait
    /// - [`SendError::Forked`] in a forked child
    pub fn send_parcel_deadline(
        &mut self,
        payload: &[u8],
        parcel: &Parcel,
        deadline: Instant,
    ) -> Result<(), SendError> {
        self.send_with_fds_deadline(payload, &parcel.fds(), deadline)
    }

    /// Sends sealed memory as one record: `payload`, which may be empty, and the descriptor of `sealed`. Waits like
    /// [`send_with_fds`](Self::send_with_fds).
    ///
    /// For the other time forms, send the descriptor itself: consumers see the same record after
    /// `pages.send_with_fds_timeout(b"page 1", &[page.as_fd()], timeout)`.
    ///
    /// ```
    /// # use fdring::{Attach, Server, Session, options::LaneOptions, parcel::SealedBuilder};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut pages = LaneOptions::new("pages").attachments(1).create()?;
    /// # let server = Server::listen("@doc-send-sealed", [&pages])?;
    /// # let mut consumer = Session::connect("@doc-send-sealed")?.attach_one(Attach::new().attachments(true))?;
    /// let mut page = SealedBuilder::new("page", 4096)?;
    /// page[..5].copy_from_slice(b"hello");
    /// pages.send_sealed(b"page 1", &page.seal()?)?;
    ///
    /// let page = consumer.receive()?.unwrap().take_sealed(1 << 20)?;
    /// assert_eq!(&page[..5], b"hello");
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
    /// - [`SendError::Interrupted`] if an [`Interrupter`](crate::Interrupter) ended the wait
    /// - [`SendError::Forked`] in a forked child
    pub fn send_sealed(&mut self, payload: &[u8], sealed: &Sealed) -> Result<(), SendError> {
        self.send_with_fds(payload, &[sealed.as_fd()])
    }

    /// Sends `bytes` in the ring if there are at most `threshold` of them, and otherwise as a parcel of one buffer with
    /// an empty payload. For lanes of mostly short records, in which a long one would take much of the ring. Consumers
    /// call [`Record::take_bytes`]. Waits like [`send_with_fds`](Self::send_with_fds).
    ///
    /// Both ways copy the bytes once. In the ring, they are released with their record. A parcel lives as long as any
    /// process has it, and its memory is made anew each time.
    ///
    /// For the other time forms, choose by the length:
    ///
    /// ```
    /// # use fdring::{options::LaneOptions, parcel::Parcel};
    /// # use std::time::Duration;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut files = LaneOptions::new("files").capacity(64 << 10).attachments(1).create()?;
    /// # let (bytes, timeout) = (vec![7; 1 << 20], Duration::from_secs(1));
    /// if bytes.len() <= 16 << 10 {
    ///     files.send_timeout(&bytes, timeout)?;
    /// } else {
    ///     files.send_parcel_timeout(b"", &Parcel::copy_of("file", 0, &[&bytes])?, timeout)?;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// An example of both ends:
    ///
    /// ```
    /// # use fdring::{Attach, Server, Session, options::LaneOptions};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut files = LaneOptions::new("files").capacity(64 << 10).attachments(1).create()?;
    /// # let server = Server::listen("@doc-send-or-parcel", [&files])?;
    /// # let mut consumer = Session::connect("@doc-send-or-parcel")?.attach_one(Attach::new().attachments(true))?;
    /// for len in [100, 1 << 20] {
    ///     files.send_or_parcel(&vec![7; len], 16 << 10)?; // the second is longer than the ring
    /// }
    /// for len in [100, 1 << 20] {
    ///     assert_eq!(consumer.receive()?.unwrap().take_bytes(16 << 20)?.len(), len);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`SendError::TooLong`] if `bytes` has at most `threshold` bytes, and is longer than
    ///   [`LaneInfo::payload_max`](crate::info::LaneInfo::payload_max)
    /// - [`SendError::TooManyAttachments`] if there are more descriptors than
    ///   [`LaneOptions::attachments`](crate::options::LaneOptions::attachments) allows
    /// - [`SendError::TooManyInFlight`] if too many descriptors of this user are in flight
    /// - [`SendError::Attachment`] if the memory of a parcel cannot be made, or the kernel does not send its descriptor
    /// - [`SendError::TooSlow`] if a consumer holds the full ring back, or leaves descriptors untaken, for longer than
    ///   the lane's [`SlowConsumer`](crate::options::SlowConsumer) allows
    /// - [`SendError::TooFewConsumers`] if the lane has fewer consumers than
    ///   [`NoConsumer::FailBelow`](crate::options::NoConsumer::FailBelow) requires
    /// - [`SendError::Interrupted`] if an [`Interrupter`](crate::Interrupter) ended the wait
    /// - [`SendError::Forked`] in a forked child
    pub fn send_or_parcel(&mut self, bytes: &[u8], threshold: usize) -> Result<(), SendError> {
        if bytes.len() <= threshold {
            return self.send(bytes);
        }
        let parcel = Parcel::copy_of("record", 0, &[bytes]).map_err(|error| match error {
            Error::Os { cause, .. } => SendError::Attachment(cause.raw_os_error().unwrap_or(match cause.kind() {
                io::ErrorKind::FileTooLarge => libc::EFBIG,
                _ => libc::ENOMEM,
            })),
            Error::Forked => SendError::Forked,
            _ => SendError::Attachment(libc::ENOMEM),
        })?;
        self.send_parcel(b"", &parcel)
    }
}

impl<'a> Record<'a> {
    /// Takes the parcel that was sent as this record, after the kernel has confirmed that nobody can change a byte of
    /// it. All its memfds together have at most `bytes_max` bytes: this process maps that much. The producer need not
    /// be trusted. [`Producer::send_parcel`] has an example.
    ///
    /// ```
    /// # use fdring::{Attach, Server, Session, options::LaneOptions, parcel::ParcelBuilder};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut tables = LaneOptions::new("tables").attachments(1).create()?;
    /// # let server = Server::listen("@doc-take-parcel", [&tables])?;
    /// # let mut consumer = Session::connect("@doc-take-parcel")?.attach_one(Attach::new().attachments(true))?;
    /// # tables.send_parcel(b"", &ParcelBuilder::new("rows").buffer(1, 4096).allocate()?.seal()?)?;
    /// let rows = consumer.receive()?.unwrap().take_parcel(16 << 20)?;
    /// assert_eq!(rows.buffer(0).unwrap().len(), 4096);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`Error::Invalid`] if this reader did not ask for descriptors, or has taken them already
    /// - [`Error::Peer`] if the record has none, or they are not those of a parcel, or are longer than `bytes_max`
    /// - [`Error::Os`] if there is no room for them now, after which it can be called again: its cause is `EMFILE`.
    ///   With another cause they cannot be mapped, and are closed.
    /// - [`Error::DescriptorsLost`] if the producer did not send them to this consumer: as in
    ///   [`TakeFdsError::NotSent`](crate::errors::TakeFdsError::NotSent) and
    ///   [`CutOff`](crate::errors::TakeFdsError::CutOff)
    /// - [`Error::Forked`] in a forked child
    pub fn take_parcel(&self, bytes_max: u64) -> Result<Parcel> {
        let fds = self.take_fds_to_check()?;
        match fds.iter().position(|fd| !Region::is_memory(fd)) {
            None => Parcel::from_fds(fds, bytes_max),
            Some(index) => {
                self.refuse(fds);
                Err(Error::peer("handing over a parcel", format!("descriptor {index} is not a memfd")))
            }
        }
    }

    /// Takes the sealed memory that was sent as this record, as [`take_parcel`](Self::take_parcel) takes a parcel.
    /// [`Producer::send_sealed`] has an example.
    ///
    /// ```
    /// # use fdring::{Attach, Server, Session, options::LaneOptions, parcel::SealedBuilder};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut pages = LaneOptions::new("pages").attachments(1).create()?;
    /// # let server = Server::listen("@doc-take-sealed", [&pages])?;
    /// # let mut consumer = Session::connect("@doc-take-sealed")?.attach_one(Attach::new().attachments(true))?;
    /// # pages.send_sealed(b"", &SealedBuilder::new("page", 4096)?.seal()?)?;
    /// assert_eq!(consumer.receive()?.unwrap().take_sealed(4096)?.len(), 4096);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`Error::Invalid`] if this reader did not ask for descriptors, or has taken them already
    /// - [`Error::Peer`] if the record has not exactly one descriptor, or it is not that of a sealed region, or is
    ///   longer than `bytes_max`
    /// - [`Error::Os`] if there is no room for them now, after which it can be called again: its cause is `EMFILE`.
    ///   With another cause they cannot be mapped, and are closed.
    /// - [`Error::DescriptorsLost`] if the producer did not send them to this consumer: as in
    ///   [`TakeFdsError::NotSent`](crate::errors::TakeFdsError::NotSent) and
    ///   [`CutOff`](crate::errors::TakeFdsError::CutOff)
    /// - [`Error::Forked`] in a forked child
    pub fn take_sealed(&self, bytes_max: u64) -> Result<Sealed> {
        let mut fds = self.take_fds_to_check()?;
        let fault = match &fds[..] {
            [fd] if Region::is_memory(fd) => return Sealed::from_fd_up_to(fds.remove(0), bytes_max),
            [_] => "the descriptor is not a memfd".to_owned(),
            fds => format!("it came with {} descriptors, not one", fds.len()),
        };
        self.refuse(fds);
        Err(Error::peer("handing over a sealed region", fault))
    }

    /// The bytes that were sent by [`Producer::send_or_parcel`]: the payload, or the one buffer of the parcel that was
    /// sent in its place, of at most `bytes_max` bytes. [`Producer::send_or_parcel`] has an example.
    ///
    /// ```
    /// # use fdring::{Attach, Server, Session, options::LaneOptions};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut files = LaneOptions::new("files").attachments(1).create()?;
    /// # let server = Server::listen("@doc-take-bytes", [&files])?;
    /// # let mut consumer = Session::connect("@doc-take-bytes")?.attach_one(Attach::new().attachments(true))?;
    /// # files.send_or_parcel(b"hello", 1)?;
    /// let bytes = consumer.receive()?.unwrap().take_bytes(1 << 20)?;
    /// assert_eq!(&bytes[..], b"hello");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`Error::Invalid`] if this reader did not ask for descriptors, or has taken them already
    /// - [`Error::Peer`] if the descriptors are not those of a parcel with exactly one buffer, or are longer than
    ///   `bytes_max`
    /// - [`Error::Os`] if there is no room for them now, after which it can be called again: its cause is `EMFILE`.
    ///   With another cause they cannot be mapped, and are closed.
    /// - [`Error::DescriptorsLost`] if the producer did not send them to this consumer: as in
    ///   [`TakeFdsError::NotSent`](crate::errors::TakeFdsError::NotSent) and
    ///   [`CutOff`](crate::errors::TakeFdsError::CutOff)
    /// - [`Error::Forked`] in a forked child
    pub fn take_bytes(&self, bytes_max: u64) -> Result<RecordBytes<'a>> {
        if self.fd_count() == 0 {
            return Ok(RecordBytes(BytesOf::Ring(self.payload())));
        }
        let parcel = self.take_parcel(bytes_max)?;
        match parcel.count() {
            1 => Ok(RecordBytes(BytesOf::Parcel(parcel.into_bytes()))),
            count => Err(Error::peer("handing over a parcel", format!("it has {count} buffers, not one"))),
        }
    }
}

/// Bytes that came in the ring or as a parcel: [`Record::take_bytes`] returns them. They dereference to `[u8]`.
///
/// ```
/// # use fdring::{Attach, Server, Session, options::LaneOptions};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let mut files = LaneOptions::new("files").attachments(1).create()?;
/// # let server = Server::listen("@doc-record-bytes", [&files])?;
/// # let mut consumer = Session::connect("@doc-record-bytes")?.attach_one(Attach::new().attachments(true))?;
/// files.send_or_parcel(b"hello", 100)?;
/// let record = consumer.receive()?.unwrap();
/// let bytes = record.take_bytes(1 << 20)?;
/// assert_eq!(bytes.to_vec(), b"hello");
/// # Ok(())
/// # }
/// ```
pub struct RecordBytes<'a>(BytesOf<'a>);

enum BytesOf<'a> {
    Ring(&'a [u8]),
    Parcel(ParcelBytes),
}

impl Deref for RecordBytes<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.0 {
            BytesOf::Ring(bytes) => bytes,
            BytesOf::Parcel(parcel) => parcel.buffer(0).unwrap_or_default(),
        }
    }
}

impl fmt::Debug for RecordBytes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecordBytes").field("len", &self.len()).finish_non_exhaustive()
    }
}
