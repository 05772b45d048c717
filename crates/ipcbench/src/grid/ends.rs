//! One process's ends of a contender in a grid.

use super::bare::{self, Bare};
use super::member::Order;
use crate::contender::{Contender, ContenderKind, Fallible, Opened, Role, Waiting, Way};
use crate::lanes::{attach_in_place, drain_in_turn, send_batches};
use crate::payload::{sum, with_len, with_small_len, write};
use crate::shared::{Shared, ring_bytes};
use fdring::options::{LaneOptions, ServerOptions};
use fdring::{Consumer, Producer, Server, Session};
use std::io::{Read, Write};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};

/// The name of fdring's lanes, of which each producer has one.
const FDRING: &str = "fdring, in place";
/// The bare rings, the better of which is the ceiling: of the second, consumers step back from a producer that is not
/// far ahead.
pub(crate) const BARE: [&str; 2] = ["raw ring, batches of 32", "raw ring, batches of 32, held"];

const fn bare(name: &'static str) -> ContenderKind {
    ContenderKind {
        len_max: bare::LEN_MAX,
        ..ContenderKind::new(name, |_, _| Err("it has rings, and no pairs".into()))
    }
}

/// What is built in.
pub(crate) static BUILT_IN: &[ContenderKind] = &[
    bare(BARE[0]),
    bare(BARE[1]),
    ContenderKind { len_max: 4 << 20, ..ContenderKind::new(FDRING, |_, _| Err("it has lanes, and no pairs".into())) },
    ContenderKind::new("Unix stream", Stream::open),
];

/// One process's ends of one contender.
pub(crate) enum Ends<'a> {
    Bare(Bare<'a>),
    /// One with each process of the other side, in their order.
    Pairs(Vec<Box<dyn Contender>>),
    Lane {
        producer: Box<Producer>,
        _server: Server,
    },
    /// The lanes that a consumer reads.
    Consumers(Vec<Consumer>),
}

impl<'a> Ends<'a> {
    pub(crate) fn open(kind: &ContenderKind, order: &Order, shared: &'a Shared) -> Fallible<Self> {
        let place = order.place;
        if let Some(mode) = BARE.iter().position(|name| *name == kind.name) {
            return Ok(Self::Bare(Bare::new(shared, place, mode == 1)));
        }
        let lane = |producer: usize| format!("@{}-lane-{producer}", order.run);
        match (kind.name == FDRING, place.is_producer()) {
            (true, true) => {
                let producer = LaneOptions::new("grid").capacity(ring_bytes(order.len) as u64).create()?;
                let options = ServerOptions::new().sessions_max(place.consumers);
                let server = options.listen(lane(place.index).as_str(), &[&producer])?;
                Ok(Self::Lane { producer: Box::new(producer), _server: server })
            }
            (true, false) => {
                let attach = |producer| attach_in_place(Session::connect(lane(producer).as_str())?);
                Ok(Self::Consumers((0..place.producers).map(attach).collect::<fdring::Result<_>>()?))
            }
            (false, is_producer) => {
                let pair = |producer: usize, consumer: usize| format!("{}-{producer}-{consumer}", order.run);
                let consumer = place.index.wrapping_sub(place.producers);
                let open = |other: usize| match is_producer {
                    true => (kind.open)(Role::Parent, &pair(place.index, other)),
                    false => (kind.open)(Role::Child, &pair(other, consumer)),
                };
                let others = if is_producer { place.consumers } else { place.producers };
                Ok(Self::Pairs((0..others).map(open).collect::<Fallible<_>>()?))
            }
        }
    }

    /// All others have opened theirs too.
    pub(crate) fn connect(&mut self) -> Fallible {
        match self {
            Self::Pairs(pairs) => pairs.iter_mut().try_for_each(|pair| pair.connect()),
            Self::Bare(_) | Self::Lane { .. } | Self::Consumers(_) => Ok(()),
        }
    }

    /// Sends that number of records to each consumer.
    pub(crate) fn send(&mut self, len: usize, records: u64) -> Fallible {
        let way = Way::new(len, Waiting::Spinning);
        match self {
            Self::Bare(bare) => match len {
                bare::LEN_MAX => bare.send::<{ bare::LEN_MAX }>(records),
                len => with_small_len!(len, LEN => bare.send::<LEN>(records)),
            },
            Self::Lane { producer, .. } => with_len!(len, LEN => send_batches::<LEN>(producer, records)),
            Self::Consumers(_) => return Err("a consumer sends nothing".into()),
            Self::Pairs(pairs) => {
                pairs.iter_mut().try_for_each(|pair| pair.prepare(way))?;
                match &mut pairs[..] {
                    [pair] => return pair.send_all(way, records),
                    pairs => {
                        for n in 0..records {
                            pairs.iter_mut().try_for_each(|pair| pair.send(way, n))?;
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// Receives as many from each producer; the sum over all.
    pub(crate) fn receive(&mut self, len: usize, records: u64) -> Fallible<u64> {
        let way = Way::new(len, Waiting::Spinning);
        match self {
            Self::Bare(bare) => Ok(match len {
                bare::LEN_MAX => bare.receive::<{ bare::LEN_MAX }>(records),
                len => with_small_len!(len, LEN => bare.receive::<LEN>(records)),
            }),
            Self::Lane { .. } => Err("a producer receives nothing".into()),
            Self::Consumers(consumers) => Ok(with_len!(len, LEN => drain_in_turn::<LEN>(consumers, records))),
            Self::Pairs(pairs) => {
                pairs.iter_mut().try_for_each(|pair| pair.prepare(way))?;
                match &mut pairs[..] {
                    [pair] => pair.receive_all(way, records),
                    pairs => {
                        let mut total = 0u64;
                        for _ in 0..records {
                            for pair in &mut *pairs {
                                total = total.wrapping_add(pair.receive(way)?);
                            }
                        }
                        Ok(total)
                    }
                }
            }
        }
    }
}

/// A Unix stream socket, which blocks: a write and a read for each record.
struct Stream {
    listener: Option<UnixListener>,
    stream: Option<UnixStream>,
    record: Vec<u8>,
}

impl Stream {
    fn open(role: Role, run: &str) -> Opened {
        let address = SocketAddr::from_abstract_name(format!("{run}-stream"))?;
        let (listener, stream) = match role {
            Role::Parent => (Some(UnixListener::bind_addr(&address)?), None),
            Role::Child => (None, Some(UnixStream::connect_addr(&address)?)),
        };
        Ok(Box::new(Self { listener, stream, record: vec![0; 64 << 10] }))
    }

    fn stream(&mut self) -> Fallible<(&mut UnixStream, &mut [u8])> {
        Ok((self.stream.as_mut().ok_or("not connected")?, &mut self.record))
    }
}

impl Contender for Stream {
    fn connect(&mut self) -> Fallible {
        if let Some(listener) = self.listener.take() {
            self.stream = Some(listener.accept()?.0);
        }
        Ok(())
    }

    fn send(&mut self, way: Way, n: u64) -> Fallible {
        let (stream, record) = self.stream()?;
        write(&mut record[..way.len], n);
        Ok(stream.write_all(&record[..way.len])?)
    }

    fn receive(&mut self, way: Way) -> Fallible<u64> {
        let (stream, record) = self.stream()?;
        stream.read_exact(&mut record[..way.len])?;
        Ok(sum(&record[..way.len]))
    }
}
