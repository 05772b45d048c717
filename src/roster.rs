//! The seats of a lane: who gates it, who sleeps, who joins and who goes.
//!
//! The invariant: `limit` − the smallest position that a lossless consumer still needs ≤ capacity, whatever stands in
//! the seats (design invariants 3 and 10). Seats change under one lock; the producer's thread works on a
//! reference-counted snapshot and learns of a newer one by its version.
//!
//! What this file does not do: it never asks whether a consumer lives. The session layer finds out and says so here.

use crate::barrier;
use crate::crash;
use crate::frame::{Barrier, Start};
use crate::layout::CONSUMED_LEFT;
use crate::ring::writer::INTENT_STEPS;
use crate::ring::{LaneWords, SeatWords};
use crate::sync::{AtomicU32, AtomicU64, Mutex, Ordering, fence};
use crate::wake;
use std::sync::Arc;

/// How many record boundaries a lane remembers: one for each step of `intent`; fewer in a model, which looks at all.
const BOUNDARIES: u64 = if cfg!(loom) { 4 } else { INTENT_STEPS };
/// Stands where no boundary is remembered yet.
const NO_BOUNDARY: u64 = u64::MAX;

/// One consumer's seat as the producer's process holds it: its words, its bell, and a way to say that it is out.
pub(crate) trait SeatPort: SeatWords {
    /// Wakes the consumer.
    fn ring(&self);
    /// Tells the session layer that the consumer was put out.
    fn put_out(&self);
}

/// What the session layer knows of a consumer that joins a lane.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Joiner {
    /// A number that no other seat of this lane has.
    pub(crate) id: u64,
    /// The process id, for messages; 0 where it is not known.
    pub(crate) pid: u32,
    pub(crate) start: Start,
    /// [`Barrier::Fence`] on a lane whose producer does not fence: [`barrier::heavy_within`] comes between the joining
    /// and the consumer's first sleep.
    pub(crate) barrier: Barrier,
}

/// A consumer's seat.
#[derive(Debug)]
pub(crate) struct Seat<P> {
    id: u64,
    pid: u32,
    /// Where the consumer began; a `consumed` of 0 stands for it.
    start: u64,
    barrier: Barrier,
    port: P,
    /// The last `consumed` that made sense; touched under the roster's lock only.
    last: AtomicU64,
    /// The last epoch rung for; touched by the producer's thread only.
    last_rung: AtomicU32,
}

/// What a seat's `consumed` says.
enum Consumed {
    At(u64),
    Left,
    Nonsense,
}

impl<P: SeatPort> Seat<P> {
    pub(crate) fn port(&self) -> &P {
        &self.port
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// Reads `consumed`, under the roster's lock. The caller fences with `Acquire` before it acts on a position.
    fn read_consumed(&self, published: u64) -> Consumed {
        let last = self.last.load(Ordering::Relaxed);
        match self.port.consumed().load(Ordering::Relaxed) {
            CONSUMED_LEFT => Consumed::Left,
            0 if last == self.start => Consumed::At(self.start),
            consumed if consumed < last || consumed > published => Consumed::Nonsense,
            consumed => {
                self.last.store(consumed, Ordering::Relaxed);
                Consumed::At(consumed)
            }
        }
    }
}

/// The seat that holds a lane back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Gate {
    pub(crate) seat_id: u64,
    /// How much of what is published it has not given back, in bytes.
    pub(crate) behind_bytes: u64,
}

/// The seats as the producer's thread last saw them.
#[derive(Debug)]
pub(crate) struct Snapshot<P> {
    version: u64,
    seats: Arc<[Arc<Seat<P>>]>,
    /// The kind that the lane offers.
    offered: Barrier,
    /// Whether a full fence is needed between a publication and the look at who sleeps.
    fences: bool,
}

impl<P> Snapshot<P> {
    /// No seats yet, of a lane whose consumers may choose this kind of barrier.
    pub(crate) fn new(offered: Barrier) -> Self {
        Self { version: 0, seats: Arc::new([]), offered, fences: offered == Barrier::Fence }
    }
}

