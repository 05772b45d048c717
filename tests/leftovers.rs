//! What a server finds where it listens: children of dead servers, stale files, and files that are not its own.
#![allow(unsafe_code, reason = "fork; changes the user")]

mod common;
#[path = "common/peer.rs"]
mod peer;
#[path = "common/shapes.rs"]
mod shapes;

use common::{DEADLINE, TempDir, entries, isolated, kernel, role, unique_name, wait_until};
use fdring::call::{CallerOptions, Service};
use fdring::collect::Collector;
use fdring::distribute::DistributorOptions;
use fdring::{
    Consumer, Error, Producer, Server, Session,
    collect::SessionListener,
    errors::ReceiveError,
    options::{LaneOptions, ServerOptions, SessionOptions},
};
use peer::{Peer, argument, say, told, wait_for_the_end};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::fs::{FileType, Mode};
use rustix::io::Errno;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::time::{Duration, Instant};

const STRANGER: u32 = 5000;

fn lane() -> Producer {
    LaneOptions::new("lane").capacity(4096).create().unwrap()
}

/// Forks a child that does nothing until its standard input ends: when the test does. Waits until the child runs, and
/// so has been through the handlers of the fork.
fn fork_one_that_stays(fork: impl FnOnce() -> libc::pid_t) {
    let runs = eventfd(0, EventfdFlags::CLOEXEC).unwrap();
    if fork() == 0 {
        let _ = rustix::io::write(&runs, &1u64.to_ne_bytes());
        // What is written there is for the parent.
        let mut hangs_up = libc::pollfd { fd: 0, events: 0, revents: 0 };
        // SAFETY: one descriptor; the child then ends without unwinding.
        unsafe { libc::poll(&mut hangs_up, 1, -1) };
        // SAFETY: takes any number.
        unsafe { libc::_exit(0) }
    }
    rustix::io::read(&runs, &mut [0u8; 8]).unwrap();
}

/// As programs fork.
fn fork() -> libc::pid_t {
    // SAFETY: the child calls what may be called after a fork.
    unsafe { libc::fork() }
}

/// As programs fork that do without libc's handlers.
fn raw_fork() -> libc::pid_t {
    // SAFETY: as `fork`, with no flags but the signal for the parent.
    unsafe { libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0) as libc::pid_t }
}

/// Listens at a path as the kernel does alone: nobody accepts.
fn listen_silently(path: &str) -> rustix::fd::OwnedFd {
    use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen, socket_with};
    let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
    bind(&socket, &SocketAddrUnix::new(path).unwrap()).unwrap();
    listen(&socket, 8).unwrap();
    socket
}

/// A server that forks, and then does as it is told.
fn server_with_a_child() {
    let (argument, producer) = (argument(), lane());
    let (how, address) = argument.split_once(' ').unwrap();
    let mut server = Some(Server::listen(address, &[&producer]).unwrap());
    fork_one_that_stays(if how == "fork" { fork } else { raw_fork });
    say("forked");
    while told() == "drop" {
        server = None;
        say("dropped");
    }
    drop(server);
    wait_for_the_end();
}

/// Starts that server. Its child ends with what is returned.
fn start_server(test: &str, argument: &str) -> Peer {
    let mut peer = Peer::start(test, "server", argument);
    peer.expect("forked");
    peer
}

#[test]
fn a_child_of_a_server_takes_no_address_and_keeps_nobody_waiting() {
    let test = "a_child_of_a_server_takes_no_address_and_keeps_nobody_waiting";
    if role().is_some() {
        return server_with_a_child();
    }
    let (dir, producer) = (TempDir::new(), lane());
    let path = dir.path().join("socket");
    for address in [path.to_str().unwrap().to_owned(), format!("@{}", unique_name())] {
        // Dropped, or killed: the child lives on.
        for ends in ["drop", "kill"] {
            let mut peer = start_server(test, &format!("fork {address}"));
            match Server::listen(&*address, &[&producer]) {
                Err(Error::AddressInUse { pid, .. }) => assert_eq!(pid, Some(peer.pid())),
                other => panic!("{other:?}"),
            }
            if ends == "drop" {
                peer.tell("drop");
                peer.expect("dropped");
            } else {
                peer.signal(rustix::process::Signal::KILL);
                peer.dies();
            }
            let start = Instant::now();
            let error = SessionOptions::new().deadline(Duration::from_secs(60)).connect(&*address).unwrap_err();
            assert!(matches!(error, Error::Os { .. }), "nobody listens: {error}");
            assert!(start.elapsed() < Duration::from_secs(30));
            drop(Server::listen(&*address, &[&producer]).unwrap());
            drop(peer);
        }
    }
    assert_eq!(entries(dir.path()), [""; 0]);
}

