//! How the body of a record is filled in: by a copy, or by the program itself.

use crate::producer::Reservation;

pub(super) trait Fill {
    /// Fills in the room for a record, from `prefix_bytes` on.
    fn fill_in(self, slot: &mut Reservation<'_>, prefix_bytes: usize);

    /// Fills in a record that waits for room elsewhere.
    fn fill(self, body: &mut [u8]);
}

/// A copy of these bytes, which are as long.
pub(super) struct Copied<'a>(pub(super) &'a [u8]);

impl Fill for Copied<'_> {
    #[inline(always)]
    fn fill_in(self, slot: &mut Reservation<'_>, prefix_bytes: usize) {
        slot.copy_behind(prefix_bytes, self.0);
    }

    fn fill(self, body: &mut [u8]) {
        body.copy_from_slice(self.0);
    }
}

impl<F: FnOnce(&mut [u8])> Fill for F {
    #[inline(always)]
    fn fill_in(self, slot: &mut Reservation<'_>, prefix_bytes: usize) {
        self(&mut slot[prefix_bytes..]);
    }

    fn fill(self, body: &mut [u8]) {
        self(body);
    }
}
