//! The time forms of what waits: `try_` returns at once, `_timeout` and `_deadline` return when the time is up and not
//! before, and all of them say so by the error of their form.

mod common;

use common::unique_name;
use fdring::call::{CallError, TypedCaller, TypedService};
use fdring::distribute::{Distributor, To, Worker};
use fdring::errors::{ReceiveError, SendError, TapError};
use fdring::options::LaneOptions;
use fdring::parcel::Parcel;
use fdring::typed::{Layout, TypedProducer};
use fdring::{Attach, Consumer, Producer, Server, Session, Tap};
use std::fs::File;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_millis(20);

fn address() -> String {
    format!("@{}", unique_name())
}

/// Checks the outcome of both forms of a call that cannot succeed: each waits for as long as it is told, and no less.
fn waits_in_vain<E>(mut timeout: impl FnMut(Duration) -> E, mut deadline: impl FnMut(Instant) -> E) -> [E; 2] {
    let begin = Instant::now();
    let outcomes = [timeout(PATIENCE), deadline(begin + 2 * PATIENCE)];
    assert!(begin.elapsed() >= 2 * PATIENCE, "it gave up before its time");
    let (begin, past) = (Instant::now(), Instant::now() - PATIENCE);
    deadline(past);
    timeout(Duration::ZERO);
    assert!(begin.elapsed() < common::DEADLINE, "it waited beyond a deadline that had passed");
    outcomes
}

fn is_timeout(outcome: &Result<(), SendError>) -> bool {
    let this_process = Some(std::process::id());
    matches!(outcome, Err(SendError::TimedOut { consumer: Some(slow) }) if slow.pid == this_process)
}

fn is_full(outcome: &Result<(), SendError>) -> bool {
    matches!(outcome, Err(SendError::Full { consumer: Some(_) }))
}

#[test]
fn a_producer_of_a_full_lane_gives_up_in_each_form() {
    let mut lane = LaneOptions::new("lane").capacity(4096).create().unwrap();
    let address = address();
    let _server = Server::listen(&*address, [&lane]).unwrap();
    let _consumer = Consumer::connect(&*address).unwrap();
    while lane.try_send(&[0; 56]).is_ok() {}
    let published = lane.published();
    let lane = std::cell::RefCell::new(lane);
    let fills = waits_in_vain(
        |timeout| lane.borrow_mut().fill_timeout(56, timeout, |_| panic!("there is no room")),
        |deadline| lane.borrow_mut().fill_deadline(56, deadline, |_| panic!("there is no room")),
    );
    let tagged = waits_in_vain(
        |timeout| lane.borrow_mut().send_tagged_timeout(&[0; 56], 7, timeout),
        |deadline| lane.borrow_mut().send_tagged_deadline(&[0; 56], 7, deadline),
    );
    let batches = waits_in_vain(
        |timeout| lane.borrow_mut().batch()?.send_tagged_timeout(&[0; 56], 7, timeout),
        |deadline| lane.borrow_mut().batch()?.send_tagged_deadline(&[0; 56], 7, deadline),
    );
    assert!(fills.iter().chain(&tagged).chain(&batches).all(is_timeout), "{fills:?} {tagged:?} {batches:?}");
    let mut lane = lane.into_inner();
    assert!(is_full(&lane.try_fill(56, |_| panic!("there is no room"))));
    assert!(is_full(&lane.try_send_tagged(&[0; 56], 7)));
    assert!(is_full(&lane.batch().unwrap().try_send_tagged(&[0; 56], 7)));
    assert_eq!(lane.published(), published);
}

#[test]
fn a_tag_goes_with_its_record_in_each_form() {
    let mut lane = Producer::create("lane").unwrap();
    let address = address();
    let _server = Server::listen(&*address, [&lane]).unwrap();
    let mut consumer = Consumer::connect(&*address).unwrap();
    let deadline = Instant::now() + common::DEADLINE;
    lane.send_tagged(b"1", 1).unwrap();
    lane.try_send_tagged(b"2", 2).unwrap();
    lane.send_tagged_timeout(b"3", 3, common::DEADLINE).unwrap();
    lane.send_tagged_deadline(b"4", 4, deadline).unwrap();
    let mut batch = lane.batch().unwrap();
    batch.send_tagged(b"5", 5).unwrap();
    batch.try_send_tagged(b"6", 6).unwrap();
    batch.send_tagged_timeout(b"7", 7, common::DEADLINE).unwrap();
    batch.send_tagged_deadline(b"8", 8, deadline).unwrap();
    batch.commit();
    for tag in 1..=8 {
        let record = consumer.receive_deadline(deadline).unwrap().expect("a record");
        assert_eq!((&record[..], record.tag()), (tag.to_string().as_bytes(), tag));
    }
}

