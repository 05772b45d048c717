//! Waiting for what a producer says: until its deadline, its death, or an interrupt.
//!
//! The invariant: what the producer sent before it died is heard before its death counts.

use super::connecting::check_interrupt;
use super::frame_socket::{Fault, FrameSocket, Heard};
use super::options::SessionOptions;
use crate::cmsg::FDS_PER_MESSAGE_MAX;
use crate::deadline::{Deadline, timespec};
use crate::error::{Error, Result};
use crate::os::peer::Peer;
use crate::os::thread::let_others_run;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use std::time::Duration;

/// How long to look again and again before sleeping: a peer that runs answers before a sleeper would be awake.
const LOOKING: Duration = Duration::from_micros(100);

/// The producer's next frame, and its descriptors.
pub(super) fn receive(
    socket: &mut FrameSocket,
    peer: &Peer,
    deadline: Deadline,
    options: &SessionOptions,
    doing: &str,
) -> Result<Heard> {
    receive_by(socket, peer, deadline, options, doing, |socket| socket.receive(FDS_PER_MESSAGE_MAX))
}

/// Like [`receive`], by a function that takes one frame without waiting.
pub(super) fn receive_by<T>(
    socket: &mut FrameSocket,
    peer: &Peer,
    deadline: Deadline,
    options: &SessionOptions,
    doing: &str,
    mut receive: impl FnMut(&mut FrameSocket) -> Result<Option<T>, Fault>,
) -> Result<T> {
    let mut is_dead = false;
    loop {
        match receive(socket) {
            Ok(Some(heard)) => return Ok(heard),
            // The socket was looked at after the death, so nothing more comes.
            Ok(None) if is_dead => return Err(Error::Closed { doing: doing.to_owned() }),
            Ok(None) => is_dead = wait_readable(socket, peer, deadline, options, doing)?,
            Err(fault) => {
                fault.answer().iter().for_each(|answer| socket.tell(answer));
                return Err(fault.into_error(doing));
            }
        }
    }
}

/// Waits until something came or the producer is dead, and says whether it is: a child that it has forked may keep the
/// socket open. What it sent before it died is still to be read.
fn wait_readable(
    socket: &FrameSocket,
    peer: &Peer,
    deadline: Deadline,
    options: &SessionOptions,
    doing: &str,
) -> Result<bool> {
    check_interrupt(options.interrupter.as_ref(), || doing.to_owned())?;
    // Those without a descriptor are left out.
    let mut waits = vec![PollFd::new(socket, PollFlags::IN)];
    let pidfd = peer.pidfd.as_ref().map(|pidfd| PollFd::new(pidfd, PollFlags::IN));
    let interrupt = options.interrupter.as_ref().map(|interrupter| PollFd::new(interrupter, PollFlags::IN));
    let has_pidfd = pidfd.is_some();
    waits.extend(pidfd.into_iter().chain(interrupt));
    match poll_at_once_or_asleep(&mut waits, deadline, looking_of(options)) {
        Ok(0) => Err(Error::TimedOut { doing: doing.to_owned(), limit: options.deadline }),
        Ok(_) => Ok(has_pidfd && waits[0].revents().is_empty() && !waits[1].revents().is_empty()),
        Err(Errno::INTR) => Ok(false),
        Err(error) => Err(Error::os(format!("wait for the producer while {doing}"))(error)),
    }
}

/// How long to look before sleeping: not at all where the reader is not to spin either.
fn looking_of(options: &SessionOptions) -> Duration {
    if options.spin.is_zero() { Duration::ZERO } else { LOOKING }
}

/// poll(2) that first looks for a moment without sleeping. Others that wait for this processor run meanwhile, the peer
/// perhaps.
fn poll_at_once_or_asleep(
    waits: &mut [PollFd<'_>],
    deadline: Deadline,
    looking: Duration,
) -> rustix::io::Result<usize> {
    let looking = deadline.or_after(looking);
    while !looking.has_passed() {
        match poll(waits, Some(&timespec(Duration::ZERO))) {
            Ok(0) => let_others_run(),
            polled => return polled,
        }
    }
    poll(waits, deadline.remaining().map(timespec).as_ref())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_does_not_spin_sleeps_at_once_for_each_answer() {
        assert_eq!(looking_of(&SessionOptions::new().spin(Duration::ZERO)), Duration::ZERO);
        assert_eq!(looking_of(&SessionOptions::new()), LOOKING);
        assert_eq!(looking_of(&SessionOptions::new().spin(Duration::MAX)), LOOKING);
    }
}
