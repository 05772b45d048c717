//! Request and reply between processes: services that are killed and started again, callers that die, and a checker in
//! each caller that knows what every call must bring.

mod common;
#[path = "common/peer.rs"]
mod peer;

use common::stopwatch::Stopwatch;
use common::{DEADLINE, belongings, isolated, role, unique_name, wait_until};
use fdring::call::{CallError, Caller, CallerOptions, Cause, Request, Service, ServiceOptions, Ticket};
use fdring::errors::ReceiveError;
use peer::{Peer, argument, is_told_within, say, told, wait_for_the_end};
use rustix::process::Signal;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// How long a call may take.
const TIME: Duration = Duration::from_secs(10);
/// How much later than its deadline a call may end on a machine that is busy.
const SLACK: Duration = Duration::from_secs(20);
/// The calls that one caller has in flight.
const WINDOW: usize = 8;
/// How soon the end of a process is known, by a stopwatch: a second is promised.
const SOON: Duration = Duration::from_secs(3);

fn unique_address() -> String {
    format!("@{}", unique_name())
}

/// In a process that was started to play a role: plays it, and says so.
fn plays_a_role() -> bool {
    match role().as_deref() {
        Some("service") => serve(),
        Some("caller") => call(),
        Some("silent") => {
            let mut caller = Caller::connect(argument()).unwrap();
            let _tickets: Vec<_> = (0..4).map(|number| caller.send(&payload(number), TIME).unwrap()).collect();
            say("called");
            wait_for_the_end();
        }
        _ => return false,
    }
    true
}

/// What call number `number` says: the number, and that number of further bytes.
fn payload(number: u64) -> Vec<u8> {
    let mut payload = number.to_le_bytes().to_vec();
    payload.resize(8 + (number % 97) as usize * 8, number as u8);
    payload
}

/// What part `part` of the answer to it says.
fn answer(number: u64, part: u64) -> Vec<u8> {
    [number.wrapping_mul(0x9e37_79b9), part].iter().flat_map(|word| word.to_le_bytes()).collect()
}

fn parts(number: u64) -> u64 {
    if number % 13 == 5 { 3 } else { 1 }
}

/// Answers a request as its number says: a reply, three, a refusal, or none.
fn respond(request: Request) -> Result<(), fdring::call::ReplyError> {
    let number = u64::from_le_bytes(request[..8].try_into().unwrap());
    assert_eq!(request[..], payload(number), "a request came in pieces");
    match number {
        _ if number % 7 == 3 => request.refuse(&format!("not {number}")),
        _ if number % 11 == 4 => {
            drop(request);
            Ok(())
        }
        _ => {
            (1..parts(number)).try_for_each(|part| request.reply_part(&answer(number, part)))?;
            request.reply(&answer(number, parts(number)))
        }
    }
}

fn serve() {
    let mut service = ServiceOptions::new().capacity(1 << 16).listen(argument()).unwrap();
    say("listening");
    for served in 1_u64.. {
        // A caller may die at any moment.
        let _ = respond(service.receive().unwrap());
        if served == 300 {
            say("busy");
        }
    }
}

/// How the calls of a process have ended.
#[derive(Debug, Default)]
struct Tally {
    answered: u64,
    lost: u64,
    unsent: u64,
}

impl Tally {
    /// Waits for the end of a call, and sees that it is one that the call may have.
    fn take(&mut self, caller: &mut Caller, number: u64, mut ticket: Ticket, begun: Instant) {
        let mut part = 0;
        loop {
            match caller.wait(&mut ticket) {
                Ok(Some(reply)) => {
                    part += 1;
                    assert_eq!(reply[..], answer(number, part), "the answer to another call");
                    assert_eq!(reply.is_last(), part == parts(number));
                }
                Ok(None) => {
                    assert_eq!(part, parts(number));
                    assert!(number % 7 != 3 && number % 11 != 4, "an answer that nobody gave");
                    self.answered += 1;
                    break;
                }
                Err(CallError::Refused { cause: Cause::Program, reason }) => {
                    assert!(number % 7 == 3 && *reason == format!("not {number}"), "{number}: {reason}");
                    self.answered += 1;
                    break;
                }
                Err(CallError::Refused { cause: Cause::Dropped, .. }) => {
                    assert!(number % 7 != 3 && number % 11 == 4, "{number} was dropped");
                    self.answered += 1;
                    break;
                }
                Err(CallError::Lost(_)) => {
                    self.lost += 1;
                    break;
                }
                Err(error) => panic!("{number}: {error:?}"),
            }
        }
        assert!(begun.elapsed() < TIME + SLACK, "{number} took {:?}", begun.elapsed());
    }
}

