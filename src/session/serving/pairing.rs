//! A session of two directions until both stand, at either end: this end offers a lane and reads one of the peer's.
//!
//! The invariant: each direction advances by itself, and the program gets nothing before both stand. From then on the
//! session is served as any other consumer's, and what comes of the direction that is read is told to its consumer.

use super::super::admission::turn_away;
use super::super::ending::Ending;
use super::super::frame_socket::FrameSocket;
use super::super::opened::{OpenedLane, Opening, begin_opening};
use super::super::pairs::PairTerms;
use super::super::seats::{Offered, Seats};
use super::super::served::{Awaited, PeerProcess, Readable};
use super::super::shared::Offering;
use super::super::unwelcome;
use super::{ConsumerSession, Phase};
use crate::consumer::{Attachment, Consumer};
use crate::crash;
use crate::deadline::Deadline;
use crate::error::{Error, Result};
use crate::fds;
use crate::handshake::{Handshake, HandshakeError, Step};
use crate::lane::Lane;
use crate::link::{DYING_MAX, Fate, LastWords, Link, Teller};
use crate::os::barrier;
use crate::os::peer::Peer;
use crate::ring::LaneWords;
use crate::sync::Ordering;
use crate::terms::{Access, Barrier, Delivery, Refusal};
use crate::trace::event;
use crate::wire::{Frame, LaneAttach, Offer, StartAt};
use rustix::fd::{AsFd, OwnedFd};
use std::fmt;
use std::mem;
use std::sync::Arc;
use std::sync::mpsc::TryRecvError;
use std::time::{Duration, Instant};

/// What a program waits for that connects to such an end, in words that follow "while".
pub(in crate::session) const PAIRING: &str = "connecting to a service";
/// How many frames are taken at once. The handshake has fewer.
const FRAMES_PER_TURN: usize = 64;

/// A handshake of two directions.
#[derive(Debug)]
pub(in crate::session) struct Pairing {
    pub(in crate::session) handshake: Handshake,
    pub(in crate::session) terms: Arc<PairTerms>,
    /// The process that listened, until the first frame says who is there; `None` at the end that listens.
    pub(in crate::session) stranger: Option<Awaited>,
    pub(in crate::session) lane: Arc<Lane>,
    pub(in crate::session) then: Then,
}

/// What is done with the outcome: the consumer of the peer's lane, or why there is none.
pub(in crate::session) struct Then(pub(in crate::session) Box<dyn FnOnce(Result<Consumer>) + Send>);

impl fmt::Debug for Then {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Then")
    }
}

/// How far it has come.
#[derive(Debug)]
pub(super) struct PairingState {
    pairing: Pairing,
    deadline: Deadline,
    says_hello: bool,
    outgoing: OutgoingPhase,
    incoming: IncomingPhase,
}

impl PairingState {
    fn stands(&self) -> bool {
        matches!((&self.outgoing, &self.incoming), (OutgoingPhase::Stands(_), IncomingPhase::Stands(_)))
    }

    /// When to go on although nothing has come.
    pub(super) fn due_at(&self) -> Option<Instant> {
        Awaited::due_at(self.pairing.stranger.as_ref(), self.deadline)
    }
}

/// The direction that this end writes.
#[derive(Debug)]
enum OutgoingPhase {
    AwaitHello,
    Offered(Offered),
    Stands(Seats),
}

/// The direction that this end reads.
#[derive(Debug)]
enum IncomingPhase {
    AwaitHello,
    AwaitOffer,
    Opening(Opening),
    /// The Attach was sent. An eviction from now on may be that of this end.
    Attaching {
        lane: Box<OpenedLane>,
        evictions: u32,
        barrier: Barrier,
    },
    Stands(Box<Consumer>),
}

impl ConsumerSession {
    /// A session of two directions with the process at the other end of `socket`. The end that has connected does not
    /// know it yet, and says Hello at once.
    pub(in crate::session) fn pairing(
        offering: &Arc<Offering>,
        socket: FrameSocket,
        peer: PeerProcess,
        pairing: Pairing,
    ) -> Self {
        let has_connected = pairing.stranger.is_some();
        if has_connected {
            // If this fails, the peer has hung up, and that is seen.
            socket.tell(&pairing.handshake.hello());
            crash::point!("session-hello-sent");
        }
        let deadline = Deadline::after(offering.limits.deadline);
        let (outgoing, incoming) = (OutgoingPhase::AwaitHello, IncomingPhase::AwaitHello);
        let progress = PairingState { pairing, deadline, says_hello: !has_connected, outgoing, incoming };
        let phase = Phase::Pairing(Box::new(progress));
        Self { offering: Arc::clone(offering), socket, consumer: peer, phase, reader: None }
    }

