//! shmem-ipc: rings of elements of one size, one element a call and 32 a call.
//!
//! Both sides poll through its ring buffers directly, without the eventfds that it writes to whenever a ring was
//! empty: its quickest way. The child opens the parent's memfds through `/proc`.

use crate::many::{self, CHANNEL_BYTES, LONG, Link, SHORT};
use crate::{ANOTHER, ELSEWHERE, NO_DESCRIPTORS, POLLED, note};
use ipcbench::payload::{LENGTHS, PING_BYTES, fill, sum, with_len};
use ipcbench::ring_bytes;
use ipcbench::{Capability, Contender, ContenderKind, Fallible, Opened, Role, Way};
use shmem_ipc::sharedring::{Receiver, Sender};
use std::any::Any;
use std::error::Error;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};

pub(crate) const EACH: ContenderKind = ContenderKind {
    name: "shmem-ipc, 1 a call",
    version: "0.3",
    len_max: 1 << 20,
    trip_len_max: PING_BYTES,
    records_step: 1,
    room: 0,
    lacks: ELSEWHERE,
    does: POLLED,
    open: |role, run| open(role, run, 1),
};

pub(crate) const BATCHED: ContenderKind = ContenderKind {
    name: "shmem-ipc, 32 a call",
    // More of them do not fit the ring.
    len_max: 64 << 10,
    trip_len_max: PING_BYTES,
    records_step: 32,
    does: &[Capability::OneWay],
    open: |role, run| open(role, run, 32),
    ..EACH
};

/// An element of a ring.
#[repr(transparent)]
#[derive(Clone, Copy)]
struct Element<const LEN: usize>([u8; LEN]);

// SAFETY: plain bytes, all of which are initialized.
unsafe impl<const LEN: usize> zerocopy::AsBytes for Element<LEN> {
    fn only_derive_is_allowed_to_implement_this_trait() {}
}

// SAFETY: any bytes are an element.
unsafe impl<const LEN: usize> zerocopy::FromBytes for Element<LEN> {
    fn only_derive_is_allowed_to_implement_this_trait() {}
}

struct Rings {
    per_call: usize,
    /// For each length a `Sender<Element<LEN>>` or a `Receiver<Element<LEN>>`.
    one_way: Vec<(usize, Box<dyn Any>)>,
    out: Sender<Element<PING_BYTES>>,
    back: Receiver<Element<PING_BYTES>>,
}

const BOUNCE_ELEMENTS: usize = 64;

fn open(role: Role, run: &str, per_call: usize) -> Opened {
    let path = note(run, &format!("shmem-{per_call}"));
    match role {
        Role::Parent => offer(&path, per_call),
        Role::Child => attach(&path, per_call),
    }
}

fn offer(path: &std::path::Path, per_call: usize) -> Opened {
    let mut numbers = Vec::new();
    let mut one_way: Vec<(usize, Box<dyn Any>)> = Vec::new();
    for len in LENGTHS.into_iter().filter(|len| *len <= EACH.len_max) {
        with_len!(len, LEN => {
            let mut sender = Sender::<Element<LEN>>::new(ring_bytes(LEN) / LEN)?;
            prefault(&mut sender);
            numbers.push(sender.memfd().as_file().as_raw_fd());
            one_way.push((LEN, Box::new(sender)));
        });
    }
    let out = Sender::new(BOUNCE_ELEMENTS)?;
    let back = Receiver::new(BOUNCE_ELEMENTS)?;
    numbers.extend([out.memfd().as_file().as_raw_fd(), back.memfd().as_file().as_raw_fd()]);
    let numbers: Vec<String> = numbers.iter().map(ToString::to_string).collect();
    std::fs::write(path, format!("{} {}", std::process::id(), numbers.join(" ")))?;
    Ok(Box::new(Rings { per_call, one_way, out, back }))
}

fn attach(path: &std::path::Path, per_call: usize) -> Opened {
    let text = std::fs::read_to_string(path)?;
    std::fs::remove_file(path)?;
    let mut words = text.split(' ');
    let pid = words.next().ok_or("a note without a process")?;
    let mut next = || -> Result<File, Box<dyn Error>> {
        let number = words.next().ok_or("too few descriptors")?;
        Ok(File::options().read(true).write(true).open(format!("/proc/{pid}/fd/{number}"))?)
    };
    // Nobody sleeps, so nobody is signalled.
    let signal = || File::open("/dev/null");
    let mut one_way: Vec<(usize, Box<dyn Any>)> = Vec::new();
    for len in LENGTHS.into_iter().filter(|len| *len <= EACH.len_max) {
        with_len!(len, LEN => {
            let receiver = Receiver::<Element<LEN>>::open(ring_bytes(LEN) / LEN, next()?, signal()?, signal()?)?;
            one_way.push((LEN, Box::new(receiver)));
        });
    }
    let back = Receiver::open(BOUNCE_ELEMENTS, next()?, signal()?, signal()?)?;
    let out = Sender::open(BOUNCE_ELEMENTS, next()?, signal()?, signal()?)?;
    Ok(Box::new(Rings { per_call, one_way, out, back }))
}

