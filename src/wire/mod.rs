//! The frames of a session: what the two ends of a socket say to each other, as bytes and as values.
//!
//! The invariant: the encoding is canonical. Whatever [`Frame::parse`] takes, [`Frame::encode`] gives back byte for
//! byte, so there are no two spellings of one meaning and no bytes that nobody looks at. Parsing is a pure function of
//! the bytes and of how many descriptors came with them; it panics on nothing and allocates no more than what is
//! really there. `docs/protocol.md` has every frame byte by byte, with examples that a test compares with this code.
//!
//! Nothing here reads a socket (the session does) or knows which frame may follow which (`handshake` does).
//!
//! # Header, before every body
//!
//! ```text
//! offset  0        4         6      8             12                 14         16
//!         ┌────────┬─────────┬──────┬─────────────┬──────────────────┬──────────┐
//!         │ magic  │ version │ type │ body length │ descriptor count │ reserved │ body …
//!         │ u32    │ u16     │ u16  │ u32         │ u16              │ u16 = 0  │
//!         └────────┴─────────┴──────┴─────────────┴──────────────────┴──────────┘
//! ```
//!
//! Hello and Refuse are frozen: their bodies never change, and they are understood whatever the version in their
//! header, so that two ends of any versions can still find out that they disagree, and say so.

mod attach;
mod body;
mod error;
mod report;
mod text;
mod values;

#[cfg(test)]
mod tests;

pub(crate) use attach::{LaneAttach, StartAt};
pub(crate) use body::{Hello, LaneFds, LaneTerms, Offer, OfferedLane, Refuse, check_distinct};
pub(crate) use error::FrameError;
pub(crate) use report::{
    ATTACHMENTS_MAX_BYTES, AttachedRecord, Attachments, QUERY_INTERVAL, RECORDS_PER_FRAME_MAX, Report, ReportedSeat,
    SEATS_PER_REPORT_MAX, UNKNOWN_UID,
};
pub(crate) use text::{LaneName, printable};
pub(crate) use values::{ByeReason, Role, SeatKind};

use text::Fields;

/// The longest frame, header included.
pub(crate) const FRAME_MAX_BYTES: usize = 64 << 10;
/// The most lanes of one session. They come in one message, which carries at most 253 descriptors: one for the seat,
/// and three for each lane.
///
/// ```
/// use fdring::limits::{FDS_PER_MESSAGE_MAX, LANES_PER_SESSION_MAX};
///
/// assert!(1 + 3 * LANES_PER_SESSION_MAX <= FDS_PER_MESSAGE_MAX);
/// ```
pub const LANES_PER_SESSION_MAX: usize = 83;
/// The longest sentence of a Refuse, in bytes of UTF-8.
pub(crate) const SENTENCE_MAX_BYTES: usize = 512;
/// The oldest version of the protocol that this code speaks.
pub(crate) const VERSION_MIN: u16 = 1;
/// The newest version of the protocol that this code speaks.
pub(crate) const VERSION_MAX: u16 = 1;

/// `fdrf`, read as a little-endian word.
const FRAME_MAGIC: u32 = u32::from_le_bytes(*b"fdrf");
const HEADER_LEN_BYTES: usize = 16;

const _: () = assert!(offer_fds(LANES_PER_SESSION_MAX) <= 253);

/// One message of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Frame {
    /// Who speaks, which versions it speaks and which lanes it wants. Frozen.
    Hello(Hello),
    /// The lanes, with their descriptors.
    Offer(Offer),
    /// How each offered lane will be read, in the order of the Offer; `None` if it is not.
    Attach(Vec<Option<LaneAttach>>),
    /// The position at which each lane's reading starts, in the order of the Offer; 0 if it is not read.
    Attached(Vec<u64>),
    /// No, and why. Frozen.
    Refuse(Refuse),
    /// The descriptors of records, on a socket of their own.
    Attachments(Attachments),
    /// How a lane is read by others: a question, with the lane's number.
    Query(usize),
    /// The answer.
    Report(Report),
    /// The session ends, and why.
    Bye(ByeReason),
    /// The seat on one lane was taken away; with the lane's number.
    Evicted(usize),
}

/// The types of frames.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u16)]
enum FrameType {
    Hello = 1,
    Offer = 2,
    Attach = 3,
    Attached = 4,
    Refuse = 5,
    Attachments = 6,
    Query = 7,
    Report = 8,
    Bye = 9,
    Evicted = 10,
}

/// What every frame begins with.
#[derive(Clone, Copy)]
struct Header {
    magic: u32,
    version: u16,
    kind: u16,
    body_len: u32,
    fd_count: u16,
    reserved: u16,
}

