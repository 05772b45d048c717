//! Both halves of a slice, through [`Contender`] alone: all of them, built in or from outside, are measured by this.
//!
//! The loops over records are the contender's own, since a call through a table of methods for each would be seen
//! there; where records go one by one, at a given rate or to a sleeper, the loop is here.

use crate::clock::{Clock, Laps, ticks};
use crate::contender::{Contender, Fallible, Waiting, Way};
use crate::descriptors;
use crate::load::Load;
use crate::payload::{self, Bytes, PING_BYTES};
use crate::plan::{Carrier, Case, FdSender, SPREAD_LEN, Spread};
use crate::shared::{Shared, Word, nap_until, sleep_until, wait_for, wake as futex_wake};
use crate::sleeper::{self, Sleeper};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// How long a sleeper is left alone before it is woken: it sleeps by then, and its processor is halted.
const SLEEP_BEFORE_WAKE: Duration = Duration::from_micros(200);

/// How long a visitor has been awake before it connects.
const AWAKE_BEFORE_VISIT: Duration = Duration::from_micros(200);

/// What the receiver of a lane with taps says: that it has as many as it should, and that it begins to receive.
pub(crate) const TAPS_PREPARED: u64 = 1;
pub(crate) const TAPS_RECEIVE: u64 = 2;

/// How long a sender may take for one record of those that there is room for, while nobody receives, if each is
/// counted: far longer than it waits for a processor on a busy machine.
const ROOM_PATIENCE: Duration = Duration::from_secs(1);
/// How long it may take for all of them if none is counted.
const ROOM_PATIENCE_IN_ALL: Duration = Duration::from_secs(5);

/// The way that a slice goes over.
pub(crate) fn way_of(case: Case) -> Way {
    let spread = Way::new(SPREAD_LEN, Waiting::Spinning);
    match case {
        // It sleeps while the others spin, as programs do that have nothing else to do.
        Case::OneWay(Carrier::Channel(_), len) => Way::new(len, Waiting::Asleep),
        Case::OneWay(_, len) => Way::new(len, Waiting::Spinning),
        Case::RoundTrip(_, waiting, len) => Way::new(len, waiting),
        Case::Spread(Spread::ProducersCost(consumers) | Spread::Consumers(consumers, _))
        | Case::FanOut(_, consumers)
        | Case::ProducersCost(_, consumers) => Way { consumers, ..spread },
        Case::Spread(Spread::Lanes(lanes)) | Case::Lanes(_, lanes) => Way { lanes, ..spread },
        Case::Taps(_, len, _) => Way::new(len, Waiting::Spinning),
        Case::FanIn(_, producers, len) => Way { producers, ..Way::new(len, Waiting::Spinning) },
        Case::Share(_, workers) => Way { workers, ..spread },
        Case::Load(..) => Way::new(PING_BYTES, Waiting::Spinning),
        Case::WakeUp(_) | Case::Connect(_) | Case::Life(_) | Case::Descriptors(..) => {
            Way::new(PING_BYTES, Waiting::Asleep)
        }
    }
}

/// The parent's half of a slice.
pub(crate) fn send(
    contender: &mut dyn Contender,
    (shared, clock, other): (&Shared, &Clock, &Sleeper),
    case: Case,
    records: u64,
    laps: &mut Laps,
) -> Fallible {
    let way = way_of(case);
    match case {
        case if case.is_between_sleepers() => sleeper::ping(contender, (shared, other), way, records, laps),
        Case::RoundTrip(..) | Case::Life(_) => contender.ping(way, records, laps),
        Case::WakeUp(_) => wake(shared, records, laps, |n| contender.send(way, n)),
        Case::Connect(_) => welcome(shared, records, laps, contender),
        Case::Load(_, load) => {
            load.send(clock, records, |due| contender.send(way, due))?;
            wait_for(shared.word(Word::Pong), 1, || {});
            Load::collect(shared, records, laps);
            Ok(())
        }
        Case::Descriptors(FdSender::ManyOnRecords, count) => {
            descriptors::send_many(shared, count, records, |fds, messages| contender.send_many_fds(fds, messages))
        }
        Case::Descriptors(_, count) => descriptors::send(shared, count, records, |fds| contender.send_fds(fds)),
        case if case.is_senders_time() => {
            match shared.word(Word::Ahead).load(Ordering::Relaxed) {
                1 if is_counted(case) => send_counted(shared, contender, way, records)?,
                _ => contender.send_all(way, records)?,
            }
            shared.word(Word::Pong).store(1, Ordering::Release);
            Ok(())
        }
        _ => contender.send_all(way, records),
    }
}

