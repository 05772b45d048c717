//! Descriptors that a producer should not have sent: found among those it should, and closed without waiting.

use crate::error::{Error, Result};
use crate::os::bell::BellEnd;
use crate::region::Region;
pub(super) use crate::region::close_received as close;
use crate::terms::BellKind;
use crate::wire::{LaneFds, Offer, OfferedLane};
use rustix::fd::OwnedFd;

/// The descriptors that came with an Offer, if each is of the kind that its place asks for.
pub(super) fn check_kinds(offer: &Offer, fds: Vec<OwnedFd>) -> Result<Vec<OwnedFd>> {
    match wrong_kind(offer, &fds) {
        None => Ok(fds),
        Some(error) => {
            close(fds);
            Err(error)
        }
    }
}

/// What is wrong with the kinds of these descriptors, if anything.
fn wrong_kind(offer: &Offer, fds: &[OwnedFd]) -> Option<Error> {
    let not_memory = |index: usize, what: &str| {
        let is_memory = fds.get(index).is_some_and(Region::is_memory);
        (!is_memory).then(|| Error::peer(format!("handing over {what}"), "the descriptor is not a memfd"))
    };
    let not_bell = |index: usize, kind: BellKind| BellEnd::check(kind, fds.get(index)?).err();
    let in_lane = |(lane, fds): (&OfferedLane, LaneFds)| {
        not_bell(fds.bell, lane.bell)
            .or_else(|| not_memory(fds.control, "the control region"))
            .or_else(|| not_memory(fds.data, "the data region"))
            .or_else(|| not_bell(fds.space_bell?, lane.bell))
    };
    not_memory(Offer::SEAT_FD, "the seat").or_else(|| offer.lanes.iter().zip(offer.lane_fds()).find_map(in_lane))
}

/// Makes a denied permission the producer's fault: the sender of a descriptor chose how to open it.
pub(super) fn blame_for_permission(error: Error) -> Error {
    match &error {
        Error::Os { cause, .. } if cause.kind() == std::io::ErrorKind::PermissionDenied => {
            Error::peer("handing over memory", &error)
        }
        _ => error,
    }
}
