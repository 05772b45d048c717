//! What a producer waits for: room in its ring, and consumers.
//!
//! The invariant: a wait ends with what it was for, or at its deadline, and says then what was missing.

use super::{Producer, SendError};
use crate::deadline::Deadline;
use crate::error::{Error, Result};
use crate::lane::ConsumerInfo;
use crate::os::futex;
use crate::os::spin::spin_until;
use crate::ring::roster::Gate;
use crate::ring::writer::{Claim, Room};
use std::time::Duration;

impl Producer {
    /// Waits until at least `count` consumers have a seat on this lane: what is sent from then on reaches them.
    ///
    /// ```
    /// use fdring::{Consumer, Producer, Server};
    /// use std::time::Duration;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let mut ticks = Producer::create("ticks")?;
    /// let server = Server::listen("@doc-wait-for-consumers", [&ticks])?;
    /// # let consumer = Consumer::connect("@doc-wait-for-consumers")?;
    ///
    /// ticks.wait_for_consumers(1, Duration::from_secs(60))?;
    /// ticks.send(b"not in vain")?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::TimedOut`] if they are fewer after `timeout`,
    /// [`Error::Forked`] in a forked child.
    pub fn wait_for_consumers(&self, count: usize, timeout: Duration) -> Result<()> {
        self.guard.check()?;
        let (roster, deadline) = (&self.lane.roster, Deadline::after(timeout));
        loop {
            let changed = roster.capture_changed();
            let there = roster.len();
            if there >= count {
                return Ok(());
            }
            if deadline.has_passed() {
                let doing = format!("waiting for {count} consumers of lane {}, {there} are there", self.lane().name);
                return Err(Error::TimedOut { doing, limit: timeout });
            }
            futex::wait(changed, None, deadline);
        }
    }

    /// Room for a record that does not fit below `intent`: looks at the seats, then spins, then sleeps.
    #[cold]
    pub(super) fn wait_for_room(&mut self, len: u64, deadline: Deadline) -> Result<Claim, SendError> {
        let Self { publisher, lane, .. } = self;
        let roster = &lane.roster;
        // Possibly full: consumers may have released more since the last look.
        let mut gate = match publisher.find_room(roster, len) {
            Ok(claim) => return Ok(claim),
            Err(gate) if deadline == Deadline::Now => {
                return Err(SendError::Full { consumer: self.slow_consumer(gate) });
            }
            Err(gate) => gate,
        };
        // Really full.
        publisher.writer.count_block();
        if let Some(claim) = spin_until(self.spin, deadline, |_| publisher.find_room(roster, len).ok()) {
            return Ok(claim);
        }
        while !deadline.has_passed() {
            match publisher.sleep_for_space(roster, len, deadline) {
                Ok(claim) => return Ok(claim),
                Err(now) => gate = now,
            }
        }
        Err(SendError::TimedOut { consumer: self.slow_consumer(gate) })
    }

    /// As `wait_for_room`, for a batch that has come as far as `room`; what its room is then.
    #[cold]
    pub(super) fn claim_beyond(
        &mut self,
        room: Room,
        len: u64,
        deadline: Deadline,
    ) -> Result<(Claim, Room), SendError> {
        self.publisher.writer.resume(room);
        let claim = match self.publisher.writer.claim(len) {
            Some(claim) => claim,
            None => self.wait_for_room(len, deadline)?,
        };
        Ok((claim, self.publisher.writer.room()))
    }

    fn slow_consumer(&self, gate: Option<Gate>) -> Option<Box<ConsumerInfo>> {
        let gate = gate?;
        let seat = self.lane.roster.seat(gate.seat_id)?;
        Some(Box::new(ConsumerInfo::new(&seat, gate.behind_bytes)))
    }
}
