//! Spinning, futexes and bells.

use super::bell::{Bell, BellEnd};
use super::futex::{Changes, wait, wake_private, wake_shared};
use super::poller::{Poller, Trigger};
use super::spin::{MEANWHILE, Spins, has_one_processor, names_one_processor};
use crate::deadline::Deadline;
use crate::region::testing::in_forked_child;
use crate::sync::AtomicU32;
use crate::terms::BellKind;
use crate::test_support::kernel::{deny, read_and_keep_the_lock, watch_and_keep_the_lock};
use crate::test_support::{DEADLINE, isolated, skipped, wait_until};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, socketpair};
use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant};

const LONG: Duration = Duration::from_secs(60);

fn has_rung(end: &BellEnd) -> bool {
    poll(&mut [PollFd::new(end, PollFlags::IN)], Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).unwrap() == 1
}

#[test]
fn spinning_looks_at_once_and_counts_its_looks() {
    assert_eq!(
        Spins::default().spin_until(Duration::ZERO, Deadline::Never, |looks| (looks == 0).then_some(7)),
        Some(7)
    );
    let mut seen = Vec::new();
    let found = Spins::default().spin_until(LONG, Deadline::Never, |looks| {
        seen.push(looks);
        (looks == 200).then_some(())
    });
    assert!(found.is_none() || seen.iter().copied().eq(0..=200), "alone on one processor it looks once");
}

#[test]
fn spinning_ends_with_the_deadline() {
    let start = Instant::now();
    assert_eq!(Spins::default().spin_until(LONG, Deadline::after(Duration::from_millis(5)), |_| None::<()>), None);
    assert_eq!(Spins::default().spin_until(LONG, Deadline::Now, |_| None::<()>), None);
    assert!(start.elapsed() < LONG / 2);
}

#[test]
fn spins_longer_than_the_clock_are_endless() {
    Spins::default().spin_until(Duration::MAX, Deadline::Never, |looks| (looks == 1).then_some(()));
}

/// A fork copies no thread but its own: one that counts processors at that time never ends in the child.
#[test]
fn a_forked_child_does_not_wait_for_a_thread_of_its_parent_that_counts_processors() {
    isolated("os::tests::a_forked_child_does_not_wait_for_a_thread_of_its_parent_that_counts_processors", || {
        let (asks, is_asking) = sync_channel(0);
        let (go, goes) = sync_channel(0);
        let other = std::thread::spawn(move || {
            MEANWHILE.set(Some(Box::new(move || {
                asks.send(()).unwrap();
                goes.recv().unwrap();
            })));
            has_one_processor()
        });
        is_asking.recv_timeout(DEADLINE).expect("nobody has asked yet");
        assert!(in_forked_child(|| {
            has_one_processor();
            true
        }));
        go.send(()).unwrap();
        assert_eq!(other.join().unwrap(), has_one_processor());
    });
}

#[test]
fn a_futex_sleep_ends_with_a_wake_a_changed_word_or_the_deadline() {
    let (private, shared) = (AtomicU32::new(0), AtomicU32::new(0));
    let start = Instant::now();
    wait((&private, 1), Some((&shared, 0)), Deadline::Never);
    wait((&private, 0), Some((&shared, 1)), Deadline::Never);
    wait((&private, 1), None, Deadline::Never);
    wait((&private, 0), Some((&shared, 0)), Deadline::after(Duration::from_millis(5)));
    wait((&private, 0), None, Deadline::after(Duration::from_millis(5)));
    wait((&private, 0), None, Deadline::Now);
    std::thread::scope(|scope| {
        let sleeper = scope.spawn(|| wait((&private, 0), Some((&shared, 0)), Deadline::Never));
        while !sleeper.is_finished() {
            wake_private(&private);
            std::thread::yield_now();
        }
    });
    assert!(start.elapsed() < LONG / 2);
}

/// Waits as a producer does, until the deadline; how often it looked meanwhile.
fn looks_within(patience: Duration, shared: &AtomicU32) -> u32 {
    let (private, deadline) = (AtomicU32::new(0), Deadline::after(patience));
    let mut looks = 0;
    // At least once: on a busy machine the time may be up at once.
    while looks == 0 || !deadline.has_passed() {
        wait((&private, 0), Some((shared, 0)), deadline);
        looks += 1;
    }
    looks
}

