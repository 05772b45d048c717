//! A listening socket, and the file it may have.
//!
//! The invariant: only a socket file of this user or of root that nobody serves is replaced, and only our own is ever
//! removed. A socket that was adopted is neither shut down nor removed. Two that start at once are kept apart by a lock
//! on a sibling file, `PATH.lock`, which the kernel releases however we end: forked children close it, and the socket.
//! Where those files are is found out once, see [`Spot`].

use super::spot::Spot;
use super::{Address, PeerPolicy, adopted};
use crate::crash;
use crate::error::{Error, OfUser, Operation, Result};
use crate::fds;
use crate::os::closing::{Connection, close_later};
use crate::os::fork::{ForkGuard, NotForChildren};
use crate::os::peer::{Peer, known_user};
use crate::sync::Mutex;
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{FileType, FlockOperation, Mode, OFlags, Stat, fcntl_lock, flock, fstat};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, Shutdown, SocketFlags, SocketType, accept_with, bind, connect, listen, shutdown, socket_with,
};
use rustix::process::geteuid;

/// How many consumers can wait to be accepted.
const BACKLOG: i32 = 128;
/// How often the lock is tried again because its file was removed meanwhile.
const LOCK_TRIES: usize = 100;

/// A seqpacket socket that listens.
#[derive(Debug)]
pub(super) struct Listener {
    socket: NotForChildren,
    guard: ForkGuard,
    /// Somebody else has bound it, and may go on with it.
    is_adopted: bool,
    file: Option<SocketFile>,
}

impl Listener {
    /// Binds to `address` with the mode `mode`, and listens for the processes that `peers` admits.
    pub(super) fn bind(address: &Address, mode: u32, peers: &PeerPolicy) -> Result<Self> {
        check_mode(address, mode, peers)?;
        let (mut addr, guard) = (address.to_socket_addr()?, ForkGuard::get()?);
        let spot = address.as_path().map(Spot::find).transpose()?;
        let lock = spot.as_ref().map(|spot| lock(spot, address)).transpose()?;
        crash::point!("server-locked");
        if let Some((spot, lock)) = spot.as_ref().zip(lock.as_ref()) {
            addr = spot.address().to_socket_addr()?;
            remove_if_stale(spot, lock, address)?;
        }
        crash::point!("server-before-bind");
        let doing = || format!("listen on {address}");
        let socket = NotForChildren::new(new_socket().map_err(Error::os(doing()))?, guard);
        // From Linux 6.16 on, the kernel refuses messages with descriptors.
        fds::refuse_fds(socket.as_fd());
        // On the socket, before it has a file, so that nobody can connect in between: bind(2) applies it, less the
        // umask (unix(7)).
        let mode = Mode::from_raw_mode(mode);
        rustix::fs::fchmod(&socket, mode).map_err(Error::os(doing()))?;
        bind(&socket, &addr).map_err(|error| in_use_or(error, address))?;
        crash::point!("server-bound");
        let file = spot.zip(lock).map(|(spot, lock)| SocketFile::adopt(spot, lock)).transpose()?;
        if let Some(file) = &file {
            file.placed.spot.set_mode(file.placed.identity, mode).map_err(Error::os(doing()))?;
        }
        listen(&socket, BACKLOG).map_err(Error::os(doing()))?;
        crash::point!("server-listening");
        Ok(Self { socket, guard, is_adopted: false, file })
    }

    /// A socket that listens already, and where it is bound.
    pub(super) fn adopt(socket: OwnedFd) -> Result<(Self, Address)> {
        let guard = ForkGuard::get()?;
        let (socket, address) = adopted::listening(socket)?;
        let socket = NotForChildren::new(socket, guard);
        fds::refuse_fds(socket.as_fd());
        // Anew: a peer that connects from here on finds this process at the other end (`SO_PEERCRED`), and not the one
        // that made the socket.
        listen(&socket, BACKLOG).map_err(Error::os(format!("listen on {address}")))?;
        Ok((Self { socket, guard, is_adopted: true, file: None }, address))
    }

    /// The connection of the next consumer that waits. `WouldBlock` if there is none.
    pub(super) fn accept(&self) -> rustix::io::Result<Connection> {
        let socket = accept_with(&self.socket, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK)?;
        Ok(Connection::new(socket, self.guard))
    }

    /// The file of the socket, if it is ours.
    pub(super) fn placed(&self) -> Option<Placed> {
        self.file.as_ref().map(|file| file.placed.clone())
    }

