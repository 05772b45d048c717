//! Telling the producer which bytes may be overwritten, and which may not because a record is held.
//!
//! The invariant: `consumed` never falls, and is never more than what was read, nor than where the oldest record that
//! is held begins (invariants 1, 4 and 22). `read`, which goes with it, is never less.
//!
//! Reading and releasing are two things: a cursor passes a record when it is handed out, and its bytes are released
//! once the caller is done with it, by the next call on its consumer at the earliest. A record that is held is done
//! with when its [`Hold`] ends, on any thread, also after the reader has gone.
//!
//! ```text
//!   nothing is held     the reader stores, and takes no lock
//!   something is held   the one that stores has the lock of the books: the reader, or the thread that ends a hold
//! ```
//!
//! The first hold begins the second way. The reader goes back to the first way under the lock only, when it finds that
//! nothing is held: then nobody else can store, and its next store comes after all others.
//!
//! A hold holds nothing back before the reader releases what lies beyond it. Until then it stands in a slot if one is
//! free, and its end takes no lock. A release enters what it finds in the slots into the books, under the lock.
//!
//! A worker's release begins the hold of what it takes in hand itself: under the lock, in the books. That hold has no
//! slot.
//!
//! A *token* is an occupied slot, or one count in the books. Each hold adds one token when it begins: in the slot of
//! its number if it has one and that is free, and else in the books. A release moves tokens from slots to the books.
//! Each end removes one token of its record. A record is held as long as it has a token, so two things must be true.
//!
//! Nothing that is held is released:
//!
//! - A hold in a slot begins only while the reader is borrowed, as by a record of it; a release has the reader to
//!   itself (`&mut`). So none begins beside a release, and a release sees each slot as its last hold left it, or as
//!   ended.
//! - A release empties the slots under the lock before it stores, so what it stores is bounded by every hold there is.
//!   If no hold has begun in a slot since the release before, they are empty, and their ends were seen then.
//!   A reader that takes no lock has had no hold since slots and books were last empty: the first sets `is_locked`.
//! - Between two releases, those that end holds store no more than `done`, the last release. All in slots begin there
//!   or beyond, so such a store need not look at slots. It does not store `read`: that is left to the reader and to
//!   those that have its last record borrowed.
//! - An end in a slot is a release exchange. The release of the reader reads what it wrote, or what exchanges have made
//!   of it, and has an acquire fence between that and its own store: so the loads from a held record come before the
//!   producer's stores. An end in the books, and one that finds its slot emptied, is ordered by the lock.
//!
//! Nothing stays unreleased:
//!
//! - An exchange takes a token out of a slot once: an end's, or a release's. Holds of one record that have one slot's
//!   number may take each other's token; there are as many tokens as holds all the same.
//! - An end that does not find its record in its slot finds a token in the books. A release took it out of the slot
//!   with the lock, which the end then waits for; or another hold of that record took it, whose own went to the books;
//!   or it began in the books.
//!   The end cannot have had the lock before: its look at the slot would have come before the exchange that it saw.
//! - An end in a slot stores nothing, and wakes nobody: what it held was not released yet, and the reader does that
//!   with its next call, as for any record. It never answers *empty* with a slot occupied: it releases before that.
//! - The drop of the consumer is a release. After it slots are empty for good, and the last end in the books leaves.
//!
//! Slots and books belong to one process. In a forked child nothing begins or ends. A process that dies has released
//! no more than its words say. A reader that reads in place is not evicted, and a producer laps nothing that a seat has
//! not released. A reader that copies may be evicted, but its holds protect no bytes: they say what a worker has in
//! hand.

use super::{LaneWords, SeatCounters, SeatWriter};
use crate::layout::{CONSUMED_LEFT_BIT, SPACE_WAIT_BELL, SPACE_WAIT_FUTEX};
use crate::os::futex;
use crate::sync::{AtomicU64, HOLD_SLOTS, Mutex, Ordering, fence};
use std::collections::VecDeque;
use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8};

