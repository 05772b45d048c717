//! Signals: they are the program's own business, not that of the library's threads, and no wait begins anew after one.
#![allow(unsafe_code, reason = "handlers, masks and the signals themselves")]

mod common;
#[path = "common/guest.rs"]
mod guest;
#[path = "common/hostile.rs"]
mod hostile;
#[path = "common/impostor.rs"]
mod impostor;
#[path = "common/peer.rs"]
mod peer;
#[path = "common/shapes.rs"]
mod shapes;
#[path = "common/stage.rs"]
mod stage;
#[path = "common/storm.rs"]
mod storm;

use common::kernel::write_and_keep_the_lock;
use common::{DEADLINE, KillOnDrop, isolated, role, skipped, unique_name, wait_until};
use fdring::collect::Collector;
use fdring::feed::Feed;
use fdring::{
    Attach, Consumer, Error, Producer, Server, Session,
    collect::SessionListener,
    errors::{ReceiveError, SendError},
    options::{LaneOptions, SessionOptions, Start},
    recv_fds, send_fds,
};
use guest::Guest;
use hostile::{HELLO, IN_PLACE, INTENT, Wire, lingering, producer_hello};
use impostor::{CAPACITY, Goods, data, offer};
use peer::{Peer, argument, say, told};
use rustix::fd::{AsFd, BorrowedFd};
use rustix::net::{Shutdown, sockopt};
use rustix::process::{Signal, getpid, kill_process};
use std::collections::BTreeMap;
use std::fs;
use std::mem::MaybeUninit;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::sync::atomic::Ordering;
use std::time::Duration;
use storm::{HANDLED, LIMIT, ends_in_time, in_a_storm};

/// The pause between two signals.
const STORMY: Duration = Duration::from_millis(5);

fn address() -> String {
    format!("@{}", unique_name())
}

fn lane() -> Producer {
    LaneOptions::new("lane").capacity(4096).create().unwrap()
}

#[test]
fn a_connection_is_waited_for_no_longer_for_all_signals() {
    isolated("a_connection_is_waited_for_no_longer_for_all_signals", || {
        let address = address();
        let _listener = hostile::listen(&address);
        let options = || SessionOptions::new().deadline(LIMIT);
        let times_out = || match options().connect(&*address) {
            Err(Error::TimedOut { limit, .. }) => assert_eq!(limit, LIMIT),
            other => panic!("{other:?}"),
        };
        ends_in_time("an Offer that does not come", times_out);
        let _others = hostile::fill_backlog(&address);
        ends_in_time("a full backlog", times_out);
    });
}

#[test]
fn a_lane_is_waited_for_no_longer_for_all_signals() {
    isolated("a_lane_is_waited_for_no_longer_for_all_signals", || {
        let (address, mut producer) = (address(), lane());
        let server = Server::listen(&*address, &[&producer]).unwrap();
        let session = SessionOptions::new().spin(Duration::ZERO).connect(&*address).unwrap();
        let mut consumer = session.attach_one(Attach::new()).unwrap();
        ends_in_time("a record", || {
            assert!(matches!(consumer.receive_timeout(LIMIT), Err(ReceiveError::TimedOut)));
        });
        ends_in_time("a consumer", || {
            assert!(matches!(server.wait_for_sessions(2, LIMIT), Err(Error::TimedOut { .. })));
        });
        while producer.try_send(&[0; 56]).is_ok() {}
        ends_in_time("space", || {
            assert!(matches!(producer.send_timeout(&[0; 56], LIMIT), Err(SendError::TimedOut { .. })));
        });
    });
}

#[test]
fn a_socket_with_a_limit_is_waited_for_no_longer_for_all_signals() {
    isolated("a_socket_with_a_limit_is_waited_for_no_longer_for_all_signals", || {
        let (here, there) = UnixStream::pair().unwrap();
        sockopt::set_socket_timeout(&here, sockopt::Timeout::Recv, Some(LIMIT)).unwrap();
        sockopt::set_socket_timeout(&here, sockopt::Timeout::Send, Some(LIMIT)).unwrap();
        ends_in_time("an array", || {
            assert!(recv_fds(&here, &mut [0], 1).unwrap_err().is_would_block());
        });
        ends_in_time("room for an array", || while send_fds(&here, &[0; 4096], &[there.as_fd()]).is_ok() {});
    });
}