#[test]
fn whoever_connects_to_a_child_of_a_dead_server_learns_of_it_at_once() {
    let test = "whoever_connects_to_a_child_of_a_dead_server_learns_of_it_at_once";
    if role().is_some() {
        return server_with_a_child();
    }
    let address = format!("@{}", unique_name());
    let mut peer = start_server(test, &format!("raw {address}"));
    peer.signal(rustix::process::Signal::KILL);
    peer.dies();
    fails_at_once(|| connect_as_consumer(&address));
}

/// The deadline of a handshake that is to fail long before.
const TOO_LONG: Duration = Duration::from_secs(60);

/// Connects to a dead listener whose child keeps its socket.
fn fails_at_once(connects: impl FnOnce() -> Error) {
    let start = Instant::now();
    let error = connects();
    assert!(matches!(error, Error::Closed { .. }), "{error}");
    assert!(start.elapsed() < TOO_LONG / 2, "{:?}", start.elapsed());
}

fn connect_as_consumer(address: &str) -> Error {
    SessionOptions::new().deadline(TOO_LONG).connect(address).unwrap_err()
}

fn connect_as_producer(address: &str) -> Error {
    ServerOptions::new().deadline(TOO_LONG).connect(address, [&lane()]).unwrap_err()
}

fn connect_as_caller(address: &str) -> Error {
    CallerOptions::new().deadline(TOO_LONG).connect(address).unwrap_err()
}

#[test]
fn producers_and_callers_that_connect_to_a_child_of_a_dead_listener_learn_of_it_at_once() {
    let test = "producers_and_callers_that_connect_to_a_child_of_a_dead_listener_learn_of_it_at_once";
    if role().is_some() {
        let argument = argument();
        let (kind, address) = argument.split_once(' ').unwrap();
        let _listener = (kind == "listener").then(|| SessionListener::listen(address).unwrap());
        let _service = (kind == "service").then(|| Service::listen(address).unwrap());
        fork_one_that_stays(raw_fork);
        say("forked");
        wait_for_the_end();
    }
    let [one, other] = [(); 2].map(|()| format!("@{}", unique_name()));
    let peers = [("listener", &one), ("service", &other)].map(|(kind, address)| {
        let mut peer = start_server(test, &format!("{kind} {address}"));
        peer.signal(rustix::process::Signal::KILL);
        peer.dies();
        peer
    });
    std::thread::scope(|scope| {
        scope.spawn(|| fails_at_once(|| connect_as_producer(&one)));
        scope.spawn(|| fails_at_once(|| connect_as_caller(&other)));
    });
    drop(peers);
}

#[test]
fn a_listener_that_dies_before_it_has_answered_keeps_nobody_waiting_though_its_child_has_the_socket() {
    let test = "a_listener_that_dies_before_it_has_answered_keeps_nobody_waiting_though_its_child_has_the_socket";
    if role().is_some() {
        let socket = listen_silently(&argument());
        say("listens");
        let connection = rustix::net::accept(&socket).unwrap();
        // A Hello, which says that the other end awaits one.
        poll(&mut [PollFd::new(&connection, PollFlags::IN)], None).unwrap();
        fork_one_that_stays(raw_fork);
        say("forked");
        wait_for_the_end();
    }
    let dir = TempDir::new();
    for connect in [connect_as_consumer, connect_as_producer, connect_as_caller] {
        let path = dir.path().join(unique_name());
        let address = path.to_str().unwrap();
        let mut peer = Peer::start(test, "listener", address);
        peer.expect("listens");
        std::thread::scope(|scope| {
            scope.spawn(|| fails_at_once(|| connect(address)));
            peer.expect("forked");
            peer.signal(rustix::process::Signal::KILL);
            peer.dies();
        });
    }
}