/// A reader releases in steps of this part of the ring, and all at once when it finds nothing more.
const RELEASES_PER_RING: u64 = 8;
/// What stands in a slot that is free.
const FREE: u64 = 0;
/// Set in a slot beside the position where its record begins: no position has it.
const HELD_BIT: u64 = 1;

/// What a consumer tells its producer through its seat.
#[derive(Debug)]
pub(crate) struct Release<L, S> {
    holds: Arc<Holds<L, S>>,
    /// Whether stores are made under the lock of the books. Set under it, by a thread that has a record of the reader's
    /// borrowed or by the reader itself, and reset under it by the reader, of which no record is borrowed then: so it
    /// needs no ordering, and no model.
    is_locked: AtomicBool,
    /// The slot of the next hold. Threads that have one record borrowed may see the same number here.
    next_slot: AtomicU8,
    /// Whether a hold has begun in a slot since the slots were emptied last. Set through `&self`, reset through `&mut
    /// self`: so it needs no ordering, and no model. False whenever `is_locked` is false.
    has_begun: AtomicBool,
    /// Everything below is done with, unless it is held: what the last release said.
    released: u64,
    /// How far the cursor may run before the next.
    due_at: u64,
    step: u64,
    /// Whether the last release was made without a fence.
    is_unconfirmed: bool,
}

/// What a reader shares with the records of it that are held.
#[derive(Debug)]
pub(crate) struct Holds<L, S> {
    // The lane goes before the seat.
    lane: Arc<L>,
    seat: S,
    slots: HoldSlots,
    books: Mutex<Books>,
}

/// The holds that have begun since the last release, as far as their slots were free.
#[derive(Debug)]
struct HoldSlots([AtomicU64; HOLD_SLOTS]);

/// What is held besides, and what was stored last; out of date while nothing is held.
#[derive(Debug, Default)]
struct Books {
    /// Where the records begin that are held, in order, and how many holds there are of each: at the ends at least one.
    held: VecDeque<(u64, u32)>,
    /// Everything below is done with, unless it is held.
    done: u64,
    /// The position in the word `consumed`.
    consumed: u64,
    /// How many holds of records in hand have ended: those without a slot.
    ended_in_hand: u64,
    /// Whether the reader has gone: then the last hold leaves the lane.
    has_left: bool,
}

/// A record that is held: its bytes stay as they are until [`Hold::end`].
#[derive(Debug)]
pub(crate) struct Hold<L, S> {
    holds: Arc<Holds<L, S>>,
    begin: u64,
    /// The slot of its number, where it may stand or have stood; `None` for a record in hand, which has none.
    slot: Option<u8>,
}

impl<L: LaneWords, S: SeatWriter> Release<L, S> {
    /// For a reader of `lane` that begins at `start`.
    pub(super) fn new(lane: Arc<L>, seat: S, start: u64) -> Self {
        let step = lane.geometry().capacity() / RELEASES_PER_RING;
        let holds = Arc::new(Holds { lane, seat, slots: HoldSlots::new(), books: Mutex::new(Books::default()) });
        let due_at = start.saturating_add(step);
        let (is_locked, next_slot, has_begun) = (AtomicBool::new(false), AtomicU8::new(0), AtomicBool::new(false));
        Self { holds, is_locked, next_slot, has_begun, released: start, due_at, step, is_unconfirmed: false }
    }

    pub(crate) fn lane(&self) -> &L {
        &self.holds.lane
    }

    pub(crate) fn seat(&self) -> &S {
        &self.holds.seat
    }

    /// How far a reader may run before the producer should know of it.
    #[inline(always)]
    pub(super) fn due_at(&self) -> u64 {
        self.due_at
    }

    /// Everything below was done with at the last release, unless it is held.
    pub(super) fn released(&self) -> u64 {
        self.released
    }

    /// Releases everything below `position`, all that was read, unless it is held; and wakes the producer if it sleeps
    /// for space.
    pub(super) fn release(&mut self, position: u64, counters: SeatCounters) {
        debug_assert!(self.released <= position);
        self.note(position);
        self.tell(position, position, false, counters);
    }

