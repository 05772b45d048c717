//! Which stores copy a long payload into a ring: the choice of the lane's owner, and the one that is measured.
//!
//! Plain stores fetch each cache line before they change it: from the consumer's cache, if the consumer has read the
//! line and its cores share no cache with the producer's. *Streaming* stores fetch nothing and go past the caches to
//! memory, from which the consumer then reads. Which is faster depends on the machine, on the two cores, and on the
//! ring. The time of a copy alone does not tell: streaming stores are often done sooner, and the consumer later. So a
//! producer times whole laps of the ring, in which its consumers' pace shows. (docs/performance.md has the figures.)

/// Which stores copy payloads of 4 KiB and more into the ring, in [`send`](crate::Producer::send) and its forms,
/// [`Reservation::copy_from_slice`](crate::parts::Reservation::copy_from_slice) and
/// [`ReservationWriter`](crate::parts::ReservationWriter).
///
/// Shorter payloads, and what a caller writes into the ring itself, are always stored plainly. Consumers notice no
/// difference.
///
/// ```
/// use fdring::options::{LaneOptions, Stores};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut frames = LaneOptions::new("frames").stores(Stores::Streaming).create()?;
/// frames.send(&[0; 100_000])?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stores {
    /// The faster of the two, which the producer measures while it copies. The default.
    ///
    /// It begins with plain stores and times its laps of the ring, of 1 MiB at least. Now and then it tries the other
    /// kind of stores for up to five laps: first after 16 laps, later after up to 4096, which are 16 GiB for a ring of
    /// 4 MiB; and after 16 again once laps take half as long again as before the last trial, or two thirds of the time,
    /// as they do if the scheduler has moved a process to a processor that is farther away or nearer. If laps keep
    /// changing for other reasons, such trials become as rare. It changes to streaming stores if each of the last four
    /// takes less than four fifths of the time of any of the four laps before the trial, and back to plain ones if they
    /// take less time. So a lane whose producer mostly waits for something to send keeps to plain stores.
    #[default]
    Measured,
    /// Plain stores: they leave the payload in the cache. Faster if the two cores share a cache.
    Plain,
    /// Streaming stores: they write the payload to memory, past the caches. Faster for large payloads if the two cores
    /// share no cache. Processors other than x86-64 have no such stores, and use plain ones.
    Streaming,
}

/// Payloads from this length on, in bytes, may be streamed. Shorter ones take longer so, however far the cores are.
pub(crate) const STREAMED_MIN_BYTES: usize = 4096;

/// A shorter lap is not timed alone: reading the clock takes some 30 ns.
const LAP_MIN_BYTES: u64 = 1 << 20;

/// How many laps by either kind are compared.
const LAPS_COMPARED: usize = 4;

/// Before laps by the other stores count, the consumers have read what the stores in use had copied.
const LAPS_OF_TRIAL: u32 = LAPS_COMPARED as u32 + 1;

/// How many laps lie before a trial: at first, and at most. Each trial that changes nothing takes that times four. A
/// trial ends as soon as one of its laps takes longer than each of those before it, or twice as long if it is plain
/// stores that are tried. So it costs a lap or two.
const LAPS_BETWEEN: (u32, u32) = (16, 4096);

/// Says for each copy which stores it is made by.
#[derive(Debug)]
pub(crate) struct StoreChooser {
    streams: bool,
    laps: Option<Laps>,
}

/// What is measured of the laps of a lane, and what is tried in them.
#[derive(Debug)]
struct Laps {
    lap_bytes: u64,
    /// The beginning of this lap: the position, and the time in ns.
    begin: Option<(u64, u64)>,
    /// The laps left until the trial begins, or, in a trial, until it ends.
    left: u32,
    is_trial: bool,
    /// How many laps lie before a trial now.
    between: u32,
    /// How many lie before one that a change of pace asks for. A lane whose pace keeps changing does not keep trying.
    early: u32,
    /// Whether a change of pace has asked for the next trial, or this one.
    is_early: bool,
    /// The times of the last laps by the stores in use, and of those by the others, in ns for each MiB.
    used: [u64; LAPS_COMPARED],
    others: [u64; LAPS_COMPARED],
    /// The times of the last laps before the last trial, by the stores that are in use since then.
    judged: [u64; LAPS_COMPARED],
}

