//! What the kernel does for sleepers, in place of system calls: a bell, and a queue of those who wait on futex words.

use crate::sync::{AtomicU32, Ordering};
use crate::wake::{Captured, Deadline};
use loom::sync::{Condvar, Mutex};

/// An eventfd: what a sleeper may find of it, and how often it was rung in all.
#[derive(Debug)]
pub(crate) struct Bell {
    state: Mutex<Rung>,
    heard: Condvar,
    /// Plain: counting is no part of the protocol.
    rings: std::sync::atomic::AtomicU32,
}

#[derive(Debug, Default)]
struct Rung {
    /// Whether there is something to read.
    is_readable: bool,
    /// Whether it was written since whoever watches it for its edges last looked.
    has_edge: bool,
}

impl Bell {
    pub(crate) fn new() -> Self {
        Self { state: Mutex::new(Rung::default()), heard: Condvar::new(), rings: Default::default() }
    }

    pub(crate) fn rings(&self) -> u32 {
        self.rings.load(Ordering::Relaxed)
    }

    pub(crate) fn ring(&self) {
        self.rings.fetch_add(1, Ordering::Relaxed);
        *self.state.lock().unwrap() = Rung { is_readable: true, has_edge: true };
        self.heard.notify_one();
    }

    pub(crate) fn drain(&self) {
        self.state.lock().unwrap().is_readable = false;
    }

    /// Sleeps until the bell is rung, as poll(2) does; it stays readable.
    pub(crate) fn poll(&self) {
        let mut state = self.state.lock().unwrap();
        while !state.is_readable {
            state = self.heard.wait(state).unwrap();
        }
    }

    /// Sleeps until the bell is rung anew, as epoll_wait(2) does with `EPOLLET`: looks at it once for each edge.
    pub(crate) fn watch(&self) {
        let mut state = self.state.lock().unwrap();
        while !(std::mem::take(&mut state.has_edge) && state.is_readable) {
            state = self.heard.wait(state).unwrap();
        }
    }
}

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

/// futex_waitv(2): compares under the lock of the queue, and sleeps until one of the words is woken.
pub(crate) fn sleep_on(private: Captured<'_>, shared: Option<Captured<'_>>, _deadline: Deadline) {
    let mut waiting = QUEUE.waiting.lock().unwrap();
    let words = || [Some(private), shared].into_iter().flatten();
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

pub(crate) fn wake_private(word: &AtomicU32) {
    wake(word);
}

pub(crate) fn wake_shared(word: &AtomicU32) {
    wake(word);
}
