//! A consumer by the book, `docs/protocol.md`, that can be told to leave the book at every step.
//!
//! Use it beside `mod hostile;`, by `#[path = "common/guest.rs"] mod guest;`.
#![allow(dead_code, reason = "each test file uses a part of this")]

use crate::hostile::*;
use rustix::fd::OwnedFd;
use rustix::fs::{SealFlags, fcntl_add_seals, fcntl_get_seals, fstat};
use rustix::net::{SendFlags, Shutdown};
use std::sync::atomic::Ordering::{Relaxed, Release, SeqCst};
use std::sync::atomic::fence;

/// A lane of an Offer.
#[derive(Debug)]
pub(crate) struct OfferedLane {
    pub(crate) id: [u8; 16],
    pub(crate) name: String,
    pub(crate) capacity: u64,
    pub(crate) record_align: u64,
    pub(crate) payload_align: u64,
    pub(crate) bell_kind: u8,
    pub(crate) bell: OwnedFd,
    pub(crate) space_bell: Option<OwnedFd>,
    pub(crate) control: OwnedFd,
    pub(crate) data: OwnedFd,
}

/// The lane id in a control region.
fn lane_id(control: &Memory) -> Vec<u8> {
    [32, 40].map(|at| control.u64(at).load(Relaxed).to_le_bytes()).concat()
}

/// A consumer that has an Offer, and has mapped nothing yet.
#[derive(Debug)]
pub(crate) struct Invited {
    pub(crate) wire: Wire,
    pub(crate) seat: OwnedFd,
    pub(crate) lanes: Vec<OfferedLane>,
}

impl Invited {
    /// Says Hello, and reads the producer's and the Offer.
    pub(crate) fn knock(address: &str) -> Self {
        let wire = Wire::connect(address);
        wire.send(&hello(&[])).unwrap();
        Self::hear(wire)
    }

    /// Has said Hello already, and reads the producer's and the Offer.
    pub(crate) fn hear(wire: Wire) -> Self {
        let answer = wire.recv().expect("a Hello");
        assert_eq!(answer.bytes, producer_hello(), "a producer names no lanes, and speaks as we do");
        let offer = wire.recv().expect("an Offer");
        assert_eq!(offer.kind(), OFFER);
        let (bytes, mut fds) = (offer.bytes, offer.fds.into_iter());
        let u16_at = |at: usize| u16::from_le_bytes(bytes[at..at + 2].try_into().unwrap());
        let u32_at = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
        let u64_at = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
        assert_eq!((u16_at(16), u16_at(34)), (1, 0), "the version chosen, and where the seat is");
        let seat = fds.next().unwrap();
        let (mut at, mut first) = (37, 1);
        let mut lanes = Vec::new();
        for _ in 0..bytes[36] {
            let indices = [u16_at(at + 58), u16_at(at + 60), u16_at(at + 62)];
            assert_eq!(indices, [first, first + 1, first + 2]);
            let has_space_bell = u32_at(at + 48) & 8 != 0;
            assert_eq!(bytes[at + 52..at + 56], [0; 4], "no slots of one length");
            assert_eq!(
                bytes[at + 56] != 0,
                u32_at(at + 48) & 4 != 0,
                "descriptors with records, where there is the flag"
            );
            assert_eq!((u16_at(at + 64), u16_at(at + 66)), (0, if has_space_bell { first + 3 } else { 0 }));
            assert_eq!(u64_at(at + 24), 0, "generation");
            assert_eq!(
                u32_at(at + 48) & !(1 | 4 | 8 | 16),
                0,
                "a flag other than those of barrier, descriptors, space bell, and one worker"
            );
            let name_len = usize::from(bytes[at + 68]);
            lanes.push(OfferedLane {
                id: bytes[at..at + 16].try_into().unwrap(),
                name: String::from_utf8(bytes[at + 69..][..name_len].to_vec()).unwrap(),
                capacity: u64_at(at + 16),
                record_align: u32_at(at + 40).into(),
                payload_align: u32_at(at + 44).into(),
                bell_kind: bytes[at + 57],
                bell: fds.next().unwrap(),
                control: fds.next().unwrap(),
                data: fds.next().unwrap(),
                space_bell: has_space_bell.then(|| fds.next().unwrap()),
            });
            first += if has_space_bell { 4 } else { 3 };
            at += 69 + name_len;
        }
        assert_eq!(at, bytes.len(), "nothing follows the lanes");
        Self { wire, seat, lanes }
    }

    pub(crate) fn seat_len(&self) -> usize {
        (STRIPE * self.lanes.len()).next_multiple_of(4096)
    }

    pub(crate) fn map_seat(&self) -> Memory {
        Memory::map(&self.seat, self.seat_len(), true).unwrap()
    }

    /// Checks, maps and seals everything, and attaches.
    pub(crate) fn attach(self, reading: u8) -> Guest {
        let lanes = vec![attached_lane(reading); self.lanes.len()];
        self.attach_as(&lanes)
    }

