//! Records between real processes: the same bytes, whatever their length, for any number of consumers of both kinds.

mod common;
#[path = "common/peer.rs"]
mod peer;

use common::{DEADLINE, role, unique_name, wait_until};
use fdring::{
    Attach, Consumer, Server, Session,
    options::{LaneOptions, Start},
};
use peer::{Peer, argument, say};

const RECORDS: u64 = 30_000;

/// A payload of `len` bytes that knows its sequence number, if there is room for it, and ends with a checksum.
fn fill(payload: &mut [u8], sequence: u64) {
    let mut state = sequence.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    for chunk in payload.chunks_mut(8) {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        chunk.copy_from_slice(&state.to_le_bytes()[..chunk.len()]);
    }
    if let Some(first) = payload.get_mut(..8) {
        first.copy_from_slice(&sequence.to_le_bytes());
    }
}

/// The lengths that matter, in turn.
fn len_of(sequence: u64, max: usize) -> usize {
    let lens = [0, 1, 7, 8, 63, 64, 4095, 4096, max];
    match sequence % 100 {
        n @ 0..9 => lens[n as usize],
        n => (n * sequence % 300) as usize,
    }
}

/// Reads to the end; the sequence number of the first record and how many came, all of which were as they should be.
fn read_all(consumer: &mut Consumer, max: usize, stop_after: u64) -> (u64, u64) {
    let (mut first, mut count, mut expected) = (None, 0, Vec::new());
    while let Some(record) = consumer.receive().unwrap() {
        // A short record's tag, with what came before, tells its number.
        let sequence = match first {
            None => u64::from(record.tag()),
            Some(first) => first + count,
        };
        first = first.or(Some(sequence));
        assert_eq!(record.tag(), sequence as u16, "a gap");
        expected.resize(len_of(sequence, max), 0);
        fill(&mut expected, sequence);
        assert!(*record == *expected, "record {sequence} came as other bytes");
        count += 1;
        if count == stop_after {
            break;
        }
    }
    (first.unwrap_or(0), count)
}

#[allow(unsafe_code, reason = "vouches for the producer of this test")]
fn attach(session: Session, in_place: bool, start: Start) -> Consumer {
    // SAFETY: the producer is this crate's, in the process that started this one.
    let how = if in_place { unsafe { Attach::new().in_place() } } else { Attach::new() };
    session.attach_one(how.start(start)).unwrap()
}

/// A consumer in a process of its own. The argument is its address, its kind, and after how many records it leaves.
fn consume() {
    let argument = argument();
    let [address, kind, start, stop] = argument.split(' ').collect::<Vec<_>>()[..] else { panic!("{argument}") };
    let start = if start == "oldest" { Start::Oldest } else { Start::Latest };
    let session = Session::connect(address).unwrap();
    let max = session.lanes()[0].payload_max;
    let mut consumer = attach(session, kind == "in-place", start);
    assert_eq!(consumer.reads_in_place(), kind == "in-place");
    say("ready");
    let (first, count) = read_all(&mut consumer, max, stop.parse().unwrap());
    say(&format!("{first} {count}"));
}

fn sends_to(test: &str, consumers: usize, options: LaneOptions) {
    if role().is_some() {
        return consume();
    }
    let mut producer = options.create().unwrap();
    let address = format!("@{}", unique_name());
    let server = Server::listen(&*address, &[&producer]).unwrap();
    let kind = |n: usize| if n.is_multiple_of(2) { "in-place" } else { "copying" };
    // The last of several leaves half-way.
    let stop = |n: usize| if n > 0 && n + 1 == consumers { RECORDS / 2 } else { 0 };
    let start = |n| Peer::start(test, "consumer", &format!("{address} {} latest {}", kind(n), stop(n)));
    let mut peers: Vec<Peer> = (0..consumers).map(start).collect();
    peers.iter_mut().for_each(|peer| peer.expect("ready"));
    server.wait_for_sessions(consumers, DEADLINE).unwrap();
    let mut late = None;
    let max = producer.lane().payload_max;
    let mut sequence = 0;
    while sequence < RECORDS {
        if sequence == RECORDS / 2 {
            late = Some(Peer::start(test, "consumer", &format!("{address} copying oldest 0")));
            late.as_mut().unwrap().expect("ready");
        }
        if sequence % 1000 < 500 {
            let mut slot = producer.reserve(len_of(sequence, max)).unwrap();
            fill(&mut slot, sequence);
            slot.set_tag(sequence as u16);
            slot.commit();
            sequence += 1;
        } else {
            let mut batch = producer.batch().unwrap();
            for _ in 0..20 {
                let mut slot = batch.reserve((len_of(sequence, max) + 5).min(max)).unwrap();
                slot.truncate(len_of(sequence, max));
                fill(&mut slot, sequence);
                slot.set_tag(sequence as u16);
                slot.commit();
                sequence += 1;
            }
            batch.commit();
        }
    }
    assert!(producer.published() > 100 * producer.lane().capacity, "many laps");
    producer.finish();
    for (n, mut peer) in peers.into_iter().enumerate() {
        peer.expect(&format!("0 {}", if stop(n) == 0 { RECORDS } else { stop(n) }));
        peer.finish();
    }
    let mut late = late.unwrap();
    let said = late.heard();
    let (first, count) = said.split_once(' ').unwrap();
    let (first, count): (u64, u64) = (first.parse().unwrap(), count.parse().unwrap());
    assert!(first <= RECORDS / 2 && first + count == RECORDS, "{count} records from {first} on, without a gap");
    late.finish();
    wait_until("all sessions are over", || server.stats().sessions == 0);
    assert_eq!(server.stats().evicted, 0);
}

#[test]
fn one_consumer_reads_in_place_what_another_process_wrote() {
    sends_to("one_consumer_reads_in_place_what_another_process_wrote", 1, LaneOptions::new("one").capacity(16 << 10));
}

#[test]
fn two_consumers_read_the_same() {
    let options = LaneOptions::new("two").capacity(16 << 10).record_align(64);
    sends_to("two_consumers_read_the_same", 2, options);
}

#[test]
fn eight_consumers_read_the_same() {
    let options = LaneOptions::new("eight").capacity(32 << 10).payload_align(128);
    sends_to("eight_consumers_read_the_same", 8, options);
}