#[test]
fn a_child_that_was_cloned_without_handlers_keeps_no_address_of_a_killed_server() {
    let test = "a_child_that_was_cloned_without_handlers_keeps_no_address_of_a_killed_server";
    if role().is_some() {
        return server_with_a_child();
    }
    let (dir, producer) = (TempDir::new(), lane());
    let path = dir.path().join("socket");
    let mut peer = start_server(test, &format!("raw {}", path.display()));
    // The child has the lock too; the server counts for as long as it lives.
    match Server::listen(&path, &[&producer]) {
        Err(Error::AddressInUse { pid, .. }) => assert_eq!(pid, Some(peer.pid())),
        other => panic!("{other:?}"),
    }
    peer.signal(rustix::process::Signal::KILL);
    peer.dies();
    // Of many that find what was left exactly one serves, and the others find it.
    let outcomes: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(|| Server::listen(&path, &[&producer]))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(outcomes.iter().all(|outcome| matches!(outcome, Ok(_) | Err(Error::AddressInUse { .. }))), "{outcomes:?}");
    let server = outcomes.into_iter().flatten().collect::<Vec<_>>();
    assert_eq!(server.len(), 1);
    assert!(Session::connect(&path).is_ok());
    drop(server);
    assert_eq!(entries(dir.path()), [""; 0]);
}

#[test]
fn a_socket_whose_listener_is_dead_is_taken_over() {
    let test = "a_socket_whose_listener_is_dead_is_taken_over";
    if role().is_some() {
        let _socket = listen_silently(&argument());
        fork_one_that_stays(raw_fork);
        say("forked");
        wait_for_the_end();
    }
    let (dir, producer) = (TempDir::new(), lane());
    let path = dir.path().join("socket");
    let mut peer = start_server(test, path.to_str().unwrap());
    assert!(
        matches!(Server::listen(&path, &[&producer]), Err(Error::AddressInUse { pid, .. }) if pid == Some(peer.pid()))
    );
    peer.signal(rustix::process::Signal::KILL);
    peer.dies();
    let _server = Server::listen(&path, &[&producer]).unwrap();
    assert!(Session::connect(&path).is_ok());
}

#[test]
fn a_lock_that_is_none_is_refused_and_left_alone() {
    let (dir, producer) = (TempDir::new(), lane());
    let (path, lock) = (dir.path().join("socket"), dir.path().join("socket.lock"));
    let is_refused = |what: &str| {
        let error = Server::listen(&path, &[&producer]).unwrap_err();
        assert!(matches!(error, Error::Invalid(_)) && error.to_string().contains(what), "{error}");
        assert_eq!(entries(dir.path()), ["socket.lock"], "{what}");
        fs::remove_file(&lock).unwrap();
    };
    fs::write(&lock, "precious").unwrap();
    is_refused("not empty");
    rustix::fs::mknodat(rustix::fs::CWD, &lock, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
    is_refused("no file");
    std::os::unix::fs::symlink(dir.path().join("elsewhere"), &lock).unwrap();
    is_refused("no file");
    // An empty file of one's own that no server has made is used, and stays.
    fs::write(&lock, "").unwrap();
    fs::set_permissions(&lock, fs::Permissions::from_mode(0o644)).unwrap();
    drop(Server::listen(&path, &[&producer]).unwrap());
    assert_eq!(entries(dir.path()), ["socket.lock"]);
}

#[test]
fn a_lock_is_made_only_where_there_is_none() {
    isolated("a_lock_is_made_only_where_there_is_none", || {
        let (dir, producer) = (TempDir::new(), lane());
        let path = dir.path().join("socket");
        fs::write(dir.path().join("socket.lock"), "").unwrap();
        fs::set_permissions(dir.path().join("socket.lock"), fs::Permissions::from_mode(0o600)).unwrap();
        // As the kernel denies it for a file of another user in a directory that everyone may write to, whatever
        // fs.protected_regular is here (proc_sys_fs(5)).
        let (create, make) = (libc::O_CREAT as u32, (libc::O_CREAT | libc::O_EXCL) as u32);
        kernel::deny_flags(libc::SYS_openat, 2, make, create, Errno::ACCESS);
        for what in ["a lock that is there", "a new one"] {
            let server = Server::listen(&path, &[&producer]);
            assert!(server.is_ok(), "{what}: {server:?}");
            drop(server);
            assert_eq!(entries(dir.path()), [""; 0], "{what}");
        }
    });
}

#[test]
fn a_lock_or_a_socket_of_another_user_is_refused_but_to_root() {
    let test = "a_lock_or_a_socket_of_another_user_is_refused_but_to_root";
    if role().is_some() {
        // SAFETY: takes any number.
        assert_eq!(unsafe { libc::setuid(STRANGER + 1) }, 0);
        let error = Server::listen(argument(), &[&lane()]).unwrap_err();
        return say(&error.to_string());
    }
    if !rustix::process::geteuid().is_root() {
        return common::skipped("only root can make files of other users");
    }
    let (dir, producer) = (TempDir::new(), lane());
    // As /tmp: there the kernel denies even root to open another's file with O_CREAT (fs.protected_regular).
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o1777)).unwrap();
    let (path, lock) = (dir.path().join("socket"), dir.path().join("socket.lock"));
    let refused = |what: &str| {
        let mut peer = Peer::start(test, "other user", path.to_str().unwrap());
        let said = peer.heard();
        assert!(said.contains(&format!("{what} of user {STRANGER}")), "{said}");
        peer.finish();
    };
    fs::write(&lock, "").unwrap();
    std::os::unix::fs::chown(&lock, Some(STRANGER), None).unwrap();
    refused("a file");
    drop(Server::listen(&path, &[&producer]).unwrap());
    assert_eq!(fs::metadata(&lock).unwrap().uid(), STRANGER, "used, and left to its owner");
    fs::remove_file(&lock).unwrap();
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    std::os::unix::fs::chown(&path, Some(STRANGER), None).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
    refused("a socket");
    assert_eq!(entries(dir.path()), ["socket"]);
    drop(Server::listen(&path, &[&producer]).unwrap());
    assert_eq!(entries(dir.path()), [""; 0]);
}

