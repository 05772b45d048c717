//! Fan-in: many producers, one consumer that listens for them.
//!
//! The invariant: of each lane everything that was published is reported once, in order, between its `Joined` and its
//! end, whatever the other producers do. So no producer is ever waited for here: one that is slow to be attached to
//! keeps a thread of its own waiting.

mod event;
mod many;
mod options;
mod stats;
mod turns;

pub use self::event::{Event, Origin, Refused};
pub use self::options::CollectorOptions;
pub use self::stats::CollectorStats;

use self::event::{News, OriginFacts};
use self::options::Choice;
use self::turns::Turn;
use crate::consumer::{Consumer, ReceiveError};
use crate::deadline::Deadline;
use crate::error::{Error, Result};
use crate::options::Start;
use crate::os::notice::Notice;
use crate::os::spin::Spins;
use crate::os::thread;
use crate::ring::cursor::Found;
use crate::select::{Key, Selectable, Selector};
use crate::session::attach::Attach;
use crate::session::client::Session;
use crate::session::session_listener::SessionListener;
use crate::session::{Address, attaching};
use crate::sync::Mutex;
use crate::trace::event;
use rustix::fd::{AsFd, BorrowedFd};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant};

/// A consumer that listens, and reads the lanes of all producers that connect.
///
/// [`next`](Self::next) returns the next event: a producer has joined, a record has come, or a lane has ended. Lanes
/// take turns, so that a busy lane delays no other. Payloads are copied out, so that producers need not be trusted: one
/// that breaks the protocol ends its own lane, and no other. With [`CollectorOptions::attach`], payloads of trusted
/// producers are read in place.
///
/// A producer may create a lane, connect, send, finish and exit at once: everything it sent after its `connect`
/// returned is read, even if this process was stopped meanwhile. Lanes are read from their oldest record.
///
/// ```
/// use fdring::Producer;
/// use fdring::collect::{Collector, Event};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut collector = Collector::listen("@doc-collector")?;
///
/// // Usually other processes:
/// let clients: Vec<_> = (0..3_u8)
///     .map(|number| {
///         std::thread::spawn(move || -> fdring::Result<()> {
///             let mut log = Producer::create("log")?;
///             let link = log.connect("@doc-collector")?;
///             log.send(&[number]).expect("the lane is open");
///             Ok(())
///         })
///     })
///     .collect();
///
/// let (mut sum, mut ended) = (0, 0);
/// while ended < 3 {
///     match collector.next()? {
///         Event::Record(_, record) => sum += record[0],
///         Event::Finished(_) => ended += 1,
///         Event::Lost(_, why) => return Err(why.clone().into()),
///         _ => {}
///     }
/// }
/// assert_eq!(sum, 3);
/// # clients.into_iter().try_for_each(|client| client.join().unwrap())?;
/// # Ok(())
/// # }
/// ```
///
/// Dropping it stops listening and ends all its sessions.
#[derive(Debug)]
#[must_use = "dropping a collector stops it; keep it in a variable"]
pub struct Collector {
    selector: Selector<Endpoint>,
    listener: Key,
    address: Address,
    attaching: Arc<Attaching>,
    attached: Key,
    choice: Choice,
    /// What has happened and was not reported yet.
    news: VecDeque<News>,
    /// What was reported last, which its event borrows.
    reported: Option<News>,
    turn: Option<Turn>,
    /// Whose turn was begun last.
    last: Option<Key>,
    turn_records: u64,
    turn_bytes: u64,
    /// What was taken since descriptors were looked at.
    records_since: u64,
    bytes_since: u64,
    spin: Duration,
    spins: Spins,
    /// The number of sessions that have joined.
    sessions: u64,
    /// What was counted on the lanes that have ended, and what has happened.
    totals: CollectorStats,
}

/// What the collector waits for.
#[derive(Debug)]
enum Endpoint {
    Listener(SessionListener),
    Attached(Arc<Attaching>),
    /// `None` while it is its turn: no record is looked up for.
    Lane(Option<Box<Lane>>),
}