/// Touches every page, so that the first lap is not slower.
fn prefault<const LEN: usize>(sender: &mut Sender<Element<LEN>>) {
    let touch = |first: *mut Element<LEN>, count: usize| {
        for index in 0..count {
            // SAFETY: the ring hands out `count` elements for writing.
            let at = unsafe { first.add(index) };
            // SAFETY: as above.
            unsafe { at.write(Element([0; LEN])) };
        }
        0
    };
    sender.sender_mut().send(touch).expect("a sound ring");
}

/// Sends up to `count` elements, from number `first` on; how many.
fn send_some<const LEN: usize>(sender: &mut Sender<Element<LEN>>, first: u64, count: usize) -> u64 {
    let mut sent = 0;
    let fill_all = |elements: *mut Element<LEN>, room: usize| {
        sent = count.min(room);
        // SAFETY: the ring hands out `room` elements for writing, and its memory was initialized by the kernel.
        let elements = unsafe { std::slice::from_raw_parts_mut(elements, sent) };
        for (element, n) in elements.iter_mut().zip(first..) {
            fill(&mut element.0, n);
        }
        sent
    };
    sender.sender_mut().send(fill_all).expect("a sound ring");
    sent as u64
}

/// Receives up to `count` elements: how many, and their sum.
fn receive_some<const LEN: usize>(receiver: &mut Receiver<Element<LEN>>, count: usize) -> (u64, u64) {
    let (mut received, mut total) = (0, 0u64);
    let sum_all = |elements: *const Element<LEN>, there: usize| {
        received = count.min(there);
        // SAFETY: the ring hands out `there` elements for reading, and the sender leaves them alone meanwhile.
        let elements = unsafe { std::slice::from_raw_parts(elements, received) };
        for element in elements {
            total = total.wrapping_add(sum(&element.0));
        }
        received
    };
    receiver.receiver_mut().recv(sum_all).expect("a sound ring");
    (received as u64, total)
}

impl Rings {
    fn end<T: 'static>(&mut self, len: usize) -> &mut T {
        let found = self.one_way.iter_mut().find(|(each, _)| *each == len);
        found.expect("a ring for each length").1.downcast_mut().expect("this side's end")
    }
}

impl Contender for Rings {
    fn send(&mut self, _: Way, n: u64) -> Fallible {
        while send_some(&mut self.out, n, 1) == 0 {}
        Ok(())
    }

    fn receive(&mut self, _: Way) -> Fallible<u64> {
        loop {
            if let (1, sum) = receive_some(&mut self.back, 1) {
                return Ok(sum);
            }
        }
    }

    fn send_all(&mut self, way: Way, records: u64) -> Fallible {
        let per_call = self.per_call;
        with_len!(way.len, LEN => {
            let sender = self.end::<Sender<Element<LEN>>>(way.len);
            let mut sent = 0;
            while sent < records {
                sent += send_some(sender, sent, per_call.min((records - sent) as usize));
            }
        });
        Ok(())
    }

    fn receive_all(&mut self, way: Way, records: u64) -> Fallible<u64> {
        let per_call = self.per_call;
        Ok(with_len!(way.len, LEN => {
            let receiver = self.end::<Receiver<Element<LEN>>>(way.len);
            let (mut received, mut total) = (0, 0u64);
            while received < records {
                let (some, sum) = receive_some(receiver, per_call);
                received += some;
                total = total.wrapping_add(sum);
            }
            total
        }))
    }
}

/// Both ends sleep on its eventfds.
pub(crate) const ASLEEP: ContenderKind = ContenderKind {
    name: "shmem-ipc, asleep",
    does: &[Capability::Asleep],
    lacks: &[
        (Capability::Connect, "how its two ends find each other is left to the program"),
        (Capability::Descriptors, NO_DESCRIPTORS),
        (Capability::RoundTrip, ANOTHER),
    ],
    open: open_asleep,
    ..EACH
};

/// A ring each, as it has nothing that joins them.
pub(crate) const MANY: ContenderKind = ContenderKind {
    name: "shmem-ipc, many",
    does: many::MANY,
    room: 16_384,
    lacks: ELSEWHERE,
    open: |role, run| many::open::<Ring<SHORT>, Ring<LONG>>(role, run, "shmem"),
    ..EACH
};

