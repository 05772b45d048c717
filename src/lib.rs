//! Zero-copy shared-memory IPC for Linux. One process writes records into a ring that it owns; any number of others
//! read them, in place or as copies: publish and subscribe, broadcast, fan-out, one producer and many consumers (SPMC),
//! at memory speed. Processes that copy need not trust each other.
//!
//! A [`Producer`] creates a *lane*: a ring in sealed memory that no other process can ever write to. A [`Server`]
//! offers it at an [`Address`](options::Address). A process that connects there receives the lane's descriptors, all in
//! one message, and gets a [`Consumer`].
//!
//! ```
//! use fdring::{Consumer, Producer, Server};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut ticks = Producer::create("ticks")?;
//! let server = Server::listen("@doc-front-page", [&ticks])?;
//!
//! // Usually in another process:
//! let mut consumer = Consumer::connect("@doc-front-page")?;
//!
//! ticks.fill(5, |bytes| bytes.copy_from_slice(b"hello"))?; // in the ring itself
//! ticks.finish();
//!
//! while let Some(record) = consumer.receive()? {
//!     assert_eq!(&record[..], b"hello");
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # Which type do I want?
//!
//! | to | use |
//! | --- | --- |
//! | write records | [`Producer`], made by [`Producer::create`] or [`LaneOptions`](options::LaneOptions) |
//! | write a record of known length in place | [`Producer::fill`] |
//! | write a record in place, in steps or through [`std::io::Write`] | [`Producer::reserve`] |
//! | publish many records at once | [`Producer::batch`] |
//! | let others read | [`Server::listen`], or [`ServerOptions`](options::ServerOptions) for other users and limits |
//! | send to a consumer that listens | [`Producer::connect`] |
//! | listen, as a consumer, for producers that connect, and read all of them | [`collect::Collector`] |
//! | the same, session by session | [`SessionListener`](collect::SessionListener) |
//! | share work among processes that come, go and die | [`distribute::Distributor`], [`distribute::Worker`] |
//! | ask another process and get replies | [`call::Caller`], [`call::Service`]; for values, [`call::TypedCaller`] |
//! | read the one lane of a server | [`Consumer::connect`] |
//! | watch without holding the lane back, or see the newest record only | [`Tap::connect`], [`Session::tap`] |
//! | read several lanes, from the oldest record, or in place | [`Session::connect`], [`Attach`] |
//! | wait for a server that has not started | [`SessionOptions::patience`](options::SessionOptions::patience) |
//! | evict slow consumers, or fail because of them | [`options::SlowConsumer`], [`Producer::evict`] |
//! | wait for consumers, and let a successor resume | [`options::NoConsumer`] |
//! | read on when a producer goes and comes back | [`Feed`](feed::Feed) |
//! | start again where a consumer stopped | [`Start::At`](options::Start::At) |
//! | read a busy lane as fast as possible | [`Consumer::receive_many`] |
//! | wait for many consumers, and for other descriptors | [`Selector`](select::Selector) |
//! | wait in poll, epoll or an event loop | [`Consumer::arm`]; for room, [`Producer::arm`] |
//! | receive, send, call and answer in tasks of tokio | `tokio::Async`, with the feature `tokio` |
//! | know when a record was sent, and how long it took | [`LaneOptions::stamped`](options::LaneOptions::stamped) |
//! | end waits from a signal handler or another thread | [`Interrupter`] |
//! | see every lane of this user's processes, and tap any | [`inspect`] |
//! | send and receive values of a Rust type | [`typed`] |
//! | ask who reads a lane, and how far behind | [`Producer::consumers`], [`Consumer::query`], [`Tap::query`] |
//! | count records, waits for room, joins and deaths | [`Producer::stats`], [`Consumer::stats`], [`Server::stats`] |
//! | pass descriptors without a ring | [`send_fds`], [`recv_fds`]; with names, [`fds::send_named`] |
//! | pass immutable bytes without a ring | [`Sealed`]; several buffers at once, [`parcel`] |
//!
//! # What it does
//!
//! - Records of any length up to half of the ring, with a 16-bit tag and the alignment of your choice, go in order to
//!   every consumer that has joined. By default the lane waits for the slowest consumer; without consumers, it never
//!   waits. [`SlowConsumer`](options::SlowConsumer) and [`NoConsumer`](options::NoConsumer) change that.
//! - The calls that reserve, send and receive come in four forms. The plain form waits until it is done, `try_…` never
//!   waits, `…_timeout` gives up after a `Duration`, and `…_deadline` at an `Instant` that several calls can share.
//!   Calls to a service, and calls such as [`Producer::wait_for_consumers`], always take a timeout; `connect` has one
//!   among its options. The few that lack a form say what to do instead. Waiting spins first, then sleeps in the
//!   kernel.
//! - A consumer learns how its lane ended: finished, abandoned, producer dead, session closed, or seat taken away. A
//!   crash loses nothing that was published. It leaves at most two file names, which the next [`Server`] at that path
//!   reuses.
//! - A hostile peer can end its own session. A hostile consumer can also stall its lane: the `…_timeout` calls then
//!   name its process.
//!
//! # What it does not do
//!
//! It is not a network transport and not a store: a lane ends with its producer. It does not protect a process from
//! other processes of the same user: they can trace it anyway.
//!
//! Producers, consumers and servers belong to the process that created them. In a forked child every operation returns
//! an error, and every drop is harmless. The child must not touch the bytes of a [`Reservation`](parts::Reservation),
//! or of a [`Record`] read in place: the ring is not mapped there, and other memory may be mapped instead. Only
//! [`OwnedRecord`] checks this, and panics; otherwise it is the responsibility of the code that calls `fork`, which is
//! unsafe. A closure that is called with records in the ring must not return in a forked child.
//!
//! # In place or copied
//!
//! Rust does not define what happens when another process changes the bytes behind a `&[u8]`. By default, consumers
//! therefore copy each payload out and check everything. [`Attach::in_place`] reads in the ring itself, and is
//! `unsafe`: the caller promises, once for each lane, that the producer follows the protocol.
//!
//! # Features
//!
//! None is on by default.
//!
//! | feature | adds |
//! | --- | --- |
//! | `tokio` | the module `tokio`: every endpoint that waits, in tasks |
//! | `tracing` | events of the crate of that name (`docs/tracing.md`) for what happens to sessions and lanes |
//! | `arbitrary` | `Arbitrary` of the crate of that name for [`cmsg::RawMessage`] and [`cmsg::Credentials`] |
//! | `fuzzing` | the module `fdring::fuzzing`: the fuzz targets as functions, and with them the parser of frames |
//! | `crash-points` | points at which this project's own tests let a process die |
//!
//! Semantic versioning does not cover what the last two add. `docs/fuzzing.md` describes the targets, and a kit to fuzz
//! other parsers of control messages with.
//!
//! # Glossary
//!
//! | word | meaning |
//! | --- | --- |
//! | lane | a ring with one producer and any number of consumers |
//! | record | a payload of bytes with a 16-bit tag: what is published and received |
//! | position | a place in the stream: bytes since the lane was created, headers and padding included |
//! | published | visible to consumers, up to a position |
//! | read, released | *read*: a consumer has passed a record. *Released*: the producer may overwrite it |
//! | hold | a record kept in the ring after later ones were read: until it is dropped, no later one is released |
//! | seat | the small region in which one consumer says what it has released and whether it sleeps |
//! | session | one connection between a consumer and a producer, for one or several lanes; either may have listened |
//! | bell | what a producer rings to wake a consumer; a *space bell* wakes a producer |
//! | tap | a lossy reader: it never holds the lane back, and counts what it missed |
//! | lossless | getting every record, because the producer waits for the reader. All consumers are lossless |
//! | evict | to take the seat of a consumer away while it lives |
//! | feed | a consumer that outlives its producers: it connects again, and says so |
//! | steward | the thread that serves the sessions of an end that listens, or of a producer that has connected |
//! | parcel | buffers in sealed memory that go from process to process, and outlive every ring |
//! | place | the position that a lane keeps for a consumer that has gone, until another one resumes there |

