//! iceoryx2: publish-subscribe of slices, in its default configuration and in a tuned one, and request and response.
//!
//! The first two must not lose anything: no safe overflow, and a publisher that retries. Tuned means a subscriber's
//! buffer for as many samples as an fdring lane holds (at most 256, which was best), one publisher, one subscriber, no
//! history.

use crate::many::{self, LONG, Link, SHORT};
use crate::{ELSEWHERE, POLLED};
use iceoryx2::active_request::ActiveRequest;
use iceoryx2::pending_response::PendingResponse;
use iceoryx2::port::client::Client;
use iceoryx2::port::listener::Listener;
use iceoryx2::port::notifier::Notifier;
use iceoryx2::port::publisher::Publisher;
use iceoryx2::port::server::Server;
use iceoryx2::port::subscriber::Subscriber;
use iceoryx2::prelude::{BackpressureStrategy, LogLevel, Node, NodeBuilder, PortFactory, ipc, set_log_level};
use ipcbench::RING_BYTES;
use ipcbench::payload::{LENGTHS, PING_BYTES, fill_uninit, sum, with_len};
use ipcbench::{Capability, Contender, ContenderKind, Fallible, Opened, Role, Way};
use std::error::Error;
use std::mem::MaybeUninit;

pub(crate) const DEFAULT: ContenderKind = ContenderKind {
    name: "iceoryx2, default",
    version: "0.10",
    len_max: 4 << 20,
    trip_len_max: PING_BYTES,
    records_step: 1,
    room: 0,
    lacks: ELSEWHERE,
    does: POLLED,
    open: |role, run| open(role, run, false),
};

pub(crate) const TUNED: ContenderKind =
    ContenderKind { name: "iceoryx2, tuned", open: |role, run| open(role, run, true), ..DEFAULT };

/// Requests of slices, and their responses.
pub(crate) const CALL: ContenderKind =
    ContenderKind { name: "iceoryx2, request and response", does: &[Capability::Call], open: open_call, ..DEFAULT };

const BUFFER_MAX: usize = 256;

type Sender = Publisher<ipc::Service, [u8], ()>;
type Receiver = Subscriber<ipc::Service, [u8], ()>;

struct Iceoryx {
    /// For each length: what this process sends with or receives from.
    one_way: Vec<(usize, End)>,
    there_and_back: (Sender, Receiver),
    _node: Node<ipc::Service>,
}

enum End {
    Sender(Sender),
    Receiver(Receiver),
}

fn open(role: Role, run: &str, tuned: bool) -> Opened {
    set_log_level(LogLevel::Error);
    let node = NodeBuilder::new().create::<ipc::Service>()?;
    let mut one_way = Vec::new();
    for len in LENGTHS {
        let name = format!("{run}/{tuned}/{len}");
        let end = match role {
            Role::Parent => End::Sender(sender(&node, &name, len, tuned)?),
            Role::Child => End::Receiver(receiver(&node, &name, len, tuned)?),
        };
        one_way.push((len, end));
    }
    let (mine, other) = if role == Role::Parent { ("there", "back") } else { ("back", "there") };
    let there_and_back = (
        sender(&node, &format!("{run}/{tuned}/{mine}"), PING_BYTES, tuned)?,
        receiver(&node, &format!("{run}/{tuned}/{other}"), PING_BYTES, tuned)?,
    );
    Ok(Box::new(Iceoryx { one_way, there_and_back, _node: node }))
}

type Service = iceoryx2::service::port_factory::publish_subscribe::PortFactory<ipc::Service, [u8], ()>;

fn service(node: &Node<ipc::Service>, name: &str, len: usize, tuned: bool) -> Result<Service, Box<dyn Error>> {
    let name = name.try_into()?;
    let builder = node.service_builder(&name).publish_subscribe::<[u8]>().enable_safe_overflow(false);
    let builder = if tuned {
        let buffer = (RING_BYTES / len).clamp(2, BUFFER_MAX);
        builder.subscriber_max_buffer_size(buffer).max_publishers(1).max_subscribers(1).history_size(0)
    } else {
        builder
    };
    Ok(builder.open_or_create()?)
}

