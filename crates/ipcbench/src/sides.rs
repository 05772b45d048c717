//! One process's ends of everything that is measured, and its half of each slice.

use crate::bells::Bells;
use crate::clock::{Clock, Laps};
use crate::contender::{Contender, Fallible, KindId, Waiting, Way};
use crate::descriptors;
use crate::lanes::{self, Incoming, Outgoing, Purpose};
use crate::load::Load;
use crate::own::{ASLEEP, Own, SPINNING, be_woken, fan_in, fan_out, visit, wake, welcome};
use crate::payload::{PING_BYTES, boxed, with_len, with_small_len};
use crate::plan::{BATCH, BATCHED_LEN_MAX, Bouncer, Carrier, Case, Many, RawMode, SPREAD_LEN};
use crate::raw::{Raw, Ring};
use crate::shapes::{Readers, Writers};
use crate::shared::{Shared, Word, wait_for};
use crate::sockets::Channels;
use rustix::fd::{BorrowedFd, OwnedFd};
use std::sync::atomic::Ordering;

/// One process's ends of all contenders.
pub(crate) struct Side {
    pub(crate) shared: Shared,
    pub(crate) outgoing: Outgoing,
    pub(crate) incoming: Incoming,
    pub(crate) channels: Channels,
    pub(crate) bells: Bells,
    pub(crate) fds_socket: OwnedFd,
    pub(crate) own: Own,
    pub(crate) shapes: Shapes,
    pub(crate) clock: Clock,
}

/// What has more than two ends, as one of the two processes has it.
pub(crate) enum Shapes {
    Parents(Writers),
    Childs(Readers),
}

impl Shapes {
    fn writers(&mut self) -> &mut Writers {
        match self {
            Self::Parents(writers) => writers,
            Self::Childs(_) => unreachable!("the parent sends"),
        }
    }

    fn readers(&mut self) -> &mut Readers {
        match self {
            Self::Childs(readers) => readers,
            Self::Parents(_) => unreachable!("the child receives"),
        }
    }
}

