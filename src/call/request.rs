//! A request as its service has it: to be answered at once, later, or by another thread.
//!
//! The invariant: each request is answered once. One that is dropped is refused.

use super::ReplyError;
use super::body::Body;
use super::fill::{Copied, Fill};
use super::port::Port;
use super::prefix::{Cause, Kind};
use super::service::CallerInfo;
use crate::os::clock::{MonotonicTime, now_ns};
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

/// The longest reason of a refusal, in bytes, as it is sent and as it is shown.
pub(super) const REASON_MAX_BYTES: usize = 512;

/// A request to be answered: its bytes, its deadline, and who waits for it.
///
/// It is owned: answer it at once or after others, in any order, on any thread. Answering never waits for the caller,
/// except in [`reply_part`](Self::reply_part). A request that is dropped is refused with [`Cause::Dropped`].
///
/// Its bytes are a copy, at any alignment; [`TypedRequest`](super::TypedRequest) has values.
///
/// ```
/// use fdring::call::{Caller, Service};
/// use std::time::Duration;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut service = Service::listen("@doc-request")?;
/// let caller = std::thread::spawn(|| -> Result<Vec<u8>, fdring::call::CallError> {
///     let mut caller = Caller::connect("@doc-request").expect("the service listens");
///     Ok(caller.call(b"2 + 2", Duration::from_secs(1))?.into_bytes())
/// });
/// let request = service.receive()?;
/// assert_eq!(&request[..], b"2 + 2");
/// request.reply(b"4")?;
/// assert_eq!(caller.join().unwrap()?, b"4");
/// # Ok(())
/// # }
/// ```
#[must_use = "dropping a request refuses it; reply to it"]
pub struct Request {
    id: u64,
    body: Body,
    deadline_ns: u64,
    port: Arc<Port>,
    is_answered: bool,
}

impl Request {
    #[inline]
    pub(super) fn new(id: u64, body: Body, deadline_ns: u64, port: Arc<Port>) -> Self {
        Self { id, body, deadline_ns, port, is_answered: false }
    }

    /// Answers the request with its last reply.
    ///
    /// If the caller's ring has no room now, the reply is kept. Later calls on the [`Service`] and on its requests send
    /// it.
    ///
    /// [`Service`]: super::Service
    ///
    /// ```
    /// # use fdring::call::{Caller, Service};
    /// # use std::time::Duration;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut service = Service::listen("@doc-request-reply")?;
    /// # let mut caller = Caller::connect("@doc-request-reply")?;
    /// # let mut ticket = caller.send(b"2 + 2", Duration::from_secs(1))?;
    /// service.receive()?.reply(b"4")?;
    /// # assert_eq!(&caller.wait(&mut ticket)?.unwrap()[..], b"4");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`ReplyError::Gone`] if the caller is gone
    /// - [`ReplyError::TooLong`] if the reply is too long; the caller is told so
    /// - [`ReplyError::Evicted`] if the caller has left more replies than
    ///   [`backlog_max`](super::ServiceOptions::backlog_max)
    /// - [`ReplyError::Forked`] in a forked child
    pub fn reply(self, reply: &[u8]) -> Result<(), ReplyError> {
        self.reply_by(reply.len(), Copied(reply))
    }

    /// Like [`reply`](Self::reply), with `len` bytes that `fill` writes in the ring itself if there is room. Before
    /// they are filled, the bytes may hold anything. `fill` must not answer other requests of the same caller.
    ///
    /// ```
    /// # use fdring::call::{Caller, Service};
    /// # use std::time::Duration;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut service = Service::listen("@doc-request-reply-with")?;
    /// # let mut caller = Caller::connect("@doc-request-reply-with")?;
    /// # let mut ticket = caller.send(b"a frame", Duration::from_secs(1))?;
    /// service.receive()?.reply_with(1000, |frame| frame.fill(7))?;
    /// # assert_eq!(caller.wait(&mut ticket)?.unwrap()[..], [7; 1000]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`ReplyError::Gone`] if the caller is gone
    /// - [`ReplyError::TooLong`] if the reply is too long; the caller is told so
    /// - [`ReplyError::Evicted`] if the caller has left more replies than
    ///   [`backlog_max`](super::ServiceOptions::backlog_max)
    /// - [`ReplyError::Forked`] in a forked child
    pub fn reply_with(self, len: usize, fill: impl FnOnce(&mut [u8])) -> Result<(), ReplyError> {
        self.reply_by(len, fill)
    }

