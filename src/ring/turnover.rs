//! How many consumers of a lane have come, and how they went.
//!
//! The invariant: each consumer that has joined and is there no more has left, died or been evicted, and was counted as
//! one of them once.
//!
//! What this file does not do: it decides nothing, and nothing is decided by it.

use crate::terms::Delivery;
use std::sync::atomic::{AtomicU64, Ordering};

/// How many consumers of a lane have come, and how they went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Turnover {
    pub(crate) joined: u64,
    /// They said that they left.
    pub(crate) left: u64,
    /// They went without having said so.
    pub(crate) died: u64,
    pub(crate) evicted: u64,
    /// Taps that have come. Nobody counts how they went.
    pub(crate) taps_joined: u64,
}

/// The counters, changed and read under the lock of the lane's seats: Relaxed, and no part of a model.
#[derive(Debug, Default)]
pub(super) struct Tallies {
    joined: AtomicU64,
    left: AtomicU64,
    died: AtomicU64,
    evicted: AtomicU64,
    taps_joined: AtomicU64,
}

impl Tallies {
    pub(super) fn note_joined(&self, delivery: Delivery) {
        self.joined_as(delivery).fetch_add(1, Ordering::Relaxed);
    }

    /// One that has joined was never told so.
    pub(super) fn take_back_joined(&self, delivery: Delivery) {
        self.joined_as(delivery).fetch_sub(1, Ordering::Relaxed);
    }

    pub(super) fn note_left(&self, consumers: usize) {
        self.left.fetch_add(consumers as u64, Ordering::Relaxed);
    }

    pub(super) fn note_died(&self, consumers: usize) {
        self.died.fetch_add(consumers as u64, Ordering::Relaxed);
    }

    pub(super) fn note_evicted(&self, consumers: usize) {
        self.evicted.fetch_add(consumers as u64, Ordering::Relaxed);
    }

    pub(super) fn turnover(&self) -> Turnover {
        let Self { joined, left, died, evicted, taps_joined } = self;
        let [joined, left, died, evicted, taps_joined] =
            [joined, left, died, evicted, taps_joined].map(|tally| tally.load(Ordering::Relaxed));
        Turnover { joined, left, died, evicted, taps_joined }
    }

    fn joined_as(&self, delivery: Delivery) -> &AtomicU64 {
        match delivery {
            Delivery::Lossless => &self.joined,
            Delivery::Lossy => &self.taps_joined,
        }
    }
}
