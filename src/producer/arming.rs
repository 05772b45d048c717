//! What a producer waits on in a loop of its caller's: the space bells of its consumers, its roster, a timer.
//!
//! The invariant: once armed, the descriptor becomes readable if anything happens that a blocking call would have
//! returned for (invariant 27). A bell is watched for its edges, and never read; one that rings in vain again
//! and again is left out, and napped for.
//!
//! What this file does not do: whether there is room is found by [`publisher`](crate::ring::publisher).

use super::{Producer, SendError};
use crate::deadline::Deadline;
use crate::error::{Error, Result};
use crate::lane::SeatHandle;
use crate::os::interrupt::Interrupter;
use crate::os::notice::Notice;
use crate::os::poller::{Poller, Trigger};
use crate::os::timer::Timer;
use crate::os::vain::VainRings;
use crate::ring::SeatWords;
use crate::ring::roster::{Roster, Seat};
use crate::sync::Ordering;
use rustix::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, Weak};
use std::time::Duration;

/// The sources of events that are no seat, whose numbers are others.
const ROSTER: u64 = 0;
const TIMER: u64 = u64::MAX;
const INTERRUPT: u64 = u64::MAX - 1;
/// The number of events that one look takes.
const EVENTS_MAX: usize = 64;

/// The descriptors.
#[derive(Debug)]
pub(super) struct Arming {
    poller: Poller,
    /// Raised by each change of the roster.
    changed: Arc<Notice>,
    timer: Timer,
    bells: Vec<SpaceBell>,
    /// The count of the roster's changes when `bells` were those of its seats.
    roster_seen: Option<u32>,
}

/// The bell of a seat.
#[derive(Debug)]
struct SpaceBell {
    seat: Weak<Seat<SeatHandle>>,
    id: u64,
    vain_rings: VainRings,
    is_watched: bool,
}

impl Arming {
    /// `changed` is raised by each change of the roster.
    pub(super) fn new(changed: Arc<Notice>, interrupter: Option<&Interrupter>) -> Result<Self> {
        let watch = || {
            let poller = Poller::new()?;
            poller.add(&*changed, ROSTER, Trigger::Level)?;
            let timer = Timer::new()?;
            poller.add(&timer, TIMER, Trigger::Edge)?;
            if let Some(interrupter) = interrupter {
                poller.add(interrupter, INTERRUPT, Trigger::Level)?;
            }
            Ok((poller, timer))
        };
        let (poller, timer) = watch().map_err(Error::os::<rustix::io::Errno>("watch the space bells of a lane"))?;
        Ok(Self { poller, changed, timer, bells: Vec::new(), roster_seen: None })
    }

    /// Takes the events that have come, without waiting, and has the bells watched of everybody who has a seat.
    fn harvest(&mut self, roster: &Roster<SeatHandle>) -> rustix::io::Result<()> {
        loop {
            let ready = self.poller.wait::<EVENTS_MAX>(Some(Duration::ZERO))?;
            ready.tokens().iter().for_each(|token| self.note(*token));
            if ready.tokens().len() < EVENTS_MAX {
                break;
            }
        }
        let (_, changes) = roster.capture_changed();
        if self.roster_seen != Some(changes) {
            self.follow(&roster.seats());
            self.roster_seen = Some(changes);
        }
        let Self { poller, bells, .. } = self;
        bells.iter_mut().try_for_each(|bell| bell.watch(poller))
    }

    fn note(&mut self, token: u64) {
        match token {
            ROSTER => self.changed.lower(),
            INTERRUPT => {}
            // A nap is over.
            TIMER => self.bells.iter_mut().filter(|bell| !bell.is_watched).for_each(|bell| bell.vain_rings.note()),
            id => self.bells.iter_mut().filter(|bell| bell.id == id).for_each(|bell| bell.vain_rings.note()),
        }
    }

    /// Forgets those who have gone, and takes in those who have come.
    fn follow(&mut self, seats: &[Arc<Seat<SeatHandle>>]) {
        let Self { poller, bells, .. } = self;
        bells.retain_mut(|bell| {
            let is_there = seats.iter().any(|seat| seat.id() == bell.id);
            if !is_there {
                bell.leave_out(poller);
            }
            is_there
        });
        let is_new = |seat: &&Arc<Seat<SeatHandle>>| bells.iter().all(|bell| bell.id != seat.id());
        let new: Vec<_> = seats.iter().filter(is_new).map(SpaceBell::of).collect();
        bells.extend(new);
    }

    /// Makes the descriptor readable once the time is up; never for `None`.
    fn set_timer(&mut self, limit: Option<Duration>) -> rustix::io::Result<()> {
        let nap = self.bells.iter().filter_map(|bell| bell.vain_rings.length()).min();
        self.timer.set(limit.into_iter().chain(nap).min())
    }
}

impl SpaceBell {
    fn of(seat: &Arc<Seat<SeatHandle>>) -> Self {
        Self { seat: Arc::downgrade(seat), id: seat.id(), vain_rings: VainRings::default(), is_watched: false }
    }