    fn reply_by(mut self, len: usize, fill: impl Fill) -> Result<(), ReplyError> {
        let outcome = self.answer(Kind::LastReply, len, fill);
        if matches!(outcome, Err(ReplyError::TooLong { .. })) {
            let _ = self.answer(Kind::Refusal(Cause::ReplyTooLong), 0, Copied(&[]));
        }
        outcome
    }

    /// Sends a reply that is not the last one: [`reply`](Self::reply) sends that. Waits for room in the caller's ring
    /// for up to [`reply_timeout`](super::ServiceOptions::reply_timeout); a caller that takes longer is evicted. A
    /// service with one thread serves no other caller meanwhile. [`try_reply_part`](Self::try_reply_part) never waits.
    ///
    /// ```
    /// # use fdring::call::{Caller, Service};
    /// # use std::time::Duration;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut service = Service::listen("@doc-request-reply-part")?;
    /// # let mut caller = Caller::connect("@doc-request-reply-part")?;
    /// # let mut ticket = caller.send(b"count to 3", Duration::from_secs(1))?;
    /// let request = service.receive()?;
    /// request.reply_part(b"1")?;
    /// request.reply_part(b"2")?;
    /// request.reply(b"3")?;
    /// # let mut replies = 0;
    /// # while let Some(_) = caller.wait(&mut ticket)? { replies += 1; }
    /// # assert_eq!(replies, 3);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`ReplyError::Gone`] if the caller is gone
    /// - [`ReplyError::Evicted`] if the caller made no room in time
    /// - [`ReplyError::TooLong`] if the part is too long; nothing was sent
    /// - [`ReplyError::Wait`] if the kernel does not let this thread wait
    /// - [`ReplyError::Forked`] in a forked child
    pub fn reply_part(&self, part: &[u8]) -> Result<(), ReplyError> {
        let mut patience = self.port.patience();
        loop {
            match self.try_reply_part(part) {
                Err(ReplyError::Full) => self.port.wait_for_room(&mut patience)?,
                outcome => return outcome,
            }
        }
    }

    /// Like [`reply_part`](Self::reply_part), but never waits.
    ///
    /// ```
    /// # use fdring::call::{Caller, ReplyError, Service};
    /// # use std::time::Duration;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut service = Service::listen("@doc-request-try-reply-part")?;
    /// # let mut caller = Caller::connect("@doc-request-try-reply-part")?;
    /// # let ticket = caller.send(b"everything", Duration::from_secs(1))?;
    /// let request = service.receive()?;
    /// while request.try_reply_part(&[0; 1000]) != Err(ReplyError::Full) {}
    /// // … serve others, and go on later …
    /// # drop(ticket);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`ReplyError::Full`] if there is no room now
    /// - [`ReplyError::Gone`] if the caller is gone
    /// - [`ReplyError::TooLong`] if the part is too long; nothing was sent
    /// - [`ReplyError::Forked`] in a forked child
    pub fn try_reply_part(&self, part: &[u8]) -> Result<(), ReplyError> {
        self.port.answer(self.id, Kind::Reply, part.len(), Copied(part))
    }

    /// Refuses the request, and says why. The caller gets at most 512 bytes of `reason`.
    ///
    /// ```
    /// # use fdring::call::{CallError, Caller, Cause, Service};
    /// # use std::time::Duration;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut service = Service::listen("@doc-request-refuse")?;
    /// # let mut caller = Caller::connect("@doc-request-refuse")?;
    /// # let mut ticket = caller.send(b"1 / 0", Duration::from_secs(1))?;
    /// service.receive()?.refuse("division by zero")?;
    /// # let error = caller.wait(&mut ticket).unwrap_err();
    /// # assert!(matches!(error, CallError::Refused { cause: Cause::Program, .. }));
    /// # assert_eq!(error.to_string(), "the service refused: division by zero");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`ReplyError::Gone`] if the caller is gone
    /// - [`ReplyError::Evicted`] if the caller has left more replies than
    ///   [`backlog_max`](super::ServiceOptions::backlog_max)
    /// - [`ReplyError::Forked`] in a forked child
    pub fn refuse(mut self, reason: &str) -> Result<(), ReplyError> {
        let mut end = reason.len().min(REASON_MAX_BYTES);
        while !reason.is_char_boundary(end) {
            end -= 1;
        }
        self.answer(Kind::Refusal(Cause::Program), end, Copied(&reason.as_bytes()[..end]))
    }

