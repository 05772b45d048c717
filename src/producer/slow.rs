//! Which consumers have held a full ring back for too long.
//!
//! The invariant: the time of a consumer begins anew only when it has released an eighth of the ring. Whatever else it
//! does meanwhile, and whichever other consumer holds the lane back, it runs on.
//!
//! What this file does not do: it looks at no seat, and evicts nobody.

use crate::policies::SlowConsumer;
use std::time::{Duration, Instant};

/// A consumer that releases this part of the ring makes progress.
const STEPS_PER_RING: u64 = 8;

/// Where a consumer stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SeatStand {
    pub(super) seat_id: u64,
    /// Up to where it has released.
    pub(super) position: u64,
}

/// A consumer that was found to hold the ring back, and has not released an eighth of it since.
#[derive(Clone, Copy, Debug)]
struct Suspect {
    /// Where it stood then.
    stood: SeatStand,
    since: Instant,
    /// Whether it holds the ring back now.
    is_laggard: bool,
}

/// Those who have been found to hold the ring back, and since when.
#[derive(Debug)]
pub(super) struct SlowWatch {
    policy: SlowConsumer,
    capacity: u64,
    suspects: Vec<Suspect>,
}

impl SlowWatch {
    pub(super) fn new(policy: SlowConsumer, capacity: u64) -> Self {
        Self { policy, capacity, suspects: Vec::new() }
    }

    /// How long a consumer may hold the ring back; `None` if for ever.
    pub(super) fn after(&self) -> Option<Duration> {
        match self.policy {
            SlowConsumer::Wait => None,
            SlowConsumer::Fail { after } | SlowConsumer::Evict { after } => Some(after),
        }
    }

    /// Whether those are evicted who can be.
    pub(super) fn evicts(&self) -> bool {
        matches!(self.policy, SlowConsumer::Evict { .. })
    }

    /// At `now` the ring is too full for a record that would end at `end`, and these are the consumers.
    pub(super) fn note(&mut self, consumers: &[SeatStand], end: u64, now: Instant) {
        let step = self.capacity / STEPS_PER_RING;
        let suspects = consumers.iter().filter_map(|stands| {
            let is_laggard = stands.position.saturating_add(self.capacity) < end;
            let before = self.suspects.iter().find(|suspect| suspect.stood.seat_id == stands.seat_id);
            match before {
                Some(suspect) if stands.position < suspect.stood.position.saturating_add(step) => {
                    Some(Suspect { is_laggard, ..*suspect })
                }
                _ => is_laggard.then_some(Suspect { stood: *stands, since: now, is_laggard }),
            }
        });
        self.suspects = suspects.collect();
    }

    fn laggards(&self) -> impl Iterator<Item = &Suspect> {
        self.suspects.iter().filter(|suspect| suspect.is_laggard)
    }

    /// Those who have held the ring back for too long at `now`.
    pub(super) fn overdue(&self, now: Instant) -> Vec<u64> {
        let Some(after) = self.after() else { return Vec::new() };
        let is_overdue = |suspect: &&Suspect| now.saturating_duration_since(suspect.since) >= after;
        self.laggards().filter(is_overdue).map(|suspect| suspect.stood.seat_id).collect()
    }

