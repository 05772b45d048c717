//! What everything that is measured is called.

use super::{
    Align, Bouncer, Carrier, Case, ChannelKind, FdSender, Many, Queue, RUN, RawMode, Reading, Sending, Spread, Taps,
};
use crate::contender::{KindId, Waiting};
use crate::life::Life;
use crate::payload::{Bytes, PING_BYTES};
use crate::tasks::TaskReading;
use std::fmt;

impl Case {
    /// The heading it stands under.
    pub(crate) fn measure(self) -> String {
        match self {
            Self::OneWay(_, len) => format!("one way, {} a record", Bytes(len)),
            Self::RoundTrip(_, waiting, len) => format!("round trip of {}, {waiting}", Bytes(len)),
            Self::Spread(Spread::ProducersCost(_)) | Self::ProducersCost(..) => {
                "the producer's cost, 64 B a record".to_owned()
            }
            Self::Spread(_) => "several consumers, drained in turn, or lanes, 64 B a record".to_owned(),
            Self::WakeUp(_) => "waking a sleeper, 56 B".to_owned(),
            Self::FanOut(..) | Self::Lanes(..) => {
                "several consumers, drained in turn, or lanes, 64 B a record".to_owned()
            }
            Self::Load(_, load) => format!("one way at a given rate, 56 B, {load}"),
            Self::Connect(_) => "connect to first record".to_owned(),
            Self::Life(_) => "a client's whole life".to_owned(),
            Self::Descriptors(_, count) => format!("descriptors, {count} a message"),
            Self::FanIn(.., len) => format!("many producers, in turn, to one consumer, {} a record", Bytes(len)),
            Self::Share(..) => "records shared by workers, driven in turn, 64 B a record".to_owned(),
            Self::Taps(_, len, _) => {
                format!("the producer's cost with taps beside a consumer, {} a record", Bytes(len))
            }
        }
    }

    /// The measure's short name, as users select it.
    pub(crate) fn measure_key(self) -> &'static str {
        match self {
            Self::OneWay(..) => "one-way",
            Self::RoundTrip(_, Waiting::Spinning, _) => "round-trip",
            Self::RoundTrip(_, Waiting::Asleep, _) => "asleep",
            Self::RoundTrip(_, Waiting::AsleepOneCore, _) => "asleep-one-core",
            Self::Spread(Spread::ProducersCost(_)) | Self::ProducersCost(..) => "producers-cost",
            Self::Spread(Spread::Lanes(_)) | Self::Lanes(..) => "lanes",
            Self::Spread(Spread::Consumers(..)) | Self::FanOut(..) => "consumers",
            Self::WakeUp(_) => "wake-up",
            Self::Connect(_) => "connect",
            Self::Life(_) => "life",
            Self::Descriptors(..) => "descriptors",
            Self::FanIn(..) => "fan-in",
            Self::Share(..) => "workers",
            Self::Taps(..) => "taps",
            Self::Load(..) => "load",
        }
    }

    /// Whose it is, as users select it; the form in which it is measured is the whole name.
    pub(crate) fn contender(self) -> &'static str {
        let of_bouncer = |bouncer| match bouncer {
            Bouncer::Line | Bouncer::Ring | Bouncer::Slots => "raw ring",
            Bouncer::Futex => "futex",
            Bouncer::Bell | Bouncer::BellAndBarrier => "eventfd",
            Bouncer::Fdring(_) | Bouncer::FdringDefault | Bouncer::FdringFenced => "fdring",
            Bouncer::FdringTasks | Bouncer::FdringCall => "fdring",
            Bouncer::Channel(kind) => kind.name(),
            Bouncer::InProcess(queue) => queue.name(),
            Bouncer::Own(KindId(kind)) => kind.name,
        };
        match self {
            Self::OneWay(Carrier::Raw(_), _) => "raw ring",
            Self::OneWay(Carrier::Fdring(..), _) | Self::Spread(_) | Self::Taps(..) => "fdring",
            Self::OneWay(Carrier::Channel(kind), _) => kind.name(),
            Self::OneWay(Carrier::InProcess(queue), _) => queue.name(),
            Self::OneWay(Carrier::Own(KindId(kind)), _) | Self::FanOut(KindId(kind), _) => kind.name,
            Self::ProducersCost(KindId(kind), _) | Self::Lanes(KindId(kind), _) => kind.name,
            Self::Descriptors(FdSender::Own(KindId(kind)), _) => kind.name,
            Self::RoundTrip(bouncer, ..) | Self::WakeUp(bouncer) => of_bouncer(bouncer),
            Self::Connect(bouncer) | Self::Load(bouncer, _) => of_bouncer(bouncer),
            Self::Life(Life::Empty) => "empty program",
            Self::Life(Life::Client) => "fdring",
            Self::Descriptors(FdSender::Plain, _) => "plain",
            Self::Descriptors(..) => "fdring",
            Self::FanIn(Many::Shape | Many::Runs | Many::Lanes, ..) => "fdring",
            Self::Share(Many::Shape | Many::Runs | Many::Lanes, _) => "fdring",
            Self::FanIn(Many::Datagrams, ..) | Self::Share(Many::Datagrams, _) => "Unix datagram socket",
            Self::FanIn(Many::Own(KindId(kind)), ..) | Self::Share(Many::Own(KindId(kind)), _) => kind.name,
        }
    }

    /// The length of its records in bytes, if it has any.
    pub(crate) fn bytes(self) -> Option<usize> {
        match self {
            Self::OneWay(_, len) | Self::RoundTrip(_, _, len) => Some(len),
            Self::Spread(_) | Self::FanOut(..) | Self::ProducersCost(..) | Self::Lanes(..) => Some(super::SPREAD_LEN),
            Self::WakeUp(_) | Self::Connect(_) | Self::Load(..) => Some(PING_BYTES),
            Self::FanIn(.., len) | Self::Taps(_, len, _) => Some(len),
            Self::Share(..) => Some(super::SPREAD_LEN),
            Self::Descriptors(..) | Self::Life(_) => None,
        }
    }
}

