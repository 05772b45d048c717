//! A producer that lies: whatever it sends is an error that says so, or a batch that is sound, and never a panic.

#[path = "../../../tests/common/mod.rs"]
mod common;
mod samples;

use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_data::ArrayData;
use arrow_schema::{DataType, Field, Schema};
use common::unique_name;
use fdring_arrow::fdring::options::LaneOptions;
use fdring_arrow::fdring::parcel::ParcelBuilder;
use fdring_arrow::fdring::{Producer, Server};
use fdring_arrow::{BatchConsumer, BatchConsumerOptions, BatchProducer, Error};
use samples::{numbers, of_every_type};
use std::fs::File;
use std::os::fd::AsFd;
use std::sync::Arc;

/// The kind of the buffer that a batch's parcel has.
const KIND: u32 = u32::from_le_bytes(*b"ARRW");

/// A lane in which this process can send any bytes, beside the schema's true one.
struct Liar {
    lane: Producer,
    consumer: BatchConsumer,
    _server: Server,
    _schema: BatchProducer,
}

impl Liar {
    fn new(schema: Arc<Schema>) -> Self {
        let truth = BatchProducer::create("batches", schema).unwrap();
        let [lane, schema] = truth.lanes();
        let options = LaneOptions::new("batches").capacity(1 << 20).payload_align(64).attachments(4);
        let lane = options.schema(lane.lane().schema).create().unwrap();
        let address = format!("@{}", unique_name());
        let server = Server::listen(&*address, [&lane, schema]).unwrap();
        let consumer = BatchConsumerOptions::new().parcel_max(1 << 20).connect(&*address).unwrap();
        Self { lane, consumer, _server: server, _schema: truth }
    }

    /// What the consumer makes of these bytes as a record.
    fn says(&mut self, bytes: &[u8]) -> Result<RecordBatch, String> {
        self.lane.try_send(bytes).unwrap();
        self.heard()
    }

    fn heard(&mut self) -> Result<RecordBatch, String> {
        match self.consumer.try_receive() {
            Ok(batch) => Ok(batch.expect("the lane goes on").into()),
            Err(Error::Batch { position, fault }) => {
                assert!(position < self.lane.published());
                Err(fault)
            }
            Err(other) => panic!("{other:?}"),
        }
    }
}

/// The messages of a batch, as an honest producer sends them.
fn messages(batch: &RecordBatch) -> Vec<u8> {
    let mut producer = BatchProducer::create("batches", batch.schema()).unwrap();
    let address = format!("@{}", unique_name());
    let _server = Server::listen(&*address, producer.lanes()).unwrap();
    let mut consumer = BatchConsumer::connect(&*address).unwrap();
    producer.send(batch).unwrap();
    consumer.receive().unwrap().unwrap().messages().to_vec()
}

/// Where `pattern` lies in `bytes`, in which it is once.
fn place_of(bytes: &[u8], pattern: &[u8]) -> usize {
    let mut places = bytes.windows(pattern.len()).enumerate().filter(|(_, window)| *window == pattern);
    let (place, _) = places.next().expect("the pattern is there");
    assert!(places.next().is_none(), "the pattern is there twice: {pattern:?}");
    place
}

fn pair(first: i64, second: i64) -> Vec<u8> {
    [first.to_le_bytes(), second.to_le_bytes()].concat()
}

/// Asserts that the messages of `batch` are refused with `fault`, once what `lie` says was changed; and that an honest
/// batch comes through after it.
fn refused(batch: &RecordBatch, lie: impl FnOnce(&mut Vec<u8>), fault: &str) {
    let honest = messages(batch);
    let mut liar = Liar::new(batch.schema());
    let mut lies = honest.clone();
    lie(&mut lies);
    assert_ne!(lies, honest);
    let error = liar.says(&lies).unwrap_err();
    assert!(error.contains(fault), "{error}\ninstead of: {fault}");
    assert_eq!(liar.says(&honest).unwrap(), *batch);
}

/// Overwrites what is at `pattern`, once, with `with`.
fn swap(pattern: Vec<u8>, with: Vec<u8>) -> impl FnOnce(&mut Vec<u8>) {
    move |bytes| {
        let place = place_of(bytes, &pattern);
        bytes[place..place + with.len()].copy_from_slice(&with);
    }
}

