//! Feeds: what they yield while producers end, die, come back and lie, and that they never mix, repeat or leak.

mod common;
#[path = "common/hostile.rs"]
mod hostile;
#[path = "common/impostor.rs"]
mod impostor;
#[path = "common/peer.rs"]
mod peer;
#[path = "common/stage.rs"]
mod stage;

use common::{DEADLINE, TempDir, belongings, isolated, role, thread_names, unique_name, wait_until};
use fdring::errors::{ErrorKind, ReceiveError, Refusal};
use fdring::feed::{Feed, FeedError, FeedEvent, FeedOptions};
use fdring::options::{LaneOptions, NoConsumer, SessionOptions, SlowConsumer, Start};
use fdring::select::Selector;
use fdring::{Attach, Error, Interrupter, Producer, Server};
use hostile::{ATTACH, accept, attached, listen, producer_hello};
use impostor::{CAPACITY, Goods, offer};
use peer::{Peer, argument, say};
use proptest::prelude::{Just, ProptestConfig, Strategy, prop_oneof, proptest};
use rustix::event::{PollFd, PollFlags, poll};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// What a feed yields, as plain values.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Said {
    Record(Vec<u8>),
    Joined { lane: [u8; 16], position: u64, missed_bytes: Option<u64> },
    Finished(u64),
    Lost(ReceiveError, u64),
}

fn said(event: Option<FeedEvent<'_>>) -> Said {
    match event.expect("it goes on") {
        FeedEvent::Record(record) => Said::Record(record.to_vec()),
        FeedEvent::Joined { lane, position, missed_bytes } => Said::Joined { lane: lane.id, position, missed_bytes },
        FeedEvent::Finished { position } => Said::Finished(position),
        FeedEvent::Lost { why, position } => Said::Lost(why.clone(), position),
        other => panic!("{other:?}"),
    }
}

fn next(feed: &mut Feed) -> Said {
    said(feed.receive_timeout(DEADLINE).unwrap())
}

fn joined(lane: &Producer, position: u64, missed_bytes: Option<u64>) -> Said {
    Said::Joined { lane: lane.lane().id, position, missed_bytes }
}

/// Takes the seat of the only consumer away.
fn evict(lane: &Producer) {
    let consumers = lane.consumers();
    assert_eq!(consumers.len(), 1);
    assert!(lane.evict(&consumers[0]).unwrap());
}

fn is_evicted(said: &Said, at: u64) -> bool {
    matches!(said, Said::Lost(ReceiveError::Evicted { .. }, position) if *position == at)
}

/// Listens where a server was dropped: a process that another test starts may have its socket for a moment.
fn listen_again(address: &str, lane: &Producer) -> Server {
    let mut server = None;
    wait_until("the address is free", || {
        server = Server::listen(address, [lane]).ok();
        server.is_some()
    });
    server.unwrap()
}

fn small() -> LaneOptions {
    LaneOptions::new("lane").capacity(4096)
}

fn options() -> FeedOptions {
    FeedOptions::new().pause_max(Duration::from_millis(20))
}

/// The addresses that are tried: an abstract name, and a path.
fn addresses() -> (TempDir, [String; 2]) {
    let dir = TempDir::new();
    let path = dir.path().join("socket").display().to_string();
    (dir, [format!("@{}", unique_name()), path])
}

#[test]
fn each_lane_begins_with_where_it_was_joined_and_ends_with_how() {
    let (_dir, addresses) = addresses();
    for address in addresses {
        let mut feed = options().connect(&address).unwrap();
        assert_eq!((feed.position(), feed.consumer().is_some()), (0, false));
        for round in 0..6u8 {
            let mut lane = small().create().unwrap();
            // From the second lane on, what was published before it was joined is read too.
            if round > 0 {
                lane.send(&[round, 0]).unwrap();
            }
            let _server = listen_again(&address, &lane);
            assert_eq!(next(&mut feed), joined(&lane, 0, None), "{round} at {address}");
            lane.send(&[round, 1]).unwrap();
            for number in if round > 0 { 0..2 } else { 1..2 } {
                assert_eq!(next(&mut feed), Said::Record(vec![round, number]));
            }
            let end = lane.published();
            assert_eq!(feed.position(), end);
            match round % 3 {
                0 => {
                    lane.finish();
                    assert_eq!(next(&mut feed), Said::Finished(end));
                }
                1 => {
                    lane.abandon();
                    assert_eq!(next(&mut feed), Said::Lost(ReceiveError::Abandoned, end));
                }
                // The next lane comes before it has looked for this one.
                _ => {
                    evict(&lane);
                    assert!(is_evicted(&next(&mut feed), end));
                }
            }
            assert_eq!(feed.position(), end);
        }
    }
}

