//! Which open requests of one caller nobody waits for any more.
//!
//! The invariant: asking takes no lock that is held while a program's code runs, and none at all as long as the caller
//! has given nothing up. A number is in here only while its request is open.

use crate::sync::{Mutex, Ordering};
use std::sync::atomic::{AtomicBool, AtomicUsize};

#[derive(Debug, Default)]
pub(super) struct GivenUp {
    /// Everything is given up: the caller is gone, or was evicted.
    is_all: AtomicBool,
    /// How many numbers there are, as a hint: a flag alone, by which nothing is read.
    count: AtomicUsize,
    numbers: Mutex<Vec<u64>>,
}

impl GivenUp {
    /// The request is given up. Called once for a request that is open.
    pub(super) fn add(&self, number: u64) {
        let mut numbers = self.numbers.lock();
        numbers.push(number);
        self.count.store(numbers.len(), Ordering::Relaxed); // a hint: the lock orders the numbers
    }

    /// The request is open no longer. Nobody [adds](Self::add) any meanwhile.
    #[inline]
    pub(super) fn remove(&self, number: u64) {
        // A hint elsewhere, but not here: the lock under which both are called orders it.
        if self.count.load(Ordering::Relaxed) == 0 {
            return;
        }
        let mut numbers = self.numbers.lock();
        numbers.retain(|other| *other != number);
        self.count.store(numbers.len(), Ordering::Relaxed); // a hint: the lock orders the numbers
    }

    /// All requests are given up, now and later.
    pub(super) fn add_all(&self) {
        self.is_all.store(true, Ordering::Relaxed); // a flag alone, by which nothing is read
    }

    pub(super) fn has(&self, number: u64) -> bool {
        // Relaxed: flags alone, by which nothing is read. The lock orders the numbers.
        self.is_all.load(Ordering::Relaxed)
            || (self.count.load(Ordering::Relaxed) != 0 && self.numbers.lock().contains(&number))
    }
}
