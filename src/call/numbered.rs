//! Values under numbers that rise: the calls in flight of a caller, the open requests of one.
//!
//! The oldest is usually the one that is asked for, and is found at once; any other by halving. Nothing is allocated
//! once there is room for the most that there were at a time. The invariant: numbers rise from the front to the back,
//! and the front is a value, not a gap.

use std::collections::VecDeque;

/// Gaps are closed once there are this many more than values: so each costs no more than the one step that closes it.
const GAPS_MAX: usize = 32;

#[derive(Debug)]
pub(crate) struct Numbered<T> {
    /// `None` is a gap: a value that was taken out between others.
    places: VecDeque<(u64, Option<T>)>,
    count: usize,
}

impl<T> Default for Numbered<T> {
    fn default() -> Self {
        Self { places: VecDeque::new(), count: 0 }
    }
}

impl<T> Numbered<T> {
    pub(crate) fn len(&self) -> usize {
        self.count
    }

    /// Adds a value. Its number is higher than all before.
    pub(crate) fn push(&mut self, number: u64, value: T) {
        debug_assert!(self.places.back().is_none_or(|(last, _)| *last < number), "numbers rise");
        self.places.push_back((number, Some(value)));
        self.count += 1;
    }

    pub(crate) fn get(&self, number: u64) -> Option<&T> {
        self.places[self.find(number)?].1.as_ref()
    }

    pub(crate) fn get_mut(&mut self, number: u64) -> Option<&mut T> {
        let place = self.find(number)?;
        self.places[place].1.as_mut()
    }

    pub(crate) fn remove(&mut self, number: u64) -> Option<T> {
        let place = self.find(number)?;
        let value = self.places[place].1.take()?;
        self.count -= 1;
        while let Some((_, None)) = self.places.front() {
            self.places.pop_front();
        }
        if self.places.len() > 2 * self.count + GAPS_MAX {
            self.places.retain(|(_, value)| value.is_some());
        }
        Some(value)
    }

    pub(crate) fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.places.iter_mut().filter_map(|(_, value)| value.as_mut())
    }

    fn find(&self, number: u64) -> Option<usize> {
        match self.places.front()?.0 {
            first if first == number => Some(0),
            _ => self.places.binary_search_by_key(&number, |(number, _)| *number).ok(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_found_and_taken_out_in_any_order() {
        let mut numbered = Numbered::default();
        (1..=1000).for_each(|number| numbered.push(number, number * 2));
        // 9 has no divisor in common with 1001: each number from 1 to 1000 comes once.
        for step in 1..=1000 {
            let number = step * 9 % 1001;
            assert_eq!(numbered.get(number), Some(&(number * 2)));
            assert_eq!(numbered.remove(number), Some(number * 2));
            assert_eq!(numbered.get(number), None);
            assert_eq!(numbered.remove(number), None);
            assert_eq!((numbered.len(), numbered.values_mut().count()), (1000 - step as usize, 1000 - step as usize));
        }
        assert!(numbered.places.is_empty());
    }

    #[test]
    fn one_that_stays_for_long_keeps_no_room_for_those_that_came_after_it() {
        let mut numbered = Numbered::default();
        numbered.push(1, ());
        for number in 2..10_000 {
            numbered.push(number, ());
            assert_eq!(numbered.remove(number), Some(()));
            assert!(numbered.places.len() <= 2 + GAPS_MAX);
        }
        assert_eq!((numbered.len(), numbered.remove(1)), (1, Some(())));
        assert!(numbered.places.is_empty(), "the gaps behind it go with it");
    }
}
