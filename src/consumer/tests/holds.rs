//! Records that are kept: what they hold, and when that ends.

use super::{Attached, join};
use crate::consumer::{OwnedRecord, ReceiveError};
use crate::deadline::Deadline;
use crate::lane::LaneOptions;
use crate::layout::CONSUMED_LEFT_BIT;
use crate::memory::SeatMap;
use crate::producer::{Producer, SendError};
use crate::region::testing::in_forked_child;
use crate::ring::{LaneWords, SeatCounters, SeatWords};
use crate::sync::Ordering::Relaxed;
use crate::terms::Start;
use crate::test_support::{DEADLINE, wait_until};
use std::time::Duration;

/// Records of this length take 64 bytes, of which the ring holds 64.
const LEN: usize = 56;
const SIZE: u64 = 64;

fn lane() -> Producer {
    Producer::create_at(&LaneOptions::new("holds").capacity(4096), 0).unwrap()
}

fn send(producer: &mut Producer, records: u8) {
    (0..records).for_each(|n| producer.send(&[n; LEN]).unwrap());
}

/// Receives and keeps `records` records.
fn keep(attached: &mut Attached, records: usize) -> Vec<OwnedRecord> {
    (0..records).map(|_| attached.consumer.receive().unwrap().unwrap().into_owned()).collect()
}

/// `consumed` and `read`, in records.
fn words(seat: &SeatMap) -> [u64; 2] {
    [seat.consumed(), seat.read()].map(|word| word.load(Relaxed) / SIZE)
}

#[test]
fn owned_records_can_be_sent_and_shared() {
    fn is_sendable<T: Send + Sync + 'static>() {}
    is_sendable::<OwnedRecord>();
}

#[test]
fn what_a_worker_has_in_hand_is_read_and_not_released_held_or_not() {
    let mut producer = lane();
    let mut attached = join(&producer, Start::Latest, false);
    send(&mut producer, 5);
    let found = |attached: &mut Attached| attached.consumer.find_work(Deadline::Now).unwrap().unwrap();
    found(&mut attached);
    assert_eq!(words(&attached.seat), [0, 1]);
    found(&mut attached);
    assert_eq!(words(&attached.seat), [1, 2], "the one before is done with");
    let third = found(&mut attached);
    let in_hand = attached.consumer.keep_in_hand(third).unwrap();
    assert_eq!((words(&attached.seat), in_hand.payload()), ([2, 3], &[2; LEN][..]));
    found(&mut attached);
    assert_eq!(words(&attached.seat), [2, 4], "the third one is kept in hand");
    in_hand.end();
    assert_eq!(words(&attached.seat), [3, 4], "the fourth one still is in hand");
    attached.consumer.release();
    assert_eq!(words(&attached.seat), [4, 4]);
    let last = found(&mut attached);
    drop(attached.consumer.keep_in_hand(last).unwrap());
    attached.consumer.release();
    assert_eq!(words(&attached.seat), [4, 5], "what never ends is never released");
    drop(attached.consumer);
    assert_eq!(words(&attached.seat), [4, 5], "and its consumer never leaves in order");
}

/// When a worker keeps what it has in hand for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Keeps {
    /// Before and after it holds it as any consumer does.
    First,
    Last,
    /// It takes it as a task instead.
    AsTask,
}

