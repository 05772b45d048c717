//! The consumer's side of a session: connect, have what is offered checked, attach.
//!
//! What this file does not do: [`opened`](super::opened) checks and maps what comes with an Offer.

use super::opened::{OpenedLane, open_lanes};
use super::{Address, HANDSHAKE_DEADLINE, PeerPolicy, unwelcome};
use crate::cmsg::FDS_PER_MESSAGE_MAX;
use crate::consumer::{Attachment, Consumer};
use crate::crash;
use crate::deadline::{Deadline, timespec};
use crate::error::{Error, Result};
use crate::fds::{self, RecvFdsError};
use crate::handshake::{ConsumerHandshake, ConsumerStep, HandshakeError};
use crate::lane::SPIN_DEFAULT;
use crate::link::Link;
use crate::memory::InPlace;
use crate::os::barrier;
use crate::os::closing::Connection;
use crate::os::fork::ForkGuard;
use crate::os::peer::Peer;
use crate::ring::LaneWords;
use crate::sync::Ordering;
use crate::terms::{Access, Barrier, Delivery, Start};
use crate::wire::{FRAME_MAX_BYTES, Frame, LaneAttach, LaneName, LaneTerms, Offer, Refuse, RefuseCode};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::{AsFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, socket_with, sockopt};
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::Duration;

/// Options for opening a session.
///
/// ```no_run
/// use fdring::{Session, SessionOptions, Start};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let options = SessionOptions::new().lanes(["ticks", "trades"]).start(Start::Oldest);
/// let consumers = Session::connect("@market", options)?.attach()?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use = "options do nothing until a session is opened with them"]
pub struct SessionOptions {
    lanes: Vec<String>,
    start: Start,
    deadline: Duration,
    peers: PeerPolicy,
    spin: Duration,
    prefault: bool,
}

impl SessionOptions {
    /// The defaults: all lanes that are offered, from the latest record on, by a process of this user.
    pub fn new() -> Self {
        Self {
            lanes: Vec::new(),
            start: Start::Latest,
            deadline: HANDSHAKE_DEADLINE,
            peers: PeerPolicy::SameUser,
            spin: SPIN_DEFAULT,
            prefault: true,
        }
    }

    /// The lanes to attach to, by name, in this order; at most 83. Default: all that are offered.
    pub fn lanes(mut self, names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.lanes = names.into_iter().map(Into::into).collect();
        self
    }

    /// Where to begin. Default: at the latest record.
    pub fn start(mut self, start: Start) -> Self {
        self.start = start;
        self
    }

    /// How long the handshake may take. Default: 5 s.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Whose processes may be at the other end. Default: those of this user.
    pub fn peers(mut self, peers: PeerPolicy) -> Self {
        self.peers = peers;
        self
    }

    /// How long a consumer spins for a record before it sleeps. Default: 50 µs. Use 0 if producer and consumers share
    /// one processor.
    pub fn spin(mut self, spin: Duration) -> Self {
        self.spin = spin;
        self
    }

    /// Whether every page of the rings is mapped at once, so that the first lap is not slower. Default: true.
    pub fn prefault(mut self, prefault: bool) -> Self {
        self.prefault = prefault;
        self
    }
}

impl Default for SessionOptions {
    fn default() -> Self {
        Self::new()
    }
}

/// A lane that a producer offers.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LaneInfo {
    /// The lane's name.
    pub name: String,
    /// The length of the ring in bytes.
    pub capacity: u64,
    /// Where records begin: at multiples of this many bytes.
    pub record_align: u64,
    /// Where payloads begin: at multiples of this many bytes.
    pub payload_align: u64,
    /// The producer's schema number. Nothing has checked it.
    pub schema: u64,
}

impl LaneInfo {
    fn new(terms: &LaneTerms) -> Self {
        Self {
            name: terms.name.to_string(),
            capacity: terms.geometry.capacity(),
            record_align: terms.geometry.record_align(),
            payload_align: terms.geometry.payload_align(),
            schema: terms.schema,
        }
    }
}

