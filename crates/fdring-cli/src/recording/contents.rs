//! What a recording has: it is read to its end, and counted.

use super::read::{End, Item, read};
use super::{Missed, Origin};
use crate::Failure;
use mcap::records::Statistics;
use std::collections::{BTreeMap, HashMap};
use std::ops::ControlFlow;
use std::path::Path;

/// What was counted.
#[derive(Debug)]
pub(crate) struct Contents {
    /// By their numbers.
    pub(crate) channels: BTreeMap<u16, Channel>,
    pub(crate) end: End,
    /// What the index says that is not so. `None` without an index, or if all is so.
    pub(crate) lie: Option<String>,
    pub(crate) has_index: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct Channel {
    pub(crate) origin: Origin,
    pub(crate) records: u64,
    /// Of payloads.
    pub(crate) bytes: u64,
    pub(crate) longest: usize,
    /// The first and the last time of its records.
    pub(crate) times: Option<(u64, u64)>,
    /// If it says what was missed: how much.
    pub(crate) missed_bytes: u64,
}

impl Contents {
    pub(crate) fn count(path: &Path) -> Result<Self, Failure> {
        let (mut channels, mut statistics) = (BTreeMap::<u16, Channel>::new(), None);
        let end = read(path, |item| {
            match item {
                Item::Channel(id, origin) => {
                    channels.insert(id, Channel::new(origin.clone()));
                }
                Item::Message(_, header, payload) => {
                    if let Some(channel) = channels.get_mut(&header.channel_id) {
                        channel.count(time_of(&channel.origin, header.log_time, header.publish_time), payload);
                    }
                }
                Item::Statistics(found) => statistics = Some(found),
            }
            Ok(ControlFlow::Continue(()))
        })?;
        let lie = statistics.as_ref().and_then(|statistics| lie(statistics, &channels));
        Ok(Self { channels, end, lie, has_index: statistics.is_some() })
    }

    /// The channels of records.
    pub(crate) fn of_records(&self) -> impl Iterator<Item = &Channel> {
        self.channels.values().filter(|channel| !channel.origin.is_of_missed)
    }

    /// The first and the last time of all records.
    pub(crate) fn times(&self) -> Option<(u64, u64)> {
        let times = self.of_records().filter_map(|channel| channel.times);
        times.reduce(|(from, to), (first, last)| (from.min(first), to.max(last)))
    }

    /// What was missed of each lane, by its id and name, and how often.
    pub(crate) fn missed(&self) -> HashMap<(&str, &str), (u64, u64)> {
        let mut missed = HashMap::new();
        for channel in self.channels.values().filter(|channel| channel.origin.is_of_missed) {
            let (bytes, times): &mut (u64, u64) =
                missed.entry((&*channel.origin.id, &*channel.origin.lane)).or_default();
            *bytes = bytes.saturating_add(channel.missed_bytes);
            *times += channel.records;
        }
        missed
    }

    pub(crate) fn missed_bytes(&self) -> u64 {
        self.channels.values().fold(0, |bytes, channel| channel.missed_bytes.saturating_add(bytes))
    }
}

impl Channel {
    fn new(origin: Origin) -> Self {
        Self { origin, records: 0, bytes: 0, longest: 0, times: None, missed_bytes: 0 }
    }

    fn count(&mut self, time: u64, payload: &[u8]) {
        self.records += 1;
        self.bytes += payload.len() as u64;
        self.longest = self.longest.max(payload.len());
        self.times = Some(self.times.map_or((time, time), |(from, to)| (from.min(time), to.max(time))));
        if self.origin.is_of_missed {
            let missed = Missed::from_json(payload).map_or(0, |missed| missed.bytes);
            self.missed_bytes = self.missed_bytes.saturating_add(missed);
        }
    }
}

/// When a record was published, if that is known, and else when it was recorded.
pub(crate) fn time_of(origin: &Origin, logged: u64, published: u64) -> u64 {
    if origin.is_stamped { published } else { logged }
}

/// What the index says that was not found.
fn lie(statistics: &Statistics, channels: &BTreeMap<u16, Channel>) -> Option<String> {
    let found: u64 = channels.values().map(|channel| channel.records).sum();
    let said = statistics.message_count;
    if said != found {
        return Some(format!("the index says that there are {said} messages, and there are {found}"));
    }
    let said_of = |id| statistics.channel_message_counts.get(&id).copied().unwrap_or_default();
    let (id, channel) = channels.iter().find(|(id, channel)| said_of(**id) != channel.records)?;
    let (said, found) = (said_of(*id), channel.records);
    Some(format!("the index says that channel {id} has {said} messages, and it has {found}"))
}
