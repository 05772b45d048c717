//! A consumer's link to its session: the socket and the process at the other end, the sign of the producer's life.
//!
//! The consumers of one session share it, on any threads. If a session has two directions, its steward reads the
//! socket, and tells them what came ([`Teller`]). The invariant: how a lane ended for its consumer, by the end of the
//! session or by an eviction from that lane alone, is noted once, and the first word stands; the thread that notes it
//! wakes everyone who sleeps on the session.

mod asking;

use crate::error::Result;
use crate::fds::{self, RecvFdsError};
use crate::handshake::{Handshake, HandshakeError, Step};
use crate::os::closing::{Connection, close_later};
use crate::os::notice::Notice;
use crate::os::peer::Peer;
use crate::sync::{AtomicU32, Mutex, Ordering};
use crate::terms::Refusal;
use crate::trace::event;
use crate::wire::{ByeReason, FRAME_MAX_BYTES, Frame};
use asking::Asking;
use rustix::fd::{AsFd, BorrowedFd};
use rustix::net::{Shutdown, shutdown};
use std::any::Any;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// Room for the frames that a producer sends to an attached consumer that has asked nothing: an Evicted or a Bye. A
/// longer one ends the session too.
const FRAME_ROOM_BYTES: usize = 64;

/// How long a process may take from the hang-up of its socket to its end: a little more than it does under load.
pub(crate) const DYING_MAX: Duration = Duration::from_millis(100);

/// How a lane ended, as its consumer sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Fate {
    Alive = 0,
    /// The producer's process has ended.
    Dead = 1,
    /// The producer said goodbye.
    Closed = 2,
    Evicted = 3,
    /// The producer hung up without a word, dead or alive.
    HungUp = 4,
    /// The producer refused, or broke the protocol: [`Link::last_words`].
    Broken = 5,
}

impl Fate {
    /// What a Bye makes of a lane.
    pub(crate) fn of_bye(reason: ByeReason) -> Self {
        if reason == ByeReason::Evicted { Self::Evicted } else { Self::Closed }
    }
}

#[cfg(feature = "tracing")]
impl Fate {
    /// In words that follow "because the producer".
    fn as_str(self) -> &'static str {
        match self {
            Self::Alive => "lives",
            Self::Dead => "died",
            Self::Closed => "said goodbye",
            Self::Evicted => "evicted all readers of the session",
            Self::HungUp => "hung up",
            Self::Broken => "refused or broke the protocol",
        }
    }
}

/// What ended a session that should have gone on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum LastWords {
    /// The producer refused, and why.
    Refused(Refusal, Box<str>),
    /// What came was no frame, or none that may come.
    Nonsense(Box<str>),
}

/// The session that the consumer of a lane belongs to.
#[derive(Debug)]
pub(crate) struct Link {
    /// As the Offer numbers it.
    lane: usize,
    fate: Arc<AtomicU32>,
    session: Arc<SharedSession>,
}

/// What the consumers of all lanes of a session share.
#[derive(Debug)]
struct SharedSession {
    /// What its consumers read themselves; `None` if a steward does.
    line: Option<SocketInput>,
    /// The producer's process.
    peer: Peer,
    /// Noted before the fate [`Broken`](Fate::Broken).
    last_words: OnceLock<LastWords>,
    /// How long the process may take from its hang-up to its end.
    dying_max: Duration,
    /// Whether the process ended in that time, once that was asked.
    died: OnceLock<bool>,
    /// Whether, and how, the whole session has ended.
    fate: AtomicU32,
    /// Of each lane of the Offer; `None` if it is not read.
    lanes: Vec<Option<Arc<AtomicU32>>>,
    /// Raised once a lane has lost its seat, and never lowered; watch it for its edges. `None` for a single lane whose
    /// consumer reads the socket.
    eviction_notice: Option<Notice>,
    asking: Asking,
    _keepsake: Option<Keepsake>,
}

/// The socket of a session, and what may come there.
#[derive(Debug)]
struct SocketInput {
    socket: Connection,
    handshake: Mutex<Handshake>,
}

