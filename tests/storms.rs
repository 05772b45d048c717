//! Time limits in storms of signals: each wait of each shape ends when it should, whether a signal comes every ten
//! milliseconds or every one.

mod common;
#[path = "common/hostile.rs"]
mod hostile;
#[path = "common/impostor.rs"]
mod impostor;
#[path = "common/peer.rs"]
mod peer;
#[path = "common/stage.rs"]
mod stage;
#[path = "common/storm.rs"]
mod storm;

use common::{DEADLINE, isolated, unique_name};
use fdring::call::{CallError, Caller, CallerOptions, ReplyError, Service, ServiceOptions};
use fdring::collect::Collector;
use fdring::collect::SessionListener;
use fdring::distribute::{Distributor, DistributorOptions, To, Worker};
use fdring::errors::{ErrorKind, ReceiveError, SendError, TapError};
use fdring::feed::{Feed, FeedError, FeedEvent, FeedOptions};
use fdring::options::{LaneOptions, NoConsumer, ServerOptions, SessionOptions};
use fdring::parcel::{Parcel, ParcelBuilder};
use fdring::select::Selector;
use fdring::{Attach, Consumer, Error, Producer, Server, Session, Tap};
use hostile::{ATTACH, accept, attached, listen, producer_hello};
use impostor::{CAPACITY, Goods, offer};
use rustix::fd::AsFd;
use std::time::Instant;
use storm::{LIMIT, ends_in_time};

fn address() -> String {
    format!("@{}", unique_name())
}

fn lane() -> LaneOptions {
    LaneOptions::new("lane").capacity(4096)
}

fn times_out<T>(outcome: fdring::Result<T>) {
    let error = outcome.map(drop).unwrap_err();
    assert!(matches!(error, Error::TimedOut { .. }), "{error}");
}

/// A lane that its one consumer holds back: it is full.
fn full(options: LaneOptions) -> (Producer, Server, Consumer) {
    let (address, mut producer) = (address(), options.create().unwrap());
    let server = Server::listen(&*address, [&producer]).unwrap();
    let consumer = Consumer::connect(&*address).unwrap();
    while producer.try_send(&[0; 56]).is_ok() {}
    (producer, server, consumer)
}

fn distributor(address: &str) -> Distributor {
    DistributorOptions::new().lane(lane()).listen(address).unwrap()
}

/// A distributor whose one worker has all the work that it has room for, and does none.
fn busy() -> (Distributor, Worker) {
    let address = address();
    let mut distributor = distributor(&address);
    let worker = Worker::connect(&*address).unwrap();
    distributor.wait_for_workers(1, DEADLINE).unwrap();
    while distributor.try_send(To::MostRoom, &[0; 56]).is_ok() {}
    (distributor, worker)
}

#[test]
fn whoever_listens_or_selects_waits_no_longer_for_all_signals() {
    isolated("whoever_listens_or_selects_waits_no_longer_for_all_signals", || {
        let listener = SessionListener::listen(address()).unwrap();
        ends_in_time("a session", || times_out(listener.accept_timeout(LIMIT)));
        ends_in_time("a session, up to an instant", || times_out(listener.accept_deadline(Instant::now() + LIMIT)));
        let mut selector = Selector::new().unwrap();
        selector.add(listener).unwrap();
        ends_in_time("news of one of many", || {
            assert_eq!(selector.wait_timeout(LIMIT), Err(ReceiveError::TimedOut));
        });
        let mut collector = Collector::listen(address()).unwrap();
        ends_in_time("an event", || {
            assert!(matches!(collector.next_timeout(LIMIT), Err(ReceiveError::TimedOut)));
        });
        let mut service = Service::listen(address()).unwrap();
        ends_in_time("a request", || {
            assert!(matches!(service.receive_timeout(LIMIT), Err(ReceiveError::TimedOut)));
        });
    });
}

