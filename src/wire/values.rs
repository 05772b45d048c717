//! The choices that frames make: enumerations as they are on the wire.
//!
//! Two sorts: a byte that is one of a few values, where any other is an error; and a 16-bit reason, where any other is
//! kept as a number, for it may have a meaning to a newer peer and none is needed to end a session.

use super::FrameError;
use super::text::Fields;
use crate::terms::{Access, Barrier, BellKind, Delivery, Start};
use std::fmt;

/// What a process does in a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Producer,
    Consumer,
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
                    value => Err(FrameError::UnknownValue { field: $field, value, max: Self::ALL.len() as u8 }),
                }
            }

            pub(crate) fn to_byte(self) -> u8 {
                match self { $(Self::$variant => $byte,)+ }
            }
        }
    };
}

byte_values! { Role, "the role" { Producer = 1, Consumer = 2, } }
byte_values! { BellKind, "the kind of bell" { Eventfd = 1, Socketpair = 2, } }
byte_values! { Delivery, "the delivery" { Lossless = 1, Lossy = 2, } }
byte_values! { Start, "the start" { Latest = 1, Oldest = 2, } }
byte_values! { Access, "the way of reading" { InPlace = 1, Copies = 2, } }
byte_values! { Barrier, "the barrier" { Fence = 1, Asymmetric = 2, } }

/// A number of which some values have a meaning here, and all others may have one for a newer peer.
macro_rules! word_enum {
    ($(#[$doc:meta])* $name:ident { $($variant:ident = $word:literal: $text:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[non_exhaustive]
        pub(crate) enum $name {
            $(#[doc = $text] $variant,)+
            /// A number that this version gives no meaning.
            Other(u16),
        }

        impl $name {
            pub(crate) fn from_word(word: u16) -> Self {
                match word { $($word => Self::$variant,)+ word => Self::Other(word) }
            }

            pub(crate) fn to_word(self) -> u16 {
                match self { $(Self::$variant => $word,)+ Self::Other(word) => word }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self {
                    $(Self::$variant => f.write_str($text),)+
                    Self::Other(word) => write!(f, "an unknown reason ({word})"),
                }
            }
        }
    };
}

word_enum! {
    /// Why a session is refused.
    RefuseCode {
        Version = 1: "no common version of the protocol",
        UnknownLane = 2: "no lane of that name",
        Busy = 3: "too many sessions",
        Forbidden = 4: "the user is not admitted",
        Protocol = 5: "the protocol was broken",
        Unsupported = 6: "not implemented here",
        Descriptors = 7: "out of descriptors",
        TimedOut = 8: "the handshake took too long",
        Closing = 9: "shutting down",
        TooManyLanes = 10: "more lanes than one session can have",
        Region = 11: "a region failed its checks",
        Internal = 12: "something failed at the refusing end",
    }
}
word_enum! {
    /// Why a session ends.
    ByeReason {
        Finished = 1: "finished in order",
        Evicted = 2: "evicted",
        Protocol = 3: "the protocol was broken",
        Closing = 4: "shutting down",
    }
}
