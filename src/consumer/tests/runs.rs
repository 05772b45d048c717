//! Records that are read in one loop: `try_receive_many` and `receive_many`.

use super::{Attached, join};
use crate::consumer::runs::{EQUAL, EqualRun};
use crate::consumer::{ReceiveError, Record};
use crate::fuzzing::plain::PlainSeat;
use crate::lane::LaneOptions;
use crate::layout::RecordHeader;
use crate::memory::tests::mapped_lane;
use crate::producer::Producer;
use crate::ring::cursor::Found;
use crate::ring::reader::Reader;
use crate::ring::{LaneWords, LaneWriter};
use crate::sync::Ordering::Relaxed;
use crate::terms::Start;
use proptest::prelude::{Just, Strategy, any, prop_oneof, proptest};
use std::ops::ControlFlow;
use std::sync::Arc;

#[test]
fn a_drain_hands_over_what_was_published_when_it_began() {
    let mut producer = Producer::create_at(&LaneOptions::new("drain").capacity(4096), 0).unwrap();
    let mut attached = join(&producer, Start::Latest, false);
    (0..3u8).for_each(|n| producer.send(&[n]).unwrap());
    let mut seen = Vec::new();
    let drained = attached.consumer.try_receive_many(|record| {
        seen.push(record[0]);
        assert!(seen.len() < 1000, "a drain that does not end while records come");
        producer.send(&[9]).unwrap();
    });
    assert_eq!((drained.unwrap(), &seen[..]), (3, &[0, 1, 2][..]));
    producer.finish();
    assert_eq!(attached.consumer.try_receive_many(|record| assert_eq!(record[0], 9)).unwrap(), 3);
    assert_eq!(attached.consumer.try_receive_many(|_| ()).unwrap(), 0);
}

#[test]
fn a_run_that_panics_counts_what_it_handed_over() {
    // Two runs of records that are looked at together, and some more.
    const RECORDS: u8 = 20;
    for (in_place, fails_at) in (0..RECORDS).flat_map(|index| [(false, index), (true, index)]) {
        let mut producer = Producer::create_at(&LaneOptions::new("runs").capacity(4096), 0).unwrap();
        let mut attached = join(&producer, Start::Latest, in_place);
        (0..RECORDS).for_each(|n| producer.send(&[n; 16]).unwrap());
        let mut seen = Vec::new();
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            attached.consumer.receive_many(|record| {
                seen.push(record[0]);
                assert!(record[0] != fails_at, "as the test asks for");
            })
        }));
        assert!(panicked.is_err());
        assert_eq!(seen.len(), usize::from(fails_at) + 1);
        let rest = attached.consumer.try_receive_many(|record| seen.push(record[0]));
        assert!(rest.is_ok() || matches!(rest, Err(ReceiveError::Empty)), "{rest:?}");
        assert!(seen.iter().copied().eq(0..RECORDS), "{seen:?} after record {fails_at} had failed");
    }
}

#[test]
fn a_closure_stops_or_fails_a_run_at_any_record_and_the_next_call_goes_on_after_it() {
    #[derive(Debug, PartialEq)]
    enum Failure {
        At(u8),
        Receive(ReceiveError),
    }
    impl From<ReceiveError> for Failure {
        fn from(error: ReceiveError) -> Self {
            Self::Receive(error)
        }
    }
    // Two runs of records that are looked at together, and some more.
    const RECORDS: u8 = 20;
    for (in_place, last) in (0..RECORDS).flat_map(|index| [(false, index), (true, index)]) {
        for (waits, fails) in [(false, false), (false, true), (true, false), (true, true)] {
            let mut producer = Producer::create_at(&LaneOptions::new("runs").capacity(4096), 0).unwrap();
            let Attached { mut consumer, _session, .. } = join(&producer, Start::Latest, in_place);
            (0..RECORDS).for_each(|n| producer.send(&[n; 16]).unwrap());
            let mut seen = Vec::new();
            if fails {
                let each = |record: &Record<'_>| -> Result<(), Failure> {
                    seen.push(record[0]);
                    if record[0] == last { Err(Failure::At(last)) } else { Ok(()) }
                };
                let outcome = if waits { consumer.receive_many(each) } else { consumer.try_receive_many(each) };
                assert_eq!(outcome, Err(Failure::At(last)));
            } else {
                let each = |record: &Record<'_>| {
                    seen.push(record[0]);
                    if record[0] == last { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
                };
                let outcome = if waits { consumer.receive_many(each) } else { consumer.try_receive_many(each) };
                assert_eq!(outcome, Ok(usize::from(last) + 1));
            }
            assert!(seen.iter().copied().eq(0..=last), "{seen:?} up to {last}");
            let rest = consumer.try_receive_many(|record| seen.push(record[0]));
            let expected = match RECORDS - 1 - last {
                0 => Err(ReceiveError::Empty),
                left => Ok(usize::from(left)),
            };
            assert_eq!(rest, expected);
            assert!(seen.iter().copied().eq(0..RECORDS), "{seen:?}");
            let nothing = consumer.try_receive_many(|_| Ok::<_, Failure>(()));
            assert_eq!(nothing, Err(Failure::Receive(ReceiveError::Empty)));
        }
    }
}

