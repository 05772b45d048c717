//! What has more than two ends, next to plain lanes and a socket: many producers into one collector, one distributor to
//! many workers; and calls, and descriptors on records.
//!
//! All ends of one side are driven in turn by that process's one thread, so that two processors suffice: what is
//! measured is what the shape costs, and not how many processors there are.

use crate::clock::Laps;
use crate::contender::{Fallible, Way};
use crate::lanes::attach_in_place;
use crate::payload::{PING_BYTES, check, fill, sum, with_len, write};
use crate::plan::{BATCH, Bouncer, Case, FD_COUNTS, FdSender, Many, PRODUCER_COUNTS, SPREAD_LEN};
use fdring::call::{Caller, CallerOptions, Service, ServiceOptions};
use fdring::collect::{Collector, CollectorOptions, Event};
use fdring::distribute::{Distributor, DistributorOptions, To, Worker};
use fdring::errors::ReceiveError;
use fdring::options::{LaneOptions, Records, ServerOptions, SessionOptions};
use fdring::{Attach, Consumer, Producer, Server};
use rustix::fd::BorrowedFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::{Duration, Instant};

/// The ring of each of these lanes, in bytes.
const CAPACITY_BYTES: u64 = 1 << 20;
/// How long the other side may take for what it does at once.
const PATIENCE: Duration = Duration::from_secs(5);

fn lane(name: impl Into<String>) -> LaneOptions {
    LaneOptions::new(name).capacity(CAPACITY_BYTES)
}

/// Plain lanes: as many as any case has, of which each uses the first.
const LANES: Case = Case::FanIn(Many::Lanes, PRODUCER_COUNTS[PRODUCER_COUNTS.len() - 1], SPREAD_LEN);
/// The one lane whose records carry descriptors, for all counts of them.
const FDS: Case = Case::Descriptors(FdSender::OnRecords, FD_COUNTS[0]);

/// The case whose ends this one uses, if it has any: descriptors are dear, so cases share what they can.
fn ends_of(case: Case) -> Option<Case> {
    match case {
        Case::FanIn(Many::Lanes, ..) | Case::Share(Many::Lanes, _) => Some(LANES),
        Case::FanIn(Many::Shape | Many::Runs, count, _) => Some(Case::FanIn(Many::Shape, count, SPREAD_LEN)),
        Case::FanIn(Many::Datagrams, count, _) => Some(Case::FanIn(Many::Datagrams, count, SPREAD_LEN)),
        Case::Share(Many::Runs, count) => Some(Case::Share(Many::Shape, count)),
        Case::Descriptors(FdSender::OnRecords | FdSender::ManyOnRecords, _) => Some(FDS),
        Case::Share(..) | Case::RoundTrip(Bouncer::FdringCall, ..) => Some(case),
        _ => None,
    }
}

/// All ends that these cases use.
fn all_ends(cases: &[Case]) -> Vec<Case> {
    let mut all: Vec<Case> = Vec::new();
    for ends in cases.iter().filter_map(|case| ends_of(*case)) {
        if !all.contains(&ends) {
            all.push(ends);
        }
    }
    all
}

/// Where the ends of one of them meet.
fn address(base: &str, ends: Case) -> String {
    let name = match ends {
        Case::FanIn(many, count, _) => format!("in-{many:?}-{count}"),
        Case::Share(many, count) => format!("out-{many:?}-{count}"),
        Case::Descriptors(..) => "descriptors".to_owned(),
        _ => "calls".to_owned(),
    };
    format!("{base}-{name}")
}

/// What the parent sends by.
enum Writer {
    /// The lanes, and what serves them for as long as they are used.
    Lanes {
        lanes: Vec<Producer>,
        _links: Vec<Server>,
    },
    Distributor(Box<Distributor>),
    Datagrams(Vec<UnixDatagram>),
    Caller(Box<Caller>),
}

/// What the child receives by.
enum Reader {
    Collector(Box<Collector>),
    Lanes(Vec<Consumer>),
    Workers(Vec<Worker>),
    Datagrams(UnixDatagram),
    Service(Box<Service>),
}

/// The parent's ends.
pub(crate) struct Writers(Vec<(Case, Writer)>);

/// The child's ends.
pub(crate) struct Readers(Vec<(Case, Reader)>);

