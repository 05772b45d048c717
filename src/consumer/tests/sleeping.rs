//! Consumers that sleep while nobody rings for what is published, or another one learns of the session's end.

use super::{consumer_with, link, seat_words};
use crate::consumer::Consumer;
use crate::consumer::waiter::{Sources, Woken};
use crate::lane::LaneOptions;
use crate::link::tests::{links, say};
use crate::link::{Fate, Link};
use crate::os::bell::{Bell, BellEnd};
use crate::producer::Producer;
use crate::ring::sleep::{SECOND_LOOK, Wakeups};
use crate::terms::Barrier;
use crate::test_support::{DEADLINE, sleeps_of, wait_until, wait_until_thread_has_slept_for};
use crate::wire::Frame;
use rustix::net::{SendFlags, send};
use rustix::process::Pid;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::thread::ScopedJoinHandle;
use std::time::Duration;

type Receive = fn(&mut Consumer) -> Vec<u8>;

/// Without a deadline and with one.
const RECEIVES: [Receive; 2] = [
    |consumer| consumer.receive().unwrap().unwrap().to_vec(),
    |consumer| consumer.receive_timeout(2 * DEADLINE).unwrap().unwrap().to_vec(),
];

/// A thread that waits for a record.
struct Waiting<'scope> {
    thread: ScopedJoinHandle<'scope, ()>,
    tid: Pid,
    sleeps_before: u64,
}

impl Waiting<'_> {
    fn has_received(&self) -> bool {
        self.thread.is_finished()
    }

    /// How often it has gone to sleep while it waits; 0 while it is awake.
    fn sleeps(&self) -> u64 {
        sleeps_of(self.tid).map_or(0, |(sleeps, is_asleep)| if is_asleep { sleeps - self.sleeps_before } else { 0 })
    }
}

