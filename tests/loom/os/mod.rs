//! What the kernel does for the protocols, in place of system calls. The library has files of the same names.

pub(crate) mod barrier;
pub(crate) mod clock;
pub(crate) mod events;
pub(crate) mod futex;