impl Writers {
    /// Opens what the child comes to.
    pub(crate) fn offer(base: &str, cases: &[Case]) -> Fallible<Self> {
        let mut writers = Vec::new();
        for case in all_ends(cases) {
            let address = address(base, case);
            let writer = match case {
                Case::FanIn(Many::Lanes, count, _) => {
                    let create = |index| lane(format!("lane-{index}")).create();
                    let lanes = (0..count).map(create).collect::<fdring::Result<Vec<Producer>>>()?;
                    let producers: Vec<&Producer> = lanes.iter().collect();
                    let server = ServerOptions::new().listen(address.as_str(), &producers[..])?;
                    Writer::Lanes { lanes, _links: vec![server] }
                }
                Case::Share(_, count) => {
                    let options = DistributorOptions::new().workers_max(count).lane(lane("work"));
                    Writer::Distributor(Box::new(options.listen(address.as_str())?))
                }
                Case::Descriptors(..) => {
                    let lanes =
                        vec![LaneOptions::new("descriptors").attachments(FD_COUNTS[FD_COUNTS.len() - 1]).create()?];
                    let server = ServerOptions::new().listen(address.as_str(), &[&lanes[0]])?;
                    Writer::Lanes { lanes, _links: vec![server] }
                }
                _ => continue,
            };
            writers.push((case, writer));
        }
        Ok(Self(writers))
    }

    /// Connects to what the child has opened.
    pub(crate) fn connect(&mut self, base: &str, cases: &[Case]) -> Fallible {
        for case in all_ends(cases) {
            let address = address(base, case);
            let writer = match case {
                Case::FanIn(Many::Shape, count, _) => {
                    let create = |index| lane(format!("producer-{index}")).create();
                    let lanes = (0..count).map(create).collect::<fdring::Result<Vec<Producer>>>()?;
                    let links = lanes.iter().map(|lane| lane.connect(address.as_str()));
                    let links = links.collect::<fdring::Result<Vec<Server>>>()?;
                    Writer::Lanes { lanes, _links: links }
                }
                Case::FanIn(Many::Datagrams, count, _) => {
                    let connect = |_| {
                        let socket = UnixDatagram::unbound()?;
                        socket.connect_addr(&SocketAddr::from_abstract_name(&address[1..])?)?;
                        Ok::<_, std::io::Error>(socket)
                    };
                    Writer::Datagrams((0..count).map(connect).collect::<std::io::Result<_>>()?)
                }
                Case::RoundTrip(..) => {
                    let options = CallerOptions::new().spin(Duration::MAX);
                    Writer::Caller(Box::new(options.connect(address.as_str())?))
                }
                _ => continue,
            };
            self.0.push((case, writer));
        }
        for (case, writer) in &mut self.0 {
            if let (Case::Share(_, count), Writer::Distributor(distributor)) = (*case, writer) {
                distributor.wait_for_workers(count, PATIENCE)?;
            }
        }
        Ok(())
    }

    fn get(&mut self, wanted: Case) -> &mut Writer {
        let wanted = ends_of(wanted);
        let found = self.0.iter_mut().find(|(case, _)| Some(*case) == wanted);
        &mut found.expect("an end of every case that is measured").1
    }

    /// Sends `records` records from each of the producers, or to each of the workers, in turn.
    pub(crate) fn send(&mut self, case: Case, way: Way, records: u64) -> Fallible {
        match self.get(case) {
            Writer::Lanes { lanes, .. } if matches!(case, Case::Share(..)) => {
                for n in 0..records {
                    let mut slot = lanes[n as usize % way.workers].reserve(SPREAD_LEN)?;
                    fill::<SPREAD_LEN>((&mut slot[..]).try_into()?, n);
                    slot.commit();
                }
            }
            Writer::Lanes { lanes, .. } => {
                with_len!(way.len, LEN => send_in_turn::<LEN>(&mut lanes[..way.producers], records));
            }
            Writer::Datagrams(sockets) => {
                let mut record = vec![0; way.len];
                for n in 0..records {
                    write(&mut record, n);
                    sockets[n as usize % sockets.len()].send(&record)?;
                }
            }
            Writer::Distributor(distributor) if matches!(case, Case::Share(Many::Runs, _)) => {
                let mut sent = 0;
                while sent != records {
                    let batch = Records { count: BATCH.min(records - sent) as usize, len: SPREAD_LEN };
                    sent += distributor.fill_many(To::RoundRobin, batch, |index, slot| {
                        fill::<SPREAD_LEN>(slot.try_into().expect("the length asked for"), sent + index as u64);
                    })? as u64;
                }
            }
            Writer::Distributor(distributor) => {
                for n in 0..records {
                    let mut slot = distributor.reserve(To::RoundRobin, SPREAD_LEN)?;
                    fill::<SPREAD_LEN>((&mut slot[..]).try_into()?, n);
                    slot.commit();
                }
            }
            Writer::Caller(_) => unreachable!("it calls"),
        }
        Ok(())
    }

