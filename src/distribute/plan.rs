//! Who gets which record, and what is not released yet: the machine of a distributor, without memory or clocks.
//!
//! The invariants: the records of one key that are not released lie in one slot, in the order in which they were given
//! out; and nothing new is given out before what was taken back.
//!
//! What this file does not do: it knows no lane. Positions are what its caller says they are.

use super::ends::Ends;
use std::collections::{HashMap, VecDeque};

/// The worker that a record is for. [`Distributor::send`](super::Distributor::send) takes it.
///
/// ```
/// use fdring::distribute::{Distributor, To, Worker};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut distributor = Distributor::listen("@doc-to")?;
/// let mut worker = Worker::connect("@doc-to")?;
/// distributor.send(To::MostRoom, b"resize image 7")?;
/// distributor.send(To::Key(42), b"account 42: deposit 10")?;
/// distributor.send(To::Key(42), b"account 42: withdraw 5")?; // to the same worker, after the deposit
/// # for _ in 0..3 {
/// #     assert!(worker.receive()?.is_some());
/// # }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum To {
    /// The worker with the fewest unreleased bytes; if several have as few, each in turn. A release within the last
    /// 20 µs may not count yet.
    MostRoom,
    /// Each worker in turn; a worker without room is skipped.
    RoundRobin,
    /// The worker of this key. Records of one key are released in the order in which they were sent: as long as one of
    /// them is unreleased, later ones go to the same slot. If none is, the key's number alone selects one of the
    /// workers that are there.
    Key(u64),
}

impl To {
    pub(crate) fn key(self) -> Option<u64> {
        match self {
            Self::Key(key) => Some(key),
            Self::MostRoom | Self::RoundRobin => None,
        }
    }
}

/// What is given out and not released, and what was taken back.
#[derive(Debug)]
pub(crate) struct Plan<T> {
    slots: Vec<SlotRecords>,
    /// The number of slots with a worker.
    workers: usize,
    /// The keys that have unreleased records in a slot.
    homes: HashMap<u64, Home>,
    taken_back: VecDeque<TakenBack<T>>,
    /// The slot whose turn it is.
    turn: usize,
    /// The most unreleased records of a slot that gets new ones.
    records_max: usize,
}

/// The records of one worker, and of its successors.
#[derive(Debug, Default)]
struct SlotRecords {
    has_worker: bool,
    /// The ends of the records.
    unreleased: Ends,
    /// Those of them that have a key, in order. Apart, so that records without a key take no room here.
    keyed: VecDeque<Keyed>,
    /// Where the last record that was released or set aside ends.
    boundary: u64,
    released: u64,
}

#[derive(Clone, Copy, Debug)]
struct Keyed {
    end: u64,
    key: u64,
}

/// Where the records of a key are.
#[derive(Clone, Copy, Debug)]
struct Home {
    slot: usize,
    /// The end of the last one.
    end: u64,
}

/// A position that a worker has named: up to there it has released.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Named {
    pub(crate) position: u64,
    /// Whether the ring begins there. No record goes across, so it is a boundary, if perhaps behind padding: the
    /// protocol allows a worker to have released up to either end of that.
    pub(crate) begins_round: bool,
}

/// A record that was taken back from a slot and is to be given out again.
#[derive(Debug)]
pub(crate) struct TakenBack<T> {
    pub(crate) key: Option<u64>,
    pub(crate) record: T,
}

/// What of a slot is not released.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Load {
    pub(crate) records: usize,
    pub(crate) bytes: u64,
}

impl SlotRecords {
    fn load(&self) -> Load {
        Load { records: self.unreleased.len(), bytes: self.published() - self.released }
    }

    /// Where the last record ends that was given out.
    fn published(&self) -> u64 {
        self.unreleased.last().unwrap_or(self.released)
    }

    /// Takes out the first record with a key, if it ends no later than there.
    fn take_keyed(&mut self, position: u64) -> Option<Keyed> {
        let first = self.keyed.front().copied().filter(|keyed| keyed.end <= position)?;
        self.keyed.pop_front();
        Some(first)
    }
}

impl<T> Plan<T> {
    pub(crate) fn new(records_max: usize) -> Self {
        Self {
            slots: Vec::new(),
            workers: 0,
            homes: HashMap::new(),
            taken_back: VecDeque::new(),
            turn: 0,
            records_max: records_max.max(1),
        }
    }

    /// There is another slot, with the next number, and nobody there.
    pub(crate) fn add_slot(&mut self) {
        self.slots.push(SlotRecords::default());
    }

    /// Whether a worker is there now.
    pub(crate) fn set_worker(&mut self, slot: usize, has_worker: bool) {
        let had_worker = std::mem::replace(&mut self.slots[slot].has_worker, has_worker);
        self.workers = self.workers + usize::from(has_worker) - usize::from(had_worker);
    }

    #[inline]
    pub(crate) fn worker_count(&self) -> usize {
        self.workers
    }

