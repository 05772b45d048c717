//! The slots of a distributor: which lane a worker gets, and how those before it have gone.
//!
//! The invariants: what a worker has not released when it goes is kept in its slot until a successor has it, or the
//! owner has taken it back or set it aside; and each departure is noted once, whichever thread sees it first.
//!
//! The steward's thread assigns slots to those who connect; the owner's thread looks after them in its calls.
//!
//! What this file does not do: it knows nothing of keys, nor of what is given to whom: [`plan`](super::plan) does.

use super::event::{Departure, Event, Events, NamedRecord, SetAside};
use super::plan::{Deaths, Named};
use crate::error::Result;
use crate::lane::{ConsumerInfo, Lane, SeatHandle};
use crate::memory::LaneMap;
use crate::options::LaneOptions;
use crate::os::notice::Notice;
use crate::producer::Producer;
use crate::ring::cursor::{Cursor, Found};
use crate::ring::places::Vacancy;
use crate::ring::roster::Seat;
use crate::ring::{LaneWords, RingWords};
use crate::session::assigning::Assign;
use crate::sync::{Mutex, Ordering};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Weak};
use std::time::Instant;

/// What a distributor shares with its steward.
#[derive(Debug)]
pub(super) struct Slots {
    lane: LaneOptions,
    /// How many slots there may be, and the option that says so.
    count_max: usize,
    limit: &'static str,
    deaths_max: u32,
    books: Mutex<SlotBooks>,
    /// Set while there are slots that the owner has not taken over yet.
    has_new: AtomicBool,
    /// Raised with it.
    pub(super) notice: Notice,
}

#[derive(Debug, Default)]
struct SlotBooks {
    slots: Vec<SharedSlot>,
    /// The producers of the last of them, which the owner has not taken over yet.
    new: Vec<Producer>,
    events: Events,
    is_closed: bool,
}

#[derive(Debug)]
struct SharedSlot {
    lane: Arc<Lane>,
    /// Alive while a session has the lane.
    lease: Weak<()>,
    /// The seats of the last worker that was seen to come, and to go.
    joined: u64,
    gone: u64,
    /// What is from that position on was not released by those who have gone, the first of them at that time.
    gone_from: u64,
    gone_at: Instant,
    deaths: Deaths,
}

/// A slot as its owner sees it.
#[derive(Debug)]
pub(super) enum Occupation {
    Worker(Arc<Seat<SeatHandle>>),
    /// The last worker has gone at that time, and not released what is from that position on.
    Vacant {
        worker: ConsumerInfo,
        released: u64,
        since: Instant,
    },
    /// Nobody was here yet, or somebody is going.
    Nobody,
}

/// A copy of a record.
#[derive(Debug)]
pub(super) struct RecordCopy {
    /// Where the record ends in its slot.
    pub(super) end: u64,
    pub(super) payload: Box<[u8]>,
    pub(super) tag: u16,
    /// How many workers have died at it.
    pub(super) deaths: u32,
}

