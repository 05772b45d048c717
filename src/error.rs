//! The error of setting up: lanes, servers, sessions, regions, descriptors inside a handshake.
//!
//! The hot path has small enums of its own, beside the operations: [`SendError`](crate::errors::SendError) and
//! [`ReceiveError`](crate::errors::ReceiveError). One rule for all errors: the cause is part of the sentence, and
//! `source()` is `None`, so that a printed chain does not repeat it.

use crate::kind::{ErrorKind, is_passing};
use crate::layout::GeometryError;
use crate::terms::Refusal;
use rustix::io::Errno;
use std::fmt;
use std::io;
use std::time::Duration;

/// A `Result` whose error is [`Error`] by default.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The reason why something could not be set up.
///
/// The message says what was being done, to what, and, if there is a remedy, what to do. It includes the cause, so
/// `source()` is `None`.
///
/// `Debug` prints the sentence of `Display`, then the variant in parentheses. Converted to [`io::Error`], it keeps its
/// sentence and gets this kind:
///
/// | variant | [`io::ErrorKind`] |
/// | --- | --- |
/// | `Os` | the kind of its cause |
/// | `Invalid`, `Geometry` | `InvalidInput` |
/// | `AddressInUse` | `AddrInUse` |
/// | `Peer`, `Layout` | `InvalidData` |
/// | `Refused` | `ConnectionRefused` |
/// | `Forbidden` | `PermissionDenied` |
/// | `DescriptorsLost` | `NotFound` |
/// | `Closed` | `ConnectionAborted` |
/// | `TimedOut` | `TimedOut` |
/// | `Interrupted` | `Other`, since the loops of [`std::io`] begin anew after `Interrupted` |
/// | `Forked` | `Unsupported` |
///
/// ```
/// use std::io;
///
/// fn connect() -> io::Result<fdring::Session> {
///     Ok(fdring::Session::connect("/nowhere/ticks.sock")?)
/// }
///
/// assert_eq!(connect().unwrap_err().kind(), io::ErrorKind::NotFound);
/// ```
#[non_exhaustive]
pub enum Error {
    /// A system call failed.
    Os {
        /// What was being done: a verb and its object.
        doing: String,
        /// The error of the system call.
        cause: io::Error,
        /// The advice: the end of the sentence. Empty if there is no usual remedy.
        remedy: &'static str,
    },
    /// An argument or an option is out of its range. The sentence says which, and what is allowed.
    Invalid(String),
    /// The capacity or an alignment of a lane is out of its range.
    Geometry(GeometryError),
    /// A living process serves this address.
    AddressInUse {
        /// The address, as written on a command line.
        address: String,
        /// The process that serves it, if the kernel names it.
        pid: Option<u32>,
    },
    /// The peer broke the session's protocol, or sent something that must not be mapped.
    Peer {
        /// What was being done.
        doing: String,
        /// What was wrong with what the peer sent.
        fault: String,
    },
    /// A lane has other values than this program expects, see [`typed`](crate::typed).
    Layout {
        /// The name of the lane.
        lane: String,
        /// What the lane says of its values.
        offered: String,
        /// What this program expects.
        expected: String,
    },
    /// One side refused the session: the peer, or this side if the two do not fit.
    Refused {
        /// The reason, for programs.
        refusal: Refusal,
        /// The reason, in the peer's words: shortened, with control characters and invisible ones (such as U+202E)
        /// replaced by U+FFFD.
        reason: String,
    },
    /// The peer runs as a user that this side does not admit.
    Forbidden {
        /// The numeric user id of the peer. `None` if this user namespace has no number for the user.
        uid: Option<u32>,
    },
    /// The peer closed the connection or died.
    Closed {
        /// What was being done.
        doing: String,
    },
    /// The deadline passed.
    TimedOut {
        /// What was being done.
        doing: String,
        /// The time that was allowed.
        limit: Duration,
    },
    /// An [`Interrupter`](crate::Interrupter) ended the wait.
    Interrupted {
        /// What was being done.
        doing: String,
    },
    /// The descriptors of a record did not come to this consumer. The sentence says why.
    DescriptorsLost(String),
    /// This process is a forked child, and the object belongs to the parent.
    Forked,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Os { doing, cause, remedy } => write!(f, "could not {doing}: {cause}{remedy}"),
            Self::Invalid(sentence) | Self::DescriptorsLost(sentence) => f.write_str(sentence),
            Self::Geometry(geometry) => write!(f, "{geometry}"),
            Self::AddressInUse { address, pid } => match pid {
                Some(pid) if *pid == std::process::id() => {
                    write!(f, "{address} is in use by this very process; drop that server or choose another address")
                }
                Some(pid) => write!(f, "{address} is in use by process {pid}; stop it or choose another address"),
                None => {
                    write!(f, "{address} is in use by another process; stop that process or choose another address")
                }
            },
            Self::Peer { doing, fault } => write!(f, "the peer broke the protocol while {doing}: {fault}"),
            Self::Layout { lane, offered, expected } => {
                write!(f, "lane {lane} offers {offered}, and this program expected {expected}; build both alike")
            }
            Self::Refused { refusal, reason } => write!(f, "the peer refused: {reason} (code {})", refusal.code()),
            Self::Forbidden { uid } => {
                write!(
                    f,
                    "a process of {} is at the other end, which the peer policy does not admit; \
                     if it is to be trusted, give `peers` a policy that admits it",
                    OfUser(*uid)
                )
            }
            Self::Closed { doing } => {
                write!(f, "the peer closed the connection while {doing}; see whether it still runs")
            }
            Self::TimedOut { doing, limit } => write!(
                f,
                "gave up {doing} after {}; see whether the peer is busy or stopped, or raise the deadline",
                InWords(*limit)
            ),
            Self::Interrupted { doing } => write!(f, "interrupted while {doing}"),
            Self::Forked => f.write_str(
                "this process is a forked child, and rings belong to the process that made them; \
                 open a session of its own",
            ),
        }
    }
}

