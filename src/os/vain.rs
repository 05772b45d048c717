//! Bells that ring in vain: when to rely on one no longer, and how long to nap instead.
//!
//! The invariant: a peer that rings a bell again and again, and brings nothing, costs at most one nap for each ring.

use crate::trace::event;
use std::time::Duration;

/// How often a bell may ring in vain. A ring can come late, but more than this many come only from a peer that breaks
/// the protocol.
const VAIN_RINGS_MAX: u32 = 16;
/// The first nap of one whose bell is of no use, and how often it doubles: up to 64 ms.
const NAP_MIN: Duration = Duration::from_millis(1);
const NAP_DOUBLINGS_MAX: u32 = 6;

/// Rings that brought nothing, since the position last moved on that they are to move.
#[derive(Debug, Default)]
pub(crate) struct VainRings {
    position: u64,
    count: u32,
}

impl VainRings {
    /// How long to nap without the bell, if it rang in vain too often, at `position`.
    pub(crate) fn nap(&mut self, position: u64) -> Option<Duration> {
        if position != self.position {
            *self = Self { position, count: 0 };
        }
        self.length()
    }

    /// From here on the bell is not relied on, until the position moves on.
    pub(crate) fn give_up(&mut self) {
        self.count = self.count.max(VAIN_RINGS_MAX);
    }

    /// The same for the position that was asked about last.
    pub(crate) fn length(&self) -> Option<Duration> {
        let naps = self.count.checked_sub(VAIN_RINGS_MAX)?;
        Some(NAP_MIN * 2u32.pow(naps.min(NAP_DOUBLINGS_MAX)))
    }

    /// The bell rang, or a nap is over. This was in vain if the position does not move on.
    pub(crate) fn note(&mut self) {
        self.count = self.count.saturating_add(1);
        if self.count == VAIN_RINGS_MAX {
            event!(WARN, "bell given up", rings = self.count, position = self.position);
        }
    }
}

#[cfg(all(test, feature = "tracing"))]
mod tests {
    use super::*;
    use crate::trace::tests::told;

    #[test]
    fn a_bell_that_is_given_up_is_told_of_once_until_the_position_moves_on() {
        let mut rings = VainRings::default();
        let messages = told(|| {
            (1..VAIN_RINGS_MAX).for_each(|_| rings.note());
        });
        assert!(messages.is_empty() && rings.nap(0).is_none());
        assert_eq!(told(|| (0..3).for_each(|_| rings.note())), ["bell given up"]);
        assert!(rings.nap(0).is_some() && rings.nap(8).is_none());
        assert_eq!(told(|| (0..VAIN_RINGS_MAX).for_each(|_| rings.note())), ["bell given up"]);
    }
}
