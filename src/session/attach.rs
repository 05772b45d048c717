//! What a consumer asks of one lane: where to begin, and how payloads reach the caller.
//!
//! The invariant: only the caller's unsafe promise makes the token with which payloads are read in place.
#![allow(unsafe_code, reason = "the promise is the caller's; the token carries it to where payloads are read")]

use crate::memory::InPlace;
use crate::terms::{Access, Start};

/// How to attach to a lane: which one, where to begin, copying or in place.
///
/// ```
/// use fdring::options::Start;
/// use fdring::{Attach, Producer, Server, Session};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (mut ticks, trades) = (Producer::create("ticks")?, Producer::create("trades")?);
/// let server = Server::listen("@doc-attach", [&ticks, &trades])?;
/// ticks.send(b"before")?;
///
/// // Usually in another process:
/// let session = Session::connect("@doc-attach")?;
/// let ticks = Attach::lane("ticks").start(Start::Oldest);
/// let mut consumers = session.attach([Attach::lane("trades"), ticks])?;
/// assert_eq!(&consumers[1].receive()?.unwrap()[..], b"before");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use = "this does nothing until a session attaches with it"]
pub struct Attach {
    lane: Option<String>,
    start: Start,
    in_place: Option<InPlace>,
}

impl Attach {
    /// Copies payloads out, from the latest record on. Names no lane: [`attach_one`](crate::Session::attach_one) takes
    /// it for the session's only lane, [`attach_all`](crate::Session::attach_all) for each.
    pub fn new() -> Self {
        Self { lane: None, start: Start::Latest, in_place: None }
    }

    /// The same for the lane of this name.
    pub fn lane(name: impl Into<String>) -> Self {
        Self { lane: Some(name.into()), ..Self::new() }
    }

    /// Where to begin. Default: at the latest record.
    pub fn start(mut self, start: Start) -> Self {
        self.start = start;
        self
    }

    /// Reads payloads in the ring itself. Default: each payload is copied out, and everything is checked.
    ///
    /// The server has a policy of its own for readers in place
    /// ([`ServerOptions::in_place`](crate::options::ServerOptions::in_place)).
    ///
    /// ```
    /// # use fdring::{Attach, Producer, Server, Session};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut ticks = Producer::create("ticks")?;
    /// # let server = Server::listen("@doc-attach-in-place", [&ticks])?;
    /// // SAFETY: the producer is this very program, and follows the protocol.
    /// let trusted = unsafe { Attach::new().in_place() };
    /// let mut consumer = Session::connect("@doc-attach-in-place")?.attach_one(trusted)?;
    /// # ticks.send(b"hello")?;
    /// assert_eq!(&consumer.receive()?.unwrap()[..], b"hello");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Safety
    ///
    /// Rust gives `&[u8]` no meaning over bytes that another process changes, so the caller vouches for the producer of
    /// every lane that this, or a clone of it, is used for. As long as the consumers live, every process that can write
    /// to the lanes' data regions follows the protocol (the seals leave only the producer's process): it changes no
    /// byte between what a consumer has released and what is published, and it waits for a consumer until the
    /// consumer's seat is unmapped. A producer made with this crate does that, unless a debugger or unsafe code of its
    /// program writes to its memory. And no forked child touches a record that was received before the fork.
    pub unsafe fn in_place(mut self) -> Self {
        // SAFETY: the caller vouches for what `InPlace::vouch` asks.
        self.in_place = Some(unsafe { InPlace::vouch() });
        self
    }

    /// The name of the lane, if one is named.
    pub(super) fn name(&self) -> Option<&str> {
        self.lane.as_deref()
    }

    pub(super) fn starts_at(&self) -> Start {
        self.start
    }

    pub(super) fn access(&self) -> Access {
        if self.in_place.is_some() { Access::InPlace } else { Access::Copies }
    }

    pub(super) fn trust(&self) -> Option<InPlace> {
        self.in_place.clone()
    }
}

impl Default for Attach {
    fn default() -> Self {
        Self::new()
    }
}
