//! Producers that connect: to a consumer that listens, at whose address they offer their lanes.
//!
//! The session is served as any other of a server's ([`serving`](super::serving)): by the thread that connects until
//! it stands, then by a steward of its own. The invariant: once a call here has returned, the consumer has its seats,
//! so that it gets every record from then on.

use super::Address;
use super::admission::CONNECTING;
use super::client::admits_listener;
use super::connecting::{open_socket, try_for};
use super::served::{Arrival, ArrivalKind, Meeting, OutcomeSender};
use super::server::{Server, ServerOptions, check_lanes, lanes_of};
use crate::deadline::Deadline;
use crate::error::{Error, Result};
use crate::fds;
use crate::lane::Lane;
use crate::os::closing::Connection;
use crate::os::fork::ForkGuard;
use crate::os::interrupt::Interrupter;
use crate::os::peer::Peer;
use crate::producer::Producer;
use rustix::fd::AsFd;
use std::borrow::Borrow;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

impl ServerOptions {
    /// The time for which [`connect`](Self::connect) tries again while nobody listens, or the consumer is restarting or
    /// busy: after each error that [is worth retrying](Error::is_worth_retrying). The pauses between two tries grow
    /// from 1 ms to 100 ms. Default: zero, a single try. No effect on servers that listen.
    ///
    /// ```
    /// # use fdring::collect::SessionListener;
    /// # use fdring::{Attach, Producer, options::ServerOptions};
    /// # use std::time::Duration;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let consumer = std::thread::spawn(|| {
    ///     let listener = SessionListener::listen("@doc-server-patience")?; // may begin later than the producer
    ///     listener.accept()?.attach_one(Attach::new())
    /// });
    /// let ticks = Producer::create("ticks")?;
    /// let patient = ServerOptions::new().patience(Duration::from_secs(60));
    /// let link = patient.connect("@doc-server-patience", [&ticks])?;
    /// assert_eq!(consumer.join().unwrap()?.lane().name, "ticks");
    /// # Ok(())
    /// # }
    /// ```
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Connects to a consumer that listens at `address` ([`SessionListener`](crate::collect::SessionListener)) and
    /// offers it the lanes of `producers`. Waits until the consumer is attached: it gets every record that is sent
    /// after this call.
    ///
    /// The returned server has this one session, and listens nowhere. Its [`address`](Server::address) is the
    /// consumer's. Dropping it does not end the session, which ends when the consumer leaves or the lanes end.
    /// [`peers`](Self::peers) says which users' consumers get the lanes, [`deadline`](Self::deadline) how long the
    /// handshake may take. The time until the consumer accepts counts, too.
    ///
    /// A consumer that begins at the [oldest](crate::options::Start::Oldest) record also gets records from before this
    /// call.
    ///
    /// ```
    /// # use fdring::collect::SessionListener;
    /// # use fdring::{Attach, Producer, options::ServerOptions};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let listener = SessionListener::listen("@doc-server-options-connect-out")?;
    /// let consumers = std::thread::spawn(move || listener.accept()?.attach_all(Attach::new()));
    ///
    /// // Usually in another process:
    /// let (mut ticks, trades) = (Producer::create("ticks")?, Producer::create("trades")?);
    /// let link = ServerOptions::new().connect("@doc-server-options-connect-out", [&ticks, &trades])?;
    /// ticks.send(b"hello")?;
    ///
    /// let mut consumers = consumers.join().unwrap()?;
    /// assert_eq!(&consumers[0].receive()?.unwrap()[..], b"hello");
    /// # assert_eq!(link.stats().sessions, 1);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// With [`patience`](Self::patience), the error of the last try:
    ///
    /// - [`Error::Os`] if nobody listens there, or the system is short of memory or descriptors
    /// - [`Error::Invalid`] if the address is out of range, if there is no producer, or if two lanes have the same name
    /// - [`Error::Refused`] if the consumer refuses, for example because it already has as many sessions as it allows,
    ///   or because a server listens there, which is no consumer
    /// - [`Error::Forbidden`] if the consumer runs as a user that is not admitted
    /// - [`Error::Peer`] if the consumer breaks the protocol, or wants to read in place and may not
    /// - [`Error::Closed`] if the consumer closes the connection
    /// - [`Error::TimedOut`] if it is not attached within the [`deadline`](Self::deadline)
    /// - [`Error::Interrupted`] if an [`Interrupter`] ended the wait
    /// - [`Error::Forked`] in a forked child of a process that has used this library, or if a producer was made before
    ///   a fork
    pub fn connect<'a, P>(
        self,
        address: impl Into<Address>,
        producers: impl IntoIterator<Item = &'a P>,
    ) -> Result<Server>
    where
        P: Borrow<Producer> + 'a,
    {
        let (address, lanes) = (address.into(), lanes_of(producers)?);
        check_lanes(&lanes)?;
        try_for(self.patience, self.interrupter.as_ref(), || self.connect_once(&address, &lanes))
    }

    /// One try to connect.
    fn connect_once(&self, address: &Address, lanes: &[Arc<Lane>]) -> Result<Server, Error> {
        let guard = ForkGuard::get()?;
        let limit = self.limits.deadline;
        let deadline = Deadline::after(limit);
        let interrupter: Option<&Interrupter> = self.interrupter.as_ref();
        let socket = Connection::new(open_socket(address, deadline, limit, interrupter)?, guard);
        // From Linux 6.16 on, the kernel refuses messages with descriptors.
        fds::refuse_fds(socket.as_fd());
        let listener = Peer::of(&socket)?;
        admits_listener(&self.limits.peers, &listener)?;
        let (says, outcome) = sync_channel(1);
        let origin = ArrivalKind::Connected { listener, outcome: OutcomeSender(says), deadline };
        let arrival = Arrival { socket, origin };
        let meeting = Meeting { arrival, outcome: &outcome, interrupter, doing: CONNECTING };
        self.clone().meet(lanes.to_vec(), meeting, address)
    }
}