/// What is kept for as long as a session has any consumer: its maker counts sessions by it.
pub(crate) type Keepsake = Arc<dyn Any + Send + Sync>;

impl Link {
    /// The link of the consumer of a session's only lane.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) fn new(socket: Connection, peer: Peer, handshake: Handshake) -> Self {
        let links = Self::of_lanes(socket, peer, handshake, &[true], None).expect("no descriptor is needed");
        links.into_iter().flatten().next().expect("one lane is read")
    }

    /// The links of the consumers of each lane of the Offer that is read.
    ///
    /// # Errors
    ///
    /// If there is no descriptor to spare, which a session of several consumers needs.
    pub(crate) fn of_lanes(
        socket: Connection,
        peer: Peer,
        handshake: Handshake,
        are_read: &[bool],
        keepsake: Option<Keepsake>,
    ) -> Result<Vec<Option<Self>>> {
        let lanes: Vec<_> = are_read.iter().map(|is_read| is_read.then(Arc::default)).collect();
        let has_siblings = lanes.iter().flatten().count() > 1;
        let eviction_notice = if has_siblings { Some(Notice::new()?) } else { None };
        let line = Some(SocketInput { socket, handshake: Mutex::new(handshake) });
        let session = Arc::new(SharedSession::new(line, peer, lanes, eviction_notice, keepsake));
        let link = |(lane, fate): (usize, &Option<Arc<AtomicU32>>)| {
            fate.as_ref().map(|fate| Self { lane, fate: Arc::clone(fate), session: Arc::clone(&session) })
        };
        Ok(session.lanes.iter().enumerate().map(link).collect())
    }

    /// The link of the consumer of a session's only lane, if a steward reads the socket; and what that tells it by.
    /// `dying_max` is how long [`has_died`](Self::has_died) may wait.
    ///
    /// # Errors
    ///
    /// If there is no descriptor to spare.
    pub(crate) fn told(peer: Peer, dying_max: Duration) -> Result<(Self, Teller)> {
        let fate: Arc<AtomicU32> = Arc::default();
        let lanes = vec![Some(Arc::clone(&fate))];
        let session = SharedSession { dying_max, ..SharedSession::new(None, peer, lanes, Some(Notice::new()?), None) };
        let session = Arc::new(session);
        Ok((Self { lane: 0, fate, session: Arc::clone(&session) }, Teller(session)))
    }

    /// Whether the session goes on, to be asked from any thread.
    pub(crate) fn pulse(&self) -> Pulse {
        Pulse(Arc::clone(&self.fate))
    }

    /// How the lane stands, as far as is known.
    pub(crate) fn fate(&self) -> Fate {
        fate_in(&self.fate)
    }

    /// The session's socket, if its consumers read it.
    pub(crate) fn socket(&self) -> Option<BorrowedFd<'_>> {
        self.session.line.as_ref().map(|line| line.socket.as_fd())
    }

    /// What can be watched for the end of the session, though not for all else.
    pub(crate) fn sign(&self) -> BorrowedFd<'_> {
        match (&self.session.line, &self.session.eviction_notice) {
            (None, Some(eviction_notice)) => eviction_notice.as_fd(),
            (Some(line), _) => line.socket.as_fd(),
            (None, None) => unreachable!("without a socket there is a notice"),
        }
    }

    /// The producer's process, if the kernel has given it.
    pub(crate) fn pidfd(&self) -> Option<BorrowedFd<'_>> {
        self.session.peer.pidfd.as_ref().map(AsFd::as_fd)
    }

    /// The process id and the user of the producer, as far as they are known.
    pub(crate) fn producer(&self) -> (Option<u32>, Option<u32>) {
        (self.session.peer.pid, self.session.peer.uid)
    }

    /// Whether the end of the process must be looked for: the kernel gave no pidfd.
    pub(crate) fn must_look(&self) -> bool {
        self.session.peer.pidfd.is_none() && self.session.peer.pid.is_some()
    }

    /// Looks whether the producer's process has ended: a child of it may keep the socket open.
    pub(crate) fn look_at_process(&self) {
        if self.session.peer.is_dead() {
            self.note_death();
        }
    }

    /// Whether the producer, which has hung up, is dead. Waits up to [`DYING_MAX`], or as [`told`](Self::told) was
    /// asked to, once a session: a process that is killed hangs up a moment before it has ended. On a busy machine the
    /// moment may be long, so each later call looks again, and does not wait.
    pub(crate) fn has_died(&self) -> bool {
        let ended = *self.session.died.get_or_init(|| self.session.peer.ends_within(self.session.dying_max));
        ended || self.session.peer.is_dead()
    }

    /// What ended the session, for the fate [`Broken`](Fate::Broken).
    pub(crate) fn last_words(&self) -> Option<&LastWords> {
        self.session.last_words.get()
    }

    /// Whether the producer's process lives, as far as the kernel can be asked.
    pub(crate) fn producer_is_alive(&self) -> bool {
        self.fate() != Fate::Dead && !self.session.peer.is_dead()
    }

    /// Has an edge when the consumer of another lane has heard that a lane lost its seat, maybe this one.
    pub(crate) fn eviction_notice(&self) -> Option<BorrowedFd<'_>> {
        self.session.eviction_notice.as_ref().map(AsFd::as_fd)
    }

    /// The producer's process has ended.
    pub(crate) fn note_death(&self) {
        self.session.note(Fate::Dead);
    }

    /// Takes what the producer's process has sent on the socket, as far as it has come, or up to the end of the
    /// session.
    pub(crate) fn receive_frames(&self) {
        self.session.receive_frames();
    }
}

