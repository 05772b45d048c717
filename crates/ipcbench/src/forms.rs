//! What is built in, behind [`Contender`]: each form of a raw ring, of fdring and of what the kernel carries.
//!
//! A form borrows its ends for one slice. Where the length of a record matters to the compiler, the loops over records
//! are overridden and know it as a constant; the others are those that every contender has.

use crate::bells::Bells;
use crate::clock::Laps;
use crate::contender::{Contender, Fallible, Way};
use crate::descriptors::{receive_plainly, send_by_fdring, send_plainly};
use crate::lanes::{self, Incoming, Outgoing};
use crate::payload::{self, with_len, with_small_len};
use crate::plan::{
    Align, BATCH, BATCHED_LEN_MAX, Bouncer, Case, ChannelKind, FdSender, RawMode, Reading, Sending, Spread,
};
use crate::raw::{Futexes, Raw, Ring, RingReceiver, RingSender};
use crate::shared::Shared;
use crate::sides::Shapes;
use crate::sockets::Channels;
use fdring::{Consumer, Producer};
use rustix::fd::{BorrowedFd, OwnedFd};

/// A raw ring one way.
pub(crate) struct RawOneWay<'a> {
    ring: Ring<'a>,
    mode: RawMode,
    sender: RingSender<'a>,
    receiver: RingReceiver<'a>,
}

impl<'a> RawOneWay<'a> {
    pub(crate) fn new(ring: Ring<'a>, mode: RawMode) -> Self {
        Self { ring, mode, sender: ring.sender(), receiver: ring.receiver() }
    }
}

impl Contender for RawOneWay<'_> {
    fn send(&mut self, way: Way, n: u64) -> Fallible {
        with_len!(way.len, LEN => self.sender.send_one::<LEN>(n));
        Ok(())
    }

    fn receive(&mut self, way: Way) -> Fallible<u64> {
        Ok(with_len!(way.len, LEN => self.receiver.receive_one::<LEN>()))
    }

    fn send_all(&mut self, way: Way, records: u64) -> Fallible {
        let ring = self.ring;
        match (self.mode, way.len) {
            (RawMode::Slots, _) => ring.send_slots(records),
            (RawMode::Runs, 8) => ring.send_runs::<8>(records),
            (RawMode::Runs, 64) => ring.send_runs::<64>(records),
            (RawMode::Runs, 256) => ring.send_runs::<256>(records),
            (mode, len) => with_len!(len, LEN => match mode {
                RawMode::EachFenced => ring.send::<LEN, 1, true>(records),
                RawMode::Headed => ring.send_headed::<LEN>(records),
                RawMode::Sent => ring.send_copies::<LEN, false>(records),
                RawMode::Streamed => ring.send_copies::<LEN, true>(records),
                RawMode::By32 | RawMode::Held => ring.send::<LEN, BATCH, false>(records),
                // Larger records go one by one, as fdring's do.
                RawMode::Copied if LEN <= BATCHED_LEN_MAX => ring.send::<LEN, BATCH, false>(records),
                _ => ring.send::<LEN, 1, false>(records),
            }),
        }
        Ok(())
    }

    fn receive_all(&mut self, way: Way, records: u64) -> Fallible<u64> {
        let ring = self.ring;
        Ok(match (self.mode, way.len) {
            (RawMode::Slots, _) => ring.receive_slots(records),
            (RawMode::Runs, 8) => ring.receive_runs::<8>(records),
            (RawMode::Runs, 64) => ring.receive_runs::<64>(records),
            (RawMode::Runs, 256) => ring.receive_runs::<256>(records),
            (mode, len) => with_len!(len, LEN => match mode {
                RawMode::Headed => ring.receive_headed::<LEN>(records),
                RawMode::Held | RawMode::EachHeld => ring.receive_held::<LEN>(records),
                RawMode::Sent | RawMode::Streamed => ring.receive_held::<LEN>(records),
                RawMode::Copied => ring.receive_copies::<LEN>(records),
                _ => ring.receive::<LEN>(records),
            }),
        })
    }
}

/// What goes to and fro between two processes that share memory, with nothing around it.
pub(crate) struct RawTrips<'a> {
    raw: Raw<'a>,
    bouncer: Bouncer,
}

impl<'a> RawTrips<'a> {
    pub(crate) fn new(shared: &'a Shared, bouncer: Bouncer) -> Self {
        Self { raw: Raw(shared), bouncer }
    }
}

impl Contender for RawTrips<'_> {
    fn send(&mut self, _: Way, _: u64) -> Fallible {
        Err("it goes to and fro only".into())
    }

    fn receive(&mut self, _: Way) -> Fallible<u64> {
        Err("it goes to and fro only".into())
    }

    fn ping(&mut self, way: Way, rounds: u64, laps: &mut Laps) -> Fallible {
        match self.bouncer {
            Bouncer::Line => self.raw.ping_line(rounds, laps),
            Bouncer::Slots => self.raw.ping_slots(rounds, laps),
            _ => with_small_len!(way.len, LEN => self.raw.ping_ring::<LEN>(rounds, laps)),
        }
        Ok(())
    }

    fn pong(&mut self, way: Way, rounds: u64) -> Fallible {
        match self.bouncer {
            Bouncer::Line => self.raw.pong_line(rounds),
            Bouncer::Slots => self.raw.pong_slots(rounds),
            _ => with_small_len!(way.len, LEN => self.raw.pong_ring::<LEN>(rounds)),
        }
        Ok(())
    }
}

