//! The seats of a lane: who gates it, who sleeps, who joins and who goes.
//!
//! The invariant: `limit` − the smallest position that a lossless consumer still needs ≤ capacity, whatever stands in
//! the seats (invariants 3 and 10). Lossy seats are there to be rung: they hold nobody back, cost no fence, and
//! what they say is not looked at, but for whether they have left (21). Seats change under one lock; the producer's
//! thread works on a snapshot of its own and learns of a newer one by its version.
//!
//! What this file does not do: it never asks whether a consumer lives. The session layer finds out and says so here.

use super::LaneWords;
use super::budget::RingBudget;
use super::places::{NoPlace, Places, Vacancy, begins_record};
use super::seat::Consumed;
pub(crate) use super::seat::{Seat, SeatPort};
use super::sleepers::Snapshot;
use super::turnover::{Tallies, Turnover};
use super::writer::INTENT_STEPS;
use crate::os::futex::{Captured, Changes};
use crate::sync::{AtomicU32, AtomicU64, Mutex, Ordering, fence};
use crate::terms::{Barrier, Delivery, Start};
use std::ops::Range;
use std::sync::Arc;

/// In place of a boundary that is not remembered yet.
const NO_BOUNDARY: u64 = u64::MAX;
/// How many ranges of positions are told apart that somebody went without releasing.
const UNRELEASED_MAX: usize = 64;

/// What the session layer knows of a consumer that joins a lane.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Joiner {
    /// A number that no other seat of this lane has.
    pub(crate) id: u64,
    pub(crate) start: Start,
    pub(crate) delivery: Delivery,
    /// With [`Barrier::Fence`], on a lane whose producer does not fence, the caller must call
    /// [`heavy_within`](crate::os::barrier::heavy_within) before a lossless consumer can sleep.
    pub(crate) barrier: Barrier,
    /// Whether it is given the descriptors of records.
    pub(crate) takes_fds: bool,
}

/// The seat that holds a lane back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Gate {
    pub(crate) seat_id: u64,
    /// How much of what is published it has not released, in bytes.
    pub(crate) behind_bytes: u64,
}

/// All seats of a lane.
#[derive(Debug)]
pub(crate) struct Roster<P> {
    seats: Mutex<Vec<Arc<Seat<P>>>>,
    /// Counts the changes of `seats`; bumped under its lock.
    version: AtomicU64,
    /// The same for a producer that sleeps, or waits in a loop of its own.
    changed: Changes,
    /// How far the ring may be overwritten; stored under the lock of `seats`.
    limit: AtomicU64,
    /// Where the ring begins: a record boundary that is not forgotten.
    first: u64,
    /// Record boundaries that the lane remembers, one for each step of `intent`.
    boundaries: [AtomicU64; INTENT_STEPS as usize],
    /// The producer was told that everything below is released, so nobody who joins begins below; touched under the
    /// lock of `seats`.
    promised: AtomicU64,
    /// The end of the last record with descriptors, which nobody is given who joins after it was published; touched
    /// under the lock of `seats`.
    served: AtomicU64,
    /// What consumers had not released when they went, as ranges of positions; locked under the lock of `seats`.
    unreleased: Mutex<Vec<Range<u64>>>,
    /// Of a lane that wants a number of consumers; locked under the lock of `seats`.
    places: Option<Mutex<Places<P>>>,
    tallies: Tallies,
}

impl<P: SeatPort> Roster<P> {
    /// The roster of a lane whose ring begins at `position` with nothing published.
    pub(crate) fn new(position: u64) -> Self {
        let boundaries = std::array::from_fn(|_| AtomicU64::new(NO_BOUNDARY));
        Self {
            seats: Mutex::new(Vec::new()),
            version: AtomicU64::new(0),
            changed: Changes::default(),
            limit: AtomicU64::new(position),
            first: position,
            boundaries,
            promised: AtomicU64::new(position),
            served: AtomicU64::new(position),
            unreleased: Mutex::new(Vec::new()),
            places: None,
            tallies: Tallies::default(),
        }
    }

    /// The same with a number of places for consumers, that are kept when they go.
    pub(crate) fn with_places(self, wanted: usize) -> Self {
        Self { places: (wanted != 0).then(|| Mutex::new(Places::new(wanted))), ..self }
    }

    /// The same, whose changes are noted there.
    pub(crate) fn noting(self, changed: Changes) -> Self {
        Self { changed, ..self }
    }

