//! Callers and services in tasks: each call is answered once wherever a future is dropped, deadlines need no timer of
//! the runtime, and a service that is gone keeps no other task waiting.

mod common;
#[path = "common/tasks.rs"]
mod tasks;

use common::{DEADLINE, unique_name, wait_until_thread_has_slept_for};
use fdring::call::{
    CallError, Caller, CallerOptions, Service, ServiceOptions, Ticket, TypedCaller, TypedRequest, TypedService,
};
use fdring::tokio::Async;
use fdring::typed::Layout;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};
use tasks::{once, run, runtimes};
use tokio::runtime::Builder;

const CALLS: u64 = 2000;
/// A call that nobody answers is not waited for longer.
const SHORT: Duration = Duration::from_millis(20);

fn unique_address() -> String {
    format!("@{}", unique_name())
}

fn number_of(bytes: &[u8]) -> u64 {
    u64::from_le_bytes(bytes[..8].try_into().unwrap())
}

/// Answers each request with its bytes, sometimes late, until one says so. Returns their numbers in order.
fn echo(mut service: Service) -> std::thread::JoinHandle<Vec<u64>> {
    std::thread::spawn(move || {
        let mut numbers = Vec::new();
        loop {
            let request = service.receive_timeout(DEADLINE).unwrap();
            if request.is_empty() {
                request.reply(b"ended").unwrap();
                return numbers;
            }
            numbers.push(number_of(&request));
            (0..numbers.len() * numbers.len() % 3000).for_each(|_| std::hint::spin_loop());
            let reply = request.to_vec();
            request.reply(&reply).unwrap();
        }
    })
}

/// Sends a request by futures that are dropped before one has an outcome. Counts these.
async fn insist(caller: &mut Async<Caller>, payload: &[u8], dropped: &mut u64) -> Ticket {
    for round in 0_u64.. {
        let sent = match round % 3 {
            0 => once(caller.send(payload, DEADLINE)).await,
            1 => tokio::select! {
                biased;
                sent = caller.send(payload, DEADLINE) => Some(sent),
                () = tokio::task::yield_now() => None,
            },
            _ => tokio::time::timeout(Duration::from_micros(200), caller.send(payload, DEADLINE)).await.ok(),
        };
        match sent {
            Some(ticket) => return ticket.unwrap(),
            None => *dropped += 1,
        }
    }
    unreachable!("it is sent sooner or later")
}

#[test]
fn each_call_is_answered_once_wherever_a_future_is_dropped() {
    for runtime in runtimes() {
        let address = unique_address();
        // Both rings are full again and again.
        let service = ServiceOptions::new().capacity(4096).listen(address.as_str()).unwrap();
        let service = echo(service);
        let caller = CallerOptions::new().capacity(4096).connect(address.as_str()).unwrap();
        let (dropped, given_up) = run(&runtime, async move {
            let mut caller = Async::new(caller).unwrap();
            let (mut dropped, mut given_up) = (0, 0);
            let mut tickets = std::collections::VecDeque::new();
            for number in 0..CALLS {
                let payload = [&number.to_le_bytes()[..], &[7; 400]].concat();
                if number % 50 == 0 {
                    // Given up, if it does not come at once.
                    given_up += u64::from(once(caller.call(&payload, DEADLINE)).await.is_none());
                    continue;
                }
                tickets.push_back((number, insist(&mut caller, &payload, &mut dropped).await));
                while tickets.len() > (number % 64) as usize {
                    let (expected, mut ticket) = tickets.pop_front().unwrap();
                    let reply = loop {
                        match once(caller.wait(&mut ticket)).await {
                            Some(reply) => break reply.unwrap().unwrap(),
                            None => dropped += 1,
                        }
                        tokio::task::yield_now().await;
                    };
                    assert_eq!((number_of(&reply), reply.len()), (expected, payload.len()));
                    assert!(caller.wait(&mut ticket).await.unwrap().is_none());
                }
            }
            for (expected, mut ticket) in tickets {
                assert_eq!(number_of(&caller.wait(&mut ticket).await.unwrap().unwrap()), expected);
            }
            assert_eq!(&caller.call(b"", DEADLINE).await.unwrap()[..], b"ended");
            let stats = caller.get_ref().stats();
            assert_eq!((stats.in_flight, stats.sessions, stats.lost, stats.timed_out), (0, 1, 0, 0), "{stats:?}");
            (dropped, given_up)
        });
        let mut numbers = service.join().unwrap();
        assert!(numbers.is_sorted_by(|one, next| one < next), "none was sent twice");
        numbers.retain(|number| number % 50 != 0);
        assert_eq!(numbers.len() as u64, CALLS - CALLS / 50, "none is missing");
        assert!(dropped > 100 && given_up > 0, "{dropped} futures were dropped, {given_up} calls given up");
    }
}