/// All seats of a lane.
#[derive(Debug)]
pub(crate) struct Roster<P> {
    seats: Mutex<Vec<Arc<Seat<P>>>>,
    /// Counts the changes of `seats`; bumped under its lock.
    version: AtomicU64,
    /// The same for a producer that sleeps: a private futex word.
    changed: AtomicU32,
    /// How far the ring may be overwritten; stored under the lock of `seats`.
    limit: AtomicU64,
    /// Remembered record boundaries, see [`BOUNDARIES`].
    boundaries: Box<[AtomicU64]>,
}

impl<P: SeatPort> Roster<P> {
    /// The roster of a lane whose ring begins at `position` with nothing published.
    pub(crate) fn new(position: u64) -> Self {
        let boundaries: Box<[AtomicU64]> = (0..BOUNDARIES).map(|_| AtomicU64::new(NO_BOUNDARY)).collect();
        boundaries[0].store(position, Ordering::Relaxed);
        Self {
            seats: Mutex::new(Vec::new()),
            version: AtomicU64::new(0),
            changed: AtomicU32::new(0),
            limit: AtomicU64::new(position),
            boundaries,
        }
    }

    /// Adds a consumer and says where it begins: no byte from there on is overwritten before it is read.
    pub(crate) fn join(&self, lane: &impl LaneWords, joiner: Joiner, port: P) -> u64 {
        let mut seats = self.seats.lock();
        // Relaxed: who is told this position has not read the records below it, and acquires those above it.
        let published = lane.published().load(Ordering::Relaxed);
        let start = match joiner.start {
            Start::Latest => published,
            Start::Oldest => self.oldest(lane.geometry().capacity()).unwrap_or(published),
        };
        let Joiner { id, pid, barrier, .. } = joiner;
        let (last, last_rung) = (AtomicU64::new(start), AtomicU32::new(0));
        seats.push(Arc::new(Seat { id, pid, start, barrier, port, last, last_rung }));
        crash::point!("steward-joining");
        self.note_change();
        start
    }

    /// The first remembered boundary that nothing can overwrite before the next refresh.
    fn oldest(&self, capacity: u64) -> Option<u64> {
        let kept = self.limit.load(Ordering::Relaxed).saturating_sub(capacity);
        // Pairs with the release store in `remember_boundary`: what is published covers the boundary.
        let boundaries = self.boundaries.iter().map(|boundary| boundary.load(Ordering::Acquire));
        boundaries.filter(|boundary| *boundary != NO_BOUNDARY && *boundary >= kept).min()
    }

    /// Remembers that a record begins at `published`, for those who join at the oldest.
    pub(crate) fn remember_boundary(&self, published: u64, capacity: u64) {
        let index = published / (capacity / BOUNDARIES) % BOUNDARIES;
        // Pairs with the acquire load in `oldest`.
        self.boundaries[index as usize].store(published, Ordering::Release);
    }

    /// Takes a consumer off the lane that reads no more. Nothing happens where it has gone already.
    pub(crate) fn leave(&self, seat_id: u64) {
        let mut seats = self.seats.lock();
        let before = seats.len();
        seats.retain(|seat| seat.id != seat_id);
        if seats.len() != before {
            self.note_change();
        }
    }

    /// Takes a consumer off the lane that may still read: it is told so by the count of evictions.
    pub(crate) fn evict(&self, lane: &impl LaneWords, seat_id: u64) {
        self.put_out(lane, &mut self.seats.lock(), |seat| seat.id == seat_id);
    }

    /// Puts out those that `is_out` names, under the lock, so that the next `limit` comes after the eviction.
    fn put_out(&self, lane: &impl LaneWords, seats: &mut Vec<Arc<Seat<P>>>, is_out: impl Fn(&Seat<P>) -> bool) {
        let before = seats.len();
        seats.retain(|seat| {
            let out = is_out(seat);
            if out {
                seat.port.put_out();
            }
            !out
        });
        let evicted = before - seats.len();
        if evicted != 0 {
            let evictions = lane.evictions().load(Ordering::Relaxed).wrapping_add(evicted as u32);
            // Relaxed: the `limit` that lets the consumer's bytes be overwritten is found after this, under the same
            // lock, and `Writer::raise_intent` fences before it lets them be.
            lane.evictions().store(evictions, Ordering::Relaxed);
            self.note_change();
        }
    }