#[test]
fn a_server_that_is_started_again_with_the_same_lane_goes_on_where_reading_stopped() {
    let (_dir, addresses) = addresses();
    for address in addresses {
        let mut lane = small().create().unwrap();
        let mut server = Server::listen(&*address, [&lane]).unwrap();
        let mut feed = options().connect(&address).unwrap();
        assert_eq!(next(&mut feed), joined(&lane, 0, None));
        for number in 0..10u8 {
            lane.send(&[number, 0]).unwrap();
            assert_eq!(next(&mut feed), Said::Record(vec![number, 0]));
            let position = feed.position();
            evict(&lane);
            drop(server);
            assert!(is_evicted(&next(&mut feed), position));
            lane.send(&[number, 1]).unwrap();
            assert!(matches!(feed.try_receive(), Err(FeedError::Empty)));
            server = listen_again(&address, &lane);
            assert_eq!(next(&mut feed), joined(&lane, position, Some(0)));
            assert_eq!(next(&mut feed), Said::Record(vec![number, 1]));
        }
        assert_eq!(lane.consumer_count(), 1);
    }
}

#[test]
fn one_that_is_evicted_goes_on_with_what_the_ring_has_and_counts_what_it_missed() {
    let address = format!("@{}", unique_name());
    let options_of_lane = small().slow_consumer(SlowConsumer::Evict { after: Duration::from_millis(5) });
    let mut lane = options_of_lane.create().unwrap();
    let _server = Server::listen(&*address, [&lane]).unwrap();
    let mut feed = options().connect(&address).unwrap();
    assert_eq!(next(&mut feed), joined(&lane, 0, None));
    let (mut number, mut received) = (0u64, 0);
    for beyond in [0, 40, 1000] {
        // Evicted by its owner, or for being slow.
        if beyond == 0 {
            (0..8).for_each(|part| lane.send(&(number + part).to_le_bytes()).unwrap());
            number += 8;
            evict(&lane);
        } else {
            for _ in 0..256 + beyond {
                lane.send_timeout(&number.to_le_bytes(), DEADLINE).unwrap();
                number += 1;
            }
        }
        let (before, mut read) = (feed.position(), Vec::new());
        let lost = loop {
            match next(&mut feed) {
                Said::Record(bytes) => read.push(u64::from_le_bytes(bytes.try_into().unwrap())),
                other => break other,
            }
        };
        let position = before + 16 * read.len() as u64;
        assert_eq!(read, (before / 16..position / 16).collect::<Vec<_>>());
        assert!(matches!(lost, Said::Lost(ReceiveError::Evicted { .. }, end) if end == position), "{lost:?}");
        let again = next(&mut feed);
        let Said::Joined { lane: id, position: start, missed_bytes: Some(missed) } = again else { panic!("{again:?}") };
        assert_eq!((id, start), (lane.lane().id, position + missed));
        assert_eq!(missed == 0, beyond == 0, "{missed} missed with {beyond} beyond");
        received += read.len() as u64 + (number - start / 16);
        // From there on, nothing is missed.
        for expected in start / 16..number {
            assert_eq!(next(&mut feed), Said::Record(expected.to_le_bytes().to_vec()));
        }
    }
    assert_eq!(lane.consumers().len(), 1);
    let stats = feed.stats();
    assert_eq!((stats.joined, stats.lost, stats.finished), (4, 3, 0));
    assert_eq!((stats.records, stats.record_bytes), (received, 16 * received));
    assert_eq!(stats.missed_bytes, 16 * (number - received));
}

#[test]
fn a_lane_that_has_ended_is_not_joined_again_though_its_server_offers_it_still() {
    let address = format!("@{}", unique_name());
    let mut first = small().create().unwrap();
    let server = Server::listen(&*address, [&first]).unwrap();
    let mut feed = options().connect(&address).unwrap();
    assert_eq!(next(&mut feed), joined(&first, 0, None));
    first.send(b"last").unwrap();
    let (id, end) = (first.lane().id, first.published());
    first.finish();
    assert_eq!([next(&mut feed), next(&mut feed)], [Said::Record(b"last".to_vec()), Said::Finished(end)]);
    let before = server.stats().accepted;
    assert!(matches!(feed.try_receive(), Err(FeedError::Empty)));
    wait_until("it has looked several times", || server.stats().accepted >= before + 3);
    assert!(matches!(feed.try_receive(), Err(FeedError::Empty)));
    drop(server);
    let second = small().create().unwrap();
    let _server = listen_again(&address, &second);
    assert_eq!(next(&mut feed), joined(&second, 0, None));
    assert_ne!(second.lane().id, id);
}