/// A connection to a producer's server. Its lanes are mapped and checked, and not yet attached to.
#[derive(Debug)]
#[must_use = "dropping a session closes the connection; attach to its lanes"]
pub struct Session {
    socket: Connection,
    peer: Peer,
    handshake: ConsumerHandshake,
    lanes: Vec<OpenedLane>,
    infos: Vec<LaneInfo>,
    options: SessionOptions,
    deadline: Deadline,
    guard: ForkGuard,
}

impl Session {
    /// Connects to the server at `address`, and maps and checks the lanes it offers.
    ///
    /// # Errors
    ///
    /// [`Error::Os`] if no server listens there, or memory or descriptors are lacking; [`Error::Refused`] if the server
    /// refuses, for example because it has no lane of that name; [`Error::Forbidden`] if the server runs as a user that
    /// is not admitted; [`Error::Peer`] if what it sends must not be mapped; [`Error::Closed`] if it ends the
    /// connection; [`Error::Invalid`] for an address or a lane's name that is out of range; [`Error::TimedOut`];
    /// [`Error::Forked`].
    pub fn connect(address: impl Into<Address>, options: SessionOptions) -> Result<Self> {
        let address = address.into();
        let guard = ForkGuard::get()?;
        let deadline = Deadline::after(options.deadline);
        let names: Result<Vec<LaneName>, _> = options.lanes.iter().map(|name| LaneName::new(name)).collect();
        let invalid = |error| Error::Invalid(format!("these lanes cannot be asked for: {error}"));
        let mut handshake = ConsumerHandshake::new(names.map_err(invalid)?).map_err(invalid)?;
        let socket = Connection::new(open_socket(&address, options.deadline)?, guard);
        crash::point!("session-connected");
        let peer = Peer::of(&socket)?;
        if !options.peers.admits(peer.uid) {
            return Err(Error::Forbidden { uid: peer.uid });
        }
        send(&socket, &handshake.hello(), "saying hello")?;
        crash::point!("session-hello-sent");
        let (frame, fds) = receive(&socket, deadline, options.deadline, "waiting for an Offer")?;
        crash::point!("session-offer-received");
        // The Offer's descriptors are the last. From Linux 6.16 on, the kernel refuses any others.
        let _ = fds::refuse_fds(socket.as_fd());
        let ConsumerStep::Offer(offer) = step(&socket, &mut handshake, frame, "reading the Offer")? else {
            return Err(Error::peer("reading the Offer", "it is none"));
        };
        let infos = offer.lanes.iter().map(|lane| LaneInfo::new(&lane.terms)).collect();
        let lanes = open_in_time(offer, fds, deadline, &options).inspect_err(|error| refuse(&socket, error))?;
        crash::point!("session-lanes-mapped");
        Ok(Self { socket, peer, handshake, lanes, infos, options, deadline, guard })
    }

    /// The lanes that will be attached to, in order.
    pub fn lanes(&self) -> &[LaneInfo] {
        &self.infos
    }

    /// The process id of the producer; `None` if it is in another pid namespace.
    pub fn producer_pid(&self) -> Option<u32> {
        self.peer.pid
    }

    /// Attaches to all lanes, with consumers that copy each payload out and check everything.
    ///
    /// # Errors
    ///
    /// As [`connect`](Self::connect).
    pub fn attach(self) -> Result<Vec<Consumer>> {
        self.attach_all(Access::Copies, || None)
    }

    /// Attaches to the one lane of this session, with a consumer that copies each payload out.
    ///
    /// # Errors
    ///
    /// As [`connect`](Self::connect), and [`Error::Invalid`] if the session has several lanes.
    pub fn attach_one(self) -> Result<Consumer> {
        self.check_single()?;
        Ok(self.attach()?.remove(0))
    }

