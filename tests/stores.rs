//! Payloads that are copied into the ring past the caches are ordered as all others: a reader that sees a record's
//! position sees its bytes (invariant 6), and a tap that has read bytes of the next lap hears that its copy is torn
//! (invariant 18). No model can say that: the stores are beyond what its memory knows.

#![allow(unsafe_code, reason = "reads in place, which the producer must be vouched for")]

mod common;

use common::{DEADLINE, unique_name};
use fdring::errors::TapError;
use fdring::options::{LaneOptions, Start, Stores};
use fdring::{Attach, Producer, Server, Session, Tap};
use std::io::Write as _;
use std::thread;

/// A page: the shortest payload that is streamed. Its last line is one of those that leave the processor last.
const LEN: usize = 4096;
const RECORDS: u64 = 100_000;

/// A lane whose payloads are whole lines, so that the last bytes of each are streamed.
fn lane(stores: Stores, capacity: u64) -> Producer {
    let options = LaneOptions::new("pages").capacity(capacity).record_align(64).payload_align(64);
    options.stores(stores).create().unwrap()
}

/// The page of record `number`: its number, in every line.
fn page(number: u64) -> Vec<u8> {
    number.to_ne_bytes().repeat(LEN / 8)
}

/// Whether the page is that of record `number`. What was stored last is looked at first; a word of each line will do.
fn is_page(bytes: &[u8], number: u64) -> bool {
    bytes.rchunks_exact(64).all(|line| line[..8] == number.to_ne_bytes())
}

fn send_pages(lane: &mut Producer, send: impl Fn(&mut Producer, &[u8])) {
    let mut page = page(0);
    for number in 0..RECORDS {
        page.chunks_exact_mut(64).for_each(|line| line[..8].copy_from_slice(&number.to_ne_bytes()));
        send(lane, &page);
    }
}

/// Sends pages by `send` to a reader in place that is on the producer's heels.
fn every_page_is_whole(send: impl Fn(&mut Producer, &[u8])) {
    let mut lane = lane(Stores::Streaming, 1 << 20);
    let address = format!("@{}", unique_name());
    let server = Server::listen(address.as_str(), [&lane]).unwrap();
    // SAFETY: the producer is this test.
    let attach = unsafe { Attach::new().in_place() };
    let mut consumer = Session::connect(address.as_str()).unwrap().attach_one(attach).unwrap();
    let reader = thread::spawn(move || {
        let mut torn = 0;
        for number in 0..RECORDS {
            torn += u64::from(!is_page(&consumer.receive_timeout(DEADLINE).unwrap().unwrap(), number));
        }
        torn
    });
    send_pages(&mut lane, send);
    assert_eq!(reader.join().unwrap(), 0, "records that were published before their bytes");
    drop(server);
}

#[test]
fn a_position_is_not_seen_before_the_bytes_that_were_streamed() {
    every_page_is_whole(|lane, page| lane.send(page).unwrap());
}

#[test]
fn nor_before_those_of_reservations_batches_and_writers() {
    every_page_is_whole(|lane, page| {
        let mut slot = lane.reserve(page.len()).unwrap();
        slot.copy_from_slice(page);
        slot.commit();
    });
    every_page_is_whole(|lane, page| {
        let mut batch = lane.batch().unwrap();
        batch.send(page).unwrap();
        batch.commit();
    });
    every_page_is_whole(|lane, page| {
        let mut writer = lane.reserve(page.len()).unwrap().writer();
        writer.write_all(page).unwrap();
        writer.commit();
    });
}

/// A tap that is lapped in the middle of its copies never delivers a page of two records.
#[test]
fn a_tap_that_is_lapped_by_streamed_bytes_delivers_no_torn_page() {
    let mut lane = lane(Stores::Streaming, 16 << 10);
    let address = format!("@{}", unique_name());
    let server = Server::listen(address.as_str(), [&lane]).unwrap();
    let mut taps: Vec<Tap> = (0..2).map(|_| Tap::connect(address.as_str()).unwrap()).collect();
    thread::scope(|scope| {
        let readers: Vec<_> = taps
            .iter_mut()
            .map(|tap| {
                scope.spawn(move || {
                    let (mut whole, mut torn) = (0_u64, 0_u64);
                    loop {
                        match tap.receive_timeout(DEADLINE) {
                            Ok(Some(record)) => {
                                let number = u64::from_ne_bytes(record[..8].try_into().unwrap());
                                whole += 1;
                                torn += u64::from(!is_page(&record, number));
                            }
                            Ok(None) => return (whole, torn),
                            Err(TapError::Lagged { .. }) => {}
                            Err(error) => panic!("{error}"),
                        }
                    }
                })
            })
            .collect();
        send_pages(&mut lane, |lane, page| lane.send(page).unwrap());
        lane.finish();
        for reader in readers {
            let (whole, torn) = reader.join().unwrap();
            assert!(whole != 0, "the tap has seen something");
            assert_eq!(torn, 0, "torn ones of {whole}");
        }
    });
    drop(server);
}

/// Payloads of every kind of length arrive as they were sent, whichever stores copied them in.
#[test]
fn payloads_of_all_lengths_arrive_by_all_stores() {
    for stores in [Stores::Measured, Stores::Plain, Stores::Streaming] {
        // Enough laps for a trial of the other stores.
        let mut lane = LaneOptions::new("bytes").capacity(1 << 20).stores(stores).create().unwrap();
        let address = format!("@{}", unique_name());
        let server = Server::listen(address.as_str(), [&lane]).unwrap();
        let session = Session::connect(address.as_str()).unwrap();
        let mut consumer = session.attach_one(Attach::new().start(Start::Oldest)).unwrap();
        for round in 0..120_u64 {
            for len in [0, 1, 127, 128, 129, 4095, 4096, 4097, 4160, 5000, 65_536, 100_001] {
                let payload: Vec<u8> = (0..len).map(|n| (n as u64 * 7 + round) as u8).collect();
                lane.send(&payload).unwrap();
                assert!(consumer.receive().unwrap().unwrap()[..] == payload, "{len} bytes by {stores:?}");
            }
        }
        drop(server);
    }
}

#[test]
#[should_panic(expected = "4095 bytes for a record of 4096")]
fn a_copy_of_another_length_than_the_record_is_refused() {
    let mut lane = lane(Stores::Measured, 1 << 20);
    let mut slot = lane.reserve(LEN).unwrap();
    slot.copy_from_slice(&page(0)[..4095]);
}

/// A writer's bytes lie one after the other, also if some are streamed and some are not.
#[test]
fn a_writer_puts_long_and_short_bytes_one_after_the_other() {
    let mut lane = lane(Stores::Streaming, 1 << 20);
    let address = format!("@{}", unique_name());
    let server = Server::listen(address.as_str(), [&lane]).unwrap();
    let mut consumer = Session::connect(address.as_str()).unwrap().attach_one(Attach::new()).unwrap();
    let bytes: Vec<u8> = (0..20_000_u32).map(|n| (n % 251) as u8).collect();
    let mut writer = lane.reserve(30_000).unwrap().writer();
    for part in [&bytes[..5], &bytes[5..5005], &bytes[5005..5006], &bytes[5006..]] {
        writer.write_all(part).unwrap();
    }
    writer.commit();
    assert!(consumer.receive().unwrap().unwrap()[..] == bytes);
    drop(server);
}
