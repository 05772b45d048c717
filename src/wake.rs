//! Waiting and waking: spin first, then sleep; a bell for data, a futex for space.
//!
//! The invariant: a wake-up is never lost. Both sides announce, fence, and look again (design invariants 11 and 12);
//! the functions here are one half of each protocol, and name the other.
//!
//! What this file does not do: it does not know what is waited for. The caller looks; this file waits.

use crate::barrier;
use crate::frame::Barrier;
use crate::sync::{AtomicU32, Ordering, fence};
use std::time::{Duration, Instant};

#[cfg(loom)]
pub(crate) use crate::kernel::{sleep_on, wake_private, wake_shared};
#[cfg(not(loom))]
pub(crate) use bell::{Bell, BellEnd};

/// Until when to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Deadline {
    /// Not at all.
    Now,
    At(Instant),
    Never,
}

impl Deadline {
    /// `timeout` from now; never, where the clock cannot count so far.
    pub(crate) fn after(timeout: Duration) -> Self {
        Instant::now().checked_add(timeout).map_or(Self::Never, Self::At)
    }

    /// What is left; `None` where there is no end. Zero once it has passed.
    pub(crate) fn remaining(self) -> Option<Duration> {
        match self {
            Self::Now => Some(Duration::ZERO),
            Self::At(instant) => Some(instant.saturating_duration_since(Instant::now())),
            Self::Never => None,
        }
    }

    pub(crate) fn has_passed(self) -> bool {
        self.remaining() == Some(Duration::ZERO)
    }
}

/// How often a spinning loop looks before it asks what time it is.
const LOOKS_PER_CLOCK: u32 = 64;

/// Calls `look` until it finds something, `spin` has passed, or the deadline has.
///
/// `look` is told how often it has been called, from 0. Where the machine has one processor only, it is called once:
/// whoever is waited for cannot run meanwhile.
pub(crate) fn spin_until<T>(spin: Duration, deadline: Deadline, mut look: impl FnMut(u32) -> Option<T>) -> Option<T> {
    if let Some(found) = look(0) {
        return Some(found);
    }
    if spin.is_zero() || deadline == Deadline::Now || has_one_processor() {
        return None;
    }
    let end = Deadline::after(spin.min(deadline.remaining().unwrap_or(spin)));
    let mut looks = 1;
    loop {
        for _ in 0..LOOKS_PER_CLOCK {
            if let Some(found) = look(looks) {
                return Some(found);
            }
            looks = looks.wrapping_add(1);
            std::hint::spin_loop();
        }
        if end.has_passed() {
            return None;
        }
    }
}

/// Whether the machine has one processor only. What this thread may use says nothing: it may be pinned to a processor,
/// and whoever it waits for to another.
pub(crate) fn has_one_processor() -> bool {
    static ONE: std::sync::OnceLock<bool> = std::sync::OnceLock::new();
    *ONE.get_or_init(|| {
        let online = std::fs::read_to_string("/sys/devices/system/cpu/online");
        online.is_ok_and(|list| names_one_processor(&list))
    })
}

/// Whether a list of processors as the kernel writes it, "0-3,8" say, names a single one.
fn names_one_processor(list: &str) -> bool {
    list.trim().parse::<u32>().is_ok()
}

/// What ended a wait in the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Woken {
    ByBell,
    /// The limit of the wait has passed, and nothing else happened.
    ByTime,
    /// Anything else: a signal, say, or something in the session.
    Otherwise,
}

/// How long to sleep where nobody may wake us.
const NAP: Duration = Duration::from_millis(10);

/// How long after its announcement a sleeper looks once more that relies on [`barrier::heavy`], which has a gap: a
/// producer on whose processor it did nothing may have looked for sleepers with its publication still on the way. No
/// store is on its way for so long, by orders of magnitude (a store buffer has some tens of entries, each a memory
/// access at most); so what is not there then is published by one who sees the announcement.
pub(crate) const SECOND_LOOK: Duration = Duration::from_millis(10);

/// Says in `wait_epoch` that this consumer is about to sleep; `prepare` makes its bell ready, most often empties it.
/// After this it looks for data once more, and only then sleeps on the bell; with [`Barrier::Asymmetric`] until
/// [`SECOND_LOOK`] at first.
pub(crate) fn announce_sleep(wait_epoch: &AtomicU32, barrier: Barrier, prepare: impl FnOnce()) {
    wake_up(wait_epoch);
    // Never while the epoch is odd: that could swallow the one ring this sleep gets.
    prepare();
    let epoch = wait_epoch.load(Ordering::Relaxed);
    wait_epoch.store(epoch.wrapping_add(1), Ordering::Relaxed);
    // Pairs with the barrier in `Roster::ring_sleepers`: the producer sees this epoch, or we see what it published.
    match barrier {
        Barrier::Fence => fence(Ordering::SeqCst),
        Barrier::Asymmetric => barrier::heavy(),
    }
}

