//! The consumer's side of a session: connect, have what is offered checked, attach.
//!
//! What this file does not do: [`opened`](super::opened) checks and maps what comes with an Offer; [`Attach`] carries
//! the caller's promise.

use super::attach::Attach;
use super::opened::{OpenedLane, open_lanes};
use super::options::SessionOptions;
use super::{Address, adopted, unwelcome};
use crate::cmsg::FDS_PER_MESSAGE_MAX;
use crate::consumer::{Attachment, Consumer};
use crate::crash;
use crate::deadline::{Deadline, timespec};
use crate::error::{Error, Operation, Result};
use crate::fds::{self, ReceivedFrame, RecvFdsError, Sender};
use crate::handshake::{Handshake, HandshakeError, Step};
use crate::lane::LaneInfo;
use crate::link::Link;
use crate::os::barrier;
use crate::os::closing::Connection;
use crate::os::fork::ForkGuard;
use crate::os::peer::Peer;
use crate::os::thread::{self, STACK_BYTES};
use crate::ring::LaneWords;
use crate::sync::Ordering;
use crate::terms::{Barrier, Delivery, Refusal};
use crate::wire::{FRAME_MAX_BYTES, Frame, LaneAttach, LaneName, Offer, Refuse};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::{AsFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, socket_with, sockopt};
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::Duration;

/// A connection to a producer's server, whose lanes are mapped and checked and not yet attached to.
///
/// [`Consumer::connect`] is the short way to a server with one lane. A session is `Send` and `Sync`.
///
/// ```
/// use fdring::{Attach, Producer, Server, Session};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (mut ticks, mut trades) = (Producer::create("ticks")?, Producer::create("trades")?);
/// let server = Server::listen("@doc-session", [&ticks, &trades])?;
///
/// // Usually in another process:
/// let session = Session::connect("@doc-session")?;
/// assert_eq!(session.lanes()[1].name, "trades");
/// let mut consumers = session.attach_all(Attach::new())?;
///
/// trades.send(b"first")?;
/// assert_eq!(&consumers[1].receive()?.unwrap()[..], b"first");
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "dropping a session closes the connection; attach to its lanes"]
pub struct Session {
    socket: Connection,
    peer: Peer,
    handshake: Handshake,
    lanes: Vec<OpenedLane>,
    infos: Vec<LaneInfo>,
    options: SessionOptions,
    deadline: Deadline,
    guard: ForkGuard,
}

impl Session {
    /// Connects to the server at `address` with the default [`SessionOptions`], and maps and checks the lanes it
    /// offers.
    ///
    /// ```
    /// # use fdring::{Producer, Server, Session};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let ticks = Producer::create("ticks")?;
    /// # let server = Server::listen("@doc-session-connect", [&ticks])?;
    /// let session = Session::connect("@doc-session-connect")?;
    /// assert_eq!(session.lanes()[0].name, "ticks");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`Error::Os`] if no server listens there, or the system is short of memory or descriptors
    /// - [`Error::Invalid`] if the address is out of range
    /// - [`Error::Refused`] if the server refuses, for example because it has its most sessions already
    /// - [`Error::Forbidden`] if the server runs as another user
    /// - [`Error::Peer`] if the server breaks the protocol, or offers memory that must not be mapped
    /// - [`Error::Closed`] if the server closes the connection
    /// - [`Error::TimedOut`] if the handshake takes longer than 5 s
    /// - [`Error::Forked`] in a forked child of a process that has used this library
    pub fn connect(address: impl Into<Address>) -> Result<Self> {
        SessionOptions::new().connect(address)
    }

