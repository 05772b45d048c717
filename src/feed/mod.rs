//! Reading on when a producer is gone: a consumer that connects again, and says so.
//!
//! | type | what it is for |
//! | --- | --- |
//! | [`Feed`] | reads one lane of an address, whichever producer serves it |
//! | [`FeedOptions`] | where it begins, how long it tries, and when it ends |
//! | [`FeedEvent`] | what it yields: records, and what happened to their lane |
//! | [`FeedError`] | why it has nothing to yield |
//! | [`FeedStats`] | what it has counted |

// The invariants: records of two lanes are never mixed, each lane begins with a `Joined` that says where, and of one
// lane nothing comes twice (invariant 28). No call waits for a connection but those that wait: a thread makes it
// (`connector`). While the feed is armed, its descriptor becomes readable if anything happens that a waiting call would
// have returned for (27).
//
//            joined                 finished, lost
//   Away ────────────► Reading ────────────────────► Away, from the next call on
//    ▲ │                  │ corrupt
//    │ │ no try is left   ▼
//    └─┘ GaveUp        Corrupt, for good
//
// What this file does not do: `course` decides where reading begins on a lane.

mod connector;
mod course;
mod error;
mod event;
mod options;
mod stats;

pub use error::FeedError;
pub use event::FeedEvent;
pub use options::FeedOptions;
pub use stats::FeedStats;

use crate::consumer::{Consumer, ReceiveError};
use crate::deadline::{Deadline, timespec};
use crate::error::{Error, Result};
use crate::os::fork::ForkGuard;
use crate::os::interrupt::Interrupter;
use crate::os::poller::{Poller, Trigger};
use crate::ring::cursor::Found;
use crate::ring::stop::Corruption;
use crate::session::Address;
use crate::trace::event;
use connector::{ConnectPlan, Connector, PAUSE_MIN, Reports, Tries};
use course::Beginning;
use error::ReadFailure;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::{AsFd, BorrowedFd};
use rustix::io::Errno;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The source of an event.
const DONE: u64 = 0;
const CONSUMER: u64 = 1;
const INTERRUPT: u64 = 2;

/// A consumer that outlives its producers: it connects again after an end, a death or an eviction, and says so.
///
/// It yields [`FeedEvent`]s: records, and between them the events that a lane was joined, finished or lost. Records of
/// two lanes are never mixed. If the same lane is still there after a loss, reading goes on where it stopped, as long
/// as the ring has it; if not, [`FeedEvent::Joined`] says how many bytes were missed. A producer that was started again
/// has another lane, which is read from its oldest record on.
///
/// A feed reads nothing any more once a producer breaks the protocol of its lane ([`FeedError::Corrupt`]). It connects
/// on a thread of its own, which ends when it has joined a lane.
///
/// ```
/// use fdring::feed::{Feed, FeedEvent};
/// use fdring::{Producer, Server};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut feed = Feed::connect("@doc-feed")?; // no server listens there yet
///
/// for round in 0..2_u8 {
///     let mut ticks = Producer::create("ticks")?; // usually in another process, which is started again
///     let server = Server::listen("@doc-feed", [&ticks])?;
///     assert!(matches!(feed.receive()?, Some(FeedEvent::Joined { .. })));
///     ticks.send(&[round])?;
///     ticks.finish();
///     let Some(FeedEvent::Record(record)) = feed.receive()? else { panic!("the record comes next") };
///     assert_eq!(record[..], [round]);
///     assert!(matches!(feed.receive()?, Some(FeedEvent::Finished { .. })));
/// }
/// # Ok(())
/// # }
/// ```
///
/// A feed that has joined a lane holds it back like any consumer, if it is neither used nor dropped. A feed is `Send`
/// and `Sync`. In a forked child every call fails.
#[derive(Debug)]
#[must_use = "dropping a feed leaves its lane; keep it in a variable"]
#[doc(alias("reconnect", "subscriber"))]
pub struct Feed {
    phase: Phase,
    /// How the phase has ended; the next call begins another.
    end: Option<End>,
    /// Why the last lane was lost, which its event borrows.
    lost: Option<ReceiveError>,
    plan: ConnectPlan,
    options: FeedOptions,
    /// The pause before the next try.
    pause: Duration,
    /// Since when there was nothing but tries in vain.
    trying_since: Option<Instant>,
    reports: Arc<Reports>,
    /// What was counted on the lanes before this one.
    totals: FeedStats,
    /// Watches the reports, the consumer and the interrupter.
    poller: Poller,
    guard: ForkGuard,
}

