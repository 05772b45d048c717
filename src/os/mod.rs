//! What the kernel does for the protocols: sleeping and waking, telling forks and deaths apart, closing descriptors.
//!
//! Each file holds one facility. The models in `tests/loom` bring their own [`barrier`] and [`futex`].

pub(crate) mod barrier;
pub(crate) mod bell;
pub(crate) mod cgroup;
pub(crate) mod clock;
pub(crate) mod closing;
pub(crate) mod fd_sender;
pub(crate) mod fork;
pub(crate) mod futex;
pub(crate) mod interrupt;
pub(crate) mod notice;
pub(crate) mod peer;
pub(crate) mod poller;
pub(crate) mod spin;
pub(crate) mod thread;
pub(crate) mod timer;
pub(crate) mod vain;

#[cfg(test)]
mod tests;
