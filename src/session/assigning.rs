//! A server that gives each consumer a lane of its own, which is chosen when it connects.
//!
//! The invariant: a lane is offered in one session at a time, as far as who assigns it goes by its lease.
//!
//! What this file does not do: which lane that is, [`Assign`] says; who is let in, [`admission`](super::admission).

use super::Address;
use super::admission::{Admission, turn_away};
use super::ending::Ending;
use super::frame_socket::FrameSocket;
use super::listener::Listener;
use super::served::{Arrival, Reception, Served};
use super::server::ServerOptions;
use super::shared::{Limits, NewsKind, Offering, ServerStats, StewardHandle, StewardState};
use crate::error::Result;
use crate::lane::Lane;
use crate::os::fork::ForkGuard;
use crate::os::peer::Peer;
use crate::sync::Mutex;
use crate::terms::Refusal;
use crate::trace::event;
use std::fmt::Debug;
use std::sync::Arc;

/// Says which lane a consumer gets. It is asked on the steward's thread.
pub(crate) trait Assign: Debug + Send + Sync {
    /// The lane for a consumer of that user, if there is one. `lease` is dropped when the session is over, and the
    /// consumer has no seat on the lane any more.
    ///
    /// # Errors
    ///
    /// If a lane had to be made, and could not be.
    fn assign(&self, uid: Option<u32>, lease: &Arc<()>) -> Result<Option<Arc<Lane>>>;

    /// Why there is no lane for a consumer now, as a sentence for it.
    fn why_none(&self) -> String;
}

/// Lets consumers in, each to a lane of its own.
#[derive(Debug)]
struct Assigning {
    assign: Arc<dyn Assign>,
    limits: Limits,
    state: Arc<StewardState>,
}

impl Reception for Assigning {
    fn state(&self) -> &StewardState {
        &self.state
    }

    fn is_full(&self, served: usize) -> bool {
        served >= self.limits.sessions_max
    }

    fn welcome(&self, arrival: Arrival, is_full: bool) -> Option<Box<dyn Served>> {
        let (lease, uid) = (Arc::new(()), Peer::of(&arrival.socket).ok().and_then(|peer| peer.uid));
        // A process that is not let in costs no lane.
        let is_admitted = self.limits.peers.admits(uid);
        let assigned = if is_admitted && !is_full { self.assign.assign(uid, &lease) } else { Ok(None) };
        let lane = match assigned {
            Ok(None) if is_admitted => Err(Ending::Refuse(Refusal::Busy, self.assign.why_none())),
            assigned => assigned.map_err(Ending::own),
        };
        let lane = match lane {
            Ok(lane) => lane,
            Err(ending) => {
                turn_away(&self.state, &FrameSocket::new(arrival.socket), &ending);
                return None;
            }
        };
        lane.iter().for_each(|lane| lane.notify_end(&self.state.notice));
        let lanes = Mutex::new(lane.into_iter().collect());
        let (limits, state) = (self.limits.clone(), Arc::clone(&self.state));
        Admission(Arc::new(Offering { limits, lanes, state, _lease: Some(lease) })).welcome(arrival, false)
    }

    fn note_attached(&self, attached: usize) {
        self.state.note_sessions(attached);
    }
}

/// A server whose lanes are assigned. Dropping it stops the listening; sessions go on until their lanes end.
#[derive(Debug)]
pub(crate) struct AssigningServer {
    steward: StewardHandle,
    address: Address,
}

impl AssigningServer {
    pub(crate) fn address(&self) -> &Address {
        &self.address
    }

    pub(crate) fn stats(&self) -> ServerStats {
        self.steward.stats()
    }
}

impl ServerOptions {
    /// Listens at `address` for consumers that are assigned a lane each.
    ///
    /// # Errors
    ///
    /// Those of [`listen`](Self::listen).
    pub(crate) fn listen_assigning(self, address: Address, assign: Arc<dyn Assign>) -> Result<AssigningServer> {
        let guard = ForkGuard::get()?;
        let listener = Listener::bind(&address, self.mode, &self.limits.peers)?;
        let address = address.into_absolute();
        event!(DEBUG, "listening", address = %address, lanes = 0);
        let state = Arc::new(StewardState::new(NewsKind::Statistics)?);
        let reception = Assigning { assign, limits: self.limits, state: Arc::clone(&state) };
        let steward = StewardHandle::start(Some(listener), reception, state, None, guard)?;
        Ok(AssigningServer { steward, address })
    }
}