    /// Adds a consumer and says where it begins: no byte from there on is overwritten before it is read.
    ///
    /// # Errors
    ///
    /// If it is to resume, and there is no place, or to begin at a position that is not there.
    pub(crate) fn join(&self, lane: &impl LaneWords, joiner: Joiner, port: P) -> Result<u64, NoPlace> {
        let mut seats = self.seats.lock();
        let Joiner { id, barrier, start, delivery, takes_fds } = joiner;
        if let Start::At(position) = start {
            self.check_start(lane, position, takes_fds)?;
        }
        let resumed = match (start, delivery) {
            (Start::Resume, Delivery::Lossless) => self.resume(lane, &mut seats, id, &port)?,
            (_, Delivery::Lossless) => {
                self.places.as_ref().map(|places| places.lock().take_new(id));
                None
            }
            // Nobody waits for a tap, whether it is there or not.
            (_, Delivery::Lossy) => None,
        };
        // Relaxed: who is told this position has not read the records below it, and acquires those above it.
        let published = lane.published().load(Ordering::Relaxed);
        let start = match start {
            Start::Latest => published,
            Start::Oldest => self.oldest(lane.geometry().capacity(), takes_fds).unwrap_or(published),
            Start::At(position) => position,
            Start::Resume => resumed.unwrap_or(published),
            // Relaxed: an older one is a boundary too, and a tap that is too late for it goes on from the newest.
            Start::Newest => {
                Some(lane.last().load(Ordering::Relaxed)).filter(|last| *last < published).unwrap_or(published)
            }
        };
        let (last, last_rung) = (AtomicU64::new(start), AtomicU32::new(0));
        let budget = (delivery == Delivery::Lossy).then(RingBudget::new);
        self.tallies.note_joined(delivery);
        seats.push(Arc::new(Seat { id, start, barrier, port, last, last_rung, budget }));
        self.note_change();
        Ok(start)
    }

    /// Gives a joiner a place, under the lock; what the place has kept, if somebody has had it.
    fn resume(
        &self,
        lane: &impl LaneWords,
        seats: &mut Vec<Arc<Seat<P>>>,
        id: u64,
        port: &P,
    ) -> Result<Option<u64>, NoPlace> {
        let places = self.places.as_ref().ok_or(NoPlace::NotKept)?;
        let left = self.remove_those(lane, seats, Seat::has_left);
        self.tallies.note_left(left);
        places.lock().resume(id, |vacancy| port.may_succeed(&vacancy.seat.port))
    }

    /// Whether a reader may begin at `position`, under the lock.
    fn check_start(&self, lane: &impl LaneWords, position: u64, takes_fds: bool) -> Result<(), NoPlace> {
        let published = lane.published().load(Ordering::Relaxed);
        let oldest = self.kept_from(lane.geometry().capacity(), takes_fds);
        let is_there = position >= oldest && self.begins_record(lane, position, published);
        if is_there { Ok(()) } else { Err(NoPlace::NotThere { position, oldest, published }) }
    }

    /// From where on nothing can be overwritten before the next refresh, nor was promised to be released, nor has
    /// descriptors that one who `takes_fds` would not be given.
    fn kept_from(&self, capacity: u64, takes_fds: bool) -> u64 {
        let kept = self.limit.load(Ordering::Relaxed).saturating_sub(capacity);
        let served = if takes_fds { self.served.load(Ordering::Relaxed) } else { 0 };
        kept.max(self.promised.load(Ordering::Relaxed)).max(served)
    }

    /// Whether a record, or the padding before one, begins at `position`, or may yet, which nothing can overwrite
    /// meanwhile.
    fn begins_record(&self, lane: &impl LaneWords, position: u64, published: u64) -> bool {
        // Pairs with the release store in `Writer::publish`: the headers below are those that were published.
        fence(Ordering::Acquire);
        let is_remembered =
            |position| self.boundaries.iter().any(|boundary| boundary.load(Ordering::Relaxed) == position);
        position <= published && begins_record(lane, position..published, |at| at == self.first || is_remembered(at))
    }

    /// The first remembered boundary that nothing can overwrite before the next refresh.
    fn oldest(&self, capacity: u64, takes_fds: bool) -> Option<u64> {
        let kept = self.kept_from(capacity, takes_fds);
        // Pairs with the release store in `remember_boundary`: what is published covers the boundary.
        let boundaries = self.boundaries.iter().map(|boundary| boundary.load(Ordering::Acquire)).chain([self.first]);
        boundaries.filter(|boundary| *boundary != NO_BOUNDARY && *boundary >= kept).min()
    }

