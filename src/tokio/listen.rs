//! Listeners, collectors and selectors in tasks.

use super::{Async, runtime_gone};
use crate::collect::{Collector, Event, NextEvent};
use crate::consumer::{ReceiveError, Verdict};
use crate::error::{Error, Result};
use crate::select::{Key, Selectable, Selector};
use crate::session::client::Session;
use crate::session::session_listener::SessionListener;
use std::future::poll_fn;
use std::task::{Poll, ready};

impl Async<SessionListener> {
    /// The next session of a producer that has connected, like [`SessionListener::accept`].
    ///
    /// ```
    /// use fdring::tokio::Async;
    /// use fdring::collect::SessionListener;
    /// use fdring::{Attach, Producer};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
    /// let mut listener = Async::new(SessionListener::listen("@doc-tokio-accept")?)?;
    /// # let producer = std::thread::spawn(|| -> Result<_, Box<dyn std::error::Error + Send + Sync>> {
    /// #     let mut ticks = Producer::create("ticks")?;
    /// #     let server = ticks.connect("@doc-tokio-accept")?;
    /// #     ticks.send(b"hello")?;
    /// #     Ok(())
    /// # });
    /// let session = listener.accept().await?;
    /// let mut ticks = Async::new(session.attach_one(Attach::new())?)?;
    /// assert_eq!(&ticks.receive().await?.unwrap()[..], b"hello");
    /// # producer.join().unwrap().unwrap();
    /// # Ok(()) })
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`Error::Interrupted`] if an [`Interrupter`](crate::Interrupter) ended the wait
    /// - [`Error::Closed`] if the listener's thread has ended by a panic
    /// - [`Error::Os`] if the runtime has been shut down
    /// - [`Error::Forked`] in a forked child
    pub async fn accept(&mut self) -> Result<Session> {
        loop {
            if let Some(session) = self.get_ref().try_accept()? {
                return Ok(session);
            }
            poll_fn(|cx| {
                let gone = |cause| Err(Error::os("wait for a producer that connects")(cause));
                self.poll_look(cx, gone, |listener| match SessionListener::arm(listener) {
                    Ok(true) => Poll::Pending,
                    outcome => Poll::Ready(outcome),
                })
            })
            .await?;
        }
    }
}

impl Async<Collector> {
    /// The next event, like [`Collector::next`].
    ///
    /// ```
    /// use fdring::collect::{Collector, Event};
    /// use fdring::tokio::Async;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
    /// let mut collector = Async::new(Collector::listen("@doc-tokio-collector")?)?;
    /// # let client = std::thread::spawn(|| -> Result<_, Box<dyn std::error::Error + Send + Sync>> {
    /// #     let mut log = fdring::Producer::create("log")?;
    /// #     let link = log.connect("@doc-tokio-collector")?;
    /// #     log.send(b"hello")?;
    /// #     Ok(())
    /// # });
    /// loop {
    ///     match collector.next().await? {
    ///         Event::Record(_, record) => assert_eq!(&record[..], b"hello"),
    ///         Event::Finished(_) => break,
    ///         _ => {}
    ///     }
    /// }
    /// # client.join().unwrap().unwrap();
    /// # Ok(()) })
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`ReceiveError::Interrupted`] if an [`Interrupter`](crate::Interrupter) ended the wait
    /// - [`ReceiveError::Closed`] if the listener's thread has ended by a panic
    /// - [`ReceiveError::Wait`] if the kernel cannot watch the descriptors, or the runtime has been shut down
    /// - [`ReceiveError::Forked`] in a forked child
    pub async fn next(&mut self) -> Result<Event<'_>, ReceiveError> {
        let next = self.find_next().await?;
        Ok(self.get_mut().event(next))
    }

    /// Calls `each` with the next event, and, if that is a record, with the published records that follow it in the
    /// same lane's turn, like [`Collector::next_many`]. Waits until there is one. Returns the number of events, at
    /// least 1. A future that is dropped before its end has handed over nothing.
    ///
    /// ```
    /// use fdring::collect::{Collector, Event};
    /// use fdring::tokio::Async;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
    /// let mut collector = Async::new(Collector::listen("@doc-tokio-collector-many")?)?;
    /// # let client = std::thread::spawn(|| -> Result<_, Box<dyn std::error::Error + Send + Sync>> {
    /// #     let mut log = fdring::Producer::create("log")?;
    /// #     let link = log.connect("@doc-tokio-collector-many")?;
    /// #     (0..100_u8).try_for_each(|number| log.send(&[number]))?;
    /// #     Ok(())
    /// # });
    /// let (mut records, mut has_ended) = (0, false);
    /// while !has_ended {
    ///     let note = |event: Event<'_>| match event {
    ///         Event::Record(_, _) => records += 1,
    ///         Event::Finished(_) | Event::Lost(..) => has_ended = true,
    ///         _ => {}
    ///     };
    ///     collector.next_many(note).await?;
    /// }
    /// assert_eq!(records, 100);
    /// # client.join().unwrap().unwrap();
    /// # Ok(()) })
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`ReceiveError::Interrupted`] if an [`Interrupter`](crate::Interrupter) ended the wait
    /// - [`ReceiveError::Closed`] if the listener's thread has ended by a panic
    /// - [`ReceiveError::Wait`] if the kernel cannot watch the descriptors, or the runtime has been shut down
    /// - [`ReceiveError::Forked`] in a forked child
    /// - The closure's error, if it returned one
    ///
    /// The event for which the closure stops or fails counts as handed over.
    pub async fn next_many<V: Verdict>(&mut self, each: impl FnMut(Event<'_>) -> V) -> Result<usize, V::Error> {
        let next = self.find_next().await?;
        self.get_mut().many_from(next, each)
    }

    /// What happens next, to be handed out at once.
    async fn find_next(&mut self) -> Result<NextEvent, ReceiveError> {
        poll_fn(|cx| {
            ready!(self.poll_run(cx));
            self.poll_look(cx, runtime_gone, |collector| match collector.find_or_arm() {
                Err(ReceiveError::Empty) => Poll::Pending,
                outcome => Poll::Ready(outcome),
            })
        })
        .await
    }
}

impl<E: Selectable> Async<Selector<E>> {
    /// The next endpoint with news, like [`Selector::wait`].
    ///
    /// ```
    /// use fdring::select::Selector;
    /// use fdring::tokio::Async;
    /// use fdring::{Consumer, Producer, Server};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
    /// # let mut ticks = Producer::create("ticks")?;
    /// # let server = Server::listen("@doc-tokio-wait", [&ticks])?;
    /// let mut selector = Selector::new()?;
    /// let key = selector.add(Consumer::connect("@doc-tokio-wait")?)?;
    /// let mut selector = Async::new(selector)?;
    /// # ticks.send(b"hello")?;
    /// assert_eq!(selector.wait().await?, key);
    /// # Ok(()) })
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`ReceiveError::Interrupted`] if an [`Interrupter`](crate::Interrupter) ended the wait
    /// - [`ReceiveError::Wait`] if the kernel cannot watch the descriptors, or the runtime has been shut down
    /// - [`ReceiveError::Forked`] in a forked child
    pub async fn wait(&mut self) -> Result<Key, ReceiveError> {
        poll_fn(|cx| {
            ready!(self.poll_run(cx));
            self.poll_look(cx, runtime_gone, |selector| match selector.try_wait() {
                Err(ReceiveError::Empty) => Poll::Pending,
                outcome => Poll::Ready(outcome),
            })
        })
        .await
    }
}
