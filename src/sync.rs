//! The atomics, fences and process-private locks of the ring protocols.
//!
//! The models in `tests/loom` compile the protocols with a `sync` of their own, over loom's types. Tests that kill a
//! process at each of its stores (the feature `crash-points`) count them here, so that the protocols need not.

pub(crate) use core::sync::atomic::{Ordering, fence};
pub(crate) use parking_lot::Mutex;

/// How many holds of a consumer can stand in slots; fewer in the models, so that one finds none free.
pub(crate) const HOLD_SLOTS: usize = 64;

#[cfg(not(feature = "crash-points"))]
pub(crate) use core::sync::atomic::{AtomicU32, AtomicU64};
#[cfg(feature = "crash-points")]
pub(crate) use counted::{AtomicU32, AtomicU64};

/// Atomics with a crash point before each store.
#[cfg(feature = "crash-points")]
mod counted {
    use core::ops::Deref;
    use core::sync::atomic::{self, Ordering};

    #[inline]
    fn before_store() {
        crate::crash::point!("store");
    }

    macro_rules! counted {
        ($name:ident, $value:ident) => {
            #[derive(Debug, Default)]
            #[repr(transparent)]
            pub(crate) struct $name(atomic::$name);

            impl $name {
                pub(crate) const fn new(value: $value) -> Self {
                    Self(atomic::$name::new(value))
                }

                #[inline]
                pub(crate) fn store(&self, value: $value, order: Ordering) {
                    before_store();
                    self.0.store(value, order);
                }

                #[inline]
                pub(crate) fn fetch_add(&self, value: $value, order: Ordering) -> $value {
                    before_store();
                    self.0.fetch_add(value, order)
                }
            }

            impl Deref for $name {
                type Target = atomic::$name;

                fn deref(&self) -> &atomic::$name {
                    &self.0
                }
            }
        };
    }

    counted!(AtomicU32, u32);
    counted!(AtomicU64, u64);
}