impl ChannelKind {
    fn name(self) -> &'static str {
        match self {
            Self::Pipe => "pipe",
            Self::Stream => "Unix stream",
            Self::Seqpacket => "Unix seqpacket",
        }
    }
}

impl Queue {
    fn name(self) -> &'static str {
        match self {
            Self::Rtrb => "rtrb",
            Self::Crossbeam => "crossbeam",
        }
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OneWay(carrier, _) => carrier.fmt(f),
            Self::RoundTrip(bouncer, ..) | Self::WakeUp(bouncer) | Self::Load(bouncer, _) => bouncer.fmt(f),
            Self::FanOut(KindId(kind), consumers) | Self::ProducersCost(KindId(kind), consumers) => {
                write!(f, "{}, 1 → {consumers}", kind.name)
            }
            Self::Spread(Spread::ProducersCost(consumers)) => write!(f, "fdring reserve, 1 → {consumers}"),
            Self::Spread(Spread::Consumers(consumers, reading)) => {
                write!(f, "fdring batches of 32, 1 → {consumers}, by {}", reading.call())
            }
            Self::Lanes(KindId(kind), 1) => write!(f, "{}, 1 lane", kind.name),
            Self::Lanes(KindId(kind), lanes) => write!(f, "{}, {lanes} lanes", kind.name),
            Self::Spread(Spread::Lanes(1)) => f.write_str("fdring batches of 32, 1 lane"),
            Self::Spread(Spread::Lanes(lanes)) => write!(f, "fdring batches of 32, {lanes} lanes"),
            Self::Taps(taps, _, Sending::Batch) => write!(f, "fdring batches of 32, 1 → 1{taps}"),
            Self::Taps(taps, ..) => write!(f, "fdring reserve, 1 → 1{taps}"),
            Self::Connect(Bouncer::Fdring(_)) => f.write_str("fdring"),
            Self::Connect(bouncer) => bouncer.fmt(f),
            Self::Life(Life::Empty) => f.write_str("empty program"),
            Self::Life(Life::Client) => f.write_str("fdring client of a collector"),
            Self::Descriptors(FdSender::Plain, _) => f.write_str("plain sendmsg and recvmsg"),
            Self::Descriptors(FdSender::Fdring, _) => f.write_str("fdring send_fds and recv_fds"),
            Self::Descriptors(FdSender::OnRecords, _) => f.write_str("fdring send_with_fds and take_fds"),
            Self::Descriptors(FdSender::ManyOnRecords, _) => f.write_str("fdring send_many_with_fds and take_fds"),
            Self::Descriptors(FdSender::Own(KindId(kind)), _) => f.write_str(kind.name),
            Self::FanIn(many, producers, _) => match many {
                Many::Shape => write!(f, "fdring collector, {producers} → 1, by try_next"),
                Many::Runs => write!(f, "fdring collector, {producers} → 1, by try_next_many"),
                Many::Lanes => write!(f, "fdring lanes, {producers} with a consumer each"),
                Many::Datagrams => write!(f, "Unix datagram socket, blocking, {producers} → 1"),
                Many::Own(KindId(kind)) => write!(f, "{}, {producers} → 1", kind.name),
            },
            Self::Share(many, workers) => match many {
                Many::Shape => write!(f, "fdring distributor, 1 → {workers} workers, by reserve"),
                Many::Runs => write!(f, "fdring distributor, 1 → {workers} workers, by fill_many"),
                Many::Lanes => write!(f, "fdring lanes, {workers} with a consumer each"),
                Many::Datagrams => write!(f, "Unix datagram socket, {workers} workers"),
                Many::Own(KindId(kind)) => write!(f, "{}, {workers} workers", kind.name),
            },
        }
    }
}

