//! Endpoints in tasks: nothing is lost or doubled wherever a future is dropped, whatever the runtime; deaths and ends
//! arrive; idle tasks sleep, and busy ones let others run.
#![allow(unsafe_code, reason = "a promise about this program's own producer")]

mod common;
#[path = "common/lanes.rs"]
mod lanes;
#[path = "common/peer.rs"]
mod peer;
#[path = "common/sender.rs"]
mod sender;
#[path = "common/tasks.rs"]
mod tasks;

use common::{DEADLINE, isolated, role, sleeps_of, unique_name, wait_until, wait_until_thread_has_slept_for};
use fdring::collect::SessionListener;
use fdring::collect::{Collector, CollectorOptions, Event};
use fdring::errors::{ReceiveError, SendError, TapError};
use fdring::options::{LaneOptions, NoConsumer, ServerOptions, SessionListenerOptions, SessionOptions, SlowConsumer};
use fdring::select::Selector;
use fdring::tokio::Async;
use fdring::typed::{TypedConsumer, TypedProducer, TypedTap};
use fdring::{Attach, Consumer, Interrupter, Producer, Server, Tap};
use futures_core::Stream;
use lanes::{attach, serve};
use peer::Peer;
use sender::sends_when_told;
use std::future::{Future, poll_fn};
use std::ops::ControlFlow;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Waker};
use std::time::{Duration, Instant};
use tasks::{once, run, runtimes};
use tokio::runtime::Builder;

const RECORDS: u64 = 5_000;

fn lane(capacity: u64) -> (Producer, Server, String) {
    serve(LaneOptions::new("lane").capacity(capacity).create().unwrap())
}

/// Sends the numbers up to `RECORDS`, sometimes one after the other, sometimes after readers have gone to sleep.
fn count(mut producer: Producer) -> std::thread::JoinHandle<()> {
    std::thread::spawn(move || {
        for number in 0..RECORDS {
            producer.send(&number.to_le_bytes()).unwrap();
            (0..number * number % 4000).for_each(|_| std::hint::spin_loop());
            if number % 512 == 0 {
                std::thread::park_timeout(Duration::from_micros(200));
            }
        }
    })
}

fn number(payload: &[u8]) -> u64 {
    u64::from_le_bytes(payload.try_into().unwrap())
}

async fn next<S: Stream + Unpin>(stream: &mut S) -> Option<S::Item> {
    poll_fn(|cx| Pin::new(&mut *stream).poll_next(cx)).await
}

/// Receives everything, by all ways in turn, and drops most futures before they have an outcome. Returns how many were.
async fn read_and_drop(mut consumer: Async<Consumer>) -> u64 {
    let (mut expected, mut dropped) = (0, 0);
    let mut take = |payload: &[u8]| {
        assert_eq!(number(payload), expected);
        expected += 1;
    };
    for round in 0_u64.. {
        let is_over = match round % 6 {
            0 => once(consumer.receive()).await.map(|record| record.unwrap().map(|record| take(&record)).is_none()),
            1 => once(consumer.receive_many(|record| take(record))).await.map(|records| records.unwrap() == 0),
            2 => once(next(&mut consumer)).await.map(|record| record.map(|record| take(&record.unwrap())).is_none()),
            3 => tokio::select! {
                biased;
                record = consumer.receive() => Some(record.unwrap().map(|record| take(&record)).is_none()),
                () = tokio::task::yield_now() => None,
            },
            4 => tokio::select! {
                record = consumer.receive() => Some(record.unwrap().map(|record| take(&record)).is_none()),
                () = tokio::time::sleep(Duration::from_micros(round % 300)) => None,
            },
            // The only one that waits, after one that was dropped while it was ready.
            _ => {
                dropped += u64::from(once(consumer.ready()).await.is_none());
                Some(consumer.receive().await.unwrap().map(|record| take(&record)).is_none())
            }
        };
        match is_over {
            Some(true) => break,
            Some(false) => {}
            None => dropped += 1,
        }
    }
    assert_eq!(expected, RECORDS);
    assert!(consumer.receive().await.unwrap().is_none() && next(&mut consumer).await.is_none(), "it stays the end");
    dropped
}

#[test]
fn nothing_is_lost_or_doubled_wherever_a_future_is_dropped() {
    for runtime in runtimes() {
        for trusts in [false, true] {
            // In a small ring the producer waits for the task, too.
            for capacity in [4096, 1 << 20] {
                let (producer, _server, address) = lane(capacity);
                let consumer = attach(&address, trusts);
                let sender = count(producer);
                let dropped = run(&runtime, async { read_and_drop(Async::new(consumer).unwrap()).await });
                sender.join().unwrap();
                assert!(dropped > 100, "only {dropped} futures were dropped");
            }
        }
    }
}