fn batch_of(column: impl Array + 'static) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable([("column", Arc::new(column) as ArrayRef, true)]).unwrap()
}

#[test]
fn lies_about_numbers_and_places_are_refused() {
    let batch = numbers(0, 12); // the column of words has 3 nulls
    let words: usize = (0..12).filter(|row| row % 4 != 1).map(|row| format!("the word of row {row}").len()).sum();
    let words = words as i64;
    for (pattern, with, fault) in [
        // Rows and nulls of a column: 12 numbers without nulls, 12 words with 3.
        (pair(12, 0), pair(13, 0), "column \"number\": a buffer has 96 bytes where its rows take 104"),
        (pair(12, 0), pair(11, 0), "column \"number\": it has 11 rows, not 12"),
        (pair(12, 0), pair(-1, 0), "it has -1 rows, not 0 to 4294967295"),
        (pair(12, 0), pair(i64::MAX, 0), "rows, not 0 to 4294967295"),
        (pair(12, 0), pair(12, 1), "column \"number\": a buffer has 0 bytes where its rows take 2"),
        (pair(12, 3), pair(12, 4), "null_count value (4) doesn't match actual number of nulls in array (3)"),
        (pair(12, 3), pair(12, 13), "it has 13 nulls in 12 rows"),
        (pair(12, 3), pair(12, -3), "it has -3 nulls"),
        // Places of buffers: 96 bytes of numbers, nulls of words, their offsets, the words.
        (pair(0, 96), pair(0, 95), "a buffer has 95 bytes where its rows take 96"),
        (pair(0, 96), pair(0, 97), "a buffer of 97 bytes has values of 8"),
        (pair(0, 96), pair(8, 96), "a buffer begins at 8, not at a multiple of 64 after the last one"),
        (pair(0, 96), pair(-64, 96), "a buffer of 96 bytes at -64 is not within"),
        (pair(0, 96), pair(0, -1), "a buffer of -1 bytes at 0 is not within"),
        (pair(0, 96), pair(0, i64::MAX), "is not within"),
        (pair(0, 96), pair(i64::MAX, i64::MAX), "is not within"),
        (pair(0, 96), pair(1 << 40, 96), "is not within"),
        (pair(0, 96), pair(64, 96), "a buffer begins at 128, not at a multiple of 64 after the last one"),
        (pair(256, words), pair(192, words), "a buffer begins at 192, not at a multiple of 64 after the last one"),
        (pair(256, words), pair(256, words - 1), "is larger than values length"),
    ] {
        refused(&batch, swap(pattern, with), fault);
    }
}

#[test]
fn lies_about_lengths_of_messages_are_refused() {
    let batch = numbers(0, 12);
    let whole = messages(&batch);
    let metadata_len = u32::from_le_bytes(whole[4..8].try_into().unwrap()) as usize;
    let body_len = (whole.len() - 8 - metadata_len) as i64;
    let mut liar = Liar::new(batch.schema());
    for len in 0..whole.len() {
        assert!(liar.says(&whole[..len]).is_err(), "{len} of {} bytes are no batch", whole.len());
    }
    let longer = [&whole[..], &[0; 64]].concat();
    assert_eq!(liar.says(&longer).unwrap_err(), "something comes after the batch");
    assert_eq!(liar.says(&[&whole[..], &whole[..]].concat()).unwrap_err(), "something comes after the batch");
    for (at, with, fault) in [
        (0, 0_u32, "it begins with no message"),
        (4, u32::MAX, "it begins with no message"),
        (4, metadata_len as u32 - 8, "it begins with no message"),
        (4, 0, "it begins with no message"),
        (4, 56, "its metadata is invalid"),
    ] {
        refused(&batch, |bytes| bytes[at..at + 4].copy_from_slice(&with.to_le_bytes()), fault);
    }
    for (len, fault) in
        [(-1, "a body of -1 bytes is not there"), (i64::MAX, "is not there"), (64, "is not within the 64")]
    {
        // The last of the metadata's places that has it.
        let lie = |bytes: &mut Vec<u8>| {
            let place = place_of(&bytes[..8 + metadata_len], &body_len.to_le_bytes());
            bytes[place..place + 8].copy_from_slice(&len.to_le_bytes());
        };
        refused(&batch, lie, fault);
    }
}

