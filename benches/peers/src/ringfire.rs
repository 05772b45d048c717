//! ringfire: a ring of elements of one size in `/dev/shm`, lossless, one element a call and 32 a call.
//!
//! It copies each element in and out. Its blobs, for payloads of any length, lose what is overwritten, so they are not
//! measured.

use crate::many::{self, CHANNEL_BYTES, LONG, Link, SHORT};
use crate::{ELSEWHERE, POLLED};
use ::ringfire::{FlowControl, FutexWait, RingConsumer, RingProducer, RingProducerBuilder};
use ipcbench::RING_BYTES;
use ipcbench::payload::{LENGTHS, PING_BYTES, fill, stamp, sum, with_small_len};
use ipcbench::{Capability, Contender, ContenderKind, Fallible, Opened, Role, Way};
use std::any::Any;
use std::error::Error;

pub(crate) const EACH: ContenderKind = ContenderKind {
    name: "ringfire, 1 a call",
    version: "0.5",
    len_max: 64 << 10,
    trip_len_max: PING_BYTES,
    records_step: 32,
    room: 0,
    lacks: ELSEWHERE,
    does: POLLED,
    open: |role, run| open(role, run, 1),
};

pub(crate) const BATCHED: ContenderKind = ContenderKind {
    name: "ringfire, 32 a call",
    len_max: 4 << 10,
    does: &[Capability::OneWay],
    open: |role, run| open(role, run, 32),
    ..EACH
};

struct Rings {
    role: Role,
    run: String,
    per_call: usize,
    /// For each length a `RingProducer<[u8; LEN]>` or a `RingConsumer<[u8; LEN]>`.
    one_way: Vec<(usize, Box<dyn Any>)>,
    out: RingProducer<[u8; PING_BYTES]>,
    back: Option<RingConsumer<[u8; PING_BYTES]>>,
}

const BOUNCE_ELEMENTS: u64 = 64;

fn path(run: &str, per_call: usize, name: &str) -> String {
    format!("/dev/shm/{run}-ringfire-{per_call}-{name}")
}

fn producer<T: Copy + 'static>(path: String, elements: u64) -> Result<RingProducer<T>, Box<dyn Error>> {
    let builder = RingProducerBuilder::new(elements).flow_control(FlowControl::LosslessBackpressure);
    Ok(builder.build(path)?)
}

fn consumer<T: Copy + 'static>(path: String) -> Result<RingConsumer<T>, Box<dyn Error>> {
    Ok(RingConsumer::builder().start_from_oldest().attach(path)?)
}

fn open(role: Role, run: &str, per_call: usize) -> Opened {
    let mut one_way: Vec<(usize, Box<dyn Any>)> = Vec::new();
    for len in LENGTHS.into_iter().filter(|len| *len <= EACH.len_max) {
        let path = path(run, per_call, &len.to_string());
        with_small_len!(len, LEN => one_way.push((LEN, match role {
            // A power of two; an element has a sequence word beside it.
            Role::Parent => Box::new(producer::<[u8; LEN]>(path, (RING_BYTES / LEN.next_power_of_two()) as u64)?),
            Role::Child => Box::new(consumer::<[u8; LEN]>(path)?),
        })));
    }
    let mine = if role == Role::Parent { "there" } else { "back" };
    let out = producer(path(run, per_call, mine), BOUNCE_ELEMENTS)?;
    Ok(Box::new(Rings { role, run: run.to_owned(), per_call, one_way, out, back: None }))
}

impl Rings {
    fn end<T: 'static>(&mut self, len: usize) -> &mut T {
        let found = self.one_way.iter_mut().find(|(each, _)| *each == len);
        found.expect("a ring for each length").1.downcast_mut().expect("this side's end")
    }

    fn poll(&mut self) -> u64 {
        let back = self.back.as_mut().expect("connected before it is used");
        loop {
            if let Some(payload) = back.try_recv() {
                return sum(&payload);
            }
        }
    }

    fn send_one(&mut self, n: u64) {
        let mut payload = [0; PING_BYTES];
        fill(&mut payload, n);
        self.out.push(&payload);
    }
}

impl Contender for Rings {
    fn connect(&mut self) -> Fallible {
        let other = if self.role == Role::Parent { "back" } else { "there" };
        self.back = Some(consumer(path(&self.run, self.per_call, other))?);
        Ok(())
    }

    fn send(&mut self, _: Way, n: u64) -> Fallible {
        self.send_one(n);
        Ok(())
    }

    fn receive(&mut self, _: Way) -> Fallible<u64> {
        Ok(self.poll())
    }

    fn send_all(&mut self, way: Way, records: u64) -> Fallible {
        let per_call = self.per_call;
        with_small_len!(way.len, LEN => {
            let producer = self.end::<RingProducer<[u8; LEN]>>(way.len);
            let mut payloads = vec![[0; LEN]; per_call];
            payloads.iter_mut().for_each(|payload| fill(payload, 0));
            for first in (0..records).step_by(per_call) {
                for (payload, n) in payloads.iter_mut().zip(first..) {
                    stamp(payload, n);
                }
                match &payloads[..] {
                    [payload] => producer.push(payload),
                    payloads => producer.push_batch(payloads),
                }
            }
        });
        Ok(())
    }