/// A worker that keeps a record in place and panics with it in hand has two holds of it, which end apart; the same with
/// a task in place of the second hold.
#[test]
fn a_record_in_hand_behind_padding_is_held_from_the_padding_on() {
    // Records of 96 bytes: the 43rd lies behind padding.
    let (size, first) = (96, 4096 / 96);
    for keeps in [Keeps::First, Keeps::Last, Keeps::AsTask] {
        let mut producer = lane();
        let mut attached = join(&producer, Start::Latest, true);
        let seat_words = |seat: &SeatMap| [seat.consumed(), seat.read()].map(|word| word.load(Relaxed));
        for _ in 0..first {
            producer.send(&[0; 88]).unwrap();
            attached.consumer.find_work(Deadline::Now).unwrap().unwrap();
            attached.consumer.release();
        }
        producer.send(&[1; 88]).unwrap();
        let found = attached.consumer.find_work(Deadline::Now).unwrap().unwrap();
        assert_eq!((found.from, found.position), (size * first, 4096));
        if keeps == Keeps::First {
            attached.consumer.keep_for_good();
        }
        let kept = attached.consumer.record(found).unwrap().into_owned();
        match keeps {
            Keeps::First => {}
            Keeps::Last => attached.consumer.keep_for_good(),
            Keeps::AsTask => {
                let task = attached.consumer.keep_in_hand(found).unwrap();
                assert_eq!((task.payload(), task.payload().as_ptr()), (&[1; 88][..], kept.as_ptr()), "in the ring");
            }
        }
        attached.consumer.release();
        assert_eq!(seat_words(&attached.seat), [size * first, 4096 + size], "what is in hand, with its padding");
        drop(attached.consumer);
        drop(kept);
        assert_eq!(seat_words(&attached.seat), [size * first, 4096 + size], "it stays in hand");
    }
}

#[test]
fn what_is_in_hand_in_place_stays_while_the_ring_fills_and_after_its_consumer_was_dropped() {
    let mut producer = lane();
    let mut attached = join(&producer, Start::Latest, true);
    send(&mut producer, 1);
    let found = attached.consumer.find_work(Deadline::Now).unwrap().unwrap();
    let in_hand = attached.consumer.keep_in_hand(found).unwrap();
    let mut sent = 1;
    while producer.try_send(&[sent; LEN]).is_ok() {
        sent += 1;
        attached.consumer.find_work(Deadline::Now).unwrap().unwrap();
        attached.consumer.release();
    }
    assert_eq!((sent, words(&attached.seat), in_hand.payload()), (64, [0, 64], &[0; LEN][..]));
    drop(attached.consumer);
    assert!(producer.try_send(&[sent; LEN]).is_err(), "it still holds the ring back");
    assert_eq!(in_hand.payload(), [0; LEN]);
    in_hand.end();
    producer.try_send(&[sent; LEN]).unwrap();
}

#[test]
fn what_is_taken_in_hand_counts_as_read_for_tools() {
    let mut producer = lane();
    let mut attached = join(&producer, Start::Latest, false);
    send(&mut producer, 2);
    let found = attached.consumer.find_work(Deadline::Now).unwrap().unwrap();
    let first = attached.consumer.keep_in_hand(found).unwrap();
    assert_eq!(attached.seat.counters(), SeatCounters { records: 1, record_bytes: SIZE, missed_bytes: 0 });
    let found = attached.consumer.find_work(Deadline::Now).unwrap().unwrap();
    let second = attached.consumer.keep_in_hand(found).unwrap();
    assert_eq!(attached.seat.counters(), SeatCounters { records: 2, record_bytes: 2 * SIZE, missed_bytes: 0 });
    [first, second].into_iter().for_each(|in_hand| in_hand.end());
}

#[test]
fn what_is_done_in_hand_is_counted_and_no_other_hold() {
    let mut producer = lane();
    let mut attached = join(&producer, Start::Latest, true);
    send(&mut producer, 2);
    let kept = keep(&mut attached, 1);
    let found = attached.consumer.find_work(Deadline::Now).unwrap().unwrap();
    // From here on the one before it is in the books, too.
    let in_hand = attached.consumer.keep_in_hand(found).unwrap();
    drop(kept);
    assert_eq!((words(&attached.seat), attached.consumer.records_done()), ([1, 2], 0));
    in_hand.end();
    assert_eq!((words(&attached.seat), attached.consumer.records_done()), ([2, 2], 1));
}