/// Overwrites bytes of the buffer that begins with `pattern`, at `offset` from there.
fn in_buffer(pattern: &[u8], offset: usize, with: &[u8]) -> impl FnOnce(&mut Vec<u8>) {
    let (pattern, with) = (pattern.to_vec(), with.to_vec());
    move |bytes| {
        let place = place_of(bytes, &pattern) + offset;
        bytes[place..place + with.len()].copy_from_slice(&with);
    }
}

fn words(numbers: &[i32]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
}

#[test]
fn lies_within_buffers_are_refused() {
    let text = batch_of(arrow_array::StringArray::from(vec!["straße", "und", "weg"]));
    let offsets = words(&[0, 7, 10, 13]);
    refused(&text, in_buffer(&offsets, 4, &words(&[11])), "Offset invariant failure");
    refused(&text, in_buffer(&offsets, 4, &words(&[-1])), "Could not convert offset -1 to usize");
    refused(&text, in_buffer(&offsets, 12, &words(&[i32::MAX])), "is larger than values length");
    refused(&text, in_buffer(&offsets, 4, &words(&[5])), "incomplete utf-8 byte sequence");
    refused(&text, in_buffer("straße".as_bytes(), 4, &[0xff]), "Invalid UTF8 sequence");

    let mut of_words = arrow_array::builder::StringDictionaryBuilder::<arrow_array::types::Int32Type>::new();
    ["a", "b", "c", "b", "a"].into_iter().for_each(|word| of_words.append_value(word));
    let dictionary = batch_of(of_words.finish());
    let keys = words(&[0, 1, 2, 1, 0]);
    for key in [3, -1, i32::MAX] {
        refused(&dictionary, in_buffer(&keys, 8, &words(&[key])), "should be in [0, 2]");
    }

    let views = batch_of(arrow_array::StringViewArray::from(vec!["a word of more than twelve bytes", "short"]));
    let view = [&words(&[32])[..], b"a wo", &words(&[0, 0])].concat();
    refused(&views, in_buffer(&view, 8, &words(&[1])), "Invalid buffer index at 0");
    refused(&views, in_buffer(&view, 12, &words(&[1])), "Invalid buffer slice at 0");
    refused(&views, in_buffer(&view, 12, &words(&[-1])), "Invalid buffer slice at 0");
    refused(&views, in_buffer(&view, 0, &words(&[33])), "Invalid buffer slice at 0");
    refused(&views, in_buffer(&view, 4, b"b"), "Mismatch between embedded prefix and data");
    let short = [&words(&[5])[..], b"short\0\0\0"].concat();
    refused(&views, in_buffer(&short, 10, &[1]), "non-zero padding");
    refused(&views, in_buffer(&short, 4, &[0xff]), "non-UTF-8 data");
}

#[test]
fn lies_about_unions_and_lists_are_refused() {
    let every = of_every_type();
    let column = |name: &str| every.project(&[every.schema().index_of(name).unwrap()]).unwrap();
    let (dense, sparse) = (column("dense"), column("sparse"));
    let kinds: Vec<u8> = (0..samples::ROWS).map(|row| if row % 3 == 0 { 0 } else { 4 }).collect();
    let offsets = words(&[99, 98, 97, 96]);
    for union in [&dense, &sparse] {
        refused(union, in_buffer(&kinds, 1, &[1]), "Type Ids values must match one of the field type ids");
        refused(union, in_buffer(&kinds, 1, &[0xff]), "Type Ids values must match one of the field type ids");
    }
    refused(&dense, in_buffer(&offsets, 4, &words(&[100])), "Offsets must be non-negative and within the length");
    refused(&dense, in_buffer(&offsets, 4, &words(&[-1])), "Offsets must be non-negative and within the length");

    let lists = column("list views");
    let starts: Vec<i32> = (0..samples::ROWS).map(|row| 2 * row as i32 % 150).collect();
    refused(&lists, in_buffer(&words(&starts), 4, &words(&[200])), "is larger than the remaining values");
    refused(&lists, in_buffer(&words(&starts), 4, &words(&[-1])), "Error converting offset");
}