/// Says in `wait_epoch` that this consumer is awake; also where a sleep was cancelled half-way and left it odd.
pub(crate) fn wake_up(wait_epoch: &AtomicU32) {
    let epoch = wait_epoch.load(Ordering::Relaxed);
    if epoch % 2 == 1 {
        wait_epoch.store(epoch.wrapping_add(1), Ordering::Relaxed);
    }
}

/// When to empty a bell that may be watched for its edges (`EPOLLET`, epoll(7)): each ring of it ends one sleep,
/// whether or not the one before was read, so a sleep that follows on one which ended with its ring needs no emptying.
#[derive(Debug, Default)]
pub(crate) struct Edges {
    /// Whether the last sleep was watched, and ended by its ring.
    was_rung: bool,
}

impl Edges {
    /// Before a sleep is announced, watched or not: whether the bell must be emptied first.
    pub(crate) fn must_empty(&mut self, is_watched: bool) -> bool {
        !std::mem::take(&mut self.was_rung) || !is_watched
    }

    /// A watched sleep has ended, by a ring or otherwise.
    pub(crate) fn note(&mut self, was_rung: bool) {
        self.was_rung = was_rung;
    }
}

/// Whether the consumer behind `wait_epoch` sleeps and has not been rung for; if so it counts as rung for now.
///
/// Called after the barrier in `Roster::ring_sleepers`.
#[inline]
pub(crate) fn claim_ring(wait_epoch: &AtomicU32, last_rung: &AtomicU32) -> bool {
    let epoch = wait_epoch.load(Ordering::Relaxed);
    if epoch.is_multiple_of(2) || epoch == last_rung.load(Ordering::Relaxed) {
        return false;
    }
    last_rung.store(epoch, Ordering::Relaxed);
    true
}

/// A futex word, and the value it had when the caller last looked.
pub(crate) type Captured<'a> = (&'a AtomicU32, u32);

/// Sleeps until one of the words is woken or has another value than captured, or the deadline passes, or for no reason.
///
/// `private` is a word of this process, `shared` one in a shared mapping, read-only or not. Where there is no
/// `futex_waitv`, before Linux 5.16 or where a filter forbids it, the shared word is waited for in naps of at most 10
/// ms.
#[cfg(not(loom))]
pub(crate) fn sleep_on(private: Captured<'_>, shared: Option<Captured<'_>>, deadline: Deadline) {
    use rustix::io::Errno;
    use rustix::thread::futex::{self, Flags, WaitFlags, WaitvFlags};
    use std::sync::atomic::AtomicBool;

    static NO_WAITV: AtomicBool = AtomicBool::new(false);

    let remaining = deadline.remaining();
    let ((word, value), flags) = shared.map_or((private, Flags::PRIVATE), |shared| (shared, Flags::empty()));
    let wait = |limit: Option<Duration>| futex::wait(word, flags, value, limit.map(timespec).as_ref());
    let outcome = if shared.is_none() {
        wait(remaining)
    } else if NO_WAITV.load(Ordering::Relaxed) {
        Err(Errno::NOSYS)
    } else {
        let waits = [
            futex_wait(private, WaitFlags::SIZE_U32 | WaitFlags::PRIVATE),
            futex_wait((word, value), WaitFlags::SIZE_U32),
        ];
        let end = remaining.map(monotonic_after);
        futex::waitv(&waits, WaitvFlags::empty(), end.as_ref(), futex::ClockId::Monotonic).map(drop)
    };
    if has_waited(outcome) {
        return;
    }
    if outcome == Err(Errno::NOSYS) {
        NO_WAITV.store(true, Ordering::Relaxed);
    }
    // Whatever the kernel has against it: the caller would only ask again, so never return at once.
    let nap = remaining.map_or(NAP, |remaining| remaining.min(NAP));
    if !has_waited(wait(Some(nap))) {
        let _ = rustix::event::poll(&mut [], Some(&timespec(nap)));
    }
}

/// Whether a wait came to an end, rather than to nothing: woken, with another value there, interrupted, or timed out.
#[cfg(not(loom))]
fn has_waited(outcome: rustix::io::Result<()>) -> bool {
    use rustix::io::Errno;
    matches!(outcome, Ok(()) | Err(Errno::AGAIN | Errno::INTR | Errno::TIMEDOUT))
}

