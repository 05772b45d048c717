//! Zero-copy shared-memory IPC for Linux.

pub mod cmsg;
mod consumer;
mod error;
mod fds;
mod frame;
mod handshake;
mod lane;
mod layout;
mod producer;
mod region;
mod ring;
mod roster;
mod session;
mod sync;
#[cfg(test)]
#[path = "../tests/common/mod.rs"]
mod test_support;
mod wake;

/// The limits of the library, in bytes or in pieces as their names say.
pub mod limits {
    pub use crate::cmsg::FDS_PER_MESSAGE_MAX;
    pub use crate::frame::LANES_PER_SESSION_MAX;
    pub use crate::layout::{
        ALIGN_MAX_BYTES, ALIGN_MIN_BYTES, CAPACITY_DEFAULT_BYTES, CAPACITY_MAX_BYTES, CAPACITY_MIN_BYTES,
        LANE_NAME_MAX_BYTES, PAYLOAD_MAX_BYTES,
    };
}

pub use consumer::{Consumer, ReceiveError, Record};
pub use error::{Error, Result};
pub use fds::{Received, RecvFdsError, SendFdsError, recv_fds, send_fds};
pub use frame::Start;
pub use lane::LaneOptions;
pub use layout::GeometryError;
pub use producer::{Batch, Holder, Producer, Reservation, SendError};
pub use region::{HugePages, HugePagesOutcome, Sealed, SealedBuilder};
pub use ring::reader::Corruption;
pub use session::client::{LaneInfo, Session, SessionOptions};
pub use session::server::{Server, ServerOptions, ServerStats};
pub use session::{Address, PeerPolicy};
