//! Peers of other users, and servers that are out of descriptors.
#![allow(unsafe_code, reason = "changes the user; vouches for this crate's producer")]

mod common;
#[path = "common/peer.rs"]
mod peer;
#[path = "common/users.rs"]
mod users;

use common::{DEADLINE, TempDir, census, isolated, kernel, role, skipped, unique_name, wait_until};
use common::{next_descriptor, wait_until_process_has_slept_for};
use fdring::call::{Caller, Service};
use fdring::collect::{Collector, Event};
use fdring::distribute::{self, Distributor, DistributorOptions, To, Worker};
use fdring::{
    Attach, Consumer, Error, Producer, Server, Session,
    errors::{Refusal, SendError},
    options::{LaneOptions, NoConsumer, PeerPolicy, ServerOptions, SessionOptions, Start},
};
use peer::{Peer, argument, say, told};
use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::time::{Duration, Instant};
use users::{NOBODY, become_user, enter_namespace_as_the_overflow_user, in_pid_namespace, is_root};

fn lane() -> Producer {
    LaneOptions::new("lane").capacity(4096).create().unwrap()
}

/// Connects as nobody. The argument is an address and whom the stranger admits.
fn stranger() {
    become_user(NOBODY);
    let argument = argument();
    let [address, admits, kind] = argument.split(' ').collect::<Vec<_>>()[..] else { panic!("{argument}") };
    let mut options = SessionOptions::new();
    if admits == "anyone" {
        options = options.peers(PeerPolicy::Anyone);
    }
    let session = match options.connect(address) {
        Ok(session) => session,
        Err(error) => return say(&name_of(&error)),
    };
    let attached = match kind {
        // SAFETY: the producer is this crate's, in the process that started this one.
        "in-place" => session.attach_one(unsafe { Attach::new().in_place() }.start(Start::Oldest)),
        _ => session.attach_one(Attach::new().start(Start::Oldest)),
    };
    let mut consumer = match attached {
        Ok(consumer) => consumer,
        Err(error) => return say(&name_of(&error)),
    };
    say("attached");
    while let Some(record) = consumer.receive().unwrap() {
        say(&String::from_utf8_lossy(&record));
    }
    say("end");
}

/// Resumes on a lane as that user, or says why not. The argument is an address and the user.
fn successor() {
    let argument = argument();
    let (address, uid) = argument.split_once(' ').unwrap();
    become_user(uid.parse().unwrap());
    let options = SessionOptions::new().peers(PeerPolicy::Anyone);
    let resumed = options.connect(address).and_then(|session| session.attach_one(Attach::new().start(Start::Resume)));
    match resumed {
        Ok(mut consumer) => {
            say(&format!("resumed at {}", consumer.position()));
            while let Some(record) = consumer.receive().unwrap() {
                say(&format!("{}", record[0]));
                if told() == "release" {
                    consumer.release();
                    say("released");
                }
            }
        }
        Err(error) => say(&name_of(&error)),
    }
}

#[test]
fn a_place_is_resumed_by_the_user_that_had_it_and_by_nobody_else() {
    let test = "a_place_is_resumed_by_the_user_that_had_it_and_by_nobody_else";
    if role().is_some() {
        return successor();
    }
    if !is_root() {
        return;
    }
    let mut lane = LaneOptions::new("lane").capacity(4096).no_consumer(NoConsumer::WaitFor(2)).create().unwrap();
    let address = format!("@{}", unique_name());
    let _server = ServerOptions::new().peers(PeerPolicy::Anyone).listen(&*address, [&lane]).unwrap();
    let start = |uid: u32| Peer::start(test, "successor", &format!("{address} {uid}"));
    let [mut first, mut second] = [NOBODY, NOBODY - 1].map(start);
    [&mut first, &mut second].into_iter().for_each(|peer| peer.expect("resumed at 0"));
    for number in 0..8u8 {
        lane.send(&[number]).unwrap();
    }
    // The first is killed after it has released one record, the second before it has released any.
    for (peer, releases) in [(&mut first, true), (&mut second, false)] {
        peer.expect("0");
        peer.tell(if releases { "release" } else { "keep" });
        if releases {
            peer.expect("released");
        }
        peer.expect("1");
    }
    first.kill();
    wait_until("the place of the first is vacant", || lane.vacant_places().len() == 1);
    assert_eq!(lane.vacant_places()[0].uid, Some(NOBODY));
    // A third user, and the second one, which has its own place already.
    for uid in [NOBODY - 2, NOBODY - 1] {
        let mut stranger = start(uid);
        stranger.expect("refused 3");
        stranger.finish();
    }
    second.kill();
    wait_until("both places are vacant", || lane.vacant_places().len() == 2);
    let mut stranger = start(NOBODY - 2);
    stranger.expect("refused 3");
    stranger.finish();
    // Though the second keeps more, the first gets its own.
    for (uid, position, number) in [(NOBODY, 16, 1), (NOBODY - 1, 0, 0)] {
        let mut successor = start(uid);
        successor.expect(&format!("resumed at {position}"));
        successor.expect(&format!("{number}"));
        successor.kill();
    }
}

