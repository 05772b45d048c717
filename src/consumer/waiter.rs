//! What a sleeping consumer waits on, behind one descriptor: its bell, its session's socket, the producer's process.
//!
//! A wait is three steps: [`arm`](Waiter::arm) announces it and looks again, [`park`](Waiter::park) sleeps, and
//! [`disarm`](Waiter::disarm) takes the announcement back. Callers with a loop of their own arm by
//! [`arm_elsewhere`](Waiter::arm_elsewhere), and wait until the descriptor is readable.
//!
//! The bell is watched for its edges: each ring is one, whether or not the one before was taken (epoll(7)). So every
//! event that was harvested leaves the descriptor unreadable, and nothing need be taken from the bell.
//!
//! The invariant: once armed, the descriptor becomes readable if anything happens that a blocking call would have
//! returned for. [`ring::sleep`](crate::ring::sleep), which the models run, keeps what was announced and what must be
//! announced anew.
//!
//! What this file does not do: it reads no record.

use crate::crash;
use crate::deadline::{Deadline, timespec};
use crate::link::{Fate, Link};
use crate::os::bell::BellEnd;
use crate::os::interrupt::Interrupter;
use crate::os::poller::{Poller, Ready, Trigger};
use crate::os::timer::Timer;
use crate::os::vain::VainRings;
use crate::ring::sleep::{Announcement, Armed, SECOND_LOOK, Sleeps, TAP_LOOKS, Waits, Wakeups};
use crate::terms::Barrier;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::{AsFd, BorrowedFd};
use rustix::io::Errno;
use std::mem;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The source of an event.
const SOCKET: u64 = 0;
const PROCESS: u64 = 1;
const BELL: u64 = 2;
const TIMER: u64 = 3;
const EVICTION: u64 = 4;
const INTERRUPT: u64 = 5;
const EVENTS_MAX: usize = 6;

/// How often one that polls its descriptors one by one looks whether another lane's consumer has heard news for it.
const EVICTION_LOOK_INTERVAL: Duration = Duration::from_millis(100);
/// How often the producer's process is looked at if the kernel gives no pidfd for it.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// What ended a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Woken {
    ByBell,
    /// The time is up, and nothing else happened.
    ByTime,
    /// Anything else: a signal, say, or something in the session.
    Otherwise,
}

/// The outcome of announcing a wait.
enum Arm {
    /// There is something to see.
    News,
    /// There is nothing to see: the wait may begin, and lasts this long at most.
    Sleep { at_most: Option<Duration> },
}

/// What a consumer waits on, and what it has announced.
#[derive(Debug)]
pub(super) struct Waiter {
    sources: Sources,
    barrier: Barrier,
    announcement: Announcement,
    /// The waits after an announcement that end with a look all the same.
    short_waits: &'static [Duration],
    /// How many of them are still to come.
    looks_due: usize,
    /// How often a wait was announced and nothing was there.
    times_slept: u64,
}

impl Waiter {
    /// Watches `bell` and the session.
    ///
    /// # Errors
    ///
    /// If there is no descriptor to spare.
    pub(super) fn new(link: Arc<Link>, bell: BellEnd, barrier: Barrier) -> rustix::io::Result<Self> {
        let sources = Sources::new(link, bell)?;
        let short_waits: &[Duration] = if barrier == Barrier::Asymmetric { &[SECOND_LOOK] } else { &[] };
        Ok(Self { sources, barrier, announcement: Announcement::None, short_waits, looks_due: 0, times_slept: 0 })
    }

    /// The same for a tap: its producer makes no fence for it, and may leave out rings.
    pub(super) fn of_tap(self) -> Self {
        Self { short_waits: &TAP_LOOKS, ..self }
    }

    /// Has an interrupter end the waits.
    pub(super) fn watch_interrupter(&mut self, interrupter: &Interrupter) -> rustix::io::Result<()> {
        self.sources.watch_interrupter(interrupter)
    }

    /// Makes the timer of [`arm_elsewhere`](Self::arm_elsewhere) now, for one that arms while the descriptor table is
    /// full.
    ///
    /// # Errors
    ///
    /// If there is no descriptor to spare.
    pub(super) fn with_timer(mut self) -> rustix::io::Result<Self> {
        self.sources.timer = match self.sources.watch.poller().map(watched_timer) {
            Some(Err(error)) if is_shortage(error) => return Err(error),
            timer => timer.and_then(Result::ok),
        };
        Ok(self)
    }

    pub(super) fn interrupter(&self) -> Option<&Interrupter> {
        self.sources.interrupter.as_ref()
    }

