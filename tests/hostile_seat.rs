//! Consumers that lie in their seats, or leave them in disorder: nonsense puts its own writer out, a seat gates for as
//! long as somebody maps it and no longer, and an honest consumer of the same lane misses nothing.
#![allow(unsafe_code, reason = "one of the consumers forks")]

mod common;
#[path = "common/guest.rs"]
mod guest;
#[path = "common/hostile.rs"]
mod hostile;
#[path = "common/peer.rs"]
mod peer;
#[path = "common/stage.rs"]
mod stage;

use common::{role, stopwatch::Stopwatch, wait_until};
use guest::{Guest, Invited};
use hostile::*;
use peer::{Peer, argument, say, told, wait_for_the_end};
use rustix::fs::{FallocateFlags, SealFlags, fallocate, fcntl_add_seals, fstat, ftruncate};
use rustix::io::Errno;
use rustix::net::RecvFlags;
use rustix::thread::futex;
use stage::{CAPACITY, Hosting, Stage, plays_a_role};
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::time::{Duration, Instant};

/// Reads along until the host must have looked at this seat again.
fn read_a_lap(guest: &mut Guest) {
    let end = guest.lanes[0].position + 2 * CAPACITY;
    wait_until("two laps are read", || {
        while guest.receive().is_some() {}
        guest.give_back();
        guest.lanes[0].position >= end
    });
}

#[test]
fn nonsense_puts_its_writer_out() {
    if plays_a_role() {
        return;
    }
    let mut stage = Stage::new("nonsense_puts_its_writer_out", Hosting::default());
    type Lie = fn(u64, u64) -> u64;
    let lies: &[(&str, Lie)] = &[
        ("far ahead", |_, published| published + (1 << 40)),
        ("a quarter of all numbers ahead", |_, published| published + (1 << 62)),
        ("all ones", |_, _| u64::MAX),
        ("left, and read what is not published", |_, published| LEFT | (published + 16)),
        ("left, a record back", |position, _| LEFT | (position - 16)),
        ("left at the start", |_, _| LEFT),
        ("a record back", |position, _| position - 16),
        ("a lap back", |position, _| position - CAPACITY),
        ("one byte", |_, _| 1),
        ("the start again", |_, _| 0),
    ];
    let mut evicted = 0;
    for reading in [COPIES, IN_PLACE] {
        for (what, lie) in lies {
            let mut guest = Guest::join(&stage.address, reading);
            read_a_lap(&mut guest);
            // Full, the lane has seen what was last released.
            assert_eq!(stage.ask("try"), format!("stuck, held by {}", std::process::id()));
            guest.say_consumed(lie(guest.lanes[0].position, guest.published()));
            stage.goes_on();
            assert_eq!(guest.wire().last_words(), [(BYE, 2)], "{what}");
            evicted += 1;
            assert_eq!(stage.stat("evicted"), evicted, "{what}");
        }
    }
    stage.ends_undisturbed();
}

#[test]
fn nonsense_about_what_was_read_puts_its_writer_out() {
    if plays_a_role() {
        return;
    }
    let mut stage = Stage::new("nonsense_about_what_was_read_puts_its_writer_out", Hosting::default());
    type Lie = fn(u64, u64) -> u64;
    let lies: &[(&str, Lie)] = &[
        ("less than was released", |position, _| position - 16),
        ("nothing", |_, _| 0),
        ("what is not published", |_, published| published + 16),
        ("half of all numbers ahead", |_, published| published + LEFT),
        ("all ones", |_, _| u64::MAX),
    ];
    let mut evicted = 0;
    for reading in [COPIES, IN_PLACE] {
        for (what, lie) in lies {
            let mut guest = Guest::join(&stage.address, reading);
            read_a_lap(&mut guest);
            assert_eq!(stage.ask("try"), format!("stuck, held by {}", std::process::id()));
            let position = guest.lanes[0].position;
            guest.say(position, lie(position, guest.published()));
            stage.goes_on();
            assert_eq!(guest.wire().last_words(), [(BYE, 2)], "{what}");
            evicted += 1;
            assert_eq!(stage.stat("evicted"), evicted, "{what}");
        }
    }
    // One that holds what it has read gates, and is believed.
    let mut guest = Guest::join(&stage.address, COPIES);
    read_a_lap(&mut guest);
    let held = guest.lanes[0].position;
    assert_eq!(stage.ask("try"), format!("stuck, held by {}", std::process::id()));
    while guest.receive().is_some() {}
    guest.say(held, guest.lanes[0].position);
    assert_eq!(stage.ask("try"), format!("stuck, held by {}", std::process::id()));
    assert_eq!(stage.stat("evicted"), evicted);
    drop(guest);
    stage.ends_undisturbed();
}

