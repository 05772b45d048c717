//! A producer by the book, `docs/protocol.md`, that can be told to leave the book at every step.
//!
//! Use it beside `mod hostile;` and `mod stage;`, by `#[path = "common/impostor.rs"] mod impostor;`.
#![allow(dead_code, reason = "each test file uses a part of this")]

use crate::common::unique_name;
use crate::hostile::*;
use crate::stage::{Client, Outcome};
use rustix::event::{EventfdFlags, eventfd};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::process::Signal;
use std::sync::atomic::Ordering::{Relaxed, Release, SeqCst};
use std::sync::atomic::fence;
use std::time::Duration;

pub(crate) const CAPACITY: u64 = 4096;
const ID: [u8; 16] = [0x11; 16];
const NAME: &str = "lane";
/// Longer than any client takes that is not kept waiting.
pub(crate) const PATIENCE: Duration = Duration::from_secs(50);

/// Where fields stand in an [`offer`], for [`with`].
pub(crate) const OFFER_SEAT: usize = 34;
pub(crate) const OFFER_LANES: usize = 36;
pub(crate) const OFFER_LANE: usize = 37;

/// An Offer of one lane, called "lane", by an eventfd.
pub(crate) fn offer(capacity: u64) -> Vec<u8> {
    let mut body = vec![1, 0];
    body.extend([0xa5; 16]);
    body.extend([0, 0, 1]);
    body.extend(ID);
    body.extend(capacity.to_le_bytes());
    body.extend([0; 16]); // generation and schema
    body.extend([8, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0]); // alignments and flags
    body.extend([0; 5]); // no slots of one length, no descriptors with records
    body.extend([1, 1, 0, 2, 0, 3, 0]); // the bell, and where it and the regions are
    body.extend([0; 4]); // reserved, no space bell
    body.push(NAME.len() as u8);
    body.extend(NAME.bytes());
    frame(OFFER, 4, &body)
}

/// What goes with the [`offer`], as it should be.
#[derive(Debug)]
pub(crate) struct Goods {
    pub(crate) seat: OwnedFd,
    pub(crate) bell: OwnedFd,
    pub(crate) control: OwnedFd,
    pub(crate) data: OwnedFd,
    pub(crate) control_map: Memory,
    pub(crate) data_map: Memory,
    pub(crate) capacity: u64,
}

impl Goods {
    pub(crate) fn new(capacity: u64) -> Self {
        Self::with_header(capacity, |_| ())
    }

    /// With something else in the control header than what the Offer says.
    pub(crate) fn with_header(capacity: u64, change: impl FnOnce(&Memory)) -> Self {
        let (control, data) = (memfd(4096), memfd(capacity));
        let control_map = Memory::map(&control, CONTROL_LEN, true).unwrap();
        let data_map = Memory::map(&data, capacity as usize, true).unwrap();
        let mut header = b"fdring\0\x01\x01\0\0\0\0\0\0\0".to_vec();
        header.extend(capacity.to_le_bytes());
        header.extend([8, 0, 0, 0, 8, 0, 0, 0]);
        header.extend(ID);
        header.extend([0; 16]);
        header.extend(NAME.bytes());
        header.resize(DATA_INODE, 0);
        header.extend(rustix::fs::fstat(&data).unwrap().st_ino.to_le_bytes());
        for (index, word) in header.chunks(8).enumerate() {
            let mut bytes = [0; 8];
            bytes[..word.len()].copy_from_slice(word);
            control_map.u64(8 * index).store(u64::from_le_bytes(bytes), Relaxed);
        }
        control_map.u32(STATE).store(1, Relaxed);
        let seat = memfd(4096);
        rustix::io::pwrite(&seat, &ID, STRIPE_ID as u64).unwrap();
        change(&control_map);
        let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).unwrap();
        Self {
            seat: sealed(seat, SHAPE),
            bell,
            control: sealed(control, SEALED | SEAL_SEAL),
            data: sealed(data, SEALED),
            control_map,
            data_map,
            capacity,
        }
    }

    pub(crate) fn fds(&self) -> [BorrowedFd<'_>; 4] {
        [self.seat.as_fd(), self.bell.as_fd(), self.control.as_fd(), self.data.as_fd()]
    }

    /// Stores a word of the ring.
    pub(crate) fn put(&self, position: u64, word: u64) {
        self.data_map.u64((position % self.capacity) as usize).store(word, Relaxed);
    }

    /// Stores `published`, and rings, asleep or not.
    pub(crate) fn publish(&self, published: u64) {
        self.control_map.u64(PUBLISHED).store(published, Release);
        fence(SeqCst);
        self.ring();
    }

    pub(crate) fn ring(&self) {
        let _ = rustix::io::write(&self.bell, &1u64.to_le_bytes());
    }
}

