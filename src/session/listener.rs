//! A listening socket, and the file it may have.
//!
//! The invariant: only a socket file that nobody serves is replaced, and only our own is ever removed. Two that start
//! at once are kept apart by a lock on a sibling file, `PATH.lock`, which the kernel releases however we end. Where
//! those files are is found out once, see [`Spot`].

use super::Address;
use super::spot::Spot;
use crate::crash;
use crate::error::{Error, Result};
use crate::fds;
use crate::os::closing::Connection;
use crate::os::fork::ForkGuard;
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{FileType, FlockOperation, Mode, OFlags, Stat, flock, fstat};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, Shutdown, SocketFlags, SocketType, accept_with, bind, connect, listen, shutdown, socket_with,
};

/// How many consumers can wait to be accepted.
const BACKLOG: i32 = 128;
/// How often the lock is tried again because its file was removed meanwhile.
const LOCK_TRIES: usize = 100;

/// A seqpacket socket that listens.
#[derive(Debug)]
pub(super) struct Listener {
    socket: OwnedFd,
    guard: ForkGuard,
    _file: Option<SocketFile>,
}

impl Listener {
    /// Binds to `address` with the mode `mode`, and listens.
    pub(super) fn bind(address: &Address, mode: u32) -> Result<Self> {
        let (mut addr, guard) = (address.to_socket_addr()?, ForkGuard::get()?);
        let spot = address.as_path().map(Spot::find).transpose()?;
        let lock = spot.as_ref().map(|spot| lock(spot, address)).transpose()?;
        crash::point!("server-locked");
        if let Some(spot) = &spot {
            addr = spot.address().to_socket_addr()?;
            remove_if_stale(spot, address)?;
        }
        crash::point!("server-before-bind");
        let doing = || format!("listen on {address}");
        let socket = new_socket().map_err(Error::os(doing()))?;
        // From Linux 6.16 on, the kernel refuses messages with descriptors.
        fds::refuse_fds(socket.as_fd()).map_err(Error::os(doing()))?;
        // On the socket, before it has a file, so that nobody can connect in between: bind(2) applies it, and the umask
        // (unix(7)).
        rustix::fs::fchmod(&socket, Mode::from_raw_mode(mode)).map_err(Error::os(doing()))?;
        bind(&socket, &addr).map_err(|error| in_use_or(error, address))?;
        crash::point!("server-bound");
        let file = spot.zip(lock).map(|(spot, lock)| SocketFile::adopt(spot, lock)).transpose()?;
        listen(&socket, BACKLOG).map_err(Error::os(doing()))?;
        crash::point!("server-listening");
        Ok(Self { socket, guard, _file: file })
    }

    /// The connection of the next consumer that waits. `WouldBlock` if there is none.
    pub(super) fn accept(&self) -> rustix::io::Result<Connection> {
        let socket = accept_with(&self.socket, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK)?;
        Ok(Connection::new(socket, self.guard))
    }

    pub(super) fn socket(&self) -> &OwnedFd {
        &self.socket
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if self.guard.is_child() {
            return;
        }
        // Consumers that still wait may have sent descriptors already, and the kernel would close those with the
        // listener.
        let _ = shutdown(&self.socket, Shutdown::Both);
        for _ in 0..=BACKLOG {
            match self.accept() {
                Ok(_) | Err(Errno::INTR | Errno::CONNABORTED) => {}
                Err(_) => break,
            }
        }
    }
}

fn new_socket() -> rustix::io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)
}

fn in_use_or(error: Errno, address: &Address) -> Error {
    match error {
        Errno::ADDRINUSE => Error::AddressInUse { address: address.to_string() },
        error => Error::os(format!("bind to {address}"))(error),
    }
}

/// A locked file beside the socket's. Dropping it removes the file.
#[derive(Debug)]
struct Lock {
    spot: Spot,
    file: OwnedFd,
    guard: ForkGuard,
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Still locked: a process that waits for it finds it gone and takes a new one.
        let held = fstat(&self.file).map(identity);
        if !self.guard.is_child() && held.is_ok() && self.spot.look().map(identity) == held {
            let _ = self.spot.remove();
        }
    }
}

/// What distinguishes a file from every other that exists now.
fn identity(file: Stat) -> (u64, u64) {
    (file.st_dev, file.st_ino)
}

/// Takes the lock of the socket at `socket`.
fn lock(socket: &Spot, address: &Address) -> Result<Lock> {
    let spot = socket.beside(".lock");
    let doing = || format!("lock {spot}");
    let guard = ForkGuard::get()?;
    for _ in 0..LOCK_TRIES {
        let flags = OFlags::CREATE | OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let file = spot.open(flags, Mode::RUSR | Mode::WUSR).map_err(Error::os(doing()))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => return Err(Error::AddressInUse { address: address.to_string() }),
            Err(error) => return Err(Error::os(doing())(error)),
        }
        // The last holder may have removed the file between the open and the lock.
        let held = fstat(&file).map(identity).map_err(Error::os(doing()))?;
        if spot.look().map(identity) == Ok(held) {
            return Ok(Lock { spot, file, guard });
        }
    }
    Err(Error::AddressInUse { address: address.to_string() })
}

/// Removes a socket file at `spot` that no process serves any more. Called under the lock.
fn remove_if_stale(spot: &Spot, address: &Address) -> Result<()> {
    match spot.look() {
        Err(Errno::NOENT) => return Ok(()),
        Err(error) => return Err(Error::os(format!("look for a socket at {address}"))(error)),
        Ok(there) if FileType::from_raw_mode(there.st_mode) != FileType::Socket => {
            return Err(Error::Invalid(format!("{address} is there already and is no socket; choose another path")));
        }
        Ok(_) => {}
    }
    let probe = new_socket().map_err(Error::os("create a socket"))?;
    match connect(&probe, &spot.address().to_socket_addr()?) {
        Err(Errno::CONNREFUSED) => match spot.remove() {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(Error::os(format!("remove the stale socket {address}"))(error)),
        },
        // Somebody listens, perhaps with another type of socket (EPROTOTYPE) or with a full backlog (EAGAIN).
        Ok(()) | Err(Errno::PROTOTYPE | Errno::AGAIN) => Err(Error::AddressInUse { address: address.to_string() }),
        Err(error) => Err(Error::os(format!("see whether anyone serves {address}"))(error)),
    }
}

/// The file of a bound socket. Dropping it removes the file, if it is still the same.
#[derive(Debug)]
struct SocketFile {
    spot: Spot,
    identity: (u64, u64),
    /// Held until the file is gone.
    lock: Lock,
}

impl SocketFile {
    fn adopt(spot: Spot, lock: Lock) -> Result<Self> {
        let there = spot.look().map_err(Error::os(format!("look at the new socket {spot}")))?;
        Ok(Self { spot, identity: identity(there), lock })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if !self.lock.guard.is_child() && self.spot.look().map(identity) == Ok(self.identity) {
            let _ = self.spot.remove();
        }
    }
}