#[test]
fn nonsense_that_wakes_nobody_is_found_when_the_deadline_passes() {
    if plays_a_role() {
        return;
    }
    let mut stage = Stage::new("nonsense_that_wakes_nobody_is_found_when_the_deadline_passes", Hosting::default());
    let guest = Guest::join(&stage.address, IN_PLACE);
    // It waits for a tenth of a second for each record.
    stage.tell("try");
    wait_until("the producer sleeps over the seat", || guest.lanes[0].control.u32(SPACE_WAIT).load(Acquire) == 1);
    guest.seat.u64(CONSUMED).store(u64::MAX - 1, Release);
    assert_eq!(stage.hear(), "gone");
    assert_eq!(guest.wire().last_words(), [(BYE, 2)]);
    drop(guest);
    stage.ends_undisturbed();
}

/// Raises a flag when it goes.
struct RaiseOnDrop<'a>(&'a AtomicBool);

impl Drop for RaiseOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

#[test]
fn scribbling_over_the_whole_seat_harms_its_writer_only() {
    if plays_a_role() {
        return;
    }
    let mut stage = Stage::new("scribbling_over_the_whole_seat_harms_its_writer_only", Hosting::default());
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for reading in [COPIES, IN_PLACE] {
        let guest = Guest::join(&stage.address, reading);
        let out = AtomicBool::new(false);
        let mut scribble = || {
            for at in (0..STRIPE).step_by(8) {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                guest.seat.u64(at).store(state.rotate_left(29), Release);
            }
        };
        // A producer that has gone to sleep over the start would sleep on, for nobody wakes it: that is to withhold.
        scribble();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !out.load(Relaxed) {
                    scribble();
                }
            });
            // Also if the checks below fail: the scope waits for its thread.
            let _stop = RaiseOnDrop(&out);
            stage.goes_on();
            assert_eq!(guest.wire().last_words(), [(BYE, 2)]);
        });
    }
    assert_eq!(stage.stat("evicted"), 2);
    stage.ends_undisturbed();
}

#[test]
fn whoever_withholds_is_named_at_the_deadline() {
    if plays_a_role() {
        return;
    }
    let mut stage = Stage::new("whoever_withholds_is_named_at_the_deadline", Hosting::default());
    let guest = Guest::join(&stage.address, COPIES);
    assert_eq!(stage.ask("try"), format!("stuck, held by {}", std::process::id()));
    // It may say that it left this lane, and keep the session.
    guest.say_consumed(LEFT | guest.lanes[0].position);
    stage.goes_on();
    assert_eq!((stage.stat("sessions"), stage.stat("consumers")), (2, 1));
    drop(guest);
    assert_eq!(stage.stat("evicted"), 0);
    stage.ends_undisturbed();
}

