//! The atomics and fences of the ring protocols: `core`'s, or loom's under `cfg(loom)`.
//!
//! Nothing else in the crate names loom; the models in `tests/loom` do. Process-private locks come from here too, so
//! that the models run the very code that ships.

#[cfg(not(loom))]
pub(crate) use core::sync::atomic::{AtomicU32, AtomicU64, fence};
#[cfg(not(loom))]
pub(crate) use parking_lot::Mutex;

pub(crate) use core::sync::atomic::Ordering;

#[cfg(loom)]
pub(crate) use loom::sync::atomic::{AtomicU32, AtomicU64, fence};
#[cfg(loom)]
pub(crate) use loom_lock::Mutex;

/// loom's mutex with the interface of parking_lot's.
#[cfg(loom)]
mod loom_lock {
    use loom::sync::MutexGuard;

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
}
