//! Connecting: a socket to the listener at an address, and the patience to try again.
//!
//! The invariant: a connection is made before a deadline or not at all, and asks who sends before anybody can answer.

use super::Address;
use crate::deadline::{Deadline, timespec};
use crate::error::{Error, Operation, Result};
use crate::fds;
use crate::os::closing::{self, WAITING_MAX};
use crate::os::interrupt::Interrupter;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::{AsFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, socket_with, sockopt};
use std::time::Duration;

/// The shortest and the longest pause between two tries.
const PATIENCE_PAUSE_MIN: Duration = Duration::from_millis(1);
const PATIENCE_PAUSE_MAX: Duration = Duration::from_millis(100);
/// How long a step that no descriptor ends goes on after an interrupt.
const INTERRUPT_LOOKS: Duration = Duration::from_millis(10);

/// Tries again for that long after each error that [is worth retrying](Error::is_worth_retrying).
pub(super) fn try_for<T>(
    patience: Duration,
    interrupter: Option<&Interrupter>,
    mut connect: impl FnMut() -> Result<T>,
) -> Result<T> {
    let patience = Deadline::after(patience);
    let mut pause = PATIENCE_PAUSE_MIN;
    loop {
        check_interrupt(interrupter, || "connecting".to_owned())?;
        match connect() {
            Err(error) if error.is_worth_retrying() && !patience.has_passed() => {
                let pause_now = patience.remaining().map_or(pause, |remaining| pause.min(remaining));
                // A signal may end it early, too.
                let mut waits: Vec<_> = interrupter.map(|fd| PollFd::new(fd, PollFlags::IN)).into_iter().collect();
                let _ = poll(&mut waits, Some(&timespec(pause_now)));
                pause = (2 * pause).min(PATIENCE_PAUSE_MAX);
            }
            outcome => return outcome,
        }
    }
}

/// [`Error::Interrupted`] if this interrupter ends waits now. `doing` continues "while".
pub(super) fn check_interrupt(interrupter: Option<&Interrupter>, doing: impl FnOnce() -> String) -> Result<()> {
    match interrupter {
        Some(interrupter) if interrupter.is_interrupted() => Err(Error::Interrupted { doing: doing() }),
        _ => Ok(()),
    }
}

/// Calls `wait` until it says something other than that the time it was given is up, or the deadline passes, which is
/// `limit` after the beginning: for waits that no descriptor ends. `doing` continues "while".
pub(super) fn wait_in_slices<T>(
    deadline: Deadline,
    limit: Duration,
    interrupter: Option<&Interrupter>,
    doing: impl Fn() -> String,
    mut wait: impl FnMut(Option<Duration>) -> Option<Result<T>>,
) -> Result<T> {
    loop {
        check_interrupt(interrupter, &doing)?;
        let slice = deadline.remaining().into_iter().chain(interrupter.map(|_| INTERRUPT_LOOKS)).min();
        match wait(slice) {
            Some(outcome) => return outcome,
            None if deadline.has_passed() => return Err(Error::TimedOut { doing: doing(), limit }),
            None => {}
        }
    }
}

/// How often it is looked whether descriptors were closed.
const CLOSING_LOOKS: Duration = Duration::from_millis(1);

/// Waits until no more than [`WAITING_MAX`] descriptors of earlier sessions wait to be closed: a peer can keep the
/// thread that closes them, and each session has some.
fn wait_for_closing(deadline: Deadline, limit: Duration, interrupter: Option<&Interrupter>) -> Result<()> {
    let doing = || format!("waiting for {WAITING_MAX} descriptors of other sessions to be closed");
    wait_in_slices(deadline, limit, interrupter, doing, |slice| {
        if closing::waiting() < WAITING_MAX {
            return Some(Ok(()));
        }
        let pause = slice.map_or(CLOSING_LOOKS, |slice| slice.min(CLOSING_LOOKS));
        let _ = poll(&mut [], Some(&timespec(pause)));
        None
    })
}

/// Connects a seqpacket socket. Waits for a place in a full backlog, up to the deadline, which is `limit` after the
/// beginning.
pub(super) fn open_socket(
    address: &Address,
    deadline: Deadline,
    limit: Duration,
    interrupter: Option<&Interrupter>,
) -> Result<OwnedFd> {
    let addr = address.to_socket_addr()?;
    let doing = || format!("connect to {address}");
    wait_for_closing(deadline, limit, interrupter)?;
    let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
        .map_err(Error::os(doing()))?;
    // Before anybody can answer: one who is full refuses at once. If a filter denies it, the process that listened
    // counts.
    let _ = fds::name_senders(socket.as_fd(), true);
    let waiting = || format!("waiting for a place in the backlog of {address}");
    wait_in_slices(deadline, limit, interrupter, waiting, |slice| {
        // It bounds connect(2) too, see unix(7) on a full backlog; 0 would stand for no limit. The kernel counts anew
        // after each signal.
        let timeout = slice.map(|slice| slice.max(Duration::from_millis(1)));
        if let Err(error) = sockopt::set_socket_timeout(&socket, sockopt::Timeout::Send, timeout) {
            return Some(Err(Error::os(doing())(error)));
        }
        match connect(&socket, &addr) {
            Ok(()) => Some(Ok(())),
            Err(Errno::INTR | Errno::AGAIN) => None,
            Err(Errno::PROTOTYPE) => {
                let fault = format!("{address} is a socket of another type, so no fdring server listens there");
                Some(Err(Error::peer("connecting", fault)))
            }
            Err(error) => {
                let path = address.as_path().map(|_| Operation::ConnectToPath);
                Some(Err(Error::os_in(path.unwrap_or(Operation::ConnectToName), doing())(error)))
            }
        }
    })?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::os::closing::{close_later, tests::lingering};
    use crate::test_support::{DEADLINE, isolated, unique_name};

    #[test]
    fn who_connects_waits_for_what_earlier_sessions_have_left_to_be_closed() {
        isolated(
            "session::connecting::tests::who_connects_waits_for_what_earlier_sessions_have_left_to_be_closed",
            || {
                let address = Address::from(format!("@{}", unique_name()));
                let connect = |limit| open_socket(&address, Deadline::after(limit), limit, None).map(drop).unwrap_err();
                let (sockets, listeners): (Vec<_>, Vec<_>) = (0..WAITING_MAX).map(|_| lingering()).unzip();
                close_later(sockets);
                let error = connect(Duration::from_millis(50));
                assert!(
                    matches!(error, Error::TimedOut { .. }) && error.to_string().contains("64 descriptors"),
                    "{error}"
                );
                drop(listeners);
                assert!(matches!(connect(DEADLINE), Error::Os { .. }), "nobody listens");
            },
        );
    }
}