    pub(crate) fn load(&self, slot: usize) -> Load {
        self.slots[slot].load()
    }

    /// How many records can be given out before a worker has as many as it may have.
    pub(crate) fn least_room(&self) -> usize {
        let with_worker = (0..self.slots.len()).filter(|slot| self.slots[*slot].has_worker);
        with_worker.map(|slot| self.room_of(slot)).min().unwrap_or(0)
    }

    /// Whether all that was given out is released, and nothing waits to be given out again.
    pub(crate) fn is_done(&self) -> bool {
        self.taken_back.is_empty() && self.slots.iter().all(|slot| slot.unreleased.is_empty())
    }

    /// The slot for a new record; `None` if none has room, or something waits that was taken back.
    #[inline]
    pub(crate) fn choose(&self, to: To, has_room: impl FnMut(usize) -> bool) -> Option<usize> {
        if self.taken_back.is_empty() { self.choose_among(to, has_room) } else { None }
    }

    /// The slot that [`choose`](Self::choose) takes if it has room, where that is known without a look at the others:
    /// the one whose turn it is, or the only one that there is.
    #[inline(always)]
    pub(crate) fn first_in_turn(&self, to: To) -> Option<usize> {
        let is_known = self.taken_back.is_empty() && (to == To::RoundRobin || self.slots.len() == 1);
        (is_known && self.turn < self.slots.len() && self.is_open(self.turn)).then_some(self.turn)
    }

    /// The slot for the first record that was taken back; `None` if none has room.
    pub(crate) fn choose_again(&self, has_room: impl FnMut(usize) -> bool) -> Option<usize> {
        let to = self.taken_back.front()?.key.map_or(To::MostRoom, To::Key);
        self.choose_among(to, has_room)
    }

    #[inline]
    fn choose_among(&self, to: To, mut has_room: impl FnMut(usize) -> bool) -> Option<usize> {
        let count = self.slots.len();
        // Without a division, which would take longer than all else.
        let turns = move |slot: usize| if slot >= self.turn { slot - self.turn } else { slot + count - self.turn };
        let open = || (0..count).filter(|slot| self.is_open(*slot));
        match to {
            To::MostRoom => {
                let rank = |slot: &usize| (self.slots[*slot].load().bytes, turns(*slot));
                let mut next = open().min_by_key(rank)?;
                while !has_room(next) {
                    // Those without room are passed over, in order.
                    next = open().filter(|slot| rank(slot) > rank(&next)).min_by_key(rank)?;
                }
                Some(next)
            }
            To::RoundRobin => {
                // A chain of ranges would take longer than all else, too.
                let mut next = self.turn;
                for _ in 0..count {
                    if self.is_open(next) && has_room(next) {
                        return Some(next);
                    }
                    next = if next + 1 < count { next + 1 } else { 0 };
                }
                None
            }
            To::Key(key) => {
                let slot = match self.homes.get(&key) {
                    // Even if no worker is there: the next one reads it in order.
                    Some(home) => Some(home.slot).filter(|slot| self.slots[*slot].unreleased.len() < self.records_max),
                    None => (0..count)
                        .filter(|slot| self.slots[*slot].has_worker)
                        .max_by_key(|slot| affinity(key, *slot))
                        .filter(|slot| self.is_open(*slot)),
                };
                slot.filter(|slot| has_room(*slot))
            }
        }
    }

    #[inline(always)]
    fn is_open(&self, slot: usize) -> bool {
        let slot = &self.slots[slot];
        slot.has_worker && slot.unreleased.len() < self.records_max
    }

    /// A record was given to a slot, and ends there.
    #[inline]
    pub(crate) fn note_sent(&mut self, slot: usize, key: Option<u64>, end: u64) {
        let into = &mut self.slots[slot];
        into.unreleased.push(end);
        if let Some(key) = key {
            into.keyed.push_back(Keyed { end, key });
            self.homes.insert(key, Home { slot, end });
        }
        self.turn = if slot + 1 < self.slots.len() { slot + 1 } else { 0 };
    }

    /// As many records of `size` bytes each were given to a slot, from `begin` on.
    pub(crate) fn note_sent_many(&mut self, slot: usize, key: Option<u64>, begin: u64, (size, count): (u64, usize)) {
        let Some(before) = count.checked_sub(1) else { return };
        let into = &mut self.slots[slot];
        into.unreleased.push_many(begin, size, before);
        let ends = (1..=before as u64).map(|number| begin + number * size);
        into.keyed.extend(key.into_iter().flat_map(|key| ends.clone().map(move |end| Keyed { end, key })));
        self.note_sent(slot, key, begin + count as u64 * size);
    }

    /// How many more records a slot may have.
    pub(crate) fn room_of(&self, slot: usize) -> usize {
        self.records_max.saturating_sub(self.slots[slot].unreleased.len())
    }

