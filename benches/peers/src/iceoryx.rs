//! iceoryx2: publish-subscribe of slices, in its default configuration and in a tuned one, and request and response.
//!
//! The first two must not lose anything: no safe overflow, and a publisher that retries. Tuned means a subscriber's
//! buffer for as many samples as an fdring lane holds (at most 256, which was best), one publisher, one subscriber, no
//! history.

use crate::POLLED;
use iceoryx2::active_request::ActiveRequest;
use iceoryx2::pending_response::PendingResponse;
use iceoryx2::port::client::Client;
use iceoryx2::port::publisher::Publisher;
use iceoryx2::port::server::Server;
use iceoryx2::port::subscriber::Subscriber;
use iceoryx2::prelude::{BackpressureStrategy, LogLevel, Node, NodeBuilder, ipc, set_log_level};
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
    let mut sample = sender.loan_slice_uninit(LEN).expect("a sample to fill");
    let payload: &mut [MaybeUninit<u8>; LEN] = sample.payload_mut().try_into().expect("the length asked for");
    // SAFETY: both types are the same uninitialized bytes.
    let payload = unsafe { &mut *std::ptr::from_mut(payload).cast::<MaybeUninit<[u8; LEN]>>() };
    fill_uninit(payload, n);
    // SAFETY: every byte was written.
    let sample = unsafe { sample.assume_init() };
    assert_eq!(sample.send().expect("a subscriber"), 1, "one subscriber gets it");
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

fn fill_bytes(payload: &mut [MaybeUninit<u8>], n: u64) {
    let payload: &mut [MaybeUninit<u8>; PING_BYTES] = payload.try_into().expect("the length asked for");
    // SAFETY: both types are the same uninitialized bytes.
    let payload = unsafe { &mut *std::ptr::from_mut(payload).cast::<MaybeUninit<[u8; PING_BYTES]>>() };
    fill_uninit(payload, n);
}

impl Contender for Calls {
    fn send(&mut self, _: Way, n: u64) -> Fallible {
        match &mut self.call {
            Call::Client(client, pending) => {
                let mut request = client.loan_slice_uninit(PING_BYTES)?;
                fill_bytes(request.payload_mut(), n);
                // SAFETY: every byte was written.
                *pending = Some(unsafe { request.assume_init() }.send()?);
            }
            Call::Server(_, active) => {
                let request = active.take().ok_or("a reply answers a request")?;
                let mut reply = request.loan_slice_uninit(PING_BYTES)?;
                fill_bytes(reply.payload_mut(), n);
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
