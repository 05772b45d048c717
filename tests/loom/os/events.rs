//! What wakes a consumer, in place of an epoll descriptor: a bell, which is watched for its edges, and the socket of
//! its session, which stays ready once it has hung up.

use crate::ring::sleep::Wakeups;
use loom::sync::{Condvar, Mutex};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// The events of one consumer, as all sides share them.
#[derive(Debug)]
pub(crate) struct Events {
    state: Mutex<State>,
    changed: Condvar,
    /// Plain: counting is no part of the protocol.
    rings: AtomicU32,
}

#[derive(Debug, Default)]
struct State {
    /// The bell was rung since that was last taken.
    is_rung: bool,
    /// The session has ended.
    is_over: bool,
    /// Something has happened since a loop that watches the descriptor for its edges last returned.
    has_edge: bool,
}

impl State {
    fn is_readable(&self) -> bool {
        self.is_rung || self.is_over
    }
}

impl Events {
    pub(crate) fn new() -> Self {
        Self { state: Mutex::new(State::default()), changed: Condvar::new(), rings: AtomicU32::new(0) }
    }

    /// How often the bell was rung.
    pub(crate) fn rings(&self) -> u32 {
        self.rings.load(Ordering::Relaxed)
    }

    pub(crate) fn ring(&self) {
        self.rings.fetch_add(1, Ordering::Relaxed);
        self.happens(|state| state.is_rung = true);
    }

    /// The producer's process has died, or hung up.
    pub(crate) fn hang_up(&self) {
        self.happens(|state| state.is_over = true);
    }

    fn happens(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.state.lock().unwrap();
        change(&mut state);
        state.has_edge = true;
        self.changed.notify_one();
    }

    /// Waits as a loop of the caller's does: until the descriptor is readable, or until something happens anew if the
    /// loop watches it for its edges.
    pub(crate) fn wait(&self, for_edges: bool) {
        let mut state = self.state.lock().unwrap();
        while !(state.is_readable() && (std::mem::take(&mut state.has_edge) || !for_edges)) {
            state = self.changed.wait(state).unwrap();
        }
    }
}

/// The consumer's side of its events.
#[derive(Debug)]
pub(crate) struct Harvest {
    pub(crate) events: Arc<Events>,
    /// The end of the session was taken.
    is_over: bool,
}

impl Harvest {
    pub(crate) fn new(events: Arc<Events>) -> Self {
        Self { events, is_over: false }
    }

    /// Sleeps until something happens, and takes it; whether the bell was rung.
    pub(crate) fn park(&mut self) -> bool {
        self.events.wait(false);
        self.harvest()
    }
}

impl Wakeups for Harvest {
    fn harvest(&mut self) -> bool {
        let mut state = self.events.state.lock().unwrap();
        self.is_over |= state.is_over;
        std::mem::take(&mut state.is_rung)
    }

    fn session_is_over(&self) -> bool {
        self.is_over
    }
}
