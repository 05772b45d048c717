//! A hostile caller at a service, byte by byte: one that falls silent at each step of the handshake, says what may not
//! come, or wants more than it may have. No other caller notices, and nothing is left behind.

mod common;
#[path = "common/hostile.rs"]
mod hostile;
#[path = "common/impostor.rs"]
mod impostor;
#[path = "common/peer.rs"]
mod peer;
#[path = "common/stage.rs"]
mod stage;

use common::kernel::write_and_keep_the_lock;
use common::{DEADLINE, belongings, isolated, role, skipped, thread_names, unique_name, wait_until};
use fdring::call::{CallError, Caller, Cause, Service, ServiceOptions};
use fdring::errors::ReceiveError;
use fdring::{Error, Producer, Server, Session, options::SessionOptions};
use hostile::*;
use impostor::{CAPACITY, Goods, offer};
use peer::{Peer, argument, is_told_within, say};
use rustix::fs::SealFlags;
use rustix::process::Signal;
use std::time::Duration;

/// The Hello of an end that is both.
fn both_hello() -> Vec<u8> {
    frame(HELLO, 0, &[3, 1, 0, 1, 0, 0])
}

/// A service with a thread that answers, for handshakes that may take so long.
fn service(deadline: Duration) -> (String, std::thread::JoinHandle<Service>) {
    let address = format!("@{}", unique_name());
    let mut service = ServiceOptions::new().deadline(deadline).listen(address.as_str()).unwrap();
    let server = std::thread::spawn(move || {
        loop {
            let request = service.receive_timeout(2 * DEADLINE).unwrap();
            let is_last = request[..] == *b"end";
            request.reply(b"served").unwrap();
            if is_last {
                return service;
            }
        }
    });
    (address, server)
}

fn goes_on(address: &str) {
    let mut honest = Caller::connect(address).unwrap();
    assert_eq!(&honest.call(b"hello", DEADLINE).unwrap()[..], b"served");
}

fn ends(address: &str, server: std::thread::JoinHandle<Service>) -> Service {
    let mut honest = Caller::connect(address).unwrap();
    assert_eq!(&honest.call(b"end", DEADLINE).unwrap()[..], b"served");
    server.join().unwrap()
}

/// A caller that has taken that number of steps: said Hello, heard the Offer, offered its lane, heard the Attach.
fn caller_at(step: usize, address: &str, goods: &Goods) -> Wire {
    let wire = Wire::connect(address);
    if step >= 1 {
        wire.send(&both_hello()).unwrap();
        wire.expect(&[HELLO]);
        wire.expect(&[OFFER]);
    }
    if step >= 2 {
        wire.send_fds(&offer(CAPACITY), &goods.fds()).unwrap();
        wire.expect(&[ATTACH]);
    }
    wire
}

/// A caller that has only to say Attached.
fn caller_before_its_last_frame(address: &str, goods: &Goods) -> Wire {
    let wire = Wire::connect(address);
    wire.send(&both_hello()).unwrap();
    wire.expect(&[HELLO]);
    let mut offered = wire.expect(&[OFFER]);
    let _seat = sealed(offered.fds.remove(0), SealFlags::FUTURE_WRITE);
    wire.send_fds(&offer(CAPACITY), &goods.fds()).unwrap();
    wire.expect(&[ATTACH]);
    wire.send(&attach(1, 2)).unwrap();
    wire.expect(&[ATTACHED]);
    wire
}

#[test]
fn a_caller_that_falls_silent_at_any_step_is_shown_out_at_the_deadline() {
    isolated("a_caller_that_falls_silent_at_any_step_is_shown_out_at_the_deadline", || {
        let before = belongings();
        let (address, server) = service(Duration::from_secs(3));
        let goods = [(); 3].map(|()| Goods::new(CAPACITY));
        let silent: Vec<Wire> =
            goods.iter().enumerate().map(|(step, goods)| caller_at(step, &address, goods)).collect();
        goes_on(&address);
        for wire in &silent {
            assert_eq!(wire.last_words(), [(REFUSE, 8)]);
        }
        goes_on(&address);
        let service = ends(&address, server);
        assert_eq!((service.stats().refused, service.stats().joined), (3, 3));
        drop((service, silent, goods));
        wait_until("everything is closed", || belongings() == before);
    });
}

/// In a process of its own: a service that says at last how many callers have joined.
fn serve() {
    let mut service = Service::listen(argument()).unwrap();
    say("listening");
    while !is_told_within(Duration::ZERO) {
        assert_eq!(service.receive_timeout(Duration::from_millis(10)).unwrap_err(), ReceiveError::TimedOut);
    }
    let stats = service.stats();
    say(&format!("{} joined, {} refused", stats.joined, stats.refused));
}

