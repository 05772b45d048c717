//! Sleeping for data: the consumer's half of the protocol that loses no wake-up.
//!
//! ```text
//!  consumer                                producer
//!  wait_epoch becomes odd   (announce)     publish
//!  barrier                                 barrier
//!  look at `published`      (look again)   look at `wait_epoch`: odd, and not rung for?
//!  sleep until the bell rings              ring the bell, once for each epoch
//! ```
//!
//! The invariant: of the two looks at least one sees what the other side has stored, so no wake-up is lost
//! (invariant 11); and each announcement gets at most one ring (19). `wait_epoch` is odd exactly while an
//! [`Announcement`] stands.
//!
//! What this file does not do: the producer's half is in [`sleepers`](super::sleepers), and it does not wait.
//! [`Wakeups`] stands for the descriptors that a consumer waits on.

use super::SeatWords;
use crate::os::barrier;
use crate::sync::{AtomicU32, Ordering, fence};
use crate::terms::Barrier;
use std::time::Duration;

/// How long after its announcement a sleeper looks once more if it relies on [`barrier::heavy`], which has a gap: a
/// producer on whose processor the barrier did nothing may have looked for sleepers before its publication was visible.
/// 10 ms is orders of magnitude more than a store buffer needs; so what is not visible then is published by a producer
/// that sees the announcement.
pub(crate) const SECOND_LOOK: Duration = Duration::from_millis(10);

/// The same for a tap, which has more to make good: its producer makes no fence for it, whatever the barrier, and may
/// leave out rings, for 10 ms on machines with the slowest clock (see `budget`). The second look covers both; the first
/// is for one that is woken and sleeps again so often that it has no ring left.
pub(crate) const TAP_LOOKS: [Duration; 2] = [Duration::from_millis(1), Duration::from_millis(20)];

/// The descriptors that wake a consumer: its bell and its session.
pub(crate) trait Wakeups {
    /// Takes every event that has come so far, without waiting; whether a ring of the bell is among them.
    fn harvest(&mut self) -> bool;
    /// Whether the session has ended, as far as the events that were taken tell.
    fn session_is_over(&self) -> bool;
}

/// A reader that can sleep.
pub(crate) trait Sleeps {
    type Seat: SeatWords;
    fn seat(&self) -> &Self::Seat;
    /// Where the next record begins.
    fn position(&self) -> u64;
    /// Whether there is nothing to see, so that a sleep that is announced may begin or go on.
    fn may_sleep(&mut self, session_is_over: impl FnOnce() -> bool) -> bool;
}

/// Who waits after an announcement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Waits {
    /// The consumer itself, on all its descriptors: events that are left over only end its wait early.
    Here,
    /// A loop of the caller's, which may be told of new events only: none may be left over.
    Elsewhere,
}

/// What came of arming.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Armed {
    /// There is something to see: do not sleep.
    No,
    /// An announcement was made, and there is nothing to see. With [`Barrier::Asymmetric`] a second look is due after
    /// [`SECOND_LOOK`].
    Newly,
    /// An announcement stood already, and there is still nothing to see.
    Still,
}

/// A consumer's announcement that it sleeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Announcement {
    /// There is none. A ring that is still on its way only ends a wait early.
    #[default]
    None,
    /// It stands: what is published from now on is rung for.
    Stands,
    /// It was taken back before its ring was seen, which may still come.
    TakenBack,
}

impl Announcement {
    /// Announces a sleep and looks again; under an announcement that stands, looks only. With any answer but
    /// [`Armed::No`], whatever happens from now on is an event.
    pub(crate) fn arm(
        &mut self,
        reader: &mut impl Sleeps,
        barrier: Barrier,
        wakeups: &mut impl Wakeups,
        waits: Waits,
    ) -> Armed {
        // An announcement is rung for once: if that has happened, another one is needed.
        if (waits == Waits::Elsewhere || *self != Self::None) && wakeups.harvest() {
            self.note_ring(reader.seat());
        }
        // Its event has been taken, so none comes any more.
        if wakeups.session_is_over() {
            return Armed::No;
        }
        let is_new = *self != Self::Stands;
        if is_new {
            announce(reader.seat().wait_epoch(), barrier);
            *self = Self::Stands;
        }
        if !reader.may_sleep(|| wakeups.session_is_over()) {
            self.disarm(reader.seat());
            return Armed::No;
        }
        if is_new { Armed::Newly } else { Armed::Still }
    }

    /// The bell has rung: it does not ring again for this announcement.
    pub(crate) fn note_ring(&mut self, seat: &impl SeatWords) {
        if *self == Self::Stands {
            take_back(seat.wait_epoch());
        }
        *self = Self::None;
    }

    /// Takes the announcement back, if one stands: the consumer is awake, and need not be rung for.
    #[inline]
    pub(crate) fn disarm(&mut self, seat: &impl SeatWords) {
        if *self == Self::Stands {
            take_back(seat.wait_epoch());
            *self = Self::TakenBack;
        }
    }
}

/// Makes the epoch odd. After this the consumer looks for data once more.
pub(crate) fn announce(wait_epoch: &AtomicU32, barrier: Barrier) {
    let epoch = wait_epoch.load(Ordering::Relaxed);
    // The next odd number; after an odd one, too, if a sleep was never taken back.
    wait_epoch.store(epoch.wrapping_add(1) | 1, Ordering::Relaxed);
    // Pairs with the barrier in `sleepers::wake_sleepers`: the producer sees this epoch, or we see what it published.
    match barrier {
        Barrier::Fence => fence(Ordering::SeqCst),
        Barrier::Asymmetric => barrier::heavy(),
    }
}

/// Makes the epoch even.
pub(crate) fn take_back(wait_epoch: &AtomicU32) {
    let epoch = wait_epoch.load(Ordering::Relaxed);
    wait_epoch.store(epoch.wrapping_add(1) & !1, Ordering::Relaxed);
}
