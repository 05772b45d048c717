//! The descriptors of records, as a consumer that asked for them receives them: on a pair of sockets of its own.
//!
//! The invariant: a record is given exactly the descriptors of its own publication, or an error (invariant 23).
//! A frame is taken out of the queue only once its descriptors are this process's, all of them, so that a full
//! descriptor table loses nothing. Nothing here waits, and what nobody takes is closed by threads that may: also
//! what is still in the queue, since a file system can be told of each close.
//!
//! An attempt to publish that failed leaves frames behind, so several may come for one publication. They have one
//! number, and the last of them counts: the producer sends all of them before it publishes. So before a frame is used,
//! the next one is looked at. If it has few descriptors, it is taken out at once, so that each costs two system calls.
//! A frame may carry the descriptors of several records, which are used one record after the other.

mod frames;
mod letting_go;

use crate::cmsg::FDS_PER_MESSAGE_MAX;
use crate::error::{self, Error};
use crate::fds;
use crate::os::closing::Connection;
use crate::os::fork::ForkGuard;
use crate::ring::sleep::SECOND_LOOK;
use crate::sync::Mutex;
use crate::wire::LaneAttach;
use frames::{Announced, FdFrame, Frames, Nothing};
use letting_go::LettingGo;
use rustix::fd::OwnedFd;
use std::time::Duration;

use super::TakeFdsError;

/// How soon [`Inbox::settle`] is called again if it could not let go of all, since nobody says when there is room.
pub(super) const SETTLE_AGAIN: Duration = SECOND_LOOK;
/// The most descriptors of a frame that is taken out of the queue before its record is read, on lanes whose records may
/// have more than [`AHEAD_ALL_FDS_MAX`].
const AHEAD_FDS_MAX: usize = 16;
/// On lanes whose records have no more than this, each frame is taken out like that: longer ones would take much of the
/// table.
const AHEAD_ALL_FDS_MAX: usize = 64;
/// The most frames that one call takes out of the queue: more than any queue holds, so that only a flood reaches it.
const FRAMES_PER_CALL: usize = 4096;

/// The end that a consumer reads of the pair that it has made for the descriptors of records.
#[derive(Debug)]
pub(crate) struct InboxEnd {
    pub(crate) socket: Connection,
    /// The lane, as the Offer numbers it.
    pub(crate) lane: usize,
}

/// Where a consumer receives the descriptors of records.
#[derive(Debug)]
pub(crate) struct Inbox {
    guard: ForkGuard,
    /// The most descriptors of a frame that is taken out of the queue before its record is read.
    ahead_fds_max: usize,
    untaken: LettingGo,
    refused: LettingGo,
    queue: Mutex<Queue>,
    /// [`FRAMES_PER_CALL`], or fewer in a test.
    frames_per_call: usize,
}

/// The queue, and what is known of it.
#[derive(Debug)]
struct Queue {
    frames: Frames,
    /// What was taken out of it and is not used yet.
    head: Option<FdFrame>,
    /// What was taken out after that, with a look at what follows it.
    next: Option<FdFrame>,
    /// The record whose descriptors were taken last.
    taken: Option<u64>,
    /// The number of the frame that was taken out of the queue last.
    number: u64,
    /// What the producer did wrong. Nothing is received after it.
    fault: Option<Box<str>>,
    /// A record has come whose descriptors may wait in the queue.
    may_have_untaken: bool,
}

/// What is left once descriptors were let go.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Left {
    Nothing,
    /// Those of a record that is yet to come.
    Later,
    /// Some for which there was no room, or no time.
    Some,
}

/// The end that is read of a pair of sockets for each lane whose descriptors of records are asked for, and the ends
/// that the producer sends them by.
pub(crate) fn make_inboxes(
    attach: &[Option<LaneAttach>],
    guard: ForkGuard,
) -> error::Result<(Vec<Option<InboxEnd>>, Vec<OwnedFd>)> {
    let (mut inboxes, mut sockets) = (Vec::new(), Vec::new());
    for (number, lane) in attach.iter().enumerate() {
        let asks = lane.as_ref().is_some_and(|lane| lane.descriptors);
        let pair = if asks { Some(fds::seqpacket_pair()) } else { None };
        let pair = pair.transpose().map_err(Error::os("make the sockets for the descriptors of records"))?;
        inboxes.push(pair.map(|(ours, theirs)| {
            sockets.push(theirs);
            InboxEnd { socket: Connection::new(ours, guard), lane: number }
        }));
    }
    Ok((inboxes, sockets))
}