/// What it has sent may hold requests.
#[test]
fn a_caller_that_hangs_up_right_behind_its_last_frame_has_joined_all_the_same() {
    if role().as_deref() == Some("service") {
        return serve();
    }
    let test = "a_caller_that_hangs_up_right_behind_its_last_frame_has_joined_all_the_same";
    let address = format!("@{}", unique_name());
    let mut service = Peer::start(test, "service", &address);
    service.expect("listening");
    let goods = Goods::new(CAPACITY);
    let wire = caller_before_its_last_frame(&address, &goods);
    // It finds both at once.
    service.signal(Signal::STOP);
    wire.send(&attached(&[0])).unwrap();
    drop(wire);
    service.signal(Signal::CONT);
    wait_until("the service has served it", || {
        let mut probe = Caller::connect(address.as_str()).map(|caller| caller.stats().sessions);
        probe.as_mut().is_ok_and(|sessions| *sessions == 1)
    });
    service.tell("stop");
    let said = service.heard();
    assert!(said.ends_with(" joined, 0 refused"), "{said}");
    service.finish();
}

#[test]
fn a_caller_may_attach_before_it_offers() {
    isolated("a_caller_may_attach_before_it_offers", || {
        let (address, server) = service(DEADLINE);
        let goods = Goods::new(CAPACITY);
        let wire = Wire::connect(&address);
        wire.send(&both_hello()).unwrap();
        wire.expect(&[HELLO]);
        let mut offered = wire.expect(&[OFFER]);
        let _seat = sealed(offered.fds.remove(0), SealFlags::FUTURE_WRITE);
        wire.send(&attach(1, 2)).unwrap();
        wire.expect(&[ATTACHED]);
        // Each direction goes by itself: the descriptors of this one have yet to come.
        wire.send_fds(&offer(CAPACITY), &goods.fds()).unwrap();
        wire.expect(&[ATTACH]);
        assert_eq!(wire.send_fds(&attached(&[0]), &goods.fds()[..1]).is_err(), refuses_descriptors(), "the last came");
        goes_on(&address);
        drop((wire, ends(&address, server)));
    });
}

/// Whether a socket can refuse descriptors (`SO_PASSRIGHTS`, from Linux 6.16 on).
fn refuses_descriptors() -> bool {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = release.split(['.', '-']).map(|number| number.parse::<u32>().unwrap_or(0));
    (numbers.next(), numbers.next()) >= (Some(6), Some(16))
}

#[test]
fn a_caller_that_dies_at_any_step_is_forgotten() {
    isolated("a_caller_that_dies_at_any_step_is_forgotten", || {
        let before = belongings();
        let (address, server) = service(DEADLINE);
        for round in 0..9 {
            let goods = Goods::new(CAPACITY);
            drop(caller_at(round % 3, &address, &goods));
            goes_on(&address);
        }
        drop(ends(&address, server));
        wait_until("everything is closed", || belongings() == before);
    });
}

#[test]
fn frames_that_may_not_come_are_refused_at_every_step() {
    let (address, server) = service(DEADLINE);
    for step in 0..3 {
        for frame in [attached(&[0]), evicted(0), query(0), report(0), b"no frame".to_vec()] {
            let wire = caller_at(step, &address, &Goods::new(CAPACITY));
            // An Attached is what comes next once the Attach was said.
            let is_next = step == 2 && frame == attached(&[0]);
            wire.send(&frame).unwrap();
            if !is_next {
                assert_eq!(wire.last_words(), [(REFUSE, 5)], "at step {step}");
            }
        }
        // A second Hello.
        let wire = caller_at(step.max(1), &address, &Goods::new(CAPACITY));
        wire.send(&both_hello()).unwrap();
        assert_eq!(wire.last_words(), [(REFUSE, 5)]);
    }
    goes_on(&address);
    drop(ends(&address, server));
}

