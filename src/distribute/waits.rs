//! The waits of a distributor: for room at its workers, for workers, for all of them to be done.
//!
//! The invariant: whatever a wait is for makes the descriptor readable that it sleeps on: each lane's own, which is
//! readable once its worker releases, comes or goes; the notice of new slots; a timer.
//!
//! A worker does not fence between a release and its look whether the distributor waits, as long as it has more to do.
//! So it may miss an announcement that was made in the very moment before, as this end may miss that release. A second
//! look under the same announcement, 10 ms later, finds it; every later release finds the announcement.
//!
//! What this file does not do: what is done about what has happened is the business of [`own_slots`](super::own_slots).

use super::plan::To;
use super::slots::Slots;
use super::{Distributor, TooFewWorkers};
use crate::deadline::Deadline;
use crate::error::{Error, Result};
use crate::info::ConsumerInfo;
use crate::os::interrupt::Interrupter;
use crate::os::poller::{Poller, Trigger};
use crate::os::timer::Timer;
use crate::producer::{Producer, SendError};
use crate::ring::sleep::SECOND_LOOK;
use rustix::fd::{AsFd, BorrowedFd};
use rustix::io::Errno;
use std::time::Duration;

/// The tokens of what is no lane.
const NEW_SLOTS: u64 = u64::MAX;
const INTERRUPT: u64 = u64::MAX - 1;
const TIMER: u64 = u64::MAX - 2;
/// How many descriptors the kernel names at once: which they are does not matter.
const EVENTS_MAX: usize = 16;

/// What a record is reserved for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Demand {
    pub(crate) to: To,
    pub(crate) len: usize,
}

/// What a distributor sleeps on.
#[derive(Debug)]
pub(super) struct WaitSources {
    poller: Poller,
    timer: Timer,
    spin: Duration,
}

impl WaitSources {
    pub(super) fn new(slots: &Slots, interrupter: Option<&Interrupter>, spin: Duration) -> Result<Self> {
        let watch = || {
            let poller = Poller::new()?;
            poller.add(&slots.notice, NEW_SLOTS, Trigger::Level)?;
            let timer = Timer::new()?;
            poller.add(&timer, TIMER, Trigger::Edge)?;
            if let Some(interrupter) = interrupter {
                poller.add(interrupter, INTERRUPT, Trigger::Level)?;
            }
            Ok((poller, timer))
        };
        let (poller, timer) = watch().map_err(Error::os::<Errno>("watch the lanes of a distributor"))?;
        Ok(Self { poller, timer, spin })
    }

    /// Watches the lane of a slot.
    pub(super) fn watch(&self, producer: &Producer, slot: usize) -> Result<(), SendError> {
        self.poller.add(producer, slot as u64, Trigger::Level).map_err(of_wait)
    }

    /// Sleeps until something happens, or until the deadline.
    fn sleep(&self, deadline: Deadline) -> Result<(), SendError> {
        match self.poller.wait::<EVENTS_MAX>(deadline.remaining()) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(errno) => Err(of_wait(errno)),
        }
    }

    /// Has the descriptor become readable then; never if there is no such time.
    fn set_timer(&self, deadline: Deadline) -> Result<(), SendError> {
        self.timer.set(deadline.remaining()).map_err(of_wait)
    }
}

impl Distributor {
    /// The slot for such a record, if one has room and enough workers are there by the last look, and that will do.
    #[inline(always)]
    pub(super) fn choose_by_last_look(&mut self, demand: Demand) -> Option<usize> {
        let may = self.own_slots.may_go_by_last_look(demand.to) && self.own_slots.worker_count() >= self.workers_min;
        if may { self.own_slots.choose(demand) } else { None }
    }

    /// The slot for such a record, if one has room now and enough workers are there.
    pub(super) fn find_room(&mut self, demand: Demand) -> Result<Option<usize>, SendError> {
        if let Some(slot) = self.choose_by_last_look(demand) {
            return Ok(Some(slot));
        }
        self.own_slots.settle(&self.waits)?;
        if self.is_short() { Ok(None) } else { Ok(self.own_slots.choose(demand)) }
    }