    /// Watches the bell, or leaves it out as long as it rings in vain.
    fn watch(&mut self, poller: &Poller) -> rustix::io::Result<()> {
        let Some(seat) = self.seat.upgrade() else { return Ok(()) };
        // Relaxed: a ring that comes after it has changed is no longer in vain, whenever that is seen.
        let consumed = seat.port().consumed().load(Ordering::Relaxed);
        match (self.vain_rings.nap(consumed), seat.port().space_bell()) {
            (None, Some(bell)) if !self.is_watched => {
                poller.add(bell, self.id, Trigger::Edge)?;
                self.is_watched = true;
            }
            (Some(_), _) => self.leave_out(poller),
            _ => {}
        }
        Ok(())
    }

    fn leave_out(&mut self, poller: &Poller) {
        let was_watched = std::mem::replace(&mut self.is_watched, false);
        let seat = self.seat.upgrade().filter(|_| was_watched);
        seat.iter().filter_map(|seat| seat.port().space_bell()).for_each(|bell| poller.remove(bell));
    }
}

impl Producer {
    /// Prepares a wait for room in the caller's event loop: poll(2), epoll(7), or anything that watches
    /// descriptors. For lanes with a [space bell](crate::options::LaneOptions::space_bell).
    ///
    /// 1. Call [`try_send`](Self::try_send), or another form that does not wait, until it returns
    ///    [`SendError::Full`] or [`SendError::TooFewConsumers`].
    /// 2. Call `arm`. `false` means that there is news: go to 1.
    /// 3. Wait until the descriptor of [`as_fd`](Self::as_fd) is readable. Watch it level-triggered or edge-triggered.
    /// 4. Go to 1.
    ///
    /// There is news if the record of the last call has room now, or if the missing consumers are there. Do not arm if
    /// there is nothing to send. After any call between 2 and 3 that sends or waits, arm again.
    ///
    /// The descriptor may become readable for no reason, but it is never left unreadable while there is room. The loop
    /// may stop at any step. The descriptor stays the same for the life of the producer. Only watch it; do not read it.
    ///
    /// ```
    /// # use fdring::{Consumer, Server, errors::SendError, options::LaneOptions};
    /// # use rustix::event::{PollFd, PollFlags, poll};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let mut ticks = LaneOptions::new("ticks").capacity(4096).space_bell(true).create()?;
    /// # let server = Server::listen("@doc-producer-arm", [&ticks])?;
    /// # let mut consumer = Consumer::connect("@doc-producer-arm")?;
    /// # let reader = std::thread::spawn(move || while let Ok(Some(_)) = consumer.receive() {});
    /// let mut sent = 0;
    /// while sent < 100 {
    ///     match ticks.try_send(&[0; 1000]) {
    ///         Ok(()) => sent += 1,
    ///         Err(SendError::Full { .. }) => {
    ///             if ticks.arm()? {
    ///                 poll(&mut [PollFd::new(&ticks, PollFlags::IN)], None)?;
    ///             }
    ///         }
    ///         Err(error) => return Err(error.into()),
    ///     }
    /// }
    /// # ticks.finish();
    /// # reader.join().unwrap();
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`SendError::NoSpaceBell`] if the lane was created without a space bell
    /// - [`SendError::Interrupted`] if there is no news, and an [`Interrupter`] has ended all waits
    /// - [`SendError::Wait`] if the kernel cannot watch the bell of a consumer
    /// - [`SendError::Forked`] in a forked child
    pub fn arm(&mut self) -> Result<bool, SendError> {
        if self.guard.is_child() {
            return Err(SendError::Forked);
        }
        // What was committed in a batch and not published is forgotten.
        self.publisher.writer.rewind();
        let need = self.wanted.at(self.published());
        let Self { publisher, lane, arming: Some(arming), .. } = self else { return Err(SendError::NoSpaceBell) };
        // First: what happens from here on is an event.
        arming.harvest(&lane.roster).map_err(of_wait)?;
        let mut until = Deadline::Never;
        // While consumers are missing there is no room to look for, and the roster changes when they come.
        if lane.roster.missing() == 0 {
            if publisher.arm_for_space(&lane.roster, need).is_ok() {
                return Ok(false);
            }
            match self.judge(need) {
                Ok(judged) if !judged.has_acted => until = judged.until,
                // The next try says so.
                _ => return Ok(false),
            }
        }
        if self.is_interrupted() {
            return Err(SendError::Interrupted);
        }
        self.arming.iter_mut().try_for_each(|arming| arming.set_timer(until.remaining())).map_err(of_wait)?;
        Ok(true)
    }
}

impl Producer {
    /// Prepares a wait for whatever is released on this lane, and for each change of its roster: once one of them has
    /// happened, the descriptor is readable. The caller looks at both after this.
    pub(crate) fn arm_for_release(&mut self) -> Result<(), SendError> {
        let Self { publisher, lane, arming: Some(arming), .. } = self else { return Err(SendError::NoSpaceBell) };
        arming.harvest(&lane.roster).map_err(of_wait)?;
        publisher.arm_for_release();
        arming.set_timer(None).map_err(of_wait)
    }

    /// Has consumers ring no more for what they release.
    pub(crate) fn disarm(&mut self) {
        self.publisher.disarm();
    }
}

fn of_wait(errno: rustix::io::Errno) -> SendError {
    SendError::Wait(errno.raw_os_error())
}

impl AsFd for Producer {
    /// The descriptor that [`arm`](Self::arm) prepares. On a lane without a space bell, that of its control region,
    /// which epoll(7) refuses to watch.
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.arming {
            Some(arming) => arming.poller.as_fd(),
            None => self.lane.control.as_fd(),
        }
    }
}
