//! The barriers of both kinds, in place of membarrier(2).
//!
//! A model checker knows no such call. What the kernel promises of a light and a heavy barrier together is what two
//! full fences do, so if consumers choose the asymmetric kind both are such fences. If they choose the fence, the
//! light one is nothing: the producer's own fence has to do.

use crate::sync::{Ordering, fence};
use crate::terms::Barrier;
use std::cell::Cell;

thread_local! {
    // All threads of a model run on the thread that explores it.
    static KIND: Cell<Barrier> = const { Cell::new(Barrier::Asymmetric) };
}

/// The kind that the lanes of this model offer and its consumers choose.
pub(crate) fn kind() -> Barrier {
    KIND.get()
}

/// Says which kind the next models are of.
pub(crate) fn set_kind(kind: Barrier) {
    KIND.set(kind);
}

pub(crate) fn light() {
    if kind() == Barrier::Asymmetric {
        fence(Ordering::SeqCst);
    }
}

pub(crate) fn heavy() {
    fence(Ordering::SeqCst);
}