/// Tells the consumer of a session's lane what came to the socket, which another thread reads. Dropping it tells of the
/// end, unless it was told.
#[derive(Debug)]
pub(crate) struct Teller(Arc<SharedSession>);

impl Teller {
    pub(crate) fn tell_evicted(&self, lane: usize) {
        self.0.note_evicted(lane);
    }

    /// Only the first end counts.
    pub(crate) fn tell_end(&self, fate: Fate) {
        self.0.note(fate);
        self.0.eviction_notice.iter().for_each(Notice::raise);
    }

    pub(crate) fn tell_last_words(&self, words: LastWords) {
        let _ = self.0.last_words.set(words); // the first stand
        self.tell_end(Fate::Broken);
    }
}

impl Drop for Teller {
    fn drop(&mut self) {
        self.tell_end(Fate::HungUp);
    }
}

/// Whether a session goes on.
#[derive(Clone, Debug)]
pub(crate) struct Pulse(Arc<AtomicU32>);

impl Pulse {
    pub(crate) fn has_ended(&self) -> bool {
        fate_in(&self.0) != Fate::Alive
    }
}

impl SharedSession {
    fn new(
        line: Option<SocketInput>,
        peer: Peer,
        lanes: Vec<Option<Arc<AtomicU32>>>,
        eviction_notice: Option<Notice>,
        keepsake: Option<Keepsake>,
    ) -> Self {
        let (fate, last_words, died) = (AtomicU32::new(Fate::Alive as u32), OnceLock::new(), OnceLock::new());
        let (asking, _keepsake) = (Asking::default(), keepsake);
        let dying_max = DYING_MAX;
        Self { line, peer, last_words, dying_max, died, fate, lanes, eviction_notice, asking, _keepsake }
    }

    fn receive_frames(&self) {
        let Some(SocketInput { socket, handshake }) = &self.line else { return };
        // Held until all is noted: a thread that finds the socket empty after another has read it finds what was noted.
        let mut handshake = handshake.lock();
        let (mut short, mut long, mut may_reset) = ([0; FRAME_ROOM_BYTES], Vec::new(), true);
        while fate_in(&self.fate) == Fate::Alive {
            let bytes = if handshake.awaits_report() {
                long.resize(FRAME_MAX_BYTES, 0);
                &mut long[..]
            } else {
                &mut short
            };
            let frame = match fds::recv_frame_without_fds(socket.as_fd(), bytes) {
                Ok(len) => Frame::parse(&bytes[..len], 0).map_err(HandshakeError::from),
                Err(error) if error.is_would_block() => return,
                // Reported once, before what the producer had sent and we have not read.
                Err(RecvFdsError::Reset) if may_reset => {
                    may_reset = false;
                    continue;
                }
                Err(error) => {
                    self.note_failure(error);
                    break;
                }
            };
            self.take(frame.and_then(|frame| handshake.on_frame(frame)));
        }
        // Every other thread that sleeps on this session finds nothing to read any more: the end wakes them, even of a
        // producer that keeps its end open.
        let _ = shutdown(socket, Shutdown::Read);
    }

