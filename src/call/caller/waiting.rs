//! Answers: how they are waited for, and handed out.
//!
//! The invariant: every wait takes each record that comes, and an answer that is there is handed out, however late it
//! is asked for.

use super::Caller;
use super::line::{RECORDS_PER_LOOK, Stored};
use crate::call::calls::Next;
use crate::call::prefix::{Cause, Kind};
use crate::call::reply::OpenCall;
use crate::call::request::REASON_MAX_BYTES;
use crate::call::{CallError, Reply, Ticket};
use crate::consumer::ReceiveError;
use crate::deadline::Deadline;
use crate::error::Result;
use crate::ring::cursor::Found;
use crate::wire::printable;
use std::time::{Duration, Instant};

/// What has come for a call.
pub(super) enum Came {
    Nothing,
    /// The record that was read last.
    InHand(Found, Kind),
    Filed(Stored),
}

impl Caller {
    /// Waits for the next reply to a request, until the deadline of the call. `None` once the last reply, or the error
    /// that ended the call, has been returned.
    ///
    /// ```
    /// # use fdring::call::{Caller, Service};
    /// # use std::time::Duration;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut service = Service::listen("@doc-caller-wait")?;
    /// # let server = std::thread::spawn(move || {
    /// #     let request = service.receive().unwrap();
    /// #     request.reply_part(b"1").unwrap();
    /// #     request.reply(b"2").unwrap();
    /// # });
    /// let mut caller = Caller::connect("@doc-caller-wait")?;
    /// let mut ticket = caller.send(b"list", Duration::from_secs(1))?;
    /// let mut replies = 0;
    /// while let Some(reply) = caller.wait(&mut ticket)? {
    ///     replies += 1;
    ///     assert_eq!(reply.is_last(), replies == 2);
    /// }
    /// assert_eq!(replies, 2);
    /// # server.join().unwrap();
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`CallError::TimedOut`] if no reply came before the deadline of the call
    /// - [`CallError::Refused`] if the service refused
    /// - [`CallError::Lost`] if the session ended before the reply
    /// - [`CallError::StoreFull`] if too many replies to other calls are in its way
    /// - [`CallError::ForeignTicket`] if the ticket is of another caller
    /// - [`CallError::Interrupted`] if an [`Interrupter`](crate::Interrupter) ended the wait
    /// - [`CallError::Wait`] if the kernel does not let this thread wait
    /// - [`CallError::Forked`] in a forked child
    pub fn wait(&mut self, ticket: &mut Ticket) -> Result<Option<Reply>, CallError> {
        self.wait_until(ticket, Deadline::Never)
    }

    /// Like [`wait`](Self::wait), but never waits.
    ///
    /// ```
    /// # use fdring::call::{CallError, Caller, Service};
    /// # use std::time::Duration;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let service = Service::listen("@doc-caller-try-wait")?;
    /// let mut caller = Caller::connect("@doc-caller-try-wait")?;
    /// let mut ticket = caller.send(b"2 + 2", Duration::from_secs(1))?;
    /// assert!(matches!(caller.try_wait(&mut ticket), Err(CallError::Empty)));
    /// # drop(service);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`CallError::Empty`] if there is no reply yet
    /// - [`CallError::TimedOut`] if no reply came before the deadline of the call
    /// - [`CallError::Refused`] if the service refused
    /// - [`CallError::Lost`] if the session ended before the reply
    /// - [`CallError::StoreFull`] if too many replies to other calls are in its way
    /// - [`CallError::ForeignTicket`] if the ticket is of another caller
    /// - [`CallError::Interrupted`] if an [`Interrupter`](crate::Interrupter) has ended all waits, and replies to
    ///   others keep coming
    /// - [`CallError::Wait`] if the kernel does not let this thread wait
    /// - [`CallError::Forked`] in a forked child
    pub fn try_wait(&mut self, ticket: &mut Ticket) -> Result<Option<Reply>, CallError> {
        self.wait_until(ticket, Deadline::Now)
    }

    /// Like [`wait`](Self::wait), but waits at most `timeout`. The call goes on after that, until its own deadline.
    ///
    /// ```
    /// # use fdring::call::{CallError, Caller, Service};
    /// # use std::time::Duration;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let service = Service::listen("@doc-caller-wait-timeout")?;
    /// let mut caller = Caller::connect("@doc-caller-wait-timeout")?;
    /// let mut ticket = caller.send(b"2 + 2", Duration::from_secs(60))?;
    /// let nothing = caller.wait_timeout(&mut ticket, Duration::from_millis(1));
    /// assert!(matches!(nothing, Err(CallError::Empty)));
    /// # drop(service);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`CallError::Empty`] if no reply came within `timeout`; the call goes on
    /// - [`CallError::TimedOut`] if no reply came before the deadline of the call
    /// - [`CallError::Refused`] if the service refused
    /// - [`CallError::Lost`] if the session ended before the reply
    /// - [`CallError::StoreFull`] if too many replies to other calls are in its way
    /// - [`CallError::ForeignTicket`] if the ticket is of another caller
    /// - [`CallError::Interrupted`] if an [`Interrupter`](crate::Interrupter) ended the wait
    /// - [`CallError::Wait`] if the kernel does not let this thread wait
    /// - [`CallError::Forked`] in a forked child
    pub fn wait_timeout(&mut self, ticket: &mut Ticket, timeout: Duration) -> Result<Option<Reply>, CallError> {
        self.wait_until(ticket, Deadline::after(timeout))
    }

    /// Like [`wait`](Self::wait), but waits only until `deadline`, which several calls can share.
    ///
    /// ```
    /// # use fdring::call::{CallError, Caller, Service};
    /// # use std::time::{Duration, Instant};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let service = Service::listen("@doc-caller-wait-deadline")?;
    /// let mut caller = Caller::connect("@doc-caller-wait-deadline")?;
    /// let mut ticket = caller.send(b"2 + 2", Duration::from_secs(60))?;
    /// assert!(matches!(caller.wait_deadline(&mut ticket, Instant::now()), Err(CallError::Empty)));
    /// # drop(service);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`CallError::Empty`] if no reply came before `deadline`; the call goes on
    /// - [`CallError::TimedOut`] if no reply came before the deadline of the call
    /// - [`CallError::Refused`] if the service refused
    /// - [`CallError::Lost`] if the session ended before the reply
    /// - [`CallError::StoreFull`] if too many replies to other calls are in its way
    /// - [`CallError::ForeignTicket`] if the ticket is of another caller
    /// - [`CallError::Interrupted`] if an [`Interrupter`](crate::Interrupter) ended the wait
    /// - [`CallError::Wait`] if the kernel does not let this thread wait
    /// - [`CallError::Forked`] in a forked child
    pub fn wait_deadline(&mut self, ticket: &mut Ticket, deadline: Instant) -> Result<Option<Reply>, CallError> {
        self.wait_until(ticket, Deadline::At(deadline))
    }

    fn wait_until(&mut self, ticket: &mut Ticket, limit: Deadline) -> Result<Option<Reply>, CallError> {
        self.check_owner()?;
        if !ticket.is_of(&self.dropped) {
            return Err(CallError::ForeignTicket);
        }
        self.forget_dropped();
        let came = self.come_for(&mut ticket.call, limit)?;
        self.hand_out(&mut ticket.call, came)
    }

    /// What came for a call, for the program. If that is lost, the call is over, whether or not more was to come.
    fn hand_out(&mut self, call: &mut OpenCall, came: Came) -> Result<Option<Reply>, CallError> {
        let reply = self.reply_of(came);
        if matches!(reply, Err(CallError::Lost(_))) && !std::mem::replace(&mut call.is_over, true) {
            let _ = self.calls.cancel(call.id);
        }
        reply
    }

    /// Waits for the next answer to a call.
    pub(super) fn come_for(&mut self, call: &mut OpenCall, limit: Deadline) -> Result<Came, CallError> {
        if call.is_over {
            return Ok(Came::Nothing);
        }
        for taken in 1_u64.. {
            match self.calls.next(call.id) {
                Next::Pending => {}
                Next::Answer(stored) => {
                    call.is_over = stored.kind != Kind::Reply;
                    self.note_answer(stored.kind);
                    return Ok(Came::Filed(stored));
                }
                Next::Lost(why) => {
                    call.is_over = true;
                    return Err(CallError::Lost(why));
                }
                Next::Unknown => return Ok(Came::Nothing),
            }
            if !self.calls.has_room() {
                self.check_deadline(call)?;
                return Err(CallError::StoreFull { stored_bytes: self.calls.stored_bytes() });
            }
            let (Some(line), until, anchor) = (&mut self.line, call.until, self.anchor) else {
                // A call without a session has been told that it is lost.
                return Err(CallError::Lost(ReceiveError::Closed));
            };
            let found = match limit {
                Deadline::Now => line.pair.consumer.try_find(),
                limit => line.pair.consumer.find_by(|| limit.min(until.deadline(anchor))),
            };
            let nothing = matches!(found, Err(ReceiveError::Empty | ReceiveError::TimedOut));
            if let Some((found, kind)) = self.take_found(found, Some(call.id))? {
                call.is_over = kind != Kind::Reply;
                self.note_answer(kind);
                return Ok(Came::InHand(found, kind));
            }
            let is_look = taken.is_multiple_of(RECORDS_PER_LOOK);
            if is_look {
                self.check_interrupt()?;
            }
            if nothing || is_look {
                self.check_deadline(call)?;
                if limit.has_passed() {
                    return Err(CallError::Empty);
                }
            }
        }
        Ok(Came::Nothing)
    }

    /// Ends a call whose deadline has passed.
    fn check_deadline(&mut self, call: &mut OpenCall) -> Result<(), CallError> {
        if !call.until.has_passed() {
            return Ok(());
        }
        call.is_over = true;
        self.calls.cancel(call.id);
        self.stats.timed_out += 1;
        self.tell_cancelled(call.id);
        Err(CallError::TimedOut)
    }

    /// An answer goes to the program.
    #[inline]
    pub(super) fn note_answer(&mut self, kind: Kind) {
        match kind {
            Kind::Refusal(_) => self.stats.refused += 1,
            _ => self.stats.replies += 1,
        }
    }

    /// What came, for the program.
    #[inline]
    pub(super) fn reply_of(&mut self, came: Came) -> Result<Option<Reply>, CallError> {
        match came {
            Came::InHand(found, kind) => self.reply_in_hand(found, kind).map(Some),
            Came::Filed(Stored { body, kind: Kind::Refusal(cause) }) => Err(refused(cause, &body)),
            Came::Filed(Stored { body, kind }) => Ok(Some(Reply::new(body, kind == Kind::LastReply))),
            Came::Nothing => Ok(None),
        }
    }

    /// The answer in hand, for the program: its body is copied once, to where the program has it.
    #[inline(always)]
    pub(super) fn reply_in_hand(&mut self, found: Found, kind: Kind) -> Result<Reply, CallError> {
        match (self.line.as_mut().and_then(|line| line.body(found)), kind) {
            (Some(body), Kind::Refusal(cause)) => Err(refused(cause, &body)),
            (Some(body), kind) => Ok(Reply::new(body, kind == Kind::LastReply)),
            (None, kind) => Err(self.lose_in_hand(kind)),
        }
    }

    /// The answer in hand was overwritten: this end was evicted.
    #[cold]
    #[inline(never)]
    fn lose_in_hand(&mut self, kind: Kind) -> CallError {
        let why = self.line.as_mut().map_or(ReceiveError::Closed, |line| line.pair.consumer.stopped());
        match kind {
            Kind::Refusal(_) => self.stats.refused -= 1,
            _ => self.stats.replies -= 1,
        }
        // That of a part is in flight, and lost with the others, or given up.
        self.stats.lost += u64::from(kind != Kind::Reply);
        self.lose(&why);
        CallError::Lost(why)
    }
}