#[test]
fn whoever_connects_waits_no_longer_for_all_signals() {
    isolated("whoever_connects_waits_no_longer_for_all_signals", || {
        let address = &*address();
        let patient = SessionOptions::new().patience(LIMIT);
        ends_in_time("a server that does not come", || {
            assert_eq!(patient.clone().connect(address).map(drop).unwrap_err().kind(), ErrorKind::Os);
        });
        let producer = lane().create().unwrap();
        let patient = ServerOptions::new().patience(LIMIT);
        ends_in_time("a consumer that does not come", || {
            assert_eq!(patient.clone().connect(address, [&producer]).map(drop).unwrap_err().kind(), ErrorKind::Os);
        });
        ends_in_time("a service that does not come", || {
            let outcome = CallerOptions::new().patience(LIMIT).connect(address);
            assert_eq!(outcome.map(drop).unwrap_err().kind(), ErrorKind::Os);
        });
        ends_in_time("a lane for a feed", || {
            let mut feed = FeedOptions::new().patience(LIMIT).connect(address).unwrap();
            assert!(matches!(feed.receive(), Err(FeedError::GaveUp(_))));
        });
        let mut feed = Feed::connect(address).unwrap();
        ends_in_time("the first event of a feed", || {
            assert!(matches!(feed.receive_timeout(LIMIT), Err(FeedError::TimedOut)));
        });
        drop(feed);
        let _silent = listen(address);
        let quick = ServerOptions::new().deadline(LIMIT);
        ends_in_time("a consumer that is silent", || times_out(quick.clone().connect(address, [&producer])));
        ends_in_time("a service that is silent", || times_out(CallerOptions::new().deadline(LIMIT).connect(address)));
    });
}

#[test]
fn whoever_sends_waits_no_longer_for_all_signals() {
    isolated("whoever_sends_waits_no_longer_for_all_signals", || {
        let lonely = lane().no_consumer(NoConsumer::WaitFor(1));
        let mut producer = lonely.create().unwrap();
        ends_in_time("a consumer that is wanted", || {
            assert!(matches!(producer.send_timeout(b"x", LIMIT), Err(SendError::TooFewConsumers { .. })));
        });
        ends_in_time("a consumer", || times_out(producer.wait_for_consumers(1, LIMIT)));
        let (mut producer, _server, _consumer) = full(lane().attachments(4));
        let is_late = |error: SendError| assert!(matches!(error, SendError::TimedOut { .. }), "{error}");
        let end = producer.published();
        ends_in_time("a release", || is_late(producer.wait_released(end, LIMIT).unwrap_err()));
        ends_in_time("room", || is_late(producer.reserve_timeout(56, LIMIT).map(drop).unwrap_err()));
        ends_in_time("room for several", || {
            is_late(producer.reserve_window_timeout(&[56, 56], LIMIT).map(drop).unwrap_err());
        });
        ends_in_time("room for a batch", || {
            is_late(producer.batch().unwrap().send_timeout(&[0; 56], LIMIT).unwrap_err());
        });
        let file = std::fs::File::open("/dev/null").unwrap();
        ends_in_time("room for descriptors", || {
            is_late(producer.send_with_fds_timeout(&[0; 56], &[file.as_fd()], LIMIT).unwrap_err());
        });
        let options = LaneOptions::new("lane").capacity(1 << 16).attachments(4);
        let (address, mut untaken) = (address(), options.create().unwrap());
        let _other = Server::listen(&*address, [&untaken]).unwrap();
        let session = Session::connect(&*address).unwrap();
        let _takes_none = session.attach_one(Attach::new().attachments(true)).unwrap();
        while untaken.try_send_with_fds(b"x", &[file.as_fd()]).is_ok() {}
        ends_in_time("room in a queue of descriptors", || {
            let outcome = untaken.send_with_fds_timeout(b"x", &[file.as_fd()], LIMIT);
            assert!(matches!(outcome, Err(SendError::Untaken { .. })), "{outcome:?}");
        });
        let parcel: Parcel = ParcelBuilder::new("parcel").buffer(0, 8).allocate().unwrap().seal().unwrap();
        ends_in_time("room for a parcel", || {
            is_late(producer.send_parcel_timeout(&[0; 56], &parcel, LIMIT).unwrap_err());
        });
        let mut others = [full(lane()), full(lane())].map(Some).into_iter();
        ends_in_time("the end", || {
            let (producer, _server, _consumer) = others.next().flatten().unwrap();
            let error = producer.finish_and_wait(LIMIT).unwrap_err();
            assert!(matches!(error, SendError::Unread { .. }), "{error}");
        });
    });
}

