//! What a collector waits for: its listener, what was attached to, and its lanes.
//!
//! The invariant: a lane is taken out for its turn, so that no record costs a look-up.

use super::Origin;
use super::joining::Joining;
use crate::consumer::{Consumer, ReceiveError};
use crate::select::{Selectable, Sight, Unarmed};
use crate::session::session_listener::SessionListener;
use rustix::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

/// What is waited for has no turn.
const NO_TURN: &str = "a turn ends before anything is looked for elsewhere";

/// What the collector waits for.
#[derive(Debug)]
pub(super) enum Endpoint {
    Listener(SessionListener),
    Attached(Arc<Joining>),
    /// `None` while it is its turn.
    Lane(Option<Box<CollectedLane>>),
}

#[derive(Debug)]
pub(super) struct CollectedLane {
    pub(super) origin: Origin,
    pub(super) consumer: Consumer,
    /// Whether its end was reported.
    pub(super) is_lost: bool,
}

impl AsFd for Endpoint {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Listener(listener) => listener.as_fd(),
            Self::Attached(attaching) => attaching.notice.as_fd(),
            Self::Lane(lane) => lane.as_ref().expect(NO_TURN).consumer.as_fd(),
        }
    }
}

impl Selectable for Endpoint {
    fn arm(&mut self) -> Result<bool, ReceiveError> {
        match self {
            Self::Listener(listener) => Selectable::arm(listener),
            Self::Attached(attaching) => Ok(attaching.arm()),
            Self::Lane(lane) => lane.as_mut().expect(NO_TURN).consumer.arm(),
        }
    }
}

impl Unarmed for Endpoint {
    fn glance(&mut self) -> bool {
        match self {
            Self::Lane(lane) => lane.as_mut().expect(NO_TURN).consumer.has_news(),
            Self::Listener(_) | Self::Attached(_) => false,
        }
    }

    fn poll(&mut self, has_event: bool) -> Result<Sight, ReceiveError> {
        match self {
            Self::Lane(lane) => {
                let has_news = lane.as_mut().expect(NO_TURN).consumer.poll_unarmed(has_event);
                Ok(if has_news { Sight::News } else { Sight::Quiet })
            }
            // Nobody else is told of that.
            Self::Listener(_) | Self::Attached(_) => Ok(Sight::of_arming(!self.arm()?)),
        }
    }
}
