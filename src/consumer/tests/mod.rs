//! Real producers and real consumers over one mapping. Here is what the tests share; they lie in files by subject.
//!
//! The session is left out: a consumer gets its seat from the roster directly, so that rings can begin anywhere and
//! the region is mapped once, as it must be within a process.

mod eviction;
mod holds;
mod hostile;
mod looks;
mod model;
mod runs;
mod sleeping;
mod waiting;

use super::{Attachment, Consumer, Link};
use crate::handshake::Handshake;
use crate::lane::{LaneOptions, Occupant, SeatHandle};
use crate::layout::{CONSUMED_LEFT_BIT, LaneState};
use crate::memory::{InPlace, LaneMap, SeatMap};
use crate::os::bell::{Bell, BellEnd};
use crate::os::closing::Connection;
use crate::os::fork::ForkGuard;
use crate::os::notice::Notice;
use crate::os::peer::Peer;
use crate::producer::Producer;
use crate::region::{HugePages, Region, RegionOptions};
use crate::ring::cursor::Polled;
use crate::ring::roster::Joiner;
use crate::ring::{LaneWords, SeatWords};
use crate::sync::Ordering::{Acquire, Relaxed};
use crate::terms::{Barrier, Delivery, Start};
use crate::wire::{LaneName, LaneTerms};
use model::Kept;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::{Duration, Instant};

pub(super) fn seat_words() -> SeatMap {
    let options = RegionOptions { name: "seat", len_bytes: 4096, huge_pages: HugePages::No };
    SeatMap::new(Arc::new(Region::create(&options).unwrap().map_read_write().unwrap()), 0)
}

/// The consumer of a seat, and what stands for the producer's end of its session.
fn consumer(
    lane: Arc<LaneMap>,
    seat: SeatMap,
    bell: BellEnd,
    start: u64,
    in_place: Option<InPlace>,
) -> (Consumer, rustix::fd::OwnedFd) {
    consumer_with(Barrier::Fence, lane, seat, bell, start, in_place)
}

/// Like [`consumer`], attached with that barrier.
fn consumer_with(
    barrier: Barrier,
    lane: Arc<LaneMap>,
    seat: SeatMap,
    bell: BellEnd,
    start: u64,
    in_place: Option<InPlace>,
) -> (Consumer, rustix::fd::OwnedFd) {
    let (link, other) = link();
    let attachment = attachment(barrier, lane, seat, bell, start, in_place);
    (Consumer::new(attachment, Arc::new(link), ForkGuard::get().unwrap()).unwrap(), other)
}

/// What a session knows of such a lane.
fn attachment(
    barrier: Barrier,
    lane: Arc<LaneMap>,
    seat: SeatMap,
    bell: BellEnd,
    start: u64,
    in_place: Option<InPlace>,
) -> Attachment {
    let (evictions, spin) = (lane.evictions().load(Acquire), Duration::ZERO);
    let (name, geometry) = (LaneName::new("lane").unwrap(), lane.geometry());
    let terms = LaneTerms {
        name,
        id: [1; 16],
        geometry,
        schema: 0,
        generation: 0,
        barrier,
        is_stamped: lane.is_stamped(),
        has_space_bell: false,
        has_one_worker: false,
        record_fds_max: 0,
    };
    let (space_bell, inbox) = (None, None);
    Attachment { terms, lane, seat, bell, space_bell, inbox, barrier, start, evictions, in_place, spin }
}

/// A session, and what stands for the producer's end of it.
pub(super) fn link() -> (Link, rustix::fd::OwnedFd) {
    let (socket, other) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
    let socket = Connection::new(socket, ForkGuard::get().unwrap());
    (Link::new(socket, Peer::UNKNOWN, Handshake::consumer(Vec::new()).unwrap()), other)
}

pub(super) fn join(producer: &Producer, start: Start, in_place: bool) -> Attached {
    static IDS: AtomicU64 = AtomicU64::new(1);
    let (lane, id) = (producer.owned_lane(), IDS.fetch_add(1, Relaxed));
    let words = seat_words();
    let (bell, end) = Bell::create().unwrap();
    let end = BellEnd::receive(Bell::KIND, end).unwrap();
    let out = Arc::new(AtomicBool::new(false));
    let occupant = Occupant { pid: Some(id as u32), uid: Some(0), since: Instant::now(), reads_in_place: in_place };
    let notice = Arc::new(Notice::new().unwrap());
    let (port, seat) = (SeatHandle::new(words.clone(), (bell, None), None, occupant, out, notice), words.clone());
    let joiner = Joiner { id, start, delivery: Delivery::Lossless, barrier: Barrier::Fence, takes_fds: false };
    let position = lane.roster.join(&*lane.map, joiner, port).unwrap();
    // SAFETY: the producer of these tests is the crate's own.
    #[allow(unsafe_code, reason = "readers in place are tested too")]
    let in_place = in_place.then(|| unsafe { InPlace::vouch() });
    let (consumer, session) = consumer(Arc::clone(&lane.map), words, end, position, in_place);
    let (first, next, consumed, kept, tasks_done) = (0, 0, position, Vec::new(), 0);
    Attached { consumer, _session: session, seat, first, next, consumed, kept, tasks_done }
}

pub(super) struct Attached {
    pub(super) consumer: Consumer,
    _session: rustix::fd::OwnedFd,
    pub(super) seat: SeatMap,
    /// Which record of the model it got first.
    first: usize,
    /// Which record of the model it gets next.
    next: usize,
    /// What its seat said last.
    consumed: u64,
    /// Records of it that are kept.
    kept: Vec<Kept>,
    /// How many of its tasks have ended.
    tasks_done: u64,
}

#[test]
fn what_was_published_before_the_end_comes_before_the_end() {
    let mut producer = Producer::create_at(&LaneOptions::new("end").capacity(4096), 0).unwrap();
    let Attached { mut consumer, .. } = join(&producer, Start::Latest, false);
    assert!(matches!(consumer.reader.poll_end(|| false), Ok(Polled::Empty)));
    producer.send(b"last").unwrap();
    producer.finish();
    // As if both had happened since the consumer looked at `published`.
    let Ok(Polled::Found(found)) = consumer.reader.poll_end(|| false) else { panic!("the record comes first") };
    assert_eq!(consumer.record(found).unwrap()[..], *b"last");
    assert!(matches!(consumer.reader.poll_end(|| false), Ok(Polled::Ended(LaneState::Finished))));
}

#[test]
fn a_consumer_that_a_panic_drops_has_not_released_the_record_it_was_at() {
    for panics in [false, true] {
        let mut producer = Producer::create_at(&LaneOptions::new("panic").capacity(4096), 0).unwrap();
        let Attached { mut consumer, seat, .. } = join(&producer, Start::Latest, false);
        (0..3).for_each(|_| producer.send(&[7; 8]).unwrap());
        consumer.receive().unwrap().unwrap();
        consumer.release();
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
            let record = consumer.receive().unwrap().unwrap();
            assert!(!panics, "as the test asks for, with {} bytes in hand", record.len());
        }));
        assert_eq!(outcome.is_err(), panics);
        let released = if panics { 16 } else { 32 };
        let words = [seat.consumed(), seat.read()].map(|word| word.load(Acquire));
        assert_eq!(words, [released | CONSUMED_LEFT_BIT, 48], "the third record was for it, too");
    }
}
