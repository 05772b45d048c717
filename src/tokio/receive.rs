//! The future of the next record, of a consumer or a tap.
//!
//! It is what an `async fn` would be, but its `poll` is inlined; that of an `async fn` is a function of its own. So a
//! loop that awaits each record is one function, like a thread's. All but records in view is out of line, and what it
//! brings does not share its place in memory with them.
//!
//! The invariant: a future that is dropped before it has an outcome has taken nothing.

use super::Async;
use crate::consumer::{Consumer, ReceiveError, Record, Tap, TapError};
use crate::ring::cursor::Found;
use crate::select::Selectable;
use crate::typed::{TypedConsumer, TypedTap};
use std::os::fd::AsFd;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// This number of records in view costs one unit of a task's budget. With twice as many a processor foresees the last
/// one no longer, and a record takes longer.
const RECORDS_IN_VIEW: u64 = 32;

/// A consumer or a tap, or what stands on one.
pub(super) trait Reads: Selectable {
    type Reading: Reading;

    fn reading(&mut self) -> &mut Self::Reading;
}

/// What reads one record after another: a consumer or a tap.
pub(super) trait Reading {
    type Error;

    /// How many records were read so far.
    fn records_read(&mut self) -> u64;

    /// The next record, if it is in view.
    fn next_in_view(&mut self) -> Option<Found>;

    /// Hands out what `next_in_view` has found.
    fn record_in_view(&mut self, found: Found) -> Result<Record<'_>, Self::Error>;

    /// The next record, after none was in view, if it can be found sooner than [`has_news`](Self::has_news) tells.
    fn find_soon(&mut self) -> Option<Found>;

    /// Whether [`try_find`](Self::try_find) has something to say; `false` is not final.
    fn has_news(&mut self) -> bool;

    /// The next record, or the end, once there is one of them.
    fn try_find(&mut self) -> Result<Option<Found>, Self::Error>;

    /// Hands out what a closer look has found.
    fn record_closely(&mut self, found: Found) -> Result<Record<'_>, Self::Error>;

    /// Why it could not be armed.
    fn unarmed(error: ReceiveError) -> Self::Error;
}

type ErrorOf<R> = <<R as Reads>::Reading as Reading>::Error;

/// The future of a record, or of what is taken from it.
pub(super) struct Receive<'a, R: AsFd, F> {
    /// `None` after the outcome.
    reader: Option<&'a mut Async<R>>,
    /// Makes the outcome of what was received.
    take: F,
}

impl<'a, R: AsFd, F> Receive<'a, R, F> {
    #[inline(always)]
    pub(super) fn new(reader: &'a mut Async<R>, take: F) -> Self {
        Self { reader: Some(reader), take }
    }
}

impl<'a, R, F, T> Future for Receive<'a, R, F>
where
    R: Reads,
    F: Fn(Result<Option<Record<'a>>, ErrorOf<R>>) -> T + Unpin,
{
    type Output = T;

    #[inline(always)]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        let reader = self.reader.take().expect("a future is not polled after its outcome");
        if reader.endpoint.reading().records_read() >= reader.records_paid && poll_records(reader, cx).is_pending() {
            self.reader = Some(reader);
            return Poll::Pending;
        }
        if let Some(found) = reader.endpoint.reading().next_in_view() {
            let received = reader.endpoint.reading().record_in_view(found);
            if received.is_err() {
                // It does not count as read, and is an outcome.
                reader.records_paid = 0;
            }
            return Poll::Ready((self.take)(received.map(Some)));
        }
        self.reader = Some(reader);
        poll_closely(&mut self.reader, cx).map(&self.take)
    }
}

/// Lets other tasks run, if this one has used up its budget; then the next records in view are paid.
#[cold]
#[inline(never)]
fn poll_records<R: Reads>(reader: &mut Async<R>, cx: &mut Context<'_>) -> Poll<()> {
    ready!(reader.poll_next_run(cx));
    reader.records_paid = reader.endpoint.reading().records_read() + RECORDS_IN_VIEW;
    Poll::Ready(())
}

/// The next record, or the end, after none was in view. Takes the reader once it has an outcome.
// Out of line, as on a thread: so a loop keeps nothing of a closer look but what it returns.
#[inline(never)]
fn poll_closely<'a, R: Reads>(
    slot: &mut Option<&'a mut Async<R>>,
    cx: &mut Context<'_>,
) -> Poll<Result<Option<Record<'a>>, ErrorOf<R>>> {
    let reader = slot.as_mut().expect("a future that has no outcome yet has its reader");
    let found = ready!(poll_find(reader, cx));
    let reader = slot.take().expect("it was there a moment ago");
    Poll::Ready(match found {
        Ok(Some(found)) => reader.endpoint.reading().record_closely(found).map(Some),
        Ok(None) => Ok(None),
        Err(error) => Err(error),
    })
}