#[test]
fn a_service_in_a_task_receives_each_request_once_wherever_a_future_is_dropped() {
    for runtime in runtimes() {
        let address = unique_address();
        let service = Service::listen(address.as_str()).unwrap();
        let caller = std::thread::spawn(move || {
            let mut caller = Caller::connect(address.as_str()).unwrap();
            for number in 0..CALLS {
                let reply = caller.call(&number.to_le_bytes(), DEADLINE).unwrap();
                assert_eq!(number_of(&reply), number);
                // The service finds nothing then, and drops its future two times of three.
                if number % 10 == 0 {
                    std::thread::park_timeout(Duration::from_micros(300));
                }
            }
            caller.call(b"", DEADLINE).unwrap();
        });
        let dropped = run(&runtime, async move {
            let mut service = Async::new(service).unwrap();
            let (mut dropped, mut expected) = (0_u64, 0);
            for round in 0_u64.. {
                let request = match round % 3 {
                    0 => once(service.receive()).await,
                    1 => tokio::select! {
                        request = service.receive() => Some(request),
                        () = tokio::time::sleep(Duration::from_micros(round % 200)) => None,
                    },
                    _ => Some(service.receive().await),
                };
                let Some(request) = request else {
                    dropped += 1;
                    continue;
                };
                let request = request.unwrap();
                if request.is_empty() {
                    request.reply(b"").unwrap();
                    break;
                }
                assert_eq!(number_of(&request), expected);
                expected += 1;
                let reply = request.to_vec();
                request.reply(&reply).unwrap();
            }
            assert_eq!((expected, service.get_ref().stats().requests), (CALLS, CALLS + 1));
            dropped
        });
        assert!(dropped > 100, "only {dropped} futures were dropped");
        caller.join().unwrap();
    }
}

/// Both ends in tasks of one runtime: each future is dropped at its first wait, until one is done. Now and then either
/// end waits until the other has dropped one: how often they would by themselves depends on the threads' pace.
#[test]
fn each_value_is_answered_once_wherever_a_future_of_either_end_is_dropped() {
    type Request = TypedRequest<[u64; 8], u64>;
    async fn next(service: &mut Async<TypedService<[u64; 8], u64>>, dropped: &AtomicU64) -> Request {
        loop {
            match once(service.receive()).await {
                Some(request) => return request.unwrap(),
                None => dropped.fetch_add(1, Relaxed),
            };
            tokio::task::yield_now().await;
        }
    }
    async fn until_one_more(dropped: &AtomicU64) {
        let before = dropped.load(Relaxed);
        while dropped.load(Relaxed) == before {
            tokio::task::yield_now().await;
        }
    }
    let layouts = [Layout::of::<[u64; 8]>(), Layout::of::<u64>()];
    for runtime in runtimes() {
        let address = unique_address();
        let options = ServiceOptions::new().capacity(4096).values(layouts[0], layouts[1]);
        let service = TypedService::new(options.listen(address.as_str()).unwrap());
        let options = CallerOptions::new().capacity(4096).values(layouts[0], layouts[1]);
        let caller = TypedCaller::<[u64; 8], u64>::new(options.connect(address.as_str()).unwrap());
        let dropped = run(&runtime, async move {
            let (mut service, mut caller) = (Async::new(service).unwrap(), Async::new(caller).unwrap());
            let dropped = Arc::new([AtomicU64::new(0), AtomicU64::new(0)]);
            let both = Arc::clone(&dropped);
            let serving = tokio::spawn(async move {
                let [by_caller, by_service] = &*both;
                for expected in 0..CALLS {
                    let request = next(&mut service, by_service).await;
                    if expected % 64 == 32 {
                        // The caller waits for this answer, before it has sent 64 more at the latest.
                        until_one_more(by_caller).await;
                    }
                    let value = request.value().unwrap();
                    assert_eq!(value, [expected; 8], "none is missing, and none comes twice");
                    request.reply_part(&value[0]).unwrap();
                    request.reply(&(value[0] + 1)).unwrap();
                }
                assert_eq!(service.get_ref().stats().requests, CALLS);
                next(&mut service, by_service).await.refuse("enough").unwrap();
            });
            let ([by_caller, by_service], mut tickets) = (&*dropped, std::collections::VecDeque::new());
            for number in 0..CALLS {
                let ticket = loop {
                    match once(caller.send(&[number; 8], DEADLINE)).await {
                        Some(ticket) => break ticket.unwrap(),
                        None => by_caller.fetch_add(1, Relaxed),
                    };
                    tokio::task::yield_now().await;
                };
                tickets.push_back((number, ticket));
                while tickets.len() > (number % 64) as usize || number + 1 == CALLS && !tickets.is_empty() {
                    let (number, mut ticket) = tickets.pop_front().unwrap();
                    for expected in [Some(number), Some(number + 1), None] {
                        let value = loop {
                            match once(caller.wait(&mut ticket)).await {
                                Some(value) => break value.unwrap(),
                                None => by_caller.fetch_add(1, Relaxed),
                            };
                            tokio::task::yield_now().await;
                        };
                        assert_eq!(value, expected);
                    }
                }
                if number % 64 == 0 {
                    // All are answered, and the service waits for the next one.
                    until_one_more(by_service).await;
                }
            }
            let refused = caller.call(&[0; 8], DEADLINE).await.unwrap_err();
            assert!(matches!(refused, CallError::Refused { .. }), "{refused:?}");
            let stats = caller.get_ref().stats();
            assert_eq!((stats.in_flight, stats.sessions, stats.lost, stats.stray), (0, 1, 0, 0), "{stats:?}");
            serving.await.unwrap();
            dropped.each_ref().map(|dropped| dropped.load(Relaxed))
        });
        assert!(dropped.iter().all(|dropped| *dropped > 10), "{dropped:?} futures were dropped");
    }
}

