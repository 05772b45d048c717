//! Records that prove themselves, logs of who wrote and who read them, and the checker that compares the logs.
//!
//! A record carries its lane's id, its number, its length, and bytes that follow from these. Which record lies where
//! follows from its number too, so a checker knows without asking anybody what a consumer must have seen that begins at
//! some position: it proves from the logs alone that nothing was lost, came twice, was torn or came out of order.
//!
//! A log is written entry by entry, each by one system call, so that it survives SIGKILL up to the last.
#![allow(dead_code, reason = "each test file uses a part of this")]

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;

/// The capacity of every lane here: short, so that everyone waits for everyone.
pub(crate) const CAPACITY: u64 = 4096;
/// The lane's id, the number and the length: 8 bytes each.
const PREFIX_BYTES: u64 = 24;
const PAYLOAD_MAX_BYTES: u64 = CAPACITY / 2 - 8;
const HEADER_BYTES: u64 = 8;

/// A step of a generator that is good enough to tell any two records apart (splitmix64).
pub(crate) fn mix(value: u64) -> u64 {
    let mut mixed = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// The payload of a record: mostly short, at times as long as a record can be.
pub(crate) fn payload_of(lane: u64, sequence: u64) -> Vec<u8> {
    let mut state = mix(lane ^ mix(sequence));
    let spread = if state.is_multiple_of(32) { PAYLOAD_MAX_BYTES - PREFIX_BYTES + 1 } else { 160 };
    let len = PREFIX_BYTES + (state >> 8) % spread;
    let mut payload = Vec::with_capacity(len as usize + 8);
    [lane, sequence, len].iter().for_each(|word| payload.extend(word.to_le_bytes()));
    while (payload.len() as u64) < len {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        payload.extend(state.to_le_bytes());
    }
    payload.truncate(len as usize);
    payload
}

/// A number that stands for all bytes of a payload.
fn digest(payload: &[u8]) -> u64 {
    payload.chunks(8).fold(payload.len() as u64, |digest, chunk| {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        (digest ^ u64::from_le_bytes(word)).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29)
    })
}

/// How a consumer's reading ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub(crate) enum Ending {
    /// It had read as many records as it wanted.
    Left,
    /// It had read the record that the producer called the last.
    Last,
    Finished,
    PeerDead,
}

/// What a process notes. Records are numbered from 0; `end` is the number of the first record that is not meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    /// A producer has made its lane.
    Opened { lane: u64 },
    /// Records up to `end` may be published from now on.
    Intends { end: u64 },
    /// All records up to `end` are published, which end at `position`.
    Published { end: u64, position: u64 },
    /// The record before `end` is the last for those who are there.
    Last { end: u64 },
    /// A consumer begins at `start`.
    Attached { lane: u64, start: u64 },
    /// What a consumer was given.
    Read { lane: u64, sequence: u64, len: u64, position: u64, digest: u64 },
    /// How it ended, where its next record would have begun, and the lane's word `published` then.
    Ended { how: Ending, position: u64, published: u64 },
}

impl Entry {
    /// What a consumer notes of a record, as the payload itself has it.
    pub(crate) fn read(payload: &[u8], position: u64) -> Self {
        let word = |index: usize| match payload.get(index * 8..index * 8 + 8) {
            Some(bytes) => u64::from_le_bytes(bytes.try_into().unwrap()),
            None => u64::MAX,
        };
        let (lane, sequence, len) = (word(0), word(1), payload.len() as u64);
        Self::Read { lane, sequence, len, position, digest: digest(payload) }
    }

    /// An entry in a log: 64 bytes, so that none lies across two pages, which a death could tear apart.
    fn to_words(self) -> [u64; 8] {
        match self {
            Self::Opened { lane } => [1, lane, 0, 0, 0, 0, 0, 0],
            Self::Intends { end } => [2, end, 0, 0, 0, 0, 0, 0],
            Self::Published { end, position } => [3, end, position, 0, 0, 0, 0, 0],
            Self::Last { end } => [7, end, 0, 0, 0, 0, 0, 0],
            Self::Attached { lane, start } => [4, lane, start, 0, 0, 0, 0, 0],
            Self::Read { lane, sequence, len, position, digest } => [5, lane, sequence, len, position, digest, 0, 0],
            Self::Ended { how, position, published } => [6, how as u64, position, published, 0, 0, 0, 0],
        }
    }

    fn from_words(words: [u64; 8]) -> Self {
        let [kind, a, b, c, d, e, _, _] = words;
        match kind {
            1 => Self::Opened { lane: a },
            2 => Self::Intends { end: a },
            3 => Self::Published { end: a, position: b },
            4 => Self::Attached { lane: a, start: b },
            5 => Self::Read { lane: a, sequence: b, len: c, position: d, digest: e },
            6 => {
                let how = [Ending::Left, Ending::Last, Ending::Finished, Ending::PeerDead][a as usize];
                Self::Ended { how, position: b, published: c }
            }
            7 => Self::Last { end: a },
            other => panic!("a log with an entry of kind {other}"),
        }
    }
}

/// The log of one process.
#[derive(Debug)]
pub(crate) struct Log(File);

impl Log {
    pub(crate) fn create(path: &str) -> Self {
        Self(OpenOptions::new().create_new(true).append(true).open(path).unwrap())
    }

    pub(crate) fn note(&mut self, entry: Entry) {
        self.0.write_all(entry.to_words().map(u64::to_le_bytes).as_flattened()).unwrap();
    }
}

