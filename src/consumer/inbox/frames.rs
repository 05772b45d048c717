//! Frames of descriptors in the queue of a socket: looked at, and taken out once all of their descriptors are here.
//!
//! What comes without the rest of its frame is let go of: the frame has it all as long as it is in the queue.
//!
//! What this file does not do: which frame is used for which record is [`Inbox`](super::Inbox)'s to say.

use super::letting_go::LettingGo;
use crate::fds::{self, ReceivedFrame, RecvFdsError};
use crate::os::closing::Connection;
use crate::wire::{ATTACHMENTS_MAX_BYTES, AttachedRecord, Attachments, Frame};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};

/// The end of a pair of sockets on which frames come.
#[derive(Debug)]
pub(super) struct Frames {
    /// `None` once nothing more is received.
    socket: Option<Connection>,
    /// As the Offer numbers it.
    lane: usize,
    /// Lets go of those that came without others of their frame.
    pub(super) severed: LettingGo,
}

/// A frame that was taken out of the queue, or what is left of it.
#[derive(Debug)]
pub(super) struct FdFrame {
    pub(super) number: u64,
    /// The records whose descriptors are still here, at least one.
    pub(super) records: Vec<AttachedRecord>,
    /// Those of the first record come first.
    pub(super) fds: Vec<OwnedFd>,
    /// Some of its descriptors were taken. So its records are published, and no later frame replaces it.
    pub(super) is_begun: bool,
}

/// What the next frame says of itself.
#[derive(Clone, Copy)]
pub(super) struct Announced {
    pub(super) number: u64,
    /// Where its first record begins.
    pub(super) position: u64,
}

impl FdFrame {
    pub(super) fn announced(&self) -> Announced {
        Announced { number: self.number, position: self.records[0].position }
    }

    /// Takes the descriptors of its first `count` records.
    pub(super) fn take_first(&mut self, count: usize) -> Vec<OwnedFd> {
        let fds = self.records.drain(..count).map(|record| usize::from(record.count)).sum();
        // The others stay in their allocation, which most often is all there is.
        let rest = self.fds.split_off(fds);
        std::mem::replace(&mut self.fds, rest)
    }

    /// How many of its records lie before `position`.
    pub(super) fn count_before(&self, position: u64) -> usize {
        self.records.partition_point(|record| record.position < position)
    }
}

/// Why the queue brings nothing now.
pub(super) enum Nothing {
    /// Nothing is there.
    Empty,
    /// Nothing will come any more.
    Over,
    NoRoom,
    Fault(String),
}

impl Frames {
    pub(super) fn new(socket: Connection, lane: usize, severed: LettingGo) -> Self {
        Self { socket: Some(socket), lane, severed }
    }

    /// Ends the connection, with all that is in the queue.
    pub(super) fn end(&mut self) {
        self.socket = None;
    }

