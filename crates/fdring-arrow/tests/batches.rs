//! Record batches of every type, over lanes: what comes out is what went in, and it lies where it came.
#![allow(unsafe_code, reason = "batches are read in place")]

#[path = "../../../tests/common/mod.rs"]
mod common;
mod samples;

use arrow_array::{Array, RecordBatch, StringViewArray};
use arrow_schema::{DataType, Field, Schema};
use common::unique_name;
use fdring_arrow::fdring::options::{LaneOptions, NoConsumer, Start};
use fdring_arrow::fdring::{Producer, Server};
use fdring_arrow::{
    BatchConsumer, BatchConsumerOptions, BatchProducer, BatchProducerOptions, Error, Place, ReceivedBatch,
};
use samples::{each_buffer, numbers, of_every_type, of_no_columns};
use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;
use std::{fs, thread};

/// A lane to a consumer in this process, whose batches go to `place`.
fn lane_to(place: Place, schema: &Arc<Schema>) -> (BatchProducer, Server, BatchConsumer) {
    let threshold = if place == Place::Parcel { 0 } else { usize::MAX };
    let options = BatchProducerOptions::new(LaneOptions::new("batches").capacity(8 << 20)).threshold(threshold);
    let producer = options.create(schema.clone()).unwrap();
    let address = format!("@{}", unique_name());
    let server = Server::listen(&*address, producer.lanes()).unwrap();
    let mut options = BatchConsumerOptions::new().keep_parcels(true);
    if place == Place::Ring {
        // SAFETY: the producer is this process, and follows the protocol.
        options = unsafe { options.in_place() };
    }
    let consumer = options.connect(&*address).unwrap();
    (producer, server, consumer)
}

const PLACES: [Place; 3] = [Place::Ring, Place::Parcel, Place::Copied];

/// The mappings of this process whose name has `name` in it.
fn mappings(name: &str) -> Vec<Range<usize>> {
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let of_line = |line: &str| {
        let (from, to) = line.split_once(' ')?.0.split_once('-')?;
        Some(usize::from_str_radix(from, 16).ok()?..usize::from_str_radix(to, 16).ok()?)
    };
    maps.lines().filter(|line| line.contains(name)).filter_map(of_line).collect()
}

/// Asserts that every buffer of `received` lies in memory with this name, or in none with `memfd`, at a multiple of 64.
/// Returns how many buffers were seen.
fn assert_lies_in(received: &ReceivedBatch, name: Option<&str>) -> usize {
    let memory = mappings(name.unwrap_or("memfd:"));
    let mut count = 0;
    let mut look = |bytes: &[u8]| {
        if bytes.is_empty() {
            return;
        }
        let start = bytes.as_ptr().addr();
        let within = |range: &Range<usize>| range.start <= start && start + bytes.len() <= range.end;
        assert_eq!(memory.iter().any(within), name.is_some(), "{start:x} is not where it should be: {memory:x?}");
        assert!(received.messages().as_ptr_range().contains(&bytes.as_ptr()), "a buffer is a copy");
        assert!(start.is_multiple_of(64), "a buffer begins at {start:x}");
        count += 1;
    };
    for column in received.columns() {
        each_buffer(&column.to_data(), &mut look);
    }
    count
}

#[test]
fn every_type_comes_as_it_went_and_lies_where_it_came() {
    let batch = of_every_type();
    for place in PLACES {
        let (mut producer, _server, mut consumer) = lane_to(place, batch.schema_ref());
        producer.send(&batch).unwrap();
        let received = consumer.receive().unwrap().unwrap();
        assert_eq!(*received, batch);
        assert_eq!((received.place(), received.schema()), (place, batch.schema()));
        let name = match place {
            Place::Ring => Some("memfd:fdring:batches:data"),
            Place::Parcel => Some("memfd:batches"),
            _ => None,
        };
        let buffers = assert_lies_in(&received, name);
        assert!(buffers > 70, "only {buffers} buffers were seen: the check has gone blind");
    }
}

#[test]
fn slices_come_as_they_went() {
    let batch = of_every_type();
    for place in PLACES {
        let (mut producer, _server, mut consumer) = lane_to(place, batch.schema_ref());
        for (first, rows) in [(1, 1), (7, 50), (9, 91), (99, 1), (64, 8), (0, 0), (50, 0)] {
            let slice = batch.slice(first, rows);
            producer.send(&slice).unwrap();
            assert_eq!(*consumer.receive().unwrap().unwrap(), slice, "{rows} rows from {first}, {place:?}");
        }
    }
}

