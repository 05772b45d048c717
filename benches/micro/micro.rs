//! One step at a time, in one process: what an instruction more or less on a hot path costs.
//!
//! ```sh
//! cargo bench --manifest-path benches/micro/Cargo.toml
//! ```
//!
//! Frames are private; the feature `fuzzing` shows their parser to the fuzzers, and to this.
//! How fast records move between processes is not to be seen here: everything stays in one processor's caches.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use fdring::options::{LaneOptions, Records};
use fdring::{Attach, Consumer, Producer, Server, Session, cmsg};
use std::hint::black_box;
use std::time::{Duration, Instant};

/// How many records are published before a consumer's turn is timed.
const RUN: u64 = 1024;
const BATCH: u64 = 32;
const RECORD_LEN: usize = 56;

fn producer(name: &str) -> Producer {
    LaneOptions::new(name).record_align(64).create().expect("a lane")
}

/// A lane of its own with a consumer in this process, and the server that must outlive the connecting.
fn lane(name: &str, in_place: bool) -> (Producer, Server, Consumer) {
    let producer = producer(name);
    let address = format!("@fdring-micro-{}-{name}", std::process::id());
    let server = Server::listen(address.as_str(), &[&producer]).expect("an address of our own");
    let session = Session::connect(address.as_str()).expect("a session");
    let consumer = if in_place {
        // SAFETY: the producer is this process, and nothing else writes its memory.
        session.attach_one(unsafe { Attach::new().in_place() })
    } else {
        session.attach_one(Attach::new())
    };
    (producer, server, consumer.expect("a seat"))
}

fn writing(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("write");
    group.throughput(Throughput::Elements(1));
    let mut lane = producer("writing");
    group.bench_function("reserve and commit 56 B, no consumer", |bencher| {
        bencher.iter(|| {
            let mut slot = lane.reserve(RECORD_LEN).expect("room");
            slot.fill(7);
            slot.commit();
        });
    });
    let payload = [7; RECORD_LEN];
    group.bench_function("send 56 B, no consumer", |bencher| {
        bencher.iter(|| lane.send(black_box(&payload)).expect("room"));
    });
    group.throughput(Throughput::Elements(BATCH));
    group.bench_function("batch of 32 × 56 B, no consumer", |bencher| bencher.iter(|| send_batch(&mut lane)));
    group.bench_function("batch of 32 × 56 B by fill_many, no consumer", |bencher| {
        bencher.iter(|| {
            let mut batch = lane.batch().expect("a batch");
            let records = Records { count: BATCH as usize, len: RECORD_LEN };
            batch.fill_many(records, |_, payload| payload.fill(7)).expect("room");
            batch.commit();
        });
    });
    group.finish();
}

fn send_batch(lane: &mut Producer) {
    let mut batch = lane.batch().expect("a batch");
    for _ in 0..BATCH {
        let mut slot = batch.reserve(RECORD_LEN).expect("room");
        slot.fill(7);
        slot.commit();
    }
    batch.commit();
}

fn reading(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("read");
    group.throughput(Throughput::Elements(1));
    for (name, in_place) in [("in place", true), ("copied", false)] {
        let (mut producer, _server, mut consumer) = lane(name, in_place);
        group.bench_function(format!("receive and release 56 B, {name}"), |bencher| {
            bencher.iter_custom(|records| receive(&mut producer, &mut consumer, records, one_by_one));
        });
        group.bench_function(format!("receive 56 B in runs, {name}"), |bencher| {
            bencher.iter_custom(|records| receive(&mut producer, &mut consumer, records, in_runs));
        });
        group.bench_function(format!("receive 56 B, keep and drop, {name}"), |bencher| {
            bencher.iter_custom(|records| receive(&mut producer, &mut consumer, records, kept));
        });
        group.bench_function(format!("receive 56 B into a window of 16, {name}"), |bencher| {
            bencher.iter_custom(|records| receive(&mut producer, &mut consumer, records, in_a_window));
        });
    }
    group.finish();
}