#[test]
fn a_tap_gets_each_record_once_or_counts_it_wherever_a_future_is_dropped() {
    for runtime in runtimes() {
        let (producer, _server, address) = lane(4096);
        let tap = Tap::connect(&*address).unwrap();
        let sender = count(producer);
        let (read, missed) = run(&runtime, async {
            let mut tap = Async::new(tap).unwrap();
            let (mut last, mut read, mut missed) = (None, 0_u64, 0);
            for round in 0_u64.. {
                let polled = match round % 4 {
                    0 => once(tap.receive_newest()).await.map(|record| record.map(|record| record.map(|r| number(&r)))),
                    1 => once(tap.receive()).await.map(|record| record.map(|record| record.map(|r| number(&r)))),
                    2 => once(next(&mut tap)).await.map(|item| item.transpose().map(|r| r.map(|r| number(&r)))),
                    _ => Some(tap.receive().await.map(|record| record.map(|r| number(&r)))),
                };
                match polled {
                    None => {}
                    Some(Ok(None)) => break,
                    Some(Err(TapError::Lagged { missed_bytes })) => missed += missed_bytes,
                    Some(Err(error)) => panic!("{error}"),
                    Some(Ok(Some(number))) => {
                        assert!(last < Some(number), "{number} after {last:?}");
                        (last, read) = (Some(number), read + 1);
                    }
                }
            }
            assert_eq!(last, Some(RECORDS - 1), "the last record is there until it is read");
            assert!(missed <= tap.get_ref().missed_bytes());
            (read, tap.get_ref().missed_bytes())
        });
        sender.join().unwrap();
        // What lies between is counted, with the padding before records that were passed over.
        assert!(read + missed / 16 >= RECORDS, "{read} read, {missed} bytes missed");
    }
}

#[test]
fn records_of_another_process_arrive_and_its_end_and_its_death_after_them() {
    if role().is_some() {
        return sends_when_told();
    }
    let test = "records_of_another_process_arrive_and_its_end_and_its_death_after_them";
    for runtime in runtimes() {
        for dies in [false, true] {
            let address = format!("@{}", unique_name());
            let mut sender = Peer::start(test, "producer", &address);
            sender.expect("listening");
            let consumer = attach(&address, false);
            sender.tell(&format!("send {RECORDS}"));
            run(&runtime, async move {
                let mut consumer = Async::new(consumer).unwrap();
                for expected in 0..RECORDS {
                    assert_eq!(number(&consumer.receive().await.unwrap().unwrap()), expected);
                }
                // The task sleeps when it comes.
                let end = async move {
                    let end = consumer.receive().await.map(|record| record.is_none());
                    let again = consumer.receive().await.map(|record| record.is_none());
                    assert_eq!(end, again, "it stays the end");
                    end
                };
                let mut end = pin!(end);
                assert!(once(end.as_mut()).await.is_none());
                tokio::time::sleep(Duration::from_millis(30)).await;
                match dies {
                    true => sender.kill(),
                    false => {
                        sender.tell("finish now");
                        sender.finish();
                    }
                }
                let expected = if dies { Err(ReceiveError::PeerDead) } else { Ok(true) };
                assert_eq!(end.await, expected);
            });
        }
    }
}

#[test]
fn what_wakes_a_blocking_call_wakes_a_task() {
    for runtime in runtimes() {
        let (mut producer, server, address) = lane(4096);
        let (consumer, stop) = (attach(&address, false), Interrupter::new().unwrap());
        let stoppable = SessionOptions::new().interrupter(&stop).connect(&*address).unwrap();
        let other = stoppable.attach_one(Attach::new()).unwrap();
        run(&runtime, async move {
            let mut consumer = Async::new(consumer).unwrap();
            let mut other = Async::new(other).unwrap();
            let waits = tokio::spawn(async move {
                let outcome = other.receive().await.map(|record| record.is_some());
                (other, outcome)
            });
            tokio::time::sleep(Duration::from_millis(20)).await;
            stop.interrupt();
            assert_eq!(waits.await.unwrap().1, Err(ReceiveError::Interrupted));
            let waits = tokio::spawn(async move { consumer.receive().await.map(|record| record.unwrap().to_vec()) });
            tokio::time::sleep(Duration::from_millis(20)).await;
            producer.send(b"hello").unwrap();
            assert_eq!(waits.await.unwrap().unwrap(), b"hello");
            drop(server);
        });
    }
}

/// A lane for which producers can wait in tasks.
fn belled(options: LaneOptions) -> (Producer, Server, String) {
    serve(options.capacity(4096).space_bell(true).create().unwrap())
}

/// Reads all numbers on a thread, resting now and then, so that the ring is full.
fn check(mut consumer: Consumer) -> std::thread::JoinHandle<()> {
    std::thread::spawn(move || {
        for expected in 0..RECORDS {
            assert_eq!(number(&consumer.receive_timeout(DEADLINE).unwrap().unwrap()[..8]), expected);
            if expected % 32 == 0 {
                std::thread::park_timeout(Duration::from_micros(500));
            }
        }
        assert!(consumer.receive_timeout(DEADLINE).unwrap().is_none());
    })
}

