//! Taking the descriptors that go with a record: [`Record::take_fds`] and [`Record::take_named`].

use super::record::{Record, RecordOrigin};
use crate::error::Error;
use crate::fds::NamesFault;
use crate::fds::from_table;
use crate::kind::ErrorKind;
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use std::fmt;
use std::io;

/// The reason why the descriptors of a record cannot be taken. The record itself is whole.
///
/// `Debug` prints the sentence of `Display`, then the variant in parentheses. Converted to [`io::Error`], it keeps its
/// sentence and gets this kind:
///
/// | variant | [`io::ErrorKind`] |
/// | --- | --- |
/// | `NotAsked`, `Taken` | `InvalidInput` |
/// | `NoRoom` | `QuotaExceeded` |
/// | `NotSent` | `NotFound` |
/// | `CutOff` | `ConnectionAborted` |
/// | `Names`, `Peer` | `InvalidData` |
/// | `Forked` | `Unsupported` |
///
/// ```
/// use fdring::errors::TakeFdsError;
/// # use fdring::{Consumer, Server, options::LaneOptions};
/// # use std::{fs::File, os::fd::AsFd};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let mut files = LaneOptions::new("files").attachments(1).create()?;
/// # let server = Server::listen("@doc-take-fds-error", [&files])?;
/// # files.wait_for_consumers(0, std::time::Duration::ZERO)?;
/// let mut consumer = Consumer::connect("@doc-take-fds-error")?; // asks for no descriptors
/// # files.send_with_fds(b"null", &[File::open("/dev/null")?.as_fd()])?;
/// let record = consumer.receive()?.unwrap();
/// assert_eq!(record.fd_count(), 1);
/// assert_eq!(record.take_fds().unwrap_err(), TakeFdsError::NotAsked);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum TakeFdsError {
    /// This consumer did not ask for descriptors, or this is a tap, which is given none.
    NotAsked,
    /// They were taken already.
    Taken,
    /// There is no room for them in this process now: its descriptor table is full, or too many that were not taken, or
    /// were not what they should be, are still being closed. Nothing is lost: close some, and call again.
    NoRoom,
    /// They were not sent to this consumer. It has resumed another consumer's place, and the record was published
    /// before; or the producer broke the protocol.
    NotSent {
        /// The position of the record.
        position: u64,
    },
    /// The producer sends this consumer no more descriptors: the consumer left too many untaken for too long, or the
    /// producer ended the session before it had sent these.
    CutOff,
    /// The payload does not name them. Only [`Record::take_named`] returns this.
    Names(NamesFault),
    /// The producer sent something that may not come with descriptors: this says what. It sends this consumer no more.
    Peer(Box<str>),
    /// This process is a forked child, and the consumer belongs to the parent.
    Forked,
}

impl fmt::Display for TakeFdsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAsked => f.write_str(
                "this reader did not ask for the descriptors of records; attach as a consumer with Attach::attachments",
            ),
            Self::Taken => f.write_str("the descriptors of this record were taken already"),
            Self::NoRoom => f.write_str(
                "there is no room for the descriptors of this record: the table of this process is full, or too many \
                 that were not taken are still being closed; close some or raise RLIMIT_NOFILE, and take them then",
            ),
            Self::NotSent { position } => write!(
                f,
                "the descriptors of the record at position {position} were not sent to this consumer, which came later"
            ),
            Self::CutOff => f.write_str(
                "the producer sends this consumer no more descriptors; take them in time, and connect again to go on",
            ),
            Self::Names(fault) => write!(f, "the payload does not name the descriptors of this record: {fault}"),
            Self::Peer(fault) => write!(f, "the producer broke the protocol of descriptors: {fault}"),
            Self::Forked => {
                f.write_str("this process is a forked child, and a consumer belongs to the process that attached it")
            }
        }
    }
}

impl std::error::Error for TakeFdsError {}

impl fmt::Debug for TakeFdsError {
    /// The sentence first: this is what `unwrap` and `main` print.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let variant = match self {
            Self::NotAsked => "NotAsked",
            Self::Taken => "Taken",
            Self::NoRoom => "NoRoom",
            Self::NotSent { .. } => "NotSent",
            Self::CutOff => "CutOff",
            Self::Names(_) => "Names",
            Self::Peer(_) => "Peer",
            Self::Forked => "Forked",
        };
        write!(f, "{self} ({variant})")
    }
}

