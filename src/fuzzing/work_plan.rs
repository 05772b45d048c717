//! What a distributor gives to whom: its plan beside a plain model, lists of records and rules that are looked up in
//! them.

use super::Script;
use crate::distribute::plan::{Load, Plan, To};
use std::collections::BTreeMap;

const SLOTS: usize = 4;
const RECORDS_MAX: usize = 5;
/// What a record takes: as much, or twice that.
const SIZE: u64 = 8;
/// One new record in that many lies behind padding, if it is sent alone.
const PADDING_EVERY: u64 = 5;

/// Takes both through the steps that `data` says: whatever comes, nothing is lost or doubled, each key is in one slot
/// and in order, and each choice is one that the rules allow.
pub fn work_plan(data: &[u8]) {
    let mut script = Script::new(data);
    let (mut plan, mut model) = (Plan::new(RECORDS_MAX), Model::default());
    (0..SLOTS).for_each(|_| plan.add_slot());
    while !script.is_empty() {
        take(Step::read(&mut script), &mut plan, &mut model);
        check(&plan, &model);
    }
}

#[derive(Clone, Copy, Debug)]
enum Step {
    /// Sends, if these slots have room.
    Send(To, [bool; SLOTS]),
    /// Sends that many to one worker, or as many as it may have.
    SendMany(To, [bool; SLOTS], usize),
    /// A worker releases that many bytes more, whether or not a record ends there.
    Release(usize, u64),
    Come(usize),
    Go(usize),
    /// Takes a slot without a worker back, whose worker had released that many bytes unseen.
    TakeBack(usize, u64),
    /// Gives out again, if these slots have room.
    Again([bool; SLOTS]),
}

impl Step {
    /// Two bytes a step: what happens, and where.
    fn read(script: &mut Script<'_>) -> Self {
        let (what, place) = (script.below(18), script.u8());
        let (slot, bytes) = (usize::from(place) % SLOTS, u64::from(place / SLOTS as u8) % (4 * SIZE));
        let room = std::array::from_fn(|slot| place >> slot & 1 == 1);
        let (key, count) = (u64::from(place >> SLOTS) % 3, 1 + usize::from(place >> SLOTS) / 3);
        match what {
            0 | 1 => Self::Send(To::MostRoom, room),
            2 => Self::Send(To::RoundRobin, room),
            3 => Self::SendMany(To::RoundRobin, room, count),
            4..7 => Self::Send(To::Key(key), room),
            7 => Self::SendMany(To::Key(key), room, count),
            8..12 => Self::Release(slot, bytes),
            12 | 13 => Self::Come(slot),
            14 => Self::Go(slot),
            15 => Self::TakeBack(slot, bytes),
            _ => Self::Again(room),
        }
    }
}

/// A record: its number, and its key.
type Record = (u64, Option<u64>);

#[derive(Debug, Default)]
struct Model {
    workers: [bool; SLOTS],
    /// Of each slot what is not released, each with its end, in order.
    unreleased: [Vec<(u64, Record)>; SLOTS],
    published: [u64; SLOTS],
    released: [u64; SLOTS],
    again: Vec<Record>,
    done: Vec<Record>,
    next: u64,
}

impl Model {
    fn home(&self, key: u64) -> Option<usize> {
        (0..SLOTS).find(|slot| self.unreleased[*slot].iter().any(|(_, record)| record.1 == Some(key)))
    }

    fn is_open(&self, slot: usize) -> bool {
        self.workers[slot] && self.unreleased[slot].len() < RECORDS_MAX
    }

    /// Whether a record of that key, or of none, may go to `chosen`, if those slots have room.
    fn allows(&self, to: To, room: [bool; SLOTS], chosen: Option<usize>) -> bool {
        let may = |slot: usize| self.is_open(slot) && room[slot];
        let load = |slot: usize| self.published[slot] - self.released[slot];
        match (to, chosen) {
            (To::Key(key), chosen) => match (self.home(key), chosen) {
                (Some(home), chosen) => {
                    let has_room = room[home] && self.unreleased[home].len() < RECORDS_MAX;
                    chosen == has_room.then_some(home)
                }
                (None, Some(slot)) => may(slot),
                // The one worker that it belongs to has no room.
                (None, None) => {
                    (0..SLOTS).filter(|slot| self.workers[*slot]).any(|slot| !may(slot))
                        || !self.workers.contains(&true)
                }
            },
            (_, None) => !(0..SLOTS).any(may),
            (To::RoundRobin, Some(slot)) => may(slot),
            (To::MostRoom, Some(slot)) => {
                may(slot) && (0..SLOTS).filter(|slot| may(*slot)).all(|other| load(slot) <= load(other))
            }
        }
    }

    fn put(&mut self, slot: usize, record: Record, size: u64) -> u64 {
        self.published[slot] += size;
        self.unreleased[slot].push((self.published[slot], record));
        self.published[slot]
    }

    /// Puts a new record into a slot; where it ends.
    fn put_new(&mut self, slot: usize, to: To, size: u64) -> u64 {
        self.next += 1;
        self.put(slot, (self.next - 1, to.key()), size)
    }