#[test]
fn a_seat_gates_while_it_is_mapped_though_its_socket_is_closed() {
    if plays_a_role() {
        return;
    }
    let mut stage = Stage::new("a_seat_gates_while_it_is_mapped_though_its_socket_is_closed", Hosting::default());
    let Guest { lanes, seat, offer } = Guest::join(&stage.address, IN_PLACE);
    drop(offer);
    stage.wait_for_stat("sessions", 1);
    for _ in 0..3 {
        assert_eq!(stage.ask("try"), format!("stuck, held by {}", std::process::id()));
    }
    // It still releases, and is still waited for.
    let published = lanes[0].control.u64(PUBLISHED).load(Acquire);
    seat.u64(READ).store(published, Relaxed);
    seat.u64(CONSUMED).store(published, Release);
    assert_eq!(stage.ask("try"), format!("stuck, held by {}", std::process::id()));
    assert_eq!(stage.stat("evicted"), 0);
    drop(seat);
    stage.goes_on();
    drop(lanes);
    stage.ends_undisturbed();
}

#[test]
fn a_seat_gates_while_a_forked_child_maps_it() {
    const TEST: &str = "a_seat_gates_while_a_forked_child_maps_it";
    if role().as_deref() == Some("parent") {
        let guest = Guest::join(&argument(), IN_PLACE);
        say("attached");
        told();
        // SAFETY: the child calls nothing but read and _exit.
        if unsafe { libc::fork() } == 0 {
            let mut byte = 0u8;
            // SAFETY: one byte is read to where one byte is; the end of the input is the end of the child.
            while unsafe { libc::read(0, (&raw mut byte).cast(), 1) } > 0 {}
            // SAFETY: ends this process without running anything of it.
            unsafe { libc::_exit(0) };
        }
        std::mem::forget(guest);
        // SAFETY: as above; the seat stays mapped by the child.
        unsafe { libc::_exit(0) };
    }
    if plays_a_role() {
        return;
    }
    let mut stage = Stage::new(TEST, Hosting::default());
    let mut parent = Peer::start(TEST, "parent", &stage.address);
    parent.expect("attached");
    parent.tell("fork");
    stage.wait_for_stat("sessions", 1);
    assert_eq!(stage.ask("try"), format!("stuck, held by {}", parent.pid()));
    assert_eq!((stage.stat("consumers"), stage.stat("evicted")), (2, 0));
    // The end of its input is the end of the child.
    parent.finish();
    stage.goes_on();
    stage.ends_undisturbed();
}

/// Moves those that sleep on the word at the seat's `space_seq` to another word of the seat.
fn steal_sleepers(guest: &Guest) {
    let (seq, elsewhere) = (guest.seat.u32(SPACE_SEQ), guest.seat.u32(STRIPE - 4));
    wait_until("the producer's sleeper is moved to another word", || {
        let (nobody, everyone) = (0, i32::MAX as u32);
        futex::requeue(seq, futex::Flags::empty(), nobody, everyone, elsewhere).unwrap() == 1
    });
    // A wake-up in vain: nobody sleeps there any more.
    seq.fetch_add(1, Release);
    assert_eq!(futex::wake(seq, futex::Flags::empty(), 1), Ok(0));
}

#[test]
fn a_thief_of_wakeups_cannot_keep_the_producer_asleep() {
    const TEST: &str = "a_thief_of_wakeups_cannot_keep_the_producer_asleep";
    if role().as_deref() == Some("thief") {
        let guest = Guest::join(&argument(), told().parse().unwrap());
        say("attached");
        told();
        steal_sleepers(&guest);
        say("stolen");
        wait_for_the_end();
    }
    if plays_a_role() {
        return;
    }
    let mut stage = Stage::new(TEST, Hosting::default());
    for reading in [COPIES, IN_PLACE] {
        // One that leaves with its loot, and one that is killed.
        let guest = Guest::join(&stage.address, reading);
        stage.tell("go for good");
        steal_sleepers(&guest);
        drop(guest);
        assert_eq!(stage.hear(), "gone");
        let mut thief = Peer::start(TEST, "thief", &stage.address);
        thief.tell(&reading.to_string());
        thief.expect("attached");
        stage.tell("go for good");
        thief.tell("steal");
        thief.expect("stolen");
        thief.kill();
        assert_eq!(stage.hear(), "gone");
    }
    stage.ends_undisturbed();
}

