//! One process's ends of everything that is measured, and which of them a slice is about.

use crate::bells::Bells;
use crate::beside::Beside;
use crate::clock::{Clock, Laps};
use crate::contender::{Contender, Fallible, Role, Waiting};
use crate::drive::{self, way_of};
use crate::forms::{Bell, Channel, FdSocket, Futex, Pair, RawOneWay, RawTrips, Shape, Spreading, Stream, Visits};
use crate::lanes::{Incoming, Outgoing, Purpose};
use crate::life::{Lives, Living};
use crate::own::Own;
use crate::payload::PING_BYTES;
use crate::plan::{Bouncer, Carrier, Case, FdSender};
use crate::raw::{Futexes, Ring};
use crate::shapes::{Readers, Writers};
use crate::shared::Shared;
use crate::sleeper::Sleeper;
use crate::sockets::Channels;
use crate::tasks;
use rustix::fd::OwnedFd;

/// One process, as far as it is measured.
pub(crate) struct Side {
    pub(crate) shared: Shared,
    pub(crate) clock: Clock,
    /// The main thread of the other process.
    pub(crate) other: Sleeper,
    pub(crate) ends: Ends,
}

/// One process's ends of all contenders.
pub(crate) struct Ends {
    pub(crate) outgoing: Outgoing,
    pub(crate) incoming: Incoming,
    pub(crate) channels: Channels,
    pub(crate) bells: Bells,
    pub(crate) fds_socket: OwnedFd,
    pub(crate) own: Own,
    pub(crate) shapes: Shapes,
    pub(crate) lives: Lives,
}

/// What has more than two ends, as one of the two processes has it.
pub(crate) enum Shapes {
    Parents(Writers),
    Childs(Readers),
}

impl Shapes {
    /// Which of the two processes this is.
    fn role(&self) -> Role {
        match self {
            Self::Parents(_) => Role::Parent,
            Self::Childs(_) => Role::Child,
        }
    }

    pub(crate) fn writers(&mut self) -> Fallible<&mut Writers> {
        match self {
            Self::Parents(writers) => Ok(writers),
            Self::Childs(_) => Err("the parent sends".into()),
        }
    }

    pub(crate) fn readers(&mut self) -> Fallible<&mut Readers> {
        match self {
            Self::Childs(readers) => Ok(readers),
            Self::Parents(_) => Err("the child receives".into()),
        }
    }
}

impl Side {
    /// A slice of that case begins.
    pub(crate) fn prepare(&mut self, case: Case) -> Fallible {
        self.ends.lend(&self.shared, case, |contender| contender.prepare(way_of(case)))
    }

    /// The parent's half of a slice.
    pub(crate) fn send(&mut self, case: Case, records: u64, laps: &mut Laps) -> Fallible {
        let Self { shared, clock, other, ends } = self;
        ends.lend(shared, case, |contender| drive::send(contender, (shared, clock, other), case, records, laps))
    }

    /// The child's half of a slice; the sum over what it received, where records go one way.
    pub(crate) fn receive(&mut self, case: Case, records: u64) -> Fallible<u64> {
        let Self { shared, other, ends, .. } = self;
        ends.lend(shared, case, |contender| drive::receive(contender, (shared, other), case, records))
    }
}

impl Ends {
    /// Lends the contender of a case.
    fn lend<T>(
        &mut self,
        shared: &Shared,
        case: Case,
        mut to: impl FnMut(&mut dyn Contender) -> Fallible<T>,
    ) -> Fallible<T> {
        if let Some(kind) = case.own() {
            return to(self.own.get(kind));
        }
        let Self { outgoing, incoming, channels, bells, fds_socket, shapes, lives, .. } = self;
        match case {
            Case::OneWay(Carrier::Raw(mode), len) => to(&mut RawOneWay::new(Ring::there(shared, len), mode)),
            Case::OneWay(Carrier::Fdring(sending, reading, align), _) => {
                to(&mut Stream { ends: (outgoing, incoming), form: (sending, reading, align) })
            }
            Case::Load(Bouncer::Ring, _) => {
                let (ring, _) = Ring::trips(shared, PING_BYTES);
                to(&mut RawOneWay::new(ring, crate::plan::RawMode::Each))
            }
            Case::OneWay(Carrier::Channel(kind), _)
            | Case::RoundTrip(Bouncer::Channel(kind), ..)
            | Case::Load(Bouncer::Channel(kind), _) => to(&mut Channel { channels, kind }),
            Case::RoundTrip(Bouncer::FdringCall, ..)
            | Case::FanIn(..)
            | Case::Share(..)
            | Case::Descriptors(FdSender::OnRecords | FdSender::ManyOnRecords, _) => to(&mut Shape { shapes, case }),
            Case::RoundTrip(Bouncer::Bell, ..) | Case::WakeUp(Bouncer::Bell) => to(&mut Bell::<false>::new(bells)),
            Case::RoundTrip(Bouncer::BellAndBarrier, ..) => to(&mut Bell::<true>::new(bells)),
            Case::RoundTrip(Bouncer::Futex, ..) => to(&mut Futex(Futexes::new(shared, shapes.role()))),
            Case::RoundTrip(bouncer @ Bouncer::FdringTasks, waiting, len) => {
                let purpose = Purpose::bounce(bouncer, waiting, len);
                let ends = outgoing.find(purpose).zip(incoming.find_all(purpose));
                let (producer, consumers) = ends.ok_or("both processes have both ends")?;
                to(&mut *tasks::pair(producer, consumers)?)
            }
            Case::RoundTrip(bouncer, waiting, len) if case.is_fdring() => {
                to(&mut pair((outgoing, incoming), (bouncer, waiting, len)))
            }
            Case::Load(bouncer, _) => to(&mut pair((outgoing, incoming), (bouncer, Waiting::Spinning, PING_BYTES))),
            Case::WakeUp(bouncer) => to(&mut pair((outgoing, incoming), (bouncer, Waiting::Asleep, PING_BYTES))),
            Case::RoundTrip(bouncer, ..) => to(&mut RawTrips::new(shared, bouncer)),
            Case::Spread(spread) => to(&mut Spreading { ends: (outgoing, incoming), spread }),
            Case::Taps(taps, _, sending) => {
                to(&mut Beside { ends: (&mut outgoing.beside, &mut incoming.beside), taps, sending })
            }
            Case::Connect(_) => to(&mut Visits(outgoing, incoming)),
            Case::Life(life) => to(&mut Living { lives, shared, life }),
            Case::Descriptors(sender, _) => to(&mut FdSocket { socket: fds_socket, sender }),
            Case::OneWay(Carrier::InProcess(_) | Carrier::Own(_), _)
            | Case::FanOut(..)
            | Case::ProducersCost(..)
            | Case::Lanes(..) => unreachable!("neither built in nor between processes: {case}"),
        }
    }
}

/// The two lanes of round trips, or the one of records at a given rate or to a sleeper.
fn pair<'a>(
    (outgoing, incoming): (&'a mut Outgoing, &'a mut Incoming),
    (bouncer, waiting, len): (Bouncer, Waiting, usize),
) -> Pair<'a> {
    let purpose = Purpose::bounce(bouncer, waiting, len);
    let tries = matches!(bouncer, Bouncer::Fdring(reading) if reading.tries());
    Pair { producer: outgoing.find(purpose), consumer: incoming.find(purpose), tries }
}
