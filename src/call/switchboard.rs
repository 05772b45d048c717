//! What the ports of a service tell it: which of them are to be seen to.
//!
//! The invariant: a port that asks is in the list before the notice is raised, and the notice is lowered before the
//! list is looked at. So none is missed.

use crate::error::Result;
use crate::os::notice::Notice;
use crate::sync::Mutex;
use std::sync::atomic::AtomicU64;

/// What the ports of a service share with it.
#[derive(Debug)]
pub(super) struct Switchboard {
    /// Raised when a port is to be seen to.
    pub(super) notice: Notice,
    /// The ports that are to be seen to, by the numbers of their callers.
    due: Mutex<Vec<u64>>,
    /// How many callers were evicted, by whichever thread.
    pub(super) evicted: AtomicU64,
}

impl Switchboard {
    pub(super) fn new() -> Result<Self> {
        Ok(Self { notice: Notice::new()?, due: Mutex::default(), evicted: AtomicU64::new(0) })
    }

    /// The port of this caller is to be seen to.
    pub(super) fn ask_for(&self, caller: u64) {
        self.due.lock().push(caller);
        self.notice.raise();
    }

    /// The callers whose ports are to be seen to.
    pub(super) fn take_due(&self) -> Vec<u64> {
        self.notice.lower();
        std::mem::take(&mut *self.due.lock())
    }

    pub(super) fn is_quiet(&self) -> bool {
        self.due.lock().is_empty()
    }

    /// Makes the notice unreadable until the next port wants to be seen to; whether none does already. Lowered first:
    /// one that wants it later raises it later.
    pub(super) fn lower(&self) -> bool {
        self.notice.lower();
        self.is_quiet()
    }
}
