//! What is measured: every contender in every measure, as both processes know it by its number.

mod names;

use crate::contender::{Capability, ContenderKind, KindId, ROOM, Waiting};
use crate::life::Life;
use crate::load::Load;
use crate::payload::{LENGTHS, PING_BYTES, TRIP_LENGTHS, sum_of_all};
use crate::raw::STREAMS;
use crate::shapes::records_at_once;
use crate::shared::{LATENCIES_MAX, RING_BYTES, TAPS_RING_BYTES, bounce_lane_bytes, ring_bytes};
use crate::tasks::{self, TaskReading};

/// How many records a batch has, in every contender that sends in batches.
pub(crate) const BATCH: u64 = 32;
/// How many slots the raw ring claims and drains at once in its quickest mode.
pub(crate) const RUN: u64 = 128;
/// How many 8-byte values the longer slices have.
pub(crate) const LONG_SLICE: u64 = 512;
/// From this length on, in bytes, a batch of 32 is a good part of the ring, and then the two sides wait for each other.
pub(crate) const BATCHED_LEN_MAX: usize = 16 << 10;
/// The lengths of records, published one by one, that are read by a loop of `try_receive` too, in bytes.
const TRIED_LENGTHS: [usize; 5] = [64, 256, 1024, 4 << 10, 64 << 10];
/// The lengths of records that tasks read, in bytes.
pub(crate) const TASK_LENGTHS: [usize; 2] = [64, 4 << 10];
/// The messages of descriptors, by how many each carries.
pub(crate) const FD_COUNTS: [usize; 5] = [1, 4, 16, 64, 253];
/// How many consumers a lane has in turn.
pub(crate) const CONSUMER_COUNTS: [usize; 3] = [1, 2, 4];
/// Over how many lanes records are spread in turn.
pub(crate) const LANE_COUNTS: [usize; 3] = [1, 4, 16];
/// Whole batches for each of the most lanes.
const LANES_STEP: u64 = BATCH * LANE_COUNTS[LANE_COUNTS.len() - 1] as u64;
/// So many slices of a producer that never waits go once round its ring: one fits half a ring, headers included.
const SLICES_A_LAP: u64 = 4;
const _: () = assert!(SLICES_A_LAP * ROOM == (RING_BYTES / SPREAD_LEN) as u64);

/// How many producers send to one, and the lengths of what they send, in bytes.
pub(crate) const PRODUCER_COUNTS: [usize; 4] = [1, 2, 4, 8];
pub(crate) const FAN_IN_LENGTHS: [usize; 2] = [SPREAD_LEN, 64 << 10];

/// The lengths of records with taps beside their consumer, in bytes, and how they are sent.
pub(crate) const TAPS_FORMS: [(usize, Sending); 3] =
    [(SPREAD_LEN, Sending::Reserve), (SPREAD_LEN, Sending::Batch), (64 << 10, Sending::Reserve)];

/// How a raw ring publishes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RawMode {
    Each,
    /// Each, to a receiver that looks less often at a sender that is not far ahead.
    EachHeld,
    /// With the fence that a wake-up protocol needs.
    EachFenced,
    /// Each in a slot that says itself that it is full, where no position is published.
    Slots,
    /// Each with a header on a line of its own.
    Headed,
    /// Each copied into its slot by memcpy, from a buffer that is in the sender's cache.
    Sent,
    /// The same by streaming stores, which go past the caches.
    Streamed,
    By32,
    /// By 32, to a receiver that looks less often at a sender that is not far ahead.
    Held,
    /// As `Held`, to a receiver that copies each record out.
    Copied,
    /// Runs of slots are claimed as one slice, and drained as one.
    Runs,
}

impl RawMode {
    /// Whether payloads are copied into their slots; else they are written there.
    fn copies_in(self) -> bool {
        matches!(self, Self::Sent | Self::Streamed)
    }
}

/// How an fdring producer sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sending {
    Send,
    Reserve,
    Batch,
    /// In batches, each filled by one call of `fill_many`.
    Filled,
    /// Records of that number of values each.
    Slices(u64),
}

/// How an fdring consumer reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reading {
    InPlace,
    /// As many as are known to follow one another, in one call.
    InRuns,
    /// By a loop of `try_receive`, which never waits.
    Tried,
    /// All that are published, in a loop of `try_receive_many`, which never waits.
    Drained,
    Copied,
    CopiedInRuns,
    CopiedTried,
    CopiedDrained,
    /// By a task of tokio, in place.
    InTask(TaskReading),
}