/// What is waited for has no turn.
const NO_TURN: &str = "a turn ends before anything is looked for elsewhere";

#[derive(Debug)]
struct Lane {
    origin: Origin,
    consumer: Consumer,
    /// Whether its end was reported.
    is_lost: bool,
}

/// Sessions that are being attached to, each by a thread: an attach waits for the producer's answer.
#[derive(Debug)]
struct Attaching {
    outcomes: Mutex<VecDeque<Outcome>>,
    notice: Notice,
}

/// What came of one.
#[derive(Debug)]
struct Outcome {
    pid: Option<u32>,
    uid: Option<u32>,
    consumers: Result<Vec<Consumer>>,
}

impl Attaching {
    fn put(&self, outcome: Outcome) {
        self.outcomes.lock().push_back(outcome);
        self.notice.raise();
    }

    fn take(&self) -> VecDeque<Outcome> {
        std::mem::take(&mut *self.outcomes.lock())
    }

    /// Makes the notice unreadable until the next outcome; whether there is none. Lowered first: one that is put later
    /// raises it later.
    fn arm(&self) -> bool {
        self.notice.lower();
        self.outcomes.lock().is_empty()
    }

    /// Attaches to all lanes of a session so: says it at once, and has a thread of its own await the answer. The thread
    /// is there first: who has answered counts on being read.
    fn begin(self: &Arc<Self>, session: Session, attach: Attach) {
        let (pid, uid) = (session.producer_pid(), session.producer_uid());
        let (hands_over, handed) = sync_channel::<attaching::Attaching>(1);
        let work = {
            let this = Arc::clone(self);
            move || {
                let Ok(attaching) = handed.recv() else { return };
                this.put(Outcome { pid, uid, consumers: attaching.finish_all() });
            }
        };
        let said = thread::start("fdring-attach", thread::STACK_BYTES, work)
            .and_then(|_thread| session.begin_to_attach_all(&attach.start(Start::Oldest)));
        match said {
            // It waits for that.
            Ok(attaching) => _ = hands_over.send(attaching),
            Err(error) => self.put(Outcome { pid, uid, consumers: Err(error) }),
        }
    }
}

impl AsFd for Endpoint {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Listener(listener) => listener.as_fd(),
            Self::Attached(attaching) => attaching.notice.as_fd(),
            Self::Lane(lane) => lane.as_ref().expect(NO_TURN).consumer.as_fd(),
        }
    }
}

impl Selectable for Endpoint {
    fn arm(&mut self) -> Result<bool, ReceiveError> {
        match self {
            Self::Listener(listener) => Selectable::arm(listener),
            Self::Attached(attaching) => Ok(attaching.arm()),
            Self::Lane(lane) => lane.as_mut().expect(NO_TURN).consumer.arm(),
        }
    }
}

impl Collector {
    /// Listens at `address` with the default [`CollectorOptions`].
    ///
    /// ```
    /// # use fdring::collect::Collector;
    /// # fn main() -> fdring::Result<()> {
    /// let collector = Collector::listen("@doc-collector-listen")?;
    /// assert_eq!(collector.lane_count(), 0);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`Error::AddressInUse`] if a living process serves this address
    /// - [`Error::Invalid`] if the address is out of range, or the path belongs to something other than a socket
    /// - [`Error::Os`] if a system call fails, or the system is short of memory or descriptors
    /// - [`Error::Forked`] in a forked child of a process that has used this library
    pub fn listen(address: impl Into<Address>) -> Result<Self> {
        CollectorOptions::new().listen(address)
    }

