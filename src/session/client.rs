//! The consumer's side of a session: connect, have the offered lanes checked, attach.
//!
//! Elsewhere: [`opened`](super::opened) checks and maps the contents of an Offer, and [`Attach`] carries the caller's
//! promise.

use super::arriving::SessionPlace;
use super::attach::Attach;
use super::attaching::{AttachedReader, Attaching};
use super::connecting::{open_socket, wait_in_slices};
use super::frame_socket::{FrameSocket, Heard};
use super::hearing::{receive, receive_by};
use super::opened::{OpenedLane, Opener};
use super::options::SessionOptions;
use super::served::HEIR_GRACE;
use super::{Address, PeerPolicy, ROOT, adopted, unwelcome};
use crate::consumer::{Consumer, Tap};
use crate::crash;
use crate::deadline::Deadline;
use crate::error::{Error, Result};
use crate::fds;
use crate::handshake::{Handshake, Step};
use crate::lane::LaneInfo;
use crate::os::closing::Connection;
use crate::os::fork::ForkGuard;
use crate::os::peer::Peer;
use crate::terms::{Delivery, Refusal};
use crate::wire::{Frame, LaneName, Offer, Refuse};
use rustix::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::mpsc::RecvTimeoutError;
use std::time::Instant;

/// A connection to a producer's server that is not yet attached to lanes. The lanes are already mapped and checked.
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
    pub(super) socket: FrameSocket,
    pub(super) peer: Peer,
    pub(super) handshake: Handshake,
    pub(super) lanes: Vec<OpenedLane>,
    pub(super) infos: Vec<LaneInfo>,
    pub(super) options: SessionOptions,
    pub(super) deadline: Deadline,
    pub(super) guard: ForkGuard,
    pub(super) opened_at: Instant,
    /// Its place among the sessions of a consumer that listens, if the producer has connected.
    pub(super) place: Option<Arc<SessionPlace>>,
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
    /// - [`Error::Refused`] if the server refuses, for example because it already has as many sessions as it allows
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
    /// - [`Error::Refused`] if the server refuses, for example because it already has as many sessions as it allows
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
        let socket = open_socket(address, deadline, options.deadline, options.interrupter.as_ref())?;
        let socket = Connection::new(socket, guard);
        crash::point!("session-connected");
        let listener = Peer::of(&socket)?;
        admits_listener(&options.peers, &listener)?;
        Self::greet(FrameSocket::new(socket), Some(listener), handshake, deadline, options, guard)
    }

    /// A session over a socket that is connected already.
    pub(super) fn open_over(socket: OwnedFd, options: &SessionOptions) -> Result<Self> {
        let guard = ForkGuard::get()?;
        let deadline = Deadline::after(options.deadline);
        let handshake = begin(options)?;
        let socket = FrameSocket::new(Connection::new(adopted::connected(socket)?, guard));
        Self::greet(socket, None, handshake, deadline, options, guard)
    }

    /// Says Hello, learns who answers, and has what is offered opened. `listener` is the process that listened, where
    /// the kernel knows it.
    fn greet(
        mut socket: FrameSocket,
        listener: Option<Peer>,
        mut handshake: Handshake,
        deadline: Deadline,
        options: &SessionOptions,
        guard: ForkGuard,
    ) -> Result<Self> {
        send(&socket, &handshake.hello(), "saying hello")?;
        crash::point!("session-hello-sent");
        // It begins while the producer makes its Offer.
        let opener = Opener::start(options, || ()).inspect_err(|error| refuse(&socket, error))?;
        let (heard, peer) = meet(&mut socket, listener, deadline, options)?;
        let (Step::Greeted { .. }, _) = step(&socket, &mut handshake, heard, "reading the Hello")? else {
            return Err(Error::peer("reading the Hello", "it is none"));
        };
        crash::point!("session-hello-received");
        let heard = receive(&mut socket, &peer, deadline, options, "waiting for an Offer")?;
        crash::point!("session-offer-received");
        // The Offer's descriptors are the last. From Linux 6.16 on, the kernel refuses any others.
        fds::refuse_fds(socket.as_fd());
        let (Step::Offer(offer), fds) = step(&socket, &mut handshake, heard, "reading the Offer")? else {
            return Err(Error::peer("reading the Offer", "it is none"));
        };
        let infos = infos_of(&offer);
        let lanes = open_in_time(opener, offer, fds, deadline, options).inspect_err(|error| refuse(&socket, error))?;
        crash::point!("session-lanes-mapped");
        let (options, opened_at) = (options.clone(), Instant::now());
        Ok(Self { socket, peer, handshake, lanes, infos, options, deadline, guard, opened_at, place: None })
    }

    /// A session with a producer that has connected, whose lanes are open.
    pub(super) fn arrived(
        socket: FrameSocket,
        peer: Peer,
        handshake: Handshake,
        (lanes, infos): (Vec<OpenedLane>, Vec<LaneInfo>),
        options: SessionOptions,
        guard: ForkGuard,
        place: Arc<SessionPlace>,
    ) -> Self {
        let (deadline, opened_at) = (Deadline::after(options.deadline), Instant::now());
        Self { socket, peer, handshake, lanes, infos, options, deadline, guard, opened_at, place: Some(place) }
    }

    /// The same, to be attached to from now on.
    pub(super) fn begin_to_attach(self) -> Self {
        Self { deadline: Deadline::after(self.options.deadline), ..self }
    }

    pub(super) fn opened_at(&self) -> Instant {
        self.opened_at
    }

    /// Sends the producer a frame, if it is there.
    pub(super) fn tell(&self, frame: &Frame) {
        self.socket.tell(frame);
    }

    /// The lanes of this session, in the order in which they were requested, or in the server's order by default.
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

    /// The numeric id of the producer's user, as the kernel names it. `None` if this user namespace has no number for
    /// the user.
    ///
    /// ```
    /// # use fdring::{Producer, Server, Session};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let ticks = Producer::create("ticks")?;
    /// # let server = Server::listen("@doc-producer-uid", [&ticks])?;
    /// let session = Session::connect("@doc-producer-uid")?;
    /// println!("process {:?} of user {:?}", session.producer_pid(), session.producer_uid());
    /// # Ok(())
    /// # }
    /// ```
    pub fn producer_uid(&self) -> Option<u32> {
        self.peer.uid
    }

    /// Attaches to some of the lanes, each named by one [`Attach`]. Returns their consumers in the order given.
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
    /// - [`Error::Invalid`] if a lane is not in this session or is named twice, or if none is named
    /// - [`Error::Refused`] if the server refuses, for example because it does not admit this user to read in place
    /// - [`Error::Peer`] if the server breaks the protocol
    /// - [`Error::Closed`] if the server closes the connection
    /// - [`Error::TimedOut`] if the handshake takes longer than the [`deadline`](SessionOptions::deadline)
    /// - [`Error::Os`] if the system is short of descriptors, or a system call fails
    /// - [`Error::Forked`] in a forked child
    pub fn attach(self, lanes: impl IntoIterator<Item = Attach>) -> Result<Vec<Consumer>> {
        Ok(self.attach_and_tap(lanes, [])?.0)
    }

    /// Attaches to one lane: the lane that `how` names, or the session's only lane if it names none.
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
        let lanes = self.each_lane(&how, "attach_one")?;
        self.attach(lanes)
    }

    /// Attaches to some of the lanes as taps, each named by one [`Attach`]. Returns the taps in the order given.
    ///
    /// ```
    /// # use fdring::{Attach, Producer, Server, Session, options::Start};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let (mut ticks, trades) = (Producer::create("ticks")?, Producer::create("trades")?);
    /// # let server = Server::listen("@doc-session-tap", [&ticks, &trades])?;
    /// ticks.send(b"first")?;
    /// ticks.send(b"second")?;
    /// let session = Session::connect("@doc-session-tap")?;
    /// let mut taps = session.tap([Attach::lane("ticks").start(Start::Newest)])?;
    /// assert_eq!(&taps[0].receive()?.unwrap()[..], b"second");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`Error::Invalid`] if a lane is not in this session, named twice or to be read in place, or if none is named
    /// - [`Error::Refused`] if the server refuses
    /// - [`Error::Peer`] if the server breaks the protocol
    /// - [`Error::Closed`] if the server closes the connection
    /// - [`Error::TimedOut`] if the handshake takes longer than the [`deadline`](SessionOptions::deadline)
    /// - [`Error::Os`] if the system is short of descriptors, or a system call fails
    /// - [`Error::Forked`] in a forked child
    pub fn tap(self, lanes: impl IntoIterator<Item = Attach>) -> Result<Vec<Tap>> {
        Ok(self.attach_and_tap([], lanes)?.1)
    }

    /// Attaches to one lane as a tap: the lane that `how` names, or the session's only lane if it names none.
    ///
    /// ```
    /// # use fdring::{Attach, Producer, Server, Session, options::Start};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut ticks = Producer::create("ticks")?;
    /// # let server = Server::listen("@doc-tap-one", [&ticks])?;
    /// ticks.send(b"before")?;
    /// let mut tap = Session::connect("@doc-tap-one")?.tap_one(Attach::new().start(Start::Oldest))?;
    /// assert_eq!(&tap.receive()?.unwrap()[..], b"before");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`Error::Invalid`] if the lane is not in this session, or is to be read in place, or if none is named and the
    ///   session has several
    /// - [`Error::Refused`] if the server refuses
    /// - [`Error::Peer`] if the server breaks the protocol
    /// - [`Error::Closed`] if the server closes the connection
    /// - [`Error::TimedOut`] if the handshake takes longer than the [`deadline`](SessionOptions::deadline)
    /// - [`Error::Os`] if the system is short of descriptors, or a system call fails
    /// - [`Error::Forked`] in a forked child
    pub fn tap_one(self, how: Attach) -> Result<Tap> {
        Ok(self.tap([how])?.remove(0))
    }

    /// Attaches to all lanes of this session as taps, to each as `how` says. Returns the taps in the order of
    /// [`lanes`](Self::lanes).
    ///
    /// ```
    /// # use fdring::{Attach, Producer, Server, Session};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let (ticks, trades) = (Producer::create("ticks")?, Producer::create("trades")?);
    /// # let server = Server::listen("@doc-tap-all", [&ticks, &trades])?;
    /// let taps = Session::connect("@doc-tap-all")?.tap_all(Attach::new())?;
    /// assert_eq!(taps[1].lane().name, "trades");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`Error::Invalid`] if `how` names a lane, or reads in place
    /// - [`Error::Refused`] if the server refuses
    /// - [`Error::Peer`] if the server breaks the protocol
    /// - [`Error::Closed`] if the server closes the connection
    /// - [`Error::TimedOut`] if the handshake takes longer than the [`deadline`](SessionOptions::deadline)
    /// - [`Error::Os`] if the system is short of descriptors, or a system call fails
    /// - [`Error::Forked`] in a forked child
    pub fn tap_all(self, how: Attach) -> Result<Vec<Tap>> {
        let lanes = self.each_lane(&how, "tap_one")?;
        self.tap(lanes)
    }

    /// Attaches to some of the lanes as consumers, and to others as taps. Returns both in the order in which they were
    /// named. A session can attach only once.
    ///
    /// ```
    /// # use fdring::{Attach, Producer, Server, Session};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let (orders, mut prices) = (Producer::create("orders")?, Producer::create("prices")?);
    /// # let server = Server::listen("@doc-attach-and-tap", [&orders, &prices])?;
    /// let session = Session::connect("@doc-attach-and-tap")?;
    /// // Every order counts; of the prices, only the newest one does.
    /// let (consumers, mut taps) = session.attach_and_tap([Attach::lane("orders")], [Attach::lane("prices")])?;
    /// assert_eq!(consumers[0].lane().name, "orders");
    /// prices.send(b"101")?;
    /// prices.send(b"102")?;
    /// assert_eq!(&taps[0].receive_newest()?.unwrap()[..], b"102");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`Error::Invalid`] if a lane is not in this session or is named twice, if none is named, if a tap is to read
    ///   in place, or if a consumer is to begin at the newest record
    /// - [`Error::Refused`] if the server refuses, for example because it does not admit this user to read in place
    /// - [`Error::Peer`] if the server breaks the protocol
    /// - [`Error::Closed`] if the server closes the connection
    /// - [`Error::TimedOut`] if the handshake takes longer than the [`deadline`](SessionOptions::deadline)
    /// - [`Error::Os`] if the system is short of descriptors, or a system call fails
    /// - [`Error::Forked`] in a forked child
    pub fn attach_and_tap(
        self,
        consumers: impl IntoIterator<Item = Attach>,
        taps: impl IntoIterator<Item = Attach>,
    ) -> Result<(Vec<Consumer>, Vec<Tap>)> {
        let lossless = consumers.into_iter().map(|attach| (attach, Delivery::Lossless));
        let wanted: Vec<_> = lossless.chain(taps.into_iter().map(|attach| (attach, Delivery::Lossy))).collect();
        let places = self.find_all(&wanted)?;
        let mut how = vec![None; self.infos.len()];
        for (place, reading) in places.iter().zip(wanted) {
            how[*place] = Some(reading);
        }
        let mut readers = self.say_attach(how)?.finish()?;
        let (mut consumers, mut taps) = (Vec::new(), Vec::new());
        for reader in places.into_iter().filter_map(|place| readers[place].take()) {
            match reader {
                AttachedReader::Consumer(consumer) => consumers.push(consumer),
                AttachedReader::Tap(tap) => taps.push(tap),
            }
        }
        Ok((consumers, taps))
    }

    /// Which of the lanes these are.
    fn find_all(&self, wanted: &[(Attach, Delivery)]) -> Result<Vec<usize>> {
        let mut places = Vec::with_capacity(wanted.len());
        for (attach, delivery) in wanted {
            let place = self.find(attach)?;
            let info = &self.infos[place];
            let of_lane = |fault| Error::Invalid(format!("lane {}: {fault}", info.name));
            attach.check(*delivery).map_err(of_lane)?;
            if info.has_one_worker && *delivery == Delivery::Lossy {
                return Err(of_lane("it is the slot of one worker, which no tap can read"));
            }
            if attach.takes_fds() && info.attachments_max == 0 {
                return Err(of_lane("no descriptors are attached to its records"));
            }
            if places.contains(&place) {
                return Err(Error::Invalid(format!("lane {} is named twice; name each once", self.infos[place].name)));
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

    /// What `how` asks of each lane, unless it names one: `for_one` attaches to that.
    fn each_lane(&self, how: &Attach, for_one: &str) -> Result<Vec<Attach>> {
        match how.name() {
            None => Ok(self.infos.iter().map(|info| how.clone().of_lane(&info.name)).collect()),
            Some(name) => {
                let name = name.escape_debug();
                Err(Error::Invalid(format!("this attaches to all lanes, not to {name} alone; use {for_one}")))
            }
        }
    }

    /// The first step of [`attach_all`](Self::attach_all): says so, and waits for nothing.
    pub(crate) fn begin_to_attach_all(self, how: &Attach) -> Result<Attaching> {
        let lanes = self.each_lane(how, "attach_one")?.into_iter();
        let wanted: Vec<_> = lanes.map(|lane| (lane, Delivery::Lossless)).collect();
        self.find_all(&wanted)?;
        self.say_attach(wanted.into_iter().map(Some).collect())
    }
}

impl Tap {
    /// Connects to the server at `address`, which offers one lane, and taps that lane, starting with the next record
    /// that is published.
    ///
    /// ```
    /// use fdring::{Producer, Server, Tap};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let mut ticks = Producer::create("ticks")?;
    /// let server = Server::listen("@doc-tap-connect", [&ticks])?;
    ///
    /// // Usually in another process:
    /// let mut tap = Tap::connect("@doc-tap-connect")?;
    ///
    /// ticks.send(b"hello")?;
    /// assert_eq!(&tap.receive()?.unwrap()[..], b"hello");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`Error::Os`] if no server listens there, or the system is short of memory or descriptors
    /// - [`Error::Invalid`] if the address is out of range, or the server offers several lanes: then open a [`Session`]
    ///   and [tap](Session::tap_one) one of them
    /// - [`Error::Refused`] if the server refuses, for example because it already has as many sessions as it allows
    /// - [`Error::Forbidden`] if the server runs as another user
    /// - [`Error::Peer`] if the server breaks the protocol, or offers memory that must not be mapped
    /// - [`Error::Closed`] if the server closes the connection
    /// - [`Error::TimedOut`] if the handshake takes longer than 5 s
    /// - [`Error::Forked`] in a forked child of a process that has used this library
    pub fn connect(address: impl Into<Address>) -> Result<Self> {
        Session::connect(address)?.tap_one(Attach::new())
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
    /// - [`Error::Refused`] if the server refuses, for example because it already has as many sessions as it allows
    /// - [`Error::Forbidden`] if the server runs as another user
    /// - [`Error::Peer`] if the server breaks the protocol, or offers memory that must not be mapped
    /// - [`Error::Closed`] if the server closes the connection
    /// - [`Error::TimedOut`] if the handshake takes longer than 5 s
    /// - [`Error::Forked`] in a forked child of a process that has used this library
    pub fn connect(address: impl Into<Address>) -> Result<Self> {
        Session::connect(address)?.attach_one(Attach::new())
    }
}

/// Whether a process that listened may be followed: it is admitted, or root's. Root may have listened for another
/// user, as systemd does: the first frame will say.
pub(super) fn admits_listener(peers: &PeerPolicy, listener: &Peer) -> Result<()> {
    if listener.uid != Some(ROOT) && !peers.admits(listener.uid) {
        return Err(Error::Forbidden { uid: listener.uid });
    }
    Ok(())
}

/// A handshake that asks for the lanes of `options`.
pub(super) fn begin(options: &SessionOptions) -> Result<Handshake> {
    let names: Result<Vec<LaneName>, _> = options.lanes.iter().map(|name| LaneName::new(name)).collect();
    let invalid = |error| Error::Invalid(format!("these lanes cannot be asked for: {error}"));
    Handshake::consumer(names.map_err(invalid)?).map_err(invalid)
}

/// The facts of the lanes of an Offer.
pub(super) fn infos_of(offer: &Offer) -> Vec<LaneInfo> {
    offer.lanes.iter().map(|lane| LaneInfo::new(&lane.terms)).collect()
}

/// The first frame, and the process that sent it, which is admitted. `listener` counts where the kernel names no
/// sender.
fn meet(
    socket: &mut FrameSocket,
    listener: Option<Peer>,
    deadline: Deadline,
    options: &SessionOptions,
) -> Result<(Heard, Peer)> {
    let doing = "waiting for a Hello";
    let take = |socket: &mut FrameSocket| socket.receive_first(true);
    let (heard, sender) = if listener.as_ref().is_some_and(Peer::is_dead) {
        let heard = receive_by(socket, &Peer::UNKNOWN, deadline.or_after(HEIR_GRACE), options, doing, take);
        heard.map_err(|error| match error {
            Error::TimedOut { doing, .. } if !deadline.has_passed() => Error::Closed { doing },
            error => error,
        })?
    } else {
        receive_by(socket, listener.as_ref().unwrap_or(&Peer::UNKNOWN), deadline, options, doing, take)?
    };
    let peer = Peer::met(listener, sender);
    if options.peers.admits(peer.uid) {
        return Ok((heard, peer));
    }
    unwelcome::close(heard.1);
    Err(Error::Forbidden { uid: peer.uid })
}

fn send(socket: &FrameSocket, frame: &Frame, doing: &str) -> Result<()> {
    send_with_fds(socket, frame, &[], doing)
}

pub(super) fn send_with_fds(socket: &FrameSocket, frame: &Frame, fds: &[OwnedFd], doing: &str) -> Result<()> {
    let fds: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
    match socket.send(frame, &fds) {
        Ok(()) => Ok(()),
        Err(error) => match error.kind() {
            // The producer hung up first. What it sent before that is still to be read, and says why.
            std::io::ErrorKind::BrokenPipe | std::io::ErrorKind::ConnectionReset => Ok(()),
            _ => Err(Error::os(format!("send a frame while {doing}"))(error)),
        },
    }
}

/// Opens what was offered, on a thread of its own: the process that made the files can keep their locks for as long as
/// it likes. At the deadline the thread is left behind, and closes what it has when it ends.
fn open_in_time(
    opener: Opener,
    offer: Offer,
    fds: Vec<OwnedFd>,
    deadline: Deadline,
    options: &SessionOptions,
) -> Result<Vec<OpenedLane>> {
    let opening = opener.open(offer, fds);
    let doing = || "opening what is offered".to_owned();
    wait_in_slices(deadline, options.deadline, options.interrupter.as_ref(), doing, |slice| {
        let outcome = match slice {
            Some(slice) => opening.outcome.recv_timeout(slice),
            None => opening.outcome.recv().map_err(RecvTimeoutError::from),
        };
        match outcome {
            Ok(opened) => Some(opened),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => {
                Some(Err(Error::TimedOut { doing: doing(), limit: options.deadline }))
            }
        }
    })
}

/// Takes a frame through the handshake; what to do next, and the frame's descriptors. If the handshake fails, the
/// producer is told why.
pub(super) fn step(
    socket: &FrameSocket,
    handshake: &mut Handshake,
    (frame, fds): Heard,
    doing: &str,
) -> Result<(Step, Vec<OwnedFd>)> {
    match handshake.on_frame(frame) {
        Ok(step) => Ok((step, fds)),
        Err(error) => {
            unwelcome::close(fds);
            error.refuse_frame().iter().for_each(|answer| socket.tell(answer));
            Err(error.into_error(doing))
        }
    }
}

/// Tells the producer that what it offered cannot be used.
pub(super) fn refuse(socket: &FrameSocket, error: &Error) {
    socket.tell(&Frame::Refuse(Refuse::new(Refusal::Region, &error.to_string())));
}
