//! ringfire: a ring of elements of one size in `/dev/shm`, lossless, one element a call and 32 a call.
//!
//! It copies each element in and out. Its blobs, for payloads of any length, lose what is overwritten, so they are not
//! measured.

use crate::POLLED;
use ::ringfire::{FlowControl, RingConsumer, RingProducer, RingProducerBuilder};
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