impl Slots {
    /// Slots with lanes of the options `lane`, the first of which is made at once. There are at most `count_max`, as
    /// the option called `limit` says.
    pub(super) fn new(lane: LaneOptions, (count_max, limit): (usize, &'static str), deaths_max: u32) -> Result<Self> {
        let slots = Self {
            lane: lane.for_one_worker(),
            count_max: count_max.max(1),
            limit,
            deaths_max: deaths_max.max(1),
            books: Mutex::default(),
            has_new: AtomicBool::new(false),
            notice: Notice::new()?,
        };
        let first = slots.lane.clone().create()?;
        slots.add(&mut slots.books.lock(), first);
        Ok(slots)
    }

    /// Adds a slot; its number.
    fn add(&self, books: &mut SlotBooks, producer: Producer) -> usize {
        let (lane, gone_at) = (Arc::clone(producer.owned_lane()), Instant::now());
        let deaths = Deaths::default();
        books.slots.push(SharedSlot { lane, lease: Weak::new(), joined: 0, gone: 0, gone_from: 0, gone_at, deaths });
        books.new.push(producer);
        // Relaxed: a thread that sees it takes the lock next.
        self.has_new.store(true, Ordering::Relaxed);
        self.notice.raise();
        books.slots.len() - 1
    }

    /// Whether there are slots to take over.
    #[inline]
    pub(super) fn has_new(&self) -> bool {
        self.has_new.load(Ordering::Relaxed)
    }

    /// The producers of the slots that were made since the last time.
    pub(super) fn take_new(&self) -> Vec<Producer> {
        let mut books = self.books.lock();
        // Under the lock, as it is raised: it is not left raised for slots that are taken.
        self.notice.lower();
        self.has_new.store(false, Ordering::Relaxed);
        std::mem::take(&mut books.new)
    }

    /// Who is in that slot; notes who has come and gone.
    pub(super) fn look(&self, slot: usize) -> Occupation {
        let mut books = self.books.lock();
        let SlotBooks { slots, events, .. } = &mut *books;
        slots[slot].look(slot, self.deaths_max, events)
    }

    /// Copies what a vacant slot keeps, and keeps it no longer: the next worker begins after it. Returns up to where
    /// everything was released or set aside, and the copies; `None` if another worker has come. `boundary_from` says
    /// where records begin again from a position on that a worker has named.
    pub(super) fn take_back(
        &self,
        slot: usize,
        boundary_from: impl FnOnce(Named) -> u64,
    ) -> Option<(u64, Vec<RecordCopy>)> {
        let mut books = self.books.lock();
        let SlotBooks { slots, events, .. } = &mut *books;
        // Notes a departure that was not seen yet.
        slots[slot].look(slot, self.deaths_max, events);
        let SharedSlot { lane, deaths, .. } = &mut slots[slot];
        let vacancy = lane.roster.vacancies().pop()?;
        let named = named(&lane.map, vacancy.position);
        let (published, begin) = (published(&lane.map), boundary_from(named));
        let mut position = begin;
        let mut copies = Vec::new();
        while let Some(found) = Cursor::record_at(&*lane.map, position, published) {
            position = end_of(&lane.map, found);
            copies.push(copy(&lane.map, found, deaths.at(position)));
        }
        lane.roster.pass_over(vacancy.seat.id(), published).then_some((begin, copies))
    }

    /// A record that is about to be given to that slot has seen deaths elsewhere. Everything up to `released` is done
    /// with there.
    pub(super) fn carry_deaths(&self, slot: usize, end: u64, deaths: u32, released: u64) {
        self.books.lock().slots[slot].deaths.carry(end, deaths, released);
    }

    /// Changes what is to be reported, and how much happened.
    pub(super) fn with_events<T>(&self, with: impl FnOnce(&mut Events) -> T) -> T {
        with(&mut self.books.lock().events)
    }

    /// Makes no slot any more, and ends those that the owner has not taken over.
    pub(super) fn close(&self) {
        let mut books = self.books.lock();
        books.is_closed = true;
        let new = std::mem::take(&mut books.new);
        drop(books);
        drop(new);
    }
}

impl Assign for Slots {
    fn assign(&self, uid: Option<u32>, lease: &Arc<()>) -> Result<Option<Arc<Lane>>> {
        let mut books = self.books.lock();
        if books.is_closed {
            return Ok(None);
        }
        let SlotBooks { slots, events, .. } = &mut *books;
        let mut free = Vec::new();
        for (index, slot) in slots.iter_mut().enumerate().filter(|(_, slot)| slot.lease.strong_count() == 0) {
            let wish = match slot.look(index, self.deaths_max, events) {
                // What one user was given is not shown to another. An empty place is kept too: the owner may be about
                // to give it something.
                Occupation::Vacant { worker, .. } if worker.uid.is_none() || worker.uid != uid => None,
                Occupation::Vacant { worker, .. } => Some((u8::from(worker.behind_bytes == 0), slot.gone_at)),
                Occupation::Nobody => Some((2, slot.gone_at)),
                Occupation::Worker(_) => None,
            };
            free.extend(wish.map(|wish| (wish, index)));
        }
        // That which has waited longest, if anything waits.
        let chosen = match free.into_iter().min() {
            Some((_, index)) => index,
            None if books.slots.len() < self.count_max => {
                // That may take long, and the owner is not to wait for it. Nobody else adds slots.
                drop(books);
                let producer = self.lane.clone().create()?;
                books = self.books.lock();
                if books.is_closed {
                    return Ok(None);
                }
                self.add(&mut books, producer)
            }
            None => return Ok(None),
        };
        let slot = &mut books.slots[chosen];
        slot.lease = Arc::downgrade(lease);
        Ok(Some(Arc::clone(&slot.lane)))
    }