#[test]
fn a_producer_of_values_gives_up_in_each_form() {
    let layout = Layout::of::<u64>();
    let lane = LaneOptions::new("values").capacity(4096).values(layout).create().unwrap();
    let mut lane = TypedProducer::<u64>::new(lane, layout).unwrap();
    let address = address();
    let _server = Server::listen(&*address, [lane.untyped()]).unwrap();
    let _consumer = Consumer::connect(&*address).unwrap();
    while lane.try_send(&0).is_ok() {}
    let lane = std::cell::RefCell::new(lane);
    let slices = waits_in_vain(
        |timeout| lane.borrow_mut().send_slice_timeout(&[1, 2], timeout),
        |deadline| lane.borrow_mut().send_slice_deadline(&[1, 2], deadline),
    );
    let fills = waits_in_vain(
        |timeout| lane.borrow_mut().fill_timeout(2, timeout, |_| panic!("there is no room")),
        |deadline| lane.borrow_mut().fill_deadline(2, deadline, |_| panic!("there is no room")),
    );
    let batches = waits_in_vain(
        |timeout| lane.borrow_mut().batch()?.send_timeout(&1, timeout),
        |deadline| lane.borrow_mut().batch()?.send_deadline(&1, deadline),
    );
    assert!(slices.iter().chain(&fills).chain(&batches).all(is_timeout), "{slices:?} {fills:?} {batches:?}");
    let batches_of_slices = waits_in_vain(
        |timeout| lane.borrow_mut().batch()?.send_slice_timeout(&[1, 2], timeout),
        |deadline| lane.borrow_mut().batch()?.send_slice_deadline(&[1, 2], deadline),
    );
    assert!(batches_of_slices.iter().all(is_timeout), "{batches_of_slices:?}");
    let mut lane = lane.into_inner();
    assert!(is_full(&lane.try_send_slice(&[1, 2])));
    assert!(is_full(&lane.try_fill(2, |_| panic!("there is no room"))));
    assert!(is_full(&lane.batch().unwrap().try_send(&1)));
    assert!(is_full(&lane.batch().unwrap().try_send_slice(&[1, 2])));
}

/// A lane on which nothing with a descriptor can be sent now: its consumer leaves all of them untaken.
fn crowded() -> (Producer, Server, Consumer) {
    let mut lane = LaneOptions::new("files").attachments(1).create().unwrap();
    let address = address();
    let server = Server::listen(&*address, [&lane]).unwrap();
    let attach = Attach::new().attachments(true);
    let consumer = Session::connect(&*address).unwrap().attach_one(attach).unwrap();
    let null = File::open("/dev/null").unwrap();
    while lane.try_send_with_fds(b"", &[null.as_fd()]).is_ok() {}
    (lane, server, consumer)
}

#[test]
fn what_has_descriptors_gives_up_in_each_form() {
    let is_untaken = |outcome: &Result<(), SendError>| matches!(outcome, Err(SendError::Untaken { .. }));
    let (lane, _server, _consumer) = crowded();
    let lane = std::cell::RefCell::new(lane);
    let null = File::open("/dev/null").unwrap();
    let parcel = Parcel::copy_of("parcel", 1, &[b"bytes"]).unwrap();
    let sends = waits_in_vain(
        |timeout| lane.borrow_mut().send_with_fds_timeout(b"", &[null.as_fd()], timeout),
        |deadline| lane.borrow_mut().send_with_fds_deadline(b"", &[null.as_fd()], deadline),
    );
    let parcels = waits_in_vain(
        |timeout| lane.borrow_mut().send_parcel_timeout(b"", &parcel, timeout),
        |deadline| lane.borrow_mut().send_parcel_deadline(b"", &parcel, deadline),
    );
    let named = waits_in_vain(
        |timeout| lane.borrow_mut().send_named_timeout([("null", null.as_fd())], timeout),
        |deadline| lane.borrow_mut().send_named_deadline([("null", null.as_fd())], deadline),
    );
    assert!(named.iter().all(is_untaken), "{named:?}");
    assert!(is_untaken(&lane.borrow_mut().try_send_named([("null", null.as_fd())])));
    let open = || File::open("/dev/null").unwrap();
    let commits = waits_in_vain(
        |timeout| lane.borrow_mut().reserve(0)?.attach(open()).commit_timeout(timeout).map(drop),
        |deadline| lane.borrow_mut().reserve(0)?.attach(open()).commit_deadline(deadline).map(drop),
    );
    assert!(sends.iter().chain(&parcels).chain(&commits).all(is_untaken), "{sends:?} {parcels:?} {commits:?}");
    assert!(is_untaken(&lane.into_inner().try_send_parcel(b"", &parcel)));
}