    /// Whether waits end now.
    pub(super) fn is_interrupted(&self) -> bool {
        self.sources.interrupter.as_ref().is_some_and(Interrupter::is_interrupted)
    }

    /// From now on waits are naps: nobody knows of this reader, and nobody rings for it.
    pub(super) fn expect_no_rings(&mut self) {
        self.sources.is_rung = false;
    }

    /// How the session stands, as far as is known.
    #[inline]
    pub(super) fn fate(&self) -> Fate {
        self.sources.link.fate()
    }

    /// The session.
    pub(super) fn link(&self) -> &Link {
        &self.sources.link
    }

    /// How often a wait was announced and nothing was there.
    pub(super) fn times_slept(&self) -> u64 {
        self.times_slept
    }

    /// Whether the bell is left out, and naps take its place.
    pub(super) fn naps(&self) -> bool {
        self.sources.vain_rings.length().is_some()
    }

    /// Announces a wait and looks again; whether to [`park`](Self::park).
    pub(super) fn arm(&mut self, reader: &mut impl Sleeps) -> bool {
        matches!(self.announce(reader, Waits::Here), Arm::Sleep { .. })
    }

    /// Like [`arm`](Self::arm), for a caller that waits elsewhere until [`as_fd`](Self::as_fd) is readable. A timer
    /// makes it readable if a second look is due, if the bell is of no use, and after `limit`, which is no shorter than
    /// [`SECOND_LOOK`].
    pub(super) fn arm_elsewhere(
        &mut self,
        reader: &mut impl Sleeps,
        limit: Option<Duration>,
    ) -> rustix::io::Result<bool> {
        let Arm::Sleep { at_most } = self.announce(reader, Waits::Elsewhere) else { return Ok(false) };
        let look_in = self.sources.look_at.map(|_| LOOK_INTERVAL);
        let at_most = [at_most, look_in, limit].into_iter().flatten().min();
        self.sources.set_timer(at_most)?;
        // The timer is set for it and goes off in any case.
        self.looks_due = self.looks_due.saturating_sub(1);
        Ok(true)
    }

    /// Sleeps until there is something to see, the bell rings, the deadline passes, or an interrupter ends the waits.
    #[cold]
    pub(super) fn sleep(&mut self, reader: &mut impl Sleeps, deadline: Deadline) -> rustix::io::Result<()> {
        let mut outcome = Ok(());
        while self.arm(reader) && !deadline.has_passed() && !self.is_interrupted() {
            match self.park(deadline) {
                Ok(Woken::ByBell) => {
                    self.note_ring(reader);
                    break;
                }
                // A signal, an interrupt, something in the session, or the time of the second look: arming looks again.
                Ok(Woken::ByTime | Woken::Otherwise) => {}
                Err(error) => {
                    outcome = Err(error);
                    break;
                }
            }
        }
        self.disarm(reader);
        crash::point!("consumer-awake");
        outcome
    }

    /// Announces a wait and looks again.
    fn announce(&mut self, reader: &mut impl Sleeps, waits: Waits) -> Arm {
        let nap = self.sources.nap(reader.position());
        self.sources.watch_bell(nap.is_none());
        let armed = self.announcement.arm(reader, self.barrier, &mut self.sources, waits);
        crash::point!("consumer-sleep-announced");
        match armed {
            Armed::No => return Arm::News,
            Armed::Newly => {
                self.looks_due = self.short_waits.len();
                self.times_slept += 1;
            }
            Armed::Still => {}
        }
        Arm::Sleep { at_most: nap.or(self.short_wait()) }
    }

    /// How long the next wait lasts at most, if a look is due after it.
    fn short_wait(&self) -> Option<Duration> {
        self.short_waits.len().checked_sub(self.looks_due).and_then(|made| self.short_waits.get(made)).copied()
    }

    /// Sleeps until something happens: the bell rings, the session changes, a signal comes, the deadline passes, or it
    /// is time to look again.
    pub(super) fn park(&mut self, deadline: Deadline) -> rustix::io::Result<Woken> {
        let nap = self.sources.vain_rings.length();
        crash::asleep!("consumer-asleep");
        let limits = [nap.or_else(|| self.short_wait()), deadline.remaining()];
        let woken = self.sources.wait(limits.into_iter().flatten().min());
        crash::point!("consumer-woken");
        if nap.is_some() {
            self.sources.vain_rings.note();
        } else if matches!(woken, Ok(Woken::ByTime)) {
            // Only then has it waited that long: a signal may have come at once.
            self.looks_due = self.looks_due.saturating_sub(1);
        }
        woken
    }

