//! What the kernel does for sleepers, in place of system calls: a bell, and a queue of those who wait on futex words.

use crate::sync::{AtomicU32, Ordering};
use crate::wake::{Captured, Deadline};
use loom::sync::{Condvar, Mutex};

/// An eventfd: rung or not, and how often it was rung in all.
#[derive(Debug)]
pub(crate) struct Bell {
    rung: Mutex<bool>,
    heard: Condvar,
    /// Plain: counting is no part of the protocol.
    rings: std::sync::atomic::AtomicU32,
}

impl Bell {
    pub(crate) fn new() -> Self {
        Self { rung: Mutex::new(false), heard: Condvar::new(), rings: Default::default() }
    }

    pub(crate) fn rings(&self) -> u32 {
        self.rings.load(Ordering::Relaxed)
    }

    pub(crate) fn ring(&self) {
        self.rings.fetch_add(1, Ordering::Relaxed);
        *self.rung.lock().unwrap() = true;
        self.heard.notify_one();
    }

    pub(crate) fn drain(&self) {
        *self.rung.lock().unwrap() = false;
    }

    /// Sleeps until the bell is rung; it stays rung, as an eventfd stays readable.
    pub(crate) fn sleep(&self) {
        let mut rung = self.rung.lock().unwrap();
        while !*rung {
            rung = self.heard.wait(rung).unwrap();
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
