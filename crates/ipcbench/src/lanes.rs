//! fdring itself as a contender.

mod reading;

pub(crate) use reading::{drain, receive_one, sum_exactly};

use super::beside::{Attached, Offered};
use super::clock::Laps;
use super::payload::{PING_BYTES, assert_sent, boxed, fill, stamp, sum};
use super::plan::{Align, BATCH, BATCHED_LEN_MAX, Bouncer, Carrier, Case, Reading, SPREAD_LEN, Sending, Spread};
use super::shared::{LARGE_LEN, LARGE_RING_BYTES, bounce_lane_bytes};
use crate::contender::{Fallible, Role, Waiting};
use crate::tasks;
use fdring::{
    Attach, Consumer, Producer, Server, Session,
    options::Records,
    options::{LaneOptions, ServerOptions, SessionOptions},
};
use reading::{in_runs, in_turn, receive_batch, receive_many, receive_run, try_batch, try_each, try_one};
use std::time::Duration;

type Result<T> = std::result::Result<T, fdring::Error>;

/// The ring of each of many lanes, in bytes.
const SMALL_CAPACITY_BYTES: u64 = 256 << 10;
/// How long the other side may take for what it does at once.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often the parent looks whether a visitor has left.
const LOOK_INTERVAL: Duration = Duration::from_micros(50);

/// What a lane is for. All its consumers belong to the other process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    OneWay {
        align: Align,
        /// For each a lane of its own: what a consumer learns of when to look goes with how it is read.
        reading: Reading,
        large: bool,
    },
    Bounce {
        reading: Reading,
        spin: Spin,
        fenced: bool,
        len: usize,
    },
    Consumers(usize),
    /// One of that number of lanes.
    Lanes(usize, usize),
}

/// How long both ends of a lane spin before they sleep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Spin {
    /// Longer than any slice: as the raw ring and all others do that spin.
    Always,
    /// As long as a lane does unless its options say something else.
    Default,
    Never,
}

impl Spin {
    /// What the options say; `None` for the default.
    fn duration(self) -> Option<Duration> {
        match self {
            Self::Always => Some(Duration::MAX),
            Self::Default => None,
            Self::Never => Some(Duration::ZERO),
        }
    }
}

impl Purpose {
    /// The lanes that a process writes for a case.
    fn of(case: Case, role: Role) -> Vec<Self> {
        match (case, role) {
            (Case::RoundTrip(bouncer, waiting, len), _) if case.is_fdring() && bouncer != Bouncer::FdringCall => {
                vec![Self::bounce(bouncer, waiting, len)]
            }
            (_, Role::Child) => Vec::new(),
            (Case::OneWay(Carrier::Fdring(_, reading, align), len), _) => vec![Self::one_way(len, reading, align)],
            (Case::WakeUp(bouncer @ Bouncer::Fdring(_)), _) => {
                vec![Self::bounce(bouncer, Waiting::Asleep, PING_BYTES)]
            }
            (Case::Load(bouncer, _), _) if case.is_fdring() => {
                vec![Self::bounce(bouncer, Waiting::Spinning, PING_BYTES)]
            }
            (Case::Spread(Spread::ProducersCost(count) | Spread::Consumers(count, _)), _) => {
                vec![Self::Consumers(count)]
            }
            (Case::Spread(Spread::Lanes(count)), _) => (0..count).map(|index| Self::Lanes(count, index)).collect(),
            _ => Vec::new(),
        }
    }

    /// The lanes that a process writes for all of these cases.
    fn of_all(cases: &[Case], role: Role) -> Vec<Self> {
        let mut purposes = Vec::new();
        for purpose in cases.iter().flat_map(|case| Self::of(*case, role)) {
            if !purposes.contains(&purpose) {
                purposes.push(purpose);
            }
        }
        purposes
    }

    fn name(self) -> String {
        format!("{self:?}").replace(['{', '}', ' '], "")
    }

    fn options(self) -> LaneOptions {
        let options = LaneOptions::new(self.name());
        match self {
            Self::OneWay { align, large, .. } => {
                let options = if large { options.capacity(LARGE_RING_BYTES as u64) } else { options };
                match align {
                    Align::Words => options,
                    Align::Lines => options.record_align(64),
                    Align::Payloads => options.payload_align(64),
                }
            }
            Self::Bounce { spin, fenced, len, .. } => {
                let options = options.capacity(bounce_lane_bytes(len) as u64).asymmetric_barrier(!fenced);
                let options = if len == PING_BYTES { options } else { options.payload_align(64) };
                match spin.duration() {
                    Some(spin) => options.spin(spin),
                    None => options,
                }
            }
            Self::Lanes(2.., _) => options.capacity(SMALL_CAPACITY_BYTES),
            _ => options,
        }
    }

