//! The program's side of a server: its options, its handle, its statistics.
//!
//! The [`steward`](super::steward), a thread, does the work on sockets and seats.

use super::admission::Admission;
use super::listener::Listener;
use super::served::{Arrival, ArrivalKind, Meeting};
use super::shared::{Limits, NewsKind, Offering, Progress, ServerStats, StewardHandle, StewardState};
use super::{Address, HANDSHAKE_DEADLINE, PeerPolicy, adopted};
use crate::deadline::Deadline;
use crate::error::{Error, Result};
use crate::fds;
use crate::lane::Lane;
use crate::os::closing::Connection;
use crate::os::fork::ForkGuard;
use crate::os::interrupt::Interrupter;
use crate::producer::Producer;
use crate::sync::Mutex;
use crate::trace::event;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use std::borrow::Borrow;
use std::sync::Arc;
use std::time::Duration;

/// How many sessions a server has at once, by default.
const SESSIONS_MAX: usize = 64;

/// Options for a server. [`listen`](Self::listen) starts it.
///
/// ```
/// use fdring::{Producer, options::ServerOptions};
///
/// # fn main() -> fdring::Result<()> {
/// let ticks = Producer::create("ticks")?;
/// let server = ServerOptions::new().sessions_max(8).listen("@doc-server-options", [&ticks])?;
/// assert_eq!(server.stats().sessions, 0);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use = "options do nothing until a server listens with them"]
pub struct ServerOptions {
    pub(super) limits: Limits,
    pub(super) mode: u32,
    pub(super) patience: Duration,
    pub(super) interrupter: Option<Interrupter>,
}

impl ServerOptions {
    /// The defaults: at most 64 sessions, with processes of this user, on a socket of the mode 0600.
    ///
    /// ```
    /// # use fdring::{Consumer, Producer, options::ServerOptions};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let ticks = Producer::create("ticks")?;
    /// let server = ServerOptions::new().listen("@doc-server-options-new", [&ticks])?; // as Server::listen
    /// let consumer = Consumer::connect("@doc-server-options-new")?;
    /// # assert_eq!(ticks.consumer_count(), 1);
    /// # Ok(())
    /// # }
    /// ```
    pub fn new() -> Self {
        let limits = Limits {
            sessions_max: SESSIONS_MAX,
            deadline: HANDSHAKE_DEADLINE,
            peers: PeerPolicy::SameUser,
            in_place: PeerPolicy::SameUser,
            reports: PeerPolicy::SameUser,
        };
        Self { limits, mode: 0o600, patience: Duration::ZERO, interrupter: None }
    }

    /// The maximum number of concurrent sessions, handshakes included. Default: 64. Further consumers are refused.
    ///
    /// ```
    /// # use fdring::{Consumer, Error, Producer, options::ServerOptions};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let ticks = Producer::create("ticks")?;
    /// let server = ServerOptions::new().sessions_max(1).listen("@doc-sessions-max", [&ticks])?;
    /// let first = Consumer::connect("@doc-sessions-max")?;
    /// let second = Consumer::connect("@doc-sessions-max");
    /// assert!(matches!(second, Err(Error::Refused { .. })));
    /// # Ok(())
    /// # }
    /// ```
    pub fn sessions_max(mut self, sessions: usize) -> Self {
        self.limits.sessions_max = sessions;
        self
    }