#[test]
fn records_read_in_runs_are_those_that_were_sent() {
    for in_place in [false, true] {
        let mut producer = Producer::create_at(&LaneOptions::new("runs").capacity(4096), 0).unwrap();
        let mut attached = join(&producer, Start::Latest, in_place);
        let (mut sent, mut received) = (0u16, 0u16);
        while received < 20_000 {
            // Lengths that neither divide the ring nor repeat with its laps, nine in a row alike; now and then it is
            // filled to the brim.
            for _ in 0..sent % 97 + 1 {
                let Ok(mut slot) = producer.try_reserve(usize::from(sent / 9 % 61)) else { break };
                slot.fill(sent as u8);
                slot.set_tag(sent);
                slot.commit();
                sent += 1;
            }
            let mut each = |record: &Record<'_>| {
                assert_eq!((record.tag(), record.len()), (received, usize::from(received / 9 % 61)));
                assert!(record.iter().all(|byte| *byte == received as u8));
                received += 1;
            };
            let drained = match sent % 2 {
                0 => attached.consumer.try_receive_many(&mut each).unwrap(),
                _ => attached.consumer.receive_many(&mut each).unwrap(),
            };
            assert!(drained > 0);
        }
        producer.finish();
        while attached.consumer.receive_many(|record| received = record.tag() + 1).unwrap() != 0 {}
        assert_eq!(received, sent, "all of them");
        assert_eq!(attached.seat.counters().records, sent.into());
    }
}

#[test]
fn a_long_run_gives_back_on_its_way() {
    let mut producer = Producer::create_at(&LaneOptions::new("runs").capacity(4096), 0).unwrap();
    let mut attached = join(&producer, Start::Latest, true);
    while producer.try_send(&[0; 56]).is_ok() {}
    let (mut seen, mut relieved) = (0, None);
    let drained = attached.consumer.receive_many(|_| {
        seen += 1;
        if relieved.is_none() && producer.try_send(&[1; 56]).is_ok() {
            relieved = Some(seen);
        }
    });
    assert_eq!(drained.unwrap(), 64);
    assert!(relieved.is_some_and(|seen| seen <= 4096 / 64 / 4), "after {relieved:?} of 64");
}

/// Header words of records without payload, few of them otherwise.
fn mostly_empty() -> impl Strategy<Value = u64> {
    let tag = any::<u16>().prop_map(|tag| RecordHeader::data(0, tag).to_word());
    let other =
        (0..30u64, 0..4u64, any::<u32>()).prop_map(|(len, kind, high)| u64::from(high) << 40 | kind << 32 | len);
    let with_descriptors = (1..=255u64).prop_map(|fds| RecordHeader::data(0, 0).to_word() | fds << 40);
    prop_oneof![24 => tag, 1 => other, 1 => with_descriptors, 1 => Just(RecordHeader::data(8, 0).to_word())]
}

proptest! {
    /// Eight are found together, and as many after them, exactly where one after the other would be found, all of one
    /// length.
    #[test]
    fn equal_records_are_those_found_one_by_one(
        words in proptest::collection::vec(mostly_empty(), 512),
        published in (0..512u64).prop_map(|records| 8 * records),
    ) {
        let mut lane = mapped_lane();
        words.iter().zip((0u64..).step_by(8)).for_each(|(word, position)| lane.set_header_word(position, *word));
        lane.lane().published().store(4096 + published, Relaxed);
        let mut reader = Reader::new(Arc::clone(lane.shared()), PlainSeat::default(), 4096);
        reader.refresh().unwrap();
        let (ring, mut cursor) = (lane.lane().ring(), reader.cursor());
        while cursor.next_in_view(&ring).is_some() {
            let (mut together, mut single, mut before) = (cursor, cursor, None);
            loop {
                let singles: Vec<Found> = (0..EQUAL).map_while(|_| single.next_in_view(&ring)).collect();
                let first_len = || singles.first().map(|found| found.len);
                let len = before.map_or_else(first_len, |run: EqualRun| Some(run.len.into()));
                let expected = singles.len() == EQUAL && singles.iter().all(|found| Some(found.len) == len);
                before = match before {
                    None => EqualRun::find(&together, ring),
                    Some(run) => run.next(&together, ring),
                };
                let Some(run) = before else {
                    assert!(!expected, "{singles:?} were not found together");
                    break;
                };
                assert!(expected, "{singles:?} were taken for equal");
                let payloads = (0..).map(|index| run.payload + index * u64::from(run.size));
                assert!(singles.iter().map(|found| found.payload).zip(payloads).all(|(one, other)| one == other));
                assert!(run.words.into_iter().map(|word| run.take(&mut together, word)).eq(singles));
            }
        }
    }
}
