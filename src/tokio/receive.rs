//! The future of the next record, of a consumer or a tap.
//!
//! It is what an `async fn` would be, but its `poll` is inlined; that of an `async fn` is a function of its own. So a
//! loop that awaits each record is one function, like a thread's. Only the way of a record in view is inlined. The rest
//! is out of line, and what it finds returns through memory of its own.
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

/// One unit of a task's budget pays for this number of records in view, at most. With twice as many, the processor no
/// longer foresees where a unit ends, and a record takes longer.
const RECORDS_PER_UNIT: u64 = 32;
/// A unit pays for no more bytes of the ring than this, by the length of the records before: a task that copies long
/// ones must let others run too.
const UNIT_BYTES_MAX: u64 = 32 << 10;

/// For how many records in view a task has paid.
#[derive(Debug, Default)]
pub(super) struct Paid {
    /// How many records its endpoint may have read before one in view costs the next unit.
    until: u64,
    /// For how many the last unit paid, and where it began.
    records: u64,
    begin: u64,
}

impl Paid {
    /// Pays for the next records by a unit, after `read` records, at `position`.
    fn pay(&mut self, read: u64, position: u64) {
        let bytes = position.saturating_sub(self.begin).max(1);
        self.records = (self.records * UNIT_BYTES_MAX / bytes).clamp(1, RECORDS_PER_UNIT);
        (self.until, self.begin) = (read + self.records, position);
    }

    /// The next record in view costs a unit.
    fn end(&mut self) {
        self.until = 0;
    }
}

/// A consumer or a tap, or what stands on one.
pub(super) trait HasReader: Selectable {
    type Reader: RecordReader;

    fn reader(&mut self) -> &mut Self::Reader;
}

/// What reads one record after another: a consumer or a tap.
pub(super) trait RecordReader {
    type Error;

    /// How many records were read so far.
    fn records_read(&self) -> u64;

    /// Where the next record begins.
    fn position(&self) -> u64;

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

type ErrorOf<R> = <<R as HasReader>::Reader as RecordReader>::Error;

/// The future of a record, or of what is taken from it.
pub(super) struct Receive<'a, R: AsFd, F> {
    /// The endpoint; `None` after the outcome.
    end: Option<&'a mut Async<R>>,
    /// Makes the outcome of what was received.
    take: F,
}

impl<'a, R: AsFd, F> Receive<'a, R, F> {
    #[inline(always)]
    pub(super) fn new(end: &'a mut Async<R>, take: F) -> Self {
        Self { end: Some(end), take }
    }
}

impl<'a, R, F, T> Future for Receive<'a, R, F>
where
    R: HasReader,
    F: Fn(Result<Option<Record<'a>>, ErrorOf<R>>) -> T + Unpin,
{
    type Output = T;

    #[inline(always)]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        let end = self.end.take().expect("a future is not polled after its outcome");
        if end.endpoint.reader().records_read() >= end.paid.until && poll_records(end, cx).is_pending() {
            self.end = Some(end);
            return Poll::Pending;
        }
        if let Some(found) = end.endpoint.reader().next_in_view() {
            let received = end.endpoint.reader().record_in_view(found);
            if received.is_err() {
                // It does not count as read, and is an outcome.
                end.paid.end();
            }
            return Poll::Ready((self.take)(received.map(Some)));
        }
        self.end = Some(end);
        poll_closely(&mut self.end, cx).map(&self.take)
    }
}

/// Lets other tasks run, if this one has used up its budget; then the next records in view are paid.
#[cold]
#[inline(never)]
fn poll_records<R: HasReader>(end: &mut Async<R>, cx: &mut Context<'_>) -> Poll<()> {
    ready!(end.poll_next_run(cx));
    let reader = end.endpoint.reader();
    let (read, position) = (reader.records_read(), reader.position());
    end.paid.pay(read, position);
    Poll::Ready(())
}

