//! Sessions: how a consumer gets at a lane, and what both sides know of each other.
//!
//! [`server`] is the producer's side: it listens, and a thread of its own, the [`steward`], serves the consumers that
//! connect. [`client`] is the consumer's side. This file has what both share: addresses, and who is admitted.

pub(crate) mod attach;
pub(crate) mod client;
mod ending;
mod inquiry;
mod listener;
pub(crate) mod opened;
pub(crate) mod options;
mod seats;
pub(crate) mod server;
mod serving;
pub(crate) mod shared;
mod spot;
mod steward;
mod unwelcome;

use crate::error::{Error, Result};
use crate::os::peer::known_user;
use rustix::io::Errno;
use rustix::net::SocketAddrUnix;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The longest path of a socket, in bytes, see unix(7).
const PATH_MAX_BYTES: usize = 107;
/// How long a handshake may take, by default.
pub(crate) const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(5);

/// Where a server listens: a path in a file system, or a name that lives only in the kernel.
///
/// Text that begins with `@` is an abstract name (see unix(7)), which leaves no file behind; anything else is a path.
/// An `OsString`, such as an argument of the program, is read in the same way; a `Path` is always a path.
///
/// ```
/// use fdring::Address;
///
/// assert_eq!(Address::from("/run/ticks.sock"), Address::path("/run/ticks.sock"));
/// assert_eq!(Address::from("@ticks"), Address::abstract_name("ticks"));
///
/// let argument = std::env::args_os().nth(1).unwrap_or_else(|| "@ticks".into());
/// println!("listening at {}", Address::from(argument));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Address(Place);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Place {
    Path(PathBuf),
    Abstract(Vec<u8>),
}

impl Address {
    /// A path of at most 107 bytes. The socket file gets the mode 0600 before anyone can connect. It is removed with
    /// the server, and so is the lock beside it, `PATH.lock`.
    ///
    /// A server resolves the path once, when it begins to listen, and removes its files even if the process has changed
    /// its working directory. If the path ends in a symbolic link, both servers and consumers follow it.
    pub fn path(path: impl Into<PathBuf>) -> Self {
        Self(Place::Path(path.into()))
    }

    /// A name of at most 107 bytes in the abstract namespace. Any process of the same network namespace can connect
    /// there; the server's [`PeerPolicy`] says whom it admits.
    pub fn abstract_name(name: impl Into<Vec<u8>>) -> Self {
        Self(Place::Abstract(name.into()))
    }

    fn as_path(&self) -> Option<&Path> {
        match &self.0 {
            Place::Path(path) => Some(path),
            Place::Abstract(_) => None,
        }
    }

    /// The same address, independent of the working directory: a relative path is made absolute, unless it is longer
    /// than [`PATH_MAX_BYTES`] then.
    fn into_absolute(self) -> Self {
        let absolute = self.as_path().filter(|path| path.is_relative()).and_then(|path| std::path::absolute(path).ok());
        match absolute {
            Some(path) if path.as_os_str().len() <= PATH_MAX_BYTES => Self::path(path),
            _ => self,
        }
    }

    fn to_socket_addr(&self) -> Result<SocketAddrUnix> {
        match &self.0 {
            // An empty path is an abstract name to the kernel. With 108 bytes there is no room for the zero at the end
            // that other programs expect.
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

impl From<&OsStr> for Address {
    fn from(text: &OsStr) -> Self {
        match text.as_bytes().strip_prefix(b"@") {
            Some(name) => Self::abstract_name(name),
            None => Self::path(text),
        }
    }
}

impl From<OsString> for Address {
    fn from(text: OsString) -> Self {
        text.as_os_str().into()
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
/// The kernel says which user a process belongs to (`SO_PEERCRED`). Processes of one user are not protected from each
/// other: each can trace the others.
///
/// In a user namespace, such as that of a container, the kernel says 65534 (the overflow uid) of every user that the
/// namespace has no number for. There this number is nobody's: only `Anyone` admits it, even in a process that runs
/// under it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum PeerPolicy {
    /// Processes of this process's effective user.
    #[default]
    SameUser,
    /// Processes of this process's effective user, and of the users with these numbers.
    Users(Vec<u32>),
    /// Processes of any user that can reach the socket.
    Anyone,
}

impl PeerPolicy {
    /// Whether it admits a user; `None` is one that this user namespace has no number for.
    fn admits(&self, uid: Option<u32>) -> bool {
        let is_own = || uid == known_user(rustix::process::geteuid().as_raw());
        match self {
            Self::Anyone => true,
            _ if uid.is_none() => false,
            Self::SameUser => is_own(),
            Self::Users(users) => is_own() || uid.is_some_and(|uid| users.contains(&uid)),
        }
    }
}
