//! A queue of those who wait on words of memory, in place of futex(2).

use super::events::Events;
use crate::deadline::Deadline;
use crate::sync::{AtomicU32, Ordering};
use loom::sync::{Condvar, Mutex};
use std::sync::Arc;

/// A futex word, and the value it had when the caller last looked.
pub(crate) type Captured<'a> = (&'a AtomicU32, u32);

/// The one thread of a model that sleeps on futex words, its producer: the addresses of the words.
struct FutexQueue {
    waiting: Mutex<Vec<usize>>,
    woken: Condvar,
}

loom::lazy_static! {
    static ref QUEUE: FutexQueue = FutexQueue { waiting: Mutex::new(Vec::new()), woken: Condvar::new() };
}

fn address(word: &AtomicU32) -> usize {
    std::ptr::from_ref(word) as usize
}

/// A count of changes, and what stands for the notice of who waits on descriptors.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    word: AtomicU32,
    notice: Option<Arc<Events>>,
}

impl Changes {
    pub(crate) fn with_notice(notice: Option<Arc<Events>>) -> Self {
        Self { notice, ..Self::default() }
    }

    pub(crate) fn note(&self) {
        self.word.fetch_add(1, Ordering::Relaxed);
        wake(&self.word);
        if let Some(notice) = &self.notice {
            notice.ring();
        }
    }

    pub(crate) fn capture(&self) -> Captured<'_> {
        (&self.word, self.word.load(Ordering::Relaxed))
    }
}

/// What ends a sleep at the latest. Deadlines never pass here.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limit<'a> {
    pub(crate) interrupt: Option<Captured<'a>>,
}

impl From<Deadline> for Limit<'_> {
    fn from(_deadline: Deadline) -> Self {
        Self { interrupt: None }
    }
}

/// futex_waitv(2): compares under the lock of the queue, and sleeps until one of the words is woken.
pub(crate) fn wait<'a>(private: Captured<'_>, shared: Option<Captured<'_>>, limit: impl Into<Limit<'a>>) {
    let mut waiting = QUEUE.waiting.lock().unwrap();
    let Limit { interrupt } = limit.into();
    let words = || [Some(private), interrupt, shared].into_iter().flatten();
    if words().any(|(word, value)| word.load(Ordering::Relaxed) != value) {
        return;
    }
    assert!(waiting.is_empty(), "one producer, one sleeper");
    waiting.extend(words().map(|(word, _)| address(word)));
    while !waiting.is_empty() {
        waiting = QUEUE.woken.wait(waiting).unwrap();
    }
}

fn wake(word: &AtomicU32) {
    let mut waiting = QUEUE.waiting.lock().unwrap();
    if waiting.contains(&address(word)) {
        waiting.clear();
        QUEUE.woken.notify_one();
    }
}

pub(crate) fn wake_shared(word: &AtomicU32) {
    wake(word);
}
