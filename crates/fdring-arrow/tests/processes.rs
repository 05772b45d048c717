//! Record batches between real processes: forwarded, after a kill, and resumed.

#[path = "../../../tests/common/mod.rs"]
mod common;
#[path = "../../../tests/common/peer.rs"]
mod peer;
mod samples;

use common::{isolated, role, unique_name, wait_until};
use fdring_arrow::fdring::Server;
use fdring_arrow::fdring::errors::{ReceiveError, SendError};
use fdring_arrow::fdring::options::Address;
use fdring_arrow::fdring::options::{LaneOptions, NoConsumer, Start};
use fdring_arrow::{BatchConsumerOptions, BatchProducer, BatchProducerOptions, Error, Place, ReceivedBatch};
use peer::{Peer, argument, say, told, wait_for_the_end};
use samples::{each_buffer, numbers, of_every_type};
use std::time::{Duration, Instant};

/// A lane at a new address, where batches longer than `threshold` go as parcels.
fn lane(threshold: usize, options: LaneOptions, schema: arrow_schema::SchemaRef) -> (BatchProducer, Server, String) {
    let producer = BatchProducerOptions::new(options).threshold(threshold).create(schema).unwrap();
    let address = format!("@{}", unique_name());
    let server = Server::listen(&*address, producer.lanes()).unwrap();
    (producer, server, address)
}

/// The number of the memfd in which a batch came, once it is certain that each of its buffers lies there.
fn memory_of(batch: &ReceivedBatch) -> u64 {
    let parcel = batch.parcel().expect("it came in a parcel");
    let inode = rustix::fs::fstat(parcel.fds()[0]).unwrap().st_ino;
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let of_memory = |line: &&str| line.split_whitespace().nth(4) == Some(&inode.to_string());
    let line = maps.lines().find(of_memory).expect("it is mapped");
    let (from, to) = line.split(' ').next().unwrap().split_once('-').unwrap();
    let mapped = usize::from_str_radix(from, 16).unwrap()..usize::from_str_radix(to, 16).unwrap();
    let mut count = 0;
    for column in batch.columns() {
        each_buffer(&column.to_data(), &mut |buffer| {
            assert!(buffer.is_empty() || mapped.contains(&buffer.as_ptr().addr()));
            count += 1;
        });
    }
    assert!(count > 70, "only {count} buffers were seen: the check has gone blind");
    inode
}

#[test]
fn a_batch_goes_through_three_processes_in_one_memory() {
    const NAME: &str = "a_batch_goes_through_three_processes_in_one_memory";
    match role().as_deref() {
        None => {
            let batch = of_every_type();
            let (mut source, _server, address) = lane(0, LaneOptions::new("in"), batch.schema());
            let mut filter = Peer::start(NAME, "filter", &address);
            let mut sink = Peer::start(NAME, "sink", &filter.heard());
            sink.expect("joined");
            filter.tell("go on");
            filter.expect("joined");
            for _ in 0..3 {
                source.send(&batch).unwrap();
                let memory = filter.heard();
                assert_eq!(sink.heard(), memory);
            }
            source.finish();
            filter.finish();
            sink.finish();
        }
        Some("filter") => {
            let mut input = BatchConsumerOptions::new().keep_parcels(true).connect(&*argument()).unwrap();
            // Another threshold: what has a parcel is sent on in it.
            let (mut output, _server, address) = lane(usize::MAX, LaneOptions::new("out"), input.schema().clone());
            say(&address);
            told();
            say("joined");
            while let Some(batch) = input.receive().unwrap() {
                say(&memory_of(&batch).to_string());
                output.forward(&batch).unwrap();
            }
            output.finish_and_wait(common::DEADLINE).unwrap();
        }
        _ => {
            let mut input = BatchConsumerOptions::new().keep_parcels(true).connect(&*argument()).unwrap();
            say("joined");
            while let Some(batch) = input.receive().unwrap() {
                assert_eq!(*batch, of_every_type());
                say(&memory_of(&batch).to_string());
            }
        }
    }
}

/// A lane whose consumer takes nothing has no room in the end: for bytes in its ring, for parcels in the queue of their
/// descriptors.
#[test]
fn a_batch_is_forwarded_to_a_full_lane_for_as_long_as_it_is_told() {
    const LIMIT: Duration = Duration::from_millis(50);
    isolated("a_batch_is_forwarded_to_a_full_lane_for_as_long_as_it_is_told", || {
        let batch = numbers(0, 1000);
        for keep in [true, false] {
            let (mut source, _server, address) = lane(0, LaneOptions::new("in"), batch.schema());
            let options = LaneOptions::new("out").capacity(64 << 10);
            let (mut output, _server, output_address) = lane(usize::MAX, options, batch.schema());
            let mut input = BatchConsumerOptions::new().keep_parcels(keep).connect(&*address).unwrap();
            let _takes_nothing = BatchConsumerOptions::new().connect(&*output_address).unwrap();
            source.send(&batch).unwrap();
            let received = input.receive().unwrap().unwrap();
            let full = (0..10_000).find_map(|_| output.try_forward(&received).err()).expect("no room in the end");
            let has_no_room = |error: &SendError| matches!(error, SendError::Full { .. } | SendError::Untaken { .. });
            assert!(matches!(&full, Error::Send(error) if has_no_room(error)), "{full:?}");
            let begun = Instant::now();
            let timed_out = output.forward_timeout(&received, LIMIT).unwrap_err();
            let at_deadline = output.forward_deadline(&received, begun + 2 * LIMIT).unwrap_err();
            assert!(begun.elapsed() >= 2 * LIMIT, "{:?}", begun.elapsed());
            for error in [timed_out, at_deadline] {
                let has_waited =
                    |error: &SendError| matches!(error, SendError::TimedOut { .. } | SendError::Untaken { .. });
                assert!(matches!(&error, Error::Send(error) if has_waited(error)), "{error:?}");
            }
        }
    });
}

