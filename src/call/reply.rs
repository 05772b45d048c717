//! What a caller holds of its calls: tickets and replies.

use super::body::Body;
use super::caller::Until;
use crate::os::fork::ForkGuard;
use crate::sync::{Mutex, Ordering};
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// A call in flight, to wait for with the [`Caller`](super::Caller) that sent it. Dropping it gives the call up: the
/// caller tells the service so at its next call, and drops replies that still come.
///
/// ```
/// # use fdring::call::{Caller, Service, Ticket};
/// # use std::time::Duration;
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let service = Service::listen("@doc-ticket")?;
/// let mut caller = Caller::connect("@doc-ticket")?;
/// let ticket: Ticket = caller.send(b"2 + 2", Duration::from_secs(1))?;
/// drop(ticket); // nobody waits for the reply
/// # drop(service);
/// # Ok(())
/// # }
/// ```
#[must_use = "dropping a ticket gives the call up; wait for it"]
pub struct Ticket {
    pub(super) call: OpenCall,
    dropped: Arc<Dropped>,
}

/// A call in flight, as who waits for it knows it.
#[derive(Debug)]
pub(super) struct OpenCall {
    pub(super) id: u64,
    pub(super) until: Until,
    /// Whether all of it has come: its last reply, a refusal, or an error that ended it.
    pub(super) is_over: bool,
}

impl Ticket {
    pub(super) fn new(call: OpenCall, dropped: &Arc<Dropped>) -> Self {
        Self { call, dropped: Arc::clone(dropped) }
    }

    pub(super) fn is_of(&self, dropped: &Arc<Dropped>) -> bool {
        Arc::ptr_eq(&self.dropped, dropped)
    }

    /// Whether the last reply, or the error that ended the call, was returned.
    ///
    /// ```
    /// # use fdring::call::{Caller, Service};
    /// # use std::time::Duration;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let service = Service::listen("@doc-ticket-is-over")?;
    /// let mut caller = Caller::connect("@doc-ticket-is-over")?;
    /// let mut ticket = caller.send(b"2 + 2", Duration::from_millis(1))?;
    /// assert!(caller.wait(&mut ticket).is_err() && ticket.is_over()); // nobody replies
    /// # drop(service);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.call.is_over
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if !self.call.is_over {
            self.dropped.put(self.call.id);
        }
    }
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let OpenCall { id, until, is_over } = &self.call;
        f.debug_struct("Ticket").field("id", id).field("until", until).field("is_over", is_over).finish()
    }
}

/// The calls whose tickets were dropped, on any thread.
#[derive(Debug)]
pub(super) struct Dropped {
    guard: ForkGuard,
    /// Whether there are any: a look at this costs no lock.
    are_there: AtomicBool,
    ids: Mutex<Vec<u64>>,
}

impl Dropped {
    pub(super) fn new(guard: ForkGuard) -> Self {
        Self { guard, are_there: AtomicBool::new(false), ids: Mutex::default() }
    }

    fn put(&self, id: u64) {
        // The lock may have been held when the process forked.
        if !self.guard.is_child() {
            self.ids.lock().push(id);
            self.are_there.store(true, Ordering::Relaxed); // a hint: the lock orders the numbers
        }
    }

    pub(super) fn take(&self) -> Option<u64> {
        if !self.are_there.load(Ordering::Relaxed) {
            return None;
        }
        let mut ids = self.ids.lock();
        let id = ids.pop();
        if ids.is_empty() {
            self.are_there.store(false, Ordering::Relaxed);
        }
        id
    }
}

/// A reply to a request: its bytes, which are a copy at any alignment, and whether it is the last one.
///
/// ```
/// # use fdring::call::{Caller, Reply, Service};
/// # use std::time::Duration;
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let mut service = Service::listen("@doc-reply")?;
/// # let server = std::thread::spawn(move || service.receive().unwrap().reply(b"4").unwrap());
/// # let mut caller = Caller::connect("@doc-reply")?;
/// let reply: Reply = caller.call(b"2 + 2", Duration::from_secs(1))?;
/// assert_eq!(&reply[..], b"4");
/// assert!(reply.is_last());
/// # server.join().unwrap();
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reply {
    bytes: Body,
    is_last: bool,
}

impl Reply {
    pub(super) fn new(bytes: Body, is_last: bool) -> Self {
        Self { bytes, is_last }
    }

    /// Whether no further reply to this request comes.
    ///
    /// ```
    /// # use fdring::call::{Caller, Service};
    /// # use std::time::Duration;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut service = Service::listen("@doc-reply-is-last")?;
    /// # let server = std::thread::spawn(move || service.receive().unwrap().reply(b"4").unwrap());
    /// # let mut caller = Caller::connect("@doc-reply-is-last")?;
    /// assert!(caller.call(b"2 + 2", Duration::from_secs(1))?.is_last());
    /// # server.join().unwrap();
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn is_last(&self) -> bool {
        self.is_last
    }

    /// The bytes alone.
    ///
    /// ```
    /// # use fdring::call::{Caller, Service};
    /// # use std::time::Duration;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut service = Service::listen("@doc-reply-into-bytes")?;
    /// # let server = std::thread::spawn(move || service.receive().unwrap().reply(b"4").unwrap());
    /// # let mut caller = Caller::connect("@doc-reply-into-bytes")?;
    /// let bytes: Vec<u8> = caller.call(b"2 + 2", Duration::from_secs(1))?.into_bytes();
    /// assert_eq!(bytes, b"4");
    /// # server.join().unwrap();
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes.into_vec()
    }
}

impl Deref for Reply {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}