#[test]
fn slices_take_no_more_room_than_their_rows() {
    let batch = numbers(0, 10_000);
    let (mut producer, _server, mut consumer) = lane_to(Place::Copied, batch.schema_ref());
    producer.send(&batch.slice(5000, 10)).unwrap();
    assert!(consumer.receive().unwrap().unwrap().messages().len() < 2048);
}

#[test]
fn batches_without_columns_or_rows_have_their_number_of_rows() {
    let batch = of_no_columns();
    let (mut producer, _server, mut consumer) = lane_to(Place::Parcel, batch.schema_ref());
    producer.send(&batch).unwrap();
    assert_eq!(consumer.receive().unwrap().unwrap().num_rows(), 7);

    let empty = RecordBatch::new_empty(of_every_type().schema());
    let (mut producer, _server, mut consumer) = lane_to(Place::Ring, empty.schema_ref());
    producer.send(&empty).unwrap();
    assert_eq!(*consumer.receive().unwrap().unwrap(), empty);
}

#[test]
fn deep_nesting_is_sent_up_to_a_limit() {
    let of = |levels| RecordBatch::try_from_iter_with_nullable([("deep", samples::deep(levels), true)]).unwrap();
    let batch = of(11);
    let (mut producer, _server, mut consumer) = lane_to(Place::Parcel, batch.schema_ref());
    producer.send(&batch).unwrap();
    assert_eq!(*consumer.receive().unwrap().unwrap(), batch);

    let error = BatchProducer::create("deep", of(12).schema()).unwrap_err().to_string();
    assert_eq!(error, "the schema cannot be sent: column \"deep\": it is nested deeper than 24 levels");
}

#[test]
fn types_that_cannot_be_sent_are_refused_with_their_column() {
    let run_ends = Arc::new(Field::new("run_ends", DataType::Int32, false));
    let values = Arc::new(Field::new("values", DataType::Int32, true));
    let inner = DataType::Dictionary(Box::new(DataType::Int8), Box::new(DataType::Utf8));
    let within = DataType::Struct(vec![Field::new("inner", inner, true)].into());
    let outer = DataType::Dictionary(Box::new(DataType::Int8), Box::new(within));
    for (data_type, fault) in [
        (DataType::RunEndEncoded(run_ends, values), "cannot be sent"),
        (outer, "a dictionary's values have dictionaries"),
        (DataType::Dictionary(Box::new(DataType::Utf8), Box::new(DataType::Utf8)), "the keys of a dictionary are Utf8"),
        (DataType::FixedSizeBinary(-1), "has a negative length"),
    ] {
        let schema = Schema::new(vec![Field::new("fine", DataType::Int8, true), Field::new("not", data_type, true)]);
        let error = BatchProducer::create("batches", schema).unwrap_err();
        assert!(matches!(error, Error::Unsupported { .. }), "{error:?}");
        assert!(error.to_string().contains("column \"not\"") && error.to_string().contains(fault), "{error}");
    }
}

#[test]
fn a_batch_of_another_schema_is_refused_and_nothing_is_sent() {
    let batch = numbers(0, 3);
    let (mut producer, _server, mut consumer) = lane_to(Place::Ring, batch.schema_ref());
    let schema = |second: Field| Schema::new(vec![batch.schema().field(0).clone(), second]);
    let word = |data_type, nullable| Field::new("word", data_type, nullable);
    let tagged = word(DataType::Utf8, true).with_metadata(HashMap::from([("unit".to_owned(), "m".to_owned())]));
    for (other, difference) in [
        (
            schema(word(DataType::LargeUtf8, true)),
            "column 1 is \"word\": Utf8, nullable, in the batch \"word\": LargeUtf8, nullable",
        ),
        (schema(word(DataType::Utf8, false)), "column 1 is \"word\": Utf8, nullable, in the batch \"word\": Utf8"),
        (
            schema(Field::new("name", DataType::Utf8, true)),
            "column 1 is \"word\": Utf8, nullable, in the batch \"name\": Utf8, nullable",
        ),
        (schema(tagged), "column 1, \"word\", has other metadata in the batch"),
        (Schema::new(vec![batch.schema().field(0).clone()]), "it has 2 columns, the batch 1"),
    ] {
        let error = producer.send(&RecordBatch::new_empty(other.into())).unwrap_err();
        assert!(matches!(error, Error::SchemaChanged { .. }), "{error:?}");
        let sentence = format!("the lane batches has another schema: {difference}; make a lane for each schema");
        assert_eq!(error.to_string(), sentence);
    }
    producer.send(&batch).unwrap();
    assert_eq!(*consumer.receive().unwrap().unwrap(), batch);
    assert_eq!(producer.lane().published(), consumer.lane().position());
}

