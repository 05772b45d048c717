//! Producers that send something else than what they announce: files, pipes and sockets for memory, memory without its
//! seals, of another length, with holes. A consumer of the library maps none of it, waits for none of it, and keeps
//! none of it.

mod common;
#[path = "common/hostile.rs"]
mod hostile;
#[path = "common/impostor.rs"]
mod impostor;
#[path = "common/peer.rs"]
mod peer;
#[path = "common/stage.rs"]
mod stage;

use common::{TempDir, unique_name};
use hostile::*;
use impostor::{CAPACITY, Goods, Impostor, OFFER_LANE, PATIENCE, offer};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{FallocateFlags, Mode, OFlags, SealFlags, fallocate, ftruncate, open};
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use stage::plays_a_role;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

const NAMES: [&str; 4] = ["seat", "bell", "control region", "data region"];
const SEAT: usize = 0;
const BELL: usize = 1;
const CONTROL: usize = 2;
const DATA: usize = 3;

/// Offers `fd` as the descriptor number `place`, and good ones besides.
fn is_caught(impostor: &mut Impostor, what: &str, place: usize, fd: BorrowedFd<'_>) {
    let goods = Goods::new(CAPACITY);
    let mut fds = goods.fds();
    fds[place] = fd;
    impostor.is_caught(&format!("{what} for a {}", NAMES[place]), &offer(CAPACITY), &fds, 11);
}

/// The same memfd, opened anew.
fn reopened(fd: &OwnedFd, flags: OFlags) -> OwnedFd {
    let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
    open(path, flags | OFlags::CLOEXEC, Mode::empty()).unwrap()
}

#[test]
fn what_is_no_memfd_is_refused_wherever_it_comes() {
    if plays_a_role() {
        return;
    }
    let mut impostor = Impostor::new("what_is_no_memfd_is_refused_wherever_it_comes");
    let dir = TempDir::new();
    let (pipe_out, pipe_in) = std::io::pipe().unwrap();
    let disk = File::create_new(dir.path().join("file")).unwrap();
    disk.set_len(CAPACITY).unwrap();
    let shm_path = format!("/dev/shm/{}", unique_name());
    let shm = File::options().read(true).write(true).create_new(true).open(&shm_path).unwrap();
    std::fs::remove_file(&shm_path).unwrap();
    fallocate(&shm, FallocateFlags::empty(), 0, CAPACITY).unwrap();
    let stream = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None).unwrap();
    let itself = rustix::process::Pid::from_raw(std::process::id() as i32).unwrap();
    let directory = open(dir.path(), OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).unwrap();
    let path_only = open(dir.path(), OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).unwrap();
    let memory = sealed(memfd(CAPACITY), SEALED);
    let memory_path = reopened(&memory, OFlags::PATH);
    let epoll = rustix::event::epoll::create(rustix::event::epoll::CreateFlags::CLOEXEC).unwrap();
    let pidfd = rustix::process::pidfd_open(itself, rustix::process::PidfdFlags::empty()).unwrap();
    let timer =
        rustix::time::timerfd_create(rustix::time::TimerfdClockId::Monotonic, rustix::time::TimerfdFlags::CLOEXEC)
            .unwrap();
    let null = File::open("/dev/null").unwrap();
    let zero = File::options().read(true).write(true).open("/dev/zero").unwrap();
    let fds: &[(&str, BorrowedFd<'_>)] = &[
        ("/dev/null", null.as_fd()),
        ("/dev/zero", zero.as_fd()),
        ("the reading end of a pipe", pipe_out.as_fd()),
        ("the writing end of a pipe", pipe_in.as_fd()),
        ("a directory", directory.as_fd()),
        ("the path of a directory", path_only.as_fd()),
        ("the path of a memfd", memory_path.as_fd()),
        ("an epoll", epoll.as_fd()),
        ("a stream socket", stream.as_fd()),
        ("a file on disk", disk.as_fd()),
        ("a file in /dev/shm", shm.as_fd()),
        ("a pidfd", pidfd.as_fd()),
        ("a timer", timer.as_fd()),
    ];
    for place in [SEAT, BELL, CONTROL, DATA] {
        for (what, fd) in fds {
            is_caught(&mut impostor, what, place, *fd);
        }
    }
    let goods = Goods::new(CAPACITY);
    for place in [SEAT, CONTROL, DATA] {
        is_caught(&mut impostor, "an eventfd", place, goods.bell.as_fd());
    }
    is_caught(&mut impostor, "a memfd", BELL, memory.as_fd());
    // A socketpair is announced, and comes or does not.
    let announced = with(offer(CAPACITY), OFFER_LANE + 57, &[2]);
    for (what, fd) in fds.iter().copied().chain([("an eventfd", goods.bell.as_fd()), ("memory", memory.as_fd())]) {
        let goods = Goods::new(CAPACITY);
        let fds = [goods.seat.as_fd(), fd, goods.control.as_fd(), goods.data.as_fd()];
        impostor.is_caught(&format!("{what} for a socketpair"), &announced, &fds, 11);
    }
}