#[derive(Debug)]
enum Phase {
    /// Nobody connects.
    Away,
    Connecting(Connector),
    Reading(Box<OpenLane>),
    Corrupt(Corruption),
    /// A lane was finished, and the feed ends with it.
    Over,
}

/// How a lane ended for the feed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// It may go on elsewhere, or without this feed.
    Lost,
    /// Nothing comes after what was read.
    OfLane,
    /// The same, and the feed ends with it.
    OfFeed,
}

/// A lane that is read.
#[derive(Debug)]
struct OpenLane {
    consumer: Consumer,
    /// Where it was joined, and when.
    start: u64,
    since: Instant,
    /// Records before this position were read before.
    first: u64,
    /// How many of these there were, and what they take in the ring, in bytes.
    passed: (u64, u64),
}

impl OpenLane {
    fn position(&self) -> u64 {
        self.consumer.position().max(self.first)
    }

    /// The record that was found was read before.
    #[cold]
    fn pass_over(&mut self) {
        let stats = self.consumer.stats();
        self.passed = (stats.records, stats.record_bytes);
    }
}

/// What a step has brought.
enum StepNews {
    Found(Found),
    Joined(Beginning),
    Finished(u64),
    Lost(ReceiveError, u64),
    Over,
}

impl Feed {
    /// A feed of the only lane at `address`, with the default [`FeedOptions`]. Returns at once, whether or not a server
    /// listens there.
    ///
    /// ```
    /// # use fdring::{Producer, Server, feed::{Feed, FeedEvent}};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let mut feed = Feed::connect("@doc-feed-connect")?;
    /// let ticks = Producer::create("ticks")?;
    /// let server = Server::listen("@doc-feed-connect", [&ticks])?;
    /// assert!(matches!(feed.receive()?, Some(FeedEvent::Joined { position: 0, .. })));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`Error::Os`] if the process is out of descriptors
    /// - [`Error::Forked`] in a forked child of a process that has used this library
    pub fn connect(address: impl Into<Address>) -> Result<Self> {
        FeedOptions::new().connect(address)
    }

    fn new(plan: ConnectPlan, options: FeedOptions) -> Result<Self> {
        let (guard, reports) = (ForkGuard::get()?, Arc::new(Reports::new()?));
        let watch = |poller: &Poller| {
            poller.add(&reports.done, DONE, Trigger::Level)?;
            options.interrupter().map_or(Ok(()), |interrupter| poller.add(interrupter, INTERRUPT, Trigger::Level))
        };
        let poller = Poller::new().and_then(|poller| watch(&poller).map(|()| poller));
        let poller = poller.map_err(Error::os("make a feed"))?;
        let (phase, pause, totals) = (Phase::Away, Duration::ZERO, FeedStats::default());
        Ok(Self {
            phase,
            end: None,
            lost: None,
            plan,
            options,
            pause,
            trying_since: None,
            reports,
            totals,
            poller,
            guard,
        })
    }

