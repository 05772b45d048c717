//! Lanes of values: what fits, what is refused when a consumer attaches, and what a producer without manners can send.
#![allow(unsafe_code, reason = "values that are plain bytes, and a promise about this program's own producer")]

mod common;
#[path = "common/lanes.rs"]
mod lanes;

use common::{DEADLINE, unique_name, wait_until};
use fdring::call::{TypedCaller, TypedService};
use fdring::errors::{ErrorKind, ReceiveError, SendError, TapError};
use fdring::options::LaneOptions;
use fdring::select::Selector;
use fdring::typed::{Layout, TypedConsumer, TypedError, TypedProducer, TypedTap};
use fdring::{Attach, Error, Producer, Server, Session, Tap};
use lanes::attach;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::AsFd;
use std::time::Duration;

/// A vector of one cache line.
#[derive(Clone, Copy, Debug, PartialEq)]
#[repr(C, align(64))]
struct Line([u64; 8]);

// SAFETY: 64 bytes of numbers, aligned to 64, without padding.
unsafe impl bytemuck::Zeroable for Line {}
// SAFETY: as above.
unsafe impl bytemuck::Pod for Line {}

fn listen(producer: &Producer) -> (Server, String) {
    let address = format!("@{}", unique_name());
    (Server::listen(&*address, [producer]).unwrap(), address)
}

#[test]
fn aligned_values_and_slices_arrive_in_place_and_copied_around_the_ring() {
    for trusts in [false, true] {
        let layout = Layout::of::<Line>();
        let options = LaneOptions::new("lines").capacity(8192).values(layout);
        let mut lines = TypedProducer::<Line>::new(options.create().unwrap(), layout).unwrap();
        assert_eq!(lines.untyped().lane().payload_align, 64);
        let (_server, address) = listen(lines.untyped());
        let mut consumer = TypedConsumer::<Line>::new(attach(&address, trusts), layout).unwrap();
        for round in 0..200_u64 {
            let values: Vec<Line> = (0..round % 7).map(|index| Line([round + index; 8])).collect();
            match round % 3 {
                0 => lines.send_slice(&values).unwrap(),
                1 => lines.fill(values.len(), |slots| slots.copy_from_slice(&values)).unwrap(),
                _ => {
                    let mut batch = lines.batch().unwrap();
                    batch.send_slice(&values).unwrap();
                    batch.send(&Line([round; 8])).unwrap();
                    batch.commit();
                }
            }
            assert_eq!(consumer.receive().unwrap().unwrap()[..], values);
            if round % 3 == 2 {
                assert_eq!(consumer.receive_value().unwrap(), Some(Line([round; 8])));
            }
        }
        drop(lines);
        assert!(consumer.receive().unwrap().is_none());
        assert_eq!(consumer.receive_value(), Ok(None));
    }
}

#[test]
fn other_values_are_refused_with_both_layouts_in_words() {
    let layout = Layout::of::<Line>().version(2);
    let lines = LaneOptions::new("lines").values(layout).create().unwrap();
    let (_server, address) = listen(&lines);
    let refused = |error: Error| {
        assert_eq!(error.kind(), ErrorKind::Layout);
        let Error::Layout { lane, offered, expected } = error else { panic!("{error}") };
        assert!(lane == "lines" && offered.ends_with("64 bytes, aligned to 64, version 2"), "{offered}");
        expected
    };
    let of = |layout| refused(TypedConsumer::<Line>::new(attach(&address, false), layout).unwrap_err());
    assert_eq!(of(Layout::of::<Line>()), "Line, 64 bytes, aligned to 64, version 0");
    let numbers = TypedConsumer::<[u64; 8]>::connect(&*address).unwrap_err();
    assert_eq!(refused(numbers), "[u64; 8], 64 bytes, aligned to 8, version 0");
    let error = TypedConsumer::<u64>::new(attach(&address, false), layout).unwrap_err();
    assert!(matches!(error, Error::Invalid(_)) && error.to_string().contains("not that of the values, u64"), "{error}");
    assert!(TypedConsumer::<Line>::new(attach(&address, false), layout).is_ok());

    let tap = || Tap::connect(&*address).unwrap();
    let expected = refused(TypedTap::<Line>::new(tap(), Layout::of::<Line>()).unwrap_err());
    assert_eq!(expected, "Line, 64 bytes, aligned to 64, version 0");
    assert_eq!(refused(TypedTap::<u64>::connect(&*address).unwrap_err()), "u64, 8 bytes, aligned to 8, version 0");
    let error = TypedTap::<u64>::new(tap(), layout).unwrap_err();
    assert!(matches!(error, Error::Invalid(_)) && error.to_string().contains("not that of the values, u64"), "{error}");
    assert!(TypedTap::<Line>::new(tap(), layout).is_ok());
}

