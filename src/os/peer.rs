//! The process at the other end of a socket, as the kernel names it.

use crate::error::{Error, Result};
use crate::fds;
use rustix::fd::{AsFd, OwnedFd};
use rustix::io::Errno;

/// The process at the other end, as it was when it connected or began to listen.
#[derive(Debug)]
pub(crate) struct Peer {
    /// `None` if the process is in another pid namespace: the kernel says 0 then.
    pub(crate) pid: Option<u32>,
    pub(crate) uid: u32,
    /// Becomes readable when the process ends; `None` if the kernel does not give one.
    pub(crate) pidfd: Option<OwnedFd>,
}

impl Peer {
    /// Asks the kernel who is at the other end of `socket`.
    pub(crate) fn of(socket: &impl AsFd) -> Result<Self> {
        let doing = "ask the kernel who is at the other end";
        let credentials = fds::peer_credentials(socket.as_fd()).map_err(Error::os(doing))?;
        let pidfd = match fds::peer_pidfd(socket.as_fd()) {
            Ok(pidfd) => Some(pidfd),
            // Out of this pid namespace, or gone already, or forbidden: the socket's hang-up has to do.
            Err(error) if is_out_of_descriptors(&error) => return Err(Error::os(doing)(error)),
            Err(_) => None,
        };
        Ok(Self { pid: u32::try_from(credentials.pid).ok().filter(|pid| *pid != 0), uid: credentials.uid, pidfd })
    }
}

/// Whether a system call failed for want of descriptors or memory.
pub(crate) fn is_out_of_descriptors(error: &std::io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw_os_error);
    matches!(errno, Some(Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::NOBUFS))
}
