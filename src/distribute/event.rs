//! What a distributor reports.

use super::plan::Named;
use crate::info::ConsumerInfo;
use std::collections::VecDeque;
use std::fmt;

/// How many comings and goings are kept for [`Distributor::try_next_event`](super::Distributor::try_next_event).
const EVENTS_MAX: usize = 1024;
/// How many bytes of records that were set aside are kept for it, each with what it costs beside its payload.
const SET_ASIDE_MAX_BYTES: usize = 64 << 20;
const SET_ASIDE_COST_BYTES: usize = 256;

/// An event at a [`Distributor`](super::Distributor).
/// [`try_next_event`](super::Distributor::try_next_event) returns it.
///
/// ```
/// use fdring::distribute::{Distributor, Event, To, Worker};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut distributor = Distributor::listen("@doc-distribute-event")?;
/// let worker = Worker::connect("@doc-distribute-event")?;
/// distributor.send(To::MostRoom, b"work")?;
/// while let Some(event) = distributor.try_next_event() {
///     match event {
///         Event::Joined { worker, .. } => println!("process {:?} has come", worker.pid),
///         Event::Gone { worker, how, .. } => {
///             println!("process {:?} has {how}; {} bytes are given out again", worker.pid, worker.behind_bytes);
///         }
///         Event::TakenBack { records, .. } => println!("{records} records go to other workers"),
///         Event::SetAside(poison) => eprintln!("{} workers died at {:?}", poison.deaths, poison.payload),
///         _ => {}
///     }
/// }
/// # drop(worker);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event {
    /// A worker has attached.
    ///
    /// If it goes before it learns that it is attached, it may still be reported, and then again as gone.
    Joined {
        /// The number of its slot, from 0. Another worker may have it later.
        slot: usize,
        /// The worker.
        worker: ConsumerInfo,
    },
    /// A worker has gone.
    Gone {
        /// The number of its slot.
        slot: usize,
        /// The worker, and what it had not released: its slot keeps that.
        worker: ConsumerInfo,
        /// How it went.
        how: Departure,
    },
    /// No worker took a slot over in time: the records that it kept go to other workers.
    TakenBack {
        /// The number of the slot.
        slot: usize,
        /// How many records it had kept.
        records: usize,
    },
    /// A record was set aside: no worker gets it any more. Records that wait to be returned take 64 MiB at most
    /// together. A record beyond that is dropped, and counts in [`events_missed`](DistributorStats::events_missed).
    SetAside(SetAside),
}

impl Event {
    /// What a record takes that was set aside; 0 for any other event.
    fn set_aside_bytes(&self) -> usize {
        if let Self::SetAside(record) = self { SET_ASIDE_COST_BYTES + record.payload.len() } else { 0 }
    }
}

/// How a worker went: see [`Event::Gone`].
///
/// ```
/// use fdring::distribute::Departure;
///
/// assert_eq!(format!("a worker has {}", Departure::Died), "a worker has died");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Departure {
    /// It was dropped, and said so.
    Left,
    /// It hung up without a word: its process ended.
    Died,
    /// It was evicted.
    Evicted,
}

impl fmt::Display for Departure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Left => "left",
            Self::Died => "died",
            Self::Evicted => "been evicted",
        })
    }
}

/// A record at which too many workers have died: see [`Event::SetAside`] and
/// [`deaths_max`](super::DistributorOptions::deaths_max).
///
/// ```
/// fn keep(poison: &fdring::distribute::SetAside) -> std::io::Result<()> {
///     std::fs::write("poison", &poison.payload)
/// }
/// # let _ = keep;
/// ```
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SetAside {
    /// Its payload.
    pub payload: Box<[u8]>,
    /// Its tag.
    pub tag: u16,
    /// How many workers went while it was the oldest record that they had not released.
    pub deaths: u32,
    /// The last of them.
    pub worker: ConsumerInfo,
}

impl fmt::Debug for SetAside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { payload, tag, deaths, worker } = self;
        let mut debug = f.debug_struct("SetAside");
        debug.field("len", &payload.len()).field("tag", tag).field("deaths", deaths).field("pid", &worker.pid);
        debug.finish_non_exhaustive()
    }
}

/// The statistics of a distributor since it began to listen.
///
/// ```
/// # use fdring::distribute::{Distributor, To, Worker};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut distributor = Distributor::listen("@doc-distributor-stats")?;
/// let worker = Worker::connect("@doc-distributor-stats")?;
/// distributor.send(To::MostRoom, b"work")?;
/// let stats = distributor.stats();
/// assert_eq!((stats.records, stats.released, stats.joined), (1, 0, 1));
/// # drop(worker);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DistributorStats {
    /// The records sent, each counted once.
    pub records: u64,
    /// The records released by a worker, as far as that was seen.
    pub released: u64,
    /// The records taken back from a slot and given out again, once for each time.
    pub taken_back: u64,
    /// The records set aside.
    pub set_aside: u64,
    /// The workers that have attached.
    pub joined: u64,
    /// The workers that have left.
    pub left: u64,
    /// The workers that have died.
    pub died: u64,
    /// The workers that were evicted.
    pub evicted: u64,
    /// The events that [`try_next_event`](super::Distributor::try_next_event) will never return: comings and goings
    /// because 1024 others were waiting for it, and records that were set aside because 64 MiB of them were.
    pub events_missed: u64,
}