    fn consumers(self) -> usize {
        if let Self::Consumers(count) = self { count } else { 1 }
    }

    fn copies(self) -> bool {
        match self {
            Self::OneWay { reading, .. } | Self::Bounce { reading, .. } => reading.copies(),
            Self::Consumers(_) | Self::Lanes(..) => false,
        }
    }

    pub(crate) fn one_way(len: usize, reading: Reading, align: Align) -> Self {
        Self::OneWay { align, reading, large: len >= LARGE_LEN }
    }

    pub(crate) fn bounce(bouncer: Bouncer, waiting: Waiting, len: usize) -> Self {
        Self::Bounce {
            reading: if let Bouncer::Fdring(reading) = bouncer { reading } else { Reading::InPlace },
            spin: match (bouncer, waiting) {
                (Bouncer::FdringDefault, _) => Spin::Default,
                (_, Waiting::Spinning) => Spin::Always,
                _ => Spin::Never,
            },
            fenced: bouncer == Bouncer::FdringFenced,
            len,
        }
    }
}

/// The lanes that one process writes.
pub(crate) struct Outgoing {
    lanes: Vec<(Purpose, Producer)>,
    /// A lane that consumers come to and leave, and its server; the parent's only.
    visited: Option<(Producer, Server)>,
    /// Lanes with taps; the parent's only.
    pub(crate) beside: Offered,
    _server: Option<Server>,
}

/// The lanes that one process reads.
pub(crate) struct Incoming {
    lanes: Vec<(Purpose, Vec<Consumer>)>,
    address: String,
    /// Those of lanes with taps; the child's only.
    pub(crate) beside: Attached,
    /// The visitor that has not left yet.
    visiting: Option<Consumer>,
}

fn visited_address(address: &str) -> String {
    format!("{address}-visited")
}

impl Outgoing {
    /// Offers the lanes of these cases at `address`.
    pub(crate) fn offer(address: &str, cases: &[Case], role: Role) -> Result<Self> {
        let mut lanes = Vec::new();
        for purpose in Purpose::of_all(cases, role) {
            lanes.push((purpose, purpose.options().create()?));
        }
        let is_visited = cases.iter().any(|case| matches!(case, Case::Connect(Bouncer::Fdring(_))));
        let visited = if is_visited && role == Role::Parent {
            let producer = Producer::create("visited")?;
            let server = Server::listen(visited_address(address).as_str(), &[&producer])?;
            Some((producer, server))
        } else {
            None
        };
        let producers: Vec<&Producer> = lanes.iter().map(|(_, producer)| producer).collect();
        let server = match &producers[..] {
            [] => None,
            producers => Some(ServerOptions::new().sessions_max(256).listen(address, producers)?),
        };
        let beside = Offered::offer(address, if role == Role::Parent { cases } else { &[] })?;
        Ok(Self { lanes, visited, beside, _server: server })
    }

    /// The lane of that purpose, if this process writes one.
    pub(crate) fn find(&mut self, purpose: Purpose) -> Option<&mut Producer> {
        self.lanes.iter_mut().find(|(each, _)| *each == purpose).map(|(_, producer)| producer)
    }

    fn lane(&mut self, purpose: Purpose) -> &mut Producer {
        self.find(purpose).expect("a lane for every purpose")
    }

    /// Sends `records` records, or values in records, of `LEN` bytes.
    pub(crate) fn send<const LEN: usize>(&mut self, sending: Sending, reading: Reading, align: Align, records: u64) {
        let producer = self.lane(Purpose::one_way(LEN, reading, align));
        match sending {
            Sending::Send => {
                let mut payload = boxed::<LEN>();
                for n in 0..records {
                    stamp(&mut payload, n);
                    producer.send(&payload[..]).expect("room for a record");
                }
            }
            Sending::Reserve => send_each::<LEN>(producer, records),
            Sending::Batch => in_batches(records, |first, end| send_batch::<LEN>(producer, first, end)),
            Sending::Filled => in_batches(records, |first, end| fill_batch::<LEN>(producer, first, end)),
            Sending::Slices(values) => {
                for first in (0..records).step_by(values as usize) {
                    let mut slot = producer.reserve(LEN * values as usize).expect("room for a slice");
                    for (value, n) in slot.as_chunks_mut::<LEN>().0.iter_mut().zip(first..) {
                        fill(value, n);
                    }
                    slot.commit();
                }
            }
        }
    }

