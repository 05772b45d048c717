//! Producers that lie to a collector: in their answers, in their rings, with bells that never stop. Each ends its own
//! lane, and all others go on.

mod common;
#[path = "common/hostile.rs"]
mod hostile;
#[path = "common/impostor.rs"]
mod impostor;
#[path = "common/peer.rs"]
mod peer;
#[path = "common/stage.rs"]
mod stage;

use common::{DEADLINE, belongings, census, isolated, unique_name, wait_until};
use fdring::collect::{CollectorOptions, Event};
use fdring::errors::ReceiveError;
use fdring::options::{LaneOptions, ServerOptions, SessionListenerOptions, SessionOptions};
use hostile::*;
use impostor::{CAPACITY, Goods, data, offer, padding};
use rustix::net::Shutdown;
use std::collections::BTreeMap;
use std::sync::Barrier;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::{Relaxed, Release};
use std::time::Duration;

const HONEST: usize = 4;
const RECORDS: u64 = 20_000;

/// What is written into the ring once the collector is attached; each is found out.
const RING_LIES: [fn(&Goods); 14] = [
    |goods| goods.publish(CAPACITY + 8),
    |goods| goods.publish(1 << 63),
    |goods| goods.publish(12),
    // Nothing is there.
    |goods| goods.publish(16),
    |goods| publish_one(goods, 255 << 32),
    |goods| publish_one(goods, u64::MAX),
    |goods| publish_one(goods, data(9, 0)),
    |goods| publish_one(goods, data(u32::MAX, 0)),
    |goods| publish_one(goods, data(8, 0) | 1 << 40),
    |goods| publish_one(goods, padding(8)),
    |goods| {
        goods.put(0, padding(CAPACITY as u32 - 8));
        goods.publish(CAPACITY);
    },
    |goods| {
        goods.put(0, padding(CAPACITY as u32 - 8));
        goods.put(CAPACITY, data(9, 0));
        goods.publish(CAPACITY + 16);
    },
    |goods| set_state(goods, 0),
    |goods| set_state(goods, 77),
];

/// What is said once the collector is attached; each ends the session.
const SPOKEN_LIES: [fn(&Wire); 9] = [
    |wire| wire.send(&producer_hello()).unwrap(),
    |wire| wire.send(&attached(&[0])).unwrap(),
    |wire| wire.send(b"no frame").unwrap(),
    |wire| wire.send(&report(0)).unwrap(),
    |wire| wire.send(&evicted(7)).unwrap(),
    |wire| wire.send(&evicted(0)).unwrap(),
    |wire| wire.send(&offer(CAPACITY)).unwrap(),
    |wire| wire.send(&query(0)).unwrap(),
    |wire| wire.shutdown(Shutdown::Both),
];

/// What is answered to an Attach, so that the collector refuses.
const ANSWERS: [fn(&Wire); 7] = [
    |wire| wire.send(&attached(&[0, 0])).unwrap(),
    |wire| wire.send(&attached(&[4])).unwrap(),
    |wire| wire.send(&producer_hello()).unwrap(),
    |wire| wire.send(&refuse(3, "no")).unwrap(),
    |wire| wire.send(&bye(1)).unwrap(),
    |wire| wire.send(b"no frame").unwrap(),
    |wire| wire.shutdown(Shutdown::Both),
];

fn publish_one(goods: &Goods, word: u64) {
    goods.put(0, word);
    goods.publish(16);
}

fn set_state(goods: &Goods, state: u32) {
    goods.control_map.u32(STATE).store(state, Release);
    goods.ring();
}

/// A hand-made producer, up to the collector's Attach.
fn offers(address: &str) -> (Wire, Goods) {
    let (wire, goods) = (Wire::connect(address), Goods::new(CAPACITY));
    wire.expect(&[HELLO]);
    wire.send(&producer_hello()).unwrap();
    wire.send_fds(&offer(CAPACITY), &goods.fds()).unwrap();
    wire.expect(&[ATTACH]);
    (wire, goods)
}

/// The same, attached to.
fn attaches(address: &str) -> (Wire, Goods) {
    let (wire, goods) = offers(address);
    wire.send(&attached(&[0])).unwrap();
    (wire, goods)
}

