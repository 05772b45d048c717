//! One consumer as the steward serves it: the handshake, the time it is attached, its end.
//!
//! The invariant: a consumer that reads in place keeps its seats until the kernel says that nobody maps them any more
//! (invariant 16). A hang-up, or the end of the process, only says that it is time to ask.

mod attending;
mod departing;
pub(super) mod pairing;

use super::admission::{CONNECTING, turn_away};
use super::ending::Ending;
use super::frame_socket::{FrameSocket, Heard};
use super::inquiry::Inquiry;
use super::seats::{Offered, Seats};
use super::served::{ArrivalKind, Awaited, Fds, OutcomeSender, PeerProcess, Readable, Served, WatchedFds};
use super::shared::Offering;
use super::unwelcome;
use crate::cmsg::FDS_PER_MESSAGE_MAX;
use crate::crash;
use crate::deadline::Deadline;
use crate::error::{Error, OfUser};
use crate::fds;
use crate::handshake::{Handshake, HandshakeError, Step};
use crate::lane::Lane;
use crate::link::Teller;
use crate::os::bell::Bell;
use crate::os::peer::Peer;
use crate::terms::{Access, Refusal};
use crate::trace::event;
use crate::wire::{Frame, LaneAttach};
use pairing::PairingState;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use std::io::ErrorKind;
use std::mem;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The number of retries that is assumed once the process has ended; 0 would mean that the session is attached.
const AFRESH: u32 = 1;
/// When a consumer is told again of an eviction that could not be sent.
const EVICTED_RETRY: Duration = Duration::from_millis(10);
/// The session of one consumer.
#[derive(Debug)]
pub(super) struct ConsumerSession {
    offering: Arc<Offering>,
    socket: FrameSocket,
    consumer: PeerProcess,
    phase: Phase,
    /// If the session has two directions: tells the consumer of the other one what comes.
    reader: Option<Teller>,
}

/// How far a session has come. Each phase owns what it needs.
#[derive(Debug)]
enum Phase {
    Greeting(Greeting),
    /// A session of two directions, of which not both stand.
    Pairing(Box<PairingState>),
    /// The consumer reads.
    Attached {
        handshake: Handshake,
        seats: Seats,
        /// It has asked about a lane, and is not heard before then.
        deaf_until: Option<Instant>,
    },
    /// It has hung up. The kernel is asked who still maps its seats, and was asked `retries` times before.
    Asking {
        seats: Seats,
        inquiry: Inquiry,
        retries: u32,
    },
    /// It has hung up and may still read in place. The kernel is asked again at `retry_at`, or when its process ends.
    Departing {
        seats: Seats,
        retry_at: Instant,
        retries: u32,
    },
    /// The consumer copies, and was evicted because the answer took too long. With the answer the session is over.
    Unanswered(Inquiry),
    Over,
}

/// A handshake under way.
#[derive(Debug)]
struct Greeting {
    handshake: Handshake,
    deadline: Deadline,
    stage: Stage,
    /// The program waits for it to end: it has connected to the consumer. The Hello was said at once.
    outcome: Option<OutcomeSender>,
}

impl Greeting {
    /// The process that listened, while nothing has come.
    fn awaited(&mut self) -> Option<&mut Awaited> {
        match &mut self.stage {
            Stage::Stranger { awaited, .. } => awaited.as_mut(),
            _ => None,
        }
    }

    /// When to go on although nothing has come.
    fn due_at(&self) -> Option<Instant> {
        let awaited = if let Stage::Stranger { awaited, .. } = &self.stage { awaited.as_ref() } else { None };
        Awaited::due_at(awaited, self.deadline)
    }
}

/// What is awaited of the consumer.
#[derive(Debug)]
enum Stage {
    /// A Hello, which will say who it is, unless the kernel has. `lanes` are those that can be chosen.
    Stranger { lanes: Vec<Arc<Lane>>, awaited: Option<Awaited> },
    /// A Hello.
    Known { lanes: Vec<Arc<Lane>> },
    /// An Attach.
    Offered(Offered),
}