    /// Like [`release`](Self::release), without the fence before the look whether the producer sleeps: for a producer
    /// that looks twice before it sleeps for long. [`confirm`](Self::confirm) comes before the reader idles. That all
    /// below `position` is read was [told](Self::tell_read) before.
    #[inline]
    pub(super) fn release_lightly(&mut self, position: u64, counters: SeatCounters) {
        let is_locked = *self.is_locked.get_mut();
        if is_locked {
            return self.release(position, counters);
        }
        debug_assert!(self.released <= position && position <= self.holds.seat.read().load(Ordering::Relaxed));
        // `due_at` stays: once the cursor is there, a closer look makes a full release, which sets the next one.
        self.released = position;
        self.holds.seat.store_counters(counters);
        // After the `read` that was told, as in `Holds::store`.
        self.holds.store_consumed(position);
        self.is_unconfirmed = true;
        // A sleeper that has announced itself within the last moments may be missed: it looks again.
        self.holds.wake_announced();
    }

    /// Everything below `position` is done with.
    #[inline(always)]
    fn note(&mut self, position: u64) {
        self.released = position;
        self.due_at = position.saturating_add(self.step);
    }

    /// Makes up for the fence that the last release was made without; whether it was made without one.
    #[inline]
    pub(super) fn confirm(&mut self) -> bool {
        let is_due = mem::take(&mut self.is_unconfirmed);
        if is_due {
            self.holds.wake_producer();
        }
        is_due
    }

    /// Tells the producer that this consumer reads no more, is done with everything below `done` that is not held, and
    /// saw what was published below `due`. It leaves when the last hold ends.
    pub(super) fn leave(&mut self, done: u64, due: u64, counters: SeatCounters) {
        self.tell(done, due, true, counters);
    }

    /// Tells the producer that everything below `read` is read, and releases none of it.
    #[inline]
    pub(super) fn tell_read(&mut self, read: u64) {
        self.holds.store_read(read);
    }

    fn tell(&mut self, done: u64, read: u64, leaves: bool, counters: SeatCounters) {
        self.holds.seat.store_counters(counters);
        if *self.is_locked.get_mut() {
            return self.tell_under_lock(done, read, leaves, None);
        }
        self.holds.store(if leaves { done | CONSUMED_LEFT_BIT } else { done }, read);
        self.is_unconfirmed = false;
        self.holds.wake_producer();
    }

    /// `held` is where a record begins whose hold begins in the books.
    #[inline(never)]
    fn tell_under_lock(&mut self, done: u64, read: u64, leaves: bool, held: Option<u64>) {
        let Self { holds, is_locked, has_begun, is_unconfirmed, .. } = self;
        let mut books = holds.books.lock();
        (books.done, books.has_left) = (done, leaves);
        if mem::take(has_begun.get_mut()) {
            holds.slots.take_all(|begin| books.begin(begin));
        }
        held.into_iter().for_each(|begin| books.begin(begin));
        // Before `done` is of use to others, who store no more than that.
        holds.store_read(read);
        *is_locked.get_mut() = !books.held.is_empty();
        let has_stored = holds.settle(&mut books);
        drop(books);
        if has_stored {
            *is_unconfirmed = false;
            holds.wake_producer();
        }
    }

    /// Holds the record that ends at `end`, which its reader has just found, from `begin` on: from its first byte, or
    /// from the padding before it. Nothing from there on is released before the hold ends. Several holds of one record
    /// may end in any order, as those of several records.
    pub(crate) fn hold(&self, begin: u64, end: u64) -> Hold<L, S> {
        debug_assert!(self.released <= begin && begin < end);
        let holds = Arc::clone(&self.holds);
        if !self.is_locked.load(Ordering::Relaxed) {
            self.begin_books();
        }
        // Early, so that the producer sees a hold also if this consumer does nothing more.
        holds.store_read(end);
        let slot = self.next_slot.load(Ordering::Relaxed);
        self.next_slot.store(slot.wrapping_add(1), Ordering::Relaxed);
        self.has_begun.store(true, Ordering::Relaxed);
        if !holds.slots.begin(slot, begin) {
            holds.books.lock().begin(begin);
        }
        Hold { holds, begin, slot: Some(slot) }
    }