impl Reading {
    /// Those of several consumers in one process.
    const SPREAD: [Self; 4] = [Self::InPlace, Self::InRuns, Self::Tried, Self::Drained];

    pub(crate) fn copies(self) -> bool {
        matches!(self, Self::Copied | Self::CopiedInRuns | Self::CopiedTried | Self::CopiedDrained)
    }

    pub(crate) fn tries(self) -> bool {
        matches!(self, Self::Tried | Self::CopiedTried)
    }

    /// Those of round trips of `len` bytes with both sides spinning.
    pub(crate) fn of_trips(len: usize) -> Vec<Self> {
        let mut readings = vec![Self::InPlace, Self::Copied];
        if len <= 4 << 10 {
            readings.extend([Self::Tried, Self::CopiedTried]);
        }
        readings
    }

    /// The name of the call that it is made of.
    pub(super) fn call(self) -> &'static str {
        match self {
            Self::InPlace | Self::Copied => "receive",
            Self::InRuns | Self::CopiedInRuns => "receive_many",
            Self::Tried | Self::CopiedTried => "try_receive",
            Self::Drained | Self::CopiedDrained => "try_receive_many",
            Self::InTask(TaskReading::Each) => "receive in a task",
            Self::InTask(TaskReading::InRuns) => "receive_many in a task",
        }
    }
}

/// The lanes of the benchmark: how their records are aligned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Align {
    Words,
    /// `record_align` 64.
    Lines,
    /// `payload_align` 64.
    Payloads,
}

/// What the kernel carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ChannelKind {
    Pipe,
    Stream,
    Seqpacket,
}

/// Queues between threads of one process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Queue {
    Rtrb,
    Crossbeam,
}

/// Who carries records one way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Carrier {
    Raw(RawMode),
    Fdring(Sending, Reading, Align),
    Channel(ChannelKind),
    InProcess(Queue),
    /// A contender from outside.
    Own(KindId),
}

/// Who carries a record there and back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bouncer {
    Line,
    Ring,
    /// A ring of slots that say themselves that they are full, where no position is published.
    Slots,
    Futex,
    /// An eventfd, waited for by a poll of as many descriptors as an fdring consumer polls.
    Bell,
    /// The same, with a call of membarrier(2) before each poll, as an fdring consumer makes it.
    BellAndBarrier,
    Fdring(Reading),
    /// In place, over a lane as it is by default: either end sleeps when it has waited for 50 µs.
    FdringDefault,
    /// In place, over a lane without the asymmetric barrier: each publication is fenced, and no sleep calls anything.
    FdringFenced,
    /// In place, each receive a `block_on` of tokio.
    FdringTasks,
    /// A call and its reply.
    FdringCall,
    Channel(ChannelKind),
    InProcess(Queue),
    /// A contender from outside.
    Own(KindId),
}

/// What a slice with several lanes or consumers tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Spread {
    /// What a record costs the producer of a lane with that number of consumers, which never waits for them.
    ProducersCost(usize),
    /// The time until each of that number of consumers has every record; all of them read like that, in place.
    Consumers(usize, Reading),
    /// Records spread over that number of lanes, each with a consumer.
    Lanes(usize),
}

/// The taps beside the one consumer of a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taps {
    None,
    /// As before: how far two cases differ that are the same.
    NoneAgain,
    /// That number of them, which read along.
    Reading(usize),
    /// That number of them, which sleep through the burst, and read its last record after it.
    Asleep(usize),
}

impl Taps {
    pub(crate) const ALL: [Self; 6] =
        [Self::None, Self::NoneAgain, Self::Reading(1), Self::Reading(4), Self::Asleep(1), Self::Asleep(4)];

    pub(crate) fn count(self) -> usize {
        match self {
            Self::None | Self::NoneAgain => 0,
            Self::Reading(count) | Self::Asleep(count) => count,
        }
    }
}

/// Who carries records from many, or to many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Many {
    /// fdring's collector, or its distributor: one record a call.
    Shape,
    /// The same, many records a call.
    Runs,
    /// As many plain lanes, with a consumer each.
    Lanes,
    /// Unix datagram sockets, all connected to one.
    Datagrams,
    /// A contender from outside.
    Own(KindId),
}

/// Who sends arrays of descriptors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FdSender {
    Plain,
    Fdring,
    /// Attached to records of an fdring lane.
    OnRecords,
    /// The same, to many records at once.
    ManyOnRecords,
    /// A contender from outside.
    Own(KindId),
}

