//! Zero-copy shared-memory IPC for Linux: one process writes records into a ring that it owns, any number of others
//! read them in place.
//!
//! A [`Producer`] makes a *lane*: a ring in sealed memory that nobody else can ever write. A [`Server`] offers it at an
//! [`Address`]. A process that opens a [`Session`] there receives the descriptors, several in one message, and gets a
//! [`Consumer`].
//!
//! ```
//! use fdring::{LaneOptions, Producer, Server, Session};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut ticks = Producer::create(LaneOptions::new("ticks"))?;
//! let server = Server::listen("@doc-front-page", &[&ticks])?;
//!
//! // Usually in another process:
//! let mut consumer = Session::connect("@doc-front-page", Default::default())?.attach_one()?;
//!
//! let mut record = ticks.reserve(5)?; // room in the ring itself
//! record.copy_from_slice(b"hello");
//! record.commit();
//! ticks.finish();
//!
//! while let Some(record) = consumer.receive()? {
//!     assert_eq!(&record[..], b"hello");
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # What it does
//!
//! - Records of any length, with a 16-bit tag, aligned as asked, in order, to every consumer that has joined. The lane
//!   waits for the slowest; with none it never waits.
//! - Waiting, trying and timeouts, on both ends: spin first, then sleep in the kernel. A consumer also fits into an
//!   event loop ([`Consumer::arm`]).
//! - Distinct endings: finished, abandoned, dead, closed. A crash loses nothing that was published and leaves nothing
//!   to clean up: at most two file names, which the next [`Server`] at that path reuses.
//! - Hostile peers are survived: what a peer writes or sends can end its session, and nothing else.
//! - Arrays of descriptors, [`send_fds`] and [`recv_fds`], and immutable regions, [`Sealed`], are useful alone.
//!
//! # What it does not do
//!
//! It is no network transport and no store: a lane ends with its producer. It does not protect a process from others
//! of the same user, which can trace it anyway. A producer, a consumer or a server belongs to the process that made it:
//! in a forked child every operation is an error, and every drop harmless. Only the bytes of a [`Reservation`], or of a
//! [`Record`] read in place, must not be touched there, and nothing checks that: the ring is not mapped in the child,
//! and something else may be. That is the responsibility of the code that calls `fork`, which is unsafe. A closure that
//! is called for records in the ring must not return in a child.
//!
//! # In place or copied
//!
//! Rust gives `&[u8]` no meaning over bytes that another process may change. So [`Session::attach`] gives consumers
//! that copy each payload out and check everything; and [`Session::attach_in_place`] is `unsafe`: the caller promises,
//! once, that the producer follows the protocol.

pub mod cmsg;
mod consumer;
mod crash;
mod deadline;
mod error;
mod fds;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
mod handshake;
mod lane;
mod layout;
mod link;
mod memory;
mod os;
mod producer;
mod region;
mod ring;
// Here, since the models compile the folder `ring` without them.
#[cfg(test)]
#[path = "ring/tests/mod.rs"]
mod ring_tests;
mod session;
mod sync;
mod terms;
#[cfg(test)]
#[path = "../tests/common/mod.rs"]
mod test_support;
mod wire;

/// The limits of the library, in bytes or in pieces as their names say.
pub mod limits {
    pub use crate::cmsg::FDS_PER_MESSAGE_MAX;
    pub use crate::layout::{
        ALIGN_MAX_BYTES, ALIGN_MIN_BYTES, CAPACITY_DEFAULT_BYTES, CAPACITY_MAX_BYTES, CAPACITY_MIN_BYTES,
        LANE_NAME_MAX_BYTES, PAYLOAD_MAX_BYTES,
    };
    pub use crate::wire::LANES_PER_SESSION_MAX;
}

pub use consumer::{Consumer, ReceiveError, Record};
#[cfg(feature = "crash-points")]
#[doc(hidden)]
pub use crash::reach as reach_crash_point;
pub use error::{Error, Result};
pub use fds::{Received, RecvFdsError, SendFdsError, recv_fds, send_fds};
pub use lane::LaneOptions;
pub use layout::GeometryError;
pub use producer::{Batch, Producer, Reservation, ReservationWriter, SendError, SlowConsumer};
pub use region::{HugePages, HugePagesOutcome, Sealed, SealedBuilder};
pub use ring::stop::Corruption;
pub use session::client::{LaneInfo, Session, SessionOptions};
pub use session::server::{Server, ServerOptions};
pub use session::shared::ServerStats;
pub use session::{Address, PeerPolicy};
pub use terms::Start;

/// The examples of the README are tests too.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