/// All that was noted; nothing, if the process died before it could note anything.
pub(crate) fn read_log(path: &Path) -> Vec<Entry> {
    let Ok(bytes) = std::fs::read(path) else { return Vec::new() };
    assert!(bytes.len().is_multiple_of(64), "a log with half an entry");
    let word = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().unwrap());
    bytes.chunks(64).map(|entry| Entry::from_words(std::array::from_fn(|n| word(&entry[n * 8..n * 8 + 8])))).collect()
}

/// A record as it must be.
struct Expected {
    begin: u64,
    end: u64,
    len: u64,
    digest: u64,
}

/// What the log of a producer says of its lane, and what follows from that.
pub(crate) struct Ledger {
    lane: u64,
    /// How many records may be published, and how many are for certain.
    pub(crate) intended: u64,
    pub(crate) published: u64,
    /// Where those stop who are told to.
    last: Option<u64>,
    /// All that may be published.
    records: Vec<Expected>,
}

/// What a consumer has read, once its log was found to be in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reading {
    /// The numbers of the first record and of the one after the last.
    pub(crate) first: u64,
    pub(crate) end: u64,
    pub(crate) how: Option<Ending>,
}

impl Ledger {
    /// # Errors
    ///
    /// What does not fit together in the log.
    pub(crate) fn new(log: &[Entry]) -> Result<Self, String> {
        let [Entry::Opened { lane }, rest @ ..] = log else { return Err("a producer that opened no lane".to_owned()) };
        let mut ledger = Self { lane: *lane, intended: 0, published: 0, last: None, records: Vec::new() };
        for entry in rest {
            match *entry {
                Entry::Intends { end } => {
                    ledger.intended = end;
                    (ledger.records.len() as u64..end).for_each(|sequence| ledger.expect(sequence));
                }
                Entry::Published { end, position } => {
                    let expected = ledger.end_of(end);
                    if expected != Some(position) {
                        return Err(format!("{end} records published up to {position}, where {expected:?} is right"));
                    }
                    ledger.published = end;
                }
                Entry::Last { end } => ledger.last = Some(end),
                entry => return Err(format!("{entry:?} in the log of a producer")),
            }
        }
        Ok(ledger)
    }

    /// Where a record lies and what it holds: the layout of docs/protocol.md with alignments of 8.
    fn expect(&mut self, sequence: u64) {
        let payload = payload_of(self.lane, sequence);
        let len = payload.len() as u64;
        let (mut begin, size) = (self.end_of(sequence).unwrap(), (HEADER_BYTES + len).next_multiple_of(8));
        if begin % CAPACITY + size > CAPACITY {
            begin = begin.next_multiple_of(CAPACITY);
        }
        self.records.push(Expected { begin, end: begin + size, len, digest: digest(&payload) });
    }

    /// Where the first `count` records end.
    fn end_of(&self, count: u64) -> Option<u64> {
        match count {
            0 => Some(0),
            count => self.records.get(count as usize - 1).map(|record| record.end),
        }
    }

    /// The number of the record that comes next at a position; `None` if no record ends there.
    fn next_at(&self, position: u64) -> Option<u64> {
        if position == 0 {
            return Some(0);
        }
        let index = self.records.binary_search_by_key(&position, |record| record.end).ok()?;
        Some(index as u64 + 1)
    }

    /// Checks what a consumer has noted; `None` if it never attached.
    ///
    /// # Errors
    ///
    /// The first thing that was lost, came twice, was torn, came out of order or too early, or an end that came too
    /// early or too late.
    pub(crate) fn check(&self, log: &[Entry]) -> Result<Option<Reading>, String> {
        let Some((attached, rest)) = log.split_first() else { return Ok(None) };
        let Entry::Attached { lane, start } = *attached else { return Err(format!("{attached:?} comes first")) };
        if lane != self.lane {
            return Err(format!("attached to lane {lane:#x}, which is {:#x}", self.lane));
        }
        let first = self.next_at(start).ok_or_else(|| format!("it started at {start}, where no record ends"))?;
        let (mut next, mut how) = (first, None);
        for entry in rest {
            match *entry {
                _ if how.is_some() => return Err(format!("{entry:?} after the end")),
                Entry::Read { .. } => {
                    self.check_record(next, *entry)?;
                    next += 1;
                }
                Entry::Ended { how: end, position, published } => {
                    self.check_end(next, end, position, published)?;
                    how = Some(end);
                }
                entry => return Err(format!("{entry:?} in the log of a consumer")),
            }
        }
        Ok(Some(Reading { first, end: next, how }))
    }

    fn check_record(&self, number: u64, entry: Entry) -> Result<(), String> {
        let Some(Expected { begin, len, digest, .. }) = self.records.get(number as usize) else {
            return Err(format!("{entry:?} was never to be published"));
        };
        let (lane, position) = (self.lane, *begin);
        let expected = Entry::Read { lane, sequence: number, len: *len, position, digest: *digest };
        if entry == expected { Ok(()) } else { Err(format!("{entry:?} came, where it had to be {expected:?}")) }
    }

    fn check_end(&self, next: u64, how: Ending, position: u64, published: u64) -> Result<(), String> {
        if self.end_of(next) != Some(position) {
            return Err(format!("it has read {next} records and stands at {position}"));
        }
        if how == Ending::Last && self.last != Some(next) {
            return Err(format!("it took record {next} for the last, which is {:?}", self.last));
        }
        if matches!(how, Ending::Left | Ending::Last) {
            return Ok(());
        }
        if position != published {
            return Err(format!("{how:?} at {position}, where records are published up to {published}"));
        }
        if next < self.published {
            return Err(format!("{how:?} after {next} records, of which {} were published", self.published));
        }
        Ok(())
    }
}
