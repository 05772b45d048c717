//! Sessions of two directions, as their ends hold them: one connects, the other listens, and each gets a producer and a
//! consumer.
//!
//! The invariant: both ends serve such a session alike, see [`pairing`](super::serving::pairing). Payloads are copied
//! in both directions, so neither end need trust the other.

use super::admission::turn_away;
use super::client::admits_listener;
use super::connecting::{open_socket, try_for};
use super::ending::Ending;
use super::frame_socket::FrameSocket;
use super::listener::Listener;
use super::options::SessionOptions;
use super::served::{Arrival, ArrivalKind, Awaited, Meeting, PeerProcess, Reception, Served};
use super::serving::ConsumerSession;
use super::serving::pairing::{PAIRING, Pairing, Then};
use super::shared::{Limits, NewsKind, Offering, ServerStats, StewardHandle, StewardState};
use super::{Address, PeerPolicy};
use crate::consumer::Consumer;
use crate::deadline::Deadline;
use crate::error::{Error, Result};
use crate::fds;
use crate::handshake::Handshake;
use crate::lane::{Lane, LaneOptions, random_id};
use crate::os::closing::Connection;
use crate::os::fork::ForkGuard;
use crate::os::peer::Peer;
use crate::producer::Producer;
use crate::sync::Mutex;
use crate::terms::Refusal;
use crate::wire::Offer;
use rustix::fd::{AsFd, BorrowedFd};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};

/// What an end asks of the other, and how it reads its lane.
#[derive(Clone, Debug)]
pub(crate) struct PairTerms {
    pub(crate) session: SessionOptions,
    /// The capacity of the longest ring that is mapped, in bytes.
    pub(crate) capacity_max: u64,
    /// The values that the peer's lane must have, if that matters.
    pub(crate) expected: Option<Expected>,
    pub(crate) guard: ForkGuard,
}

/// The values of a lane: the number in its schema, their alignment, and both in words.
#[derive(Clone, Debug)]
pub(crate) struct Expected {
    pub(crate) schema: u64,
    pub(crate) align: u32,
    pub(crate) in_words: String,
}

impl PairTerms {
    /// Checks that one lane is offered, within the limits, and of the values that are expected.
    pub(super) fn check(&self, offer: &Offer) -> Result<(), Ending> {
        let [lane] = &offer.lanes[..] else {
            let sentence = format!("{} lanes are offered, and one is read here; offer one", offer.lanes.len());
            return Err(Ending::Refuse(Refusal::TooManyLanes, sentence));
        };
        let (terms, most) = (&lane.terms, self.capacity_max);
        let capacity = terms.geometry.capacity();
        if capacity > most {
            let sentence = format!("a ring of {capacity} bytes is offered, and at most {most} are mapped here");
            return Err(Ending::Refuse(Refusal::Region, sentence));
        }
        if let Some(Expected { schema, align, in_words }) = &self.expected
            && (terms.schema != *schema || terms.geometry.payload_align() < u64::from(*align))
        {
            let sentence =
                format!("lane {} has other values than are expected here: {in_words}; build both alike", terms.name);
            return Err(Ending::Refuse(Refusal::Unsupported, sentence));
        }
        Ok(())
    }
}

/// One end of a session that stands.
#[derive(Debug)]
pub(crate) struct Pair {
    pub(crate) producer: Producer,
    pub(crate) consumer: Consumer,
    /// At the end that listens: its place among the most sessions.
    pub(crate) place: Option<PairPlace>,
    /// Serves the session, at the end that has connected. Dropped last.
    _steward: Option<StewardHandle>,
}

