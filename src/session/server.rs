//! The producer's side of sessions: a server that listens, and the thread that serves it, the steward.
//!
//! The steward accepts consumers, takes them through the handshake, gives them seats, and finds out when they go. The
//! invariant: a consumer that reads in place keeps its seat until the kernel says that nobody maps it any more (design
//! invariant 16), and no consumer can make the steward wait.
//!
//! What this file does not do: it never touches a record. The producer's thread never waits for the steward.

use super::listener::Listener;
use super::{Address, HANDSHAKE_DEADLINE, Peer, PeerPolicy, is_out_of_descriptors};
use crate::error::{Error, Result};
use crate::fds::{self, RecvFdsError};
use crate::frame::{
    BellKind, ByeReason, Delivery, FRAME_MAX_BYTES, Frame, LaneAttach, LaneName, LaneTerms, Offer, Reading, Refuse,
    RefuseCode,
};
use crate::handshake::{HandshakeError, ProducerHandshake, ProducerStep};
use crate::lane::{Lane, Notice, SeatLink, random_id};
use crate::layout::seat_len_bytes;
use crate::producer::Producer;
use crate::region::{ForkGuard, Freeze, HugePages, Region, RegionOptions, Seals};
use crate::ring::SeatMap;
use crate::roster::Joiner;
use crate::sync::{Mutex, Ordering};
use crate::wake::{self, Bell, Deadline};
use parking_lot::Condvar;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::net::{Shutdown, shutdown};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How many sessions a server has at once, unless told otherwise.
const SESSIONS_MAX: usize = 64;
/// How long a server that is out of descriptors leaves those waiting who want to connect.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How soon, and how rarely, it is asked again whether a consumer that has hung up still reads in place.
const DEPARTURE_RETRY_MIN: Duration = Duration::from_millis(1);
const DEPARTURE_RETRY_MAX: Duration = Duration::from_millis(100);
/// How many frames of one consumer are taken in a row, so that one that floods does not keep the steward.
const FRAMES_PER_TURN: usize = 16;

/// How a server listens, and whom it admits.
///
/// ```
/// use fdring::{LaneOptions, Producer, ServerOptions};
///
/// # fn main() -> fdring::Result<()> {
/// let ticks = Producer::create(LaneOptions::new("ticks"))?;
/// let server = ServerOptions::new().sessions_max(8).listen("@doc-server-options", &[&ticks])?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use = "options do nothing until a server listens with them"]
pub struct ServerOptions {
    sessions_max: usize,
    deadline: Duration,
    peers: PeerPolicy,
    in_place: PeerPolicy,
    mode: u32,
}

impl ServerOptions {
    /// At most 64 sessions, of this user's processes, on a socket of the mode 0600.
    pub fn new() -> Self {
        Self {
            sessions_max: SESSIONS_MAX,
            deadline: HANDSHAKE_DEADLINE,
            peers: PeerPolicy::SameUser,
            in_place: PeerPolicy::SameUser,
            mode: 0o600,
        }
    }

    /// How many consumers may be connected at once, handshakes included; 64 unless set. Others are refused.
    pub fn sessions_max(mut self, sessions: usize) -> Self {
        self.sessions_max = sessions;
        self
    }

    /// How long a consumer may take for its handshake; 5 s unless set.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Whose processes may attach; those of this user unless set. A consumer of another user gets a bell that it cannot
    /// make the producer wait with.
    pub fn peers(mut self, peers: PeerPolicy) -> Self {
        self.peers = peers;
        self
    }

    /// Whose processes may read in place; those of this user unless set. Such a consumer holds the lane back for as
    /// long as it lives and does not read.
    pub fn in_place(mut self, peers: PeerPolicy) -> Self {
        self.in_place = peers;
        self
    }

    /// The permission bits of the socket file; 0600 unless set. The umask still applies.
    pub fn mode(mut self, mode: u32) -> Self {
        self.mode = mode;
        self
    }