/// The next record, or the end, after none was in view. Takes the endpoint once it has an outcome.
// Out of line, as on a thread: so a loop keeps nothing of a closer look but what it returns.
#[inline(never)]
fn poll_closely<'a, R: HasReader>(
    slot: &mut Option<&'a mut Async<R>>,
    cx: &mut Context<'_>,
) -> Poll<Result<Option<Record<'a>>, ErrorOf<R>>> {
    let end = slot.as_mut().expect("a future that has no outcome yet has its endpoint");
    let found = ready!(poll_find(end, cx));
    let end = slot.take().expect("it was there a moment ago");
    Poll::Ready(match found {
        Ok(Some(found)) => end.endpoint.reader().record_closely(found).map(Some),
        Ok(None) => Ok(None),
        Err(error) => Err(error),
    })
}

/// The next record, which counts as read, or the end, after none was in view.
#[inline(always)]
fn poll_find<R: HasReader>(end: &mut Async<R>, cx: &mut Context<'_>) -> Poll<Result<Option<Found>, ErrorOf<R>>> {
    ready!(end.poll_run(cx));
    if let Some(found) = end.endpoint.reader().find_soon() {
        return Poll::Ready(Ok(Some(found)));
    }
    if !end.endpoint.reader().has_news() {
        ready!(end.poll_armed(cx)).map_err(R::Reader::unarmed)?;
    }
    Poll::Ready(end.endpoint.reader().try_find())
}

impl RecordReader for Consumer {
    type Error = ReceiveError;

    #[inline(always)]
    fn records_read(&self) -> u64 {
        Consumer::records_read(self)
    }

    fn position(&self) -> u64 {
        Consumer::position(self)
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

impl RecordReader for Tap {
    type Error = TapError;

    #[inline(always)]
    fn records_read(&self) -> u64 {
        Tap::records_read(self)
    }

    fn position(&self) -> u64 {
        Tap::position(self)
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

impl HasReader for Consumer {
    type Reader = Consumer;

    #[inline(always)]
    fn reader(&mut self) -> &mut Consumer {
        self
    }
}

impl<T> HasReader for TypedConsumer<T> {
    type Reader = Consumer;

    #[inline(always)]
    fn reader(&mut self) -> &mut Consumer {
        self.untyped_mut()
    }
}

impl HasReader for Tap {
    type Reader = Tap;

    #[inline(always)]
    fn reader(&mut self) -> &mut Tap {
        self
    }
}

impl<T> HasReader for TypedTap<T> {
    type Reader = Tap;

    #[inline(always)]
    fn reader(&mut self) -> &mut Tap {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_pays_for_fewer_records_the_longer_they_are() {
        let (mut paid, mut read, mut position) = (Paid::default(), 0, 0);
        // For how many records of `size` bytes a unit pays, after one that paid for records of another length.
        let mut units = |size: u64| {
            for _ in 0..2 {
                paid.pay(read, position);
                assert_eq!(paid.until, read + paid.records);
                position += size * paid.records;
                read = paid.until;
            }
            paid.records
        };
        assert_eq!(units(72), RECORDS_PER_UNIT);
        assert_eq!(units(1 << 10), RECORDS_PER_UNIT);
        assert_eq!(units(1032), RECORDS_PER_UNIT - 1);
        assert_eq!(units(4104), 7);
        assert_eq!(units((1 << 20) + 8), 1);
        assert_eq!(units(16), RECORDS_PER_UNIT);
    }

    #[test]
    fn after_a_tap_was_lapped_in_view_the_next_record_costs_a_unit() {
        let runtime = ::tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let mut lane = crate::options::LaneOptions::new("lane").capacity(4096).create().unwrap();
        let address = format!("@lapped-in-view-{}", std::process::id());
        let _server = crate::Server::listen(&*address, [&lane]).unwrap();
        let tap = Tap::connect(&*address).unwrap();
        runtime.block_on(async move {
            let mut tap = Async::new(tap).unwrap();
            (0..3).for_each(|_| lane.send(&[0; 64]).unwrap());
            // The first one is found by a closer look, and the second in view of it.
            for _ in 0..2 {
                tap.receive().await.unwrap().unwrap();
            }
            assert_ne!(tap.paid.until, 0);
            (0..100).for_each(|_| lane.send(&[0; 64]).unwrap());
            assert!(matches!(tap.receive().await, Err(TapError::Lagged { .. })));
            assert_eq!(tap.paid.until, 0);
        });
    }
}