#[test]
fn whoever_reads_waits_no_longer_for_all_signals() {
    isolated("whoever_reads_waits_no_longer_for_all_signals", || {
        let (address, producer) = (&*address(), lane().create().unwrap());
        let server = Server::listen(address, [&producer]).unwrap();
        let mut tap = Tap::connect(address).unwrap();
        ends_in_time("a record for a tap", || {
            assert!(matches!(tap.receive_timeout(LIMIT), Err(TapError::TimedOut)));
        });
        ends_in_time("the newest record", || {
            assert!(matches!(tap.receive_newest_timeout(LIMIT), Err(TapError::TimedOut)));
        });
        let mut feed = Feed::connect(address).unwrap();
        assert!(matches!(feed.receive_timeout(DEADLINE), Ok(Some(FeedEvent::Joined { .. }))));
        ends_in_time("a record for a feed", || {
            assert!(matches!(feed.receive_timeout(LIMIT), Err(FeedError::TimedOut)));
        });
        drop(server);
        // One that attaches a consumer, and never answers it.
        let silent = format!("@{}", unique_name());
        let (listener, goods) = (listen(&silent), Goods::new(CAPACITY));
        let attaches = std::thread::spawn(move || {
            let wire = accept(&listener);
            wire.recv().unwrap();
            wire.send(&producer_hello()).unwrap();
            wire.send_fds(&offer(CAPACITY), &goods.fds()).unwrap();
            assert_eq!(wire.recv().unwrap().kind(), ATTACH);
            wire.send(&attached(&[0])).unwrap();
            (wire, goods)
        });
        let consumer = Consumer::connect(&*silent).unwrap();
        let _silent = attaches.join().unwrap();
        ends_in_time("an answer", || times_out(consumer.query(LIMIT)));
    });
}

#[test]
fn whoever_calls_or_shares_work_waits_no_longer_for_all_signals() {
    isolated("whoever_calls_or_shares_work_waits_no_longer_for_all_signals", || {
        let address = &*address();
        let service = Service::listen(address).unwrap();
        let mut caller = Caller::connect(address).unwrap();
        ends_in_time("a reply", || assert!(matches!(caller.call(b"x", LIMIT), Err(CallError::TimedOut))));
        let mut ticket = caller.send(b"x", DEADLINE).unwrap();
        ends_in_time("a reply, for a while", || {
            assert!(matches!(caller.wait_timeout(&mut ticket, LIMIT), Err(CallError::Empty)));
        });
        let mut full = CallerOptions::new().capacity(4096).connect(address).unwrap();
        while full.try_send(&[0; 56], DEADLINE).is_ok() {}
        ends_in_time("room for a request", || {
            assert!(matches!(full.send(&[0; 56], LIMIT), Err(CallError::Full)));
        });
        drop((caller, full, service));
        ends_in_time("room for a reply", || {
            let address = self::address();
            let options = ServiceOptions::new().capacity(4096).reply_timeout(LIMIT);
            let mut service = options.listen(&*address).unwrap();
            let mut caller = Caller::connect(&*address).unwrap();
            let _ticket = caller.send(b"x", DEADLINE).unwrap();
            let request = service.receive_timeout(DEADLINE).unwrap();
            while request.try_reply_part(&[0; 56]).is_ok() {}
            assert!(matches!(request.reply_part(&[0; 56]), Err(ReplyError::Evicted)));
        });
        let mut distributor = distributor(&format!("@{}", unique_name()));
        ends_in_time("a worker", || {
            assert!(distributor.wait_for_workers(1, LIMIT).is_err());
        });
        ends_in_time("a worker for a record", || {
            assert!(distributor.send_timeout(To::MostRoom, b"x", LIMIT).is_err());
        });
        let (_distributor, mut worker) = busy();
        while worker.try_receive().is_ok() {}
        ends_in_time("a record for a worker", || {
            assert!(matches!(worker.receive_timeout(LIMIT), Err(ReceiveError::TimedOut)));
        });
        let (mut full, _worker) = busy();
        ends_in_time("a worker's room", || {
            assert!(matches!(full.send_timeout(To::MostRoom, &[0; 56], LIMIT), Err(SendError::TimedOut { .. })));
        });
        ends_in_time("a worker's release", || assert!(full.wait_released(LIMIT).is_err()));
        let mut others = [busy(), busy()].into_iter();
        ends_in_time("the end of the work", || {
            let (distributor, _worker) = others.next().unwrap();
            assert!(distributor.finish_and_wait(LIMIT).is_err());
        });
    });
}