enum Ring<const LEN: usize> {
    Sender(Sender<Element<LEN>>),
    Receiver(Receiver<Element<LEN>>),
}

impl<const LEN: usize> Link for Ring<LEN> {
    const FANS_OUT: bool = false;
    const FANS_IN: bool = false;

    fn open(role: Role, name: &str) -> Fallible<Self> {
        let path = std::env::temp_dir().join(name);
        let elements = CHANNEL_BYTES / LEN;
        if role == Role::Parent {
            let mut sender = Sender::new(elements)?;
            prefault(&mut sender);
            std::fs::write(path, format!("/proc/{}/fd/{}", std::process::id(), sender.memfd().as_file().as_raw_fd()))?;
            return Ok(Self::Sender(sender));
        }
        let memory = File::options().read(true).write(true).open(std::fs::read_to_string(&path)?)?;
        std::fs::remove_file(path)?;
        // Nobody sleeps, so nobody is signalled.
        let signal = || File::open("/dev/null");
        Ok(Self::Receiver(Receiver::open(elements, memory, signal()?, signal()?)?))
    }

    fn send(&mut self, n: u64) -> Fallible {
        let Self::Sender(sender) = self else { return Err("the parent sends".into()) };
        while send_some(sender, n, 1) == 0 {}
        Ok(())
    }

    fn poll(&mut self) -> Fallible<Option<u64>> {
        let Self::Receiver(receiver) = self else { return Err("the child receives".into()) };
        let (received, sum) = receive_some(receiver, 1);
        Ok((received == 1).then_some(sum))
    }
}

/// The child makes both rings and sends their descriptors, as the library has them sent.
struct Sleepers {
    listener: Option<UnixListener>,
    ends: Option<(Sender<Element<PING_BYTES>>, Receiver<Element<PING_BYTES>>)>,
    _stream: Option<UnixStream>,
}

fn open_asleep(role: Role, run: &str) -> Opened {
    let address = SocketAddr::from_abstract_name(format!("{run}-shmem-asleep"))?;
    if role == Role::Parent {
        return Ok(Box::new(Sleepers {
            listener: Some(UnixListener::bind_addr(&address)?),
            ends: None,
            _stream: None,
        }));
    }
    let (out, back) = (Sender::new(BOUNCE_ELEMENTS)?, Receiver::new(BOUNCE_ELEMENTS)?);
    let stream = UnixStream::connect_addr(&address)?;
    let fds = [
        back.memfd().as_file().as_fd(),
        back.empty_signal().as_fd(),
        back.full_signal().as_fd(),
        out.memfd().as_file().as_fd(),
        out.empty_signal().as_fd(),
        out.full_signal().as_fd(),
    ];
    fdring::send_fds(&stream, b"rings", &fds)?;
    Ok(Box::new(Sleepers { listener: None, ends: Some((out, back)), _stream: Some(stream) }))
}

impl Sleepers {
    fn ends(&mut self) -> Fallible<&mut (Sender<Element<PING_BYTES>>, Receiver<Element<PING_BYTES>>)> {
        Ok(self.ends.as_mut().ok_or("connected before it is used")?)
    }
}

impl Contender for Sleepers {
    fn connect(&mut self) -> Fallible {
        let Some(listener) = self.listener.take() else { return Ok(()) };
        let (stream, _) = listener.accept()?;
        let mut files = fdring::recv_fds(&stream, &mut [0; 8], 6)?.fds.into_iter().map(File::from);
        let mut next = || files.next().ok_or("six descriptors");
        let out = Sender::open(BOUNCE_ELEMENTS, next()?, next()?, next()?)?;
        let back = Receiver::open(BOUNCE_ELEMENTS, next()?, next()?, next()?)?;
        self.ends = Some((out, back));
        Ok(())
    }

    fn send(&mut self, _: Way, n: u64) -> Fallible {
        let (sender, _) = self.ends()?;
        sender.block_until_writable()?;
        let mut record = Element([0; PING_BYTES]);
        fill(&mut record.0, n);
        let put = |elements: *mut Element<PING_BYTES>, _| {
            // SAFETY: the ring hands out one element for writing, or more.
            unsafe { elements.write(record) };
            1
        };
        sender.send_raw(put)?;
        Ok(())
    }

    fn receive(&mut self, _: Way) -> Fallible<u64> {
        let (_, receiver) = self.ends()?;
        receiver.block_until_readable()?;
        let mut total = 0;
        let take = |elements: *const Element<PING_BYTES>, _| {
            // SAFETY: the ring hands out one element for reading, or more, and the sender leaves them alone meanwhile.
            total = sum(&unsafe { elements.read() }.0);
            1
        };
        receiver.receive_raw(take)?;
        Ok(total)
    }
}
