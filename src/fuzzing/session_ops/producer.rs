//! A hostile producer: a listener that offers anything, to a real session and its copying consumers.

use super::super::Script;
use super::super::frames::{alter, control_header, frame, lane_terms};
use super::super::ring_reader::act as write_ring;
use super::oddities::{abuse, odd_fd, odd_memfd, seal};
use super::{ACTIONS_MAX, DEADLINE, PATIENCE, hear, is_readable, say, unique_address, with_room_for};
use crate::error::{Error, Result};
use crate::layout::{CONTROL_LEN_BYTES, Geometry, LaneState, SEAT_LANE_ID_OFFSET, SEAT_STRIPE_BYTES, seat_len_bytes};
use crate::memory::WritableLane;
use crate::region::{HugePages, Region, RegionOptions, Seals};
use crate::ring::LaneWords;
use crate::sync::Ordering;
use crate::terms::BellKind;
use crate::wire::{ByeReason, Frame, Hello, LaneTerms, Offer, OfferedLane, Role};
use crate::{Attach, Consumer, errors::ReceiveError, options::SessionOptions};
use rustix::event::{EventfdFlags, eventfd};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::net::{
    AddressFamily, SendFlags, Shutdown, SocketAddrUnix, SocketFlags, SocketType, accept_with, bind, listen, shutdown,
    socket_with, socketpair,
};
use std::time::Duration;

/// How often a consumer looks for a record.
const LOOKS_MAX: usize = 64;

pub(super) fn play(script: &mut Script<'_>) {
    let choice = script.u8();
    let address = unique_address();
    let listener = listen_at(&address);
    std::thread::scope(|scope| {
        let address = &address;
        let real = scope.spawn(move || connect_and_read(address, choice));
        if is_readable(&listener, PATIENCE) {
            let socket = accept_with(&listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK).expect("one connects");
            let mut hostile = Hostile::new(socket, choice).expect("memory for small lanes");
            if choice & 0x10 == 0 {
                hostile.greet(Role::Producer);
            }
            for _ in 0..ACTIONS_MAX {
                if script.is_empty() {
                    break;
                }
                hostile.act(script.below(24), script);
            }
        }
        drop(listener);
        real.join().expect("the real consumer does not panic");
    });
}

fn listen_at(address: &str) -> OwnedFd {
    let flags = SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).expect("a socket");
    let name = SocketAddrUnix::new_abstract_name(&address.as_bytes()[1..]).expect("a short name");
    bind(&socket, &name).expect("a name of its own");
    listen(&socket, 4).expect("a bound socket");
    socket
}

/// The real end: whatever comes of it is an error or a record.
fn connect_and_read(address: &str, choice: u8) {
    let names: &[&str] = if choice & 1 == 0 { &[] } else { &["a"] };
    let options = SessionOptions::new().deadline(DEADLINE).lanes(names.iter().copied()).prefault(choice & 2 != 0);
    let attached = options.spin(Duration::ZERO).connect(address).and_then(|session| session.attach_all(Attach::new()));
    for mut consumer in attached.unwrap_or_default() {
        for look in 0..LOOKS_MAX {
            if choice & 0x20 != 0 && look.is_multiple_of(16) {
                // Whatever is answered is a report or an error.
                let _ = consumer.query(Duration::from_millis(1));
            }
            if !goes_on(&mut consumer, look) {
                break;
            }
        }
    }
}

fn goes_on(consumer: &mut Consumer, look: usize) -> bool {
    let capacity = consumer.lane().capacity;
    let received = match look % 8 {
        7 => consumer.receive_timeout(Duration::from_micros(500)),
        _ => consumer.try_receive(),
    };
    match received {
        Ok(Some(record)) => {
            assert!((record.len() as u64) < capacity, "longer than the ring");
            true
        }
        Err(ReceiveError::Empty | ReceiveError::TimedOut) => true,
        Ok(None) | Err(_) => false,
    }
}

/// The hostile end: its socket, and lanes that are as they should be until something is done to them.
pub(super) struct Hostile {
    pub(super) socket: OwnedFd,
    pub(super) lanes: Vec<Lane>,
    seat: OwnedFd,
    bell: BellKind,
}

pub(super) struct Lane {
    terms: LaneTerms,
    pub(super) ring: WritableLane,
    /// The producer's end, for as long as it is kept.
    bell: Option<OwnedFd>,
    /// Bell, control region and data region.
    fds: [OwnedFd; 3],
    /// Where its next record in order would begin.
    pub(super) honest: u64,
}

fn region(len_bytes: u64) -> Result<Region> {
    Region::create(&RegionOptions { name: "fdring-fuzz", len_bytes, huge_pages: HugePages::No })
}

fn descriptor(region: &Region) -> OwnedFd {
    region.as_fd().try_clone_to_owned().expect("room in the table of descriptors")
}

/// A bell, and the end of it that goes to the consumer.
fn new_bell(kind: BellKind) -> Result<(OwnedFd, OwnedFd)> {
    let pair = match kind {
        BellKind::Eventfd => eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .and_then(|bell| Ok((rustix::io::fcntl_dupfd_cloexec(&bell, 0)?, bell))),
        BellKind::Socketpair => {
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)
        }
    };
    pair.map_err(Error::os("create a bell"))
}

/// Rings: eight bytes are a ring to both kinds. One that is full, or hung up, is left alone.
fn ring(bell: &OwnedFd) {
    let _ = rustix::net::send(bell, &1u64.to_ne_bytes(), SendFlags::NOSIGNAL)
        .or_else(|_| rustix::io::write(bell, &1u64.to_ne_bytes()));
}

