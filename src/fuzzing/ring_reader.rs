//! The copying consumer over a ring in which a hostile producer writes anything, between its looks or during them.

use super::Script;
use super::frames::lane_terms;
use crate::consumer::{Attachment, Consumer, ReceiveError};
use crate::error::Result;
use crate::handshake::{Handshake, START_LIMIT};
use crate::layout::{
    CONSUMED_LEFT_BIT, CONTROL_HEADER_WORDS, CONTROL_LEN_BYTES, ControlHeader, FLAG_STAMPED, Geometry, RecordHeader,
    STAMP_OFFSET,
};
use crate::link::Link;
use crate::memory::{ControlMap, LaneMap, SeatMap, WritableLane};
use crate::os::bell::{Bell, BellEnd};
use crate::os::closing::Connection;
use crate::os::fork::ForkGuard;
use crate::os::peer::Peer;
use crate::region::{HugePages, Mapping, Region, RegionOptions};
use crate::ring::{LaneWords, LaneWriter, RingWords, SeatWords};
use crate::sync::Ordering;
use crate::terms::Barrier;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use std::cell::RefCell;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

/// Capacity, alignment of records, alignment of payloads.
pub(super) const GEOMETRIES: [(u64, u32, u32); 6] =
    [(4096, 8, 8), (4096, 64, 8), (4096, 64, 64), (4096, 1024, 16), (16384, 4096, 4096), (65536, 8, 8)];
/// How often a script acts at most, and how often a consumer looks while a second thread writes.
pub(super) const ACTIONS_MAX: usize = 400;
pub(super) const LOOKS_MAX: usize = 400;

thread_local! {
    static RIGS: RefCell<[Option<Rig>; GEOMETRIES.len()]> = const { RefCell::new([const { None }; GEOMETRIES.len()]) };
}

/// Plays `data` as a script: the geometry, where reading starts, and then what the producer writes and when the
/// consumer looks; or, with the first byte's highest bit, the writing on a second thread meanwhile.
///
/// Every look brings a record within the limits, an error, or nothing; it moves on past what it brings and nowhere
/// else; after an error nothing is read; and what the consumer says of itself stays true.
pub fn ring_reader(data: &[u8]) {
    let mut script = Script::new(data);
    let choice = script.u8();
    let (is_concurrent, index) = (choice & 0x80 != 0, usize::from(choice & 0x7f) % GEOMETRIES.len());
    RIGS.with_borrow_mut(|rigs| {
        let rig = rigs[index].get_or_insert_with(|| Rig::new(GEOMETRIES[index]).expect("memory for a small ring"));
        let start = script.word_near(&[0, rig.geometry().capacity(), START_LIMIT]) % START_LIMIT;
        let start = start & !(rig.geometry().record_align() - 1);
        rig.reset(start);
        let mut reading = CheckedConsumer::new(rig, start).expect("a bell and memory for a consumer");
        if is_concurrent {
            let (hostile, map) = (&mut rig.hostile, Arc::clone(&rig.map));
            std::thread::scope(|scope| {
                scope.spawn(move || {
                    let mut honest = start;
                    for _ in 0..ACTIONS_MAX {
                        act(hostile, &mut script, start, &mut honest);
                    }
                });
                for _ in 0..LOOKS_MAX {
                    reading.look(None, &map);
                }
            });
        } else {
            play(rig, &mut reading, &mut script, start);
        }
        reading.leave(&rig.seat);
    });
}

/// One thread: what is read can be compared with what stands in the ring.
fn play(rig: &mut Rig, reading: &mut CheckedConsumer, script: &mut Script<'_>, start: u64) {
    let mut honest = start;
    for _ in 0..ACTIONS_MAX {
        if script.is_empty() {
            break;
        }
        if script.clone().u8() & 0x80 == 0 {
            act(&mut rig.hostile, script, reading.consumer.position(), &mut honest);
            continue;
        }
        for _ in 0..1 + script.u8() % 16 {
            reading.look(Some(&rig.hostile), &rig.map);
        }
    }
}

/// The hostile producer's end of a ring, and the consumer's mappings of it; they serve again and again.
#[derive(Debug)]
pub(super) struct Rig {
    pub(super) hostile: WritableLane,
    pub(super) map: Arc<LaneMap>,
    pub(super) seat: Arc<Mapping>,
    pub(super) link: Arc<Link>,
    /// The other end of the session's socket.
    _peer: OwnedFd,
}

