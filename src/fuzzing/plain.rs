//! A lane and a seat of plain words, for the protocols' own tests and fuzzers: no mapping, no process, and every word
//! within reach.

use crate::layout::{Geometry, LaneState};
use crate::ring::{LaneCounters, LaneWords, LaneWriter, RingWords, SeatCounters, SeatWords, SeatWriter};
use crate::sync::{AtomicU32, AtomicU64, Mutex, Ordering};
use std::sync::Arc;

/// The words of a lane.
#[derive(Debug)]
pub(crate) struct PlainLane {
    geometry: Geometry,
    published: AtomicU64,
    last: AtomicU64,
    intent: AtomicU64,
    space_wait: AtomicU32,
    state: AtomicU32,
    evictions: AtomicU32,
    counters: Mutex<LaneCounters>,
    data: Box<[AtomicU64]>,
}

impl PlainLane {
    pub(crate) fn new(geometry: Geometry) -> Arc<Self> {
        Arc::new(Self {
            geometry,
            published: AtomicU64::new(0),
            last: AtomicU64::new(0),
            intent: AtomicU64::new(0),
            space_wait: AtomicU32::new(0),
            state: AtomicU32::new(LaneState::Open as u32),
            evictions: AtomicU32::new(0),
            counters: Mutex::default(),
            data: (0..geometry.capacity() / 8).map(|_| AtomicU64::new(0)).collect(),
        })
    }

    /// The counters that were stored last.
    #[cfg(test)]
    pub(crate) fn counters(&self) -> LaneCounters {
        *self.counters.lock()
    }

    /// Puts a word where a header is looked for.
    pub(crate) fn put(&self, position: u64, word: u64) {
        self.data[self.geometry.offset(position) as usize / 8].store(word, Ordering::Relaxed);
    }
}

impl LaneWords for PlainLane {
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

impl RingWords for PlainLane {
    fn header_word(&self, position: u64) -> u64 {
        self.data[self.geometry.offset(position) as usize / 8].load(Ordering::Relaxed)
    }

    fn copy_out(&self, position: u64, copy: &mut [u64]) {
        copy.iter_mut().zip((position..).step_by(8)).for_each(|(word, position)| *word = self.header_word(position));
    }
}

/// The right to write a [`PlainLane`].
#[derive(Debug)]
pub(crate) struct PlainWriter(pub(crate) Arc<PlainLane>);

impl LaneWriter for PlainWriter {
    type Lane = PlainLane;

    fn lane(&self) -> &PlainLane {
        &self.0
    }

    fn set_header_word(&mut self, position: u64, word: u64) {
        self.0.put(position, word);
    }

    fn store_counters(&mut self, counters: LaneCounters) {
        *self.0.counters.lock() = counters;
    }
}

/// The words of a seat, shared by both sides of a test.
#[derive(Clone, Debug, Default)]
pub(crate) struct PlainSeat(Arc<PlainStripe>);

#[derive(Debug, Default)]
struct PlainStripe {
    consumed: AtomicU64,
    space_seq: AtomicU32,
    read: AtomicU64,
    wait_epoch: AtomicU32,
    counters: Mutex<SeatCounters>,
}

impl PlainSeat {
    /// The counters that were stored last.
    #[cfg(test)]
    pub(crate) fn counters(&self) -> SeatCounters {
        *self.0.counters.lock()
    }
}

impl SeatWriter for PlainSeat {
    fn store_counters(&self, counters: SeatCounters) {
        *self.0.counters.lock() = counters;
    }
}

impl SeatWords for PlainSeat {
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
