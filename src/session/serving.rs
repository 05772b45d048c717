//! One consumer, as the steward serves it: the handshake, its seats, and how it goes.
//!
//! The invariant: a consumer that reads in place keeps its seat until the kernel says that nobody maps it any more
//! (design invariant 16). A hang-up, or the end of the process, only says that it is time to ask.

use super::inquiry::{Answer, Inquiry};
use super::shared::{Shared, Terms};
use super::{Peer, is_out_of_descriptors};
use crate::barrier;
use crate::closing::Connection;
use crate::crash;
use crate::error::{Error, Result};
use crate::fds::{self, RecvFdsError};
use crate::frame::{
    BellKind, ByeReason, Delivery, FRAME_MAX_BYTES, Frame, LaneAttach, LaneName, LaneTerms, Offer, Reading, Refuse,
    RefuseCode,
};
use crate::handshake::{HandshakeError, ProducerHandshake, ProducerStep};
use crate::lane::{Lane, SeatLink};
use crate::layout::seat_len_bytes;
use crate::region::{Freeze, HugePages, Mapping, Region, RegionOptions, Seals};
use crate::ring::SeatMap;
use crate::roster::Joiner;
use crate::sync::Ordering;
use crate::wake::{Bell, Deadline};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::net::{Shutdown, shutdown};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::{Duration, Instant};

/// How soon, and how rarely, it is asked again whether a consumer that has hung up still reads in place.
const DEPARTURE_RETRY_MIN: Duration = Duration::from_millis(1);
const DEPARTURE_RETRY_MAX: Duration = Duration::from_millis(100);
/// It is asked again no sooner than after so many times as long as the last answer took.
const DEPARTURE_RETRY_FACTOR: u32 = 8;
/// How many frames of one consumer are taken in a row, so that one that floods does not keep the steward.
const FRAMES_PER_TURN: usize = 16;

/// The number of the next seat. One count for all servers of this process: several may offer the same lane.
static NEXT_SEAT_ID: AtomicU64 = AtomicU64::new(1);

/// What all sessions of a server have in common.
#[derive(Debug)]
pub(super) struct Host {
    pub(super) lanes: Vec<Arc<Lane>>,
    pub(super) terms: Terms,
    pub(super) shared: Arc<Shared>,
}

/// One consumer.
#[derive(Debug)]
pub(super) struct Serving {
    socket: Connection,
    peer: Peer,
    handshake: ProducerHandshake,
    phase: Phase,
    /// The lanes of the session, by their numbers, once a Hello has named them.
    lanes: Vec<usize>,
    seat: Option<Arc<Region>>,
    /// Until the lanes take them.
    bells: Vec<Bell>,
    /// The number of its seats, the same on each of its lanes, once it is attached.
    seat_id: Option<u64>,
    /// Whether any lane is read in place.
    in_place: bool,
    /// Set by a lane that has put this consumer out.
    out: Arc<AtomicBool>,
}

#[derive(Debug)]
enum Phase {
    /// The handshake is to be done by then.
    Greeting(Deadline),
    Attached,
    /// It has hung up, and the kernel is being asked whether it may still be reading: for the first time, or so long
    /// after the last.
    Asking(Inquiry, Option<Duration>),
    /// It has lost its seats, for the answer took too long. It is over once the answer is there.
    Unanswered(Inquiry),
    /// It may still be reading in place: when to ask the kernel again, and how long after the last time.
    Departing {
        retry: Instant,
        backoff: Duration,
    },
    Over,
}

/// Why a session ends.
enum Parting {
    /// Tell the consumer, then hang up.
    Refuse(RefuseCode, String),
    /// Answer as the handshake says, then hang up.
    Handshake(HandshakeError),
    /// The consumer is gone, or makes no sense.
    HangUp(String),
}

impl From<HandshakeError> for Parting {
    fn from(error: HandshakeError) -> Self {
        Self::Handshake(error)
    }
}

