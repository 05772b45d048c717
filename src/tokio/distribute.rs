//! Distributors and workers in tasks.
//!
//! The invariant: a future that is dropped before its end has sent nothing, and taken nothing. While one is awaited,
//! its distributor acts in time: its own descriptor says when, and no timer of the runtime.

use super::read::on_a_blocking_thread;
use super::{Async, RUNTIME_GONE};
use crate::consumer::{ReceiveError, Record};
use crate::distribute::{Assignment, Demand, Distributor, Event, Task, To, Worker};
use crate::error::Result;
use crate::producer::{Records, SendError};
use crate::session::Address;
use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll, ready};

/// To limit a wait, race it against a timer: its future can be dropped at any time.
///
/// A distributor acts only while one of its methods runs: if there is nothing to send, await
/// [`next_event`](Self::next_event), which gives the records of workers that have gone to others meanwhile.
impl Async<Distributor> {
    /// Sends a record to one worker, like [`Distributor::send`]. Waits until a worker has room. A future that is
    /// dropped before its end has sent nothing.
    ///
    /// ```
    /// use fdring::distribute::{Distributor, To, Worker};
    /// use fdring::tokio::Async;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
    /// let mut distributor = Async::new(Distributor::listen("@doc-tokio-distributor")?)?;
    /// let mut worker = Async::<Worker>::connect("@doc-tokio-distributor").await?; // usually in another process
    /// let work = tokio::spawn(async move {
    ///     let mut images = 0;
    ///     while let Some(_image) = worker.receive().await.unwrap() {
    ///         images += 1;
    ///     }
    ///     images
    /// });
    /// for image in ["cat.png", "dog.png"] {
    ///     distributor.send(To::MostRoom, image.as_bytes()).await?;
    /// }
    /// distributor.wait_released().await?;
    /// drop(distributor); // the lanes of its workers end
    /// assert_eq!(work.await?, 2);
    /// # Ok(()) })
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`SendError::TooLong`] if `payload` is longer than [`Distributor::payload_max`]
    /// - [`SendError::TooFewConsumers`] if too few workers are there, with
    ///   [`TooFewWorkers::Fail`](crate::distribute::TooFewWorkers::Fail)
    /// - [`SendError::Interrupted`] if an [`Interrupter`](crate::Interrupter) ended the wait
    /// - [`SendError::Wait`] if the kernel cannot watch the descriptors, or the runtime has been shut down
    /// - [`SendError::Forked`] in a forked child
    pub async fn send(&mut self, to: To, payload: &[u8]) -> Result<(), SendError> {
        let mut assignment = self.reserve(to, payload.len()).await?;
        assignment.copy_from_slice(payload);
        assignment.commit();
        Ok(())
    }

    /// Reserves room for a record of `len` bytes in one worker's ring, like [`Distributor::reserve`]. Waits until a
    /// worker has room.
    ///
    /// ```
    /// # use fdring::{distribute::{Distributor, To, Worker}, tokio::Async};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
    /// # let mut distributor = Async::new(Distributor::listen("@doc-tokio-distributor-reserve")?)?;
    /// # let mut worker = Async::<Worker>::connect("@doc-tokio-distributor-reserve").await?;
    /// let mut assignment = distributor.reserve(To::RoundRobin, 5).await?;
    /// assignment.copy_from_slice(b"hello");
    /// assignment.commit();
    /// assert_eq!(&worker.receive().await?.unwrap()[..], b"hello");
    /// # Ok(()) })
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`SendError::TooLong`] if `len` is more than [`Distributor::payload_max`]
    /// - [`SendError::TooFewConsumers`] if too few workers are there, with
    ///   [`TooFewWorkers::Fail`](crate::distribute::TooFewWorkers::Fail)
    /// - [`SendError::Interrupted`] if an [`Interrupter`](crate::Interrupter) ended the wait
    /// - [`SendError::Wait`] if the kernel cannot watch the descriptors, or the runtime has been shut down
    /// - [`SendError::Forked`] in a forked child
    pub async fn reserve(&mut self, to: To, len: usize) -> Result<Assignment<'_>, SendError> {
        let demand = Demand { to, len };
        let slot = poll_fn(|cx| self.poll_room(cx, demand)).await?;
        self.get_mut().assign(slot, demand)
    }

    /// Gives one worker up to `records.count` records, published at once, like [`Distributor::fill_many`]. Waits until
    /// a worker has room for one. Returns how many there was room for. `fill` is called once there is room.
    ///
    /// ```
    /// # use fdring::{distribute::{Distributor, To, Worker}, options::Records, tokio::Async};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
    /// # let mut distributor = Async::new(Distributor::listen("@doc-tokio-distributor-fill-many")?)?;
    /// # let mut worker = Async::<Worker>::connect("@doc-tokio-distributor-fill-many").await?;
    /// let squares = Records { count: 3, len: 8 };
    /// let square = |n: usize, record: &mut [u8]| record.copy_from_slice(&(n * n).to_le_bytes());
    /// assert_eq!(distributor.fill_many(To::MostRoom, squares, square).await?, 3);
    /// assert_eq!(worker.receive().await?.unwrap()[..], 0_u64.to_le_bytes());
    /// # Ok(()) })
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`SendError::TooLong`] if `records.len` is more than [`Distributor::payload_max`]
    /// - [`SendError::TooFewConsumers`] if too few workers are there, with
    ///   [`TooFewWorkers::Fail`](crate::distribute::TooFewWorkers::Fail)
    /// - [`SendError::Interrupted`] if an [`Interrupter`](crate::Interrupter) ended the wait
    /// - [`SendError::Wait`] if the kernel cannot watch the descriptors, or the runtime has been shut down
    /// - [`SendError::Forked`] in a forked child
    pub async fn fill_many(
        &mut self,
        to: To,
        records: Records,
        fill: impl FnMut(usize, &mut [u8]),
    ) -> Result<usize, SendError> {
        if records.count == 0 {
            return self.get_mut().try_fill_many(to, records, fill);
        }
        let demand = Demand { to, len: records.len };
        let slot = poll_fn(|cx| self.poll_room(cx, demand)).await?;
        self.get_mut().give_many(slot, demand, records.count, fill)
    }

    /// The next event, like [`Distributor::try_next_event`]. Waits until there is one.
    ///
    /// ```
    /// # use fdring::{distribute::{Distributor, Event, Worker}, tokio::Async};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
    /// let mut distributor = Async::new(Distributor::listen("@doc-tokio-distributor-next-event")?)?;
    /// let worker = Async::<Worker>::connect("@doc-tokio-distributor-next-event").await?;
    /// assert!(matches!(distributor.next_event().await?, Event::Joined { slot: 0, .. }));
    /// # drop(worker);
    /// # Ok(()) })
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`SendError::Interrupted`] if an [`Interrupter`](crate::Interrupter) ended the wait
    /// - [`SendError::Wait`] if the kernel cannot watch the descriptors, or the runtime has been shut down
    /// - [`SendError::Forked`] in a forked child
    pub async fn next_event(&mut self) -> Result<Event, SendError> {
        poll_fn(|cx| self.poll_found(cx, Distributor::look_for_event)).await
    }

    /// Waits until at least `count` workers are there, like [`Distributor::wait_for_workers`].
    ///
    /// ```
    /// # use fdring::{distribute::{Distributor, Worker}, tokio::Async};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
    /// # let mut distributor = Async::new(Distributor::listen("@doc-tokio-distributor-wait-for-workers")?)?;
    /// # let worker = Async::<Worker>::connect("@doc-tokio-distributor-wait-for-workers").await?;
    /// distributor.wait_for_workers(1).await?;
    /// # drop(worker);
    /// # Ok(()) })
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`SendError::Interrupted`] if an [`Interrupter`](crate::Interrupter) ended the wait
    /// - [`SendError::Wait`] if the kernel cannot watch the descriptors, or the runtime has been shut down
    /// - [`SendError::Forked`] in a forked child
    pub async fn wait_for_workers(&mut self, count: usize) -> Result<(), SendError> {
        poll_fn(|cx| self.poll_found(cx, |distributor| distributor.look_for_workers(count))).await
    }

    /// Waits until every record that was sent is released or set aside, like [`Distributor::wait_released`]. Drop the
    /// distributor then to finish the lanes of its workers.
    ///
    /// ```
    /// # use fdring::{distribute::{Distributor, To, Worker}, tokio::Async};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
    /// # let mut distributor = Async::new(Distributor::listen("@doc-tokio-distributor-wait-released")?)?;
    /// # let mut worker = Async::<Worker>::connect("@doc-tokio-distributor-wait-released").await?;
    /// # let work = tokio::spawn(async move { while worker.receive().await.unwrap().is_some() {} });
    /// distributor.send(To::MostRoom, b"part 1 of 2").await?;
    /// distributor.wait_released().await?;
    /// println!("part 1 is done");
    /// # drop(distributor);
    /// # work.await?;
    /// # Ok(()) })
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`SendError::Interrupted`] if an [`Interrupter`](crate::Interrupter) ended the wait
    /// - [`SendError::Wait`] if the kernel cannot watch the descriptors, or the runtime has been shut down
    /// - [`SendError::Forked`] in a forked child
    pub async fn wait_released(&mut self) -> Result<(), SendError> {
        poll_fn(|cx| self.poll_found(cx, Distributor::is_done)).await
    }

    /// The slot for such a record, once one has room.
    fn poll_room(&mut self, cx: &mut Context<'_>, demand: Demand) -> Poll<Result<usize, SendError>> {
        // First: a slot is chosen only for a record that is sent now.
        ready!(self.poll_run(cx));
        match self.get_mut().choose_in_view(demand) {
            Some(slot) => Poll::Ready(Ok(slot)),
            None => self.poll_closely(cx, |distributor| distributor.look_for_room(demand)),
        }
    }

    /// What `look` finds, once it finds something.
    fn poll_found<T>(
        &mut self,
        cx: &mut Context<'_>,
        look: impl FnMut(&mut Distributor) -> Result<Option<T>, SendError>,
    ) -> Poll<Result<T, SendError>> {
        ready!(self.poll_run(cx));
        self.poll_closely(cx, look)
    }

    fn poll_closely<T>(
        &mut self,
        cx: &mut Context<'_>,
        look: impl FnMut(&mut Distributor) -> Result<Option<T>, SendError>,
    ) -> Poll<Result<T, SendError>> {
        let gone = |_: io::Error| Err(SendError::Wait(RUNTIME_GONE.raw_os_error()));
        self.poll_look(cx, gone, |distributor| match distributor.find_or_arm(look) {
            Ok(Some(found)) => Poll::Ready(Ok(found)),
            Ok(None) => Poll::Pending,
            Err(error) => Poll::Ready(Err(error)),
        })
    }
}