/// Has `send` send all numbers in tasks of each runtime, to consumers of each kind, which check them; it returns how
/// many futures it has dropped, more than `dropped_min`.
fn in_each_runtime<F>(dropped_min: u64, send: impl Fn(Async<Producer>) -> F + Copy + Send + 'static)
where
    F: Future<Output = u64> + Send,
{
    for runtime in runtimes() {
        for trusts in [false, true] {
            let (producer, _server, address) = belled(LaneOptions::new("lane"));
            let reader = check(attach(&address, trusts));
            let dropped = run(&runtime, async move { send(Async::new(producer).unwrap()).await });
            reader.join().unwrap();
            assert!(dropped > dropped_min, "only {dropped} futures were dropped");
        }
    }
}

#[test]
fn what_is_sent_in_tasks_arrives_once_wherever_a_future_is_dropped() {
    in_each_runtime(50, |mut producer| async move {
        let mut dropped = 0;
        for number in 0..RECORDS {
            let payload = [&number.to_le_bytes()[..], &[7; 56]].concat();
            for round in number.. {
                let sent = match round % 4 {
                    0 => once(producer.send(&payload)).await,
                    1 => once(producer.reserve(payload.len())).await.map(|slot| {
                        let mut slot = slot?;
                        slot.copy_from_slice(&payload);
                        slot.commit();
                        Ok(())
                    }),
                    2 => tokio::select! {
                        sent = producer.send(&payload) => Some(sent),
                        () = tokio::time::sleep(Duration::from_micros(round % 300)) => None,
                    },
                    _ => Some(producer.send(&payload).await),
                };
                if let Some(sent) = sent {
                    sent.unwrap();
                    break;
                }
                dropped += 1;
            }
        }
        dropped
    });
}

/// Polls a future to its end, after some that were dropped before theirs; counts these. Each is one of `attempt`.
macro_rules! insist {
    ($dropped:ident, $turn:ident, $attempt:expr) => {{
        loop {
            $turn += 1;
            let outcome = match $turn % 3 {
                0 => once($attempt).await,
                1 => tokio::select! {
                    outcome = $attempt => Some(outcome),
                    () = tokio::time::sleep(Duration::from_micros($turn % 300)) => None,
                },
                _ => Some($attempt.await),
            };
            match outcome {
                Some(outcome) => break outcome.unwrap(),
                None => $dropped += 1,
            }
        }
    }};
}

#[test]
fn batches_and_windows_of_tasks_arrive_once_wherever_a_future_is_dropped() {
    in_each_runtime(20, |mut producer| async move {
        let (mut dropped, mut turn, mut numbers) = (0, 0_u64, 0..RECORDS);
        for round in 0_usize.. {
            // Some batches are longer than the ring.
            let some: Vec<u64> = numbers.by_ref().take(round * round % 150).collect();
            if round % 3 == 2 {
                let some: Vec<u64> = some.into_iter().chain(numbers.by_ref().take(1)).collect();
                for some in some.chunks(20) {
                    let lens = vec![64; some.len()];
                    drop(insist!(dropped, turn, producer.reserve_window(&lens)));
                    let mut window = producer.get_mut().try_reserve_window(&lens).expect("there is room");
                    for (slot, number) in window.slots().iter_mut().zip(some) {
                        slot[..8].copy_from_slice(&number.to_le_bytes());
                    }
                    window.commit();
                }
            } else {
                let mut batch = producer.batch().unwrap();
                for number in &some {
                    let payload = [&number.to_le_bytes()[..], &[7; 56]].concat();
                    if round % 3 == 0 {
                        insist!(dropped, turn, batch.send(&payload));
                    } else {
                        drop(insist!(dropped, turn, batch.reserve(payload.len())));
                        let mut slot = batch.reserve(payload.len()).await.unwrap();
                        slot.copy_from_slice(&payload);
                        slot.commit();
                    }
                }
                assert_eq!(batch.commit(), producer.get_ref().published());
            }
            if numbers.is_empty() {
                break;
            }
        }
        dropped
    });
}

#[test]
fn a_batch_of_a_task_is_published_by_its_commit_or_where_it_waits_and_else_is_gone() {
    for runtime in runtimes() {
        let (producer, _server, address) = belled(LaneOptions::new("lane"));
        let mut consumer = attach(&address, false);
        run(&runtime, async move {
            let mut producer = Async::new(producer).unwrap();
            let mut batch = producer.batch().unwrap();
            batch.send(b"dropped").await.unwrap();
            assert_eq!(consumer.try_receive().unwrap_err(), ReceiveError::Empty);
            drop(batch);
            let mut batch = producer.batch().unwrap();
            batch.send_tagged(&[1; 2000], 1).await.unwrap();
            batch.send_tagged(&[2; 2000], 2).await.unwrap();
            assert_eq!(consumer.try_receive().unwrap_err(), ReceiveError::Empty);
            // It waits, so that the consumer gets what is there.
            assert!(once(batch.send_tagged(&[3; 2000], 3)).await.is_none());
            for tag in [1, 2] {
                assert_eq!(consumer.try_receive().unwrap().unwrap().tag(), tag);
            }
            assert_eq!(consumer.try_receive().unwrap_err(), ReceiveError::Empty);
            batch.send_tagged(&[4; 2000], 4).await.unwrap();
            drop(batch);
            assert_eq!(consumer.try_receive().unwrap_err(), ReceiveError::Empty);
            let error = producer.reserve_window(&[2000, 2000]).await.unwrap_err();
            assert!(matches!(error, SendError::WindowTooLong { .. }), "{error}");
            let mut batch = producer.batch().unwrap();
            let error = batch.reserve(4096).await.unwrap_err();
            assert!(matches!(error, SendError::TooLong { .. }), "{error}");
        });
    }
}

#[test]
fn a_task_sends_to_a_task_through_a_ring_of_one_page() {
    for runtime in runtimes() {
        let (producer, _server, address) = belled(LaneOptions::new("lane"));
        let consumer = attach(&address, false);
        let read = run(&runtime, async move {
            let mut producer = Async::new(producer).unwrap();
            let sender = tokio::spawn(async move {
                for number in 0..RECORDS {
                    producer.send(&[number as u8; 500]).await.unwrap();
                }
            });
            let mut consumer = Async::new(consumer).unwrap();
            let mut read = 0;
            while let Some(record) = consumer.receive().await.unwrap() {
                assert!(record[..] == [read as u8; 500]);
                read += 1;
            }
            sender.await.unwrap();
            read
        });
        assert_eq!(read, RECORDS);
    }
}

#[test]
fn a_task_waits_for_the_consumers_that_its_lane_wants_or_fails_as_the_lane_says() {
    for runtime in runtimes() {
        let (waiting, _server, address) = belled(LaneOptions::new("waits").no_consumer(NoConsumer::WaitFor(1)));
        let (failing, _other, _) = belled(LaneOptions::new("fails").no_consumer(NoConsumer::FailBelow(1)));
        run(&runtime, async move {
            let (mut waiting, mut failing) = (Async::new(waiting).unwrap(), Async::new(failing).unwrap());
            let error = failing.send(b"hello").await.unwrap_err();
            assert!(matches!(error, SendError::TooFewConsumers { there: 0, wanted: 1, .. }), "{error}");
            let error = waiting.send(&[0; 4096]).await.unwrap_err();
            assert!(matches!(error, SendError::TooLong { .. }), "{error}");
            assert!(once(waiting.send(b"hello")).await.is_none());
            let sender = tokio::spawn(async move { waiting.send(b"hello").await.map(|()| waiting) });
            tokio::time::sleep(Duration::from_millis(20)).await;
            let mut consumer = Async::<Consumer>::connect(&*address).await.unwrap();
            let waiting = sender.await.unwrap().unwrap();
            assert_eq!(consumer.receive().await.unwrap().unwrap()[..], *b"hello");
            drop(waiting);
        });
    }
}

#[test]
fn a_batch_of_a_task_that_waits_for_consumers_is_published_and_each_byte_counted_once() {
    for runtime in runtimes() {
        let (producer, server, address) = belled(LaneOptions::new("lane").no_consumer(NoConsumer::WaitFor(1)));
        let mut consumer = attach(&address, false);
        run(&runtime, async move {
            let mut producer = Async::new(producer).unwrap();
            // Up to 64 bytes before the end of the ring, where the next record does not fit: there is padding.
            for _ in 0..2 {
                producer.send(&[0; 2008]).await.unwrap();
                assert_eq!(consumer.receive_timeout(DEADLINE).unwrap().unwrap().len(), 2008);
            }
            assert!(matches!(consumer.try_receive(), Err(ReceiveError::Empty)), "it is released");
            let mut batch = producer.batch().unwrap();
            let mut bytes = 4032;
            for _ in 0..2 {
                batch.send(&[1; 504]).await.unwrap();
                bytes += 512;
            }
            drop(consumer);
            wait_until("it has left", || server.stats().sessions == 0);
            while once(batch.send(&[2; 504])).await.is_some() {
                bytes += 512;
            }
            assert!(once(batch.send(&[2; 504])).await.is_none(), "it goes on waiting");
            let end = batch.commit();
            let producer = producer.get_ref();
            assert_eq!((producer.published(), producer.stats().record_bytes), (end, bytes));
            assert_eq!(end, bytes + 64, "with the padding");
        });
    }
}

#[test]
fn a_task_that_waits_for_a_slow_consumer_fails_when_the_lane_says() {
    let after = Duration::from_millis(30);
    for runtime in runtimes() {
        let options = LaneOptions::new("lane").slow_consumer(SlowConsumer::Fail { after });
        let (producer, _server, address) = belled(options);
        let stuck = attach(&address, true);
        run(&runtime, async move {
            let mut producer = Async::new(producer).unwrap();
            let error = loop {
                if let Err(error) = producer.send(&[0; 1000]).await {
                    break error;
                }
            };
            assert!(matches!(error, SendError::TooSlow { .. }), "{error}");
            drop(stuck);
            producer.send(&[0; 1000]).await.unwrap();
        });
    }
}

#[test]
fn a_producer_without_a_space_bell_is_refused_at_once() {
    let [runtime, _] = runtimes();
    let (producer, ..) = lane(4096);
    let error = runtime.block_on(async { Async::new(producer).unwrap_err() });
    assert!(matches!(&error, fdring::Error::Invalid(fault) if fault.contains("space_bell(true)")), "{error}");
}

#[test]
fn connecting_in_a_task_is_connecting_on_a_thread() {
    for runtime in runtimes() {
        let (mut producer, server, address) = lane(4096);
        let nobody = format!("@{}", unique_name());
        run(&runtime, async move {
            let error = Async::<Consumer>::connect(&*nobody).await.unwrap_err();
            assert_eq!(error.to_string(), Consumer::connect(&*nobody).unwrap_err().to_string());
            assert!(Async::<Tap>::connect(&*nobody).await.is_err());
            // Dropped before it has connected, or after.
            for _ in 0..20 {
                drop(once(Async::<Consumer>::connect(&*address)).await);
            }
            let mut consumer = Async::<Consumer>::connect(&*address).await.unwrap();
            let mut tap = Async::<Tap>::connect(&*address).await.unwrap();
            while server.stats().sessions != 2 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            producer.send(b"hello").unwrap();
            assert_eq!(consumer.receive().await.unwrap().unwrap()[..], *b"hello");
            assert_eq!(tap.receive().await.unwrap().unwrap()[..], *b"hello");
        });
    }
}

#[test]
fn a_lane_that_is_given_up_and_an_eviction_end_a_stream_with_their_error() {
    for runtime in runtimes() {
        let (mut producer, server, address) = lane(4096);
        let consumer = attach(&address, false);
        run(&runtime, async move {
            let mut evicted = Async::new(consumer).unwrap();
            assert!(once(next(&mut evicted)).await.is_none());
            assert!(producer.evict(&producer.consumers()[0]).unwrap());
            assert!(matches!(next(&mut evicted).await, Some(Err(ReceiveError::Evicted { .. }))));
            assert!(next(&mut evicted).await.is_none());

            let (mut consumer, tap) = (Async::new(attach(&address, true)).unwrap(), Tap::connect(&*address).unwrap());
            let mut tap = Async::new(tap).unwrap();
            assert!(once(next(&mut consumer)).await.is_none() && once(next(&mut tap)).await.is_none());
            producer.send(b"last").unwrap();
            producer.abandon();
            assert_eq!(next(&mut consumer).await.unwrap().unwrap()[..], *b"last");
            assert_eq!(next(&mut consumer).await.unwrap().unwrap_err(), ReceiveError::Abandoned);
            assert_eq!(next(&mut tap).await.unwrap().unwrap()[..], *b"last");
            assert_eq!(next(&mut tap).await.unwrap().unwrap_err(), TapError::Abandoned);
            assert!(next(&mut consumer).await.is_none() && next(&mut tap).await.is_none());
            drop(server);
        });
    }
}

#[test]
fn producers_are_accepted_and_many_consumers_waited_for_in_one_task() {
    const PRODUCERS: usize = 20;
    for runtime in runtimes() {
        let address = format!("@{}", unique_name());
        let listener = SessionListener::listen(&*address).unwrap();
        let senders = std::thread::spawn(move || {
            for index in 0..PRODUCERS {
                let mut producer = LaneOptions::new(format!("lane {index}")).capacity(4096).create().unwrap();
                let session = producer.connect(&*address).unwrap();
                (0..100_u64).for_each(|number| producer.send(&number.to_le_bytes()).unwrap());
                producer.finish_and_wait(DEADLINE).unwrap();
                drop(session);
            }
        });
        let total = run(&runtime, async move {
            let mut listener = Async::new(listener).unwrap();
            let mut selector = Async::new(Selector::new().unwrap()).unwrap();
            let (mut accepted, mut ended, mut total) = (0, 0, 0);
            while ended != PRODUCERS {
                tokio::select! {
                    session = listener.accept() => {
                        let consumer = session.unwrap().attach_one(Attach::new()).unwrap();
                        selector.get_mut().add(consumer).unwrap();
                        accepted += 1;
                    }
                    key = selector.wait() => {
                        let key = key.unwrap();
                        let consumer = selector.get_mut().get_mut(key).unwrap();
                        match consumer.try_receive_many(|_| total += 1) {
                            Ok(0) => {
                                selector.get_mut().remove(key);
                                ended += 1;
                            }
                            Ok(_) | Err(ReceiveError::Empty) => {}
                            Err(error) => panic!("{error}"),
                        }
                    }
                }
            }
            assert!(accepted == PRODUCERS && selector.get_ref().is_empty());
            total
        });
        senders.join().unwrap();
        assert_eq!(total, 100 * PRODUCERS);
    }
}

#[test]
fn a_collector_in_a_task_loses_nothing_wherever_a_future_is_dropped() {
    const CLIENTS: usize = 4;
    for runtime in runtimes() {
        for trusts in [false, true] {
            let address = format!("@{}", unique_name());
            let each = SessionOptions::new().deadline(DEADLINE);
            let listener = SessionListenerOptions::new().sessions(each);
            let options = CollectorOptions::new().listener(listener).attach(move |session| {
                assert_eq!(session.producer_pid(), Some(std::process::id()));
                // SAFETY: the producer is this very program, and it follows the protocol.
                if trusts { unsafe { Attach::new().in_place() } } else { Attach::new() }
            });
            let collector = options.listen(&*address).unwrap();
            let clients: Vec<_> = (0..CLIENTS)
                .map(|_| {
                    let address = address.clone();
                    std::thread::spawn(move || {
                        let producer = LaneOptions::new("lane").capacity(4096).create().unwrap();
                        let _link = ServerOptions::new().deadline(DEADLINE).connect(&*address, [&producer]).unwrap();
                        count(producer).join().unwrap();
                    })
                })
                .collect();
            let dropped = run(&runtime, async move {
                let mut collector = Async::new(collector).unwrap();
                let (mut next, mut kept, mut ended, mut dropped) = ([0; CLIENTS], Vec::new(), 0, 0);
                for round in 0_u64.. {
                    let mut note = |event: Event<'_>| match event {
                        Event::Record(origin, record) => {
                            let next = &mut next[origin.number() as usize];
                            assert_eq!(number(&record), *next);
                            *next += 1;
                            if round % 100 == 2 && kept.len() < 4 {
                                kept.push((*next - 1, record.into_owned()));
                            }
                        }
                        Event::Finished(_) => ended += 1,
                        Event::Joined(_) => {}
                        other => panic!("{other:?}"),
                    };
                    // All but a few runs are stopped early, so that there are many calls, and many futures to drop.
                    let (mut left, is_whole) = (1 + round % 7, round % 60 == 5);
                    let some = |event: Event<'_>| {
                        note(event);
                        left = left.saturating_sub(1);
                        if left == 0 && !is_whole { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
                    };
                    let outcome = match round % 6 {
                        0 => once(collector.next()).await.map(|event| event.map(&mut note)),
                        1 => tokio::select! {
                            event = collector.next() => Some(event.map(&mut note)),
                            () = tokio::time::sleep(Duration::from_micros(round % 300)) => None,
                        },
                        2 => Some(collector.next().await.map(note)),
                        3 => once(collector.next_many(some)).await.map(|events| events.map(drop)),
                        4 => tokio::select! {
                            events = collector.next_many(some) => Some(events.map(drop)),
                            () = tokio::time::sleep(Duration::from_micros(round % 300)) => None,
                        },
                        _ => {
                            let events = collector.next_many(some).await;
                            Some(events.map(|events| assert!(is_whole || (1..=7).contains(&events))))
                        }
                    };
                    match outcome {
                        Some(outcome) => outcome.unwrap(),
                        None => dropped += 1,
                    }
                    // In place, what is kept is held in the ring: it goes before the ring is full.
                    if round % 100 == 4 {
                        kept.drain(..).for_each(|(expected, record)| {
                            assert_eq!(record.is_held(), trusts);
                            assert_eq!(number(&record), expected);
                        });
                    }
                    if ended == CLIENTS {
                        break;
                    }
                }
                assert_eq!(next, [RECORDS; CLIENTS]);
                assert!(collector.get_ref().lane_count() == 0 && once(collector.next()).await.is_none());
                dropped
            });
            clients.into_iter().for_each(|client| client.join().unwrap());
            assert!(dropped > 50, "only {dropped} futures were dropped");
        }
    }
}

