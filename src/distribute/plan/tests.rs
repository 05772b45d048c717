//! The plan beside a plain model, which the fuzzers have too, and single rules.

use super::*;
use proptest::prelude::*;

/// What a record takes.
const SIZE: u64 = 8;

proptest! {
    #[test]
    fn it_loses_and_doubles_nothing_and_keeps_the_order_of_keys(script in prop::collection::vec(any::<u8>(), 0..600)) {
        crate::fuzzing::work_plan(&script);
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
fn turns_pass_over_a_full_worker_to_the_next_one() {
    let mut plan = plan_with(3);
    for (full, expected) in [(0, 1), (2, 0), (1, 2)] {
        let slot = plan.choose(To::RoundRobin, |slot| slot != full).unwrap();
        assert_eq!(slot, expected, "worker {full} is full");
        plan.note_sent(slot, None, SIZE * (1 + full as u64));
    }
    assert_eq!(plan.choose(To::RoundRobin, |_| false), None);
}

#[test]
fn records_that_were_sent_together_are_released_one_by_one() {
    let mut plan = plan_with(1);
    plan.note_sent_many(0, None, 3 * SIZE, (SIZE, 4));
    assert_eq!(plan.load(0).records, 4);
    let released: Vec<usize> = (3..9).map(|end| plan.note_released(0, end * SIZE)).collect();
    assert_eq!((released, plan.load(0).records), (vec![0, 1, 1, 1, 1, 0], 0));
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
    deaths.carry(192, 2, 0);
    deaths.carry(256, 0, 0);
    assert_eq!([deaths.note(128), deaths.note(160), deaths.note(192), deaths.note(256)], [2, 1, 3, 1]);
}

#[test]
fn deaths_at_records_that_are_done_with_are_forgotten() {
    let mut deaths = Deaths::default();
    (1..=10).for_each(|number| deaths.carry(SIZE * number, 1, SIZE * (number - 1)));
    assert_eq!(deaths.0, [(SIZE * 10, 1)]);
}

/// A position that a worker has named, within the ring.
fn within(position: u64) -> Named {
    Named { position, begins_round: false }
}

#[test]
fn where_the_ring_begins_is_a_boundary_though_padding_lies_before_it() {
    let mut plan = plan_with(1);
    // The third record is behind padding of one size.
    [2, 4, 7].into_iter().for_each(|size| plan.note_sent(0, None, size * SIZE));
    let round = |position| Named { position, begins_round: true };
    assert_eq!(plan.boundary_from(0, round(5 * SIZE)), 5 * SIZE);
    assert!(plan.is_record(0, round(5 * SIZE), 7 * SIZE) && plan.is_record(0, within(4 * SIZE), 7 * SIZE));
    assert!(!plan.is_record(0, within(5 * SIZE), 7 * SIZE), "elsewhere a worker has made it up");
    for end in [5, 6, 8] {
        assert!(!plan.is_record(0, round(5 * SIZE), end * SIZE), "what ends within a record is made up");
    }
    assert!(!plan.is_record(0, round(7 * SIZE), 7 * SIZE));
    plan.note_released(0, 5 * SIZE);
    assert_eq!(plan.boundary_from(0, round(5 * SIZE)), 5 * SIZE);
    plan.note_released(0, 7 * SIZE);
    let from = [5, 7, 9].map(|size| plan.boundary_from(0, round(size * SIZE)));
    assert_eq!(from, [7 * SIZE; 3], "not before what is released, nor beyond what was given out");
}

#[test]
fn records_begin_again_where_one_of_them_has_ended() {
    let mut plan = plan_with(1);
    (1..=4).for_each(|number| plan.note_sent(0, None, 2 * SIZE * number));
    assert_eq!(plan.boundary_from(0, within(0)), 0);
    assert_eq!(plan.note_released(0, 3 * SIZE), 1, "the second was stopped within");
    let from = |position| plan.boundary_from(0, within(position));
    assert_eq!([0, 2, 3, 4, 7, 8, 9].map(|size| from(SIZE * size)), [2, 2, 4, 4, 8, 8, 8].map(|size| SIZE * size));
}

#[test]
fn a_record_is_what_was_given_out_from_its_begin_to_its_end() {
    let mut plan = plan_with(1);
    (1..=3).for_each(|number| plan.note_sent(0, None, 2 * SIZE * number));
    let records = |plan: &Plan<()>| -> Vec<(u64, u64)> {
        let all = (0..8 * SIZE).flat_map(|from| (0..8 * SIZE).map(move |end| (from, end)));
        all.filter(|(from, end)| plan.is_record(0, within(*from), *end)).collect()
    };
    assert_eq!(records(&plan), [(0, 2 * SIZE), (2 * SIZE, 4 * SIZE), (4 * SIZE, 6 * SIZE)]);
    plan.note_released(0, 3 * SIZE);
    assert_eq!(records(&plan), [(2 * SIZE, 4 * SIZE), (4 * SIZE, 6 * SIZE)]);
    assert!(!plan.is_record(1, within(0), 0), "of a slot that nobody knows of yet");
}

#[test]
fn the_only_slot_is_known_without_a_look_at_others_as_long_as_it_is_open() {
    let mut plan = Plan::new(3);
    plan.add_slot();
    plan.set_worker(0, true);
    let known = |plan: &Plan<()>| {
        [To::MostRoom, To::RoundRobin, To::Key(7)].map(|to| {
            let first = plan.first_in_turn(to);
            assert!(first.is_none() || first == plan.choose(to, |_| true), "{to:?} goes elsewhere");
            first
        })
    };
    assert_eq!(known(&plan), [Some(0); 3]);
    plan.set_worker(0, false);
    assert_eq!(known(&plan), [None; 3]);
    plan.set_worker(0, true);
    (1..=3).for_each(|number| plan.note_sent(0, Some(7), number * SIZE));
    assert_eq!(known(&plan), [None; 3], "it has as many as it may");
    plan.note_released(0, SIZE);
    assert_eq!(known(&plan), [Some(0); 3]);
    plan.take_back(0, [(2 * SIZE, ())]);
    assert_eq!(known(&plan), [None; 3], "before what was taken back");
    // Of several, only where each has its turn.
    let plan = plan_with(2);
    assert_eq!([To::MostRoom, To::RoundRobin, To::Key(7)].map(|to| plan.first_in_turn(to)), [None, Some(0), None]);
}