#[test]
fn a_seat_with_holes_is_refused_and_none_can_be_made_later() {
    if plays_a_role() {
        return;
    }
    let mut stage = Stage::new("a_seat_with_holes_is_refused_and_none_can_be_made_later", Hosting::default());
    let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    let invited = Invited::knock(&stage.address);
    fallocate(&invited.seat, punch, 0, 4096).unwrap();
    assert_eq!(fstat(&invited.seat).unwrap().st_blocks, 0);
    // Nothing beyond the end can stand in for them.
    assert_eq!(fallocate(&invited.seat, FallocateFlags::KEEP_SIZE, 4096, 4096), Err(Errno::PERM));
    fcntl_add_seals(&invited.seat, SealFlags::FUTURE_WRITE).unwrap();
    invited.wire.send(&attach(1, COPIES)).unwrap();
    assert_eq!(invited.wire.last_words(), [(REFUSE, 11)]);
    let mut guest = Guest::join(&stage.address, COPIES);
    // And there can be no new ones, in any region, by anyone; nor anything else that the seals forbid.
    let lane = &guest.offer.lanes[0];
    for (fd, len) in [(&guest.offer.seat, 4096), (&lane.control, 4096), (&lane.data, CAPACITY)] {
        assert_eq!(fallocate(fd, punch, 0, 4096), Err(Errno::PERM));
        assert_eq!(ftruncate(fd, 0), Err(Errno::PERM));
        assert_eq!(ftruncate(fd, 2 * len), Err(Errno::PERM));
        assert_eq!(rustix::io::pwrite(fd, &[1], 0), Err(Errno::PERM));
        assert_eq!(Memory::map(fd, len as usize, true).err(), Some(Errno::PERM));
    }
    assert_eq!(guest.seat.remove_pages(), Err(Errno::PERM));
    read_a_lap(&mut guest);
    drop(guest);
    stage.goes_on();
    assert_eq!(stage.stat("evicted"), 0);
    stage.ends_undisturbed();
}

#[test]
fn one_sleep_is_rung_for_once_however_the_epoch_flickers() {
    if plays_a_role() {
        return;
    }
    let mut stage = Stage::new("one_sleep_is_rung_for_once_however_the_epoch_flickers", Hosting::default());
    let mut guest = Guest::join(&stage.address, COPIES);
    // As long as its queue is never full: then it ends.
    let rings = |guest: &Guest| -> u64 {
        let take = || rustix::net::recv(&guest.offer.lanes[0].bell, &mut [0; 8], RecvFlags::DONTWAIT);
        std::iter::from_fn(|| take().ok()).take_while(|(_, len)| *len == 1).count() as u64
    };
    assert_eq!(guest.offer.lanes[0].bell_kind, 2);
    // It never drains and never wakes up: one ring for hundreds of publications.
    guest.seat.u32(WAIT_EPOCH).store(1, Release);
    read_a_lap(&mut guest);
    assert_eq!(rings(&guest), 1);
    let (mut sleeps, mut rung) = (0, 0);
    let end = guest.lanes[0].position + 4 * CAPACITY;
    while guest.lanes[0].position < end {
        for _ in 0..100 {
            guest.seat.u32(WAIT_EPOCH).fetch_add(1, Release);
            sleeps += 1;
            rung += rings(&guest);
        }
        while guest.receive().is_some() {}
        guest.give_back();
    }
    rung += rings(&guest);
    assert!(rung <= sleeps && rung <= 4 * CAPACITY / 16 + 256, "{rung} rings for {sleeps} epochs");
    drop(guest);
    stage.goes_on();
    stage.ends_undisturbed();
}

