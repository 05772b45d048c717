//! Handshakes: frames in any order, right, altered, repeated or relayed, into both ends' state machines.

use super::Script;
use super::frames::{alter, frame, lane_attaches, lane_name, lane_terms};
use crate::handshake::{Handshake, HandshakeError, START_LIMIT, Step};
use crate::layout::{Geometry, LaneState};
use crate::terms::BellKind;
use crate::wire::{FRAME_MAX_BYTES, Frame, LANES_PER_SESSION_MAX, LaneAttach, LaneTerms, Report, Role, StartAt};

/// How many frames one script sends at most.
const FRAMES_MAX: usize = 64;
/// The alignment of every lane's records, in bytes.
const RECORD_ALIGN: u64 = 64;
/// The roles of the two ends, by the script's choice.
const ROLES: [[Role; 2]; 6] = [
    [Role::Producer, Role::Consumer],
    [Role::Consumer, Role::Producer],
    [Role::Both, Role::Both],
    [Role::Producer, Role::Producer],
    [Role::Consumer, Role::Consumer],
    [Role::Both, Role::Consumer],
];

/// Plays `data` as a script: how many lanes the ends have and which they want, their roles, then frames for either.
///
/// No frame panics, each step comes at most once and in order, and after the first error everything is one.
pub fn handshake(data: &[u8]) {
    let mut script = Script::new(data);
    let mut ends = Ends::new(&mut script);
    for _ in 0..FRAMES_MAX {
        if script.is_empty() {
            break;
        }
        ends.play(&mut script);
    }
}

/// One machine, and what it has been through.
#[derive(Debug)]
struct End {
    machine: Handshake,
    role: Role,
    /// How many lanes it has, if it produces.
    has: usize,
    is_dead: bool,
    is_greeted: bool,
    has_said_hello: bool,
    /// How many lanes it offers, once they are agreed on; none after an Attach.
    offers: Option<usize>,
    owes_attached: bool,
    /// What it was offered and has not answered.
    was_offered: Option<usize>,
    /// Which lanes it reads, once it was attached; before, which it wants to.
    reads: Option<Vec<bool>>,
    is_attached: bool,
    /// How often it has asked about each lane without an answer.
    asked: [u32; LANES_PER_SESSION_MAX],
    /// Which of its lanes the other end reads, once that has said so.
    reads_of_other: Option<Vec<bool>>,
    steps: usize,
}

impl End {
    fn new(role: Role, lanes: &[LaneTerms], wanted: usize) -> Self {
        let wanted = (0..wanted).map(lane_name).collect();
        let machine = match role {
            Role::Producer => Ok(Handshake::producer(lanes.to_vec(), [9; 16])),
            Role::Consumer => Handshake::consumer(wanted),
            Role::Both => Handshake::both(lanes.to_vec(), [8; 16], wanted),
        };
        Self {
            machine: machine.expect("few names, all different"),
            role,
            has: lanes.len(),
            is_dead: false,
            is_greeted: false,
            has_said_hello: false,
            offers: None,
            owes_attached: false,
            was_offered: None,
            reads: None,
            is_attached: false,
            asked: [0; LANES_PER_SESSION_MAX],
            reads_of_other: None,
            steps: 0,
        }
    }

    /// Takes a frame, checks the step, and does it if `answers`; what it says.
    fn take(&mut self, frame: Frame, answers: bool, script: &mut Script<'_>) -> Vec<Frame> {
        match self.machine.on_frame(frame) {
            Ok(step) => {
                assert!(!self.is_dead, "a step after the end: {step:?}");
                assert!(self.is_greeted || matches!(step, Step::Greeted { .. }), "a step before the Hello: {step:?}");
                self.steps += 1;
                self.step(step, answers, script)
            }
            Err(error) => {
                self.fails(&error);
                Vec::new()
            }
        }
    }