impl ConsumerSession {
    /// A session with the consumer at the other end of `socket`, to be attached before the deadline. Where the process
    /// is not known, `socket` asks who sends.
    pub(super) fn new(
        offering: &Arc<Offering>,
        socket: FrameSocket,
        consumer: PeerProcess,
        origin: ArrivalKind,
        session_id: [u8; 16],
    ) -> Self {
        let lanes = offering.lanes.lock().clone();
        let handshake = Handshake::producer(lanes.iter().map(|lane| lane.terms.clone()).collect(), session_id);
        let (stage, outcome, until) = match origin {
            ArrivalKind::Accepted => (Stage::Known { lanes }, None, None),
            ArrivalKind::Handed => (Stage::Stranger { lanes, awaited: None }, None, None),
            ArrivalKind::Connected { listener, outcome, deadline } => {
                let awaited = Some(Awaited::new(listener));
                // The end that connects speaks first. If this fails, the consumer has hung up, and that is seen.
                socket.tell(&handshake.hello());
                crash::point!("steward-hello-sent");
                (Stage::Stranger { lanes, awaited }, Some(outcome), Some(deadline))
            }
        };
        let deadline = until.unwrap_or_else(|| Deadline::after(offering.limits.deadline));
        let phase = Phase::Greeting(Greeting { handshake, deadline, stage, outcome });
        Self { offering: Arc::clone(offering), socket, consumer, phase, reader: None }
    }

    /// Tells the consumer of the lanes that have evicted it, if it has others left.
    fn tell_evictions(&self, seats: &mut Seats) {
        if !seats.owe_word() {
            return;
        }
        let told = seats.tell_evictions(|_lane, number| {
            // It is tried again only if the queue is full. A consumer that has hung up is about to be removed.
            let sent = self.socket.send(&Frame::Evicted(number), &[]);
            let is_told = !sent.is_err_and(|error| error.kind() == ErrorKind::WouldBlock);
            if is_told {
                event!(WARN, "evicted from a lane", pid = self.consumer.peer.pid, lane = &*_lane.info.name);
            }
            is_told
        });
        self.offering.state.count(|stats| stats.evicted += told);
    }

    /// Goes on with a handshake as far as frames have come.
    fn greet(&mut self, mut greeting: Greeting, readable: Readable) -> Result<Phase, (Option<OutcomeSender>, Ending)> {
        let listener_is_dead = greeting.awaited().is_some_and(|awaited| awaited.is_found_dead(Instant::now()));
        if !readable.socket && !readable.process && !listener_is_dead {
            return Ok(Phase::Greeting(greeting));
        }
        // What was sent before a death is read before the death counts.
        loop {
            let came = match self.receive(&mut greeting) {
                Ok(came) => came,
                Err(ending) => return Err((greeting.outcome, ending)),
            };
            let Some((frame, fds)) = came else { break };
            greeting = match self.take(greeting, frame, fds)? {
                // Between its Hello and its Attach, the program starts a thread for it, or gives it up.
                Phase::Greeting(greeting) if greeting.outcome.is_some() && !readable.process => {
                    return Ok(Phase::Greeting(greeting));
                }
                Phase::Greeting(greeting) => greeting,
                phase => return Ok(phase),
            };
        }
        if readable.process || listener_is_dead && greeting.awaited().is_some() {
            return Err((greeting.outcome, Ending::HangUp("the consumer's process ended".to_owned())));
        }
        Ok(Phase::Greeting(greeting))
    }

