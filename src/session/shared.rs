//! What a server's handle, its steward and its sessions share: the terms, and what has happened so far.

use super::PeerPolicy;
use crate::error::Result;
use crate::lane::Notice;
use crate::sync::Mutex;
use parking_lot::Condvar;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

/// Whom a server admits, and for how long it waits for them.
#[derive(Clone, Debug)]
pub(super) struct Terms {
    /// How many sessions there may be at once, handshakes included.
    pub(super) sessions_max: usize,
    /// How long a handshake may take.
    pub(super) deadline: Duration,
    pub(super) peers: PeerPolicy,
    /// Who may read in place.
    pub(super) in_place: PeerPolicy,
}

/// What a server has seen so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServerStats {
    /// Sessions that are attached now.
    pub sessions: usize,
    /// Connections accepted so far.
    pub accepted: u64,
    /// Connections that ended before they were attached.
    pub refused: u64,
    /// Consumers that lost their seat although they may still have been reading.
    pub evicted: u64,
    /// How often the server stopped accepting for a moment because this process was out of descriptors or memory.
    pub accept_pauses: u64,
    /// Why the last connection was refused or dropped, as a sentence.
    pub last_refusal: Option<String>,
}

/// What the server's handle and its thread share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) notice: Arc<Notice>,
    /// The handle was dropped.
    pub(super) closing: AtomicBool,
    pub(super) status: Mutex<Status>,
    /// Signalled when `status` changes.
    pub(super) changed: Condvar,
}

#[derive(Debug, Default)]
pub(super) struct Status {
    pub(super) stats: ServerStats,
    pub(super) stopped_listening: bool,
    /// The thread has nothing more to do and is about to end.
    pub(super) done: bool,
}

impl Shared {
    pub(super) fn new() -> Result<Self> {
        Ok(Self {
            notice: Arc::new(Notice::new()?),
            closing: AtomicBool::new(false),
            status: Mutex::new(Status::default()),
            changed: Condvar::new(),
        })
    }

    pub(super) fn update(&self, change: impl FnOnce(&mut Status)) {
        change(&mut self.status.lock());
        self.changed.notify_all();
    }

    /// A connection ended before it was attached.
    pub(super) fn note_refusal(&self, sentence: &str) {
        self.update(|status| {
            status.stats.refused += 1;
            status.stats.last_refusal = Some(sentence.to_owned());
        });
    }
}