    /// Sends records of [`SPREAD_LEN`] bytes to several consumers, or over several lanes.
    pub(crate) fn spread(&mut self, spread: Spread, records: u64) {
        match spread {
            Spread::ProducersCost(consumers) => {
                send_each::<SPREAD_LEN>(self.lane(Purpose::Consumers(consumers)), records);
            }
            Spread::Consumers(consumers, _) => {
                let producer = self.lane(Purpose::Consumers(consumers));
                in_batches(records, |first, end| send_batch::<SPREAD_LEN>(producer, first, end));
            }
            Spread::Lanes(count) => {
                let first = self.lanes.iter().position(|(each, _)| *each == Purpose::Lanes(count, 0));
                let lanes = &mut self.lanes[first.expect("as many lanes")..][..count];
                for (round, n) in (0..records).step_by(BATCH as usize).enumerate() {
                    send_batch::<SPREAD_LEN>(&mut lanes[round % count].1, n, n + BATCH);
                }
            }
        }
    }

    /// Waits for a visitor, and sends it a record.
    pub(crate) fn welcome(&mut self) -> Fallible {
        let (producer, server) = self.visited.as_mut().ok_or("the parent has a lane for visitors")?;
        server.wait_for_sessions(1, PATIENCE)?;
        Ok(producer.send(&[0; PING_BYTES])?)
    }

    /// Waits until the visitor has left: the next one must not be taken for it.
    pub(crate) fn see_off(&self) {
        let Some((_, server)) = &self.visited else { return };
        while server.stats().sessions != 0 {
            std::thread::sleep(LOOK_INTERVAL);
        }
    }
}

pub(crate) fn send_one<const LEN: usize>(producer: &mut Producer, n: u64) {
    let mut slot = producer.reserve(LEN).expect("room for a record");
    fill::<LEN>((&mut slot[..]).try_into().expect("the length asked for"), n);
    slot.commit();
}

pub(crate) fn send_each<const LEN: usize>(producer: &mut Producer, records: u64) {
    for n in 0..records {
        let mut slot = producer.reserve(LEN).expect("room for a record");
        fill::<LEN>((&mut slot[..]).try_into().expect("the length asked for"), n);
        slot.commit();
    }
}

/// Sends records in batches, and long ones one by one.
pub(crate) fn send_batches<const LEN: usize>(producer: &mut Producer, records: u64) {
    if LEN <= BATCHED_LEN_MAX {
        in_batches(records, |first, end| send_batch::<LEN>(producer, first, end));
    } else {
        send_each::<LEN>(producer, records);
    }
}

/// Receives that number of records by each of these consumers, in turn, each time all that are there; the sum over all.
pub(crate) fn drain_in_turn<const LEN: usize>(consumers: &mut [Consumer], records: u64) -> u64 {
    in_turn(consumers.iter_mut().collect(), records, drain::<LEN>)
}

/// Calls `send` for the first of each batch of `records`, and where the batch ends.
#[inline(always)]
fn in_batches(records: u64, mut send: impl FnMut(u64, u64)) {
    let mut sent = 0;
    while sent < records {
        let end = records.min(sent + BATCH);
        send(sent, end);
        sent = end;
    }
}

#[inline(always)]
fn fill_batch<const LEN: usize>(producer: &mut Producer, first: u64, end: u64) {
    let mut batch = producer.batch().expect("a batch");
    let fill_one = |index, payload: &mut [u8]| {
        fill::<LEN>(payload.try_into().expect("the length asked for"), first + index as u64);
    };
    batch.fill_many(Records { count: (end - first) as usize, len: LEN }, fill_one).expect("room for a batch");
    batch.commit();
}

#[inline(always)]
fn send_batch<const LEN: usize>(producer: &mut Producer, first: u64, end: u64) {
    let mut batch = producer.batch().expect("a batch");
    for n in first..end {
        let mut slot = batch.reserve(LEN).expect("room for a record");
        fill::<LEN>((&mut slot[..]).try_into().expect("the length asked for"), n);
        slot.commit();
    }
    batch.commit();
}

