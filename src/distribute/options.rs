//! The options of a distributor.

use super::Distributor;
use crate::error::Result;
use crate::options::{LaneOptions, ServerOptions};
use crate::os::interrupt::Interrupter;
use crate::session::Address;
use std::time::Duration;

/// The defaults.
const NAME: &str = "work";
const CAPACITY_BYTES: u64 = 256 << 10;
const WORKERS_MAX: usize = 64;
const MEMORY_MAX_BYTES: u64 = 64 << 20;
const TAKE_BACK_AFTER: Duration = Duration::from_secs(1);
const DEATHS_MAX: u32 = 3;

/// The policy of a [`Distributor`] while it has fewer workers than it [wants](DistributorOptions::workers_min).
///
/// ```
/// use fdring::distribute::{DistributorOptions, To, TooFewWorkers};
/// use fdring::errors::SendError;
///
/// # fn main() -> fdring::Result<()> {
/// let mut distributor =
///     DistributorOptions::new().too_few_workers(TooFewWorkers::Fail).listen("@doc-too-few-workers")?;
/// let error = distributor.send(To::MostRoom, b"work").unwrap_err();
/// assert!(matches!(error, SendError::TooFewConsumers { there: 0, wanted: 1, .. }));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum TooFewWorkers {
    /// Calls that send wait for workers, up to their deadline.
    #[default]
    Wait,
    /// They fail with [`SendError::TooFewConsumers`](crate::errors::SendError::TooFewConsumers).
    Fail,
}

/// Options for a [`Distributor`]. [`listen`](Self::listen) starts it.
///
/// ```
/// use fdring::distribute::DistributorOptions;
/// use std::time::Duration;
///
/// # fn main() -> fdring::Result<()> {
/// let options = DistributorOptions::new().workers_min(2).records_max(1).take_back_after(Duration::from_secs(5));
/// let distributor = options.listen("@doc-distributor-options")?;
/// # drop(distributor);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use = "options do nothing until a distributor listens with them"]
pub struct DistributorOptions {
    pub(super) lane: LaneOptions,
    pub(super) server: ServerOptions,
    pub(super) workers_min: usize,
    pub(super) workers_max: usize,
    pub(super) memory_max: u64,
    pub(super) too_few_workers: TooFewWorkers,
    pub(super) records_max: usize,
    pub(super) take_back_after: Duration,
    pub(super) evict_after: Option<Duration>,
    pub(super) deaths_max: u32,
    pub(super) interrupter: Option<Interrupter>,
}

impl DistributorOptions {
    /// The defaults: lanes called `work` of 256 KiB, from 1 to 64 workers of this user, waiting for the first.
    ///
    /// ```
    /// # use fdring::distribute::DistributorOptions;
    /// # fn main() -> fdring::Result<()> {
    /// let distributor = DistributorOptions::new().listen("@doc-distributor-new")?; // as Distributor::listen
    /// # drop(distributor);
    /// # Ok(())
    /// # }
    /// ```
    pub fn new() -> Self {
        Self {
            lane: LaneOptions::new(NAME).capacity(CAPACITY_BYTES),
            server: ServerOptions::new(),
            workers_min: 1,
            workers_max: WORKERS_MAX,
            memory_max: MEMORY_MAX_BYTES,
            too_few_workers: TooFewWorkers::Wait,
            records_max: usize::MAX,
            take_back_after: TAKE_BACK_AFTER,
            evict_after: None,
            deaths_max: DEATHS_MAX,
            interrupter: None,
        }
    }

    /// The lane that each worker gets: its name, capacity, alignments and schema. Default: `work`, 256 KiB. Its
    /// capacity bounds what waits at one worker; a payload takes at most half of it. Its policies for missing and slow
    /// consumers, its space bell and its interrupter have no effect.
    ///
    /// ```
    /// # use fdring::{distribute::DistributorOptions, options::LaneOptions};
    /// # fn main() -> fdring::Result<()> {
    /// let lane = LaneOptions::new("frames").capacity(16 << 20).payload_align(64);
    /// let distributor = DistributorOptions::new().lane(lane).listen("@doc-distributor-lane")?;
    /// assert_eq!(distributor.payload_max(), (8 << 20) - 64);
    /// # Ok(())
    /// # }
    /// ```
    pub fn lane(mut self, lane: LaneOptions) -> Self {
        self.lane = lane;
        self
    }

    /// The options for connections: the users whose workers are admitted and may read in place, the mode of the socket
    /// file, and the deadline of handshakes. Default: [`ServerOptions::new`]. Its number of sessions and its
    /// interrupter have no effect.
    ///
    /// If several users are admitted, an empty slot of a worker that has gone may go to a worker of another user. The
    /// new worker maps the ring, and can read records of the earlier workers that nothing has overwritten yet.
    ///
    /// ```
    /// # use fdring::{distribute::DistributorOptions, options::{PeerPolicy, ServerOptions}};
    /// # fn main() -> fdring::Result<()> {
    /// let server = ServerOptions::new().peers(PeerPolicy::Users(vec![1000]));
    /// let distributor = DistributorOptions::new().server(server).listen("@doc-distributor-server")?;
    /// # drop(distributor);
    /// # Ok(())
    /// # }
    /// ```
    pub fn server(mut self, server: ServerOptions) -> Self {
        self.server = server;
        self
    }