    fn receive_all(&mut self, way: Way, records: u64) -> Fallible<u64> {
        let per_call = self.per_call;
        Ok(with_small_len!(way.len, LEN => {
            let consumer = self.end::<RingConsumer<[u8; LEN]>>(way.len);
            let mut payloads = vec![[0; LEN]; per_call];
            let (mut received, mut total) = (0, 0u64);
            while received < records {
                let some = consumer.recv_batch(&mut payloads);
                received += some as u64;
                payloads[..some].iter().for_each(|payload| total = total.wrapping_add(sum(payload)));
            }
            total
        }))
    }
}

/// Receivers that sleep on the ring's futex, and visitors.
pub(crate) const ASLEEP: ContenderKind = ContenderKind {
    name: "ringfire, asleep",
    does: &[Capability::Asleep, Capability::Connect],
    open: open_asleep,
    ..EACH
};

/// A ring that several consumers read; a ring each for producers, workers and lanes, since its queue of many producers
/// loses what is overwritten.
pub(crate) const MANY: ContenderKind = ContenderKind {
    name: "ringfire, many",
    does: many::MANY,
    records_step: 1,
    room: 16_384,
    lacks: ELSEWHERE,
    open: |role, run| many::open::<Ring<SHORT>, Ring<LONG>>(role, run, "ringfire"),
    ..EACH
};

enum Ring<const LEN: usize> {
    Producer(RingProducer<[u8; LEN]>),
    Consumer(RingConsumer<[u8; LEN]>),
}

impl<const LEN: usize> Link for Ring<LEN> {
    const FANS_OUT: bool = true;
    const FANS_IN: bool = false;

    fn open(role: Role, name: &str) -> Fallible<Self> {
        let path = format!("/dev/shm/{name}");
        Ok(match role {
            Role::Parent => Self::Producer(producer(path, (CHANNEL_BYTES / LEN) as u64)?),
            Role::Child => Self::Consumer(consumer(path)?),
        })
    }

    fn send(&mut self, n: u64) -> Fallible {
        let Self::Producer(producer) = self else { return Err("the parent sends".into()) };
        let mut payload = [0; LEN];
        fill(&mut payload, n);
        producer.push(&payload);
        Ok(())
    }

    fn poll(&mut self) -> Fallible<Option<u64>> {
        let Self::Consumer(consumer) = self else { return Err("the child receives".into()) };
        Ok(consumer.try_recv().map(|payload| sum(&payload)))
    }
}

struct Sleepers {
    role: Role,
    run: String,
    out: RingProducer<[u8; PING_BYTES]>,
    back: Option<RingConsumer<[u8; PING_BYTES]>>,
    /// What the parent sends visitors by, and the child's visit.
    visited: Option<RingProducer<[u8; PING_BYTES]>>,
    visit: Option<RingConsumer<[u8; PING_BYTES]>>,
}

fn asleep_path(run: &str, name: &str) -> String {
    format!("/dev/shm/{run}-ringfire-asleep-{name}")
}

fn open_asleep(role: Role, run: &str) -> Opened {
    let mine = if role == Role::Parent { "there" } else { "back" };
    let out = producer(asleep_path(run, mine), BOUNCE_ELEMENTS)?;
    let visited = match role {
        Role::Parent => Some(producer(asleep_path(run, "visited"), BOUNCE_ELEMENTS)?),
        Role::Child => None,
    };
    Ok(Box::new(Sleepers { role, run: run.to_owned(), out, back: None, visited, visit: None }))
}

impl Sleepers {
    fn visitors(&self) -> usize {
        let registry = self.visited.as_ref().and_then(|visited| visited.registry());
        registry.map_or(0, |registry| registry.active_readers(0).len())
    }
}

impl Contender for Sleepers {
    fn connect(&mut self) -> Fallible {
        let other = if self.role == Role::Parent { "back" } else { "there" };
        self.back = Some(consumer(asleep_path(&self.run, other))?);
        Ok(())
    }

    fn send(&mut self, _: Way, n: u64) -> Fallible {
        let mut payload = [0; PING_BYTES];
        fill(&mut payload, n);
        self.out.push(&payload);
        Ok(())
    }

    fn receive(&mut self, _: Way) -> Fallible<u64> {
        let back = self.back.as_mut().ok_or("connected before it is used")?;
        // It spins as little as it lets one choose, and sleeps 10 ms at most: then it looks again.
        Ok(sum(&back.recv_blocking(&mut FutexWait::new(0, None))))
    }

    fn welcome(&mut self) -> Fallible {
        while self.visitors() == 0 {
            std::thread::yield_now();
        }
        let mut payload = [0; PING_BYTES];
        fill(&mut payload, 0);
        self.visited.as_mut().ok_or("the parent is visited")?.push(&payload);
        Ok(())
    }

    fn visit(&mut self) -> Fallible {
        let path = asleep_path(&self.run, "visited");
        let mut visit = RingConsumer::<[u8; PING_BYTES]>::builder().start_from_head().attach(path)?;
        std::hint::black_box(sum(&visit.recv_blocking(&mut FutexWait::new(0, None))));
        self.visit = Some(visit);
        Ok(())
    }

    fn leave(&mut self) -> Fallible {
        self.visit = None;
        while self.role == Role::Parent && self.visitors() != 0 {
            std::thread::yield_now();
        }
        Ok(())
    }
}