    /// Waits for room for such a record: its slot.
    #[cold]
    pub(super) fn wait_for_room(&mut self, demand: Demand, deadline: Deadline) -> Result<usize, SendError> {
        self.demand = Some(demand);
        if self.is_short() && self.too_few_workers == TooFewWorkers::Fail {
            return Err(self.too_few());
        }
        let found = match deadline {
            Deadline::Now => None,
            deadline => self.wait_until(deadline, |this| this.find_room(demand))?,
        };
        found.ok_or_else(|| match deadline {
            _ if self.is_short() => self.too_few(),
            Deadline::Now => SendError::Full { consumer: self.slowest() },
            _ => SendError::TimedOut { consumer: self.slowest() },
        })
    }

    /// Waits until at least `count` workers are there.
    ///
    /// There is no form with a deadline. If several calls share one, pass the rest of it as `timeout`:
    /// `deadline.saturating_duration_since(Instant::now())`.
    ///
    /// ```
    /// # use fdring::distribute::{Distributor, Worker};
    /// # use std::time::Duration;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut distributor = Distributor::listen("@doc-distributor-wait-for-workers")?;
    /// let worker = Worker::connect("@doc-distributor-wait-for-workers")?;
    /// distributor.wait_for_workers(1, Duration::from_secs(60))?;
    /// # drop(worker);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`SendError::TooFewConsumers`] if fewer are there after `timeout`
    /// - [`SendError::Interrupted`] if an [`Interrupter`] ended the wait
    /// - [`SendError::Wait`] if the kernel did not let this thread wait
    /// - [`SendError::Forked`] in a forked child
    pub fn wait_for_workers(&mut self, count: usize, timeout: Duration) -> Result<(), SendError> {
        self.check_fork()?;
        let found = self.wait_until(Deadline::after(timeout), |this| this.look_for_workers(count))?;
        let there = self.own_slots.worker_count();
        found.ok_or(SendError::TooFewConsumers { there, wanted: count, gone: None })
    }