/// The header word of a record.
pub(crate) fn data(len: u32, tag: u16) -> u64 {
    u64::from(tag) << 48 | 1 << 32 | u64::from(len)
}

pub(crate) fn padding(len: u32) -> u64 {
    2 << 32 | u64::from(len)
}

/// A producer's server, and the one library client that it deceives.
#[derive(Debug)]
pub(crate) struct Impostor {
    pub(crate) listener: OwnedFd,
    pub(crate) client: Client,
}

impl Impostor {
    pub(crate) fn new(test: &str) -> Self {
        let address = format!("@{}", unique_name());
        Self { listener: listen(&address), client: Client::start(test, &address) }
    }

    /// With a client on a kernel that turns no descriptors away.
    pub(crate) fn before_old_kernel(test: &str) -> Self {
        let address = format!("@{}", unique_name());
        Self { listener: listen(&address), client: Client::start_on_old_kernel(test, &address) }
    }

    /// Has the client connect, hears its Hello and says ours.
    pub(crate) fn lure(&mut self, deadline: Duration) -> Wire {
        let wire = self.lure_in_silence(deadline);
        wire.send(&producer_hello()).unwrap();
        wire
    }

    /// Has the client connect, and hears its Hello.
    pub(crate) fn lure_in_silence(&mut self, deadline: Duration) -> Wire {
        self.client.begin(deadline);
        let wire = accept(&self.listener);
        let hello_frame = wire.recv().unwrap();
        assert_eq!(hello_frame.bytes, hello(&[]), "a consumer has one spelling for all lanes");
        wire
    }

    /// Answers the client's Hello with ours and that, and nothing else; its outcome, and what it said before it hung
    /// up.
    pub(crate) fn answers(&mut self, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> (Outcome, Vec<(u16, u16)>) {
        let wire = self.lure(PATIENCE);
        wire.send_fds(bytes, fds).unwrap();
        let words = wire.last_words();
        (self.client.outcome(), words)
    }

    /// As [`answers`](Self::answers), and the client must find that the protocol was broken.
    pub(crate) fn is_caught(&mut self, what: &str, bytes: &[u8], fds: &[BorrowedFd<'_>], code: u16) {
        let (outcome, words) = self.answers(bytes, fds);
        assert_eq!(outcome.kind, "Peer", "{what}: {outcome:?}");
        assert_eq!(words, [(REFUSE, code)], "{what}: {outcome:?}");
    }

    /// As [`is_caught`](Self::is_caught), with a socket that lingers among the descriptors, in that place: closing it
    /// keeps the client waiting for nobody.
    pub(crate) fn is_caught_at_once(&mut self, bytes: &[u8], fds: &[BorrowedFd<'_>], place: usize) {
        let ((socket, _listener), wire) = (lingering(), self.lure(PATIENCE));
        let mut fds = fds.to_vec();
        fds.resize(fds.len().max(place + 1), socket.as_fd());
        fds[place] = socket.as_fd();
        // Until our copy is closed it does not look, so that its own is the last.
        self.client.0.signal(Signal::STOP);
        wire.send_fds(bytes, &fds).unwrap();
        drop(fds);
        drop(socket);
        self.client.0.signal(Signal::CONT);
        let outcome = self.client.outcome();
        assert_eq!(outcome.kind, "Peer", "{outcome:?}");
        assert!(outcome.millis < 30_000, "in place {place} it kept the client waiting: {outcome:?}");
    }

    /// The whole handshake, with another bell than that of the goods; the client reads from 0 on.
    pub(crate) fn attaches_with_bell(&mut self, goods: &Goods, kind: u8, bell: BorrowedFd<'_>) -> Wire {
        let wire = self.lure(PATIENCE);
        let mut fds = goods.fds();
        fds[1] = bell;
        wire.send_fds(&with(offer(goods.capacity), OFFER_LANE + 57, &[kind]), &fds).unwrap();
        assert_eq!(wire.recv().unwrap().kind(), ATTACH);
        wire.send(&attached(&[0])).unwrap();
        assert_eq!(self.client.outcome().kind, "attached");
        wire
    }

    /// The whole handshake, as it should be; the client reads from `start` on.
    pub(crate) fn attaches(&mut self, goods: &Goods, start: u64) -> Wire {
        let wire = self.lure(PATIENCE);
        wire.send_fds(&offer(goods.capacity), &goods.fds()).unwrap();
        assert_eq!(wire.recv().unwrap().bytes, attach(1, COPIES));
        wire.send(&attached(&[start])).unwrap();
        let outcome = self.client.outcome();
        assert_eq!(outcome.kind, "attached", "{outcome:?}");
        wire
    }
}
