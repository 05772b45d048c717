//! Which consumers a server lets in, and what the others are told.
//!
//! The invariant: a process that is not admitted, or that there is no room for, learns that and nothing else.

use super::ending::Ending;
use super::frame_socket::FrameSocket;
use super::served::{Arrival, ArrivalKind, PeerProcess, Reception, Served};
use super::serving::ConsumerSession;
use super::shared::{Offering, StewardState};
use crate::lane::random_id;
use crate::os::peer::Peer;
use crate::terms::Refusal;
use crate::trace::event;
use std::sync::Arc;

/// What a program waits for that has connected to a consumer, in words that follow "while".
pub(super) const CONNECTING: &str = "connecting to a consumer that listens";

/// Lets consumers in, to what is offered.
#[derive(Debug)]
pub(super) struct Admission(pub(super) Arc<Offering>);

impl Reception for Admission {
    fn state(&self) -> &StewardState {
        &self.0.state
    }

    fn is_full(&self, served: usize) -> bool {
        served >= self.0.limits.sessions_max
    }

    fn welcome(&self, Arrival { socket, origin }: Arrival, is_full: bool) -> Option<Box<dyn Served>> {
        let socket = FrameSocket::new(socket);
        let refused = match self.admit(&socket, &origin, is_full) {
            Ok((process, id)) => {
                return Some(Box::new(ConsumerSession::new(&self.0, socket, process, origin, id)));
            }
            Err(ending) => ending,
        };
        turn_away(&self.0.state, &socket, &refused);
        if let ArrivalKind::Connected { outcome, .. } = origin {
            let _ = outcome.say(Err(refused.into_error(CONNECTING)));
        }
        None
    }

    fn note_attached(&self, attached: usize) {
        self.0.state.note_sessions(attached);
    }
}

impl Admission {
    /// The process that has connected, as far as it is known already, if it is admitted and there is room; and an id
    /// for its session.
    fn admit(
        &self,
        socket: &FrameSocket,
        origin: &ArrivalKind,
        is_full: bool,
    ) -> Result<(PeerProcess, [u8; 16]), Ending> {
        let limits = &self.0.limits;
        let peer = match origin {
            ArrivalKind::Accepted => {
                Peer::of(socket).map_err(|error| Ending::Own(Refusal::Descriptors, error)).and_then(|peer| {
                    if limits.peers.admits(peer.uid) { Ok(peer) } else { Err(Ending::forbidden(&peer)) }
                })?
            }
            // That is the maker of the socket, or the listener: its first frame will say who has it.
            ArrivalKind::Handed | ArrivalKind::Connected { .. } => Peer::UNKNOWN,
        };
        if is_full {
            let sentence = format!("all {} sessions are taken (`sessions_max`); try again later", limits.sessions_max);
            return Err(Ending::Refuse(Refusal::Busy, sentence));
        }
        let id = random_id().map_err(|error| Ending::Own(Refusal::Internal, error))?;
        Ok((PeerProcess::new(peer), id))
    }
}

/// Refuses a connection that never becomes a session. It is counted first: a peer that was told finds it in the
/// statistics.
pub(super) fn turn_away(state: &StewardState, socket: &FrameSocket, ending: &Ending) {
    let (answer, sentence) = ending.to_answer();
    state.note_refusal(&sentence);
    answer.iter().for_each(|frame| socket.tell(frame));
    event!(WARN, "connection refused", reason = &*sentence);
}