/// Calls until it is told to stop, and sees that every call ends as it must.
fn call() {
    let options = CallerOptions::new().patience(DEADLINE).capacity(1 << 16);
    let mut caller = options.connect(argument()).unwrap();
    say("connected");
    let (mut tally, mut flight, mut number) = (Tally::default(), VecDeque::new(), 0);
    while !is_told_within(Duration::ZERO) {
        while flight.len() < WINDOW {
            match caller.send(&payload(number), TIME) {
                Ok(ticket) => flight.push_back((number, ticket, Instant::now())),
                Err(CallError::NotConnected(_) | CallError::Full) => tally.unsent += 1,
                Err(error) => panic!("{error:?}"),
            }
            number += 1;
        }
        let (number, ticket, begun) = flight.pop_front().unwrap();
        tally.take(&mut caller, number, ticket, begun);
    }
    assert_eq!(told(), "stop");
    for (number, ticket, begun) in flight {
        tally.take(&mut caller, number, ticket, begun);
    }
    let stats = caller.stats();
    assert_eq!((stats.in_flight, stats.stray, stats.lost), (0, 0, tally.lost));
    let Tally { answered, lost, unsent } = tally;
    say(&format!("{answered} {lost} {unsent} {}", stats.sessions));
}

/// Stops a caller; how many of its calls were answered, lost and not sent, and how many sessions it had.
fn stop(mut caller: Peer) -> [u64; 4] {
    caller.tell("stop");
    let counts: Vec<u64> = caller.heard().split(' ').map(|count| count.parse().unwrap()).collect();
    caller.finish();
    counts.try_into().unwrap()
}

/// Stops a process, and waits until all its threads are.
fn stop_process(process: &Peer) {
    process.signal(Signal::STOP);
    let tasks = format!("/proc/{}/task", process.pid());
    wait_until("all threads have stopped", || {
        std::fs::read_dir(&tasks).unwrap().all(|task| {
            let status = std::fs::read_to_string(task.unwrap().path().join("status"));
            // A thread may end meanwhile.
            status.map_or(true, |status| status.contains("State:\tT"))
        })
    });
}

#[test]
fn a_service_that_is_killed_and_comes_back_answers_each_call_or_fails_it() {
    if plays_a_role() {
        return;
    }
    const KILLS: u64 = 4;
    let test = "a_service_that_is_killed_and_comes_back_answers_each_call_or_fails_it";
    let address = unique_address();
    let start = || {
        let mut service = Peer::start(test, "service", &address);
        service.expect("listening");
        service
    };
    let mut service = start();
    let mut callers = [(); 4].map(|()| Peer::start(test, "caller", &address));
    callers.iter_mut().for_each(|caller| caller.expect("connected"));
    for _ in 0..KILLS {
        service.expect("busy");
        service.kill();
        service = start();
    }
    service.expect("busy");
    for caller in callers {
        let [answered, lost, unsent, sessions] = stop(caller);
        assert!(answered > 0 && lost <= KILLS * WINDOW as u64, "{answered} answered, {lost} lost");
        assert!((1..=KILLS + 1).contains(&sessions) && unsent == 0, "{sessions} sessions, {unsent} not sent");
    }
}