#[test]
fn a_tap_of_values_gets_those_that_it_is_in_time_for_or_the_newest() {
    let layout = Layout::of::<Line>();
    let options = LaneOptions::new("lines").capacity(8192).values(layout);
    let mut lines = TypedProducer::<Line>::new(options.create().unwrap(), layout).unwrap();
    let (_server, address) = listen(lines.untyped());
    let [mut next, mut newest] = [(); 2].map(|()| TypedTap::<Line>::connect(&*address).unwrap());
    for round in 0..200_u64 {
        let values = [Line([round; 8]), Line([round + 1; 8])];
        lines.send(&values[1]).unwrap();
        lines.untyped_mut().send_tagged(bytemuck::bytes_of(&values), 7).unwrap();
        assert_eq!(next.receive_value().unwrap(), Some(values[1]));
        let record = next.try_receive().unwrap().unwrap();
        assert_eq!((&record[..], record.tag()), (&values[..], 7));
        assert_eq!(newest.receive_newest().unwrap().unwrap()[..], values);
    }
    assert!(newest.untyped().missed_bytes() >= 200 * 128, "with the padding there");
    assert_eq!(next.try_receive_value(), Err(TypedError::Receive(TapError::Empty)));
    assert_eq!(next.receive_newest_value_timeout(Duration::ZERO), Err(TypedError::Receive(TapError::TimedOut)));
    // Lapped.
    (0..200).for_each(|round| lines.send(&Line([round; 8])).unwrap());
    let error = next.receive().unwrap_err();
    assert!(matches!(error, TypedError::Receive(TapError::Lagged { .. })) && error.kind() == ErrorKind::Lagged);
    assert_eq!(next.receive_newest_value(), Ok(Some(Line([199; 8]))));
    drop(lines);
    assert_eq!((next.receive_value(), newest.receive_newest_value()), (Ok(None), Ok(Some(Line([199; 8])))));
}

#[test]
fn records_that_are_no_values_are_skipped_by_a_tap_too() {
    let mut switches = TypedProducer::<bool>::create("switches").unwrap();
    let (_server, address) = listen(switches.untyped());
    let mut tap = TypedTap::<bool>::connect(&*address).unwrap();
    for payload in [&[2][..], &[], &[1, 0], &[1], &[0, 7], &[1, 1, 1]] {
        switches.untyped_mut().send(payload).unwrap();
    }
    assert_eq!(tap.receive_value(), Err(TypedError::Bits));
    assert_eq!(tap.receive_value(), Err(TypedError::Count { count: 0 }));
    assert_eq!(tap.try_receive_value(), Err(TypedError::Count { count: 2 }));
    assert_eq!(tap.receive_value(), Ok(Some(true)));
    assert_eq!(tap.receive_newest_value(), Err(TypedError::Count { count: 3 }));
    assert_eq!(tap.try_receive_newest_value(), Err(TypedError::Receive(TapError::Empty)));
    let mut bytes = TypedProducer::<u8>::create("bytes").unwrap();
    let (_server, address) = listen(bytes.untyped());
    bytes.send(&1).unwrap();
    assert!(TypedTap::<u16>::connect(&*address).is_err());
    let mut numbers = TypedProducer::<u16>::create("numbers").unwrap();
    let (_server, address) = listen(numbers.untyped());
    let mut tap = TypedTap::<u16>::connect(&*address).unwrap();
    numbers.untyped_mut().send(&[1; 3]).unwrap();
    let error = tap.receive_newest().unwrap_err();
    assert_eq!((error.clone(), error.kind()), (TypedError::Length { len: 3, size: 2 }, ErrorKind::Layout));
}

/// A lane may say that it has aligned values and not be aligned so: its producer chose the number itself.
#[test]
fn a_lane_that_is_not_aligned_as_its_values_is_refused() {
    let lines = LaneOptions::new("lines").schema(Layout::of::<Line>().schema()).create().unwrap();
    let (_server, address) = listen(&lines);
    let error = TypedConsumer::<Line>::connect(&*address).unwrap_err();
    assert!(error.to_string().contains("aligned to 64 in a lane aligned to 8"), "{error}");
    assert!(matches!(TypedProducer::<Line>::new(lines, Layout::of::<Line>()), Err(Error::Layout { .. })));
}