    /// Whether nobody waits for the answer any more: its deadline has passed, the caller is gone, or it gave the call
    /// up and the service has read that.
    ///
    /// ```
    /// # use fdring::call::{Caller, Service};
    /// # use std::time::Duration;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut service = Service::listen("@doc-request-is-cancelled")?;
    /// # let mut caller = Caller::connect("@doc-request-is-cancelled")?;
    /// # let ticket = caller.send(b"everything", Duration::from_secs(60))?;
    /// let request = service.receive()?;
    /// for _piece_of_work in 0..3 {
    ///     if request.is_cancelled() {
    ///         break;
    ///     }
    /// }
    /// # assert!(!request.is_cancelled());
    /// # drop(ticket);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        let is_late = || self.deadline_ns != 0 && now_ns() >= self.deadline_ns;
        self.port.given_up.has(self.id) || self.port.is_gone() || is_late()
    }

    /// The time until which the caller waits. `None` if it waits for ever. A caller with a timeout of a second or more
    /// waits 10 ms longer.
    ///
    /// ```
    /// # use fdring::call::{Caller, Service};
    /// # use std::time::Duration;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut service = Service::listen("@doc-request-deadline")?;
    /// # let mut caller = Caller::connect("@doc-request-deadline")?;
    /// # let ticket = caller.send(b"everything", Duration::from_secs(60))?;
    /// let request = service.receive()?;
    /// assert!(request.deadline() > Some(fdring::info::MonotonicTime::now()));
    /// # drop(ticket);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn deadline(&self) -> Option<MonotonicTime> {
        (self.deadline_ns != 0).then(|| MonotonicTime::from_nanos(self.deadline_ns))
    }

    /// How long the caller still waits. `None` if it waits for ever.
    ///
    /// ```
    /// # use fdring::call::{Caller, Service};
    /// # use std::time::Duration;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut service = Service::listen("@doc-request-time-left")?;
    /// # let mut caller = Caller::connect("@doc-request-time-left")?;
    /// # let ticket = caller.send(b"everything", Duration::from_secs(60))?;
    /// assert!(service.receive()?.time_left() <= Some(Duration::from_secs(60)));
    /// # drop(ticket);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn time_left(&self) -> Option<Duration> {
        self.deadline().map(|deadline| deadline.since(MonotonicTime::now()))
    }

    /// The process that waits for the answer.
    ///
    /// ```
    /// # use fdring::call::{Caller, Service};
    /// # use std::time::Duration;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut service = Service::listen("@doc-request-caller")?;
    /// # let mut caller = Caller::connect("@doc-request-caller")?;
    /// # let ticket = caller.send(b"who am I?", Duration::from_secs(60))?;
    /// assert_eq!(service.receive()?.caller().pid, Some(std::process::id())); // it is this process
    /// # drop(ticket);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn caller(&self) -> &CallerInfo {
        &self.port.caller
    }

    #[cfg(test)]
    pub(super) fn port(&self) -> &Port {
        &self.port
    }

    fn answer(&mut self, kind: Kind, len: usize, fill: impl Fill) -> Result<(), ReplyError> {
        let outcome = self.port.answer(self.id, kind, len, fill);
        self.is_answered = !matches!(outcome, Err(ReplyError::TooLong { .. }));
        outcome
    }
}

impl Deref for Request {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.body
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        if !self.is_answered {
            // The caller may be gone, and nobody waits.
            let _ = self.answer(Kind::Refusal(Cause::Dropped), 0, Copied(&[]));
        }
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, port, .. } = self;
        f.debug_struct("Request").field("id", id).field("caller", &port.caller).field("body", &&self[..]).finish()
    }
}
