//! The requests of one caller that its service has taken in, as a machine without memory and clocks.
//!
//! The invariant: a number is taken in once. A caller that uses one again, or goes back, has broken the protocol.

use super::numbered::Numbered;
use super::prefix::{Kind, Prefix};
use std::fmt;

/// What a service knows of the requests of one caller. `C` is told when a request is cancelled.
#[derive(Debug)]
pub(crate) struct Intake<C> {
    /// The number of the last request.
    last_id: u64,
    /// Those that are not answered.
    open: Numbered<C>,
    open_max: usize,
}

/// What a record of a caller's is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Taken<'a, C> {
    /// A request, to be [opened](Intake::open) or forgotten.
    Request,
    /// A request that nobody waits for any more.
    Expired,
    /// The caller waits for this one no longer.
    Cancelled(&'a mut C),
    /// The caller waits no longer for one that is answered.
    Late,
}

/// A request with a number that is not higher than the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NumberFault {
    came: u64,
    last: u64,
}

impl fmt::Display for NumberFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a request has the number {} after one with {}", self.came, self.last)
    }
}

impl<C> Intake<C> {
    pub(crate) fn new(open_max: usize) -> Self {
        Self { last_id: 0, open: Numbered::default(), open_max: open_max.max(1) }
    }

    /// Whether no more are to be taken in before one is answered.
    pub(crate) fn is_full(&self) -> bool {
        self.open.len() >= self.open_max
    }

    /// Takes a record of the caller's. `has_come` says whether its deadline has.
    pub(crate) fn take(
        &mut self,
        prefix: &Prefix,
        has_come: impl FnOnce(u64) -> bool,
    ) -> Result<Taken<'_, C>, NumberFault> {
        let Prefix { id, deadline_ns, kind } = *prefix;
        if kind == Kind::Cancellation {
            return Ok(self.open.get_mut(id).map_or(Taken::Late, Taken::Cancelled));
        }
        if id <= self.last_id {
            return Err(NumberFault { came: id, last: self.last_id });
        }
        self.last_id = id;
        Ok(if deadline_ns != 0 && has_come(deadline_ns) { Taken::Expired } else { Taken::Request })
    }

    /// A request that was taken is worked on.
    pub(crate) fn open(&mut self, id: u64, told: C) {
        self.open.push(id, told);
    }

    /// It is answered; what was told of it, if it was open.
    pub(crate) fn close(&mut self, id: u64) -> Option<C> {
        self.open.remove(id)
    }

    /// How many are not answered.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) fn open_count(&self) -> usize {
        self.open.len()
    }
}
