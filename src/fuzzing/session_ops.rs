//! Sessions: a hostile end of a real socket, with real descriptors and mappings, against the real other end.

mod consumer;
mod oddities;
mod pair;
mod producer;

use super::Script;
use crate::fds::{recv_frame, send_frame};
use crate::wire::FRAME_MAX_BYTES;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::time::{Duration, Instant};

/// How much a script does at most.
const ACTIONS_MAX: usize = 48;
/// How long the real end gives a handshake.
const DEADLINE: Duration = Duration::from_millis(50);
/// How long the hostile end waits for a frame.
const FRAME_WAIT: Duration = Duration::from_millis(2);
/// What must happen, happens within this time.
const PATIENCE: Duration = Duration::from_secs(10);

/// Plays `data` as a script of what a hostile consumer does to a server, a hostile producer to a session, or a hostile
/// caller, which is both, to a service; the first byte says which.
///
/// Nothing panics; everyone else is served in order; the server goes on when the hostile end is gone; every
/// descriptor and every mapping of a region is gone afterwards.
pub fn session_ops(data: &[u8]) {
    let mut script = Script::new(data);
    let before = Census::take();
    match script.u8() % 4 {
        0 => consumer::play(&mut script),
        2 => drop(pair::play(&mut script)),
        _ => producer::play(&mut script),
    }
    let start = Instant::now();
    loop {
        let after = Census::take();
        if after == before {
            break;
        }
        assert!(start.elapsed() < PATIENCE, "left behind: {after:?}, and before: {before:?}");
        std::thread::sleep(Duration::from_micros(200));
    }
}

/// How many descriptors this process has open, and how many mappings of memfds.
#[derive(Debug, PartialEq, Eq)]
struct Census {
    descriptors: usize,
    mappings: usize,
}

impl Census {
    fn take() -> Self {
        let descriptors = std::fs::read_dir("/proc/self/fd").expect("/proc is mounted").count();
        let maps = std::fs::read_to_string("/proc/self/maps").expect("/proc is mounted");
        Self { descriptors, mappings: maps.matches("/memfd:").count() }
    }
}

/// An abstract name that no other run has.
fn unique_address() -> String {
    use std::sync::atomic::{AtomicU64, Ordering};
    static COUNT: AtomicU64 = AtomicU64::new(0);
    format!("@fdring-fuzz-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

/// Runs `action` while this process, both ends of the session, has room for only `more` more descriptors.
pub(super) fn with_room_for(more: usize, action: impl FnOnce()) {
    let before = getrlimit(Resource::Nofile);
    // New ones get the lowest numbers that are free.
    let next = rustix::io::fcntl_dupfd_cloexec(std::io::stderr(), 0).map_or(0, |fd| fd.as_raw_fd() as u64);
    let limit = Rlimit { current: Some(next + more as u64), maximum: before.maximum };
    setrlimit(Resource::Nofile, limit).expect("the limit may be lowered");
    action();
    setrlimit(Resource::Nofile, before).expect("and raised again");
}

/// Sends a message if it can be sent.
fn say(socket: &OwnedFd, bytes: &[u8], fds: &[BorrowedFd<'_>]) {
    let _ = send_frame(socket.as_fd(), bytes, &fds[..fds.len().min(253)]);
}

/// The next message's bytes and descriptors, if one comes soon.
fn hear(socket: &OwnedFd) -> Option<(Vec<u8>, Vec<OwnedFd>)> {
    if !is_readable(socket, FRAME_WAIT) {
        return None;
    }
    let mut bytes = vec![0; FRAME_MAX_BYTES];
    let received = recv_frame(socket.as_fd(), &mut bytes, 253).ok()?;
    bytes.truncate(received.len);
    Some((bytes, received.fds))
}

fn is_readable(socket: &OwnedFd, limit: Duration) -> bool {
    let limit = crate::deadline::timespec(limit);
    poll(&mut [PollFd::new(socket, PollFlags::IN)], Some(&limit)).is_ok_and(|ready| ready > 0)
}
