//! Sockets that the caller has already: checked before they are used.
//!
//! The invariant: what is adopted is a seqpacket socket of the right state, is close-on-exec, and asks the kernel for
//! nothing that its maker may have asked for. What this file does not do: it reads nothing.

use super::Address;
use crate::error::{Error, Result};
use crate::fds;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::{Errno, FdFlags, fcntl_setfd, ioctl_fionbio};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketType, getpeername, getsockname, sockopt};

/// A socket that listens, made non-blocking, and where it is bound.
pub(super) fn listening(socket: OwnedFd) -> Result<(OwnedFd, Address)> {
    let doing = "adopt a listening socket";
    if !check(socket.as_fd(), doing)? {
        return Err(invalid(doing, "it does not listen: bind it, and call listen(2)"));
    }
    let bound = getsockname(&socket).and_then(SocketAddrUnix::try_from).map_err(Error::os(doing))?;
    // accept4(2) waits otherwise, if another process has taken the connection that was to be accepted.
    ioctl_fionbio(&socket, true).map_err(Error::os(doing))?;
    fds::add_nothing(socket.as_fd());
    Ok((socket, address_of(&bound)))
}

/// A connected socket, made to say who sends.
pub(super) fn connected(socket: OwnedFd) -> Result<OwnedFd> {
    let doing = "adopt a connected socket";
    if check(socket.as_fd(), doing)? {
        return Err(invalid(doing, "it listens; give it to Server::from_listener"));
    }
    match getpeername(&socket) {
        Ok(_) => {}
        Err(Errno::NOTCONN) => return Err(invalid(doing, "it is not connected")),
        Err(error) => return Err(Error::os(doing)(error)),
    }
    fds::add_nothing(socket.as_fd());
    fds::name_senders(socket.as_fd(), true).map_err(Error::os(doing))?;
    Ok(socket)
}

/// Checks the kind of a socket, and has no program inherit it that this process starts; whether it listens.
fn check(socket: BorrowedFd<'_>, doing: &str) -> Result<bool> {
    let domain = match sockopt::socket_domain(socket) {
        Err(Errno::NOTSOCK) => return Err(invalid(doing, "the descriptor is no socket")),
        domain => domain.map_err(Error::os(doing))?,
    };
    if domain != AddressFamily::UNIX {
        return Err(invalid(doing, "it is no Unix socket (AF_UNIX)"));
    }
    if sockopt::socket_type(socket).map_err(Error::os(doing))? != SocketType::SEQPACKET {
        return Err(invalid(doing, "it is of another type than SOCK_SEQPACKET (systemd: ListenSequentialPacket=)"));
    }
    fcntl_setfd(socket, FdFlags::CLOEXEC).map_err(Error::os(doing))?;
    sockopt::socket_acceptconn(socket).map_err(Error::os(doing))
}

fn invalid(doing: &str, fault: &str) -> Error {
    Error::Invalid(format!("could not {doing}: {fault}"))
}

/// The address as getsockname(2) says it. A socket that listens always has one.
fn address_of(bound: &SocketAddrUnix) -> Address {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    match bound.path_bytes() {
        Some(path) => Address::path(OsStr::from_bytes(path)),
        None => Address::abstract_name(bound.abstract_name().unwrap_or_default()),
    }
}