    /// Listens at `address` and offers the lanes of `producers`.
    ///
    /// # Errors
    ///
    /// [`Error::AddressInUse`] where a living process serves that address, [`Error::Invalid`] where two lanes have one
    /// name or the path belongs to something else than a socket, [`Error::Os`].
    pub fn listen(self, address: impl Into<Address>, producers: &[&Producer]) -> Result<Server> {
        let address = address.into();
        let guard = ForkGuard::get()?;
        let lanes: Vec<Arc<Lane>> = producers.iter().map(|producer| Arc::clone(producer.lane())).collect();
        check_distinct(&lanes)?;
        let listener = Listener::bind(&address, self.mode)?;
        let shared = Arc::new(Shared {
            notice: Arc::new(Notice::new()?),
            closing: AtomicBool::new(false),
            status: Mutex::new(Status::default()),
            changed: Condvar::new(),
        });
        for lane in &lanes {
            lane.notify_end(Arc::clone(&shared.notice));
        }
        let steward = Steward::new(listener, lanes, self, Arc::clone(&shared));
        let thread = std::thread::Builder::new()
            .name("fdring-steward".to_owned())
            .spawn(move || steward.run())
            .map_err(Error::os("start the thread that serves consumers"))?;
        Ok(Server { shared, thread: Some(thread), address, guard })
    }
}

impl Default for ServerOptions {
    fn default() -> Self {
        Self::new()
    }
}

fn check_distinct(lanes: &[Arc<Lane>]) -> Result<()> {
    for (index, lane) in lanes.iter().enumerate() {
        if lanes[..index].iter().any(|earlier| earlier.name == lane.name) {
            return Err(Error::Invalid(format!("two lanes are called {}; names tell lanes apart", lane.name)));
        }
    }
    Ok(())
}

/// Offers lanes to whoever connects, on a thread of its own.
///
/// Dropping it stops listening and removes the socket file. Sessions that are attached go on until the consumer leaves
/// or the lanes end.
///
/// ```
/// use fdring::{LaneOptions, Producer, Server, Session};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut ticks = Producer::create(LaneOptions::new("ticks"))?;
/// let server = Server::listen("@doc-server", &[&ticks])?;
///
/// // Usually in another process:
/// let mut consumer = Session::connect("@doc-server", Default::default())?.attach_one()?;
///
/// ticks.send(b"hello")?;
/// assert_eq!(&consumer.receive()?.unwrap()[..], b"hello");
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Server {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    address: Address,
    guard: ForkGuard,
}

/// What a server has seen so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServerStats {
    /// Sessions that are attached now.
    pub sessions: usize,
    /// Connections accepted so far.
    pub accepted: u64,
    /// Connections that ended before they were attached.
    pub refused: u64,
    /// Consumers that lost their seat although they may still have been reading.
    pub evicted: u64,
    /// How often the server stopped accepting for a moment because this process was out of descriptors or memory.
    pub accept_pauses: u64,
    /// Why the last connection was refused or dropped, as a sentence.
    pub last_refusal: Option<String>,
}

/// What the server's handle and its thread share.
#[derive(Debug)]
struct Shared {
    notice: Arc<Notice>,
    /// The handle was dropped.
    closing: AtomicBool,
    status: Mutex<Status>,
    /// Signalled when `status` changes.
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Status {
    stats: ServerStats,
    stopped_listening: bool,
    /// The thread has nothing more to do and is about to end.
    done: bool,
}

impl Shared {
    fn update(&self, change: impl FnOnce(&mut Status)) {
        change(&mut self.status.lock());
        self.changed.notify_all();
    }
}

impl Server {
    /// Listens at `address` with the default [`ServerOptions`].
    ///
    /// # Errors
    ///
    /// As [`ServerOptions::listen`].
    pub fn listen(address: impl Into<Address>, producers: &[&Producer]) -> Result<Self> {
        ServerOptions::new().listen(address, producers)
    }

    /// Where it listens.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// What it has seen so far.
    pub fn stats(&self) -> ServerStats {
        self.shared.status.lock().stats.clone()
    }

