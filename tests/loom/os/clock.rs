//! A clock that stands still, in place of the kernel's: no model has as many rings as a tap has before it is asked.

use std::time::Duration;

pub(crate) fn coarse_now() -> Duration {
    Duration::ZERO
}
