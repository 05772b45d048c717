//! The waits of a producer: for room in its ring, and for consumers.
//!
//! The invariant: a wait ends with success, at its deadline with an error that says what was missing, or when it is
//! interrupted.

use super::slow::SeatStand;
use super::{Producer, SendError};
use crate::deadline::Deadline;
use crate::error::{Error, Result};
use crate::lane::ConsumerInfo;
use crate::os::futex::{self, Limit};
use crate::os::interrupt::Interrupter;
use crate::policies::NoConsumer;
use crate::ring::publisher::Need;
use crate::ring::roster::Gate;
use crate::ring::writer::{Claim, Room};
use crate::trace::{LongWait, event};
use std::time::{Duration, Instant};

impl Producer {
    /// Waits until at least `count` consumers have a seat on this lane. They receive every record sent from then on.
    ///
    /// There is no form with a deadline. If several calls share one, pass the rest of it as `timeout`:
    /// `deadline.saturating_duration_since(Instant::now())`.
    ///
    /// ```
    /// use fdring::{Consumer, Producer, Server};
    /// use std::time::Duration;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let mut ticks = Producer::create("ticks")?;
    /// let server = Server::listen("@doc-wait-for-consumers", [&ticks])?;
    /// # let mut consumer = Consumer::connect("@doc-wait-for-consumers")?;
    ///
    /// ticks.wait_for_consumers(1, Duration::from_secs(60))?;
    /// ticks.send(b"somebody reads this")?;
    /// # assert_eq!(&consumer.receive()?.unwrap()[..], b"somebody reads this");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`Error::TimedOut`] if fewer than `count` consumers have a seat after `timeout`
    /// - [`Error::Interrupted`] if an [`Interrupter`] ended the wait
    /// - [`Error::Forked`] in a forked child
    pub fn wait_for_consumers(&self, count: usize, timeout: Duration) -> Result<()> {
        self.guard.check()?;
        let (roster, deadline) = (&self.lane.roster, Deadline::after(timeout));
        loop {
            let changed = roster.capture_changed();
            let there = roster.len();
            if there >= count {
                return Ok(());
            }
            let doing = || format!("waiting for {count} consumers of lane {}, {there} are there", self.lane().name);
            if self.is_interrupted() {
                return Err(Error::Interrupted { doing: doing() });
            }
            if deadline.has_passed() {
                return Err(Error::TimedOut { doing: doing(), limit: timeout });
            }
            futex::wait(changed, None, Limit::new(deadline, self.interrupter.as_ref()));
        }
    }

    /// The position up to which every consumer that is attached now has released everything, in bytes since the lane
    /// was created. Without consumers it is [`published`](Self::published). 0 in a forked child.
    ///
    /// A consumer that attaches later never begins below a position that was returned here. A consumer that is gone
    /// does not count, unless the lane keeps its place (see [`NoConsumer`]): [`wait_released`](Self::wait_released)
    /// reports whether it had released its records. Consumers release in steps of an eighth of the ring, and completely
    /// when they have read everything.
    ///
    /// ```
    /// # use fdring::{Consumer, Producer, Server, errors::ReceiveError};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut ticks = Producer::create("ticks")?;
    /// # let server = Server::listen("@doc-released", [&ticks])?;
    /// # let mut consumer = Consumer::connect("@doc-released")?;
    /// ticks.send(b"hello")?;
    /// assert_eq!((ticks.published(), ticks.released()), (16, 0));
    /// consumer.receive()?;
    /// consumer.release();
    /// assert_eq!(ticks.released(), 16);
    /// # Ok(())
    /// # }
    /// ```
    pub fn released(&self) -> u64 {
        if self.guard.is_child() {
            return 0;
        }
        self.lane.roster.find_released(&*self.lane.map, self.published()).0
    }

