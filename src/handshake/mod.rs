//! The beginning and the end of a session, at both ends, as state machines without I/O.
//!
//! The invariant: a machine takes exactly the frames that the protocol allows next, each once. The first frame that is
//! none of them kills it: from then on every frame is an error, so nothing can be accepted twice or too late.
//!
//! ```text
//! consumer                                   producer
//!    │ Hello{consumer, versions, names} ─────────────────────────────────► │ chooses lanes and version
//!    │ ◄────────────────────────────── Offer + seat, bells, controls, data │
//!    │ maps, checks; Attach ─────────────────────────────────────────────► │ joins the rosters
//!    │ ◄───────────────────────────────────────────────────────── Attached │
//!    │ ◄─────────────────────────────── Bye ─────────────────────────────► │
//! ```
//!
//! Either may send Refuse at any time instead, and hangs up. The session layer moves the bytes and the descriptors,
//! keeps the deadline, and does what the steps say; nothing here knows a socket or a region.

mod error;

#[cfg(test)]
mod tests;

pub(crate) use error::HandshakeError;

use crate::terms::{Barrier, BellKind};
use crate::wire::{
    ByeReason, Frame, FrameError, Hello, LANES_PER_SESSION_MAX, LaneAttach, LaneName, LaneTerms, Offer, OfferedLane,
    Role, VERSION_MAX, VERSION_MIN, check_distinct,
};
use std::mem;

/// The first start position that is taken for nonsense: at 10 GB/s a ring reaches it in 29 years.
pub(crate) const START_LIMIT: u64 = 1 << 63;

/// The producer's end of one session.
#[derive(Debug)]
pub(crate) struct ProducerHandshake {
    lanes: Vec<LaneTerms>,
    session_id: [u8; 16],
    state: ProducerState,
}

/// What the producer's end has to do after a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ProducerStep {
    /// Make the seat and the bells of these lanes (indices into the lanes given to [`ProducerHandshake::new`], in the
    /// order of the session), and send [`ProducerHandshake::offer_frame`] with the descriptors.
    Offer { lanes: Vec<usize>, version: u16 },
    /// Check the seat, join the rosters, and send [`ProducerHandshake::attached`]. In the order of the session.
    Attach(Vec<LaneAttach>),
    /// The consumer has ended the session.
    Bye(ByeReason),
}

#[derive(Debug)]
enum ProducerState {
    AwaitHello,
    AwaitAttach { lanes: Vec<usize>, version: u16 },
    Joining { lanes: usize },
    Established,
    Over,
}

impl ProducerHandshake {
    /// `lanes` are all that this producer has, with names and ids that are all different.
    pub(crate) fn new(lanes: Vec<LaneTerms>, session_id: [u8; 16]) -> Self {
        Self { lanes, session_id, state: ProducerState::AwaitHello }
    }

    /// Takes the next frame of the consumer's.
    ///
    /// # Errors
    ///
    /// What was wrong with it; [`HandshakeError::refuse_frame`] says what to answer. The machine is dead afterwards.
    pub(crate) fn on_frame(&mut self, frame: Frame) -> Result<ProducerStep, HandshakeError> {
        match (mem::replace(&mut self.state, ProducerState::Over), frame) {
            (ProducerState::Over, _) => Err(HandshakeError::Over),
            (_, Frame::Refuse(refuse)) => Err(HandshakeError::refused(&refuse)),
            (ProducerState::AwaitHello, Frame::Hello(hello)) => self.on_hello(&hello),
            (ProducerState::AwaitAttach { lanes, .. }, Frame::Attach(attach)) => self.on_attach(&lanes, attach),
            (ProducerState::Established, Frame::Bye(reason)) => Ok(ProducerStep::Bye(reason)),
            (_, Frame::Bye(reason)) => Err(HandshakeError::Left(reason)),
            (state, frame) => Err(HandshakeError::Unexpected { came: frame.name(), awaited: state.awaited() }),
        }
    }

    /// The Offer of the lanes that were chosen; its descriptors are the seat, then bell, control and data of each.
    ///
    /// # Panics
    ///
    /// Unless the last step was [`ProducerStep::Offer`].
    pub(crate) fn offer_frame(&self, bell: BellKind) -> Frame {
        let ProducerState::AwaitAttach { lanes, version } = &self.state else {
            panic!("an Offer is made after a Hello, not in {:?}", self.state)
        };
        let offered = |index: &usize| OfferedLane { terms: self.lanes[*index].clone(), bell };
        let lanes = lanes.iter().map(offered).collect();
        Frame::Offer(Offer { version: *version, session_id: self.session_id, lanes })
    }