#[test]
fn memory_without_its_seals_is_refused() {
    if plays_a_role() {
        return;
    }
    let mut impostor = Impostor::new("memory_without_its_seals_is_refused");
    let control_seals = SEALED | SEAL_SEAL;
    for (place, needed) in [(SEAT, SHAPE), (CONTROL, control_seals), (DATA, SEALED)] {
        is_caught(&mut impostor, "unsealed memory", place, memfd(CAPACITY).as_fd());
        for seal in [SealFlags::SHRINK, SealFlags::GROW, SealFlags::FUTURE_WRITE, SealFlags::SEAL] {
            if needed.contains(seal) {
                let fd = sealed(memfd(CAPACITY), needed.difference(seal));
                is_caught(&mut impostor, &format!("memory without {seal:?}"), place, fd.as_fd());
            }
        }
        // Nobody may add any.
        let fd = sealed(memfd(CAPACITY), SealFlags::SEAL);
        is_caught(&mut impostor, "memory that stays unsealed", place, fd.as_fd());
    }
    for seal in [SealFlags::FUTURE_WRITE, SealFlags::WRITE, SealFlags::SEAL] {
        let fd = sealed(memfd(CAPACITY), SHAPE | seal);
        is_caught(&mut impostor, &format!("memory with {seal:?}"), SEAT, fd.as_fd());
    }
    // A memfd with execute bits takes all seals with F_SEAL_EXEC: a seat that nobody can write.
    let fd = sealed(memfd(CAPACITY), SHAPE);
    if rustix::fs::fcntl_add_seals(&fd, SealFlags::EXEC).is_err() {
        return common::skipped("this kernel has no F_SEAL_EXEC (Linux 6.3)");
    }
    is_caught(&mut impostor, "memory sealed EXEC", SEAT, fd.as_fd());
}

