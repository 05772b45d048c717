//! A caller in a task: what it does without a wait, and what its descriptor becomes readable for.
//!
//! The invariant: nothing here waits. What may wait, opening a session, is handed out as a function of its own.

use super::Caller;
use super::until::{Terms, Until, Waits};
use crate::call::caller::line::{of_connect, of_send};
use crate::call::fill::Copied;
use crate::call::{CallError, Ticket};
use crate::deadline::Deadline;
use crate::error::Result;
use crate::os::poller::Trigger;
use crate::os::timer::Timer;
use crate::session::pairs::{self, Pair};

/// The tokens of what only a task waits for.
const ROOM: u64 = 1;
const TIMER: u64 = 2;

/// What the poller of a caller watches beside the replies, for a task.
#[derive(Debug, Default)]
pub(super) struct TaskFds {
    /// Made when a task first waits with a deadline.
    timer: Option<Timer>,
    is_timer_set: bool,
    is_room_watched: bool,
}

/// What a task waits for, beside replies.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted {
    pub(crate) room: bool,
    pub(crate) deadline: Deadline,
}

impl Caller {
    /// What opens a session with the service, on a thread that may wait. [`go_on`](Self::go_on) takes what it returns.
    pub(crate) fn opening(&self, deadline: Deadline) -> impl FnOnce() -> Result<Pair> + Send + 'static {
        let (address, lane, terms) = (self.address.clone(), self.lane.clone(), self.terms.clone());
        move || pairs::connect(&address, &lane, &terms, deadline)
    }

    /// Goes on with a session that was opened elsewhere.
    pub(crate) fn go_on(&mut self, opened: Result<Pair>) -> Result<(), CallError> {
        opened.and_then(|pair| self.take_up(pair)).map_err(of_connect)
    }

    /// Sends a request in the session there is. [`CallError::Full`] says that there is no room now, or no session.
    pub(crate) fn try_send_until(&mut self, request: &[u8], deadline: Deadline) -> Result<Ticket, CallError> {
        let until = Until::at(self.anchor.time_of(deadline));
        self.send_by(request.len(), Terms { until, waits: Waits::InTask }, Copied(request))
    }

    /// Until when a call is waited for.
    pub(crate) fn deadline_of(&self, ticket: &Ticket) -> Deadline {
        ticket.call.until.deadline(self.anchor)
    }

    /// Like [`arm`](Self::arm), also for the deadline, and for room for a request if that is wanted.
    pub(crate) fn arm_for(&mut self, wanted: Wanted) -> Result<bool, CallError> {
        if !self.arm()? {
            return Ok(false);
        }
        self.set_timer(wanted.deadline).map_err(|errno| CallError::Wait(errno.raw_os_error()))?;
        match &mut self.line {
            Some(line) if wanted.room => {
                let watched = self.poller.add(&line.pair.producer, ROOM, Trigger::Level);
                watched.map_err(|errno| CallError::Wait(errno.raw_os_error()))?;
                self.watched.is_room_watched = true;
                line.pair.producer.arm().map_err(|error| of_send(&error))
            }
            // Without a session there is room at once.
            None if wanted.room => Ok(false),
            _ => Ok(true),
        }
    }

    /// Has the descriptor stay unreadable for what a task has waited for, and waits for no longer.
    pub(super) fn unwatch(&mut self) {
        if self.watched.is_timer_set {
            // It cannot fail: the timer is there, and so was what it is set to.
            let _ = self.set_timer(Deadline::Never);
        }
        if std::mem::take(&mut self.watched.is_room_watched)
            && let Some(line) = &self.line
        {
            self.poller.remove(&line.pair.producer);
        }
    }

    fn set_timer(&mut self, deadline: Deadline) -> rustix::io::Result<()> {
        let TaskFds { timer, is_timer_set, .. } = &mut self.watched;
        let remaining = deadline.remaining();
        if remaining.is_none() && !*is_timer_set {
            return Ok(());
        }
        let timer = match timer {
            Some(timer) => timer,
            None => {
                let made = Timer::new()?;
                self.poller.add(&made, TIMER, Trigger::Level)?;
                timer.insert(made)
            }
        };
        timer.set(remaining)?;
        *is_timer_set = remaining.is_some();
        Ok(())
    }
}
