//! Distributors and workers in tasks: each record is worked on once wherever a future is dropped, what others keep is
//! given out in time without a timer of the runtime, and waiting costs nothing.

mod common;
#[path = "common/tasks.rs"]
mod tasks;

use common::{DEADLINE, unique_name};
use fdring::Interrupter;
use fdring::distribute::{Departure, Distributor, DistributorOptions, Event, Task, To, TooFewWorkers, Worker};
use fdring::errors::{ReceiveError, SendError};
use fdring::options::{LaneOptions, Records, ServerOptions};
use fdring::tokio::Async;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::time::Duration;
use tasks::{once, run, runtimes};
use tokio::runtime::Builder;

const RECORDS: u64 = 3000;
const KEYS: u64 = 5;
const SHORT: Duration = Duration::from_millis(20);

fn unique_address() -> String {
    format!("@{}", unique_name())
}

/// Lanes of 4 KiB, which are full again and again.
fn options() -> DistributorOptions {
    let lane = LaneOptions::new("work").capacity(4096).prefault(false);
    DistributorOptions::new().lane(lane).server(ServerOptions::new().deadline(DEADLINE))
}

fn number_of(bytes: &[u8]) -> u64 {
    u64::from_le_bytes(bytes[..8].try_into().unwrap())
}

fn record(number: u64) -> [u8; 100] {
    let mut record = [7; 100];
    record[..8].copy_from_slice(&number.to_le_bytes());
    record
}

