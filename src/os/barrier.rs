//! A barrier of which one side pays for both: membarrier(2).
//!
//! The thread that sleeps and the one that wakes it each store one word and then load the other's, and neither load may
//! overtake the store before it. A sequentially consistent fence on both sides sees to that, and costs a producer tens
//! of nanoseconds at each publication. Sleeping is rare, so if the kernel can (Linux 4.16), the sleeper calls
//! [`heavy`]: it returns once every running thread of every registered process has passed a full fence. The other side,
//! whose process is registered, then needs nothing but program order: [`light`].
//!
//! It has a gap (Linux 6.18 still; docs/membarrier.md has the story). The kernel may skip a processor if the last
//! thread there ended, or idled when the process registered, and only threads of the same process, or the kernel's, ran
//! there since. So a sleeper that relies on [`heavy`] looks a second time, see
//! [`SECOND_LOOK`](crate::ring::sleep::SECOND_LOOK). Within a process there is [`heavy_within`], which has no such gap.
//!
//! What this file does not do: it does not know who sleeps. Both sides agree on the kind of barrier when they attach.

use rustix::thread::{MembarrierCommand, membarrier, membarrier_query};

/// Registers this process as one whose threads [`heavy`] reaches, for as long as it lives; whether the kernel does so.
/// To register again does nothing.
pub(crate) fn register() -> bool {
    can_call() && membarrier(MembarrierCommand::RegisterGlobalExpedited).is_ok()
}

/// Whether this process may call [`heavy`], as far as the kernel tells.
pub(crate) fn can_call() -> bool {
    membarrier_query().contains_command(MembarrierCommand::GlobalExpedited)
}

/// Between a store and a load of the registered side: the compiler keeps their order, and [`heavy`], called on the
/// other side, makes the processor keep it.
#[inline(always)]
pub(crate) fn light() {
    core::sync::atomic::compiler_fence(core::sync::atomic::Ordering::SeqCst);
}

/// Between a store and a load of the side that pays: a full fence here, and on every running thread of the registered
/// processes before it returns, but for the gap that this file begins with. If a filter forbids the call (seccomp(2)),
/// only the fence here is left: a gap like that one.
pub(crate) fn heavy() {
    if membarrier(MembarrierCommand::GlobalExpedited).is_err() {
        core::sync::atomic::fence(core::sync::atomic::Ordering::SeqCst);
    }
}

/// Like [`heavy`], for the threads of this process alone, and without a gap. Whether the kernel did it.
#[must_use = "without the barrier the other side's store may be missed"]
pub(crate) fn heavy_within() -> bool {
    let barrier = || membarrier(MembarrierCommand::PrivateExpedited).is_ok();
    // To register takes a grace period of the kernel's, some 10 ms, and few processes ever come here.
    barrier() || membarrier(MembarrierCommand::RegisterPrivateExpedited).is_ok() && barrier()
}

#[cfg(test)]
mod tests;
