//! Producers whose bells ring for ever, or hang up: a consumer sleeps all the same, is as good as its deadlines, and
//! gets what is published. And consumers that do to a bell what they can: no ring waits.

mod common;
#[path = "common/guest.rs"]
mod guest;
#[path = "common/hostile.rs"]
mod hostile;
#[path = "common/impostor.rs"]
mod impostor;
#[path = "common/peer.rs"]
mod peer;
#[path = "common/stage.rs"]
mod stage;

use common::{isolated, unique_name};
use fdring::{Server, options::LaneOptions};
use guest::Guest;
use hostile::*;
use impostor::{CAPACITY, Goods, Impostor};
use rustix::event::{EventfdFlags, eventfd};
use rustix::fd::{AsFd, OwnedFd};
use rustix::net::{AddressFamily, SendFlags, Shutdown, SocketFlags, SocketType};
use stage::plays_a_role;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

/// How much processor time a process has used so far, in ticks of 10 ms; see proc_pid_stat(5).
fn ticks_used(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

/// A client with this bell sleeps for a second, takes what comes then, and learns of the end.
fn sleeps_well(impostor: &mut Impostor, what: &str, kind: u8, bell: OwnedFd) {
    const QUIET: Duration = Duration::from_secs(1);
    let goods = Goods::new(CAPACITY);
    let wire = impostor.attaches_with_bell(&goods, kind, bell.as_fd());
    drop(bell);
    let (before, start) = (ticks_used(impostor.client.0.pid()), Instant::now());
    assert!(impostor.client.read_for(QUIET.as_millis() as u64).starts_with("TimedOut"), "{what}");
    let (used, took) = (ticks_used(impostor.client.0.pid()) - before, start.elapsed());
    assert!(used < 20, "with {what} it used {used}0 ms of {QUIET:?}");
    assert!((QUIET..10 * QUIET).contains(&took), "with {what} {QUIET:?} took {took:?}");
    goods.put(0, impostor::data(5, 7));
    goods.publish(16);
    assert_eq!(impostor.client.read(), "5 bytes, tag 7, from 0", "{what}");
    wire.send(&bye(1)).unwrap();
    assert!(impostor.client.read().starts_with("Closed"), "{what}");
    impostor.client.leave();
}

/// A sleep without a limit watches the bell for its rings, and not for what is in it: here they come without end.
#[test]
fn a_bell_that_is_rung_without_end_keeps_nobody_awake() {
    if plays_a_role() {
        return;
    }
    const FLOOD: Duration = Duration::from_secs(1);
    let mut impostor = Impostor::new("a_bell_that_is_rung_without_end_keeps_nobody_awake");
    let goods = Goods::new(CAPACITY);
    let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).unwrap();
    let wire = impostor.attaches_with_bell(&goods, 1, bell.as_fd());
    impostor.client.0.tell("wait");
    let (before, start) = (ticks_used(impostor.client.0.pid()), Instant::now());
    let mut rings = 0;
    while start.elapsed() < FLOOD {
        rustix::io::write(&bell, &1u64.to_ne_bytes()).unwrap();
        rings += 1;
        std::thread::yield_now();
    }
    let used = ticks_used(impostor.client.0.pid()) - before;
    assert!(used < 10, "after {rings} rings in {FLOOD:?} it used {used}0 ms");
    goods.put(0, impostor::data(5, 7));
    goods.publish(16);
    assert_eq!(impostor.client.0.heard(), "5 bytes, tag 7, from 0");
    impostor.client.0.tell("wait");
    wire.send(&bye(1)).unwrap();
    assert!(impostor.client.0.heard().starts_with("Closed"));
    impostor.client.leave();
}

#[test]
fn a_bell_that_rings_for_ever_or_hangs_up_keeps_nobody_awake() {
    if plays_a_role() {
        return;
    }
    let mut impostor = Impostor::new("a_bell_that_rings_for_ever_or_hangs_up_keeps_nobody_awake");
    let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
    let endless = eventfd(u32::MAX, flags | EventfdFlags::SEMAPHORE).unwrap();
    sleeps_well(&mut impostor, "a count that goes down by one each time", 1, endless);
    let (_, hung_up) = socketpair();
    sleeps_well(&mut impostor, "a socketpair that has hung up", 2, hung_up);
    let (ring, bell) = socketpair();
    let null = std::fs::File::open("/dev/null").unwrap();
    ring.send_fds(&[1], &[null.as_fd()]).unwrap();
    sleeps_well(&mut impostor, "a socketpair with descriptors in it", 2, bell);
    let (ring, bell) = socketpair();
    ring.shutdown(Shutdown::Write);
    sleeps_well(&mut impostor, "a socketpair that is half closed", 2, bell);
}

/// The lock is the one for which every call waits that reads from the socket, `MSG_DONTWAIT` or not.
#[test]
fn a_producer_that_keeps_the_lock_of_its_bell_delays_nobody() {
    if plays_a_role() {
        return;
    }
    let mut impostor = Impostor::new("a_producer_that_keeps_the_lock_of_its_bell_delays_nobody");
    let (ring, bell) = socketpair();
    ring.send(&[1]).unwrap();
    if !common::kernel::read_and_keep_the_lock(bell.try_clone().unwrap()) {
        common::skipped("this process may not use userfaultfd(2)");
        return;
    }
    for _ in 0..3 {
        ring.send(&[1]).unwrap();
    }
    sleeps_well(&mut impostor, "a socketpair whose lock is kept", 2, bell);
}

