//! The inbox of a consumer, into which a hostile producer sends descriptors and whatever else it likes.

use super::Script;
use super::session_ops::with_room_for;
use crate::consumer::{Inbox, InboxEnd};
use crate::errors::TakeFdsError;
use crate::fds::{send_frame, seqpacket_pair};
use crate::os::closing::Connection;
use crate::os::fork::ForkGuard;
use crate::wire::{ATTACHMENTS_MAX_BYTES, AttachedRecord, Attachments, Frame};
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
/// The most descriptors that are sent: fewer than may wait to be closed.
const FDS_MAX: usize = 250;
/// The lanes: the most descriptors that a record may have, and how many the records of a script have. Few ones and many
/// ones are received in different ways, and what is few depends on the lane.
const LANES: [(u8, [u8; 8]); 2] = [(253, [1, 2, 1, 3, 15, 16, 17, 18]), (64, [1, 2, 1, 3, 63, 64, 65, 66])];
/// The length of a record in bytes.
const RECORD: u64 = 64;
/// What must happen, happens within this time.
const PATIENCE: Duration = Duration::from_secs(10);

/// Takes steps from `data`: a producer sends frames with descriptors, of any number, position and count, and other
/// bytes; a consumer takes the descriptors of records, passes records, and lets go of what is left, now and then with
/// little room in its table. The first byte chooses the lane.
///
/// Each take brings what a plain list of all that was sent makes it: exactly the descriptors of this record in the
/// last frame of one number, or an error of the same kind. A full table loses nothing. Every descriptor is closed at
/// the end.
pub fn inbox(data: &[u8]) {
    let mut script = Script::new(data);
    let guard = ForkGuard::get().expect("memory for a page");
    let (ours, theirs) = seqpacket_pair().expect("a pair of sockets");
    let end = InboxEnd { socket: Connection::new(ours, guard), lane: LANE };
    let (fds_max, counts) = script.choose(&LANES);
    let inbox = Inbox::new(end, fds_max, None, guard).with_frames_per_call(FRAMES_PER_CALL);
    let mut producer = Producer { socket: Some(theirs), pipes: Vec::new(), fds: 0, counts };
    let mut plain = Plain::default();
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
                let (at, count) = (near(&mut script, position), script.choose(&counts));
                let mut taken = Err(TakeFdsError::NoRoom);
                // Where a flood ends a call, one call is not as good as two.
                if kind == 12 && plain.sent.len() < FRAMES_PER_CALL {
                    with_room_for(script.below(usize::from(counts[7]) + 2), || taken = inbox.take(at, count));
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
    /// The reading ends of the pipes whose writing ends were sent, once or several times: one pipe for each record.
    pipes: Vec<PipeReader>,
    /// How many descriptors were sent.
    fds: usize,
    /// How many a record has.
    counts: [u8; 8],
}

impl Producer {
    fn act(&mut self, kind: u8, script: &mut Script<'_>, position: u64, plain: &mut Plain) {
        let last =
            plain.sent.iter().rev().find_map(|sent| sent.says(sent.files.len())).map_or(plain.number, |it| it.number);
        let number = script.choose(&[last + 1, last + 1, last, last, last + 2, last.saturating_sub(1)]);
        let mut records = vec![AttachedRecord { position: near(script, position), count: script.choose(&self.counts) }];
        for _ in 0..script.u8().saturating_sub(0xf0) / 4 {
            let position = records[records.len() - 1].position.saturating_add(RECORD * u64::from(script.u8() % 3));
            records.push(AttachedRecord { position, count: script.choose(&self.counts) });
        }
        let counts: Vec<usize> = records.iter().map(|record| record.count.into()).collect();
        let lane = if kind == 5 { script.below(5) } else { LANE };
        let frame = Frame::Attachments(Attachments { lane, number, records }).encode();
        let (bytes, counts) = match kind {
            // As many as announced, or others.
            0..=5 => (frame, counts),
            6 => (frame, vec![script.below(20)]),
            _ if script.u8().is_multiple_of(4) => (Frame::Query(script.below(83)).encode(), vec![script.below(3)]),
            _ => (script.bytes(script.clone().below(80)).to_vec(), vec![script.below(3)]),
        };
        let count: usize = counts.iter().sum();
        let Some(socket) = self.socket.as_ref().filter(|_| self.fds + count <= FDS_MAX) else { return };
        let (pipes, writers): (Vec<_>, Vec<_>) = counts.iter().map(|_| pipe().expect("a pipe")).unzip();
        let each = writers.iter().zip(counts).flat_map(|(writer, count)| std::iter::repeat_n(writer, count));
        let fds: Vec<BorrowedFd<'_>> = each.clone().map(AsFd::as_fd).collect();
        let files = each.map(file_of).collect();
        let is_sent = match &bytes[..] {
            [] if count == 0 => send(socket, &[], SendFlags::DONTWAIT | SendFlags::NOSIGNAL).is_ok(),
            bytes => send_frame(socket.as_fd(), bytes, &fds).is_ok(),
        };
        if is_sent {
            self.fds += count;
            plain.sent.push_back(Sent { bytes, files });
            self.pipes.extend(pipes);
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
        Ok(fds) => Due::Fds(fds.iter().map(file_of).collect()),
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
    /// Those of these files.
    Fds(Vec<u64>),
    Taken,
    NotSent,
    CutOff,
    Peer,
}

/// A message with descriptors of these files.
#[derive(Debug)]
struct Sent {
    bytes: Vec<u8>,
    files: Vec<u64>,
}

impl Sent {
    /// What it says, if it is in order with this number of descriptors.
    fn says(&self, count: usize) -> Option<Attachments> {
        match Frame::parse(self.bytes.get(..ATTACHMENTS_MAX_BYTES).unwrap_or(&self.bytes), count) {
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
    /// The first of them is received, and not used up yet.
    has_head: bool,
    /// How many of its records are taken or passed.
    used: usize,
    /// Whether one was taken.
    is_begun: bool,
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
            Some(sent) if sent.bytes.is_empty() && sent.files.is_empty() => Err(No::Over),
            Some(sent) => {
                let says = sent.says(if is_received { sent.files.len() } else { sent.announces() });
                says.filter(|it| it.number >= before.map_or(self.number, |before| before.number)).ok_or(No::Fault)
            }
        }
    }

    fn drop_head(&mut self) {
        let head = self.sent.pop_front().expect("there is one");
        self.number = head.says(head.files.len()).map_or(self.number, |head| head.number);
        (self.has_head, self.used, self.is_begun) = (false, 0, false);
    }

    /// Passes the records of the head before `position`, or all if it is replaced; the next one, if there is one.
    fn pass_in_head(&mut self, head: &Attachments, position: u64, is_replaced: bool) -> Option<AttachedRecord> {
        let is_passed = |record: &&AttachedRecord| is_replaced || record.position < position;
        self.used += head.records[self.used..].iter().take_while(is_passed).count();
        head.records.get(self.used).copied()
    }

    fn take(&mut self, position: u64, count: u8) -> Due {
        if self.taken == Some(position) {
            return Due::Taken;
        }
        match self.find(position) {
            Ok(Some(files)) if files.len() == usize::from(count) => {
                (self.taken, self.may_have_untaken) = (Some(position), false);
                Due::Fds(files)
            }
            Ok(None) | Err(No::Empty) => Due::NotSent,
            Err(No::Over) => Due::CutOff,
            Ok(Some(_)) | Err(No::Fault) => {
                self.is_broken = true;
                Due::Peer
            }
        }
    }

    /// The files of the descriptors of the record at `position`.
    fn find(&mut self, position: u64) -> Result<Option<Vec<u64>>, No> {
        for _ in 0..FRAMES_PER_CALL {
            let head = self.look(0, true)?;
            self.has_head = true;
            let is_replaced = !self.is_begun
                && match self.look(1, false) {
                    Ok(next) => next.number == head.number,
                    Err(No::Empty | No::Over) => false,
                    Err(No::Fault) => return Err(No::Fault),
                };
            match self.pass_in_head(&head, position, is_replaced) {
                Some(record) if record.position == position => {
                    let before = head.records[..self.used].iter().map(|record| usize::from(record.count)).sum();
                    let files = self.sent[0].files[before..][..record.count.into()].to_vec();
                    (self.used, self.is_begun) = (self.used + 1, true);
                    if self.used == head.records.len() {
                        self.drop_head();
                    }
                    return Ok(Some(files));
                }
                Some(_) => return Ok(None),
                None => self.drop_head(),
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
                let is_replaced = !self.is_begun && next.as_ref().is_some_and(|next| next.number == head.number);
                if self.pass_in_head(&head, position, is_replaced).is_some() {
                    return Ok((true, true));
                }
                self.drop_head();
            }
            if next.is_none_or(|next| next.records[0].position >= position && !looks_ahead) {
                return Ok((false, true));
            }
            self.look(0, true).map_err(|_| ())?;
            self.has_head = true;
        }
        Ok((true, false))
    }
}
