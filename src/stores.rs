//! Which stores copy a long payload into a ring: the choice of the lane's owner, and the one that is measured.
//!
//! Plain stores fetch each cache line before they change it: from the consumer's cache, if the consumer has read the
//! line and its cores share no cache with the producer's. *Streaming* stores fetch nothing and go past the caches to
//! memory. Which is quicker depends on the machine, on the two cores, and on the ring, so a producer times a few of its
//! own copies. (docs/performance.md has the figures.)

/// Which stores copy payloads of 4 KiB and more into the ring, in [`send`](crate::Producer::send) and its forms,
/// [`Reservation::copy_from_slice`](crate::Reservation::copy_from_slice) and
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
    /// It times one copy in 32. Now and then it makes three copies by the other kind of stores, and changes to that
    /// kind if they took less than four fifths of the time.
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

/// One copy in this number of copies is timed, which takes some 40 ns.
const TIMED_EVERY: u32 = 32;

/// How many copies by the other stores are timed before the two are compared. The middle one counts.
const TRIALS: usize = 3;

/// How many timed copies lie between two comparisons: at first, and at most. Each that changes nothing doubles it.
const TIMED_BETWEEN: (u32, u32) = (8, 256);

/// One copy: by which stores, and whether its time is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Turn {
    pub(crate) streams: bool,
    pub(crate) is_timed: bool,
}

/// Says for each copy which stores it is made by.
#[derive(Debug)]
pub(crate) struct StoreChooser {
    streams: bool,
    /// Copies until the next one that is timed, and timed ones until the next comparison. `None` if nothing is
    /// measured.
    until: Option<(u32, u32)>,
    /// How many timed copies lie between two comparisons now.
    between: u32,
    /// The last times of copies by the stores in use, and of those by the others, in ns for each MiB.
    used: [u64; TRIALS],
    others: [u64; TRIALS],
}

impl StoreChooser {
    pub(crate) fn new(stores: Stores) -> Self {
        let until = (stores == Stores::Measured).then_some((TIMED_EVERY, TIMED_BETWEEN.0));
        let streams = stores == Stores::Streaming;
        Self { streams, until, between: TIMED_BETWEEN.0, used: [0; TRIALS], others: [0; TRIALS] }
    }

    /// The copy that comes next.
    #[inline]
    pub(crate) fn next(&mut self) -> Turn {
        let Some((copies, timed)) = &mut self.until else { return Turn { streams: self.streams, is_timed: false } };
        *copies -= 1;
        let is_timed = *copies == 0;
        if is_timed {
            *copies = TIMED_EVERY;
        }
        // The last ones before a comparison are by the other stores.
        let is_trial = is_timed && *timed <= TRIALS as u32;
        Turn { streams: self.streams ^ is_trial, is_timed }
    }

    /// The copy of `len` bytes that was timed took `ns`.
    #[cold]
    pub(crate) fn note(&mut self, turn: Turn, len: usize, ns: u64) {
        let Some((_, timed)) = &mut self.until else { return };
        *timed -= 1;
        let times = if turn.streams == self.streams { &mut self.used } else { &mut self.others };
        times.rotate_left(1);
        times[TRIALS - 1] = (ns << 20) / len as u64;
        if *timed == 0 {
            let [used, other] = [self.used, self.others].map(middle);
            if other < used / 5 * 4 {
                self.streams = !self.streams;
                std::mem::swap(&mut self.used, &mut self.others);
                self.between = TIMED_BETWEEN.0;
            } else {
                self.between = (self.between * 2).min(TIMED_BETWEEN.1);
            }
            *timed = self.between;
        }
    }
}

fn middle(mut times: [u64; TRIALS]) -> u64 {
    times.sort_unstable();
    times[TRIALS / 2]
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEN: usize = 64 << 10;

    /// Makes `count` copies, which take what `ns` says of the stores; how many were streamed.
    fn copy(chooser: &mut StoreChooser, count: usize, ns: impl Fn(bool) -> u64) -> usize {
        let mut streamed = 0;
        for _ in 0..count {
            let turn = chooser.next();
            streamed += usize::from(turn.streams);
            if turn.is_timed {
                chooser.note(turn, LEN, ns(turn.streams));
            }
        }
        streamed
    }

    #[test]
    fn the_quicker_stores_are_found_and_found_again_when_the_cores_have_moved() {
        let mut chooser = StoreChooser::new(Stores::Measured);
        let far = |streams| if streams { 4_000 } else { 20_000 };
        let near = |streams| if streams { 5_000 } else { 1_500 };
        copy(&mut chooser, 300, far);
        assert_eq!(copy(&mut chooser, 32, far), 32, "streamed within 300 copies");
        let tried = copy(&mut chooser, 100_000, far);
        assert!((99_900..100_000).contains(&tried), "hardly any plain ones, but some: {tried}");
        copy(&mut chooser, 8_192 + 32, near);
        let tried = copy(&mut chooser, 100_000, near);
        assert!((1..400).contains(&tried), "hardly any streamed ones, but some: {tried}");
    }

    #[test]
    fn stores_that_are_a_little_quicker_change_nothing_and_neither_does_one_copy_that_was_held_up() {
        let mut chooser = StoreChooser::new(Stores::Measured);
        copy(&mut chooser, 100_000, |streams| if streams { 850 } else { 1_000 });
        assert!(!chooser.streams);
        // One of the last copies by the stores in use was held up whenever the two are compared.
        let plain = std::cell::Cell::new(0_usize);
        copy(&mut chooser, 100_000, |streams| {
            if streams {
                return 5_000;
            }
            plain.set(plain.get() + 1);
            if plain.get().is_multiple_of(TRIALS) { 3_000_000 } else { 1_500 }
        });
        assert!(!chooser.streams);
    }

    #[test]
    fn what_was_chosen_is_not_measured() {
        for (stores, streams) in [(Stores::Plain, false), (Stores::Streaming, true)] {
            let mut chooser = StoreChooser::new(stores);
            for _ in 0..1000 {
                assert_eq!(chooser.next(), Turn { streams, is_timed: false });
            }
        }
    }
}