#[cfg(feature = "arbitrary")]
mod arbitrary;
pub mod call;
pub mod cmsg;
pub mod collect;
mod consumer;
mod crash;
mod deadline;
pub mod distribute;
mod error;
pub mod fds;
pub mod feed;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
mod handshake;
pub mod inspect;
mod kind;
mod lane;
mod layout;
mod link;
mod memory;
mod os;
pub mod parcel;
mod parcels_on_lanes;
mod policies;
mod producer;
mod region;
mod ring;
// Here, since the models compile the folder `ring` without them.
#[cfg(test)]
#[path = "ring/tests/mod.rs"]
mod ring_tests;
pub mod select;
mod session;
mod stores;
mod sync;
mod terms;
#[cfg(test)]
#[path = "../tests/common/mod.rs"]
mod test_support;
#[cfg(feature = "tokio")]
pub mod tokio;
mod trace;
pub mod typed;
mod wire;

/// The limits of the library. Those whose names end in `_BYTES` are in bytes; the others are counts.
pub mod limits {
    pub use crate::cmsg::FDS_PER_MESSAGE_MAX;
    pub use crate::layout::{
        ALIGN_MAX_BYTES, ALIGN_MIN_BYTES, CAPACITY_DEFAULT_BYTES, CAPACITY_MAX_BYTES, CAPACITY_MIN_BYTES,
        LANE_NAME_MAX_BYTES, PAYLOAD_MAX_BYTES,
    };
    pub use crate::wire::LANES_PER_SESSION_MAX;
}

