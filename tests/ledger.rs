//! The checker that proves what crashed processes have read: it finds whatever could be wrong in their logs.

#[path = "common/ledger.rs"]
mod ledger;

use ledger::{CAPACITY, Ending, Entry, Ledger, payload_of};

const LANE: u64 = 7;

/// The logs of a producer and of a consumer between whom all went well, and who were killed at no bad time.
fn honest() -> (Vec<Entry>, Vec<Entry>) {
    let mut producer = vec![Entry::Opened { lane: LANE }];
    let mut consumer = vec![Entry::Attached { lane: LANE, start: 0 }];
    let mut position = 0;
    for sequence in 0..200 {
        let payload = payload_of(LANE, sequence);
        let size = (8 + payload.len() as u64).next_multiple_of(8);
        if position % CAPACITY + size > CAPACITY {
            position = position.next_multiple_of(CAPACITY);
        }
        consumer.push(Entry::read(&payload, position));
        position += size;
        producer.push(Entry::Intends { end: sequence + 1 });
        producer.push(Entry::Published { end: sequence + 1, position });
    }
    producer.push(Entry::Intends { end: 201 });
    consumer.push(Entry::Ended { how: Ending::PeerDead, position, published: position });
    (producer, consumer)
}

/// What the checker finds once `spoil` has been at the consumer's log.
fn fault(spoil: impl FnOnce(&mut Vec<Entry>)) -> String {
    let (producer, mut consumer) = honest();
    spoil(&mut consumer);
    Ledger::new(&producer).unwrap().check(&consumer).expect_err("it is not in order")
}

#[test]
fn nothing_is_wrong_with_honest_logs() {
    let (producer, consumer) = honest();
    let ledger = Ledger::new(&producer).unwrap();
    let reading = ledger.check(&consumer).unwrap().unwrap();
    assert_eq!((reading.first, reading.end, reading.how), (0, 200, Some(Ending::PeerDead)));
    for killed_after in 1..200 {
        let reading = ledger.check(&consumer[..killed_after]).unwrap().unwrap();
        assert_eq!((reading.end, reading.how), (killed_after as u64 - 1, None));
    }
    assert_eq!(ledger.check(&[]), Ok(None));
}

#[test]
fn one_that_starts_later_must_begin_with_the_next_record() {
    let (producer, consumer) = honest();
    let ledger = Ledger::new(&producer).unwrap();
    let Entry::Published { position: start, .. } = producer[2 * 50] else { panic!("{:?}", producer[2 * 50]) };
    let mut late = consumer[51..].to_vec();
    late.insert(0, Entry::Attached { lane: LANE, start });
    assert_eq!(ledger.check(&late).unwrap().unwrap().first, 50);
    late.remove(1);
    assert!(ledger.check(&late).unwrap_err().contains("had to be Read"));
    late[0] = Entry::Attached { lane: LANE, start: start + 8 };
    assert!(ledger.check(&late).unwrap_err().contains("where no record ends"));
}

#[test]
fn a_lost_record_is_found() {
    assert!(fault(|log| _ = log.remove(100)).contains("had to be Read"));
    // The last before the end.
    let found = fault(|log| {
        let Entry::Read { position, .. } = log.remove(200) else { panic!() };
        let Some(Entry::Ended { position: end, .. }) = log.last_mut() else { panic!() };
        *end = position;
    });
    assert!(found.contains("where records are published up to"), "{found}");
}

#[test]
fn a_record_that_comes_twice_is_found() {
    assert!(fault(|log| log.insert(100, log[100])).contains("had to be Read"));
}

#[test]
fn records_out_of_order_are_found() {
    assert!(fault(|log| log.swap(100, 101)).contains("had to be Read"));
}

#[test]
fn a_torn_record_is_found_whichever_byte_it_is() {
    let payload = payload_of(LANE, 99);
    for byte in 0..payload.len() {
        let mut torn = payload.clone();
        torn[byte] ^= 0x10;
        let spoil = |log: &mut Vec<Entry>| {
            let Entry::Read { position, .. } = log[100] else { panic!() };
            log[100] = Entry::read(&torn, position);
        };
        assert!(fault(spoil).contains("had to be Read"), "byte {byte}");
    }
    let short = |log: &mut Vec<Entry>| {
        let Entry::Read { position, .. } = log[100] else { panic!() };
        log[100] = Entry::read(&payload[..payload.len() - 1], position);
    };
    assert!(fault(short).contains("had to be Read"));
}

#[test]
fn records_that_were_never_published_are_found() {
    let garbage = Entry::read(b"never to be seen", 0);
    assert!(fault(|log| log[201] = garbage).contains("had to be Read"));
    let found = fault(|log| {
        // The last that was meant to be published is in order, whether it was or not.
        let Some(Entry::Ended { position, .. }) = log.pop() else { panic!() };
        log.extend([Entry::read(&payload_of(LANE, 200), position), garbage]);
    });
    assert!(found.contains("was never to be published"), "{found}");
}

#[test]
fn an_end_that_comes_too_early_is_found() {
    let found = fault(|log| {
        let (Entry::Read { position, .. }, ended) = (log[200], log.last_mut().unwrap()) else { panic!() };
        *ended = Entry::Ended { how: Ending::PeerDead, position, published: position };
        log.remove(200);
    });
    assert!(found.contains("of which 200 were published"), "{found}");
    assert!(fault(|log| log.push(log[200])).contains("after the end"));
}

#[test]
fn one_that_stops_at_another_record_than_the_last_is_found() {
    let found = fault(|log| {
        let Some(Entry::Ended { how, .. }) = log.last_mut() else { panic!() };
        *how = Ending::Last;
    });
    assert!(found.contains("for the last, which is None"), "{found}");
}

#[test]
fn a_publication_that_ends_elsewhere_is_found() {
    let (mut producer, _) = honest();
    let Some(Entry::Published { position, .. }) = producer.get_mut(20) else { panic!() };
    *position += 8;
    assert!(Ledger::new(&producer).is_err());
}
