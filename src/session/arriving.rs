//! One producer that has connected, as the steward of a consumer that listens serves it: from its Hello until what it
//! offers is mapped.
//!
//! The invariant: nothing is received of a process before it is admitted, and nothing is mapped beyond the limits. Its
//! place is taken until nothing of it is left here: neither a thread that opens its lanes, nor a consumer of one. What
//! it has sent is read to the end before its death counts.

use super::admission::turn_away;
use super::client::{Session, begin, infos_of};
use super::ending::Ending;
use super::frame_socket::FrameSocket;
use super::opened::{OpenedLane, Opening, begin_opening};
use super::options::SessionOptions;
use super::served::{Arrival, ArrivalKind, Fds, PeerProcess, Readable, Reception, Served, WatchedFds};
use super::shared::StewardState;
use super::stats::mapped_bytes;
use super::unwelcome;
use crate::crash;
use crate::deadline::Deadline;
use crate::error::Result;
use crate::fds;
use crate::handshake::{Handshake, HandshakeError, Step};
use crate::lane::LaneInfo;
use crate::os::fork::ForkGuard;
use crate::os::peer::Peer;
use crate::sync::Mutex;
use crate::terms::Refusal;
use crate::trace::event;
use crate::wire::{Frame, Offer, Refuse};
use rustix::fd::{AsFd, OwnedFd};
use std::collections::VecDeque;
use std::mem;
use std::sync::Arc;
use std::sync::mpsc::TryRecvError;
use std::time::Instant;

/// What a consumer that listens admits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// The most sessions at once, handshakes included.
    pub(super) sessions_max: usize,
    /// The most lanes of one session.
    pub(super) lanes_max: usize,
    /// The capacity of the longest ring, in bytes.
    pub(super) capacity_max: u64,
    /// What all sessions together may have mapped, in bytes.
    pub(super) mapped_max: u64,
}

/// What a consumer that listens, its steward and its sessions share.
#[derive(Debug)]
pub(super) struct Arrivals {
    pub(super) options: SessionOptions,
    pub(super) bounds: Bounds,
    pub(super) state: Arc<StewardState>,
    pub(super) guard: ForkGuard,
    /// Sessions that the program has not taken yet.
    pub(super) opened: Mutex<VecDeque<Session>>,
    places: Arc<SessionPlaces>,
}

impl Arrivals {
    pub(super) fn new(options: SessionOptions, bounds: Bounds, state: Arc<StewardState>, guard: ForkGuard) -> Self {
        let places = Arc::new(SessionPlaces { taken: Mutex::default(), state: Arc::clone(&state), guard });
        Self { options, bounds, state, guard, opened: Mutex::default(), places }
    }

    /// The session that has waited longest, if any does. Its time to be attached to begins now.
    pub(super) fn take(&self) -> Option<Session> {
        let session = self.opened.lock().pop_front()?;
        Some(session.begin_to_attach())
    }

    /// Makes the descriptor for the program unreadable; whether no session waits to be taken, and others can come.
    pub(super) fn arm(&self) -> bool {
        let opened = self.opened.lock();
        self.state.news.lower();
        opened.is_empty() && !self.state.progress.lock().done
    }

    fn push(&self, session: Session) {
        event!(
            INFO,
            "producer arrived",
            pid = session.producer_pid(),
            uid = session.producer_uid(),
            lanes = session.lanes().len()
        );
        let mut opened = self.opened.lock();
        opened.push_back(session);
        self.state.news.raise();
        drop(opened);
        self.state.update(|progress| progress.stats.attached += 1);
    }
}

/// Lets producers in.
#[derive(Debug)]
pub(super) struct Entrance(pub(super) Arc<Arrivals>);

impl Reception for Entrance {
    fn state(&self) -> &StewardState {
        &self.0.state
    }

    fn is_full(&self, _served: usize) -> bool {
        self.0.places.taken.lock().sessions >= self.0.bounds.sessions_max
    }