/// A consumer that reads in place what this program's other process writes.
pub(crate) fn attach_in_place(session: Session) -> Result<Consumer> {
    // SAFETY: the producer is this program with the same library, and nothing else writes its memory.
    #[allow(unsafe_code, reason = "reading in place is what is measured")]
    session.attach_one(unsafe { Attach::new().in_place() })
}

impl Incoming {
    /// Attaches to the lanes of these cases at `address`, as that role.
    pub(crate) fn attach(address: &str, cases: &[Case], role: Role) -> Result<Self> {
        let mut lanes = Vec::new();
        for purpose in Purpose::of_all(cases, role.other()) {
            let mut consumers = Vec::new();
            for _ in 0..purpose.consumers() {
                let mut options = SessionOptions::new().lanes([purpose.name()]);
                if let Purpose::Bounce { spin, .. } = purpose {
                    options = spin.duration().map_or(options.clone(), |spin| options.spin(spin));
                }
                let session = options.connect(address)?;
                consumers.push(if purpose.copies() {
                    session.attach_one(Attach::new())?
                } else {
                    attach_in_place(session)?
                });
            }
            lanes.push((purpose, consumers));
        }
        let beside = Attached::attach(address, if role == Role::Child { cases } else { &[] })?;
        Ok(Self { lanes, address: visited_address(address), beside, visiting: None })
    }

    /// The consumers of the lane of that purpose, if this process reads one.
    pub(crate) fn find_all(&mut self, purpose: Purpose) -> Option<&mut Vec<Consumer>> {
        self.lanes.iter_mut().find(|(each, _)| *each == purpose).map(|(_, consumers)| consumers)
    }

    /// The first of them.
    pub(crate) fn find(&mut self, purpose: Purpose) -> Option<&mut Consumer> {
        self.find_all(purpose)?.first_mut()
    }

    fn lane(&mut self, purpose: Purpose) -> &mut Consumer {
        self.find(purpose).expect("a lane for every purpose")
    }

    /// Receives `records` records, or values in records, of `LEN` bytes; the sum over them.
    pub(crate) fn receive<const LEN: usize>(
        &mut self,
        sending: Sending,
        reading: Reading,
        align: Align,
        records: u64,
    ) -> u64 {
        let purpose = Purpose::one_way(LEN, reading, align);
        if let Reading::InTask(reading) = reading {
            let consumers = self.find_all(purpose).expect("a lane for every purpose");
            return tasks::receive_all::<LEN>(consumers, reading, records).expect("a sound lane in a runtime");
        }
        let consumer = self.lane(purpose);
        match (sending, reading) {
            (Sending::Slices(values), _) => {
                let mut total = 0u64;
                for _ in 0..records / values {
                    let record = consumer.receive().expect("a sound lane").expect("a record");
                    assert_eq!(record.len(), LEN * values as usize, "the length that was sent");
                    total = total.wrapping_add(sum(&record));
                }
                total
            }
            (_, Reading::InRuns | Reading::CopiedInRuns) => in_runs(consumer, records, receive_run::<LEN>),
            (_, Reading::Drained | Reading::CopiedDrained) => in_runs(consumer, records, drain::<LEN>),
            (_, Reading::Tried | Reading::CopiedTried) => try_each::<LEN>(consumer, records),
            (_, Reading::InPlace | Reading::Copied | Reading::InTask(_)) => receive_many::<LEN>(consumer, records),
        }
    }

    /// Receives what several consumers get, or what comes over several lanes; the sum over all.
    pub(crate) fn receive_spread(&mut self, spread: Spread, records: u64) -> u64 {
        let (consumers, each): (Vec<&mut Consumer>, u64) = match spread {
            Spread::ProducersCost(count) | Spread::Consumers(count, _) => {
                let found = self.lanes.iter_mut().find(|(purpose, _)| *purpose == Purpose::Consumers(count));
                (found.expect("as many consumers").1.iter_mut().collect(), records)
            }
            Spread::Lanes(count) => {
                let of_these = |purpose: &Purpose| matches!(purpose, Purpose::Lanes(of, _) if *of == count);
                let lanes = self.lanes.iter_mut().filter(|(purpose, _)| of_these(purpose));
                (lanes.flat_map(|(_, consumers)| consumers).collect(), records / count as u64)
            }
        };
        match spread {
            Spread::Consumers(_, Reading::InPlace) => in_turn(consumers, each, receive_batch::<SPREAD_LEN>),
            Spread::Consumers(_, Reading::Tried) => in_turn(consumers, each, try_batch::<SPREAD_LEN>),
            Spread::Consumers(_, Reading::InRuns) => in_turn(consumers, each, receive_run::<SPREAD_LEN>),
            _ => in_turn(consumers, each, drain::<SPREAD_LEN>),
        }
    }