/// The next record, which counts as read, or the end, after none was in view.
#[inline(always)]
fn poll_find<R: Reads>(reader: &mut Async<R>, cx: &mut Context<'_>) -> Poll<Result<Option<Found>, ErrorOf<R>>> {
    ready!(reader.poll_run(cx));
    if let Some(found) = reader.endpoint.reading().find_soon() {
        return Poll::Ready(Ok(Some(found)));
    }
    if !reader.endpoint.reading().has_news() {
        ready!(reader.poll_armed(cx)).map_err(R::Reading::unarmed)?;
    }
    Poll::Ready(reader.endpoint.reading().try_find())
}

impl Reading for Consumer {
    type Error = ReceiveError;

    #[inline(always)]
    fn records_read(&mut self) -> u64 {
        Consumer::records_read(self)
    }

    #[inline(always)]
    fn next_in_view(&mut self) -> Option<Found> {
        Consumer::next_in_view(self)
    }

    #[inline(always)]
    fn record_in_view(&mut self, found: Found) -> Result<Record<'_>, ReceiveError> {
        self.record(found)
    }

    #[inline(always)]
    fn find_soon(&mut self) -> Option<Found> {
        Consumer::find_soon(self)
    }

    #[inline(always)]
    fn has_news(&mut self) -> bool {
        Consumer::has_news(self)
    }

    #[inline(always)]
    fn try_find(&mut self) -> Result<Option<Found>, ReceiveError> {
        Consumer::try_find(self)
    }

    #[inline(always)]
    fn record_closely(&mut self, found: Found) -> Result<Record<'_>, ReceiveError> {
        self.record(found)
    }

    fn unarmed(error: ReceiveError) -> ReceiveError {
        error
    }
}

impl Reading for Tap {
    type Error = TapError;

    #[inline(always)]
    fn records_read(&mut self) -> u64 {
        Tap::records_read(self)
    }

    #[inline(always)]
    fn next_in_view(&mut self) -> Option<Found> {
        Tap::next_in_view(self)
    }

    #[inline(always)]
    fn record_in_view(&mut self, found: Found) -> Result<Record<'_>, TapError> {
        Tap::record_in_view(self, found)
    }

    #[inline(always)]
    fn find_soon(&mut self) -> Option<Found> {
        None
    }

    #[inline(always)]
    fn has_news(&mut self) -> bool {
        Tap::has_news(self)
    }

    #[inline(always)]
    fn try_find(&mut self) -> Result<Option<Found>, TapError> {
        Tap::try_find(self).map_err(not_empty)
    }

    #[inline(always)]
    fn record_closely(&mut self, found: Found) -> Result<Record<'_>, TapError> {
        Tap::record_closely(self, found)
    }

    fn unarmed(error: ReceiveError) -> TapError {
        tap_error(error)
    }
}

impl Reads for Consumer {
    type Reading = Consumer;

    #[inline(always)]
    fn reading(&mut self) -> &mut Consumer {
        self
    }
}

impl<T> Reads for TypedConsumer<T> {
    type Reading = Consumer;

    #[inline(always)]
    fn reading(&mut self) -> &mut Consumer {
        self.untyped_mut()
    }
}

impl Reads for Tap {
    type Reading = Tap;

    #[inline(always)]
    fn reading(&mut self) -> &mut Tap {
        self
    }
}

impl<T> Reads for TypedTap<T> {
    type Reading = Tap;

    #[inline(always)]
    fn reading(&mut self) -> &mut Tap {
        self.untyped_mut()
    }
}

/// A tap found nothing after it had seen that something is there: only a producer that breaks the protocol does that.
pub(super) fn not_empty(error: TapError) -> TapError {
    match error {
        TapError::Empty => TapError::Lagged { missed_bytes: 0 },
        error => error,
    }
}

/// Why a tap could not be armed.
pub(super) fn tap_error(error: ReceiveError) -> TapError {
    match error {
        ReceiveError::Wait(errno) => TapError::Wait(errno),
        ReceiveError::Interrupted => TapError::Interrupted,
        _ => TapError::Forked,
    }
}