/// Options for lanes, servers and sessions, the choices in them, and addresses.
pub mod options {
    pub use crate::lane::LaneOptions;
    pub use crate::policies::{NoConsumer, SlowConsumer};
    pub use crate::producer::Records;
    pub use crate::region::HugePages;
    pub use crate::session::options::SessionOptions;
    pub use crate::session::server::ServerOptions;
    pub use crate::session::session_listener::SessionListenerOptions;
    pub use crate::session::{Address, PeerPolicy};
    pub use crate::stores::Stores;
    pub use crate::terms::Start;
}

/// The errors returned when sending and receiving, and types used in [`Error`], which is returned during setup.
pub mod errors {
    pub use crate::consumer::{ReceiveError, TakeFdsError, TapError, Verdict};
    pub use crate::kind::ErrorKind;
    pub use crate::layout::GeometryError;
    pub use crate::producer::SendError;
    pub use crate::ring::stop::Corruption;
    pub use crate::terms::Refusal;
}

/// Facts about lanes, consumers and huge pages, the times of records, and the statistics of both ends.
pub mod info {
    pub use crate::consumer::{ConsumerStats, LaneReport, ReaderKind, ReaderReport, TapStats};
    pub use crate::lane::{ConsumerInfo, LaneInfo};
    pub use crate::os::clock::MonotonicTime;
    pub use crate::producer::ProducerStats;
    pub use crate::region::HugePagesOutcome;
    pub use crate::session::shared::ServerStats;
    pub use crate::session::stats::SessionStats;
}

/// Types that methods return, and that programs seldom name.
pub mod parts {
    pub use crate::parcels_on_lanes::RecordBytes;
    pub use crate::producer::{AttachedReservation, Batch, Reservation, ReservationWriter, Slot, Window};
    pub use crate::region::SealedBytes;
}

pub use consumer::{Consumer, OwnedRecord, Record, Tap};
#[cfg(feature = "crash-points")]
#[doc(hidden)]
pub use crash::reach as reach_crash_point;
pub use error::{Error, Result};
pub use fds::{recv_fds, send_fds};
pub use os::interrupt::Interrupter;
pub use producer::Producer;
pub use region::Sealed;
pub use session::attach::Attach;
pub use session::client::Session;
pub use session::server::Server;

/// The examples of the README are tests too.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

/// And those of the page on pipelines.
#[cfg(doctest)]
#[doc = include_str!("../docs/patterns.md")]
struct Patterns;