    /// The consumer's next frame, if one has come. The first may say who it is.
    fn receive(&mut self, greeting: &mut Greeting) -> Result<Option<Heard>, Ending> {
        let of_fault = |fault| Ending::of_fault(fault, "the consumer");
        let Stage::Stranger { lanes, awaited } = &mut greeting.stage else {
            let takes_sockets = matches!(&greeting.stage, Stage::Offered(offered) if offered.takes_sockets());
            return self.socket.receive(if takes_sockets { FDS_PER_MESSAGE_MAX } else { 0 }).map_err(of_fault);
        };
        let Some((heard, sender)) = self.socket.receive_first(false).map_err(of_fault)? else { return Ok(None) };
        // Learns who the consumer is, before it is told anything of the lanes.
        let peer = Peer::met(awaited.take().map(|awaited| awaited.listener), sender);
        greeting.stage = Stage::Known { lanes: mem::take(lanes) };
        let is_admitted = self.offering.limits.peers.admits(peer.uid);
        self.consumer = PeerProcess::new(peer);
        if !is_admitted {
            return Err(Ending::forbidden(&self.consumer.peer));
        }
        Ok(Some(heard))
    }

    /// Takes a frame through the handshake, and does what it asks for.
    fn take(
        &mut self,
        greeting: Greeting,
        frame: Frame,
        fds: Vec<OwnedFd>,
    ) -> Result<Phase, (Option<OutcomeSender>, Ending)> {
        let Greeting { mut handshake, deadline, stage, outcome } = greeting;
        let says_hello = outcome.is_none();
        let step = match handshake.on_frame(frame) {
            Ok(step) => step,
            Err(error) => {
                unwelcome::close(fds);
                return Err((outcome, error.into()));
            }
        };
        if matches!(step, Step::Attach(_)) {
            // Its descriptors are the last.
            fds::refuse_fds(self.socket.as_fd());
        }
        match (step, stage) {
            (Step::Greeted { lanes: chosen }, Stage::Known { lanes }) => {
                let lanes = chosen.iter().map(|index| Arc::clone(&lanes[*index])).collect();
                let stage = match self.offer(&handshake, lanes, says_hello) {
                    Ok(offered) => Stage::Offered(offered),
                    Err(ending) => return Err((outcome, ending)),
                };
                Ok(Phase::Greeting(Greeting { handshake, deadline, stage, outcome }))
            }
            (Step::Attach(terms), Stage::Offered(offered)) => {
                let seats = match self.attach(&mut handshake, offered, &terms, fds) {
                    Ok(seats) => seats,
                    Err(ending) => return Err((outcome, ending)),
                };
                event!(
                    INFO,
                    "consumer attached",
                    pid = self.consumer.peer.pid,
                    uid = self.consumer.peer.uid,
                    lanes = terms.iter().flatten().count()
                );
                Ok(self.begin(handshake, seats, outcome))
            }
            // The handshake asks for no other step at any stage, and no other frame has descriptors.
            _ => Err((outcome, HandshakeError::Over.into())),
        }
    }

    /// The consumer is attached: counts it, and tells the program that has connected, if one has.
    fn begin(&mut self, handshake: Handshake, seats: Seats, outcome: Option<OutcomeSender>) -> Phase {
        // Counted before that program goes on.
        self.offering.state.count(|stats| {
            stats.attached += 1;
            stats.sessions += usize::from(outcome.is_some());
        });
        if outcome.is_none_or(|outcome| outcome.say(Ok(()))) {
            return Phase::Attached { handshake, seats, deaf_until: None };
        }
        // Nobody knows of this session.
        self.show_out(seats, &Ending::HangUp("the program waits for it no more".to_owned()))
    }

    /// Answers a Hello: makes the seat and the bells, and sends them with the lanes' regions.
    fn offer(&self, handshake: &Handshake, lanes: Vec<Arc<Lane>>, says_hello: bool) -> Result<Offered, Ending> {
        crash::point!("steward-hello-heard");
        let (offered, bell_ends) = Offered::new(lanes, &self.consumer.peer).map_err(Ending::own)?;
        crash::point!("steward-seat-made");
        if says_hello {
            // Back to back, so that the Hello costs no time of its own.
            self.say(&handshake.hello(), &[], "send a Hello")?;
            crash::point!("steward-hello-sent");
        }
        if offered.takes_sockets() {
            // With the Attach may come sockets for the descriptors of records.
            fds::accept_fds(self.socket.as_fd());
        }
        self.say(&handshake.offer(Bell::KIND), &offered.descriptors(&bell_ends), "send an Offer")?;
        crash::point!("steward-offer-sent");
        event!(
            DEBUG,
            "lanes offered",
            pid = self.consumer.peer.pid,
            uid = self.consumer.peer.uid,
            lanes = offered.len()
        );
        Ok(offered)
    }