#[test]
fn a_feed_that_ends_with_its_lane_ends_for_good_but_outlives_deaths() {
    let address = format!("@{}", unique_name());
    let mut feed = options().ends_with_lane(true).connect(&address).unwrap();
    let first = small().create().unwrap();
    let server = Server::listen(&*address, [&first]).unwrap();
    assert_eq!(next(&mut feed), joined(&first, 0, None));
    first.abandon();
    assert_eq!(next(&mut feed), Said::Lost(ReceiveError::Abandoned, 0));
    drop(server);
    let second = small().create().unwrap();
    let _server = listen_again(&address, &second);
    assert_eq!(next(&mut feed), joined(&second, 0, None));
    second.finish();
    assert_eq!(next(&mut feed), Said::Finished(0));
    for _ in 0..2 {
        assert!(feed.receive().unwrap().is_none() && feed.try_receive().unwrap().is_none());
        assert!(!feed.arm().unwrap(), "there is nothing to wait for");
    }
}

#[test]
fn without_hope_or_patience_it_gives_up_and_tries_again_when_asked() {
    let address = format!("@{}", unique_name());
    let patience = Duration::from_millis(30);
    let mut feed = options().patience(patience).connect(&address).unwrap();
    for _ in 0..2 {
        let begin = Instant::now();
        let error = feed.receive().unwrap_err();
        assert!(matches!(&error, FeedError::GaveUp(Error::Os { .. })), "{error:?}");
        assert!(begin.elapsed() >= patience);
        assert!(error.to_string().starts_with("the feed gave up: could not connect to @"), "{error}");
        common::shows(error, "GaveUp", std::io::ErrorKind::ConnectionRefused);
    }
    let stats = feed.stats();
    assert!(stats.failed_tries >= 4, "each time it has tried more than once: {stats:?}");
    assert!(stats.last_failure.unwrap().starts_with("could not connect to @"));
    let mut lane = small().create().unwrap();
    let server = Server::listen(&*address, [&lane]).unwrap();
    let mut stranger = options().attach(Attach::lane("other")).connect(&address).unwrap();
    let error = stranger.receive_timeout(DEADLINE).unwrap_err();
    let refusal = Refusal::UnknownLane;
    assert!(matches!(&error, FeedError::GaveUp(Error::Refused { refusal: why, .. }) if *why == refusal), "{error:?}");
    assert_eq!(error.kind(), ErrorKind::Refused);
    let stats = stranger.stats();
    assert_eq!((stats.joined, stats.failed_tries), (0, 1));
    assert!(error.to_string().ends_with(&stats.last_failure.unwrap()), "{error}");
    // It has come, and goes again.
    assert_eq!(next(&mut feed), joined(&lane, 0, None));
    lane.send(b"x").unwrap();
    assert_eq!(next(&mut feed), Said::Record(b"x".to_vec()));
    lane.finish();
    assert_eq!(next(&mut feed), Said::Finished(16));
    assert!(matches!(feed.receive(), Err(FeedError::GaveUp(Error::Closed { .. }))));
    assert!(feed.stats().last_failure.unwrap().contains("waiting for another lane than lane"));
    drop(server);
    assert!(matches!(feed.receive(), Err(FeedError::GaveUp(Error::Os { .. }))));
}

#[test]
fn a_lane_that_was_read_before_may_be_offered_again() {
    let address = format!("@{}", unique_name());
    let (lane, other) = (small().create().unwrap(), LaneOptions::new("other").capacity(4096).create().unwrap());
    let server = Server::listen(&*address, [&lane, &other]).unwrap();
    let mut feed = options().attach(Attach::lane("lane")).connect(&address).unwrap();
    assert_eq!(next(&mut feed), joined(&lane, 0, None));
    server.withdraw("lane").unwrap();
    evict(&lane);
    assert!(is_evicted(&next(&mut feed), 0));
    assert!(matches!(feed.try_receive(), Err(FeedError::Empty)));
    wait_until("it was refused", || server.stats().refused >= 2);
    server.offer(&lane).unwrap();
    assert_eq!(next(&mut feed), joined(&lane, 0, Some(0)));
}

#[test]
fn impossible_starts_are_told_before_anything_connects() {
    for options in [
        options().attach(Attach::new().start(Start::Newest)),
        options().later_start(Start::Newest),
        options().later_start(Start::At(0)),
    ] {
        assert!(matches!(options.connect("@nowhere"), Err(Error::Invalid(_))));
    }
}