#[test]
fn values_are_compared_and_checked_in_tasks_too() {
    let [runtime, _] = runtimes();
    let address = unique_address();
    runtime.block_on(async {
        let mut service = Async::new(TypedService::<u32, u8>::listen(address.as_str()).unwrap()).unwrap();
        assert!(Async::<TypedCaller<u64, u8>>::connect(address.as_str()).await.is_err());
        assert!(Async::<TypedCaller<u32, u64>>::connect(address.as_str()).await.is_err());
        drop(once(Async::<TypedCaller<u32, u8>>::connect(address.as_str())).await);
        let options = CallerOptions::new().values(Layout::of::<u32>(), Layout::of::<u8>());
        // The same layout, and not every byte is one of its values.
        let caller = TypedCaller::<u32, bool>::new(options.connect(address.as_str()).unwrap());
        let mut caller = Async::new(caller).unwrap();
        let (reply, ()) = tokio::join!(caller.call(&7, DEADLINE), async {
            let request = service.receive().await.unwrap();
            assert_eq!(request.value(), Some(7));
            request.reply(&2).unwrap();
        });
        assert!(matches!(reply, Err(CallError::NoValue { len: 1, size: 1 })), "{reply:?}");
    });
}

#[test]
fn deadlines_need_no_timer_of_the_runtime() {
    let runtime = Builder::new_current_thread().enable_io().build().unwrap();
    let address = unique_address();
    let service = Service::listen(address.as_str()).unwrap();
    runtime.block_on(async {
        let caller = CallerOptions::new().capacity(4096).connect(address.as_str()).unwrap();
        let mut caller = Async::new(caller).unwrap();
        let begun = Instant::now();
        assert!(matches!(caller.call(b"nobody answers", SHORT).await, Err(CallError::TimedOut)));
        assert!((SHORT..DEADLINE).contains(&begun.elapsed()));
        let mut tickets = Vec::new();
        let begun = Instant::now();
        let error = loop {
            match caller.send(&[0; 1000], SHORT).await {
                Ok(ticket) => tickets.push(ticket),
                Err(error) => break error,
            }
        };
        assert!(matches!(error, CallError::Full) && !error.may_have_run(), "{error:?}");
        assert!((SHORT..DEADLINE).contains(&begun.elapsed()) && !tickets.is_empty());
    });
    drop(service);
}

