//! The process at the other end of a socket, as the kernel names it; and which user ids name a user.
//!
//! The invariant: a number that stands for "unknown" is nobody's. The kernel says pid 0 of a process in another pid
//! namespace, and the overflow uid of a user that this user namespace has no number for.

use super::clock::coarse_now;
use crate::cmsg::Credentials;
use crate::deadline::{Deadline, timespec};
use crate::error::{Error, Result};
use crate::fds::{self, Sender};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The process at the other end, as it was when it connected, began to listen, or sent its first frame.
#[derive(Debug)]
pub(crate) struct Peer {
    /// `None` if the process is in another pid namespace: the kernel says 0 then.
    pub(crate) pid: Option<u32>,
    /// `None` if this user namespace has no number for the user.
    pub(crate) uid: Option<u32>,
    /// Becomes readable when the process ends; `None` if the kernel does not give one.
    pub(crate) pidfd: Option<OwnedFd>,
}

impl Peer {
    /// Asks the kernel who is at the other end of `socket`.
    pub(crate) fn of(socket: &impl AsFd) -> Result<Self> {
        let doing = "ask the kernel who is at the other end";
        let credentials = fds::peer_credentials(socket.as_fd()).map_err(Error::os(doing))?;
        let pidfd = match fds::peer_pidfd(socket.as_fd()) {
            Ok(pidfd) => Some(pidfd),
            // Out of this pid namespace, or gone already, or forbidden: the socket's hang-up has to do.
            Err(error) if is_out_of_descriptors(&error) => return Err(Error::os(doing)(error)),
            Err(_) => None,
        };
        Ok(Self {
            pid: u32::try_from(credentials.pid).ok().filter(|pid| *pid != 0),
            uid: known_user(credentials.uid),
            pidfd,
        })
    }

    /// A process of which nothing is known yet.
    pub(crate) const UNKNOWN: Self = Self { pid: None, uid: None, pidfd: None };

    /// The same process once more.
    pub(crate) fn try_clone(&self) -> Result<Self> {
        let pidfd = self.pidfd.as_ref().map(OwnedFd::try_clone).transpose();
        let pidfd = pidfd.map_err(Error::os("duplicate the descriptor of the peer's process"))?;
        Ok(Self { pid: self.pid, uid: self.uid, pidfd })
    }

    /// The process that sent a message. `has_pidfds` says whether the socket asks for the senders' pidfds: if it does
    /// not (before Linux 6.5), one is opened by number, and names another process if the sender has died since and its
    /// number was used again.
    ///
    /// A message that the kernel names no sender of comes from pid 0, like one from another pid namespace. Its user is
    /// the overflow uid, or 0 at the end of a stream: neither is anybody. Only a pidfd tells the two cases apart.
    pub(crate) fn of_sender(sender: Sender, has_pidfds: bool) -> Self {
        let Sender { credentials: Some(Credentials { pid, uid, .. }), pidfd } = sender else { return Self::UNKNOWN };
        let is_named = pid > 0 || pidfd.is_some();
        Self {
            pid: u32::try_from(pid).ok().filter(|pid| *pid != 0),
            uid: known_user(uid).filter(|_| is_named),
            pidfd: if has_pidfds { pidfd } else { fds::pidfd_of(pid).ok() },
        }
    }

    /// The process at the other end of a connection over which a frame has come: its sender, or the listener where
    /// the kernel names no other.
    pub(crate) fn met(listener: Option<Self>, sender: Self) -> Self {
        match listener {
            Some(listener) if sender.is_unknown() || listener.may_be(&sender) => listener,
            _ => sender,
        }
    }

    /// Whether the kernel has not named it at all.
    pub(crate) fn is_unknown(&self) -> bool {
        self.pid.is_none() && self.uid.is_none() && self.pidfd.is_none()
    }

    /// Whether the two are known to be one process, or cannot be told apart.
    pub(crate) fn may_be(&self, other: &Self) -> bool {
        self.pid == other.pid && (self.pid.is_some() || self.uid == other.uid)
    }

    /// Whether the process ends within that time. One of which nothing is known does not.
    pub(crate) fn ends_within(&self, limit: Duration) -> bool {
        use rustix::event::{PollFd, PollFlags, poll};
        let deadline = Deadline::after(limit);
        while !self.is_dead() {
            if deadline.has_passed() || self.pidfd.is_none() && self.pid.is_none() {
                return false;
            }
            let mut waits: Vec<_> = self.pidfd.iter().map(|pidfd| PollFd::new(pidfd, PollFlags::IN)).collect();
            // Without a pidfd it is looked at once in a while.
            let pause = if waits.is_empty() { Some(Duration::from_millis(1)) } else { deadline.remaining() };
            let _ = poll(&mut waits, pause.map(timespec).as_ref());
        }
        true
    }