#[test]
fn a_kernel_that_forbids_to_wait_makes_nobody_spin() {
    isolated("os::tests::a_kernel_that_forbids_to_wait_makes_nobody_spin", || {
        const WAIT: (u32, u32) = (1, libc::FUTEX_WAIT as u32);
        let patience = Duration::from_millis(200);
        let shared = AtomicU32::new(0);
        // Of several filters the newest counts; after the last, nothing but time is left to wait for.
        let filters: [(_, &[_], _); 4] = [
            (libc::SYS_futex_waitv, &[], Errno::PERM),
            (libc::SYS_futex_waitv, &[], Errno::NOMEM),
            (libc::SYS_futex_waitv, &[], Errno::NOSYS),
            (libc::SYS_futex, &[WAIT], Errno::PERM),
        ];
        for (call, arguments, errno) in filters {
            deny(call, arguments, errno);
            let looks = looks_within(patience, &shared);
            assert!((1..=100).contains(&looks), "it looked {looks} times in {patience:?} after {errno}");
        }
    });
}

#[test]
fn a_nap_ends_when_the_shared_word_is_woken() {
    isolated("os::tests::a_nap_ends_when_the_shared_word_is_woken", || {
        deny(libc::SYS_futex_waitv, &[], Errno::PERM);
        let (private, shared) = (AtomicU32::new(0), AtomicU32::new(0));
        let twenty_naps = || {
            std::thread::scope(|scope| {
                let sleeper = scope.spawn(|| {
                    let start = Instant::now();
                    (0..20).for_each(|_| wait((&private, 0), Some((&shared, 0)), Deadline::Never));
                    start.elapsed()
                });
                while !sleeper.is_finished() {
                    wake_shared(&shared);
                    std::thread::yield_now();
                }
                sleeper.join().unwrap()
            })
        };
        // A busy machine keeps one or the other from running now and then.
        wait_until("twenty naps of 10 ms that are woken take less", || twenty_naps() < Duration::from_millis(150));
    });
}

#[test]
fn a_bell_that_nobody_empties_has_an_edge_for_each_ring_and_never_blocks() {
    let (bell, end) = Bell::create().unwrap();
    // Each end has status flags of its own.
    let end = BellEnd::receive(Bell::KIND, end).unwrap();
    rustix::fs::fcntl_setfl(&bell, rustix::fs::OFlags::empty()).unwrap();
    let poller = Poller::new().unwrap();
    poller.add(&end, 7, Trigger::Edge).unwrap();
    let has_edge = || poller.wait::<1>(Some(Duration::ZERO)).unwrap().has(7);
    assert!(!has_edge());
    // Far more than a socket's queue holds.
    for ring in 0..5000 {
        assert!(bell.ring());
        assert!(has_edge(), "ring {ring}");
        assert!(!has_edge(), "ring {ring} is one edge");
        end.take_rings();
    }
    drop(end);
    assert!(bell.ring(), "it need not be heard");
}

/// Half a page a ring, as the kernel counts.
#[test]
fn the_rings_that_nobody_takes_stay_few() {
    let (bell, end) = Bell::create().unwrap();
    (0..5000).for_each(|_| _ = bell.ring());
    let mut rings = 0;
    while rustix::net::recv(&end, &mut [0; 8], RecvFlags::DONTWAIT).is_ok_and(|(_, len)| len == 1) {
        rings += 1;
    }
    assert!((1..=16).contains(&rings), "{rings} rings stayed");
}

#[test]
fn a_drain_does_not_block_on_an_eventfd_that_may() {
    let bell = eventfd(0, EventfdFlags::CLOEXEC).unwrap();
    let end = BellEnd::receive(BellKind::Eventfd, bell.try_clone().unwrap()).unwrap();
    end.take_rings();
    rustix::io::write(&bell, &1u64.to_ne_bytes()).unwrap();
    assert!(has_rung(&end));
    end.take_rings();
    assert!(!has_rung(&end));
}

#[test]
fn nothing_else_passes_for_a_bell() {
    let eventfd = eventfd(0, EventfdFlags::CLOEXEC).unwrap();
    assert!(BellEnd::receive(BellKind::Socketpair, eventfd).is_err());
    let (_, socket) = Bell::create().unwrap();
    assert!(BellEnd::receive(BellKind::Eventfd, socket).is_err());
    let null = std::fs::File::open("/dev/null").unwrap();
    assert!(BellEnd::receive(BellKind::Eventfd, null.into()).is_err());
}

#[test]
fn a_socketpair_bell_cannot_be_rung_backwards() {
    let (_bell, end) = Bell::create().unwrap();
    let sent = rustix::net::send(&end, &[1], rustix::net::SendFlags::DONTWAIT | rustix::net::SendFlags::NOSIGNAL);
    assert_eq!(sent, Err(Errno::PIPE));
}

