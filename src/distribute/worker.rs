//! The reading end of a distributor: a worker, and the records that it has in hand.
//!
//! The invariant: a record is released when its worker says that it is done with it, by its next call or by hand, and
//! never because something else went wrong.

mod stats;

pub use stats::WorkerStats;

use crate::consumer::{Consumer, ReceiveError, Record, RecordInHand};
use crate::deadline::Deadline;
use crate::error::{Error, Result};
use crate::info::LaneInfo;
use crate::select::Selectable;
use crate::session::Address;
use rustix::fd::{AsFd, BorrowedFd};
use std::fmt;
use std::ops::Deref;
use std::time::{Duration, Instant};

/// A worker of a [`Distributor`](super::Distributor): a consumer that gets records of its own, and tells when it is
/// done with each.
///
/// A record from [`receive`](Self::receive) is done when the next one is asked for. A record from [`take`](Self::take)
/// is done when [`Task::done`] is called, in any order and on any thread. If a worker dies, hangs up, panics or is
/// evicted, the records that were not done go to another worker, so that each record is worked on at least once.
/// Dropping a worker without a panic counts the record in hand as done; the rest of its queue goes to others.
///
/// ```
/// use fdring::distribute::{Distributor, To, Worker};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut distributor = Distributor::listen("@doc-worker")?;
///
/// // Usually another process:
/// let mut worker = Worker::connect("@doc-worker")?;
/// let worker = std::thread::spawn(move || -> std::io::Result<usize> {
///     let mut bytes = 0;
///     while let Some(task) = worker.receive()? {
///         bytes += task.len();
///     }
///     Ok(bytes)
/// });
///
/// for task in ["one", "two", "three"] {
///     distributor.send(To::MostRoom, task.as_bytes())?;
/// }
/// distributor.finish_and_wait(std::time::Duration::from_secs(60))?;
/// assert_eq!(worker.join().unwrap()?, 11);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "dropping a worker leaves its work to others; keep it in a variable"]
pub struct Worker {
    consumer: Consumer,
    /// How many records were taken as tasks.
    tasks: u64,
}

impl Worker {
    /// Connects to the distributor at `address`, and reads copies. For other options, make a [`Consumer`] with
    /// [`SessionOptions`](crate::options::SessionOptions) and pass it to [`new`](Self::new).
    ///
    /// ```
    /// # use fdring::distribute::{Distributor, Worker};
    /// # fn main() -> fdring::Result<()> {
    /// let distributor = Distributor::listen("@doc-worker-connect")?;
    /// let worker = Worker::connect("@doc-worker-connect")?;
    /// assert_eq!(worker.lane().name, "work");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`Error::Invalid`] if the address is out of range, or what listens there is no distributor: each of its
    ///   consumers would get every record
    /// - [`Error::Os`] if nobody listens there, or the system is short of memory or descriptors
    /// - [`Error::Refused`] if the distributor refuses, for example because it has its most workers already
    /// - [`Error::Forbidden`] if the distributor runs as another user
    /// - [`Error::Peer`] if the distributor breaks the protocol, or offers memory that must not be mapped
    /// - [`Error::Closed`] if the distributor closes the connection
    /// - [`Error::TimedOut`] if the handshake takes longer than 5 s
    /// - [`Error::Forked`] in a forked child of a process that has used this library
    pub fn connect(address: impl Into<Address>) -> Result<Self> {
        Self::new(Consumer::connect(address)?)
    }

    /// Makes a worker of `consumer`, whose lane must be a distributor's.
    ///
    /// ```
    /// # use fdring::distribute::{Distributor, Worker};
    /// use fdring::{Attach, options::SessionOptions};
    /// use std::time::Duration;
    ///
    /// # fn main() -> fdring::Result<()> {
    /// # let distributor = Distributor::listen("@doc-worker-new")?;
    /// // SAFETY: the distributor is a process of ours, which uses this library.
    /// let in_place = unsafe { Attach::new().in_place() };
    /// let session = SessionOptions::new().patience(Duration::from_secs(10)).connect("@doc-worker-new")?;
    /// let worker = Worker::new(session.attach_one(in_place)?)?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] if the consumer's lane is not a distributor's.
    pub fn new(mut consumer: Consumer) -> Result<Self> {
        if !consumer.lane().has_one_worker {
            let sentence = format!(
                "lane {} is not that of one worker: each of its consumers gets every record; connect to a distributor",
                consumer.lane().name
            );
            return Err(Error::Invalid(sentence));
        }
        consumer.begin_work();
        Ok(Self { consumer, tasks: 0 })
    }