    /// Does what a frame asks for, or notes that it makes no sense.
    fn take(&self, step: Result<Step, HandshakeError>) {
        match step {
            Ok(Step::Evicted { lane }) => self.note_evicted(lane),
            Ok(Step::Report(report)) => self.asking.take(report),
            Ok(Step::Bye(reason)) => self.note(Fate::of_bye(reason)),
            Ok(_) => self.note_last_words(LastWords::Nonsense("a frame came at the wrong time".into())),
            Err(HandshakeError::Refused { refusal, sentence }) => {
                self.note_last_words(LastWords::Refused(refusal, sentence.into()));
            }
            Err(error) => self.note_last_words(LastWords::Nonsense(error.to_string().into())),
        }
    }

    /// Notes why the socket brings no more frames.
    fn note_failure(&self, error: RecvFdsError) {
        let fault = match &error {
            RecvFdsError::Closed | RecvFdsError::Reset => return self.note(Fate::HungUp),
            RecvFdsError::PayloadTruncated { .. } => "a frame came that is too long here".to_owned(),
            error => error.to_string(),
        };
        close_later(error.into_received().map(|received| received.fds).unwrap_or_default());
        self.note_last_words(LastWords::Nonsense(fault.into()));
    }

    /// Notes what ended the session, for all its lanes.
    fn note_last_words(&self, words: LastWords) {
        let _ = self.last_words.set(words); // the first stand
        self.note(Fate::Broken);
    }

    /// Notes how the session ended, for all its lanes.
    fn note(&self, fate: Fate) {
        if note(&self.fate, fate) {
            event!(
                WARN,
                "session over",
                producer_pid = self.peer.pid,
                why = fate.as_str(),
                said = self.last_words.get().map(tracing::field::debug)
            );
        }
        self.lanes.iter().flatten().for_each(|lane| _ = note(lane, fate));
    }

    /// Notes that a lane has lost its seat, and wakes those who may be waiting for that lane.
    fn note_evicted(&self, lane: usize) {
        if let Some(Some(fate)) = self.lanes.get(lane)
            && note(fate, Fate::Evicted)
        {
            event!(WARN, "seat lost", producer_pid = self.peer.pid, lane);
        }
        if let Some(eviction_notice) = &self.eviction_notice {
            eviction_notice.raise();
        }
    }
}

fn fate_in(word: &AtomicU32) -> Fate {
    match word.load(Ordering::Acquire) {
        0 => Fate::Alive,
        2 => Fate::Closed,
        3 => Fate::Evicted,
        4 => Fate::HungUp,
        5 => Fate::Broken,
        _ => Fate::Dead,
    }
}