    /// The number of workers that must be there before anything is sent. Default: 1. With 0, a record for
    /// [`To::Key`](super::To::Key) is also accepted while no worker is there, if a slot already keeps records of its
    /// key.
    ///
    /// ```
    /// # use fdring::distribute::{DistributorOptions, To};
    /// # fn main() -> fdring::Result<()> {
    /// let mut distributor = DistributorOptions::new().workers_min(2).listen("@doc-distributor-workers-min")?;
    /// # let worker = fdring::distribute::Worker::connect("@doc-distributor-workers-min")?;
    /// assert!(distributor.try_send(To::MostRoom, b"work").is_err()); // one is there
    /// # Ok(())
    /// # }
    /// ```
    pub fn workers_min(mut self, workers: usize) -> Self {
        self.workers_min = workers;
        self
    }

    /// The most workers at once, at least 1. Workers that are still connecting count. Default: 64. Further workers are
    /// refused.
    ///
    /// ```
    /// # use fdring::{Error, distribute::{DistributorOptions, Worker}};
    /// # fn main() -> fdring::Result<()> {
    /// let distributor = DistributorOptions::new().workers_max(1).listen("@doc-distributor-workers-max")?;
    /// let one = Worker::connect("@doc-distributor-workers-max")?;
    /// assert!(matches!(Worker::connect("@doc-distributor-workers-max"), Err(Error::Refused { .. })));
    /// # Ok(())
    /// # }
    /// ```
    pub fn workers_max(mut self, workers: usize) -> Self {
        self.workers_max = workers.max(1);
        self
    }

    /// The most memory for the rings of all workers together, in bytes; one ring is made in any case. Default: 64 MiB.
    /// Workers beyond that memory are refused. Records that were [taken back](Self::take_back_after) are not
    /// counted: each takes its payload again, and about 100 bytes more.
    ///
    /// ```
    /// # use fdring::{Error, distribute::{DistributorOptions, Worker}};
    /// # fn main() -> fdring::Result<()> {
    /// let distributor = DistributorOptions::new().memory_max(512 << 10).listen("@doc-distributor-memory-max")?;
    /// let two = [Worker::connect("@doc-distributor-memory-max")?, Worker::connect("@doc-distributor-memory-max")?];
    /// assert!(matches!(Worker::connect("@doc-distributor-memory-max"), Err(Error::Refused { .. })));
    /// # Ok(())
    /// # }
    /// ```
    pub fn memory_max(mut self, bytes: u64) -> Self {
        self.memory_max = bytes;
        self
    }

    /// What to do while fewer workers are there than [`workers_min`](Self::workers_min). Default:
    /// [`TooFewWorkers::Wait`].
    ///
    /// ```
    /// # use fdring::distribute::{DistributorOptions, To, TooFewWorkers};
    /// # fn main() -> fdring::Result<()> {
    /// let options = DistributorOptions::new().too_few_workers(TooFewWorkers::Fail);
    /// let mut distributor = options.listen("@doc-distributor-too-few")?;
    /// assert!(distributor.send(To::MostRoom, b"work").is_err());
    /// # Ok(())
    /// # }
    /// ```
    pub fn too_few_workers(mut self, policy: TooFewWorkers) -> Self {
        self.too_few_workers = policy;
        self
    }

