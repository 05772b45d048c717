//! Of a collector, what its producers and callers cannot see or bring about.

use super::joining::Outcome;
use super::next::NextEvent;
use super::turns::VAIN_LOOKS_MAX;
use super::*;
use crate::consumer::ReceiveError;
use crate::error::Error;
use crate::options::LaneOptions;
use crate::os::thread::testing::start_instead;
use crate::test_support::{DEADLINE, unique_name};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use std::sync::mpsc::channel;

#[test]
fn a_lane_that_is_lost_in_the_middle_of_a_copy_is_reported_once() {
    let address = format!("@{}", unique_name());
    let mut collector = Collector::listen(address.as_str()).unwrap();
    let client = std::thread::spawn(move || {
        let mut lane = LaneOptions::new("lane").capacity(4096).create().unwrap();
        let link = lane.connect(address.as_str()).unwrap();
        lane.send(b"overwritten").unwrap();
        (lane, link)
    });
    assert!(matches!(collector.next_timeout(DEADLINE).unwrap(), Event::Joined(_)));
    let (mut lane, _link) = client.join().unwrap();
    let found = loop {
        match collector.go_on().unwrap() {
            Some(NextEvent::Record(found)) => break found,
            Some(NextEvent::News) => unreachable!("no lane has ended"),
            None => {
                let key = collector.selector.wait_timeout(DEADLINE).unwrap();
                collector.begin_turn(key).unwrap();
            }
        }
    };
    // Between the look and the copy.
    lane.consumers().iter().for_each(|consumer| assert!(lane.evict(consumer).unwrap()));
    (0..8).for_each(|_| lane.send(&[0; 1000]).unwrap());
    assert!(matches!(collector.record(found), Event::Lost(_, ReceiveError::Evicted { .. })));
    assert_eq!(collector.try_next().unwrap_err(), ReceiveError::Empty, "it was reported");
    assert_eq!(collector.lane_count(), 0);
}

#[test]
fn a_producer_that_no_thread_can_attach_to_is_told_that_it_has_not_connected() {
    let address = format!("@{}", unique_name());
    let mut collector = Collector::listen(address.as_str()).unwrap();
    let (says, connected) = channel();
    let client = std::thread::spawn(move || {
        let mut lane = LaneOptions::new("lane").capacity(4096).create().unwrap();
        let link = lane.connect(address.as_str());
        let _ = says.send(link.is_ok());
        lane.send(b"for the collector").unwrap();
        (link, lane)
    });
    let instead = start_instead(move |_| {
        // Long enough for a producer to answer an Attach, had it been said.
        let _ = connected.recv_timeout(Duration::from_millis(200));
        Err(Errno::AGAIN.into())
    });
    assert!(matches!(collector.next_timeout(DEADLINE).unwrap(), Event::Refused(_)));
    drop(instead);
    let (link, lane) = client.join().unwrap();
    assert!(link.is_err(), "nobody reads what it sends");
    assert!(lane.consumers().is_empty());
}

#[test]
fn a_lane_that_brings_nothing_for_long_is_armed_and_so_costs_no_more_looks() {
    let address = format!("@{}", unique_name());
    let mut collector = Collector::listen(address.as_str()).unwrap();
    let client = std::thread::spawn(move || {
        let lane = LaneOptions::new("lane").capacity(4096).create().unwrap();
        (lane.connect(address.as_str()).unwrap(), lane)
    });
    assert!(matches!(collector.next_timeout(DEADLINE).unwrap(), Event::Joined(_)));
    let (_link, mut lane) = client.join().unwrap();
    let key = (0..3).map(|number| number.to_string()).fold(None, |key, name| {
        lane.send(name.as_bytes()).unwrap();
        let Event::Record(_, record) = collector.try_next().unwrap() else { panic!("it is there") };
        assert_eq!(record[..], *name.as_bytes());
        key.or(collector.turn.as_ref().map(|turn| turn.key))
    });
    let key = key.unwrap();
    for look in 0..VAIN_LOOKS_MAX {
        assert!(!collector.selector.is_armed(key), "after {look} looks");
        assert_eq!(collector.try_next().unwrap_err(), ReceiveError::Empty);
    }
    assert!(collector.selector.is_armed(key));
    assert_eq!(lane.stats().bells_rung, 0);
    lane.send(b"3").unwrap();
    assert_eq!(lane.stats().bells_rung, 1);
    assert!(matches!(collector.try_next().unwrap(), Event::Record(_, record) if record[..] == *b"3"));
}

#[test]
fn a_notice_that_comes_late_is_no_news() {
    let mut collector = Collector::listen(format!("@{}", unique_name()).as_str()).unwrap();
    let consumers = Err(Error::Invalid("nothing".to_owned()));
    collector.attaching.put(Outcome { pid: None, uid: None, consumers });
    assert!(matches!(collector.next_timeout(DEADLINE).unwrap(), Event::Refused(_)));
    // As a thread does that comes to this behind its outcome.
    collector.attaching.notice.raise();
    assert_eq!(collector.try_next().unwrap_err(), ReceiveError::Empty);
    while !collector.arm().unwrap() {}
    let ready = poll(&mut [PollFd::new(&collector, PollFlags::IN)], Some(&Timespec::default()));
    assert_eq!(ready, Ok(0), "it is readable for as long as nobody comes");
}
