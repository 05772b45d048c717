//! One consumer as the steward serves it: the handshake, the time it is attached, its end.
//!
//! The invariant: a consumer that reads in place keeps its seats until the kernel says that nobody maps them any more
//! (design invariant 16). A hang-up, or the end of the process, only says that it is time to ask.

use super::ending::Ending;
use super::inquiry::{Answer, Inquiry};
use super::seats::{Offered, Seats};
use super::shared::Offering;
use super::unwelcome::fault_of;
use crate::crash;
use crate::deadline::{Deadline, timespec};
use crate::error::{Error, InWords, OfUser};
use crate::fds::{self, RecvFdsError};
use crate::handshake::{Handshake, HandshakeError, Step};
use crate::lane::Lane;
use crate::os::bell::Bell;
use crate::os::closing::Connection;
use crate::os::peer::Peer;
use crate::region::Freeze;
use crate::terms::{Access, Refusal};
use crate::wire::{ByeReason, FRAME_MAX_BYTES, Frame, LaneAttach};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::{AsFd, BorrowedFd};
use rustix::net::{Shutdown, shutdown};
use std::mem;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The first and the longest pause before the kernel is asked again whether a consumer still reads in place.
const DEPARTURE_RETRY_MIN: Duration = Duration::from_millis(1);
const DEPARTURE_RETRY_MAX: Duration = Duration::from_millis(100);
/// While the consumer's process lives, which can make the answers take long, the pause is at least this many times as
/// long as the last answer took, up to the limit.
const DEPARTURE_RETRY_FACTOR: u32 = 8;
const DEPARTURE_RETRY_LIMIT: Duration = Duration::from_secs(1);
/// The number of retries that is assumed once the process has ended; 0 would mean that the session is attached.
const AFRESH: u32 = 1;
/// When a consumer is told again of an eviction that could not be sent.
const EVICTED_RETRY: Duration = Duration::from_millis(10);
/// How often a process is looked at that the kernel gives no pidfd for.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// How many frames of one consumer are taken in a row, so that a flood of them does not keep the steward from others.
const FRAMES_PER_TURN: usize = 16;

/// The session of one consumer.
#[derive(Debug)]
pub(super) struct ConsumerSession {
    socket: Connection,
    peer: Peer,
    /// Its first frame is still to say who it is.
    is_stranger: bool,
    handshake: Handshake,
    /// The lanes that can be chosen, and from the Offer on those that were.
    lanes: Vec<Arc<Lane>>,
    phase: Phase,
    /// The consumer's process has ended.
    is_dead: bool,
    /// When to look whether the process lives; `None` if its pidfd tells.
    look_at: Option<Instant>,
}

/// How far a session has come.
#[derive(Debug)]
enum Phase {
    /// The handshake is under way.
    Greeting {
        deadline: Deadline,
        offered: Option<Offered>,
    },
    /// The consumer reads.
    Attached(Seats),
    /// The consumer has hung up, and the kernel is asked whether anyone still maps its seats. `retries` counts how
    /// often that was asked before.
    Asking {
        seats: Seats,
        inquiry: Inquiry,
        retries: u32,
    },
    /// The consumer has hung up and may still be reading in place. The kernel is asked again at `retry_at`, or when the
    /// process has ended.
    Departing {
        seats: Seats,
        retry_at: Instant,
        retries: u32,
    },
    /// The consumer copies, and was evicted because the answer took too long. With the answer the session is over.
    Unanswered(Inquiry),
    Over,
}

/// Which of a session's descriptors are watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Watched {
    pub(super) socket: bool,
    pub(super) process: bool,
}

impl Watched {
    pub(super) const BOTH: Self = Self { socket: true, process: true };

    /// Those that are watched no longer.
    pub(super) fn without(self, still: Self) -> Self {
        Self { socket: self.socket && !still.socket, process: self.process && !still.process }
    }
}

/// Which of a session's descriptors are readable.
#[derive(Clone, Copy, Debug)]
pub(super) struct Readable {
    pub(super) socket: bool,
    /// The consumer's process has ended.
    pub(super) process: bool,
}