impl TakeFdsError {
    /// The kind of this error, which has a stable number.
    ///
    /// ```
    /// use fdring::errors::{ErrorKind, TakeFdsError};
    ///
    /// assert_eq!(TakeFdsError::CutOff.kind(), ErrorKind::DescriptorsLost);
    /// ```
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NotAsked | Self::Taken => ErrorKind::Invalid,
            Self::NoRoom => ErrorKind::Os,
            Self::NotSent { .. } | Self::CutOff => ErrorKind::DescriptorsLost,
            Self::Names(_) | Self::Peer(_) => ErrorKind::Peer,
            Self::Forked => ErrorKind::Forked,
        }
    }

    /// Whether a later call for the same record may get the descriptors.
    ///
    /// ```
    /// use fdring::errors::TakeFdsError;
    ///
    /// assert!(TakeFdsError::NoRoom.is_worth_retrying());
    /// assert!(!TakeFdsError::Taken.is_worth_retrying());
    /// ```
    #[must_use]
    pub fn is_worth_retrying(&self) -> bool {
        match self {
            Self::NoRoom => true,
            Self::NotAsked
            | Self::Taken
            | Self::NotSent { .. }
            | Self::CutOff
            | Self::Names(_)
            | Self::Peer(_)
            | Self::Forked => false,
        }
    }
}

impl From<TakeFdsError> for io::Error {
    /// The kind is in the table at [`TakeFdsError`].
    fn from(error: TakeFdsError) -> Self {
        let kind = match &error {
            TakeFdsError::NotAsked | TakeFdsError::Taken => io::ErrorKind::InvalidInput,
            TakeFdsError::NoRoom => io::ErrorKind::QuotaExceeded,
            TakeFdsError::NotSent { .. } => io::ErrorKind::NotFound,
            TakeFdsError::CutOff => io::ErrorKind::ConnectionAborted,
            TakeFdsError::Names(_) | TakeFdsError::Peer(_) => io::ErrorKind::InvalidData,
            TakeFdsError::Forked => io::ErrorKind::Unsupported,
        };
        Self::new(kind, error)
    }
}

impl From<TakeFdsError> for Error {
    /// For [parcels](crate::parcel), whose errors are of this type.
    fn from(error: TakeFdsError) -> Self {
        let doing = "taking the descriptors of a record";
        match error {
            TakeFdsError::NotAsked | TakeFdsError::Taken => Self::Invalid(error.to_string()),
            TakeFdsError::NoRoom => Self::os("take the descriptors of a record")(Errno::MFILE),
            TakeFdsError::NotSent { .. } | TakeFdsError::CutOff => Self::DescriptorsLost(error.to_string()),
            TakeFdsError::Names(_) | TakeFdsError::Peer(_) => Self::peer(doing, error),
            TakeFdsError::Forked => Self::Forked,
        }
    }
}