    /// The next event. Waits until there is one. `None` once the feed has ended, see [`FeedOptions::ends_with_lane`].
    ///
    /// ```
    /// # use fdring::{Producer, Server, feed::{Feed, FeedEvent}};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut ticks = Producer::create("ticks")?;
    /// # let server = Server::listen("@doc-feed-receive", [&ticks])?;
    /// let mut feed = Feed::connect("@doc-feed-receive")?;
    /// assert!(matches!(feed.receive()?, Some(FeedEvent::Joined { .. })));
    /// ticks.send(b"hello")?;
    /// let Some(FeedEvent::Record(record)) = feed.receive()? else { panic!("the record comes next") };
    /// assert_eq!(&record[..], b"hello");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`FeedError::GaveUp`] if the feed could not connect; the next call begins anew
    /// - [`FeedError::Corrupt`] if the producer broke the protocol of its lane
    /// - [`FeedError::Interrupted`] if an [`Interrupter`] ended the wait
    /// - [`FeedError::Wait`] if the kernel does not let this thread wait
    /// - [`FeedError::Forked`] in a forked child
    #[inline]
    pub fn receive(&mut self) -> Result<Option<FeedEvent<'_>>, FeedError> {
        self.receive_until(Deadline::Never)
    }

    /// The next event, if there is one. Never sleeps.
    ///
    /// ```
    /// # use fdring::feed::{Feed, FeedError};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let mut feed = Feed::connect("@doc-feed-try-receive")?;
    /// assert!(matches!(feed.try_receive(), Err(FeedError::Empty))); // no server listens there
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`FeedError::Empty`] if nothing is there now
    /// - [`FeedError::GaveUp`] if the feed could not connect; the next call begins anew
    /// - [`FeedError::Corrupt`] if the producer broke the protocol of its lane
    /// - [`FeedError::Interrupted`] if there is none, and an [`Interrupter`] has ended all waits
    /// - [`FeedError::Wait`] if the kernel does not let this thread wait
    /// - [`FeedError::Forked`] in a forked child
    #[inline]
    pub fn try_receive(&mut self) -> Result<Option<FeedEvent<'_>>, FeedError> {
        self.receive_until(Deadline::Now)
    }

    /// Like [`receive`](Self::receive), but waits at most `timeout`.
    ///
    /// ```
    /// # use fdring::feed::{Feed, FeedError};
    /// # use std::time::Duration;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let mut feed = Feed::connect("@doc-feed-receive-timeout")?;
    /// let error = feed.receive_timeout(Duration::from_millis(5)).unwrap_err(); // no server listens there
    /// assert!(matches!(error, FeedError::TimedOut));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`FeedError::TimedOut`] if nothing came within `timeout`
    /// - [`FeedError::GaveUp`] if the feed could not connect; the next call begins anew
    /// - [`FeedError::Corrupt`] if the producer broke the protocol of its lane
    /// - [`FeedError::Interrupted`] if an [`Interrupter`] ended the wait
    /// - [`FeedError::Wait`] if the kernel does not let this thread wait
    /// - [`FeedError::Forked`] in a forked child
    pub fn receive_timeout(&mut self, timeout: Duration) -> Result<Option<FeedEvent<'_>>, FeedError> {
        self.receive_until(Deadline::after(timeout))
    }

    /// Like [`receive`](Self::receive), but waits only until `deadline`, which several calls can share.
    ///
    /// ```
    /// # use fdring::feed::{Feed, FeedError};
    /// # use std::time::{Duration, Instant};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let mut feed = Feed::connect("@doc-feed-receive-deadline")?;
    /// let deadline = Instant::now() + Duration::from_millis(5);
    /// assert!(matches!(feed.receive_deadline(deadline), Err(FeedError::TimedOut))); // no server listens there
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`FeedError::TimedOut`] if nothing came before `deadline`
    /// - [`FeedError::GaveUp`] if the feed could not connect; the next call begins anew
    /// - [`FeedError::Corrupt`] if the producer broke the protocol of its lane
    /// - [`FeedError::Interrupted`] if an [`Interrupter`] ended the wait
    /// - [`FeedError::Wait`] if the kernel does not let this thread wait
    /// - [`FeedError::Forked`] in a forked child
    pub fn receive_deadline(&mut self, deadline: Instant) -> Result<Option<FeedEvent<'_>>, FeedError> {
        self.receive_until(Deadline::At(deadline))
    }

    /// The consumer of the lane that is joined. `None` while there is none.
    ///
    /// ```
    /// # use fdring::{Producer, Server, feed::Feed};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let ticks = Producer::create("ticks")?;
    /// # let server = Server::listen("@doc-feed-consumer", [&ticks])?;
    /// let mut feed = Feed::connect("@doc-feed-consumer")?;
    /// assert!(feed.consumer().is_none());
    /// feed.receive()?; // joined
    /// assert!(feed.consumer().unwrap().producer_is_alive());
    /// # Ok(())
    /// # }
    /// ```
    pub fn consumer(&self) -> Option<&Consumer> {
        match &self.phase {
            Phase::Reading(reading) => Some(&reading.consumer),
            _ => None,
        }
    }

    /// The position of the next record on the lane that was joined last. 0 if none was joined.
    ///
    /// ```
    /// # use fdring::{Producer, Server, feed::Feed};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut ticks = Producer::create("ticks")?;
    /// # let server = Server::listen("@doc-feed-position", [&ticks])?;
    /// let mut feed = Feed::connect("@doc-feed-position")?;
    /// feed.receive()?; // joined
    /// ticks.send(b"hello")?;
    /// feed.receive()?;
    /// assert_eq!(feed.position(), ticks.published());
    /// # Ok(())
    /// # }
    /// ```
    pub fn position(&self) -> u64 {
        match &self.phase {
            Phase::Reading(reading) => reading.position(),
            _ => self.plan.course.position(),
        }
    }

    /// Prepares a wait in the caller's event loop, in the four steps of [`Consumer::arm`]. Call
    /// [`try_receive`](Self::try_receive) until it returns [`FeedError::Empty`], then `arm`, which returns `false` if
    /// there is news; then wait until the descriptor of [`as_fd`](Self::as_fd) is readable. The descriptor stays the
    /// same for the life of the feed.
    ///
    /// ```
    /// # use fdring::{Producer, Server, feed::{Feed, FeedError, FeedEvent}};
    /// # use rustix::event::{PollFd, PollFlags, poll};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let ticks = Producer::create("ticks")?;
    /// # let server = Server::listen("@doc-feed-arm", [&ticks])?;
    /// let mut feed = Feed::connect("@doc-feed-arm")?;
    /// loop {
    ///     match feed.try_receive() {
    ///         Ok(event) => {
    ///             assert!(matches!(event, Some(FeedEvent::Joined { .. })));
    ///             break;
    ///         }
    ///         Err(FeedError::Empty) => {
    ///             if feed.arm()? {
    ///                 poll(&mut [PollFd::new(&feed, PollFlags::IN)], None)?;
    ///             }
    ///         }
    ///         Err(error) => return Err(error.into()),
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`FeedError::Interrupted`] if an [`Interrupter`] is interrupted
    /// - [`FeedError::Wait`] if the kernel does not let this thread wait
    /// - [`FeedError::Forked`] in a forked child
    pub fn arm(&mut self) -> Result<bool, FeedError> {
        self.begin_if_away()?;
        match &mut self.phase {
            Phase::Reading(reading) => reading.consumer.arm().or_else(|error| match ReadFailure::from(error) {
                ReadFailure::Failed(error) => Err(error),
                // The next call says it.
                ReadFailure::Lost(_) => Ok(false),
            }),
            Phase::Connecting(connector) => match !connector.is_done() {
                true if self.is_interrupted() => Err(FeedError::Interrupted),
                is_armed => Ok(is_armed),
            },
            Phase::Away | Phase::Corrupt(_) | Phase::Over => Ok(false),
        }
    }

    #[inline(always)]
    fn receive_until(&mut self, deadline: Deadline) -> Result<Option<FeedEvent<'_>>, FeedError> {
        match self.next_in_view() {
            Some(found) => Ok(Some(self.record(found))),
            None => self.receive_closely(deadline),
        }
    }

    /// As `receive_until`, where more than the next header needs a look.
    #[inline(never)]
    fn receive_closely(&mut self, deadline: Deadline) -> Result<Option<FeedEvent<'_>>, FeedError> {
        let found = match self.advance(deadline)? {
            StepNews::Found(found) => found,
            StepNews::Joined(Beginning { position, missed_bytes }) => {
                let lane = self.consumer().expect("it has just joined").lane();
                return Ok(Some(FeedEvent::Joined { lane, position, missed_bytes }));
            }
            StepNews::Finished(position) => return Ok(Some(FeedEvent::Finished { position })),
            StepNews::Lost(why, position) => {
                return Ok(Some(FeedEvent::Lost { why: self.lost.insert(why), position }));
            }
            StepNews::Over => return Ok(None),
        };
        Ok(Some(self.record(found)))
    }

    /// Another record of the lane that is read, if only its header needs a look: nearly always.
    #[inline(always)]
    fn next_in_view(&mut self) -> Option<Found> {
        match &mut self.phase {
            Phase::Reading(reading) if self.end.is_none() && reading.consumer.position() >= reading.first => {
                reading.consumer.next_in_view()
            }
            _ => None,
        }
    }

    /// The record that was found.
    #[inline(always)]
    fn record(&mut self, found: Found) -> FeedEvent<'_> {
        let Phase::Reading(reading) = &mut self.phase else { unreachable!("records are found while reading") };
        match reading.consumer.record(found) {
            Ok(record) => FeedEvent::Record(record),
            // It was evicted, and too late for this record.
            Err(why) => {
                self.end = Some(End::Lost);
                self.totals.lose(&self.plan.address, &why, found.from);
                FeedEvent::Lost { why: self.lost.insert(why), position: found.from }
            }
        }
    }

    /// Goes on until there is something to yield.
    fn advance(&mut self, deadline: Deadline) -> Result<StepNews, FeedError> {
        loop {
            self.begin_if_away()?;
            match &mut self.phase {
                Phase::Reading(reading) => {
                    let found = match deadline {
                        Deadline::Now => reading.consumer.try_find(),
                        deadline => reading.consumer.find_until(deadline),
                    };
                    match found {
                        Ok(Some(found)) if found.position < reading.first => reading.pass_over(),
                        Ok(Some(found)) => return Ok(StepNews::Found(found)),
                        Ok(None) => return Ok(self.finish()),
                        Err(error) => return self.fail(error),
                    }
                }
                Phase::Connecting(connector) => match connector.take() {
                    Some(outcome) => return self.join(outcome).map(StepNews::Joined).map_err(FeedError::GaveUp),
                    None => self.wait_for_connection(deadline)?,
                },
                Phase::Corrupt(corruption) => return Err(FeedError::Corrupt(*corruption)),
                Phase::Over => return Ok(StepNews::Over),
                Phase::Away => unreachable!("it has begun to connect"),
            }
        }
    }

    /// The lane is finished.
    fn finish(&mut self) -> StepNews {
        self.end = Some(if self.options.ends_with_lane { End::OfFeed } else { End::OfLane });
        self.totals.finished += 1;
        event!(INFO, "feed read a lane to its end", address = %self.plan.address, position = self.position());
        StepNews::Finished(self.position())
    }

    /// Its consumer has nothing to give.
    fn fail(&mut self, error: ReceiveError) -> Result<StepNews, FeedError> {
        match ReadFailure::from(error) {
            ReadFailure::Lost(why) => {
                self.end = Some(if why == ReceiveError::Abandoned { End::OfLane } else { End::Lost });
                let position = self.position();
                self.totals.lose(&self.plan.address, &why, position);
                Ok(StepNews::Lost(why, position))
            }
            ReadFailure::Failed(error) => {
                if let FeedError::Corrupt(corruption) = error {
                    let position = self.position();
                    self.totals.lose(&self.plan.address, &ReceiveError::Corrupt(corruption), position);
                    self.tally();
                    self.phase = Phase::Corrupt(corruption);
                }
                Err(error)
            }
        }
    }

    /// Leaves a lane that has ended, and begins to connect if nobody does.
    fn begin_if_away(&mut self) -> Result<(), FeedError> {
        if self.guard.is_child() {
            return Err(FeedError::Forked);
        }
        if let Some(end) = self.end.take() {
            self.leave(end);
        }
        if matches!(self.phase, Phase::Away) {
            let since = *self.trying_since.get_or_insert_with(Instant::now);
            let deadline = since.checked_add(self.options.patience).map_or(Deadline::Never, Deadline::At);
            let tries = Tries { pause: self.pause, pause_max: self.options.pause_max, deadline };
            let connector = Connector::begin(self.plan.clone(), tries, &self.reports);
            self.phase = Phase::Connecting(connector.map_err(FeedError::GaveUp)?);
        }
        Ok(())
    }

    #[cold]
    fn leave(&mut self, end: End) {
        let Phase::Reading(reading) = &self.phase else { return };
        let position = reading.position();
        let was_in_vain =
            reading.consumer.position() == reading.start && reading.since.elapsed() < self.options.pause_max;
        self.plan.course.leave(position, end != End::Lost);
        if was_in_vain {
            self.pause = (2 * self.pause).clamp(PAUSE_MIN, self.options.pause_max.max(PAUSE_MIN));
        } else {
            (self.pause, self.trying_since) = (PAUSE_MIN, None);
        }
        self.tally();
        // The consumer goes: its place, or its seat, is free before anybody connects.
        self.phase = if end == End::OfFeed { Phase::Over } else { Phase::Away };
    }

    /// Takes what was counted on this lane into the totals.
    fn tally(&mut self) {
        if let Phase::Reading(reading) = &self.phase {
            self.totals.add(reading);
        }
    }

    /// A connector is done.
    #[cold]
    fn join(&mut self, outcome: Result<Consumer>) -> Result<Beginning> {
        self.reports.done.lower();
        self.phase = Phase::Away;
        let watched = outcome.and_then(|consumer| {
            let watched = self.poller.add(&consumer, CONSUMER, Trigger::Level);
            watched.map_err(Error::os("watch the consumer of a feed")).map(|()| consumer)
        });
        // A call after an error tries for as long again.
        let consumer = watched.inspect_err(|_| (self.pause, self.trying_since) = (PAUSE_MIN, None))?;
        let start = consumer.position();
        let beginning = self.plan.course.join(consumer.lane().id, start);
        let Beginning { position, missed_bytes } = beginning;
        let (_address, _lane) = (&self.plan.address, &*consumer.lane().name);
        event!(INFO, "feed joined a lane", address = %_address, lane = _lane, position, missed_bytes);
        self.totals.joined += 1;
        self.totals.missed_bytes += missed_bytes.unwrap_or(0);
        let reading = OpenLane { consumer, start, since: Instant::now(), first: position, passed: (0, 0) };
        self.phase = Phase::Reading(Box::new(reading));
        Ok(beginning)
    }

    /// Waits until the connector is done, or until `deadline`.
    fn wait_for_connection(&self, deadline: Deadline) -> Result<(), FeedError> {
        if deadline == Deadline::Now {
            return Err(FeedError::Empty);
        }
        if deadline.has_passed() {
            return Err(FeedError::TimedOut);
        }
        if self.is_interrupted() {
            return Err(FeedError::Interrupted);
        }
        let mut waits = vec![PollFd::new(&self.reports.done, PollFlags::IN)];
        waits.extend(self.options.interrupter().map(|interrupter| PollFd::new(interrupter, PollFlags::IN)));
        match poll(&mut waits, deadline.remaining().map(timespec).as_ref()) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(errno) => Err(FeedError::Wait(errno.raw_os_error())),
        }
    }

    fn is_interrupted(&self) -> bool {
        self.options.interrupter().is_some_and(Interrupter::is_interrupted)
    }
}

impl AsFd for Feed {
    /// The descriptor that [`arm`](Self::arm) prepares.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.poller.as_fd()
    }
}