    fn step(&mut self, step: Step, answers: bool, script: &mut Script<'_>) -> Vec<Frame> {
        match step {
            Step::Greeted { lanes } => {
                assert!(!self.is_greeted && lanes.iter().all(|lane| *lane < self.has));
                assert_eq!(lanes.is_empty(), self.role == Role::Consumer, "an end that produces has lanes to offer");
                self.is_greeted = true;
                let mut said = self.hello();
                if !lanes.is_empty() {
                    self.offers = Some(lanes.len());
                    said.push(checked(self.machine.offer(BellKind::Eventfd)));
                }
                said
            }
            Step::Offer(offer) => {
                assert!(self.role.consumes() && self.reads.is_none() && self.was_offered.is_none());
                assert_eq!(offer.version, 1);
                self.was_offered = Some(offer.lanes.len());
                if answers { self.attach(script) } else { Vec::new() }
            }
            Step::Attach(lanes) => {
                assert_eq!(Some(lanes.len()), self.offers.take(), "an Attach that comes twice, or for other lanes");
                assert!(lanes.iter().any(Option::is_some) && !self.owes_attached);
                self.reads_of_other = Some(lanes.iter().map(Option::is_some).collect());
                self.owes_attached = !answers;
                if !answers {
                    return Vec::new();
                }
                let starts = lanes.iter().map(|lane| match lane {
                    Some(LaneAttach { start: StartAt::Position(position), .. }) => *position,
                    Some(_) => RECORD_ALIGN,
                    None => 0,
                });
                vec![checked(self.machine.attached(starts.collect()))]
            }
            Step::Attached(starts) => {
                let reads = self.reads.as_ref().expect("an Attached answers an Attach");
                assert!(!self.is_attached && starts.len() == reads.len());
                for (start, is_read) in starts.into_iter().zip(reads) {
                    assert!(start % RECORD_ALIGN == 0 && start < START_LIMIT && (*is_read || start == 0));
                }
                self.is_attached = true;
                Vec::new()
            }
            Step::Evicted { lane } => {
                assert!(self.is_attached, "no seat was taken yet");
                let reads = self.reads.as_mut().expect("attached");
                assert!(std::mem::replace(&mut reads[lane], false), "no seat is there to lose");
                Vec::new()
            }
            Step::Query { lane } => self.answer(lane, answers, script),
            Step::Report(report) => {
                assert!(self.is_attached && self.asked[report.lane] != 0, "a Report that nobody asked for");
                self.asked[report.lane] -= 1;
                Vec::new()
            }
            Step::Bye(_) => {
                assert!(self.is_attached == self.role.consumes() && self.offers.is_none() && !self.owes_attached);
                self.is_dead = true;
                Vec::new()
            }
        }
    }

    /// Its Hello, if it has not said it.
    fn hello(&mut self) -> Vec<Frame> {
        let is_new = !std::mem::replace(&mut self.has_said_hello, true);
        is_new.then(|| checked(self.machine.hello())).into_iter().collect()
    }

    /// The answer to a question about a lane that the other end reads.
    fn answer(&self, lane: usize, answers: bool, script: &mut Script<'_>) -> Vec<Frame> {
        let is_read = self.reads_of_other.as_ref().is_some_and(|reads| reads.get(lane) == Some(&true));
        assert!(is_read && !self.owes_attached, "a question about a lane that is not read");
        if !answers {
            return Vec::new();
        }
        let (published, state) = (u64::from(script.u8()), LaneState::Open);
        vec![checked(Frame::Report(Report { lane, published, state, seats: 0, listed: Vec::new() }))]
    }

    /// Asks about a lane that it has attached to, if it has attached to any.
    fn query(&mut self, script: &mut Script<'_>) -> Vec<Frame> {
        let Some(reads) = self.reads.as_ref().filter(|_| self.is_attached && !self.is_dead) else { return Vec::new() };
        let lane = script.below(reads.len());
        self.asked[lane] += 1;
        vec![checked(self.machine.query(lane))]
    }