/// Without its parcel, or to another schema, a batch is sent anew, or refused.
#[test]
fn what_cannot_be_forwarded_as_it_is_is_sent_anew() {
    let batch = numbers(0, 1000);
    let (mut source, _server, address) = lane(0, LaneOptions::new("in"), batch.schema());
    let (mut output, _server, output_address) = lane(0, LaneOptions::new("out"), batch.schema());
    let (mut other, _server, _) = lane(0, LaneOptions::new("other"), of_every_type().schema());
    let mut sink = BatchConsumerOptions::new().keep_parcels(true).connect(&*output_address).unwrap();
    let inode = |batch: &ReceivedBatch| rustix::fs::fstat(batch.parcel().unwrap().fds()[0]).unwrap().st_ino;
    for keep in [true, false] {
        let mut input = BatchConsumerOptions::new().keep_parcels(keep).connect(&*address).unwrap();
        source.send(&batch).unwrap();
        let received = input.receive().unwrap().unwrap();
        output.forward(&received).unwrap();
        let forwarded = sink.receive().unwrap().unwrap();
        assert_eq!(*forwarded, batch);
        assert!(!keep || inode(&received) == inode(&forwarded));
        assert!(matches!(other.forward(&received), Err(Error::SchemaChanged { .. })));
    }
}

#[test]
fn what_a_killed_producer_has_sent_is_received() {
    const NAME: &str = "what_a_killed_producer_has_sent_is_received";
    let (short, long) = (|first| numbers(first, 10), |first| numbers(first, 1000));
    if role().is_some() {
        let options = BatchProducerOptions::new(LaneOptions::new("batches")).threshold(4096);
        let mut producer = options.create(short(0).schema()).unwrap();
        let _server = Server::listen(&*argument(), producer.lanes()).unwrap();
        say("listening");
        producer.lane().wait_for_consumers(1, common::DEADLINE).unwrap();
        for first in 0..10 {
            producer.send(&short(first)).unwrap();
            producer.send(&long(first)).unwrap();
        }
        say("sent");
        wait_for_the_end();
    }
    let address = format!("@{}", unique_name());
    let mut producer = Peer::start(NAME, "producer", &address);
    producer.expect("listening");
    let mut consumer = BatchConsumerOptions::new().connect(&*address).unwrap();
    producer.expect("sent");
    producer.kill();
    for first in 0..10 {
        for (batch, place) in [(short(first), Place::Copied), (long(first), Place::Parcel)] {
            let received = consumer.receive().unwrap().unwrap();
            assert_eq!((&*received, received.place()), (&batch, place));
        }
    }
    let end = consumer.receive_timeout(common::DEADLINE).unwrap_err();
    assert!(matches!(end, Error::Receive(ReceiveError::PeerDead)), "{end:?}");
}

#[test]
fn the_successor_of_a_killed_consumer_goes_on_with_schema_and_dictionaries() {
    const NAME: &str = "the_successor_of_a_killed_consumer_goes_on_with_schema_and_dictionaries";
    let resume = |address: Address| BatchConsumerOptions::new().start(Start::Resume).connect(address);
    if role().is_some() {
        let mut consumer = resume(argument().into()).unwrap();
        say("joined");
        for first in 0..2 {
            assert_eq!(*consumer.receive().unwrap().unwrap(), of_every_type().slice(first, 50));
        }
        consumer.release();
        say("read");
        wait_for_the_end();
    }
    let options = LaneOptions::new("batches").no_consumer(NoConsumer::WaitFor(1));
    let (mut producer, _server, address) = lane(usize::MAX, options, of_every_type().schema());
    let mut consumer = Peer::start(NAME, "consumer", &address);
    consumer.expect("joined");
    for first in 0..5 {
        producer.send(&of_every_type().slice(first, 50)).unwrap();
    }
    consumer.expect("read");
    consumer.kill();
    wait_until("the place is vacant", || producer.lane().vacant_places().len() == 1);
    let mut successor = resume(address.into()).unwrap();
    for first in 2..5 {
        let received = successor.receive_timeout(Duration::from_secs(60)).unwrap().unwrap();
        assert_eq!(*received, of_every_type().slice(first, 50));
    }
}