    /// The most unreleased records of one worker, at least 1. Records that wait in its ring count. Default: as many as
    /// its ring holds. With 1, a worker gets the next record when it is done with the one before. That is good for
    /// records that take long, but the worker waits for each of them.
    ///
    /// ```
    /// # use fdring::distribute::{DistributorOptions, To, Worker};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let mut distributor = DistributorOptions::new().records_max(1).listen("@doc-distributor-records-max")?;
    /// let mut worker = Worker::connect("@doc-distributor-records-max")?;
    /// distributor.send(To::MostRoom, b"one")?;
    /// assert!(distributor.try_send(To::MostRoom, b"two").is_err());
    /// worker.receive()?;
    /// worker.done();
    /// distributor.try_send(To::MostRoom, b"two")?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn records_max(mut self, records: usize) -> Self {
        self.records_max = records;
        self
    }

    /// How long the records of a worker that has gone wait for a successor, before they are given to the workers that
    /// are there. Default: 1 s. They wait longer while no worker is there at all.
    ///
    /// A successor that goes without having released anything does not restart the time.
    ///
    /// Records that were taken back are given out in order, before anything new. If the first of them belongs to a key
    /// whose worker has no room, all others wait for that worker.
    ///
    /// ```
    /// # use fdring::distribute::{DistributorOptions, Event, To, Worker};
    /// # use std::time::Duration;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let options = DistributorOptions::new().take_back_after(Duration::ZERO);
    /// let mut distributor = options.listen("@doc-take-back-after")?;
    /// let (first, mut second) =
    ///     (Worker::connect("@doc-take-back-after")?, Worker::connect("@doc-take-back-after")?);
    /// distributor.send(To::RoundRobin, b"one")?;
    /// distributor.send(To::RoundRobin, b"two")?;
    /// drop(first); // without having read anything
    /// # let done = std::thread::spawn(move || {
    /// assert_eq!(&second.receive().unwrap().unwrap()[..], b"two");
    /// assert_eq!(&second.receive().unwrap().unwrap()[..], b"one");
    /// # assert!(second.receive().unwrap().is_none());
    /// # });
    /// # distributor.finish_and_wait(Duration::from_secs(60))?;
    /// # done.join().unwrap();
    /// # Ok(())
    /// # }
    /// ```
    pub fn take_back_after(mut self, after: Duration) -> Self {
        self.take_back_after = after;
        self
    }

    /// How long a worker may have records and release none, before it is evicted and its records go to another one.
    /// Default: for ever, since a record may take hours. A worker that reads in place is never evicted.
    ///
    /// ```
    /// # use fdring::distribute::{DistributorOptions, Event, To, Worker};
    /// # use std::time::Duration;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let options = DistributorOptions::new().evict_after(Duration::from_millis(1));
    /// let mut distributor = options.listen("@doc-distributor-evict-after")?;
    /// let worker = Worker::connect("@doc-distributor-evict-after")?;
    /// distributor.send(To::MostRoom, b"work")?;
    /// while distributor.workers().iter().any(|worker| !worker.consumer.is_gone) {}
    /// # drop(worker);
    /// # Ok(())
    /// # }
    /// ```
    pub fn evict_after(mut self, after: Duration) -> Self {
        self.evict_after = Some(after);
        self
    }

    /// The number of workers that may die, panic or be evicted with the same record in hand, at least 1. After that
    /// many, the record is set aside ([`Event::SetAside`](super::Event::SetAside)) and given to nobody. Default: 3.
    /// Only a [`Worker`](super::Worker) tells which record it has in hand; a plain consumer does not.
    ///
    /// ```
    /// # use fdring::distribute::{DistributorOptions, Event, To, Worker};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let mut distributor = DistributorOptions::new().deaths_max(1).listen("@doc-distributor-deaths-max")?;
    /// let mut worker = Worker::connect("@doc-distributor-deaths-max")?;
    /// distributor.send(To::MostRoom, b"poison")?;
    /// let died = std::thread::spawn(move || {
    ///     worker.receive().unwrap();
    ///     panic!("it is too much for this worker");
    /// });
    /// assert!(died.join().is_err());
    /// let poison = loop {
    ///     if let Some(Event::SetAside(poison)) = distributor.try_next_event() {
    ///         break poison;
    ///     }
    /// };
    /// assert_eq!(&poison.payload[..], b"poison");
    /// # Ok(())
    /// # }
    /// ```
    pub fn deaths_max(mut self, deaths: u32) -> Self {
        self.deaths_max = deaths;
        self
    }

    /// Has `interrupter` end every wait of the distributor. Default: none does.
    ///
    /// ```
    /// # use fdring::{Interrupter, distribute::{DistributorOptions, To}, errors::SendError};
    /// # fn main() -> fdring::Result<()> {
    /// let stop = Interrupter::new()?;
    /// let mut distributor = DistributorOptions::new().interrupter(&stop).listen("@doc-distributor-interrupter")?;
    /// # stop.interrupt();
    /// // Meanwhile, in another thread or a signal handler: stop.interrupt()
    /// assert_eq!(distributor.send(To::MostRoom, b"work").unwrap_err(), SendError::Interrupted);
    /// # Ok(())
    /// # }
    /// ```
    pub fn interrupter(mut self, interrupter: &Interrupter) -> Self {
        self.interrupter = Some(interrupter.clone());
        self
    }

    /// Listens at `address` for workers.
    ///
    /// ```
    /// # use fdring::distribute::DistributorOptions;
    /// # fn main() -> fdring::Result<()> {
    /// let distributor = DistributorOptions::new().listen("@doc-distributor-options-listen")?;
    /// assert_eq!(distributor.address().to_string(), "@doc-distributor-options-listen");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`Error::AddressInUse`](crate::Error::AddressInUse) if a living process serves this address
    /// - [`Error::Invalid`](crate::Error::Invalid) if the address or the lane's name is out of range, if the path
    ///   belongs to something other than a socket, or if other users are admitted and the mode lets only the socket's
    ///   owner connect
    /// - [`Error::Geometry`](crate::Error::Geometry) if the capacity or an alignment is out of range
    /// - [`Error::Os`](crate::Error::Os) if a system call fails, or the system is short of memory or descriptors
    /// - [`Error::Forked`](crate::Error::Forked) in a forked child of a process that has used this library
    pub fn listen(self, address: impl Into<Address>) -> Result<Distributor> {
        Distributor::with(self, address.into())
    }
}

impl Default for DistributorOptions {
    fn default() -> Self {
        Self::new()
    }
}