    fn attach(&mut self, script: &mut Script<'_>) -> Vec<Frame> {
        let count = self.was_offered.take().expect("there was an Offer");
        let lanes: Vec<Option<LaneAttach>> = lane_attaches(script, count);
        self.reads = Some(lanes.iter().map(Option::is_some).collect());
        vec![checked(self.machine.attach(lanes))]
    }

    /// The machine dies once, and says why once.
    fn fails(&mut self, error: &HandshakeError) {
        assert_eq!(self.is_dead, *error == HandshakeError::Over, "{error}");
        self.is_dead = true;
        if let Some(refusal) = error.refuse_frame() {
            checked(refusal);
        }
    }
}

struct Ends {
    lanes: Vec<LaneTerms>,
    ends: [End; 2],
    /// What either end has said so far, to be relayed.
    said: Vec<Frame>,
}

impl Ends {
    fn new(script: &mut Script<'_>) -> Self {
        let geometry = Geometry::new(4096, RECORD_ALIGN as u32, 8).expect("a possible geometry");
        let lanes = lane_terms(script.below(5), geometry);
        let choice = script.u8();
        let [first, second] = ROLES[usize::from(choice >> 2) % ROLES.len()];
        let wanted = usize::from(choice % 4);
        let mut ends = [End::new(first, &lanes, wanted), End::new(second, &lanes, wanted)];
        // The second has connected.
        let said = ends[1].hello();
        Self { lanes, ends, said }
    }

    fn play(&mut self, script: &mut Script<'_>) {
        let action = script.u8();
        if action & 8 != 0 {
            // The other end, so that this one can be asked at once.
            let said = self.ends[usize::from(action & 4 == 0)].query(script);
            self.said.extend(said);
        }
        let bytes = match action & 3 {
            0 => frame(script, &self.lanes).encode_if_possible(),
            1 => self.said[script.below(self.said.len().min(256))].encode(),
            2 => self.said.last().expect("the Hello at least").encode(),
            _ => {
                let mut bytes = frame(script, &self.lanes).encode_if_possible();
                alter(script, &mut bytes);
                bytes
            }
        };
        let fds = if bytes.len() >= 14 { usize::from(bytes[12]) } else { 0 };
        // The other frames' invariants are those of another target.
        let Ok(frame) = Frame::parse(&bytes, fds) else { return };
        // Now and then the next frame comes before the own side has answered.
        let answers = action & 0x30 != 0;
        let end = &mut self.ends[usize::from(action & 4 != 0)];
        self.said.extend(end.take(frame, answers, script));
    }
}

/// What a side says is a frame.
fn checked(frame: Frame) -> Frame {
    let bytes = frame.encode();
    assert!(bytes.len() <= FRAME_MAX_BYTES);
    assert_eq!(Frame::parse(&bytes, frame.fd_count()).as_ref(), Ok(&frame));
    frame
}

trait EncodeIfPossible {
    /// The bytes; none for an Offer of no lanes, which has no encoding.
    fn encode_if_possible(&self) -> Vec<u8>;
}

impl EncodeIfPossible for Frame {
    fn encode_if_possible(&self) -> Vec<u8> {
        let is_empty = matches!(self, Self::Offer(offer) if offer.lanes.is_empty());
        if is_empty { Vec::new() } else { self.encode() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many steps each end takes in the seed of that name.
    fn steps_of(seed: &[u8]) -> [usize; 2] {
        let mut script = Script::new(seed);
        let mut ends = Ends::new(&mut script);
        while !script.is_empty() {
            ends.play(&mut script);
        }
        ends.ends.map(|end| end.steps)
    }

    /// What the machines promise is looked for only if scripts come far enough.
    #[test]
    fn scripts_in_order_take_both_ends_through_every_step() {
        // As the seeds of these names.
        assert_eq!(steps_of(&super::super::seeds::IN_ORDER), [3, 5]);
        assert_eq!(steps_of(&super::super::seeds::BOTH_IN_ORDER), [5, 5]);
        assert_eq!(steps_of(&super::super::seeds::ASKED), [5, 5]);
    }
}