impl ConsumerSession {
    /// A session with the consumer at the other end of `socket`, to be attached before the deadline. Where the peer is
    /// not known, `socket` asks who sends.
    pub(super) fn new(offering: &Offering, socket: Connection, peer: Option<Peer>, session_id: [u8; 16]) -> Self {
        let lanes = offering.state.lanes.lock().clone();
        let terms = lanes.iter().map(|lane| lane.terms.clone()).collect();
        let handshake = Handshake::producer(terms, session_id);
        let phase = Phase::Greeting { deadline: Deadline::after(offering.limits.deadline), offered: None };
        let is_stranger = peer.is_none();
        let peer = peer.unwrap_or(Peer::UNKNOWN);
        Self { socket, look_at: look_at(&peer), peer, is_stranger, handshake, lanes, phase, is_dead: false }
    }

    /// Which of its descriptors are to be watched: each at first, and once no longer, never again. A session that waits
    /// only for its time, or for an answer, hears of nothing but the end of the process.
    pub(super) fn watched(&self) -> Watched {
        let socket = matches!(self.phase, Phase::Greeting { .. } | Phase::Attached(_));
        let process = socket || matches!(self.phase, Phase::Asking { .. } | Phase::Departing { .. });
        Watched { socket, process: process && !self.is_dead }
    }