    /// Calls again and again, with requests of a length that the compiler knows, as that of plain round trips is.
    pub(crate) fn call(&mut self, case: Case, rounds: u64, laps: &mut Laps) -> Fallible {
        let Writer::Caller(caller) = self.get(case) else { unreachable!("no caller") };
        for n in 0..rounds {
            let reply = caller.call_with(PING_BYTES, PATIENCE, |request| fill_ping(request, n))?;
            check(PING_BYTES, n, sum(ping(&reply)?))?;
            laps.end();
        }
        Ok(())
    }

    /// Sends a record with these descriptors.
    pub(crate) fn send_fds(&mut self, fds: &[BorrowedFd<'_>]) -> Fallible {
        let Writer::Lanes { lanes, .. } = self.get(FDS) else { unreachable!("no lane for descriptors") };
        Ok(lanes[0].send_with_fds(b"f", fds)?)
    }

    /// Sends that number of records at once, each with these descriptors.
    pub(crate) fn send_many_fds(&mut self, fds: &[BorrowedFd<'_>], records: usize) -> Fallible {
        let Writer::Lanes { lanes, .. } = self.get(FDS) else { unreachable!("no lane for descriptors") };
        Ok(lanes[0].send_many_with_fds(&mut &vec![(b"f", fds); records][..])?)
    }
}

/// Writes record `n` of a round trip.
#[inline(always)]
fn fill_ping(record: &mut [u8], n: u64) {
    fill::<PING_BYTES>(record.try_into().expect("the length asked for"), n);
}

/// A record of a round trip that came.
#[inline(always)]
fn ping(record: &[u8]) -> Fallible<&[u8; PING_BYTES]> {
    Ok(record.try_into()?)
}

/// Batches of short records, and long ones one by one, as in the other measures.
fn send_in_turn<const LEN: usize>(lanes: &mut [Producer], records: u64) {
    let (count, step) = (lanes.len(), records_at_once(LEN));
    for (round, first) in (0..records).step_by(step as usize).enumerate() {
        let mut batch = lanes[round % count].batch().expect("a batch");
        for n in first..first + step {
            let mut slot = batch.reserve(LEN).expect("room for a record");
            fill::<LEN>((&mut slot[..]).try_into().expect("the length asked for"), n);
            slot.commit();
        }
        batch.commit();
    }
}

/// How many records a producer sends before the next one does.
pub(crate) fn records_at_once(len: usize) -> u64 {
    if len <= SPREAD_LEN { BATCH } else { 1 }
}

impl Readers {
    /// Opens what the parent comes to, and comes to what it has opened.
    pub(crate) fn open(parents: &str, base: &str, cases: &[Case]) -> Fallible<Self> {
        let in_place = |address: &str, name: Option<String>| {
            let options = SessionOptions::new();
            let options = name.map_or(options.clone(), |name| options.lanes([name]));
            attach_in_place(options.connect(address)?)
        };
        let mut readers = Vec::new();
        for case in all_ends(cases) {
            let (theirs, ours) = (address(parents, case), address(base, case));
            let reader = match case {
                Case::FanIn(Many::Shape, ..) => {
                    // SAFETY: the producers are this program with the same library, and nothing else writes their
                    // memory.
                    #[allow(unsafe_code, reason = "reading in place is what is measured")]
                    let options = CollectorOptions::new().attach(|_| unsafe { Attach::new().in_place() });
                    Reader::Collector(Box::new(options.listen(ours.as_str())?))
                }
                Case::FanIn(Many::Datagrams, ..) => {
                    Reader::Datagrams(UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&ours[1..])?)?)
                }
                Case::FanIn(_, count, _) => {
                    let attach = |index| in_place(&theirs, Some(format!("lane-{index}")));
                    Reader::Lanes((0..count).map(attach).collect::<fdring::Result<_>>()?)
                }
                Case::Share(_, count) => {
                    let work = |_| Worker::new(in_place(&theirs, None)?);
                    Reader::Workers((0..count).map(work).collect::<fdring::Result<_>>()?)
                }
                Case::Descriptors(..) => {
                    let session = SessionOptions::new().connect(theirs.as_str())?;
                    Reader::Lanes(vec![session.attach_one(Attach::new().attachments(true))?])
                }
                _ => {
                    let options = ServiceOptions::new().spin(Duration::MAX);
                    Reader::Service(Box::new(options.listen(ours.as_str())?))
                }
            };
            readers.push((case, reader));
        }
        Ok(Self(readers))
    }

