//! The error of everything that sets up or takes down: regions, sessions, descriptor arrays inside a handshake.
//!
//! The hot path has small enums of its own, beside the operations: [`GeometryError`](crate::SendError) and
//! [`GeometryError`](crate::ReceiveError).

use std::io;
use std::time::Duration;

/// A result whose error is [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why something could not be set up.
///
/// Every message says what was being done, to what, and where there is something to do about it, what.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A system call failed.
    #[error("could not {doing}: {source}{}", advice(.source))]
    Os {
        /// What was being done: a verb and its object.
        doing: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// An option of the caller's is out of its range.
    #[error("{0}")]
    Invalid(String),
    /// The address is served by a living process.
    #[error("{address} is in use by another process; stop that process or choose another address")]
    AddressInUse {
        /// The address, as it is written on a command line.
        address: String,
    },
    /// The peer broke the session's protocol, or sent something that must not be mapped.
    #[error("the peer broke the protocol while {doing}: {fault}")]
    Peer {
        /// What was being done.
        doing: String,
        /// What was wrong with what came.
        fault: String,
    },
    /// The peer said no.
    #[error("the peer refused: {reason} (code {code})")]
    Refused {
        /// A code of the protocol, see `docs/protocol.md`.
        code: u16,
        /// The peer's sentence, shortened and with control characters replaced.
        reason: String,
    },
    /// The peer's user is not admitted here.
    #[error("a process of user {uid} is at the other end, which the peer policy does not admit")]
    Forbidden {
        /// The numeric user id of the peer.
        uid: u32,
    },
    /// The peer closed the connection or died.
    #[error("the peer closed the connection while {doing}; see whether it still runs")]
    Closed {
        /// What was being done.
        doing: String,
    },
    /// A deadline passed.
    #[error("gave up {doing} after {limit:?}; see whether the peer is busy or stopped, or raise the deadline")]
    TimedOut {
        /// What was being done.
        doing: String,
        /// How long it was tried.
        limit: Duration,
    },
    /// The object was made before a fork, and this is the child.
    #[error(
        "this process is a forked child, and rings belong to the process that made them; open a session of its own"
    )]
    Forked,
}

impl Error {
    /// Adds to an error of the kernel's what was being done: `.map_err(Error::os("map the seat"))`.
    pub(crate) fn os<E: Into<io::Error>>(doing: impl Into<String>) -> impl FnOnce(E) -> Self {
        move |source| Self::Os { doing: doing.into(), source: source.into() }
    }

    pub(crate) fn peer(doing: impl Into<String>, fault: impl std::fmt::Display) -> Self {
        Self::Peer { doing: doing.into(), fault: fault.to_string() }
    }
}

/// What to do about the errors that have a usual remedy.
fn advice(error: &io::Error) -> &'static str {
    use rustix::io::Errno;
    match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::MFILE) => "; close some descriptors or raise the limit (ulimit -n)",
        Some(Errno::NFILE) => "; the whole system is out of descriptors (fs.file-max)",
        Some(Errno::NOMEM | Errno::NOSPC) => "; free some memory, or ask for a smaller region",
        Some(Errno::NOENT) => "; check the path, and that the other process has started",
        Some(Errno::CONNREFUSED) => "; nobody listens there any more: start the other process",
        Some(Errno::ACCESS | Errno::PERM) => "; check who owns it, and which user this process runs as",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_descriptor_table_comes_with_its_remedy() {
        let error = Error::os::<rustix::io::Errno>("accept a consumer")(rustix::io::Errno::MFILE);
        let message = error.to_string();
        assert!(message.starts_with("could not accept a consumer: "), "{message}");
        assert!(message.ends_with("(ulimit -n)"), "{message}");
        assert!(std::error::Error::source(&error).is_some());
    }
}
