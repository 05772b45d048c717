//! Why a session ends before its consumer has left, and what the consumer is told.

use crate::error::Error;
use crate::handshake::HandshakeError;
use crate::os::peer::is_out_of_descriptors;
use crate::terms::Refusal;
use crate::wire::{Frame, Refuse};

/// Why a session ends.
#[derive(Debug)]
pub(super) enum Ending {
    /// The consumer is told why, and hung up on.
    Refuse(Refusal, String),
    /// The handshake failed, and says what the consumer is told.
    Handshake(HandshakeError),
    /// The consumer is gone, or breaks the protocol in a way that gets no answer.
    HangUp(String),
}

impl Ending {
    /// A refusal because something failed on this side.
    pub(super) fn own(error: Error) -> Self {
        let is_shortage = matches!(&error, Error::Os { cause, .. } if is_out_of_descriptors(cause));
        Self::Refuse(if is_shortage { Refusal::Descriptors } else { Refusal::Internal }, error.to_string())
    }

    /// The frame for the consumer, if it gets one, and the sentence for this side.
    pub(super) fn into_answer(self) -> (Option<Frame>, String) {
        match self {
            Self::Refuse(code, sentence) => (Some(Frame::Refuse(Refuse::new(code, &sentence))), sentence),
            Self::Handshake(error) => (error.refuse_frame(), error.to_string()),
            Self::HangUp(sentence) => (None, sentence),
        }
    }
}

impl From<HandshakeError> for Ending {
    fn from(error: HandshakeError) -> Self {
        Self::Handshake(error)
    }
}