    /// Waits until every consumer that was to read the records up to `position` has released them. `position` is what
    /// [`Reservation::commit`](crate::parts::Reservation::commit) or [`Batch::commit`](crate::parts::Batch::commit)
    /// returned.
    ///
    /// There is no form with a deadline. If several calls share one, pass the rest of it as `timeout`:
    /// `deadline.saturating_duration_since(Instant::now())`.
    ///
    /// ```
    /// use std::time::Duration;
    /// # use fdring::{Consumer, Producer, Server};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut log = Producer::create("log")?;
    /// # let server = Server::listen("@doc-wait-released", [&log])?;
    /// # let mut consumer = Consumer::connect("@doc-wait-released")?;
    /// # let reader = std::thread::spawn(move || while let Ok(Some(_)) = consumer.receive() {});
    ///
    /// let mut batch = log.batch()?;
    /// batch.send(b"one")?;
    /// batch.send(b"two")?;
    /// let end = batch.commit();
    /// log.wait_released(end, Duration::from_secs(60))?; // all consumers have read both
    /// assert_eq!(log.released(), end);
    /// # log.finish();
    /// # reader.join().unwrap();
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`SendError::NotReleased`] if a consumer left, died or was evicted before it had released them
    /// - [`SendError::TimedOut`] after `timeout`: it names the consumer that has not released them. A `position` that
    ///   is not published yet always times out
    /// - [`SendError::Interrupted`] if an [`Interrupter`] ended the wait
    /// - [`SendError::Forked`] in a forked child
    #[doc(alias("acknowledge", "flush"))]
    pub fn wait_released(&mut self, position: u64, timeout: Duration) -> Result<(), SendError> {
        if self.guard.is_child() {
            return Err(SendError::Forked);
        }
        let deadline = Deadline::after(timeout);
        let Self { publisher, lane, interrupter, .. } = self;
        let (roster, limit) = (&lane.roster, Limit::new(deadline, interrupter.as_ref()));
        loop {
            let gate = match publisher.sleep_until(roster, limit, |publisher| publisher.is_released(roster, position)) {
                Ok(true) => return Ok(()),
                Ok(false) => return Err(SendError::NotReleased { position }),
                Err(gate) => gate,
            };
            if is_raised(interrupter) {
                return Err(SendError::Interrupted);
            }
            if deadline.has_passed() {
                return Err(SendError::TimedOut { consumer: self.slow_consumer(gate) });
            }
        }
    }

    /// Room for what does not fit below `intent`: looks at the seats, then spins, then sleeps.
    #[cold]
    pub(super) fn wait_for_room(&mut self, need: impl Into<Need>, deadline: Deadline) -> Result<Claim, SendError> {
        let need = need.into();
        self.wanted = LastNeed { need, published: self.published() };
        self.require_consumers(deadline)?;
        let Self { publisher, lane, spins, interrupter, .. } = self;
        let roster = &lane.roster;
        // Possibly full: consumers may have released more since the last look.
        let gate = match publisher.find_room(roster, need) {
            Ok(claim) => return Ok(claim),
            Err(gate) => gate,
        };
        // Really full.
        if deadline == Deadline::Now {
            return match self.judge(need)? {
                Judged { has_acted: true, .. } => self.publisher.find_room(&self.lane.roster, need),
                _ => Err(gate),
            }
            .map_err(|gate| SendError::Full { consumer: self.slow_consumer(gate) });
        }
        publisher.writer.count_block();
        let begin = Instant::now();
        let look = |_| match publisher.find_room(roster, need) {
            Ok(claim) => Some(Ok(claim)),
            Err(_) => is_raised(interrupter).then_some(Err(SendError::Interrupted)),
        };
        let outcome = match spins.spin_until(self.spin, deadline, look) {
            Some(outcome) => outcome,
            None => self.sleep_for_room(need, gate, deadline),
        };
        self.blocked.time += begin.elapsed();
        outcome
    }

    /// Sleeps until there is room, or the deadline passes. `gate` holds the lane back.
    fn sleep_for_room(&mut self, need: Need, gate: Option<Gate>, deadline: Deadline) -> Result<Claim, SendError> {
        let mut wait = LongWait::begin();
        let outcome = self.sleep_while_full(need, gate, deadline, &mut wait);
        if wait.is_told() {
            event!(
                INFO,
                "wait for room over",
                lane = &*self.lane.info.name,
                waited_ms = wait.millis(),
                has_room = outcome.is_ok()
            );
        }
        outcome
    }

    fn sleep_while_full(
        &mut self,
        need: Need,
        mut gate: Option<Gate>,
        deadline: Deadline,
        wait: &mut LongWait,
    ) -> Result<Claim, SendError> {
        while !deadline.has_passed() {
            if wait.is_news() {
                event!(
                    WARN,
                    "ring full",
                    lane = &*self.lane.info.name,
                    pid = self.slow_consumer(gate).and_then(|who| who.pid),
                    behind_bytes = gate.map(|gate| gate.behind_bytes)
                );
            }
            let Judged { until, .. } = self.judge(need)?;
            self.blocked.times_slept += 1;
            let until = deadline.min(until).min(wait.look_at());
            let limit = Limit::new(until, self.interrupter.as_ref());
            match self.publisher.sleep_for_space(&self.lane.roster, need, limit) {
                Ok(claim) => return Ok(claim),
                Err(now) => gate = now,
            }
            if self.is_interrupted() {
                return Err(SendError::Interrupted);
            }
            self.require_consumers(deadline)?;
        }
        Err(SendError::TimedOut { consumer: self.slow_consumer(gate) })
    }

    /// Whether it waits while consumers are missing that the lane wants; else that is an error.
    #[cfg(feature = "tokio")]
    pub(crate) fn waits_for_consumers(&self) -> bool {
        matches!(self.no_consumer, NoConsumer::WaitFor(_))
    }

    /// Makes sure that as many consumers are there as the lane wants, or waits for them.
    fn require_consumers(&mut self, deadline: Deadline) -> Result<(), SendError> {
        if self.no_consumer == NoConsumer::RunOn {
            return Ok(());
        }
        loop {
            let changed = self.lane.roster.capture_changed();
            let missing = self.lane.roster.missing();
            if missing == 0 {
                return Ok(());
            }
            let waits = matches!(self.no_consumer, NoConsumer::WaitFor(_));
            if waits && self.publisher.writer.has_unpublished() {
                // What a batch has committed is published before any wait.
                self.publish_batch(self.publisher.writer.room());
                continue;
            }
            if !waits || deadline.has_passed() {
                let wanted = self.no_consumer.places();
                let gone = self.vacant_places().into_iter().max_by_key(|gone| gone.behind_bytes).map(Box::new);
                return Err(SendError::TooFewConsumers { there: wanted - missing, wanted, gone });
            }
            if self.is_interrupted() {
                return Err(SendError::Interrupted);
            }
            futex::wait(changed, None, Limit::new(deadline, self.interrupter.as_ref()));
        }
    }

    /// The ring is full: evicts those who have held it back for too long, or fails because of them.
    pub(super) fn judge(&mut self, need: Need) -> Result<Judged, SendError> {
        let mut judged = Judged { has_acted: false, until: Deadline::Never };
        if self.watch.after().is_none() {
            return Ok(judged);
        }
        let (roster, published, now) = (&self.lane.roster, self.published(), Instant::now());
        let seats = roster.seats();
        let stands = seats
            .iter()
            .map(|seat| SeatStand { seat_id: seat.id(), position: published - seat.behind_bytes(published) });
        let end = need.end.unwrap_or_else(|| self.publisher.writer.end_of(need.len));
        self.watch.note(&stands.collect::<Vec<_>>(), end, now);
        for seat_id in self.watch.overdue(now) {
            let Some(seat) = seats.iter().find(|seat| seat.id() == seat_id) else { continue };
            let consumer = ConsumerInfo::new(seat, seat.behind_bytes(published));
            if !self.watch.evicts() || consumer.reads_in_place {
                return Err(SendError::TooSlow { consumer: Box::new(consumer) });
            }
            self.evict_seat(seat_id);
            judged.has_acted = true;
        }
        judged.until = self.watch.next_overdue(now).map_or(Deadline::Never, Deadline::At);
        Ok(judged)
    }

    /// Room for a record of a batch that has filled `room` so far: in it, or wherever `room` goes on then.
    ///
    /// No call here takes the address of `room`: a batch whose address is taken is in memory, where each record waits
    /// for the one before (0.6 ns).
    #[inline(always)]
    pub(super) fn claim_in(&mut self, room: &mut Room, len: u64, deadline: Deadline) -> Result<Claim, SendError> {
        if let Some(claim) = room.claim(len) {
            return Ok(claim);
        }
        self.publisher.writer.catch_up(*room);
        let claim = self.claim_closely(len, deadline)?;
        *room = self.publisher.writer.room();
        Ok(claim)
    }

    /// Like `wait_for_room`, if there may be room that a closer look finds.
    #[cold]
    fn claim_closely(&mut self, len: u64, deadline: Deadline) -> Result<Claim, SendError> {
        match self.publisher.writer.claim(len) {
            Some(claim) => Ok(claim),
            None => self.wait_for_room(len, deadline),
        }
    }

    /// Whether waits end now.
    pub(super) fn is_interrupted(&self) -> bool {
        is_raised(&self.interrupter)
    }

    fn slow_consumer(&self, gate: Option<Gate>) -> Option<Box<ConsumerInfo>> {
        let gate = gate?;
        let info = match self.lane.roster.seat(gate.seat_id) {
            Some(seat) => ConsumerInfo::new(&seat, gate.behind_bytes),
            None => self.vacant_places().into_iter().find(|gone| gone.seat_id == gate.seat_id)?,
        };
        Some(Box::new(info))
    }
}

/// Whether this interrupter ends waits now.
pub(super) fn is_raised(interrupter: &Option<Interrupter>) -> bool {
    interrupter.as_ref().is_some_and(Interrupter::is_interrupted)
}

/// What is done about slow consumers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Judged {
    /// One was evicted, or is sent no more descriptors.
    pub(super) has_acted: bool,
    /// When the next consumer will have been too slow.
    pub(super) until: Deadline,
}

/// What a call needed that found no room.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct LastNeed {
    need: Need,
    /// What was published then.
    published: u64,
}

impl LastNeed {
    /// The same need when `published` is this: the ends of several records are no longer known once others have come.
    pub(super) fn at(&self, published: u64) -> Need {
        if published == self.published { self.need } else { Need::from(self.need.len) }
    }
}