    /// The next record. Waits until there is one. The record before it is done. `None` once the distributor has
    /// finished and all records of this worker were read.
    ///
    /// ```
    /// # use fdring::distribute::{Distributor, To, Worker};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut distributor = Distributor::listen("@doc-worker-receive")?;
    /// # let mut worker = Worker::connect("@doc-worker-receive")?;
    /// distributor.send(To::MostRoom, b"work")?;
    /// assert_eq!(&worker.receive()?.expect("it is for the only worker")[..], b"work");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`ReceiveError::Evicted`] if this worker was evicted: its records are given to others, at once
    /// - [`ReceiveError::Abandoned`] if the distributor gave up or panicked
    /// - [`ReceiveError::PeerDead`] if the distributor died
    /// - [`ReceiveError::HungUp`] if the distributor hung up alive
    /// - [`ReceiveError::Refused`] or [`ReceiveError::Peer`] if it refused to go on, or broke the session's protocol
    /// - [`ReceiveError::Closed`] if the distributor's process closed the session
    /// - [`ReceiveError::Corrupt`] if the distributor broke the protocol
    /// - [`ReceiveError::Interrupted`] if an [`Interrupter`](crate::Interrupter) ended the wait
    /// - [`ReceiveError::Wait`] if the kernel does not let this thread wait
    /// - [`ReceiveError::Forked`] in a forked child
    #[inline]
    pub fn receive(&mut self) -> Result<Option<Record<'_>>, ReceiveError> {
        self.receive_until(Deadline::Never)
    }

    /// Like [`receive`](Self::receive), but never waits.
    ///
    /// ```
    /// # use fdring::{distribute::{Distributor, Worker}, errors::ReceiveError};
    /// # fn main() -> fdring::Result<()> {
    /// # let distributor = Distributor::listen("@doc-worker-try-receive")?;
    /// # let mut worker = Worker::connect("@doc-worker-try-receive")?;
    /// assert_eq!(worker.try_receive().unwrap_err(), ReceiveError::Empty);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`ReceiveError::Empty`] if no record is there now
    /// - [`ReceiveError::Evicted`] if this worker was evicted: its records are given to others, at once
    /// - [`ReceiveError::Abandoned`] if the distributor gave up or panicked
    /// - [`ReceiveError::PeerDead`] if the distributor died
    /// - [`ReceiveError::HungUp`] if the distributor hung up alive
    /// - [`ReceiveError::Refused`] or [`ReceiveError::Peer`] if it refused to go on, or broke the session's protocol
    /// - [`ReceiveError::Closed`] if the distributor's process closed the session
    /// - [`ReceiveError::Corrupt`] if the distributor broke the protocol
    /// - [`ReceiveError::Forked`] in a forked child
    #[inline]
    pub fn try_receive(&mut self) -> Result<Option<Record<'_>>, ReceiveError> {
        self.receive_until(Deadline::Now)
    }

    /// Like [`receive`](Self::receive), but waits at most `timeout`.
    ///
    /// ```
    /// # use fdring::{distribute::{Distributor, Worker}, errors::ReceiveError};
    /// # use std::time::Duration;
    /// # fn main() -> fdring::Result<()> {
    /// # let distributor = Distributor::listen("@doc-worker-receive-timeout")?;
    /// # let mut worker = Worker::connect("@doc-worker-receive-timeout")?;
    /// assert_eq!(worker.receive_timeout(Duration::from_millis(1)).unwrap_err(), ReceiveError::TimedOut);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`ReceiveError::TimedOut`] if no record came within `timeout`
    /// - [`ReceiveError::Evicted`] if this worker was evicted: its records are given to others, at once
    /// - [`ReceiveError::Abandoned`] if the distributor gave up or panicked
    /// - [`ReceiveError::PeerDead`] if the distributor died
    /// - [`ReceiveError::HungUp`] if the distributor hung up alive
    /// - [`ReceiveError::Refused`] or [`ReceiveError::Peer`] if it refused to go on, or broke the session's protocol
    /// - [`ReceiveError::Closed`] if the distributor's process closed the session
    /// - [`ReceiveError::Corrupt`] if the distributor broke the protocol
    /// - [`ReceiveError::Interrupted`] if an [`Interrupter`](crate::Interrupter) ended the wait
    /// - [`ReceiveError::Wait`] if the kernel does not let this thread wait
    /// - [`ReceiveError::Forked`] in a forked child
    pub fn receive_timeout(&mut self, timeout: Duration) -> Result<Option<Record<'_>>, ReceiveError> {
        self.receive_until(Deadline::after(timeout))
    }

    /// Like [`receive`](Self::receive), but waits only until `deadline`.
    ///
    /// ```
    /// # use fdring::{distribute::{Distributor, Worker}, errors::ReceiveError};
    /// # use std::time::Instant;
    /// # fn main() -> fdring::Result<()> {
    /// # let distributor = Distributor::listen("@doc-worker-receive-deadline")?;
    /// # let mut worker = Worker::connect("@doc-worker-receive-deadline")?;
    /// assert_eq!(worker.receive_deadline(Instant::now()).unwrap_err(), ReceiveError::TimedOut);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`ReceiveError::TimedOut`] if no record came before `deadline`
    /// - [`ReceiveError::Evicted`] if this worker was evicted: its records are given to others, at once
    /// - [`ReceiveError::Abandoned`] if the distributor gave up or panicked
    /// - [`ReceiveError::PeerDead`] if the distributor died
    /// - [`ReceiveError::HungUp`] if the distributor hung up alive
    /// - [`ReceiveError::Refused`] or [`ReceiveError::Peer`] if it refused to go on, or broke the session's protocol
    /// - [`ReceiveError::Closed`] if the distributor's process closed the session
    /// - [`ReceiveError::Corrupt`] if the distributor broke the protocol
    /// - [`ReceiveError::Interrupted`] if an [`Interrupter`](crate::Interrupter) ended the wait
    /// - [`ReceiveError::Wait`] if the kernel does not let this thread wait
    /// - [`ReceiveError::Forked`] in a forked child
    pub fn receive_deadline(&mut self, deadline: Instant) -> Result<Option<Record<'_>>, ReceiveError> {
        self.receive_until(Deadline::At(deadline))
    }

    /// The next record as a [`Task`], which is done when [`Task::done`] is called. Waits until there is one. A record
    /// from [`receive`](Self::receive) before it is done. `None` once the distributor has finished and all records of
    /// this worker were read.
    ///
    /// A distributor in [`finish_and_wait`](super::Distributor::finish_and_wait) does not finish before the tasks in
    /// hand are done. So a worker that collects a batch should call [`take_timeout`](Self::take_timeout), and work on
    /// an incomplete batch when nothing comes.
    ///
    /// ```
    /// # use fdring::distribute::{Distributor, To, Worker};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut distributor = Distributor::listen("@doc-worker-take")?;
    /// # let mut worker = Worker::connect("@doc-worker-take")?;
    /// # for n in 0..2 {
    /// #     distributor.send(To::MostRoom, &[n])?;
    /// # }
    /// let (first, second) = (worker.take()?.expect("one"), worker.take()?.expect("two"));
    /// std::thread::spawn(move || second.done()).join().unwrap();
    /// first.done();
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`ReceiveError::Evicted`] if this worker was evicted: its records are given to others, at once
    /// - [`ReceiveError::Abandoned`] if the distributor gave up or panicked
    /// - [`ReceiveError::PeerDead`] if the distributor died
    /// - [`ReceiveError::HungUp`] if the distributor hung up alive
    /// - [`ReceiveError::Refused`] or [`ReceiveError::Peer`] if it refused to go on, or broke the session's protocol
    /// - [`ReceiveError::Closed`] if the distributor's process closed the session
    /// - [`ReceiveError::Corrupt`] if the distributor broke the protocol
    /// - [`ReceiveError::Interrupted`] if an [`Interrupter`](crate::Interrupter) ended the wait
    /// - [`ReceiveError::Wait`] if the kernel does not let this thread wait
    /// - [`ReceiveError::Forked`] in a forked child
    #[inline]
    pub fn take(&mut self) -> Result<Option<Task>, ReceiveError> {
        self.take_until(Deadline::Never)
    }

    /// Like [`take`](Self::take), but never waits.
    ///
    /// ```
    /// # use fdring::{distribute::{Distributor, Worker}, errors::ReceiveError};
    /// # fn main() -> fdring::Result<()> {
    /// # let distributor = Distributor::listen("@doc-worker-try-take")?;
    /// # let mut worker = Worker::connect("@doc-worker-try-take")?;
    /// assert_eq!(worker.try_take().unwrap_err(), ReceiveError::Empty);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`ReceiveError::Empty`] if no record is there now
    /// - [`ReceiveError::Evicted`] if this worker was evicted: its records are given to others, at once
    /// - [`ReceiveError::Abandoned`] if the distributor gave up or panicked
    /// - [`ReceiveError::PeerDead`] if the distributor died
    /// - [`ReceiveError::HungUp`] if the distributor hung up alive
    /// - [`ReceiveError::Refused`] or [`ReceiveError::Peer`] if it refused to go on, or broke the session's protocol
    /// - [`ReceiveError::Closed`] if the distributor's process closed the session
    /// - [`ReceiveError::Corrupt`] if the distributor broke the protocol
    /// - [`ReceiveError::Forked`] in a forked child
    #[inline]
    pub fn try_take(&mut self) -> Result<Option<Task>, ReceiveError> {
        self.take_until(Deadline::Now)
    }

    /// Like [`take`](Self::take), but waits at most `timeout`.
    ///
    /// ```
    /// # use fdring::{distribute::{Distributor, Worker}, errors::ReceiveError};
    /// # use std::time::Duration;
    /// # fn main() -> fdring::Result<()> {
    /// # let distributor = Distributor::listen("@doc-worker-take-timeout")?;
    /// # let mut worker = Worker::connect("@doc-worker-take-timeout")?;
    /// assert_eq!(worker.take_timeout(Duration::from_millis(1)).unwrap_err(), ReceiveError::TimedOut);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`ReceiveError::TimedOut`] if no record came within `timeout`
    /// - [`ReceiveError::Evicted`] if this worker was evicted: its records are given to others, at once
    /// - [`ReceiveError::Abandoned`] if the distributor gave up or panicked
    /// - [`ReceiveError::PeerDead`] if the distributor died
    /// - [`ReceiveError::HungUp`] if the distributor hung up alive
    /// - [`ReceiveError::Refused`] or [`ReceiveError::Peer`] if it refused to go on, or broke the session's protocol
    /// - [`ReceiveError::Closed`] if the distributor's process closed the session
    /// - [`ReceiveError::Corrupt`] if the distributor broke the protocol
    /// - [`ReceiveError::Interrupted`] if an [`Interrupter`](crate::Interrupter) ended the wait
    /// - [`ReceiveError::Wait`] if the kernel does not let this thread wait
    /// - [`ReceiveError::Forked`] in a forked child
    pub fn take_timeout(&mut self, timeout: Duration) -> Result<Option<Task>, ReceiveError> {
        self.take_until(Deadline::after(timeout))
    }

    /// Like [`take`](Self::take), but waits only until `deadline`, which several calls can share.
    ///
    /// ```
    /// # use fdring::{distribute::{Distributor, To, Worker}, errors::ReceiveError};
    /// # use std::time::{Duration, Instant};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut distributor = Distributor::listen("@doc-worker-take-deadline")?;
    /// # let mut worker = Worker::connect("@doc-worker-take-deadline")?;
    /// # for n in 0..2 {
    /// #     distributor.send(To::MostRoom, &[n])?;
    /// # }
    /// let deadline = Instant::now() + Duration::from_millis(10);
    /// let mut batch = Vec::new();
    /// let why = loop {
    ///     match worker.take_deadline(deadline) {
    ///         Ok(task) => batch.extend(task), // `None` once the distributor has finished
    ///         Err(error) => break error,
    ///     }
    /// };
    /// assert_eq!((batch.len(), why), (2, ReceiveError::TimedOut));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`ReceiveError::TimedOut`] if no record came before `deadline`
    /// - [`ReceiveError::Evicted`] if this worker was evicted: its records are given to others, at once
    /// - [`ReceiveError::Abandoned`] if the distributor gave up or panicked
    /// - [`ReceiveError::PeerDead`] if the distributor died
    /// - [`ReceiveError::HungUp`] if the distributor hung up alive
    /// - [`ReceiveError::Refused`] or [`ReceiveError::Peer`] if it refused to go on, or broke the session's protocol
    /// - [`ReceiveError::Closed`] if the distributor's process closed the session
    /// - [`ReceiveError::Corrupt`] if the distributor broke the protocol
    /// - [`ReceiveError::Interrupted`] if an [`Interrupter`](crate::Interrupter) ended the wait
    /// - [`ReceiveError::Wait`] if the kernel does not let this thread wait
    /// - [`ReceiveError::Forked`] in a forked child
    pub fn take_deadline(&mut self, deadline: Instant) -> Result<Option<Task>, ReceiveError> {
        self.take_until(Deadline::At(deadline))
    }

    /// Marks the record of the last [`receive`](Self::receive) as done, before the next one is asked for. No effect on
    /// a [`Task`].
    ///
    /// ```
    /// # use fdring::distribute::{Distributor, To, Worker};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut distributor = Distributor::listen("@doc-worker-done")?;
    /// # let mut worker = Worker::connect("@doc-worker-done")?;
    /// distributor.send(To::MostRoom, b"work")?;
    /// worker.receive()?;
    /// assert_eq!(distributor.workers()[0].unreleased_records, 1);
    /// worker.done();
    /// assert_eq!(distributor.workers()[0].unreleased_records, 0);
    /// # Ok(())
    /// # }
    /// ```
    pub fn done(&mut self) {
        self.consumer.release();
    }

    /// The facts of this worker's lane.
    ///
    /// ```
    /// # use fdring::distribute::{Distributor, Worker};
    /// # fn main() -> fdring::Result<()> {
    /// # let distributor = Distributor::listen("@doc-worker-lane")?;
    /// # let worker = Worker::connect("@doc-worker-lane")?;
    /// assert!(worker.lane().has_one_worker);
    /// # Ok(())
    /// # }
    /// ```
    pub fn lane(&self) -> &LaneInfo {
        self.consumer.lane()
    }

    /// Prepares a wait in the caller's event loop, like [`Consumer::arm`]. The record of the last
    /// [`receive`](Self::receive) is done.
    ///
    /// ```
    /// # use fdring::distribute::{Distributor, Worker};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let distributor = Distributor::listen("@doc-worker-arm")?;
    /// # let mut worker = Worker::connect("@doc-worker-arm")?;
    /// assert!(worker.arm()?); // now wait for its descriptor
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`ReceiveError::Interrupted`] if there is no news, and an [`Interrupter`](crate::Interrupter) has ended all
    ///   waits
    /// - [`ReceiveError::Wait`] if the kernel gives no descriptor or timer for it
    /// - [`ReceiveError::Forked`] in a forked child
    pub fn arm(&mut self) -> Result<bool, ReceiveError> {
        self.consumer.arm()
    }

    /// Is done with the record in hand, as one whose look is a moment too early to see that its distributor waits.
    #[cfg(test)]
    pub(super) fn release_unheard(&self) {
        self.consumer.release_unheard();
    }

    /// Makes up for the fence that the last release was made without; whether it was made without one.
    #[cfg(test)]
    pub(super) fn confirm_release(&mut self) -> bool {
        self.consumer.confirm_release()
    }

    /// Whether the distributor has announced that it waits.
    #[cfg(test)]
    pub(super) fn is_waited_for(&self) -> bool {
        self.consumer.is_waited_for()
    }

    /// Whether the next call that takes a record has something to say, by a look that goes on for a moment. The record
    /// before it is done first: its distributor may wait for that.
    #[cfg(feature = "tokio")]
    pub(crate) fn has_work_soon(&mut self) -> bool {
        self.consumer.has_work_soon()
    }

    #[inline(always)]
    fn receive_until(&mut self, deadline: Deadline) -> Result<Option<Record<'_>>, ReceiveError> {
        match self.consumer.find_work(deadline)? {
            Some(found) => Ok(Some(self.consumer.record(found)?)),
            None => Ok(None),
        }
    }

    #[inline(always)]
    fn take_until(&mut self, deadline: Deadline) -> Result<Option<Task>, ReceiveError> {
        let Some(found) = self.consumer.find_work(deadline)? else { return Ok(None) };
        let in_hand = self.consumer.keep_in_hand(found)?;
        self.tasks += 1;
        Ok(Some(Task { in_hand }))
    }
}

