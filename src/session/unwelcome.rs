//! Descriptors that a producer should not have sent: told from those it should, and closed without waiting.
//!
//! The invariant: what is neither memory nor an eventfd is closed by a thread that may wait, so that a consumer's
//! deadlines hold.

use crate::closing::close_later;
use crate::error::{Error, Result};
use crate::fds::RecvFdsError;
use crate::frame::{BellKind, Offer, OfferedLane};
use crate::region::Region;
use crate::wake::BellEnd;
use rustix::fd::OwnedFd;
use rustix::io::Errno;

/// Lets through what came with an Offer, once each descriptor is of the kind that its place asks for.
pub(super) fn sort_out(offer: &Offer, fds: Vec<OwnedFd>) -> Result<Vec<OwnedFd>> {
    match find(offer, &fds) {
        None => Ok(fds),
        Some(error) => {
            close(fds);
            Err(error)
        }
    }
}

/// What is wrong with the kinds of these descriptors.
fn find(offer: &Offer, fds: &[OwnedFd]) -> Option<Error> {
    let not_memory = |index: usize, what: &str| {
        let is_memory = fds.get(index).is_some_and(Region::is_memory);
        (!is_memory).then(|| Error::peer(format!("handing over {what}"), "the descriptor is not a memfd"))
    };
    let in_lane = |(index, lane): (usize, &OfferedLane)| {
        let is_bell = fds.get(Offer::bell_fd(index)).is_some_and(|fd| BellEnd::is_bell(lane.bell, fd));
        let not_bell =
            || Error::peer("taking the bell of a lane", format_args!("the descriptor is no {:?}", lane.bell));
        (!is_bell)
            .then(not_bell)
            .or_else(|| not_memory(Offer::control_fd(index), "the control region"))
            .or_else(|| not_memory(Offer::data_fd(index), "the data region"))
    };
    not_memory(Offer::SEAT_FD, "the seat").or_else(|| offer.lanes.iter().enumerate().find_map(in_lane))
}

/// Says what was wrong with a message that could not be received whole, and closes what came of it.
pub(super) fn reject(error: RecvFdsError, doing: &str) -> Error {
    let fault = match &error {
        // That is our own lack, and not the producer's fault.
        RecvFdsError::TableFull { .. } => {
            Error::os(format!("take the producer's descriptors while {doing}"))(Errno::MFILE)
        }
        error => Error::peer(doing, error),
    };
    close(error.into_received().map(|received| received.fds).unwrap_or_default());
    fault
}

/// How a descriptor was opened is its sender's choice, and so its fault.
pub(super) fn blame(error: Error) -> Error {
    match &error {
        Error::Os { source, .. } if source.kind() == std::io::ErrorKind::PermissionDenied => {
            Error::peer("handing over memory", &error)
        }
        _ => error,
    }
}

/// Closes descriptors that may take their time, on a thread that has it.
pub(super) fn close(mut fds: Vec<OwnedFd>) {
    // These wait for nothing, and need not wait for the others.
    fds.retain(|fd| !Region::is_memory(fd) && !BellEnd::is_bell(BellKind::Eventfd, fd));
    close_later(fds);
}
