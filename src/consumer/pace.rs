//! How often a consumer looks at a stream that comes record by record, each at once.
//!
//! Whoever looks at every publication takes the cache line of `published` away from the producer each time, and both go
//! at the pace of that line; a moment later there is more to take, at the same price. The invariant: a look is put off
//! only where the last ones have each brought something at once, and as long as that pays, so that neither round trips
//! of single records, however long, nor slow streams wait any longer.
//!
//! What this file does not do: it looks at nothing.

/// Looks in a row that brought something at once, after which the next one is put off.
const PROMPT_LOOKS_MAX: u32 = 4;
/// A look that finds something after so few peeks has not waited: a round trip takes longer. One that has, and brings
/// more than a record all the same, is on the heels of a stream.
const PROMPT_PEEKS_MAX: u32 = 1;
/// For how many pauses of the processor a look is put off, at first and at most: 0.6 and 2.4 microseconds where a pause
/// takes 25 ns (AMD EPYC). Between distant cores, where a line takes 0.25 to go over, records that are published one by
/// one go at 80 ns each with 24 pauses and at 17 with 96; nearer ones gain all there is with 24.
const PAUSES: std::ops::RangeInclusive<u32> = 24..=96;
/// A stream that brings less than a cache line in so many pauses gains nothing by waiting.
const PAUSES_PER_LINE_MAX: u64 = 8;
/// A look that brings so many cache lines needs no wait before the next one.
const LINES_ENOUGH: u64 = 256;
const LINE_BYTES: u64 = 64;

/// When the next look is due.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// Looks in a row that brought something at once.
    prompt_looks: u32,
    /// For how many pauses the next look is put off.
    pauses: u32,
}

impl Pace {
    /// Puts the next look off, if it should be.
    #[inline]
    pub(super) fn hold(&self) {
        for _ in 0..self.pauses {
            std::hint::spin_loop();
        }
    }

    /// A look after [`hold`](Self::hold) and after so many `peeks` in vain brought a record and so many bytes `more`.
    #[inline]
    pub(super) fn note(&mut self, peeks: u32, more: u64) {
        let lines = more / LINE_BYTES;
        if (peeks > PROMPT_PEEKS_MAX && lines == 0) || lines * PAUSES_PER_LINE_MAX < u64::from(self.pauses) {
            *self = Self::default();
        } else if self.prompt_looks < PROMPT_LOOKS_MAX {
            self.prompt_looks += 1;
        } else if lines < LINES_ENOUGH {
            self.pauses = (2 * self.pauses).clamp(*PAUSES.start(), *PAUSES.end());
        } else {
            self.pauses /= 2;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after_looks(looks: u32, peeks: u32, more: u64) -> Pace {
        let mut pace = Pace::default();
        (0..looks).for_each(|_| pace.note(peeks, more));
        pace
    }

    #[test]
    fn round_trips_and_slow_streams_are_never_held() {
        for looks in 0..100 {
            assert_eq!(after_looks(looks, PROMPT_PEEKS_MAX + 1, 0).pauses, 0, "one record after a wait, {looks} times");
        }
        assert_eq!(after_looks(PROMPT_LOOKS_MAX, 0, 0).pauses, 0, "a few records in a row");
        let mut pace = after_looks(9, 0, 2048);
        pace.note(0, 0);
        assert_eq!(pace.pauses, 0, "one record after a hold, which covered the wait for it");
    }

    #[test]
    fn a_stream_is_held_longer_and_longer_up_to_a_limit() {
        let held = |looks| after_looks(PROMPT_LOOKS_MAX + looks, 0, 2048).pauses;
        assert_eq!([held(0), held(1), held(2), held(3), held(9)], [0, 24, 48, 96, 96]);
        assert_eq!(after_looks(9, 20, 1024).pauses, 96, "many records at once are a stream, also after a wait");
    }

    #[test]
    fn a_look_that_brings_little_ends_the_holding() {
        let mut pace = after_looks(9, 0, 2048);
        pace.note(0, 96 / PAUSES_PER_LINE_MAX * LINE_BYTES);
        assert_eq!(pace.pauses, 96, "as much as that is worth it");
        pace.note(0, 96 / PAUSES_PER_LINE_MAX * LINE_BYTES - 1);
        assert_eq!((pace.pauses, pace.prompt_looks), (0, 0));
    }

    #[test]
    fn looks_that_bring_much_are_held_less_and_less() {
        let mut pace = after_looks(9, 0, 2048);
        pace.note(0, LINES_ENOUGH * LINE_BYTES);
        assert_eq!(pace.pauses, 48);
        (0..9).for_each(|_| pace.note(0, LINES_ENOUGH * LINE_BYTES));
        assert_eq!(pace.pauses, 0);
    }
}