    fn with(options: CollectorOptions, address: Address) -> Result<Self> {
        let CollectorOptions { listener, turn_records, turn_bytes, spin, interrupter, choice } = options;
        let mut selector = Selector::new()?;
        if let Some(interrupter) = &interrupter {
            selector.set_interrupter(interrupter)?;
        }
        let attaching = Arc::new(Attaching { outcomes: Mutex::default(), notice: Notice::new()? });
        let listener = listener.listen(address)?;
        let address = listener.address().clone();
        let listener = selector.add(Endpoint::Listener(listener))?;
        let attached = selector.add(Endpoint::Attached(Arc::clone(&attaching)))?;
        Ok(Self {
            selector,
            listener,
            address,
            attaching,
            attached,
            choice,
            news: VecDeque::new(),
            reported: None,
            turn: None,
            last: None,
            turn_records: turn_records.max(1) as u64,
            turn_bytes: turn_bytes.max(1),
            records_since: 0,
            bytes_since: 0,
            spin,
            spins: Spins::default(),
            sessions: 0,
            totals: CollectorStats::default(),
        })
    }

    /// The address at which it listens. A relative path is made absolute if it then has at most 107 bytes.
    ///
    /// ```
    /// # fn main() -> fdring::Result<()> {
    /// let collector = fdring::collect::Collector::listen("@doc-collector-address")?;
    /// assert_eq!(collector.address().to_string(), "@doc-collector-address");
    /// # Ok(())
    /// # }
    /// ```
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// The number of lanes that have joined and not ended.
    ///
    /// ```
    /// # fn main() -> fdring::Result<()> {
    /// let collector = fdring::collect::Collector::listen("@doc-collector-lane-count")?;
    /// assert_eq!(collector.lane_count(), 0);
    /// # Ok(())
    /// # }
    /// ```
    pub fn lane_count(&self) -> usize {
        self.selector.len() - 2 // the listener, and what is attached
    }

