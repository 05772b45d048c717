//! What can be wrong with the bytes of a frame.
//!
//! Every variant is something a peer wrote, or something the user wants to send that no peer would take. None of them
//! is followed by more parsing: the first fault ends the session.

use super::{FRAME_MAX_BYTES, LANES_PER_SESSION_MAX, RefuseCode, SENTENCE_MAX_BYTES, VERSION_MAX, VERSION_MIN};
use crate::layout::{GeometryError, LANE_NAME_MAX_BYTES};

/// Why bytes are not a frame.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum FrameError {
    #[error("the frame has {0} bytes, where at most {FRAME_MAX_BYTES} are allowed")]
    TooLong(usize),
    #[error("the frame ends {missing_bytes} bytes too early, inside {field}")]
    Truncated { field: &'static str, missing_bytes: usize },
    #[error("{0} bytes follow the end of the frame's body")]
    Trailing(usize),
    #[error("the frame begins with {0:#010x}, which is not this protocol's magic; see who is at the other end")]
    Magic(u32),
    #[error("the frame is of version {0}, where versions {VERSION_MIN} to {VERSION_MAX} are spoken here")]
    Version(u16),
    #[error("frames of type {0} do not exist in versions {VERSION_MIN} to {VERSION_MAX}")]
    UnknownType(u16),
    #[error("frames of type {word} ({name}) are reserved and not implemented here")]
    ReservedType { word: u16, name: &'static str },
    #[error("{field} is {value:#x}, where it is reserved and must be 0")]
    Reserved { field: &'static str, value: u32 },
    #[error("the header announces a body of {announced} bytes, and {came} came")]
    BodyLength { announced: u32, came: usize },
    #[error("the peer sent {came} descriptors where the header announces {announced}")]
    DescriptorsAnnounced { announced: u16, came: usize },
    #[error("the peer sent {came} descriptors with {frame}, which takes {expected}")]
    Descriptors { frame: &'static str, came: usize, expected: usize },
    #[error("{field} is {value}, where 1 to {max} are known")]
    UnknownValue { field: &'static str, value: u8, max: u8 },
    #[error("{field} names {count} lanes, where {min} to {LANES_PER_SESSION_MAX} are allowed")]
    LaneCount { field: &'static str, count: usize, min: usize },
    #[error("a lane's name has {0} bytes, where 1 to {LANE_NAME_MAX_BYTES} are allowed")]
    NameLength(usize),
    #[error("the sentence has {0} bytes, where at most {SENTENCE_MAX_BYTES} are allowed")]
    SentenceLength(usize),
    #[error("{0} is not UTF-8")]
    NotUtf8(&'static str),
    #[error("{field} contains the control character U+{code:04X}")]
    ControlCharacter { field: &'static str, code: u32 },
    #[error("two lanes are called {0}")]
    DuplicateName(String),
    #[error("lane {index} has the id of a lane before it")]
    DuplicateId { index: usize },
    #[error("the version range {min} to {max} is empty")]
    VersionRange { min: u16, max: u16 },
    #[error("the Offer chooses version {chosen} under a header of version {header}")]
    ChosenVersion { chosen: u16, header: u16 },
    #[error("{field} is descriptor {came}, where the order of the protocol makes it {expected}")]
    DescriptorIndex { field: &'static str, came: u16, expected: u16 },
    #[error("lane {name} cannot be: {cause}")]
    Geometry { name: String, cause: GeometryError },
}

impl FrameError {
    /// What to refuse the peer with.
    pub(crate) fn refuse_code(&self) -> RefuseCode {
        match self {
            Self::Version(_) => RefuseCode::Version,
            Self::ReservedType { .. } => RefuseCode::Unsupported,
            _ => RefuseCode::Protocol,
        }
    }
}
