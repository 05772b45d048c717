//! What records are read from: a consumer, which its lane waits for, or a tap, which may miss some.

use fdring::errors::{ReceiveError, TapError};
use fdring::info::LaneInfo;
use fdring::select::Selectable;
use fdring::{Consumer, Record, Tap};
use std::os::fd::{AsFd, BorrowedFd};

#[derive(Debug)]
pub(crate) enum Source {
    Consumer(Consumer),
    Tap(Tap),
}

/// What a source has.
#[derive(Debug)]
pub(crate) enum Next<'a> {
    Record(Record<'a>),
    /// Nothing yet, or the wait was interrupted.
    Nothing,
    /// So many bytes were overwritten before they were read.
    Missed(u64),
    End(End),
}

/// How a lane ended for its reader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// Its producer finished it.
    Finished,
    /// Its producer is gone, and everything that it published was read.
    Gone(String),
    /// It goes on without this reader, which has missed so many bytes by then.
    Evicted(u64),
    /// Its producer broke the protocol, or this process cannot read on.
    Broken(String),
}

impl Source {
    pub(crate) fn lane(&self) -> &LaneInfo {
        match self {
            Self::Consumer(consumer) => consumer.lane(),
            Self::Tap(tap) => tap.lane(),
        }
    }

    /// Where the next record begins.
    pub(crate) fn position(&self) -> u64 {
        match self {
            Self::Consumer(consumer) => consumer.position(),
            Self::Tap(tap) => tap.position(),
        }
    }

    /// What is there now.
    pub(crate) fn try_next(&mut self) -> Next<'_> {
        match self {
            Self::Consumer(consumer) => of_consumer(consumer.try_receive()),
            Self::Tap(tap) => of_tap(tap.try_receive()),
        }
    }

    /// What comes next. Waits for it, unless an interrupter ends the wait.
    pub(crate) fn next(&mut self) -> Next<'_> {
        match self {
            Self::Consumer(consumer) => of_consumer(consumer.receive()),
            Self::Tap(tap) => of_tap(tap.receive()),
        }
    }
}

fn of_consumer(received: Result<Option<Record<'_>>, ReceiveError>) -> Next<'_> {
    use ReceiveError as E;
    let error = match received {
        Ok(Some(record)) => return Next::Record(record),
        Ok(None) => return Next::End(End::Finished),
        Err(error) => error,
    };
    match error {
        E::Empty | E::Interrupted | E::TimedOut => Next::Nothing,
        E::Abandoned | E::PeerDead | E::HungUp | E::Closed => Next::End(End::Gone(error.to_string())),
        E::Evicted { missed_bytes } => Next::End(End::Evicted(missed_bytes)),
        _ => Next::End(End::Broken(error.to_string())),
    }
}

fn of_tap(received: Result<Option<Record<'_>>, TapError>) -> Next<'_> {
    use TapError as E;
    let error = match received {
        Ok(Some(record)) => return Next::Record(record),
        Ok(None) => return Next::End(End::Finished),
        Err(error) => error,
    };
    match error {
        E::Empty | E::Interrupted | E::TimedOut => Next::Nothing,
        E::Lagged { missed_bytes } => Next::Missed(missed_bytes),
        E::Abandoned | E::PeerDead | E::HungUp | E::Closed => Next::End(End::Gone(error.to_string())),
        _ => Next::End(End::Broken(error.to_string())),
    }
}

impl AsFd for Source {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Consumer(consumer) => consumer.as_fd(),
            Self::Tap(tap) => tap.as_fd(),
        }
    }
}

impl Selectable for Source {
    fn arm(&mut self) -> Result<bool, ReceiveError> {
        match self {
            Self::Consumer(consumer) => consumer.arm(),
            Self::Tap(tap) => Selectable::arm(tap),
        }
    }
}