#[test]
fn records_that_are_no_values_are_skipped_and_the_next_one_is_received() {
    let mut switches = TypedProducer::<bool>::create("switches").unwrap();
    let mut numbers = TypedProducer::<u32>::create("numbers").unwrap();
    let address = format!("@{}", unique_name());
    let _server = Server::listen(&*address, [switches.untyped(), numbers.untyped()]).unwrap();
    let session = Session::connect(&*address).unwrap();
    let mut consumers = session.attach([Attach::lane("switches"), Attach::lane("numbers")]).unwrap().into_iter();
    let mut on = TypedConsumer::<bool>::new(consumers.next().unwrap(), Layout::of::<bool>()).unwrap();
    let mut sums = TypedConsumer::<u32>::new(consumers.next().unwrap(), Layout::of::<u32>()).unwrap();

    let nothing = Err(TypedError::Receive(ReceiveError::Empty));
    assert_eq!(on.try_receive_value(), nothing);
    for payload in [&[2][..], &[], &[1, 0], &[1]] {
        switches.untyped_mut().send(payload).unwrap();
    }
    assert_eq!(on.receive_value(), Err(TypedError::Bits));
    assert_eq!(on.receive_value(), Err(TypedError::Count { count: 0 }));
    assert_eq!(on.receive_value(), Err(TypedError::Count { count: 2 }));
    assert_eq!(on.receive_value(), Ok(Some(true)));
    assert_eq!(on.try_receive_value(), nothing);

    for len in [7, 3, 8] {
        numbers.untyped_mut().send(&[1; 8][..len]).unwrap();
    }
    assert_eq!(sums.receive().unwrap_err(), TypedError::Length { len: 7, size: 4 });
    assert_eq!(sums.receive_value().unwrap_err(), TypedError::Length { len: 3, size: 4 });
    assert_eq!(sums.receive().unwrap().unwrap()[..], [0x0101_0101; 2]);
    let late = sums.receive_timeout(Duration::ZERO).unwrap_err();
    assert_eq!((late.clone(), late.kind()), (TypedError::Receive(ReceiveError::TimedOut), ErrorKind::TimedOut));
    drop((switches, numbers));
    assert!(on.receive_value().unwrap().is_none() && sums.receive().unwrap().is_none());
}

/// Whether `endpoint` becomes readable.
fn is_readable(endpoint: &impl AsFd) -> bool {
    poll(&mut [PollFd::new(endpoint, PollFlags::IN)], Some(&DEADLINE.try_into().unwrap())).unwrap() == 1
}

#[test]
fn all_ends_of_values_arm_and_count() {
    let layout = Layout::of::<[u64; 64]>();
    let options = LaneOptions::new("values").capacity(4096).space_bell(true).values(layout);
    let mut producer = TypedProducer::<[u64; 64]>::new(options.create().unwrap(), layout).unwrap();
    let (_server, address) = listen(producer.untyped());
    let mut consumer = TypedConsumer::<[u64; 64]>::new(attach(&address, false), layout).unwrap();
    let mut tap = TypedTap::<[u64; 64]>::connect(&*address).unwrap();

    assert!(consumer.arm().unwrap() && tap.arm().unwrap());
    producer.send(&[0; 64]).unwrap();
    assert!(is_readable(&consumer) && is_readable(&tap));
    assert!(!consumer.arm().unwrap() && !tap.arm().unwrap(), "there is news");
    assert_eq!((consumer.receive_value(), tap.receive_value()), (Ok(Some([0; 64])), Ok(Some([0; 64]))));
    assert_eq!((producer.stats().records, consumer.stats().records, tap.stats().records), (1, 1, 1));
    assert_eq!((consumer.stats().times_slept, tap.stats().times_slept), (1, 1));

    // Until it is full: then the selector says when there is room.
    while producer.try_send(&[1; 64]).is_ok() {}
    assert!(producer.arm().unwrap());
    let mut selector = Selector::new().unwrap();
    let key = selector.add(producer).unwrap();
    assert_eq!(selector.try_wait(), Err(ReceiveError::Empty));
    consumer.receive().unwrap().unwrap();
    consumer.receive().unwrap().unwrap();
    consumer.untyped_mut().release();
    assert_eq!(selector.wait_timeout(DEADLINE), Ok(key));
    assert!(selector.get_mut(key).unwrap().try_send(&[2; 64]).is_ok());
    let bytes = TypedProducer::<u8>::create("no bell").unwrap().arm();
    assert!(matches!(bytes, Err(SendError::NoSpaceBell)), "{bytes:?}");
}

#[test]
fn both_ends_of_calls_with_values_arm_and_count() {
    let address = format!("@{}", unique_name());
    let service = TypedService::<u64, u64>::listen(&*address).unwrap();
    let mut caller = TypedCaller::<u64, u64>::connect(&*address).unwrap();
    let mut selector = Selector::new().unwrap();
    let key = selector.add(service).unwrap();
    // That it has joined is news, of which nothing is received.
    let mut ticket = caller.send(&7, DEADLINE).unwrap();
    wait_until("the caller has no more news", || caller.arm().unwrap());
    let request = loop {
        assert_eq!(selector.wait_timeout(DEADLINE), Ok(key));
        match selector.get_mut(key).unwrap().try_receive() {
            Err(ReceiveError::Empty) => {}
            request => break request.unwrap(),
        }
    };
    let number = request.value().unwrap();
    request.reply(&(number * 6)).unwrap();
    assert!(is_readable(&caller), "the reply rings");
    assert!(!caller.arm().unwrap(), "there is news");
    assert_eq!(caller.try_wait(&mut ticket).unwrap(), Some(42));
    assert_eq!((caller.stats().sent, caller.stats().replies), (1, 1));
    let service = selector.get_mut(key).unwrap();
    assert_eq!((service.stats().joined, service.stats().requests, service.stats().replies), (1, 1, 1));
    // Bare, without a selector.
    wait_until("the service has no more news either", || {
        assert!(matches!(service.try_receive(), Err(ReceiveError::Empty)));
        service.arm().unwrap()
    });
    let _ticket = caller.send(&8, DEADLINE).unwrap();
    assert!(is_readable(service));
}