/// An Offer of one lane with a space bell.
fn offer_with_space_bell() -> Vec<u8> {
    let offer = with(impostor::offer(CAPACITY), impostor::OFFER_LANE + 48, &[8]);
    with(with(with(offer, impostor::OFFER_LANE + 57, &[2]), impostor::OFFER_LANE + 66, &[4]), 12, &[5])
}

#[test]
fn a_space_bell_that_is_none_is_refused() {
    if plays_a_role() {
        return;
    }
    let mut impostor = Impostor::new("a_space_bell_that_is_none_is_refused");
    let goods = Goods::with_header(CAPACITY, |control| control.u32(12).store(8, SeqCst));
    let (_ring, bell) = socketpair();
    let not_a_bell = eventfd(0, EventfdFlags::CLOEXEC).unwrap();
    let alone = seqpacket();
    let descriptors =
        [("a memfd", goods.seat.as_fd()), ("an eventfd", not_a_bell.as_fd()), ("a socket alone", alone.as_fd())];
    for (what, space_bell) in descriptors {
        let [seat, _, control, data] = goods.fds();
        impostor.is_caught(what, &offer_with_space_bell(), &[seat, bell.as_fd(), control, data, space_bell], 11);
    }
}

#[test]
fn a_socket_that_lingers_instead_of_a_space_bell_keeps_nobody_waiting() {
    if plays_a_role() {
        return;
    }
    let mut impostor = Impostor::new("a_socket_that_lingers_instead_of_a_space_bell_keeps_nobody_waiting");
    let goods = Goods::with_header(CAPACITY, |control| control.u32(12).store(8, SeqCst));
    let (_ring, bell) = socketpair();
    let [seat, _, control, data] = goods.fds();
    impostor.is_caught_at_once(&offer_with_space_bell(), &[seat, bell.as_fd(), control, data], 4);
}

/// One that asks for a ring with every release, takes none of them, and keeps a lock of the bell.
#[test]
fn a_producer_that_is_deaf_to_its_space_bells_delays_nobody() {
    if plays_a_role() {
        return;
    }
    let mut impostor = Impostor::new("a_producer_that_is_deaf_to_its_space_bells_delays_nobody");
    let goods = Goods::with_header(CAPACITY, |control| control.u32(12).store(8, SeqCst));
    goods.control_map.u32(SPACE_WAIT).store(2, SeqCst);
    let (ring, bell) =
        rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
    let (heard, rung) = socketpair();
    heard.send(&[1]).unwrap();
    if !common::kernel::read_and_keep_the_lock(rung.try_clone().unwrap()) {
        return common::skipped("this process may not use userfaultfd(2)");
    }
    let wire = impostor.lure(impostor::PATIENCE);
    let [seat, _, control, data] = goods.fds();
    wire.send_fds(&offer_with_space_bell(), &[seat, bell.as_fd(), control, data, rung.as_fd()]).unwrap();
    assert_eq!(wire.recv().unwrap().kind(), ATTACH);
    wire.send(&attached(&[0])).unwrap();
    assert_eq!(impostor.client.outcome().kind, "attached");
    for record in 0..100 {
        goods.put(16 * record, impostor::data(5, 7));
        goods.publish(16 * (record + 1));
        if rustix::net::send(&ring, &[1], SendFlags::DONTWAIT | SendFlags::NOSIGNAL).is_err() {
            rustix::net::shutdown(&ring, Shutdown::Write).unwrap();
        }
        assert_eq!(impostor.client.read(), format!("5 bytes, tag 7, from {}", 16 * record));
    }
    wire.send(&bye(1)).unwrap();
    assert!(impostor.client.read().starts_with("Closed"));
    impostor.client.leave();
}

/// What a consumer can do to a bell: make both ends wait if they share their flags, fill it, and take nothing.
fn jam(bell: &OwnedFd) {
    rustix::fs::fcntl_setfl(bell, rustix::fs::OFlags::empty()).unwrap();
    // An eventfd is full with this count; a pair of sockets takes nothing from this end.
    let _ = rustix::io::write(bell, &(u64::MAX - 1).to_ne_bytes());
}

#[test]
fn no_ring_waits_whatever_a_consumer_of_this_user_does_to_its_bell() {
    isolated("no_ring_waits_whatever_a_consumer_of_this_user_does_to_its_bell", || {
        let address = format!("@{}", unique_name());
        let mut producer = LaneOptions::new("lane").capacity(1 << 20).create().unwrap();
        let _server = Server::listen(&*address, &[&producer]).unwrap();
        let guest = Guest::join(&address, COPIES);
        jam(&guest.offer.lanes[0].bell);
        // More sleeps than its bell takes rings, and each is rung for.
        for n in 0..2000 {
            guest.seat.u32(WAIT_EPOCH).store(2 * n + 1, SeqCst);
            producer.send(b"x").unwrap();
        }
    });
}
