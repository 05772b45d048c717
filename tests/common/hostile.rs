//! A peer that knows the protocol from `docs/protocol.md` alone and need not keep to it: frames, sockets, mappings.
//!
//! Nothing here uses the crate: frames are put together and taken apart by hand, so that the page is seen to suffice.
//! The two peers built of this are `guest.rs`, a consumer, and `impostor.rs`, a producer. Use it beside `mod common;`,
//! by `#[path = "common/hostile.rs"] mod hostile;`.
#![allow(dead_code, reason = "each test file uses a part of this")]
#![allow(unsafe_code, reason = "maps what a peer sent, or makes what a peer is to choke on")]

use crate::common::DEADLINE;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, ftruncate, memfd_create};
use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, Shutdown, SocketAddrUnix, SocketFlags, SocketType,
};
use std::io::{IoSlice, IoSliceMut, Write};
use std::mem::MaybeUninit;
use std::net::{TcpListener, TcpStream};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicU64};
use std::time::Duration;

pub(crate) const HELLO: u16 = 1;
pub(crate) const OFFER: u16 = 2;
pub(crate) const ATTACH: u16 = 3;
pub(crate) const ATTACHED: u16 = 4;
pub(crate) const REFUSE: u16 = 5;
pub(crate) const QUERY: u16 = 7;
pub(crate) const REPORT: u16 = 8;
pub(crate) const BYE: u16 = 9;
pub(crate) const EVICTED: u16 = 10;

/// What section 6 says: the control region, and a stripe of the seat.
pub(crate) const DATA_INODE: usize = 128;
pub(crate) const PUBLISHED: usize = 512;
pub(crate) const LAST: usize = 520;
pub(crate) const INTENT: usize = 640;
pub(crate) const SPACE_WAIT: usize = 768;
pub(crate) const STATE: usize = 896;
pub(crate) const EVICTIONS: usize = 1024;
pub(crate) const CONSUMED: usize = 0;
pub(crate) const SPACE_SEQ: usize = 8;
pub(crate) const READ: usize = 16;
pub(crate) const WAIT_EPOCH: usize = 128;
pub(crate) const STRIPE_ID: usize = 384;
pub(crate) const STRIPE: usize = 512;
pub(crate) const CONTROL_LEN: usize = 4096;
/// Set in `consumed` by one who has left.
pub(crate) const LEFT: u64 = 1 << 63;

pub(crate) const SEAL_SEAL: SealFlags = SealFlags::SEAL;
pub(crate) const SHAPE: SealFlags = SealFlags::SHRINK.union(SealFlags::GROW);
pub(crate) const SEALED: SealFlags = SHAPE.union(SealFlags::FUTURE_WRITE);

pub(crate) fn frame(kind: u16, fds: usize, body: &[u8]) -> Vec<u8> {
    let mut bytes = b"fdrf".to_vec();
    bytes.extend(1u16.to_le_bytes());
    bytes.extend(kind.to_le_bytes());
    bytes.extend((body.len() as u32).to_le_bytes());
    bytes.extend((fds as u16).to_le_bytes());
    bytes.extend(0u16.to_le_bytes());
    bytes.extend(body);
    bytes
}

pub(crate) fn hello(names: &[&str]) -> Vec<u8> {
    let mut body = vec![2, 1, 0, 1, 0, names.len() as u8];
    for name in names {
        body.push(name.len() as u8);
        body.extend(name.bytes());
    }
    frame(HELLO, 0, &body)
}

/// A producer's: it names no lanes.
pub(crate) fn producer_hello() -> Vec<u8> {
    frame(HELLO, 0, &[1, 1, 0, 1, 0, 0])
}

/// How a consumer reads: the third byte of each lane in an Attach.
pub(crate) const IN_PLACE: u8 = 1;
pub(crate) const COPIES: u8 = 2;

/// Lossless, from the latest record on, with the fence.
pub(crate) fn attach(lanes: usize, reading: u8) -> Vec<u8> {
    attach_as(&vec![attached_lane(reading); lanes])
}

/// A lane of an Attach: delivery, start, reading, barrier, descriptors, and the position of start 5.
pub(crate) type AttachedLane = ([u8; 5], u64);

pub(crate) fn attached_lane(reading: u8) -> AttachedLane {
    ([1, 1, reading, 1, 0], 0)
}

/// A lane that is not read.
pub(crate) const NOT_READ: AttachedLane = ([3, 1, 1, 1, 0], 0);

