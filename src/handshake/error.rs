//! Why a handshake fails, and what the peer is told about it.

use crate::cmsg::FDS_PER_MESSAGE_MAX;
use crate::error::Error;
use crate::terms::Refusal;
use crate::wire::{
    ByeReason, Frame, FrameError, LANES_PER_SESSION_MAX, Refuse, Role, VERSION_MAX, VERSION_MIN, printable,
};
use std::fmt;

/// How much of a peer's sentence is shown to the user, in bytes.
const REASON_SHOWN_MAX_BYTES: usize = 200;

/// Why a session did not begin, or broke. The sentences name no side, since they are sent to the other one.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub(crate) enum HandshakeError {
    // The bytes were no frame. The session layer makes it, so that it has one error to answer with.
    Frame(FrameError),
    Unexpected { came: &'static str, awaited: &'static str },
    Roles { came: Role, here: Role },
    Version { min: u16, max: u16 },
    UnknownLane { name: String, offered: String },
    NoLanes,
    TooManyLanes(usize),
    TooManyDescriptors { lanes: usize, fds: usize },
    Count { frame: &'static str, came: usize, expected: usize },
    Unsupported(&'static str),
    OtherLane { came: String, wanted: String },
    StartPosition { lane: usize, start: u64, align: u64 },
    ChosenVersion { came: u16, agreed: u16 },
    StartOfNothing { lane: usize, start: u64 },
    OtherStart { lane: usize, start: u64, asked: u64 },
    NoSeat { lane: usize },
    NotRead { lane: usize },
    Unasked { lane: usize },
    // The peer refused. The sentence is shortened and safe to print.
    Refused { refusal: Refusal, sentence: String },
    // The peer said goodbye before the session was established.
    Left(ByeReason),
    Over,
}

impl fmt::Display for HandshakeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Frame(error) => write!(f, "{error}"),
            Self::Unexpected { came, awaited } => write!(f, "{came} came where {awaited} was expected"),
            Self::Roles { came, here } => write!(
                f,
                "one end is {came} and the other {here}; a session needs a producer and a consumer, \
                 or two ends that are both"
            ),
            Self::Version { min, max } => write!(
                f,
                "the peer speaks versions {min} to {max}, and this side {VERSION_MIN} to {VERSION_MAX}; \
                 update the older"
            ),
            Self::UnknownLane { name, offered } => write!(f, "no lane is called {name}; this producer has: {offered}"),
            Self::NoLanes => f.write_str("this producer has no lanes yet"),
            Self::TooManyLanes(count) => write!(
                f,
                "this producer has {count} lanes and a session at most {LANES_PER_SESSION_MAX}; \
                 name those that are wanted"
            ),
            Self::TooManyDescriptors { lanes, fds } => write!(
                f,
                "{lanes} lanes take {fds} descriptors together, and one Offer at most {FDS_PER_MESSAGE_MAX}; \
                 name fewer of them"
            ),
            Self::Count { frame, came, expected } => {
                write!(f, "{frame} came for {came} lanes where the session has {expected}")
            }
            Self::Unsupported(what) => write!(f, "{what} is not implemented here"),
            Self::OtherLane { came, wanted } => write!(f, "lane {came} was offered where {wanted} was asked for"),
            Self::StartPosition { lane, start, align } => write!(
                f,
                "lane {lane} was started at position {start}, where a multiple of {align} below 2^63 was expected"
            ),
            Self::ChosenVersion { came, agreed } => {
                write!(f, "an Offer came of version {came}, where the Hellos have agreed on {agreed}")
            }
            Self::StartOfNothing { lane, start } => {
                write!(f, "lane {lane} was started at position {start}, where it is not read")
            }
            Self::OtherStart { lane, start, asked } => {
                write!(f, "lane {lane} was started at position {start}, where {asked} was asked for")
            }
            Self::NoSeat { lane } => write!(f, "an Evicted came for lane {lane}, where no seat is"),
            Self::NotRead { lane } => write!(f, "a Query came for lane {lane}, which is not read"),
            Self::Unasked { lane } => write!(f, "a Report came for lane {lane} that was not asked for"),
            Self::Refused { refusal, sentence } => {
                write!(f, "the peer refused: {sentence} (code {})", refusal.code())
            }
            Self::Left(reason) => write!(f, "the peer left during the handshake: {reason}"),
            Self::Over => f.write_str("the session was over when another frame came"),
        }
    }
}

impl std::error::Error for HandshakeError {}

impl From<FrameError> for HandshakeError {
    fn from(error: FrameError) -> Self {
        Self::Frame(error)
    }
}

impl HandshakeError {
    pub(super) fn refused(refuse: &Refuse) -> Self {
        let sentence = match refuse.sentence() {
            "" => refuse.refusal().to_string(),
            sentence => printable(sentence, REASON_SHOWN_MAX_BYTES),
        };
        Self::Refused { refusal: refuse.refusal(), sentence }
    }

    /// What to tell the peer before hanging up. `None` if the peer ended the session, or was told already.
    pub(crate) fn refuse_frame(&self) -> Option<Frame> {
        let refusal = match self {
            Self::Refused { .. } | Self::Left(_) | Self::Over => return None,
            Self::Frame(error) => error.refuse_code(),
            // At the other end, "this side" would be the wrong one.
            Self::Version { .. } => {
                let sentence = format!("versions {VERSION_MIN} to {VERSION_MAX} of the protocol are spoken here");
                return Some(Frame::Refuse(Refuse::new(Refusal::Version, &sentence)));
            }
            Self::UnknownLane { .. } | Self::NoLanes => Refusal::UnknownLane,
            Self::Roles { .. } => Refusal::Roles,
            Self::TooManyLanes(_) | Self::TooManyDescriptors { .. } => Refusal::TooManyLanes,
            Self::Unsupported(_) => Refusal::Unsupported,
            _ => Refusal::Protocol,
        };
        Some(Frame::Refuse(Refuse::new(refusal, &self.to_string())))
    }

    /// The public error for this one. `doing` continues "while": "waiting for the Offer". What either end may find
    /// first, that the two do not fit, is the same error at both.
    pub(crate) fn into_error(self, doing: &str) -> Error {
        let refusal = match self {
            Self::Refused { refusal, sentence } => return Error::Refused { refusal, reason: sentence },
            Self::Left(_) => return Error::Closed { doing: doing.to_owned() },
            Self::Roles { .. } => Refusal::Roles,
            Self::UnknownLane { .. } | Self::NoLanes => Refusal::UnknownLane,
            Self::TooManyLanes(_) | Self::TooManyDescriptors { .. } => Refusal::TooManyLanes,
            error => return Error::peer(doing, error),
        };
        Error::Refused { refusal, reason: self.to_string() }
    }
}