    pub(super) fn socket(&self) -> &NotForChildren {
        &self.socket
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if self.guard.is_child() {
            return;
        }
        if self.is_adopted {
            // Those who still wait are for the other owner of the socket, or the next one.
            if fds::holds_descriptors(self.socket.as_fd()) {
                close_later(self.socket.take());
            }
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
        Errno::ADDRINUSE => in_use(address),
        error => Error::os_in(Operation::Listen, format!("bind to {address}"))(error),
    }
}

/// The error for an address that is served, with the process that serves it as far as that can be found out.
fn in_use(address: &Address) -> Error {
    let holder = || {
        let probe = new_socket().ok()?;
        connect(&probe, &address.to_socket_addr().ok()?).ok()?;
        Peer::of(&probe).ok()?.pid
    };
    Error::AddressInUse { address: address.to_string(), pid: holder() }
}

/// A locked file beside the socket's. Dropping it removes the file, if it is one of ours.
#[derive(Debug)]
struct Lock {
    spot: Spot,
    file: NotForChildren,
    guard: ForkGuard,
    /// Whether a server of this user has made the file, this one or one that was killed.
    is_ours: bool,
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Still locked: a process that waits for it finds it gone and takes a new one.
        let held = fstat(&self.file).map(identity);
        if self.is_ours && !self.guard.is_child() && held.is_ok() && self.spot.look().map(identity) == held {
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
        let Some(file) = open_lock(&spot)? else { continue };
        let file = NotForChildren::new(file, guard);
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) if take_over(socket, &spot, &file) => continue,
            Err(Errno::WOULDBLOCK) => {
                return Err(match in_use(address) {
                    // Nobody is found at the socket: its file may be gone.
                    Error::AddressInUse { address, pid: None } => {
                        Error::AddressInUse { address, pid: fstat(&file).ok().and_then(holder_of) }
                    }
                    error => error,
                });
            }
            Err(Errno::INTR) => continue,
            // Some file systems have no such locks. Without one, of two servers that start at once the second may find
            // a socket that the first has not begun to listen on, and take it for a stale one.
            Ok(()) | Err(_) => {}
        }
        // The last holder may have removed the file between the open and the lock.
        let held = fstat(&file).map_err(Error::os(doing()))?;
        check_lock(&spot, &held)?;
        if spot.look().map(identity) == Ok(identity(held)) {
            let is_ours = held.st_uid == geteuid().as_raw() && Mode::from_raw_mode(held.st_mode) == LOCK_MODE;
            return Ok(Lock { spot, file, guard, is_ours });
        }
    }
    Err(in_use(address))
}

/// The process that has locked this file, as far as the kernel's list of locks names it: proc_locks(5).
fn holder_of(file: Stat) -> Option<u32> {
    let (major, minor) = (rustix::fs::major(file.st_dev), rustix::fs::minor(file.st_dev));
    find_holder(&std::fs::read_to_string("/proc/locks").ok()?, &format!("{major:02x}:{minor:02x}:{}", file.st_ino))
}

/// The number in the line of a lock by flock(2), which has these columns: number, FLOCK, ADVISORY, kind, process, file.
fn find_holder(locks: &str, file: &str) -> Option<u32> {
    let mut lines = locks.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    lines.find_map(|columns| match columns[..] {
        [_, "FLOCK", _, _, pid, of, ..] if of == file => pid.parse().ok().filter(|pid| *pid != 0),
        _ => None,
    })
}

/// Removes the files of a server that has ended if a child keeps its socket and its lock: one that it has cloned
/// without libc's handlers. `false` if it has not ended.
fn take_over(socket: &Spot, lock: &Spot, file: &NotForChildren) -> bool {
    // The lock last: a process that finds a new one must not find the old socket.
    let clear = || is_orphan(socket) && socket.remove().is_ok() && lock.remove().is_ok();
    alone(lock, file, clear) != Some(false)
}

/// Clears away what the child of a server keeps that has ended, while no other process and no other thread does.
/// `None` if another does so now, or has done it: the lock's file is another then.
///
/// By a record lock, which no child inherits.
fn alone<T>(lock: &Spot, file: &NotForChildren, clear: impl FnOnce() -> T) -> Option<T> {
    static THREADS: Mutex<()> = Mutex::new(());
    let _threads = THREADS.lock();
    fcntl_lock(file, FlockOperation::NonBlockingLockExclusive).ok()?;
    let is_same = fstat(file).is_ok_and(|held| lock.look().map(identity) == Ok(identity(held)));
    let cleared = is_same.then(clear);
    let _ = fcntl_lock(file, FlockOperation::Unlock);
    cleared
}