impl std::error::Error for Error {}

impl From<GeometryError> for Error {
    fn from(geometry: GeometryError) -> Self {
        Self::Geometry(geometry)
    }
}

impl fmt::Debug for Error {
    /// The sentence first: this is what `unwrap` and `main` print.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let variant = match self {
            Self::Os { cause, .. } => return write!(f, "{self} (Os: {:?})", cause.kind()),
            Self::Invalid(_) => "Invalid",
            Self::Geometry(geometry) => return write!(f, "{self} (Geometry: {geometry:?})"),
            Self::AddressInUse { .. } => "AddressInUse",
            Self::Peer { .. } => "Peer",
            Self::Layout { .. } => "Layout",
            Self::Refused { .. } => "Refused",
            Self::Forbidden { .. } => "Forbidden",
            Self::DescriptorsLost(_) => "DescriptorsLost",
            Self::Closed { .. } => "Closed",
            Self::TimedOut { .. } => "TimedOut",
            Self::Interrupted { .. } => "Interrupted",
            Self::Forked => "Forked",
        };
        write!(f, "{self} ({variant})")
    }
}

impl From<Error> for io::Error {
    /// The kind is in the table at [`Error`].
    fn from(error: Error) -> Self {
        Self::new(error.io_kind(), error)
    }
}

