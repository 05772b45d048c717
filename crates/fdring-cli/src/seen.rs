//! What `ps` and `top` say of a lane and of who reads it, in words.

use crate::human::{self, duration, harmless};
use crate::output::Colour;
use fdring::inspect::{ConsumerView, LaneState, LaneView, ProcessView, Reason, Survey, Unseen};
use std::time::Duration;

/// Shorter times are not told: they are those between two looks.
const TIME_MIN: Duration = Duration::from_secs(1);
/// As much of a processor as a process uses that is taken to spin.
const SPINNING_SHARE: f64 = 0.5;

/// The state of a lane, and how it stands out.
pub(crate) fn state(lane: &LaneView) -> (String, Colour) {
    match lane.state {
        LaneState::Live if lane.is_blocked => ("waits for room".to_owned(), Colour::Yellow),
        LaneState::Live => ("live".to_owned(), Colour::Green),
        LaneState::Finished => ("finished".to_owned(), Colour::Dim),
        state => (state.to_string(), Colour::Red),
    }
}

/// What one who reads a lane does, and how it stands out. `processor` is the share of a processor that its process
/// uses, if that is known.
pub(crate) fn activity(consumer: &ConsumerView, processor: Option<f64>) -> (String, Colour) {
    let has_all = consumer.behind_bytes == Some(0);
    let is_still = !consumer.still_for.is_zero();
    match consumer.asleep_for {
        _ if consumer.is_evicted => ("evicted".to_owned(), Colour::Red),
        Some(time) => (lasting("asleep", time), Colour::None),
        None if !is_still && consumer.rates.is_some_and(|rates| rates.bytes_per_second > 0.0) => {
            ("reading".to_owned(), Colour::Green)
        }
        None if !is_still => ("awake".to_owned(), Colour::None),
        None if has_all && processor.is_some_and(|share| share >= SPINNING_SHARE) => {
            ("spinning".to_owned(), Colour::None)
        }
        None if has_all => ("awake".to_owned(), Colour::None),
        // It has records to read and reads none.
        None => (lasting("stands still", consumer.still_for), Colour::Yellow),
    }
}

fn lasting(what: &str, time: Duration) -> String {
    if time < TIME_MIN { what.to_owned() } else { format!("{what} for {}", duration(time)) }
}

/// What comes in a second. Both are `None` after one look only.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct PerSecond {
    pub(crate) bytes: Option<f64>,
    pub(crate) records: Option<f64>,
}

impl PerSecond {
    pub(crate) fn bytes(self) -> String {
        self.bytes.map_or_else(String::new, |bytes| human::bytes(bytes.round() as u64))
    }

    pub(crate) fn records(self) -> String {
        self.records.map_or_else(String::new, human::count)
    }
}

/// What is published. The records of a lane are counted from time to time only, but its bytes always: so the number of
/// records is that of the bytes, by the mean length of a record.
pub(crate) fn rates(lane: &LaneView) -> PerSecond {
    let bytes = lane.rates.map(|rates| rates.bytes_per_second);
    let read = lane.consumers.iter().filter_map(|consumer| consumer.rates).map(|rates| rates.records_per_second);
    let records = match (lane.records, lane.record_bytes) {
        // None is counted yet. Who reads all has an idea of it.
        (0, _) | (_, 0) => lane.rates.map(|_| read.fold(0.0, f64::max)),
        (records, record_bytes) => bytes.map(|bytes| bytes * records as f64 / record_bytes as f64),
    };
    PerSecond { bytes, records }
}

/// What is read.
pub(crate) fn reading_rates(consumer: &ConsumerView) -> PerSecond {
    let rates = consumer.rates;
    PerSecond { bytes: rates.map(|rates| rates.bytes_per_second), records: rates.map(|rates| rates.records_per_second) }
}

/// How one reads a lane.
pub(crate) fn kind(consumer: &ConsumerView) -> String {
    consumer.kind.map_or_else(|| "reads".to_owned(), |kind| kind.to_string())
}

/// Whether so many bytes are so much of a lane that it may soon be full, or a tap may miss some.
pub(crate) fn is_far_behind(consumer: &ConsumerView, lane: &LaneView) -> bool {
    consumer.behind_bytes.is_some_and(|bytes| bytes > lane.info.capacity / 2)
}

/// The processes that write or read what is seen.
pub(crate) fn pids(survey: &Survey) -> Vec<u32> {
    survey.lanes.iter().flat_map(pids_of).collect()
}

/// The processes that write or read a lane.
pub(crate) fn pids_of(lane: &LaneView) -> Vec<u32> {
    let readers = lane.consumers.iter().filter_map(|consumer| consumer.process.as_ref());
    lane.producer.iter().chain(readers).map(|process| process.pid).collect()
}

/// A process: its number and its command.
pub(crate) fn who(process: Option<&ProcessView>) -> String {
    process.map_or_else(|| "?".to_owned(), |process| format!("{} {}", process.pid, harmless(&process.command)))
}

/// What could not be seen, a sentence each; of what is another user's, the number.
pub(crate) fn unseen(survey: &Survey) -> Vec<String> {
    let is_other = |unseen: &&Unseen| unseen.reason == Reason::OtherUser && unseen.lane.is_none();
    let others = survey.unseen.iter().filter(is_other).count();
    let mut sentences: Vec<String> = Vec::new();
    for sentence in survey.unseen.iter().filter(|unseen| !is_other(unseen)).map(ToString::to_string) {
        // Several regions of one lane may be unseen for one reason.
        if !sentences.contains(&sentence) {
            sentences.push(sentence);
        }
    }
    match others {
        0 => {}
        1 => sentences.push("1 process of another user; run this as that user, or as root".to_owned()),
        others => sentences.push(format!("{others} processes of other users; run this as those users, or as root")),
    }
    sentences
}

/// Whether something of this user's was not seen.
pub(crate) fn is_missed(survey: &Survey) -> bool {
    let is_ours = |unseen: &Unseen| !matches!(unseen.reason, Reason::OtherUser | Reason::Hidden | Reason::Namespace);
    survey.unseen.iter().any(is_ours)
}
