//! Work sharing: one producer that gives each record to one of its workers, which come and go.
//!
//! The invariant: each record that was sent is released by a worker at least once, or set aside and reported; by
//! exactly one if none died or was evicted (invariant 25).

mod assignment;
mod ends;
mod event;
mod options;
mod own_slots;
pub(crate) mod plan;
mod slots;
#[cfg(feature = "tokio")]
mod task;
mod waits;
mod worker;

pub use assignment::Assignment;
pub use event::{Departure, DistributorStats, Event, SetAside};
pub use options::{DistributorOptions, TooFewWorkers};
pub use plan::To;
pub use worker::{Task, Worker, WorkerStats};

#[cfg(feature = "tokio")]
pub(crate) use waits::Demand;

use crate::deadline::Deadline;
use crate::error::Result;
use crate::info::{ConsumerInfo, ServerStats};
use crate::os::fork::ForkGuard;
use crate::os::interrupt::Interrupter;
use crate::os::spin::Spins;
use crate::producer::{Records, SendError};
use crate::session::Address;
use crate::session::assigning::AssigningServer;
use own_slots::OwnSlots;
use slots::Slots;
use std::sync::Arc;
use std::time::{Duration, Instant};
#[cfg(not(feature = "tokio"))]
use waits::Demand;
use waits::WaitSources;

/// A producer that listens for workers, and gives each record to one of them.
///
/// Each worker has a *slot*: a lane of its own. A worker that goes, by leaving, dying or being evicted, leaves the
/// records that it had not released in its slot. The next worker that connects goes on with them; if none comes in
/// time, they are given to the others, before anything new. So each record is worked on *at least once*, and exactly
/// once if no worker died or was evicted. Repeating a piece of work must do no harm.
///
/// Calls that send wait while no worker is there or none has room. The distributor acts only while one of its methods
/// runs: between calls it gives nobody the records of a worker that has gone, though a worker that connects still goes
/// on with what its slot has kept.
///
/// Workers connect by [`Worker::connect`]; a plain [`Consumer`](crate::Consumer) works too.
///
/// ```
/// use fdring::distribute::{Distributor, To, Worker};
/// use std::time::Duration;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut distributor = Distributor::listen("@doc-distributor")?;
///
/// // Usually other processes:
/// let workers: Vec<_> = (0..3)
///     .map(|_| {
///         let mut worker = Worker::connect("@doc-distributor").unwrap();
///         std::thread::spawn(move || {
///             let mut sum = 0;
///             while let Some(record) = worker.receive().unwrap() {
///                 sum += u32::from(record[0]);
///             }
///             sum
///         })
///     })
///     .collect();
///
/// for number in 0..100_u8 {
///     distributor.send(To::MostRoom, &[number])?;
/// }
/// distributor.finish_and_wait(Duration::from_secs(60))?;
/// let sum: u32 = workers.into_iter().map(|worker| worker.join().unwrap()).sum();
/// assert_eq!(sum, (0..100).sum());
/// # Ok(())
/// # }
/// ```
///
/// Dropping it finishes all lanes and stops listening. Workers read what is in their slots; the records in slots
/// without a worker are lost. [`finish_and_wait`](Self::finish_and_wait) waits until every record is done.
#[derive(Debug)]
#[must_use = "dropping a distributor ends the lanes of its workers; keep it in a variable"]
#[doc(alias("load_balancer", "pool", "work_queue"))]
pub struct Distributor {
    own_slots: OwnSlots,
    waits: WaitSources,
    server: AssigningServer,
    spins: Spins,
    interrupter: Option<Interrupter>,
    workers_min: usize,
    too_few_workers: TooFewWorkers,
    payload_max: usize,
    /// What the last call had no room for.
    demand: Option<Demand>,
    /// Whether workers ring for what they release: [`arm`](Self::arm) has returned true.
    is_armed: bool,
    /// The number of lanes that they were told so on.
    announced: usize,
    /// When to look once more under this announcement: see [`waits`].
    second_look: Deadline,
    guard: ForkGuard,
}

/// A slot with a worker, or with records that wait for one. [`Distributor::workers`] lists them.
///
/// ```
/// # use fdring::distribute::{Distributor, To, Worker};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let mut distributor = Distributor::listen("@doc-worker-info")?;
/// # let worker = Worker::connect("@doc-worker-info")?;
/// distributor.send(To::MostRoom, b"work")?;
/// for worker in distributor.workers() {
///     let consumer = &worker.consumer;
///     println!("{}: process {:?} has {} records", worker.slot, consumer.pid, worker.unreleased_records);
///     assert_eq!((worker.unreleased_records, consumer.behind_bytes, consumer.is_gone), (1, 16, false));
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct WorkerInfo {
    /// The number of the slot, from 0.
    pub slot: usize,
    /// The records that were given to it and are not released.
    pub unreleased_records: usize,
    /// The worker: who it is, how many bytes it has not released, since when. If it has gone,
    /// [`is_gone`](ConsumerInfo::is_gone) is true.
    pub consumer: ConsumerInfo,
}

