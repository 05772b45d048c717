//! Records to keep, as a stream.

use super::Async;
use super::read::tap_error;
use crate::consumer::{Consumer, OwnedRecord, ReceiveError, Tap, TapError};
use futures_core::Stream;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// The records to the end of the lane, as [`Record::into_owned`](crate::Record::into_owned) makes them: held in the
/// ring, or copied. An error is the last item.
impl Stream for Async<Consumer> {
    type Item = Result<OwnedRecord, ReceiveError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if this.is_over {
            return Poll::Ready(None);
        }
        let received = match ready!(this.poll_ready(cx, Consumer::has_news)) {
            Ok(()) => this.endpoint.try_receive(),
            Err(error) => Err(error),
        };
        let item = received.map(|record| record.map(|record| record.into_owned())).transpose();
        this.is_over = !matches!(item, Some(Ok(_)));
        Poll::Ready(item)
    }
}

/// The records to the end of the lane that it is in time for, copied. [`TapError::Lagged`] says that some were missed,
/// and that the next item is a later record; any other error is the last item.
impl Stream for Async<Tap> {
    type Item = Result<OwnedRecord, TapError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if this.is_over {
            return Poll::Ready(None);
        }
        let received = match ready!(this.poll_ready(cx, Tap::has_news)) {
            Ok(()) => this.endpoint.try_receive(),
            Err(error) => Err(tap_error(error)),
        };
        let item = received.map(|record| record.map(|record| record.into_owned())).transpose();
        this.is_over = !matches!(item, Some(Ok(_) | Err(TapError::Lagged { .. })));
        Poll::Ready(item)
    }
}