    /// As [`attach`](Self::attach), with each lane as it is told.
    pub(crate) fn attach_as(self, wishes: &[AttachedLane]) -> Guest {
        let seat = self.map_seat();
        fcntl_add_seals(&self.seat, SealFlags::FUTURE_WRITE).unwrap();
        assert_eq!(fcntl_get_seals(&self.seat).unwrap().intersection(SEALED.union(SEAL_SEAL)), SEALED);
        let lanes = self.lanes.iter().enumerate().map(|(index, lane)| {
            let [control_seals, data_seals] = [&lane.control, &lane.data].map(|fd| fcntl_get_seals(fd).unwrap());
            assert!(control_seals.contains(SEALED.union(SEAL_SEAL)) && data_seals.contains(SEALED));
            assert!(!data_seals.contains(SEAL_SEAL), "those who are left may freeze the backlog of a dead producer");
            let len = fstat(&lane.data).unwrap().st_size as u64;
            assert_eq!((len, fstat(&lane.control).unwrap().st_size), (lane.capacity, 4096));
            let control = Memory::map(&lane.control, CONTROL_LEN, false).unwrap();
            assert_eq!(control.u64(0).load(Relaxed).to_le_bytes(), *b"fdring\0\x01");
            assert_eq!(control.u64(16).load(Relaxed), lane.capacity);
            assert_eq!(control.u64(DATA_INODE).load(Relaxed), fstat(&lane.data).unwrap().st_ino);
            let id = [0, 8].map(|at| seat.u64(STRIPE * index + STRIPE_ID + at).load(Relaxed).to_le_bytes()).concat();
            assert_eq!((&id[..], &id), (&lane.id[..], &lane_id(&control)));
            (control, Memory::map(&lane.data, lane.capacity as usize, false).unwrap())
        });
        let lanes: Vec<_> = lanes.collect();
        self.wire.send(&attach_as(wishes)).unwrap();
        let answer = self.wire.recv().expect("an answer to Attach");
        assert_eq!(answer.kind(), ATTACHED, "{answer:?}");
        assert_eq!(usize::from(answer.bytes[16]), lanes.len());
        let starts = |(index, (control, data))| {
            let position = answer.u64(17 + 8 * index);
            GuestLane { control, data, position, seen: position }
        };
        let mapped = lanes.into_iter().enumerate().map(starts).collect();
        Guest { lanes: mapped, seat, offer: self }
    }
}

/// A lane as its consumer maps it.
#[derive(Debug)]
pub(crate) struct GuestLane {
    pub(crate) control: Memory,
    pub(crate) data: Memory,
    pub(crate) position: u64,
    pub(crate) seen: u64,
}

/// A consumer that is attached. Drops the data, then the seat, then the connection.
#[derive(Debug)]
pub(crate) struct Guest {
    pub(crate) lanes: Vec<GuestLane>,
    pub(crate) seat: Memory,
    pub(crate) offer: Invited,
}

impl Guest {
    pub(crate) fn join(address: &str, reading: u8) -> Self {
        Invited::knock(address).attach(reading)
    }

    pub(crate) fn wire(&self) -> &Wire {
        &self.offer.wire
    }

    /// The next payload of the first lane, if one is published; by section 9.
    pub(crate) fn receive(&mut self) -> Option<(u16, Vec<u8>)> {
        let OfferedLane { capacity, record_align, payload_align, .. } = self.offer.lanes[0];
        let lane = &mut self.lanes[0];
        if lane.position == lane.seen {
            let published = lane.control.u64(PUBLISHED).load(Relaxed);
            fence(std::sync::atomic::Ordering::Acquire);
            assert!(published >= lane.seen && published - lane.position <= capacity);
            lane.seen = published;
            if lane.position == lane.seen {
                return None;
            }
        }
        let header = |position: u64| lane.data.u64((position % capacity) as usize).load(Relaxed);
        let word = header(lane.position);
        let (kind, len) = (word >> 32 & 0xffff, word & 0xffff_ffff);
        if kind == 2 {
            assert_eq!(8 + len, capacity - lane.position % capacity, "padding reaches the end");
            lane.position += 8 + len;
        }
        let word = header(lane.position);
        assert_eq!(word >> 32 & 0xffff, 1, "a data record");
        let (len, tag) = (word & 0xffff_ffff, (word >> 48) as u16);
        let begin = (lane.position % capacity + payload_align) as usize;
        let bytes = (0..len as usize).map(|at| {
            let word = lane.data.u64((begin + at) & !7).load(Relaxed);
            word.to_le_bytes()[(begin + at) % 8]
        });
        let payload = bytes.collect();
        lane.position += (payload_align + len).next_multiple_of(record_align);
        Some((tag, payload))
    }

    /// Gives back what was read on the first lane.
    pub(crate) fn give_back(&self) {
        self.say_consumed(self.lanes[0].position);
    }

    /// Says in the first lane's stripe that it has released everything below `consumed`, and read no more; true or not.
    pub(crate) fn say_consumed(&self, consumed: u64) {
        self.say(consumed, consumed & !LEFT);
    }

    /// Says in the first lane's stripe that it has released everything below `consumed`, and read everything below
    /// `read`; true or not.
    pub(crate) fn say(&self, consumed: u64, read: u64) {
        self.seat.u64(READ).store(read, Relaxed);
        self.seat.u64(CONSUMED).store(consumed, Release);
        self.seat.u32(SPACE_SEQ).fetch_add(1, Release);
        fence(SeqCst);
        let space_wait = self.lanes[0].control.u32(SPACE_WAIT).load(Relaxed);
        if space_wait == 2 {
            self.ring_for_space();
        }
        if space_wait == 1 {
            let everyone = i32::MAX as u32;
            let flags = rustix::thread::futex::Flags::empty();
            rustix::thread::futex::wake(self.seat.u32(SPACE_SEQ), flags, everyone).unwrap();
        }
    }

    /// Rings the first lane's space bell.
    pub(crate) fn ring_for_space(&self) {
        let Some(bell) = &self.offer.lanes[0].space_bell else { return };
        if rustix::net::send(bell, &[1], SendFlags::DONTWAIT | SendFlags::NOSIGNAL).is_err() {
            rustix::net::shutdown(bell, Shutdown::Write).unwrap();
        }
    }

    pub(crate) fn published(&self) -> u64 {
        self.lanes[0].control.u64(PUBLISHED).load(Relaxed)
    }
}