/// One contender in one measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Case {
    OneWay(Carrier, usize),
    RoundTrip(Bouncer, Waiting, usize),
    Spread(Spread),
    /// From the commit, or the write, to the sleeper's hands.
    WakeUp(Bouncer),
    /// From the connect to the first record.
    Connect(Bouncer),
    /// Records to each of that number of consumers.
    FanOut(KindId, usize),
    /// What a record costs the sender that has that number of consumers, and never waits for them.
    ProducersCost(KindId, usize),
    /// Records spread over so many lanes, each with a consumer.
    Lanes(KindId, usize),
    /// Records one way at a given rate: from when each was due to when it is in the receiver's hands.
    Load(Bouncer, Load),
    Descriptors(FdSender, usize),
    /// Records of that length from that number of producers, which send in turn, to one that reads all.
    FanIn(Many, usize, usize),
    /// Records, each to one of that number of workers, which are driven in turn.
    Share(Many, usize),
    /// What a record of that length costs the producer of a lane with a consumer and these taps, sent like that.
    Taps(Taps, usize, Sending),
    /// From the start of a program to its end.
    Life(Life),
}

/// The payload of records where their length is not what is measured, in bytes.
pub(crate) const SPREAD_LEN: usize = 64;

impl Case {
    /// The probe: how far apart the two cores are.
    pub(crate) const PROBE: Self = Self::RoundTrip(Bouncer::Line, Waiting::Spinning, PING_BYTES);

    /// What its figures are compared with: the best of these, in its best state, is the ceiling.
    pub(crate) fn ceilings(self) -> Vec<Self> {
        let raw = |len: usize| Self::bare_rings(len).into_iter().filter(Self::is_written_in_place);
        match self {
            Self::OneWay(_, len) if self.is_written_in_place() => raw(len).collect(),
            Self::OneWay(_, len) => Self::bare_rings(len),
            Self::RoundTrip(_, Waiting::Spinning, PING_BYTES) => [Bouncer::Ring, Bouncer::Slots]
                .map(|ring| Self::RoundTrip(ring, Waiting::Spinning, PING_BYTES))
                .to_vec(),
            Self::RoundTrip(_, Waiting::Spinning, len) => {
                vec![Self::RoundTrip(Bouncer::Ring, Waiting::Spinning, len)]
            }
            Self::RoundTrip(_, waiting, len) => {
                [Bouncer::Bell, Bouncer::Futex].map(|bell| Self::RoundTrip(bell, waiting, len)).to_vec()
            }
            Self::Spread(Spread::ProducersCost(_)) | Self::ProducersCost(..) => {
                vec![Self::Spread(Spread::ProducersCost(1))]
            }
            Self::Spread(_) | Self::FanOut(..) | Self::Lanes(..) | Self::Share(..) => raw(SPREAD_LEN).collect(),
            Self::FanIn(.., len) => raw(len).collect(),
            Self::Load(_, load) => vec![Self::Load(Bouncer::Ring, load)],
            Self::WakeUp(_) => vec![Self::WakeUp(Bouncer::Bell)],
            Self::Taps(_, len, sending) => vec![Self::Taps(Taps::None, len, sending)],
            Self::Connect(_) | Self::Life(_) => Vec::new(),
            Self::Descriptors(_, count) => vec![Self::Descriptors(FdSender::Plain, count)],
        }
    }

    /// The raw rings for records of `len` bytes that do nothing besides carrying them.
    pub(crate) fn bare_rings(len: usize) -> Vec<Self> {
        let does_more = |mode: &RawMode| matches!(mode, RawMode::EachFenced | RawMode::Headed | RawMode::Copied);
        let bare = raw_modes(len).into_iter().filter(|mode| !does_more(mode));
        bare.map(|mode| Self::OneWay(Carrier::Raw(mode), len)).collect()
    }

    /// Whether its sender writes each payload where the receiver reads it. What copies a finished payload there has
    /// bare rings that copy it too among its ceilings: between far cores they are several times as quick. The kernel
    /// copies, and what contenders from outside do is not known.
    fn is_written_in_place(&self) -> bool {
        match self {
            Self::OneWay(Carrier::Raw(mode), _) => !mode.copies_in(),
            Self::OneWay(Carrier::Fdring(sending, ..), _) => *sending != Sending::Send,
            Self::OneWay(carrier, _) => matches!(carrier, Carrier::InProcess(_)),
            _ => true,
        }
    }

