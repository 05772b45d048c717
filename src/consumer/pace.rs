//! How often a consumer looks at a stream that comes record by record.
//!
//! Whoever looks at every publication takes the cache line of `published` away from the producer each time, and reads
//! lines next to those that are being written: both go at the pace of single lines, up to ten times as slow as where
//! the consumer stays a little behind. So where one look after the other brings something at once, or more than a
//! record, the next ones are put off. Where each waits for its one record, that may be a round trip, or the heels of a
//! stream: then one is put off to see. The invariant: looks are put off as long as that pays, and in vain the more
//! rarely the more often that was so. So neither round trips nor slow streams wait any longer, but for answers of
//! several records, a kilobyte and more, of which each is of another length.
//!
//! What this file does not do: it looks at nothing.

use std::ops::RangeInclusive;

/// Looks in a row that brought something at once, after which the next one is put off: at first, and at most, since
/// each hold in vain makes them four times as many.
const PROMPT_LOOKS: RangeInclusive<u32> = 4..=4096;
/// Looks that waited for one record each, after which the next one is put off to see; likewise. One in many thousands
/// is beyond the 99.9th percentile of round trips.
const SINGLE_LOOKS: RangeInclusive<u32> = 16..=16_384;
/// A look that finds something after so few peeks has not waited: a round trip takes longer. One that has, and brings
/// more than a record all the same, is on the heels of a stream.
const PROMPT_PEEKS_MAX: u32 = 1;
/// For how many pauses of the processor a look is put off, at first and at most: 0.6 and 2.4 microseconds where a pause
/// takes 25 ns (AMD EPYC). Between distant cores, where a line takes 0.25 to go over, records that are published one by
/// one go at 80 ns each with 24 pauses and at 17 with 96; nearer ones gain all there is with 24 to 48.
const PAUSES: RangeInclusive<u32> = 24..=96;
/// A stream that brings less than a cache line in so many pauses gains nothing by waiting.
const PAUSES_PER_LINE_MAX: u64 = 8;
/// A look that brings so many cache lines needs no wait before the next one.
const LINES_ENOUGH: u64 = 256;
/// So many looks in a row that were put off and brought as many bytes each are those of round trips: what a stream
/// brings is never quite the same.
const EQUAL_LOOKS_MAX: u32 = 8;
const LINE_BYTES: u64 = 64;

/// When the next look is due.
#[derive(Debug)]
pub(super) struct Pace {
    /// For how many pauses the next look is put off.
    pauses: u32,
    /// Looks in a row that brought something at once.
    prompt_looks: u32,
    prompt_looks_needed: u32,
    /// Looks that waited for one record each, since one was last put off to see.
    single_looks: u32,
    single_looks_needed: u32,
    /// Whether one was put off to see, and it is not certain yet that it has found a stream: how many bytes beyond a
    /// record the last look brought, and how many looks before it brought the same.
    doubt: Option<(u64, u32)>,
}