#[test]
fn whoever_seals_the_seals_is_out_at_once() {
    if plays_a_role() {
        return;
    }
    let mut stage = Stage::new("whoever_seals_the_seals_is_out_at_once", Hosting::default());
    // Before the Attach: the producer could never learn of its death.
    let invited = Invited::knock(&stage.address);
    let seat = invited.map_seat();
    fcntl_add_seals(&invited.seat, SealFlags::FUTURE_WRITE | SealFlags::SEAL).unwrap();
    invited.wire.send(&attach(1, IN_PLACE)).unwrap();
    assert_eq!(invited.wire.last_words(), [(REFUSE, 11)]);
    drop(seat);
    // After it: it is found out when it hangs up.
    let Guest { lanes, seat, offer } = Guest::join(&stage.address, IN_PLACE);
    fcntl_add_seals(&offer.seat, SealFlags::SEAL).unwrap();
    drop(offer);
    stage.goes_on();
    assert_eq!((stage.stat("consumers"), stage.stat("evicted")), (1, 1));
    drop((lanes, seat));
    stage.ends_undisturbed();
}

#[test]
fn a_seat_that_its_consumer_froze_is_as_good_as_gone() {
    if plays_a_role() {
        return;
    }
    let mut stage = Stage::new("a_seat_that_its_consumer_froze_is_as_good_as_gone", Hosting::default());
    for seals in [SealFlags::WRITE, SealFlags::WRITE | SealFlags::SEAL] {
        let Guest { lanes, seat, offer } = Guest::join(&stage.address, IN_PLACE);
        drop(seat);
        fcntl_add_seals(&offer.seat, seals).unwrap();
        // Connected, it is a consumer that withholds.
        assert_eq!(stage.ask("try"), format!("stuck, held by {}", std::process::id()));
        drop((lanes, offer));
        stage.goes_on();
    }
    assert_eq!(stage.stat("evicted"), 0);
    stage.ends_undisturbed();
}

/// A consumer that has gone, and has left a page of its seat in a pipe: nobody maps it, and the kernel waits for it for
/// a sixth of a second each time it is asked.
fn leave_pinned(address: &str, reading: u8) -> std::io::PipeReader {
    let Guest { lanes, seat, offer } = Guest::join(address, reading);
    let (reader, writer) = std::io::pipe().unwrap();
    assert_eq!(seat.splice_into(&writer), Ok(4096));
    drop((lanes, seat, offer));
    reader
}

#[test]
fn pinned_seats_hold_nobody_up_but_their_lane() {
    const MANY: usize = 40;
    if plays_a_role() {
        return;
    }
    let mut stage = Stage::new("pinned_seats_hold_nobody_up_but_their_lane", Hosting::default());
    let pipes: Vec<_> = (0..MANY).map(|index| leave_pinned(&stage.address, [COPIES, IN_PLACE][index % 2])).collect();
    // Each of these is served between two questions, not after forty, which take seven seconds.
    let mut waits = [(); 20].map(|()| {
        let knocked = Stopwatch::start();
        drop(Invited::knock(&stage.address));
        knocked.elapsed()
    });
    waits.sort();
    let (most, all) = (waits[15], waits[19]);
    assert!(most < Duration::from_millis(500) && all < Duration::from_secs(3), "they were answered after {waits:?}");
    wait_until("those who copy are out", || stage.stat("evicted") == MANY as u64 / 2);
    assert_eq!(stage.ask("try"), format!("stuck, held by {}", std::process::id()));
    drop(pipes);
    stage.goes_on();
    assert_eq!(stage.stat("evicted"), MANY as u64 / 2);
    stage.ends_undisturbed();
}