    /// Opens a session over `socket` with the default [`SessionOptions`], and maps and checks the lanes on offer.
    /// [`SessionOptions::over`] says what kind of socket this is, and who the peer is.
    ///
    /// ```
    /// # use fdring::{Producer, Session, options::ServerOptions};
    /// # use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let ticks = Producer::create("ticks")?;
    /// let server = ServerOptions::new().listen_nowhere([&ticks])?;
    /// let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    /// server.serve(ours)?;
    ///
    /// let session = Session::from_socket(theirs)?; // usually in another process
    /// assert_eq!(session.lanes()[0].name, "ticks");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`Error::Invalid`] if the descriptor is no Unix socket of the type `SOCK_SEQPACKET`, or is not connected
    /// - [`Error::Os`] if the system is short of memory or descriptors, or a system call fails
    /// - [`Error::Refused`] if the server refuses, for example because it has its most sessions already
    /// - [`Error::Forbidden`] if the producer runs as another user, or as one that the kernel does not name
    /// - [`Error::Peer`] if the server breaks the protocol, or offers memory that must not be mapped
    /// - [`Error::Closed`] if the server closes the connection
    /// - [`Error::TimedOut`] if the handshake takes longer than 5 s
    /// - [`Error::Forked`] in a forked child of a process that has used this library
    pub fn from_socket(socket: impl Into<OwnedFd>) -> Result<Self> {
        SessionOptions::new().over(socket)
    }

    /// One try to connect.
    pub(super) fn open(address: &Address, options: &SessionOptions) -> Result<Self> {
        let guard = ForkGuard::get()?;
        let deadline = Deadline::after(options.deadline);
        let handshake = begin(options)?;
        let socket = Connection::new(open_socket(address, deadline, options.deadline)?, guard);
        crash::point!("session-connected");
        let listener = Peer::of(&socket)?;
        // Root may have listened for another user, as systemd does: the first frame will say.
        if listener.uid != Some(ROOT) && !options.peers.admits(listener.uid) {
            return Err(Error::Forbidden { uid: listener.uid });
        }
        Self::greet(socket, Some(listener), handshake, deadline, options, guard)
    }

    /// A session over a socket that is connected already.
    pub(super) fn open_over(socket: OwnedFd, options: &SessionOptions) -> Result<Self> {
        let guard = ForkGuard::get()?;
        let deadline = Deadline::after(options.deadline);
        let handshake = begin(options)?;
        let socket = Connection::new(adopted::connected(socket)?, guard);
        Self::greet(socket, None, handshake, deadline, options, guard)
    }

    /// Says Hello, learns who answers, and has what is offered opened. `listener` is the process that listened, where
    /// the kernel knows it.
    fn greet(
        socket: Connection,
        listener: Option<Peer>,
        mut handshake: Handshake,
        deadline: Deadline,
        options: &SessionOptions,
        guard: ForkGuard,
    ) -> Result<Self> {
        send(&socket, &handshake.hello(), "saying hello")?;
        crash::point!("session-hello-sent");
        let (heard, peer) = meet(&socket, listener, deadline, options)?;
        let (Step::Greeted { .. }, _) = step(&socket, &mut handshake, heard, "reading the Hello")? else {
            return Err(Error::peer("reading the Hello", "it is none"));
        };
        crash::point!("session-hello-received");
        let heard = receive(&socket, &peer, deadline, options.deadline, "waiting for an Offer")?;
        crash::point!("session-offer-received");
        // The Offer's descriptors are the last. From Linux 6.16 on, the kernel refuses any others.
        fds::refuse_fds(socket.as_fd());
        let (Step::Offer(offer), fds) = step(&socket, &mut handshake, heard, "reading the Offer")? else {
            return Err(Error::peer("reading the Offer", "it is none"));
        };
        let infos = offer.lanes.iter().map(|lane| LaneInfo::new(&lane.terms)).collect();
        let lanes = open_in_time(offer, fds, deadline, options).inspect_err(|error| refuse(&socket, error))?;
        crash::point!("session-lanes-mapped");
        Ok(Self { socket, peer, handshake, lanes, infos, options: options.clone(), deadline, guard })
    }