    /// Remembers that a record begins at `published`, for those who join at the oldest.
    pub(crate) fn remember_boundary(&self, lane: &impl LaneWords, published: u64) {
        let index = published / (lane.geometry().capacity() / INTENT_STEPS) % INTENT_STEPS;
        // Pairs with the acquire load in `oldest`.
        self.boundaries[index as usize].store(published, Ordering::Release);
    }

    /// Takes a consumer off the lane that reads no more. Nothing happens if it has gone already.
    pub(crate) fn leave(&self, lane: &impl LaneWords, seat_id: u64) {
        let mut seats = self.seats.lock();
        let has_left = seats.iter().any(|seat| seat.id == seat_id && seat.has_left());
        let gone = self.remove_those(lane, &mut seats, |seat| seat.id == seat_id);
        if has_left { self.tallies.note_left(gone) } else { self.tallies.note_died(gone) }
    }

    /// Takes a consumer off the lane that was never told that it has joined.
    pub(crate) fn take_back(&self, lane: &impl LaneWords, seat_id: u64) {
        let mut seats = self.seats.lock();
        let Some(seat) = seats.iter().find(|seat| seat.id == seat_id) else { return };
        // Before its place is vacant: who sees that knows.
        seat.port.note_taken_back();
        let delivery = seat.delivery();
        self.remove_those(lane, &mut seats, |seat| seat.id == seat_id);
        self.tallies.take_back_joined(delivery);
    }

    /// How many consumers have come, and how they went.
    pub(crate) fn turnover(&self) -> Turnover {
        let _seats = self.seats.lock();
        self.tallies.turnover()
    }

    /// Takes some of them off the lane, under the lock, and notes what they have not released; how many of them were
    /// lossless.
    fn remove_those(
        &self,
        lane: &impl LaneWords,
        seats: &mut Vec<Arc<Seat<P>>>,
        goes: impl Fn(&Seat<P>) -> bool,
    ) -> usize {
        let (before, mut lossless) = (seats.len(), 0);
        seats.retain(|seat| {
            let goes = goes(seat);
            if goes && !seat.is_lossy() {
                lossless += 1;
                let unreleased = seat.unreleased(lane);
                match self.vacate(lane, seat, unreleased.start) {
                    Some(kept) => self.note_unreleased(unreleased.start..kept),
                    None => self.note_unreleased(unreleased),
                }
            }
            !goes
        });
        if seats.len() != before {
            self.note_change();
        }
        lossless
    }

    /// Keeps the place of a consumer that goes, having released that much, if it has one. Everything is kept from the
    /// returned position on.
    fn vacate(&self, lane: &impl LaneWords, seat: &Arc<Seat<P>>, released: u64) -> Option<u64> {
        let mut places = self.places.as_ref()?.lock();
        if !places.has(seat.id) {
            return None;
        }
        let published = lane.published().load(Ordering::Relaxed);
        // Where it has begun is a boundary, too.
        let kept = if released == seat.start || self.begins_record(lane, released, published) {
            released
        } else {
            // Only a consumer that breaks the protocol stops inside a record.
            let boundaries = self.boundaries.iter().map(|boundary| boundary.load(Ordering::Relaxed));
            boundaries.filter(|boundary| (released..published).contains(boundary)).min().unwrap_or(published)
        };
        places.vacate(Arc::clone(seat), kept);
        Some(kept)
    }

    /// Notes that somebody has gone without releasing these positions.
    fn note_unreleased(&self, range: Range<u64>) {
        if range.is_empty() {
            return;
        }
        let mut ranges = self.unreleased.lock();
        let is_full = ranges.len() == UNRELEASED_MAX;
        match ranges.last_mut() {
            // Once there are too many to be told apart, what lies between counts as unreleased, too.
            Some(last) if is_full || range.start <= last.end => {
                *last = last.start.min(range.start)..last.end.max(range.end);
            }
            _ => ranges.push(range),
        }
    }

    /// Takes a consumer off the lane that may still read: it is told so by the count of evictions.
    pub(crate) fn evict(&self, lane: &impl LaneWords, seat_id: u64) {
        self.evict_those(lane, &mut self.seats.lock(), |seat| seat.id == seat_id);
    }