/// Works for a distributor as that user. The argument is an address and the user.
fn worker() {
    let argument = argument();
    let (address, uid) = argument.split_once(' ').unwrap();
    become_user(uid.parse().unwrap());
    let session = SessionOptions::new().peers(PeerPolicy::Anyone).connect(address).unwrap();
    let mut worker = Worker::new(session.attach_one(Attach::new()).unwrap()).unwrap();
    say("attached");
    while let Some(record) = worker.receive().unwrap() {
        say(&format!("{}", record[0]));
        assert_eq!(told(), "done");
        worker.done();
        say("released");
    }
    say("end");
}

#[test]
fn what_a_worker_of_one_user_has_left_goes_to_its_own_and_an_empty_slot_to_anybody() {
    let test = "what_a_worker_of_one_user_has_left_goes_to_its_own_and_an_empty_slot_to_anybody";
    if role().is_some() {
        return worker();
    }
    if !is_root() {
        return;
    }
    let address = format!("@{}", unique_name());
    let options = DistributorOptions::new().lane(LaneOptions::new("work").capacity(4096)).take_back_after(DEADLINE);
    let server = ServerOptions::new().peers(PeerPolicy::Anyone);
    let mut distributor = options.server(server).listen(&*address).unwrap();
    let start = |uid: u32| {
        let mut worker = Peer::start(test, "worker", &format!("{address} {uid}"));
        worker.expect("attached");
        worker
    };
    let finish_record = |worker: &mut Peer, number: u8| {
        worker.expect(&format!("{number}"));
        worker.tell("done");
        worker.expect("released");
    };
    let joined = |distributor: &mut Distributor| {
        let mut found = None;
        wait_until("a worker has joined", || {
            while let Some(event) = distributor.try_next_event() {
                if let distribute::Event::Joined { slot, worker } = event {
                    found = Some((slot, worker.uid));
                }
            }
            found.is_some()
        });
        found.unwrap()
    };
    let mut first = start(NOBODY);
    assert_eq!(joined(&mut distributor), (0, Some(NOBODY)));
    (1..=3_u8).for_each(|number| distributor.send(To::RoundRobin, &[number]).unwrap());
    finish_record(&mut first, 1);
    first.expect("2");
    first.kill();
    wait_until("nobody is there", || distributor.worker_count() == 0);
    // Another user's has a slot of its own, where there is nothing.
    let mut second = start(NOBODY - 1);
    assert_eq!(joined(&mut distributor), (1, Some(NOBODY - 1)));
    // One of the first user goes on with what was left.
    let mut third = start(NOBODY);
    assert_eq!(joined(&mut distributor), (0, Some(NOBODY)));
    finish_record(&mut third, 2);
    third.expect("3");
    third.kill();
    wait_until("one is there", || distributor.worker_count() == 1);
    distributor.send(To::RoundRobin, &[4]).unwrap();
    finish_record(&mut second, 4);
    let mut fourth = start(NOBODY);
    assert_eq!(joined(&mut distributor), (0, Some(NOBODY)));
    finish_record(&mut fourth, 3);
    fourth.kill();
    distributor.wait_released(DEADLINE).unwrap();
    wait_until("it has gone", || distributor.worker_count() == 1);
    let mut fifth = start(NOBODY - 2);
    assert_eq!(joined(&mut distributor), (0, Some(NOBODY - 2)), "an empty slot is for anybody");
    distributor.finish_and_wait(DEADLINE).unwrap();
    for worker in [&mut second, &mut fifth] {
        worker.expect("end");
    }
}