#[test]
fn values_arrive_in_tasks() {
    for runtime in runtimes() {
        let mut numbers = TypedProducer::<u64>::create("numbers").unwrap();
        let address = format!("@{}", unique_name());
        let _server = Server::listen(&*address, [numbers.untyped()]).unwrap();
        let consumer = TypedConsumer::<u64>::connect(&*address).unwrap();
        let tap = TypedTap::<u64>::connect(&*address).unwrap();
        run(&runtime, async move {
            let (mut consumer, mut tap) = (Async::new(consumer).unwrap(), Async::new(tap).unwrap());
            assert!(once(consumer.receive_value()).await.is_none() && once(tap.receive_newest()).await.is_none());
            let sender = std::thread::spawn(move || {
                (1..=3).for_each(|number| numbers.send(&number).unwrap());
                numbers.send_slice(&[4, 5]).unwrap();
            });
            for number in 1..=3 {
                assert_eq!(consumer.receive_value().await, Ok(Some(number)));
            }
            assert_eq!(consumer.receive().await.unwrap().unwrap()[..], [4, 5]);
            sender.join().unwrap();
            assert_eq!(tap.receive_value().await, Ok(Some(1)));
            assert_eq!(tap.receive_newest().await.unwrap().unwrap()[..], [4, 5]);
            assert_eq!(tap.receive_newest_value().await, Ok(None));
            assert!(tap.receive().await.unwrap().is_none());
            assert!(consumer.receive().await.unwrap().is_none());
        });
    }
}

