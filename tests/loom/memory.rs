//! The memory of a lane and of a seat, in place of mappings: the same words, over loom's atomics.

use crate::layout::{Geometry, LaneState};
use crate::os::events::Events;
use crate::ring::cursor::Found;
use crate::ring::roster::SeatPort;
use crate::ring::{LaneCounters, LaneWords, LaneWriter, RingWords, SeatCounters, SeatWords, SeatWriter};
use crate::sync::{AtomicU32, AtomicU64, Mutex, Ordering};
use loom::cell::UnsafeCell;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::AtomicU64 as Plain;

/// Records begin at multiples of this.
pub(crate) const GRANULE: u64 = 1024;
/// The length of the ring: four records.
pub(crate) const CAPACITY: u64 = 4 * GRANULE;
/// The payload of a record that takes one granule, and of one that takes two.
pub(crate) const SHORT: u64 = 8;
pub(crate) const LONG: u64 = 1500;

/// How the bytes of the ring are watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Watch {
    /// Any access that is not ordered with a write of the same granule is an error.
    Races,
    /// Readers may race with the producer, and see any mixture of old and new words.
    Values,
}

/// A granule of the ring: of its words, the first (a header, or payload) and the second (payload).
#[derive(Debug)]
enum Granule {
    Races { guard: UnsafeCell<()>, words: [Plain; 2] },
    Values([AtomicU64; 2]),
}

impl Granule {
    fn new(watch: Watch) -> Self {
        match watch {
            Watch::Races => Self::Races { guard: UnsafeCell::new(()), words: Default::default() },
            Watch::Values => Self::Values([AtomicU64::new(0), AtomicU64::new(0)]),
        }
    }

    fn load(&self, word: usize) -> u64 {
        match self {
            // One thread runs at a time, so the plain word has the last value; that it may be loaded, the guard sees.
            Self::Races { guard, words } => guard.with(|_| words[word].load(Ordering::Relaxed)),
            Self::Values(words) => words[word].load(Ordering::Relaxed),
        }
    }

    fn store(&self, word: usize, value: u64) {
        match self {
            Self::Races { guard, words } => guard.with_mut(|_| words[word].store(value, Ordering::Relaxed)),
            Self::Values(words) => words[word].store(value, Ordering::Relaxed),
        }
    }
}

/// The control words and the ring of a lane.
#[derive(Debug)]
pub(crate) struct Lane {
    geometry: Geometry,
    published: AtomicU64,
    last: AtomicU64,
    intent: AtomicU64,
    space_wait: AtomicU32,
    state: AtomicU32,
    evictions: AtomicU32,
    ring: [Granule; 4],
}

impl Lane {
    #[allow(clippy::arc_with_non_send_sync, reason = "loom's threads take turns on one thread of the system")]
    pub(crate) fn new(watch: Watch) -> Arc<Self> {
        Arc::new(Self {
            geometry: Geometry::new(CAPACITY, GRANULE as u32, 8).unwrap(),
            published: AtomicU64::new(0),
            last: AtomicU64::new(0),
            intent: AtomicU64::new(0),
            space_wait: AtomicU32::new(0),
            state: AtomicU32::new(LaneState::Open as u32),
            evictions: AtomicU32::new(0),
            ring: std::array::from_fn(|_| Granule::new(watch)),
        })
    }

    fn granule(&self, position: u64) -> &Granule {
        &self.ring[(self.geometry.offset(position) / GRANULE) as usize]
    }

    /// The payload words of a record that are modelled: its granules' second words, and the first words of all but the
    /// first granule.
    fn payload_words(&self, payload: u64, len: u64) -> impl Iterator<Item = (&Granule, usize)> {
        let begin = payload - 8;
        let granules = self.geometry.record_size(len) / GRANULE;
        (0..granules * 2).skip(1).map(move |word| (self.granule(begin + word / 2 * GRANULE), (word % 2) as usize))
    }

    pub(crate) fn fill(&self, payload: u64, len: u64, value: u64) {
        for (granule, word) in self.payload_words(payload, len) {
            granule.store(word, value);
        }
    }

    /// The payload of a record: its words, all alike; `None` if they differ.
    pub(crate) fn read(&self, found: &Found) -> Option<u64> {
        let mut words = vec![0; found.len.div_ceil(8) as usize];
        self.copy_out(found.payload, &mut words);
        value_of(&words)
    }
}