    fn welcome(&self, Arrival { socket, origin }: Arrival, _is_full: bool) -> Option<Box<dyn Served>> {
        debug_assert!(matches!(origin, ArrivalKind::Accepted), "nobody hands over anything else");
        let socket = FrameSocket::new(socket);
        match self.admit(&socket) {
            Ok((producer, phase)) => {
                // Until here the kernel has refused every message with descriptors (Linux 6.16).
                fds::accept_fds(socket.as_fd());
                // If this fails, the producer has hung up. What it had sent is read all the same.
                socket.tell(&phase.handshake.hello());
                crash::point!("session-hello-sent");
                let phase = Phase::Greeting(phase);
                Some(Box::new(ProducerSession { arrivals: Arc::clone(&self.0), socket, producer, phase }))
            }
            Err(ending) => {
                turn_away(&self.0.state, &socket, &ending);
                None
            }
        }
    }
}

impl Entrance {
    /// The process that has connected, if it is admitted and there is room, and its handshake.
    fn admit(&self, socket: &FrameSocket) -> Result<(PeerProcess, Greeting), Ending> {
        let Arrivals { options, bounds, places, .. } = &*self.0;
        let peer = Peer::of(socket).map_err(|error| Ending::Own(Refusal::Descriptors, error))?;
        if !options.peers.admits(peer.uid) {
            return Err(Ending::forbidden(&peer));
        }
        let Some(place) = places.take(bounds.sessions_max) else {
            let sentence = format!("all {} sessions are taken (`sessions_max`); try again later", bounds.sessions_max);
            return Err(Ending::Refuse(Refusal::Busy, sentence));
        };
        let handshake = begin(options).map_err(|error| Ending::Own(Refusal::Internal, error))?;
        let deadline = Deadline::after(options.deadline);
        Ok((PeerProcess::new(peer), Greeting { handshake, deadline, place, is_known: false }))
    }
}

/// How many sessions there are, and how much they have mapped.
#[derive(Debug)]
struct SessionPlaces {
    taken: Mutex<SessionCount>,
    state: Arc<StewardState>,
    guard: ForkGuard,
}

#[derive(Debug, Default)]
struct SessionCount {
    sessions: usize,
    mapped_bytes: u64,
}

impl SessionPlaces {
    /// A place for one more session, if there is one.
    fn take(self: &Arc<Self>, most: usize) -> Option<SessionPlace> {
        let mut taken = self.taken.lock();
        if taken.sessions >= most {
            return None;
        }
        taken.sessions += 1;
        self.state.note_sessions(taken.sessions);
        Some(SessionPlace { places: Arc::clone(self), mapped_bytes: 0 })
    }
}

/// The place of one session among all. Dropping it makes room for another.
#[derive(Debug)]
pub(super) struct SessionPlace {
    places: Arc<SessionPlaces>,
    mapped_bytes: u64,
}

impl SessionPlace {
    /// Counts `bytes` more bytes, unless that is more than all sessions may map.
    fn map(&mut self, bytes: u64, most: u64) -> bool {
        let mut taken = self.places.taken.lock();
        let Some(sum) = taken.mapped_bytes.checked_add(bytes).filter(|sum| *sum <= most) else { return false };
        taken.mapped_bytes = sum;
        self.mapped_bytes += bytes;
        true
    }
}

impl Drop for SessionPlace {
    fn drop(&mut self) {
        if self.places.guard.is_child() {
            // The lock may have been held when the process forked.
            return;
        }
        let mut taken = self.places.taken.lock();
        taken.sessions -= 1;
        taken.mapped_bytes -= self.mapped_bytes;
        self.places.state.note_sessions(taken.sessions);
    }
}

/// The session of one producer, until it is handed to the program.
#[derive(Debug)]
struct ProducerSession {
    arrivals: Arc<Arrivals>,
    socket: FrameSocket,
    producer: PeerProcess,
    phase: Phase,
}

/// How far it has come. Each phase owns what it needs.
#[derive(Debug)]
enum Phase {
    Greeting(Greeting),
    /// What was offered is being mapped.
    Opening {
        offered: OfferedLanes,
        deadline: Deadline,
        opening: Opening,
    },
    /// The program can have it.
    Opened {
        offered: OfferedLanes,
        lanes: Vec<OpenedLane>,
    },
    Over,
}

