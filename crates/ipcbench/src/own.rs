//! Contenders from outside, as one process has them: opened, connected, and run in the measures that are made of their
//! steps.

use crate::clock::{Laps, ticks};
use crate::contender::{Contender, ContenderKind, Fallible, KindId, Role, Waiting, Way};
use crate::payload::PING_BYTES;
use crate::plan::{Case, SPREAD_LEN};
use crate::shared::{Shared, Word, wait_for};
use std::sync::atomic::Ordering;
use std::time::Duration;

/// How long a sleeper is left alone before it is woken, as in `lanes.rs`.
const SLEEP_BEFORE_WAKE: Duration = Duration::from_micros(200);

/// How contenders of one's own wait where no way is given by the case.
pub(crate) const SPINNING: Way = Way::new(PING_BYTES, Waiting::Spinning);
pub(crate) const ASLEEP: Way = Way::new(PING_BYTES, Waiting::Asleep);

pub(crate) fn fan_out(consumers: usize) -> Way {
    Way { consumers, ..Way::new(SPREAD_LEN, Waiting::Spinning) }
}

pub(crate) fn fan_in(producers: usize, len: usize) -> Way {
    Way { producers, ..Way::new(len, Waiting::Spinning) }
}

/// The way that a slice of such a contender goes over.
fn way_of(case: Case) -> Way {
    match case {
        Case::OneWay(_, len) => Way::new(len, Waiting::Spinning),
        Case::RoundTrip(_, waiting, len) => Way::new(len, waiting),
        Case::FanOut(_, consumers) => fan_out(consumers),
        Case::FanIn(_, producers, len) => fan_in(producers, len),
        Case::WakeUp(_) | Case::Connect(_) => ASLEEP,
        _ => SPINNING,
    }
}

/// Wakes the other process's sleeper by `send`, again and again; the times are what it says.
pub(crate) fn wake(shared: &Shared, rounds: u64, laps: &mut Laps, mut send: impl FnMut() -> Fallible) -> Fallible {
    for n in 1..=rounds {
        std::thread::sleep(SLEEP_BEFORE_WAKE);
        shared.word(Word::Ping).store(ticks(), Ordering::Release);
        send()?;
        wait_for(shared.word(Word::Pong), n, || {});
        laps.add(shared.word(Word::Time).load(Ordering::Relaxed));
    }
    Ok(())
}

/// Is woken again and again; says how long that took.
pub(crate) fn be_woken(shared: &Shared, rounds: u64, mut receive: impl FnMut() -> Fallible<u64>) -> Fallible {
    for n in 1..=rounds {
        receive()?;
        let now = ticks();
        let sent = shared.word(Word::Ping).load(Ordering::Acquire);
        shared.word(Word::Time).store(now.saturating_sub(sent), Ordering::Relaxed);
        shared.word(Word::Pong).store(n, Ordering::Release);
    }
    Ok(())
}

/// Has the other process connect, again and again; the times are what it says.
pub(crate) fn welcome(
    shared: &Shared,
    rounds: u64,
    laps: &mut Laps,
    mut welcome: impl FnMut() -> Fallible,
) -> Fallible {
    for n in 1..=rounds {
        shared.word(Word::Ping).store(n, Ordering::Release);
        welcome()?;
        wait_for(shared.word(Word::Pong), n, || {});
        laps.add(shared.word(Word::Time).load(Ordering::Relaxed));
    }
    Ok(())
}

/// Connects again and again; says how long it took to the first record.
pub(crate) fn visit(shared: &Shared, rounds: u64, mut visit: impl FnMut() -> Fallible) -> Fallible {
    for n in 1..=rounds {
        wait_for(shared.word(Word::Ping), n, || {});
        let start = ticks();
        visit()?;
        shared.word(Word::Time).store(ticks() - start, Ordering::Relaxed);
        shared.word(Word::Pong).store(n, Ordering::Release);
    }
    Ok(())
}

/// One process's ends of all contenders from outside, with their numbers from 1 on.
pub(crate) struct Own(Vec<(u64, KindId, Box<dyn Contender>)>);

impl Own {
    /// Opens those that these cases need; `shared` says which is being opened.
    pub(crate) fn open(
        kinds: &'static [ContenderKind],
        cases: &[Case],
        (role, run): (Role, &str),
        shared: &Shared,
    ) -> Fallible<Self> {
        let mut opened = Vec::new();
        for (number, kind) in (1..).zip(kinds) {
            if cases.iter().any(|case| case.own() == Some(KindId(kind))) {
                shared.word(Word::Opening).store(number, Ordering::Release);
                opened.push((number, KindId(kind), (kind.open)(role, run)?));
            }
        }
        shared.word(Word::Opening).store(0, Ordering::Release);
        Ok(Self(opened))
    }

    /// Connects all of them, once the other process has opened its ends.
    pub(crate) fn connect(&mut self, shared: &Shared) -> Fallible {
        for (number, _, contender) in &mut self.0 {
            shared.word(Word::Opening).store(*number, Ordering::Release);
            contender.connect()?;
        }
        shared.word(Word::Opening).store(0, Ordering::Release);
        Ok(())
    }

    pub(crate) fn get(&mut self, kind: KindId) -> &mut dyn Contender {
        let found = self.0.iter_mut().find(|(_, each, _)| *each == kind);
        found.expect("an end of every contender that is measured").2.as_mut()
    }

    /// Tells the contender of a case what begins.
    pub(crate) fn prepare(&mut self, case: Case) -> Fallible {
        case.own().map_or(Ok(()), |kind| self.get(kind).prepare(way_of(case)))
    }
}