    /// Whether each record is published alone; else several are at once.
    pub(crate) fn publishes_each(self) -> bool {
        match self {
            Self::OneWay(Carrier::Raw(mode), len) => match mode {
                RawMode::By32 | RawMode::Held | RawMode::Runs => false,
                RawMode::Copied => len > BATCHED_LEN_MAX,
                _ => true,
            },
            Self::OneWay(Carrier::Fdring(sending, ..), _) => matches!(sending, Sending::Send | Sending::Reserve),
            _ => true,
        }
    }

    /// Whether it carries several values in each record, and so has the work of a record once for many.
    pub(crate) fn carries_slices(self) -> bool {
        match self {
            Self::OneWay(Carrier::Raw(mode), _) => mode == RawMode::Runs,
            Self::OneWay(Carrier::Fdring(sending, ..), _) => matches!(sending, Sending::Slices(_)),
            _ => false,
        }
    }

    /// How many consumers and how many lanes it has.
    fn shape(self) -> [usize; 2] {
        match self {
            Self::Spread(Spread::ProducersCost(consumers) | Spread::Consumers(consumers, _)) => [consumers, 1],
            Self::FanOut(_, consumers) | Self::ProducersCost(_, consumers) => [consumers, 1],
            Self::FanIn(_, producers, _) => [producers, 1],
            Self::Share(_, workers) => [workers, 1],
            Self::Spread(Spread::Lanes(lanes)) | Self::Lanes(_, lanes) => [1, lanes],
            _ => [1, 1],
        }
    }

    /// Whether the other does the same, so that the two can be compared.
    pub(crate) fn is_like(self, other: Self) -> bool {
        self.measure() == other.measure()
            && self.shape() == other.shape()
            && self.carries_slices() == other.carries_slices()
    }

    /// Whether its figure is a time, with a distribution; else it is a rate.
    pub(crate) fn is_timed(self) -> bool {
        matches!(self, Self::RoundTrip(..) | Self::WakeUp(_) | Self::Connect(_) | Self::Life(_) | Self::Load(..))
    }

    /// Whether threads of the two processes take turns on a core, which the scheduler takes from one for the other:
    /// both use the same, or others serve a visitor there, and see to what it has left, or taps are woken there.
    pub(crate) fn takes_turns(self) -> bool {
        self.shares_a_core() || self.sets_up() || matches!(self, Self::Taps(Taps::Asleep(_), ..))
    }

    /// Whether it is about what is made anew each time. That goes slowly in processes that have hundreds of lanes, so
    /// it is measured by processes that have nothing else.
    pub(crate) fn sets_up(self) -> bool {
        matches!(self, Self::Connect(_) | Self::Life(_))
    }

    /// Whether what the sender takes is measured, and not until all is received.
    pub(crate) fn is_senders_time(self) -> bool {
        self.has_taps() || matches!(self, Self::Spread(Spread::ProducersCost(_)) | Self::ProducersCost(..))
    }

    /// Whether its lane has taps in some slices: they come and go, and say when all are there, before a slice begins.
    pub(crate) fn has_taps(self) -> bool {
        matches!(self, Self::Taps(..))
    }

    /// Whether it calls membarrier(2) itself.
    pub(crate) fn calls_membarrier(self) -> bool {
        matches!(self, Self::RoundTrip(Bouncer::BellAndBarrier, ..))
    }

    /// Whether it is a round trip whose ends sleep in between.
    pub(crate) fn is_between_sleepers(self) -> bool {
        matches!(self, Self::RoundTrip(_, Waiting::Asleep | Waiting::AsleepOneCore, _))
    }

    /// How often both sides together wait for each record, if they sleep for it.
    pub(crate) fn waits(self) -> Option<u64> {
        self.is_between_sleepers().then_some(2)
    }

    /// Whether the two processes use one core.
    pub(crate) fn shares_a_core(self) -> bool {
        matches!(self, Self::RoundTrip(_, Waiting::AsleepOneCore, _))
    }

    /// Whether it runs inside the parent, on a second thread, while the child sleeps.
    pub(crate) fn is_in_process(self) -> bool {
        matches!(self, Self::OneWay(Carrier::InProcess(_), _) | Self::RoundTrip(Bouncer::InProcess(_), ..))
    }