    /// Has the collectors take in their producers, which connect meanwhile.
    pub(crate) fn join(&mut self) -> Fallible {
        let start = Instant::now();
        for (case, reader) in &mut self.0 {
            let (Case::FanIn(_, count, _), Reader::Collector(collector)) = (*case, reader) else { continue };
            while collector.lane_count() < count {
                match collector.next_timeout(PATIENCE) {
                    Ok(Event::Joined(_)) => {}
                    Ok(other) => return Err(format!("a producer joins: {other:?}").into()),
                    Err(error) => return Err(error.into()),
                }
                if start.elapsed() > PATIENCE {
                    return Err("the producers do not join their collectors".into());
                }
            }
        }
        Ok(())
    }

    fn get(&mut self, wanted: Case) -> &mut Reader {
        let wanted = ends_of(wanted);
        let found = self.0.iter_mut().find(|(case, _)| Some(*case) == wanted);
        &mut found.expect("an end of every case that is measured").1
    }

    /// Receives as many records, in turn from those that have some; the sum over all.
    pub(crate) fn receive(&mut self, case: Case, way: Way, records: u64) -> Fallible<u64> {
        let (mut left, mut total) = (records, 0u64);
        let mut add = |record: &[u8]| total = total.wrapping_add(sum(record));
        match self.get(case) {
            Reader::Collector(collector) if matches!(case, Case::FanIn(Many::Runs, ..)) => {
                let mut fault = None;
                while left != 0 && fault.is_none() {
                    let read = collector.try_next_many(|event| match event {
                        Event::Record(_, record) => {
                            add(&record);
                            left -= 1;
                        }
                        Event::Joined(_) => {}
                        other => fault = Some(format!("all producers go on: {other:?}")),
                    });
                    if let Err(error) = read
                        && error != ReceiveError::Empty
                    {
                        return Err(error.into());
                    }
                }
                if let Some(fault) = fault {
                    return Err(fault.into());
                }
            }
            Reader::Collector(collector) => {
                while left != 0 {
                    match collector.try_next() {
                        Ok(Event::Record(_, record)) => {
                            add(&record);
                            left -= 1;
                        }
                        Ok(Event::Joined(_)) | Err(ReceiveError::Empty) => {}
                        Ok(other) => return Err(format!("all producers go on: {other:?}").into()),
                        Err(error) => return Err(error.into()),
                    }
                }
            }
            Reader::Lanes(consumers) => {
                while left != 0 {
                    for consumer in &mut consumers[..way.producers.max(way.workers)] {
                        left -= some(|| Ok(consumer.try_receive()?.map(|record| add(&record))))?;
                    }
                }
            }
            Reader::Workers(workers) => {
                while left != 0 {
                    for worker in &mut *workers {
                        left -= some(|| Ok(worker.try_receive()?.map(|record| add(&record))))?;
                    }
                }
                // What is in hand is done, so that the next slice begins with nothing.
                workers.iter_mut().for_each(Worker::done);
            }
            Reader::Datagrams(socket) => {
                let mut record = vec![0; way.len];
                for _ in 0..records {
                    let len = socket.recv(&mut record)?;
                    add(&record[..len]);
                }
            }
            Reader::Service(_) => unreachable!("it takes calls"),
        }
        Ok(total)
    }

    /// Answers calls.
    pub(crate) fn answer(&mut self, case: Case, rounds: u64) -> Fallible {
        let Reader::Service(service) = self.get(case) else { unreachable!("no service") };
        for n in 0..rounds {
            let request = service.receive()?;
            check(PING_BYTES, n, sum(ping(&request)?))?;
            request.reply_with(PING_BYTES, |reply| fill_ping(reply, n))?;
        }
        Ok(())
    }

    /// Receives a record with descriptors; how many they were.
    pub(crate) fn receive_fds(&mut self) -> Fallible<usize> {
        let Reader::Lanes(consumers) = self.get(FDS) else { unreachable!("no lane for descriptors") };
        let record = consumers[0].receive()?.ok_or("a record")?;
        Ok(record.take_fds()?.len())
    }
}

/// Reads what is there, up to as many as a batch has; how many these were.
#[inline(always)]
fn some(mut read: impl FnMut() -> Result<Option<()>, ReceiveError>) -> Result<u64, ReceiveError> {
    for count in 0..BATCH {
        match read() {
            Ok(Some(())) => {}
            Ok(None) => return Err(ReceiveError::Empty),
            Err(ReceiveError::Empty) => return Ok(count),
            Err(error) => return Err(error),
        }
    }
    Ok(BATCH)
}