    /// Evicts some of them, under the lock, so that the next `limit` comes after the eviction.
    fn evict_those(&self, lane: &impl LaneWords, seats: &mut Vec<Arc<Seat<P>>>, goes: impl Fn(&Seat<P>) -> bool) {
        let goes = |seat: &Seat<P>| {
            let goes = goes(seat);
            if goes {
                seat.port.note_evicted();
            }
            goes
        };
        let evicted = self.remove_those(lane, seats, goes);
        if evicted != 0 {
            let evictions = lane.evictions().load(Ordering::Relaxed).wrapping_add(evicted as u32);
            // Relaxed: the `limit` that lets the consumer's bytes be overwritten is found after this, under the same
            // lock, and `Writer::raise_intent` fences before it lets them be.
            lane.evictions().store(evictions, Ordering::Relaxed);
            self.tallies.note_evicted(evicted);
        }
    }

    /// How many lossless consumers have a seat and have not said that they left.
    pub(crate) fn len(&self) -> usize {
        self.seats.lock().iter().filter(|seat| !seat.is_lossy()).filter(|seat| !seat.has_left()).count()
    }

    /// How many taps have a seat and have not said that they left.
    pub(crate) fn taps(&self) -> usize {
        self.seats.lock().iter().filter(|seat| seat.is_lossy() && !seat.has_left()).count()
    }

    /// Whether the places of those who go are kept.
    pub(crate) fn keeps_places(&self) -> bool {
        self.places.is_some()
    }

    /// How many of the wanted consumers are not there.
    pub(crate) fn missing(&self) -> usize {
        let Some(places) = &self.places else { return 0 };
        let seats = self.seats.lock();
        let places = places.lock();
        places.wanted() - seats.iter().filter(|seat| places.has(seat.id) && !seat.has_left()).count()
    }

    /// The places that those have left who are gone.
    pub(crate) fn vacancies(&self) -> Vec<Vacancy<P>> {
        let Some(places) = &self.places else { return Vec::new() };
        let _seats = self.seats.lock();
        places.lock().vacant().to_vec()
    }

    /// Keeps the place no longer that somebody has left; whether it was kept.
    pub(crate) fn give_up(&self, lane: &impl LaneWords, seat_id: u64) -> bool {
        let Some(places) = &self.places else { return false };
        let seats = self.seats.lock();
        let mut places = places.lock();
        let Some(position) = places.give_up(seat_id) else { return false };
        self.note_unreleased(position..lane.published().load(Ordering::Relaxed));
        // It goes to who has been there for longest without one.
        let next = seats.iter().find(|seat| !seat.is_lossy() && !places.has(seat.id) && !seat.has_left());
        next.map(|seat| places.take_new(seat.id));
        self.note_change();
        true
    }

    /// Has a vacant place keep nothing below `position`, a record boundary up to which everything is published: a
    /// successor begins there at the earliest. Returns whether the place was still vacant.
    pub(crate) fn pass_over(&self, seat_id: u64, position: u64) -> bool {
        let Some(places) = &self.places else { return false };
        let _seats = self.seats.lock();
        let is_vacant = places.lock().pass_over(seat_id, position);
        if is_vacant {
            self.note_change();
        }
        is_vacant
    }

    fn note_change(&self) {
        // Relaxed: it says only that there is something to see under the lock, and is bumped under it.
        self.version.fetch_add(1, Ordering::Relaxed);
        self.changed.note();
    }

    /// Looks at all seats again; how far the ring may be overwritten, and who holds it back.
    ///
    /// `published` is the producer's, `end` is where the record ends that it wants to write. A consumer whose
    /// `consumed` or `read` is nonsense is evicted.
    pub(crate) fn refresh(&self, lane: &impl LaneWords, published: u64, end: u64) -> (u64, Option<Gate>) {
        let mut seats = self.seats.lock();
        let slowest = self.find_slowest(lane, &mut seats, published);
        let capacity = lane.geometry().capacity();
        let limit = match slowest {
            Some((consumed, _)) => consumed + capacity,
            // Most of the ring stays whole for those who join at the oldest.
            None => (published + capacity).min(end + capacity / 8).max(self.limit.load(Ordering::Relaxed)),
        };
        self.limit.store(limit, Ordering::Relaxed);
        (limit, slowest.map(|(consumed, seat_id)| Gate { seat_id, behind_bytes: published - consumed }))
    }