#[test]
fn a_bell_is_let_go_of_though_its_sender_keeps_the_lock_of_what_watches_it() {
    let test = "os::tests::a_bell_is_let_go_of_though_its_sender_keeps_the_lock_of_what_watches_it";
    isolated(test, || {
        let (bell, end) = Bell::create().unwrap();
        assert!(bell.ring());
        // The sender's own descriptor of the end that it sends is closed; its epoll descriptor watches it still.
        if !watch_and_keep_the_lock(end.try_clone().unwrap()) {
            return skipped("this process may not use userfaultfd(2)");
        }
        drop(BellEnd::receive(Bell::KIND, end).unwrap());
        // The other side of the bell hears of it at once.
        let hung_up =
            rustix::net::send(&bell, &[1], rustix::net::SendFlags::DONTWAIT | rustix::net::SendFlags::NOSIGNAL);
        assert_eq!(hung_up, Err(Errno::PIPE));
    });
}

/// What a producer can do that has kept a copy of the end that it has sent.
#[test]
fn a_space_bell_whose_locks_its_sender_keeps_is_rung_and_let_go_of() {
    let test = "os::tests::a_space_bell_whose_locks_its_sender_keeps_is_rung_and_let_go_of";
    isolated(test, || {
        let (heard, rung) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
        rustix::net::send(&heard, &[1], rustix::net::SendFlags::DONTWAIT).unwrap();
        let keeps =
            read_and_keep_the_lock(rung.try_clone().unwrap()) && watch_and_keep_the_lock(rung.try_clone().unwrap());
        if !keeps {
            return skipped("this process may not use userfaultfd(2)");
        }
        let poller = Poller::new().unwrap();
        poller.add(&heard, 7, Trigger::Edge).unwrap();
        let bell = Bell::receive(rung).unwrap();
        for ring in 0..5000 {
            bell.ring_surely();
            assert!(poller.wait::<1>(Some(Duration::ZERO)).unwrap().has(7), "ring {ring}");
        }
        drop(bell);
    });
}

/// The same of the end that a consumer rings, which a producer has sent.
#[test]
fn a_space_bell_is_let_go_of_though_its_sender_keeps_the_lock_of_what_watches_it() {
    let test = "os::tests::a_space_bell_is_let_go_of_though_its_sender_keeps_the_lock_of_what_watches_it";
    isolated(test, || {
        let (_heard, rung) = BellEnd::create().unwrap();
        if !watch_and_keep_the_lock(rung.try_clone().unwrap()) {
            return skipped("this process may not use userfaultfd(2)");
        }
        drop(Bell::receive(rung).unwrap());
    });
}

#[test]
fn a_space_bell_is_heard_by_whoever_has_made_it() {
    let (end, rung) = BellEnd::create().unwrap();
    let poller = Poller::new().unwrap();
    poller.add(&end, 7, Trigger::Edge).unwrap();
    let bell = Bell::receive(rung).unwrap();
    bell.ring_surely();
    assert!(poller.wait::<1>(Some(Duration::ZERO)).unwrap().has(7));
    assert!(Bell::receive(eventfd(0, EventfdFlags::CLOEXEC).unwrap()).is_err());
}

#[test]
fn a_change_after_the_capture_ends_the_sleep() {
    let changes = Changes::default();
    let captured = changes.capture();
    changes.note();
    let begin = Instant::now();
    wait(captured, None, Deadline::after(LONG));
    assert!(begin.elapsed() < LONG / 2);
}

#[test]
fn a_machine_with_one_processor_is_told_from_others() {
    assert!(names_one_processor("0\n"));
    for list in ["0-1\n", "0,2\n", "0-3,8-11\n", ""] {
        assert!(!names_one_processor(list), "{list:?}");
    }
}

/// A thread pinned to one processor waits for another, on another processor: that is what spinning is for.
#[test]
fn a_pinned_thread_spins() {
    if std::thread::available_parallelism().unwrap().get() == 1 {
        return;
    }
    let thread = std::thread::spawn(|| {
        let mut one = rustix::thread::CpuSet::new();
        one.set(rustix::thread::sched_getcpu());
        rustix::thread::sched_setaffinity(None, &one).unwrap();
        Spins::default().spin_until(LONG, Deadline::Never, |looks| (looks == 1000).then_some(()))
    });
    assert!(thread.join().unwrap().is_some());
}
