//! Producers by the protocol page, and against it, that connect to a consumer which listens; and every pair of roles.

mod common;
#[path = "common/hostile.rs"]
mod hostile;
#[path = "common/impostor.rs"]
mod impostor;
#[path = "common/peer.rs"]
mod peer;
#[path = "common/stage.rs"]
mod stage;

use common::{DEADLINE, belongings, hears_of_death, role, undisturbed, unique_name, wait_until};
use fdring::call::Caller;
use fdring::{
    Attach, Producer, Server, Session,
    errors::ReceiveError,
    options::{PeerPolicy, ServerOptions, SessionListenerOptions, SessionOptions, Start},
};
use hostile::*;
use impostor::{CAPACITY, Goods, OFFER_LANE, OFFER_LANES, data, offer};
use peer::{Peer, argument, say, told};
use rustix::fd::{AsFd, BorrowedFd};
use rustix::process::Signal;
use stage::name_of;
use std::sync::atomic::Ordering::{Relaxed, Release};
use std::time::{Duration, Instant};

/// How many records a hand-made producer has published before it connects.
const RECORDS: u64 = 5;

/// In a process that was started to play a role: plays it, and says so.
fn plays_a_role() -> bool {
    match role().as_deref() {
        Some("host") => host(),
        Some("end") => end(),
        Some("maker") => maker(),
        Some("stranger") => stranger(),
        _ => return false,
    }
    true
}

/// A consumer that listens, and says what came of each session; it has what it had before, or does not say so.
fn host() {
    let argument = argument();
    let [address, millis, anyone] = argument.split(' ').collect::<Vec<_>>()[..] else { panic!("{argument}") };
    let peers = if anyone == "true" { PeerPolicy::Anyone } else { PeerPolicy::SameUser };
    let each = SessionOptions::new().deadline(Duration::from_millis(millis.parse().unwrap())).peers(peers);
    let options = SessionListenerOptions::new().sessions(each).lanes_max(1).capacity_max(1 << 20);
    let listener = options.listen(address).unwrap();
    let before = belongings();
    say("listening");
    loop {
        match &*told() {
            "accept" => say(&read(listener.accept_timeout(DEADLINE).unwrap())),
            "census" => {
                wait_until("nothing is left of anybody", || listener.stats().sessions == 0 && belongings() == before);
                say("as before");
            }
            "refusal" => say(&listener.stats().last_refusal.unwrap_or_default()),
            _ => return,
        }
    }
}

/// Attaches, and reads to the end; how many records, and the end.
fn read(session: Session) -> String {
    let mut consumer = match session.attach_one(Attach::new().start(Start::Oldest)) {
        Ok(consumer) => consumer,
        Err(error) => return format!("{}: {error}", name_of(&error)),
    };
    let mut count = 0;
    loop {
        match consumer.receive_timeout(DEADLINE) {
            Ok(Some(_)) => count += 1,
            Ok(None) => return format!("{count} finished"),
            Err(ReceiveError::PeerDead) => return format!("{count} dead"),
            Err(ReceiveError::HungUp) => {
                let ask = || consumer.receive_timeout(DEADLINE).map(drop);
                hears_of_death(ask, [ReceiveError::HungUp, ReceiveError::PeerDead].map(Err));
                return format!("{count} dead");
            }
            Err(error) => return format!("{count} {error}"),
        }
    }
}

struct Host {
    peer: Peer,
    address: String,
    test: &'static str,
}

impl Host {
    fn new(test: &'static str, deadline: Duration, anyone: bool) -> Self {
        let address = format!("@{}", unique_name());
        let mut peer = Peer::start(test, "host", &format!("{address} {} {anyone}", deadline.as_millis()));
        peer.expect("listening");
        Self { peer, address, test }
    }

    fn ask(&mut self, question: &str) -> String {
        self.peer.tell(question);
        self.peer.heard()
    }

    /// Connects, and hears the Hello, which comes without being asked for.
    fn knock(&self) -> Wire {
        let wire = Wire::connect(&self.address);
        assert_eq!(wire.recv().expect("a Hello").bytes, hello(&[]));
        wire
    }

    /// An honest producer is served, and of all others nothing is left.
    fn is_undisturbed(&mut self) {
        let address = self.address.clone();
        let honest = std::thread::spawn(move || {
            let mut producer = fdring::options::LaneOptions::new("lane").capacity(4096).create().unwrap();
            let _link = ServerOptions::new().deadline(DEADLINE).connect(&address, [&producer]).unwrap();
            producer.send(b"hello").unwrap();
        });
        assert_eq!(self.ask("accept"), "1 finished");
        honest.join().unwrap();
        assert_eq!(self.ask("census"), "as before");
    }

