//! The machines on steps of chance, and ends that keep the session's protocol and not that of calls.

use super::port::Standing;
use super::prefix::{Cause, Kind, Prefix, Way};
use super::{CallError, Caller, CallerOptions, Service, ServiceOptions};
use crate::consumer::ReceiveError;
use crate::deadline::{Deadline, timespec};
use crate::lane::LaneOptions;
use crate::options::SessionOptions;
use crate::os::clock::now_ns;
use crate::os::fork::ForkGuard;
use crate::os::interrupt::Interrupter;
use crate::session::Address;
use crate::session::pairs::{Pair, PairListener, PairTerms, connect};
use crate::test_support::{DEADLINE, unique_name, wait_until, wait_until_thread_sleeps};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

#[test]
fn the_machines_do_what_a_plain_list_does() {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for len in 0..20_000 {
        let bytes: Vec<u8> = (0..len % 200)
            .map(|_| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                (state >> 32) as u8
            })
            .collect();
        crate::fuzzing::calls(&bytes);
    }
}

fn terms() -> PairTerms {
    let guard = ForkGuard::get().unwrap();
    PairTerms { session: SessionOptions::new(), capacity_max: 1 << 20, expected: None, guard }
}

fn lane() -> LaneOptions {
    LaneOptions::new("lies").capacity(1 << 16).space_bell(true)
}

fn unique_address() -> Address {
    Address::abstract_name(unique_name())
}

/// A caller that writes what it likes.
fn liar(service: &Service) -> Pair {
    connect(service.address(), &lane(), &terms(), Deadline::Never).unwrap()
}

pub(super) fn write(pair: &mut Pair, prefix: Prefix, body: &[u8]) {
    pair.producer
        .fill(24 + body.len(), |bytes| {
            prefix.write(&mut bytes[..24]);
            bytes[24..].copy_from_slice(body);
        })
        .unwrap();
}

fn request(id: u64) -> Prefix {
    Prefix { id, deadline_ns: 0, kind: Kind::Request }
}

/// That a service goes on for others, once one has lied.
fn goes_on(service: &mut Service) {
    let mut honest = Caller::connect(service.address()).unwrap();
    let mut ticket = honest.send(b"honest", DEADLINE).unwrap();
    loop {
        let request = service.receive_timeout(DEADLINE).unwrap();
        let is_honest = request[..] == *b"honest";
        let _ = request.reply(b"honestly");
        if is_honest {
            break;
        }
    }
    assert_eq!(&honest.wait(&mut ticket).unwrap().unwrap()[..], b"honestly");
}

#[test]
fn a_caller_that_lies_loses_its_session_and_no_other_notices() {
    let mut service = ServiceOptions::new().open_max(4).listen(unique_address()).unwrap();
    type Lie = fn(&mut Pair);
    let lies: [(&str, Lie); 7] = [
        ("too short", |pair| pair.producer.send(b"short").unwrap()),
        ("does not go this way", |pair| write(pair, Prefix { kind: Kind::LastReply, ..request(1) }, b"")),
        ("does not go this way", |pair| write(pair, Prefix { kind: Kind::Refusal(Cause::Program), ..request(1) }, b"")),
        ("has the number 0", |pair| write(pair, request(0), b"")),
        ("has the number 7 after one with 7", |pair| [7, 7].iter().for_each(|id| write(pair, request(*id), b""))),
        ("has the number 3 after one with 4", |pair| [4, 3].iter().for_each(|id| write(pair, request(*id), b""))),
        ("reserved bytes", |pair| {
            pair.producer
                .fill(24, |bytes| {
                    request(1).write(bytes);
                    bytes[20] = 1;
                })
                .unwrap();
        }),
    ];
    for (round, (fault, lie)) in lies.into_iter().enumerate() {
        let mut pair = liar(&service);
        lie(&mut pair);
        while service.stats().evicted == round as u64 {
            goes_on(&mut service);
        }
        assert!(service.stats().last_refusal.is_some_and(|why| why.contains(fault)), "{fault}");
        // What it had asked before may have been answered.
        let end = loop {
            match pair.consumer.receive_timeout(DEADLINE) {
                Ok(Some(_)) => {}
                end => break end.map(drop),
            }
        };
        assert!(matches!(end, Err(ReceiveError::Evicted { .. }) | Ok(())), "{end:?}");
    }
    wait_until("only their callers are left", || {
        let _ = service.try_receive();
        service.stats().callers == 0
    });
}