    /// Waits until at least `sessions` consumers are attached.
    ///
    /// # Errors
    ///
    /// [`Error::TimedOut`] where they are fewer after `timeout`, [`Error::Forked`].
    pub fn wait_for_sessions(&self, sessions: usize, timeout: Duration) -> Result<()> {
        self.guard.check()?;
        let mut status = self.shared.status.lock();
        let missing = |status: &mut Status| status.stats.sessions < sessions;
        if self.shared.changed.wait_while_for(&mut status, missing, timeout).timed_out() {
            let doing =
                format!("waiting for {sessions} consumers at {}, {} are there", self.address, status.stats.sessions);
            return Err(Error::TimedOut { doing, limit: timeout });
        }
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.guard.is_child() {
            return;
        }
        self.shared.closing.store(true, Ordering::Release);
        self.shared.notice.raise();
        let mut status = self.shared.status.lock();
        self.shared.changed.wait_while(&mut status, |status| !status.stopped_listening && !status.done);
        let done = status.done;
        drop(status);
        if let Some(thread) = self.thread.take().filter(|_| done) {
            let _ = thread.join();
        }
    }
}

/// The thread that serves consumers.
#[derive(Debug)]
struct Steward {
    listener: Option<Listener>,
    /// Whether closing a session's socket could make us wait: peers can send it descriptors that linger.
    may_linger: bool,
    lanes: Vec<Arc<Lane>>,
    options: ServerOptions,
    shared: Arc<Shared>,
    sessions: Vec<Serving>,
    paused_until: Option<Instant>,
    next_seat_id: u64,
}

/// One consumer.
#[derive(Debug)]
struct Serving {
    socket: OwnedFd,
    peer: Peer,
    handshake: ProducerHandshake,
    /// The lanes of the session, by their numbers, once a Hello has named them.
    lanes: Vec<usize>,
    seat: Option<Region>,
    bells: Vec<Bell>,
    /// The seat's number on each of the session's lanes; equal on all of them.
    seat_id: Option<u64>,
    /// Whether any lane is read in place.
    in_place: bool,
    /// Set by a lane that has put this consumer out.
    out: Arc<AtomicBool>,
    phase: Phase,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    /// The handshake is to be done by then.
    Greeting(Instant),
    Attached,
    /// It has hung up and may still be reading in place: when to ask the kernel again, and how long after that.
    Departing {
        retry: Instant,
        backoff: Duration,
    },
    Over,
}

/// Why a session ends before it is attached.
enum Parting {
    /// Tell the consumer, then hang up.
    Refuse(RefuseCode, String),
    /// Answer as the handshake says, then hang up.
    Handshake(HandshakeError),
    /// The consumer is gone, or makes no sense.
    HangUp(String),
    /// Descriptors wait in the socket: closing it may block.
    Unwanted,
}

impl From<HandshakeError> for Parting {
    fn from(error: HandshakeError) -> Self {
        Self::Handshake(error)
    }
}

impl Parting {
    /// Something failed on this side.
    fn own(error: Error) -> Self {
        let out = matches!(&error, Error::Os { source, .. } if is_out_of_descriptors(source));
        Self::Refuse(if out { RefuseCode::Descriptors } else { RefuseCode::Internal }, error.to_string())
    }
}

impl Steward {
    fn new(listener: Listener, lanes: Vec<Arc<Lane>>, options: ServerOptions, shared: Arc<Shared>) -> Self {
        let may_linger = !listener.refuses_fds();
        Self {
            listener: Some(listener),
            may_linger,
            lanes,
            options,
            shared,
            sessions: Vec::new(),
            paused_until: None,
            next_seat_id: 0,
        }
    }

    fn run(mut self) {
        while !self.is_done() {
            let stirring = self.wait();
            self.shared.notice.lower();
            if self.shared.closing.load(Ordering::Acquire) && self.listener.take().is_some() {
                self.shared.update(|status| status.stopped_listening = true);
            }
            self.serve(&stirring);
            if stirring.listener {
                self.accept();
            }
        }
        let Self { shared, sessions, listener, lanes, .. } = self;
        drop((sessions, listener, lanes));
        shared.update(|status| status.done = true);
    }