    /// Everything below `position` is released in that slot, or was set aside; how many records that are.
    pub(crate) fn note_released(&mut self, slot: usize, position: u64) -> usize {
        let of = &mut self.slots[slot];
        if position <= of.released {
            return 0;
        }
        // No worker releases what it was not given.
        of.released = position.min(of.published());
        let before = of.unreleased.len();
        if let Some(last) = of.unreleased.take_to(position) {
            of.boundary = last;
        }
        while let Some(keyed) = of.take_keyed(position) {
            forget(&mut self.homes, slot, keyed);
        }
        before - of.unreleased.len()
    }

    /// Everything below was released in that slot, or set aside, and ends with a record.
    pub(crate) fn boundary(&self, slot: usize) -> u64 {
        self.slots[slot].boundary
    }

    /// Where records begin again of a slot whose workers have said to have released everything below a position: a
    /// worker that lies may have stopped within a record, where its bytes look like another one.
    pub(crate) fn boundary_from(&self, slot: usize, Named { position, begins_round }: Named) -> u64 {
        let of = &self.slots[slot];
        if begins_round {
            return position.max(of.boundary).min(of.published());
        }
        let mut ends = std::iter::once(of.boundary).chain(of.unreleased.iter());
        ends.find(|end| *end >= position).unwrap_or(of.published())
    }

    /// Whether a record of that slot that is not released takes all from one position to the other, but for padding.
    pub(crate) fn is_record(&self, slot: usize, from: Named, end: u64) -> bool {
        let begin = self.slots.get(slot).and_then(|of| of.unreleased.begin_of(end, of.boundary));
        let begins_there = |begin| begin == from.position || from.begins_round && begin < from.position;
        begin.is_some_and(begins_there) && from.position < end
    }

    /// The records of a slot are taken back, each with its end, in order; how many there are to be given out again.
    /// Those that a worker has said to have released are left out. They come before what was taken back earlier and not
    /// given out since: of a key that both have, they were given out first.
    pub(crate) fn take_back(&mut self, slot: usize, records: impl IntoIterator<Item = (u64, T)>) -> usize {
        let mut taken = VecDeque::new();
        let of = &mut self.slots[slot];
        let published = of.published();
        for (end, record) in records {
            let mut key = None;
            while let Some(keyed) = of.take_keyed(end) {
                forget(&mut self.homes, slot, keyed);
                key = (keyed.end == end).then_some(keyed.key);
            }
            if of.unreleased.take_to(end) == Some(end) {
                taken.push_back(TakenBack { key, record });
            }
        }
        of.unreleased.take_to(u64::MAX);
        while let Some(keyed) = of.take_keyed(u64::MAX) {
            forget(&mut self.homes, slot, keyed);
        }
        (of.released, of.boundary) = (published, published);
        let count = taken.len();
        taken.append(&mut self.taken_back);
        self.taken_back = taken;
        count
    }

    /// The first record that was taken back, and is to be given out again.
    pub(crate) fn next_again(&self) -> Option<&TakenBack<T>> {
        self.taken_back.front()
    }

    /// It was given to a slot, and ends there.
    pub(crate) fn note_sent_again(&mut self, slot: usize, end: u64) {
        if let Some(TakenBack { key, .. }) = self.taken_back.pop_front() {
            self.note_sent(slot, key, end);
        }
    }
}

/// A record of a slot is unreleased no longer.
fn forget(homes: &mut HashMap<u64, Home>, slot: usize, Keyed { end, key }: Keyed) {
    if homes.get(&key).is_some_and(|home| home.slot == slot && home.end == end) {
        homes.remove(&key);
    }
}

/// How much a key belongs to a slot: the largest of the slots that are there has it, so that few keys move when one
/// comes or goes.
fn affinity(key: u64, slot: usize) -> u64 {
    // The finalizer of SplitMix64.
    let mut hash = key ^ (slot as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    hash = (hash ^ hash >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ hash >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ hash >> 31
}

/// How many workers have died at which records of a slot.
#[derive(Clone, Debug, Default)]
pub(super) struct Deaths(Vec<(u64, u32)>);

impl Deaths {
    /// Notes that the record ending at `end` has seen `deaths` deaths in another slot, and forgets the records up to
    /// `released`, which are done with here.
    pub(super) fn carry(&mut self, end: u64, deaths: u32, released: u64) {
        self.0.retain(|(other, _)| *other > released);
        if deaths != 0 {
            self.0.push((end, deaths));
        }
    }

    /// A worker has died at the record that ends there; how many have, with this one.
    pub(super) fn note(&mut self, end: u64) -> u32 {
        self.0.retain(|(other, _)| *other >= end);
        match self.0.iter_mut().find(|(other, _)| *other == end) {
            Some((_, deaths)) => {
                *deaths = deaths.saturating_add(1);
                *deaths
            }
            None => {
                self.0.push((end, 1));
                1
            }
        }
    }

    /// How many have died at the record that ends there.
    pub(super) fn at(&self, end: u64) -> u32 {
        self.0.iter().find(|(other, _)| *other == end).map_or(0, |(_, deaths)| *deaths)
    }
}

#[cfg(test)]
mod tests;
