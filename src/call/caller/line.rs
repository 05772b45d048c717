//! The session of a caller: opened, written to, read to its end, and lost.
//!
//! The invariant: what has come of a session is filed before the session is given up, as far as there is room for it.

use super::Caller;
use super::until::{Terms, Waits};
use crate::call::CallError;
use crate::call::body::Body;
use crate::call::fill::Fill;
use crate::call::prefix::{Kind, Prefix, Way, body_max, prefix_bytes};
use crate::consumer::ReceiveError;
use crate::deadline::{Deadline, timespec};
use crate::error::{Error, Result};
use crate::link::Pulse;
use crate::os::poller::Trigger;
use crate::producer::SendError;
use crate::ring::cursor::Found;
use crate::session::pairs::{self, Pair};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

/// The token of the consumer of the replies' lane.
const REPLIES: u64 = 0;
/// How many records are taken before the time is looked at: a service may send without end.
pub(super) const RECORDS_PER_LOOK: u64 = 1024;
/// What a reply takes in a ring at least: its header, and its prefix.
const RECORD_MIN_BYTES: u64 = 32;
/// What keeping a reply costs beside its payload, so that replies without any are bounded, too.
const REPLY_COST_BYTES: u64 = 64;

/// The session, and what its records begin with.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) pair: Pair,
    pulse: Pulse,
    request_prefix: usize,
    reply_prefix: usize,
}

/// A reply that waits to be taken.
#[derive(Debug)]
pub(super) struct Stored {
    pub(super) body: Body,
    pub(super) kind: Kind,
}

impl Caller {
    /// Whether there is no session, or the one there is has ended.
    pub(crate) fn needs_session(&mut self) -> Result<bool, CallError> {
        if self.line.as_ref().is_some_and(|line| line.pulse.has_ended()) {
            self.take_rest()?;
            if !self.calls.has_room() {
                return Err(CallError::StoreFull { stored_bytes: self.calls.stored_bytes() });
            }
            // It has hung up, and goes on sending.
            self.lose(&ReceiveError::HungUp);
        }
        Ok(self.line.is_none())
    }

    /// Goes on with a new session.
    pub(super) fn take_up(&mut self, mut pair: Pair) -> Result<()> {
        body_max(pair.producer.lane())?;
        let pulse = pair.consumer.pulse();
        let request_prefix = prefix_bytes(pair.producer.lane().payload_align);
        let reply_prefix = prefix_bytes(pair.consumer.lane().payload_align);
        let watched = self.poller.add(&pair.consumer, REPLIES, Trigger::Level);
        watched.map_err(Error::os("watch a session"))?;
        pair.consumer.expect_slow_reading();
        self.stats.sessions += 1;
        self.line = Some(Line { pair, pulse, request_prefix, reply_prefix });
        Ok(())
    }

    /// The session is over: so is what waits for it.
    pub(super) fn lose(&mut self, why: &ReceiveError) {
        let Some(line) = self.line.take() else { return };
        self.poller.remove(&line.pair.consumer);
        // A task may have watched it.
        self.poller.remove(&line.pair.producer);
        self.stats.lost += self.calls.lose_all(why);
        self.has_news = true;
    }