    /// When the next of them will have, seen from `now`.
    pub(super) fn next_overdue(&self, now: Instant) -> Option<Instant> {
        let after = self.after()?;
        let due = self.laggards().filter_map(|suspect| suspect.since.checked_add(after));
        due.filter(|due| *due > now).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{Strategy, prop_oneof, proptest};
    use std::collections::BTreeMap;

    const CAPACITY: u64 = 4096;
    const STEP: u64 = CAPACITY / 8;
    const AFTER: Duration = Duration::from_millis(100);

    fn watch() -> SlowWatch {
        SlowWatch::new(SlowConsumer::Fail { after: AFTER }, CAPACITY)
    }

    fn at(seat_id: u64, position: u64) -> SeatStand {
        SeatStand { seat_id, position }
    }

    /// Where a record ends for which a consumer that stands below 1 KiB leaves no room.
    const END: u64 = CAPACITY + 1024;

    #[test]
    fn one_that_releases_a_byte_at_a_time_is_as_slow_as_one_that_stands_still() {
        let (mut watch, begin) = (watch(), Instant::now());
        for millis in 0..100 {
            let now = begin + Duration::from_millis(millis);
            watch.note(&[at(1, millis), at(2, 0), at(3, 1024)], END, now);
            assert_eq!((watch.overdue(now), watch.next_overdue(now)), (vec![], Some(begin + AFTER)));
        }
        watch.note(&[at(1, 100), at(2, 0), at(3, 1024)], END, begin + AFTER);
        assert_eq!((watch.overdue(begin + AFTER), watch.next_overdue(begin + AFTER)), (vec![1, 2], None));
    }

    #[test]
    fn one_that_takes_turns_with_another_gains_nothing() {
        let (mut watch, begin) = (watch(), Instant::now());
        for millis in 0..=101 {
            // They hold the ring back in turns; at the end both.
            let end = CAPACITY + if millis == 101 { millis + 2 } else { millis + 1 };
            let (one, two) = if millis % 2 == 0 { (millis, millis + 1) } else { (millis + 1, millis) };
            watch.note(&[at(1, one), at(2, two)], end, begin + Duration::from_millis(millis));
        }
        assert_eq!(watch.overdue(begin + AFTER + Duration::from_millis(1)), [1, 2]);
    }

    #[test]
    fn one_that_waits_for_ever_or_longer_than_the_clock_counts_is_never_overdue() {
        for policy in [SlowConsumer::Wait, SlowConsumer::Evict { after: Duration::MAX }] {
            let (mut watch, now) = (SlowWatch::new(policy, CAPACITY), Instant::now());
            watch.note(&[at(1, 0)], END, now);
            let later = now + Duration::from_secs(1 << 30);
            assert_eq!((watch.overdue(later), watch.next_overdue(now)), (vec![], None));
        }
    }

    /// What each of three consumers has released more when the ring is next found full, `None` where it has gone and
    /// come back; how much more room is wanted; and after how long that is.
    fn step() -> impl Strategy<Value = ([Option<u64>; 3], u64, u64)> {
        let released = || proptest::option::weighted(0.95, prop_oneof![4 => 0..64u64, 1 => STEP - 1..STEP + 2]);
        ([released(), released(), released()], 0..200u64, 0..60u64)
    }

    proptest! {
        /// Beside a plain model: a consumer is overdue if it holds the ring back, and was at no look an eighth of the
        /// ring further than when its time began.
        #[test]
        fn a_consumer_is_overdue_as_a_plain_reading_of_the_rule_has_it(
            steps in proptest::collection::vec(step(), 1..80),
        ) {
            let (mut watch, begin) = (watch(), Instant::now());
            let (mut millis, mut positions, mut end) = (0, [0; 3], CAPACITY);
            let mut model: BTreeMap<u64, (u64, u64)> = BTreeMap::new();
            for (released, room, pause) in steps {
                millis += pause;
                end += room;
                let (mut consumers, mut due) = (Vec::new(), Vec::new());
                for (seat, more) in released.into_iter().enumerate() {
                    let id = seat as u64;
                    let Some(more) = more else {
                        model.remove(&id);
                        continue;
                    };
                    positions[seat] += more;
                    consumers.push(at(id, positions[seat]));
                    if model.get(&id).is_some_and(|(stood, _)| positions[seat] - stood >= STEP) {
                        model.remove(&id);
                    }
                    if positions[seat] + CAPACITY < end {
                        due.push((id, model.entry(id).or_insert((positions[seat], millis)).1 + 100));
                    }
                }
                let now = begin + Duration::from_millis(millis);
                watch.note(&consumers, end, now);
                let overdue: Vec<u64> = due.iter().filter(|(_, due)| *due <= millis).map(|(id, _)| *id).collect();
                let next = due.iter().map(|(_, due)| *due).filter(|due| *due > millis).min();
                assert_eq!(watch.overdue(now), overdue);
                assert_eq!(watch.next_overdue(now), next.map(|due| begin + Duration::from_millis(due)));
            }
        }
    }
}
