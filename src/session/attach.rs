//! The options for reading one lane: where to begin, and how payloads reach the caller.
//!
//! The invariant: only the caller's unsafe promise makes the token with which payloads are read in place.
#![allow(unsafe_code, reason = "the promise is the caller's; the token carries it to where payloads are read")]

use crate::memory::InPlace;
use crate::terms::{Access, Delivery, Start};

/// How to attach to one lane, as a consumer or as a tap: which lane, where to begin, copying or in place.
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
    attachments: bool,
}

impl Attach {
    /// The defaults: payloads are copied out, starting with the next record that is published.
    ///
    /// It names no lane. [`attach_one`](crate::Session::attach_one) uses it for the session's only lane,
    /// [`attach_all`](crate::Session::attach_all) for each lane.
    ///
    /// ```
    /// # use fdring::{Attach, Producer, Server, Session};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut ticks = Producer::create("ticks")?;
    /// # let server = Server::listen("@doc-attach-new", [&ticks])?;
    /// let mut consumer = Session::connect("@doc-attach-new")?.attach_one(Attach::new())?;
    /// ticks.send(b"hello")?;
    /// assert_eq!(&consumer.receive()?.unwrap()[..], b"hello");
    /// # Ok(())
    /// # }
    /// ```
    pub fn new() -> Self {
        Self { lane: None, start: Start::Latest, in_place: None, attachments: false }
    }

    /// The defaults for the lane called `name`.
    ///
    /// ```
    /// # use fdring::{Attach, Producer, Server, Session};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let (ticks, trades) = (Producer::create("ticks")?, Producer::create("trades")?);
    /// # let server = Server::listen("@doc-attach-lane", [&ticks, &trades])?;
    /// let consumer = Session::connect("@doc-attach-lane")?.attach_one(Attach::lane("trades"))?;
    /// assert_eq!(consumer.lane().name, "trades");
    /// # Ok(())
    /// # }
    /// ```
    pub fn lane(name: impl Into<String>) -> Self {
        Self { lane: Some(name.into()), ..Self::new() }
    }

    /// Where to begin. Default: [`Start::Latest`].
    ///
    /// ```
    /// # use fdring::{Attach, Producer, Server, Session, options::Start};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut ticks = Producer::create("ticks")?;
    /// # let server = Server::listen("@doc-attach-start", [&ticks])?;
    /// ticks.send(b"before")?;
    /// let session = Session::connect("@doc-attach-start")?;
    /// let mut consumer = session.attach_one(Attach::new().start(Start::Oldest))?;
    /// assert_eq!(&consumer.receive()?.unwrap()[..], b"before");
    /// # Ok(())
    /// # }
    /// ```
    pub fn start(mut self, start: Start) -> Self {
        self.start = start;
        self
    }

    /// Reads payloads in the ring itself. Default: each payload is copied out, and everything is checked.
    ///
    /// The server decides which users may read in place, see
    /// [`ServerOptions::in_place`](crate::options::ServerOptions::in_place).
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
    /// assert!(consumer.reads_in_place());
    /// assert_eq!(&consumer.receive()?.unwrap()[..], b"hello");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Safety
    ///
    /// Rust does not define what happens when another process changes the bytes behind a `&[u8]`. The caller promises,
    /// for every lane that this `Attach` or a clone of it is used for, and for as long as the consumers live:
    ///
    /// - Every process that can write to the lane's data region follows the protocol. The seals leave only the
    ///   producer's process. It changes no byte between what a consumer has released and what is published, and it
    ///   waits for a consumer until the consumer's seat is unmapped. A producer made with this crate does that, as long
    ///   as no debugger and no unsafe code of its program writes to its memory.
    /// - No forked child touches a record that was received before the fork.
    pub unsafe fn in_place(mut self) -> Self {
        // SAFETY: the caller vouches for what `InPlace::vouch` asks.
        self.in_place = Some(unsafe { InPlace::vouch() });
        self
    }

    /// Whether to receive the descriptors that are attached to records, on a lane that has such records
    /// ([`LaneOptions::attachments`](crate::options::LaneOptions::attachments)). Default: false, which tells only how
    /// many each record has.
    ///
    /// [`Record::take_fds`](crate::Record::take_fds) takes them. Descriptors that are not taken before the next call on
    /// the consumer are closed. A consumer that leaves too many records unread makes the producer wait, which it does
    /// for no longer than the lane's [`SlowConsumer`](crate::options::SlowConsumer) allows.
    ///
    /// ```
    /// # use fdring::{Attach, Server, Session, options::LaneOptions};
    /// # use std::{fs::File, os::fd::AsFd};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut files = LaneOptions::new("files").attachments(1).create()?;
    /// # let server = Server::listen("@doc-attach-attachments", [&files])?;
    /// let mut consumer = Session::connect("@doc-attach-attachments")?.attach_one(Attach::new().attachments(true))?;
    /// # files.send_with_fds(b"null", &[File::open("/dev/null")?.as_fd()])?;
    /// let record = consumer.receive()?.unwrap();
    /// let null = File::from(record.take_fds()?.remove(0));
    /// # assert!(null.metadata()?.len() == 0);
    /// # Ok(())
    /// # }
    /// ```
    pub fn attachments(mut self, attachments: bool) -> Self {
        self.attachments = attachments;
        self
    }

    /// The same, for the lane of that name.
    pub(super) fn of_lane(self, name: &str) -> Self {
        Self { lane: Some(name.to_owned()), ..self }
    }

    /// Finds what the protocol does not allow, before anything is sent.
    pub(crate) fn check(&self, delivery: Delivery) -> Result<(), &'static str> {
        match (delivery, self.access(), self.starts_at()) {
            (Delivery::Lossy, ..) if self.attachments => Err("a tap is given no descriptors, only their number"),
            (Delivery::Lossy, Access::InPlace, _) => Err("a tap reads copies only: the lane does not wait for it"),
            (Delivery::Lossless, _, Start::Newest) => {
                Err("a consumer misses nothing, and so cannot begin at the newest record")
            }
            (Delivery::Lossy, _, Start::Resume) => Err("a tap has no place on its lane, so there is none to resume at"),
            _ => Ok(()),
        }
    }

    /// The name of the lane, if one is named.
    pub(crate) fn name(&self) -> Option<&str> {
        self.lane.as_deref()
    }

    pub(crate) fn starts_at(&self) -> Start {
        self.start
    }

    pub(super) fn access(&self) -> Access {
        if self.in_place.is_some() { Access::InPlace } else { Access::Copies }
    }

    pub(super) fn takes_fds(&self) -> bool {
        self.attachments
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
