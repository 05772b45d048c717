//! Where the records of a slot end that are not released: those of one length side by side are one stretch.
//!
//! The invariant: ends ascend. So a release of many records of one length takes as long as that of one.

use std::collections::VecDeque;

/// Ascending positions.
#[derive(Debug, Default)]
pub(super) struct Ends {
    stretches: VecDeque<Stretch>,
    /// The number of ends in all of them.
    len: usize,
}

/// Ends that lie `step` bytes apart.
#[derive(Clone, Copy, Debug)]
struct Stretch {
    last: u64,
    step: u64,
    /// At least 1.
    len: usize,
}

/// The step of a single end that nothing comes before: no other is as far away.
const NO_STEP: u64 = u64::MAX;

impl Stretch {
    fn first(&self) -> u64 {
        self.last - (self.len as u64 - 1) * self.step
    }

    /// How many of them are beyond `position`, of which the last one is.
    fn beyond(&self, position: u64) -> usize {
        (self.last - position).div_ceil(self.step).min(self.len as u64) as usize
    }
}

impl Ends {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Adds an end beyond all others.
    #[inline]
    pub(super) fn push(&mut self, end: u64) {
        self.len += 1;
        let step = match self.stretches.back_mut() {
            Some(stretch) if end - stretch.last == stretch.step => {
                (stretch.last, stretch.len) = (end, stretch.len + 1);
                return;
            }
            Some(stretch) => end - stretch.last,
            None => NO_STEP,
        };
        self.stretches.push_back(Stretch { last: end, step, len: 1 });
    }

    /// Adds `count` ends beyond all others: `begin + step`, and so on in steps of `step` bytes.
    #[inline]
    pub(super) fn push_many(&mut self, begin: u64, step: u64, count: usize) {
        if count == 0 {
            return;
        }
        self.len += count;
        let last = begin + count as u64 * step;
        match self.stretches.back_mut() {
            Some(stretch) if (begin, step) == (stretch.last, stretch.step) => {
                (stretch.last, stretch.len) = (last, stretch.len + count)
            }
            _ => self.stretches.push_back(Stretch { last, step, len: count }),
        }
    }

    /// Takes out all up to `position`, which is one of them or lies between two; the last of these, if there are any.
    pub(super) fn take_to(&mut self, position: u64) -> Option<u64> {
        let mut taken = None;
        while let Some(stretch) = self.stretches.front_mut() {
            if position < stretch.first() {
                break;
            }
            let beyond = if position < stretch.last { stretch.beyond(position) } else { 0 };
            taken = Some(stretch.last - beyond as u64 * stretch.step);
            self.len -= stretch.len - beyond;
            if beyond != 0 {
                stretch.len = beyond;
                break;
            }
            self.stretches.pop_front();
        }
        taken
    }

    /// All of them, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = u64> {
        let ends_of = |stretch: &Stretch| {
            let Stretch { last, step, len } = *stretch;
            (0..len as u64).rev().map(move |number| last - number * step)
        };
        self.stretches.iter().flat_map(ends_of)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn they_are_those_of_a_plain_list(steps in prop::collection::vec((0..4_u8, 1..4_u64, 0..5_usize), 0..60)) {
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
                        let position = last.saturating_sub(step * count as u64);
                        let taken: Vec<u64> = list.iter().copied().filter(|end| *end <= position).collect();
                        list.drain(..taken.len());
                        prop_assert_eq!(ends.take_to(position), taken.last().copied());
                    }
                }
                prop_assert!(ends.iter().eq(list.iter().copied()), "{:?}, not {:?}", ends, list);
                prop_assert_eq!((ends.len(), ends.is_empty()), (list.len(), list.is_empty()));
            }
        }
    }

    #[test]
    fn those_of_one_length_are_one_run_however_they_were_sent() {
        let mut ends = Ends::default();
        (1..=100).for_each(|number| ends.push(72 * number));
        ends.push_many(7200, 72, 100);
        (201..=300).for_each(|number| ends.push(72 * number));
        // The first one has nothing before it.
        assert_eq!((ends.len(), ends.stretches.len()), (300, 2));
        assert_eq!(ends.take_to(150 * 72 + 71), Some(150 * 72));
        assert_eq!((ends.len(), ends.stretches.len()), (150, 1));
    }
}
