//! The limits that callers and services have alike, unless their options say otherwise.

/// The capacity of a lane of requests, or of replies, in bytes.
pub(super) const CAPACITY_BYTES: u64 = 1 << 20;
/// The longest ring that is mapped of a peer, in bytes.
pub(super) const PEER_CAPACITY_MAX_BYTES: u64 = 64 << 20;
/// Calls in flight of one caller.
pub(super) const CALLS_MAX: usize = 1024;
/// Bytes of replies that wait to be taken, or for room.
pub(super) const STORED_MAX_BYTES: u64 = 16 << 20;