    /// Whether nobody can need this thread any more.
    fn is_done(&self) -> bool {
        self.listener.is_none() && (self.sessions.is_empty() || self.lanes.iter().all(|lane| lane.has_ended()))
    }

    /// Sleeps until there is something to do; what it is.
    fn wait(&mut self) -> Stirring {
        let now = Instant::now();
        self.paused_until = self.paused_until.filter(|until| *until > now);
        let listener = self.listener.as_ref().filter(|_| self.paused_until.is_none());
        let mut waits = vec![PollFd::new(self.shared.notice.fd(), PollFlags::IN)];
        waits.extend(listener.map(|listener| PollFd::new(listener.socket(), PollFlags::IN)));
        let before_sessions = waits.len();
        // Two places for each session; the socket of one without a pidfd takes both.
        for session in self.sessions.iter().filter(|session| session.is_watched()) {
            let pidfd = session.peer.pidfd.as_ref().unwrap_or(&session.socket);
            waits.extend([&session.socket, pidfd].map(|fd| PollFd::new(fd, PollFlags::IN)));
        }
        let next = self.sessions.iter().filter_map(Serving::next_deadline).chain(self.paused_until).min();
        let timeout = next.and_then(|at| Deadline::At(at).remaining()).map(wake::timespec);
        // A failure (a signal, or no memory) brings no news; the loop comes back here.
        let _ = poll(&mut waits, timeout.as_ref());
        let stirs: Vec<bool> = waits.iter().map(|wait| !wait.revents().is_empty()).collect();
        let mut pairs = stirs[before_sessions..].chunks_exact(2);
        let sessions = self.sessions.iter().map(|session| match session.is_watched() {
            true => pairs.next().map_or((false, false), |pair| (pair[0], session.peer.pidfd.is_some() && pair[1])),
            false => (false, false),
        });
        Stirring { listener: before_sessions == 2 && stirs[1], sessions: sessions.collect() }
    }

    /// Sees to every session that stirs, or whose time has come.
    fn serve(&mut self, stirring: &Stirring) {
        let now = Instant::now();
        let mut sessions = std::mem::take(&mut self.sessions);
        for (session, (socket, process)) in sessions.iter_mut().zip(&stirring.sessions) {
            if session.out.load(Ordering::Acquire) {
                self.evict(session);
                continue;
            }
            match session.phase {
                Phase::Greeting(deadline) if now >= deadline => {
                    let sentence = format!("the handshake took longer than {:?}", self.options.deadline);
                    self.part(session, Parting::Refuse(RefuseCode::TimedOut, sentence));
                }
                Phase::Departing { retry, .. } if now >= retry => self.depart(session),
                Phase::Departing { .. } | Phase::Over => {}
                Phase::Greeting(_) | Phase::Attached => {
                    if *socket {
                        self.hear(session);
                    }
                    if *process && session.is_watched() {
                        self.depart(session);
                    }
                }
            }
        }
        for session in sessions.extract_if(.., |session| matches!(session.phase, Phase::Over)) {
            self.close(session);
        }
        self.sessions = sessions;
        let attached = self.sessions.iter().filter(|session| matches!(session.phase, Phase::Attached)).count();
        self.shared.update(|status| status.stats.sessions = attached);
    }

    /// Accepts everyone who waits, as far as there is room.
    fn accept(&mut self) {
        use rustix::io::Errno;
        while let Some(listener) = &self.listener {
            match listener.accept() {
                Ok(socket) => self.welcome(socket),
                Err(Errno::INTR | Errno::CONNABORTED) => {}
                Err(Errno::WOULDBLOCK) => return,
                Err(error) => return self.pause(&Error::os("accept a consumer")(error)),
            }
        }
    }

    /// Stops accepting for a moment, and says so.
    fn pause(&mut self, error: &Error) {
        self.paused_until = Some(Instant::now() + ACCEPT_PAUSE);
        self.shared.update(|status| {
            status.stats.accept_pauses += 1;
            status.stats.last_refusal = Some(error.to_string());
        });
    }