    /// The lanes of this session, in the order in which they were asked for, by default the server's.
    ///
    /// ```
    /// # use fdring::{Producer, Server, Session};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let (ticks, trades) = (Producer::create("ticks")?, Producer::create("trades")?);
    /// # let server = Server::listen("@doc-session-lanes", [&ticks, &trades])?;
    /// let session = Session::connect("@doc-session-lanes")?;
    /// let names: Vec<_> = session.lanes().iter().map(|lane| lane.name.as_str()).collect();
    /// assert_eq!(names, ["ticks", "trades"]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn lanes(&self) -> &[LaneInfo] {
        &self.infos
    }

    /// The process id of the producer. `None` if the process is in another pid namespace.
    ///
    /// ```
    /// # use fdring::{Producer, Server, Session};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let ticks = Producer::create("ticks")?;
    /// # let server = Server::listen("@doc-producer-pid", [&ticks])?;
    /// let session = Session::connect("@doc-producer-pid")?;
    /// assert_eq!(session.producer_pid(), Some(std::process::id())); // it is this process
    /// # Ok(())
    /// # }
    /// ```
    pub fn producer_pid(&self) -> Option<u32> {
        self.peer.pid
    }

    /// Attaches to some of the lanes, each named by one [`Attach`]. Returns their consumers in that order.
    ///
    /// ```
    /// # use fdring::{Attach, Producer, Server, Session};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let (ticks, trades) = (Producer::create("ticks")?, Producer::create("trades")?);
    /// # let server = Server::listen("@doc-session-attach", [&ticks, &trades])?;
    /// let session = Session::connect("@doc-session-attach")?;
    /// let consumers = session.attach([Attach::lane("trades"), Attach::lane("ticks")])?;
    /// assert_eq!((&*consumers[0].lane().name, &*consumers[1].lane().name), ("trades", "ticks"));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`Error::Invalid`] if a lane is not in this session, is named twice, or none is named
    /// - [`Error::Refused`] if the server refuses, for example because it does not admit this user to read in place
    /// - [`Error::Peer`] if the server breaks the protocol
    /// - [`Error::Closed`] if the server closes the connection
    /// - [`Error::TimedOut`] if the handshake takes longer than the [`deadline`](SessionOptions::deadline)
    /// - [`Error::Os`] if the system is short of descriptors, or a system call fails
    /// - [`Error::Forked`] in a forked child
    pub fn attach(self, lanes: impl IntoIterator<Item = Attach>) -> Result<Vec<Consumer>> {
        let wanted: Vec<Attach> = lanes.into_iter().collect();
        let places = self.find_all(&wanted)?;
        let mut how = vec![None; self.infos.len()];
        for (place, attach) in places.iter().zip(wanted) {
            how[*place] = Some(attach);
        }
        let mut consumers = self.attach_each(&how)?;
        Ok(places.into_iter().filter_map(|place| consumers[place].take()).collect())
    }

    /// Attaches to one lane: the lane that `how` names, by default the only one there is.
    ///
    /// ```
    /// # use fdring::{Attach, Producer, Server, Session};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut ticks = Producer::create("ticks")?;
    /// # let server = Server::listen("@doc-attach-one", [&ticks])?;
    /// let mut consumer = Session::connect("@doc-attach-one")?.attach_one(Attach::lane("ticks"))?;
    /// ticks.send(b"hello")?;
    /// assert_eq!(&consumer.receive()?.unwrap()[..], b"hello");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`Error::Invalid`] if the lane is not in this session, or if none is named and the session has several
    /// - [`Error::Refused`] if the server refuses, for example because it does not admit this user to read in place
    /// - [`Error::Peer`] if the server breaks the protocol
    /// - [`Error::Closed`] if the server closes the connection
    /// - [`Error::TimedOut`] if the handshake takes longer than the [`deadline`](SessionOptions::deadline)
    /// - [`Error::Os`] if the system is short of descriptors, or a system call fails
    /// - [`Error::Forked`] in a forked child
    pub fn attach_one(self, how: Attach) -> Result<Consumer> {
        Ok(self.attach([how])?.remove(0))
    }

    /// Attaches to all lanes of this session, to each as `how` says. Returns their consumers in the order of
    /// [`lanes`](Self::lanes).
    ///
    /// ```
    /// # use fdring::{Attach, Producer, Server, Session, options::Start};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let (ticks, trades) = (Producer::create("ticks")?, Producer::create("trades")?);
    /// # let server = Server::listen("@doc-attach-all", [&ticks, &trades])?;
    /// let session = Session::connect("@doc-attach-all")?;
    /// let consumers = session.attach_all(Attach::new().start(Start::Oldest))?;
    /// assert_eq!(consumers.len(), 2);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`Error::Invalid`] if `how` names a lane
    /// - [`Error::Refused`] if the server refuses, for example because it does not admit this user to read in place
    /// - [`Error::Peer`] if the server breaks the protocol
    /// - [`Error::Closed`] if the server closes the connection
    /// - [`Error::TimedOut`] if the handshake takes longer than the [`deadline`](SessionOptions::deadline)
    /// - [`Error::Os`] if the system is short of descriptors, or a system call fails
    /// - [`Error::Forked`] in a forked child
    pub fn attach_all(self, how: Attach) -> Result<Vec<Consumer>> {
        if let Some(name) = how.name() {
            let name = name.escape_debug();
            return Err(Error::Invalid(format!("this attaches to all lanes, not to {name} alone; use attach_one")));
        }
        let how = vec![Some(how); self.infos.len()];
        Ok(self.attach_each(&how)?.into_iter().flatten().collect())
    }

    /// Which of the lanes these are.
    fn find_all(&self, wanted: &[Attach]) -> Result<Vec<usize>> {
        let mut places = Vec::with_capacity(wanted.len());
        for attach in wanted {
            let place = self.find(attach)?;
            if places.contains(&place) {
                return Err(Error::Invalid(format!("lane {} is to be attached to twice", self.infos[place].name)));
            }
            places.push(place);
        }
        match places.is_empty() {
            true => Err(Error::Invalid("no lane is named to attach to; name one, or drop the session".to_owned())),
            false => Ok(places),
        }
    }

    fn find(&self, attach: &Attach) -> Result<usize> {
        let names = || self.infos.iter().map(|info| &*info.name).collect::<Vec<_>>().join(", ");
        match (attach.name(), self.infos.len()) {
            (Some(name), _) => self.infos.iter().position(|info| info.name == name).ok_or_else(|| {
                Error::Invalid(format!("no lane is called {}; this session has: {}", name.escape_debug(), names()))
            }),
            (None, 1) => Ok(0),
            (None, lanes) => Err(Error::Invalid(format!("this session has {lanes} lanes; name one of {}", names()))),
        }
    }

    /// Attaches to each lane in its own way, or not at all; takes no seat there.
    fn attach_each(self, how: &[Option<Attach>]) -> Result<Vec<Option<Consumer>>> {
        let Self { socket, peer, mut handshake, lanes, options, deadline, guard, .. } = self;
        guard.check()?;
        // Read before the Attach: any later eviction may be that of this consumer.
        let evictions: Vec<u32> = lanes.iter().map(|lane| lane.map.evictions().load(Ordering::Relaxed)).collect();
        let can_call = barrier::can_call();
        let choose = |lane: &OpenedLane| if can_call { lane.terms.barrier } else { Barrier::Fence };
        let attach = lanes.iter().zip(how).map(|(lane, how)| {
            how.as_ref().map(|how| LaneAttach {
                delivery: Delivery::Lossless,
                start: how.starts_at().into(),
                access: how.access(),
                barrier: choose(lane),
                descriptors: false,
            })
        });
        send(&socket, &handshake.attach(attach.collect()), "attaching")?;
        crash::point!("session-attach-sent");
        let heard = receive(&socket, &peer, deadline, options.deadline, "waiting to be attached")?;
        crash::point!("session-attached-received");
        let (Step::Attached(starts), _) = step(&socket, &mut handshake, heard, "waiting to be attached")? else {
            return Err(Error::peer("waiting to be attached", "the producer said something else"));
        };
        let are_read: Vec<bool> = how.iter().map(Option::is_some).collect();
        let links = Link::of_lanes(socket, peer, handshake, &are_read)?;
        let lanes = lanes.into_iter().zip(starts).zip(evictions).zip(how).zip(links);
        let consumers = lanes.map(|((((lane, start), evictions), how), link)| {
            let (Some(how), Some(link)) = (how, link) else { return Ok(None) };
            let barrier = choose(&lane);
            let OpenedLane { map: lane, seat, bell, terms } = lane;
            let (in_place, spin) = (how.trust(), options.spin);
            let attachment = Attachment { terms, lane, seat, bell, barrier, start, evictions, in_place, spin };
            Consumer::new(attachment, Arc::new(link), guard).map(Some)
        });
        consumers.collect()
    }
}

