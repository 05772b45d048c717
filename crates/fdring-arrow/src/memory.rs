//! Arrow buffers over memory that a parcel or a ring owns.
//!
//! The invariant: a buffer owns what keeps its bytes mapped and as they are, so it may be kept for ever, in any thread.

use arrow_buffer::Buffer;
use fdring::OwnedRecord;
use fdring::parcel::{Parcel, ParcelBytes};
use std::panic::AssertUnwindSafe;
use std::ptr::NonNull;
use std::sync::Arc;

/// What keeps bytes where they are.
///
/// # Safety
///
/// While the value lives, wherever it is moved to, its bytes stay mapped at the same address, and do not change.
pub(crate) unsafe trait Keeps: Send + Sync + 'static {
    fn bytes(&self) -> &[u8];
}

// SAFETY: a parcel's buffers lie in sealed memory, mapped until the last clone is dropped.
unsafe impl Keeps for Parcel {
    fn bytes(&self) -> &[u8] {
        self.buffer(0).unwrap_or_default()
    }
}

// SAFETY: as for `Parcel`, of which it is the mapping.
unsafe impl Keeps for ParcelBytes {
    fn bytes(&self) -> &[u8] {
        self.buffer(0).unwrap_or_default()
    }
}

// SAFETY: held in the ring, the record keeps the lane's mapping, and the producer does not overwrite what is held: who
// read it in place has vouched for that. A copy lies in memory of its own, which moves with nothing.
unsafe impl Keeps for OwnedRecord {
    fn bytes(&self) -> &[u8] {
        self
    }
}

/// The bytes of `keeper`, as a buffer that owns it.
pub(crate) fn buffer_of(keeper: impl Keeps) -> Buffer {
    // Nothing in it is changed, so no panic leaves it half changed.
    let keeper = Arc::new(AssertUnwindSafe(keeper));
    let (start, len) = (NonNull::from(keeper.bytes()).cast::<u8>(), keeper.bytes().len());
    // SAFETY: the bytes stay there and as they are while the keeper lives, which `Keeps` promises, and the buffer owns
    // it.
    unsafe { Buffer::from_custom_allocation(start, len, keeper) }
}
