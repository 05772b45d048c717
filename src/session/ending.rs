//! Why a session ends before its peer has left: what the peer is told, and what this side is.

use super::frame_socket::Fault;
use crate::error::{Error, InWords, OfUser};
use crate::handshake::HandshakeError;
use crate::os::peer::{Peer, is_out_of_descriptors};
use crate::terms::Refusal;
use crate::wire::{Frame, Refuse};
use rustix::io::Errno;
use std::io::ErrorKind;
use std::time::Duration;

/// Why a session ends.
#[derive(Debug)]
pub(super) enum Ending {
    /// The peer is told why, and hung up on.
    Refuse(Refusal, String),
    /// So too, and something failed on this side, or took too long.
    Own(Refusal, Error),
    /// The handshake failed, and says what the peer is told.
    Handshake(HandshakeError),
    /// The peer is gone, or breaks the protocol in a way that gets no answer.
    HangUp(String),
}

impl Ending {
    /// A refusal because something failed on this side.
    pub(super) fn own(error: Error) -> Self {
        let refusal = match &error {
            Error::Os { cause, .. } if is_out_of_descriptors(cause) => Refusal::Descriptors,
            // Threads are short.
            Error::Os { cause, .. } if cause.kind() == ErrorKind::WouldBlock => Refusal::Busy,
            _ => Refusal::Internal,
        };
        Self::Own(refusal, error)
    }

    /// The handshake has not come to its end in that time.
    pub(super) fn timed_out(limit: Duration) -> Self {
        let doing = "waiting for the end of a handshake".to_owned();
        Self::Own(Refusal::TimedOut, Error::TimedOut { doing, limit })
    }

    /// Processes of this user are not admitted, or the kernel does not say whose the process is.
    pub(super) fn forbidden(peer: &Peer) -> Self {
        if peer.is_unknown() {
            let sentence = "the kernel does not say who sent the first frame; set SO_PASSCRED before sending it";
            return Self::Refuse(Refusal::Forbidden, sentence.to_owned());
        }
        Self::Own(Refusal::Forbidden, Error::Forbidden { uid: peer.uid })
    }

    /// The frame for the peer, if it gets one, and the sentence for this side's statistics.
    pub(super) fn to_answer(&self) -> (Option<Frame>, String) {
        let refuse = |code: Refusal, sentence: String| (Some(Frame::Refuse(Refuse::new(code, &sentence))), sentence);
        match self {
            Self::Refuse(code, sentence) => refuse(*code, sentence.clone()),
            Self::Own(code, Error::Forbidden { uid }) => {
                refuse(*code, format!("processes of {} are not admitted here", OfUser(*uid)))
            }
            Self::Own(code, Error::TimedOut { limit, .. }) => {
                refuse(*code, format!("the handshake took longer than {}", InWords(*limit)))
            }
            Self::Own(code, error) => refuse(*code, error.to_string()),
            Self::Handshake(error) => (error.refuse_frame(), error.to_string()),
            Self::HangUp(sentence) => (None, sentence.clone()),
        }
    }

    /// The public error for a program that waits for this session. `doing` continues "while": "connecting".
    pub(super) fn into_error(self, doing: &str) -> Error {
        match self {
            // Nobody has broken anything.
            Self::Refuse(
                refusal @ (Refusal::Busy | Refusal::Position | Refusal::Unsupported | Refusal::Internal),
                reason,
            ) => Error::Refused { refusal, reason },
            Self::Refuse(_, fault) => Error::peer(doing, fault),
            Self::Own(_, error) => error,
            Self::Handshake(error) => error.into_error(doing),
            Self::HangUp(_) => Error::Closed { doing: doing.to_owned() },
        }
    }
}

impl From<HandshakeError> for Ending {
    fn from(error: HandshakeError) -> Self {
        Self::Handshake(error)
    }
}

impl Ending {
    /// Of a socket that brings no more frames. `who` names the peer: "the consumer".
    pub(super) fn of_fault(fault: Fault, who: &str) -> Self {
        match fault {
            Fault::HungUp => Self::HangUp(format!("{who} hung up")),
            Fault::Shortage => Self::own(Error::os(format!("take the descriptors of {who}"))(Errno::MFILE)),
            Fault::TooManyDescriptors(most) => {
                Self::Refuse(Refusal::TooManyLanes, format!("more than {most} descriptors came; offer fewer lanes"))
            }
            Fault::Message(fault) => Self::Refuse(Refusal::Protocol, fault),
            Fault::Frame(error) => Self::Handshake(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_refused_by_this_side_and_has_broken_nothing_may_try_again_where_the_sentence_says_so() {
        let error = |refusal| Ending::Refuse(refusal, "because".to_owned()).into_error("connecting");
        for refusal in [Refusal::Busy, Refusal::Position, Refusal::Unsupported, Refusal::Internal] {
            assert!(matches!(error(refusal), Error::Refused { refusal: said, .. } if said == refusal));
        }
        assert!(error(Refusal::Busy).is_worth_retrying());
        for refusal in [Refusal::Protocol, Refusal::Region, Refusal::TooManyLanes, Refusal::Forbidden] {
            assert!(matches!(error(refusal), Error::Peer { .. }), "{refusal:?}");
        }
    }

    #[test]
    fn a_shortage_of_descriptors_is_told_as_one_one_of_threads_as_busy_and_any_other_failure_as_internal() {
        let code = |errno| match Ending::own(Error::os::<Errno>("send the Offer")(errno)).to_answer() {
            (Some(Frame::Refuse(refuse)), sentence) => (refuse.refusal(), sentence),
            other => panic!("{other:?}"),
        };
        for errno in [Errno::MFILE, Errno::NFILE, Errno::TOOMANYREFS] {
            assert_eq!(code(errno).0, Refusal::Descriptors, "{errno}");
        }
        assert!(code(Errno::TOOMANYREFS).1.contains("let the receivers catch up"));
        assert_eq!(code(Errno::AGAIN).0, Refusal::Busy);
        assert_eq!(code(Errno::IO).0, Refusal::Internal);
    }
}