impl Rig {
    pub(super) fn new((capacity, record_align, payload_align): (u64, u32, u32)) -> Result<Self> {
        let geometry = Geometry::new(capacity, record_align, payload_align)?;
        let region =
            |len_bytes| Region::create(&RegionOptions { name: "fdring-fuzz", len_bytes, huge_pages: HugePages::No });
        let header = ControlHeader::from_words([0; CONTROL_HEADER_WORDS]);
        // Where there is room for stamps, records have them.
        let is_stamped = geometry.stamped().is_ok();
        let header = ControlHeader { flags: if is_stamped { FLAG_STAMPED } else { 0 }, ..header };
        let (hostile, control, data) =
            WritableLane::create(region(CONTROL_LEN_BYTES)?, region(capacity)?, geometry, &header)?;
        let map = LaneMap::new(ControlMap::new(control.map_read_only()?), data.map_read_only()?, geometry);
        let map = Arc::new(map.stamped(is_stamped));
        let seat = Arc::new(region(4096)?.map_read_write()?);
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let (socket, peer) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).expect("a pair of sockets");
        let handshake = Handshake::consumer(Vec::new()).expect("no names, so none twice");
        Ok(Self {
            hostile,
            map,
            seat,
            link: Arc::new(Link::new(Connection::new(socket, ForkGuard::get()?), Peer::UNKNOWN, handshake)),
            _peer: peer,
        })
    }

    pub(super) fn geometry(&self) -> Geometry {
        self.map.geometry()
    }

    /// As a ring is when a consumer joins at `start`: nothing to read.
    pub(super) fn reset(&mut self, start: u64) {
        for offset in (0..self.geometry().capacity()).step_by(8) {
            self.hostile.set_header_word(offset, 0);
        }
        let lane = self.hostile.lane();
        lane.published().store(start, Ordering::Relaxed);
        lane.last().store(start, Ordering::Relaxed);
        lane.intent().store(start, Ordering::Relaxed);
        lane.space_wait().store(0, Ordering::Relaxed);
        lane.state().store(1, Ordering::Relaxed);
        lane.evictions().store(0, Ordering::Relaxed);
        let seat = SeatMap::new(Arc::clone(&self.seat), 0);
        seat.consumed().store(0, Ordering::Relaxed);
        seat.read().store(0, Ordering::Relaxed);
        seat.wait_epoch().store(0, Ordering::Relaxed);
    }
}

/// One thing that a hostile producer does; `near` is where its consumer reads, as far as it knows, `honest` where its
/// next record in order would begin.
pub(super) fn act(hostile: &mut WritableLane, script: &mut Script<'_>, near: u64, honest: &mut u64) {
    let geometry = hostile.lane().geometry();
    let capacity = geometry.capacity();
    match script.u8() & 0x7f {
        0..0x30 => append(hostile, script, honest),
        0x30..0x40 => {
            let position = near.wrapping_add(u64::from(script.u8()) * 8);
            let room = geometry.room_to_end(position);
            let len =
                script.word_near(&[0, room.saturating_sub(8), geometry.payload_max(), capacity, u64::from(u32::MAX)]);
            let kind = u64::from(script.u8() % 5);
            hostile.set_header_word(position, u64::from(script.u8()) << 40 | kind << 32 | len & 0xffff_ffff);
        }
        0x40..0x48 => {
            let offset = u64::from(script.u16()) * 8;
            hostile.set_header_word(offset, script.u64());
        }
        0x48..0x60 => {
            let published = hostile.lane().published();
            let landmarks = [near, near.wrapping_add(capacity), *honest, 0, published.load(Ordering::Relaxed)];
            published.store(script.word_near(&landmarks), Ordering::Release);
        }
        0x60..0x68 => {
            let intent = script.word_near(&[near, near.wrapping_add(capacity), 0]);
            hostile.lane().intent().store(intent, Ordering::Release);
        }
        0x68..0x6c => hostile.lane().evictions().store(u32::from(script.u8()), Ordering::Release),
        0x6c..0x70 => hostile.lane().state().store(u32::from(script.u8() % 6), Ordering::Release),
        0x70..0x74 => hostile.lane().space_wait().store(u32::from(script.u8()), Ordering::Release),
        _ => *honest = script.word_near(&[near, near.wrapping_add(capacity)]),
    }
}

/// A record as the protocol has it, padding included, and published.
fn append(hostile: &mut WritableLane, script: &mut Script<'_>, next: &mut u64) {
    let geometry = hostile.lane().geometry();
    let len = script.word_near(&[0, 8, geometry.payload_max(), 100]) % (geometry.payload_max() + 1);
    *next &= !(geometry.record_align() - 1);
    let (size, room) = (geometry.record_size(len), geometry.room_to_end(*next));
    if size > room {
        hostile.set_header_word(*next, RecordHeader::padding(room).to_word());
        *next = next.wrapping_add(room);
    }
    hostile.set_header_word(*next, RecordHeader::data(len as u32, script.u16()).to_word());
    if hostile.shared().is_stamped() {
        hostile.set_header_word(next.wrapping_add(STAMP_OFFSET), !*next);
    }
    hostile.set_header_word(next.wrapping_add(geometry.payload_offset()), script.u64());
    hostile.lane().last().store(*next, Ordering::Relaxed);
    *next = next.wrapping_add(size);
    let intent = hostile.lane().intent();
    intent.store(intent.load(Ordering::Relaxed).max(*next), Ordering::Relaxed);
    hostile.lane().published().store(*next, Ordering::Release);
}