    /// The bell rang: it does not ring again for the announcement that it rang for.
    pub(super) fn note_ring(&mut self, reader: &impl Sleeps) {
        self.announcement.note_ring(reader.seat());
    }

    /// Takes the announcement back, if one stands: the consumer is awake.
    #[inline]
    pub(super) fn disarm(&mut self, reader: &impl Sleeps) {
        self.announcement.disarm(reader.seat());
    }

    /// Takes the events that have come, without waiting: above all, the end of the session.
    pub(super) fn harvest(&mut self, reader: &impl Sleeps) {
        if self.sources.harvest() {
            self.note_ring(reader);
        }
    }
}

impl AsFd for Waiter {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self.sources.watch.poller() {
            Some(poller) => poller.as_fd(),
            None => self.sources.link.sign(),
        }
    }
}

/// The descriptors.
#[derive(Debug)]
pub(super) struct Sources {
    /// Waits for the others.
    watch: Watch,
    bell: BellEnd,
    is_bell_watched: bool,
    /// Whether anybody rings the bell.
    is_rung: bool,
    vain_rings: VainRings,
    link: Arc<Link>,
    interrupter: Option<Interrupter>,
    /// Made when first needed, or before by [`Waiter::with_timer`].
    timer: Option<Timer>,
    /// When to look whether the producer's process lives; `None` if its pidfd tells.
    look_at: Option<Instant>,
}

/// How several descriptors are waited for.
#[derive(Debug)]
enum Watch {
    Together(Poller),
    /// One by one: without a poller if that is forbidden (seccomp(2)), or with one that can no longer be waited for.
    /// Such a poller is kept, because the caller may be watching its descriptor.
    OneByOne(Option<Poller>),
}

impl Watch {
    fn poller(&self) -> Option<&Poller> {
        match self {
            Self::Together(poller) => Some(poller),
            Self::OneByOne(poller) => poller.as_ref(),
        }
    }

    fn is_one_by_one(&self) -> bool {
        matches!(self, Self::OneByOne(_))
    }

    /// Waits one by one from now on.
    fn fall_back(&mut self) {
        *self = match mem::replace(self, Self::OneByOne(None)) {
            Self::Together(poller) | Self::OneByOne(Some(poller)) => Self::OneByOne(Some(poller)),
            Self::OneByOne(None) => Self::OneByOne(None),
        };
    }
}

impl Sources {
    pub(super) fn new(link: Arc<Link>, bell: BellEnd) -> rustix::io::Result<Self> {
        let watch = || {
            let poller = Poller::new()?;
            if let Some(socket) = link.socket() {
                poller.add(socket, SOCKET, Trigger::Level)?;
            }
            if let Some(pidfd) = link.pidfd() {
                poller.add(pidfd, PROCESS, Trigger::Level)?;
            }
            poller.add(&bell, BELL, Trigger::Edge)?;
            if let Some(notice) = link.eviction_notice() {
                poller.add(notice, EVICTION, Trigger::Edge)?;
            }
            Ok(poller)
        };
        let watch = match watch() {
            Ok(poller) => Watch::Together(poller),
            Err(error) if is_shortage(error) => return Err(error),
            Err(_) => Watch::OneByOne(None),
        };
        let is_bell_watched = !watch.is_one_by_one() || !bell.stays_readable();
        let look_at = link.must_look().then(|| Instant::now() + LOOK_INTERVAL);
        let (is_rung, vain_rings, interrupter, timer) = (true, VainRings::default(), None, None);
        Ok(Self { watch, bell, is_bell_watched, is_rung, vain_rings, link, interrupter, timer, look_at })
    }

    fn watch_interrupter(&mut self, interrupter: &Interrupter) -> rustix::io::Result<()> {
        if let Some(poller) = self.watch.poller() {
            poller.add(interrupter, INTERRUPT, Trigger::Level)?;
        }
        self.interrupter = Some(interrupter.clone());
        Ok(())
    }

    /// How long to nap without the bell, if it is of no use, for a consumer at `position`.
    fn nap(&mut self, position: u64) -> Option<Duration> {
        let nap = self.vain_rings.nap(position);
        if self.is_rung && (!self.watch.is_one_by_one() || !self.bell.stays_readable()) {
            return nap;
        }
        // Polled for what is in it, it would end every wait; and one that nobody rings ends none.
        self.vain_rings.give_up();
        self.vain_rings.length()
    }

