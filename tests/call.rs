//! Request and reply between threads: what comes back, when, and what does not.

mod common;
#[path = "common/hostile.rs"]
mod hostile;

use common::{DEADLINE, belongings, isolated, undisturbed, unique_name, wait_until};
use fdring::call::{
    CallError, Caller, CallerOptions, Cause, ReplyError, Service, ServiceOptions, TypedCaller, TypedService,
};
use fdring::errors::{ErrorKind, ReceiveError};
use fdring::info::MonotonicTime;
use fdring::{Error, Interrupter};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

/// A call that nobody answers is not waited for longer.
const SHORT: Duration = Duration::from_millis(20);
/// The time of what has to come within it: longer than a busy machine keeps a thread from running.
const LONG: Duration = Duration::from_secs(2);

fn unique_address() -> String {
    format!("@{}", unique_name())
}

/// A service and a caller of it in one process.
fn pair() -> (Service, Caller) {
    pair_with(ServiceOptions::new(), CallerOptions::new())
}

fn pair_with(service: ServiceOptions, caller: CallerOptions) -> (Service, Caller) {
    let address = unique_address();
    let service = service.listen(address.as_str()).unwrap();
    let caller = caller.connect(address.as_str()).unwrap();
    (service, caller)
}

/// Answers every request with its bytes, until nobody calls any more.
fn echo(mut service: Service) -> std::thread::JoinHandle<Service> {
    std::thread::spawn(move || {
        loop {
            match service.receive_timeout(DEADLINE).unwrap() {
                request if request[..] == *b"end" => {
                    request.reply(b"ended").unwrap();
                    return service;
                }
                request => {
                    let reply = request.to_vec();
                    request.reply(&reply).unwrap();
                }
            }
        }
    })
}

fn is_readable(fd: &impl AsFd, within: Duration) -> bool {
    let timeout = Timespec::try_from(within).unwrap();
    poll(&mut [PollFd::new(fd, PollFlags::IN)], Some(&timeout)).unwrap() != 0
}

#[test]
fn replies_come_to_the_calls_that_they_answer_in_any_order() {
    let (mut service, mut caller) = pair();
    let mut tickets: Vec<_> = (0..10_u8).map(|n| caller.send(&[n], DEADLINE).unwrap()).collect();
    let mut requests: Vec<_> = (0..10).map(|_| service.receive_timeout(DEADLINE).unwrap()).collect();
    requests.reverse();
    for request in requests {
        let number = request[0];
        request.reply_with(2, |bytes| bytes.copy_from_slice(&[number, 100 + number])).unwrap();
    }
    for (number, ticket) in (0..10_u8).zip(&mut tickets) {
        let reply = caller.wait(ticket).unwrap().unwrap();
        assert_eq!((&reply[..], reply.is_last()), (&[number, 100 + number][..], true));
        assert!(ticket.is_over() && caller.wait(ticket).unwrap().is_none());
    }
    assert_eq!((caller.stats().in_flight, caller.stats().stray, caller.stats().replies), (0, 0, 10));
    assert_eq!((service.stats().requests, service.stats().replies, service.stats().callers), (10, 10, 1));
}

#[test]
fn a_request_may_have_several_replies_and_the_last_says_so() {
    let (mut service, mut caller) = pair();
    let mut ticket = caller.send(b"count", DEADLINE).unwrap();
    let request = service.receive_timeout(DEADLINE).unwrap();
    request.reply_part(b"1").unwrap();
    let part = caller.wait(&mut ticket).unwrap().unwrap();
    assert_eq!((&part[..], part.is_last()), (&b"1"[..], false));
    assert!(matches!(caller.try_wait(&mut ticket), Err(CallError::Empty)));
    request.try_reply_part(b"2").unwrap();
    request.reply(b"3").unwrap();
    let rest: Vec<_> = std::iter::from_fn(|| caller.wait(&mut ticket).unwrap()).collect();
    assert_eq!(rest.iter().map(|reply| (reply[0], reply.is_last())).collect::<Vec<_>>(), [(b'2', false), (b'3', true)]);
}

#[test]
fn a_call_ends_at_its_deadline_and_its_late_reply_answers_no_other() {
    let (mut service, mut caller) = pair();
    let begun = Instant::now();
    let error = caller.call(b"first", SHORT).unwrap_err();
    assert!(matches!(error, CallError::TimedOut) && error.may_have_run(), "{error}");
    assert!((SHORT..DEADLINE).contains(&begun.elapsed()));
    // Its turn comes when nobody waits for it any more.
    assert_eq!(service.try_receive().unwrap_err(), ReceiveError::Empty);
    assert_eq!(service.stats().expired, 1);

    let mut late = caller.send(b"second", LONG).unwrap();
    let request = service.receive_timeout(DEADLINE).unwrap();
    assert!(request.time_left() <= Some(LONG) && request.deadline().is_some());
    assert!(matches!(caller.wait(&mut late), Err(CallError::TimedOut)));
    assert!(request.is_cancelled() && request.time_left() == Some(Duration::ZERO));
    let mut third = caller.send(b"third", DEADLINE).unwrap();
    request.reply(b"to the second").unwrap();
    service.receive_timeout(DEADLINE).unwrap().reply(b"to the third").unwrap();
    assert_eq!(&caller.wait(&mut third).unwrap().unwrap()[..], b"to the third");
    assert_eq!((caller.stats().stray, caller.stats().timed_out), (1, 2));
}