#[test]
fn what_a_place_keeps_is_read_on_and_nothing_comes_twice() {
    let address = format!("@{}", unique_name());
    let mut lane = small().no_consumer(NoConsumer::WaitFor(1)).create().unwrap();
    let mut server = Some(listen_again(&address, &lane));
    let resumes = || options().attach(Attach::new().start(Start::Resume));
    let mut feed = resumes().connect(&address).unwrap();
    assert_eq!(next(&mut feed), joined(&lane, 0, None));
    let (mut sent, mut read, mut before) = (0u64, 0u64, 0);
    for round in 0..14 {
        while lane.try_send(&sent.to_le_bytes()).is_ok() {
            sent += 1;
        }
        for _ in 0..100.min(sent - read) {
            assert_eq!(next(&mut feed), Said::Record(read.to_le_bytes().to_vec()));
            read += 1;
        }
        match round % 3 {
            0 => evict(&lane),
            1 => {
                evict(&lane);
                drop(server.take());
                server = Some(listen_again(&address, &lane));
            }
            // The program is started again: what it had read and not released comes again.
            _ => {
                let (id, position) = (lane.lane().id, feed.position());
                drop(feed);
                before = read;
                feed = resumes().go_on_at(id, position).connect(&address).unwrap();
            }
        }
        loop {
            match next(&mut feed) {
                Said::Record(bytes) => {
                    assert_eq!(bytes, read.to_le_bytes());
                    read += 1;
                }
                Said::Lost(_, position) => assert_eq!(position, feed.position()),
                Said::Joined { position, missed_bytes, .. } => {
                    assert_eq!((position, missed_bytes), (feed.position(), Some(0)), "in round {round}");
                    break;
                }
                other => panic!("{other:?}"),
            }
        }
    }
    assert!(read >= 1000, "only {read}");
    while lane.try_send(&sent.to_le_bytes()).is_ok() {
        sent += 1;
    }
    while read < sent {
        assert_eq!(next(&mut feed), Said::Record(read.to_le_bytes().to_vec()));
        read += 1;
    }
    let stats = feed.stats();
    assert_eq!(stats.records, read - before, "what was read before is no record of this feed");
    assert_eq!(stats.record_bytes, 16 * stats.records);
    assert_eq!((stats.joined, stats.lost, stats.missed_bytes), (3, 2, 0));
}

#[test]
fn a_later_lane_that_was_resumed_keeps_its_place_through_every_loss() {
    let address = format!("@{}", unique_name());
    let mut feed = options().later_start(Start::Resume).connect(&address).unwrap();
    let first = small().create().unwrap();
    let server = listen_again(&address, &first);
    assert_eq!(next(&mut feed), joined(&first, 0, None));
    first.finish();
    assert_eq!(next(&mut feed), Said::Finished(0));
    drop(server);
    let mut lane = small().no_consumer(NoConsumer::WaitFor(1)).create().unwrap();
    let _server = listen_again(&address, &lane);
    assert_eq!(next(&mut feed), joined(&lane, 0, None));
    for round in 0..3u8 {
        lane.send_timeout(&[round], DEADLINE).unwrap();
        assert_eq!(next(&mut feed), Said::Record(vec![round]));
        let position = feed.position();
        evict(&lane);
        assert!(is_evicted(&next(&mut feed), position));
        assert_eq!(next(&mut feed), joined(&lane, position, Some(0)));
        // Without its place the lane would wait for another consumer.
        while lane.vacant_places().is_empty() && lane.try_send(&[round; 500]).is_ok() {}
        assert!(lane.vacant_places().is_empty(), "in round {round}");
        while feed.position() < lane.published() {
            assert_eq!(next(&mut feed), Said::Record(vec![round; 500]));
        }
    }
}

#[test]
fn a_hostile_lane_ends_its_feed_for_good() {
    let address = format!("@{}", unique_name());
    let listener = listen(&address);
    let mut feed = options().connect(&address).unwrap();
    let impostor = thread::spawn(move || {
        let wire = accept(&listener);
        wire.recv().unwrap();
        wire.send(&producer_hello()).unwrap();
        let goods = Goods::new(CAPACITY);
        wire.send_fds(&offer(CAPACITY), &goods.fds()).unwrap();
        assert_eq!(wire.recv().unwrap().kind(), ATTACH);
        wire.send(&attached(&[0])).unwrap();
        goods.publish(12);
        (listener, wire, goods)
    });
    assert!(matches!(next(&mut feed), Said::Joined { position: 0, .. }));
    let _kept = impostor.join().unwrap();
    for _ in 0..3 {
        let error = feed.receive_timeout(DEADLINE).unwrap_err();
        assert!(matches!(&error, FeedError::Corrupt(_)), "{error:?}");
        assert!(!feed.arm().unwrap());
    }
    assert!(feed.consumer().is_none(), "nothing is mapped any more");
    assert_eq!((feed.stats().joined, feed.stats().lost), (1, 1));
}

/// An event loop's wait: whether the descriptor became readable.
fn waits(feed: &Feed, long: Duration) -> bool {
    let timeout = rustix::event::Timespec::try_from(long).unwrap();
    poll(&mut [PollFd::new(feed, PollFlags::IN)], Some(&timeout)).unwrap() != 0
}