    fn welcome(&mut self, socket: OwnedFd) {
        self.shared.update(|status| status.stats.accepted += 1);
        let peer = match Peer::of(&socket) {
            Ok(peer) => peer,
            Err(error) => return self.turn_away(socket, RefuseCode::Descriptors, &error.to_string()),
        };
        if !self.options.peers.admits(peer.uid) {
            let sentence = format!("processes of user {} are not admitted here", peer.uid);
            return self.turn_away(socket, RefuseCode::Forbidden, &sentence);
        }
        if self.sessions.len() >= self.options.sessions_max {
            let sentence = format!("all {} sessions are taken; try again later", self.options.sessions_max);
            return self.turn_away(socket, RefuseCode::Busy, &sentence);
        }
        let session_id = match random_id() {
            Ok(id) => id,
            Err(error) => return self.turn_away(socket, RefuseCode::Internal, &error.to_string()),
        };
        let terms = self.lanes.iter().map(|lane| lane_terms(lane)).collect();
        self.sessions.push(Serving {
            socket,
            peer,
            handshake: ProducerHandshake::new(terms, session_id),
            lanes: Vec::new(),
            seat: None,
            bells: Vec::new(),
            seat_id: None,
            in_place: false,
            out: Arc::new(AtomicBool::new(false)),
            phase: Phase::Greeting(Instant::now() + self.options.deadline),
        });
    }

    /// Refuses a connection that never becomes a session.
    fn turn_away(&self, socket: OwnedFd, code: RefuseCode, sentence: &str) {
        send(&socket, &Frame::Refuse(Refuse::new(code, sentence)));
        self.note_refusal(sentence);
        self.close_socket(socket);
    }

    fn note_refusal(&self, sentence: &str) {
        self.shared.update(|status| {
            status.stats.refused += 1;
            status.stats.last_refusal = Some(sentence.to_owned());
        });
    }

    /// Takes the frames that a consumer has sent.
    fn hear(&mut self, session: &mut Serving) {
        let mut bytes = [0; FRAME_MAX_BYTES];
        for _ in 0..FRAMES_PER_TURN {
            let frame = match fds::recv_frame_without_fds(session.socket.as_fd(), &mut bytes) {
                Ok(len) => Frame::parse(&bytes[..len], 0),
                Err(error) if error.is_would_block() => return,
                // Reported once, before what the consumer had still sent; which no longer matters.
                Err(RecvFdsError::Closed | RecvFdsError::Reset) => {
                    return self.part(session, Parting::HangUp("the consumer hung up".to_owned()));
                }
                Err(RecvFdsError::UnwantedDescriptors) => return self.part(session, Parting::Unwanted),
                Err(error) => return self.part(session, Parting::HangUp(error.to_string())),
            };
            let step = frame.map_err(HandshakeError::from).and_then(|frame| session.handshake.on_frame(frame));
            let outcome = match step {
                Ok(ProducerStep::Offer { lanes, .. }) => self.offer(session, lanes),
                Ok(ProducerStep::Attach(terms)) => self.attach(session, &terms),
                Ok(ProducerStep::Bye(_)) => Err(Parting::HangUp("the consumer said goodbye".to_owned())),
                Err(error) => Err(error.into()),
            };
            if let Err(parting) = outcome {
                return self.part(session, parting);
            }
        }
    }

    /// Answers a Hello: makes the seat and the bells, and sends them with the lanes' regions.
    fn offer(&mut self, session: &mut Serving, lanes: Vec<usize>) -> Result<(), Parting> {
        let same_user = session.peer.uid == rustix::process::geteuid().as_raw();
        let kind = if same_user { BellKind::Eventfd } else { BellKind::Socketpair };
        let name = format!("fdring:seat:{}", session.peer.pid);
        let options = RegionOptions { name: &name, len_bytes: seat_len_bytes(lanes.len()), huge_pages: HugePages::No };
        let seat = Region::create(&options).map_err(Parting::own)?;
        seat.seal(Seals::SHRINK | Seals::GROW).map_err(Parting::own)?;
        let bells: Result<Vec<(Bell, OwnedFd)>> = lanes.iter().map(|_| Bell::create(kind)).collect();
        let (bells, ends): (Vec<Bell>, Vec<OwnedFd>) = bells.map_err(Parting::own)?.into_iter().unzip();

        let mut fds: Vec<BorrowedFd<'_>> = Vec::with_capacity(1 + 3 * lanes.len());
        fds.push(seat.as_fd());
        for (index, end) in lanes.iter().zip(&ends) {
            let lane = &self.lanes[*index];
            fds.extend([end.as_fd(), lane.control.as_fd(), lane.data.as_fd()]);
        }
        debug_assert_eq!(fds.len(), Offer::data_fd(lanes.len() - 1) + 1);
        let frame = session.handshake.offer_frame(kind).encode();
        fds::send_frame(session.socket.as_fd(), &frame, &fds)
            .map_err(|error| Parting::own(Error::os("send an Offer")(error)))?;
        (session.seat, session.bells, session.lanes) = (Some(seat), bells, lanes);
        Ok(())
    }

