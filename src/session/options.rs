//! How a session is opened: for which lanes, with whom, and how patiently.
//!
//! [`Session::open`](super::client::Session::open) is one try to connect.

use super::client::Session;
use super::connecting::try_for;
use super::{Address, HANDSHAKE_DEADLINE, PeerPolicy};
use crate::error::Result;
use crate::lane::SPIN_DEFAULT;
use crate::os::interrupt::Interrupter;
use rustix::fd::OwnedFd;
use std::time::Duration;

/// Options for opening a session. [`connect`](Self::connect) opens it.
///
/// ```
/// use fdring::options::SessionOptions;
/// use fdring::{Attach, Producer, Server};
/// use std::time::Duration;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let ticks = Producer::create("ticks")?;
/// # let server = Server::listen("@doc-session-options", [&ticks])?;
/// let options = SessionOptions::new().lanes(["ticks"]).patience(Duration::from_secs(10));
/// let consumer = options.connect("@doc-session-options")?.attach_one(Attach::new())?;
/// assert_eq!(consumer.lane().name, "ticks");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use = "options do nothing until a session is opened with them"]
pub struct SessionOptions {
    pub(super) lanes: Vec<String>,
    pub(crate) deadline: Duration,
    pub(crate) patience: Duration,
    pub(super) peers: PeerPolicy,
    pub(super) spin: Duration,
    pub(super) prefault: bool,
    pub(super) core_dumps: bool,
    pub(crate) interrupter: Option<Interrupter>,
}

impl SessionOptions {
    /// The defaults: all lanes on offer, from a server that runs as this user and already listens.
    ///
    /// ```
    /// # use fdring::{Producer, Server, options::SessionOptions};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let (ticks, trades) = (Producer::create("ticks")?, Producer::create("trades")?);
    /// # let server = Server::listen("@doc-session-options-new", [&ticks, &trades])?;
    /// let session = SessionOptions::new().connect("@doc-session-options-new")?; // as Session::connect
    /// assert_eq!(session.lanes().len(), 2);
    /// # Ok(())
    /// # }
    /// ```
    pub fn new() -> Self {
        Self {
            lanes: Vec::new(),
            deadline: HANDSHAKE_DEADLINE,
            patience: Duration::ZERO,
            peers: PeerPolicy::SameUser,
            spin: SPIN_DEFAULT,
            prefault: true,
            core_dumps: false,
            interrupter: None,
        }
    }

    /// The names of the lanes to ask for, at most 83, in this order. Default: all lanes on offer. Only these are
    /// mapped.
    ///
    /// ```
    /// # use fdring::{Producer, Server, options::SessionOptions};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let (ticks, trades) = (Producer::create("ticks")?, Producer::create("trades")?);
    /// # let server = Server::listen("@doc-session-options-lanes", [&ticks, &trades])?;
    /// let session = SessionOptions::new().lanes(["trades"]).connect("@doc-session-options-lanes")?;
    /// assert_eq!(session.lanes().len(), 1);
    /// assert_eq!(session.lanes()[0].name, "trades");
    /// # Ok(())
    /// # }
    /// ```
    pub fn lanes(mut self, names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.lanes = names.into_iter().map(Into::into).collect();
        self
    }

    /// The time allowed for the handshake, from connecting until the lanes are attached to. Default: 5 s.
    ///
    /// ```
    /// # use fdring::{Attach, Producer, Server, options::SessionOptions};
    /// # use std::time::Duration;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let ticks = Producer::create("ticks")?;
    /// # let server = Server::listen("@doc-session-options-deadline", [&ticks])?;
    /// let options = SessionOptions::new().deadline(Duration::from_secs(30)); // for a large ring on a slow machine
    /// let consumer = options.connect("@doc-session-options-deadline")?.attach_one(Attach::new())?;
    /// # assert_eq!(ticks.consumer_count(), 1);
    /// # Ok(())
    /// # }
    /// ```
    #[doc(alias("connect_timeout"))]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// The time for which [`connect`](Self::connect) tries again while no server listens, or the server is restarting
    /// or busy: after each error that [is worth retrying](crate::Error::is_worth_retrying). The pauses between two
    /// tries grow from 1 ms to 100 ms. Default: zero, a single try.
    ///
    /// ```
    /// # use fdring::{Producer, Server, options::SessionOptions};
    /// # use std::time::Duration;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let client = std::thread::spawn(|| {
    ///     SessionOptions::new().patience(Duration::from_secs(60)).connect("@doc-patience")
    /// });
    /// let ticks = Producer::create("ticks")?;
    /// let server = Server::listen("@doc-patience", [&ticks])?; // may begin later than the client
    /// assert_eq!(client.join().unwrap()?.lanes()[0].name, "ticks");
    /// # Ok(())
    /// # }
    /// ```
    #[doc(alias("retry", "wait_for_server"))]
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// The users whose server is trusted to be at the other end. Default: [`PeerPolicy::SameUser`], this user.
    ///
    /// If one process listens and another serves, as under systemd, the one that serves counts: the process that
    /// sends the first frame. The one that listens must be admitted too, or be root's.
    ///
    /// ```
    /// # use fdring::{Producer, Server, options::{PeerPolicy, SessionOptions}};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let ticks = Producer::create("ticks")?;
    /// # let server = Server::listen("@doc-session-options-peers", [&ticks])?;
    /// let root_too = PeerPolicy::Users(vec![0]);
    /// let session = SessionOptions::new().peers(root_too).connect("@doc-session-options-peers")?;
    /// # assert_eq!(session.lanes().len(), 1);
    /// # Ok(())
    /// # }
    /// ```
    pub fn peers(mut self, peers: PeerPolicy) -> Self {
        self.peers = peers;
        self
    }

