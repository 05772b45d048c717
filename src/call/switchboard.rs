//! What the ports of a service tell it: which of them need attention.
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
    /// Raised when a port needs attention.
    pub(super) notice: Notice,
    /// The ports that need attention, by the numbers of their callers.
    due: Mutex<Vec<u64>>,
    /// How many callers were evicted, by whichever thread.
    pub(super) evicted: AtomicU64,
}

impl Switchboard {
    pub(super) fn new() -> Result<Self> {
        Ok(Self { notice: Notice::new()?, due: Mutex::default(), evicted: AtomicU64::new(0) })
    }

    /// The port of this caller needs attention.
    pub(super) fn ask_for(&self, caller: u64) {
        self.due.lock().push(caller);
        self.notice.raise();
    }

    /// The callers whose ports need attention.
    pub(super) fn take_due(&self) -> Vec<u64> {
        self.notice.lower();
        std::mem::take(&mut *self.due.lock())
    }

    pub(super) fn is_quiet(&self) -> bool {
        self.due.lock().is_empty()
    }

    /// Makes the notice unreadable until the next port needs attention; whether none does already. Lowered first: a
    /// port that needs it later raises it later.
    pub(super) fn lower(&self) -> bool {
        self.notice.lower();
        self.is_quiet()
    }
}