/// Other users are admitted only if the socket's mode lets them connect at all.
fn check_mode(address: &Address, mode: u32, peers: &PeerPolicy) -> Result<()> {
    let others_may_write = mode & (Mode::WGRP | Mode::WOTH).as_raw_mode() != 0;
    if address.as_path().is_none() || others_may_write || !peers.admits_others() {
        return Ok(());
    }
    Err(Error::Invalid(format!(
        "the policy admits other users, but a socket of the mode {mode:04o} at {address} lets none of them connect; \
         set the mode to 0666 for every user, or to 0660 for those of the file's group"
    )))
}

/// The mode with which locks are made.
const LOCK_MODE: Mode = Mode::RUSR.union(Mode::WUSR);

/// Opens the lock that is there, or makes one; `None` if there was one a moment ago, or is now.
///
/// In two steps: in a directory that everyone may write to the kernel denies `O_CREAT` for a file of another user
/// (`fs.protected_regular`, proc_sys_fs(5)), even to root.
fn open_lock(spot: &Spot) -> Result<Option<OwnedFd>> {
    let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    let opened = match spot.look() {
        Ok(there) => {
            check_lock(spot, &there)?;
            spot.open(flags, Mode::empty())
        }
        Err(Errno::NOENT) => spot.open(flags | OFlags::CREATE | OFlags::EXCL, LOCK_MODE),
        Err(error) => Err(error),
    };
    match opened {
        Ok(file) => Ok(Some(file)),
        Err(Errno::NOENT | Errno::EXIST | Errno::LOOP) => Ok(None),
        Err(error) => Err(Error::os_in(Operation::Listen, format!("open the lock {spot}"))(error)),
    }
}

/// Refuses what is no lock: anything but an empty regular file of this user or of root. Root takes anybody's.
fn check_lock(spot: &Spot, there: &Stat) -> Result<()> {
    let is_file = FileType::from_raw_mode(there.st_mode) == FileType::RegularFile;
    if is_file && there.st_size == 0 && is_trusted(there) {
        return Ok(());
    }
    let what = match (is_file, is_trusted(there)) {
        (false, _) => "no file".to_owned(),
        (true, true) => "not empty".to_owned(),
        (true, false) => format!("a file of {}", OfUser(known_user(there.st_uid))),
    };
    Err(Error::Invalid(format!(
        "{spot} is there already, and is no lock of a server: it is {what}; remove it or choose another address"
    )))
}

/// Whether a file is of this user or of root. Root trusts every user that has a number here.
fn is_trusted(file: &Stat) -> bool {
    let own = geteuid().as_raw();
    known_user(file.st_uid).is_some_and(|owner| owner == own || owner == 0 || own == 0)
}

/// Whether a process listened at `spot` that has ended, while a child of it keeps the socket.
fn is_orphan(spot: &Spot) -> bool {
    let is_socket = |there: Stat| FileType::from_raw_mode(there.st_mode) == FileType::Socket && is_trusted(&there);
    let listener = || {
        let probe = new_socket().ok()?;
        connect(&probe, &spot.address().to_socket_addr().ok()?).ok()?;
        Peer::of(&probe).ok()
    };
    spot.look().is_ok_and(is_socket) && listener().is_some_and(|listener| listener.is_dead())
}

/// Removes a socket file at `spot` that no process serves any more. Called under the lock.
fn remove_if_stale(spot: &Spot, lock: &Lock, address: &Address) -> Result<()> {
    let there = match spot.look() {
        Err(Errno::NOENT) => return Ok(()),
        Err(error) => return Err(Error::os(format!("look for a socket at {address}"))(error)),
        Ok(there) if FileType::from_raw_mode(there.st_mode) != FileType::Socket => {
            return Err(Error::Invalid(format!("{address} is there already and is no socket; choose another path")));
        }
        Ok(there) => there,
    };
    let remove = || {
        if !is_trusted(&there) {
            let owner = OfUser(known_user(there.st_uid));
            let sentence =
                format!("{address} is a socket of {owner} that nobody serves; remove it or choose another path");
            return Err(Error::Invalid(sentence));
        }
        match spot.remove() {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(Error::os_in(Operation::Listen, format!("remove the stale socket {address}"))(error)),
        }
    };
    let probe = new_socket().map_err(Error::os("create a socket"))?;
    match connect(&probe, &spot.address().to_socket_addr()?) {
        Err(Errno::CONNREFUSED) => remove(),
        // A process listens, perhaps with another type of socket (EPROTOTYPE) or with a full backlog (EAGAIN). One that
        // has ended does not serve: a child that it has forked keeps its socket.
        Ok(()) => match Peer::of(&probe)? {
            listener if listener.is_dead() => {
                alone(&lock.spot, &lock.file, remove).unwrap_or_else(|| Err(in_use(address)))
            }
            listener => Err(Error::AddressInUse { address: address.to_string(), pid: listener.pid }),
        },
        Err(Errno::PROTOTYPE | Errno::AGAIN) => Err(Error::AddressInUse { address: address.to_string(), pid: None }),
        Err(error) => Err(Error::os(format!("see whether anyone serves {address}"))(error)),
    }
}