    /// The lanes that have joined and not ended, each with its consumer, in no particular order. The consumer tells how
    /// far behind it is, what it has received, and whether its producer lives.
    ///
    /// ```
    /// # use fdring::{Producer, collect::Collector};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut collector = Collector::listen("@doc-collector-consumers")?;
    /// # let client = std::thread::spawn(|| Producer::create("log")?.connect("@doc-collector-consumers").map(drop));
    /// collector.next()?;
    /// for (origin, consumer) in collector.consumers() {
    ///     println!("{:?}: {} bytes behind", origin.pid(), consumer.behind_bytes());
    /// }
    /// assert_eq!(collector.consumers().count(), 1);
    /// # client.join().unwrap()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn consumers(&self) -> impl Iterator<Item = (&Origin, &Consumer)> {
        self.lanes().map(|lane| (&lane.origin, &lane.consumer))
    }

    fn lanes(&self) -> impl Iterator<Item = &Lane> {
        let elsewhere = self.selector.endpoints().filter_map(|endpoint| match endpoint {
            Endpoint::Lane(lane) => lane.as_deref(),
            Endpoint::Listener(_) | Endpoint::Attached(_) => None,
        });
        elsewhere.chain(self.turn.iter().map(|turn| &*turn.lane))
    }

    /// The next event. Waits until there is one.
    ///
    /// ```
    /// # use fdring::{Producer, collect::{Collector, Event}};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut collector = Collector::listen("@doc-collector-next")?;
    /// # let client = std::thread::spawn(|| Producer::create("log")?.connect("@doc-collector-next").map(drop));
    /// assert!(matches!(collector.next()?, Event::Joined(_)));
    /// assert!(matches!(collector.next()?, Event::Finished(_)));
    /// # client.join().unwrap()?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`ReceiveError::Interrupted`] if an [`Interrupter`](crate::Interrupter) ended the wait
    /// - [`ReceiveError::Closed`] if the listener's thread has ended by a panic
    /// - [`ReceiveError::Wait`] if the kernel does not let this thread wait
    /// - [`ReceiveError::Forked`] in a forked child
    #[expect(clippy::should_implement_trait, reason = "an event borrows the collector, which no iterator can lend")]
    #[inline]
    pub fn next(&mut self) -> Result<Event<'_>, ReceiveError> {
        self.next_until(Deadline::Never, ReceiveError::TimedOut)
    }

    /// The next event, if there is one. Never waits.
    ///
    /// ```
    /// # use fdring::{collect::Collector, errors::ReceiveError};
    /// # fn main() -> fdring::Result<()> {
    /// let mut collector = Collector::listen("@doc-collector-try-next")?;
    /// assert_eq!(collector.try_next().unwrap_err(), ReceiveError::Empty); // nobody has connected
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`ReceiveError::Empty`] if nothing has happened
    /// - [`ReceiveError::Interrupted`] if an [`Interrupter`](crate::Interrupter) ended the wait
    /// - [`ReceiveError::Closed`] if the listener's thread has ended by a panic
    /// - [`ReceiveError::Wait`] if the kernel does not let this thread wait
    /// - [`ReceiveError::Forked`] in a forked child
    #[inline]
    pub fn try_next(&mut self) -> Result<Event<'_>, ReceiveError> {
        self.next_until(Deadline::Now, ReceiveError::Empty)
    }

    /// Like [`next`](Self::next), but waits at most `timeout`.
    ///
    /// ```
    /// # use fdring::{collect::Collector, errors::ReceiveError};
    /// # use std::time::Duration;
    /// # fn main() -> fdring::Result<()> {
    /// let mut collector = Collector::listen("@doc-collector-next-timeout")?;
    /// let nobody = collector.next_timeout(Duration::from_millis(1));
    /// assert_eq!(nobody.unwrap_err(), ReceiveError::TimedOut);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`ReceiveError::TimedOut`] if nothing happened within `timeout`
    /// - [`ReceiveError::Interrupted`] if an [`Interrupter`](crate::Interrupter) ended the wait
    /// - [`ReceiveError::Closed`] if the listener's thread has ended by a panic
    /// - [`ReceiveError::Wait`] if the kernel does not let this thread wait
    /// - [`ReceiveError::Forked`] in a forked child
    pub fn next_timeout(&mut self, timeout: Duration) -> Result<Event<'_>, ReceiveError> {
        self.next_until(Deadline::after(timeout), ReceiveError::TimedOut)
    }

    /// Like [`next`](Self::next), but waits only until `deadline`.
    ///
    /// ```
    /// # use fdring::{collect::Collector, errors::ReceiveError};
    /// # use std::time::Instant;
    /// # fn main() -> fdring::Result<()> {
    /// let mut collector = Collector::listen("@doc-collector-next-deadline")?;
    /// assert_eq!(collector.next_deadline(Instant::now()).unwrap_err(), ReceiveError::TimedOut);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`ReceiveError::TimedOut`] if nothing happened before `deadline`
    /// - [`ReceiveError::Interrupted`] if an [`Interrupter`](crate::Interrupter) ended the wait
    /// - [`ReceiveError::Closed`] if the listener's thread has ended by a panic
    /// - [`ReceiveError::Wait`] if the kernel does not let this thread wait
    /// - [`ReceiveError::Forked`] in a forked child
    pub fn next_deadline(&mut self, deadline: Instant) -> Result<Event<'_>, ReceiveError> {
        self.next_until(Deadline::At(deadline), ReceiveError::TimedOut)
    }

    /// Prepares a wait in the caller's event loop: poll(2), epoll(7), or anything that watches descriptors.
    ///
    /// 1. Call [`try_next`](Self::try_next) until it returns [`ReceiveError::Empty`].
    /// 2. Call `arm`. `false` means that there is news: go to 1.
    /// 3. Wait until the collector's descriptor ([`AsFd`]) is readable. Watch it level-triggered or edge-triggered.
    /// 4. Go to 1.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let mut collector = fdring::collect::Collector::listen("@doc-collector-arm")?;
    /// assert!(collector.arm()?); // now wait for its descriptor
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`ReceiveError::Interrupted`] if there is no news, and an [`Interrupter`](crate::Interrupter) has ended all
    ///   waits
    /// - [`ReceiveError::Wait`] if the kernel does not let this thread wait
    /// - [`ReceiveError::Forked`] in a forked child
    pub fn arm(&mut self) -> Result<bool, ReceiveError> {
        if !self.news.is_empty() {
            return Ok(false);
        }
        self.end_turn();
        match self.selector.try_wait() {
            // It stays in the selector's queue.
            Ok(_) => Ok(false),
            Err(ReceiveError::Empty) => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// In the caller's code, so that a record gets there in registers: an event in memory, written in narrow words and
    /// copied in wide ones, costs three times as much as the record.
    #[inline(always)]
    fn next_until(&mut self, deadline: Deadline, nothing: ReceiveError) -> Result<Event<'_>, ReceiveError> {
        match self.next_in_turn(Consumer::next_in_view) {
            Some(found) => Ok(self.record(found)),
            None => self.next_closely(deadline, nothing),
        }
    }

    /// Another record of the lane whose turn it is, if it is found so: the short way. `None` says only that a closer
    /// look is needed.
    #[inline(always)]
    fn next_in_turn(&mut self, find: impl FnOnce(&mut Consumer) -> Option<Found>) -> Option<Found> {
        let turn = self.turn.as_mut().filter(|turn| !turn.is_over())?;
        find(&mut turn.lane.consumer)
    }

    /// As `next_until`, where the turn is over or its lane needs a closer look.
    #[inline(never)]
    fn next_closely(&mut self, deadline: Deadline, nothing: ReceiveError) -> Result<Event<'_>, ReceiveError> {
        let next = self.find_until(deadline, nothing)?;
        Ok(self.event(next))
    }

    /// What happens next, to be made an event of at once. `Deadline::Now` never waits.
    fn find_until(&mut self, deadline: Deadline, nothing: ReceiveError) -> Result<Next, ReceiveError> {
        loop {
            if let Some(news) = self.news.pop_front() {
                self.reported = Some(news);
                return Ok(Next::News);
            }
            if let Some(next) = self.go_on()? {
                return Ok(next);
            }
            let key = self.next_turn(deadline, &nothing)?;
            self.begin_turn(key)?;
        }
    }

    /// As `find_until`, without a wait. Where there is nothing, the descriptor becomes readable once there is.
    #[cfg(feature = "tokio")]
    pub(crate) fn find_or_arm(&mut self) -> Result<Next, ReceiveError> {
        loop {
            match self.find_until(Deadline::Now, ReceiveError::Empty) {
                Err(ReceiveError::Empty) if self.arm()? => return Err(ReceiveError::Empty),
                Err(ReceiveError::Empty) => {}
                found => return found,
            }
        }
    }

    /// The event that was found.
    #[inline(always)]
    pub(crate) fn event(&mut self, next: Next) -> Event<'_> {
        match next {
            Next::Record(found) => self.record(found),
            Next::News => self.reported.as_ref().expect("it was just put there").event(),
        }
    }

    /// Looks closer at the lane whose turn it is. `None` if there is no turn any more.
    fn go_on(&mut self) -> Result<Option<Next>, ReceiveError> {
        let Some(turn) = &mut self.turn else { return Ok(None) };
        let found = if turn.is_over() { Err(ReceiveError::Empty) } else { turn.lane.consumer.try_find() };
        if let Ok(Some(found)) = found {
            return Ok(Some(Next::Record(found)));
        }
        let key = turn.key;
        self.end_turn();
        match found {
            Err(ReceiveError::Empty) => Ok(None),
            Err(error @ (ReceiveError::Forked | ReceiveError::Wait(_))) => Err(error),
            end => {
                let Some(Endpoint::Lane(Some(lane))) = self.selector.remove(key) else { return Ok(None) };
                let Lane { origin, consumer, is_lost } = *lane;
                self.totals.add(&consumer);
                if is_lost {
                    return Ok(None);
                }
                self.reported = Some(self.totals.end(origin, end.err()));
                Ok(Some(Next::News))
            }
        }
    }

    /// The record that was found.
    #[inline(always)]
    fn record(&mut self, found: Found) -> Event<'_> {
        let Some(turn) = &mut self.turn else { unreachable!("its lane was just looked at") };
        let Lane { origin, consumer, is_lost } = &mut *turn.lane;
        match consumer.record(found) {
            Ok(record) => Event::Record(origin, record),
            Err(why) => {
                *is_lost = true;
                self.reported.insert(self.totals.lose(origin, why)).event()
            }
        }
    }

    /// Has every session that has come attached to.
    fn accept(&mut self) -> Result<(), ReceiveError> {
        let Some(Endpoint::Listener(listener)) = self.selector.get_mut(self.listener) else { return Ok(()) };
        loop {
            match listener.try_accept() {
                Ok(Some(session)) => {
                    let attach = self.choice.of(&session);
                    self.attaching.begin(session, attach);
                }
                Ok(None) => return Ok(()),
                Err(Error::Closed { .. }) => return Err(ReceiveError::Closed),
                Err(_) => return Err(ReceiveError::Forked),
            }
        }
    }

    /// Takes in the lanes that were attached to.
    fn take_attached(&mut self) -> Result<(), ReceiveError> {
        // It is looked at again before the next wait.
        let _ = self.selector.get_mut(self.attached);
        for Outcome { pid, uid, consumers } in self.attaching.take() {
            let taken_in = consumers.and_then(|consumers| {
                let session = self.sessions;
                self.sessions += 1;
                consumers.into_iter().try_for_each(|consumer| self.take_in(pid, uid, session, consumer))
            });
            if let Err(error) = taken_in {
                self.totals.refused += 1;
                event!(WARN, "producer refused", pid, uid, reason = %error);
                self.news.push_back(News::Refused(Refused { pid, uid, error }));
            }
        }
        Ok(())
    }

    fn take_in(&mut self, pid: Option<u32>, uid: Option<u32>, session: u64, consumer: Consumer) -> Result<()> {
        let facts = OriginFacts { number: self.totals.joined, session, pid, uid, lane: consumer.lane().clone() };
        let origin = Origin(Arc::new(facts));
        let lane = Lane { origin: origin.clone(), consumer, is_lost: false };
        self.selector.add(Endpoint::Lane(Some(Box::new(lane))))?;
        self.totals.joined += 1;
        event!(INFO, "lane joined", lane = &*origin.0.lane.name, number = origin.0.number, pid, uid);
        self.news.push_back(News::Joined(origin));
        Ok(())
    }
}