    /// Answers an Attach: checks the seat, gives the consumer its place on every lane, and says where it starts.
    fn attach(&mut self, session: &mut Serving, terms: &[LaneAttach]) -> Result<(), Parting> {
        session.in_place = terms.iter().any(|lane| lane.reading == Reading::InPlace);
        if session.in_place && !self.options.in_place.admits(session.peer.uid) {
            let sentence = format!("user {} may not read in place here; attach as one that copies", session.peer.uid);
            return Err(Parting::Refuse(RefuseCode::Forbidden, sentence));
        }
        if terms.iter().any(|lane| lane.delivery == Delivery::Lossy) {
            return Err(Parting::Refuse(RefuseCode::Unsupported, "lossy consumers are not implemented here".into()));
        }
        let seat = session.seat.as_ref().ok_or_else(|| Parting::HangUp("an Attach without a seat".to_owned()))?;
        let mapping = Arc::new(check_seat(seat)?);
        let seat_id = self.next_seat_id;
        self.next_seat_id += 1;
        session.seat_id = Some(seat_id);
        let mut starts = Vec::with_capacity(terms.len());
        let bells = std::mem::take(&mut session.bells);
        for (stripe, ((index, bell), terms)) in session.lanes.iter().zip(bells).zip(terms).enumerate() {
            let lane = &self.lanes[*index];
            let words = SeatMap::new(Arc::clone(&mapping), stripe);
            let port = SeatLink::new(words, bell, Arc::clone(&session.out), Arc::clone(&self.shared.notice));
            let joiner = Joiner { id: seat_id, pid: session.peer.pid, start: terms.start };
            starts.push(lane.roster.join(&*lane.map, joiner, port));
        }
        session.phase = Phase::Attached;
        let frame = session.handshake.attached(starts).encode();
        fds::send_frame(session.socket.as_fd(), &frame, &[])
            .map_err(|error| Parting::HangUp(format!("could not send an Attached: {error}")))
    }

    /// Ends a session that says or does something that ends it.
    fn part(&mut self, session: &mut Serving, parting: Parting) {
        let (answer, sentence) = match parting {
            Parting::Refuse(code, sentence) => (Some(Frame::Refuse(Refuse::new(code, &sentence))), sentence),
            Parting::Handshake(error) => (error.refuse_frame(), error.to_string()),
            Parting::HangUp(sentence) => (None, sentence),
            Parting::Unwanted => (None, "the consumer sent descriptors, and none are taken".to_owned()),
        };
        match (session.seat_id, answer) {
            (None, answer) => {
                if let Some(frame) = answer {
                    send(&session.socket, &frame);
                }
                self.note_refusal(&sentence);
                session.phase = Phase::Over;
            }
            (Some(_), answer) => {
                if answer.is_some() {
                    send(&session.socket, &Frame::Bye(ByeReason::Protocol));
                }
                self.depart(session);
            }
        }
    }