    /// Whether it is fdring's.
    pub(crate) fn is_fdring(self) -> bool {
        match self {
            Self::OneWay(carrier, _) => matches!(carrier, Carrier::Fdring(..)),
            Self::RoundTrip(bouncer, ..) | Self::WakeUp(bouncer) | Self::Connect(bouncer) | Self::Load(bouncer, _) => {
                matches!(
                    bouncer,
                    Bouncer::Fdring(_)
                        | Bouncer::FdringDefault
                        | Bouncer::FdringFenced
                        | Bouncer::FdringTasks
                        | Bouncer::FdringCall
                )
            }
            Self::Spread(_) | Self::Taps(..) | Self::Life(Life::Client) => true,
            Self::Life(Life::Empty) => false,
            Self::FanOut(..) | Self::ProducersCost(..) | Self::Lanes(..) => false,
            Self::Descriptors(sender, _) => {
                matches!(sender, FdSender::Fdring | FdSender::OnRecords | FdSender::ManyOnRecords)
            }
            Self::FanIn(many, ..) | Self::Share(many, _) => matches!(many, Many::Shape | Many::Runs | Many::Lanes),
        }
    }

    /// The contender from outside that it is one of, if it is.
    pub(crate) fn own(self) -> Option<KindId> {
        match self {
            Self::OneWay(Carrier::Own(kind), _) | Self::FanOut(kind, _) => Some(kind),
            Self::ProducersCost(kind, _) | Self::Lanes(kind, _) => Some(kind),
            Self::FanIn(Many::Own(kind), ..) | Self::Share(Many::Own(kind), _) => Some(kind),
            Self::Descriptors(FdSender::Own(kind), _) => Some(kind),
            Self::RoundTrip(Bouncer::Own(kind), ..)
            | Self::WakeUp(Bouncer::Own(kind))
            | Self::Connect(Bouncer::Own(kind))
            | Self::Load(Bouncer::Own(kind), _) => Some(kind),
            _ => None,
        }
    }

    /// The fewest records, round trips or messages of a slice, and what their number is a multiple of.
    pub(crate) fn step(self) -> u64 {
        match self {
            Self::OneWay(Carrier::Channel(_), len) if len >= 1 << 20 => 4,
            Self::OneWay(Carrier::Channel(_), _) => 32,
            Self::OneWay(Carrier::Own(KindId(kind)), len) => kind.records_step.max(Self::step_of(len)),
            Self::OneWay(Carrier::Raw(RawMode::Runs), _) => RUN,
            Self::OneWay(Carrier::Fdring(Sending::Slices(values), ..), _) => values,
            Self::OneWay(_, len) => Self::step_of(len),
            Self::RoundTrip(_, Waiting::Spinning, _) => 32,
            Self::RoundTrip(..) => 16,
            // Whole batches for each of the lanes.
            Self::Spread(_) => LANES_STEP,
            Self::Lanes(kind, _) => kind.0.records_step.div_ceil(BATCH) * LANES_STEP,
            Self::Taps(_, _, Sending::Batch) => BATCH,
            Self::Taps(..) => 8,
            Self::WakeUp(_) => 8,
            Self::FanOut(kind, _) | Self::ProducersCost(kind, _) => BATCH.max(kind.0.records_step),
            Self::Load(_, load) => load.step(),
            Self::Connect(_) | Self::Life(_) => 2,
            Self::Descriptors(..) => 4,
            Self::FanIn(Many::Datagrams, ..) => BATCH,
            Self::FanIn(many, _, len) => {
                let least = if let Many::Own(kind) = many { kind.0.records_step } else { 1 };
                // Whole batches of each.
                least
                    .max(Self::step_of(len))
                    .max(records_at_once(len) * PRODUCER_COUNTS[PRODUCER_COUNTS.len() - 1] as u64)
            }
            Self::Share(Many::Own(kind), _) => BATCH.max(kind.0.records_step),
            Self::Share(..) => BATCH,
        }
    }

    /// Large records go round their ring once at least.
    fn step_of(len: usize) -> u64 {
        if len >= 4096 { Self::round_of(len) } else { 32 }
    }

    /// How many records of `len` bytes go once round their ring.
    fn round_of(len: usize) -> u64 {
        (ring_bytes(len) / len) as u64
    }