/// How a busy task reads a lane that is full of records from the beginning, and how many records cost one unit of its
/// budget.
#[derive(Clone, Copy, Debug)]
enum Busy {
    /// Records in view.
    Receive,
    /// The same, of a tap.
    Tapped,
    /// Outcomes of other calls.
    OneByRun,
}

/// What `reader` returns, and how often another task of the runtime's one thread runs meanwhile.
async fn turns_beside(reader: impl Future<Output = u64> + Send + 'static) -> (u64, u64) {
    let turns = Arc::new(AtomicU64::new(0));
    let other = tokio::spawn({
        let turns = Arc::clone(&turns);
        async move {
            loop {
                turns.fetch_add(1, Ordering::Relaxed);
                tokio::task::yield_now().await;
            }
        }
    });
    let records = tokio::spawn(reader).await.unwrap();
    other.abort();
    (records, turns.load(Ordering::Relaxed))
}

#[test]
fn a_busy_task_lets_others_run() {
    const RECORDS_THERE: u64 = 60_000;
    for (busy, per_unit) in [(Busy::Receive, 32), (Busy::Tapped, 32), (Busy::OneByRun, 16)] {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let (mut producer, _server, address) = lane(1 << 20);
        let (consumer, tap) = (attach(&address, false), Tap::connect(&*address).unwrap());
        let mut batch = producer.batch().unwrap();
        (0..RECORDS_THERE).for_each(|number| batch.send(&number.to_le_bytes()).unwrap());
        batch.commit();
        producer.finish();
        runtime.block_on(async move {
            let (records, turns) = turns_beside(async move {
                let (mut consumer, mut tap) = (Async::new(consumer).unwrap(), Async::new(tap).unwrap());
                let one = |_: &fdring::Record<'_>| ControlFlow::Break(());
                let mut records = 0;
                while match busy {
                    Busy::Receive => consumer.receive().await.unwrap().is_some(),
                    Busy::Tapped => tap.receive().await.unwrap().is_some(),
                    Busy::OneByRun => consumer.receive_many(one).await.unwrap() != 0,
                } {
                    records += 1;
                }
                records
            })
            .await;
            assert_eq!(records, RECORDS_THERE);
            // A turn has 128 units.
            let turns_min = RECORDS_THERE / (128 * per_unit) - 2;
            assert!(turns >= turns_min, "{busy:?}: another task ran {turns} times meanwhile");
        });
    }
}

