//! One direction of a session, at the end that writes its lanes: Offer, Attach, Attached, and Queries.

use super::error::HandshakeError;
use super::{START_LIMIT, Step};
use crate::cmsg::FDS_PER_MESSAGE_MAX;
use crate::terms::{Barrier, BellKind};
use crate::wire::{Frame, LANES_PER_SESSION_MAX, LaneAttach, LaneName, LaneTerms, Offer, OfferedLane, StartAt};
use std::mem;

/// The lanes that this end offers, and how far that has come.
#[derive(Debug)]
pub(super) struct Outgoing {
    /// In the order of the session.
    lanes: Vec<LaneTerms>,
    state: State,
}

/// With an Attach it is known which of the lanes are read.
#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    AwaitAttach,
    Joining(Vec<bool>),
    Established(Vec<bool>),
    Over,
}

impl Outgoing {
    pub(super) fn new(lanes: Vec<LaneTerms>) -> Self {
        Self { lanes, state: State::AwaitAttach }
    }

    /// Whether the Attached has been said.
    pub(super) fn stands(&self) -> bool {
        matches!(self.state, State::Established(_))
    }

    pub(super) fn offer(&self, bell: BellKind) -> Vec<OfferedLane> {
        assert_eq!(self.state, State::AwaitAttach, "an Offer is made after a Hello");
        self.lanes.iter().map(|terms| OfferedLane { terms: terms.clone(), bell }).collect()
    }

    pub(super) fn attached(&mut self, starts: &[u64]) {
        let State::Joining(are_read) = mem::replace(&mut self.state, State::Over) else {
            panic!("an Attached answers an Attach")
        };
        assert_eq!(starts.len(), self.lanes.len(), "an Attached has a start for each lane");
        self.state = State::Established(are_read);
    }

    /// Takes a frame of the consumer's.
    pub(super) fn on_frame(&mut self, frame: Frame) -> Result<Step, HandshakeError> {
        match (mem::replace(&mut self.state, State::Over), frame) {
            (State::AwaitAttach, Frame::Attach(attach)) => self.on_attach(attach),
            (State::Established(are_read), Frame::Query(lane)) => self.on_query(are_read, lane),
            (state, frame) => Err(HandshakeError::Unexpected { came: frame.name(), awaited: state.awaited() }),
        }
    }

    fn on_attach(&mut self, attach: Vec<Option<LaneAttach>>) -> Result<Step, HandshakeError> {
        if attach.len() != self.lanes.len() {
            let (came, expected) = (attach.len(), self.lanes.len());
            return Err(HandshakeError::Count { frame: "Attach", came, expected });
        }
        for (lane, (terms, read)) in self.lanes.iter().zip(&attach).enumerate() {
            let Some(read) = read else { continue };
            check_start(lane, read.start, terms.geometry.record_align())?;
            if read.barrier == Barrier::Asymmetric && terms.barrier != Barrier::Asymmetric {
                return Err(HandshakeError::Unsupported("the asymmetric barrier on a lane that does not offer it"));
            }
        }
        self.state = State::Joining(attach.iter().map(Option::is_some).collect());
        Ok(Step::Attach(attach))
    }

    /// Checks that the consumer reads that lane, or did before it was evicted.
    fn on_query(&mut self, are_read: Vec<bool>, lane: usize) -> Result<Step, HandshakeError> {
        if are_read.get(lane) != Some(&true) {
            return Err(HandshakeError::NotRead { lane });
        }
        self.state = State::Established(are_read);
        Ok(Step::Query { lane })
    }
}

impl State {
    fn awaited(&self) -> &'static str {
        match self {
            Self::AwaitAttach => "an Attach",
            Self::Joining(_) => "nothing before the Attached",
            Self::Established(_) => "a Bye",
            Self::Over => "nothing",
        }
    }
}

/// Refuses a position to start at that no record can begin at.
fn check_start(lane: usize, start: StartAt, align: u64) -> Result<(), HandshakeError> {
    match start {
        StartAt::Position(start) if start % align != 0 || start >= START_LIMIT => {
            Err(HandshakeError::StartPosition { lane, start, align })
        }
        _ => Ok(()),
    }
}

/// Which of `lanes` have these names, in this order; all for no names.
pub(super) fn resolve(lanes: &[LaneTerms], wanted: &[LaneName]) -> Result<Vec<usize>, HandshakeError> {
    if lanes.is_empty() {
        return Err(HandshakeError::NoLanes);
    }
    let chosen: Vec<usize> = match wanted {
        [] if lanes.len() > LANES_PER_SESSION_MAX => return Err(HandshakeError::TooManyLanes(lanes.len())),
        [] => (0..lanes.len()).collect(),
        names => names.iter().map(|name| find(lanes, name)).collect::<Result<_, _>>()?,
    };
    match Offer::fd_count(chosen.iter().map(|index| &lanes[*index])) {
        fds if fds > FDS_PER_MESSAGE_MAX => Err(HandshakeError::TooManyDescriptors { lanes: chosen.len(), fds }),
        _ => Ok(chosen),
    }
}

fn find(lanes: &[LaneTerms], name: &LaneName) -> Result<usize, HandshakeError> {
    lanes.iter().position(|lane| lane.name == *name).ok_or_else(|| {
        let offered: Vec<&str> = lanes.iter().map(|lane| lane.name.as_str()).collect();
        HandshakeError::UnknownLane { name: name.to_string(), offered: offered.join(", ") }
    })
}