#[test]
fn what_is_held_is_not_released_and_holds_end_in_any_order() {
    let mut producer = lane();
    let mut attached = join(&producer, Start::Latest, true);
    send(&mut producer, 6);
    let mut kept: Vec<_> = keep(&mut attached, 4).into_iter().map(Some).collect();
    assert_eq!(words(&attached.seat), [0, 4], "the producer sees that they are held");
    assert_eq!(attached.consumer.try_receive_many(|_| ()), Ok(2));
    assert_eq!(words(&attached.seat), [0, 6]);
    // Of 0 to 3 in this order: nothing is released before the oldest.
    for (ends, released) in [(2, 0), (0, 1), (3, 1), (1, 6)] {
        let record = kept[ends].take().unwrap();
        assert_eq!(record[..], [ends as u8; LEN]);
        drop(record);
        assert_eq!(words(&attached.seat), [released, 6], "after {ends}");
    }
    send(&mut producer, 9);
    assert_eq!(attached.consumer.try_receive_many(|_| ()), Ok(9));
    assert_eq!(words(&attached.seat), [15, 15], "as if nothing had been held");
}

#[test]
fn a_hold_releases_no_more_than_was_released_but_for_it() {
    let mut producer = lane();
    let mut attached = join(&producer, Start::Latest, true);
    send(&mut producer, 3);
    let kept = keep(&mut attached, 1);
    let record = attached.consumer.receive().unwrap().unwrap();
    drop(kept);
    assert_eq!((words(&attached.seat), record[0]), ([0, 1], 1), "the record that is out");
    attached.consumer.release();
    assert_eq!(words(&attached.seat), [2, 2]);
    // The same where a release came between.
    let kept = keep(&mut attached, 1);
    attached.consumer.release();
    send(&mut producer, 2);
    attached.consumer.receive().unwrap().unwrap();
    let record = attached.consumer.receive().unwrap().unwrap();
    drop(kept);
    assert_eq!((words(&attached.seat), record[0]), ([3, 3], 1), "what was done with before the last release");
    attached.consumer.release();
    assert_eq!(words(&attached.seat), [5, 5]);
}

#[test]
fn more_records_are_held_than_there_are_slots_and_end_in_any_order() {
    let mut producer = lane();
    let mut attached = join(&producer, Start::Latest, true);
    send(&mut producer, 64);
    let first = attached.consumer.receive().unwrap().unwrap();
    // Several of the first one find no slot.
    let mut kept: Vec<_> = (0..5).map(|_| first.hold()).collect();
    kept.extend(keep(&mut attached, 63));
    assert_eq!((words(&attached.seat), attached.consumer.held_bytes()), ([0, 64], 4096));
    let releases = kept.split_off(34);
    // Half of them before a release, and the others after it.
    drop(releases);
    assert_eq!((words(&attached.seat), attached.consumer.held_bytes()), ([0, 64], 4096));
    attached.consumer.release();
    assert_eq!(words(&attached.seat), [0, 64]);
    let youngest = kept.pop().unwrap();
    drop(kept.drain(1..));
    assert_eq!(words(&attached.seat), [0, 64]);
    drop(kept);
    assert_eq!((words(&attached.seat), attached.consumer.held_bytes()), ([29, 64], 35 * SIZE));
    drop(youngest);
    assert_eq!((words(&attached.seat), attached.consumer.held_bytes()), ([64, 64], 0));
}

#[test]
fn the_oldest_of_those_that_no_release_has_seen_counts_too() {
    let mut producer = lane();
    let mut attached = join(&producer, Start::Latest, true);
    send(&mut producer, 4);
    let kept = keep(&mut attached, 3);
    assert_eq!(attached.consumer.held_bytes(), 3 * SIZE);
    attached.consumer.release();
    let last = keep(&mut attached, 1);
    assert_eq!(attached.consumer.held_bytes(), 4 * SIZE);
    drop(kept);
    assert_eq!((words(&attached.seat), attached.consumer.held_bytes()), ([3, 4], SIZE));
    drop(last);
    assert_eq!(attached.consumer.held_bytes(), 0);
}