#[test]
fn memory_of_another_length_or_with_holes_is_refused() {
    if plays_a_role() {
        return;
    }
    let mut impostor = Impostor::new("memory_of_another_length_or_with_holes_is_refused");
    for (place, seals) in [(SEAT, SHAPE), (CONTROL, SEALED | SEAL_SEAL), (DATA, SEALED)] {
        for len in [0, 1, CAPACITY - 1, CAPACITY + 1, 2 * CAPACITY, 1 << 40, (1 << 63) - 1] {
            let fd = sealed(hollow_memfd(len), seals);
            is_caught(&mut impostor, &format!("{len} bytes, none of them there,"), place, fd.as_fd());
        }
        for len in [CAPACITY - 4095, 2 * CAPACITY] {
            let fd = sealed(memfd(len), seals);
            is_caught(&mut impostor, &format!("{len} bytes"), place, fd.as_fd());
        }
        is_caught(&mut impostor, "a hole", place, sealed(hollow_memfd(CAPACITY), seals).as_fd());
        // Blocks beyond the end make up for the hole if they are only counted.
        let fd = hollow_memfd(CAPACITY);
        fallocate(&fd, FallocateFlags::KEEP_SIZE, CAPACITY, 4 * CAPACITY).unwrap();
        is_caught(&mut impostor, "blocks beyond the end", place, sealed(fd, seals).as_fd());
    }
    // Enormous and as announced, with nothing in it; and half of it there.
    let goods = Goods::new(CAPACITY);
    for len in [1 << 40, 1 << 30] {
        let goods_of_that = Goods::with_header(CAPACITY, |control| {
            control.u64(16).store(len, std::sync::atomic::Ordering::Relaxed);
        });
        let data = sealed(hollow_memfd(len), SEALED);
        let fds = [goods_of_that.seat.as_fd(), goods.bell.as_fd(), goods_of_that.control.as_fd(), data.as_fd()];
        impostor.is_caught(&format!("{len} sparse bytes"), &offer(len), &fds, 11);
    }
    let goods = Goods::new(2 * CAPACITY);
    let half = hollow_memfd(2 * CAPACITY);
    fallocate(&half, FallocateFlags::empty(), 0, CAPACITY).unwrap();
    let half = sealed(half, SEALED);
    let fds = [goods.seat.as_fd(), goods.bell.as_fd(), goods.control.as_fd(), half.as_fd()];
    impostor.is_caught("half a ring", &offer(2 * CAPACITY), &fds, 11);
    assert!(ftruncate(&half, 0).is_err());
}

#[test]
fn memory_opened_otherwise_is_refused_or_harmless() {
    if plays_a_role() {
        return;
    }
    let mut impostor = Impostor::new("memory_opened_otherwise_is_refused_or_harmless");
    // A seat must be writable, and everything readable.
    for (place, seals) in [(SEAT, SHAPE), (CONTROL, SEALED | SEAL_SEAL), (DATA, SEALED)] {
        let fd = memfd(CAPACITY);
        if place == SEAT {
            rustix::io::pwrite(&fd, &[0; CAPACITY as usize], 0).unwrap();
        }
        let fd = sealed(fd, seals);
        let flags = if place == SEAT { OFlags::RDONLY } else { OFlags::WRONLY };
        is_caught(&mut impostor, &format!("memory opened {flags:?}"), place, reopened(&fd, flags).as_fd());
    }
    // Read-only and never written to, a ring cannot be told from a hole.
    let goods = Goods::new(CAPACITY);
    let data = reopened(&goods.data, OFlags::RDONLY);
    is_caught(&mut impostor, "unwritten memory opened read-only", DATA, data.as_fd());
    for offset in 0..CAPACITY / 8 {
        goods.put(8 * offset, 0);
    }
    let wire = impostor.lure(PATIENCE);
    let fds = [goods.seat.as_fd(), goods.bell.as_fd(), goods.control.as_fd(), data.as_fd()];
    wire.send_fds(&offer(CAPACITY), &fds).unwrap();
    assert_eq!(wire.recv().unwrap().kind(), ATTACH);
    wire.send(&attached(&[0])).unwrap();
    assert_eq!(impostor.client.outcome().kind, "attached");
    impostor.client.leave();
}

#[test]
fn one_descriptor_for_several_is_refused_or_harmless() {
    if plays_a_role() {
        return;
    }
    let mut impostor = Impostor::new("one_descriptor_for_several_is_refused_or_harmless");
    let goods = Goods::new(CAPACITY);
    let fds = [goods.control.as_fd(), goods.bell.as_fd(), goods.control.as_fd(), goods.data.as_fd()];
    impostor.is_caught("control and seat in one", &offer(CAPACITY), &fds, 11);
    let fds = [goods.seat.as_fd(), goods.bell.as_fd(), goods.seat.as_fd(), goods.data.as_fd()];
    impostor.is_caught("seat and control in one", &offer(CAPACITY), &fds, 11);
    let goods = Goods::new(CAPACITY);
    let fds = [goods.seat.as_fd(), goods.bell.as_fd(), goods.data.as_fd(), goods.data.as_fd()];
    impostor.is_caught("data and control in one", &offer(CAPACITY), &fds, 11);
    // Those pass every check, and what is read is nonsense and nothing worse.
    for place in [SEAT, CONTROL] {
        let goods = Goods::new(CAPACITY);
        let mut fds = goods.fds();
        fds[DATA] = fds[place];
        let wire = impostor.lure(PATIENCE);
        wire.send_fds(&offer(CAPACITY), &fds).unwrap();
        if wire.recv().unwrap().kind() == ATTACH {
            wire.send(&attached(&[0])).unwrap();
            assert_eq!(impostor.client.outcome().kind, "attached");
            goods.publish(CAPACITY);
            assert!(impostor.client.read().starts_with("Corrupt"));
            impostor.client.leave();
        } else {
            assert_eq!(impostor.client.outcome().kind, "Peer");
        }
    }
}