    /// Connects, and receives a record.
    pub(crate) fn visit(&mut self) -> Fallible {
        let consumer = self.visiting.insert(attach_in_place(Session::connect(self.address.as_str())?)?);
        std::hint::black_box(sum(&consumer.receive()?.ok_or("a record")?));
        Ok(())
    }

    /// Ends the visit.
    pub(crate) fn leave(&mut self) {
        self.visiting = None;
    }
}

/// Round trips, from the side that begins.
pub(crate) fn ping<const LEN: usize>(ends: (&mut Producer, &mut Consumer), tries: bool, rounds: u64, laps: &mut Laps) {
    match tries {
        true => ping_by::<LEN>(ends, rounds, laps, try_one),
        false => ping_by::<LEN>(ends, rounds, laps, receive_one),
    }
}

#[inline(always)]
fn ping_by<const LEN: usize>(
    (producer, consumer): (&mut Producer, &mut Consumer),
    rounds: u64,
    laps: &mut Laps,
    read: impl Fn(&mut Consumer) -> u64,
) {
    for n in 0..rounds {
        send_one::<LEN>(producer, n);
        assert_sent(LEN, n, read(consumer));
        laps.end();
    }
}

/// Round trips, from the side that answers.
pub(crate) fn pong<const LEN: usize>(ends: (&mut Producer, &mut Consumer), tries: bool, rounds: u64) {
    match tries {
        true => pong_by::<LEN>(ends, rounds, try_one),
        false => pong_by::<LEN>(ends, rounds, receive_one),
    }
}

#[inline(always)]
fn pong_by<const LEN: usize>(
    (producer, consumer): (&mut Producer, &mut Consumer),
    rounds: u64,
    read: impl Fn(&mut Consumer) -> u64,
) {
    for n in 0..rounds {
        assert_sent(LEN, n, read(consumer));
        send_one::<LEN>(producer, n);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::{Arrivals, Load};
    use std::time::Instant;

    /// Fewer than the waits in vain after which a spinning end rests: a busy machine can make any of them vain.
    const WAITS: u64 = 3;

    /// How often the calling thread has given its processor back.
    fn sleeps() -> u64 {
        let status = std::fs::read_to_string("/proc/thread-self/status").expect("a thread of this process");
        let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        line.expect("the kernel counts them").trim().parse().expect("a number")
    }

    /// How often a consumer sleeps that waits for each of several records for 2 ms.
    fn sleeps_of_a_receiver(bouncer: Bouncer) -> u64 {
        let address = format!("@ipcbench-spin-{}-{bouncer:?}", std::process::id());
        let cases = [Case::Load(bouncer, Load { rate: 1000, arrivals: Arrivals::Even })];
        let mut outgoing = Outgoing::offer(&address, &cases, Role::Parent).unwrap();
        let mut incoming = Incoming::attach(&address, &cases, Role::Child).unwrap();
        let purpose = Purpose::bounce(bouncer, Waiting::Spinning, PING_BYTES);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let producer = outgoing.lane(purpose);
                for n in 0..WAITS {
                    let start = Instant::now();
                    while start.elapsed() < Duration::from_millis(2) {
                        std::hint::spin_loop();
                    }
                    send_one::<PING_BYTES>(producer, n);
                }
            });
            let (consumer, before) = (incoming.lane(purpose), sleeps());
            (0..WAITS).for_each(|_| assert_ne!(receive_one(consumer), 0));
            sleeps() - before
        })
    }

    #[test]
    fn lanes_of_spinning_measures_never_sleep_but_those_that_say_so() {
        assert_eq!(sleeps_of_a_receiver(Bouncer::Fdring(Reading::InPlace)), 0);
        assert!(sleeps_of_a_receiver(Bouncer::FdringDefault) > 0);
    }
}