fn sender(node: &Node<ipc::Service>, name: &str, len: usize, tuned: bool) -> Result<Sender, Box<dyn Error>> {
    let service = service(node, name, len, tuned)?;
    let builder = service.publisher_builder().initial_max_slice_len(len);
    Ok(builder.backpressure_strategy(BackpressureStrategy::RetryUntilDelivered).create()?)
}

fn receiver(node: &Node<ipc::Service>, name: &str, len: usize, tuned: bool) -> Result<Receiver, Box<dyn Error>> {
    Ok(service(node, name, len, tuned)?.subscriber_builder().create()?)
}

fn send_one<const LEN: usize>(sender: &Sender, n: u64) {
    assert_eq!(try_send_one::<LEN>(sender, n), 1, "one subscriber gets it");
}

/// Sends a sample, and returns how many subscribers get it.
fn try_send_one<const LEN: usize>(sender: &Sender, n: u64) -> usize {
    let mut sample = sender.loan_slice_uninit(LEN).expect("a sample to fill");
    let payload: &mut [MaybeUninit<u8>; LEN] = sample.payload_mut().try_into().expect("the length asked for");
    // SAFETY: both types are the same uninitialized bytes.
    let payload = unsafe { &mut *std::ptr::from_mut(payload).cast::<MaybeUninit<[u8; LEN]>>() };
    fill_uninit(payload, n);
    // SAFETY: every byte was written.
    let sample = unsafe { sample.assume_init() };
    sample.send().expect("a sound connection")
}

fn receive_one<const LEN: usize>(receiver: &Receiver) -> u64 {
    loop {
        if let Some(sample) = receiver.receive().expect("a sound connection") {
            let payload: &[u8; LEN] = sample.payload().try_into().expect("the length that was sent");
            return sum(payload);
        }
    }
}

impl Iceoryx {
    fn end(&self, len: usize) -> &End {
        &self.one_way.iter().find(|(each, _)| *each == len).expect("a service for each length").1
    }
}

impl Contender for Iceoryx {
    fn send(&mut self, _: Way, n: u64) -> Fallible {
        send_one::<PING_BYTES>(&self.there_and_back.0, n);
        Ok(())
    }

    fn receive(&mut self, _: Way) -> Fallible<u64> {
        Ok(receive_one::<PING_BYTES>(&self.there_and_back.1))
    }

    fn send_all(&mut self, way: Way, records: u64) -> Fallible {
        let End::Sender(sender) = self.end(way.len) else { unreachable!("the parent sends") };
        with_len!(way.len, LEN => (0..records).for_each(|n| send_one::<LEN>(sender, n)));
        Ok(())
    }

    fn receive_all(&mut self, way: Way, records: u64) -> Fallible<u64> {
        let End::Receiver(receiver) = self.end(way.len) else { unreachable!("the child receives") };
        Ok(with_len!(way.len, LEN => {
            (0..records).fold(0, |total: u64, _| total.wrapping_add(receive_one::<LEN>(receiver)))
        }))
    }
}

/// What has been asked and not answered: at most one call is under way.
enum Call {
    Client(Client<ipc::Service, [u8], (), [u8], ()>, Option<PendingResponse<ipc::Service, [u8], (), [u8], ()>>),
    Server(Server<ipc::Service, [u8], (), [u8], ()>, Option<ActiveRequest<ipc::Service, [u8], (), [u8], ()>>),
}

struct Calls {
    call: Call,
    _node: Node<ipc::Service>,
}