#[test]
fn what_a_caller_may_not_have_it_does_not_get() {
    let (address, server) = service(DEADLINE);
    // Replies in place, whose seat could not be taken away.
    let wire = caller_at(2, &address, &Goods::new(CAPACITY));
    wire.send(&attach(1, 1)).unwrap();
    assert_eq!(wire.last_words(), [(REFUSE, 4)]);
    // A seat that others could write.
    let wire = caller_at(2, &address, &Goods::new(CAPACITY));
    wire.send(&attach(1, 2)).unwrap();
    assert_eq!(wire.last_words(), [(REFUSE, 11)]);
    // Other roles.
    for (hello, code) in [(hello(&[]), 13), (producer_hello(), 13)] {
        let wire = Wire::connect(&address);
        wire.send(&hello).unwrap();
        assert_eq!(wire.last_words(), [(REFUSE, code)]);
    }
    // A lane of that name.
    let wire = Wire::connect(&address);
    wire.send(&frame(HELLO, 0, &[3, 1, 0, 1, 0, 1, 5, b'o', b't', b'h', b'e', b'r'])).unwrap();
    assert_eq!(wire.last_words(), [(REFUSE, 2)]);
    // A lane of a memfd that anybody can shrink.
    let wire = caller_at(1, &address, &Goods::new(CAPACITY));
    let loose = [(); 4].map(|()| memfd(CAPACITY));
    wire.send_fds(&offer(CAPACITY), &loose.each_ref().map(std::os::fd::AsFd::as_fd)).unwrap();
    assert_eq!(wire.last_words(), [(REFUSE, 11)]);
    goes_on(&address);
    drop(ends(&address, server));
}

