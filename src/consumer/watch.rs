//! All that a sleeping consumer watches, behind one descriptor: its session and its bell.
//!
//! The bell is watched for its edges: every ring of an eventfd is one, whether or not the one before was read
//! (epoll(7); each write wakes). So to wait takes one system call, where a poll takes another to empty the bell again,
//! and looks at each descriptor anew.
//!
//! The invariant: every ring ends a sleep, and one that comes late ends one in vain at most. Where the sleep that it
//! was for has ended in some other way, the bell is emptied before the next one, which takes back the edge too: see
//! [`Edges`], which the models run.
//!
//! What this file does not do: it keeps no deadlines. A sleep with one polls, and so do all where there is no epoll.

use crate::link::Link;
use crate::wake::{self, BellEnd, Edges, Woken};
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::fd::{AsFd, OwnedFd};
use rustix::io::Errno;
use std::mem::MaybeUninit;
use std::time::Duration;

/// What an event is about.
const SOCKET: u64 = 0;
const PROCESS: u64 = 1;
const BELL: u64 = 2;

/// What watches: made for the first sleep here, so that consumers that never sleep need no descriptor for it.
#[derive(Debug, Default)]
enum Epoll {
    #[default]
    NotYet,
    Made(OwnedFd),
    Impossible,
}

/// A consumer's session and bell, watched together.
#[derive(Debug, Default)]
pub(super) struct Watch {
    epoll: Epoll,
    edges: Edges,
}

impl Watch {
    /// Whether sleeps can be had here: not without a descriptor to spare, nor with another bell than an eventfd.
    pub(super) fn is_possible(&mut self, link: &Link, bell: &BellEnd) -> bool {
        if matches!(self.epoll, Epoll::NotYet) {
            self.epoll = match make(link, bell) {
                Ok(epoll) => Epoll::Made(epoll),
                // There may be one to be had for the next sleep.
                Err(Errno::MFILE | Errno::NFILE | Errno::NOSPC | Errno::NOMEM) => Epoll::NotYet,
                Err(_) => Epoll::Impossible,
            };
        }
        matches!(self.epoll, Epoll::Made(_))
    }

    /// Before a sleep is announced, here or elsewhere: empties the bell, if it must be.
    pub(super) fn prepare(&mut self, bell: &BellEnd, is_here: bool) {
        if self.edges.must_empty(is_here) {
            bell.drain();
        }
    }

    /// As [`Link::wait`], where it [`is_possible`](Self::is_possible).
    pub(super) fn wait(&mut self, link: &Link, timeout: Option<Duration>) -> Woken {
        let Epoll::Made(epoll) = &self.epoll else { return Woken::Otherwise };
        let mut events = [const { MaybeUninit::uninit() }; 3];
        let events = match epoll::wait(epoll, &mut events, timeout.map(wake::timespec).as_ref()) {
            Ok(([], _)) => return Woken::ByTime,
            Ok((events, _)) => events,
            Err(Errno::INTR) => return Woken::Otherwise,
            // Forbidden, say (seccomp(2)): the next sleep polls.
            Err(_) => {
                self.epoll = Epoll::Impossible;
                return Woken::Otherwise;
            }
        };
        let [socket_stirs, process_ended, bell_stirs] =
            [SOCKET, PROCESS, BELL].map(|what| events.iter().any(|event| { event.data }.u64() == what));
        link.see(socket_stirs, process_ended);
        self.edges.note(bell_stirs);
        if bell_stirs { Woken::ByBell } else { Woken::Otherwise }
    }
}

