//! loom's atomics and fences, and its mutex with the interface of parking_lot's: in place of `src/sync.rs`.

pub(crate) use core::sync::atomic::Ordering;
pub(crate) use loom::sync::atomic::{AtomicU32, AtomicU64, fence};

use loom::sync::MutexGuard;

/// How many holds of a consumer can stand in slots.
pub(crate) const HOLD_SLOTS: usize = 2;

#[derive(Debug)]
pub(crate) struct Mutex<T>(loom::sync::Mutex<T>);

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(loom::sync::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().expect("no model panics while it holds a lock")
    }
}