#[test]
fn a_control_header_that_says_something_else_is_refused() {
    if plays_a_role() {
        return;
    }
    let mut impostor = Impostor::new("a_control_header_that_says_something_else_is_refused");
    for (what, offset) in [
        ("magic", 0),
        ("layout version", 8),
        ("flags", 12),
        ("capacity", 16),
        ("record_align", 24),
        ("payload_align", 28),
        ("lane id", 32),
        ("the end of the lane id", 44),
        ("generation", 48),
        ("schema", 56),
        ("name", 64),
        ("what follows the name", 68),
        ("the last byte of the name", 124),
        ("the inode of the data region", 128),
        ("the end of that inode", 132),
        ("the length of slots", 136),
        ("descriptors per record", 140),
    ] {
        let change = |control: &Memory| {
            control.u32(offset).fetch_xor(0x4000_0000, std::sync::atomic::Ordering::Relaxed);
        };
        let goods = Goods::with_header(CAPACITY, change);
        impostor.is_caught(what, &offer(CAPACITY), &goods.fds(), 11);
    }
    // What follows the header is not its business.
    let goods = Goods::with_header(CAPACITY, |control| {
        control.u32(144).store(1, std::sync::atomic::Ordering::Relaxed);
    });
    drop(impostor.attaches(&goods, 0));
    impostor.client.leave();
}

#[test]
fn a_seat_that_is_for_another_lane_is_refused() {
    if plays_a_role() {
        return;
    }
    let mut impostor = Impostor::new("a_seat_that_is_for_another_lane_is_refused");
    for at in [0, 7, 8, 15] {
        let goods = Goods::new(CAPACITY);
        rustix::io::pwrite(&goods.seat, &[0xee], (STRIPE_ID + at) as u64).unwrap();
        impostor.is_caught(&format!("byte {at} of the id"), &offer(CAPACITY), &goods.fds(), 11);
    }
    // What else is in it is not its business.
    let goods = Goods::new(CAPACITY);
    rustix::io::pwrite(&goods.seat, &[0xee; STRIPE_ID], 0).unwrap();
    rustix::io::pwrite(&goods.seat, &[0xee; STRIPE - STRIPE_ID - 16], (STRIPE_ID + 16) as u64).unwrap();
    drop(impostor.attaches(&goods, 0));
    impostor.client.leave();
}

#[test]
fn a_socket_that_lingers_keeps_nobody_waiting() {
    if plays_a_role() {
        return;
    }
    let mut impostor = Impostor::new("a_socket_that_lingers_keeps_nobody_waiting");
    for place in [SEAT, BELL, CONTROL, DATA, 4] {
        let goods = Goods::new(CAPACITY);
        impostor.is_caught_at_once(&offer(CAPACITY), &goods.fds(), place);
    }
}