    /// A hand-made producer in a process of its own, which waits to be told to offer its lane.
    fn maker(&self, manner: &str) -> Peer {
        let mut maker = Peer::start(self.test, "maker", &format!("{} {manner}", self.address));
        maker.expect("met");
        maker
    }
}

/// Publishes that number of records of eight bytes.
fn publish(goods: &Goods, count: u64) {
    for number in 0..count {
        goods.put(16 * number, data(8, 0));
        goods.put(16 * number + 8, number);
    }
    goods.control_map.u64(INTENT).store(16 * count, Relaxed);
    goods.publish(16 * count);
}

/// A hand-made producer that has published, and dies in the middle, or is late.
fn maker() {
    let argument = argument();
    let [address, manner] = argument.split(' ').collect::<Vec<_>>()[..] else { panic!("{argument}") };
    let goods = Goods::new(CAPACITY);
    publish(&goods, RECORDS);
    if manner == "overwritten" {
        goods.control_map.u64(INTENT).store(CAPACITY + 16, Relaxed);
    }
    let wire = Wire::connect(address);
    wire.send(&producer_hello()).unwrap();
    // Before that nobody takes its descriptors.
    wire.expect(&[HELLO]);
    say("met");
    told();
    wire.send_fds(&offer(goods.capacity), &goods.fds()).unwrap();
    if manner == "late" {
        wire.expect(&[ATTACH]);
        say("attach heard");
        told();
        wire.send(&attached(&[0])).unwrap();
        publish(&goods, 2 * RECORDS);
        goods.control_map.u32(STATE).store(2, Release);
    }
    say("done");
}

#[test]
fn what_a_producer_published_that_died_before_it_attached_anyone_is_read() {
    if plays_a_role() {
        return;
    }
    let test = "what_a_producer_published_that_died_before_it_attached_anyone_is_read";
    let mut host = Host::new(test, DEADLINE, false);
    let dies = |maker: &mut Peer| {
        maker.tell("go");
        maker.expect("done");
    };
    let mut maker = host.maker("dead");
    dies(&mut maker);
    maker.finish();
    assert_eq!(host.ask("accept"), format!("{RECORDS} dead"));
    // Its Offer, the end of the connection and the end of the process are all there at once.
    let mut maker = host.maker("dead");
    host.peer.signal(Signal::STOP);
    dies(&mut maker);
    maker.finish();
    host.peer.signal(Signal::CONT);
    assert_eq!(host.ask("accept"), format!("{RECORDS} dead"));
    // But not if its first bytes may be gone,
    let mut maker = host.maker("overwritten");
    dies(&mut maker);
    maker.finish();
    let answer = host.ask("accept");
    assert!(
        answer.starts_with("Closed: ") && answer.contains("to lane lane, which it had begun to overwrite"),
        "{answer}"
    );
    // and not if its process lives, and may go on to write.
    let goods = Goods::new(CAPACITY);
    publish(&goods, RECORDS);
    let wire = host.knock();
    wire.send(&producer_hello()).unwrap();
    wire.send_fds(&offer(CAPACITY), &goods.fds()).unwrap();
    drop(wire);
    let answer = host.ask("accept");
    assert!(answer.starts_with("Closed: "), "{answer}");
    host.is_undisturbed();
}

#[test]
fn what_a_producer_says_before_it_dies_is_heard_by_a_collector_that_was_stopped() {
    if plays_a_role() {
        return;
    }
    let test = "what_a_producer_says_before_it_dies_is_heard_by_a_collector_that_was_stopped";
    let mut host = Host::new(test, DEADLINE, false);
    host.peer.tell("accept");
    let mut maker = host.maker("late");
    maker.tell("go");
    maker.expect("attach heard");
    host.peer.signal(Signal::STOP);
    maker.tell("go");
    maker.expect("done");
    maker.finish();
    // Its Attached, the end of the connection and the end of the process are all there at once.
    host.peer.signal(Signal::CONT);
    assert_eq!(host.peer.heard(), format!("{} finished", 2 * RECORDS));
    host.is_undisturbed();
}