    /// Watches the bell, or leaves it out.
    fn watch_bell(&mut self, watch: bool) {
        if self.is_bell_watched == watch {
            return;
        }
        let is_added = match self.watch.poller() {
            Some(poller) if watch => poller.add(&self.bell, BELL, Trigger::Edge).is_ok(),
            Some(poller) => {
                poller.remove(&self.bell);
                true
            }
            None => true,
        };
        if !is_added {
            self.watch.fall_back();
        }
        self.is_bell_watched = watch;
    }

    /// Makes the descriptor readable after `limit`.
    fn set_timer(&mut self, limit: Option<Duration>) -> rustix::io::Result<()> {
        let Watch::Together(poller) = &self.watch else { return Err(Errno::PERM) };
        // A timer that is set already goes off as it was set: the look is due then.
        let Some(limit) = limit else { return Ok(()) };
        let timer = match &self.timer {
            Some(timer) => timer,
            None => self.timer.insert(watched_timer(poller)?),
        };
        timer.set(Some(limit))
    }

    /// Waits for an event, and takes those that have come.
    pub(super) fn wait(&mut self, timeout: Option<Duration>) -> rustix::io::Result<Woken> {
        let timeout = timeout.into_iter().chain(self.look_at.map(|_| LOOK_INTERVAL)).min();
        let outcome = match &self.watch {
            Watch::Together(poller) => poller.wait(timeout),
            Watch::OneByOne(_) => self.wait_singly(timeout),
        };
        if self.look_at.is_some_and(|at| Instant::now() >= at) {
            self.link.look_at_process();
            self.look_at = Some(Instant::now() + LOOK_INTERVAL);
        }
        match outcome {
            Ok(ready) => Ok(self.take(&ready)),
            Err(Errno::INTR) => Ok(Woken::Otherwise),
            // Forbidden, say: from now on they are polled one by one.
            Err(_) if !self.watch.is_one_by_one() => {
                self.watch.fall_back();
                Ok(Woken::Otherwise)
            }
            Err(error) => Err(error),
        }
    }

    /// Handles what has happened in the session and to the bell.
    fn take(&mut self, ready: &Ready<EVENTS_MAX>) -> Woken {
        if ready.has(SOCKET) {
            self.link.receive_frames();
        }
        if ready.has(PROCESS) {
            self.link.note_death();
        }
        if ready.has(TIMER) && !self.is_bell_watched {
            // A nap is over.
            self.vain_rings.note();
        }
        if ready.has(BELL) {
            // Watched for its edges, it need not be emptied.
            if self.watch.is_one_by_one() {
                self.bell.take_rings();
            }
            self.vain_rings.note();
            return Woken::ByBell;
        }
        if ready.is_empty() { Woken::ByTime } else { Woken::Otherwise }
    }

    /// Like [`Poller::wait`], without an epoll descriptor.
    fn wait_singly(&self, timeout: Option<Duration>) -> rustix::io::Result<Ready<EVENTS_MAX>> {
        let bell = self.is_bell_watched.then_some((BELL, self.bell.as_fd()));
        let pidfd = self.link.pidfd().map(|pidfd| (PROCESS, pidfd));
        let interrupt = self.interrupter.as_ref().map(|interrupter| (INTERRUPT, interrupter.as_fd()));
        let socket = self.link.socket().map(|socket| (SOCKET, socket));
        let sources = [socket, pidfd, bell, interrupt];
        let sources = sources.into_iter().flatten();
        let mut waits: Vec<_> = sources.clone().map(|(_, fd)| PollFd::from_borrowed_fd(fd, PollFlags::IN)).collect();
        let eviction_look_due = self.link.eviction_notice().map(|_| EVICTION_LOOK_INTERVAL);
        let timeout = [timeout, eviction_look_due].into_iter().flatten().min();
        poll(&mut waits, timeout.map(timespec).as_ref())?;
        let is_ready = waits.iter().map(|wait| !wait.revents().is_empty());
        Ok(sources.zip(is_ready).filter_map(|((token, _), is_ready)| is_ready.then_some(token)).collect())
    }
}

/// Whether there may be enough another time. Any other error is for good: it is forbidden, say (seccomp(2)).
fn is_shortage(error: Errno) -> bool {
    matches!(error, Errno::MFILE | Errno::NFILE | Errno::NOSPC | Errno::NOMEM)
}

fn watched_timer(poller: &Poller) -> rustix::io::Result<Timer> {
    let timer = Timer::new()?;
    poller.add(&timer, TIMER, Trigger::Edge)?;
    Ok(timer)
}

impl Wakeups for Sources {
    fn harvest(&mut self) -> bool {
        matches!(self.wait(Some(Duration::ZERO)), Ok(Woken::ByBell))
    }

    fn session_is_over(&self) -> bool {
        self.link.fate() != Fate::Alive
    }
}