#[test]
fn what_comes_in_a_storm_of_signals_is_not_lost() {
    isolated("what_comes_in_a_storm_of_signals_is_not_lost", || {
        let (here, there) = UnixStream::pair().unwrap();
        sockopt::set_socket_timeout(&here, sockopt::Timeout::Recv, Some(DEADLINE)).unwrap();
        in_a_storm(STORMY, || {
            let before = HANDLED.load(Ordering::Relaxed);
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    wait_until("signals come", || HANDLED.load(Ordering::Relaxed) > before + 5);
                    send_fds(&there, b"x", &[there.as_fd()]).unwrap();
                });
                assert_eq!(recv_fds(&here, &mut [0], 1).unwrap().fds.len(), 1);
            });
        });
    });
}

/// A hand-made producer that has published, offers its lane, hangs up, and ends a moment later.
fn maker() {
    let goods = Goods::new(CAPACITY);
    goods.put(0, data(8, 0));
    goods.control_map.u64(INTENT).store(16, Ordering::Relaxed);
    goods.publish(16);
    let wire = Wire::connect(&argument());
    wire.send(&producer_hello()).unwrap();
    wire.expect(&[HELLO]);
    wire.send_fds(&offer(CAPACITY), &goods.fds()).unwrap();
    say("offered");
    told();
    wire.shutdown(Shutdown::Both);
    say("hung up");
    told();
}

#[test]
fn what_a_dying_producer_has_published_is_read_in_a_storm_of_signals() {
    const TEST: &str = "what_a_dying_producer_has_published_is_read_in_a_storm_of_signals";
    if role().as_deref() == Some("maker") {
        return maker();
    }
    isolated(TEST, || {
        let address = address();
        let listener = SessionListener::listen(&*address).unwrap();
        let mut maker = Peer::start(TEST, "maker", &address);
        maker.expect("offered");
        let session = listener.accept_timeout(DEADLINE).unwrap();
        maker.tell("hang up");
        maker.expect("hung up");
        in_a_storm(STORMY, || {
            let before = HANDLED.load(Ordering::Relaxed);
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    wait_until("signals come", || HANDLED.load(Ordering::Relaxed) > before + 5);
                    maker.tell("end");
                });
                let mut consumer = session.attach_one(Attach::new().start(Start::Oldest)).unwrap();
                assert_eq!(consumer.receive().unwrap().unwrap().len(), 8);
                assert!(matches!(consumer.receive(), Err(ReceiveError::PeerDead)));
            });
        });
        maker.finish();
    });
}

/// The masks of this process's threads whose names begin so, as the kernel shows them; proc_pid_status(5).
fn masks_of(name: &str) -> BTreeMap<String, u64> {
    let tasks = fs::read_dir("/proc/self/task").unwrap().map(|task| task.unwrap().path());
    let mask = |path: std::path::PathBuf| {
        let status = fs::read_to_string(path.join("status")).ok()?;
        let value = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        Some((value("Name:")?.to_owned(), u64::from_str_radix(value("SigBlk:")?, 16).unwrap()))
    };
    tasks.filter_map(mask).filter(|(thread, _)| thread.starts_with(name)).collect()
}

/// All signals but those that nobody can block, and the two that libc keeps for itself.
fn everything() -> u64 {
    let unblockable = [libc::SIGKILL, libc::SIGSTOP, 32, 33];
    unblockable.iter().fold(u64::MAX, |mask, signal| mask & !(1 << (signal - 1)))
}

#[test]
fn every_thread_of_the_library_blocks_every_signal() {
    isolated("every_thread_of_the_library_blocks_every_signal", || {
        let (served, producer) = (address(), lane());
        let own = masks_of("");
        let server = Server::listen(&*served, &[&producer]).unwrap();
        let (mut feed, mut collector) = (Feed::connect(address()).unwrap(), Collector::listen(address()).unwrap());
        assert!(feed.try_receive().is_err(), "it begins to connect");
        // One client is never attached to, the regions of another are never opened, and its socket lingers.
        let address = collector.address().to_string();
        let (goods, locked) = (Goods::new(CAPACITY), Goods::new(CAPACITY));
        let knock = |fds: &[BorrowedFd<'_>]| {
            let wire = Wire::connect(&address);
            wire.send(&producer_hello()).unwrap();
            wire.expect(&[HELLO]);
            wire.send_fds(&offer(CAPACITY), fds).unwrap();
            wire
        };
        let (lingers, _peer) = lingering();
        let [_, others @ ..] = goods.fds();
        let mut wires = vec![knock(&goods.fds()), knock(&[&[lingers.as_fd()], &others[..]].concat())];
        drop(lingers);
        let mut expected = vec!["fdring-steward", "fdring-inquiry", "fdring-feed", "fdring-attach", "fdring-closer"];
        if write_and_keep_the_lock(locked.seat.try_clone().unwrap()) {
            wires.push(knock(&locked.fds()));
            expected.push("fdring-opener");
        } else {
            skipped("the thread that opens regions: this process may not use userfaultfd(2)");
        }
        // A page that is pinned keeps the thread that asks about the seat for a sixth of a second.
        let guest = Guest::join(&served, IN_PLACE);
        let (_reader, writer) = std::io::pipe().unwrap();
        assert_eq!(guest.seat.splice_into(&writer), Ok(4096));
        drop(guest);
        let mut seen = BTreeMap::new();
        wait_until("all threads are seen", || {
            let _ = collector.try_next();
            seen.extend(masks_of("fdring-"));
            expected.iter().all(|name| seen.contains_key(*name))
        });
        assert_eq!(seen.len(), expected.len(), "there are others: {seen:?}");
        for (name, mask) in &seen {
            assert_eq!(mask & everything(), everything(), "{name} blocks {mask:016x}");
        }
        let mine: Vec<_> = own.iter().filter(|(name, _)| !name.starts_with("fdring-")).collect();
        let now = masks_of("");
        assert!(mine.iter().all(|(name, mask)| now[*name] == **mask), "the program's own are as before: {now:?}");
        drop(server);
    });
}

