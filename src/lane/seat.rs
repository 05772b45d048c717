//! A consumer's seat on one lane, as the lane's process holds it: its words, its bells, who sits there.

use crate::crash;
use crate::memory::SeatMap;
use crate::os::bell::{Bell, BellEnd};
use crate::os::clock::coarse_now;
use crate::os::fd_sender::FdSender;
use crate::os::notice::Notice;
use crate::ring::SeatWords;
use crate::ring::roster::SeatPort;
use crate::sync::{AtomicU32, AtomicU64, Ordering};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64 as Hint};
use std::time::{Duration, Instant};

/// What the session layer knows of a consumer that takes a seat.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Occupant {
    /// `None` for a process of another pid namespace.
    pub(crate) pid: Option<u32>,
    pub(crate) uid: Option<u32>,
    /// When it took the seat.
    pub(crate) since: Instant,
    pub(crate) reads_in_place: bool,
}

impl Occupant {
    /// Whether it is of this user. Of one without a number nobody can say that.
    fn is_of_user(&self, uid: Option<u32>) -> bool {
        self.uid.is_some() && self.uid == uid
    }
}

/// A consumer's seat on one lane, its bell, and the thread to tell when the lane evicts it.
#[derive(Debug)]
pub(crate) struct SeatHandle {
    words: SeatMap,
    bell: Bell,
    /// What the consumer rings when it releases, on lanes with a space bell.
    space_bell: Option<BellEnd>,
    /// Where the descriptors of records are sent, if the consumer asked for them.
    fd_sender: Option<FdSender>,
    occupant: Occupant,
    /// When `occupant.since` was, on the coarse clock.
    since: Duration,
    /// The `consumed` that was seen last, and when it was seen first, in ns since `since`.
    seen: Hint,
    seen_at: Hint,
    /// Set once the lane has evicted the consumer, and never reset.
    evicted: Arc<AtomicBool>,
    /// Set if the consumer was never told that it has the seat.
    taken_back: AtomicBool,
    steward: Arc<Notice>,
}

impl SeatHandle {
    pub(crate) fn new(
        words: SeatMap,
        (bell, space_bell): (Bell, Option<BellEnd>),
        fd_sender: Option<FdSender>,
        occupant: Occupant,
        evicted: Arc<AtomicBool>,
        steward: Arc<Notice>,
    ) -> Self {
        let (since, seen, seen_at) = (coarse_now(), Hint::new(0), Hint::new(0));
        let taken_back = AtomicBool::new(false);
        Self { words, bell, space_bell, fd_sender, occupant, since, seen, seen_at, evicted, taken_back, steward }
    }

    /// What the consumer rings when it releases.
    pub(crate) fn space_bell(&self) -> Option<&BellEnd> {
        self.space_bell.as_ref()
    }

    pub(crate) fn occupant(&self) -> &Occupant {
        &self.occupant
    }

    /// Whether the lane has evicted the consumer.
    pub(crate) fn was_evicted(&self) -> bool {
        self.evicted.load(Ordering::Acquire)
    }

    /// Whether the consumer was never told that it has the seat.
    pub(crate) fn was_taken_back(&self) -> bool {
        // Relaxed: it was stored under the roster's lock, before the place was vacant.
        self.taken_back.load(Ordering::Relaxed)
    }

    /// Where the descriptors of records are sent, if the consumer asked for them and still takes them.
    pub(crate) fn fd_sender(&self) -> Option<&FdSender> {
        self.fd_sender.as_ref().filter(|sender| !sender.is_over())
    }

    /// When the consumer was first seen to have released as much as it has now.
    pub(super) fn still_since(&self) -> Instant {
        // Relaxed, and not together: hints, for people.
        let consumed = self.consumed().load(Ordering::Relaxed);
        if self.seen.load(Ordering::Relaxed) != consumed {
            self.seen.store(consumed, Ordering::Relaxed);
            let at = coarse_now().saturating_sub(self.since);
            self.seen_at.store(u64::try_from(at.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
        }
        let at = Duration::from_nanos(self.seen_at.load(Ordering::Relaxed));
        self.occupant.since.checked_add(at).unwrap_or(self.occupant.since)
    }
}

impl SeatWords for SeatHandle {
    #[inline]
    fn consumed(&self) -> &AtomicU64 {
        self.words.consumed()
    }

    #[inline]
    fn space_seq(&self) -> &AtomicU32 {
        self.words.space_seq()
    }

    #[inline]
    fn read(&self) -> &AtomicU64 {
        self.words.read()
    }

    #[inline]
    fn wait_epoch(&self) -> &AtomicU32 {
        self.words.wait_epoch()
    }
}

impl SeatPort for SeatHandle {
    type Words = SeatMap;

    fn words(&self) -> SeatMap {
        self.words.clone()
    }

    fn wake(&self) -> bool {
        crash::point!("producer-before-bell");
        let rung = self.bell.ring();
        crash::point!("producer-after-bell");
        rung
    }

    fn note_evicted(&self) {
        self.evicted.store(true, Ordering::Release);
        self.steward.raise();
    }

    fn note_taken_back(&self) {
        self.taken_back.store(true, Ordering::Relaxed);
    }

    fn note_progress(&self) {
        self.still_since();
    }

    fn may_succeed(&self, gone: &Self) -> bool {
        self.occupant.is_of_user(gone.occupant.uid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_without_a_number_is_nobody_s() {
        let occupant = |uid| Occupant { pid: None, uid, since: Instant::now(), reads_in_place: false };
        assert!(occupant(Some(1000)).is_of_user(Some(1000)) && occupant(Some(0)).is_of_user(Some(0)));
        for (uid, other) in [(Some(1000), Some(0)), (Some(1000), None), (None, Some(0)), (None, None)] {
            assert!(!occupant(uid).is_of_user(other), "{uid:?} {other:?}");
        }
    }
}