impl Lane {
    fn new(terms: LaneTerms, kind: BellKind) -> Result<Self> {
        let (control, data) = (region(CONTROL_LEN_BYTES)?, region(terms.geometry.capacity())?);
        let (ring, control, data) = WritableLane::create(control, data, terms.geometry, &control_header(&terms))?;
        let (bell, end) = new_bell(kind)?;
        ring.shared().state().store(LaneState::Open as u32, Ordering::Relaxed);
        Ok(Self { terms, ring, bell: Some(bell), fds: [end, descriptor(&control), descriptor(&data)], honest: 0 })
    }
}

impl Hostile {
    pub(super) fn new(socket: OwnedFd, choice: u8) -> Result<Self> {
        let bell = if choice & 4 == 0 { BellKind::Eventfd } else { BellKind::Socketpair };
        let geometry = Geometry::new(4096, 8, 8)?;
        let count = 1 + usize::from(choice & 1 == 0 && choice & 8 != 0);
        let lanes: Result<Vec<Lane>> = lane_terms(count, geometry).into_iter().map(|t| Lane::new(t, bell)).collect();
        let seat = region(seat_len_bytes(count))?;
        let lanes = lanes?;
        for (index, lane) in lanes.iter().enumerate() {
            seat.write_at(&lane.terms.id, (index * SEAT_STRIPE_BYTES + SEAT_LANE_ID_OFFSET) as u64)?;
        }
        seat.seal(Seals::SHRINK | Seals::GROW)?;
        Ok(Self { socket, lanes, seat: descriptor(&seat), bell })
    }

    /// Says Hello, without waiting for the other's.
    pub(super) fn greet(&self, role: Role) {
        self.say(&Frame::Hello(Hello::new(role, Vec::new())).encode());
    }

    pub(super) fn say(&self, bytes: &[u8]) {
        say(&self.socket, bytes, &[]);
    }

    pub(super) fn ring_all(&self) {
        self.lanes.iter().flat_map(|lane| &lane.bell).for_each(ring);
    }

    /// One of 24 actions.
    pub(super) fn act(&mut self, action: usize, script: &mut Script<'_>) {
        match action {
            0 | 1 => drop(hear(&self.socket)),
            2 | 3 => self.offer(script, 0, false),
            4..7 => {
                let odd_ones = 1 + script.below(3);
                self.offer(script, odd_ones, false);
            }
            7 => self.offer(script, 0, true),
            8 => {
                let mut bytes = frame(script, &self.terms()).encode();
                alter(script, &mut bytes);
                say(&self.socket, &bytes, &[]);
            }
            9 => {
                let bytes = frame(script, &self.terms()).encode();
                let odd: Vec<OwnedFd> = (0..script.below(8)).map(|_| odd_fd(script)).collect();
                say(&self.socket, &bytes, &odd.iter().map(AsFd::as_fd).collect::<Vec<_>>());
            }
            10..12 => {
                let starts = self.lanes.iter().map(|_| u64::from(script.u8()) * 8).collect();
                say(&self.socket, &Frame::Attached(starts).encode(), &[]);
            }
            12 => {
                let bye = Frame::Bye(ByeReason::from_word(script.u8().into()));
                say(&self.socket, &bye.encode(), &[]);
            }
            13 => self.abuse(script),
            14 => {
                let how = script.choose(&[Shutdown::Read, Shutdown::Write, Shutdown::Both]);
                let _ = shutdown(&self.socket, how);
            }
            15 => self.ring_all(),
            16 => {
                let index = script.below(self.lanes.len());
                self.lanes[index].bell = None;
            }
            // A consumer that can take few descriptors, or none.
            23 => {
                let room = script.below(8);
                with_room_for(room, || {
                    self.offer(script, 0, false);
                    drop(hear(&self.socket));
                });
            }
            _ => {
                let index = script.below(self.lanes.len());
                let Lane { ring, honest, .. } = &mut self.lanes[index];
                let near = *honest;
                write_ring(ring, script, near, honest);
            }
        }
    }

    fn terms(&self) -> Vec<LaneTerms> {
        self.lanes.iter().map(|lane| lane.terms.clone()).collect()
    }

    /// An Offer, with `odd_ones` of its descriptors replaced, or with other bytes.
    fn offer(&self, script: &mut Script<'_>, odd_ones: usize, is_altered: bool) {
        let lanes = self.terms().into_iter().map(|terms| OfferedLane { terms, bell: self.bell }).collect();
        let mut bytes = Frame::Offer(Offer { version: 1, session_id: [2; 16], lanes }).encode();
        if is_altered {
            alter(script, &mut bytes);
        }
        let mut fds: Vec<BorrowedFd<'_>> = vec![self.seat.as_fd()];
        fds.extend(self.lanes.iter().flat_map(|lane| &lane.fds).map(AsFd::as_fd));
        let odd: Vec<OwnedFd> = (0..odd_ones)
            .map(|_| if script.u8().is_multiple_of(4) { odd_fd(script) } else { odd_memfd(script) })
            .collect();
        for fd in &odd {
            let index = script.below(fds.len());
            fds[index] = fd.as_fd();
        }
        if is_altered {
            let keep = script.below(fds.len() + 1);
            fds.truncate(keep.max(1));
        }
        say(&self.socket, &bytes, &fds);
    }

    /// The seat is the consumer's, and its memory may be punched out until the consumer has sealed it.
    fn abuse(&self, script: &mut Script<'_>) {
        match script.below(4) {
            0 => seal(&self.seat, script.u8()),
            1 | 2 => drop(abuse(script, &self.seat)),
            _ => {
                let index = script.below(self.lanes.len());
                let fd = &self.lanes[index].fds[1 + script.below(2)];
                assert!(!abuse(script, fd), "a sealed region could be changed");
            }
        }
    }
}
