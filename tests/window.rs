//! Windows through the public interface: several records reserved at once, filled in any order, published in order.

mod common;

use common::{DEADLINE, unique_name};
use fdring::{Attach, Consumer, Producer, Server, Session, errors::SendError, options::LaneOptions, options::Records};
use std::time::Duration;

fn lane() -> (Producer, Server, Consumer) {
    let producer = LaneOptions::new("lane").capacity(4096).create().unwrap();
    let address = format!("@{}", unique_name());
    let server = Server::listen(&*address, &[&producer]).unwrap();
    let consumer = Session::connect(&*address).unwrap().attach_one(Attach::new()).unwrap();
    (producer, server, consumer)
}

/// Reads everything: the first byte of each record, its length and its tag. Checks that all bytes are alike.
fn read(consumer: &mut Consumer) -> Vec<(u8, usize, u16)> {
    let mut records = Vec::new();
    let each = |record: &fdring::Record<'_>| {
        assert!(record.iter().all(|byte| *byte == record[0]), "torn");
        records.push((record[0], record.len(), record.tag()));
    };
    consumer.try_receive_many(each).unwrap();
    records
}

#[test]
fn slots_are_filled_by_threads_in_any_order_and_published_in_order() {
    let (mut producer, _server, mut consumer) = lane();
    for round in 0..100u8 {
        let mut window = producer.reserve_window(&[56, 120, 24, 200]).unwrap();
        std::thread::scope(|scope| {
            for (n, mut slot) in window.slots().into_iter().enumerate().rev() {
                slot.set_tag(n as u16);
                scope.spawn(move || slot.fill(round + n as u8));
            }
        });
        assert!(consumer.try_receive().is_err(), "not published yet");
        let end = window.commit();
        assert_eq!(end, producer.published());
        let expected = [56, 120, 24, 200].into_iter().enumerate().map(|(n, len)| (round + n as u8, len, n as u16));
        assert_eq!(read(&mut consumer), expected.collect::<Vec<_>>());
    }
}

#[test]
fn what_is_dropped_leaves_nothing() {
    let (mut producer, _server, mut consumer) = lane();
    let mut window = producer.reserve_window(&[100; 3]).unwrap();
    window.slots().iter_mut().for_each(|slot| slot.fill(0xee));
    drop(window);
    let mut window = producer.reserve_window(&[100; 2]).unwrap();
    window.slots().into_iter().for_each(|slot| slot.discard());
    assert_eq!((window.commit(), producer.published()), (0, 0));
    producer.send(&[1; 8]).unwrap();
    assert_eq!(read(&mut consumer), [(1, 8, 0)]);
}

#[test]
fn what_is_shortened_or_discarded_moves_the_rest_down() {
    let (mut producer, _server, mut consumer) = lane();
    // At every offset of the ring, so also where it ends.
    for round in 0..600u32 {
        let before = producer.published();
        let mut window = producer.reserve_window(&[400, 88, 300, 700, 8]).unwrap();
        let mut slots = window.slots();
        slots.iter_mut().enumerate().for_each(|(n, slot)| slot.fill(n as u8 + 1));
        slots[0].truncate(round as usize % 401);
        slots.remove(2).discard();
        assert_eq!(slots[0].len(), round as usize % 401);
        drop(slots);
        window.slots()[0].set_tag(9);
        let end = window.commit();
        // What is empty has no first byte.
        let first = consumer.try_receive().unwrap().map(|record| (record.to_vec(), record.tag(), record.position()));
        let (payload, tag, position) = first.unwrap();
        assert_eq!((payload, tag), (vec![1; round as usize % 401], 9));
        assert!(position == before || position % 4096 == 0);
        assert_eq!(read(&mut consumer), [(2, 88, 0), (4, 700, 0), (5, 8, 0)]);
        assert_eq!(consumer.position(), end);
    }
}

#[test]
fn a_window_may_end_another_round_of_the_ring_and_a_batch_goes_on() {
    let (mut producer, _server, mut consumer) = lane();
    (0..3).for_each(|_| producer.send(&[1; 1016]).unwrap());
    read(&mut consumer);
    // The second of them ends where the ring ends: no padding.
    let mut window = producer.reserve_window(&[504, 504, 504]).unwrap();
    window.slots().iter_mut().for_each(|slot| slot.fill(2));
    assert_eq!(window.commit(), 4096 + 512);
    let mut batch = producer.batch().unwrap();
    batch.fill_many(Records { count: 20, len: 56 }, |_, payload| payload.fill(3)).unwrap();
    assert_eq!(batch.commit(), 4096 + 512 + 20 * 64);
    let records = read(&mut consumer);
    assert_eq!((records.len(), records[2], records[22]), (23, (2, 504, 0), (3, 56, 0)));
}

#[test]
fn a_window_is_half_of_the_ring_at_most_and_fits_then() {
    let (mut producer, _server, mut consumer) = lane();
    let max_bytes = 2048;
    assert_eq!(producer.try_reserve_window(&[2041]).unwrap_err(), SendError::TooLong { len: 2041, max: 2040 });
    let error = producer.try_reserve_window(&[1016, 1016, 0]).unwrap_err();
    assert_eq!(error, SendError::WindowTooLong { bytes: 2056, max_bytes });
    assert_eq!(producer.try_reserve_window(&[usize::MAX / 2; 2]).unwrap_err().kind(), error.kind());
    assert!(producer.try_reserve_window(&[]).unwrap().slots().is_empty());
    for _ in 0..100 {
        let mut window = producer.try_reserve_window(&[1000, 1024]).unwrap();
        window.slots().iter_mut().for_each(|slot| slot.fill(7));
        window.commit();
        assert_eq!(read(&mut consumer), [(7, 1000, 0), (7, 1024, 0)]);
        producer.send(&[8; 24]).unwrap();
        assert_eq!(read(&mut consumer), [(8, 24, 0)]);
    }
}

#[test]
fn a_window_waits_for_the_room_of_all_its_records() {
    let (mut producer, _server, mut consumer) = lane();
    (0..3).for_each(|_| producer.send(&[1; 1016]).unwrap());
    assert!(matches!(producer.try_reserve_window(&[504; 3]), Err(SendError::Full { consumer: Some(_) })));
    let timeout = Duration::from_millis(10);
    let error = producer.reserve_window_timeout(&[504; 3], timeout).unwrap_err();
    assert!(matches!(error, SendError::TimedOut { consumer: Some(_) }), "{error}");
    producer.try_reserve_window(&[504; 2]).unwrap().commit();
    let reader = std::thread::spawn(move || {
        let mut records = 0;
        while records < 8 {
            records += consumer.receive_many(|_| ()).unwrap();
        }
    });
    producer.reserve_window_timeout(&[504; 3], DEADLINE).unwrap().commit();
    reader.join().unwrap();
}
