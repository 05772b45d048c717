//! Every shape once, both ends in this process: what each is for works.
//!
//! Use it beside `mod common;`, by `#[path = "common/shapes.rs"] mod shapes;`.

use crate::common::{DEADLINE, unique_name};
use fdring::call::{Caller, Service};
use fdring::collect::{Collector, Event};
use fdring::distribute::{DistributorOptions, To, Worker};
use fdring::feed::{Feed, FeedEvent};
use fdring::options::LaneOptions;
use fdring::parcel::ParcelBuilder;
use fdring::{Attach, Server, Session, Tap};

fn address() -> String {
    format!("@{}", unique_name())
}

/// Has each shape, and each thread of the library, do what it is for.
pub(crate) fn use_every_one() {
    let mut collector = Collector::listen(address()).unwrap();
    let mut client = LaneOptions::new("lane").capacity(4096).attachments(1).create().unwrap();
    let offered = collector.address().to_string();
    let link = std::thread::scope(|scope| {
        let link = scope.spawn(|| client.connect(offered).unwrap());
        assert!(matches!(collector.next_timeout(DEADLINE).unwrap(), Event::Joined(_)));
        link.join().unwrap()
    });
    client.send(b"x").unwrap();
    assert!(matches!(collector.next_timeout(DEADLINE).unwrap(), Event::Record(_, record) if record[..] == *b"x"));
    drop((collector, link));
    let address = address();
    let mut feed = Feed::connect(&*address).unwrap();
    let _server = Server::listen(&*address, &[&client]).unwrap();
    assert!(matches!(feed.receive_timeout(DEADLINE).unwrap(), Some(FeedEvent::Joined { .. })));
    let mut tap = Tap::connect(&*address).unwrap();
    let mut consumer = Session::connect(&*address).unwrap().attach_one(Attach::new().attachments(true)).unwrap();
    let mut parcel = ParcelBuilder::new("parcel").buffer(0, 8).allocate().unwrap();
    parcel.buffer_mut(0).fill(7);
    client.send_parcel(b"parcel", &parcel.seal().unwrap()).unwrap();
    assert_eq!(tap.receive_timeout(DEADLINE).unwrap().unwrap()[..], *b"parcel");
    let record = consumer.receive_timeout(DEADLINE).unwrap().unwrap();
    assert_eq!(record.take_parcel(1 << 20).unwrap().buffer(0), Some(&[7; 8][..]));
    let mut service = Service::listen(self::address()).unwrap();
    let mut caller = Caller::connect(service.address().to_string()).unwrap();
    let mut ticket = caller.send(b"x", DEADLINE).unwrap();
    service.receive_timeout(DEADLINE).unwrap().reply(b"y").unwrap();
    assert_eq!(caller.wait_timeout(&mut ticket, DEADLINE).unwrap().unwrap()[..], *b"y");
    let options = DistributorOptions::new().lane(LaneOptions::new("work").capacity(4096));
    let mut distributor = options.listen(self::address()).unwrap();
    let mut worker = Worker::connect(distributor.address().to_string()).unwrap();
    distributor.send_timeout(To::MostRoom, b"x", DEADLINE).unwrap();
    assert_eq!(worker.receive_timeout(DEADLINE).unwrap().unwrap()[..], *b"x");
}