impl Error {
    /// The kind of this error, which has a stable number.
    ///
    /// ```
    /// use fdring::{Session, errors::ErrorKind};
    ///
    /// let error = Session::connect("@doc-error-kind-of-error").unwrap_err(); // nobody listens there
    /// assert_eq!(error.kind(), ErrorKind::Os);
    /// assert_eq!(error.kind().number(), 1);
    /// ```
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Os { .. } => ErrorKind::Os,
            Self::Invalid(_) | Self::Geometry(_) => ErrorKind::Invalid,
            Self::AddressInUse { .. } => ErrorKind::AddressInUse,
            Self::Peer { .. } => ErrorKind::Peer,
            Self::Layout { .. } => ErrorKind::Layout,
            Self::Refused { .. } => ErrorKind::Refused,
            Self::Forbidden { .. } => ErrorKind::Forbidden,
            Self::DescriptorsLost(_) => ErrorKind::DescriptorsLost,
            Self::Closed { .. } => ErrorKind::Closed,
            Self::TimedOut { .. } => ErrorKind::TimedOut,
            Self::Interrupted { .. } => ErrorKind::Interrupted,
            Self::Forked => ErrorKind::Forked,
        }
    }

    /// Whether the same call may succeed later without a change in this program: no server listens yet, the server is
    /// busy, restarting or slow, or the system is briefly out of descriptors.
    ///
    /// ```
    /// use fdring::Session;
    ///
    /// let error = Session::connect("@doc-nobody-listens-here").unwrap_err();
    /// assert!(error.is_worth_retrying());
    ///
    /// let error = Session::connect("").unwrap_err(); // no address
    /// assert!(!error.is_worth_retrying());
    /// ```
    #[must_use]
    pub fn is_worth_retrying(&self) -> bool {
        use io::ErrorKind::{ConnectionRefused, NotFound};
        match self {
            Self::Os { cause, .. } => is_passing(cause) || matches!(cause.kind(), NotFound | ConnectionRefused),
            Self::Refused { refusal, .. } => {
                matches!(refusal, Refusal::Busy | Refusal::Descriptors | Refusal::TimedOut | Refusal::Closing)
            }
            Self::Closed { .. } | Self::TimedOut { .. } => true,
            _ => false,
        }
    }

    /// The kind that it has as an [`io::Error`].
    pub(crate) fn io_kind(&self) -> io::ErrorKind {
        match self {
            Self::Os { cause, .. } => cause.kind(),
            Self::Invalid(_) | Self::Geometry(_) => io::ErrorKind::InvalidInput,
            Self::AddressInUse { .. } => io::ErrorKind::AddrInUse,
            Self::Peer { .. } | Self::Layout { .. } => io::ErrorKind::InvalidData,
            Self::Refused { .. } => io::ErrorKind::ConnectionRefused,
            Self::Forbidden { .. } => io::ErrorKind::PermissionDenied,
            Self::DescriptorsLost(_) => io::ErrorKind::NotFound,
            Self::Closed { .. } => io::ErrorKind::ConnectionAborted,
            Self::TimedOut { .. } => io::ErrorKind::TimedOut,
            Self::Interrupted { .. } => io::ErrorKind::Other,
            Self::Forked => io::ErrorKind::Unsupported,
        }
    }

    /// Says what was being done when a system call failed: `.map_err(Error::os("map the seat"))`.
    pub(crate) fn os<E: Into<io::Error>>(doing: impl Into<String>) -> impl FnOnce(E) -> Self {
        Self::os_in(Operation::Other, doing)
    }

    /// Like [`os`](Self::os), for an operation that has remedies of its own.
    pub(crate) fn os_in<E: Into<io::Error>>(operation: Operation, doing: impl Into<String>) -> impl FnOnce(E) -> Self {
        move |cause| {
            let cause = cause.into();
            let remedy = operation.remedy(&cause);
            Self::Os { doing: doing.into(), cause, remedy }
        }
    }

    pub(crate) fn peer(doing: impl Into<String>, fault: impl fmt::Display) -> Self {
        Self::Peer { doing: doing.into(), fault: fault.to_string() }
    }
}

/// A user as it reads in a sentence: "user 1000", "a user of another user namespace".
pub(crate) struct OfUser(pub(crate) Option<u32>);

impl fmt::Display for OfUser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(uid) => write!(f, "user {uid}"),
            None => f.write_str("a user of another user namespace"),
        }
    }
}

/// Prints a duration as it reads in a sentence: "5 s", "200 ms", "1.5 s".
pub(crate) struct InWords(pub(crate) Duration);

impl fmt::Display for InWords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs_f64();
        match self.0.as_nanos() {
            0 | 1_000_000_000.. => write!(f, "{seconds} s"),
            1_000_000.. => write!(f, "{} ms", self.0.subsec_nanos() as f64 / 1e6),
            1_000.. => write!(f, "{} µs", self.0.subsec_nanos() as f64 / 1e3),
            nanos => write!(f, "{nanos} ns"),
        }
    }
}

/// An errno as it reads in a sentence: what it means, and what to do about it.
pub(crate) struct OfErrno(pub(crate) i32);

impl fmt::Display for OfErrno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let error = io::Error::from_raw_os_error(self.0);
        write!(f, "{error}{}", Operation::Other.remedy(&error))
    }
}