    /// Goes on as far as frames have come and regions are open.
    pub(super) fn pair(&mut self, mut progress: Box<PairingState>, readable: Readable) -> Phase {
        let outcome = match progress.deadline.has_passed() {
            true => Err(Ending::timed_out(self.offering.limits.deadline)),
            false => self.go_on(&mut progress, readable),
        };
        if let Err(ending) = outcome {
            return self.fail_pairing(*progress, ending);
        }
        if !progress.stands() {
            return Phase::Pairing(progress);
        }
        let PairingState { pairing: Pairing { handshake, then, .. }, outgoing, incoming, .. } = *progress;
        let (OutgoingPhase::Stands(seats), IncomingPhase::Stands(consumer)) = (outgoing, incoming) else {
            unreachable!("both stand")
        };
        event!(INFO, "consumer attached", pid = self.consumer.peer.pid, uid = self.consumer.peer.uid, lanes = 1);
        self.offering.state.count(|stats| stats.attached += 1);
        (then.0)(Ok(*consumer));
        // It may have gone on, or ended, behind what was heard.
        self.attend(handshake, seats, None, readable)
    }

    /// Ends a handshake that came to nothing.
    pub(super) fn fail_pairing(&mut self, progress: PairingState, ending: Ending) -> Phase {
        turn_away(&self.offering.state, &self.socket, &ending);
        if let OutgoingPhase::Stands(seats) = &progress.outgoing {
            // The peer may be reading by now.
            seats.evict();
        }
        self.reader = None;
        (progress.pairing.then.0)(Err(ending.into_error(PAIRING)));
        Phase::Over
    }

    fn go_on(&mut self, progress: &mut PairingState, readable: Readable) -> Result<(), Ending> {
        let stranger = progress.pairing.stranger.as_mut();
        let listener_is_dead = stranger.is_some_and(|awaited| awaited.is_found_dead(Instant::now()));
        let is_due = readable.socket || readable.process || listener_is_dead;
        let frames_max = if is_due { FRAMES_PER_TURN } else { 0 };
        for _ in 0..frames_max {
            let Some((frame, fds)) = self.hear(progress)? else { break };
            self.take_pairing(progress, frame, fds)?;
            if progress.stands() {
                return Ok(());
            }
        }
        self.take_opened(progress)?;
        // What was sent before a death is read before the death counts.
        match readable.process || listener_is_dead && progress.pairing.stranger.is_some() {
            true => Err(Ending::HangUp("the peer's process ended".to_owned())),
            false => Ok(()),
        }
    }

    /// The peer's next frame, if one has come. The first may say who it is.
    fn hear(&mut self, progress: &mut PairingState) -> Result<Option<(Frame, Vec<OwnedFd>)>, Ending> {
        let of_fault = |fault| Ending::of_fault(fault, "the peer");
        let Some(awaited) = progress.pairing.stranger.take() else {
            let takes_offer = matches!(progress.incoming, IncomingPhase::AwaitOffer);
            let fds_max = if takes_offer { Offer::fd_count_max(1) } else { 0 };
            return self.socket.receive(fds_max).map_err(of_fault);
        };
        let Some((heard, sender)) = self.socket.receive_first(false).map_err(of_fault)? else {
            progress.pairing.stranger = Some(awaited);
            return Ok(None);
        };
        let peer = Peer::met(Some(awaited.listener), sender);
        let is_admitted = self.offering.limits.peers.admits(peer.uid);
        self.consumer = PeerProcess::new(peer);
        if is_admitted { Ok(Some(heard)) } else { Err(Ending::forbidden(&self.consumer.peer)) }
    }

    /// Takes a frame through the handshake, and does what it asks for.
    fn take_pairing(&mut self, progress: &mut PairingState, frame: Frame, fds: Vec<OwnedFd>) -> Result<(), Ending> {
        let handshake = &mut progress.pairing.handshake;
        let step = match handshake.on_frame(frame) {
            Ok(step) => step,
            Err(error) => {
                unwelcome::close(fds);
                return Err(error.into());
            }
        };
        match (step, mem::replace(&mut progress.outgoing, OutgoingPhase::AwaitHello)) {
            (Step::Greeted { .. }, OutgoingPhase::AwaitHello) => {
                let lanes = vec![Arc::clone(&progress.pairing.lane)];
                progress.outgoing = OutgoingPhase::Offered(self.offer(handshake, lanes, progress.says_hello)?);
                progress.incoming = IncomingPhase::AwaitOffer;
            }
            (Step::Attach(terms), OutgoingPhase::Offered(offered)) => {
                if terms.iter().flatten().any(|lane| lane.access == Access::InPlace) {
                    unwelcome::close(fds);
                    let sentence = "requests and replies are copied, and not read in place".to_owned();
                    return Err(Ending::Refuse(Refusal::Forbidden, sentence));
                }
                progress.outgoing = OutgoingPhase::Stands(self.attach(handshake, offered, &terms, fds)?);
            }
            (step, outgoing) => {
                progress.outgoing = outgoing;
                match step {
                    Step::Offer(offer) => self.open(progress, offer, fds)?,
                    Step::Attached(starts) => self.read(progress, &starts)?,
                    // A question may be dropped.
                    Step::Query { .. } => {}
                    Step::Evicted { .. } => return Err(Ending::HangUp("the peer took the seat away".to_owned())),
                    // The handshake asks for no other step before it stands.
                    _ => return Err(HandshakeError::Over.into()),
                }
            }
        }
        Ok(())
    }