/// What happens next: what is to be [reported](Collector::reported), or a record of the lane whose turn it is.
#[derive(Debug)]
pub(crate) enum Next {
    News,
    Record(Found),
}

impl AsFd for Collector {
    /// The descriptor to wait for, see [`arm`](Self::arm).
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.selector.as_fd()
    }
}

impl Selectable for Collector {
    fn arm(&mut self) -> Result<bool, ReceiveError> {
        Self::arm(self)
    }
}

#[cfg(test)]
mod tests {
    use super::turns::VAIN_LOOKS_MAX;
    use super::*;
    use crate::options::LaneOptions;
    use crate::os::thread::testing::start_instead;
    use crate::test_support::{DEADLINE, unique_name};
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    use rustix::io::Errno;
    use std::sync::mpsc::channel;

    #[test]
    fn a_lane_that_is_lost_in_the_middle_of_a_copy_is_reported_once() {
        let address = format!("@{}", unique_name());
        let mut collector = Collector::listen(address.as_str()).unwrap();
        let client = std::thread::spawn(move || {
            let mut lane = LaneOptions::new("lane").capacity(4096).create().unwrap();
            let link = lane.connect(address.as_str()).unwrap();
            lane.send(b"overwritten").unwrap();
            (lane, link)
        });
        assert!(matches!(collector.next_timeout(DEADLINE).unwrap(), Event::Joined(_)));
        let (mut lane, _link) = client.join().unwrap();
        let found = loop {
            match collector.go_on().unwrap() {
                Some(Next::Record(found)) => break found,
                Some(Next::News) => unreachable!("no lane has ended"),
                None => {
                    let key = collector.selector.wait_timeout(DEADLINE).unwrap();
                    collector.begin_turn(key).unwrap();
                }
            }
        };
        // Between the look and the copy.
        lane.consumers().iter().for_each(|consumer| assert!(lane.evict(consumer).unwrap()));
        (0..8).for_each(|_| lane.send(&[0; 1000]).unwrap());
        assert!(matches!(collector.record(found), Event::Lost(_, ReceiveError::Evicted { .. })));
        assert_eq!(collector.try_next().unwrap_err(), ReceiveError::Empty, "it was reported");
        assert_eq!(collector.lane_count(), 0);
    }

