//! The inbox of a consumer, into which a hostile producer sends descriptors and whatever else it likes.

use super::Script;
use super::session_ops::with_room_for;
use crate::consumer::{Inbox, InboxEnd};
use crate::errors::TakeFdsError;
use crate::fds::{send_frame, seqpacket_pair};
use crate::os::closing::Connection;
use crate::os::fork::ForkGuard;
use crate::wire::{Attachments, Frame};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::fstat;
use rustix::net::{SendFlags, Shutdown, send, shutdown};
use std::collections::VecDeque;
use std::io::{PipeReader, pipe};
use std::time::Duration;

/// The lane of the session that is read.
const LANE: usize = 3;
/// How much a script does at most.
const ACTIONS_MAX: usize = 64;
/// A call ends after this number of frames.
const FRAMES_PER_CALL: usize = 6;
/// The longest frame that is looked at, in bytes.
const FRAME_ROOM_BYTES: usize = 64;
/// The most descriptors that are sent: fewer than may wait to be closed.
const FDS_MAX: usize = 250;
/// How many descriptors a record has: few ones and many ones are received in different ways.
const COUNTS: [u8; 8] = [1, 2, 1, 3, 15, 16, 17, 18];
/// The length of a record in bytes.
const RECORD: u64 = 64;
/// What must happen, happens within this time.
const PATIENCE: Duration = Duration::from_secs(10);

/// Takes steps from `data`: a producer sends frames with descriptors, of any number, position and count, and other
/// bytes; a consumer takes the descriptors of records, passes records, and lets go of what is left, now and then with
/// little room in its table.
///
/// Each take brings what a plain list of all that was sent makes it: exactly the descriptors of the last frame of one
/// number, or an error of the same kind. A full table loses nothing. Every descriptor is closed at the end.
pub fn inbox(data: &[u8]) {
    let mut script = Script::new(data);
    let guard = ForkGuard::get().expect("memory for a page");
    let (ours, theirs) = seqpacket_pair().expect("a pair of sockets");
    let end = InboxEnd { socket: Connection::new(ours, guard), lane: LANE };
    let inbox = Inbox::new(end, guard).with_frames_per_call(FRAMES_PER_CALL);
    let (mut producer, mut plain) = (Producer { socket: Some(theirs), pipes: Vec::new(), fds: 0 }, Plain::default());
    let mut position = 0;
    for _ in 0..ACTIONS_MAX {
        if script.is_empty() {
            break;
        }
        match script.u8() % 16 {
            kind @ 0..8 => producer.act(kind, &mut script, position, &mut plain),
            8 => {
                plain.is_over |= script.u8().is_multiple_of(4) && producer.leave(&mut script);
            }
            kind @ 9..13 => {
                let (at, count) = (near(&mut script, position), script.choose(&COUNTS));
                let mut taken = Err(TakeFdsError::NoRoom);
                // Where a flood ends a call, one call is not as good as two.
                if kind == 12 && plain.sent.len() < FRAMES_PER_CALL {
                    with_room_for(script.below(20), || taken = inbox.take(at, count));
                }
                if matches!(taken, Err(TakeFdsError::NoRoom)) {
                    taken = inbox.take(at, count);
                }
                compare(taken, plain.take(at, count));
            }
            13 => {
                let at = near(&mut script, position);
                assert_eq!(inbox.settle(at), plain.settle(at, true), "whether all is let go of");
            }
            14 => {
                inbox.settle_if_due(position);
                plain.settle_if_due(position);
            }
            _ => {
                position += RECORD * u64::from(1 + script.u8() % 3);
                inbox.pass(position);
                plain.settle_if_due(position);
                plain.may_have_untaken = true;
            }
        }
    }
    drop(inbox);
    let limit = crate::deadline::timespec(PATIENCE);
    for pipe in producer.pipes {
        let mut ends = [PollFd::new(&pipe, PollFlags::IN)];
        assert_eq!(poll(&mut ends, Some(&limit)), Ok(1), "a descriptor is left open");
    }
}

/// The hostile end.
struct Producer {
    socket: Option<OwnedFd>,
    /// The reading end of the pipe of each frame: its writing end is what was sent, once or several times.
    pipes: Vec<PipeReader>,
    /// How many descriptors were sent.
    fds: usize,
}