    /// How many records go before a slice of that length is measured: one way, once round the ring; there and back,
    /// once round such a lane; but no more than the slice has, if that does not take more than one slice may have.
    /// Others have used the caches since its last slice, and a short one would be the slower the longer its ring is,
    /// and its first round trips all that is seen of the 99.9th percentile. 0 if the kernel carries them, and if
    /// each is alone.
    pub(crate) fn records_to_warm(self, records: u64) -> u64 {
        let whole_steps = |count: u64| count / self.step() * self.step();
        match self {
            Self::OneWay(Carrier::Channel(_), _) | Self::RoundTrip(Bouncer::Channel(_), ..) => 0,
            Self::OneWay(_, len) => whole_steps(Self::round_of(len)).min(records),
            Self::RoundTrip(_, Waiting::Spinning, len) => {
                ((bounce_lane_bytes(len) / len.next_multiple_of(64)) as u64).min(records)
            }
            // Slices are shorter than the ring, since the producer must not wait.
            Self::Spread(Spread::ProducersCost(_)) | Self::ProducersCost(..) | Self::Taps(..) => {
                SLICES_A_LAP * self.most()
            }
            Self::Spread(_) | Self::FanOut(..) | Self::Lanes(..) | Self::Share(..) => {
                whole_steps(Self::round_of(SPREAD_LEN)).min(records)
            }
            Self::FanIn(Many::Datagrams, ..) => 0,
            Self::FanIn(.., len) => whole_steps(Self::round_of(len)).min(records),
            Self::Load(..) => self.step(),
            Self::RoundTrip(..) | Self::WakeUp(_) | Self::Connect(_) | Self::Life(_) | Self::Descriptors(..) => 0,
        }
    }

    /// The sum over all records that are received, of that number sent; 0 if none is told.
    pub(crate) fn sum_of_all(self, records: u64) -> u64 {
        match self {
            Self::OneWay(_, len) => sum_of_all(len, records),
            Self::Spread(Spread::ProducersCost(consumers) | Spread::Consumers(consumers, _))
            | Self::FanOut(_, consumers)
            | Self::ProducersCost(_, consumers) => sum_of_all(SPREAD_LEN, records).wrapping_mul(consumers as u64),
            Self::Spread(Spread::Lanes(_)) | Self::Lanes(..) | Self::Share(..) => sum_of_all(SPREAD_LEN, records),
            Self::FanIn(.., len) => sum_of_all(len, records),
            Self::Taps(taps, len, _) => {
                // With the record before the others.
                let all = sum_of_all(len, records).wrapping_add(sum_of_all(len, 1));
                let of_tap = match taps {
                    Taps::Asleep(_) => sum_of_all(len, records).wrapping_sub(sum_of_all(len, records - 1)),
                    _ => all,
                };
                all.wrapping_add(of_tap.wrapping_mul(taps.count() as u64))
            }
            _ => 0,
        }
    }

    /// The most of them.
    pub(crate) fn most(self) -> u64 {
        match self {
            // The producer must not wait.
            Self::ProducersCost(kind, _) => kind.0.room.min(ROOM) / self.step() * self.step(),
            Self::Taps(_, len, _) => TAPS_RING_BYTES as u64 / SLICES_A_LAP / len as u64,
            case if case.is_senders_time() => ROOM,
            Self::Spread(_) | Self::FanOut(..) | Self::Lanes(..) | Self::FanIn(..) | Self::Share(..) => 1 << 20,
            Self::Load(..) => LATENCIES_MAX as u64,
            _ => 1 << 22,
        }
    }
}

impl ChannelKind {
    pub(crate) const ALL: [Self; 3] = [Self::Pipe, Self::Stream, Self::Seqpacket];
}

