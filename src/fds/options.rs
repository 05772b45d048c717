//! Socket options that neither the standard library nor rustix has: who is at the other end, and what is let in.

use super::calls::{set_socket_option, socket_option, socket_option_fd};
use crate::cmsg::Credentials;
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

/// `SO_PEERPIDFD`, from Linux 6.5; not in libc yet.
const SO_PEERPIDFD: libc::c_int = 77;
/// `SO_PASSPIDFD`, from Linux 6.5; not in libc yet.
const SO_PASSPIDFD: libc::c_int = 76;
/// `SO_PASSRIGHTS`, from Linux 6.16; not in libc yet.
const SO_PASSRIGHTS: libc::c_int = 83;

/// Makes the kernel refuse every message with descriptors to `socket` (`EPERM` for its sender), from Linux 6.16.
///
/// Returns whether it does: older kernels do not know the option, and a filter may deny it. Accepted sockets inherit it
/// from their listener. What is queued already still arrives.
pub(crate) fn refuse_fds(socket: BorrowedFd<'_>) -> bool {
    set_socket_option(socket, SO_PASSRIGHTS, 0).is_ok()
}

/// Undoes [`refuse_fds`], for a peer that is admitted.
pub(crate) fn accept_fds(socket: BorrowedFd<'_>) {
    // Fails only if descriptors were not refused either.
    let _ = set_socket_option(socket, SO_PASSRIGHTS, 1);
}

/// Whether descriptors wait in `socket`, connected or listening: a thread that reads them, or closes the socket, may
/// have to wait for their sender. That is assumed if the kernel does not say, for want of /proc or of a descriptor.
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

/// Whether the kernel knows the process of a peer for sure: `SO_PEERPIDFD`, from Linux 6.5.
pub(crate) fn has_peer_pidfd(socket: BorrowedFd<'_>) -> bool {
    socket_option_fd(socket, SO_PEERPIDFD).is_ok()
}

/// Who connected `socket`, or listened or made the pair, as of then (`SO_PEERCRED`, unix(7)).
pub(crate) fn peer_credentials(socket: BorrowedFd<'_>) -> io::Result<Credentials> {
    let [pid, uid, gid]: [u32; 3] = socket_option(socket, libc::SO_PEERCRED)?;
    // What the kernel says of a socket that has no such peer.
    if uid == u32::MAX {
        return Err(io::ErrorKind::NotConnected.into());
    }
    Ok(Credentials { pid: pid.cast_signed(), uid, gid })
}

pub(super) fn peer_pidfd_by_number(socket: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    // libc's struct, not rustix's: its process number cannot be 0, but the kernel's can.
    pidfd_of(peer_credentials(socket)?.pid)
}

/// Makes the kernel name the sender of each message that is received from `socket`, or sent by it (`SO_PASSCRED`).
///
/// The kernel names the sender when a message is sent, if either end asks for it then. With this set at both ends
/// before they send anything, each message has a sender.
pub(crate) fn name_senders(socket: BorrowedFd<'_>, whether: bool) -> io::Result<()> {
    Ok(set_socket_option(socket, libc::SO_PASSCRED, whether.into())?)
}

/// Makes the kernel add a descriptor of the sending process to each message that is received from `socket`
/// (`SO_PASSPIDFD`); whether it does. Not before Linux 6.5.
pub(crate) fn add_pidfds(socket: BorrowedFd<'_>, whether: bool) -> bool {
    set_socket_option(socket, SO_PASSPIDFD, whether.into()).is_ok()
}

/// Makes the kernel add nothing to the messages that are received from `socket`, or from the connections that it
/// accepts: no credentials, pidfds or security labels, which the maker of the socket may have asked for.
pub(crate) fn add_nothing(socket: BorrowedFd<'_>) {
    for option in [libc::SO_PASSCRED, SO_PASSPIDFD, libc::SO_PASSSEC] {
        // Fails only for an option that this kernel does not have.
        let _ = set_socket_option(socket, option, 0);
    }
}

/// A descriptor of the process of this number. It names another process if that one died and its number was used again.
pub(crate) fn pidfd_of(pid: i32) -> io::Result<OwnedFd> {
    let pid = Pid::from_raw(pid).filter(|pid| pid.as_raw_nonzero().get() > 0);
    let no_number = || io::Error::new(io::ErrorKind::NotFound, "the peer has no number in this pid namespace");
    Ok(pidfd_open(pid.ok_or_else(no_number)?, PidfdFlags::empty())?)
}

/// Who sent a message, as the kernel names it.
#[derive(Debug, Default)]
pub(crate) struct Sender {
    /// `None` if the socket does not ask for them.
    pub(crate) credentials: Option<Credentials>,
    /// `None` if the socket does not ask for it, the kernel knows no sender, or could not make a descriptor.
    pub(crate) pidfd: Option<OwnedFd>,
}

const _: () = assert!(size_of::<[u32; 3]>() == size_of::<libc::ucred>());