    pub(super) fn socket(&self) -> Result<BorrowedFd<'_>, Nothing> {
        self.socket.as_ref().map(AsFd::as_fd).ok_or(Nothing::Over)
    }

    /// What the next frame says, which stays where it is. The frame before it had the number `after`.
    pub(super) fn peek(&self, after: u64) -> Result<Announced, Nothing> {
        let mut bytes = [0; ATTACHMENTS_MAX_BYTES];
        let socket = self.socket()?;
        let len = self.receive(|| fds::peek_frame(socket, &mut bytes))?;
        // The descriptors are counted when they come.
        let announced = u16::from_le_bytes([bytes[12], bytes[13]]);
        let Attachments { number, records, .. } = self.parse(after, &bytes[..len], announced.into())?;
        Ok(Announced { number, position: records[0].position })
    }

    /// Takes the next frame out of the queue, once its descriptors are here, which are at most `fds_max`. The frame
    /// before it had the number `after`.
    pub(super) fn take(&self, after: u64, fds_max: usize) -> Result<FdFrame, Nothing> {
        if self.severed.is_full() {
            return Err(Nothing::NoRoom);
        }
        let mut bytes = [0; ATTACHMENTS_MAX_BYTES];
        let socket = self.socket()?;
        let peeked = self.receive(|| fds::peek_frame_with_fds(socket, &mut bytes, fds_max));
        let ReceivedFrame { len, fds } = peeked?;
        let parsed = self.parse(after, &bytes[..len], fds.len());
        let parsed = parsed.and_then(|parsed| self.receive(|| fds::discard_frame(socket)).map(|()| parsed));
        let Attachments { number, records, .. } = match parsed {
            Ok(parsed) => parsed,
            Err(nothing) => {
                self.severed.let_go(fds);
                return Err(nothing);
            }
        };
        Ok(FdFrame { number, records, fds, is_begun: false })
    }

    /// Calls `receive`, once more after a reset, which is reported before what had been sent, and after descriptors did
    /// not come: another thread may have made room in a full table since.
    fn receive<T>(&self, mut receive: impl FnMut() -> Result<T, RecvFdsError>) -> Result<T, Nothing> {
        let received = match receive() {
            Err(error @ (RecvFdsError::Reset | RecvFdsError::Withheld { .. })) => {
                self.let_go_of_error(error);
                receive()
            }
            received => received,
        };
        received.map_err(|error| {
            let nothing = match &error {
                error if error.is_would_block() => Nothing::Empty,
                RecvFdsError::Closed | RecvFdsError::Reset => Nothing::Over,
                // Withheld again, though all were sent: the table is so nearly full that other threads make the
                // difference.
                RecvFdsError::TableFull { .. } | RecvFdsError::Withheld { .. } => Nothing::NoRoom,
                error => Nothing::Fault(error.to_string()),
            };
            self.let_go_of_error(error);
            nothing
        })
    }

    fn parse(&self, after: u64, bytes: &[u8], fd_count: usize) -> Result<Attachments, Nothing> {
        let fault = match Frame::parse(bytes, fd_count) {
            Ok(Frame::Attachments(attachments)) if attachments.lane != self.lane => {
                format!("descriptors came for lane {}, where lane {} is read", attachments.lane, self.lane)
            }
            Ok(Frame::Attachments(attachments)) => {
                if attachments.number >= after {
                    return Ok(attachments);
                }
                format!("the number of records fell from {after} to {}", attachments.number)
            }
            Ok(frame) => format!("{} came where only Attachments may", frame.name()),
            Err(error) => error.to_string(),
        };
        Err(Nothing::Fault(fault))
    }

    fn let_go_of_error(&self, error: RecvFdsError) {
        self.severed.let_go(error.into_received().map(|received| received.fds).unwrap_or_default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fds::Received;
    use crate::os::fork::ForkGuard;
    use std::io::{self, Read, pipe};

    /// One after the other: what a call that receives brings, how often it is made, and the answer.
    #[test]
    fn a_reset_or_descriptors_that_did_not_come_are_answered_by_one_more_call() {
        type Call = fn(Received) -> Result<(), RecvFdsError>;
        let withheld: Call = |received| Err(RecvFdsError::Withheld { received });
        let full: Call = |received| Err(RecvFdsError::TableFull { received });
        let reset: Call = |_| Err(RecvFdsError::Reset);
        let nothing: Call = |_| Err(RecvFdsError::Os(io::ErrorKind::WouldBlock.into()));
        let good: Call = |_| Ok(());
        let cases: [(&[Call], usize, &str); 9] = [
            (&[withheld, good], 2, "received"),
            (&[reset, good], 2, "received"),
            (&[withheld, withheld, good], 2, "no room"),
            (&[withheld, full, good], 2, "no room"),
            (&[reset, withheld, good], 2, "no room"),
            (&[reset, reset, good], 2, "over"),
            (&[reset, nothing, good], 2, "empty"),
            (&[full, good], 1, "no room"),
            (&[nothing, good], 1, "empty"),
        ];
        for (number, (calls, made, answer)) in cases.into_iter().enumerate() {
            let ((socket, _producer), guard) = (fds::seqpacket_pair().unwrap(), ForkGuard::get().unwrap());
            let socket = Connection::new(socket, guard);
            let frames = Frames::new(socket, 0, LettingGo::of_severed(None));
            let ((mut reader, writer), mut left) = (pipe().unwrap(), calls.iter());
            let outcome = frames.receive(|| {
                // With what came of it.
                left.next().unwrap()(Received { len: 1, fds: vec![writer.try_clone().unwrap().into()] })
            });
            let outcome = match outcome {
                Ok(()) => "received",
                Err(Nothing::Empty) => "empty",
                Err(Nothing::Over) => "over",
                Err(Nothing::NoRoom) => "no room",
                Err(Nothing::Fault(fault)) => panic!("case {number}: {fault}"),
            };
            assert_eq!((outcome, calls.len() - left.len()), (answer, made), "case {number}");
            drop(writer);
            assert_eq!(reader.read(&mut [0]).unwrap(), 0, "what came of a frame is closed");
        }
    }
}
