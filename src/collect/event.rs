//! What a collector reports, and of whom.

use crate::consumer::{ReceiveError, Record};
use crate::error::Error;
use crate::info::LaneInfo;
use std::sync::Arc;

/// A lane of a connected producer, and that producer's process.
///
/// ```
/// use fdring::Producer;
/// use fdring::collect::{Collector, Event};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut collector = Collector::listen("@doc-origin")?;
/// let client = std::thread::spawn(|| {
///     let mut log = Producer::create("log")?;
///     log.connect("@doc-origin").map(drop)
/// });
/// let Event::Joined(origin) = collector.next()? else { panic!("it comes first") };
/// assert_eq!((origin.lane().name.as_str(), origin.pid()), ("log", Some(std::process::id())));
/// # client.join().unwrap()?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Origin(pub(super) Arc<OriginFacts>);

#[derive(Debug)]
pub(super) struct OriginFacts {
    pub(super) number: u64,
    pub(super) session: u64,
    pub(super) pid: Option<u32>,
    pub(super) uid: Option<u32>,
    pub(super) lane: LaneInfo,
}

impl Origin {
    /// The collector's own number for this lane, from 0. No other lane gets the same.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut collector = fdring::collect::Collector::listen("@doc-origin-number")?;
    /// # let client = std::thread::spawn(|| fdring::Producer::create("log")?.connect("@doc-origin-number").map(drop));
    /// # let fdring::collect::Event::Joined(origin) = collector.next()? else { panic!() };
    /// assert_eq!(origin.number(), 0); // the first lane of this collector
    /// # client.join().unwrap()?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn number(&self) -> u64 {
        self.0.number
    }

    /// The collector's own number for the session that has the lane, from 0. Lanes that one call connected have the
    /// same.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut collector = fdring::collect::Collector::listen("@doc-origin-session")?;
    /// # let client = std::thread::spawn(|| fdring::Producer::create("log")?.connect("@doc-origin-session").map(drop));
    /// # let fdring::collect::Event::Joined(origin) = collector.next()? else { panic!() };
    /// assert_eq!(origin.session(), 0);
    /// # client.join().unwrap()?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn session(&self) -> u64 {
        self.0.session
    }

    /// The process id of the producer, as the kernel names it. `None` for a process of another pid namespace.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut collector = fdring::collect::Collector::listen("@doc-origin-pid")?;
    /// # let client = std::thread::spawn(|| fdring::Producer::create("log")?.connect("@doc-origin-pid").map(drop));
    /// # let fdring::collect::Event::Joined(origin) = collector.next()? else { panic!() };
    /// assert_eq!(origin.pid(), Some(std::process::id())); // it is this process
    /// # client.join().unwrap()?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.0.pid
    }

    /// The numeric id of the producer's user, as the kernel names it. `None` if this user namespace has no number for
    /// the user.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut collector = fdring::collect::Collector::listen("@doc-origin-uid")?;
    /// # let client = std::thread::spawn(|| fdring::Producer::create("log")?.connect("@doc-origin-uid").map(drop));
    /// # let fdring::collect::Event::Joined(origin) = collector.next()? else { panic!() };
    /// assert!(origin.uid().is_some());
    /// # client.join().unwrap()?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn uid(&self) -> Option<u32> {
        self.0.uid
    }

    /// The facts of the lane. Its name and its id are what the producer claims: two producers may claim the same.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut collector = fdring::collect::Collector::listen("@doc-origin-lane")?;
    /// # let client = std::thread::spawn(|| fdring::Producer::create("log")?.connect("@doc-origin-lane").map(drop));
    /// # let fdring::collect::Event::Joined(origin) = collector.next()? else { panic!() };
    /// assert_eq!(origin.lane().name, "log");
    /// # client.join().unwrap()?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn lane(&self) -> &LaneInfo {
        &self.0.lane
    }
}

/// An event at a [`Collector`](super::Collector).
///
/// For each lane, `Joined` comes first, then its records in order, then `Finished` or `Lost`, once. An event borrows
/// from its collector: clone the [`Origin`] to keep it.
///
/// ```
/// use fdring::Producer;
/// use fdring::collect::{Collector, Event};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut collector = Collector::listen("@doc-event")?;
/// let client = std::thread::spawn(|| -> Result<(), fdring::Error> {
///     let mut log = Producer::create("log")?;
///     let link = log.connect("@doc-event")?;
///     log.send(b"started").expect("the lane is open");
///     Ok(())
/// });
/// loop {
///     match collector.next()? {
///         Event::Joined(origin) => println!("process {:?} has joined", origin.pid()),
///         Event::Record(origin, record) => println!("{}: {} bytes", origin.number(), record.len()),
///         Event::Finished(_) => break,
///         Event::Lost(origin, why) => eprintln!("{}: {why}", origin.lane().name),
///         Event::Refused(refused) => eprintln!("{}", refused.error),
///         _ => {} // later versions may have more
///     }
/// }
/// # client.join().unwrap()?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A producer has connected with this lane.
    Joined(&'a Origin),
    /// A record. Its bytes stay as they are until the next call on the collector.
    Record(&'a Origin, Record<'a>),
    /// The producer has finished this lane, and all of it was read.
    Finished(&'a Origin),
    /// The lane has ended in another way. Everything that was published was read, except with [`ReceiveError::Corrupt`]
    /// and [`Evicted`](ReceiveError::Evicted).
    Lost(&'a Origin, &'a ReceiveError),
    /// A producer was admitted and had its lanes mapped, but could not be attached to. If the system runs short of
    /// watches in the middle of a session with several lanes, the lanes that have [`Joined`](Self::Joined) go on. The
    /// others are lost, with everything that they had published.
    Refused(&'a Refused),
}

// So a record costs its reader no call of a drop that has nothing to do.
const _: () = assert!(!std::mem::needs_drop::<Event<'_>>());

/// What has happened beside records, for an event to borrow.
#[derive(Debug)]
pub(super) enum LaneNews {
    Joined(Origin),
    Finished(Origin),
    Lost(Origin, ReceiveError),
    Refused(Refused),
}

impl LaneNews {
    pub(super) fn event(&self) -> Event<'_> {
        match self {
            Self::Joined(origin) => Event::Joined(origin),
            Self::Finished(origin) => Event::Finished(origin),
            Self::Lost(origin, why) => Event::Lost(origin, why),
            Self::Refused(refused) => Event::Refused(refused),
        }
    }
}

/// A producer that could not be attached to: see [`Event::Refused`].
///
/// ```
/// fn log(refused: &fdring::collect::Refused) {
///     eprintln!("process {:?} of user {:?}: {}", refused.pid, refused.uid, refused.error);
/// }
/// # let _ = log;
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub struct Refused {
    /// The process id of the producer. `None` for a process of another pid namespace.
    pub pid: Option<u32>,
    /// The numeric id of its user. `None` if this user namespace has no number for the user.
    pub uid: Option<u32>,
    /// Why it could not be attached to.
    pub error: Error,
}
