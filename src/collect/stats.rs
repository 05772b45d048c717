//! What a collector has counted, over all its lanes.
//!
//! The invariant: a look at the statistics changes nothing, and nothing is counted for each record but what the
//! consumers of the lanes count.

use super::endpoint::Endpoint;
use super::event::LaneNews;
use super::{Collector, Origin};
use crate::consumer::{Consumer, ReceiveError};
use crate::info::ServerStats;
use crate::trace::event;

/// The statistics of a [`Collector`] since it began to listen, over all its lanes.
///
/// ```
/// # use fdring::{Producer, collect::{Collector, Event}};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut collector = Collector::listen("@doc-collector-stats-struct")?;
/// # let client = std::thread::spawn(|| -> Result<(), fdring::Error> {
/// #     let mut log = Producer::create("log")?;
/// #     let link = log.connect("@doc-collector-stats-struct")?;
/// #     log.send(b"hello").expect("the lane is open");
/// #     Ok(())
/// # });
/// while !matches!(collector.next()?, Event::Finished(_)) {}
/// let stats = collector.stats();
/// assert_eq!((stats.joined, stats.finished, stats.lost, stats.records), (1, 1, 0, 1));
/// if let Some(why) = &stats.listener.last_refusal {
///     println!("{} were refused; the last one: {why}", stats.listener.refused);
/// }
/// # client.join().unwrap()?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CollectorStats {
    /// The records received.
    pub records: u64,
    /// The bytes that these records take in the rings: headers, payloads and alignment, without the padding at the ends
    /// of the rings.
    pub record_bytes: u64,
    /// The published bytes that were lost on lanes from which the collector was evicted, headers and padding included.
    pub missed_bytes: u64,
    /// The bytes that held records keep from the producers of the lanes that are there now, see
    /// [`Consumer::held_bytes`](crate::Consumer::held_bytes).
    pub held_bytes: u64,
    /// The lanes that have joined so far.
    pub joined: u64,
    /// The lanes that were read to their end.
    pub finished: u64,
    /// The lanes that were [lost](super::Event::Lost).
    pub lost: u64,
    /// The producers that could not be attached to: see [`Event::Refused`](super::Event::Refused).
    pub refused: u64,
    /// The statistics of the listener: how many producers have connected, and the reason of the last refusal before a
    /// producer's lanes were mapped.
    pub listener: ServerStats,
}

impl CollectorStats {
    /// Adds what was counted on a lane.
    pub(super) fn add(&mut self, consumer: &Consumer) {
        let stats = consumer.stats();
        self.records += stats.records;
        self.record_bytes += stats.record_bytes;
        self.missed_bytes += stats.missed_bytes;
    }

    /// The news that a lane is lost for this reason, which counts it.
    #[cold]
    pub(super) fn lose(&mut self, origin: &Origin, why: ReceiveError) -> LaneNews {
        self.end(origin.clone(), Some(why))
    }

    /// The news that a lane has finished, or is lost for this reason, which counts it.
    pub(super) fn end(&mut self, origin: Origin, why: Option<ReceiveError>) -> LaneNews {
        let (_name, _number, _pid) = (&*origin.lane().name, origin.number(), origin.pid());
        match why {
            Some(why) => {
                self.lost += 1;
                event!(WARN, "lane lost", lane = _name, number = _number, pid = _pid, why = %why);
                LaneNews::Lost(origin, why)
            }
            None => {
                self.finished += 1;
                event!(INFO, "lane read to its end", lane = _name, number = _number, pid = _pid);
                LaneNews::Finished(origin)
            }
        }
    }
}

impl Collector {
    /// The statistics so far; all zero in a forked child. [`consumers`](Self::consumers) has those of each lane.
    ///
    /// ```
    /// # fn main() -> fdring::Result<()> {
    /// let collector = fdring::collect::Collector::listen("@doc-collector-stats")?;
    /// assert_eq!(collector.stats().listener.accepted, 0);
    /// # Ok(())
    /// # }
    /// ```
    pub fn stats(&self) -> CollectorStats {
        let mut stats = self.totals.clone();
        for lane in self.lanes() {
            stats.add(&lane.consumer);
            stats.held_bytes += lane.consumer.held_bytes();
        }
        if let Some(Endpoint::Listener(listener)) = self.selector.get(self.listener) {
            stats.listener = listener.stats();
        }
        stats
    }
}