impl Parting {
    /// Something failed on this side.
    fn own(error: Error) -> Self {
        let out = matches!(&error, Error::Os { source, .. } if is_out_of_descriptors(source));
        Self::Refuse(if out { RefuseCode::Descriptors } else { RefuseCode::Internal }, error.to_string())
    }
}

impl Serving {
    /// A session with whoever is at the other end of `socket`, to be attached before the deadline.
    pub(super) fn new(host: &Host, socket: Connection, peer: Peer, session_id: [u8; 16]) -> Self {
        let terms = host.lanes.iter().map(|lane| lane_terms(lane)).collect();
        Self {
            socket,
            peer,
            handshake: ProducerHandshake::new(terms, session_id),
            phase: Phase::Greeting(Deadline::after(host.terms.deadline)),
            lanes: Vec::new(),
            seat: None,
            bells: Vec::new(),
            seat_id: None,
            in_place: false,
            out: Arc::new(AtomicBool::new(false)),
        }
    }

    /// What to watch: its socket and its process. Without a pidfd that is the socket twice; a session that only waits
    /// for its time has nothing to watch.
    pub(super) fn watched(&self) -> Option<[BorrowedFd<'_>; 2]> {
        let is_watched = matches!(self.phase, Phase::Greeting(_) | Phase::Attached);
        let socket = self.socket.as_fd();
        is_watched.then(|| [socket, self.peer.pidfd.as_ref().map_or(socket, AsFd::as_fd)])
    }

