//! Why a handshake fails, and what the peer is told about it.

use crate::error::Error;
use crate::wire::{
    ByeReason, Frame, FrameError, LANES_PER_SESSION_MAX, Refuse, RefuseCode, Role, VERSION_MAX, VERSION_MIN, printable,
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
    Role { came: Role },
    Version { min: u16, max: u16 },
    UnknownLane { name: String, offered: String },
    NoLanes,
    TooManyLanes(usize),
    Count { frame: &'static str, came: usize, expected: usize },
    Unsupported(&'static str),
    OtherLane { came: String, wanted: String },
    StartPosition { lane: usize, start: u64, align: u64 },
    // The peer refused. The sentence is shortened and safe to print.
    Refused { code: RefuseCode, sentence: String },
    // The peer said goodbye before the session was established.
    Left(ByeReason),
    Over,
}

impl fmt::Display for HandshakeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Frame(error) => write!(f, "{error}"),
            Self::Unexpected { came, awaited } => write!(f, "{came} came where {awaited} was expected"),
            Self::Role { came } => write!(f, "both ends are {}s; connect a producer with a consumer", role_name(*came)),
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
            Self::Count { frame, came, expected } => {
                write!(f, "{frame} came for {came} lanes where the session has {expected}")
            }
            Self::Unsupported(what) => write!(f, "{what} is not implemented here"),
            Self::OtherLane { came, wanted } => write!(f, "lane {came} was offered where {wanted} was asked for"),
            Self::StartPosition { lane, start, align } => write!(
                f,
                "lane {lane} was started at position {start}, where a multiple of {align} below 2^63 was expected"
            ),
            Self::Refused { code, sentence } => write!(f, "the peer refused: {sentence} (code {})", code.to_word()),
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
            "" => refuse.code().to_string(),
            sentence => printable(sentence, REASON_SHOWN_MAX_BYTES),
        };
        Self::Refused { code: refuse.code(), sentence }
    }

    /// What to tell the peer before hanging up. `None` if the peer ended the session, or was told already.
    pub(crate) fn refuse_frame(&self) -> Option<Frame> {
        let code = match self {
            Self::Refused { .. } | Self::Left(_) | Self::Over => return None,
            Self::Frame(error) => error.refuse_code(),
            // At the other end, "this side" would be the wrong one.
            Self::Version { .. } => {
                let sentence = format!("versions {VERSION_MIN} to {VERSION_MAX} of the protocol are spoken here");
                return Some(Frame::Refuse(Refuse::new(RefuseCode::Version, &sentence)));
            }
            Self::UnknownLane { .. } | Self::NoLanes => RefuseCode::UnknownLane,
            Self::TooManyLanes(_) => RefuseCode::TooManyLanes,
            Self::Unsupported(_) => RefuseCode::Unsupported,
            _ => RefuseCode::Protocol,
        };
        Some(Frame::Refuse(Refuse::new(code, &self.to_string())))
    }

    /// The public error for this one. `doing` continues "while": "waiting for the Offer".
    pub(crate) fn into_error(self, doing: &str) -> Error {
        match self {
            Self::Refused { code, sentence } => Error::Refused { code: code.to_word(), reason: sentence },
            Self::Left(_) => Error::Closed { doing: doing.to_owned() },
            error => Error::peer(doing, error),
        }
    }
}

fn role_name(role: Role) -> &'static str {
    match role {
        Role::Producer => "producer",
        Role::Consumer => "consumer",
    }
}