impl Side {
    /// The parent's half of a slice.
    pub(crate) fn send(&mut self, case: Case, records: u64, laps: &mut Laps) -> Fallible {
        match case {
            Case::OneWay(carrier, len) => return self.send_one_way(carrier, len, records),
            Case::RoundTrip(bouncer, waiting, len) => return self.ping((bouncer, waiting, len), records, laps),
            Case::Spread(spread) => self.outgoing.spread(spread, records),
            Case::FanOut(kind, consumers) => return self.own(kind).send_all(fan_out(consumers), records),
            Case::WakeUp(Bouncer::Bell) => self.bells.wake(&self.shared, records, laps),
            Case::WakeUp(Bouncer::Own(kind)) => {
                let contender = self.own.get(kind);
                return wake(&self.shared, records, laps, || contender.send(ASLEEP, 0));
            }
            Case::WakeUp(_) => self.outgoing.wake(&self.shared, records, laps),
            Case::Connect(Bouncer::Own(kind)) => {
                let contender = self.own.get(kind);
                return welcome(&self.shared, records, laps, || contender.welcome());
            }
            Case::Connect(_) => self.outgoing.be_visited(&self.shared, records, laps),
            Case::Load(bouncer, load) => {
                self.send_load(bouncer, load, records)?;
                wait_for(self.shared.word(Word::Pong), 1, || {});
                Load::collect(&self.shared, records, laps);
            }
            Case::Descriptors(sender, count) => {
                let mut send_on_record = |fds: &[BorrowedFd<'_>]| self.shapes.writers().send_fds(fds);
                let ends = (&self.fds_socket, &self.shared);
                return descriptors::send(ends, (sender, count), records, &mut send_on_record);
            }
            Case::FanIn(Many::Own(kind), producers, len) => {
                return self.own(kind).send_all(fan_in(producers, len), records);
            }
            Case::FanIn(_, producers, len) => return self.shapes.writers().fan_in(case, (producers, len), records),
            Case::Share(_, workers) => return self.shapes.writers().share(case, workers, records),
        }
        Ok(())
    }

    fn send_one_way(&mut self, carrier: Carrier, len: usize, records: u64) -> Fallible {
        match carrier {
            Carrier::Raw(RawMode::Runs) => {
                let ring = Ring::there(&self.shared, len);
                match len {
                    8 => ring.send_runs::<8>(records),
                    64 => ring.send_runs::<64>(records),
                    256 => ring.send_runs::<256>(records),
                    other => unreachable!("no runs of {other} bytes are planned"),
                }
            }
            Carrier::Raw(mode) => {
                let ring = Ring::there(&self.shared, len);
                with_len!(len, LEN => match mode {
                    RawMode::EachFenced => ring.send::<LEN, 1, true>(records),
                    RawMode::Headed => ring.send_headed::<LEN>(records),
                    RawMode::By32 | RawMode::Held => ring.send::<LEN, BATCH, false>(records),
                    // Larger records go one by one, as fdring's do.
                    RawMode::Copied if LEN <= BATCHED_LEN_MAX => ring.send::<LEN, BATCH, false>(records),
                    _ => ring.send::<LEN, 1, false>(records),
                });
            }
            Carrier::Fdring(sending, reading, align) => {
                with_len!(len, LEN => self.outgoing.send::<LEN>(sending, reading, align, records));
            }
            Carrier::Channel(kind) => with_len!(len, LEN => self.channels.send::<LEN>(kind, records)),
            Carrier::Own(kind) => return self.own(kind).send_all(Way::new(len, Waiting::Spinning), records),
            Carrier::InProcess(_) => unreachable!("runs in the parent alone"),
        }
        Ok(())
    }

    /// Sends records when they are due.
    fn send_load(&mut self, bouncer: Bouncer, load: Load, records: u64) -> Fallible {
        let clock = self.clock;
        match bouncer {
            Bouncer::Ring => {
                let mut sender = Ring::trips(&self.shared, PING_BYTES).0.sender();
                load.send(&clock, records, surely(|due| sender.send_one::<PING_BYTES>(due)))
            }
            Bouncer::Fdring(_) | Bouncer::FdringDefault => {
                let producer = self.outgoing.lane(Purpose::bounce(bouncer, Waiting::Spinning, PING_BYTES));
                load.send(&clock, records, surely(|due| lanes::send_one::<PING_BYTES>(producer, due)))
            }
            Bouncer::Channel(kind) => {
                let mut payload = boxed::<PING_BYTES>();
                load.send(&clock, records, surely(|due| self.channels.send_one(kind, &mut payload, due)))
            }
            Bouncer::Own(kind) => {
                let contender = self.own(kind);
                load.send(&clock, records, |due| contender.send(SPINNING, due))
            }
            other => unreachable!("{other} is measured at no rate"),
        }
    }

    /// The child's half of the same.
    fn receive_load(&mut self, bouncer: Bouncer, records: u64) -> Fallible {
        let shared = &self.shared;
        match bouncer {
            Bouncer::Ring => {
                let mut receiver = Ring::trips(shared, PING_BYTES).0.receiver();
                Load::receive(shared, records, || Ok(receiver.receive_one::<PING_BYTES>()))?;
            }
            Bouncer::Fdring(_) | Bouncer::FdringDefault => {
                let consumer = self.incoming.lane(Purpose::bounce(bouncer, Waiting::Spinning, PING_BYTES));
                Load::receive(shared, records, || Ok(lanes::receive_one(consumer)))?;
            }
            Bouncer::Channel(kind) => {
                self.channels.set_waiting(kind, Waiting::Spinning);
                Load::receive(shared, records, || Ok(self.channels.receive(kind, PING_BYTES, 1)))?;
                self.channels.set_waiting(kind, Waiting::Asleep);
            }
            Bouncer::Own(kind) => {
                let contender = self.own.get(kind);
                Load::receive(shared, records, || contender.receive(SPINNING))?;
            }
            other => unreachable!("{other} is measured at no rate"),
        }
        shared.word(Word::Pong).store(1, Ordering::Release);
        Ok(())
    }

    fn ping(&mut self, (bouncer, waiting, len): (Bouncer, Waiting, usize), rounds: u64, laps: &mut Laps) -> Fallible {
        let raw = Raw(&self.shared);
        match bouncer {
            Bouncer::Line => raw.ping_line(rounds, laps),
            Bouncer::Ring => with_small_len!(len, LEN => raw.ping_ring::<LEN>(rounds, laps)),
            Bouncer::Slots => raw.ping_slots(rounds, laps),
            Bouncer::Futex => raw.ping_futex(rounds, laps),
            Bouncer::Bell => self.bells.ping::<false>(rounds, laps),
            Bouncer::BellAndBarrier => self.bells.ping::<true>(rounds, laps),
            Bouncer::Fdring(_) | Bouncer::FdringDefault | Bouncer::FdringFenced => {
                let lane = Purpose::bounce(bouncer, waiting, len);
                let ends = (&mut self.outgoing, &mut self.incoming);
                with_small_len!(len, LEN => lanes::ping::<LEN>(ends, lane, rounds, laps));
            }
            Bouncer::Channel(kind) => {
                with_small_len!(len, LEN => self.channels.ping::<LEN>(kind, waiting, rounds, laps));
            }
            Bouncer::Own(kind) => return self.own(kind).ping(Way::new(len, waiting), rounds, laps),
            Bouncer::FdringCall => {
                let case = Case::RoundTrip(bouncer, waiting, len);
                for n in 0..rounds {
                    std::hint::black_box(self.shapes.writers().call(case, n)?);
                    laps.end();
                }
            }
            Bouncer::InProcess(_) => unreachable!("runs in the parent alone"),
        }
        Ok(())
    }

    /// The child's half of a slice; the sum over what it received, where records go one way.
    pub(crate) fn receive(&mut self, case: Case, records: u64) -> Fallible<u64> {
        match case {
            Case::OneWay(carrier, len) => return self.receive_one_way(carrier, len, records),
            Case::RoundTrip(bouncer, waiting, len) => self.pong((bouncer, waiting, len), records)?,
            Case::Spread(spread) => return Ok(self.incoming.receive_spread(spread, records)),
            Case::FanOut(kind, consumers) => return self.own(kind).receive_all(fan_out(consumers), records),
            Case::WakeUp(Bouncer::Bell) => self.bells.be_woken(&self.shared, records),
            Case::WakeUp(Bouncer::Own(kind)) => {
                let contender = self.own.get(kind);
                be_woken(&self.shared, records, || contender.receive(ASLEEP))?;
            }
            Case::WakeUp(_) => self.incoming.be_woken(&self.shared, records),
            Case::Connect(Bouncer::Own(kind)) => {
                let contender = self.own.get(kind);
                visit(&self.shared, records, || contender.visit())?;
            }
            Case::Connect(_) => self.incoming.visit(&self.shared, records),
            Case::Load(bouncer, _) => self.receive_load(bouncer, records)?,
            Case::Descriptors(sender, count) => {
                let mut receive_on_record = || self.shapes.readers().receive_fds();
                let ends = (&self.fds_socket, &self.shared);
                descriptors::receive(ends, (sender, count), records, &mut receive_on_record)?;
            }
            Case::FanIn(Many::Own(kind), producers, len) => {
                return self.own(kind).receive_all(fan_in(producers, len), records);
            }
            Case::FanIn(_, producers, len) => return self.shapes.readers().receive(case, (producers, len), records),
            Case::Share(_, workers) => return self.shapes.readers().receive(case, (workers, SPREAD_LEN), records),
        }
        Ok(0)
    }

    fn receive_one_way(&mut self, carrier: Carrier, len: usize, records: u64) -> Fallible<u64> {
        Ok(match carrier {
            Carrier::Raw(RawMode::Runs) => {
                let ring = Ring::there(&self.shared, len);
                match len {
                    8 => ring.receive_runs::<8>(records),
                    64 => ring.receive_runs::<64>(records),
                    256 => ring.receive_runs::<256>(records),
                    other => unreachable!("no runs of {other} bytes are planned"),
                }
            }
            Carrier::Raw(mode) => {
                let ring = Ring::there(&self.shared, len);
                with_len!(len, LEN => match mode {
                    RawMode::Headed => ring.receive_headed::<LEN>(records),
                    RawMode::Held | RawMode::EachHeld => ring.receive_held::<LEN>(records),
                    RawMode::Copied => ring.receive_copies::<LEN>(records),
                    _ => ring.receive::<LEN>(records),
                })
            }
            Carrier::Fdring(sending, reading, align) => {
                with_len!(len, LEN => self.incoming.receive::<LEN>(sending, reading, align, records))
            }
            Carrier::Channel(kind) => self.channels.receive(kind, len, records),
            Carrier::Own(kind) => return self.own(kind).receive_all(Way::new(len, Waiting::Spinning), records),
            Carrier::InProcess(_) => unreachable!("runs in the parent alone"),
        })
    }

    fn pong(&mut self, (bouncer, waiting, len): (Bouncer, Waiting, usize), rounds: u64) -> Fallible {
        let raw = Raw(&self.shared);
        match bouncer {
            Bouncer::Line => raw.pong_line(rounds),
            Bouncer::Ring => with_small_len!(len, LEN => raw.pong_ring::<LEN>(rounds)),
            Bouncer::Slots => raw.pong_slots(rounds),
            Bouncer::Futex => raw.pong_futex(rounds),
            Bouncer::Bell => self.bells.pong::<false>(rounds),
            Bouncer::BellAndBarrier => self.bells.pong::<true>(rounds),
            Bouncer::Fdring(_) | Bouncer::FdringDefault | Bouncer::FdringFenced => {
                let lane = Purpose::bounce(bouncer, waiting, len);
                let ends = (&mut self.outgoing, &mut self.incoming);
                with_small_len!(len, LEN => lanes::pong::<LEN>(ends, lane, rounds));
            }
            Bouncer::Channel(kind) => with_small_len!(len, LEN => self.channels.pong::<LEN>(kind, waiting, rounds)),
            Bouncer::Own(kind) => return self.own(kind).pong(Way::new(len, waiting), rounds),
            Bouncer::FdringCall => {
                let case = Case::RoundTrip(bouncer, waiting, len);
                return (0..rounds).try_for_each(|n| self.shapes.readers().answer(case, n));
            }
            Bouncer::InProcess(_) => unreachable!("runs in the parent alone"),
        }
        Ok(())
    }

    fn own(&mut self, kind: KindId) -> &mut dyn Contender {
        self.own.get(kind)
    }
}

/// A sending that cannot fail.
fn surely(mut send: impl FnMut(u64)) -> impl FnMut(u64) -> Fallible {
    move |n| {
        send(n);
        Ok(())
    }
}