    /// Releases everything below `begin`, all that was read but for the record that ends at `end`, and holds that one.
    /// The end of the hold releases it, even if the reader never comes back.
    #[inline]
    pub(super) fn release_and_hold(&mut self, begin: u64, end: u64, counters: SeatCounters) -> Hold<L, S> {
        debug_assert!(self.released <= begin && begin < end);
        let holds = Arc::clone(&self.holds);
        holds.seat.store_counters(counters);
        self.note(end);
        // After stores without the lock, the books may say less of `consumed`: then it is stored once more.
        self.tell_under_lock(end, end, false, Some(begin));
        Hold { holds, begin, slot: None }
    }

    /// From now on stores are made under the lock, starting from what was stored last.
    #[cold]
    fn begin_books(&self) {
        let mut books = self.holds.books.lock();
        (books.done, books.consumed) = (self.released, self.released);
        self.is_locked.store(true, Ordering::Relaxed);
    }

    /// Where the oldest record begins that is held, if any is.
    pub(super) fn oldest_hold(&self) -> Option<u64> {
        if !self.is_locked.load(Ordering::Relaxed) {
            return None;
        }
        let oldest = self.holds.books.lock().oldest();
        oldest.into_iter().chain(self.holds.slots.oldest()).min()
    }

    /// How many holds by [`release_and_hold`](Self::release_and_hold) have ended.
    pub(crate) fn ended_in_hand(&self) -> u64 {
        self.holds.books.lock().ended_in_hand
    }
}

impl<L: LaneWords, S: SeatWriter> Hold<L, S> {
    pub(crate) fn lane(&self) -> &L {
        &self.holds.lane
    }

    pub(crate) fn seat(&self) -> &S {
        &self.holds.seat
    }

    /// Ends the hold: releases what it alone has held back, and wakes the producer if it sleeps for space. Once for
    /// each hold; its bytes are no longer touched.
    #[inline]
    pub(crate) fn end(&self) {
        // In its slot it has held nothing back.
        if !self.slot.is_some_and(|slot| self.holds.slots.end(slot, self.begin)) {
            self.end_in_books();
        }
    }

    #[inline(never)]
    fn end_in_books(&self) {
        let mut books = self.holds.books.lock();
        books.end(self.begin);
        books.ended_in_hand += u64::from(self.slot.is_none());
        let has_stored = self.holds.settle(&mut books);
        drop(books);
        if has_stored {
            self.holds.wake_producer();
        }
    }
}

impl HoldSlots {
    fn new() -> Self {
        Self(std::array::from_fn(|_| AtomicU64::new(FREE)))
    }

    #[inline(always)]
    fn slot(&self, number: u8) -> &AtomicU64 {
        &self.0[usize::from(number) % HOLD_SLOTS]
    }