    /// The time allowed for a consumer's handshake. Default: 5 s. Consumers that take longer are refused.
    ///
    /// ```
    /// # use fdring::{Consumer, Producer, options::ServerOptions};
    /// # use std::time::Duration;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let ticks = Producer::create("ticks")?;
    /// let options = ServerOptions::new().deadline(Duration::from_secs(30)); // for slow machines
    /// let server = options.listen("@doc-server-options-deadline", [&ticks])?;
    /// # let consumer = Consumer::connect("@doc-server-options-deadline")?;
    /// # assert_eq!(ticks.consumer_count(), 1);
    /// # Ok(())
    /// # }
    /// ```
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.limits.deadline = deadline;
        self
    }

    /// The users whose processes may attach. Default: [`PeerPolicy::SameUser`], this user. At a path, other users also
    /// need the permission to connect: see [`mode`](Self::mode). Listening fails if none of them has it.
    ///
    /// A consumer of another user can still do three things:
    ///
    /// - It can stop releasing what it has read, or write garbage into its seat without waking the producer. The lane
    ///   then waits for as long as the producer's deadlines allow.
    /// - It can leave an Offer unread. The Offer's descriptors, 1 plus 3 per lane, then count as in flight for this
    ///   process's user until the consumer's socket is closed. With more than `RLIMIT_NOFILE` in flight, no process of
    ///   this user can send descriptors (`ETOOMANYREFS`, unix(7)).
    /// - It can leave [descriptors of records](crate::options::LaneOptions::attachments) unreceived. They count in the
    ///   same way: at most 384 on each lane, or 3 records' worth if that is more. The lane's
    ///   [`SlowConsumer`](crate::options::SlowConsumer) can stop further descriptors, but not recall those in flight.
    ///
    /// ```
    /// # use fdring::{Consumer, Producer, options::{PeerPolicy, ServerOptions}};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let ticks = Producer::create("ticks")?;
    /// let options = ServerOptions::new().peers(PeerPolicy::Users(vec![1000, 1001]));
    /// let server = options.listen("@doc-server-options-peers", [&ticks])?;
    /// # let consumer = Consumer::connect("@doc-server-options-peers")?; // this user is always admitted
    /// # assert_eq!(ticks.consumer_count(), 1);
    /// # Ok(())
    /// # }
    /// ```
    pub fn peers(mut self, peers: PeerPolicy) -> Self {
        self.limits.peers = peers;
        self
    }

    /// The users whose processes may read in place. Default: [`PeerPolicy::SameUser`], this user. A consumer that reads
    /// in place is never evicted for being slow: it can block the lane for as long as it lives.
    ///
    /// ```
    /// # use fdring::{Consumer, Producer, options::{PeerPolicy, ServerOptions}};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let ticks = Producer::create("ticks")?;
    /// // Every user may read copies; this user and user 1000 may read in place.
    /// let options = ServerOptions::new().peers(PeerPolicy::Anyone).in_place(PeerPolicy::Users(vec![1000]));
    /// let server = options.listen("@doc-server-options-in-place", [&ticks])?;
    /// # let consumer = Consumer::connect("@doc-server-options-in-place")?;
    /// # assert_eq!(ticks.consumer_count(), 1);
    /// # Ok(())
    /// # }
    /// ```
    pub fn in_place(mut self, peers: PeerPolicy) -> Self {
        self.limits.in_place = peers;
        self
    }

    /// The users whose processes see all readers of a lane in a report ([`Consumer::query`](crate::Consumer::query)):
    /// process ids, users, and how far behind each is. Default: [`PeerPolicy::SameUser`], this user. Processes of other
    /// users see only the readers of their own user.
    ///
    /// ```
    /// # use fdring::{Consumer, Producer, options::{PeerPolicy, ServerOptions}};
    /// # use std::time::Duration;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let ticks = Producer::create("ticks")?;
    /// // Every user may read, and sees who else does.
    /// let options = ServerOptions::new().peers(PeerPolicy::Anyone).reports(PeerPolicy::Anyone);
    /// let server = options.listen("@doc-server-options-reports", [&ticks])?;
    /// # let consumer = Consumer::connect("@doc-server-options-reports")?;
    /// # assert_eq!(consumer.query(Duration::from_secs(60))?.readers_total, 1);
    /// # Ok(())
    /// # }
    /// ```
    pub fn reports(mut self, peers: PeerPolicy) -> Self {
        self.limits.reports = peers;
        self
    }

    /// The permission bits of the socket file, such as `0o660`, independent of the umask. Default: `0o600`. No effect
    /// at an abstract address.
    ///
    /// ```
    /// # use fdring::{Producer, options::ServerOptions};
    /// # use std::os::unix::fs::PermissionsExt;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let ticks = Producer::create("ticks")?;
    /// # let path = std::env::temp_dir().join(format!("fdring-doc-mode-{}.sock", std::process::id()));
    /// let server = ServerOptions::new().mode(0o400).listen(&path, [&ticks])?;
    /// assert_eq!(std::fs::metadata(&path)?.permissions().mode() & 0o777, 0o400);
    /// # Ok(())
    /// # }
    /// ```
    pub fn mode(mut self, mode: u32) -> Self {
        self.mode = mode;
        self
    }

    /// Lets `interrupter` end every wait of the server: [`Server::wait_for_sessions`], and [`connect`](Self::connect)
    /// including its retries ([`patience`](Self::patience)). It also makes the server's descriptor readable, which ends
    /// the wait of a [`Selector`](crate::select::Selector) or a task; [`Server::arm`] then returns
    /// [`Error::Interrupted`]. Default: no interrupter. Sessions are not affected.
    ///
    /// ```
    /// # use fdring::{Error, Interrupter, Producer, options::ServerOptions};
    /// # use std::time::Duration;
    /// # fn main() -> fdring::Result<()> {
    /// # let ticks = Producer::create("ticks")?;
    /// let stop = Interrupter::new()?;
    /// let server = ServerOptions::new().interrupter(&stop).listen("@doc-server-interrupter", [&ticks])?;
    /// # stop.interrupt();
    /// // Meanwhile, in another thread or a signal handler: stop.interrupt()
    /// let error = server.wait_for_sessions(1, Duration::from_secs(60)).unwrap_err();
    /// assert!(matches!(error, Error::Interrupted { .. }));
    /// # Ok(())
    /// # }
    /// ```
    pub fn interrupter(mut self, interrupter: &Interrupter) -> Self {
        self.interrupter = Some(interrupter.clone());
        self
    }

    /// Listens at `address` and offers the lanes of `producers`: anything that yields producers by reference, such as
    /// `[&ticks, &trades]` or `&vec_of_producers`. The caller keeps the producers.
    ///
    /// ```
    /// # use fdring::{Producer, Session, options::ServerOptions};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let (ticks, trades) = (Producer::create("ticks")?, Producer::create("trades")?);
    /// let server = ServerOptions::new().listen("@doc-server-options-listen", [&ticks, &trades])?;
    ///
    /// let session = Session::connect("@doc-server-options-listen")?;
    /// assert_eq!(session.lanes().len(), 2);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`Error::AddressInUse`] if a living process serves this address
    /// - [`Error::Invalid`] if the address is out of range, if there is no producer, if two lanes have the same name,
    ///   if the path belongs to something other than a socket, or if [other users are admitted](Self::peers) and the
    ///   [mode](Self::mode) lets only the socket's owner connect
    /// - [`Error::Os`] if a system call fails, or the system is short of memory or descriptors: a server holds 4, and 2
    ///   more if it listens at a path
    /// - [`Error::Forked`] in a forked child of a process that has used this library, or if a producer was made before
    ///   a fork
    pub fn listen<'a, P>(
        self,
        address: impl Into<Address>,
        producers: impl IntoIterator<Item = &'a P>,
    ) -> Result<Server>
    where
        P: Borrow<Producer> + 'a,
    {
        let address = address.into();
        let (mode, peers) = (self.mode, self.limits.peers.clone());
        let bind = || Ok((Some(Listener::bind(&address, mode, &peers)?), address.clone().into_absolute()));
        self.start(lanes_of(producers)?, bind)
    }

    /// Offers the lanes of `producers` on a Unix socket of the type `SOCK_SEQPACKET` that is already bound and
    /// listening, such as one that systemd has passed (`ListenSequentialPacket=`, sd_listen_fds(3)).
    ///
    /// The server makes the socket non-blocking and close-on-exec, and calls listen(2) again: a peer that connects from
    /// then on finds this process at the other end. Consumers that had connected before learn from the first frame
    /// which process serves them. [`Server::address`] is the address that getsockname(2) returns. The server never
    /// removes the socket's file, and dropping the server does not shut the socket down: consumers that still wait are
    /// left to whichever process has the socket, or gets it next. [`mode`](Self::mode) has no effect.
    ///
    /// ```
    /// # use fdring::{Consumer, Producer, options::ServerOptions};
    /// # use rustix::net::{AddressFamily, SocketAddrUnix, SocketType, bind, listen, socket};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// // Usually in the process that starts this one:
    /// let listener = socket(AddressFamily::UNIX, SocketType::SEQPACKET, None)?;
    /// bind(&listener, &SocketAddrUnix::new_abstract_name(b"doc-listen-on")?)?;
    /// listen(&listener, 16)?;
    ///
    /// let ticks = Producer::create("ticks")?;
    /// let server = ServerOptions::new().sessions_max(8).listen_on(listener, [&ticks])?;
    /// assert_eq!(server.address().to_string(), "@doc-listen-on");
    /// let consumer = Consumer::connect("@doc-listen-on")?;
    /// # assert_eq!(ticks.consumer_count(), 1);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`Error::Invalid`] if the descriptor is not such a socket, if there is no producer, or if two lanes have the
    ///   same name
    /// - [`Error::Os`] if a system call fails, or the system is short of memory or descriptors: a server holds 4
    /// - [`Error::Forked`] in a forked child of a process that has used this library, or if a producer was made before
    ///   a fork
    pub fn listen_on<'a, P>(
        self,
        listener: impl Into<OwnedFd>,
        producers: impl IntoIterator<Item = &'a P>,
    ) -> Result<Server>
    where
        P: Borrow<Producer> + 'a,
    {
        let adopt = || {
            let (listener, address) = Listener::adopt(listener.into())?;
            Ok((Some(listener), address))
        };
        self.start(lanes_of(producers)?, adopt)
    }

    /// Offers the lanes of `producers` to the processes at the other end of the sockets that are given to
    /// [`Server::serve`], and listens nowhere.
    ///
    /// No process can connect to [`Server::address`], which is displayed as `(nowhere)`. [`mode`](Self::mode) has no
    /// effect.
    ///
    /// ```
    /// # use fdring::{Producer, options::ServerOptions};
    /// # fn main() -> fdring::Result<()> {
    /// # let ticks = Producer::create("ticks")?;
    /// let server = ServerOptions::new().listen_nowhere([&ticks])?;
    /// assert_eq!(server.address().to_string(), "(nowhere)");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`Error::Invalid`] if there is no producer, or if two lanes have the same name
    /// - [`Error::Os`] if a system call fails, or the system is short of memory or descriptors: a server holds 3
    /// - [`Error::Forked`] in a forked child of a process that has used this library, or if a producer was made before
    ///   a fork
    pub fn listen_nowhere<'a, P>(self, producers: impl IntoIterator<Item = &'a P>) -> Result<Server>
    where
        P: Borrow<Producer> + 'a,
    {
        self.start(lanes_of(producers)?, || Ok((None, Address::NOWHERE)))
    }

    pub(super) fn start(
        self,
        lanes: Vec<Arc<Lane>>,
        listen: impl FnOnce() -> Result<(Option<Listener>, Address)>,
    ) -> Result<Server> {
        let guard = ForkGuard::get()?;
        check_lanes(&lanes)?;
        let (listener, address) = listen()?;
        if listener.is_some() {
            event!(DEBUG, "listening", address = %address, lanes = lanes.len());
        }
        let (offering, state) = self.offering(lanes)?;
        let steward = StewardHandle::start(listener, Admission(Arc::clone(&offering)), state, self.interrupter, guard)?;
        Ok(Server { steward, offering, address })
    }

    /// Serves a connection that the calling thread has made to a consumer at `address`, and waits until it is attached.
    pub(super) fn meet(self, lanes: Vec<Arc<Lane>>, meeting: Meeting<'_, ()>, address: &Address) -> Result<Server> {
        let guard = ForkGuard::get()?;
        let (offering, state) = self.offering(lanes.clone())?;
        let admission = Admission(Arc::clone(&offering));
        let (steward, ()) = StewardHandle::meet(meeting, lanes, admission, state, self.interrupter, guard)?;
        Ok(Server { steward, offering, address: address.clone() })
    }

    /// An offering of these lanes, and what its steward and others share.
    fn offering(&self, lanes: Vec<Arc<Lane>>) -> Result<(Arc<Offering>, Arc<StewardState>)> {
        let state = Arc::new(StewardState::new(NewsKind::Statistics)?);
        lanes.iter().for_each(|lane| lane.notify_end(&state.notice));
        let (lanes, state_of) = (Mutex::new(lanes), Arc::clone(&state));
        let offering = Offering { limits: self.limits.clone(), lanes, state: state_of, _lease: None };
        Ok((Arc::new(offering), state))
    }
}