impl Consumer {
    /// Connects to the server at `address`, which offers one lane, and attaches to that lane. Copies payloads out,
    /// starting with the next record that is published.
    ///
    /// ```
    /// use fdring::{Consumer, Producer, Server};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let mut ticks = Producer::create("ticks")?;
    /// let server = Server::listen("@doc-consumer-connect", [&ticks])?;
    ///
    /// // Usually in another process:
    /// let mut consumer = Consumer::connect("@doc-consumer-connect")?;
    ///
    /// ticks.send(b"hello")?;
    /// assert_eq!(&consumer.receive()?.unwrap()[..], b"hello");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`Error::Os`] if no server listens there, or the system is short of memory or descriptors
    /// - [`Error::Invalid`] if the address is out of range, or the server offers several lanes: then open a [`Session`]
    ///   and [attach](Session::attach_one) to one of them
    /// - [`Error::Refused`] if the server refuses, for example because it has its most sessions already
    /// - [`Error::Forbidden`] if the server runs as another user
    /// - [`Error::Peer`] if the server breaks the protocol, or offers memory that must not be mapped
    /// - [`Error::Closed`] if the server closes the connection
    /// - [`Error::TimedOut`] if the handshake takes longer than 5 s
    /// - [`Error::Forked`] in a forked child of a process that has used this library
    pub fn connect(address: impl Into<Address>) -> Result<Self> {
        Session::connect(address)?.attach_one(Attach::new())
    }
}