    /// Writes a request, as soon as there is a session with room for it; its number. A lost session has a
    /// successor. The call begins once its request is filled in.
    #[inline(always)]
    pub(super) fn write(&mut self, len: usize, terms: Terms, fill: impl Fill) -> Result<u64, CallError> {
        let mut has_looked = false;
        loop {
            if self.needs_session()? {
                if terms.waits == Waits::InTask {
                    return Err(CallError::Full);
                }
                let pair = pairs::connect(&self.address, &self.lane, &self.terms, terms.until.deadline(self.anchor));
                pair.and_then(|pair| self.take_up(pair)).map_err(of_connect)?;
            }
            let Self { line: Some(Line { pair, request_prefix, .. }), calls, .. } = self else {
                return Err(CallError::Lost(ReceiveError::Closed));
            };
            if calls.is_full() {
                return Err(CallError::TooManyCalls { max: self.calls_max });
            }
            match pair.producer.try_reserve(request_prefix.saturating_add(len)) {
                Ok(mut slot) => {
                    slot.expect_answer();
                    fill.fill_in(&mut slot, *request_prefix);
                    let (id, deadline_ns) = (calls.next_id(), terms.until.told_ns());
                    Prefix { id, deadline_ns, kind: Kind::Request }.write(&mut slot[..*request_prefix]);
                    slot.commit();
                    // Only now, while the service is at it.
                    return Ok(calls.begin());
                }
                Err(SendError::Full { .. }) => {}
                Err(SendError::TooLong { max, .. }) => {
                    return Err(CallError::TooLong { len, max: max.saturating_sub(*request_prefix) });
                }
                Err(error) => return Err(of_send(&error)),
            }
            let may_wait = terms.waits == Waits::Here && !terms.until.has_passed();
            if self.take_replies()? && (may_wait || !has_looked) {
                has_looked = true;
                self.check_interrupt()?;
                continue;
            }
            if terms.waits == Waits::No || terms.until.has_passed() {
                return Err(CallError::Full);
            }
            if !self.calls.has_room() {
                return Err(CallError::StoreFull { stored_bytes: self.calls.stored_bytes() });
            }
            if terms.waits == Waits::InTask {
                return Err(CallError::Full);
            }
            self.sleep_for_room(terms.until.deadline(self.anchor))?;
        }
    }

    /// Sleeps until there is room for a request, something comes from the service, or the deadline passes.
    fn sleep_for_room(&mut self, deadline: Deadline) -> Result<(), CallError> {
        let Some(Line { pair, .. }) = &mut self.line else { return Ok(()) };
        if !pair.producer.arm().map_err(|error| of_send(&error))? || !pair.consumer.arm().map_err(of_wait)? {
            return Ok(());
        }
        let mut waits = [PollFd::new(&pair.producer, PollFlags::IN), PollFd::new(&pair.consumer, PollFlags::IN)];
        match poll(&mut waits, deadline.remaining().map(timespec).as_ref()) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(errno) => Err(CallError::Wait(errno.raw_os_error())),
        }
    }

    pub(super) fn tell_cancelled(&mut self, id: u64) {
        let Some(line) = &mut self.line else { return };
        if let Ok(mut slot) = line.pair.producer.try_reserve(line.request_prefix) {
            Prefix { id, deadline_ns: 0, kind: Kind::Cancellation }.write(&mut slot);
            slot.commit();
        }
    }

    /// Takes the replies that came before the session ended, as far as there is room for them. A service that has hung
    /// up and goes on sending has no more taken of it than its ring holds.
    fn take_rest(&mut self) -> Result<(), CallError> {
        let capacity = self.line.as_ref().map_or(0, |line| line.pair.consumer.lane().capacity);
        for _ in 0..=capacity / (RECORDS_PER_LOOK * RECORD_MIN_BYTES) {
            if !self.take_replies()? {
                break;
            }
        }
        Ok(())
    }

    /// Takes the replies that have come, as far as there is room for them; whether any has, or the session has ended.
    pub(super) fn take_replies(&mut self) -> Result<bool, CallError> {
        for taken in 0..RECORDS_PER_LOOK {
            let Some(line) = self.line.as_mut().filter(|_| self.calls.has_room()) else { return Ok(taken != 0) };
            match line.pair.consumer.try_find() {
                Err(ReceiveError::Empty) => return Ok(taken != 0),
                found => _ = self.take_found(found, None)?,
            }
        }
        Ok(true)
    }

    /// The answer to the call that began last, if it is the next record, and comes within a moment. It is in hand, in
    /// registers: a value that goes through memory is waited for. Else the call is in flight from now on.
    #[inline(always)]
    pub(super) fn come_at_once(&mut self, id: u64) -> Option<(Found, Kind)> {
        let line = self.line.as_mut().filter(|_| self.calls.has_room());
        let come =
            line.and_then(|line| line.pair.consumer.find_in_a_moment().map(|found| (found, line.look_at(found))));
        if let Some((found, Ok((answered, kind)))) = &come
            && *answered == id
        {
            return Some((*found, *kind));
        }
        self.calls.keep();
        if let Some((found, look)) = come
            && let Err(why) = look.and_then(|(id, kind)| self.file_other(found, id, kind))
        {
            self.lose(&why);
        }
        None
    }

    /// Takes what a look at the replies' lane has brought: a record, the end of the session, or nothing. Returns an
    /// answer to the call that is `wanted`, and files any other.
    pub(super) fn take_found(
        &mut self,
        found: Result<Option<Found>, ReceiveError>,
        wanted: Option<u64>,
    ) -> Result<Option<(Found, Kind)>, CallError> {
        let outcome = match found {
            Ok(Some(found)) => self.file(found, wanted).map(|kind| kind.map(|kind| (found, kind))),
            Ok(None) => Err(ReceiveError::Closed),
            Err(error) => Err(error),
        };
        match outcome {
            Ok(answer) => Ok(answer),
            Err(ReceiveError::Empty | ReceiveError::TimedOut) => Ok(None),
            Err(error @ (ReceiveError::Interrupted | ReceiveError::Wait(_) | ReceiveError::Forked)) => {
                Err(of_wait(error))
            }
            Err(why) => {
                self.lose(&why);
                Ok(None)
            }
        }
    }

    /// Files a record of the service's under the call that waits for it, unless that is the one that is `wanted`: then
    /// the record is in hand, and this says of which kind it is.
    fn file(&mut self, found: Found, wanted: Option<u64>) -> Result<Option<Kind>, ReceiveError> {
        let Some(line) = &mut self.line else { return Ok(None) };
        let (id, kind) = line.look_at(found)?;
        if wanted == Some(id) && self.calls.pass(id, kind != Kind::Reply) {
            return Ok(Some(kind));
        }
        self.file_other(found, id, kind)?;
        Ok(None)
    }

    #[inline(never)]
    fn file_other(&mut self, found: Found, id: u64, kind: Kind) -> Result<(), ReceiveError> {
        if !self.calls.awaits(id) {
            self.stats.stray += 1;
            return Ok(());
        }
        let Some(line) = &mut self.line else { return Ok(()) };
        let Some(body) = line.body(found) else { return Err(line.pair.consumer.stopped()) };
        let len_bytes = body.len() as u64 + REPLY_COST_BYTES;
        self.calls.file(id, Stored { body, kind }, kind != Kind::Reply, len_bytes);
        self.has_news = true;
        Ok(())
    }
}

