//! Records that are read in one loop: `drain` and `receive_each`.

use super::join;
use crate::consumer::{ReceiveError, Record};
use crate::frame::Start;
use crate::lane::LaneOptions;
use crate::producer::Producer;

#[test]
fn a_drain_hands_over_what_was_published_when_it_began() {
    let mut producer = Producer::create_at(&LaneOptions::new("drain").capacity(4096), 0).unwrap();
    let mut attached = join(&producer, Start::Latest, false);
    (0..3u8).for_each(|n| producer.send(&[n]).unwrap());
    let mut seen = Vec::new();
    let drained = attached.consumer.drain(|record| {
        seen.push(record[0]);
        assert!(seen.len() < 1000, "a drain that does not end while records come");
        producer.send(&[9]).unwrap();
    });
    assert_eq!((drained.unwrap(), &seen[..]), (Some(3), &[0, 1, 2][..]));
    producer.finish();
    assert_eq!(attached.consumer.drain(|record| assert_eq!(record[0], 9)).unwrap(), Some(3));
    assert_eq!(attached.consumer.drain(|_| ()).unwrap(), None);
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
            attached.consumer.receive_each(|record| {
                seen.push(record[0]);
                assert!(record[0] != fails_at, "as the test asks for");
            })
        }));
        assert!(panicked.is_err());
        assert_eq!(seen.len(), usize::from(fails_at) + 1);
        let rest = attached.consumer.drain(|record| seen.push(record[0]));
        assert!(rest.is_ok() || matches!(rest, Err(ReceiveError::Empty)), "{rest:?}");
        assert!(seen.iter().copied().eq(0..RECORDS), "{seen:?} after record {fails_at} had failed");
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
                0 => attached.consumer.drain(&mut each).unwrap(),
                _ => attached.consumer.receive_each(&mut each).unwrap(),
            };
            assert!(drained.unwrap() > 0);
        }
        producer.finish();
        while attached.consumer.receive_each(|record| received = record.tag() + 1).unwrap().is_some() {}
        assert_eq!(received, sent, "all of them");
    }
}

#[test]
fn a_long_run_gives_back_on_its_way() {
    let mut producer = Producer::create_at(&LaneOptions::new("runs").capacity(4096), 0).unwrap();
    let mut attached = join(&producer, Start::Latest, true);
    while producer.try_send(&[0; 56]).is_ok() {}
    let (mut seen, mut relieved) = (0, None);
    let drained = attached.consumer.receive_each(|_| {
        seen += 1;
        if relieved.is_none() && producer.try_send(&[1; 56]).is_ok() {
            relieved = Some(seen);
        }
    });
    assert_eq!(drained.unwrap(), Some(64));
    assert!(relieved.is_some_and(|seen| seen <= 4096 / 64 / 4), "after {relieved:?} of 64");
}