#[test]
fn a_producer_that_breaks_the_protocol_is_told_so_and_leaves_nothing() {
    if plays_a_role() {
        return;
    }
    let test = "a_producer_that_breaks_the_protocol_is_told_so_and_leaves_nothing";
    let mut host = Host::new(test, DEADLINE, false);
    let goods = Goods::new(CAPACITY);
    let good = producer_hello();
    let hellos = [
        ("an empty range of versions", with(good.clone(), 17, &[1, 0, 0, 0]), 0, 5),
        ("only newer versions", with(good.clone(), 17, &[2, 0, 9, 0]), 0, 1),
        ("an Offer", offer(CAPACITY), 4, 5),
        ("an Attached", attached(&[0]), 0, 5),
        ("an Attach", attach(1, COPIES), 0, 5),
        ("a Hello with a descriptor", with(good.clone(), 12, &[1]), 1, 5),
    ];
    let hellos = hellos.into_iter().chain(spoilt(&good).map(|(what, bytes)| (what, bytes, 0, 5)));
    for (what, bytes, fds, code) in hellos {
        let wire = host.knock();
        is_refused(&mut host, &wire, what, &bytes, &goods.fds()[..fds], code);
    }
    let offered = offer(CAPACITY);
    let offers = [
        ("another Hello", good.clone(), 0, 5),
        ("an Attach", attach(1, COPIES), 0, 5),
        ("an Evicted", evicted(0), 0, 5),
        ("a ring that is too long", with(offered.clone(), OFFER_LANE + 16, &(1u64 << 21).to_le_bytes()), 4, 11),
        ("no lanes", with(offered.clone(), OFFER_LANES, &[0]), 4, 5),
        ("another bell than it says", with(offered.clone(), OFFER_LANE + 57, &[2]), 4, 11),
        ("too few descriptors", offered.clone(), 3, 5),
    ];
    let offers = offers.into_iter().chain(spoilt(&offered).map(|(what, bytes)| (what, bytes, 4, 5)));
    for (what, bytes, fds, code) in offers {
        let wire = host.knock();
        wire.send(&good).unwrap();
        is_refused(&mut host, &wire, what, &bytes, &goods.fds()[..fds], code);
    }
    // More descriptors than the lanes that are taken have: the rest is never received.
    let wire = host.knock();
    wire.send(&good).unwrap();
    let many: Vec<_> = (0..7).map(|_| goods.seat.as_fd()).collect();
    is_refused(&mut host, &wire, "too many descriptors", &with(offered, 12, &[7]), &many, 10);
    host.is_undisturbed();
}