/// Notes how it ended; the first word stands. Whether this is it.
fn note(word: &AtomicU32, fate: Fate) -> bool {
    word.compare_exchange(Fate::Alive as u32, fate as u32, Ordering::AcqRel, Ordering::Acquire).is_ok()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::fds::send_frame;
    use crate::layout::Geometry;
    use crate::os::fork::ForkGuard;
    use crate::terms::{Access, Barrier, BellKind, Delivery};
    use crate::wire::{LaneAttach, LaneName, LaneTerms, StartAt};
    use rustix::fd::OwnedFd;
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

    fn terms(index: usize) -> LaneTerms {
        let name = LaneName::new(&index.to_string()).unwrap();
        let (id, geometry) = ([index as u8; 16], Geometry::new(4096, 8, 8).unwrap());
        LaneTerms {
            name,
            id,
            geometry,
            schema: 0,
            generation: 0,
            barrier: Barrier::Fence,
            is_stamped: false,
            has_space_bell: false,
            has_one_worker: false,
            record_fds_max: 0,
        }
    }

    /// A consumer's end that is attached to those of its lanes that are read.
    fn attached(are_read: &[bool]) -> Handshake {
        let mut consumer = Handshake::consumer(Vec::new()).unwrap();
        let mut producer = Handshake::producer((0..are_read.len()).map(terms).collect(), [0; 16]);
        producer.on_frame(consumer.hello()).unwrap();
        consumer.on_frame(producer.hello()).unwrap();
        consumer.on_frame(producer.offer(BellKind::Eventfd)).unwrap();
        let reads = LaneAttach {
            delivery: Delivery::Lossless,
            start: StartAt::Latest,
            access: Access::Copies,
            barrier: Barrier::Fence,
            descriptors: false,
        };
        producer.on_frame(consumer.attach(are_read.iter().map(|is_read| is_read.then_some(reads)).collect())).unwrap();
        consumer.on_frame(producer.attached(vec![0; are_read.len()])).unwrap();
        consumer
    }

    /// The links of a session's lanes, and the producer's end of its socket.
    pub(crate) fn links(are_read: &[bool]) -> (Vec<Option<Link>>, OwnedFd) {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap();
        let socket = Connection::new(ours, ForkGuard::get().unwrap());
        (Link::of_lanes(socket, Peer::UNKNOWN, attached(are_read), are_read, None).unwrap(), theirs)
    }

    pub(crate) fn say(socket: &OwnedFd, frame: &Frame) {
        send_frame(socket.as_fd(), &frame.encode(), &[]).unwrap();
    }

    fn fates(links: &[Option<Link>]) -> Vec<Option<Fate>> {
        links.iter().map(|link| link.as_ref().map(Link::fate)).collect()
    }

    #[test]
    fn an_eviction_is_of_one_lane_and_the_end_of_those_that_are_left() {
        let (links, producer) = links(&[true, false, true, true]);
        let anyone = links[3].as_ref().unwrap();
        let [alive, evicted, closed] = [Fate::Alive, Fate::Evicted, Fate::Closed].map(Some);
        assert_eq!(fates(&links), [alive, None, alive, alive]);
        anyone.receive_frames();
        assert_eq!(fates(&links), [alive, None, alive, alive], "nothing has come");
        say(&producer, &Frame::Evicted(2));
        anyone.receive_frames();
        assert_eq!(fates(&links), [alive, None, evicted, alive]);
        // Whichever thread looks takes all that has come: two at a time here.
        say(&producer, &Frame::Evicted(0));
        say(&producer, &Frame::Bye(ByeReason::Closing));
        links[2].as_ref().unwrap().receive_frames();
        assert_eq!(fates(&links), [evicted, None, evicted, closed], "the first word stands");
    }

    #[test]
    fn an_eviction_of_nobody_is_the_end_of_all() {
        for last in [Frame::Evicted(1), Frame::Evicted(3), Frame::Evicted(2), Frame::Attached(vec![0; 3])] {
            let (links, producer) = links(&[true, false, true]);
            say(&producer, &Frame::Evicted(2));
            say(&producer, &last);
            links[0].as_ref().unwrap().receive_frames();
            assert_eq!(fates(&links), [Some(Fate::Broken), None, Some(Fate::Evicted)], "{last:?}");
        }
    }

    #[test]
    fn a_bye_that_says_evicted_is_for_all_lanes() {
        let (links, producer) = links(&[true, true]);
        say(&producer, &Frame::Bye(ByeReason::Evicted));
        links[0].as_ref().unwrap().receive_frames();
        assert_eq!(fates(&links), [Some(Fate::Evicted); 2]);
    }

    #[test]
    fn only_those_who_have_siblings_watch_for_what_they_hear() {
        let notices = |are_read: &[bool]| {
            let (links, _producer) = links(are_read);
            links.iter().flatten().map(|link| link.eviction_notice().is_some()).collect::<Vec<_>>()
        };
        assert_eq!(notices(&[true]), [false]);
        assert_eq!(notices(&[false, true, false]), [false]);
        assert_eq!(notices(&[true, false, true]), [true, true]);
    }
}