    /// When to look at it even if nothing stirs.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        match &self.phase {
            Phase::Greeting(Deadline::At(instant)) | Phase::Departing { retry: instant, .. } => Some(*instant),
            Phase::Asking(inquiry, _) if !self.in_place => Some(inquiry.overdue_at()),
            Phase::Greeting(_) | Phase::Attached | Phase::Asking(..) | Phase::Unanswered(_) | Phase::Over => None,
        }
    }

    pub(super) fn is_attached(&self) -> bool {
        matches!(self.phase, Phase::Attached | Phase::Asking(_, None))
    }

    pub(super) fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Over)
    }

    /// Sees to what stirs, or to what is due.
    pub(super) fn serve(&mut self, host: &Host, now: Instant, socket_stirs: bool, process_stirs: bool) {
        if let Phase::Asking(..) | Phase::Unanswered(_) = self.phase {
            return self.heed_answer(host, now);
        }
        if self.out.load(Ordering::Acquire) {
            return self.evict(host);
        }
        match self.phase {
            Phase::Greeting(deadline) if deadline.has_passed() => {
                let sentence = format!("the handshake took longer than {:?}", host.terms.deadline);
                self.part(host, Parting::Refuse(RefuseCode::TimedOut, sentence));
            }
            Phase::Greeting(_) | Phase::Attached => {
                if socket_stirs {
                    self.hear(host);
                }
                let process_ended = process_stirs && self.peer.pidfd.is_some();
                if process_ended && self.watched().is_some() {
                    self.part(host, Parting::HangUp("the consumer's process ended".to_owned()));
                }
            }
            Phase::Departing { retry, backoff } if now >= retry => self.ask(host, Some(backoff)),
            Phase::Departing { .. } | Phase::Asking(..) | Phase::Unanswered(_) | Phase::Over => {}
        }
    }

    /// Takes the frames that the consumer has sent.
    fn hear(&mut self, host: &Host) {
        let mut bytes = [0; FRAME_MAX_BYTES];
        for _ in 0..FRAMES_PER_TURN {
            let frame = match fds::recv_frame_without_fds(self.socket.as_fd(), &mut bytes) {
                Ok(len) => Frame::parse(&bytes[..len], 0),
                Err(error) if error.is_would_block() => return,
                // After a reset there may be more that it had sent; it no longer matters.
                Err(RecvFdsError::Closed | RecvFdsError::Reset) => {
                    return self.part(host, Parting::HangUp("the consumer hung up".to_owned()));
                }
                Err(error) => return self.part(host, Parting::HangUp(error.to_string())),
            };
            let step = frame.map_err(HandshakeError::from).and_then(|frame| self.handshake.on_frame(frame));
            let outcome = match step {
                Ok(ProducerStep::Offer { lanes, .. }) => self.offer(host, lanes),
                Ok(ProducerStep::Attach(terms)) => self.attach(host, &terms),
                Ok(ProducerStep::Bye(reason)) => Err(Parting::HangUp(format!("the consumer said goodbye: {reason}"))),
                Err(error) => Err(error.into()),
            };
            if let Err(parting) = outcome {
                return self.part(host, parting);
            }
        }
    }

    /// Answers a Hello: makes the seat and the bells, and sends them with the lanes' regions.
    fn offer(&mut self, host: &Host, lanes: Vec<usize>) -> Result<(), Parting> {
        crash::point!("steward-hello-heard");
        let same_user = self.peer.uid == rustix::process::geteuid().as_raw();
        let kind = if same_user { BellKind::Eventfd } else { BellKind::Socketpair };
        let name = format!("fdring:seat:{}", self.peer.pid);
        let len_bytes = seat_len_bytes(lanes.len());
        let options = RegionOptions { name: &name, len_bytes, huge_pages: HugePages::No };
        let seat = Region::create(&options).map_err(Parting::own)?;
        seat.seal(Seals::SHRINK | Seals::GROW).map_err(Parting::own)?;
        let bells: Result<Vec<(Bell, OwnedFd)>> = lanes.iter().map(|_| Bell::create(kind)).collect();
        let (bells, ends): (Vec<Bell>, Vec<OwnedFd>) = bells.map_err(Parting::own)?.into_iter().unzip();

        let mut fds: Vec<BorrowedFd<'_>> = Vec::with_capacity(1 + 3 * lanes.len());
        fds.push(seat.as_fd());
        for (index, end) in lanes.iter().zip(&ends) {
            let lane = &host.lanes[*index];
            fds.extend([end.as_fd(), lane.control.as_fd(), lane.data.as_fd()]);
        }
        debug_assert_eq!(fds.len(), Offer::data_fd(lanes.len() - 1) + 1, "the order of the protocol");
        crash::point!("steward-seat-made");
        let frame = self.handshake.offer_frame(kind).encode();
        fds::send_frame(self.socket.as_fd(), &frame, &fds)
            .map_err(|error| Parting::own(Error::os("send an Offer")(error)))?;
        crash::point!("steward-offer-sent");
        (self.seat, self.bells, self.lanes) = (Some(Arc::new(seat)), bells, lanes);
        Ok(())
    }

    /// Answers an Attach: checks the seat, gives the consumer its place on every lane, and says where it starts.
    fn attach(&mut self, host: &Host, terms: &[LaneAttach]) -> Result<(), Parting> {
        crash::point!("steward-attach-heard");
        self.in_place = terms.iter().any(|lane| lane.reading == Reading::InPlace);
        if self.in_place && !host.terms.in_place.admits(self.peer.uid) {
            let sentence = format!("user {} may not read in place here; attach as one that copies", self.peer.uid);
            return Err(Parting::Refuse(RefuseCode::Forbidden, sentence));
        }
        if terms.iter().any(|lane| lane.delivery == Delivery::Lossy) {
            return Err(Parting::Refuse(RefuseCode::Unsupported, "lossy consumers are not implemented here".into()));
        }
        let seat = self.seat.as_ref().ok_or_else(|| Parting::HangUp("an Attach came before a seat".to_owned()))?;
        let mapping = Arc::new(check_seat(seat)?);
        crash::point!("steward-seat-checked");
        let seat_id = NEXT_SEAT_ID.fetch_add(1, Ordering::Relaxed);
        let bells = std::mem::take(&mut self.bells);
        let places = self.lanes.iter().zip(bells).zip(terms).enumerate();
        let starts = places.map(|(stripe, ((index, bell), terms))| {
            let lane = &host.lanes[*index];
            let words = SeatMap::new(Arc::clone(&mapping), stripe);
            let port = SeatLink::new(words, bell, Arc::clone(&self.out), Arc::clone(&host.shared.notice));
            let LaneAttach { start, barrier, .. } = *terms;
            lane.roster.join(&*lane.map, Joiner { id: seat_id, pid: self.peer.pid, start, barrier }, port)
        });
        let frame = self.handshake.attached(starts.collect()).encode();
        (self.seat_id, self.phase) = (Some(seat_id), Phase::Attached);
        crash::point!("steward-joined");
        let fences = self.lanes.iter().zip(terms).any(|(index, terms)| host.lanes[*index].barrier != terms.barrier);
        if fences && !barrier::heavy_within() {
            // A producer that does not fence might publish, unheard, beside the first sleep of a consumer that does. It
            // has not been told where it starts, so it reads nothing yet.
            self.for_each_seat(host, |lane, seat_id| lane.roster.leave(seat_id));
            self.seat_id = None;
            let sentence = "the kernel refused the barrier that comes before a consumer's first sleep".to_owned();
            return Err(Parting::Refuse(RefuseCode::Internal, sentence));
        }
        fds::send_frame(self.socket.as_fd(), &frame, &[])
            .map_err(|error| Parting::HangUp(format!("could not send an Attached: {error}")))?;
        crash::point!("steward-attached-sent");
        Ok(())
    }

    /// Ends the session; a consumer that is attached keeps its seats for as long as it may be reading.
    fn part(&mut self, host: &Host, parting: Parting) {
        let (answer, sentence) = match parting {
            Parting::Refuse(code, sentence) => (Some(Frame::Refuse(Refuse::new(code, &sentence))), sentence),
            Parting::Handshake(error) => (error.refuse_frame(), error.to_string()),
            Parting::HangUp(sentence) => (None, sentence),
        };
        if self.seat_id.is_some() {
            if answer.is_some() {
                send(&self.socket, &Frame::Bye(ByeReason::Protocol));
                // Whoever has said goodbye says nothing more: not that this consumer was evicted, either.
                let _ = shutdown(&self.socket, Shutdown::Write);
            }
            return self.ask(host, None);
        }
        if let Some(frame) = answer {
            send(&self.socket, &frame);
        }
        host.shared.note_refusal(&sentence);
        self.phase = Phase::Over;
    }

    /// The consumer has gone, or is about to: asks the kernel whether anyone still maps its seat.
    fn ask(&mut self, host: &Host, backoff: Option<Duration>) {
        match &self.seat {
            Some(seat) => self.phase = Phase::Asking(Inquiry::begin(seat, &host.shared.notice), backoff),
            None => self.phase = Phase::Over,
        }
    }

    /// Lets the consumer go, or waits on, as the kernel has answered.
    fn heed_answer(&mut self, host: &Host, now: Instant) {
        match std::mem::replace(&mut self.phase, Phase::Over) {
            Phase::Asking(inquiry, backoff) => match inquiry.answer() {
                Some(_) if self.out.load(Ordering::Acquire) => self.evict(host),
                Some(answer) => self.depart(host, answer, backoff),
                // One that copies need not be waited for. Its thread is, so that there are no more than sessions.
                None if !self.in_place && now >= inquiry.overdue_at() => {
                    self.evict(host);
                    self.phase = Phase::Unanswered(inquiry);
                }
                None => self.phase = Phase::Asking(inquiry, backoff),
            },
            Phase::Unanswered(inquiry) if inquiry.answer().is_none() => self.phase = Phase::Unanswered(inquiry),
            _ => {}
        }
    }

    fn depart(&mut self, host: &Host, Answer { freeze, took }: Answer, backoff: Option<Duration>) {
        crash::point!("steward-consumer-gone");
        match freeze {
            Ok(Freeze::Frozen) => {
                crash::point!("steward-seat-frozen");
                self.for_each_seat(host, |lane, seat_id| lane.roster.leave(seat_id));
                crash::point!("steward-left");
                self.phase = Phase::Over;
            }
            // Still mapped, by its process or a child of it; or a page of it is pinned.
            Ok(Freeze::StillMapped) if self.in_place => {
                let backoff = backoff.map_or(DEPARTURE_RETRY_MIN, |backoff| (backoff * 2).min(DEPARTURE_RETRY_MAX));
                let retry = Instant::now() + backoff.max(took * DEPARTURE_RETRY_FACTOR);
                // It learns that this is the end, and there is nothing more to hear from it.
                let _ = shutdown(&self.socket, Shutdown::Both);
                self.phase = Phase::Departing { retry, backoff };
            }
            // One that copies finds out by itself; one that has sealed the seals, so that the kernel cannot be asked,
            // has broken the protocol.
            _ => self.evict(host),
        }
    }

    /// Takes the consumer's seats away although it may still be reading, and tells it.
    fn evict(&mut self, host: &Host) {
        crash::point!("steward-evicting");
        self.for_each_seat(host, |lane, seat_id| lane.roster.evict(&*lane.map, seat_id));
        crash::point!("steward-evicted");
        send(&self.socket, &Frame::Bye(ByeReason::Evicted));
        host.shared.update(|status| status.stats.evicted += 1);
        self.phase = Phase::Over;
    }

    fn for_each_seat(&self, host: &Host, each: impl Fn(&Lane, u64)) {
        if let Some(seat_id) = self.seat_id {
            for index in &self.lanes {
                each(&host.lanes[*index], seat_id);
            }
        }
    }
}

