//! What a feed has read, and so where it begins to read next. Nothing here connects or waits.
//!
//! The invariant: what was read of a lane is not read again, nor passed over without being counted as missed; a lane
//! that has ended is not read again; and another lane is begun afresh (invariant 28).

use crate::terms::Start;

/// The id of a lane.
pub(super) type LaneId = [u8; 16];

/// How far a lane was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stand {
    lane: LaneId,
    position: u64,
    /// Whether nothing comes after that any more.
    has_ended: bool,
    /// Whether to go on by the place that the lane keeps.
    resumes: bool,
}

/// Where reading begins on a lane that was joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Beginning {
    /// Records before this position were read already.
    pub(super) position: u64,
    /// What was published between where reading has stopped and where it begins; `None` on another lane.
    pub(super) missed_bytes: Option<u64>,
}

/// What to do on a lane that is on offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LaneStep {
    /// Begin here, for the first time.
    Begin(Start),
    /// Begin here, where reading has stopped.
    GoOn(Start),
    /// It has ended, and was read to its end: wait for another lane.
    Wait,
}

/// Which lane was read last, and how far.
#[derive(Clone, Copy, Debug)]
pub(super) struct Course {
    /// Where to begin on the first lane.
    first: Start,
    /// Where to begin on each lane after that.
    later: Start,
    stand: Option<Stand>,
    has_joined: bool,
}

impl Course {
    /// Nothing was read; or, as `stand` says, a lane up to a position.
    pub(super) fn new(first: Start, later: Start, stand: Option<(LaneId, u64)>) -> Self {
        let resumes = first == Start::Resume;
        let stand = stand.map(|(lane, position)| Stand { lane, position, has_ended: false, resumes });
        Self { first, later, stand, has_joined: false }
    }

    /// Up to where the lane was read that was joined last.
    pub(super) fn position(&self) -> u64 {
        self.stand.map_or(0, |stand| stand.position)
    }

    /// Whether any lane was joined yet.
    pub(super) fn has_joined(&self) -> bool {
        self.has_joined
    }

    /// What to do on this lane; `is_gone` if it was found not to have the position where reading has stopped.
    pub(super) fn step(&self, lane: LaneId, is_gone: bool) -> LaneStep {
        match self.stand.filter(|stand| stand.lane == lane) {
            Some(Stand { has_ended: true, .. }) => LaneStep::Wait,
            // A place is kept from further back: what was read of it is passed over.
            Some(Stand { resumes: true, .. }) => LaneStep::GoOn(Start::Resume),
            Some(_) if is_gone => LaneStep::GoOn(Start::Oldest),
            Some(Stand { position, .. }) => LaneStep::GoOn(Start::At(position)),
            None => LaneStep::Begin(self.beginning()),
        }
    }

    /// Where to begin on a lane that is not known.
    fn beginning(&self) -> Start {
        if self.has_joined { self.later } else { self.first }
    }

    /// This lane was joined at `start`.
    pub(super) fn join(&mut self, lane: LaneId, start: u64) -> Beginning {
        let known = self.stand.filter(|stand| stand.lane == lane);
        let beginning = match known {
            Some(Stand { position, .. }) => {
                Beginning { position: position.max(start), missed_bytes: Some(start.saturating_sub(position)) }
            }
            None => Beginning { position: start, missed_bytes: None },
        };
        let begins = [self.first, self.beginning()];
        let resumes = known.map_or(begins.contains(&Start::Resume), |stand| stand.resumes);
        self.stand = Some(Stand { lane, position: beginning.position, has_ended: false, resumes });
        self.has_joined = true;
        beginning
    }

    /// The lane that was joined last was read up to `position`, and perhaps to its end.
    pub(super) fn leave(&mut self, position: u64, has_ended: bool) {
        if let Some(stand) = &mut self.stand {
            // A lane that was joined further back has yet to come to where reading had stopped.
            stand.position = stand.position.max(position);
            stand.has_ended = has_ended;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: LaneId = [1; 16];
    const OTHER: LaneId = [2; 16];

    #[test]
    fn the_first_lane_is_begun_as_asked_and_each_later_one_as_later_ones_are() {
        let mut course = Course::new(Start::Latest, Start::Oldest, None);
        assert_eq!(course.step(ONE, false), LaneStep::Begin(Start::Latest));
        assert_eq!(course.step(OTHER, false), LaneStep::Begin(Start::Latest), "nothing was joined yet");
        assert_eq!(course.join(ONE, 64), Beginning { position: 64, missed_bytes: None });
        course.leave(128, false);
        assert_eq!(course.step(OTHER, false), LaneStep::Begin(Start::Oldest));
        assert_eq!(course.join(OTHER, 0), Beginning { position: 0, missed_bytes: None });
        assert_eq!(course.step(ONE, false), LaneStep::Begin(Start::Oldest), "only the last is remembered");
    }

    #[test]
    fn the_same_lane_goes_on_where_it_stopped_or_counts_what_is_gone() {
        let mut course = Course::new(Start::Latest, Start::Oldest, None);
        course.join(ONE, 64);
        course.leave(128, false);
        assert_eq!(course.step(ONE, false), LaneStep::GoOn(Start::At(128)));
        assert_eq!(course.join(ONE, 128), Beginning { position: 128, missed_bytes: Some(0) });
        course.leave(128, false);
        assert_eq!(course.step(ONE, true), LaneStep::GoOn(Start::Oldest));
        assert_eq!(course.join(ONE, 4096), Beginning { position: 4096, missed_bytes: Some(3968) });
    }

    #[test]
    fn a_later_lane_that_was_resumed_is_resumed_again_and_the_first_is_not() {
        let mut course = Course::new(Start::Latest, Start::Resume, None);
        course.join(ONE, 64);
        assert_eq!(course.step(ONE, false), LaneStep::GoOn(Start::At(64)));
        assert_eq!(course.step(OTHER, false), LaneStep::Begin(Start::Resume));
        course.join(OTHER, 0);
        course.leave(512, false);
        assert_eq!(course.step(OTHER, false), LaneStep::GoOn(Start::Resume));
        course.join(OTHER, 512);
        assert_eq!(course.step(OTHER, false), LaneStep::GoOn(Start::Resume));
    }

    #[test]
    fn what_a_place_keeps_twice_is_passed_over() {
        let mut course = Course::new(Start::Resume, Start::Oldest, None);
        course.join(ONE, 0);
        course.leave(512, false);
        assert_eq!(course.step(ONE, false), LaneStep::GoOn(Start::Resume));
        // The place of a lane that was begun otherwise is kept as well.
        let mut later = course;
        later.join(OTHER, 0);
        assert_eq!(later.step(OTHER, false), LaneStep::GoOn(Start::Resume));
        assert_eq!(course.join(ONE, 256), Beginning { position: 512, missed_bytes: Some(0) });
        course.leave(300, false);
        assert_eq!(course.join(ONE, 256).position, 512, "lost before it has come that far");
    }

    #[test]
    fn a_lane_that_has_ended_is_waited_past_and_one_that_was_read_elsewhere_is_gone_on_with() {
        let mut course = Course::new(Start::Latest, Start::Latest, Some((ONE, 64)));
        assert_eq!(course.step(ONE, false), LaneStep::GoOn(Start::At(64)));
        assert_eq!(course.step(OTHER, false), LaneStep::Begin(Start::Latest));
        course.join(ONE, 64);
        course.leave(640, true);
        assert_eq!(course.step(ONE, false), LaneStep::Wait);
        assert_eq!(course.step(OTHER, false), LaneStep::Begin(Start::Latest));
    }
}