/// A futex. Nothing is carried but the wake-up itself.
pub(crate) struct Futex<'a>(pub(crate) Futexes<'a>);

impl Contender for Futex<'_> {
    fn send(&mut self, _: Way, _: u64) -> Fallible {
        self.0.wake();
        Ok(())
    }

    fn receive(&mut self, way: Way) -> Fallible<u64> {
        Ok(payload::sum_of(way.len, self.0.sleep()))
    }
}

/// A bare eventfd; with `BARRIER` each sleep calls membarrier(2) first. Nothing is carried but the bell itself.
pub(crate) struct Bell<'a, const BARRIER: bool> {
    bells: &'a Bells,
    received: u64,
}

impl<'a, const BARRIER: bool> Bell<'a, BARRIER> {
    pub(crate) fn new(bells: &'a Bells) -> Self {
        Self { bells, received: 0 }
    }
}

impl<const BARRIER: bool> Contender for Bell<'_, BARRIER> {
    fn send(&mut self, _: Way, _: u64) -> Fallible {
        self.bells.ring();
        Ok(())
    }

    fn receive(&mut self, way: Way) -> Fallible<u64> {
        self.bells.sleep::<BARRIER>();
        self.received += 1;
        // As if it had brought that record.
        Ok(payload::sum_of(way.len, self.received - 1))
    }
}

/// A pipe or a socket.
pub(crate) struct Channel<'a> {
    pub(crate) channels: &'a mut Channels,
    pub(crate) kind: ChannelKind,
}

impl Contender for Channel<'_> {
    fn prepare(&mut self, way: Way) -> Fallible {
        self.channels.set_waiting(self.kind, way.waiting);
        Ok(())
    }

    fn send(&mut self, way: Way, n: u64) -> Fallible {
        self.channels.send(self.kind, way.len, n);
        Ok(())
    }

    fn receive(&mut self, way: Way) -> Fallible<u64> {
        Ok(self.channels.receive(self.kind, way.len, 1))
    }

    fn receive_all(&mut self, way: Way, records: u64) -> Fallible<u64> {
        Ok(self.channels.receive(self.kind, way.len, records))
    }
}

/// One fdring lane one way.
pub(crate) struct Stream<'a> {
    pub(crate) ends: (&'a mut Outgoing, &'a mut Incoming),
    pub(crate) form: (Sending, Reading, Align),
}

/// An end that this process does not have.
const NO_SUCH_END: &str = "this process has no such end";

impl Contender for Stream<'_> {
    fn send(&mut self, way: Way, n: u64) -> Fallible {
        let (_, reading, align) = self.form;
        let producer = self.ends.0.find(lanes::Purpose::one_way(way.len, reading, align)).ok_or(NO_SUCH_END)?;
        with_len!(way.len, LEN => lanes::send_one::<LEN>(producer, n));
        Ok(())
    }

    fn receive(&mut self, way: Way) -> Fallible<u64> {
        let (_, reading, align) = self.form;
        let consumer = self.ends.1.find(lanes::Purpose::one_way(way.len, reading, align)).ok_or(NO_SUCH_END)?;
        Ok(lanes::receive_one(consumer))
    }

    fn send_all(&mut self, way: Way, records: u64) -> Fallible {
        let (sending, reading, align) = self.form;
        with_len!(way.len, LEN => self.ends.0.send::<LEN>(sending, reading, align, records));
        Ok(())
    }

    fn receive_all(&mut self, way: Way, records: u64) -> Fallible<u64> {
        let (sending, reading, align) = self.form;
        Ok(with_len!(way.len, LEN => self.ends.1.receive::<LEN>(sending, reading, align, records)))
    }
}

/// A pair of fdring lanes, or the one that this process has an end of.
pub(crate) struct Pair<'a> {
    pub(crate) producer: Option<&'a mut Producer>,
    pub(crate) consumer: Option<&'a mut Consumer>,
    /// Whether it is read by `try_receive`.
    pub(crate) tries: bool,
}

impl Pair<'_> {
    fn both(&mut self) -> Fallible<(&mut Producer, &mut Consumer)> {
        match (&mut self.producer, &mut self.consumer) {
            (Some(producer), Some(consumer)) => Ok((producer, consumer)),
            _ => Err(NO_SUCH_END.into()),
        }
    }
}