/// A service looks at its only caller for a moment after each request: what it finds then is late if it was late when
/// the look began.
#[test]
fn a_request_that_is_late_is_not_received_after_one_that_is_not() {
    let (mut service, mut caller) = pair();
    for round in 1..=10 {
        let mut timely = caller.send(b"in time", DEADLINE).unwrap();
        let mut late = caller.send(b"late", Duration::from_millis(1)).unwrap();
        let begun = Instant::now();
        wait_until("its time is up", || begun.elapsed() >= Duration::from_millis(20));
        service.receive_timeout(DEADLINE).unwrap().reply(b"done").unwrap();
        let nothing = service.receive_timeout(Duration::from_millis(1));
        assert!(matches!(nothing, Err(ReceiveError::TimedOut)), "{nothing:?}");
        assert_eq!((service.stats().requests, service.stats().expired), (round, round));
        assert_eq!(&caller.wait(&mut timely).unwrap().unwrap()[..], b"done");
        assert!(matches!(caller.wait(&mut late), Err(CallError::TimedOut)));
    }
}

#[test]
fn a_call_as_a_whole_has_its_first_reply_and_all_of_its_time() {
    let (mut service, mut caller) = pair();
    let server = std::thread::spawn(move || {
        let request = service.receive_timeout(DEADLINE).unwrap();
        request.reply_part(b"1").unwrap();
        let slow = service.receive_timeout(DEADLINE).unwrap();
        assert!(request.is_cancelled(), "the caller has given the others up");
        (service, slow)
    });
    let reply = caller.call(b"count", DEADLINE).unwrap();
    assert_eq!((&reply[..], reply.is_last(), caller.stats().in_flight), (&b"1"[..], false, 0));
    let begun = Instant::now();
    assert!(matches!(caller.call(b"slow", LONG), Err(CallError::TimedOut)));
    assert!(begun.elapsed() >= LONG);
    drop(server.join().unwrap());
}

#[test]
fn a_call_without_an_answer_in_time_is_cancelled_at_the_service_whose_clock_is_another() {
    let (mut service, mut caller) = pair();
    let mut ticket = caller.send(b"slow", LONG).unwrap();
    let request = service.receive_timeout(DEADLINE).unwrap();
    assert!(matches!(caller.wait(&mut ticket), Err(CallError::TimedOut)));
    assert_eq!(service.try_receive().unwrap_err(), ReceiveError::Empty);
    assert_eq!(service.stats().cancelled, 1, "it was told, and need not look at its clock");
    drop(request);
}

#[test]
fn what_a_caller_had_open_when_it_was_evicted_is_cancelled() {
    let options = ServiceOptions::new().capacity(4096).backlog_max(2000);
    let (mut service, mut caller) = pair_with(options, CallerOptions::new());
    let _tickets: Vec<_> = (0..10).map(|_| caller.send(b"much", DEADLINE).unwrap()).collect();
    let mut requests: Vec<_> = (0..10).map(|_| service.receive_timeout(DEADLINE).unwrap()).collect();
    let last = requests.pop().unwrap();
    let outcomes: Vec<_> = requests.into_iter().map(|request| request.reply(&[0; 1000])).collect();
    assert!(outcomes.contains(&Err(ReplyError::Evicted)), "it has left more than it may: {outcomes:?}");
    assert!(last.is_cancelled());
    assert_eq!((last.reply(b""), service.stats().evicted), (Err(ReplyError::Gone), 1));
}

#[test]
fn an_event_loop_is_woken_to_evict_a_caller_that_takes_no_replies() {
    let options = ServiceOptions::new().capacity(4096).reply_timeout(LONG);
    let (mut service, mut caller) = pair_with(options, CallerOptions::new());
    let _tickets: Vec<_> = (0..7).map(|_| caller.send(b"much", DEADLINE).unwrap()).collect();
    let mut requests: Vec<_> = (0..7).map(|_| service.receive_timeout(DEADLINE).unwrap()).collect();
    let last = requests.pop().unwrap();
    // Three fit into the ring, and the others wait.
    requests.into_iter().for_each(|request| request.reply(&[0; 1000]).unwrap());
    let mut wakes = 0;
    loop {
        assert_eq!(service.try_receive().unwrap_err(), ReceiveError::Empty);
        if service.stats().evicted != 0 {
            break;
        }
        if service.arm().unwrap() {
            wakes += 1;
            assert!(wakes < 10 && is_readable(&service, DEADLINE), "not evicted after {wakes} waits");
        }
    }
    assert!(last.is_cancelled());
    // Its time wakes nobody any more.
    while service.try_receive().is_ok() || !service.arm().unwrap() {}
    assert!(!is_readable(&service, 2 * SHORT));
}

#[test]
fn without_a_deadline_a_request_has_none() {
    let (mut service, mut caller) = pair();
    let ticket = caller.send(b"whenever", Duration::MAX).unwrap();
    let request = service.receive_timeout(DEADLINE).unwrap();
    assert_eq!((request.deadline(), request.time_left(), request.is_cancelled()), (None, None, false));
    drop((ticket, request));
}