impl fmt::Display for Taps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let taps = |count: &usize| if *count == 1 { "1 tap".to_owned() } else { format!("{count} taps") };
        match self {
            Self::None => Ok(()),
            Self::NoneAgain => f.write_str(", once more"),
            Self::Reading(count) => write!(f, " and {} reading along", taps(count)),
            Self::Asleep(count) => write!(f, " and {} asleep", taps(count)),
        }
    }
}

impl fmt::Display for Carrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Raw(RawMode::Each) => f.write_str("raw ring, each"),
            Self::Raw(RawMode::EachHeld) => f.write_str("raw ring, each, held"),
            Self::Raw(RawMode::EachFenced) => f.write_str("raw ring, each fenced"),
            Self::Raw(RawMode::Slots) => f.write_str("raw slots, each, no position"),
            Self::Raw(RawMode::Sent) => f.write_str("raw ring, each sent by memcpy"),
            Self::Raw(RawMode::Streamed) => f.write_str("raw ring, each sent by streaming stores"),
            Self::Raw(RawMode::Headed) => f.write_str("raw ring, each with a header"),
            Self::Raw(RawMode::By32) => f.write_str("raw ring, batches of 32"),
            Self::Raw(RawMode::Held) => f.write_str("raw ring, batches of 32, held"),
            Self::Raw(RawMode::Copied) => f.write_str("raw ring, batches of 32, copied"),
            Self::Raw(RawMode::Runs) => write!(f, "raw ring, runs of {RUN} claimed and drained"),
            Self::Fdring(sending, reading, align) => {
                let align = match align {
                    Align::Words => "",
                    Align::Lines => ", record_align 64",
                    Align::Payloads => ", payload_align 64",
                };
                match sending {
                    Sending::Send => write!(f, "fdring send, {reading}{align}"),
                    Sending::Reserve => write!(f, "fdring reserve, {reading}{align}"),
                    Sending::Batch => write!(f, "fdring batches of 32, {reading}{align}"),
                    Sending::Filled => write!(f, "fdring batches of 32 by fill_many, {reading}{align}"),
                    Sending::Slices(values) => write!(f, "fdring slices of {values}, {reading}{align}"),
                }
            }
            // It sleeps while the others spin, as programs do that have nothing else to do.
            Self::Channel(kind) => write!(f, "{kind}, blocking"),
            Self::InProcess(Queue::Rtrb) => f.write_str("rtrb in chunks of 32, in-process"),
            Self::InProcess(Queue::Crossbeam) => f.write_str("crossbeam ArrayQueue, in-process"),
            Self::Own(KindId(kind)) => f.write_str(kind.name),
        }
    }
}

impl fmt::Display for Bouncer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line => f.write_str("cache line"),
            Self::Ring => f.write_str("raw ring"),
            Self::Slots => f.write_str("raw slots, no position"),
            Self::Futex => f.write_str("futex"),
            Self::Bell => f.write_str("eventfd with a poll of 3"),
            Self::BellAndBarrier => f.write_str("eventfd with a poll of 3 and a membarrier"),
            Self::Fdring(reading) => write!(f, "fdring {reading}"),
            Self::FdringDefault => f.write_str("fdring in place, sleeps after 50 µs"),
            Self::FdringCall => f.write_str("fdring call and reply"),
            Self::FdringFenced => f.write_str("fdring in place, fenced"),
            Self::FdringTasks => f.write_str("fdring in place, by block_on"),
            Self::Channel(kind) => kind.fmt(f),
            Self::InProcess(Queue::Rtrb) => f.write_str("rtrb, in-process"),
            Self::InProcess(Queue::Crossbeam) => f.write_str("crossbeam ArrayQueue, in-process"),
            Self::Own(KindId(kind)) => f.write_str(kind.name),
        }
    }
}

impl fmt::Display for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Spinning => "both spinning",
            Self::Asleep => "both asleep in between",
            Self::AsleepOneCore => "both asleep, on one core",
        })
    }
}

impl fmt::Display for Reading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::InPlace => "in place",
            Self::InRuns => "in place in runs",
            Self::Tried => "in place by try_receive",
            Self::Drained => "in place by try_receive_many",
            Self::Copied => "copied",
            Self::CopiedInRuns => "copied in runs",
            Self::CopiedTried => "copied by try_receive",
            Self::CopiedDrained => "copied by try_receive_many",
            Self::InTask(TaskReading::Each) => "in place in a task",
            Self::InTask(TaskReading::InRuns) => "in place in runs in a task",
        })
    }
}

impl fmt::Display for ChannelKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
