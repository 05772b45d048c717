//! Events of the crate `tracing`: what is told of sessions and lanes, and that nothing is told of records.

mod common;
#[path = "common/hostile.rs"]
mod hostile;
#[path = "common/impostor.rs"]
mod impostor;
#[path = "common/peer.rs"]
mod peer;
#[path = "common/stage.rs"]
mod stage;

use common::{DEADLINE, role, unique_name, wait_until};
use fdring::collect::{CollectorOptions, Event};
use fdring::errors::{ReceiveError, SendError};
use fdring::feed::{FeedEvent, FeedOptions};
use fdring::options::{LaneOptions, PeerPolicy, ServerOptions, SessionListenerOptions, SessionOptions};
use fdring::{Attach, Consumer, Error, Producer, Server, Session};
use hostile::{Wire, producer_hello};
use impostor::{CAPACITY, Goods, offer};
use peer::{Peer, argument, say, wait_for_the_end};
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Level, Metadata, Subscriber};

/// An event as it came.
#[derive(Clone, Debug)]
struct Told {
    level: Level,
    message: String,
    fields: BTreeMap<&'static str, String>,
}

impl Told {
    fn field(&self, name: &str) -> Option<&str> {
        self.fields.get(name).map(String::as_str)
    }
}

impl Visit for Told {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        match field.name() {
            "message" => self.message = format!("{value:?}"),
            name => _ = self.fields.insert(name, format!("{value:?}")),
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.fields.insert(field.name(), value.to_owned());
    }
}

static TOLD: Mutex<Vec<Told>> = Mutex::new(Vec::new());

/// Keeps all events of this library, from any thread.
struct Collector;