impl Distributor {
    /// Listens at `address` with the default [`DistributorOptions`].
    ///
    /// ```
    /// # use fdring::distribute::Distributor;
    /// # fn main() -> fdring::Result<()> {
    /// let mut distributor = Distributor::listen("@doc-distributor-listen")?;
    /// assert_eq!(distributor.worker_count(), 0);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`Error::AddressInUse`](crate::Error::AddressInUse) if a living process serves this address
    /// - [`Error::Invalid`](crate::Error::Invalid) if the address is out of range, or the path belongs to something
    ///   other than a socket
    /// - [`Error::Os`](crate::Error::Os) if a system call fails, or the system is short of memory or descriptors
    /// - [`Error::Forked`](crate::Error::Forked) in a forked child of a process that has used this library
    pub fn listen(address: impl Into<Address>) -> Result<Self> {
        DistributorOptions::new().listen(address)
    }

    fn with(options: DistributorOptions, address: Address) -> Result<Self> {
        let guard = ForkGuard::get()?;
        let memory = usize::try_from(options.memory_max / options.lane.capacity_given().max(1)).unwrap_or(usize::MAX);
        let (slots_max, limit) =
            if memory < options.workers_max { (memory, "memory_max") } else { (options.workers_max, "workers_max") };
        let slots = Arc::new(Slots::new(options.lane.clone(), (slots_max, limit), options.deaths_max)?);
        let waits = WaitSources::new(&slots, options.interrupter.as_ref(), options.lane.spin_duration())?;
        let mut own_slots = OwnSlots::new(Arc::clone(&slots), &options);
        own_slots.settle(&waits).map_err(own_slots::of_setup)?;
        // As many as there are slots: one that comes while all are taken waits for a worker that is leaving.
        let server = options.server.sessions_max(slots_max.max(1)).listen_assigning(address, slots)?;
        Ok(Self {
            payload_max: own_slots.payload_max(),
            own_slots,
            waits,
            server,
            spins: Spins::default(),
            interrupter: options.interrupter,
            workers_min: options.workers_min,
            too_few_workers: options.too_few_workers,
            demand: None,
            is_armed: false,
            announced: 0,
            second_look: Deadline::Never,
            guard,
        })
    }

    /// Sends a record to one worker. Waits until a worker has room.
    ///
    /// ```
    /// # use fdring::distribute::{Distributor, To, Worker};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut distributor = Distributor::listen("@doc-distributor-send")?;
    /// # let worker = Worker::connect("@doc-distributor-send")?;
    /// distributor.send(To::MostRoom, b"resize image 7")?;
    /// distributor.send(To::Key(42), b"account 42: deposit 10")?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`SendError::TooLong`] if `payload` is longer than [`payload_max`](Self::payload_max)
    /// - [`SendError::TooFewConsumers`] if too few workers are there, with [`TooFewWorkers::Fail`]
    /// - [`SendError::Interrupted`] if an [`Interrupter`] ended the wait
    /// - [`SendError::Wait`] if the kernel does not let this thread wait
    /// - [`SendError::Forked`] in a forked child
    #[inline]
    pub fn send(&mut self, to: To, payload: &[u8]) -> Result<(), SendError> {
        self.send_until(to, payload, Deadline::Never)
    }

