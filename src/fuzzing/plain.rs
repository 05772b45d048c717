//! A lane and a seat of plain words, for the protocols' own tests and fuzzers: no mapping, no process, and every word
//! within reach.

use crate::layout::{Geometry, LaneState};
use crate::ring::{LaneCounter, LaneWords, LaneWriter, RingWords, SeatWords};
use crate::sync::{AtomicU32, AtomicU64, Ordering};
use std::sync::Arc;

/// The words of a lane.
#[derive(Debug)]
pub(crate) struct PlainLane {
    geometry: Geometry,
    published: AtomicU64,
    intent: AtomicU64,
    space_wait: AtomicU32,
    state: AtomicU32,
    evictions: AtomicU32,
    data: Box<[AtomicU64]>,
}

impl PlainLane {
    pub(crate) fn new(geometry: Geometry) -> Arc<Self> {
        Arc::new(Self {
            geometry,
            published: AtomicU64::new(0),
            intent: AtomicU64::new(0),
            space_wait: AtomicU32::new(0),
            state: AtomicU32::new(LaneState::Open as u32),
            evictions: AtomicU32::new(0),
            data: (0..geometry.capacity() / 8).map(|_| AtomicU64::new(0)).collect(),
        })
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

    fn count(&mut self, _counter: LaneCounter, _more: u64) {}
}

/// The words of a seat, shared by both sides of a test.
#[derive(Clone, Debug, Default)]
pub(crate) struct PlainSeat(Arc<(AtomicU64, AtomicU32, AtomicU32)>);

impl SeatWords for PlainSeat {
    fn consumed(&self) -> &AtomicU64 {
        &self.0.0
    }

    fn space_seq(&self) -> &AtomicU32 {
        &self.0.1
    }

    fn wait_epoch(&self) -> &AtomicU32 {
        &self.0.2
    }
}