impl Default for ServerOptions {
    fn default() -> Self {
        Self::new()
    }
}

pub(super) fn lanes_of<'a, P>(producers: impl IntoIterator<Item = &'a P>) -> Result<Vec<Arc<Lane>>>
where
    P: Borrow<Producer> + 'a,
{
    let lane_of = |producer: &P| {
        let producer = producer.borrow();
        producer.check_owner().map(|()| Arc::clone(producer.owned_lane()))
    };
    producers.into_iter().map(lane_of).collect()
}

pub(super) fn check_lanes(lanes: &[Arc<Lane>]) -> Result<()> {
    if lanes.is_empty() {
        return Err(Error::Invalid("a server without lanes has nothing to offer; give it a producer".to_owned()));
    }
    lanes.iter().enumerate().try_for_each(|(index, lane)| check_name(&lanes[..index], lane))
}

/// Names tell lanes apart.
fn check_name(others: &[Arc<Lane>], lane: &Lane) -> Result<()> {
    if others.iter().any(|other| other.terms.name == lane.terms.name) {
        return Err(Error::Invalid(format!("two lanes are called {}; names tell lanes apart", lane.terms.name)));
    }
    Ok(())
}

/// A server that offers lanes to consumers, on a thread of its own.
///
/// Dropping it stops listening, and removes the socket file and the lock file beside it, `PATH.lock`. A server that is
/// killed leaves both. The next server at that path recognises them as stale and takes them over.
///
/// Forked children close the server's descriptors. A child created by a direct clone(2) call, which bypasses libc's
/// fork handlers, keeps them open. Even then, a new server can take over the path once this one has ended; an abstract
/// name stays taken until the child has ended as well.
///
/// Attached sessions outlive the server: they end when the consumer leaves or the lanes end. If there are none, the
/// drop frees everything before it returns.
///
/// A server is `Send` and `Sync`.
///
/// ```
/// use fdring::{Consumer, Producer, Server};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut ticks = Producer::create("ticks")?;
/// let server = Server::listen("@doc-server", [&ticks])?;
///
/// // Usually in another process:
/// let mut consumer = Consumer::connect("@doc-server")?;
///
/// ticks.send(b"hello")?;
/// assert_eq!(&consumer.receive()?.unwrap()[..], b"hello");
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "dropping a server stops it; keep it in a variable"]
pub struct Server {
    steward: StewardHandle,
    offering: Arc<Offering>,
    address: Address,
}