#[test]
fn calls_in_flight_fail_at_once_when_their_service_dies() {
    if plays_a_role() {
        return;
    }
    let test = "calls_in_flight_fail_at_once_when_their_service_dies";
    let address = unique_address();
    let mut service = Peer::start(test, "service", &address);
    service.expect("listening");
    let mut caller = Caller::connect(address.as_str()).unwrap();
    // Stopped, it takes nothing.
    stop_process(&service);
    let mut tickets: Vec<_> = (0..3).map(|number| caller.send(&payload(number), DEADLINE).unwrap()).collect();
    let killer = std::thread::spawn(move || {
        service.kill();
        Stopwatch::start()
    });
    let errors: Vec<_> = tickets.iter_mut().map(|ticket| caller.wait(ticket).unwrap_err()).collect();
    assert!(killer.join().unwrap().elapsed() < SOON);
    // One that dies on a busy machine may hang up long before it has ended.
    let is_death = |why: &ReceiveError| matches!(why, ReceiveError::PeerDead | ReceiveError::HungUp);
    let are_lost = errors.iter().all(|error| matches!(error, CallError::Lost(why) if is_death(why)));
    assert!(are_lost && errors.iter().all(CallError::may_have_run), "{errors:?}");
    let error = caller.call(b"anybody?", TIME).unwrap_err();
    assert!(matches!(error, CallError::NotConnected(_)) && !error.may_have_run(), "{error:?}");
}

#[test]
fn callers_that_are_killed_are_known_at_once_and_leave_nothing_behind() {
    if plays_a_role() {
        return;
    }
    let test = "callers_that_are_killed_are_known_at_once_and_leave_nothing_behind";
    isolated(test, || {
        let before = belongings();
        let address = unique_address();
        let mut service = Service::listen(address.as_str()).unwrap();
        for _ in 0..5 {
            let mut doomed = Peer::start(test, "silent", &address);
            doomed.expect("called");
            let requests: Vec<_> = (0..4).map(|_| service.receive_timeout(DEADLINE).unwrap()).collect();
            assert!(requests.iter().all(|request| request.caller().pid == Some(doomed.pid())));
            assert!(!requests.iter().any(Request::is_cancelled));
            doomed.kill();
            let killed = Stopwatch::start();
            wait_until("all are cancelled", || requests.iter().all(Request::is_cancelled));
            assert!(killed.elapsed() < SOON, "{:?}", killed.elapsed());
            requests.into_iter().for_each(|request| assert!(respond(request).is_err()));
        }
        wait_until("all have gone", || {
            assert_eq!(service.try_receive().unwrap_err(), ReceiveError::Empty);
            service.stats().callers == 0
        });
        drop(service);
        wait_until("everything is closed", || belongings() == before);
    });
}

#[test]
fn a_caller_that_is_stopped_keeps_no_other_waiting() {
    if plays_a_role() {
        return;
    }
    let test = "a_caller_that_is_stopped_keeps_no_other_waiting";
    let address = unique_address();
    let service = ServiceOptions::new().capacity(1 << 12).reply_timeout(DEADLINE).listen(address.as_str());
    let mut service = service.unwrap();
    let mut stopped = Peer::start(test, "caller", &address);
    stopped.expect("connected");
    let mut answered = 0;
    while answered < 100 {
        respond(service.receive_timeout(DEADLINE).unwrap()).unwrap();
        answered += 1;
    }
    stop_process(&stopped);
    let mut other = Caller::connect(address.as_str()).unwrap();
    for number in 0..200 {
        let mut ticket = other.send(&payload(number), DEADLINE).unwrap();
        let is_done = |service: &mut Service| {
            let request = service.receive_timeout(DEADLINE).unwrap();
            let is_mine = request.caller().pid == Some(std::process::id());
            respond(request).unwrap();
            is_mine
        };
        while !is_done(&mut service) {}
        let end = std::iter::from_fn(|| caller_step(&mut other, &mut ticket)).count();
        assert!(end >= 1);
    }
    stopped.signal(Signal::CONT);
    stopped.tell("stop");
    let server = std::thread::spawn(move || {
        while service.stats().callers == 2 {
            match service.receive_timeout(Duration::from_millis(10)) {
                Ok(request) => _ = respond(request),
                Err(error) => assert_eq!(error, ReceiveError::TimedOut),
            }
        }
        service
    });
    let counts: Vec<u64> = stopped.heard().split(' ').map(|count| count.parse().unwrap()).collect();
    assert_eq!(counts[1..], [0, 0, 1], "nothing is lost");
    stopped.finish();
    assert_eq!(server.join().unwrap().stats().evicted, 0);
}

/// One answer of a call, of any kind; `None` after the last.
fn caller_step(caller: &mut Caller, ticket: &mut Ticket) -> Option<()> {
    match caller.wait(ticket) {
        Ok(Some(_)) | Err(CallError::Refused { .. }) => Some(()),
        Ok(None) => None,
        Err(error) => panic!("{error:?}"),
    }
}