#[test]
fn a_service_says_why_it_has_lost_a_caller() {
    let mut service = ServiceOptions::new().listen(unique_address()).unwrap();
    let pair = liar(&service);
    wait_until("it has joined", || service.try_receive().is_err() && service.stats().callers == 1);
    drop(Caller::connect(service.address()).unwrap());
    wait_until("one has finished", || service.try_receive().is_err() && service.stats().joined == 2);
    wait_until("and is forgotten", || service.try_receive().is_err() && service.stats().callers == 1);
    assert_eq!(service.stats().last_refusal, None);
    pair.producer.consumers().iter().for_each(|service| assert!(pair.producer.evict(service).unwrap()));
    wait_until("the other one is forgotten", || service.try_receive().is_err() && service.stats().callers == 0);
    // A finished one leaves no reason.
    assert!(service.stats().last_refusal.is_some());
    assert_eq!(service.stats().evicted, 0);
}

#[test]
fn a_flood_of_cancellations_and_of_late_requests_keeps_nobody_waiting() {
    let mut service = ServiceOptions::new().listen(unique_address()).unwrap();
    let mut pair = liar(&service);
    for id in 1..500 {
        write(&mut pair, Prefix { kind: Kind::Cancellation, ..request(id) }, b"");
        write(&mut pair, Prefix { deadline_ns: 1, ..request(id) }, b"");
    }
    goes_on(&mut service);
    wait_until("all are taken", || {
        let _ = service.try_receive();
        service.stats().expired == 499
    });
    assert_eq!((service.stats().cancelled, service.stats().evicted), (0, 0));
}

/// Calls `flood` on a thread for as long as `body` runs.
fn during(mut flood: impl FnMut() + Send, body: impl FnOnce()) {
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                flood();
            }
        });
        body();
        is_over.store(true, Ordering::Relaxed);
    });
}

fn try_write(pair: &mut Pair, prefix: Prefix) {
    let _ = pair.producer.try_fill(24, |bytes| prefix.write(bytes));
}

#[test]
fn a_flood_without_an_end_ends_no_later_than_the_call() {
    let mut service = ServiceOptions::new().listen(unique_address()).unwrap();
    let mut pair = liar(&service);
    let flood = || try_write(&mut pair, Prefix { kind: Kind::Cancellation, ..request(1) });
    during(flood, || {
        assert_eq!(service.receive_timeout(Duration::from_millis(50)).unwrap_err(), ReceiveError::TimedOut);
        (0..10).for_each(|_| assert_eq!(service.try_receive().unwrap_err(), ReceiveError::Empty));
    });
    let (_listener, mut pair, mut caller) = lying_service(CallerOptions::new().capacity(4096));
    let flood = || try_write(&mut pair, reply(99, Kind::LastReply));
    during(flood, || {
        let mut ticket = caller.send(b"hello", DEADLINE).unwrap();
        (0..10).for_each(|_| assert!(matches!(caller.try_wait(&mut ticket), Err(CallError::Empty))));
        let waited = caller.wait_timeout(&mut ticket, Duration::from_millis(20));
        assert!(matches!(waited, Err(CallError::Empty)), "{waited:?}");
        let short = Duration::from_millis(20);
        let full = std::iter::repeat_with(|| caller.try_send(&[0; 500], short)).find_map(Result::err);
        assert!(matches!(full, Some(CallError::Full)), "{full:?}");
        assert!(matches!(caller.send(&[0; 500], short), Err(CallError::Full)));
        let _ = caller.arm().unwrap();
    });
}

/// A service that writes what it likes, and a caller of it.
pub(super) fn lying_service(options: CallerOptions) -> (PairListener, Pair, Caller) {
    let address = unique_address();
    let listener = PairListener::listen(&address, 0o600, 8, lane(), terms()).unwrap();
    let caller = options.connect(&address).unwrap();
    let mut pair = None;
    wait_until("the caller has come", || {
        pair = listener.take();
        pair.is_some()
    });
    (listener, pair.unwrap(), caller)
}