    fn why_none(&self) -> String {
        let Self { count_max, limit, .. } = self;
        if self.books.lock().is_closed {
            return "the distributor has ended".to_owned();
        }
        let sentence = "slots have a worker, or keep what workers of other users have left";
        format!("all {count_max} {sentence} (`{limit}`); try again later")
    }
}

impl SharedSlot {
    /// Who is here; notes who has come and gone.
    fn look(&mut self, number: usize, deaths_max: u32, events: &mut Events) -> Occupation {
        if let Some(vacancy) = self.lane.roster.vacancies().pop() {
            self.note_gone(number, &vacancy, deaths_max, events);
            // It may have been passed over just now, and perhaps another worker is there already.
            if let Some(Vacancy { seat, position }) = self.lane.roster.vacancies().pop() {
                let worker = ConsumerInfo::gone(&Vacancy { seat, position }, published(&self.lane.map));
                return Occupation::Vacant { worker, released: position, since: self.gone_at };
            }
        }
        match self.lane.roster.seats().pop() {
            Some(seat) => {
                self.note_joined(number, &seat, events);
                Occupation::Worker(seat)
            }
            None => Occupation::Nobody,
        }
    }

    fn note_joined(&mut self, number: usize, seat: &Seat<SeatHandle>, events: &mut Events) {
        if std::mem::replace(&mut self.joined, seat.id()) != seat.id() {
            let worker = ConsumerInfo::new(seat, seat.behind_bytes(published(&self.lane.map)));
            events.push(Event::Joined { slot: number, worker });
        }
    }

    fn note_gone(&mut self, number: usize, vacancy: &Vacancy<SeatHandle>, deaths_max: u32, events: &mut Events) {
        let (seat, published) = (&vacancy.seat, published(&self.lane.map));
        if std::mem::replace(&mut self.gone, seat.id()) == seat.id() {
            return;
        }
        if seat.port().was_taken_back() && self.joined != seat.id() {
            // It was never here: what the one before it has left is still what that one has left.
            return;
        }
        self.note_joined(number, seat, events);
        // A worker that has released nothing begins no time anew: others are to have what it was given.
        let has_released = std::mem::replace(&mut self.gone_from, vacancy.position) != vacancy.position;
        if has_released || vacancy.position == published {
            self.gone_at = Instant::now();
        }
        let how = match () {
            () if seat.port().was_evicted() => Departure::Evicted,
            () if seat.has_left() => Departure::Left,
            () => Departure::Died,
        };
        let worker = ConsumerInfo::gone(vacancy, published);
        events.push(Event::Gone { slot: number, worker: worker.clone(), how });
        // One that leaves has put down what it had in hand, and says it has read what it has not.
        let (released, read) = seat.standing(&*self.lane.map);
        if how == Departure::Left || read <= released {
            return;
        }
        let Some(found) = Cursor::record_at(&*self.lane.map, vacancy.position, published) else { return };
        let end = end_of(&self.lane.map, found);
        let deaths = self.deaths.note(end);
        if deaths >= deaths_max {
            let RecordCopy { payload, tag, .. } = copy(&self.lane.map, found, deaths);
            if self.lane.roster.pass_over(seat.id(), end) {
                let claim = NamedRecord { slot: number, from: named(&self.lane.map, found.from), end };
                events.claim(claim, SetAside { payload, tag, deaths, worker });
            }
        }
    }
}

/// Everything below was published, and can be read.
fn published(lane: &LaneMap) -> u64 {
    // Pairs with the release store in `Writer::publish`: this may be the steward's thread.
    lane.published().load(Ordering::Acquire)
}

/// A position that a worker has named.
fn named(lane: &LaneMap, position: u64) -> Named {
    Named { position, begins_round: lane.geometry().offset(position) == 0 }
}

fn end_of(lane: &LaneMap, found: Found) -> u64 {
    lane.geometry().record_end(found.position, found.len)
}

/// Copies a record that stays as it is meanwhile: it is kept.
fn copy(lane: &LaneMap, found: Found, deaths: u32) -> RecordCopy {
    let len = found.len as usize;
    let mut words = vec![0_u64; len.div_ceil(8)];
    lane.copy_out(found.payload, &mut words);
    let payload = bytemuck::cast_slice(&words)[..len].into();
    RecordCopy { end: end_of(lane, found), payload, tag: found.tag, deaths }
}