    /// Looks at all seats again; how far everybody who is here has released, and who has not released more. From now on
    /// nobody joins below that position.
    pub(crate) fn find_released(&self, lane: &impl LaneWords, published: u64) -> (u64, Option<Gate>) {
        let mut seats = self.seats.lock();
        let slowest = self.find_slowest(lane, &mut seats, published);
        let released = slowest.map_or(published, |(consumed, _)| consumed);
        self.promised.store(released.max(self.promised.load(Ordering::Relaxed)), Ordering::Relaxed);
        (released, slowest.map(|(consumed, seat_id)| Gate { seat_id, behind_bytes: published - consumed }))
    }

    /// Whether somebody who gated the record that ends at `position` has gone without releasing it.
    pub(crate) fn was_left_unreleased(&self, position: u64) -> bool {
        let _seats = self.seats.lock();
        self.unreleased.lock().iter().any(|range| range.start < position && position <= range.end)
    }

    /// The lowest position that a consumer still needs, and whose it is. Those who have left are removed, and those
    /// whose seat is nonsense evicted.
    fn find_slowest(&self, lane: &impl LaneWords, seats: &mut Vec<Arc<Seat<P>>>, published: u64) -> Option<(u64, u64)> {
        let (mut slowest, mut left, mut broken) = (None, Vec::new(), Vec::new());
        for seat in seats.iter() {
            if seat.is_lossy() {
                left.extend(seat.has_left().then_some(seat.id));
                continue;
            }
            match seat.look(published) {
                Consumed::At(consumed) if slowest.is_none_or(|(least, _)| consumed < least) => {
                    slowest = Some((consumed, seat.id));
                }
                Consumed::At(_) => {}
                Consumed::Left(_) => left.push(seat.id),
                Consumed::Nonsense => broken.push(seat.id),
            }
        }
        if !left.is_empty() {
            let left = self.remove_those(lane, seats, |seat| left.contains(&seat.id));
            self.tallies.note_left(left);
        }
        if !broken.is_empty() {
            self.evict_those(lane, seats, |seat| broken.contains(&seat.id));
        }
        // Last: those who have just gone have left places, too.
        let kept = self.places.as_ref().and_then(|places| places.lock().slowest());
        slowest.into_iter().chain(kept).min_by_key(|(position, _)| *position)
    }

    /// The word that changes with the roster, and its value now: captured before the refresh that a sleep relies on.
    #[inline]
    pub(crate) fn capture_changed(&self) -> Captured<'_> {
        self.changed.capture()
    }

    /// The seats of the lossless consumers that have not said that they left.
    pub(crate) fn seats(&self) -> Vec<Arc<Seat<P>>> {
        self.seats.lock().iter().filter(|seat| !seat.is_lossy() && !seat.has_left()).cloned().collect()
    }

    /// The seats of all, taps too, that have not said that they left, in the order in which they were taken.
    pub(crate) fn everyone(&self) -> Vec<Arc<Seat<P>>> {
        self.seats.lock().iter().filter(|seat| !seat.has_left()).cloned().collect()
    }

    /// The seat of that number.
    pub(crate) fn seat(&self, seat_id: u64) -> Option<Arc<Seat<P>>> {
        self.seats.lock().iter().find(|seat| seat.id == seat_id).cloned()
    }

    /// Has `publish` publish a record with descriptors, unless seats have changed since `snapshot`; returns whether it
    /// did. So each consumer with a seat was given them, and a consumer that joins later begins after the record, which
    /// ends where `publish` says.
    pub(super) fn publish_unchanged(&self, snapshot: &Snapshot<P>, publish: impl FnOnce() -> u64) -> bool {
        let _seats = self.seats.lock();
        if self.version.load(Ordering::Relaxed) != snapshot.version {
            return false;
        }
        self.served.store(publish(), Ordering::Relaxed);
        true
    }

    /// Brings `snapshot` up to date, if seats have changed.
    #[inline]
    pub(super) fn update(&self, snapshot: &mut Snapshot<P>) {
        if self.version.load(Ordering::Relaxed) != snapshot.version {
            self.renew(snapshot);
        }
    }

    #[cold]
    fn renew(&self, snapshot: &mut Snapshot<P>) {
        let seats = self.seats.lock();
        snapshot.version = self.version.load(Ordering::Relaxed);
        snapshot.set_seats(&seats);
        let is_fenced = snapshot.offered == Barrier::Fence
            || seats.iter().any(|seat| !seat.is_lossy() && seat.barrier == Barrier::Fence);
        if is_fenced && !snapshot.fences {
            // As in `sleepers::wake_sleepers`, which had no cause for it before it looked here.
            fence(Ordering::SeqCst);
        }
        snapshot.fences = is_fenced;
    }
}