pub(super) fn reply(id: u64, kind: Kind) -> Prefix {
    Prefix { id, deadline_ns: 0, kind }
}

#[test]
fn foreign_doubled_and_late_replies_answer_nothing() {
    let (_listener, mut pair, mut caller) = lying_service(CallerOptions::new());
    let mut first = caller.send(b"first", Duration::from_millis(1)).unwrap();
    assert!(matches!(caller.wait(&mut first), Err(CallError::TimedOut)));
    let [mut second, mut third] = [b"b", b"c"].map(|request| caller.send(request, DEADLINE).unwrap());
    // Call 1 is over, and there is no other but 2 and 3.
    for id in [1, 4, 17, u64::MAX] {
        write(&mut pair, reply(id, Kind::LastReply), b"foreign");
        write(&mut pair, reply(id, Kind::Refusal(Cause::Program)), b"foreign");
    }
    [b"to 3", b"more"].iter().for_each(|body| write(&mut pair, reply(3, Kind::LastReply), *body));
    write(&mut pair, reply(2, Kind::Refusal(Cause::Other(99))), b"\xffno");
    write(&mut pair, reply(2, Kind::LastReply), b"changed its mind");
    let refused = caller.wait(&mut second).unwrap_err();
    assert!(matches!(refused, CallError::Refused { cause: Cause::Other(99), .. }), "{refused:?}");
    assert_eq!(&caller.wait(&mut third).unwrap().unwrap()[..], b"to 3");
    assert!(caller.wait(&mut second).unwrap().is_none() && caller.wait(&mut third).unwrap().is_none());
    wait_until("all are taken", || {
        let _ = caller.arm();
        caller.stats().stray == 10
    });
}

#[test]
fn a_service_that_breaks_the_protocol_of_calls_loses_them() {
    type Lie = fn(&mut Pair);
    let lies: [(&str, Lie); 3] = [
        ("too short", |pair| pair.producer.send(b"short").unwrap()),
        ("does not go this way", |pair| write(pair, request(1), b"")),
        ("has a deadline", |pair| write(pair, Prefix { deadline_ns: now_ns(), ..reply(1, Kind::LastReply) }, b"")),
    ];
    for (fault, lie) in lies {
        let (listener, mut pair, mut caller) = lying_service(CallerOptions::new());
        let mut ticket = caller.send(b"hello", DEADLINE).unwrap();
        lie(&mut pair);
        match caller.wait(&mut ticket).unwrap_err() {
            CallError::Lost(why) => assert!(why.to_string().contains(fault), "{why}"),
            other => panic!("{other:?}"),
        }
        // The next call is made in a session of its own.
        let ticket = caller.send(b"again", DEADLINE).unwrap();
        wait_until("the caller has come again", || listener.take().is_some());
        drop(ticket);
    }
}

#[test]
fn a_service_that_floods_fills_what_a_caller_keeps_and_no_more() {
    let (_listener, mut pair, mut caller) = lying_service(CallerOptions::new().stored_max(1000));
    let [flooded, mut other] = [b"a", b"b"].map(|request| caller.send(request, DEADLINE).unwrap());
    while pair
        .producer
        .try_send(&{
            let mut record = [0; 124];
            reply(1, Kind::Reply).write(&mut record[..24]);
            record
        })
        .is_ok()
    {}
    assert!(matches!(caller.wait(&mut other), Err(CallError::StoreFull { .. })));
    assert!(caller.stats().stored_bytes <= 1200, "{:?}", caller.stats());
    // Given up, it is in nobody's way.
    drop(flooded);
    let flood = std::thread::spawn(move || {
        write(&mut pair, reply(2, Kind::LastReply), b"at last");
        pair
    });
    assert_eq!(&caller.wait(&mut other).unwrap().unwrap()[..], b"at last");
    drop(flood.join().unwrap());
}

#[test]
fn a_lane_beyond_the_limits_or_of_other_values_is_refused() {
    let service = ServiceOptions::new().request_capacity_max(1 << 12).listen(unique_address()).unwrap();
    let error = connect(service.address(), &lane(), &terms(), Deadline::Never).unwrap_err();
    assert!(error.to_string().contains("at most 4096 are mapped here"), "{error}");
    assert!(service.stats().last_refusal.is_some_and(|why| why.contains("a ring of 65536 bytes is offered")));
}