#[test]
fn a_parcel_that_is_no_batch_is_refused() {
    let batch = numbers(0, 12);
    let honest = messages(&batch);
    let mut liar = Liar::new(batch.schema());
    let parcel = |kind: u32, buffers: usize, bytes: &[u8]| {
        let builder =
            (0..buffers).fold(ParcelBuilder::new("lies"), |builder, _| builder.buffer(kind, bytes.len() as u64));
        let mut writer = builder.allocate().unwrap();
        writer.buffers_mut().for_each(|buffer| buffer.copy_from_slice(bytes));
        writer.seal().unwrap()
    };
    for (parcel, fault) in [
        (parcel(KIND, 0, b""), "its parcel has 0 buffers"),
        (parcel(KIND, 2, &honest), "its parcel has 2 buffers"),
        (parcel(KIND + 1, 1, &honest), "or of another kind"),
        (parcel(KIND, 1, b""), "it ends before its batch"),
        (parcel(KIND, 1, &honest[..honest.len() - 64]), "is not there"),
        (parcel(KIND, 1, &[0; 1 << 20]), "where at most 1048576 are taken"),
    ] {
        liar.lane.send_parcel(b"", &parcel).unwrap();
        let error = liar.heard().unwrap_err();
        assert!(error.contains(fault), "{error}\ninstead of: {fault}");
    }
    // Descriptors of anything else.
    let null = File::open("/dev/null").unwrap();
    liar.lane.send_with_fds(b"", &[null.as_fd()]).unwrap();
    assert!(liar.heard().unwrap_err().contains("is not a memfd"));
    // In honest bytes, however they come.
    liar.lane.send_parcel(b"", &parcel(KIND, 1, &honest)).unwrap();
    assert_eq!(liar.heard().unwrap(), batch);
}

#[test]
fn a_schema_that_lies_is_refused_when_connecting() {
    let truth = BatchProducer::create("batches", of_every_type().schema()).unwrap();
    let number = truth.lanes()[0].lane().schema;
    let join = |message: &[u8], number: u64| {
        let lane = LaneOptions::new("batches").payload_align(64).schema(number).create().unwrap();
        let mut schema = LaneOptions::new("batches.schema").capacity(1 << 20).create().unwrap();
        schema.send(message).unwrap();
        let address = format!("@{}", unique_name());
        let _server = Server::listen(&*address, [&lane, &schema]).unwrap();
        BatchConsumer::connect(&*address).map(|consumer| (lane, consumer))
    };
    let connect = |message: &[u8], number: u64| join(message, number).map(|(_, consumer)| consumer);
    let message = {
        let address = format!("@{}", unique_name());
        let _server = Server::listen(&*address, truth.lanes()).unwrap();
        BatchConsumer::connect(&*address).unwrap().schema_message().to_vec()
    };
    assert!(connect(&message, number).is_ok());
    let faults = |result: Result<BatchConsumer, Error>| match result {
        Err(Error::NoSchema { fault, .. }) => fault,
        other => panic!("{other:?}"),
    };
    assert_eq!(faults(connect(&message, number + 1)), "the schema that is offered beside it is another lane's");
    for (wrong, fault) in
        [(&message[..7], "less than 8"), (b"", "less than 4"), (&message[..message.len() - 64], "less than")]
    {
        let said = faults(connect(wrong, number));
        assert!(said.starts_with("its schema is invalid: ") && said.contains(fault), "{said}");
    }
    // Any byte of it may be any other: it is refused, or another schema, of which the batch is one or is refused.
    let honest = messages(&of_every_type());
    let mut chance = Chance(7);
    let (mut refused, mut taken) = (0, 0);
    for _ in 0..400 {
        let mut lies = message.clone();
        spoil(&mut lies, message.len(), &mut chance);
        match join(&lies, fingerprint(&lies)) {
            Ok((mut lane, mut consumer)) => {
                lane.send(&honest).unwrap();
                match consumer.try_receive() {
                    Ok(batch) => {
                        read_all(&batch.expect("the lane goes on"));
                        taken += 1;
                    }
                    Err(Error::Batch { .. }) => refused += 1,
                    Err(other) => panic!("{other:?}"),
                }
            }
            Err(Error::NoSchema { .. }) => refused += 1,
            Err(other) => panic!("{other:?}"),
        }
    }
    assert!(refused > 50 && taken > 20, "{refused} were refused, {taken} were schemas");
}

