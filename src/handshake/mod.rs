//! One end of a session, from its first frame to its last, as a state machine without I/O.
//!
//! The invariant: a machine takes exactly the frames that the protocol allows next, each once. The first frame that is
//! none of them kills it: from then on every frame is an error, so nothing can be accepted twice or too late.
//!
//! ```text
//! one end                                    the other
//!    │ Hello{role, versions, names} ─────────────────────────────────────► │
//!    │ ◄──────────────────────────────────────────────────────────── Hello │ the same version, by the same rule
//!
//! a consumer                                 a producer                    in each direction, by itself
//!    │ ◄────────────────────────────── Offer + seat, bells, controls, data │ the lanes that the Hello named
//!    │ maps, checks; Attach ─────────────────────────────────────────────► │ joins the rosters
//!    │ ◄───────────────────────────────────────────────────────── Attached │
//!    │ ◄────────────────────────────────────────────────── Evicted, a lane │
//!    │ Query, now and then ──────────────────────────────────────────────► │
//!    │ ◄─────────────────────────────────────────────────────────── Report │
//!
//!    │ ◄─────────────────────────────── Bye ─────────────────────────────► │
//! ```
//!
//! Either may send Refuse at any time instead, and hangs up. Which end connects makes no difference here: a session
//! between a producer and a consumer has one direction, and one between two ends that are both has two. The session
//! layer moves the bytes and the descriptors, keeps the deadline, and does what the steps say; nothing here knows a
//! socket or a region.

mod error;
mod incoming;
mod outgoing;

#[cfg(test)]
mod tests;

pub(crate) use error::HandshakeError;
pub(crate) use incoming::START_LIMIT;

use crate::terms::BellKind;
use crate::wire::{
    ByeReason, Frame, FrameError, Hello, LANES_PER_SESSION_MAX, LaneAttach, LaneName, LaneTerms, Offer, Report, Role,
    SendingEnd, VERSION_MAX, VERSION_MIN, check_distinct,
};
use incoming::Incoming;
use outgoing::Outgoing;
use std::mem;

/// One end of a session.
#[derive(Debug)]
pub(crate) struct Handshake {
    role: Role,
    /// All that this end has, if it produces.
    lanes: Vec<LaneTerms>,
    session_id: [u8; 16],
    /// What this end asks for, if it consumes; none for all.
    wanted: Vec<LaneName>,
    state: State,
}

/// What this end has to do after a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// The other end has said Hello. Say [`Handshake::hello`] if that has not been said. If this end produces, make the
    /// seat and the bells of these lanes (indices into those given to the machine, in the order of the session), and
    /// send [`Handshake::offer`] with the descriptors. None if it only consumes.
    Greeted { lanes: Vec<usize> },
    /// Check and map the regions, seal the seat, and send [`Handshake::attach`].
    Offer(Offer),
    /// Check the seat, join the rosters of the lanes that are read, and send [`Handshake::attached`].
    Attach(Vec<Option<LaneAttach>>),
    /// Each lane is read from its position on. In the order of the Offer; 0 for those that are not read.
    Attached(Vec<u64>),
    /// The seat on that lane is gone.
    Evicted { lane: usize },
    /// The consumer asks about a lane that it reads. Send a Report of it, or none.
    Query { lane: usize },
    /// The answer to a [`Handshake::query`].
    Report(Report),
    /// The other end has ended the session.
    Bye(ByeReason),
}

#[derive(Debug)]
enum State {
    AwaitHello,
    Open(Directions),
    Over,
}

/// What has been agreed, and how far each direction has come.
#[derive(Debug)]
struct Directions {
    version: u16,
    /// The lanes that this end writes.
    outgoing: Option<Outgoing>,
    /// The lanes that this end reads.
    incoming: Option<Incoming>,
}

impl Handshake {
    /// The end of a producer. `lanes` are all that it has, with names and ids that are all different.
    pub(crate) fn producer(lanes: Vec<LaneTerms>, session_id: [u8; 16]) -> Self {
        Self { role: Role::Producer, lanes, session_id, wanted: Vec::new(), state: State::AwaitHello }
    }

    /// The end of a consumer. `wanted` are the lanes to ask for, none for all.
    ///
    /// # Errors
    ///
    /// More than 83 names, or one of them twice.
    pub(crate) fn consumer(wanted: Vec<LaneName>) -> Result<Self, FrameError> {
        if wanted.len() > LANES_PER_SESSION_MAX {
            return Err(FrameError::LaneCount { field: "the session", count: wanted.len(), min: 0 });
        }
        check_distinct(&wanted)?;
        Ok(Self { role: Role::Consumer, lanes: Vec::new(), session_id: [0; 16], wanted, state: State::AwaitHello })
    }

    /// The end of a process that produces lanes for the other end, and consumes those of the other end.
    ///
    /// # Errors
    ///
    /// Those of [`consumer`](Self::consumer).
    pub(crate) fn both(lanes: Vec<LaneTerms>, session_id: [u8; 16], wanted: Vec<LaneName>) -> Result<Self, FrameError> {
        Ok(Self { role: Role::Both, lanes, session_id, ..Self::consumer(wanted)? })
    }

    /// This end's first frame. The end that connected sends it at once, the end that listens at its first step at the
    /// latest.
    pub(crate) fn hello(&self) -> Frame {
        Frame::Hello(Hello::new(self.role, self.wanted.clone()))
    }