#[test]
fn what_a_service_has_said_is_read_to_its_end_before_its_caller_connects_again() {
    const PARTS: usize = 1500; // as many fit into the ring
    let (listener, mut pair, mut caller) = lying_service(CallerOptions::new());
    let mut ticket = caller.send(b"list", DEADLINE).unwrap();
    (1..PARTS).for_each(|_| write(&mut pair, reply(1, Kind::Reply), b""));
    write(&mut pair, reply(1, Kind::LastReply), b"");
    drop((listener, pair));
    let _successor = PairListener::listen(caller.address(), 0o600, 8, lane(), terms()).unwrap();
    wait_until("it has connected again", || {
        let _ = caller.send(b"again", DEADLINE);
        caller.stats().sessions == 2
    });
    let mut replies = 0;
    while let Some(reply) = caller.wait(&mut ticket).unwrap() {
        replies += 1;
        assert_eq!(reply.is_last(), replies == PARTS);
    }
    assert_eq!(replies, PARTS);
}

/// Short ones are in the value itself, and go from the ring into it in pieces.
#[test]
fn bodies_of_any_length_are_what_was_sent_both_ways() {
    for align in [8, 64] {
        let address = unique_address();
        let mut service = ServiceOptions::new().align(align).listen(address.clone()).unwrap();
        let mut caller = CallerOptions::new().align(align).connect(address).unwrap();
        for len in (0..200).chain([256, 4096, 100_000]) {
            let body: Vec<u8> = (0..len).map(|at| (at * 7 + len) as u8).collect();
            let mut ticket = match len % 2 {
                0 => caller.send(&body, DEADLINE).unwrap(),
                _ => caller.send_with(len, DEADLINE, |bytes| bytes.copy_from_slice(&body)).unwrap(),
            };
            let request = service.receive_timeout(DEADLINE).unwrap();
            assert_eq!(request[..], body, "{len} bytes");
            match len % 3 {
                0 => request.reply(&body).unwrap(),
                _ => request.reply_with(len, |bytes| bytes.copy_from_slice(&body)).unwrap(),
            }
            let reply = caller.wait(&mut ticket).unwrap().unwrap();
            assert_eq!((&reply, &reply[..]), (&reply.clone(), &body[..]), "{len} bytes");
            assert_eq!(reply.into_bytes(), body);
        }
    }
}

#[test]
fn a_request_that_was_answered_is_not_given_up_whichever_thread_has_answered() {
    let mut service = Service::listen(unique_address()).unwrap();
    let mut pair = liar(&service);
    let cancellation = |id| Prefix { kind: Kind::Cancellation, ..request(id) };
    for id in 1..=200 {
        write(&mut pair, request(id), b"work");
    }
    let mut requests: Vec<_> = (0..200).map(|_| service.receive_timeout(DEADLINE).unwrap()).collect();
    let open = requests.split_off(150);
    std::thread::spawn(move || requests.into_iter().for_each(|request| request.reply(b"").unwrap())).join().unwrap();
    // Each twice.
    (1..=200).chain(1..=200).for_each(|id| write(&mut pair, cancellation(id), b""));
    wait_until("all are taken", || service.try_receive().is_err() && service.stats().cancelled == 100);
    assert!(open.iter().all(|request| request.is_cancelled()));
    open.into_iter().for_each(|request| request.reply(b"").unwrap());
    assert_eq!(service.stats().replies, 200);
}