    /// Attaches to all lanes, with consumers that read payloads in place.
    ///
    /// # Errors
    ///
    /// As [`connect`](Self::connect). The server has a policy of its own for readers in place.
    ///
    /// # Safety
    ///
    /// Rust gives `&[u8]` no meaning over bytes that another process changes, so the caller vouches for the producer.
    /// As long as the consumers live, every process that can write to the lanes' data regions follows the protocol (the
    /// seals leave only the producer's process): it changes no byte between what a consumer has released and what is
    /// published, and it waits for a consumer until the consumer's seat is unmapped. A producer made with this crate
    /// does that, unless a debugger or unsafe code of its program writes to its memory. And no forked child touches a
    /// record that was received before the fork.
    #[allow(unsafe_code, reason = "the promise is the caller's; the token carries it to where payloads are read")]
    pub unsafe fn attach_in_place(self) -> Result<Vec<Consumer>> {
        // SAFETY: the caller vouches for what `InPlace::vouch` asks.
        self.attach_all(Access::InPlace, || Some(unsafe { InPlace::vouch() }))
    }

    /// Attaches to the one lane of this session, with a consumer that reads payloads in place.
    ///
    /// # Errors
    ///
    /// As [`attach_in_place`](Self::attach_in_place), and [`Error::Invalid`] if the session has several lanes.
    ///
    /// # Safety
    ///
    /// As [`attach_in_place`](Self::attach_in_place).
    #[allow(unsafe_code, reason = "passes the caller's promise on")]
    pub unsafe fn attach_one_in_place(self) -> Result<Consumer> {
        self.check_single()?;
        // SAFETY: the caller vouches for the same here.
        Ok(unsafe { self.attach_in_place() }?.remove(0))
    }

    fn check_single(&self) -> Result<()> {
        match self.infos.len() {
            1 => Ok(()),
            lanes => Err(Error::Invalid(format!(
                "this session has {lanes} lanes; name the one that is wanted, or attach to all of them"
            ))),
        }
    }

    fn attach_all(self, access: Access, in_place: impl Fn() -> Option<InPlace>) -> Result<Vec<Consumer>> {
        let Self { socket, peer, mut handshake, lanes, options, deadline, guard, .. } = self;
        guard.check()?;
        // Read before the Attach: any later eviction may be that of this consumer.
        let evictions: Vec<u32> = lanes.iter().map(|lane| lane.map.evictions().load(Ordering::Relaxed)).collect();
        let can_call = barrier::can_call();
        let choose = |lane: &OpenedLane| if can_call { lane.terms.barrier } else { Barrier::Fence };
        let (delivery, start) = (Delivery::Lossless, options.start);
        let attach = lanes.iter().map(|lane| LaneAttach { delivery, start, access, barrier: choose(lane) });
        send(&socket, &handshake.attach(attach.collect()), "attaching")?;
        crash::point!("session-attach-sent");
        let (frame, fds) = receive(&socket, deadline, options.deadline, "waiting to be attached")?;
        crash::point!("session-attached-received");
        if !fds.is_empty() {
            unwelcome::close(fds);
            return Err(Error::peer("waiting to be attached", "descriptors came where none are announced"));
        }
        let ConsumerStep::Attached(starts) = step(&socket, &mut handshake, frame, "waiting to be attached")? else {
            return Err(Error::peer("waiting to be attached", "the producer said something else"));
        };
        let link = Arc::new(Link::new(socket, peer.pidfd, handshake));
        let lanes = lanes.into_iter().zip(starts).zip(evictions);
        let consumers = lanes.map(|((lane, start), evictions)| {
            let barrier = choose(&lane);
            let OpenedLane { map: lane, seat, bell, terms } = lane;
            let (in_place, spin) = (in_place(), options.spin);
            let attachment = Attachment { terms, lane, seat, bell, barrier, start, evictions, in_place, spin };
            Consumer::new(attachment, Arc::clone(&link), guard)
        });
        consumers.collect()
    }
}