    /// Whether the process has ended. One that the kernel names by nothing but a number counts as alive for as long as
    /// any process has it, and one without a number always.
    pub(crate) fn is_dead(&self) -> bool {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        use rustix::process::{Pid, test_kill_process};
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        match (&self.pidfd, self.pid.and_then(|pid| Pid::from_raw(pid.cast_signed()))) {
            (Some(pidfd), _) => poll(&mut [PollFd::new(pidfd, PollFlags::IN)], Some(&now)) == Ok(1),
            (None, Some(pid)) => test_kill_process(pid) == Err(Errno::SRCH) || is_zombie(pid),
            (None, None) => false,
        }
    }
}

/// The user of this number, or `None` if the number can stand for a user of another user namespace.
///
/// That number is a real user's too where every number is mapped, as it is outside of containers. Where /proc is
/// missing, nobody knows.
pub(crate) fn known_user(uid: u32) -> Option<u32> {
    (uid != overflow_uid() || are_all_users_mapped()).then_some(uid)
}

/// The overflow uid. It is read anew once it is older than [`OVERFLOW_UID_AGE_MAX`]: a handshake asks for it several
/// times, and reading it takes three system calls.
fn overflow_uid() -> u32 {
    // Time and number in one word, so that a forked child never meets a lock that nobody gives back.
    static LAST: AtomicU64 = AtomicU64::new(0);
    let now = coarse_now().as_millis() as u32;
    let last = LAST.load(Ordering::Relaxed);
    let (then, uid) = ((last >> 32) as u32, last as u32);
    if last != 0 && u128::from(now.wrapping_sub(then)) < OVERFLOW_UID_AGE_MAX.as_millis() {
        return uid;
    }
    let uid = read_overflow_uid().unwrap_or(OVERFLOW_UID_DEFAULT);
    LAST.store(u64::from(now) << 32 | u64::from(uid), Ordering::Relaxed);
    uid
}

/// The overflow uid as the kernel has it now, by one read(2): std's `read_to_string` makes three calls of that.
fn read_overflow_uid() -> Option<u32> {
    let (path, flags) = ("/proc/sys/kernel/overflowuid", OFlags::RDONLY | OFlags::CLOEXEC);
    let file = rustix::io::retry_on_intr(|| rustix::fs::open(path, flags, Mode::empty())).ok()?;
    // A number below 2³², and the end of the line.
    let mut text = [0; 16];
    let len = rustix::io::retry_on_intr(|| rustix::io::read(&file, &mut text)).ok()?;
    std::str::from_utf8(&text[..len]).ok()?.trim().parse().ok()
}

/// Whether a process has ended and waits for its parent to ask; see proc_pid_stat(5).
fn is_zombie(pid: rustix::process::Pid) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The name before the state may hold anything.
    stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with(['Z', 'X']))
}

/// What the overflow uid is unless the administrator has changed it, see proc_sys_kernel(5).
const OVERFLOW_UID_DEFAULT: u32 = 65534;

/// For how long it is taken to be what it was: an administrator who changes it is believed after that.
const OVERFLOW_UID_AGE_MAX: Duration = Duration::from_millis(100);

/// Whether this process's user namespace has a number for every user, see user_namespaces(7).
fn are_all_users_mapped() -> bool {
    std::fs::read_to_string("/proc/self/uid_map").is_ok_and(|map| maps_all(&map))
}

/// Whether a map of user ids as the kernel writes it, lines of "inside outside count", is that of the first namespace.
fn maps_all(map: &str) -> bool {
    map.split_whitespace().eq(["0", "0", "4294967295"])
}

/// Whether a system call failed for want of descriptors or memory.
pub(crate) fn is_out_of_descriptors(error: &std::io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw_os_error);
    matches!(errno, Some(Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::NOBUFS | Errno::TOOMANYREFS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_map_of_the_first_namespace_has_every_user() {
        assert!(maps_all("         0          0 4294967295\n"));
        for map in ["", "0 1000 1\n", "0 100000 65536\n", "0 0 1\n1 1 4294967294\n", "0 1 4294967295\n"] {
            assert!(!maps_all(map), "{map:?}");
        }
    }
}
