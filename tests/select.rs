//! Many endpoints in one selector: nothing is missed, nobody starves, and a wait in which nothing happens sleeps.

mod common;

use common::{DEADLINE, unique_name, wait_until_thread_has_slept_for};
use fdring::errors::ReceiveError;
use fdring::options::LaneOptions;
use fdring::select::{Key, Selector};
use fdring::{Attach, Consumer, Producer, Server, Session};
use std::collections::HashMap;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// Lanes of one session, and a selector of their consumers.
fn lanes(count: usize) -> (Vec<Producer>, Server, Selector<Consumer>, Vec<Key>) {
    let lane = |index| LaneOptions::new(format!("{index}")).capacity(4096).create().unwrap();
    let lanes: Vec<Producer> = (0..count).map(lane).collect();
    let address = format!("@{}", unique_name());
    let server = Server::listen(&*address, &lanes).unwrap();
    let mut selector = Selector::new().unwrap();
    let consumers = Session::connect(&*address).unwrap().attach_all(Attach::new()).unwrap();
    let keys = consumers.into_iter().map(|consumer| selector.add(consumer).unwrap()).collect();
    (lanes, server, selector, keys)
}

/// Receives once from the endpoint with this key: the record's number, or `None` if nothing was there or the lane has
/// ended, in which case the endpoint goes.
fn take(selector: &mut Selector<Consumer>, key: Key) -> Option<u64> {
    match selector.get_mut(key).unwrap().try_receive() {
        Ok(Some(record)) => return Some(u64::from_le_bytes(record[..8].try_into().unwrap())),
        Ok(None) => assert!(selector.remove(key).is_some()),
        Err(ReceiveError::Empty) => {}
        Err(error) => panic!("{error}"),
    }
    None
}

#[test]
fn every_record_of_many_lanes_arrives_in_order_while_their_producers_sleep_and_run() {
    const RECORDS: u64 = 2_000;
    // The most lanes that a session has: each of its consumers watches the same socket.
    let (mut lanes, _server, mut selector, keys) = lanes(fdring::limits::LANES_PER_SESSION_MAX);
    let producer = thread::spawn(move || {
        let count = lanes.len() as u64;
        for number in 0..RECORDS * 4 {
            lanes[(number * number % count) as usize].send(&number.to_le_bytes()).unwrap();
            if number % 64 == 0 {
                thread::yield_now();
            }
        }
    });
    let mut seen: HashMap<Key, u64> = keys.iter().map(|key| (*key, 0)).collect();
    let mut records = 0;
    while !selector.is_empty() {
        let key = selector.wait_timeout(DEADLINE).unwrap();
        if let Some(number) = take(&mut selector, key) {
            let last = seen.insert(key, number + 1).unwrap();
            assert!(last <= number, "{number} after {last}");
            records += 1;
        }
    }
    assert_eq!(records, RECORDS * 4);
    producer.join().unwrap();
}

#[test]
fn one_that_is_always_busy_keeps_no_other_unseen() {
    let (mut lanes, _server, mut selector, keys) = lanes(3);
    let (mut control, socket) = UnixStream::pair().unwrap();
    let socket_key = selector.add_fd(socket.try_clone().unwrap()).unwrap();
    assert_eq!(selector.try_wait(), Err(ReceiveError::Empty));
    for turn in 0..50 {
        // Two lanes have more than is taken; the third, and the socket, have something now and then.
        lanes[0].send(&[0; 8]).unwrap();
        lanes[0].send(&[0; 8]).unwrap();
        lanes[1].send(&[0; 8]).unwrap();
        if turn % 10 == 5 {
            lanes[2].send(&[0; 8]).unwrap();
            control.write_all(b"x").unwrap();
        }
        let mut turns = [0; 4];
        for _ in 0..if turn % 10 == 5 { 4 } else { 2 } {
            let key = selector.wait_timeout(DEADLINE).unwrap();
            match keys.iter().position(|lane| *lane == key) {
                Some(lane) => {
                    turns[lane] += 1;
                    assert!(take(&mut selector, key).is_some());
                }
                None => {
                    assert_eq!(key, socket_key);
                    turns[3] += 1;
                    (&socket).read_exact(&mut [0]).unwrap();
                }
            }
        }
        assert_eq!(turns, if turn % 10 == 5 { [1; 4] } else { [1, 1, 0, 0] }, "turn {turn}");
        // What is left over of the first two, so that the ring never fills: two turns of the queue.
        while let Ok(key) = selector.try_wait() {
            take(&mut selector, key);
        }
    }
}

#[test]
fn a_wait_in_which_nothing_happens_sleeps_and_ends_in_time() {
    let (mut lanes, _server, mut selector, keys) = lanes(4);
    let (say_tid, tid) = mpsc::channel();
    thread::scope(|scope| {
        let waiter = scope.spawn(|| {
            say_tid.send(rustix::thread::gettid()).unwrap();
            selector.wait().unwrap()
        });
        // Without waking in between, after the second looks of all four.
        wait_until_thread_has_slept_for(tid.recv().unwrap(), Duration::from_millis(300));
        lanes[2].send(&[7; 8]).unwrap();
        assert_eq!(waiter.join().unwrap(), keys[2]);
    });
    assert!(take(&mut selector, keys[2]).is_some());
    assert_eq!(selector.wait_timeout(Duration::from_millis(1)), Err(ReceiveError::TimedOut));
}

#[test]
fn what_is_removed_and_added_has_a_new_key_and_the_old_one_is_nobodys() {
    let (mut lanes, server, mut selector, keys) = lanes(2);
    let consumer = selector.remove(keys[0]).unwrap();
    assert!(
        selector.get(keys[0]).is_none() && selector.get_mut(keys[0]).is_none() && selector.remove(keys[0]).is_none()
    );
    lanes[0].send(&[1; 8]).unwrap();
    assert_eq!(selector.try_wait(), Err(ReceiveError::Empty), "nobody waits for that lane");
    let key = selector.add(consumer).unwrap();
    assert!(!keys.contains(&key));
    assert_eq!(selector.try_wait(), Ok(key), "what came before it was added counts");
    assert!(take(&mut selector, key).is_some());
    // The end of a lane is news, again and again.
    drop(lanes);
    for _ in 0..3 {
        let ended = selector.wait_timeout(DEADLINE).unwrap();
        assert!(selector.get_mut(ended).unwrap().try_receive().unwrap().is_none());
    }
    drop(server);
}