    /// The time for which a consumer spins for a record before it sleeps. Default: 50 µs. Use 0 if producer and
    /// consumers share one core. Unless it is 0, connecting looks for each answer for up to 100 µs before it sleeps.
    ///
    /// ```
    /// # use fdring::{Attach, Producer, Server, options::SessionOptions};
    /// # use std::time::Duration;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut ticks = Producer::create("ticks")?;
    /// # let server = Server::listen("@doc-session-options-spin", [&ticks])?;
    /// let options = SessionOptions::new().spin(Duration::ZERO); // sleeps at once if there is no record
    /// let mut consumer = options.connect("@doc-session-options-spin")?.attach_one(Attach::new())?;
    /// # ticks.send(b"hello")?;
    /// # assert!(consumer.receive()?.is_some());
    /// # Ok(())
    /// # }
    /// ```
    pub fn spin(mut self, spin: Duration) -> Self {
        self.spin = spin;
        self
    }

    /// Whether every page of the rings is mapped at once, so that the first lap is as fast as later ones. Default:
    /// true. For 256 MiB this takes about 38 ms, on a thread of its own while the first records are read. The session
    /// waits for it only if pages of a ring are missing, as after
    /// [`LaneOptions::prefault(false)`](crate::options::LaneOptions::prefault), or cannot be seen, as in huge pages. If
    /// there is no memory for one of them, that is then an error here.
    ///
    /// ```
    /// # use fdring::{Attach, Producer, Server, options::SessionOptions};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut ticks = Producer::create("ticks")?;
    /// # let server = Server::listen("@doc-session-options-prefault", [&ticks])?;
    /// let options = SessionOptions::new().prefault(false); // connected sooner
    /// let mut consumer = options.connect("@doc-session-options-prefault")?.attach_one(Attach::new())?;
    /// # ticks.send(b"hello")?;
    /// # assert!(consumer.receive()?.is_some());
    /// # Ok(())
    /// # }
    /// ```
    pub fn prefault(mut self, prefault: bool) -> Self {
        self.prefault = prefault;
        self
    }

    /// Whether core dumps of this process contain the rings. Default: false. Such a dump is as long as the rings, may
    /// hold secrets, and takes long to write. Until it is written, the consumers hold their lanes back.
    ///
    /// ```
    /// # use fdring::{Attach, Producer, Server, options::SessionOptions};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut ticks = Producer::create("ticks")?;
    /// # let server = Server::listen("@doc-session-options-core-dumps", [&ticks])?;
    /// let options = SessionOptions::new().core_dumps(true); // nothing secret, and good for debugging
    /// let mut consumer = options.connect("@doc-session-options-core-dumps")?.attach_one(Attach::new())?;
    /// # ticks.send(b"hello")?;
    /// # assert!(consumer.receive()?.is_some());
    /// # Ok(())
    /// # }
    /// ```
    pub fn core_dumps(mut self, core_dumps: bool) -> Self {
        self.core_dumps = core_dumps;
        self
    }

    /// Has `interrupter` end every wait of the session: for a server, with all its [`patience`](Self::patience), for
    /// the handshake, and for the records of the session's consumers and taps. Default: none.
    ///
    /// ```
    /// use fdring::options::SessionOptions;
    /// use fdring::{Error, Interrupter};
    /// use std::time::Duration;
    ///
    /// # fn main() -> fdring::Result<()> {
    /// let stop = Interrupter::new()?;
    /// # stop.interrupt();
    /// // Meanwhile, in another thread or a signal handler: stop.interrupt()
    /// let patient = SessionOptions::new().patience(Duration::from_secs(60)).interrupter(&stop);
    /// let error = patient.connect("@doc-session-options-interrupter").unwrap_err();
    /// assert!(matches!(error, Error::Interrupted { .. }));
    /// # Ok(())
    /// # }
    /// ```
    pub fn interrupter(mut self, interrupter: &Interrupter) -> Self {
        self.interrupter = Some(interrupter.clone());
        self
    }