#[test]
fn a_release_that_a_hold_keeps_back_wakes_nobody() {
    let mut producer = lane();
    let mut attached = join(&producer, Start::Latest, true);
    send(&mut producer, 3);
    attached.consumer.receive().unwrap().unwrap();
    attached.consumer.release();
    let seq = |attached: &Attached| attached.seat.space_seq().load(Relaxed);
    assert_eq!((words(&attached.seat), seq(&attached)), ([1, 1], 1));
    let kept = keep(&mut attached, 2);
    attached.consumer.release();
    assert_eq!((words(&attached.seat), seq(&attached)), ([1, 3], 1));
    drop(kept);
    assert_eq!((words(&attached.seat), seq(&attached)), ([3, 3], 3), "once for each of the two");
}

#[test]
fn two_holds_of_one_record_both_count() {
    let mut producer = lane();
    let mut attached = join(&producer, Start::Latest, true);
    send(&mut producer, 2);
    let record = attached.consumer.receive().unwrap().unwrap();
    let (first, second) = (record.hold(), record.into_owned());
    attached.consumer.release();
    drop(first);
    assert_eq!((words(&attached.seat), attached.consumer.held_bytes()), ([0, 1], SIZE));
    drop(second);
    assert_eq!((words(&attached.seat), attached.consumer.held_bytes()), ([1, 1], 0));
}

#[test]
fn a_copy_holds_nothing_and_stays_what_it_is() {
    let mut producer = lane();
    let mut attached = join(&producer, Start::Latest, false);
    send(&mut producer, 2);
    let kept = keep(&mut attached, 2);
    attached.consumer.release();
    assert_eq!((words(&attached.seat), attached.consumer.held_bytes()), ([2, 2], 0));
    (0..4).for_each(|_| {
        send(&mut producer, 64);
        assert_eq!(attached.consumer.try_receive_many(|_| ()), Ok(64));
    });
    assert!(kept.iter().enumerate().all(|(n, record)| record[..] == [n as u8; LEN] && !record.is_held()));
    assert_eq!(format!("{:?}", kept[0]), format!("OwnedRecord {{ payload: {:?}, tag: 0, position: 0 }}", [0; LEN]));
}

#[test]
fn a_consumer_that_was_dropped_leaves_when_its_last_hold_ends() {
    for panics in [false, true] {
        let mut producer = lane();
        let mut attached = join(&producer, Start::Latest, true);
        send(&mut producer, 4);
        let mut kept = keep(&mut attached, 2);
        attached.consumer.release();
        let Attached { mut consumer, seat, .. } = attached;
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
            consumer.receive().unwrap().unwrap();
            assert!(!panics, "as the test asks for");
        }));
        assert_eq!(outcome.is_err(), panics);
        assert_eq!((words(&seat), producer.consumer_count()), ([0, 4], 1), "four were published, and are due");
        assert!(matches!(producer.wait_released(SIZE, Duration::ZERO), Err(SendError::TimedOut { .. })));
        drop(kept.remove(0));
        assert_eq!((words(&seat), producer.consumer_count()), ([1, 4], 1));
        assert_eq!(kept[0][..], [1; LEN]);
        drop(kept);
        let released = if panics { 2 } else { 3 };
        let consumed = seat.consumed().load(Relaxed);
        assert_eq!(consumed, (released * SIZE) | CONSUMED_LEFT_BIT, "what a panic interrupted is not done with");
        assert_eq!(producer.consumer_count(), 0);
    }
}