impl Server {
    /// Listens at `address` with the default [`ServerOptions`], and offers the lanes of `producers`: anything that
    /// yields producers by reference.
    ///
    /// ```
    /// use fdring::{Producer, Server};
    ///
    /// # fn main() -> fdring::Result<()> {
    /// let mut producers = Vec::new();
    /// for name in ["ticks", "trades"] {
    ///     producers.push(Producer::create(name)?);
    /// }
    /// let server = Server::listen("@doc-server-listen", &producers)?;
    /// assert_eq!(server.address().to_string(), "@doc-server-listen");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`Error::AddressInUse`] if a living process serves this address
    /// - [`Error::Invalid`] if the address is out of range, if there is no producer, if two lanes have the same name,
    ///   or if the path belongs to something other than a socket
    /// - [`Error::Os`] if a system call fails, or the system is short of memory or descriptors: a server holds 4, and 2
    ///   more if it listens at a path
    /// - [`Error::Forked`] in a forked child of a process that has used this library, or if a producer was made before
    ///   a fork
    pub fn listen<'a, P>(address: impl Into<Address>, producers: impl IntoIterator<Item = &'a P>) -> Result<Self>
    where
        P: Borrow<Producer> + 'a,
    {
        ServerOptions::new().listen(address, producers)
    }

    /// Offers the lanes of `producers` on a socket that is already bound and listening, with the default
    /// [`ServerOptions`]. [`ServerOptions::listen_on`] says how such a socket is treated.
    ///
    /// Under systemd the socket is descriptor 3 if `LISTEN_FDS` is 1 and `LISTEN_PID` is this process:
    ///
    /// ```
    /// use fdring::{Producer, Server};
    /// use std::os::fd::{FromRawFd, OwnedFd};
    ///
    /// # fn main() -> fdring::Result<()> {
    /// let ticks = Producer::create("ticks")?;
    /// let is_activated = std::env::var("LISTEN_PID").is_ok_and(|pid| pid == std::process::id().to_string());
    /// let server = if is_activated {
    ///     // SAFETY: systemd has passed this descriptor to this process, and nothing else here owns it.
    ///     Server::from_listener(unsafe { OwnedFd::from_raw_fd(3) }, [&ticks])?
    /// } else {
    ///     Server::listen("@doc-from-listener", [&ticks])?
    /// };
    /// # assert!(!is_activated && server.stats().accepted == 0);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`Error::Invalid`] if the descriptor is not a listening Unix socket of the type `SOCK_SEQPACKET`, if there is
    ///   no producer, or if two lanes have the same name
    /// - [`Error::Os`] if a system call fails, or the system is short of memory or descriptors: a server holds 4
    /// - [`Error::Forked`] in a forked child of a process that has used this library, or if a producer was made before
    ///   a fork
    pub fn from_listener<'a, P>(
        listener: impl Into<OwnedFd>,
        producers: impl IntoIterator<Item = &'a P>,
    ) -> Result<Self>
    where
        P: Borrow<Producer> + 'a,
    {
        ServerOptions::new().listen_on(listener, producers)
    }

    /// Serves the process at the other end of `socket`, a connected Unix socket of the type `SOCK_SEQPACKET`: one end
    /// of a socketpair(2) whose other end a child inherits, for instance. The other end opens its session by
    /// [`Session::from_socket`](crate::Session::from_socket).
    ///
    /// Returns at once. The server's thread goes on as with a connection that it has accepted: the deadline of the
    /// handshake begins now, and a consumer that is refused counts in [`stats`](Self::stats).
    ///
    /// The peer is the process that sends the first frame, as reported by the kernel (`SCM_CREDENTIALS`). The
    /// credentials of `socket` itself would name the process that made the pair. The peer's user is its real user,
    /// unless the peer chooses to send its effective or saved user instead. The server's [`PeerPolicy`] is checked
    /// before anything is offered. Before Linux 6.5, the server watches the peer's process by its pid. If that process
    /// ends right after its first frame and its pid is reused, the server learns of its death only when the connection
    /// closes; and the user of a peer in another pid namespace is unknown.
    ///
    /// Do not keep a copy of either end: the connection ends only when the last copy of an end is closed. Do not serve
    /// an end that the peer has held before: if the peer kept a copy, it could hold the socket's lock, which would
    /// block this server's thread and so the sessions of all other consumers.
    ///
    /// ```
    /// # use fdring::{Attach, Producer, Session, options::ServerOptions};
    /// # use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let mut ticks = Producer::create("ticks")?;
    /// let server = ServerOptions::new().listen_nowhere([&ticks])?;
    ///
    /// let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    /// server.serve(ours)?;
    ///
    /// // Usually in a child that has inherited `theirs`:
    /// let mut consumer = Session::from_socket(theirs)?.attach_one(Attach::new())?;
    ///
    /// ticks.send(b"hello")?;
    /// assert_eq!(&consumer.receive()?.unwrap()[..], b"hello");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`Error::Invalid`] if the descriptor is not such a socket
    /// - [`Error::Os`] if a system call fails
    /// - [`Error::Forked`] in a forked child
    pub fn serve(&self, socket: impl Into<OwnedFd>) -> Result<()> {
        self.steward.guard.check()?;
        let socket = adopted::connected(socket.into())?;
        // From Linux 6.16 on, the kernel refuses messages with descriptors.
        fds::refuse_fds(socket.as_fd());
        let socket = Connection::new(socket, self.steward.guard);
        self.hand_over(Arrival { socket, origin: ArrivalKind::Handed });
        Ok(())
    }

    /// Has the steward serve a connection.
    pub(super) fn hand_over(&self, arrival: Arrival) {
        self.steward.state.hand_over(arrival);
    }

    /// The address at which the server listens. A relative path is made absolute if it then has at most 107 bytes,
    /// except for an adopted socket.
    ///
    /// ```
    /// # use fdring::options::Address;
    /// # use fdring::{Producer, Server};
    /// # fn main() -> fdring::Result<()> {
    /// # let ticks = Producer::create("ticks")?;
    /// let server = Server::listen("@doc-server-address", [&ticks])?;
    /// assert_eq!(*server.address(), Address::abstract_name("doc-server-address"));
    /// # Ok(())
    /// # }
    /// ```
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// The statistics so far; all zero in a forked child.
    ///
    /// ```
    /// # use fdring::{Consumer, Producer, Server};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let ticks = Producer::create("ticks")?;
    /// # let server = Server::listen("@doc-server-stats", [&ticks])?;
    /// assert_eq!(server.stats().accepted, 0);
    /// let consumer = Consumer::connect("@doc-server-stats")?;
    /// assert_eq!(server.stats().accepted, 1);
    /// # Ok(())
    /// # }
    /// ```
    pub fn stats(&self) -> ServerStats {
        self.steward.stats()
    }

    /// Offers the lane of one more producer: sessions that begin from now on have it. Those that have begun do not
    /// change. The caller keeps the producer.
    ///
    /// ```
    /// # use fdring::{Producer, Server, Session};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let ticks = Producer::create("ticks")?;
    /// let server = Server::listen("@doc-server-offer", [&ticks])?;
    ///
    /// let trades = Producer::create("trades")?;
    /// server.offer(&trades)?;
    /// assert_eq!(Session::connect("@doc-server-offer")?.lanes()[1].name, "trades");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] if a lane of that name is offered already; [`Error::Forked`] in a forked child, or if the
    /// producer belongs to another process.
    pub fn offer(&self, producer: &Producer) -> Result<()> {
        self.steward.guard.check()?;
        producer.check_owner()?;
        let lane = producer.owned_lane();
        let mut lanes = self.offering.lanes.lock();
        check_name(&lanes, lane)?;
        lane.notify_end(&self.steward.state.notice);
        lanes.push(Arc::clone(lane));
        Ok(())
    }

    /// Stops offering the lane of this name: sessions that begin from now on do not have it. Those that have begun go
    /// on. A server without lanes refuses everybody.
    ///
    /// ```
    /// # use fdring::{Producer, Server, Session};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let (ticks, trades) = (Producer::create("ticks")?, Producer::create("trades")?);
    /// let server = Server::listen("@doc-server-withdraw", [&ticks, &trades])?;
    /// trades.finish();
    /// server.withdraw("trades")?;
    /// assert_eq!(Session::connect("@doc-server-withdraw")?.lanes().len(), 1);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] if no lane of that name is offered; [`Error::Forked`] in a forked child.
    pub fn withdraw(&self, name: &str) -> Result<()> {
        self.steward.guard.check()?;
        let mut lanes = self.offering.lanes.lock();
        match lanes.iter().position(|lane| lane.terms.name.as_str() == name) {
            Some(index) => drop(lanes.remove(index)),
            None => return Err(Error::Invalid(format!("no lane called {} is offered", name.escape_debug()))),
        }
        Ok(())
    }

    /// Prepares a wait for consumers to come or go, in the caller's event loop: poll(2), epoll(7), or anything that
    /// watches descriptors.
    ///
    /// 1. Look at [`stats`](Self::stats).
    /// 2. Call `arm`. `false` means that the statistics have changed since the last call: go to 1.
    /// 3. Wait until the server's descriptor ([`AsFd`]) is readable. Watch it level-triggered or edge-triggered.
    /// 4. Go to 1.
    ///
    /// The descriptor may become readable for no reason, but it is never left unreadable after the statistics have
    /// changed. Only watch it; do not read it.
    ///
    /// ```
    /// # use fdring::{Consumer, Producer, Server};
    /// # use rustix::event::{PollFd, PollFlags, poll};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let ticks = Producer::create("ticks")?;
    /// # let server = Server::listen("@doc-server-arm", [&ticks])?;
    /// # let consumer = std::thread::spawn(|| Consumer::connect("@doc-server-arm"));
    /// while server.stats().sessions == 0 {
    ///     if server.arm()? {
    ///         poll(&mut [PollFd::new(&server, PollFlags::IN)], None)?;
    ///     }
    /// }
    /// # consumer.join().unwrap()?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`Error::Interrupted`] if there is no news, and an [`Interrupter`] has ended all waits
    /// - [`Error::Forked`] in a forked child
    pub fn arm(&self) -> Result<bool> {
        self.steward.guard.check()?;
        if self.steward.state.take_news() {
            return Ok(false);
        }
        self.steward.check_interrupt(|| format!("waiting for consumers at {}", self.address))?;
        Ok(true)
    }

    /// Waits until at least `sessions` consumers are attached. [`Producer::wait_for_consumers`] waits for those of one
    /// lane.
    ///
    /// There is no form with a deadline. If several calls share one, pass the rest of it as `timeout`:
    /// `deadline.saturating_duration_since(Instant::now())`.
    ///
    /// ```
    /// use std::time::Duration;
    /// # use fdring::{Consumer, Producer, Server};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let ticks = Producer::create("ticks")?;
    /// # let server = Server::listen("@doc-wait-for-sessions", [&ticks])?;
    /// # let consumer = Consumer::connect("@doc-wait-for-sessions")?;
    ///
    /// server.wait_for_sessions(1, Duration::from_secs(60))?;
    /// assert_eq!(server.stats().sessions, 1);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`Error::TimedOut`] if fewer than `sessions` consumers are attached after `timeout`
    /// - [`Error::Interrupted`] if an [`Interrupter`] ended the wait
    /// - [`Error::Closed`] if no other can come: the one session that was [connected](ServerOptions::connect) is over,
    ///   or the server's thread has ended by a panic
    /// - [`Error::Forked`] in a forked child
    pub fn wait_for_sessions(&self, sessions: usize, timeout: Duration) -> Result<()> {
        self.steward.guard.check()?;
        let (state, deadline) = (&self.steward.state, Deadline::after(timeout));
        loop {
            let changed = state.changed.capture();
            let Progress { stats: ServerStats { sessions: there, .. }, done, .. } = *state.progress.lock();
            if there >= sessions {
                return Ok(());
            }
            let doing = || format!("waiting for {sessions} consumers at {}, {there} are there", self.address);
            if done {
                return Err(Error::Closed { doing: doing() });
            }
            self.steward.check_interrupt(doing)?;
            if deadline.has_passed() {
                return Err(Error::TimedOut { doing: doing(), limit: timeout });
            }
            self.steward.wait(changed, deadline);
        }
    }
}

impl AsFd for Server {
    /// The descriptor that [`arm`](Server::arm) prepares.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.steward.as_fd()
    }
}
