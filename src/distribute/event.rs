//! What a distributor reports.

use crate::info::ConsumerInfo;
use std::collections::VecDeque;
use std::fmt;

/// How many comings and goings are kept for [`Distributor::try_next_event`](super::Distributor::try_next_event).
const EVENTS_MAX: usize = 1024;

/// What has happened at a [`Distributor`](super::Distributor).
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
    /// A record was set aside: no worker gets it any more.
    SetAside(SetAside),
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
    /// The events that [`try_next_event`](super::Distributor::try_next_event) will never return, because 1024 others
    /// were waiting for it. No [`SetAside`](Event::SetAside) is ever left out.
    pub events_missed: u64,
}

/// What waits to be reported, and how much has happened.
#[derive(Debug, Default)]
pub(super) struct Events {
    waiting: VecDeque<Event>,
    pub(super) stats: DistributorStats,
}

impl Events {
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
        // The bytes of what was set aside are nowhere else.
        if self.waiting.len() >= EVENTS_MAX && !matches!(event, Event::SetAside(_)) {
            stats.events_missed += 1;
        } else {
            self.waiting.push_back(event);
        }
    }

    pub(super) fn pop(&mut self) -> Option<Event> {
        self.waiting.pop_front()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}