impl Producer {
    fn act(&mut self, kind: u8, script: &mut Script<'_>, position: u64, plain: &mut Plain) {
        let last = plain.sent.iter().rev().find_map(|sent| sent.says(sent.count)).map_or(plain.number, |it| it.number);
        let number = script.choose(&[last + 1, last + 1, last, last, last + 2, last.saturating_sub(1)]);
        let (position, count) = (near(script, position), script.choose(&COUNTS));
        let lane = if kind == 5 { script.below(5) } else { LANE };
        let frame = Frame::Attachments(Attachments { lane, number, position, count }).encode();
        let (bytes, count) = match kind {
            // As many as announced, or others.
            0..=5 => (frame, usize::from(count)),
            6 => (frame, script.below(20)),
            _ if script.u8().is_multiple_of(4) => (Frame::Query(script.below(83)).encode(), script.below(3)),
            _ => (script.bytes(script.clone().below(80)).to_vec(), script.below(3)),
        };
        let Some(socket) = self.socket.as_ref().filter(|_| self.fds + count <= FDS_MAX) else { return };
        let (pipe, writer) = pipe().expect("a pipe");
        let fds: Vec<BorrowedFd<'_>> = vec![writer.as_fd(); count];
        let is_sent = match &bytes[..] {
            [] if count == 0 => send(socket, &[], SendFlags::DONTWAIT | SendFlags::NOSIGNAL).is_ok(),
            bytes => send_frame(socket.as_fd(), bytes, &fds).is_ok(),
        };
        if is_sent {
            self.fds += count;
            plain.sent.push_back(Sent { bytes, count, file: file_of(&writer) });
            self.pipes.push(pipe);
        }
    }

    /// Closes its end, or says that it sends no more; whether it was there.
    fn leave(&mut self, script: &mut Script<'_>) -> bool {
        match script.u8() % 2 {
            0 => self.socket.take().is_some(),
            _ => self.socket.as_ref().is_some_and(|socket| shutdown(socket, Shutdown::Write).is_ok()),
        }
    }
}

/// A position as a hostile producer might choose it, or a consumer that reads there.
fn near(script: &mut Script<'_>, position: u64) -> u64 {
    match script.u8() % 16 {
        15 => script.u64(),
        14 => position.saturating_sub(RECORD),
        13 => position + 8,
        ahead => position + RECORD * u64::from(ahead / 4),
    }
}

/// Which file it is.
fn file_of(fd: &impl AsFd) -> u64 {
    fstat(fd).expect("any file has a number").st_ino
}

/// Fails if something else was taken than is due.
fn compare(taken: Result<Vec<OwnedFd>, TakeFdsError>, due: Due) {
    let outcome = match taken {
        Ok(fds) => {
            let file = file_of(&fds[0]);
            assert!(fds.iter().all(|fd| file_of(fd) == file), "descriptors of two frames");
            Due::Fds { file, count: fds.len() }
        }
        Err(TakeFdsError::Taken) => Due::Taken,
        Err(TakeFdsError::NotSent { .. }) => Due::NotSent,
        Err(TakeFdsError::CutOff) => Due::CutOff,
        Err(TakeFdsError::Peer(_)) => Due::Peer,
        Err(error) => panic!("an error that nobody caused: {error}"),
    };
    assert_eq!(outcome, due);
}

/// What a take is to bring.
#[derive(Debug, PartialEq, Eq)]
enum Due {
    Fds { file: u64, count: usize },
    Taken,
    NotSent,
    CutOff,
    Peer,
}

/// A message with `count` descriptors, all of one file.
#[derive(Debug)]
struct Sent {
    bytes: Vec<u8>,
    count: usize,
    file: u64,
}

impl Sent {
    /// What it says, if it is in order with this number of descriptors.
    fn says(&self, count: usize) -> Option<Attachments> {
        match Frame::parse(self.bytes.get(..FRAME_ROOM_BYTES).unwrap_or(&self.bytes), count) {
            Ok(Frame::Attachments(attachments)) if attachments.lane == LANE => Some(attachments),
            _ => None,
        }
    }

    /// The number of descriptors that it announces.
    fn announces(&self) -> usize {
        let byte = |index| self.bytes.get(index).copied().unwrap_or_default();
        u16::from_le_bytes([byte(12), byte(13)]).into()
    }
}

