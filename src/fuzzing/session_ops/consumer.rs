//! A hostile consumer, and beside it perhaps an honest one, of a server with two lanes.

use super::super::Script;
use super::super::frames::{PLAIN, alter, frame, lane_terms};
use super::oddities::{abuse, odd_fd, seal};
use super::{ACTIONS_MAX, DEADLINE, PATIENCE, hear, say, unique_address, with_room_for};
use crate::layout::{Geometry, seat_len_bytes};
use crate::memory::SeatMap;
use crate::region::{Mapping, Region, Seals};
use crate::ring::SeatWords;
use crate::sync::Ordering;
use crate::terms::Access;
use crate::wire::{Frame, Hello, LaneAttach, LaneTerms, Role, StartAt};
use crate::{
    Attach, Consumer, Producer, Server,
    errors::ReceiveError,
    options::{LaneOptions, ServerOptions, SessionOptions},
};
use rustix::fd::{AsFd, OwnedFd};
use rustix::net::{AddressFamily, Shutdown, SocketAddrUnix, SocketFlags, SocketType, connect, shutdown, socket_with};
use std::sync::Arc;

const CAPACITY_BYTES: u64 = 4096;
/// The names that `lane_terms` gives to lanes.
const LANES: [&str; 2] = ["a", "ticks"];

pub(super) fn play(script: &mut Script<'_>) {
    let choice = script.u8();
    let mut served = Served::new(choice & 1 != 0);
    let mut hostile = Hostile::new(served.address.clone());
    for _ in 0..ACTIONS_MAX {
        if script.is_empty() {
            break;
        }
        match script.below(20) {
            0..6 => served.send(usize::from(script.u8()) * 8),
            action => hostile.act(action, script),
        }
        served.drain();
    }
    drop(hostile);
    served.finish();
}

/// Two lanes, their server, and perhaps an honest consumer of the first lane.
struct Served {
    address: String,
    producers: [Producer; 2],
    server: Server,
    honest: Option<Consumer>,
    sent: u64,
    received: u64,
}

impl Served {
    fn new(has_honest: bool) -> Self {
        let lane = |name| LaneOptions::new(name).capacity(CAPACITY_BYTES).prefault(false).spin(FRAME_SPIN);
        let producers = LANES.map(|name| lane(name).create().expect("memory for a small lane"));
        let address = unique_address();
        let deadline = if has_honest { PATIENCE } else { DEADLINE };
        let options = ServerOptions::new().deadline(deadline).sessions_max(4);
        let server = options.listen(&address, &[&producers[0], &producers[1]]).expect("a name of its own");
        let honest = has_honest.then(|| {
            let options = SessionOptions::new().lanes([LANES[0]]).prefault(false).deadline(PATIENCE);
            let session = options.connect(&address).expect("the server takes an honest consumer");
            session.attach_one(Attach::new()).expect("the server attaches an honest consumer")
        });
        Self { address, producers, server, honest, sent: 0, received: 0 }
    }

    /// A record on the first lane that tells its number, if there is room; the same length on the second.
    fn send(&mut self, len: usize) {
        if let Ok(mut slot) = self.producers[0].try_reserve(len.max(8)) {
            slot.fill(self.sent as u8);
            slot[..8].copy_from_slice(&self.sent.to_le_bytes());
            slot.commit();
            self.sent += 1;
        }
        let _ = self.producers[1].try_send(&[7; 100]);
    }

    /// The honest consumer gets every record, whole and in order, whatever the other does.
    fn drain(&mut self) {
        let Some(honest) = &mut self.honest else { return };
        loop {
            match honest.try_receive() {
                Ok(Some(record)) => {
                    assert_eq!(record[..8], self.received.to_le_bytes(), "a record is missing or changed");
                    assert!(record[8..].iter().all(|byte| *byte == self.received as u8), "a record was changed");
                    self.received += 1;
                }
                Err(ReceiveError::Empty) => return,
                other => panic!("an honest consumer came to an end: {other:?}"),
            }
        }
    }

    /// With the hostile end gone the lanes go on, and everything comes to its end.
    fn finish(mut self) {
        for _ in 0..10 {
            for producer in &mut self.producers {
                let sent = producer.send_timeout(&[0xee; 1000], PATIENCE);
                assert_eq!(sent, Ok(()), "a consumer that is gone holds the lane back");
            }
            if let Some(honest) = &mut self.honest {
                let record = honest.receive_timeout(PATIENCE).expect("the lane goes on").expect("the lane is open");
                assert!(record.iter().all(|byte| *byte == 0xee) && record.len() == 1000);
            }
        }
        let stats = self.server.stats();
        assert!(stats.accepted >= u64::from(self.honest.is_some()));
    }
}

/// How long producers spin before they sleep.
const FRAME_SPIN: std::time::Duration = std::time::Duration::from_micros(5);

/// The hostile end: a socket, what came over it, and its mapping of the seat.
struct Hostile {
    address: String,
    terms: Vec<LaneTerms>,
    socket: Option<OwnedFd>,
    /// Further connections, on which nothing is said any more.
    crowd: Vec<OwnedFd>,
    fds: Vec<OwnedFd>,
    seat: Option<Arc<Mapping>>,
}