/// Nothing but the room can wake it: no reply comes, and its second looks are over.
#[test]
fn a_task_that_waits_for_room_is_woken_by_a_service_that_takes_requests() {
    let address = unique_address();
    let mut service = Service::listen(address.as_str()).unwrap();
    let (tell, told) = std::sync::mpsc::channel();
    let waits = std::thread::spawn(move || {
        let runtime = Builder::new_current_thread().enable_io().build().unwrap();
        runtime.block_on(async {
            let caller = CallerOptions::new().capacity(4096).connect(address.as_str()).unwrap();
            let mut caller = Async::new(caller).unwrap();
            let mut tickets = Vec::new();
            while let Some(ticket) = once(caller.send(&[0; 1000], 4 * DEADLINE)).await {
                tickets.push(ticket.unwrap());
            }
            tell.send((rustix::thread::gettid(), tickets.len())).unwrap();
            tickets.push(caller.send(&[1; 1000], 4 * DEADLINE).await.unwrap());
            (caller.into_inner(), tickets)
        })
    });
    let (thread, sent) = told.recv_timeout(DEADLINE).unwrap();
    wait_until_thread_has_slept_for(thread, 5 * SHORT);
    let taken: Vec<_> = (0..sent).map(|_| service.receive_timeout(DEADLINE).unwrap()).collect();
    assert_eq!(&service.receive_timeout(DEADLINE).expect("the task was woken")[..], &[1; 1000]);
    drop((waits.join().unwrap(), taken));
}

#[test]
fn what_a_task_no_longer_waits_for_makes_no_descriptor_readable() {
    let [runtime, _] = runtimes();
    let address = unique_address();
    let mut service = Service::listen(address.as_str()).unwrap();
    let (mut caller, tickets) = runtime.block_on(async {
        let caller = CallerOptions::new().capacity(4096).connect(address.as_str()).unwrap();
        let mut caller = Async::new(caller).unwrap();
        let mut tickets = Vec::new();
        while let Some(ticket) = once(caller.send(&[0; 1000], DEADLINE)).await {
            tickets.push(ticket.unwrap());
        }
        // On a busy machine its time may be up at once.
        while let Some(sent) = once(caller.send(&[0; 1000], SHORT)).await {
            assert!(matches!(sent, Err(CallError::Full)));
        }
        (caller.into_inner(), tickets)
    });
    assert!(caller.arm().unwrap());
    // There is room then, and later the deadline passes, for which nobody waits.
    let requests: Vec<_> = tickets.iter().map(|_| service.receive_timeout(DEADLINE).unwrap()).collect();
    assert!(matches!(service.receive_timeout(SHORT), Err(fdring::errors::ReceiveError::TimedOut)));
    let is_readable = |caller: &Caller, within| {
        poll(&mut [PollFd::new(caller, PollFlags::IN)], Some(&Timespec::try_from(within).unwrap())).unwrap() != 0
    };
    // It may be for a second look, once, of a consumer that its producer's barrier may have left out.
    let mut looks = 0;
    while is_readable(&caller, 2 * SHORT) {
        looks += 1;
        assert!(looks <= 1 && caller.arm().unwrap(), "readable {looks} times, and nothing came");
    }
    requests.into_iter().for_each(|request| request.reply(b"").unwrap());
    assert!(is_readable(&caller, DEADLINE), "replies do");
    drop(tickets);
}

#[test]
fn a_service_that_is_gone_keeps_no_other_task_waiting_and_is_found_again() {
    for runtime in runtimes() {
        let address = unique_address();
        let service = Service::listen(address.as_str()).unwrap();
        run(&runtime, async move {
            let caller = CallerOptions::new().patience(DEADLINE).connect(address.as_str()).unwrap();
            let mut caller = Async::new(caller).unwrap();
            let mut lost = caller.send(b"lost", DEADLINE).await.unwrap();
            drop(service);
            assert!(matches!(caller.wait(&mut lost).await, Err(CallError::Lost(_))));
            let call = tokio::spawn(async move {
                // One try is dropped while it connects. Its thread goes on for a second at most.
                let dropped = caller.call(b"dropped", Duration::from_secs(1));
                let _ = tokio::time::timeout(Duration::from_millis(5), dropped).await;
                let reply = caller.call(b"found", DEADLINE).await.unwrap();
                (reply.to_vec(), caller.get_ref().stats().sessions)
            });
            // This task runs, on the same thread if there is but one.
            let begun = Instant::now();
            tokio::time::sleep(SHORT).await;
            assert!(begun.elapsed() < DEADLINE / 2 && !call.is_finished());
            let mut service = Async::new(Service::listen(address.as_str()).unwrap()).unwrap();
            loop {
                let request = service.receive().await.unwrap();
                let is_last = request[..] == *b"found";
                let reply = request.to_vec();
                let _ = request.reply(&reply);
                if is_last {
                    break;
                }
            }
            assert_eq!(call.await.unwrap(), (b"found".to_vec(), 2));
        });
    }
}