#[test]
fn an_event_loop_misses_nothing() {
    let address = format!("@{}", unique_name());
    let mut feed = options().connect(&address).unwrap();
    let mut events = move || loop {
        match feed.try_receive() {
            Ok(event) => return said(event),
            Err(FeedError::Empty) => {
                assert!(!feed.arm().unwrap() || waits(&feed, DEADLINE), "nothing happens");
            }
            Err(error) => panic!("{error}"),
        }
    };
    for round in 0..3u8 {
        let sender = thread::spawn({
            let address = address.clone();
            move || {
                let mut lane = small().create().unwrap();
                let server = listen_again(&address, &lane);
                lane.wait_for_consumers(1, DEADLINE).unwrap();
                (0..100u8).for_each(|number| lane.send_timeout(&[round, number], DEADLINE).unwrap());
                lane.finish_and_wait(DEADLINE).unwrap();
                drop(server);
            }
        });
        assert!(matches!(events(), Said::Joined { position: 0, missed_bytes: None, .. }));
        for number in 0..100u8 {
            assert_eq!(events(), Said::Record(vec![round, number]));
        }
        assert_eq!(events(), Said::Finished(1600));
        sender.join().unwrap();
    }
}

#[test]
fn an_armed_feed_with_nothing_to_read_sleeps() {
    let address = format!("@{}", unique_name());
    let lane = small().create().unwrap();
    let _server = Server::listen(&*address, [&lane]).unwrap();
    let mut feed = options().connect(&address).unwrap();
    assert_eq!(next(&mut feed), joined(&lane, 0, None));
    sleeps(&mut feed);
}

/// A feed with nothing to read is woken no more than its consumer's second look takes.
fn sleeps(feed: &mut Feed) {
    let (begin, mut wakes) = (Instant::now(), 0);
    while begin.elapsed() < Duration::from_millis(200) {
        assert!(matches!(feed.try_receive(), Err(FeedError::Empty)));
        if feed.arm().unwrap() && waits(feed, Duration::from_millis(100)) {
            wakes += 1;
        }
    }
    assert!(wakes <= 2, "{wakes} wakes for nothing");
}

#[test]
fn a_feed_that_is_polled_while_it_connects_is_told_once() {
    let address = format!("@{}", unique_name());
    let lane = small().create().unwrap();
    let _server = Server::listen(&*address, [&lane]).unwrap();
    for _ in 0..10 {
        let mut feed = options().connect(&address).unwrap();
        let begin = Instant::now();
        let event = loop {
            match feed.try_receive() {
                Err(FeedError::Empty) => assert!(begin.elapsed() < DEADLINE),
                event => break said(event.unwrap()),
            }
        };
        assert_eq!(event, joined(&lane, 0, None));
        sleeps(&mut feed);
    }
}

#[test]
fn feeds_wait_in_a_selector() {
    let addresses = [(); 3].map(|()| format!("@{}", unique_name()));
    let mut selector = Selector::new().unwrap();
    let keys = addresses.clone().map(|address| selector.add(options().connect(address).unwrap()).unwrap());
    let lanes = [(); 3].map(|()| small().create().unwrap());
    for index in [2, 0, 1] {
        let _server = Server::listen(&*addresses[index], [&lanes[index]]).unwrap();
        let mut heard = Vec::new();
        while heard.len() < 2 {
            let key = selector.wait_timeout(DEADLINE).unwrap();
            match selector.get_mut(key).unwrap().try_receive() {
                Ok(event) => {
                    assert_eq!(key, keys[index]);
                    heard.push(said(event));
                }
                Err(FeedError::Empty) => {}
                Err(error) => panic!("{error}"),
            }
            if heard.len() == 1 {
                evict(&lanes[index]);
            }
        }
        assert_eq!(heard[0], joined(&lanes[index], 0, None));
        assert!(matches!(heard[1], Said::Lost(ReceiveError::Evicted { .. }, 0)), "{heard:?}");
    }
}

#[test]
fn an_interrupter_ends_its_waits_wherever_it_waits_and_nothing_is_lost() {
    let address = format!("@{}", unique_name());
    let stop = Interrupter::new().unwrap();
    let session = SessionOptions::new().interrupter(&stop);
    let mut feed = options().session(session).connect(&address).unwrap();
    let interrupted = |feed: &mut Feed| {
        let other = stop.clone();
        let interrupter = thread::spawn(move || other.interrupt());
        assert!(matches!(feed.receive_timeout(DEADLINE), Err(FeedError::Interrupted)));
        interrupter.join().unwrap();
        assert!(matches!(feed.arm(), Err(FeedError::Interrupted)));
        stop.clear();
    };
    interrupted(&mut feed);
    let mut lane = small().create().unwrap();
    let _server = Server::listen(&*address, [&lane]).unwrap();
    assert_eq!(next(&mut feed), joined(&lane, 0, None));
    let is_interrupt = |why: String| why.contains("interrupted");
    assert!(!feed.stats().last_failure.is_some_and(is_interrupt), "an interrupt is no failure");
    interrupted(&mut feed);
    lane.send(b"x").unwrap();
    assert_eq!(next(&mut feed), Said::Record(b"x".to_vec()));
}