/// What a caller shows of a refusal that is `reason`, by a service of which it is the first call.
fn shown_of_a_refusal(reason: &[u8]) -> String {
    let address = format!("@{}", unique_name());
    let (listener, goods) = (listen(&address), Goods::new(CAPACITY));
    let calls = std::thread::spawn(move || {
        let mut caller = Caller::connect(address.as_str()).unwrap();
        caller.call(b"please", DEADLINE).unwrap_err()
    });
    let wire = accept(&listener);
    wire.expect(&[HELLO]);
    wire.send(&both_hello()).unwrap();
    wire.send_fds(&offer(CAPACITY), &goods.fds()).unwrap();
    let (mut its_offer, mut has_attached) = (None, false);
    while its_offer.is_none() || !has_attached {
        let message = wire.recv().unwrap();
        match message.kind() {
            OFFER => its_offer = Some(message),
            ATTACH => has_attached = true,
            other => panic!("a frame of type {other}"),
        }
    }
    let mut its_offer = its_offer.unwrap();
    let _seat = sealed(its_offer.fds.remove(0), SealFlags::FUTURE_WRITE);
    wire.send(&attach(1, COPIES)).unwrap();
    wire.send(&attached(&[0])).unwrap();
    wire.expect(&[ATTACHED]);
    // Call 1, no deadline, a refusal, by the program.
    let mut record = [&1_u64.to_le_bytes()[..], &[0; 8], &[4, 1], &[0; 6], reason].concat();
    let header = impostor::data(record.len() as u32, 0);
    record.resize(record.len().next_multiple_of(8), 0);
    goods.put(0, header);
    for (index, word) in record.chunks_exact(8).enumerate() {
        goods.put(8 * (index as u64 + 1), u64::from_le_bytes(word.try_into().unwrap()));
    }
    goods.publish(8 + record.len() as u64);
    match calls.join().unwrap() {
        CallError::Refused { cause: Cause::Program, reason } => reason.into_string(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_a_service_says_plays_no_tricks_on_a_terminal_or_a_log() {
    assert_eq!(shown_of_a_refusal(b"not today"), "not today");
    let tricks = "\u{1b}[2J gone\n\u{202e}live \u{feff}.";
    assert_eq!(shown_of_a_refusal(tricks.as_bytes()), "\u{fffd}[2J gone\u{fffd}\u{fffd}live \u{fffd}.");
    assert_eq!(shown_of_a_refusal(b"no \xff UTF-8"), "no \u{fffd} UTF-8");
    assert_eq!(shown_of_a_refusal(&[b'x'; 1000]), "x".repeat(512));
}

#[test]
fn callers_that_have_gone_count_until_the_service_has_noticed_and_answered() {
    const MOST: usize = 3;
    let address = format!("@{}", unique_name());
    let mut service = ServiceOptions::new().callers_max(MOST).listen(address.as_str()).unwrap();
    let connect = || Caller::connect(address.as_str());
    let is_refused = || {
        let error = connect().unwrap_err();
        error.is_worth_retrying() && error.to_string().contains("`callers_max`")
    };
    let sees_to_them = |service: &mut Service| {
        wait_until("nobody is left", || {
            assert_eq!(service.try_receive().unwrap_err(), ReceiveError::Empty);
            service.stats().callers == 0
        });
    };
    // The service does nothing, and their sessions wait for it.
    (0..MOST).for_each(|_| drop(connect().unwrap()));
    assert!(is_refused());
    wait_until("all have joined", || {
        assert_eq!(service.try_receive().unwrap_err(), ReceiveError::Empty);
        service.stats().joined == MOST as u64
    });
    sees_to_them(&mut service);
    // The service keeps their requests.
    let mut requests: Vec<_> = (0..MOST)
        .map(|_| {
            let mut caller = connect().unwrap();
            let _ticket = caller.send(b"hello", DEADLINE).unwrap();
            service.receive_timeout(DEADLINE).unwrap()
        })
        .collect();
    sees_to_them(&mut service);
    assert!(is_refused());
    drop(requests.pop());
    drop(connect().unwrap());
}

/// Whether a process is about to end is nothing that a service has to know.
#[test]
fn callers_that_hang_up_and_live_cost_their_service_no_time() {
    const CALLERS: usize = 20;
    let address = format!("@{}", unique_name());
    let mut service = Service::listen(address.as_str()).unwrap();
    let mut come = 0;
    wait_until("all have come and gone without delay", || {
        let goods = [(); CALLERS].map(|()| Goods::new(CAPACITY));
        for goods in &goods {
            caller_before_its_last_frame(&address, goods).send(&attached(&[0])).unwrap();
        }
        come += CALLERS as u64;
        let began = std::time::Instant::now();
        wait_until("all have come and gone", || {
            let _ = service.try_receive();
            service.stats().joined == come && service.stats().callers == 0
        });
        // Unless a busy machine keeps them from running.
        began.elapsed() < Duration::from_secs(1)
    });
}

/// How many threads of this process open what was offered.
fn openers() -> usize {
    thread_names(std::process::id()).iter().filter(|name| *name == "fdring-opener").count()
}

/// How many of them may be left behind.
const OPENERS_MAX: usize = 64;

#[test]
fn callers_that_keep_the_locks_of_their_files_cost_a_bounded_number_of_threads() {
    isolated("callers_that_keep_the_locks_of_their_files_cost_a_bounded_number_of_threads", || {
        let (address, _server) = service(DEADLINE);
        let goods = Goods::new(CAPACITY);
        if !write_and_keep_the_lock(goods.seat.try_clone().unwrap()) {
            return skipped("this process may not use userfaultfd(2)");
        }
        let knock = || {
            let wire = caller_at(1, &address, &goods);
            wire.send_fds(&offer(CAPACITY), &goods.fds()).unwrap();
            wire
        };
        (0..OPENERS_MAX + 20).for_each(|_| drop(knock()));
        assert_eq!(knock().last_words(), [(REFUSE, 3)]);
        assert_eq!(openers(), OPENERS_MAX);
        let error = Caller::connect(address.as_str()).map(drop).unwrap_err();
        assert!(error.is_worth_retrying() && error.to_string().contains("64 threads still open"), "{error}");
    });
}

#[test]
fn a_producer_that_keeps_the_locks_of_its_files_costs_a_bounded_number_of_threads() {
    isolated("a_producer_that_keeps_the_locks_of_its_files_costs_a_bounded_number_of_threads", || {
        let address = format!("@{}", unique_name());
        let (listener, goods) = (listen(&address), Goods::new(CAPACITY));
        // Threads that have ended count for nothing.
        let (honest, producer) = (format!("@{}", unique_name()), Producer::create("lane").unwrap());
        let _server = Server::listen(honest.as_str(), [&producer]).unwrap();
        (0..=OPENERS_MAX).for_each(|_| drop(Session::connect(honest.as_str()).unwrap()));
        if !write_and_keep_the_lock(goods.seat.try_clone().unwrap()) {
            return skipped("this process may not use userfaultfd(2)");
        }
        std::thread::spawn(move || {
            loop {
                let wire = accept(&listener);
                wire.expect(&[HELLO]);
                // One whose time was up before leaves no thread.
                let _ = wire.send(&producer_hello()).and_then(|()| wire.send_fds(&offer(CAPACITY), &goods.fds()));
            }
        });
        let connect = || SessionOptions::new().deadline(Duration::from_millis(200)).connect(address.as_str()).map(drop);
        wait_until("no more threads are left behind", || {
            let error = connect().unwrap_err();
            assert!(openers() <= OPENERS_MAX, "{} threads were left behind", openers());
            if matches!(error, Error::TimedOut { .. }) {
                return false;
            }
            assert!(error.is_worth_retrying() && error.to_string().contains("64 threads still open"), "{error}");
            // On a busy machine one of them may have been slow, and stuck nowhere.
            openers() == OPENERS_MAX
        });
    });
}