    /// Like [`send`](Self::send), but never waits.
    ///
    /// ```
    /// # use fdring::{distribute::{Distributor, To}, errors::SendError};
    /// # fn main() -> fdring::Result<()> {
    /// let mut distributor = Distributor::listen("@doc-distributor-try-send")?;
    /// let error = distributor.try_send(To::MostRoom, b"work").unwrap_err();
    /// assert!(matches!(error, SendError::TooFewConsumers { .. })); // nobody is there
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`SendError::TooLong`] if `payload` is longer than [`payload_max`](Self::payload_max)
    /// - [`SendError::Full`] if no worker that may get the record has room, or records that were taken back wait for
    ///   room
    /// - [`SendError::TooFewConsumers`] if too few workers are there
    /// - [`SendError::Wait`] if the kernel does not let this thread wait
    /// - [`SendError::Forked`] in a forked child
    #[inline]
    pub fn try_send(&mut self, to: To, payload: &[u8]) -> Result<(), SendError> {
        self.send_until(to, payload, Deadline::Now)
    }

    /// Like [`send`](Self::send), but waits at most `timeout`.
    ///
    /// ```
    /// # use fdring::{distribute::{Distributor, To}, errors::SendError};
    /// # use std::time::Duration;
    /// # fn main() -> fdring::Result<()> {
    /// let mut distributor = Distributor::listen("@doc-distributor-send-timeout")?;
    /// assert!(distributor.send_timeout(To::MostRoom, b"work", Duration::from_millis(1)).is_err()); // nobody is there
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`SendError::TooLong`] if `payload` is longer than [`payload_max`](Self::payload_max)
    /// - [`SendError::TimedOut`] if no worker that may get the record had room in time
    /// - [`SendError::TooFewConsumers`] if too few workers are there
    /// - [`SendError::Interrupted`] if an [`Interrupter`] ended the wait
    /// - [`SendError::Wait`] if the kernel does not let this thread wait
    /// - [`SendError::Forked`] in a forked child
    pub fn send_timeout(&mut self, to: To, payload: &[u8], timeout: Duration) -> Result<(), SendError> {
        self.send_until(to, payload, Deadline::after(timeout))
    }

    /// Like [`send`](Self::send), but waits only until `deadline`.
    ///
    /// ```
    /// # use fdring::distribute::{Distributor, To};
    /// # use std::time::Instant;
    /// # fn main() -> fdring::Result<()> {
    /// let mut distributor = Distributor::listen("@doc-distributor-send-deadline")?;
    /// assert!(distributor.send_deadline(To::MostRoom, b"work", Instant::now()).is_err()); // nobody is there
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`SendError::TooLong`] if `payload` is longer than [`payload_max`](Self::payload_max)
    /// - [`SendError::TimedOut`] if no worker that may get the record had room in time
    /// - [`SendError::TooFewConsumers`] if too few workers are there
    /// - [`SendError::Interrupted`] if an [`Interrupter`] ended the wait
    /// - [`SendError::Wait`] if the kernel does not let this thread wait
    /// - [`SendError::Forked`] in a forked child
    pub fn send_deadline(&mut self, to: To, payload: &[u8], deadline: Instant) -> Result<(), SendError> {
        self.send_until(to, payload, Deadline::At(deadline))
    }

    #[inline(always)]
    fn send_until(&mut self, to: To, payload: &[u8], deadline: Deadline) -> Result<(), SendError> {
        let mut assignment = self.reserve_until(to, payload.len(), deadline)?;
        assignment.copy_from_slice(payload);
        assignment.commit();
        Ok(())
    }

    /// Reserves room for a record of `len` bytes in one worker's ring, to be filled in place. Waits until a worker has
    /// room.
    ///
    /// ```
    /// # use fdring::distribute::{Distributor, To, Worker};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut distributor = Distributor::listen("@doc-distributor-reserve")?;
    /// # let mut worker = Worker::connect("@doc-distributor-reserve")?;
    /// let mut assignment = distributor.reserve(To::RoundRobin, 5)?;
    /// assignment.copy_from_slice(b"hello");
    /// assignment.commit();
    /// assert_eq!(&worker.receive()?.unwrap()[..], b"hello");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`SendError::TooLong`] if `len` is more than [`payload_max`](Self::payload_max)
    /// - [`SendError::TooFewConsumers`] if too few workers are there, with [`TooFewWorkers::Fail`]
    /// - [`SendError::Interrupted`] if an [`Interrupter`] ended the wait
    /// - [`SendError::Wait`] if the kernel does not let this thread wait
    /// - [`SendError::Forked`] in a forked child
    #[inline]
    pub fn reserve(&mut self, to: To, len: usize) -> Result<Assignment<'_>, SendError> {
        self.reserve_until(to, len, Deadline::Never)
    }

    /// Like [`reserve`](Self::reserve), but never waits.
    ///
    /// ```
    /// # use fdring::distribute::{Distributor, To};
    /// # fn main() -> fdring::Result<()> {
    /// let mut distributor = Distributor::listen("@doc-distributor-try-reserve")?;
    /// assert!(distributor.try_reserve(To::MostRoom, 5).is_err()); // nobody is there
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`SendError::TooLong`] if `len` is more than [`payload_max`](Self::payload_max)
    /// - [`SendError::Full`] if no worker that may get the record has room, or records that were taken back wait for
    ///   room
    /// - [`SendError::TooFewConsumers`] if too few workers are there
    /// - [`SendError::Wait`] if the kernel does not let this thread wait
    /// - [`SendError::Forked`] in a forked child
    #[inline]
    pub fn try_reserve(&mut self, to: To, len: usize) -> Result<Assignment<'_>, SendError> {
        self.reserve_until(to, len, Deadline::Now)
    }

    /// Like [`reserve`](Self::reserve), but waits at most `timeout`.
    ///
    /// ```
    /// # use fdring::distribute::{Distributor, To};
    /// # use std::time::Duration;
    /// # fn main() -> fdring::Result<()> {
    /// let mut distributor = Distributor::listen("@doc-distributor-reserve-timeout")?;
    /// assert!(distributor.reserve_timeout(To::MostRoom, 5, Duration::from_millis(1)).is_err()); // nobody is there
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`SendError::TooLong`] if `len` is more than [`payload_max`](Self::payload_max)
    /// - [`SendError::TimedOut`] if no worker that may get the record had room in time
    /// - [`SendError::TooFewConsumers`] if too few workers are there
    /// - [`SendError::Interrupted`] if an [`Interrupter`] ended the wait
    /// - [`SendError::Wait`] if the kernel does not let this thread wait
    /// - [`SendError::Forked`] in a forked child
    pub fn reserve_timeout(&mut self, to: To, len: usize, timeout: Duration) -> Result<Assignment<'_>, SendError> {
        self.reserve_until(to, len, Deadline::after(timeout))
    }

    /// Like [`reserve`](Self::reserve), but waits only until `deadline`, which several calls can share.
    ///
    /// ```
    /// # use fdring::distribute::{Distributor, To};
    /// # use std::time::Instant;
    /// # fn main() -> fdring::Result<()> {
    /// let mut distributor = Distributor::listen("@doc-distributor-reserve-deadline")?;
    /// assert!(distributor.reserve_deadline(To::MostRoom, 5, Instant::now()).is_err()); // nobody is there
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`SendError::TooLong`] if `len` is more than [`payload_max`](Self::payload_max)
    /// - [`SendError::TimedOut`] if no worker that may get the record had room in time
    /// - [`SendError::TooFewConsumers`] if too few workers are there
    /// - [`SendError::Interrupted`] if an [`Interrupter`] ended the wait
    /// - [`SendError::Wait`] if the kernel does not let this thread wait
    /// - [`SendError::Forked`] in a forked child
    pub fn reserve_deadline(&mut self, to: To, len: usize, deadline: Instant) -> Result<Assignment<'_>, SendError> {
        self.reserve_until(to, len, Deadline::At(deadline))
    }

    /// Inlined into its caller: to return an assignment through memory would cost more than the record does.
    #[inline(always)]
    fn reserve_until(&mut self, to: To, len: usize, deadline: Deadline) -> Result<Assignment<'_>, SendError> {
        let demand = Demand { to, len };
        let slot = match self.choose_in_view(demand) {
            Some(slot) => slot,
            None => self.choose_closely(demand, deadline)?,
        };
        if self.demand.is_some() {
            self.demand = None;
        }
        self.own_slots.assign(slot, demand)
    }

    /// The slot for such a record, if nothing of a worker's needs a look: nearly always. `None` says only that a closer
    /// look is needed.
    #[inline(always)]
    pub(crate) fn choose_in_view(&mut self, demand: Demand) -> Option<usize> {
        let is_plain = !self.guard.is_child() && !self.is_armed && demand.len <= self.payload_max;
        if is_plain { self.choose_by_last_look(demand) } else { None }
    }

    #[inline(never)]
    fn choose_closely(&mut self, demand: Demand, deadline: Deadline) -> Result<usize, SendError> {
        self.check_fork()?;
        self.check_len(demand)?;
        match self.find_room(demand)? {
            Some(slot) => {
                self.disarm_if_armed();
                Ok(slot)
            }
            // An announcement stands: the next one would have to be followed by a second look.
            None => self.wait_for_room(demand, deadline),
        }
    }

    /// Gives several records of one length to one worker, and publishes them together. Waits until a worker has room
    /// for one. Returns how many were given: at least 1, unless `records.count` is 0. That can be fewer than asked for:
    /// as many as fit without looking for room again, usually in a sixteenth of the ring, and at most what
    /// [`records_max`](DistributorOptions::records_max) still allows that worker. Call it again for the rest, which may
    /// go to another worker.
    ///
    /// Short records take as little as half the time of [`reserve`](Self::reserve). `fill` is called with the
    /// number of each record that is given, from 0, and its bytes, which are not zeroed. If it panics, none of them is
    /// sent.
    ///
    /// ```
    /// use fdring::options::Records;
    /// # use fdring::distribute::{Distributor, To, Worker};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut distributor = Distributor::listen("@doc-distributor-fill-many")?;
    /// # let mut worker = Worker::connect("@doc-distributor-fill-many")?;
    /// let rows: Vec<u64> = (0..100).collect();
    /// let mut given = 0;
    /// while given < rows.len() {
    ///     let records = Records { count: (rows.len() - given).min(32), len: 8 };
    ///     let write = |number: usize, bytes: &mut [u8]| bytes.copy_from_slice(&rows[given + number].to_le_bytes());
    ///     given += distributor.fill_many(To::RoundRobin, records, write)?;
    /// }
    /// # for row in 0..100_u64 {
    /// #     assert_eq!(worker.receive()?.unwrap()[..], row.to_le_bytes());
    /// # }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`SendError::TooLong`] if `records.len` is more than [`payload_max`](Self::payload_max)
    /// - [`SendError::TooFewConsumers`] if too few workers are there, with [`TooFewWorkers::Fail`]
    /// - [`SendError::Interrupted`] if an [`Interrupter`] ended the wait
    /// - [`SendError::Wait`] if the kernel does not let this thread wait
    /// - [`SendError::Forked`] in a forked child
    pub fn fill_many(
        &mut self,
        to: To,
        records: Records,
        fill: impl FnMut(usize, &mut [u8]),
    ) -> Result<usize, SendError> {
        self.fill_many_until(to, records, Deadline::Never, fill)
    }

    /// Like [`fill_many`](Self::fill_many), but never waits.
    ///
    /// ```
    /// # use fdring::{distribute::{Distributor, To}, options::Records};
    /// # fn main() -> fdring::Result<()> {
    /// let mut distributor = Distributor::listen("@doc-distributor-try-fill-many")?;
    /// let records = Records { count: 10, len: 8 };
    /// assert!(distributor.try_fill_many(To::RoundRobin, records, |_, _| ()).is_err()); // nobody is there
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`SendError::TooLong`] if `records.len` is more than [`payload_max`](Self::payload_max)
    /// - [`SendError::Full`] if no worker that may get the record has room, or records that were taken back wait for
    ///   room
    /// - [`SendError::TooFewConsumers`] if too few workers are there
    /// - [`SendError::Wait`] if the kernel does not let this thread wait
    /// - [`SendError::Forked`] in a forked child
    pub fn try_fill_many(
        &mut self,
        to: To,
        records: Records,
        fill: impl FnMut(usize, &mut [u8]),
    ) -> Result<usize, SendError> {
        self.fill_many_until(to, records, Deadline::Now, fill)
    }

    /// Like [`fill_many`](Self::fill_many), but waits at most `timeout`.
    ///
    /// ```
    /// # use fdring::{distribute::{Distributor, To}, options::Records};
    /// # use std::time::Duration;
    /// # fn main() -> fdring::Result<()> {
    /// let mut distributor = Distributor::listen("@doc-distributor-fill-many-timeout")?;
    /// let (records, timeout) = (Records { count: 10, len: 8 }, Duration::from_millis(1));
    /// assert!(distributor.fill_many_timeout(To::RoundRobin, records, timeout, |_, _| ()).is_err()); // nobody is there
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`SendError::TooLong`] if `records.len` is more than [`payload_max`](Self::payload_max)
    /// - [`SendError::TimedOut`] if no worker that may get the record had room in time
    /// - [`SendError::TooFewConsumers`] if too few workers are there
    /// - [`SendError::Interrupted`] if an [`Interrupter`] ended the wait
    /// - [`SendError::Wait`] if the kernel does not let this thread wait
    /// - [`SendError::Forked`] in a forked child
    pub fn fill_many_timeout(
        &mut self,
        to: To,
        records: Records,
        timeout: Duration,
        fill: impl FnMut(usize, &mut [u8]),
    ) -> Result<usize, SendError> {
        self.fill_many_until(to, records, Deadline::after(timeout), fill)
    }

    /// Like [`fill_many`](Self::fill_many), but waits only until `deadline`, which several calls can share.
    ///
    /// ```
    /// # use fdring::{distribute::{Distributor, To}, options::Records};
    /// # use std::time::Instant;
    /// # fn main() -> fdring::Result<()> {
    /// let mut distributor = Distributor::listen("@doc-distributor-fill-many-deadline")?;
    /// let (records, deadline) = (Records { count: 10, len: 8 }, Instant::now());
    /// assert!(distributor.fill_many_deadline(To::RoundRobin, records, deadline, |_, _| ()).is_err());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`SendError::TooLong`] if `records.len` is more than [`payload_max`](Self::payload_max)
    /// - [`SendError::TimedOut`] if no worker that may get the record had room in time
    /// - [`SendError::TooFewConsumers`] if too few workers are there
    /// - [`SendError::Interrupted`] if an [`Interrupter`] ended the wait
    /// - [`SendError::Wait`] if the kernel does not let this thread wait
    /// - [`SendError::Forked`] in a forked child
    pub fn fill_many_deadline(
        &mut self,
        to: To,
        records: Records,
        deadline: Instant,
        fill: impl FnMut(usize, &mut [u8]),
    ) -> Result<usize, SendError> {
        self.fill_many_until(to, records, Deadline::At(deadline), fill)
    }

    fn fill_many_until(
        &mut self,
        to: To,
        Records { count, len }: Records,
        deadline: Deadline,
        fill: impl FnMut(usize, &mut [u8]),
    ) -> Result<usize, SendError> {
        if count == 0 {
            return self.check_fork().map(|()| 0);
        }
        let demand = Demand { to, len };
        let slot = match self.choose_in_view(demand) {
            Some(slot) => slot,
            None => self.choose_closely(demand, deadline)?,
        };
        self.demand = None;
        self.own_slots.give_many(slot, demand, count, fill)
    }

    /// The most bytes that a record can have: half of a worker's ring, less a header.
    ///
    /// ```
    /// # fn main() -> fdring::Result<()> {
    /// let distributor = fdring::distribute::Distributor::listen("@doc-distributor-payload-max")?;
    /// assert_eq!(distributor.payload_max(), (128 << 10) - 8);
    /// # Ok(())
    /// # }
    /// ```
    pub fn payload_max(&self) -> usize {
        self.payload_max
    }

    /// The number of workers that are there now; 0 in a forked child.
    ///
    /// ```
    /// # use fdring::distribute::{Distributor, Worker};
    /// # fn main() -> fdring::Result<()> {
    /// # let mut distributor = Distributor::listen("@doc-distributor-worker-count")?;
    /// let worker = Worker::connect("@doc-distributor-worker-count")?;
    /// assert_eq!(distributor.worker_count(), 1);
    /// # drop(worker);
    /// # Ok(())
    /// # }
    /// ```
    pub fn worker_count(&mut self) -> usize {
        self.look();
        if self.guard.is_child() { 0 } else { self.own_slots.worker_count() }
    }

    /// The workers that are there, and the workers that have gone and left records, each with the number of its
    /// unreleased records. Empty in a forked child.
    ///
    /// ```
    /// # use fdring::distribute::{Distributor, To, Worker};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut distributor = Distributor::listen("@doc-distributor-workers")?;
    /// # let worker = Worker::connect("@doc-distributor-workers")?;
    /// distributor.send(To::MostRoom, b"work")?;
    /// let most = distributor.workers().into_iter().max_by_key(|worker| worker.unreleased_records).unwrap();
    /// assert_eq!((most.consumer.pid, most.unreleased_records), (Some(std::process::id()), 1));
    /// # drop(worker);
    /// # Ok(())
    /// # }
    /// ```
    pub fn workers(&mut self) -> Vec<WorkerInfo> {
        self.look();
        if self.guard.is_child() { Vec::new() } else { self.own_slots.workers() }
    }

    /// Takes a worker's seat away, so that its records go to another one. Returns whether the worker still had a seat.
    ///
    /// ```
    /// # use fdring::distribute::{Distributor, To, Worker};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut distributor = Distributor::listen("@doc-distributor-evict")?;
    /// # let worker = Worker::connect("@doc-distributor-evict")?;
    /// distributor.send(To::MostRoom, b"work")?;
    /// for worker in distributor.workers() {
    ///     assert!(distributor.evict(&worker)?);
    /// }
    /// assert_eq!(distributor.worker_count(), 0);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`Error::Invalid`](crate::Error::Invalid) if the worker reads in place
    /// - [`Error::Forked`](crate::Error::Forked) in a forked child
    pub fn evict(&mut self, worker: &WorkerInfo) -> Result<bool> {
        self.guard.check()?;
        self.own_slots.evict(worker)
    }

    /// The oldest event that was not returned yet. `None` if there is none, and in a forked child. Never waits:
    /// [`arm`](Self::arm) waits for events in an event loop, and `next_event` of `tokio::Async` in a task.
    ///
    /// ```
    /// # use fdring::distribute::{Distributor, Event, Worker};
    /// # fn main() -> fdring::Result<()> {
    /// # let mut distributor = Distributor::listen("@doc-distributor-next-event")?;
    /// # let worker = Worker::connect("@doc-distributor-next-event")?;
    /// assert!(matches!(distributor.try_next_event(), Some(Event::Joined { slot: 0, .. })));
    /// assert!(distributor.try_next_event().is_none());
    /// # Ok(())
    /// # }
    /// ```
    pub fn try_next_event(&mut self) -> Option<Event> {
        self.look();
        if self.guard.is_child() { None } else { self.own_slots.try_next_event() }
    }

    /// The statistics since it began to listen; all zero in a forked child.
    ///
    /// ```
    /// # use fdring::distribute::{Distributor, To, Worker};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut distributor = Distributor::listen("@doc-distributor-stats-method")?;
    /// # let mut worker = Worker::connect("@doc-distributor-stats-method")?;
    /// distributor.send(To::MostRoom, b"work")?;
    /// worker.receive()?;
    /// worker.done();
    /// assert_eq!(distributor.stats().released, 1);
    /// # Ok(())
    /// # }
    /// ```
    pub fn stats(&mut self) -> DistributorStats {
        self.look();
        if self.guard.is_child() { DistributorStats::default() } else { self.own_slots.stats() }
    }

    /// The statistics of its connections: how many were accepted, how many refused and why.
    ///
    /// ```
    /// # fn main() -> fdring::Result<()> {
    /// let distributor = fdring::distribute::Distributor::listen("@doc-distributor-server-stats")?;
    /// assert_eq!(distributor.server_stats().refused, 0);
    /// # Ok(())
    /// # }
    /// ```
    pub fn server_stats(&self) -> ServerStats {
        self.server.stats()
    }

    /// The address at which it listens. A relative path is made absolute if it then has at most 107 bytes.
    ///
    /// ```
    /// # fn main() -> fdring::Result<()> {
    /// let distributor = fdring::distribute::Distributor::listen("@doc-distributor-address")?;
    /// assert_eq!(distributor.address().to_string(), "@doc-distributor-address");
    /// # Ok(())
    /// # }
    /// ```
    pub fn address(&self) -> &Address {
        self.server.address()
    }

    fn check_len(&self, Demand { len, .. }: Demand) -> Result<(), SendError> {
        let max = self.payload_max;
        if len > max { Err(SendError::TooLong { len, max }) } else { Ok(()) }
    }

    fn check_fork(&self) -> Result<(), SendError> {
        if self.guard.is_child() { Err(SendError::Forked) } else { Ok(()) }
    }

    /// Looks at the slots, for those calls that report what they see.
    fn look(&mut self) {
        if !self.guard.is_child() {
            // What fails here fails again in the next call that sends, and is reported there.
            let _ = self.own_slots.settle(&self.waits);
        }
    }
}