/// The threads of this library that have not ended, but for the one that closes what peers have sent.
fn threads() -> Vec<String> {
    let names = thread_names(std::process::id()).into_iter();
    names.filter(|name| name.starts_with("fdring-") && name != "fdring-closer").collect()
}

#[test]
fn feeds_leave_nothing_behind() {
    isolated("feeds_leave_nothing_behind", || {
        let address = format!("@{}", unique_name());
        let live = |rounds| {
            let mut feed = options().connect(&address).unwrap();
            for round in 0..rounds {
                let mut lane = small().create().unwrap();
                let _server = Server::listen(&*address, [&lane]).unwrap();
                assert_eq!(next(&mut feed), joined(&lane, 0, None));
                lane.send(b"x").unwrap();
                assert_eq!(next(&mut feed), Said::Record(b"x".to_vec()));
                match round % 3 {
                    0 => lane.finish(),
                    1 => lane.abandon(),
                    _ => evict(&lane),
                }
                next(&mut feed);
            }
            // It is dropped while it reads, or while it connects.
            let lane = small().create().unwrap();
            let _server = (rounds % 2 == 0).then(|| {
                let server = Server::listen(&*address, [&lane]).unwrap();
                assert_eq!(next(&mut feed), joined(&lane, 0, None));
                server
            });
            let _ = feed.try_receive();
        };
        let before = belongings();
        (0..12).for_each(live);
        wait_until("all is as before", || threads().is_empty() && belongings() == before);
    });
}

#[test]
fn a_forked_child_has_no_feed() {
    isolated("a_forked_child_has_no_feed", || {
        let address = format!("@{}", unique_name());
        let lane = small().create().unwrap();
        let _server = Server::listen(&*address, [&lane]).unwrap();
        let [mut reading, mut connecting] = [address, format!("@{}", unique_name())].map(|address| {
            let mut feed = options().connect(address).unwrap();
            let _ = feed.receive_timeout(Duration::from_millis(50));
            feed
        });
        wait_until("the feed has connected", || {
            let _ = reading.try_receive();
            reading.consumer().is_some()
        });
        assert!(connecting.consumer().is_none());
        #[allow(unsafe_code, reason = "forks, which the feeds must survive")]
        // SAFETY: the child calls nothing but what it may, and exits.
        let child = unsafe { libc::fork() };
        if child == 0 {
            let mut feeds = [reading, connecting];
            let forked = feeds.iter_mut().all(|feed| {
                matches!(feed.try_receive(), Err(FeedError::Forked)) && matches!(feed.arm(), Err(FeedError::Forked))
            });
            drop(feeds);
            #[allow(unsafe_code, reason = "no destructor of the parent's runs")]
            // SAFETY: ends this process.
            unsafe {
                libc::_exit(if forked { 0 } else { 1 })
            }
        }
        let mut status = 1;
        #[allow(unsafe_code, reason = "waits for the child")]
        // SAFETY: `status` is where the status goes.
        let waited = unsafe { libc::waitpid(child, &mut status, 0) };
        assert_eq!((waited, status), (child, 0));
        assert!(matches!(reading.try_receive(), Err(FeedError::Empty)));
        assert!(matches!(connecting.try_receive(), Err(FeedError::Empty)), "its thread goes on");
    });
}

/// Numbers that look random.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}

/// A producer that is to be killed: sends its number and a count, for ever.
fn produce() -> ! {
    let argument = argument();
    let (address, life) = argument.split_once(' ').unwrap();
    let life: u64 = life.parse().unwrap();
    let mut random = Random(life + 1);
    let mut lane = LaneOptions::new("lane").capacity(1 << 16).create().unwrap();
    let _server = Server::listen(address, [&lane]).unwrap();
    say("listening");
    for count in 0u64.. {
        let mut record = life.to_le_bytes().to_vec();
        record.extend(count.to_le_bytes());
        record.resize(16 + random.below(200) as usize, 0);
        lane.send_timeout(&record, DEADLINE).unwrap();
    }
    unreachable!("it is killed before it has counted so far")
}

