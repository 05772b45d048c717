//! The plan beside a plain model: lists of records, and rules that are looked up in them.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

const SLOTS: usize = 4;
const RECORDS_MAX: usize = 5;
/// What a record takes.
const SIZE: u64 = 8;

#[derive(Clone, Debug)]
enum Step {
    /// Sends, where these slots have room.
    Send(To, [bool; SLOTS]),
    /// A worker releases so many bytes more, whether or not that is where a record ends.
    Release(usize, u64),
    Come(usize),
    Go(usize),
    /// Takes a slot without a worker back, whose worker had released so many bytes that nobody has seen.
    TakeBack(usize, u64),
    /// Gives out again, where these slots have room.
    Again([bool; SLOTS]),
}

fn step() -> impl Strategy<Value = Step> {
    let to = prop_oneof![Just(To::MostRoom), Just(To::RoundRobin), (0..3_u64).prop_map(To::Key)];
    let (slot, bytes) = (0..SLOTS, 0..4 * SIZE);
    prop_oneof![
        6 => (to, any::<[bool; SLOTS]>()).prop_map(|(to, room)| Step::Send(to, room)),
        4 => (slot.clone(), bytes.clone()).prop_map(|(slot, bytes)| Step::Release(slot, bytes)),
        2 => slot.clone().prop_map(Step::Come),
        2 => slot.clone().prop_map(Step::Go),
        1 => (slot, bytes).prop_map(|(slot, bytes)| Step::TakeBack(slot, bytes)),
        2 => any::<[bool; SLOTS]>().prop_map(Step::Again),
    ]
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

    /// Whether a record of that key, or of none, may go to `chosen`, where those slots have room.
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

    fn put(&mut self, slot: usize, record: Record) -> u64 {
        self.published[slot] += SIZE;
        self.unreleased[slot].push((self.published[slot], record));
        self.published[slot]
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

/// Takes both through a step.
fn take(step: Step, plan: &mut Plan<Record>, model: &mut Model) {
    match step {
        Step::Send(to, room) => {
            let chosen = plan.choose(to, |slot| room[slot]);
            if !model.again.is_empty() {
                assert_eq!(chosen, None, "something new before what was taken back");
                return;
            }
            assert!(model.allows(to, room, chosen), "{to:?} goes to {chosen:?}: {model:?}");
            if let Some(slot) = chosen {
                let record = (model.next, to.key());
                model.next += 1;
                plan.note_sent(slot, to.key(), model.put(slot, record));
            }
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
            model.again.extend(kept.into_iter().map(|(_, record)| record));
        }
        Step::Again(room) => {
            let chosen = plan.choose_again(|slot| room[slot]);
            let Some(first) = model.again.first().copied() else { return assert_eq!(chosen, None) };
            assert_eq!(plan.next_again().map(|next| (next.record, next.key)), Some((first, first.1)));
            let to = first.1.map_or(To::MostRoom, To::Key);
            assert!(model.allows(to, room, chosen), "{to:?} goes to {chosen:?} again: {model:?}");
            if let Some(slot) = chosen {
                model.again.remove(0);
                plan.note_sent_again(slot, model.put(slot, first));
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

proptest! {
    #[test]
    fn it_loses_and_doubles_nothing_and_keeps_the_order_of_keys(steps in prop::collection::vec(step(), 0..200)) {
        let (mut plan, mut model) = (Plan::new(RECORDS_MAX), Model::default());
        (0..SLOTS).for_each(|_| plan.add_slot());
        for step in steps {
            take(step, &mut plan, &mut model);
            check(&plan, &model);
        }
    }
}

/// A plan in which all slots have workers.
fn plan_with(slots: usize) -> Plan<()> {
    let mut plan = Plan::new(usize::MAX);
    for slot in 0..slots {
        plan.add_slot();
        plan.set_worker(slot, true);
    }
    plan
}

#[test]
fn idle_workers_get_records_in_turn() {
    for to in [To::MostRoom, To::RoundRobin] {
        let mut plan = plan_with(3);
        for number in 0..9 {
            let slot = plan.choose(to, |_| true).unwrap();
            assert_eq!(slot, number % 3);
            plan.note_sent(slot, None, SIZE * (1 + number as u64));
            plan.note_released(slot, SIZE * (1 + number as u64));
        }
    }
}

#[test]
fn keys_spread_over_workers_and_few_of_them_move_when_one_comes() {
    let homes = |workers: usize| -> Vec<usize> {
        let plan = plan_with(workers);
        (0..1000).map(|key| plan.choose(To::Key(key), |_| true).unwrap()).collect()
    };
    let (three, four) = (homes(3), homes(4));
    for worker in 0..3 {
        let count = three.iter().filter(|home| **home == worker).count();
        assert!((250..420).contains(&count), "worker {worker} has {count} of 1000 keys");
    }
    let moved = three.iter().zip(&four).filter(|(before, after)| before != after).count();
    assert!((180..330).contains(&moved), "{moved} of 1000 keys move");
    assert!(three.iter().zip(&four).all(|(before, after)| before == after || *after == 3), "they move to the new one");
}

#[test]
fn nobody_releases_more_than_there_is() {
    let mut plan = plan_with(1);
    plan.note_sent(0, Some(7), SIZE);
    assert_eq!(plan.note_released(0, u64::MAX), 1);
    assert_eq!(plan.load(0), Load { records: 0, bytes: 0 });
    plan.note_sent(0, Some(7), 2 * SIZE);
    assert_eq!(plan.load(0), Load { records: 1, bytes: SIZE });
    assert_eq!(plan.note_released(0, 2 * SIZE), 1);
}

#[test]
fn deaths_count_for_a_record_wherever_it_is_and_for_no_other() {
    let mut deaths = Deaths::default();
    assert_eq!([deaths.note(64), deaths.note(64), deaths.note(128)], [1, 2, 1]);
    assert_eq!([deaths.at(64), deaths.at(128), deaths.at(192)], [0, 1, 0], "what is released is forgotten");
    deaths.carry(192, 2);
    deaths.carry(256, 0);
    assert_eq!([deaths.note(128), deaths.note(160), deaths.note(192), deaths.note(256)], [2, 1, 3, 1]);
}