fn make(link: &Link, bell: &BellEnd) -> rustix::io::Result<OwnedFd> {
    if !bell.rings_by_edges() {
        return Err(Errno::NOTSUP);
    }
    let epoll = epoll::create(CreateFlags::CLOEXEC)?;
    let watch = |fd, what, flags| epoll::add(&epoll, fd, EventData::new_u64(what), flags);
    watch(link.socket(), SOCKET, EventFlags::IN)?;
    if let Some(pidfd) = link.pidfd() {
        watch(pidfd, PROCESS, EventFlags::IN)?;
    }
    watch(bell.as_fd(), BELL, EventFlags::IN | EventFlags::ET)?;
    Ok(epoll)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::consumer::tests::{join, link};
    use crate::frame::{BellKind, Start};
    use crate::lane::LaneOptions;
    use crate::link::Fate;
    use crate::producer::Producer;
    use crate::ring::SeatWords;
    use crate::sync::Ordering::Relaxed;
    use crate::test_support::kernel::deny;
    use crate::test_support::{isolated, wait_until};
    use crate::wake::Bell;

    /// A watch that has slept nowhere yet.
    fn watch() -> (Watch, Link, OwnedFd, Bell, BellEnd) {
        let (link, other) = link();
        let (bell, end) = Bell::create(BellKind::Eventfd).unwrap();
        let end = BellEnd::receive(BellKind::Eventfd, end).unwrap();
        let mut watch = Watch::default();
        assert!(watch.is_possible(&link, &end));
        (watch, link, other, bell, end)
    }

    #[test]
    fn every_ring_ends_one_sleep_though_the_bell_is_never_emptied() {
        let (mut watch, link, other, bell, end) = watch();
        for _ in 0..3 {
            watch.prepare(&end, true);
            bell.ring();
            assert_eq!(watch.wait(&link, None), Woken::ByBell);
        }
        watch.prepare(&end, true);
        drop(other);
        assert_eq!(watch.wait(&link, None), Woken::Otherwise, "no ring ends two");
        let mut rings = [0; 8];
        rustix::io::read(&end, &mut rings).unwrap();
        assert_eq!(u64::from_ne_bytes(rings), 3, "it was never emptied");
    }

    #[test]
    fn a_ring_for_another_sleep_ends_none() {
        for sleeps_before in 0..3 {
            let (mut watch, link, other, bell, end) = watch();
            for sleep in 0..sleeps_before {
                watch.prepare(&end, sleep == 0);
                assert_eq!(rustix::io::read(&end, &mut [0; 8]), Err(Errno::AGAIN), "a poll would end at once");
                bell.ring();
                assert!(sleep != 0 || watch.wait(&link, None) == Woken::ByBell, "the second one is slept elsewhere");
            }
            if sleeps_before == 1 {
                // One that was called off after it was announced.
                watch.prepare(&end, true);
            }
            bell.ring();
            watch.prepare(&end, true);
            drop(other);
            assert_eq!(
                watch.wait(&link, None),
                Woken::Otherwise,
                "the session has ended, after {sleeps_before} sleeps"
            );
            assert_eq!(link.fate(), Fate::Dead);
        }
    }

    #[test]
    fn a_bell_that_can_be_full_is_not_watched() {
        let (link, _other) = link();
        let (_bell, end) = Bell::create(BellKind::Socketpair).unwrap();
        let end = BellEnd::receive(BellKind::Socketpair, end).unwrap();
        assert!(!Watch::default().is_possible(&link, &end));
    }

    #[test]
    fn a_sleeper_is_woken_also_where_it_must_poll() {
        isolated("consumer::watch::tests::a_sleeper_is_woken_also_where_it_must_poll", || {
            for call in [libc::SYS_epoll_pwait, libc::SYS_epoll_create1] {
                deny(call, &[], Errno::PERM);
                let mut producer = Producer::create_at(&LaneOptions::new("polled").capacity(4096), 0).unwrap();
                let mut attached = join(&producer, Start::Latest, false);
                let (seat, consumer) = (attached.seat.clone(), &mut attached.consumer);
                std::thread::scope(|scope| {
                    let reader = scope.spawn(|| {
                        (0..3u8).for_each(|n| assert_eq!(consumer.receive().unwrap().unwrap()[..], [n]));
                    });
                    for n in 0..3u8 {
                        wait_until("the consumer sleeps", || seat.wait_epoch().load(Relaxed) % 2 == 1);
                        producer.send(&[n]).unwrap();
                        wait_until("it wakes up", || {
                            reader.is_finished() || seat.consumed().load(Relaxed) > u64::from(n) * 16
                        });
                    }
                    reader.join().unwrap();
                });
                assert!(matches!(consumer.watch.epoll, Epoll::Impossible), "it was not to be had");
            }
        });
    }
}