/// Reads a feed until it is told to stop, and checks that lives are not mixed; the number of records.
fn check_lives(feed: &mut Feed, life: &AtomicU64, stops: &AtomicBool) -> u64 {
    // The life that is read, and its next count.
    let (mut reads, mut last, mut records) = (None, 0, 0);
    while !stops.load(Ordering::Relaxed) {
        let event = match feed.receive_timeout(Duration::from_millis(50)) {
            Err(FeedError::TimedOut) => continue,
            event => said(event.unwrap()),
        };
        match event {
            Said::Joined { missed_bytes, .. } => {
                assert_eq!((missed_bytes, reads), (None, None), "each life has another lane, which is joined once");
            }
            Said::Record(bytes) => {
                let number = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
                let (of, count) = (number(0), number(8));
                match reads {
                    None => assert!(of > last, "{of} comes after {last}"),
                    Some(expected) => assert_eq!((of, count), expected, "mixed up"),
                }
                (reads, last) = (Some((of, count + 1)), of);
                life.store(of, Ordering::Relaxed);
                records += 1;
            }
            Said::Lost(ReceiveError::PeerDead | ReceiveError::HungUp, position) => {
                assert_eq!(position, feed.position());
                reads = None;
            }
            other => panic!("{other:?}"),
        }
    }
    records
}

/// With `FDRING_SOAK_SECONDS`, as many as 500 kills.
#[test]
fn a_feed_outlives_producers_that_are_killed_at_random_times() {
    let test = "a_feed_outlives_producers_that_are_killed_at_random_times";
    if role().is_some() {
        produce();
    }
    let kills = if std::env::var("FDRING_SOAK_SECONDS").is_ok() { 500 } else { 50 };
    let seed = u64::from(std::process::id()) << 20 | 1;
    let (mut random, begin) = (Random(seed), Instant::now());
    println!("the seed is {seed}");
    let (dir, life, stops) = (TempDir::new(), AtomicU64::new(0), AtomicBool::new(false));
    // Each listens where the last one has left its socket's file.
    let address = dir.path().join("socket").display().to_string();
    let records = thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut feed = options().connect(&address).unwrap();
            check_lives(&mut feed, &life, &stops)
        });
        for number in 1..=kills {
            let mut producer = Peer::start(test, "producer", &format!("{address} {number}"));
            if random.below(3) > 0 {
                producer.expect("listening");
            }
            if random.below(3) > 0 {
                wait_until("the feed reads it", || life.load(Ordering::Relaxed) == number || reader.is_finished());
            }
            // At any step of the handshake, or of what follows it.
            let nap = Duration::from_micros(random.below(8000));
            let _ = poll(&mut [], Some(&rustix::event::Timespec::try_from(nap).unwrap()));
            producer.kill();
        }
        stops.store(true, Ordering::Relaxed);
        reader.join().unwrap()
    });
    assert!(records > kills);
    println!("proof: feed | kills {kills} | records {records} | seconds {} | seed {seed}", begin.elapsed().as_secs());
}

/// What happens to a feed's address, and what the feed is asked for.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// The producer sends that number of records, or as many as there is room for; none if it is gone.
    Send(u16),
    Read(u16),
    Evict,
    /// The server is dropped, and another one offers the same lane.
    ListenAgain,
    Finish,
    Abandon,
    /// A producer is started if there is none.
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        5 => prop_oneof![0..8u16, 0..600u16].prop_map(Step::Send),
        6 => prop_oneof![0..8u16, 0..600u16].prop_map(Step::Read),
        2 => Just(Step::Evict),
        1 => Just(Step::ListenAgain),
        1 => Just(Step::Finish),
        1 => Just(Step::Abandon),
        3 => Just(Step::Restart),
    ]
}

/// One lane of the model: its id, how much of it is published, and how it has ended.
#[derive(Clone, Copy, Debug)]
struct Life {
    id: [u8; 16],
    published: u64,
    finished: Option<bool>,
    evictions: u64,
}

/// The record at that position of a lane, which takes 32 bytes there: no padding is needed.
fn record_at(lane: usize, position: u64) -> Vec<u8> {
    [lane as u64, position, 0].map(u64::to_le_bytes).concat()
}

/// A feed beside a plain account of what it may say.
struct Model {
    address: String,
    feed: Feed,
    lane: Option<Producer>,
    server: Option<Server>,
    /// All lanes that there were; a record holds the number of its lane, and its position there.
    lives: Vec<Life>,
    /// The lane that is joined, and the position of what comes next.
    joined: Option<(usize, u64)>,
    /// The lane that was left last, and where.
    left: Option<(usize, u64)>,
    evictions_told: u64,
}

impl Model {
    fn new() -> Self {
        let address = format!("@{}", unique_name());
        let feed = FeedOptions::new().pause_max(Duration::from_millis(2)).connect(&address).unwrap();
        let (lane, server, joined, left) = (None, None, None, None);
        Self { address, feed, lane, server, lives: Vec::new(), joined, left, evictions_told: 0 }
    }