impl Async<Worker> {
    /// Connects to the distributor at `address`, like [`Worker::connect`], on a thread of the runtime for blocking
    /// calls. A future that is dropped leaves the call to itself; what it brings is dropped, too.
    ///
    /// ```
    /// # use fdring::{distribute::{Distributor, Worker}, tokio::Async};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
    /// # let mut distributor = Distributor::listen("@doc-tokio-worker-connect")?;
    /// let worker = Async::<Worker>::connect("@doc-tokio-worker-connect").await?;
    /// assert_eq!(worker.get_ref().lane().name, "work");
    /// # Ok(()) })
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`Error::Os`](crate::Error::Os) if no distributor listens there, the system is short of memory or descriptors,
    ///   or the runtime's poller cannot watch the descriptor
    /// - [`Error::Invalid`](crate::Error::Invalid) if the address is out of range, or a plain server listens there
    /// - [`Error::Refused`](crate::Error::Refused) if the distributor refuses, for example because it has as many
    ///   workers as it allows
    /// - [`Error::Forbidden`](crate::Error::Forbidden) if the distributor runs as another user
    /// - [`Error::Peer`](crate::Error::Peer) if the distributor breaks the protocol, or offers memory that must not be
    ///   mapped
    /// - [`Error::Closed`](crate::Error::Closed) if the distributor closes the connection
    /// - [`Error::TimedOut`](crate::Error::TimedOut) if the handshake takes longer than 5 s
    /// - [`Error::Forked`](crate::Error::Forked) in a forked child of a process that has used this library
    pub async fn connect(address: impl Into<Address>) -> Result<Self> {
        let address = address.into();
        Self::new(on_a_blocking_thread(|| Worker::connect(address)).await?)
    }

    /// The next record, like [`Worker::receive`]: the one before it is done as soon as this future is polled. `None` is
    /// the end. A future that is dropped before its end has taken no record.
    ///
    /// ```
    /// # use fdring::{distribute::{Distributor, To, Worker}, tokio::Async};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
    /// # let mut distributor = Async::new(Distributor::listen("@doc-tokio-worker-receive")?)?;
    /// # let mut worker = Async::<Worker>::connect("@doc-tokio-worker-receive").await?;
    /// distributor.send(To::MostRoom, b"work").await?;
    /// assert_eq!(&worker.receive().await?.unwrap()[..], b"work");
    /// worker.get_mut().done(); // or the next `receive` says so
    /// distributor.wait_released().await?;
    /// # Ok(()) })
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`ReceiveError::Abandoned`] if the distributor's thread panicked
    /// - [`ReceiveError::PeerDead`] if the distributor died
    /// - [`ReceiveError::HungUp`] if the distributor hung up unexpectedly and is not known to have died
    /// - [`ReceiveError::Refused`] or [`ReceiveError::Peer`] if it refused to go on, or broke the session's protocol
    /// - [`ReceiveError::Closed`] if the distributor's process closed the session
    /// - [`ReceiveError::Evicted`] if the distributor took this worker's seat away
    /// - [`ReceiveError::Corrupt`] if the distributor broke the protocol
    /// - [`ReceiveError::Interrupted`] if an [`Interrupter`](crate::Interrupter) ended the wait
    /// - [`ReceiveError::Wait`] if the kernel cannot watch the descriptors, or the runtime has been shut down
    /// - [`ReceiveError::Forked`] in a forked child
    pub async fn receive(&mut self) -> Result<Option<Record<'_>>, ReceiveError> {
        self.has_work().await?;
        self.get_mut().try_receive()
    }

    /// The next record as a [`Task`], like [`Worker::take`]. `None` is the end. A future that is dropped before its end
    /// has taken no record.
    ///
    /// ```
    /// # use fdring::{distribute::{Distributor, To, Worker}, tokio::Async};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
    /// # let mut distributor = Async::new(Distributor::listen("@doc-tokio-worker-take")?)?;
    /// # let mut worker = Async::<Worker>::connect("@doc-tokio-worker-take").await?;
    /// distributor.send(To::MostRoom, b"one").await?;
    /// distributor.send(To::MostRoom, b"two").await?;
    /// let batch = [worker.take().await?.unwrap(), worker.take().await?.unwrap()];
    /// assert_eq!([&batch[0][..], &batch[1][..]], [b"one", b"two"]);
    /// batch.into_iter().for_each(|task| task.done());
    /// # Ok(()) })
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`ReceiveError::Abandoned`] if the distributor's thread panicked
    /// - [`ReceiveError::PeerDead`] if the distributor died
    /// - [`ReceiveError::HungUp`] if the distributor hung up unexpectedly and is not known to have died
    /// - [`ReceiveError::Refused`] or [`ReceiveError::Peer`] if it refused to go on, or broke the session's protocol
    /// - [`ReceiveError::Closed`] if the distributor's process closed the session
    /// - [`ReceiveError::Evicted`] if the distributor took this worker's seat away
    /// - [`ReceiveError::Corrupt`] if the distributor broke the protocol
    /// - [`ReceiveError::Interrupted`] if an [`Interrupter`](crate::Interrupter) ended the wait
    /// - [`ReceiveError::Wait`] if the kernel cannot watch the descriptors, or the runtime has been shut down
    /// - [`ReceiveError::Forked`] in a forked child
    pub async fn take(&mut self) -> Result<Option<Task>, ReceiveError> {
        self.has_work().await?;
        self.get_mut().try_take()
    }

    async fn has_work(&mut self) -> Result<(), ReceiveError> {
        poll_fn(|cx| self.poll_ready(cx, Worker::has_work_soon)).await
    }
}