    /// The answer to an Attach: the position at which each lane starts, in the order of the session.
    ///
    /// # Panics
    ///
    /// Unless the last step was [`ProducerStep::Attach`], of as many lanes.
    pub(crate) fn attached(&mut self, starts: Vec<u64>) -> Frame {
        let ProducerState::Joining { lanes } = self.state else {
            panic!("an Attached answers an Attach, not in {:?}", self.state)
        };
        assert_eq!(starts.len(), lanes, "an Attached has a start for each lane");
        self.state = ProducerState::Established;
        Frame::Attached(starts)
    }

    fn on_hello(&mut self, hello: &Hello) -> Result<ProducerStep, HandshakeError> {
        if hello.role != Role::Consumer {
            return Err(HandshakeError::Role { came: hello.role });
        }
        let version = common_version(hello)?;
        let lanes = self.resolve(&hello.wanted)?;
        self.state = ProducerState::AwaitAttach { lanes: lanes.clone(), version };
        Ok(ProducerStep::Offer { lanes, version })
    }

    /// The lanes of these names, in this order; all for no names.
    fn resolve(&self, wanted: &[LaneName]) -> Result<Vec<usize>, HandshakeError> {
        if self.lanes.is_empty() {
            return Err(HandshakeError::NoLanes);
        }
        if !wanted.is_empty() {
            return wanted.iter().map(|name| self.find(name)).collect();
        }
        if self.lanes.len() > LANES_PER_SESSION_MAX {
            return Err(HandshakeError::TooManyLanes(self.lanes.len()));
        }
        Ok((0..self.lanes.len()).collect())
    }

    fn find(&self, name: &LaneName) -> Result<usize, HandshakeError> {
        self.lanes.iter().position(|lane| lane.name == *name).ok_or_else(|| {
            let offered: Vec<&str> = self.lanes.iter().map(|lane| lane.name.as_str()).collect();
            HandshakeError::UnknownLane { name: name.to_string(), offered: offered.join(", ") }
        })
    }

    fn on_attach(&mut self, lanes: &[usize], attach: Vec<LaneAttach>) -> Result<ProducerStep, HandshakeError> {
        if attach.len() != lanes.len() {
            return Err(HandshakeError::Count { frame: "Attach", came: attach.len(), expected: lanes.len() });
        }
        let offered = lanes.iter().map(|index| self.lanes[*index].barrier);
        if attach
            .iter()
            .zip(offered)
            .any(|(lane, offered)| lane.barrier == Barrier::Asymmetric && offered != lane.barrier)
        {
            return Err(HandshakeError::Unsupported("the asymmetric barrier on a lane that does not offer it"));
        }
        self.state = ProducerState::Joining { lanes: lanes.len() };
        Ok(ProducerStep::Attach(attach))
    }
}

impl ProducerState {
    fn awaited(&self) -> &'static str {
        match self {
            Self::AwaitHello => "a Hello",
            Self::AwaitAttach { .. } => "an Attach",
            Self::Joining { .. } => "nothing before the Attached",
            Self::Established => "a Bye",
            Self::Over => "nothing",
        }
    }
}

/// The consumer's end of one session.
#[derive(Debug)]
pub(crate) struct ConsumerHandshake {
    wanted: Vec<LaneName>,
    state: ConsumerState,
}

/// What the consumer's end has to do after a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ConsumerStep {
    /// Check and map the regions, seal the seat, and send [`ConsumerHandshake::attach`].
    Offer(Offer),
    /// The session stands; each lane is read from its position on. In the order of the Offer.
    Attached(Vec<u64>),
    /// The producer has ended the session.
    Bye(ByeReason),
}

#[derive(Debug)]
enum ConsumerState {
    AwaitOffer,
    /// The record alignment of each lane, in bytes.
    Mapping(Vec<u64>),
    AwaitAttached(Vec<u64>),
    Established,
    Over,
}

impl ConsumerHandshake {
    /// The end of a consumer that has connected, and says [`hello`](Self::hello) first. `wanted` are the lanes to ask
    /// for, none for all.
    ///
    /// # Errors
    ///
    /// More than 83 names, or one of them twice.
    pub(crate) fn new(wanted: Vec<LaneName>) -> Result<Self, FrameError> {
        if wanted.len() > LANES_PER_SESSION_MAX {
            return Err(FrameError::LaneCount { field: "the session", count: wanted.len(), min: 0 });
        }
        check_distinct(&wanted)?;
        Ok(Self { wanted, state: ConsumerState::AwaitOffer })
    }