    /// Takes the next frame of the other end's.
    ///
    /// # Errors
    ///
    /// What was wrong with it; [`HandshakeError::refuse_frame`] says what to answer. The machine is dead afterwards.
    pub(crate) fn on_frame(&mut self, frame: Frame) -> Result<Step, HandshakeError> {
        match (mem::replace(&mut self.state, State::Over), frame) {
            (State::Over, _) => Err(HandshakeError::Over),
            (_, Frame::Refuse(refuse)) => Err(HandshakeError::refused(&refuse)),
            (State::AwaitHello, Frame::Hello(hello)) => self.on_hello(&hello),
            (State::Open(directions), Frame::Bye(reason)) if directions.stand() => Ok(Step::Bye(reason)),
            (_, Frame::Bye(reason)) => Err(HandshakeError::Left(reason)),
            (State::AwaitHello, frame) => Err(HandshakeError::Unexpected { came: frame.name(), awaited: "a Hello" }),
            (State::Open(mut directions), frame) => {
                let step = directions.on_frame(frame)?;
                self.state = State::Open(directions);
                Ok(step)
            }
        }
    }

    /// The Offer of the lanes that were chosen; its descriptors are the seat, then bell, control and data of each.
    ///
    /// # Panics
    ///
    /// Unless [`Step::Greeted`] has named lanes, and nothing has answered the Offer yet.
    pub(crate) fn offer(&self, bell: BellKind) -> Frame {
        let State::Open(Directions { version, outgoing: Some(outgoing), .. }) = &self.state else {
            panic!("an Offer is made after a Hello, not in {:?}", self.state)
        };
        Frame::Offer(Offer { version: *version, session_id: self.session_id, lanes: outgoing.offer(bell) })
    }

    /// The answer to an Attach: the position at which each lane starts, in the order of the Offer; 0 for those that
    /// are not read.
    ///
    /// # Panics
    ///
    /// Unless [`Step::Attach`] has come, of as many lanes, and was not answered.
    pub(crate) fn attached(&mut self, starts: Vec<u64>) -> Frame {
        let State::Open(Directions { outgoing: Some(outgoing), .. }) = &mut self.state else {
            panic!("an Attached answers an Attach, not in {:?}", self.state)
        };
        outgoing.attached(&starts);
        Frame::Attached(starts)
    }

    /// How each lane will be read, in the order of the Offer; `None` for those that are not.
    ///
    /// # Panics
    ///
    /// Unless [`Step::Offer`] has come, of as many lanes, and was not answered.
    pub(crate) fn attach(&mut self, lanes: Vec<Option<LaneAttach>>) -> Frame {
        let State::Open(Directions { incoming: Some(incoming), .. }) = &mut self.state else {
            panic!("an Attach answers an Offer, not in {:?}", self.state)
        };
        incoming.attach(&lanes);
        Frame::Attach(lanes)
    }

    /// Asks about a lane that this end reads.
    ///
    /// # Panics
    ///
    /// Unless [`Step::Attached`] has come, and no error since; if the session has no such lane.
    pub(crate) fn query(&mut self, lane: usize) -> Frame {
        let State::Open(Directions { incoming: Some(incoming), .. }) = &mut self.state else {
            panic!("a Query comes after the Attached, not in {:?}", self.state)
        };
        incoming.query(lane);
        Frame::Query(lane)
    }

    /// Whether a Report may come: a Query was said that none has come for.
    pub(crate) fn awaits_report(&self) -> bool {
        matches!(&self.state, State::Open(Directions { incoming: Some(incoming), .. }) if incoming.awaits_report())
    }

    fn on_hello(&mut self, hello: &Hello) -> Result<Step, HandshakeError> {
        if hello.role != self.role.counterpart() {
            return Err(HandshakeError::Roles { came: hello.role, here: self.role });
        }
        let version = common_version(hello)?;
        let mut directions = Directions { version, outgoing: None, incoming: None };
        let mut chosen = Vec::new();
        if hello.role.consumes() {
            chosen = outgoing::resolve(&self.lanes, &hello.wanted)?;
            directions.outgoing = Some(Outgoing::new(chosen.iter().map(|index| self.lanes[*index].clone()).collect()));
        }
        if self.role.consumes() {
            directions.incoming = Some(Incoming::new(version, self.wanted.clone()));
        }
        self.state = State::Open(directions);
        Ok(Step::Greeted { lanes: chosen })
    }
}

impl Directions {
    /// Whether every direction has come to its Attached.
    fn stand(&self) -> bool {
        self.outgoing.as_ref().is_none_or(Outgoing::stands) && self.incoming.as_ref().is_none_or(Incoming::stands)
    }

    /// Gives a frame to the direction that it belongs to, by who sends such frames.
    fn on_frame(&mut self, frame: Frame) -> Result<Step, HandshakeError> {
        match (&mut self.outgoing, &mut self.incoming) {
            (Some(outgoing), None) => outgoing.on_frame(frame),
            (None, Some(incoming)) => incoming.on_frame(frame),
            (Some(outgoing), Some(_)) if frame.sender() == SendingEnd::Consumer => outgoing.on_frame(frame),
            (_, Some(incoming)) => incoming.on_frame(frame),
            (None, None) => Err(HandshakeError::Over),
        }
    }
}

/// The newest version that both speak: the same at both ends.
fn common_version(hello: &Hello) -> Result<u16, HandshakeError> {
    let newest = hello.version_max.min(VERSION_MAX);
    if newest < hello.version_min.max(VERSION_MIN) {
        return Err(HandshakeError::Version { min: hello.version_min, max: hello.version_max });
    }
    Ok(newest)
}
