//! Consumers that are evicted while they read: they learn how much they missed, and get nothing that was overwritten.

use super::{Attached, join};
use crate::Consumer;
use crate::consumer::ReceiveError;
use crate::lane::LaneOptions;
use crate::layout::RecordHeader;
use crate::producer::Producer;
use crate::ring::cursor::{Found, Polled};
use crate::session::server::Server;
use crate::terms::Start;
use std::sync::Arc;
use std::time::Duration;

/// The number of the seat that holds a full lane back.
fn gate_of(producer: &mut Producer) -> u64 {
    let published = producer.published();
    let (_, gate) = producer.owned_lane().roster.refresh(&*producer.owned_lane().map, published, published);
    gate.unwrap().seat_id
}

#[test]
fn an_evicted_copier_says_how_much_it_missed_and_not_that_the_lane_is_corrupt() {
    let mut producer = Producer::create_at(&LaneOptions::new("evicting").capacity(4096), 0).unwrap();
    let mut attached = join(&producer, Start::Latest, false);
    producer.send(&[1; 56]).unwrap();
    producer.send(&[2; 56]).unwrap();
    assert_eq!(attached.consumer.receive().unwrap().unwrap()[..], [1; 56]);
    let lane = Arc::clone(producer.owned_lane());
    lane.roster.evict(&*lane.map, gate_of(&mut producer));
    assert_eq!(attached.consumer.receive().unwrap().unwrap()[..], [2; 56], "what is still whole may be read");
    for n in 0..100u8 {
        producer.send(&[n; 56]).unwrap();
    }
    for n in 0..3u8 {
        let error = attached.consumer.receive().unwrap_err();
        assert!(matches!(error, ReceiveError::Evicted { missed_bytes: 6400 }), "{error}");
        // The lane goes on, and what is said of the eviction stays.
        producer.send(&[n; 56]).unwrap();
    }
}

#[test]
fn a_copy_that_was_overwritten_meanwhile_is_never_handed_out() {
    type Copy = fn(&mut Consumer, Found) -> Result<(), ReceiveError>;
    let copies: [Copy; 3] = [
        |consumer, found| consumer.record(found).map(drop),
        |consumer, found| consumer.words::<3>(found, 0).map(drop),
        |consumer, found| consumer.chunks::<2>(found, 24).map(drop).ok_or_else(|| consumer.stopped()),
    ];
    for copy in copies {
        let mut producer = Producer::create_at(&LaneOptions::new("overwritten").capacity(4096), 0).unwrap();
        let Attached { mut consumer, .. } = join(&producer, Start::Latest, false);
        producer.send(&[1; 56]).unwrap();
        let Ok(Polled::Found(found)) = consumer.poll() else { panic!("it is there") };
        let lane = Arc::clone(producer.owned_lane());
        let seat_id = gate_of(&mut producer);
        lane.roster.evict(&*lane.map, seat_id);
        for _ in 0..64 {
            producer.send(&[2; 56]).unwrap();
        }
        let error = copy(&mut consumer, found).unwrap_err();
        assert!(matches!(error, ReceiveError::Evicted { missed_bytes: 4160 }), "{error}");
    }
}

#[test]
fn padding_that_an_evicted_copier_finds_in_a_later_payload_skips_nothing_unseen() {
    let mut producer = Producer::create_at(&LaneOptions::new("forged").capacity(4096), 1280).unwrap();
    let Attached { mut consumer, .. } = join(&producer, Start::Latest, false);
    // A whole ring, of which the consumer sees all and reads two records.
    (0..64u8).for_each(|n| producer.send(&[n; 56]).unwrap());
    assert_eq!(consumer.receive().unwrap().unwrap()[..], [0; 56]);
    assert_eq!(consumer.receive().unwrap().unwrap()[..], [1; 56]);
    let (lane, seat_id) = (Arc::clone(producer.owned_lane()), gate_of(&mut producer));
    lane.roster.evict(&*lane.map, seat_id);
    // The header of the third is now padding up to the end of the ring; the old record behind it is still intact.
    let mut slot = producer.reserve(1000).unwrap();
    slot[120..128].copy_from_slice(&RecordHeader::padding(4096 - 1408).to_word().to_le_bytes());
    slot.commit();
    let error = consumer.receive().unwrap_err();
    assert!(matches!(error, ReceiveError::Evicted { missed_bytes: 4976 }), "{error}");
}

#[test]
fn a_consumer_that_is_evicted_while_it_has_nothing_to_read_is_told() {
    let mut producer = LaneOptions::new("evicted").capacity(4096).create().unwrap();
    let address = format!("@{}", crate::test_support::unique_name());
    let server = Server::listen(&*address, &[&producer]).unwrap();
    let mut consumer = Consumer::connect(&*address).unwrap();
    let lane = Arc::clone(producer.owned_lane());
    let seat_id = gate_of(&mut producer);
    lane.roster.evict(&*lane.map, seat_id);
    let error = consumer.receive_timeout(Duration::from_secs(10)).unwrap_err();
    assert!(matches!(error, ReceiveError::Evicted { missed_bytes: 0 }), "{error}");
    crate::test_support::wait_until("it is counted", || server.stats().evicted == 1);
}

#[test]
fn one_evicted_in_a_run_stands_where_it_stopped_reading() {
    let mut producer = Producer::create_at(&LaneOptions::new("runs").capacity(4096), 0).unwrap();
    let Attached { mut consumer, .. } = join(&producer, Start::Latest, false);
    (0..64u8).for_each(|n| producer.send(&[n; 56]).unwrap());
    let (lane, seat_id) = (Arc::clone(producer.owned_lane()), gate_of(&mut producer));
    let mut seen = 0u64;
    let outcome = consumer.receive_many(|_| {
        seen += 1;
        if seen == 4 {
            lane.roster.evict(&*lane.map, seat_id);
            // At the beginning of the fifth there is now something that looks like a record.
            let mut slot = producer.reserve(400).unwrap();
            slot[248..256].copy_from_slice(&RecordHeader::data(56, 0).to_word().to_le_bytes());
            slot.commit();
        }
    });
    let missed = |outcome: Result<_, ReceiveError>| match outcome.unwrap_err() {
        ReceiveError::Evicted { missed_bytes } => missed_bytes,
        error => panic!("{error}"),
    };
    let expected = 4096 + 408 - 64 * seen;
    assert_eq!((missed(outcome.map(|_| ())), seen), (expected, 4));
    assert_eq!(consumer.position(), 64 * seen);
    assert_eq!(missed(consumer.receive().map(|_| ())), expected, "said again");
    assert_eq!(missed(consumer.try_receive_many(|_| ()).map(|_| ())), expected, "and again");
    assert_eq!(consumer.position(), 64 * seen);
}