impl Record<'_> {
    /// The number of descriptors that the producer attached to this record, 0 to 253. Taps and consumers that did not
    /// ask for descriptors learn it, too.
    ///
    /// ```
    /// # use fdring::{Consumer, Server, options::LaneOptions};
    /// # use std::{fs::File, os::fd::AsFd};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut files = LaneOptions::new("files").attachments(2).create()?;
    /// # let server = Server::listen("@doc-fd-count", [&files])?;
    /// # let mut consumer = Consumer::connect("@doc-fd-count")?;
    /// let null = File::open("/dev/null")?;
    /// files.send_with_fds(b"two", &[null.as_fd(), null.as_fd()])?;
    /// assert_eq!(consumer.receive()?.unwrap().fd_count(), 2);
    /// # Ok(())
    /// # }
    /// ```
    #[inline]
    pub fn fd_count(&self) -> usize {
        self.fds().into()
    }

    /// Takes the descriptors that the producer attached to this record, in order, all close-on-exec. Each consumer gets
    /// duplicates of its own, which share file offsets and status flags with those of the producer and of the other
    /// consumers. Empty if the record has none.
    ///
    /// They can be taken once, before the next call on the consumer. If they are not, they are closed soon after: by a
    /// call that finds nothing published, or that returns a later record with descriptors. They may be of any kind:
    /// check what a producer sends that is not trusted. To close a descriptor can take as long as its sender likes, and
    /// for ever if it is a file of a file system of its sender's own (FUSE): the library closes what is not taken on
    /// threads that may wait.
    ///
    /// ```
    /// # use fdring::{Attach, Server, Session, options::LaneOptions};
    /// # use std::os::fd::AsFd;
    /// use std::io::Read;
    /// use std::net::{TcpListener, TcpStream};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut sockets = LaneOptions::new("sockets").attachments(1).create()?;
    /// # let server = Server::listen("@doc-take-fds", [&sockets])?;
    /// # let mut consumer = Session::connect("@doc-take-fds")?.attach_one(Attach::new().attachments(true))?;
    /// let listener = TcpListener::bind("127.0.0.1:0")?;
    /// sockets.send_with_fds(b"a listening socket", &[listener.as_fd()])?;
    ///
    /// let record = consumer.receive()?.unwrap();
    /// let same = TcpListener::from(record.take_fds()?.remove(0));
    /// assert_eq!(same.local_addr()?, listener.local_addr()?);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`TakeFdsError::NotAsked`] if this consumer did not ask for them, or this is a record of a tap
    /// - [`TakeFdsError::Taken`] if they were taken already
    /// - [`TakeFdsError::NoRoom`] if this process has no room for them now; nothing is lost
    /// - [`TakeFdsError::NotSent`] or [`TakeFdsError::CutOff`] if the producer did not send them to this consumer
    /// - [`TakeFdsError::Peer`] if the producer broke the protocol
    /// - [`TakeFdsError::Forked`] in a forked child
    pub fn take_fds(&self) -> Result<Vec<OwnedFd>, TakeFdsError> {
        match (self.fds(), self.origin()) {
            (0, _) => Ok(Vec::new()),
            (count, RecordOrigin::Consumer(release)) => release.seat().take_fds(self.position(), count),
            (_, RecordOrigin::Tap(_)) => Err(TakeFdsError::NotAsked),
        }
    }

    /// The descriptors, to be [refused](Self::refuse) if they are not what they should be. None while many that were
    /// refused are still being closed, so that a producer cannot have them fill the table of this process.
    pub(crate) fn take_fds_to_check(&self) -> Result<Vec<OwnedFd>, TakeFdsError> {
        match self.origin() {
            RecordOrigin::Consumer(release) if release.seat().has_refused_many() => Err(TakeFdsError::NoRoom),
            _ => self.take_fds(),
        }
    }

    /// Closes descriptors of this record that are not what they should be, without waiting.
    pub(crate) fn refuse(&self, fds: Vec<OwnedFd>) {
        if let RecordOrigin::Consumer(release) = self.origin() {
            release.seat().refuse(fds);
        }
    }

    /// Takes the descriptors of a record that was sent by [`Producer::send_named`](crate::Producer::send_named), each
    /// with its name, in the order in which they were sent. No two have the same name.
    ///
    /// ```
    /// # use fdring::{Attach, Server, Session, options::LaneOptions};
    /// # use std::{collections::HashMap, fs::File, os::fd::{AsFd, OwnedFd}};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut files = LaneOptions::new("files").attachments(10).create()?;
    /// # let server = Server::listen("@doc-take-named", [&files])?;
    /// # let mut consumer = Session::connect("@doc-take-named")?.attach_one(Attach::new().attachments(true))?;
    /// # let (null, zero) = (File::open("/dev/null")?, File::open("/dev/zero")?);
    /// files.send_named([("log", null.as_fd()), ("model", zero.as_fd())])?;
    ///
    /// let mut files: HashMap<String, OwnedFd> = consumer.receive()?.unwrap().take_named()?.into_iter().collect();
    /// let log = File::from(files.remove("log").expect("the producer sends a log"));
    /// # let _ = log;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`TakeFdsError::Names`] if the payload does not name the descriptors, which are closed then
    /// - [`TakeFdsError::NotAsked`] if this consumer did not ask for them, or this is a record of a tap
    /// - [`TakeFdsError::Taken`] if they were taken already
    /// - [`TakeFdsError::NoRoom`] if this process has no room for them now; nothing is lost
    /// - [`TakeFdsError::NotSent`] or [`TakeFdsError::CutOff`] if the producer did not send them to this consumer
    /// - [`TakeFdsError::Peer`] if the producer broke the protocol
    /// - [`TakeFdsError::Forked`] in a forked child
    pub fn take_named(&self) -> Result<Vec<(String, OwnedFd)>, TakeFdsError> {
        let fds = self.take_fds_to_check()?;
        match from_table(self, fds.len()) {
            Ok(names) => Ok(names.into_iter().zip(fds).collect()),
            Err(fault) => {
                self.refuse(fds);
                Err(TakeFdsError::Names(fault))
            }
        }
    }
}