/// How often each end came, by its kind; the lanes of the honest are checked on the way.
fn read(collector: &mut fdring::collect::Collector, ends: usize) -> BTreeMap<&'static str, usize> {
    let (mut counts, mut next) = (BTreeMap::new(), BTreeMap::new());
    while counts.values().sum::<usize>() < ends {
        let end = match collector.next_timeout(DEADLINE).unwrap() {
            Event::Joined(_) => continue,
            Event::Record(origin, record) => {
                assert_eq!(origin.lane().name, "honest", "a lie was handed out: {record:?}");
                let next = next.entry(origin.number()).or_insert(0_u64);
                assert_eq!(record[..], next.to_le_bytes());
                *next += 1;
                continue;
            }
            Event::Finished(origin) => {
                assert_eq!((origin.lane().name.as_str(), next[&origin.number()]), ("honest", RECORDS));
                "finished"
            }
            Event::Lost(origin, why) => {
                assert_eq!(origin.lane().name, "lane", "an honest lane is lost: {why}");
                if matches!(why, ReceiveError::Corrupt(_)) { "corrupt" } else { "lost" }
            }
            Event::Refused(_) => "refused",
            other => panic!("{other:?}"),
        };
        *counts.entry(end).or_default() += 1;
    }
    counts
}

#[test]
fn whatever_producers_do_ends_their_own_lanes_alone() {
    isolated("whatever_producers_do_ends_their_own_lanes_alone", || {
        let before = (census(), belongings());
        let address = format!("@{}", unique_name());
        let each = SessionOptions::new().deadline(DEADLINE);
        let listener = SessionListenerOptions::new().sessions(each);
        let mut collector = CollectorOptions::new().listener(listener).listen(&*address).unwrap();
        let liars = RING_LIES.len() + SPOKEN_LIES.len() + ANSWERS.len();
        let (is_over, heard) = (AtomicBool::new(false), Barrier::new(liars + 1));
        std::thread::scope(|scope| {
            for _ in 0..HONEST {
                scope.spawn(|| {
                    let mut lane = LaneOptions::new("honest").capacity(4096).create().unwrap();
                    let _link = ServerOptions::new().deadline(DEADLINE).connect(&*address, [&lane]).unwrap();
                    (0..RECORDS).for_each(|number| lane.send_timeout(&number.to_le_bytes(), DEADLINE).unwrap());
                });
            }
            // Each liar stays until all lies are heard, so that its own end is not mistaken for one.
            for lie in RING_LIES {
                let (address, heard) = (&address, &heard);
                scope.spawn(move || {
                    let (_wire, goods) = attaches(address);
                    lie(&goods);
                    heard.wait();
                });
            }
            for lie in SPOKEN_LIES {
                let (address, heard) = (&address, &heard);
                scope.spawn(move || {
                    let (wire, _goods) = attaches(address);
                    lie(&wire);
                    heard.wait();
                });
            }
            for answer in ANSWERS {
                let (address, heard) = (&address, &heard);
                scope.spawn(move || {
                    let (wire, _goods) = offers(address);
                    answer(&wire);
                    heard.wait();
                });
            }
            // One whose bell never stops, and whose lane is as it should be.
            scope.spawn(|| {
                let (_wire, goods) = attaches(&address);
                while !is_over.load(Relaxed) {
                    goods.ring();
                }
            });
            let counts = read(&mut collector, HONEST + liars);
            let expected = [
                ("corrupt", RING_LIES.len()),
                ("finished", HONEST),
                ("lost", SPOKEN_LIES.len()),
                ("refused", ANSWERS.len()),
            ];
            assert_eq!(counts, BTreeMap::from(expected));
            assert_eq!(collector.lane_count(), 1, "the one that rings");
            let quiet = Duration::from_millis(50);
            assert_eq!(collector.next_timeout(quiet).unwrap_err(), ReceiveError::TimedOut, "however often it rings");
            heard.wait();
            is_over.store(true, Relaxed);
        });
        drop(collector);
        wait_until("all threads have ended, and everything is closed", || (census(), belongings()) == before);
    });
}