/// The role of a consumer whose threads fight for the lock of its seat, which each of them holds for a sixth of a
/// second.
fn lock_keeper() {
    let invited = Invited::knock(&argument());
    let (_reader, writer) = std::io::pipe().unwrap();
    assert_eq!(invited.map_seat().splice_into(&writer), Ok(4096));
    fcntl_add_seals(&invited.seat, SealFlags::FUTURE_WRITE).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| while fcntl_add_seals(&invited.seat, SealFlags::WRITE) == Err(Errno::BUSY) {});
        }
        // A thread that wants the lock waits for all of them.
        assert_eq!(fcntl_add_seals(&invited.seat, SealFlags::WRITE), Err(Errno::BUSY));
        say("keeping it");
        told();
        invited.wire.send(&attach(1, COPIES)).unwrap();
        say(&format!("answered with {}", invited.wire.recv().unwrap().kind()));
        told();
        invited.wire.shutdown(rustix::net::Shutdown::Both);
        say("hung up");
        told();
        std::process::exit(0);
    });
}

/// The role of a consumer in place whose threads fight for the lock of its seat, so that each answer about it takes
/// seconds. It hangs up, and waits to be killed.
fn slow_to_answer() {
    let Guest { lanes: _lanes, seat, offer } = Guest::join(&argument(), IN_PLACE);
    let (_reader, writer) = std::io::pipe().unwrap();
    assert_eq!(seat.splice_into(&writer), Ok(4096));
    drop(seat);
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| while fcntl_add_seals(&offer.seat, SealFlags::WRITE) == Err(Errno::BUSY) {});
        }
        assert_eq!(fcntl_add_seals(&offer.seat, SealFlags::WRITE), Err(Errno::BUSY));
        offer.wire.shutdown(rustix::net::Shutdown::Both);
        say("hung up");
        told();
        std::process::exit(0);
    });
}

#[test]
fn a_dead_consumer_whose_answers_took_long_holds_its_lane_no_longer() {
    const TEST: &str = "a_dead_consumer_whose_answers_took_long_holds_its_lane_no_longer";
    if role().as_deref() == Some("slow") {
        return slow_to_answer();
    }
    if plays_a_role() {
        return;
    }
    let mut stage = Stage::new(TEST, Hosting::default());
    let mut slow = Peer::start(TEST, "slow", &stage.address);
    slow.expect("hung up");
    stage.wait_for_stat("sessions", 1);
    let mut asked = Instant::now();
    wait_until("an answer has taken long", || {
        let is_answered = stage.threads("fdring-inquiry") == 0;
        let took = asked.elapsed();
        asked = if is_answered { Instant::now() } else { asked };
        is_answered && took > Duration::from_millis(500)
    });
    assert_eq!(stage.ask("try"), format!("stuck, held by {}", slow.pid()));
    slow.kill();
    let start = Stopwatch::start();
    stage.goes_on();
    assert!(start.elapsed() < Duration::from_secs(3), "it took {:?}", start.elapsed());
    assert_eq!(stage.stat("evicted"), 0);
    stage.ends_undisturbed();
}

#[test]
fn a_consumer_that_keeps_the_lock_of_its_seat_holds_nobody_up() {
    const TEST: &str = "a_consumer_that_keeps_the_lock_of_its_seat_holds_nobody_up";
    if role().as_deref() == Some("keeper") {
        return lock_keeper();
    }
    if plays_a_role() {
        return;
    }
    let mut stage = Stage::new(TEST, Hosting::default());
    let mut keeper = Peer::start(TEST, "keeper", &stage.address);
    keeper.expect("keeping it");
    let start = Stopwatch::start();
    keeper.tell("attach");
    keeper.expect(&format!("answered with {ATTACHED}"));
    drop(Invited::knock(&stage.address));
    // Less than it takes each of them to have the lock once.
    assert!(start.elapsed() < Duration::from_secs(2), "it took {:?}", start.elapsed());
    // As one that copies it is not waited for for long.
    keeper.tell("hang up");
    keeper.expect("hung up");
    let start = Stopwatch::start();
    stage.goes_on();
    assert!(start.elapsed() < Duration::from_secs(3), "it took {:?}", start.elapsed());
    assert_eq!(stage.stat("evicted"), 1);
    keeper.kill();
    stage.ends_undisturbed();
}