impl StoreChooser {
    /// The chooser of a lane whose ring has `capacity` bytes.
    pub(crate) fn new(stores: Stores, capacity: u64) -> Self {
        let laps = (stores == Stores::Measured).then(|| Laps::new(capacity.max(LAP_MIN_BYTES)));
        Self { streams: stores == Stores::Streaming, laps }
    }

    /// Whether the copy to `position` is streamed. `now_ns` is asked for the time at the end of a lap and in trials.
    #[inline]
    pub(crate) fn streams_at(&mut self, position: u64, now_ns: impl FnOnce() -> u64) -> bool {
        let Some(laps) = &mut self.laps else { return self.streams };
        if laps.is_look_due(position) && laps.look(position, now_ns(), self.streams) == LapVerdict::Others {
            self.streams = !self.streams;
        }
        self.streams ^ laps.is_trial
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LapVerdict {
    /// Nothing changes, yet.
    Used,
    /// The other stores are better.
    Others,
}

impl Laps {
    fn new(lap_bytes: u64) -> Self {
        let [left, between, early] = [LAPS_BETWEEN.0; 3];
        let [used, others, judged] = [[0; LAPS_COMPARED]; 3];
        Self { lap_bytes, begin: None, left, is_trial: false, between, early, is_early: false, used, others, judged }
    }

    #[inline]
    fn is_look_due(&self, position: u64) -> bool {
        self.is_trial || self.begin.is_none_or(|(begin, _)| bytes_between(begin, position) >= self.lap_bytes)
    }

    /// Looks at the clock before the copy to `position`. `streams` says which stores are in use.
    #[cold]
    fn look(&mut self, position: u64, now_ns: u64, streams: bool) -> LapVerdict {
        let (begin, begin_ns) = *self.begin.get_or_insert((position, now_ns));
        let (bytes, ns) = (bytes_between(begin, position), now_ns.saturating_sub(begin_ns));
        // Where laps differ anyway, one that takes a little longer must not end a trial of the plain stores.
        let limit = if streams { slowest(self.used).saturating_mul(2) } else { slowest(self.used) };
        // What comes between two long payloads may make a lap longer.
        if self.is_trial && ns_per_mib(ns, bytes.max(self.lap_bytes)) > limit {
            self.begin = Some((position, now_ns));
            return self.end_trial(LapVerdict::Used);
        }
        if bytes < self.lap_bytes {
            return LapVerdict::Used;
        }
        self.begin = Some((position, now_ns));
        let times = if self.is_trial { &mut self.others } else { &mut self.used };
        times.rotate_left(1);
        times[LAPS_COMPARED - 1] = ns_per_mib(ns, bytes);
        self.left -= 1;
        if !self.is_trial && self.left > self.early && self.has_changed_pace() {
            (self.left, self.is_early) = (self.early, true);
        }
        match (self.is_trial, self.left) {
            (false, 0) => (self.is_trial, self.left) = (true, LAPS_OF_TRIAL),
            (true, 0) => return self.end_trial(self.others_are_better(streams)),
            _ => {}
        }
        LapVerdict::Used
    }

    /// Whether each of the last laps took half as long again as any of those that were judged last, or two thirds of
    /// the time: what was decided then may be wrong by now.
    fn has_changed_pace(&self) -> bool {
        let is_longer = |times, than| fastest(times) > slowest(than).saturating_mul(3) / 2;
        is_longer(self.used, self.judged) || is_longer(self.judged, self.used)
    }

    /// Plain stores need less time, streaming ones much less in each lap: where the laps tell nothing, because the lane
    /// waits for other things, plain stores are right.
    fn others_are_better(&self, streams: bool) -> LapVerdict {
        let are_better = if streams {
            middle(self.others) < middle(self.used)
        } else {
            slowest(self.others) < fastest(self.used) / 5 * 4
        };
        if are_better { LapVerdict::Others } else { LapVerdict::Used }
    }

    fn end_trial(&mut self, verdict: LapVerdict) -> LapVerdict {
        let (least, most) = LAPS_BETWEEN;
        let rarer = |laps: u32| (laps * 4).min(most);
        (self.between, self.early, self.judged) = match verdict {
            LapVerdict::Others => (least, least, self.others),
            LapVerdict::Used if self.is_early => (rarer(self.between), rarer(self.early), self.used),
            LapVerdict::Used => (rarer(self.between), (self.early / 4).max(least), self.used),
        };
        (self.is_trial, self.is_early, self.left) = (false, false, self.between);
        verdict
    }
}

/// Nothing, if a reservation was discarded: the next one then lies before what was copied.
fn bytes_between(begin: u64, position: u64) -> u64 {
    position.saturating_sub(begin)
}

fn ns_per_mib(ns: u64, bytes: u64) -> u64 {
    u64::try_from((u128::from(ns) << 20) / u128::from(bytes)).unwrap_or(u64::MAX)
}

fn slowest(times: [u64; LAPS_COMPARED]) -> u64 {
    times.into_iter().fold(0, u64::max)
}

fn fastest(times: [u64; LAPS_COMPARED]) -> u64 {
    times.into_iter().fold(u64::MAX, u64::min)
}

fn middle(mut times: [u64; LAPS_COMPARED]) -> u64 {
    times.sort_unstable();
    times[LAPS_COMPARED / 2]
}

#[cfg(test)]
mod tests {
    use super::*;

    const CAPACITY: u64 = 4 << 20;
    const LEN: u64 = 64 << 10;
    /// The copies of a lap.
    const COPIES: u64 = CAPACITY / LEN;

    /// A lane whose copies take what a test says.
    struct Lane {
        chooser: StoreChooser,
        position: u64,
        now_ns: u64,
    }

    impl Lane {
        fn new(stores: Stores) -> Self {
            Self { chooser: StoreChooser::new(stores, CAPACITY), position: 0, now_ns: 0 }
        }

        /// Copies for `laps` laps; a copy takes what `ns` says of the stores and the lap. Returns how many copies were
        /// streamed.
        fn copy(&mut self, laps: u64, ns: impl Fn(bool, u64) -> u64) -> u64 {
            let mut streamed = 0;
            for _ in 0..laps * COPIES {
                let streams = self.chooser.streams_at(self.position, || self.now_ns);
                streamed += u64::from(streams);
                self.now_ns += ns(streams, self.position / CAPACITY);
                self.position += LEN;
            }
            streamed
        }
    }

    #[test]
    fn the_faster_stores_are_found_and_found_again_when_the_cores_have_moved() {
        let mut lane = Lane::new(Stores::Measured);
        let far = |streams, _| if streams { 4_000 } else { 20_000 };
        let near = |streams, _| if streams { 5_000 } else { 1_500 };
        assert_eq!(lane.copy(16, far), 0);
        assert!(lane.copy(6, far) >= 5 * COPIES);
        let plain = 10_000 * COPIES - lane.copy(10_000, far);
        assert!((1..10 * COPIES).contains(&plain), "few copies try the plain stores: {plain}");
        lane.copy(4096 + 6, near);
        let streamed = lane.copy(10_000, near);
        assert!((1..10 * COPIES).contains(&streamed), "few copies try the streaming stores: {streamed}");
    }

    #[test]
    fn after_a_long_time_in_one_place_the_faster_stores_are_found_soon_once_the_cores_have_moved() {
        let mut lane = Lane::new(Stores::Measured);
        let far = |streams, _| if streams { 4_000 } else { 20_000 };
        // Here streaming stores are quicker than there: else nothing shows that the cores have moved back.
        let near = |streams, _| if streams { 2_500 } else { 1_500 };
        // As long as it takes until trials are 4096 laps apart.
        lane.copy(10_000, near);
        // Four laps until it is seen, sixteen to the trial, and the trial.
        lane.copy(4 + 16 + 6, far);
        assert!(lane.chooser.streams);
        lane.copy(10_000, far);
        lane.copy(4 + 16 + 6, near);
        assert!(!lane.chooser.streams);
    }

    #[test]
    fn a_lane_whose_pace_keeps_changing_does_not_keep_trying_until_it_has_settled() {
        let mut lane = Lane::new(Stores::Measured);
        let streamed = lane.copy(10_000, |streams, lap| match (streams, lap / 64 % 2) {
            (false, 0) => 1_000,
            (false, _) => 10_000,
            (true, _) => 20_000,
        });
        assert!((1..20 * COPIES).contains(&streamed), "{streamed} copies are streamed");
        // Four trials that come by themselves, 4096 laps apart, and then the cores move.
        lane.copy(6 * 4096, |streams, _| if streams { 2_500 } else { 1_500 });
        lane.copy(4 + 16 + 6, |streams, _| if streams { 4_000 } else { 20_000 });
        assert!(lane.chooser.streams);
    }

    #[test]
    fn stores_that_are_done_sooner_and_hold_up_the_consumer_are_not_chosen() {
        let mut lane = Lane::new(Stores::Measured);
        // The first lap of a trial goes at once, since the ring is empty; those after it at the consumer's pace.
        let trial_began = std::cell::Cell::new(None);
        lane.copy(10_000, |streams, lap| {
            if !streams {
                trial_began.set(None);
                return 1_500;
            }
            let first = trial_began.get().unwrap_or(lap);
            trial_began.set(Some(first));
            if lap == first { 500 } else { 5_000 }
        });
        assert!(!lane.chooser.streams);
    }

    #[test]
    fn stores_that_are_a_little_faster_change_nothing_and_neither_does_a_lap_that_was_held_up() {
        let mut lane = Lane::new(Stores::Measured);
        lane.copy(10_000, |streams, _| if streams { 850 } else { 1_000 });
        assert!(!lane.chooser.streams);
        // All laps but one in four are held up.
        lane.copy(10_000, |streams, lap| match (streams, lap % 4) {
            (true, _) => 5_000,
            (false, 0) => 1_500,
            (false, _) => 3_000_000,
        });
        assert!(!lane.chooser.streams);
    }

    #[test]
    fn a_lane_that_waits_for_other_things_comes_back_to_plain_stores() {
        let mut lane = Lane::new(Stores::Measured);
        lane.copy(100, |streams, _| if streams { 4_000 } else { 20_000 });
        assert!(lane.chooser.streams);
        // The laps take different times, whatever the stores.
        let mut random = 1_u64;
        let laps: Vec<u64> = std::iter::repeat_with(|| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            10_000 + (random >> 33) % 1_000_000
        })
        .take(200_000)
        .collect();
        let streamed = lane.copy(100_000, |_, lap| laps[lap as usize]);
        assert!(streamed < 100_000 * COPIES / 10, "{streamed} copies are streamed");
    }

    /// Between two long payloads lie short ones, which are stored plainly and not counted: a look comes late.
    #[test]
    fn laps_that_end_late_are_judged_by_their_length() {
        let mut chooser = StoreChooser::new(Stores::Measured, CAPACITY);
        let (mut position, mut now_ns) = (0, 0);
        for _ in 0..16 + LAPS_OF_TRIAL {
            let streams = chooser.streams_at(position, || now_ns);
            position += 8 * CAPACITY;
            now_ns += if streams { 4_000 } else { 20_000 };
        }
        assert!(chooser.streams_at(position, || now_ns) && !chooser.laps.unwrap().is_trial);
    }

    #[test]
    fn what_was_chosen_is_not_measured() {
        for (stores, streams) in [(Stores::Plain, false), (Stores::Streaming, true)] {
            let mut chooser = StoreChooser::new(stores, CAPACITY);
            for position in (0..1000 * CAPACITY).step_by(CAPACITY as usize) {
                assert_eq!(chooser.streams_at(position, || panic!("the time is asked for")), streams);
            }
        }
    }
}