#[test]
fn a_tap_gives_up_in_each_form_for_many_records() {
    let mut lane = Producer::create("lane").unwrap();
    let address = address();
    let _server = Server::listen(&*address, [&lane]).unwrap();
    let tap = std::cell::RefCell::new(Tap::connect(&*address).unwrap());
    let outcomes = waits_in_vain(
        |timeout| tap.borrow_mut().receive_many_timeout(timeout, |_| ()),
        |deadline| tap.borrow_mut().receive_many_deadline(deadline, |_| ()),
    );
    assert_eq!(outcomes, [Err(TapError::TimedOut), Err(TapError::TimedOut)]);
    let mut tap = tap.into_inner();
    assert_eq!(tap.try_receive_many(|_| ()), Err(TapError::Empty));
    (0..3_u8).for_each(|n| lane.send(&[n]).unwrap());
    let mut sum = 0;
    assert_eq!(tap.receive_many_deadline(Instant::now() + common::DEADLINE, |record| sum += record[0]).unwrap(), 3);
    lane.finish();
    assert_eq!((sum, tap.receive_many_timeout(common::DEADLINE, |_| ())), (3, Ok(0)));
}

#[test]
fn those_who_share_work_give_up_in_each_form() {
    let address = address();
    let mut distributor = Distributor::listen(&*address).unwrap();
    let is_missing =
        |outcome: &Result<(), SendError>| matches!(outcome, Err(SendError::TooFewConsumers { there: 0, .. }));
    let outcomes = {
        let distributor = std::cell::RefCell::new(&mut distributor);
        waits_in_vain(
            |timeout| distributor.borrow_mut().reserve_timeout(To::MostRoom, 1, timeout).map(drop),
            |deadline| distributor.borrow_mut().reserve_deadline(To::MostRoom, 1, deadline).map(drop),
        )
    };
    assert!(outcomes.iter().all(is_missing), "{outcomes:?}");
    let worker = std::cell::RefCell::new(Worker::connect(&*address).unwrap());
    let outcomes = waits_in_vain(
        |timeout| worker.borrow_mut().take_timeout(timeout).map(drop),
        |deadline| worker.borrow_mut().take_deadline(deadline).map(drop),
    );
    assert_eq!(outcomes, [Err(ReceiveError::TimedOut), Err(ReceiveError::TimedOut)]);
    distributor.send(To::MostRoom, b"work").unwrap();
    let task = worker.borrow_mut().take_deadline(Instant::now() + common::DEADLINE).unwrap().unwrap();
    assert_eq!(&task[..], b"work");
    task.done();
}

#[test]
fn a_caller_of_values_waits_in_each_form_and_the_call_goes_on() {
    let address = address();
    let mut service = TypedService::<u32, u32>::listen(&*address).unwrap();
    let mut caller = TypedCaller::<u32, u32>::connect(&*address).unwrap();
    let mut ticket = caller.send(&3, common::DEADLINE).unwrap();
    let outcomes = {
        let state = std::cell::RefCell::new((&mut caller, &mut ticket));
        waits_in_vain(
            |timeout| {
                let (caller, ticket) = &mut *state.borrow_mut();
                caller.wait_timeout(ticket, timeout)
            },
            |deadline| {
                let (caller, ticket) = &mut *state.borrow_mut();
                caller.wait_deadline(ticket, deadline)
            },
        )
    };
    assert!(outcomes.iter().all(|outcome| matches!(outcome, Err(CallError::Empty))), "{outcomes:?}");
    service.receive().unwrap().reply(&9).unwrap();
    assert_eq!(caller.wait_deadline(&mut ticket, Instant::now() + common::DEADLINE).unwrap(), Some(9));
}
