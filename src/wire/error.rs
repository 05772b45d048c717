//! What can be wrong with the bytes of a frame.
//!
//! Every variant is something a peer wrote, or something the user wants to send that no peer would take. None of them
//! is followed by more parsing: the first fault ends the session.

use super::{
    FRAME_MAX_BYTES, LANES_PER_SESSION_MAX, RECORDS_PER_FRAME_MAX, SENTENCE_MAX_BYTES, VERSION_MAX, VERSION_MIN,
};
use crate::layout::{GeometryError, LANE_NAME_MAX_BYTES};
use crate::terms::Refusal;
use std::fmt;

/// Why bytes are not a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub(crate) enum FrameError {
    TooLong(usize),
    Truncated { field: &'static str, missing_bytes: usize },
    Trailing(usize),
    Magic(u32),
    Version(u16),
    UnknownType(u16),
    Unsupported(&'static str),
    Reserved { field: &'static str, value: u64 },
    BodyLength { announced: u32, came: usize },
    DescriptorsAnnounced { announced: u16, came: usize },
    Descriptors { frame: &'static str, came: usize, expected: usize },
    UnknownValue { field: &'static str, value: u8, min: u8, max: u8 },
    LaneCount { field: &'static str, count: usize, min: usize },
    NamesOfProducer(usize),
    LaneIndex { frame: &'static str, lane: u8 },
    Attach { lane: usize, how: &'static str },
    NothingToRead,
    AttachmentCount(u8),
    AttachedRecords(u8),
    AttachedOrder(u64),
    RecordFdsMax(usize),
    SeatCount { listed: usize, seats: u32 },
    NameLength(usize),
    SentenceLength(usize),
    NotUtf8(&'static str),
    ControlCharacter { field: &'static str, code: u32 },
    DuplicateName(String),
    DuplicateId { index: usize },
    VersionRange { min: u16, max: u16 },
    ChosenVersion { chosen: u16, header: u16 },
    EventfdSpaceBell,
    DescriptorIndex { field: &'static str, came: u16, expected: u16 },
    Geometry { name: String, cause: GeometryError },
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong(len) => write!(f, "the frame has {len} bytes, where at most {FRAME_MAX_BYTES} are allowed"),
            Self::Truncated { field, missing_bytes: bytes } => {
                write!(f, "the frame ends {bytes} bytes early, in {field}")
            }
            Self::Trailing(len) => write!(f, "{len} bytes follow the end of the frame's body"),
            Self::Magic(word) => write!(
                f,
                "the frame begins with {word:#010x}, which is not this protocol's magic; see who is at the other end"
            ),
            Self::Version(version) => {
                write!(f, "the frame is of version {version}, where {VERSION_MIN} to {VERSION_MAX} are spoken here")
            }
            Self::UnknownType(word) => {
                write!(f, "frames of type {word} do not exist in versions {VERSION_MIN} to {VERSION_MAX}")
            }
            Self::Unsupported(what) => write!(f, "{what}: not implemented here"),
            Self::Reserved { field, value } => write!(f, "{field} is {value:#x}, where it is reserved and must be 0"),
            Self::BodyLength { announced, came } => {
                write!(f, "the header announces a body of {announced} bytes, and {came} came")
            }
            Self::DescriptorsAnnounced { announced, came } => {
                write!(f, "the peer sent {came} descriptors where the header announces {announced}")
            }
            Self::Descriptors { frame, came, expected } => {
                write!(f, "the peer sent {came} descriptors with {frame}, which takes {expected}")
            }
            Self::UnknownValue { field, value, min, max } => {
                write!(f, "{field} is {value}, where {min} to {max} are known")
            }
            Self::LaneCount { field, count, min } => {
                write!(f, "{field} names {count} lanes, where {min} to {LANES_PER_SESSION_MAX} are allowed")
            }
            Self::NamesOfProducer(count) => {
                write!(f, "a producer's Hello names {count} lanes, where only a consumer's names any")
            }
            Self::LaneIndex { frame, lane } => {
                write!(f, "{frame} is about lane {lane}, where lanes 0 to {} are possible", LANES_PER_SESSION_MAX - 1)
            }
            Self::Attach { lane, how } => write!(f, "lane {lane} is to be read {how}, which is not allowed"),
            Self::NothingToRead => f.write_str("no lane is to be read"),
            Self::AttachmentCount(count) => write!(f, "a record has {count} descriptors, where 1 to 253 are allowed"),
            Self::AttachedRecords(count) => {
                write!(f, "{count} records, where 1 to {RECORDS_PER_FRAME_MAX} are allowed")
            }
            Self::AttachedOrder(at) => write!(f, "the record at {at} does not lie behind the one named before it"),
            Self::RecordFdsMax(count) => write!(f, "records may have {count} descriptors, where 1 to 253 are allowed"),
            Self::SeatCount { listed, seats } => write!(f, "the Report lists {listed} seats where there are {seats}"),
            Self::NameLength(len) => {
                write!(f, "a lane's name has {len} bytes, where 1 to {LANE_NAME_MAX_BYTES} are allowed")
            }
            Self::SentenceLength(len) => {
                write!(f, "the sentence has {len} bytes, where at most {SENTENCE_MAX_BYTES} are allowed")
            }
            Self::NotUtf8(field) => write!(f, "{field} is not UTF-8"),
            Self::ControlCharacter { field, code } => write!(f, "{field} contains the control character U+{code:04X}"),
            Self::DuplicateName(name) => write!(f, "two lanes are called {name}"),
            Self::DuplicateId { index } => write!(f, "lane {index} has the id of a lane before it"),
            Self::VersionRange { min, max } => write!(f, "the version range {min} to {max} is empty"),
            Self::ChosenVersion { chosen, header } => {
                write!(f, "the Offer chooses version {chosen} under a header of version {header}")
            }
            Self::EventfdSpaceBell => f.write_str("a lane with a space bell has eventfds for bells; it needs sockets"),
            Self::DescriptorIndex { field, came, expected } => {
                write!(f, "{field} is descriptor {came}, where the order of the protocol makes it {expected}")
            }
            Self::Geometry { name, cause } => write!(f, "the geometry of lane {name} is invalid: {cause}"),
        }
    }
}

impl std::error::Error for FrameError {}

impl FrameError {
    /// What to refuse the peer with.
    pub(crate) fn refuse_code(&self) -> Refusal {
        match self {
            Self::Version(_) => Refusal::Version,
            Self::Unsupported(_) => Refusal::Unsupported,
            _ => Refusal::Protocol,
        }
    }
}