/// How long a process may take to begin that a service manager starts for a connection, where the one before is dead.
/// If nobody comes by then, the socket was left over.
const HEIR_GRACE: Duration = Duration::from_secs(2);
/// The user that may listen for others.
const ROOT: u32 = 0;

/// A handshake that asks for the lanes of `options`.
fn begin(options: &SessionOptions) -> Result<Handshake> {
    let names: Result<Vec<LaneName>, _> = options.lanes.iter().map(|name| LaneName::new(name)).collect();
    let invalid = |error| Error::Invalid(format!("these lanes cannot be asked for: {error}"));
    Handshake::consumer(names.map_err(invalid)?).map_err(invalid)
}

/// The first frame, and the process that sent it, which is admitted. `listener` counts where the kernel names no
/// sender.
fn meet(
    socket: &Connection,
    listener: Option<Peer>,
    deadline: Deadline,
    options: &SessionOptions,
) -> Result<((Frame, Vec<OwnedFd>), Peer)> {
    let has_pidfds = fds::add_pidfds(socket.as_fd(), true);
    let (mut sender, doing) = (Sender::default(), "waiting for a Hello");
    let take = |bytes: &mut [u8]| {
        let (frame, who) = fds::recv_first_frame(socket.as_fd(), bytes)?;
        sender = who;
        Ok(frame)
    };
    let heard = if listener.as_ref().is_some_and(Peer::is_dead) {
        let heard = receive_by(socket, &Peer::UNKNOWN, deadline.or_after(HEIR_GRACE), options.deadline, doing, take);
        heard.map_err(|error| match error {
            Error::TimedOut { doing, .. } if !deadline.has_passed() => Error::Closed { doing },
            error => error,
        })?
    } else {
        receive_by(socket, listener.as_ref().unwrap_or(&Peer::UNKNOWN), deadline, options.deadline, doing, take)?
    };
    fds::add_nothing(socket.as_fd());
    let sender = Peer::of_sender(sender, has_pidfds);
    let peer = match listener {
        Some(listener) if sender.is_unknown() || listener.may_be(&sender) => listener,
        _ => sender,
    };
    if options.peers.admits(peer.uid) {
        return Ok((heard, peer));
    }
    unwelcome::close(heard.1);
    Err(Error::Forbidden { uid: peer.uid })
}