#[test]
fn a_refusal_says_who_refused_and_why() {
    let (mut service, mut caller) = pair_with(ServiceOptions::new().capacity(4096), CallerOptions::new());
    let mut refused = |answer: &mut dyn FnMut(fdring::call::Request)| {
        let mut ticket = caller.send(b"please", DEADLINE).unwrap();
        answer(service.receive_timeout(DEADLINE).unwrap());
        match caller.wait(&mut ticket).unwrap_err() {
            CallError::Refused { cause, reason } => (cause, reason.into_string()),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(refused(&mut |request| request.refuse("not today").unwrap()), (Cause::Program, "not today".to_owned()));
    // Cut between two characters.
    let long = "ä".repeat(300);
    assert_eq!(refused(&mut |request| request.refuse(&long).unwrap()), (Cause::Program, "ä".repeat(256)));
    assert_eq!(refused(&mut drop), (Cause::Dropped, String::new()));
    let too_long = &mut |request: fdring::call::Request| {
        let error = request.reply(&[0; 4096]).unwrap_err();
        assert!(matches!(error, ReplyError::TooLong { len: 4096, max: 1000..2048 }), "{error:?}");
    };
    assert_eq!(refused(too_long), (Cause::ReplyTooLong, String::new()));
    assert_eq!((service.stats().refusals, service.stats().dropped), (2, 2));
}

#[test]
fn what_the_caller_gives_up_the_service_hears_of() {
    let (mut service, mut caller) = pair();
    let [dropped, cancelled] = [b"a", b"b"].map(|request| caller.send(request, DEADLINE).unwrap());
    let requests = [(); 2].map(|()| service.receive_timeout(DEADLINE).unwrap());
    drop(dropped);
    caller.cancel(cancelled);
    assert_eq!((caller.stats().cancelled, caller.stats().in_flight), (2, 0));
    assert!(requests.iter().all(|request| !request.is_cancelled()));
    assert_eq!(service.try_receive().unwrap_err(), ReceiveError::Empty);
    assert!(requests.iter().all(fdring::call::Request::is_cancelled));
    assert_eq!(service.stats().cancelled, 2);
    // To answer it all the same does no harm.
    requests.into_iter().for_each(|request| request.reply(b"late").unwrap());
    assert!(matches!(caller.call(b"c", SHORT), Err(CallError::TimedOut)));
    assert_eq!(caller.stats().stray, 2);
}

#[test]
fn two_full_rings_do_not_lock() {
    const CALLS: u32 = 2000;
    let small = ServiceOptions::new().capacity(4096);
    let (service, mut caller) = pair_with(small, CallerOptions::new().capacity(4096).calls_max(CALLS as usize));
    let service = echo(service);
    let payload = |number: u32| [&number.to_le_bytes()[..], &[7; 500]].concat();
    // Nothing is waited for before all are sent: both rings are full after a few.
    let mut tickets: Vec<_> = (0..CALLS).map(|number| caller.send(&payload(number), DEADLINE).unwrap()).collect();
    for (number, ticket) in (0..CALLS).zip(&mut tickets) {
        assert_eq!(caller.wait(ticket).unwrap().unwrap()[..], payload(number));
    }
    assert_eq!(&caller.call(b"end", DEADLINE).unwrap()[..], b"ended");
    assert_eq!(service.join().unwrap().stats().evicted, 0);
}

#[test]
fn what_a_caller_keeps_is_bounded_and_said() {
    let options = CallerOptions::new().capacity(4096).calls_max(3).stored_max(200);
    let (mut service, mut caller) = pair_with(ServiceOptions::new(), options);
    let error = caller.send(&[0; 4096], DEADLINE).unwrap_err();
    assert!(matches!(error, CallError::TooLong { len: 4096, max: 1000..2048 }) && !error.may_have_run(), "{error:?}");
    let mut tickets: Vec<_> = (0..3).map(|_| caller.send(&[0; 1000], DEADLINE).unwrap()).collect();
    let error = caller.send(&[0], DEADLINE).unwrap_err();
    assert!(matches!(error, CallError::TooManyCalls { max: 3 }) && !error.may_have_run(), "{error:?}");
    // A place, but no room: nobody has received anything.
    caller.cancel(tickets.pop().unwrap());
    let [tried, waited] =
        [caller.try_send(&[0; 1900], DEADLINE), caller.send(&[0; 1900], SHORT)].map(|sent| sent.unwrap_err());
    assert!(matches!((&tried, &waited), (CallError::Full, CallError::Full)), "{tried:?} {waited:?}");
    assert_eq!(caller.stats().in_flight, 2);

    for _ in 0..2 {
        let request = service.receive_timeout(DEADLINE).unwrap();
        [(); 3].iter().for_each(|()| request.reply_part(&[0; 60]).unwrap());
        request.reply(b"").unwrap();
    }
    // Three replies to the first, of 60 bytes and 64 more each, are in the way of those to the second: two are stored.
    let error = caller.wait(&mut tickets[1]).unwrap_err();
    assert!(matches!(error, CallError::StoreFull { stored_bytes: 248 }), "{error:?}");
    let replies = std::iter::from_fn(|| caller.wait(&mut tickets[0]).unwrap()).count();
    assert_eq!((replies, std::iter::from_fn(|| caller.wait(&mut tickets[1]).unwrap()).count()), (4, 4));
    assert_eq!((caller.stats().stored_bytes, caller.stats().in_flight), (0, 0));
}

#[test]
fn the_end_of_a_service_fails_what_it_has_not_answered_and_nothing_else() {
    let (mut service, mut caller) = pair();
    let mut tickets: Vec<_> = (0..3_u8).map(|n| caller.send(&[n], DEADLINE).unwrap()).collect();
    service.receive_timeout(DEADLINE).unwrap().reply(b"answered").unwrap();
    let request = service.receive_timeout(DEADLINE).unwrap();
    request.reply_part(b"a part").unwrap();
    drop(service);
    assert_eq!(request.reply(b"too late"), Err(ReplyError::Gone));
    assert_eq!(&caller.wait(&mut tickets[0]).unwrap().unwrap()[..], b"answered");
    assert_eq!(&caller.wait(&mut tickets[1]).unwrap().unwrap()[..], b"a part");
    for ticket in &mut tickets[1..] {
        let error = caller.wait(ticket).unwrap_err();
        assert!(matches!(error, CallError::Lost(_)) && error.may_have_run(), "{error:?}");
        assert!(caller.wait(ticket).unwrap().is_none());
    }
    let error = caller.call(b"anybody?", DEADLINE).unwrap_err();
    assert!(matches!(error, CallError::NotConnected(Error::Os { .. })) && !error.may_have_run(), "{error:?}");
    assert_eq!((caller.stats().lost, caller.stats().in_flight), (2, 0));
    assert_eq!(error.to_string().split(':').next(), Some("the request was not sent"));
}

#[test]
fn a_service_that_comes_back_is_found_again() {
    let address = unique_address();
    let service = echo(Service::listen(address.as_str()).unwrap());
    let mut caller = CallerOptions::new().patience(DEADLINE).connect(address.as_str()).unwrap();
    let fd = caller.as_fd().try_clone_to_owned().unwrap();
    assert_eq!(&caller.call(b"end", DEADLINE).unwrap()[..], b"ended");
    drop(service.join().unwrap());
    let later = std::thread::spawn({
        let address = address.clone();
        move || echo(Service::listen(address.as_str()).unwrap())
    });
    let back = match caller.call(b"back", DEADLINE) {
        // It was sent before the end of the first service was known.
        Err(CallError::Lost(_)) => caller.call(b"back", DEADLINE),
        outcome => outcome,
    };
    assert_eq!(&back.unwrap()[..], b"back");
    assert_eq!(caller.stats().sessions, 2);
    // Its descriptor is the same, and tells of the new session.
    while !caller.arm().unwrap() {}
    let mut ticket = caller.send(b"again", DEADLINE).unwrap();
    assert!(!caller.arm().unwrap() || is_readable(&fd, DEADLINE));
    assert_eq!(&caller.wait(&mut ticket).unwrap().unwrap()[..], b"again");
    assert_eq!(&caller.call(b"end", DEADLINE).unwrap()[..], b"ended");
    drop(later.join().unwrap().join().unwrap());
}

/// What listens where the service was accepts, and says nothing.
#[test]
fn a_call_that_connects_again_ends_at_its_deadline_though_nobody_says_hello() {
    let address = unique_address();
    let service = Service::listen(address.as_str()).unwrap();
    let mut caller = Caller::connect(address.as_str()).unwrap();
    drop(service);
    let silent = hostile::listen(&address);
    let begun = Instant::now();
    for _ in 0..3 {
        caller.call(b"anybody?", SHORT).unwrap_err();
    }
    assert!(begun.elapsed() < Duration::from_secs(4), "a handshake may take 5 s by default");
    drop(silent);
}

/// More replies than one look takes are there when the session ends. What is readable may be they, before the end is
/// known: then the call is lost, as it may be, and the next round is looked at.
#[test]
fn a_call_begins_with_the_next_service_once_the_end_of_the_last_one_is_known() {
    assert!((0..10).any(|_| begins_with_the_next_service()), "each call was sent to a service that had gone");
}

/// Whether a call after the end of a service went to the next one.
fn begins_with_the_next_service() -> bool {
    let address = unique_address();
    let mut service = Service::listen(address.as_str()).unwrap();
    let mut caller = CallerOptions::new().calls_max(2000).connect(address.as_str()).unwrap();
    let mut tickets = Vec::new();
    for _ in 0..1500 {
        tickets.push(caller.send(b"x", DEADLINE).unwrap());
        service.receive_timeout(DEADLINE).unwrap().reply(b"y").unwrap();
    }
    drop(service);
    assert!(is_readable(&caller, DEADLINE), "there are replies, and its session hangs up");
    assert!(!caller.arm().unwrap());
    let server = echo(Service::listen(address.as_str()).unwrap());
    let (end, is_lost) = match caller.call(b"end", DEADLINE) {
        Err(CallError::Lost(_)) => (caller.call(b"end", DEADLINE), true),
        end => (end, false),
    };
    assert_eq!(&end.unwrap()[..], b"ended");
    drop(server.join().unwrap());
    for ticket in &mut tickets {
        assert_eq!(&caller.wait(ticket).unwrap().unwrap()[..], b"y");
    }
    assert_eq!((caller.stats().sessions, caller.stats().lost), (2, u64::from(is_lost)));
    !is_lost
}

/// Each try of a caller with patience has no more time than the call has left.
#[test]
fn tries_to_connect_again_end_with_the_call() {
    let address = unique_address();
    let service = Service::listen(address.as_str()).unwrap();
    let options = CallerOptions::new().patience(DEADLINE).deadline(Duration::from_millis(1500));
    let mut caller = options.connect(address.as_str()).unwrap();
    drop(service);
    let silent = hostile::listen(&address);
    // Its session has ended, which a call may be the first to see.
    let _ = caller.call(b"anybody?", SHORT);
    // A second try with all of its time would end after three seconds.
    undisturbed("a call with two seconds ends", Duration::from_millis(2800), || {
        let error = caller.call(b"anybody?", Duration::from_secs(2)).unwrap_err();
        assert!(matches!(error, CallError::NotConnected(_)), "{error:?}");
    });
    drop(silent);
}

#[test]
fn a_panic_while_a_request_is_filled_in_begins_no_call() {
    let (service, mut caller) = pair_with(ServiceOptions::new(), CallerOptions::new().calls_max(1));
    let server = echo(service);
    let panics = std::panic::AssertUnwindSafe(|| caller.send_with(8, DEADLINE, |_| panic!("as this test wants")));
    assert!(std::panic::catch_unwind(panics).is_err());
    assert_eq!((caller.stats().in_flight, caller.stats().sent), (0, 0));
    assert_eq!(&caller.call(b"end", DEADLINE).unwrap()[..], b"ended");
    drop(server.join().unwrap());
}

#[test]
fn a_ring_without_room_for_a_body_is_refused_and_the_smallest_one_takes_whole_reasons() {
    let (capacity, align) = (4096, 1024);
    let service = ServiceOptions::new().capacity(capacity).align(align).listen(unique_address());
    assert!(matches!(service, Err(Error::Invalid(why)) if why.contains("no room for calls")));
    let service = Service::listen(unique_address()).unwrap();
    let caller = CallerOptions::new().capacity(capacity).align(align).connect(service.address().clone());
    assert!(matches!(caller, Err(Error::Invalid(why)) if why.contains("no room for calls")));
    let (mut service, mut caller) = pair_with(ServiceOptions::new().capacity(4096).align(512), CallerOptions::new());
    let calls = std::thread::spawn(move || caller.call(b"hello", DEADLINE).unwrap_err());
    service.receive_timeout(DEADLINE).unwrap().refuse(&"no".repeat(2000)).unwrap();
    let CallError::Refused { cause: Cause::Program, reason } = calls.join().unwrap() else { panic!("not refused") };
    assert_eq!(reason, "no".repeat(256).into());
}

#[test]
fn patience_ends_with_the_call() {
    let (service, mut caller) = pair_with(ServiceOptions::new(), CallerOptions::new().patience(DEADLINE));
    drop(service);
    let begun = Instant::now();
    let error = caller.call(b"anybody?", SHORT).unwrap_err();
    // It may be sent just before the end is seen.
    assert!(matches!(error, CallError::NotConnected(_) | CallError::Lost(_)), "{error:?}");
    assert!(begun.elapsed() < DEADLINE / 2);
}

#[test]
fn the_end_of_a_caller_is_known_at_once() {
    let (mut service, mut caller) = pair();
    let ticket = caller.send(b"work", DEADLINE).unwrap();
    let request = service.receive_timeout(DEADLINE).unwrap();
    assert!(!request.is_cancelled());
    drop((caller, ticket));
    // Nobody looks but the service's own thread.
    wait_until("the service hears of it", || request.is_cancelled());
    assert_eq!(request.reply(b"done"), Err(ReplyError::Gone));
    assert_eq!(service.receive_timeout(SHORT).unwrap_err(), ReceiveError::TimedOut);
    assert_eq!((service.stats().callers, service.stats().joined, service.stats().evicted), (0, 1, 0));
}

#[test]
fn what_was_sent_before_a_caller_has_gone_is_received() {
    let (mut service, mut caller) = pair();
    let tickets: Vec<_> = (0..10_u8).map(|n| caller.send(&[n], DEADLINE).unwrap()).collect();
    drop((caller, tickets));
    for number in 0..10_u8 {
        assert_eq!(service.receive_timeout(DEADLINE).unwrap()[..], [number]);
    }
}

#[test]
fn callers_have_turns() {
    let address = unique_address();
    let mut service = ServiceOptions::new().turn_requests(2).listen(address.as_str()).unwrap();
    let mut callers = [(); 3].map(|()| Caller::connect(address.as_str()).unwrap());
    for caller in &mut callers {
        let _greeting = caller.send(b"hello", DEADLINE).unwrap();
        assert_eq!(&service.receive_timeout(DEADLINE).unwrap()[..], b"hello");
    }
    let [busy, others @ ..] = &mut callers;
    let _flood: Vec<_> = (0..100).map(|_| busy.send(b"busy", DEADLINE).unwrap()).collect();
    let _calls = others.each_mut().map(|caller| caller.send(b"rare", DEADLINE).unwrap());
    let first: Vec<_> = (0..8).map(|_| service.receive_timeout(DEADLINE).unwrap().to_vec()).collect();
    assert_eq!(first.iter().filter(|request| request[..] == *b"rare").count(), 2, "{first:?}");
}

#[test]
fn both_ends_can_wait_in_a_loop_of_their_own() {
    let (mut service, mut caller) = pair();
    // A caller that comes.
    while !service.arm().unwrap() {
        assert_eq!(service.try_receive().unwrap_err(), ReceiveError::Empty);
    }
    let mut ticket = caller.send(b"hello", DEADLINE).unwrap();
    let request = loop {
        match service.try_receive() {
            Ok(request) => break request,
            Err(ReceiveError::Empty) => assert!(!service.arm().unwrap() || is_readable(&service, DEADLINE)),
            Err(error) => panic!("{error:?}"),
        }
    };
    assert!(matches!(caller.try_wait(&mut ticket), Err(CallError::Empty)));
    assert!(caller.arm().unwrap() && !is_readable(&caller, Duration::ZERO));
    request.reply(b"hello").unwrap();
    assert!(is_readable(&caller, DEADLINE));
    assert!(caller.try_wait(&mut ticket).unwrap().is_some());
    // The end of the service is news, too.
    while !caller.arm().unwrap() {}
    drop(service);
    assert!(is_readable(&caller, DEADLINE));
}

#[test]
fn tickets_are_for_the_caller_that_gave_them_out() {
    let (service, mut caller) = pair();
    let mut stranger = Caller::connect(service.address()).unwrap();
    let mut ticket = caller.send(b"mine", DEADLINE).unwrap();
    let error = stranger.wait(&mut ticket).unwrap_err();
    assert!(matches!(error, CallError::ForeignTicket) && error.kind() == ErrorKind::Invalid, "{error:?}");
}

#[test]
fn an_interrupter_ends_the_waits_of_both_ends_and_loses_nothing() {
    let stop = Interrupter::new().unwrap();
    let (service, caller) =
        (ServiceOptions::new().interrupter(&stop), CallerOptions::new().interrupter(&stop).capacity(4096));
    let (mut service, mut caller) = pair_with(service, caller);
    let mut ticket = caller.send(b"slow", DEADLINE).unwrap();
    let request = service.receive_timeout(DEADLINE).unwrap();
    let second = caller.send(b"second", DEADLINE).unwrap();
    stop.interrupt();
    assert!(matches!(caller.wait(&mut ticket), Err(CallError::Interrupted)));
    // What is there comes all the same.
    assert_eq!(&service.receive_timeout(DEADLINE).unwrap()[..], b"second");
    drop(second);
    assert_eq!(service.receive().unwrap_err(), ReceiveError::Interrupted);
    stop.clear();
    request.reply(b"done").unwrap();
    assert_eq!(&caller.wait(&mut ticket).unwrap().unwrap()[..], b"done");
    // Also a wait for room.
    let _flood: Vec<_> = std::iter::from_fn(|| caller.try_send(&[0; 1000], DEADLINE).ok()).collect();
    stop.interrupt();
    assert!(matches!(caller.send(&[0; 1000], DEADLINE), Err(CallError::Interrupted)));
}

#[test]
fn requests_can_be_answered_on_other_threads() {
    let (mut service, mut caller) = pair();
    let mut tickets: Vec<_> = (0..100_u8).map(|n| caller.send(&[n], DEADLINE).unwrap()).collect();
    std::thread::scope(|scope| {
        for _ in 0..100 {
            let request = service.receive_timeout(DEADLINE).unwrap();
            scope.spawn(move || {
                let reply = [request[0] ^ 0xff];
                request.reply(&reply).unwrap();
            });
        }
    });
    for (number, ticket) in (0..100_u8).zip(&mut tickets) {
        assert_eq!(caller.wait(ticket).unwrap().unwrap()[..], [number ^ 0xff]);
    }
}

#[test]
fn a_caller_that_takes_no_replies_is_evicted_and_keeps_nobody_waiting() {
    let address = unique_address();
    let options = ServiceOptions::new().capacity(4096).reply_timeout(LONG);
    let mut service = options.listen(address.as_str()).unwrap();
    let [mut deaf, mut other] = [(); 2].map(|()| Caller::connect(address.as_str()).unwrap());
    let mut tickets: Vec<_> = (0..10).map(|_| deaf.send(b"deaf", DEADLINE).unwrap()).collect();
    let requests: Vec<_> = (0..10).map(|_| service.receive_timeout(DEADLINE).unwrap()).collect();
    // Only the first few fit: the rest waits, and nobody waits for it.
    let begun = Instant::now();
    requests.into_iter().for_each(|request| request.reply(&[0; 1000]).unwrap());
    assert!(begun.elapsed() < LONG, "a reply was waited for");
    let service = std::thread::spawn(move || {
        let mut took = None;
        loop {
            let request = service.receive_timeout(DEADLINE).unwrap();
            took = took.or_else(|| (service.stats().callers == 1).then(|| begun.elapsed()));
            request.reply(if took.is_some() { b"evicted" } else { b"served" }).unwrap();
            if let Some(took) = took {
                return (service, took);
            }
        }
    });
    while other.call(b"other", DEADLINE).unwrap()[..] != *b"evicted" {}
    let (service, took) = service.join().unwrap();
    assert!((LONG..DEADLINE).contains(&took), "{took:?}");
    assert_eq!(service.stats().evicted, 1);
    // What was in the ring is there still; what was not is lost.
    let outcomes: Vec<_> = tickets.iter_mut().map(|ticket| deaf.wait(ticket)).collect();
    assert!(outcomes[0].is_ok() && matches!(outcomes[9], Err(CallError::Lost(_))), "{outcomes:?}");
}

#[test]
fn a_caller_that_takes_its_replies_late_gets_all_of_them() {
    let (mut service, mut caller) = pair_with(ServiceOptions::new().capacity(4096), CallerOptions::new());
    let mut tickets: Vec<_> = (0..20_u8).map(|n| caller.send(&[n], DEADLINE).unwrap()).collect();
    let requests: Vec<_> = (0..20).map(|_| service.receive_timeout(DEADLINE).unwrap()).collect();
    for request in requests {
        let number = request[0];
        request.reply(&[number; 1000]).unwrap();
    }
    // As long as replies wait, nothing more is received of it.
    let mut again = caller.send(b"again", DEADLINE).unwrap();
    assert_eq!(service.receive_timeout(SHORT).unwrap_err(), ReceiveError::TimedOut);
    // Sends what waits, whenever there is room, and then hears the caller again.
    let service = echo(service);
    for (number, ticket) in (0..20_u8).zip(&mut tickets) {
        assert_eq!(caller.wait(ticket).unwrap().unwrap()[..], [number; 1000]);
    }
    assert_eq!(&caller.wait(&mut again).unwrap().unwrap()[..], b"again");
    assert_eq!(&caller.call(b"end", DEADLINE).unwrap()[..], b"ended");
    assert_eq!(service.join().unwrap().stats().evicted, 0);
}

#[test]
fn parts_wait_for_room_and_a_caller_that_makes_none_is_evicted() {
    let options = ServiceOptions::new().capacity(4096).reply_timeout(LONG);
    let (mut service, mut caller) = pair_with(options, CallerOptions::new());
    let mut ticket = caller.send(b"all", DEADLINE).unwrap();
    let request = service.receive_timeout(DEADLINE).unwrap();
    let sender = std::thread::spawn(move || {
        (0..1000).for_each(|_| request.reply_part(&[0; 1000]).unwrap());
        request
    });
    (0..1000).for_each(|_| assert_eq!(caller.wait(&mut ticket).unwrap().unwrap()[..], [0; 1000]));
    let request = sender.join().unwrap();
    let full = std::iter::repeat_with(|| request.try_reply_part(&[0; 1000])).find_map(Result::err).unwrap();
    assert_eq!(full, ReplyError::Full);
    assert_eq!(request.reply_part(&[0; 1000]), Err(ReplyError::Evicted));
    assert_eq!(request.reply(b""), Err(ReplyError::Gone));
}

#[test]
fn a_caller_has_so_many_requests_open_and_goes_on_when_one_is_answered() {
    let (mut service, mut caller) = pair_with(ServiceOptions::new().open_max(2), CallerOptions::new());
    let mut tickets: Vec<_> = (0..5_u8).map(|n| caller.send(&[n], DEADLINE).unwrap()).collect();
    let [first, second] = [(); 2].map(|()| service.receive_timeout(DEADLINE).unwrap());
    assert_eq!(service.receive_timeout(SHORT).unwrap_err(), ReceiveError::TimedOut);
    // Another caller is received from all the same.
    let mut other = Caller::connect(service.address()).unwrap();
    let other_ticket = other.send(b"other", DEADLINE).unwrap();
    assert_eq!(&service.receive_timeout(DEADLINE).unwrap()[..], b"other");
    let answered = std::thread::spawn(move || second.reply(b"second").unwrap());
    assert_eq!(service.receive_timeout(DEADLINE).unwrap()[..], [2]);
    answered.join().unwrap();
    assert_eq!(&caller.wait(&mut tickets[1]).unwrap().unwrap()[..], b"second");
    drop((first, other_ticket));
}

#[test]
fn replies_and_requests_are_aligned_as_they_were_asked_to_be() {
    let (mut service, mut caller) = pair_with(ServiceOptions::new().align(256), CallerOptions::new().align(64));
    for len in [0, 1, 1000] {
        let mut address = 0;
        let mut ticket = caller
            .send_with(len, DEADLINE, |bytes| {
                address = bytes.as_ptr() as usize;
                bytes.fill(3);
            })
            .unwrap();
        assert!(address.is_multiple_of(64));
        let request = service.receive_timeout(DEADLINE).unwrap();
        assert_eq!(request[..], vec![3; len]);
        request.reply_with(len, |bytes| assert!((bytes.as_ptr() as usize).is_multiple_of(256))).unwrap();
        assert_eq!(caller.wait(&mut ticket).unwrap().unwrap().len(), len);
    }
}

#[test]
fn the_counts_of_a_caller_that_has_gone_stay() {
    let (mut service, mut caller) = pair();
    let mut tickets: Vec<_> = (0..3).map(|_| caller.send(b"count me", DEADLINE).unwrap()).collect();
    let [replied, refused, dropped] = [(); 3].map(|()| service.receive_timeout(DEADLINE).unwrap());
    replied
        .reply_with(1, |bytes| {
            assert_eq!(service.stats().requests, 3, "asked while a reply is filled in");
            bytes.fill(1);
        })
        .unwrap();
    refused.refuse("no").unwrap();
    drop(dropped);
    let counts = |service: &Service| {
        let stats = service.stats();
        (stats.callers, stats.requests, stats.replies, stats.refusals, stats.dropped)
    };
    assert_eq!(counts(&service), (1, 3, 1, 1, 1));
    assert!(
        tickets.iter_mut().all(|ticket| matches!(caller.wait(ticket), Ok(Some(_)) | Err(CallError::Refused { .. })))
    );
    drop((tickets, caller));
    wait_until("the service has noticed", || {
        assert_eq!(service.try_receive().unwrap_err(), ReceiveError::Empty);
        service.stats().callers == 0
    });
    assert_eq!(counts(&service), (0, 3, 1, 1, 1));
}

#[test]
fn whether_a_request_is_given_up_can_be_asked_while_a_reply_is_filled_in() {
    let (mut service, mut caller) = pair();
    let tickets = [b"a", b"b"].map(|request| caller.send(request, DEADLINE).unwrap());
    let [first, second] = [(); 2].map(|()| service.receive_timeout(DEADLINE).unwrap());
    let [mut kept, given_up] = tickets;
    caller.cancel(given_up);
    assert_eq!(service.try_receive().unwrap_err(), ReceiveError::Empty);
    first.reply_with(1, |bytes| bytes.fill(second.is_cancelled().into())).unwrap();
    assert_eq!(caller.wait(&mut kept).unwrap().unwrap()[..], [1]);
}

#[test]
fn callers_and_services_leave_nothing_behind() {
    isolated("callers_and_services_leave_nothing_behind", || {
        let before = belongings();
        for round in 0..20 {
            let (mut service, mut caller) = pair();
            let mut ticket = caller.send(b"hello", DEADLINE).unwrap();
            let request = service.receive_timeout(DEADLINE).unwrap();
            match round % 4 {
                0 => drop((request, service, caller, ticket)),
                1 => {
                    drop((ticket, caller));
                    drop(request);
                }
                2 => {
                    drop(service);
                    assert!(matches!(caller.wait(&mut ticket), Err(CallError::Lost(_))));
                }
                _ => {
                    request.reply(b"hello").unwrap();
                    assert!(caller.wait(&mut ticket).unwrap().is_some());
                }
            }
        }
        wait_until("everything is closed", || belongings() == before);
    });
}

#[test]
fn a_plain_server_is_no_service_and_a_service_no_server() {
    let address = unique_address();
    let ticks = fdring::Producer::create("ticks").unwrap();
    let _server = fdring::Server::listen(address.as_str(), [&ticks]).unwrap();
    let error = Caller::connect(address.as_str()).unwrap_err();
    assert!(matches!(error, Error::Refused { refusal: fdring::errors::Refusal::Roles, .. }), "{error:?}");
    let (service, _caller) = pair();
    let error = fdring::Consumer::connect(service.address()).unwrap_err();
    assert!(matches!(error, Error::Refused { refusal: fdring::errors::Refusal::Roles, .. }), "{error:?}");
    assert_eq!(service.stats().refused, 1);
}

#[test]
fn values_are_compared_when_they_connect_and_checked_when_they_come() {
    let address = unique_address();
    let mut service = TypedService::<[u32; 2], bool>::listen(address.as_str()).unwrap();
    for error in [
        TypedCaller::<[u32; 3], bool>::connect(address.as_str()).unwrap_err(),
        TypedCaller::<[u32; 2], u8>::connect(address.as_str()).unwrap_err(),
        Caller::connect(address.as_str()).unwrap_err(),
    ] {
        let says = error.to_string();
        assert!(says.contains("8 bytes, aligned to 4") || says.contains("u8, 1 bytes, aligned to 1"), "{says}");
        assert!(!error.is_worth_retrying(), "{error:?}");
    }
    let mut caller = TypedCaller::<[u32; 2], bool>::connect(address.as_str()).unwrap();
    let mut tickets: Vec<_> = (0..3).map(|n| caller.send(&[n, 1], DEADLINE).unwrap()).collect();
    for number in 0..3 {
        let request = service.receive_timeout(DEADLINE).unwrap();
        assert_eq!(request.value(), Some([number, 1]));
        request.reply(&(number == 1)).unwrap();
    }
    let replies = tickets.iter_mut().map(|ticket| caller.wait(ticket).unwrap());
    assert!(replies.eq([false, true, false].map(Some)));
    // The lanes have these values, and what lies in them is checked all the same.
    let mut ticket = caller.untyped_mut().send(&[0; 7], DEADLINE).unwrap();
    let request = service.receive_timeout(DEADLINE).unwrap();
    assert_eq!(request.value(), None);
    request.refuse("no two numbers").unwrap();
    assert!(matches!(caller.wait(&mut ticket), Err(CallError::Refused { .. })));
    for reply in [&[2][..], &[0, 0], &[]] {
        let mut ticket = caller.send(&[0, 0], DEADLINE).unwrap();
        service.untyped_mut().receive_timeout(DEADLINE).unwrap().reply(reply).unwrap();
        let error = caller.wait(&mut ticket).unwrap_err();
        assert!(matches!(error, CallError::NoValue { size: 1, .. }) && error.may_have_run(), "{error:?}");
    }
}

#[test]
fn errors_show_their_sentence_and_their_variant() {
    common::shows(CallError::Empty, "Empty", std::io::ErrorKind::WouldBlock);
    common::shows(CallError::Lost(ReceiveError::PeerDead), "Lost", std::io::ErrorKind::BrokenPipe);
    common::shows(CallError::ForeignTicket, "ForeignTicket", std::io::ErrorKind::InvalidInput);
    common::shows(ReplyError::Evicted, "Evicted", std::io::ErrorKind::BrokenPipe);
    common::shows(ReplyError::Wait(9), "Wait", std::io::Error::from_raw_os_error(9).kind());
}

#[test]
fn a_service_is_told_until_when_a_caller_waits_and_never_later() {
    let (mut service, mut caller) = pair();
    // From a second on it is told to a tick of the kernel.
    for (millis, lag) in [(999, 0), (1000, 100), (1_000_000, 100)] {
        let (timeout, lag) = (Duration::from_millis(millis), Duration::from_millis(lag));
        // On a busy machine its time may be up before the service runs: then there is another.
        let (before, begun, mut ticket, after, request) = loop {
            let before = MonotonicTime::now().as_nanos() + timeout.as_nanos() as u64;
            let begun = Instant::now();
            let ticket = caller.send(b"work", timeout).unwrap();
            let after = MonotonicTime::now().as_nanos() + timeout.as_nanos() as u64;
            match service.receive_timeout(timeout) {
                Ok(request) => break (before, begun, ticket, after, request),
                Err(error) => assert_eq!(error, ReceiveError::TimedOut),
            }
        };
        let told = request.deadline().unwrap().as_nanos();
        // Both clocks are one, but for what their readings take.
        let slack = 1_000_000;
        assert!((before - lag.as_nanos() as u64 - slack..=after + slack).contains(&told), "{before} {told} {after}");
        if millis == 1000 {
            assert!(matches!(caller.wait(&mut ticket), Err(CallError::TimedOut)));
            assert!(begun.elapsed() >= timeout, "the caller waits for all of it");
        }
    }
    let ticket = caller.send(b"work", Duration::MAX).unwrap();
    assert_eq!(service.receive_timeout(DEADLINE).unwrap().deadline(), None);
    drop(ticket);
}