#[test]
fn the_threshold_and_the_ring_say_where_a_batch_goes() {
    let batch = numbers(0, 1000);
    let capacity = 64 << 10;
    let len = {
        let (mut producer, _server, mut consumer) = lane_to(Place::Copied, batch.schema_ref());
        producer.send(&batch).unwrap();
        consumer.receive().unwrap().unwrap().messages().len()
    };
    assert!(len > capacity / 4 && len < capacity / 2, "{len}");
    for (threshold, rows, place) in [
        (len, 1000, Place::Copied),
        (len - 1, 1000, Place::Parcel),
        (usize::MAX, 1000, Place::Copied),
        (usize::MAX, 4000, Place::Parcel), // longer than half of the ring
        (0, 0, Place::Parcel),
    ] {
        let options = LaneOptions::new("batches").capacity(capacity as u64);
        let mut producer = BatchProducerOptions::new(options).threshold(threshold).create(batch.schema()).unwrap();
        let address = format!("@{}", unique_name());
        let _server = Server::listen(&*address, producer.lanes()).unwrap();
        let mut consumer = BatchConsumer::connect(&*address).unwrap();
        let batch = numbers(0, rows);
        producer.try_send(&batch).unwrap();
        let received = consumer.try_receive().unwrap().unwrap();
        assert_eq!((&*received, received.place()), (&batch, place), "{threshold}, {rows} rows");
    }
}

#[test]
fn batches_are_kept_in_other_threads_after_lane_and_consumer_are_gone() {
    let batch = of_every_type();
    for place in PLACES {
        let (mut producer, server, mut consumer) = lane_to(place, batch.schema_ref());
        producer.send(&batch).unwrap();
        let column = consumer.receive().unwrap().unwrap().column_by_name("utf8").unwrap().clone();
        producer.finish();
        drop((server, consumer));
        let sent = batch.clone();
        thread::spawn(move || assert_eq!(*column, **sent.column_by_name("utf8").unwrap())).join().unwrap();
    }
}

/// Dictionaries come with every batch: also to those who were not there for the first.
#[test]
fn late_joiners_get_schema_and_dictionaries() {
    let batch = of_every_type();
    let (mut producer, server, mut first) = lane_to(Place::Copied, batch.schema_ref());
    let address = server.address().clone();
    for _ in 0..3 {
        producer.send(&batch).unwrap();
    }
    let mut late = BatchConsumer::connect(address.clone()).unwrap();
    let mut from_start = BatchConsumerOptions::new().start(Start::Oldest).connect(address).unwrap();
    producer.send(&batch).unwrap();
    producer.finish();
    let mut count = |consumer: &mut BatchConsumer| {
        let mut batches = 0;
        while let Some(received) = consumer.receive().unwrap() {
            assert_eq!(*received, batch);
            batches += 1;
        }
        batches
    };
    assert_eq!([&mut first, &mut late, &mut from_start].map(&mut count), [4, 1, 4]);
}

#[test]
fn a_consumer_that_resumes_gets_the_schema_and_what_is_left_in_the_ring() {
    let batch = numbers(0, 10);
    let lane = LaneOptions::new("batches").no_consumer(NoConsumer::WaitFor(1));
    let len = 4096;
    let mut producer = BatchProducerOptions::new(lane).threshold(len).create(batch.schema()).unwrap();
    let address = format!("@{}", unique_name());
    let _server = Server::listen(&*address, producer.lanes()).unwrap();
    let resume = || BatchConsumerOptions::new().start(Start::Resume);
    let mut consumer = resume().connect(&*address).unwrap();
    for first in 0..5 {
        producer.send(&numbers(first, 10)).unwrap();
    }
    let long = numbers(0, 1000);
    producer.send(&long).unwrap();
    producer.send(&batch).unwrap();
    for first in 0..2 {
        assert_eq!(*consumer.receive().unwrap().unwrap(), numbers(first, 10));
    }
    consumer.release();
    drop(consumer);
    common::wait_until("the place is vacant", || producer.lane().vacant_places().len() == 1);

    let mut successor = resume().connect(&*address).unwrap();
    for first in 2..5 {
        assert_eq!(*successor.receive().unwrap().unwrap(), numbers(first, 10));
    }
    // Its descriptor was sent to the one before.
    let error = successor.receive().unwrap_err();
    assert!(matches!(error, Error::NotSent { .. }), "{error:?}");
    assert_eq!(*successor.receive().unwrap().unwrap(), batch);
    producer.send(&long).unwrap();
    assert_eq!(*successor.receive().unwrap().unwrap(), long);
}

