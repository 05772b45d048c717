//! The choices that the two ends of a session agree on for each lane, and the reasons why one end refuses the other.
//! Rings, sessions and frames all use them. Their bytes on the wire are in [`wire`](crate::wire).

use std::fmt;

/// Where in the stream a consumer or a tap begins.
///
/// ```
/// use fdring::{Attach, options::Start};
/// # use fdring::{Producer, Server, Session};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let mut ticks = Producer::create("ticks")?;
/// # let server = Server::listen("@doc-start", [&ticks])?;
/// ticks.send(b"published before")?;
///
/// let replay = Attach::new().start(Start::Oldest);
/// let mut consumer = Session::connect("@doc-start")?.attach_one(replay)?;
/// assert_eq!(&consumer.receive()?.unwrap()[..], b"published before");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
#[doc(alias("offset", "replay", "seek"))]
pub enum Start {
    /// At the first record that is published after it has joined. The default.
    #[default]
    Latest,
    /// At the oldest record that is certain to be intact: the first one as long as nothing was overwritten. After that,
    /// up to a sixteenth of the ring may be skipped, or a batch if that is longer.
    Oldest,
    /// In the place of a consumer of the same user that has left, died or been evicted: at the first record that it had
    /// not released. For lanes that [want a number of consumers](crate::options::NoConsumer).
    ///
    /// If several places are vacant, the one that keeps most is taken. If none is vacant and a new one is free, it is
    /// taken and reading begins as with [`Latest`](Self::Latest). Otherwise the producer refuses with
    /// [`Refusal::Busy`]: it may not know yet that a consumer has died, so try again. A lane without places refuses
    /// with [`Refusal::Unsupported`].
    Resume,
    /// At the last record that is published, if there is one. Only taps begin there.
    Newest,
    /// At this position: one that [`Consumer::position`](crate::Consumer::position) or
    /// [`Record::position`](crate::Record::position) has returned, to go on where this or another consumer has stopped.
    ///
    /// A position means nothing on another lane, and a producer that was started again has another lane: compare
    /// [`LaneInfo::id`](crate::info::LaneInfo::id) first. The producer refuses with [`Refusal::Position`], and says
    /// what it has, if the ring no longer has the position, has not reached it, or if no record begins
    /// there. Use no positions of your own: a payload may look like headers.
    ///
    /// ```
    /// use fdring::{Attach, Session, options::Start};
    /// # use fdring::{Producer, Server};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut ticks = Producer::create("ticks")?;
    /// # let server = Server::listen("@doc-start-at", [&ticks])?;
    /// # let mut consumer = Session::connect("@doc-start-at")?.attach_one(Attach::new())?;
    /// ticks.send(b"first")?;
    /// ticks.send(b"second")?;
    /// consumer.receive()?;
    /// let (lane, position) = (consumer.lane().id, consumer.position()); // kept in a file, for example
    /// drop(consumer);
    ///
    /// let session = Session::connect("@doc-start-at")?;
    /// let start = if session.lanes()[0].id == lane { Start::At(position) } else { Start::Oldest };
    /// let mut consumer = session.attach_one(Attach::new().start(start))?;
    /// assert_eq!(&consumer.receive()?.unwrap()[..], b"second");
    /// # Ok(())
    /// # }
    /// ```
    At(u64),
}