    /// The consumer's first frame.
    pub(crate) fn hello(&self) -> Frame {
        Frame::Hello(Hello::new(Role::Consumer, self.wanted.clone()))
    }

    /// Takes the next frame of the producer's.
    ///
    /// # Errors
    ///
    /// What was wrong with it; [`HandshakeError::refuse_frame`] says what to answer. The machine is dead afterwards.
    pub(crate) fn on_frame(&mut self, frame: Frame) -> Result<ConsumerStep, HandshakeError> {
        match (mem::replace(&mut self.state, ConsumerState::Over), frame) {
            (ConsumerState::Over, _) => Err(HandshakeError::Over),
            (_, Frame::Refuse(refuse)) => Err(HandshakeError::refused(&refuse)),
            (ConsumerState::AwaitOffer, Frame::Offer(offer)) => self.on_offer(offer),
            (ConsumerState::AwaitAttached(aligns), Frame::Attached(starts)) => self.on_attached(&aligns, starts),
            (ConsumerState::Established, Frame::Bye(reason)) => Ok(ConsumerStep::Bye(reason)),
            (_, Frame::Bye(reason)) => Err(HandshakeError::Left(reason)),
            (state, frame) => Err(HandshakeError::Unexpected { came: frame.name(), awaited: state.awaited() }),
        }
    }

    /// How each lane will be read, in the order of the Offer.
    ///
    /// # Panics
    ///
    /// Unless the last step was [`ConsumerStep::Offer`], of as many lanes.
    pub(crate) fn attach(&mut self, lanes: Vec<LaneAttach>) -> Frame {
        let ConsumerState::Mapping(aligns) = mem::replace(&mut self.state, ConsumerState::Over) else {
            panic!("an Attach answers an Offer")
        };
        assert_eq!(lanes.len(), aligns.len(), "an Attach is for every lane that was offered");
        self.state = ConsumerState::AwaitAttached(aligns);
        Frame::Attach(lanes)
    }

    /// Checks that this Offer answers our Hello.
    fn on_offer(&mut self, offer: Offer) -> Result<ConsumerStep, HandshakeError> {
        if !(VERSION_MIN..=VERSION_MAX).contains(&offer.version) {
            return Err(HandshakeError::Version { min: offer.version, max: offer.version });
        }
        if !self.wanted.is_empty() {
            if offer.lanes.len() != self.wanted.len() {
                let (came, expected) = (offer.lanes.len(), self.wanted.len());
                return Err(HandshakeError::Count { frame: "Offer", came, expected });
            }
            for (lane, wanted) in offer.lanes.iter().zip(&self.wanted) {
                if lane.terms.name != *wanted {
                    let (came, wanted) = (lane.terms.name.to_string(), wanted.to_string());
                    return Err(HandshakeError::OtherLane { came, wanted });
                }
            }
        }
        let aligns = offer.lanes.iter().map(|lane| lane.terms.geometry.record_align()).collect();
        self.state = ConsumerState::Mapping(aligns);
        Ok(ConsumerStep::Offer(offer))
    }

    /// Checks that reading can start where the producer says.
    fn on_attached(&mut self, aligns: &[u64], starts: Vec<u64>) -> Result<ConsumerStep, HandshakeError> {
        if starts.len() != aligns.len() {
            return Err(HandshakeError::Count { frame: "Attached", came: starts.len(), expected: aligns.len() });
        }
        for (lane, (&start, &align)) in starts.iter().zip(aligns).enumerate() {
            if start % align != 0 || start >= START_LIMIT {
                return Err(HandshakeError::StartPosition { lane, start, align });
            }
        }
        self.state = ConsumerState::Established;
        Ok(ConsumerStep::Attached(starts))
    }
}

impl ConsumerState {
    fn awaited(&self) -> &'static str {
        match self {
            Self::AwaitOffer => "an Offer",
            Self::Mapping(_) => "nothing before the Attach",
            Self::AwaitAttached(_) => "an Attached",
            Self::Established => "a Bye",
            Self::Over => "nothing",
        }
    }
}

/// The newest version that both speak.
fn common_version(hello: &Hello) -> Result<u16, HandshakeError> {
    let newest = hello.version_max.min(VERSION_MAX);
    if newest < hello.version_min.max(VERSION_MIN) {
        return Err(HandshakeError::Version { min: hello.version_min, max: hello.version_max });
    }
    Ok(newest)
}