/// FNV-1a, as the number of a lane's schema.
fn fingerprint(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3))
}

/// Numbers that look random, and are the same in each run: xorshift.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }
}

/// Changes a few bytes, or words that look like numbers.
fn spoil(bytes: &mut [u8], metadata_len: usize, chance: &mut Chance) {
    const NUMBERS: [i64; 12] = [0, 1, -1, 2, 7, 8, 63, 64, 65, 1 << 31, i64::MAX, i64::MIN];
    for _ in 0..=chance.below(3) {
        let end = if chance.below(2) == 0 { metadata_len } else { bytes.len() };
        let at = chance.below(end - 8);
        match chance.below(4) {
            0 => bytes[at] ^= 1 << chance.below(8),
            1 => bytes[at] = chance.next() as u8,
            2 => bytes[at & !3..][..4].copy_from_slice(&(NUMBERS[chance.below(12)] as i32).to_le_bytes()),
            _ => bytes[at & !7..][..8].copy_from_slice(&NUMBERS[chance.below(12)].to_le_bytes()),
        }
    }
}

/// Touches everything in a batch, as a reader would: what is unsound would show in this, or crash.
fn read_all(batch: &RecordBatch) {
    for column in batch.columns() {
        let data = column.to_data();
        data.validate_full().unwrap();
        assert_eq!(data, column.to_data());
        look_through(&data);
    }
    assert!(!format!("{batch:?}").is_empty());
}

fn look_through(data: &ArrayData) {
    let mut sum = 0_u64;
    samples::each_buffer(data, &mut |buffer| sum += buffer.iter().map(|byte| u64::from(*byte)).sum::<u64>());
    std::hint::black_box(sum);
}

/// Every type, and lies about it at random: the loop is long enough to have found each panic that was mended.
#[test]
fn lies_at_random_are_errors_or_sound_batches() {
    let every = of_every_type();
    let mut chance = Chance(0x9e37_79b9_7f4a_7c15);
    let (mut refused, mut taken) = (0, 0);
    for (index, field) in every.schema().fields().iter().enumerate() {
        let batch = every.project(&[index]).unwrap();
        let honest = messages(&batch.slice(3, 40));
        // Without the body of the last message, which is the batch's.
        let metadata_len = honest.len() / 2;
        let mut liar = Liar::new(batch.schema());
        for _ in 0..1500 {
            let mut lies = honest.clone();
            spoil(&mut lies, metadata_len, &mut chance);
            match liar.says(&lies) {
                Ok(batch) => {
                    assert_eq!(batch.schema().field(0), &**field);
                    read_all(&batch);
                    taken += 1;
                }
                Err(fault) => {
                    assert!(!fault.is_empty());
                    refused += 1;
                }
            }
        }
    }
    assert!(refused > 10_000 && taken > 10_000, "{refused} were refused, {taken} were batches");
}

#[test]
fn a_batch_of_another_schema_is_refused_by_the_consumer_too() {
    let mut liar = Liar::new(numbers(0, 1).schema());
    let schema = Schema::new(vec![Field::new("number", DataType::Int64, false)]);
    let fewer = RecordBatch::try_new(schema.into(), vec![numbers(0, 9).column(0).clone()]).unwrap();
    assert_eq!(liar.says(&messages(&fewer)).unwrap_err(), "column \"word\": the message has no numbers for it");
    let numbers = numbers(0, 9);
    let columns = ["number", "word", "another"].into_iter().zip([0, 1, 0].map(|index| numbers.column(index).clone()));
    let more = RecordBatch::try_from_iter_with_nullable(columns.map(|(name, column)| (name, column, true))).unwrap();
    assert_eq!(liar.says(&messages(&more)).unwrap_err(), "it has more columns or buffers than the schema");
    assert!(liar.says(&messages(&of_every_type())).is_err());
}