/// A handshake under way.
#[derive(Debug)]
struct Greeting {
    handshake: Handshake,
    deadline: Deadline,
    place: SessionPlace,
    /// The Hello has come, and the Offer is awaited.
    is_known: bool,
}

/// What an Offer has brought.
#[derive(Debug)]
struct OfferedLanes {
    handshake: Handshake,
    infos: Vec<LaneInfo>,
    place: Arc<SessionPlace>,
}

impl ProducerSession {
    /// Goes on with a handshake as far as frames have come.
    fn greet(&mut self, mut greeting: Greeting, readable: Readable) -> Result<Phase, Ending> {
        if !readable.socket && !readable.process {
            return Ok(Phase::Greeting(greeting));
        }
        let of_fault = |fault| Ending::of_fault(fault, "the producer");
        // An Offer that was sent before a death is read before the death counts.
        loop {
            let fds_max = if greeting.is_known { Offer::fd_count_max(self.arrivals.bounds.lanes_max) } else { 0 };
            let Some((frame, fds)) = self.socket.receive(fds_max).map_err(of_fault)? else { break };
            match greeting.handshake.on_frame(frame) {
                Ok(Step::Greeted { .. }) => {
                    crash::point!("session-hello-received");
                    greeting.is_known = true;
                }
                Ok(Step::Offer(offer)) => return self.open(greeting, offer, fds),
                // The handshake asks for no other step here.
                Ok(_) => return Err(HandshakeError::Over.into()),
                Err(error) => {
                    unwelcome::close(fds);
                    return Err(error.into());
                }
            }
        }
        if readable.process {
            return Err(Ending::HangUp("the producer's process ended".to_owned()));
        }
        Ok(Phase::Greeting(greeting))
    }

    /// Begins to map what is offered, if that is within the limits.
    fn open(&mut self, greeting: Greeting, offer: Offer, fds: Vec<OwnedFd>) -> Result<Phase, Ending> {
        crash::point!("session-offer-received");
        // The Offer's descriptors are the last.
        fds::refuse_fds(self.socket.as_fd());
        let Greeting { handshake, deadline, mut place, .. } = greeting;
        if let Err(ending) = self.check(&offer, &mut place) {
            unwelcome::close(fds);
            return Err(ending);
        }
        let place = Arc::new(place);
        let offered = OfferedLanes { handshake, infos: infos_of(&offer), place: Arc::clone(&place) };
        let notice = Arc::clone(&self.arrivals.state.notice);
        let opening = begin_opening(offer, fds, &self.arrivals.options, move || {
            // Even if nobody waits for the lanes any more, they have their place until they are gone.
            drop(place);
            notice.raise();
        });
        Ok(Phase::Opening { offered, deadline, opening: opening.map_err(Ending::own)? })
    }

    fn check(&self, offer: &Offer, place: &mut SessionPlace) -> Result<(), Ending> {
        let Bounds { lanes_max, capacity_max, mapped_max, .. } = self.arrivals.bounds;
        let lanes = offer.lanes.len();
        if lanes > lanes_max {
            let sentence = format!("{lanes} lanes are offered, and at most {lanes_max} are taken here; offer fewer");
            return Err(Ending::Refuse(Refusal::TooManyLanes, sentence));
        }
        let capacities = offer.lanes.iter().map(|lane| lane.terms.geometry.capacity());
        if let Some(capacity) = capacities.clone().find(|capacity| *capacity > capacity_max) {
            let sentence = format!("a ring of {capacity} bytes is offered, and at most {capacity_max} are mapped here");
            return Err(Ending::Refuse(Refusal::Region, sentence));
        }
        if !place.map(mapped_bytes(capacities), mapped_max) {
            let sentence = format!("all sessions together map at most {mapped_max} bytes here; try again later");
            return Err(Ending::Refuse(Refusal::Busy, sentence));
        }
        Ok(())
    }