impl Hostile {
    fn new(address: String) -> Self {
        let geometry = Geometry::new(CAPACITY_BYTES, 8, 8).expect("a possible geometry");
        let (terms, crowd, fds) = (lane_terms(LANES.len(), geometry), Vec::new(), Vec::new());
        let mut hostile = Self { address, terms, socket: None, crowd, fds, seat: None };
        hostile.connect();
        hostile
    }

    fn connect(&mut self) {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).expect("a socket");
        let address = SocketAddrUnix::new_abstract_name(&self.address.as_bytes()[1..]).expect("a short name");
        self.socket = connect(&socket, &address).ok().map(|()| socket);
    }

    fn act(&mut self, action: usize, script: &mut Script<'_>) {
        match action {
            6 => self.say(&Frame::Hello(Hello::new(Role::Consumer, Vec::new())).encode()),
            7 => {
                let bytes = frame(script, &self.terms).encode();
                self.say(&bytes);
            }
            8 => {
                let mut bytes = frame(script, &self.terms).encode();
                alter(script, &mut bytes);
                self.say(&bytes);
            }
            9 => self.say_with_fds(script),
            10 | 11 => self.hear(),
            12 => self.map_seat(),
            13 => self.attach(script),
            14 => {
                let bits = script.u8();
                self.fds.first().into_iter().for_each(|seat| seal(seat, bits));
            }
            15 => self.abuse(script),
            16 | 17 => self.write_seat(script),
            18 => {
                let how = script.choose(&[Shutdown::Read, Shutdown::Write, Shutdown::Both]);
                if let Some(socket) = &self.socket {
                    let _ = shutdown(socket, how);
                }
            }
            _ => match script.below(8) {
                0 => self.socket = None,
                1 => self.seat = None,
                2 => self.fds.clear(),
                3 => self.connect(),
                4 => {
                    self.crowd.extend(self.socket.take());
                    self.connect();
                }
                5 => self.crowd.clear(),
                _ => self.starve(script.below(12)),
            },
        }
    }

    /// Hears frames until one has descriptors, as an Offer behind a Hello.
    fn hear(&mut self) {
        for _ in 0..2 {
            let Some((_, fds)) = self.socket.as_ref().and_then(hear) else { return };
            if !fds.is_empty() {
                self.fds = fds;
                return;
            }
        }
    }

    fn say(&self, bytes: &[u8]) {
        self.socket.iter().for_each(|socket| say(socket, bytes, &[]));
    }

    /// A server that can make few descriptors, or none, says so and goes on.
    fn starve(&mut self, room: usize) {
        self.connect();
        with_room_for(room, || {
            self.act(6, &mut Script::new(&[]));
            self.act(10, &mut Script::new(&[]));
        });
    }

    /// A producer takes no descriptors, whatever they come with.
    fn say_with_fds(&self, script: &mut Script<'_>) {
        let bytes = frame(script, &self.terms).encode();
        let odd: Vec<OwnedFd> = (0..1 + script.below(3)).map(|_| odd_fd(script)).collect();
        let fds: Vec<_> = odd.iter().map(AsFd::as_fd).collect();
        self.socket.iter().for_each(|socket| say(socket, &bytes, &fds));
    }

    fn map_seat(&mut self) {
        let Some(seat) = self.fds.first().and_then(|fd| fd.try_clone().ok()) else { return };
        let region = Region::receive(seat, "the seat", seat_len_bytes(2), Seals::SHRINK | Seals::GROW);
        self.seat = region.and_then(|region| region.map_read_write()).ok().map(Arc::new).or(self.seat.take());
    }

    /// As an honest consumer does it, but for the choice of words.
    fn attach(&mut self, script: &mut Script<'_>) {
        const FUTURE_WRITE: u8 = 16;
        self.map_seat();
        self.fds.first().into_iter().for_each(|seat| seal(seat, FUTURE_WRITE));
        let start = script.choose(&[StartAt::Latest, StartAt::Oldest]);
        let terms = LaneAttach { start, access: script.choose(Access::ALL), ..PLAIN };
        // Now and then one of the lanes is not read.
        let is_read = script.choose(&[[true, true], [true, true], [true, false], [false, true]]);
        self.say(&Frame::Attach(is_read.map(|is_read| is_read.then_some(terms)).to_vec()).encode());
    }

    /// What is the producer's can be changed by nobody else (invariant 17).
    fn abuse(&self, script: &mut Script<'_>) {
        let index = script.below(8);
        let Some(fd) = self.fds.get(index) else { return };
        let has_worked = abuse(script, fd);
        let is_producers = index != 0 && index % 3 != 1;
        assert!(!has_worked || !is_producers, "descriptor {index} could be changed");
    }

    fn write_seat(&self, script: &mut Script<'_>) {
        let Some(mapping) = &self.seat else { return };
        let seat = SeatMap::new(Arc::clone(mapping), script.below(LANES.len()));
        let value = script.word_near(&[0, CAPACITY_BYTES, 64, u64::MAX, 1 << 40]);
        match script.below(4) {
            0 => seat.wait_epoch().store(value as u32, Ordering::Relaxed),
            1 => seat.space_seq().store(value as u32, Ordering::Relaxed),
            _ => seat.consumed().store(value, Ordering::Relaxed),
        }
    }
}
