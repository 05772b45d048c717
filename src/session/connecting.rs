//! Connecting: a socket to the listener at an address, and the patience to try again.
//!
//! The invariant: a connection is made before a deadline or not at all, and asks who sends before anybody can answer.

use super::Address;
use crate::deadline::{Deadline, timespec};
use crate::error::{Error, Operation, Result};
use crate::fds;
use rustix::event::poll;
use rustix::fd::{AsFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, socket_with, sockopt};
use std::time::Duration;

/// The shortest and the longest pause between two tries.
const PATIENCE_PAUSE_MIN: Duration = Duration::from_millis(1);
const PATIENCE_PAUSE_MAX: Duration = Duration::from_millis(100);

/// Tries again for that long after each error that [is worth retrying](Error::is_worth_retrying).
pub(super) fn try_for<T>(patience: Duration, mut connect: impl FnMut() -> Result<T>) -> Result<T> {
    let patience = Deadline::after(patience);
    let mut pause = PATIENCE_PAUSE_MIN;
    loop {
        match connect() {
            Err(error) if error.is_worth_retrying() && !patience.has_passed() => {
                let pause_now = patience.remaining().map_or(pause, |remaining| pause.min(remaining));
                // A signal may end it early.
                let _ = poll(&mut [], Some(&timespec(pause_now)));
                pause = (2 * pause).min(PATIENCE_PAUSE_MAX);
            }
            outcome => return outcome,
        }
    }
}

/// Connects a seqpacket socket. Waits for a place in a full backlog, up to the deadline, which is `limit` after the
/// beginning.
pub(super) fn open_socket(address: &Address, deadline: Deadline, limit: Duration) -> Result<OwnedFd> {
    let addr = address.to_socket_addr()?;
    let doing = || format!("connect to {address}");
    let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
        .map_err(Error::os(doing()))?;
    // Before anybody can answer: one who is full refuses at once. Where a filter denies it, the process that listened
    // counts.
    let _ = fds::name_senders(socket.as_fd(), true);
    loop {
        // It bounds connect(2) too, see unix(7) on a full backlog; 0 would stand for no limit. The kernel counts anew
        // after each signal.
        let timeout = deadline.remaining().map(|remaining| remaining.max(Duration::from_millis(1)));
        sockopt::set_socket_timeout(&socket, sockopt::Timeout::Send, timeout).map_err(Error::os(doing()))?;
        match connect(&socket, &addr) {
            Ok(()) => return Ok(socket),
            Err(Errno::INTR) if !deadline.has_passed() => {}
            Err(Errno::INTR | Errno::AGAIN) => {
                let doing = format!("waiting for a place in the backlog of {address}");
                return Err(Error::TimedOut { doing, limit });
            }
            Err(Errno::PROTOTYPE) => {
                let fault = format!("{address} is a socket of another type, so no fdring server listens there");
                return Err(Error::peer("connecting", fault));
            }
            Err(error) => {
                let path = address.as_path().map(|_| Operation::ConnectToPath);
                return Err(Error::os_in(path.unwrap_or(Operation::ConnectToName), doing())(error));
            }
        }
    }
}
