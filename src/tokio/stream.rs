//! Records to keep, as a stream.

use super::Async;
use super::receive::tap_error;
use crate::consumer::{Consumer, OwnedRecord, ReceiveError, Tap, TapError};
use futures_core::Stream;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// The records to the end of the lane, as [`Record::into_owned`](crate::Record::into_owned) makes them: held in the
/// ring, or copied. An error is the last item.
impl Stream for Async<Consumer> {
    type Item = Result<OwnedRecord, ReceiveError>;

    #[inline]
    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if this.is_over {
            return Poll::Ready(None);
        }
        // The usual outcome is made where it goes: each move of one that was just written waits for its stores.
        let ready = ready!(this.poll_ready(cx, Consumer::has_news_soon));
        let last = match ready.and_then(|()| this.endpoint.try_receive()) {
            Ok(Some(record)) => return Poll::Ready(Some(Ok(record.into_owned()))),
            Ok(None) => None,
            Err(error) => Some(Err(error)),
        };
        this.is_over = true;
        Poll::Ready(last)
    }
}

/// The records to the end of the lane that it is in time for, copied. [`TapError::Lagged`] says that some were missed,
/// and that the next item is a later record; any other error is the last item.
impl Stream for Async<Tap> {
    type Item = Result<OwnedRecord, TapError>;

    #[inline]
    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if this.is_over {
            return Poll::Ready(None);
        }
        let ready = ready!(this.poll_ready(cx, Tap::has_news)).map_err(tap_error);
        let last = match ready.and_then(|()| this.endpoint.try_receive()) {
            Ok(Some(record)) => return Poll::Ready(Some(Ok(record.into_owned()))),
            Err(lagged @ TapError::Lagged { .. }) => return Poll::Ready(Some(Err(lagged))),
            Ok(None) => None,
            Err(error) => Some(Err(error)),
        };
        this.is_over = true;
        Poll::Ready(last)
    }
}