/// The error of a refused call.
#[cold]
fn refused(cause: Cause, reason: &[u8]) -> CallError {
    // A service may send anything.
    CallError::Refused { cause, reason: printable(&String::from_utf8_lossy(reason), REASON_MAX_BYTES).into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::CallerOptions;
    use crate::call::tests::{lying_service, reply, write};
    use crate::test_support::DEADLINE;

    #[test]
    fn an_answer_that_is_lost_in_the_middle_of_a_copy_loses_its_call_once() {
        for kind in [Kind::Reply, Kind::LastReply, Kind::Refusal(Cause::Program)] {
            let (_listener, mut pair, mut caller) = lying_service(CallerOptions::new());
            let [mut ticket, mut other] = [b"a", b"b"].map(|request| caller.send(request, DEADLINE).unwrap());
            write(&mut pair, reply(1, kind), b"overwritten");
            let came = caller.come_for(&mut ticket.call, Deadline::Never).unwrap();
            // Between the look and the copy.
            let producer = &mut pair.producer;
            producer.consumers().iter().for_each(|consumer| assert!(producer.evict(consumer).unwrap()));
            (0..8).for_each(|_| producer.send(&[0; 10_000]).unwrap());
            let lost = caller.hand_out(&mut ticket.call, came).unwrap_err();
            assert!(matches!(lost, CallError::Lost(ReceiveError::Evicted { .. })), "{lost:?}");
            assert!(caller.wait(&mut ticket).unwrap().is_none(), "it was told so");
            assert!(matches!(caller.wait(&mut other), Err(CallError::Lost(_))));
            let stats = caller.stats();
            assert_eq!((stats.lost, stats.replies, stats.refused, stats.in_flight), (2, 0, 0, 0), "{kind:?}");
        }
    }
}