    #[test]
    fn a_producer_that_no_thread_can_attach_to_is_told_that_it_has_not_connected() {
        let address = format!("@{}", unique_name());
        let mut collector = Collector::listen(address.as_str()).unwrap();
        let (says, connected) = channel();
        let client = std::thread::spawn(move || {
            let mut lane = LaneOptions::new("lane").capacity(4096).create().unwrap();
            let link = lane.connect(address.as_str());
            let _ = says.send(link.is_ok());
            lane.send(b"for the collector").unwrap();
            (link, lane)
        });
        let instead = start_instead(move |_| {
            // Long enough for a producer to answer an Attach, had it been said.
            let _ = connected.recv_timeout(Duration::from_millis(200));
            Err(Errno::AGAIN.into())
        });
        assert!(matches!(collector.next_timeout(DEADLINE).unwrap(), Event::Refused(_)));
        drop(instead);
        let (link, lane) = client.join().unwrap();
        assert!(link.is_err(), "nobody reads what it sends");
        assert!(lane.consumers().is_empty());
    }

    #[test]
    fn a_lane_that_brings_nothing_for_long_is_armed_and_so_costs_no_more_looks() {
        let address = format!("@{}", unique_name());
        let mut collector = Collector::listen(address.as_str()).unwrap();
        let client = std::thread::spawn(move || {
            let lane = LaneOptions::new("lane").capacity(4096).create().unwrap();
            (lane.connect(address.as_str()).unwrap(), lane)
        });
        assert!(matches!(collector.next_timeout(DEADLINE).unwrap(), Event::Joined(_)));
        let (_link, mut lane) = client.join().unwrap();
        let key = (0..3).map(|number| number.to_string()).fold(None, |key, name| {
            lane.send(name.as_bytes()).unwrap();
            let Event::Record(_, record) = collector.try_next().unwrap() else { panic!("it is there") };
            assert_eq!(record[..], *name.as_bytes());
            key.or(collector.turn.as_ref().map(|turn| turn.key))
        });
        let key = key.unwrap();
        for look in 0..VAIN_LOOKS_MAX {
            assert!(!collector.selector.is_armed(key), "after {look} looks");
            assert_eq!(collector.try_next().unwrap_err(), ReceiveError::Empty);
        }
        assert!(collector.selector.is_armed(key));
        assert_eq!(lane.stats().bells_rung, 0);
        lane.send(b"3").unwrap();
        assert_eq!(lane.stats().bells_rung, 1);
        assert!(matches!(collector.try_next().unwrap(), Event::Record(_, record) if record[..] == *b"3"));
    }

    #[test]
    fn a_notice_that_comes_late_is_no_news() {
        let mut collector = Collector::listen(format!("@{}", unique_name()).as_str()).unwrap();
        let consumers = Err(Error::Invalid("nothing".to_owned()));
        collector.attaching.put(Outcome { pid: None, uid: None, consumers });
        assert!(matches!(collector.next_timeout(DEADLINE).unwrap(), Event::Refused(_)));
        // As a thread does that comes to this behind its outcome.
        collector.attaching.notice.raise();
        assert_eq!(collector.try_next().unwrap_err(), ReceiveError::Empty);
        while !collector.arm().unwrap() {}
        let ready = poll(&mut [PollFd::new(&collector, PollFlags::IN)], Some(&Timespec::default()));
        assert_eq!(ready, Ok(0), "it is readable for as long as nobody comes");
    }
}