impl AsFd for Worker {
    /// The descriptor to wait for, see [`arm`](Self::arm).
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.consumer.as_fd()
    }
}

impl Selectable for Worker {
    fn arm(&mut self) -> Result<bool, ReceiveError> {
        Self::arm(self)
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if std::thread::panicking() && !self.consumer.is_forked() {
            // So it is not released, and the worker does not leave in order.
            self.consumer.keep_for_good();
        }
    }
}

/// A record in hand, until [`done`](Self::done) is called. It dereferences to `[u8]`, its payload, and has a tag.
///
/// [`Worker::take`] returns it. A worker may have several tasks in hand, and finish them in any order, on any thread,
/// even after it was dropped. A task that is dropped was not done. Once this worker is gone, that task and all tasks
/// after it, done or not, go to another worker.
///
/// ```
/// use fdring::distribute::{Distributor, To, Worker};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let mut distributor = Distributor::listen("@doc-task")?;
/// # let mut worker = Worker::connect("@doc-task")?;
/// distributor.send(To::MostRoom, b"row 1")?;
/// distributor.send(To::MostRoom, b"row 2")?;
///
/// // A batch, which is done as a whole.
/// let batch = [worker.take()?.unwrap(), worker.take()?.unwrap()];
/// let rows: Vec<&str> = batch.iter().map(|task| std::str::from_utf8(task).unwrap()).collect();
/// assert_eq!(rows, ["row 1", "row 2"]);
/// batch.into_iter().for_each(|task| task.done());
/// # Ok(())
/// # }
/// ```
#[must_use = "a task that is dropped is not done, and is given to another worker"]
pub struct Task {
    in_hand: RecordInHand,
}

