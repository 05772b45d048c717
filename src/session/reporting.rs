//! What a consumer that asks is told of a lane: who reads it, how far behind, since when.
//!
//! The invariant: nobody learns of consumers of other users but those whom the server admits to that, and no seat is
//! looked at but for what it says of itself.

use crate::lane::{ConsumerInfo, Lane, SeatHandle};
use crate::layout::LaneState;
use crate::ring::LaneWords;
use crate::ring::roster::Seat;
use crate::sync::Ordering;
use crate::terms::Delivery;
use crate::wire::{Report, ReportedSeat, SEATS_PER_REPORT_MAX, SeatKind, UNKNOWN_UID};
use std::time::Instant;

/// The consumer that asks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asker {
    /// The number of its own seats.
    pub(super) seat_id: u64,
    pub(super) uid: Option<u32>,
    /// Whether it may know of consumers of other users.
    pub(super) sees_all: bool,
}

impl Asker {
    fn sees(&self, seat_id: u64, uid: Option<u32>) -> bool {
        self.sees_all || seat_id == self.seat_id || (uid.is_some() && uid == self.uid)
    }
}

/// What `asker` is told of a lane, which is the `number`th of its session.
pub(super) fn report_of(lane: &Lane, number: usize, asker: Asker) -> Report {
    let (mut seats, mut listed, now) = (0, Vec::new(), Instant::now());
    for seat in lane.roster.everyone() {
        let who = ConsumerInfo::new(&seat, 0);
        if !asker.sees(seat.id(), who.uid) {
            continue;
        }
        seats += 1;
        if listed.len() < SEATS_PER_REPORT_MAX {
            listed.push(reported(lane, &seat, &who, now));
        }
    }
    // Last: no seat in the list is ahead of it.
    let published = lane.map.published().load(Ordering::Relaxed);
    let state = LaneState::from_word(lane.map.state().load(Ordering::Relaxed)).expect("this process has written it");
    Report { lane: number, published, state, seats, listed }
}

fn reported(lane: &Lane, seat: &Seat<SeatHandle>, who: &ConsumerInfo, now: Instant) -> ReportedSeat {
    let (consumed, read) = seat.standing(&*lane.map);
    let kind = match (seat.delivery(), who.reads_in_place) {
        (Delivery::Lossy, _) => SeatKind::Lossy,
        (Delivery::Lossless, true) => SeatKind::InPlace,
        (Delivery::Lossless, false) => SeatKind::Copies,
    };
    let nanos = |since: Instant| u64::try_from(now.saturating_duration_since(since).as_nanos()).unwrap_or(u64::MAX);
    ReportedSeat {
        pid: who.pid.unwrap_or(0),
        uid: who.uid.unwrap_or(UNKNOWN_UID),
        kind,
        is_asleep: who.is_asleep,
        consumed,
        read,
        since_ns: nanos(who.since),
        still_ns: nanos(who.still_since),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_sees_its_own_and_one_without_a_number_sees_itself() {
        let asker = |uid, sees_all| Asker { seat_id: 7, uid, sees_all };
        let seen =
            |asker: Asker| [(7, None), (1, Some(0)), (2, Some(1000)), (3, None)].map(|(id, uid)| asker.sees(id, uid));
        assert_eq!(seen(asker(Some(1000), false)), [true, false, true, false]);
        assert_eq!(seen(asker(Some(0), false)), [true, true, false, false], "also of root");
        assert_eq!(seen(asker(None, false)), [true, false, false, false]);
        assert_eq!(seen(asker(None, true)), [true; 4]);
    }
}