/// Sends that, for which the connection is refused by that code.
fn is_refused(host: &mut Host, wire: &Wire, what: &str, bytes: &[u8], fds: &[BorrowedFd<'_>], code: u16) {
    wire.send_fds(bytes, fds).unwrap();
    assert_eq!(wire.last_words(), [(REFUSE, code)], "{what}: {}", host.ask("refusal"));
}

#[test]
fn descriptors_that_take_long_to_close_delay_nobody() {
    if plays_a_role() {
        return;
    }
    let test = "descriptors_that_take_long_to_close_delay_nobody";
    let mut host = Host::new(test, DEADLINE, false);
    let goods = Goods::new(CAPACITY);
    let (socket, listener) = lingering();
    for place in 0..4 {
        let wire = host.knock();
        wire.send(&producer_hello()).unwrap();
        let mut fds = goods.fds();
        fds[place] = socket.as_fd();
        wire.send_fds(&offer(CAPACITY), &fds).unwrap();
        assert_eq!(wire.last_words(), [(REFUSE, 11)], "in place {place}");
    }
    // Before the socket, whose last end would wait for it.
    drop(listener);
    drop(socket);
    host.is_undisturbed();
}

#[test]
fn silent_producers_keep_nobody_waiting() {
    if plays_a_role() {
        return;
    }
    let test = "silent_producers_keep_nobody_waiting";
    let mut host = Host::new(test, Duration::from_secs(3), false);
    // At each step, and all at once.
    let silent = [host.knock(), host.knock()];
    silent[1].send(&producer_hello()).unwrap();
    let goods = Goods::new(CAPACITY);
    let attaching = host.knock();
    attaching.send(&producer_hello()).unwrap();
    attaching.send_fds(&offer(CAPACITY), &goods.fds()).unwrap();
    let answer = host.ask("accept");
    assert!(answer.starts_with("TimedOut: "), "{answer}");
    attaching.expect(&[ATTACH]);
    assert!(attaching.recv().is_none(), "it has given up");
    for wire in &silent {
        assert_eq!(wire.last_words(), [(REFUSE, 8)]);
    }
    drop((silent, attaching));
    assert_eq!(host.ask("census"), "as before");
}

#[test]
fn a_producer_connects_by_its_deadline_though_the_backlog_has_taken_most_of_it() {
    const LIMIT: Duration = Duration::from_secs(2);
    let address = format!("@{}", unique_name());
    let listener = listen(&address);
    let producer = fdring::options::LaneOptions::new("lane").capacity(4096).create().unwrap();
    undisturbed("it gives up", LIMIT * 3 / 2, || {
        let (_others, begin) = (fill_backlog(&address), Instant::now());
        std::thread::scope(|scope| {
            scope.spawn(|| {
                wait_until("most of the time is over", || begin.elapsed() > LIMIT * 3 / 4);
                // There is room for one more, to whom nobody says a word.
                drop(accept(&listener));
            });
            let error = ServerOptions::new().deadline(LIMIT).connect(&*address, [&producer]).map(drop).unwrap_err();
            assert_eq!(name_of(&error), "TimedOut", "{error}");
        });
        assert!(begin.elapsed() >= LIMIT, "{:?}", begin.elapsed());
    });
}

/// A producer of another user: is told that it is not admitted, and can send nothing meanwhile.
#[allow(unsafe_code, reason = "becomes another user")]
fn stranger() {
    const NOBODY: u32 = 65534;
    // SAFETY: changes the user of this process, which has no other business.
    assert_eq!(unsafe { libc::setresgid(NOBODY, NOBODY, NOBODY) }, 0);
    // SAFETY: as above.
    assert_eq!(unsafe { libc::setresuid(NOBODY, NOBODY, NOBODY) }, 0);
    let argument = argument();
    let (address, is_admitted) = argument.split_once(' ').unwrap();
    let wire = Wire::connect(address);
    if is_admitted == "true" {
        wire.expect(&[HELLO]);
        let goods = Goods::new(CAPACITY);
        publish(&goods, RECORDS);
        wire.send(&producer_hello()).unwrap();
        wire.send_fds(&offer(CAPACITY), &goods.fds()).unwrap();
        wire.expect(&[ATTACH]);
        wire.send(&attached(&[0])).unwrap();
        say("attached");
        return;
    }
    assert_eq!(wire.last_words(), [(REFUSE, 4)], "not even a Hello");
    say("refused");
}

#[test]
fn producers_of_other_users_are_admitted_by_policy_alone() {
    if plays_a_role() {
        return;
    }
    if !rustix::process::geteuid().is_root() {
        common::skipped("only root can run a process of another user");
        return;
    }
    let test = "producers_of_other_users_are_admitted_by_policy_alone";
    for is_admitted in [false, true] {
        let mut host = Host::new(test, DEADLINE, is_admitted);
        let mut stranger = Peer::start(test, "stranger", &format!("{} {is_admitted}", host.address));
        if is_admitted {
            assert_eq!(host.ask("accept"), format!("{RECORDS} dead"));
            stranger.expect("attached");
        } else {
            stranger.expect("refused");
            assert_eq!(host.ask("refusal"), "processes of user 65534 are not admitted here");
        }
        stranger.finish();
        host.is_undisturbed();
    }
}

#[test]
fn nobody_can_send_descriptors_to_a_listener_before_it_is_admitted() {
    let address = format!("@{}", unique_name());
    let none = SessionListenerOptions::new().sessions_max(0);
    let listener = none.listen(&address).unwrap();
    let goods = Goods::new(CAPACITY);
    if !can_refuse_descriptors() {
        common::skipped("this kernel lets everybody send descriptors");
        return;
    }
    let wire = Wire::connect(&address);
    wait_until("it was turned away", || listener.stats().refused == 1);
    let sent = wire.send_fds(&offer(CAPACITY), &goods.fds());
    assert!(sent.is_err(), "descriptors were taken from one that is not admitted");
    assert_eq!(wire.last_words(), [(REFUSE, 3)]);
}

/// Whether the kernel knows `SO_PASSRIGHTS`, as it does from Linux 6.16 on.
fn can_refuse_descriptors() -> bool {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = release.split(['.', '-']).map_while(|number| number.parse::<u32>().ok());
    (numbers.next(), numbers.next()) >= (Some(6), Some(16))
}

/// One end of the library's, of each kind; says what came of it.
fn end() {
    let argument = argument();
    let [kind, address] = argument.split(' ').collect::<Vec<_>>()[..] else { panic!("{argument}") };
    let producer = Producer::create("lane").unwrap();
    match kind {
        "server" => {
            let server = Server::listen(address, [&producer]).unwrap();
            say("ready");
            wait_until("it comes to an end", || server.stats().refused == 1 || server.stats().sessions == 1);
            say(&server.stats().last_refusal.unwrap_or_else(|| "attached".to_owned()));
        }
        "listener" => {
            let options = SessionListenerOptions::new().sessions(SessionOptions::new().deadline(DEADLINE));
            let listener = options.listen(address).unwrap();
            say("ready");
            let mut session = None;
            wait_until("it comes to an end", || {
                session = listener.try_accept().unwrap();
                session.is_some() || listener.stats().refused == 1
            });
            let attached = session.map(|session| session.attach_one(Attach::new()).unwrap());
            say(&attached.map_or_else(|| listener.stats().last_refusal.unwrap(), |_| "attached".to_owned()));
        }
        "session" => {
            say("ready");
            let session = SessionOptions::new().deadline(DEADLINE).connect(address);
            let attached = session.and_then(|session| session.attach_one(Attach::new()));
            say(&attached.map_or_else(|error| error.to_string(), |_| "attached".to_owned()));
        }
        "producer" => {
            say("ready");
            let connected = ServerOptions::new().deadline(DEADLINE).connect(address, [&producer]);
            say(&connected.map_or_else(|error| error.to_string(), |_| "attached".to_owned()));
        }
        "caller" => {
            say("ready");
            let connected = Caller::connect(address);
            say(&connected.map_or_else(|error| error.to_string(), |_| "attached".to_owned()));
        }
        other => panic!("{other}?"),
    }
    told();
}

/// A Hello of this role, for all lanes.
fn hello_of(role: u8) -> Vec<u8> {
    frame(HELLO, 0, &[role, 1, 0, 1, 0, 0])
}

/// The whole handshake at a hand-made end of this role, after both Hellos.
fn goes_on(wire: &Wire, role: u8, goods: &Goods) {
    if role == 1 {
        wire.send_fds(&offer(CAPACITY), &goods.fds()).unwrap();
        wire.expect(&[ATTACH]);
        wire.send(&attached(&[0])).unwrap();
    } else {
        let offer = wire.recv().expect("an Offer");
        assert_eq!(offer.kind(), OFFER);
        let seat = Memory::map(&offer.fds[0], 4096, true).unwrap();
        rustix::fs::fcntl_add_seals(&offer.fds[0], rustix::fs::SealFlags::FUTURE_WRITE).unwrap();
        wire.send(&attach(1, COPIES)).unwrap();
        wire.expect(&[ATTACHED]);
        drop(seat);
    }
}

#[test]
fn every_pair_of_roles_fits_or_is_refused_whichever_end_listens_and_speaks_first() {
    if plays_a_role() {
        return;
    }
    let test = "every_pair_of_roles_fits_or_is_refused_whichever_end_listens_and_speaks_first";
    for (kind, own, listens) in [
        ("server", 1, true),
        ("listener", 2, true),
        ("session", 2, false),
        ("producer", 1, false),
        ("caller", 3, false),
    ] {
        // What fits a caller has a handshake of its own: `tests/hostile_calls.rs`.
        for role in (1..=3).filter(|role| role + own != 6) {
            // Whether the hand-made end says Hello before it has heard one.
            for is_quick in [false, true] {
                let what = format!("a {kind} and role {role}, which is {}", if is_quick { "quick" } else { "slow" });
                let address = format!("@{}", unique_name());
                let listener = (!listens).then(|| listen(&address));
                let goods = Goods::new(CAPACITY);
                let mut other = Peer::start(test, "end", &format!("{kind} {address}"));
                other.expect("ready");
                let wire = listener.as_ref().map_or_else(|| Wire::connect(&address), accept);
                // A server says nothing before it has heard a Hello.
                let is_quick = is_quick || kind == "server";
                if is_quick {
                    wire.send(&hello_of(role)).unwrap();
                }
                let fits = role + own == 3;
                if fits || kind != "server" {
                    assert_eq!(wire.recv().expect(&what).bytes, hello_of(own), "{what}");
                }
                if !is_quick {
                    wire.send(&hello_of(role)).unwrap();
                }
                if fits {
                    goes_on(&wire, role, &goods);
                    other.expect("attached");
                } else {
                    assert_eq!(wire.last_words(), [(REFUSE, 13)], "{what}");
                    let sentence = other.heard();
                    assert!(sentence.contains("a session needs a producer and a consumer"), "{what}: {sentence}");
                }
                other.tell("end");
                other.finish();
            }
        }
    }
}
