//! The ceiling of a grid: a bare ring of fixed slots for each producer, in the memory that all processes map, which all
//! consumers read.
//!
//! The invariant: a producer writes a slot once each consumer has given it back, and a consumer reads what is
//! published. As in `raw.rs` this is a measuring rod and no library: a peer that misbehaves corrupts it.
#![allow(unsafe_code, reason = "slots in the memory that all processes map")]

use super::member::Place;
use crate::clock::ticks;
use crate::payload::{fill, sum};
use crate::plan::{BATCH, BATCHED_LEN_MAX};
use crate::raw::{LINES_ENOUGH, stride};
use crate::shared::{LARGE_RING_BYTES, RING_BYTES, RINGS_AT, Shared, Word};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

/// The longest record that it carries, in bytes.
pub(super) const LEN_MAX: usize = 256 << 10;
/// Where the positions begin among the numbers that are told, and how far apart they are, in numbers of 8 bytes.
const POSITIONS_AT: usize = 1024;
const APART: usize = 16;

/// One process's ends: a producer's ring, or those that a consumer reads.
pub(super) struct Bare<'a> {
    shared: &'a Shared,
    place: Place,
    /// Whether a consumer steps back from producers that are not far ahead.
    holds: bool,
}

impl<'a> Bare<'a> {
    pub(super) fn new(shared: &'a Shared, place: Place, holds: bool) -> Self {
        Self { shared, place, holds }
    }

    /// The length of each ring in bytes: that of a lane, as long as all have room.
    fn bytes(&self) -> usize {
        RING_BYTES.min(1 << (LARGE_RING_BYTES / self.place.producers).ilog2())
    }

    fn slots<const LEN: usize>(&self) -> u64 {
        const { assert!(stride(LEN).is_power_of_two(), "slots divide the ring") };
        (self.bytes() / stride(LEN)) as u64
    }

    fn slot<const LEN: usize>(&self, producer: usize, n: u64) -> NonNull<[u8; LEN]> {
        let index = (n & (self.slots::<LEN>() - 1)) as usize;
        // The rings lie one behind the other, and a slot with an index below `slots` ends within its own.
        self.shared.at(RINGS_AT + producer * self.bytes() + index * stride(LEN)).cast()
    }

    /// How much a producer has published; that producer writes it.
    fn published(&self, producer: usize) -> &AtomicU64 {
        self.shared.latency(POSITIONS_AT + APART * producer)
    }

    /// How much a consumer has given back; that consumer writes it.
    fn consumed(&self, producer: usize, consumer: usize) -> &AtomicU64 {
        let Place { producers, consumers, .. } = self.place;
        self.shared.latency(POSITIONS_AT + APART * (producers + producer * consumers + consumer))
    }

    /// Where the producer may write up to: a ring beyond the slowest consumer.
    fn limit<const LEN: usize>(&self, producer: usize) -> u64 {
        let consumed = (0..self.place.consumers)
            .map(|consumer| self.consumed(producer, consumer).load(Ordering::Acquire))
            .min()
            .unwrap_or_default();
        consumed + self.slots::<LEN>()
    }

    /// Sends the records 0 to `records` − 1 and publishes them by batches.
    pub(super) fn send<const LEN: usize>(&self, records: u64) {
        let producer = self.place.index;
        // It goes on where the slice before it ended, which was all read.
        let begin = self.published(producer).load(Ordering::Relaxed);
        // Longer records go one by one, as in the other measures.
        let batch = if LEN <= BATCHED_LEN_MAX { BATCH } else { 1 };
        let (mut sent, mut limit, mut looks) = (begin, self.limit::<LEN>(producer), 0);
        let last = begin + records;
        while sent < last {
            let end = last.min(sent + batch);
            while end > limit {
                wait(&mut looks);
                limit = self.limit::<LEN>(producer);
            }
            for n in sent..end {
                // SAFETY: every consumer has given this slot back (or never had it) and looks at it again only once it
                // is published; this process is the ring's only sender.
                fill(unsafe { self.slot::<LEN>(producer, n).as_mut() }, n - begin);
            }
            sent = end;
            // Pairs with the load in `receive`.
            self.published(producer).store(sent, Ordering::Release);
        }
    }

    /// Receives as many records of each producer, in turn; the sum over all.
    pub(super) fn receive<const LEN: usize>(&self, records: u64) -> u64 {
        let consumer = self.place.index - self.place.producers;
        let step = (self.slots::<LEN>() / 8).max(1);
        let hold = self.shared.word(Word::Hold).load(Ordering::Relaxed);
        let begins = (0..self.place.producers).map(|producer| self.consumed(producer, consumer));
        let mut positions: Vec<u64> = begins.map(|consumed| consumed.load(Ordering::Relaxed)).collect();
        let lasts: Vec<u64> = positions.iter().map(|position| position + records).collect();
        let mut given_back = positions.clone();
        let (mut total, mut looks) = (0u64, 0);
        while positions != lasts {
            let mut found = 0;
            for producer in 0..self.place.producers {
                let published = self.published(producer).load(Ordering::Acquire);
                found += published - positions[producer];
                for n in positions[producer]..published {
                    // SAFETY: published, so the producer leaves it alone until it is given back.
                    total = total.wrapping_add(sum(unsafe { self.slot::<LEN>(producer, n).as_ref() }));
                    if n + 1 - given_back[producer] >= step || n + 1 == lasts[producer] {
                        given_back[producer] = n + 1;
                        // Pairs with the load in `limit`.
                        self.consumed(producer, consumer).store(n + 1, Ordering::Release);
                    }
                }
                positions[producer] = published;
            }
            if found == 0 {
                wait(&mut looks);
            }
            if self.holds && (found as usize) < LINES_ENOUGH * 64 / stride(LEN) && positions != lasts {
                let until = ticks() + hold;
                while ticks() < until {
                    std::hint::spin_loop();
                }
            }
        }
        total
    }
}

/// Between two looks; now and then it yields, as several processes may share a processor where it is only tried.
#[inline(always)]
fn wait(looks: &mut u32) {
    *looks = looks.wrapping_add(1);
    if looks.is_multiple_of(1 << 14) {
        std::thread::yield_now();
    }
}
