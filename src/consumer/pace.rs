//! How often a consumer looks at a stream that comes record by record.
//!
//! A consumer that looks at every publication steals the cache line of `published` from its producer each time, and
//! reads lines next to those that are being written. Both then run at the speed of single cache lines, up to ten times
//! slower than with the consumer a little behind. If looks keep succeeding, the consumer waits before the next one. If
//! that never pays, it tries ever more rarely, so that round trips and slow streams are not delayed.
//!
//! ```text
//!   Watch ── looks succeed at once, or bring much ──────────────► Follow ─┐ longer, shorter
//!     │  ▲                                                          ▲  │  ◄┘
//!     │  └──────────── the wait brought too little ◄────────────────┼──┘
//!     └─ each look waits for one record ──► Probe ── it is a stream ┘
//!                                   ▲         │
//!                                   └─ Watch ◄┘ it is not: after 4 × as many looks
//! ```
//!
//! Answers of several records may be mistaken for a stream if they have a kilobyte or more, each of another length.
//!
//! This file only decides: the looks themselves are in [`looks`](super::looks).

use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

/// Looks in a row that succeed at once, after which the next one is put off.
const PROMPT_LOOKS: RangeInclusive<u32> = 4..=4096;
/// Looks that waited for one record each, after which the next one is put off to see whether they come in a stream.
/// Doing so once in thousands of looks leaves the 99.9th percentile of round trips alone.
const SINGLE_LOOKS: RangeInclusive<u32> = 16..=16_384;
/// A look that finds something after at most this many peeks in vain has not waited: a round trip takes longer.
const PROMPT_PEEKS_MAX: u32 = 1;
/// The first and the longest time between looks, in nanoseconds. The longest is for streams between far cores, where a
/// look costs the producer most, and of very short records: all others bring [`LINES_ENOUGH`] sooner. With 1800, and
/// 256 lines, far records of 56 B that are published one by one took 13 instead of 9.8 ns, those of 256 B 47 instead of
/// 36. A reader of four near lanes whose records are published one by one takes 5 to 7 % longer so. (An EPYC of Zen 5.)
const DELAY_NS: RangeInclusive<u64> = 450..=3600;
/// A stream that brings less than a cache line in this time gains nothing by waiting.
const DELAY_PER_LINE_NS: u64 = 150;
/// A look that brings this many cache lines needs no wait before the next one. With half as many, records of 16 KiB by
/// `send` took 4 to 6 % longer between far cores; all else was as quick. (An EPYC of Zen 5.)
const LINES_ENOUGH: u64 = 1024;
/// Nor does one that brings this part of the ring: a producer that finds it full waits for the consumer.
const RING_PART_ENOUGH: u64 = 4;
/// A shorter wait is none.
const DELAY_LEAST_NS: u64 = 25;
/// After this many looks in a row that were put off and brought the same number of bytes, they are taken for round
/// trips: what a stream brings varies.
const EQUAL_LOOKS_MAX: u32 = 8;
/// After this many looks in a row that brought one record each, the next record is expected within a moment.
const ANSWERS_NEEDED: u32 = 4;
pub(super) const LINE_BYTES: u64 = 64;

/// The number of looks before something is tried.
#[derive(Debug)]
struct Threshold {
    needed: u32,
    range: RangeInclusive<u32>,
}

impl Threshold {
    fn new(range: RangeInclusive<u32>) -> Self {
        Self { needed: *range.start(), range }
    }

    /// It was tried in vain: the next time only after four times as many.
    fn fail(&mut self) {
        self.needed = (4 * self.needed).min(*self.range.end());
    }

