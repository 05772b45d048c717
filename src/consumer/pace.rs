//! How often a consumer looks at a stream that comes record by record.
//!
//! Whoever looks at every publication takes the cache line of `published` away from the producer each time, and reads
//! lines next to those that are being written: both go at the pace of single lines, up to ten times as slow as where
//! the consumer stays a little behind. So where one look after the other brings something at once, or more than a
//! record, the next ones are put off. Where each waits for its one record, that may be a round trip, or the heels of a
//! stream: now and then a look is put off to see. The invariant: looks are put off only as long as that pays, so that
//! neither round trips of single records, however long, nor slow streams wait any longer, but for the tries, which grow
//! rare.
//!
//! What this file does not do: it looks at nothing.

use std::ops::RangeInclusive;

/// Looks in a row that brought something at once, after which the next one is put off.
const PROMPT_LOOKS_MAX: u32 = 4;
/// A look that finds something after so few peeks has not waited: a round trip takes longer. One that has, and brings
/// more than a record all the same, is on the heels of a stream.
const PROMPT_PEEKS_MAX: u32 = 1;
/// Looks that waited for one record each, after which the next one is put off as a try; at first, and at most, since
/// each try in vain makes them four times as many. One in many thousands is beyond any percentile of round trips.
const LOOKS_PER_TRY: RangeInclusive<u32> = 16..=16_384;
/// For how many pauses of the processor a look is put off, at first and at most: 0.6 and 2.4 microseconds where a pause
/// takes 25 ns (AMD EPYC). Between distant cores, where a line takes 0.25 to go over, records that are published one by
/// one go at 80 ns each with 24 pauses and at 17 with 96; nearer ones gain all there is with 24 to 48.
const PAUSES: RangeInclusive<u32> = 24..=96;
/// A stream that brings less than a cache line in so many pauses gains nothing by waiting.
const PAUSES_PER_LINE_MAX: u64 = 8;
/// A look that brings so many cache lines needs no wait before the next one.
const LINES_ENOUGH: u64 = 256;
const LINE_BYTES: u64 = 64;

/// When the next look is due.
#[derive(Debug)]
pub(super) struct Pace {
    /// Looks in a row that brought something at once.
    prompt_looks: u32,
    /// For how many pauses the next look is put off.
    pauses: u32,
    /// Whether that is a try.
    tries: bool,
    /// Looks that waited for one record each, since the last try.
    single_looks: u32,
    /// How many of them come before the next try.
    looks_per_try: u32,
}

impl Default for Pace {
    fn default() -> Self {
        Self { prompt_looks: 0, pauses: 0, tries: false, single_looks: 0, looks_per_try: *LOOKS_PER_TRY.start() }
    }
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
    // Out of line, or the reader's loop has no registers left.
    #[inline(never)]
    pub(super) fn note(&mut self, peeks: u32, more: u64) {
        let lines = more / LINE_BYTES;
        if lines * PAUSES_PER_LINE_MAX < u64::from(self.pauses) {
            self.give_up();
        } else if peeks > PROMPT_PEEKS_MAX && lines == 0 {
            self.prompt_looks = 0;
            self.single_looks += 1;
            self.tries = self.single_looks == self.looks_per_try;
            if self.tries {
                (self.pauses, self.single_looks) = (*PAUSES.end(), 0);
            }
        } else {
            self.follow(lines);
        }
    }

    /// Nothing has come, or not enough to wait for: the next look is not put off.
    #[cold]
    pub(super) fn give_up(&mut self) {
        if self.tries {
            self.looks_per_try = (4 * self.looks_per_try).min(*LOOKS_PER_TRY.end());
        }
        (self.prompt_looks, self.pauses, self.tries) = (0, 0, false);
    }

    /// It is a stream, and the last look brought so many lines beyond its first record.
    fn follow(&mut self, lines: u64) {
        if self.tries {
            (self.tries, self.prompt_looks) = (false, PROMPT_LOOKS_MAX);
            self.looks_per_try = *LOOKS_PER_TRY.start();
        }
        if self.prompt_looks < PROMPT_LOOKS_MAX {
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

    /// A pace after so many looks, each after so many peeks in vain and with so many bytes beyond its first record.
    fn after_looks(looks: u32, peeks: u32, more: u64) -> Pace {
        let mut pace = Pace::default();
        (0..looks).for_each(|_| pace.note(peeks, more));
        pace
    }

    #[test]
    fn round_trips_and_slow_streams_are_held_for_tries_alone_which_grow_rare() {
        let (mut pace, mut tries) = (Pace::default(), Vec::new());
        for look in 0..60_000 {
            if pace.pauses != 0 {
                tries.push(look);
            }
            pace.note(PROMPT_PEEKS_MAX + 1, 0);
        }
        let between: Vec<_> = tries.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert_eq!(tries[0], 16);
        assert_eq!(between, [65, 257, 1025, 4097, 16_385, 16_385, 16_385], "the looks between, and the try");
    }

    #[test]
    fn a_few_records_in_a_row_and_one_after_a_hold_are_no_stream() {
        assert_eq!(after_looks(PROMPT_LOOKS_MAX, 0, 0).pauses, 0, "a few records in a row");
        let mut pace = after_looks(9, 0, 2048);
        pace.note(0, 0);
        assert_eq!(pace.pauses, 0, "one record after a hold, which covered the wait for it");
    }

    #[test]
    fn a_try_that_brings_more_than_a_record_has_found_a_stream() {
        let mut pace = after_looks(16, PROMPT_PEEKS_MAX + 1, 0);
        assert_eq!(pace.pauses, 96);
        pace.note(0, 96 / PAUSES_PER_LINE_MAX * LINE_BYTES);
        assert_eq!(pace.pauses, 96, "as much as that is worth it");
        pace.note(0, LINES_ENOUGH * LINE_BYTES);
        assert_eq!(pace.pauses, 48);
        pace.note(PROMPT_PEEKS_MAX + 1, 0);
        assert_eq!(pace.pauses, 0);
        (0..16).for_each(|_| pace.note(PROMPT_PEEKS_MAX + 1, 0));
        assert_eq!(pace.pauses, 96, "tried again soon, for a stream it was");
    }

    #[test]
    fn a_try_in_vain_is_told_from_a_stream_that_ends() {
        let mut pace = after_looks(16, PROMPT_PEEKS_MAX + 1, 0);
        pace.give_up();
        assert_eq!((pace.pauses, pace.looks_per_try), (0, 64));
        let mut pace = after_looks(9, 0, 2048);
        pace.give_up();
        assert_eq!((pace.pauses, pace.looks_per_try), (0, 16));
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
