//! The words of a control region and of a seat, taken apart and checked: numbers from another process, which may say
//! anything at any moment.
//!
//! The invariant: whatever the words are, nothing here panics, and a difference is never negative.

use super::files::FileKey;
use super::{ConsumerView, ReaderKind};
use crate::layout::{
    CONSUMED_LEFT_BIT, CONSUMED_OFFSET, CONTROL_HEADER_WORDS, CONTROL_LEN_BYTES, ControlHeader, EVICTIONS_OFFSET,
    INTENT_OFFSET, LANE_COUNTERS_OFFSET, LaneState, PUBLISHED_OFFSET, READ_OFFSET, SEAT_COUNTERS_OFFSET,
    SEAT_KIND_OFFSET, SEAT_LANE_ID_OFFSET, SEAT_START_OFFSET, SEAT_STRIPE_BYTES, SPACE_WAIT_FUTEX, SPACE_WAIT_OFFSET,
    STATE_OFFSET, WAIT_EPOCH_OFFSET,
};
use crate::ring::{LaneCounters, SeatCounters};
use crate::wire::LaneTerms;
use std::time::Duration;

pub(crate) const CONTROL_WORDS: usize = CONTROL_LEN_BYTES as usize / 8;
pub(crate) const STRIPE_WORDS: usize = SEAT_STRIPE_BYTES / 8;

/// What a control region says.
#[derive(Clone, Debug)]
pub(crate) struct LaneLook {
    pub(crate) terms: LaneTerms,
    pub(crate) data_inode: u64,
    pub(crate) published: u64,
    pub(crate) intent: u64,
    pub(crate) state: LaneState,
    pub(crate) is_blocked: bool,
    pub(crate) evictions: u32,
    pub(crate) counters: LaneCounters,
}

impl LaneLook {
    /// Takes a control region apart; the error is a clause that says what was wrong with it.
    pub(crate) fn new(words: &[u64; CONTROL_WORDS]) -> Result<Self, String> {
        let word = |offset: usize| words[offset / 8];
        let header = ControlHeader::from_words(std::array::from_fn::<_, CONTROL_HEADER_WORDS, _>(|index| words[index]));
        let terms = LaneTerms::from_header(&header)?;
        let state = word(STATE_OFFSET) as u32;
        let state = LaneState::from_word(state).ok_or_else(|| format!("the lane's state is {state}"))?;
        let (published, intent) = (word(PUBLISHED_OFFSET), word(INTENT_OFFSET));
        if published & (terms.geometry.record_align() - 1) != 0 || published >= CONSUMED_LEFT_BIT {
            return Err(format!("no record can end at {published}, where the last is said to"));
        }
        let [records, record_bytes, bells_rung, times_blocked] =
            std::array::from_fn(|index| word(LANE_COUNTERS_OFFSET + 8 * index));
        Ok(Self {
            terms,
            data_inode: header.data_inode,
            published,
            intent,
            state,
            is_blocked: word(SPACE_WAIT_OFFSET) as u32 == SPACE_WAIT_FUTEX,
            evictions: word(EVICTIONS_OFFSET) as u32,
            counters: LaneCounters { records, record_bytes, bells_rung, times_blocked },
        })
    }
}

/// What the stripe of a seat says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StripeLook {
    pub(crate) lane_id: [u8; 16],
    kind: Option<ReaderKind>,
    start: u64,
    consumed: u64,
    read: u64,
    wait_epoch: u32,
    counters: SeatCounters,
}