    fn reset(&mut self) {
        self.needed = *self.range.start();
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// Looks at once.
    Watch {
        /// Looks in a row that succeeded at once.
        prompt_looks: u32,
        /// Looks that waited for one record each.
        single_looks: u32,
    },
    /// Puts looks off to see whether there is a stream.
    Probe {
        /// The bytes beyond its first record that the last look brought.
        last: u64,
        /// The number of looks before it that brought the same.
        equal: u32,
    },
    /// Puts looks off, since there is a stream.
    Follow { delay_ns: u64 },
}

impl Mode {
    const WATCH: Self = Self::Watch { prompt_looks: 0, single_looks: 0 };
}

/// When the next look is due.
#[derive(Debug)]
pub(super) struct Pace {
    mode: Mode,
    prompt: Threshold,
    single: Threshold,
    /// Looks in a row that brought one record each, soon after the one before.
    answers: u32,
    /// The time of the last look that was put off.
    last_look: Option<Instant>,
    /// A look that brings this many cache lines needs no wait before the next one.
    lines_enough: u64,
}

impl Pace {
    /// The pace of a consumer that has seen nothing yet of a ring of `capacity` bytes.
    pub(super) fn new(capacity: u64) -> Self {
        let (prompt, single) = (Threshold::new(PROMPT_LOOKS), Threshold::new(SINGLE_LOOKS));
        let lines_enough = LINES_ENOUGH.min(capacity / LINE_BYTES / RING_PART_ENOUGH);
        Self { mode: Mode::WATCH, prompt, single, answers: 0, last_look: None, lines_enough }
    }

    /// Waits until the next look is due, which comes right after.
    #[inline]
    pub(super) fn put_off(&mut self) {
        match self.delay_ns() {
            0 => {}
            delay_ns => self.last_look = Some(self.spin_until_due(Duration::from_nanos(delay_ns))),
        }
    }

    /// Spins until `delay` has passed since the last look. Returns the time then. A consumer that was busy elsewhere
    /// need not wait.
    #[inline(never)]
    fn spin_until_due(&self, delay: Duration) -> Instant {
        let mut now = Instant::now();
        let last_look = self.last_look.unwrap_or(now);
        while now.duration_since(last_look) < delay {
            std::hint::spin_loop();
            now = Instant::now();
        }
        now
    }

    /// Whether looks are put off now.
    #[cfg(test)]
    pub(super) fn puts_off(&self) -> bool {
        self.delay_ns() != 0
    }

    fn delay_ns(&self) -> u64 {
        match self.mode {
            Mode::Watch { .. } => 0,
            Mode::Probe { .. } => *DELAY_NS.end(),
            Mode::Follow { delay_ns } => delay_ns,
        }
    }

    /// Whether the next record is likely to come within a moment, as an answer does: then a peek comes before anything
    /// else.
    #[inline]
    pub(super) fn expects_answer(&self) -> bool {
        self.answers >= ANSWERS_NEEDED
    }

    /// As [`expects_answer`](Self::expects_answer), and the next look is not put off: it is not a stream's.
    #[inline]
    pub(super) fn awaits_answers(&self) -> bool {
        self.expects_answer() && matches!(self.mode, Mode::Watch { .. })
    }

    /// Looks found nothing for a while: the next one is not put off.
    #[cold]
    pub(super) fn note_lull(&mut self) {
        self.answers = 0;
        match &mut self.mode {
            Mode::Watch { prompt_looks, .. } => *prompt_looks = 0,
            Mode::Probe { .. } | Mode::Follow { .. } => self.fail(),
        }
    }

    /// A look after `peeks` in vain found a record, and `more_bytes` beyond it.
    // Out of line, or the reader's loop has no registers left.
    #[inline(never)]
    pub(super) fn note_found(&mut self, peeks: u32, more_bytes: u64) {
        let lines = more_bytes / LINE_BYTES;
        self.answers = if lines == 0 { self.answers.saturating_add(1) } else { 0 };
        if lines * DELAY_PER_LINE_NS < self.delay_ns() {
            return self.fail();
        }
        match self.mode {
            Mode::Watch { prompt_looks, single_looks } => {
                if peeks <= PROMPT_PEEKS_MAX || lines > 0 {
                    self.note_prompt(prompt_looks, single_looks, lines);
                } else if single_looks + 1 < self.single.needed {
                    self.mode = Mode::Watch { prompt_looks: 0, single_looks: single_looks + 1 };
                } else {
                    self.mode = Mode::Probe { last: 0, equal: 0 };
                }
            }
            Mode::Probe { last: 0, .. } => self.mode = Mode::Probe { last: more_bytes, equal: 0 },
            Mode::Probe { last, equal } if last == more_bytes => {
                self.mode = Mode::Probe { last, equal: equal + 1 };
                if equal + 1 == EQUAL_LOOKS_MAX {
                    self.fail();
                }
            }
            Mode::Probe { .. } => {
                self.single.reset();
                self.follow(*DELAY_NS.end(), lines);
            }
            Mode::Follow { delay_ns } => self.follow(delay_ns, lines),
        }
    }

