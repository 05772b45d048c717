//! The requests of one caller that its service has taken in, as a machine without memory and clocks.
//!
//! The invariant: a number is taken in once. A caller that uses one again, or goes back, has broken the protocol.

use super::numbered::Numbered;
use std::fmt;

/// What a service knows of the requests of one caller. `C` is told of each that is open.
#[derive(Debug)]
pub(crate) struct Intake<C> {
    /// The number of the last request.
    last_id: u64,
    /// Those that are not answered.
    open: Numbered<C>,
    open_max: usize,
}

/// What a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// Open from now on.
    Open,
    /// Nobody waits for it any more.
    Expired,
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

    /// Takes a request. `has_come` says whether its deadline has.
    #[inline]
    pub(crate) fn take(
        &mut self,
        id: u64,
        deadline_ns: u64,
        has_come: impl FnOnce(u64) -> bool,
    ) -> Result<Taken, NumberFault>
    where
        C: Default,
    {
        if id <= self.last_id {
            return Err(NumberFault { came: id, last: self.last_id });
        }
        self.last_id = id;
        if deadline_ns != 0 && has_come(deadline_ns) {
            return Ok(Taken::Expired);
        }
        self.open.push(id, C::default());
        Ok(Taken::Open)
    }

    /// What is told of a request, if it is open.
    pub(crate) fn get_mut(&mut self, id: u64) -> Option<&mut C> {
        self.open.get_mut(id)
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