/// Has a consumer wait that relies on the sleeper's barrier alone, and of which the producer knows nothing. It is up to
/// `test` to publish, to ring, and to see how far it is.
fn while_it_waits<T>(receive: Receive, test: impl FnOnce(&mut Producer, &Bell, &Waiting<'_>) -> T) -> T {
    let mut producer = Producer::create_at(&LaneOptions::new("unrung").capacity(4096), 0).unwrap();
    let (bell, end) = Bell::create().unwrap();
    let end = BellEnd::receive(Bell::KIND, end).unwrap();
    let lane = Arc::clone(&producer.owned_lane().map);
    let (mut consumer, session) = consumer_with(Barrier::Asymmetric, lane, seat_words(), end, 0, None);
    let (tell, told) = channel();
    std::thread::scope(|scope| {
        // If the test fails, its end wakes the consumer.
        let _session = session;
        let thread = scope.spawn(move || {
            let tid = rustix::thread::gettid();
            tell.send((tid, sleeps_of(tid).unwrap().0)).unwrap();
            assert_eq!(receive(&mut consumer), b"");
        });
        let (tid, sleeps_before) = told.recv_timeout(DEADLINE).unwrap();
        let waiting = Waiting { thread, tid, sleeps_before };
        wait_until("the consumer sleeps", || waiting.sleeps() > 0);
        let outcome = test(&mut producer, &bell, &waiting);
        wait_until("it has the record", || waiting.has_received());
        outcome
    })
}

#[test]
fn one_whose_ring_stays_out_finds_at_its_second_look_what_was_published() {
    for receive in RECEIVES {
        // If this thread is late, the record comes after the second look: the consumer sleeps on, and the test tries
        // again.
        let finds_it = || {
            while_it_waits(receive, |producer, bell, waiting| {
                producer.send(b"").unwrap();
                wait_until("it has looked a second time", || waiting.has_received() || waiting.sleeps() > 1);
                let finds_it = waiting.has_received();
                bell.ring();
                finds_it
            })
        };
        assert!((0..100).any(|_| finds_it()), "in none of a hundred tries was the record found");
    }
}

#[test]
fn one_whose_sleep_a_signal_interrupts_looks_a_second_time_all_the_same() {
    on_signal_do_nothing();
    for receive in RECEIVES {
        let finds_it = || {
            while_it_waits(receive, |producer, bell, waiting| {
                // Interrupted at once, before its publication is visible to it.
                let sleeps = waiting.sleeps();
                signal(waiting.tid);
                wait_until("it sleeps again", || waiting.has_received() || waiting.sleeps() > sleeps);
                producer.send(b"").unwrap();
                // Unless it had before the signal came.
                let sent = std::time::Instant::now();
                wait_until("it has looked a second time", || {
                    waiting.has_received() || waiting.sleeps() > sleeps + 1 || sent.elapsed() > 20 * SECOND_LOOK
                });
                let finds_it = waiting.has_received();
                bell.ring();
                finds_it
            })
        };
        assert!((0..100).any(|_| finds_it()), "in none of a hundred tries was the record found");
    }
}

/// SIGUSR1 interrupts system calls, and does nothing else.
#[allow(unsafe_code, reason = "a signal handler")]
fn on_signal_do_nothing() {
    extern "C" fn nothing(_: libc::c_int) {}
    let handler: extern "C" fn(libc::c_int) = nothing;
    // SAFETY: integers and an optional function, of which all zeros are a value, without SA_RESTART.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = handler as usize;
    // SAFETY: the handler touches nothing.
    let installed = unsafe { libc::sigaction(libc::SIGUSR1, &action, std::ptr::null_mut()) };
    assert_eq!(installed, 0);
}

#[allow(unsafe_code, reason = "a signal to one thread")]
fn signal(thread: Pid) {
    // SAFETY: plain numbers; the thread is one of this process.
    let sent =
        unsafe { libc::syscall(libc::SYS_tgkill, std::process::id(), thread.as_raw_nonzero().get(), libc::SIGUSR1) };
    assert_eq!(sent, 0);
}

#[test]
fn one_that_has_found_nothing_at_its_second_look_sleeps_until_it_is_rung_for() {
    for receive in RECEIVES {
        while_it_waits(receive, |producer, bell, waiting| {
            wait_until_thread_has_slept_for(waiting.tid, 5 * SECOND_LOOK);
            producer.send(b"").unwrap();
            bell.ring();
        });
    }
}

#[test]
fn who_comes_to_sleep_when_another_has_heard_of_the_end_is_woken_too() {
    for bytes in [&b"no frame"[..], &[0; 100]] {
        let (link, other) = link();
        let link = Arc::new(link);
        let sources = || {
            let (bell, end) = Bell::create().unwrap();
            (bell, Sources::new(Arc::clone(&link), BellEnd::receive(Bell::KIND, end).unwrap()).unwrap())
        };
        let ((_first_bell, mut first), (_second_bell, mut second)) = (sources(), sources());
        send(&other, bytes, SendFlags::empty()).unwrap();
        assert_eq!(first.wait(Some(DEADLINE)).unwrap(), Woken::Otherwise);
        assert_eq!(link.fate(), Fate::Broken);
        // The frame is gone, and the producer's end still open.
        assert_eq!(second.wait(Some(DEADLINE)).unwrap(), Woken::Otherwise);
    }
}

#[test]
fn who_sleeps_for_a_lane_is_woken_when_another_has_heard_that_its_seat_is_gone() {
    let (links, producer) = links(&[true, true, true]);
    let links: Vec<Arc<Link>> = links.into_iter().flatten().map(Arc::new).collect();
    let sources = |link: &Arc<Link>| {
        let (bell, end) = Bell::create().unwrap();
        (bell, Sources::new(Arc::clone(link), BellEnd::receive(Bell::KIND, end).unwrap()).unwrap())
    };
    let (_bell, mut sleeper) = sources(&links[1]);
    for (round, lane) in [2, 1].into_iter().enumerate() {
        say(&producer, &Frame::Evicted(lane));
        links[0].receive_frames();
        // The frame is gone, and the session goes on.
        assert_eq!(sleeper.wait(Some(DEADLINE)).unwrap(), Woken::Otherwise, "round {round}");
        assert_eq!(sleeper.wait(Some(Duration::ZERO)).unwrap(), Woken::ByTime, "it is no news the next time");
        assert_eq!(sleeper.session_is_over(), lane == 1);
    }
    assert_eq!(links[0].fate(), Fate::Alive);
}