#[test]
fn the_mode_of_the_socket_is_what_was_asked_for_whatever_the_umask() {
    isolated("the_mode_of_the_socket_is_what_was_asked_for_whatever_the_umask", || {
        let (dir, producer) = (TempDir::new(), lane());
        let path = dir.path().join("socket");
        for (umask, mode) in [(0o077, 0o660), (0o777, 0o600), (0, 0o660)] {
            rustix::process::umask(Mode::from_raw_mode(umask));
            let _server = ServerOptions::new().mode(mode).listen(&path, &[&producer]).unwrap();
            assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, mode, "with a umask of {umask:o}");
        }
    });
}

/// What a kernel, a filter or a file system may lack, with any errno.
#[test]
fn what_is_optional_may_be_missing_or_denied() {
    isolated("what_is_optional_may_be_missing_or_denied", || {
        const SO_PASSRIGHTS: u32 = 83;
        const MFD_NOEXEC_SEAL: u32 = 8;
        // The flags of memfds here: CLOEXEC, ALLOW_SEALING.
        kernel::deny(libc::SYS_memfd_create, &[(1, MFD_NOEXEC_SEAL | 1 | 2)], Errno::PERM);
        kernel::deny(libc::SYS_setsockopt, &[(1, libc::SOL_SOCKET as u32), (2, SO_PASSRIGHTS)], Errno::ACCESS);
        kernel::deny(libc::SYS_madvise, &[], Errno::PERM);
        kernel::deny(libc::SYS_flock, &[], Errno::OPNOTSUPP);
        let (dir, mut producer) = (TempDir::new(), lane());
        let path = dir.path().join("socket");
        let server = Server::listen(&path, &[&producer]).unwrap();
        let mut consumer = Consumer::connect(&path).unwrap();
        producer.send(b"x").unwrap();
        assert_eq!(consumer.receive().unwrap().unwrap()[..], *b"x");
        drop((server, consumer));
        assert_eq!(entries(dir.path()), [""; 0]);
        shapes::use_every_one();
        // A forked child is told apart all the same.
        let pid = fork();
        if pid == 0 {
            let is_told = matches!(producer.try_send(b"x"), Err(fdring::errors::SendError::Forked));
            // SAFETY: takes any number; the child ends without unwinding.
            unsafe { libc::_exit(i32::from(!is_told)) };
        }
        let pid = rustix::process::Pid::from_raw(pid);
        let (_, status) = rustix::process::waitpid(pid, rustix::process::WaitOptions::empty()).unwrap().unwrap();
        assert_eq!(status.exit_status(), Some(0));
    });
}

#[test]
fn whoever_listens_says_what_it_cannot_do_without_and_leaves_no_file() {
    isolated("whoever_listens_says_what_it_cannot_do_without_and_leaves_no_file", || {
        let (dir, producer) = (TempDir::new(), lane());
        kernel::deny(libc::SYS_epoll_create1, &[], Errno::PERM);
        let path = dir.path().join("socket");
        for (what, error) in [
            ("a server", Server::listen(&path, &[&producer]).map(drop)),
            ("a listener", SessionListener::listen(&path).map(drop)),
            ("a collector", Collector::listen(&path).map(drop)),
            ("a service", Service::listen(&path).map(drop)),
            (
                "a distributor",
                DistributorOptions::new().lane(LaneOptions::new("work").capacity(4096)).listen(&path).map(drop),
            ),
        ] {
            let error = error.unwrap_err();
            assert!(
                error.to_string().ends_with("see whether a filter (seccomp) or a security module denies the call"),
                "{what}: {error}"
            );
        }
        assert_eq!(entries(dir.path()), [""; 0]);
    });
}