    /// A consumer has hung up, or its process has ended: asks the kernel whether anyone still maps its seat.
    fn depart(&mut self, session: &mut Serving) {
        let Some(seat) = session.seat.as_ref().filter(|_| session.seat_id.is_some()) else {
            return self.part(session, Parting::HangUp("the consumer's process ended".to_owned()));
        };
        // Never under a roster's lock: it is a system call.
        match seat.try_freeze() {
            Ok(Freeze::Frozen) => {
                self.for_each_seat(session, |lane, seat_id| lane.roster.leave(seat_id));
                session.phase = Phase::Over;
            }
            // Still mapped, by its process or a child of it. One that copies notices that it was evicted.
            Ok(Freeze::StillMapped) if session.in_place => {
                let backoff = match session.phase {
                    Phase::Departing { backoff, .. } => (backoff * 2).min(DEPARTURE_RETRY_MAX),
                    _ => DEPARTURE_RETRY_MIN,
                };
                // It gets no more to hear; the bells go with the seat.
                let _ = shutdown(&session.socket, Shutdown::Both);
                session.phase = Phase::Departing { retry: Instant::now() + backoff, backoff };
            }
            // Or it has sealed the seals, so that the kernel cannot be asked: a breach.
            _ => self.evict(session),
        }
    }

    /// Takes a consumer's seats away although it may still be reading, and tells it.
    fn evict(&mut self, session: &mut Serving) {
        self.for_each_seat(session, |lane, seat_id| lane.roster.evict(&*lane.map, seat_id));
        send(&session.socket, &Frame::Bye(ByeReason::Evicted));
        self.shared.update(|status| status.stats.evicted += 1);
        session.phase = Phase::Over;
    }

    fn for_each_seat(&self, session: &Serving, each: impl Fn(&Lane, u64)) {
        for index in session.seat_id.iter().flat_map(|_| &session.lanes) {
            each(&self.lanes[*index], session.seat_id.unwrap_or_default());
        }
    }

    fn close(&self, session: Serving) {
        let Serving { socket, .. } = session;
        self.close_socket(socket);
    }

    /// Closes a socket; where descriptors may wait in it, on a thread of its own, since a socket that lingers among
    /// them makes the closing wait.
    fn close_socket(&self, socket: OwnedFd) {
        // Whoever else holds this socket hears of it too.
        let _ = shutdown(&socket, Shutdown::Both);
        if self.may_linger {
            let _ = std::thread::Builder::new().name("fdring-closer".to_owned()).spawn(move || drop(socket));
        }
    }
}

/// What stirs after a wait.
struct Stirring {
    listener: bool,
    /// For each session: its socket, its process.
    sessions: Vec<(bool, bool)>,
}

impl Serving {
    /// Whether its socket and process are looked at.
    fn is_watched(&self) -> bool {
        matches!(self.phase, Phase::Greeting(_) | Phase::Attached)
    }

    fn next_deadline(&self) -> Option<Instant> {
        match self.phase {
            Phase::Greeting(deadline) => Some(deadline),
            Phase::Departing { retry, .. } => Some(retry),
            Phase::Attached | Phase::Over => None,
        }
    }
}

/// Makes sure that nobody but those who map it now can ever write the seat or take its memory away, and maps it.
fn check_seat(seat: &Region) -> Result<crate::region::Mapping, Parting> {
    let breach = |sentence: String| Parting::Refuse(RefuseCode::Region, sentence);
    let seals = seat.seals().map_err(Parting::own)?;
    if !seals.contains(Seals::FUTURE_WRITE) {
        return Err(breach("the seat is not sealed against further writers (F_SEAL_FUTURE_WRITE)".to_owned()));
    }
    // What was punched out before the seal is filled again; after it, nothing can be punched out.
    seat.reallocate().map_err(Parting::own)?;
    seat.map_seat_for_producer().map_err(Parting::own)
}

fn lane_terms(lane: &Lane) -> LaneTerms {
    LaneTerms {
        name: LaneName::new(&lane.name).expect("the name was checked when the lane was created"),
        id: lane.id,
        geometry: lane.geometry,
        schema: lane.schema,
        generation: lane.generation,
    }
}

/// Sends a frame to a consumer that may not be there any more, or may not be reading.
fn send(socket: &OwnedFd, frame: &Frame) {
    let _ = fds::send_frame(socket.as_fd(), &frame.encode(), &[]);
}