/// A kill at each step of either end. The process that is killed kills itself, at the point that its environment names
/// (`src/crash.rs`).
#[cfg(feature = "crash-points")]
mod kills {
    use super::*;

    /// The points that a service comes past: while it begins to listen, takes a caller in, and answers.
    const SERVICE_POINTS: [&str; 17] = [
        "server-before-bind",
        "server-listening",
        "steward-accepted",
        "steward-hello-heard",
        "steward-seat-made",
        "steward-hello-sent",
        "steward-offer-sent",
        "session-offer-received",
        "steward-attach-heard",
        "steward-joined",
        "steward-attached-sent",
        "session-attach-sent",
        "session-attached-received",
        "consumer-record-found",
        "producer-before-header",
        "producer-before-publication",
        "producer-after-publication",
    ];

    /// Those that a caller comes past.
    const CALLER_POINTS: [&str; 13] = [
        "session-hello-sent",
        "steward-hello-heard",
        "steward-offer-sent",
        "session-offer-received",
        "steward-attach-heard",
        "steward-joined",
        "steward-attached-sent",
        "session-attach-sent",
        "session-attached-received",
        "consumer-record-found",
        "producer-before-header",
        "producer-before-publication",
        "producer-after-publication",
    ];

    #[test]
    fn a_service_that_dies_at_any_step_fails_its_calls_and_its_successor_answers() {
        if plays_a_role() {
            return;
        }
        let test = "kills::a_service_that_dies_at_any_step_fails_its_calls_and_its_successor_answers";
        for point in SERVICE_POINTS {
            let address = unique_address();
            let mut doomed = Peer::start_with(test, "service", &address, Some(point));
            let calls = std::thread::spawn({
                let address = address.clone();
                move || {
                    let options = CallerOptions::new().patience(DEADLINE);
                    let mut caller = options.connect(address.as_str()).unwrap();
                    let mut tally = Tally::default();
                    for number in 0..50 {
                        let begun = Instant::now();
                        match caller.send(&payload(number), DEADLINE) {
                            Ok(ticket) => tally.take(&mut caller, number, ticket, begun),
                            Err(error) => panic!("{error:?}"),
                        }
                    }
                    tally
                }
            });
            doomed.dies();
            let mut successor = Peer::start(test, "service", &address);
            successor.expect("listening");
            let Tally { answered, lost, .. } = calls.join().unwrap();
            assert!(lost <= 1 && answered + lost == 50, "{point}: {answered} answered, {lost} lost");
            successor.kill();
        }
    }

    #[test]
    fn a_caller_that_dies_at_any_step_is_forgotten_and_no_other_notices() {
        if plays_a_role() {
            return;
        }
        let test = "kills::a_caller_that_dies_at_any_step_is_forgotten_and_no_other_notices";
        isolated(test, || {
            let before = belongings();
            let address = unique_address();
            let mut service = Service::listen(address.as_str()).unwrap();
            let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
            let server = std::thread::spawn({
                let stop = std::sync::Arc::clone(&stop);
                move || {
                    while !stop.load(std::sync::atomic::Ordering::Relaxed) || service.stats().callers != 0 {
                        match service.receive_timeout(Duration::from_millis(10)) {
                            Ok(request) => _ = respond(request),
                            Err(error) => assert_eq!(error, ReceiveError::TimedOut),
                        }
                    }
                    service
                }
            });
            let mut honest = Caller::connect(address.as_str()).unwrap();
            let (mut tally, mut number) = (Tally::default(), 0);
            for point in CALLER_POINTS {
                let mut doomed = Peer::start_with(test, "caller", &address, Some(point));
                doomed.dies();
                for _ in 0..20 {
                    let ticket = honest.send(&payload(number), TIME).unwrap();
                    tally.take(&mut honest, number, ticket, Instant::now());
                    number += 1;
                }
            }
            assert_eq!((tally.answered, tally.lost), (20 * CALLER_POINTS.len() as u64, 0));
            drop(honest);
            stop.store(true, std::sync::atomic::Ordering::Relaxed);
            drop(server.join().unwrap());
            wait_until("everything is closed", || belongings() == before);
        });
    }
}
