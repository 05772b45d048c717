//! Whom a publication wakes: the producer's half of sleeping for data.
//!
//! The invariant: each announcement of a sleep that the producer sees after a publication is rung for, once
//! (invariants 11 and 19). The diagram at the top of [`sleep`](super::sleep) has both halves.
//!
//! The producer looks at the word of every reader after every publication, so a look is as short as it can be. A
//! [`Watched`] holds where the word is, and the epoch that was dealt with last. As long as the word is that epoch, the
//! reader is awake, or asleep and rung for, and a publication has nothing to do for it.
//!
//! What this file does not do: it does not know who joins and who goes; [`roster`](super::roster) keeps the seats.

use super::SeatWords;
use super::roster::{Roster, Seat, SeatPort};
use crate::os::barrier;
use crate::sync::{Ordering, fence};
use crate::terms::Barrier;
use std::sync::Arc;

/// The seats as the producer's thread last saw them.
#[derive(Debug)]
pub(crate) struct Snapshot<P: SeatPort> {
    pub(super) version: u64,
    pub(super) seats: Box<[Arc<Seat<P>>]>,
    /// One for each of `seats`, in the same order.
    watched: Box<[Watched<P::Words>]>,
    /// The kind that the lane offers.
    pub(super) offered: Barrier,
    /// Whether a full fence is needed between a publication and the look at who sleeps.
    pub(crate) fences: bool,
}

impl<P: SeatPort> Snapshot<P> {
    /// No seats yet, of a lane whose consumers may choose this kind of barrier.
    pub(crate) fn new(offered: Barrier) -> Self {
        let (seats, watched) = Default::default();
        Self { version: 0, seats, watched, offered, fences: offered == Barrier::Fence }
    }

    /// These are the seats now.
    pub(super) fn set_seats(&mut self, seats: &[Arc<Seat<P>>]) {
        self.seats = seats.into();
        // Nothing is dealt with yet, and what was rung for is known of the seat.
        self.watched = seats.iter().map(|seat| Watched { words: seat.port.words(), settled: 0 }).collect();
    }

    /// Whether the word of any reader has changed since it was dealt with.
    #[inline(always)]
    fn has_changed(&self) -> bool {
        // A plain loop with nothing else in it, which takes seven instructions a reader. Without a branch for each,
        // four at a time, it is five and a half, and nine more to begin.
        for each in &self.watched {
            if each.has_changed() {
                return true;
            }
        }
        false
    }

    /// Deals with the words that have changed; how many bells rang.
    // Out of line, or the loops of producers spill registers for what nearly no publication does.
    #[cold]
    #[inline(never)]
    fn wake_changed(&mut self) -> u64 {
        let watched = self.watched.iter_mut().zip(&self.seats);
        watched.filter(|(each, _)| each.has_changed()).map(|(each, seat)| u64::from(each.deal_with(seat))).sum()
    }
}

/// What the producer knows of one reader's sleep.
#[derive(Debug)]
struct Watched<W> {
    /// The words of its seat, held here so that its epoch is found by one load less.
    words: W,
    /// The last epoch that was dealt with: an even one, or one that was rung for.
    settled: u32,
}

impl<W: SeatWords> Watched<W> {
    #[inline(always)]
    fn has_changed(&self) -> bool {
        self.words.wait_epoch().load(Ordering::Relaxed) != self.settled
    }

    /// Rings for the reader if it sleeps and was not rung for; whether its bell rang.
    fn deal_with<P: SeatPort<Words = W>>(&mut self, seat: &Seat<P>) -> bool {
        let epoch = self.words.wait_epoch().load(Ordering::Relaxed);
        self.settled = epoch;
        if epoch.is_multiple_of(2) || epoch == seat.last_rung.load(Ordering::Relaxed) {
            return false;
        }
        let may_ring = seat.may_ring();
        if may_ring && seat.port.wake() {
            seat.last_rung.store(epoch, Ordering::Relaxed);
        } else {
            // No epoch of a sleeper is even: the next publication rings again.
            self.settled = 0;
        }
        may_ring
    }
}

/// Wakes every consumer that sleeps, after a publication or the end of the lane; how many.
#[inline]
pub(crate) fn wake_sleepers<P: SeatPort>(roster: &Roster<P>, snapshot: &mut Snapshot<P>) -> u64 {
    // Pairs with the barrier in `sleep::announce`: we see its epoch, or it sees what was published. A consumer that we
    // do not know yet has raised the version before it announced. If it only fences, the session layer's
    // `barrier::heavy_within` came in between.
    barrier::light();
    if snapshot.fences {
        fence(Ordering::SeqCst);
    }
    roster.update(snapshot);
    if snapshot.has_changed() { snapshot.wake_changed() } else { 0 }
}