/// The consumer, and what must stay true of it.
struct CheckedConsumer {
    consumer: Consumer,
    seat: SeatMap,
    start: u64,
    consumed: u64,
    /// The highest `published` that a look has met and that could be.
    published: u64,
    has_failed: bool,
}

impl CheckedConsumer {
    fn new(rig: &Rig, start: u64) -> Result<Self> {
        let (_, end) = Bell::create()?;
        let seat = SeatMap::new(Arc::clone(&rig.seat), 0);
        let terms = lane_terms(1, rig.geometry()).remove(0);
        let attachment = Attachment {
            terms,
            lane: Arc::clone(&rig.map),
            seat: seat.clone(),
            bell: BellEnd::receive(Bell::KIND, end)?,
            space_bell: None,
            inbox: None,
            barrier: Barrier::Fence,
            start,
            evictions: 0,
            in_place: None,
            spin: Duration::ZERO,
        };
        let consumer = Consumer::new(attachment, Arc::clone(&rig.link), ForkGuard::get()?)?;
        Ok(Self { consumer, seat, start, consumed: start, published: start, has_failed: false })
    }

    /// Looks once; if nobody writes meanwhile, `ring` is what the record is compared with.
    fn look(&mut self, ring: Option<&WritableLane>, map: &LaneMap) {
        let before = self.consumer.position();
        let published = map.published().load(Ordering::Relaxed);
        let is_aligned = published.is_multiple_of(map.geometry().record_align());
        if is_aligned && published > self.published && published.wrapping_sub(before) <= map.geometry().capacity() {
            self.published = published;
        }
        let mut end = None;
        match self.consumer.try_receive() {
            Ok(Some(record)) => {
                assert!(!self.has_failed, "a record of a lane that was given up");
                let longest = map.geometry().capacity() - map.geometry().payload_offset();
                assert!(record.len() as u64 <= longest, "longer than the ring");
                assert!(record.position() >= before && record.position() - before < map.geometry().capacity());
                if let Some(ring) = ring {
                    let payload = record.position() + map.geometry().payload_offset();
                    assert_eq!(*record, *ring.bytes(payload, record.len() as u64), "the copy is another");
                    let size = map.geometry().record_size(record.len() as u64);
                    assert!(record.position() + size <= self.published, "beyond all that was published");
                    assert!(size <= map.geometry().room_to_end(record.position()), "across the end of the ring");
                    let stamp = map.header_word(record.position().wrapping_add(STAMP_OFFSET));
                    let time = record.published_at();
                    assert!(time.is_none_or(|time| map.is_stamped() && time.as_nanos() == stamp), "another time");
                    let padding = record.position() - before;
                    // The tag of padding is nobody's business.
                    let word = map.header_word(before) & 0xffff_ffff_ffff;
                    let is_skipped = word == RecordHeader::padding(padding.max(8)).to_word();
                    assert!(padding == 0 || (is_skipped && padding == map.geometry().room_to_end(before)));
                }
                end = Some(record.position() + map.geometry().record_size(record.len() as u64));
            }
            Ok(None) => {
                assert!(!self.has_failed, "an orderly end of a lane that was given up");
                assert!(ring.is_none() || map.state().load(Ordering::Relaxed) == 2, "an end that nobody declared");
            }
            Err(ReceiveError::Corrupt(_) | ReceiveError::Evicted { .. }) => self.has_failed = true,
            Err(ReceiveError::Empty) => assert!(!self.has_failed, "a lane that was given up is empty"),
            Err(ReceiveError::Abandoned) => {
                assert!(ring.is_none() || map.state().load(Ordering::Relaxed) == 3, "an end that nobody declared");
            }
            Err(error) => panic!("an error that nobody caused: {error}"),
        }
        let after = self.consumer.position();
        match end {
            Some(end) => assert!(after == end && after > before && after - before <= map.geometry().capacity()),
            // An evicted consumer has moved past the record that it could not copy.
            None => assert!(after == before || (self.has_failed && after > before), "moved on without a record"),
        }
        self.check_seat();
    }

    /// What the producer is told never falls, and is never more than what was read (invariants 1 and 4).
    fn check_seat(&mut self) {
        let [consumed, read] =
            [self.seat.consumed(), self.seat.read()].map(|word| match word.load(Ordering::Relaxed) {
                0 => self.start,
                word => word,
            });
        assert!(self.consumed <= consumed && consumed <= self.consumer.position(), "a wrong word about itself");
        assert_eq!(read, consumed, "all that it had read was released");
        self.consumed = consumed;
    }

    fn leave(self, seat: &Arc<Mapping>) {
        let position = self.consumer.position();
        drop(self.consumer);
        let seat = SeatMap::new(Arc::clone(seat), 0);
        let [consumed, due] = [seat.consumed(), seat.read()].map(|word| word.load(Ordering::Relaxed));
        assert_eq!(consumed, position | CONSUMED_LEFT_BIT, "left without a word");
        assert!(due >= position, "no less was for it than it has read");
    }
}