impl Line {
    /// Which call the record that was found last is for, and what it is.
    #[inline(always)]
    fn look_at(&mut self, found: Found) -> Result<(u64, Kind), ReceiveError> {
        let words = self.pair.consumer.words(found, 0)?;
        match Prefix::parse(found.len, words, self.reply_prefix, Way::ToCaller) {
            Ok(Prefix { id, kind, .. }) => Ok((id, kind)),
            Err(fault) => Err(ReceiveError::Peer(fault.to_string().into())),
        }
    }

    /// The body of the record that was found last. `None` if it was overwritten meanwhile.
    #[inline(always)]
    pub(super) fn body(&mut self, in_hand: Found) -> Option<Body> {
        Body::read(&mut self.pair.consumer, in_hand, self.reply_prefix)
    }
}

/// The error of a session that was not opened.
pub(super) fn of_connect(error: Error) -> CallError {
    match error {
        Error::Interrupted { .. } => CallError::Interrupted,
        Error::Forked => CallError::Forked,
        error => CallError::NotConnected(error),
    }
}

/// The error of a wait that the end of a session did not cause.
pub(super) fn of_wait(error: ReceiveError) -> CallError {
    match error {
        ReceiveError::Interrupted => CallError::Interrupted,
        ReceiveError::Wait(errno) => CallError::Wait(errno),
        ReceiveError::Forked => CallError::Forked,
        why => CallError::Lost(why),
    }
}

/// The error of a lane that takes no request.
pub(super) fn of_send(error: &SendError) -> CallError {
    match error {
        SendError::Interrupted => CallError::Interrupted,
        SendError::Wait(errno) => CallError::Wait(*errno),
        SendError::Forked => CallError::Forked,
        _ => CallError::Full,
    }
}