#[test]
fn a_task_that_reads_long_records_lets_others_run() {
    const RECORDS_THERE: u64 = 1_500;
    for taps in [false, true] {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let (mut producer, _server, address) = lane(32 << 20);
        let (consumer, tap) = (attach(&address, false), Tap::connect(&*address).unwrap());
        (0..RECORDS_THERE).for_each(|_| producer.send(&[7; 16 << 10]).unwrap());
        producer.finish();
        runtime.block_on(async move {
            let (records, turns) = turns_beside(async move {
                let (mut consumer, mut tap) = (Async::new(consumer).unwrap(), Async::new(tap).unwrap());
                let mut records = 0;
                while match taps {
                    false => consumer.receive().await.unwrap().is_some(),
                    true => tap.receive().await.unwrap().is_some(),
                } {
                    records += 1;
                }
                records
            })
            .await;
            assert_eq!(records, RECORDS_THERE);
            // A record a unit, 128 in a turn.
            assert!(turns >= RECORDS_THERE / 128 - 2, "taps {taps}: another task ran {turns} times meanwhile");
        });
    }
}

#[test]
fn a_tap_in_a_task_tells_the_times_of_records() {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let (mut producer, _server, address) = serve(LaneOptions::new("lane").stamped(true).create().unwrap());
    let tap = Tap::connect(&*address).unwrap();
    runtime.block_on(async move {
        let mut tap = Async::new(tap).unwrap();
        // The later ones are in view once the first one is found.
        (0..3_u64).for_each(|number| producer.send(&number.to_le_bytes()).unwrap());
        let mut last = None;
        for _ in 0..3 {
            let record = tap.receive().await.unwrap().unwrap();
            let time = record.published_at();
            assert!(time.is_some() && time > last, "{time:?} after {last:?}");
            last = time;
        }
    });
}