impl StripeLook {
    /// Takes a stripe apart; `None` if nobody has read by it yet, or its reader has left.
    pub(crate) fn new(words: &[u64; STRIPE_WORDS]) -> Option<Self> {
        let word = |offset: usize| words[offset / 8];
        let kind = match word(SEAT_KIND_OFFSET) as u32 {
            1 => Some(ReaderKind::InPlace),
            2 => Some(ReaderKind::Copies),
            3 => Some(ReaderKind::Tap),
            _ => None,
        };
        let look = Self {
            lane_id: bytemuck::cast([word(SEAT_LANE_ID_OFFSET), word(SEAT_LANE_ID_OFFSET + 8)]),
            kind,
            start: word(SEAT_START_OFFSET),
            consumed: word(CONSUMED_OFFSET),
            read: word(READ_OFFSET),
            wait_epoch: word(WAIT_EPOCH_OFFSET) as u32,
            counters: SeatCounters {
                records: word(SEAT_COUNTERS_OFFSET),
                record_bytes: word(SEAT_COUNTERS_OFFSET + 8),
                missed_bytes: word(SEAT_COUNTERS_OFFSET + 16),
            },
        };
        let is_used = look.kind.is_some() || look.consumed != 0 || look.wait_epoch != 0;
        (is_used && look.consumed & CONSUMED_LEFT_BIT == 0).then_some(look)
    }

    /// What it says of its reader, beside a lane that was looked at before it, and after it.
    pub(crate) fn view(&self, seat: (FileKey, usize), before: &LaneLook, lane: &LaneLook) -> ConsumerView {
        let Self { kind, start, consumed, read, wait_epoch, counters, .. } = *self;
        // Without the word for it, where one began that has released nothing is for its producer to know.
        let position = if consumed != 0 { Some(consumed) } else { kind.map(|_| start) };
        let position = position.filter(|position| *position <= lane.published);
        let gates = kind != Some(ReaderKind::Tap);
        let is_overtaken = |position: u64| before.intent.saturating_sub(position) > lane.terms.geometry.capacity();
        // What is published since it was looked at, a consumer may have released meanwhile: no more than a ring lies
        // between, unless it does not gate the lane.
        let behind = |position: u64| match lane.published - position {
            behind if gates && !is_overtaken(position) => behind.min(lane.terms.geometry.capacity()),
            behind => behind,
        };
        let held = |position: u64| read.min(lane.published).saturating_sub(position).min(behind(position));
        ConsumerView {
            process: None,
            kind,
            behind_bytes: position.map(behind),
            held_bytes: position.filter(|_| gates).map_or(0, held),
            is_asleep: wait_epoch % 2 == 1,
            is_evicted: gates && kind.is_some() && (counters.missed_bytes != 0 || position.is_some_and(is_overtaken)),
            since: None,
            still_for: Duration::ZERO,
            asleep_for: None,
            records: counters.records,
            record_bytes: counters.record_bytes,
            missed_bytes: counters.missed_bytes,
            rates: None,
            seat,
            look: *self,
        }
    }

    /// The position up to which its reader has read, as of its last release.
    pub(crate) fn read(&self) -> u64 {
        self.read
    }

    /// Whether its reader has not moved since an earlier look.
    pub(crate) fn is_still(&self, before: &Self) -> bool {
        (self.consumed, self.read, self.counters.records) == (before.consumed, before.read, before.counters.records)
    }