fn open_call(role: Role, run: &str) -> Opened {
    set_log_level(LogLevel::Error);
    let node = NodeBuilder::new().create::<ipc::Service>()?;
    let name = format!("{run}/call").as_str().try_into()?;
    let service = node.service_builder(&name).request_response::<[u8], [u8]>().open_or_create()?;
    let call = match role {
        Role::Parent => Call::Client(service.client_builder().initial_max_slice_len(PING_BYTES).create()?, None),
        Role::Child => Call::Server(service.server_builder().initial_max_slice_len(PING_BYTES).create()?, None),
    };
    Ok(Box::new(Calls { call, _node: node }))
}

fn fill_bytes<const LEN: usize>(payload: &mut [MaybeUninit<u8>], n: u64) {
    let payload: &mut [MaybeUninit<u8>; LEN] = payload.try_into().expect("the length asked for");
    // SAFETY: both types are the same uninitialized bytes.
    let payload = unsafe { &mut *std::ptr::from_mut(payload).cast::<MaybeUninit<[u8; LEN]>>() };
    fill_uninit(payload, n);
}

impl Contender for Calls {
    fn send(&mut self, _: Way, n: u64) -> Fallible {
        match &mut self.call {
            Call::Client(client, pending) => {
                let mut request = client.loan_slice_uninit(PING_BYTES)?;
                fill_bytes::<PING_BYTES>(request.payload_mut(), n);
                // SAFETY: every byte was written.
                *pending = Some(unsafe { request.assume_init() }.send()?);
            }
            Call::Server(_, active) => {
                let request = active.take().ok_or("a reply answers a request")?;
                let mut reply = request.loan_slice_uninit(PING_BYTES)?;
                fill_bytes::<PING_BYTES>(reply.payload_mut(), n);
                // SAFETY: every byte was written.
                unsafe { reply.assume_init() }.send()?;
            }
        }
        Ok(())
    }

    fn receive(&mut self, _: Way) -> Fallible<u64> {
        loop {
            match &mut self.call {
                Call::Client(_, pending) => {
                    let response = pending.as_ref().ok_or("a reply comes to a request")?.receive()?;
                    if let Some(response) = response {
                        return Ok(sum(response.payload()));
                    }
                }
                Call::Server(server, active) => {
                    if let Some(request) = server.receive()? {
                        let total = sum(request.payload());
                        *active = Some(request);
                        return Ok(total);
                    }
                }
            }
        }
    }
}

/// Publish-subscribe with an event beside it, on which the receiver sleeps, and visitors.
pub(crate) const ASLEEP: ContenderKind = ContenderKind {
    name: "iceoryx2, asleep",
    does: &[Capability::Asleep, Capability::Connect],
    open: open_asleep,
    ..DEFAULT
};

/// Services of many publishers or subscribers, and one each for workers and lanes.
pub(crate) const MANY: ContenderKind = ContenderKind {
    name: "iceoryx2, many",
    does: many::MANY,
    room: MANY_BUFFER as u64,
    lacks: ELSEWHERE,
    open: |role, run| {
        set_log_level(LogLevel::Error);
        many::open::<Port<SHORT>, Port<LONG>>(role, run, "iceoryx2")
    },
    ..DEFAULT
};

/// How many short records a subscriber's buffer holds.
const MANY_BUFFER: usize = 1024;

/// A publisher or a subscriber of records of so many bytes, with the node that it lives by.
struct Port<const LEN: usize> {
    end: End,
    _node: Node<ipc::Service>,
}

impl<const LEN: usize> Link for Port<LEN> {
    const FANS_OUT: bool = true;
    const FANS_IN: bool = true;

