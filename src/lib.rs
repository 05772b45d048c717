//! Zero-copy shared-memory IPC for Linux.

pub mod cmsg;
mod error;
mod fds;
mod frame;
mod handshake;
mod layout;
mod region;
mod sync;
#[cfg(test)]
#[path = "../tests/common/mod.rs"]
mod test_support;

pub use error::{Error, Result};
pub use fds::{Received, RecvFdsError, SendFdsError, recv_fds, send_fds};
pub use layout::GeometryError;
pub use region::{HugePages, HugePagesOutcome, Sealed, SealedBuilder};