    /// Waits until every record that was sent is released or set aside. None of them has to be sent again then, even if
    /// this process dies.
    ///
    /// There is no form with a deadline. If several calls share one, pass the rest of it as `timeout`:
    /// `deadline.saturating_duration_since(Instant::now())`.
    ///
    /// ```
    /// # use fdring::distribute::{Distributor, To, Worker};
    /// # use std::time::Duration;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut distributor = Distributor::listen("@doc-distributor-wait-released")?;
    /// # let mut worker = Worker::connect("@doc-distributor-wait-released")?;
    /// # let worker = std::thread::spawn(move || while worker.receive().unwrap().is_some() {});
    /// distributor.send(To::MostRoom, b"part 1 of 2")?;
    /// distributor.wait_released(Duration::from_secs(60))?;
    /// println!("part 1 is done");
    /// distributor.send(To::MostRoom, b"part 2 of 2")?;
    /// # drop(distributor);
    /// # worker.join().unwrap();
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`SendError::TimedOut`] if not all is released after `timeout`; it names the worker with the most unreleased
    ///   bytes
    /// - [`SendError::Interrupted`] if an [`Interrupter`] ended the wait
    /// - [`SendError::Wait`] if the kernel did not let this thread wait
    /// - [`SendError::Forked`] in a forked child
    pub fn wait_released(&mut self, timeout: Duration) -> Result<(), SendError> {
        self.check_fork()?;
        let is_done = self.wait_until(Deadline::after(timeout), Self::is_done)?;
        is_done.ok_or_else(|| SendError::TimedOut { consumer: self.slowest() })
    }

    /// Waits until every record is released or set aside, then finishes the lanes of all workers.
    ///
    /// Meanwhile workers may come and go. If a worker goes, its records are given to others.
    /// To learn of records that are set aside, call [`wait_released`](Self::wait_released) first, and then
    /// [`try_next_event`](Self::try_next_event) until it returns `None`.
    ///
    /// There is no form with a deadline. If several calls share one, pass the rest of it as `timeout`:
    /// `deadline.saturating_duration_since(Instant::now())`.
    ///
    /// ```
    /// # use fdring::{distribute::{Distributor, To, Worker}, errors::SendError};
    /// # use std::time::Duration;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut distributor = Distributor::listen("@doc-distributor-finish-and-wait")?;
    /// let worker = Worker::connect("@doc-distributor-finish-and-wait")?; // and does nothing
    /// distributor.send(To::MostRoom, b"work")?;
    /// match distributor.finish_and_wait(Duration::from_millis(10)) {
    ///     Err(SendError::Unread { consumers }) => assert_eq!(consumers[0].behind_bytes, 16),
    ///     outcome => outcome?,
    /// }
    /// # drop(worker);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`SendError::Unread`] if not all is released after `timeout`: it names the workers, including
    ///   workers that have gone, and their bytes
    /// - [`SendError::Interrupted`] if an [`Interrupter`] ended the wait
    /// - [`SendError::Wait`] if the kernel did not let this thread wait
    /// - [`SendError::Forked`] in a forked child
    ///
    /// The lanes are finished in each case except the last.
    pub fn finish_and_wait(mut self, timeout: Duration) -> Result<(), SendError> {
        self.check_fork()?;
        let is_done = self.wait_until(Deadline::after(timeout), Self::is_done)?;
        is_done.ok_or_else(|| {
            let workers = self.own_slots.workers();
            let consumers = workers.into_iter().filter(|worker| worker.unreleased_records != 0);
            SendError::Unread { consumers: consumers.map(|worker| worker.consumer).collect() }
        })
    }

    /// Prepares a wait in the caller's event loop: poll(2), epoll(7), or anything that watches descriptors.
    ///
    /// 1. Call [`try_send`](Self::try_send), or another form that does not wait, until it returns [`SendError::Full`]
    ///    or [`SendError::TooFewConsumers`]; and [`try_next_event`](Self::try_next_event) until it returns `None`.
    /// 2. Call `arm`. `false` means that there is news: go to 1.
    /// 3. Wait until the distributor's descriptor ([`AsFd`]) is readable. Watch it level-triggered.
    /// 4. Go to 1.
    ///
    /// There is news if the record of the last call has room now, or if there is an event. Run this loop even while
    /// there is nothing to send: records of workers that have gone are then given to others in time.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let mut distributor = fdring::distribute::Distributor::listen("@doc-distributor-arm")?;
    /// assert!(distributor.arm()?); // now wait for its descriptor
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`SendError::Interrupted`] if there is no news, and an [`Interrupter`] has ended all waits
    /// - [`SendError::Wait`] if the kernel cannot watch the bell of a worker
    /// - [`SendError::Forked`] in a forked child
    pub fn arm(&mut self) -> Result<bool, SendError> {
        self.check_fork()?;
        self.announce()?;
        let is_second_look = self.second_look.has_passed();
        let has_room = match self.demand {
            Some(demand) => self.find_room(demand)?.is_some(),
            None => self.own_slots.settle(&self.waits).map(|()| false)?,
        };
        if has_room || self.own_slots.has_events() || self.announced != self.own_slots.slot_count() {
            self.disarm();
            return Ok(false);
        }
        if self.is_interrupted() {
            return Err(SendError::Interrupted);
        }
        self.note_look(is_second_look);
        self.set_timer()?;
        Ok(true)
    }

    /// Has the descriptor become readable when something is to be done, or to be looked at once more.
    pub(super) fn set_timer(&self) -> Result<(), SendError> {
        self.waits.set_timer(self.next_due().min(self.second_look))
    }

    /// Whether fewer workers are there than are needed.
    pub(super) fn is_short(&self) -> bool {
        self.own_slots.worker_count() < self.workers_min
    }

    /// Waits until `look` finds something; `None` at the deadline. It looks after everything that has happened.
    fn wait_until<T>(
        &mut self,
        deadline: Deadline,
        mut look: impl FnMut(&mut Self) -> Result<Option<T>, SendError>,
    ) -> Result<Option<T>, SendError> {
        let (mut spins, spin) = (std::mem::take(&mut self.spins), self.waits.spin);
        let found = spins.spin_until(spin, deadline, |_| look(self).transpose());
        self.spins = spins;
        if let Some(found) = found {
            self.disarm_if_armed();
            return found.map(Some);
        }
        let outcome = self.sleep_until(deadline, look);
        self.disarm();
        outcome
    }

    fn sleep_until<T>(
        &mut self,
        deadline: Deadline,
        mut look: impl FnMut(&mut Self) -> Result<Option<T>, SendError>,
    ) -> Result<Option<T>, SendError> {
        loop {
            if let Some(found) = self.announce_and_look(&mut look)? {
                return Ok(Some(found));
            }
            if deadline.has_passed() {
                return Ok(None);
            }
            self.waits.sleep(deadline.min(self.next_due()).min(self.second_look))?;
        }
    }

    /// What `look` finds. `None` says that whatever comes after that makes the descriptor readable.
    pub(super) fn announce_and_look<T>(
        &mut self,
        mut look: impl FnMut(&mut Self) -> Result<Option<T>, SendError>,
    ) -> Result<Option<T>, SendError> {
        loop {
            self.announce()?;
            let is_second_look = self.second_look.has_passed();
            // After the announcement: what comes later makes the descriptor readable.
            if let Some(found) = look(self)? {
                return Ok(Some(found));
            }
            if self.is_interrupted() {
                return Err(SendError::Interrupted);
            }
            self.note_look(is_second_look);
            // A slot that has come meanwhile, and perhaps got something, is announced to next.
            if self.announced == self.own_slots.slot_count() {
                return Ok(None);
            }
        }
    }

    pub(crate) fn is_done(&mut self) -> Result<Option<()>, SendError> {
        self.own_slots.settle(&self.waits)?;
        Ok(self.own_slots.is_done().then_some(()))
    }

    /// Whether at least `count` workers are there.
    pub(crate) fn look_for_workers(&mut self, count: usize) -> Result<Option<()>, SendError> {
        self.own_slots.settle(&self.waits)?;
        Ok((self.own_slots.worker_count() >= count).then_some(()))
    }

    /// Has whatever happens from now on make the descriptor readable.
    fn announce(&mut self) -> Result<(), SendError> {
        let stands = std::mem::replace(&mut self.is_armed, true);
        // If it fails at one of the lanes, nothing is announced at any: so the next one looks a second time at all.
        let announced = self.own_slots.announce().inspect_err(|_| self.disarm())?;
        if std::mem::replace(&mut self.announced, announced) != announced || !stands {
            self.second_look = Deadline::after(SECOND_LOOK);
        }
        Ok(())
    }

    /// Nothing was found, by the second look under this announcement or by another one.
    fn note_look(&mut self, is_second: bool) {
        if is_second {
            self.second_look = Deadline::Never;
        }
    }

    /// Takes the announcement back, if there is one.
    pub(super) fn disarm_if_armed(&mut self) {
        if self.is_armed {
            self.disarm();
        }
    }

    /// Takes the announcement back.
    pub(super) fn disarm(&mut self) {
        self.is_armed = false;
        self.own_slots.disarm();
    }

    fn next_due(&self) -> Deadline {
        self.own_slots.next_due().map_or(Deadline::Never, Deadline::At)
    }

    fn is_interrupted(&self) -> bool {
        self.interrupter.as_ref().is_some_and(Interrupter::is_interrupted)
    }

    pub(super) fn too_few(&self) -> SendError {
        let gone = self.slowest().filter(|worker| worker.is_gone);
        SendError::TooFewConsumers { there: self.own_slots.worker_count(), wanted: self.workers_min, gone }
    }

    /// Who has most.
    fn slowest(&self) -> Option<Box<ConsumerInfo>> {
        let workers = self.own_slots.workers().into_iter().map(|worker| worker.consumer);
        workers.max_by_key(|worker| worker.behind_bytes).map(Box::new)
    }
}

impl AsFd for Distributor {
    /// The descriptor to wait for, see [`arm`](Self::arm).
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.waits.poller.as_fd()
    }
}

fn of_wait(errno: Errno) -> SendError {
    SendError::Wait(errno.raw_os_error())
}