    /// Whether its reader has been in one sleep since an earlier look.
    pub(crate) fn sleeps_on(&self, before: &Self) -> bool {
        self.wait_epoch % 2 == 1 && self.wait_epoch == before.wait_epoch
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::Geometry;
    use crate::terms::Barrier;
    use crate::wire::LaneName;

    fn terms() -> LaneTerms {
        let geometry = Geometry::new(4096, 16, 8).unwrap();
        let name = LaneName::new("ticks").unwrap();
        let (id, barrier) = ([7; 16], Barrier::Asymmetric);
        LaneTerms {
            name,
            id,
            geometry,
            schema: 3,
            generation: 0,
            barrier,
            is_stamped: false,
            has_space_bell: false,
            has_one_worker: false,
            record_fds_max: 0,
        }
    }

    fn control() -> [u64; CONTROL_WORDS] {
        let mut words = [0; CONTROL_WORDS];
        words[..CONTROL_HEADER_WORDS].copy_from_slice(&terms().header().to_words());
        words[PUBLISHED_OFFSET / 8] = 8192;
        words[INTENT_OFFSET / 8] = 8448;
        words[STATE_OFFSET / 8] = 1;
        words
    }

    fn stripe(kind: u64, consumed: u64, read: u64) -> [u64; STRIPE_WORDS] {
        let mut words = [0; STRIPE_WORDS];
        words[SEAT_KIND_OFFSET / 8] = kind;
        words[SEAT_START_OFFSET / 8] = 4096;
        words[CONSUMED_OFFSET / 8] = consumed;
        words[READ_OFFSET / 8] = read;
        words
    }

    #[test]
    fn a_control_region_is_what_it_was_made_as() {
        let look = LaneLook::new(&control()).unwrap();
        assert_eq!((look.terms, look.published, look.state), (terms(), 8192, LaneState::Open));
    }

    #[test]
    fn words_that_cannot_be_are_refused() {
        for (offset, value, fault) in [
            (0, 1, "magic"),
            (8, 2, "version"),
            (8, 1 | 4 << 32, "descriptors"),
            (8, 1 | 2 << 32, "payload"),
            (16, 4097, "capacity"),
            (64, 0, "name"),
            (80, 1, "another lane"),
            (136, 1, "another lane"),
            (PUBLISHED_OFFSET, 8200, "8200"),
            (PUBLISHED_OFFSET, 1 << 63, "no record can end"),
            (STATE_OFFSET, 4, "state is 4"),
        ] {
            let mut words = control();
            words[offset / 8] = value;
            let error = LaneLook::new(&words).unwrap_err();
            assert!(error.contains(fault), "{offset} {value}: {error}");
        }
    }

    #[test]
    fn a_stripe_is_of_a_reader_once_it_is_used_and_until_it_has_left() {
        assert_eq!(StripeLook::new(&[0; STRIPE_WORDS]), None);
        assert!(StripeLook::new(&stripe(2, 0, 0)).is_some());
        assert!(StripeLook::new(&stripe(0, 16, 16)).is_some(), "one that tells tools nothing");
        assert_eq!(StripeLook::new(&stripe(2, 4096 | CONSUMED_LEFT_BIT, 4096)), None);
    }

    const SEAT: (FileKey, usize) = (FileKey { device: (0, 1), inode: 2 }, 0);

    #[test]
    fn how_far_a_reader_is_behind_is_told_from_where_it_began_until_it_releases() {
        let lane = LaneLook::new(&control()).unwrap();
        let view =
            |kind, consumed, read| StripeLook::new(&stripe(kind, consumed, read)).unwrap().view(SEAT, &lane, &lane);
        let told = |view: ConsumerView| (view.behind_bytes, view.held_bytes, view.is_evicted);
        assert_eq!(told(view(2, 0, 0)), (Some(4096), 0, true), "4352 bytes may be overwritten");
        assert_eq!(told(view(2, 8000, 8000)), (Some(192), 0, false));
        assert_eq!(told(view(1, 8000, 8064)), (Some(192), 64, false));
        assert_eq!(told(view(3, 16, 16)), (Some(8176), 0, false), "a tap holds nothing and is not evicted");
        assert_eq!(told(view(0, 8000, u64::MAX)), (Some(192), 192, false));
        assert_eq!(told(view(2, 9000, 9000)), (None, 0, false), "beyond what is published");
        assert_eq!(told(view(2, u64::MAX >> 1, 0)), (None, 0, false));
        // A whole ring and more was published after the look at the reader.
        let mut later = control();
        (later[PUBLISHED_OFFSET / 8], later[INTENT_OFFSET / 8]) = (16384, 16384);
        let later = LaneLook::new(&later).unwrap();
        let view = |kind| StripeLook::new(&stripe(kind, 8000, 8000)).unwrap().view(SEAT, &lane, &later);
        assert_eq!(told(view(2)), (Some(4096), 0, false));
        assert_eq!(told(view(3)), (Some(8384), 0, false), "a tap may be behind by more");
    }
}
