//! The bare bell: an eventfd, and a sleeper that polls as many descriptors as an fdring consumer watches.
//!
//! This is what a sleep and a wake cost without any ring or protocol. Nothing is carried but the bell itself.

use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use rustix::fd::OwnedFd;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use rustix::thread::{MembarrierCommand, membarrier};
use std::io;

/// One process's ends: the bell that it rings, the one that it sleeps on, and what else it watches meanwhile.
pub(crate) struct Bells {
    theirs: OwnedFd,
    ours: OwnedFd,
    socket: OwnedFd,
    peer: Option<OwnedFd>,
}

/// How many descriptors [`Bells::new`] takes.
pub(crate) const BELL_FDS: usize = 3;

impl Bells {
    /// The parent's ends, and the descriptors that make the child's.
    pub(crate) fn create() -> io::Result<(Self, Vec<OwnedFd>)> {
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        let (theirs, ours) = (eventfd(0, flags)?, eventfd(0, flags)?);
        let (socket, their_socket) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        let their_ends = vec![ours.try_clone()?, theirs.try_clone()?, their_socket];
        Ok((Self { theirs, ours, socket, peer: None }, their_ends))
    }

    /// Takes the bell to ring, the one to sleep on, and the socket to watch.
    pub(crate) fn new(fds: Vec<OwnedFd>) -> Self {
        let [theirs, ours, socket] = fds.try_into().expect("as many descriptors as were sent");
        Self { theirs, ours, socket, peer: None }
    }

    /// Watches the other process too.
    pub(crate) fn watch(&mut self, pid: Pid) -> io::Result<()> {
        self.peer = Some(pidfd_open(pid, PidfdFlags::empty())?);
        Ok(())
    }

    pub(crate) fn ring(&self) {
        rustix::io::write(&self.theirs, &1u64.to_ne_bytes()).expect("an eventfd takes a 1");
    }

    /// Sleeps until the bell rings; with `BARRIER` it calls membarrier(2) first, as an fdring consumer does.
    pub(crate) fn sleep<const BARRIER: bool>(&self) {
        if BARRIER {
            membarrier(MembarrierCommand::GlobalExpedited).expect("the barrier that lanes use");
        }
        let peer = self.peer.as_ref().expect("the other process is watched");
        let mut fds = [&self.ours, &self.socket, peer].map(|fd| PollFd::new(fd, PollFlags::IN));
        loop {
            let _ = poll(&mut fds, None);
            if rustix::io::read(&self.ours, &mut [0u8; 8]).is_ok() {
                return;
            }
        }
    }
}

/// Whether this process may call membarrier(2), or why not.
pub(crate) fn may_call_membarrier() -> io::Result<()> {
    membarrier(MembarrierCommand::RegisterGlobalExpedited)?;
    Ok(membarrier(MembarrierCommand::GlobalExpedited)?)
}
