//! Where the unreleased records of a slot end. Ends at equal distances are one stretch, so that a release of many
//! records takes as long as that of one.
//!
//! The invariant: ends ascend.

use std::collections::VecDeque;

/// Ascending positions.
#[derive(Debug, Default)]
pub(super) struct Ends {
    stretches: VecDeque<Stretch>,
    /// The number of ends in all of them.
    len: usize,
}

/// Ends that lie `step` bytes apart. As a rule a push stores two words, the last end and the number of all: stores wait
/// for their turn behind those to the ring, which take long between far cores.
#[derive(Clone, Copy, Debug)]
struct Stretch {
    first: u64,
    last: u64,
    /// Of no meaning for a single end, for which it may be 0.
    step: u64,
}

impl Stretch {
    /// How many of them there are up to `position`, which is not before the first.
    fn count_to(&self, position: u64) -> u64 {
        1 + (position.min(self.last) - self.first).checked_div(self.step).unwrap_or(0)
    }

    fn nth(&self, number: u64) -> u64 {
        self.first + number * self.step
    }
}

impl Ends {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The last of them.
    #[inline]
    pub(super) fn last(&self) -> Option<u64> {
        self.stretches.back().map(|stretch| stretch.last)
    }

    /// Adds an end beyond all others.
    #[inline]
    pub(super) fn push(&mut self, end: u64) {
        let begin = self.last().unwrap_or(end);
        self.push_stretch(begin, Stretch { first: end, last: end, step: end - begin }, 1);
    }

    /// Adds `count` ends beyond all others: `begin + step`, and so on in steps of `step` bytes.
    #[inline]
    pub(super) fn push_many(&mut self, begin: u64, step: u64, count: usize) {
        if count != 0 {
            let stretch = Stretch { first: begin + step, last: begin + count as u64 * step, step };
            self.push_stretch(begin, stretch, count);
        }
    }

    /// Adds a stretch of `count` ends, the first of which lies a step beyond `begin`.
    #[inline]
    fn push_stretch(&mut self, begin: u64, stretch: Stretch, count: usize) {
        self.len += count;
        match self.stretches.back_mut() {
            Some(back) if begin == back.last && stretch.step == back.step => back.last = stretch.last,
            Some(back) if begin == back.last && back.first == back.last => {
                (back.last, back.step) = (stretch.last, stretch.step);
            }
            _ => self.stretches.push_back(stretch),
        }
    }

    /// Takes out all ends up to `position`, and returns the last of them.
    pub(super) fn take_to(&mut self, position: u64) -> Option<u64> {
        let mut taken = None;
        while let Some(stretch) = self.stretches.front_mut().filter(|stretch| stretch.first <= position) {
            let count = stretch.count_to(position);
            let last = stretch.nth(count - 1);
            taken = Some(last);
            self.len -= count as usize;
            if last != stretch.last {
                stretch.first = last + stretch.step;
                break;
            }
            self.stretches.pop_front();
        }
        taken
    }

    /// Where the record begins that ends at `end`, or the padding before it, if one ends there. The first one begins at
    /// `boundary`.
    pub(super) fn begin_of(&self, end: u64, boundary: u64) -> Option<u64> {
        let index = self.stretches.partition_point(|stretch| stretch.last < end);
        let stretch = self.stretches.get(index)?;
        match end.checked_sub(stretch.first)? {
            0 => Some(index.checked_sub(1).map_or(boundary, |before| self.stretches[before].last)),
            // It is not the only one, so the step is one.
            beyond => beyond.is_multiple_of(stretch.step).then(|| end - stretch.step),
        }
    }

    /// All of them, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = u64> {
        let ends_of = |stretch: &Stretch| {
            let stretch = *stretch;
            (0..stretch.count_to(stretch.last)).map(move |number| stretch.nth(number))
        };
        self.stretches.iter().flat_map(ends_of)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Where the first record begins; no end is as far.
    const BOUNDARY: u64 = u64::MAX;

    proptest! {
        #[test]
        fn they_are_those_of_a_plain_list(steps in prop::collection::vec((0..5_u8, 1..4_u64, 0..5_usize), 0..60)) {
            let (mut ends, mut list, mut last) = (Ends::default(), Vec::new(), 0);
            for (what, step, count) in steps {
                match what {
                    0 => {
                        last += step;
                        ends.push(last);
                        list.push(last);
                    }
                    1 => {
                        ends.push_many(last, step, count);
                        list.extend((1..=count as u64).map(|number| last + number * step));
                        last += count as u64 * step;
                    }
                    // Behind padding.
                    2 => last += step,
                    _ => {
                        let back = step * count as u64;
                        let position = if what == 3 { last.saturating_sub(back) } else { u64::MAX };
                        let taken: Vec<u64> = list.iter().copied().filter(|end| *end <= position).collect();
                        list.drain(..taken.len());
                        prop_assert_eq!(ends.take_to(position), taken.last().copied());
                    }
                }
                prop_assert!(ends.iter().eq(list.iter().copied()), "{:?}, not {:?}", ends, list);
                let begins = || std::iter::once(BOUNDARY).chain(list.iter().copied());
                for end in 0..last + 2 {
                    let begin = begins().zip(&list).find(|(_, other)| **other == end).map(|(begin, _)| begin);
                    prop_assert_eq!(ends.begin_of(end, BOUNDARY), begin, "{} of {:?}", end, ends);
                }
                prop_assert_eq!((ends.len(), ends.is_empty()), (list.len(), list.is_empty()));
            }
        }
    }

    #[test]
    fn records_of_one_length_are_one_stretch_however_they_were_sent() {
        let mut ends = Ends::default();
        (1..=100).for_each(|number| ends.push(72 * number));
        ends.push_many(7200, 72, 100);
        (201..=300).for_each(|number| ends.push(72 * number));
        assert_eq!((ends.len(), ends.stretches.len()), (300, 1));
        assert_eq!(ends.take_to(150 * 72 + 71), Some(150 * 72));
        assert_eq!((ends.len(), ends.stretches.len()), (150, 1));
    }
}