pub(crate) fn attach_as(lanes: &[AttachedLane]) -> Vec<u8> {
    let mut body = vec![lanes.len() as u8];
    for (choices, position) in lanes {
        body.extend(choices);
        body.extend(position.to_le_bytes());
    }
    frame(ATTACH, 0, &body)
}

pub(crate) fn evicted(lane: u8) -> Vec<u8> {
    frame(EVICTED, 0, &[lane])
}

pub(crate) fn attached(starts: &[u64]) -> Vec<u8> {
    let mut body = vec![starts.len() as u8];
    body.extend(starts.iter().flat_map(|start| start.to_le_bytes()));
    frame(ATTACHED, 0, &body)
}

pub(crate) fn query(lane: u8) -> Vec<u8> {
    frame(QUERY, 0, &[lane])
}

/// A Report about a lane that is open and has no seats.
pub(crate) fn report(lane: u8) -> Vec<u8> {
    frame(REPORT, 0, &[&[lane][..], &[0; 8], &[1], &[0; 6]].concat())
}

pub(crate) fn refuse(code: u16, sentence: &str) -> Vec<u8> {
    let mut body = code.to_le_bytes().to_vec();
    body.extend((sentence.len() as u16).to_le_bytes());
    body.extend(sentence.bytes());
    frame(REFUSE, 0, &body)
}

pub(crate) fn bye(reason: u16) -> Vec<u8> {
    frame(BYE, 0, &reason.to_le_bytes())
}

/// `frame` with the `bytes` at `offset` in place of its own.
pub(crate) fn with(mut frame: Vec<u8>, offset: usize, bytes: &[u8]) -> Vec<u8> {
    frame[offset..offset + bytes.len()].copy_from_slice(bytes);
    frame
}

/// A good frame with one thing wrong with it, in each way that goes for every frame, and what that is.
pub(crate) fn spoilt(good: &[u8]) -> impl Iterator<Item = (&'static str, Vec<u8>)> + use<> {
    let len = good.len() as u32 - 16;
    let longer = [good, &[0]].concat();
    let cases = [
        ("another magic", with(good.to_vec(), 0, b"FDRF")),
        ("an unknown type", with(good.to_vec(), 6, &[99])),
        ("reserved bits", with(good.to_vec(), 14, &[1])),
        ("a trailing byte", with(longer.clone(), 8, &(len + 1).to_le_bytes())),
        ("a trailing byte that is not announced", longer),
        ("a longer body announced", with(good.to_vec(), 8, &(len + 1).to_le_bytes())),
        ("a shorter body announced", with(good.to_vec(), 8, &(len - 1).to_le_bytes())),
        ("a descriptor more announced", with(good.to_vec(), 12, &[good[12] + 1])),
    ];
    cases.into_iter()
}

/// A message that came, whatever is in it.
#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) bytes: Vec<u8>,
    pub(crate) fds: Vec<OwnedFd>,
}

impl Message {
    pub(crate) fn kind(&self) -> u16 {
        assert_eq!(self.bytes[..4], *b"fdrf", "a frame begins with the magic");
        assert_eq!(self.bytes.len(), 16 + self.u32(8) as usize, "the length of the body is in the header");
        assert_eq!(self.u16(12) as usize, self.fds.len(), "so is the number of descriptors");
        assert_eq!((self.u16(4), self.u16(14)), (1, 0), "the version, and what is reserved");
        self.u16(6)
    }

    pub(crate) fn body(&self) -> &[u8] {
        &self.bytes[16..]
    }

    pub(crate) fn u16(&self, at: usize) -> u16 {
        u16::from_le_bytes(self.bytes[at..at + 2].try_into().unwrap())
    }

    pub(crate) fn u32(&self, at: usize) -> u32 {
        u32::from_le_bytes(self.bytes[at..at + 4].try_into().unwrap())
    }

    pub(crate) fn u64(&self, at: usize) -> u64 {
        u64::from_le_bytes(self.bytes[at..at + 8].try_into().unwrap())
    }
}

/// One end of a seqpacket connection.
#[derive(Debug)]
pub(crate) struct Wire(pub(crate) OwnedFd);

impl Wire {
    /// Connects to an abstract name, written as `@name`.
    pub(crate) fn connect(address: &str) -> Self {
        let socket = seqpacket();
        rustix::net::connect(&socket, &abstract_addr(address)).unwrap();
        Self(socket)
    }