/// The child's half; the sum over what it received, where records go one way.
pub(crate) fn receive(
    contender: &mut dyn Contender,
    (shared, other): (&Shared, &Sleeper),
    case: Case,
    records: u64,
) -> Fallible<u64> {
    let way = way_of(case);
    if case.has_taps() {
        shared.word(Word::Ping).store(TAPS_PREPARED, Ordering::Release);
        // Those that left are gone only once the kernel's threads on this processor, too, had their turn.
        sleep_until(shared.futex(Word::GoOn), 1);
        shared.word(Word::Ping).store(TAPS_RECEIVE, Ordering::Release);
    }
    match case {
        case if case.is_between_sleepers() => sleeper::pong(contender, (shared, other), way, records)?,
        Case::RoundTrip(..) | Case::Life(_) => contender.pong(way, records)?,
        Case::WakeUp(_) => be_woken(shared, records, || contender.receive(way))?,
        Case::Connect(_) => visit(shared, records, contender)?,
        Case::Load(..) => {
            Load::receive(shared, records, || contender.receive(way))?;
            shared.word(Word::Pong).store(1, Ordering::Release);
        }
        Case::Descriptors(_, count) => descriptors::receive(shared, count, records, || contender.receive_fds(count))?,
        case if case.is_senders_time() && shared.word(Word::Ahead).load(Ordering::Relaxed) != 0 => {
            wait_until_sent(shared, case, (way.len, records))?;
            return contender.receive_all(way, records);
        }
        _ => return contender.receive_all(way, records),
    }
    Ok(0)
}

/// Whether it is counted how many records are sent before anyone receives: those of a contender from outside that can
/// be sent one by one.
fn is_counted(case: Case) -> bool {
    matches!(case, Case::ProducersCost(kind, _) if kind.0.records_step == 1)
}

/// Sends records one by one, and says how many are sent.
fn send_counted(shared: &Shared, contender: &mut dyn Contender, way: Way, records: u64) -> Fallible {
    let sent = shared.word(Word::Sent);
    sent.store(0, Ordering::Relaxed);
    (0..records).try_for_each(|n| {
        contender.send(way.turn(n), n)?;
        sent.store(n + 1, Ordering::Relaxed);
        Ok(())
    })
}

/// Receives nothing until so many records are sent.
fn wait_until_sent(shared: &Shared, case: Case, (len, records): (usize, u64)) -> Fallible {
    let patience = if is_counted(case) { ROOM_PATIENCE } else { ROOM_PATIENCE_IN_ALL };
    let (mut sent, mut since) = (0, Instant::now());
    while shared.word(Word::Pong).load(Ordering::Acquire) == 0 {
        let now_sent = shared.word(Word::Sent).load(Ordering::Relaxed);
        if is_counted(case) && now_sent != sent {
            (sent, since) = (now_sent, Instant::now());
        }
        if since.elapsed() > patience {
            let done = match is_counted(case) {
                true => format!("sent {sent} of them, and none for"),
                false => "was not done with them within".to_owned(),
            };
            return Err(format!(
                "there is no room for {records} records of {}, as `ContenderKind::room` says: its sender {done} {} s \
                 while nobody received, and one that waits for room measures its receiver",
                Bytes(len),
                patience.as_secs()
            )
            .into());
        }
        std::hint::spin_loop();
    }
    Ok(())
}

/// Wakes the other process's sleeper by `send`, again and again; the times are what it says.
fn wake(shared: &Shared, rounds: u64, laps: &mut Laps, mut send: impl FnMut(u64) -> Fallible) -> Fallible {
    for n in 0..rounds {
        std::thread::sleep(SLEEP_BEFORE_WAKE);
        shared.word(Word::Ping).store(ticks(), Ordering::Release);
        send(n)?;
        wait_for(shared.word(Word::Pong), n + 1, || {});
        laps.add(shared.word(Word::Time).load(Ordering::Relaxed));
    }
    Ok(())
}

/// Is woken again and again; says how long that took.
fn be_woken(shared: &Shared, rounds: u64, mut receive: impl FnMut() -> Fallible<u64>) -> Fallible {
    for n in 0..rounds {
        let sum = receive()?;
        let now = ticks();
        payload::check(PING_BYTES, n, sum)?;
        let sent = shared.word(Word::Ping).load(Ordering::Acquire);
        shared.word(Word::Time).store(now.saturating_sub(sent), Ordering::Relaxed);
        shared.word(Word::Pong).store(n + 1, Ordering::Release);
    }
    Ok(())
}

/// Has the other process connect, again and again; the times are what it says. It sleeps meanwhile: the threads that
/// serve a visitor share its core.
fn welcome(shared: &Shared, rounds: u64, laps: &mut Laps, contender: &mut dyn Contender) -> Fallible {
    for n in 1..=rounds {
        shared.word(Word::Ping).store(n, Ordering::Release);
        contender.welcome()?;
        sleep_until(shared.futex(Word::FutexPong), n as u32);
        laps.add(shared.word(Word::Time).load(Ordering::Relaxed));
        contender.leave()?;
    }
    Ok(())
}

/// Connects again and again; says how long it took to the first record.
fn visit(shared: &Shared, rounds: u64, contender: &mut dyn Contender) -> Fallible {
    for n in 1..=rounds {
        // What sees the last visitor off needs this processor too.
        nap_until(shared.word(Word::Ping), n);
        // A program that connects has been running: a processor that wakes up is slow at first.
        let woken = Instant::now();
        while woken.elapsed() < AWAKE_BEFORE_VISIT {
            std::hint::spin_loop();
        }
        let start = ticks();
        contender.visit()?;
        shared.word(Word::Time).store(ticks() - start, Ordering::Relaxed);
        contender.leave()?;
        futex_wake(shared.futex(Word::FutexPong), n as u32);
    }
    Ok(())
}
