//! What a worker has counted: records, tasks, and how often it slept.
//!
//! The invariant: a look at the statistics changes nothing.

use super::Worker;
use crate::consumer::ConsumerStats;

/// The statistics of a [`Worker`] since it attached.
///
/// ```
/// use fdring::distribute::{Distributor, To, Worker, WorkerStats};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let mut distributor = Distributor::listen("@doc-worker-stats-struct")?;
/// # let mut worker = Worker::connect("@doc-worker-stats-struct")?;
/// for task in ["one", "two", "three"] {
///     distributor.send(To::MostRoom, task.as_bytes())?;
/// }
/// worker.receive()?;
/// let (two, three) = (worker.take()?.unwrap(), worker.take()?.unwrap());
/// two.done();
///
/// let WorkerStats { records, tasks, tasks_done, held_bytes, .. } = worker.stats();
/// assert_eq!((records, tasks, tasks_done), (3, 2, 1));
/// assert_eq!(held_bytes, 16); // the third record
/// # three.done();
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct WorkerStats {
    /// The records received, as records and as tasks.
    pub records: u64,
    /// The bytes that these records take in the ring: headers, payloads and alignment, without the padding at the end
    /// of the ring.
    pub record_bytes: u64,
    /// The records received as tasks, by [`take`](Worker::take) and its other forms.
    pub tasks: u64,
    /// The tasks that are [done](super::Task::done). A task that is dropped is not.
    pub tasks_done: u64,
    /// The bytes from the first task that is not done to the last record received: what the distributor cannot
    /// overwrite now because of tasks, headers and padding included.
    pub held_bytes: u64,
    /// The bytes that an evicted worker had not read, headers and padding included, up to the time at which it found
    /// out that it was evicted. The distributor gives these records to others.
    pub missed_bytes: u64,
    /// How often it went to sleep, or was [armed](Worker::arm) for a loop of the caller's, with nothing to receive.
    pub times_slept: u64,
}

impl Worker {
    /// The statistics so far; all zero in a forked child.
    ///
    /// ```
    /// # use fdring::distribute::{Distributor, To, Worker};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut distributor = Distributor::listen("@doc-worker-stats")?;
    /// # let mut worker = Worker::connect("@doc-worker-stats")?;
    /// let before = worker.stats();
    /// distributor.send(To::MostRoom, b"work")?;
    /// worker.receive()?;
    /// assert_eq!(worker.stats().records - before.records, 1);
    /// # Ok(())
    /// # }
    /// ```
    pub fn stats(&self) -> WorkerStats {
        if self.consumer.is_forked() {
            return WorkerStats::default();
        }
        let ConsumerStats { records, record_bytes, missed_bytes, held_bytes, times_slept } = self.consumer.stats();
        let (tasks, tasks_done) = (self.tasks, self.consumer.records_done());
        WorkerStats { records, record_bytes, tasks, tasks_done, held_bytes, missed_bytes, times_slept }
    }
}