/// A consumer with a child that keeps its socket open.
fn consumer_with_a_child() {
    assert_eq!(told(), "connect");
    // SAFETY: the producer is this crate's, in the process that started this one.
    let in_place = unsafe { fdring::Attach::new().in_place() };
    let _consumer = Session::connect(argument()).unwrap().attach_one(in_place).unwrap();
    fork_one_that_stays(raw_fork);
    say("forked");
    wait_for_the_end();
}

#[test]
fn a_dead_consumer_is_noticed_though_its_child_lives_and_the_kernel_gives_no_pidfd() {
    let test = "a_dead_consumer_is_noticed_though_its_child_lives_and_the_kernel_gives_no_pidfd";
    if role().as_deref() == Some("consumer") {
        return consumer_with_a_child();
    }
    isolated(test, || {
        const SO_PEERPIDFD: u32 = 77;
        let address = format!("@{}", unique_name());
        let mut peer = Peer::start(test, "consumer", &address);
        kernel::deny(libc::SYS_getsockopt, &[(1, libc::SOL_SOCKET as u32), (2, SO_PEERPIDFD)], Errno::PERM);
        kernel::deny(libc::SYS_pidfd_open, &[], Errno::PERM);
        let producer = lane();
        let _server = Server::listen(&*address, &[&producer]).unwrap();
        peer.tell("connect");
        peer.expect("forked");
        assert_eq!(producer.consumer_count(), 1);
        peer.signal(rustix::process::Signal::KILL);
        peer.dies();
        wait_until("its seat is free", || producer.consumer_count() == 0);
    });
}

/// A producer with a child that keeps the socket of its consumer open.
fn producer_with_a_child() {
    let producer = lane();
    let server = Server::listen(argument(), &[&producer]).unwrap();
    server.wait_for_sessions(1, DEADLINE).unwrap();
    fork_one_that_stays(raw_fork);
    say("forked");
    wait_for_the_end();
}

#[test]
fn a_dead_producer_is_noticed_though_its_child_lives_and_the_kernel_gives_no_pidfd() {
    let test = "a_dead_producer_is_noticed_though_its_child_lives_and_the_kernel_gives_no_pidfd";
    if role().as_deref() == Some("producer") {
        return producer_with_a_child();
    }
    isolated(test, || {
        const SO_PEERPIDFD: u32 = 77;
        let waits: [fn(&mut Consumer) -> ReceiveError; 3] = [
            |consumer| consumer.receive().unwrap_err(),
            |consumer| {
                wait_until("it is told", || !matches!(consumer.try_receive(), Err(ReceiveError::Empty)));
                consumer.try_receive().unwrap_err()
            },
            |consumer| {
                while let Err(ReceiveError::Empty) = consumer.try_receive() {
                    if consumer.arm().unwrap() {
                        let limit = Timespec::try_from(DEADLINE).unwrap();
                        assert_eq!(poll(&mut [PollFd::new(&*consumer, PollFlags::IN)], Some(&limit)), Ok(1));
                    }
                }
                consumer.try_receive().unwrap_err()
            },
        ];
        let addresses = waits.map(|_| format!("@{}", unique_name()));
        let peers: Vec<Peer> = addresses.iter().map(|address| Peer::start(test, "producer", address)).collect();
        kernel::deny(libc::SYS_getsockopt, &[(1, libc::SOL_SOCKET as u32), (2, SO_PEERPIDFD)], Errno::PERM);
        kernel::deny(libc::SYS_pidfd_open, &[], Errno::PERM);
        for ((wait, address), mut peer) in waits.into_iter().zip(&addresses).zip(peers) {
            let session = SessionOptions::new().patience(DEADLINE).connect(&**address).unwrap();
            let mut consumer = session.attach_one(fdring::Attach::new()).unwrap();
            peer.expect("forked");
            assert!(matches!(consumer.try_receive(), Err(ReceiveError::Empty)), "it lives");
            peer.signal(rustix::process::Signal::KILL);
            peer.dies();
            let error = wait(&mut consumer);
            assert!(matches!(error, ReceiveError::PeerDead), "{error}");
        }
    });
}