/// A million records a second, or as many as this machine can: a task waits for them beside a timer, and drops what
/// it waits for whenever that ends. 500,000 records in each runtime, or as many as `FDRING_SELECT_RECORDS` says.
#[test]
fn a_stream_at_full_rate_under_select_with_a_timer_loses_and_doubles_nothing() {
    let records = std::env::var("FDRING_SELECT_RECORDS").map_or(500_000, |text| text.parse::<u64>().unwrap());
    for runtime in runtimes() {
        let (mut producer, _server, address) = lane(1 << 20);
        let consumer = attach(&address, false);
        let sender = std::thread::spawn(move || {
            let begin = Instant::now();
            for number in 0..records {
                // By the clock, a few at a time.
                while number % 16 == 0 && begin.elapsed() < Duration::from_micros(number) {
                    std::thread::yield_now();
                }
                producer.send(&number.to_le_bytes()).unwrap();
            }
        });
        let begin = Instant::now();
        let (received, dropped) = run(&runtime, async move {
            let mut consumer = Async::new(consumer).unwrap();
            let (mut expected, mut dropped) = (0_u64, 0_u64);
            let mut take = |payload: &[u8]| {
                assert_eq!(number(payload), expected, "a record is missing, or came twice");
                expected += 1;
            };
            let mut timer = pin!(tokio::time::sleep(Duration::ZERO));
            for round in 0_u64.. {
                let is_over = match round / 64 % 3 {
                    0 => tokio::select! {
                        count = consumer.receive_many(|record| take(record)) => Some(count.unwrap() == 0),
                        () = &mut timer => None,
                    },
                    1 => tokio::select! {
                        biased;
                        record = consumer.receive() => Some(record.unwrap().map(|record| take(&record)).is_none()),
                        () = &mut timer => None,
                    },
                    _ => tokio::select! {
                        record = consumer.receive() => Some(record.unwrap().map(|record| take(&record)).is_none()),
                        () = &mut timer => None,
                    },
                };
                match is_over {
                    Some(true) => break,
                    Some(false) => {}
                    None => {
                        dropped += 1;
                        // Up to a millisecond; half of the time none, which ends at the first look.
                        let random = round.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 53;
                        let pause = Duration::from_micros(random.saturating_sub(1024));
                        timer.as_mut().reset(tokio::time::Instant::now() + pause);
                    }
                }
            }
            assert!(consumer.receive().await.unwrap().is_none(), "it stays the end");
            (expected, dropped)
        });
        let seconds = begin.elapsed().as_secs_f64();
        sender.join().unwrap();
        assert_eq!(received, records);
        println!("{:.2} M records/s, and {dropped} receives were dropped", records as f64 / seconds / 1e6);
        assert!(dropped > 10, "only {dropped} receives were dropped");
    }
}