#[test]
fn parcels_are_kept_without_descriptors_unless_they_are_to_be_forwarded() {
    common::isolated("parcels_are_kept_without_descriptors_unless_they_are_to_be_forwarded", || {
        let batch = numbers(0, 1000);
        let options = BatchProducerOptions::new(LaneOptions::new("batches")).threshold(0);
        let mut producer = options.create(batch.schema()).unwrap();
        let address = format!("@{}", unique_name());
        let _server = Server::listen(&*address, producer.lanes()).unwrap();
        for (keep, descriptors) in [(false, 0), (true, 100)] {
            let mut consumer = BatchConsumerOptions::new().keep_parcels(keep).connect(&*address).unwrap();
            let parcels = || common::census().values().filter(|target| target.contains("memfd:batches")).count();
            let mut kept = vec![];
            for _ in 0..100 {
                producer.send(&batch).unwrap();
                kept.push(consumer.receive().unwrap().unwrap());
            }
            assert_eq!(parcels(), descriptors, "{:?}", common::census());
            assert!(kept.iter().all(|received| **received == batch && received.parcel().is_some() == keep));
        }
    });
}

#[test]
fn any_reader_of_arrow_reads_what_went_over_a_lane() {
    let batch = of_every_type();
    let (mut producer, _server, mut consumer) = lane_to(Place::Parcel, batch.schema_ref());
    let mut stream = consumer.schema_message().to_vec();
    for first in 0..3 {
        producer.send(&batch.slice(first, 20)).unwrap();
        stream.extend_from_slice(consumer.receive().unwrap().unwrap().messages());
    }
    let reader = arrow_ipc::reader::StreamReader::try_new(&stream[..], None).unwrap();
    let batches: Vec<RecordBatch> = reader.map(Result::unwrap).collect();
    assert_eq!(batches, [0, 1, 2].map(|first| batch.slice(first, 20)));
}

#[test]
fn views_can_be_made_shorter_before_they_are_sent() {
    let words = StringViewArray::from_iter_values((0..10_000).map(|row| format!("a word longer than a view {row}")));
    let slice = words.slice(100, 10);
    let schema = Schema::new(vec![Field::new("words", DataType::Utf8View, false)]);
    let (mut producer, _server, mut consumer) = lane_to(Place::Copied, &schema.into());
    let mut len_of = |words: StringViewArray| {
        producer.send(&RecordBatch::try_new(producer.schema().clone(), vec![Arc::new(words)]).unwrap()).unwrap();
        consumer.receive().unwrap().unwrap().messages().len()
    };
    assert!(len_of(slice.clone()) > 200_000 && len_of(slice.gc()) < 1024);
}

#[test]
fn what_is_no_lane_of_batches_is_refused_when_connecting() {
    let (trips, tolls) = (numbers(0, 1), of_no_columns());
    let trips = BatchProducer::create("trips", trips.schema()).unwrap();
    let tolls = BatchProducer::create("tolls", tolls.schema()).unwrap();
    let ticks = Producer::create("ticks").unwrap();
    let impostor = Producer::create("ticks.schema").unwrap();
    let refused = |lanes: &[&Producer], name: Option<&str>, sentence: &str| {
        let address = format!("@{}", unique_name());
        let _server = Server::listen(&*address, lanes.iter().copied()).unwrap();
        let options = BatchConsumerOptions::new();
        let options = name.into_iter().fold(options, |options, name| options.lane(name));
        let error = options.connect(&*address).unwrap_err();
        assert!(matches!(error, Error::NoSchema { .. }), "{error:?}");
        assert_eq!(error.to_string(), format!("there are no record batches in {sentence}"));
    };
    let [of_trips, schema_of_trips] = trips.lanes();
    let [of_tolls, schema_of_tolls] = tolls.lanes();
    refused(&[&ticks], None, "this session: the lanes are: ticks");
    refused(&[&ticks, of_trips], Some("trips"), "the lane trips: no lane with their schema is offered beside it");
    refused(&[&ticks], Some("trips"), "the lane trips: the lanes are: ticks");
    let all = [of_trips, schema_of_trips, of_tolls, schema_of_tolls];
    refused(&all, None, "this session: 2 lanes have them; choose one by its name");
    let of_number = of_trips.lane().schema;
    let unaligned = LaneOptions::new("trips").schema(of_number).create().unwrap();
    let sentence = "the lane trips: its payloads are aligned to 8 bytes, not 64";
    refused(&[&unaligned, schema_of_trips], None, sentence);
    refused(&[&ticks, &impostor], None, "the lane ticks: its schema cannot be read: no record is there yet");
}

#[test]
fn names_leave_room_for_that_of_the_schema() {
    let schema = numbers(0, 1).schema();
    assert!(BatchProducer::create("n".repeat(57), schema.clone()).is_ok());
    let error = BatchProducer::create("n".repeat(58), schema).unwrap_err().to_string();
    assert!(error.contains(".schema") && error.contains("of 65 bytes, not 1 to 64"), "{error}");
}
