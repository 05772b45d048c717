//! One direction of a session, at the end that reads its lanes: Offer, Attach, Attached, Evicted, and Reports that were
//! asked for.

use super::Step;
use super::error::HandshakeError;
use crate::wire::{Frame, LaneAttach, LaneName, Offer, Report, StartAt};
use std::mem;

/// The first start position that is taken for nonsense: at 10 GB/s a ring reaches it in 29 years.
pub(crate) const START_LIMIT: u64 = 1 << 63;

/// The lanes that this end reads, and how far that has come.
#[derive(Debug)]
pub(super) struct Incoming {
    /// The version that the Hellos have agreed on.
    version: u16,
    /// None for all.
    wanted: Vec<LaneName>,
    state: State,
}

#[derive(Debug)]
enum State {
    AwaitOffer,
    Mapping(Vec<TrackedLane>),
    AwaitAttached(Vec<TrackedLane>),
    Established(Vec<TrackedLane>),
    Over,
}

/// A lane that was offered.
#[derive(Clone, Copy, Debug)]
struct TrackedLane {
    record_align: u64,
    /// Whether it was attached to, and there was no Evicted.
    has_seat: bool,
    /// How many Queries were said that no Report has come for.
    owed_reports: u32,
    /// The position at which it is to start, if one was named.
    asked: Option<u64>,
}

impl Incoming {
    pub(super) fn new(version: u16, wanted: Vec<LaneName>) -> Self {
        Self { version, wanted, state: State::AwaitOffer }
    }

    /// Whether the Attached has come.
    pub(super) fn stands(&self) -> bool {
        matches!(self.state, State::Established(_))
    }

    pub(super) fn attach(&mut self, lanes: &[Option<LaneAttach>]) {
        let State::Mapping(mut readings) = mem::replace(&mut self.state, State::Over) else {
            panic!("an Attach answers an Offer")
        };
        assert_eq!(lanes.len(), readings.len(), "an Attach is for every lane that was offered");
        for (reading, lane) in readings.iter_mut().zip(lanes) {
            reading.has_seat = lane.is_some();
            reading.asked = match lane {
                Some(LaneAttach { start: StartAt::Position(position), .. }) => Some(*position),
                _ => None,
            };
        }
        self.state = State::AwaitAttached(readings);
    }

    /// Whether a Report may come.
    pub(super) fn awaits_report(&self) -> bool {
        matches!(&self.state, State::Established(readings) if readings.iter().any(|reading| reading.owed_reports != 0))
    }

    pub(super) fn query(&mut self, lane: usize) {
        let State::Established(readings) = &mut self.state else { panic!("a Query comes after the Attached") };
        let owed = &mut readings[lane].owed_reports;
        *owed = owed.saturating_add(1);
    }

    /// Takes a frame of the producer's.
    pub(super) fn on_frame(&mut self, frame: Frame) -> Result<Step, HandshakeError> {
        match (mem::replace(&mut self.state, State::Over), frame) {
            (State::AwaitOffer, Frame::Offer(offer)) => self.on_offer(offer),
            (State::AwaitAttached(readings), Frame::Attached(starts)) => self.on_attached(readings, starts),
            (State::Established(readings), Frame::Evicted(lane)) => self.on_evicted(readings, lane),
            (State::Established(readings), Frame::Report(report)) => self.on_report(readings, report),
            (state, frame) => Err(HandshakeError::Unexpected { came: frame.name(), awaited: state.awaited() }),
        }
    }

    /// Checks that this Offer answers the Hellos.
    fn on_offer(&mut self, offer: Offer) -> Result<Step, HandshakeError> {
        if offer.version != self.version {
            return Err(HandshakeError::ChosenVersion { came: offer.version, agreed: self.version });
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
        let aligns = offer.lanes.iter().map(|lane| lane.terms.geometry.record_align());
        let reading = |record_align| TrackedLane { record_align, has_seat: false, asked: None, owed_reports: 0 };
        self.state = State::Mapping(aligns.map(reading).collect());
        Ok(Step::Offer(offer))
    }

    /// Checks that reading can start where the producer says.
    fn on_attached(&mut self, readings: Vec<TrackedLane>, starts: Vec<u64>) -> Result<Step, HandshakeError> {
        if starts.len() != readings.len() {
            return Err(HandshakeError::Count { frame: "Attached", came: starts.len(), expected: readings.len() });
        }
        for (lane, (&start, reading)) in starts.iter().zip(&readings).enumerate() {
            if !reading.has_seat && start != 0 {
                return Err(HandshakeError::StartOfNothing { lane, start });
            }
            let align = reading.record_align;
            if start % align != 0 || start >= START_LIMIT {
                return Err(HandshakeError::StartPosition { lane, start, align });
            }
            if let Some(asked) = reading.asked.filter(|asked| *asked != start) {
                return Err(HandshakeError::OtherStart { lane, start, asked });
            }
        }
        self.state = State::Established(readings);
        Ok(Step::Attached(starts))
    }

    /// Checks that there is a seat which can be gone.
    fn on_evicted(&mut self, mut readings: Vec<TrackedLane>, lane: usize) -> Result<Step, HandshakeError> {
        let has_seat = readings.get_mut(lane).is_some_and(|reading| mem::take(&mut reading.has_seat));
        if !has_seat {
            return Err(HandshakeError::NoSeat { lane });
        }
        self.state = State::Established(readings);
        Ok(Step::Evicted { lane })
    }

    /// Checks that it was asked for. The answer to an earlier Query, which came too late, counts too.
    fn on_report(&mut self, mut readings: Vec<TrackedLane>, report: Report) -> Result<Step, HandshakeError> {
        let lane = report.lane;
        match readings.get_mut(lane).map(|reading| &mut reading.owed_reports) {
            Some(owed) if *owed != 0 => *owed -= 1,
            _ => return Err(HandshakeError::Unasked { lane }),
        }
        self.state = State::Established(readings);
        Ok(Step::Report(report))
    }
}

impl State {
    fn awaited(&self) -> &'static str {
        match self {
            Self::AwaitOffer => "an Offer",
            Self::Mapping(_) => "nothing before the Attach",
            Self::AwaitAttached(_) => "an Attached",
            Self::Established(_) => "a Bye",
            Self::Over => "nothing",
        }
    }
}
