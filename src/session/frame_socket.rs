//! A session's socket, frame by frame: what either end sends and receives until its lanes are attached to.
//!
//! The invariant: nothing here waits, and every descriptor that comes is either handed out with its frame or closed by
//! a thread that may wait. What the frames mean is the business of [`handshake`](crate::handshake).

use super::unwelcome;
use crate::cmsg::FDS_PER_MESSAGE_MAX;
use crate::deadline::timespec;
use crate::error::Error;
use crate::fds::{self, ReceivedFrame, RecvFdsError};
use crate::handshake::HandshakeError;
use crate::os::closing::Connection;
use crate::os::peer::Peer;
use crate::wire::{FRAME_MAX_BYTES, Frame, FrameError};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;
use std::time::Duration;
use std::{fmt, io};

/// A connected seqpacket socket that carries frames.
#[derive(Debug)]
pub(super) struct FrameSocket {
    connection: Connection,
    /// The kernel has reported that the peer closed before it had read everything. What the peer had sent comes after
    /// that.
    has_reset: bool,
    room: FrameRoom,
}

/// Room for the longest frame: to zero it takes longer than to receive most frames, so it is kept from one to the next.
/// Empty before the first one, and from when none was there.
#[derive(Default)]
struct FrameRoom(Vec<u8>);

impl fmt::Debug for FrameRoom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

/// A frame and its descriptors.
pub(super) type Heard = (Frame, Vec<OwnedFd>);

/// Why there is no frame, and will be none.
#[derive(Debug)]
pub(super) enum Fault {
    /// The peer has hung up, and all that it had sent was received.
    HungUp,
    /// This process has no room for the descriptors that came.
    Shortage,
    /// More descriptors came than this number.
    TooManyDescriptors(usize),
    /// A message came that is no frame, for a reason that its sender understands.
    Message(String),
    /// The bytes are no frame.
    Frame(FrameError),
}

impl FrameSocket {
    pub(super) fn new(connection: Connection) -> Self {
        Self { connection, has_reset: false, room: FrameRoom::default() }
    }

    /// The socket alone, for the code that goes on with it.
    pub(super) fn into_connection(self) -> Connection {
        self.connection
    }

    /// Sends a frame with its descriptors, whole or not at all.
    pub(super) fn send(&self, frame: &Frame, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        fds::send_frame(self.as_fd(), &frame.encode(), fds)
    }

    /// Whether the peer has hung up, whatever it had sent before.
    pub(super) fn has_hung_up(&self) -> bool {
        let mut waits = [PollFd::new(self, PollFlags::RDHUP)];
        poll(&mut waits, Some(&timespec(Duration::ZERO))).is_ok() && !waits[0].revents().is_empty()
    }

    /// Sends a frame to a peer that may be gone, or may not be reading.
    pub(super) fn tell(&self, frame: &Frame) {
        let _ = self.send(frame, &[]);
    }

    /// The next frame, with at most `fds_max` descriptors; `None` if none has come. With 0 none are taken: a message
    /// that has some stays where it is.
    pub(super) fn receive(&mut self, fds_max: usize) -> Result<Option<Heard>, Fault> {
        self.receive_by(|socket, bytes| match fds_max {
            0 => fds::recv_frame_without_fds(socket, bytes).map(|len| ReceivedFrame { len, fds: Vec::new() }),
            _ => fds::recv_frame(socket, bytes, fds_max),
        })
    }

    /// Like [`receive`](Self::receive), from a socket that asks who sends ([`name_senders`](fds::name_senders)): the
    /// first frame, and the process that sent it. Later frames come without a sender.
    pub(super) fn receive_first(&mut self, takes_fds: bool) -> Result<Option<(Heard, Peer)>, Fault> {
        let mut peer = Peer::UNKNOWN;
        let heard = self.receive_by(|socket, bytes| {
            let (frame, sender, has_pidfds) = if takes_fds {
                let has_pidfds = fds::add_pidfds(socket, true);
                let (frame, sender) = fds::recv_first_frame(socket, bytes)?;
                (frame, sender, has_pidfds)
            } else {
                let (len, sender, has_pidfds) = fds::recv_first_frame_without_fds(socket, bytes)?;
                (ReceivedFrame { len, fds: Vec::new() }, sender, has_pidfds)
            };
            peer = Peer::of_sender(sender, has_pidfds);
            Ok(frame)
        });
        match &heard {
            Ok(Some(_)) => fds::add_nothing(self.as_fd()),
            _ => _ = fds::add_pidfds(self.as_fd(), false),
        }
        Ok(heard?.map(|heard| (heard, peer)))
    }

