//! Fan-in: many producers, one consumer that listens for them.
//!
//! The invariant: of each lane everything that was published is reported once, in order, between its `Joined` and its
//! end, whatever the other producers do. So no producer is ever waited for here: one that is slow to be attached to
//! keeps a thread of its own waiting.

mod endpoint;
mod event;
mod joining;
mod many;
mod next;
mod options;
mod stats;
mod turns;

pub use self::event::{Event, Origin, Refused};
pub use self::options::CollectorOptions;
pub use self::stats::CollectorStats;
pub use crate::session::session_listener::SessionListener;

#[cfg(feature = "tokio")]
pub(crate) use self::next::NextEvent;

use self::endpoint::{CollectedLane, Endpoint};
use self::event::LaneNews;
use self::joining::Joining;
use self::options::Choice;
use self::turns::Turn;
use crate::consumer::Consumer;
use crate::error::Result;
use crate::os::spin::Spins;
use crate::select::{Key, Selector};
use crate::session::Address;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// A consumer that listens, and reads the lanes of all producers that connect.
///
/// [`next`](Self::next) returns the next event: a producer has joined, a record has come, or a lane has ended. Lanes
/// take turns, so that a busy lane delays no other. Payloads are copied out, so that producers need not be trusted: one
/// that breaks the protocol ends its own lane, and no other. With [`CollectorOptions::attach`], payloads of trusted
/// producers are read in place.
///
/// A producer may create a lane, connect, send, finish and exit at once: everything it sent after its `connect`
/// returned is read, even if this process was suspended meanwhile. Lanes are read from their oldest record.
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
/// By default, at most 64 producers are connected at a time, see [`CollectorOptions::listener`]. They join only while a
/// method of the collector runs; until then their `connect` waits.
///
/// Dropping it stops listening and ends all its sessions.
#[derive(Debug)]
#[must_use = "dropping a collector stops it; keep it in a variable"]
#[doc(alias("fan_in", "mpsc", "sink"))]
pub struct Collector {
    selector: Selector<Endpoint>,
    listener: Key,
    address: Address,
    attaching: Arc<Joining>,
    attached: Key,
    choice: Choice,
    /// What has happened and was not reported yet.
    news: VecDeque<LaneNews>,
    /// What was reported last, which its event borrows.
    reported: Option<LaneNews>,
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
    /// - [`Error::AddressInUse`](crate::Error::AddressInUse) if a living process serves this address
    /// - [`Error::Invalid`](crate::Error::Invalid) if the address is out of range, or the path belongs to something
    ///   other than a socket
    /// - [`Error::Os`](crate::Error::Os) if a system call fails, or the system is short of memory or descriptors
    /// - [`Error::Forked`](crate::Error::Forked) in a forked child of a process that has used this library
    pub fn listen(address: impl Into<Address>) -> Result<Self> {
        CollectorOptions::new().listen(address)
    }

    fn with(options: CollectorOptions, address: Address) -> Result<Self> {
        let CollectorOptions { listener, turn_records, turn_bytes, spin, interrupter, choice } = options;
        let mut selector = Selector::new()?;
        if let Some(interrupter) = &interrupter {
            selector.set_interrupter(interrupter)?;
        }
        let attaching = Arc::new(Joining::new()?);
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

    fn lanes(&self) -> impl Iterator<Item = &CollectedLane> {
        let elsewhere = self.selector.endpoints().filter_map(|endpoint| match endpoint {
            Endpoint::Lane(lane) => lane.as_deref(),
            Endpoint::Listener(_) | Endpoint::Attached(_) => None,
        });
        elsewhere.chain(self.turn.iter().map(|turn| &*turn.lane))
    }
}

#[cfg(test)]
mod tests;