impl Contender for Pair<'_> {
    fn send(&mut self, way: Way, n: u64) -> Fallible {
        let producer = self.producer.as_mut().ok_or(NO_SUCH_END)?;
        with_small_len!(way.len, LEN => lanes::send_one::<LEN>(producer, n));
        Ok(())
    }

    fn receive(&mut self, _: Way) -> Fallible<u64> {
        Ok(lanes::receive_one(self.consumer.as_mut().ok_or(NO_SUCH_END)?))
    }

    fn ping(&mut self, way: Way, rounds: u64, laps: &mut Laps) -> Fallible {
        let tries = self.tries;
        with_small_len!(way.len, LEN => lanes::ping::<LEN>(self.both()?, tries, rounds, laps));
        Ok(())
    }

    fn pong(&mut self, way: Way, rounds: u64) -> Fallible {
        let tries = self.tries;
        with_small_len!(way.len, LEN => lanes::pong::<LEN>(self.both()?, tries, rounds));
        Ok(())
    }
}

/// Several fdring lanes, or consumers of one.
pub(crate) struct Spreading<'a> {
    pub(crate) ends: (&'a mut Outgoing, &'a mut Incoming),
    pub(crate) spread: Spread,
}

impl Contender for Spreading<'_> {
    fn send(&mut self, _: Way, _: u64) -> Fallible {
        Err("it sends in batches only".into())
    }

    fn receive(&mut self, _: Way) -> Fallible<u64> {
        Err("it reads in batches only".into())
    }

    fn send_all(&mut self, _: Way, records: u64) -> Fallible {
        self.ends.0.spread(self.spread, records);
        Ok(())
    }

    fn receive_all(&mut self, _: Way, records: u64) -> Fallible<u64> {
        Ok(self.ends.1.receive_spread(self.spread, records))
    }
}

/// Consumers that come to an fdring lane and leave it.
pub(crate) struct Visits<'a>(pub(crate) &'a mut Outgoing, pub(crate) &'a mut Incoming);

impl Contender for Visits<'_> {
    fn send(&mut self, _: Way, _: u64) -> Fallible {
        Err("it sends to visitors only".into())
    }

    fn receive(&mut self, _: Way) -> Fallible<u64> {
        Err("it receives on visits only".into())
    }

    fn welcome(&mut self) -> Fallible {
        self.0.welcome()
    }

    fn visit(&mut self) -> Fallible {
        self.1.visit()
    }

    fn leave(&mut self) -> Fallible {
        self.1.leave();
        self.0.see_off();
        Ok(())
    }
}

/// What has more than two ends, calls, and descriptors on records.
pub(crate) struct Shape<'a> {
    pub(crate) shapes: &'a mut Shapes,
    pub(crate) case: Case,
}

impl Contender for Shape<'_> {
    fn send(&mut self, _: Way, _: u64) -> Fallible {
        Err("it sends in turn only".into())
    }

    fn receive(&mut self, _: Way) -> Fallible<u64> {
        Err("it receives in turn only".into())
    }

    fn send_all(&mut self, way: Way, records: u64) -> Fallible {
        self.shapes.writers()?.send(self.case, way, records)
    }

    fn receive_all(&mut self, way: Way, records: u64) -> Fallible<u64> {
        self.shapes.readers()?.receive(self.case, way, records)
    }

    fn ping(&mut self, _: Way, rounds: u64, laps: &mut Laps) -> Fallible {
        self.shapes.writers()?.call(self.case, rounds, laps)
    }

    fn pong(&mut self, _: Way, rounds: u64) -> Fallible {
        self.shapes.readers()?.answer(self.case, rounds)
    }

    fn send_fds(&mut self, fds: &[BorrowedFd<'_>]) -> Fallible {
        self.shapes.writers()?.send_fds(fds)
    }

    fn send_many_fds(&mut self, fds: &[BorrowedFd<'_>], messages: usize) -> Fallible {
        self.shapes.writers()?.send_many_fds(fds, messages)
    }

    fn receive_fds(&mut self, _: usize) -> Fallible<usize> {
        self.shapes.readers()?.receive_fds()
    }
}

/// Descriptors over a bare socket.
pub(crate) struct FdSocket<'a> {
    pub(crate) socket: &'a OwnedFd,
    pub(crate) sender: FdSender,
}

impl Contender for FdSocket<'_> {
    fn send(&mut self, _: Way, _: u64) -> Fallible {
        Err("it carries descriptors only".into())
    }

    fn receive(&mut self, _: Way) -> Fallible<u64> {
        Err("it carries descriptors only".into())
    }

    fn send_fds(&mut self, fds: &[BorrowedFd<'_>]) -> Fallible {
        match self.sender {
            FdSender::Fdring => send_by_fdring(self.socket, fds),
            _ => {
                send_plainly(self.socket, fds);
                Ok(())
            }
        }
    }

    fn receive_fds(&mut self, count: usize) -> Fallible<usize> {
        Ok(match self.sender {
            FdSender::Fdring => fdring::recv_fds(self.socket, &mut [0], count)?.fds.len(),
            _ => receive_plainly(self.socket, count),
        })
    }
}
