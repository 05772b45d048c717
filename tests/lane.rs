//! Lanes through the public interface, with both ends in this process.

use fdring::{LaneOptions, Producer, ReceiveError, Server, Session, SessionOptions};
use std::time::Duration;

fn address(test: &str) -> String {
    format!("@fdring-lane-{}-{test}", std::process::id())
}

#[test]
fn records_come_whole_and_in_order() {
    let mut producer = Producer::create(LaneOptions::new("t").capacity(4096)).unwrap();
    let _server = Server::listen(address("order"), &[&producer]).unwrap();
    let mut consumer = Session::connect(address("order"), SessionOptions::new()).unwrap().attach_one().unwrap();
    let thread = std::thread::spawn(move || {
        for n in 0..100_000u64 {
            let mut slot = producer.reserve(8 + (n % 100) as usize).unwrap();
            slot[..8].copy_from_slice(&n.to_le_bytes());
            slot.set_tag(n as u16);
            slot.commit();
        }
    });
    let mut n = 0u64;
    while let Some(record) = consumer.receive().unwrap() {
        assert_eq!(record.len(), 8 + (n % 100) as usize);
        assert_eq!(record[..8], n.to_le_bytes());
        assert_eq!(record.tag(), n as u16);
        n += 1;
    }
    assert_eq!(n, 100_000);
    thread.join().unwrap();
}

#[test]
fn a_timeout_ends_the_wait() {
    let producer = Producer::create(LaneOptions::new("t")).unwrap();
    let _server = Server::listen(address("timeout"), &[&producer]).unwrap();
    let mut consumer = Session::connect(address("timeout"), SessionOptions::new()).unwrap().attach_one().unwrap();
    assert!(matches!(consumer.receive_timeout(Duration::from_millis(20)), Err(ReceiveError::TimedOut)));
    assert!(matches!(consumer.try_receive(), Err(ReceiveError::Empty)));
    drop(producer);
    assert!(consumer.receive().unwrap().is_none());
}
