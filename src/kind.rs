//! The kinds of errors, each with a number that never changes, and which system calls are worth another try.

use rustix::io::Errno;
use std::io;

/// The kind of an error: one list for all errors of this library, with numbers that never change. For logs, and for
/// other languages.
///
/// ```
/// use fdring::errors::ErrorKind;
///
/// let error = fdring::Session::connect("@doc-error-kind").unwrap_err();
/// assert_eq!((error.kind(), error.kind().number()), (ErrorKind::Os, 1));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[repr(u16)]
pub enum ErrorKind {
    /// A system call failed.
    Os = 1,
    /// An argument or an option is out of its range.
    Invalid = 2,
    /// A living process serves the address.
    AddressInUse = 3,
    /// The peer broke the protocol, or sent something that must not be used.
    Peer = 4,
    /// The peer refused.
    Refused = 5,
    /// The peer's user is not admitted.
    Forbidden = 6,
    /// The peer closed the connection.
    Closed = 7,
    /// A deadline passed.
    TimedOut = 8,
    /// This process is a forked child, and the object belongs to the parent.
    Forked = 9,
    /// The payload is too long.
    TooLong = 10,
    /// The ring is full now.
    Full = 11,
    /// No record is published now.
    Empty = 12,
    /// The producer ended its lane as incomplete.
    Abandoned = 13,
    /// The producer died.
    PeerDead = 14,
    /// The producer took the consumer's seat away.
    Evicted = 15,
    /// The lane's memory breaks the protocol.
    Corrupt = 16,
    /// Descriptors were sent and did not arrive.
    DescriptorsLost = 17,
    /// Too many descriptors of this user are in flight.
    TooManyInFlight = 18,
    /// A consumer left, died or was evicted before it had released its records.
    NotReleased = 19,
    /// A record, or a lane, has other values than expected.
    Layout = 20,
    /// A consumer has held the full ring back for too long.
    TooSlow = 21,
    /// A lane has fewer consumers than it wants.
    TooFewConsumers = 22,
    /// A lane has ended, and consumers had not released everything.
    Unread = 23,
    /// The lane was too quick for a tap, which goes on from the newest record.
    Lagged = 24,
    /// An interrupter ended the wait.
    Interrupted = 25,
}

impl ErrorKind {
    /// The stable number of this kind, from 1. New kinds get new numbers.
    ///
    /// ```
    /// use fdring::errors::ErrorKind;
    ///
    /// assert_eq!(ErrorKind::Os.number(), 1);
    /// assert_eq!(ErrorKind::TooManyInFlight.number(), 18);
    /// ```
    pub const fn number(self) -> u16 {
        self as u16
    }
}

/// Whether a system call that failed so may succeed later: descriptors are short, or it would have had to wait.
pub(crate) fn is_passing(cause: &io::Error) -> bool {
    let is_short = matches!(cause.raw_os_error().map(Errno::from_raw_os_error), Some(Errno::MFILE | Errno::NFILE));
    is_short || cause.kind() == io::ErrorKind::WouldBlock
}

#[cfg(test)]
mod tests {
    use super::ErrorKind::*;

    /// Programs in other languages have these numbers compiled in.
    #[test]
    fn no_kind_ever_changes_its_number() {
        let kinds = [
            Os,
            Invalid,
            AddressInUse,
            Peer,
            Refused,
            Forbidden,
            Closed,
            TimedOut,
            Forked,
            TooLong,
            Full,
            Empty,
            Abandoned,
            PeerDead,
            Evicted,
            Corrupt,
            DescriptorsLost,
            TooManyInFlight,
            NotReleased,
            Layout,
            TooSlow,
            TooFewConsumers,
            Unread,
            Lagged,
            Interrupted,
        ];
        assert!(kinds.iter().map(|kind| kind.number()).eq(1..=25));
    }
}
