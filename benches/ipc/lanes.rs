//! fdring itself as a contender.

use crate::plan::{BATCH, LaneKind, Sending, Waiting, fill, stamp, sum};
use crate::raw::PING_BYTES;
use fdring::{Consumer, LaneOptions, Producer, Server, Session, SessionOptions};
use std::time::Duration;

type Result<T> = std::result::Result<T, fdring::Error>;

/// The ring of a lane that carries round trips, in bytes.
const BOUNCE_CAPACITY_BYTES: u64 = 64 << 10;

/// What lanes are for: records one way, or round trips with either way of waiting.
const PURPOSES: [Option<Waiting>; 3] = [None, Some(Waiting::Spinning), Some(Waiting::Asleep)];

/// The lanes that one process writes.
pub(crate) struct Outgoing {
    producers: Vec<Producer>,
    _server: Server,
}

/// The lanes that one process reads.
pub(crate) struct Incoming(Vec<Consumer>);

/// Where lanes of this kind and purpose stand in both lists.
fn index(kind: LaneKind, purpose: Option<Waiting>) -> usize {
    let purpose = PURPOSES.iter().position(|each| *each == purpose).expect("one of the purposes");
    purpose * LaneKind::ALL.len() + kind as usize
}

fn name(kind: LaneKind, purpose: Option<Waiting>) -> String {
    format!("{purpose:?}-{kind:?}")
}

impl Outgoing {
    /// Offers lanes at `address`; only the parent needs those for records one way.
    pub(crate) fn offer(address: &str, one_way: bool) -> Result<Self> {
        let mut producers = Vec::new();
        for purpose in PURPOSES {
            for kind in LaneKind::ALL {
                let mut options = LaneOptions::new(name(kind, purpose));
                if kind == LaneKind::InPlaceLines {
                    options = options.record_align(64);
                }
                if purpose.is_some() || !one_way {
                    options = options.capacity(BOUNCE_CAPACITY_BYTES);
                }
                if purpose == Some(Waiting::Asleep) {
                    options = options.spin(Duration::ZERO);
                }
                producers.push(Producer::create(options)?);
            }
        }
        let server = Server::listen(address, &producers.iter().collect::<Vec<_>>())?;
        Ok(Self { producers, _server: server })
    }

    /// Sends `records` records of `LEN` bytes.
    pub(crate) fn send<const LEN: usize>(&mut self, sending: Sending, kind: LaneKind, records: u64) {
        let producer = &mut self.producers[index(kind, None)];
        match sending {
            Sending::Send => {
                let mut payload = [0; LEN];
                fill(&mut payload, 0);
                for n in 0..records {
                    stamp(&mut payload, n);
                    producer.send(&payload).expect("room for a record");
                }
            }
            Sending::Reserve => {
                for n in 0..records {
                    let mut slot = producer.reserve(LEN).expect("room for a record");
                    fill::<LEN>((&mut slot[..]).try_into().expect("the length asked for"), n);
                    slot.commit();
                }
            }
            Sending::Batch => {
                let mut sent = 0;
                while sent < records {
                    let end = records.min(sent + BATCH);
                    let mut batch = producer.batch().expect("a batch");
                    for n in sent..end {
                        let mut slot = batch.reserve(LEN).expect("room for a record");
                        fill::<LEN>((&mut slot[..]).try_into().expect("the length asked for"), n);
                        slot.commit();
                    }
                    batch.commit();
                    sent = end;
                }
            }
        }
    }

    fn send_one(&mut self, lane: usize, n: u64) {
        let mut slot = self.producers[lane].reserve(PING_BYTES).expect("room for a record");
        fill::<PING_BYTES>((&mut slot[..]).try_into().expect("the length asked for"), n);
        slot.commit();
    }
}

impl Incoming {
    /// Attaches to all lanes at `address`.
    pub(crate) fn attach(address: &str) -> Result<Self> {
        let mut consumers = Vec::new();
        for purpose in PURPOSES {
            for kind in LaneKind::ALL {
                let mut options = SessionOptions::new().lanes([name(kind, purpose)]);
                if purpose == Some(Waiting::Asleep) {
                    options = options.spin(Duration::ZERO);
                }
                let session = Session::connect(address, options)?;
                consumers.push(match kind {
                    LaneKind::Copied => session.attach_one()?,
                    // SAFETY: the producer is this program with the same library, and nothing else writes its memory.
                    #[allow(unsafe_code, reason = "reading in place is what is measured")]
                    _ => unsafe { session.attach_one_in_place() }?,
                });
            }
        }
        Ok(Self(consumers))
    }

    /// Receives `records` records of `LEN` bytes; the sum over them.
    pub(crate) fn receive<const LEN: usize>(&mut self, kind: LaneKind, records: u64) -> u64 {
        let consumer = &mut self.0[index(kind, None)];
        let mut total = 0u64;
        for _ in 0..records {
            let record = consumer.receive().expect("a sound lane").expect("a record");
            let payload: &[u8; LEN] = record[..].try_into().expect("the length that was sent");
            total = total.wrapping_add(sum(payload));
        }
        total
    }

    fn receive_one(&mut self, lane: usize) -> u64 {
        sum(&self.0[lane].receive().expect("a sound lane").expect("a record"))
    }
}

/// Round trips, from the side that begins.
pub(crate) fn ping(
    (outgoing, incoming): (&mut Outgoing, &mut Incoming),
    (kind, waiting): (LaneKind, Waiting),
    rounds: u64,
    mut each: impl FnMut(),
) {
    let lane = index(kind, Some(waiting));
    for n in 0..rounds {
        outgoing.send_one(lane, n);
        std::hint::black_box(incoming.receive_one(lane));
        each();
    }
}

/// Round trips, from the side that answers.
pub(crate) fn pong(
    (outgoing, incoming): (&mut Outgoing, &mut Incoming),
    (kind, waiting): (LaneKind, Waiting),
    rounds: u64,
) {
    let lane = index(kind, Some(waiting));
    for n in 0..rounds {
        std::hint::black_box(incoming.receive_one(lane));
        outgoing.send_one(lane, n);
    }
}