    /// The next frame as `receive` takes it, which does not wait.
    fn receive_by(
        &mut self,
        mut receive: impl FnMut(BorrowedFd<'_>, &mut [u8]) -> Result<ReceivedFrame, RecvFdsError>,
    ) -> Result<Option<Heard>, Fault> {
        let FrameRoom(bytes) = &mut self.room;
        if bytes.is_empty() {
            *bytes = vec![0; FRAME_MAX_BYTES];
        }
        loop {
            match receive(self.connection.as_fd(), bytes) {
                Ok(ReceivedFrame { len, fds }) => {
                    return match Frame::parse(&bytes[..len], fds.len()) {
                        Ok(frame) => Ok(Some((frame, fds))),
                        Err(error) => {
                            unwelcome::close(fds);
                            Err(Fault::Frame(error))
                        }
                    };
                }
                Err(error) if error.is_would_block() => {
                    self.room = FrameRoom::default();
                    return Ok(None);
                }
                // Reported once, before what the peer had sent.
                Err(RecvFdsError::Reset) if !self.has_reset => self.has_reset = true,
                Err(RecvFdsError::Closed | RecvFdsError::Reset) => return Err(Fault::HungUp),
                Err(error) => return Err(Fault::of(error)),
            }
        }
    }
}

impl AsFd for FrameSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.connection.as_fd()
    }
}

impl Fault {
    /// The fault of a message that could not be received whole. Closes the descriptors that came with it.
    fn of(error: RecvFdsError) -> Self {
        let fault = match &error {
            RecvFdsError::TableFull { .. } => Self::Shortage,
            RecvFdsError::TooManyDescriptors { fds_max, .. } if *fds_max < FDS_PER_MESSAGE_MAX => {
                Self::TooManyDescriptors(*fds_max)
            }
            // Its sender has no buffer to make longer.
            RecvFdsError::PayloadTruncated { .. } => {
                Self::Message(format!("a frame is longer than {FRAME_MAX_BYTES} bytes"))
            }
            error => Self::Message(error.to_string()),
        };
        unwelcome::close(error.into_received().map(|received| received.fds).unwrap_or_default());
        fault
    }

    /// The public error for this one. `doing` continues "while": "waiting for an Offer".
    pub(super) fn into_error(self, doing: &str) -> Error {
        match self {
            Self::HungUp => Error::Closed { doing: doing.to_owned() },
            // No fault of the peer.
            Self::Shortage => Error::os(format!("take the peer's descriptors while {doing}"))(Errno::MFILE),
            Self::TooManyDescriptors(most) => Error::peer(doing, format!("more than {most} descriptors came")),
            Self::Message(fault) => Error::peer(doing, fault),
            Self::Frame(error) => Error::peer(doing, error),
        }
    }

    /// What to tell the peer before hanging up, if it sent something that is no frame.
    pub(super) fn answer(&self) -> Option<Frame> {
        match self {
            Self::Frame(error) => HandshakeError::from(error.clone()).refuse_frame(),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::os::fork::ForkGuard;

    /// The kernel reports one, and what the peer had sent comes after it. Another is the end: nobody waits for a third.
    #[test]
    fn a_second_reset_is_the_end() {
        let (here, _there) = fds::seqpacket_pair().unwrap();
        let mut socket = FrameSocket::new(Connection::new(here, ForkGuard::get().unwrap()));
        let mut resets = 0;
        let heard = socket.receive_by(|_, _| {
            resets += 1;
            assert!(resets <= 2, "it is asked again");
            Err(RecvFdsError::Reset)
        });
        assert!(matches!(heard, Err(Fault::HungUp)), "{heard:?}");
        assert_eq!(resets, 2);
    }
}
