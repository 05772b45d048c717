//! The turns of callers: whose is next, how long it lasts, and what is done between two.
//!
//! The invariant: a turn ends after a number of records, and a wait looks at its deadline and for an interrupt after a
//! number of those that are no requests. So nobody who sends without end keeps others, or the program, waiting.

use super::Service;
use super::client::{Brought, Endpoint, InHand, LookAtCaller};
use crate::call::Request;
use crate::consumer::ReceiveError;
use crate::deadline::Deadline;
use crate::select::{Key, Unarmed};
use std::sync::Arc;
use std::time::Instant;

/// How many waits in a row may end by spinning before the selector is asked: it knows of new callers, too.
const SPINS_PER_LOOK: u32 = 64;

/// How much that is no request is taken before the time is looked at.
const NEWS_PER_LOOK: u64 = 1024;

/// What is left of a caller's turn.
#[derive(Clone, Copy, Debug)]
pub(super) struct Turn {
    key: Key,
    requests: usize,
}

/// What a look at an endpoint has brought.
pub(super) enum Looked {
    Nothing,
    News,
    Request(Key, InHand),
}

impl Service {
    pub(super) fn receive_until(&mut self, deadline: Deadline, nothing: ReceiveError) -> Result<Request, ReceiveError> {
        if self.guard.is_child() {
            return Err(ReceiveError::Forked);
        }
        let mut news = 0_u64;
        loop {
            let due = self.see_to_crowded();
            match self.take_turn(deadline)? {
                Looked::Request(key, in_hand) => {
                    let Some(Endpoint::Client(client)) = self.selector.at_turn(key) else {
                        unreachable!("it was just looked at")
                    };
                    match client.request(in_hand) {
                        Some(request) => {
                            self.stats.requests += 1;
                            return Ok(request);
                        }
                        None => {
                            let why = client.consumer.stopped();
                            self.lose(key, Some(why.to_string()));
                        }
                    }
                }
                Looked::News => {
                    // Callers may send what is no request without end.
                    news += 1;
                    if news.is_multiple_of(NEWS_PER_LOOK) {
                        if self.selector.is_interrupted() {
                            return Err(ReceiveError::Interrupted);
                        }
                        if deadline.has_passed() {
                            return Err(nothing);
                        }
                    }
                    continue;
                }
                Looked::Nothing => {}
            }
            if let Some(key) = self.spin(deadline) {
                self.begin_turn(key);
                continue;
            }
            let until = due.map_or(deadline, |due| deadline.min(Deadline::At(due)));
            let waited = match until {
                Deadline::Now => self.selector.try_wait(),
                Deadline::Never => self.selector.wait(),
                Deadline::At(until) => self.selector.wait_deadline(until),
            };
            match waited {
                Ok(key) => self.begin_turn(key),
                Err(ReceiveError::Empty | ReceiveError::TimedOut) if deadline.has_passed() => {
                    self.set_timer(due)?;
                    return Err(nothing);
                }
                Err(ReceiveError::TimedOut) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Has the descriptor become readable at `due`, for those who wait for it.
    fn set_timer(&mut self, due: Option<Instant>) -> Result<(), ReceiveError> {
        if due != self.timer_due
            && let Some(Endpoint::Timer(timer)) = self.selector.get(self.timer)
        {
            let remaining = due.map(|due| due.saturating_duration_since(Instant::now()));
            timer.set(remaining).map_err(|errno| ReceiveError::Wait(errno.raw_os_error()))?;
            self.timer_due = due;
        }
        Ok(())
    }

    /// Releases what was read of the caller that had the last turn. A turn releases from an eighth of the ring on, and
    /// its caller may wait for the rest while others keep this service busy.
    fn begin_turn(&mut self, key: Key) {
        if let Some(last) = self.last.replace(key).filter(|last| *last != key)
            && let Some(Endpoint::Client(client)) = self.selector.at_turn(last)
        {
            client.consumer.release();
        }
        self.turn = Some(self.turn_of(key));
    }

    pub(super) fn turn_of(&self, key: Key) -> Turn {
        Turn { key, requests: self.turn_requests }
    }

    /// As after many waits that ended by spinning: whether a look finds something.
    #[cfg(test)]
    pub(in crate::call) fn look_after_spins(&mut self) -> bool {
        self.spun = SPINS_PER_LOOK;
        self.spin(Deadline::after(std::time::Duration::ZERO)).is_some()
    }

    /// Looks at the callers again and again for a moment; the one that has sent something.
    fn spin(&mut self, deadline: Deadline) -> Option<Key> {
        if self.clients.is_empty() || deadline == Deadline::Now {
            self.spun = 0;
            return None;
        }
        if self.spun >= SPINS_PER_LOOK {
            self.spun = 0;
            // Without arming: the next request would have its caller ring, and this thread sleep until then.
            match self.selector.take_events().and_then(|()| self.selector.poll(None)) {
                Ok(key) => {
                    self.selector.pass_on(key);
                    return Some(key);
                }
                Err(ReceiveError::Empty) => {}
                // The wait says so.
                Err(_) => return None,
            }
        }
        let Self { selector, clients, spins, spin, spin_from, .. } = self;
        let (count, from) = (clients.len(), *spin_from);
        let found = spins.spin_until(*spin, deadline, |looks| {
            let index = (from + looks as usize) % count;
            let key = clients[index].1;
            selector.get_mut(key)?.glance().then_some((index, key))
        });
        match found {
            Some((index, key)) => {
                // The next spin begins with the next one.
                (self.spin_from, self.spun) = (index + 1, self.spun + 1);
                Some(key)
            }
            None => {
                self.spun = 0;
                None
            }
        }
    }

    /// Looks at the endpoint whose turn it is.
    fn take_turn(&mut self, deadline: Deadline) -> Result<Looked, ReceiveError> {
        let Some(turn) = self.turn.take_if(|turn| turn.requests != 0) else {
            self.turn = None;
            return Ok(Looked::Nothing);
        };
        if turn.key == self.listener {
            return self.accept();
        }
        if turn.key == self.due {
            self.take_due();
            return Ok(Looked::News);
        }
        // Only for one that is alone: a moment for one caller would be lost for the others.
        let may_wait = self.clients.len() <= 1 && deadline != Deadline::Now && !self.spin.is_zero();
        let look = if turn.requests == self.turn_requests {
            LookAtCaller::Closely
        } else if may_wait {
            LookAtCaller::ForAMoment
        } else {
            LookAtCaller::InView
        };
        let client = match self.selector.get_mut(turn.key) {
            Some(Endpoint::Client(client)) => client,
            Some(Endpoint::Room(port)) => {
                let port = Arc::clone(port);
                self.leave_crowd(&port);
                return Ok(Looked::News);
            }
            _ => return Ok(Looked::Nothing),
        };
        match client.receive(look) {
            Ok(Brought::Request(in_hand)) => {
                self.turn = Some(Turn { requests: turn.requests - 1, ..turn });
                Ok(Looked::Request(turn.key, in_hand))
            }
            Ok(Brought::Nothing) => Ok(Looked::Nothing),
            Ok(other) => {
                match other {
                    Brought::Cancelled => self.stats.cancelled += 1,
                    Brought::Expired => self.stats.expired += 1,
                    Brought::Fault(why) => self.end(turn.key, why),
                    Brought::Gone(why) => self.lose(turn.key, why),
                    _ => {}
                }
                self.turn = Some(Turn { requests: turn.requests - 1, ..turn });
                Ok(Looked::News)
            }
            Err(error) => Err(error),
        }
    }
}