/// Connects a seqpacket socket. Waits for a place in a full backlog, up to the deadline, which is `limit` after the
/// beginning.
fn open_socket(address: &Address, deadline: Deadline, limit: Duration) -> Result<OwnedFd> {
    let addr = address.to_socket_addr()?;
    let doing = || format!("connect to {address}");
    let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
        .map_err(Error::os(doing()))?;
    // Before anybody can answer: one who is full refuses at once. Where a filter denies it, the process that listened
    // counts.
    let _ = fds::name_senders(socket.as_fd(), true);
    loop {
        // It bounds connect(2) too, see unix(7) on a full backlog; 0 would stand for no limit. The kernel counts anew
        // after each signal.
        let timeout = deadline.remaining().map(|remaining| remaining.max(Duration::from_millis(1)));
        sockopt::set_socket_timeout(&socket, sockopt::Timeout::Send, timeout).map_err(Error::os(doing()))?;
        match connect(&socket, &addr) {
            Ok(()) => return Ok(socket),
            Err(Errno::INTR) if !deadline.has_passed() => {}
            Err(Errno::INTR | Errno::AGAIN) => {
                let doing = format!("waiting for a place in the backlog of {address}");
                return Err(Error::TimedOut { doing, limit });
            }
            Err(Errno::PROTOTYPE) => {
                let fault = format!("{address} is a socket of another type, so no fdring server listens there");
                return Err(Error::peer("connecting", fault));
            }
            Err(error) => {
                let path = address.as_path().map(|_| Operation::ConnectToPath);
                return Err(Error::os_in(path.unwrap_or(Operation::ConnectToName), doing())(error));
            }
        }
    }
}

fn send(socket: &Connection, frame: &Frame, doing: &str) -> Result<()> {
    match fds::send_frame(socket.as_fd(), &frame.encode(), &[]) {
        Ok(()) => Ok(()),
        Err(error) => match error.kind() {
            // The producer hung up first. What it sent before that is still to be read, and says why.
            std::io::ErrorKind::BrokenPipe | std::io::ErrorKind::ConnectionReset => Ok(()),
            _ => Err(Error::os(format!("send a frame while {doing}"))(error)),
        },
    }
}

/// The producer's next frame, and its descriptors.
fn receive(
    socket: &Connection,
    peer: &Peer,
    deadline: Deadline,
    limit: Duration,
    doing: &str,
) -> Result<(Frame, Vec<OwnedFd>)> {
    let receive = |bytes: &mut [u8]| fds::recv_frame(socket.as_fd(), bytes, FDS_PER_MESSAGE_MAX);
    receive_by(socket, peer, deadline, limit, doing, receive)
}