    /// A look succeeded at once, or brought more than a record.
    fn note_prompt(&mut self, prompt_looks: u32, single_looks: u32, lines: u64) {
        if prompt_looks < self.prompt.needed {
            self.mode = Mode::Watch { prompt_looks: prompt_looks + 1, single_looks };
        } else {
            self.follow(0, lines);
        }
    }

    /// There is a stream. Waits longer or shorter for the next look, after one that was put off by `delay_ns` and
    /// brought `lines` beyond its first record.
    fn follow(&mut self, delay_ns: u64, lines: u64) {
        let (first, longest) = DELAY_NS.into_inner();
        let brought_enough = lines >= self.lines_enough;
        if brought_enough || delay_ns == longest {
            self.prompt.reset();
        }
        let delay_ns = if brought_enough { delay_ns / 2 } else { (2 * delay_ns).clamp(first, longest) };
        self.mode = match delay_ns {
            0..DELAY_LEAST_NS => Mode::Watch { prompt_looks: self.prompt.needed, single_looks: 0 },
            delay_ns => Mode::Follow { delay_ns },
        };
    }

    /// Waiting was in vain.
    #[cold]
    fn fail(&mut self) {
        match self.mode {
            Mode::Probe { .. } => self.single.fail(),
            Mode::Watch { .. } | Mode::Follow { .. } => self.prompt.fail(),
        }
        (self.mode, self.last_look) = (Mode::WATCH, None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WAITED: u32 = PROMPT_PEEKS_MAX + 1;
    const CAPACITY: u64 = 4 << 20;
    const LONGEST_NS: u64 = *DELAY_NS.end();

    /// `looks` looks, each after `peeks` peeks in vain and with `more` bytes beyond its first record.
    fn look(pace: &mut Pace, looks: u32, peeks: u32, more: u64) {
        (0..looks).for_each(|_| pace.note_found(peeks, more));
    }

    fn after_looks(looks: u32, peeks: u32, more: u64) -> Pace {
        let mut pace = Pace::new(CAPACITY);
        look(&mut pace, looks, peeks, more);
        pace
    }

    /// The number of looks put off among the last 100 000 of 200 000. `answer` says what each brings, put off or not.
    fn count_put_off(answer: impl Fn(bool) -> (u32, u64)) -> usize {
        let (mut pace, mut count) = (Pace::new(CAPACITY), 0);
        for look in 0..200_000 {
            let is_put_off = pace.delay_ns() != 0;
            count += usize::from(is_put_off && look >= 100_000);
            let (peeks, more) = answer(is_put_off);
            pace.note_found(peeks, more);
        }
        count
    }

    #[test]
    fn round_trips_and_slow_streams_are_put_off_the_more_rarely_the_longer_they_last() {
        assert!(count_put_off(|_| (WAITED, 0)) <= 8, "that wait for one record each");
        assert!(count_put_off(|_| (0, 0)) <= 30, "whose one record is there before the first look");
        // The second record of each answer comes after the first was read, or while a look was put off.
        let in_two = |more| move |is_put_off| if is_put_off { (0, more) } else { (WAITED, 0) };
        for more in [64, 768, 4096, 1 << 20] {
            assert!(count_put_off(in_two(more)) <= 80, "whose answers come in two records, the second of {more} bytes");
        }
    }

    #[test]
    fn a_few_records_in_a_row_are_no_stream() {
        assert_eq!(after_looks(*PROMPT_LOOKS.start(), 0, 0).delay_ns(), 0, "a few records in a row");
        let mut pace = after_looks(9, 0, 2048);
        pace.note_found(0, 0);
        assert_eq!(pace.delay_ns(), 0, "one record after a look that was put off, which covered the wait for it");
    }

    #[test]
    fn a_stream_that_comes_record_by_record_is_found_by_waiting_to_see() {
        let mut pace = after_looks(16, WAITED, 0);
        look(&mut pace, 2, 0, 4096);
        assert_eq!((pace.mode, pace.delay_ns()), (Mode::Probe { last: 4096, equal: 1 }, LONGEST_NS));
        look(&mut pace, 1, 0, 8192);
        assert_eq!((pace.mode, pace.single.needed), (Mode::Follow { delay_ns: LONGEST_NS }, 16), "no more doubt");
        look(&mut pace, 100, 0, 8192);
        assert_eq!(pace.mode, Mode::Follow { delay_ns: LONGEST_NS });
        look(&mut pace, 1, 0, LINES_ENOUGH * LINE_BYTES);
        assert_eq!(pace.mode, Mode::Follow { delay_ns: LONGEST_NS / 2 });
        let mut pace = after_looks(16, WAITED, 0);
        pace.note_lull();
        assert_eq!((pace.mode, pace.single.needed), (Mode::WATCH, 64), "nothing was found");
    }

    #[test]
    fn answers_are_awaited_until_something_has_the_look_of_a_stream() {
        assert!(!after_looks(ANSWERS_NEEDED - 1, WAITED, 0).awaits_answers());
        let mut pace = after_looks(ANSWERS_NEEDED, WAITED, 0);
        assert!(pace.awaits_answers());
        look(&mut pace, *SINGLE_LOOKS.start() - ANSWERS_NEEDED, WAITED, 0);
        assert_eq!((pace.awaits_answers(), pace.expects_answer()), (false, true), "a look is put off, to see");
        pace.note_lull();
        assert!(!pace.awaits_answers());
        assert!(!after_looks(100, 0, 64).awaits_answers(), "more than one record at once");
    }

    #[test]
    fn a_stream_is_put_off_longer_and_longer_up_to_a_limit() {
        let delay = |looks| after_looks(*PROMPT_LOOKS.start() + looks, 0, 2048).delay_ns();
        assert_eq!([delay(0), delay(1), delay(2), delay(3), delay(4), delay(9)], [0, 450, 900, 1800, 3600, 3600]);
        assert_eq!(
            after_looks(9, 20, 2048).delay_ns(),
            LONGEST_NS,
            "many records at once are a stream, also after a wait"
        );
    }

    #[test]
    fn a_look_that_brings_little_ends_the_delays() {
        let enough = *DELAY_NS.end() / DELAY_PER_LINE_NS * LINE_BYTES;
        let mut pace = after_looks(9, 0, 2048);
        pace.note_found(0, enough);
        assert_eq!(pace.delay_ns(), LONGEST_NS, "as much as that is worth it");
        pace.note_found(0, enough - 1);
        assert_eq!((pace.mode, pace.prompt.needed), (Mode::WATCH, 16));
        let mut pace = after_looks(9, 0, 2048);
        pace.note_lull();
        assert_eq!((pace.mode, pace.prompt.needed), (Mode::WATCH, 16), "as does one that brings nothing");
    }

    #[test]
    fn looks_that_bring_much_are_put_off_less_and_less() {
        let mut pace = after_looks(9, 0, 2048);
        pace.note_found(0, LINES_ENOUGH * LINE_BYTES);
        assert_eq!(pace.delay_ns(), LONGEST_NS / 2);
        look(&mut pace, 9, 0, LINES_ENOUGH * LINE_BYTES);
        assert_eq!(pace.delay_ns(), 0);
    }

    #[test]
    fn looks_that_bring_a_quarter_of_a_short_ring_are_put_off_less_and_less() {
        const SHORT: u64 = 16 << 10;
        for (capacity, delay_ns) in [(SHORT, 0), (CAPACITY, LONGEST_NS)] {
            let mut pace = Pace::new(capacity);
            look(&mut pace, 20, 0, SHORT / 4);
            assert_eq!(pace.delay_ns(), delay_ns, "a ring of {capacity} bytes");
        }
    }

    #[test]
    fn looks_are_apart_by_the_delay_and_no_more() {
        let mut pace = after_looks(9, 0, 2048);
        let begin = Instant::now();
        pace.put_off();
        pace.put_off();
        assert!(begin.elapsed() >= 2 * Duration::from_nanos(LONGEST_NS), "two looks took {:?}", begin.elapsed());
        // A consumer that was busy elsewhere for that long need not wait.
        let before = pace.last_look.unwrap() - Duration::from_secs(1);
        pace.last_look = Some(before);
        pace.put_off();
        assert!(pace.last_look.unwrap() > before, "the look that follows counts");
    }
}