/// Refuses a connection that never becomes a session.
pub(super) fn turn_away(host: &Host, socket: &Connection, code: RefuseCode, sentence: &str) {
    send(socket, &Frame::Refuse(Refuse::new(code, sentence)));
    host.shared.note_refusal(sentence);
}

/// Makes sure that nobody but those who map it now can ever write the seat or take its memory away, and maps it.
fn check_seat(seat: &Region) -> Result<Mapping, Parting> {
    let seals = seat.seals().map_err(Parting::own)?;
    if !seals.contains(Seals::FUTURE_WRITE) {
        let sentence = "the seat is not sealed against further writers (F_SEAL_FUTURE_WRITE)".to_owned();
        return Err(Parting::Refuse(RefuseCode::Region, sentence));
    }
    if seals.contains(Seals::SEAL) {
        let sentence = "the seals of the seat are sealed (F_SEAL_SEAL), so its death could never be seen".to_owned();
        return Err(Parting::Refuse(RefuseCode::Region, sentence));
    }
    // After that seal nothing can be punched out any more. Filling what was punched out before it would be to wait for
    // the file's lock, and its consumer can hold that.
    if !seat.is_allocated().map_err(Parting::own)? {
        let sentence = "the seat has holes; fill it (fallocate) after sealing it".to_owned();
        return Err(Parting::Refuse(RefuseCode::Region, sentence));
    }
    seat.map_seat_for_producer().map_err(Parting::own)
}

fn lane_terms(lane: &Lane) -> LaneTerms {
    LaneTerms {
        name: LaneName::new(&lane.name).expect("the name was checked when the lane was created"),
        id: lane.id,
        geometry: lane.geometry,
        schema: lane.schema,
        generation: lane.generation,
        barrier: lane.barrier,
    }
}

/// Sends a frame to a consumer that may not be there any more, or may not be reading.
fn send(socket: &Connection, frame: &Frame) {
    let _ = fds::send_frame(socket.as_fd(), &frame.encode(), &[]);
}