#[test]
fn a_task_connects_on_a_thread_that_may_wait() {
    let [runtime, _] = runtimes();
    let address = unique_address();
    let service = echo(Service::listen(address.as_str()).unwrap());
    runtime.block_on(async {
        drop(once(Async::<Caller>::connect(address.as_str())).await);
        let mut caller = Async::<Caller>::connect(address.as_str()).await.unwrap();
        assert_eq!(&caller.call(b"", DEADLINE).await.unwrap()[..], b"ended");
        assert!(Async::<Caller>::connect(unique_address().as_str()).await.is_err());
    });
    service.join().unwrap();
}

#[test]
fn a_service_in_a_task_evicts_a_caller_that_takes_no_replies_in_time() {
    for runtime in runtimes() {
        let address = unique_address();
        // Longer than a busy machine keeps this thread from running.
        let options = ServiceOptions::new().capacity(4096).reply_timeout(Duration::from_secs(2));
        let service = options.listen(address.as_str()).unwrap();
        let mut caller = Caller::connect(address.as_str()).unwrap();
        let tickets: Vec<_> = (0..7).map(|_| caller.send(b"much", DEADLINE).unwrap()).collect();
        let evicted = run(&runtime, async move {
            let mut service = Async::new(service).unwrap();
            let mut requests = Vec::new();
            while requests.len() < 7 {
                requests.push(service.receive().await.unwrap());
            }
            let last = requests.pop().unwrap();
            // Three fit into the ring, and the others wait.
            requests.into_iter().for_each(|request| request.reply(&[0; 1000]).unwrap());
            // Another call only after the eviction, or too late.
            let other = std::thread::spawn(move || {
                let begun = Instant::now();
                while !last.is_cancelled() && begun.elapsed() < DEADLINE {
                    std::thread::park_timeout(Duration::from_millis(1));
                }
                let is_cancelled = last.is_cancelled();
                Caller::connect(address.as_str()).unwrap().call(b"other", DEADLINE).unwrap();
                is_cancelled
            });
            let request = service.receive().await.unwrap();
            assert_eq!((&request[..], service.get_ref().stats().evicted), (&b"other"[..], 1));
            request.reply(b"").unwrap();
            other.join().unwrap()
        });
        assert!(evicted, "nothing woke the service for it");
        drop(tickets);
    }
}

#[test]
fn a_call_keeps_its_deadline_while_no_thread_is_free_to_connect() {
    let runtime = Builder::new_current_thread().max_blocking_threads(1).enable_all().build().unwrap();
    let address = unique_address();
    let service = Service::listen(address.as_str()).unwrap();
    let caller = Caller::connect(address.as_str()).unwrap();
    let (frees, occupied) = std::sync::mpsc::channel::<()>();
    runtime.block_on(async {
        let mut caller = Async::new(caller).unwrap();
        let mut lost = caller.send(b"lost", DEADLINE).await.unwrap();
        drop(service);
        assert!(matches!(caller.wait(&mut lost).await, Err(CallError::Lost(_))));
        let occupant = tokio::task::spawn_blocking(move || occupied.recv());
        let begun = Instant::now();
        let called = tokio::time::timeout(DEADLINE, caller.call(b"in vain", SHORT)).await;
        let error = called.expect("a call without an end").unwrap_err();
        assert!(matches!(&error, CallError::NotConnected(fdring::Error::TimedOut { .. })), "{error:?}");
        assert!((SHORT..DEADLINE).contains(&begun.elapsed()) && !error.may_have_run());
        // Once one is free, it connects.
        let service = echo(Service::listen(address.as_str()).unwrap());
        drop(frees);
        occupant.await.unwrap().unwrap_err();
        assert_eq!(&caller.call(b"", DEADLINE).await.unwrap()[..], b"ended");
        assert_eq!(service.join().unwrap(), [0; 0]);
        assert_eq!(caller.get_ref().stats().sessions, 2);
    });
}

#[test]
fn a_flood_that_is_no_request_leaves_no_service_asleep() {
    for runtime in runtimes() {
        let address = unique_address();
        let service = Service::listen(address.as_str()).unwrap();
        let mut caller = CallerOptions::new().capacity(1 << 20).connect(address.as_str()).unwrap();
        // Each is given up, too.
        (0..5000).for_each(|_| drop(caller.send(b"late", Duration::from_nanos(1))));
        let ticket = caller.send(b"request", DEADLINE).unwrap();
        run(&runtime, async move {
            let mut service = Async::new(service).unwrap();
            let request = tokio::time::timeout(DEADLINE, service.receive()).await;
            assert_eq!(&request.expect("a service that sleeps").unwrap()[..], b"request");
        });
        drop(ticket);
    }
}