/// What was being done when a system call failed: the same errno has another cause, and another remedy, in each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    /// Connecting to a path.
    ConnectToPath,
    /// Connecting to an abstract name.
    ConnectToName,
    /// Making the files of a server.
    Listen,
    /// Making or mapping memory.
    Memory,
    /// Starting a thread.
    Thread,
    Other,
}

impl Operation {
    /// What to do about an error that has a usual remedy.
    fn remedy(self, error: &io::Error) -> &'static str {
        let Some(errno) = error.raw_os_error().map(Errno::from_raw_os_error) else { return "" };
        match (self, errno) {
            (_, Errno::MFILE) => "; close some descriptors or raise the limit (ulimit -n)",
            (_, Errno::NFILE) => "; the whole system is out of descriptors (fs.file-max)",
            (_, Errno::TOOMANYREFS) => {
                "; too many descriptors of this user were sent and not received yet: let the receivers catch up, or \
                 raise the limit (ulimit -n)"
            }
            (_, Errno::FBIG) => "; raise the limit (ulimit -f)",
            (Self::Memory, Errno::NOMEM | Errno::NOSPC) => "; free some memory, or ask for a smaller region",
            (Self::Memory, Errno::AGAIN) => "; raise the limit of locked memory (ulimit -l)",
            (Self::Thread, Errno::AGAIN) => {
                "; raise the limit of processes and threads (ulimit -u, or pids.max of the control group)"
            }
            (_, Errno::NOMEM | Errno::NOBUFS) => {
                "; free some memory, or raise the limit of the control group (memory.max)"
            }
            (Self::ConnectToPath, Errno::NOENT | Errno::NOTDIR) => {
                "; check the path, and that the other process has started; `patience` waits for it"
            }
            (Self::ConnectToPath, Errno::CONNREFUSED) => {
                "; nobody listens there any more: start the other process; `patience` waits for it"
            }
            (Self::ConnectToName, Errno::CONNREFUSED) => {
                "; no process of this network namespace listens there: start the other process, in the same namespace; \
                 `patience` waits for it"
            }
            (Self::ConnectToPath, Errno::ACCESS | Errno::PERM) => {
                "; check the modes of the socket and its directories, and which user this process runs as"
            }
            (Self::Listen, Errno::NOENT | Errno::NOTDIR) => "; make the directory first",
            (Self::Listen, Errno::ROFS) => "; choose a directory that can be written to",
            (Self::Listen, Errno::ACCESS | Errno::PERM) => {
                "; check who may write to the directory, and which user this process runs as"
            }
            (_, Errno::ACCESS | Errno::PERM | Errno::NOSYS) => {
                "; see whether a filter (seccomp) or a security module denies the call"
            }
            _ => "",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_descriptor_table_comes_with_its_remedy() {
        let error = Error::os::<Errno>("accept a consumer")(Errno::MFILE);
        let message = error.to_string();
        assert!(message.starts_with("could not accept a consumer: "), "{message}");
        assert!(message.ends_with("(ulimit -n)"), "{message}");
        assert!(message.contains(&io::Error::from(Errno::MFILE).to_string()), "{message}");
        assert!(std::error::Error::source(&error).is_none(), "a chain would say the cause twice");
    }

    #[test]
    fn the_same_errno_has_another_remedy_in_another_operation() {
        let said = |operation, errno: Errno| Error::os_in(operation, "do it")(errno).to_string();
        for (operation, errno, remedy) in [
            (Operation::ConnectToPath, Errno::NOENT, "the other process has started"),
            (Operation::Listen, Errno::NOENT, "make the directory first"),
            (Operation::ConnectToPath, Errno::ACCESS, "modes of the socket"),
            (Operation::Listen, Errno::ACCESS, "who may write to the directory"),
            (Operation::Other, Errno::PERM, "seccomp"),
            (Operation::ConnectToPath, Errno::CONNREFUSED, "any more"),
            (Operation::ConnectToName, Errno::CONNREFUSED, "network namespace"),
            (Operation::Memory, Errno::NOMEM, "smaller region"),
            (Operation::Memory, Errno::AGAIN, "ulimit -l"),
            (Operation::Thread, Errno::AGAIN, "ulimit -u"),
            (Operation::Other, Errno::TOOMANYREFS, "let the receivers catch up"),
            (Operation::Other, Errno::FBIG, "ulimit -f"),
        ] {
            assert!(said(operation, errno).contains(remedy), "{operation:?}: {}", said(operation, errno));
        }
        let said_of_a_socket = said(Operation::Other, Errno::NOMEM);
        assert!(said_of_a_socket.contains("memory.max") && !said_of_a_socket.contains("region"), "{said_of_a_socket}");
        assert!(said(Operation::Other, Errno::AGAIN).ends_with(")"), "nothing is advised where nothing usual helps");
    }

    fn one_of_each() -> [(Error, &'static str, io::ErrorKind); 12] {
        let doing = || "testing".to_owned();
        let cause = || io::Error::from_raw_os_error(Errno::NOENT.raw_os_error());
        [
            (Error::Os { doing: doing(), cause: cause(), remedy: "" }, "(Os: NotFound)", io::ErrorKind::NotFound),
            (Error::Invalid("no good".to_owned()), "(Invalid)", io::ErrorKind::InvalidInput),
            (GeometryError::Capacity(3).into(), "(Geometry: Capacity(3))", io::ErrorKind::InvalidInput),
            (Error::AddressInUse { address: "@x".to_owned(), pid: None }, "(AddressInUse)", io::ErrorKind::AddrInUse),
            (Error::Peer { doing: doing(), fault: "odd".to_owned() }, "(Peer)", io::ErrorKind::InvalidData),
            (
                Error::Layout { lane: doing(), offered: doing(), expected: doing() },
                "(Layout)",
                io::ErrorKind::InvalidData,
            ),
            (
                Error::Refused { refusal: Refusal::UnknownLane, reason: doing() },
                "(Refused)",
                io::ErrorKind::ConnectionRefused,
            ),
            (Error::Forbidden { uid: Some(7) }, "(Forbidden)", io::ErrorKind::PermissionDenied),
            (Error::Closed { doing: doing() }, "(Closed)", io::ErrorKind::ConnectionAborted),
            (Error::TimedOut { doing: doing(), limit: Duration::ZERO }, "(TimedOut)", io::ErrorKind::TimedOut),
            (Error::Interrupted { doing: doing() }, "(Interrupted)", io::ErrorKind::Other),
            (Error::Forked, "(Forked)", io::ErrorKind::Unsupported),
        ]
    }

    #[test]
    fn a_refusal_says_its_number_known_or_not() {
        for refusal in [Refusal::Busy, Refusal::Position, Refusal::Other(777)] {
            let error = Error::Refused { refusal, reason: "full".to_owned() };
            assert_eq!(error.to_string(), format!("the peer refused: full (code {})", refusal.code()));
        }
    }

    #[test]
    fn what_unwrap_prints_begins_with_the_sentence_and_ends_with_the_variant() {
        for (error, variant, _) in one_of_each() {
            assert_eq!(format!("{error:?}"), format!("{error} {variant}"));
        }
    }

    #[test]
    fn an_io_error_made_of_one_has_its_sentence_and_a_kind_that_fits() {
        for (error, variant, kind) in one_of_each() {
            let sentence = error.to_string();
            let converted = io::Error::from(error);
            assert_eq!((converted.kind(), converted.to_string()), (kind, sentence), "{variant}");
            assert!(std::error::Error::source(&converted).is_none(), "a chain would say the cause twice");
            assert!(converted.downcast::<Error>().is_ok(), "the error itself is still there");
        }
    }

    #[test]
    fn durations_read_as_people_write_them() {
        let in_words = |duration| InWords(duration).to_string();
        assert_eq!(in_words(Duration::ZERO), "0 s");
        assert_eq!(in_words(Duration::from_secs(5)), "5 s");
        assert_eq!(in_words(Duration::from_millis(1500)), "1.5 s");
        assert_eq!(in_words(Duration::from_millis(200)), "200 ms");
        assert_eq!(in_words(Duration::from_micros(1250)), "1.25 ms");
        assert_eq!(in_words(Duration::from_micros(50)), "50 µs");
        assert_eq!(in_words(Duration::from_nanos(999)), "999 ns");
        let error = Error::TimedOut { doing: "waiting".to_owned(), limit: Duration::from_millis(50) };
        assert!(error.to_string().contains("gave up waiting after 50 ms;"), "{error}");
    }
}