impl Task {
    /// Marks the task as done. It is never given to another worker once all tasks before it are done, too.
    ///
    /// ```
    /// # use fdring::distribute::{Distributor, To, Worker};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut distributor = Distributor::listen("@doc-task-done")?;
    /// # let mut worker = Worker::connect("@doc-task-done")?;
    /// distributor.send(To::MostRoom, b"work")?;
    /// worker.take()?.expect("it is there").done();
    /// assert_eq!(distributor.workers()[0].unreleased_records, 0);
    /// # Ok(())
    /// # }
    /// ```
    #[inline]
    pub fn done(self) {
        self.in_hand.end();
    }

    /// The tag that the record was sent with. Default: 0.
    ///
    /// ```
    /// # use fdring::distribute::{Distributor, To, Worker};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut distributor = Distributor::listen("@doc-task-tag")?;
    /// # let mut worker = Worker::connect("@doc-task-tag")?;
    /// let mut assignment = distributor.reserve(To::MostRoom, 4)?;
    /// assignment.set_tag(7);
    /// assignment.commit();
    /// assert_eq!(worker.take()?.expect("it is there").tag(), 7);
    /// # Ok(())
    /// # }
    /// ```
    pub fn tag(&self) -> u16 {
        self.in_hand.tag()
    }
}

impl Deref for Task {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        self.in_hand.payload()
    }
}

impl AsRef<[u8]> for Task {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl fmt::Debug for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.in_hand.debug_as("Task", f)
    }
}