#[test]
fn an_idle_task_costs_no_wake_ups() {
    isolated("an_idle_task_costs_no_wake_ups", || {
        let (producer, _server, address) = lane(4096);
        let (tell, told) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            let runtime = Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let mut collector = Async::new(Collector::listen(&*format!("{address}-collector")).unwrap()).unwrap();
                let mut consumer = Async::new(attach(&address, false)).unwrap();
                let mut tap = Async::new(Tap::connect(&*address).unwrap()).unwrap();
                let mut other = Async::new(attach(&address, true)).unwrap();
                tell.send(rustix::thread::gettid()).unwrap();
                // All at once, and none of them dropped.
                let all = async { tokio::join!(consumer.receive(), tap.receive_newest(), next(&mut other)) };
                let (first, second, third) = tokio::select! {
                    all = all => all,
                    event = collector.next() => panic!("{event:?}"),
                };
                assert!(first.unwrap().is_none() && second.unwrap().is_none() && third.is_none());
            });
        });
        let reader = told.recv_timeout(DEADLINE).unwrap();
        // Its second looks are over.
        wait_until_thread_has_slept_for(reader, Duration::from_millis(100));
        let ((before, _), begin) = (sleeps_of(reader).unwrap(), Instant::now());
        wait_until("a second is over", || begin.elapsed() >= Duration::from_secs(1));
        let (after, is_asleep) = sleeps_of(reader).unwrap();
        assert!(is_asleep && after == before, "{} wake-ups in a second", after - before);
        producer.finish();
        thread.join().unwrap();
    });
}

/// What its last waker would wake is what counts, as when a future moves to another task.
#[test]
fn a_future_that_moves_to_another_task_wakes_that_one() {
    for runtime in runtimes() {
        let (mut producer, _server, address) = lane(4096);
        let consumer = attach(&address, false);
        run(&runtime, async move {
            let mut consumer = Async::new(consumer).unwrap();
            let mut future = Box::pin(async move { consumer.receive().await.unwrap().map(|record| record.to_vec()) });
            // By a waker that does nothing.
            assert!(future.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
            let moved = tokio::spawn(future);
            tokio::time::sleep(Duration::from_millis(20)).await;
            producer.send(b"hello").unwrap();
            assert_eq!(moved.await.unwrap().unwrap(), b"hello");
        });
    }
}

#[test]
fn an_endpoint_comes_back_out_of_its_task_with_nothing_lost() {
    let [runtime, _] = runtimes();
    let (mut producer, _server, address) = lane(4096);
    let consumer = attach(&address, false);
    let mut consumer = runtime.block_on(async {
        let mut consumer = Async::new(consumer).unwrap();
        assert!(once(consumer.receive()).await.is_none());
        producer.send(b"one").unwrap();
        producer.send(b"two").unwrap();
        assert_eq!(&consumer.receive().await.unwrap().unwrap()[..], b"one");
        consumer.into_inner()
    });
    drop(runtime);
    assert_eq!(&consumer.receive().unwrap().unwrap()[..], b"two");
    let stopped = consumer.receive_many_timeout(Duration::ZERO, |_| ControlFlow::Break(()));
    assert_eq!(stopped, Err(ReceiveError::TimedOut));
}

#[test]
fn a_task_whose_runtime_is_gone_gets_an_error() {
    let [runtime, other] = runtimes();
    let (_producer, _server, address) = lane(4096);
    let consumer = attach(&address, false);
    let mut consumer = runtime.block_on(async { Async::new(consumer).unwrap() });
    drop(runtime);
    let error = other.block_on(async { consumer.receive().await.map(|record| record.is_some()) }).unwrap_err();
    assert_eq!(error, ReceiveError::Wait(libc::ECANCELED));
}