    /// When to serve it even if nothing is readable.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let next = match &self.phase {
            Phase::Greeting { deadline: Deadline::At(instant), .. } => Some(*instant),
            Phase::Asking { seats, inquiry, .. } if !seats.in_place() => Some(inquiry.overdue_at()),
            Phase::Departing { retry_at, .. } => Some(*retry_at),
            Phase::Attached(seats) if seats.owe_word() => Some(Instant::now() + EVICTED_RETRY),
            _ => None,
        };
        next.into_iter().chain(self.look_at).min()
    }

    /// Whether it is time to look at the process, and it has ended. A child of it may keep the socket open.
    fn is_seen_dead(&mut self, now: Instant) -> bool {
        if self.look_at.is_none_or(|at| now < at) {
            return false;
        }
        let is_dead = self.peer.is_dead();
        self.look_at = (!is_dead).then(|| now + LOOK_INTERVAL);
        is_dead
    }

    /// Whether it counts as attached, which it does until the kernel has answered for the first time.
    pub(super) fn is_attached(&self) -> bool {
        matches!(self.phase, Phase::Attached(_) | Phase::Asking { retries: 0, .. })
    }

    /// Whether its consumer has hung up, and the session will be over in a moment: the kernel is being asked whether
    /// anyone still maps the seats, and answers at once unless the consumer prevents that.
    pub(super) fn is_leaving(&self, now: Instant) -> bool {
        match &self.phase {
            Phase::Greeting { .. } | Phase::Attached(_) => has_hung_up(&self.socket),
            _ => self.gone_at().is_some_and(|at| now < at),
        }
    }

    /// Until when a consumer that has hung up counts as [leaving](Self::is_leaving).
    pub(super) fn gone_at(&self) -> Option<Instant> {
        match &self.phase {
            Phase::Asking { inquiry, retries: 0, .. } => Some(inquiry.overdue_at()),
            _ => None,
        }
    }

    /// Whether no lane that it has, or can still choose, will ever bring anything more.
    pub(super) fn lanes_have_ended(&self) -> bool {
        self.lanes.iter().all(|lane| lane.has_ended())
    }

    pub(super) fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Over)
    }

    /// Does what is due: takes what the consumer has sent, evicts it, asks the kernel, or acts on its answer.
    pub(super) fn serve(&mut self, offering: &Offering, now: Instant, readable: Readable) {
        let readable = Readable { process: readable.process || self.is_seen_dead(now), ..readable };
        let has_died = readable.process && !mem::replace(&mut self.is_dead, true);
        match mem::replace(&mut self.phase, Phase::Over) {
            Phase::Attached(seats) | Phase::Departing { seats, .. } if seats.are_evicted() => {
                self.evict(offering, &seats);
            }
            Phase::Greeting { deadline, .. } if deadline.has_passed() => {
                let sentence = format!("the handshake took longer than {}", InWords(offering.limits.deadline));
                self.end(offering, Ending::Refuse(Refusal::TimedOut, sentence));
            }
            phase @ (Phase::Greeting { .. } | Phase::Attached(_)) => {
                self.phase = phase;
                self.tell_evictions(offering);
                if let Err(ending) = self.receive(offering, readable) {
                    self.end(offering, ending);
                }
            }
            Phase::Asking { seats, inquiry, retries } => {
                let retries = if has_died { retries.min(AFRESH) } else { retries };
                match inquiry.answer() {
                    Some(answer) => self.on_answer(offering, seats, &answer, retries),
                    // A consumer that copies need not be waited for. The thread is, so that there are no more threads
                    // than sessions.
                    None if !seats.in_place() && now >= inquiry.overdue_at() => {
                        self.evict(offering, &seats);
                        self.phase = Phase::Unanswered(inquiry);
                    }
                    None => self.phase = Phase::Asking { seats, inquiry, retries },
                }
            }
            Phase::Unanswered(inquiry) if inquiry.answer().is_none() => self.phase = Phase::Unanswered(inquiry),
            // The pauses for a living consumer are too long for a dead one: begins afresh.
            Phase::Departing { seats, .. } if has_died => self.ask(offering, seats, AFRESH),
            Phase::Departing { seats, retry_at, retries } if now >= retry_at => self.ask(offering, seats, retries + 1),
            phase @ Phase::Departing { .. } => self.phase = phase,
            Phase::Unanswered(_) | Phase::Over => {}
        }
    }

    /// Tells the consumer of the lanes that have evicted it, where it has others left.
    fn tell_evictions(&mut self, offering: &Offering) {
        let Phase::Attached(seats) = &mut self.phase else { return };
        if !seats.owe_word() {
            return;
        }
        let socket = &self.socket;
        let told = seats.tell_evictions(|lane| {
            // Only where the queue is full is it to be tried again. One that has hung up is about to be shown out.
            let sent = fds::send_frame(socket.as_fd(), &Frame::Evicted(lane).encode(), &[]);
            !sent.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
        });
        offering.state.count(|stats| stats.evicted += told);
    }

    /// Takes what the consumer has sent, and then the end of its process.
    fn receive(&mut self, offering: &Offering, readable: Readable) -> Result<(), Ending> {
        if readable.socket {
            self.receive_frames(offering)?;
        }
        if readable.process {
            return Err(Ending::HangUp("the consumer's process ended".to_owned()));
        }
        Ok(())
    }

    fn receive_frames(&mut self, offering: &Offering) -> Result<(), Ending> {
        let mut bytes = [0; FRAME_MAX_BYTES];
        for _ in 0..FRAMES_PER_TURN {
            let (len, sender) = match self.receive_frame(&mut bytes) {
                Ok(received) => received,
                Err(error) if error.is_would_block() => return Ok(()),
                // After a reset there may be more that it had sent; it no longer matters.
                Err(RecvFdsError::Closed | RecvFdsError::Reset) => {
                    return Err(Ending::HangUp("the consumer hung up".to_owned()));
                }
                // Answered with a Refuse, or with Bye(3) once it is attached.
                Err(error) => return Err(Ending::Refuse(Refusal::Protocol, fault_of(&error))),
            };
            if let Some(sender) = sender {
                self.meet(offering, sender)?;
            }
            let frame = Frame::parse(&bytes[..len], 0).map_err(HandshakeError::from)?;
            let step = self.handshake.on_frame(frame)?;
            self.take_step(offering, step)?;
        }
        Ok(())
    }

    /// The length of the next frame, and who sent it if that was not known.
    fn receive_frame(&self, bytes: &mut [u8]) -> Result<(usize, Option<Peer>), RecvFdsError> {
        if !self.is_stranger {
            return Ok((fds::recv_frame_without_fds(self.socket.as_fd(), bytes)?, None));
        }
        let (len, sender, has_pidfds) = fds::recv_first_frame_without_fds(self.socket.as_fd(), bytes)?;
        Ok((len, Some(Peer::of_sender(sender, has_pidfds))))
    }

    /// Learns who the consumer is, before it is told anything.
    fn meet(&mut self, offering: &Offering, peer: Peer) -> Result<(), Ending> {
        fds::name_senders(self.socket.as_fd(), false)
            .map_err(|error| Ending::own(Error::os("have no more senders named (SO_PASSCRED)")(error)))?;
        (self.is_stranger, self.look_at) = (false, look_at(&peer));
        self.peer = peer;
        check_user(offering, &self.peer)
    }

    /// Does what the handshake asks for.
    fn take_step(&mut self, offering: &Offering, step: Step) -> Result<(), Ending> {
        match (step, mem::replace(&mut self.phase, Phase::Over)) {
            (Step::Greeted { lanes }, Phase::Greeting { deadline, .. }) => {
                let offered = Some(self.offer(&lanes)?);
                self.phase = Phase::Greeting { deadline, offered };
                Ok(())
            }
            (Step::Attach(terms), Phase::Greeting { offered: Some(offered), .. }) => {
                self.attach(offering, offered, &terms)
            }
            (Step::Bye(reason), phase) => {
                self.phase = phase;
                Err(Ending::HangUp(format!("the consumer said goodbye: {reason}")))
            }
            // The handshake asks for no other step in any phase.
            (_, phase) => {
                self.phase = phase;
                Err(HandshakeError::Over.into())
            }
        }
    }

    /// Answers a Hello: makes the seat and the bells, and sends them with the lanes' regions.
    fn offer(&mut self, chosen: &[usize]) -> Result<Offered, Ending> {
        crash::point!("steward-hello-heard");
        self.lanes = chosen.iter().map(|index| Arc::clone(&self.lanes[*index])).collect();
        let (offered, bell_ends) = Offered::new(self.lanes.clone(), &self.peer).map_err(Ending::own)?;
        crash::point!("steward-seat-made");
        // Back to back, so that the Hello costs no time of its own.
        fds::send_frame(self.socket.as_fd(), &self.handshake.hello().encode(), &[])
            .map_err(|error| Ending::own(Error::os("send a Hello")(error)))?;
        crash::point!("steward-hello-sent");
        let frame = self.handshake.offer(Bell::KIND).encode();
        fds::send_frame(self.socket.as_fd(), &frame, &offered.descriptors(&bell_ends))
            .map_err(|error| Ending::own(Error::os("send an Offer")(error)))?;
        crash::point!("steward-offer-sent");
        Ok(offered)
    }

    /// Answers an Attach: gives the consumer its seats, and says where it starts.
    fn attach(&mut self, offering: &Offering, offered: Offered, terms: &[Option<LaneAttach>]) -> Result<(), Ending> {
        crash::point!("steward-attach-heard");
        let in_place = terms.iter().flatten().any(|lane| lane.access == Access::InPlace);
        if in_place && !offering.limits.in_place.admits(self.peer.uid) {
            let user = OfUser(self.peer.uid);
            let sentence = format!("{user} may not read in place here; attach as one that copies");
            return Err(Ending::Refuse(Refusal::Forbidden, sentence));
        }
        let (seats, starts) = offered.take(terms, &offering.state.notice)?;
        let frame = self.handshake.attached(starts).encode();
        self.phase = Phase::Attached(seats);
        fds::send_frame(self.socket.as_fd(), &frame, &[])
            .map_err(|error| Ending::HangUp(format!("could not send an Attached: {error}")))?;
        crash::point!("steward-attached-sent");
        Ok(())
    }

    /// Ends the session. An attached consumer keeps its seats for as long as it may be reading.
    pub(super) fn end(&mut self, offering: &Offering, ending: Ending) {
        let (answer, sentence) = ending.into_answer();
        if let Phase::Attached(seats) = mem::replace(&mut self.phase, Phase::Over) {
            if let Some(answer) = answer {
                // What is not implemented is no breach.
                let is_breach = !matches!(&answer, Frame::Refuse(refuse) if refuse.refusal() == Refusal::Unsupported);
                send(&self.socket, &if is_breach { Frame::Bye(ByeReason::Protocol) } else { answer });
                // A Bye is the last frame: nothing follows it, not even that this consumer was evicted.
                let _ = shutdown(&self.socket, Shutdown::Write);
            }
            return self.ask(offering, seats, 0);
        }
        if let Some(frame) = answer {
            send(&self.socket, &frame);
        }
        offering.state.note_refusal(&sentence);
    }

    /// Begins to ask the kernel whether anyone still maps the seats.
    fn ask(&mut self, offering: &Offering, seats: Seats, retries: u32) {
        let inquiry = seats.inquire(&offering.state.notice);
        self.phase = Phase::Asking { seats, inquiry, retries };
    }

    /// Frees the seats, waits longer, or evicts the consumer, as the kernel has answered.
    fn on_answer(&mut self, offering: &Offering, seats: Seats, answer: &Answer, retries: u32) {
        if seats.are_evicted() {
            return self.evict(offering, &seats);
        }
        crash::point!("steward-consumer-gone");
        match answer.freeze {
            Ok(Freeze::Frozen) => {
                crash::point!("steward-seat-frozen");
                seats.leave();
                crash::point!("steward-left");
            }
            // Still mapped, by its process or a child of it; or a page of it is pinned; or the question failed, and the
            // consumer may still be reading.
            Ok(Freeze::StillMapped) | Err(_) if seats.in_place() => {
                // Without a descriptor of its process, the hang-up counts as its death.
                let may_live = !self.is_dead && self.peer.pidfd.is_some();
                let pause = departure_pause(retries, answer.took, may_live);
                // Tells the consumer that this is the end, and that nothing it sends will be read.
                let _ = shutdown(&self.socket, Shutdown::Both);
                self.phase = Phase::Departing { seats, retry_at: Instant::now() + pause, retries };
            }
            // One that copies finds out by itself. One that has sealed the seals, so that the kernel cannot be asked,
            // has broken the protocol.
            _ => self.evict(offering, &seats),
        }
    }

    /// Takes the seats away although the consumer may still be reading, and tells it.
    fn evict(&self, offering: &Offering, seats: &Seats) {
        crash::point!("steward-evicting");
        let evicted = seats.evict();
        crash::point!("steward-evicted");
        send(&self.socket, &Frame::Bye(ByeReason::Evicted));
        offering.state.count(|stats| stats.evicted += evicted);
    }

    pub(super) fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// The pidfd of the consumer's process, if the kernel has given one.
    pub(super) fn process(&self) -> Option<BorrowedFd<'_>> {
        self.peer.pidfd.as_ref().map(AsFd::as_fd)
    }
}

