//! What a lane does about consumers that are missing, and about consumers that are slow.
//!
//! Only the choices are here. [`producer::waits`](crate::producer) acts on them, and the roster keeps the places of
//! those who are missing.

use std::time::Duration;

/// The policy of a producer while its lane has too few consumers.
///
/// A lane with [`WaitFor`](Self::WaitFor) or [`FailBelow`](Self::FailBelow) has that many *places*. The first consumers
/// that attach take them. The place of a consumer that leaves, dies or is evicted stays: nothing that the consumer has
/// not released is overwritten, until another consumer takes the place by
/// [`Start::Resume`](crate::options::Start::Resume), or the producer gives the place up by
/// [`Producer::give_up`](crate::Producer::give_up). Consumers of such a lane attach with `Start::Resume`, which takes a
/// new place if none is vacant.
///
/// Consumers beyond that number have no place: they hold the lane back while they are there, and leave nothing behind.
///
/// The producer looks at the number of consumers when it needs more room, at least 16 times per lap of the ring. So it
/// may publish up to a sixteenth of the ring after a consumer has gone. Nothing of that is lost to its successor.
///
/// ```
/// use fdring::errors::SendError;
/// use fdring::options::{LaneOptions, NoConsumer, Start};
/// use fdring::{Attach, Server, Session};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut orders = LaneOptions::new("orders").no_consumer(NoConsumer::FailBelow(1)).create()?;
/// let server = Server::listen("@doc-no-consumer", [&orders])?;
/// assert!(matches!(orders.send(b"order 1"), Err(SendError::TooFewConsumers { there: 0, wanted: 1, .. })));
///
/// let resume = || Session::connect("@doc-no-consumer")?.attach_one(Attach::new().start(Start::Resume));
/// let first = resume()?;
/// orders.send(b"order 1")?;
/// drop(first); // it has read nothing
///
/// let mut second = resume()?;
/// assert_eq!(&second.receive()?.unwrap()[..], b"order 1");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
#[doc(alias("durable"))]
pub enum NoConsumer {
    /// It runs on: records that nobody receives are overwritten. The default.
    #[default]
    RunOn,
    /// It waits until this many consumers, at least 1, are there. The `try_` forms and those with a deadline return
    /// [`SendError::TooFewConsumers`](crate::errors::SendError::TooFewConsumers).
    WaitFor(usize),
    /// Every form fails with [`SendError::TooFewConsumers`](crate::errors::SendError::TooFewConsumers) while fewer
    /// than this many consumers, at least 1, are there.
    FailBelow(usize),
}

impl NoConsumer {
    /// The number of places of a lane.
    pub(crate) fn places(self) -> usize {
        match self {
            Self::RunOn => 0,
            Self::WaitFor(wanted) | Self::FailBelow(wanted) => wanted,
        }
    }
}

/// The policy of a producer towards consumers that hold a full ring back.
///
/// The time counts from the moment at which the producer found the ring full because of a consumer. It begins anew each
/// time the consumer has released an eighth of the ring since then. So a consumer that releases a byte now and then is
/// as slow as one that stands still.
///
/// The same time holds for a consumer that leaves [descriptors of records](crate::options::LaneOptions::attachments)
/// untaken while there is no room for more, in its own queue or in flight for this user. It counts from the moment at
/// which the producer found that, and begins anew each time the consumer has taken an eighth of what its queue holds.
/// [`Evict`](Self::Evict) then means that it is sent no more descriptors; it keeps its seat.
///
/// ```
/// use fdring::errors::SendError;
/// use fdring::options::{LaneOptions, SlowConsumer};
/// use fdring::{Consumer, Server};
/// use std::time::Duration;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let evict = SlowConsumer::Evict { after: Duration::from_millis(10) };
/// let mut ticks = LaneOptions::new("ticks").capacity(4096).slow_consumer(evict).create()?;
/// let server = Server::listen("@doc-slow-consumer", [&ticks])?;
/// let stuck = Consumer::connect("@doc-slow-consumer")?; // and never reads
/// for _ in 0..10 {
///     ticks.send(&[0; 1000])?; // waits 10 ms, once
/// }
/// assert_eq!(ticks.consumer_count(), 0);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
#[doc(alias("backpressure", "overrun"))]
pub enum SlowConsumer {
    /// It waits for as long as the caller allows. The default.
    #[default]
    Wait,
    /// The call fails with [`SendError::TooSlow`](crate::errors::SendError::TooSlow), which names the consumer. So does
    /// every call that finds the ring still full.
    Fail {
        /// The time that a consumer may hold a full ring back.
        after: Duration,
    },
    /// It evicts a consumer that copies, and goes on. A consumer that reads in place may be reading the very bytes that
    /// would be overwritten, and is never evicted for being slow: the call fails as with [`Fail`](Self::Fail).
    Evict {
        /// The time that a consumer may hold a full ring back.
        after: Duration,
    },
}