impl Drop for Distributor {
    fn drop(&mut self) {
        if !self.guard.is_child() {
            self.own_slots.close();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::{LaneOptions, SessionOptions};
    use crate::ring::sleep::SECOND_LOOK;
    use crate::session::attach::Attach;
    use crate::test_support::{DEADLINE, unique_name, wait_until};
    use rustix::event::{PollFd, PollFlags};
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn who_has_most_room_is_seen_again_a_moment_later() {
        let address = format!("@{}", unique_name());
        let mut distributor = Distributor::listen(address.as_str()).unwrap();
        let mut workers = [0, 1].map(|_| Worker::connect(address.as_str()).unwrap());
        distributor.wait_for_workers(2, DEADLINE).unwrap();
        for _ in 0..2 {
            distributor.send(To::MostRoom, b"work").unwrap();
        }
        let mut slots = Vec::new();
        for _ in 0..100 {
            // The other one does nothing.
            workers[1].receive_timeout(DEADLINE).unwrap();
            workers[1].done();
            let done = Instant::now();
            while done.elapsed() < Duration::from_micros(100) {
                std::hint::spin_loop();
            }
            let assignment = distributor.reserve(To::MostRoom, 4).unwrap();
            slots.push(assignment.slot());
            assignment.commit();
        }
        assert_eq!(slots, [1; 100]);
        // Who goes and who comes is seen at once.
        let slots_of = |distributor: &mut Distributor, count| {
            let mut slot = || {
                let assignment = distributor.reserve(To::RoundRobin, 4).unwrap();
                let slot = assignment.slot();
                assignment.commit();
                slot
            };
            (0..count).map(|_| slot()).collect::<Vec<_>>()
        };
        let [first, _second] = workers;
        drop(first);
        let producer = distributor.own_slots.producer(0);
        wait_until("its place is vacant", || !producer.vacant_places().is_empty());
        assert_eq!(slots_of(&mut distributor, 4), [1; 4]);
        let _third = Worker::connect(address.as_str()).unwrap();
        let mut slots = slots_of(&mut distributor, 2);
        slots.sort_unstable();
        assert_eq!(slots, [0, 1], "it goes on in the place that was left");
    }

    #[test]
    fn what_is_released_is_seen_after_so_many_records_and_at_once_where_a_worker_has_as_many_as_it_may() {
        let address = format!("@{}", unique_name());
        let mut distributor = DistributorOptions::new().records_max(400).listen(address.as_str()).unwrap();
        let mut workers = [0, 1].map(|_| Worker::connect(address.as_str()).unwrap());
        distributor.wait_for_workers(2, DEADLINE).unwrap();
        let mut most = 0;
        for _ in 0..1000 {
            distributor.send(To::RoundRobin, b"work").unwrap();
            distributor.send(To::RoundRobin, b"work").unwrap();
            workers.iter_mut().for_each(|worker| {
                worker.receive_timeout(DEADLINE).unwrap();
                worker.done();
            });
            most = most.max(distributor.own_slots.load(0).records);
        }
        assert!((100..=130).contains(&most), "{most} records were not seen to be released");
        // One does nothing: it gets as many as it may, and the other one the rest.
        let mut slots = [0; 2];
        for _ in 0..1500 {
            let assignment = distributor.reserve(To::RoundRobin, 4).unwrap();
            slots[assignment.slot()] += 1;
            assignment.commit();
            while let Ok(Some(_)) = workers[1].try_receive() {}
        }
        workers[1].done();
        assert_eq!(slots, [400, 1100]);
    }

    #[test]
    fn a_release_that_rings_for_nobody_is_seen_by_the_second_look_of_a_loop() {
        let address = format!("@{}", unique_name());
        let mut distributor = DistributorOptions::new().records_max(1).listen(address.as_str()).unwrap();
        let mut worker = Worker::connect(address.as_str()).unwrap();
        distributor.wait_for_workers(1, DEADLINE).unwrap();
        assert!(matches!(distributor.try_next_event(), Some(Event::Joined { .. })));
        let poll_for = |distributor: &Distributor, limit: Duration| {
            let limit = crate::deadline::timespec(limit);
            rustix::event::poll(&mut [PollFd::new(distributor, PollFlags::IN)], Some(&limit)).unwrap() != 0
        };
        for _ in 0..3 {
            distributor.send(To::MostRoom, b"work").unwrap();
            worker.receive_timeout(DEADLINE).unwrap();
            assert!(matches!(distributor.try_send(To::MostRoom, b"more"), Err(SendError::Full { .. })));
            while !distributor.arm().unwrap() {}
            worker.release_unheard();
            assert!(poll_for(&distributor, DEADLINE), "nothing has it look again");
            distributor.try_send(To::MostRoom, b"more").unwrap();
            worker.receive_timeout(DEADLINE).unwrap();
            worker.done();
        }
        // One second look, and no third.
        distributor.send(To::MostRoom, b"work").unwrap();
        assert!(distributor.try_send(To::MostRoom, b"more").is_err());
        while !distributor.arm().unwrap() {}
        assert!(poll_for(&distributor, DEADLINE));
        assert!(distributor.try_send(To::MostRoom, b"more").is_err());
        while !distributor.arm().unwrap() {}
        assert!(!poll_for(&distributor, 10 * SECOND_LOOK), "it looks again and again");
    }

    #[test]
    fn a_release_that_rings_for_nobody_is_seen_by_the_second_look_of_a_wait() {
        let address = format!("@{}", unique_name());
        let lane = LaneOptions::new("work").spin(Duration::ZERO);
        let options = DistributorOptions::new().records_max(1).lane(lane);
        let mut distributor = options.listen(address.as_str()).unwrap();
        let mut worker = Worker::connect(address.as_str()).unwrap();
        distributor.wait_for_workers(1, DEADLINE).unwrap();
        // A thread that has lost its processor releases too late for the second look: as no release is.
        let (rounds, sent) = (20, Arc::new(AtomicUsize::new(0)));
        let worker = std::thread::spawn({
            let sent = Arc::clone(&sent);
            move || {
                let mut in_time = 0;
                for round in 0..rounds {
                    worker.receive_timeout(DEADLINE).unwrap();
                    wait_until("the distributor waits", || worker.is_waited_for());
                    worker.release_unheard();
                    let released = Instant::now();
                    let goes_on = || sent.load(Ordering::Relaxed) > round + 1;
                    while !goes_on() && released.elapsed() < 10 * SECOND_LOOK {
                        std::thread::yield_now();
                    }
                    in_time += u32::from(goes_on());
                    worker.done();
                }
                in_time
            }
        });
        for _ in 0..=rounds {
            distributor.send_timeout(To::MostRoom, b"work", DEADLINE).unwrap();
            sent.fetch_add(1, Ordering::Relaxed);
        }
        assert_ne!(worker.join().unwrap(), 0, "a wait looks once only");
    }

    #[test]
    fn a_worker_that_has_nothing_more_to_do_makes_up_for_the_fence_of_its_last_release() {
        let address = format!("@{}", unique_name());
        let mut distributor = Distributor::listen(address.as_str()).unwrap();
        let mut worker = Worker::connect(address.as_str()).unwrap();
        for looks_for_more in [false, true] {
            (0..2).for_each(|_| distributor.send(To::MostRoom, b"work").unwrap());
            (0..2).for_each(|_| assert!(worker.receive_timeout(DEADLINE).unwrap().is_some()));
            if looks_for_more {
                assert_eq!(worker.try_receive().unwrap_err(), crate::consumer::ReceiveError::Empty);
            }
            assert_eq!(worker.confirm_release(), !looks_for_more);
        }
    }

    #[test]
    fn many_records_at_once_go_to_one_worker_as_far_as_it_has_room() {
        let address = format!("@{}", unique_name());
        let lane = LaneOptions::new("work").capacity(4096);
        let options = DistributorOptions::new().records_max(20).lane(lane);
        let mut distributor = options.listen(address.as_str()).unwrap();
        let mut workers = [0, 1].map(|_| Worker::connect(address.as_str()).unwrap());
        distributor.wait_for_workers(2, DEADLINE).unwrap();
        let records = |count| Records { count, len: 8 };
        assert_eq!(distributor.fill_many(To::RoundRobin, records(0), |_, _| unreachable!()).unwrap(), 0);
        let too_long = Records { count: 2, len: 4096 };
        assert!(matches!(distributor.fill_many(To::RoundRobin, too_long, |_, _| ()), Err(SendError::TooLong { .. })));
        // Rings of 4 KiB: what fits side by side changes all the time, and padding comes between.
        let (mut sent, mut received, mut calls) = (0_u64, 0, 0);
        while sent < 5000 {
            let write = |index: usize, bytes: &mut [u8]| bytes.copy_from_slice(&(sent + index as u64).to_le_bytes());
            let to = if calls % 2 == 0 { To::RoundRobin } else { To::Key(7) };
            match distributor.try_fill_many(to, records(7), write) {
                Ok(count) => {
                    assert!((1..=7).contains(&count));
                    (sent, calls) = (sent + count as u64, calls + 1);
                }
                Err(SendError::Full { .. }) => {
                    let late = distributor.fill_many_deadline(to, records(7), Instant::now(), |_, _| ());
                    assert!(matches!(late, Err(SendError::TimedOut { .. })));
                    let late = distributor.fill_many_timeout(to, records(7), Duration::ZERO, |_, _| ());
                    assert!(matches!(late, Err(SendError::TimedOut { .. })));
                    assert!(distributor.workers().iter().any(|worker| worker.unreleased_records == 20));
                    let mut seen = Vec::new();
                    for worker in &mut workers {
                        let begin = seen.len();
                        while let Ok(Some(record)) = worker.try_receive() {
                            seen.push(u64::from_le_bytes(record[..].try_into().unwrap()));
                        }
                        assert!(seen[begin..].is_sorted(), "{:?}", &seen[begin..]);
                    }
                    received += seen.len() as u64;
                }
                Err(error) => panic!("{error}"),
            }
        }
        for worker in &mut workers {
            while let Ok(Some(_)) = worker.try_receive() {
                received += 1;
            }
        }
        assert_eq!(received, sent);
        assert_eq!((distributor.stats().records, distributor.stats().released), (sent, sent));
        assert!(calls < 2500, "{calls} calls: one record each");
        // One that panics sends nothing.
        let panics = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            distributor.fill_many(To::RoundRobin, records(7), |index, _| assert!(index < 3)).unwrap()
        }));
        assert!(panics.is_err() && distributor.stats().records == sent);
        distributor.send(To::RoundRobin, b"whole").unwrap();
        let whole = workers.iter_mut().filter_map(|worker| Some(worker.try_receive().ok()??.to_vec()));
        assert_eq!(whole.collect::<Vec<_>>(), [b"whole"]);
    }

    #[test]
    fn a_worker_that_has_released_what_it_had_is_not_passed_over() {
        let address = format!("@{}", unique_name());
        let mut distributor = DistributorOptions::new().records_max(4).listen(address.as_str()).unwrap();
        let mut workers = [0, 1].map(|_| Worker::connect(address.as_str()).unwrap());
        distributor.wait_for_workers(2, DEADLINE).unwrap();
        // As many as it may have.
        let mut given = 0;
        for key in 0.. {
            let assignment = distributor.reserve(To::Key(key), 4).unwrap();
            if assignment.slot() == 0 {
                assignment.commit();
                given += 1;
            }
            if given == 4 {
                break;
            }
        }
        for _ in 0..4 {
            workers[0].receive_timeout(DEADLINE).unwrap();
            workers[0].done();
        }
        let mut slots = [0, 1].map(|_| {
            let assignment = distributor.reserve(To::RoundRobin, 4).unwrap();
            let slot = assignment.slot();
            assignment.commit();
            slot
        });
        slots.sort_unstable();
        assert_eq!(slots, [0, 1]);
    }

    #[test]
    fn what_is_given_to_a_slot_while_its_worker_changes_is_kept_for_the_next_one() {
        let address = format!("@{}", unique_name());
        let lane = LaneOptions::new("work").capacity(4096);
        let mut distributor = DistributorOptions::new().lane(lane).listen(address.as_str()).unwrap();
        let mut worker = Worker::connect(address.as_str()).unwrap();
        distributor.send(To::Key(7), b"one").unwrap();
        worker.receive().unwrap();
        drop(worker);
        // Nobody of the distributor's thread has seen that yet.
        let producer = distributor.own_slots.producer(0);
        wait_until("its place is vacant", || !producer.vacant_places().is_empty());
        let next = SessionOptions::new().deadline(DEADLINE).connect(address.as_str()).unwrap();
        let demand = Demand { to: To::Key(7), len: 3 };
        let mut assignment = distributor.own_slots.assign(0, demand).unwrap();
        assignment.copy_from_slice(b"two");
        assignment.commit();
        let mut next = Worker::new(next.attach_one(Attach::new()).unwrap()).unwrap();
        assert_eq!(&next.receive_timeout(DEADLINE).unwrap().unwrap()[..], b"two");
    }
}