/// When to look first whether a process lives.
fn look_at(peer: &Peer) -> Option<Instant> {
    (peer.pidfd.is_none() && peer.pid.is_some()).then(|| Instant::now() + LOOK_INTERVAL)
}

/// Refuses a process whose user is not admitted.
pub(super) fn check_user(offering: &Offering, peer: &Peer) -> Result<(), Ending> {
    if offering.limits.peers.admits(peer.uid) {
        return Ok(());
    }
    let sentence = if peer.is_unknown() {
        "the kernel does not say who sent the first frame; set SO_PASSCRED before sending it".to_owned()
    } else {
        format!("processes of {} are not admitted here", OfUser(peer.uid))
    };
    Err(Ending::Refuse(Refusal::Forbidden, sentence))
}

/// Refuses a connection that never becomes a session.
pub(super) fn turn_away(offering: &Offering, socket: &Connection, ending: Ending) {
    let (answer, sentence) = ending.into_answer();
    if let Some(frame) = answer {
        send(socket, &frame);
    }
    offering.state.note_refusal(&sentence);
}

/// How long to wait before the kernel is asked again: twice as long each time, up to the longest, and longer while the
/// consumer may live and makes the answers take long.
fn departure_pause(retries: u32, took: Duration, may_live: bool) -> Duration {
    let doubled = DEPARTURE_RETRY_MIN.saturating_mul(2_u32.saturating_pow(retries)).min(DEPARTURE_RETRY_MAX);
    let slowed = if may_live { took.saturating_mul(DEPARTURE_RETRY_FACTOR) } else { Duration::ZERO };
    doubled.max(slowed.min(DEPARTURE_RETRY_LIMIT))
}

/// Whether the other side has hung up, whatever it had sent before.
fn has_hung_up(socket: &Connection) -> bool {
    let mut waits = [PollFd::new(socket, PollFlags::RDHUP)];
    poll(&mut waits, Some(&timespec(Duration::ZERO))).is_ok() && !waits[0].revents().is_empty()
}

/// Sends a frame to a consumer that may be gone, or may not be reading.
fn send(socket: &Connection, frame: &Frame) {
    let _ = fds::send_frame(socket.as_fd(), &frame.encode(), &[]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_living_consumer_makes_the_pauses_longer_and_only_up_to_the_limit() {
        let millis = Duration::from_millis;
        let pauses = [0, 1, 6, 7, u32::MAX].map(|retries| departure_pause(retries, Duration::MAX, false));
        assert_eq!(pauses, [1, 2, 64, 100, 100].map(millis));
        assert_eq!(departure_pause(0, millis(10), true), millis(80));
        assert_eq!(departure_pause(u32::MAX, millis(10), true), millis(100));
        assert_eq!(departure_pause(0, Duration::MAX, true), DEPARTURE_RETRY_LIMIT);
    }
}