    fn open(role: Role, name: &str) -> Fallible<Self> {
        let node = NodeBuilder::new().create::<ipc::Service>()?;
        let name = name.try_into()?;
        let builder = node.service_builder(&name).publish_subscribe::<[u8]>().enable_safe_overflow(false);
        let buffer = if LEN == LONG { BUFFER_MAX / 16 } else { MANY_BUFFER };
        let builder = builder.subscriber_max_buffer_size(buffer).history_size(0);
        let service = builder.max_publishers(8).max_subscribers(4).max_nodes(16).open_or_create()?;
        let end = match role {
            Role::Parent => {
                let builder = service.publisher_builder().initial_max_slice_len(LEN);
                End::Sender(builder.backpressure_strategy(BackpressureStrategy::RetryUntilDelivered).create()?)
            }
            Role::Child => End::Receiver(service.subscriber_builder().create()?),
        };
        Ok(Self { end, _node: node })
    }

    fn send(&mut self, n: u64) -> Fallible {
        let End::Sender(sender) = &self.end else { return Err("the parent sends".into()) };
        let mut sample = sender.loan_slice_uninit(LEN)?;
        fill_bytes::<LEN>(sample.payload_mut(), n);
        // SAFETY: every byte was written.
        unsafe { sample.assume_init() }.send()?;
        Ok(())
    }

    fn poll(&mut self) -> Fallible<Option<u64>> {
        let End::Receiver(receiver) = &self.end else { return Err("the child receives".into()) };
        Ok(receiver.receive()?.map(|sample| sum(sample.payload())))
    }
}

struct Sleepers {
    role: Role,
    node: Node<ipc::Service>,
    out: (Sender, Notifier<ipc::Service>),
    back: (Receiver, Listener<ipc::Service>),
    /// The name of the service that is visited, the parent's end of it, and the child's.
    visited: String,
    host: Option<(Service, Sender)>,
    visit: Option<Receiver>,
}

fn open_asleep(role: Role, run: &str) -> Opened {
    set_log_level(LogLevel::Error);
    let node = NodeBuilder::new().create::<ipc::Service>()?;
    let (mine, other) = if role == Role::Parent { ("there", "back") } else { ("back", "there") };
    let name = |of: &str| format!("{run}/asleep/{of}");
    let event = |of: &str| -> Fallible<_> {
        let name = name(&format!("{of}/event")).as_str().try_into()?;
        Ok(node.service_builder(&name).event().open_or_create()?)
    };
    let out = (sender(&node, &name(mine), PING_BYTES, true)?, event(mine)?.notifier_builder().create()?);
    let back = (receiver(&node, &name(other), PING_BYTES, true)?, event(other)?.listener_builder().create()?);
    let visited = name("visited");
    let host = match role {
        Role::Parent => Some((service(&node, &visited, PING_BYTES, true)?, sender(&node, &visited, PING_BYTES, true)?)),
        Role::Child => None,
    };
    Ok(Box::new(Sleepers { role, node, out, back, visited, host, visit: None }))
}

impl Sleepers {
    fn visitors(&self) -> usize {
        self.host.as_ref().map_or(0, |(service, _)| service.dynamic_config().number_of_subscribers())
    }
}

impl Contender for Sleepers {
    fn send(&mut self, _: Way, n: u64) -> Fallible {
        send_one::<PING_BYTES>(&self.out.0, n);
        self.out.1.notify()?;
        Ok(())
    }

    fn receive(&mut self, _: Way) -> Fallible<u64> {
        loop {
            if let Some(sample) = self.back.0.receive()? {
                return Ok(sum(sample.payload()));
            }
            self.back.1.blocking_wait(|_| {})?;
        }
    }

    fn welcome(&mut self) -> Fallible {
        while self.visitors() == 0 {
            std::thread::yield_now();
        }
        let (_, sender) = self.host.as_ref().ok_or("the parent is visited")?;
        // A subscriber is counted a moment before a sample reaches it.
        while try_send_one::<PING_BYTES>(sender, 0) == 0 {
            std::thread::yield_now();
        }
        Ok(())
    }

    fn visit(&mut self) -> Fallible {
        let visit = receiver(&self.node, &self.visited, PING_BYTES, true)?;
        std::hint::black_box(receive_one::<PING_BYTES>(&visit));
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