    /// Connects to the server at `address`, and maps and checks the lanes it offers.
    ///
    /// ```
    /// # use fdring::{Attach, Producer, Server, options::SessionOptions};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let ticks = Producer::create("ticks")?;
    /// # let server = Server::listen("@doc-session-options-connect", [&ticks])?;
    /// let session = SessionOptions::new().lanes(["ticks"]).connect("@doc-session-options-connect")?;
    /// let consumer = session.attach_one(Attach::new())?;
    /// # assert_eq!(ticks.consumer_count(), 1);
    ///
    /// let error = SessionOptions::new().lanes(["trades"]).connect("@doc-session-options-connect").unwrap_err();
    /// assert!(matches!(error, fdring::Error::Refused { .. })); // it has no such lane
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// With [`patience`](Self::patience), the error of the last try:
    ///
    /// - [`Error::Os`](crate::Error::Os) if no server listens there, or the system is short of memory or descriptors
    /// - [`Error::Invalid`](crate::Error::Invalid) if the address or the name of a lane is out of range
    /// - [`Error::Refused`](crate::Error::Refused) if the server refuses, for example because it has no lane of that
    ///   name
    /// - [`Error::Forbidden`](crate::Error::Forbidden) if the server runs as a user that is not admitted
    /// - [`Error::Peer`](crate::Error::Peer) if the server breaks the protocol, or offers memory that must not be
    ///   mapped
    /// - [`Error::Closed`](crate::Error::Closed) if the server closes the connection
    /// - [`Error::TimedOut`](crate::Error::TimedOut) if the handshake takes longer than the
    ///   [`deadline`](Self::deadline)
    /// - [`Error::Interrupted`](crate::Error::Interrupted) if an [`Interrupter`] ended the wait
    /// - [`Error::Forked`](crate::Error::Forked) in a forked child of a process that has used this library
    pub fn connect(self, address: impl Into<Address>) -> Result<Session> {
        let address = address.into();
        try_for(self.patience, self.interrupter.as_ref(), || Session::open(&address, &self))
    }

    /// Opens a session over a Unix socket of the type `SOCK_SEQPACKET` that is connected already, such as one end of a
    /// socketpair(2) or an inherited connection, and maps and checks the lanes on offer. The process at the other end
    /// is a server: see [`Server::serve`](crate::Server::serve).
    ///
    /// The producer is the process that sends the first frame, as the kernel says (`SCM_CREDENTIALS`). The socket's own
    /// credentials name the process that made the pair. Its user is its real user, or one of its effective and saved
    /// users that it names itself. [`peers`](Self::peers) is asked before anything is mapped. Before Linux 6.5 its
    /// process is watched by number. If it ends right after its first frame and another process gets its number, only
    /// the end of the connection tells of its death; and the user of a sender in another pid namespace is unknown.
    ///
    /// No other process should have a copy of this end: a producer that has one can keep the socket's lock, and
    /// receiving would then wait beyond its deadlines.
    ///
    /// The socket becomes close-on-exec. [`patience`](Self::patience) has no effect: there is a single try, and the
    /// socket is closed if that fails.
    ///
    /// ```
    /// # use fdring::{Attach, Producer, options::{ServerOptions, SessionOptions}};
    /// # use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let ticks = Producer::create("ticks")?;
    /// # let server = ServerOptions::new().listen_nowhere([&ticks])?;
    /// let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    /// server.serve(ours)?; // usually in another process
    ///
    /// let session = SessionOptions::new().lanes(["ticks"]).over(theirs)?;
    /// let consumer = session.attach_one(Attach::new())?;
    /// # assert_eq!(ticks.consumer_count(), 1);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`Error::Invalid`](crate::Error::Invalid) if the descriptor is no such socket, or the name of a lane is out of
    ///   range
    /// - [`Error::Os`](crate::Error::Os) if the system is short of memory or descriptors, or a system call fails
    /// - [`Error::Refused`](crate::Error::Refused) if the server refuses, for example because it has no lane of that
    ///   name
    /// - [`Error::Forbidden`](crate::Error::Forbidden) if the producer runs as a user that is not admitted
    /// - [`Error::Peer`](crate::Error::Peer) if the server breaks the protocol, or offers memory that must not be
    ///   mapped
    /// - [`Error::Closed`](crate::Error::Closed) if the server closes the connection
    /// - [`Error::TimedOut`](crate::Error::TimedOut) if the handshake takes longer than the
    ///   [`deadline`](Self::deadline)
    /// - [`Error::Forked`](crate::Error::Forked) in a forked child of a process that has used this library
    pub fn over(self, socket: impl Into<OwnedFd>) -> Result<Session> {
        Session::open_over(socket.into(), &self)
    }
}

impl Default for SessionOptions {
    fn default() -> Self {
        Self::new()
    }
}