impl Inbox {
    /// Of a lane whose records have at most `fds_max` descriptors, which this user sends.
    pub(crate) fn new(
        InboxEnd { socket, lane }: InboxEnd,
        fds_max: u8,
        producer_uid: Option<u32>,
        guard: ForkGuard,
    ) -> Self {
        let has_few = usize::from(fds_max) <= AHEAD_ALL_FDS_MAX;
        let ahead_fds_max = if has_few { AHEAD_ALL_FDS_MAX } else { AHEAD_FDS_MAX };
        let queue = Mutex::new(Queue::new(Frames::new(socket, lane, LettingGo::of_severed(producer_uid))));
        let (untaken, refused) = (LettingGo::of_untaken(producer_uid), LettingGo::of_refused(producer_uid));
        Self { guard, ahead_fds_max, untaken, refused, queue, frames_per_call: FRAMES_PER_CALL }
    }

    /// Ends a call after this number of frames.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) fn with_frames_per_call(mut self, frames_per_call: usize) -> Self {
        self.frames_per_call = frames_per_call;
        self
    }

    /// The `count` descriptors of the record at `position`, once.
    pub(crate) fn take(&self, position: u64, count: u8) -> Result<Vec<OwnedFd>, TakeFdsError> {
        if self.guard.is_child() {
            return Err(TakeFdsError::Forked);
        }
        let mut queue = self.queue.lock();
        if queue.taken == Some(position) {
            return Err(TakeFdsError::Taken);
        }
        let found = self.find(&mut queue, position);
        let fds = found.and_then(|found| match found {
            Some(fds) if fds.len() == usize::from(count) => Ok(fds),
            Some(fds) => {
                let fault = format!("the record at {position} has {count} descriptors, and {} came", fds.len());
                self.untaken.let_go(fds);
                Err(Nothing::Fault(fault))
            }
            None => Err(Nothing::Empty),
        });
        match fds {
            Ok(fds) => {
                queue.taken = Some(position);
                // Those of earlier ones were let go on the way.
                queue.may_have_untaken = false;
                Ok(fds)
            }
            Err(Nothing::Empty) => Err(TakeFdsError::NotSent { position }),
            Err(Nothing::Over) => Err(TakeFdsError::CutOff),
            Err(Nothing::NoRoom) => Err(TakeFdsError::NoRoom),
            Err(Nothing::Fault(fault)) => Err(self.note_fault(&mut queue, &fault)),
        }
    }

    /// Lets go of what is there for records before `position`, as far as it can be let go now. Before a sleep: also of
    /// frames that later ones replace, which attempts to publish have left. `false` if some are left: such a sleep ends
    /// after [`SETTLE_AGAIN`], since the producer may be waiting for room in the queue, and publishes nothing then.
    #[must_use]
    pub(crate) fn settle(&self, position: u64) -> bool {
        self.guard.is_child() || self.settle_queue(&mut self.queue.lock(), position, true) != Left::Some
    }

    fn settle_queue(&self, queue: &mut Queue, position: u64, looks_ahead: bool) -> Left {
        let left = self.let_go_below(queue, position, looks_ahead).unwrap_or_else(|nothing| match nothing {
            Nothing::NoRoom => Left::Some,
            Nothing::Empty | Nothing::Over => Left::Nothing,
            Nothing::Fault(fault) => {
                self.note_fault(queue, &fault);
                Left::Nothing
            }
        });
        queue.may_have_untaken = left != Left::Nothing;
        left
    }

    fn let_go_below(&self, queue: &mut Queue, position: u64, looks_ahead: bool) -> Result<Left, Nothing> {
        for _ in 0..self.frames_per_call {
            let next = match self.peek(queue) {
                Ok(next) => Some(next),
                Err(Nothing::Empty | Nothing::Over) => None,
                Err(nothing) => return Err(nothing),
            };
            if let Some(head) = &mut queue.head {
                let is_replaced = !head.is_begun && next.is_some_and(|next| next.number == head.number);
                if !is_replaced {
                    let passed = head.count_before(position);
                    if passed < head.records.len() {
                        let fds = head.take_first(passed);
                        self.untaken.let_go(fds);
                        return Ok(Left::Later);
                    }
                }
                self.let_go_of_head(queue);
            }
            if next.is_none_or(|next| next.position >= position && !looks_ahead) {
                return Ok(Left::Nothing);
            }
            if self.untaken.is_full() {
                return Err(Nothing::NoRoom);
            }
            self.pull(queue)?;
        }
        Ok(Left::Some)
    }

    /// The same, if a record has come whose descriptors may still be there.
    pub(crate) fn settle_if_due(&self, position: u64) {
        if self.guard.is_child() {
            return;
        }
        let mut queue = self.queue.lock();
        if queue.may_have_untaken {
            self.settle_queue(&mut queue, position, false);
        }
    }

    /// A record with descriptors is handed out at `position`: those of earlier ones are let go.
    pub(crate) fn pass(&self, position: u64) {
        if self.guard.is_child() {
            return;
        }
        let mut queue = self.queue.lock();
        if queue.may_have_untaken {
            self.settle_queue(&mut queue, position, false);
        }
        queue.may_have_untaken = true;
    }

    /// Closes descriptors that were taken and are not what they should be.
    pub(super) fn refuse(&self, fds: Vec<OwnedFd>) {
        self.refused.let_go(fds);
    }

    /// Whether many that were refused are not closed yet.
    pub(super) fn has_refused_many(&self) -> bool {
        self.refused.is_full()
    }

    /// Receives nothing any more, lets the producer know, and lets go of what has come: in flight it would count
    /// against the limit of the producer's user, and keep its files open, for as long as records are held.
    pub(super) fn hang_up(&self) {
        self.hang_up_in(&mut self.queue.lock());
    }

    fn hang_up_in(&self, queue: &mut Queue) {
        queue.frames.end();
        self.let_go_of_all(queue);
    }

    /// The descriptors of the record at `position`, from the last frame of their number. `None` if the next ones are
    /// for a later record.
    fn find(&self, queue: &mut Queue, position: u64) -> Result<Option<Vec<OwnedFd>>, Nothing> {
        for _ in 0..self.frames_per_call {
            if queue.head.is_none() {
                self.pull(queue)?;
            }
            let is_replaced = self.is_head_replaced(queue)?;
            let Some(head) = &mut queue.head else { return Err(Nothing::Empty) };
            let passed = if is_replaced { head.records.len() } else { head.count_before(position) };
            if passed > 0 && self.untaken.is_full() {
                return Err(Nothing::NoRoom);
            }
            if passed < head.records.len() {
                let fds = head.take_first(passed);
                let found = (head.records[0].position == position).then(|| head.take_first(1));
                head.is_begun |= found.is_some();
                if head.records.is_empty() {
                    queue.head = None;
                }
                self.untaken.let_go(fds);
                return Ok(found);
            }
            self.let_go_of_head(queue);
        }
        Err(Nothing::Fault(format!(
            "more than {} frames came before the descriptors at {position}",
            self.frames_per_call
        )))
    }

    /// Whether the head was left by an attempt to publish, which the next frame replaces.
    fn is_head_replaced(&self, queue: &mut Queue) -> Result<bool, Nothing> {
        let Some(&FdFrame { number, is_begun: false, .. }) = queue.head.as_ref() else { return Ok(false) };
        match self.look_behind_head(queue) {
            Ok(next) => Ok(next.number == number),
            Err(Nothing::Empty | Nothing::Over) => Ok(false),
            Err(nothing) => Err(nothing),
        }
    }

    /// What the next frame says, which stays where it is.
    fn peek(&self, queue: &Queue) -> Result<Announced, Nothing> {
        match &queue.next {
            Some(next) => Ok(next.announced()),
            None => queue.frames.peek(queue.number),
        }
    }

    /// The same, of the frame behind the head. Where both have few descriptors it is taken out of the queue, with the
    /// two system calls that it costs anyway, so that the look is free.
    fn look_behind_head(&self, queue: &mut Queue) -> Result<Announced, Nothing> {
        // What comes without the rest of its frame is closed, again and again until that can be done.
        let has_few = queue.frames.severed.is_done()
            && queue.head.as_ref().is_some_and(|head| head.fds.len() <= self.ahead_fds_max);
        if has_few && queue.next.is_none() {
            match self.take_out(queue, self.ahead_fds_max) {
                Ok(next) => queue.next = Some(next),
                Err(nothing @ (Nothing::Empty | Nothing::Over)) => return Err(nothing),
                // It is still there: a look says what it is.
                Err(Nothing::NoRoom | Nothing::Fault(_)) => {}
            }
        }
        self.peek(queue)
    }

    /// Takes the next frame, which becomes the head.
    fn pull(&self, queue: &mut Queue) -> Result<(), Nothing> {
        let next = match queue.next.take() {
            Some(next) => next,
            None => self.take_out(queue, FDS_PER_MESSAGE_MAX)?,
        };
        queue.head = Some(next);
        Ok(())
    }

    /// Takes the next frame out of the queue, once its descriptors are here, which are at most `fds_max`.
    fn take_out(&self, queue: &mut Queue, fds_max: usize) -> Result<FdFrame, Nothing> {
        if let Some(fault) = &queue.fault {
            return Err(Nothing::Fault(fault.to_string()));
        }
        let arrived = queue.frames.take(queue.number, fds_max)?;
        queue.number = arrived.number;
        Ok(arrived)
    }

    /// Notes what the producer did wrong; nothing more is received, nor handed out of what is here.
    fn note_fault(&self, queue: &mut Queue, fault: &str) -> TakeFdsError {
        self.hang_up_in(queue);
        TakeFdsError::Peer(queue.fault.get_or_insert_with(|| fault.into()).clone())
    }

    fn let_go_of_head(&self, queue: &mut Queue) {
        let fds = queue.head.take().map(|head| head.fds).unwrap_or_default();
        self.untaken.let_go(fds);
    }

    fn let_go_of_all(&self, queue: &mut Queue) {
        let arrived = [queue.head.take(), queue.next.take()];
        arrived.into_iter().flatten().for_each(|arrived| self.untaken.let_go(arrived.fds));
    }
}