/// What is in the ring when the request is on its way goes to the program at once.
#[test]
fn a_call_as_a_whole_ends_with_the_first_answer_though_it_is_there_at_once() {
    let (_listener, mut pair, mut caller) = lying_service(CallerOptions::new());
    write(&mut pair, reply(1, Kind::Reply), b"a part");
    let part = caller.call(b"hello", DEADLINE).unwrap();
    assert_eq!((&part[..], part.is_last(), caller.stats().in_flight), (&b"a part"[..], false, 0));
    // It is given up.
    let mut kinds = Vec::new();
    while let Ok(Some(record)) = pair.consumer.try_receive() {
        kinds.push(Prefix::parse_bytes(&record, 24, Way::ToService).unwrap().0.kind);
    }
    assert_eq!(kinds, [Kind::Request, Kind::Cancellation]);
    write(&mut pair, reply(2, Kind::Refusal(Cause::Program)), b"no");
    let refused = caller.call(b"hello", DEADLINE);
    assert!(matches!(refused, Err(CallError::Refused { cause: Cause::Program, .. })), "{refused:?}");
    // One that is no answer to it, and then its own.
    write(&mut pair, reply(1, Kind::LastReply), b"foreign");
    write(&mut pair, reply(3, Kind::LastReply), &[3; 100]);
    assert_eq!(caller.call(b"hello", DEADLINE).unwrap()[..], [3; 100]);
    let stats = caller.stats();
    assert_eq!((stats.in_flight, stats.replies, stats.refused, stats.stray, stats.cancelled), (0, 2, 1, 1, 1));
    write(&mut pair, request(4), b"");
    assert!(matches!(caller.call(b"hello", DEADLINE), Err(CallError::Lost(ReceiveError::Peer(_)))));
    assert_eq!((caller.stats().in_flight, caller.stats().lost), (0, 1));
}

#[test]
fn what_was_answered_is_forgotten_though_nobody_gives_anything_up() {
    let mut service = Service::listen(unique_address()).unwrap();
    let mut pair = liar(&service);
    for id in 1..1000 {
        write(&mut pair, request(id), b"work");
        let request = service.receive_timeout(DEADLINE).unwrap();
        assert!(request.port().unsettled() <= 64, "{} of {id}", request.port().unsettled());
        request.reply(b"").unwrap();
        pair.consumer.receive_timeout(DEADLINE).unwrap();
    }
}

#[test]
fn a_reply_that_came_in_time_is_there_however_late_it_is_asked_for() {
    for millis in [20, 1000] {
        let timeout = Duration::from_millis(millis);
        // A busy machine may keep it from answering in time.
        let (mut caller, mut tickets, end, _service) = loop {
            let (listener, mut pair, mut caller) = lying_service(CallerOptions::new());
            let begin = Instant::now();
            let tickets = [(); 3].map(|()| caller.send(b"hello", timeout).unwrap());
            // A call of a second or more may wait 10 ms longer.
            let end = Instant::now() + timeout + Duration::from_millis(10);
            [1, 2].iter().for_each(|id| write(&mut pair, reply(*id, Kind::LastReply), b"in time"));
            if begin.elapsed() < timeout {
                break (caller, tickets, end, (listener, pair));
            }
        };
        let [waited, tried, late] = &mut tickets;
        wait_until("the deadlines have passed", || Instant::now() > end);
        assert_eq!(&caller.wait(waited).unwrap().unwrap()[..], b"in time");
        assert_eq!(&caller.try_wait(tried).unwrap().unwrap()[..], b"in time");
        assert!(matches!(caller.try_wait(late), Err(CallError::TimedOut)));
        assert_eq!((caller.stats().timed_out, caller.stats().replies, caller.stats().in_flight), (1, 2, 0));
    }
}

/// That a descriptor becomes readable.
fn becomes_readable(fd: &impl AsFd) {
    let ready = poll(&mut [PollFd::new(fd, PollFlags::IN)], Some(&timespec(DEADLINE)));
    assert_eq!(ready, Ok(1), "nothing happened for {DEADLINE:?}");
}