    pub(crate) fn send(&self, bytes: &[u8]) -> Result<(), Errno> {
        self.send_fds(bytes, &[])
    }

    /// Sends one message. `EPIPE` and `ECONNRESET` say that the other side has hung up.
    pub(crate) fn send_fds(&self, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> Result<(), Errno> {
        let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(fds.len().max(1)))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !fds.is_empty() {
            assert!(control.push(SendAncillaryMessage::ScmRights(fds)));
        }
        rustix::net::sendmsg(&self.0, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL).map(drop)
    }

    /// The next message, `None` at the end; waits for it until the deadline.
    pub(crate) fn recv(&self) -> Option<Message> {
        let timeout = Timespec::try_from(DEADLINE).unwrap();
        for _ in 0..2 {
            let readable = poll(&mut [PollFd::new(&self.0, PollFlags::IN)], Some(&timeout)).unwrap();
            assert_ne!(readable, 0, "nothing came, not even the end");
            let mut bytes = vec![0; 65536];
            let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(253))];
            let mut control = RecvAncillaryBuffer::new(&mut space);
            let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
            let message = match rustix::net::recvmsg(&self.0, &mut [IoSliceMut::new(&mut bytes)], &mut control, flags) {
                // Reported once, before what had still been sent to us.
                Err(Errno::CONNRESET) => continue,
                other => other.unwrap(),
            };
            assert!(!message.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC), "{:?}", message.flags);
            let rights = control.drain().filter_map(|part| match part {
                RecvAncillaryMessage::ScmRights(fds) => Some(fds),
                _ => None,
            });
            let fds = rights.flatten().collect();
            bytes.truncate(message.bytes);
            return (!bytes.is_empty()).then_some(Message { bytes, fds });
        }
        None
    }

    /// Sends a message if the other side takes it now.
    pub(crate) fn try_send(&self, bytes: &[u8]) -> bool {
        rustix::net::send(&self.0, bytes, SendFlags::NOSIGNAL | SendFlags::DONTWAIT).is_ok()
    }

    /// The next message, if one has come.
    pub(crate) fn try_recv(&self) -> Option<Message> {
        let has_come = poll(&mut [PollFd::new(&self.0, PollFlags::IN)], Some(&Timespec::default())).unwrap() != 0;
        if has_come { self.recv() } else { None }
    }

    /// Waits for frames of these types, in this order, and returns the last.
    pub(crate) fn expect(&self, kinds: &[u16]) -> Message {
        let mut last = None;
        for kind in kinds {
            let message = self.recv().expect("another frame");
            assert_eq!(message.kind(), *kind, "{message:?}");
            last = Some(message);
        }
        last.expect("some are expected")
    }

    /// All that still comes before the end: of each frame its type, and the first word of its body; the byte that is
    /// all of it.
    pub(crate) fn last_words(&self) -> Vec<(u16, u16)> {
        let word =
            |message: &Message| if message.body().len() == 1 { message.body()[0].into() } else { message.u16(16) };
        std::iter::from_fn(|| self.recv()).map(|message| (message.kind(), word(&message))).collect()
    }

    pub(crate) fn shutdown(&self, how: Shutdown) {
        rustix::net::shutdown(&self.0, how).unwrap();
    }
}

/// Connections that fill the backlog of `address`.
pub(crate) fn fill_backlog(address: &str) -> Vec<OwnedFd> {
    let (addr, mut filled) = (abstract_addr(address), Vec::new());
    loop {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap();
        match rustix::net::connect(&socket, &addr) {
            Ok(()) => filled.push(socket),
            Err(error) => {
                assert_eq!(error, Errno::AGAIN);
                return filled;
            }
        }
    }
}

/// A socket that listens at an abstract name, written as `@name`.
pub(crate) fn listen(address: &str) -> OwnedFd {
    let socket = seqpacket();
    rustix::net::bind(&socket, &abstract_addr(address)).unwrap();
    rustix::net::listen(&socket, 16).unwrap();
    socket
}

pub(crate) fn accept(listener: &OwnedFd) -> Wire {
    let timeout = Timespec::try_from(DEADLINE).unwrap();
    assert_ne!(poll(&mut [PollFd::new(listener, PollFlags::IN)], Some(&timeout)), Ok(0), "nobody connects");
    Wire(rustix::net::accept_with(listener, SocketFlags::CLOEXEC).unwrap())
}

