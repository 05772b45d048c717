//! An attached consumer: what it says, what it is told, and how often it may ask.
//!
//! The invariant: whatever it asks, it costs its producer one Report in 100 ms, and a bounded look at its queue.

use super::{ConsumerSession, Phase};
use crate::handshake::{Handshake, HandshakeError, Step};
use crate::link::Fate;
use crate::session::ending::Ending;
use crate::session::reporting::{Asker, report_of};
use crate::session::seats::Seats;
use crate::session::served::Readable;
use crate::trace::event;
use crate::wire::{Frame, QUERY_INTERVAL};
use std::time::Instant;

/// How many frames are taken of a consumer at once that is attached and asks.
const FRAMES_PER_TURN: usize = 64;

impl ConsumerSession {
    /// Goes on with a consumer that is attached, and is not heard while it is deaf to it.
    pub(super) fn attend(
        &mut self,
        mut handshake: Handshake,
        mut seats: Seats,
        deaf_until: Option<Instant>,
        readable: Readable,
    ) -> Phase {
        self.tell_evictions(&mut seats);
        if deaf_until.is_some() {
            return Phase::Attached { handshake, seats, deaf_until };
        }
        match self.listen(&mut handshake, &seats, readable) {
            Ok(deaf_until) => Phase::Attached { handshake, seats, deaf_until },
            Err(ending) => self.show_out(seats, &ending),
        }
    }

    /// Takes what an attached consumer has sent, and then the end of its process; until when nothing more is heard of
    /// it, if it has asked about a lane. So a consumer that asks without end is answered ten times a second, and costs
    /// little more. What else it has asked by then goes unanswered.
    fn listen(
        &mut self,
        handshake: &mut Handshake,
        seats: &Seats,
        readable: Readable,
    ) -> Result<Option<Instant>, Ending> {
        let mut asked = None;
        let frames_max = if readable.socket || readable.process { FRAMES_PER_TURN } else { 0 };
        for _ in 0..frames_max {
            let heard = self.socket.receive(0).map_err(|fault| Ending::of_fault(fault, "the consumer"))?;
            let Some((frame, _)) = heard else { break };
            match handshake.on_frame(frame)? {
                Step::Query { lane } => _ = asked.get_or_insert(lane),
                Step::Evicted { lane } => self.reader.iter().for_each(|reader| reader.tell_evicted(lane)),
                Step::Bye(reason) => {
                    self.reader.iter().for_each(|reader| reader.tell_end(Fate::of_bye(reason)));
                    return Err(Ending::HangUp(format!("the consumer said goodbye: {reason}")));
                }
                // The handshake asks for no other step once it is attached.
                _ => return Err(HandshakeError::Over.into()),
            }
        }
        if readable.process {
            return Err(Ending::HangUp("the consumer's process ended".to_owned()));
        }
        // Now that its queue is empty: what it asks once it has the answer is a new question.
        Ok(asked.map(|lane| {
            self.report(seats, lane);
            Instant::now() + QUERY_INTERVAL
        }))
    }

    /// Answers a question about a lane, unless the consumer's queue is full.
    fn report(&self, seats: &Seats, number: usize) {
        let Some(lane) = seats.lane(number) else { return };
        let uid = self.consumer.peer.uid;
        let asker = Asker { seat_id: seats.id(), uid, sees_all: self.offering.limits.reports.admits(uid) };
        self.socket.tell(&Frame::Report(report_of(lane, number, asker)));
        event!(TRACE, "question answered", pid = self.consumer.peer.pid, lane = &*lane.info.name);
    }
}
