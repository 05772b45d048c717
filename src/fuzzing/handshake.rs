//! Handshakes: frames in any order, right, altered, repeated or relayed, into both ends' state machines.

use super::Script;
use super::frames::{alter, frame, lane_name, lane_terms};
use crate::handshake::{ConsumerHandshake, ConsumerStep, HandshakeError, ProducerHandshake, ProducerStep, START_LIMIT};
use crate::layout::Geometry;
use crate::terms::BellKind;
use crate::wire::{FRAME_MAX_BYTES, Frame, LaneAttach, LaneTerms};

/// How many frames one script sends at most.
const FRAMES_MAX: usize = 64;
/// The alignment of every lane's records, in bytes.
const RECORD_ALIGN: u64 = 64;

/// Plays `data` as a script: how many lanes the producer has and which the consumer wants, then frames for either.
///
/// No frame panics, each step comes at most once and in order, and after the first error everything is one.
pub fn handshake(data: &[u8]) {
    let mut script = Script::new(data);
    let geometry = Geometry::new(4096, RECORD_ALIGN as u32, 8).expect("a possible geometry");
    let lanes = lane_terms(script.below(5), geometry);
    let wanted = (0..script.below(4)).map(lane_name).collect();
    let mut ends = Ends::new(lanes, ConsumerHandshake::new(wanted).expect("few names, all different"));
    for _ in 0..FRAMES_MAX {
        if script.is_empty() {
            break;
        }
        ends.play(&mut script);
    }
}

/// What one machine has been through.
#[derive(Debug, Default)]
struct Progress {
    steps: usize,
    is_dead: bool,
    /// The lanes of the session, once they are agreed on.
    lanes: usize,
    /// Whether the machine waits for what its own side says next.
    owes_answer: bool,
}

struct Ends {
    lanes: Vec<LaneTerms>,
    producer: ProducerHandshake,
    producer_was: Progress,
    consumer: ConsumerHandshake,
    consumer_was: Progress,
    /// What either end has said so far, to be relayed.
    said: Vec<Frame>,
}

impl Ends {
    fn new(lanes: Vec<LaneTerms>, consumer: ConsumerHandshake) -> Self {
        let producer = ProducerHandshake::new(lanes.clone(), [9; 16]);
        let said = vec![consumer.hello()];
        let (producer_was, consumer_was) = (Progress::default(), Progress::default());
        Self { lanes, producer, producer_was, consumer, consumer_was, said }
    }

    fn play(&mut self, script: &mut Script<'_>) {
        let action = script.u8();
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
        if action & 4 == 0 { self.tell_producer(frame, answers) } else { self.tell_consumer(frame, answers, script) }
    }

    fn tell_producer(&mut self, frame: Frame, answers: bool) {
        let (step, was) = (self.producer.on_frame(frame), &mut self.producer_was);
        match step {
            Ok(step) => {
                assert!(!was.is_dead && !was.owes_answer, "a step after the end, or before the answer: {step:?}");
                let order = match &step {
                    ProducerStep::Offer { lanes, version } => {
                        assert!(*version == 1 && !lanes.is_empty() && lanes.len() <= self.lanes.len());
                        was.lanes = lanes.len();
                        was.owes_answer = false;
                        self.said.push(checked(self.producer.offer_frame(BellKind::Eventfd)));
                        1
                    }
                    ProducerStep::Attach(terms) => {
                        assert_eq!(terms.len(), was.lanes);
                        was.owes_answer = !answers;
                        if answers {
                            self.said.push(checked(self.producer.attached(vec![RECORD_ALIGN; terms.len()])));
                        }
                        2
                    }
                    ProducerStep::Bye(_) => {
                        was.is_dead = true;
                        3
                    }
                };
                was.steps += 1;
                assert_eq!(was.steps, order, "a step that comes twice, or too early: {step:?}");
            }
            Err(error) => failed(was, &error),
        }
    }

    fn tell_consumer(&mut self, frame: Frame, answers: bool, script: &mut Script<'_>) {
        let (step, was) = (self.consumer.on_frame(frame), &mut self.consumer_was);
        match step {
            Ok(step) => {
                assert!(!was.is_dead && !was.owes_answer, "a step after the end, or before the answer: {step:?}");
                let order = match &step {
                    ConsumerStep::Offer(offer) => {
                        was.lanes = offer.lanes.len();
                        was.owes_answer = !answers;
                        if answers {
                            let terms = vec![copying(script); was.lanes];
                            self.said.push(checked(self.consumer.attach(terms)));
                        }
                        1
                    }
                    ConsumerStep::Attached(starts) => {
                        assert_eq!(starts.len(), was.lanes);
                        assert!(starts.iter().all(|start| start % RECORD_ALIGN == 0 && *start < START_LIMIT));
                        2
                    }
                    ConsumerStep::Bye(_) => {
                        was.is_dead = true;
                        3
                    }
                };
                was.steps += 1;
                assert_eq!(was.steps, order, "a step that comes twice, or too early: {step:?}");
            }
            Err(error) => failed(was, &error),
        }
    }
}

/// The machine dies once, and says why once.
fn failed(was: &mut Progress, error: &HandshakeError) {
    if was.is_dead {
        assert_eq!(*error, HandshakeError::Over);
    } else {
        assert_ne!(*error, HandshakeError::Over, "a machine that lived was over");
    }
    was.is_dead = true;
    if let Some(refusal) = error.refuse_frame() {
        checked(refusal);
    }
}

/// What a side says is a frame.
fn checked(frame: Frame) -> Frame {
    let bytes = frame.encode();
    assert!(bytes.len() <= FRAME_MAX_BYTES);
    assert_eq!(Frame::parse(&bytes, frame.fd_count()).as_ref(), Ok(&frame));
    frame
}

fn copying(script: &mut Script<'_>) -> LaneAttach {
    use crate::terms::{Access, Barrier, Delivery, Start};
    LaneAttach {
        delivery: Delivery::Lossless,
        start: script.choose(Start::ALL),
        access: script.choose(Access::ALL),
        barrier: Barrier::Fence,
    }
}

trait EncodeIfPossible {
    /// The bytes; none for a frame about no lanes, which has no encoding.
    fn encode_if_possible(&self) -> Vec<u8>;
}

impl EncodeIfPossible for Frame {
    fn encode_if_possible(&self) -> Vec<u8> {
        let is_empty = match self {
            Self::Offer(offer) => offer.lanes.is_empty(),
            Self::Attach(lanes) => lanes.is_empty(),
            _ => false,
        };
        if is_empty { Vec::new() } else { self.encode() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the machines promise is looked for only where scripts come far enough.
    #[test]
    fn a_script_in_order_takes_both_ends_through_every_step() {
        // As the seed called in-order.
        let mut script = Script::new(&[2, 0, 0x12, 0x16, 0, 1, 0x12, 0x16, 0x10, 7, 1, 0x14, 7, 1]);
        let lanes = lane_terms(script.below(5), Geometry::new(4096, 64, 8).unwrap());
        assert_eq!(script.below(4), 0);
        let mut ends = Ends::new(lanes, ConsumerHandshake::new(Vec::new()).unwrap());
        while !script.is_empty() {
            ends.play(&mut script);
        }
        assert_eq!((ends.producer_was.steps, ends.consumer_was.steps), (3, 3));
    }
}