impl Queue {
    fn new(frames: Frames) -> Self {
        Self { frames, head: None, next: None, taken: None, number: 0, fault: None, may_have_untaken: false }
    }
}

impl Drop for Inbox {
    fn drop(&mut self) {
        if !self.guard.is_child() {
            self.let_go_of_all(&mut self.queue.lock());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::letting_go::SEVERED_MAX;
    use super::*;
    use crate::fds::send_frame;
    use crate::os::closing::{close_later_counted, tests::lingering};
    use crate::os::thread::testing::start_instead;
    use crate::test_support::{isolated, wait_until};
    use crate::wire::{AttachedRecord, Attachments, Frame};
    use std::os::fd::{AsFd, BorrowedFd};

    /// An inbox of lane 3, and the end by which its producer sends.
    fn inbox() -> (Inbox, OwnedFd) {
        let ((socket, producer), guard) = (fds::seqpacket_pair().unwrap(), ForkGuard::get().unwrap());
        (Inbox::new(InboxEnd { socket: Connection::new(socket, guard), lane: 3 }, 253, None, guard), producer)
    }

    fn send(producer: &OwnedFd, bytes: &[u8], count: usize) {
        let null = std::fs::File::open("/dev/null").unwrap();
        let fds: Vec<BorrowedFd<'_>> = (0..count).map(|_| null.as_fd()).collect();
        send_frame(producer.as_fd(), bytes, &fds).unwrap();
    }

    /// A frame for records of these positions and numbers of descriptors.
    fn frame(lane: usize, number: u64, records: &[(u64, u8)]) -> Vec<u8> {
        let records = records.iter().map(|(position, count)| AttachedRecord { position: *position, count: *count });
        Frame::Attachments(Attachments { lane, number, records: records.collect() }).encode()
    }

    fn say(producer: &OwnedFd, number: u64, position: u64, count: u8) {
        send(producer, &frame(3, number, &[(position, count)]), count.into());
    }

    fn taken(inbox: &Inbox, position: u64, count: u8) -> Result<usize, TakeFdsError> {
        inbox.take(position, count).map(|fds| fds.len())
    }

    #[test]
    fn the_last_frame_of_a_number_is_that_of_its_record_wherever_the_others_begin() {
        let (inbox, producer) = inbox();
        for (number, position, count) in [(0, 64, 1), (0, 4096, 2), (0, 64, 3), (1, 128, 1), (2, 8192, 9), (2, 256, 2)]
        {
            say(&producer, number, position, count);
        }
        assert_eq!(taken(&inbox, 64, 3), Ok(3));
        assert_eq!(taken(&inbox, 64, 3), Err(TakeFdsError::Taken));
        // That of 128 is passed over.
        assert_eq!(taken(&inbox, 256, 2), Ok(2));
        assert_eq!(taken(&inbox, 512, 1), Err(TakeFdsError::NotSent { position: 512 }));
        say(&producer, 3, 1024, 1);
        assert_eq!(taken(&inbox, 768, 1), Err(TakeFdsError::NotSent { position: 768 }), "it is for a later record");
        assert_eq!(taken(&inbox, 1024, 1), Ok(1));
        drop(producer);
        assert_eq!(taken(&inbox, 2048, 1), Err(TakeFdsError::CutOff));
    }

    #[test]
    fn what_may_not_come_is_the_end_of_it_and_named() {
        let attachments = |lane, number, count| frame(lane, number, &[(64, count)]);
        let good = attachments(3, 7, 2);
        let cases = [
            ("lane 2, where lane 3", attachments(2, 7, 2), 2),
            ("2 descriptors, and 1 came", attachments(3, 7, 1), 1),
            ("2 descriptors, and 253 came", attachments(3, 7, 253), 253),
            ("the peer sent 1 descriptors where", good.clone(), 1),
            ("the peer sent 0 descriptors where", good.clone(), 0),
            ("the peer sent 3 descriptors where", good.clone(), 3),
            ("Query came where only Attachments may", Frame::Query(3).encode(), 0),
            ("not this protocol's magic", vec![0; 35], 2),
            ("a body of 19 bytes, and 4 came", good[..20].to_vec(), 2),
            ("longer than the payload buffer", [&good[..], &[0; 400]].concat(), 2),
        ];
        for (words, bytes, count) in cases {
            let (inbox, producer) = inbox();
            send(&producer, &bytes, count);
            let Err(TakeFdsError::Peer(fault)) = taken(&inbox, 64, 2) else { panic!("{words}") };
            assert!(fault.contains(words), "{words}: {fault}");
            // For good, whatever comes after it; and the producer can send nothing more.
            assert_eq!(taken(&inbox, 128, 1), Err(TakeFdsError::Peer(fault)));
            assert!(inbox.settle(4096));
            assert!(send_frame(producer.as_fd(), &good, &[]).is_err(), "{words}");
        }
    }

    #[test]
    fn each_record_of_a_frame_is_given_its_own_descriptors() {
        let (inbox, producer) = inbox();
        let (files, rest): (Vec<_>, Vec<_>) = (0..6).map(|_| std::io::pipe().unwrap()).unzip();
        let number_of = |fd: &OwnedFd| rustix::fs::fstat(fd).unwrap().st_ino;
        let numbers: Vec<u64> = files.iter().map(|file| rustix::fs::fstat(file).unwrap().st_ino).collect();
        let fds: Vec<BorrowedFd<'_>> = files.iter().map(AsFd::as_fd).collect();
        // An attempt that failed, and the one that counts.
        send_frame(producer.as_fd(), &frame(3, 0, &[(64, 2), (128, 1)]), &fds[..3]).unwrap();
        send_frame(producer.as_fd(), &frame(3, 0, &[(64, 1), (192, 2), (256, 1), (320, 2)]), &fds).unwrap();
        let numbers_at =
            |position, count| inbox.take(position, count).map(|fds| fds.iter().map(number_of).collect::<Vec<_>>());
        assert_eq!(numbers_at(64, 1), Ok(numbers[..1].to_vec()));
        // One that came later cannot replace what has begun.
        send_frame(producer.as_fd(), &frame(3, 0, &[(192, 2)]), &fds[..2]).unwrap();
        assert_eq!(numbers_at(128, 1), Err(TakeFdsError::NotSent { position: 128 }), "it goes with none of them");
        assert!(!inbox.settle(64) || inbox.queue.lock().may_have_untaken, "three records are left");
        // That of 192 is passed over.
        assert_eq!(numbers_at(256, 1), Ok(numbers[3..4].to_vec()));
        assert!(
            matches!(numbers_at(320, 1), Err(TakeFdsError::Peer(fault)) if fault.contains("1 descriptors, and 2 came"))
        );
        drop((files, rest));
    }

    /// The kernel reports a reset before it, if the consumer's end has sent something that nobody has received.
    #[test]
    fn what_was_sent_before_a_reset_is_there() {
        let (inbox, producer) = inbox();
        assert_eq!(
            rustix::net::send(inbox.queue.lock().frames.socket().ok().unwrap(), b"x", rustix::net::SendFlags::empty()),
            Ok(1)
        );
        say(&producer, 0, 64, 1);
        drop(producer);
        assert_eq!(taken(&inbox, 64, 1), Ok(1));
        assert_eq!(taken(&inbox, 128, 1), Err(TakeFdsError::CutOff));
    }

    /// A message without bytes that has descriptors is not the end.
    #[test]
    fn an_empty_frame_with_descriptors_is_a_fault_before_it_is_taken() {
        use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
        let (inbox, producer) = inbox();
        let (null, mut space) =
            (std::fs::File::open("/dev/null").unwrap(), [const { std::mem::MaybeUninit::uninit() }; 64]);
        let (mut control, fds) = (SendAncillaryBuffer::new(&mut space), [null.as_fd()]);
        assert!(control.push(SendAncillaryMessage::ScmRights(&fds)));
        sendmsg(&producer, &[std::io::IoSlice::new(b"")], &mut control, SendFlags::empty()).unwrap();
        assert!(inbox.settle(64));
        assert!(send_frame(producer.as_fd(), b"frame", &[]).is_err(), "it has hung up");
    }

    /// As long as they do not take much of the table.
    #[test]
    fn few_descriptors_are_taken_out_of_the_queue_ahead_and_many_are_not() {
        for (fds_max, count, is_ahead) in [(253, 16, true), (253, 17, false), (64, 64, true), (65, 17, false)] {
            let ((socket, producer), guard) = (fds::seqpacket_pair().unwrap(), ForkGuard::get().unwrap());
            let end = InboxEnd { socket: Connection::new(socket, guard), lane: 3 };
            let inbox = Inbox::new(end, fds_max, None, guard);
            (0..2).for_each(|number| say(&producer, number, 64 + 64 * number, count));
            assert_eq!(taken(&inbox, 64, count), Ok(count.into()));
            assert_eq!(inbox.queue.lock().next.is_some(), is_ahead, "{count} of {fds_max}");
            assert_eq!(taken(&inbox, 128, count), Ok(count.into()));
        }
    }

    /// They come with each look until they can be closed.
    #[test]
    fn nothing_is_taken_out_ahead_while_parts_of_frames_wait_to_be_closed() {
        let (inbox, producer) = inbox();
        let (socket, listener) = lingering();
        close_later_counted([socket], &inbox.queue.lock().frames.severed.closes);
        (0..4).for_each(|number| say(&producer, number, 64 + 64 * number, 1));
        assert_eq!(taken(&inbox, 64, 1), Ok(1));
        assert!(inbox.queue.lock().next.is_none(), "a look says what comes next");
        drop(listener);
        wait_until("it is closed", || inbox.queue.lock().frames.severed.is_done());
        assert_eq!(taken(&inbox, 128, 1), Ok(1));
        assert!(inbox.queue.lock().next.is_some());
        assert_eq!(taken(&inbox, 192, 1), Ok(1));
    }

    /// As many as a record can have would take much of the table until it is read.
    #[test]
    fn what_is_for_a_record_to_come_stays_in_the_queue_until_the_reader_sleeps() {
        let awake: [fn(&Inbox, u64); 2] = [Inbox::settle_if_due, Inbox::pass];
        for goes_on in awake {
            let (inbox, producer) = inbox();
            inbox.pass(64);
            say(&producer, 0, 64, 1);
            say(&producer, 1, 128, 253);
            goes_on(&inbox, 128);
            assert_eq!(inbox.queue.lock().number, 0, "that of 64 was taken out");
            inbox.pass(128);
            goes_on(&inbox, 128);
            assert!(inbox.queue.lock().head.is_none());
            assert!(inbox.settle(128));
            assert!(inbox.queue.lock().head.is_some(), "a later one might replace it");
            assert_eq!(taken(&inbox, 128, 253), Ok(253));
        }
    }

    /// Also if a forked child has the socket, as a copy stands for here.
    #[test]
    fn nothing_comes_once_the_reader_has_left() {
        for holds_records in [false, true] {
            let (inbox, producer) = inbox();
            let _copy = inbox.queue.lock().frames.socket().ok().unwrap().try_clone_to_owned().unwrap();
            say(&producer, 0, 64, 1);
            let _kept = holds_records.then_some(inbox).inspect(Inbox::hang_up);
            let late = send_frame(producer.as_fd(), &frame(3, 1, &[(128, 1)]), &[producer.as_fd()]);
            assert_eq!(late.unwrap_err().kind(), std::io::ErrorKind::BrokenPipe);
        }
    }

    #[test]
    fn what_has_come_is_let_go_once_the_reader_has_left_or_found_a_fault() {
        for has_fault in [false, true] {
            let (inbox, producer) = inbox();
            let (mut reader, writer) = std::io::pipe().unwrap();
            // More than are received ahead.
            for number in 0..4 {
                send_frame(producer.as_fd(), &frame(3, number, &[(64 + 64 * number, 1)]), &[writer.as_fd()]).unwrap();
            }
            drop(writer);
            if has_fault {
                assert!(matches!(taken(&inbox, 64, 2), Err(TakeFdsError::Peer(_))));
            } else {
                assert_eq!(taken(&inbox, 64, 1), Ok(1));
                inbox.hang_up();
            }
            assert_eq!(std::io::Read::read(&mut reader, &mut [0]).unwrap(), 0, "none is left");
            drop(inbox);
        }
    }

    #[test]
    fn numbers_never_fall() {
        for taken_before in [false, true] {
            let (inbox, producer) = inbox();
            say(&producer, 5, 64, 1);
            assert!(!taken_before || taken(&inbox, 64, 1) == Ok(1));
            say(&producer, 4, 128, 1);
            let fault = taken(&inbox, 64 + 64 * u64::from(taken_before), 1);
            assert!(matches!(&fault, Err(TakeFdsError::Peer(fault)) if fault.contains("from 5 to 4")), "{fault:?}");
        }
    }

    /// A producer that sends and sends keeps nobody in a call.
    #[test]
    fn a_flood_of_frames_ends_the_call_that_meets_it() {
        for number in [0, 1] {
            let (mut inbox, producer) = inbox();
            inbox.frames_per_call = 4;
            // All of one record, or each of one before.
            (0..6).for_each(|n| say(&producer, number * n, 64 + number * 64 * n, 1));
            assert!(!inbox.settle(64 * 64), "there are more of them");
            (6..9).for_each(|n| say(&producer, number * n, 64 + number * 64 * n, 1));
            let outcome = taken(&inbox, 64 * 64, 1);
            assert!(matches!(&outcome, Err(TakeFdsError::Peer(fault)) if fault.contains("more than 4")), "{outcome:?}");
        }
    }

    #[test]
    fn what_no_thread_could_be_started_for_is_closed_once_one_can() {
        isolated("consumer::inbox::tests::what_no_thread_could_be_started_for_is_closed_once_one_can", || {
            let (inbox, producer) = inbox();
            say(&producer, 0, 64, 1);
            let no_threads = start_instead(|_| Err(rustix::io::Errno::AGAIN.into()));
            let files = (0..SEVERED_MAX).map(|_| std::io::pipe().unwrap().1.into());
            close_later_counted(files, &inbox.queue.lock().frames.severed.closes);
            assert_eq!(taken(&inbox, 64, 1), Err(TakeFdsError::NoRoom));
            drop(no_threads);
            assert_eq!(taken(&inbox, 64, 1), Err(TakeFdsError::NoRoom));
            wait_until("all are closed", || inbox.queue.lock().frames.severed.is_done());
            assert_eq!(taken(&inbox, 64, 1), Ok(1));
        });
    }

    #[test]
    fn descriptors_without_a_record_are_let_go_as_the_reader_goes_on() {
        let (inbox, producer) = inbox();
        let (mut reader, writer) = std::io::pipe().unwrap();
        for number in 0..10 {
            send_frame(producer.as_fd(), &frame(3, number, &[(number * 64, 1)]), &[writer.as_fd()]).unwrap();
        }
        drop(writer);
        assert!(inbox.settle(64 * 10));
        assert_eq!(std::io::Read::read(&mut reader, &mut [0]).unwrap(), 0, "none is left");
    }
}