/// The set of the one signal SIGTERM.
fn termination() -> libc::sigset_t {
    let mut signals = MaybeUninit::uninit();
    // SAFETY: makes an empty set where there is room for one.
    assert_eq!(unsafe { libc::sigemptyset(signals.as_mut_ptr()) }, 0);
    // SAFETY: the set is one, by the call before.
    assert_eq!(unsafe { libc::sigaddset(signals.as_mut_ptr(), libc::SIGTERM) }, 0);
    // SAFETY: as above.
    unsafe { signals.assume_init() }
}

/// Blocks SIGTERM in this thread, or lets it through.
fn mask_termination(how: libc::c_int) {
    // SAFETY: the set is there, and the old mask is not asked for.
    assert_eq!(unsafe { libc::pthread_sigmask(how, &termination(), std::ptr::null_mut()) }, 0);
}

#[test]
fn a_program_that_blocks_a_signal_after_it_listens_is_not_killed_by_it() {
    const TEST: &str = "a_program_that_blocks_a_signal_after_it_listens_is_not_killed_by_it";
    if role().is_none() {
        let mut command = common::command(TEST, "daemon");
        // In all threads of the test harness; the program is the thread that runs this test.
        let block = || {
            mask_termination(libc::SIG_BLOCK);
            Ok(())
        };
        // SAFETY: what is called between fork and exec neither allocates nor locks.
        unsafe { command.pre_exec(block) };
        let status = KillOnDrop(command.spawn().unwrap()).wait();
        assert!(status.success(), "{status}");
        return;
    }
    // The process that started the tests may ignore it.
    // SAFETY: no handler is installed.
    assert_ne!(unsafe { libc::signal(libc::SIGTERM, libc::SIG_DFL) }, libc::SIG_ERR);
    mask_termination(libc::SIG_UNBLOCK);
    let (address, producer) = (address(), lane());
    let _server = Server::listen(&*address, &[&producer]).unwrap();
    // libc starts a thread with all signals blocked. One that answers has begun, and has its own mask.
    let _session = Session::connect(&*address).unwrap();
    mask_termination(libc::SIG_BLOCK);
    kill_process(getpid(), Signal::TERM).unwrap();
    let mut signal = 0;
    // SAFETY: both are there.
    assert_eq!(unsafe { libc::sigwait(&termination(), &mut signal) }, 0);
    assert_eq!(signal, libc::SIGTERM);
}

#[test]
fn threads_have_stacks_of_their_own_size_whatever_the_environment_says() {
    const TEST: &str = "threads_have_stacks_of_their_own_size_whatever_the_environment_says";
    if role().is_none() {
        let mut command = common::command(TEST, "child");
        let child = command.env("RUST_MIN_STACK", "65536").spawn().unwrap();
        let status = KillOnDrop(child).wait();
        assert!(status.success(), "{status}");
        return;
    }
    // The program's own thread has room enough.
    let program = std::thread::Builder::new().stack_size(2 << 20).spawn(|| {
        let (address, mut producer) = (address(), lane());
        let server = Server::listen(&*address, &[&producer]).unwrap();
        let mut consumer = Consumer::connect(&*address).unwrap();
        producer.send(b"x").unwrap();
        assert_eq!(consumer.receive().unwrap().unwrap()[..], *b"x");
        drop(consumer);
        wait_until("it has left", || producer.consumer_count() == 0);
        drop(server);
        shapes::use_every_one();
    });
    program.unwrap().join().unwrap();
}
