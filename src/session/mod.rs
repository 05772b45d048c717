//! Sessions: how a consumer gets at a lane, and what both sides know of each other.
//!
//! [`server`] is the producer's side: it listens, and a thread of its own, the [`steward`], serves the consumers that
//! connect. [`client`] is the consumer's side. If the consumer listens, that is [`session_listener`], and producers
//! connect by [`connect_producer`]. This file has what all share: addresses, and who is admitted.

mod admission;
mod adopted;
mod arriving;
pub(crate) mod assigning;
pub(crate) mod attach;
pub(crate) mod attaching;
pub(crate) mod client;
mod connect_producer;
mod connecting;
mod ending;
mod frame_socket;
mod hearing;
mod inquiry;
mod listener;
pub(crate) mod opened;
pub(crate) mod options;
pub(crate) mod pairs;
mod reporting;
mod seats;
mod served;
pub(crate) mod server;
mod serving;
pub(crate) mod session_listener;
pub(crate) mod shared;
mod spot;
pub(crate) mod stats;
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
/// The user that may listen for others.
const ROOT: u32 = 0;

/// The place where a server listens: a path in a file system, or a name that exists only in the kernel.
///
/// Text that begins with `@` is an abstract name (unix(7)), which leaves no file behind. Any other text is a path. An
/// `OsString`, such as an argument of the program, is read in the same way. A `Path` is always a path.
///
/// Put sockets in a directory that no other user can write to, such as `/run/user/UID`. In `/tmp` another user can take
/// the name first.
///
/// ```
/// use fdring::options::Address;
///
/// assert_eq!(Address::from("/run/ticks.sock"), Address::path("/run/ticks.sock"));
/// assert_eq!(Address::from("@ticks"), Address::abstract_name("ticks"));
///
/// let argument = std::env::args_os().nth(1).unwrap_or_else(|| "@ticks".into());
/// println!("listening at {}", Address::from(argument));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Address(SocketName);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum SocketName {
    Path(PathBuf),
    Abstract(Vec<u8>),
    /// That of a server that listens nowhere.
    Nowhere,
}

impl Address {
    /// That of a server that listens nowhere.
    const NOWHERE: Self = Self(SocketName::Nowhere);

    /// A path of at most 107 bytes.
    ///
    /// The socket file gets the mode 0600 before anyone can connect. Dropping the server removes it, and the lock file
    /// beside it, `PATH.lock`.
    ///
    /// A server resolves the path once, when it begins to listen, and removes its files even if the process has changed
    /// its working directory since. If the path ends in a symbolic link, servers and consumers follow it.
    ///
    /// ```
    /// # use fdring::options::Address;
    /// # use fdring::{Consumer, Producer, Server};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = std::env::temp_dir().join(format!("fdring-doc-path-{}", std::process::id()));
    /// # std::fs::create_dir_all(&folder)?;
    /// let address = Address::path(folder.join("ticks.sock"));
    /// let ticks = Producer::create("ticks")?;
    /// let server = Server::listen(&address, [&ticks])?;
    /// let consumer = Consumer::connect(&address)?;
    /// assert!(folder.join("ticks.sock").exists());
    ///
    /// drop(server);
    /// assert!(!folder.join("ticks.sock").exists());
    /// # std::fs::remove_dir(&folder)?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn path(path: impl Into<PathBuf>) -> Self {
        Self(SocketName::Path(path.into()))
    }

    /// A name of at most 107 bytes in the abstract namespace (unix(7)), which leaves no file behind.
    ///
    /// Any process in the same network namespace can connect there. The server's [`PeerPolicy`] decides which users it
    /// admits.
    ///
    /// ```
    /// use fdring::options::Address;
    /// use fdring::{Consumer, Producer, Server};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let address = Address::abstract_name("doc-abstract-name");
    /// assert_eq!(address.to_string(), "@doc-abstract-name");
    ///
    /// let ticks = Producer::create("ticks")?;
    /// let server = Server::listen(&address, [&ticks])?;
    /// let consumer = Consumer::connect("@doc-abstract-name")?;
    /// # assert_eq!(ticks.consumer_count(), 1);
    /// # Ok(())
    /// # }
    /// ```
    pub fn abstract_name(name: impl Into<Vec<u8>>) -> Self {
        Self(SocketName::Abstract(name.into()))
    }

    fn as_path(&self) -> Option<&Path> {
        match &self.0 {
            SocketName::Path(path) => Some(path),
            SocketName::Abstract(_) | SocketName::Nowhere => None,
        }
    }

    /// The same address, independent of the working directory: a relative path is made absolute, unless it is longer
    /// than [`PATH_MAX_BYTES`] then.
    pub(crate) fn into_absolute(self) -> Self {
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
            SocketName::Path(path) if !(1..=PATH_MAX_BYTES).contains(&path.as_os_str().len()) => Err(Errno::INVAL),
            SocketName::Path(path) => SocketAddrUnix::new(path.as_path()),
            SocketName::Abstract(name) => SocketAddrUnix::new_abstract_name(name),
            SocketName::Nowhere => Err(Errno::INVAL),
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
            SocketName::Path(path) => write!(f, "{}", path.display()),
            SocketName::Abstract(name) => write!(f, "@{}", name.escape_ascii()),
            SocketName::Nowhere => f.write_str("(nowhere)"),
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

/// The users whose processes are admitted at the other end of a session.
///
/// The kernel tells which user a process runs as (`SO_PEERCRED`; over sockets that exist already, `SCM_CREDENTIALS`).
/// Processes of one user are not protected from each other: each can trace the others.
///
/// In a user namespace, such as that of a container, the kernel reports 65534 (the overflow uid) for every user that
/// the namespace has no number for. There this number stands for no particular user: only [`Anyone`](Self::Anyone)
/// admits it, even in a process that runs as 65534 itself.
///
/// ```
/// use fdring::options::{PeerPolicy, ServerOptions};
/// # use fdring::{Consumer, Producer};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let ticks = Producer::create("ticks")?;
/// let policy = match std::env::var("TICKS_FOR") {
///     Ok(uid) => PeerPolicy::Users(vec![uid.parse()?]), // that user, and this one
///     Err(_) => PeerPolicy::SameUser,
/// };
/// let server = ServerOptions::new().peers(policy).listen("@doc-peer-policy", [&ticks])?;
/// # let consumer = Consumer::connect("@doc-peer-policy")?;
/// # assert_eq!(ticks.consumer_count(), 1);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum PeerPolicy {
    /// Processes that run as this process's effective user. The default.
    #[default]
    SameUser,
    /// Processes that run as this process's effective user, or as one of the users with these numeric ids. At a path
    /// the socket's mode has to let them in, as with `Anyone`.
    Users(Vec<u32>),
    /// Processes of every user that can reach the socket. At a path the socket's mode says who can, see
    /// [`ServerOptions::mode`](crate::options::ServerOptions::mode): listening fails if the mode lets only the socket's
    /// owner in.
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

    /// Whether it admits users that the mode of a socket can keep out: any but this one and root.
    fn admits_others(&self) -> bool {
        let own = known_user(rustix::process::geteuid().as_raw());
        match self {
            Self::SameUser => false,
            Self::Users(users) => users.iter().any(|uid| *uid != 0 && Some(*uid) != own),
            // If this user has no number, `Anyone` is the only policy that admits it.
            Self::Anyone => own.is_some(),
        }
    }
}