#[test]
fn a_service_that_sleeps_hears_of_replies_that_another_thread_has_sent_on() {
    let options = ServiceOptions::new().capacity(4096).reply_timeout(Duration::MAX);
    let mut service = options.listen(unique_address()).unwrap();
    let mut caller = Caller::connect(service.address()).unwrap();
    let [tickets @ .., _kept] = &mut [(); 6].map(|()| caller.send(b"hello", DEADLINE).unwrap());
    let mut requests: Vec<_> = (0..6).map(|_| service.receive_timeout(DEADLINE).unwrap()).collect();
    let kept = requests.pop().unwrap();
    // Three fit into the ring, and two wait. So the next request waits, too.
    requests.into_iter().for_each(|request| request.reply(&[7; 1000]).unwrap());
    let _next = caller.send(b"next", DEADLINE).unwrap();
    assert_eq!(service.try_receive().unwrap_err(), ReceiveError::Empty);
    assert!(service.arm().unwrap());
    for ticket in &mut tickets[..3] {
        assert_eq!(caller.wait(ticket).unwrap().unwrap()[..], [7; 1000]);
    }
    // As another thread does that has a part to send: it takes the notice of the room, too.
    wait_until("what waits is in the ring", || {
        kept.port().wait_for_room(&mut kept.port().patience()).unwrap();
        kept.port().standing() == Standing::Open
    });
    becomes_readable(&service);
    assert_eq!(&service.try_receive().unwrap()[..], b"next");
}

#[test]
fn a_caller_that_takes_what_others_send_is_not_evicted_by_one_that_waits() {
    // Longer than a busy machine keeps this thread from running.
    const TIMEOUT: Duration = Duration::from_millis(1500);
    let mut service = ServiceOptions::new().capacity(4096).reply_timeout(TIMEOUT).listen(unique_address()).unwrap();
    let mut caller = Caller::connect(service.address()).unwrap();
    let [mut streamed, _waiting] = [(); 2].map(|()| caller.send(b"hello", DEADLINE).unwrap());
    let [streams, waits] = [(); 2].map(|()| service.receive_timeout(DEADLINE).unwrap());
    let mut patience = waits.port().patience();
    let begun = Instant::now();
    while begun.elapsed() < 5 * TIMEOUT / 4 {
        while streams.try_reply_part(&[7; 1000]).is_ok() {}
        caller.wait(&mut streamed).unwrap();
    }
    assert_eq!(waits.port().wait_for_room(&mut patience), Ok(()));
    assert_eq!(service.stats().evicted, 0);
}

/// Deadlines and interrupts are looked at once in a number of records, and not only when none is left.
#[test]
fn floods_are_left_at_the_deadline_and_by_an_interrupt() {
    const FLOOD: u64 = 1500;
    let stop = Interrupter::new().unwrap();
    let mut service = ServiceOptions::new().interrupter(&stop).listen(unique_address()).unwrap();
    let mut pair = liar(&service);
    wait_until("it has joined", || service.try_receive().is_err() && service.stats().joined == 1);
    let mut flood = |id| {
        (0..FLOOD).for_each(|_| write(&mut pair, Prefix { kind: Kind::Cancellation, ..request(99) }, b""));
        write(&mut pair, request(id), b"last");
    };
    flood(1);
    assert_eq!(service.receive_timeout(Duration::ZERO).unwrap_err(), ReceiveError::TimedOut);
    assert_eq!(&service.receive_timeout(DEADLINE).unwrap()[..], b"last");
    flood(2);
    stop.interrupt();
    assert_eq!(service.receive().unwrap_err(), ReceiveError::Interrupted);
    stop.clear();
    assert_eq!(&service.receive_timeout(DEADLINE).unwrap()[..], b"last");

    let (_listener, mut pair, mut caller) = lying_service(CallerOptions::new().interrupter(&stop).capacity(4096));
    let mut flood = |id| {
        (0..FLOOD).for_each(|_| write(&mut pair, reply(99, Kind::LastReply), b""));
        write(&mut pair, reply(id, Kind::LastReply), b"");
    };
    let [mut first, mut second] = [(); 2].map(|()| caller.send(b"hello", DEADLINE).unwrap());
    flood(1);
    assert!(matches!(caller.try_wait(&mut first), Err(CallError::Empty)));
    assert!(caller.wait(&mut first).unwrap().is_some());
    flood(2);
    stop.interrupt();
    assert!(matches!(caller.wait(&mut second), Err(CallError::Interrupted)));
    stop.clear();
    assert!(caller.wait(&mut second).unwrap().is_some());
    // It takes that number at once, and no more.
    let taken = |caller: &Caller, before: u64| caller.stats().stray - before;
    flood(99);
    let before = caller.stats().stray;
    let _ = caller.arm().unwrap();
    assert_eq!(taken(&caller, before), 1024);
    while !caller.arm().unwrap() {}
    while caller.try_send(&[0; 500], DEADLINE).is_ok() {}
    flood(99);
    stop.interrupt();
    let before = caller.stats().stray;
    let full = caller.send(&[0; 500], DEADLINE).unwrap_err();
    assert!(matches!(full, CallError::Interrupted), "{full:?}");
    assert_eq!(taken(&caller, before), 1024);
}