    /// How many consumers have a seat.
    pub(crate) fn len(&self) -> usize {
        self.seats.lock().len()
    }

    fn note_change(&self) {
        // Relaxed: both say only that there is something to see under the lock, and are bumped under it.
        self.version.fetch_add(1, Ordering::Relaxed);
        self.changed.fetch_add(1, Ordering::Relaxed);
        wake::wake_private(&self.changed);
    }

    /// Looks at all seats again; how far the ring may be overwritten, and who holds it back.
    ///
    /// `published` is the producer's, `end` is where the record ends that it wants to write. A consumer whose
    /// `consumed` is nonsense is put out.
    pub(crate) fn refresh(&self, lane: &impl LaneWords, published: u64, end: u64) -> (u64, Option<Gate>) {
        let mut seats = self.seats.lock();
        let (mut slowest, mut left, mut broken) = (None, Vec::new(), Vec::new());
        for seat in seats.iter() {
            match seat.read_consumed(published) {
                Consumed::At(consumed) if slowest.is_none_or(|(least, _)| consumed < least) => {
                    slowest = Some((consumed, seat.id));
                }
                Consumed::At(_) => {}
                Consumed::Left => left.push(seat.id),
                Consumed::Nonsense => broken.push(seat.id),
            }
        }
        // Pairs with the release store in `Reader::store_consumed`: the consumer's loads come before our overwriting.
        fence(Ordering::Acquire);
        if !left.is_empty() {
            seats.retain(|seat| !left.contains(&seat.id));
            self.note_change();
        }
        if !broken.is_empty() {
            self.put_out(lane, &mut seats, |seat| broken.contains(&seat.id));
        }
        let capacity = lane.geometry().capacity();
        let limit = match slowest {
            Some((consumed, _)) => consumed + capacity,
            // Most of the ring stays whole for those who join at the oldest.
            None => (published + capacity).min(end + capacity / 8).max(self.limit.load(Ordering::Relaxed)),
        };
        self.limit.store(limit, Ordering::Relaxed);
        (limit, slowest.map(|(consumed, seat_id)| Gate { seat_id, behind_bytes: published - consumed }))
    }

    /// The word that changes with the roster, and its value now: captured before the refresh that a sleep relies on.
    pub(crate) fn capture_changed(&self) -> (&AtomicU32, u32) {
        (&self.changed, self.changed.load(Ordering::Relaxed))
    }

    /// The seat of that number.
    pub(crate) fn seat(&self, seat_id: u64) -> Option<Arc<Seat<P>>> {
        self.seats.lock().iter().find(|seat| seat.id == seat_id).cloned()
    }

    /// Rings for every consumer that sleeps, after a publication or the end of the lane; how many.
    #[inline]
    pub(crate) fn ring_sleepers(&self, snapshot: &mut Snapshot<P>) -> u64 {
        // Pairs with the barrier in `wake::announce_sleep`: we see its epoch, or it sees what was published. A consumer
        // that joined meanwhile is in the version, which was bumped before it could announce anything; and before a
        // `barrier::heavy_within` of the session layer's, where that consumer only fences.
        barrier::light();
        if snapshot.fences {
            fence(Ordering::SeqCst);
        }
        if self.version.load(Ordering::Relaxed) != snapshot.version {
            self.renew(snapshot);
        }
        let mut rung = 0;
        for seat in snapshot.seats.iter() {
            if wake::claim_ring(seat.port.wait_epoch(), &seat.last_rung) {
                crash::point!("producer-before-bell");
                seat.port.ring();
                crash::point!("producer-after-bell");
                rung += 1;
            }
        }
        rung
    }

    #[cold]
    fn renew(&self, snapshot: &mut Snapshot<P>) {
        let seats = self.seats.lock();
        snapshot.version = self.version.load(Ordering::Relaxed);
        snapshot.seats = seats.iter().cloned().collect();
        let is_fenced = snapshot.offered == Barrier::Fence || seats.iter().any(|seat| seat.barrier == Barrier::Fence);
        if is_fenced && !snapshot.fences {
            // As in `ring_sleepers`, which had no cause for it before it looked here.
            fence(Ordering::SeqCst);
        }
        snapshot.fences = is_fenced;
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