impl Subscriber for Collector {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "fdring"
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        panic!("this library has no spans")
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        let (level, message, fields) = (*event.metadata().level(), String::new(), BTreeMap::new());
        let mut told = Told { level, message, fields };
        event.record(&mut told);
        TOLD.lock().unwrap().push(told);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// How long a wait for room takes at least that is told of.
const LONG: Duration = Duration::from_millis(10);

fn collect() {
    static ONCE: OnceLock<()> = OnceLock::new();
    ONCE.get_or_init(|| tracing::subscriber::set_global_default(Collector).unwrap());
}

/// What was told so far in events with this message and this value of a field.
fn told(message: &str, field: &str, value: &str) -> Vec<Told> {
    let all = TOLD.lock().unwrap();
    all.iter().filter(|told| told.message == message && told.field(field) == Some(value)).cloned().collect()
}

/// Waits for one such event, and returns it.
fn hear(message: &str, field: &str, value: &str) -> Told {
    wait_until(&format!("it is told that {message}"), || !told(message, field, value).is_empty());
    told(message, field, value).remove(0)
}

fn pid() -> String {
    std::process::id().to_string()
}

/// A lane of a name that no other test has, and its server.
fn serve(capacity: u64) -> (Producer, Server, String, String) {
    collect();
    let name = unique_name();
    let producer = LaneOptions::new(&name).capacity(capacity).create().unwrap();
    let address = format!("@{name}");
    let server = Server::listen(&*address, [&producer]).unwrap();
    (producer, server, address, name)
}

#[test]
fn a_lane_is_followed_from_its_creation_to_its_end_without_a_word_of_its_records() {
    let (mut producer, server, address, name) = serve(4096);
    let created = hear("lane created", "lane", &name);
    assert_eq!((created.level, created.field("capacity")), (Level::DEBUG, Some("4096")));
    assert_eq!(hear("listening", "address", &address).field("lanes"), Some("1"));

    let mut consumer = Consumer::connect(&*address).unwrap();
    let attached = hear("attached", "lane", &name);
    assert_eq!((attached.level, attached.field("start")), (Level::INFO, Some("0")));
    assert_eq!(attached.field("producer_pid"), Some(&*pid()));
    wait_until("the server says so too", || {
        let all = TOLD.lock().unwrap();
        all.iter().any(|told| told.message == "consumer attached" && told.field("lanes") == Some("1"))
    });

    let before = TOLD.lock().unwrap().iter().filter(|told| told.field("lane") == Some(&name)).count();
    for _ in 0..1000 {
        producer.send(b"a record").unwrap();
        consumer.receive().unwrap().unwrap();
    }
    let after = TOLD.lock().unwrap().iter().filter(|told| told.field("lane") == Some(&name)).count();
    assert_eq!(before, after, "nothing is told of records");

    consumer.query(DEADLINE).unwrap();
    assert_eq!(hear("question answered", "lane", &name).level, Level::TRACE);
    let published = producer.published().to_string();
    producer.finish();
    let finished = hear("lane finished", "lane", &name);
    assert_eq!((finished.level, finished.field("published")), (Level::INFO, Some(&*published)));
    assert!(told("lane abandoned", "lane", &name).is_empty());
    drop((consumer, server));

    let (producer, _server, _, name) = serve(4096);
    producer.abandon();
    assert_eq!(hear("lane abandoned", "lane", &name).level, Level::WARN);
}

#[test]
fn a_ring_that_stays_full_is_told_of_once_and_so_is_the_end_of_that() {
    let (mut producer, _server, address, name) = serve(4096);
    let mut consumer = Consumer::connect(&*address).unwrap();
    while producer.try_send(&[0; 120]).is_ok() {}
    assert!(told("ring full", "lane", &name).is_empty(), "nobody waits");
    // Shorter than what counts as long, unless a busy machine keeps this thread from running.
    wait_until("a short wait is not told of", || {
        let (before, begin) = (told("wait for room over", "lane", &name).len(), Instant::now());
        let outcome = producer.send_timeout(&[0; 120], Duration::from_millis(1));
        assert!(matches!(outcome, Err(SendError::TimedOut { .. })));
        let is_told = told("wait for room over", "lane", &name).len() > before;
        assert!(!is_told || begin.elapsed() >= LONG, "it was told of after {:?}", begin.elapsed());
        !is_told
    });
    TOLD.lock().unwrap().retain(|told| told.field("lane") != Some(&name));

    std::thread::scope(|scope| {
        let sends = scope.spawn(|| producer.send(&[0; 120]).unwrap());
        let full = hear("ring full", "lane", &name);
        assert_eq!((full.level, full.field("pid")), (Level::WARN, Some(&*pid())));
        assert_eq!(full.field("behind_bytes"), Some("4096"));
        consumer.try_receive_many(|_| ()).unwrap();
        consumer.release();
        sends.join().unwrap();
    });
    let over = hear("wait for room over", "lane", &name);
    assert_eq!((over.level, over.field("has_room")), (Level::INFO, Some("true")));
    assert!(over.field("waited_ms").unwrap().parse::<u128>().unwrap() >= LONG.as_millis());

    // Who gives up is told of too, if it has waited for so long: on a busy machine its time may be up as it begins.
    while producer.try_send(&[0; 120]).is_ok() {}
    wait_until("a wait that ends in vain is told of", || {
        let outcome = producer.send_timeout(&[0; 120], 5 * LONG);
        assert!(matches!(outcome, Err(SendError::TimedOut { .. })));
        told("wait for room over", "lane", &name).len() == 2
    });
    let [first, second] = &told("wait for room over", "lane", &name)[..] else { panic!("two waits were long") };
    assert_eq!([first, second].map(|over| over.field("has_room").unwrap()), ["true", "false"]);
    assert_eq!(told("ring full", "lane", &name).len(), 2);
}

#[test]
fn an_eviction_is_told_of_at_both_ends() {
    let (producer, _server, address, name) = serve(4096);
    let other = LaneOptions::new(format!("{name} too")).create().unwrap();
    let both_address = format!("{address}-both");
    let both = Server::listen(&*both_address, [&producer, &other]).unwrap();
    let mut consumers = Session::connect(&*both_address).unwrap().attach_all(Attach::new()).unwrap();
    let who = producer.consumers().remove(0);
    producer.evict(&who).unwrap();
    let evicted = hear("evicted from a lane", "lane", &name);
    assert_eq!((evicted.level, evicted.field("pid")), (Level::WARN, Some(&*pid())));
    let error = consumers[0].receive_timeout(DEADLINE).unwrap_err();
    assert!(matches!(error, ReceiveError::Evicted { .. }), "{error}");
    wait_until("the consumer's end says so", || {
        let all = TOLD.lock().unwrap();
        all.iter().any(|told| told.message == "seat lost" && told.field("lane") == Some("0"))
    });
    // Of the last lane, the end of the session tells.
    other.evict(&other.consumers()[0]).unwrap();
    wait_until("that is told", || both.stats().evicted == 2);
    wait_until("the server tells", || !told("consumer evicted", "lanes", "1").is_empty());
    let error = consumers[1].receive_timeout(DEADLINE).unwrap_err();
    assert!(matches!(error, ReceiveError::Evicted { .. }), "{error}");
    let over = hear("session over", "why", "evicted all readers of the session");
    assert_eq!((over.level, over.field("producer_pid")), (Level::WARN, Some(&*pid())));
}

#[test]
fn those_who_leave_and_those_who_are_refused_are_told_of() {
    let (_producer, server, address, _) = serve(4096);
    drop(Consumer::connect(&*address).unwrap());
    wait_until("it has left", || server.stats().left == 1);
    assert_eq!(hear("consumer left", "pid", &pid()).level, Level::INFO);
    let closed = format!("{address}-closed");
    let nobody = ServerOptions::new().sessions_max(0).peers(PeerPolicy::SameUser);
    let _full = nobody.listen(&*closed, [&_producer]).unwrap();
    assert!(matches!(Session::connect(&*closed), Err(Error::Refused { .. })));
    let reason = "all 0 sessions are taken (`sessions_max`); try again later";
    assert_eq!(hear("connection refused", "reason", reason).level, Level::WARN);
}

#[test]
fn deaths_are_told_of() {
    let test = "deaths_are_told_of";
    match role().as_deref() {
        Some("consumer") => {
            let _consumer = Consumer::connect(argument()).unwrap();
            say("there");
            wait_for_the_end();
        }
        Some("producer") => {
            let producer = Producer::create("lane").unwrap();
            let _server = Server::listen(argument(), [&producer]).unwrap();
            say("there");
            wait_for_the_end();
        }
        _ => {}
    }
    let (_producer, _server, address, _) = serve(4096);
    let mut consumer = Peer::start(test, "consumer", &address);
    consumer.expect("there");
    let dead = consumer.pid().to_string();
    assert_eq!(hear("consumer attached", "pid", &dead).field("lanes"), Some("1"));
    consumer.kill();
    assert_eq!(hear("consumer died", "pid", &dead).level, Level::WARN);

    let address = format!("@{}", unique_name());
    let mut producer = Peer::start(test, "producer", &address);
    producer.expect("there");
    let dead = producer.pid().to_string();
    let mut consumer = Consumer::connect(&*address).unwrap();
    producer.kill();
    assert_eq!(consumer.receive_timeout(DEADLINE).unwrap_err(), ReceiveError::PeerDead);
    let over = hear("session over", "producer_pid", &dead);
    assert!(["died", "hung up"].contains(&over.field("why").unwrap()), "{over:?}");
    assert_eq!(told("session over", "producer_pid", &dead).len(), 1, "once");
}

#[test]
fn a_producer_that_arrives_and_its_end_are_told_of() {
    collect();
    let (address, name) = (format!("@{}", unique_name()), unique_name());
    let each = SessionOptions::new().deadline(DEADLINE);
    let listener = SessionListenerOptions::new().sessions(each).listen(&*address).unwrap();
    assert_eq!(hear("listening", "address", &address).level, Level::DEBUG);
    let producer = LaneOptions::new(&name).create().unwrap();
    std::thread::scope(|scope| {
        let link = scope.spawn(|| producer.connect(&*address).unwrap());
        let consumer = listener.accept_timeout(DEADLINE).unwrap().attach_one(Attach::new()).unwrap();
        assert_eq!(hear("producer arrived", "pid", &pid()).field("lanes"), Some("1"));
        assert_eq!(hear("attached", "lane", &name).field("producer_pid"), Some(&*pid()));
        assert_eq!(hear("lanes offered", "pid", &pid()).level, Level::DEBUG);
        drop((link.join().unwrap(), consumer));
    });
}

#[test]
fn a_feed_tells_why_it_waits_what_it_joins_and_how_that_ends() {
    collect();
    let name = unique_name();
    let address = format!("@{name}");
    let options = FeedOptions::new().pause_max(Duration::from_millis(20));
    let mut feed = options.clone().connect(&*address).unwrap();
    assert!(feed.try_receive().is_err());
    let waits = hear("feed found no lane", "address", &address);
    assert_eq!(waits.level, Level::DEBUG);
    assert!(waits.field("reason").unwrap().starts_with("could not connect"), "{waits:?}");

    let mut producer = LaneOptions::new(&name).capacity(4096).create().unwrap();
    let server = Server::listen(&*address, [&producer]).unwrap();
    assert!(matches!(feed.receive_timeout(DEADLINE).unwrap(), Some(FeedEvent::Joined { .. })));
    let joined = hear("feed joined a lane", "address", &address);
    assert_eq!((joined.level, joined.field("lane"), joined.field("position")), (Level::INFO, Some(&*name), Some("0")));
    assert_eq!(joined.field("missed_bytes"), None, "it is another lane than the last");
    producer.evict(&producer.consumers()[0]).unwrap();
    assert!(matches!(feed.receive_timeout(DEADLINE).unwrap(), Some(FeedEvent::Lost { .. })));
    let lost = hear("feed lost a lane", "address", &address);
    assert_eq!((lost.level, lost.field("position")), (Level::WARN, Some("0")));
    assert!(lost.field("why").unwrap().starts_with("the lane went on without this consumer"), "{lost:?}");
    assert!(matches!(feed.receive_timeout(DEADLINE).unwrap(), Some(FeedEvent::Joined { .. })));
    assert_eq!(told("feed joined a lane", "address", &address)[1].field("missed_bytes"), Some("0"));
    producer.send(b"a record").unwrap();
    producer.finish();
    while !matches!(feed.receive_timeout(DEADLINE).unwrap(), Some(FeedEvent::Finished { .. })) {}
    let read = hear("feed read a lane to its end", "address", &address);
    assert_eq!((read.level, read.field("position")), (Level::INFO, Some("16")));
    drop((feed, server));

    let mut hasty = options.patience(Duration::ZERO).connect(&*address).unwrap();
    assert!(hasty.receive().is_err());
    assert_eq!(hear("feed gave up", "address", &address).level, Level::WARN);
}

#[test]
fn a_collector_tells_who_joins_and_how_each_lane_ends() {
    collect();
    let (address, name) = (format!("@{}", unique_name()), unique_name());
    let each = SessionOptions::new().deadline(DEADLINE);
    let listener = SessionListenerOptions::new().sessions(each);
    let mut collector = CollectorOptions::new().listener(listener).listen(&*address).unwrap();
    for (number, ends_well) in [true, false].into_iter().enumerate() {
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let producer = LaneOptions::new(&name).capacity(4096).create().unwrap();
                drop(producer.connect(&*address).unwrap());
                if ends_well { producer.finish() } else { producer.abandon() }
            });
            while collector.stats().finished + collector.stats().lost <= number as u64 {
                collector.next_timeout(DEADLINE).unwrap();
            }
        });
        let joined = &told("lane joined", "lane", &name)[number];
        assert_eq!((joined.level, joined.field("number")), (Level::INFO, Some(&*number.to_string())));
        assert_eq!(joined.field("pid"), Some(&*pid()));
    }
    let read = hear("lane read to its end", "lane", &name);
    assert_eq!((read.level, read.field("number"), read.field("pid")), (Level::INFO, Some("0"), Some(&*pid())));
    let lost = hear("lane lost", "lane", &name);
    assert_eq!((lost.level, lost.field("number")), (Level::WARN, Some("1")));
    assert!(lost.field("why").unwrap().starts_with("the producer gave up"), "{lost:?}");
}

#[test]
fn a_producer_that_cannot_be_attached_to_is_told_of() {
    collect();
    let address = format!("@{}", unique_name());
    let each = SessionOptions::new().deadline(Duration::from_millis(100));
    let listener = SessionListenerOptions::new().sessions(each);
    let mut collector = CollectorOptions::new().listener(listener).listen(&*address).unwrap();
    // It offers a lane, and says nothing more.
    let wire = Wire::connect(&address);
    wire.recv().unwrap();
    wire.send(&producer_hello()).unwrap();
    let goods = Goods::new(CAPACITY);
    wire.send_fds(&offer(CAPACITY), &goods.fds()).unwrap();
    let Event::Refused(refused) = collector.next_timeout(DEADLINE).unwrap() else { panic!("it is refused") };
    assert_eq!(hear("producer refused", "reason", &refused.error.to_string()).level, Level::WARN);
}