fn name_of(error: &Error) -> String {
    match error {
        Error::Forbidden { uid: Some(uid) } => format!("forbidden {uid}"),
        Error::Forbidden { uid: None } => {
            format!("forbidden: {}", error.to_string().split(" is at").next().unwrap())
        }
        Error::Refused { refusal, .. } => format!("refused {}", refusal.code()),
        error => error.to_string(),
    }
}

#[test]
fn processes_of_another_user_are_not_admitted_unless_both_sides_say_so() {
    let test = "processes_of_another_user_are_not_admitted_unless_both_sides_say_so";
    if role().is_some() {
        return stranger();
    }
    if !is_root() {
        return;
    }
    let ask = |server: ServerOptions, arguments: &str| {
        let (producer, address) = (lane(), format!("@{}", unique_name()));
        let _server = server.listen(&*address, &[&producer]).unwrap();
        let mut peer = Peer::start(test, "stranger", &format!("{address} {arguments}"));
        let said = peer.heard();
        drop(producer);
        said
    };
    let open = || ServerOptions::new().peers(PeerPolicy::Anyone);
    assert_eq!(ask(open(), "same copying"), "forbidden 0", "the consumer's own policy comes first");
    assert_eq!(ask(ServerOptions::new(), "anyone copying"), "refused 4");
    assert_eq!(ask(ServerOptions::new().peers(PeerPolicy::Users(vec![NOBODY])), "anyone copying"), "attached");
    assert_eq!(ask(ServerOptions::new().peers(PeerPolicy::Users(vec![NOBODY - 1])), "anyone copying"), "refused 4");
    assert_eq!(ask(open(), "anyone in-place"), "refused 4", "in place only by a policy of its own");
    assert_eq!(ask(open().in_place(PeerPolicy::Anyone), "anyone in-place"), "attached");
}

/// A process of this test in that namespace, in a role; `None` if user namespaces cannot be made.
fn start_in_namespace(test: &str, role: &str, argument: &str) -> Option<Peer> {
    use std::os::unix::process::CommandExt;
    let mut command = common::command(test, role);
    // SAFETY: what is called between fork and exec neither allocates nor locks.
    unsafe { command.pre_exec(enter_namespace_as_the_overflow_user) };
    let peer = Peer::start_command(command, argument);
    if let Err(error) = &peer {
        skipped(&format!("there are no user namespaces here ({error})"));
    }
    peer.ok()
}

/// Another user's process, and one's own user's in a namespace where both have the same number: the number of nobody.
#[test]
fn a_user_that_the_namespace_has_no_number_for_is_not_taken_for_its_own() {
    let test = "a_user_that_the_namespace_has_no_number_for_is_not_taken_for_its_own";
    const STRANGER: u32 = 5000;
    let says = |outcome: Result<Session, Error>| match outcome {
        Ok(_) => say("admitted"),
        Err(error) => say(&name_of(&error)),
    };
    let connect = |peers| says(SessionOptions::new().peers(peers).connect(argument()));
    match role().as_deref() {
        Some("server") => {
            assert_eq!(rustix::process::geteuid().as_raw(), 65534);
            let (producer, arguments) = (lane(), argument());
            let (address, peers) = arguments.split_once(' ').unwrap();
            let peers = if peers == "anyone" { PeerPolicy::Anyone } else { PeerPolicy::Users(vec![65534]) };
            let _server = ServerOptions::new().peers(peers).listen(address, &[&producer]).unwrap();
            say("ready");
            return assert_eq!(told(), "end");
        }
        Some("stranger") => {
            become_user(STRANGER);
            return connect(PeerPolicy::Anyone);
        }
        Some("server of a stranger") => {
            become_user(STRANGER);
            let producer = lane();
            let _server = ServerOptions::new().peers(PeerPolicy::Anyone).listen(argument(), &[&producer]).unwrap();
            say("ready");
            return assert_eq!(told(), "end");
        }
        Some("consumer") => return connect(PeerPolicy::SameUser),
        Some("consumer of 65534") => return connect(PeerPolicy::Users(vec![65534])),
        _ => {}
    }
    if !is_root() {
        return;
    }
    let address = format!("@{}", unique_name());
    for (peers, outcome) in [("same", "refused 4"), ("anyone", "admitted")] {
        let Some(mut server) = start_in_namespace(test, "server", &format!("{address} {peers}")) else { return };
        server.expect("ready");
        let mut stranger = Peer::start(test, "stranger", &address);
        stranger.expect(outcome);
        stranger.finish();
        server.tell("end");
        server.finish();
    }
    let mut server = Peer::start(test, "server of a stranger", &address);
    server.expect("ready");
    for role in ["consumer", "consumer of 65534"] {
        let Some(mut consumer) = start_in_namespace(test, role, &address) else { return };
        consumer.expect("forbidden: a process of a user of another user namespace");
        consumer.finish();
    }
    server.tell("end");
    server.finish();
}