    /// Begins to map what is offered, if that is within the limits.
    fn open(&self, progress: &mut PairingState, offer: Offer, fds: Vec<OwnedFd>) -> Result<(), Ending> {
        crash::point!("session-offer-received");
        // The Offer's descriptors are the last.
        fds::refuse_fds(self.socket.as_fd());
        if let Err(ending) = progress.pairing.terms.check(&offer) {
            unwelcome::close(fds);
            return Err(ending);
        }
        let notice = Arc::clone(&self.offering.state.notice);
        let opening = begin_opening(offer, fds, &progress.pairing.terms.session, move || notice.raise());
        progress.incoming = IncomingPhase::Opening(opening.map_err(Ending::own)?);
        Ok(())
    }

    /// Attaches to what was opened, once it is there.
    fn take_opened(&self, progress: &mut PairingState) -> Result<(), Ending> {
        let IncomingPhase::Opening(opening) = &progress.incoming else { return Ok(()) };
        let lanes = match opening.outcome.try_recv() {
            Ok(Ok(lanes)) => lanes,
            Ok(Err(error @ Error::Peer { .. })) => return Err(Ending::Refuse(Refusal::Region, error.to_string())),
            Ok(Err(error)) => return Err(Ending::own(error)),
            Err(TryRecvError::Empty) => return Ok(()),
            Err(TryRecvError::Disconnected) => {
                let fault = "the thread that opens the peer's lane has ended by a panic".to_owned();
                return Err(Ending::own(Error::Invalid(fault)));
            }
        };
        let Some(lane) = lanes.into_iter().next() else { return Err(HandshakeError::Over.into()) };
        // Read before the Attach: any later eviction may be that of this end.
        let evictions = lane.map.evictions().load(Ordering::Relaxed);
        let barrier = if barrier::can_call() { lane.terms.barrier } else { Barrier::Fence };
        let how = LaneAttach {
            delivery: Delivery::Lossless,
            start: StartAt::Oldest,
            access: Access::Copies,
            barrier,
            descriptors: false,
        };
        self.say(&progress.pairing.handshake.attach(vec![Some(how)]), &[], "send an Attach")?;
        crash::point!("session-attach-sent");
        progress.incoming = IncomingPhase::Attaching { lane: Box::new(lane), evictions, barrier };
        Ok(())
    }

    /// Makes the consumer of the lane that is read.
    fn read(&mut self, progress: &mut PairingState, starts: &[u64]) -> Result<(), Ending> {
        crash::point!("session-attached-received");
        let (IncomingPhase::Attaching { lane, evictions, barrier }, Some(start)) =
            (mem::replace(&mut progress.incoming, IncomingPhase::AwaitOffer), starts.first().copied())
        else {
            return Err(HandshakeError::Over.into());
        };
        let options = &progress.pairing.terms.session;
        let peer = self.consumer.peer.try_clone().map_err(Ending::own)?;
        // The end that listens has others to serve, and asks nobody how a peer has gone.
        let dying_max = if progress.says_hello { Duration::ZERO } else { DYING_MAX };
        let (link, teller) = Link::told(peer, dying_max).map_err(Ending::own)?;
        let OpenedLane { map: lane, seat, bell, space_bell, terms } = *lane;
        let (inbox, in_place, spin) = (None, None, options.spin);
        let attachment =
            Attachment { terms, lane, seat, bell, space_bell, inbox, barrier, start, evictions, in_place, spin };
        let guard = progress.pairing.terms.guard;
        let mut consumer = Consumer::new(attachment, Arc::new(link), guard).map_err(Ending::own)?;
        if let Some(interrupter) = &options.interrupter {
            consumer.watch_interrupter(interrupter).map_err(Ending::own)?;
        }
        self.reader = Some(teller);
        progress.incoming = IncomingPhase::Stands(Box::new(consumer));
        Ok(())
    }
}

/// Tells the consumer of the direction that is read how the session ends.
pub(super) fn tell_end(reader: &Teller, ending: &Ending) {
    match ending {
        Ending::Handshake(HandshakeError::Refused { refusal, sentence }) => {
            reader.tell_last_words(LastWords::Refused(*refusal, sentence.as_str().into()));
        }
        Ending::Handshake(_) | Ending::Refuse(..) => {
            reader.tell_last_words(LastWords::Nonsense(ending.to_answer().1.into()));
        }
        Ending::Own(..) | Ending::HangUp(_) => reader.tell_end(Fate::HungUp),
    }
}