    /// Sends a frame. A consumer that has hung up first may have said why, which is still to be read.
    fn say(&self, frame: &Frame, fds: &[BorrowedFd<'_>], doing: &str) -> Result<(), Ending> {
        match self.socket.send(frame, fds) {
            Err(error) if !matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset) => {
                Err(Ending::own(Error::os(doing)(error)))
            }
            _ => Ok(()),
        }
    }

    /// Answers an Attach: gives the consumer its seats, and says where it starts.
    fn attach(
        &self,
        handshake: &mut Handshake,
        offered: Offered,
        terms: &[Option<LaneAttach>],
        sockets: Vec<OwnedFd>,
    ) -> Result<Seats, Ending> {
        crash::point!("steward-attach-heard");
        let in_place = terms.iter().flatten().any(|lane| lane.access == Access::InPlace);
        let uid = self.consumer.peer.uid;
        if in_place && !self.offering.limits.in_place.admits(uid) {
            let sentence = format!("{} may not read in place here; attach as one that copies", OfUser(uid));
            unwelcome::close(sockets);
            return Err(Ending::Refuse(Refusal::Forbidden, sentence));
        }
        let (seats, starts) = offered.take(terms, sockets, &self.offering.state.notice)?;
        if let Err(error) = self.socket.send(&handshake.attached(starts), &[]) {
            seats.take_back();
            return Err(Ending::HangUp(format!("could not send an Attached: {error}")));
        }
        crash::point!("steward-attached-sent");
        Ok(seats)
    }

    /// Ends a handshake that came to nothing.
    fn fail(&mut self, outcome: Option<OutcomeSender>, ending: Ending) -> Phase {
        turn_away(&self.offering.state, &self.socket, &ending);
        if let Some(outcome) = outcome {
            let _ = outcome.say(Err(ending.into_error(CONNECTING)));
        }
        Phase::Over
    }
}