    /// How many records a release up to there is of.
    fn release(&mut self, slot: usize, position: u64) -> usize {
        let position = position.max(self.released[slot]);
        self.released[slot] = position;
        let of = &mut self.unreleased[slot];
        let count = of.iter().filter(|(end, _)| *end <= position).count();
        self.done.extend(of.drain(..count).map(|(_, record)| record));
        count
    }
}

/// What a record of that number takes that is not sent with others.
fn size_of(number: u64) -> u64 {
    SIZE << (number & 1)
}

/// Where new records go, where these slots have room.
fn choose(to: To, room: [bool; SLOTS], plan: &Plan<Record>, model: &Model) -> Option<usize> {
    let chosen = plan.choose(to, |slot| room[slot]);
    if model.again.is_empty() {
        assert!(model.allows(to, room, chosen), "{to:?} goes to {chosen:?}: {model:?}");
    } else {
        assert_eq!(chosen, None, "something new before what was taken back");
    }
    let first = plan.first_in_turn(to).filter(|slot| room[*slot]);
    assert!(first.is_none() || first == chosen, "{to:?} goes to {first:?} at a quick look: {model:?}");
    chosen
}

/// Takes both through a step.
fn take(step: Step, plan: &mut Plan<Record>, model: &mut Model) {
    match step {
        Step::Send(to, room) => {
            if let Some(slot) = choose(to, room, plan, model) {
                if model.next.is_multiple_of(PADDING_EVERY) {
                    model.published[slot] += SIZE;
                }
                plan.note_sent(slot, to.key(), model.put_new(slot, to, size_of(model.next)));
            }
        }
        Step::SendMany(to, room, count) => {
            let Some(slot) = choose(to, room, plan, model) else { return };
            let places = RECORDS_MAX - model.unreleased[slot].len();
            assert_eq!(plan.room_of(slot), places);
            let (begin, count) = (model.published[slot], count.min(places));
            (0..count).for_each(|_| _ = model.put_new(slot, to, SIZE));
            plan.note_sent_many(slot, to.key(), begin, (SIZE, count));
        }
        Step::Release(slot, bytes) => {
            let position = (model.released[slot] + bytes).min(model.published[slot]);
            assert_eq!(plan.note_released(slot, position), model.release(slot, position));
        }
        Step::Come(slot) | Step::Go(slot) => {
            model.workers[slot] = matches!(step, Step::Come(_));
            plan.set_worker(slot, model.workers[slot]);
        }
        Step::TakeBack(slot, _) if model.workers[slot] => {}
        Step::TakeBack(slot, bytes) => {
            let kept: Vec<(u64, Record)> = model.unreleased[slot].drain(..).collect();
            let position = (model.released[slot] + bytes).min(model.published[slot]);
            let (released, kept): (Vec<_>, Vec<_>) = kept.into_iter().partition(|(end, _)| *end <= position);
            model.done.extend(released.into_iter().map(|(_, record)| record));
            model.released[slot] = model.published[slot];
            // What a worker had released may still be there.
            let old = (model.published[slot] > SIZE).then_some((SIZE / 2, (u64::MAX, None)));
            let records = old.into_iter().chain(kept.iter().copied());
            assert_eq!(plan.take_back(slot, records.collect::<Vec<_>>()), kept.len());
            // They were given out before the others that wait to be given out again.
            model.again.splice(..0, kept.into_iter().map(|(_, record)| record));
        }
        Step::Again(room) => {
            let chosen = plan.choose_again(|slot| room[slot]);
            let Some(first) = model.again.first().copied() else { return assert_eq!(chosen, None) };
            assert_eq!(plan.next_again().map(|next| (next.record, next.key)), Some((first, first.1)));
            let to = first.1.map_or(To::MostRoom, To::Key);
            assert!(model.allows(to, room, chosen), "{to:?} goes to {chosen:?} again: {model:?}");
            if let Some(slot) = chosen {
                model.again.remove(0);
                plan.note_sent_again(slot, model.put(slot, first, size_of(first.0)));
            }
        }
    }
}

/// What must be true at any time.
fn check(plan: &Plan<Record>, model: &Model) {
    for slot in 0..SLOTS {
        let records = model.unreleased[slot].len();
        let bytes = model.published[slot] - model.released[slot];
        assert_eq!(plan.load(slot), Load { records, bytes });
    }
    assert_eq!(plan.worker_count(), model.workers.iter().filter(|there| **there).count());
    assert_eq!(plan.is_done(), model.again.is_empty() && model.unreleased.iter().all(Vec::is_empty));
    // Of each key, what is not released lies in one slot.
    let in_slots = model.unreleased.iter().flatten().map(|(_, record)| *record);
    for (_, key) in in_slots.clone() {
        if let Some(key) = key {
            let slots = model.unreleased.iter().filter(|of| of.iter().any(|(_, record)| record.1 == Some(key)));
            assert_eq!(slots.count(), 1, "a key in two slots");
        }
    }
    // Nothing is lost, nothing doubled.
    let mut all: Vec<u64> =
        in_slots.chain(model.again.iter().copied()).chain(model.done.iter().copied()).map(|record| record.0).collect();
    all.sort_unstable();
    assert!(all.iter().copied().eq(0..model.next));
    // Records of a key are released in order.
    let mut last = BTreeMap::new();
    for (number, key) in &model.done {
        if let Some(key) = key {
            assert!(last.insert(*key, *number).is_none_or(|before| before < *number), "a key out of order");
        }
    }
}