/// As [`receive`], by a function that takes one frame without waiting.
fn receive_by(
    socket: &Connection,
    peer: &Peer,
    deadline: Deadline,
    limit: Duration,
    doing: &str,
    mut receive: impl FnMut(&mut [u8]) -> Result<ReceivedFrame, RecvFdsError>,
) -> Result<(Frame, Vec<OwnedFd>)> {
    let mut bytes = vec![0; FRAME_MAX_BYTES];
    let mut may_reset = true;
    loop {
        match receive(&mut bytes) {
            Ok(received) => {
                let frame = Frame::parse(&bytes[..received.len], received.fds.len());
                return match frame {
                    Ok(frame) => Ok((frame, received.fds)),
                    Err(error) => {
                        unwelcome::close(received.fds);
                        answer(socket, &HandshakeError::from(error.clone()));
                        Err(Error::peer(doing, error))
                    }
                };
            }
            Err(error) if error.is_would_block() => wait_readable(socket, peer, deadline, limit, doing)?,
            // Reported once, before what the producer had sent.
            Err(RecvFdsError::Reset) if may_reset => may_reset = false,
            Err(RecvFdsError::Closed | RecvFdsError::Reset) => return Err(Error::Closed { doing: doing.to_owned() }),
            Err(error) => return Err(unwelcome::reject(error, doing)),
        }
    }
}

/// Waits until something came or the producer is dead: a child that it has forked may keep the socket open.
fn wait_readable(socket: &Connection, peer: &Peer, deadline: Deadline, limit: Duration, doing: &str) -> Result<()> {
    let mut waits = vec![PollFd::new(socket, PollFlags::IN)];
    waits.extend(peer.pidfd.as_ref().map(|pidfd| PollFd::new(pidfd, PollFlags::IN)));
    match poll(&mut waits, deadline.remaining().map(timespec).as_ref()) {
        Ok(0) => Err(Error::TimedOut { doing: doing.to_owned(), limit }),
        Ok(_) if waits[0].revents().is_empty() => Err(Error::Closed { doing: doing.to_owned() }),
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(error) => Err(Error::os(format!("wait for the producer while {doing}"))(error)),
    }
}

/// Opens what was offered, on a thread of its own: the process that made the files can keep their locks for as long as
/// it likes. At the deadline the thread is left behind, and closes what it has when it ends.
fn open_in_time(
    offer: Offer,
    fds: Vec<OwnedFd>,
    deadline: Deadline,
    options: &SessionOptions,
) -> Result<Vec<OpenedLane>> {
    let (prefault, core_dumps, limit) = (options.prefault, options.core_dumps, options.deadline);
    let (says, opened) = sync_channel(1);
    let open = move || {
        let lanes = open_lanes(&offer, fds, prefault).inspect(|lanes| {
            lanes.iter().filter(|_| core_dumps).for_each(|lane| lane.map.include_in_dumps());
        });
        // The deadline may have passed.
        let _ = says.send(lanes);
    };
    thread::start("fdring-opener", STACK_BYTES, open)?;
    let outcome = match deadline.remaining() {
        Some(remaining) => opened.recv_timeout(remaining),
        None => opened.recv().map_err(RecvTimeoutError::from),
    };
    let late = |_| Error::TimedOut { doing: "opening what is offered".to_owned(), limit };
    outcome.unwrap_or_else(|error| Err(late(error)))
}

/// Takes a frame through the handshake; what to do next, and the frame's descriptors. If the handshake fails, the
/// producer is told why.
fn step(
    socket: &Connection,
    handshake: &mut Handshake,
    (frame, fds): (Frame, Vec<OwnedFd>),
    doing: &str,
) -> Result<(Step, Vec<OwnedFd>)> {
    match handshake.on_frame(frame) {
        Ok(step) => Ok((step, fds)),
        Err(error) => {
            unwelcome::close(fds);
            answer(socket, &error);
            Err(error.into_error(doing))
        }
    }
}

/// Tells the producer why this side gives up.
fn answer(socket: &Connection, error: &HandshakeError) {
    if let Some(refusal) = error.refuse_frame() {
        let _ = fds::send_frame(socket.as_fd(), &refusal.encode(), &[]);
    }
}

/// Tells the producer that what it offered cannot be used.
fn refuse(socket: &Connection, error: &Error) {
    let refusal = Frame::Refuse(Refuse::new(Refusal::Region, &error.to_string()));
    let _ = fds::send_frame(socket.as_fd(), &refusal.encode(), &[]);
}