/// Works until the end by all ways in turn, and drops most futures before they have an outcome. Returns the numbers.
async fn work_and_drop(address: String) -> (Vec<u64>, u64) {
    let mut worker = Async::<Worker>::connect(address).await.unwrap();
    let (mut numbers, mut dropped, mut tasks) = (Vec::new(), 0, Vec::new());
    for round in 0_u64.. {
        let number = match round % 5 {
            0 => once(worker.receive()).await.map(|record| record.unwrap().map(|record| number_of(&record))),
            1 => tokio::select! {
                record = worker.receive() => Some(record.unwrap().map(|record| number_of(&record))),
                () = tokio::time::sleep(Duration::from_micros(round % 300)) => None,
            },
            2 => once(worker.take()).await.map(|task| {
                task.unwrap().map(|task| {
                    let number = number_of(&task);
                    tasks.push(task);
                    number
                })
            }),
            3 => tokio::select! {
                biased;
                record = worker.receive() => Some(record.unwrap().map(|record| number_of(&record))),
                () = tokio::task::yield_now() => None,
            },
            // A worker in whose hands something is waits for no more.
            _ => {
                tasks.drain(..).for_each(Task::done);
                // Its distributor has no room meanwhile.
                if round % 100 == 4 {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                Some(worker.receive().await.unwrap().map(|record| number_of(&record)))
            }
        };
        match number {
            Some(Some(number)) => numbers.push(number),
            Some(None) => break,
            None => dropped += 1,
        }
    }
    tasks.drain(..).for_each(Task::done);
    (numbers, dropped)
}

/// Sends the numbers by futures that are dropped before one has an outcome. Returns how many were.
async fn send_and_drop(distributor: &mut Async<Distributor>) -> u64 {
    let (mut number, mut dropped) = (0, 0);
    for round in 0_u64.. {
        if number >= RECORDS {
            break;
        }
        let to = if number.is_multiple_of(2) { To::Key(number % KEYS) } else { To::MostRoom };
        let payload = record(number);
        let fill = |index: usize, bytes: &mut [u8]| bytes.copy_from_slice(&record(number + index as u64));
        let left = (RECORDS - number).min(3) as usize;
        let sent = match round % 4 {
            0 => once(distributor.send(to, &payload)).await.map(|sent| sent.map(|()| 1)),
            1 => tokio::select! {
                biased;
                sent = distributor.send(to, &payload) => Some(sent.map(|()| 1)),
                () = tokio::task::yield_now() => None,
            },
            2 => {
                let many = distributor.fill_many(To::RoundRobin, Records { count: left, len: 100 }, fill);
                once(many).await.map(|count| count.map(|count| count as u64))
            }
            _ => {
                let send = distributor.send(to, &payload);
                tokio::time::timeout(Duration::from_micros(200), send).await.ok().map(|sent| sent.map(|()| 1))
            }
        };
        match sent {
            Some(count) => number += count.unwrap(),
            None => dropped += 1,
        }
        // One task for all would never let the others run.
        if round.is_multiple_of(64) {
            tokio::task::yield_now().await;
        }
    }
    dropped
}

#[test]
fn each_record_is_worked_on_once_wherever_a_future_is_dropped() {
    for runtime in runtimes() {
        let address = unique_address();
        let distributor = options().records_max(8).listen(address.as_str()).unwrap();
        let (mut numbers, dropped) = run(&runtime, async move {
            let mut distributor = Async::new(distributor).unwrap();
            let workers: Vec<_> = (0..2).map(|_| tokio::spawn(work_and_drop(address.clone()))).collect();
            distributor.wait_for_workers(2).await.unwrap();
            let mut all_dropped = [send_and_drop(&mut distributor).await, 0];
            let mut rounds = 0;
            while once(distributor.wait_released()).await.is_none() {
                tokio::task::yield_now().await;
                rounds += 1;
                if rounds == 100 {
                    distributor.wait_released().await.unwrap();
                }
            }
            let stats = distributor.get_mut().stats();
            assert_eq!((stats.records, stats.released, stats.taken_back), (RECORDS, RECORDS, 0));
            for slot in 0..2 {
                let event = distributor.next_event().await.unwrap();
                assert!(matches!(event, Event::Joined { .. }), "{slot}: {event:?}");
            }
            assert!(once(distributor.next_event()).await.is_none());
            drop(distributor);
            let mut numbers = Vec::new();
            for worker in workers {
                let (done, dropped) = worker.await.unwrap();
                assert!(done.is_sorted(), "what one worker gets is in order");
                all_dropped[1] += dropped;
                numbers.extend(done);
            }
            (numbers, all_dropped)
        });
        numbers.sort_unstable();
        assert!(numbers.iter().copied().eq(0..RECORDS), "{} records of {RECORDS}", numbers.len());
        assert!(dropped.iter().all(|dropped| *dropped > 20), "{dropped:?} futures were dropped");
    }
}

#[test]
fn what_a_worker_leaves_is_given_to_others_in_time_without_a_timer_of_the_runtime() {
    let address = unique_address();
    let runtime = Builder::new_current_thread().enable_io().build().unwrap();
    let distributor = options().take_back_after(SHORT).listen(address.as_str()).unwrap();
    runtime.block_on(async {
        let mut distributor = Async::new(distributor).unwrap();
        let first = Worker::connect(address.as_str()).unwrap();
        assert!(matches!(distributor.next_event().await.unwrap(), Event::Joined { slot: 0, .. }));
        distributor.send(To::MostRoom, &record(1)).await.unwrap();
        let mut second = Async::<Worker>::connect(address.as_str()).await.unwrap();
        distributor.wait_for_workers(2).await.unwrap();
        drop(first);
        // It acts while it is asked for nothing but an event.
        let mut seen = Vec::new();
        while !seen.contains(&"taken back") {
            seen.push(match distributor.next_event().await.unwrap() {
                Event::Joined { slot: 1, .. } => "joined",
                Event::Gone { slot: 0, how: Departure::Left, .. } => "left",
                Event::TakenBack { slot: 0, records: 1, .. } => "taken back",
                other => panic!("{other:?}"),
            });
        }
        assert_eq!(seen, ["joined", "left", "taken back"]);
        assert_eq!(number_of(&second.receive().await.unwrap().unwrap()), 1);
        assert!(once(distributor.wait_released()).await.is_none(), "it is in hand");
        // Polled, it says that the one before is done.
        assert!(once(second.receive()).await.is_none());
        distributor.wait_released().await.unwrap();
        drop(distributor);
        assert!(second.receive().await.unwrap().is_none() && second.take().await.unwrap().is_none());
    });
}

#[test]
fn a_task_waits_for_room_and_for_workers_at_next_to_no_cost_whatever_waits_to_be_returned() {
    for runtime in runtimes() {
        let address = unique_address();
        let distributor = options().records_max(1).workers_min(1).listen(address.as_str()).unwrap();
        run(&runtime, async move {
            let mut distributor = Async::new(distributor).unwrap();
            assert!(once(distributor.send(To::MostRoom, &record(0))).await.is_none(), "nobody is there");
            let mut worker = Async::<Worker>::connect(address.as_str()).await.unwrap();
            distributor.send(To::MostRoom, &record(0)).await.unwrap();
            // Its coming is an event, which nobody asks for. What was wanted before is not wanted any more.
            let (mut polls, next) = (0, record(1));
            let late = {
                let mut send = pin!(distributor.send(To::MostRoom, &next));
                let counted = poll_fn(|cx| {
                    polls += 1;
                    send.as_mut().poll(cx)
                });
                tokio::time::timeout(10 * SHORT, counted).await
            };
            assert!(late.is_err() && polls <= 10, "{polls} looks while there is no room");
            assert_eq!(number_of(&worker.receive().await.unwrap().unwrap()), 0);
            worker.get_mut().done();
            assert!(matches!(distributor.next_event().await.unwrap(), Event::Joined { .. }));
            let mut polls = 0;
            let late = {
                let mut event = pin!(distributor.next_event());
                let counted = poll_fn(|cx| {
                    polls += 1;
                    event.as_mut().poll(cx)
                });
                tokio::time::timeout(10 * SHORT, counted).await
            };
            assert!(late.is_err() && polls <= 10, "{polls} looks while nothing happens");
            // A release wakes who waits for room.
            distributor.send(To::MostRoom, &record(1)).await.unwrap();
            let work = tokio::spawn(async move {
                let mut numbers = Vec::new();
                while let Some(record) = worker.receive().await.unwrap() {
                    numbers.push(number_of(&record));
                    tokio::task::yield_now().await;
                }
                numbers
            });
            for number in 2..200 {
                distributor.send(To::MostRoom, &record(number)).await.unwrap();
            }
            distributor.wait_released().await.unwrap();
            drop(distributor);
            assert!(work.await.unwrap().into_iter().eq(1..200));
        });
    }
}

#[test]
fn what_cannot_be_sent_is_said_at_once_and_an_interrupt_ends_a_wait() {
    let [runtime, _] = runtimes();
    let stop = Interrupter::new().unwrap();
    let options = options().too_few_workers(TooFewWorkers::Fail).interrupter(&stop);
    let address = unique_address();
    let distributor = options.listen(address.as_str()).unwrap();
    run(&runtime, async move {
        let mut distributor = Async::new(distributor).unwrap();
        let nobody = distributor.send(To::MostRoom, b"work").await.unwrap_err();
        assert!(matches!(nobody, SendError::TooFewConsumers { there: 0, wanted: 1, .. }), "{nobody:?}");
        let mut worker = Async::<Worker>::connect(address.as_str()).await.unwrap();
        distributor.wait_for_workers(1).await.unwrap();
        let too_long = distributor.reserve(To::MostRoom, 1 << 20).await.map(drop).unwrap_err();
        assert!(matches!(too_long, SendError::TooLong { .. }), "{too_long:?}");
        let none = distributor.fill_many(To::MostRoom, Records { count: 0, len: 8 }, |_, _| unreachable!());
        assert_eq!(none.await.unwrap(), 0);
        let mut assignment = distributor.reserve(To::MostRoom, 4).await.unwrap();
        assignment.copy_from_slice(b"last");
        assignment.commit();
        assert!(once(distributor.wait_released()).await.is_none());
        let interrupts = std::thread::spawn(move || stop.interrupt());
        assert!(matches!(distributor.wait_released().await.unwrap_err(), SendError::Interrupted));
        interrupts.join().unwrap();
        assert_eq!(&worker.receive().await.unwrap().unwrap()[..], b"last");
    });
}

#[test]
fn a_task_whose_runtime_is_gone_gets_an_error() {
    let [runtime, other] = runtimes();
    let address = unique_address();
    let distributor = options().listen(address.as_str()).unwrap();
    let (mut distributor, mut worker) = runtime.block_on(async {
        let worker = Async::<Worker>::connect(address.as_str()).await.unwrap();
        (Async::new(distributor).unwrap(), worker)
    });
    drop(runtime);
    other.block_on(async {
        let error = distributor.wait_for_workers(2).await.unwrap_err();
        assert!(matches!(error, SendError::Wait(libc::ECANCELED)), "{error:?}");
        let error = worker.receive().await.map(|record| record.is_some()).unwrap_err();
        assert_eq!(error, ReceiveError::Wait(libc::ECANCELED));
    });
}
