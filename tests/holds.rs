//! Records that are kept, through sessions: what outlives what, and what is left at the end.
#![allow(unsafe_code, reason = "reads in place")]

mod common;

use common::{belongings, isolated, unique_name, wait_until};
use fdring::{Attach, Consumer, OwnedRecord, Producer, Server, Session, errors::ReceiveError, options::LaneOptions};

fn lane() -> (Producer, Server, Consumer) {
    let producer = LaneOptions::new("lane").capacity(4096).create().unwrap();
    let address = format!("@{}", unique_name());
    let server = Server::listen(&*address, &[&producer]).unwrap();
    // SAFETY: the producer is this process, and nothing else writes its memory.
    let in_place = unsafe { Attach::new().in_place() };
    let consumer = Session::connect(&*address).unwrap().attach_one(in_place).unwrap();
    (producer, server, consumer)
}

fn keep(producer: &mut Producer, consumer: &mut Consumer, records: u8) -> Vec<OwnedRecord> {
    (0..records).for_each(|n| producer.send(&[n; 56]).unwrap());
    (0..records).map(|_| consumer.receive().unwrap().unwrap().into_owned()).collect()
}

fn check(records: &[OwnedRecord]) {
    assert!(records.iter().enumerate().all(|(n, record)| record[..] == [n as u8; 56] && record.is_held()));
}

#[test]
fn a_session_lasts_until_the_last_hold_of_its_consumer_ends() {
    let (mut producer, server, mut consumer) = lane();
    let mut kept = keep(&mut producer, &mut consumer, 3);
    wait_until("the session is counted", || server.stats().sessions == 1);
    drop(consumer);
    // It has a seat still, holds the lane back, and is nobody who died.
    assert_eq!((producer.consumer_count(), server.stats().sessions), (1, 1));
    let [info] = &producer.consumers()[..] else { panic!("one is there") };
    assert_eq!((info.behind_bytes, info.held_bytes), (3 * 64, 3 * 64));
    let sent = (0..).find(|_| producer.try_send(&[9; 56]).is_err()).unwrap();
    assert_eq!(sent, 61);
    check(&kept);
    drop(kept.remove(0));
    producer.try_send(&[9; 56]).unwrap();
    producer.try_send(&[9; 56]).unwrap_err();
    drop(kept);
    assert_eq!(producer.consumer_count(), 0);
    wait_until("the session is over", || server.stats().sessions == 0);
    producer.try_send(&[9; 56]).unwrap();
    assert_eq!(server.stats().evicted, 0);
}

#[test]
fn holds_outlive_the_producer_and_the_server_and_leave_nothing() {
    isolated("holds_outlive_the_producer_and_the_server_and_leave_nothing", || {
        let before = belongings();
        let (mut producer, server, mut consumer) = lane();
        let mut kept = keep(&mut producer, &mut consumer, 4);
        drop((producer, server));
        assert!(matches!(consumer.receive(), Ok(None) | Err(ReceiveError::Closed)));
        drop(consumer);
        check(&kept);
        let last = kept.pop().unwrap();
        std::thread::spawn(move || drop(kept)).join().unwrap();
        assert_eq!(last[..], [3; 56]);
        drop(last);
        wait_until("nothing is left", || belongings() == before);
    });
}
