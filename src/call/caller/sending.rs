//! Requests: how a call begins, and a call as a whole.
//!
//! The invariant: a call begins once its request is filled in, and on its way.

use super::Caller;
use super::until::{Terms, Waits};
use crate::call::fill::{Copied, Fill};
use crate::call::prefix::Kind;
use crate::call::reply::OpenCall;
use crate::call::{CallError, Reply, Ticket};
use crate::deadline::Deadline;
use crate::error::Result;
use std::time::Duration;

impl Caller {
    /// Sends a request and waits for its reply, at most `timeout` for both. If several replies come, it returns the
    /// first and drops the others; use [`send`](Self::send) to get them all.
    ///
    /// The service sees the deadline. If `timeout` is a second or more, it sees one that is up to 10 ms earlier, and
    /// the call waits up to 10 ms longer. With [`Duration::MAX`] there is none. If several calls share a deadline, pass
    /// the rest of it: `deadline.saturating_duration_since(Instant::now())`. A service that calls another one
    /// passes [`Request::time_left`](crate::call::Request::time_left).
    ///
    /// ```
    /// # use fdring::call::{Caller, Service};
    /// # use std::time::Duration;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut service = Service::listen("@doc-caller-call")?;
    /// # let server = std::thread::spawn(move || service.receive().unwrap().reply(b"4").unwrap());
    /// let mut caller = Caller::connect("@doc-caller-call")?;
    /// let reply = caller.call(b"2 + 2", Duration::from_secs(1))?;
    /// assert_eq!(&reply[..], b"4");
    /// # server.join().unwrap();
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`CallError::TimedOut`] if no reply came in time
    /// - [`CallError::Refused`] if the service refused
    /// - [`CallError::Lost`] if the session ended before the reply
    /// - [`CallError::Full`] if there was no room in time; nothing was sent
    /// - [`CallError::NotConnected`] if the session was lost before, and no new one could be opened
    /// - [`CallError::TooLong`] if the request is longer than the ring takes
    /// - [`CallError::TooManyCalls`] if as many calls are in flight as
    ///   [`CallerOptions::calls_max`](crate::call::CallerOptions::calls_max) allows
    /// - [`CallError::StoreFull`] if too many replies to other calls are in its way
    /// - [`CallError::Interrupted`] if an [`Interrupter`](crate::Interrupter) ended the wait
    /// - [`CallError::Wait`] if the kernel does not let this thread wait
    /// - [`CallError::Forked`] in a forked child
    pub fn call(&mut self, request: &[u8], timeout: Duration) -> Result<Reply, CallError> {
        self.call_by(request.len(), Terms::after(timeout, Waits::Here), Copied(request))
    }

    /// Like [`call`](Self::call), with a request of `len` bytes that `fill` writes in the ring itself. Before they are
    /// filled, the bytes may hold anything.
    ///
    /// ```
    /// # use fdring::call::{Caller, Service};
    /// # use std::time::Duration;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut service = Service::listen("@doc-caller-call-with")?;
    /// # let server = std::thread::spawn(move || service.receive().unwrap().reply(b"done").unwrap());
    /// let mut caller = Caller::connect("@doc-caller-call-with")?;
    /// caller.call_with(1000, Duration::from_secs(1), |request| request.fill(7))?;
    /// # server.join().unwrap();
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`CallError::TimedOut`] if no reply came in time
    /// - [`CallError::Refused`] if the service refused
    /// - [`CallError::Lost`] if the session ended before the reply
    /// - [`CallError::Full`] if there was no room in time; nothing was sent
    /// - [`CallError::NotConnected`] if the session was lost before, and no new one could be opened
    /// - [`CallError::TooLong`] if the request is longer than the ring takes
    /// - [`CallError::TooManyCalls`] if as many calls are in flight as
    ///   [`CallerOptions::calls_max`](crate::call::CallerOptions::calls_max) allows
    /// - [`CallError::StoreFull`] if too many replies to other calls are in its way
    /// - [`CallError::Interrupted`] if an [`Interrupter`](crate::Interrupter) ended the wait
    /// - [`CallError::Wait`] if the kernel does not let this thread wait
    /// - [`CallError::Forked`] in a forked child
    pub fn call_with(
        &mut self,
        len: usize,
        timeout: Duration,
        fill: impl FnOnce(&mut [u8]),
    ) -> Result<Reply, CallError> {
        self.call_by(len, Terms::after(timeout, Waits::Here), fill)
    }

    /// Sends a request. Returns the ticket with which to wait for its replies. Waits for room for at most `timeout`.
    /// The whole call ends after `timeout`, replies included. If several calls share a deadline, pass the rest of it:
    /// `deadline.saturating_duration_since(Instant::now())`.
    ///
    /// ```
    /// # use fdring::call::{Caller, Service};
    /// # use std::time::Duration;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut service = Service::listen("@doc-caller-send")?;
    /// # let server = std::thread::spawn(move || service.receive().unwrap().reply(b"4").unwrap());
    /// let mut caller = Caller::connect("@doc-caller-send")?;
    /// let mut ticket = caller.send(b"2 + 2", Duration::from_secs(1))?;
    /// // … other calls, other work …
    /// assert_eq!(&caller.wait(&mut ticket)?.unwrap()[..], b"4");
    /// # server.join().unwrap();
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`CallError::Full`] if there was no room in time; nothing was sent
    /// - [`CallError::NotConnected`] if the session was lost before, and no new one could be opened
    /// - [`CallError::TooLong`] if the request is longer than the ring takes
    /// - [`CallError::TooManyCalls`] if as many calls are in flight as
    ///   [`CallerOptions::calls_max`](crate::call::CallerOptions::calls_max) allows
    /// - [`CallError::StoreFull`] if too many replies to other calls are in its way
    /// - [`CallError::Interrupted`] if an [`Interrupter`](crate::Interrupter) ended the wait
    /// - [`CallError::Wait`] if the kernel does not let this thread wait
    /// - [`CallError::Forked`] in a forked child
    pub fn send(&mut self, request: &[u8], timeout: Duration) -> Result<Ticket, CallError> {
        self.send_by(request.len(), Terms::after(timeout, Waits::Here), Copied(request))
    }

    /// Like [`send`](Self::send), but never waits for room. If the session was lost, the call connects again first, and
    /// waits for that.
    ///
    /// ```
    /// # use fdring::call::{Caller, Service};
    /// # use std::time::Duration;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let service = Service::listen("@doc-caller-try-send")?;
    /// let mut caller = Caller::connect("@doc-caller-try-send")?;
    /// let ticket = caller.try_send(b"2 + 2", Duration::from_secs(1))?;
    /// # drop((ticket, service));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`CallError::Full`] if there is no room now; nothing was sent
    /// - [`CallError::NotConnected`] if the session was lost before, and no new one could be opened
    /// - [`CallError::TooLong`] if the request is longer than the ring takes
    /// - [`CallError::TooManyCalls`] if as many calls are in flight as
    ///   [`CallerOptions::calls_max`](crate::call::CallerOptions::calls_max) allows
    /// - [`CallError::StoreFull`] if too many replies to other calls are in its way
    /// - [`CallError::Interrupted`] if an [`Interrupter`](crate::Interrupter) has ended all waits, and a session is to
    ///   be opened, or replies come while there is no room
    /// - [`CallError::Wait`] if the kernel does not let this thread wait
    /// - [`CallError::Forked`] in a forked child
    pub fn try_send(&mut self, request: &[u8], timeout: Duration) -> Result<Ticket, CallError> {
        self.send_by(request.len(), Terms::after(timeout, Waits::No), Copied(request))
    }

    /// Like [`send`](Self::send), with a request of `len` bytes that `fill` writes in the ring itself.
    ///
    /// ```
    /// # use fdring::call::{Caller, Service};
    /// # use std::time::Duration;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let service = Service::listen("@doc-caller-send-with")?;
    /// let mut caller = Caller::connect("@doc-caller-send-with")?;
    /// let ticket = caller.send_with(1000, Duration::from_secs(1), |request| request.fill(7))?;
    /// # drop((ticket, service));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`CallError::Full`] if there was no room in time; nothing was sent
    /// - [`CallError::NotConnected`] if the session was lost before, and no new one could be opened
    /// - [`CallError::TooLong`] if the request is longer than the ring takes
    /// - [`CallError::TooManyCalls`] if as many calls are in flight as
    ///   [`CallerOptions::calls_max`](crate::call::CallerOptions::calls_max) allows
    /// - [`CallError::StoreFull`] if too many replies to other calls are in its way
    /// - [`CallError::Interrupted`] if an [`Interrupter`](crate::Interrupter) ended the wait
    /// - [`CallError::Wait`] if the kernel does not let this thread wait
    /// - [`CallError::Forked`] in a forked child
    pub fn send_with(
        &mut self,
        len: usize,
        timeout: Duration,
        fill: impl FnOnce(&mut [u8]),
    ) -> Result<Ticket, CallError> {
        self.send_by(len, Terms::after(timeout, Waits::Here), fill)
    }

    fn call_by(&mut self, len: usize, terms: Terms, fill: impl Fill) -> Result<Reply, CallError> {
        let id = self.begin(len, terms, fill)?;
        if let Some((found, kind)) = self.come_at_once(id) {
            self.note_answer(kind);
            if kind == Kind::Reply {
                self.stats.cancelled += 1;
                self.tell_cancelled(id);
            }
            return self.reply_in_hand(found, kind);
        }
        let mut call = OpenCall { id, until: terms.until, is_over: false };
        let came = self.come_for(&mut call, Deadline::Never);
        if !call.is_over {
            self.give_up(id);
        }
        // The call is fresh, so an answer or an error is due.
        Ok(self.reply_of(came?)?.unwrap_or_default())
    }

    pub(super) fn send_by(&mut self, len: usize, terms: Terms, fill: impl Fill) -> Result<Ticket, CallError> {
        let id = self.begin(len, terms, fill)?;
        self.calls.keep();
        Ok(Ticket::new(OpenCall { id, until: terms.until, is_over: false }, &self.dropped))
    }

    /// Sends the request of a call that begins; its number.
    #[inline(always)]
    fn begin(&mut self, len: usize, terms: Terms, fill: impl Fill) -> Result<u64, CallError> {
        self.check_owner()?;
        self.forget_dropped();
        let id = self.write(len, terms, fill)?;
        self.stats.sent += 1;
        Ok(id)
    }
}