    /// Begins a hold of the record at `begin`; whether the slot of that number was free.
    #[inline(always)]
    fn begin(&self, slot: u8, begin: u64) -> bool {
        // Relaxed: an exchange continues the release sequence of those whose holds have ended in this slot before, so
        // that the fence in `take_all` pairs with theirs too.
        self.slot(slot).compare_exchange(FREE, begin | HELD_BIT, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// Ends a hold of the record at `begin`; whether there was one in that slot. Holds of one record may stand for each
    /// other.
    #[inline(always)]
    fn end(&self, slot: u8, begin: u64) -> bool {
        // Release: pairs with the fence in `take_all`, so that our loads of the record's bytes come before the reader
        // releases them. Relaxed if it fails: the lock of the books orders then.
        self.slot(slot).compare_exchange(begin | HELD_BIT, FREE, Ordering::Release, Ordering::Relaxed).is_ok()
    }

    /// Empties the slots and has `enter` enter what was there into the books, under their lock: a hold that ends
    /// meanwhile and is not in its slot is in the books.
    fn take_all(&self, mut enter: impl FnMut(u64)) {
        for slot in &self.0 {
            // Relaxed: no hold begins meanwhile, so this is the word of the last one, or what its end left. The fence
            // below orders.
            let word = slot.load(Ordering::Relaxed);
            // One that has ended in between is not entered.
            if word != FREE && slot.compare_exchange(word, FREE, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
                enter(word & !HELD_BIT);
            }
        }
        // Pairs with the release exchange in `end`, which the looks above have seen: those holds took no lock. What is
        // released now is released after them.
        fence(Ordering::Acquire);
    }

    /// Where the oldest record begins that is held in a slot.
    fn oldest(&self) -> Option<u64> {
        let words = self.0.iter().map(|slot| slot.load(Ordering::Relaxed));
        words.filter(|word| *word != FREE).min().map(|word| word & !HELD_BIT)
    }
}

impl Books {
    /// Begins one hold of the record at `begin`. One that begins later may be of the same record, without the padding
    /// before it.
    fn begin(&mut self, begin: u64) {
        match self.held.binary_search_by_key(&begin, |(begin, _)| *begin) {
            Ok(index) => self.held[index].1 += 1,
            Err(index) => self.held.insert(index, (begin, 1)),
        }
    }

    /// Where the oldest record begins that is held.
    fn oldest(&self) -> Option<u64> {
        self.held.front().map(|(begin, _)| *begin)
    }

    /// Ends one hold of the record at `begin`.
    fn end(&mut self, begin: u64) {
        let index = match self.held.front() {
            Some((oldest, _)) if *oldest == begin => 0,
            _ => self.held.binary_search_by_key(&begin, |(begin, _)| *begin).expect("it is held"),
        };
        self.held[index].1 -= 1;
        while self.held.front().is_some_and(|(_, count)| *count == 0) {
            self.held.pop_front();
        }
        while self.held.back().is_some_and(|(_, count)| *count == 0) {
            self.held.pop_back();
        }
    }
}

impl<L: LaneWords, S: SeatWriter> Holds<L, S> {
    /// Stores `read`: by the reader's thread, or one that has its last record borrowed, so that it never falls.
    #[inline(always)]
    fn store_read(&self, read: u64) {
        // Relaxed: no less than any `consumed` that was stored before; any that is more comes after, with a `read` of
        // its own.
        self.seat.read().store(read, Ordering::Relaxed);
    }

    /// Stores what is released now, under the lock, if it is more than before; whether it was.
    fn settle(&self, books: &mut Books) -> bool {
        let consumed = books.oldest().map_or(books.done, |oldest| oldest.min(books.done));
        let leaves = books.has_left && books.held.is_empty();
        if consumed == books.consumed && !leaves {
            return false;
        }
        debug_assert!(books.consumed <= consumed);
        books.consumed = consumed;
        self.store_consumed(if leaves { consumed | CONSUMED_LEFT_BIT } else { consumed });
        true
    }

    fn store(&self, consumed: u64, read: u64) {
        // First: who sees the `consumed` that comes next sees this `read`, which is no less, or a later one.
        self.store_read(read);
        self.store_consumed(consumed);
    }

    /// Stores `consumed`, after a `read` that is no less.
    fn store_consumed(&self, consumed: u64) {
        // Pairs with the acquire fence in `Seat::look`: the producer overwrites these bytes after our loads from them,
        // and after those of other threads, whose holds have ended before.
        self.seat.consumed().store(consumed, Ordering::Release);
        // Pairs with the acquire fence in `Publisher::sleep_while_held`, between its load of this word and its look at
        // `consumed`.
        let seq = self.seat.space_seq().load(Ordering::Relaxed);
        self.seat.space_seq().store(seq.wrapping_add(1), Ordering::Release);
    }

    /// Wakes the producer, if it waits for space; after `store`.
    fn wake_producer(&self) {
        // Pairs with the fence in `Publisher::announce`: the producer sees what was stored, or we see its announcement.
        fence(Ordering::SeqCst);
        self.wake_announced();
    }

    /// Wakes the producer, if its announcement that it waits is seen.
    #[inline]
    fn wake_announced(&self) {
        match self.lane.space_wait().load(Ordering::Relaxed) {
            SPACE_WAIT_FUTEX => futex::wake_shared(self.seat.space_seq()),
            SPACE_WAIT_BELL => self.seat.ring_for_space(),
            _ => {}
        }
    }
}
