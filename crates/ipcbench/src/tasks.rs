//! Ends of fdring in tasks of tokio, on a runtime of one thread: with the feature `tokio`.
//!
//! A consumer is lent to the runtime for one slice. What is sent goes by the plain producer, which never waits where
//! there is room.

use crate::contender::{Contender, Fallible};
use fdring::{Consumer, Producer};

/// Whether they are measured.
pub(crate) const ARE_BUILT: bool = cfg!(feature = "tokio");

/// How a task reads a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TaskReading {
    /// Record by record.
    Each,
    /// As many as are there.
    InRuns,
}

#[cfg(feature = "tokio")]
pub(crate) use built::{pair, receive_all};

#[cfg(not(feature = "tokio"))]
const NOT_BUILT: &str = "it is built with the feature tokio only";

/// Receives that number of records of `LEN` bytes by a task; the sum over them. The consumer is the last of these.
#[cfg(not(feature = "tokio"))]
pub(crate) fn receive_all<const LEN: usize>(_: &mut Vec<Consumer>, _: TaskReading, _: u64) -> Fallible<u64> {
    Err(NOT_BUILT.into())
}

/// One process's ends of round trips.
#[cfg(not(feature = "tokio"))]
pub(crate) fn pair<'a>(_: &'a mut Producer, _: &'a mut Vec<Consumer>) -> Fallible<Box<dyn Contender + 'a>> {
    Err(NOT_BUILT.into())
}

#[cfg(feature = "tokio")]
mod built {
    use super::{Consumer, Contender, Fallible, Producer, TaskReading};
    use crate::contender::Way;
    use crate::lanes::{send_one, sum_exactly};
    use crate::payload::{sum, with_small_len};
    use fdring::tokio::Async;
    use tokio::runtime::{Builder, Runtime};

    /// A consumer that a runtime watches.
    struct Lent {
        runtime: Runtime,
        /// `None` only while a task has it.
        consumer: Option<Async<Consumer>>,
    }

    impl Lent {
        fn new(consumers: &mut Vec<Consumer>) -> Fallible<Self> {
            let runtime = Builder::new_current_thread().enable_io().build()?;
            let consumer = consumers.pop().ok_or("a consumer to lend")?;
            let consumer = {
                let _context = runtime.enter();
                Async::new(consumer)?
            };
            Ok(Self { runtime, consumer: Some(consumer) })
        }

        fn give_back(&mut self, consumers: &mut Vec<Consumer>) {
            let _context = self.runtime.enter();
            consumers.extend(self.consumer.take().map(Async::into_inner));
        }
    }

    /// Receives that number of records of `LEN` bytes by a task; the sum over them. The consumer is the last of these.
    pub(crate) fn receive_all<const LEN: usize>(
        consumers: &mut Vec<Consumer>,
        reading: TaskReading,
        records: u64,
    ) -> Fallible<u64> {
        let mut lent = Lent::new(consumers)?;
        let consumer = lent.consumer.take().ok_or("a consumer that was lent")?;
        let task = match reading {
            TaskReading::Each => lent.runtime.spawn(receive_each::<LEN>(consumer, records)),
            TaskReading::InRuns => lent.runtime.spawn(receive_runs::<LEN>(consumer, records)),
        };
        let (consumer, total) = lent.runtime.block_on(task)?;
        lent.consumer = Some(consumer);
        lent.give_back(consumers);
        Ok(total)
    }

    // Each form is a task of its own, as a program has it: what lives across an await is in memory, and that of both
    // forms if they share a task.
    async fn receive_each<const LEN: usize>(mut consumer: Async<Consumer>, records: u64) -> (Async<Consumer>, u64) {
        let mut total = 0u64;
        for _ in 0..records {
            let record = consumer.receive().await.expect("a sound lane").expect("a record");
            total = total.wrapping_add(sum_exactly::<LEN>(&record));
        }
        (consumer, total)
    }

    async fn receive_runs<const LEN: usize>(mut consumer: Async<Consumer>, records: u64) -> (Async<Consumer>, u64) {
        let (mut left, mut total) = (records, 0u64);
        while left != 0 {
            let run = consumer.receive_many(|record| total = total.wrapping_add(sum_exactly::<LEN>(record)));
            left -= run.await.expect("a lane that goes on") as u64;
        }
        (consumer, total)
    }

    /// One process's ends of round trips.
    pub(crate) fn pair<'a>(
        producer: &'a mut Producer,
        consumers: &'a mut Vec<Consumer>,
    ) -> Fallible<Box<dyn Contender + 'a>> {
        let lent = Lent::new(consumers)?;
        Ok(Box::new(TaskPair { producer, consumers, lent }))
    }

    struct TaskPair<'a> {
        producer: &'a mut Producer,
        consumers: &'a mut Vec<Consumer>,
        lent: Lent,
    }

    impl Contender for TaskPair<'_> {
        fn send(&mut self, way: Way, n: u64) -> Fallible {
            with_small_len!(way.len, LEN => send_one::<LEN>(self.producer, n));
            Ok(())
        }

        fn receive(&mut self, _: Way) -> Fallible<u64> {
            let Lent { runtime, consumer } = &mut self.lent;
            let consumer = consumer.as_mut().ok_or("a consumer that was lent")?;
            runtime.block_on(async { Ok(sum(&consumer.receive().await?.ok_or("a record")?)) })
        }
    }

    impl Drop for TaskPair<'_> {
        fn drop(&mut self) {
            self.lent.give_back(self.consumers);
        }
    }
}