#[test]
fn a_socket_that_lingers_in_a_bell_keeps_nobody_waiting() {
    if plays_a_role() {
        return;
    }
    let mut impostor = Impostor::new("a_socket_that_lingers_in_a_bell_keeps_nobody_waiting");
    let start = Instant::now();
    for before in [0, 3] {
        let goods = Goods::new(CAPACITY);
        let (ring, bell) = socketpair();
        let (socket, _listener) = lingering();
        // In the queue before anyone can refuse it.
        (0..before).for_each(|_| ring.send(&[1]).unwrap());
        ring.send_fds(&[1], &[socket.as_fd()]).unwrap();
        ring.send(&[1]).unwrap();
        drop(socket);
        let _wire = impostor.attaches_with_bell(&goods, 2, bell.as_fd());
        drop(bell);
        assert!(impostor.client.read_for(50).starts_with("TimedOut"));
        goods.put(0, impostor::data(5, 7));
        goods.publish(16);
        assert_eq!(impostor.client.read(), "5 bytes, tag 7, from 0");
        assert!(impostor.client.read_for(50).starts_with("TimedOut"));
        impostor.client.leave();
    }
    assert!(start.elapsed() < Duration::from_secs(30), "it kept the client waiting: {:?}", start.elapsed());
}

#[test]
fn a_socket_that_lingers_in_a_session_keeps_nobody_waiting() {
    if plays_a_role() {
        return;
    }
    let mut impostor = Impostor::before_old_kernel("a_socket_that_lingers_in_a_session_keeps_nobody_waiting");
    let start = Instant::now();
    for is_heard in [true, false] {
        let goods = Goods::new(CAPACITY);
        let (socket, _listener) = lingering();
        let wire = impostor.attaches(&goods, 0);
        wire.send_fds(&bye(1), &[socket.as_fd()]).unwrap();
        drop(socket);
        if is_heard {
            assert!(impostor.client.read().starts_with("Peer: "));
        }
        impostor.client.leave();
        // It has hung up, though a thread still holds its end.
        assert_eq!(wire.last_words(), []);
    }
    assert!(start.elapsed() < Duration::from_secs(30), "it kept the client waiting: {:?}", start.elapsed());
}

#[test]
fn a_socket_that_is_no_end_of_a_pair_is_no_bell() {
    if plays_a_role() {
        return;
    }
    let mut impostor = Impostor::new("a_socket_that_is_no_end_of_a_pair_is_no_bell");
    let listening = listen(&format!("@{}", unique_name()));
    let alone = seqpacket();
    let goods = Goods::new(CAPACITY);
    let announced = with(offer(CAPACITY), OFFER_LANE + 57, &[2]);
    for (what, bell) in [("one that listens", &listening), ("one without a peer", &alone)] {
        let fds = [goods.seat.as_fd(), bell.as_fd(), goods.control.as_fd(), goods.data.as_fd()];
        impostor.is_caught(what, &announced, &fds, 11);
    }
}

#[test]
fn whoever_keeps_the_lock_of_a_region_keeps_nobody_beyond_its_deadline() {
    const THREADS: usize = 16;
    if plays_a_role() {
        return;
    }
    let mut impostor = Impostor::new("whoever_keeps_the_lock_of_a_region_keeps_nobody_beyond_its_deadline");
    let goods = Goods::new(CAPACITY);
    let data = memfd(CAPACITY);
    let (_reader, writer) = std::io::pipe().unwrap();
    let pinned = Memory::map(&data, CAPACITY as usize, true).unwrap().splice_into(&writer);
    assert_eq!(pinned, Ok(CAPACITY as usize));
    let data = sealed(data, SEALED);
    std::thread::scope(|scope| {
        let freeze = || rustix::fs::fcntl_add_seals(&data, SealFlags::WRITE);
        // While a page is pinned each has the lock for a sixth of a second, one after another.
        (0..THREADS).for_each(|_| _ = scope.spawn(move || (0..3).for_each(|_| _ = freeze())));
        assert_eq!(freeze(), Err(rustix::io::Errno::BUSY), "it waited for all of them");
        let wire = impostor.lure(Duration::from_millis(500));
        wire.send_fds(&offer(CAPACITY), &[goods.seat.as_fd(), goods.bell.as_fd(), goods.control.as_fd(), data.as_fd()])
            .unwrap();
        let outcome = impostor.client.outcome();
        assert_eq!(outcome.kind, "TimedOut", "{outcome:?}");
        assert!(outcome.millis < 2500, "{outcome:?}");
    });
}