#[cfg(not(loom))]
fn futex_wait((word, value): Captured<'_>, flags: rustix::thread::futex::WaitFlags) -> rustix::thread::futex::Wait {
    let mut wait = rustix::thread::futex::Wait::new();
    wait.val = u64::from(value);
    wait.uaddr = rustix::thread::futex::WaitPtr::new(word.as_ptr().cast());
    wait.flags = flags;
    wait
}

/// Wakes whoever sleeps on a word of this process.
#[cfg(not(loom))]
pub(crate) fn wake_private(word: &AtomicU32) {
    let _ = rustix::thread::futex::wake(word, rustix::thread::futex::Flags::PRIVATE, i32::MAX as u32);
}

/// Wakes whoever sleeps on a word in a shared mapping.
#[cfg(not(loom))]
pub(crate) fn wake_shared(word: &AtomicU32) {
    let _ = rustix::thread::futex::wake(word, rustix::thread::futex::Flags::empty(), i32::MAX as u32);
}

/// `duration` as the kernel takes it.
pub(crate) fn timespec(duration: Duration) -> rustix::time::Timespec {
    rustix::time::Timespec::try_from(duration).unwrap_or(rustix::time::Timespec { tv_sec: i64::MAX, tv_nsec: 0 })
}

/// The time on the monotonic clock `duration` from now.
#[cfg(not(loom))]
fn monotonic_after(duration: Duration) -> rustix::time::Timespec {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let duration = timespec(duration);
    let nanos = now.tv_nsec + duration.tv_nsec;
    let seconds = now.tv_sec.saturating_add(duration.tv_sec).saturating_add(nanos / 1_000_000_000);
    rustix::time::Timespec { tv_sec: seconds, tv_nsec: nanos % 1_000_000_000 }
}

#[cfg(not(loom))]
mod bell {
    use crate::closing::{Connection, close_later};
    use crate::error::{Error, Result};
    use crate::fds::{self, RecvFdsError};
    use crate::frame::BellKind;
    use crate::region::ForkGuard;
    use rustix::event::{EventfdFlags, eventfd};
    use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
    use rustix::io::{ReadWriteFlags, preadv2, write};
    use rustix::net::{AddressFamily, SendFlags, Shutdown, SocketFlags, SocketType, getpeername, send, sockopt};
    use std::io::IoSliceMut;
    use std::time::Duration;

    /// The producer's end of a bell.
    #[derive(Debug)]
    pub(crate) struct Bell {
        kind: BellKind,
        fd: OwnedFd,
    }