    fn act(&mut self, step: Step) {
        match (step, self.lane.take()) {
            (Step::Restart, None) => {
                self.server = None;
                let lane = small().create().unwrap();
                self.server = Some(listen_again(&self.address, &lane));
                self.lives.push(Life { id: lane.lane().id, published: 0, finished: None, evictions: 0 });
                self.lane = Some(lane);
            }
            (Step::Finish, Some(lane)) => {
                lane.finish();
                self.lives.last_mut().unwrap().finished = Some(true);
            }
            (Step::Abandon, Some(lane)) => {
                lane.abandon();
                self.lives.last_mut().unwrap().finished = Some(false);
            }
            (step, lane) => {
                self.lane = lane;
                self.act_on_lane(step);
            }
        }
    }

    fn act_on_lane(&mut self, step: Step) {
        let number = self.lives.len();
        match (step, &mut self.lane) {
            (Step::Send(records), Some(lane)) => {
                for _ in 0..records {
                    let position = lane.published();
                    let record = record_at(number - 1, position);
                    if lane.try_send(&record).is_err() {
                        break;
                    }
                    self.lives[number - 1].published = lane.published();
                }
            }
            (Step::Evict, Some(lane)) => {
                for consumer in lane.consumers() {
                    self.lives[number - 1].evictions += u64::from(lane.evict(&consumer).unwrap());
                }
            }
            (Step::ListenAgain, Some(lane)) => {
                self.server = None;
                self.server = Some(listen_again(&self.address, lane));
            }
            (Step::Read(records), _) => {
                for _ in 0..records {
                    match self.feed.receive_timeout(Duration::from_millis(1)) {
                        Ok(event) => {
                            let said = said(event);
                            self.check(said);
                        }
                        Err(FeedError::TimedOut) => break,
                        Err(error) => panic!("{error}"),
                    }
                }
            }
            _ => {}
        }
    }

    /// Whether the feed may say that now.
    fn check(&mut self, said: Said) {
        match (said, self.joined) {
            (Said::Joined { lane, position, missed_bytes }, None) => {
                let number = self.lives.iter().position(|life| life.id == lane).expect("a lane that there was");
                let life = self.lives[number];
                assert!(position <= life.published);
                match self.left {
                    Some((left, end)) if left == number => {
                        assert_eq!(Some(position - end), missed_bytes);
                        // A ring that was never full has all of it.
                        assert!(
                            position == end || life.published > CAPACITY / 2,
                            "{missed_bytes:?} missed for nothing"
                        );
                    }
                    Some((left, _)) => assert!(left < number && missed_bytes.is_none()),
                    None => assert_eq!(missed_bytes, None),
                }
                self.joined = Some((number, position));
            }
            (Said::Record(bytes), Some((number, position))) => {
                assert_eq!(bytes, record_at(number, position), "the next of the lane that is joined");
                self.joined = Some((number, position + 32));
                assert_eq!(self.feed.position(), position + 32);
            }
            (Said::Finished(end), Some((number, position))) => {
                let Life { published, finished, .. } = self.lives[number];
                assert_eq!((end, published, finished), (position, position, Some(true)));
                (self.left, self.joined) = (self.joined, None);
            }
            (Said::Lost(ReceiveError::Abandoned, end), Some((number, position))) => {
                let Life { published, finished, .. } = self.lives[number];
                assert_eq!((end, published, finished), (position, position, Some(false)));
                (self.left, self.joined) = (self.joined, None);
            }
            (Said::Lost(ReceiveError::Evicted { .. }, end), Some((number, position))) => {
                assert_eq!(end, position);
                self.evictions_told += 1;
                let evictions: u64 = self.lives.iter().map(|life| life.evictions).sum();
                assert!(self.lives[number].evictions > 0 && self.evictions_told <= evictions);
                (self.left, self.joined) = (self.joined, None);
            }
            (said, joined) => panic!("{said:?} while {joined:?} is joined"),
        }
    }

    /// In the end a last lane is joined, and its last record comes.
    fn ends(mut self) {
        self.act(Step::Finish);
        self.act(Step::Restart);
        self.act(Step::Send(3));
        let last = (self.lives.len() - 1, 3 * 32);
        let begin = Instant::now();
        while self.joined != Some(last) {
            self.act(Step::Read(100));
            assert!(begin.elapsed() < DEADLINE, "it is stuck at {:?} on the way to {last:?}", self.joined);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: ProptestConfig::default().cases / 4,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    /// Whatever happens to its producers, a feed says nothing but what has happened, in order, once.
    #[test]
    fn a_feed_says_what_a_plain_account_of_its_lanes_allows(
        steps in proptest::collection::vec(step(), 0..40)
    ) {
        let mut model = Model::new();
        model.act(Step::Restart);
        steps.into_iter().for_each(|step| model.act(step));
        model.ends();
    }
}