/// Which end of a direction sends a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SendingEnd {
    Consumer,
    Producer,
    Either,
}

impl Frame {
    /// Reads the one frame that `bytes` are. `fd_count` is how many descriptors came with them.
    ///
    /// # Errors
    ///
    /// The first thing about the bytes that no encoder would have written.
    pub(crate) fn parse(bytes: &[u8], fd_count: usize) -> Result<Self, FrameError> {
        if bytes.len() > FRAME_MAX_BYTES {
            return Err(FrameError::TooLong(bytes.len()));
        }
        let mut fields = Fields::new(bytes);
        let header = Header::read(&mut fields)?;
        let kind = header.check(fields.len(), fd_count)?;
        let frame = match kind {
            FrameType::Hello => Self::Hello(Hello::read(header.version, &mut fields)?),
            FrameType::Offer => Self::Offer(Offer::read(header.version, &mut fields)?),
            FrameType::Attach => Self::Attach(attach::read_attach(&mut fields)?),
            FrameType::Attached => Self::Attached(attach::read_attached(&mut fields)?),
            FrameType::Refuse => Self::Refuse(Refuse::read(header.version, &mut fields)?),
            FrameType::Attachments => Self::Attachments(Attachments::read(&mut fields)?),
            FrameType::Query => Self::Query(attach::read_lane_index("the Query", &mut fields)?),
            FrameType::Report => Self::Report(Report::read(&mut fields)?),
            FrameType::Bye => Self::Bye(ByeReason::from_word(fields.u16("the reason")?)),
            FrameType::Evicted => Self::Evicted(attach::read_lane_index("the Evicted", &mut fields)?),
        };
        fields.finish()?;
        if fd_count != frame.fd_count() {
            return Err(FrameError::Descriptors { frame: frame.name(), came: fd_count, expected: frame.fd_count() });
        }
        Ok(frame)
    }

    /// The bytes of this frame, to be sent as one message together with [`Frame::fd_count`] descriptors.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = vec![0; HEADER_LEN_BYTES];
        match self {
            Self::Hello(hello) => hello.write(&mut out),
            Self::Offer(offer) => offer.write(&mut out),
            Self::Attach(lanes) => attach::write_attach(lanes, &mut out),
            Self::Attached(starts) => attach::write_attached(starts, &mut out),
            Self::Refuse(refuse) => refuse.write(&mut out),
            Self::Attachments(attachments) => attachments.write(&mut out),
            Self::Report(report) => report.write(&mut out),
            Self::Bye(reason) => out.extend(reason.to_word().to_le_bytes()),
            Self::Query(lane) | Self::Evicted(lane) => attach::write_lane_index(*lane, &mut out),
        }
        let header = Header {
            magic: FRAME_MAGIC,
            version: self.version(),
            kind: self.kind() as u16,
            body_len: (out.len() - HEADER_LEN_BYTES) as u32,
            fd_count: self.fd_count() as u16,
            reserved: 0,
        };
        out[..HEADER_LEN_BYTES].copy_from_slice(&header.to_bytes());
        out
    }

    /// The number of descriptors that go with this frame.
    pub(crate) fn fd_count(&self) -> usize {
        match self {
            Self::Offer(offer) => Offer::fd_count(offer.lanes.iter().map(|lane| &lane.terms)),
            Self::Attach(lanes) => lanes.iter().flatten().filter(|lane| lane.descriptors).count(),
            Self::Attachments(attachments) => attachments.fd_count(),
            Self::Hello(_) | Self::Attached(_) | Self::Refuse(_) | Self::Bye(_) => 0,
            Self::Query(_) | Self::Report(_) | Self::Evicted(_) => 0,
        }
    }

    /// The end of a direction that sends such a frame.
    pub(crate) fn sender(&self) -> SendingEnd {
        match self {
            Self::Hello(_) | Self::Refuse(_) | Self::Bye(_) => SendingEnd::Either,
            Self::Attach(_) | Self::Query(_) => SendingEnd::Consumer,
            Self::Offer(_) | Self::Attached(_) | Self::Attachments(_) | Self::Report(_) | Self::Evicted(_) => {
                SendingEnd::Producer
            }
        }
    }

    /// The frame's name in the protocol, for messages.
    pub(crate) fn name(&self) -> &'static str {
        match self.kind() {
            FrameType::Hello => "Hello",
            FrameType::Offer => "Offer",
            FrameType::Attach => "Attach",
            FrameType::Attached => "Attached",
            FrameType::Refuse => "Refuse",
            FrameType::Attachments => "Attachments",
            FrameType::Query => "Query",
            FrameType::Report => "Report",
            FrameType::Bye => "Bye",
            FrameType::Evicted => "Evicted",
        }
    }

    fn kind(&self) -> FrameType {
        match self {
            Self::Hello(_) => FrameType::Hello,
            Self::Offer(_) => FrameType::Offer,
            Self::Attach(_) => FrameType::Attach,
            Self::Attached(_) => FrameType::Attached,
            Self::Refuse(_) => FrameType::Refuse,
            Self::Attachments(_) => FrameType::Attachments,
            Self::Query(_) => FrameType::Query,
            Self::Report(_) => FrameType::Report,
            Self::Bye(_) => FrameType::Bye,
            Self::Evicted(_) => FrameType::Evicted,
        }
    }

    fn version(&self) -> u16 {
        match self {
            Self::Hello(hello) => hello.header_version,
            Self::Refuse(refuse) => refuse.header_version(),
            Self::Offer(offer) => offer.version,
            // The only version there is. A second one will have to be remembered in these frames too.
            _ => VERSION_MAX,
        }
    }
}

