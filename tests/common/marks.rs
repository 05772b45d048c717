//! Lanes whose records have descriptors, and descriptors that say which they are.
//!
//! Use it beside `mod common;`, by `#[path = "common/marks.rs"] mod marks;`.
#![allow(dead_code, reason = "each test file uses a part of this")]

use crate::common::unique_name;
use fdring::errors::SendError;
use fdring::options::LaneOptions;
use fdring::{Attach, Consumer, Producer, Server, Session};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{MemfdFlags, memfd_create};

/// How many records with one descriptor a consumer can leave untaken.
pub(crate) const QUEUE: usize = 24;

/// A file that holds two numbers: those of a record, and its own among that record's.
pub(crate) fn marked(record: u64, index: u64) -> OwnedFd {
    let fd = memfd_create("marked", MemfdFlags::CLOEXEC).unwrap();
    let mark = [record.to_le_bytes(), index.to_le_bytes()].concat();
    assert_eq!(rustix::io::pwrite(&fd, &mark, 0).unwrap(), 16);
    fd
}

pub(crate) fn marks(record: u64, count: u64) -> Vec<OwnedFd> {
    (0..count).map(|index| marked(record, index)).collect()
}

pub(crate) fn borrowed(fds: &[OwnedFd]) -> Vec<BorrowedFd<'_>> {
    fds.iter().map(AsFd::as_fd).collect()
}

pub(crate) fn mark_of(fd: &OwnedFd) -> [u64; 2] {
    let mut mark = [0; 16];
    assert_eq!(rustix::io::pread(fd, &mut mark, 0).unwrap(), 16);
    [0, 8].map(|at| u64::from_le_bytes(mark[at..at + 8].try_into().unwrap()))
}

/// Takes the one descriptor of the next record, which has this mark.
pub(crate) fn take_mark(consumer: &mut Consumer, mark: [u64; 2]) {
    let taken = consumer.receive().unwrap().unwrap().take_fds().unwrap();
    assert_eq!(taken.iter().map(mark_of).collect::<Vec<_>>(), [mark]);
}

pub(crate) fn lane_of(options: LaneOptions) -> (Producer, Server, String) {
    let producer = options.create().unwrap();
    let address = format!("@{}", unique_name());
    let server = Server::listen(&*address, [&producer]).unwrap();
    (producer, server, address)
}

pub(crate) fn lane(max: usize) -> (Producer, Server, String) {
    lane_of(LaneOptions::new("lane").capacity(64 << 10).attachments(max))
}

pub(crate) fn asking() -> Attach {
    Attach::new().attachments(true)
}

pub(crate) fn join(address: &str) -> Consumer {
    Session::connect(address).unwrap().attach_one(asking()).unwrap()
}

/// Fills the queues of those who take nothing; how many records it took.
pub(crate) fn fill(producer: &mut Producer, max: u64) -> (usize, SendError) {
    let fds = marks(0, max);
    for records in 0.. {
        if let Err(error) = producer.try_send_with_fds(b"", &borrowed(&fds)) {
            return (records, error);
        }
    }
    unreachable!()
}