/// The reason why a peer refuses a session: the numbers of `docs/protocol.md`.
///
/// [`Busy`](Self::Busy), [`Descriptors`](Self::Descriptors), [`TimedOut`](Self::TimedOut) and
/// [`Closing`](Self::Closing) may pass: a caller may try again.
///
/// ```
/// use fdring::{Error, errors::Refusal};
///
/// fn may_try_again(error: &Error) -> bool {
///     matches!(error, Error::Refused { refusal: Refusal::Busy | Refusal::Closing, .. })
/// }
///
/// assert!(may_try_again(&Error::Refused { refusal: Refusal::Busy, reason: "all places are taken".to_owned() }));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Refusal {
    /// The two ends have no version of the protocol in common.
    Version,
    /// The producer has no lane of a requested name.
    UnknownLane,
    /// The server has as many sessions as it admits, or no place is vacant at which to resume.
    Busy,
    /// The peer does not admit this user, or does not let it read in place.
    Forbidden,
    /// The peer found a fault in what this side sent.
    Protocol,
    /// The peer does not implement what was asked for.
    Unsupported,
    /// The peer is out of descriptors.
    Descriptors,
    /// The handshake did not finish before the peer's deadline.
    TimedOut,
    /// The peer is shutting down.
    Closing,
    /// The producer has more than 83 lanes, the most that one session can have: ask for some of them by name.
    TooManyLanes,
    /// A memory region that this side sent, or its seat, failed the peer's checks.
    Region,
    /// Something failed at the peer's end.
    Internal,
    /// The roles of the two ends do not fit: for example, both produce.
    Roles,
    /// The ring no longer has, or does not yet have, the [position](Start::At) at which reading is to begin, or no
    /// record begins there.
    Position,
    /// A number that has no meaning in this version.
    Other(u16),
}

impl Refusal {
    /// The refusal of this number.
    pub(crate) fn from_code(code: u16) -> Self {
        match code {
            1 => Self::Version,
            2 => Self::UnknownLane,
            3 => Self::Busy,
            4 => Self::Forbidden,
            5 => Self::Protocol,
            6 => Self::Unsupported,
            7 => Self::Descriptors,
            8 => Self::TimedOut,
            9 => Self::Closing,
            10 => Self::TooManyLanes,
            11 => Self::Region,
            12 => Self::Internal,
            13 => Self::Roles,
            14 => Self::Position,
            code => Self::Other(code),
        }
    }

    /// The number of this refusal in the protocol.
    ///
    /// ```
    /// assert_eq!(fdring::errors::Refusal::Busy.code(), 3);
    /// ```
    pub fn code(self) -> u16 {
        match self {
            Self::Version => 1,
            Self::UnknownLane => 2,
            Self::Busy => 3,
            Self::Forbidden => 4,
            Self::Protocol => 5,
            Self::Unsupported => 6,
            Self::Descriptors => 7,
            Self::TimedOut => 8,
            Self::Closing => 9,
            Self::TooManyLanes => 10,
            Self::Region => 11,
            Self::Internal => 12,
            Self::Roles => 13,
            Self::Position => 14,
            Self::Other(code) => code,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Version => "no common version of the protocol",
            Self::UnknownLane => "no lane of that name",
            Self::Busy => "too many sessions",
            Self::Forbidden => "the user is not admitted",
            Self::Protocol => "the protocol was broken",
            Self::Unsupported => "not implemented here",
            Self::Descriptors => "out of descriptors",
            Self::TimedOut => "the handshake took too long",
            Self::Closing => "shutting down",
            Self::TooManyLanes => "more lanes than one session can have",
            Self::Region => "a region failed its checks",
            Self::Internal => "something failed at the refusing end",
            Self::Roles => "the roles of the two ends do not fit",
            Self::Position => "nothing is to be read from that position on",
            Self::Other(code) => return write!(f, "an unknown reason ({code})"),
        })
    }
}

/// Whether a reader holds the producer back: a consumer does, a tap does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Delivery {
    Lossless,
    Lossy,
}

/// How payloads reach the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// It reads them in the ring, and is never evicted while it lives.
    InPlace,
    /// It copies them out, and can be evicted.
    Copies,
}

/// How a sleeper and its waker order their looks at each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Barrier {
    /// A sequentially consistent fence on both sides.
    Fence,
    /// The sleeper pays for both sides, see membarrier(2).
    Asymmetric,
}

/// What a consumer of a lane sleeps on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BellKind {
    /// Of producers that trust their consumers: a consumer can make a ring of it wait for ever.
    Eventfd,
    /// Of all others, and of every producer of this crate: no ring waits.
    Socketpair,
}

impl fmt::Display for BellKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Eventfd => "an eventfd",
            Self::Socketpair => "one end of a seqpacket socket pair",
        })
    }
}