impl Header {
    /// Reads the fields in their order, unchecked.
    fn read(fields: &mut Fields<'_>) -> Result<Self, FrameError> {
        let mut header = Fields::new(fields.bytes(HEADER_LEN_BYTES, "the header")?);
        Ok(Self {
            magic: header.u32("the magic")?,
            version: header.u16("the version")?,
            kind: header.u16("the type")?,
            body_len: header.u32("the length of the body")?,
            fd_count: header.u16("the count of descriptors")?,
            reserved: header.u16("the reserved field")?,
        })
    }

    fn to_bytes(self) -> [u8; HEADER_LEN_BYTES] {
        let mut bytes = [0; HEADER_LEN_BYTES];
        bytes[0..4].copy_from_slice(&self.magic.to_le_bytes());
        bytes[4..6].copy_from_slice(&self.version.to_le_bytes());
        bytes[6..8].copy_from_slice(&self.kind.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.body_len.to_le_bytes());
        bytes[12..14].copy_from_slice(&self.fd_count.to_le_bytes());
        bytes[14..16].copy_from_slice(&self.reserved.to_le_bytes());
        bytes
    }

    /// Everything that can be said before the body is read.
    fn check(&self, body_len: usize, fd_count: usize) -> Result<FrameType, FrameError> {
        if self.magic != FRAME_MAGIC {
            return Err(FrameError::Magic(self.magic));
        }
        let kind = FrameType::from_word(self.kind);
        let is_frozen = matches!(kind, Ok(FrameType::Hello | FrameType::Refuse));
        if !is_frozen && !(VERSION_MIN..=VERSION_MAX).contains(&self.version) {
            return Err(FrameError::Version(self.version));
        }
        let kind = kind?;
        if self.reserved != 0 {
            return Err(FrameError::Reserved { field: "the header's last field", value: self.reserved.into() });
        }
        if self.body_len as usize != body_len {
            return Err(FrameError::BodyLength { announced: self.body_len, came: body_len });
        }
        if usize::from(self.fd_count) != fd_count {
            return Err(FrameError::DescriptorsAnnounced { announced: self.fd_count, came: fd_count });
        }
        Ok(kind)
    }
}

impl FrameType {
    fn from_word(word: u16) -> Result<Self, FrameError> {
        match word {
            1 => Ok(Self::Hello),
            2 => Ok(Self::Offer),
            3 => Ok(Self::Attach),
            4 => Ok(Self::Attached),
            5 => Ok(Self::Refuse),
            6 => Ok(Self::Attachments),
            7 => Ok(Self::Query),
            8 => Ok(Self::Report),
            9 => Ok(Self::Bye),
            10 => Ok(Self::Evicted),
            _ => Err(FrameError::UnknownType(word)),
        }
    }
}

/// How many descriptors an Offer of that many lanes without flags has: the seat, then bell, control and data of each
/// lane.
pub(crate) const fn offer_fds(lanes: usize) -> usize {
    1 + 3 * lanes
}

/// The invariant of this file as a function, for fuzzers and property tests.
///
/// # Panics
///
/// Where `bytes` parse and do not come back.
#[cfg(test)]
pub(crate) fn assert_canonical(bytes: &[u8], fd_count: usize) {
    if let Ok(frame) = Frame::parse(bytes, fd_count) {
        assert_eq!(frame.encode(), bytes, "{frame:?} has a second spelling");
        assert_eq!(frame.fd_count(), fd_count, "{frame:?} came with the wrong number of descriptors");
    }
}
