//! Socket options that neither the standard library nor rustix has: who is at the other end, and what is let in.

use super::calls::{set_socket_option, socket_option, socket_option_fd};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

/// `SO_PEERPIDFD`, from Linux 6.5; not in libc yet.
const SO_PEERPIDFD: libc::c_int = 77;
/// `SO_PASSRIGHTS`, from Linux 6.16; not in libc yet.
const SO_PASSRIGHTS: libc::c_int = 83;

/// Makes the kernel refuse whoever sends descriptors to `socket` (`EPERM` there), from Linux 6.16.
///
/// Returns whether it does: older kernels do not know the option, and a filter may deny it. Accepted sockets inherit it
/// from their listener. What is queued already still arrives.
pub(crate) fn refuse_fds(socket: BorrowedFd<'_>) -> bool {
    set_socket_option(socket, SO_PASSRIGHTS, 0).is_ok()
}

/// Whether descriptors wait in `socket`, connected or listening: whoever reads them, or closes the socket, may have to
/// wait for whoever sent them. It is so where the kernel will not say, for want of /proc or of a descriptor.
///
/// The kernel tells from Linux 5.8 on, as `scm_fds` in /proc/self/fdinfo; of those in a listening socket from about 6.1
/// on. Before that, a listener says that it holds none.
pub(crate) fn holds_descriptors(socket: BorrowedFd<'_>) -> bool {
    let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", socket.as_raw_fd()));
    let count = info.as_deref().ok().and_then(|info| info.lines().find_map(|line| line.strip_prefix("scm_fds:")));
    count.is_none_or(|count| count.trim() != "0")
}

/// A descriptor of the process that connected `socket`, or that listened or made the pair, as the kernel remembers it.
///
/// It becomes readable when that process is dead, even if a child keeps the socket open. Before Linux 6.5 it is opened
/// by number (`SO_PEERCRED`), and names another process if that one died and its number was used again before this
/// call. A peer without a number in this pid namespace is an error of the kind `NotFound`.
pub(crate) fn peer_pidfd(socket: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    match socket_option_fd(socket, SO_PEERPIDFD) {
        Ok(pidfd) => pidfd.ok_or_else(|| io::ErrorKind::NotFound.into()),
        Err(Errno::NOPROTOOPT) => peer_pidfd_by_number(socket),
        Err(error) => Err(error.into()),
    }
}

/// Who connected `socket`, or listened or made the pair, as of then (`SO_PEERCRED`, unix(7)).
pub(crate) fn peer_credentials(socket: BorrowedFd<'_>) -> io::Result<PeerCredentials> {
    let [pid, uid, _gid]: [u32; 3] = socket_option(socket, libc::SO_PEERCRED)?;
    Ok(PeerCredentials { pid: pid.cast_signed(), uid })
}

pub(super) fn peer_pidfd_by_number(socket: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    // libc's struct, not rustix's: its process number cannot be 0, but the kernel's can.
    let credentials = peer_credentials(socket)?;
    let no_number = || io::Error::new(io::ErrorKind::NotFound, "the peer has no number in this pid namespace");
    let pid = Pid::from_raw(credentials.pid).filter(|pid| pid.as_raw_nonzero().get() > 0).ok_or_else(no_number)?;
    Ok(pidfd_open(pid, PidfdFlags::empty())?)
}

/// What is kept of `struct ucred`, see unix(7).
#[derive(Clone, Copy)]
pub(crate) struct PeerCredentials {
    /// 0 where the process has no number in this pid namespace.
    pub(crate) pid: i32,
    pub(crate) uid: u32,
}

const _: () = assert!(size_of::<[u32; 3]>() == size_of::<libc::ucred>());