/// What waits to be reported, and how much has happened.
#[derive(Debug, Default)]
pub(super) struct Events {
    waiting: VecDeque<Event>,
    /// What the records among them take.
    set_aside_bytes: usize,
    /// What was set aside, and is yet to be checked.
    claimed: Vec<(NamedRecord, SetAside)>,
    pub(super) stats: DistributorStats,
}

/// Where a record lies at which workers have died, going by the position that the last of them has named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NamedRecord {
    pub(super) slot: usize,
    /// Where it begins: with the padding before it, or behind that.
    pub(super) from: Named,
    pub(super) end: u64,
}

impl Events {
    /// A record was set aside, if there is one: it is reported once it is [checked](Self::check). Each takes room of a
    /// lane until then, so there are no more than fit.
    pub(super) fn claim(&mut self, claim: NamedRecord, record: SetAside) {
        self.claimed.push((claim, record));
    }

    /// Reports what was set aside, if it is a record. What a worker has made up by a position within another is none,
    /// though its bytes look like one.
    pub(super) fn check(&mut self, is_record: impl Fn(NamedRecord) -> bool) {
        for (claim, record) in std::mem::take(&mut self.claimed) {
            if is_record(claim) {
                self.push(Event::SetAside(record));
            }
        }
    }

    pub(super) fn push(&mut self, event: Event) {
        let stats = &mut self.stats;
        match &event {
            Event::Joined { .. } => stats.joined += 1,
            Event::Gone { how: Departure::Left, .. } => stats.left += 1,
            Event::Gone { how: Departure::Died, .. } => stats.died += 1,
            Event::Gone { how: Departure::Evicted, .. } => stats.evicted += 1,
            Event::TakenBack { records, .. } => stats.taken_back += *records as u64,
            Event::SetAside(_) => stats.set_aside += 1,
        }
        let bytes = event.set_aside_bytes();
        // The bytes of what was set aside are nowhere else, so there is more room for those; one is kept in any case.
        let is_too_many = match bytes {
            0 => self.waiting.len() >= EVENTS_MAX,
            _ => self.set_aside_bytes != 0 && self.set_aside_bytes + bytes > SET_ASIDE_MAX_BYTES,
        };
        if is_too_many {
            stats.events_missed += 1;
        } else {
            self.set_aside_bytes += bytes;
            self.waiting.push_back(event);
        }
    }

    pub(super) fn pop(&mut self) -> Option<Event> {
        let event = self.waiting.pop_front()?;
        self.set_aside_bytes -= event.set_aside_bytes();
        Some(event)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::distribute::{Distributor, Worker};
    use crate::test_support::unique_name;

    #[test]
    fn records_that_were_set_aside_are_kept_up_to_their_bytes_and_others_up_to_their_number() {
        let address = format!("@{}", unique_name());
        let mut distributor = Distributor::listen(address.as_str()).unwrap();
        let _worker = Worker::connect(address.as_str()).unwrap();
        let worker = distributor.workers()[0].consumer.clone();
        let mut events = Events::default();
        let set_aside = |len: usize| {
            let payload = vec![0; len].into();
            Event::SetAside(SetAside { payload, tag: 0, deaths: 3, worker: worker.clone() })
        };
        let taken_back = || Event::TakenBack { slot: 0, records: 1 };
        (0..EVENTS_MAX + 1).for_each(|_| events.push(taken_back()));
        assert_eq!(events.stats.events_missed, 1);
        // Longer than all that are kept: but it is the only one.
        events.push(set_aside(SET_ASIDE_MAX_BYTES));
        events.push(set_aside(0));
        assert_eq!((events.stats.events_missed, events.stats.set_aside), (2, 2));
        (0..EVENTS_MAX).for_each(|_| assert!(matches!(events.pop(), Some(Event::TakenBack { .. }))));
        assert!(matches!(events.pop(), Some(Event::SetAside(record)) if record.payload.len() == SET_ASIDE_MAX_BYTES));
        // Each costs something, also without a payload.
        let max = SET_ASIDE_MAX_BYTES / SET_ASIDE_COST_BYTES;
        (0..max + 10).for_each(|_| events.push(set_aside(0)));
        assert_eq!(events.stats.events_missed, 2 + 10);
        (0..max).for_each(|_| assert!(events.pop().is_some()));
        assert!(events.pop().is_none());
    }
}
