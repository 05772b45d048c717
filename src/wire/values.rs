//! The choices that frames make: enumerations as they are on the wire.
//!
//! Two sorts: a byte that is one of a few values, where any other is an error; and a 16-bit reason, where any other is
//! kept as a number, for it may have a meaning to a newer peer and none is needed to end a session. The reasons of a
//! Refuse are [`Refusal`](crate::terms::Refusal), which users see.

use super::FrameError;
use super::text::Fields;
use crate::layout::LaneState;
use crate::terms::{Access, Barrier, BellKind};
use std::fmt;

/// What a process does in a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Producer,
    Consumer,
    /// It produces lanes for the other end, and consumes those of the other end.
    Both,
}

impl Role {
    /// The role that the other end must have.
    pub(crate) fn counterpart(self) -> Self {
        match self {
            Self::Producer => Self::Consumer,
            Self::Consumer => Self::Producer,
            Self::Both => Self::Both,
        }
    }

    pub(crate) fn consumes(self) -> bool {
        self != Self::Producer
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Producer => "a producer",
            Self::Consumer => "a consumer",
            Self::Both => "both a producer and a consumer",
        })
    }
}

/// What of a lane the seat in a Report is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SeatKind {
    /// It gates the lane, and its consumer reads payloads in the ring.
    InPlace,
    /// It gates the lane, and its consumer copies payloads out.
    Copies,
    /// It gates nothing.
    Lossy,
}

/// A byte that stands for one of a few values; all others are errors.
macro_rules! byte_values {
    ($name:ident, $field:literal { $($variant:ident = $byte:literal,)+ }) => {
        impl $name {
            /// All of them, in the order of their bytes.
            pub(crate) const ALL: &[Self] = &[$(Self::$variant,)+];

            pub(super) fn read(fields: &mut Fields<'_>) -> Result<Self, FrameError> {
                match fields.u8($field)? {
                    $($byte => Ok(Self::$variant),)+
                    value => Err(FrameError::UnknownValue { field: $field, value, min: 1, max: Self::ALL.len() as u8 }),
                }
            }

            pub(crate) fn to_byte(self) -> u8 {
                match self { $(Self::$variant => $byte,)+ }
            }
        }
    };
}

byte_values! { Role, "the role" { Producer = 1, Consumer = 2, Both = 3, } }
byte_values! { BellKind, "the kind of bell" { Eventfd = 1, Socketpair = 2, } }
byte_values! { Access, "the way of reading" { InPlace = 1, Copies = 2, } }
byte_values! { Barrier, "the barrier" { Fence = 1, Asymmetric = 2, } }
byte_values! { LaneState, "the state of a lane" { Open = 1, Finished = 2, Abandoned = 3, } }
byte_values! { SeatKind, "the kind of a seat" { InPlace = 1, Copies = 2, Lossy = 3, } }

/// Why a session ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ByeReason {
    Finished,
    /// All seats of the session were taken away.
    Evicted,
    Protocol,
    Closing,
    /// A number that this version gives no meaning.
    Other(u16),
}

impl ByeReason {
    pub(crate) fn from_word(word: u16) -> Self {
        match word {
            1 => Self::Finished,
            2 => Self::Evicted,
            3 => Self::Protocol,
            4 => Self::Closing,
            word => Self::Other(word),
        }
    }

    pub(crate) fn to_word(self) -> u16 {
        match self {
            Self::Finished => 1,
            Self::Evicted => 2,
            Self::Protocol => 3,
            Self::Closing => 4,
            Self::Other(word) => word,
        }
    }
}

impl fmt::Display for ByeReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Finished => "finished in order",
            Self::Evicted => "evicted",
            Self::Protocol => "the protocol was broken",
            Self::Closing => "shutting down",
            Self::Other(word) => return write!(f, "an unknown reason ({word})"),
        })
    }
}
