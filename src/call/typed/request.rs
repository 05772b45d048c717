//! A request that is a value, as its service has it.
//!
//! The invariant: that of a [`Request`], which is answered once.

use super::value_of;
use crate::call::{ReplyError, Request};
use crate::error::Result;
use bytemuck::{CheckedBitPattern, NoUninit};
use std::marker::PhantomData;

/// A [`Request`] that is a value of `Q`, and whose replies are values of `P`.
///
/// ```
/// # use fdring::call::{TypedCaller, TypedRequest, TypedService};
/// # use std::time::Duration;
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let mut service = TypedService::<u32, u32>::listen("@doc-typed-request")?;
/// # let mut caller = TypedCaller::<u32, u32>::connect("@doc-typed-request")?;
/// # let mut ticket = caller.send(&3, Duration::from_secs(1))?;
/// let request: TypedRequest<u32, u32> = service.receive()?;
/// if let Some(value) = request.value() {
///     request.reply(&(value * value))?;
/// }
/// # assert_eq!(caller.wait(&mut ticket)?, Some(9));
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "dropping a request refuses it; reply to it"]
pub struct TypedRequest<Q, P> {
    request: Request,
    values: PhantomData<fn(P) -> Q>,
}

impl<Q: CheckedBitPattern, P: NoUninit> TypedRequest<Q, P> {
    pub(crate) fn new(request: Request) -> Self {
        Self { request, values: PhantomData }
    }

    /// The value. `None` if the bytes are no `Q`: their length differs, or `Q` has no such bits.
    ///
    /// ```
    /// # use fdring::call::{TypedCaller, TypedService};
    /// # use std::time::Duration;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut service = TypedService::<bool, bool>::listen("@doc-typed-request-value")?;
    /// # let mut caller = TypedCaller::<bool, bool>::connect("@doc-typed-request-value")?;
    /// # let ticket = caller.untyped_mut().send(&[2], Duration::from_secs(1))?;
    /// assert_eq!(service.receive()?.value(), None); // a caller has sent 2 for a bool
    /// # drop(ticket);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn value(&self) -> Option<Q> {
        value_of(&self.request)
    }

    /// Answers it with a last reply: see [`Request::reply`].
    ///
    /// ```
    /// # use fdring::call::{TypedCaller, TypedService};
    /// # use std::time::Duration;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut service = TypedService::<u32, u32>::listen("@doc-typed-reply")?;
    /// # let mut caller = TypedCaller::<u32, u32>::connect("@doc-typed-reply")?;
    /// # let mut ticket = caller.send(&3, Duration::from_secs(1))?;
    /// service.receive()?.reply(&9)?;
    /// # assert_eq!(caller.wait(&mut ticket)?, Some(9));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`ReplyError::Gone`] if the caller is gone
    /// - [`ReplyError::TooLong`] if the reply is too long; the caller is told so
    /// - [`ReplyError::Evicted`] if the caller has left more replies than
    ///   [`backlog_max`](crate::call::ServiceOptions::backlog_max)
    /// - [`ReplyError::Forked`] in a forked child
    pub fn reply(self, reply: &P) -> Result<(), ReplyError> {
        self.request.reply(bytemuck::bytes_of(reply))
    }

    /// Sends a reply that others follow: see [`Request::reply_part`].
    ///
    /// ```
    /// # use fdring::call::{TypedCaller, TypedService};
    /// # use std::time::Duration;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut service = TypedService::<u32, u32>::listen("@doc-typed-reply-part")?;
    /// # let mut caller = TypedCaller::<u32, u32>::connect("@doc-typed-reply-part")?;
    /// # let mut ticket = caller.send(&2, Duration::from_secs(1))?;
    /// let request = service.receive()?;
    /// request.reply_part(&1)?;
    /// request.reply(&2)?;
    /// # assert_eq!((caller.wait(&mut ticket)?, caller.wait(&mut ticket)?), (Some(1), Some(2)));
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
    pub fn reply_part(&self, part: &P) -> Result<(), ReplyError> {
        self.request.reply_part(bytemuck::bytes_of(part))
    }

    /// Refuses the request, and says why: see [`Request::refuse`].
    ///
    /// ```
    /// # use fdring::call::{CallError, TypedCaller, TypedService};
    /// # use std::time::Duration;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut service = TypedService::<f64, f64>::listen("@doc-typed-refuse")?;
    /// # let mut caller = TypedCaller::<f64, f64>::connect("@doc-typed-refuse")?;
    /// # let mut ticket = caller.send(&-1.0, Duration::from_secs(1))?;
    /// service.receive()?.refuse("a negative number has no root")?;
    /// # assert!(matches!(caller.wait(&mut ticket), Err(CallError::Refused { .. })));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`ReplyError::Gone`] if the caller is gone
    /// - [`ReplyError::Evicted`] if the caller has left more replies than
    ///   [`backlog_max`](crate::call::ServiceOptions::backlog_max)
    /// - [`ReplyError::Forked`] in a forked child
    pub fn refuse(self, reason: &str) -> Result<(), ReplyError> {
        self.request.refuse(reason)
    }

    /// The request itself: who waits for it, until when, and whether it was cancelled.
    ///
    /// ```
    /// # use fdring::call::{TypedCaller, TypedService};
    /// # use std::time::Duration;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut service = TypedService::<u32, u32>::listen("@doc-typed-request-untyped")?;
    /// # let mut caller = TypedCaller::<u32, u32>::connect("@doc-typed-request-untyped")?;
    /// # let ticket = caller.send(&3, Duration::from_secs(60))?;
    /// assert!(!service.receive()?.untyped().is_cancelled());
    /// # drop(ticket);
    /// # Ok(())
    /// # }
    /// ```
    pub fn untyped(&self) -> &Request {
        &self.request
    }
}
