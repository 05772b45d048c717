//! A consumer that goes: its seats, which it keeps until the kernel says that nobody maps them any more.
//!
//! The invariant: a seat is given up once nobody can be reading by it, or once its consumer is evicted, and told so.

use super::{ConsumerSession, Phase, pairing};
use crate::crash;
use crate::region::Freeze;
use crate::session::ending::Ending;
use crate::session::inquiry::{Answer, departure_pause};
use crate::session::seats::Seats;
use crate::terms::Refusal;
use crate::trace::event;
use crate::wire::{ByeReason, Frame};
use rustix::net::{Shutdown, shutdown};
use std::time::Instant;

impl ConsumerSession {
    /// Ends the session of an attached consumer, which keeps its seats for as long as it may be reading.
    pub(super) fn show_out(&mut self, seats: Seats, ending: &Ending) -> Phase {
        self.reader.iter().for_each(|reader| pairing::tell_end(reader, ending));
        if let (Some(answer), _) = ending.to_answer() {
            // What is not implemented is no breach.
            let is_breach = !matches!(&answer, Frame::Refuse(refuse) if refuse.refusal() == Refusal::Unsupported);
            self.socket.tell(&if is_breach { Frame::Bye(ByeReason::Protocol) } else { answer });
            // A Bye is the last frame: nothing follows it, not even that this consumer was evicted.
            let _ = shutdown(&self.socket, Shutdown::Write);
        }
        self.ask(seats, 0)
    }

    /// Begins to ask the kernel whether anyone still maps the seats.
    pub(super) fn ask(&self, seats: Seats, retries: u32) -> Phase {
        let inquiry = seats.inquire(&self.offering.state.notice);
        Phase::Asking { seats, inquiry, retries }
    }

    /// Frees the seats, waits longer, or evicts the consumer, as the kernel has answered.
    pub(super) fn on_answer(&self, seats: Seats, answer: &Answer, retries: u32) -> Phase {
        if seats.are_evicted() {
            return self.evict(&seats);
        }
        crash::point!("steward-consumer-gone");
        match answer.freeze {
            Ok(Freeze::Frozen) => {
                crash::point!("steward-seat-frozen");
                let has_left = seats.have_left();
                seats.leave();
                if has_left {
                    event!(INFO, "consumer left", pid = self.consumer.peer.pid);
                    self.offering.state.count(|stats| stats.left += 1);
                } else {
                    event!(WARN, "consumer died", pid = self.consumer.peer.pid);
                    self.offering.state.count(|stats| stats.died += 1);
                }
                crash::point!("steward-left");
                Phase::Over
            }
            // Still mapped, by its process or a child of it; or a page of it is pinned; or the question failed, and the
            // consumer may still be reading.
            Ok(Freeze::StillMapped) | Err(_) if seats.in_place() => {
                // Without a descriptor of its process, the hang-up counts as its death.
                let may_live = !self.consumer.is_dead() && self.consumer.pidfd().is_some();
                let pause = departure_pause(retries, answer.took, may_live);
                // Tells the consumer that this is the end, and that nothing it sends will be read.
                let _ = shutdown(&self.socket, Shutdown::Both);
                Phase::Departing { seats, retry_at: Instant::now() + pause, retries }
            }
            // One that copies finds out by itself. One that has sealed the seals, so that the kernel cannot be asked,
            // has broken the protocol.
            _ => self.evict(&seats),
        }
    }

    /// Takes the seats away although the consumer may still be reading, and tells it.
    pub(super) fn evict(&self, seats: &Seats) -> Phase {
        crash::point!("steward-evicting");
        let evicted = seats.evict();
        crash::point!("steward-evicted");
        self.socket.tell(&Frame::Bye(ByeReason::Evicted));
        event!(WARN, "consumer evicted", pid = self.consumer.peer.pid, lanes = evicted);
        self.offering.state.count(|stats| stats.evicted += evicted);
        Phase::Over
    }
}
