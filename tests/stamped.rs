//! Lanes whose records have times: every way to send one, every way to receive it, across processes, and after a death.
#![allow(unsafe_code, reason = "a promise about this program's own producer")]

mod common;
#[path = "common/lanes.rs"]
mod lanes;
#[path = "common/peer.rs"]
mod peer;

use common::{DEADLINE, role, unique_name};
#[cfg(feature = "crash-points")]
use fdring::errors::ReceiveError;
use fdring::info::MonotonicTime;
use fdring::options::{LaneOptions, Records};
use fdring::typed::{Layout, TypedConsumer, TypedProducer};
use fdring::{Consumer, Producer, Server, Tap};
use lanes::{attach, serve};
use peer::{Peer, argument, say, told};
use std::io::Write;

fn stamped() -> (Producer, Server, String) {
    serve(LaneOptions::new("lane").capacity(8192).stamped(true).create().unwrap())
}

/// The times of all records that are there.
fn times(consumer: &mut Consumer) -> Vec<MonotonicTime> {
    let mut times = Vec::new();
    consumer.try_receive_many(|record| times.push(record.published_at().expect("a time"))).unwrap();
    times
}

/// A way to send: what it is called, how many records it publishes, and how.
type Way = (&'static str, usize, fn(&mut Producer));

#[test]
fn records_that_are_published_together_have_one_time_whichever_way_they_were_sent() {
    for trusts in [false, true] {
        let (mut producer, _server, address) = stamped();
        let (mut consumer, mut tap) = (attach(&address, trusts), Tap::connect(&*address).unwrap());
        let ways: [Way; 9] = [
            ("send", 1, |lane| lane.send(b"alone").unwrap()),
            ("fill", 1, |lane| lane.fill(100, |bytes| bytes.fill(7)).unwrap()),
            ("writer", 1, |lane| {
                let mut writer = lane.reserve(100).unwrap().writer();
                writer.write_all(b"short").unwrap();
                writer.commit();
            }),
            ("batch", 3, |lane| {
                let mut batch = lane.batch().unwrap();
                (0..3).for_each(|tag| batch.send_tagged(b"one of three", tag).unwrap());
                batch.commit();
            }),
            ("fill_many", 20, |lane| {
                let mut batch = lane.batch().unwrap();
                batch.fill_many(Records { count: 20, len: 24 }, |index, bytes| bytes.fill(index as u8)).unwrap();
                batch.commit();
            }),
            ("fill_many between others", 4, |lane| {
                let mut batch = lane.batch().unwrap();
                batch.send(b"before").unwrap();
                batch.fill_many(Records { count: 2, len: 24 }, |index, bytes| bytes.fill(index as u8)).unwrap();
                batch.send(b"after").unwrap();
                batch.commit();
            }),
            ("window", 2, |lane| {
                let mut window = lane.reserve_window(&[64, 8, 64]).unwrap();
                window.slots().remove(1).discard();
                window.commit();
            }),
            ("send again", 1, |lane| lane.send(&[]).unwrap()),
            ("half of the ring", 1, |lane| lane.send(&[1; 4080]).unwrap()),
        ];
        let mut last = MonotonicTime::from_nanos(0);
        for (way, records, send) in ways.iter().cycle().take(45) {
            let begun = MonotonicTime::now();
            send(&mut producer);
            let done = MonotonicTime::now();
            let received = times(&mut consumer);
            assert_eq!(received, vec![received[0]; *records], "{way}, in place: {trusts}");
            assert!(last <= received[0] && begun <= received[0] && received[0] <= done, "{way}, in place: {trusts}");
            let mut tapped = Vec::new();
            tap.try_receive_many(|record| tapped.push(record.published_at().unwrap())).unwrap();
            assert_eq!(tapped, received, "{way}");
            last = received[0];
        }
    }
}

#[test]
fn a_batch_that_is_longer_than_the_ring_has_a_time_for_each_publication() {
    let (mut producer, _server, _) = stamped();
    // Nobody reads, so that the ring is never full; but what is committed is published with the batch, or not at all.
    let mut batch = producer.batch().unwrap();
    batch.send(b"dropped").unwrap();
    drop(batch);
    let address = format!("@{}", unique_name());
    let _other = Server::listen(&*address, [&producer]).unwrap();
    let mut consumer = attach(&address, false);
    let reader = std::thread::spawn(move || {
        let mut times = Vec::new();
        while let Some(record) = consumer.receive().unwrap() {
            times.push(record.published_at().unwrap());
        }
        times
    });
    let begun = MonotonicTime::now();
    let mut batch = producer.batch().unwrap();
    (0..1000).for_each(|_| batch.send(&[1; 100]).unwrap());
    batch.commit();
    producer.finish();
    let mut times = reader.join().unwrap();
    assert!(times.len() == 1000 && times.is_sorted() && begun <= times[0]);
    times.dedup();
    assert!(times.len() > 1, "published in parts, each with its own time");
}

#[test]
fn every_kind_of_record_has_the_time() {
    let layout = Layout::of::<u64>();
    let options = LaneOptions::new("numbers").values(layout).stamped(true);
    let mut numbers = TypedProducer::<u64>::new(options.create().unwrap(), layout).unwrap();
    let address = format!("@{}", unique_name());
    let _server = Server::listen(&*address, [numbers.untyped()]).unwrap();
    let mut tap = Tap::connect(&*address).unwrap();
    for trusts in [false, true] {
        let mut consumer = TypedConsumer::<u64>::new(attach(&address, trusts), layout).unwrap();
        numbers.send(&17).unwrap();
        let time = tap.receive().unwrap().unwrap().published_at().unwrap();
        numbers.send(&18).unwrap();
        assert_eq!(consumer.receive().unwrap().unwrap().published_at(), Some(time));
        let owned = consumer.untyped_mut().receive().unwrap().unwrap().into_owned();
        let newest = tap.receive_newest().unwrap().unwrap();
        assert!(time <= owned.published_at().unwrap() && owned.is_held() == trusts);
        assert_eq!(newest.published_at(), owned.published_at());
        assert_eq!(newest.into_owned().published_at(), owned.published_at());
        drop(consumer);
        assert!(owned.published_at().is_some(), "after its consumer");
    }
}

#[test]
fn lanes_without_times_have_none_and_those_with_them_align_payloads_to_16() {
    let mut plain = Producer::create("plain").unwrap();
    let address = format!("@{}", unique_name());
    let _server = Server::listen(&*address, [&plain]).unwrap();
    let (mut consumer, mut tap) = (attach(&address, true), Tap::connect(&*address).unwrap());
    plain.send(&[0xff; 64]).unwrap();
    let record = consumer.receive().unwrap().unwrap();
    assert!(record.published_at().is_none() && record.into_owned().published_at().is_none());
    assert!(tap.receive().unwrap().unwrap().published_at().is_none());
    assert!(!consumer.lane().is_stamped && !plain.lane().is_stamped);

    for (record_align, payload_align, expected) in
        [(8, 8, (16, 16)), (64, 8, (64, 16)), (8, 64, (64, 64)), (4096, 4096, (4096, 4096))]
    {
        let options = LaneOptions::new("lane").record_align(record_align).payload_align(payload_align);
        let lane = options.stamped(true).create().unwrap();
        assert_eq!((lane.lane().record_align, lane.lane().payload_align), expected);
        assert!(lane.lane().is_stamped);
    }
    for (record_align, payload_align) in [(12, 8), (8, 12), (8, 0)] {
        let options = LaneOptions::new("lane").record_align(record_align).payload_align(payload_align);
        assert!(options.stamped(true).create().is_err(), "raised where it is invalid");
    }
}

/// In a process that was started to play a role: sends a record whenever it is told to, and says when.
fn plays_a_role() -> bool {
    if role().as_deref() != Some("producer") {
        return false;
    }
    let mut producer = LaneOptions::new("lane").capacity(8192).stamped(true).create().unwrap();
    let _server = Server::listen(argument(), [&producer]).unwrap();
    say("listening");
    while told() == "send" {
        let begun = MonotonicTime::now();
        producer.send(b"from another process").unwrap();
        say(&format!("{} {}", begun.as_nanos(), MonotonicTime::now().as_nanos()));
    }
    true
}

#[test]
fn the_time_of_another_process_is_that_of_this_one() {
    if plays_a_role() {
        return;
    }
    let address = format!("@{}", unique_name());
    let mut sender = Peer::start("the_time_of_another_process_is_that_of_this_one", "producer", &address);
    sender.expect("listening");
    let (mut copies, mut in_place) = (attach(&address, false), attach(&address, true));
    let mut tap = Tap::connect(&*address).unwrap();
    for _ in 0..100 {
        let before = MonotonicTime::now();
        sender.tell("send");
        let time = copies.receive_timeout(DEADLINE).unwrap().unwrap().published_at().unwrap();
        let heard = sender.heard();
        let (begun, done) = heard.split_once(' ').unwrap();
        let [begun, done] = [begun, done].map(|nanos| MonotonicTime::from_nanos(nanos.parse().unwrap()));
        assert!(before <= begun && begun <= time && time <= done && done <= MonotonicTime::now());
        assert!(time.since(before) <= before.age() && time.age() >= done.age());
        assert_eq!(in_place.receive_timeout(DEADLINE).unwrap().unwrap().published_at(), Some(time));
        assert_eq!(tap.receive_timeout(DEADLINE).unwrap().unwrap().published_at(), Some(time));
    }
}

/// The first record of the ring, where nothing but zeros was.
#[cfg(feature = "crash-points")]
#[test]
fn what_a_producer_has_published_when_it_dies_has_its_time() {
    if plays_a_role() {
        return;
    }
    let (test, point) = ("what_a_producer_has_published_when_it_dies_has_its_time", "producer-after-publication");
    let address = format!("@{}", unique_name());
    let mut sender = Peer::start_with(test, "producer", &address, Some(point));
    sender.expect("listening");
    let mut consumer = attach(&address, false);
    let before = MonotonicTime::now();
    sender.tell("send");
    let record = consumer.receive_timeout(DEADLINE).unwrap().unwrap();
    let time = record.published_at().unwrap();
    assert!(before <= time && time <= MonotonicTime::now());
    let ask = || consumer.receive_timeout(DEADLINE).map(drop);
    common::hears_of_death(ask, [ReceiveError::HungUp, ReceiveError::PeerDead].map(Err));
}