#[test]
fn a_stranger_is_woken_by_a_socketpair_and_holds_the_lane_back() {
    let test = "a_stranger_is_woken_by_a_socketpair_and_holds_the_lane_back";
    if role().as_deref() == Some("stranger") {
        return stranger();
    }
    if !is_root() {
        return;
    }
    isolated(test, || {
        let (mut producer, address) = (lane(), format!("@{}", unique_name()));
        let server = ServerOptions::new().peers(PeerPolicy::Anyone).listen(&*address, &[&producer]).unwrap();
        let eventfds = || census().values().filter(|target| target.contains("eventfd")).count();
        let eventfds_before = eventfds();
        let mut peer = Peer::start(test, "stranger", &format!("{address} anyone copying"));
        peer.expect("attached");
        server.wait_for_sessions(1, DEADLINE).unwrap();
        assert_eq!(eventfds(), eventfds_before, "no bell is one");
        for n in 0..5 {
            // For longer than until the second look that a sleeper takes by itself.
            wait_until_process_has_slept_for(peer.pid(), Duration::from_millis(100));
            producer.send(format!("record {n}").as_bytes()).unwrap();
            peer.expect(&format!("record {n}"));
        }
        peer.signal(rustix::process::Signal::STOP);
        let full = loop {
            if let Err(error) = producer.try_send(&[b'x'; 56]) {
                break error;
            }
        };
        assert!(
            matches!(&full, SendError::Full { consumer: Some(holder) } if holder.pid == Some(peer.pid())),
            "{full}"
        );
        peer.signal(rustix::process::Signal::CONT);
        producer.send(b"last").unwrap();
        producer.finish();
        while peer.heard() != "end" {}
        peer.finish();
    });
}

#[test]
fn a_server_out_of_descriptors_says_so_and_recovers() {
    let test = "a_server_out_of_descriptors_says_so_and_recovers";
    if role().is_some() {
        return server_with_few_descriptors();
    }
    let address = format!("@{}", unique_name());
    let mut peer = Peer::start(test, "server", &address);
    peer.expect("ready");
    let connect = || Session::connect(&*address);
    drop(connect().unwrap().attach_one(Attach::new()).unwrap());
    peer.tell("fill");
    peer.expect("full");
    let waiting = std::thread::spawn({
        let address = address.clone();
        move || Session::connect(&*address).map(|_| ())
    });
    peer.expect("paused");
    peer.tell("give back");
    waiting.join().unwrap().unwrap();
    peer.expect("given back");
    // Once more, for the session that has only come meanwhile.
    peer.tell("give back");
    peer.expect("given back");
    // With room for the connection and not for what it needs, it is refused for that reason.
    for few in 1..5 {
        peer.tell(&format!("few {few}"));
        peer.expect("full");
        is_refused_descriptors(connect(), "ulimit", &format!("{few} descriptors"));
        peer.tell("give back");
        peer.expect("given back");
    }
    drop(connect().unwrap().attach_one(Attach::new()).unwrap());
    peer.tell("end");
    peer.finish();
}

