//! Runtimes of tokio, and futures that are polled once.
//!
//! Use it beside `mod common;`, by `#[path = "common/tasks.rs"] mod tasks;`.

use crate::common::DEADLINE;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;
use tokio::runtime::{Builder, Runtime};

/// One of each kind.
pub(crate) fn runtimes() -> [Runtime; 2] {
    let threads = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    [Builder::new_current_thread().enable_all().build().unwrap(), threads]
}

/// Runs a task to its end, on the runtime's own threads if it has any.
pub(crate) fn run<T: Send + 'static>(runtime: &Runtime, task: impl Future<Output = T> + Send + 'static) -> T {
    let task = runtime.spawn(async { tokio::time::timeout(2 * DEADLINE, task).await.expect("a task that hangs") });
    runtime.block_on(task).unwrap()
}

/// Polls a future once, and drops it.
pub(crate) async fn once<T>(future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(outcome) => Poll::Ready(Some(outcome)),
        Poll::Pending => Poll::Ready(None),
    })
    .await
}