impl Default for Pace {
    fn default() -> Self {
        let (prompt_looks_needed, single_looks_needed) = (*PROMPT_LOOKS.start(), *SINGLE_LOOKS.start());
        Self { pauses: 0, prompt_looks: 0, prompt_looks_needed, single_looks: 0, single_looks_needed, doubt: None }
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
            self.hold_was_in_vain();
        } else if peeks > PROMPT_PEEKS_MAX && lines == 0 {
            self.prompt_looks = 0;
            self.single_looks += 1;
            if self.single_looks >= self.single_looks_needed {
                (self.pauses, self.single_looks, self.doubt) = (*PAUSES.end(), 0, Some((0, 0)));
            }
        } else if self.seems_a_stream(more) {
            self.follow(lines);
        } else {
            self.hold_was_in_vain();
        }
    }

    /// A look brought nothing for a while: the next one is not put off.
    #[cold]
    pub(super) fn note_lull(&mut self) {
        if self.pauses != 0 {
            self.hold_was_in_vain();
        }
        self.prompt_looks = 0;
    }

    /// Whether it may still be a stream, now that so many bytes more than a record have come; takes note of them.
    fn seems_a_stream(&mut self, more: u64) -> bool {
        self.doubt = match self.doubt {
            None => return true,
            Some((0, _)) => Some((more, 0)),
            Some((last, equal)) if last == more => Some((more, equal + 1)),
            Some(_) => {
                self.single_looks_needed = *SINGLE_LOOKS.start();
                // What comes is not the same each time.
                self.prompt_looks = self.prompt_looks_needed;
                None
            }
        };
        self.doubt.is_none_or(|(_, equal)| equal < EQUAL_LOOKS_MAX)
    }

    /// Puts the next look off for longer or shorter, after one that brought so many `lines` beyond its first record.
    fn follow(&mut self, lines: u64) {
        if self.doubt.is_some() {
            return;
        }
        if self.prompt_looks < self.prompt_looks_needed {
            self.prompt_looks += 1;
        } else if lines < LINES_ENOUGH {
            if self.pauses == *PAUSES.end() {
                self.prompt_looks_needed = *PROMPT_LOOKS.start();
            }
            self.pauses = (2 * self.pauses).clamp(*PAUSES.start(), *PAUSES.end());
        } else {
            self.prompt_looks_needed = *PROMPT_LOOKS.start();
            self.pauses /= 2;
        }
    }

    #[cold]
    fn hold_was_in_vain(&mut self) {
        match self.doubt.take() {
            Some(_) => self.single_looks_needed = (4 * self.single_looks_needed).min(*SINGLE_LOOKS.end()),
            None => self.prompt_looks_needed = (4 * self.prompt_looks_needed).min(*PROMPT_LOOKS.end()),
        }
        (self.pauses, self.prompt_looks) = (0, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WAITED: u32 = PROMPT_PEEKS_MAX + 1;

    /// So many looks, each after so many peeks in vain and with so many bytes beyond its first record.
    fn look(pace: &mut Pace, looks: u32, peeks: u32, more: u64) {
        (0..looks).for_each(|_| pace.note(peeks, more));
    }

    fn after_looks(looks: u32, peeks: u32, more: u64) -> Pace {
        let mut pace = Pace::default();
        look(&mut pace, looks, peeks, more);
        pace
    }

    /// How many of the last 100 000 looks of 200 000 were held, where each brings what it is said to, held or not.
    fn held(answer: impl Fn(bool) -> (u32, u64)) -> usize {
        let (mut pace, mut held) = (Pace::default(), 0);
        for look in 0..200_000 {
            let is_held = pace.pauses != 0;
            held += usize::from(is_held && look >= 100_000);
            let (peeks, more) = answer(is_held);
            pace.note(peeks, more);
        }
        held
    }

    #[test]
    fn round_trips_and_slow_streams_are_held_the_more_rarely_the_longer_they_last() {
        assert!(held(|_| (WAITED, 0)) <= 8, "that wait for one record each");
        assert!(held(|_| (0, 0)) <= 30, "whose one record is there before the first look");
        // The second record of each answer comes after the first was read, or during a hold.
        let in_two = |more| move |is_held| if is_held { (0, more) } else { (WAITED, 0) };
        for more in [64, 768, 4096, 1 << 20] {
            assert!(held(in_two(more)) <= 80, "whose answers come in two records, the second of {more} bytes");
        }
    }

    #[test]
    fn a_few_records_in_a_row_are_no_stream() {
        assert_eq!(after_looks(*PROMPT_LOOKS.start(), 0, 0).pauses, 0, "a few records in a row");
        let mut pace = after_looks(9, 0, 2048);
        pace.note(0, 0);
        assert_eq!(pace.pauses, 0, "one record after a hold, which covered the wait for it");
    }

    #[test]
    fn a_stream_that_comes_record_by_record_is_found_by_waiting_to_see() {
        let mut pace = after_looks(16, WAITED, 0);
        look(&mut pace, 2, 0, 4096);
        assert_eq!(pace.pauses, 96);
        look(&mut pace, 1, 0, 8192);
        assert_eq!((pace.pauses, pace.doubt, pace.single_looks_needed), (96, None, 16), "no more doubt");
        look(&mut pace, 100, 0, 8192);
        assert_eq!(pace.pauses, 96);
        look(&mut pace, 1, 0, LINES_ENOUGH * LINE_BYTES);
        assert_eq!(pace.pauses, 48);
        let mut pace = after_looks(16, WAITED, 0);
        pace.note_lull();
        assert_eq!((pace.pauses, pace.single_looks_needed), (0, 64), "nothing was found");
    }

    #[test]
    fn a_stream_is_held_longer_and_longer_up_to_a_limit() {
        let held = |looks| after_looks(*PROMPT_LOOKS.start() + looks, 0, 2048).pauses;
        assert_eq!([held(0), held(1), held(2), held(3), held(9)], [0, 24, 48, 96, 96]);
        assert_eq!(after_looks(9, 20, 1024).pauses, 96, "many records at once are a stream, also after a wait");
    }

    #[test]
    fn a_look_that_brings_little_ends_the_holding() {
        let mut pace = after_looks(9, 0, 2048);
        pace.note(0, 96 / PAUSES_PER_LINE_MAX * LINE_BYTES);
        assert_eq!(pace.pauses, 96, "as much as that is worth it");
        pace.note(0, 96 / PAUSES_PER_LINE_MAX * LINE_BYTES - 1);
        assert_eq!((pace.pauses, pace.prompt_looks, pace.prompt_looks_needed), (0, 0, 16));
        let mut pace = after_looks(9, 0, 2048);
        pace.note_lull();
        assert_eq!((pace.pauses, pace.prompt_looks_needed), (0, 16), "as does one that brings nothing");
    }

    #[test]
    fn looks_that_bring_much_are_held_less_and_less() {
        let mut pace = after_looks(9, 0, 2048);
        pace.note(0, LINES_ENOUGH * LINE_BYTES);
        assert_eq!(pace.pauses, 48);
        look(&mut pace, 9, 0, LINES_ENOUGH * LINE_BYTES);
        assert_eq!(pace.pauses, 0);
    }
}