/// Connects a seqpacket socket. Waits for a place in a full backlog, up to the limit.
fn open_socket(address: &Address, limit: Duration) -> Result<OwnedFd> {
    let addr = address.to_socket_addr()?;
    let doing = || format!("connect to {address}");
    let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
        .map_err(Error::os(doing()))?;
    // It bounds connect(2) too, see unix(7) on a full backlog; 0 would stand for no limit.
    let timeout = limit.max(Duration::from_millis(1));
    sockopt::set_socket_timeout(&socket, sockopt::Timeout::Send, Some(timeout)).map_err(Error::os(doing()))?;
    loop {
        match connect(&socket, &addr) {
            Ok(()) => return Ok(socket),
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => {
                let doing = format!("waiting for a place in the backlog of {address}");
                return Err(Error::TimedOut { doing, limit });
            }
            Err(Errno::PROTOTYPE) => {
                let fault = format!("{address} is a socket of another type, so no fdring server listens there");
                return Err(Error::peer("connecting", fault));
            }
            Err(error) => return Err(Error::os(doing())(error)),
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
fn receive(socket: &Connection, deadline: Deadline, limit: Duration, doing: &str) -> Result<(Frame, Vec<OwnedFd>)> {
    let mut bytes = vec![0; FRAME_MAX_BYTES];
    let mut may_reset = true;
    loop {
        match fds::recv_frame(socket.as_fd(), &mut bytes, FDS_PER_MESSAGE_MAX) {
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
            Err(error) if error.is_would_block() => wait_readable(socket, deadline, limit, doing)?,
            // Reported once, before what the producer had sent.
            Err(RecvFdsError::Reset) if may_reset => may_reset = false,
            Err(RecvFdsError::Closed | RecvFdsError::Reset) => return Err(Error::Closed { doing: doing.to_owned() }),
            Err(error) => return Err(unwelcome::reject(error, doing)),
        }
    }
}

fn wait_readable(socket: &Connection, deadline: Deadline, limit: Duration, doing: &str) -> Result<()> {
    let mut waits = [PollFd::new(socket, PollFlags::IN)];
    match poll(&mut waits, deadline.remaining().map(timespec).as_ref()) {
        Ok(0) => Err(Error::TimedOut { doing: doing.to_owned(), limit }),
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
    let (prefault, limit) = (options.prefault, options.deadline);
    let (says, opened) = sync_channel(1);
    let open = move || {
        // The deadline may have passed.
        let _ = says.send(open_lanes(&offer, fds, prefault));
    };
    let thread = std::thread::Builder::new().name("fdring-opener".to_owned());
    thread.spawn(open).map_err(Error::os("start the thread that opens what is offered"))?;
    let outcome = match deadline.remaining() {
        Some(remaining) => opened.recv_timeout(remaining),
        None => opened.recv().map_err(RecvTimeoutError::from),
    };
    let late = |_| Error::TimedOut { doing: "opening what is offered".to_owned(), limit };
    outcome.unwrap_or_else(|error| Err(late(error)))
}

/// Takes a frame through the handshake. If the handshake fails, the producer is told why.
fn step(socket: &Connection, handshake: &mut ConsumerHandshake, frame: Frame, doing: &str) -> Result<ConsumerStep> {
    handshake.on_frame(frame).map_err(|error| {
        answer(socket, &error);
        error.into_error(doing)
    })
}

/// Tells the producer why this side gives up.
fn answer(socket: &Connection, error: &HandshakeError) {
    if let Some(refusal) = error.refuse_frame() {
        let _ = fds::send_frame(socket.as_fd(), &refusal.encode(), &[]);
    }
}

/// Tells the producer that what it offered cannot be used.
fn refuse(socket: &Connection, error: &Error) {
    let refusal = Frame::Refuse(Refuse::new(RefuseCode::Region, &error.to_string()));
    let _ = fds::send_frame(socket.as_fd(), &refusal.encode(), &[]);
}