/// All cases, in the order of the report; the same in both processes.
pub(crate) fn cases(kinds: &'static [ContenderKind], loads: &[Load]) -> Vec<Case> {
    let mut cases = Vec::new();
    for len in LENGTHS {
        cases.extend(carriers(len, kinds).into_iter().map(|carrier| Case::OneWay(carrier, len)));
    }
    let fdring = |len| Reading::of_trips(len).into_iter().map(Bouncer::Fdring);
    let spinning = [Bouncer::Line, Bouncer::Slots, Bouncer::Ring].into_iter().chain(fdring(PING_BYTES));
    let references = [Bouncer::InProcess(Queue::Rtrb), Bouncer::InProcess(Queue::Crossbeam)];
    let channels = ChannelKind::ALL.map(Bouncer::Channel);
    let own = |capability, len: usize| {
        let able = kinds.iter().filter(move |kind| kind.can(capability) && len <= kind.trip_len_max);
        able.map(|kind| Bouncer::Own(KindId(kind)))
    };
    let spinning = spinning
        .chain([Bouncer::FdringCall])
        .chain(references)
        .chain(channels)
        .chain(own(Capability::RoundTrip, PING_BYTES))
        .chain(
            own(Capability::Call, PING_BYTES)
                .filter(|caller| !own(Capability::RoundTrip, PING_BYTES).any(|each| each == *caller)),
        );
    cases.extend(spinning.map(|bouncer| Case::RoundTrip(bouncer, Waiting::Spinning, PING_BYTES)));
    for len in TRIP_LENGTHS.into_iter().filter(|len| *len != PING_BYTES) {
        let all = [Bouncer::Ring].into_iter().chain(fdring(len)).chain(channels);
        let all = all.chain(own(Capability::RoundTrip, len));
        cases.extend(all.map(|bouncer| Case::RoundTrip(bouncer, Waiting::Spinning, len)));
    }
    let bells = [Bouncer::Bell, Bouncer::BellAndBarrier, Bouncer::Futex];
    let asleep = [Bouncer::Fdring(Reading::InPlace), Bouncer::FdringFenced];
    let tasks = tasks::ARE_BUILT.then_some(Bouncer::FdringTasks);
    let sleepers = own(Capability::Asleep, PING_BYTES);
    let asleep = bells.into_iter().chain(asleep).chain(tasks).chain(channels).chain(sleepers.clone());
    cases.extend(asleep.clone().map(|bouncer| Case::RoundTrip(bouncer, Waiting::Asleep, PING_BYTES)));
    cases.extend(asleep.map(|bouncer| Case::RoundTrip(bouncer, Waiting::AsleepOneCore, PING_BYTES)));
    let in_place = Bouncer::Fdring(Reading::InPlace);
    cases.extend([Bouncer::Bell, in_place].into_iter().chain(sleepers).map(Case::WakeUp));
    cases.extend([in_place].into_iter().chain(own(Capability::Connect, PING_BYTES)).map(Case::Connect));
    cases.extend(CONSUMER_COUNTS.map(|consumers| Case::Spread(Spread::ProducersCost(consumers))));
    let short = |capability| kinds.iter().filter(move |kind| kind.can(capability) && SPREAD_LEN <= kind.len_max);
    for kind in short(Capability::ProducersCost).filter(|kind| kind.has_room()) {
        cases.extend(CONSUMER_COUNTS.map(|consumers| Case::ProducersCost(KindId(kind), consumers)));
    }
    cases.extend(Life::ALL.map(Case::Life));
    for (len, sending) in TAPS_FORMS {
        cases.extend(Taps::ALL.map(|taps| Case::Taps(taps, len, sending)));
    }
    for consumers in CONSUMER_COUNTS {
        cases.extend(Reading::SPREAD.map(|reading| Case::Spread(Spread::Consumers(consumers, reading))));
    }
    for kind in short(Capability::FanOut) {
        cases.extend(CONSUMER_COUNTS.map(|consumers| Case::FanOut(KindId(kind), consumers)));
    }
    cases.extend(LANE_COUNTS.map(|lanes| Case::Spread(Spread::Lanes(lanes))));
    for kind in short(Capability::Lanes) {
        cases.extend(LANE_COUNTS.map(|lanes| Case::Lanes(KindId(kind), lanes)));
    }
    for count in FD_COUNTS {
        let built_in = [FdSender::Plain, FdSender::Fdring, FdSender::OnRecords, FdSender::ManyOnRecords].into_iter();
        let able = kinds.iter().filter(|kind| kind.can(Capability::Descriptors));
        let senders = built_in.chain(able.map(|kind| FdSender::Own(KindId(kind))));
        cases.extend(senders.map(|sender| Case::Descriptors(sender, count)));
    }
    for len in FAN_IN_LENGTHS {
        let able = kinds.iter().filter(|kind| kind.can(Capability::FanIn) && len <= kind.len_max);
        let many = [Many::Shape, Many::Runs, Many::Lanes, Many::Datagrams].into_iter();
        for many in many.chain(able.map(|kind| Many::Own(KindId(kind)))) {
            cases.extend(PRODUCER_COUNTS.map(|producers| Case::FanIn(many, producers, len)));
        }
    }
    let sharing = short(Capability::Share).map(|kind| Many::Own(KindId(kind)));
    for many in [Many::Shape, Many::Runs, Many::Lanes].into_iter().chain(sharing) {
        cases.extend(CONSUMER_COUNTS.map(|workers| Case::Share(many, workers)));
    }
    for load in loads {
        let fdring = [in_place, Bouncer::Fdring(Reading::Copied), Bouncer::FdringDefault];
        let all = [Bouncer::Ring].into_iter().chain(fdring).chain(channels);
        let all = all.chain(own(Capability::RoundTrip, PING_BYTES));
        cases.extend(all.map(|bouncer| Case::Load(bouncer, *load)));
    }
    cases
}

/// How many values of a kilobyte and more a slice has: as many as a batch, up to an eighth of the ring.
fn values_in_record(len: usize) -> u64 {
    BATCH.min((RING_BYTES / 8 / len) as u64)
}

