//! Files of recordings: MCAP, with one channel for each tag of each lane.
//!
//! The invariant: what is needed to make the lane again stands with its channels, so that a file which was cut off at
//! any byte is read like any other up to there.

pub(crate) mod contents;
pub(crate) mod read;
mod spool;
pub(crate) mod write;

use crate::human::hex;
use fdring::info::LaneInfo;
use mcap::records::Channel;
use std::collections::BTreeMap;

/// Longer records of the file are not read: those with a payload, and chunks of them. Payloads that would make one are
/// not written.
pub(crate) const RECORD_MAX_BYTES: usize = 1 << 30;

/// Of which lane and tag the messages of a channel are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Origin {
    pub(crate) lane: String,
    /// In hexadecimal digits. Empty in a file that another program has written.
    pub(crate) id: String,
    pub(crate) tag: u16,
    pub(crate) schema: u64,
    /// 0 in a file that another program has written.
    pub(crate) capacity: u64,
    pub(crate) record_align: u32,
    pub(crate) payload_align: u32,
    /// Whether `publish_time` is when the record was published, and not when it was recorded.
    pub(crate) is_stamped: bool,
    /// Whether its messages say what was missed, and are no records.
    pub(crate) is_of_missed: bool,
}

impl Origin {
    pub(crate) fn of(lane: &LaneInfo, tag: u16) -> Self {
        Self {
            lane: lane.name.clone(),
            id: hex(&lane.id),
            tag,
            schema: lane.schema,
            capacity: lane.capacity,
            record_align: lane.record_align,
            payload_align: lane.payload_align,
            is_stamped: lane.is_stamped,
            is_of_missed: false,
        }
    }

    /// That of the messages that say what was missed of the lane.
    pub(crate) fn of_missed(lane: &LaneInfo) -> Self {
        Self { is_of_missed: true, ..Self::of(lane, 0) }
    }

    pub(crate) fn topic(&self) -> String {
        match self.tag {
            _ if self.is_of_missed => format!("{}!missed", self.lane),
            0 => self.lane.clone(),
            tag => format!("{}#{tag}", self.lane),
        }
    }

    /// What other programs show of the channel, and [`from_channel`](Self::from_channel) reads.
    pub(crate) fn metadata(&self) -> BTreeMap<String, String> {
        let times = if self.is_stamped { "publication" } else { "recorder" };
        let content = if self.is_of_missed { "missed" } else { "records" };
        let pairs = [
            ("fdring.lane", self.lane.clone()),
            ("fdring.lane_id", self.id.clone()),
            ("fdring.tag", self.tag.to_string()),
            ("fdring.schema", self.schema.to_string()),
            ("fdring.capacity", self.capacity.to_string()),
            ("fdring.record_align", self.record_align.to_string()),
            ("fdring.payload_align", self.payload_align.to_string()),
            ("fdring.publish_time", times.to_owned()),
            ("fdring.content", content.to_owned()),
        ];
        pairs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
    }

    /// What a channel says of itself, also of another program's: its topic is a lane of that name.
    pub(crate) fn from_channel(channel: &Channel) -> Self {
        let text = |key: &str| channel.metadata.get(key).map(String::as_str);
        let number = |key: &str| text(key).and_then(|value| value.parse::<u64>().ok());
        let align = |key: &str| number(key).and_then(|value| u32::try_from(value).ok()).unwrap_or(8);
        Self {
            lane: text("fdring.lane").unwrap_or(&channel.topic).to_owned(),
            id: text("fdring.lane_id").unwrap_or_default().to_owned(),
            tag: number("fdring.tag").and_then(|tag| u16::try_from(tag).ok()).unwrap_or_default(),
            schema: number("fdring.schema").unwrap_or_default(),
            capacity: number("fdring.capacity").unwrap_or_default(),
            record_align: align("fdring.record_align"),
            payload_align: align("fdring.payload_align"),
            is_stamped: text("fdring.publish_time") == Some("publication"),
            is_of_missed: text("fdring.content") == Some("missed"),
        }
    }
}

/// What a message about missed records says: where reading went on, and how many bytes were missed before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Missed {
    pub(crate) position: u64,
    pub(crate) bytes: u64,
}

impl Missed {
    fn to_json(self) -> String {
        format!("{{\"position\":{},\"missed_bytes\":{}}}", self.position, self.bytes)
    }

    /// `None` for what is not spelled as [`to_json`](Self::to_json) does.
    pub(crate) fn from_json(text: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(text).ok()?.strip_prefix("{\"position\":")?.strip_suffix('}')?;
        let (position, bytes) = text.split_once(",\"missed_bytes\":")?;
        Some(Self { position: position.parse().ok()?, bytes: bytes.parse().ok()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_channel_says_of_which_lane_it_is() {
        let origin = Origin {
            lane: "ticks".to_owned(),
            id: "11".repeat(16),
            tag: 7,
            schema: u64::MAX,
            capacity: 1 << 20,
            record_align: 64,
            payload_align: 32,
            is_stamped: true,
            is_of_missed: false,
        };
        let channel = |origin: &Origin| Channel {
            id: 1,
            schema_id: 0,
            topic: origin.topic(),
            message_encoding: String::new(),
            metadata: origin.metadata(),
        };
        for (origin, topic) in [
            (origin.clone(), "ticks#7"),
            (Origin { tag: 0, ..origin.clone() }, "ticks"),
            (Origin { is_of_missed: true, is_stamped: false, ..origin.clone() }, "ticks!missed"),
        ] {
            assert_eq!((Origin::from_channel(&channel(&origin)), &*origin.topic()), (origin.clone(), topic));
        }
        // What others write, or lies, is a lane called like the topic.
        let mut foreign = channel(&origin);
        foreign.metadata = BTreeMap::from([("fdring.tag".to_owned(), "65536".to_owned())]);
        let read = Origin::from_channel(&foreign);
        assert_eq!((&*read.lane, read.tag, read.capacity, read.record_align), ("ticks#7", 0, 0, 8));
    }

    #[test]
    fn what_was_missed_is_read_as_it_is_written() {
        let missed = Missed { position: u64::MAX, bytes: 17 };
        assert_eq!(Missed::from_json(missed.to_json().as_bytes()), Some(missed));
        for text in ["", "{}", "{\"position\":1}", "{\"position\":1,\"missed_bytes\":-1}", "\u{7f}"] {
            assert_eq!(Missed::from_json(text.as_bytes()), None, "{text}");
        }
    }
}
