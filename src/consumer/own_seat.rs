//! A consumer's own seat, and its reader and what holds its records, which write there.
//!
//! The invariant: the seat and the session last as long as anything is held of its consumer, which may be gone.

use super::TakeFdsError;
use super::inbox::Inbox;
use crate::link::Link;
use crate::memory::{InPlace, LaneMap, SeatMap};
use crate::os::bell::Bell;
use crate::os::fork::ForkGuard;
use crate::ring::reader::Reader;
use crate::ring::release::Release;
use crate::ring::{SeatCounters, SeatWords, SeatWriter};
use crate::sync::{AtomicU32, AtomicU64};
use rustix::fd::OwnedFd;
use std::sync::Arc;

/// The reader of a consumer.
pub(super) type LaneReader = Reader<LaneMap, OwnSeat>;
/// What holds its records.
pub(super) type LaneRelease = Release<LaneMap, OwnSeat>;

/// A consumer's own seat, with what lasts as long: a consumer that was dropped keeps its seat while a record is held.
#[derive(Debug)]
pub(super) struct OwnSeat {
    words: SeatMap,
    /// What it rings when it releases, if the lane has it.
    space_bell: Option<Bell>,
    /// Where the descriptors of records come, if they were asked for.
    inbox: Option<Inbox>,
    /// For a consumer that reads in place.
    trust: Option<InPlace>,
    guard: ForkGuard,
    /// The session ends with the seat, and after it.
    _link: Arc<Link>,
}

impl OwnSeat {
    pub(super) fn new(
        words: SeatMap,
        space_bell: Option<Bell>,
        inbox: Option<Inbox>,
        trust: Option<InPlace>,
        guard: ForkGuard,
        link: Arc<Link>,
    ) -> Self {
        Self { words, space_bell, inbox, trust, guard, _link: link }
    }

    pub(super) fn inbox(&self) -> Option<&Inbox> {
        self.inbox.as_ref()
    }

    /// For a consumer that reads in place.
    #[inline]
    pub(super) fn trust(&self) -> Option<&InPlace> {
        self.trust.as_ref()
    }

    /// The `count` descriptors of the record at `position`, once.
    pub(super) fn take_fds(&self, position: u64, count: u8) -> Result<Vec<OwnedFd>, TakeFdsError> {
        self.inbox().ok_or(TakeFdsError::NotAsked)?.take(position, count)
    }

    /// Closes descriptors of a record that are not what they should be.
    pub(super) fn refuse(&self, fds: Vec<OwnedFd>) {
        if let Some(inbox) = self.inbox() {
            inbox.refuse(fds);
        }
    }

    /// Whether many of those are still being closed.
    pub(super) fn has_refused_many(&self) -> bool {
        self.inbox().is_some_and(Inbox::has_refused_many)
    }

    #[inline]
    pub(super) fn is_forked(&self) -> bool {
        self.guard.is_child()
    }
}

impl SeatWords for OwnSeat {
    #[inline]
    fn consumed(&self) -> &AtomicU64 {
        self.words.consumed()
    }

    #[inline]
    fn space_seq(&self) -> &AtomicU32 {
        self.words.space_seq()
    }

    #[inline]
    fn read(&self) -> &AtomicU64 {
        self.words.read()
    }

    #[inline]
    fn wait_epoch(&self) -> &AtomicU32 {
        self.words.wait_epoch()
    }
}

impl SeatWriter for OwnSeat {
    #[inline(always)]
    fn store_counters(&self, counters: SeatCounters) {
        self.words.store_counters(counters);
    }

    fn ring_for_space(&self) {
        self.space_bell.iter().for_each(Bell::ring_surely);
    }
}