/// The modes of raw rings that carry records of `len` bytes.
fn raw_modes(len: usize) -> Vec<RawMode> {
    let mut raw = vec![RawMode::Each];
    if len <= 1024 {
        raw.push(RawMode::EachFenced);
    }
    if len == PING_BYTES {
        raw.push(RawMode::Slots);
    }
    if len >= 4096 {
        raw.extend([RawMode::Headed, RawMode::Sent]);
        raw.extend(STREAMS.then_some(RawMode::Streamed));
    }
    if len <= BATCHED_LEN_MAX {
        raw.extend([RawMode::EachHeld, RawMode::By32, RawMode::Held]);
    }
    if (64..=64 << 10).contains(&len) {
        raw.push(RawMode::Copied);
    }
    // A slot is as long as its payload only if no line is shared.
    if matches!(len, 8 | 64 | 256) {
        raw.push(RawMode::Runs);
    }
    raw
}

/// Who carries records of `len` bytes.
fn carriers(len: usize, kinds: &'static [ContenderKind]) -> Vec<Carrier> {
    use Align::{Lines, Payloads, Words};
    use Reading::{Copied, CopiedDrained, CopiedInRuns, CopiedTried, Drained, InPlace, InRuns, InTask, Tried};
    use Sending::{Batch, Filled, Reserve, Send, Slices};
    let raw = raw_modes(len);
    let mut fdring = vec![(Send, InPlace, Words), (Reserve, InPlace, Words)];
    if len <= BATCHED_LEN_MAX {
        fdring.extend([(Batch, InPlace, Words), (Batch, InRuns, Words), (Filled, InRuns, Words)]);
    }
    fdring.extend([(Send, Copied, Words), (Reserve, Copied, Words)]);
    if len <= BATCHED_LEN_MAX {
        fdring.extend([(Batch, Copied, Words), (Batch, CopiedInRuns, Words), (Filled, CopiedInRuns, Words)]);
    }
    if (256..=BATCHED_LEN_MAX).contains(&len) {
        fdring.extend([(Batch, InPlace, Payloads), (Batch, InRuns, Payloads), (Batch, CopiedInRuns, Payloads)]);
    }
    if len >= 4096 {
        fdring.extend([(Reserve, InPlace, Payloads), (Reserve, Copied, Payloads)]);
    }
    if len == 56 {
        fdring.extend([
            (Reserve, InPlace, Lines),
            (Batch, InPlace, Lines),
            (Batch, InRuns, Lines),
            (Filled, InRuns, Lines),
        ]);
    }
    // Those that never wait, beside those that do.
    if TRIED_LENGTHS.contains(&len) {
        fdring.extend([(Reserve, Tried, Words), (Reserve, CopiedTried, Words)]);
    }
    if len == 64 {
        fdring.extend([(Batch, Drained, Words), (Filled, Drained, Words)]);
        fdring.extend([(Batch, CopiedDrained, Words), (Filled, CopiedDrained, Words)]);
    }
    if tasks::ARE_BUILT && TASK_LENGTHS.contains(&len) {
        fdring.extend([(Reserve, InTask(TaskReading::Each), Words), (Reserve, InTask(TaskReading::InRuns), Words)]);
        if len <= BATCHED_LEN_MAX {
            fdring.extend([(Batch, InTask(TaskReading::Each), Words), (Batch, InTask(TaskReading::InRuns), Words)]);
        }
        // What it is compared with.
        fdring.push((Reserve, InRuns, Words));
    }
    if matches!(len, 8 | 64) {
        fdring.extend([(Slices(BATCH), InPlace, Words), (Slices(BATCH), Copied, Words)]);
    }
    if (1024..=64 << 10).contains(&len) {
        fdring.push((Slices(values_in_record(len)), InPlace, Payloads));
    }
    if len == 8 {
        fdring.extend([(Slices(LONG_SLICE), InPlace, Words), (Slices(LONG_SLICE), Copied, Words)]);
    }
    let fdring = fdring.into_iter().map(|(sending, reading, align)| Carrier::Fdring(sending, reading, align));
    let mut queues = Vec::new();
    if len <= 1024 {
        queues.push(Carrier::InProcess(Queue::Rtrb));
    }
    if len <= 64 {
        queues.push(Carrier::InProcess(Queue::Crossbeam));
    }
    let channels = ChannelKind::ALL.map(Carrier::Channel);
    let own = kinds.iter().filter(|kind| kind.can(Capability::OneWay) && len <= kind.len_max);
    let own = own.map(|kind| Carrier::Own(KindId(kind)));
    raw.into_iter().map(Carrier::Raw).chain(fdring).chain(queues).chain(channels).chain(own).collect()
}