impl Producer {
    /// Connects to a consumer that listens at `address` ([`SessionListener`](crate::collect::SessionListener)) with the
    /// default [`ServerOptions`], and offers it this lane. Waits until the consumer is attached: it gets every record
    /// that is sent after this call.
    ///
    /// A program that ends right after it has sent loses nothing: the consumer reads to the end. Dropping the server
    /// that is returned does not end the session. [`ServerOptions::connect`] is for several lanes.
    ///
    /// ```
    /// use fdring::collect::SessionListener;
    /// use fdring::{Attach, Producer};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let listener = SessionListener::listen("@doc-producer-connect")?;
    /// let consumer = std::thread::spawn(move || listener.accept()?.attach_one(Attach::new()));
    ///
    /// // Usually in another process:
    /// let mut ticks = Producer::create("ticks")?;
    /// let link = ticks.connect("@doc-producer-connect")?;
    /// ticks.send(b"hello")?;
    /// ticks.finish();
    ///
    /// let mut consumer = consumer.join().unwrap()?;
    /// assert_eq!(&consumer.receive()?.unwrap()[..], b"hello");
    /// assert!(consumer.receive()?.is_none());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`Error::Os`] if nobody listens there, or the system is short of memory or descriptors
    /// - [`Error::Invalid`] if the address is out of range
    /// - [`Error::Refused`] if the consumer refuses, for example because it already has as many sessions as it allows
    /// - [`Error::Forbidden`] if the consumer runs as another user
    /// - [`Error::Peer`] if the consumer breaks the protocol
    /// - [`Error::Closed`] if the consumer closes the connection
    /// - [`Error::TimedOut`] if it is not attached within 5 s
    /// - [`Error::Forked`] in a forked child
    pub fn connect(&self, address: impl Into<Address>) -> Result<Server> {
        ServerOptions::new().connect(address, [self])
    }
}