fn server_with_few_descriptors() {
    let producer = lane();
    let server = Server::listen(argument(), &[&producer]).unwrap();
    let old = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: Some(64), maximum: old.maximum }).unwrap();
    let idle = census();
    say("ready");
    let mut taken = Vec::new();
    loop {
        let order = told();
        match order.split_once(' ') {
            None if order == "fill" => {
                let pauses = server.stats().accept_pauses;
                wait_until("nothing is left of the last session", || census() == idle);
                taken.extend(std::iter::from_fn(|| std::fs::File::open("/dev/null").ok()));
                say("full");
                wait_until("it pauses", || server.stats().accept_pauses > pauses);
                assert!(server.stats().last_refusal.unwrap().contains("ulimit -n"));
                let start = Instant::now();
                wait_until("some time has passed", || start.elapsed() >= Duration::from_millis(300));
                let most = pauses + 20 * (1 + start.elapsed().as_secs());
                assert!(server.stats().accept_pauses < most, "it does not try all the time");
                say("paused");
            }
            Some(("few", few)) => {
                let all: Vec<_> = std::iter::from_fn(|| std::fs::File::open("/dev/null").ok()).collect();
                taken.extend(all.into_iter().skip(few.parse().unwrap()));
                say("full");
            }
            Some(_) => {
                taken.clear();
                wait_until("nothing is left of the last session", || census() == idle);
                say("given back");
            }
            None => return,
        }
    }
}

#[test]
fn a_server_that_lacks_a_descriptor_is_an_error_and_leaves_nothing() {
    isolated("a_server_that_lacks_a_descriptor_is_an_error_and_leaves_nothing", || {
        let dir = TempDir::new();
        let path = dir.path().join("socket");
        let producer = lane();
        let next = next_descriptor();
        let before = census();
        let old = getrlimit(Resource::Nofile);
        // The directory, the lock, the socket, two notices and the epoll descriptor.
        for lacks in (1..=6).rev() {
            setrlimit(Resource::Nofile, Rlimit { current: Some(next + 6 - lacks), maximum: old.maximum }).unwrap();
            let error = Server::listen(&path, &[&producer]).unwrap_err();
            assert!(matches!(error, Error::Os { .. }) && error.to_string().contains("ulimit -n"), "{error}");
            setrlimit(Resource::Nofile, old).unwrap();
            assert_eq!(census(), before, "after a server that lacked {lacks}");
            assert!(std::fs::read_dir(dir.path()).unwrap().next().is_none(), "no file is left");
        }
        setrlimit(Resource::Nofile, Rlimit { current: Some(next + 6), maximum: old.maximum }).unwrap();
        let server = Server::listen(&path, &[&producer]).unwrap();
        setrlimit(Resource::Nofile, old).unwrap();
        assert_eq!(census().len(), before.len() + 6);
        drop(server);
        assert_eq!(census(), before);
    });
}

#[test]
fn a_server_that_cannot_watch_another_consumer_refuses_it_and_goes_on() {
    let test = "a_server_that_cannot_watch_another_consumer_refuses_it_and_goes_on";
    if role().is_some() {
        return server_that_cannot_watch_all();
    }
    let address = format!("@{}", unique_name());
    let mut peer = Peer::start(test, "server", &address);
    peer.expect("ready");
    let connect = || Session::connect(&*address);
    for what in ["socket", "process"] {
        is_refused_descriptors(connect(), "max_user_watches", &format!("a {what} that cannot be watched"));
        peer.tell("next");
        peer.expect("refused");
    }
    drop(connect().unwrap().attach_one(Attach::new()).unwrap());
    peer.tell("end");
    peer.finish();
}

/// For want of them, with a hint that names what to raise.
fn is_refused_descriptors(outcome: fdring::Result<Session>, hint: &str, case: &str) {
    match outcome {
        Err(Error::Refused { refusal: Refusal::Descriptors, reason }) => assert!(reason.contains(hint), "{reason}"),
        other => panic!("{other:?} with {case}"),
    }
}