impl Served for ConsumerSession {
    fn fds(&self) -> Fds<'_> {
        Fds { socket: self.socket.as_fd(), process: self.consumer.pidfd() }
    }

    /// A session that waits only for its time, or for an answer, hears of nothing but the end of the process.
    fn watched(&self) -> WatchedFds {
        let socket =
            matches!(self.phase, Phase::Greeting(_) | Phase::Pairing(_) | Phase::Attached { deaf_until: None, .. });
        let process = !matches!(self.phase, Phase::Unanswered(_) | Phase::Over);
        WatchedFds { socket, process: process && !self.consumer.is_dead() }
    }

    fn deadline(&self) -> Option<Instant> {
        let next = match &self.phase {
            Phase::Greeting(greeting) => greeting.due_at(),
            Phase::Pairing(progress) => progress.due_at(),
            Phase::Asking { seats, inquiry, .. } if !seats.in_place() => Some(inquiry.overdue_at()),
            Phase::Departing { retry_at, .. } => Some(*retry_at),
            Phase::Attached { seats, deaf_until, .. } => {
                let retry_at = seats.owe_word().then(|| Instant::now() + EVICTED_RETRY);
                retry_at.into_iter().chain(*deaf_until).min()
            }
            _ => None,
        };
        next.into_iter().chain(self.consumer.look_at()).min()
    }

    /// Takes what the consumer has sent, evicts it, asks the kernel, or acts on its answer.
    fn on_ready(&mut self, now: Instant, readable: Readable) {
        let death = self.consumer.note(now, readable.process);
        let readable = Readable { process: death.is_seen, ..readable };
        self.phase = match mem::replace(&mut self.phase, Phase::Over) {
            Phase::Attached { seats, .. } | Phase::Departing { seats, .. } if seats.are_evicted() => self.evict(&seats),
            Phase::Greeting(Greeting { deadline, outcome, .. }) if deadline.has_passed() => {
                self.fail(outcome, Ending::timed_out(self.offering.limits.deadline))
            }
            Phase::Greeting(greeting) => match self.greet(greeting, readable) {
                Ok(Phase::Attached { handshake, seats, .. }) => self.attend(handshake, seats, None, readable),
                Ok(phase) => phase,
                Err((outcome, ending)) => self.fail(outcome, ending),
            },
            Phase::Pairing(progress) => self.pair(progress, readable),
            Phase::Attached { handshake, seats, deaf_until } => {
                let is_deaf = deaf_until.is_some_and(|until| now < until) && !readable.process;
                self.attend(handshake, seats, deaf_until.filter(|_| is_deaf), readable)
            }
            Phase::Asking { seats, inquiry, retries } => {
                let retries = if death.is_news { retries.min(AFRESH) } else { retries };
                match inquiry.answer() {
                    Some(answer) => self.on_answer(seats, &answer, retries),
                    // A consumer that copies need not be waited for. The thread is, so that there are no more threads
                    // than sessions.
                    None if !seats.in_place() && now >= inquiry.overdue_at() => {
                        self.evict(&seats);
                        Phase::Unanswered(inquiry)
                    }
                    None => Phase::Asking { seats, inquiry, retries },
                }
            }
            Phase::Unanswered(inquiry) if inquiry.answer().is_none() => Phase::Unanswered(inquiry),
            // The pauses for a living consumer are too long for a dead one: begins afresh.
            Phase::Departing { seats, .. } if death.is_news => self.ask(seats, AFRESH),
            Phase::Departing { seats, retry_at, retries } if now >= retry_at => self.ask(seats, retries + 1),
            phase @ Phase::Departing { .. } => phase,
            Phase::Unanswered(_) | Phase::Over => Phase::Over,
        };
    }

    fn end(&mut self, ending: Ending) {
        self.phase = match mem::replace(&mut self.phase, Phase::Over) {
            Phase::Greeting(Greeting { outcome, .. }) => self.fail(outcome, ending),
            Phase::Pairing(progress) => self.fail_pairing(*progress, ending),
            Phase::Attached { seats, .. } => self.show_out(seats, &ending),
            phase => phase,
        };
    }

    fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Over)
    }

    /// One that reads in place and may live keeps its seats: nobody may overwrite what it reads.
    fn take_back(&mut self) {
        let (Phase::Attached { seats, .. } | Phase::Asking { seats, .. } | Phase::Departing { seats, .. }) =
            &self.phase
        else {
            return;
        };
        if !seats.in_place() || self.consumer.is_dead() {
            self.phase = self.evict(seats);
        }
    }

    /// It is attached until the kernel has answered for the first time.
    fn is_attached(&self) -> bool {
        matches!(self.phase, Phase::Attached { .. } | Phase::Asking { retries: 0, .. })
    }

    /// The kernel is being asked whether anyone still maps the seats, and answers at once unless the consumer prevents
    /// that.
    fn is_leaving(&self, now: Instant) -> bool {
        match &self.phase {
            Phase::Greeting(_) | Phase::Pairing(_) | Phase::Attached { .. } => self.socket.has_hung_up(),
            _ => self.gone_at().is_some_and(|at| now < at),
        }
    }

    fn gone_at(&self) -> Option<Instant> {
        match &self.phase {
            Phase::Asking { inquiry, retries: 0, .. } => Some(inquiry.overdue_at()),
            _ => None,
        }
    }

    /// No lane that it has, or can still choose, will ever bring anything more.
    fn is_idle(&self) -> bool {
        match &self.phase {
            // The program gave up waiting for it.
            Phase::Greeting(Greeting { outcome: Some(_), .. }) => true,
            Phase::Greeting(Greeting { stage: Stage::Stranger { lanes, .. } | Stage::Known { lanes }, .. }) => {
                lanes.iter().all(|lane| lane.has_ended())
            }
            Phase::Greeting(Greeting { stage: Stage::Offered(offered), .. }) => offered.lanes_have_ended(),
            Phase::Attached { seats, .. } | Phase::Asking { seats, .. } | Phase::Departing { seats, .. } => {
                seats.lanes_have_ended()
            }
            // Nobody takes a session that does not stand yet when the handle is gone.
            Phase::Pairing(_) | Phase::Unanswered(_) | Phase::Over => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::os::closing::Connection;
    use crate::os::fork::ForkGuard;
    use crate::producer::Producer;
    use crate::session::PeerPolicy;
    use crate::session::attach::Attach;
    use crate::session::client::Session;
    use crate::session::shared::{Limits, NewsKind, StewardState};
    use crate::sync::Mutex;
    use crate::test_support::{DEADLINE, wait_until};
    use crate::wire::StartAt;
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair, sockopt};
    use std::sync::mpsc::{Receiver, sync_channel};

    const HEARD: Readable = Readable { socket: true, process: false };

    /// A session of this producer's with who has the other end, and its outcome.
    fn connected(producer: &Producer) -> (ConsumerSession, OwnedFd, Receiver<crate::error::Result<()>>) {
        let (ours, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
        sockopt::set_socket_passcred(&ours, true).unwrap();
        let own = || PeerPolicy::SameUser;
        let limits = Limits { sessions_max: 1, deadline: DEADLINE, peers: own(), in_place: own(), reports: own() };
        let state = Arc::new(StewardState::new(NewsKind::Statistics).unwrap());
        let lanes = Mutex::new(vec![Arc::clone(producer.owned_lane())]);
        let offering = Arc::new(Offering { limits, lanes, state, _lease: None });
        let (says, outcome) = sync_channel(1);
        let origin = ArrivalKind::Connected {
            listener: Peer::UNKNOWN,
            outcome: OutcomeSender(says),
            deadline: Deadline::after(DEADLINE),
        };
        let socket = FrameSocket::new(Connection::new(ours, ForkGuard::get().unwrap()));
        (ConsumerSession::new(&offering, socket, PeerProcess::new(Peer::UNKNOWN), origin, [1; 16]), theirs, outcome)
    }

    #[test]
    fn a_peer_that_the_program_has_connected_to_gets_no_seat_in_the_turn_of_its_hello() {
        let producer = Producer::create("lane").unwrap();
        let (mut session, theirs, outcome) = connected(&producer);
        let theirs = FrameSocket::new(Connection::new(theirs, ForkGuard::get().unwrap()));
        let (delivery, start) = (crate::terms::Delivery::Lossless, StartAt::Latest);
        let (access, barrier) = (Access::Copies, crate::terms::Barrier::Fence);
        let attach = LaneAttach { delivery, start, access, barrier, descriptors: false };
        theirs.tell(&Handshake::consumer(Vec::new()).unwrap().hello());
        theirs.tell(&Frame::Attach(vec![Some(attach)]));
        session.on_ready(Instant::now(), HEARD);
        assert!(matches!(&session.phase, Phase::Greeting(Greeting { stage: Stage::Offered(_), .. })));
        session.on_ready(Instant::now(), HEARD);
        assert!(session.is_over(), "the seat is not sealed");
        assert!(outcome.recv().unwrap().is_err());
    }

    #[test]
    fn seats_that_are_taken_back_hold_the_producer_back_no_longer() {
        let producer = Producer::create("lane").unwrap();
        let (mut session, theirs, outcome) = connected(&producer);
        let client = std::thread::spawn(move || Session::from_socket(theirs)?.attach_one(Attach::new()));
        wait_until("it is attached", || {
            session.on_ready(Instant::now(), HEARD);
            session.is_attached()
        });
        outcome.recv().unwrap().unwrap();
        assert_eq!(producer.consumers().len(), 1);
        session.take_back();
        assert!(producer.consumers().is_empty());
        assert!(session.is_over());
        let _consumer = client.join().unwrap().unwrap();
    }
}
