//! Sessions: how a consumer comes to a lane, and what both sides know of each other.
//!
//! [`server`] is the producer's side: it listens, and a thread of its own, the [`steward`], serves whoever connects.
//! [`client`] is the consumer's. Here is what both share: addresses, and who is admitted.

pub(crate) mod client;
mod inquiry;
mod listener;
pub(crate) mod opened;
pub(crate) mod server;
mod serving;
pub(crate) mod shared;
mod steward;
mod unwelcome;

use crate::error::{Error, Result};
use crate::fds;
use rustix::fd::{AsFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::SocketAddrUnix;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The longest path of a socket, in bytes, see unix(7).
const PATH_MAX_BYTES: usize = 107;
/// How long a handshake may take, unless told otherwise.
pub(crate) const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(5);

/// Where a server listens: a path in a file system, or a name that lives only in the kernel.
///
/// Text that begins with `@` is an abstract name (see unix(7)), which leaves no file behind; anything else is a path.
///
/// ```
/// use fdring::Address;
///
/// assert_eq!(Address::from("/run/ticks.sock"), Address::path("/run/ticks.sock"));
/// assert_eq!(Address::from("@ticks"), Address::abstract_name("ticks"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Address(Place);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Place {
    Path(PathBuf),
    Abstract(Vec<u8>),
}

impl Address {
    /// A path of at most 107 bytes. The socket file gets the mode 0600 before anyone can connect, and goes with the
    /// server, as does the lock that a server has beside it, `PATH.lock`.
    pub fn path(path: impl Into<PathBuf>) -> Self {
        Self(Place::Path(path.into()))
    }

    /// A name of at most 107 bytes in the abstract namespace. Any process of the same network namespace can connect
    /// there; whom the server admits is up to its [`PeerPolicy`].
    pub fn abstract_name(name: impl Into<Vec<u8>>) -> Self {
        Self(Place::Abstract(name.into()))
    }

    fn as_path(&self) -> Option<&Path> {
        match &self.0 {
            Place::Path(path) => Some(path),
            Place::Abstract(_) => None,
        }
    }

    fn to_socket_addr(&self) -> Result<SocketAddrUnix> {
        match &self.0 {
            // None the kernel takes for an abstract name, and 108 bytes without the zero that other programs expect.
            Place::Path(path) if !(1..=PATH_MAX_BYTES).contains(&path.as_os_str().len()) => Err(Errno::INVAL),
            Place::Path(path) => SocketAddrUnix::new(path.as_path()),
            Place::Abstract(name) => SocketAddrUnix::new_abstract_name(name),
        }
        .map_err(|_| {
            Error::Invalid(format!(
                "{self} is no address: a path has 1 to 107 bytes, none of them 0, and a name at most 107"
            ))
        })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Place::Path(path) => write!(f, "{}", path.display()),
            Place::Abstract(name) => write!(f, "@{}", name.escape_ascii()),
        }
    }
}

impl From<&str> for Address {
    fn from(text: &str) -> Self {
        match text.strip_prefix('@') {
            Some(name) => Self::abstract_name(name),
            None => Self::path(text),
        }
    }
}

impl From<&String> for Address {
    fn from(text: &String) -> Self {
        text.as_str().into()
    }
}

impl From<String> for Address {
    fn from(text: String) -> Self {
        text.as_str().into()
    }
}

impl From<&Path> for Address {
    fn from(path: &Path) -> Self {
        Self::path(path)
    }
}

impl From<&PathBuf> for Address {
    fn from(path: &PathBuf) -> Self {
        Self::path(path.as_path())
    }
}

impl From<PathBuf> for Address {
    fn from(path: PathBuf) -> Self {
        Self::path(path)
    }
}

impl From<&Address> for Address {
    fn from(address: &Address) -> Self {
        address.clone()
    }
}

/// Which users' processes are admitted at the other end of a session.
///
/// The kernel says who they are (`SO_PEERCRED`). Within one user there is no protection to be had: a process can trace
/// any other of its user.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum PeerPolicy {
    /// Those of this process's own effective user.
    #[default]
    SameUser,
    /// Those of this process's own user, and of the users with these numbers.
    Users(Vec<u32>),
    /// Those of every user that can reach the socket.
    Anyone,
}

impl PeerPolicy {
    fn admits(&self, uid: u32) -> bool {
        let own = uid == rustix::process::geteuid().as_raw();
        match self {
            Self::SameUser => own,
            Self::Users(users) => own || users.contains(&uid),
            Self::Anyone => true,
        }
    }
}

/// The process at the other end, as it was when it connected or began to listen.
#[derive(Debug)]
struct Peer {
    pid: u32,
    uid: u32,
    /// Becomes readable when the process ends; `None` where the kernel would not give it.
    pidfd: Option<OwnedFd>,
}

impl Peer {
    /// Asks the kernel who is at the other end of `socket`.
    fn of(socket: &impl AsFd) -> Result<Self> {
        let doing = "ask the kernel who is at the other end";
        let credentials = fds::peer_credentials(socket.as_fd()).map_err(Error::os(doing))?;
        let pidfd = match fds::peer_pidfd(socket.as_fd()) {
            Ok(pidfd) => Some(pidfd),
            // Out of this pid namespace, or gone already, or forbidden: the socket's hang-up has to do.
            Err(error) if is_out_of_descriptors(&error) => return Err(Error::os(doing)(error)),
            Err(_) => None,
        };
        Ok(Self { pid: credentials.pid.cast_unsigned(), uid: credentials.uid, pidfd })
    }
}

fn is_out_of_descriptors(error: &std::io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw_os_error);
    matches!(errno, Some(Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::NOBUFS))
}