    /// Takes what was opened, once it is there.
    fn take_opened(&self, offered: OfferedLanes, deadline: Deadline, opening: Opening) -> Phase {
        match opening.outcome.try_recv() {
            Ok(Ok(lanes)) => {
                crash::point!("session-lanes-mapped");
                Phase::Opened { offered, lanes }
            }
            Ok(Err(error)) => self.fail(&Ending::Refuse(Refusal::Region, error.to_string())),
            Err(TryRecvError::Empty) if !deadline.has_passed() => Phase::Opening { offered, deadline, opening },
            Err(_) => self.fail(&Ending::timed_out(self.arrivals.options.deadline)),
        }
    }

    fn fail(&self, ending: &Ending) -> Phase {
        turn_away(&self.arrivals.state, &self.socket, ending);
        Phase::Over
    }
}

impl Served for ProducerSession {
    fn fds(&self) -> Fds<'_> {
        Fds { socket: self.socket.as_fd(), process: self.producer.pidfd() }
    }

    /// Once its Offer has come, nothing more is heard of it before it is attached to: it may be gone already.
    fn watched(&self) -> WatchedFds {
        let is_greeting = matches!(self.phase, Phase::Greeting(_));
        WatchedFds { socket: is_greeting, process: is_greeting && !self.producer.is_dead() }
    }

    fn deadline(&self) -> Option<Instant> {
        match &self.phase {
            Phase::Greeting(Greeting { deadline: Deadline::At(at), .. }) => {
                Some(self.producer.look_at().map_or(*at, |look_at| look_at.min(*at)))
            }
            Phase::Opening { deadline: Deadline::At(at), .. } => Some(*at),
            _ => None,
        }
    }

    fn on_ready(&mut self, now: Instant, readable: Readable) {
        let death = self.producer.note(now, readable.process);
        let readable = Readable { process: death.is_seen, ..readable };
        self.phase = match mem::replace(&mut self.phase, Phase::Over) {
            Phase::Greeting(Greeting { deadline, .. }) if deadline.has_passed() => {
                self.fail(&Ending::timed_out(self.arrivals.options.deadline))
            }
            Phase::Greeting(greeting) => self.greet(greeting, readable).unwrap_or_else(|ending| self.fail(&ending)),
            Phase::Opening { offered, deadline, opening } => self.take_opened(offered, deadline, opening),
            phase @ (Phase::Opened { .. } | Phase::Over) => phase,
        };
    }

    fn end(&mut self, ending: Ending) {
        if matches!(self.phase, Phase::Greeting(_) | Phase::Opening { .. }) {
            self.phase = self.fail(&ending);
        }
    }

    fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Opened { .. } | Phase::Over)
    }

    /// Hands the session to the program.
    fn conclude(self: Box<Self>) {
        let Self { arrivals, socket, producer, phase } = *self;
        if let Phase::Opened { offered: OfferedLanes { handshake, infos, place }, lanes } = phase {
            let (options, guard) = (arrivals.options.clone(), arrivals.guard);
            arrivals.push(Session::arrived(socket, producer.peer, handshake, (lanes, infos), options, guard, place));
        }
    }

    /// Nobody takes a session that is not there yet when the listening ends.
    fn is_idle(&self) -> bool {
        true
    }

    fn abandon(&self) {
        self.socket.tell(&closing());
    }
}

impl Drop for Arrivals {
    /// Tells those that wait to be taken that nobody will.
    fn drop(&mut self) {
        if self.guard.is_child() {
            return;
        }
        let closing = closing();
        self.opened.get_mut().iter().for_each(|session| session.tell(&closing));
    }
}

/// What those are told who came too late.
fn closing() -> Frame {
    Frame::Refuse(Refuse::new(Refusal::Closing, "the consumer listens no longer"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::region::testing::in_forked_child;
    use crate::session::shared::NewsKind;

    #[test]
    fn a_place_that_a_forked_child_drops_waits_for_nobody_and_stays_taken() {
        let (state, guard) = (Arc::new(StewardState::new(NewsKind::Sessions).unwrap()), ForkGuard::get().unwrap());
        let places = Arc::new(SessionPlaces { taken: Mutex::default(), state, guard });
        let mut place = places.take(1);
        let taken = places.taken.lock();
        assert!(in_forked_child(|| place.take().is_some()));
        drop(taken);
        assert!(places.take(1).is_none());
        drop(place);
        assert!(places.take(1).is_some());
    }
}