/// The time in which `read` receives `records` records, which were all published before.
fn receive(
    producer: &mut Producer,
    consumer: &mut Consumer,
    records: u64,
    read: impl Fn(&mut Consumer, u64),
) -> Duration {
    let (mut left, mut elapsed) = (records, Duration::ZERO);
    while left != 0 {
        let run = left.min(RUN).next_multiple_of(BATCH);
        (0..run / BATCH).for_each(|_| send_batch(producer));
        let start = Instant::now();
        read(consumer, run);
        elapsed += start.elapsed();
        left = left.saturating_sub(run);
    }
    elapsed
}

fn one_by_one(consumer: &mut Consumer, records: u64) {
    for _ in 0..records {
        black_box(consumer.try_receive().expect("published").expect("a record")[0]);
    }
}

fn kept(consumer: &mut Consumer, records: u64) {
    for _ in 0..records {
        drop(black_box(consumer.try_receive().expect("published").expect("a record").into_owned()));
    }
}

fn in_a_window(consumer: &mut Consumer, records: u64) {
    let mut window = std::collections::VecDeque::with_capacity(16);
    for _ in 0..records {
        if window.len() == 16 {
            window.pop_front();
        }
        window.push_back(black_box(consumer.try_receive().expect("published").expect("a record").into_owned()));
    }
}

fn in_runs(consumer: &mut Consumer, records: u64) {
    let drained = consumer.try_receive_many(|record| _ = black_box(record[0])).expect("published");
    assert_eq!(drained, records as usize);
}

/// What copying costs if there is neither a ring nor another process: the second pass over the bytes.
fn copying(criterion: &mut Criterion) {
    /// As long as a lane is by default.
    const AREA_BYTES: usize = 4 << 20;
    let mut group = criterion.benchmark_group("copy");
    let area = vec![7; AREA_BYTES];
    for len in [4 << 10, 16 << 10, 64 << 10] {
        group.throughput(Throughput::Bytes(len as u64));
        let mut payloads = area.chunks_exact(len).cycle();
        group.bench_function(format!("{} KiB read where it lies", len >> 10), |bencher| {
            bencher.iter(|| sum(payloads.next().expect("one of many")));
        });
        let mut copy = vec![0; len];
        group.bench_function(format!("{} KiB copied by memcpy, and the copy read", len >> 10), |bencher| {
            bencher.iter(|| {
                copy.copy_from_slice(payloads.next().expect("one of many"));
                sum(black_box(&copy))
            });
        });
    }
    group.finish();
}

fn sum(payload: &[u8]) -> u64 {
    let words = payload.chunks_exact(8).map(|word| u64::from_ne_bytes(word.try_into().expect("eight bytes")));
    words.fold(0, u64::wrapping_add)
}

fn walking(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("cmsg");
    for count in [1, 16, 253] {
        let mut control = vec![0; cmsg::rights_space_bytes(count)];
        group.throughput(Throughput::Elements(count as u64));
        group.bench_function(format!("encode {count} descriptors"), |bencher| {
            bencher.iter(|| cmsg::encode_rights(0..count as i32, black_box(&mut control)).expect("room"));
        });
        group.bench_function(format!("walk {count} descriptors"), |bencher| {
            bencher.iter(|| {
                for message in cmsg::walk(black_box(&control)) {
                    if let Ok(cmsg::ControlMessage::Rights(numbers)) = message {
                        black_box(numbers.fold(0i64, |total, number| total + i64::from(number)));
                    }
                }
            });
        });
    }
    group.finish();
}

/// Frames of the fuzzers' corpus that parse.
fn parsing(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("frame");
    let corpus = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/frame_parse");
    for name in ["hello-names", "offer-one", "offer-four", "attached"] {
        let input = std::fs::read(corpus.join(name)).expect("a file of the corpus");
        // What stands before the frame is the script of the fuzz target: whether it is made to fit, and the
        // descriptors.
        let (fd_count, frame) = (usize::from(input[1]), &input[2..]);
        assert!(fdring::fuzzing::is_frame(frame, fd_count), "{name} does not parse");
        group.throughput(Throughput::Bytes(frame.len() as u64));
        group.bench_function(format!("parse {name}, {} B", frame.len()), |bencher| {
            bencher.iter(|| fdring::fuzzing::is_frame(black_box(frame), fd_count));
        });
    }
    group.finish();
}

criterion_group!(steps, writing, reading, copying, walking, parsing);
criterion_main!(steps);
