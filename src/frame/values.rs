//! The choices that frames make: enumerations as they are on the wire.
//!
//! Two sorts: a byte that is one of a few values, where any other is an error; and a 16-bit reason, where any other is
//! kept as a number, for it may have a meaning to a newer peer and none is needed to end a session.

use super::FrameError;
use super::wire::Reader;
use std::fmt;

/// A byte that stands for one of a few values, counted from 1; all others are errors.
macro_rules! byte_enum {
    ($(#[$doc:meta])* $vis:vis $name:ident, $field:literal {
        $($(#[$variant_doc:meta])* $variant:ident = $byte:literal,)+
    }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        $vis enum $name { $($(#[$variant_doc])* $variant = $byte,)+ }

        impl $name {
            /// All of them, in the order of their bytes.
            pub(crate) const ALL: &[Self] = &[$(Self::$variant,)+];

            pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, FrameError> {
                match reader.u8($field)? {
                    $($byte => Ok(Self::$variant),)+
                    value => Err(FrameError::UnknownValue { field: $field, value, max: Self::ALL.len() as u8 }),
                }
            }
        }
    };
}

byte_enum! {
    /// What a process does in a session.
    pub(crate) Role, "the role" { Producer = 1, Consumer = 2, }
}
byte_enum! {
    /// What a consumer of a lane sleeps on.
    pub(crate) BellKind, "the kind of bell" {
        /// Between processes of one user: the quickest.
        Eventfd = 1,
        /// Between users: neither side can make the other wait.
        Socketpair = 2,
    }
}
byte_enum! {
    /// Whether a consumer holds the producer back.
    pub(crate) Delivery, "the delivery" { Lossless = 1, Lossy = 2, }
}
byte_enum! {
    /// Where in the stream a consumer begins.
    #[derive(Default)]
    pub Start, "the start" {
        /// With the first record that is published after it has joined.
        #[default]
        Latest = 1,
        /// With the oldest record that is surely still whole, as far as the producer remembers: to a 16th of the ring.
        Oldest = 2,
    }
}
byte_enum! {
    /// What a consumer does with payloads.
    pub(crate) Reading, "the way of reading" {
        /// Reads them where they lie, and is never evicted while it lives.
        InPlace = 1,
        /// Copies them out, and can be evicted.
        Copies = 2,
    }
}
byte_enum! {
    /// How a sleeper and its waker order their looks at each other.
    pub(crate) Barrier, "the barrier" {
        /// A sequentially consistent fence on both sides.
        Fence = 1,
        /// The sleeper pays for both, see membarrier(2).
        Asymmetric = 2,
    }
}

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
