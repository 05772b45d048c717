//! Plain Unix stream sockets, for descriptors without lanes: `send-fds` and `recv-fds`.

use crate::output::say;
use crate::stop::Stop;
use crate::{Failure, users};
use rustix::fs::{Mode, OFlags, open};
use rustix::process::geteuid;
use std::fs::{self, File, Permissions};
use std::io::{self, ErrorKind};
use std::os::fd::AsRawFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener, UnixStream};
use std::path::{Path, PathBuf};

/// Where the two programs meet that know nothing else of each other: in this user's run directory, which nobody else
/// may write to. In /tmp, if there is none, any user may take the name first.
pub(crate) fn default_address() -> String {
    let run = std::env::var("XDG_RUNTIME_DIR").ok().filter(|dir| !dir.is_empty());
    format!("{}/my_socket", run.as_deref().unwrap_or("/tmp"))
}

/// A path, or @ and an abstract name.
fn parse(text: &str) -> io::Result<SocketAddr> {
    match text.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name),
        None => SocketAddr::from_pathname(text),
    }
}

/// Connects to who listens there.
pub(crate) fn connect(text: &str) -> Result<UnixStream, Failure> {
    let connected = parse(text).and_then(|address| UnixStream::connect_addr(&address));
    connected.map_err(|error| match error.kind() {
        ErrorKind::NotFound => Failure::new(format!("there is no socket at {text}; start the sender first")),
        ErrorKind::ConnectionRefused => Failure::new(format!("nobody listens at {text}; start the sender first")),
        _ => Failure::new(format!("could not connect to {text}: {error}")),
    })
}

/// A listening socket. Its file is removed in the end, if it is still the same one.
pub(crate) struct Listener {
    socket: UnixListener,
    /// With device and inode.
    file: Option<(PathBuf, (u64, u64))>,
}

impl Listener {
    /// Listens. A socket that a program of this user or root has left behind at a path is replaced, by root that of any
    /// user; one that is in use is not, nor is a file of any other kind. `anyone`: every user may connect.
    pub(crate) fn bind(text: &str, anyone: bool) -> Result<Self, Failure> {
        let failed = |error: io::Error| Failure::new(format!("could not listen at {text}: {error}"));
        let address = parse(text).map_err(failed)?;
        let Some(path) = address.as_pathname() else {
            return Ok(Self { socket: UnixListener::bind_addr(&address).map_err(failed)?, file: None });
        };
        if let Ok(found) = fs::symlink_metadata(path) {
            if !found.file_type().is_socket() {
                return Err(Failure::new(format!("{text} exists and is no socket; choose another path")));
            }
            // A datagram socket cannot connect to a listening one, so it finds out without disturbing the listener.
            match UnixDatagram::unbound().and_then(|probe| probe.connect(path)) {
                Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
                    let owner = users::known(found.uid());
                    if !owner.is_some_and(is_trusted) {
                        let owner = users::in_words(owner);
                        return Err(Failure::new(format!(
                            "{text} is a socket of {owner} that nobody serves; remove it or choose another path"
                        )));
                    }
                    fs::remove_file(path).map_err(failed)?;
                }
                Err(error) if error.kind() == ErrorKind::NotFound => {} // It went in the meantime.
                Err(error) if error.kind() == ErrorKind::PermissionDenied => return Err(failed(error)),
                _ => {
                    let sentence = format!("another program listens at {text}; stop it or choose another path");
                    return Err(Failure::new(sentence));
                }
            }
        }
        let socket = UnixListener::bind_addr(&address).map_err(failed)?;
        let id = id_of(path).ok_or_else(|| Failure::new(format!("the socket at {text} was removed at once")))?;
        let bound = Self { socket, file: Some((path.to_owned(), id)) };
        if anyone {
            open_to_all(path, id).map_err(|error| Failure::new(format!("could not open {text} to all: {error}")))?;
        }
        Ok(bound)
    }

    /// The first who connects. `None` if the command is to end.
    pub(crate) fn accept(&self, stop: &Stop) -> Result<Option<UnixStream>, Failure> {
        stop.wait_for(&self.socket);
        if stop.is_asked() {
            return Ok(None);
        }
        let accepted = self.socket.accept().map(|(peer, _)| Some(peer));
        accepted.map_err(|error| Failure::new(format!("could not accept a peer: {error}")))
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Some((path, id)) = &self.file
            && id_of(path) == Some(*id)
            && let Err(error) = fs::remove_file(path)
        {
            say(format_args!("could not remove {}: {error}", path.display()));
        }
    }
}

/// Lets every user connect to the socket of that identity, and to nothing that has taken its place.
fn open_to_all(path: &Path, id: (u64, u64)) -> io::Result<()> {
    let file = File::from(open(path, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?);
    let found = file.metadata()?;
    if (found.dev(), found.ino()) != id {
        return Err(io::Error::other("another file is there by now"));
    }
    fs::set_permissions(format!("/proc/self/fd/{}", file.as_raw_fd()), Permissions::from_mode(0o666))
}

/// Whether this process may remove what that user has left behind.
fn is_trusted(owner: u32) -> bool {
    let own = geteuid().as_raw();
    owner == own || owner == 0 || own == 0
}

/// Device and inode of a file.
fn id_of(path: &Path) -> Option<(u64, u64)> {
    fs::symlink_metadata(path).ok().map(|found| (found.dev(), found.ino()))
}