/// A file, and where it was put.
#[derive(Clone, Debug)]
pub(super) struct Placed {
    spot: Spot,
    /// No other file gets it for as long as the socket is open: the socket keeps its inode.
    identity: (u64, u64),
}

impl Placed {
    /// Whether the file is no longer there, or another is in its place.
    pub(super) fn is_lost(&self) -> bool {
        match self.spot.look() {
            Ok(there) => identity(there) != self.identity,
            Err(error) => matches!(error, Errno::NOENT | Errno::NOTDIR),
        }
    }
}

/// The file of a bound socket. Dropping it removes the file, if it is still the same.
#[derive(Debug)]
struct SocketFile {
    placed: Placed,
    /// Held until the file is gone.
    lock: Lock,
}

impl SocketFile {
    fn adopt(spot: Spot, lock: Lock) -> Result<Self> {
        let there = spot.look().map_err(Error::os(format!("look at the new socket {spot}")))?;
        // Who may write to the directory may have put another file there since. Some file systems give every file to
        // one user.
        let is_socket = FileType::from_raw_mode(there.st_mode) == FileType::Socket;
        let held = fstat(&lock.file).map_err(Error::os(format!("look at the lock of {spot}")))?;
        if !is_socket || ![geteuid().as_raw(), held.st_uid].contains(&there.st_uid) {
            return Err(Error::Invalid(format!(
                "another file was put in the place of the new socket {spot}; choose a directory that only this user \
                 may write to"
            )));
        }
        Ok(Self { placed: Placed { spot, identity: identity(there) }, lock })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let Placed { spot, identity: ours } = &self.placed;
        if !self.lock.guard.is_child() && spot.look().map(identity) == Ok(*ours) {
            let _ = spot.remove();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_support::TempDir;

    #[test]
    fn the_holder_of_a_lock_is_found_in_the_kernels_list() {
        let locks = "1: POSIX  ADVISORY  WRITE 7 08:02:99 0 EOF\n2: FLOCK  ADVISORY  WRITE 708 08:02:99 0 EOF\n\
                     2: -> FLOCK  ADVISORY  WRITE 709 08:02:98 0 EOF\n3: FLOCK  ADVISORY  WRITE 0 08:02:97 0 EOF\n4:\n";
        let holder = |file: &str| find_holder(locks, file);
        assert_eq!(holder("08:02:99"), Some(708));
        assert_eq!((holder("08:02:98"), holder("08:02:97"), holder("08:02:9")), (None, None, None));
    }

    #[test]
    fn only_a_socket_of_this_user_is_taken_for_the_one_that_was_bound() {
        let dir = TempDir::new();
        let path = dir.path().join("socket");
        let adopt = || {
            let (spot, address) = (Spot::find(&path).unwrap(), Address::from(&path));
            let lock = lock(&spot, &address).unwrap();
            SocketFile::adopt(spot, lock).map(drop)
        };
        std::fs::write(&path, "somebody else's").unwrap();
        let error = adopt().unwrap_err();
        assert!(error.to_string().contains("another file was put in the place"), "{error}");
        assert!(path.exists(), "what is not ours is not removed");
        std::fs::remove_file(&path).unwrap();
        let bind = || std::os::unix::net::UnixDatagram::bind(&path).unwrap();
        let _socket = bind();
        adopt().unwrap();
        assert!(!path.exists(), "our own is");
        let _socket = bind();
        // Only root can give a file away.
        if rustix::fs::chown(&path, Some(rustix::fs::Uid::from_raw(1)), None).is_ok() {
            assert!(adopt().is_err() && path.exists());
        }
    }
}