    impl Bell {
        /// A new bell, and the end that goes to the consumer (for an eventfd: the same object under another number).
        pub(crate) fn create(kind: BellKind) -> Result<(Self, OwnedFd)> {
            let doing = "create a bell for a consumer";
            match kind {
                BellKind::Eventfd => {
                    let fd = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).map_err(Error::os(doing))?;
                    let end = rustix::io::fcntl_dupfd_cloexec(&fd, 0).map_err(Error::os(doing))?;
                    Ok((Self { kind, fd }, end))
                }
                BellKind::Socketpair => {
                    let flags = SocketFlags::CLOEXEC;
                    let (fd, end) = rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)
                        .map_err(Error::os(doing))?;
                    // Nothing can be sent back to us, descriptors with SO_LINGER least of all.
                    rustix::net::shutdown(&fd, Shutdown::Read).map_err(Error::os(doing))?;
                    Ok((Self { kind, fd }, end))
                }
            }
        }

        /// Rings. A bell that is full is a rung bell, and one whose other end is gone need not be heard.
        pub(crate) fn ring(&self) {
            let _ = match self.kind {
                BellKind::Eventfd => write(&self.fd, &1u64.to_ne_bytes()),
                BellKind::Socketpair => send(&self.fd, &[1], SendFlags::DONTWAIT | SendFlags::NOSIGNAL),
            };
        }
    }

    /// The consumer's end of a bell.
    #[derive(Debug)]
    pub(crate) struct BellEnd {
        end: End,
        /// Where the consumer was when it last slept, and how often the bell has stirred since then.
        position: u64,
        vain_rings: u32,
    }

    #[derive(Debug)]
    enum End {
        Eventfd(OwnedFd),
        Socketpair(Connection),
    }

    /// How often a bell may stir in vain. A ring can come late, but more come of a producer that breaks the protocol.
    const VAIN_RINGS_MAX: u32 = 16;
    /// How long a consumer naps at first whose bell is of no use, and how often that doubles: up to 64 ms.
    const NAP_MIN: Duration = Duration::from_millis(1);
    const NAP_DOUBLINGS_MAX: u32 = 6;

    /// A socketpair's queue holds a few hundred rings; more than that is a producer that floods.
    const DRAIN_MAX: usize = 1024;

    impl BellEnd {
        /// Takes the bell that a producer has sent, once it is seen to be one.
        pub(crate) fn receive(kind: BellKind, fd: OwnedFd) -> Result<Self> {
            if !Self::is_bell(kind, &fd) {
                return Err(Error::peer("taking the bell of a lane", format_args!("the descriptor is no {kind:?}")));
            }
            let end = match kind {
                BellKind::Eventfd => End::Eventfd(fd),
                BellKind::Socketpair => {
                    // Where the kernel can, it turns away from now on who sends descriptors (Linux 6.16).
                    let _ = fds::refuse_fds(fd.as_fd());
                    End::Socketpair(Connection::new(fd, ForkGuard::get()?))
                }
            };
            Ok(Self { end, position: 0, vain_rings: 0 })
        }

        /// For a consumer that is about to sleep at `position`: how long it may nap at most, without the bell, where
        /// that has stirred and stirred and brought nothing, or has hung up. `None` where the bell can be relied on.
        pub(crate) fn nap(&mut self, position: u64) -> Option<Duration> {
            if position != self.position {
                (self.position, self.vain_rings) = (position, 0);
            }
            let naps = self.vain_rings.checked_sub(VAIN_RINGS_MAX)?;
            Some(NAP_MIN * 2u32.pow(naps.min(NAP_DOUBLINGS_MAX)))
        }

        /// The bell has stirred, or a nap is over: in vain, unless the consumer moves on.
        pub(crate) fn note_ring(&mut self) {
            self.vain_rings = self.vain_rings.saturating_add(1);
        }

        /// Whether `fd` can be a bell of that kind.
        pub(crate) fn is_bell(kind: BellKind, fd: &OwnedFd) -> bool {
            match kind {
                BellKind::Eventfd => is_eventfd(fd),
                // Connected, as it then stays for good: one that listens would have others waiting in it.
                BellKind::Socketpair => {
                    sockopt::socket_domain(fd) == Ok(AddressFamily::UNIX)
                        && sockopt::socket_type(fd) == Ok(SocketType::SEQPACKET)
                        && getpeername(fd).is_ok()
                }
            }
        }

        /// Whether every ring can be waited for, also one on a bell that was not emptied: an eventfd tells of each, a
        /// socketpair takes no more once it is full.
        pub(crate) fn rings_by_edges(&self) -> bool {
            matches!(self.end, End::Eventfd(_))
        }

        /// Empties the bell; never blocks, whoever owns the other end.
        pub(crate) fn drain(&self) {
            match &self.end {
                End::Eventfd(fd) => {
                    // Whatever the file's status flags, which the producer shares: never block. The offset −1 stands
                    // for "where the file is" (preadv2(2)); an eventfd is nowhere else.
                    let mut count = [0u8; 8];
                    let _ = preadv2(fd, &mut [IoSliceMut::new(&mut count)], u64::MAX, ReadWriteFlags::NOWAIT);
                }
                End::Socketpair(socket) => {
                    for _ in 0..DRAIN_MAX {
                        match fds::recv_frame_without_fds(socket.as_fd(), &mut [0; 8]) {
                            Ok(_) => {}
                            Err(RecvFdsError::PayloadTruncated { received }) if received.fds.is_empty() => {}
                            // Empty, or at its end, or what follows is not to be touched.
                            Err(error) => {
                                return error.into_received().map_or((), |received| close_later(received.fds));
                            }
                        }
                    }
                }
            }
        }
    }

    impl AsFd for BellEnd {
        fn as_fd(&self) -> BorrowedFd<'_> {
            match &self.end {
                End::Eventfd(fd) => fd.as_fd(),
                End::Socketpair(socket) => socket.as_fd(),
            }
        }
    }

    /// Whether `fd` is an eventfd: by its name in /proc, or where that is not mounted by having no file type.
    fn is_eventfd(fd: &OwnedFd) -> bool {
        use std::os::fd::AsRawFd;
        match std::fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd())) {
            Ok(name) => name.as_os_str() == "anon_inode:[eventfd]",
            Err(_) => rustix::fs::fstat(fd).is_ok_and(|stat| stat.st_mode & 0o170_000 == 0),
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