/// What a plain reading of the rules knows: all that was sent, in order.
#[derive(Debug, Default)]
struct Plain {
    sent: VecDeque<Sent>,
    /// The first of them is received, and not used yet.
    has_head: bool,
    /// That of the message before them.
    number: u64,
    taken: Option<u64>,
    may_have_untaken: bool,
    /// No more will come.
    is_over: bool,
    /// Something came that may not come.
    is_broken: bool,
}

/// Why there is no message.
enum No {
    Empty,
    Over,
    Fault,
}

impl Plain {
    /// What message `index` says, as it announces its descriptors, or with those that it has.
    fn look(&self, index: usize, is_received: bool) -> Result<Attachments, No> {
        let before = self.sent.get(index.wrapping_sub(1)).and_then(|sent| sent.says(sent.announces()));
        match self.sent.get(index) {
            _ if self.is_broken => Err(No::Fault),
            None => Err(if self.is_over { No::Over } else { No::Empty }),
            Some(sent) if sent.bytes.is_empty() && sent.count == 0 => Err(No::Over),
            Some(sent) => {
                let says = sent.says(if is_received { sent.count } else { sent.announces() });
                says.filter(|it| it.number >= before.map_or(self.number, |before| before.number)).ok_or(No::Fault)
            }
        }
    }

    fn drop_head(&mut self) -> Sent {
        let head = self.sent.pop_front().expect("there is one");
        self.number = head.says(head.count).map_or(self.number, |head| head.number);
        self.has_head = false;
        head
    }

    fn take(&mut self, position: u64, count: u8) -> Due {
        if self.taken == Some(position) {
            return Due::Taken;
        }
        match self.find(position) {
            Ok(Some(head)) if head.count == usize::from(count) => {
                (self.taken, self.may_have_untaken) = (Some(position), false);
                Due::Fds { file: head.file, count: head.count }
            }
            Ok(None) | Err(No::Empty) => Due::NotSent,
            Err(No::Over) => Due::CutOff,
            Ok(Some(_)) | Err(No::Fault) => {
                self.is_broken = true;
                Due::Peer
            }
        }
    }

    fn find(&mut self, position: u64) -> Result<Option<Sent>, No> {
        for _ in 0..FRAMES_PER_CALL {
            let head = self.look(0, true)?;
            self.has_head = true;
            let is_last = match self.look(1, false) {
                Ok(next) => next.number != head.number,
                Err(No::Empty | No::Over) => true,
                Err(No::Fault) => return Err(No::Fault),
            };
            match (is_last, head.position) {
                (true, at) if at == position => return Ok(Some(self.drop_head())),
                (true, at) if at > position => return Ok(None),
                _ => drop(self.drop_head()),
            }
        }
        Err(No::Fault)
    }

    /// Whether all that may be let go of is.
    fn settle(&mut self, position: u64, looks_ahead: bool) -> bool {
        let left = self.let_go_below(position, looks_ahead);
        self.is_broken |= left.is_err();
        self.may_have_untaken = left.is_ok_and(|(has_left, _)| has_left);
        left.is_err() || left.is_ok_and(|(_, is_done)| is_done)
    }

    fn settle_if_due(&mut self, position: u64) {
        if self.may_have_untaken {
            self.settle(position, false);
        }
    }

    /// Whether some are left, and whether there was time for all; an error for what may not come.
    fn let_go_below(&mut self, position: u64, looks_ahead: bool) -> Result<(bool, bool), ()> {
        for _ in 0..FRAMES_PER_CALL {
            let next = match self.look(usize::from(self.has_head), false) {
                Ok(next) => Some(next),
                Err(No::Empty | No::Over) => None,
                Err(No::Fault) => return Err(()),
            };
            if self.has_head {
                let head = self.look(0, true).map_err(|_| ())?;
                if head.position >= position && next.is_none_or(|next| next.number != head.number) {
                    return Ok((true, true));
                }
                self.drop_head();
            }
            if next.is_none_or(|next| next.position >= position && !looks_ahead) {
                return Ok((false, true));
            }
            self.look(0, true).map_err(|_| ())?;
            self.has_head = true;
        }
        Ok((true, false))
    }
}