#[test]
fn a_hold_outlives_its_producer_and_its_consumer_and_keeps_the_mapping() {
    let mut producer = lane();
    let mut attached = join(&producer, Start::Latest, true);
    send(&mut producer, 3);
    let kept = keep(&mut attached, 3);
    producer.finish();
    assert_eq!(attached.consumer.receive().map(|record| record.is_none()), Ok(true));
    drop(attached);
    let threads: Vec<_> = kept
        .into_iter()
        .enumerate()
        .map(|(n, record)| std::thread::spawn(move || assert_eq!(record[..], [n as u8; LEN])))
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

#[test]
fn a_sleeping_producer_is_woken_by_the_end_of_a_hold() {
    let mut producer = lane();
    let mut attached = join(&producer, Start::Latest, true);
    send(&mut producer, 64);
    let mut kept = keep(&mut attached, 2);
    assert_eq!(attached.consumer.try_receive_many(|_| ()), Ok(62));
    let map = std::sync::Arc::clone(&producer.owned_lane().map);
    let sender = std::thread::spawn(move || {
        producer.send_timeout(&[64; LEN], DEADLINE).unwrap();
        producer
    });
    wait_until("the producer sleeps", || map.space_wait().load(Relaxed) != 0);
    drop(kept.pop());
    assert_eq!(attached.consumer.try_receive().unwrap_err(), ReceiveError::Empty, "the older one is held");
    drop(kept);
    let producer = sender.join().unwrap();
    assert_eq!(attached.consumer.receive_timeout(DEADLINE).unwrap().unwrap()[..], [64; LEN]);
    assert_eq!(producer.published(), 65 * SIZE);
}

#[test]
fn a_producer_that_waits_for_what_is_held_says_so() {
    let mut producer = lane();
    let mut attached = join(&producer, Start::Latest, true);
    send(&mut producer, 64);
    let kept = keep(&mut attached, 1);
    let pid = producer.consumers()[0].pid.unwrap();
    let error = producer.try_send(&[0; LEN]).unwrap_err();
    let parts = |error: &SendError, begins: &str, holds: &str| {
        let text = error.to_string();
        assert!(text.starts_with(&format!("{begins}: process {pid} of user 0, attached ")), "{text}");
        assert!(text.contains(&format!(" ago, {holds}; it has released nothing for ")), "{text}");
    };
    let holds = "has not released 4096 bytes yet, and holds 64 of them in records that it has read";
    parts(&error, "the lane is full", holds);
    assert_eq!(attached.consumer.try_receive_many(|_| ()), Ok(63));
    let error = producer.send_timeout(&[0; LEN], Duration::ZERO).unwrap_err();
    let holds = "has read everything and holds 4096 bytes; it must drop the oldest record that it keeps";
    parts(&error, "the lane stayed full until the deadline", holds);
    let SendError::TimedOut { consumer: Some(consumer) } = error else { panic!("{error}") };
    assert_eq!((consumer.behind_bytes, consumer.held_bytes), (4096, 4096));
    drop(kept);
    producer.try_send(&[0; LEN]).unwrap();
    assert_eq!(producer.consumers()[0].held_bytes, 0);
}

#[test]
fn a_hold_that_a_forked_child_drops_stands() {
    let mut producer = lane();
    let mut attached = join(&producer, Start::Latest, true);
    send(&mut producer, 2);
    let mut kept = Some(keep(&mut attached, 1).remove(0));
    let seat = attached.seat.clone();
    assert!(in_forked_child(|| {
        drop(kept.take());
        attached.consumer.held_bytes() == 0
    }));
    attached.consumer.release();
    assert_eq!(words(&seat), [0, 1], "the parent's hold stands");
    assert_eq!(kept.take().unwrap()[..], [0; LEN]);
    assert_eq!(words(&seat), [1, 1]);
}

#[test]
fn records_in_a_run_can_be_held() {
    let mut producer = lane();
    let mut attached = join(&producer, Start::Latest, true);
    send(&mut producer, 64);
    let mut kept = Vec::new();
    let each = |record: &crate::Record<'_>| {
        if record[0] % 3 == 2 {
            kept.push(record.hold());
        }
    };
    assert_eq!(attached.consumer.receive_many(each), Ok(64));
    attached.consumer.release();
    assert_eq!((words(&attached.seat), kept.len()), ([2, 64], 21));
    while let Some(record) = kept.pop() {
        assert_eq!(record[..], [3 * kept.len() as u8 + 2; LEN]);
    }
    assert_eq!(words(&attached.seat), [64, 64]);
}