/// A place among the most sessions of an end that listens, free again once this is dropped. What the program keeps of a
/// session that is over counts, too.
#[derive(Debug)]
pub(crate) struct PairPlace(#[expect(dead_code, reason = "its count says how many there are")] Arc<()>);

/// Connects to an end that listens at `address`, and offers it a lane as `lane` says. Tries again as `terms` say, but
/// all ends at the deadline.
pub(crate) fn connect(address: &Address, lane: &LaneOptions, terms: &PairTerms, deadline: Deadline) -> Result<Pair> {
    let SessionOptions { patience, interrupter, .. } = &terms.session;
    try_for(deadline.bound(*patience), interrupter.as_ref(), || connect_once(address, lane, terms, deadline))
}

/// One try to connect.
fn connect_once(address: &Address, lane: &LaneOptions, terms: &PairTerms, until: Deadline) -> Result<Pair> {
    let guard = ForkGuard::get()?;
    let SessionOptions { deadline: limit, peers, interrupter, .. } = &terms.session;
    let (limit, interrupter) = (until.bound(*limit), interrupter.as_ref());
    let deadline = Deadline::after(limit);
    let socket = Connection::new(open_socket(address, deadline, limit, interrupter)?, guard);
    let listener = Peer::of(&socket)?;
    admits_listener(peers, &listener)?;
    let producer = lane.clone().create()?;
    let (says, outcome) = sync_channel(1);
    let guest = Guest { lane: Arc::clone(producer.owned_lane()), listener: Mutex::new(Some((listener, says))) };
    let state = Arc::new(StewardState::new(NewsKind::Statistics)?);
    producer.owned_lane().notify_end(&state.notice);
    let limit = deadline.bound(limit);
    let offering = offering(&terms.session.clone().deadline(limit), 1, &state);
    let entrance = PairEntrance { offering, terms: Arc::new(terms.clone()), role: PairRole::Guest(guest) };
    let arrival = Arrival { socket, origin: ArrivalKind::Handed };
    let meeting = Meeting { arrival, outcome: &outcome, interrupter, doing: PAIRING };
    let lanes = vec![Arc::clone(producer.owned_lane())];
    let (steward, consumer) = StewardHandle::meet(meeting, lanes, entrance, state, None, guard)?;
    Ok(Pair { producer, consumer, place: None, _steward: Some(steward) })
}

fn offering(session: &SessionOptions, sessions_max: usize, state: &Arc<StewardState>) -> Arc<Offering> {
    let limits = Limits {
        sessions_max,
        deadline: session.deadline,
        peers: session.peers.clone(),
        // `ConsumerSession::pair` refuses it to everybody.
        in_place: PeerPolicy::SameUser,
        reports: PeerPolicy::SameUser,
    };
    Arc::new(Offering { limits, lanes: Mutex::default(), state: Arc::clone(state), _lease: None })
}

/// Lets the other ends in.
#[derive(Debug)]
struct PairEntrance {
    offering: Arc<Offering>,
    terms: Arc<PairTerms>,
    role: PairRole,
}

#[derive(Debug)]
enum PairRole {
    Guest(Guest),
    Host(Arc<Host>),
}

/// The end that connects.
#[derive(Debug)]
struct Guest {
    lane: Arc<Lane>,
    /// The process that listened, and where the program waits; taken by the one connection there is.
    listener: Mutex<Option<(Peer, SyncSender<Result<Consumer>>)>>,
}

/// The end that listens.
#[derive(Debug)]
struct Host {
    /// What each session gets.
    lane: LaneOptions,
    /// Sessions that stand and the program has not taken yet; `None` once it takes no more.
    arrived: Mutex<Option<VecDeque<Pair>>>,
    /// Shared with each [`PairPlace`].
    places: Arc<()>,
    state: Arc<StewardState>,
}

impl Host {
    fn places_taken(&self) -> usize {
        Arc::strong_count(&self.places) - 1
    }

    fn push(&self, pair: Pair) {
        if let Some(arrived) = &mut *self.arrived.lock() {
            arrived.push_back(pair);
            self.state.news.raise();
        }
    }
}

impl Reception for PairEntrance {
    fn state(&self) -> &StewardState {
        &self.offering.state
    }

    fn is_full(&self, served: usize) -> bool {
        let taken = match &self.role {
            // What is served on behalf of one that has been evicted has no place any more.
            PairRole::Host(host) => served.max(host.places_taken()),
            PairRole::Guest(_) => served,
        };
        taken >= self.offering.limits.sessions_max
    }

    fn welcome(&self, Arrival { socket, .. }: Arrival, is_full: bool) -> Option<Box<dyn Served>> {
        let socket = FrameSocket::new(socket);
        match self.admit(&socket, is_full) {
            Ok((process, pairing)) => {
                // Until here the kernel has refused every message with descriptors (Linux 6.16), where this end
                // listens.
                fds::accept_fds(socket.as_fd());
                Some(Box::new(ConsumerSession::pairing(&self.offering, socket, process, pairing)))
            }
            Err(ending) => {
                turn_away(&self.offering.state, &socket, &ending);
                None
            }
        }
    }

    fn note_attached(&self, attached: usize) {
        self.offering.state.note_sessions(attached);
    }
}

impl PairEntrance {
    /// The process that has connected, as far as it is known, if it is admitted and there is room, and its handshake.
    fn admit(&self, socket: &FrameSocket, is_full: bool) -> Result<(PeerProcess, Pairing), Ending> {
        let Entrant { peer, stranger, lane, then } = match &self.role {
            PairRole::Guest(guest) => guest.meet_host()?,
            PairRole::Host(host) => {
                let peer = Peer::of(socket).map_err(|error| Ending::Own(Refusal::Descriptors, error))?;
                self.check(&peer, is_full)?;
                host.receive(peer)?
            }
        };
        let own = |error| Ending::Own(Refusal::Internal, error);
        let session_id = random_id().map_err(own)?;
        let handshake = Handshake::both(vec![lane.terms.clone()], session_id, Vec::new())
            .map_err(|error| own(Error::Invalid(error.to_string())))?;
        Ok((PeerProcess::new(peer), Pairing { handshake, terms: Arc::clone(&self.terms), stranger, lane, then }))
    }

    /// Checks that a caller may come in.
    fn check(&self, peer: &Peer, is_full: bool) -> Result<(), Ending> {
        let limits = &self.offering.limits;
        if !limits.peers.admits(peer.uid) {
            return Err(Ending::forbidden(peer));
        }
        if is_full {
            let most = limits.sessions_max;
            let sentence = format!("all {most} places for callers are taken (`callers_max`); try again later");
            return Err(Ending::Refuse(Refusal::Busy, sentence));
        }
        Ok(())
    }
}

/// The other end of a session that begins.
struct Entrant {
    peer: Peer,
    /// The process that listened, until the first frame says who is there.
    stranger: Option<Awaited>,
    /// What it is offered.
    lane: Arc<Lane>,
    then: Then,
}

impl Guest {
    /// The one connection of an end that has connected.
    fn meet_host(&self) -> Result<Entrant, Ending> {
        let Some((listener, says)) = self.listener.lock().take() else {
            return Err(Ending::HangUp("there is one connection".to_owned()));
        };
        let then = Then(Box::new(move |outcome| _ = says.send(outcome)));
        let (stranger, lane) = (Some(Awaited::new(listener)), Arc::clone(&self.lane));
        Ok(Entrant { peer: Peer::UNKNOWN, stranger, lane, then })
    }
}

impl Host {
    /// A caller that was let in: it gets a lane and a place of its own.
    fn receive(self: &Arc<Self>, peer: Peer) -> Result<Entrant, Ending> {
        let producer = self.lane.clone().create().map_err(Ending::own)?;
        let lane = Arc::clone(producer.owned_lane());
        lane.notify_end(&self.state.notice);
        let (host, place) = (Arc::clone(self), Some(PairPlace(Arc::clone(&self.places))));
        let then = Then(Box::new(move |outcome| {
            if let Ok(consumer) = outcome {
                host.push(Pair { producer, consumer, place, _steward: None });
            }
        }));
        Ok(Entrant { peer, stranger: None, lane, then })
    }
}

/// Listens for the other ends, and serves them on a thread of its own.
#[derive(Debug)]
pub(crate) struct PairListener {
    steward: StewardHandle,
    host: Arc<Host>,
    address: Address,
}

impl PairListener {
    /// Listens at `address`. `lane` says what each session is offered.
    pub(crate) fn listen(
        address: &Address,
        mode: u32,
        sessions_max: usize,
        lane: LaneOptions,
        terms: PairTerms,
    ) -> Result<Self> {
        let guard = terms.guard;
        let listener = Listener::bind(address, mode, &terms.session.peers)?;
        let state = Arc::new(StewardState::new(NewsKind::Sessions)?);
        let arrived = Mutex::new(Some(VecDeque::new()));
        let host = Arc::new(Host { lane, arrived, places: Arc::default(), state: Arc::clone(&state) });
        let offering = offering(&terms.session, sessions_max, &state);
        let entrance = PairEntrance { offering, terms: Arc::new(terms), role: PairRole::Host(Arc::clone(&host)) };
        let steward = StewardHandle::start(Some(listener), entrance, state, None, guard)?;
        Ok(Self { steward, host, address: address.clone().into_absolute() })
    }

    pub(crate) fn address(&self) -> &Address {
        &self.address
    }

    /// The session that has waited longest, if any does.
    pub(crate) fn take(&self) -> Option<Pair> {
        self.host.arrived.lock().as_mut()?.pop_front()
    }

    /// Makes the descriptor unreadable; whether no session waits to be taken, and others can come.
    pub(crate) fn arm(&self) -> bool {
        let arrived = self.host.arrived.lock();
        self.host.state.news.lower();
        arrived.as_ref().is_none_or(VecDeque::is_empty) && !self.has_ended()
    }

    /// Whether its thread has ended, by a panic.
    pub(crate) fn has_ended(&self) -> bool {
        self.steward.has_ended()
    }

    pub(crate) fn stats(&self) -> ServerStats {
        self.steward.stats()
    }
}

impl Drop for PairListener {
    /// Ends the sessions that nobody takes any more: their lanes would keep the thread.
    fn drop(&mut self) {
        if !self.steward.guard.is_child() {
            drop(self.host.arrived.lock().take());
        }
    }
}

impl AsFd for PairListener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.host.state.news.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_support::unique_name;
    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    #[test]
    fn the_end_of_the_thread_that_listens_is_news() {
        let session = SessionOptions::new();
        let terms = PairTerms { session, capacity_max: 1 << 20, expected: None, guard: ForkGuard::get().unwrap() };
        let address = Address::abstract_name(unique_name());
        let listener = PairListener::listen(&address, 0o600, 8, LaneOptions::new("lane"), terms).unwrap();
        assert!(listener.arm());
        // As its thread does that ends by a panic.
        listener.host.state.end();
        assert_eq!(poll(&mut [PollFd::new(&listener, PollFlags::IN)], Some(&Timespec::default())), Ok(1));
        assert!(!listener.arm() && listener.has_ended());
    }
}