/// What a payload was filled with; `None` if its words differ.
pub(crate) fn value_of(words: &[u64]) -> Option<u64> {
    words.iter().all(|word| *word == words[0]).then_some(words[0])
}

impl LaneWords for Lane {
    fn geometry(&self) -> Geometry {
        self.geometry
    }

    fn published(&self) -> &AtomicU64 {
        &self.published
    }

    fn last(&self) -> &AtomicU64 {
        &self.last
    }

    fn intent(&self) -> &AtomicU64 {
        &self.intent
    }

    fn space_wait(&self) -> &AtomicU32 {
        &self.space_wait
    }

    fn state(&self) -> &AtomicU32 {
        &self.state
    }

    fn evictions(&self) -> &AtomicU32 {
        &self.evictions
    }
}

impl RingWords for Lane {
    /// As many as the models of attachments send.
    fn record_fds_max(&self) -> u8 {
        1
    }

    fn header_word(&self, position: u64) -> u64 {
        self.granule(position).load(0)
    }

    /// Loads the words that are modelled; those that are not are as the last of them.
    fn copy_out(&self, position: u64, copy: &mut [u64]) {
        let words: Vec<u64> =
            self.payload_words(position, size_of_val(copy) as u64).map(|(granule, word)| granule.load(word)).collect();
        assert!(words.len() <= copy.len(), "as many words as there are");
        copy.iter_mut().zip(0..).for_each(|(copy, index)| *copy = words[words.len().min(index + 1) - 1]);
    }
}

/// The right to write a lane.
#[derive(Debug)]
pub(crate) struct WritableLane(pub(crate) Arc<Lane>);

impl LaneWriter for WritableLane {
    type Lane = Lane;

    fn lane(&self) -> &Lane {
        &self.0
    }

    fn set_header_word(&mut self, position: u64, word: u64) {
        self.0.granule(position).store(0, word);
    }

    /// Nobody loads them.
    fn store_counters(&mut self, _counters: LaneCounters) {}
}

/// The words of a seat, and the events of its consumer.
#[derive(Debug)]
struct SeatMemory {
    /// What wakes the producer, if it has a space bell.
    room: Option<Arc<Events>>,
    consumed: AtomicU64,
    space_seq: AtomicU32,
    read: AtomicU64,
    wait_epoch: AtomicU32,
    events: Arc<Events>,
    /// The queue of its socket for the descriptors of records.
    frames: Mutex<VecDeque<Sent>>,
}

/// A frame with descriptors, as it lies in a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sent {
    /// How many records with descriptors were published before.
    pub(crate) number: u64,
    /// Where the record begins.
    pub(crate) position: u64,
}

/// A seat, as either side holds it.
#[derive(Clone, Debug)]
pub(crate) struct Seat(Arc<SeatMemory>);

impl Seat {
    pub(crate) fn new() -> Self {
        Self::with_bell(None)
    }

    /// Of a lane whose producer waits on these events.
    pub(crate) fn with_bell(room: Option<Arc<Events>>) -> Self {
        Self(Arc::new(SeatMemory {
            room,
            consumed: AtomicU64::new(0),
            space_seq: AtomicU32::new(0),
            read: AtomicU64::new(0),
            wait_epoch: AtomicU32::new(0),
            events: Arc::new(Events::new()),
            frames: Mutex::new(VecDeque::new()),
        }))
    }

    pub(crate) fn events(&self) -> &Arc<Events> {
        &self.0.events
    }

    /// What the producer has sent with descriptors, and the consumer has not taken.
    pub(crate) fn frames(&self) -> &Mutex<VecDeque<Sent>> {
        &self.0.frames
    }
}

impl SeatWords for Seat {
    fn consumed(&self) -> &AtomicU64 {
        &self.0.consumed
    }

    fn space_seq(&self) -> &AtomicU32 {
        &self.0.space_seq
    }

    fn read(&self) -> &AtomicU64 {
        &self.0.read
    }

    fn wait_epoch(&self) -> &AtomicU32 {
        &self.0.wait_epoch
    }
}

impl SeatWriter for Seat {
    /// Nobody loads them.
    fn store_counters(&self, _counters: SeatCounters) {}

    fn ring_for_space(&self) {
        self.0.room.iter().for_each(|room| room.ring());
    }
}

impl SeatPort for Seat {
    type Words = Self;

    fn words(&self) -> Self {
        self.clone()
    }

    fn wake(&self) -> bool {
        self.0.events.ring();
        true
    }

    fn note_evicted(&self) {}
}