pub(crate) fn seqpacket() -> OwnedFd {
    rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap()
}

fn abstract_addr(address: &str) -> SocketAddrUnix {
    SocketAddrUnix::new_abstract_name(address.strip_prefix('@').unwrap().as_bytes()).unwrap()
}

/// A memfd of `len` bytes with every page allocated, and no seals yet.
pub(crate) fn memfd(len: u64) -> OwnedFd {
    let fd = hollow_memfd(len);
    rustix::fs::fallocate(&fd, rustix::fs::FallocateFlags::empty(), 0, len).unwrap();
    fd
}

/// A memfd that claims `len` bytes and has none.
pub(crate) fn hollow_memfd(len: u64) -> OwnedFd {
    let fd = memfd_create("fdring-test", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).unwrap();
    ftruncate(&fd, len).unwrap();
    fd
}

pub(crate) fn sealed(fd: OwnedFd, seals: SealFlags) -> OwnedFd {
    fcntl_add_seals(&fd, seals).unwrap();
    fd
}

/// A shared mapping of the whole of a memfd.
#[derive(Debug)]
pub(crate) struct Memory {
    base: NonNull<u8>,
    len: usize,
}

// SAFETY: a mapping belongs to the process, and all access is through atomics.
unsafe impl Send for Memory {}
// SAFETY: as for `Send`.
unsafe impl Sync for Memory {}

impl Memory {
    pub(crate) fn map(fd: impl AsFd, len: usize, writable: bool) -> Result<Self, Errno> {
        let protection = if writable { ProtFlags::READ | ProtFlags::WRITE } else { ProtFlags::READ };
        // SAFETY: the kernel chooses an address where nothing is mapped yet.
        let base = unsafe { mmap(std::ptr::null_mut(), len, protection, MapFlags::SHARED, fd, 0) }?;
        Ok(Self { base: NonNull::new(base.cast()).unwrap(), len })
    }

    /// The word at `offset`; stored to only if the mapping is writable.
    pub(crate) fn u32(&self, offset: usize) -> &AtomicU32 {
        self.word(offset)
    }

    pub(crate) fn u64(&self, offset: usize) -> &AtomicU64 {
        self.word(offset)
    }

    fn word<T>(&self, offset: usize) -> &T {
        assert!(offset + size_of::<T>() <= self.len && offset.is_multiple_of(size_of::<T>()));
        // SAFETY: in bounds, as just asserted.
        let pointer = unsafe { self.base.add(offset) };
        // SAFETY: aligned, for mappings begin on pages; mapped while `self` is borrowed; only atomics are asked for.
        unsafe { pointer.cast().as_ref() }
    }

    /// Puts the pages themselves into a pipe, not a copy (vmsplice(2)): pinned until they are read.
    pub(crate) fn splice_into(&self, pipe: impl AsFd) -> Result<usize, Errno> {
        use rustix::pipe::{IoSliceRaw, SpliceFlags, vmsplice};
        // SAFETY: the bytes stay where they are, mapped by others or not; through the slice they are only looked at.
        let bytes = unsafe { std::slice::from_raw_parts(self.base.as_ptr(), self.len) };
        // SAFETY: the pages are the memfd's, and stay so when they are unmapped here.
        unsafe { vmsplice(pipe, &[IoSliceRaw::from_slice(bytes)], SpliceFlags::empty()) }
    }

    /// What `MADV_REMOVE`, which punches a hole through a mapping, is answered with.
    pub(crate) fn remove_pages(&self) -> Result<(), Errno> {
        // SAFETY: the range is this mapping's, and what is lost is only looked at through atomics.
        unsafe { rustix::mm::madvise(self.base.as_ptr().cast(), self.len, rustix::mm::Advice::LinuxRemove) }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: mapped in `map` with this length, and words of it borrow `self`.
        unsafe { munmap(self.base.as_ptr().cast(), self.len) }.unwrap();
    }
}

/// A socket whose last close waits for a minute, since its peer takes nothing.
pub(crate) fn lingering() -> (OwnedFd, TcpListener) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    stream.set_nonblocking(true).unwrap();
    while stream.write(&[0; 65536]).is_ok() {}
    rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::from_secs(60))).unwrap();
    (stream.into(), listener)
}

/// One end of a bell for a peer of another user; the other is the peer's.
pub(crate) fn socketpair() -> (Wire, OwnedFd) {
    let (ours, theirs) =
        rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
    (Wire(ours), theirs)
}