fn server_that_cannot_watch_all() {
    let producer = lane();
    let next = next_descriptor() as u32;
    // After the server's four descriptors come the socket of a consumer and its process.
    let socket = next + 4;
    for fd in [socket, socket + 2] {
        kernel::deny(libc::SYS_epoll_ctl, &[(1, libc::EPOLL_CTL_ADD as u32), (2, fd)], Errno::NOSPC);
    }
    let server = Server::listen(argument(), &[&producer]).unwrap();
    let idle = census();
    assert_eq!(idle.keys().max(), Some(&(socket as i32 - 1)));
    say("ready");
    // The first consumer's socket cannot be watched; nor can, with that number taken, the second one's process.
    let mut taken = Vec::new();
    for (refused, numbers) in [(1, 1), (2, 2)] {
        assert_eq!(told(), "next");
        wait_until("nothing is left of it", || census().len() == idle.len() + taken.len());
        assert_eq!((server.stats().refused, server.stats().accept_pauses), (refused, 0));
        taken.extend((0..numbers).map(|_| std::fs::File::open("/dev/null").unwrap()));
        say("refused");
    }
    told();
}

/// Meets processes outside of its pid namespace as each kind of end, and says what it knows of them.
fn namespaced() {
    let argument = argument();
    let (inside, outside) = argument.split_once(' ').unwrap();
    let mut lane = lane();
    let _server = Server::listen(inside, [&lane]).unwrap();
    let mut collector = Collector::listen(format!("{inside}-collector")).unwrap();
    let mut service = Service::listen(format!("{inside}-service")).unwrap();
    say("listening");
    lane.wait_for_consumers(1, DEADLINE).unwrap();
    say(&format!("{:?}", lane.consumers()[0].pid));
    let error = loop {
        if let Err(error) = lane.try_send(&[0; 56]) {
            break error;
        }
    };
    say(&error.to_string());
    assert_eq!(told(), "left");
    wait_until("it has left", || lane.consumer_count() == 0);
    let Event::Joined(origin) = collector.next().unwrap() else { panic!("somebody joins") };
    say(&format!("{:?}", origin.pid()));
    let request = service.receive_timeout(DEADLINE).unwrap();
    say(&format!("{:?}", request.caller().pid));
    request.reply(b"served").unwrap();
    let session = Session::connect(outside).unwrap();
    say(&format!("{:?}", session.producer_pid()));
    let consumer = session.attach_one(Attach::new()).unwrap();
    say(&format!("{:?}", consumer.query(DEADLINE).unwrap().producer_pid));
    say(&Server::listen(outside, [&lane]).map(drop).unwrap_err().to_string());
}

#[test]
fn processes_of_another_pid_namespace_have_no_number_and_are_served_like_others() {
    let test = "processes_of_another_pid_namespace_have_no_number_and_are_served_like_others";
    if role().is_some() {
        return in_pid_namespace(namespaced);
    }
    if !is_root() {
        return;
    }
    let [inside, outside] = [(); 2].map(|()| format!("@{}", unique_name()));
    let producer = lane();
    let server = Server::listen(&*outside, [&producer]).unwrap();
    let mut peer = Peer::start(test, "namespaced", &format!("{inside} {outside}"));
    match &*peer.heard() {
        "skipped" => return skipped("there are no pid namespaces here"),
        said => assert_eq!(said, "listening"),
    }
    let consumer = Consumer::connect(&*inside).unwrap();
    peer.expect("None");
    let sentence = peer.heard();
    assert!(sentence.contains(": a process of another pid namespace of user 0, attached "), "{sentence}");
    drop(consumer);
    peer.tell("left");
    let _link = producer.connect(format!("{inside}-collector")).unwrap();
    peer.expect("None");
    let mut caller = Caller::connect(format!("{inside}-service")).unwrap();
    assert_eq!(caller.call(b"hello", DEADLINE).unwrap()[..], *b"served");
    for what in ["of a request", "of a session", "of a report"] {
        assert_eq!(peer.heard(), "None", "{what}");
    }
    let sentence = peer.heard();
    assert!(sentence.ends_with(" is in use by another process; stop that process or choose another address"));
    wait_until("it has left", || server.stats().sessions == 0);
    peer.finish();
}