#[test]
fn a_call_that_waits_for_room_when_its_session_ends_is_made_in_the_next_one() {
    let (listener, pair, mut caller) = lying_service(CallerOptions::new().capacity(4096));
    let flight: Vec<_> = std::iter::from_fn(|| caller.try_send(&[7; 500], DEADLINE).ok()).collect();
    let Pair { producer, consumer: _full, .. } = pair;
    let (says, thread) = std::sync::mpsc::channel();
    let calls = std::thread::spawn(move || {
        says.send(rustix::thread::gettid()).unwrap();
        let reply = caller.call(&[8; 500], DEADLINE);
        (reply, caller.stats())
    });
    wait_until_thread_sleeps(thread.recv().unwrap());
    producer.finish();
    let mut next = None;
    wait_until("the caller has come again", || {
        next = listener.take();
        next.is_some()
    });
    let mut next = next.unwrap();
    let record = next.consumer.receive_timeout(DEADLINE).unwrap().unwrap().to_vec();
    let (Prefix { id, .. }, body) = Prefix::parse_bytes(&record, 24, Way::ToService).unwrap();
    assert_eq!(body, [8; 500]);
    write(&mut next, reply(id, Kind::LastReply), b"done");
    let (reply, stats) = calls.join().unwrap();
    assert_eq!(&reply.unwrap()[..], b"done");
    assert_eq!((stats.lost, stats.sessions), (flight.len() as u64, 2), "{stats:?}");
}

#[test]
fn a_service_that_spins_looks_for_new_callers_now_and_then_and_arms_nobody_for_that() {
    let mut service = Service::listen(unique_address()).unwrap();
    let mut first = liar(&service);
    write(&mut first, request(1), b"work");
    service.receive_timeout(DEADLINE).unwrap().reply(b"").unwrap();
    let rung = first.producer.stats().bells_rung;
    assert!(!service.look_after_spins());
    // One that is armed has its caller ring.
    write(&mut first, request(2), b"more work");
    assert_eq!(first.producer.stats().bells_rung, rung);
    service.receive_timeout(DEADLINE).unwrap().reply(b"").unwrap();
    let _second = Caller::connect(service.address()).unwrap();
    wait_until("the second is heard of", || service.look_after_spins());
    assert!(matches!(service.receive_timeout(Duration::ZERO), Err(ReceiveError::TimedOut)));
    assert_eq!(service.stats().callers, 2);
}

/// What is read of a caller is released at the latest when another one has its turn.
#[test]
fn a_caller_has_its_room_back_while_another_keeps_the_service_busy() {
    for spin in [Duration::ZERO, Duration::from_micros(50)] {
        let mut service = ServiceOptions::new().spin(spin).listen(unique_address()).unwrap();
        let [mut long, mut busy] = [(); 2].map(|()| liar(&service));
        wait_until("both have joined", || service.try_receive().is_err() && service.stats().joined == 2);
        let mut receive = |pair: &mut Pair, id, len| {
            write(pair, request(id), &vec![0; len]);
            let request = service.receive_timeout(DEADLINE).unwrap();
            assert_eq!(request.len(), len);
            request.reply(b"").unwrap();
        };
        // Less than an eighth of the ring is not released as it is read.
        receive(&mut long, 1, 29_600);
        receive(&mut long, 2, 4000);
        (1..4).for_each(|id| receive(&mut busy, id, 0));
        // What is left up to the end of the ring is too short for it, and becomes padding.
        let (padding, len) = (65_536 - long.producer.published(), 32_200);
        assert!(padding < len && padding + len + 4000 > 65_536, "{padding}");
        let sent = long.producer.try_fill(len as usize, |bytes| request(3).write(&mut bytes[..24]));
        assert!(sent.is_ok(), "{sent:?}");
    }
}
